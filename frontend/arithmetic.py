"""Arithmetic on tensors and numbers, element by element.

Every function takes tensors of any shapes that broadcast, and Python numbers; the dtype of the result follows PyTorch's
promotion. ``operators.py`` holds the same for ``+``, ``*`` and their like. Read next: ``comparison.py``.
"""

from __future__ import annotations

import builtins
import math
from numbers import Number

from . import formulas as f
from .arguments import (
    exactly_returned,
    factors_first,
    floating_only,
    returned,
    scalar_type,
    tensor_argument,
    term_last,
)
from .compiler import dtypes, primitives as p, primitives_library as library
from .compiler.dtypes import BOOL, COMPLEX, FLOATING, INTEGER
from .compiler.ir import Node
from .compiler.narrow import rounded, rounded_once, widened
from .compiler.primitives import Undefined
from .formulas import argument, constant
from .formulas_complex import FUNCTIONS, absolute, log_add_exp as complex_log_add_exp
from .operators import OPERATORS, Operator, check_alpha, forward, power, rounded_quotient, whole_operands
from .recording import float_operands, node_of, operands, promoted, tensor_of
from .tensor import Tensor

Scalar = int | float | bool
TensorLike = Tensor | int | float | bool


def add(
    input: TensorLike, other: TensorLike, *rest: TensorLike, alpha: Scalar = 1, out: Tensor | None = None
) -> Tensor:
    """``input + alpha * other``, with broadcasting and type promotion; for bools, logical or. As ``torch.add``.

    Raises:
        RuntimeError: shapes that do not broadcast, or a fractional ``alpha`` for integers.

    Example:
        >>> import flamework as torch
        >>> torch.add(torch.tensor([1, 2]), 10, alpha=2).tolist()
        [21, 22]
    """
    if rest:
        other, alpha = term_last("add", other, rest)
        # once more, as a sparse operand is looked for by what a call is given
        return add(input, other, alpha=alpha, out=out)
    if alpha == 1 and alpha is not True:
        if out is None and isinstance(input, Tensor):
            return input + other
        return _operated("add", input, other, out)
    a, b = operands(input, other)
    check_alpha(a.type.dtype, alpha)
    return returned(_plus_scaled(a, b, argument(b, alpha)), out)


def sub(
    input: TensorLike, other: TensorLike, *rest: TensorLike, alpha: Scalar = 1, out: Tensor | None = None
) -> Tensor:
    """``input - alpha * other``, with broadcasting and type promotion; not for bools. As ``torch.sub``.

    Raises:
        RuntimeError: shapes that do not broadcast, bool operands, or a fractional ``alpha`` for integers.

    Example:
        >>> import flamework as torch
        >>> torch.sub(torch.tensor([1.0, 2.0]), 0.5).tolist()
        [0.5, 1.5]
    """
    if rest:
        other, alpha = term_last("sub", other, rest)
        # once more, as a sparse operand is looked for by what a call is given
        return sub(input, other, alpha=alpha, out=out)
    if alpha == 1 and alpha is not True:
        if out is None and isinstance(input, Tensor):
            return input - other
        return _operated("sub", input, other, out)
    a, b = operands(input, other)
    OPERATORS["sub"].check((input, other))
    check_alpha(a.type.dtype, alpha)
    return returned(_plus_scaled(a, b, argument(b, alpha), p.sub), out)


def _operated(operator: str, input: TensorLike, other: TensorLike, out: Tensor | None) -> Tensor:
    """An operator as a function with an ``out``."""
    return returned(OPERATORS[operator].node(input, other), out)


def _plus_scaled(a: Node, b: Node, alpha: Node, row: p.Primitive = p.add) -> Node:
    # of 16-bit floats PyTorch rounds the number first, and the sum once
    return rounded(row(widened(a), p.mul(widened(b), widened(alpha))), a.type.dtype)


def rsub(input: Tensor, other: TensorLike, alpha: Scalar = 1) -> Tensor:
    """``other - alpha * input``. As ``torch.rsub``.

    Example:
        >>> import flamework as torch
        >>> torch.rsub(torch.tensor([1.0]), 5).tolist()
        [4.0]
    """
    tensor_argument(input, "rsub", "input", 1)
    return sub(other, input, alpha=alpha)


