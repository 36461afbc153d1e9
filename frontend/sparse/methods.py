"""What can be asked of a sparse tensor, and what moves, converts or selects its elements without computing with them.

In: sparse tensors. Out: numbers, parts, and sparse tensors. Read next: ``selection.py``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..compiler.dtypes import FLOATING, DType
from ..conversion import typename as dense_typename
from ..creation import zeros
from ..grad_mode import no_grad
from ..recording import observe
from ..size import Size
from ..tensor import SparseOperand, Tensor, axis_of, strided
from .tensor import (
    SparseTensor,
    alias,
    become,
    coordinates,
    empty_like as empty,
    made,
    method,
    rows_of,
    sparse_coo_tensor,
    supported,
    to_dense,
)

# ----------------------------------------------------------------------------------------------------------- what it is


@method()
def sparse_dim(self: SparseTensor) -> int:
    """How many of the axes have coordinates; as ``Tensor.sparse_dim``."""
    return self._index.shape[0]


@method()
def dense_dim(self: SparseTensor) -> int:
    """How many of the axes each value has; as ``Tensor.dense_dim``."""
    return self._value.ndim - 1


@method()
def _nnz(self: SparseTensor) -> int:
    """How many coordinates are given."""
    return self._index.shape[1]


@method()
def is_coalesced(self: SparseTensor) -> bool:
    """Whether the tensor is known to have every coordinate once, in order; as ``Tensor.is_coalesced``."""
    coordinates(self)
    return self._is_coalesced


def _coalesced(tensor: SparseTensor, what: str) -> SparseTensor:
    if not is_coalesced(tensor):
        raise RuntimeError(f"Cannot get {what} on an uncoalesced tensor, please call .coalesce() first")
    return tensor


@method()
def indices(self: SparseTensor) -> Tensor:
    """The coordinates of a coalesced tensor, ``[sparse_dim, nnz]``; as ``Tensor.indices``."""
    return _coalesced(self, "indices")._index.detach()


@method()
def values(self: SparseTensor) -> Tensor:
    """The values of a coalesced tensor, ``[nnz, *dense]``, which share its memory; as ``Tensor.values``."""
    return alias(_coalesced(self, "values")._value)


@method()
def _indices(self: SparseTensor) -> Tensor:
    """The coordinates as they are."""
    return self._index.detach()


@method()
def _values(self: SparseTensor) -> Tensor:
    """The values as they are, without gradient history."""
    return self._value.detach()


@method("dim", "ndimension")
def dim(self: SparseTensor) -> int:
    """Number of axes."""
    return len(self._extents)


@supported()
def size(self: SparseTensor, dim: int | None = None) -> Size | int:
    """The sizes of all axes, or of one."""
    return self._extents if dim is None else self._extents[axis_of(dim, len(self._extents))]


@supported("numel", "nelement")
def numel(self: SparseTensor) -> int:
    """Number of elements, zeros included."""
    return math.prod(self._extents)


@method()
def __len__(self: SparseTensor) -> int:
    if not self._extents:
        raise TypeError("len() of a 0-d tensor")
    return self._extents[0]


@supported()
def is_floating_point(self: SparseTensor) -> bool:
    """Whether the dtype is floating point."""
    return self.dtype.kind == FLOATING


@supported()
def is_complex(self: SparseTensor) -> bool:
    """Whether the dtype is complex."""
    return self.dtype.is_complex


@supported()
def is_signed(self: SparseTensor) -> bool:
    """Whether the dtype has a sign."""
    return self.dtype.is_signed


@supported(mixed=True)
def is_same_size(self: Tensor, other: Tensor) -> bool:
    """Whether both tensors have the same sizes."""
    return self.shape == other.shape


@method()
def element_size(self: SparseTensor) -> int:
    """Size of one element in bytes."""
    return self.itemsize


@supported()
def get_device(self: SparseTensor) -> int:
    """Index of the GPU that holds the tensor; -1 on the CPU."""
    return self._value.get_device()


@method()
def __bool__(self: SparseTensor) -> bool:
    if numel(self) != 1:
        raise RuntimeError("Boolean value of Tensor with more than one value is ambiguous")
    return bool(to_dense(self))


@method()
def item(self: SparseTensor) -> float:
    """The only element as a Python number. Raises :class:`RuntimeError` if there are several."""
    if numel(self) != 1:
        raise RuntimeError(f"a Tensor with {numel(self)} elements cannot be converted to Scalar")
    return to_dense(self).item()


@method("numpy", "__array__")
def numpy(self: SparseTensor, *args: Any, **options: Any) -> np.ndarray:
    """Refused: NumPy has no sparse arrays."""
    raise TypeError("can't convert Sparse layout tensor to numpy. Use Tensor.to_dense() first.")


def _unequalled(self: SparseTensor, other: Any) -> Any:
    if isinstance(other, (Tensor, int, float, complex)):
        # refused below with the name of the operation
        return self._node
    return NotImplemented


SparseTensor.__eq__ = SparseTensor.__ne__ = _unequalled

# ----------------------------------------------------------------------------------------------- copies and conversions


@supported()
def detach(self: SparseTensor) -> SparseTensor:
    """The same elements without gradient history; as ``Tensor.detach``."""
    return self.data


@supported()
def clone(self: SparseTensor) -> SparseTensor:
    """A copy with memory of its own; as ``Tensor.clone``."""
    return made(coordinates(self).copy(), self._value.clone(), self._extents, self._is_coalesced, "Clone")


@method()
def __deepcopy__(self: SparseTensor, memo: dict) -> SparseTensor:
    """A copy with memory of its own. Raises :class:`RuntimeError` for a tensor with a gradient history."""
    if id(self) in memo:
        return memo[id(self)]
    if not self.is_leaf:
        raise RuntimeError(
            "Only Tensors created explicitly by the user (graph leaves) support the deepcopy protocol at the moment."
        )
    with no_grad():
        copied = memo[id(self)] = clone(detach(self))
    if self._gradient is not None:
        copied._gradient = __deepcopy__(self._gradient, memo)
    return copied.requires_grad_(self.requires_grad)


@method()
def __copy__(self: SparseTensor) -> SparseTensor:
    """Another tensor over the same memory."""
    return detach(self).requires_grad_(self.requires_grad)


@method()
def __reduce_ex__(self: SparseTensor, protocol: int) -> tuple:
    return _unpickled, (self._index, detach(self)._value, self._extents, is_coalesced(self), self.requires_grad)


def _unpickled(index: Tensor, value: Tensor, extents: Size, is_coalesced: bool, requires_grad: bool) -> SparseTensor:
    return sparse_coo_tensor(index, value, extents, is_coalesced=is_coalesced, requires_grad=requires_grad)


@method()
def to(self: SparseTensor, *args: Any, **options: Any) -> SparseTensor:
    """The same tensor with another dtype or on another device; itself if nothing changes. As ``Tensor.to``."""
    args = [arg._value if isinstance(arg, SparseTensor) else arg for arg in args]
    value = self._value.to(*args, **options)
    if value is self._value:
        return self
    index = self._index if value.device == self.device else self._index.to(value.device)
    coordinates(self)
    return made(index.clone(), value, self._extents, self._is_coalesced, "ToCopy")


def _converts(name: str) -> None:
    def convert(self: SparseTensor, *args: Any, **options: Any) -> SparseTensor:
        return to(self, getattr(self._value[:0], name)(*args, **options))

    convert.__name__ = convert.__qualname__ = name
    convert.__doc__ = f"As ``Tensor.{name}``."
    method()(convert)


for _name in "float double half bfloat16 int long short char byte bool cfloat cdouble cpu cuda".split():
    _converts(_name)


@method()
def type(self: SparseTensor, dtype: Any = None, non_blocking: bool = False) -> SparseTensor | str:
    """The name of the tensor's class, ``"torch.sparse.FloatTensor"``, or the tensor with another dtype."""
    if dtype is None:
        return f"torch.sparse.{self.dtype.scalar_name}Tensor"
    if isinstance(dtype, str):
        dtype = dtype.replace("torch.sparse.", "torch.")
    return to(self, dtype if isinstance(dtype, DType) else zeros(0).type(dtype).dtype)


