"""The error function, its relatives and the gamma family, written over the notation of ``vmath_builder.py``.

All are straight lines like the other functions, except lgamma, which is the C library's. digamma works in binary64
throughout and is meant for occasional use.

Read next: ``vmath.py``, which hands all functions to numba.
"""

from __future__ import annotations

import math

from llvmlite import ir

from .vmath_builder import BINARY32, BINARY64, Emitter, Value
from .vmath_exponential import coefficients, exp, expm1_polynomial, log, power_of_two, reduce_exponent, scale
from .vmath_trigonometric import tan

_TWO_OVER_ROOT_PI = 2.0 / math.sqrt(math.pi)


def _erf_below_one(m: Emitter, x: Value) -> Value:
    """erf(x) for |x| <= 1."""
    return m.fma(x, m.horner(x * x, coefficients("erf", x.format)), x)


def erf(m: Emitter, x: Value) -> Value:
    """The error function: a polynomial up to 1, then 1 - e**(a polynomial that approximates log(erfc))."""
    fmt = x.format
    magnitude = m.fabs(x)
    # erf rounds to 1 below the second number
    name, last = ("log_erfc_short", 4.0) if fmt is BINARY32 else ("log_erfc", 6.0)
    beyond_one = m.select(magnitude > last, last, magnitude) - 1.0
    shifted, r = reduce_exponent(m, m.polynomial(beyond_one, coefficients(name, fmt)))
    power = power_of_two(m, shifted)
    far = (1.0 - power) - power * expm1_polynomial(m, r)
    return m.copysign(m.select(magnitude > 1.0, far, _erf_below_one(m, magnitude)), x)


def erfc(m: Emitter, x: Value) -> Value:
    """1 - erf(x), relatively accurate for large x, with gradual underflow.

    erfc(x) e**(x**2) (x + 4) is a polynomial in (x - 4) / (x + 4) (after M. M. Shepherd and J. G. Laframboise, 1981),
    and x**2 goes into the exponential with its rounding error.
    """
    fmt = x.format
    name, last = ("erfcx_short", 10.1) if fmt is BINARY32 else ("erfcx", 27.3)  # erfc underflows before that
    magnitude = m.fabs(x)
    a = m.select(magnitude > last, last, magnitude)
    divisor, divisor_error = m.two_sum(a, m.constant(fmt, 4.0))
    reciprocal = 1.0 / divisor
    reciprocal = m.fma(reciprocal, m.fma(-divisor_error, reciprocal, m.fma(-divisor, reciprocal, 1.0)), reciprocal)
    polynomial = m.horner((a - 4.0) * reciprocal, coefficients(name, fmt))
    scaled, scaled_error = m.two_product(polynomial, reciprocal)
    square, square_error = m.two_product(a, a)
    shifted, r = reduce_exponent(m, -square)
    far = scale(m, shifted, scaled + m.fma(scaled, expm1_polynomial(m, r - square_error), scaled_error))
    far = m.select(x < 0.0, 2.0 - far, far)
    return m.select((x < 0.8) & (magnitude <= 1.0), 1.0 - _erf_below_one(m, x), far)


def erfinv(m: Emitter, x: Value) -> Value:
    """The inverse of erf; infinite at -1 and 1, NaN outside.

    A polynomial in w = -log(1 - x**2), in the tail in sqrt(w) (after M. Giles, 2010), is enough for binary32. For
    binary64 three terms of the inverse function's Taylor series about that follow.
    """
    fmt = x.format
    y = m.fabs(x)
    complement = 1.0 - y
    w = -log(m, complement * (1.0 + y))
    centre = m.horner(w, coefficients("erfinv", fmt))
    tail = m.polynomial(m.sqrt(w) - 3.0, coefficients("erfinv_tail_short" if fmt is BINARY32 else "erfinv_tail", fmt))
    z = m.fma(y, m.select(w < 5.0, centre, tail), y)
    if fmt is BINARY64:
        error = m.select(y < 0.5, y - _erf_below_one(m, z), erfc(m, z) - complement)
        step = error / (exp(m, -(z * z)) * _TWO_OVER_ROOT_PI)
        cubic = m.fma(z * z, 4.0, 1.0) * (step * (1.0 / 3.0))
        z = z + m.fma(step * step, z + cubic, step)
    z = m.select(y < 1.0, z, m.select(y == 1.0, m.constant(fmt, math.inf), math.nan))
    return m.copysign(z, x)


