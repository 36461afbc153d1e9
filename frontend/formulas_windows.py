"""Formulas over sliding windows: convolution, its transpose, pooling, folding.

In come nodes ``[batch, channels, *space]`` and one size, stride, padding and dilation an axis of space; out goes a
composition around ``unfold``, which turns every axis of space into one axis of windows and one within the window. A
pooling is then a reduction over the window axes. A convolution is a row of the table (``primitives_conv.py``). Read
next: ``nn/functional_conv.py`` and ``nn/functional_pool.py``, the callers.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from .compiler import dtypes, primitives as p, primitives_shape as s
from .compiler.ir import Node
from .compiler.primitives_conv import as_product, convolve, image_gradient, overlap_added, padded, windows
from .formulas import (
    argument,
    constant,
    cut,
    expanded,
    filled,
    iota,
    is_nan,
    matrix_product,
    permuted,
    reshaped,
)
from .recording import input_node
from .storage import attached

NO_INDEX = 2**63 - 1
MOST_COMPARED = 16  # elements of a window that are compared one by one


def convolution(
    x: Node, weight: Node, stride: Sequence[int], low: Sequence[int], high: Sequence[int], dilation: Sequence[int],
    groups: int,
) -> Node:
    """Cross-correlation: ``x`` [batch, in, *space] with ``weight`` [out, in / groups, *size], without a bias."""
    params = (*map(tuple, (stride, low, high, dilation)), groups)
    if x.dtype.is_floating_point:
        return convolve(x, weight, params=params)
    covered = [gap * (k - 1) + 1 for k, gap in zip(weight.type.shape[2:], dilation)]
    space = [(a + e + b - c) // step + 1 for a, e, b, c, step in zip(low, x.type.shape[2:], high, covered, stride)]
    return as_product(x, weight, params, space, matrix_product)


def transposed_convolution(
    x: Node, weight: Node, stride: Sequence[int], padding: Sequence[int], output_padding: Sequence[int],
    dilation: Sequence[int], groups: int,
) -> Node:
    """The transpose of :func:`convolution`: ``x`` [batch, in, *space], ``weight`` [in, out / groups, *size]."""
    batch, channels, *space = x.type.shape
    _, group_out, *size = weight.type.shape
    # output_padding only lengthens the far end, where nothing is added
    covered = [(e - 1) * st + d * (k - 1) + 1 for e, st, d, k in zip(space, stride, dilation, size)]
    extents = [c + extra for c, extra in zip(covered, output_padding)]
    image = tuple(e - 2 * v for e, v in zip(extents, padding))
    if x.type.device != "cpu" and x.dtype.is_floating_point and x.type.size and min(image, default=0) > 0:
        if all(extra < step for extra, step in zip(output_padding, stride)):
            # the gradient of a convolution's image, for which libraries have one call
            return image_gradient(x, weight, params=(*map(tuple, (stride, padding, padding, dilation)), groups, image))
    positions = math.prod(space)
    columns = group_out * math.prod(size)
    rows = permuted(reshaped(weight, (groups, channels // groups, columns)), (0, 2, 1))
    images = permuted(reshaped(x, (batch, groups, channels // groups, positions)), (1, 2, 0, 3))
    cols = matrix_product(rows, reshaped(images, (groups, channels // groups, batch * positions)))
    cols = reshaped(cols, (groups, group_out, *size, batch, *space))
    rank = len(size)
    within, outer = range(2, 2 + rank), range(3 + rank, 3 + 2 * rank)
    cols = permuted(cols, (2 + rank, 0, 1, *outer, *within))
    cols = reshaped(cols, (batch, groups * group_out, *space, *size))
    summed = overlap_added(cols, extents, stride, dilation)
    return padded(summed, [-v for v in padding], [-v for v in padding], 0)


# -------------------------------------------------------------------------------------------------------------- pooling


def pooled_maximum(
    x: Node, size: Sequence[int], stride: Sequence[int], low: Sequence[int], high: Sequence[int],
    dilation: Sequence[int], want_index: bool,
) -> tuple[Node, Node | None]:
    """The maximum of every window and, if wanted or needed for the gradient, its place in the image's space."""
    apart = tuple(size) == tuple(stride) and not any((*low, *high)) and all(gap == 1 for gap in dilation)
    if x.requires_grad and not want_index and apart and 1 < math.prod(size) <= MOST_COMPARED:
        return separate_maximum(x, size), None
    view = windows(padded(cut(x), low, high, least(x)), size, stride, dilation)
    if not want_index and not x.requires_grad:
        return s.reduce_max(view, params=window_axes(len(size))), None
    return window_maximum(x, view, windows(padded(places(x), low, high, NO_INDEX), size, stride, dilation))


