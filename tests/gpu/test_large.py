"""Tensors of more than 2**31 elements: their addresses do not fit into 32 bits."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import flamework
import gpu_report
import pytest
import simulator
from flamework.runtime import gpu_kernels

COUNT = (1 << 31) + 5


@pytest.fixture
def large():
    """int8 zeros, but for the last three elements."""
    if flamework.cuda.mem_get_info()[0] < 5 * COUNT:
        pytest.skip(f"needs {5 * COUNT / 2**30:.0f} GiB of a GPU's memory")
    x = flamework.zeros(COUNT, dtype=flamework.int8, device="cuda")
    x[-3:] = flamework.tensor([7, 9, 5], dtype=flamework.int8, device="cuda")
    return x


@pytest.mark.gpu
def test_elements_beyond_32_bits(large):
    y = large * 2 + 1
    assert y[-4:].tolist() == [1, 15, 19, 11]
    assert y[:2].tolist() == [1, 1]


@pytest.mark.gpu
def test_sums_and_positions_beyond_32_bits(large):
    assert large.sum().item() == 21
    assert (large.argmax().item(), large.max().item()) == (COUNT - 2, 9)
    assert (large + 1).sum().item() == COUNT + 21


@pytest.mark.gpu
def test_indices_beyond_32_bits(large):
    index = flamework.tensor([COUNT - 1, 0, COUNT - 3, -2], device="cuda")
    assert large[index].tolist() == [5, 0, 7, 9]
    large.index_add_(0, index[:3], flamework.ones(3, dtype=flamework.int8, device="cuda"))
    assert large[-3:].tolist() == [8, 9, 6]
    assert large[0].item() == 1


@pytest.mark.gpu
def test_rows_and_columns_beyond_32_bits(large):
    rows = large[: 1 << 31].view(1 << 15, 1 << 16)
    rows[-1, -1] = 3
    assert rows.sum(0, dtype=flamework.int32)[-1].item() == rows.sum(1, dtype=flamework.int32)[-1].item() == 3
    assert rows.T[-1, -1].item() == 3


@pytest.mark.gpu
def test_memory_is_used_as_it_should_be():
    sanitizer = shutil.which("compute-sanitizer")
    if sanitizer is None:
        pytest.skip("compute-sanitizer is not installed")
    program = str(Path(__file__).with_name("sanitized.py"))
    command = [sanitizer, "--error-exitcode", "9", sys.executable, program, "1031"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-4000:]
    assert "done" in done.stdout
    assert "ERROR SUMMARY: 0 errors" in done.stdout


def test_the_program_for_the_sanitizer_runs_in_the_simulator():
    program = str(Path(__file__).with_name("sanitized.py"))
    assert simulator.output(program, "3") == "done\n"


# ------------------------------------------------------------------------------------------------------- without a GPU

PROGRAMS = {
    "elements": lambda x: x * 2 + 1,
    "a view": lambda x: x.view(1 << 16, -1)[::2, 1:].flip(0) + 1,
    "transposed": lambda x: x.view(1 << 16, -1).T.contiguous(),
    "rows": lambda x: x.view(1 << 16, -1).sum(1),
    "columns": lambda x: x.view(1 << 16, -1).sum(0),
    "in pieces": lambda x: x.sum(),
    "position of the largest": lambda x: x.argmax(),
    "running sums": lambda x: x.view(1 << 16, -1).cumsum(1),
    "gather": lambda x: x[flamework.arange(5)],
    "scatter": lambda x: x.index_add(0, flamework.arange(5), x[:5]),
    "sorted scatter": lambda x: x.index_add(0, flamework.arange(1 << 16), x[: 1 << 16]),
    "product": lambda x: x.view(1 << 16, -1).half() @ x.view(1 << 16, -1)[:9].half().T,
    "sort": lambda x: x.sort()[1],
}


def overflowing(text: str) -> list[str]:
    """Lines of PTX that keep 32 bits of a position: products of 32 bits, and registers of 64 of which the lower half is
    taken, or shifted up to be shifted back. A shift of 32 bits is a product, too, unless only bits below the 64th are
    taken of it: how far a word is shifted."""
    found = re.findall(
        r"(?:mul|mad)\.lo\.[su]32\b.*|cvt\.[su]64\.[su]32\s+%rd\d+, %rd.*|shl\.b64\s+%rd\d+, %rd\d+, 32\b.*", text
    )
    for function in text.split(".entry")[1:]:
        for line, register in re.findall(r"(shl\.b32\s+(%r\d+).*)", function):
            masks = re.findall(rf"and\.b32\s+%r\d+, {register}, (\d+);", function)
            uses = len(re.findall(rf"{register}\b", function)) - 1
            if not uses == len(masks) > 0 or max(map(int, masks)) >= 64:
                found.append(line)
    return found


@pytest.mark.parametrize("name", PROGRAMS)
def test_positions_are_computed_in_64_bits(name):
    pytest.importorskip("numba_cuda")
    with gpu_report.dry() as ran:
        x = flamework.empty(COUNT & -(1 << 16), dtype=flamework.int8, device="cuda")
        with flamework.device("cuda"):
            flamework.realize(PROGRAMS[name](x))
    sources = {step.source for plan in ran for number in range(len(plan.items)) for step in plan.steps(number)}
    assert sources
    for source in sources:
        assert overflowing(gpu_kernels.machine_code(source, (9, 0), 256).decode()) == []


def test_positions_cut_to_32_bits_are_found():
    pytest.importorskip("numba_cuda")
    source = """
def kernel(a0, n, units):
    p0 = pointer_i8(a0)
    store(p0, i64(i32(n * units)), i8(1))
"""
    assert overflowing(gpu_kernels.machine_code(source, (9, 0), 256).decode())
    assert overflowing("\tmad.lo.s32 \t%r4, %r1, %r2, %r3;")
    shift = ".entry f\n\tshl.b32 \t%r2, %r1, 4;\n"
    assert not overflowing(shift + "\tand.b32 \t%r3, %r2, 48;")
    for use in ("add.s32 \t%r3, %r4, %r2;", "and.b32 \t%r3, %r2, 4080;", "st.shared.u32 \t[%r2], %r5;",
                "div.u32 \t%r3, %r2, %r5;", "and.b32 \t%r3, %r2, 48;\n\tadd.s32 \t%r5, %r2, %r3;"):
        assert overflowing(shift + f"\t{use}"), use
