"""Products whose operands are read through tables: tails of every tile, windows, batches, special values, threads."""

from __future__ import annotations

import numpy as np
import pytest
from flamework.kernels.cpu import contraction, driver, programs, toolchain
from flamework.kernels.cpu.contraction import BLOCK_K, ROWS, common_axes, describe_contraction, offsets, panel
from flamework.runtime.loader import load_object
from flamework.runtime.threads import Pool, get_num_threads, set_num_threads
from loaded import loaded_for_both


@pytest.fixture(scope="module")
def native():
    compiled = toolchain.compile_kernels(
        driver.DRIVER_SOURCE, list(driver.DRIVER_SIGNATURES), driver.DRIVER_NAMESPACE, driver.DRIVER_SIGNATURES
    )
    return load_object(compiled.object_code, compiled.symbols), loaded_for_both(programs.contraction_of)


@pytest.fixture(scope="module")
def contract(native):
    pool = Pool(native[0], threshold=1)

    def contract(shape, first, second, first_axes, second_axes, batch=1, paddings=(None, None), before=None):
        """The product as an array [batch, m, n], between guards that must stay as they are; added to ``before``."""
        m, n, k = shape
        size = first.itemsize
        described = describe_contraction(shape, first_axes, second_axes, size, paddings, before is not None)
        guarded = np.full(batch * m * n + 128, 7, first.dtype)
        out = guarded[64:-64]
        if before is not None:
            out[:] = before.reshape(-1)
        packed = np.full(described.packed_bytes // size + 64, np.nan, first.dtype)
        operands = (first, second) if described.first_is_a else (second, first)
        words = np.array(described.words, np.int64)
        for name, array in [*zip("ABC", (*operands, out)), ("PACKED", packed), *described.tables.items()]:
            words[contraction.CONTRACTION_WORDS.index(name)] = array.ctypes.data
        short = {4: "f32", 8: "f64"}[size]
        tape = np.zeros((2, 8), np.int64)
        tape[0, :4] = native[1][f"pack_{short}"], words.ctypes.data, described.pack_units, 10**9
        tape[1, :4] = native[1][f"contract_{short}"], words.ctypes.data, described.units, 10**9
        assert pool.run(tape.ctypes.data, 2) == 2
        assert (guarded[:64] == 7).all() and (guarded[-64:] == 7).all()
        assert np.isnan(packed[-64:]).all()
        return out.reshape(batch, m, n)

    return contract


def random(shape, dtype=np.float32, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def plain(m, n, k):
    return ([], [(m, k)], [(k, 1)]), ([], [(k, n)], [(n, 1)])


def tails(dtype):
    width = panel(np.dtype(dtype).itemsize)
    lanes = width // contraction.vectors()
    for n in (1, lanes - 1, lanes, lanes + 1, width - 1, width, width + 1, 2 * width + 3):
        yield 2 * width + ROWS + 1, n, 9
    for m in (1, ROWS - 1, ROWS, ROWS + 1, 23, 24, 25, 95, 96, 97, 300):
        yield m, 3, 5
        yield m, 70, 5
    for k in (1, 15, 16, 17, BLOCK_K - 1, BLOCK_K, BLOCK_K + 1, 2 * BLOCK_K + 5):
        yield 7, 11, k
    yield 2000, 70, 20  # the largest blocks


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_products_of_all_sizes_agree_with_numpy(contract, dtype):
    for m, n, k in tails(dtype):
        a, b = random((m, k), dtype), random((k, n), dtype, 1)
        found = contract((m, n, k), a, b, *plain(m, n, k))[0]
        np.testing.assert_allclose(found, a.astype(np.float64) @ b, rtol=0, atol=np.finfo(dtype).eps * 4 * max(k, 8))


@pytest.mark.parametrize("added", [False, True])
@pytest.mark.parametrize("layouts", [(0, 0), (0, 1), (1, 0), (1, 1)])
@pytest.mark.parametrize("shape", [(5, 200, 97), (200, 5, 97), (130, 131, 100), (7, 7, 1030), (1, 65, 3), (65, 1, 3)])
def test_matrices_and_their_transposes_are_multiplied_and_added(contract, shape, layouts, added):
    m, n, k = shape
    a, b, before = random((m, k)), random((k, n), seed=1), random((m, n), seed=2)
    first = ([], [(m, k)], [(k, 1)]) if not layouts[0] else ([], [(m, 1)], [(k, m)])
    second = ([], [(k, n)], [(n, 1)]) if not layouts[1] else ([], [(k, 1)], [(n, k)])
    stored = [np.ascontiguousarray(x.T if swapped else x) for x, swapped in zip((a, b), layouts)]
    found = contract(shape, *stored, first, second, before=before if added else None)[0]
    expected = a.astype(np.float64) @ b + (before if added else 0)
    np.testing.assert_allclose(found, expected, rtol=0, atol=2e-5 * k**0.5)


def test_windows_of_images_are_multiplied_where_they_lie(contract):
    images, channels, height, width, filters = 3, 4, 9, 10, 5
    x, weight = random((images, channels, height, width)), random((filters, channels * 9), seed=1)
    windows = np.lib.stride_tricks.sliding_window_view(x, (3, 3), (2, 3))[:, :, ::2]  # every second row
    rows, columns = windows.shape[2:4]
    axes = [(images, channels * height * width)]
    depth = [(channels, height * width), (3, width), (3, 1)]
    places = [(rows, 2 * width), (columns, 1)]
    out = contract(
        (filters, rows * columns, channels * 9), weight, x,
        ([(images, 0)], [(filters, channels * 9)], [(channels * 9, 1)]), (axes, depth, places), images,
    )
    expected = np.einsum("bcyxij,fcij->bfyx", windows, weight.reshape(filters, channels, 3, 3))
    np.testing.assert_allclose(out.reshape(expected.shape), expected, atol=2e-5)


def test_a_batch_along_which_nothing_stays_the_same_and_one_read_backwards(contract):
    a, b = random((3, 8, 20)), random((3, 20, 9), seed=1)
    last = a[:, :, ::-1]  # its offset is that of the last column
    first = ([(3, 160)], [(8, 20)], [(20, -1)])
    out = contract((8, 9, 20), a.reshape(-1)[19:], b, first, ([(3, 180)], [(20, 9)], [(9, 1)]), 3)
    np.testing.assert_allclose(out, last @ b, atol=1e-5)


def test_batches_that_have_no_common_division_are_read_one_by_one(contract):
    a, b = random((6, 4, 5)), random((6, 5, 3), seed=1)
    order = np.arange(6).reshape(2, 3).T.reshape(-1)  # the batch of A is divided in 2 and 3, that of B in 3 and 2
    found = contract(
        (4, 3, 5), a, b, ([(3, 20), (2, 60)], [(4, 5)], [(5, 1)]), ([(2, 45), (3, 15)], [(5, 3)], [(3, 1)]), 6
    )
    assert common_axes([(3, 20), (2, 60)], [(2, 45), (3, 15)]) is None
    np.testing.assert_allclose(found, a[order] @ b, atol=1e-5)


def test_not_a_number_and_infinity_reach_their_rows_and_columns_only(contract):
    a, b = random((50, 40)), random((40, 70), seed=1)
    a[3, 4], a[48, 0], b[5, 69] = np.nan, np.inf, -np.inf
    with np.errstate(invalid="ignore"):
        expected = a @ b
    np.testing.assert_allclose(contract((50, 70, 40), a, b, *plain(50, 70, 40))[0], expected, atol=1e-4)
    a[49] = -0.0
    b[:] = abs(b)
    assert not np.signbit(contract((50, 70, 40), a[:, :], b, *plain(50, 70, 40))[0, 49, :60]).any()


def test_results_have_the_same_bits_with_any_number_of_threads_and_beside_anything(contract):
    a, b = random((301, 700)), random((700, 130), seed=1)
    before = get_num_threads()
    try:
        results = []
        for threads in (1, 2, 5):
            set_num_threads(threads)
            results.append(contract((301, 130, 700), a, b, *plain(301, 130, 700))[0].copy())
    finally:
        set_num_threads(before)
    assert all(np.array_equal(results[0], other) for other in results)
    # an element does not depend on which tile it is in
    part = contract((100, 33, 700), a[101:201].copy(), b[:, 20:53].copy(), *plain(100, 33, 700))[0]
    np.testing.assert_array_equal(part, results[0][101:201, 20:53])


def test_axes_are_divided_where_both_operands_can_be():
    assert common_axes([(12, 5)], [(3, 100), (4, 7)]) == [(3, 20, 100), (4, 5, 7)]
    assert common_axes([], []) == []
    assert offsets([(2, 10), (3, -1)]).tolist() == [0, -1, -2, 10, 9, 8]


def test_images_become_rows_of_one_product_with_a_weight():
    call = describe_contraction((8, 100, 9), ([(50, 0)], [(8, 9)], [(9, 1)]), ([(50, 900)], [(9, 1)], [(100, 9)]), 4)
    assert not call.first_is_a  # the weight is packed
    assert len(call.tables["A_ROWS"]) == 5000 and len(call.tables["A_BATCH"]) == 1


def padded_images(images, channels, height, width, low, high, dtype=np.float32):
    """Images in frames of zeros, and what the kernel is told of them."""
    x = np.pad(random((images, channels, height, width), dtype), ((0, 0), (0, 0), *zip(low, high)))
    return x, contraction.Padding(x.shape, (0, 0, *low), (0, 0, *high), 0)


def filtered(contract, x, padding, weight, stride, dilation, image_first):
    """The convolution of padded images, as rows or as columns, with its windows read in place."""
    images, channels, height, width = x.shape
    filters, _, k, _ = weight.shape
    rows, columns = ((e - dilation * (k - 1) - 1) // stride + 1 for e in (height, width))
    depth = [(channels, height * width), (k, dilation * width), (k, dilation)]
    places = [(images, channels * height * width), (rows, stride * width), (columns, stride)]
    total = images * rows * columns
    size = channels * k * k
    if image_first:
        out = contract((total, filters, size), x, weight, ([], places, depth),
                       ([], [(size, 1)], [(filters, size)]), 1, (padding, None))[0]
        return out.reshape(images, rows, columns, filters).transpose(0, 3, 1, 2)
    out = contract((filters, total, size), weight, x, ([], [(filters, size)], [(size, 1)]), ([], depth, places), 1,
                   (None, padding))[0]
    return out.reshape(filters, images, rows, columns).transpose(1, 0, 2, 3)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("images", "height", "width", "low", "high", "k", "stride", "dilation"), [
    (7, 4, 4, (1, 1), (1, 1), 3, 1, 1),
    (5, 4, 3, (2, 1), (0, 3), 3, 1, 1),  # widths of every size, rows that are a tail of chunks
    (3, 5, 6, (1, 1), (1, 1), 3, 2, 1),
    (13, 3, 3, (2, 2), (2, 2), 3, 1, 2),
    (2, 1, 2, (2, 2), (2, 2), 2, 1, 1),  # windows that are all padding
    (1, 2, 2, (1, 0), (0, 1), 2, 1, 1),
])
def test_padding_is_left_out_without_changing_a_bit(
    contract, dtype, images, height, width, low, high, k, stride, dilation
):
    channels = 70  # a depth of several blocks
    x, padding = padded_images(images, channels, height, width, low, high, dtype)
    weight = random((29, channels, k, k), dtype, 1)
    for image_first in (True, False):
        whole = filtered(contract, x, None, weight, stride, dilation, image_first)
        left_out = filtered(contract, x, padding, weight, stride, dilation, image_first)
        np.testing.assert_array_equal(left_out, whole)
        covered = [dilation * (k - 1) + 1] * 2
        windows = np.lib.stride_tricks.sliding_window_view(x, covered, (2, 3))
        windows = windows[:, :, ::stride, ::stride, ::dilation, ::dilation]
        np.testing.assert_allclose(whole, np.einsum("bcyxij,fcij->bfyx", windows, weight), atol=1e-3)


def test_padding_times_infinity_is_not_a_number_as_if_it_were_multiplied(contract):
    x, padding = padded_images(6, 64, 4, 4, (1, 1), (1, 1))
    for value in (np.inf, -np.inf, np.nan):
        weight = random((40, 64, 3, 3), seed=1)
        weight[33, 60, 0, 1] = value
        weight[2, 0, 1, 1] = np.finfo(np.float32).max
        whole = filtered(contract, x, None, weight, 1, 1, True)
        left_out = filtered(contract, x, padding, weight, 1, 1, True)
        assert np.isnan(whole[:, 33, 0]).all()  # the first row's windows have padding there
        np.testing.assert_array_equal(left_out, whole)


def test_rows_are_sorted_by_where_their_padding_is():
    x, padding = padded_images(6, 2, 4, 4, (1, 1), (1, 1))
    rows = offsets([(6, 72), (4, 6), (4, 1)])
    order, kinds, present = contraction.row_kinds(
        np.zeros(1, np.int64), rows, offsets([(2, 36), (3, 6), (3, 1)]), padding
    )
    assert sorted(order) == list(range(96))
    assert (kinds > 0).all()  # no tile has rows of several kinds
    assert present[kinds].mean() == pytest.approx((10 / 12) ** 2)
    # a large image has too little padding to be worth it
    large = contraction.Padding((1, 1, 102, 102), (0, 0, 1, 1), (0, 0, 1, 1), 0)
    rows = offsets([(100, 102), (100, 1)])
    depth = offsets([(3, 102), (3, 1)])
    assert len(contraction.row_kinds(np.zeros(1, np.int64), rows, depth, large)[2]) == 1


def test_windows_as_rows_of_a_weights_gradient_leave_padding_out(contract):
    images, channels, filters = 9, 64, 5
    x, padding = padded_images(images, channels, 4, 4, (1, 1), (1, 1))
    g = random((images, filters, 4, 4), seed=1)
    depth = [(images, channels * 36), (4, 6), (4, 1)]
    args = (channels * 9, filters, images * 16), x, g, ([], [(channels, 36), (3, 6), (3, 1)], depth), (
        [], [(images, filters * 16), (16, 1)], [(filters, 16)])
    left_out = contract(*args, 1, (padding, None))
    np.testing.assert_array_equal(left_out, contract(*args))
    windows = np.lib.stride_tricks.sliding_window_view(x, (3, 3), (2, 3))
    expected = np.einsum("bcyxij,bfyx->cijf", windows, g)
    np.testing.assert_allclose(left_out[0], expected.reshape(channels * 9, filters), atol=1e-3)
