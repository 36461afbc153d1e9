"""Exchange with Python and NumPy: numbers, lists, arrays, copies and pickles. Here pending work is computed.

``from_numpy`` and ``numpy()`` share memory, as in PyTorch. NumPy may write to it at any time without telling us, so a
storage is *exported* while an array outside can reach its memory: reading it copies the elements, writing to it happens
at once (``recording.snapshot``, ``mutation.assign``). When the last array is gone the memory is ours again.

In: tensors, arrays. Out: arrays, numbers, text. Read next: ``autograd.py``.
"""

from __future__ import annotations

import math
import textwrap
import weakref
from numbers import Number
from typing import Any

import numpy as np

from . import levels
from .arguments import type_name
from .compiler import dtypes, primitives as p, primitives_shape as s
from .compiler.batching import depends_on_lane
from .compiler.dtypes import FLOATING
from .compiler.ir import Node, tensor_type
from .device import device_name
from .leaves import make_leaf
from .origin import warn
from .parts import as_strided
from .printing import format_tensor
from .recording import (
    copied_home,
    from_array,
    get_default_dtype,
    node_of,
    observe,
    pending,
    read,
    reclaim,
    storage_of,
    tensor_of,
)
from .runtime import engine
from .runtime.shared import copied, exposed
from .storage import ALONE, EXPORTED, Storage, contiguous_strides, cut_index, holders, signs, strided_array
from .tensor import Tensor, method, strides_of
from .views import detached, permute

_new = Tensor.__new__


class Exporter:
    """What arrays outside are based on: while one of them lives, so does this, and the memory is exported.

    Args:
        memory: who holds the memory.
        interface: NumPy's description of it, by default the holder's.
    """

    __slots__ = ("memory", "__array_interface__", "__weakref__")

    def __init__(self, memory: Any, interface: dict[str, Any] | None = None) -> None:
        self.memory = memory
        self.__array_interface__ = memory.__array_interface__ if interface is None else interface


def from_numpy(ndarray: np.ndarray) -> Tensor:
    """A tensor that shares memory with an array: writing to one changes the other; as ``torch.from_numpy``.

    Raises:
        TypeError: no array, or a dtype without equivalent.
        ValueError: negative strides, or strides that are no multiples of the element size.

    Example:
        >>> import flamework, numpy
        >>> a = numpy.zeros(2)
        >>> x = flamework.from_numpy(a)
        >>> a[0] = 1
        >>> x
        tensor([1., 0.], dtype=torch.float64)
    """
    if not isinstance(ndarray, np.ndarray):
        raise TypeError(f"expected np.ndarray (got {type_name(ndarray)})")
    if not ndarray.dtype.isnative:
        raise ValueError(
            "given numpy array has byte order different from the native byte order. Conversion between byte orders is "
            "currently not supported."
        )
    check_array(ndarray)
    if not ndarray.flags.writeable:
        warn(
            "The given NumPy array is not writable, and PyTorch does not support non-writable tensors. This means "
            "writing to this tensor will result in undefined behavior. You may want to copy the array to protect its "
            "data or make it writable before converting it to a tensor.",
        )
    return tensor_over(ndarray)


def check_array(ndarray: np.ndarray) -> None:
    """Raise TypeError or ValueError if a tensor cannot share an array's memory; see :func:`from_numpy`."""
    dtypes.from_numpy(ndarray.dtype)
    if any(stride < 0 for stride in ndarray.strides):
        raise ValueError(
            "At least one stride in the given numpy array is negative, and tensors with negative strides are not "
            "currently supported. (You can probably work around this by making a copy of your array  with "
            "array.copy().) "
        )
    if any(stride % ndarray.itemsize for stride in ndarray.strides):
        raise ValueError(
            "given numpy array strides not a multiple of the element byte size. Copy the numpy array to reallocate "
            "the memory."
        )


