"""Saving and loading: PyTorch's ``.pt`` files, which PyTorch reads and writes too.

A file is a zip archive without compression: ``data.pkl`` is a pickle of the object, in which a tensor is its sizes,
strides and offset and the number of its storage, and ``data/0``, ``data/1``, ... are the storages' bytes. Tensors that
share a storage refer to one number, so they share it after loading. The names in the pickle are those of PyTorch
(``torch._utils._rebuild_tensor_v2``), whether it is installed or not: they are looked up in :data:`NAMES`.

A file may come from anybody: :func:`load` imports and calls nothing that it chooses (``restricted_pickle.py``), and
checks every size before memory is taken.

The format of the package safetensors needs no support of ours, because its arrays are NumPy's::

    safetensors.numpy.save_file({name: tensor.numpy() for name, tensor in state.items()}, path)
    {name: flamework.from_numpy(array) for name, array in safetensors.numpy.load_file(path).items()}

In: nested containers of tensors. Out: a file, and back. Read next: ``archive.py`` for the zip archive.
"""

from __future__ import annotations

import contextlib
import io
import math
import os
import pickle
import struct
import sys
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator
from pickle import UnpicklingError
from typing import IO, Any

import numpy as np

from .archive import Archive, write_archive
from .compiler import dtypes, primitives as p
from .compiler.dtypes import DType
from .device import device, device_name
from .exchange import LoadedStorage
from .nn.parameter import Buffer, Parameter
from .recording import copied_home, read, reclaim
from .restricted_pickle import PYTHON_NAMES, Names, Reader, set_attributes
from .runtime import engine, gpu
from .size import Size
from .sparse.tensor import SparseTensor, sparse_coo_tensor
from .storage import EXPORTED
from .tensor import Tensor, layout, sparse_coo, strided, strides_of
from .views import view_of

# What the older format, from before PyTorch 1.6, begins with.
_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
_LEGACY_VERSION = 1001

# NumPy has no more axes.
_MOST_AXES = 64


# -------------------------------------------------------------------------------------------------- the names of a file


class StorageType:
    """The class of a storage, as a file names it: ``torch.FloatStorage``. Without a dtype the bytes are untyped."""

    __slots__ = ("dtype",)

    def __init__(self, dtype: DType | None) -> None:
        self.dtype = dtype


class Stored:
    """A storage that a file holds.

    Attributes:
        dtype: of its elements; None while that is not known.
        numel: how many elements, or bytes while it has no dtype.
        bytes: its memory, a flat array of uint8; None while the file is only looked through.
        memory: what its tensors share, once there is one.
        device: where that is to be.
    """

    __slots__ = ("dtype", "numel", "bytes", "memory", "device")

    def __init__(self, dtype: DType | None, numel: int, data: np.ndarray | None) -> None:
        self.dtype = dtype
        self.numel = numel
        self.bytes = data
        self.memory: LoadedStorage | None = None
        self.device = device("cpu")

    def nbytes(self) -> int:
        """Size in bytes."""
        return self.numel * (1 if self.dtype is None else self.dtype.itemsize)

    def cpu(self) -> Stored:
        """The storage itself, on the CPU."""
        self.device = device("cpu")
        return self

    def cuda(self, place: device | str | int | None = None) -> Stored:
        """The storage itself, on a GPU."""
        self.device = device(device_name("cuda" if place is None else place))
        return self

    def use_as(self, dtype: DType) -> None:
        """Give untyped bytes their dtype."""
        if self.dtype is None:
            self.dtype, self.numel = dtype, self.numel // dtype.itemsize
        elif self.dtype is not dtype:
            raise UnpicklingError(f"one storage is used as {self.dtype} and as {dtype}")

    def loaded(self) -> LoadedStorage:
        """What tensors are made of."""
        if self.memory is None:
            memory = self.bytes[: self.nbytes()]
            if self.dtype is dtypes.bool_ and memory.size and memory.max() > 1:
                # kernels rely on a bool being 0 or 1
                memory = (memory != 0).view(np.uint8)
            if memory.ctypes.data % self.dtype.itemsize:
                memory = memory.copy()
            self.memory = LoadedStorage(memory.view(self.dtype.numpy), str(self.device))
        return self.memory


