"""The kernels for GPUs that are written by hand: products and sorting. They compile without spills."""

import subprocess
from pathlib import Path

import pytest
import simulator
from flamework.compiler import codegen_cuda, dtypes
from flamework.compiler.codegen_cuda import THREADS, WARP
from flamework.kernels.cuda import grouped, namespace, products, scatter, sort, toolchain

FLOATS = (dtypes.float16, dtypes.bfloat16, dtypes.float32, dtypes.float64)
NUMBERS = (*FLOATS, dtypes.bool_, dtypes.uint8, dtypes.int8, dtypes.int16, dtypes.int32, dtypes.int64)


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    """What the assembler says of a source."""
    if not toolchain.has_compiler():
        pytest.skip("numba-cuda is not installed")
    try:
        assembler = toolchain.find_program("ptxas")
    except toolchain.ToolchainMissing as reason:
        pytest.skip(str(reason))
    folder = tmp_path_factory.mktemp("ptx")

    def assembled(source, functions):
        path = folder / "kernel.ptx"
        path.write_text(toolchain.compile_to_ptx(source, functions, (9, 0), THREADS))
        command = [assembler, "-v", "-arch=sm_90", str(path), "-o", str(path.with_suffix(".cubin"))]
        return toolchain.read_report(subprocess.run(command, capture_output=True, text=True, check=True).stderr)

    return assembled


@pytest.mark.parametrize("stored", FLOATS, ids=lambda dtype: dtype.name)
@pytest.mark.parametrize("axes", [((1, 1, 1), (1, 1, 1)), ((2, 1, 3), (2, 5, 1))], ids=["matrices", "windows"])
@pytest.mark.parametrize("accumulate", [False, True], ids=["set", "add"])
def test_products_compile_without_spills(report, stored, axes, accumulate):
    dtype = stored.compute
    found = report(products.source(dtype, stored, *axes, accumulate, products.side(THREADS)), ["kernel"])
    assert found["spills"] == 0
    # two blocks run on a multiprocessor at a time, of float64 one
    assert found["registers"] * THREADS <= 65536 // (1 if dtype is dtypes.float64 else 2)
    assert found["shared"] == 2 * products.EACH * THREADS * dtype.itemsize


UPDATE = """def kernel(n0, a1, a2, a3, units):
    c0 = f32(bitcast_i64_f64(a1))
    p0 = pointer_f32(a2)
    p1 = pointer_f32(a3)
    unit = i64(cuda.blockIdx.x) * 256 + i64(cuda.threadIdx.x)
    unit_step = i64(cuda.gridDim.x) * 256
    while unit < units:
        store(p1, unit, load_constant(p0, unit) * c0)
        unit += unit_step
"""


def test_a_grouped_launch_takes_few_registers_more(report):
    alone = report(UPDATE, ["kernel"])
    # c0 is everyone's; a thread branches to its member, and does not load what belongs to the others
    together = report(grouped.source(UPDATE, "kernel", (False, True, False, False), 24), ["kernel"])
    assert together["spills"] == 0
    assert together["registers"] <= alone["registers"] + 16


def test_text_of_a_grouped_launch():
    assert grouped.source(UPDATE, "kernel", (False, True, False, False), 2) == (
        "def kernel(a1, n0_of_0, a2_of_0, a3_of_0, units_of_0, begin_of_0, "
        "n0_of_1, a2_of_1, a3_of_1, units_of_1, begin_of_1, total):\n"
        "    number = i64(cuda.blockIdx.x)\n"
        "    while number < total:\n"
        "        if number < begin_of_1:\n"
        "            n0 = n0_of_0\n"
        "            a2 = a2_of_0\n"
        "            a3 = a3_of_0\n"
        "            units = units_of_0\n"
        "            begin = begin_of_0\n"
        "            blocks = begin_of_1 - begin\n"
        "            branch()\n"
        "        else:\n"
        "            n0 = n0_of_1\n"
        "            a2 = a2_of_1\n"
        "            a3 = a3_of_1\n"
        "            units = units_of_1\n"
        "            begin = begin_of_1\n"
        "            blocks = total - begin\n"
        "            branch()\n"
        "        block = number - begin\n"
        "        c0 = f32(bitcast_i64_f64(a1))\n"
        "        p0 = pointer_f32(a2)\n"
        "        p1 = pointer_f32(a3)\n"
        "        unit = block * 256 + i64(cuda.threadIdx.x)\n"
        "        unit_step = blocks * 256\n"
        "        while unit < units:\n"
        "            store(p1, unit, load_constant(p0, unit) * c0)\n"
        "            unit += unit_step\n"
        "        number += i64(cuda.gridDim.x)\n"
        "        rolled()\n"
    )


