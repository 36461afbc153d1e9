"""Parts of sparse tensors, and sparse tensors joined: what changes the coordinates and leaves the values as they are.

In: sparse tensors and positions. Out: sparse tensors; dense ones where no sparse axis is left. Read next:
``arithmetic.py``.
"""

from __future__ import annotations

import operator
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from ..compiler import dtypes
from ..creation import zeros
from ..joining import cat as dense_cat
from ..tensor import SparseOperand, Tensor, axis_of
from .methods import sparse_dim
from .tensor import DenseOperand, SparseTensor, alias, coordinates, made, method, rows_of, summed, supported


@supported()
def select(self: SparseTensor, dim: int, index: int) -> Tensor:
    """The elements at one position of an axis, which is left out; dense if it was the only sparse one.

    As ``torch.select``.

    Raises:
        IndexError: the axis or the position is out of range.
    """
    axis, position = axis_of(dim, self.ndim), operator.index(index)
    extent = self._extents[axis]
    if not -extent <= position < extent:
        raise IndexError(f"index {position} is out of bounds for dimension {axis} with size {extent}")
    position %= extent
    where = coordinates(self)
    extents = (*self._extents[:axis], *self._extents[axis + 1 :])
    if axis >= len(where):
        value = self._value.select(axis - len(where) + 1, position)
        return made(where.copy(), value, extents, False, "Select")
    picked = np.flatnonzero(where[axis] == position)
    value = rows_of(self._value, picked)
    if len(where) == 1:
        return summed(value, np.zeros(len(picked), np.int64), 1).squeeze(0)
    return made(np.delete(where[:, picked], axis, axis=0), value, extents, False, "Select")


@method()
def __getitem__(self: SparseTensor, index: Any) -> Tensor:
    """Positions of the first axes: integers, whole slices, and None for a new axis of size 1.

    Raises:
        NotImplementedError: another index.
    """
    result, axis = self, 0
    items = index if isinstance(index, tuple) else (index,)
    if all(isinstance(item, slice) for item in items):
        raise SparseOperand("as_strided")
    for item in items:
        if item is None:
            result, axis = result.unsqueeze(axis), axis + 1
        elif isinstance(item, slice) and item == slice(None):
            axis += 1
        elif hasattr(item, "__index__") and not isinstance(item, (bool, Tensor)):
            result = result.select(axis, item)
        else:
            raise SparseOperand("index")
    return result


@supported()
def unbind(self: SparseTensor, dim: int = 0) -> tuple[Tensor, ...]:
    """The parts at each position of an axis; as ``torch.unbind``."""
    axis = axis_of(dim, self.ndim)
    return tuple(select(self, axis, i) for i in range(self._extents[axis]))


@method()
def __iter__(self: SparseTensor) -> Iterator[Tensor]:
    if not self.ndim:
        raise TypeError("iteration over a 0-d tensor")
    return iter(unbind(self))


@supported()
def unsqueeze(self: SparseTensor, dim: int) -> SparseTensor:
    """A new axis of size 1, sparse unless it stands behind the sparse ones; as ``torch.unsqueeze``."""
    axis = axis_of(dim, self.ndim + 1)
    where = coordinates(self)
    extents = (*self._extents[:axis], 1, *self._extents[axis:])
    if axis > len(where):
        return made(where.copy(), alias(self._value).unsqueeze(axis - len(where) + 1), extents, False, "Unsqueeze")
    return made(np.insert(where, axis, 0, axis=0), alias(self._value), extents, False, "Unsqueeze")


@supported("cat", "concat", "concatenate", mixed=True)
def cat(tensors: Sequence[Tensor], dim: int = 0) -> SparseTensor:
    """Sparse tensors one after the other along an axis; as ``torch.cat``.

    Raises:
        RuntimeError: sizes differ beside the axis, or one is dense.
    """
    first = tensors[0]
    if not isinstance(first, SparseTensor):
        raise DenseOperand("_values")
    axis, count = axis_of(dim, first.ndim), sparse_dim(first)
    kind = first.dtype
    for place, tensor in enumerate(tensors):
        if not isinstance(tensor, SparseTensor):
            raise RuntimeError(f"Concatenating sparse tensors, but a dense tensor was found at position {place}.")
        beside = [list(t.shape[:axis] + t.shape[axis + 1 :]) for t in (first, tensor)]
        if tensor.ndim != first.ndim or beside[0] != beside[1]:
            raise RuntimeError(
                f"All tensors must have the same shape: {list(first.shape)} (except in the concatenating dimension), "
                f"but found shape: {list(tensor.shape)} at position {place}."
            )
        if sparse_dim(tensor) != count:
            raise RuntimeError(
                f"All tensors must have the same number of sparse dimensions, but got {sparse_dim(tensor)} at position "
                f"{place} and {count} before."
            )
        kind = dtypes.promote(kind, tensor.dtype)
    total = sum(tensor.shape[axis] for tensor in tensors)
    where, values, begin = [], [], 0
    for tensor in tensors:
        index, value = coordinates(tensor).copy(), tensor._value.to(kind)
        if axis < count:
            index[axis] += begin
        else:
            value = _padded(value, axis - count + 1, begin, total)
        begin += tensor.shape[axis]
        where.append(index)
        values.append(value)
    extents = (*first.shape[:axis], total, *first.shape[axis + 1 :])
    return made(np.concatenate(where, axis=1), dense_cat(values), extents, False, "Cat")


def _padded(value: Tensor, axis: int, begin: int, total: int) -> Tensor:
    """``value`` at a position of a longer axis, with zeros around it."""
    parts = [
        zeros((*value.shape[:axis], n, *value.shape[axis + 1 :]), dtype=value.dtype, device=value.device)
        for n in (begin, total - begin - value.shape[axis])
    ]
    return dense_cat([parts[0], value, parts[1]], axis)


@supported(mixed=True)
def stack(tensors: Sequence[Tensor], dim: int = 0) -> SparseTensor:
    """Sparse tensors of one size along a new axis; as ``torch.stack``.

    Raises:
        RuntimeError: sizes differ, or one is dense.
    """
    if len({tuple(tensor.shape) for tensor in tensors}) > 1:
        raise RuntimeError("stack expects each tensor to be equal size")
    axis = axis_of(dim, tensors[0].ndim + 1)
    return cat([t.unsqueeze(axis) for t in tensors], axis)