def _rebuild_tensor(
    reader: Reader, storage: Stored, offset: int, size: tuple, stride: tuple, requires_grad: bool = False,
    hooks: Any = None, metadata: Any = None, dtype: DType | None = None,
) -> Tensor | Stored:
    """A tensor over a storage, after checking that it stays inside."""
    if type(storage) is not Stored:
        raise UnpicklingError(f"a tensor is made of an object of type {type(storage).__name__}, not of a storage")
    if not _is_empty(hooks):
        raise UnpicklingError("a tensor has backward hooks, which cannot be loaded")
    conjugate, negative = _signs(metadata, storage.dtype if dtype is None else dtype)
    if dtype is not None:
        storage.use_as(dtype)
    if storage.dtype is None:
        raise UnpicklingError("a tensor is made of a storage without a dtype")
    if storage.bytes is None:
        return storage
    size, stride = _whole_numbers(size, "sizes"), _whole_numbers(stride, "strides")
    (offset,) = _whole_numbers((offset,), "storage offset")
    if len(size) != len(stride) or len(size) > _MOST_AXES:
        raise UnpicklingError(f"a tensor has {len(size)} sizes and {len(stride)} strides; at most 64 are possible")
    count = math.prod(size)
    if count * storage.dtype.itemsize >= 2**63:
        raise UnpicklingError(f"a tensor has sizes {size!r:.80}, which no memory can hold")
    last = offset + sum((n - 1) * step for n, step in zip(size, stride)) if count else -1
    if last >= storage.numel:
        raise UnpicklingError(
            f"a tensor of sizes {size}, strides {stride} and offset {offset} needs {last + 1} elements, but its "
            f"storage has {storage.numel}"
        )
    tensor = storage.loaded().view(size, stride, offset if count else min(offset, storage.numel))
    tensor = tensor.conj() if conjugate else tensor
    tensor = view_of(tensor, (p.neg, ())) if negative else tensor
    return tensor.requires_grad_() if _differentiable(tensor, requires_grad) else tensor


def _signs(metadata: Any, dtype: DType | None) -> tuple[bool, bool]:
    """Whether a tensor shows the conjugates, and the negatives, of what its storage holds."""
    if _is_empty(metadata):
        return False, False
    if type(metadata) not in (dict, OrderedDict) or not metadata.keys() <= {"conj", "neg"}:
        raise UnpicklingError(f"a tensor has properties that are not known: {metadata!r:.80}")
    conjugate, negative = _flag(metadata.get("conj", False)), _flag(metadata.get("neg", False))
    if conjugate and not (dtype is not None and dtype.is_complex):
        raise UnpicklingError(f"a tensor of dtype {dtype} cannot be conjugate")
    if negative and (dtype is None or dtype is dtypes.bool_):
        raise UnpicklingError(f"a tensor of dtype {dtype} cannot be negative")
    return conjugate, negative


def _whole_numbers(values: Any, what: str) -> tuple[int, ...]:
    if not isinstance(values, tuple | list) or not all(type(v) is int and 0 <= v < 2**63 for v in values):
        raise UnpicklingError(f"a tensor's {what} are no non-negative integers of 64 bits")
    return tuple(values)


def _differentiable(tensor: Tensor, requires_grad: Any) -> bool:
    if not _flag(requires_grad):
        return False
    if not (tensor.dtype.is_floating_point or tensor.dtype.is_complex):
        raise UnpicklingError(f"a tensor of dtype {tensor.dtype} cannot require a gradient")
    return True


def _flag(value: Any) -> bool:
    if type(value) is not bool:
        raise UnpicklingError(f"a tensor has an object of type {type(value).__name__} where True or False is needed")
    return value


def _is_empty(value: Any) -> bool:
    return value is None or (type(value) in (dict, OrderedDict) and not value)


def _rebuild_tensor_v3(
    reader: Reader, storage: Stored, offset: int, size: tuple, stride: tuple, requires_grad: bool, hooks: Any,
    dtype: DType, metadata: Any = None,
) -> Tensor | Stored:
    if not isinstance(dtype, DType):
        raise UnpicklingError(f"a tensor's dtype is an object of type {type(dtype).__name__}")
    return _rebuild_tensor(reader, storage, offset, size, stride, requires_grad, hooks, metadata, dtype)


