"""Exponentials, logarithms and powers, written over the notation of ``vmath_builder.py``.

Each function takes the emitter `m` and its arguments and returns a `Value` of the same format. The shared idea is
Cody and Waite's (1980): split the argument into a multiple of log 2, which becomes an exponent by integer
arithmetic, and a remainder below log(2) / 2, which goes through a polynomial. Where a result is the quotient or sum of
two rounded numbers, the rounding errors are carried along in a second number (Dekker 1971), because two units in the
last place do not leave room for three of them.

Read next: ``vmath_trigonometric.py``.
"""

from __future__ import annotations

import math

from .vmath_builder import BINARY32, BINARY64, Emitter, Format, Value
from .vmath_coefficients import COEFFICIENTS

_INF = math.inf
_NAN = math.nan

# log(2), log2(10) and their like as the sum of a rounded number and a rounded rest, to twice the precision.
_LN2 = {32: (0.6931471824645996, -1.9046542121259336e-09), 64: (0.6931471805599453, 2.3190468138462996e-17)}
_LOG2_E = 1.4426950408889634
_INVERSE_LN2 = {32: (1.4426950216293335, 1.925963033500011e-08), 64: (1.4426950408889634, 2.0355273740931033e-17)}
_INVERSE_LN10 = {32: (0.4342944920063019, -1.0103049952192578e-08), 64: (0.4342944819032518, 1.098319650216765e-17)}
# log10(2) with so few bits in its high part that k times it is exact
_LOG10_2 = {32: (0.301025390625, 4.605039066518657e-06), 64: (0.3010299956640665, -8.532344317057107e-14)}
# 2 / log(2) and 2 / (3 log(2)): the first terms of log2((1 + s) / (1 - s))
_LOG2_ATANH = ((2.8853900817779268, 4.0710547481862066e-17), (0.9617966939259756, 5.0577616648125907e-17))


def coefficients(name: str, fmt: Format) -> tuple[float, ...]:
    """The table of polynomial coefficients for `fmt`."""
    return COEFFICIENTS[name][fmt.width]


# The exponential and its relatives -------------------------------------------------------------------------------


def reduce_exponent(m: Emitter, x: Value) -> tuple[Value, Value]:
    """Split x = n log(2) + r with |r| <= log(2) / 2. Returns the bits of n + magic, whose low bits are n, and r.

    The magic number rounds to an integer without a conversion, which would be undefined for a NaN.
    """
    fmt = x.format
    high, low = _LN2[fmt.width]
    shifted = m.fma(x, _LOG2_E, fmt.round_magic)
    n = shifted - fmt.round_magic
    r = m.fma(n, -low, m.fma(n, -high, x))  # the first step is exact
    return m.bits(shifted), r


def power_of_two(m: Emitter, shifted: Value, offset: int = 0) -> Value:
    """2**(n + offset) from the bits of n + magic; n + offset must be the exponent of a normal number."""
    fmt = shifted.format
    return m.float_from_bits((shifted << fmt.fraction_bits) + (fmt.one_bits + (offset << fmt.fraction_bits)))


def scale(m: Emitter, shifted: Value, factor: Value) -> Value:
    """`factor` times 2**n, in two steps, so that it overflows, or underflows gradually, with a single rounding."""
    fmt = shifted.format
    half = shifted >> 1
    first = m.float_from_bits((half << fmt.fraction_bits) + fmt.one_bits)
    second = m.float_from_bits(((shifted - half) << fmt.fraction_bits) + fmt.one_bits)
    return factor * first * second


def expm1_polynomial(m: Emitter, r: Value) -> Value:
    """exp(r) - 1 for a reduced r."""
    return m.fma(r * r, m.polynomial(r, coefficients("expm1", r.format)), r)


def exp(m: Emitter, x: Value) -> Value:
    """e**x."""
    fmt = x.format
    # Beyond these bounds the result is infinity or zero, and within them n fits the scaling by two steps.
    x = m.clamp(x, -104.0, 89.0) if fmt is BINARY32 else m.clamp(x, -746.0, 710.0)
    shifted, r = reduce_exponent(m, x)
    return scale(m, shifted, expm1_polynomial(m, r) + 1.0)


def exp2(m: Emitter, x: Value) -> Value:
    """2**x, exact for integers."""
    fmt = x.format
    x = m.clamp(x, -151.0, 129.0) if fmt is BINARY32 else m.clamp(x, -1076.0, 1025.0)
    shifted = x + fmt.round_magic
    high, low = _LN2[fmt.width]
    fraction = x - (shifted - fmt.round_magic)
    r = m.fma(fraction, high, fraction * low)
    return scale(m, m.bits(shifted), expm1_polynomial(m, r) + 1.0)