def mul(input: TensorLike, other: TensorLike, *, out: Tensor | None = None) -> Tensor:
    """``input * other``, with broadcasting and type promotion; for bools, logical and. As ``torch.mul``.

    Example:
        >>> import flamework as torch
        >>> torch.mul(torch.tensor([1, 2]), 2.5).tolist()
        [2.5, 5.0]
    """
    if out is None and isinstance(input, Tensor):
        return input * other
    return _operated("mul", input, other, out)


def div(
    input: TensorLike, other: TensorLike, *, rounding_mode: str | None = None, out: Tensor | None = None
) -> Tensor:
    """``input / other``. Integers give the default dtype, unless the quotient is rounded. As ``torch.div``.

    Args:
        rounding_mode: None; ``"trunc"`` rounds towards zero as C does; ``"floor"`` rounds down as ``//`` does.

    Raises:
        RuntimeError: another rounding mode; an integer divided by the number 0.

    Example:
        >>> import flamework as torch
        >>> torch.div(torch.tensor([7, -7]), 2, rounding_mode="trunc").tolist()
        [3, -3]
    """
    if rounding_mode is None:
        if out is None and isinstance(input, Tensor):
            return input / other
        return _operated("truediv", input, other, out)
    _check_divisor(input, other)
    quotient = rounded_quotient(input, other, rounding_mode)
    if quotient.type.dtype.kind == FLOATING:
        # a step function: its gradient is zero, but it has one
        for node in float_operands(input, other):
            if node.requires_grad:
                quotient = p.locally_constant(quotient, node)
    return returned(quotient, out)


def _check_divisor(input: TensorLike, other: TensorLike) -> None:
    if isinstance(other, Number) and other == 0 and promoted(input, other).kind < FLOATING and input.numel():
        raise RuntimeError("ZeroDivisionError")


def true_divide(dividend: TensorLike, divisor: TensorLike, *, out: Tensor | None = None) -> Tensor:
    """``dividend / divisor`` without rounding. As ``torch.true_divide``."""
    return div(dividend, divisor, out=out)


def floor_divide(input: TensorLike, other: TensorLike, *, out: Tensor | None = None) -> Tensor:
    """The quotient rounded down, ``input // other``. As ``torch.floor_divide``.

    Example:
        >>> import flamework as torch
        >>> torch.floor_divide(torch.tensor([7, -7]), 2).tolist()
        [3, -4]
    """
    return div(input, other, rounding_mode="floor", out=out)


def remainder(input: TensorLike, other: TensorLike, *, out: Tensor | None = None) -> Tensor:
    """What ``input // other`` leaves, with the sign of the divisor, as Python's ``%``. As ``torch.remainder``.

    Example:
        >>> import flamework as torch
        >>> torch.remainder(torch.tensor([-3, 3]), 2).tolist()
        [1, 1]
    """
    _check_divisor(input, other)
    return returned(OPERATORS["mod"].node(input, other), out)


def fmod(input: TensorLike, other: TensorLike, *, out: Tensor | None = None) -> Tensor:
    """What division rounded towards zero leaves, with the sign of the dividend, as C's ``fmod``. As ``torch.fmod``.

    Example:
        >>> import flamework as torch
        >>> torch.fmod(torch.tensor([-3.0, 3.0]), 2).tolist()
        [-1.0, 1.0]
    """
    tensor_argument(input, "fmod", "input", 1)
    _check_divisor(input, other)
    if promoted(input, other).kind == BOOL:
        raise Undefined("\"fmod_cpu\" not implemented for 'Bool'")
    return returned(p.fmod(*whole_operands(input, other)), out)


def pow(input: TensorLike, exponent: TensorLike, *, out: Tensor | None = None) -> Tensor:
    """``input ** exponent``, element by element; either may be a number. As ``torch.pow``.

    Raises:
        RuntimeError: an integer tensor to a negative integer number.

    Example:
        >>> import flamework as torch
        >>> torch.pow(torch.tensor([1.0, 2.0, 3.0]), 2).tolist()
        [1.0, 4.0, 9.0]
    """
    return returned(power(input, exponent), out)