@pytest.mark.parametrize("dtype", NUMBERS, ids=lambda dtype: dtype.name)
def test_sorts_compile_without_spills(report, dtype):
    for wide in (False, True) if dtype is dtypes.float64 else (False,):
        found = report(sort.source(dtype, True, wide, THREADS, WARP), ["count", "scan", "move"])
        assert found["spills"] == 0
        # what a block may have without asking, and two of them at once on a multiprocessor
        assert found["shared"] <= 48 << 10
        assert found["registers"] * THREADS <= 65536 // 2
    found = report(sort.source(dtype, False, False, THREADS, WARP), ["short"])
    assert found["spills"] == 0
    assert found["registers"] * THREADS <= 65536 // 2


@pytest.fixture(scope="module")
def simulated():
    return simulator.answer(str(Path(__file__).with_name("cuda_sorts.py")), *(x.name for x in NUMBERS))


@pytest.mark.parametrize("dtype", NUMBERS, ids=lambda dtype: dtype.name)
def test_positions_are_those_of_a_stable_sort(simulated, dtype):
    assert simulated[dtype.name] is None


def test_keys_of_few_bits_take_few_passes(simulated):
    assert simulated["few bits"] == [9, True, True]


def test_nothing_adds_up_in_the_order_in_which_threads_come():
    """So that results have the same bits in each run, whether or not deterministic algorithms are asked for."""
    assert namespace.NAMESPACE and not [name for name in namespace.NAMESPACE if "atomic" in name]
    generators = (Path(module.__file__) for module in (codegen_cuda, products, scatter, sort))
    assert not [path.name for path in generators if "atomic" in path.read_text()]


def test_a_product_of_no_shape_is_compiled_anew():
    kinds = dtypes.float32, dtypes.float32
    one = products.describe(*kinds, (1, 4, 5, 6), *[[[(1, 0)], [(4, 6)], [(6, 1)]]] * 2, (0, 5), False, 256)
    other = products.describe(*kinds, (3, 40, 50, 60), *[[[(3, 9)], [(40, 60)], [(60, 1)]]] * 2, (0, 5), False, 256)
    assert one.source == other.source
    assert one.words != other.words


@pytest.mark.parametrize(("dtype", "launches"), [
    (dtypes.float32, 24), (dtypes.float64, 48), (dtypes.bfloat16, 12), (dtypes.int8, 6), (dtypes.bool_, 3),
])  # fmt: skip
def test_a_long_row_takes_three_launches_for_each_digit(dtype, launches):
    found = sort.describe(dtype, 1, 1_000_000, 10, False, THREADS, WARP)
    assert len(found.steps) == launches
    assert [step.launch.function for step in found.steps[:3]] == ["count", "scan", "move"]
    assert found.steps[0].launch.blocks == 489


def test_short_rows_share_a_block():
    (step,) = sort.describe(dtypes.float32, 100_000, 10, 10, False, THREADS, WARP).steps
    assert step.launch.blocks == 100_000 // 195 + 1
    (step,) = sort.describe(dtypes.float32, 3, 2048, 10, False, THREADS, WARP).steps
    assert step.launch.blocks == 3


def test_a_row_of_any_length_has_so_many_chunks_that_a_block_adds_up_their_counts():
    found = sort.describe(dtypes.int8, 1, 3 << 30, 1, False, THREADS, WARP)
    assert found.steps[0].launch.blocks <= sort.CHUNKS
    # positions do not fit into 32 bits
    assert found.scratch["order0"] == 8 * (3 << 30)
