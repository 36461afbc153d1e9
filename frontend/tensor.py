"""The ``Tensor`` class: its slots and what can be said about a tensor without computing it.

A tensor is a handle of five slots. Most tensors are *plain*: their node is their value and nobody shares their memory.
A tensor whose memory is shared has a :class:`~flamework.storage.Storage`, and its node is the value that was derived
from the storage at ``_seen``; :func:`flamework.recording.node_of` brings it up to date.

Everything that records or computes is installed from the chapters which follow, by :func:`method`: operators
(``operators.py``), views, mutation, indexing, autograd, conversion and exchange with Python and NumPy.

In: a node. Out: shape, dtype, device, strides and gradient flags. Read next: ``recording.py``.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any, NamedTuple

from .compiler import dtypes
from .compiler.ir import Node
from .device import device, device_named
from .size import Size
from .storage import Chain, Storage, contiguous_strides, find_cut, geometry, is_contiguous


class Creation(NamedTuple):
    """How a view was made, if autograd does not see writes through it.

    Attributes:
        kind: ``"no_grad"``, of a view that was made while gradients were disabled, ``"multi_output"``, of one of the
            results of ``split`` or ``unbind``, or ``"function"``, of an argument that a user's function returned.
        output: which result of ``maker`` it is.
        maker: what PyTorch calls the operation that made it; None if that was not recorded for a gradient.
        requires_grad: whether what it is a view of required a gradient.
    """

    kind: str
    output: int
    maker: str | None
    requires_grad: bool


class TensorMeta:
    """What only few tensors have: an accumulated gradient, hooks that run after accumulation, a name, how a view was
    made, and the memory that others see for as long as the tensor lives."""

    # Defaults of the class: most tensors have one or two, and a view without gradients makes them.
    grad: Tensor | None = None
    accumulated: dict[int, Callable] | None = None
    retains_grad = False
    name: str | None = None
    creation: Creation | None = None
    shown: Any = None


class Tensor:
    """A multi-dimensional array of one dtype, computed when somebody looks at it; as ``torch.Tensor``.

    ``Tensor(2, 3)`` is uninitialised and ``Tensor([1, 2])`` holds the values, both of the default dtype. Use
    :func:`flamework.tensor` to choose the dtype.

    Example:
        >>> import flamework
        >>> flamework.Tensor([[1, 2], [3, 4]]).shape
        torch.Size([2, 2])
    """

    # _node: the value, or the value at _seen. _storage: None while plain. _seen: the storage's serial number at which
    # _node was derived; of a plain tensor the number of in-place writes. _chain: steps from the storage (unset while
    # plain). _meta: None or a TensorMeta.
    __slots__ = ("_node", "_storage", "_seen", "_chain", "_meta", "__weakref__")

    _node: Node
    _storage: Storage | None
    _seen: int
    _chain: Chain
    _meta: TensorMeta | None

    # NumPy's operators leave a mixed expression to ours
    __array_priority__ = 1000

    @property
    def shape(self) -> Size:
        return tuple.__new__(Size, self._node.type.shape)

    @property
    def dtype(self) -> dtypes.DType:
        return self._node.type.dtype

    @property
    def device(self) -> device:
        return device_named(self._node.type.device)

    @property
    def ndim(self) -> int:
        return self._node.type.ndim

    @property
    def itemsize(self) -> int:
        """Size of one element in bytes."""
        return self._node.type.dtype.itemsize

    @property
    def nbytes(self) -> int:
        """Size of all elements in bytes."""
        return self._node.type.nbytes

    @property
    def requires_grad(self) -> bool:
        """Whether operations on this tensor are tracked for gradients."""
        storage = self._storage
        if storage is None or storage.stamp == self._seen:
            return self._node.requires_grad
        cut = find_cut(self._chain)
        return storage.node.requires_grad if cut is None else cut.requires_grad

    @property
    def is_leaf(self) -> bool:
        """Whether gradients end here: the tensor was made by the user, or requires none."""
        return not self.requires_grad or is_gradient_leaf(self)

    @property
    def _version(self) -> int:
        """How often the tensor, or memory that it shares, was written to."""
        return self._seen if self._storage is None else self._storage.version

    @property
    def is_cpu(self) -> bool:
        return self._node.type.device == "cpu"

    @property
    def is_cuda(self) -> bool:
        return self._node.type.device.startswith("cuda")

    @property
    def layout(self) -> layout:
        """How the elements are stored: ``flamework.strided``, or ``flamework.sparse_coo``."""
        return strided

    # A sparse tensor is of a class of its own; none is quantised or without elements of its own.
    is_sparse = is_quantized = is_meta = False

    # A tensor is what it is by identity, so that it can be a key: equality is elementwise.
    def __hash__(self) -> int:
        return id(self)


def is_gradient_leaf(tensor: Tensor) -> bool:
    """Whether ``tensor`` is a leaf that requires a gradient."""
    storage = tensor._storage
    if storage is None:
        mark = tensor._node.mark
        return tensor._node.requires_grad and mark is not None and mark.leaf is not None
    if not tensor._chain:
        return False
    cut = tensor._chain[-1][0]
    return getattr(cut, "leaf", None) is not None and cut.leaf() is tensor


def meta_of(tensor: Tensor) -> TensorMeta:
    meta = tensor._meta
    if meta is None:
        meta = tensor._meta = TensorMeta()
    return meta


class layout:
    """How a tensor's elements are stored, as ``torch.layout``: ``strided``, or ``sparse_coo`` by their coordinates."""

    __slots__ = ("_name",)

    def __init__(self, name: str) -> None:
        self._name = name

    def __repr__(self) -> str:
        return f"torch.{self._name}"

    def __reduce__(self):
        return self._name