def float_power(input: TensorLike, exponent: TensorLike, *, out: Tensor | None = None) -> Tensor:
    """``input ** exponent`` in float64, or complex128. As ``torch.float_power``.

    Example:
        >>> import flamework as torch
        >>> torch.float_power(torch.tensor([2]), -1).tolist()
        [0.5]
    """
    dtype = dtypes.complex128 if promoted(input, exponent).kind == COMPLEX else dtypes.float64
    wide = [tensor_of(f.converted(node_of(n), dtype)) if isinstance(n, Tensor) else n for n in (input, exponent)]
    return returned(power(*wide), out)


@factors_first("value")
def addcmul(
    input: Tensor, tensor1: Tensor, tensor2: Tensor, *, value: Scalar = 1, out: Tensor | None = None
) -> Tensor:
    """``input + value * tensor1 * tensor2``. As ``torch.addcmul``.

    Example:
        >>> import flamework as torch
        >>> torch.addcmul(torch.tensor([1.0]), torch.tensor([2.0]), torch.tensor([3.0]), value=0.5).tolist()
        [4.0]
    """
    tensor_argument(input, "addcmul", "input", 1)
    x, a, b = operands(input, tensor1, tensor2)
    return returned(_plus_product(x, a, b, None if value == 1 else argument(a, value)), out)


@rounded_once
def _plus_product(x: Node, a: Node, b: Node, value: Node | None) -> Node:
    return p.add(x, p.mul(a if value is None else p.mul(value, a), b))


@factors_first("value")
def addcdiv(
    input: Tensor, tensor1: Tensor, tensor2: Tensor, *, value: Scalar = 1, out: Tensor | None = None
) -> Tensor:
    """``input + value * tensor1 / tensor2``; floating point only. As ``torch.addcdiv``.

    Example:
        >>> import flamework as torch
        >>> torch.addcdiv(torch.tensor([1.0]), torch.tensor([6.0]), torch.tensor([3.0]), value=0.5).tolist()
        [2.0]
    """
    tensor_argument(input, "addcdiv", "input", 1)
    x, a, b = operands(input, tensor1, tensor2)
    if x.type.dtype.kind < FLOATING:
        raise RuntimeError("addcdiv divides, and integer tensors would need rounding: use floating point tensors")
    return returned(_plus_quotient(x, a, b, None if value == 1 else argument(a, value)), out)


@rounded_once
def _plus_quotient(x: Node, a: Node, b: Node, value: Node | None) -> Node:
    return p.add(x, p.div(a if value is None else p.mul(value, a), b))


def lerp(input: Tensor, end: Tensor, weight: Tensor | float, *, out: Tensor | None = None) -> Tensor:
    """``input + weight * (end - input)``, exact at both ends; floating point only. As ``torch.lerp``.

    Raises:
        RuntimeError: the tensors have different dtypes, or are not floating point.

    Example:
        >>> import flamework as torch
        >>> torch.lerp(torch.tensor([0.0]), torch.tensor([10.0]), 0.25).tolist()
        [2.5]
    """
    start_node = tensor_argument(input, "lerp", "input", 1)
    end_node = tensor_argument(end, "lerp", "end", 2)
    dtype = start_node.type.dtype
    if dtype.kind != COMPLEX:
        floating_only(start_node, "lerp")
    others = [end_node] if not isinstance(weight, Tensor) else [end_node, node_of(weight)]
    for other in others:
        if other.type.dtype is not dtype:
            raise RuntimeError(f"expected dtype {dtype.name} for `end` but got dtype {other.type.dtype.name}")
    a, b, w = operands(input, end, weight)
    return returned(_lerp(a, b, w, None if isinstance(weight, Tensor) else builtins.abs(weight) < 0.5), out)


@rounded_once
def _lerp(a: Node, b: Node, w: Node, is_near: bool | None) -> Node:
    # the end nearer to the result is the one that is corrected, so that both are reached exactly
    if is_near:
        return p.add(a, p.mul(w, p.sub(b, a)))
    near_end = p.sub(b, p.mul(p.sub(b, a), p.sub(constant(w, 1), w)))
    if is_near is not None:
        return near_end
    size = absolute(w) if w.type.dtype.kind == COMPLEX else p.abs(w)
    return p.where(p.lt(size, constant(size, 0.5)), p.add(a, p.mul(w, p.sub(b, a))), near_end)