def _rebuild_parameter(
    reader: Reader, data: Tensor, requires_grad: bool, hooks: Any, state: dict | None = None
) -> Tensor | Stored:
    if type(data) is Stored:
        return data
    if type(data) is not Tensor or not _is_empty(hooks):
        raise UnpicklingError(f"a parameter is made of an object of type {type(data).__name__}, or has backward hooks")
    parameter = Parameter(data, _differentiable(data, requires_grad))
    if not _is_empty(state):
        set_attributes(reader, parameter, state)
    return parameter


def _rebuild_from_type(reader: Reader, function: Any, kind: Any, arguments: tuple, state: Any) -> Tensor | Stored:
    """A tensor with attributes of its own; a buffer is the one kind that there is."""
    if function not in _TENSOR_FUNCTIONS or kind is not Tensor or type(arguments) is not tuple:
        raise UnpicklingError("a tensor is of a subclass that a file may not name")
    tensor = NAMES[_TENSOR_FUNCTIONS[function]][1](reader, *arguments)
    if type(tensor) is Stored or _is_empty(state):
        return tensor
    if type(state) is not dict or not _flag(state.get("_is_buffer", False)):
        raise UnpicklingError("a tensor has attributes of its own, which only parameters and buffers can have")
    buffer = Buffer(tensor, persistent=_flag(state.get("persistent", True)))
    set_attributes(reader, buffer, {k: v for k, v in state.items() if k not in ("_is_buffer", "persistent")})
    return buffer


def _size(reader: Reader, sizes: tuple | list = ()) -> Size:
    sizes = _whole_numbers(sizes, "sizes")
    reader.copies(len(sizes))
    return Size(sizes)


def _device(reader: Reader, kind: str, *index: int) -> device:
    if type(kind) is not str or len(index) > 1:
        raise UnpicklingError("a device is not given by its type and index")
    try:
        return device(kind, *_whole_numbers(index, "device"))
    except RuntimeError as error:
        raise UnpicklingError(f"a device has a wrong name: {error}") from error


def _layout(reader: Reader, name: str) -> Any:
    if type(name) is not str or name not in _LAYOUTS:
        raise UnpicklingError(f"a tensor has the layout {name!r:.40}, which is none of {', '.join(_LAYOUTS)}")
    return _LAYOUTS[name]


_LAYOUTS = {repr(kind): kind for kind in (strided, sparse_coo)}


def _rebuild_sparse(reader: Reader, kind: Any, parts: tuple) -> Tensor | Stored:
    """A sparse tensor, after checking that its coordinates are inside of its size."""
    if kind is not sparse_coo or type(parts) is not tuple or len(parts) not in (3, 4):
        raise UnpicklingError("a sparse tensor is not given by its layout, and indices, values and size")
    index, value, size = parts[:3]
    if type(value) is Stored:
        return value
    if not (type(index) is type(value) is Tensor) or index.dtype is not dtypes.int64:
        raise UnpicklingError("a sparse tensor is made of other objects than a tensor of integers and one of values")
    try:
        return sparse_coo_tensor(
            index, value, _whole_numbers(size, "sizes"), is_coalesced=_flag(parts[3]) if len(parts) == 4 else None
        )
    except (RuntimeError, IndexError) as error:
        raise UnpicklingError(f"a sparse tensor is inconsistent: {error}") from error


class _Function:
    """Stands for a function of PyTorch's, which a file names and only its counterpart here is called for."""

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = name

    def __call__(self) -> None:
        raise TypeError(f"{self.name} cannot be called here")


_TENSOR_V2 = _Function("torch._utils._rebuild_tensor_v2")
_TENSOR_V3 = _Function("torch._utils._rebuild_tensor_v3")
_PARAMETER = _Function("torch._utils._rebuild_parameter")
_PARAMETER_WITH_STATE = _Function("torch._utils._rebuild_parameter_with_state")
_FROM_TYPE = _Function("torch._tensor._rebuild_from_type_v2")
_GET_LAYOUT = _Function("torch.serialization._get_layout")
_SPARSE = _Function("torch._utils._rebuild_sparse_tensor")
_TENSOR_FUNCTIONS = {_TENSOR_V2: _TENSOR_V2.name, _TENSOR_V3: _TENSOR_V3.name}
_STORAGE_TYPES = {dtype: StorageType(dtype) for dtype in dtypes.ALL}

