"""Sorting: the stable order of rows, and of their first few elements, as kernels like any other.

Elements become unsigned keys whose order is the one wanted (NaN last and all NaN equal, -0.0 equal to 0.0, everything
inverted for a descending order), and keys are sorted by radix, from the lowest digit to the highest, each pass stable.
A stable order is unique, so however the passes are divided among threads, the bits of the result are the same.

There are two ways to divide. Of many rows, each unit of work sorts its share of rows, one after the other, in a *slot*
of scratch memory of its own (``sort_rows``). A few long rows are cut into chunks: in each pass every chunk counts its
digits (``sort_count``), the counts of a row become places (``sort_offsets``), and every chunk moves its elements there
(``sort_move``). A pass in which all keys have the same digit moves nothing.

The first ``k`` of a row's order are found without sorting it. A long row is cut into pieces, one unit of work each, and
blocks of elements are compared with the worst of the best so far at once, so that most elements cost one comparison. Up
to :data:`FEW` results are kept in order. For more, the highest bits of all keys are counted first (``select_count``),
which shows about where the last result is, and what is not behind it is collected; should that be more than twice as
many as wanted, it is sorted and cut (``select_pieces``). What the pieces of a row have found is sorted together
(``select_merge``).

In: a dtype, numbers of rows and elements. Out: :class:`SortCall`, what to put on a tape, and the kernels' source.
Read next: ``driver.py``, which runs tapes.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

#: The words of the argument block, in order. ``X`` and ``OUT`` and ``SCRATCH`` are addresses.
WORDS = (
    "X", "OUT", "SCRATCH", "LENGTH", "ROWS", "KEEP", "FLIP", "TABLE_BYTES", "PASSES", "PASS", "CHUNK", "CHUNKS",
    "SLOTS", "SLOT_BYTES", "CAPACITY", "PIECES", "SPAN", "PIECE_SLOTS", "PIECE_BYTES", "PIECE_CAPACITY",
)  # fmt: skip

FUNCTIONS = (
    "sort_rows", "sort_count", "sort_offsets", "sort_move", "select_count", "select_pieces", "select_merge",
)

FEW = 32  # results of a row that are kept in order while it is read; more are collected and sorted
BLOCK = 64  # elements that are compared at once with the worst result so far
FEW_BLOCK = 32  # where few results are kept
BUCKETS = 256  # digits have 8 bits: what is written at once fits the nearest cache; 11 bits take twice as long
HIGH_BITS = 11  # of a key that are counted to find about where the last result is
SHORT = 512  # a row that is sorted as a whole if more than FEW of it are wanted
PIECE = 1 << 16  # elements of a long row that one unit of work reads
CHUNK = 1 << 15  # elements of a long row that one unit of work moves
LONG = 1 << 16  # from which a row is cut into chunks, if there are few
SLOTS = 64  # units of work among which rows are divided

_KEYS = {
    "f32": """
    bits = bitcast_f32_u32(fadd(x, f32(0.0)))
    sign = bitcast_i32_u32(ishr(bitcast_u32_i32(bits), i32(31)))
    key = select(ne(x, x), u32(0xFFFFFFFF), ixor(bits, ior(sign, u32(0x80000000))))
""",
    "f64": """
    bits = bitcast_f64_u64(fadd(x, 0.0))
    sign = bitcast_i64_u64(ishr(bitcast_u64_i64(bits), 63))
    key = select(ne(x, x), inot(u64(0)), ixor(bits, ior(sign, ishl(u64(1), u64(63)))))
""",
    "i64": """
    key = ixor(bitcast_i64_u64(x), ishl(u64(1), u64(63)))