def expm1(m: Emitter, x: Value) -> Value:
    """e**x - 1, relatively accurate near zero."""
    fmt = x.format
    bounded = m.clamp(x, -18.0, 89.0) if fmt is BINARY32 else m.clamp(x, -40.0, 710.0)
    shifted, r = reduce_exponent(m, bounded)
    p = expm1_polynomial(m, r)
    half_power = power_of_two(m, shifted, -1)  # half, because 2**n itself overflows just below the largest result
    result = m.fma(half_power, p, half_power - 0.5) * 2.0
    # The halving would lose a bit of a subnormal number, and the sum the sign of -0.
    return m.select(m.fabs(x) < 2.0 ** -(fmt.precision + 1), x, result)


def _expm1_of_negative(m: Emitter, x: Value) -> tuple[Value, Value]:
    """exp(x) - 1 for -2 * precision < x <= 0 as a sum of two numbers."""
    shifted, r = reduce_exponent(m, x)
    rest = r * r * m.polynomial(r, coefficients("expm1", x.format))
    p, p_error = m.two_sum_fast(r, rest)
    power = power_of_two(m, shifted)
    base, base_error = m.two_sum_fast(-1.0, power)
    total, error = m.two_sum_fast(base, power * p)
    return total, m.fma(power, p_error, error) + base_error


def divide_sums(m: Emitter, a: Value, b: Value, b_error: Value, a_error: Value | None = None) -> Value:
    """(a + a_error) / (b + b_error) with little more than the last rounding's error; a and b finite, b normal."""
    reciprocal = 1.0 / b
    quotient = a * reciprocal
    remainder = m.fma(-quotient, b_error, m.fma(-quotient, b, a))
    if a_error is not None:
        remainder = remainder + a_error
    return m.fma(remainder, reciprocal, quotient)


