"""Order: sorting, the largest few, medians and quantiles, and what needs the values in order.

Sorting records one node, the order of one axis; values are gathered along it, so that gradients flow. Results whose
size depends on values (``unique``), and searches, are computed with NumPy at once. Read next: ``creation.py``.
"""

from __future__ import annotations

import math

import numpy as np

from . import formulas as f, return_types
from .arguments import (
    exactly_returned,
    floating_only,
    is_set,
    numpy_names,
    real_only,
    returned,
    tensor_argument,
    values_of,
)
from .compiler import dtypes, primitives as p, primitives_shape as s
from .compiler.dtypes import BOOL, FLOATING
from .compiler.ir import Node
from .gathering import true_positions
from .indexing import bounds
from .mutation import write_out
from .recording import from_array, input_node, node_of, tensor_of
from .runtime import engine
from .storage import attached
from .tensor import Tensor, axis_of

Pair = tuple[Tensor, Tensor]


def _ordered(x: Node, axis: int, descending: bool = False, count: int | None = None) -> Node:
    """The stable order of every row along ``axis``, or the first ``count`` of it, as positions with that axis last."""
    extent = x.type.shape[axis]
    return s.argsort(f.last_axis(f.cut(x), axis), params=(is_set(descending), extent if count is None else count))


def _picked(x: Node, axis: int, order: Node) -> tuple[Node, Node]:
    """The elements of ``x`` at positions that have ``axis`` last, and the positions; both with ``axis`` in place."""
    values = s.gather(f.last_axis(x, axis), order, params=(order.ndim - 1,))
    return f.from_last_axis(values, axis), f.from_last_axis(order, axis)


def _pair(named, values: Node, index: Node, out: Pair | None):
    if out is None:
        return named(tensor_of(values), tensor_of(index))
    return named(write_out(out[0], values), write_out(out[1], index))


def _scalar_pair(named, x: Node, out: Pair | None):
    return _pair(named, s.copy(x), f.filled((), dtypes.int64, x.type.device, 0), out)


@numpy_names
def sort(
    input: Tensor, dim: int = -1, descending: bool = False, stable: bool = False, *, out: Pair | None = None
) -> return_types.sort:
    """The elements along ``dim`` in order, and where they were. NaN counts as the largest. As ``torch.sort``.

    Args:
        stable: that equal elements keep their order, which they always do here.

    Example:
        >>> import flamework as torch
        >>> torch.sort(torch.tensor([3, 1, 2])).indices.tolist()
        [1, 2, 0]
    """
    x = tensor_argument(input, "sort", "input", 1)
    axis = axis_of(dim, x.ndim)
    if x.ndim == 0:
        return _scalar_pair(return_types.sort, x, out)
    return _pair(return_types.sort, *_picked(x, axis, _ordered(x, axis, descending)), out)


@numpy_names
def argsort(input: Tensor, dim: int = -1, descending: bool = False, stable: bool = False) -> Tensor:
    """The positions that put the elements along ``dim`` in order; see :func:`sort`. As ``torch.argsort``.

    Example:
        >>> import flamework as torch
        >>> torch.argsort(torch.tensor([3, 1, 2]), descending=True).tolist()
        [0, 2, 1]
    """
    return sort(input, dim, descending, stable).indices


def msort(input: Tensor, *, out: Tensor | None = None) -> Tensor:
    """The elements along the first axis in ascending order. As ``torch.msort``."""
    return returned(node_of(sort(input, 0).values), out)


@numpy_names
def topk(
    input: Tensor, k: int, dim: int = -1, largest: bool = True, sorted: bool = True, *, out: Pair | None = None
) -> return_types.topk:
    """The ``k`` largest (or smallest) elements along ``dim`` in order, and where they are. As ``torch.topk``.

    Args:
        sorted: that the result is in order, which it always is here.

    Raises:
        RuntimeError: ``k`` is negative or larger than the axis.

    Example:
        >>> import flamework as torch
        >>> torch.topk(torch.tensor([3, 1, 2]), 2).values.tolist()
        [3, 2]
    """
    x = tensor_argument(input, "topk", "input", 1)
    axis = axis_of(dim, x.ndim)
    extent = x.type.shape[axis] if x.ndim else 1
    if not 0 <= k <= extent:
        raise RuntimeError("selected index k out of range")
    if x.ndim == 0:
        return _scalar_pair(return_types.topk, x, out)
    return _pair(return_types.topk, *_picked(x, axis, _ordered(x, axis, largest, k)), out)