# ---------------------------------------------------------------------------------------------- limits and extrema


_maximum = forward(Operator(p.maximum), "maximum")
_minimum = forward(Operator(p.minimum), "minimum")


def maximum(input: Tensor, other: Tensor, *, out: Tensor | None = None) -> Tensor:
    """The larger of two elements; NaN if one is NaN. At equality each gets half of the gradient. As ``torch.maximum``.

    Example:
        >>> import flamework as torch
        >>> torch.maximum(torch.tensor([1, 5]), torch.tensor([3, 2])).tolist()
        [3, 5]
    """
    if out is None and isinstance(input, Tensor) and isinstance(other, Tensor):
        return _maximum(input, other)
    return returned(p.maximum(*_two_tensors("maximum", input, other)), out)


def minimum(input: Tensor, other: Tensor, *, out: Tensor | None = None) -> Tensor:
    """The smaller of two elements; NaN if one is NaN. At equality each gets half of the gradient. As ``torch.minimum``.

    Example:
        >>> import flamework as torch
        >>> torch.minimum(torch.tensor([1, 5]), torch.tensor([3, 2])).tolist()
        [1, 2]
    """
    if out is None and isinstance(input, Tensor) and isinstance(other, Tensor):
        return _minimum(input, other)
    return returned(p.minimum(*_two_tensors("minimum", input, other)), out)


def _two_tensors(function: str, input: Tensor, other: Tensor) -> tuple[Node, ...]:
    tensor_argument(input, function, "input", 1)
    tensor_argument(other, function, "other", 2)
    return operands(input, other)


def fmax(input: Tensor, other: Tensor, *, out: Tensor | None = None) -> Tensor:
    """The larger of two elements, NaN only if both are NaN. As ``torch.fmax``.

    Example:
        >>> import flamework as torch
        >>> torch.fmax(torch.tensor([float("nan"), 5.0]), torch.tensor([3.0, 2.0])).tolist()
        [3.0, 5.0]
    """
    a, b = _two_tensors("fmax", input, other)
    return returned(p.where(p.bor(p.lt(a, b), f.is_nan(a)), b, a), out)


def fmin(input: Tensor, other: Tensor, *, out: Tensor | None = None) -> Tensor:
    """The smaller of two elements, NaN only if both are NaN. As ``torch.fmin``.

    Example:
        >>> import flamework as torch
        >>> torch.fmin(torch.tensor([float("nan"), 5.0]), torch.tensor([3.0, 2.0])).tolist()
        [3.0, 2.0]
    """
    a, b = _two_tensors("fmin", input, other)
    return returned(p.where(p.bor(p.lt(b, a), f.is_nan(a)), b, a), out)


def clamp(
    input: Tensor, min: TensorLike | None = None, max: TensorLike | None = None, *, out: Tensor | None = None
) -> Tensor:
    """Limit every element to [min, max]; where min > max the result is max. As ``torch.clamp``.

    Args:
        min: number or tensor, or None for no lower limit.
        max: number or tensor, or None for no upper limit.

    Raises:
        RuntimeError: neither limit is given.

    Example:
        >>> import flamework as torch
        >>> torch.clamp(torch.tensor([-1.0, 0.5, 2.0]), 0, 1).tolist()
        [0.0, 0.5, 1.0]
    """
    if min is None and max is None:
        raise RuntimeError("torch.clamp: At least one of 'min' or 'max' must not be None")
    tensor_argument(input, "clamp", "input", 1)
    limits = [limit for limit in (min, max) if limit is not None]
    x, *bounds = operands(input, *limits)
    low = bounds[0] if min is not None else None
    high = bounds[-1] if max is not None else None
    y = f.clamped(x, low, high)
    if x.type.dtype.kind == FLOATING:
        for limit, node in zip(limits, bounds):
            # a comparison with NaN is false, but the result has to be NaN
            if isinstance(limit, Tensor) or limit != limit:
                y = p.where(f.is_nan(node), node, y)
    return exactly_returned(y, out)


