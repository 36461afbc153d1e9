"""Storages as objects, and tensors by the names of their classes: PyTorch's interface to memory.

``x.untyped_storage()`` is the memory of a tensor as bytes, ``x.storage()`` the same memory as numbers of one dtype.
Both refer to the :class:`~flamework.storage.Storage` that the tensor and its views share, so what is written through
one is seen by all of them. As through ``tensor.data``, autograd does not see it.

``FloatStorage``, ``LongStorage``, ... and ``FloatTensor``, ``LongTensor``, ... name a dtype: an object is an instance
of one if it has the dtype, and a call makes a new one.

In: tensors, storages, buffers. Out: storages and tensors over the same memory. Read next: ``serialization.py``.
"""

from __future__ import annotations

import mmap
import sys
import weakref
from collections.abc import Sequence
from operator import index
from typing import Any

import numpy as np

from . import creation
from .compiler import dtypes, primitives as p, primitives_shape as s
from .compiler.dtypes import DType
from .conversion import CAST_NAMES, TENSOR_CLASSES
from .device import device, device_name, device_named, set_default
from .exchange import exported, from_numpy, shared_array, tensor_over
from .parts import as_strided
from .places import is_exported, view_of as seen_through
from .recording import from_array, get_default_dtype, reclaim, register, set_default_dtype, storage_of
from .runtime import gpu
from .shared_memory import is_shared_storage, share
from .size import Size
from .storage import EXPORTED, ONE_REFERENCE, Cut, Storage, contiguous_strides, storage_references
from .tensor import Tensor, method, strided
from .views import become_view, detached, view_of

# One object for each storage, as long as somebody holds it; by the storage's identity.
_objects: weakref.WeakValueDictionary[int, UntypedStorage] = weakref.WeakValueDictionary()


_CASTS = {**CAST_NAMES, "complex_float": dtypes.complex64, "complex_double": dtypes.complex128}


def _conversion(name: str, dtype: DType) -> Any:
    def method(self: UntypedStorage | TypedStorage) -> TypedStorage:
        return self._converted(dtype)

    method.__name__ = name
    method.__doc__ = f"A storage of {dtype} with the same numbers; a typed storage that is so already is itself."
    return method


class _Memory:
    """What untyped and typed storages have in common.

    Each has ``_elements()``: a one-dimensional tensor over the memory, made when it is needed, so that a storage which
    somebody holds does not keep the memory from being written in place.
    """

    __slots__ = ()

    is_sparse = False

    def _elements(self) -> Tensor:
        raise AttributeError("_elements")

    @property
    def device(self) -> device:
        return device_named(self.untyped()._storage.node.type.device)

    @property
    def is_cuda(self) -> bool:
        return self.device.type == "cuda"

    def get_device(self) -> int:
        """The index of the GPU that holds the memory; -1 for the CPU."""
        return -1 if self.device.index is None else self.device.index

    def size(self) -> int:
        """The number of elements; bytes, if it is untyped."""
        return len(self)

    def data_ptr(self) -> int:
        """Address of the memory that holds the elements now; it may move when they change."""
        return self._elements().data_ptr()

    def tolist(self) -> list:
        """The elements as Python numbers."""
        return self.cpu()._elements().tolist()

    def _on(self, place: str) -> Any:
        """This storage, or one on another device with the same bytes."""
        memory = self.untyped()
        if str(self.device) == place:
            return self
        copied = memory._flat().to(place).untyped_storage()
        return copied if memory is self else TypedStorage(wrap_storage=copied, dtype=self.dtype)

    def __iter__(self) -> Any:
        return iter(self.tolist())

    def cpu(self) -> Any:
        """This storage in the CPU's memory."""
        return self._on("cpu")

    def cuda(self, device: Any = None, non_blocking: bool = False) -> Any:
        """This storage in a GPU's memory. Raises RuntimeError: there is no such device."""
        return self._on(device_name("cuda" if device is None else device))

    def pin_memory(self, device: Any = None) -> Any:
        """A copy in memory locked for a GPU. Raises RuntimeError: there is no GPU, or this is not on the CPU."""
        memory = self.untyped()
        copied = memory._flat().pin_memory(device).untyped_storage()
        return copied if memory is self else TypedStorage(wrap_storage=copied, dtype=self.dtype)

    def is_pinned(self, device: Any = None) -> bool:
        """Whether the memory is locked for a GPU."""
        return self.untyped()._flat().is_pinned(device)

    def is_shared(self) -> bool:
        """Whether other processes can see the memory."""
        return is_shared_storage(self.untyped()._storage)

    def share_memory_(self) -> Any:
        """This storage, moved to memory that other processes can see; as :meth:`Tensor.share_memory_`."""
        share(self.untyped()._storage)
        return self

    def __copy__(self) -> Any:
        return self.clone()

    def __deepcopy__(self, memo: dict) -> Any:
        return memo.setdefault(id(self), self.clone())

    def __repr__(self) -> str:
        name, kind = type(self).__name__, f"dtype={self.dtype}, " if isinstance(self, TypedStorage) else ""
        lines = "\n".join(f" {value}" for value in self.tolist())
        return f"{lines}\n[torch.storage.{name}({kind}device={self.device}) of size {len(self)}]"

    __str__ = __repr__

    for _name, _dtype in _CASTS.items():
        locals()[_name] = _conversion(_name, _dtype)
    del _name, _dtype


