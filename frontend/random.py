"""Random numbers: generators, random tensors, samplers that fill a tensor in place. As ``torch.random``.

A generator holds two streams from one seed. The first is PyTorch's Mersenne Twister, value for value
(``runtime/mersenne.py``): every random tensor comes from it, drawn when the call is made, so that a seeded script gives
the numbers that PyTorch gives. The second is counter-based (Philox): dropout takes a stretch of counters from it, and
the kernel that applies the mask computes the bits, so that no mask is ever stored. Both are part of the state.

In: a seed and requests. Out: tensors. Read next: ``nn/functional_dropout.py`` for the second stream.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from . import formulas as f, levels
from .arguments import formatted, placed, scalar_type, tensor_argument, values_of
from .compiler import dtypes, primitives as p, primitives_shape as s
from .compiler.dtypes import COMPLEX, FLOATING, DType
from .compiler.ir import Node
from .compiler.primitives import Undefined
from .complex_numbers import view_as_real
from .counters import CounterStream, counters, hits, unit_interval
from .creation import DeviceLike, made, shape_argument
from .device import device, device_name, device_named
from .mutation import assign
from .recording import broadcast_shapes, from_array, get_default_dtype, input_node, node_of, plain_number
from .runtime import engine
from .runtime.mersenne import Mt19937Generator
from .tensor import Tensor

# PyTorch's state has eight bytes from the time when the twister kept two normals; the Philox counter lives there, so
# that a state can be exchanged with PyTorch in both directions.
_COUNTER_BYTES = slice(5016, 5024)


class Generator:
    """A source of random numbers, as ``torch.Generator``.

    Args:
        device: where it is. A GPU's draws there, from the counter-based stream only (``counters.py``).

    Example:
        >>> import flamework as torch
        >>> g = torch.Generator().manual_seed(0)
        >>> torch.rand(2, generator=g).shape
        torch.Size([2])
    """

    def __init__(self, device: DeviceLike = "cpu") -> None:
        self._place = device_name(device)
        self.stream = Mt19937Generator() if self._place == "cpu" else CounterStream(self._place, self.take_counters)
        self._counter = 0

    @property
    def device(self) -> device:
        return device_named(self._place)

    def manual_seed(self, seed: int) -> Generator:
        """Start again from ``seed``, an integer in [-2**63, 2**64); returns the generator."""
        self.stream.manual_seed(int(seed))
        self._counter = 0
        return self

    def seed(self) -> int:
        """Start again from a seed of the operating system, and return it."""
        self._counter = 0
        return self.stream.seed()

    def initial_seed(self) -> int:
        """The seed of the current streams."""
        return self.stream.initial_seed()

    def get_state(self) -> Tensor:
        """The state as a tensor of bytes, in PyTorch's layout: 5056, or the 16 of a seed and a counter for a GPU's."""
        if self._place != "cpu":
            return from_array(np.array([self.initial_seed() % 2**64, self._counter], np.uint64).view(np.uint8))
        state = self.stream.get_state()
        state[_COUNTER_BYTES] = np.frombuffer(np.uint64(self._counter).tobytes(), np.uint8)
        return from_array(state)

    def set_state(self, new_state: Tensor) -> None:
        """Continue from a state that :meth:`get_state` returned.

        Raises:
            TypeError: not a tensor of bytes.
            RuntimeError: not the state of a generator.
        """
        node = tensor_argument(new_state, "set_state", "new_state", 1)
        if node.type.dtype is not dtypes.uint8:
            raise TypeError(f"RNG state must be a torch.ByteTensor, not one of {scalar_type(node.type.dtype)}")
        state = np.array(values_of(node)).reshape(-1)
        if self._place != "cpu":
            if state.size != 16:
                raise RuntimeError("RNG state is wrong size")
            seed, self._counter = state.view(np.uint64).tolist()
            self.stream.manual_seed(seed)
            return
        self.stream.set_state(state)
        self._counter = int(np.frombuffer(state[_COUNTER_BYTES].tobytes(), np.uint64)[0])

    def take_counters(self, count: int) -> tuple[int, int]:
        """The key of the counter-based stream, and the first of ``count`` counters that no other call gets."""
        first = self._counter
        self._counter = (first + count) % 2**62
        key = self.initial_seed()
        return (key - 2**64 if key >= 2**63 else key), first

    def __reduce__(self):
        return _restored, (self.get_state(), self._place)


def _restored(state: Tensor, place: str = "cpu") -> Generator:
    generator = Generator(place)
    generator.set_state(state)
    return generator


default_generator = Generator()

# The generators that are used where none is given, by their device.
_defaults = {"cpu": default_generator}
# What GPUs that nobody has used yet are seeded with.
_first_seed: int | None = None


def generator_of(place: str, generator: Generator | None = None) -> Generator:
    """The generator that was given, or the device's own.

    Raises:
        TypeError: not a generator.
        RuntimeError: one of another device.
    """
    if generator is None:
        found = _defaults.get(place)
        if found is None:
            found = _defaults[place] = Generator(place)
            if _first_seed is not None:
                found.manual_seed(_first_seed)
        return found
    if not isinstance(generator, Generator):
        raise TypeError(f"argument 'generator' must be torch.Generator, not {type(generator).__name__}")
    if generator._place != place:
        kinds = place.partition(":")[0], generator.device.type
        if kinds[0] != kinds[1]:
            raise RuntimeError(f"Expected a '{kinds[0]}' device type for generator but found '{kinds[1]}'")
        raise RuntimeError(f"Expected a generator on {place} but found one on {generator.device}")
    return generator


def default_generators() -> list[Generator]:
    """The devices' own generators, of those devices that were used."""
    return list(_defaults.values())


