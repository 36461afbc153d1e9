"""Functions of each value: those that give 0 for 0, and others that PyTorch runs on the values all the same.

One table: a function is called of the values of the coalesced tensor, or of those that there are if it does not matter
that values add up. In place it wants a coalesced tensor, as PyTorch does.

In: sparse tensors. Out: sparse tensors with the same coordinates. Read next: ``products.py``.
"""

from __future__ import annotations

import math
from typing import Any

from ..compiler import dtypes
from ..recording import plain_number
from ..tensor import SparseOperand, Tensor
from .methods import is_coalesced
from .tensor import SparseTensor, become, check_writable, coalesce, scaled, supported

# Functions of the coalesced values, and their other names; those of the first table work in place too.
_BOTH = {
    name: others.split()
    for name, _, others in (
        row.partition("=") for row in """
        abs=absolute asin=arcsin asinh=arcsinh atan=arctan atanh=arctanh ceil deg2rad erf erfinv expm1 floor frac log1p
        nan_to_num rad2deg relu round sgn sign sin sinh sqrt square tan tanh trunc=fix
        """.split()
    )
}
_TOLD = "isinf isnan isneginf isposinf signbit".split()


def _of_values(name: str, others: list[str], in_place: bool) -> None:
    def apply(self: SparseTensor, *args: Any, **options: Any) -> SparseTensor:
        if "decimals" in options:
            raise SparseOperand(f"{name}.decimals")
        tensor = coalesce(self)
        return scaled(tensor, getattr(tensor._value, name)(*args, **options), name.capitalize())

    def apply_(self: SparseTensor, *args: Any, **options: Any) -> SparseTensor:
        check_writable(self)
        if not is_coalesced(self):
            raise RuntimeError(f"{name}_ requires coalesced input")
        return become(self, apply(self, *args, **options))

    apply.__name__ = apply.__qualname__ = name
    apply.__doc__ = f"The function of each value of the coalesced tensor; as ``torch.{name}``."
    supported(name, *others)(apply)
    if in_place:
        apply_.__name__ = apply_.__qualname__ = f"{name}_"
        apply_.__doc__ = f":func:`{name}` in place, of a coalesced tensor; as ``Tensor.{name}_``."
        supported(*(f"{n}_" for n in (name, *others)))(apply_)


for _name, _others in _BOTH.items():
    _of_values(_name, _others, True)
for _name in _TOLD:
    _of_values(_name, [], False)
SparseTensor.__abs__ = SparseTensor.abs


@supported("neg", "negative", "__neg__")
def neg(self: SparseTensor) -> SparseTensor:
    """Minus each element; as ``torch.neg``."""
    return scaled(self, -self._value, "Neg")


@supported("neg_", "negative_")
def neg_(self: SparseTensor) -> SparseTensor:
    """:func:`neg` in place; as ``Tensor.neg_``."""
    return become(self, neg(self))


@supported("positive", "__pos__")
def positive(self: SparseTensor) -> SparseTensor:
    """The tensor itself; as ``torch.positive``.

    Raises:
        RuntimeError: the tensor is of bools.
    """
    if self.dtype is dtypes.bool_:
        raise RuntimeError("The `+` operator, on a bool tensor is not supported.")
    return self


@supported("conj", "conj_physical", "resolve_conj", "resolve_neg")
def conj(self: SparseTensor) -> SparseTensor:
    """The conjugate of each element; the tensor itself if it is not complex. As ``torch.conj_physical``."""
    return scaled(self, self._value.conj_physical(), "ConjPhysical") if self.dtype.is_complex else self


@supported("pow", "__pow__")
def pow(self: SparseTensor, exponent: float) -> SparseTensor:
    """Each value of the coalesced tensor to the power of a number; as ``torch.pow``.

    Raises:
        RuntimeError: the exponent is 0, of which the result would be dense.
        NotImplementedError: the exponent is a tensor, as in PyTorch.
    """
    if plain_number(exponent) is None:
        raise SparseOperand("pow")
    if exponent == 0:
        raise RuntimeError("pow: cannot raise to zeroth power on sparse tensor; it would make the result tensor dense")
    tensor = coalesce(self)
    return scaled(tensor, tensor._value**exponent, "Pow")


@supported()
def float_power(self: SparseTensor, exponent: float) -> SparseTensor:
    """:func:`pow` in float64, or complex128; as ``torch.float_power``."""
    wide = self.dtype.is_complex or isinstance(exponent, complex)
    return pow(self.to(dtypes.complex128 if wide else dtypes.float64), exponent)


@supported()
def any(self: SparseTensor, dim: tuple[int, ...] | None = None, keepdim: bool = False) -> Tensor:
    """Whether an element is not zero; as ``torch.any``.

    Raises:
        NotImplementedError: along an axis, as in PyTorch.
    """
    if dim is not None:
        raise SparseOperand("any.dim")
    found = coalesce(self)._value.any()
    return found.reshape([1] * self.ndim) if keepdim else found


@supported()
def norm(
    self: SparseTensor, p: float | str | None = "fro", dim: Any = None, keepdim: bool = False, dtype: Any = None
) -> Tensor:
    """The norm of all values of the coalesced tensor; as ``torch.norm``.

    Raises:
        RuntimeError: some of the axes, or ``keepdim``; or no values and an order that needs one.
        ValueError: ``dtype`` is given.
        NotImplementedError: the nuclear norm, as in PyTorch.
    """
    if p == "nuc":
        raise SparseOperand("_linalg_svd")
    if dtype is not None:
        raise ValueError("dtype argument is not supported in frobenius norm")
    if keepdim:
        raise RuntimeError("norm_sparse currently does not support keepdim=True")
    axes = () if dim is None else (dim,) if isinstance(dim, int) else tuple(dim)
    if axes and len(axes) != self.ndim:
        raise RuntimeError(
            "norm_sparse currently only supports full reductions, so 'dim' must either be empty or contain all "
            "dimensions of the input"
        )
    value = coalesce(self)._value.reshape(-1)
    order = 2 if p in (None, "fro") else p
    if not value.numel() and (order < 0 or order == math.inf):
        raise RuntimeError(
            f"linalg.vector_norm cannot compute the {order} norm on an empty tensor because the operation does not "
            "have an identity"
        )
    return value.norm(order)
