"""Checkpointing: the backward pass computes a part of the forward pass again instead of keeping its values.

A function that is checkpointed runs once and is recorded like any other. What it recorded is written down as a
:class:`Region`, a small program from the tensors that the function reached to one result. The result passes through a
row, ``checkpointed``, whose value is that program and whose gradient rule plays it once more, upon sources behind the
row ``barrier``, which waits for the gradient of the result. A barrier is the identity, but not the same node: so the
second copy is not found to be equal to the first (common subexpressions) and runs when the backward pass is there. No
value of the first is kept until then.

PyTorch calls the function again instead. Here the recomputation is made of the operations that were recorded, so it
cannot take another path or draw other random numbers.

In: a function and its arguments. Out: its results, with a gradient. Read next: ``compiler/autodiff.py``.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from typing import Any

from .. import levels
from ..compiler import primitives as p, primitives_shape as s
from ..compiler.autodiff import is_leaf, vjp
from ..compiler.ir import Node, grad_mode, topological
from ..compiler.primitives import Primitive, Saved
from ..function import _calls, user_gradient
from ..grad_mode import no_grad
from ..nn.containers import Sequential
from ..origin import warn
from ..pytree import flatten, unflatten
from ..recording import node_of, pending_tensors, tensor_of
from ..tensor import Tensor

__all__ = ["checkpoint", "checkpoint_sequential", "noop_context_fn"]

USE_REENTRANT = (
    "{}: pass use_reentrant explicitly. False is recommended; without it, True is what you get, which PyTorch is "
    "giving up."
)

class _Beside:
    """What belongs to a node beside its parameters: the call of an ``autograd.Function``, and gradient hooks."""

    def __init__(self, node: Node) -> None:
        self.call = _calls.get(node) if node.op is user_gradient else None
        self.hooks = node.mark.hooks if node.mark is not None else None

    def put(self, node: Node) -> None:
        if self.call is not None:
            _calls[node] = self.call
        if self.hooks:
            node.marks().hooks = self.hooks


class Region:
    """A program from some sources to one result; two that do the same are equal.

    Attributes:
        steps: sources first, as ``(type, requires_grad)``, then nodes in the order of their dependencies, as
            ``(op, positions of sources, params, type, requires_grad, beside)``.
        count: the number of sources.
    """

    __slots__ = ("steps", "count", "hash")

    def __init__(self, steps: tuple, count: int) -> None:
        self.steps = steps
        self.count = count
        self.hash = hash((steps, count))

    def __hash__(self) -> int:
        return self.hash

    def __eq__(self, other: object) -> bool:
        return self is other or (isinstance(other, Region) and self.count == other.count and self.steps == other.steps)

    def __repr__(self) -> str:
        return f"<{len(self.steps) - self.count} nodes>"

    def play(self, sources: Sequence[Node], gradients: bool) -> Node:
        """The result for these sources, as new nodes, which track gradients as the recorded ones did, or not at all."""
        nodes = list(sources)
        for op, at, params, type, requires_grad, beside in self.steps[self.count :]:
            node = Node(op, tuple([nodes[i] for i in at]), params, type, None, requires_grad and gradients)
            if beside is not None and gradients:
                beside.put(node)
            nodes.append(_again(node) if op is p.iota and gradients else node)
        return nodes[-1]


def written_down(result: Node, before: set[Node]) -> tuple[Region, list[Node]]:
    """What computes ``result`` as a region, and its sources: nodes from ``before``, values, leaves, Python numbers."""
    order = topological([result], known=_Sources(before))
    inside = {node for node in order if not _is_source(node, before)}
    sources = dict.fromkeys(
        x for node in order for x in (node, *node.src) if x not in inside and (node in inside or x is node)
    )
    position = {node: k for k, node in enumerate(sources)}
    steps: list[tuple] = [(node.type, node.requires_grad) for node in sources]
    for node in order:
        if node in inside:
            position[node] = len(steps)
            beside = _Beside(node) if node.op is user_gradient or (node.mark is not None and node.mark.hooks) else None
            at = tuple([position[x] for x in node.src])
            steps.append((node.op, at, node.params, node.type, node.requires_grad, beside))
    return Region(tuple(steps), len(sources)), list(sources)


def _is_source(node: Node, before: set[Node]) -> bool:
    return node in before or node.value is not None or (node.requires_grad and is_leaf(node))


class _Sources:
    """The nodes at which the walk over what a function recorded ends."""

    def __init__(self, before: set[Node]) -> None:
        self.before = before

    def __contains__(self, node: Node) -> bool:
        return _is_source(node, self.before)


def _again(node: Node) -> Node:
    """A number or a position as a node of its own: what only depends on such (a dropout's mask) is computed again too,
    and these need no memory that a barrier could read."""
    return Node(s.copy, (node,), (), node.type)


def _gradients(g: Node, saved: Saved) -> list[Node | None]:
    saved.used = True
    (region,) = saved.params
    fresh = [
        _again(x) if x.op is p.scalar else Node(s.barrier, (x, g), (), x.type, None, x.requires_grad)
        for x in saved.node.src[1:]
    ]
    wanted = [x for x in fresh if x.requires_grad]
    # what was played is for this pass only, unless the pass itself is recorded
    found = vjp([region.play(fresh, True)], [g], wanted=wanted, retain_graph=grad_mode.enabled)
    return [None, *[found.get(x) for x in fresh]]


# The value of the first source; its gradient is that of the region in the parameters upon the others.
checkpointed = Primitive(
    "checkpointed", "alias", lambda params, value, *sources: value, vjp=_gradients,
    reference=lambda params, value, *sources: value, cost=0, repeatable=False,
)


def noop_context_fn() -> tuple[AbstractContextManager, AbstractContextManager]:
    """Two contexts that do nothing. As ``torch.utils.checkpoint.noop_context_fn``."""
    return contextlib.nullcontext(), contextlib.nullcontext()


def checkpoint(
    function: Callable,
    *args: Any,
    use_reentrant: bool | None = None,
    context_fn: Callable[[], tuple[AbstractContextManager, AbstractContextManager]] = noop_context_fn,
    determinism_check: str = "default",
    debug: bool = False,
    early_stop: bool = True,
    **kwargs: Any,
) -> Any:
    """Call a function, and let the backward pass compute again what its gradient needs. As
    ``torch.utils.checkpoint.checkpoint``.

    The recomputation repeats the operations that were recorded. So ``preserve_rng_state`` (a keyword, True by default),
    ``determinism_check``, ``early_stop`` and ``debug`` have nothing left to decide: random numbers are always the same,
    what is computed again cannot differ, and only what is needed is computed.

    Args:
        function: of tensors and anything else; it may also reach parameters and other tensors.
        use_reentrant: if True, the results have a gradient only if one of the arguments in ``args`` has, and keyword
            arguments are refused.
        context_fn: gives two contexts: one for the call, one for the time when the recomputation is recorded.
        determinism_check: "default" or "none".

    Returns:
        What ``function`` returns.

    Raises:
        ValueError: another ``determinism_check``; with ``use_reentrant=True`` keyword arguments, ``context_fn`` or
            ``debug``.

    Example:
        >>> import flamework
        >>> from flamework.utils.checkpoint import checkpoint
        >>> x = flamework.ones(2, requires_grad=True)
        >>> checkpoint(lambda x: (x * 2).exp(), x, use_reentrant=False).sum().backward()
        >>> x.grad
        tensor([14.7781, 14.7781])
    """
    if use_reentrant is None:
        warn(USE_REENTRANT.format("torch.utils.checkpoint"))
        use_reentrant = True
    kwargs.pop("preserve_rng_state", True)
    if levels.active:
        # a transform looks at everything that the function records
        return function(*args, **kwargs)
    if use_reentrant:
        if kwargs:
            raise ValueError("Unexpected keyword arguments: " + ",".join(kwargs))
        if context_fn is not noop_context_fn or debug:
            raise ValueError("Passing `context_fn` or `debug` is only supported when use_reentrant=False.")
        if grad_mode.enabled and not any(isinstance(a, Tensor) and a.requires_grad for a in args):
            warn("None of the inputs have requires_grad=True. Gradients will be None")
            with no_grad():
                return function(*args)
    elif determinism_check not in ("default", "none"):
        raise ValueError(f"determinism_check should be one of ['default', 'none'], but got {determinism_check}")
    forward, recomputation = context_fn()
    if not grad_mode.enabled:
        with forward:
            return function(*args, **kwargs)
    given = [a for a in flatten((args, kwargs))[0] if isinstance(a, Tensor)]
    before = {node_of(a) for a in given}
    for tensor in pending_tensors():
        before.add(tensor._node)
        if tensor._storage is not None:
            before.add(tensor._storage.node)
    with forward:
        results, structure = flatten(function(*args, **kwargs))
    with recomputation:
        return unflatten(structure, iter([_checkpointed(result, before) for result in results]))


def _checkpointed(result: Any, before: set[Node]) -> Any:
    """A result of the function, with a gradient that recomputes."""
    if not isinstance(result, Tensor) or not result.requires_grad:
        return result
    node = node_of(result)
    if _is_source(node, before):
        return result
    region, sources = written_down(node, before)
    value = region.play(sources, False)
    return tensor_of(Node(checkpointed, (value, *sources), (region,), value.type, None, True))


def checkpoint_sequential(
    functions: Sequential | Iterable[Callable], segments: int, input: Any, use_reentrant: bool | None = None,
    **kwargs: Any,
) -> Any:
    """Run functions one after the other, in ``segments`` parts of which all but the last are checkpointed. As
    ``torch.utils.checkpoint.checkpoint_sequential``.

    Args:
        functions: a ``Sequential``, or functions of one argument.
        segments: into how many parts they are divided.
        input: the argument of the first.
        kwargs: ``preserve_rng_state``, as for :func:`checkpoint`.

    Raises:
        ValueError: other keyword arguments, or more segments than functions.

    Example:
        >>> import flamework
        >>> from flamework.utils.checkpoint import checkpoint_sequential
        >>> x = flamework.ones(1, requires_grad=True)
        >>> y = checkpoint_sequential([flamework.exp, flamework.sin, flamework.exp], 2, x, use_reentrant=False)
        >>> y
        tensor([1.5080], grad_fn=<ExpBackward0>)
    """
    if use_reentrant is None:
        warn(USE_REENTRANT.format("torch.utils.checkpoint.checkpoint_sequential"))
        use_reentrant = True
    preserve = kwargs.pop("preserve_rng_state", True)
    if kwargs:
        raise ValueError("Unexpected keyword arguments: " + ",".join(kwargs))
    steps = list(functions.children()) if isinstance(functions, Sequential) else list(functions)
    size = len(steps) // segments
    if size == 0:
        raise ValueError(f"{len(steps)} functions cannot be divided into {segments} segments")
    starts = range(0, size * (segments - 1), size)
    for start in starts:
        part = _composed(steps[start : start + size])
        input = checkpoint(part, input, use_reentrant=use_reentrant, preserve_rng_state=preserve)
    return _composed(steps[len(starts) * size :])(input)


def _composed(functions: Sequence[Callable]) -> Callable:
    def run(input: Any) -> Any:
        for function in functions:
            input = function(input)
        return input

    return run
