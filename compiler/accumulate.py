"""Sums of matrix products, each added where the others are.

The gradient of a weight that is used several times, at every step of a recurrence or for queries, keys and values, is a
sum of products. Each product in memory of its own would take as much memory as there are uses, and be read once more
to be added. Instead each is a ``dot_add``, which adds to the sum in place as soon as its operands are there.

The sum is taken in the order in which the products can be computed, the first step of the backward pass first,
whatever the order in which they were added: the one sum that is not taken as it was written down. A product that
something else reads too stays as it is.

In: a graph. Out: the same with ``dot_add``. Read next: ``fusion.py``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from . import primitives as p, primitives_shape as s
from .cluster import Matrix
from .ir import Node, TensorType, topological
from .operands import product_operands


def accumulate(roots: Sequence[Node]) -> list[Node]:
    """Equivalent roots in which each sum of products is a chain of ``dot_add``."""
    order = topological(roots)
    if sum(node.op is s.dot for node in order) < 2:
        return list(roots)
    found = sums(order, roots)
    if not found:
        return list(roots)
    inside = {node for nodes in found.values() for node in nodes}
    ready: dict[Node, tuple[int, int]] = {}  # by how many operations, then by place in the program
    new: dict[Node, Node] = {}
    for place, node in enumerate(order):
        computed = node.src and node.value is None
        ready[node] = (1 + max(ready[x][0] for x in node.src) if computed else 0, place)
        if node in found:
            first, *rest = sorted((x for x in found[node] if x.op is s.dot), key=ready.__getitem__)
            total = s.dot(*[new[x] for x in first.src])
            for product in rest:
                total = s.dot_add(*[new[x] for x in product.src], total)
            new[node] = s.reshaped(total, node.shape)
        elif node not in inside:
            src = tuple([new[x] for x in node.src]) if computed else node.src
            same = all(a is b for a, b in zip(src, node.src))
            new[node] = node if same else Node(node.op, src, node.params, node.type)
    return [new[root] for root in roots]


def sums(order: Sequence[Node], roots: Sequence[Node]) -> dict[Node, list[Node]]:
    """The sums of products of one type, each with what only it reads: its products, reshapes and partial sums."""
    uses = Counter(x for node in order for x in node.src)
    uses.update(roots)
    types: dict[Node, TensorType] = {}
    for node in order:
        if node.value is not None:
            continue
        if node.op is s.dot and all(isinstance(operand, Matrix) for operand in product_operands(node)):
            types[node] = node.type
        elif node.op in (s.reshape, p.add) and all(x in types and uses[x] == 1 for x in node.src):
            kinds = {types[x] for x in node.src}
            if len(kinds) == 1:
                types[node] = kinds.pop()
    found: dict[Node, list[Node]] = {}
    inside: set[Node] = set()
    for node in reversed(order):
        if node.op is p.add and node in types and node not in inside:
            below = found[node] = list(node.src)
            for x in below:  # it grows meanwhile
                if x.op is not s.dot:
                    below += x.src
            inside.update(below)
    return found
