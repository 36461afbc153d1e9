"""How much of a GPU's memory is in use, as ``torch.cuda.memory``.

A tensor takes memory when it has been computed: what is pending takes none. In: a GPU. Out: numbers of bytes.
Read next: ``streams.py``.
"""

from __future__ import annotations

import collections

from ..origin import warn
from ..runtime import gpu as runtime
from . import DeviceLike, gpu


def _figure(name: str, place: DeviceLike) -> int:
    return getattr(gpu(place), name) if runtime.count() else 0


def empty_cache() -> None:
    """Give memory that is not in use back to the GPUs."""
    for index in range(runtime.count()):
        gpu(index).empty_cache()


def memory_allocated(device: DeviceLike = None) -> int:
    """Bytes of a GPU that tensors take."""
    return _figure("allocated", device)


def max_memory_allocated(device: DeviceLike = None) -> int:
    """The most bytes of a GPU that tensors took."""
    return _figure("most_allocated", device)


def memory_reserved(device: DeviceLike = None) -> int:
    """Bytes of a GPU that are kept for tensors."""
    return _figure("reserved", device)


def max_memory_reserved(device: DeviceLike = None) -> int:
    """The most bytes of a GPU that were kept for tensors."""
    return _figure("most_reserved", device)


def _renamed(old: str, new: str) -> None:
    warn(f"`torch.cuda.{old}` has been renamed to `torch.cuda.{new}`", FutureWarning)


def memory_cached(device: DeviceLike = None) -> int:
    """The old name of :func:`memory_reserved`."""
    _renamed("memory_cached", "memory_reserved")
    return memory_reserved(device)


def max_memory_cached(device: DeviceLike = None) -> int:
    """The old name of :func:`max_memory_reserved`."""
    _renamed("max_memory_cached", "max_memory_reserved")
    return max_memory_reserved(device)


def reset_peak_memory_stats(device: DeviceLike = None) -> None:
    """Count the most bytes from now on."""
    found = gpu(device)
    found.most_allocated, found.most_reserved = found.allocated, found.reserved


def _resets_all(name: str, device: DeviceLike) -> None:
    warn(
        f"torch.cuda.{name} now calls torch.cuda.reset_peak_memory_stats, which resets /all/ peak memory stats.",
        FutureWarning,
    )
    reset_peak_memory_stats(device)


def reset_max_memory_allocated(device: DeviceLike = None) -> None:
    """An older name of :func:`reset_peak_memory_stats`."""
    _resets_all("reset_max_memory_allocated", device)


def reset_max_memory_cached(device: DeviceLike = None) -> None:
    """An older name of :func:`reset_peak_memory_stats`."""
    _resets_all("reset_max_memory_cached", device)


def memory_stats(device: DeviceLike = None) -> collections.OrderedDict[str, int]:
    """Figures of a GPU's memory by name; none without a GPU."""
    if not runtime.count():
        return collections.OrderedDict()
    found = gpu(device)
    return collections.OrderedDict({
        "allocated_bytes.all.current": found.allocated, "allocated_bytes.all.peak": found.most_allocated,
        "reserved_bytes.all.current": found.reserved, "reserved_bytes.all.peak": found.most_reserved,
    })


def memory_summary(device: DeviceLike = None, abbreviated: bool = False) -> str:
    """:func:`memory_stats` as a table. It is short, so ``abbreviated`` leaves nothing out.

    Raises:
        AssertionError: there is no GPU.
    """
    found = gpu(device)
    rows = [("", "current", "peak"), ("allocated", found.allocated, found.most_allocated),
            ("reserved", found.reserved, found.most_reserved)]
    return "\n".join([f"{found.name}, bytes", *(f"{name:<10}{now:>20}{most:>20}" for name, now, most in rows)])


def mem_get_info(device: DeviceLike = None) -> tuple[int, int]:
    """Free and total memory of a GPU in bytes."""
    return gpu(device).memory()
