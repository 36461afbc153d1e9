"""Which values a kernel had better compute again than read: the rule that keeps activations out of memory.

A value that kernels at different times read, the forward pass and the backward pass, can go through memory or be
computed in each of them. Computing it again costs arithmetic, and reads what it is computed from: its *anchors*, the
nearest values below it that are in memory anyway or would be as large (inputs, results of the program, matrix products,
reductions). If one of these is as large as the value and the others are smaller, a bias or the mean of a row, hardly
more is read, and a write and the memory are saved: the mask of a ReLU, the inner values of a GELU, a normalised row.
How much smaller does not count, so that another batch size gives the same kernels.

In: a graph. Out: the nodes that are computed again. Read next: ``fusion.py``.
"""

from __future__ import annotations

from collections.abc import Container, Sequence

from . import primitives as p
from .ir import Node

MOST_COST = 24  # arithmetic for an element, in multiplications: a GELU by erf, not a chain of exponentials
MOST_ANCHORS = 6

_THROUGH = ("elementwise", "movement", "alias")


def computed_again(order: Sequence[Node], required: Container[Node]) -> set[Node]:
    """Elementwise nodes of a graph (sources first) that cost less to compute again than to store.

    Args:
        required: nodes that are stored in any case.
    """
    below: dict[Node, tuple[frozenset[Node], int]] = {}
    nothing: frozenset[Node] = frozenset()
    found: set[Node] = set()
    for node in order:
        op = node.op
        itself = (frozenset([node]), 0)
        if op.kind == "leaf" and (node.value is None or op is p.scalar):
            below[node] = (nothing, 0)
            continue
        if node.value is not None or op.kind not in _THROUGH or op.checks or node in required:
            below[node] = itself
            continue
        sources = node.src[:1] if op.kind == "alias" else node.src
        anchors = nothing.union(*[below[x][0] for x in sources])
        cost = op.cost + sum(below[x][1] for x in sources)
        size = node.type.size
        large = sum(x.type.size >= size for x in anchors) > 1 or any(x.type.size > size for x in anchors)
        # an elementwise anchor is stored for this alone: a mask takes less memory than the random words below it
        large = large or any(x.op.kind == "elementwise" and x.type.nbytes > node.type.nbytes for x in anchors)
        if cost > MOST_COST or len(anchors) > MOST_ANCHORS or large or not anchors:
            below[node] = (nothing, cost) if not anchors and cost <= MOST_COST else itself
            continue
        below[node] = (anchors, cost)
        if op.kind == "elementwise":
            found.add(node)
    return found