# Every name that a file may use: the object, and what stands for a call of it (None: it is not called).
NAMES: dict[str, tuple[Any, Callable | None]] = {
    **PYTHON_NAMES,
    "torch._utils._rebuild_tensor": (_Function("torch._utils._rebuild_tensor"), _rebuild_tensor),
    _TENSOR_V2.name: (_TENSOR_V2, _rebuild_tensor),
    _TENSOR_V3.name: (_TENSOR_V3, _rebuild_tensor_v3),
    _PARAMETER.name: (_PARAMETER, _rebuild_parameter),
    _PARAMETER_WITH_STATE.name: (_PARAMETER_WITH_STATE, _rebuild_parameter),
    _FROM_TYPE.name: (_FROM_TYPE, _rebuild_from_type),
    _GET_LAYOUT.name: (_GET_LAYOUT, _layout),
    _SPARSE.name: (_SPARSE, _rebuild_sparse),
    "torch.Size": (Size, _size),
    "torch.device": (device, _device),
    "torch.Tensor": (Tensor, None),
    "torch.nn.parameter.Parameter": (Parameter, None),
    "torch.storage.UntypedStorage": (StorageType(None), None),
    **{f"torch.{dtype.scalar_name}Storage": (kind, None) for dtype, kind in _STORAGE_TYPES.items()},
    **{f"torch.{dtype.name}": (dtype, None) for dtype in dtypes.ALL},
}
_OBJECTS = {name: thing for name, (thing, _) in NAMES.items()}
_CALLS = {thing: call for thing, call in NAMES.values() if call is not None}
_NAME_OF = {id(thing): name for name, thing in _OBJECTS.items()}

# Classes and functions that the user allowed, by dotted name.
_trusted: dict[str, Any] = {}


def add_safe_globals(safe_globals: list) -> None:
    """Allow classes and functions in files, for :func:`save` and :func:`load`; as ``torch.serialization``'s.

    A file can then make objects of these classes and set their state, or call these functions, with any arguments.
    Nothing is imported for it: what it names is looked up here.

    Args:
        safe_globals: classes or functions, or pairs of one and the dotted name that files give it.

    Example:
        >>> import flamework, fractions
        >>> flamework.serialization.add_safe_globals([fractions.Fraction])
        >>> flamework.serialization.get_safe_globals()
        [<class 'fractions.Fraction'>]
        >>> flamework.serialization.clear_safe_globals()
    """
    for entry in safe_globals:
        thing, name = entry if isinstance(entry, tuple) else (entry, f"{entry.__module__}.{entry.__qualname__}")
        if not callable(thing) or type(name) is not str:
            raise TypeError(f"a class, a function, or a pair of one and its name is needed, not {entry!r}")
        _trusted[name] = thing


def get_safe_globals() -> list:
    """What :func:`add_safe_globals` allowed."""
    return list(_trusted.values())


def clear_safe_globals() -> None:
    """Allow no classes but those that tensors and plain containers need."""
    _trusted.clear()


@contextlib.contextmanager
def safe_globals(safe_globals: list) -> Iterator[None]:
    """Allow classes and functions inside of a ``with`` block."""
    before = dict(_trusted)
    add_safe_globals(safe_globals)
    try:
        yield
    finally:
        clear_safe_globals()
        _trusted.update(before)


# --------------------------------------------------------------------------------------------------------------- saving

_PLAIN = (type(None), bool, int, float, complex, str, bytes, bytearray, list, tuple, dict, set, frozenset, OrderedDict,
          Counter, Size, device)


class _Memory:
    """A storage that is being saved: its number, its dtype, its device, and what its elements will be read from."""

    __slots__ = ("key", "dtype", "numel", "place", "source")

    def __init__(self, key: str, dtype: DType, numel: int, place: str, source: Any) -> None:
        self.key = key
        self.dtype = dtype
        self.numel = numel
        self.place = place
        self.source = source

    def elements(self) -> np.ndarray:
        """The bytes of the storage."""
        array = self.source if isinstance(self.source, np.ndarray) else read(self.source)
        return array.reshape(-1).view(np.uint8)


