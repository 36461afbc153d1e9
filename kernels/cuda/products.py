"""Matrix products on a GPU, by tiles in shared memory, for where no library does them.

A block computes a tile of the product: it reads tiles of both operands into shared memory, so that each element comes
from memory once a tile, and every thread adds up the products for :data:`EACH` by :data:`EACH` elements, tile by tile,
in registers. An index of an operand may be several axes of the buffer, as those of the windows of an image are; their
extents and strides are arguments.

In: operands described by axes. Out: source in the vocabulary of ``namespace.py``, its words, and how to launch it.
"""

from __future__ import annotations

import functools
import itertools
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ...compiler.codegen_cuda import MAX_BLOCKS, Launch
from ...compiler.dtypes import DType

#: The extents and strides of an index, the outer axis first.
Axes = Sequence[tuple[int, int]]

#: Rows and columns of a tile that a thread computes.
EACH = 4

SOURCE = '''
def kernel(a0, a1, a2, m, n, k, a_first, b_first, {parameters}, units):
    a = pointer_{stored}(a0)
    b = pointer_{stored}(a1)
    c = pointer_{code}(a2)
    left = cuda.shared.array({size}, {compute})
    right = cuda.shared.array({size}, {compute})
    thread = i64(cuda.threadIdx.x)
    down = udiv(thread, {side})
    across = thread - down * {side}
    tiles_across = udiv(n + {tile} - 1, {tile})
    tiles = udiv(m + {tile} - 1, {tile}) * tiles_across
    unit = i64(cuda.blockIdx.x)
    unit_step = i64(cuda.gridDim.x)
    while unit < units:
        batch = udiv(unit, tiles)
        place = unit - batch * tiles
        top = udiv(place, tiles_across)
        first_row = top * {tile} + down
        first_column = (place - top * tiles_across) * {tile} + across
{starts}
{zeros}
        base = 0
        while base < k:
            place = base + across
{a_at}
{fill_left}
            place = base + down
{b_at}
{fill_right}
            cuda.syncthreads()
            stop = imin(k - base, {side})
{parts}
            at = 0
            while at < stop:
{products}
                at += 1
{sums}
            cuda.syncthreads()
            base += {side}
{stores}
        unit += unit_step
'''


@dataclass(frozen=True)
class Product:
    """A launch that computes a product: after the addresses of both operands and of the result come ``words``."""

    source: str
    words: tuple[int, ...]
    launch: Launch


