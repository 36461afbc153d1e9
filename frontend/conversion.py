"""Conversion: tensors of another dtype or on another device.

In: a tensor. Out: the same tensor if nothing changes, else a new one through which gradients flow. Read next:
``exchange.py``.
"""

from __future__ import annotations

from typing import Any, NoReturn

from .arguments import formatted
from .compiler import dtypes, primitives as p
from .compiler.autodiff import tensor_class
from .compiler.dtypes import DType, meant
from .device import device, device_name
from .memory_order import arranged_like, is_plain
from .recording import moved, node_of, observe, tensor_of
from .runtime import gpu
from .tensor import Tensor, memory_format, method
from .views import clone, contiguous

# The class names of PyTorch's old interface, such as "FloatTensor" in x.type("torch.FloatTensor").
CLASS_NAMES = {f"{d.scalar_name}Tensor": d for d in dtypes.ALL}

# The classes themselves (``storages.py``), such as torch.FloatTensor.
TENSOR_CLASSES: dict[type, DType] = {}

# The methods of tensors and storages that cast.
CAST_NAMES = {
    "float": dtypes.float32, "double": dtypes.float64, "long": dtypes.int64, "int": dtypes.int32,
    "half": dtypes.float16, "bfloat16": dtypes.bfloat16, "short": dtypes.int16, "char": dtypes.int8,
    "byte": dtypes.uint8, "bool": dtypes.bool_,
}


def converted(tensor: Tensor, dtype: DType | None, place: str | None, copy: bool = False) -> Tensor:
    """``tensor`` with a dtype and on a device; itself if it is so already and no copy is asked for."""
    kind = tensor._node.type
    casts = dtype is not None and dtype is not kind.dtype
    moves = place is not None and place != kind.device
    if not casts and not moves:
        return clone(tensor) if copy else tensor
    node = node_of(tensor)
    if moves:
        node = moved(node, place)
    made = tensor_of(p.cast(node, params=(dtype,)) if casts else node)
    return made if is_plain(tensor) else arranged_like(made, (tensor,))


_TO_OPTIONS = ("dtype", "device", "other", "non_blocking", "copy", "memory_format")


@method
def to(self: Tensor, *args: Any, **options: Any) -> Tensor:
    """This tensor with another dtype or on another device; itself if nothing changes; as ``Tensor.to``.

    Called as ``to(dtype)``, ``to(device, dtype=None)`` or ``to(other)``, each followed by ``non_blocking``, ``copy``.

    Args:
        non_blocking: every transfer is complete when its result is looked at, so it changes nothing.
        copy: return a new tensor even if nothing changes.
        memory_format: the order of the result's elements in memory.

    Example:
        >>> import flamework
        >>> flamework.ones(2).to(flamework.int64)
        tensor([1, 1])
    """
    for name in options:
        if name not in _TO_OPTIONS:
            raise TypeError(f"to() got an unexpected keyword argument '{name}'")
    dtype, place, copy = options.get("dtype"), options.get("device"), options.get("copy", False)
    other = options.get("other")
    rest = list(args)
    if rest:
        first = rest.pop(0)
        if isinstance(first, DType):
            dtype = first
        elif isinstance(first, Tensor):
            other = first
        elif first is None or isinstance(first, (str, int, device)):
            place = first
            if rest and (rest[0] is None or isinstance(rest[0], (DType, type))):
                dtype = rest.pop(0)
        else:
            raise TypeError(f"to() received an invalid combination of arguments - got {type(first).__name__}")
    if len(rest) > 2:
        most = len(args) - len(rest) + 2
        raise TypeError(f"to() takes at most {most} positional arguments, but {len(args)} were given")
    if len(rest) == 2:
        copy = rest[1]
    if other is not None:
        dtype, place = other.dtype, other.device
    if dtype is not None and not isinstance(dtype, DType):
        given, dtype = dtype, meant(dtype)
        if not isinstance(dtype, DType):
            raise TypeError(f"to() received an invalid combination of arguments - got (dtype={given!r})")
    result = converted(self, dtype, None if place is None else device_name(place), bool(copy))
    wanted = options.get("memory_format")
    if wanted is None or wanted is memory_format.preserve_format:
        return result
    return contiguous(result, memory_format=wanted)


