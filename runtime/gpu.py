"""GPUs: their memory, and how kernels are put to work on them.

A :class:`Gpu` has memory of its own. What is done with it goes in order: copies to and from it, and launches. There is
one implementation for each way to have a GPU: NVIDIA's driver (``nvidia.py``), and the simulator of numba
(``NUMBA_ENABLE_CUDASIM=1``), which runs kernels thread by thread in Python, for tests.

In: the compiler's names of devices, such as ``"cuda:0"``. Out: :func:`gpu`, and buffers in its memory.
Read next: ``gpu_plan.py``, which runs programs on one.
"""

from __future__ import annotations

import functools
import os
import weakref
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from .allocator import size_class

if TYPE_CHECKING:
    from ..compiler.codegen_cuda import Launch
    from .cublas import CublasLt
    from .cudnn import Cudnn


#: The memory of a simulated device, and how many blocks it runs of a launch.
SIMULATED_BYTES, SIMULATED_BLOCKS = 1 << 30, 4


class DeviceBuffer:
    """A span of a GPU's memory that lives for as long as somebody refers to it; see ``allocator.Buffer``."""

    __slots__ = ("__weakref__", "_size", "address", "gpu", "nbytes", "owner")

    def __init__(self, gpu: Gpu, address: int, nbytes: int, owner: object = None, size: int = 0) -> None:
        self.gpu = gpu
        self.address = address
        self.nbytes = nbytes
        self.owner = owner
        self._size = size

    def part(self, offset: int, nbytes: int) -> DeviceBuffer:
        return DeviceBuffer(self.gpu, self.address + offset, nbytes, self)

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


def aligned(nbytes: int) -> int:
    """The bytes of a memory after which another one can begin."""
    return nbytes + 255 & -256


class OutOfMemoryError(RuntimeError):
    """A GPU's memory does not suffice. The program can go on, with less."""

    def __init__(self, gpu: Gpu, nbytes: int) -> None:
        free, total = gpu.memory()
        super().__init__(
            f"CUDA out of memory. Tried to allocate {readable(nbytes)}. GPU {gpu.name.partition(':')[2]} has a total "
            f"capacity of {readable(total)} of which {readable(free)} is free. Of the allocated memory "
            f"{readable(gpu.allocated)} is in use by tensors, and {readable(gpu.reserved - gpu.allocated)} is reserved "
            "but unused."
        )


def readable(nbytes: float) -> str:
    """A number of bytes in binary units."""
    for unit in ("bytes", "KiB", "MiB"):
        if nbytes < 1024:
            return f"{nbytes} bytes" if unit == "bytes" else f"{nbytes:.2f} {unit}"
        nbytes /= 1024
    return f"{nbytes:.2f} GiB"


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
                    raise OutOfMemoryError(self, nbytes)
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
        """Bytes that the driver has left, and that the device has."""
        raise AssertionError(type(self).__name__)

    def obtain(self, size: int) -> int | None:
        """Memory from the driver, or None."""
        raise AssertionError(type(self).__name__)

    def release(self, address: int) -> None:
        raise AssertionError(type(self).__name__)

    def write(self, address: int, array: np.ndarray) -> None:
        raise AssertionError(type(self).__name__)

    def download(self, address: int, array: np.ndarray) -> None:
        raise AssertionError(type(self).__name__)

    def copy(self, target: int, source: int, nbytes: int) -> None:
        """Copy within the device's memory."""
        raise AssertionError(type(self).__name__)

    def synchronize(self) -> None:
        """Wait until everything is done that was asked for."""

    def wait(self) -> None:
        """Wait until the device has done what anybody asked it for, in whatever stream."""

    def home_of(self, address: int) -> str:
        """The name of the GPU whose memory an address is in. Raises RuntimeError: it is in none's."""
        raise AssertionError(type(self).__name__)

    #: Where work is put, as other libraries name streams; 1 is the legacy default stream.
    stream_handle = 1

    def hand_over(self, stream: int) -> None:
        """Let the work of another stream, by its handle, wait for what was asked for until now."""

    def locked(self, nbytes: int) -> np.ndarray:
        """Bytes of the host's memory that stay where they are, so that the device can copy them by itself."""
        raise AssertionError(type(self).__name__)

    #: The library that computes matrix products, or None for kernels.
    products: CublasLt | None = None

    #: The library that computes convolutions and attention, or None for kernels.
    cudnn: Cudnn | None = None

    def launches(self, launches: Sequence[Launched]) -> Launches:
        """Launches in order, to be run many times."""
        raise AssertionError(type(self).__name__)


@dataclass(frozen=True)
class Launched:
    """A launch of a function of generated source with ``count`` arguments of 64 bits, the number of units included."""

    source: str
    launch: Launch
    count: int


