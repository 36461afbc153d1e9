"""Parts replaced out of place, and tensors that are given other memory or other sizes.

In: a tensor and a part's new value, or new sizes. Out: a copy; or the same tensor over other memory.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from .compiler import primitives_shape as s
from .mutation import replace_memory
from .parts import as_strided, diagonal, select
from .recording import node_of, storage_of
from .storage import contiguous_strides
from .tensor import Tensor, axis_of, memory_format, method, strides_of
from .views import become_view, clone, sizes_of


def _replaced(input: Tensor, src: Tensor, part: Callable[..., Tensor], *where: Any) -> Tensor:
    """A copy of ``input`` in which a part of it, as a view function shows it, is ``src``."""
    result = clone(input)
    target = part(result, *where)
    if target.shape != src.shape:
        raise RuntimeError(
            f"expected src to have a size equal to the slice of self. src size = {list(src.shape)}, slice size = "
            f"{list(target.shape)}"
        )
    target.copy_(src)
    return result


@method
def select_scatter(input: Tensor, src: Tensor, dim: int, index: int) -> Tensor:
    """A copy of ``input`` with one position along an axis replaced by ``src``; as ``torch.select_scatter``."""
    return _replaced(input, src, select, dim, index)


@method
def diagonal_scatter(input: Tensor, src: Tensor, offset: int = 0, dim1: int = 0, dim2: int = 1) -> Tensor:
    """A copy of ``input`` with a diagonal replaced by ``src``; as ``torch.diagonal_scatter``."""
    return _replaced(input, src, diagonal, offset, dim1, dim2)


@method
def slice_scatter(
    input: Tensor, src: Tensor, dim: int = 0, start: int | None = None, end: int | None = None, step: int = 1
) -> Tensor:
    """A copy of ``input`` with a slice along an axis replaced by ``src``; as ``torch.slice_scatter``."""
    axis = axis_of(dim, input._node.type.ndim)
    return _replaced(input, src, lambda x: x[(*[slice(None)] * axis, slice(start, end, step))])


@method
def as_strided_scatter(
    input: Tensor, src: Tensor, size: Sequence[int], stride: Sequence[int], storage_offset: int | None = None
) -> Tensor:
    """A copy of ``input`` with a strided view of it replaced by ``src``; as ``torch.as_strided_scatter``."""
    return _replaced(input, src, as_strided, size, stride, storage_offset)


@method
def resize_(
    self: Tensor, *sizes: int | Sequence[int], memory_format: memory_format = memory_format.contiguous_format
) -> Tensor:
    """Give the tensor other sizes, in place; as ``Tensor.resize_``.

    Its storage is seen as contiguous from where the tensor starts. Elements beyond the end of the storage are zero, and
    the tensor then has memory of its own.

    Raises:
        RuntimeError: a negative size, or a ``memory_format`` other than the contiguous one.
    """
    if memory_format is not memory_format.contiguous_format:
        raise RuntimeError(f"resize_: the elements lie in index order, and cannot be ordered as {memory_format}")
    shape = sizes_of(sizes)
    if any(extent < 0 for extent in shape):
        raise RuntimeError(f"Trying to create tensor with negative dimension: {list(shape)}")
    if shape == self._node.type.shape:
        return self
    if self.requires_grad:
        raise RuntimeError("cannot resize variables that require grad")
    size, offset = math.prod(shape), strides_of(self)[1]
    base = storage_of(self).node.type
    if offset + size <= base.size:
        return become_view(self, as_strided(self, shape, contiguous_strides(shape), offset))
    flat = node_of(as_strided(self, (base.size - offset,), (1,), offset))
    grown = s.padded_axis(flat, 0, 0, offset + size - base.size)
    replace_memory(self, s.copy(s.reshaped(grown, shape)))
    return self


@method
def resize_as_(
    self: Tensor, the_template: Tensor, *, memory_format: memory_format = memory_format.contiguous_format
) -> Tensor:
    """:func:`resize_` to the sizes of another tensor."""
    return resize_(self, the_template._node.type.shape, memory_format=memory_format)


@method
def fill_diagonal_(self: Tensor, fill_value: float, wrap: bool = False) -> Tensor:
    """Set the main diagonal to a number; ``wrap`` starts again below in tall matrices; as ``Tensor.fill_diagonal_``."""
    shape = self._node.type.shape
    if len(shape) < 2:
        raise RuntimeError("dimensions must larger than 1")
    if len(shape) > 2 and len(set(shape)) > 1:
        raise RuntimeError("all dimensions of input must be of equal length")
    strides, offset = strides_of(self)
    step, count = sum(strides), min(shape)
    as_strided(self, (count,), (step,), offset).fill_(fill_value)
    if wrap and len(shape) == 2 and shape[0] > shape[1] + 1:
        rest = -(-self._node.type.size // (shape[1] + 1)) - count
        as_strided(self, (rest,), (step,), offset + strides[0] * (shape[1] + 1)).fill_(fill_value)
    return self
