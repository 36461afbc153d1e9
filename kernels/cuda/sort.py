"""Sorting on a GPU: the positions of elements in order, by radix.

An element becomes an unsigned key whose order is the one wanted (NaN the largest and all NaN equal, -0.0 equal to 0.0,
everything inverted for a descending order), and keys are sorted by digits of four bits, from the lowest to the highest,
each time stably. A stable order is unique: however the work is divided, the bits of the result are the same.

- Rows of at most a *tile*, eight elements for each thread of a block, take one launch (``short``). A block sorts as
  many rows at once as fit into its tile: after the digits of the keys come those of the row that an element is in.
- A longer row is cut into chunks of whole tiles, and takes three launches a digit. Every chunk counts its digits
  (``count``), the counts of a row become places (``scan``), and every chunk sorts its tiles one after the other by the
  digit, in shared memory, and writes them to these places (``move``), where neighbours of one digit are neighbours.

Within a tile each thread counts its elements in words of shared memory of its own, of four counts each, which are added
up over the threads by exchange within a warp and then between warps. No count depends on who comes first.

In: a dtype and rows. Out: launches in the vocabulary of ``namespace.py``. Read next: ``scatter.py``, whose indices are
sorted so.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from ...compiler.codegen_cuda import MAX_BLOCKS, Launch
from ...compiler.dtypes import BOOL, FLOATING, DType

EACH = 8  # elements of a tile for each thread
CHUNKS = 1024  # of a row at most: one block adds up the counts of all
BLOCKS = 512  # of rows that share tiles, before a tile gets more rows

#: For floats: the bits of an infinity. What is larger, the sign aside, is NaN.
INFINITY = {"f16": 0x7C00, "bf16": 0x7F80, "f32": 0x7F800000, "f64": 0x7FF0000000000000}

SHORT = '''
def short(a0, a1, length, keep, flip, digits, passes, rows, together, units):
    x = pointer_{code}(a0)
    out = pointer_i64(a1)
{shared}
    unit = i64(cuda.blockIdx.x)
    unit_step = i64(cuda.gridDim.x)
    while unit < units:
        first = unit * together
        base = first * length
        size = imin(together, rows - first) * length
{take}
        turn = 0
        while turn < passes:
            shift = (turn if turn < digits else turn - digits) * 4
{rank}
            cuda.syncthreads()
            part = 0
            while part < {each}:
                i = thread * {each} + part
                if i < size:
                    put(mine, part, keys[i])
                    put(places, part, order[i])
                part += 1
                unrolled()
            turn += 1
            rolled()
        i = thread
        while i < size:
            row = udiv(i, length)
            if i - row * length < keep:
                store(out, (first + row) * keep + i - row * length, i64(order[i]) - row * length)
            i += {threads}
        cuda.syncthreads()
        unit += unit_step
'''

LONG = '''
def count(a0, a1, a2, length, flip, shift, first, chunk, chunks, units):
    x = pointer_{code}(a0)
    keys_in = pointer_{kept}(a1)
    counts = pointer_{place}(a2)
    counters = cuda.shared.array({words}, int64)
    sums = cuda.shared.array({wide_sums}, int64)
    thread = i64(cuda.threadIdx.x)
    unit = i64(cuda.blockIdx.x)
    unit_step = i64(cuda.gridDim.x)
    while unit < units:
        row = udiv(unit, chunks)
        number = unit - row * chunks
        base = row * length
        i = number * chunk + thread
        stop = imin(number * chunk + chunk, length)
{zero}
        while i < stop:
            at = base + i
{key}
            digit = key >> shift & 15
            word = (digit >> 2) * {threads} + thread
            counters[word] = counters[word] + (i64(1) << (digit & 3) * 16)
            i += {threads}
{split}
        half = 1
        while half < {warp}:
{reduce}
            half <<= 1
        if thread & {last_lane} == 0:
{keep_sums}
        cuda.syncthreads()
        digit = thread
        while digit < 16:
            word = ((digit >> 2) * 2 + (digit & 1)) * {warps}
            total = i64(0)
            other = 0
            while other < {warps}:
                total += sums[word + other] >> (digit & 2) * 16 & 0xFFFFFFFF
                other += 1
                rolled()
            store(counts, (row * 16 + digit) * chunks + number, {place}(total))
            digit += {threads}
        cuda.syncthreads()
        unit += unit_step


def scan(a0, size, units):
    counts = pointer_{place}(a0)
    sums = cuda.shared.array({warps}, int64)
    thread = i64(cuda.threadIdx.x)
    share = udiv(size + {threads} - 1, {threads})
    unit = i64(cuda.blockIdx.x)
    unit_step = i64(cuda.gridDim.x)
    while unit < units:
        begin = unit * size + imin(thread * share, size)
        stop = unit * size + imin(thread * share + share, size)
        own = i64(0)
        at = begin
        while at < stop:
            own += i64(load(counts, at))
            at += 1
        before = i64(0)
        total = own
{scan_one}
        at = begin
        while at < stop:
            found = i64(load(counts, at))
            store(counts, at, {place}(before))
            before += found
            at += 1
        unit += unit_step


def move(a0, a1, a2, a3, a4, a5, a6, length, keep, flip, shift, first, last, chunk, chunks, units):
    x = pointer_{code}(a0)
    keys_in = pointer_{kept}(a1)
    order_in = pointer_{place}(a2)
    keys_out = pointer_{kept}(a3)
    order_out = pointer_{place}(a4)
    out = pointer_i64(a5)
    counts = pointer_{place}(a6)
{shared}
    following = cuda.shared.array(16, int64)
    ahead = cuda.shared.array(16, int64)
    unit = i64(cuda.blockIdx.x)
    unit_step = i64(cuda.gridDim.x)
    while unit < units:
        row = udiv(unit, chunks)
        number = unit - row * chunks
        base = row * length
        digit = thread
        while digit < 16:
            following[digit] = i64(load(counts, (row * 16 + digit) * chunks + number))
            digit += {threads}
        begin = number * chunk
        stop = imin(begin + chunk, length)
        while begin < stop:
            size = imin(stop - begin, {tile})
{take}
{rank}
            digit = thread
            while digit < 16:
                sixteen = (digit & 3) * 16
                group = digit >> 2
                start = start0 if group == 0 else start1 if group == 1 else start2 if group == 2 else start3
                total = total0 if group == 0 else total1 if group == 1 else total2 if group == 2 else total3
                ahead[digit] = following[digit] - (start >> sixteen & 0xFFFF)
                following[digit] = following[digit] + (total >> sixteen & 0xFFFF)
                digit += {threads}
            cuda.syncthreads()
            i = thread
            while i < size:
                key = i64(keys[i])
                to = ahead[key >> shift & 15] + i
                if last > 0:
                    if to < keep:
                        store(out, row * keep + to, i64(order[i]))
                else:
                    store(keys_out, base + to, keys[i])
                    store(order_out, base + to, order[i])
                i += {threads}
            cuda.syncthreads()
            begin += {tile}
        unit += unit_step
'''

SHARED = '''
keys = cuda.shared.array({tile}, {kept_name})
order = cuda.shared.array({tile}, {place_name})
counters = cuda.shared.array({words}, int64)
sums = cuda.shared.array({sums}, int64)
thread = i64(cuda.threadIdx.x)
'''

#: Takes a tile, whose first element is ``start``, into registers.
TAKE = '''
mine = registers_{kept}()
places = registers_{place}()
part = 0
while part < {each}:
    i = thread * {each} + part
    if i < size:
        at = {start} + i
{key}
        put(mine, part, {kept}(key))
{put_place}
    part += 1
    unrolled()
'''

#: Sorts a tile by a digit: elements in registers go to their places in shared memory. ``start`` has for each digit its
#: first place in the tile, ``total`` how many have it. No count of a tile, of 8192 elements at most, takes 16 bits.
RANK = '''
{zero}
part = 0
while part < {each}:
    if thread * {each} + part < size:
{digit}
        word = (digit >> 2) * {threads} + thread
        counters[word] = counters[word] + (i64(1) << (digit & 3) * 16)
    part += 1
    unrolled()
{begin}
{scan}
{starts}
part = 0
while part < {each}:
    if thread * {each} + part < size:
{digit}
        word = (digit >> 2) * {threads} + thread
        sixteen = (digit & 3) * 16
        to = counters[word] >> sixteen & 0xFFFF
        counters[word] = counters[word] + (i64(1) << sixteen)
        keys[to] = got(mine, part)
        order[to] = got(places, part)
    part += 1
    unrolled()
'''


def indented(depth: int, lines: str | Iterable[str]) -> str:
    lines = lines.strip("\n").split("\n") if isinstance(lines, str) else lines
    return "\n".join("    " * depth + line for line in lines)


def key_lines(dtype: DType) -> list[str]:
    """Lines that compute the key of element ``at`` of ``x``."""
    if dtype.kind != FLOATING:
        return ["key = i64(load_constant(x, at)) ^ flip"]
    most = (1 << 8 * dtype.itemsize - 1) - 1
    return [
        "bits = i64(load_constant(x, at))",
        f"key = bits & {most}",  # without the sign, so that both zeros are one
        f"key = i64({most}) if key > {INFINITY[dtype.code]} else key if bits >= 0 else -key",
        "key = key ^ flip",
    ]


def scan_lines(names: list[str], threads: int, warp: int) -> list[str]:
    """Add up values over the block's threads: ``total`` becomes that of all, ``before`` that of the threads before."""
    warps = threads // warp
    lines = ["half = 1", f"while half < {warp}:"]
    for name in names:
        lines += [f"    other{name} = shuffle(total{name}, half)",
                  f"    before{name} += other{name} if thread & half else 0", f"    total{name} += other{name}"]
    lines += ["    half <<= 1"]
    if warps == 1:
        return [*lines, "cuda.syncthreads()"]
    lines += [f"if thread & {warp - 1} == 0:"]
    lines += [f"    sums[{k * warps} + udiv(thread, {warp})] = total{name}" for k, name in enumerate(names)]
    lines += ["cuda.syncthreads()"]
    lines += [f"total{name} = i64(0)" for name in names]
    lines += ["other = 0", f"while other < {warps}:"]
    for k, name in enumerate(names):
        lines += [f"    found = sums[{k * warps} + other]",
                  f"    before{name} += found if (other + 1) * {warp} <= thread else 0", f"    total{name} += found"]
    # nobody overwrites the sums before all have read them
    return [*lines, "    other += 1", "    rolled()", "cuda.syncthreads()"]


