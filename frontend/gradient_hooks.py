"""Hooks on gradients, and ``grad_fn``: looking into the backward pass.

A hook is kept with the node whose gradient it sees (``Marks.hooks``) and runs when the pass reaches that node. The
hooks of a leaf move on to the node of its next value.

In: tensors that require a gradient. Out: handles, and the names that PyTorch gives to places in the backward graph.
"""

from __future__ import annotations

import itertools
import weakref
from collections import OrderedDict
from collections.abc import Callable

from .compiler import primitives_shape as s
from .compiler.autodiff import is_leaf
from .compiler.composite import is_composite
from .compiler.gradient_names import gradient_name
from .compiler.ir import Node
from .leaves import accumulate
from .recording import node_of, tensor_of
from .storage import EXPORTED, find_cut
from .tensor import Tensor, is_gradient_leaf, meta_of, method

_ref = weakref.ref
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


# -------------------------------------------------------------------------------------------------------------- grad_fn

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
    if node.op.expand is not None and not is_composite(node):
        node.op.expand(node)
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
