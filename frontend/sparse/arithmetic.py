"""Arithmetic with sparse tensors: sums, products with numbers and tensors, reductions, softmax.

A sum has the coordinates of both operands, a product those that both have; a dense tensor plus a sparse one is dense.

In: sparse tensors, with dense ones and numbers where PyTorch takes them. Out: sparse or dense tensors. Read next:
``values.py``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from .. import arithmetic as dense
from ..arguments import canonical_axes
from ..compiler import dtypes
from ..compiler.dtypes import BOOL, FLOATING, DType
from ..compiler.primitives import Undefined
from ..creation import full
from ..joining import cat
from ..operators import NO_BOOL_DIFFERENCE
from ..recording import broadcast_shapes, plain_number
from ..scattering import scatter_reduce
from ..tensor import SparseOperand, Tensor, axis_of
from .methods import sparse_dim
from .tensor import (
    DenseOperand,
    SparseTensor,
    become,
    check_writable,
    coalesce,
    coordinates,
    found_in,
    groups,
    made,
    method,
    order,
    rows_at,
    rows_of,
    scaled,
    spread,
    summed,
    supported,
    tensor_at,
)

Operand = Tensor | int | float | complex | bool


def _result_type(a: Tensor, b: Tensor, alpha: float = 1) -> DType:
    """The dtype of a sum or product; checks ``alpha`` as PyTorch does."""
    kind = dtypes.promote(a.dtype, b.dtype)
    if isinstance(alpha, bool) and kind.kind != BOOL:
        raise RuntimeError("Boolean alpha only supported for Boolean results.")
    if kind.kind < FLOATING and isinstance(alpha, float):
        raise RuntimeError("For integral input tensors, argument alpha must not be a floating point number.")
    return kind


def _check_devices(*tensors: Tensor) -> None:
    if len({str(t.device) for t in tensors}) > 1:
        raise RuntimeError(
            "Expected all tensors to be on the same device, but found at least two devices, "
            + " and ".join(sorted({str(t.device) for t in tensors})) + "!"
        )


# ----------------------------------------------------------------------------------------------------------------- sums


def _plus(a: Operand, b: Operand, alpha: float, step: str) -> Tensor:
    """``a + alpha * b``, one of which is sparse."""
    if not isinstance(b, SparseTensor):
        raise RuntimeError("add(sparse, dense) is not supported. Use add(dense, sparse) instead.")
    if not isinstance(a, Tensor):
        if step == "Add":
            raise RuntimeError("add(sparse, dense) is not supported. Use add(dense, sparse) instead.")
        a = full((), a, device=b.device)
    _check_devices(a, b)
    kind = _result_type(a, b, alpha)
    if not isinstance(a, SparseTensor):
        return _dense_plus(a, b, alpha, kind)
    if a.shape != b.shape:
        raise RuntimeError(
            f"add: expected sizes of 'self' and 'other' to match, but {list(a.shape)} != {list(b.shape)}"
        )
    if sparse_dim(a) != sparse_dim(b):
        raise RuntimeError("add: expected 'self' and 'other' to have same number of sparse dimensions")
    if kind is dtypes.bool_:
        raise Undefined("\"cadd_sparse\" not implemented for 'Bool'")
    left, right = coordinates(a), coordinates(b)
    x, y = a._value.to(kind), b._value.to(kind)
    both = a._is_coalesced and b._is_coalesced
    if np.array_equal(left, right):
        return made(left.copy(), dense.add(x, y, alpha=alpha), a._extents, both, step)
    values = cat([x, y if alpha == 1 else y * alpha])
    where = np.concatenate([left, right], axis=1)
    if not both:
        return made(where, values, a._extents, False, step)
    where, place = groups(where)
    return made(where.copy(), summed(values, place, where.shape[1]), a._extents, True, step)


def _dense_plus(a: Tensor, b: SparseTensor, alpha: float, kind: DType) -> Tensor:
    if a.shape != b.shape:
        raise RuntimeError(
            f"add: expected 'self' and 'other' to have same size, but self has size {list(a.shape)} while other has "
            f"size {list(b.shape)} (FYI: dense-sparse addition does not currently support broadcasting)"
        )
    value = b._value.to(kind)
    return a.to(kind) + spread(value if alpha == 1 else value * alpha, coordinates(b), b._extents)


@supported(mixed=True)
def add(self: Tensor, other: Operand, *, alpha: float = 1) -> Tensor:
    """``self + alpha * other``: of two sparse tensors sparse, of a dense and a sparse one dense. As ``torch.add``.

    Raises:
        RuntimeError: a sparse tensor plus a dense one or a number, or sizes that differ.
    """
    return _plus(self, other, alpha, "Add")


def _no_bools(*operands: Operand) -> None:
    bools = [o.dtype is dtypes.bool_ if isinstance(o, Tensor) else isinstance(o, bool) for o in operands]
    if all(bools):
        raise RuntimeError(NO_BOOL_DIFFERENCE)
    if any(bools):
        raise RuntimeError(
            "Subtraction, the `-` operator, with a bool tensor is not supported. "
            "If you are trying to invert a mask, use the `~` or `logical_not()` operator instead."
        )


@supported("sub", "subtract", mixed=True)
def sub(self: Tensor, other: Operand, *, alpha: float = 1) -> Tensor:
    """``self - alpha * other``; see :func:`add`. As ``torch.sub``."""
    _no_bools(self, other)
    return _plus(self, other, -alpha, "Sub")


# ------------------------------------------------------------------------------------------------------------- products


def _number(value: Any) -> bool:
    if isinstance(value, Tensor):
        return value.ndim == 0 and not isinstance(value, SparseTensor)
    return plain_number(value) is not None


@supported("mul", "multiply", mixed=True)
def mul(self: Operand, other: Operand) -> SparseTensor:
    """The product with a number, with a dense tensor, which broadcast together, or with a sparse one of the same size:
    its coordinates are those that both have. As ``torch.mul``.

    Raises:
        RuntimeError: sizes that do not fit.
    """
    if not isinstance(self, SparseTensor):
        self, other = other, self
    if _number(other):
        return scaled(self, self._value * other, "Mul")
    if not isinstance(other, Tensor):
        raise TypeError(f"mul(): argument 'other' (position 1) must be Tensor, not {type(other).__name__}")
    _check_devices(self, other)
    if not isinstance(other, SparseTensor):
        return _times_dense(self, other)
    if self.shape != other.shape or sparse_dim(self) != sparse_dim(other):
        raise RuntimeError(
            "sparse_binary_op_intersection_cpu(): expects sparse inputs with equal dimensionality, number of sparse "
            "dimensions, and shape of sparse dimensions"
        )
    if self._is_coalesced and not other._is_coalesced:
        self, other = other, self
    other = coalesce(other)
    where = coordinates(self)
    met = found_in(coordinates(other), where)
    picked = np.flatnonzero(met >= 0)
    product = rows_of(self._value, picked) * rows_of(other._value, met[picked])
    return made(where[:, picked], product, self._extents, self._is_coalesced, "Mul")


def _times_dense(tensor: SparseTensor, other: Tensor) -> SparseTensor:
    tensor = _expanded(tensor, broadcast_shapes(tensor._extents, other.shape))
    where = coordinates(tensor)
    return scaled(tensor, tensor._value * rows_at(other.expand(tensor._extents), where), "Mul")


def _expanded(tensor: SparseTensor, extents: Sequence[int]) -> SparseTensor:
    """The tensor broadcast to a size: itself if no axis grows, coalesced if a sparse one does."""
    if tuple(extents) == tuple(tensor._extents):
        return tensor
    new = len(extents) - tensor.ndim
    count = new + sparse_dim(tensor)
    grows = [d for d in range(count) if d < new or tensor._extents[d - new] != extents[d]]
    tensor = coalesce(tensor) if grows else tensor
    where = coordinates(tensor)
    nnz = where.shape[1]
    # every element at each position of the axes that grow
    copies = math.prod(extents[d] for d in grows)
    positions = np.indices([extents[d] for d in grows]).reshape(len(grows), copies)
    index = np.zeros((count, copies * nnz), np.int64)
    index[new:] = np.tile(where, copies)
    index[grows] = np.repeat(positions, nnz, axis=1)
    picked = np.tile(np.arange(nnz), copies)
    ordered = order(index) if grows else None
    if ordered is not None:
        index, picked = index[:, ordered], picked[ordered]
    value = rows_of(tensor._value, picked).expand(len(picked), *extents[count:])
    return made(index, value, extents, bool(grows) or tensor._is_coalesced)


@supported("div", "divide", "true_divide", mixed=True)
def div(self: Operand, other: Operand, *, rounding_mode: str | None = None) -> SparseTensor:
    """The quotient by a number or a 0-dim tensor; a rounded one of the coalesced tensor. As ``torch.div``.

    Raises:
        RuntimeError: another divisor.
    """
    if isinstance(self, SparseTensor) and _number(other):
        if rounding_mode is None:
            return scaled(self, self._value / other, "Div")
        tensor = coalesce(self)
        return scaled(tensor, tensor._value.div(other, rounding_mode=rounding_mode), "Div")
    if isinstance(other, SparseTensor) and not other.ndim:
        raise RuntimeError("Sparse division requires a scalar or zero-dim dense tensor divisor (got a sparse divisor)")
    if not isinstance(other, Tensor):
        raise TypeError(f"div(): argument 'other' (position 1) must be Tensor, not {type(other).__name__}")
    raise RuntimeError(
        "Sparse division requires a scalar or zero-dim dense tensor divisor (got shape "
        f"{list(other.shape)} for divisor)"
    )


@supported(mixed=True)
def floor_divide(self: Operand, other: Operand) -> SparseTensor:
    """The quotient rounded down; see :func:`div`. As ``torch.floor_divide``."""
    return div(self, other, rounding_mode="floor")


# ------------------------------------------------------------------------------------------------------------ operators


def _operator(function: Any, *, reverse: bool = False) -> Any:
    def operate(self: SparseTensor, other: Any) -> Any:
        if not isinstance(other, Tensor) and plain_number(other) is None:
            return NotImplemented
        return function(other, self) if reverse else function(self, other)

    return operate


for _name, _function in (("add", add), ("sub", sub), ("mul", mul)):
    setattr(SparseTensor, f"__{_name}__", _operator(_function))
    setattr(SparseTensor, f"__r{_name}__", _operator(_function, reverse=True))
SparseTensor.__truediv__, SparseTensor.__floordiv__ = _operator(div), _operator(floor_divide)


@method()
def __rtruediv__(self: SparseTensor, other: Operand) -> SparseTensor:
    if isinstance(other, Tensor):
        return div(other, self)
    raise SparseOperand("reciprocal")


# ------------------------------------------------------------------------------------------------------------- in place


@method()
def add_(self: SparseTensor, other: Operand, *, alpha: float = 1) -> SparseTensor:
    """:func:`add` in place; as ``Tensor.add_``."""
    check_writable(self)
    return become(self, add(self, other, alpha=alpha))


@method("sub_", "subtract_")
def sub_(self: SparseTensor, other: Operand, *, alpha: float = 1) -> SparseTensor:
    """:func:`sub` in place; as ``Tensor.sub_``."""
    check_writable(self)
    return become(self, sub(self, other, alpha=alpha))


@method("mul_", "multiply_", "__imul__")
def mul_(self: SparseTensor, other: Operand) -> SparseTensor:
    """:func:`mul` in place; by a number it is written to the values' memory. As ``Tensor.mul_``."""
    return _in_place(self, mul(self, other), other)


