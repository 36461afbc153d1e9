"""Comparison, logic and bits, element by element, and questions about whole tensors.

Comparisons promote their operands as arithmetic does and give bool tensors. ``equal`` and ``allclose`` give Python
bools and so compute. Read next: ``reduction.py``.
"""

from __future__ import annotations

import math

from . import formulas as f
from .arguments import returned, scalar_type, tensor_argument
from .compiler import dtypes, primitives as p
from .compiler.dtypes import BOOL, COMPLEX, FLOATING
from .compiler.ir import Node
from .formulas import argument, constant
from .formulas_complex import absolute, parts
from .recording import node_of, operands, read
from .tensor import Tensor

TensorLike = Tensor | int | float | bool


def _compared(function: str, input: Tensor, other: TensorLike) -> tuple[Node, ...]:
    tensor_argument(input, function, "input", 1)
    return operands(input, other)


def eq(input: Tensor, other: TensorLike, *, out: Tensor | None = None) -> Tensor:
    """Whether elements are equal, as a bool tensor. As ``torch.eq``.

    Example:
        >>> import flamework as torch
        >>> torch.eq(torch.tensor([1, 2]), torch.tensor([1, 3])).tolist()
        [True, False]
    """
    return returned(p.eq(*_compared("eq", input, other)), out)


def ne(input: Tensor, other: TensorLike, *, out: Tensor | None = None) -> Tensor:
    """Whether elements differ, as a bool tensor; NaN differs from itself. As ``torch.ne``.

    Example:
        >>> import flamework as torch
        >>> torch.ne(torch.tensor([1, 2]), 1).tolist()
        [False, True]
    """
    return returned(p.ne(*_compared("ne", input, other)), out)


def lt(input: Tensor, other: TensorLike, *, out: Tensor | None = None) -> Tensor:
    """Whether ``input < other``, as a bool tensor. As ``torch.lt``.

    Example:
        >>> import flamework as torch
        >>> torch.lt(torch.tensor([1, 2]), 2).tolist()
        [True, False]
    """
    return returned(p.lt(*_compared("lt", input, other)), out)


def le(input: Tensor, other: TensorLike, *, out: Tensor | None = None) -> Tensor:
    """Whether ``input <= other``, as a bool tensor. As ``torch.le``.

    Example:
        >>> import flamework as torch
        >>> torch.le(torch.tensor([1, 3]), 2).tolist()
        [True, False]
    """
    return returned(p.le(*_compared("le", input, other)), out)


def gt(input: Tensor, other: TensorLike, *, out: Tensor | None = None) -> Tensor:
    """Whether ``input > other``, as a bool tensor. As ``torch.gt``.

    Example:
        >>> import flamework as torch
        >>> torch.gt(torch.tensor([1, 3]), 2).tolist()
        [False, True]
    """
    a, b = _compared("gt", input, other)
    return returned(p.lt(b, a), out)


def ge(input: Tensor, other: TensorLike, *, out: Tensor | None = None) -> Tensor:
    """Whether ``input >= other``, as a bool tensor. As ``torch.ge``.

    Example:
        >>> import flamework as torch
        >>> torch.ge(torch.tensor([1, 2]), 2).tolist()
        [False, True]
    """
    a, b = _compared("ge", input, other)
    return returned(p.le(b, a), out)


def isnan(input: Tensor) -> Tensor:
    """Whether elements are NaN. As ``torch.isnan``.

    Example:
        >>> import flamework as torch
        >>> torch.isnan(torch.tensor([1.0, float("nan")])).tolist()
        [False, True]
    """
    x = node_of(input)
    return returned(f.is_nan(x), None)


def isinf(input: Tensor) -> Tensor:
    """Whether elements are plus or minus infinity. As ``torch.isinf``.

    Example:
        >>> import flamework as torch
        >>> torch.isinf(torch.tensor([1.0, float("-inf")])).tolist()
        [False, True]
    """
    x = node_of(input)
    if x.type.dtype.kind == COMPLEX:
        return returned(p.bor(*[p.eq(p.abs(part), constant(part, math.inf)) for part in parts(x)]), None)
    return returned(_never(x) if x.type.dtype.kind != FLOATING else p.eq(p.abs(x), constant(x, math.inf)), None)


def isfinite(input: Tensor) -> Tensor:
    """Whether elements are neither infinite nor NaN. As ``torch.isfinite``.

    Example:
        >>> import flamework as torch
        >>> torch.isfinite(torch.tensor([1.0, float("inf"), float("nan")])).tolist()
        [True, False, False]
    """
    return returned(_finite(node_of(input)), None)


def _never(x: Node) -> Node:
    return p.ne(x, x)


def _finite(x: Node) -> Node:
    if x.type.dtype.kind == COMPLEX:
        return p.band(*map(_finite, parts(x)))
    if x.type.dtype.kind != FLOATING:
        return p.eq(x, x)
    return p.lt(p.abs(x), constant(x, math.inf))


