"""Sorting on a GPU: the positions of elements in order, by a bitonic network.

A launch compares pairs of positions a power of two apart and exchanges those that are out of order; after
``log2(n) * (log2(n) + 1) / 2`` launches a row is sorted. Every comparison is in ascending order, so that elements that
are missing up to a power of two count as the last ones and need not exist. Equal elements are compared by their
positions, which makes the order stable; NaN is the largest.

In: a dtype and rows. Out: launches in the vocabulary of ``namespace.py``.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator

from ...compiler.codegen_cuda import MAX_BLOCKS, Launch
from ...compiler.dtypes import FLOATING, DType

SOURCE = '''
def begin(a0, a1, a2, length, count, span, half, units):
    order = pointer_i64(a1)
    unit = i64(cuda.blockIdx.x) * {threads} + i64(cuda.threadIdx.x)
    unit_step = i64(cuda.gridDim.x) * {threads}
    while unit < units:
        row = udiv(unit, length)
        store(order, unit, unit - row * length)
        unit += unit_step


def exchange(a0, a1, a2, length, count, span, half, units):
    x = pointer_{code}(a0)
    order = pointer_i64(a1)
    pairs = udiv(units, count)
    unit = i64(cuda.blockIdx.x) * {threads} + i64(cuda.threadIdx.x)
    unit_step = i64(cuda.gridDim.x) * {threads}
    while unit < units:
        row = udiv(unit, pairs)
        pair = unit - row * pairs
        group = udiv(pair, half)
        within = pair - group * half
        low = group * 2 * half + within
        high = group * 2 * half + 2 * half - 1 - within if span > 0 else low + half
        if high < length:
            base = row * length
            first = load(order, base + low)
            second = load(order, base + high)
            one = {value_first}
            other = {value_second}
            if {wrong}:
                store(order, base + low, second)
                store(order, base + high, first)
        unit += unit_step


def finish(a0, a1, a2, length, count, span, half, units):
    order = pointer_i64(a1)
    out = pointer_i64(a2)
    unit = i64(cuda.blockIdx.x) * {threads} + i64(cuda.threadIdx.x)
    unit_step = i64(cuda.gridDim.x) * {threads}
    while unit < units:
        row = udiv(unit, count)
        store(out, unit, load(order, row * length + unit - row * count))
        unit += unit_step
'''


@functools.cache
def source(dtype: DType, descending: bool, threads: int) -> str:
    """The source for elements of a dtype."""
    kept = dtype.compute.code
    values = [f"load_constant(x, base + {name})" for name in ("first", "second")]
    if dtype.compute is not dtype:
        values = [f"{kept}({value})" for value in values]
    if dtype.kind == 0:
        values = [f"i64({value})" for value in values]
    one, other = ("other", "one") if descending else ("one", "other")
    if dtype.kind == FLOATING:
        # whether the first comes after the second: NaN after everything
        after = f"({one} > {other} or ({one} != {one} and {other} == {other}))"
        same = "(one == other or (one != one and other != other))"
    else:
        after, same = f"{one} > {other}", "one == other"
    return SOURCE.format(
        code=dtype.code, threads=threads, value_first=values[0], value_second=values[1],
        wrong=f"{after} or ({same} and first > second)",
    )


def steps(rows: int, length: int, count: int, threads: int) -> Iterator[tuple[Launch, tuple[int, ...]]]:
    """The launches that sort rows, each with the words that follow the addresses of the elements, of the order that is
    being made (rows * length integers of 64 bits) and of the result."""

    def step(function: str, units: int, second: int, span: int = 0, half: int = 1) -> tuple[Launch, tuple[int, ...]]:
        blocks = max(1, min(-(-units // threads), MAX_BLOCKS))
        return Launch(function, blocks, threads, units), (length, second, span, half)

    yield step("begin", rows * length, 1)
    width = 1
    while width < length:
        width *= 2
    pairs = width // 2
    size = 2
    while size <= width:
        half, span = size // 2, 1
        while half:
            yield step("exchange", rows * pairs, rows, span, half)
            half, span = half // 2, 0
        size *= 2
    yield step("finish", rows * count, count)