# ------------------------------------------------------------------------------------------------- order statistics


def _at_rank(x: Node, axis: int, position: Node, keepdim: bool) -> tuple[Node, Node]:
    """The elements of a given rank, one for each row; ``position`` lacks ``axis``."""
    order = _ordered(x, axis)
    chosen = s.gather(order, f.reshaped(position, (*position.type.shape, 1)), params=(x.ndim - 1,))
    values, index = _picked(x, axis, chosen)
    if is_set(keepdim):
        return values, index
    return f.reshaped(values, position.type.shape), f.reshaped(index, position.type.shape)


def _rows(x: Node, axis: int) -> tuple[int, ...]:
    return x.type.shape[:axis] + x.type.shape[axis + 1 :]


def _nan_count(x: Node, axis: int) -> Node:
    return s.reduce_sum(f.converted(f.is_nan(f.cut(x)), dtypes.int64), params=(axis,))


@numpy_names
def kthvalue(
    input: Tensor, k: int, dim: int = -1, keepdim: bool = False, *, out: Pair | None = None
) -> return_types.kthvalue:
    """The ``k``-th smallest element along ``dim`` (from 1) and where it is. As ``torch.kthvalue``.

    Raises:
        RuntimeError: ``k`` is not in [1, size of the axis].

    Example:
        >>> import flamework as torch
        >>> torch.kthvalue(torch.tensor([3, 1, 2]), 2).values.item()
        2
    """
    x = tensor_argument(input, "kthvalue", "input", 1)
    axis = axis_of(dim, x.ndim)
    extent = x.type.shape[axis] if x.ndim else 1
    if not 1 <= k <= extent:
        raise RuntimeError(f"kthvalue(): selected number k out of range for dimension {axis}")
    if x.ndim == 0:
        return _scalar_pair(return_types.kthvalue, x, out)
    rank = f.filled(_rows(x, axis), dtypes.int64, x.type.device, 0)
    return _pair(return_types.kthvalue, *_at_rank(x, axis, f.argument(rank, k - 1), keepdim), out)


@numpy_names
def median(
    input: Tensor, dim: int | None = None, keepdim: bool = False, *, out: Pair | None = None
) -> Tensor | return_types.median:
    """The middle element in order, the lower of two: of all elements, or along ``dim`` with its position.

    NaN if there is one. As ``torch.median``.

    Raises:
        IndexError: an axis of size 0.

    Example:
        >>> import flamework as torch
        >>> torch.median(torch.tensor([4, 1, 3, 2])).item()
        2
    """
    return _median("median", return_types.median, input, dim, keepdim, out, ignore_nan=False)


@numpy_names
def nanmedian(
    input: Tensor, dim: int | None = None, keepdim: bool = False, *, out: Pair | None = None
) -> Tensor | return_types.nanmedian:
    """The median of the elements that are not NaN; see :func:`median`. As ``torch.nanmedian``.

    Example:
        >>> import flamework as torch
        >>> torch.nanmedian(torch.tensor([float("nan"), 1.0, 2.0])).item()
        1.0
    """
    return _median("nanmedian", return_types.nanmedian, input, dim, keepdim, out, ignore_nan=True)


