"""Depthwise kernels write what is theirs and nothing beside it, wherever operands begin; layouts hold what they say."""

from __future__ import annotations

import numpy as np
import pytest
from flamework.compiler.depthwise import MOST_PLACES, ROOM, layout, layout_of
from flamework.kernels.cpu import depthwise, driver, programs, toolchain
from flamework.runtime.loader import load_object
from flamework.runtime.threads import Pool
from loaded import loaded_for_both


@pytest.fixture(scope="module")
def kernels():
    driven = toolchain.compile_kernels(
        driver.DRIVER_SOURCE, list(driver.DRIVER_SIGNATURES), driver.DRIVER_NAMESPACE, driver.DRIVER_SIGNATURES
    )
    loaded = loaded_for_both(programs.depthwise_of)
    pool = load_object(driven.object_code, driven.symbols)
    return loaded, pool, Pool(pool, threshold=1)


def run(kernels, function, x, y, out, size, params):
    """Run a kernel with every operand between others' values, at an odd offset; returns the result."""
    short = {4: "f32", 8: "f64"}[x.itemsize]
    image, result = x.shape, y.shape if function == "filters" else out
    found = layout_of(result[2:], size, params)
    call = depthwise.describe_depthwise(function, image, result, size, params, found)
    held = []
    for array in (x, y, np.full(out, 7, x.dtype)):
        whole = np.full(array.size + 67, np.nan, x.dtype)
        whole[33 : 33 + array.size] = array.reshape(-1)
        held.append(whole)
    words = np.array(call.words, np.int64)
    for name, whole in zip(("X", "Y", "OUT"), held):
        words[depthwise.DEPTHWISE_WORDS.index(name)] = whole.ctypes.data + 33 * x.itemsize
    for name, table in call.tables.items():
        words[depthwise.DEPTHWISE_WORDS.index(name)] = table.ctypes.data
    tape = np.zeros((1, 8), np.int64)
    tape[0, :4] = kernels[0][f"{function}_{short}"], words.ctypes.data, call.units, 10**9
    assert kernels[2].run(tape.ctypes.data, 1) == 1
    whole = held[2]
    count = int(np.prod(out))
    assert np.isnan(whole[:33]).all() and np.isnan(whole[33 + count :]).all()
    return whole[33 : 33 + count].reshape(out)


def windows(x, weight, params):
    stride, low, high, dilation, groups = params
    x = np.pad(x, ((0, 0), (0, 0), *zip(low, high)))
    covered = [gap * (k - 1) + 1 for k, gap in zip(weight.shape[2:], dilation)]
    view = np.lib.stride_tricks.sliding_window_view(x, covered, (2, 3))
    view = view[:, :, :: stride[0], :: stride[1], :: dilation[0], :: dilation[1]]
    return np.repeat(view, weight.shape[0] // groups, 1)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("space", "size", "stride", "low", "dilation", "each"), [
    *[((3, width), (1, 1), (1, 1), (0, 0), (1, 1), 1) for width in (1, 7, 8, 9, 15, 16, 17, 33)],
    *[((height, 13), (3, 3), (1, 1), (1, 1), (1, 1), 1) for height in (1, 2, 8, 9, 130)],
    ((14, 14), (3, 3), (2, 2), (1, 1), (1, 1), 2), ((9, 12), (2, 5), (1, 3), (0, 2), (3, 1), 1),
    ((90, 700), (5, 3), (1, 1), (2, 1), (1, 1), 1), ((12, 12), (8, 8), (1, 1), (4, 3), (1, 1), 1),
])
def test_kernels_agree_with_numpy_between_guards(kernels, dtype, space, size, stride, low, dilation, each):
    rng = np.random.default_rng(0)
    params = (stride, low, low, dilation, 3)
    x = rng.standard_normal((2, 3, *space)).astype(dtype)
    weight = rng.standard_normal((3 * each, 1, *size)).astype(dtype)
    view = windows(x.astype(np.longdouble), weight, params)
    expected = np.einsum("bfyxij,fij->bfyx", view, weight[:, 0])
    scale = np.finfo(dtype).eps
    out = run(kernels, "depthwise", x, weight, expected.shape, size, params)
    np.testing.assert_allclose(out, expected, rtol=0, atol=200 * scale)
    g = rng.standard_normal(expected.shape).astype(dtype)
    filters = run(kernels, "filters", x, g, weight.shape, size, params)
    wanted = np.einsum("bfyxij,bfyx->fij", view, g)
    np.testing.assert_allclose(filters[:, 0], wanted, rtol=0, atol=20 * scale * max(16, np.sqrt(g.size) * 4))


def test_a_layout_fits_its_buffer_and_covers_the_result():
    for out, size, stride, dilation in (
        ((14, 14), (3, 3), (1, 1), (1, 1)), ((500, 300), (3, 3), (2, 2), (1, 1)), ((7, 2000), (2, 2), (1, 1), (1, 1)),
        ((9, 9), (8, 8), (3, 1), (2, 5)),
    ):
        found = layout(out, size, stride, dilation)
        assert len(found.phases) * (found.block + found.extra) * found.pitch <= ROOM
        assert max(found.places) + (found.block - 1) * found.pitch + out[1] <= ROOM


def test_what_has_no_layout():
    assert layout((1, ROOM + 1), (1, 1), (1, 1), (1, 1)) is None
    assert layout((9, 9), (MOST_PLACES + 1, 1), (1, 1), (1, 1)) is None
    assert layout_of((4, 4, 4), (1, 1, 1), ((1, 1, 1), (0, 0, 0), (0, 0, 0), (1, 1, 1), 2)) is None
