"""Memory for tensors: buffers, and a cache of freed blocks.

Fresh memory is the largest cost of big elementwise work, because the system hands it out page by page as it is first
touched: a product of two large vectors runs five times faster into memory that has been used before. So a freed block
is kept and given to the next buffer of about its size. Sizes are rounded up to eight classes between powers of two, so
that at most an eighth is lost and buffers of nearly equal sizes share blocks.

What is kept is bounded. Blocks of a mebibyte and more are released to the system when they have lain unused for ten
seconds, and when together they exceed the most that was ever in use at once; `FLAMEWORK_CACHE_MEMORY` sets another
bound, in MiB. If the system refuses memory, everything that is kept is released and the request repeated.

In: sizes in bytes, NumPy arrays. Out: `Buffer`, `allocate`, `empty_cache`.
Read next: `threads.py`, which runs kernels over the addresses.
"""

from __future__ import annotations

import contextlib
import os
import time
import warnings
from collections import defaultdict
from collections.abc import Sequence

import numpy as np
from flamework.runtime.counters import COUNTERS
from numpy.lib.array_utils import byte_bounds

#: Every buffer starts on a cache line, which is also the width of the widest vector.
ALIGNMENT = 64

#: Blocks from this size on are counted, bounded and released; what is smaller stays.
LARGE = 1 << 20

#: How long an unused large block is kept, in seconds.
KEEP_SECONDS = 10.0

_LEAST_BOUND = 256 << 20


class Buffer:
    """A span of memory that lives for as long as somebody refers to it.

    `address` and `nbytes` describe the span. `owner` is what keeps it alive: the memory's own block, or the foreign
    object, such as a NumPy array, that it belongs to. A block goes back to the cache when its buffer is collected.
    """

    __slots__ = ("__weakref__", "_size", "address", "nbytes", "owner")

    def __init__(self, address: int, nbytes: int, owner: object, size: int = 0):
        self.address = address
        self.nbytes = nbytes
        self.owner = owner
        self._size = size  # the size class of a block of ours, 0 for foreign memory

    @classmethod
    def from_numpy(cls, array: np.ndarray) -> Buffer:
        """A buffer over the memory of an array, from the lowest byte of any element to the highest. Nothing is copied.

        Example: `Buffer.from_numpy(np.zeros((2, 3), np.float32)).nbytes` is 24.
        """
        low, high = byte_bounds(array)
        return cls(low, high - low, array)

    def as_numpy(
        self,
        dtype: np.typing.DTypeLike,
        shape: Sequence[int],
        offset: int = 0,
        strides: Sequence[int] | None = None,
    ) -> np.ndarray:
        """An array over this memory, which keeps the buffer alive. `offset` and `strides` are in bytes.

        Raises NumPy's `TypeError` or `ValueError` if the array would reach beyond the buffer.
        Example: `allocate(24).as_numpy(np.float32, (2, 3))` has shape `(2, 3)`.
        """
        memory = np.asarray(_ArrayInterface(self))
        return np.ndarray(tuple(shape), dtype, memory, offset, None if strides is None else tuple(strides))

    def part(self, offset: int, nbytes: int) -> Buffer:
        """A buffer over some of the same memory."""
        return Buffer(self.address + offset, nbytes, self)

    @property
    def is_block(self) -> bool:
        """Whether the memory is a block of the allocator's, which nothing else can know, and not a foreign object's."""
        return self._size > 0

    def __repr__(self) -> str:
        return f"Buffer(address={self.address:#x}, nbytes={self.nbytes})"

    def __del__(self) -> None:
        size = self._size
        if size >= LARGE:
            _give_back_large(size, self.address, self.owner)
        elif size:
            _cache.blocks[size].append((self.address, self.owner, 0.0))


class _ArrayInterface:
    """What NumPy reads to make an array of bytes over a buffer; the array refers to this, and this to the buffer."""

    __slots__ = ("__array_interface__", "buffer")

    def __init__(self, buffer: Buffer):
        self.buffer = buffer
        self.__array_interface__ = {
            "shape": (buffer.nbytes,),
            "typestr": "|u1",
            "data": (buffer.address, False),
            "version": 3,
        }


class _Cache:
    """Freed blocks by size class.

    A class's list holds `(address, block, time freed)`, oldest first. Several threads use it without a lock: appending
    to and popping from a list are atomic, and a finaliser may run in the middle of anything, where taking a lock could
    wait for itself. `large_bytes` may therefore drift; `trim` counts afresh.
    """

    __slots__ = ("blocks", "bound", "held", "large_bytes", "large_frees", "most_in_use")

    def __init__(self) -> None:
        self.blocks: defaultdict[int, list[tuple[int, object, float]]] = defaultdict(list)
        self.bound = _bound_from_environment()
        self.held = 0  # bytes obtained from the system and not released
        self.large_bytes = 0  # of these, bytes in free large blocks
        self.large_frees = 0
        self.most_in_use = 0

    def count_large(self) -> int:
        return sum(size * len(free) for size, free in list(self.blocks.items()) if size >= LARGE)

    def effective_bound(self) -> int:
        return max(_LEAST_BOUND, self.most_in_use) if self.bound is None else self.bound

    def trim(self) -> None:
        """Release large blocks that are old, and the oldest of them until the rest is within the bound."""
        now = time.monotonic()
        bound = self.effective_bound()
        large = [(free, size) for size, free in list(self.blocks.items()) if size >= LARGE and free]
        total = self.count_large()
        while large:
            with contextlib.suppress(IndexError):  # another thread may empty a list meanwhile
                free, size = min(large, key=lambda pair: pair[0][0][2])
                if now - free[0][2] < KEEP_SECONDS and total <= bound:
                    break
                del free[0]
                total -= size
                self.held -= size
            large = [pair for pair in large if pair[0]]
        self.large_bytes = self.count_large()


