"""What PyTorch's CPU samplers compute: from uniforms and words to samples of a dtype.

What comes in are uniforms and integers that ``mersenne.py`` drew; what goes out are arrays that agree with PyTorch's to
the last bit. Three things decide about the last bit, and each has a section here:

*dtypes*: how a float64 or float32 sample, or an integer, becomes the dtype asked for;
*arithmetic*: fused multiply-adds, the C library's logarithm, and the float32 polynomials of the vectorised Box-Muller
transform;
*permutations*: a Fisher-Yates shuffle, without a loop over its exchanges.

A dtype is named by a string (``"float32"``), because NumPy has none for ``"bfloat16"``: an array of bfloat16 samples is
a uint16 array of bit patterns.

Read next: ``mersenne.py``, the generator which puts these together.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import DTypeLike, NDArray

_F4, _F8, _I4, _U4, _U8 = np.float32, np.float64, np.int32, np.uint32, np.uint64

# --------------------------------------------------------------------------------------------------------------- dtypes

INTEGERS = ("bool", "uint8", "int8", "int16", "int32", "int64", "uint16", "uint32", "uint64")
SIGNIFICAND_BITS = {"float16": 11, "bfloat16": 8, "float32": 24, "float64": 53}


def dtype_name(dtype: DTypeLike) -> str:
    """The dtype's name; ``"bfloat16"``, which NumPy has no dtype for, is accepted by name."""
    if isinstance(dtype, str) and dtype == "bfloat16":
        return dtype
    return np.dtype(dtype).name


def floating_dtype_name(dtype: DTypeLike, sampler: str) -> str:
    name = dtype_name(dtype)
    if name not in SIGNIFICAND_BITS:
        raise RuntimeError(f"{sampler} gives floating-point values (float16, bfloat16, float32 or float64), not {name}")
    return name


def _bfloat16_bits(values: NDArray) -> NDArray:
    """Round float32 values to the nearest bfloat16 (ties to even) and return the bit patterns as uint16."""
    bits = np.ascontiguousarray(values, _F4).view(_U4)
    rounded = ((bits + _U4(0x7FFF) + ((bits >> _U4(16)) & _U4(1))) >> _U4(16)).astype(np.uint16)
    return np.where(np.isnan(values), np.uint16(0x7FC0), rounded)


def cast(values: NDArray, name: str) -> NDArray:
    """Convert samples to the dtype called ``name``; 16-bit floats are rounded by way of float32, as PyTorch does."""
    if name == "bfloat16":
        return _bfloat16_bits(values.astype(_F4, copy=False))
    if name == "float16":
        return values.astype(_F4, copy=False).astype(np.float16)
    with np.errstate(invalid="ignore", over="ignore"):
        return values.astype(name, copy=False)


def empty(n: int, name: str) -> NDArray:
    return np.empty(n, np.uint16 if name == "bfloat16" else name)


def integer_bounds(name: str) -> tuple[int, int]:
    """Smallest and largest integer that a range of random integers of this dtype may name."""
    if name == "bool":
        return 0, 1
    if name in INTEGERS:
        return int(np.iinfo(name).min), int(np.iinfo(name).max)
    largest = {"float16": 65504, "bfloat16": 2**127, "float32": 2**127, "float64": 2**127}[name]
    return -largest, largest


def _as_float_dtype(value: int, name: str) -> int:
    """``value`` rounded to the floating dtype, or itself when that no longer is a 64-bit integer."""
    if name == "bfloat16":
        # The bits of a bfloat16 are the upper half of a float32's.
        bits = _bfloat16_bits(np.array([value], _F4)).astype(_U4) << _U4(16)
        rounded = int(bits.view(_F4)[0])
    else:
        rounded = int(np.array(value, name))
    return rounded if -(2**63) <= rounded < 2**63 else value


def representable_range(low: int, high: int, name: str) -> tuple[int, int]:
    """Move the ends of ``[low, high)`` inwards by a unit in the last place where rounding would move them outwards."""
    digits = SIGNIFICAND_BITS[name]

    def unit(end: int) -> int:
        return 1 << max(abs(end).bit_length() - digits, 0)

    first = _as_float_dtype(low + 1, name)
    last = _as_float_dtype(high - 1, name)
    return (first + unit(low + 1) if first < low else low), (last - unit(high - 1) if last >= high else high)


# ----------------------------------------------------------------------------------------------------------- arithmetic


def libm(function: Callable[[float], float], ufunc: np.ufunc, values: NDArray) -> NDArray:
    """``function`` of the C library, element by element.

    NumPy's own vectorised float64 logarithms and exponentials differ from the C library's, which PyTorch calls, in the
    last place of a few results in a hundred. ``ufunc`` takes over for arguments that Python's function refuses.
    """
    try:
        return np.fromiter(map(function, memoryview(np.ascontiguousarray(values))), _F8, values.size)
    except (ValueError, OverflowError):
        with np.errstate(all="ignore"):
            return ufunc(values)