def _stream(generator: Generator | None, place: str = "cpu") -> Mt19937Generator | CounterStream:
    return generator_of(place, generator).stream


def manual_seed(seed: int) -> Generator:
    """Seed the generators of all devices, and return the CPU's. As ``torch.manual_seed``.

    Example:
        >>> import flamework as torch
        >>> _ = torch.manual_seed(0)
        >>> torch.rand(1).item()
        0.49625658988952637
    """
    global _first_seed
    default_generator.manual_seed(seed)
    _first_seed = int(seed)
    for generator in default_generators()[1:]:
        generator.manual_seed(seed)
    return default_generator


def seed() -> int:
    """Seed the generators of all devices from the operating system, and return the seed. As ``torch.seed``."""
    found = default_generator.seed()
    manual_seed(found)
    return found


def initial_seed() -> int:
    """The seed of the default generator. As ``torch.initial_seed``."""
    return default_generator.initial_seed()


def get_rng_state() -> Tensor:
    """The state of the default generator, a tensor of bytes. As ``torch.get_rng_state``."""
    return default_generator.get_state()


def set_rng_state(new_state: Tensor) -> None:
    """Continue the default generator from a state. As ``torch.set_rng_state``."""
    default_generator.set_state(new_state)


@contextlib.contextmanager
def fork_rng(devices: Sequence[DeviceLike] | None = None, enabled: bool = True) -> Iterator[None]:
    """A block after which the generators are as they were before. As ``torch.random.fork_rng``.

    Args:
        devices: GPUs whose generators are kept too; None for those that have been used.
        enabled: whether to do anything.
    """
    if not enabled:
        yield
        return
    if devices is None:
        kept = default_generators()
    else:
        kept = [default_generator, *(generator_of(device_name(d)) for d in devices)]
    states = [generator.get_state() for generator in kept]
    try:
        yield
    finally:
        for generator, state in zip(kept, states):
            generator.set_state(state)


# --------------------------------------------------------------------------------------------------------- new tensors


def _float_dtype(function: str, dtype: DType | None, out: Tensor | None) -> DType:
    dtype = dtype or (get_default_dtype() if out is None else out.dtype)
    if dtype.kind != FLOATING:
        raise p.Undefined(f"\"{function}\" not implemented for '{scalar_type(dtype)}'")
    return dtype


