"""The graph: one node type, interned tensor types, and the walks that everything else is written with.

A :class:`Node` is an operation of the primitive table (``primitives.py``), its sources, its static parameters and
the type of its result. Nodes are never changed, with one exception which keeps memory bounded: when a node's
value has been computed, :meth:`Node.become_input` turns it into a leaf that holds the buffer, and the graph
behind it can be freed.

Strides do not exist here. Shapes, dtypes and devices are known when a node is made. The grammar of the text form::

    program := line*
    line    := "%" id "=" op "(" "%" id, ... ")" params ":" dtype "[" sizes "]"

Read next: ``primitives.py`` for the table of operations, ``build.py`` for the functions that make nodes.
"""

from __future__ import annotations

import operator
import weakref
from collections.abc import Container, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from .dtypes import DType

if TYPE_CHECKING:
    from .primitives import Primitive


class TensorType:
    """Shape, dtype and device of a value. Interned by :func:`tensor_type`, so types are compared by identity."""

    __slots__ = ("shape", "dtype", "device", "ndim", "size", "__weakref__")

    shape: tuple[int, ...]
    dtype: DType
    device: str
    ndim: int
    size: int

    @property
    def nbytes(self) -> int:
        return self.size * self.dtype.itemsize

    def __repr__(self) -> str:
        place = "" if self.device == "cpu" else f"@{self.device}"
        return f"{self.dtype.code}[{','.join(map(str, self.shape))}]{place}"


# Weak, so that a program which meets ever new shapes does not grow; two live types are equal only if identical.
_TYPES: weakref.WeakValueDictionary[tuple, TensorType] = weakref.WeakValueDictionary()


def tensor_type(shape: Sequence[int], dtype: DType, device: str = "cpu") -> TensorType:
    """The one :class:`TensorType` of that shape, dtype and device."""
    key = (shape, dtype, device)
    found = _TYPES.get(key)
    if found is None:
        if not isinstance(dtype, DType):
            raise TypeError(f"dtype must be a torch.dtype, not {dtype!r}")
        found = TensorType()
        # a tensor that came as a size would be a size for ever, in every plan and in the allocator's counters
        found.shape = shape = tuple(map(operator.index, shape))
        found.dtype = dtype
        found.device = device
        found.ndim = len(shape)
        size = 1
        for extent in shape:
            size *= extent
        found.size = size
        _TYPES[(found.shape, dtype, device)] = found
    return found


class Node:
    """One operation applied to nodes.

    Attributes:
        op: the row of the primitive table.
        src: the nodes it reads.
        params: static parameters, a hashable tuple; part of every key.
        type: type of the result.
        value: for ``input`` the buffer, for ``scalar`` the Python number (an argument of the kernel, in no key),
            else None until the node has been computed.
        requires_grad: whether gradients flow through this node.
        mark: None, or the :class:`Marks` that autograd and mutation left here.
        name: what PyTorch calls the function that it is the result of, in the backward graph; seldom set.
    """

    __slots__ = ("op", "src", "params", "type", "value", "requires_grad", "mark", "name", "__weakref__")

    def __init__(
        self,
        op: Primitive,
        src: tuple[Node, ...],
        params: tuple,
        type: TensorType,
        value: Any = None,
        requires_grad: bool = False,
    ) -> None:
        self.op = op
        self.src = src
        self.params = params
        self.type = type
        self.value = value
        self.requires_grad = requires_grad
        self.mark = None

    @property
    def shape(self) -> tuple[int, ...]:
        return self.type.shape

    @property
    def dtype(self) -> DType:
        return self.type.dtype

    @property
    def ndim(self) -> int:
        return self.type.ndim

    def become_input(self, input_op: Primitive) -> None:
        """Drop the history of a computed node, which nothing needs any more: it is a leaf from here on."""
        self.op = input_op
        self.src = ()
        self.params = ()

    def marks(self) -> Marks:
        if self.mark is None:
            self.mark = Marks()
        return self.mark

    def __repr__(self) -> str:
        return format_program([self])


