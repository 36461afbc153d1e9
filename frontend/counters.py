"""Random numbers of a GPU: nodes that compute them from counters.

A generator hands out stretches of counters, and Philox makes 32 bits of each: the numbers are a function of seed and
position, which a kernel computes where it needs them. Seeds and positions are arguments of kernels, so that another
seed or another call compiles nothing. The distributions are PyTorch's, the numbers are not those of its GPUs.

:class:`CounterStream` has the methods of ``runtime/mersenne.py``, with nodes for arrays.

In: counts and parameters. Out: nodes of one axis. Read next: ``random.py``.
"""

from __future__ import annotations

import math
import secrets
from collections.abc import Callable

import numpy as np

from . import formulas as f
from .compiler import dtypes, primitives as p, primitives_shape as s
from .compiler.dtypes import FLOATING, DType
from .compiler.ir import Node
from .compiler.philox import philox_u32
from .runtime import engine
from .runtime.mersenne import Mt19937Generator

# The random bits of a number in [0, 1): as many as its dtype can tell apart there.
_DIGITS = {"float16": 11, "bfloat16": 8, "float32": 24}
# Ranges of integers from this size take two counters a value.
_WIDE_FROM = 1 << 28


def counters(take: Callable[[], tuple[int, int]], size: int, place: str) -> tuple[Node, Node, Node]:
    """The positions 0, 1, ... of a stretch of counters, its first counter, and its key, each ``[size]``.

    Args:
        take: takes a stretch from a generator and returns its key and first counter; called again at every replay of a
            function that is recorded.
    """
    if engine.refuse is None:
        key, first = take()
    else:
        from .capture import drawn_integers

        key, first = drawn_integers(take)
    position = p.iota(params=((size,), dtypes.int64, place, 0))
    start, seed = f.argument(position, 0), f.argument(position, 0)
    # a recorded function takes new ones at every replay, so these may be numbers that know where they come from
    start.value, seed.value = first, key
    return position, start, seed


def unit_interval(bits: Node, dtype: DType) -> Node:
    """Numbers in [0, 1) of 32 random bits each, of which a 16-bit or 32-bit float takes as many as it has digits."""
    digits = _DIGITS.get(dtype.name, 24)
    kept = p.band(p.shr(bits, f.constant(bits, 32 - digits)), f.constant(bits, 2**digits - 1))
    return p.scale(f.converted(kept, dtype), 2.0**-digits)


def hits(bits: Node, probability: float) -> Node:
    """Bools that are True with a probability that is exact to 2**-32, of 32 random bits each."""
    below = round(probability * 2**32)
    if below <= 0 or below >= 2**32:
        return f.filled(bits.type.shape, dtypes.bool_, bits.type.device, below > 0)
    # of the 2**32 signed values so many lie below the bound
    return p.lt(bits, f.argument(bits, below - 2**31))


