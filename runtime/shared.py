"""Memory that somebody outside can read and write at any time: NumPy's, another library's, or ours that they see.

An array of NumPy's stands for it. Of a GPU's memory it is a *description*: address, shape and strides are right, views
of it can be taken, and its elements must never be touched, because they are not in the CPU's memory. Whatever is done
with elements is done here.

Nobody says on which streams the others of a GPU work. So what is done with a GPU's shared memory comes after all that
anybody has asked the device for, and is complete when the call returns.

In: arrays. Out: buffers, arrays. Read next: ``gpu.py``.
"""

from __future__ import annotations

import numpy as np

from . import gpu
from .allocator import Buffer
from .gpu import DeviceBuffer


class Description:
    """What NumPy makes an array of bytes of, which keeps this alive, and this the owner of the memory."""

    __slots__ = ("__array_interface__", "owner")

    def __init__(self, address: int, nbytes: int, owner: object) -> None:
        self.owner = owner
        self.__array_interface__ = {"shape": (nbytes,), "typestr": "|u1", "data": (address, False), "version": 3}

    def __del__(self) -> None:
        if isinstance(self.owner, DeviceBuffer):
            # the last who saw the memory may have work on it in a stream of theirs, and it is reused in ours
            self.owner.gpu.wait()


def described(address: int, nbytes: int, owner: object) -> np.ndarray:
    """An array of bytes that describes memory of a GPU."""
    return np.asarray(Description(address, nbytes, owner))


def exposed(buffer: Buffer | DeviceBuffer) -> np.ndarray:
    """An array of bytes over a buffer, or one that describes it."""
    if isinstance(buffer, DeviceBuffer):
        return described(buffer.address, buffer.nbytes, buffer)
    return buffer.as_numpy(np.uint8, (buffer.nbytes,))


def taken(memory: np.ndarray, device: str) -> Buffer | DeviceBuffer:
    """A buffer over a flat array, for when nobody outside can reach the memory any more."""
    if device == "cpu":
        return Buffer.from_numpy(memory)
    found = gpu.gpu(device)
    found.wait()
    return DeviceBuffer(found, memory.ctypes.data, memory.nbytes, memory)


def copied(memory: np.ndarray, device: str) -> Buffer | DeviceBuffer:
    """A buffer of its own with the elements of a flat array as they are now."""
    if device == "cpu":
        return Buffer.from_numpy(memory.copy())
    found = gpu.gpu(device)
    buffer = found.allocate(memory.nbytes)
    found.wait()
    found.copy(buffer.address, memory.ctypes.data, memory.nbytes)
    found.synchronize()
    return buffer


def write(memory: np.ndarray, device: str, value: Buffer | DeviceBuffer) -> None:
    """Copy the elements of a buffer into a contiguous array of as many bytes."""
    if device == "cpu":
        np.copyto(memory, value.as_numpy(memory.dtype, memory.shape))
    elif memory.nbytes:
        found = gpu.gpu(device)
        found.wait()
        found.copy(memory.ctypes.data, value.address, memory.nbytes)
        found.synchronize()
