"""Formulas of batches of matrices, ``[*batch, m, n]``, which the gradients of factorisations are made of.

In: nodes of at least two axes. Out: nodes. Read next: ``primitives_linalg.py``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from . import primitives as p, primitives_shape as s
from .dtypes import COMPLEX, DType, int64
from .ir import Node


def mm(*factors: Node) -> Node:
    """The product of matrices with the same batch axes, from left to right."""
    first, *rest = factors
    for b in rest:
        lead, m, n = first.type.shape[:-2], first.type.shape[-2], b.type.shape[-1]
        count = math.prod(lead)
        flat = (s.reshaped(x, (count, *x.type.shape[-2:])) for x in (first, b))
        first = s.reshaped(s.dot(*flat), (*lead, m, n))
    return first


def adjoint(x: Node) -> Node:
    """The conjugate transpose."""
    return p.conjugate(s.swapped(x))


def _places(x: Node) -> tuple[Node, Node]:
    row, column = (p.iota(params=(x.type.shape, int64, x.type.device, x.ndim - 2 + i)) for i in (0, 1))
    return row, column


def masked(x: Node, mask: Node) -> Node:
    return p.where(mask, x, p.full_like(x, 0))


def lower(x: Node, offset: int = 0) -> Node:
    """The part on and below the diagonal ``offset``, with zeros above it."""
    row, column = _places(x)
    return masked(x, p.le(column, p.add(row, p.full_like(row, offset)) if offset else row))


def upper(x: Node) -> Node:
    """The part on and above the diagonal."""
    row, column = _places(x)
    return masked(x, p.le(row, column))


def on_diagonal(x: Node) -> Node:
    return p.eq(*_places(x))


def diagonal(x: Node) -> Node:
    """``[*batch, min(m, n)]``."""
    *lead, m, n = x.type.shape
    count = min(m, n)
    flat = s.reshaped(x, (*lead, m * n))
    zeros = (0,) * len(lead)
    return s.slice_(flat, params=((*zeros, 0), (*(1,) * len(lead), n + 1), (*lead, count)))


def columns(v: Node, like: Node) -> Node:
    """``v[..., j]`` at every ``[..., i, j]``."""
    *lead, n = v.type.shape
    return s.broadcast_to(s.reshaped(v, (*lead, 1, n)), like.type.shape)


def rows(v: Node, like: Node) -> Node:
    """``v[..., i]`` at every ``[..., i, j]``."""
    return s.broadcast_to(s.reshaped(v, (*v.type.shape, 1)), like.type.shape)


def with_diagonal(x: Node, d: Node) -> Node:
    """A square ``x`` with the diagonal ``d``."""
    return p.where(on_diagonal(x), rows(d, x), x)


def diagonal_matrix(d: Node) -> Node:
    return with_diagonal(zeros((*d.type.shape, d.type.shape[-1]), d.type.dtype, d.type.device), d)


def zeros(shape: Sequence[int], dtype: DType, device: str) -> Node:
    return p.const(params=(tuple(shape), dtype, device, p.python_value(dtype, 0)))


def identity(batch: Sequence[int], m: int, n: int, dtype: DType, device: str) -> Node:
    nothing = zeros((*batch, m, n), dtype, device)
    return p.where(on_diagonal(nothing), p.full_like(nothing, 1), nothing)


def half(x: Node) -> Node:
    return p.mul(x, p.full_like(x, 0.5))


def real_part(x: Node) -> Node:
    return p.real(x) if x.type.dtype.kind == COMPLEX else x


def of_dtype(x: Node, dtype: DType) -> Node:
    return s.converted(x, dtype)


def skew(x: Node) -> Node:
    return p.sub(x, adjoint(x))


def over(x: Node, y: Node) -> Node:
    """``x / y``, and 0 where both are 0: what does not depend on a gauge needs no part of the matrix that has none."""
    none = p.eq(y, p.full_like(y, 0))
    quotient = p.div(x, p.where(none, p.full_like(y, 1), y))
    undefined = p.where(p.eq(x, p.full_like(x, 0)), p.full_like(x, 0), p.full_like(x, math.nan))
    return p.where(none, undefined, quotient)


def permutation_matrix(order: Node, dtype: DType) -> Node:
    """The matrix whose column ``j`` has its one in row ``order[..., j]``."""
    *lead, n = order.type.shape
    places = p.iota(params=((*lead, n, n), int64, order.type.device, len(lead)))
    return p.cast(p.eq(places, columns(order, places)), params=(dtype,))


def piece(packed: Node, start: int, shape: Sequence[int]) -> Node:
    """One of several values that are packed along the last axis: elements from ``start``, as ``[*batch, *shape]``."""
    lead, count = packed.type.shape[:-1], math.prod(shape)
    part = s.sliced(packed, (*(0,) * len(lead), start), (*lead, count))
    return s.reshaped(part, (*lead, *shape))


def pieces(packed: Node, *shapes: Sequence[int]) -> list[Node]:
    """All values that are packed along the last axis."""
    found, start = [], 0
    for shape in shapes:
        found.append(piece(packed, start, shape))
        start += math.prod(shape)
    return found