def isposinf(input: Tensor, *, out: Tensor | None = None) -> Tensor:
    """Whether elements are plus infinity. As ``torch.isposinf``."""
    x = node_of(input)
    if x.type.dtype.kind == COMPLEX:
        raise RuntimeError("isposinf does not support complex inputs.")
    return returned(_never(x) if x.type.dtype.kind != FLOATING else p.eq(x, constant(x, math.inf)), out)


def isneginf(input: Tensor, *, out: Tensor | None = None) -> Tensor:
    """Whether elements are minus infinity. As ``torch.isneginf``."""
    x = node_of(input)
    if x.type.dtype.kind == COMPLEX:
        raise RuntimeError("isneginf does not support complex inputs.")
    return returned(_never(x) if x.type.dtype.kind != FLOATING else p.eq(x, constant(x, -math.inf)), out)


def isreal(input: Tensor) -> Tensor:
    """Whether elements have no imaginary part. As ``torch.isreal``."""
    x = node_of(input)
    if x.type.dtype.kind == COMPLEX:
        im = p.imag(x)
        return returned(p.eq(im, constant(im, 0)), None)
    return returned(f.filled(x.type.shape, dtypes.bool_, x.type.device, True), None)


def signbit(input: Tensor, *, out: Tensor | None = None) -> Tensor:
    """Whether the sign of elements is minus, also that of -0.0. As ``torch.signbit``.

    Example:
        >>> import flamework as torch
        >>> torch.signbit(torch.tensor([-0.0, 0.0])).tolist()
        [True, False]
    """
    x = node_of(input)
    if x.type.dtype.kind == COMPLEX:
        raise p.Undefined("signbit is not implemented for complex tensors.")
    if x.type.dtype.kind == FLOATING:
        x = p.copysign(constant(x, 1), x)
    return returned(p.lt(x, constant(x, 0)), out)


def isclose(
    input: Tensor, other: Tensor, rtol: float = 1e-05, atol: float = 1e-08, equal_nan: bool = False
) -> Tensor:
    """Whether ``|input - other| <= atol + rtol * |other|``, or the elements are equal. As ``torch.isclose``.

    Args:
        equal_nan: whether two NaN count as equal.

    Raises:
        RuntimeError: tensors of different dtypes, or a negative tolerance.

    Example:
        >>> import flamework as torch
        >>> torch.isclose(torch.tensor([1.0, 2.0]), torch.tensor([1.0 + 1e-7, 2.1])).tolist()
        [True, False]
    """
    left = tensor_argument(input, "isclose", "input", 1).type.dtype
    right = tensor_argument(other, "isclose", "other", 2).type.dtype
    if left is not right:
        raise RuntimeError(f"{scalar_type(left)} did not match {scalar_type(right)}")
    for name, tolerance in (("rtol", rtol), ("atol", atol)):
        if tolerance < 0:
            raise RuntimeError(f"{name} must be greater than or equal to zero, but got {tolerance}")
    a, b = operands(input, other)
    same = p.eq(a, b)
    if left.kind < FLOATING:
        # the difference of integers is exact, the tolerance is not an integer
        if left.kind == BOOL:
            return returned(same, None)
        gap = f.converted(p.abs(p.sub(a, b)), dtypes.float64)
        size = f.converted(p.abs(b), dtypes.float64)
    else:
        if equal_nan:
            same = p.bor(same, p.band(f.is_nan(a), f.is_nan(b)))
        length = absolute if left.kind == COMPLEX else p.abs
        gap, size = length(p.sub(a, b)), length(b)
    allowed = p.add(p.mul(size, argument(size, rtol)), argument(size, atol))
    return returned(p.bor(same, p.band(_finite(gap), p.le(gap, allowed))), None)


def allclose(
    input: Tensor, other: Tensor, rtol: float = 1e-05, atol: float = 1e-08, equal_nan: bool = False
) -> bool:
    """Whether all elements are close in the sense of :func:`isclose`; computes. As ``torch.allclose``.

    Example:
        >>> import flamework as torch
        >>> torch.allclose(torch.tensor([1.0]), torch.tensor([1.0 + 1e-7]))
        True
    """
    close = node_of(isclose(input, other, rtol, atol, equal_nan))
    return bool(read(f.all_true(close, tuple(range(close.ndim)))))


def equal(input: Tensor, other: Tensor) -> bool:
    """Whether two tensors have the same shape and equal elements; computes. As ``torch.equal``.

    Example:
        >>> import flamework as torch
        >>> torch.equal(torch.tensor([1, 2]), torch.tensor([1, 2]))
        True
    """
    left = tensor_argument(input, "equal", "input", 1)
    right = tensor_argument(other, "equal", "other", 2)
    if left.type.shape != right.type.shape:
        return False
    same = p.eq(*operands(input, other))
    return bool(read(f.all_true(same, tuple(range(same.ndim)))))


# --------------------------------------------------------------------------------------------------------------- logic


def truth(x: Node) -> Node:
    """Whether elements are not 0."""
    return x if x.type.dtype.kind == BOOL else p.ne(x, constant(x, 0))


