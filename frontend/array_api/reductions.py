"""The array API standard: sums and their like, orders, sets, and searching.

In: arrays. Out: arrays. ``axis`` is None for all axes, or one, or several. Read next: ``linalg.py``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from .. import gathering, reduction, scans, sorting
from ..compiler.dtypes import INTEGER, DType, int64
from ..tensor import Tensor
from .arrays import together

Axis = int | tuple[int, ...] | None


def _axes(x: Tensor, axis: Axis) -> tuple[int, ...]:
    if axis is None:
        return tuple(range(x.ndim))
    return (axis,) if isinstance(axis, int) else tuple(axis)


def _reduced(function: Callable[..., Tensor], x: Tensor, axis: Axis, keepdims: bool) -> Tensor:
    """A reduction of axes; PyTorch takes none for all."""
    axes = _axes(x, axis)
    return function(x, axes, keepdims) if axes else x.clone()


def _one_by_one(function: Callable[..., Tensor], x: Tensor, axis: Axis, keepdims: bool) -> Tensor:
    """A reduction that takes one axis at a time."""
    axes = sorted(place % x.ndim for place in _axes(x, axis))
    if len(set(axes)) != len(axes):
        raise ValueError(f"an axis is repeated in {axis}")
    for place in reversed(axes):
        x = function(x, place, keepdims)
    return x


def _summed(x: Tensor, dtype: DType | None) -> Tensor:
    """An array in the dtype of its sums: int64 for bool and integers."""
    if dtype is None:
        dtype = int64 if x.dtype.kind <= INTEGER else x.dtype
    return x.to(dtype)


def sum(x: Tensor, /, *, axis: Axis = None, dtype: DType | None = None, keepdims: bool = False) -> Tensor:
    """The sum over axes."""
    return _reduced(reduction.sum, _summed(x, dtype), axis, keepdims)


def prod(x: Tensor, /, *, axis: Axis = None, dtype: DType | None = None, keepdims: bool = False) -> Tensor:
    """The product over axes."""
    return _one_by_one(reduction.prod, _summed(x, dtype), axis, keepdims)


def max(x: Tensor, /, *, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """The largest element over axes; NaN if there is one."""
    return _reduced(reduction.amax, x, axis, keepdims)


def min(x: Tensor, /, *, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """The smallest element over axes; NaN if there is one."""
    return _reduced(reduction.amin, x, axis, keepdims)


def mean(x: Tensor, /, *, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """The mean over axes."""
    return _reduced(reduction.mean, x, axis, keepdims)


def var(x: Tensor, /, *, axis: Axis = None, correction: float = 0.0, keepdims: bool = False) -> Tensor:
    """The variance over axes: squares divided by the number of elements less ``correction``."""
    axes = _axes(x, axis)
    if not axes:  # each element for itself
        return x * 0 / (1 - correction) if correction != 1 else x * float("nan")
    return reduction.var(x, axes, correction=correction, keepdim=keepdims)


def std(x: Tensor, /, *, axis: Axis = None, correction: float = 0.0, keepdims: bool = False) -> Tensor:
    """The square root of :func:`var`."""
    return var(x, axis=axis, correction=correction, keepdims=keepdims).sqrt()


def all(x: Tensor, /, *, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """Whether all elements over axes are true."""
    return _one_by_one(reduction.all, x.bool(), axis, keepdims)


def any(x: Tensor, /, *, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """Whether any element over axes is true."""
    return _one_by_one(reduction.any, x.bool(), axis, keepdims)


def count_nonzero(x: Tensor, /, *, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """How many elements over axes are not 0."""
    return sum(x != 0, axis=axis, keepdims=keepdims)


def argmax(x: Tensor, /, *, axis: int | None = None, keepdims: bool = False) -> Tensor:
    """The place of the first largest element along an axis, or in the flattened array."""
    return reduction.argmax(x, axis, keepdims)


def argmin(x: Tensor, /, *, axis: int | None = None, keepdims: bool = False) -> Tensor:
    """The place of the first smallest element along an axis, or in the flattened array."""
    return reduction.argmin(x, axis, keepdims)


def _cumulative(
    scan: Callable[..., Tensor], x: Tensor, axis: int | None, dtype: DType | None, initial: int | None
) -> Tensor:
    if axis is None:
        if x.ndim > 1:
            raise ValueError("axis must be given for an array of more than one axis")
        x, axis = x.reshape(-1), 0
    found = scan(_summed(x, dtype), axis)
    if initial is None:
        return found
    shape = list(found.shape)
    shape[axis] = 1
    from ..joining import cat

    return cat([found.new_full(shape, initial), found], axis)


def cumulative_sum(
    x: Tensor, /, *, axis: int | None = None, dtype: DType | None = None, include_initial: bool = False
) -> Tensor:
    """The sums of the elements up to each; with a 0 before them if ``include_initial``."""
    return _cumulative(scans.cumsum, x, axis, dtype, 0 if include_initial else None)


def cumulative_prod(
    x: Tensor, /, *, axis: int | None = None, dtype: DType | None = None, include_initial: bool = False
) -> Tensor:
    """The products of the elements up to each; with a 1 before them if ``include_initial``."""
    return _cumulative(scans.cumprod, x, axis, dtype, 1 if include_initial else None)


def diff(
    x: Tensor, /, *, axis: int = -1, n: int = 1, prepend: Tensor | None = None, append: Tensor | None = None
) -> Tensor:
    """Differences of neighbours, ``n`` times."""
    return scans.diff(x, n, axis, prepend, append)


# ------------------------------------------------------------------------------------------------------ orders and sets


def sort(x: Tensor, /, *, axis: int = -1, descending: bool = False, stable: bool = True) -> Tensor:
    """The elements in order along an axis."""
    return sorting.sort(x, axis, descending, stable)[0]


def argsort(x: Tensor, /, *, axis: int = -1, descending: bool = False, stable: bool = True) -> Tensor:
    """The places of the elements in order along an axis; equal ones keep theirs if ``stable``."""
    return sorting.argsort(x, axis, descending, stable)


def searchsorted(
    x1: Tensor, x2: Tensor | float, /, *, side: str = "left", sorter: Tensor | None = None
) -> Tensor:
    """Where elements would be put into a sorted vector: before equal ones, or after them (``side="right"``)."""
    x1, x2 = together(x1, x2)
    return sorting.searchsorted(x1, x2, side=side, sorter=sorter)


class unique_all_result(NamedTuple):
    """What :func:`unique_all` gives."""

    values: Tensor
    indices: Tensor
    inverse_indices: Tensor
    counts: Tensor


class unique_counts_result(NamedTuple):
    """What :func:`unique_counts` gives."""

    values: Tensor
    counts: Tensor


class unique_inverse_result(NamedTuple):
    """What :func:`unique_inverse` gives."""

    values: Tensor
    inverse_indices: Tensor


def unique_all(x: Tensor, /) -> unique_all_result:
    """The distinct elements, where each is first, which of them each element is, and how many each is."""
    values, inverse, counts = sorting.unique(x, return_inverse=True, return_counts=True)
    order = sorting.argsort(inverse.reshape(-1), stable=True)
    return unique_all_result(values, order[counts.cumsum(0) - counts], inverse, counts)


def unique_counts(x: Tensor, /) -> unique_counts_result:
    """The distinct elements, and how many each is."""
    return unique_counts_result(*sorting.unique(x, return_counts=True))


def unique_inverse(x: Tensor, /) -> unique_inverse_result:
    """The distinct elements, and which of them each element is."""
    return unique_inverse_result(*sorting.unique(x, return_inverse=True))


def unique_values(x: Tensor, /) -> Tensor:
    """The distinct elements."""
    return sorting.unique(x)


def isin(x1: Tensor | complex, x2: Tensor | complex, /, *, invert: bool = False) -> Tensor:
    """Whether each element of ``x1`` is in ``x2``; whether it is not if ``invert``."""
    return gathering.isin(*together(x1, x2), invert=invert)


def nonzero(x: Tensor, /) -> tuple[Tensor, ...]:
    """The coordinates of the elements that are not 0, an array for each axis.

    Raises:
        ValueError: an array without axes.
    """
    if x.ndim == 0:
        raise ValueError("nonzero(): an array without axes has no coordinates")
    return tuple(gathering.nonzero(x, as_tuple=True))