def _multiply_add(a: NDArray, b: float, c: float) -> NDArray:
    """``a * b + c`` in float64 with one rounding, as a fused multiply-add instruction gives it.

    The product's error is computed exactly (Veltkamp's splitting, Dekker 1971), the sum's by Knuth's two-sum.
    """
    if b == 1:
        return a + c
    product = a * b
    if c == 0:
        return product + 0.0  # + 0.0: a fused multiply-add turns -0.0 into 0.0
    splitter = 134217729.0  # 2**27 + 1
    with np.errstate(over="ignore", invalid="ignore"):
        a_high = a * splitter
        a_high -= a_high - a
        b_high = b * splitter
        b_high -= b_high - b
        a_low, b_low = a - a_high, b - b_high
        product_error = ((a_high * b_high - product) + a_high * b_low + a_low * b_high) + a_low * b_low
        total = product + c
        virtual = total - product
        total_error = (product - (total - virtual)) + (c - virtual)
        fused = total + (product_error + total_error)
        return np.where(np.isfinite(fused), fused, product + c)


def scale(values: NDArray, factor: float, offset: float) -> NDArray:
    """``values * factor + offset`` with one rounding, in the dtype of ``values`` (float32 or float64)."""
    if values.dtype == _F8:
        return _multiply_add(values, float(factor), float(offset))
    factor, offset = _F4(factor), _F4(offset)
    if factor == 1:
        return values + offset
    # A product of two float32 numbers is exact in float64.
    wide = values.astype(_F8)
    wide *= _F8(factor)
    wide += _F8(offset)
    return wide.astype(_F4)


def _singles(*values: float) -> tuple[float, ...]:
    return tuple(float(_F4(value)) for value in values)


# The single-precision logarithm, sine and cosine of the Cephes library (S. Moshier), which PyTorch's vectorised normals
# evaluate with fused multiply-adds. Horner coefficients from the highest power down.
_LOG = _singles(
    7.0376836292e-2, -1.1514610310e-1, 1.1676998740e-1, -1.2420140846e-1, 1.4249322787e-1,
    -1.6668057665e-1, 2.0000714765e-1, -2.4999993993e-1, 3.3333331174e-1,
)  # fmt: skip
_LN2_LOW, _LN2_HIGH = _F4(-2.12194440e-4), _F4(0.693359375)
_COS = _singles(2.443315711809948e-5, -1.388731625493765e-3, 4.166664568298827e-2)
_SIN = _singles(-1.9515295891e-4, 8.3321608736e-3, -1.6666654611e-1)
_FOUR_OVER_PI = _F4(1.27323954473516)
# pi / 4 in three parts; the subtraction of the first is exact, so the first two can be subtracted as one.
_QUARTER_PI_HIGH = sum(_singles(0.78515625, 2.4187564849853515625e-4))
_QUARTER_PI_LOW = _singles(3.77489497744594108e-8)[0]
_SQRT_HALF_BITS = _I4(np.array(0.707106781186547524, _F4).view(_I4))
_SIGN_BIT = _I4(-(2**31))


