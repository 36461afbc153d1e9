"""Functions with a gradient of the user's own: ``autograd.Function``.

``forward`` runs under ``no_grad`` and records what it does. Its result then passes through one row, ``user_gradient``,
whose value is that result and whose gradient rule calls the user's ``backward``. Several results pass through it as one
vector, so that ``backward`` is called once with all their gradients.

In: a class with ``forward`` and ``backward``. Out: tensors. This is the last chapter on gradients.
"""

from __future__ import annotations

import functools
import math
import weakref
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any

from .arguments import type_name
from .compiler import primitives_shape as s
from .compiler.autodiff import check_written, recording_gradients
from .compiler.batching import Rule
from .compiler.dtypes import FLOATING
from .compiler.ir import Node, grad_mode
from .compiler.primitives import Primitive, Saved
from .mutation import assign
from .recording import node_of, tensor_of
from .runtime import engine
from .tensor import Creation, Tensor, is_gradient_leaf, meta_of

# What a node of ``user_gradient`` belongs to. Beside the node and not in its parameters, so that two calls of one
# function are the same program.
_calls: weakref.WeakKeyDictionary[Node, Call] = weakref.WeakKeyDictionary()


# The key of the hook, on each result, that notes the arrival of its gradient.
_ARRIVED = -2


def _note(arrived: set[int], i: int, g: Node) -> None:
    arrived.add(i)


def _tangent(tangents: Sequence[Node | None], saved: Saved) -> Node:
    return _calls[saved.node].jvp(tangents[1:], saved.node)


def _gradients(g: Node, saved: Saved) -> list[Node | None]:
    return [None, *_calls[saved.node].backward(g, saved.node)]


user_gradient = Primitive(
    "user_gradient", "alias", lambda params, value, *inputs: value, vjp=_gradients,
    batch=lambda params, src: user_gradient(*src), jvp=_tangent,
    reference=lambda params, value, *inputs: value, cost=0, repeatable=False,
)


class FunctionCtx:
    """What ``forward`` leaves for ``backward``; any attribute may be set. As ``torch.autograd.function.FunctionCtx``.

    Attributes:
        needs_input_grad: for each argument of ``forward`` whether its gradient is wanted.
        saved_tensors: what ``save_for_backward`` was given.
    """

    needs_input_grad: tuple[bool, ...] = ()

    def __init__(self, needs_input_grad: tuple[bool, ...]) -> None:
        self.needs_input_grad = needs_input_grad
        self.to_save: tuple[Tensor | None, ...] = ()
        # each tensor that was saved with its value then; or None and which result of the function it is
        self._saved: list[tuple[Tensor | None, Node | int | None]] = []
        # the results, while a derivative is taken
        self._results: list[Node] = []
        self.materialize_grads = True
        self.non_differentiable: tuple[Tensor, ...] = ()
        self.dirty_tensors: tuple[Tensor, ...] = ()

    def save_for_forward(self, *tensors: Tensor | None) -> None:
        """Keep tensors for ``jvp``, where they are ``saved_tensors``."""
        self.to_save = tensors

    def save_for_backward(self, *tensors: Tensor | None) -> None:
        """Keep tensors for ``backward``, where they are ``saved_tensors``.

        At the end of ``forward`` a TypeError is raised for what is no tensor.
        """
        self.to_save = tensors

    def _save(self, results: dict[int, int]) -> None:
        """Keep what is to be saved; ``results`` tells by identity which of it a gradient flows from."""
        for i, tensor in enumerate(self.to_save):
            if tensor is not None and not isinstance(tensor, Tensor):
                raise TypeError(
                    f"save_for_backward can only save variables, but argument {i} is of type {type_name(tensor)}"
                )
        # a result is told by its number: the tensor in ``forward`` has no gradient, and its node would hold this call
        self._saved = [
            (None, results[id(t)]) if id(t) in results else (t, None if t is None else node_of(t)) for t in self.to_save
        ]
        self.to_save = ()

    @property
    def saved_tensors(self) -> tuple[Tensor | None, ...]:
        found: list[Tensor | None] = []
        for tensor, value in self._saved:
            if isinstance(value, int):
                node = self._results[value]
                check_written(node, True)
                tensor = tensor_of(node)
            elif value is not None:
                check_written(value)
            found.append(tensor)
        return tuple(found)

    def mark_non_differentiable(self, *outputs: Tensor) -> None:
        """Say that these results have no gradient."""
        self.non_differentiable = outputs

    def mark_dirty(self, *inputs: Tensor) -> None:
        """Say that ``forward`` wrote to these arguments, which it also returns."""
        self.dirty_tensors = inputs

    def set_materialize_grads(self, value: bool) -> None:
        """Whether ``backward`` gets zeros, and not None, for results that did not influence what is differentiated."""
        self.materialize_grads = value