@method("div_", "divide_", "true_divide_", "__itruediv__")
def div_(self: SparseTensor, other: Operand, *, rounding_mode: str | None = None) -> SparseTensor:
    """:func:`div` in place; see :func:`mul_`. As ``Tensor.div_``."""
    return _in_place(self, div(self, other, rounding_mode=rounding_mode), other)


@method("floor_divide_", "__ifloordiv__")
def floor_divide_(self: SparseTensor, other: Operand) -> SparseTensor:
    """:func:`floor_divide` in place; as ``Tensor.floor_divide_``."""
    return _in_place(self, floor_divide(self, other), other)


def _in_place(tensor: SparseTensor, result: SparseTensor, other: Operand) -> SparseTensor:
    check_writable(tensor)
    kept = _number(other) and result.dtype is tensor.dtype and result._value.shape == tensor._value.shape
    if kept and not (result.requires_grad or tensor.requires_grad):
        tensor._value.copy_(result._value)
        tensor._step = result._step
        return tensor
    return become(tensor, result)


SparseTensor.__iadd__, SparseTensor.__isub__ = _operator(add_), _operator(sub_)

# ----------------------------------------------------------------------------------------------------------- reductions


def _summed(
    input: SparseTensor, dim: int | Sequence[int], keepdim: bool, dtype: DType | None, step: str
) -> Tensor:
    """The sum over some axes; dense if no sparse axis is left."""
    given = dim if isinstance(dim, (tuple, list)) else (dim,)
    axes = set(canonical_axes(given, input.ndim)) if given else set()
    where = coordinates(input)
    count = len(where)
    value = input._value if dtype is None else input._value.to(dtype)
    inner = [axis - count + 1 for axis in axes if axis >= count]
    if inner:
        value = value.sum(inner, keepdim=keepdim).to(value.dtype)
    extents = [1 if d in axes else n for d, n in enumerate(input._extents) if keepdim or d not in axes]
    if axes.issuperset(range(count)) and not keepdim:
        return value.sum(0)
    left = where.copy()
    left[[axis for axis in axes if axis < count]] = 0
    left = left if keepdim else left[[d for d in range(count) if d not in axes]]
    left, place = groups(left)
    return made(left.copy(), summed(value, place, left.shape[1]), extents, True, step)


