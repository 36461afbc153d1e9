"""The convolution's rows of the table, and the products that they become.

A convolution is a composition: windows of the image as one more axis each (``unfold``), and a matrix product, ``dot``.
It has a row because its gradient is simpler than the composition's. That with respect to the image is a row,
``image_gradient``, which is again made of convolutions, where the rule of ``unfold`` would add up windows, which are
several times as large as the image; that with respect to the weight is a row too, ``filter_gradient``. All three are
linear in both of their operands, and each one's gradients are the other two. Before fusion a rewrite replaces them by
products, except on a GPU whose library computes them whole; whether windows are copied or read where they lie is for
the code generators to decide. A depthwise convolution, which is too little work for a product, stays what it is, for a
kernel of its own.

Read next: ``rewrite.py``, which replaces them; ``kernels/cpu/contraction.py``, which reads the windows;
``depthwise.py``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from . import primitives as p, primitives_shape as s
from .depthwise import MOST_PLACES, layout_of
from .dtypes import FLOATING
from .ir import Node, TensorType, tensor_type
from .primitives import Primitive, Saved, const


def windows(x: Node, size: Sequence[int], stride: Sequence[int], dilation: Sequence[int]) -> Node:
    """``[batch, channels, *space]`` to ``[batch, channels, *windows, *size]``."""
    for i, (k, step, gap) in enumerate(zip(size, stride, dilation)):
        axis = 2 + i
        if k == 1:
            count = (x.shape[axis] - 1) // step + 1
            if step > 1:
                counts = (*x.shape[:axis], count, *x.shape[axis + 1 :])
                steps = tuple(step if a == axis else 1 for a in range(x.ndim))
                x = s.slice_(x, params=((0,) * x.ndim, steps, counts))
            x = s.reshaped(x, (*x.shape, 1))
        else:
            x = s.unfold(x, params=(axis, k, step, gap))
    return x


def overlap_added(cols: Node, space: Sequence[int], stride: Sequence[int], dilation: Sequence[int]) -> Node:
    """The transpose of :func:`windows`: every element of a window added to the place that it was read from."""
    rank = len(space)
    size = cols.shape[2 + rank :]
    lead = cols.shape[:2]
    for i in reversed(range(rank)):
        shape = (*lead, *cols.shape[2 : 2 + i], space[i], *cols.shape[3 + i : 2 + rank], *size[:i])
        source = const(params=(shape, cols.dtype, cols.type.device, 0.0))
        # the gradient rule of unfold is this very sum; the rule needs the node only for its type and parameters
        node = s.unfold(source, params=(2 + i, size[i], stride[i], dilation[i]))
        cols = s.unfold.vjp[0](cols, Saved(node))
    return cols


def padded(x: Node, low: Sequence[int], high: Sequence[int], value: float = 0) -> Node:
    """``x`` with its last axes widened, as many as there are widths; negative widths cut."""
    widths = [*[(0, 0)] * (x.ndim - len(low)), *zip(low, high)]
    starts = [max(0, -a) for a, _ in widths]
    counts = [e - start - max(0, -b) for e, start, (_, b) in zip(x.shape, starts, widths)]
    x = s.sliced(x, starts, counts)
    if all(a <= 0 and b <= 0 for a, b in widths):
        return x
    before, after = (tuple(max(0, pair[side]) for pair in widths) for side in (0, 1))
    return s.pad(x, params=(before, after, p.python_value(x.dtype, value)))


def _infer(params: tuple, x: TensorType, weight: TensorType) -> TensorType:
    stride, low, high, dilation, groups = params
    rank = len(stride)
    if any(n != rank for n in (x.ndim - 2, weight.ndim - 2, len(low), len(high), len(dilation))):
        raise ValueError("needs [batch, in, *space], [out, in / groups, *size] and one number an axis of space")
    if x.dtype is not weight.dtype or x.dtype.kind != FLOATING or x.device != weight.device:
        raise ValueError("needs one floating point dtype and one device")
    if groups < 1 or weight.shape[0] % groups or x.shape[1] != weight.shape[1] * groups:
        raise ValueError(f"{x.shape[1]} channels do not fit {groups} groups of a weight of {list(weight.shape)}")
    covered = [gap * (k - 1) + 1 for k, gap in zip(weight.shape[2:], dilation)]
    if any(v < 1 for v in (*weight.shape[2:], *stride, *dilation)) or any(v < 0 for v in (*low, *high)):
        raise ValueError("sizes, strides and dilations are positive, and no padding is negative")
    extents = [a + e + b for a, e, b in zip(low, x.shape[2:], high)]
    if any(c > e for c, e in zip(covered, extents)):
        raise ValueError(f"a window of {covered} does not fit an image of {extents}")
    space = tuple((e - c) // step + 1 for e, c, step in zip(extents, covered, stride))
    return tensor_type((x.shape[0], weight.shape[0], *space), x.dtype, x.device)


def as_product(
    x: Node, weight: Node, params: tuple, space: Sequence[int], dot: Callable[[Node, Node], Node] = s.dot
) -> Node:
    """The convolution as one product for each image and group, whose result has the convolution's layout."""
    stride, low, high, dilation, groups = params
    batch, out_channels = x.shape[0], weight.shape[0]
    rank, positions = len(space), math.prod(space)
    depth = math.prod(weight.shape[1:])
    cols = windows(padded(x, low, high), weight.shape[2:], stride, dilation)
    cols = s.permuted(cols, (0, 1, *range(2 + rank, 2 + 2 * rank), *range(2, 2 + rank)))
    cols = s.reshaped(cols, (batch * groups, depth, positions))
    rows = s.reshaped(weight, (1, groups, out_channels // groups, depth))
    rows = s.expanded(rows, (batch, *rows.shape[1:]))
    rows = s.reshaped(rows, (batch * groups, *rows.shape[2:]))
    return s.reshaped(dot(rows, cols), (batch, out_channels, *space))


def is_depthwise(groups: int, weight: Sequence[int]) -> bool:
    """Whether each group has one input channel, which is too little work for a matrix product, and a small window.

    With products the sum of so many places is under fusion's bound on operations.
    """
    return groups > 1 and weight[1] == 1 and math.prod(weight[2:]) <= MOST_PLACES


def has_kernel(params: tuple, weight: Sequence[int], out: Sequence[int], device: str) -> bool:
    """Whether a convolution, or the gradient of its weight, is computed by the kernels for depthwise ones."""
    return device == "cpu" and is_depthwise(params[4], weight) and layout_of(out[2:], weight[2:], params) is not None


def shifted(x: Node, params: tuple, size: Sequence[int], full: Sequence[int]) -> list[Node]:
    """For each place of the window, the elements that stand there: ``full``, [batch, groups, filters, *windows]."""
    stride, low, high, dilation, _ = params
    x = padded(x, low, high)
    batch, groups, _, *space = full
    found = []
    for place in np.ndindex(*size):
        starts = (0, 0, *(i * gap for i, gap in zip(place, dilation)))
        part = s.slice_(x, params=(starts, (1, 1, *stride), (batch, groups, *space)))
        found.append(s.expanded(s.reshaped(part, (batch, groups, 1, *space)), full))
    return found


def by_group(x: Node, groups: int) -> Node:
    """``[batch, channels, *space]`` to ``[batch, groups, channels / groups, *space]``."""
    return s.reshaped(x, (x.shape[0], groups, x.shape[1] // groups, *x.shape[2:]))


def as_sum(node: Node) -> Node:
    """A depthwise convolution as a sum over the places of the window, one elementwise kernel that runs along images."""
    x, weight = node.src
    *_, groups = node.params
    batch, filters, *space = node.shape
    size = weight.shape[2:]
    full = (batch, groups, filters // groups, *space)
    total = None
    for place, part in zip(np.ndindex(*size), shifted(x, node.params, size, full)):
        factor = s.sliced(weight, (0, 0, *place), (filters, 1, *(1,) * len(size)))
        factor = s.reshaped(factor, (1, groups, filters // groups, *(1,) * len(size)))
        term = p.mul(part, s.expanded(factor, full))
        total = term if total is None else p.add(total, term)
    return s.reshaped(total, node.shape)


def _images(g: Node, groups: int) -> Node:
    """``[batch, channels, *space]`` to ``[groups, channels / groups, batch * space]``."""
    batch, channels, *space = g.shape
    parts = s.reshaped(g, (batch, groups, channels // groups, math.prod(space)))
    return s.reshaped(s.permuted(parts, (1, 2, 0, 3)), (groups, channels // groups, batch * math.prod(space)))


def as_convolutions(node: Node) -> Node:
    """The gradient of an image, in as many parts as there are remainders of its positions by the strides.

    Elements whose positions have the same remainders meet the same places of the windows, evenly spaced ones, and their
    gradient is a convolution of stride one with these. So there are no more products than forward, and nothing is
    added up in memory: the parts are interleaved.
    """
    g, weight = node.src
    stride, low, _, dilation, groups, _ = node.params
    batch, channels, *space = node.shape
    if all(step == 1 for step in stride):
        return _turned(g, weight, low, space, dilation, groups)
    size = weight.shape[2:]
    counts = [-(-e // step) for e, step in zip(space, stride)]
    parts = []
    for remainders in np.ndindex(*stride):
        at = [a + remainder for a, remainder in zip(low, remainders)]
        places = [
            [i for i in range(k) if (i * gap - a) % step == 0] for k, gap, step, a in zip(size, dilation, stride, at)
        ]
        if all(places):
            apart = [x[1] - x[0] if len(x) > 1 else 1 for x in places]
            starts, steps = (0, 0, *(x[0] for x in places)), (1, 1, *apart)
            filters = s.slice_(weight, params=(starts, steps, (*weight.shape[:2], *map(len, places))))
            gaps = tuple(max(1, x * gap // step) for x, gap, step in zip(apart, dilation, stride))
            first = [(a - x[0] * gap) // step for x, gap, step, a in zip(places, dilation, stride, at)]
            part = _turned(g, filters, first, counts, gaps, groups)
        else:
            part = const(params=((batch, channels, *counts), g.dtype, g.type.device, 0.0))
        parts.append(s.reshaped(part, (1, *part.shape)))
    rank = len(stride)
    whole = s.reshaped(s.cat(*parts, params=(0,)), (*stride, batch, channels, *counts))
    interleaved = [axis for i in range(rank) for axis in (rank + 2 + i, i)]
    whole = s.permuted(whole, (rank, rank + 1, *interleaved))
    whole = s.reshaped(whole, (batch, channels, *(count * step for count, step in zip(counts, stride))))
    return s.sliced(whole, (0,) * (2 + rank), (batch, channels, *space))


def _turned(
    g: Node, weight: Node, low: Sequence[int], space: Sequence[int], dilation: Sequence[int], groups: int
) -> Node:
    """``sum over k of g[y + low - dilation k] weight[k]`` at the positions y of ``space``, and zeros around g.

    These are the places of a window in which an element stands, backwards. What is padding has no gradient, so the
    result has the extent of the image: for small images that is half of the work.
    """
    out_channels, group_channels, *size = weight.shape
    rank = len(size)
    before = [gap * (k - 1) - a for k, gap, a in zip(size, dilation, low)]
    after = [e + a - extent for e, a, extent in zip(space, low, g.shape[2:])]
    if any(min(a, b) <= -extent for a, b, extent in zip(before, after, g.shape[2:])):
        shape = (g.shape[0], groups * group_channels, *space)
        return const(params=(shape, g.dtype, g.type.device, 0.0))
    split = (groups, out_channels // groups, group_channels, *size)
    turned = s.permuted(s.reshaped(weight, split), (0, 2, 1, *range(3, 3 + rank)))
    turned = s.reshaped(turned, (groups * group_channels, out_channels // groups, *size))
    if any(k > 1 for k in size):
        turned = s.flip(turned, params=tuple(range(2, 2 + rank)))
    g = padded(g, [min(a, 0) for a in before], [min(b, 0) for b in after])
    low, high = (tuple(max(a, 0) for a in widths) for widths in (before, after))
    return convolve(g, turned, params=((1,) * rank, low, high, tuple(dilation), groups))


def filters_as_product(node: Node) -> Node:
    """The gradient of a weight as one product for each group, or a depthwise one as sums."""
    x, g = node.src
    *params, _ = node.params
    stride, low, high, dilation, groups = params
    shape = node.shape
    batch, _, *space = g.shape
    rank, positions = len(space), math.prod(space)
    if is_depthwise(groups, shape):
        grouped = by_group(g, groups)
        axes = (0, *range(3, 3 + rank))
        parts = [
            s.reshaped(s.reduce_sum(p.mul(grouped, part), params=axes), (shape[0], 1))
            for part in shifted(x, params, shape[2:], grouped.shape)
        ]
        return s.reshaped(s.cat(*parts, params=(1,)), shape)
    cols = windows(padded(x, low, high), shape[2:], stride, dilation)
    cols = s.reshaped(cols, (batch, groups, shape[1], *cols.shape[2:]))
    cols = s.permuted(cols, (1, 0, *range(3, 3 + rank), 2, *range(3 + rank, 3 + 2 * rank)))
    cols = s.reshaped(cols, (groups, batch * positions, math.prod(shape[1:])))
    return s.reshaped(s.dot(_images(g, groups), cols), shape)


def _jvp(tangents, saved):
    """That of what is linear in both of its operands."""
    terms = [
        saved.node.op(*(t if i == j else saved.source(j) for j in range(2)), params=saved.params)
        for i, t in enumerate(tangents)
        if t is not None
    ]
    return terms[0] if len(terms) == 1 else p.add(*terms)


def _as_groups(x: Node) -> Node:
    """``[count, images, channels, *space]`` to ``[images, count * channels, *space]``."""
    count, images, channels, *space = x.shape
    return s.reshaped(s.permuted(x, (1, 0, *range(2, x.ndim))), (images, count * channels, *space))


def _batch(row: str):
    """The batch becomes groups, if each element has a weight of its own."""

    def batch(params: tuple, src: Sequence[Node]) -> Node:
        x, weight = src
        count, images = x.shape[:2]
        filters = s.shared(weight)
        if filters is not None:
            # more images
            out = p.TABLE[row](s.reshaped(x, (count * images, *x.shape[2:])), filters, params=params)
            return s.reshaped(out, (count, images, *out.shape[1:]))
        weight = s.reshaped(weight, (count * weight.shape[1], *weight.shape[2:]))
        out = p.TABLE[row](_as_groups(x), weight, params=(*params[:4], count * params[4], *params[5:]))
        out = s.reshaped(out, (images, count, out.shape[1] // count, *out.shape[2:]))
        return s.permuted(out, (1, 0, *range(2, out.ndim)))

    return batch


def _reference(params: tuple, x: np.ndarray, weight: np.ndarray) -> np.ndarray:
    stride, low, high, dilation, groups = params
    rank = len(stride)
    x = np.pad(x, ((0, 0), (0, 0), *zip(low, high)))
    axes = tuple(range(2, 2 + rank))
    covered = [gap * (k - 1) + 1 for k, gap in zip(weight.shape[2:], dilation)]
    view = np.lib.stride_tricks.sliding_window_view(x, covered, axes)
    view = view[(slice(None), slice(None), *(slice(None, None, d) for d in (*stride, *dilation)))]
    parts = []
    for filters, images in zip(np.split(weight, groups), np.split(view, groups, 1)):
        out = np.tensordot(images, filters, axes=((1, *range(2 + rank, 2 + 2 * rank)), tuple(range(1, 2 + rank))))
        parts.append(np.moveaxis(out, -1, 1))
    return np.concatenate(parts, 1)


# Cross-correlation of ``x`` [batch, in, *space] with ``weight`` [out, in / groups, *size]. Parameters: stride, widths
# of zeros before and after, and dilation, one an axis of space each; and the number of groups.
convolve = Primitive(
    "convolve", "contract", _infer, jvp=_jvp, batch=_batch("convolve"), reference=_reference, cost=100,
    vjp=(
        lambda g, n: image_gradient(g, n.y, params=(*n.params, n.type(0).shape[2:])),
        lambda g, n: filter_gradient(n.x, g, params=(*n.params, n.type(1).shape[2:])),
    ),
)


def _image_infer(params: tuple, g: TensorType, weight: TensorType) -> TensorType:
    *params, space = params
    image = tensor_type((g.shape[0], weight.shape[1] * params[4], *space), g.dtype, g.device)
    if _infer(tuple(params), image, weight) is not g:
        raise ValueError(f"a cotangent {g} does not belong to windows of {weight} in an image of {list(space)}")
    return image


def _image_reference(params: tuple, g: np.ndarray, weight: np.ndarray) -> np.ndarray:
    stride, low, high, dilation, groups, space = params
    extents = [a + e + b for a, e, b in zip(low, space, high)]
    out = np.zeros((len(g), weight.shape[1] * groups, *extents), g.dtype)
    for place in np.ndindex(*weight.shape[2:]):
        parts = zip(np.split(g, groups, 1), np.split(weight[(..., *place)], groups))
        found = [np.moveaxis(np.tensordot(a, b, (1, 0)), -1, 1) for a, b in parts]
        out[(..., *_positions(place, g.shape[2:], stride, dilation))] += np.concatenate(found, 1)
    return out[(..., *(slice(a, a + e) for a, e in zip(low, space)))]


def _positions(place: Sequence[int], counts: Sequence[int], stride: Sequence[int], dilation: Sequence[int]):
    """Where the elements stand that are in one place of so many windows."""
    parts = zip(place, counts, stride, dilation)
    return tuple(slice(i * gap, i * gap + (count - 1) * step + 1, step) for i, count, step, gap in parts)


# The gradient of a convolution's image from the cotangent of the result and the weight; its parameters are the
# convolution's and the shape of the image's space, of which the last elements may be in no window.
image_gradient = Primitive(
    "image_gradient", "contract", _image_infer, jvp=_jvp, batch=_batch("image_gradient"), reference=_image_reference,
    cost=100,
    vjp=(
        lambda g, n: convolve(g, n.y, params=n.params[:-1]),
        lambda g, n: filter_gradient(g, n.x, params=(*n.params[:-1], n.type(1).shape[2:])),
    ),
)


def _filters_infer(params: tuple, x: TensorType, g: TensorType) -> TensorType:
    *params, size = params
    groups = params[4]
    weight = tensor_type((g.shape[1], x.shape[1] // max(groups, 1), *size), x.dtype, x.device)
    if _infer(tuple(params), x, weight) is not g:
        raise ValueError(f"a cotangent {g} does not belong to windows of {list(size)} in {x}")
    return weight


def _filters_batch(params: tuple, src: Sequence[Node]) -> Node:
    *window, groups, size = params
    count, _, filters = src[1].shape[:3]
    out = filter_gradient(*map(_as_groups, src), params=(*window, count * groups, size))
    return s.reshaped(out, (count, filters, *out.shape[1:]))


def _filters_reference(params: tuple, x: np.ndarray, g: np.ndarray) -> np.ndarray:
    stride, low, high, dilation, groups, size = params
    x = np.pad(x, ((0, 0), (0, 0), *zip(low, high)))
    out = np.empty((g.shape[1], x.shape[1] // groups, *size), x.dtype)
    space = tuple(range(2, x.ndim))
    for place in np.ndindex(*size):
        at = _positions(place, g.shape[2:], stride, dilation)
        parts = zip(np.split(g, groups, 1), np.split(x[(..., *at)], groups, 1))
        out[(..., *place)] = np.concatenate([np.tensordot(a, b, ((0, *space), (0, *space))) for a, b in parts])
    return out


# The gradient of a convolution's weight from ``x`` [batch, in, *space] and the cotangent of the result; its parameters
# are the convolution's and the size of a window.
filter_gradient = Primitive(
    "filter_gradient", "contract", _filters_infer, jvp=_jvp, batch=_filters_batch,
    reference=_filters_reference, cost=100,
    vjp=(
        lambda g, n: image_gradient(n.y, g, params=(*n.params[:-1], n.type(0).shape[2:])),
        lambda g, n: convolve(n.x, g, params=n.params[:-1]),
    ),
)
