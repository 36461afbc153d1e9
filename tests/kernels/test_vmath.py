"""The vectorised functions against NumPy's and SciPy's binary64 (for float32) and mpmath (for float64)."""

from __future__ import annotations

import functools
import hashlib
import math
import os
import re
import subprocess
import sys
from collections.abc import Callable

import mpmath
import numba
import numpy as np
import pytest
from flamework.kernels.cpu import vmath, vmath_fit
from flamework.kernels.cpu.vmath_coefficients import COEFFICIENTS
from numpy.typing import ArrayLike, NDArray
from scipy import special

DTYPES = (np.float32, np.float64)
PRECISION = {np.dtype(np.float32): 24, np.dtype(np.float64): 53}

# The largest error allowed, in units in the last place.
BOUNDS = dict.fromkeys("exp log tanh sigmoid erf sin cos pow".split(), 2.0) | dict.fromkeys(
    "exp2 expm1 log1p log2 log10 sinh cosh tan asin acos atan atan2 erfc erfinv sqrt rsqrt".split(), 4.0
)


@functools.cache
def compiled(name: str, dtype: type, fastmath: bool = False) -> Callable:
    """A loop over contiguous arrays around the function, as a kernel would have it."""
    function = vmath.FUNCTIONS[name]
    array = numba.from_dtype(np.dtype(dtype))[::1]
    if vmath.ARITY[name] == 1:

        def loop(x, out):
            for i in range(out.shape[0]):
                out[i] = function(x[i])

    else:

        def loop(x, y, out):
            for i in range(out.shape[0]):
                out[i] = function(x[i], y[i])

    signature = numba.void(*[array] * (vmath.ARITY[name] + 1))
    return numba.njit(signature, error_model="numpy", fastmath=fastmath)(loop)


def call(name: str, *arguments: ArrayLike, dtype: type | None = None, fastmath: bool = False) -> NDArray:
    arrays = [np.ascontiguousarray(a, dtype=dtype) for a in arguments]
    out = np.empty_like(arrays[0])
    compiled(name, arrays[0].dtype.type, fastmath)(*arrays, out)
    return out


def bits(x: NDArray) -> NDArray:
    return x.view(np.uint32 if x.dtype == np.float32 else np.uint64)


def errors_in_ulp(got: NDArray, reference: NDArray, reference_low: NDArray | float = 0.0) -> NDArray:
    """|got - reference| in units in the last place of the reference in got's format; infinity where the kind differs.

    The reference is binary64, for binary64 results with a second number that holds what the first one rounds away.
    """
    smallest_exponent = np.finfo(got.dtype).minexp
    with np.errstate(all="ignore"):
        rounded = reference.astype(got.dtype)
        exponent = np.frexp(reference)[1] - 1
        exponent = np.maximum(exponent, smallest_exponent)
        distance = (got.astype(np.float64) - reference) - reference_low
        error = np.abs(np.ldexp(distance, PRECISION[got.dtype] - 1 - exponent))
    same = (got == rounded) & (np.signbit(got) == np.signbit(rounded)) | (np.isnan(got) & np.isnan(rounded))
    alike = np.isfinite(got) & np.isfinite(rounded) & ((np.signbit(got) == np.signbit(rounded)) | (rounded != 0))
    return np.where(alike, error, np.where(same, 0.0, np.inf))


def assert_close(name: str, inputs: tuple[NDArray, ...], reference: NDArray, low: NDArray | float = 0.0) -> None:
    got = call(name, *inputs)
    error = errors_in_ulp(got, reference, low)
    worst = int(np.argmax(error))
    where = [a[worst] for a in inputs]
    assert error[worst] <= BOUNDS[name], f"{name}{where} = {got[worst]}, not {reference[worst]}: {error[worst]} ulp"


# float32 -----------------------------------------------------------------------------------------------------------