def sum(input: SparseTensor, dim: int | Sequence[int] | None = None, dtype: DType | None = None) -> Tensor:
    """The sum of all elements, or over some axes; sparse if a sparse axis is left, else dense.

    As ``torch.sparse.sum``.

    Args:
        dtype: of the sum; by default the tensor's, and int64 for the sum of all integers.

    Raises:
        RuntimeError: ``input`` is dense, or an axis comes twice.
        IndexError: an axis is out of range.

    Example:
        >>> import flamework as torch
        >>> x = torch.sparse_coo_tensor([[0, 1, 1], [2, 0, 2]], [3.0, 4.0, 5.0], (2, 3))
        >>> torch.sparse.sum(x)
        tensor(12.)
        >>> torch.sparse.sum(x, dim=0).to_dense()
        tensor([4., 0., 8.])
    """
    if not isinstance(input, SparseTensor):
        if dim is not None:
            raise DenseOperand("_indices")
        raise RuntimeError("coalesce expected sparse coordinate tensor layout but got Strided")
    if dim is None:
        return coalesce(input)._value.sum(dtype=dtype)
    if isinstance(dim, (tuple, list)) and not dim:
        return coalesce(input)
    return _summed(input, dim, False, dtype, "SparseSum")


@supported("sum")
def _sum(
    self: SparseTensor, dim: int | Sequence[int] | None = None, keepdim: bool = False, *, dtype: DType | None = None
) -> Tensor:
    """The sum of all elements, or over some axes; as ``torch.sum``."""
    if dim is None or (isinstance(dim, (tuple, list)) and not dim):
        return sum(self, None, dtype)
    if dtype is None and self.dtype.kind < FLOATING:
        dtype = dtypes.int64
    return _summed(self, dim, keepdim, dtype, "SumBackward1")