def _place_for(place: DeviceLike, out: Tensor | None) -> str:
    """The device on which to draw: that of ``out``, if there is one and none is given."""
    return device_name(out.device if place is None and out is not None else place)


def _own(tensor: Tensor, generator: Generator | None) -> Any:
    """The stream for numbers on a tensor's device."""
    return _stream(generator, tensor._node.type.device)


def _part(dtype: DType | None, out: Tensor | None) -> DType | None:
    """Of complex numbers to be drawn the dtype of their parts, else None."""
    dtype = dtype or (get_default_dtype() if out is None else out.dtype)
    return dtype.part if dtype.kind == COMPLEX else None


def _complex(pairs: Node) -> Node:
    """Complex numbers of their parts, which follow each other along the last axis."""
    last, shape = pairs.ndim - 1, pairs.type.shape[:-1]
    return p.complex_(*(f.reshaped(f.axis_slice(pairs, last, i, 1), shape) for i in (0, 1)))


def _drawn(
    draw: Callable[[int], np.ndarray | Node], shape: Sequence[int], place: str, on_host: bool = False
) -> Node:
    """What ``draw`` returns for a number of elements; while a function is recorded, drawn again at every replay.

    For a GPU it returns a node, whose counters are drawn again, unless it draws ``on_host``.

    Inside ``vmap`` the numbers of all elements of the batch are drawn at once, if they are to be different.
    """
    batches = levels.randomness() if levels.active else []
    shape = (*[level.size for level in batches], *shape)
    count = math.prod(shape)
    if place != "cpu" and not on_host:
        node = f.reshaped(draw(count), shape)
    elif engine.refuse is None:
        node = input_node(np.ascontiguousarray(_typed(draw(count))).reshape(shape), place)
    else:
        from .capture import drawn_node

        node = drawn_node(lambda: _typed(draw(count)).reshape(shape), place)
    return levels.lanes(node, batches)