class _Pickler(pickle._Pickler):
    """Writes the pickle of an object, with PyTorch's names. The one in C can name nothing that cannot be imported."""

    def __init__(self, file: IO[bytes], protocol: int, legacy: bool) -> None:
        super().__init__(file, protocol)
        self.legacy = legacy
        self.memories: dict[int, _Memory] = {}
        # whatever has its id in `memories` has to live
        self.held: list[Any] = []

    def persistent_id(self, obj: Any) -> tuple | None:
        if type(obj) is not _Memory:
            return None
        identity = ("storage", _STORAGE_TYPES[obj.dtype], obj.key, obj.place, obj.numel)
        return (*identity, None) if self.legacy else identity

    def reducer_override(self, obj: Any) -> Any:
        if isinstance(obj, Tensor):
            return self.reduced(obj)
        kind = type(obj)
        if id(obj) in _NAME_OF:
            return _NAME_OF[id(obj)]
        if kind in _PLAIN:
            return NotImplemented
        if kind is layout:
            return _GET_LAYOUT, (repr(obj),)
        for name, thing in _trusted.items():
            if obj is thing:
                return name
            if kind is thing:
                return NotImplemented
        raise pickle.PicklingError(
            f"save() does not write an object of type {kind.__module__}.{kind.__qualname__}, which load() would "
            "refuse: save a state_dict(), or allow its class with flamework.serialization.add_safe_globals()"
        )

    def save_global(self, obj: Any, name: str | None = None) -> None:
        module, _, attribute = name.rpartition(".")
        if module == "builtins" and self.proto < 3:
            # its name when protocol 2 was made
            module = "__builtin__"
        self.write(pickle.GLOBAL + f"{module}\n{attribute}\n".encode())
        self.memoize(obj)

    def reduced(self, tensor: Tensor) -> tuple:
        """How a tensor is made again from its storage."""
        kind, hooks = type(tensor), OrderedDict()
        if kind is Parameter:
            arguments = (tensor.detach(), tensor.requires_grad, hooks)
            attributes = vars(tensor)
            return (_PARAMETER_WITH_STATE, (*arguments, dict(attributes))) if attributes else (_PARAMETER, arguments)
        if kind is SparseTensor:
            parts = (tensor._indices(), tensor._values(), tensor.shape, tensor.is_coalesced())
            return _SPARSE, (sparse_coo, parts)
        stride, offset = strides_of(tensor)
        whole = (self.memory(tensor), offset, tuple(tensor.shape), tuple(stride), tensor.requires_grad, hooks)
        shown = {name: True for name, found in (("conj", tensor.is_conj()), ("neg", tensor.is_neg())) if found}
        whole = (*whole, shown) if shown else whole
        if kind is Tensor:
            return _TENSOR_V2, whole
        if kind is Buffer:
            return _FROM_TYPE, (_TENSOR_V2, Tensor, whole, {**vars(tensor), "_is_buffer": True})
        raise pickle.PicklingError(f"save() writes tensors, parameters and buffers, but no {kind.__qualname__}")

    def memory(self, tensor: Tensor) -> _Memory:
        """The storage of a tensor, the same for all that share it. Nothing is computed yet."""
        storage = tensor._storage
        owner = tensor if storage is None else storage
        known = self.memories.get(id(owner))
        if known is not None:
            if known.dtype is not tensor.dtype:
                raise RuntimeError(
                    "Cannot save multiple tensors or storages that view the same data as different types"
                )
            return known
        if storage is not None and storage.stamp == EXPORTED and not reclaim(storage):
            nbytes = storage.memory.nbytes
            source = storage.memory if tensor.is_cpu else copied_home(storage)
        else:
            source = tensor._node if storage is None else storage.node
            nbytes = source.type.nbytes
        numel = nbytes // tensor.dtype.itemsize
        made = _Memory(str(len(self.memories)), tensor.dtype, numel, tensor._node.type.device, source)
        self.memories[id(owner)] = made
        self.held.append(owner)
        return made


