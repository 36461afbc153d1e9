"""The operands of a matrix product, read where they lie.

A product reads its operands below their movement, so that a transpose, a slice or the windows of an image need no copy:
through strides if they describe an operand (:class:`~flamework.compiler.cluster.Matrix`, for BLAS), else through the
extents and strides of its axes (:class:`~flamework.compiler.cluster.Indexed`).

In: a product. Out: descriptions of both operands. Read next: ``fusion.py``.
"""

from __future__ import annotations

from .affine import Access, Var, linear, of, pull, strides_of
from .cluster import Indexed, Matrix, Strided, axis_strides, contiguous_matrix
from .ir import Node
from .primitives import cast
from .primitives_shape import dot


def product_operands(node: Node) -> list[Matrix] | list[Indexed]:
    """Both operands of a product, read in place below their movement where that can be described.

    Two matrices with strides are for BLAS. Where one is not, but lies in a buffer no larger than itself with
    elements side by side, as the windows of an image do, both are described by their axes, after a copy of the
    other if it needs one. Else it is copied; so are such operands of a product that is added to others.

    A product on a GPU reads 16-bit floats as they are, if both its operands are such that were widened for it.
    """
    if node.type.device != "cpu":
        found = operands_below(node, True)
        if found[0].base.dtype is found[1].base.dtype:
            return found
    return operands_below(node, False)


def operands_below(node: Node, before_widening: bool) -> list[Matrix] | list[Indexed]:
    sources = node.src[:2]
    below = [operand_below(source, before_widening) for source in sources]
    matrices = [strided(source, *found) for source, found in zip(sources, below)]
    if None in matrices and node.op is dot:
        indexed = [indexed_operand(source, *found) for source, found in zip(sources, below)]
        if any(m is None and x is not None for m, x in zip(matrices, indexed)):
            return [x or indexed_copy(source) for x, source in zip(indexed, sources)]
    first, second = (m or contiguous_matrix(source) for m, source in zip(matrices, sources))
    if len(first.batch) == 2 and second.batch_strides(first.batch[1][0]) is None:
        second = contiguous_matrix(node.src[1])
    elif len(second.batch) == 2 and first.batch_strides(second.batch[1][0]) is None:
        first = contiguous_matrix(node.src[0])
    return [first, second]


def strided_operand(source: Node) -> Strided:
    """An operand of a library whose last axis is contiguous, read in place below its movement where strides describe
    that, and rows begin at multiples of 16 bytes, as libraries want it; else it is copied."""
    node, at, access = operand_below(source)
    offset = linear(access.resolved().at, node.shape)
    strides = [axis_strides(v, offset) for v in at]
    if all(len(x) <= 1 for x in strides):
        found = [x[0][1] if x else 0 for x in strides]
        # where an axis of size 1 leads does not matter
        found = [stride if extent > 1 else whole for stride, extent, whole in zip(
            found, source.shape, strides_of(source.shape))]
        unit = 16 // source.dtype.itemsize
        if found[-1] == 1 and all(x > 0 and x % unit == 0 for x in found[:-1]) and offset.const % unit == 0:
            return Strided(node, offset.const, tuple(found))
    return Strided(source, 0, tuple(strides_of(source.shape)))


def operand_below(source: Node, before_widening: bool = False) -> tuple[Node, list[Var], Access]:
    """What ``source`` is a view of: a node below its movement, and where each element lies in it.

    Args:
        before_widening: look also below a cast of 16-bit floats to float32.
    """
    at = [Var(extent) for extent in source.shape]
    whole = Access([of(v) for v in at])
    node, access = source, whole
    while node.value is None:
        if before_widening and node.op is cast and node.src[0].dtype.compute is node.dtype is not node.src[0].dtype:
            node = node.src[0]
            continue
        if node.op.kind not in ("movement", "alias"):
            break
        moved = pull(node, access)
        if moved is None or moved.guards:
            # a node in the middle goes to memory, unless that is more than the operand itself
            return (node, at, access) if node.type.size <= source.type.size else (source, at, whole)
        node, access = node.src[0], moved
    return node, at, access


def strided(source: Node, node: Node, at: list[Var], access: Access) -> Matrix | None:
    """An operand as a matrix with strides, or None. One below a pad is copied with the padding."""
    offset = linear(access.resolved().at, node.shape)
    strides = [axis_strides(v, offset) for v in at]
    if any(c < 0 for c in offset.terms.values()) or any(len(x) > 1 for x in strides[1:]):
        return None
    rows, columns = (x[0][1] if x else 0 for x in strides[1:])
    found = Matrix(node, offset.const, strides[0], rows, columns)
    return found if found.is_usable(source.shape) else None


def indexed_operand(source: Node, node: Node, at: list[Var], access: Access) -> Indexed | None:
    offset = linear(access.resolved().at, node.shape)
    batch, rows, columns = (axis_strides(v, offset) for v in at)
    # A weight that serves a whole batch is read where it lies, however it does: a copy would be one for each part.
    repeated = source.shape[0] > 1 and all(stride == 0 for _, stride in batch)
    scattered = all(abs(c) != 1 for c in offset.terms.values()) and len(offset.terms) > 1
    if not repeated and (scattered or (node.type.size > source.type.size and node is not source)):
        return None
    return Indexed(node, offset.const, (batch, rows, columns))


def indexed_copy(source: Node) -> Indexed:
    batch, rows, columns = source.shape
    return Indexed(source, 0, ([(batch, rows * columns)], [(rows, columns)], [(columns, 1)]))
