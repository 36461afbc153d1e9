"""The gradient of a compiled function's results, recorded when somebody asks for it.

A replay makes results without a graph. Should a gradient flow through one, it needs the graph that the function would
have recorded: each result that requires a gradient refers to its :class:`Call`, and the first look into its history
(:func:`expand`) writes the function's nodes down between the values that the call read and the results that it gave.
From then on they are nodes like any others, with the saved values, the checks and the errors of the uncompiled
function. Results of matrix products have been kept by the call, so that nothing large is computed twice.

In: the graph of a recording. Out: nodes. Read next: ``replay.py``.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from typing import Any

from .compiler import primitives as p, primitives_shape as s
from .compiler.ir import Node, topological
from .compiler.primitives import Primitive
from .function import user_gradient
from .live import is_live
from .places import Place
from .storage import leaf_node
from .tensor import Tensor


class Unreplayable(Exception):
    """A recorded call that cannot be repeated without running the function. It is right nevertheless."""


# A result of a compiled function: computed already, its history to be written down when it is needed.
# autodiff.py lets it expand before it looks at it.
compiled_call = Primitive(
    "compiled_call", "call", lambda params: params[1], expand=lambda node: node.params[0].expand(),
)


class Template:
    """The graph between the values that a compiled function reads and its results.

    Attributes:
        steps: nodes in the order of computation: ``(source, position)``, ``(constant, op, params, type, value)``,
            ``(end, index)`` where a gradient ends, ``(leaf, index, position)`` where it is added to the ``grad`` of a
            target, or ``(node, op, indices, params, type, requires_grad, overwritten, freed)``.
        sources: where the values come from that the graph begins with.
        targets: the places of leaves that the function has written to.
        index: the step of each recorded node.
    """

    def __init__(self) -> None:
        self.steps: list[tuple] = []
        self.sources: list[tuple[str, Any]] = []
        self.targets: list[Place] = []
        self.index: dict[Node, int] = {}

    @classmethod
    def of(
        cls, roots: Sequence[Node], source_of: Callable[[Node], tuple[str, Any] | None],
        place_of: Callable[[Any], Place | None],
    ) -> Template:
        """The graph below ``roots``.

        Args:
            source_of: says of a node what it is in a call, such as ``("elements", place)``; None for the function's
                own nodes and constants.
            place_of: the place of a tensor, None for the function's own.

        Raises:
            Unreplayable: a part of the graph belongs to this call only.
        """
        self = cls()
        found: dict[Node, tuple[str, Any]] = {}
        order = topological(roots, into_values=True, known=_Sources(found, source_of))
        for node, source in found.items():
            self.index[node] = self.add(("source", len(self.sources)))
            self.sources.append(source)
        for node in order:
            self.index[node] = self.add(self.step(node, place_of))
        return self

    def add(self, step: tuple) -> int:
        self.steps.append(step)
        return len(self.steps) - 1

    def step(self, node: Node, place_of: Callable[[Any], Place | None]) -> tuple:
        mark = node.mark
        if mark is not None and mark.hooks:
            raise Unreplayable("a gradient hook on a tensor of the function")
        if node.op is user_gradient:
            raise Unreplayable("an autograd.Function, whose backward belongs to one call")
        if not node.src:
            return ("constant", node.op, node.params, node.type, node.value)
        indices = tuple(self.index[x] for x in node.src)
        if mark is not None and mark.leaf is not None and node.requires_grad:
            tensor = mark.leaf()
            place = None if tensor is None else place_of(tensor)
            if place is None:
                return ("end", indices[0])
            self.targets.append(place)
            return ("leaf", indices[0], len(self.targets) - 1)
        return (
            "node", node.op, indices, node.params, node.type, node.requires_grad,
            0 if mark is None else mark.overwritten, mark is not None and mark.freed,
        )


class _Sources:
    """The nodes at which the walk of a template ends, found while it walks."""

    def __init__(self, found: dict[Node, tuple[str, Any]], source_of: Callable) -> None:
        self.found = found
        self.source_of = source_of

    def __contains__(self, node: Node) -> bool:
        if node in self.found:
            return True
        source = self.source_of(node)
        if source is None:
            return False
        self.found[node] = source
        return True


class Call:
    """One replay of a function whose results can be differentiated.

    Attributes:
        template: its graph.
        sources: the nodes of this call at which the graph begins.
        results: step of the template and weak reference to the node of each result.
        saved: values that were kept, by step.
        targets: the leaves that the function has written to.
    """

    __slots__ = ("template", "sources", "results", "saved", "targets")

    def __init__(self, template: Template, sources: Sequence[Node], targets: Sequence[Tensor]) -> None:
        self.template = template
        self.sources = sources
        self.results: list[tuple[int, weakref.ref]] = []
        self.saved: dict[int, Any] = {}
        self.targets = targets

    def result(self, step: int, node: Node) -> None:
        self.results.append((step, weakref.ref(node)))

    def expand(self) -> None:
        """Give the results their histories."""
        results = {step: node for step, reference in self.results if (node := reference()) is not None}
        nodes: list[Node] = []
        for at, step in enumerate(self.template.steps):
            kind = step[0]
            known = results.get(at)
            if known is not None and not known.requires_grad:
                # a value that became a tensor's, and may be overwritten there
                nodes.append(known)
                continue
            if kind == "source":
                node = self.sources[step[1]]
            elif kind == "constant":
                _, op, params, type, value = step
                node = Node(op, (), params, type, value)
            elif kind == "leaf":
                node = leaf_node(nodes[step[1]], weakref.ref(self.targets[step[2]]))
            elif kind == "end":
                source = nodes[step[1]]
                node = Node(s.detach, (source,), (), source.type, None, True)
            else:
                _, op, indices, params, type, requires_grad, overwritten, freed = step
                src = tuple([nodes[i] for i in indices])
                if known is None:
                    node = Node(op, src, params, type, self.saved.get(at), requires_grad)
                else:
                    node = known
                    node.op, node.src, node.params = op, src, params
                if overwritten or freed:
                    marks = node.marks()
                    marks.overwritten += overwritten
                    marks.freed = freed
            if known is not None and known is not node:
                # the result is a value that the function was given: the same elements with the same gradient
                known.op, known.src, known.params = s.copy, (node,), ()
                node = known
            nodes.append(node)


def is_number(node: Node) -> bool:
    """Whether a node is a Python number that may be another at the next call."""
    return node.op is p.scalar and is_live(node.value)
