"""Gradients that were taken before: a backward pass recorded as one composite.

A training loop takes the gradient of the same graph at every step. :func:`gradients` writes that graph down as a flat
tuple, looks for the pass that was made for it, and records one node for each gradient instead of the hundred that
:func:`~flamework.compiler.autodiff.vjp` would make. What vjp would have refused is refused here too: a template
remembers which values the rules look at and which nodes a pass frees.

A graph with hooks, or with operations whose gradient is a function of the user, goes through ``vjp`` each time.

In: outputs and cotangents. Out: gradients. Read next: ``rewrite.py``.
"""

from __future__ import annotations

import itertools
from collections.abc import Container, Sequence
from dataclasses import dataclass

from . import autodiff, primitives_shape as s
from .autodiff import (
    check_freed,
    check_saved,
    differentiable_order,
    is_leaf,
    is_view,
    leading_to,
    recording_gradients,
    release,
    vjp,
    walked_back,
)
from .composite import Template, is_composite, placeholder
from .ir import Node, topological
from .primitives import remember


@dataclass(slots=True)
class Pass:
    """A backward pass through a graph whose nodes are numbered.

    Attributes:
        template: the gradients, of the nodes ``operands`` and the cotangents.
        operands: which nodes of the graph the gradients are computed from.
        results: the nodes whose gradients these are.
        looked_at: ``(node, value)``, a node that must not have been freed, and a value that must not have been written
            to or -1.
        freed: the nodes that can not be differentiated once more.
    """

    template: Template | None
    operands: list[int]
    results: list[int]
    looked_at: list[tuple[int, int]]
    freed: list[int]


_PASSES: dict[tuple, Pass] = {}


def gradients(
    outputs: Sequence[Node],
    cotangents: Sequence[Node],
    *,
    wanted: Sequence[Node] | None = None,
    retain_graph: bool = False,
) -> dict[Node, Node]:
    """As :func:`~flamework.compiler.autodiff.vjp`; the gradients cannot be differentiated."""
    written = numbered(outputs, wanted) if autodiff.inspect is None else None
    if written is None:
        with recording_gradients(False):
            return vjp(outputs, cotangents, wanted=wanted, retain_graph=retain_graph)
    key, order = written
    found = _PASSES.get(key)
    if found is None:
        found = made(order, outputs, wanted)
        remember(_PASSES, key, found)
    for user, value in found.looked_at:
        if value < 0:
            check_freed(order[user])
        else:
            check_saved(order[user], order[value])
    if not retain_graph:
        for i in found.freed:
            order[i].marks().freed = True
    if found.template is None:
        return {}
    nodes = found.template.called([*[order[i] for i in found.operands], *cotangents])
    return {order[i]: node for i, node in zip(found.results, nodes)}


def numbered(outputs: Sequence[Node], wanted: Sequence[Node] | None) -> tuple[tuple, list[Node]] | None:
    """The graph that gradients flow through as a tuple, equal for equal graphs, and its nodes in that order.

    None if a pass through it is not a function of the graph alone.
    """
    position: dict[Node, int] = {}
    order: list[Node] = []
    key: list = []
    for node in outputs:
        if node not in position:
            position[node] = len(order)
            order.append(node)
        key.append(position[node])
    detach = s.detach
    for node in itertools.islice(order, 0, None):
        mark = node.mark
        if mark is not None and mark.hooks:
            return None
        src, op = node.src, node.op
        if not node.requires_grad:
            key += (None, node.type)
        elif not src and op.expand is None or op is detach:
            key += (detach, node.type)
        elif not op.repeatable or (op.vjp is None and not is_composite(node)):
            return None
        else:
            key += (op, node.params)
            for source in src:
                at = position.get(source)
                if at is None:
                    at = position[source] = len(order)
                    order.append(source)
                key.append(at)
    if wanted is not None:
        key.append("wanted")
        key += [position.get(node, -1) for node in wanted]
    return tuple(key), order


def made(order: Sequence[Node], outputs: Sequence[Node], wanted: Sequence[Node] | None) -> Pass:
    """The pass through a graph, made on a copy of it."""
    copies = copied(order)
    number = {copy: i for i, copy in enumerate(copies)}
    of = dict(zip(order, copies))
    heads = [of[node] for node in outputs]
    cotangents = [placeholder(head.type, False) for head in heads]
    targets = None if wanted is None else {of[node] for node in wanted if node in of}
    expanded = [copy for copy in copies if copy.op.expand is not None]
    found: list[tuple[Node, Node]] = []
    with recording_gradients(False):
        walk = differentiable_order(heads)
        # nodes that one was written out to for the walk stand for it
        owner = dict(number)
        for copy in expanded:
            for inner in topological(copy.src, into_values=True, known=owner):
                owner[inner] = number[copy]
        if targets is not None:
            walk = leading_to(walk, targets)
        result, used = walked_back(walk, targets, heads, cotangents, lambda user, value: found.append((user, value)))
    release(walk, used)
    looked_at = {(owner[user], number.get(shown(value, number), -1)): None for user, value in found}
    # what leads to a leaf is looked at too
    looked_at |= {(owner[node], -1): None for node in walk if is_leaf(node)}
    if not result:
        return Pass(None, [], [], list(looked_at), freed_numbers(walk, owner))
    needed = topological(result.values(), into_values=True, known={*copies, *cotangents})
    read = {x for node in needed for x in node.src} | set(result.values())
    operands = [i for i, copy in enumerate(copies) if copy in read]
    template = Template("gradient", [*[copies[i] for i in operands], *cotangents], list(result.values()))
    return Pass(
        template, operands, [number[node] for node in result], list(looked_at), freed_numbers(walk, owner),
    )


def shown(value: Node, number: Container[Node]) -> Node:
    """The numbered node whose memory a value inside of a composite shows, or the value."""
    node = value
    while node not in number:
        if not is_view(node):
            return value
        node = node.src[0]
    return node


def freed_numbers(walk: Sequence[Node], owner: dict[Node, int]) -> list[int]:
    return sorted({owner[node] for node in walk if node.mark is not None and node.mark.freed})


def copied(order: Sequence[Node]) -> list[Node]:
    """The numbered nodes once more, with operands that are copies and no values."""
    position = {node: i for i, node in enumerate(order)}
    copies: dict[int, Node] = {}
    stack = list(range(len(order)))
    while stack:
        at = stack[-1]
        node = order[at]
        if at in copies:
            stack.pop()
            continue
        if not node.requires_grad or is_leaf(node):
            copies[at] = placeholder(node.type, node.requires_grad)
            continue
        missing = [position[x] for x in node.src if position[x] not in copies]
        if missing:
            stack += missing
            continue
        copies[at] = Node(
            node.op, tuple([copies[position[x]] for x in node.src]), node.params, node.type, None, True,
        )
    return [copies[i] for i in range(len(order))]