@supported()
def typename(obj: Any) -> str:
    """The name of a sparse tensor's class."""
    return type(obj) if isinstance(obj, SparseTensor) else dense_typename(obj)


@supported("zeros_like", "empty_like")
def zeros_like(
    input: SparseTensor, *, dtype: DType | None = None, device: Any = None, requires_grad: bool = False,
    layout: Any = None,
) -> Tensor:
    """A tensor of the same sizes without elements, sparse unless ``layout`` is strided; as ``torch.zeros_like``."""
    if layout is strided:
        return zeros(input._extents, dtype=dtype or input.dtype, device=device or input.device).requires_grad_(
            requires_grad
        )
    made = empty(input._extents, sparse_dim(input), input.dtype if dtype is None else dtype, device or input.device)
    return made.requires_grad_(requires_grad)


# ----------------------------------------------------------------------------------------------------------------- axes


@supported()
def permute(self: SparseTensor, *dims: int) -> SparseTensor:
    """The axes in another order, the sparse ones among themselves; as ``torch.permute``.

    Raises:
        RuntimeError: a sparse axis in a dense one's place, or no order of all axes.
    """
    dims = dims[0] if len(dims) == 1 and isinstance(dims[0], (tuple, list)) else dims
    turn = [axis_of(d, self.ndim) for d in dims]
    if sorted(turn) != list(range(self.ndim)):
        raise RuntimeError(
            "permute(sparse_coo): number of dimensions in the tensor input does not match the length of the desired "
            f"ordering of dimensions i.e. input.dim() = {self.ndim} is not equal to len(dims) = {len(turn)}"
            if len(turn) != self.ndim else "permute(): duplicate dims are not allowed."
        )
    return _permuted(self, turn, "Permute")


