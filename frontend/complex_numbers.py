"""Complex tensors: made of real ones, and seen as such.

``real``, ``imag``, ``view_as_real`` and ``view_as_complex`` are views: writing to one changes the other. ``conj`` is a
value of its own, where PyTorch gives a view with a mark; nothing but writing to it can tell.

In: tensors. Out: tensors. Read next: ``formulas_complex.py``.
"""

from __future__ import annotations

import math

from . import formulas as f
from .arguments import returned, scalar_type, tensor_argument
from .compiler import dtypes, primitives as p
from .compiler.dtypes import COMPLEX, FLOATING
from .compiler.ir import Node
from .formulas_complex import angle as complex_angle
from .recording import get_default_dtype, operands
from .storage import from_pairs, pairs, signs
from .tensor import Tensor, method, strides_of
from .views import clone, view_of


def _parts(function: str, first: Tensor, second: Tensor, names: tuple[str, str]) -> list:
    nodes = [tensor_argument(t, function, name, i + 1) for i, (t, name) in enumerate(zip((first, second), names))]
    for node in nodes:
        if node.type.dtype not in (dtypes.float32, dtypes.float64):
            raise RuntimeError(
                "Expected both inputs to be Half, Float or Double tensors but got "
                f"{scalar_type(nodes[0].type.dtype)} and {scalar_type(nodes[1].type.dtype)}"
            )
    if nodes[0].type.dtype is not nodes[1].type.dtype:
        raise RuntimeError(
            f"Expected object of scalar type {scalar_type(nodes[0].type.dtype)} but got scalar type "
            f"{scalar_type(nodes[1].type.dtype)} for second argument"
        )
    return list(operands(first, second))


def complex(real: Tensor, imag: Tensor, *, out: Tensor | None = None) -> Tensor:
    """Complex numbers of two real tensors, float32 or float64, that broadcast. As ``torch.complex``.

    Raises:
        RuntimeError: other dtypes, or two different ones.

    Example:
        >>> import flamework as torch
        >>> torch.complex(torch.tensor([1.0]), torch.tensor([2.0]))
        tensor([1.+2.j])
    """
    return _composed(p.complex_(*_parts("complex", real, imag, ("real", "imag"))), out)


def polar(abs: Tensor, angle: Tensor, *, out: Tensor | None = None) -> Tensor:
    """Complex numbers of absolute values and angles in radians. As ``torch.polar``.

    Raises:
        RuntimeError: dtypes other than float32 or float64, or two different ones.

    Example:
        >>> import flamework as torch
        >>> torch.polar(torch.tensor([2.0]), torch.tensor([0.0])).tolist()
        [(2+0j)]
    """
    size, turn = _parts("polar", abs, angle, ("abs", "angle"))
    return _composed(p.complex_(p.mul(size, p.cos(turn)), p.mul(size, p.sin(turn))), out)


def _composed(node: Node, out: Tensor | None) -> Tensor:
    if out is not None and out.dtype is not node.type.dtype:
        raise RuntimeError(
            f"Expected object of scalar type {node.type.dtype.scalar_name} but got scalar type "
            f"{out.dtype.scalar_name} for argument 'out'"
        )
    return returned(node, out)


def view_as_real(input: Tensor) -> Tensor:
    """A complex tensor seen as real and imaginary parts along a new last axis of size 2. As ``torch.view_as_real``.

    Raises:
        RuntimeError: the tensor is not complex.

    Example:
        >>> import flamework as torch
        >>> torch.view_as_real(torch.tensor([1 + 2j]))
        tensor([[1., 2.]])
    """
    if not input.is_complex():
        raise RuntimeError("view_as_real is only supported for complex tensors")
    if is_conj(input):
        raise RuntimeError(
            "view_as_real doesn't work on unresolved conjugated tensors.  To resolve the conjugate tensor so you can "
            "view it as real, use self.resolve_conj(); however, be warned that the resulting tensor will NOT alias the "
            "original."
        )
    return view_of(input, (pairs, ()))