def logical_and(input: Tensor, other: Tensor, *, out: Tensor | None = None) -> Tensor:
    """Whether both elements are not 0. As ``torch.logical_and``.

    Example:
        >>> import flamework as torch
        >>> torch.logical_and(torch.tensor([0, 1, 2]), torch.tensor([1, 0, 3])).tolist()
        [False, False, True]
    """
    return returned(p.band(*_truths("logical_and", input, other)), out)


def logical_or(input: Tensor, other: Tensor, *, out: Tensor | None = None) -> Tensor:
    """Whether one of two elements is not 0. As ``torch.logical_or``.

    Example:
        >>> import flamework as torch
        >>> torch.logical_or(torch.tensor([0, 1]), torch.tensor([0, 0])).tolist()
        [False, True]
    """
    return returned(p.bor(*_truths("logical_or", input, other)), out)


def logical_xor(input: Tensor, other: Tensor, *, out: Tensor | None = None) -> Tensor:
    """Whether exactly one of two elements is not 0. As ``torch.logical_xor``.

    Example:
        >>> import flamework as torch
        >>> torch.logical_xor(torch.tensor([0, 1]), torch.tensor([1, 2])).tolist()
        [True, False]
    """
    return returned(p.bxor(*_truths("logical_xor", input, other)), out)


def logical_not(input: Tensor, *, out: Tensor | None = None) -> Tensor:
    """Whether elements are 0. As ``torch.logical_not``.

    Example:
        >>> import flamework as torch
        >>> torch.logical_not(torch.tensor([0, 3])).tolist()
        [True, False]
    """
    x = node_of(input)
    return returned(p.bnot(x) if x.type.dtype.kind == BOOL else p.eq(x, constant(x, 0)), out)


def _truths(function: str, input: Tensor, other: Tensor) -> tuple[Node, Node]:
    tensor_argument(input, function, "input", 1)
    tensor_argument(other, function, "other", 2)
    a, b = operands(input, other)
    return truth(a), truth(b)


# ---------------------------------------------------------------------------------------------------------------- bits


def _bits(function: str, *args: TensorLike, bools: bool = True) -> tuple[Node, ...]:
    nodes = operands(*args)
    kind = nodes[0].type.dtype.kind
    if kind >= FLOATING or (kind == BOOL and not bools):
        raise p.Undefined(f"\"{function}\" not implemented for '{scalar_type(nodes[0].type.dtype)}'")
    return nodes


def bitwise_and(input: TensorLike, other: TensorLike, *, out: Tensor | None = None) -> Tensor:
    """And of the bits of integers, or of bools. As ``torch.bitwise_and``.

    Example:
        >>> import flamework as torch
        >>> torch.bitwise_and(torch.tensor([6]), 3).tolist()
        [2]
    """
    return returned(p.band(*_bits("bitwise_and", input, other)), out)


def bitwise_or(input: TensorLike, other: TensorLike, *, out: Tensor | None = None) -> Tensor:
    """Or of the bits of integers, or of bools. As ``torch.bitwise_or``.

    Example:
        >>> import flamework as torch
        >>> torch.bitwise_or(torch.tensor([6]), 3).tolist()
        [7]
    """
    return returned(p.bor(*_bits("bitwise_or", input, other)), out)


def bitwise_xor(input: TensorLike, other: TensorLike, *, out: Tensor | None = None) -> Tensor:
    """Exclusive or of the bits of integers, or of bools. As ``torch.bitwise_xor``.

    Example:
        >>> import flamework as torch
        >>> torch.bitwise_xor(torch.tensor([6]), 3).tolist()
        [5]
    """
    return returned(p.bxor(*_bits("bitwise_xor", input, other)), out)


def bitwise_not(input: Tensor, *, out: Tensor | None = None) -> Tensor:
    """The bits of integers inverted, or the bools. As ``torch.bitwise_not``.

    Example:
        >>> import flamework as torch
        >>> torch.bitwise_not(torch.tensor([0, 1])).tolist()
        [-1, -2]
    """
    return returned(p.bnot(*_bits("bitwise_not", input)), out)


def bitwise_left_shift(input: TensorLike, other: TensorLike, *, out: Tensor | None = None) -> Tensor:
    """Integers shifted left by ``other`` bits. As ``torch.bitwise_left_shift``.

    Example:
        >>> import flamework as torch
        >>> torch.bitwise_left_shift(torch.tensor([1, 3]), 2).tolist()
        [4, 12]
    """
    return returned(p.shl(*_bits("lshift_cpu", input, other, bools=False)), out)


def bitwise_right_shift(input: TensorLike, other: TensorLike, *, out: Tensor | None = None) -> Tensor:
    """Integers shifted right by ``other`` bits; the sign is kept. As ``torch.bitwise_right_shift``.

    Example:
        >>> import flamework as torch
        >>> torch.bitwise_right_shift(torch.tensor([8, -8]), 2).tolist()
        [2, -2]
    """
    return returned(p.shr(*_bits("rshift_cpu", input, other, bools=False)), out)


not_equal, less, less_equal, greater, greater_equal = ne, lt, le, gt, ge
