"""``torch.cuda``: the GPUs of this machine, or that there is none.

Programs ask :func:`is_available` first. What PyTorch answers without a device is answered here: no device, no memory in
use, seeds that wait for nothing. Everything that needs a device raises PyTorch's error. A name of ``torch.cuda`` that
is missing here raises AttributeError.

In: questions and choices. Out: answers, and the GPU that "cuda" means. Read next: ``memory.py``.
"""

from __future__ import annotations

from typing import NamedTuple

from ..device import current, device as Device, device_name, set_current
from ..recording import pending_tensors, realize
from ..runtime import gpu as runtime
from ..runtime.gpu import OutOfMemoryError
from ..tensor import Tensor

DeviceLike = Device | str | int | None


def is_available() -> bool:
    """Whether tensors can be on a GPU.

    Example:
        >>> import flamework as torch
        >>> torch.device("cuda" if torch.cuda.is_available() else "cpu").type in ("cpu", "cuda")
        True
    """
    return runtime.count() > 0


def is_initialized() -> bool:
    """Whether a GPU was used already."""
    return runtime.gpu.cache_info().currsize > 0


def device_count() -> int:
    """How many GPUs can be used."""
    return runtime.count()


def is_bf16_supported(including_emulation: bool = True) -> bool:
    """Whether the current GPU computes with bfloat16: every one does, if there is one, in float32."""
    return is_available() and (including_emulation or get_device_capability()[0] >= 8)


def get_arch_list() -> list[str]:
    """The architectures that kernels were compiled for: none, they are compiled when they are needed."""
    return []


def index_of(place: DeviceLike) -> int:
    """The index of a GPU; None is the current one.

    Raises:
        ValueError: a device that is no GPU.
        AssertionError: there is no GPU.
        RuntimeError: there is none of that index.
    """
    found = Device("cuda") if place is None else Device(place)
    if found.type != "cuda":
        raise ValueError(f"Expected a cuda device, but got: {found}")
    return int(device_name(found).partition(":")[2])


def gpu(place: DeviceLike = None) -> runtime.Gpu:
    """The runtime's GPU; raises as :func:`index_of`."""
    return runtime.gpu(f"cuda:{index_of(place)}")


def init() -> None:
    """Set up what GPUs need, which is done when one is used first as well."""
    gpu()


def current_device() -> int:
    """The index of the current GPU."""
    return index_of(None)


def current_blas_handle() -> int:
    """The address of the handle of cuBLAS.

    Raises:
        AssertionError: there is no GPU.
        RuntimeError: always, otherwise: cuBLASLt, another library, or kernels compute matrix products.
    """
    gpu()
    raise RuntimeError("there is no handle of cuBLAS: cuBLASLt or kernels compute matrix products")


def synchronize(device: DeviceLike = None) -> None:
    """Compute what is pending on a GPU, and wait until it is done."""
    found = gpu(device)
    waiting = [tensor for tensor in pending_tensors() if str(tensor.device) == found.name]
    if waiting:
        realize(*waiting)
    found.synchronize()


class Properties(NamedTuple):
    """Facts about a GPU."""

    name: str
    major: int
    minor: int
    total_memory: int
    multi_processor_count: int


def get_device_properties(device: DeviceLike = None) -> Properties:
    """Name, capability, memory and number of multiprocessors of a GPU."""
    found = gpu(device)
    return Properties(found.title, *found.cc, found.memory()[1], found.processors)


def get_device_name(device: DeviceLike = None) -> str:
    """The name of a GPU."""
    return gpu(device).title


def get_device_capability(device: DeviceLike = None) -> tuple[int, int]:
    """Major and minor capability of a GPU."""
    return gpu(device).cc


def can_device_access_peer(device: DeviceLike, peer_device: DeviceLike) -> bool:
    """Whether a GPU can read another's memory: no, copies between two go through the CPU's."""
    index_of(device), index_of(peer_device)
    return False


def set_device(device: DeviceLike) -> None:
    """Make a GPU the current one. A negative index is ignored.

    Raises:
        AssertionError: there is no GPU.
    """
    if not _is_negative(device):
        set_current(index_of(device))


class device:  # noqa: N801  (PyTorch's name)
    """A block in which a GPU is the current one.

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

    def __init__(self, device: DeviceLike) -> None:
        if not isinstance(device, int) and Device(device).type != "cuda":
            raise ValueError(f"Expected a cuda device, but got: {Device(device)}")
        self.idx = -1 if _is_negative(device) else device
        self.prev_idx = -1

    def __enter__(self) -> None:
        self.prev_idx = current()
        set_device(self.idx)

    def __exit__(self, *exception: object) -> None:
        if not _is_negative(self.idx):
            set_current(self.prev_idx)


class device_of(device):  # noqa: N801  (PyTorch's name)
    """A block in which a tensor's GPU is the current one; nothing changes for a tensor that is on none."""

    def __init__(self, obj: Tensor) -> None:
        super().__init__(obj.get_device() if obj.is_cuda else -1)


def _is_negative(place: DeviceLike) -> bool:
    return isinstance(place, int) and place < 0


from . import comm, memory, random, streams  # noqa: E402  (they ask for the current GPU)
from .memory import (  # noqa: E402
    empty_cache,
    max_memory_allocated,
    max_memory_cached,
    max_memory_reserved,
    mem_get_info,
    memory_allocated,
    memory_cached,
    memory_reserved,
    memory_stats,
    memory_summary,
    reset_max_memory_allocated,
    reset_max_memory_cached,
    reset_peak_memory_stats,
)
from .random import (  # noqa: E402
    get_rng_state,
    get_rng_state_all,
    initial_seed,
    manual_seed,
    manual_seed_all,
    seed,
    seed_all,
    set_rng_state,
    set_rng_state_all,
)
from .streams import (  # noqa: E402
    Event,
    Stream,
    StreamContext,
    current_stream,
    default_stream,
    set_stream,
    stream,
)

__all__ = [
    "Event", "OutOfMemoryError", "Stream", "StreamContext", "can_device_access_peer", "comm", "current_blas_handle",
    "current_device", "current_stream", "default_stream", "device", "device_count", "device_of", "empty_cache",
    "get_arch_list", "get_device_capability", "get_device_name", "get_device_properties", "get_rng_state",
    "get_rng_state_all", "init", "initial_seed", "is_available", "is_bf16_supported", "is_initialized", "manual_seed",
    "manual_seed_all", "max_memory_allocated", "max_memory_cached", "max_memory_reserved", "mem_get_info", "memory",
    "memory_allocated", "memory_cached", "memory_reserved", "memory_stats", "memory_summary", "random",
    "reset_max_memory_allocated", "reset_max_memory_cached", "reset_peak_memory_stats", "seed", "seed_all",
    "set_device", "set_rng_state", "set_rng_state_all", "set_stream", "stream", "streams", "synchronize",
]
