"""Complex numbers: operations on them as operations on their real and imaginary parts.

A rewrite: every complex value becomes ``complex(re, im)`` of two real nodes, and what reads one part reads that node.
What is left of complex numbers in a kernel is loads and stores of pairs; everything between fuses as real arithmetic.
A complex matrix product is four real ones.

In: a node that is complex, or made of complex ones, whose sources were taken apart before. Out: its replacement.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence

from . import primitives as p, primitives_shape as s
from .dtypes import BOOL, COMPLEX
from .ir import Node
from .primitives import Primitive, full_like

Pair = tuple[Node, Node]


def part_of(x: Node, which: int) -> Node:
    """The real (0) or the imaginary (1) part of a complex node."""
    if x.op is p.complex_:
        return x.src[which]
    if x.op is p.const:
        shape, dtype, device, value = x.params
        number = complex(value)
        part = number.imag if which else number.real
        return p.const(params=(shape, dtype.part, device, p.python_value(dtype.part, part)))
    return (p.imag if which else p.real)(x)


def parts_of(x: Node) -> Pair:
    return part_of(x, 0), part_of(x, 1)


def in_parts(node: Node) -> Node | None:
    """A node without complex arithmetic that computes the same; None if it is none already."""
    if node.op in (p.real, p.imag):
        (x,) = node.src
        return part_of(x, node.op is p.imag) if x.op in (p.complex_, p.const) else None
    if node.op.kind == "library":
        if any(x.op is p.const and x.dtype.kind == COMPLEX for x in node.src):
            return node.op(*[p.complex_(*parts_of(x)) if x.op is p.const else x for x in node.src], params=node.params)
        return None
    if node.op is p.complex_ or node.op is p.input_:
        return None
    if node.dtype.kind == COMPLEX:
        rule = _RULES.get(node.op)
        return p.complex_(*(rule(node) if rule is not None else moved(node)))
    if any(x.dtype.kind == COMPLEX for x in node.src):
        return _TO_REAL[node.op](node)
    return None


def moved(node: Node) -> Pair:
    """An operation that moves elements, or adds them up: applied to both parts."""
    if node.op is p.const:
        return parts_of(node)
    results = []
    for which in (0, 1):
        src = [part_of(x, which) if x.dtype.kind == COMPLEX else x for x in node.src]
        params = node.params
        if node.op is s.pad:
            number = complex(params[2])
            params = (*params[:2], number.imag if which else number.real)
        results.append(node.op(*src, params=params))
    return results[0], results[1]


def product(x: Pair, y: Pair, row: Callable[[Node, Node], Node] = p.mul) -> Pair:
    (a, b), (c, d) = x, y
    return p.sub(row(a, c), row(b, d)), p.add(row(a, d), row(b, c))


def quotient(x: Pair, y: Pair) -> Pair:
    """By Smith's method (1962): the larger part of the divisor divides the smaller, so that no square overflows."""
    (a, b), (c, d) = x, y
    first = p.le(p.abs(d), p.abs(c))
    large, small = p.where(first, c, d), p.where(first, d, c)
    nought = p.band(p.eq(c, full_like(c, 0)), p.eq(d, full_like(d, 0)))
    ratio = p.where(nought, full_like(c, 0), p.div(small, large))
    denominator = p.where(nought, p.abs(c), p.add(large, p.mul(small, ratio)))
    a_ratio, b_ratio = p.mul(a, ratio), p.mul(b, ratio)
    re = p.where(first, p.add(a, b_ratio), p.add(a_ratio, b))
    im = p.where(first, p.sub(b, a_ratio), p.sub(b_ratio, a))
    re, im = p.where(nought, a, re), p.where(nought, b, im)
    return p.div(re, denominator), p.div(im, denominator)


def _of_two(function: Callable[[Pair, Pair], Pair]) -> Callable[[Node], Pair]:
    return lambda node: function(*map(parts_of, node.src))


def reciprocal(node: Node) -> Pair:
    x = parts_of(node.src[0])
    return quotient((full_like(x[0], 1), full_like(x[0], 0)), x)


def cast(node: Node) -> Pair:
    (x,) = node.src
    if x.dtype.kind != COMPLEX:
        re = s.converted(x, node.dtype.part)
        return re, full_like(re, 0)
    re, im = parts_of(x)
    return s.converted(re, node.dtype.part), s.converted(im, node.dtype.part)


def total_product(node: Node) -> Pair:
    """The product along some axes, by halves."""
    (x,) = node.src
    kept = [a for a in range(x.ndim) if a not in node.params]
    count = math.prod(x.shape[a] for a in node.params)

    def rows(part: Node) -> Node:
        order = [*kept, *node.params]
        return s.reshaped(s.permuted(part, order), (*(x.shape[a] for a in kept), count))

    re, im = map(rows, parts_of(x))
    lead = re.shape[:-1]
    if count == 0:
        one = p.const(params=(lead, re.dtype, re.type.device, 1.0))
        return one, full_like(one, 0)
    while count > 1:
        half = count // 2
        first, second = (
            tuple(s.sliced(part, (0,) * len(lead) + (start,), (*lead, half)) for part in (re, im))
            for start in (0, half)
        )
        results: Sequence[Node] = product(first, second)
        if count % 2:
            last = [s.sliced(part, (0,) * len(lead) + (count - 1,), (*lead, 1)) for part in (re, im)]
            results = [s.cat(a, b, params=(len(lead),)) for a, b in zip(results, last)]
        re, im = results
        count -= half
    return s.reshaped(re, lead), s.reshaped(im, lead)


def _cast_to_real(node: Node) -> Node:
    re, im = parts_of(node.src[0])
    if node.dtype.kind == BOOL:
        return p.bor(p.ne(re, full_like(re, 0)), p.ne(im, full_like(im, 0)))
    return s.converted(re, node.dtype)


def _compared(row: Primitive, both: Primitive) -> Callable[[Node], Node]:
    def rule(node: Node) -> Node:
        (a, b), (c, d) = map(parts_of, node.src)
        return both(row(a, c), row(b, d))

    return rule


# Where the parts depend on each other; all other operations are those of the parts (:func:`moved`).
_RULES: dict[Primitive, Callable[[Node], Pair]] = {
    p.mul: _of_two(product),
    p.div: _of_two(quotient),
    p.recip: reciprocal,
    p.conj: lambda node: (part_of(node.src[0], 0), p.neg(part_of(node.src[0], 1))),
    p.cast: cast,
    s.dot: _of_two(functools.partial(product, row=s.dot)),
    s.reduce_prod: total_product,
}
_TO_REAL: dict[Primitive, Callable[[Node], Node]] = {
    p.cast: _cast_to_real,
    p.eq: _compared(p.eq, p.band),
    p.ne: _compared(p.ne, p.bor),
}