def type_(self: Tensor, dtype: DType | type | str | None = None, non_blocking: bool = False) -> str | Tensor:
    """The name of the tensor's type, or the tensor as another one; as ``Tensor.type``.

    ``dtype`` is a dtype, a class such as ``torch.LongTensor``, or its name; ``non_blocking`` changes nothing that can
    be seen.
    """
    if dtype is None:
        place = self._node.type.device
        return f"torch.{'' if place == 'cpu' else place.split(':')[0] + '.'}{tensor_class(self._node)}"
    if isinstance(dtype, str):
        module, _, name = dtype.rpartition(".")
        found = CLASS_NAMES.get(name)
        if found is None or module not in ("torch", "torch.cuda"):
            raise ValueError(f"invalid type: '{dtype}'")
        return converted(self, found, device_name("cpu" if module == "torch" else "cuda"))
    if isinstance(dtype, DType):
        return converted(self, dtype, None)
    if dtype not in TENSOR_CLASSES:
        raise TypeError("dtype must be a type, str, or dtype object")
    return converted(self, TENSOR_CLASSES[dtype], device_name("cuda" if dtype.is_cuda else "cpu"))


Tensor.type = type_


@method
def type_as(self: Tensor, other: Tensor) -> Tensor:
    """This tensor with the dtype and on the device of another."""
    return converted(self, other.dtype, other._node.type.device)


def typename(obj: object) -> str:
    """The name of a tensor's type, or of an object's class with its module. As ``torch.typename``."""
    if isinstance(obj, Tensor):
        return obj.type()
    named = obj if hasattr(obj, "__qualname__") else type(obj)
    module = "" if named.__module__ in (None, "builtins", "__builtin__") else f"{named.__module__}."
    return module + named.__qualname__


def _pinning_device(function: str, place: object) -> NoReturn:
    if isinstance(place, Tensor):
        raise TypeError(f"{function}(): argument 'device' (position 1) must be torch.device, not Tensor")
    raise RuntimeError("Cannot access accelerator device when none is available.")


@method
def is_pinned(self: Tensor, device: str | device | None = None) -> bool:
    """Whether the memory is locked for a GPU; as ``Tensor.is_pinned``."""
    if not gpu.count():
        if device is not None:
            _pinning_device("is_pinned", device)
        return False
    storage = self._storage
    return storage is not None and storage.memory is not None and gpu.is_locked(storage.memory.ctypes.data)


@method
def pin_memory(self: Tensor, device: str | device | None = None) -> Tensor:
    """A copy in memory that is locked for a GPU, which then copies it by itself; as ``Tensor.pin_memory``.

    Raises:
        RuntimeError: there is no GPU, or the tensor is on one.
    """
    if not gpu.count():
        _pinning_device("pin_memory", device)
    if not self.is_cpu:
        raise RuntimeError(f"cannot pin '{self.type()}' only dense CPU tensors can be pinned")
    if is_pinned(self):
        return self
    elements = observe(self.detach())
    array = gpu.lock(elements.nbytes).view(elements.dtype).reshape(elements.shape)
    array[...] = elements
    from .exchange import from_numpy

    return from_numpy(array)


@method
def cfloat(self: Tensor) -> Tensor:
    """This tensor as complex64. As ``Tensor.cfloat``."""
    return converted(self, dtypes.complex64, None)


@method
def cdouble(self: Tensor) -> Tensor:
    """This tensor as complex128. As ``Tensor.cdouble``."""
    return converted(self, dtypes.complex128, None)


@method
@formatted
def cpu(self: Tensor) -> Tensor:
    """This tensor in the memory of the CPU."""
    return converted(self, None, "cpu")


@method
def to_device(self: Tensor, device: int | str | device, /, *, stream: int | None = None) -> Tensor:
    """This tensor on a device; of the array API standard. The CPU has no streams: only None can be had.

    Raises:
        RuntimeError: there is no such device.
    """
    if stream is not None:
        raise ValueError("to_device(): stream must be None, because the CPU has none")
    return converted(self, None, device_name(device))


@method
@formatted
def cuda(self: Tensor, device: int | str | device | None = None, non_blocking: bool = False) -> Tensor:
    """This tensor on a GPU, by default the first; ``non_blocking`` changes nothing that can be observed.

    Raises:
        RuntimeError: there is no such GPU.
    """
    return converted(self, None, device_name("cuda" if device is None else device))


def _cast_method(name: str, dtype: DType) -> None:
    def cast(self: Tensor) -> Tensor:
        return converted(self, dtype, None)

    cast.__name__ = cast.__qualname__ = name
    cast = formatted(cast)
    cast.__doc__ = f"This tensor as {dtype}; itself if it is so already."
    setattr(Tensor, name, cast)


for _name, _dtype in CAST_NAMES.items():
    _cast_method(_name, _dtype)
