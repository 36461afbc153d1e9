"""Rewrites of the graph before fusion: constants, common subexpressions, algebra, movement.

A rewrite is a function ``(node, make) -> Node | None`` registered for an operation; it gives a cheaper node of the
same type and the same value, or None. :func:`rewrite` rebuilds a graph from its leaves, tries the rules on every node,
and keeps one node for equal ones (common subexpressions); what nothing uses is never visited (dead code).

The numbers keep their meaning. ``x + 0`` stays (it turns -0 into 0), ``x * 0`` stays (NaN), an explicit cast to a
narrower type and back stays. Nothing is reassociated.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from . import dtypes, primitives as p, primitives_attention, primitives_conv, primitives_shape as s
from .autodiff import recording_gradients
from .composite import call, result
from .dtypes import COMPLEX, FLOATING
from .ir import Node, topological
from .narrow import as_float32
from .parts import in_parts, parts_of
from .primitives import Primitive

Rule = Callable[[Node], Node | None]
RULES: dict[Primitive, list[Rule]] = {}


def rule(*ops: Primitive) -> Callable[[Rule], Rule]:
    def register(function: Rule) -> Rule:
        for op in ops:
            RULES.setdefault(op, []).append(function)
        return function

    return register


def constant(node: Node):
    """The number that every element of a node equals, or None."""
    return node.params[3] if node.op is p.const else None


def filled(like: Node, value) -> Node:
    return p.const(params=(like.shape, like.dtype, like.type.device, p.python_value(like.dtype, value)))


# ------------------------------------------------------------------------------------------------------- constants


def fold_constants(node: Node) -> Node | None:
    """An elementwise operation on constants is a constant."""
    if node.op.kind != "elementwise" or node.op.checks or not node.src or any(x.op is not p.const for x in node.src):
        return None
    if node.dtype.kind == COMPLEX:
        return None
    arrays = [np.full((), x.params[3], x.dtype.numpy) for x in node.src]
    value = np.asarray(node.op.reference(node.params, *arrays)).astype(node.dtype.numpy)
    return filled(node, value.item())


@rule(s.reshape, s.permute, s.expand, s.slice_, s.flip, s.unfold, s.as_strided)
def move_constant(node: Node) -> Node | None:
    value = constant(node.src[0])
    return None if value is None else filled(node, value)


@rule(s.pad)
def pad_constant(node: Node) -> Node | None:
    value = constant(node.src[0])
    same = value is not None and value == node.params[2] and math.copysign(1, value) == math.copysign(1, node.params[2])
    if same or node.src[0].type.size == 0:
        return filled(node, node.params[2])
    return None


@rule(s.copy, s.detach)
def alias_of_constant(node: Node) -> Node | None:
    value = constant(node.src[0])
    return None if value is None else filled(node, value)


@rule(s.reduce_sum, s.reduce_prod, s.reduce_max, s.reduce_min)
def reduce_trivially(node: Node) -> Node | None:
    source = node.src[0]
    if source.type.size == 0 and node.type.size:
        return filled(node, 0 if node.op is s.reduce_sum else 1) if node.op in (s.reduce_sum, s.reduce_prod) else None
    extents = [source.shape[a] for a in node.params]
    if all(e == 1 for e in extents):
        return s.reshaped(source, node.shape)
    if any(e == 1 for e in extents):
        # axes of size 1 need no loop
        axes = tuple(a for a in node.params if source.shape[a] != 1)
        return s.reshaped(node.op(source, params=axes), node.shape)
    value = constant(source)
    if value is None:
        return None
    count = math.prod(extents)
    if node.op in (s.reduce_max, s.reduce_min):
        return filled(node, value)
    exact = source.dtype.kind != FLOATING or (float(value * count).is_integer() and abs(value * count) < 1 << 24)
    if node.op is s.reduce_sum and exact:
        total = np.asarray(value * count).astype(node.dtype.numpy)
        return filled(node, total.item())
    return None


@rule(s.cumsum)
def scan_trivially(node: Node) -> Node | None:
    return s.copy(node.src[0]) if node.shape[node.params[0]] == 1 else None


@rule(s.dot)
def empty_dot(node: Node) -> Node | None:
    return filled(node, 0) if node.src[0].shape[2] == 0 and node.type.size else None


@rule(primitives_conv.convolve)
def depthwise_as_sum(node: Node) -> Node | None:
    weight = node.src[1].shape
    if not node.type.size or primitives_conv.has_kernel(node.params, weight, node.shape, node.type.device):
        return None
    return primitives_conv.as_sum(node) if primitives_conv.is_depthwise(node.params[4], weight) else None


@rule(primitives_conv.convolve)
def convolution_as_product(node: Node) -> Node | None:
    if not node.type.size or primitives_conv.has_kernel(node.params, node.src[1].shape, node.shape, node.type.device):
        return None
    x, weight = node.src
    return primitives_conv.as_product(x, weight, node.params, node.shape[2:])


@rule(primitives_conv.image_gradient)
def image_gradient_as_convolutions(node: Node) -> Node | None:
    return primitives_conv.as_convolutions(node) if node.type.size else None


@rule(primitives_conv.filter_gradient)
def filter_gradient_as_product(node: Node) -> Node | None:
    g = node.src[1]
    if not node.type.size:
        return None
    if not g.type.size:
        return filled(node, 0)
    known = primitives_conv.has_kernel(node.params[:5], node.shape, g.shape, node.type.device)
    return None if known else primitives_conv.filters_as_product(node)


@rule(*primitives_attention.FORMULAS)
def attention_as_products(node: Node) -> Node | None:
    return primitives_attention.FORMULAS[node.op](node)


@rule(s.cat)
def trivial_cat(node: Node) -> Node | None:
    parts = [x for x in node.src if x.type.size]
    if len(parts) == 1:
        return s.copy(parts[0])
    return s.cat(*parts, params=node.params) if len(parts) < len(node.src) and parts else None


@rule(s.update, s.scatter)
def empty_write(node: Node) -> Node | None:
    return s.copy(node.src[0]) if node.src[-1].type.size == 0 else None


@rule(s.scatter)
def scatter_one(node: Node) -> Node | None:
    """One index a row is a comparison with the position, which fuses with what reads it (a label's gradient)."""
    base, index, new = node.src
    axis, mode = node.params
    if index.shape[axis] != 1 or mode not in ("set", "add"):
        return None
    position = p.iota(params=(node.shape, dtypes.int64, node.type.device, axis))
    here = p.eq(position, s.expanded(index, node.shape))
    value = s.expanded(new, node.shape)
    if mode == "add" and constant(base) != 0:
        value = p.add(base, value)
    return p.where(here, value, base)


@rule(s.update)
def whole_update(node: Node) -> Node | None:
    """Replacing every element is the new value."""
    return s.copy(node.src[1]) if node.src[1].shape == node.shape and all(d == 1 for d in node.params[1]) else None


# --------------------------------------------------------------------------------------------------------- algebra


@rule(p.mul)
def multiply_by_one(node: Node) -> Node | None:
    for x, y in (node.src, node.src[::-1]):
        if constant(y) == 1:
            return s.copy(x)
    return None


@rule(p.div)
def divide_by_constant(node: Node) -> Node | None:
    """By 1, or by a power of two, where multiplying by the reciprocal is exact."""
    value = constant(node.src[1])
    if value is None or value == 0 or not math.isfinite(value):
        return None
    if value == 1:
        return s.copy(node.src[0])
    fraction, exponent = math.frexp(value)
    if abs(fraction) == 0.5 and abs(exponent) < 100:
        return p.mul(node.src[0], filled(node, 1.0 / value))
    return None


@rule(p.sub)
def subtract_zero(node: Node) -> Node | None:
    value = constant(node.src[1])
    return s.copy(node.src[0]) if value == 0 and math.copysign(1, value) == 1 else None


@rule(p.neg)
def negate_twice(node: Node) -> Node | None:
    return s.copy(node.src[0].src[0]) if node.src[0].op is p.neg else None


@rule(p.where)
def decided_where(node: Node) -> Node | None:
    value = constant(node.src[0])
    if value is None:
        return s.copy(node.src[1]) if node.src[1] is node.src[2] else None
    return s.copy(node.src[1] if value else node.src[2])


@rule(p.cast)
def needless_cast(node: Node) -> Node | None:
    """To the type that it has; or out to a wider type and back, which changes nothing."""
    source = node.src[0]
    if source.dtype is node.dtype:
        return s.copy(source)
    if source.op is p.cast and source.src[0].dtype is node.dtype:
        inner = node.dtype
        wider = {
            dtypes.float32: (dtypes.float64,), dtypes.int32: (dtypes.int64, dtypes.float64),
            dtypes.uint8: (dtypes.int16, dtypes.int32, dtypes.int64, dtypes.float32, dtypes.float64),
        }
        if inner.kind == dtypes.BOOL or source.dtype in wider.get(inner, ()):
            return s.copy(source.src[0])
    return None


# -------------------------------------------------------------------------------------------------------- movement


@rule(s.reshape)
def merge_reshapes(node: Node) -> Node | None:
    source = node.src[0]
    if source.shape == node.shape:
        return source
    if source.op is s.reshape:
        return s.reshaped(source.src[0], node.shape)
    return None


@rule(s.permute)
def merge_permutes(node: Node) -> Node | None:
    source = node.src[0]
    if node.params == tuple(range(node.ndim)):
        return source
    if source.op is s.permute:
        return s.permuted(source.src[0], tuple(source.params[a] for a in node.params))
    kept = [a for a in node.params if source.shape[a] != 1]
    return s.reshape(source, params=node.shape) if kept == sorted(kept) else None


@rule(s.permute)
def transpose_product(node: Node) -> Node | None:
    """The transpose of a matrix product is the product of the transposes, which the library reads in place: the
    gradient of a weight comes out in the weight's own layout."""
    source = node.src[0]
    product = source
    while product.op is s.reshape:
        product = product.src[0]
    if product.op is not s.dot:
        return None
    if source is product and node.params != (0, 2, 1):
        return None
    if source is not product and (product.shape[0] != 1 or source.shape != product.shape[1:] or node.params != (1, 0)):
        return None
    a, b = product.src
    return s.reshaped(s.dot(s.swapped(b), s.swapped(a)), node.shape)


@rule(s.expand)
def merge_expands(node: Node) -> Node | None:
    source = node.src[0]
    if source.shape == node.shape:
        return source
    return s.expand(source.src[0], params=node.params) if source.op is s.expand else None


@rule(s.slice_)
def merge_slices(node: Node) -> Node | None:
    source = node.src[0]
    starts, steps, counts = node.params
    if counts == source.shape:
        return source
    if source.op is s.slice_:
        inner_starts, inner_steps, _ = source.params
        return s.slice_(
            source.src[0],
            params=(
                tuple(a + b * c for a, b, c in zip(inner_starts, starts, inner_steps)),
                tuple(a * b for a, b in zip(inner_steps, steps)),
                counts,
            ),
        )
    return None


# ---------------------------------------------------------------------------------------------------------- driver


class Interner:
    """Makes each distinct node once and rewrites it until no rule applies; what ``keeps`` says yes to stays."""

    def __init__(self, keeps: Callable[[Node], bool]) -> None:
        self.keeps = keeps
        self.nodes: dict[tuple, Node] = {}
        self.known: set[int] = set()
        self.rules_used: dict[str, int] = {}

    def make(self, node: Node) -> Node:
        for _ in range(16):
            key = (node.op, node.params, node.type, *map(id, node.src))
            found = self.nodes.get(key)
            if found is not None:
                return found
            kept = self.keeps(node)
            replacement = None if kept else in_parts(node) or as_float32(node) or fold_constants(node)
            if replacement is None and not kept:
                for candidate in RULES.get(node.op, ()):
                    replacement = candidate(node)
                    if replacement is not None:
                        self.rules_used[candidate.__name__] = self.rules_used.get(candidate.__name__, 0) + 1
                        break
            if replacement is None:
                self.nodes[key] = node
                self.known.add(id(node))
                return node
            self.nodes[key] = result = self.rebuild(replacement)
            return result
        return node

    def rebuild(self, node: Node) -> Node:
        """Intern the few new nodes that a rule made on top of known ones."""
        stack: list[Node] = [node]
        done: dict[Node, Node] = {}
        while stack:
            current = stack[-1]
            if id(current) in self.known or current.value is not None:
                done[current] = current
                stack.pop()
                continue
            missing = [x for x in current.src if x not in done]
            if missing:
                stack += missing
                continue
            stack.pop()
            done[current] = self.make(self.with_sources(current, [done[x] for x in current.src]))
        return done[node]

    @staticmethod
    def with_sources(node: Node, src: Sequence[Node]) -> Node:
        if all(a is b for a, b in zip(node.src, src)):
            return node
        return Node(node.op, tuple(src), node.params, node.type)


def rewrite(
    roots: Sequence[Node], leaves: Mapping[Node, Node] | None = None,
    keeps: Callable[[Node], bool] = lambda node: False,
) -> list[Node]:
    """Equivalent roots, rewritten, with composites written out.

    Args:
        roots: nodes whose values are wanted.
        leaves: what stands in the new graph for nodes whose values are known; the walk ends at them. None: the nodes
            that hold a value stand for themselves.
        keeps: whether an operation is to stay as it is, for a library that computes it whole.
    """
    interner = Interner(keeps)
    new: dict[Node, Node] = dict(leaves or {})
    results: dict[Node, list[Node]] = {}
    with recording_gradients(False):
        for node in topological(roots, known=new):
            if node.value is not None:
                new[node] = node
            elif node.op is call:
                results[node] = node.params[0].written_out([new[x] for x in node.src], interner.make)
                new[node] = results[node][0]
            elif node.op is result:
                new[node] = results[node.src[0]][node.params[1]]
            else:
                made = Interner.with_sources(node, [new[x] for x in node.src])
                if leaves is not None and made is node:
                    # what is made from the result lives on, and must hold no node that gets a value
                    made = Node(node.op, node.src, node.params, node.type)
                new[node] = interner.make(made)
        # a complex result is stored in pairs of its parts
        for root in roots:
            node = new[root]
            if node.dtype.kind == COMPLEX and node.op not in (p.complex_, p.input_) and node.op.kind != "library":
                new[root] = interner.make(p.complex_(*map(interner.make, parts_of(node))))
    return [new[root] for root in roots]