def every_exponent(dtype: type, mantissas: int, seed: int = 0) -> NDArray:
    """Numbers of both signs and every exponent, subnormal ones, infinities and NaN included."""
    generator = np.random.default_rng(seed)
    fraction = PRECISION[np.dtype(dtype)] - 1
    integer = np.uint32 if dtype == np.float32 else np.uint64
    exponents = 1 << (9 if dtype == np.float32 else 12)
    low = generator.integers(0, 1 << fraction, (exponents, mantissas), dtype=integer)
    low[:, 0], low[:, -1] = 0, (1 << fraction) - 1
    return ((np.arange(exponents, dtype=integer) << integer(fraction))[:, None] | low).ravel().view(dtype)


def interesting(dtype: type, count: int, seed: int = 1) -> NDArray:
    """Where the functions bend: around 0, around 1, up to overflow, and relatively close to -1, 0, and 1."""
    generator = np.random.default_rng(seed)
    close = 10.0 ** generator.uniform(-16, 0, count) * generator.choice([-1, 1], count)
    return np.concatenate(
        [
            generator.uniform(-1, 1, count),
            generator.uniform(-12, 12, count),
            generator.uniform(-110, 110, count),
            generator.uniform(-750, 750, count),
            generator.uniform(0.5, 2, count),
            1 + close,
            close - 1,
        ]
    ).astype(dtype)


def sigmoid_reference(x: NDArray) -> NDArray:
    decayed = np.exp(-np.abs(x))
    return np.where(x < 0, decayed, 1.0) / (1.0 + decayed)


FLOAT32_REFERENCES = {
    "exp": np.exp,
    "exp2": np.exp2,
    "expm1": np.expm1,
    "log": np.log,
    "log1p": np.log1p,
    "log2": np.log2,
    "log10": np.log10,
    "sigmoid": sigmoid_reference,
    "tanh": np.tanh,
    "sinh": np.sinh,
    "cosh": np.cosh,
    "sin": np.sin,
    "cos": np.cos,
    "tan": np.tan,
    "asin": np.arcsin,
    "acos": np.arccos,
    "atan": np.arctan,
    "erf": special.erf,
    "erfc": special.erfc,
    "erfinv": lambda x: np.copysign(special.erfinv(x), x),
    "sqrt": np.sqrt,
    "rsqrt": lambda x: 1.0 / np.sqrt(x),
}


@functools.cache
def float32_inputs() -> NDArray:
    return np.concatenate([every_exponent(np.float32, 2048), interesting(np.float32, 30_000)])


@pytest.mark.parametrize("name", FLOAT32_REFERENCES)
def test_float32_is_accurate_at_every_exponent(name):
    x = float32_inputs()
    with np.errstate(all="ignore"):
        reference = FLOAT32_REFERENCES[name](x.astype(np.float64))
    assert_close(name, (x,), reference)


BINARY_REFERENCES = {"pow": np.power, "atan2": np.arctan2}


def pairs(name: str, dtype: type, count: int) -> tuple[NDArray, NDArray]:
    """Pairs of any two numbers, and for pow also such whose result is neither zero nor infinite."""
    generator = np.random.default_rng(7)
    x, y = (generator.permutation(every_exponent(dtype, 256 if dtype == np.float32 else 2, s))[:count] for s in (1, 2))
    near_one = generator.uniform(0.5, 2, count).astype(dtype)
    if name != "pow":
        return np.concatenate([x, near_one]), np.concatenate([y, generator.standard_normal(count).astype(dtype)])
    info = np.finfo(dtype)
    results = generator.uniform(info.minexp - PRECISION[np.dtype(dtype)], info.maxexp + 1, count)
    with np.errstate(all="ignore"):
        far = (results / np.log2(np.abs(x).astype(np.float64))).astype(dtype)
        near = (results / np.log2(near_one.astype(np.float64))).astype(dtype)
    whole = generator.integers(-40, 40, (2, count)).astype(dtype)
    return np.concatenate([x, np.abs(x), near_one, whole[0]]), np.concatenate([y, far, near, whole[1]])


@pytest.mark.parametrize("name", BINARY_REFERENCES)
def test_float32_is_accurate_for_pairs(name):
    x, y = pairs(name, np.float32, 100_000)
    with np.errstate(all="ignore"):
        reference = BINARY_REFERENCES[name](x.astype(np.float64), y.astype(np.float64))
    assert_close(name, (x, y), reference)


