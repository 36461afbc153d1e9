"""Depthwise convolution: each channel of an image with a window of its own, and the gradient of that window.

A block of rows of one channel is copied to a buffer on the stack, as ``compiler/depthwise.py`` lays it out, and then
there are no borders: the result is a sum over the places of the window of one factor times a shifted buffer, and the
gradient of a window is for each place the product of the cotangent with a shifted buffer. Both run over the buffer in
whole vectors with all sums in registers (`tile.py`), and rows go in and out under a mask.

The gradient meets elements beyond the end of a row with a cotangent of zero. If one of them is infinite or not a number
that is no zero, so a result that is not finite is computed again without them.

In: a :class:`~flamework.compiler.depthwise.Layout`. Out: the kernels' source and `describe_depthwise`.
Read next: `tile.py`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ...compiler.depthwise import MOST_PLACES, ROOM, Layout, flat
from .contraction import SIZES, vector_bytes

#: The words of an argument block, in order; both kernels read the same one. X is the image, Y the window or the
#: cotangent. PLACES and PHASES are tables.
DEPTHWISE_WORDS = (
    "X", "Y", "OUT", "BATCH", "FILTERS", "PER_GROUP", "HEIGHT", "WIDTH", "OUT_HEIGHT", "OUT_WIDTH", "STEP_Y", "STEP_X",
    "LOW_Y", "LOW_X", "GAP_Y", "GAP_X", "SIZE_X", "COUNT", "BLOCK", "BLOCKS", "EXTRA", "PITCH", "CHUNK", "PHASE_COUNT",
    "PLACES", "PHASES",
)  # fmt: skip

VECTORS = (8, 4, 2, 1)  # of results that are computed at a time
MOST_SUMS = 9  # places of a window whose gradient is computed at a time

_HEADER = '''
    height, width = args[HEIGHT], args[WIDTH]
    out_height, out_width = args[OUT_HEIGHT], args[OUT_WIDTH]
    step_y, step_x = args[STEP_Y], args[STEP_X]
    low_y, low_x = args[LOW_Y], args[LOW_X]
    count, filters, per_group = args[COUNT], args[FILTERS], args[PER_GROUP]
    block, blocks, extra, pitch = args[BLOCK], args[BLOCKS], args[EXTRA], args[PITCH]
    phases = pointer_i64(args[PHASES])
    x = pointer_SHORT(args[X])
    out = pointer_SHORT(args[OUT])
    buffer = local_SHORT(HELD)
    other = local_SHORT(HELD)
    held = address_of(buffer)
    others = address_of(other)
    size = args[PHASE_COUNT] * (block + extra) * pitch + SLACK
'''

# Needs `image`, the number of a plane of x, and `first`, a row of the result. Positions of the padding are the same for
# every image, so that zeros are written once if there is one block.
_PACK = '''
for phase in range(args[PHASE_COUNT]):
    above = load(phases, 2 * phase, 0) - low_y
    before = load(phases, 2 * phase + 1, 0) - low_x
    begin = idiv_floor(imax(-before, 0) + step_x - 1, step_x)
    end = imin(idiv_floor(width - before + step_x - 1, step_x), pitch)
    for row in range(block + extra):
        line = (first + row) * step_y + above
        if inside(line, height) and begin < end:
            source = (image * height + line) * width + before
            target = (phase * (block + extra) + row) * pitch
            if step_x == 1:
                move_SHORT(args[X] + BYTES * (source + begin), held + BYTES * (target + begin), end - begin)
            else:
                for column in range(begin, end):
                    store(buffer, target + column, load(x, source + column * step_x, 1), 2)
'''

_TEMPLATE = '''
def depthwise_SHORT(args, start, stop):HEADER
    none = local_i64(1)
    store(none, 0, 0, 3)
    for unit in range(start, stop):
        plane = idiv_floor(unit, blocks)
        first = (unit - plane * blocks) * block
        rows = imin(block, out_height - first)
        batch = idiv_floor(plane, filters)
        channel = plane - batch * filters
        image = batch * idiv_floor(filters, per_group) + idiv_floor(channel, per_group)
        if unit == start or blocks > 1:
            for i in range(size):
                store(buffer, i, SHORT(0.0), 2)
        PACK
        vectors = idiv_floor((rows - 1) * pitch + out_width + LANES - 1, LANES)
        for i in range(vectors * LANES):
            store(other, i, SHORT(0.0), 4)
        weight = args[Y] + BYTES * channel * count
        done = 0
        while done < vectors:
            here, there = held + BYTES * LANES * done, others + BYTES * LANES * done
            MULTIPLY
        for row in range(rows):
            target = args[OUT] + BYTES * ((plane * out_height + first + row) * out_width)
            move_SHORT(others + BYTES * row * pitch, target, out_width)


def filters_SHORT(args, start, stop):HEADER
    totals = local_SHORT(TOTALS)
    y = pointer_SHORT(args[Y])
    for channel in range(start, stop):
        for i in range(count * LANES):
            store(totals, i, SHORT(0.0), 5)
        for batch in range(args[BATCH]):
            image = batch * idiv_floor(filters, per_group) + idiv_floor(channel, per_group)
            plane = batch * filters + channel
            for part in range(blocks):
                first = part * block
                rows = imin(block, out_height - first)
                if batch == 0 or blocks > 1:
                    for i in range(size):
                        store(buffer, i, SHORT(0.0), 2)
                    for i in range(block * pitch + SLACK):
                        store(other, i, SHORT(0.0), 4)
                PACK
                for row in range(rows):
                    source = args[Y] + BYTES * ((plane * out_height + first + row) * out_width)
                    move_SHORT(source, others + BYTES * row * pitch, out_width)
                vectors = idiv_floor((rows - 1) * pitch + out_width + LANES - 1, LANES)
                for place in range(0, count, args[CHUNK]):
                    left = imin(args[CHUNK], count - place)
                    steps = args[PLACES] + 16 * place
                    sums = address_of(totals) + BYTES * LANES * place
                    CORRELATE
        for place in range(count):
            total = SHORT(0.0)
            for lane in range(LANES):
                total = total + load(totals, place * LANES + lane, 5)
            if not total - total == SHORT(0.0):
                above = idiv_floor(place, args[SIZE_X])
                before = (place - above * args[SIZE_X]) * args[GAP_X] - low_x
                above = above * args[GAP_Y] - low_y
                exact = 0.0
                for batch in range(args[BATCH]):
                    image = batch * idiv_floor(filters, per_group) + idiv_floor(channel, per_group)
                    plane = batch * filters + channel
                    for row in range(out_height):
                        for column in range(out_width):
                            at_y, at_x = row * step_y + above, column * step_x + before
                            value = 0.0
                            if inside(at_y, height) and inside(at_x, width):
                                value = f64(load(x, (image * height + at_y) * width + at_x, 1))
                            exact += value * f64(load(y, (plane * out_height + row) * out_width + column, 6))
                total = SHORT(exact)
            store(out, channel * count + place, total, 7)
'''


def _indented(text: str, depth: int) -> str:
    return text.strip().replace("\n", "\n" + " " * depth)


def _chain(conditions: Sequence[tuple[str, str]]) -> str:
    """Statements under the first condition that holds."""
    lines = []
    for i, (condition, statements) in enumerate(conditions):
        lines.append(f"{'elif' if i else 'if'} {condition}:")
        lines += ["    " + line for line in statements.split("\n")]
    return "\n".join(lines)


def depthwise_source(short: str) -> str:
    """The kernels ``depthwise`` and ``filters`` of a dtype. Vectors are a part of the processor, and so of the text."""
    size = SIZES[short]
    lanes = vector_bytes() // size
    multiply = _chain([
        (f"vectors - done >= {n}",
         f"multiply_row_{short}({n}, count, weight, address_of(none), args[PLACES], here, 1, there)\ndone += {n}")
        for n in VECTORS
    ])
    correlate = _chain([
        (f"left == {n}", f"correlate_{short}({n}, vectors, others, held, steps, sums)")
        for n in range(1, MOST_SUMS + 1)
    ])
    text = _TEMPLATE.replace("HEADER", _HEADER)
    for name, block in (("PACK", _PACK), ("MULTIPLY", multiply), ("CORRELATE", correlate)):
        text = re.sub(
            rf"^( *){name}$", lambda found, block=block: found[1] + _indented(block, len(found[1])), text, flags=re.M
        )
    values = {
        "HELD": ROOM + lanes * VECTORS[0], "SLACK": lanes, "LANES": lanes, "BYTES": size,
        "TOTALS": MOST_PLACES * lanes,
    }  # fmt: skip
    return re.sub(r"\b[A-Z_]+\b", lambda found: str(values.get(found[0], found[0])), text.replace("SHORT", short))


def depthwise_namespace() -> dict[str, object]:
    """What the source may name. Imports numba, which only compiling needs."""
    from . import scalar, tile

    return {**scalar.NAMESPACE, **tile.INTRINSICS, **{name: i for i, name in enumerate(DEPTHWISE_WORDS)}}


@dataclass(frozen=True)
class Depthwise:
    """A call ready for a tape.

    Attributes:
        function: the kernel, but for its dtype.
        words: the argument block; X, Y, OUT and those of the tables are addresses to be filled in.
        tables: by the names of their words.
        units, work: of the kernel.
    """

    function: str
    words: tuple[int, ...]
    tables: Mapping[str, np.ndarray]
    units: int
    work: int


def describe_depthwise(
    function: str, image: Sequence[int], out: Sequence[int], size: Sequence[int], params: tuple, found: Layout
) -> Depthwise:
    """Describe a convolution of ``image`` [batch, groups, *space] with results ``out`` [batch, filters, *space].

    ``function`` is ``depthwise``, or ``filters`` for the gradient of the windows.
    """
    stride, low, _, dilation, groups = params
    batch, filters, *space = out
    out_height, out_width = flat(space, 1)
    height, width = flat(image[2:], 1)
    size_y, size_x = flat(size, 1)
    count, blocks = size_y * size_x, -(-out_height // found.block)
    values = {
        "BATCH": batch, "FILTERS": filters, "PER_GROUP": filters // groups, "HEIGHT": height, "WIDTH": width,
        "OUT_HEIGHT": out_height, "OUT_WIDTH": out_width, "SIZE_X": size_x, "COUNT": count, "BLOCK": found.block,
        "BLOCKS": blocks, "EXTRA": found.extra, "PITCH": found.pitch, "PHASE_COUNT": len(found.phases),
        "CHUNK": -(-count // -(-count // MOST_SUMS)),
    }  # fmt: skip
    for name, pair in (("STEP", flat(stride, 1)), ("LOW", flat(low, 0)), ("GAP", flat(dilation, 1))):
        values[f"{name}_Y"], values[f"{name}_X"] = pair
    tables = {
        "PLACES": np.array([*enumerate(found.places)], np.int64), "PHASES": np.array(found.phases, np.int64),
    }  # fmt: skip
    units = filters if function == "filters" else batch * filters * blocks
    work = batch * filters * out_height * out_width * count
    return Depthwise(function, tuple(values.get(name, 0) for name in DEPTHWISE_WORDS), tables, units, work)
