"""Circular functions and their inverses, written over the notation of ``vmath_builder.py``.

The hard part is the reduction of an argument of any size to a remainder of pi / 2, correct although x / (pi / 2) may
have a thousand bits before the point. The idea is that of Payne and Hanek (1983): only those bits of 2 / pi matter
whose product with x is neither a multiple of 4 nor below the wanted precision, and which those are depends on the
exponent of x alone. Here the window of bits is a row of binary64 numbers, and exact products come from fused
multiply-adds, so the reduction is the same straight line for every argument:

- binary64 looks up four numbers of 53 bits by the exponent divided by 16. The first has a one put above its first bit,
  which adds a multiple of 4 to the product and so changes nothing, but makes the rounded product a multiple of 4
  that can be dropped: what remains is its rounding error, which a fused multiply-add gives exactly.
- binary32 works in binary64. Below 2**51 two fused multiply-adds reduce (Cody and Waite); above, three rows of two
  numbers are so few that selects replace the lookup.

Read next: ``vmath_special.py``.
"""

from __future__ import annotations

import functools
import math

from .vmath_builder import BINARY32, BINARY64, Emitter, Value
from .vmath_exponential import coefficients

# pi / 2 as sums of rounded numbers.
_HALF_PI = {32: (1.5707963705062866, -4.371139000186243e-08), 64: (1.5707963267948966, 6.123233995736766e-17)}
_TWO_OVER_PI = 0.6366197723675814

_ROW_WIDTH = 16  # exponents a row of the binary64 table serves
_ROW_SCALE = 200  # a power of two that keeps the table's entries normal numbers
_FIRST_EXPONENT = -1  # of 0.5, the smallest argument that is reduced


@functools.cache
def _two_over_pi(bits: int) -> int:
    """2 / pi rounded down to `bits` binary places, as an integer; pi by Machin's formula."""
    one = 1 << (bits + 64)

    def arctan_of_inverse(n: int) -> int:
        term, total, k = one // n, 0, 1
        while term:
            total += term // k if k % 4 == 1 else -(term // k)
            term //= n * n
            k += 2
        return total

    pi = 4 * (4 * arctan_of_inverse(5) - arctan_of_inverse(239))
    return (one << (bits + 1)) // pi


def _window(lowest: int, length: int) -> int:
    """The bits of 2 / pi from the place 2**lowest upwards, `length` of them, as an integer."""
    bits = 1400
    return (_two_over_pi(bits) >> (bits + lowest)) & ((1 << length) - 1)


@functools.cache
def _rows() -> tuple[float, ...]:
    """The table of the binary64 reduction: four numbers for each row of exponents, scaled by 2**_ROW_SCALE."""
    table = []
    for first in range(_FIRST_EXPONENT, 1025, _ROW_WIDTH):
        # x is a multiple of 2**(first - 52), so places from 2**(54 - first) on contribute multiples of 4.
        lowest = 2 - first
        table.append(math.ldexp((1 << 52) + _window(lowest, 52), lowest + _ROW_SCALE))
        for _ in range(3):
            lowest -= 53
            table.append(math.ldexp(_window(lowest, 53), lowest + _ROW_SCALE))
    return tuple(table)