def _permuted(tensor: SparseTensor, turn: list[int], step: str) -> SparseTensor:
    index = coordinates(tensor)
    count = len(index)
    if any((a < count) != (b < count) for a, b in enumerate(turn)):
        raise RuntimeError(
            "sparse transpose: transposed dimensions must be sparse: only sparse axes change places with sparse ones, "
            f"but of {tensor.ndim} axes in the order {turn} the first {count} are sparse"
        )
    same = turn[:count] == list(range(count))
    value = alias(tensor._value)
    if turn[count:] != list(range(count, tensor.ndim)):
        value = value.permute(0, *[d - count + 1 for d in turn[count:]])
    where = index.copy() if same else index[turn[:count]]
    return made(where, value, [tensor._extents[d] for d in turn], same and tensor._is_coalesced, step)


@supported("transpose", "swapaxes", "swapdims")
def transpose(self: SparseTensor, dim0: int, dim1: int) -> SparseTensor:
    """Two axes exchanged, which have to be sparse ones. As ``torch.transpose``.

    Raises:
        RuntimeError: one of the axes is dense.
    """
    a, b = axis_of(dim0, self.ndim), axis_of(dim1, self.ndim)
    if max(a, b) >= sparse_dim(self) and a != b:
        raise RuntimeError(
            f"sparse transpose: transposed dimensions must be sparse Got sparse_dim: {sparse_dim(self)}, d0: {a}, "
            f"d1: {b}"
        )
    turn = list(range(self.ndim))
    turn[a], turn[b] = b, a
    return _permuted(self, turn, "Transpose")


SparseTensor.T = property(lambda self: _permuted(self, list(range(self.ndim))[::-1], "Permute"))
SparseTensor.mT = property(lambda self: transpose(self, -2, -1))


def _check_matrix(tensor: SparseTensor, name: str) -> None:
    if sparse_dim(tensor) > 2 or dense_dim(tensor):
        raise RuntimeError(
            f"{name}() expects a tensor with <= 2 sparse and 0 dense dimensions, but got {sparse_dim(tensor)} sparse "
            f"and {dense_dim(tensor)} dense dimensions"
        )


@supported()
def t(self: SparseTensor) -> SparseTensor:
    """A matrix with rows and columns exchanged; as ``torch.t``."""
    _check_matrix(self, "t")
    return transpose(self, 0, 0 if self.ndim < 2 else 1)