""",
    **{code: f"\n    key = u32(i32(x) + {offset})\n" for code, offset in
       {"i32": 0, "i16": 32768, "i8": 128, "u8": 0, "b8": 0}.items()},
}
_KEYS["i32"] = "\n    key = ixor(bitcast_i32_u32(x), u32(0x80000000))\n"

#: For each dtype the key's type and how many of its bits count.
_KEY_BITS = {"f32": ("u32", 32), "f64": ("u64", 64), "i64": ("u64", 64), "i32": ("u32", 32), "i16": ("u32", 16),
             "i8": ("u32", 8), "u8": ("u32", 8), "b8": ("u32", 1)}

# Scopes of memory: 0 keys, 1 orders, 2 the input, 3 the result, 4 counts.
_TEMPLATE = '''
def key_of(x, flip):{key}    return ixor(key, flip)


def digit(key, number):
    return i64(iand(ishr(key, KEY(8 * number)), KEY(255)))


def keys_at(slot, args, which):
    """The address of the first or second array of keys of a slot."""
    return slot + 128 + args[TABLE_BYTES] + (which - 1) * args[CAPACITY] * (SIZE + 4)


def order_at(slot, args, which):
    return keys_at(slot, args, which) + args[CAPACITY] * SIZE


def count_digits(args, x, slot, source, number, first, last):
    """Count the digits of the elements of one chunk."""
    flip = KEY(args[FLIP])
    table = pointer_u32(slot + 128 + 4 * BUCKETS * idiv_floor(first, args[CHUNK]))
    for d in range(BUCKETS):
        store(table, d, u32(0), 4)
    if source == 0:
        for i in range(first, last):
            d = digit(key_of(load(x, i, 2), flip), number)
            store(table, d, iadd(load(table, d, 4), u32(1)), 4)
    else:
        keys = pointer_KEY(keys_at(slot, args, source))
        for i in range(first, last):
            d = digit(load(keys, i, 0), number)
            store(table, d, iadd(load(table, d, 4), u32(1)), 4)
    return 0


def place_digits(args, slot, source, length, last_pass):
    """Turn counts into places: by digit, then by chunk. Returns where the elements go: 3 is the result."""
    table = pointer_u32(slot + 128)
    total = u32(0)
    same = 0
    for d in range(BUCKETS):
        before = total
        for c in range(args[CHUNKS]):
            count = load(table, c * BUCKETS + d, 4)
            store(table, c * BUCKETS + d, total, 4)
            total = iadd(total, count)
        if i64(isub(total, before)) == length:
            same = 1
    if last_pass != 0:
        return 3
    if same != 0:
        return source
    return 2 if source == 1 else 1


def move_digits(args, x, out, slot, source, target, number, first, last):
    """Move the elements of one chunk to their places."""
    flip = KEY(args[FLIP])
    keep = args[KEEP]
    table = pointer_u32(slot + 128 + 4 * BUCKETS * idiv_floor(first, args[CHUNK]))
    if source == target:
        return 0
    keys = pointer_KEY(keys_at(slot, args, source))
    order = pointer_u32(order_at(slot, args, source))
    to_keys = pointer_KEY(keys_at(slot, args, target))
    to_order = pointer_u32(order_at(slot, args, target))
    if source == 0:
        if target == 3:
            for i in range(first, last):
                d = digit(key_of(load(x, i, 2), flip), number)
                at = load(table, d, 4)
                store(table, d, iadd(at, u32(1)), 4)
                if i64(at) < keep:
                    store(out, i64(at), i, 3)
        else:
            for i in range(first, last):
                key = key_of(load(x, i, 2), flip)
                d = digit(key, number)
                at = load(table, d, 4)
                store(table, d, iadd(at, u32(1)), 4)
                store(to_keys, i64(at), key, 0)
                store(to_order, i64(at), u32(i), 1)
    elif target == 3:
        for i in range(first, last):
            d = digit(load(keys, i, 0), number)
            at = load(table, d, 4)
            store(table, d, iadd(at, u32(1)), 4)
            if i64(at) < keep:
                store(out, i64(at), i64(load(order, i, 1)), 3)
    else:
        for i in range(first, last):
            key = load(keys, i, 0)
            d = digit(key, number)
            at = load(table, d, 4)
            store(table, d, iadd(at, u32(1)), 4)
            store(to_keys, i64(at), key, 0)
            store(to_order, i64(at), load(order, i, 1), 1)
    return 0


def sort_slot(args, x, out, slot, source, length, to_result):
    """Sort one row by one thread; returns which array of the slot holds it, or 3 for the result."""
    passes = args[PASSES]
    for number in range(passes):
        count_digits(args, x, slot, source, number, 0, length)
        target = place_digits(args, slot, source, length, to_result if number == passes - 1 else 0)
        move_digits(args, x, out, slot, source, target, number, 0, length)
        source = target
    return source


def sort_rows(args, start, stop):
    """Units: slots, each with its share of the rows."""
    rows = args[ROWS]
    length = args[LENGTH]
    for unit in range(start, stop):
        slot = args[SCRATCH] + unit * args[SLOT_BYTES]
        for row in range(idiv_floor(unit * rows, args[SLOTS]), idiv_floor((unit + 1) * rows, args[SLOTS])):
            x = pointer_TYPE(args[X] + row * length * BYTES)
            out = pointer_i64(args[OUT] + row * args[KEEP] * 8)
            sort_slot(args, x, out, slot, 0, length, 1)


def source_of(slot, number):
    # word p of a slot says where pass p finds the elements
    return 0 if number == 0 else read_word(slot + 8 * number)


def sort_count(args, start, stop):
    """Units: the chunks of all rows."""
    length = args[LENGTH]
    for unit in range(start, stop):
        row = idiv_floor(unit, args[CHUNKS])
        first = (unit - row * args[CHUNKS]) * args[CHUNK]
        slot = args[SCRATCH] + row * args[SLOT_BYTES]
        x = pointer_TYPE(args[X] + row * length * BYTES)
        number = args[PASS]
        count_digits(args, x, slot, source_of(slot, number), number, first, imin(first + args[CHUNK], length))


def sort_offsets(args, start, stop):
    """Units: rows."""
    for row in range(start, stop):
        slot = args[SCRATCH] + row * args[SLOT_BYTES]
        number = args[PASS]
        last_pass = 1 if number == args[PASSES] - 1 else 0
        target = place_digits(args, slot, source_of(slot, number), args[LENGTH], last_pass)
        write_word(slot + 8 * number + 8, target)


def sort_move(args, start, stop):
    """Units: the chunks of all rows."""
    length = args[LENGTH]
    for unit in range(start, stop):
        row = idiv_floor(unit, args[CHUNKS])
        first = (unit - row * args[CHUNKS]) * args[CHUNK]
        slot = args[SCRATCH] + row * args[SLOT_BYTES]
        x = pointer_TYPE(args[X] + row * length * BYTES)
        out = pointer_i64(args[OUT] + row * args[KEEP] * 8)
        number = args[PASS]
        source = source_of(slot, number)
        target = read_word(slot + 8 * number + 8)
        move_digits(args, x, out, slot, source, target, number, first, imin(first + args[CHUNK], length))


def insert(keys, order, held, keep, key, position):
    """Put an element behind those that are not worse, and drop the last one if there are too many."""
    at = imin(held, keep - 1)
    while at > 0 and load(keys, at - 1, 0) > key:
        store(keys, at, load(keys, at - 1, 0), 0)
        store(order, at, load(order, at - 1, 1), 1)
        at -= 1
    store(keys, at, key, 0)
    store(order, at, u32(position), 1)
    return imin(held + 1, keep)


def cut_to_best(args, slot, held):
    """Sort what a slot collected and leave the best in its first array."""
    found = sort_slot(args, pointer_TYPE(args[X]), pointer_i64(args[OUT]), slot, 1, held, 0)
    held = imin(held, args[KEEP])
    if found == 2:
        keys = pointer_KEY(keys_at(slot, args, 1))
        order = pointer_u32(order_at(slot, args, 1))
        best_keys = pointer_KEY(keys_at(slot, args, 2))
        best_order = pointer_u32(order_at(slot, args, 2))
        for i in range(held):
            store(keys, i, load(best_keys, i, 0), 0)
            store(order, i, load(best_order, i, 1), 1)
    return held


def select_count(args, start, stop):
    """Units: the pieces of all rows. Each counts the highest bits of its keys."""
    for unit in range(start, stop):
        row = idiv_floor(unit, args[PIECES])
        first = (unit - row * args[PIECES]) * args[SPAN]
        x = pointer_TYPE(args[X] + row * args[LENGTH] * BYTES)
        slot = args[SCRATCH] + unit * args[SLOT_BYTES]
        count_high_bits(args, x, slot, first, imin(first + args[SPAN], args[LENGTH]))


def count_high_bits(args, x, slot, first, last):
    # behind the counts of digits: other pieces read these when this one may be sorting already
    table = pointer_u32(slot + 128 + 4 * BUCKETS)
    flip = KEY(args[FLIP])
    for d in range(HIGH_BUCKETS):
        store(table, d, u32(0), 4)
    for i in range(first, last):
        d = i64(ishr(key_of(load(x, i, 2), flip), KEY(HIGH_SHIFT)))
        store(table, d, iadd(load(table, d, 4), u32(1)), 4)
    return 0


def limit_bucket(args, slots):
    """The bucket of the highest bits, counted for all pieces of a row, in which the last result is."""
    found = 0
    for d in range(HIGH_BUCKETS):
        for piece in range(args[PIECES]):
            found += i64(load(pointer_u32(slots + piece * args[SLOT_BYTES] + 128 + 4 * BUCKETS), d, 4))
        if found >= args[KEEP]:
            return d
    return HIGH_BUCKETS - 1


def select_few(args, x, slot, first, last):
    """Leave the best of one piece, in order, in the first array of a slot. Returns how many."""
    flip = KEY(args[FLIP])
    keep = args[KEEP]
    keys = pointer_KEY(keys_at(slot, args, 1))
    order = pointer_u32(order_at(slot, args, 1))
    held = 0
    limit = inot(KEY(0))
    for block in range(first, last, FEW_BLOCK):
        end = imin(block + FEW_BLOCK, last)
        best = inot(KEY(0))
        for i in range(block, end):
            best = imin(best, key_of(load(x, i, 2), flip))
        if held == keep and best >= limit:
            continue
        for i in range(block, end):
            key = key_of(load(x, i, 2), flip)
            if held < keep or key < limit:
                held = insert(keys, order, held, keep, key, i)
                limit = load(keys, held - 1, 0)
    return held


def select_many(args, x, slot, bucket, first, last):
    """Collect what is in the buckets up to one, in the first array of a slot; of too many, the best. Returns how many.

    A block is collected if there is anything in it, and there is always room for one more.
    """
    flip = KEY(args[FLIP])
    keep = args[KEEP]
    keys = pointer_KEY(keys_at(slot, args, 1))
    order = pointer_u32(order_at(slot, args, 1))
    held = 0
    limit = ior(ishl(KEY(bucket), KEY(HIGH_SHIFT)), KEY(HIGH_REST))
    for block in range(first, last, BLOCK):
        end = imin(block + BLOCK, last)
        best = inot(KEY(0))
        for i in range(block, end):
            best = imin(best, key_of(load(x, i, 2), flip))
        if best > limit:
            continue
        for i in range(block, end):
            # written in any case: the next one overwrites what is not good enough
            key = key_of(load(x, i, 2), flip)
            store(keys, held, key, 0)
            store(order, held, u32(i), 1)
            held += 1 if key <= limit else 0
        if held > args[CAPACITY] - BLOCK:
            # the worst of these stays the limit: what is equal to it and comes later is cut off the next time
            held = cut_to_best(args, slot, held)
            limit = load(keys, keep - 1, 0)
    return held


def select_pieces(args, start, stop):
    """Units: slots. Each has its share of the rows, or one piece of a row if rows have several."""
    length = args[LENGTH]
    pieces = args[PIECES]
    keep = args[KEEP]
    for unit in range(start, stop):
        slot = args[SCRATCH] + unit * args[SLOT_BYTES]
        if pieces > 1:
            row = idiv_floor(unit, pieces)
            first = (unit - row * pieces) * args[SPAN]
            last = imin(first + args[SPAN], length)
            x = pointer_TYPE(args[X] + row * length * BYTES)
            if keep <= FEW:
                held = select_few(args, x, slot, first, last)
            else:
                bucket = limit_bucket(args, args[SCRATCH] + row * pieces * args[SLOT_BYTES])
                held = select_many(args, x, slot, bucket, first, last)
            write_word(slot, held)
        else:
            order = pointer_u32(order_at(slot, args, 1))
            row_after = idiv_floor((unit + 1) * args[ROWS], args[SLOTS])
            for row in range(idiv_floor(unit * args[ROWS], args[SLOTS]), row_after):
                x = pointer_TYPE(args[X] + row * length * BYTES)
                out = pointer_i64(args[OUT] + row * keep * 8)
                if keep <= FEW:
                    select_few(args, x, slot, 0, length)
                    for i in range(keep):
                        store(out, i, i64(load(order, i, 1)), 3)
                else:
                    count_high_bits(args, x, slot, 0, length)
                    held = select_many(args, x, slot, limit_bucket(args, slot), 0, length)
                    sort_slot(args, x, out, slot, 1, held, 1)


def select_merge(args, start, stop):
    """Units: rows. Sorts what the pieces of a row have left in their slots, which stand in the order of the pieces."""
    pieces = args[PIECES]
    for row in range(start, stop):
        slot = args[SCRATCH] + row * args[SLOT_BYTES]
        keys = pointer_KEY(keys_at(slot, args, 1))
        order = pointer_u32(order_at(slot, args, 1))
        held = 0
        for piece in range(pieces):
            of_piece = args[PIECE_SLOTS] + (row * pieces + piece) * args[PIECE_BYTES]
            piece_keys = pointer_KEY(of_piece + 128 + args[TABLE_BYTES])
            piece_order = pointer_u32(of_piece + 128 + args[TABLE_BYTES] + args[PIECE_CAPACITY] * SIZE)
            for i in range(read_word(of_piece)):
                store(keys, held, load(piece_keys, i, 0), 0)
                store(order, held, load(piece_order, i, 1), 1)
                held += 1
        out = pointer_i64(args[OUT] + row * args[KEEP] * 8)
        sort_slot(args, pointer_TYPE(args[X]), out, slot, 1, held, 1)
'''


def source(code: str) -> str:
    """The kernels' source for elements of a dtype."""
    key, significant = _KEY_BITS[code]
    high = min(HIGH_BITS, significant)
    text = _TEMPLATE.replace("{key}", _KEYS[code])
    names = {
        **{name: str(index) for index, name in enumerate(WORDS)},
        "KEY": key, "TYPE": code, "SIZE": str(int(key[1:]) // 8),
        "BYTES": "1" if code == "b8" else str(int(code[1:]) // 8), "FEW": str(FEW), "BLOCK": str(BLOCK),
        "FEW_BLOCK": str(FEW_BLOCK), "BUCKETS": str(BUCKETS), "HIGH_BUCKETS": str(1 << high),
        "HIGH_SHIFT": str(significant - high), "HIGH_REST": str((1 << (significant - high)) - 1),
    }
    return re.sub(r"[A-Z][A-Z_0-9]*", lambda m: names.get(m.group(), m.group()), text)


@dataclass(frozen=True)
class Step:
    """One entry of a tape: one of the functions above.

    ``addresses`` lists the words that are addresses: the index of the word, ``"x"``, ``"out"`` or ``"scratch"``, and an
    offset from there in bytes.
    """

    function: str
    words: tuple[int, ...]
    addresses: tuple[tuple[int, str, int], ...]
    units: int
    work: int


@dataclass(frozen=True)
class SortCall:
    """A sort ready for a tape: its entries in order, and the bytes of scratch memory that they share."""

    steps: tuple[Step, ...]
    scratch: int


def describe(code: str, rows: int, length: int, keep: int, descending: bool) -> SortCall:
    """The first ``keep`` positions of the stable order of each of ``rows`` rows of ``length`` elements.

    Raises:
        RuntimeError: a row of more than 2**32 - 1 elements.

    Example: ``len(describe("f32", 1000, 100, 100, False).steps)`` is 1.
    """
    if length >= 1 << 32:
        raise RuntimeError(f"cannot sort a row of {length} elements: positions have 32 bits")
    if keep > FEW and (length < SHORT or keep > length // 4):
        return _whole_rows(code, rows, length, keep, descending)
    return _first_of_rows(code, rows, length, keep, descending)


def _whole_rows(code: str, rows: int, length: int, keep: int, descending: bool) -> SortCall:
    key, significant = _KEY_BITS[code]
    passes = -(-significant // 8)
    long = length >= LONG and rows < SLOTS // 8
    chunks = min(SLOTS, -(-length // CHUNK)) if long else 1
    slots = rows if long else min(rows, SLOTS)
    table = 4 * BUCKETS * chunks
    capacity = _aligned(length)
    size = _slot_bytes(key, table, capacity)
    values = {
        "LENGTH": length, "ROWS": rows, "KEEP": keep, "FLIP": _flip(significant, descending), "TABLE_BYTES": table,
        "PASSES": passes, "CHUNK": -(-length // chunks), "CHUNKS": chunks, "SLOTS": slots, "SLOT_BYTES": size,
        "CAPACITY": capacity,
    }  # fmt: skip
    if not long:
        return SortCall((_step("sort_rows", values, _ADDRESSES, slots, rows * length * passes * 8),), slots * size)
    steps = []
    for number in range(passes):
        now = {**values, "PASS": number}
        steps.append(_step("sort_count", now, _ADDRESSES, rows * chunks, rows * length))
        steps.append(_step("sort_offsets", now, _ADDRESSES, rows, rows))
        steps.append(_step("sort_move", now, _ADDRESSES, rows * chunks, rows * length * 4))
    return SortCall(tuple(steps), slots * size)


def _first_of_rows(code: str, rows: int, length: int, keep: int, descending: bool) -> SortCall:
    key, significant = _KEY_BITS[code]
    span = max(PIECE, 4 * keep)
    pieces = -(-length // span) if rows < SLOTS else 1
    slots = rows * pieces if pieces > 1 else min(rows, SLOTS)
    table = 4 * (BUCKETS + (1 << HIGH_BITS))
    capacity = _aligned(keep if keep <= FEW else 2 * keep + BLOCK)
    size = _slot_bytes(key, table, capacity)
    values = {
        "LENGTH": length, "ROWS": rows, "KEEP": keep, "FLIP": _flip(significant, descending), "TABLE_BYTES": table,
        "PASSES": -(-significant // 8), "CHUNK": length, "CHUNKS": 1, "SLOTS": slots, "SLOT_BYTES": size,
        "CAPACITY": capacity, "PIECES": pieces, "SPAN": span,
    }  # fmt: skip
    steps = []
    if keep > FEW and pieces > 1:
        steps.append(_step("select_count", values, _ADDRESSES, slots, rows * length))
    steps.append(_step("select_pieces", values, _ADDRESSES, slots, rows * length))
    scratch = slots * size
    if pieces > 1:
        room = pieces * capacity
        merged = {
            **values, "SLOT_BYTES": _slot_bytes(key, table, room), "CAPACITY": room, "CHUNK": room,
            "PIECE_BYTES": size, "PIECE_CAPACITY": capacity,
        }  # fmt: skip
        addresses = {**_ADDRESSES, "SCRATCH": ("scratch", scratch), "PIECE_SLOTS": ("scratch", 0)}
        steps.append(_step("select_merge", merged, addresses, rows, rows * pieces * keep * 8))
        scratch += rows * merged["SLOT_BYTES"]
    return SortCall(tuple(steps), scratch)


_ADDRESSES = {"X": ("x", 0), "OUT": ("out", 0), "SCRATCH": ("scratch", 0)}


def _flip(significant: int, descending: bool) -> int:
    return 0 if not descending else -1 if significant == 64 else (1 << significant) - 1


def _aligned(count: int) -> int:
    return -(-count // 16) * 16


def _slot_bytes(key: str, table: int, capacity: int) -> int:
    size = 128 + table + 2 * capacity * (int(key[1:]) // 8 + 4)
    return -(-size // 64) * 64


def _step(function: str, values: dict[str, int], addresses: dict[str, tuple[str, int]], units: int, work: int) -> Step:
    words = tuple(values.get(name, 0) for name in WORDS)
    return Step(function, words, tuple((WORDS.index(n), *where) for n, where in addresses.items()), units, work)
