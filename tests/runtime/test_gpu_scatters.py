"""Scatters that are sorted on a GPU: their bits are the CPU's, and what becomes of them."""

import gpu_scatters
import pytest
import simulator
from flamework.compiler import dtypes
from flamework.compiler.codegen_cuda import MODES, THREADS
from flamework.kernels.cuda import scatter, toolchain


def results():
    return simulator.answer(gpu_scatters.__file__)


@pytest.mark.parametrize("name", gpu_scatters.CASES)
def test_bits_are_those_of_the_cpu(name):
    assert results()[name] is None, results()[name]


def test_an_index_out_of_range_is_reported_and_the_table_stays():
    assert results()["out of range"] == ["index 8 is out of bounds for dimension with size 7", True]


def test_bits_do_not_depend_on_the_device():
    assert results()["grids"]


@pytest.mark.parametrize("mode", ["set", *MODES])
def test_segments_compile_without_spills(mode):
    if not toolchain.has_compiler():
        pytest.skip("numba-cuda is not installed")
    for dtype in (dtypes.float32, dtypes.float64, dtypes.int64, dtypes.bool_, dtypes.uint8):
        try:
            found = toolchain.sass_report(scatter.source(dtype, mode, dtypes.int32, THREADS), (9, 0))
        except toolchain.ToolchainMissing as reason:
            pytest.skip(str(reason))
        assert found["spills"] == found["shared"] == 0
        # three blocks on a multiprocessor at once
        assert found["registers"] * THREADS <= 65536 // 3