# float64 -----------------------------------------------------------------------------------------------------------


def saturating(function: Callable, limit: float, low: float, high: float) -> Callable:
    """`function`, but `low` and `high` beyond the limits, where mpmath would take long to see the same."""
    return lambda x: low if x < -limit else high if x > limit else function(x)


def mp_erfinv(y: mpmath.mpf) -> mpmath.mpf:
    if abs(y) >= 1:
        return mpmath.mpf("nan") if abs(y) > 1 else y * mpmath.inf
    if abs(y) < 1e-100:
        return y * mpmath.sqrt(mpmath.pi) / 2
    x = mpmath.mpf(float(special.erfinv(float(y))))
    for _ in range(3):
        x -= (mpmath.erf(x) - y) / (2 / mpmath.sqrt(mpmath.pi) * mpmath.exp(-x * x))
    return x


INF = mpmath.inf
MP_REFERENCES = {
    "exp": saturating(mpmath.exp, 1000, mpmath.mpf(0), INF),
    "exp2": saturating(lambda x: mpmath.mpf(2) ** x, 2000, mpmath.mpf(0), INF),
    "expm1": saturating(mpmath.expm1, 1000, mpmath.mpf(-1), INF),
    "log": lambda x: mpmath.log(x) if x > 0 else -INF if x == 0 else mpmath.nan,
    "log1p": lambda x: mpmath.log1p(x) if x > -1 else -INF if x == -1 else mpmath.nan,
    "log2": lambda x: mpmath.log(x, 2) if x > 0 else -INF if x == 0 else mpmath.nan,
    "log10": lambda x: mpmath.log10(x) if x > 0 else -INF if x == 0 else mpmath.nan,
    "sigmoid": saturating(lambda x: 1 / (1 + mpmath.exp(-x)), 1000, mpmath.mpf(0), mpmath.mpf(1)),
    "tanh": saturating(mpmath.tanh, 1000, mpmath.mpf(-1), mpmath.mpf(1)),
    "sinh": saturating(mpmath.sinh, 1000, -INF, INF),
    "cosh": saturating(mpmath.cosh, 1000, INF, INF),
    "sin": mpmath.sin,
    "cos": mpmath.cos,
    "tan": mpmath.tan,
    "asin": lambda x: mpmath.asin(x) if abs(x) <= 1 else mpmath.nan,
    "acos": lambda x: mpmath.acos(x) if abs(x) <= 1 else mpmath.nan,
    "atan": mpmath.atan,
    "erf": saturating(mpmath.erf, 1000, mpmath.mpf(-1), mpmath.mpf(1)),
    "erfc": saturating(mpmath.erfc, 1000, mpmath.mpf(2), mpmath.mpf(0)),
    "erfinv": mp_erfinv,
    "rsqrt": lambda x: 1 / mpmath.sqrt(x) if x > 0 else INF if x == 0 else mpmath.nan,
}

# An odd function of -0 is -0, which mpmath does not know.
ODD = frozenset("expm1 log1p tanh sinh sin tan asin atan erf erfinv".split())


def mp_reference(function: Callable, *arguments: NDArray) -> tuple[NDArray, NDArray]:
    """The function's values rounded to binary64, and what that rounds away."""
    high, low = np.empty(len(arguments[0])), np.empty(len(arguments[0]))
    with mpmath.workprec(120):
        for i, values in enumerate(zip(*arguments)):
            if any(math.isnan(v) for v in values):
                high[i], low[i] = math.nan, 0.0
                continue
            result = function(*(mpmath.mpf(float(v)) for v in values))
            high[i] = float(result)
            low[i] = float(result - high[i]) if math.isfinite(high[i]) else 0.0
    return high, low


@functools.cache
def float64_inputs() -> NDArray:
    sample = every_exponent(np.float64, 3)
    sample = sample[np.random.default_rng(3).permutation(len(sample))[:2000]]
    return np.concatenate([sample, interesting(np.float64, 150)])


