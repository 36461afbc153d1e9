"""The coordinates of a mask's true elements, found at once: how many there are is known only then.

In: a bool array. Out: an int64 array in memory of the allocator. Read next: ``kernels/cpu/select.py``.
"""

from __future__ import annotations

import numpy as np

from ..kernels.cpu import select
from ..kernels.cpu.driver import ENTRY_WORDS
from ..kernels.cpu.programs import Program
from . import events
from .allocator import allocate
from .counters import COUNTERS
from .kernels import KERNELS

CHUNK = 1 << 14  # elements of a unit of work


def true_coordinates(mask: np.ndarray, by_axis: bool = False) -> np.ndarray:
    """The coordinates of the true elements of a C-contiguous bool array of at least one axis, in order, as int64.

    Args:
        by_axis: give ``[axes, count]`` and not ``[count, axes]``.

    Example: ``true_coordinates(np.array([False, True]))`` is ``[[1]]``.
    """
    axes, length = mask.ndim, mask.size
    counts = np.zeros(-(-length // CHUNK), np.int64)
    words = np.zeros(len(select.WORDS) - 1 + axes, np.int64)
    block = dict(zip(select.WORDS, range(len(select.WORDS))))
    words[block["MASK"]] = mask.ctypes.data
    words[block["COUNTS"]] = counts.ctypes.data
    words[block["LENGTH"]], words[block["CHUNK"]], words[block["AXES"]] = length, CHUNK, axes
    words[block["EXTENTS"] :] = mask.shape
    _run("mask_count", words, len(counts), length)
    ends = np.cumsum(counts)
    total = int(ends[-1]) if length else 0
    counts[:] = ends - counts
    shape = (axes, total) if by_axis else (total, axes)
    found = allocate(8 * total * axes).as_numpy(np.int64, shape)
    words[block["OUT"]] = found.ctypes.data
    words[block["ITEM_STRIDE"]], words[block["AXIS_STRIDE"]] = (1, total) if by_axis else (axes, 1)
    if total:
        _run("mask_write", words, len(counts), length)
    return found


def _run(function: str, words: np.ndarray, units: int, work: int) -> None:
    loaded = KERNELS.get(Program(select.SOURCE, select.FUNCTIONS))
    entry = np.zeros(ENTRY_WORDS, np.int64)
    entry[:4] = loaded[function], words.ctypes.data, units, work
    with events.span("kernel", function):
        KERNELS.pool.run(entry.ctypes.data, 1)
    COUNTERS.kernels_launched += 1
