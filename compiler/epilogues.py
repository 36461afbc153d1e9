"""What a library does to a matrix product before it is stored: a vector is added to each row, and the sum is rounded to
16 bits.

Both give the same numbers there as in kernels of their own: the sum of a product is rounded to float32 when it is done,
the vector is added in float32, and a cast rounds once. (An activation in the library need not: it says nothing about
NaN and the sign of zero, and its approximation of ``gelu`` is its own.)

A sum in float32 is left to the library only if it is stored anyway, because it is a result or another product reads it:
else what reads it adds the vector while it reads, at no cost. A product in 16 bits is half of the traffic always.

In: a graph. Out: for what is stored, the product. Read next: ``fusion.py``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from . import primitives as p, primitives_shape as s
from .dtypes import DType, float32
from .ir import Node, topological
from .narrow import is_narrow


@dataclass(frozen=True)
class Epilogue:
    """A product and what is done to it.

    Attributes:
        product: a ``dot``.
        bias: the vector in memory that is added to each row, if one is.
        operations: the product, the sum and the cast, as far as they are there; the last is what is stored.
    """

    product: Node
    bias: Node | None
    operations: tuple[Node, ...]


def epilogues(roots: Sequence[Node]) -> dict[Node, Epilogue]:
    """The nodes that a product, and nothing else, is stored as."""
    order = topological(roots)
    readers: dict[Node, list[Node]] = {}
    for node in order:
        for source in node.src:
            readers.setdefault(source, []).append(node)
    kept = set(roots)

    def inner(node: Node) -> Node:
        """What is below reshapes that nothing else reads."""
        while node.op is s.reshape and is_inner(node):
            node = node.src[0]
        return node

    def is_inner(node: Node) -> bool:
        return node.value is None and node not in kept and len(readers.get(node, ())) == 1

    def is_product(node: Node) -> bool:
        return node.op is s.dot and is_inner(node)

    def is_stored(node: Node) -> bool:
        """Whether a value is a result, or an operand of a product below its movement."""
        moved = [node]
        for x in moved:  # it grows meanwhile
            if x in kept or any(reader.op.kind == "contract" for reader in readers.get(x, ())):
                return True
            moved += [reader for reader in readers.get(x, ()) if reader.op.kind == "movement"]
        return False

    def added(node: Node, dtype: DType) -> Epilogue | None:
        for x, y in (node.src, node.src[::-1]):
            product = inner(x)
            if is_product(product) and product.shape[0] == 1 and product.shape[2] == node.shape[-1]:
                bias = vector(y, node.shape[-1])
                if bias is not None and bias.dtype is dtype:
                    return Epilogue(product, bias, (product, node))
        return None

    found: dict[Node, Epilogue] = {}
    for node in order:
        if node.value is not None or not node.type.size:
            continue
        if node.op is p.cast and is_narrow(node.dtype) and node.src[0].dtype is float32:
            source = inner(node.src[0])
            if is_product(source):
                found[node] = Epilogue(source, None, (source, node))
            elif source.op is p.add and is_inner(source) and source.shape[-1:] == node.shape[-1:]:
                match = added(source, node.dtype)
                if match is not None:
                    found[node] = Epilogue(match.product, match.bias, (*match.operations, node))
        elif node.op is p.add and node.dtype is float32 and is_stored(node):
            match = added(node, float32)
            if match is not None:
                found[node] = match
    return found


def vector(node: Node, size: int) -> Node | None:
    """The input, a vector of that size, of which each row of a node is a copy."""
    node = unwidened(node)
    if node.op is s.expand:
        node = node.src[0]
    if node.type.size != size or node.shape[-1] != size:
        return None
    while node.value is None and (node.op is s.reshape or unwidened(node) is not node):
        node = node.src[0]
    return node if node.op is p.input_ else None


def unwidened(node: Node) -> Node:
    """What was cast from 16 bits to float32, or the node itself."""
    is_wide = node.value is None and node.op is p.cast and node.dtype is float32 and is_narrow(node.src[0].dtype)
    return node.src[0] if is_wide else node