def clamp_min(input: Tensor, min: TensorLike, *, out: Tensor | None = None) -> Tensor:
    """Raise every element to at least ``min``. As ``torch.clamp_min``."""
    return clamp(input, min=min, out=out)


def clamp_max(input: Tensor, max: TensorLike, *, out: Tensor | None = None) -> Tensor:
    """Lower every element to at most ``max``. As ``torch.clamp_max``."""
    return clamp(input, max=max, out=out)


# ------------------------------------------------------------------------------------- functions of two tensors


def atan2(input: Tensor, other: Tensor, *, out: Tensor | None = None) -> Tensor:
    """The angle of the points (other, input) in radians, in (-pi, pi]. As ``torch.atan2``.

    Example:
        >>> import flamework as torch
        >>> torch.atan2(torch.tensor([0.0]), torch.tensor([1.0])).tolist()
        [0.0]
    """
    tensor_argument(input, "atan2", "input", 1)
    tensor_argument(other, "atan2", "other", 2)
    return returned(p.atan2(*float_operands(input, other)), out)


def hypot(input: Tensor, other: Tensor, *, out: Tensor | None = None) -> Tensor:
    """``sqrt(input**2 + other**2)`` without overflow in between; floating point only. As ``torch.hypot``.

    Example:
        >>> import flamework as torch
        >>> torch.hypot(torch.tensor([3.0]), torch.tensor([4.0])).tolist()
        [5.0]
    """
    a, b = _two_tensors("hypot", input, other)
    floating_only(a, "hypot")
    return returned(_hypot(a, b), out)


# Unlike `hypotenuse_of`, with a gradient that is NaN at (0, 0), as PyTorch's is.
hypot_of = p.sloped(
    "hypot_of", lambda g, n: p.mul(g, p.div(n.y, n.out)), lambda g, n: p.mul(g, p.div(n.z, n.out)),
)


@rounded_once
def _hypot(a: Node, b: Node) -> Node:
    if a.requires_grad or b.requires_grad:
        return hypot_of(_hypot(f.cut(a), f.cut(b)), a, b)
    if a.type.dtype is dtypes.float32:
        # the squares of all float32 numbers fit float64
        wide = [f.converted(n, dtypes.float64) for n in (a, b)]
        total = p.add(p.mul(wide[0], wide[0]), p.mul(wide[1], wide[1]))
        return f.converted(p.sqrt(total), dtypes.float32)
    large, small = _ordered_sizes(a, b)
    flat = p.bor(p.eq(large, constant(large, 0)), p.eq(large, constant(large, math.inf)))
    ratio = p.div(small, p.where(flat, constant(large, 1), large))
    scaled = p.mul(large, p.sqrt(p.add(p.mul(ratio, ratio), constant(ratio, 1))))
    return p.where(flat, large, scaled)


def _ordered_sizes(a: Node, b: Node) -> tuple[Node, Node]:
    a, b = p.abs(a), p.abs(b)
    swap = p.lt(a, b)
    return p.where(swap, b, a), p.where(swap, a, b)


def copysign(input: Tensor, other: TensorLike, *, out: Tensor | None = None) -> Tensor:
    """The size of ``input`` with the sign of ``other``. As ``torch.copysign``.

    Example:
        >>> import flamework as torch
        >>> torch.copysign(torch.tensor([1.0, 2.0]), -1).tolist()
        [-1.0, -2.0]
    """
    tensor_argument(input, "copysign", "input", 1)
    return returned(p.copysign(*float_operands(input, other)), out)


def logaddexp(input: Tensor, other: Tensor, *, out: Tensor | None = None) -> Tensor:
    """``log(exp(input) + exp(other))`` without overflow; floating point only. As ``torch.logaddexp``.

    Example:
        >>> import flamework as torch
        >>> torch.logaddexp(torch.tensor([1000.0]), torch.tensor([-1000.0])).tolist()
        [1000.0]
    """
    a, b = _two_tensors("logaddexp", input, other)
    if a.type.dtype.kind == COMPLEX:
        return returned(complex_log_add_exp(a, b), out)
    return returned(f.log_add_exp(floating_only(a, "logaddexp"), b), out)