def tensor_over(ndarray: np.ndarray, device: str = "cpu") -> Tensor:
    """A tensor that shares the memory of an array, or of a GPU, which the array describes.

    Strides are positive and multiples of the size of an element.
    """
    if ndarray.size == 0:
        return from_array(np.empty(ndarray.shape, ndarray.dtype), device)
    dtype = dtypes.from_numpy(ndarray.dtype)
    strides = tuple(stride // ndarray.itemsize for stride in ndarray.strides)
    extent = 1 + sum((e - 1) * stride for e, stride in zip(ndarray.shape, strides))
    memory = np.lib.stride_tricks.as_strided(ndarray, (extent,), (ndarray.itemsize,), writeable=ndarray.flags.writeable)
    whole = ndarray.flags.c_contiguous
    shape = ndarray.shape if whole else (extent,)
    kind = tensor_type(shape, dtype, device)
    storage = Storage(Node(p.input_, (), (shape, dtype, device), kind))
    storage.stamp = EXPORTED
    storage.memory = memory
    storage.owner = ndarray
    tensor = _new(Tensor)
    tensor._storage = storage
    tensor._chain = () if whole else ((s.as_strided, (ndarray.shape, strides, 0)),)
    tensor._node = storage.node if whole else s.as_strided(storage.node, params=tensor._chain[0][1])
    tensor._seen = storage.serial
    tensor._meta = None
    return tensor


def exported(tensor: Tensor) -> np.ndarray:
    """The memory of a tensor's storage as a flat array for somebody outside; of a GPU's memory a description."""
    storage = storage_of(tensor)
    if storage.stamp != EXPORTED or reclaim(storage):
        export(tensor, storage)
    exporter = storage.exporter() if storage.exporter is not None else None
    if exporter is None:
        exporter = Exporter(storage.memory)
        storage.exporter = weakref.ref(exporter)
    return np.asarray(exporter)


def export(tensor: Tensor, storage: Storage) -> None:
    """Make the storage's value memory that changes: its own buffer if no other node needs it, else a copy."""
    base = storage.node
    if base.value is None or base.op is p.scalar:
        engine.realize([base])
    elif engine.refuse is not None:
        engine.refuse([base])
    device = base.type.device
    shared = base.requires_grad or base.src
    known = ALONE[0] + (tensor._node is base)
    del base
    nodes, values, _ = holders(storage)
    memory = exposed(storage.node.value)
    if shared or nodes > known or values > ALONE[1] or not memory.flags.writeable:
        memory = exposed(copied(memory, device))
    storage.memory = memory.view(storage.node.type.dtype.numpy)
    storage.stamp = EXPORTED


def shared_array(tensor: Tensor) -> np.ndarray:
    """The elements as an array that shares the tensor's memory; a description, if that is a GPU's."""
    memory = exported(tensor)
    return strided_array(tensor._chain, tensor._storage.node.type, memory)


@method
def numpy(self: Tensor, *, force: bool = False) -> np.ndarray:
    """The elements as an array that shares the tensor's memory; as ``Tensor.numpy``.

    Args:
        force: also for tensors that require a gradient or live on another device; the array may then be a copy.

    Raises:
        RuntimeError: the tensor requires a gradient, or shows the conjugates or negatives of what is in memory.
        TypeError: the tensor is not on the CPU, or of a dtype that NumPy does not have.
    """
    if force:
        return self.detach().cpu().resolve_conj().resolve_neg().numpy()
    if self.requires_grad:
        raise RuntimeError("Can't call numpy() on Tensor that requires grad. Use tensor.detach().numpy() instead.")
    if self._node.type.device != "cpu":
        raise TypeError(
            f"can't convert {self._node.type.device} device type tensor to numpy. Use Tensor.cpu() to copy the tensor "
            "to host memory first."
        )
    if self._node.type.dtype is dtypes.bfloat16:
        raise TypeError("Got unsupported ScalarType BFloat16")
    if self._storage is not None:
        for which, found in zip(("conj", "neg"), signs(self._chain)):
            if found:
                name = {"conj": "conjugate", "neg": "negative"}[which]
                raise RuntimeError(
                    f"Can't call numpy() on Tensor that has {name} bit set. Use tensor.resolve_{which}().numpy() "
                    "instead."
                )
    return shared_array(self)


@method
def __array__(self: Tensor, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
    array = numpy(self)
    if dtype is not None and array.dtype != dtype:
        if copy is False:
            raise ValueError("Unable to avoid copy while creating an array as requested.")
        return array.astype(dtype)
    return array.copy() if copy else array


@method
def __array_wrap__(self: Tensor, array: np.ndarray, context: Any = None, return_scalar: bool = False) -> Tensor:
    array = np.asarray(array)
    # as PyTorch has it, from the time before it had bool
    return from_numpy(array.astype(np.uint8) if array.dtype == bool else array)


@method
def data_ptr(self: Tensor) -> int:
    """Address of the first element in the memory that holds the value now; it may move when the value changes."""
    storage = self._storage
    if storage is not None and storage.stamp == EXPORTED:
        start = storage.memory.ctypes.data
    else:
        base = self._node if storage is None else storage.node
        if not engine.is_computed(base):
            read(base)
        elif engine.refuse is not None:
            engine.refuse([base])
        start = base.value.address
    return start + strides_of(self)[1] * self._node.type.dtype.itemsize


# ------------------------------------------------------------------------------------------------------- Python numbers


@method
def item(self: Tensor) -> bool | int | float:
    """The only element as a Python number; as ``Tensor.item``.

    Raises:
        RuntimeError: there is not exactly one.
    """
    if self._node.type.size != 1:
        raise RuntimeError(f"a Tensor with {self._node.type.size} elements cannot be converted to Scalar")
    if pending.level is not None and depends_on_lane(node_of(self)):
        raise RuntimeError(
            "vmap: It looks like you're calling .item() on a Tensor. We don't support vmap over calling .item() on a "
            "Tensor, please try to rewrite what you're doing with other operations."
        )
    return observe(self).item()


@method
def tolist(self: Tensor) -> Any:
    """The elements as nested lists of Python numbers; of a 0-dim tensor the number."""
    return observe(self).tolist()


@method
def __bool__(self: Tensor) -> bool:
    size = self._node.type.size
    if size != 1:
        raise RuntimeError(
            f"Boolean value of Tensor with {'no values' if size == 0 else 'more than one value'} is ambiguous"
        )
    return bool(observe(self).item())


def _single(tensor: Tensor) -> Any:
    if tensor._node.type.size != 1:
        raise ValueError("only one element tensors can be converted to Python scalars")
    return observe(tensor).item()


def _real(value: complex, kind: str) -> float:
    if value.imag:
        raise RuntimeError(f"value cannot be converted to type {kind} without overflow")
    return value.real


@method
def is_nonzero(self: Tensor) -> bool:
    """Whether the only element is not zero; as ``torch.is_nonzero``."""
    return __bool__(self)


@method
def __int__(self: Tensor) -> int:
    value = _single(self)
    return int(_real(value, "int64_t") if isinstance(value, complex) else value)


@method
def __float__(self: Tensor) -> float:
    value = _single(self)
    return float(_real(value, "double") if isinstance(value, complex) else value)


@method
def __complex__(self: Tensor) -> complex:
    return complex(_single(self))


@method
def __index__(self: Tensor) -> int:
    kind = self._node.type
    if kind.size != 1 or kind.dtype.kind >= FLOATING:
        raise TypeError("only integer tensors of a single element can be converted to an index")
    return int(observe(self).item())


@method
def __contains__(self: Tensor, element: Any) -> bool:
    if not isinstance(element, (Tensor, Number)):
        raise RuntimeError(
            f"Tensor.__contains__ only supports Tensor or scalar, but you passed in a {type(element)}."
        )
    return bool(observe(self == element).any())


# ----------------------------------------------------------------------------------------------------------------- text


@method
def __repr__(self: Tensor) -> str:
    for level in levels.batch_levels():
        value = level.value(node_of(self))
        if value is not None:
            inner = textwrap.indent(repr(tensor_of(value)), "    ")
            return f"BatchedTensor(lvl={levels.active.index(level) + 1}, bdim=0, value=\n{inner}\n)"
    kind = self._node.type
    function = None if self.is_leaf else self.grad_fn.name()
    array = observe(self)
    return format_tensor(
        array.astype(np.float32) if kind.dtype is dtypes.bfloat16 else array, kind.dtype.name,
        get_default_dtype().name, requires_grad=self.requires_grad, grad_fn=function,
        device=None if kind.device == "cpu" else kind.device,
    )


@method
def __format__(self: Tensor, spec: str) -> str:
    # a 0-dim tensor formats as its number; a subclass, such as a parameter, as the object that it is
    if self._node.type.ndim == 0 and type(self) is Tensor:
        return item(self).__format__(spec)
    return object.__format__(self, spec)


# --------------------------------------------------------------------------------------------------------- copy, pickle


@method
def __deepcopy__(self: Tensor, memo: dict) -> Tensor:
    """A copy with memory of its own; tensors that share a storage share the copied one.

    Raises:
        RuntimeError: the tensor has a gradient history.
    """
    if id(self) in memo:
        return memo[id(self)]
    if not self.is_leaf:
        raise RuntimeError(
            "Only Tensors created explicitly by the user (graph leaves) support the deepcopy protocol at the moment.  "
            "If you were attempting to deepcopy a module, this may be because of a torch.nn.utils.weight_norm usage, "
            "see https://github.com/pytorch/pytorch/pull/103001"
        )
    storage = storage_of(self)
    copied = memo.get(id(storage))
    if copied is None:
        base = storage.node
        if storage.stamp == EXPORTED:
            base = copied_home(storage)
        copied = memo[id(storage)] = Storage(s.copy(s.detach(base)) if base.requires_grad else s.copy(base))
    at = cut_index(self._chain)
    result = _new(type(self))
    result._storage = copied
    result._chain = tuple(step for i, step in enumerate(self._chain) if i != at)
    result._node = copied.node
    for function, params in result._chain:
        result._node = function(result._node, params=params)
    result._seen = copied.serial
    result._meta = None
    memo[id(self)] = result
    if self.requires_grad:
        make_leaf(result)
    if self._meta is not None and self._meta.grad is not None:
        result.grad = __deepcopy__(self._meta.grad.detach(), memo)
    if hasattr(self, "__dict__"):
        from copy import deepcopy

        result.__dict__.update(deepcopy(self.__dict__, memo))
    return result


@method
def __copy__(self: Tensor) -> Tensor:
    """Another tensor over the same memory."""
    result = type(self)._make_subclass(type(self), self.detach(), self.requires_grad)
    if hasattr(self, "__dict__"):
        result.__dict__.update(self.__dict__)
    return result


class LoadedStorage:
    """A storage that a pickle or a file held: tensors that shared it share it again.

    Args:
        array: its elements, flat; nobody else may hold them.
        place: the device that they belong to.
    """

    __slots__ = ("array", "place", "root")

    def __init__(self, array: np.ndarray, place: str = "cpu") -> None:
        self.array = array
        self.place = place
        # the first tensor, whose memory the others share
        self.root: Tensor | None = None

    def view(self, size: tuple[int, ...], stride: tuple[int, ...], offset: int) -> Tensor:
        """A tensor over the storage; the positions have to lie inside."""
        if self.root is None:
            # The axes as they lie in memory: a tensor that fills its storage is a transposition of a contiguous one.
            axes = tuple(range(len(size)))
            order = tuple(sorted(axes, key=lambda axis: -stride[axis]))
            shape = tuple(size[axis] for axis in order)
            fills = offset == 0 and math.prod(size) == self.array.size
            dense = fills and tuple(stride[axis] for axis in order) == contiguous_strides(shape)
            self.root = from_array(self.array.reshape(shape) if dense else self.array, device_name(self.place))
            if dense:
                return self.root if order == axes else permute(self.root, [order.index(axis) for axis in axes])
        return as_strided(detached(self.root, silent=False), size, stride, offset)


def _reduced_storage(self: Storage, protocol: int) -> tuple:
    exported = self.stamp == EXPORTED and not reclaim(self)
    memory = self.memory if exported else read(self.node)
    return LoadedStorage, (np.array(memory).reshape(-1), self.node.type.device)


Storage.__reduce_ex__ = _reduced_storage


def rebuilt(
    cls: type[Tensor], storage: LoadedStorage | np.ndarray, geometry: tuple | None, dtype: dtypes.DType,
    requires_grad: bool, attributes: dict | None, place: str = "cpu",
) -> Tensor:
    """What unpickling a tensor calls."""
    tensor = from_array(storage, device_name(place)) if geometry is None else storage.view(*geometry)
    if tensor.dtype is not dtype:
        tensor = tensor.view(dtype)
    if cls is not Tensor:
        tensor = Tensor._make_subclass(cls, tensor, False)
    if requires_grad:
        make_leaf(tensor)
    if attributes:
        tensor.__dict__.update(attributes)
    return tensor


@method
def __reduce_ex__(self: Tensor, protocol: int) -> tuple:
    if self._storage is None or any(signs(self._chain)):
        storage, geometry = np.array(observe(self), order="C"), None
    else:
        # by identity, so that a pickle holds it once
        storage, geometry = self._storage, (tuple(self.shape), *strides_of(self))
    attributes = getattr(self, "__dict__", None)
    return rebuilt, (type(self), storage, geometry, self.dtype, self.requires_grad, attributes, str(self.device))
