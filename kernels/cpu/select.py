"""Where a mask is true: two passes over fixed chunks, because a result's size must be known before it can be written.

``mask_count`` counts the true elements of each chunk; the runtime turns counts into the places where chunks begin and
makes room for the result; ``mask_write`` writes the coordinates of each true element there, or its position if there is
one axis. Eight elements without a true one cost one comparison. Of the others every position is written to a small
buffer, and the next one overwrites it if the element is false: a branch for each element of a random mask would be
mispredicted half of the time.

In: nothing. Out: the kernels' source and the words of their argument block. Read next:
``flamework.runtime.selection``, which calls them.
"""

from __future__ import annotations

import re

#: ``MASK``, ``COUNTS`` and ``OUT`` are addresses; then the elements of the mask and of a chunk, and what to write: the
#: number of axes, how far apart in ``OUT`` true elements and axes are, and the extents of the axes.
WORDS = ("MASK", "COUNTS", "OUT", "LENGTH", "CHUNK", "AXES", "ITEM_STRIDE", "AXIS_STRIDE", "EXTENTS")

FUNCTIONS = ("mask_count", "mask_write")

ROOM = 256  # positions in the buffer

_TEMPLATE = '''
def mask_count(args, start, stop):
    """Units: chunks."""
    mask = pointer_bool(args[MASK])
    counts = pointer_i64(args[COUNTS])
    for unit in range(start, stop):
        first = unit * args[CHUNK]
        total = 0
        for i in range(first, imin(first + args[CHUNK], args[LENGTH])):
            total += i64(load(mask, i, 0))
        store(counts, unit, total, 1)


def flush(args, buffer, held, at):
    """Write the coordinates of ``held`` positions from place ``at`` on."""
    out = pointer_i64(args[OUT])
    axes = args[AXES]
    step = args[ITEM_STRIDE]
    if axes == 1:
        for j in range(held):
            store(out, (at + j) * step, load(buffer, j, 3), 2)
        return 0
    for j in range(held):
        rest = load(buffer, j, 3)
        place = (at + j) * step
        for k in range(axes - 1):
            axis = axes - 1 - k
            extent = args[EXTENTS + axis]
            whole = idiv_floor(rest, extent)
            store(out, place + axis * args[AXIS_STRIDE], rest - whole * extent, 2)
            rest = whole
        store(out, place, rest, 2)
    return 0


def mask_write(args, start, stop):
    """Units: chunks. The word of a chunk in ``COUNTS`` says where its first true element goes."""
    counts = pointer_i64(args[COUNTS])
    mask = pointer_bool(args[MASK])
    buffer = local_i64(ROOM)
    for unit in range(start, stop):
        first = unit * args[CHUNK]
        last = imin(first + args[CHUNK], args[LENGTH])
        at = load(counts, unit, 1)
        held = 0
        i = first
        while i + 8 <= last:
            if read_word(args[MASK] + i) != 0:
                for k in range(8):
                    store(buffer, held, i + k, 3)
                    held += i64(load(mask, i + k, 0))
                if held > ROOM - 8:
                    flush(args, buffer, held, at)
                    at += held
                    held = 0
            i += 8
        while i < last:
            store(buffer, held, i, 3)
            held += i64(load(mask, i, 0))
            i += 1
        flush(args, buffer, held, at)
'''


def _source() -> str:
    text = _TEMPLATE
    for name, value in {**{name: i for i, name in enumerate(WORDS)}, "ROOM": ROOM}.items():
        text = re.sub(rf"\b{name}\b", str(value), text)
    return text


SOURCE = _source()