def _reduce_binary64(m: Emitter, x: Value) -> tuple[Value, Value, Value]:
    """Reduce x >= 0: integer bits of which the two lowest are the quadrant, and the remainder as a sum of two."""
    bounded = m.select(x < 0.5, 0.5, x)
    first_biased = BINARY64.bias + _FIRST_EXPONENT
    row = ((m.bits(bounded) >> BINARY64.fraction_bits) - first_biased) >> int(math.log2(_ROW_WIDTH))
    scaled = bounded * 2.0**-_ROW_SCALE
    t0, t1, t2, t3 = (m.load("two_over_pi", _rows(), (row << 2) + column) for column in range(4))
    _, p0_error = m.two_product(scaled, t0)
    p1, p1_error = m.two_product(scaled, t1)
    p2, p2_error = m.two_product(scaled, t2)
    p3 = scaled * t3
    # At most 2**19 from here on; everything but the first sum is below 2**-32.
    whole, whole_error = m.two_sum(p0_error, p1)
    shifted = whole + BINARY64.round_magic
    fraction = whole - (shifted - BINARY64.round_magic)
    middle, error1 = m.two_sum(p1_error, p2)
    middle, error2 = m.two_sum(middle, whole_error)
    turn, turn_low = m.two_sum(fraction, middle)
    turn_low = turn_low + ((error1 + error2) + (p2_error + p3))
    # From quadrants to radians.
    half_pi, half_pi_low = _HALF_PI[64]
    r, r_low = m.two_product(turn, half_pi)
    r_low = m.fma(turn, half_pi_low, m.fma(turn_low, half_pi, r_low))
    r, r_low = m.two_sum_fast(r, r_low)
    small = x <= math.pi / 4
    return m.select(small, 0, m.bits(shifted)), m.select(small, x, r), m.select(small, 0.0, r_low)


def _reduce_binary32(m: Emitter, x: Value) -> tuple[Value, Value]:
    """Reduce x >= 0: integer bits of which the two lowest are the quadrant, and the rounded remainder."""
    wide = m.widen(x)
    half_pi, half_pi_low = _HALF_PI[64]
    shifted = m.fma(wide, _TWO_OVER_PI, BINARY64.round_magic)
    n = shifted - BINARY64.round_magic
    near = m.fma(n, -half_pi_low, m.fma(n, -half_pi, wide))

    limit, row_width = 51, 26
    firsts = [limit + row_width * i for i in range(3)]  # x is a multiple of 2**(first - 23)
    rows = [
        [math.ldexp(_window(-28 - first - 53 * column, 53), -28 - first - 53 * column) for column in range(2)]
        for first in firsts
    ]
    t0, t1 = (m.constant(BINARY64, number) for number in rows[0])
    for first, row in zip(firsts[1:], rows[1:]):
        above = wide >= 2.0**first
        t0, t1 = m.select(above, row[0], t0), m.select(above, row[1], t1)
    p0, p0_error = m.two_product(wide, t0)
    p0 = m.fma(m.rint(p0 * 0.25), -4.0, p0)  # exact
    rest = m.fma(wide, t1, p0_error)
    far_shifted = (p0 + rest) + BINARY64.round_magic
    far = ((p0 - (far_shifted - BINARY64.round_magic)) + rest) * half_pi

    is_near = wide < 2.0**limit
    quadrant = m.select(is_near, m.bits(shifted), m.bits(far_shifted))
    return m.truncate_int(quadrant, BINARY32), m.narrow(m.select(is_near, near, far), BINARY32)


def _sin_cos(m: Emitter, x: Value) -> tuple[Value, Value, Value]:
    """For x >= 0: the quadrant bits, and sine and cosine of the remainder in [-pi / 4, pi / 4]."""
    fmt = x.format
    if fmt is BINARY32:
        quadrant, r = _reduce_binary32(m, x)
        r_low = None
    else:
        quadrant, r, r_low = _reduce_binary64(m, x)
    z = r * r
    half = z * 0.5
    sine_rest = r * z * m.polynomial(z, coefficients("sin", fmt))
    cosine = 1.0 - half
    cosine_rest = m.fma(z * z, m.polynomial(z, coefficients("cos", fmt)), (1.0 - cosine) - half)
    if r_low is not None:
        sine_rest = sine_rest + m.fma(-half, r_low, r_low)
        cosine_rest = m.fma(-r, r_low, cosine_rest)
    return quadrant, r + sine_rest, cosine + cosine_rest


def _flip_sign(m: Emitter, x: Value, quadrant: Value, bit: int) -> Value:
    """-x where the given bit of `quadrant` is set."""
    fmt = x.format
    return m.float_from_bits(m.bits(x) ^ ((quadrant << (fmt.width - 1 - bit)) & fmt.sign_mask))


def _with_sign_of(m: Emitter, magnitude: Value, x: Value) -> Value:
    """`magnitude` with its sign flipped where x is negative."""
    return m.float_from_bits(m.bits(magnitude) ^ (m.bits(x) & x.format.sign_mask))


