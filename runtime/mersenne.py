"""The CPU's random streams: PyTorch's Mersenne Twister, value for value, in NumPy.

What comes in is a seed and a sequence of requests ("ten uniforms, then a permutation of seven"); what goes out are
NumPy arrays equal to what PyTorch's CPU generator gives for the same seed and the same requests, so that a model
initialised here starts from PyTorch's weights. The streams were established by experiment against PyTorch 2.13 on
x86-64.

How many 32-bit words of the twister a sample takes is as much part of the stream as its value:

=============================================== ======================================================================
request                                         words
=============================================== ======================================================================
uniform: float32 and 16-bit floats              1 a value: the low 24 bits
uniform: float64                                2 a value, high half first: the low 53 bits
integers in a range below 2**28                 1 a value, modulo the range
integers in a range of 2**28 or more            2 a value, high half first, modulo the range
normal: 16 values or more                       those of as many uniforms; a rest redraws the last 16 values
normal: fewer than 16 values, or ``serial``     4 a pair (the second of the pair is kept for the next request)
bernoulli(p array)                              those of as many uniforms of p's dtype
bernoulli(p), exponential, geometric, cauchy    2 a value
log_normal                                      4 a pair, as ``serial`` normals
permutation of n < 2**32 // 20                  1 for each position but the last
permutation of more                             2 for every position
poisson, binomial                               2 a uniform, of which there are as many as it takes
=============================================== ======================================================================

Where the C library decides (logarithms in float64) the numbers are equal on the same C library. Two configurations of
PyTorch agree with this module in distribution only: built for a processor without AVX2 it makes float32 normals with
the C library's functions, and on Intel processors it may take ``exponential_`` and ``bernoulli_(p)`` from MKL's own
generator.

Read next: ``sampling.py``, the arithmetic that turns uniforms into samples.
"""

from __future__ import annotations

import math
import secrets
import sys
import threading
import warnings
from collections.abc import Callable, Iterator

import numpy as np
from flamework.runtime import rejection
from flamework.runtime.sampling import (
    INTEGERS,
    SIGNIFICAND_BITS,
    box_muller_float32,
    box_muller_float64,
    cast,
    dtype_name,
    empty,
    floating_dtype_name,
    integer_bounds,
    libm,
    representable_range,
    scale,
    shuffle_backwards,
    shuffle_forwards,
)
from numpy.typing import ArrayLike, DTypeLike, NDArray

__all__ = ["STATE_BYTES", "Mt19937Generator"]

_F4, _F8, _I4, _U4, _U8 = np.float32, np.float64, np.int32, np.uint32, np.uint64

# 32k words: the float64 scratch of one block of normals (128 KiB an array) stays in the second-level cache, and below
# the size from which the C allocator hands memory back to the system after every use. Measured: twice the block is as
# fast, four times the block half as fast.
_BLOCK = 1 << 15

_WORDS = 624  # the twister's state, in words
_PAIRED_WORDS_FROM = 1 << 28  # integer ranges from this size take two words a value
_HUGE_PERMUTATION_FROM = 2**32 // 20  # permutations from this size use 64-bit draws

# ------------------------------------------------------------------------------------------------------------ generator

# The 5056 bytes of torch.get_rng_state(). "left" counts the words (and one) until the state is regenerated.
_STATE = np.dtype([
    ("seed", "<u8"), ("left", "<i4"), ("seeded", "<i4"), ("next", "<u8"), ("words", "<u8", (_WORDS,)),
    ("unused_x", "<f8"), ("next_double", "<f8"), ("unused_rho", "<f8"), ("has_next_double", "<i4"), ("padding", "<i4"),
    ("next_float", "<f4"), ("has_next_float", "u1"), ("padding_end", "u1", (3,)),
])  # fmt: skip
STATE_BYTES = _STATE.itemsize


def _blocks(n: int) -> Iterator[slice]:
    for start in range(0, n, _BLOCK):
        yield slice(start, min(start + _BLOCK, n))


