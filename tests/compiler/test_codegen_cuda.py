"""GPU kernels: their text, how they are launched, and what they compute in the CUDA simulator.

The graphs stand in ``cuda_cases.py``. All of them run in one process with the simulator in place of the compiler.
"""

from __future__ import annotations

import re

import cuda_cases
import numpy as np
import pytest
import simulator
from cuda_cases import CASES, ROWS, SPLIT, lowered_kernels, uses_of
from flamework.compiler import dtypes, primitives as p, primitives_shape as s
from flamework.compiler.codegen_cuda import Launch, distribution, generate, launches
from flamework.compiler.dtypes import float32
from flamework.compiler.loopir import Kernel, Store
from graphs import indices, iota, normal, number, softmax, variable

DISTRIBUTIONS = {"elements", "tiled", "teams", "columns", "blocks", "split", "scans", "scatter"}


def kernels_of(roots, in_pieces: bool = False) -> list[Kernel]:
    return [lowered.kernel for lowered in lowered_kernels(roots, in_pieces)[2]]


def only_kernel(root) -> Kernel:
    (kernel,) = kernels_of([root])
    return kernel


# ------------------------------------------------------------------------------------------------------ the simulator


@pytest.fixture(scope="module")
def report() -> dict:
    return simulator.answer(cuda_cases.__file__)


@pytest.mark.parametrize("name", CASES)
def test_kernels_agree_with_the_reference(report, name):
    assert "problem" not in report["cases"][name], report["cases"][name]["problem"]


def test_cases_divide_work_in_every_way(report):
    assert {how for found in report["cases"].values() for how in found.get("distributions", ())} == DISTRIBUTIONS


def test_number_of_threads_does_not_matter(report):
    assert all("problem" not in found for found in report["threads"])


def test_bits_depend_neither_on_alignment_nor_on_the_grid(report):
    assert report["vectors"] == {}


def test_index_out_of_range_becomes_zero_and_is_reported(report):
    assert report["out of range"] == {"values": [2, 0, 0, 1], "error": [1, 9, 3]}


# ----------------------------------------------------------------------------------------------------------- the text


def test_text_of_an_elementwise_kernel():
    x = normal(40)
    assert generate(only_kernel(p.mul(p.exp(x), number(0.5, (40,))))) == (
        "def kernel(n0, a1, a2, a3, units):\n"
        "    c0 = f32(bitcast_i64_f64(a1))\n"
        "    p0 = pointer_f32(a2)\n"
        "    p1 = pointer_f32(a3)\n"
        "    aligned = (address(a2) | address(a3)) & 15 == 0\n"
        "    first = i64(cuda.blockIdx.x) * 256 + i64(cuda.threadIdx.x)\n"
        "    step = i64(cuda.gridDim.x) * 256\n"
        "    count = udiv(units, 4)\n"
        "    at = first\n"
        "    while at < count:\n"
        "        held_v0 = registers_f32()\n"
        "        if aligned:\n"
        "            turn = 0\n"
        "            while turn < 4:\n"
        "                place = at + turn * step\n"
        "                if place < count:\n"
        "                    i0 = place * 4\n"
        "                    load_constant_4(p0, i0, held_v0, turn * 4)\n"
        "                turn += 1\n"
        "                unrolled()\n"
        "        else:\n"
        "            turn = 0\n"
        "            while turn < 4:\n"
        "                place = at + turn * step\n"
        "                if place < count:\n"
        "                    part = 0\n"
        "                    while part < 4:\n"
        "                        i0 = place * 4 + part\n"
        "                        v0 = load_constant(p0, i0)\n"
        "                        put(held_v0, turn * 4 + part, v0)\n"
        "                        part += 1\n"
        "                        unrolled()\n"
        "                turn += 1\n"
        "                unrolled()\n"
        "        turn = 0\n"
        "        while turn < 4:\n"
        "            place = at + turn * step\n"
        "            if place < count:\n"
        "                new_p1 = registers_f32()\n"
        "                part = 0\n"
        "                while part < 4:\n"
        "                    i0 = place * 4 + part\n"
        "                    v0 = got(held_v0, turn * 4 + part)\n"
        "                    v1 = exp(v0)\n"
        "                    v2 = (v1 * c0)\n"
        "                    put(new_p1, part, v2)\n"
        "                    part += 1\n"
        "                    unrolled()\n"
        "                if aligned:\n"
        "                    i0 = place * 4\n"
        "                    store_4(p1, i0, new_p1, 0)\n"
        "                else:\n"
        "                    part = 0\n"
        "                    while part < 4:\n"
        "                        i0 = place * 4 + part\n"
        "                        store(p1, i0, got(new_p1, part))\n"
        "                        part += 1\n"
        "                        unrolled()\n"
        "            turn += 1\n"
        "            unrolled()\n"
        "        at += 4 * step\n"
        "        rolled()\n"
        "    unit = count * 4 + first\n"
        "    unit_step = step\n"
        "    while unit < units:\n"
        "        i0 = unit\n"
        "        v0 = load_constant(p0, i0)\n"
        "        v1 = exp(v0)\n"
        "        v2 = (v1 * c0)\n"
        "        store(p1, i0, v2)\n"
        "        unit += unit_step\n"
        "        rolled()\n"
    )