@functools.cache
def source(dtype: DType, long: bool, wide: bool, threads: int, warp: int) -> str:
    """The source for elements of a dtype.

    Args:
        long: for rows longer than a tile.
        wide: whether positions take 64 bits.
    """
    warp = min(threads, warp)
    kept, place = ("i64" if dtype.itemsize == 8 else "i32"), "i64" if wide else "i32"
    names = {"i32": "int32", "i64": "int64"}
    four = [str(k) for k in range(4)]
    texts = {
        "code": f"i{8 * dtype.itemsize}" if dtype.kind == FLOATING else dtype.code, "kept": kept, "place": place,
        "kept_name": names[kept], "place_name": names[place], "threads": threads, "warp": warp, "last_lane": warp - 1,
        "warps": threads // warp, "each": EACH, "tile": EACH * threads, "words": 4 * threads,
        "sums": 4 * threads // warp, "wide_sums": 8 * threads // warp,
    }
    zero = [f"counters[{k * threads} + thread] = i64(0)" for k in range(4)]
    digit = ["digit = i64(got(mine, part)) >> shift & 15"]
    if not long:
        digit = ["value = i64(got(mine, part)) if turn < digits else udiv(i64(got(places, part)), length)",
                 "digit = value >> shift & 15"]
    begin, starts = [], ["low = i64(0)"]
    for k in four:
        begin += [f"total{k} = counters[{int(k) * threads} + thread]", f"before{k} = i64(0)"]
        # a product with ones adds up the counts of a word
        starts += [f"found = total{k} * 0x0001000100010001", f"start{k} = (found << 16) + low * 0x0001000100010001",
                   f"counters[{int(k) * threads} + thread] = before{k} + start{k}", "low += found >> 48 & 0xFFFF"]
    rank = RANK.format(
        **texts, zero=indented(0, zero), digit=indented(2, digit), begin=indented(0, begin),
        scan=indented(0, scan_lines(four, threads, warp)), starts=indented(0, starts),
    )
    key = key_lines(dtype)
    shared = indented(1, SHARED.format(**texts))

    def take(start: str, key: list[str], put_place: list[str]) -> str:
        return TAKE.format(**texts, start=start, key=indented(2, key), put_place=indented(2, put_place))

    if not long:
        taken = take("base", key, [f"put(places, part, {place}(i))"])
        return SHORT.format(**texts, shared=shared, take=indented(2, taken), rank=indented(3, rank))
    chosen = ["if first > 0:", *("    " + line for line in key), "else:", "    key = i64(load_constant(keys_in, at))"]
    chosen_place = ["if first > 0:", f"    put(places, part, {place}(begin + i))",
                    "else:", "    put(places, part, load(order_in, at))"]
    halves = [f"{name}{k}" for k in four for name in ("even", "odd")]
    split = []
    for k in four:
        split += [f"found = counters[{int(k) * threads} + thread]", f"even{k} = found & 0x0000FFFF0000FFFF",
                  f"odd{k} = found >> 16 & 0x0000FFFF0000FFFF"]
    return LONG.format(
        **texts, shared=shared, zero=indented(2, zero), key=indented(3, chosen),
        take=indented(3, take("base + begin", chosen, chosen_place)), rank=indented(3, rank), split=indented(2, split),
        reduce=indented(3, (f"{name} += shuffle({name}, half)" for name in halves)),
        keep_sums=indented(3, (f"sums[{k * (threads // warp)} + udiv(thread, {warp})] = {name}"
                               for k, name in enumerate(halves))),
        scan_one=indented(2, scan_lines([""], threads, warp)),
    )