def _median(name, named, input, dim, keepdim, out, *, ignore_nan):
    x = tensor_argument(input, name, "input", 1)
    if dim is None:
        if x.type.size == 0:
            # what PyTorch makes of NaN as an integer
            wide = x.type.dtype in (dtypes.int32, dtypes.int64)
            nothing = math.nan if x.type.dtype.kind == FLOATING else np.iinfo(x.type.dtype.numpy).min if wide else 0
            return tensor_of(f.filled((), x.type.dtype, x.type.device, nothing))
        flat = f.reshaped(x, (x.type.size,))
        value = _at_rank(f.cut(flat), 0, _middle(flat, 0, ignore_nan), False)[0]
        if x.requires_grad:
            # elements equal to the median share its gradient
            known, reached = f.cut(flat), f.along(value, (0,), flat)
            equal = p.bor(p.eq(known, reached), p.band(f.is_nan(known), f.is_nan(reached)))
            chosen = f.converted(equal, x.type.dtype)
            share = p.div(chosen, f.along(s.reduce_sum(chosen, params=(0,)), (0,), flat))
            value = attached(value, s.reduce_sum(p.mul(flat, share), params=(0,)))
        return tensor_of(value)
    axis = axis_of(dim, x.ndim)
    if x.ndim == 0:
        return _scalar_pair(named, x, out)
    if x.type.shape[axis] == 0:
        raise IndexError(f"{name}(): Expected reduction dim {axis} to have non-zero size.")
    return _pair(named, *_at_rank(x, axis, _middle(x, axis, ignore_nan), keepdim), out)