def test_text_of_a_row_reduction():
    assert generate(only_kernel(s.reduce_sum(normal(64, 100), params=(1,)))) == (
        "def kernel(n0, n1, a2, s0, a4, units):\n"
        "    p0 = pointer_f32(a2)\n"
        "    p1 = pointer_f32(a4)\n"
        "    aligned = (address(a2)) & 15 | (s0) & 3 == 0\n"
        "    thread = i64(cuda.threadIdx.x)\n"
        "    lanes = 1\n"
        "    vectors = udiv(n1 + 3, 4)\n"
        "    while lanes < 256 and lanes < vectors and (lanes < 32 or lanes * 2 < vectors):\n"
        "        lanes <<= 1\n"
        "    teams = udiv(256, lanes)\n"
        "    team = udiv(thread, lanes)\n"
        "    lane = thread - team * lanes\n"
        "    shared_f32_0 = cuda.shared.array(256, float32)\n"
        "    base = i64(cuda.blockIdx.x) * teams\n"
        "    base_step = i64(cuda.gridDim.x) * teams\n"
        "    while base < units:\n"
        "        live = base + team < units\n"
        "        unit = imin(base + team, units - 1)\n"
        "        i0 = unit\n"
        "        r0 = f32(0.0)\n"
        "        count1 = udiv(n1, 4)\n"
        "        run1 = 0\n"
        "        while run1 < count1:\n"
        "            stop1 = imin(run1 + lanes * 16, count1)\n"
        "            r0_part = f32(0.0)\n"
        "            at1 = run1 + lane\n"
        "            while at1 < stop1:\n"
        "                held_v0 = registers_f32()\n"
        "                if aligned:\n"
        "                    turn = 0\n"
        "                    while turn < 4:\n"
        "                        place = at1 + turn * lanes\n"
        "                        if place < stop1:\n"
        "                            i1 = place * 4\n"
        "                            load_constant_4(p0, i0 * s0 + i1, held_v0, turn * 4)\n"
        "                        turn += 1\n"
        "                        unrolled()\n"
        "                else:\n"
        "                    turn = 0\n"
        "                    while turn < 4:\n"
        "                        place = at1 + turn * lanes\n"
        "                        if place < stop1:\n"
        "                            part = 0\n"
        "                            while part < 4:\n"
        "                                i1 = place * 4 + part\n"
        "                                v0 = load_constant(p0, i0 * s0 + i1)\n"
        "                                put(held_v0, turn * 4 + part, v0)\n"
        "                                part += 1\n"
        "                                unrolled()\n"
        "                        turn += 1\n"
        "                        unrolled()\n"
        "                turn = 0\n"
        "                while turn < 4:\n"
        "                    place = at1 + turn * lanes\n"
        "                    if place < stop1:\n"
        "                        part = 0\n"
        "                        while part < 4:\n"
        "                            i1 = place * 4 + part\n"
        "                            v0 = got(held_v0, turn * 4 + part)\n"
        "                            r0_part = fadd_reassoc(r0_part, v0)\n"
        "                            part += 1\n"
        "                            unrolled()\n"
        "                    turn += 1\n"
        "                    unrolled()\n"
        "                at1 += 4 * lanes\n"
        "                rolled()\n"
        "            r0 = fadd_reassoc(r0, r0_part)\n"
        "            run1 += lanes * 16\n"
        "        at1 = count1 * 4 + lane\n"
        "        while at1 < n1:\n"
        "            i1 = at1\n"
        "            v0 = load_constant(p0, i0 * s0 + i1)\n"
        "            r0 = fadd_reassoc(r0, v0)\n"
        "            at1 += lanes\n"
        "            rolled()\n"
        "        half = 1\n"
        "        while half < imin(lanes, 32):\n"
        "            r0 = fadd_reassoc(r0, shuffle(r0, half))\n"
        "            half <<= 1\n"
        "        if lanes > 32:\n"
        "            if thread & 31 == 0:\n"
        "                shared_f32_0[udiv(thread, 32)] = r0\n"
        "            cuda.syncthreads()\n"
        "            other = udiv(thread - lane, 32)\n"
        "            stop = other + udiv(lanes, 32)\n"
        "            r0 = shared_f32_0[other]\n"
        "            other += 1\n"
        "            while other < stop:\n"
        "                r0 = fadd_reassoc(r0, shared_f32_0[other])\n"
        "                other += 1\n"
        "                rolled()\n"
        "            cuda.syncthreads()\n"
        "        store_if(live and lane == 0, p1, i0, r0)\n"
        "        base += base_step\n"
    )


