"""Composites: a formula recorded as one node, and written out when somebody looks inside.

A script records the same formulas at every turn of its loop: a loss of twenty nodes, an optimizer's step, a gradient.
Their graphs depend only on the types of what goes in, so they are made once, as a :class:`Template`, and each further
time the script records one ``call`` node. A plan that has been seen before is found by the calls alone. Only when a
plan is built are they written out (``rewrite.py``); and when a gradient flows through one it becomes, in place, what
the formula would have recorded (:func:`write_out`).

A formula with several results is a ``call`` that is nobody's value, and a ``result`` node for each of them.

In: formulas, functions from nodes to nodes that look at no values. Out: nodes. Read next: ``autodiff.py``.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Container, Iterable, Sequence
from typing import Any

from . import primitives as p, primitives_shape as s
from .ir import Node, TensorType, grad_mode, topological
from .narrow import rounded_once
from .primitives import Primitive, remember

# Kinds of what a gradient does not compute again.
PRODUCTS = frozenset({"contract", "attention"})


class Template:
    """The graph of a formula for operands of given types.

    Attributes:
        name: of the formula.
        inputs: how many operands it has, the numbers at the end included.
        numbers: ``(params, type, value)`` of the Python numbers that it makes itself, such as the length of a mean.
        steps: its nodes, none of them a composite, in order of computation, ``(op, operands, params, type,
            requires_grad)``; operands count the inputs first.
        outputs: positions of its results.
        types: their types, and whether they require a gradient.
        has_product: whether it holds a matrix product, whose result a later gradient will want.
        transfers: whether it moves values between devices.
    """

    __slots__ = ("name", "inputs", "numbers", "steps", "outputs", "types", "has_product", "transfers", "__weakref__")

    def __init__(self, name: str, inputs: Sequence[Node], outputs: Sequence[Node]) -> None:
        self.name = name
        write_out_all(outputs, into_values=True)
        order = topological(outputs, into_values=True, known=set(inputs))
        numbers = [node for node in order if node.op is p.scalar]
        self.numbers = [(node.params, node.type, node.value) for node in numbers]
        position = {node: i for i, node in enumerate([*inputs, *numbers])}
        self.inputs = len(position)
        self.steps: list[tuple] = []
        for node in order:
            if node not in position:
                position[node] = len(position)
                operands = tuple([position[x] for x in node.src])
                self.steps.append((node.op, operands, node.params, node.type, node.requires_grad))
        self.outputs = [position[node] for node in outputs]
        self.types = [(node.type, node.requires_grad) for node in outputs]
        self.has_product = any(step[0].kind in PRODUCTS for step in self.steps)
        self.transfers = any(step[0] is s.transfer for step in self.steps)

    def written_out(self, src: Sequence[Node], make: Callable[[Node], Node] = lambda node: node) -> list[Node]:
        """Nodes that compute the results from these operands. ``make`` says what stands for a node of the formula."""
        nodes = list(src)
        for op, operands, params, type, requires_grad in self.steps:
            nodes.append(make(Node(op, tuple([nodes[i] for i in operands]), params, type, None, requires_grad)))
        return [nodes[at] for at in self.outputs]

    def called(self, src: Sequence[Node]) -> list[Node]:
        """One node, or one for each result, that stand for the formula of these operands."""
        if self.numbers:
            src = (*src, *[Node(p.scalar, (), params, type, value) for params, type, value in self.numbers])
        if self.transfers:
            # the runtime has to see where a program goes on on another device
            return [s.copy(node) if node in src else node for node in self.written_out(src)]
        (type, requires_grad), *more = self.types
        node = Node(call, tuple(src), (self,), type, None, requires_grad)
        if not more:
            return [node]
        return [Node(result, (node,), (type, i), type, None, grad) for i, (type, grad) in enumerate(self.types)]

    def __repr__(self) -> str:
        return self.name


def composite(formula: Callable[..., Any]) -> Callable[..., Any]:
    """A formula that records itself as one node.

    The formula takes nodes, None for operands that are left out, and hashable parameters that its graph depends on. It
    returns a node or a tuple of nodes, looks at no values, and makes no number but from its parameters and from types.

    Of 16-bit floats it is computed in float32 and rounded at its end, as a kernel of PyTorch does.
    """
    name = formula.__name__.strip("_")
    computed = rounded_once(formula)
    templates: dict[tuple, tuple[Template, bool]] = {}

    @functools.wraps(formula)
    def record(*args: Any) -> Any:
        tracked = grad_mode.enabled
        src: list[Node] = []
        key: list[Any] = []
        for arg in args:
            if arg.__class__ is Node:
                src.append(arg)
                key += (arg.type, tracked and arg.requires_grad)
            elif isinstance(arg, float) and type(arg) is not float:
                # a number of a function that is being recorded for replay: it is read anew at every call
                return computed(*args)
            else:
                key += (arg.__class__, arg)
        known = templates.get(tuple(key))
        if known is None:
            inputs = [placeholder(x.type, tracked and x.requires_grad) for x in src]
            rest = iter(inputs)
            results = computed(*[next(rest) if arg.__class__ is Node else arg for arg in args])
            is_tuple = isinstance(results, tuple)
            template = Template(name, inputs, results if is_tuple else (results,))
            remember(templates, tuple(key), (template, is_tuple))
        else:
            template, is_tuple = known
        nodes = template.called(src)
        return tuple(nodes) if is_tuple else nodes[0]

    return record


def placeholder(type: TensorType, requires_grad: bool) -> Node:
    return Node(p.input_, (), (), type, None, requires_grad)


def write_out(node: Node, written: dict[Node, list[Node]] | None = None) -> None:
    """Turn a composite into what its formula records.

    Args:
        written: results of composites that were written out before, so that the results of one share its graph.
    """
    producer, index = (node, 0) if node.op is call else (node.src[0], node.params[1])
    results = None if written is None else written.get(producer)
    if results is None:
        results = producer.params[0].written_out(producer.src)
        if written is not None:
            written[producer] = results
    found = results[index]
    if any(found is x for x in producer.src):
        # an operand, whose node stays its own
        node.op, node.src, node.params = s.copy, (found,), ()
    else:
        node.op, node.src, node.params = found.op, found.src, found.params


def is_composite(node: Node) -> bool:
    return node.op is call or node.op is result


# A composite: of several results the first, but then only `result` nodes refer to it.
call = Primitive("call", "call", lambda params, *types: params[0].types[0][0], expand=write_out)
result = Primitive("result", "call", lambda params, source: params[0], expand=write_out)


def write_out_all(roots: Iterable[Node], *, into_values: bool = False) -> None:
    """Write out every composite that ``roots`` depend on; computed nodes are left alone unless ``into_values``."""
    written: dict[Node, list[Node]] = {}
    stack, seen = list(roots), set()
    while stack:
        node = stack.pop()
        if node in seen or (node.value is not None and not into_values):
            continue
        seen.add(node)
        while is_composite(node):
            write_out(node, written)
        stack.extend(node.src)


def depending(roots: Iterable[Node], known: Container[Node]) -> list[Node]:
    """The nodes below ``roots`` that depend on ``known`` ones, sources first. Composites among them are written out."""
    while True:
        found: dict[Node, None] = {}
        composites = []
        for node in topological(roots, into_values=True, known=known):
            if any(x in known or x in found for x in node.src):
                found[node] = None
                if is_composite(node):
                    composites.append(node)
        if not composites:
            return list(found)
        written: dict[Node, list[Node]] = {}
        for node in composites:
            if node.op is call and len(node.params[0].types) > 1:
                continue  # nobody's value: its results share what it is written out to
            while is_composite(node):
                write_out(node, written)


def flattened(roots: Iterable[Node], known: Container[Node] = ()) -> list[Node]:
    """The same program without composites, in new nodes; computed and ``known`` nodes stand for themselves."""
    new: dict[Node, Node] = {}
    results: dict[Node, list[Node]] = {}
    for node in topological(roots, known=known):
        src = [new.get(x, x) for x in node.src]
        if node.value is not None or not src:
            new[node] = node
        elif node.op is call:
            results[node] = node.params[0].written_out(src)
            new[node] = results[node][0]
        elif node.op is result:
            new[node] = results[node.src[0]][node.params[1]]
        else:
            new[node] = Node(node.op, tuple(src), node.params, node.type)
    return [new.get(root, root) for root in roots]
