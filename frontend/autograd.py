"""Gradients as a user sees them: ``requires_grad``, ``backward``, ``grad``, hooks and the grad modes.

The work is done by ``compiler/autodiff.py``, which extends the graph by the cotangents of some nodes; here tensors are
translated to nodes and back. A leaf tensor is a node that says which tensor it belongs to (``Marks.leaf``); a leaf
whose value was replaced, by an optimizer under ``no_grad``, has one such node for each value, and all of them
accumulate into its ``grad``.

In: tensors. Out: tensors that are recorded and not yet computed. Read next: ``function.py`` for functions with gradients
of their own.
"""

from __future__ import annotations

import functools
import inspect
import itertools
import warnings
import weakref
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any

from .compiler import primitives as p, primitives_shape as s
from .compiler.autodiff import differentiable_order, is_leaf, recording_gradients, vjp
from .compiler.dtypes import FLOATING
from .compiler.ir import Node, grad_mode
from .mutation import assign
from .recording import node_of, register, storage_of, tensor_of
from .storage import EXPORTED, Cut, find_cut, leaf_node, leaf_value, without_cut
from .tensor import Tensor, is_gradient_leaf, meta_of, method
from .views import detached

_new = Tensor.__new__
_ref = weakref.ref

# ----------------------------------------------------------------------------------------------------------- grad modes


class _GradMode:
    """A context manager, also usable as a decorator, in which gradients are (not) tracked."""

    def __init__(self, enabled: bool) -> None:
        self.enabled = enabled
        self._previous: list[bool] = []

    def __enter__(self) -> None:
        self._previous.append(grad_mode.enabled)
        grad_mode.enabled = self.enabled

    def __exit__(self, *exception: object) -> None:
        grad_mode.enabled = self._previous.pop()

    def clone(self) -> _GradMode:
        return _GradMode(self.enabled)

    def __call__(self, function: Callable) -> Callable:
        """Run ``function``, also a generator function, in this mode."""
        if inspect.isgeneratorfunction(function):

            @functools.wraps(function)
            def generator(*args, **kwargs):
                running = function(*args, **kwargs)
                # the mode holds while the generator runs, not while its caller does
                send, value = running.send, None
                while True:
                    try:
                        with self.clone():
                            yielded = send(value)
                    except StopIteration as stop:
                        return stop.value
                    try:
                        value = yield yielded
                        send = running.send
                    except GeneratorExit:
                        with self.clone():
                            running.close()
                        raise
                    except BaseException as error:
                        send, value = running.throw, error

            return generator

        @functools.wraps(function)
        def wrapper(*args, **kwargs):
            with self.clone():
                return function(*args, **kwargs)

        return wrapper


class no_grad(_GradMode):
    """Context manager and decorator in which no gradients are tracked; as ``torch.no_grad``.

    Example:
        >>> import flamework
        >>> x = flamework.ones(1, requires_grad=True)
        >>> with flamework.no_grad():
        ...     y = x * 2
        >>> y.requires_grad
        False
    """

    def __new__(cls, function: Callable | None = None):
        mode = super().__new__(cls)
        if function is None:
            return mode
        _GradMode.__init__(mode, cls.tracks)
        return mode(function)

    tracks = False

    def __init__(self, function: Callable | None = None) -> None:
        super().__init__(self.tracks)


class enable_grad(no_grad):
    """Context manager and decorator in which gradients are tracked; as ``torch.enable_grad``."""

    tracks = True


class set_grad_enabled(_GradMode):
    """Switch the tracking of gradients on or off, at once or for a ``with`` block; as ``torch.set_grad_enabled``."""

    def __init__(self, mode: bool) -> None:
        super().__init__(bool(mode))
        self._before = grad_mode.enabled
        grad_mode.enabled = self.enabled

    def __enter__(self) -> None:
        # the mode was switched when the object was made; leaving the block restores what was before that
        self._previous.append(self._before)
        grad_mode.enabled = self.enabled

    def __call__(self, function: Callable) -> Callable:
        grad_mode.enabled = self._before
        return super().__call__(function)


