"""Floating point numbers taken apart by their bits: mantissa and exponent, and the next number.

In: tensors. Out: tensors. Read next: ``arithmetic.py``.
"""

from __future__ import annotations

from . import formulas as f, return_types
from .arguments import tensor_argument
from .compiler import dtypes, primitives as p
from .compiler.dtypes import FLOATING
from .compiler.ir import Node
from .compiler.narrow import is_narrow
from .formulas import constant
from .mutation import write_out
from .recording import operands, tensor_of
from .storage import attached
from .tensor import Tensor

# Of each dtype the integer of its size, the bits of the fraction, and the largest exponent field.
_FORMATS = {
    dtypes.float64: (dtypes.int64, 52, 0x7FF), dtypes.float32: (dtypes.int32, 23, 0xFF),
    dtypes.bfloat16: (dtypes.int16, 7, 0xFF), dtypes.float16: (dtypes.int16, 10, 0x1F),
}


def frexp(input: Tensor, *, out: tuple[Tensor, Tensor] | None = None) -> return_types.frexp:
    """``mantissa`` in [0.5, 1) or 0 and ``exponent``, int32, of ``mantissa * 2**exponent``. As ``torch.frexp``.

    Raises:
        RuntimeError: not floating point.

    Example:
        >>> import flamework as torch
        >>> torch.frexp(torch.tensor([6.0])).exponent.tolist()
        [3]
    """
    x = tensor_argument(input, "frexp", "input", 1)
    if x.type.dtype.kind != FLOATING:
        raise RuntimeError("torch.frexp() only supports floating-point dtypes")
    wide = f.converted(x, dtypes.float32) if is_narrow(x.type.dtype) else x
    mantissa, exponent = _taken_apart(f.cut(wide))
    mantissa = f.converted(mantissa, x.type.dtype)
    if x.requires_grad:
        scale = f.converted(p.exp2(f.converted(exponent, wide.type.dtype)), x.type.dtype)
        mantissa = attached(mantissa, p.div(x, scale))
    if out is not None:
        return return_types.frexp(write_out(out[0], mantissa), write_out(out[1], exponent))
    return return_types.frexp(tensor_of(mantissa), tensor_of(exponent))


def _taken_apart(x: Node) -> tuple[Node, Node]:
    whole, fraction, largest = _FORMATS[x.type.dtype]
    size = p.abs(x)
    # a number without a leading one is scaled up until it has one
    tiny = p.lt(size, constant(x, 2.0 ** (2 - (largest >> 1))))
    bits = p.bitcast(p.where(tiny, p.mul(x, constant(x, 2.0**fraction)), x), params=(whole,))
    field = p.band(p.shr(bits, constant(bits, fraction)), constant(bits, largest))
    exponent = p.sub(field, constant(field, (largest >> 1) - 1))
    exponent = p.sub(exponent, p.where(tiny, constant(exponent, fraction), constant(exponent, 0)))
    kept = p.band(bits, constant(bits, ~(largest << fraction)))
    mantissa = p.bitcast(p.bor(kept, constant(bits, ((largest >> 1) - 1) << fraction)), params=(x.type.dtype,))
    # zeros, infinities and NaN are what they are
    plain = p.band(p.lt(constant(x, 0), size), p.lt(size, constant(x, float("inf"))))
    exponent = f.converted(exponent, dtypes.int32)
    return p.where(plain, mantissa, x), p.where(plain, exponent, constant(exponent, 0))


def nextafter(input: Tensor, other: Tensor, *, out: Tensor | None = None) -> Tensor:
    """The next floating point number after ``input`` in the direction of ``other``. As ``torch.nextafter``.

    Raises:
        NotImplementedError: not floating point.

    Example:
        >>> import flamework as torch
        >>> torch.nextafter(torch.tensor([0.0]), torch.tensor([1.0])).item() > 0
        True
    """
    tensor_argument(input, "nextafter", "input", 1)
    tensor_argument(other, "nextafter", "other", 2)
    a, b = operands(input, other)
    if a.type.dtype.kind != FLOATING:
        raise p.Undefined(f"\"nextafter_cpu\" not implemented for '{a.type.dtype.scalar_name}'")
    node = _next(f.cut(a), f.cut(b))
    if a.requires_grad:
        node = attached(node, a)
    return tensor_of(node) if out is None else write_out(out, node)


def _next(a: Node, b: Node) -> Node:
    whole, _, _ = _FORMATS[a.type.dtype]
    bits, towards = p.bitcast(a, params=(whole,)), p.bitcast(b, params=(whole,))
    one, zero = constant(bits, 1), constant(a, 0)
    # the bits of a number away from zero are larger by one, with either sign
    away = p.eq(p.lt(a, b), p.lt(zero, a))
    step = p.bitcast(p.where(away, p.add(bits, one), p.sub(bits, one)), params=(a.type.dtype,))
    sign = p.band(towards, constant(bits, -(1 << (8 * whole.itemsize - 1))))
    step = p.where(p.eq(a, zero), p.bitcast(p.bor(sign, one), params=(a.type.dtype,)), step)
    step = p.where(p.eq(a, b), b, step)
    return p.where(p.bor(f.is_nan(a), f.is_nan(b)), p.add(a, b), step)


__all__ = ["frexp", "nextafter"]
