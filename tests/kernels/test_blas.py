"""Matrix products on tiles: shapes, strides, batches, special values, and independence of the number of threads."""

from __future__ import annotations

import itertools
import subprocess
import sys

import numpy as np
import pytest
from flamework.kernels.cpu import driver, programs, toolchain
from flamework.kernels.cpu.blas import describe_gemm, gemm_addresses, gemm_tiles
from flamework.runtime.loader import load_object
from flamework.runtime.threads import Pool, get_num_threads, set_num_threads
from loaded import loaded_for_both


@pytest.fixture(scope="module")
def native():
    compiled = toolchain.compile_kernels(
        driver.DRIVER_SOURCE, list(driver.DRIVER_SIGNATURES), driver.DRIVER_NAMESPACE, driver.DRIVER_SIGNATURES
    )
    return load_object(compiled.object_code, compiled.symbols), loaded_for_both(programs.gemm)


@pytest.fixture(scope="module")
def multiply(native):
    pool = Pool(native[0], threshold=1)

    def multiply(a, b, out, accumulate=False):
        """out[...] (+)= a @ b, with up to two batch dimensions, straight from the arrays' strides; False if refused."""
        name = {"float32": "gemm_f32", "float64": "gemm_f64"}[str(out.dtype)]
        a, b, result = (x[(None,) * (4 - x.ndim)] for x in (a, b, out))
        batch = result.shape[:2]
        a, b = np.broadcast_to(a, batch + a.shape[2:]), np.broadcast_to(b, batch + b.shape[2:])
        strides = [tuple(s // out.itemsize for s in x.strides) for x in (a, b, result)]
        shape = (*result.shape[2:], a.shape[3])
        call = describe_gemm(shape, *strides, batch, accumulate, gemm_addresses()[name])
        if call is None:
            return False
        words = np.array(call.words, np.int64)
        for word, x in ((call.a_word, a), (call.b_word, b), (call.c_word, result)):
            words[word] = x.ctypes.data
        entry = np.array([native[1][name], words.ctypes.data, call.units, 10**9, 0, 0, 0, 0], np.int64)
        assert pool.run(entry.ctypes.data, 1) == 1
        return True

    return multiply


def random(shape, dtype=np.float32, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def tolerance(dtype, k):
    return {"rtol": 0, "atol": np.finfo(dtype).eps * 4 * max(k, 8)}


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    ("m", "n", "k"),
    [
        *[(1, 1, 1), (2, 3, 4), (1, 7, 5), (7, 1, 5), (1, 1, 100), (17, 33, 65), (64, 64, 64)],
        *[(300, 500, 200), (513, 257, 300)],
    ],
)
def test_products_of_all_layouts_agree_with_numpy(multiply, dtype, m, n, k):
    a, b = random((m, k), dtype), random((k, n), dtype, 1)
    expected = a.astype(np.float64) @ b.astype(np.float64)
    for order_a, order_b, order_c in itertools.product("CF", "CF", "CF"):
        out = np.full((m, n), np.nan, dtype, order=order_c)
        assert multiply(np.asarray(a, order=order_a), np.asarray(b, order=order_b), out)
        np.testing.assert_allclose(out, expected, **tolerance(dtype, k))


def test_parts_of_larger_matrices_are_multiplied_in_place(multiply):
    a, b, c = random((50, 60)), random((70, 80), seed=1), np.zeros((90, 100), np.float32)
    assert multiply(a[3:40, 5:25], b[10:30, 7:60], c[20:57, 30:83])
    expected = np.zeros_like(c)
    expected[20:57, 30:83] = a[3:40, 5:25] @ b[10:30, 7:60]
    np.testing.assert_allclose(c, expected, **tolerance(np.float32, 20))
    assert (c[expected == 0] == 0).all()


@pytest.mark.parametrize("layout", ["contiguous", "heads", "transposed", "shared a", "shared b"])
def test_two_batch_dimensions_with_strides_of_their_own(multiply, layout):
    outer, inner, m, n, k = 3, 4, 20, 30, 10
    a, b = random((outer, inner, m, k)), random((outer, inner, k, n), seed=1)
    if layout == "heads":  # as attention stores them: (batch, time, head, feature)
        a, b = (np.ascontiguousarray(x.transpose(0, 2, 1, 3)).transpose(0, 2, 1, 3) for x in (a, b))
    elif layout == "transposed":
        b = np.ascontiguousarray(b.swapaxes(-1, -2)).swapaxes(-1, -2)
    elif layout == "shared a":
        a = a[:, :1]
    elif layout == "shared b":
        b = b[0, 0]
    out = np.empty((outer, m, inner, n), np.float32).transpose(0, 2, 1, 3)
    assert multiply(a, b, out)
    np.testing.assert_allclose(out, np.matmul(a, b), **tolerance(np.float32, k))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_accumulation_adds_to_what_is_there(multiply, dtype):
    a, b, out = random((40, 30), dtype), random((30, 50), dtype, 1), random((40, 50), dtype, 2)
    expected = out + a @ b
    assert multiply(a, b, out, accumulate=True)
    np.testing.assert_allclose(out, expected, **tolerance(dtype, 30))


@pytest.mark.parametrize("order", ["C", "F"])
def test_an_empty_sum_gives_zeros_and_leaves_an_accumulated_result(multiply, order):
    out = np.full((5, 6), np.nan, np.float32, order=order)
    assert multiply(np.empty((5, 0), np.float32), np.empty((0, 6), np.float32), out)
    np.testing.assert_array_equal(out, np.zeros((5, 6)))
    out[...] = 3
    assert multiply(np.empty((5, 0), np.float32), np.empty((0, 6), np.float32), out, accumulate=True)
    np.testing.assert_array_equal(out, np.full((5, 6), 3))


@pytest.mark.parametrize("shape", [(0, 3, 4), (3, 0, 4), (0, 0, 0)])
def test_empty_results_do_nothing(multiply, shape):
    m, n, k = shape
    assert multiply(np.empty((m, k), np.float32), np.empty((k, n), np.float32), np.empty((m, n), np.float32))


@pytest.mark.parametrize("size", [1, 5, 16, 70])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_nan_and_infinity_reach_every_element_that_depends_on_them(multiply, size, value):
    for zeros in (False, True):
        a = np.zeros((size, size), np.float32) if zeros else np.abs(random((size, size))) + 1
        b = np.abs(random((size, size), seed=1)) + 1
        a[size // 2, size // 3] = value
        if zeros:
            b[size // 3, 0] = 0
        out = np.zeros((size, size), np.float32)
        with np.errstate(invalid="ignore"):
            expected = (a[:, :, None].astype(np.float64) * b[None]).sum(1)
        assert multiply(a, b, out)
        np.testing.assert_allclose(out, expected, rtol=1e-5)
        np.testing.assert_array_equal(np.isnan(out), np.isnan(expected))


@pytest.mark.parametrize("shape", [(300, 700, 400, 1), (512, 512, 512, 1), (64, 64, 32, 12), (1, 3000, 3000, 1)])
def test_results_do_not_depend_on_the_number_of_threads(multiply, shape):
    m, n, k, batch = shape
    a, b = random((batch, m, k)), random((batch, k, n), seed=1)
    results, previous = [], get_num_threads()
    try:
        for count in (1, 2, 5):
            set_num_threads(count)
            out = np.empty((batch, m, n), np.float32)
            assert multiply(a, b, out)
            results.append(out.view(np.uint32))
    finally:
        set_num_threads(previous)
    np.testing.assert_array_equal(results[0], results[1])
    np.testing.assert_array_equal(results[0], results[2])


@pytest.mark.parametrize(
    ("a_strides", "b_strides", "c_strides"),
    [
        ((0, 0, 8, 2), (0, 0, 5, 1), (0, 0, 5, 1)),  # neither rows nor columns contiguous
        ((0, 0, 0, 1), (0, 0, 5, 1), (0, 0, 5, 1)),  # rows overlap
        ((0, 0, 4, 1), (0, 0, 0, 0), (0, 0, 5, 1)),
        ((0, 0, 4, 1), (0, 0, 5, 1), (0, 0, 10, 2)),
        ((0, 0, -4, 1), (0, 0, 5, 1), (0, 0, 5, 1)),
        ((0, 0, 2**31, 1), (0, 0, 5, 1), (0, 0, 5, 1)),
    ],
)
def test_operands_that_blas_cannot_address_are_refused(a_strides, b_strides, c_strides):
    assert describe_gemm((3, 5, 4), a_strides, b_strides, c_strides) is None


def test_the_stride_of_a_dimension_of_size_one_does_not_matter(multiply):
    a, b = random((6, 1)), random((1, 8), seed=1)
    for step in (1, 3):
        wide_a, wide_b = np.zeros((6, step), np.float32), np.zeros((8, step), np.float32)
        wide_a[:, :1], wide_b[:, :1] = a, b.T
        out = np.empty((6, 8), np.float32)
        assert multiply(wide_a[:, :1], wide_b[:, :1].T, out)
        np.testing.assert_array_equal(out, a @ b)


def test_tiles_cover_the_result_and_grow_in_number_with_the_work():
    sizes = (0, 1, 100, 1000, 5000), (1, 64, 999, 4096), (0, 1, 784, 4096), (1, 7, 64)
    for m, n, k, batch in itertools.product(*sizes):
        tile_m, tile_n = gemm_tiles(m, n, k, batch)
        assert 1 <= tile_m <= max(m, 1)
        assert 1 <= tile_n <= n
        tiles = -(-m // tile_m) * -(-n // tile_n)
        assert tiles * batch <= 64 or tiles == 1
        assert tiles <= 1 or 2 * m * n * k >= 4_000_000
    assert gemm_tiles(64, 64, 64, 1) == (64, 64)
    assert gemm_tiles(512, 512, 512, 1) == (256, 128)
    assert gemm_tiles(256, 256, 64, 64) == (256, 256)


def test_openblas_of_scipy_is_loaded_alone_and_set_to_one_thread():
    script = """
import sys, ctypes, pathlib
from flamework.kernels.cpu.blas import gemm_addresses
addresses = gemm_addresses()
assert set(addresses) == {"gemm_f32", "gemm_f64"} and all(addresses.values())
assert "scipy.linalg" not in sys.modules
import scipy
for path in pathlib.Path(scipy.__path__[0]).parent.glob("scipy.libs/libscipy_openblas*"):
    assert ctypes.CDLL(str(path)).scipy_openblas_get_num_threads() == 1
import scipy.linalg
import scipy.linalg.cython_blas
assert scipy.linalg.cython_blas.__pyx_capi__
assert abs(scipy.linalg.blas.sgemm(1.0, [[2.0]], [[3.0]]) - 6).max() == 0
"""
    subprocess.run([sys.executable, "-c", script], check=True)