def logaddexp2(input: Tensor, other: Tensor, *, out: Tensor | None = None) -> Tensor:
    """``log2(2**input + 2**other)`` without overflow; floating point only. As ``torch.logaddexp2``.

    Example:
        >>> import flamework as torch
        >>> torch.logaddexp2(torch.tensor([2000.0]), torch.tensor([2000.0])).tolist()
        [2001.0]
    """
    a, b = _two_tensors("logaddexp2", input, other)
    return returned(f.log_add_exp2(floating_only(a, "logaddexp2_cpu"), b), out)


def _whole(function: str, input: Tensor, other: Tensor) -> tuple[Node, Node]:
    a, b = _two_tensors(function, input, other)
    if a.type.dtype.kind != INTEGER:
        raise Undefined(f"\"{function}_cpu\" not implemented for '{scalar_type(a.type.dtype)}'")
    return a, b


def gcd(input: Tensor, other: Tensor, *, out: Tensor | None = None) -> Tensor:
    """The greatest common divisor, not negative; 0 of two zeros. Integers only. As ``torch.gcd``.

    Example:
        >>> import flamework as torch
        >>> torch.gcd(torch.tensor([12, 0]), torch.tensor([-8, 5])).tolist()
        [4, 5]
    """
    return returned(library.gcd(*_whole("gcd", input, other)), out)


def lcm(input: Tensor, other: Tensor, *, out: Tensor | None = None) -> Tensor:
    """The least common multiple, not negative; 0 if one is 0. Integers only. As ``torch.lcm``.

    Example:
        >>> import flamework as torch
        >>> torch.lcm(torch.tensor([4, 0]), torch.tensor([-6, 5])).tolist()
        [12, 0]
    """
    a, b = _whole("lcm", input, other)
    divisor = library.gcd(a, b)
    nothing = p.eq(divisor, f.constant(divisor, 0))
    quotient = p.floordiv(a, p.where(nothing, f.constant(divisor, 1), divisor))
    return returned(p.abs(p.mul(quotient, b)), out)


def xlogy(input: TensorLike, other: TensorLike, *, out: Tensor | None = None) -> Tensor:
    """``input * log(other)``, and 0 where ``input`` is 0 unless ``other`` is NaN. As ``torch.xlogy``.

    Example:
        >>> import flamework as torch
        >>> torch.xlogy(torch.tensor([0.0, 2.0]), torch.tensor([0.0, 1.0])).tolist()
        [0.0, 0.0]
    """
    x, y = float_operands(input, other)
    return returned(f.x_log_y(x, y), out)


def heaviside(input: Tensor, values: Tensor, *, out: Tensor | None = None) -> Tensor:
    """0 for negative elements, 1 for positive ones, ``values`` at 0; both of one dtype. As ``torch.heaviside``.

    Example:
        >>> import flamework as torch
        >>> torch.heaviside(torch.tensor([-1.0, 0.0, 2.0]), torch.tensor([0.5])).tolist()
        [0.0, 0.5, 1.0]
    """
    if tensor_argument(input, "heaviside", "input", 1).type.dtype is not tensor_argument(
        values, "heaviside", "values", 2
    ).type.dtype:
        raise RuntimeError("heaviside needs input and values of one dtype")
    x, v = operands(input, values)
    zero = constant(x, 0)
    step = f.converted(p.lt(zero, x), x.type.dtype)
    return returned(p.where(p.eq(x, zero), f.cut(v), step), out)


def ldexp(input: Tensor, other: Tensor, *, out: Tensor | None = None) -> Tensor:
    """``input * 2**other``. As ``torch.ldexp``.

    Example:
        >>> import flamework as torch
        >>> torch.ldexp(torch.tensor([1.0]), torch.tensor([3])).tolist()
        [8.0]
    """
    x, n = float_operands(input, other)
    return returned(p.mul(x, FUNCTIONS["exp2"](n) if n.type.dtype.kind == COMPLEX else p.exp2(n)), out)


subtract, multiply, divide = sub, mul, div
clip = clamp
arctan2 = atan2
