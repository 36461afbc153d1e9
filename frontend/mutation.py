"""In-place operations: functional updates behind tensors that keep their identity.

A write computes the next value of the storage as a new node and makes it the storage's; nothing in memory changes
under a node that was already recorded, so a pending or saved value can never be overwritten. What PyTorch would have
refused is refused with its sentences: writing to a leaf that requires a gradient, to an expanded tensor, and, when
gradients are computed, the use of a value that has been written to since (``compiler/autodiff.py``).

A write is *recorded* for autograd if gradients are enabled; otherwise, and below a :class:`~flamework.storage.Cut`, it
changes the data only and the storage keeps the gradient history that it had.

In: a tensor and the node of its new value. Out: the tensor. Read next: ``indexing.py``.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import numpy as np

from . import levels
from .compiler import primitives as p, primitives_shape as s
from .compiler.autodiff import note_write, recording_gradients
from .compiler.dtypes import DType
from .compiler.ir import Node, TensorType, grad_mode
from .compiler.primitives import same_device
from .levels import LEAF
from .recording import (
    broadcast_shapes,
    copied_home,
    moved,
    node_of,
    plain_number,
    read,
    reclaim,
    register,
    scalar_node,
    take_back,
    tensor_of,
)
from .runtime import engine, shared
from .storage import (
    EXPORTED,
    Cut,
    Storage,
    arranged,
    attached,
    cut_index,
    geometry,
    leaf_node,
    replay,
    signed,
    signs,
    strided_array,
    without_cut,
    written_through,
)
from .tensor import Tensor, method
from .views import check_creation

if TYPE_CHECKING:
    from .storage import Chain

VIEW_OF_LEAF = "a view of a leaf Variable that requires grad is being used in an in-place operation."
OVERLAP = (
    "unsupported operation: more than one element of the written-to tensor refers to a single memory location. "
    "Please clone() the tensor before performing the operation."
)
_MAY_OVERLAP = (s.expand, s.as_strided)
_WHOLE = (s.reshape, s.permute, arranged, p.conj, p.neg)


def can_cast(from_: DType, to: DType) -> bool:
    """Whether an in-place result of one dtype may be stored as another; as ``torch.can_cast``."""
    return from_.kind <= to.kind


def assign(tensor: Tensor, node: Node, *, uniform: bool = False, replaces: bool = False) -> Tensor:
    """Make ``node`` the value of ``tensor``: the tail of every in-place operation.

    Args:
        tensor: what is written to, through its view if it is one.
        node: the new value. It is cast to the tensor's dtype if PyTorch allows that, and has the tensor's shape.
        uniform: all elements are equal, so that it does not matter if several of them share memory.
        replaces: the new value was not computed from the old one, whose gradient is zero then.

    Returns:
        ``tensor``.

    Raises:
        RuntimeError: the shape or dtype does not fit, the tensor is a leaf that requires a gradient or a view of one
            while gradients are enabled, or several of its elements share memory.
    """
    old = tensor._node
    if node.type is not old.type:
        node = fitted(old.type, node)
    storage = tensor._storage
    meta = tensor._meta
    if meta is not None and meta.creation is not None:
        check_creation(tensor, node.requires_grad)
    if levels.active:
        levels.check_write(tensor, node)
    if storage is not None:
        return _write(tensor, storage, node, uniform, replaces)
    if old.requires_grad or node.requires_grad:
        node = _next_value(old, node, replaces)
    note_write(old, node, tensor._seen)
    tensor._node = node
    tensor._seen += 1
    register(tensor)
    return tensor


def original(tensor: Tensor, *others: object) -> Tensor:
    """``tensor`` as an in-place operation on it reads it: what the operation saves for its gradient is a copy.

    Without the copy the operation would be found to have overwritten a value that it needs itself.
    """
    if not grad_mode.enabled or not any(isinstance(t, Tensor) and t.requires_grad for t in (tensor, *others)):
        return tensor
    return tensor_of(s.copy(node_of(tensor)))


def fitted(type: TensorType, node: Node) -> Node:
    """``node`` as a value of a given type. Raises RuntimeError as :func:`assign` does."""
    if not can_cast(node.type.dtype, type.dtype):
        raise RuntimeError(
            f"result type {node.type.dtype.scalar_name} can't be cast to the desired output type "
            f"{type.dtype.scalar_name}"
        )
    if node.type.shape != type.shape:
        raise RuntimeError(
            f"output with shape {list(type.shape)} doesn't match the broadcast shape {list(node.type.shape)}"
        )
    same_device((node.type, type))
    return s.converted(node, type.dtype)


def _next_value(old: Node, node: Node, replaces: bool) -> Node:
    """The node of a whole tensor after a write, with the gradient history that it has to have."""
    leaf = old.mark is not None and old.mark.leaf is not None and old.requires_grad
    if grad_mode.enabled:
        if leaf:
            raise RuntimeError(LEAF)
        return _replaced(old, node) if replaces or not node.requires_grad else node
    if node.requires_grad:
        node = s.detach(node)
    if leaf:
        return leaf_node(node, old.mark.leaf, old.mark.hooks)
    return attached(node, old) if old.requires_grad else node


def _replaced(old: Node, node: Node) -> Node:
    """``node`` in the place of ``old``, which stays in the graph with a gradient of zero, as in PyTorch."""
    if not old.requires_grad:
        return node
    if not node.requires_grad:
        return Node(p.locally_constant, (node, old), (), node.type, None, True)
    return s.update(old, node, params=((0,) * old.type.ndim, (1,) * old.type.ndim))


def covers(chain: Chain) -> bool:
    """Whether a view shows all of the storage, so that a write leaves nothing of the old value."""
    return all(function in _WHOLE for function, _ in chain)


def overlaps(tensor: Tensor) -> bool:
    """Whether several elements of a view are certain to be one in memory."""
    storage = tensor._storage
    return storage is not None and _overlaps(tensor._chain, storage.node.type)


def _overlaps(chain: Chain, base: TensorType) -> bool:
    for function, _ in chain:
        if function in _MAY_OVERLAP:
            break
    else:
        return False
    shape, strides, _ = geometry(chain, base)
    return 0 not in shape and any(extent > 1 and stride == 0 for extent, stride in zip(shape, strides))


def _write(tensor: Tensor, storage: Storage, node: Node, uniform: bool, replaces: bool) -> Tensor:
    chain = tensor._chain
    at = cut_index(chain)
    cut: Cut | None = chain[at][0] if at >= 0 else None
    recorded = grad_mode.enabled
    if recorded and cut is not None and cut.leaf is not None:
        raise RuntimeError(LEAF if at == len(chain) - 1 and cut.leaf() is tensor else VIEW_OF_LEAF)
    if not uniform and _overlaps(chain, storage.node.type):
        raise RuntimeError(OVERLAP)

    exported = storage.stamp == EXPORTED and not reclaim(storage)
    if exported and not storage.memory.flags.writeable:
        take_back(storage, shared.copied(storage.memory, storage.node.type.device))
        exported = False
    if exported:
        # others see the same memory, so it changes now; the graph below is kept for the gradient only
        write_shared(storage, chain, node)
    old = storage.node
    if not recorded:
        value = written_data(without_cut(chain), old, s.detach(node) if node.requires_grad else node)
    elif cut is None:
        value = written_through(chain, old, node)
        if not value.requires_grad or (replaces and covers(chain)):
            value = _replaced(old, value)
    else:
        stage = cut(replay(chain[:at], old))
        above = written_through(chain[at + 1 :], stage, node)
        if above.requires_grad:
            cut.graph = above
            above = s.detach(above)
        value = written_data(chain[:at], old, above)
    silent = cut is not None and cut.silent
    if not silent:
        note_write(old, value, storage.version)
    storage.replace(value, silent=silent)
    if exported:
        return tensor
    if at == len(chain) - 1:
        # all of the storage, perhaps as a leaf: with its old node the tensor would hold the old memory
        tensor._node = replay(chain, value)
        tensor._seen = storage.stamp
    register(tensor)
    return tensor


def write_shared(storage: Storage, chain: Chain, node: Node) -> None:
    """Write the elements of a view into exported memory. On a GPU a view with gaps is written with what is between."""
    kind, memory = storage.node.type, storage.memory
    if kind.device == "cpu":
        np.copyto(strided_array(chain, kind, memory), signed(chain, read(node)))
        return
    view = strided_array(chain, kind, memory)
    if not view.flags.c_contiguous or any(signs(chain)):
        view = memory
        with recording_gradients(False):
            node = written_through(without_cut(chain), copied_home(storage), s.detach(node))
    engine.realize([node])
    shared.write(view, kind.device, node.value)


def written_data(chain: Chain, base: Node, value: Node) -> Node:
    """``base`` after a write that autograd does not see: other elements, the same gradient history."""
    data = value
    if chain:
        with recording_gradients(False):
            data = written_through(chain, base, value)
    return attached(data, base) if base.requires_grad else data


def _called_function() -> str:
    """The name of the function of the package that a user called, for an error message."""
    frame, name = sys._getframe(1), ""
    while frame is not None and frame.f_globals.get("__name__", "").partition(".")[0] == __package__.partition(".")[0]:
        # a wrapper's name is no name of its module
        name = frame.f_code.co_name if frame.f_code.co_name in frame.f_globals else name
        frame = frame.f_back
    return name


def write_out(out: Tensor, node: Node) -> Tensor:
    """Store a result in the tensor that a user passed as ``out=``, which takes on the result's shape.

    Raises:
        RuntimeError: the dtype does not fit, or a gradient is required of either.
    """
    if grad_mode.enabled and (out.requires_grad or node.requires_grad):
        raise RuntimeError(
            f"{_called_function()}(): functions with out=... arguments don't support automatic differentiation, but "
            "one of the arguments requires grad."
        )
    if out._node.type.shape != node.type.shape:
        node = fitted_dtype(out._node.type.dtype, node)
        same_device((node.type, out._node.type))
        replace_memory(out, node)
        return out
    return assign(out, node)


def fitted_dtype(dtype: DType, node: Node) -> Node:
    if not can_cast(node.type.dtype, dtype):
        raise RuntimeError(
            f"result type {node.type.dtype.scalar_name} can't be cast to the desired output type "
            f"{dtype.scalar_name}"
        )
    return s.converted(node, dtype)


def replace_memory(tensor: Tensor, node: Node) -> None:
    """Give ``tensor`` memory of its own with a value of any type; views that it had stay with the old memory."""
    version = tensor._version
    tensor._node = node
    tensor._storage = None
    tensor._seen = version + 1
    register(tensor)


def source_node(value: Tensor | float, type: TensorType) -> Node:
    """A tensor or number as a new value of ``type``: cast freely and broadcast, as ``copy_`` does.

    Raises:
        RuntimeError: the shape does not broadcast to ``type.shape``.
        TypeError: neither a tensor nor a number.
    """
    if not isinstance(value, Tensor):
        number = plain_number(value)
        if number is None:
            raise TypeError(f"expected a Tensor or a number, but got {value.__class__.__name__}")
        return scalar_node(number, type)
    node = node_of(value)
    node = moved(node, type.device)
    shape = broadcast_shapes(type.shape, node.type.shape)
    if shape != type.shape:
        raise RuntimeError(f"output with shape {list(type.shape)} doesn't match the broadcast shape {list(shape)}")
    if node.type.dtype is not type.dtype:
        return s.broadcast_to(s.converted(node, type.dtype), shape)
    # a copy, so that later writes to the source are not taken for writes to this value
    return s.broadcast_to(s.copy(node), shape)


@method
def copy_(self: Tensor, src: Tensor | float, non_blocking: bool = False) -> Tensor:
    """Write the elements of ``src``, cast and broadcast, into this tensor; as ``Tensor.copy_``.

    Every copy is complete when its result is looked at, so ``non_blocking`` changes nothing that can be observed.

    Example:
        >>> import flamework
        >>> flamework.zeros(2).copy_(flamework.tensor([1, 2]))
        tensor([1., 2.])
    """
    return assign(self, source_node(src, self._node.type), replaces=True)


@method
def fill_(self: Tensor, value: Tensor | float) -> Tensor:
    """Set every element to a number or a 0-dim tensor; as ``Tensor.fill_``."""
    if isinstance(value, Tensor) and value._node.type.ndim:
        raise RuntimeError(
            "fill_ only supports 0-dimension value tensor but got tensor with "
            f"{value._node.type.ndim} dimensions."
        )
    return assign(self, source_node(value, self._node.type), uniform=not isinstance(value, Tensor), replaces=True)


@method
def zero_(self: Tensor) -> Tensor:
    """Set every element to zero; as ``Tensor.zero_``."""
    return assign(self, p.full_like(self._node, 0), uniform=True)