@pytest.mark.parametrize("name", MP_REFERENCES)
def test_float64_is_accurate_at_every_scale(name):
    x = float64_inputs()
    x = x[np.isfinite(x)]
    high, low = mp_reference(MP_REFERENCES[name], x)
    if name in ODD:
        high = np.where(x == 0, x, high)
    assert_close(name, (x,), high, low)


def mp_pow(x: mpmath.mpf, y: mpmath.mpf) -> mpmath.mpf:
    magnitude = y * mpmath.log(abs(x))
    magnitude = INF if magnitude > 1000 else mpmath.mpf(0) if magnitude < -1000 else mpmath.exp(magnitude)
    if x > 0:
        return magnitude
    if y != mpmath.nint(y):
        return mpmath.nan
    return -magnitude if int(y) % 2 else magnitude


def test_float64_pow_is_accurate():
    x, y = pairs("pow", np.float64, 700)
    usual = np.isfinite(x) & np.isfinite(y) & (x != 0) & (y != 0) & (np.abs(y) < 1e18)
    x, y = x[usual], y[usual]
    high, low = mp_reference(mp_pow, x, y)
    negative = (x < 0) & (np.fmod(y, 2) != 0)
    assert_close("pow", (x, y), np.where((high == 0) & negative, -0.0, high), low)


def test_float64_atan2_is_accurate():
    y, x = pairs("atan2", np.float64, 1000)
    usual = np.isfinite(x) & np.isfinite(y) & (x != 0) & (y != 0)
    y, x = y[usual], x[usual]
    high, low = mp_reference(mpmath.atan2, y, x)
    assert_close("atan2", (y, x), np.where(high == 0, np.copysign(0.0, y), high), low)


# Arguments that are hard to reduce ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["sin", "cos", "tan"])
def test_float64_next_to_multiples_of_half_pi(name):
    generator = np.random.default_rng(11)
    with mpmath.workprec(200):
        multiples = [*range(1, 300), *(int(n) for n in generator.integers(1, 1 << 60, 300))]
        x = np.array([float(n * mpmath.pi / 4) for n in multiples])
    # the binary64 number closest to a multiple of pi / 2 in relation to its size
    x = np.concatenate([x, [math.ldexp(6381956970095103, 797), np.finfo(np.float64).max, 2.0**1023]])
    high, low = mp_reference({"sin": mpmath.sin, "cos": mpmath.cos, "tan": mpmath.tan}[name], x)
    assert_close(name, (x,), high, low)


@pytest.mark.parametrize("name", ["sin", "cos", "tan"])
def test_float32_next_to_multiples_of_half_pi(name):
    with mpmath.workprec(300):
        hard = [float(mpmath.nint(mpmath.ldexp(1, k) / mpmath.pi) * mpmath.pi / 2) for k in range(2, 120)]
    x = np.array(hard, dtype=np.float32)
    assert_close(name, (x,), FLOAT32_REFERENCES[name](x.astype(np.float64)))


# Special values ----------------------------------------------------------------------------------------------------