class Launches:
    """Launches in order, with their arguments.

    Attributes:
        words: the arguments of all launches, one after the other, which whoever runs them fills in.
        begins: where those of each launch begin.
        launch_of: for each word, the launch that it belongs to.
    """

    def __init__(self, gpu: Gpu, launches: Sequence[Launched]) -> None:
        self.gpu = gpu
        counts = [launched.count for launched in launches]
        self.begins = np.cumsum([0, *counts])[:-1].tolist()
        self.launch_of = np.repeat(np.arange(len(counts)), counts)
        self.words = np.zeros(sum(counts), np.int64)

    def prepare(self) -> None:
        """Get what it takes to run them, so that running them cannot fail for lack of memory."""

    def run(self) -> None:
        """Run them with the present words; they may be changed as soon as this returns."""
        raise AssertionError(type(self).__name__)


class Simulator(Gpu):
    """numba's simulator of a GPU. No kernel can leave the blocks of memory that its operands lie in."""

    title = "numba's simulator"
    cc = (9, 0)
    processors = 1
    threads = 8

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.blocks: dict[int, np.ndarray] = {}

    def obtain(self, size: int) -> int | None:
        if self.reserved + size > SIMULATED_BYTES:
            return None
        block = np.full(size + 256, 0xA5, np.uint8)
        address = (block.ctypes.data + 255) & -256
        start = address - block.ctypes.data
        self.blocks[address] = block[start : start + size]
        return address

    def memory(self) -> tuple[int, int]:
        return SIMULATED_BYTES - self.reserved, SIMULATED_BYTES

    def release(self, address: int) -> None:
        del self.blocks[address]

    def span(self, address: int, nbytes: int | None = None) -> np.ndarray:
        """The memory at an address, to the end of its block if it is not said how much."""
        if address == 0 or nbytes == 0:
            return np.empty(0, np.uint8)
        for base, block in self.blocks.items():
            if base <= address < base + block.size:
                found = block[address - base :] if nbytes is None else block[address - base : address - base + nbytes]
                assert nbytes is None or found.size == nbytes, "an operand ends outside of its block"
                return found
        raise AssertionError(f"{address:#x} is no memory of this device")

    def write(self, address: int, array: np.ndarray) -> None:
        self.span(address, array.nbytes)[:] = array.reshape(-1).view(np.uint8)

    def download(self, address: int, array: np.ndarray) -> None:
        array.reshape(-1).view(np.uint8)[:] = self.span(address, array.nbytes)

    def copy(self, target: int, source: int, nbytes: int) -> None:
        self.span(target, nbytes)[:] = self.span(source, nbytes)

    def home_of(self, address: int) -> str:
        for name in (f"cuda:{i}" for i in range(count())):
            if any(base <= address < base + block.size for base, block in gpu(name).blocks.items()):
                return name
        raise RuntimeError("CUDA error: invalid argument")

    def locked(self, nbytes: int) -> np.ndarray:
        return np.empty(nbytes, np.uint8)

    def launches(self, launches: Sequence[Launched]) -> Launches:
        return SimulatedLaunches(self, launches)


class Word(np.int64):
    """An argument of a simulated kernel: a number, or an address, whose memory reaches to the end of its block."""

    gpu: Simulator

    @property
    def bytes(self) -> np.ndarray:
        return self.gpu.span(int(self))


class SimulatedLaunches(Launches):
    def __init__(self, gpu: Simulator, launches: Sequence[Launched]) -> None:
        super().__init__(gpu, launches)
        self.launched = launches
        self.word = type("Word", (Word,), {"gpu": gpu})

    def run(self) -> None:
        from ..kernels.cuda import toolchain

        for begin, launched in zip(self.begins, self.launched):
            words = self.words[begin : begin + launched.count - 1].tolist()
            launch = replace(launched.launch, blocks=min(launched.launch.blocks, SIMULATED_BLOCKS))
            toolchain.simulate(launched.source, [launch], [self.word(word) for word in words])


def is_simulator() -> bool:
    """Whether this process simulates GPUs."""
    return os.environ.get("NUMBA_ENABLE_CUDASIM", "0") not in ("", "0")


#: Page-locked memory, by where it begins, for as long as it lives.
_locked: weakref.WeakValueDictionary[int, np.ndarray] = weakref.WeakValueDictionary()


def lock(nbytes: int) -> np.ndarray:
    """Page-locked bytes of the host's memory, which are given back with the array."""
    array = gpu("cuda:0").locked(nbytes)
    _locked[array.ctypes.data] = array
    return array


def is_locked(address: int) -> bool:
    """Whether an address is in page-locked memory of :func:`lock`."""
    return any(begin <= address < begin + array.nbytes for begin, array in list(_locked.items()))


@functools.cache
def count() -> int:
    """How many GPUs there are; in the simulator what ``FLAMEWORK_SIMULATED_GPUS`` says, or one."""
    if is_simulator():
        return int(os.environ.get("FLAMEWORK_SIMULATED_GPUS", "1"))
    from . import nvidia

    return nvidia.count()


@functools.cache
def gpu(name: str) -> Gpu:
    """The GPU of a name such as ``"cuda:0"``."""
    if is_simulator():
        return Simulator(name)
    from .nvidia import Nvidia

    return Nvidia(name)