_DIGAMMA_ROOT = (1.4616321449683622, 9.549995429965697e-17)
_DIGAMMA_SHIFT = 6

# B_2k / (2 k), k = 1 ... 9: psi(x) = log(x) - 1 / (2 x) - the sum of these times x**(-2 k)
_DIGAMMA_SERIES = (1 / 12, -1 / 120, 1 / 252, -1 / 240, 1 / 132, -691 / 32760, 1 / 12, -3617 / 8160, 43867 / 14364)


def digamma(m: Emitter, x: Value) -> Value:
    """The derivative of lgamma; -inf at 0, inf at -0, NaN at negative integers, as torch.digamma."""
    wide = m.widen(x)
    reflected = wide < 0.0
    a = m.select(reflected, 1.0 - wide, wide)
    result = m.select(a <= 3.0, _digamma_near_root(m, a), _digamma_from_three(m, a))
    # psi(x) = psi(1 - x) - pi / tan(pi x), with the period of the tangent taken off exactly
    fraction = wide - m.rint(wide)
    result = m.select(reflected, result - math.pi / tan(m, fraction * math.pi), result)
    result = m.select(reflected & (fraction == 0.0), math.nan, result)
    result = m.select(wide == 0.0, m.copysign(math.inf, -wide), result)
    return m.narrow(m.select(wide == math.inf, wide, result), x.format)


def _digamma_near_root(m: Emitter, a: Value) -> Value:
    """psi(a) for 0 < a <= 3, where the root near 1.46 forbids the sums of the general case.

    One step of psi(a + 1) = psi(a) + 1 / a, which does not cancel here, leads to [1, 2]; there the root is a factor.
    """
    below, above = a < 1.0, a > 2.0
    b = m.select(below, a + 1.0, m.select(above, a - 1.0, a))
    distance = (b - _DIGAMMA_ROOT[0]) - _DIGAMMA_ROOT[1]
    result = m.fma(distance, m.polynomial(b - 1.5, coefficients("digamma", BINARY64)), distance)
    step = 1.0 / m.select(below, -a, b)
    return result + m.select(below | above, step, 0.0)


def _digamma_from_three(m: Emitter, a: Value) -> Value:
    """psi(a) for a > 3: the asymptotic series at a + 6 less the sum of 1 / (a + i), or at a itself if it is large."""
    small = a < 10.0
    # the sum as the quotient of the derivative of a product by the product
    product = m.select(small, a, 1.0)
    factor, derivative = product, m.constant(BINARY64, 1.0)
    for _ in range(1, _DIGAMMA_SHIFT):
        factor = factor + 1.0
        derivative = m.fma(derivative, factor, product)
        product = product * factor
    shifted = m.select(small, factor + 1.0, a)
    inverse = 1.0 / shifted
    square = inverse * inverse
    series = m.fma(square, m.horner(square, _DIGAMMA_SERIES), inverse * 0.5)
    return (log(m, shifted) - series) - m.select(small, derivative / product, 0.0)


def lgamma(m: Emitter, x: Value) -> Value:
    """log(|gamma(x)|) by the C library, in binary64. A loop around it stays scalar."""
    kind = BINARY64.ir_type
    function = m.module.globals.get("lgamma")
    if function is None:
        function = ir.Function(m.module, ir.FunctionType(kind, [kind]), "lgamma")
    return m.narrow(Value(m, m.builder.call(function, [m.widen(x).ir])), x.format)