@supported()
def index_select(self: SparseTensor, dim: int, index: Tensor) -> SparseTensor:
    """The positions ``index`` (a vector) along ``dim``; as ``torch.index_select``.

    Raises:
        IndexError: a position that is out of range, or no vector of integers.
    """
    axis = axis_of(dim, self.ndim)
    if isinstance(index, SparseTensor) or index.ndim != 1 or index.dtype.name not in ("int64", "int32"):
        raise IndexError("index_select() argument index must be 1-D strided (non-sparse) long-tensor.")
    extent = self._extents[axis]
    wanted = observe(index).astype(np.int64)
    for position in wanted:
        if not -extent <= position < extent:
            raise IndexError(
                f"index_select(): index contains {position} that is out of range for tensor of size "
                f"{list(self._extents)} at dimension {axis}"
            )
    wanted = np.where(wanted < 0, wanted + extent, wanted)
    where = coordinates(self)
    extents = (*self._extents[:axis], len(wanted), *self._extents[axis + 1 :])
    if axis >= len(where):
        moved = self._value.index_select(axis - len(where) + 1, index.remainder(max(extent, 1)))
        return made(where.copy(), moved, extents, self._is_coalesced, "IndexSelect")
    # the elements of each position stand together in this order
    ordered = np.argsort(where[axis], kind="stable")
    begin = np.searchsorted(where[axis], wanted, "left", sorter=ordered)
    end = np.searchsorted(where[axis], wanted, "right", sorter=ordered)
    counts = end - begin
    new = np.repeat(np.arange(len(wanted)), counts)
    picked = ordered[np.arange(len(new)) - np.repeat(np.cumsum(counts) - counts, counts) + np.repeat(begin, counts)]
    where = where[:, picked]
    where[axis] = new
    return made(where, rows_of(self._value, picked), extents, False, "IndexSelect")


@supported()
def narrow_copy(self: SparseTensor, dim: int, start: int, length: int) -> SparseTensor:
    """The positions from ``start`` along ``dim``, copied; as ``torch.narrow_copy``.

    Raises:
        RuntimeError: a range that is not inside of the axis, or an axis that there is not.
    """
    if not 0 <= dim < self.ndim:
        raise RuntimeError(f"Dimension {dim} out of range. Expecting 0 <= dim < {self.ndim}.")
    if length < 0:
        raise RuntimeError("narrow(): length must be non-negative.")
    extent = self._extents[dim]
    if not 0 <= start <= start + length <= extent:
        raise RuntimeError(
            f"Invalid range to narrow. range(start, start+length) must be a subset of range(0, {extent})."
        )
    where = coordinates(self)
    extents = (*self._extents[:dim], length, *self._extents[dim + 1 :])
    if dim >= len(where):
        value = self._value.narrow(dim - len(where) + 1, start, length).clone()
        return made(where.copy(), value, extents, self._is_coalesced, "NarrowCopy")
    picked = np.flatnonzero((where[dim] >= start) & (where[dim] < start + length))
    where = where[:, picked]
    where[dim] -= start
    return made(where, rows_of(self._value, picked), extents, self._is_coalesced, "NarrowCopy")


# ------------------------------------------------------------------------------------------------------------- in place


@method()
def transpose_(self: SparseTensor, dim0: int, dim1: int) -> SparseTensor:
    """:func:`transpose` in place; as ``Tensor.transpose_``."""
    return become(self, transpose(self, dim0, dim1))


@method()
def t_(self: SparseTensor) -> SparseTensor:
    """:func:`t` in place; as ``Tensor.t_``."""
    _check_matrix(self, "t_")
    return become(self, t(self))


@method()
def detach_(self: SparseTensor) -> SparseTensor:
    """Forget the gradient history; as ``Tensor.detach_``."""
    self._value = self._value.detach()
    return self


@method()
def zero_(self: SparseTensor) -> SparseTensor:
    """Leave no elements; as ``Tensor.zero_``."""
    return become(self, zeros_like(self))