class Call:
    """One call of a function whose gradient is wanted."""

    def __init__(self, function: type[Function], ctx: FunctionCtx, wanted: list[int], args: Sequence[Any]) -> None:
        self.function = function
        self.ctx = ctx
        self.wanted = wanted
        self.count = len(args)
        self.types = [a._node.type if isinstance(a, Tensor) else None for a in args]
        # for each result its place in the joint vector and its shape, None without a gradient
        self.parts: list[tuple[int, tuple[int, ...]] | None] = []
        self.arrived: set[int] = set()
        # the nodes of the vector of all results and of each of them; strong references would be to this call's owner
        self.nodes: list[weakref.ref[Node]] = []

    def results(self, joint: Node) -> list[Node | None]:
        """The results as parts of the vector of them all; those that were handed out while they are there."""
        own = [reference() for reference in self.nodes]
        kept = iter(own[1:] if own and own[0] is joint else ())
        found: list[Node | None] = []
        for part in self.parts:
            node = None if part is None else next(kept, None)
            found.append(_part(joint, part, len(self.parts)) if node is None and part is not None else node)
        return found

    def backward(self, g: Node, joint: Node) -> list[Node | None]:
        """The gradients of the arguments that want one, for the gradient of all results as one vector, ``joint``."""
        grads: list[Tensor | None] = []
        for i, part in enumerate(self.parts):
            if part is None or (i not in self.arrived and not self.ctx.materialize_grads):
                grads.append(None)
            else:
                grads.append(tensor_of(s.copy(_part(g, part, len(self.parts)))))
        self.arrived.clear()
        self.ctx._results = self.results(joint)
        try:
            found = self.function.backward(self.ctx, *grads)
        finally:
            self.ctx._results = []
        found = found if isinstance(found, tuple) else (found,)
        if len(found) < self.count or any(extra is not None for extra in found[self.count :]):
            raise RuntimeError(
                f"function {self.function.__name__}Backward returned an incorrect number of gradients (expected "
                f"{self.count}, got {len(found)})"
            )
        return [None if found[i] is None else self._fitted(found[i], i) for i in self.wanted]

    def _fitted(self, gradient: Any, i: int) -> Node:
        """A gradient that ``backward`` returned as one of argument ``i``: summed where that was expanded, and cast.

        Raises:
            RuntimeError: no tensor, or not of the argument's shape.
        """
        if not isinstance(gradient, Tensor):
            raise RuntimeError(f"expected Variable or None (got {type_name(gradient)})")
        wanted = self.types[i]
        have = gradient._node.type
        if have.shape != wanted.shape:
            try:
                gradient = gradient.sum_to_size(wanted.shape)
            except RuntimeError:
                at = sum(type is not None for type in self.types[:i])
                raise RuntimeError(
                    f"Function {self.function.__name__}Backward returned an invalid gradient at index {at} - got "
                    f"{list(have.shape)} but expected shape compatible with {list(wanted.shape)}"
                ) from None
        return s.converted(node_of(gradient), wanted.dtype)

    def jvp(self, tangents: Sequence[Node | None], joint: Node) -> Node:
        """The tangent of all results as one vector, for tangents of the arguments that may have one."""
        given: list[Tensor | None] = [None] * self.count
        for i, tangent in zip(self.wanted, tangents):
            given[i] = None if tangent is None else tensor_of(s.copy(tangent))
        self.ctx._results = self.results(joint)
        try:
            found = self.function.jvp(self.ctx, *given)
        finally:
            self.ctx._results = []
        found = found if isinstance(found, tuple) else (found,)
        nodes = [node_of(t) for t, part in zip(found, self.parts, strict=True) if part is not None]
        if len(self.parts) == 1:
            return nodes[0]
        return s.cat(*[s.reshaped(x, (x.type.size,)) for x in nodes], params=(0,))