def sin(m: Emitter, x: Value) -> Value:
    """The sine of any finite number; NaN for infinities."""
    quadrant, sine, cosine = _sin_cos(m, m.fabs(x))
    result = m.select((quadrant & 1) == 0, sine, cosine)
    return _with_sign_of(m, _flip_sign(m, result, quadrant, 1), x)


def cos(m: Emitter, x: Value) -> Value:
    """The cosine of any finite number; NaN for infinities."""
    quadrant, sine, cosine = _sin_cos(m, m.fabs(x))
    result = m.select((quadrant & 1) == 0, cosine, sine)
    return _flip_sign(m, result, quadrant + 1, 1)


def tan(m: Emitter, x: Value) -> Value:
    """The tangent of any finite number; NaN for infinities."""
    quadrant, sine, cosine = _sin_cos(m, m.fabs(x))
    even = (quadrant & 1) == 0
    result = m.select(even, sine, cosine) / m.select(even, cosine, sine)
    return _with_sign_of(m, _flip_sign(m, result, quadrant, 0), x)


# Inverse functions ------------------------------------------------------------------------------------------------


def _atan_up_to_one(m: Emitter, t: Value) -> Value:
    """atan(t) for 0 <= t <= 1."""
    z = t * t
    return m.fma(t * z, m.horner(z, coefficients("atan", t.format)), t)


def atan(m: Emitter, x: Value) -> Value:
    """The inverse tangent."""
    high, low = _HALF_PI[x.format.width]
    magnitude = m.fabs(x)
    steep = magnitude > 1.0
    angle = _atan_up_to_one(m, m.select(steep, 1.0, magnitude) / m.select(steep, magnitude, 1.0))
    return m.copysign(m.select(steep, high - (angle - low), angle), x)


def atan2(m: Emitter, y: Value, x: Value) -> Value:
    """The angle of the point (x, y), in [-pi, pi], with the special cases of C's atan2."""
    high, low = _HALF_PI[x.format.width]
    height, width = m.fabs(y), m.fabs(x)
    steep = height > width
    t = m.select(steep, width, height) / m.select(steep, height, width)
    # 0 / 0 and infinity / infinity are 0 and 1 here
    t = m.select(height == width, m.select(width == 0.0, m.constant(x.format, 0.0), 1.0), t)
    angle = _atan_up_to_one(m, t)
    angle = m.select(steep, high - (angle - low), angle)
    angle = m.select(m.bits(x) < 0, 2.0 * high - (angle - 2.0 * low), angle)
    return m.copysign(m.select(m.is_nan(x) | m.is_nan(y), math.nan, angle), y)


def _asin_near_and_far(m: Emitter, magnitude: Value) -> tuple[Value, Value, Value]:
    """Whether |x| > 1/2, the argument s of the series (|x|, or sqrt((1 - |x|) / 2)) and asin(s) - s."""
    far = magnitude > 0.5
    half_complement = m.fma(magnitude, -0.5, 0.5)
    z = m.select(far, half_complement, magnitude * magnitude)
    s = m.select(far, m.sqrt(half_complement), magnitude)
    return far, s, s * z * m.polynomial(z, coefficients("asin", magnitude.format))


def asin(m: Emitter, x: Value) -> Value:
    """The inverse sine; NaN outside [-1, 1]."""
    high, low = _HALF_PI[x.format.width]
    far, s, rest = _asin_near_and_far(m, m.fabs(x))
    half_way = s + rest
    return m.copysign(m.select(far, high - (2.0 * half_way - low), half_way), x)


def acos(m: Emitter, x: Value) -> Value:
    """The inverse cosine; NaN outside [-1, 1]."""
    high, low = _HALF_PI[x.format.width]
    far, s, rest = _asin_near_and_far(m, m.fabs(x))
    negative = x < 0.0
    angle = s + rest
    near_result = high - (m.select(negative, -angle, angle) - low)
    doubled = 2.0 * angle
    far_result = m.select(negative, 2.0 * high - (doubled - 2.0 * low), doubled)
    return m.select(far, far_result, near_result)
