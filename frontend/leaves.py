"""Leaves: the tensors at which gradients end, and where they are kept.

A leaf tensor is a node that says which tensor it belongs to (``Marks.leaf``). A leaf whose value is replaced, by an
optimizer under ``no_grad``, gets such a node for each value, and all of them accumulate into the one ``grad``.

In: tensors. Out: tensors with ``requires_grad``, ``grad`` and ``data``. Read next: ``autograd.py``, which fills
``grad``.
"""

from __future__ import annotations

import warnings
import weakref

from . import levels
from .compiler import primitives as p, primitives_shape as s
from .compiler.dtypes import FLOATING
from .compiler.ir import Node, grad_mode
from .memory_order import arranged_like, is_dense, is_plain
from .mutation import assign
from .recording import node_of, register, storage_of, tensor_of
from .storage import EXPORTED, Cut, arranged, leaf_node, leaf_value, without_cut
from .tensor import Tensor, is_gradient_leaf, meta_of, method
from .views import detached

_new = Tensor.__new__
_ref = weakref.ref


def check_differentiable(tensor: Tensor) -> None:
    if tensor._node.type.dtype.kind < FLOATING:
        raise RuntimeError("only Tensors of floating point dtype can require gradients")


@method
def requires_grad_(self: Tensor, requires_grad: bool = True) -> Tensor:
    """Say whether gradients are to be accumulated in this leaf's ``grad``; as ``Tensor.requires_grad_``.

    Raises:
        RuntimeError: a dtype without gradients, or a tensor that is no leaf.
    """
    if requires_grad == self.requires_grad:
        return self
    if levels.active and requires_grad:
        raise RuntimeError(
            "You are attempting to call Tensor.requires_grad_() (or perhaps using torch.autograd.functional.* APIs) "
            "inside of a function being transformed by a functorch transform. This is unsupported, please attempt to "
            "use the functorch transforms (e.g. grad, vjp, jacrev, jacfwd, hessian) or call requires_grad_() outside "
            "of a function being transformed instead."
        )
    if requires_grad:
        check_differentiable(self)
        make_leaf(self)
    elif not is_gradient_leaf(self):
        raise RuntimeError(
            "you can only change requires_grad flags of leaf variables. If you want to use a computed variable in a "
            "subgraph that doesn't require differentiation use var_no_grad = var.detach()."
        )
    else:
        unmake_leaf(self)
    return self


def make_leaf(tensor: Tensor) -> None:
    """Let gradients end at ``tensor``."""
    storage = tensor._storage
    if storage is None:
        tensor._node = leaf_node(tensor._node, _ref(tensor))
        return
    if storage.stamp != EXPORTED:
        node_of(tensor)
    cut = Cut(_ref(tensor))
    tensor._node = cut(tensor._node)
    tensor._chain = (*without_cut(tensor._chain), (cut, ()))


def unmake_leaf(tensor: Tensor) -> None:
    storage = tensor._storage
    if storage is None:
        tensor._node = leaf_value(tensor._node)
        return
    if storage.stamp != EXPORTED:
        node_of(tensor)
    tensor._node = leaf_value(tensor._node)
    tensor._chain = (*without_cut(tensor._chain), (Cut(), ()))


def _set_requires_grad(self: Tensor, requires_grad: bool) -> None:
    requires_grad_(self, bool(requires_grad))


Tensor.requires_grad = Tensor.requires_grad.setter(_set_requires_grad)


def _make_subclass(cls: type[Tensor], data: Tensor, require_grad: bool = False) -> Tensor:
    """A leaf of another class that shares the memory of ``data``; what ``Parameter`` is made with."""
    if require_grad:
        check_differentiable(data)
    storage = storage_of(data)
    tensor = _new(cls)
    cut = Cut(_ref(tensor) if require_grad else None)
    tensor._storage = storage
    tensor._chain = (*without_cut(data._chain), (cut, ()))
    value = data._node if storage.stamp == EXPORTED else node_of(data)
    tensor._node = cut(value)
    tensor._seen = storage.serial
    tensor._meta = None
    if tensor._node.value is None:
        register(tensor)
    return tensor


Tensor._make_subclass = staticmethod(_make_subclass)