def _part(joint: Node, part: tuple[int, tuple[int, ...]], count: int) -> Node:
    """One of so many results, of the vector that holds them all."""
    if count == 1:
        return joint
    start, shape = part
    return s.reshaped(s.sliced(joint, (start,), (math.prod(shape),)), shape)


class MovedCall:
    """A call that was recorded inside a transform: the derivatives of what stands for it now.

    Attributes:
        call: the call as it was recorded.
        joint: the vector of its results.
        enter: gives what stands for a node from outside in the function.
        leave: gives what stands outside for nodes of the function.
    """

    def __init__(self, call: Call | MovedCall, joint: Node, enter: Callable[[Node], Node], leave: Callable) -> None:
        self.call = call
        self.joint = joint
        self.enter = enter
        self.leave = leave

    def backward(self, g: Node, joint: Node) -> list[Node | None]:
        found = self.call.backward(self.enter(g), self.joint)
        nodes = iter(self.leave([x for x in found if x is not None]))
        return [None if x is None else next(nodes) for x in found]

    def jvp(self, tangents: Sequence[Node | None], joint: Node) -> Node:
        (made,) = self.leave([self.call.jvp([None if t is None else self.enter(t) for t in tangents], self.joint)])
        return made


def moved_rule(rule: Rule, enter: Callable[[Node], Node], leave: Callable[[Sequence[Node], Rule], list[Node]]) -> Rule:
    """``rule`` of a transform, under which calls of functions keep the derivatives that their users gave them.

    Args:
        enter: of a :class:`MovedCall`.
        leave: of a :class:`MovedCall`, from nodes and the rule itself.
    """

    def inner(node: Node, src: Sequence[Node | None]) -> Node:
        made = rule(node, src)
        if node.op is user_gradient:
            _calls[made] = MovedCall(_calls[node], node, enter, lambda nodes: leave(nodes, inner))
        if node.mark is not None and node.mark.hooks and _ARRIVED in node.mark.hooks:
            made.marks().hooks = OrderedDict({_ARRIVED: node.mark.hooks[_ARRIVED]})
        return made

    return inner


