"""Between dense and sparse: what dense tensors have for sparse ones, and what sparse tensors refuse.

In: dense tensors. Out: sparse ones. At the end :func:`install` refuses on sparse tensors every method of ``Tensor``
that the chapters before did not define. The chapter of sparse tensors ends here.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from types import NoneType
from typing import Any, NoReturn

import numpy as np

from ..compiler.dtypes import DType
from ..creation import zeros
from ..joining import cat
from ..recording import observe
from ..storages import tensortype
from ..tensor import SparseOperand, Tensor, method, sparse_coo, strided
from .methods import sparse_dim
from .products import smm, sspaddmm
from .tensor import (
    DenseOperand,
    SparseTensor,
    alias,
    coalesce,
    coordinates,
    empty_like,
    found_in,
    made,
    rows_at,
    rows_of,
    scaled,
    sparse_coo_tensor,
)


@method
def to_sparse(
    self: Tensor, sparse_dim: int | None = None, *, layout: Any = None, blocksize: Any = None, dense_dim: Any = None
) -> Tensor:
    """The sparse tensor of the elements that are not zero, coalesced; as ``Tensor.to_sparse``.

    Args:
        sparse_dim: how many of the first axes get coordinates, all by default; the others are dense.
        layout: ``flamework.sparse_coo``, or ``strided`` for the tensor itself.

    Raises:
        RuntimeError: ``sparse_dim`` is out of range, or another layout.

    Example:
        >>> import flamework as torch
        >>> torch.tensor([[0, 3], [0, 0]]).to_sparse()
        tensor(indices=tensor([[0],
                               [1]]),
               values=tensor([3]),
               size=(2, 2), nnz=1, layout=torch.sparse_coo)
    """
    if layout is strided:
        return self
    if layout not in (None, sparse_coo) or blocksize is not None or dense_dim is not None:
        raise RuntimeError("to_sparse(): torch.sparse_coo is the only sparse layout, without blocksize or dense_dim")
    count = self.ndim if sparse_dim is None else sparse_dim
    if not 0 <= count <= self.ndim:
        raise RuntimeError(
            f"dense_to_sparse: sparse_dim argument must be in [0,{self.ndim}] range, but {count} is given"
        )
    if self.ndim and not count:
        raise RuntimeError("dense_to_sparse: sparse_dim argument must be in >0 when self.dim()>0")
    there = observe(self) != 0
    there = there.reshape(*there.shape[:count], math.prod(self.shape[count:])).any(axis=-1)
    rows = self.reshape(math.prod(self.shape[:count]), *self.shape[count:])
    index = np.stack(np.nonzero(there)) if count else np.zeros((0, int(there)), np.int64)
    picked = rows_of(rows, np.flatnonzero(there))
    return made(index, picked, self.shape, True, "ToSparseBackward1" if sparse_dim is None else "ToSparse")


@method
def to_sparse_coo(self: Tensor) -> Tensor:
    """:func:`to_sparse` of all axes; as ``Tensor.to_sparse_coo``."""
    return self.to_sparse()


def _to_sparse(
    self: SparseTensor, sparse_dim: int | None = None, *, layout: Any = None
) -> Tensor:
    """The tensor itself, or with ``layout=flamework.strided`` its dense form; as ``Tensor.to_sparse``."""
    if layout is strided:
        return self.to_dense()
    if sparse_dim not in (None, self._index.shape[0]):
        raise RuntimeError(
            "to_sparse: conversion from Sparse to Sparse with sparse_dim argument !=self.sparse_dim() is not supported"
        )
    return self


SparseTensor.to_sparse = SparseTensor.to_sparse_coo = _to_sparse


@method
def sparse_mask(self: Tensor, mask: Tensor) -> SparseTensor:
    """The elements at the coordinates of a sparse tensor, as a sparse tensor; as ``Tensor.sparse_mask``.

    Raises:
        RuntimeError: sizes differ.
        NotImplementedError: ``mask`` is dense, as in PyTorch.

    Example:
        >>> import flamework as torch
        >>> mask = torch.sparse_coo_tensor([[0, 2]], [1.0, 1.0], (3,))
        >>> torch.tensor([5.0, 6.0, 7.0]).sparse_mask(mask).to_dense()
        tensor([5., 0., 7.])
    """
    if not isinstance(mask, SparseTensor):
        raise DenseOperand("sparse_mask")
    if self.shape != mask.shape:
        raise RuntimeError(
            f"sparse_mask(): operands have incompatible sizes; self has size {list(self.shape)} but mask has size "
            f"{list(mask.shape)}"
        )
    where = coordinates(mask)
    if self is mask:
        # without adding up the values of equal coordinates, as PyTorch
        return scaled(mask, alias(mask._value), "SparseMask")
    if not isinstance(self, SparseTensor):
        return scaled(mask, rows_at(self, where), "SparseMask")
    if sparse_dim(self) != sparse_dim(mask):
        raise RuntimeError(
            f"sparse_mask(): expected sparse tensors of as many sparse axes, but got {sparse_dim(self)} and "
            f"{sparse_dim(mask)}"
        )
    tensor = coalesce(self)
    # where the mask has a coordinate and the tensor none, the row of zeros behind its values is taken
    rows = cat([tensor._value, zeros((1, *tensor._value.shape[1:]), dtype=self.dtype, device=self.device)])
    return scaled(mask, rows_of(rows, found_in(coordinates(tensor), where) % len(rows)), "SparseMask")


SparseTensor.sparse_mask = sparse_mask


@method
def to_dense(self: Tensor, dtype: DType | None = None, *, masked_grad: bool | None = None) -> Tensor:
    """The tensor itself, converted if ``dtype`` is given: it is dense. As ``Tensor.to_dense``."""
    if not isinstance(dtype, (DType, NoneType)):
        raise TypeError(
            f"to_dense(): argument 'dtype' (position 1) must be torch.dtype, not {type(dtype).__name__}"
        )
    return self if dtype is None else self.to(dtype)


@method
def _sparse_dim(self: Tensor) -> int:
    """0: a dense tensor has no coordinates. As ``Tensor.sparse_dim``."""
    return 0


@method
def _dense_dim(self: Tensor) -> int:
    """The number of axes, all of which are dense. As ``Tensor.dense_dim``."""
    return self.ndim


Tensor.sparse_dim, Tensor.dense_dim = _sparse_dim, _dense_dim
del Tensor._sparse_dim, Tensor._dense_dim

Tensor.smm, Tensor.sspaddmm = smm, sspaddmm


def _only_sparse(name: str, expected: str | None) -> None:
    def refuse(self: Tensor) -> NoReturn:
        if expected is None:
            raise DenseOperand(name)
        raise RuntimeError(f"{name} expected sparse {expected}tensor layout but got Strided")

    refuse.__name__ = refuse.__qualname__ = name
    refuse.__doc__ = f"Of sparse tensors; see :func:`flamework.sparse_coo_tensor`. As ``Tensor.{name}``."
    method(refuse)


for _name in ("coalesce", "is_coalesced", "indices"):
    _only_sparse(_name, "coordinate ")
_only_sparse("values", "")
for _name in ("_nnz", "_indices", "_values"):
    _only_sparse(_name, None)


@method
def sparse_resize_(self: Tensor, size: Sequence[int], sparse_dim: int, dense_dim: int) -> NoReturn:
    """Of sparse tensors; as ``Tensor.sparse_resize_``."""
    raise DenseOperand("sparse_resize_")


@method
def sparse_resize_and_clear_(self: Tensor, size: Sequence[int], sparse_dim: int, dense_dim: int) -> NoReturn:
    """Of sparse tensors; as ``Tensor.sparse_resize_and_clear_``."""
    raise DenseOperand("sparse_resize_and_clear_")


# ---------------------------------------------------------------------------------------------------------- older names

SparseTensor.toDense = SparseTensor.to_dense
SparseTensor.resizeAs_ = SparseTensor.resize_as_
SparseTensor.spadd = SparseTensor.add
SparseTensor.sspmm = SparseTensor.smm


class sparsetype(tensortype):
    """The class of ``torch.sparse.FloatTensor`` and its kin, of which every sparse tensor of their dtype is one."""

    is_sparse = True
    layout = sparse_coo
    __module__ = "torch.sparse"

    def __call__(cls, *data: Any, device: Any = None) -> SparseTensor:
        """Of indices, values and perhaps a size; or of sizes, without elements."""
        if data and isinstance(data[0], Tensor):
            if len(data) < 2 or not isinstance(data[1], Tensor) or data[1].dtype is not cls.dtype:
                raise TypeError(f"torch.sparse.{cls.__name__} takes indices and values of {cls.dtype}")
            return sparse_coo_tensor(*data[:3], device=device)
        sizes = data[0] if data and isinstance(data[0], (tuple, list)) else data or (0,)
        return empty_like(tuple(sizes), len(sizes), cls.dtype, device)

    def __instancecheck__(cls, instance: Any) -> bool:
        return isinstance(instance, SparseTensor) and instance.dtype is cls.dtype and instance.is_cpu


# ------------------------------------------------------------------------------------------------------------- refusals

# What works on what sparse tensors define, or is no operation.
_KEPT = frozenset(
    """
    __annotations__ __doc__ __hash__ __init__ __module__ __slots__ __weakref__ __array_priority__ _make_subclass
    """.split()
)


def _refusal(name: str) -> Callable[..., NoReturn]:
    def refuse(self: Tensor, *args: Any, **options: Any) -> NoReturn:
        raise SparseOperand(name)

    refuse.__name__ = refuse.__qualname__ = name
    return refuse


def install() -> None:
    """Refuse on sparse tensors every method and attribute of ``Tensor`` that no chapter of these has defined."""
    own = vars(SparseTensor)
    for name, thing in vars(Tensor).items():
        if name in own or name in _KEPT:
            continue
        if callable(thing):
            setattr(SparseTensor, name, _refusal(name))
        elif isinstance(thing, property):
            setattr(SparseTensor, name, property(_refusal(name)))