strided = layout("strided")
sparse_coo = layout("sparse_coo")


class SparseOperand(NotImplementedError):
    """An operation on dense tensors has asked for the elements of a sparse one.

    Every function reads a tensor through its node, and a sparse tensor has none: so what is not in
    :data:`sparse_functions` is refused, and no sparse tensor is ever taken for a dense one.
    """

    def __init__(self, name: str = "") -> None:
        operation = f"'aten::{name}'" if name else "this operation"
        super().__init__(
            f"Could not run {operation} with arguments from the 'SparseCPU' backend: it takes no sparse tensor. Pass "
            "to_dense() of it instead."
        )


# The functions and methods that take sparse tensors, by the name that they have in ``torch``; ``sparse/`` fills it.
sparse_functions: dict[str, Callable[..., Any]] = {}


def sparse_call(name: str, args: tuple, options: dict[str, Any]) -> Any:
    """A call of a function, one of whose arguments turned out to be sparse.

    Raises:
        SparseOperand: the function takes no sparse tensor.
    """
    function = sparse_functions.get(name)
    if function is None:
        raise SparseOperand(name) from None
    return function(*args, **options)


class memory_format:
    """An order of a tensor's elements in memory, as ``torch.memory_format``; the four instances are all there are."""

    __slots__ = ("name", "_inner")

    contiguous_format: memory_format
    preserve_format: memory_format
    channels_last: memory_format
    channels_last_3d: memory_format

    def __init__(self, name: str, inner: int | None = None) -> None:
        self.name = name
        self._inner = inner

    def has_rank(self, ndim: int) -> bool:
        """Whether tensors of so many axes can have this order."""
        return self._inner is None or self._inner == ndim

    def order(self, ndim: int) -> tuple[int, ...] | None:
        """The axes from outermost to innermost; None when that is the order of the indices.

        Raises:
            RuntimeError: a tensor of so many axes has no such order.
        """
        if self._inner is None:
            return None
        if not self.has_rank(ndim):
            raise RuntimeError(f"required rank {self._inner} tensor to use {self.name} format")
        return (0, *range(2, ndim), 1)

    def __repr__(self) -> str:
        return f"torch.{self.name}"

    def __reduce__(self):
        return (getattr, (memory_format, self.name))