class inference_mode(_GradMode):
    """``no_grad`` by another name, for code that never needs gradients; as ``torch.inference_mode``.

    PyTorch's tensors made in this mode are barred from autograd for good; here they are ordinary tensors.
    """

    def __new__(cls, mode: bool | Callable = True):
        made = super().__new__(cls)
        if callable(mode):
            _GradMode.__init__(made, False)
            return made(mode)
        return made

    def __init__(self, mode: bool = True) -> None:
        super().__init__(not mode and grad_mode.enabled)


def is_grad_enabled() -> bool:
    """Whether gradients are being tracked."""
    return grad_mode.enabled


# --------------------------------------------------------------------------------------------------------------- leaves


def check_differentiable(tensor: Tensor) -> None:
    if tensor._node.type.dtype.kind != FLOATING:
        raise RuntimeError("only Tensors of floating point dtype can require gradients")


@method
def requires_grad_(self: Tensor, requires_grad: bool = True) -> Tensor:
    """Say whether gradients are to be accumulated in this leaf's ``grad``; as ``Tensor.requires_grad_``.

    Raises:
        RuntimeError: a dtype without gradients, or a tensor that is no leaf.
    """
    if requires_grad == self.requires_grad:
        return self
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
    if self.requires_grad and data._node.type.dtype.kind != FLOATING:
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
    if any(type(function) is not Cut for function, _ in self._chain):
        raise RuntimeError("Can't detach views in-place. Use detach() instead.")
    if self.requires_grad:
        self._chain = ((Cut(), ()),)
        self._node = s.detach(node_of(self))
    return self


# ------------------------------------------------------------------------------------------------------------------ grad


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
            raise RuntimeError(f"assigned grad has data located on a different device: {other.device}, not {own.device}")
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
    elif grad_mode.enabled:
        meta.grad = tensor_of(p.add(node_of(held), gradient))
    else:
        assign(held, p.add(node_of(held), gradient))
    if meta.accumulated:
        for hook in list(meta.accumulated.values()):
            hook(tensor)


# ----------------------------------------------------------------------------------------------------------- the passes


def _sequence(value: Any) -> tuple:
    if value is None:
        return ()
    return (value,) if isinstance(value, Tensor) else tuple(value)


def _cotangents(outputs: Sequence[Tensor], gradients: Sequence[Tensor | None], create_graph: bool) -> list[Node]:
    cotangents = []
    for i, (output, gradient) in enumerate(zip(outputs, gradients)):
        if not isinstance(output, Tensor):
            raise TypeError(f"expected Tensors, but got {type(output).__name__}")
        if not output.requires_grad:
            raise RuntimeError(f"element {i} of tensors does not require grad and does not have a grad_fn")
        node = node_of(output)
        if gradient is None:
            if node.type.size != 1:
                raise RuntimeError("grad can be implicitly created only for scalar outputs")
            cotangents.append(p.full_like(node, 1))
            continue
        if not isinstance(gradient, Tensor):
            raise TypeError(f"gradients can be either Tensors or None, but got {type(gradient).__name__}")
        given = node_of(gradient)
        if given.type.shape != node.type.shape:
            raise RuntimeError(
                f"Mismatch in shape: grad_output[{i}] has a shape of {gradient.shape} and output[{i}] has a shape of "
                f"{output.shape}."
            )
        cotangents.append(s.converted(given, node.type.dtype))
    return cotangents


def _leaf_nodes(order: Sequence[Node]) -> dict[Tensor, list[Node]]:
    """For each leaf tensor the nodes of its values in a graph."""
    found: dict[Tensor, list[Node]] = {}
    for node in order:
        mark = node.mark
        if is_leaf(node) and mark is not None and mark.leaf is not None and (tensor := mark.leaf()) is not None:
            found.setdefault(tensor, []).append(node)
    return found


def _wanted(inputs: Sequence[Tensor], outputs: Sequence[Node]) -> list[list[Node]]:
    leaves: dict[Tensor, list[Node]] | None = None
    wanted = []
    for tensor in inputs:
        if not tensor.requires_grad:
            raise RuntimeError("One of the differentiated Tensors does not require grad")
        if is_gradient_leaf(tensor):
            if leaves is None:
                leaves = _leaf_nodes(differentiable_order(outputs))
            wanted.append(leaves.get(tensor, []))
        else:
            wanted.append([node_of(tensor)])
    return wanted