@dataclass(frozen=True)
class SortStep:
    """A launch, and its arguments: numbers, and the names of addresses (``x``, ``out`` and those of
    :attr:`Sort.scratch`; empty for what a launch neither reads nor writes)."""

    launch: Launch
    arguments: tuple[int | str, ...]


@dataclass(frozen=True)
class Sort:
    """How rows are sorted.

    Attributes:
        scratch: the names and bytes of the memories that it needs beside the elements and the result.
        steps: its launches.
        bytes_read, bytes_written: by all launches, but for counts, which are few.
        keys, order: the names of those memories that hold the sorted keys and their positions, if no result was wanted.
    """

    source: str
    scratch: dict[str, int]
    steps: list[SortStep]
    bytes_read: int
    bytes_written: int
    keys: str = ""
    order: str = ""


def describe(
    dtype: DType, rows: int, length: int, keep: int, descending: bool, threads: int, warp: int, bits: int = 0
) -> Sort:
    """The launches that find the first ``keep`` positions of each sorted row.

    Args:
        bits: if not 0, elements are not negative and have so many bits, and no result is wanted but the order of all.
    """
    size = 8 * dtype.itemsize
    signed = dtype.kind == FLOATING or dtype.is_signed
    flip = (-1 if descending else 0) ^ (-1 << size - 1 if signed and not bits else 0)
    digits = -(-(bits or (1 if dtype.kind == BOOL else size)) // 4)
    tile = EACH * threads
    if length <= tile and not bits:
        text = source(dtype, False, False, threads, warp)
        together = max(1, min(tile // length, rows // BLOCKS))
        passes = digits + -(-(together - 1).bit_length() // 4)
        units = -(-rows // together)
        launch = Launch("short", min(units, MAX_BLOCKS), threads, units)
        step = SortStep(launch, ("x", "out", length, keep, flip, digits, passes, rows, together))
        return Sort(text, {}, [step], rows * length * dtype.itemsize, 8 * rows * keep)
    wide = length >= 1 << 31
    chunk = -(-length // (tile * CHUNKS)) * tile
    chunks = -(-length // chunk)
    kept, place = rows * length * (8 if size == 64 else 4), rows * length * (8 if wide else 4)
    scratch = {"keys0": kept, "keys1": kept, "order0": place, "order1": place,
               "counts": 16 * rows * chunks * (8 if wide else 4)}
    if digits == 1 and not bits:
        scratch = {"counts": scratch["counts"]}
    steps = list(long_steps(rows, length, keep, flip, digits, not bits, chunk, chunks, threads))
    moves = digits if bits else digits - 1  # that write keys and their order; the last may write the result
    return Sort(
        source(dtype, True, wide, threads, warp), scratch, steps,
        2 * rows * length * dtype.itemsize + (digits - 1) * (2 * kept + place),
        moves * (kept + place) + (0 if bits else 8 * rows * keep), f"keys{digits & 1}", f"order{digits & 1}",
    )


def long_steps(
    rows: int, length: int, keep: int, flip: int, digits: int, wanted: bool, chunk: int, chunks: int, threads: int
) -> Iterator[SortStep]:
    def launch(function: str, units: int) -> Launch:
        return Launch(function, max(1, min(units, MAX_BLOCKS)), threads, units)

    for k in range(digits):
        first, last = int(k == 0), int(wanted and k == digits - 1)
        keys, order, to_keys, to_order = f"keys{k & 1}", f"order{k & 1}", f"keys{1 - (k & 1)}", f"order{1 - (k & 1)}"
        # what is not read or written has no address
        x, (keys, order) = ("x", ("", "")) if first else ("", (keys, order))
        out, (to_keys, to_order) = ("out", ("", "")) if last else ("", (to_keys, to_order))
        yield SortStep(launch("count", rows * chunks), (x, keys, "counts", length, flip, 4 * k, first, chunk, chunks))
        yield SortStep(launch("scan", rows), ("counts", 16 * chunks))
        yield SortStep(
            launch("move", rows * chunks),
            (x, keys, order, to_keys, to_order, out, "counts", length, keep, flip, 4 * k, first, last, chunk, chunks),
        )