def test_text_does_not_depend_on_sizes():
    assert generate(only_kernel(softmax(normal(5, 40), 1))) == generate(only_kernel(softmax(normal(300, 1000), 1)))


def test_memory_that_a_kernel_writes_is_not_read_as_constant():
    scatter = kernels_of([s.scatter(normal(5), indices(9, below=5), normal(9), params=(0, "add"))])[-1]
    text = generate(scatter)
    (store,) = [st for st in scatter.body if isinstance(st, Store)]
    assert f"load({store.pointer}, at)" in text
    assert f"load_constant({store.pointer}," not in text


@pytest.mark.parametrize("threads", [0, 3, 96, 2048])
def test_blocks_have_a_power_of_two_of_threads(threads):
    with pytest.raises(ValueError, match="power of two"):
        generate(only_kernel(p.exp(normal(4))), threads)


# ----------------------------------------------------------------------------------------------------------- launches


@pytest.mark.parametrize(
    ("rows", "columns", "blocks"),
    [
        (64, 10, 4),  # sixteen lanes a row, sixteen rows a block
        (64, 256, 8),  # a warp a row, eight elements a thread
        (64, 100_000, 64),
        (3, 1000, 2),  # four warps a row
        (1_000_000, 2000, 1_000_000),
    ],
)
def test_rows_get_threads_by_their_elements(rows, columns, blocks):
    product = p.mul(iota((rows, columns), 1, float32), number(1.0, (rows, columns)))
    kernel = only_kernel(s.reduce_sum(product, params=(1,)))
    assert launches(kernel) == [Launch("kernel", blocks, 256, rows)]


def test_neighbouring_columns_share_a_block():
    kernel = only_kernel(s.reduce_sum(normal(300, 70), params=(0,)))
    assert distribution(kernel) == "columns"
    assert launches(kernel) == [Launch("kernel", 3, 256, 70)]


def test_few_long_rows_are_cut_into_pieces_and_finished():
    kernel = only_kernel(s.reduce_sum(normal(2, 100_000), params=(1,)))
    first, second = launches(kernel)
    assert (first.function, second.function) == ("kernel", "finish")
    assert first.blocks == first.units == 2 * 13
    assert (second.blocks, second.units) == (2, 2)