def _set_data(self: Tensor, data: Tensor) -> None:
    """Take over the memory of ``data``; the tensor keeps its gradient and its place in the graph."""
    if not isinstance(data, Tensor):
        raise TypeError(f"Variable data has to be a tensor, but got {type(data).__name__}")
    if self.requires_grad and data._node.type.dtype.kind < FLOATING:
        raise RuntimeError("data set to a tensor that requires gradients must be floating point dtype")
    storage = storage_of(data)
    if is_gradient_leaf(self):
        hooks = self._node.mark.hooks if self._node.mark is not None else None
        cut = Cut(_ref(self), hooks)
    else:
        cut = Cut()
        if self.requires_grad and self._node.type is data._node.type:
            cut.graph = node_of(self)
    value = data._node if storage.stamp == EXPORTED else node_of(data)
    self._storage = storage
    self._chain = (*without_cut(data._chain), (cut, ()))
    self._node = cut(value)
    self._seen = storage.serial
    register(self)


def _get_data(self: Tensor) -> Tensor:
    """The same memory without the gradient history; writes to it are hidden from autograd's checks."""
    return detached(self, silent=True)


Tensor.data = property(_get_data, _set_data)


@method
def detach_(self: Tensor) -> Tensor:
    """Forget the gradient history of the tensor itself; as ``Tensor.detach_``.

    Raises:
        RuntimeError: a view, which could not be told apart from its base any more.
    """
    storage = self._storage
    if storage is None:
        if self._node.requires_grad:
            self._node = s.detach(self._node)
        return self
    if any(type(function) is not Cut and function is not arranged for function, _ in self._chain):
        raise RuntimeError("Can't detach views in-place. Use detach() instead.")
    if self.requires_grad:
        self._chain = (*without_cut(self._chain), (Cut(), ()))
        self._node = s.detach(node_of(self))
    return self


# ----------------------------------------------------------------------------------------------------------------- grad


def _get_grad(self: Tensor) -> Tensor | None:
    """The gradient accumulated by ``backward``, or None."""
    meta = self._meta
    if meta is not None and (meta.grad is not None or meta.retains_grad):
        return meta.grad
    if not self.is_leaf:
        warnings.warn(
            "The .grad attribute of a Tensor that is not a leaf Tensor is being accessed. Its .grad attribute won't be "
            "populated during autograd.backward(). If you indeed want the .grad field to be populated for a non-leaf "
            "Tensor, use .retain_grad() on the non-leaf Tensor. If you access the non-leaf Tensor by mistake, make "
            "sure you access the leaf Tensor instead.",
            UserWarning, stacklevel=2,
        )
    return None


def _set_grad(self: Tensor, grad: Tensor | None) -> None:
    if grad is not None:
        if not isinstance(grad, Tensor):
            raise TypeError(f"assigned grad expected to be a Tensor or None but got grad of type {type(grad).__name__}")
        if grad is self:
            raise RuntimeError("can't assign Variable as its own grad")
        own, other = self._node.type, grad._node.type
        if own.dtype is not other.dtype:
            raise RuntimeError(
                f"attempting to assign a gradient with dtype '{other.dtype}' to a tensor with grad_dtype "
                f"'{own.dtype}'. The gradient must match the tensor's grad_dtype (defaults to the tensor's dtype)."
            )
        if own.device != other.device:
            raise RuntimeError(
                f"assigned grad has data located on a different device: {other.device}, not {own.device}"
            )
        if own.shape != other.shape:
            raise RuntimeError(
                f"assigned grad has data of a different size: {list(other.shape)}, and the tensor {list(own.shape)}"
            )
    meta_of(self).grad = grad


def _del_grad(self: Tensor) -> None:
    meta_of(self).grad = None


Tensor.grad = property(_get_grad, _set_grad, _del_grad)


def accumulate(tensor: Tensor, gradient: Node) -> None:
    """Add a gradient to ``tensor.grad``: in place, unless the gradient itself is to be differentiated."""
    meta = meta_of(tensor)
    held = meta.grad
    if held is None:
        meta.grad = tensor_of(gradient)
        if not is_plain(tensor) and is_dense(tensor):
            arranged_like(meta.grad, (tensor,))
    elif grad_mode.enabled:
        meta.grad = tensor_of(p.add(node_of(held), gradient))
    else:
        assign(held, p.add(node_of(held), gradient))
    if meta.accumulated:
        for hook in list(meta.accumulated.values()):
            if hook(tensor) is not None:
                raise RuntimeError("Tensor post accumulate grad hooks should return None.")
