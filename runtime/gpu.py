"""GPUs: their memory, and how kernels are put to work on them.

A :class:`Gpu` has memory of its own. What is done with it goes in order: copies to and from it, and launches. There is
one implementation for each way to have a GPU: here the simulator of numba (``NUMBA_ENABLE_CUDASIM=1``), which runs
kernels thread by thread in Python, for tests.

In: the compiler's names of devices, such as ``"cuda:0"``. Out: :func:`gpu`, and buffers in its memory.
Read next: ``gpu_plan.py``, which runs programs on one.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from .allocator import size_class

if TYPE_CHECKING:
    from ..compiler.codegen_cuda import Launch


class DeviceBuffer:
    """A span of a GPU's memory that lives for as long as somebody refers to it; see ``allocator.Buffer``."""

    __slots__ = ("__weakref__", "_size", "address", "gpu", "nbytes", "owner")

    def __init__(self, gpu: Gpu, address: int, nbytes: int, owner: object = None, size: int = 0) -> None:
        self.gpu = gpu
        self.address = address
        self.nbytes = nbytes
        self.owner = owner
        self._size = size

    @property
    def is_block(self) -> bool:
        """Whether the memory is a block of the GPU's allocator."""
        return self._size > 0

    def as_numpy(self, dtype: np.typing.DTypeLike, shape: Sequence[int]) -> np.ndarray:
        """A copy of the elements."""
        found = np.empty(tuple(shape), dtype)
        self.gpu.download(self.address, found)
        return found

    def __repr__(self) -> str:
        return f"DeviceBuffer({self.gpu.name}, address={self.address:#x}, nbytes={self.nbytes})"

    def __del__(self) -> None:
        if self._size:
            self.gpu.give_back(self.address, self._size, self.nbytes)


class OutOfMemoryError(RuntimeError):
    """A GPU's memory did not suffice; as ``torch.cuda.OutOfMemoryError``."""


class Gpu:
    """One GPU. Freed blocks are kept and given to the next buffer of their size class."""

    name: str
    title: str
    cc: tuple[int, int]
    processors: int
    threads: int

    def __init__(self, name: str) -> None:
        self.name = name
        self.free: dict[int, list[int]] = {}
        self.allocated = self.reserved = self.most_allocated = self.most_reserved = 0

    def allocate(self, nbytes: int) -> DeviceBuffer:
        """A buffer with undefined contents, aligned to 256 bytes."""
        size = max(256, size_class(nbytes))
        free = self.free.get(size)
        if free:
            address = free.pop()
        else:
            found = self.obtain(size)
            if found is None:
                self.empty_cache()
                found = self.obtain(size)
                if found is None:
                    raise OutOfMemoryError(f"CUDA out of memory. Tried to allocate {nbytes} bytes on {self.name}.")
            address = found
            self.reserved += size
            self.most_reserved = max(self.most_reserved, self.reserved)
        self.allocated += nbytes
        self.most_allocated = max(self.most_allocated, self.allocated)
        return DeviceBuffer(self, address, nbytes, None, size)

    def give_back(self, address: int, size: int, nbytes: int) -> None:
        self.allocated -= nbytes
        self.free.setdefault(size, []).append(address)

    def empty_cache(self) -> None:
        """Release what is kept but not in use."""
        for size, addresses in self.free.items():
            for address in addresses:
                self.release(address)
                self.reserved -= size
        self.free.clear()

    def upload(self, array: np.ndarray) -> DeviceBuffer:
        """A new buffer with the elements of an array."""
        buffer = self.allocate(array.nbytes)
        self.write(buffer.address, np.ascontiguousarray(array))
        return buffer

    def memory(self) -> tuple[int, int]:
        """Free and total bytes."""
        raise NotImplementedError

    def synchronize(self) -> None:
        """Wait for all that was launched."""
        raise NotImplementedError

    def obtain(self, size: int) -> int | None:
        """Memory from the driver, or None."""
        raise NotImplementedError

    def release(self, address: int) -> None:
        raise NotImplementedError

    def write(self, address: int, array: np.ndarray) -> None:
        raise NotImplementedError

    def download(self, address: int, array: np.ndarray) -> None:
        raise NotImplementedError

    def launch(self, source: str, launch: Launch, arguments: Sequence[tuple[str, int, int]]) -> None:
        """Launch a function of a piece of generated source.

        Args:
            arguments: ``("pointer", address, nbytes)`` or ``("word", value, 0)``, in the kernel's order.
        """
        raise NotImplementedError


class Simulator(Gpu):
    """numba's simulator of a GPU. Every operand is checked against its bounds."""

    title = "numba's simulator"
    cc = (9, 0)
    processors = 1
    threads = 8

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.blocks: dict[int, np.ndarray] = {}

    def memory(self) -> tuple[int, int]:
        page = os.sysconf("SC_PAGE_SIZE")
        return page * os.sysconf("SC_AVPHYS_PAGES"), page * os.sysconf("SC_PHYS_PAGES")

    def synchronize(self) -> None:
        pass

    def obtain(self, size: int) -> int | None:
        try:
            block = np.full(size + 256, 0xA5, np.uint8)
        except (MemoryError, ValueError):
            return None
        address = (block.ctypes.data + 255) & -256
        start = address - block.ctypes.data
        self.blocks[address] = block[start : start + size]
        return address

    def release(self, address: int) -> None:
        del self.blocks[address]

    def span(self, address: int, nbytes: int) -> np.ndarray:
        if nbytes == 0:
            return np.empty(0, np.uint8)
        for base, block in self.blocks.items():
            if base <= address < base + block.size:
                found = block[address - base : address - base + nbytes]
                assert found.size == nbytes, "an operand ends outside of its block"
                return found
        raise AssertionError(f"{address:#x} is no memory of this device")

    def write(self, address: int, array: np.ndarray) -> None:
        self.span(address, array.nbytes)[:] = array.reshape(-1).view(np.uint8)

    def download(self, address: int, array: np.ndarray) -> None:
        array.reshape(-1).view(np.uint8)[:] = self.span(address, array.nbytes)

    def launch(self, source: str, launch: Launch, arguments: Sequence[tuple[str, int, int]]) -> None:
        from ..kernels.cuda import toolchain

        given = [
            self.span(value, nbytes) if kind == "pointer" else np.int64(value) for kind, value, nbytes in arguments
        ]
        toolchain.simulate(source, [launch], given)


@functools.cache
def count() -> int:
    """How many GPUs there are; in the simulator what ``FLAMEWORK_SIMULATED_GPUS`` says, or one."""
    if os.environ.get("NUMBA_ENABLE_CUDASIM") != "1":
        return 0
    return int(os.environ.get("FLAMEWORK_SIMULATED_GPUS", "1"))


@functools.cache
def gpu(name: str) -> Gpu:
    """The GPU of a name such as ``"cuda:0"``."""
    return Simulator(name)