class _Handed:
    """Gradients that are handed to tensors: each node to one tensor only, and never a node that the user holds."""

    def __init__(self, cotangents: Sequence[Node]) -> None:
        self.taken = set(cotangents)

    def __call__(self, node: Node) -> Node:
        if node in self.taken:
            return s.copy(node)
        self.taken.add(node)
        return node


def backward(
    tensors: Tensor | Sequence[Tensor],
    grad_tensors: Tensor | Sequence[Tensor | None] | None = None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
    inputs: Tensor | Sequence[Tensor] | None = None,
) -> None:
    """Add the gradients of ``tensors`` to the ``grad`` of the leaves; as ``torch.autograd.backward``.

    Args:
        tensors: what to differentiate; of one element each, unless it has a ``grad_tensors``.
        grad_tensors: the vectors of the vector-Jacobian products, of the shapes of ``tensors``.
        retain_graph: keep what the graph saved, for another pass; by default ``create_graph``.
        create_graph: record the pass itself, so that its results can be differentiated.
        inputs: accumulate into these only.

    Raises:
        RuntimeError: nothing requires a gradient, shapes do not fit, or a saved value is gone.
    """
    outputs = _sequence(tensors)
    gradients = _sequence(grad_tensors) or (None,) * len(outputs)
    if len(gradients) != len(outputs):
        raise RuntimeError(f"got {len(outputs)} tensors and {len(gradients)} gradients")
    if inputs is not None and not _sequence(inputs):
        raise RuntimeError("'inputs' argument to backward() cannot be empty.")
    cotangents = _cotangents(outputs, gradients, create_graph)
    nodes = [node_of(t) for t in outputs]
    keep = create_graph if retain_graph is None else retain_graph
    handed = _Handed(cotangents)
    targets = _sequence(inputs)
    wanted = _wanted(targets, nodes) if targets else None
    with recording_gradients(create_graph):
        flat = None if wanted is None else [n for group in wanted for n in group]
        found = vjp(nodes, cotangents, wanted=flat, retain_graph=keep)
        if wanted is None:
            for node, gradient in found.items():
                tensor = node.mark.leaf() if node.mark is not None and node.mark.leaf is not None else None
                if tensor is not None:
                    accumulate(tensor, handed(gradient))
            return
        for tensor, group in zip(targets, wanted):
            for node in group:
                if node in found:
                    accumulate(tensor, handed(found[node]))


def grad(
    outputs: Tensor | Sequence[Tensor],
    inputs: Tensor | Sequence[Tensor],
    grad_outputs: Tensor | Sequence[Tensor | None] | None = None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
    allow_unused: bool | None = None,
    materialize_grads: bool = False,
) -> tuple[Tensor | None, ...]:
    """The gradients of ``outputs`` with respect to ``inputs``, without touching any ``grad``; as ``torch.autograd.grad``.

    Args:
        allow_unused: give None for inputs that do not influence the outputs, instead of raising.
        materialize_grads: give zeros for them.

    Raises:
        RuntimeError: an input that requires no gradient or is unused, or as for :func:`backward`.
    """
    results, targets = _sequence(outputs), _sequence(inputs)
    if materialize_grads and allow_unused is False:
        raise ValueError("Expected allow_unused to be True or not passed when materialize_grads=True, but got: False")
    gradients = _sequence(grad_outputs) or (None,) * len(results)
    if len(gradients) != len(results):
        raise RuntimeError(f"got {len(results)} tensors and {len(gradients)} gradients")
    cotangents = _cotangents(results, gradients, create_graph)
    nodes = [node_of(t) for t in results]
    wanted = _wanted(targets, nodes)
    keep = create_graph if retain_graph is None else retain_graph
    handed = _Handed(cotangents)
    with recording_gradients(create_graph):
        found = vjp(nodes, cotangents, wanted=[n for group in wanted for n in group], retain_graph=keep)
        answer: list[Tensor | None] = []
        for tensor, group in zip(targets, wanted):
            total = None
            for node in group:
                if node in found:
                    total = found[node] if total is None else p.add(total, found[node])
            if total is not None:
                answer.append(tensor_of(handed(total)))
            elif materialize_grads:
                answer.append(tensor_of(p.full_like(tensor._node, 0)))
            elif allow_unused:
                answer.append(None)
            else:
                raise RuntimeError(
                    "One of the differentiated Tensors appears to not have been used in the graph. Set "
                    "allow_unused=True if this is the desired behavior."
                )
    return tuple(answer)


