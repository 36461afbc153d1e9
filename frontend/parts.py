"""Parts of a tensor: slices, splits, windows, diagonals and views with strides of the user's choice.

They are views like those of ``views.py``: no element moves, and writing to a part writes to the whole.

In: a tensor. Out: one or several tensors that share its storage. Read next: ``indexing.py``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from .compiler import primitives as p, primitives_shape as s
from .compiler.dtypes import INTEGER
from .recording import node_of, storage_of, tensor_of
from .storage import Cut, diagonal_step
from .tensor import Tensor, axis_of, method, strides_of
from .views import become_view, clone, made_together, squeeze, t, transpose, unsqueeze, view_of

_new = Tensor.__new__


def sliced(tensor: Tensor, axis: int, start: int, step: int, count: int) -> Tensor:
    """``count`` elements along an axis, from ``start`` in steps of ``step``."""
    shape = tensor._node.type.shape
    if count == shape[axis]:
        return view_of(tensor)
    zeros, ones = [0] * len(shape), [1] * len(shape)
    zeros[axis], ones[axis] = start, step
    counts = (*shape[:axis], count, *shape[axis + 1 :])
    return view_of(tensor, (s.slice_, (tuple(zeros), tuple(ones), counts)))


@method
def select(input: Tensor, dim: int, index: int) -> Tensor:
    """One position along an axis, which disappears; as ``torch.select``.

    Raises:
        IndexError: outside of the axis, or a 0-dim tensor.
    """
    shape = input._node.type.shape
    if not shape:
        raise IndexError("select() cannot be applied to a 0-dim tensor.")
    axis, index = axis_of(dim, len(shape)), index.__index__()
    if not -shape[axis] <= index < shape[axis]:
        raise IndexError(
            f"select(): index {index} out of range for tensor of size {list(shape)} at dimension {axis}"
        )
    return selected(input, axis, index % shape[axis])


def selected(tensor: Tensor, axis: int, index: int) -> Tensor:
    shape = tensor._node.type.shape
    starts = (0,) * axis + (index,) + (0,) * (len(shape) - axis - 1)
    rest = shape[:axis] + shape[axis + 1 :]
    if shape[axis] == 1:
        return view_of(tensor, (s.reshape, rest))
    counts = (*shape[:axis], 1, *shape[axis + 1 :])
    return view_of(tensor, (s.slice_, (starts, (1,) * len(shape), counts)), (s.reshape, rest))


@method
def narrow(input: Tensor, dim: int, start: int | Tensor, length: int) -> Tensor:
    """``length`` positions from ``start`` along an axis; as ``torch.narrow``."""
    shape = input._node.type.shape
    if not shape:
        raise RuntimeError("narrow() cannot be applied to a 0-dim tensor.")
    if isinstance(start, Tensor) and (start._node.type.ndim or start.dtype.kind != INTEGER):
        raise RuntimeError("start must be an 0-dim integral Tensor.")
    axis, start = axis_of(dim, len(shape)), start.__index__()
    extent = shape[axis]
    if length < 0:
        raise RuntimeError("narrow(): length must be non-negative.")
    if not -extent <= start <= extent:
        raise IndexError(f"start out of range (expected to be in range of [{-extent}, {extent}], but got {start})")
    start = start + extent if start < 0 else start
    if start + length > extent:
        raise RuntimeError(f"start ({start}) + length ({length}) exceeds dimension size ({extent}).")
    return sliced(input, axis, start, 1, length)


@method
def narrow_copy(input: Tensor, dim: int, start: int, length: int) -> Tensor:
    """As :func:`narrow`, but a copy."""
    return clone(narrow(input, dim, start, length))


@method
def split(tensor: Tensor, split_size: int | Sequence[int], dim: int = 0) -> tuple[Tensor, ...]:
    """Parts of a size (the last may be smaller), or of given sizes, along an axis; as ``torch.split``."""
    maker = "Split" if hasattr(split_size, "__index__") else "SplitWithSizes"
    return made_together(_split(tensor, split_size, dim), maker)


@method
def unsafe_split(tensor: Tensor, split_size: int | Sequence[int], dim: int = 0) -> tuple[Tensor, ...]:
    """:func:`split`, whose results may be written to while a gradient is wanted; as ``torch.unsafe_split``."""
    return _split(tensor, split_size, dim)


def _split(tensor: Tensor, split_size: int | Sequence[int], dim: int) -> tuple[Tensor, ...]:
    """The parts, without what a public function leaves at them."""
    shape = tensor._node.type.shape
    axis = axis_of(dim, len(shape))
    if not shape:
        raise RuntimeError("split expects at least a 1-dimensional tensor")
    extent = shape[axis]
    if hasattr(split_size, "__index__"):
        width = split_size.__index__()
        if width < 0:
            raise RuntimeError(f"split expects split_size be non-negative, but got split_size={width}")
        if width == 0:
            if extent:
                raise RuntimeError(
                    "split_size can only be 0 if dimension size is 0, but got dimension size of " + str(extent)
                )
            return (view_of(tensor),)
        widths = [min(width, extent - start) for start in range(0, extent, width)] or [0]
    else:
        widths = [w.__index__() for w in split_size]
        if any(w < 0 for w in widths):
            raise RuntimeError(
                f"split_with_sizes expects split_sizes have only non-negative entries, but got split_sizes={widths}"
            )
        if sum(widths) != extent:
            raise RuntimeError(
                f"split_with_sizes expects split_sizes to sum exactly to {extent} (input tensor's size at dimension "
                f"{axis}), but got split_sizes={widths}"
            )
    parts, start = [], 0
    for width in widths:
        parts.append(sliced(tensor, axis, start, 1, width))
        start += width
    return tuple(parts)


@method
def unsafe_split_with_sizes(self: Tensor, split_sizes: Sequence[int], dim: int = 0) -> tuple[Tensor, ...]:
    """:func:`split_with_sizes`, whose results may be written to while a gradient is wanted."""
    return unsafe_split(self, list(split_sizes), dim)


@method
def split_with_sizes(self: Tensor, split_sizes: Sequence[int], dim: int = 0) -> tuple[Tensor, ...]:
    """Parts of given sizes along an axis."""
    return split(self, list(split_sizes), dim)


@method
def chunk(input: Tensor, chunks: int, dim: int = 0) -> tuple[Tensor, ...]:
    """At most ``chunks`` parts of equal size (the last may be smaller) along an axis; as ``torch.chunk``."""
    return made_together(_chunk(input, chunks, dim), "Split")


@method
def unsafe_chunk(input: Tensor, chunks: int, dim: int = 0) -> tuple[Tensor, ...]:
    """:func:`chunk`, whose results may be written to while a gradient is wanted; as ``torch.unsafe_chunk``."""
    return _chunk(input, chunks, dim)


def _chunk(input: Tensor, chunks: int, dim: int) -> tuple[Tensor, ...]:
    shape = input._node.type.shape
    if not shape:
        raise RuntimeError("chunk expects at least a 1-dimensional tensor")
    if chunks <= 0:
        raise RuntimeError(f"chunk expects `chunks` to be greater than 0, got: {chunks}")
    axis = axis_of(dim, len(shape))
    width = -(-shape[axis] // chunks)
    if width == 0:
        return tuple(view_of(input) for _ in range(chunks))
    return _split(input, width, axis)


@method
def unbind(input: Tensor, dim: int = 0) -> tuple[Tensor, ...]:
    """One view for each position along an axis, which disappears; as ``torch.unbind``."""
    shape = input._node.type.shape
    if not shape:
        raise IndexError("Dimension specified as 0 but tensor has no dimensions")
    axis = axis_of(dim, len(shape))
    return made_together([selected(input, axis, i) for i in range(shape[axis])], "Unbind")


@method
def unfold(self: Tensor, dimension: int, size: int, step: int) -> Tensor:
    """Sliding windows along an axis, as one more axis at the end; as ``Tensor.unfold``."""
    shape = self._node.type.shape
    axis = axis_of(dimension, len(shape))
    extent = shape[axis] if shape else 1
    if size < 0:
        raise RuntimeError(f"size is {size} but must be >= 0")
    if size > extent:
        raise RuntimeError(f"maximum size for tensor at dimension {axis} is {extent} but size is {size}")
    if step <= 0:
        raise RuntimeError(f"step is {step} but must be > 0")
    if not shape:
        flat = (s.reshape, (1,))
        return view_of(self, flat) if size else view_of(self, flat, (s.slice_, ((0,), (1,), (0,))))
    if size == 0:
        count = extent // step + 1
        empty = sliced(self, axis, 0, 1, 0)
        return view_of(empty, (s.reshape, (*shape[:axis], count, *shape[axis + 1 :], 0)))
    return view_of(self, (s.unfold, (axis, size, step, 1)))


@method
def diagonal(input: Tensor, offset: int = 0, dim1: int = 0, dim2: int = 1) -> Tensor:
    """The diagonal of two axes as the last axis; ``offset`` > 0 is above it; as ``torch.diagonal``."""
    ndim = input._node.type.ndim
    a, b = axis_of(dim1, ndim), axis_of(dim2, ndim)
    if a == b:
        raise RuntimeError(f"diagonal dimensions cannot be identical {dim1}, {dim2}")
    return view_of(input, (diagonal_step, (a, b, offset)))


@method
def as_strided(
    input: Tensor, size: Sequence[int], stride: Sequence[int], storage_offset: int | None = None
) -> Tensor:
    """A view of the storage with any sizes and strides, in elements; as ``torch.as_strided``.

    Raises:
        RuntimeError: negative strides, or positions outside of the storage.
    """
    shape, strides = tuple(size), tuple(stride)
    if len(shape) != len(strides):
        raise RuntimeError("mismatch in length of strides and shape")
    if any(v < 0 for v in strides):
        raise RuntimeError(
            f"as_strided: Negative strides are not supported at the moment, got strides: {list(strides)}"
        )
    storage = storage_of(input)
    offset = strides_of(input)[1] if storage_offset is None else storage_offset
    base = storage.node.type
    last = offset + sum((e - 1) * v for e, v in zip(shape, strides)) if math.prod(shape) else offset - 1
    if offset < 0 or last >= base.size:
        raise RuntimeError(
            f"setStorage: sizes {list(shape)}, strides {list(strides)}, storage offset {offset}, and itemsize "
            f"{base.dtype.itemsize} requiring a storage size of {(last + 1) * base.dtype.itemsize} are out of bounds "
            f"for storage of size {base.nbytes}"
        )
    root = rooted(input)
    return view_of(root, (s.reshape, (base.size,)), (s.as_strided, (shape, strides, offset)))


def rooted(tensor: Tensor) -> Tensor:
    """All of the storage of a tensor, whatever part of it the tensor shows, above the same cut."""
    storage = storage_of(tensor)
    kept = tuple(step for step in tensor._chain if type(step[0]) is Cut or step[0] in (p.bitcast, p.conj, p.neg))
    root = _new(Tensor)
    root._storage = storage
    root._chain = kept
    root._node = storage.node
    for function, params in kept:
        root._node = function(root._node, params=params)
    # while the memory is exported the node only says what type the tensor has
    root._seen = storage.serial
    root._meta = None
    return root


# ------------------------------------------------------------------------------------------- views in place, containers


def _in_place(name: str, function: Callable[..., Tensor]) -> None:
    def method(self, *args, **kwargs):
        return become_view(self, function(self, *args, **kwargs))

    method.__name__ = method.__qualname__ = name
    method.__doc__ = f"``{name[:-1]}`` of the tensor itself, in place."
    setattr(Tensor, name, method)


for _name, _function in (
    ("t_", t), ("transpose_", transpose), ("swapaxes_", transpose), ("swapdims_", transpose), ("squeeze_", squeeze),
    ("unsqueeze_", unsqueeze), ("as_strided_", as_strided),
):
    _in_place(_name, _function)


@method
def __len__(self: Tensor) -> int:
    shape = self._node.type.shape
    if not shape:
        raise TypeError("len() of a 0-d tensor")
    return shape[0]


@method
def __reversed__(self: Tensor) -> Tensor:
    shape = self._node.type.shape
    return tensor_of(s.flip(node_of(self), params=(0,))) if shape else self


@method
def __iter__(self: Tensor):
    if not self._node.type.shape:
        raise TypeError("iteration over a 0-d tensor")
    return iter(unbind(self, 0))