def adaptive_maximum(x: Node, counts: Sequence[int], want_index: bool) -> tuple[Node, Node | None]:
    """As :func:`pooled_maximum`, over ``counts`` windows that cover every axis of space evenly."""
    view = adaptive_windows(cut(x), counts, least(x))[0]
    if not want_index and not x.requires_grad:
        return s.reduce_max(view, params=window_axes(len(counts))), None
    return window_maximum(x, view, adaptive_windows(places(x), counts, NO_INDEX)[0])


def separate_maximum(x: Node, size: Sequence[int]) -> Node:
    """The maximum of every window where each element is in one window at most.

    The elements of a window are compared one after the other, as many of them for neighbouring windows at a time as the
    processor can. What is kept for the gradient is the number of each maximum in its window, in 8 bits: an element
    takes the gradient of its window if it has that number, so nothing is added up in memory.
    """
    rank = len(size)
    source = cut(x)
    counts = [e // k for e, k in zip(x.type.shape[2:], size)]
    shape = (*x.type.shape[:2], *counts)
    largest = at = None
    for number, place in enumerate(np.ndindex(*size)):
        part = s.slice_(source, params=((0, 0, *place), (1, 1, *size), shape))
        here = filled(shape, dtypes.uint8, x.type.device, number)
        if largest is None:
            largest, at = part, here
            continue
        # the last NaN, as PyTorch's loop leaves it
        taken = p.lt(largest, part)
        taken = p.bor(taken, is_nan(part)) if x.dtype.is_floating_point else taken
        largest, at = p.where(taken, part, largest), p.where(taken, here, at)
    view = windows(x, size, size, (1,) * rank)
    flat = reshaped(p.piecewise(view), (*shape, math.prod(size)))
    index = p.cast(reshaped(at, (*shape, 1)), params=(dtypes.int64,))
    return attached(largest, reshaped(s.gather(flat, index, params=(2 + rank,)), shape))


def least(x: Node) -> float:
    """What no element of ``x`` is below."""
    return -math.inf if x.dtype.is_floating_point else int(np.iinfo(x.dtype.numpy).min)


def window_axes(rank: int) -> tuple[int, ...]:
    return tuple(range(2 + rank, 2 + 2 * rank))


def window_maximum(x: Node, view: Node, place: Node) -> tuple[Node, Node]:
    """Maximum and place of every window of ``view``; the gradient goes to the first place where it is reached, or to
    the last NaN, as PyTorch's loop leaves it."""
    axes = window_axes(x.ndim - 2)
    largest = s.reduce_max(view, params=axes)
    place = expanded(place, view.type.shape)
    chosen = p.eq(view, s.back(largest, axes, view.type.shape))
    key = p.where(chosen, place, constant(place, NO_INDEX))
    if x.dtype.is_floating_point:
        # negative keys, the least for the last place, are NaNs' and come before all others
        key = p.where(is_nan(view), p.bnot(place), key)
    index = s.reduce_min(key, params=axes)
    if x.dtype.is_floating_point:
        index = p.where(p.lt(index, constant(index, 0)), p.bnot(index), index)
    return (picked_places(p.piecewise(x), index) if x.requires_grad else largest), index


def places(x: Node) -> Node:
    """The position of every element in its image, row by row: ``[1, 1, *space]``, int64."""
    space = x.type.shape[2:]
    frame = filled((1, 1, *space), dtypes.int64, x.type.device, 0)
    position, weight = frame, 1
    for i in reversed(range(len(space))):
        step = iota(frame, 2 + i)
        step = step if weight == 1 else p.mul(step, argument(step, weight))
        position = step if position is frame else p.add(position, step)
        weight *= space[i]
    return position


def picked_places(x: Node, index: Node) -> Node:
    """The elements of every image at places counted as in :func:`places`."""
    lead = x.type.shape[:2]
    flat = reshaped(x, (*lead, math.prod(x.type.shape[2:])))
    chosen = reshaped(index, (*lead, math.prod(index.type.shape[2:])))
    return reshaped(s.gather(flat, chosen, params=(2,)), index.type.shape)


def pooled_sum(
    x: Node, size: Sequence[int], stride: Sequence[int], low: Sequence[int], high: Sequence[int]
) -> Node:
    rank = len(size)
    view = windows(padded(x, low, high, 0), size, stride, (1,) * rank)
    return s.reduce_sum(view, params=tuple(range(2 + rank, 2 + 2 * rank)))


def adaptive_bounds(extent: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Start and end of the ``count`` windows that cover an axis evenly, as PyTorch's adaptive pooling places them."""
    i = np.arange(count)
    return i * extent // count, -((-(i + 1) * extent) // count)


def adaptive_windows(x: Node, counts: Sequence[int], outside: float) -> tuple[Node, list[int | np.ndarray]]:
    """The windows of adaptive pooling, filled up to one size with ``outside``, in the layout of :func:`windows`.

    Returns:
        The windows, and for every axis how many elements they hold: a number if all are equal.
    """
    sizes: list[int | np.ndarray] = []
    for i, count in enumerate(counts):
        axis = 2 + i
        extent = x.type.shape[axis]
        if extent % count == 0:
            k = extent // count
            x = s.unfold(x, params=(axis, k, k, 1))
            sizes.append(k)
        else:
            start, end = adaptive_bounds(extent, count)
            x = uneven_windows(x, axis, start, end, outside)
            sizes.append(end - start)
    return x, sizes


def uneven_windows(x: Node, axis: int, start: np.ndarray, end: np.ndarray, outside: float) -> Node:
    """Windows of several sizes along ``axis`` as one more axis at the end."""
    shape, device = x.type.shape, x.type.device
    count, widest = len(start), int((end - start).max())
    position = start[:, None] + np.arange(widest)
    inside = position < end[:, None]
    flat = input_node(np.minimum(position, shape[axis] - 1).reshape(-1).astype(np.int64), device)
    around = [1] * x.ndim
    around[axis] = count * widest
    index = expanded(reshaped(flat, around), (*shape[:axis], count * widest, *shape[axis + 1 :]))
    picked = reshaped(s.gather(x, index, params=(axis,)), (*shape[:axis], count, widest, *shape[axis + 1 :]))
    picked = permuted(picked, [a for a in range(x.ndim + 1) if a != axis + 1] + [axis + 1])
    around = [1] * picked.ndim
    around[axis], around[-1] = count, widest
    present = expanded(reshaped(input_node(inside, device), around), picked.type.shape)
    return p.where(present, picked, constant(picked, outside))


def window_sizes(counts: Sequence[int | np.ndarray], like: Node) -> Node:
    """How many elements each window of ``like`` [batch, channels, *windows] has: the product of ``counts`` by axis."""
    if all(isinstance(c, int) for c in counts):
        return argument(like, math.prod(counts))
    space = like.type.shape[2:]
    table = np.ones(space, like.dtype.numpy)
    for axis, count in enumerate(counts):
        around = [1] * len(space)
        around[axis] = -1
        table *= np.asarray(count, like.dtype.numpy).reshape(around)
    node = input_node(table, like.type.device)
    return expanded(reshaped(node, (1, 1, *space)), like.type.shape)