def _backward(
    self: Tensor,
    gradient: Tensor | None = None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
    inputs: Tensor | Sequence[Tensor] | None = None,
) -> None:
    """Add the gradients of this tensor to the ``grad`` of the leaves it was computed from; as ``Tensor.backward``.

    Example:
        >>> import flamework
        >>> x = flamework.tensor([1.0, 2.0], requires_grad=True)
        >>> (x * x).sum().backward()
        >>> x.grad
        tensor([2., 4.])
    """
    backward(self, None if gradient is None else (gradient,), retain_graph, create_graph, inputs)


Tensor.backward = _backward

# ----------------------------------------------------------------------------------------------------------------- hooks

_hook_ids = itertools.count()
_RETAIN = -1


class HookHandle:
    """What ``register_hook`` returns; ``remove()`` takes the hook away."""

    def __init__(self, hooks: dict, key: int) -> None:
        self._hooks = hooks
        self.id = key

    def remove(self) -> None:
        self._hooks.pop(self.id, None)

    def __enter__(self) -> HookHandle:
        return self

    def __exit__(self, *exception: object) -> None:
        self.remove()


def _hooks_of(tensor: Tensor) -> dict:
    """The hooks that see the gradient of the tensor's present value; a leaf keeps them when its value is replaced."""
    marks = node_of(tensor).marks()
    if marks.hooks is None:
        marks.hooks = OrderedDict()
    if tensor._storage is not None and is_gradient_leaf(tensor):
        cut = find_cut(tensor._chain)
        if cut.hooks is None:
            cut.hooks = marks.hooks
        marks.hooks = cut.hooks
    return marks.hooks


@method
def register_hook(self: Tensor, hook: Callable[[Tensor], Tensor | None]) -> HookHandle:
    """Call ``hook`` with the gradient of this tensor whenever one is computed; as ``Tensor.register_hook``.

    A tensor that the hook returns takes the gradient's place.

    Raises:
        RuntimeError: the tensor requires no gradient.
    """
    if not self.requires_grad:
        raise RuntimeError("cannot register a hook on a tensor that doesn't require gradient")
    hooks = _hooks_of(self)
    key = next(_hook_ids)

    def on_nodes(g: Node) -> Node | None:
        result = hook(tensor_of(s.copy(g)))
        if result is None:
            return None
        if not isinstance(result, Tensor):
            raise TypeError(f"expected Variable, but hook returned '{type(result).__name__}'")
        if result._node.type is not g.type:
            raise RuntimeError(
                f"hook '{getattr(hook, '__name__', hook)}' has changed the size of value: the gradient has type "
                f"{g.type}, and its replacement {result._node.type}"
            )
        return node_of(result)

    retained = hooks.pop(_RETAIN, None)
    hooks[key] = on_nodes
    if retained is not None:
        # what retain_grad() keeps is the gradient after all hooks
        hooks[_RETAIN] = retained
    return HookHandle(hooks, key)


@method
def register_post_accumulate_grad_hook(self: Tensor, hook: Callable[[Tensor], None]) -> HookHandle:
    """Call ``hook`` with this leaf after a gradient was added to its ``grad``.

    Raises:
        RuntimeError: the tensor is no leaf, or requires no gradient.
    """
    if not self.requires_grad:
        raise RuntimeError("cannot register a hook on a tensor that doesn't require gradient")
    if not self.is_leaf:
        raise RuntimeError("post accumulate grad hooks cannot be registered on non-leaf tensors")
    meta = meta_of(self)
    if meta.accumulated is None:
        meta.accumulated = OrderedDict()
    key = next(_hook_ids)
    meta.accumulated[key] = hook
    return HookHandle(meta.accumulated, key)