class Mt19937Generator:
    """PyTorch's CPU generator (``torch.Generator``): one 32-bit Mersenne Twister and a normal kept in reserve.

    Every sampler takes a count ``n`` and returns a one-dimensional array, in the order in which PyTorch fills a
    contiguous tensor of n elements. A dtype is anything that NumPy understands, or the string ``"bfloat16"``; bfloat16
    results are uint16 arrays of bit patterns. The methods may be called from several threads; each call is one step of
    the stream.

    Errors: ``RuntimeError`` for a parameter that PyTorch refuses, ``ValueError`` for a seed out of range, ``TypeError``
    for a state that is not an array of bytes.

    Source: PyTorch's pages "torch.Generator" and "Random sampling".

    >>> Mt19937Generator(0).rand(2)
    array([0.4962566, 0.7682218], dtype=float32)
    """

    def __init__(self, seed: int = 67280421310721) -> None:
        self._lock = threading.RLock()
        self._twister = np.random.MT19937(0)
        # RandomState's integer streams are frozen by NumPy's compatibility policy (NEP 19), and are the words as they
        # come.
        self._stream = np.random.RandomState(self._twister)
        self.manual_seed(seed)

    # State

    def manual_seed(self, seed: int) -> Mt19937Generator:
        """Start the stream of ``seed``, an integer in [-2**63, 2**64); a negative one counts back from 2**64.

        The twister takes the low 32 bits, :meth:`initial_seed` reports all of them. Returns the generator.
        """
        if not -(2**63) <= seed < 2**64:
            raise ValueError(f"a seed lies in [-2**63, 2**64), and {seed} does not")
        with self._lock:
            self._seed = int(seed) % 2**64
            self._stream.seed(self._seed & 0xFFFFFFFF)
            self._untouched = True
            self._next_double: float | None = None
            self._next_float: float | None = None
        return self

    def seed(self) -> int:
        """Seed from the operating system's randomness, and return the 64-bit seed."""
        seed = secrets.randbits(64)
        self.manual_seed(seed)
        return seed

    def initial_seed(self) -> int:
        """The seed of this stream, in [0, 2**64)."""
        return self._seed

    def get_state(self) -> NDArray[np.uint8]:
        """The state as ``STATE_BYTES`` (5056) bytes in the layout of ``torch.get_rng_state()``."""
        with self._lock:
            twister = self._twister.state["state"]
            state = np.zeros((), _STATE)
            position = 0 if self._untouched else int(twister["pos"])
            state["seed"], state["seeded"], state["words"] = self._seed, 1, twister["key"]
            state["next"], state["left"] = position, 1 if self._untouched else _WORDS + 1 - position
            if self._next_double is not None:
                state["next_double"], state["has_next_double"] = self._next_double, 1
            if self._next_float is not None:
                state["next_float"], state["has_next_float"] = self._next_float, 1
            return np.frombuffer(state.tobytes(), np.uint8).copy()

    def set_state(self, state: ArrayLike) -> None:
        """Continue from a state that :meth:`get_state` or ``torch.get_rng_state().numpy()`` returned."""
        state = np.asarray(state)
        if state.dtype != np.uint8:
            raise TypeError(f"a generator's state is an array of uint8, not of {state.dtype.name}")
        if state.size != STATE_BYTES:
            raise RuntimeError(f"a generator's state has {STATE_BYTES} bytes, and this array has {state.size}")
        fields = np.frombuffer(np.ascontiguousarray(state).tobytes(), _STATE)[0]
        left, position = int(fields["left"]), int(fields["next"])
        untouched = left == 1 and position == 0
        if fields["seeded"] != 1 or not (untouched or (0 < position <= _WORDS and left + position == _WORDS + 1)):
            raise RuntimeError("these bytes are not the state of a Mersenne Twister: its position is inconsistent")
        with self._lock:
            self._twister.state = {
                "bit_generator": "MT19937",
                "state": {"key": fields["words"].astype(_U4), "pos": _WORDS if untouched else position},
            }
            self._seed, self._untouched = int(fields["seed"]), untouched
            self._next_double = float(fields["next_double"]) if fields["has_next_double"] else None
            self._next_float = float(fields["next_float"]) if fields["has_next_float"] else None

    # Words and uniforms

    def random_raw(self, n: int) -> NDArray[np.uint32]:
        """The next ``n`` words of the twister, uint32."""
        with self._lock:
            self._untouched = self._untouched and n == 0
            return self._stream.randint(0, 2**32, n, dtype=_U4)

    def _raw64(self, n: int) -> NDArray[np.uint64]:
        """``n`` 64-bit integers of two words each, the first the high half."""
        pairs = self.random_raw(2 * n).view(_U8)
        if sys.byteorder == "little":
            low = pairs >> _U8(32)
            pairs <<= _U8(32)
            pairs |= low
        return pairs

    def _unit(self, n: int, name: str) -> NDArray:
        """``n`` uniforms on [0, 1): float64 of 53 bits for float64, float32 of 24 bits for the other dtypes."""
        real, digits = (_F8, 53) if name == "float64" else (_F4, 24)
        out = np.empty(n, real)
        for part in _blocks(n):
            count = part.stop - part.start
            if name == "float64":
                # Through signed integers: they convert to floating point with one instruction, unsigned ones do not.
                integers = (self._raw64(count) & _U8((1 << 53) - 1)).view(np.int64)
            else:
                integers = self.random_raw(count)
                integers &= _U4((1 << 24) - 1)
                integers = integers.view(_I4)
            out[part] = integers
            out[part] *= real(2.0**-digits)
        return out

    def rand(self, n: int, dtype: DTypeLike = _F4) -> NDArray:
        """``n`` uniforms on [0, 1), as ``torch.rand``. Bit for bit, for the four floating dtypes.

        >>> Mt19937Generator(0).rand(2, "float64")
        array([0.970053  , 0.70781986])
        """
        return self.uniform(n, dtype=dtype)

    def uniform(self, n: int, low: float = 0.0, high: float = 1.0, dtype: DTypeLike = _F4) -> NDArray:
        """``n`` uniforms on [low, high), as ``Tensor.uniform_``. Bit for bit, for the four floating dtypes.

        Raises RuntimeError unless ``low <= high`` and both, and their difference, are finite in the dtype.
        """
        name = floating_dtype_name(dtype, "uniform")
        largest = {"float16": 65504.0, "bfloat16": 3.3895313892515355e38}.get(name) or float(np.finfo(name).max)
        for role, bound in (("low", low), ("high", high)):
            if not -largest <= bound <= largest:
                raise RuntimeError(f"uniform: {role} = {bound} is out of bounds for {name}")
        if low > high:
            raise RuntimeError(f"uniform draws from [low, high), and low = {low} is greater than high = {high}")
        if high - low > largest:
            raise RuntimeError(f"uniform: high - low = {high - low} is out of bounds for {name}")
        real = _F8 if name == "float64" else _F4
        low, high = real(low), real(high)
        with self._lock:
            if name in ("float32", "float64") and low == 0 and high == 1:
                return self._unit(n, name)
            out = empty(n, name)
            # Rounding may reach ``high``, which the interval excludes; such a sample becomes ``low``.
            ends = cast(np.array([low, high], real), name)
            for part in _blocks(n):
                values = cast(scale(self._unit(part.stop - part.start, name), high - low, low), name)
                out[part] = np.where(values == ends[1], ends[0], values)
            return out

    # Normals

    def randn(self, n: int, dtype: DTypeLike = _F4) -> NDArray:
        """``n`` standard normals, as ``torch.randn``.

        float32, 16-bit floats and fewer than 16 float64: bit for bit. From 16 float64 values on: bit for bit where
        NumPy's cosine and sine are the C library's, else to their last place.

        >>> Mt19937Generator(0).randn(2)
        array([ 1.5409961, -0.2934289], dtype=float32)
        """
        return self.normal(n, dtype=dtype)

    def normal(
        self, n: int, mean: float = 0.0, std: float = 1.0, dtype: DTypeLike = _F4, *, serial: bool = False
    ) -> NDArray:
        """``n`` normals, as ``Tensor.normal_``; exact as :meth:`randn`.

        Sixteen and more are made in blocks of 16. Fewer, and any number with ``serial=True`` (what PyTorch does for a
        tensor which is not contiguous), are made one pair at a time, and the second of a pair is kept for the next
        request. Raises RuntimeError if ``std`` is negative.
        """
        name = floating_dtype_name(dtype, "normal")
        if not std >= 0:
            raise RuntimeError(f"normal expects std >= 0, and found std = {std}")
        with self._lock:
            if n < 16 or serial:
                return cast(scale(self._serial_normals(n), std, mean), name)
            real, transform = (_F8, box_muller_float64) if name == "float64" else (_F4, box_muller_float32)
            normals = np.empty(n, real)
            whole = n - n % 16
            for part in _blocks(whole):
                uniforms = self._unit(part.stop - part.start, name).reshape(-1, 16)
                transform(uniforms, normals[part].reshape(-1, 16), mean, std)
            if whole < n:
                if name in ("float32", "float64"):
                    # PyTorch fills the tensor with uniforms first; those of the rest are drawn and overwritten.
                    self._unit(n - whole, name)
                transform(self._unit(16, name).reshape(1, 16), normals[-16:].reshape(1, 16), mean, std)
            return cast(normals, name)

    def _serial_normals(self, n: int) -> NDArray[np.float64]:
        normals = np.empty(n, _F8)
        kept = 0
        if n and self._next_double is not None:
            normals[0], self._next_double, kept = self._next_double, None, 1
        pairs = (n - kept + 1) // 2
        uniforms = self._unit(2 * pairs, "float64")
        radius = np.sqrt(-2.0 * libm(math.log1p, np.log1p, -uniforms[1::2]))
        theta = (2 * math.pi) * uniforms[0::2]
        normals[kept::2] = radius * np.cos(theta)
        sines = radius * np.sin(theta)
        if (n - kept) % 2:
            self._next_double = float(sines[-1])
        normals[kept + 1 :: 2] = sines[: (n - kept) // 2]
        return normals

    def log_normal(self, n: int, mean: float = 1.0, std: float = 2.0, dtype: DTypeLike = _F4) -> NDArray:
        """``n`` samples whose logarithm is normal, as ``Tensor.log_normal_``; exact as serial normals.

        Raises RuntimeError unless ``std > 0``.
        """
        name = floating_dtype_name(dtype, "log_normal")
        if not std > 0:
            raise RuntimeError(f"log_normal expects std > 0, and found std = {std}")
        with self._lock:
            logarithms = scale(self._serial_normals(n), std, mean)
        return cast(self._exact(math.exp, np.exp, logarithms, name), name)

    # Integers

    def randint(self, n: int, low: int, high: int, dtype: DTypeLike = np.int64) -> NDArray:
        """``n`` integers from [low, high), as ``torch.randint``. Bit for bit, for every real dtype.

        Raises RuntimeError for an empty range or one that the dtype cannot hold; warns (UserWarning) where a floating
        dtype cannot tell all the integers of the range apart.

        >>> Mt19937Generator(0).randint(4, 0, 10)
        array([4, 9, 3, 0])
        """
        name = dtype_name(dtype)
        if name not in INTEGERS and name not in SIGNIFICAND_BITS:
            raise RuntimeError(f"randint gives integers, booleans or floating-point numbers, not {name}")
        if low >= high:
            raise RuntimeError(f"randint draws from [low, high), and low = {low} is not less than high = {high}")
        smallest, largest = integer_bounds(name)
        for role, end in (("low", low), ("high - 1", high - 1)):
            if not smallest <= end <= largest:
                raise RuntimeError(f"randint: {role} = {end} is out of bounds for {name}")
        if name in SIGNIFICAND_BITS:
            exact = 2 ** SIGNIFICAND_BITS[name]
            low, high = representable_range(low, high, name)
            if low >= high:
                raise RuntimeError(f"randint: no integer of the range is a {name}")
            if low < -exact or high - 1 > exact:
                warnings.warn(
                    f"randint: {name} has every integer of [-{exact}, {exact}] only, and the range goes beyond",
                    stacklevel=2,
                )
        with self._lock:
            return self._integers(n, low, high - low, name)

    def random_(self, n: int, dtype: DTypeLike = np.int64, low: int | None = None, high: int | None = None) -> NDArray:
        """``n`` integers as ``Tensor.random_``: from [low, high), from ``low`` to the dtype's largest, or of all sizes.

        Without bounds: 0 up to the largest of an integer dtype, 0 or 1 for bool, 0 up to 2**24 for float32, 2**53 for
        float64, 2**11 for float16 and 2**8 for bfloat16. With ``low = -2**63`` alone, for int64, float32, float64 and
        bfloat16: all 64-bit integers. Bit for bit.
        """
        name = dtype_name(dtype)
        if high is not None:
            return self.randint(n, 0 if low is None else low, high, name)
        if name in SIGNIFICAND_BITS:
            largest = 2 ** SIGNIFICAND_BITS[name]
        elif name in INTEGERS and name != "uint64" and (low is not None or name not in ("uint16", "uint32")):
            largest = integer_bounds(name)[1]
        else:
            raise RuntimeError(f"random_ without an upper bound is not defined for {name}")
        with self._lock:
            if low is None:
                paired = name in ("int64", "float64")
                return self._integers(n, 0, largest + 1, name, paired=paired)
            if low == -(2**63) and name in ("int64", "float32", "float64", "bfloat16"):
                return self._integers(n, 0, 2**64, name)
            smallest = -(2**63) if name in SIGNIFICAND_BITS else integer_bounds(name)[0]
            if not smallest <= low <= largest or (low == largest and name in SIGNIFICAND_BITS):
                raise RuntimeError(f"random_: low = {low} leaves no integer up to {largest}, the largest for {name}")
            return self._integers(n, low, largest + 1 - low, name)

    def _integers(self, n: int, low: int, size: int, name: str, paired: bool | None = None) -> NDArray:
        """``n`` integers from ``low`` on, a word (or, ``paired``, two words) modulo ``size`` each."""
        if paired is None:
            paired = size >= _PAIRED_WORDS_FROM
        out = empty(n, name)
        for part in _blocks(n):
            count = part.stop - part.start
            if paired:
                values = self._raw64(count)
                if size < 2**64:
                    values %= _U8(size)
                values += _U8(low % 2**64)  # wraps, and so is right for negative numbers
            else:
                values = self.random_raw(count)
                values %= _U4(size)
                if low:
                    values = values.astype(_U8)
                    values += _U8(low % 2**64)
            if values.dtype == _U8 and name != "uint64":
                values = values.view(np.int64)
            out[part] = cast(values, name)
        return out

    def randperm(self, n: int, dtype: DTypeLike = np.int64) -> NDArray:
        """A random permutation of 0, 1, ..., n - 1, as ``torch.randperm``. Bit for bit.

        Below 2**32 // 20 the shuffle runs forwards on 32-bit draws, from there on backwards on 64-bit draws; both are
        resolved without a loop over the elements, in about 60 bytes of memory an element. Raises RuntimeError if ``n``
        is negative, above 2**32, or if the dtype does not hold every integer below ``n`` (bfloat16 is rounded instead,
        as in PyTorch).

        >>> Mt19937Generator(0).randperm(5)
        array([4, 0, 1, 3, 2])
        """
        name = dtype_name(dtype)
        if name not in ("uint8", "int8", "int16", "int32", "int64") and name not in SIGNIFICAND_BITS:
            raise RuntimeError(f"randperm gives signed integers, uint8 or floating-point numbers, not {name}")
        largest = 2 ** SIGNIFICAND_BITS[name] if name in SIGNIFICAND_BITS else integer_bounds(name)[1]
        if n < 0 or n > 2**32 or (n - 1 > largest and name != "bfloat16"):
            raise RuntimeError(f"randperm: n = {n} is not a length for a permutation of {name} numbers")
        with self._lock:
            if n < _HUGE_PERMUTATION_FROM:
                return cast(self._permutation(n), name)
            return cast(self._huge_permutation(n), name)

    def _permutation(self, n: int) -> NDArray:
        partners = np.arange(n, dtype=_U4)
        # The last position has no other partner left and takes no word.
        partners[:-1] += self.random_raw(max(n - 1, 0)) % (_U4(n) - partners[:-1])
        return shuffle_forwards(partners.view(_I4))

    def _huge_permutation(self, n: int) -> NDArray:
        partners = np.empty(n, _I4 if n < 2**31 else np.int64)
        for part in _blocks(n):
            partners[part] = self._raw64(part.stop - part.start) % np.arange(part.start + 1, part.stop + 1, dtype=_U8)
        return shuffle_backwards(partners)

    # Other distributions

    def _exact(self, function: Callable[[float], float], ufunc: np.ufunc, values: NDArray, name: str) -> NDArray:
        """A float64 function whose last place matters only if the result stays float64."""
        if name == "float64":
            return libm(function, ufunc, values)
        with np.errstate(all="ignore"):
            return ufunc(values)

    def bernoulli(self, p: float | NDArray, n: int | None = None, dtype: DTypeLike | None = None) -> NDArray:
        """Zeros and ones, each a one with probability ``p``.

        With a number ``p``: ``n`` of them, as ``Tensor.bernoulli_(p)``, by default float32. With a float16, float32 or
        float64 array ``p``: one for each element, in its shape, as ``torch.bernoulli(p)``, by default in its dtype.
        Bit for bit; PyTorch on Intel processors may use MKL's stream for the first form. Raises RuntimeError if a
        probability is outside of [0, 1].
        """
        if isinstance(p, np.ndarray):
            if n is not None:
                raise RuntimeError("bernoulli takes a count only with a single probability; an array has its own shape")
            name = floating_dtype_name(p.dtype, "bernoulli")
            if not ((p >= 0) & (p <= 1)).all():
                raise RuntimeError("bernoulli expects probabilities in [0, 1]")
            with self._lock:
                hits = self._unit(p.size, name).reshape(p.shape) < p
            return cast(hits, name if dtype is None else dtype_name(dtype))
        if n is None:
            raise RuntimeError("bernoulli with a single probability needs a count")
        if not 0 <= p <= 1:
            raise RuntimeError(f"bernoulli expects p in [0, 1], and found p = {p}")
        out = empty(n, name := dtype_name(_F4 if dtype is None else dtype))
        with self._lock:
            for part in _blocks(n):
                out[part] = cast(self._unit(part.stop - part.start, "float64") < p, name)
        return out

    def exponential(self, n: int, rate: float = 1.0, dtype: DTypeLike = _F4) -> NDArray:
        """``n`` exponentials of mean ``1 / rate``, as ``Tensor.exponential_``.

        Bit for bit; PyTorch on Intel processors may use MKL's stream instead. Raises RuntimeError unless ``rate > 0``.
        """
        name = floating_dtype_name(dtype, "exponential")
        if not rate > 0:
            raise RuntimeError(f"exponential expects rate > 0, and found rate = {rate}")
        return self._transformed(n, name, lambda u: (-1.0 / rate) * self._exact(math.log1p, np.log1p, -u, name))

    def geometric(self, n: int, p: float, dtype: DTypeLike = _F4) -> NDArray:
        """``n`` numbers of trials up to the first success, 1, 2, ..., as ``Tensor.geometric_``. Bit for bit.

        Raises RuntimeError unless ``0 < p < 1``.
        """
        if not 0 < p < 1:
            raise RuntimeError(f"geometric expects p in (0, 1), and found p = {p}")
        with np.errstate(divide="ignore"):
            return self._transformed(n, dtype_name(dtype), lambda u: np.ceil(np.log(u) / math.log1p(-p)))

    def cauchy(self, n: int, median: float = 0.0, sigma: float = 1.0, dtype: DTypeLike = _F4) -> NDArray:
        """``n`` Cauchy samples, as ``Tensor.cauchy_``. Bit for bit. Raises RuntimeError unless ``sigma > 0``."""
        name = floating_dtype_name(dtype, "cauchy")
        if not sigma > 0:
            raise RuntimeError(f"cauchy expects sigma > 0, and found sigma = {sigma}")
        return self._transformed(
            n, name, lambda u: scale(self._exact(math.tan, np.tan, math.pi * (u - 0.5), name), sigma, median)
        )

    def _transformed(self, n: int, name: str, transform: Callable[[NDArray], NDArray]) -> NDArray:
        """``n`` samples of dtype ``name``, each made from one float64 uniform."""
        out = empty(n, name)
        with self._lock:
            for part in _blocks(n):
                out[part] = cast(transform(self._unit(part.stop - part.start, "float64")), name)
        return out

    def poisson(self, rates: NDArray[np.float64]) -> NDArray[np.float64]:
        """One Poisson number for each rate, as ``torch.poisson``. Rates are not negative."""
        return self._rejected(rejection.poisson, rates)

    def binomial(self, counts: NDArray[np.float64], probabilities: NDArray[np.float64]) -> NDArray[np.float64]:
        """One binomial number for each count and probability, as ``torch.binomial``."""
        return self._rejected(rejection.binomial, counts, probabilities)

    def _rejected(self, sample: Callable[..., float], *parameters: NDArray[np.float64]) -> NDArray[np.float64]:
        """``sample`` of each element's parameters. How many uniforms that takes is known afterwards: they are drawn
        ahead, and the stream is set back to where it was and moved by as many."""
        with self._lock:
            state, used = self.get_state(), 0

            def uniforms() -> Iterator[float]:
                nonlocal used
                size = 64
                while True:
                    for value in self._unit(size, "float64").tolist():
                        used += 1
                        yield value
                    size = min(2 * size, 1 << 16)

            draw = uniforms().__next__
            rows = zip(*(values.tolist() for values in parameters), strict=True)
            out = np.array([sample(*row, draw) for row in rows], np.float64)
            self.set_state(state)
            self._unit(used, "float64")
            return out

    def multinomial(self, probabilities: NDArray, num_samples: int, replacement: bool = False) -> NDArray[np.int64]:
        """``num_samples`` category numbers per distribution, as ``torch.multinomial``.

        ``probabilities`` (float32 or float64, shape ``(m,)`` or ``(k, m)``) need not sum to one. Returns int64 of shape
        ``(num_samples,)`` or ``(k, num_samples)``. Without replacement, and for a single sample, categories come in the
        order of ``p / exponential``, largest first; where zero probabilities must be drawn, their order is ours.
        Otherwise bit for bit.

        Raises RuntimeError for negative or non-finite probabilities, a distribution that sums to zero, or a number of
        samples that is not positive or, without replacement, exceeds m.
        """
        name = dtype_name(probabilities.dtype)
        if name not in ("float32", "float64") or probabilities.ndim not in (1, 2):
            raise RuntimeError(
                "multinomial expects one or two dimensions of float32 or float64 probabilities, "
                f"and found {probabilities.ndim} of {name}"
            )
        categories = probabilities.shape[-1]
        if num_samples <= 0:
            raise RuntimeError(f"multinomial cannot draw {num_samples} samples")
        if not replacement and num_samples > categories:
            raise RuntimeError(f"multinomial cannot draw {num_samples} of {categories} categories without replacement")
        rows = np.atleast_2d(probabilities)
        if not ((rows >= 0) & np.isfinite(rows)).all():
            raise RuntimeError("multinomial: a probability is negative, infinite or NaN")
        if not (rows.sum(axis=1) > 0).all():
            raise RuntimeError("multinomial: the probabilities of a distribution sum to zero")
        with self._lock:
            if replacement and num_samples > 1:
                # A running sum in the probabilities' own precision, searched with float64 uniforms.
                cumulative = np.cumsum(rows, axis=1, dtype=rows.dtype)
                cumulative /= cumulative[:, -1:]
                uniforms = self._unit(len(rows) * num_samples, "float64").reshape(len(rows), num_samples)
                picks = [np.searchsorted(row, u, side="left") for row, u in zip(cumulative, uniforms, strict=True)]
                drawn = np.array(picks, np.int64).reshape(len(rows), num_samples)
            else:
                with np.errstate(divide="ignore", invalid="ignore"):
                    race = rows / self.exponential(rows.size, dtype=name).reshape(rows.shape)
                drawn = np.argsort(-race, axis=1, kind="stable")[:, :num_samples]
        return drawn.reshape(*probabilities.shape[:-1], num_samples).astype(np.int64)