@method()
def copy_(self: SparseTensor, src: Tensor, non_blocking: bool = False) -> SparseTensor:
    """Take the coordinates and values of another sparse tensor; as ``Tensor.copy_``.

    Raises:
        RuntimeError: ``src`` is dense, or has another size and this tensor elements that do not fit it.
    """
    if not isinstance(src, SparseTensor):
        raise RuntimeError(
            "copy_() between dense and sparse Tensors is not implemented! Found self type = "
            f"{type(self)} and src type = {src.type() if isinstance(src, Tensor) else dense_typename(src)}"
        )
    if src is self:
        return self
    _check_resize(self, src._extents, sparse_dim(src), dense_dim(src))
    return become(self, clone(to(src, self.dtype)))


def _check_resize(tensor: SparseTensor, extents: Sequence[int], sparse: int, dense: int) -> None:
    if len(extents) != sparse + dense or min(sparse, dense) < 0:
        raise RuntimeError(
            f"'len(size) == sparse_dim + dense_dim' is not satisfied: len(size) = {len(extents)}, sparse_dim = "
            f"{sparse}, dense_dim = {dense}"
        )
    if any(extent < 0 for extent in extents):
        raise RuntimeError(f"Trying to create tensor with negative dimension {min(extents)}: {list(extents)}")
    if not _nnz(tensor):
        return
    old = tuple(tensor._extents)
    for kind, before, after in (("sparse", sparse_dim(tensor), sparse), ("dense", dense_dim(tensor), dense)):
        if before != after:
            raise RuntimeError(
                f"changing the number of {kind} dimensions (from {before} to {after}) on a non-empty sparse tensor is "
                "not supported."
            )
    for kind, part in (("sparse", slice(0, sparse)), ("dense", slice(sparse, None))):
        if any(new < held for new, held in zip(extents[part], old[part])):
            raise RuntimeError(
                f"shrinking the size of {kind} dimensions (from {list(old[part])} to {list(extents[part])}) on a "
                "non-empty sparse tensor is not supported."
            )


@method()
def sparse_resize_(self: SparseTensor, size: Sequence[int], sparse_dim: int, dense_dim: int) -> SparseTensor:
    """Give the tensor another size, and if it has no elements other numbers of axes; as ``Tensor.sparse_resize_``.

    What a longer dense axis shows in the values is zero.

    Raises:
        RuntimeError: the elements that there are do not fit.

    Example:
        >>> import flamework as torch
        >>> torch.sparse_coo_tensor([[1]], [2.0], (2,)).sparse_resize_((4,), 1, 0).to_dense()
        tensor([0., 2., 0., 0.])
    """
    extents = tuple(size)
    _check_resize(self, extents, sparse_dim, dense_dim)
    if not _nnz(self):
        return become(self, empty(extents, sparse_dim, self.dtype, self.device))
    dense = extents[sparse_dim:]
    value = self._value
    if dense != tuple(value.shape[1:]):
        value = zeros((_nnz(self), *dense), dtype=self.dtype, device=self.device)
        value[tuple(slice(0, n) for n in self._value.shape)] = self._value
    coordinates(self)
    return become(self, made(self._index, value, extents, self._is_coalesced, self._step))


@method()
def sparse_resize_and_clear_(self: SparseTensor, size: Sequence[int], sparse_dim: int, dense_dim: int) -> SparseTensor:
    """Leave no elements, and a size and numbers of axes; as ``Tensor.sparse_resize_and_clear_``.

    Example:
        >>> import flamework as torch
        >>> torch.sparse_coo_tensor([[1]], [2.0], (2,)).sparse_resize_and_clear_((3, 4), 1, 1)._nnz()
        0
    """
    extents = tuple(size)
    bare = empty(self._extents, len(self._extents), self.dtype, self.device)
    _check_resize(bare, extents, sparse_dim, dense_dim)
    return become(self, empty(extents, sparse_dim, self.dtype, self.device))


@supported()
def resize_as_(self: SparseTensor, other: Tensor) -> SparseTensor:
    """The size, and the sparse and dense axes, of another sparse tensor; as ``Tensor.resize_as_``."""
    if not (isinstance(self, SparseTensor) and isinstance(other, SparseTensor)):
        raise SparseOperand("resize_")
    return sparse_resize_(self, other._extents, sparse_dim(other), dense_dim(other))

