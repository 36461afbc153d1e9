"""Contractions over operands that strides do not describe: the convolution's windows, read where they lie.

    C[c(b) + m(i) + n(j)] = sum over k of A[a(b) + r(i) + p(k)] * B[b(b) + s(j) + q(k)]

Every operand is a buffer with tables of offsets, one table for each of its indices. Sliding windows are such an
operand, since the offset of a window's element is the offset of the window plus one for the place in it; so a
convolution needs no copy of its windows (im2col), which is several times as large as the image. (The method is that of
Matthews, "High-performance tensor contraction without transposition", 2018, and of the "indirect" convolution of
Dukhan, 2019.)

B is packed first into panels of ``PANEL`` columns, zero-filled, so that the inner loop reads it in order. The inner
loop keeps a tile of six rows by one panel in registers, adds the products of one element of each row of A with a row of
the panel, by fused multiply-adds in the order of k, and is written as LLVM vectors (`multiply_tile`). A is read once
for each panel and needs no packing. A unit of work is a block of rows of one panel: its sums stay on the stack while
the depth is walked in blocks, whose part of the panel fits in the second level of cache, and are stored at the end.
Measured on Zen 4 in float32: 100 to 110 GFLOP/s a core, where oneDNN and OpenBLAS reach 100.

An image with padding has zeros around it, of a small image up to a third of all products. Rows of A that have them in
the same places are sorted into the same tiles, and such a tile goes through the other places only. Nothing is left out
where a factor of the zeros is infinite or not a number, which packing notes, so no result changes.

Each element of C is one sum in the order of k, whatever the tiles are: results depend on nothing else.

In: offsets. Out: `describe_contraction`, the kernels' source and names.
Read next: `tile.py` for the inner loop, `blas.py` for products of ordinary matrices.
"""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

#: The words of a contraction's argument block, in order; both kernels read the same one. Those after DEPTH are tables.
CONTRACTION_WORDS = (
    "A", "B", "C", "PACKED", "M", "N", "K", "BLOCK_M", "BLOCKS_M", "PANELS", "BLOCKS_K", "WIDTH", "FLAGS",
    "B_IN_ROWS", "C_IN_ROWS", "ADD",
    "A_BATCH", "B_BATCH", "C_BATCH", "A_ROWS", "B_DEPTH", "B_COLUMNS", "C_ROWS", "C_COLUMNS",
    "STEPS", "STARTS", "KINDS",
)  # fmt: skip
TABLES = CONTRACTION_WORDS[CONTRACTION_WORDS.index("A_BATCH") :]

SIZES = {"f32": 4, "f64": 8}  # bytes of an element
ROWS = 6  # of a tile
BLOCKS = (96, 48, 24)  # rows of a unit of work, multiples of ROWS: the first that makes enough units
ENOUGH_UNITS = 16
BLOCK_K = 512  # depth of which a panel stays in the second level of cache: 128 KB


@functools.cache
def vector_bytes() -> int:
    from .target import has_feature  # imports llvmlite, which recording does without

    if has_feature("avx512f"):
        return 64
    return 32 if has_feature("avx") else 16


@functools.cache
def vectors() -> int:
    """Vectors in a row of a tile: with AVX-512 and on ARM 6 x 4 sums fill 24 of 32 registers, with AVX 6 x 2 fill 12 of
    16."""
    from .target import has_feature, target_description

    wide = has_feature("avx512f") or target_description()["triple"].startswith(("aarch64", "arm64"))
    return 4 if wide else 2


def panel(itemsize: int) -> int:
    """Columns of a panel: a function of the processor, as which instructions there are."""
    return vectors() * vector_bytes() // itemsize