class UntypedStorage(_Memory):
    """The memory of tensors as bytes; as ``torch.UntypedStorage``.

    ``UntypedStorage(8)`` has 8 bytes, ``UntypedStorage([1, 2])`` these two.

    Example:
        >>> import flamework as torch
        >>> x = torch.tensor([1.0, 2.0])
        >>> memory = x.untyped_storage()
        >>> memory.nbytes(), memory is x[1:].untyped_storage()
        (8, True)
    """

    __slots__ = ("_storage", "__weakref__")

    def __init__(self, data: int | Sequence[int] = 0, *, device: Any = None) -> None:
        tensor = creation.empty(data, dtype=dtypes.uint8, device=device) if hasattr(data, "__index__") else (
            creation.tensor(data, dtype=dtypes.uint8, device=device)
        )
        self._storage = storage_of(tensor)
        _objects[id(self._storage)] = self

    @classmethod
    def _of(cls, storage: Storage) -> UntypedStorage:
        found = _objects.get(id(storage))
        # the object may have got other memory since
        if found is None or found._storage is not storage:
            found = cls.__new__(cls)
            found._storage = storage
            _objects[id(storage)] = found
        return found

    def _flat(self) -> Tensor:
        """All elements as they are stored, in the dtype of the tensor that the memory was made for."""
        storage = self._storage
        return seen_through(storage, ((Cut(silent=True), ()), (s.reshape, (storage.node.type.size,))))

    def _as(self, dtype: DType) -> Tensor:
        """All of the memory as numbers of a dtype; bytes that make no whole number are left out."""
        flat = self._flat()
        if flat.dtype is dtype:
            return flat
        if flat.dtype.itemsize == dtype.itemsize:
            return view_of(flat, (p.bitcast, (dtype,)))
        # elements of another size are no movement of nodes: both share the memory itself, as NumPy sees it
        memory = exported(flat).view(np.uint8)
        whole = memory[: memory.size // dtype.itemsize * dtype.itemsize]
        return tensor_over(whole.view(dtype.numpy), str(self.device))

    def __reduce_ex__(self, protocol: int) -> tuple:
        return untyped_storage, (self._flat(),)

    def _elements(self) -> Tensor:
        return self._as(dtypes.uint8)

    def _converted(self, dtype: DType) -> TypedStorage:
        return TypedStorage._of(self._elements().to(dtype))

    def __len__(self) -> int:
        return self._storage.node.type.nbytes

    def nbytes(self) -> int:
        """The number of bytes."""
        return len(self)

    def element_size(self) -> int:
        """1: the elements are bytes."""
        return 1

    def data_ptr(self) -> int:
        return self._flat().data_ptr()

    def __getitem__(self, where: int | slice) -> int | UntypedStorage:
        if isinstance(where, slice):
            if where.step not in (None, 1):
                raise TypeError(f"Trying to slice with a step of {where.step}, but only a step of 1 is supported")
            # a part shares the memory
            return tensor_over(shared_array(self._elements()[where]), str(self.device)).untyped_storage()
        return self._elements()[_position(where, len(self), "torch.UntypedStorage")].item()

    def __setitem__(self, where: int | slice, value: int) -> None:
        self._elements()[where if isinstance(where, slice) else _position(where, len(self), "torch.UntypedStorage")] = (
            _byte(value)
        )

    def fill_(self, value: int) -> UntypedStorage:
        """Set every byte."""
        self._elements().fill_(_byte(value))
        return self

    def copy_(self, source: UntypedStorage | TypedStorage, non_blocking: bool = False) -> UntypedStorage:
        """Write the bytes of a storage of the same size to this one."""
        other = _untyped(source)
        if len(other) != len(self):
            raise RuntimeError(f"size does not match, self was {len(self)} bytes but src was {len(other)} bytes")
        if other is not self:
            kind = self._storage.node.type.dtype
            self._flat().copy_(other._as(kind))
        return self

    def clone(self) -> UntypedStorage:
        """A storage of its own with the same bytes."""
        return self._flat().clone().untyped_storage()

    def resizable(self) -> bool:
        """Whether :meth:`resize_` may change the size: no tensor, array or file is over this memory."""
        return storage_references(self) == ONE_REFERENCE and (
            self._storage.stamp != EXPORTED or reclaim(self._storage)
        )

    def resize_(self, size: int) -> UntypedStorage:
        """Give the storage another number of bytes, of which those that it had before are kept, in place.

        Raises:
            RuntimeError: a tensor is over this memory: its size is what the tensor needs.
        """
        if not hasattr(size, "__index__"):
            raise RuntimeError(f"resize_ expects an int, but got {type(size).__name__}")
        if index(size) != len(self):
            if not self.resizable():
                raise RuntimeError("Trying to resize storage that is not resizable")
            place = str(self.device)
            old = self._elements().cpu().numpy()[: index(size)]
            bytes_ = np.zeros(index(size), np.uint8)
            bytes_[: old.size] = old
            del old
            kind = self._storage.node.type.dtype
            whole = bytes_.size % kind.itemsize == 0
            self._storage = storage_of(from_array(bytes_.view(kind.numpy) if whole else bytes_, place))
            _objects[id(self._storage)] = self
        return self

    def untyped(self) -> UntypedStorage:
        """This storage."""
        return self

    def type(self, dtype: Any = None, non_blocking: bool = False) -> Any:
        """The name of the class, or the bytes as numbers of another one."""
        return "torch.storage.UntypedStorage" if dtype is None else self._converted(_storage_dtype(dtype))

    @classmethod
    def from_buffer(
        cls, buffer: Any, byte_order: str | None = None, count: int = -1, offset: int = 0, *, dtype: DType
    ) -> UntypedStorage:
        """A storage with a copy of ``count`` numbers, from an offset in bytes, of any object that has a buffer.

        Args:
            byte_order: "native", "little" or "big"; needed if a number has several bytes.

        Raises:
            ValueError: the buffer is too small or no whole number of elements long, or there is no such byte order.
        """
        memory = np.frombuffer(buffer, np.uint8) if len(memoryview(buffer).cast("B")) else np.empty(0, np.uint8)
        item = dtype.itemsize
        if item > 1 and byte_order is None:
            raise RuntimeError("function missing required argument 'byte_order' (pos 2)")
        if byte_order not in (None, "native", "little", "big"):
            raise ValueError(f"invalid byte_order '{byte_order}' (expected 'big', 'little', or 'native')")
        if offset < 0 or (memory.size and offset >= memory.size):
            raise ValueError(
                f"offset must be non-negative and no greater than buffer length ({memory.size}) , but got {offset}"
            )
        if count < 0:
            if (memory.size - offset) % item:
                raise ValueError(
                    f"buffer size ({memory.size - offset}) must be a multiple of element size ({item})"
                )
            count = (memory.size - offset) // item
        if offset + count * item > memory.size:
            raise ValueError(
                f"buffer has only {memory.size - offset} elements after offset {offset}, but specified a size of "
                f"{count}"
            )
        part = memory[offset : offset + count * item].copy()
        if dtype is dtypes.bool_:
            part = (part != 0).astype(np.uint8)
        if byte_order not in (None, "native", sys.byteorder):
            item //= 1 + dtype.is_complex
            part = part.reshape(-1, item)[:, ::-1].reshape(-1).copy()
        return from_array(part.view(dtype.numpy)).untyped_storage()

    @classmethod
    def from_file(cls, filename: str, shared: bool = False, size: int = 0) -> UntypedStorage:
        """The bytes of a file.

        Args:
            shared: write what changes to the file, which is made, or made longer, if it has fewer bytes.
            size: how many bytes; of a file that is not shared all of them by default.
        """
        return from_numpy(_mapped(filename, shared, size, 1)).untyped_storage()


class TypedStorage(_Memory):
    """The memory of tensors as numbers of one dtype; as ``torch.TypedStorage``.

    ``TypedStorage(4)`` has 4 elements of the default dtype, ``TypedStorage([1, 2], dtype=torch.int64)`` these two.

    Example:
        >>> import flamework as torch
        >>> x = torch.tensor([1.0, 2.0])
        >>> x.storage()[0] = 5
        >>> x
        tensor([5., 2.])
    """

    __slots__ = ("_untyped", "dtype", "__weakref__")

    def __init__(
        self, data: int | Sequence[float] | None = None, *, dtype: DType | None = None, device: Any = None,
        wrap_storage: UntypedStorage | None = None,
    ) -> None:
        self.dtype = get_default_dtype() if dtype is None else dtype
        if wrap_storage is not None:
            if data is not None:
                raise RuntimeError("no positional arguments should be given when using 'wrap_storage'")
            if not isinstance(wrap_storage, UntypedStorage):
                raise TypeError(f"Argument 'wrap_storage' must be UntypedStorage, but got {type(wrap_storage)}")
            self._untyped = wrap_storage
        elif data is None or hasattr(data, "__index__"):
            self._untyped = creation.empty(data or 0, dtype=self.dtype, device=device).untyped_storage()
        elif isinstance(data, (str, bytes, UntypedStorage)) or not isinstance(data, (Sequence, np.ndarray, Tensor)):
            raise TypeError(f"a storage is made of a size or of a sequence of numbers, not of {type(data).__name__}")
        else:
            self._untyped = creation.tensor(data, dtype=self.dtype, device=device).untyped_storage()

    @classmethod
    def _of(cls, tensor: Tensor) -> TypedStorage:
        return TypedStorage(wrap_storage=untyped_storage(tensor), dtype=tensor.dtype)

    def new(self) -> TypedStorage:
        """A storage of the same dtype without elements."""
        return TypedStorage(dtype=self.dtype)

    def __reduce_ex__(self, protocol: int) -> tuple:
        return _typed, (self._untyped, self.dtype)

    def _elements(self) -> Tensor:
        return self._untyped._as(self.dtype)

    def _converted(self, dtype: DType) -> TypedStorage:
        return self if dtype is self.dtype else TypedStorage._of(self._elements().to(dtype))

    def __len__(self) -> int:
        return len(self._untyped) // self.dtype.itemsize

    def nbytes(self) -> int:
        """The number of bytes."""
        return len(self._untyped)

    def element_size(self) -> int:
        """The number of bytes of one element."""
        return self.dtype.itemsize

    def untyped(self) -> UntypedStorage:
        """The same memory as bytes."""
        return self._untyped

    def data_ptr(self) -> int:
        return self._untyped.data_ptr()

    def __getitem__(self, where: int) -> Any:
        if isinstance(where, slice):
            raise RuntimeError("slices are only supported in UntypedStorage.__getitem__")
        return self._elements()[_position(where, len(self), "torch.storage.TypedStorage")].item()

    def __setitem__(self, where: int | slice, value: float) -> None:
        if not isinstance(where, slice):
            where = _position(where, len(self), "torch.storage.TypedStorage")
        self._elements()[where] = value

    def fill_(self, value: float) -> TypedStorage:
        """Set every element."""
        self._elements().fill_(value)
        return self

    def copy_(self, source: TypedStorage | UntypedStorage, non_blocking: bool = False) -> TypedStorage:
        """Write the bytes of a storage of the same size to this one."""
        self._untyped.copy_(source)
        return self

    def clone(self) -> TypedStorage:
        """A storage of its own with the same numbers."""
        return TypedStorage(wrap_storage=self._untyped.clone(), dtype=self.dtype)

    def resizable(self) -> bool:
        """Whether :meth:`resize_` may change the size: no tensor, array or file is over this memory."""
        return self._untyped.resizable()

    def resize_(self, size: int) -> None:
        """Give the storage another number of elements, in place; as ``UntypedStorage.resize_``."""
        self._untyped.resize_(index(size) * self.dtype.itemsize)

    def pickle_storage_type(self) -> str:
        """The name of the class without its module, such as ``"FloatStorage"``."""
        return f"{self.dtype.scalar_name}Storage"

    def type(self, dtype: Any = None, non_blocking: bool = False) -> Any:
        """The name of the class, or the numbers in a storage of another one."""
        return f"torch.{self.pickle_storage_type()}" if dtype is None else self._converted(_storage_dtype(dtype))


def _typed(untyped: UntypedStorage, dtype: DType) -> TypedStorage:
    return TypedStorage(wrap_storage=untyped, dtype=dtype)


def _untyped(storage: UntypedStorage | TypedStorage) -> UntypedStorage:
    if not is_storage(storage):
        raise TypeError(f"expected a storage, but got {type(storage).__name__}")
    return storage.untyped()


def _position(where: Any, size: int, kind: str) -> int:
    if not hasattr(where, "__index__"):
        error = TypeError if kind == "torch.UntypedStorage" else RuntimeError
        raise error(f"can't index a {kind} with {type(where).__name__}")
    found = index(where)
    if not -size <= found < size:
        raise IndexError(f"index {found} out of range for storage of size {size}")
    return found % size


def _byte(value: int) -> int:
    return index(value) & 255


def _mapped(filename: str, shared: bool, size: int, itemsize: int) -> np.ndarray:
    if not shared:
        data = np.fromfile(filename, np.uint8)
        needed = size * itemsize
        if needed > data.size:
            raise RuntimeError(f"file {filename} has {data.size} bytes, and {needed} are to be read")
        return data[: needed or data.size // itemsize * itemsize].copy()
    with open(filename, "a+b") as file:
        length = file.seek(0, 2)
        needed = size * itemsize or length // itemsize * itemsize
        if needed > length:
            file.truncate(needed)
        if needed == 0:
            return np.empty(0, np.uint8)
    with open(filename, "r+b") as file:
        return np.frombuffer(mmap.mmap(file.fileno(), needed), np.uint8)


def is_storage(obj: Any) -> bool:
    """Whether ``obj`` is a storage; as ``torch.is_storage``."""
    return isinstance(obj, _Memory)


# ------------------------------------------------------------------------------------------------- methods of tensors


@method
def untyped_storage(self: Tensor) -> UntypedStorage:
    """The memory that this tensor and its views share, as bytes; as ``Tensor.untyped_storage``."""
    return UntypedStorage._of(storage_of(self))


@method
def storage(self: Tensor) -> TypedStorage:
    """The memory that this tensor and its views share, as numbers; as ``Tensor.storage``."""
    return TypedStorage._of(self)


@method
def set_(
    self: Tensor, source: Tensor | UntypedStorage | TypedStorage | None = None, storage_offset: int = 0,
    size: Sequence[int] | None = None, stride: Sequence[int] | None = None,
) -> Tensor:
    """Make this tensor share the memory of a tensor or a storage; as ``Tensor.set_``.

    Without a source the tensor has no elements afterwards. Without sizes it looks like the source tensor, or shows all
    of the storage.

    Raises:
        RuntimeError: another dtype, or elements that lie outside of the storage.
    """
    kind = self.dtype
    if source is None:
        return become_view(self, view_of(creation.empty(0, dtype=kind)))
    if isinstance(source, Tensor):
        if source.dtype is not kind:
            raise RuntimeError(
                f"Could not set tensor of type {source.dtype.name} to a tensor of type {kind.name}"
            )
        if size is None:
            return become_view(self, view_of(source))
        elements = source
    elif not is_storage(source):
        raise TypeError(f"set_() received an invalid combination of arguments - got ({type(source).__name__})")
    elif isinstance(source, TypedStorage) and source.dtype is not kind:
        raise RuntimeError(
            f"Expected a Storage of type {kind.name} or an UntypedStorage, but got type {source.dtype.scalar_name} "
            "for argument 1 'storage'"
        )
    else:
        elements = source.untyped()._as(kind)
        size = (elements.shape[0] - storage_offset,) if size is None else size
    if storage_offset < 0:
        raise RuntimeError(f"Tensor: invalid storage offset {storage_offset}")
    shape = tuple(size)
    strides = contiguous_strides(shape) if stride is None else tuple(stride)
    return become_view(self, as_strided(elements, shape, strides, storage_offset))


# --------------------------------------------------------------------------------------------------------- constructors


def constructed(dtype: DType, data: tuple, place: Any) -> Tensor:
    """What a tensor class makes of its arguments: sizes, values, a tensor or a storage to share, or nothing.

    Raises:
        TypeError: a tensor or a storage of another dtype.
    """
    if len(data) == 1:
        (first,) = data
        if isinstance(first, Tensor) or is_storage(first):
            kind = getattr(first, "dtype", dtype)
            if kind is not dtype:
                raise TypeError(f"expected {dtype.scalar_name} (got {kind.scalar_name})")
            return detached(first, silent=False) if isinstance(first, Tensor) else first.untyped()._as(dtype)
        if isinstance(first, np.ndarray) or not (hasattr(first, "__index__") or isinstance(first, Size)):
            if not isinstance(first, (Sequence, np.ndarray)) and not hasattr(first, "__array__"):
                raise TypeError(f"new(): data must be a sequence (got {type(first).__name__})")
            return creation.tensor(first, dtype=dtype, device=place)
    return creation.empty(*(data or (0,)), dtype=dtype, device=place)


@method
def __init__(self: Tensor, *data: Any, device: Any = None) -> None:
    """``Tensor(2, 3)`` of sizes, ``Tensor([1, 2])`` of values, both of the default dtype."""
    made = constructed(get_default_dtype(), data, device)
    self._meta = None
    self._node, self._storage, self._seen = made._node, made._storage, made._seen
    if made._storage is not None:
        self._chain = made._chain
    if self._node.value is None and not is_exported(self):
        register(self)


class tensortype(type):
    """The class of ``torch.FloatTensor`` and its kin, of which every tensor of their dtype is an instance."""

    dtype: DType
    is_cuda = is_sparse = False
    layout = strided
    __module__ = "torch"

    def __call__(cls, *data: Any, device: Any = None) -> Tensor:
        if cls.is_cuda:
            _check_available(cls)
        return constructed(cls.dtype, data, "cuda" if cls.is_cuda and device is None else device)

    def __instancecheck__(cls, instance: Any) -> bool:
        return (
            isinstance(instance, Tensor) and instance.dtype is cls.dtype and instance.is_cuda == cls.is_cuda
            and instance.layout is cls.layout
        )


def _check_available(cls: tensortype) -> None:
    if not gpu.count():
        raise TypeError(
            f"type torch.cuda.{cls.__name__} not available. Torch not compiled with CUDA enabled."
        )


class storagetype(type):
    """The class of ``torch.FloatStorage`` and its kin, of which every typed storage of their dtype is an instance."""

    dtype: DType
    is_cuda = is_sparse = False
    __module__ = "torch"

    def __call__(cls, data: Any = None, *, device: Any = None) -> TypedStorage:
        return TypedStorage(data, dtype=cls.dtype, device=device)

    def __instancecheck__(cls, instance: Any) -> bool:
        return isinstance(instance, TypedStorage) and instance.dtype is cls.dtype

    def from_buffer(cls, buffer: Any, byte_order: str | None = None, count: int = -1, offset: int = 0) -> TypedStorage:
        """As :meth:`UntypedStorage.from_buffer`."""
        memory = UntypedStorage.from_buffer(buffer, byte_order, count, offset, dtype=cls.dtype)
        return TypedStorage(wrap_storage=memory, dtype=cls.dtype)

    def from_file(cls, filename: str, shared: bool = False, size: int = 0) -> TypedStorage:
        """As :meth:`UntypedStorage.from_file`; the size is in elements."""
        memory = from_numpy(_mapped(filename, shared, size, cls.dtype.itemsize)).untyped_storage()
        return TypedStorage(wrap_storage=memory, dtype=cls.dtype)


def _named(metaclass: type, base: str, dtype: DType) -> type:
    name = f"{dtype.scalar_name}{base}"
    doc = f"The {base.lower()}s of {dtype}; as ``torch.{name}``."
    return metaclass(name, (), {"dtype": dtype, "__doc__": doc, "__module__": "torch"})


CLASSES = {
    kind.__name__: kind
    for dtype in dtypes.ALL
    for kind in (_named(tensortype, "Tensor", dtype), _named(storagetype, "Storage", dtype))
    # PyTorch has no classes for tensors of complex numbers
    if not (dtype.is_complex and isinstance(kind, tensortype))
}
CLASSES["Storage"] = CLASSES["FloatStorage"]
# of tensors on a GPU: torch.cuda.FloatTensor
CUDA_CLASSES = {
    name: tensortype(name, (), {
        "dtype": kind.dtype, "is_cuda": True, "__module__": "torch.cuda",
        "__doc__": f"The tensors of {kind.dtype} on a GPU; as ``torch.cuda.{name}``.",
    })
    for name, kind in CLASSES.items() if isinstance(kind, tensortype)
}
TENSOR_CLASSES.update({
    kind: kind.dtype for kind in (*CLASSES.values(), *CUDA_CLASSES.values()) if isinstance(kind, tensortype)
})
_STORAGE_DTYPES = {f"torch.{name}": kind.dtype for name, kind in CLASSES.items() if isinstance(kind, storagetype)}


def _storage_dtype(kind: Any) -> DType:
    if isinstance(kind, storagetype):
        return kind.dtype
    if kind not in _STORAGE_DTYPES:
        raise RuntimeError(f"invalid type: {kind!r}")
    return _STORAGE_DTYPES[kind]


def set_default_tensor_type(t: tensortype | str) -> None:
    """Make the dtype of a tensor class, such as ``torch.DoubleTensor``, the default; as
    ``torch.set_default_tensor_type``.

    Raises:
        TypeError: no such class, or not one of floating point numbers.
    """
    kind = t
    if isinstance(t, str):
        module, _, name = t.rpartition(".")
        kind = (CUDA_CLASSES if module.endswith("cuda") else CLASSES).get(name)
    if not isinstance(kind, tensortype):
        raise TypeError("invalid type object")
    global _on_gpu
    if kind.is_cuda:
        _check_available(kind)
    if kind.is_cuda != _on_gpu:
        # a device that set_default_device() chose stays
        set_default("cuda" if kind.is_cuda else None)
        _on_gpu = kind.is_cuda
    set_default_dtype(kind.dtype)


# Whether set_default_tensor_type() has put new tensors on a GPU.
_on_gpu = False
