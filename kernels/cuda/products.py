"""Matrix products on a GPU, by tiles in shared memory, for where no library does them.

A block computes a tile of the product: it reads tiles of both operands into shared memory, so that each element comes
from memory once a tile, and every thread adds up the products for its own elements, in order.

In: a dtype. Out: source in the vocabulary of ``namespace.py``, and how to launch it.
"""

from __future__ import annotations

import functools

from ...compiler.codegen_cuda import MAX_BLOCKS, Launch
from ...compiler.dtypes import DType

SOURCE = '''
def kernel(a0, a1, a2, m, n, k, inner, ao, ai, ar, ac, bo, bi, br, bc, units):
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
        outer = udiv(batch, inner)
        part = batch - outer * inner
        top = udiv(tile, tiles_across)
        row = top * {side} + down
        column = (tile - top * tiles_across) * {side} + across
        a_row = outer * ao + part * ai + row * ar
        b_column = outer * bo + part * bi + column * bc
        total = {zero}
        base = 0
        while base < k:
            left[thread] = {load_a} if row < m and base + across < k else {zero}
            right[thread] = {load_b} if column < n and base + down < k else {zero}
            cuda.syncthreads()
            stop = imin(k - base, {side})
            at = 0
            while at < stop:
                total = total + left[down * {side} + at] * right[at * {side} + across]
                at += 1
            cuda.syncthreads()
            base += {side}
        if row < m and column < n:
            at = (batch * m + row) * n + column
            store(c, at, {result})
        unit += unit_step
'''


def side(threads: int) -> int:
    """The sides of a tile: the largest square that a block has threads for."""
    found = 1
    while 4 * found * found <= threads:
        found *= 2
    return found


@functools.cache
def source(dtype: DType, accumulate: bool, threads: int) -> str:
    """The source of ``c = a @ b``, or ``c = c + a @ b``, of batches of matrices with strides."""
    compute = dtype.compute
    def wide(text: str) -> str:
        return text if compute is dtype else f"{compute.code}({text})"
    total = "total"
    if accumulate:
        total = f"{wide('load(c, at)')} + total"
    width = side(threads)
    return SOURCE.format(
        code=dtype.code, compute=compute.name, side=width, size=width * width, zero=f"{compute.code}(0)",
        load_a=wide("load_constant(a, a_row + (base + across) * ac)"),
        load_b=wide("load_constant(b, b_column + (base + down) * br)"),
        result=total if compute is dtype else f"{dtype.code}({total})",
    )


def launch(batch: int, m: int, n: int, threads: int) -> Launch:
    width = side(threads)
    units = batch * -(-m // width) * -(-n // width)
    return Launch("kernel", max(1, min(units, MAX_BLOCKS)), width * width, units)