def _middle(x: Node, axis: int, ignore_nan: bool) -> Node:
    extent = x.type.shape[axis]
    rank = f.filled(_rows(x, axis), dtypes.int64, x.type.device, 0)
    if x.type.dtype.kind != FLOATING:
        return f.argument(rank, (extent - 1) // 2)
    missing = _nan_count(x, axis)
    size = f.argument(missing, extent)
    if ignore_nan:
        # NaN stand at the end; a row of nothing else has its first one
        below = p.sub(p.sub(size, missing), f.constant(missing, 1))
        below = p.where(p.lt(below, f.constant(below, 0)), f.constant(below, 0), below)
        return p.floordiv(below, f.constant(below, 2))
    none = p.eq(missing, f.constant(missing, 0))
    return p.where(none, f.argument(rank, (extent - 1) // 2), p.sub(size, missing))


@numpy_names
def mode(
    input: Tensor, dim: int = -1, keepdim: bool = False, *, out: Pair | None = None
) -> return_types.mode:
    """The most frequent element along ``dim``, the smallest of several, and its last position; computes.

    As ``torch.mode``.

    Example:
        >>> import flamework as torch
        >>> torch.mode(torch.tensor([1, 2, 2, 3])).values.item()
        2
    """
    x = tensor_argument(input, "mode", "input", 1)
    axis = axis_of(dim, x.ndim)
    real_only(x, "mode")
    if x.ndim == 0:
        return _scalar_pair(return_types.mode, x, out)
    if x.type.shape[axis] == 0:
        raise IndexError(f"mode(): Expected reduction dim {axis} to have non-zero size.")
    rows = np.moveaxis(values_of(x), axis, -1)
    ordered = np.sort(rows, axis=-1)
    starts = np.ones(ordered.shape, bool)
    starts[..., 1:] = ordered[..., 1:] != ordered[..., :-1]
    place = np.arange(ordered.shape[-1])
    first = np.maximum.accumulate(np.where(starts, place, 0), axis=-1)
    # the longest run so far, at the first place where that length is reached
    best = np.argmax(place - first, axis=-1)
    value = np.take_along_axis(ordered, best[..., None], -1)
    last = ordered.shape[-1] - 1 - np.argmax((rows == value)[..., ::-1], axis=-1)
    chosen = input_node(np.ascontiguousarray(last[..., None].astype(np.int64)), x.type.device)
    values, index = _picked(x, axis, chosen)
    if not is_set(keepdim):
        values, index = f.reshaped(values, _rows(x, axis)), f.reshaped(index, _rows(x, axis))
    return _pair(return_types.mode, values, index, out)


@numpy_names
def quantile(
    input: Tensor, q: float | Tensor, dim: int | None = None, keepdim: bool = False, *, interpolation: str = "linear",
    out: Tensor | None = None,
) -> Tensor:
    """The ``q``-th quantiles along ``dim``, or of all elements; several ``q`` make a new first axis.

    As ``torch.quantile``.

    Args:
        q: number or vector in [0, 1], of the dtype of ``input``.
        interpolation: between two neighbours in order: ``linear``, ``lower``, ``higher``, ``midpoint`` or ``nearest``.

    Raises:
        RuntimeError: not floating point, ``q`` out of range, or no elements.

    Example:
        >>> import flamework as torch
        >>> torch.quantile(torch.tensor([1.0, 2.0, 3.0]), 0.25).item()
        1.5
    """
    return _quantile("quantile", input, q, dim, keepdim, interpolation, out, ignore_nan=False)


@numpy_names
def nanquantile(
    input: Tensor, q: float | Tensor, dim: int | None = None, keepdim: bool = False, *, interpolation: str = "linear",
    out: Tensor | None = None,
) -> Tensor:
    """The quantiles of the elements that are not NaN; see :func:`quantile`. As ``torch.nanquantile``.

    Example:
        >>> import flamework as torch
        >>> torch.nanquantile(torch.tensor([float("nan"), 1.0, 2.0]), 0.5).item()
        1.5
    """
    return _quantile("nanquantile", input, q, dim, keepdim, interpolation, out, ignore_nan=True)


def _quantile(name, input, q, dim, keepdim, interpolation, out, *, ignore_nan):
    x = tensor_argument(input, name, "input", 1)
    if x.type.dtype not in (dtypes.float32, dtypes.float64):
        raise RuntimeError(f"{name}() input tensor must be either float or double dtype")
    if interpolation not in ("linear", "lower", "higher", "midpoint", "nearest"):
        raise RuntimeError(
            f"{name}() interpolation must be one of linear, lower, higher, midpoint or nearest, but got {interpolation}"
        )
    if x.type.size == 0:
        raise RuntimeError(f"{name}() input tensor must be non-empty")
    if isinstance(q, Tensor):
        levels = node_of(q)
        if levels.type.dtype is not x.type.dtype:
            raise RuntimeError(f"{name}() q tensor must be same dtype as the input tensor")
        if levels.ndim > 1:
            raise RuntimeError(f"{name}() q must be a scalar or 1D tensor")
        known = values_of(levels)
    else:
        levels = f.argument(f.filled((), x.type.dtype, x.type.device, 0), q)
        known = np.asarray(q)
    if not ((known >= 0) & (known <= 1)).all():
        raise RuntimeError(f"{name}() q values must be in the range [0, 1]")
    rank = x.ndim
    axis = 0 if dim is None else axis_of(dim, rank)
    x = f.reshaped(x, (x.type.size,)) if dim is None or rank == 0 else f.last_axis(x, axis)
    lead = x.type.shape[:-1]
    count = levels.type.size
    ordered = s.gather(x, s.argsort(f.cut(x), params=(False, x.type.shape[-1])), params=(x.ndim - 1,))
    place = _places(f.cut(x), f.reshaped(levels, (count,)), ignore_nan)
    values = _interpolated(ordered, place, interpolation)
    values = f.permuted(values, (x.ndim - 1, *range(x.ndim - 1)))
    shape = list(lead)
    if is_set(keepdim):
        shape = [1] * rank if dim is None or rank == 0 else [*lead[:axis], 1, *lead[axis:]]
    return exactly_returned(f.reshaped(values, shape if levels.ndim == 0 else [count, *shape]), out)


def _places(x: Node, levels: Node, ignore_nan: bool) -> Node:
    """Where in every ordered row the quantiles stand, a fraction between two positions: ``[*rows, levels]``."""
    axis = x.ndim - 1
    lead, count = x.type.shape[:-1], levels.type.size
    target = (*lead, count)
    missing = f.converted(_nan_count(x, axis), x.type.dtype)
    last = f.argument(missing, x.type.shape[-1] - 1)
    levels = f.expanded(f.reshaped(levels, (*(1,) * len(lead), count)), target)
    if ignore_nan:
        reach = p.sub(last, missing)
        reach = p.where(p.lt(reach, f.constant(reach, 0)), f.constant(reach, 0), reach)
        return p.mul(levels, f.expanded(f.reshaped(reach, (*lead, 1)), target))
    # a row with NaN gives NaN: they stand at its end
    spoilt = f.expanded(f.reshaped(p.lt(f.constant(missing, 0), missing), (*lead, 1)), target)
    last = f.expanded(f.reshaped(last, (*lead, 1)), target)
    return p.where(spoilt, last, p.mul(levels, last))


def _interpolated(ordered: Node, place: Node, interpolation: str) -> Node:
    axis = ordered.ndim - 1

    def at(position: Node) -> Node:
        return s.gather(ordered, f.converted(position, dtypes.int64), params=(axis,))

    if interpolation == "lower":
        return at(p.floor(place))
    if interpolation == "higher":
        return at(p.ceil(place))
    if interpolation == "nearest":
        return at(p.round(place))
    below, above = at(p.floor(place)), at(p.ceil(place))
    weight = f.constant(place, 0.5) if interpolation == "midpoint" else p.sub(place, p.floor(place))
    gap = p.sub(above, below)
    from_below = p.add(below, p.mul(weight, gap))
    from_above = p.sub(above, p.mul(gap, p.sub(f.constant(weight, 1), weight)))
    return p.where(p.lt(weight, f.constant(weight, 0.5)), from_below, from_above)


# ---------------------------------------------------------------------------------------------- distinct, search


def unique(
    input: Tensor, sorted: bool = True, return_inverse: bool = False, return_counts: bool = False,
    dim: int | None = None,
) -> Tensor | tuple[Tensor, ...]:
    """The distinct elements, or slices along ``dim``, in order; computes. As ``torch.unique``.

    Args:
        sorted: that the result is in order, which it always is here.
        return_inverse: also where each element of ``input`` went.
        return_counts: also how often each one occurs.

    Example:
        >>> import flamework as torch
        >>> torch.unique(torch.tensor([3, 1, 3])).tolist()
        [1, 3]
    """
    x = tensor_argument(input, "unique", "input", 1)
    if dim is None:
        return _distinct_elements(f.cut(x), return_inverse, return_counts)
    found, inverse, counts = np.unique(
        values_of(x), return_inverse=True, return_counts=True, axis=axis_of(dim, x.ndim), equal_nan=False
    )
    return _distinct(found, inverse.reshape(-1), counts, return_inverse, return_counts, x.type.device)


def _distinct_elements(x: Node, return_inverse: bool, return_counts: bool) -> Tensor | tuple[Tensor, ...]:
    """The distinct elements of a node: the beginnings of the runs of equal ones among the sorted elements."""
    shape, size, device = x.type.shape, x.type.size, x.type.device
    flat = f.reshaped(x, (size,))
    order = s.argsort(flat, params=(False, size))
    ordered = s.gather(flat, order, params=(0,))
    begins = f.filled((min(size, 1),), dtypes.bool_, device, True)
    if size > 1:
        later, earlier = (f.axis_slice(ordered, 0, start, size - 1) for start in (1, 0))
        begins = s.cat(begins, p.ne(later, earlier), params=(0,))
    engine.realize([begins, ordered, order])
    starts = true_positions(begins)
    result = [tensor_of(s.gather(ordered, starts, params=(0,)))]
    if return_inverse:
        number = s.cumsum(f.converted(begins, dtypes.int64), params=(0,))
        number = p.sub(number, f.constant(number, 1))
        # the elements in order know which group they are in: tell it to the places where they came from
        inverse = s.scatter(number, order, number, params=(0, "set"))
        result.append(tensor_of(f.reshaped(inverse, shape)))
    if return_counts:
        count = starts.type.size
        ends = f.filled((min(count, 1),), dtypes.int64, device, size)
        if count > 1:
            ends = s.cat(f.axis_slice(starts, 0, 1, count - 1), ends, params=(0,))
        result.append(tensor_of(p.sub(ends, starts)))
    return result[0] if len(result) == 1 else tuple(result)


def _distinct(found, inverse, counts, return_inverse, return_counts, place):
    result = [from_array(np.ascontiguousarray(found), place)]
    if return_inverse:
        result.append(from_array(inverse.astype(np.int64), place))
    if return_counts:
        result.append(from_array(counts.astype(np.int64), place))
    return result[0] if len(result) == 1 else tuple(result)


def unique_consecutive(
    input: Tensor, return_inverse: bool = False, return_counts: bool = False, dim: int | None = None
) -> Tensor | tuple[Tensor, ...]:
    """One of each run of equal elements, or of equal slices along ``dim``; computes. As ``torch.unique_consecutive``.

    Example:
        >>> import flamework as torch
        >>> torch.unique_consecutive(torch.tensor([1, 1, 2, 1])).tolist()
        [1, 2, 1]
    """
    values = values_of(real_only(tensor_argument(input, "unique_consecutive", "input", 1), "unique"))
    shape = values.shape
    axis = None if dim is None else axis_of(dim, values.ndim)
    rows = values.reshape(-1) if axis is None else np.moveaxis(values, axis, 0)
    starts = np.ones(len(rows), bool)
    starts[1:] = (rows[1:] != rows[:-1]).reshape(max(len(rows) - 1, 0), math.prod(rows.shape[1:])).any(axis=1)
    inverse = np.cumsum(starts) - 1
    counts = np.diff(np.append(np.flatnonzero(starts), len(rows)))
    found = rows[starts] if axis is None else np.moveaxis(rows[starts], 0, axis)
    inverse = inverse.reshape(shape if axis is None else -1)
    return _distinct(found, inverse, counts, return_inverse, return_counts, input._node.type.device)


def searchsorted(
    sorted_sequence: Tensor, values: Tensor | float, *, out_int32: bool = False, right: bool = False,
    side: str | None = None, sorter: Tensor | None = None, out: Tensor | None = None,
) -> Tensor:
    """Where ``values`` would be inserted into rows that are in order; computes. As ``torch.searchsorted``.

    Args:
        right: behind equal elements instead of in front of them.
        side: ``"left"`` or ``"right"``, another spelling of ``right``.
        sorter: the order of the rows, if they are not in order.
        out_int32: int32 instead of int64.

    Raises:
        RuntimeError: rows and values that do not fit, or ``side`` against ``right``.

    Example:
        >>> import flamework as torch
        >>> torch.searchsorted(torch.tensor([1, 3, 5]), torch.tensor([3, 4])).tolist()
        [1, 2]
    """
    if side not in (None, "left", "right"):
        raise RuntimeError(f"torch.searchsorted(): side can only be 'left' or 'right' but got {side}")
    if side == "left" and right:
        raise RuntimeError(
            "torch.searchsorted(): side and right can't be set to opposites, got side of left while right was True"
        )
    rows = values_of(
        real_only(tensor_argument(sorted_sequence, "searchsorted", "sorted_sequence", 1), "searchsorted")
    )
    if sorter is not None:
        rows = np.take_along_axis(rows, values_of(node_of(sorter)), -1)
    wanted = values_of(node_of(values)) if isinstance(values, Tensor) else np.asarray(values)
    where = "right" if right or side == "right" else "left"
    if rows.ndim <= 1:
        found = np.searchsorted(rows.reshape(-1), wanted, where)
    else:
        if rows.shape[:-1] != wanted.shape[:-1]:
            raise RuntimeError(
                "torch.searchsorted(): boundaries tensor should be 1 dimension or the first N-1 dimensions of "
                "boundaries tensor and input value tensor must match, but we got boundaries tensor "
                f"{list(rows.shape)} and input value tensor {list(wanted.shape)}"
            )
        found = np.empty(wanted.shape, np.int64)
        for i in np.ndindex(rows.shape[:-1]):
            found[i] = np.searchsorted(rows[i], wanted[i], where)
    result = np.asarray(found).astype(np.int32 if out_int32 else np.int64)
    place = sorted_sequence._node.type.device
    return returned(input_node(np.ascontiguousarray(result).reshape(wanted.shape), place), out)


def bucketize(
    input: Tensor | float, boundaries: Tensor, *, out_int32: bool = False, right: bool = False,
    out: Tensor | None = None,
) -> Tensor:
    """The number of the interval between ``boundaries`` that each element is in; computes. As ``torch.bucketize``.

    Example:
        >>> import flamework as torch
        >>> torch.bucketize(torch.tensor([0, 4]), torch.tensor([1, 3, 5])).tolist()
        [0, 2]
    """
    if tensor_argument(boundaries, "bucketize", "boundaries", 2).ndim != 1:
        raise RuntimeError(f"bucketize(): boundaries tensor must be 1 dimension, but got dim({boundaries.ndim})")
    return searchsorted(boundaries, input, out_int32=out_int32, right=right, out=out)


def bincount(input: Tensor, weights: Tensor | None = None, minlength: int = 0) -> Tensor:
    """How often each number from 0 up occurs, or the sum of their weights; computes. As ``torch.bincount``.

    Example:
        >>> import flamework as torch
        >>> torch.bincount(torch.tensor([1, 1, 3])).tolist()
        [0, 2, 0, 1]
    """
    x = real_only(tensor_argument(input, "bincount", "input", 1), "bincount")
    values = values_of(x)
    index = f.converted(x, dtypes.int64)
    low, high = (0, -1) if x.ndim != 1 or not values.size else bounds(index)
    if x.ndim != 1 or x.type.dtype.kind in (FLOATING, BOOL) or low < 0:
        error = p.Undefined if x.type.dtype.kind == FLOATING else RuntimeError
        raise error("bincount only supports 1-d non-negative integral inputs.")
    if minlength < 0:
        raise RuntimeError("minlength should be >= 0")
    given = None if weights is None else node_of(weights)
    if given is not None and given.type.shape != x.type.shape:
        raise RuntimeError("weights should be 1-d and have the same length as input")
    dtype = dtypes.int64 if given is None else dtypes.float64
    new = f.filled(x.type.shape, dtype, x.type.device, 1) if given is None else f.converted(f.cut(given), dtype)
    bins = f.filled((max(high + 1, minlength),), dtype, x.type.device, 0)
    summed = s.scatter(bins, index, new, params=(0, "add")) if x.type.size else bins
    single = given is not None and given.type.dtype is dtypes.float32
    return tensor_of(f.converted(summed, dtypes.float32) if single else summed)


def histc(
    input: Tensor, bins: int = 100, min: float = 0, max: float = 0, *, out: Tensor | None = None
) -> Tensor:
    """How many elements fall into each of ``bins`` intervals of one width between ``min`` and ``max``; computes.

    With ``min`` equal to ``max`` the range of the data is taken. As ``torch.histc``.

    Example:
        >>> import flamework as torch
        >>> torch.histc(torch.tensor([1.0, 2.0, 1.0]), bins=4, min=0, max=3).tolist()
        [0.0, 2.0, 1.0, 0.0]
    """
    x = floating_only(tensor_argument(input, "histc", "input", 1), "histc")
    if bins <= 0:
        raise RuntimeError("bins must be > 0")
    values = values_of(x).reshape(-1)
    low, high = float(min), float(max)
    if low == high and values.size:
        low, high = float(values.min()), float(values.max())
    if low == high:
        low, high = low - 1, high + 1
    if not (math.isfinite(low) and math.isfinite(high)):
        raise RuntimeError(f"range of [{low}, {high}] is not finite")
    if low > high:
        raise RuntimeError("max must be larger than min")
    # in the arithmetic of the dtype, which decides for elements that are close to an edge
    kind = x.type.dtype.numpy.type
    values = values[(values >= kind(low)) & (values <= kind(high))]
    place = np.minimum(((values - kind(low)) * kind(bins) / (kind(high) - kind(low))).astype(np.int64), bins - 1)
    return returned(input_node(np.bincount(place, minlength=bins).astype(kind), x.type.device), out)


__all__ = [
    "argsort", "bincount", "bucketize", "histc", "kthvalue", "median", "mode", "msort", "nanmedian", "nanquantile",
    "quantile", "searchsorted", "sort", "topk", "unique", "unique_consecutive",
]