_TEMPLATE = '''
def pack_SHORT(args, start, stop):
    k = args[K]
    n = args[N]
    panels = args[PANELS]
    blocks = args[BLOCKS_K]
    width = args[WIDTH]
    depth = pointer_i64(args[B_DEPTH])
    columns = pointer_i64(args[B_COLUMNS])
    batches = pointer_i64(args[B_BATCH])
    source = pointer_SHORT(args[B])
    packed = pointer_SHORT(args[PACKED])
    for unit in range(start, stop):
        whole = idiv_floor(unit, blocks)
        begin = (unit - whole * blocks) * BLOCK_K
        end = imin(begin + BLOCK_K, k)
        batch = idiv_floor(whole, panels)
        first = (whole - batch * panels) * PANEL
        count = imin(PANEL, n - first)
        base = load(batches, batch, 0)
        target = whole * k * width
        if args[B_IN_ROWS]:
            row = base + load(columns, first, 1)
            for step in range(begin, end):
                place = row + load(depth, step, 2)
                for j in range(count):
                    store(packed, target + step * width + j, load(source, place + j, 3), 4)
        else:
            for block in range(begin, end, PACK_DEPTH):
                last = imin(block + PACK_DEPTH, end)
                for j in range(count):
                    column = base + load(columns, first + j, 1)
                    for step in range(block, last):
                        store(packed, target + step * width + j, load(source, column + load(depth, step, 2), 3), 4)
        if count < width:
            for step in range(begin, end):
                for j in range(count, width):
                    store(packed, target + step * width + j, SHORT(0.0), 4)
        if args[FLAGS]:
            largest = WORD(0)
            bits = pointer_WORD(args[PACKED])
            for i in range(target + begin * width, target + end * width):
                largest = imax(largest, iand(load(bits, i, 4), WORD(EXPONENT)))
            store(packed, args[FLAGS] + unit, SHORT(largest == WORD(EXPONENT)), 4)


def contract_SHORT(args, start, stop):
    m = args[M]
    n = args[N]
    k = args[K]
    block_m = args[BLOCK_M]
    blocks = args[BLOCKS_M]
    panels = args[PANELS]
    rows = pointer_i64(args[A_ROWS])
    starts = pointer_i64(args[STARTS])
    kinds = pointer_i64(args[KINDS])
    packed = pointer_SHORT(args[PACKED])
    c_rows = pointer_i64(args[C_ROWS])
    c_columns = pointer_i64(args[C_COLUMNS])
    result = pointer_SHORT(args[C])
    sums = local_SHORT(SUMS)
    tile_rows = local_i64(MOST_ROWS)
    sums_address = address_of(sums)
    rows_address = address_of(tile_rows)
    for unit in range(start, stop):
        batch = idiv_floor(unit, blocks * panels)
        block = idiv_floor(unit - batch * blocks * panels, panels)
        panel = unit - (batch * blocks + block) * panels
        first_row = block * block_m
        height = imin(block_m, m - first_row)
        first_column = panel * PANEL
        width = imin(PANEL, n - first_column)
        tiles = idiv_floor(height + ROWS - 1, ROWS)
        # rows past the end are the last one again: computed, and not stored
        for i in range(tiles * ROWS):
            store(tile_rows, i, load(rows, first_row + imin(i, height - 1), 0), 6)
        for i in range(tiles * ROWS * PANEL):
            store(sums, i, SHORT(0.0), 7)
        a = args[A] + BYTES * load(pointer_i64(args[A_BATCH]), batch, 1)
        b = args[PACKED] + BYTES * (batch * panels + panel) * k * args[WIDTH]
        first_tile = idiv_floor(first_row, ROWS)
        finite = args[FLAGS] > 0
        for part in range(args[BLOCKS_K] * finite):
            finite = finite and load(packed, args[FLAGS] + (batch * panels + panel) * args[BLOCKS_K] + part, 8) == 0.0
        for part in range(args[BLOCKS_K]):
            for tile in range(tiles):
                kind = load(kinds, first_tile + tile, 9) * finite
                start = kind * (args[BLOCKS_K] + 1) + part
                begin = load(starts, start, 10)
                depth = load(starts, start + 1, 10) - begin
                steps = args[STEPS] + 16 * begin
                here = rows_address + 8 * ROWS * tile
                there = sums_address + BYTES * ROWS * PANEL * tile
                if depth > 0:
                    DISPATCH
        base = load(pointer_i64(args[C_BATCH]), batch, 2)
        if args[C_IN_ROWS]:
            base += load(c_columns, first_column, 3)
            for i in range(height):
                row = base + load(c_rows, first_row + i, 4)
                if args[ADD]:
                    for j in range(width):
                        store(result, row + j, fadd(load(result, row + j, 5), load(sums, i * PANEL + j, 7)), 5)
                else:
                    for j in range(width):
                        store(result, row + j, load(sums, i * PANEL + j, 7), 5)
        else:
            for block_row in range(0, height, STORE_ROWS):
                last = imin(block_row + STORE_ROWS, height)
                for j in range(width):
                    column = base + load(c_columns, first_column + j, 3)
                    for i in range(block_row, last):
                        place = column + load(c_rows, first_row + i, 4)
                        total = load(sums, i * PANEL + j, 7)
                        if args[ADD]:
                            total = fadd(load(result, place, 5), total)
                        store(result, place, total, 5)
'''


