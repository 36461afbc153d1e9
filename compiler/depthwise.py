"""How a depthwise convolution goes through an image: blocks of output rows, in buffers that stay in the first cache.

The part of an image that a block of rows reads is copied to a buffer with its padding, one *phase* after the other:
elements whose positions have the same remainders by the strides. In a phase the places of a window lie at one distance
from each other in every window, so that a block is a sum of shifted products of whole buffers, without borders or
strides. A row of a phase is as long as one of the result and what its last window needs: the results between the end
of one row and the start of the next are computed and not stored.

In: a convolution's parameters. Out: :class:`Layout`. Read next: ``kernels/cpu/depthwise.py``, which runs it.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

ROOM = 6144  # elements of a buffer; twice 24 KB in float32
MOST_PLACES = 64  # of a window


@dataclass(frozen=True)
class Layout:
    """The buffer of a block.

    Attributes:
        phases: remainders ``(y, x)``, those that a place of the window meets.
        pitch: elements of a row.
        extra: rows of a phase beyond those of the block.
        block: rows of the result.
        places: for each place of the window where the first window finds it, in a buffer of whole blocks.
    """

    phases: tuple[tuple[int, int], ...]
    pitch: int
    extra: int
    block: int
    places: tuple[int, ...]


def layout(out: Sequence[int], size: Sequence[int], stride: Sequence[int], dilation: Sequence[int]) -> Layout | None:
    """The layout for a result of ``out`` [height, width]; None if a row does not fit a buffer."""
    at = [[divmod(i * gap, step) for i in range(k)] for k, step, gap in zip(size, stride, dilation)]
    phases = sorted({(y[1], x[1]) for y, x in itertools.product(*at)})
    extra, pitch = at[0][-1][0], out[1] + at[1][-1][0]
    most = ROOM // (pitch * len(phases)) - extra
    if most < 1 or len(at[0]) * len(at[1]) > MOST_PLACES:
        return None
    block = -(-out[0] // -(-out[0] // most))
    rows = block + extra
    places = [
        (phases.index((y[1], x[1])) * rows + y[0]) * pitch + x[0] for y, x in itertools.product(*at)
    ]
    return Layout(tuple(phases), pitch, extra, block, tuple(places))


def flat(values: Sequence[int], filler: int) -> tuple[int, ...]:
    """One number an axis of a plane; a sequence is a plane of one row."""
    return tuple(values) if len(values) == 2 else (filler, *values)


def layout_of(out: Sequence[int], size: Sequence[int], params: tuple) -> Layout | None:
    """The layout of a convolution with those parameters, or None: of other ranks than one and two there is none."""
    stride, _, _, dilation, _ = params
    if len(stride) > 2:
        return None
    return layout(flat(out, 1), flat(size, 1), flat(stride, 1), flat(dilation, 1))
