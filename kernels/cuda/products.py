"""Matrix products on a GPU, by tiles in shared memory, for where no library does them.

A block computes a tile of the product: it reads tiles of both operands into shared memory, so that each element comes
from memory once a tile, and every thread adds up the products for its own element, tile by tile. An index of an operand
may be several axes of the buffer, as those of the windows of an image are; their extents and strides are arguments.

In: operands described by axes. Out: source in the vocabulary of ``namespace.py``, its words, and how to launch it.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass

from ...compiler.codegen_cuda import MAX_BLOCKS, Launch
from ...compiler.dtypes import DType

#: The extents and strides of an index, the outer axis first.
Axes = Sequence[tuple[int, int]]

SOURCE = '''
def kernel(a0, a1, a2, m, n, k, {parameters}, units):
    a = pointer_{code}(a0)
    b = pointer_{code}(a1)
    c = pointer_{code}(a2)
    left = cuda.shared.array({size}, {compute})
    right = cuda.shared.array({size}, {compute})
    thread = i64(cuda.threadIdx.x)
    down = udiv(thread, {side})
    across = thread - down * {side}
    tiles_across = udiv(n + {side} - 1, {side})
    tiles = udiv(m + {side} - 1, {side}) * tiles_across
    unit = i64(cuda.blockIdx.x)
    unit_step = i64(cuda.gridDim.x)
    while unit < units:
        batch = udiv(unit, tiles)
        tile = unit - batch * tiles
        top = udiv(tile, tiles_across)
        row = top * {side} + down
        column = (tile - top * tiles_across) * {side} + across
{places}
        a_start = a_batch + a_row
        b_start = b_batch + b_column
        total = {zero}
        base = 0
        while base < k:
            place = base + across
{a_place}
            left[thread] = {load_a} if row < m and place < k else {zero}
            place = base + down
{b_place}
            right[thread] = {load_b} if column < n and place < k else {zero}
            cuda.syncthreads()
            stop = imin(k - base, {side})
            part = {zero}
            at = 0
            while at < stop:
                part = part + left[down * {side} + at] * right[at * {side} + across]
                at += 1
            total = total + part
            cuda.syncthreads()
            base += {side}
        if row < m and column < n:
            at = (batch * m + row) * n + column
            store(c, at, {result})
        unit += unit_step
'''


@dataclass(frozen=True)
class Product:
    """A launch that computes a product: after the addresses of both operands and of the result come ``words``."""

    source: str
    words: tuple[int, ...]
    launch: Launch


def describe(
    dtype: DType, shape: tuple[int, int, int, int], a: Sequence[Axes], b: Sequence[Axes], accumulate: bool, threads: int
) -> Product:
    """The product ``[batch, m, n]`` of operands ``[batch, m, k]`` and ``[batch, k, n]``, or what is added to it.

    Args:
        shape: batch, m, n, k.
        a, b: the axes of each of an operand's three indices.
    """
    batch, m, n, k = shape
    found = tuple(tuple(len(axes) for axes in operand) for operand in (a, b))
    words = [m, n, k]
    for operand in (a, b):
        for axes in operand:
            for extent, stride in axes:
                words += [extent, stride]
    width = side(threads)
    units = batch * -(-m // width) * -(-n // width)
    launch = Launch("kernel", max(1, min(units, MAX_BLOCKS)), width * width, units)
    return Product(source(dtype, *found, accumulate, width), tuple(words), launch)


def side(threads: int) -> int:
    """The sides of a tile: the largest square of a power of two that a block has threads for."""
    found = 1
    while 4 * found * found <= threads:
        found *= 2
    return found


@functools.cache
def source(dtype: DType, a: tuple[int, ...], b: tuple[int, ...], accumulate: bool, width: int) -> str:
    """The source for operands whose indices have these numbers of axes."""
    compute = dtype.compute
    names = {
        "a_batch": ("batch", a[0]), "a_row": ("row", a[1]), "a_at": ("place", a[2]),
        "b_batch": ("batch", b[0]), "b_at": ("place", b[1]), "b_column": ("column", b[2]),
    }
    parameters = [f"{part}_{name}{i}" for name, (_, count) in names.items() for i in range(count) for part in "es"]
    lines = {name: offset(name, *description) for name, description in names.items()}

    def block(depth: int, *wanted: str) -> str:
        return "\n".join("    " * depth + line for name in wanted for line in lines[name])

    def held(text: str) -> str:
        return text if compute is dtype else f"{compute.code}({text})"

    total = f"{held('load(c, at)')} + total" if accumulate else "total"
    return SOURCE.format(
        code=dtype.code, compute=compute.name, side=width, size=width * width, zero=f"{compute.code}(0)",
        parameters=", ".join(parameters), places=block(2, "a_batch", "a_row", "b_batch", "b_column"),
        a_place=block(3, "a_at"), b_place=block(3, "b_at"), load_a=held("load_constant(a, a_start + a_at)"),
        load_b=held("load_constant(b, b_start + b_at)"),
        result=total if compute is dtype else f"{dtype.code}({total})",
    )


def offset(name: str, index: str, count: int) -> list[str]:
    """Lines that compute where an index of ``count`` axes lies."""
    if count == 0:
        return [f"{name} = 0"]
    lines, terms, rest = [], [], index
    for i in reversed(range(1, count)):
        lines.append(f"{name}_q{i} = udiv({rest}, e_{name}{i})")
        terms.append(f"({rest} - {name}_q{i} * e_{name}{i}) * s_{name}{i}")
        rest = f"{name}_q{i}"
    terms.append(f"{rest} * s_{name}0")
    return [*lines, f"{name} = {' + '.join(terms)}"]