class Function(FunctionCtx):
    """A differentiable function with its own gradient; as ``torch.autograd.Function``.

    Subclasses have the static methods ``forward(ctx, *args)`` and ``backward(ctx, *grads)``, or ``forward(*args)`` with
    ``setup_context(ctx, inputs, output)``; for tangents also ``jvp(ctx, *tangents)``. They are called as
    ``Sub.apply(*args)``.

    Example:
        >>> import flamework
        >>> class Double(flamework.autograd.Function):
        ...     @staticmethod
        ...     def forward(ctx, x):
        ...         return x * 2
        ...     @staticmethod
        ...     def backward(ctx, grad):
        ...         return grad * 2
        >>> x = flamework.ones(1, requires_grad=True)
        >>> Double.apply(x).backward()
        >>> x.grad
        tensor([2.])
    """

    setup_context: Callable | None = None

    @classmethod
    def apply(cls, *args: Any) -> Any:
        """Call the function. Gradients flow to the tensors among ``args``."""
        wanted = []
        if grad_mode.enabled:
            wanted = [i for i, a in enumerate(args) if isinstance(a, Tensor) and a.requires_grad]
        ctx = FunctionCtx(tuple(i in wanted for i in range(len(args))))
        if engine.keep_history:
            # its tangents may be asked for
            wanted = [i for i, a in enumerate(args) if isinstance(a, Tensor) and a.dtype.kind == FLOATING]
        sources = tuple(node_of(args[i]) for i in wanted)
        with recording_gradients(False):
            if cls.setup_context is not None:
                result = cls.forward(*args)
                cls.setup_context(ctx, args, result)
            else:
                result = cls.forward(ctx, *args)
        if not wanted:
            return result
        outputs = result if isinstance(result, tuple) else (result,)
        attached = cls._attached(outputs, ctx, args, sources, Call(cls, ctx, wanted, args))
        return attached if isinstance(result, tuple) else attached[0]

    @classmethod
    def _attached(
        cls, outputs: Sequence[Any], ctx: FunctionCtx, args: Sequence[Any], sources: tuple[Node, ...], call: Call
    ) -> tuple:
        """The results with the gradient of the call."""
        silent = {id(t) for t in ctx.non_differentiable}
        differentiable = [
            isinstance(o, Tensor) and o.dtype.kind >= FLOATING and id(o) not in silent for o in outputs
        ]
        nodes = [node_of(o) for o, d in zip(outputs, differentiable) if d]
        if not nodes:
            ctx._save({})
            return tuple(outputs)
        dirty = {id(t) for t in ctx.dirty_tensors}
        passed = {id(a) for a in args} - dirty
        ctx._save({id(o): i for i, (o, d) in enumerate(zip(outputs, differentiable)) if d and id(o) not in passed})
        if len(outputs) == 1:
            value = nodes[0]
        else:
            flat = [s.reshaped(n, (n.type.size,)) for n in nodes]
            value = flat[0] if len(flat) == 1 else s.cat(*flat, params=(0,))
        with recording_gradients(False):
            value = s.copy(value)
        tracked = any(x.requires_grad for x in sources) and grad_mode.enabled
        joint = Node(user_gradient, (value, *sources), (), value.type, None, tracked)
        _calls[joint] = call
        call.nodes.append(weakref.ref(joint))
        storages = {id(a._storage) for a in args if isinstance(a, Tensor) and a._storage is not None}
        results, start = [], 0
        for i, (output, d) in enumerate(zip(outputs, differentiable)):
            if not d:
                call.parts.append(None)
                results.append(output)
                continue
            kind = output._node.type
            call.parts.append((start, kind.shape))
            node = _part(joint, call.parts[-1], len(outputs))
            call.nodes.append(weakref.ref(node))
            start += kind.size
            node.marks().hooks = OrderedDict({_ARRIVED: functools.partial(_note, call.arrived, i)})
            if id(output) in dirty:
                if is_gradient_leaf(output):
                    raise RuntimeError("a leaf Variable that requires grad has been used in an in-place operation.")
                results.append(assign(output, node))
                continue
            results.append(tensor_of(node))
            if id(output) in passed or id(output._storage) in storages:
                kind = "function" if len(outputs) == 1 else "multi_output"
                meta_of(results[-1]).creation = Creation(kind, i, cls.__name__, tracked)
        return tuple(results)

    @staticmethod
    def forward(*args: Any) -> Any:
        raise TypeError("a subclass of autograd.Function must have the static method forward")

    @staticmethod
    def backward(ctx: FunctionCtx, *grads: Tensor | None) -> Any:
        raise TypeError("a subclass of autograd.Function must have the static method backward to be differentiated")

    @staticmethod
    def jvp(ctx: FunctionCtx, *tangents: Tensor | None) -> Any:
        raise RuntimeError("You must implement the jvp function for custom autograd.Function to use it with forward "
                           "mode AD.")


def once_differentiable(function: Callable) -> Callable:
    """Decorator for a ``backward`` whose result cannot be differentiated again."""

    @functools.wraps(function)
    def wrapper(ctx: FunctionCtx, *grads: Tensor | None) -> Any:
        with recording_gradients(False):
            return function(ctx, *grads)

    return wrapper