def test_scatter_is_divided_by_what_cannot_meet():
    index = s.broadcast_to(s.reshaped(indices(9, below=50), (9, 1)), (9, 600))
    kernel = kernels_of([s.scatter(normal(50, 600), index, normal(9, 600), params=(0, "add"))])[-1]
    assert distribution(kernel) == "scatter"
    assert launches(kernel) == [Launch("kernel", 3, 256, 600)]


def test_scatter_of_single_elements_runs_in_one_thread():
    kernel = kernels_of([s.scatter(normal(50), indices(900, below=50), normal(900), params=(0, "set"))])[-1]
    assert launches(kernel) == [Launch("kernel", 1, 256, 1)]


# -------------------------------------------------------------------------------------------------- PTX, machine code

COMPILED = (
    "softmax_of_rows", "softmax_of_columns", "layer_norm_backward", "cross_entropy_backward", "gelu_of_a_vector",
    "transposed_operand", "mean_of_row_losses_in_pieces", "whole_sum_in_pieces", "sliced_flipped_and_padded",
    "scatter_add", "cumulative_sums", "reductions_of_float64", "reductions_of_bool", "random_bits",
    "loops_in_loops_in_loops",
)  # fmt: skip


@pytest.mark.parametrize("name", COMPILED)
def test_kernels_compile_for_gpus_without_spilling_registers(name):
    pytest.importorskip("numba_cuda")
    from flamework.kernels.cuda import toolchain

    for number_, kernel in enumerate(kernels_of(CASES[name](), name in SPLIT)):
        # both generations for the first kernel of a graph, and for the others one in turn
        for cc in [(8, 0), (9, 0)] if number_ == 0 else [(8 + number_ % 2, 0)]:
            text = toolchain.ptx(kernel, cc)
            assert f".target sm_{cc[0]}{cc[1]}" in text
            assert all(f".entry {toolchain.SYMBOL_PREFIX}{x.function}(" in text for x in launches(kernel))
            found = toolchain.sass_report(kernel, cc)
            assert found["spills"] == 0
            assert 0 < found["registers"] <= 128
            assert ("cuda.shared" in generate(kernel)) == (found["shared"] > 0)


@pytest.mark.parametrize("dtype", [float32, dtypes.float16, dtypes.bfloat16], ids=lambda dtype: dtype.name)
def test_elements_move_by_16_bytes(dtype):
    pytest.importorskip("numba_cuda")
    from flamework.kernels.cuda import toolchain

    kernel = only_kernel(p.exp(variable(np.ones(4000, dtype.numpy))))
    code = toolchain.sass(kernel, (9, 0))
    # 64 bytes of loads under way
    assert len(re.findall(r"\bLDG\.E\.128", code)) == len(re.findall(r"\bSTG\.E\.128", code)) == 4
    assert not re.search(r"\b(LDL|STL)\b", code)
    # three blocks at a time on a multiprocessor
    assert toolchain.sass_report(kernel, (9, 0))["registers"] <= 80


@pytest.mark.parametrize("dtype", [float32, dtypes.float16, dtypes.bfloat16], ids=lambda dtype: dtype.name)
def test_rows_move_by_16_bytes(dtype):
    pytest.importorskip("numba_cuda")
    from flamework.kernels.cuda import toolchain

    kernel = only_kernel(softmax(variable(np.ones((8, 4000), dtype.numpy)), 1))
    code = toolchain.sass(kernel, (9, 0))
    # three loops read, the last writes, and nothing is stored for another loop
    assert len(re.findall(r"\bLDG\.E\.128", code)) == 3 * 4
    assert len(re.findall(r"\bSTG\.E\.128", code)) == 4
    assert not re.search(r"\b(LDL|STL)\b", code)
    # two blocks at a time on a multiprocessor
    assert toolchain.sass_report(kernel, (9, 0))["registers"] <= 96


def test_every_row_of_the_table_compiles_for_gpus():
    pytest.importorskip("numba_cuda")
    from flamework.kernels.cuda import toolchain

    for name in ROWS:
        if p.TABLE[name].kind == "elementwise":
            for kernel in kernels_of(uses_of(name)):
                assert ".entry flamework_kernel(" in toolchain.ptx(kernel, (9, 0)), name
