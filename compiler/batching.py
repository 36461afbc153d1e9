"""Programs repeated over one more axis, and programs with other operands: what ``vmap`` and ``grad`` are made of.

A function is recorded on placeholders. :func:`batched` then walks through what was recorded and asks the row of each
node that depends on a placeholder for its batching rule; what does not depend on one is computed once, for all.
:func:`rebuilt` makes the same nodes again with other operands in the place of some.

A placeholder of a batched value is a ``lane``: one element of the batch, which one is not known. It has no value, so a
program that wants to look at it is refused (``runtime/engine.py``).

In: recorded nodes, and what stands for the placeholders. Out: nodes. Read next: ``gradient.py``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from . import primitives as p, primitives_shape as s
from .autodiff import recording_gradients
from .composite import depending
from .ir import Node, TensorType, grad_mode, tensor_type, topological
from .primitives import Primitive

Rule = Callable[[Node, Sequence[Node | None]], Node]

lane = Primitive("lane", "leaf", p._leaf_infer, cost=0)


def lane_of(type: TensorType, requires_grad: bool) -> Node:
    """A placeholder for one element of a batch."""
    return Node(lane, (), (type.shape, type.dtype, type.device), type, None, requires_grad)


def depends_on_lane(node: Node) -> bool:
    """Whether a node's value is that of one element of a batch."""
    return any(x.op is lane for x in topological([node]))


def transformed(roots: Sequence[Node], values: dict[Node, Node], rule: Rule) -> list[Node | None]:
    """What stands for ``roots`` when ``values`` stand for their keys; None for a root that does not depend on one.

    Args:
        values: grows by what is made.
        rule: gives the node that stands for one, from it and from what stands for its sources.
    """
    tracked = grad_mode.enabled
    for node in depending(roots, values):
        # what was recorded under no_grad stays a constant
        with recording_gradients(tracked and node.requires_grad):
            made = values[node] = rule(node, [values.get(x) for x in node.src])
        if node.mark is not None and made.mark is None:
            made.marks().origin = node.mark.origin
    return [values.get(root) for root in roots]


def rebuild(node: Node, src: Sequence[Node | None]) -> Node:
    """The rule of :func:`rebuilt`."""
    operands = tuple([x if new is None else new for x, new in zip(node.src, src)])
    tracked = node.requires_grad and grad_mode.enabled and any(x.requires_grad for x in operands)
    return Node(node.op, operands, node.params, node.type, None, tracked)


def rebuilt(roots: Sequence[Node], values: dict[Node, Node], rule: Rule = rebuild) -> list[Node]:
    """``roots`` with other operands; what depends on none of ``values`` stays the node that it is."""
    return [root if new is None else new for root, new in zip(roots, transformed(roots, values, rule))]


def batch(node: Node, src: Sequence[Node | None], size: int) -> Node:
    """``size`` times a node, along a new axis in front, by the batching rule of its row.

    Raises:
        RuntimeError: the row has none.
    """
    if node.op.batch is None:
        raise RuntimeError(f"vmap: {node.op.name} has no batching rule")
    return node.op.batch(node.params, tuple([spread(x, size) if new is None else new for x, new in zip(node.src, src)]))


def spread(x: Node, size: int) -> Node:
    """The same value for every element of a batch."""
    shape = (size, *x.shape)
    if x.op is p.scalar and x.value is not None:
        return Node(p.scalar, (), (shape, *x.params[1:]), tensor_type(shape, x.dtype, x.type.device), x.value)
    if x.op is p.const:
        return p.const(params=(shape, *x.params[1:]))
    return s.expanded(s.reshaped(x, (1, *x.shape)), shape)