def view_as_complex(input: Tensor) -> Tensor:
    """Pairs of real numbers along the last axis seen as complex numbers. As ``torch.view_as_complex``.

    Raises:
        RuntimeError: the last axis is not of size 2, or its elements are not neighbours in memory.

    Example:
        >>> import flamework as torch
        >>> torch.view_as_complex(torch.tensor([[1.0, 2.0]]))
        tensor([1.+2.j])
    """
    if input.dtype not in (dtypes.float32, dtypes.float64):
        raise RuntimeError(
            "view_as_complex is only supported for half, float and double tensors, but got a tensor of scalar type: "
            f"{scalar_type(input.dtype)}"
        )
    if input.ndim == 0:
        raise RuntimeError("Input tensor must have one or more dimensions")
    if input.shape[-1] != 2:
        raise RuntimeError("Tensor must have a last dimension of size 2")
    strides, offset = strides_of(input)
    if strides[-1] != 1:
        raise RuntimeError("Tensor must have a last dimension with stride 1")
    if any(stride % 2 for stride in strides[:-1]):
        raise RuntimeError("Tensor must have a stride divisible by 2 for all but last dimension")
    if offset % 2:
        raise RuntimeError("Tensor must have a storage_offset divisible by 2")
    return view_of(input, (from_pairs, ()))


def real(input: Tensor) -> Tensor:
    """The real parts, a view; a real tensor itself. As ``torch.real``.

    Example:
        >>> import flamework as torch
        >>> torch.real(torch.tensor([1 + 2j]))
        tensor([1.])
    """
    return view_of(input, (p.real, ())) if input.is_complex() else input


def imag(input: Tensor) -> Tensor:
    """The imaginary parts, a view. As ``torch.imag``.

    Raises:
        RuntimeError: the tensor is not complex.

    Example:
        >>> import flamework as torch
        >>> torch.imag(torch.tensor([1 + 2j]))
        tensor([2.])
    """
    if not input.is_complex():
        raise RuntimeError("imag is not implemented for tensors with non-complex dtypes.")
    return view_of(input, (p.imag, ()))


def angle(input: Tensor, *, out: Tensor | None = None) -> Tensor:
    """The angle in radians of complex numbers; of real ones 0, pi of negative ones, NaN of NaN. As ``torch.angle``.

    Example:
        >>> import flamework as torch
        >>> torch.angle(torch.tensor([1.0, -1.0]))
        tensor([0.0000, 3.1416])
    """
    x = tensor_argument(input, "angle", "input", 1)
    if x.type.dtype.kind == COMPLEX:
        return returned(complex_angle(x), out)
    if x.type.dtype.kind != FLOATING:
        x = f.converted(x, get_default_dtype())
    turned = p.where(p.lt(x, f.constant(x, 0)), f.constant(x, math.pi), f.constant(x, 0))
    return returned(p.where(f.is_nan(x), x, turned), out)


def conj(input: Tensor) -> Tensor:
    """The complex conjugates, a view; a real tensor itself. As ``torch.conj``.

    Example:
        >>> import flamework as torch
        >>> z = torch.tensor([1 + 2j])
        >>> z.conj().is_conj(), z.conj()
        (True, tensor([1.-2.j]))
    """
    return view_of(input, (p.conj, ())) if input.is_complex() else input


def conj_physical(input: Tensor, *, out: Tensor | None = None) -> Tensor:
    """The complex conjugates in memory of their own. As ``torch.conj_physical``."""
    x = tensor_argument(input, "conj_physical", "input", 1)
    return returned(p.conj(x) if x.type.dtype.kind == COMPLEX else x, out, x)


def resolve_conj(input: Tensor) -> Tensor:
    """The tensor itself, unless it is a view of conjugates: then a copy. As ``torch.resolve_conj``.

    Example:
        >>> import flamework as torch
        >>> torch.tensor([1 + 2j]).conj().resolve_conj().is_conj()
        False
    """
    return clone(input) if is_conj(input) else input


def resolve_neg(input: Tensor) -> Tensor:
    """The tensor itself, unless it is a view of negatives: then a copy. As ``torch.resolve_neg``."""
    return clone(input) if is_neg(input) else input


def is_conj(input: Tensor) -> bool:
    """Whether a tensor is a view of the conjugates of what is in memory. As ``torch.is_conj``."""
    return input._storage is not None and signs(input._chain)[0]


def is_neg(input: Tensor) -> bool:
    """Whether a tensor is a view of the negatives of what is in memory, such as ``z.conj().imag``.

    As ``torch.is_neg``.
    """
    return input._storage is not None and signs(input._chain)[1]


def _property(name: str, function, doc: str) -> None:
    def write(self: Tensor, value: Tensor | float) -> None:
        function(self).copy_(value)

    setattr(Tensor, name, property(function, write, doc=doc))


_property("real", real, "The real parts, a view; a real tensor itself.")
_property("imag", imag, "The imaginary parts, a view.")
for _function in (angle, conj, conj_physical, resolve_conj, resolve_neg, is_conj, is_neg):
    method(_function)

__all__ = [
    "angle", "complex", "conj", "conj_physical", "imag", "is_conj", "is_neg", "polar", "real", "resolve_conj",
    "resolve_neg", "view_as_complex", "view_as_real",
]
