"""The random generators of the GPUs, as ``torch.cuda.random``.

In: seeds and states. Out: the generators' state. Read next: ``../random.py``.
"""

from __future__ import annotations

from collections.abc import Iterable

from .. import random
from ..device import NoCuda
from ..runtime import gpu as runtime
from ..tensor import Tensor
from . import DeviceLike, device_count, index_of


def _generator(place: DeviceLike = None) -> random.Generator:
    return random.generator_of(f"cuda:{index_of(place)}")


def manual_seed(seed: int) -> None:
    """Seed the current GPU's generator; ignored without a GPU, as in PyTorch."""
    seed = int(seed)
    if runtime.count():
        _generator().manual_seed(seed)


def manual_seed_all(seed: int) -> None:
    """Seed the generators of all GPUs."""
    seed = int(seed)
    for index in range(device_count()):
        _generator(index).manual_seed(seed)


def seed() -> None:
    """Seed the current GPU's generator with a random number."""
    if runtime.count():
        _generator().seed()


def seed_all() -> None:
    """Seed the generators of all GPUs with one random number."""
    if runtime.count():
        manual_seed_all(_generator(0).seed())


def initial_seed() -> int:
    """The seed of the current GPU's generator."""
    return _generator().initial_seed()


def get_rng_state(device: DeviceLike = "cuda") -> Tensor:
    """The state of a GPU's generator, bytes on the CPU."""
    return _generator(device).get_state()


def set_rng_state(new_state: Tensor, device: DeviceLike = "cuda") -> None:
    """Continue a GPU's generator from a state."""
    _generator(device).set_state(new_state)


def get_rng_state_all() -> list[Tensor]:
    """The states of the generators of all GPUs."""
    return [get_rng_state(index) for index in range(device_count())]


def set_rng_state_all(new_states: Iterable[Tensor]) -> None:
    """Set the states of the generators of all GPUs.

    Raises:
        AssertionError: there are states, and no GPU.
    """
    for index, state in enumerate(new_states):
        if not runtime.count():
            raise NoCuda()
        set_rng_state(state, index)
