"""Arithmetic with sparse tensors: sums, products with numbers and tensors, reductions, softmax.

A sum has the coordinates of both operands, a product those that both have; a dense tensor plus a sparse one is dense.

In: sparse tensors, with dense ones and numbers where PyTorch takes them. Out: sparse or dense tensors. Read next:
``products.py``.
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
from .methods import become, check_writable, method, sparse_dim
from .tensor import (
    DenseOperand,
    SparseTensor,
    coalesce,
    coordinates,
    flat,
    groups,
    made,
    rows_of,
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
    where = coordinates(b)
    sparse = b._extents[: len(where)]
    value = b._value.to(kind)
    value = value if alpha == 1 else value * alpha
    added = summed(value, flat(where, sparse), math.prod(sparse)).reshape(a.shape)
    return a.to(kind) + added


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


def _scaled(tensor: SparseTensor, value: Tensor, step: str) -> SparseTensor:
    return made(coordinates(tensor).copy(), value, tensor._extents, tensor._is_coalesced, step)


def _number(value: Any) -> bool:
    if isinstance(value, Tensor):
        return value.ndim == 0 and not isinstance(value, SparseTensor)
    return plain_number(value) is not None


@supported("mul", "multiply", mixed=True)
def mul(self: Operand, other: Operand) -> SparseTensor:
    """The product with a number, with a dense tensor that broadcasts to the size, or with a sparse one of the same
    size: its coordinates are those that both have. As ``torch.mul``.

    Raises:
        RuntimeError: sizes that do not fit.
        NotImplementedError: a dense tensor that the sparse one would have to be broadcast to.
    """
    if not isinstance(self, SparseTensor):
        self, other = other, self
    if _number(other):
        return _scaled(self, self._value * other, "Mul")
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
    where, there = coordinates(self), coordinates(other)
    _, place = groups(np.concatenate([there, where], axis=1))
    # the coordinate of each group in `other`, which has each once, or none
    of_group = np.full(place.max(initial=-1) + 1, -1)
    of_group[place[: there.shape[1]]] = np.arange(there.shape[1])
    met = of_group[place[there.shape[1] :]]
    picked = np.flatnonzero(met >= 0)
    product = rows_of(self._value, picked) * rows_of(other._value, met[picked])
    return made(where[:, picked], product, self._extents, self._is_coalesced, "Mul")


def _times_dense(tensor: SparseTensor, other: Tensor) -> SparseTensor:
    extents = tensor._extents
    if broadcast_shapes(extents, other.shape) != tuple(extents):
        raise Undefined(
            f"mul(): a sparse tensor of size {list(extents)} is not broadcast to a dense one of size "
            f"{list(other.shape)}"
        )
    where = coordinates(tensor)
    sparse = extents[: len(where)]
    rows = other.expand(extents).reshape(math.prod(sparse), *extents[len(sparse) :])
    return _scaled(tensor, tensor._value * rows_of(rows, flat(where, sparse)), "Mul")


@supported("div", "divide", "true_divide", mixed=True)
def div(self: Operand, other: Operand) -> SparseTensor:
    """The quotient by a number or a 0-dim tensor; as ``torch.div``.

    Raises:
        RuntimeError: another divisor.
    """
    if isinstance(self, SparseTensor) and _number(other):
        return _scaled(self, self._value / other, "Div")
    if isinstance(other, SparseTensor) and not other.ndim:
        raise RuntimeError("Sparse division requires a scalar or zero-dim dense tensor divisor (got a sparse divisor)")
    if not isinstance(other, Tensor):
        raise TypeError(f"div(): argument 'other' (position 1) must be Tensor, not {type(other).__name__}")
    raise RuntimeError(
        "Sparse division requires a scalar or zero-dim dense tensor divisor (got shape "
        f"{list(other.shape)} for divisor)"
    )


@supported("neg", "negative", "__neg__")
def neg(self: SparseTensor) -> SparseTensor:
    """Minus each element; as ``torch.neg``."""
    return _scaled(self, -self._value, "Neg")


@method()
def neg_(self: SparseTensor) -> SparseTensor:
    """:func:`neg` in place; as ``Tensor.neg_``."""
    return become(self, neg(self))


SparseTensor.negative_ = neg_


# ------------------------------------------------------------------------------------------------ functions that keep 0


def _of_values(name: str, function: str | None = None) -> None:
    """Let sparse tensors have a function of one argument that gives 0 for 0."""

    def apply(self: SparseTensor) -> SparseTensor:
        tensor = coalesce(self)
        return _scaled(tensor, getattr(tensor._value, name)(), name.capitalize())

    apply.__name__ = apply.__qualname__ = name
    apply.__doc__ = f"The function of each value of the coalesced tensor; as ``torch.{name}``."
    supported(name, *([function] if function else []))(apply)


_of_values("abs", "absolute")
_of_values("trunc", "fix")
for _name in """
    asin asinh atan atanh ceil deg2rad erf expm1 floor log1p rad2deg relu sgn sign sin sinh sqrt square tan tanh
""".split():
    _of_values(_name)
SparseTensor.__abs__ = SparseTensor.abs
for _name in "arcsin arcsinh arctan arctanh".split():
    supported(_name)(getattr(SparseTensor, _name.replace("rc", "")))


@supported("pow", "__pow__")
def pow(self: SparseTensor, exponent: float) -> SparseTensor:
    """Each value of the coalesced tensor to the power of a number; as ``torch.pow``.

    Raises:
        RuntimeError: the exponent is 0, of which the result would be dense.
        NotImplementedError: the exponent is a tensor.
    """
    if plain_number(exponent) is None:
        raise SparseOperand("pow")
    if exponent == 0:
        raise RuntimeError("pow: cannot raise to zeroth power on sparse tensor; it would make the result tensor dense")
    tensor = coalesce(self)
    return _scaled(tensor, tensor._value**exponent, "Pow")


@supported()
def norm(self: SparseTensor, p: float | str | None = "fro") -> Tensor:
    """The norm of all elements; as ``torch.norm``.

    Raises:
        NotImplementedError: an order that looks at zeros.
    """
    if p not in (None, "fro") and (isinstance(p, str) or not p > 0):
        raise SparseOperand("norm")
    return coalesce(self)._value.reshape(-1).norm(2 if p in (None, "fro") else p)


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
SparseTensor.__truediv__ = _operator(div)


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
def div_(self: SparseTensor, other: Operand) -> SparseTensor:
    """:func:`div` in place; see :func:`mul_`. As ``Tensor.div_``."""
    return _in_place(self, div(self, other), other)


def _in_place(tensor: SparseTensor, result: SparseTensor, other: Operand) -> SparseTensor:
    check_writable(tensor)
    if _number(other) and result.dtype is tensor.dtype and not (result.requires_grad or tensor.requires_grad):
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