def specials(dtype: type) -> NDArray:
    info = np.finfo(dtype)
    values = [0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 2.0**24 - 1, 2.0**24, 2.0**53 - 1, 2.0**60, math.inf, math.nan]
    values += [info.tiny, info.smallest_subnormal, info.max, 3 * float(info.smallest_subnormal)]
    return np.array([s * v for v in values for s in (1, -1)], dtype=dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", FLOAT32_REFERENCES)
def test_special_values(name, dtype):
    x = specials(dtype)
    with np.errstate(all="ignore"):
        reference = FLOAT32_REFERENCES[name](x)
    got = call(name, x)
    finite = np.isfinite(reference) & (reference != 0)
    np.testing.assert_array_equal(np.isnan(got), np.isnan(reference))
    np.testing.assert_array_equal(got[~finite], reference[~finite])
    signed = ~np.isnan(reference)
    np.testing.assert_array_equal(np.signbit(got[signed]), np.signbit(reference[signed]))
    np.testing.assert_allclose(got[finite], reference[finite], rtol=8 * np.finfo(dtype).eps, atol=0)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", BINARY_REFERENCES)
def test_special_pairs(name, dtype):
    x, y = (np.ascontiguousarray(a.ravel()) for a in np.meshgrid(specials(dtype), specials(dtype)))
    with np.errstate(all="ignore"):
        # in binary64, so that the oracle is the C library and not NumPy's own float32 loop
        reference = BINARY_REFERENCES[name](x.astype(np.float64), y.astype(np.float64))
    assert_close(name, (x, y), reference, 0.0)


@pytest.mark.parametrize("dtype", DTYPES)
def test_inverse_error_function_at_its_ends(dtype):
    got = call("erfinv", [1.0, -1.0, 1.5, -2.0, math.nan, math.inf, 0.0, -0.0], dtype=dtype)
    np.testing.assert_array_equal(got, [math.inf, -math.inf, math.nan, math.nan, math.nan, math.nan, 0.0, -0.0])
    assert np.signbit(got[-1])


@pytest.mark.parametrize("dtype", DTYPES)
def test_exact_results_are_exact(dtype):
    exponents = np.arange(-149 if dtype == np.float32 else -1074, 128 if dtype == np.float32 else 1024)
    powers = np.ldexp(np.ones(len(exponents), dtype), exponents)
    np.testing.assert_array_equal(call("exp2", exponents, dtype=dtype), powers)
    np.testing.assert_array_equal(call("log2", powers), exponents)
    tens = np.arange(0, 11 if dtype == np.float32 else 23)
    np.testing.assert_array_equal(call("log10", [float(10 ** int(n)) for n in tens], dtype=dtype), tens)
    bases, exponents = (a.ravel() for a in np.meshgrid(np.arange(-9, 10), np.arange(0, 7)))
    np.testing.assert_array_equal(call("pow", bases, exponents, dtype=dtype), (bases**exponents).astype(dtype))
    one = {"exp": 0, "cosh": 0, "cos": 0, "erfc": 0, "sqrt": 1, "rsqrt": 1}
    for name, argument in one.items():
        assert call(name, [argument], dtype=dtype)[0] == 1.0, name
    assert call("sigmoid", [0.0], dtype=dtype)[0] == 0.5


@pytest.mark.parametrize("dtype", DTYPES)
def test_rounding_functions_are_numpys(dtype):
    halves = np.arange(-9, 10) / 2
    x = np.concatenate([every_exponent(dtype, 16 if dtype == np.float32 else 4), halves.astype(dtype)])
    for name in ("floor", "ceil", "trunc", "rint", "fabs"):
        with np.errstate(all="ignore"):
            reference = getattr(np, name)(x)
        got = call(name, x)
        np.testing.assert_array_equal(got, reference, err_msg=name)
        assert (np.signbit(got) == np.signbit(reference))[~np.isnan(x)].all(), name
    np.testing.assert_array_equal(bits(call("copysign", x, -x)), bits(np.copysign(x, -x)))


# The scalar functions ----------------------------------------------------------------------------------------------


def test_lgamma_is_the_c_librarys():
    x = np.concatenate([np.linspace(-5.3, 40, 500), [0.0, -0.0, -1.0, math.inf, math.nan]])
    np.testing.assert_allclose(call("lgamma", x), special.gammaln(x), rtol=1e-13, atol=1e-13)
    x = x.astype(np.float32)
    np.testing.assert_allclose(call("lgamma", x), special.gammaln(x.astype(np.float64)), rtol=1e-6, atol=1e-37)


def test_digamma_of_positive_arguments_is_accurate_even_at_the_root():
    generator = np.random.default_rng(5)
    x = np.concatenate([generator.uniform(0, 4, 400), 10.0 ** generator.uniform(-300, 300, 200), [1.4616321449683622]])
    high, low = mp_reference(mpmath.digamma, x)
    assert errors_in_ulp(call("digamma", x), high, low).max() <= 8
    x = x[(x > 1e-37) & (x < 1e38)].astype(np.float32)
    assert errors_in_ulp(call("digamma", x), mp_reference(mpmath.digamma, x)[0]).max() <= 1


@pytest.mark.parametrize("dtype", DTYPES)
def test_digamma_of_negative_arguments_and_poles_is_torchs(dtype):
    torch = pytest.importorskip("torch")
    x = np.concatenate([np.linspace(-20.03, -0.02, 300), [0.0, -0.0, -1.0, -7.0, math.inf, -math.inf, math.nan]])
    x = x.astype(dtype)
    tolerance = 1e-11 if dtype == np.float64 else 2e-4
    reference = torch.digamma(torch.from_numpy(x)).numpy()
    np.testing.assert_allclose(call("digamma", x), reference, rtol=tolerance, atol=tolerance)


# Code --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", sorted(vmath.VECTORISABLE))
def test_loop_is_vectorised(name, dtype):
    (llvm_ir,) = compiled(name, dtype).inspect_llvm().values()
    element = "(float|i32)" if dtype == np.float32 else "(double|i64)"
    assert re.search(rf"store <\d+ x {element}>", llvm_ir), "no packed store"
    assert not re.search(r"call .*\b(float|double)>? @(?!llvm\.)", llvm_ir), "a call of a scalar function"
    (assembly,) = compiled(name, dtype).inspect_asm().values()
    packed = r"\b[a-z0-9]+p[sd]\t.*[xyz]mm" if "mm0" in assembly else r"\bv\d+\.(4s|2d)\b"
    assert re.search(packed, assembly), "no packed instruction"
    assert not re.search(r"\b(exp|log|tanh|erf|sin|cos|tan|pow|atan)[a-z0-9]*\b@|\$(exp|log|sin|cos|pow)f?\b", assembly)


def test_result_does_not_depend_on_the_place_in_the_loop():
    for dtype in DTYPES:
        x = np.random.default_rng(2).standard_normal(67).astype(dtype) * 3
        for name in sorted(vmath.VECTORISABLE):
            arguments = (x,) * vmath.ARITY[name]
            whole = call(name, *arguments)
            alone = np.concatenate([call(name, *(a[i : i + 1] for a in arguments)) for i in range(len(x))])
            np.testing.assert_array_equal(bits(whole), bits(alone), err_msg=name)


@pytest.mark.parametrize("name", ["exp", "log", "log1p", "tanh", "sin", "erf", "pow"])
def test_fast_math_of_the_kernel_does_not_reach_the_function(name):
    x = np.concatenate([specials(np.float64), float64_inputs()])
    arguments = (x, x[::-1].copy())[: vmath.ARITY[name]]
    np.testing.assert_array_equal(bits(call(name, *arguments, fastmath=True)), bits(call(name, *arguments)))


PORTABLE = "exp log tanh erf sin pow".split()


def digest() -> str:
    """A hash of many results; run in another process too, which compiles for another processor."""
    hashed = hashlib.sha256()
    for dtype in DTYPES:
        x = every_exponent(dtype, 4 if dtype == np.float32 else 1)
        for name in PORTABLE:
            got = call(name, *(x, x[::-1])[: vmath.ARITY[name]])
            hashed.update(np.where(np.isnan(got), dtype(1.0), got).tobytes())
    return hashed.hexdigest()


def test_a_processor_without_fma_or_wide_vectors_gives_the_same_bits():
    environment = os.environ | {"NUMBA_CPU_NAME": "generic", "NUMBA_CPU_FEATURES": ""}
    code = f"import runpy; print(runpy.run_path({__file__!r})['digest']())"
    other = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert other.stdout.strip() == digest()


def test_arguments_must_be_floats_of_one_type():
    power, exp = vmath.FUNCTIONS["pow"], vmath.FUNCTIONS["exp"]
    with pytest.raises(numba.TypingError):
        numba.njit("float64(float32, float64)")(lambda x, y: power(x, y))
    with pytest.raises(numba.TypingError):
        numba.njit("float64(int64)")(lambda x: exp(x))


def test_coefficients_are_what_the_fit_gives():
    with mpmath.workprec(vmath_fit.PRECISION_BITS):
        table = {fit.name: fit for fit in vmath_fit.fits()}
        for name in ("sin", "expm1"):
            refitted, error = vmath_fit.representable_coefficients(table[name], table[name].sizes[0], 24)
            assert tuple(refitted) == COEFFICIENTS[name][32]
            assert error < -30
