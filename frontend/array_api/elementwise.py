"""The array API standard: functions of every element.

In: arrays, and Python numbers beside one. Out: arrays of their common dtype. Read next: ``reductions.py``.
"""

from __future__ import annotations

from collections.abc import Callable

from .. import arithmetic, comparison, complex_numbers, gathering, pointwise
from ..compiler.dtypes import int32, int64
from ..tensor import Tensor
from .arrays import together, with_number


def unary(function: Callable, name: str) -> Callable[[Tensor], Tensor]:
    """A function of one array under the standard's name."""

    def named(x: Tensor, /) -> Tensor:
        return function(x)

    named.__name__ = named.__qualname__ = name
    named.__doc__ = f"The standard's ``{name}``, of every element: :func:`flamework.{function.__name__}`."
    return named


def binary(function: Callable, name: str) -> Callable[[Tensor | complex, Tensor | complex], Tensor]:
    """A function of two arrays, or an array and a Python number, of their common dtype."""

    def named(x1: Tensor | complex, x2: Tensor | complex, /) -> Tensor:
        return function(*together(x1, x2))

    named.__name__ = named.__qualname__ = name
    named.__doc__ = f"The standard's ``{name}``, of every pair: :func:`flamework.{function.__name__}`."
    return named


_UNARY = {
    pointwise: """
        abs acos acosh asin asinh atan atanh ceil cos cosh exp expm1 floor log log10 log1p log2 negative positive
        reciprocal sin sinh sqrt square tan tanh trunc
    """,
    comparison: "bitwise_invert:bitwise_not isfinite isinf isnan logical_not signbit",
    complex_numbers: "conj:conj_physical real imag",
}
_BINARY = {
    arithmetic: """
        add atan2 copysign divide floor_divide hypot logaddexp maximum minimum multiply pow remainder subtract
    """,
    comparison: """
        bitwise_and bitwise_left_shift bitwise_or bitwise_right_shift bitwise_xor equal:eq greater greater_equal less
        less_equal logical_and logical_or logical_xor not_equal
    """,
}

for _made, _table in ((unary, _UNARY), (binary, _BINARY)):
    for _module, _names in _table.items():
        for _entry in _names.split():
            _name, _, _other = _entry.partition(":")
            globals()[_name] = _made(getattr(_module, _other or _name), _name)


def round(x: Tensor, /) -> Tensor:
    """The nearest integers, even ones where two are equally near; of both parts of complex numbers."""
    if x.is_complex():
        return complex_numbers.complex(pointwise.round(x.real), pointwise.round(x.imag))
    return pointwise.round(x)


def sign(x: Tensor, /) -> Tensor:
    """-1, 0 or 1; of a complex number, it divided by its absolute value."""
    return pointwise.sgn(x)


def clip(x: Tensor, /, min: Tensor | float | None = None, max: Tensor | float | None = None) -> Tensor:
    """An array with what is below ``min`` or above ``max`` replaced by them; of the array's dtype.

    Raises:
        TypeError: a bound that is a Python number of a higher kind than the array.
    """
    for choose, bound in ((arithmetic.maximum, min), (arithmetic.minimum, max)):
        if bound is not None:
            if not isinstance(bound, Tensor):
                with_number(x.dtype, bound)
                bound = x.new_full((), bound)
            x = choose(x, bound.to(x.dtype))
    return x.clone() if min is None and max is None else x


def nextafter(x1: Tensor | float, x2: Tensor | float, /) -> Tensor:
    """The floating point number next to ``x1`` in the direction of ``x2``.

    Raises:
        TypeError: the numbers are neither float32 nor float64.
    """
    x, y = together(x1, x2)
    integer = {4: int32, 8: int64}.get(x.dtype.itemsize)
    if integer is None or not x.is_floating_point():
        raise TypeError(f"nextafter(): the numbers must be float32 or float64, but got {x.dtype}")
    shape = (x + y).shape
    x, y = x.expand(shape).clone(), y.expand(shape)
    # numbers of one sign are ordered as the integers of their bits
    bits = x.view(integer)
    away = (y > x) == (x > 0)
    found = gathering.where(away, bits + 1, bits - 1).view(x.dtype)
    smallest = arithmetic.copysign(bits.new_ones(()).view(x.dtype), y)
    found = gathering.where(x == 0, smallest, found)
    found = gathering.where(x == y, y, found)
    return gathering.where(comparison.isnan(x) | comparison.isnan(y), x + y, found)


def where(condition: Tensor, x1: Tensor | complex, x2: Tensor | complex, /) -> Tensor:
    """``x1`` where the condition holds, ``x2`` elsewhere."""
    return gathering.where(condition, *together(x1, x2))