class CounterStream:
    """The numbers of a generator on a GPU.

    Args:
        place: the compiler's name of the device.
        take: takes so many counters of the generator; returns its key and the first of them.
    """

    def __init__(self, place: str, take: Callable[[int], tuple[int, int]]) -> None:
        self._place = place
        self._take = take
        self._seed = Mt19937Generator().initial_seed()

    def manual_seed(self, seed: int) -> CounterStream:
        """Start the stream of ``seed``, an integer in [-2**63, 2**64)."""
        if not -(2**63) <= seed < 2**64:
            raise ValueError(f"a seed lies in [-2**63, 2**64), and {seed} does not")
        self._seed = int(seed) % 2**64
        return self

    def seed(self) -> int:
        """Seed from the operating system's randomness, and return the seed."""
        return self.manual_seed(secrets.randbits(64))._seed

    def initial_seed(self) -> int:
        return self._seed

    # Bits and uniform numbers

    def _bits(self, count: int) -> Node:
        """32 random bits for each of ``count`` elements, as int32."""
        position, start, key = counters(lambda: self._take(count), count, self._place)
        return p.philox(p.add(position, start), key)

    def _words(self, count: int) -> Node:
        """The same as int64, not negative."""
        words = f.converted(self._bits(count), dtypes.int64)
        return p.band(words, f.constant(words, 0xFFFFFFFF))

    def _pairs(self, count: int) -> Node:
        """64 random bits for each of ``count`` elements, as int64."""
        high = self._words(count)
        return p.bor(p.shl(high, f.constant(high, 32)), self._words(count))

    def _fraction(self, count: int) -> Node:
        """The first 53 of 64 random bits, as float64 in [0, 2**53)."""
        pairs = self._pairs(count)
        shifted = p.band(p.shr(pairs, f.constant(pairs, 11)), f.constant(pairs, 2**53 - 1))
        return f.converted(shifted, dtypes.float64)

    def _unit(self, count: int, dtype: DType) -> Node:
        """Numbers in [0, 1)."""
        if dtype is dtypes.float64:
            return p.scale(self._fraction(count), 2.0**-53)
        return unit_interval(self._bits(count), dtype)

    def _positive(self, count: int, dtype: DType) -> Node:
        """Numbers in (0, 1], float32 or float64: as small as the bits can tell, so that logarithms have their tail."""
        whole, bits = (self._fraction(count), 53) if dtype is dtypes.float64 else (self._words(count), 32)
        value = f.converted(whole, dtype)
        # 0.5 more would be lost in a float32: the middle of the interval is added after scaling
        return p.add(p.scale(value, 2.0**-bits), f.constant(value, 2.0 ** -(bits + 1)))

    def rand(self, n: int, dtype: np.dtype) -> Node:
        return self._unit(n, dtypes.from_numpy(dtype))

    def uniform(self, n: int, low: float, high: float, dtype: np.dtype) -> Node:
        kind = dtypes.from_numpy(dtype)
        unit = self._unit(n, kind.compute)
        first, end = f.argument(unit, low), f.argument(unit, high)
        drawn = f.converted(p.add(p.mul(unit, p.sub(end, first)), first), kind)
        # a product that is rounded up may reach the end
        first, end = f.argument(drawn, low), f.argument(drawn, high)
        return p.where(p.lt(drawn, end), drawn, first)

    # Normal numbers, by Box and Muller, "A note on the generation of random normal deviates" (1958)

    def randn(self, n: int, dtype: np.dtype) -> Node:
        kind = dtypes.from_numpy(dtype)
        return f.converted(self._normals(n, kind.compute), kind)

    def _normals(self, n: int, kind: DType) -> Node:
        radius = p.sqrt(p.scale(p.log(self._positive(n, kind)), -2.0))
        return p.mul(radius, p.cos(p.scale(self._unit(n, kind), 2 * math.pi)))

    def _scaled(self, n: int, mean: float, std: float, kind: DType) -> Node:
        drawn = self._normals(n, kind)
        return p.add(p.mul(drawn, f.argument(drawn, std)), f.argument(drawn, mean))

    def normal(self, n: int, mean: float, std: float, dtype: np.dtype) -> Node:
        kind = dtypes.from_numpy(dtype)
        return f.converted(self._scaled(n, mean, std, kind.compute), kind)

    def log_normal(self, n: int, mean: float, std: float, dtype: np.dtype) -> Node:
        kind = dtypes.from_numpy(dtype)
        return f.converted(p.exp(self._scaled(n, mean, std, kind.compute)), kind)

    # Integers

    def randint(self, n: int, low: int, high: int, dtype: np.dtype) -> Node:
        kind = dtypes.from_numpy(dtype)
        if kind.kind != FLOATING:
            smallest, largest = (0, 1) if kind is dtypes.bool_ else (np.iinfo(dtype).min, np.iinfo(dtype).max)
            for name, end in (("from", low), ("to - 1", high - 1)):
                if not smallest <= end <= largest:
                    raise RuntimeError(f"{name} is out of bounds for {kind.name}")
        return f.converted(self._integers(n, low, high - low), kind)

    def random_(self, n: int, dtype: np.dtype) -> Node:
        kind = dtypes.from_numpy(dtype)
        if kind.kind == FLOATING:
            largest = 2 ** _DIGITS.get(kind.name, 53)
        else:
            largest = 1 if kind is dtypes.bool_ else int(np.iinfo(dtype).max)
        return f.converted(self._integers(n, 0, largest + 1), kind)

    def _integers(self, n: int, low: int, size: int) -> Node:
        """Integers in [low, low + size) as int64, which has to hold them."""
        if size < _WIDE_FROM:
            words = self._words(n)
            picked = p.shr(p.mul(words, f.argument(words, size)), f.constant(words, 32))
            return p.add(picked, f.argument(words, low))
        pairs = self._pairs(n)
        if size < 2**63:
            positive = p.band(pairs, f.constant(pairs, 2**63 - 1))
            return p.add(p.fmod(positive, f.argument(pairs, size)), f.argument(pairs, low))
        # more than half of all: those outside are moved into the range, once, by sums that wrap around
        by, most = f.argument(pairs, size), f.argument(pairs, low + size - 1)
        raised = p.where(p.lt(pairs, f.argument(pairs, low)), p.add(pairs, by), pairs)
        return p.where(p.lt(most, pairs), p.sub(pairs, by), raised)

    def randperm(self, n: int, dtype: np.dtype) -> Node:
        """The order of random keys."""
        kind = dtypes.from_numpy(dtype)
        if n == 0:
            return f.filled((0,), kind, self._place, 0)
        return f.converted(s.argsort(self._pairs(n), params=(False, n)), kind)

    # Other distributions

    def bernoulli(self, p_: float | Node, n: int | None = None, dtype: np.dtype | None = None) -> Node:
        if isinstance(p_, Node):
            kind = p_.type.dtype if dtype is None else dtypes.from_numpy(dtype)
            chances = f.reshaped(f.converted(p_, p_.type.dtype.compute), (p_.type.size,))
            return f.converted(p.lt(self._unit(p_.type.size, chances.type.dtype), chances), kind)
        if not 0 <= p_ <= 1:
            raise RuntimeError(f"bernoulli_ expects p to be in [0, 1], but got p={p_}")
        return f.converted(hits(self._bits(n), p_), dtypes.from_numpy(dtype))

    def exponential(self, n: int, rate: float, dtype: np.dtype) -> Node:
        if not rate > 0:
            raise RuntimeError(f"exponential_ expects lambda > 0.0, but found lambda={rate}")
        kind = dtypes.from_numpy(dtype)
        return f.converted(self._exponentials(n, rate, kind.compute), kind)

    def _exponentials(self, n: int, rate: float, kind: DType) -> Node:
        """Not 0, by which a race of weights is divided."""
        wait = p.neg(p.log(self._positive(n, kind)))
        wait = p.maximum(wait, f.constant(wait, float(np.finfo(kind.numpy).eps) / 2))
        return p.div(wait, f.argument(wait, rate))

    def geometric(self, n: int, p_: float, dtype: np.dtype) -> Node:
        if not 0 < p_ < 1:
            raise RuntimeError(f"geometric_ expects p to be in (0, 1), but got p={p_}")
        logs = p.log(self._positive(n, dtypes.float64))
        trials = p.ceil(p.div(logs, f.argument(logs, math.log1p(-p_))))
        return f.converted(p.maximum(trials, f.constant(trials, 1)), dtypes.from_numpy(dtype))

    def cauchy(self, n: int, median: float, sigma: float, dtype: np.dtype) -> Node:
        if not sigma > 0:
            raise RuntimeError(f"cauchy_ expects sigma > 0.0, but found sigma={sigma}")
        kind = dtypes.from_numpy(dtype)
        unit = self._positive(n, kind.compute)
        slope = p.tan(p.scale(p.sub(unit, f.constant(unit, 0.5)), math.pi))
        return f.converted(p.add(p.mul(slope, f.argument(unit, sigma)), f.argument(unit, median)), kind)

    def multinomial(self, weights: Node, count: int, replacement: bool = False) -> Node:
        """Positions ``[count]`` or ``[rows, count]``; wrong weights are not noticed, as on PyTorch's GPUs.

        Without replacement in the order of weights divided by exponential numbers: Efraimidis and Spirakis, "Weighted
        random sampling with a reservoir" (2006).
        """
        kind, shape = weights.type.dtype, weights.type.shape
        if kind.kind != FLOATING or len(shape) not in (1, 2):
            raise RuntimeError(f"multinomial expects one or two dimensions of floats, and found {len(shape)} of {kind}")
        categories = shape[-1]
        if count <= 0:
            raise RuntimeError("cannot sample n_sample <= 0 samples")
        if not replacement and count > categories:
            raise RuntimeError("cannot sample n_sample > prob_dist.size(-1) samples without replacement")
        weights = f.converted(weights, kind.compute)
        if count == 1 or not replacement:
            waits = f.reshaped(self._exponentials(weights.type.size, 1.0, kind.compute), shape)
            return s.argsort(p.div(weights, waits), params=(True, count))
        rows = math.prod(shape[:-1])
        sums = s.cumsum(f.reshaped(weights, (rows, 1, categories)), params=(2,))
        unit = f.reshaped(self._unit(rows * count, kind.compute), (rows, count, 1))
        bound = p.mul(unit, f.expanded(f.axis_slice(sums, 2, categories - 1, 1), unit.type.shape))
        full = (rows, count, categories)
        passed = p.le(f.expanded(sums, full), f.expanded(bound, full))
        found = s.reduce_sum(f.converted(passed, dtypes.int64), params=(2,))
        return p.minimum(found, f.argument(found, categories - 1))

    # Drawn on the CPU: how many numbers they take is known afterwards

    def _host(self) -> Mt19937Generator:
        """A stream of its own for one call, seeded from the next counter."""
        key, first = self._take(1)
        return Mt19937Generator(int(philox_u32(np.array([first], np.int64), np.array([key], np.int64))[0]) % 2**32)

    def poisson(self, rates: np.ndarray) -> np.ndarray:
        return self._host().poisson(rates)

    def binomial(self, counts: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
        return self._host().binomial(counts, probabilities)
