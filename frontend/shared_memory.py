"""Memory that processes share: ``share_memory_``.

A storage adopts an array over a memory map of a file without a name. A forked process inherits the map; a process that
is sent a tensor, by a queue or as an argument of ``multiprocessing``, is sent the file. As with an array that is shared
with NumPy, whoever writes is read by all, so nothing that was computed from the memory is taken to be fresh.

In: tensors, storages. Out: the same, in shared memory. Read next: ``storages.py``.
"""

from __future__ import annotations

import mmap
import os
import tempfile
import weakref
from typing import Any

import numpy as np

from .compiler import dtypes, primitives as p
from .compiler.ir import Node, tensor_type
from .exchange import LoadedStorage
from .recording import read, reclaim, storage_of, tensor_of
from .storage import EXPORTED, Storage
from .tensor import Tensor, method


class SharedMemory(mmap.mmap):
    """A map of a file, which is closed when nobody refers to the map any more."""

    descriptor: int

    @classmethod
    def of(cls, descriptor: int, nbytes: int) -> SharedMemory:
        memory = cls(descriptor, nbytes)
        memory.descriptor = descriptor
        weakref.finalize(memory, os.close, descriptor)
        _tell_multiprocessing()
        return memory


def _nameless_file(nbytes: int) -> int:
    """The descriptor of a new file of so many bytes that has no name."""
    if hasattr(os, "memfd_create"):
        descriptor = os.memfd_create("flamework")
    else:
        descriptor, name = tempfile.mkstemp()
        os.unlink(name)
    os.ftruncate(descriptor, nbytes)
    return descriptor


def mapped_file(storage: Storage) -> mmap.mmap | None:
    """The map of a file that the memory of a storage is, or None."""
    base = getattr(storage.owner, "base", None)
    base = getattr(base, "obj", base)
    return base if isinstance(base, mmap.mmap) else None


def _adopt(storage: Storage, memory: SharedMemory) -> np.ndarray:
    """Let the storage be about this memory; as an array."""
    kind = storage.node.type
    flat = np.ndarray((kind.size,), kind.dtype.numpy, buffer=memory)
    storage.memory = storage.owner = flat
    storage.exporter = None
    storage.stamp = EXPORTED
    return flat


def is_shared_storage(storage: Storage) -> bool:
    return storage.node.type.device != "cpu" or mapped_file(storage) is not None


def share(storage: Storage) -> None:
    """Move the memory of a storage to where other processes can see it, if it is not there.

    The memory of a GPU stays where it is, and an array that NumPy was shown keeps the old memory, as in PyTorch.
    """
    if is_shared_storage(storage):
        return
    exported = storage.stamp == EXPORTED and not reclaim(storage)
    elements = storage.memory if exported else read(storage.node).reshape(-1)
    # an empty map cannot be made
    nbytes = max(1, storage.node.type.nbytes)
    memory = SharedMemory.of(_nameless_file(nbytes), nbytes)
    _adopt(storage, memory)[...] = elements
    if not storage.node.requires_grad:
        kind = storage.node.type
        storage.node = Node(p.input_, (), (kind.shape, kind.dtype, kind.device), kind)


class SharedStorage(LoadedStorage):
    """Shared memory that another process sent.

    Args:
        descriptor: what ``multiprocessing`` makes a descriptor of the file from.
        nbytes: the size of the file.
        size: the number of elements.
        dtype: the name of their dtype.
    """

    __slots__ = ()

    def __init__(self, descriptor: Any, nbytes: int, size: int, dtype: str) -> None:
        kind = tensor_type((size,), getattr(dtypes, dtype))
        self.root = tensor_of(Node(p.input_, (), ((size,), kind.dtype, "cpu"), kind))
        storage = storage_of(self.root)
        _adopt(storage, SharedMemory.of(descriptor.detach(), nbytes))


def _sent(storage: Storage) -> tuple:
    """How ``multiprocessing`` sends a storage: its file, or a copy of memory that is not shared."""
    from multiprocessing.reduction import DupFd

    memory = mapped_file(storage)
    if not isinstance(memory, SharedMemory):
        return storage.__reduce_ex__(2)
    kind = storage.node.type
    dtype = next(name for name in dtypes.__dict__ if getattr(dtypes, name) is kind.dtype)
    return SharedStorage, (DupFd(memory.descriptor), len(memory), kind.size, dtype)


def _tell_multiprocessing() -> None:
    # here and not above: `import flamework` reads few modules
    from multiprocessing.reduction import ForkingPickler

    ForkingPickler.register(Storage, _sent)


@method
def share_memory_(self: Tensor) -> Tensor:
    """Move the storage of this tensor to memory that other processes can see; as ``Tensor.share_memory_``.

    A process that is forked afterwards, and one that is sent the tensor by ``multiprocessing``, has the same memory:
    what one writes the others read. It is up to the processes not to write at the same time.

    Returns:
        The tensor itself; also when its memory is shared already, or a GPU's.

    Example:
        >>> import flamework
        >>> flamework.ones(2).share_memory_().is_shared()
        True
    """
    share(storage_of(self))
    return self


@method
def is_shared(self: Tensor) -> bool:
    """Whether other processes can see the memory: after ``share_memory_``, of a mapped file, or on a GPU."""
    return not self.is_cpu or (self._storage is not None and is_shared_storage(self._storage))
