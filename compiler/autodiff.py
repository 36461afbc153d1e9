"""Gradients as a transform of the graph.

:func:`vjp` walks back from some outputs and asks each node's row for the cotangents of its sources. It makes nodes
and computes nothing, so a gradient is optimised, fused and run together with the program that it belongs to, and a
gradient of a gradient is the same transform once more. ``backward`` and ``grad`` of the frontend are thin callers.

A node takes part if it carries ``requires_grad``; a leaf is such a node without a history that carries it (a
parameter: an input, or a ``detach`` that has been told to require a gradient). The rules live in the table.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

from . import primitives as p, primitives_shape as shape
from .composite import depending
from .dtypes import FLOATING
from .gradient_names import gradient_name
from .ir import Marks, Node, Writes, grad_mode
from .primitives import Saved

#: Fewer parts than this are added up by one kernel that reads each element once.
LEAST_PARTS = 8

SECOND_TIME = (
    "Trying to backward through the graph a second time (or directly access saved tensors after they have already "
    "been freed). Saved intermediate values of the graph are freed when you call .backward() or autograd.grad(). "
    "Specify retain_graph=True if you need to backward through the graph a second time or if you need to access "
    "saved tensors after calling backward."
)


def is_leaf(node: Node) -> bool:
    """Whether gradients end here."""
    return not node.src or node.op is shape.detach


def differentiable_order(roots: Iterable[Node]) -> list[Node]:
    """The nodes that gradients of ``roots`` flow through, users before their sources."""
    order: list[Node] = []
    seen: set[Node] = set()
    stack = [(root, False) for root in roots if root.requires_grad]
    while stack:
        node, visited = stack.pop()
        if visited:
            order.append(node)
            continue
        if node in seen:
            continue
        seen.add(node)
        stack.append((node, True))
        while node.op.expand is not None:
            # a composite, or a result of a compiled function, gets its history when somebody looks for it
            node.op.expand(node)
        if not is_leaf(node):
            stack.extend((s, False) for s in node.src if s.requires_grad and s not in seen)
    order.reverse()
    return order


def check_saved(user: Node, value: Node) -> None:
    """Refuse a gradient that needs a value which is gone.

    Raises:
        RuntimeError: PyTorch's errors for a second backward pass and for a value that was modified in place.
    """
    mark = user.mark
    if mark is not None and mark.freed:
        check_freed(user)
    # a backward pass comes here for every value that it reads: few are views, or were written to
    mark = value.mark
    if mark is not None and (mark.overwritten or mark.base is not None) or value.op.kind in _VIEWS:
        check_written(value, user is value)


def note_write(old: Node, new: Node, version: int) -> None:
    """Say that a tensor, written to ``version`` times before, now has another value in place."""
    # an optimizer's step comes here for every tensor that it keeps: nothing is called
    mark = old.mark
    if mark is None:
        mark = old.mark = Marks()
    if mark.overwritten:
        mark.overwritten += 1
    else:
        mark.overwritten = 1
        mark.version = version
    writes = mark.writes
    if writes is None:
        writes = mark.writes = Writes()
    writes.version = version + 1
    writes.maker = gradient_name(new) if new.requires_grad else None
    mark = new.mark
    if mark is None:
        mark = new.mark = Marks()
    mark.writes = writes


def check_written(value: Node, is_result: bool = False) -> None:
    """Refuse the use of a value that was modified in place since it was saved; ``is_result`` by what made it."""
    for mark in writes_below(value):
        size = ", ".join(map(str, value.shape))
        writes = mark.writes
        maker = None if writes is None else writes.maker
        if is_result or writes is None:
            maker = gradient_name(value) if value.requires_grad else None
        elif maker is not None and mark is not value.mark:
            maker = "AsStrided"
        version = mark.version + mark.overwritten if writes is None else writes.version
        traced = maker is not None and maker != "AccumulateGrad"
        made_by = f"torch::autograd::{maker}" if maker == "CopySlices" else (maker or "").removesuffix("Backward0")
        which = f", which is output 0 of {made_by}," if traced else ""
        raise RuntimeError(
            "one of the variables needed for gradient computation has been modified by an inplace operation: "
            f"[torch.{tensor_class(value)} [{size}]]{which} is at version {version}; expected version "
            f"{mark.version} instead. Hint: enable anomaly detection to find the operation that failed to compute "
            "its gradient, with torch.autograd.set_detect_anomaly(True, check_nan=False)."
        )


def check_freed(node: Node) -> None:
    """Refuse a gradient through what an earlier pass has freed."""
    if node.mark is not None and node.mark.freed:
        raise RuntimeError(SECOND_TIME)


def writes_below(node: Node) -> Iterator[Marks]:
    """What happened to the nodes whose memory ``node`` shows, detached or not, that were written to."""
    while True:
        mark = node.mark
        while mark is not None:
            if mark.overwritten:
                yield mark
            mark = mark.base
        if not is_view(node):
            return
        node = node.src[0]


def is_view(node: Node) -> bool:
    """Whether a node shares the memory of its source in the programs of a user; ``copy`` is the row that does not."""
    return node.op.kind in _VIEWS and node.op is not shape.copy and bool(node.src)


_VIEWS = ("movement", "alias")


def tensor_class(node: Node) -> str:
    return f"{node.dtype.scalar_name}Tensor"


# Anomaly detection: called with each node of a backward pass and the cotangents that its rules give its sources.
inspect: Callable[[Node, list[tuple[Node, Node | None]]], None] | None = None


def vjp(
    outputs: Sequence[Node],
    cotangents: Sequence[Node],
    *,
    wanted: Sequence[Node] | None = None,
    retain_graph: bool = False,
) -> dict[Node, Node]:
    """Cotangents of the leaves below ``outputs`` (or of ``wanted`` nodes), as new nodes.

    Args:
        outputs: nodes that require a gradient.
        cotangents: one node of the same type for each output.
        wanted: the nodes to differentiate to; None means every leaf.
        retain_graph: whether the values that the rules used may be used by a later pass.

    Returns:
        A mapping from leaf (or wanted node) to its cotangent; nodes that do not influence the outputs are missing.

    Raises:
        RuntimeError: a value that a rule needs was modified in place or freed.
    """
    order = differentiable_order(outputs)
    targets = None if wanted is None else set(wanted)
    if targets is not None:
        order = leading_to(order, targets)
    result, used = walked_back(order, targets, outputs, cotangents, check_saved)
    if not retain_graph:
        release(order, used)
    return result


def walked_back(
    order: Sequence[Node], targets: set[Node] | None, outputs: Sequence[Node], cotangents: Sequence[Node],
    check: Callable[[Node, Node], None],
) -> tuple[dict[Node, Node], list[Node]]:
    """Cotangents of the targets, or of the leaves, in ``order``; and the nodes whose rules used a value.

    Args:
        check: called with a node and a value that its rule looks at.
    """
    total: dict[Node, Node] = {}

    def accumulate(node: Node, cotangent: Node) -> None:
        held = total.get(node)
        total[node] = cotangent if held is None else p.add(held, cotangent)

    relevant = set(order)
    for output, cotangent in zip(outputs, cotangents, strict=True):
        if output in relevant:
            accumulate(output, cotangent)

    result: dict[Node, Node] = {}
    used: list[Node] = []
    for node in order:
        g = total.pop(node, None)
        if g is None:
            continue
        g = joined(g)
        if node.mark is not None and node.mark.hooks:
            for hook in list(node.mark.hooks.values()):
                replaced = hook(g)
                g = g if replaced is None else replaced
        leaf = is_leaf(node)
        if leaf if targets is None else node in targets:
            result[node] = g
        if leaf:
            check_freed(node)
            continue
        saved = Saved(node, check)
        rules = node.op.vjp
        if callable(rules):
            given = list(zip(node.src, rules(g, saved)))
        else:
            # the rules of sources that no target is below are not asked, because they use saved values
            given = [
                (source, rule(g, saved) if rule is not None and source in relevant else None)
                for source, rule in zip(node.src, rules, strict=True)
            ]
        for source, cotangent in given:
            if cotangent is not None and source in relevant:
                accumulate(source, cotangent)
        if inspect is not None:
            inspect(node, given)
        if saved.used:
            used.append(node)
    return result, used


def joined(g: Node) -> Node:
    """The cotangent of what was taken apart along an axis: its parts side by side, where they are all there, and not a
    sum of as many padded ones."""
    parts: list[Node] = []
    waiting = [g]
    while waiting:
        node = waiting.pop()
        if node.op is p.add:
            waiting += node.src
        elif node.op is shape.pad and node.params[2] == 0:
            parts.append(node)
        else:
            return g
    if len(parts) < LEAST_PARTS:
        return g
    padded = {a for part in parts for a in range(g.ndim) if part.params[0][a] or part.params[1][a]}
    if len(padded) != 1:
        return g
    (axis,) = padded
    parts.sort(key=lambda part: part.params[0][axis])
    end = 0
    for part in parts:
        if part.params[0][axis] != end:
            return g
        end += part.src[0].shape[axis]
    return shape.cat(*[part.src[0] for part in parts], params=(axis,)) if end == g.shape[axis] else g


def release(order: Sequence[Node], used: Sequence[Node]) -> None:
    """Mark what can no longer be differentiated: nodes whose rules used a value, and all that lead to them."""
    freed = set(used)
    for node in reversed(order):
        if node in freed or (not is_leaf(node) and any(s in freed for s in node.src)):
            freed.add(node)
            node.marks().freed = True


def leading_to(order: list[Node], targets: set[Node]) -> list[Node]:
    """The part of ``order`` (users before sources) from which a target can be reached."""
    reaches: set[Node] = set()
    for node in reversed(order):
        if node in targets or (not is_leaf(node) and any(s in reaches for s in node.src)):
            reaches.add(node)
    return [node for node in order if node in reaches]


def jvp(outputs: Sequence[Node], tangents: dict[Node, Node]) -> list[Node | None]:
    """Tangents of ``outputs`` for given tangents of nodes below them; None where an output does not depend on them.

    Raises:
        RuntimeError: the row of a node has a gradient and no tangent.
    """
    known: dict[Node, Node | None] = dict(tangents)
    for node in depending(outputs, tangents):
        incoming = [known.get(s) for s in node.src]
        if node.dtype.kind < FLOATING or all(t is None for t in incoming):
            known[node] = None
        elif node.op.jvp is None:
            if node.op.vjp is not None:
                raise RuntimeError(
                    f"Trying to use forward AD with {node.op.name} that does not support it because it has not been "
                    "implemented yet."
                )
            known[node] = None
        else:
            known[node] = node.op.jvp(incoming, Saved(node))
    return [known.get(output) for output in outputs]


class recording_gradients:
    """Context in which recorded nodes do, or do not, track gradients."""

    def __init__(self, enabled: bool) -> None:
        self.enabled = enabled

    def __enter__(self) -> None:
        self.previous = grad_mode.enabled
        grad_mode.enabled = self.enabled

    def __exit__(self, *exception) -> None:
        grad_mode.enabled = self.previous