def _dispatch(short: str, lanes: int) -> str:
    call = f"multiply_tile_{short}(%d, depth, a, here, steps, b, args[WIDTH], there)"
    lines = []
    for count in range(1, vectors()):
        lines.append(f"{'el' if lines else ''}if width <= {count * lanes}:")
        lines.append("    " + call % count)
    lines += ["else:", "    " + call % vectors()]
    return ("\n" + " " * 20).join(lines)


def contraction_source(short: str) -> str:
    """The kernels ``pack`` and ``contract`` of a dtype. Vectors are a part of the processor, and so of the text."""
    size = SIZES[short]
    text = _TEMPLATE.replace("DISPATCH", _dispatch(short, vector_bytes() // size)).replace("SHORT", short)
    text = text.replace("WORD", f"i{8 * size}")
    sizes = {
        "SUMS": BLOCKS[0] * panel(size), "PANEL": panel(size), "BYTES": size, "BLOCK_K": BLOCK_K, "PACK_DEPTH": 16,
        "STORE_ROWS": 16, "ROWS": ROWS, "MOST_ROWS": BLOCKS[0],
        "EXPONENT": {4: 0x7F800000, 8: 0x7FF0000000000000}[size],
    }  # fmt: skip
    return re.sub(r"\b[A-Z_]+\b", lambda found: str(sizes.get(found[0], found[0])), text)


def contraction_namespace() -> dict[str, object]:
    """What the source may name. Imports numba, which only compiling needs."""
    from . import scalar, tile

    return {**scalar.NAMESPACE, **tile.INTRINSICS, **{name: i for i, name in enumerate(CONTRACTION_WORDS)}}


# Description ----------------------------------------------------------------------------------------------------

#: An index of an operand as axes of its buffer: ``(extent, stride)`` of each, the outer first.
Axes = Sequence[tuple[int, int]]


@dataclass(frozen=True)
class Contraction:
    """A contraction ready for a tape.

    Attributes:
        words: the argument block; the words of A, B, C and PACKED are addresses to be filled in, as are those of the
            tables, by name.
        tables: offsets in elements, by the names of their words.
        first_is_a: whether A is the first operand. The one with fewer rows or columns is packed, as B.
        pack_units, units: of the two kernels.
        packed_bytes: size of the buffer for the packed operand.
        packing: what decides how B is packed: equal ones make the same of the same operand.
    """

    words: tuple[int, ...]
    tables: Mapping[str, np.ndarray]
    first_is_a: bool
    pack_units: int
    units: int
    packed_bytes: int
    packing: tuple


@dataclass(frozen=True)
class Padding:
    """Where the buffer of an operand holds zeros: it has a shape, and so many zeros before and after along each axis.

    ``offset`` is that of the operand's first element.
    """

    shape: tuple[int, ...]
    before: tuple[int, ...]
    after: tuple[int, ...]
    offset: int


#: Where products of ordinary matrices pay; see `pays`.
LEAST_DEPTH, LEAST_RESULTS = 96, 2048
SMALL_PRODUCT, FEW_ROWS = 1 << 23, 32

#: Products with zeros that are left out have to be this part of all, or the rows stay in their order.
WORTH_LEAVING_OUT = 1 / 16


def describe_contraction(
    shape: tuple[int, int, int], first: tuple[Axes, Axes, Axes], second: tuple[Axes, Axes, Axes], itemsize: int,
    paddings: tuple[Padding | None, Padding | None] = (None, None), add: bool = False, pack: int | None = None,
) -> Contraction:
    """Describe ``C = first @ second`` for a batch of matrices ``[batch, m, k]`` and ``[batch, k, n]``, none empty, or
    with ``add`` ``C = C + first @ second``.

    ``shape`` is (M, N, K). ``pack`` is the number of the operand to pack, 0 or 1; None packs the one that is less
    work. An operand is its axes for the batch, the rows and the columns. C is contiguous. Axes of the batch along which
    one operand stays the same become rows or columns of the other: a convolution's images are one product with its
    weight, not one each.
    """
    m, n, k = shape
    batch = math.prod(extent for extent, _ in first[0])
    kept: list[tuple[int, int, int, int]] = []  # extent, strides in first, second and C
    rows, columns = [], []  # extent, strides in the operand and C
    step = m * n * batch
    common = common_axes(first[0], second[0])
    for extent, a, b in common or ():
        step //= extent
        if b == 0 and a != 0:
            rows.append((extent, a, step))
        elif a == 0 and b != 0:
            columns.append((extent, b, step))
        else:
            kept.append((extent, a, b, step))
    batches = [offsets([(e, x[i]) for e, *x in kept]) for i in range(3)]
    if common is None:
        batches = [offsets(first[0]), offsets(second[0]), offsets([(batch, m * n)])]
    operands = [
        {
            "BATCH": batches[0], "DEPTH": offsets(first[2]),
            "ROWS": offsets([*((e, a) for e, a, _ in rows), *first[1]]),
            "C": offsets([*((e, c) for e, _, c in rows), (m, n)]),
        },
        {
            "BATCH": batches[1], "DEPTH": offsets(second[1]),
            "ROWS": offsets([*((e, b) for e, b, _ in columns), *second[2]]),
            "C": offsets([*((e, c) for e, _, c in columns), (n, 1)]),
        },
    ]  # fmt: skip
    # of equal ones the padded operand is A, for the sake of its zeros
    longer = len(operands[0]["ROWS"]) - len(operands[1]["ROWS"])
    first_is_a = longer > 0 or (longer == 0 and paddings[1] is None) if pack is None else pack == 1
    a, b = operands if first_is_a else operands[::-1]
    order, kinds, present = row_kinds(a["BATCH"], a["ROWS"], a["DEPTH"], paddings[0 if first_is_a else 1])
    steps = [np.stack([a["DEPTH"][mask], np.flatnonzero(mask)], 1) for mask in present]
    tables = {
        "A_BATCH": a["BATCH"], "B_BATCH": b["BATCH"], "C_BATCH": batches[2],
        "A_ROWS": a["ROWS"][order], "B_DEPTH": b["DEPTH"], "B_COLUMNS": b["ROWS"],
        "C_ROWS": a["C"][order], "C_COLUMNS": b["C"], "STEPS": np.concatenate(steps),
        "STARTS": block_starts(steps, k), "KINDS": kinds,
    }  # fmt: skip
    batch, m, n = len(a["BATCH"]), len(a["ROWS"]), len(b["ROWS"])
    panels, blocks_k = -(-n // panel(itemsize)), -(-k // BLOCK_K)
    # one panel of few columns is packed as narrow as whole vectors allow
    lanes = vector_bytes() // itemsize
    width = panel(itemsize) if panels > 1 else -(-n // lanes) * lanes
    block_m = next((x for x in BLOCKS if batch * -(-m // x) * panels >= ENOUGH_UNITS), BLOCKS[-1])
    packed, flags = batch * panels * width * k, batch * panels * blocks_k if len(present) > 1 else 0
    values = {
        "M": m, "N": n, "K": k, "BLOCK_M": block_m, "BLOCKS_M": -(-m // block_m), "PANELS": panels,
        "BLOCKS_K": blocks_k, "WIDTH": width, "FLAGS": packed if flags else 0,
        "B_IN_ROWS": in_rows(b["ROWS"]), "C_IN_ROWS": in_rows(b["C"]),
        "ADD": int(add),
    }  # fmt: skip
    packing = (itemsize, packed, *[values[name] for name in ("N", "K", "PANELS", "WIDTH", "FLAGS")],
               *[tables[name].tobytes() for name in ("B_BATCH", "B_DEPTH", "B_COLUMNS")])  # fmt: skip
    return Contraction(
        tuple(values.get(name, 0) for name in CONTRACTION_WORDS), tables, first_is_a, batch * panels * blocks_k,
        batch * panels * values["BLOCKS_M"], (packed + flags) * itemsize, packing,
    )


def pays(m: int, n: int, k: int) -> bool:
    """Whether these kernels take less time than BLAS for a product of matrices ``[m, k]`` and ``[k, n]``.

    Measured on Zen 5 in float32 against OpenBLAS's gemm on the tiles of `blas.py`: 0.7 to 0.9 of its time for 256 x 256
    and more with any transposes, and less than half for 4 to 16 rows, for which gemm packs a whole matrix. Sums that
    are short, of 64, or of few results, do not pay for what is done once a result. Products of 64 to 256 rows and
    columns take gemm 20 to 60 microseconds and these kernels 1.1 to 1.4 times that: packing is a launch of its own.
    """
    large = m * n * k > SMALL_PRODUCT or min(m, n) <= FEW_ROWS
    return large and k >= LEAST_DEPTH and m * n >= LEAST_RESULTS and min(m, n) > 1


def row_kinds(
    batches: np.ndarray, rows: np.ndarray, depth: np.ndarray, padding: Padding | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows of A sorted by where along the depth they have elements other than padding.

    Returns:
        The order of the rows; for each tile of that order the number of its kind; for each kind a mask along the depth.
        Kind 0 has every element, for tiles of several kinds.
    """
    whole = np.ones((1, len(depth)), bool)
    tiles = -(-len(rows) // ROWS)
    unsorted = np.arange(len(rows)), np.zeros(tiles, np.int64), whole
    if padding is None or min(batches.min(), rows.min() + padding.offset, depth.min()) < 0:
        return unsorted
    # Positions in the buffer add up if no sum passes an axis' end.
    places = [np.unravel_index(table, padding.shape) for table in (batches, rows + padding.offset, depth)]
    kind, masks = np.zeros(len(rows), np.int64), whole
    for extent, before, after, of_batch, of_row, of_depth in zip(
        padding.shape, padding.before, padding.after, *places
    ):
        if of_batch.max() + of_row.max() + of_depth.max() >= extent:
            return unsorted
        if before == after == 0:
            continue
        if of_batch.any():
            return unsorted
        starts, start_of_row = np.unique(of_row, return_inverse=True)
        steps, step_of_depth = np.unique(of_depth, return_inverse=True)
        at = starts[:, None] + steps
        patterns, pattern_of_start = np.unique((at >= before) & (at < extent - after), axis=0, return_inverse=True)
        kind = kind * len(patterns) + pattern_of_start.reshape(-1)[start_of_row]
        masks = (masks[:, None] & patterns[:, step_of_depth]).reshape(-1, len(depth))
    found, kind, count = np.unique(kind, return_inverse=True, return_counts=True)
    masks = masks[found]
    left_out = 1 - count @ masks.sum(1) / (len(rows) * len(depth))
    if left_out < WORTH_LEAVING_OUT:
        return unsorted
    masks, kind = np.concatenate([whole, masks]), kind + 1
    # As many rows at a time as give whole tiles of each kind: rows that are near share lines of the cache.
    period = next(x for x in range(1, len(rows) + 1) if len(rows) % x == 0 and (kind.reshape(-1, x) == kind[:x]).all())
    chunk = np.arange(len(rows)) // (ROWS * period)
    order = np.lexsort((kind, np.minimum(chunk, max(len(rows) // (ROWS * period) - 1, 0))))
    kind = np.append(kind[order], np.full(tiles * ROWS - len(rows), kind[order[-1]])).reshape(tiles, ROWS)
    return order, np.where((kind == kind[:, :1]).all(1), kind[:, 0], 0), masks


def block_starts(steps: Sequence[np.ndarray], k: int) -> np.ndarray:
    """Where in the concatenated ``steps`` each block of the depth begins, and the last one ends, for each kind."""
    edges = [*range(0, k, BLOCK_K), k]
    begins = np.cumsum([0, *(len(x) for x in steps[:-1])])
    return np.concatenate([begin + np.searchsorted(x[:, 1], edges) for begin, x in zip(begins, steps)])


def in_rows(table: np.ndarray) -> int:
    """Whether columns lie side by side, so that a row of a panel can be moved as it lies."""
    return int((np.diff(table) == 1).all())


def offsets(axes: Axes) -> np.ndarray:
    """The offset of every position along axes, row by row."""
    table = np.zeros(1, np.int64)
    for extent, stride in axes:
        table = np.add.outer(table, np.arange(extent, dtype=np.int64) * stride).reshape(-1)
    return table


def common_axes(first: Axes, second: Axes) -> list[tuple[int, int, int]] | None:
    """One index of two operands as the same axes in both: ``(extent, stride, stride)``.

    None if one is divided where the other cannot be.
    """
    a, b = list(first), list(second)
    found: list[tuple[int, int, int]] = []
    while a and b:
        (e, s), (f, t) = a.pop(), b.pop()
        inner = min(e, f)
        if e % inner or f % inner:
            return None
        found.append((inner, s, t))
        if e > inner:
            a.append((e // inner, s * inner))
        if f > inner:
            b.append((f // inner, t * inner))
    assert math.prod(e for e, _ in a + b) == 1
    return found[::-1]