class Marks:
    """What happened to a node's value after it was recorded.

    Attributes:
        overwritten: how often the tensor that held this value has been written to since (0: never).
        version: how often it had been written to before, if it was overwritten.
        writes: what happened to that tensor, shared by all the values that it had.
        base: of a computed view, whose history was dropped, the marks of the value whose memory it shares.
        freed: the values that the gradient needed have been released by a backward pass.
        leaf: weak reference to the leaf tensor whose ``grad`` accumulates this node's gradient.
        hooks: functions from cotangent to cotangent or None, in the order in which they were registered.
        origin: ``(filename, line, function)`` of the user's statement, where it was recorded.
    """

    # Slots that are all set: with defaults of the class instead a write in place takes twice as long.
    __slots__ = ("overwritten", "version", "writes", "base", "freed", "leaf", "hooks", "origin")

    def __init__(self) -> None:
        self.overwritten = self.version = 0
        self.writes: Writes | None = None
        self.base: Marks | None = None
        self.freed = False
        self.leaf = self.hooks = self.origin = None


class Writes:
    """The in-place writes to a tensor.

    Attributes:
        version: how many there were.
        maker: what made its newest value, if that requires a gradient.
    """

    __slots__ = ("version", "maker")


class GradMode:
    """Whether recording tracks gradients; one flag for each thread would cost more than a node, so frontends
    save and restore it around their blocks."""

    __slots__ = ("enabled",)

    def __init__(self) -> None:
        self.enabled = True


grad_mode = GradMode()


def topological(
    roots: Iterable[Node], *, into_values: bool = False, known: Container[Node] = ()
) -> list[Node]:
    """Every node that ``roots`` depend on, sources before users.

    Computed nodes count as leaves unless ``into_values``; ``known`` nodes are left out, with what only they need.
    Iterative: the depth of a graph is bounded by memory only.
    """
    order: list[Node] = []
    seen: set[Node] = set()
    stack: list[tuple[Node, int]] = [(root, 0) for root in roots][::-1]
    while stack:
        node, visited = stack.pop()
        if visited:
            order.append(node)
            continue
        if node in seen or node in known:
            continue
        seen.add(node)
        if not node.src or (node.value is not None and not into_values):
            order.append(node)
            continue
        stack.append((node, 1))
        for source in reversed(node.src):
            if source not in seen:
                stack.append((source, 0))
    return order


def format_program(roots: Sequence[Node]) -> str:
    """The text form of the graph that ``roots`` depend on, one line a node, sources first."""
    names: dict[Node, str] = {}
    lines = []
    for node in topological(roots):
        names[node] = f"%{len(names)}"
        op = "input" if node.value is not None and node.op.kind != "leaf" else node.op.name
        arguments = ", ".join(names[s] for s in node.src) if op != "input" else ""
        params = f" {list(node.params)}" if node.params and op != "input" else ""
        lines.append(f"{names[node]} = {op}({arguments}){params} : {node.type}")
    lines.append("return " + ", ".join(names[root] for root in roots))
    return "\n".join(lines)


class IRError(Exception):
    """A node that breaks the rules of its row. Reaching a user means a bug in Flamework."""


def verify(roots: Sequence[Node]) -> None:
    """Check every node against its row: arity, parameters, that its sources are on one device, and that the row infers
    the type which it carries.

    Raises:
        IRError: naming the first node that is wrong.
    """
    for node in topological(roots):
        if node.op.kind == "leaf":
            continue
        if node.value is not None and not node.src:
            continue
        try:
            expected = node.op.infer(node.params, *[s.type for s in node.src])
        except (TypeError, ValueError, IndexError) as error:
            raise IRError(f"{node.op.name}{list(node.params)} of {[s.type for s in node.src]}: {error}") from error
        if len({s.type.device for s in node.src}) > 1:
            raise IRError(f"{node.op.name} of values on different devices: {[s.type for s in node.src]}")
        if expected is not node.type:
            raise IRError(f"{node.op.name} has type {node.type}, its row infers {expected}")
