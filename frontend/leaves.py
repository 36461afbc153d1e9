"""Leaves: the tensors at which gradients end, and where they are kept.

A leaf tensor is a node that says which tensor it belongs to (``Marks.leaf``). A leaf whose value is replaced, by an
optimizer under ``no_grad``, gets such a node for each value, and all of them accumulate into the one ``grad``.

In: tensors. Out: tensors with ``requires_grad``, ``grad`` and ``data``. Read next: ``autograd.py``, which fills
``grad``.
"""

from __future__ import annotations

import weakref

from . import levels
from .arguments import type_name
from .compiler import primitives as p, primitives_shape as s
from .compiler.dtypes import FLOATING
from .compiler.ir import Node, grad_mode
from .memory_order import arranged_like, is_dense, is_plain
from .mutation import assign
from .origin import warn
from .recording import node_of, register, storage_of, tensor_of
from .storage import EXPORTED, Cut, arranged, leaf_node, leaf_value, without_cut
from .tensor import Tensor, is_gradient_leaf, meta_of, method
from .views import detached

_new = Tensor.__new__
_ref = weakref.ref


def check_differentiable(tensor: Tensor, text: str = "only Tensors of floating point") -> None:
    if tensor._node.type.dtype.kind < FLOATING:
        raise RuntimeError(f"{text} dtype can require gradients")


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
    if requires_grad.__class__ is not bool:
        raise RuntimeError("requires_grad must be a bool")
    if requires_grad:
        check_differentiable(self, "only Tensors of floating point and complex")
    requires_grad_(self, requires_grad)


Tensor.requires_grad = Tensor.requires_grad.setter(_set_requires_grad)


def _make_subclass(cls: type[Tensor], data: Tensor, require_grad: bool = False) -> Tensor:
    """A leaf of another class that shares the memory of ``data``; what ``Parameter`` is made with."""
    if require_grad:
        check_differentiable(data, "Only Tensors of floating point and complex")
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
        raise TypeError(f"Variable data has to be a tensor, but got {type_name(data)}")
    if self.requires_grad and data._node.type.dtype.kind < FLOATING:
        raise RuntimeError("data set to a tensor that requires gradients must be floating point or complex dtype")
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
    if self._meta is not None:
        self._meta.creation = None
    register(self)


def _del_data(self: Tensor) -> None:
    raise RuntimeError("Deleting tensor data is not allowed. Delete tensor instead!")


def _get_data(self: Tensor) -> Tensor:
    """The same memory without the gradient history; writes to it are hidden from autograd's checks."""
    return detached(self, silent=True)


Tensor.data = property(_get_data, _set_data, _del_data)


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
        raise RuntimeError(
            "Can't detach views in-place. Use detach() instead. If you are using DistributedDataParallel (DDP) for "
            "training, and gradient_as_bucket_view is set as True, gradients are views of DDP buckets, and hence "
            "detach_() cannot be called on these gradients. To fix this error, please refer to the "
            "Optimizer.zero_grad() function in torch/optim/optimizer.py as the solution."
        )
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
        warn(
            "The .grad attribute of a Tensor that is not a leaf Tensor is being accessed. Its .grad attribute won't be "
            "populated during autograd.backward(). If you indeed want the .grad field to be populated for a non-leaf "
            "Tensor, use .retain_grad() on the non-leaf Tensor. If you access the non-leaf Tensor by mistake, make "
            "sure you access the leaf Tensor instead.",
        )
    return None


# What PyTorch calls the dtype of a gradient that does not fit.
_C_NAMES = {
    "bool": "bool", "uint8": "unsigned char", "int8": "signed char", "int16": "short int", "int32": "int",
    "int64": "long int", "float16": "c10::Half", "bfloat16": "c10::BFloat16", "float32": "float",
    "float64": "double", "complex64": "c10::complex<float>", "complex128": "c10::complex<double>",
}


def _set_grad(self: Tensor, grad: Tensor | None) -> None:
    if grad is not None:
        if not isinstance(grad, Tensor):
            raise TypeError(f"assigned grad expected to be a Tensor or None but got grad of type {type_name(grad)}")
        if grad is self:
            raise RuntimeError("can't assign Variable as its own grad")
        own, other = self._node.type, grad._node.type
        if own.dtype is not other.dtype:
            raise RuntimeError(
                f"attempting to assign a gradient with dtype '{_C_NAMES.get(other.dtype.name, other.dtype.name)}' to a "
                f"tensor with grad_dtype '{own.dtype.scalar_name}'. The gradient must match the tensor's grad_dtype "
                "(defaults to the tensor's dtype). You can set the tensor's grad_dtype attribute with a specific "
                "dtype, or None to allow any dtype. Set grad_dtype with caution. Diverging the dtypes of a tensor and "
                "its gradient may break downstream systems that assume they match."
            )
        if own.device != other.device:
            raise RuntimeError(
                f"assigned grad has data located on a different device: {other.device}, not {own.device}"
            )
        if own.shape != other.shape:
            raise RuntimeError(
                f"attempting to assign a gradient of size '{list(other.shape)}' to a tensor of size "
                f"'{list(own.shape)}'. Please ensure that the gradient and the tensor are the same size"
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