def box_muller_float32(uniforms: NDArray, out: NDArray, mean: float, std: float) -> None:
    """Turn blocks of 16 float32 uniforms into normals: the first 8 of a block are radii, the last 8 angles.

    ``uniforms`` and ``out`` have shape ``(blocks, 16)``. Every step rounds where PyTorch's AVX2 code rounds. A fused
    multiply-add is a float64 product (exact) and sum, rounded to float32; that this rounds twice has not been seen to
    matter for any of the 2**24 radii and 2**24 angles that exist. Maximum difference from PyTorch: 0 ulp.
    """
    count = uniforms.shape[0] * 8
    wide = np.empty(count, _F8)

    def multiply_add(a: NDArray, b: NDArray | float, c: NDArray | float, result: NDArray) -> None:
        np.multiply(a, b, out=wide, dtype=_F8)
        np.add(wide, c, out=wide)
        result[...] = wide

    # Eight floats are moved as one 32-byte item: strided float loops of length 8 would cost more than the logarithm.
    halves, x, theta = uniforms.view("V32"), np.empty(count, _F4), np.empty(count, _F4)
    x.view("V32")[:] = halves[:, 0]
    theta.view("V32")[:] = halves[:, 1]

    # log(1 - u): 1 - u = m * 2**exponent, m in [sqrt(1/2), sqrt(2)), and a polynomial in m - 1.
    np.subtract(_F4(1), x, out=x)
    bits = x.view(_I4)
    exponent = bits - _SQRT_HALF_BITS
    exponent >>= 23
    bits -= exponent << 23
    exponent = exponent.astype(_F4)
    x -= _F4(1)
    x_wide, y = x.astype(_F8), np.empty(count, _F4)
    multiply_add(x_wide, _LOG[0], _LOG[1], y)
    for coefficient in _LOG[2:]:
        multiply_add(y, x_wide, coefficient, y)
    y *= x
    square = x * x
    multiply_add(y, square, exponent * _LN2_LOW, y)
    square *= _F4(0.5)
    y -= square
    x += y
    exponent *= _LN2_HIGH  # exact: the constant has nine significant bits
    x += exponent
    x *= _F4(-2)
    radius = np.sqrt(x, out=x)

    # sin and cos of 2 pi u: octants are counted in pairs, the rest lies in [-pi/4, pi/4].
    theta *= _F4(2 * math.pi)
    octant = (theta * _FOUR_OVER_PI).astype(_I4)
    octant += 1
    octant &= -2
    octant_wide = octant.astype(_F8)
    multiply_add(octant_wide, -_QUARTER_PI_HIGH, theta, theta)
    multiply_add(octant_wide, -_QUARTER_PI_LOW, theta, theta)
    square = theta * theta
    square_wide, cosine, sine = square.astype(_F8), np.empty(count, _F4), y
    multiply_add(square_wide, _COS[0], _COS[1], cosine)
    multiply_add(cosine, square_wide, _COS[2], cosine)
    cosine *= square
    multiply_add(cosine, square_wide, square * _F4(-0.5), cosine)
    cosine += _F4(1)
    multiply_add(square_wide, _SIN[0], _SIN[1], sine)
    multiply_add(sine, square_wide, _SIN[2], sine)
    sine *= square
    multiply_add(sine, theta, theta, sine)

    # Odd quadrants swap sine and cosine; the quadrant gives the signs. Bitwise, because selection is slow in NumPy.
    cosine_bits, sine_bits = cosine.view(_I4), sine.view(_I4)
    swap = octant >> 1
    swap &= 1
    np.negative(swap, out=swap)
    swap &= cosine_bits ^ sine_bits
    cosine_bits ^= swap
    sine_bits ^= swap
    sine_bits ^= (octant << 29) & _SIGN_BIT
    cosine_bits ^= ((octant + 2) << 29) & _SIGN_BIT

    halves = out.view("V32")
    for column, trigonometric in enumerate((cosine, sine)):
        trigonometric *= radius
        halves[:, column] = scale(trigonometric, std, mean).view("V32")


def box_muller_float64(uniforms: NDArray, out: NDArray, mean: float, std: float) -> None:
    """As :func:`box_muller_float32`, in float64 and with the C library's logarithm."""
    radius = np.sqrt(-2.0 * libm(math.log, np.log, 1.0 - uniforms[:, :8].ravel())).reshape(-1, 8)
    theta = (2 * math.pi) * uniforms[:, 8:]
    out[:, :8] = scale(radius * np.cos(theta), std, mean)
    out[:, 8:] = scale(radius * np.sin(theta), std, mean)


# --------------------------------------------------------------------------------------------------------- permutations


def shuffle_forwards(partners: NDArray) -> NDArray:
    """The array 0, 1, ..., n - 1 after exchanging positions ``i`` and ``partners[i] >= i``, for i = 0, 1, ..., n - 1.

    A position settles when it is visited, so its final value is what its partner held then: the value that the latest
    earlier visitor of the partner left there, or the partner's own number. Following visitors back is a forest, which
    pointer doubling resolves. ``partners`` has shape ``(n,)`` and a signed integer dtype, which the result shares.
    """
    n, index_type = partners.size, partners.dtype
    index = np.arange(n, dtype=index_type)
    travels = np.flatnonzero(partners != index).astype(index_type)
    # origin[k]: the position whose value stands at position k just before k is visited.
    origin = index.copy()
    origin[partners[travels]] = travels  # of equal subscripts the last assignment stays, and visits are in order
    while True:
        further = origin[origin]
        if np.array_equal(further, origin):
            break
        origin = further
    # The latest earlier visitor of the same partner: sort visits by (partner, time) and look one to the left.
    visits = (partners[travels].astype(_U8) << _U8(32)) | travels.astype(_U8)
    visits.sort()
    who, where = (visits & _U8(0xFFFFFFFF)).astype(index_type), (visits >> _U8(32)).astype(index_type)
    result = origin.copy()  # right for every position that stays
    if who.size:
        again = np.empty(who.size, bool)
        again[0] = False
        np.equal(where[1:], where[:-1], out=again[1:])
        result[who] = where
        repeated = np.flatnonzero(again)
        result[who[repeated]] = origin[who[repeated - 1]]
    return result


def shuffle_backwards(partners: NDArray) -> NDArray:
    """The array 0, 1, ..., n - 1 after exchanging positions ``i`` and ``partners[i] <= i``, for i = 0, 1, ..., n - 1.

    The inverse of the result makes the same exchanges in the opposite order, which seen from the other end is
    :func:`shuffle_forwards`.
    """
    last = partners.dtype.type(partners.size - 1)
    inverse = (last - shuffle_forwards((last - partners)[::-1].copy()))[::-1]
    result = np.empty_like(inverse)
    result[inverse] = np.arange(partners.size, dtype=partners.dtype)
    return result
