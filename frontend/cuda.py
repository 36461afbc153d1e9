"""``torch.cuda`` on a machine without a GPU that Flamework can use: there is none, and asking for one raises.

Programs ask :func:`is_available` first. What PyTorch answers without a device is answered here: no device, no memory in
use, seeds that wait for nothing. Everything that needs a device raises PyTorch's error. A name of ``torch.cuda`` that
is missing here raises AttributeError.

In: questions. Out: answers of a machine without a GPU. Read next: ``device.py``.
"""

from __future__ import annotations

import collections
import warnings
from typing import Any

from .device import NoCuda, device as Device
from .tensor import Tensor

__all__ = [
    "OutOfMemoryError", "can_device_access_peer", "current_blas_handle", "current_device", "current_stream",
    "default_stream", "device", "device_count", "device_of", "empty_cache", "get_arch_list", "get_device_capability",
    "get_device_name", "get_device_properties", "get_rng_state", "get_rng_state_all", "init", "initial_seed",
    "is_available", "is_bf16_supported", "is_initialized", "manual_seed", "manual_seed_all", "max_memory_allocated",
    "max_memory_cached", "max_memory_reserved", "mem_get_info", "memory_allocated", "memory_cached", "memory_reserved",
    "memory_stats", "seed", "seed_all", "set_device", "set_rng_state", "set_rng_state_all", "stream", "synchronize",
]


class OutOfMemoryError(RuntimeError):
    """A device's memory did not suffice; as ``torch.cuda.OutOfMemoryError``. Nothing raises it without a device."""


def is_available() -> bool:
    """Whether tensors can be on a GPU: False.

    Example:
        >>> import flamework as torch
        >>> torch.device("cuda" if torch.cuda.is_available() else "cpu")
        device(type='cpu')
    """
    return False


def is_initialized() -> bool:
    """Whether CUDA's state was set up: False."""
    return False


def device_count() -> int:
    """How many GPUs can be used: 0."""
    return 0


def is_bf16_supported(including_emulation: bool = True) -> bool:
    """Whether the current GPU computes with bfloat16: False, there is none, emulated or not."""
    return False


def get_arch_list() -> list[str]:
    """The architectures that kernels were compiled for: none."""
    return []


def _needs_device(name: str, what: str, parameters: str = "") -> Any:
    """A function that raises because there is no device, whatever it is called with."""
    scope: dict[str, Any] = {"NoCuda": NoCuda}
    exec(f"def {name}({parameters}):\n    raise NoCuda()", scope)  # noqa: S102  (the signature is for help and tests)
    function = scope[name]
    function.__module__ = __name__
    raises = "Raises:\n        AssertionError: there is no GPU.\n    "
    function.__doc__ = f"{what}; as ``torch.cuda.{name}``.\n\n    {raises}"
    return function


init = _needs_device("init", "Set up CUDA's state")
current_device = _needs_device("current_device", "The index of the current GPU")
current_blas_handle = _needs_device("current_blas_handle", "The address of the handle of cuBLAS")
synchronize = _needs_device("synchronize", "Wait for all work on a GPU", "device=None")
current_stream = _needs_device("current_stream", "The stream on which work is put", "device=None")
default_stream = _needs_device("default_stream", "The stream that each GPU begins with", "device=None")
get_device_name = _needs_device("get_device_name", "The name of a GPU", "device=None")
get_device_capability = _needs_device("get_device_capability", "Major and minor capability of a GPU", "device=None")
get_device_properties = _needs_device("get_device_properties", "The properties of a GPU", "device=None")
can_device_access_peer = _needs_device(
    "can_device_access_peer", "Whether a GPU can read another's memory", "device, peer_device"
)
mem_get_info = _needs_device("mem_get_info", "Free and total memory of a GPU in bytes", "device=None")
initial_seed = _needs_device("initial_seed", "The seed of a GPU's generator")
get_rng_state = _needs_device("get_rng_state", "The state of a GPU's generator", "device='cuda'")
set_rng_state = _needs_device("set_rng_state", "Set the state of a GPU's generator", "new_state, device='cuda'")