for _name, _rank in (
    ("contiguous_format", None), ("preserve_format", None), ("channels_last", 4), ("channels_last_3d", 5),
):
    setattr(memory_format, _name, memory_format(_name, _rank))


def method(function: Callable[..., Any]) -> Callable[..., Any]:
    """Install a function as the method of ``Tensor`` of its name."""
    setattr(Tensor, function.__name__, function)
    return function


def strides_of(tensor: Tensor) -> tuple[tuple[int, ...], int]:
    """PyTorch's strides and storage offset of a tensor, in elements."""
    storage = tensor._storage
    if storage is None or not tensor._chain:
        return contiguous_strides(tensor._node.type.shape), 0
    _, strides, offset = geometry(tensor._chain, storage.node.type)
    return strides, offset


def is_tensor(obj: Any) -> bool:
    """Whether ``obj`` is a tensor; as ``torch.is_tensor``."""
    return isinstance(obj, Tensor)


@method
def size(self: Tensor, dim: int | None = None) -> Size | int:
    """The sizes of all axes, or of one; as ``Tensor.size``."""
    shape = self._node.type.shape
    if dim is None:
        return tuple.__new__(Size, shape)
    return shape[axis_of(dim, len(shape))]


@method
def dim(self: Tensor) -> int:
    """Number of axes."""
    return self._node.type.ndim


Tensor.ndimension = dim


@method
def numel(self: Tensor) -> int:
    """Number of elements."""
    return self._node.type.size


Tensor.nelement = numel


@method
def element_size(self: Tensor) -> int:
    """Size of one element in bytes."""
    return self._node.type.dtype.itemsize


@method
def stride(self: Tensor, dim: int | None = None) -> tuple[int, ...] | int:
    """Distance in memory between neighbours along each axis, in elements; as ``Tensor.stride``."""
    strides, _ = strides_of(self)
    return strides if dim is None else strides[axis_of(dim, len(strides))]


@method
def storage_offset(self: Tensor) -> int:
    """Position of the first element in the storage, in elements."""
    return strides_of(self)[1]


@method
def is_floating_point(self: Tensor) -> bool:
    return self._node.type.dtype.kind == dtypes.FLOATING


@method
def is_complex(self: Tensor) -> bool:
    return self._node.type.dtype.is_complex


@method
def is_signed(self: Tensor) -> bool:
    return self._node.type.dtype.is_signed


@method
def is_same_size(self: Tensor, other: Tensor) -> bool:
    """Whether both tensors have the same sizes."""
    return self._node.type.shape == other._node.type.shape


@method
def is_set_to(self: Tensor, tensor: Tensor) -> bool:
    """Whether both tensors show the same elements of the same memory."""
    return self is tensor or (
        self._storage is not None
        and self._storage is tensor._storage
        and self._node.type is tensor._node.type
        and strides_of(self) == strides_of(tensor)
    )


@method
def get_device(self: Tensor) -> int:
    """Index of the GPU that holds the tensor; -1 on the CPU."""
    index = device_named(self._node.type.device).index
    return -1 if index is None else index


def contiguous_in_memory(tensor: Tensor) -> bool:
    """Whether the elements lie in memory in index order without gaps."""
    if tensor._storage is None or not tensor._chain:
        return True
    return is_contiguous(tensor._node.type.shape, strides_of(tensor)[0])


def axis_of(dim: int, ndim: int) -> int:
    """A non-negative axis; an axis of a 0-dim tensor may be given as 0 or -1.

    Raises:
        IndexError: outside of ``[-ndim, ndim - 1]``, with PyTorch's sentence.
        TypeError: no int; a bool is none.
    """
    extent = ndim or 1
    if dim.__class__ is not int:
        if dim.__class__ is bool:
            raise TypeError("an axis is an int, not a bool")
        dim = operator.index(dim)
    if not -extent <= dim < extent:
        raise IndexError(
            f"Dimension out of range (expected to be in range of [{-extent}, {extent - 1}], but got {dim})"
        )
    return dim + extent if dim < 0 else dim