def tanh(m: Emitter, x: Value) -> Value:
    """The hyperbolic tangent, as -(e**(-2|x|) - 1) / (e**(-2|x|) + 1)."""
    fmt = x.format
    magnitude = m.fabs(x)
    bound = 10.0 if fmt is BINARY32 else 20.0  # from here on the result rounds to one
    bounded = m.select(magnitude > bound, bound, magnitude)
    t, t_error = _expm1_of_negative(m, bounded * -2.0)
    denominator, denominator_error = m.two_sum_fast(2.0, t)
    result = divide_sums(m, -t, denominator, denominator_error + t_error, -t_error)
    return m.copysign(m.select(magnitude < 2.0 ** -(fmt.precision // 2 + 2), magnitude, result), x)


def sigmoid(m: Emitter, x: Value) -> Value:
    """1 / (1 + e**-x), with gradual underflow for large negative x."""
    fmt = x.format
    bound = 104.0 if fmt is BINARY32 else 746.0
    magnitude = m.fabs(x)
    shifted, r = reduce_exponent(m, -m.select(magnitude > bound, bound, magnitude))
    z = scale(m, shifted, expm1_polynomial(m, r) + 1.0)
    denominator, denominator_error = m.two_sum_fast(1.0, z)
    return divide_sums(m, m.select(x < 0.0, z, 1.0), denominator, denominator_error)


def _sinh_cosh_parts(m: Emitter, x: Value) -> tuple[Value, Value, Value, Value]:
    """For x >= 0: a quarter of 2**n, a quarter of 2**-n, sinh(r) and cosh(r) - 1, with x = n log(2) + r."""
    fmt = x.format
    bound = 89.5 if fmt is BINARY32 else 710.6  # sinh and cosh overflow just below
    bounded = m.select(x > bound, bound, x)
    shifted, r = reduce_exponent(m, bounded)
    square = r * r
    sinh_r = m.fma(r * square, m.polynomial(square, coefficients("sinh", fmt)), r)
    cosh_r_less_one = square * m.polynomial(square, coefficients("cosh", fmt))
    grown = power_of_two(m, shifted, -2)
    # 2**-n from the negated n; where it would not be normal it is far below the rounding of the sum.
    negated = m.bits(fmt.round_magic - (m.float_from_bits(shifted) - fmt.round_magic))
    shrunk = m.select(bounded > 0.5 * bound, 0.0, power_of_two(m, negated, -2))
    return grown, shrunk, sinh_r, cosh_r_less_one


def sinh(m: Emitter, x: Value) -> Value:
    """The hyperbolic sine, from the addition theorem, so that nothing cancels near zero."""
    magnitude = m.fabs(x)
    grown, shrunk, sinh_r, cosh_r_less_one = _sinh_cosh_parts(m, magnitude)
    difference = grown - shrunk
    result = m.fma(grown + shrunk, sinh_r, m.fma(difference, cosh_r_less_one, difference)) * 2.0
    tiny = magnitude < 2.0 ** -(x.format.precision // 2 + 2)
    return m.copysign(m.select(tiny, magnitude, result), x)


def cosh(m: Emitter, x: Value) -> Value:
    """The hyperbolic cosine."""
    grown, shrunk, sinh_r, cosh_r_less_one = _sinh_cosh_parts(m, m.fabs(x))
    total = grown + shrunk
    return m.fma(grown - shrunk, sinh_r, m.fma(total, cosh_r_less_one, total)) * 2.0


# Logarithms -------------------------------------------------------------------------------------------------------


def split_exponent(m: Emitter, x: Value, may_be_subnormal: bool = True) -> tuple[Value, Value]:
    """Split a positive finite x = 2**k (1 + f) with sqrt(1/2) <= 1 + f < sqrt(2); returns k as a float, and f."""
    fmt = x.format
    root_bits = {32: 0x3F3504F3, 64: 0x3FE6A09E667F3BCD}[fmt.width]
    bias = 2.0**fmt.fraction_bits + fmt.bias
    if may_be_subnormal:
        subnormal = x < fmt.smallest_normal
        x = m.select(subnormal, x * 2.0**fmt.precision, x)
        bias = m.select(subnormal, m.constant(fmt, bias + fmt.precision), bias)
    # Biased, so that the exponent stays positive: OR-ing it into 2**(precision - 1) then converts it to a float.
    offset = m.bits(x) + (fmt.one_bits - root_bits)
    biased = m.float_from_bits((offset >> fmt.fraction_bits) | fmt.power_bits(fmt.fraction_bits))
    mantissa = m.float_from_bits((offset & ((1 << fmt.fraction_bits) - 1)) + root_bits)
    return biased - bias, mantissa - 1.0


def log_rest(m: Emitter, f: Value) -> Value:
    """log(1 + f) - f for a reduced f."""
    return f * f * m.fma(f, m.polynomial(f, coefficients("log", f.format)), -0.5)


def _logarithm_edges(m: Emitter, x: Value, result: Value) -> Value:
    """The logarithm's values at infinity, NaN, zero and below."""
    result = m.select(x < _INF, result, x)
    return m.select(x > 0.0, result, m.select(x == 0.0, -_INF, m.constant(x.format, _NAN)))


def log(m: Emitter, x: Value) -> Value:
    """The natural logarithm."""
    high, low = _LN2[x.format.width]
    k, f = split_exponent(m, x)
    result = m.fma(k, high, m.fma(k, low, log_rest(m, f)) + f)
    return _logarithm_edges(m, x, result)


def log1p(m: Emitter, x: Value) -> Value:
    """log(1 + x), relatively accurate near zero."""
    high, low = _LN2[x.format.width]
    u, lost = m.two_sum(x, m.constant(x.format, 1.0))
    k, f = split_exponent(m, u, may_be_subnormal=False)
    rest = log_rest(m, f) + lost / u
    result = m.fma(k, high, m.fma(k, low, rest) + f)
    result = _logarithm_edges(m, u, result)
    return m.select(m.fabs(x) < 2.0 ** -(x.format.precision + 1), x, result)


def _log_to_base(m: Emitter, x: Value, exponent_unit: tuple[float, float], unit: tuple[float, float]) -> Value:
    """log(x) * unit, where `exponent_unit` is log(2) * unit with so short a high part that k times it is exact.

    One rounding at the end only, so that log2(8) and log10(1000) are exact.
    """
    k, f = split_exponent(m, x)
    product, product_error = m.two_product(f, unit[0])
    low = m.fma(k, exponent_unit[1], m.fma(log_rest(m, f), unit[0], m.fma(f, unit[1], product_error)))
    high, error = m.two_sum_fast(k * exponent_unit[0], product)
    return _logarithm_edges(m, x, high + (error + low))


def log2(m: Emitter, x: Value) -> Value:
    """The logarithm to the base 2, exact for powers of 2."""
    return _log_to_base(m, x, (1.0, 0.0), _INVERSE_LN2[x.format.width])


def log10(m: Emitter, x: Value) -> Value:
    """The logarithm to the base 10."""
    return _log_to_base(m, x, _LOG10_2[x.format.width], _INVERSE_LN10[x.format.width])


# Powers -----------------------------------------------------------------------------------------------------------


def pow(m: Emitter, x: Value, y: Value) -> Value:
    """x**y with the special cases of C's pow."""
    magnitude = _power_binary32(m, x, y) if x.format is BINARY32 else _power_binary64(m, m.fabs(x), y)
    return _power_edges(m, x, y, magnitude)


def _power_binary32(m: Emitter, x: Value, y: Value) -> Value:
    """|x|**y in binary64, where the logarithm needs no care and no result under- or overflows."""
    k, f = split_exponent(m, m.widen(m.fabs(x)), may_be_subnormal=False)
    logarithm = m.fma(f, m.polynomial(f, coefficients("log2_short", BINARY64)), k)
    t = m.clamp(m.widen(y) * logarithm, -300.0, 300.0)
    shifted = t + BINARY64.round_magic
    r = t - (shifted - BINARY64.round_magic)
    result = m.polynomial(r, coefficients("exp2_short", BINARY64)) * power_of_two(m, m.bits(shifted))
    return m.narrow(result, BINARY32)


def _power_binary64(m: Emitter, x: Value, y: Value) -> Value:
    """x**y for positive finite x and finite y, with the logarithm to about 66 bits as a sum of two numbers."""
    k, f = split_exponent(m, x)
    # s = f / (2 + f), so that log(1 + f) = 2 atanh(s)
    divisor, divisor_error = m.two_sum_fast(2.0, f)
    reciprocal = 1.0 / divisor
    s = f * reciprocal
    s_low = m.fma(-s, divisor_error, m.fma(-s, divisor, f)) * reciprocal
    z, z_low = m.two_product(s, s)
    z_low = m.fma(s + s, s_low, z_low)
    # s (c1 + z (c3 + z tail(z))), all but the tail in two numbers
    (c1, c1_low), (c3, c3_low) = _LOG2_ATANH
    inner, inner_low = m.two_sum_fast(c3, z * m.polynomial(z, coefficients("log2_atanh", BINARY64)))
    inner_low = inner_low + c3_low
    term, term_low = m.two_product(z, inner)
    term_low = m.fma(z, inner_low, m.fma(z_low, inner, term_low))
    outer, outer_low = m.two_sum_fast(c1, term)
    outer_low = outer_low + (term_low + c1_low)
    log, log_low = m.two_product(s, outer)
    log_low = m.fma(s, outer_low, m.fma(s_low, outer, log_low))
    log, error = m.two_sum_fast(k, log)
    log, log_low = m.two_sum_fast(log, log_low + error)

    t, t_low = m.two_product(y, log)
    t_low = m.fma(y, log_low, t_low)
    bound = 1100.0
    t_low = m.select(m.fabs(t) < bound, t_low, 0.0)
    t = m.clamp(t, -bound, bound)
    shifted = t + BINARY64.round_magic
    fraction = t - (shifted - BINARY64.round_magic)
    r, r_low = m.two_sum(fraction, t_low)
    ln2, ln2_low = _LN2[64]
    q, q_low = m.two_product(r, ln2)
    q_low = m.fma(r, ln2_low, m.fma(r_low, ln2, q_low))
    return scale(m, m.bits(shifted), expm1_polynomial(m, q) + q_low + 1.0)


def _power_edges(m: Emitter, x: Value, y: Value, result: Value) -> Value:
    """x**y from |x|**y: signs, zeros, infinities and NaN."""
    magnitude = m.fabs(x)
    extreme = (magnitude == 0.0) | (magnitude == _INF) | (m.fabs(y) == _INF)
    grows = (magnitude > 1.0) ^ (y < 0.0)
    result = m.select(extreme, m.select(grows, m.constant(x.format, _INF), 0.0), result)
    result = m.select(magnitude == 1.0, 1.0, result)
    half = y * 0.5
    integral = m.rint(y) == y
    odd = integral & (m.rint(half) != half)
    result = m.select((m.bits(x) < 0) & odd, -result, result)
    undefined = ((x < 0.0) & (x > -_INF) & ~integral) | m.is_nan(x) | m.is_nan(y)
    result = m.select(undefined, _NAN, result)
    return m.select((y == 0.0) | (x == 1.0), 1.0, result)