def empty_cache() -> None:
    """Give memory that is not in use back to the GPU: there is none."""


def memory_allocated(device: Device | str | int | None = None) -> int:
    """Bytes of a GPU that tensors take: 0."""
    return 0


def max_memory_allocated(device: Device | str | int | None = None) -> int:
    """The most bytes of a GPU that tensors took: 0."""
    return 0


def memory_reserved(device: Device | str | int | None = None) -> int:
    """Bytes of a GPU that are kept for tensors: 0."""
    return 0


def max_memory_reserved(device: Device | str | int | None = None) -> int:
    """The most bytes of a GPU that were kept for tensors: 0."""
    return 0


def memory_cached(device: Device | str | int | None = None) -> int:
    """The old name of :func:`memory_reserved`."""
    warnings.warn("`torch.cuda.memory_cached` has been renamed to `torch.cuda.memory_reserved`", FutureWarning,
                  stacklevel=2)
    return 0


def max_memory_cached(device: Device | str | int | None = None) -> int:
    """The old name of :func:`max_memory_reserved`."""
    warnings.warn("`torch.cuda.max_memory_cached` has been renamed to `torch.cuda.max_memory_reserved`", FutureWarning,
                  stacklevel=2)
    return 0


def memory_stats(device: Device | str | int | None = None) -> collections.OrderedDict[str, int]:
    """Figures of a GPU's memory by name: none."""
    return collections.OrderedDict()


def manual_seed(seed: int) -> None:
    """Seed the current GPU's generator, once there is one; as in PyTorch this is ignored without a GPU."""
    int(seed)


def manual_seed_all(seed: int) -> None:
    """Seed the generators of all GPUs: there are none."""
    int(seed)


def seed() -> None:
    """Seed the current GPU's generator with a random number: there is none."""


def seed_all() -> None:
    """Seed the generators of all GPUs with a random number: there are none."""


def get_rng_state_all() -> list[Tensor]:
    """The states of the generators of all GPUs: none."""
    return []


def set_rng_state_all(new_states: list[Tensor]) -> None:
    """Set the states of the generators of all GPUs.

    Raises:
        AssertionError: there are states for a GPU.
    """
    for _ in new_states:
        raise NoCuda()


def set_device(device: Device | str | int) -> None:
    """Make a GPU the current one. A negative index is ignored.

    Raises:
        AssertionError: there is no GPU.
    """
    if _index(device) >= 0:
        raise NoCuda()


class device:  # noqa: N801  (PyTorch's name)
    """A block in which a GPU is the current one; without a GPU, a block, as in PyTorch.

    Args:
        device: a device or its index. Nothing is changed by a negative one.

    Raises:
        ValueError: a device that is no GPU.

    Example:
        >>> import flamework as torch
        >>> with torch.cuda.device(-1):
        ...     print(torch.ones(1).device)
        cpu
    """

    def __init__(self, device: Device | str | int) -> None:
        self.idx = _index(device)

    def __enter__(self) -> None:
        if self.idx >= 0:
            raise NoCuda()

    def __exit__(self, *exception: object) -> None:
        pass


class device_of(device):  # noqa: N801  (PyTorch's name)
    """A block in which a tensor's GPU is the current one; nothing changes for a tensor that is on none."""

    def __init__(self, obj: Tensor) -> None:
        super().__init__(obj.get_device() if obj.is_cuda else -1)


class stream:  # noqa: N801  (PyTorch's name)
    """A block in which a stream is the current one. None changes nothing, and there is no stream without a GPU."""

    def __init__(self, stream: None) -> None:
        if stream is not None:
            raise TypeError(f"a stream or None, not {type(stream).__name__}")

    def __enter__(self) -> None:
        pass

    def __exit__(self, *exception: object) -> None:
        pass


def _index(place: Device | str | int) -> int:
    if isinstance(place, int):
        return place
    found = place if isinstance(place, Device) else Device(place)
    if found.type != "cuda":
        raise ValueError(f"Expected a cuda device, but got: {found}")
    return found.index if found.index is not None else 0