def _each(draw: Callable[[], np.ndarray | Node], size: int) -> Callable[[int], np.ndarray | Node]:
    """As many draws of ``size`` elements as are asked for."""

    def drawn(count: int) -> np.ndarray | Node:
        if count == size:
            return draw()
        parts = [draw() for _ in range(count // size)]
        if parts and isinstance(parts[0], Node):
            return s.cat(*[f.reshaped(part, (size,)) for part in parts], params=(0,))
        return np.concatenate([part.ravel() for part in parts])

    return drawn


def _typed(drawn: np.ndarray) -> np.ndarray:
    """What was drawn, with its dtype: bfloat16 comes as bits."""
    return drawn.view(dtypes.bfloat16.numpy) if drawn.dtype == np.uint16 else drawn


@placed
def rand(
    *sizes: int | Sequence[int], size: Sequence[int] | None = None, generator: Generator | None = None,
    out: Tensor | None = None, dtype: DType | None = None, device: DeviceLike = None, requires_grad: bool = False,
) -> Tensor:
    """Numbers drawn uniformly from [0, 1). As ``torch.rand``, number for number.

    Example:
        >>> import flamework as torch
        >>> torch.rand(2, 3).shape
        torch.Size([2, 3])
    """
    shape = shape_argument("rand", sizes, size)
    place = _place_for(device, out)
    stream, part = _stream(generator, place), _part(dtype, out)
    if part is not None:
        drawn = _drawn(lambda count: stream.rand(count, part.numpy), (*shape, 2), place)
        return made(_complex(drawn), requires_grad, out)
    dtype = _float_dtype("rand", dtype, out)
    return made(_drawn(lambda count: stream.rand(count, dtype.numpy), shape, place), requires_grad, out)


@placed
def randn(
    *sizes: int | Sequence[int], size: Sequence[int] | None = None, generator: Generator | None = None,
    out: Tensor | None = None, dtype: DType | None = None, device: DeviceLike = None, requires_grad: bool = False,
) -> Tensor:
    """Numbers drawn from the normal distribution with mean 0 and variance 1. As ``torch.randn``, number for number.

    Example:
        >>> import flamework as torch
        >>> torch.randn(2, 3).shape
        torch.Size([2, 3])
    """
    shape = shape_argument("randn", sizes, size)
    place = _place_for(device, out)
    stream, part = _stream(generator, place), _part(dtype, out)
    if part is not None:
        # both parts have half of the variance
        drawn = _drawn(lambda count: stream.randn(count, part.numpy), (*shape, 2), place)
        return made(_complex(p.scale(drawn, math.sqrt(0.5))), requires_grad, out)
    dtype = _float_dtype("randn", dtype, out)
    return made(_drawn(lambda count: stream.randn(count, dtype.numpy), shape, place), requires_grad, out)


@placed
def randint(
    low: int, high: int | Sequence[int] | None = None, size: Sequence[int] | None = None, *,
    generator: Generator | None = None, out: Tensor | None = None, dtype: DType | None = None,
    device: DeviceLike = None, requires_grad: bool = False,
) -> Tensor:
    """Integers drawn uniformly from [low, high), int64 unless ``dtype`` is given; ``randint(high, size)`` is from 0.

    As ``torch.randint``, number for number.

    Raises:
        RuntimeError: ``low`` is not less than ``high``.

    Example:
        >>> import flamework as torch
        >>> torch.randint(10, (2,)).shape
        torch.Size([2])
    """
    if high is None or isinstance(high, (tuple, list)):
        low, high, size = 0, low, high if size is None else size
    if size is None:
        raise TypeError("randint() needs a size, a tuple of ints")
    shape = shape_argument("randint", (size,))
    dtype = dtype or (dtypes.int64 if out is None else out.dtype)
    place = _place_for(device, out)
    return made(_drawn(_integers(_stream(generator, place), low, high, dtype), shape, place), requires_grad, out)


def _integers(stream: Any, low: int, high: int, dtype: DType) -> Callable[[int], np.ndarray | Node]:
    if low >= high:
        raise RuntimeError(f"random_ expects 'from' to be less than 'to', but got from={low} >= to={high}")
    first, end = int(low), int(high)
    return lambda count: stream.randint(count, first, end, dtype.numpy)


@placed
def randperm(
    n: int, *, generator: Generator | None = None, out: Tensor | None = None, dtype: DType | None = None,
    device: DeviceLike = None, requires_grad: bool = False,
) -> Tensor:
    """The numbers from 0 to ``n - 1`` in random order, int64 unless ``dtype`` is given. As ``torch.randperm``.

    Example:
        >>> import flamework as torch
        >>> sorted(torch.randperm(4).tolist())
        [0, 1, 2, 3]
    """
    if n < 0:
        raise RuntimeError(f"Trying to create tensor with negative dimension {n}: [{n}]")
    dtype = dtype or (dtypes.int64 if out is None else out.dtype)
    place = _place_for(device, out)
    stream = _stream(generator, place)
    draw = _each(lambda: stream.randperm(n, dtype.numpy), n)
    return made(_drawn(draw, (n,), place), requires_grad, out)


@placed
@formatted
def rand_like(
    input: Tensor, *, generator: Generator | None = None, dtype: DType | None = None, device: DeviceLike = None,
    requires_grad: bool = False,
) -> Tensor:
    """Numbers drawn uniformly from [0, 1), in the shape and dtype of ``input``. As ``torch.rand_like``."""
    return rand(
        input._node.type.shape, generator=generator, dtype=dtype or input.dtype, device=device or input.device,
        requires_grad=requires_grad,
    )


@placed
@formatted
def randn_like(
    input: Tensor, *, generator: Generator | None = None, dtype: DType | None = None, device: DeviceLike = None,
    requires_grad: bool = False,
) -> Tensor:
    """Numbers from the standard normal distribution, in the shape and dtype of ``input``. As ``torch.randn_like``."""
    return randn(
        input._node.type.shape, generator=generator, dtype=dtype or input.dtype, device=device or input.device,
        requires_grad=requires_grad,
    )


@placed
@formatted
def randint_like(
    input: Tensor, low: int, high: int | None = None, *, generator: Generator | None = None,
    dtype: DType | None = None, device: DeviceLike = None, requires_grad: bool = False,
) -> Tensor:
    """Integers from [low, high), or [0, low), in the shape and dtype of ``input``. As ``torch.randint_like``."""
    low, high = (0, low) if high is None else (low, high)
    return randint(
        low, high, input._node.type.shape, generator=generator, dtype=dtype or input.dtype,
        device=device or input.device,
        requires_grad=requires_grad,
    )


def _parameters(x: Node) -> Any:
    """Parameters of distributions as a stream of the node's device takes them: values on the CPU, else a node."""
    return np.ascontiguousarray(values_of(x)) if x.type.device == "cpu" else f.cut(x)


def bernoulli(
    input: Tensor, p: float | None = None, *, generator: Generator | None = None, out: Tensor | None = None
) -> Tensor:
    """Ones with the probabilities of ``input`` (or ``p``), otherwise zeros, in its dtype. As ``torch.bernoulli``.

    Raises:
        RuntimeError: a probability outside of [0, 1], or integers.

    Example:
        >>> import flamework as torch
        >>> torch.bernoulli(torch.tensor([0.0, 1.0])).tolist()
        [0.0, 1.0]
    """
    x = tensor_argument(input, "bernoulli", "input", 1)
    stream, dtype = _stream(generator, x.type.device), x.type.dtype.numpy
    if p is not None:
        return made(_drawn(lambda count: stream.bernoulli(p, count, dtype), x.type.shape, x.type.device), False, out)
    _float_dtype("bernoulli", x.type.dtype, None)
    probabilities = _parameters(x)
    draw = _each(lambda: stream.bernoulli(probabilities), x.type.size)
    return made(_without_slope(_drawn(draw, x.type.shape, x.type.device), input), False, out)


def poisson(input: Tensor, generator: Generator | None = None) -> Tensor:
    """Numbers from Poisson distributions with the rates of ``input``, in its dtype, number for number.

    The gradient is 0. As ``torch.poisson``.

    Raises:
        RuntimeError: a rate below 0, or NaN.
        NotImplementedError: integers.

    Example:
        >>> import flamework as torch
        >>> torch.poisson(torch.zeros(2)).tolist()
        [0.0, 0.0]
    """
    x = tensor_argument(input, "poisson", "input", 1)
    stream = _stream(generator, x.type.device)
    if x.type.dtype.kind != FLOATING:
        raise Undefined(f"\"poisson_cpu\" not implemented for '{scalar_type(x.type.dtype)}'")
    rates = values_of(x).astype(np.float64)
    if not np.all(rates >= 0):
        raise RuntimeError("invalid Poisson rate, expected rate to be non-negative")
    draw = _each(lambda: stream.poisson(rates.reshape(-1)).astype(x.type.dtype.numpy), x.type.size)
    drawn = _drawn(draw, x.type.shape, x.type.device, on_host=True)
    return made(_without_slope(drawn, input))


def binomial(count: Tensor, prob: Tensor, generator: Generator | None = None) -> Tensor:
    """Numbers of successes in ``count`` trials of probability ``prob``, which broadcast, number for number.

    No gradient flows. As ``torch.binomial``.

    Raises:
        ValueError: the counts are no floats.
        RuntimeError: different dtypes.
        NotImplementedError: 16-bit floats.

    Example:
        >>> import flamework as torch
        >>> torch.binomial(torch.tensor([5.0, 7.0]), torch.tensor([0.0, 1.0])).tolist()
        [0.0, 7.0]
    """
    x, chances = tensor_argument(count, "binomial", "count", 1), tensor_argument(prob, "binomial", "prob", 2)
    stream = _stream(generator, x.type.device)
    if x.type.dtype.kind != FLOATING:
        raise ValueError(
            f"binomial only supports floating-point dtypes for count, got: {scalar_type(x.type.dtype)}"
        )
    if chances.type.dtype is not x.type.dtype:
        raise RuntimeError(f"Found dtype {scalar_type(chances.type.dtype)} but expected {scalar_type(x.type.dtype)}")
    if x.type.dtype.compute is not x.type.dtype:
        raise Undefined(f"\"binomial_cpu\" not implemented for '{scalar_type(x.type.dtype)}'")
    shape = broadcast_shapes(x.type.shape, chances.type.shape)
    counts, shares = (np.broadcast_to(values_of(v), shape).astype(np.float64).reshape(-1) for v in (x, chances))
    draw = _each(lambda: stream.binomial(counts, shares).astype(x.type.dtype.numpy), counts.size)
    return made(_drawn(draw, shape, x.type.device, on_host=True))


def multinomial(
    input: Tensor, num_samples: int, replacement: bool = False, *, generator: Generator | None = None,
    out: Tensor | None = None,
) -> Tensor:
    """Positions drawn with the weights in each row of ``input``, int64. As ``torch.multinomial``.

    Args:
        input: weights ``[m]`` or ``[rows, m]``, not negative; they need not sum to 1.
        replacement: whether a position may be drawn again.

    Example:
        >>> import flamework as torch
        >>> torch.multinomial(torch.tensor([0.0, 1.0]), 1).tolist()
        [1]
    """
    x = tensor_argument(input, "multinomial", "input", 1)
    stream, weights = _stream(generator, x.type.device), _parameters(x)
    shape = (*x.type.shape[:-1], num_samples)
    draw = _each(lambda: stream.multinomial(weights, num_samples, replacement), math.prod(shape))
    return made(_drawn(draw, shape, x.type.device), False, out)


def normal(
    mean: float | Tensor = 0.0, std: float | Tensor = 1.0, size: Sequence[int] | None = None, *,
    generator: Generator | None = None, out: Tensor | None = None, dtype: DType | None = None,
    device: DeviceLike = None, requires_grad: bool = False,
) -> Tensor:
    """Numbers from normal distributions with the given means and standard deviations. As ``torch.normal``.

    With two numbers, ``size`` says how many; otherwise the shapes of the tensors broadcast.

    Raises:
        RuntimeError: a negative standard deviation.

    Example:
        >>> import flamework as torch
        >>> torch.normal(torch.zeros(2), 0.0).tolist()
        [0.0, 0.0]
    """
    if not isinstance(mean, Tensor) and not isinstance(std, Tensor):
        if size is None:
            raise TypeError("normal() needs a size if mean and std are numbers")
        shape = shape_argument("normal", (size,))
        chosen, place = _float_dtype("normal", dtype, out), _place_for(device, out)
        _check_std(std)
        stream = _stream(generator, place)
        node = _drawn(lambda count: stream.normal(count, mean, std, chosen.numpy), shape, place)
        return made(node, requires_grad, out)
    # a GPU's values are not waited for
    if not isinstance(std, Tensor) or std.is_cpu:
        _check_std(values_of(node_of(std)) if isinstance(std, Tensor) else std)
    like = mean if isinstance(mean, Tensor) else std
    shape = np.broadcast_shapes(*[tuple(x.shape) for x in (mean, std) if isinstance(x, Tensor)])
    stream, part = _own(like, generator), _part(like.dtype, None)
    if part is not None:
        scale = math.sqrt(0.5)
        drawn = _complex(_drawn(lambda n: stream.normal(n, 0.0, scale, part.numpy), (*shape, 2), str(like.device)))
    else:
        chosen = _float_dtype("normal", like.dtype, None)
        drawn = _drawn(lambda count: stream.randn(count, chosen.numpy), shape, str(like.device))
    node = node_of(made(drawn).mul(std.detach() if isinstance(std, Tensor) else std).add(
        mean.detach() if isinstance(mean, Tensor) else mean))
    return made(_without_slope(node, mean, std), False, out)


def _without_slope(drawn: Node, *sources: Any) -> Node:
    """Drawn numbers whose gradient by what they were drawn for is 0, as PyTorch's."""
    for x in sources:
        if isinstance(x, Tensor) and x.requires_grad:
            graph = f.broadcast_to(f.converted(node_of(x), drawn.type.dtype), drawn.type.shape)
            drawn = p.locally_constant(drawn, graph)
    return drawn


def _check_std(std: float | np.ndarray) -> None:
    if not np.all(np.asarray(std) >= 0):
        raise RuntimeError(f"normal expects all elements of std >= 0.0, but found std {std}")


# ---------------------------------------------------------------------------------------------------- filling in place


def _fill(self: Tensor, draw: Callable[[int], np.ndarray]) -> Tensor:
    type = self._node.type
    return assign(self, _drawn(draw, type.shape, type.device))


def uniform_(
    self: Tensor, from_: float = 0.0, to: float = 1.0, *, generator: Generator | None = None, **named: float
) -> Tensor:
    """Fill with numbers drawn uniformly from [from, to). As ``Tensor.uniform_``, number for number.

    The first bound may also be given as ``uniform_(**{"from": 0.5})``: ``from`` is a word of Python.

    Raises:
        RuntimeError: bounds in the wrong order, or a tensor of integers.
    """
    low = named.pop("from", from_)
    if named:
        raise TypeError(f"uniform_() got an unexpected keyword argument '{next(iter(named))}'")
    if self.is_complex():
        uniform_(view_as_real(self), low, to, generator=generator)
        return self
    dtype = _float_dtype("uniform_", self.dtype, None)
    if low > to:
        raise RuntimeError(f"uniform_ expects to return a [from, to) range, but found from={low} > to={to}")
    stream = _own(self, generator)
    return _fill(self, lambda count: stream.uniform(count, low, to, dtype.numpy))


def normal_(self: Tensor, mean: float = 0.0, std: float = 1.0, *, generator: Generator | None = None) -> Tensor:
    """Fill with numbers from a normal distribution. As ``Tensor.normal_``, number for number.

    Raises:
        RuntimeError: a negative standard deviation, or a tensor of integers.
    """
    if self.is_complex():
        if isinstance(mean, complex):
            raise TypeError("normal_(): argument 'mean' (position 1) must be float, not complex")
        # both parts have the mean, and half of the variance
        normal_(view_as_real(self), mean, std * math.sqrt(0.5), generator=generator)
        return self
    dtype = _float_dtype("normal_", self.dtype, None)
    _check_std(std)
    stream = _own(self, generator)
    return _fill(self, lambda count: stream.normal(count, mean, std, dtype.numpy))


def random_(
    self: Tensor, from_: int | None = None, to: int | None = None, *, generator: Generator | None = None, **named: int
) -> Tensor:
    """Fill with integers: ``random_(to)`` from [0, to), ``random_(from, to)`` from [from, to), ``random_()`` from all.

    Without bounds, up to the largest integer that the dtype holds exactly. As ``Tensor.random_``, number for number.
    """
    low = named.pop("from", from_)
    if named:
        raise TypeError(f"random_() got an unexpected keyword argument '{next(iter(named))}'")
    if to is None and low is not None:
        low, to = 0, low
    if to is None:
        stream, dtype = _own(self, generator), self.dtype.numpy
        return _fill(self, lambda count: stream.random_(count, dtype))
    return _fill(self, _integers(_own(self, generator), 0 if low is None else low, to, self.dtype))


def bernoulli_(self: Tensor, p: float | Tensor = 0.5, *, generator: Generator | None = None) -> Tensor:
    """Fill with ones with probability ``p`` (a number, or a tensor that broadcasts), otherwise zeros.

    As ``Tensor.bernoulli_``.
    """
    stream, dtype = _own(self, generator), self.dtype.numpy
    if isinstance(p, Tensor):
        probabilities = _parameters(f.expanded(node_of(p), self.shape))
        return _fill(self, _each(lambda: stream.bernoulli(probabilities, dtype=dtype), self.numel()))
    chance = float(plain_number(p))
    return _fill(self, lambda count: stream.bernoulli(chance, count, dtype))


def exponential_(self: Tensor, lambd: float = 1.0, *, generator: Generator | None = None) -> Tensor:
    """Fill with numbers from the exponential distribution of mean ``1 / lambd``. As ``Tensor.exponential_``."""
    dtype = _float_dtype("exponential_", self.dtype, None)
    stream = _own(self, generator)
    return _fill(self, lambda count: stream.exponential(count, lambd, dtype.numpy))


def geometric_(self: Tensor, p: float, *, generator: Generator | None = None) -> Tensor:
    """Fill with numbers of trials up to the first success of probability ``p``. As ``Tensor.geometric_``."""
    stream, dtype = _own(self, generator), self.dtype.numpy
    return _fill(self, lambda count: stream.geometric(count, p, dtype))


def cauchy_(self: Tensor, median: float = 0.0, sigma: float = 1.0, *, generator: Generator | None = None) -> Tensor:
    """Fill with numbers from a Cauchy distribution. As ``Tensor.cauchy_``."""
    dtype = _float_dtype("cauchy_", self.dtype, None)
    stream = _own(self, generator)
    return _fill(self, lambda count: stream.cauchy(count, median, sigma, dtype.numpy))


def log_normal_(self: Tensor, mean: float = 1.0, std: float = 2.0, *, generator: Generator | None = None) -> Tensor:
    """Fill with exponentials of numbers from a normal distribution. As ``Tensor.log_normal_``."""
    dtype = _float_dtype("log_normal_", self.dtype, None)
    stream = _own(self, generator)
    return _fill(self, lambda count: stream.log_normal(count, mean, std, dtype.numpy))


# ------------------------------------------------------------------------------------------- the counter-based stream


def random_bits(x: Node, generator: Generator | None = None) -> Node:
    """32 random bits for every element of ``x``, as int32: computed by the kernel that uses them.

    Key and first counter are arguments of that kernel, so that another seed or another call compiles nothing.
    """
    size = x.type.size
    source = generator_of(x.type.device, generator)
    batches = levels.randomness() if levels.active else []
    sizes = tuple(level.size for level in batches)

    def take() -> tuple[int, int]:
        return source.take_counters(size * math.prod(sizes))

    position, start, seed = counters(take, size, x.type.device)
    if batches:
        # inside vmap each element of the batch has its own stretch of counters
        place = p.iota(params=((math.prod(sizes),), dtypes.int64, x.type.device, 0))
        place = f.reshaped(p.mul(place, p.full_like(place, size)), sizes)
        start = p.add(start, f.broadcast_to(levels.lanes(place, batches), (size,)))
    return f.reshaped(p.philox(p.add(position, start), seed), x.type.shape)


def chance(x: Node, probability: float, generator: Generator | None = None) -> Node:
    """A bool for every element of ``x``, True with a probability that is exact to 2**-32."""
    return hits(random_bits(x, generator), probability)


def uniform_bits(x: Node, generator: Generator | None = None) -> Node:
    """A number in [0, 1) of at most 24 random bits for every element of ``x``, in its dtype."""
    return unit_interval(random_bits(x, generator), x.type.dtype)


__all__ = [
    "Generator", "bernoulli", "binomial", "default_generator", "fork_rng", "get_rng_state", "initial_seed",
    "manual_seed", "multinomial", "normal", "poisson", "rand", "rand_like", "randint", "randint_like", "randn",
    "randn_like", "randperm", "seed", "set_rng_state",
]