@method
def retain_grad(self: Tensor) -> None:
    """Let ``backward`` fill ``grad`` of this tensor, although it is no leaf; as ``Tensor.retain_grad``.

    Raises:
        RuntimeError: the tensor requires no gradient.
    """
    if not self.requires_grad:
        raise RuntimeError("can't retain_grad on Tensor that has requires_grad=False")
    if self.is_leaf or meta_of(self).retains_grad:
        return
    meta_of(self).retains_grad = True
    reference = _ref(self)

    def keep(g: Node) -> None:
        tensor = reference()
        if tensor is not None:
            accumulate(tensor, s.copy(g))

    _hooks_of(self)[_RETAIN] = keep


def _retains_grad(self: Tensor) -> bool:
    """Whether this tensor is no leaf and yet keeps its gradient."""
    return self._meta is not None and self._meta.retains_grad


Tensor.retains_grad = property(_retains_grad)

# --------------------------------------------------------------------------------------------------------------- grad_fn

_NAMES = {
    "recip": "Reciprocal", "reshape": "View", "reduce_max": "Amax", "reduce_min": "Amin", "max": "Maximum",
    "min": "Minimum", "copy": "Clone", "dot": "Bmm", "rem": "Remainder", "floordiv": "FloorDivide", "cast": "ToCopy",
    "update": "CopySlices", "scatter": "IndexPut", "gather": "Index", "pad": "ConstantPadNd", "cat": "Cat",
    "as_strided": "AsStrided", "straight_through": "CopySlices", "rsqrt": "Rsqrt",
}


def gradient_name(node: Node) -> str:
    """The name that PyTorch gives to a place in the backward graph, such as ``AddBackward0``."""
    if is_leaf(node):
        return "AccumulateGrad"
    op = node.op
    if op is s.reshape and node.src[0].op in (s.dot, s.reduce_sum, s.reduce_prod, s.reduce_max, s.reduce_min):
        # the shape of a result is put right after the fact: the operation is what is below
        node = node.src[0]
        if node.op is s.dot:
            return "MmBackward0"
        op = node.op
    if op in (p.mul, p.div) and node.src[0].op is s.reduce_sum and node.src[1].op is p.const:
        return "MeanBackward0"
    name = _NAMES.get(op.name)
    if name is None:
        name = "".join(word.capitalize() for word in op.name.split("_"))
    return name if name == "CopySlices" else f"{name}Backward0"


class GradFunction:
    """The place of a tensor in the backward graph, ``tensor.grad_fn``.

    Attributes:
        next_functions: for each operand the place of its gradient and an index, or ``(None, 0)``.
    """

    def __init__(self, node: Node) -> None:
        self._node = node

    def name(self) -> str:
        return type(self).__name__

    @property
    def next_functions(self) -> tuple[tuple[GradFunction | None, int], ...]:
        if is_leaf(self._node):
            return ()
        return tuple((grad_function(n) if n.requires_grad else None, 0) for n in self._node.src)

    @property
    def variable(self) -> Tensor:
        """The leaf into which an ``AccumulateGrad`` adds."""
        mark = self._node.mark
        if mark is None or mark.leaf is None:
            raise AttributeError(f"'{type(self).__name__}' object has no attribute 'variable'")
        return mark.leaf()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, GradFunction) and self._node is other._node

    def __hash__(self) -> int:
        return hash(self._node)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} object at {hex(id(self._node))}>"


_GRAD_FUNCTIONS: dict[str, type[GradFunction]] = {}


def grad_function(node: Node) -> GradFunction:
    name = gradient_name(node)
    cls = _GRAD_FUNCTIONS.get(name)
    if cls is None:
        cls = _GRAD_FUNCTIONS[name] = type(name, (GradFunction,), {})
    return cls(node)


def _grad_fn(self: Tensor) -> GradFunction | None:
    """The place in the backward graph; None for leaves."""
    if self.is_leaf:
        return None
    if self._storage is not None and self._storage.stamp == EXPORTED:
        return grad_function(self._node)
    return grad_function(node_of(self))


Tensor.grad_fn = property(_grad_fn)