def save(
    obj: Any, f: str | os.PathLike | IO[bytes], pickle_module: Any = pickle, pickle_protocol: int = 2,
    _use_new_zipfile_serialization: bool = True,
) -> None:
    """Write an object to a file that ``load``, and PyTorch's, can read; as ``torch.save``.

    Tensors that share memory share it in the file, which holds all of the memory of a view. Pending work that they need
    is done. The file is written to only when the whole object can be.

    Args:
        obj: tensors, parameters, buffers, sizes, dtypes, devices, numbers, text, bytes, and lists, tuples, sets and
            dictionaries of them: a ``state_dict()`` of a module, an optimizer or a schedule.
        f: a path, or a file with ``write``.
        pickle_module: ``pickle`` is the only one.
        pickle_protocol: of Python's pickles; PyTorch's safe ``load`` reads 2.
        _use_new_zipfile_serialization: False writes the older format, from before PyTorch 1.6.

    Raises:
        pickle.PicklingError: an object that ``load`` would refuse, such as a whole module.
        RuntimeError: two tensors view one memory as different dtypes.

    Example:
        >>> import flamework, io
        >>> file = io.BytesIO()
        >>> flamework.save({"weight": flamework.ones(2)}, file)
        >>> _ = file.seek(0)
        >>> flamework.load(file)
        {'weight': tensor([1., 1.])}
    """
    if pickle_module is not pickle:
        raise ValueError(f"save() pickles with Python's pickle, not with {pickle_module!r}")
    if not isinstance(f, str | os.PathLike) and not hasattr(f, "write"):
        raise AttributeError("expected 'f' to be string, path, or a file-like object with a 'write' attribute")
    stream = io.BytesIO()
    pickler = _Pickler(stream, pickle_protocol, legacy=not _use_new_zipfile_serialization)
    pickler.dump(obj)
    memories = list(pickler.memories.values())
    pending = [m.source for m in memories if not isinstance(m.source, np.ndarray) and not engine.is_computed(m.source)]
    if pending:
        # together, because they may share work
        engine.realize(pending)
    storages = {memory.key: memory.elements() for memory in memories}
    with contextlib.ExitStack() as stack:
        file = stack.enter_context(open(f, "wb")) if isinstance(f, str | os.PathLike) else f
        if _use_new_zipfile_serialization:
            write_archive(file, stream.getvalue(), storages)
        else:
            _write_legacy(file, stream.getvalue(), memories, storages, pickle_protocol)


# -------------------------------------------------------------------------------------------------------------- loading

MapLocation = Callable[[Any, str], Any] | device | str | dict[str, str] | None


def load(
    f: str | os.PathLike | IO[bytes], map_location: MapLocation = None, pickle_module: Any = None, *,
    weights_only: bool | None = True, mmap: bool | None = None,
) -> Any:
    """Read what ``save``, or PyTorch's, wrote; as ``torch.load``.

    No file can make this function run code: it names objects of a fixed list, and nothing is imported.

    Args:
        f: a path, or a file with ``read``, ``seek``, ``tell`` and ``readline``.
        map_location: where tensors are to be, for files that were saved on a device that is not here: a device, a
            dictionary from the devices of the file to devices here, or a function of a storage and the name of its
            device, which returns the storage, or None for its own device.
        pickle_module: only None, as with PyTorch's ``weights_only=True``.
        weights_only: only True (or None, which means it). Allow classes of your own with
            ``flamework.serialization.add_safe_globals``.
        mmap: leave the bytes in the file, which has to be a path, until they are used. Writes to the tensors do not
            reach the file, but the file must not change while they live, and checksums are not verified.

    Raises:
        pickle.UnpicklingError: the file is damaged, or names something that is not allowed; the message says what.
        RuntimeError: a storage's device is not available.
        ValueError: ``weights_only=False``, or ``mmap`` without a path.

    Example:
        >>> import flamework, io
        >>> file = io.BytesIO()
        >>> x = flamework.zeros(3)
        >>> flamework.save([x, x[1:]], file)
        >>> _ = file.seek(0)
        >>> y, part = flamework.load(file, map_location="cpu")
        >>> part += 1
        >>> y
        tensor([0., 1., 1.])
    """
    if pickle_module is not None:
        raise RuntimeError("load() reads pickles by itself, and safely: pickle_module has to be None")
    if weights_only is not None and not weights_only:
        raise ValueError(
            "weights_only=False would let the file run any code. Allow the classes that it needs, after importing "
            "them, with flamework.serialization.add_safe_globals(), and load with weights_only=True."
        )
    is_path = isinstance(f, str | os.PathLike)
    if mmap and not is_path:
        raise ValueError("f must be a file path in order to use the mmap argument")
    with contextlib.ExitStack() as stack:
        file = stack.enter_context(open(f, "rb")) if is_path else f
        start = file.tell()
        magic = file.read(4)
        file.seek(start)
        if magic == b"PK\x03\x04":
            return _load_archive(Archive(file, bool(mmap)), _placed(map_location))
        if mmap:
            raise RuntimeError("mmap can only be used with files saved with "
                               "`torch.save(_use_new_zipfile_serialization=True)`")
        return _load_legacy(file.read(), _placed(map_location))