def describe(
    dtype: DType, stored: DType, shape: tuple[int, int, int, int], a: Sequence[Axes], b: Sequence[Axes],
    firsts: tuple[int, int], accumulate: bool, threads: int,
) -> Product:
    """The product ``[batch, m, n]`` of operands ``[batch, m, k]`` and ``[batch, k, n]``, or what is added to it.

    Args:
        dtype: of the product.
        stored: of the operands: the same, or the 16-bit floats of a product in float32.
        shape: batch, m, n, k.
        a, b: the axes of each of an operand's three indices.
        firsts: where the first element of each operand is. Others may come before it: strides may be negative.
    """
    batch, m, n, k = shape
    found = tuple(tuple(len(axes) for axes in operand) for operand in (a, b))
    words = [m, n, k, *firsts]
    for operand in (a, b):
        for axes in operand:
            for extent, stride in axes:
                words += [extent, stride]
    width = side(threads)
    tile = EACH * width
    units = batch * -(-m // tile) * -(-n // tile)
    launch = Launch("kernel", max(1, min(units, MAX_BLOCKS)), width * width, units)
    return Product(source(dtype, stored, *found, accumulate, width), tuple(words), launch)


def side(threads: int) -> int:
    """The side of the largest square of a power of two that a block has threads for."""
    found = 1
    while 4 * found * found <= threads:
        found *= 2
    return found


@functools.cache
def source(
    dtype: DType, stored: DType, a: tuple[int, ...], b: tuple[int, ...], accumulate: bool, width: int
) -> str:
    """The source for operands whose indices have these numbers of axes."""
    compute = dtype.compute
    tile, each = EACH * width, range(EACH)
    names = {"a_batch": ("batch", a[0]), "b_batch": ("batch", b[0])}
    names |= {f"a_row{q}": (f"row{q}", a[1]) for q in each} | {f"b_column{r}": (f"column{r}", b[2]) for r in each}
    names |= {"a_at": ("place", a[2]), "b_at": ("place", b[1])}
    counts = {"a_batch": a[0], "a_row": a[1], "a_at": a[2], "b_batch": b[0], "b_at": b[1], "b_column": b[2]}
    parameters = [f"{part}_{name}_{i}" for name, count in counts.items() for i in range(count) for part in "es"]

    def block(depth: int, lines: Iterable[str]) -> str:
        return "\n".join("    " * depth + line for line in lines)

    def place(name: str) -> list[str]:
        index, count = names[name]
        return offset(name, re.sub(r"\d+$", "", name), index, count)

    def held(text: str, dtype: DType = stored) -> str:
        return text if compute is dtype else f"{dtype.code}_to_{compute.code}({text})"

    zero = f"{compute.code}(0)"
    pairs = list(itertools.product(each, each))
    starts = [line for name in ("a_batch", "b_batch") for line in place(name)]
    starts += ["a_batch += a_first", "b_batch += b_first"]
    for q in each:
        starts += [f"row{q} = first_row + {q * width}", *place(f"a_row{q}")]
        starts += [f"column{q} = first_column + {q * width}", *place(f"b_column{q}")]
    stores = []
    for q, r in pairs:
        total = f"t{q}{r}"
        if accumulate:
            total = f"{held('load(c, at)', dtype)} + {total}"
        stores += [
            f"at = (batch * m + row{q}) * n + column{r}",
            f"if row{q} < m and column{r} < n:",
            f"    store(c, at, {total if compute is dtype else f'{dtype.code}({total})'})",
        ]
    products = [f"a{q} = left[(down + {q * width}) * {width} + at]" for q in each]
    products += [f"b{r} = right[at * {tile} + across + {r * width}]" for r in each]
    products += [f"p{q}{r} = fma(a{q}, b{r}, p{q}{r})" for q, r in pairs]
    return SOURCE.format(
        code=dtype.code, stored=stored.code, compute=compute.name, side=width, tile=tile, size=tile * width,
        parameters=", ".join(parameters), starts=block(2, starts),
        zeros=block(2, (f"t{q}{r} = {zero}" for q, r in pairs)),
        a_at=block(3, place("a_at")), b_at=block(3, place("b_at")),
        fill_left=block(3, (
            f"left[(down + {q * width}) * {width} + across] = "
            f"{held(f'load_constant(a, a_batch + a_row{q} + a_at)')} if row{q} < m and place < k else {zero}"
            for q in each
        )),
        fill_right=block(3, (
            f"right[down * {tile} + across + {r * width}] = "
            f"{held(f'load_constant(b, b_batch + b_column{r} + b_at)')} if column{r} < n and place < k else {zero}"
            for r in each
        )),
        parts=block(3, (f"p{q}{r} = {zero}" for q, r in pairs)), products=block(4, products),
        sums=block(3, (f"t{q}{r} = t{q}{r} + p{q}{r}" for q, r in pairs)), stores=block(2, stores),
    )


def offset(name: str, axes: str, index: str, count: int) -> list[str]:
    """Lines that compute where an index lies that is the ``count`` axes whose extents and strides ``axes`` names."""
    lines, terms, rest = [], [], index
    for i in reversed(range(1, count)):
        lines.append(f"{name}_q{i} = udiv({rest}, e_{axes}_{i})")
        terms.append(f"({rest} - {name}_q{i} * e_{axes}_{i}) * s_{axes}_{i}")
        rest = f"{name}_q{i}"
    if count:
        terms.append(f"{rest} * s_{axes}_0")
    return [*lines, f"{name} = {' + '.join(terms) or '0'}"]