def _bound_from_environment() -> int | None:
    text = os.environ.get("FLAMEWORK_CACHE_MEMORY", "")
    if not text:
        return None
    with contextlib.suppress(ValueError, OverflowError):
        bound = int(float(text) * (1 << 20))
        if bound >= 0:
            return bound
    warnings.warn(f"FLAMEWORK_CACHE_MEMORY is a number of MiB, not {text!r}; ignoring it", stacklevel=2)
    return None


_cache = _Cache()


def size_class(nbytes: int) -> int:
    """The size of the block for a request: `nbytes` rounded up to one of eight steps in its octave, at least 64."""
    if nbytes <= ALIGNMENT:
        return ALIGNMENT
    shift = max((nbytes - 1).bit_length() - 4, 6)
    return ((nbytes - 1 >> shift) + 1) << shift


def allocate(nbytes: int) -> Buffer:
    """A buffer of `nbytes` bytes with undefined contents, aligned to 64 bytes.

    Raises `RuntimeError`, in PyTorch's words, if there is no such amount of memory.
    Example: `allocate(4096).address % 64` is 0.
    """
    if nbytes < 0:
        raise out_of_memory(nbytes)
    return allocate_block(nbytes, size_class(nbytes))


def allocate_block(nbytes: int, size: int) -> Buffer:
    """:func:`allocate` for who keeps the :func:`size_class` of a request that is made many times."""
    free = _cache.blocks.get(size)
    if free:
        try:
            address, block, _ = free.pop()
        except IndexError:  # another thread was faster
            return _allocate_slowly(nbytes, size)
        if size >= LARGE:
            _cache.large_bytes -= size
        COUNTERS.bytes_allocated += nbytes
        return Buffer(address, nbytes, block, size)
    return _allocate_slowly(nbytes, size)


def _allocate_slowly(nbytes: int, size: int) -> Buffer:
    """From a somewhat larger block, or from the system."""
    if size >= LARGE:
        for other in sorted(_cache.blocks):
            if size < other <= size + size // 4 and _cache.blocks[other]:
                with contextlib.suppress(IndexError):
                    address, block, _ = _cache.blocks[other].pop()
                    _cache.large_bytes -= other
                    COUNTERS.bytes_allocated += nbytes
                    return Buffer(address, nbytes, block, other)
    block = _from_system(size)
    if block is None:
        empty_cache()
        block = _from_system(size)
        if block is None:
            raise out_of_memory(nbytes)
    _cache.held += size
    in_use = _cache.held - _cache.large_bytes
    if in_use > _cache.most_in_use:
        _cache.most_in_use = in_use
    COUNTERS.bytes_allocated += nbytes
    address = block.__array_interface__["data"][0]
    return Buffer((address + ALIGNMENT - 1) & -ALIGNMENT, nbytes, block, size)


def _from_system(size: int) -> np.ndarray | None:
    """A block of bytes with room to align it, or None.

    NumPy's allocator asks for huge pages where the block is large, on Linux, which makes first use three times faster.
    """
    if size > 1 << 62:
        return None
    try:
        return np.empty(size + ALIGNMENT, np.uint8)
    except (MemoryError, ValueError):
        return None


def _give_back_large(size: int, address: int, block: object) -> None:
    _cache.blocks[size].append((address, block, time.monotonic()))
    _cache.large_bytes += size
    _cache.large_frees += 1
    if _cache.large_bytes > _cache.effective_bound() or _cache.large_frees % 64 == 0:
        _cache.trim()


def out_of_memory(nbytes: int) -> RuntimeError:
    """The error for an allocation that cannot be had, in PyTorch's words."""
    return RuntimeError(
        f"[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate {nbytes} bytes."
    )


def empty_cache() -> None:
    """Release all memory that no buffer uses to the system.

    Example: after a peak, `empty_cache()` brings the process down to what its tensors need.
    """
    for size, free in list(_cache.blocks.items()):
        while free:
            with contextlib.suppress(IndexError):
                free.pop()
                _cache.held -= size
    _cache.large_bytes = _cache.count_large()


def cached_bytes() -> int:
    """How many bytes of memory are kept for reuse at this moment."""
    return sum(size * len(free) for size, free in list(_cache.blocks.items()))