def _softmax(input: SparseTensor, dim: int, dtype: DType | None, name: str) -> SparseTensor:
    if not isinstance(input, SparseTensor):
        raise DenseOperand(f"_sparse_{name}")
    axis = axis_of(dim, input.ndim)
    tensor = coalesce(input)
    value = tensor._value if dtype is None else tensor._value.to(dtype)
    if value.dtype.kind != FLOATING:
        raise Undefined(f"\"softmax\" not implemented for '{value.dtype.scalar_name}'")
    where = coordinates(tensor)
    step = "SparseLogSoftmax" if name == "log_softmax" else "SparseSoftmax"
    if axis >= len(where):
        inner = getattr(value, name)(axis - len(where) + 1)
        return made(where.copy(), inner, tensor._extents, True, step)
    left, place = groups(np.delete(where, axis, axis=0))
    count = left.shape[1]
    spread = tensor_at(place, value).reshape(-1, *[1] * (value.ndim - 1)).expand(value.shape)
    start = full((count, *value.shape[1:]), -math.inf, dtype=value.dtype, device=value.device)
    largest = scatter_reduce(start, 0, spread, value.detach(), "amax")
    centred = value - rows_of(largest, place)
    total = summed(centred.exp(), place, count)
    if name == "log_softmax":
        result = centred - rows_of(total.log(), place)
    else:
        result = centred.exp() / rows_of(total, place)
    return made(where.copy(), result, tensor._extents, True, step)


def softmax(input: SparseTensor, dim: int, *, dtype: DType | None = None) -> SparseTensor:
    """Softmax along an axis of the elements that are given: what is not there counts as minus infinity.

    As ``torch.sparse.softmax``.

    Raises:
        NotImplementedError: ``input`` is dense, or of integers and no ``dtype`` is given.

    Example:
        >>> import flamework as torch
        >>> x = torch.sparse_coo_tensor([[0, 0, 1], [0, 2, 1]], [1.0, 1.0, 5.0], (2, 3))
        >>> torch.sparse.softmax(x, dim=1).to_dense()
        tensor([[0.5000, 0.0000, 0.5000],
                [0.0000, 1.0000, 0.0000]])
    """
    return _softmax(input, dim, dtype, "softmax")


def log_softmax(input: SparseTensor, dim: int, *, dtype: DType | None = None) -> SparseTensor:
    """The logarithm of :func:`softmax`; as ``torch.sparse.log_softmax``.

    Example:
        >>> import flamework as torch
        >>> x = torch.sparse_coo_tensor([[0, 1]], [2.0, 2.0], (3,))
        >>> torch.sparse.log_softmax(x, dim=0).values()
        tensor([-0.6931, -0.6931])
    """
    return _softmax(input, dim, dtype, "log_softmax")