def _placed(map_location: MapLocation) -> Callable[[Stored, str], None]:
    """A function that puts a storage on its device; it raises RuntimeError unless that is here."""

    def place(storage: Stored, location: str) -> None:
        if isinstance(map_location, dict):
            location = map_location.get(location, location)
        elif isinstance(map_location, str | device):
            location = str(map_location)
        elif map_location is not None:
            result = map_location(storage, location)
            if result is storage:
                # where the function has put it, or on the CPU
                return
            if result is not None:
                raise TypeError("map_location has to return the storage that it was given, or None")
        try:
            wanted = device(location)
            if wanted.type == "cuda":
                _check_gpu(wanted.index or 0)
            storage.device = device(device_name(wanted))
        except NotHere:
            raise
        except RuntimeError as error:
            raise RuntimeError(
                f"Attempting to deserialize object on a device that is not here: {error}. Load with map_location='cpu' "
                "to have its tensors on the CPU."
            ) from error

    return place


class NotHere(RuntimeError):
    """A file was saved on a GPU that is not here."""


def _check_gpu(index: int) -> None:
    """Raise PyTorch's error if a GPU is not here."""
    count = gpu.count()
    if not count:
        raise NotHere(
            "Attempting to deserialize object on a CUDA device but torch.cuda.is_available() is False. If you are "
            "running on a CPU-only machine, please use torch.load with map_location=torch.device('cpu') to map your "
            "storages to the CPU."
        )
    if index >= count:
        raise NotHere(
            f"Attempting to deserialize object on CUDA device {index} but torch.cuda.device_count() is {count}. "
            "Please use torch.load with map_location to map your storages to an existing device."
        )


def _value(stream: IO[bytes], persistent_load: Callable[[Any], Stored], size: int, trusted: dict[str, Any]) -> Any:
    return Reader(stream, Names(_OBJECTS, _CALLS, trusted), persistent_load, size).load()


def _no_storage(identity: Any) -> Any:
    raise UnpicklingError("a storage is referred to where there can be none")


def _identity(identity: Any, length: int) -> tuple[StorageType, str, str, int]:
    """The type, key, device and number of elements of a persistent id."""
    found = identity[0] if type(identity) is tuple and identity else identity
    if type(found) is not str or found != "storage" or len(identity) != length:
        found = found if type(found) is str else f"an object of type {type(found).__name__}"
        raise UnpicklingError(f"the pickle refers to something that is no storage: {found:.80}")
    kind, key, location, numel = identity[1:5]
    if type(kind) is not StorageType or type(key) is not str or type(location) is not str:
        raise UnpicklingError("the pickle refers to a storage whose type, key or device is wrong")
    (numel,) = _whole_numbers((numel,), "number of elements in storage")
    return kind, key, location, numel


def _load_archive(archive: Archive, place: Callable[[Stored, str], None]) -> Any:
    known: dict[str, tuple[StorageType, int, Stored]] = {}
    failures: list[Exception] = []

    def persistent_load(identity: Any) -> Stored:
        kind, key, location, numel = _identity(identity, 5)
        if key in known:
            if known[key][:2] != (kind, numel):
                raise UnpicklingError(f"storage {key:.20} has two types or sizes")
            return known[key][2]
        dtype = kind.dtype
        unit = 1 if dtype is None else dtype.itemsize
        if not (key.isascii() and key.isdecimal()):
            raise UnpicklingError(f"a storage's key is no number: {key!r:.80}")
        if archive.swapped and dtype is None:
            raise UnpicklingError("an untyped storage has the other byte order")
        memory = archive.array(f"data/{key}", numel * unit, swapped=_word(dtype))
        storage = Stored(dtype, numel, memory)
        try:
            place(storage, location)
        except Exception as error:
            # afterwards, so that an error of the user's function is not taken for one of the file
            failures.append(error)
        known[key] = kind, numel, storage
        return storage

    data = archive.read("data.pkl")
    result = _value(io.BytesIO(data), persistent_load, len(data), _trusted)
    if failures:
        raise failures[0]
    return result


def _word(dtype: DType | None) -> int:
    """How many bytes are turned around together when the byte order changes."""
    if dtype is None:
        return 1
    return dtype.itemsize // 2 if dtype.is_complex else dtype.itemsize


# ----------------------------------------------------------------------------------------------------- the older format
#
# Pickles one after the other: a magic number, a version, facts about the machine, the object, the keys of its
# storages; then for each key the number of elements, in 8 bytes, and the elements.


def _write_legacy(
    file: IO[bytes], data: bytes, memories: list[_Memory], storages: dict[str, np.ndarray], protocol: int
) -> None:
    facts = {"protocol_version": _LEGACY_VERSION, "little_endian": sys.byteorder == "little",
             "type_sizes": {"short": 2, "int": 4, "long": 4}}
    for value in (_LEGACY_MAGIC, _LEGACY_VERSION, facts):
        file.write(pickle.dumps(value, protocol))
    file.write(data)
    file.write(pickle.dumps([memory.key for memory in memories], protocol))
    for memory in memories:
        file.write(struct.pack("<q", memory.numel))
        file.write(memoryview(storages[memory.key]))


class _Blank:
    """Stands for an object of a class that the user allowed while a file is only looked through."""

    def __new__(cls, *arguments: Any) -> _Blank:
        return object.__new__(cls)

    def __init__(self, *arguments: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        pass


def _load_legacy(data: bytes, place: Callable[[Stored, str], None]) -> Any:
    stream = io.BytesIO(data)

    def value(persistent_load: Callable[[Any], Any] = _no_storage, trusted: dict[str, Any] | None = None) -> Any:
        return _value(stream, persistent_load, len(data), trusted or {})

    refusal = "the file is neither a zip archive nor of PyTorch's older format"
    try:
        magic = value()
    except UnpicklingError as error:
        raise UnpicklingError(f"{refusal}: {error}") from error
    if type(magic) is not int or magic != _LEGACY_MAGIC:
        raise UnpicklingError(refusal)
    version, facts = value(), value()
    if version != _LEGACY_VERSION or type(facts) is not dict or facts.get("little_endian") is not True:
        raise UnpicklingError("the file's version or byte order is not known")

    # The bytes come after the object that refers to them, and how many there are of each depends on the object: it is
    # looked through first, and made when all storages have been found.
    found: dict[str, tuple[StorageType, int, str]] = {}

    def note(identity: Any) -> Stored:
        kind, key, location, numel = _identity(identity, 6)
        if identity[5] is not None or kind.dtype is None:
            raise UnpicklingError("a storage is a view of another one, or has no dtype")
        if found.setdefault(key, (kind, numel, location)) != (kind, numel, location):
            raise UnpicklingError(f"storage {key:.20} has two types or sizes")
        return Stored(kind.dtype, numel, None)

    begin = stream.tell()
    value(note, dict.fromkeys(_trusted, _Blank))
    keys = value()
    if type(keys) is not list or not all(type(key) is str for key in keys) or sorted(keys) != sorted(found):
        raise UnpicklingError("the file's list of storages is not that of its object")
    storages = {}
    for key in keys:
        kind, numel, location = found[key]
        head = stream.read(8)
        if len(head) != 8 or struct.unpack("<q", head)[0] != numel:
            raise UnpicklingError(f"storage {key:.20} has another number of elements than its tensors say")
        content = stream.read(numel * kind.dtype.itemsize)
        if len(content) != numel * kind.dtype.itemsize:
            raise UnpicklingError(f"the file ends inside of storage {key:.20}")
        storages[key] = Stored(kind.dtype, numel, np.frombuffer(bytearray(content), np.uint8))
        place(storages[key], location)
    stream.seek(begin)
    return value(lambda identity: storages[identity[2]], _trusted)
