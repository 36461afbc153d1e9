"""Attention's rows of the table, and the products that they become.

``softmax(q k' scale) v`` has a row for the libraries of GPUs that compute it whole, without keeping its scores: 16-bit
floats there are recorded as it. Its gradient is a row for each operand; it needs the result and, of each row of scores,
the logarithm of the sum of their exponentials, from which the weights are made again (Dao and others,
"FlashAttention", 2022). What no library computes becomes products and kernels before fusion. Scores and sums are of
float32 then, and weights are rounded to the operands' dtype for their product, as in the libraries.

Operands are ``[batch, positions, heads, size]``: as a projection leaves them, and as the next one reads the result.
Several heads of ``q`` in a row may share one of ``k`` and ``v``.

Read next: ``rewrite.py``, which replaces them; ``runtime/cudnn_operations.py``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from . import dtypes, primitives as p, primitives_shape as s
from .autodiff import jvp, recording_gradients
from .dtypes import FLOATING
from .ir import Node, TensorType, tensor_type
from .narrow import widened
from .primitives import Primitive, Saved

# ----------------------------------------------------------------------------------------------------------- formulas


def _by_head(x: Node, count: int) -> Node:
    """``[batch, positions, heads, size]`` to ``[batch * heads * count, positions, size]``, each head so often."""
    batch, positions, heads, size = x.shape
    x = s.reshaped(s.permuted(x, (0, 2, 1, 3)), (batch, heads, 1, positions, size))
    return s.reshaped(s.expanded(x, (batch, heads, count, positions, size)), (batch * heads * count, positions, size))


def _by_position(x: Node, like: Node) -> Node:
    """The transpose of :func:`_by_head`: what shares a head is added up. Of the type of ``like``."""
    batch, positions, heads, size = like.shape
    count = x.shape[0] // (batch * heads)
    x = s.reshaped(x, (batch, heads, count, positions, size))
    x = s.reshaped(s.reduce_sum(x, params=(2,)), (batch, heads, positions, size)) if count > 1 else s.reshaped(
        x, (batch, heads, positions, size)
    )
    return s.converted(s.permuted(x, (0, 2, 1, 3)), like.dtype)


def _matrices(q: Node, k: Node, v: Node) -> tuple[Node, Node, Node]:
    """The operands as one matrix for each head of ``q``, in the dtype in which is computed."""
    count = q.shape[2] // k.shape[2]
    return _by_head(widened(q), 1), _by_head(widened(k), count), _by_head(widened(v), count)


def _scores(q: Node, k: Node, params: tuple) -> Node:
    """``[batch * heads, targets, sources]`` of matrices; -inf where a target does not look."""
    scale, causal = params[:2]
    x = p.scale(s.dot(q, s.swapped(k)), scale)
    if not causal:
        return x
    target, source = (p.iota(params=(x.shape, dtypes.int64, x.type.device, axis)) for axis in (1, 2))
    return p.where(p.lt(target, source), p.full_like(x, -math.inf), x)


def _along(x: Node, like: Node) -> Node:
    """Numbers of rows, for each element of the rows."""
    return s.expanded(s.reshaped(x, (*like.shape[:2], 1)), like.shape)


def _rounded(x: Node, dtype: dtypes.DType) -> Node:
    """An operand of a product, as exact as the product's other operand."""
    return widened(s.converted(x, dtype))


def result_of(node: Node) -> Node:
    """What ``attention`` is made of."""
    q, k, v = node.src
    queries, keys, values = _matrices(q, k, v)
    x = _scores(queries, keys, node.params)
    powers = p.exp(p.sub(x, _along(s.reduce_max(x, params=(2,)), x)))
    weights = p.div(powers, _along(s.reduce_sum(powers, params=(2,)), x))
    found = s.dot(_rounded(weights, q.dtype), values)
    batch, targets, heads, _ = q.shape
    found = s.permuted(s.reshaped(found, (batch, heads, targets, v.shape[3])), (0, 2, 1, 3))
    return s.converted(found, q.dtype)


def sums_of(node: Node) -> Node:
    """What ``attention_sums`` is made of."""
    queries, keys, _ = _matrices(*node.src)
    x = _scores(queries, keys, node.params)
    largest = s.reduce_max(x, params=(2,))
    powers = p.exp(p.sub(x, _along(largest, x)))
    return s.reshaped(p.add(largest, p.log(s.reduce_sum(powers, params=(2,)))), node.shape)


def _weights(queries: Node, keys: Node, sums: Node, params: tuple) -> Node:
    x = _scores(queries, keys, params)
    return p.exp(p.sub(x, _along(sums, x)))


def gradient_of(node: Node) -> Node:
    """What ``attention_gradient`` is made of."""
    q, k, v, out, sums, g = node.src
    scale, _, which = node.params
    queries, keys, values = _matrices(q, k, v)
    weights = _weights(queries, keys, sums, node.params)
    cotangent = _by_head(widened(g), 1)
    if which == 2:
        return _by_position(s.dot(s.swapped(_rounded(weights, q.dtype)), cotangent), v)
    change = s.dot(cotangent, s.swapped(values))
    mean = s.reduce_sum(p.mul(cotangent, _by_head(widened(out), 1)), params=(2,))
    change = p.mul(weights, p.sub(change, _along(mean, change)))
    return _of_scores(_rounded(p.scale(change, scale), q.dtype), queries, keys, node)


def _of_scores(change: Node, queries: Node, keys: Node, node: Node) -> Node:
    """The gradient of the queries or the keys, by that of their product."""
    if node.params[2] == 0:
        return _by_position(s.dot(change, keys), node.src[0])
    return _by_position(s.dot(s.swapped(change), queries), node.src[1])


# --------------------------------------------------------------------------------------------------------------- rows


def _check(params: tuple, q: TensorType, k: TensorType, v: TensorType) -> None:
    if any(x.ndim != 4 or not x.size for x in (q, k, v)):
        raise ValueError("needs [batch, positions, heads, size], and no axis of size 0")
    if q.dtype is not k.dtype or q.dtype is not v.dtype or q.dtype.kind != FLOATING:
        raise ValueError("needs one floating point dtype")
    if q.shape[0] != k.shape[0] or q.shape[3] != k.shape[3] or k.shape[:3] != v.shape[:3] or q.shape[2] % k.shape[2]:
        raise ValueError(f"{list(q.shape)}, {list(k.shape)} and {list(v.shape)} do not fit")
    if not isinstance(params[0], float) or params[1] not in (False, True):
        raise ValueError("needs a scale, and whether targets look at earlier sources only")


def _infer(params: tuple, q: TensorType, k: TensorType, v: TensorType) -> TensorType:
    _check(params, q, k, v)
    return tensor_type((*q.shape[:3], v.shape[3]), q.dtype, q.device)


def _sums_infer(params: tuple, q: TensorType, k: TensorType, v: TensorType) -> TensorType:
    _check(params, q, k, v)
    batch, targets, heads, _ = q.shape
    return tensor_type((batch, heads, targets), q.dtype.compute, q.device)


def _gradient_infer(params: tuple, *types: TensorType) -> TensorType:
    q, k, v, out, sums, g = types
    if _infer(params, q, k, v) is not out or out is not g or _sums_infer(params, q, k, v) is not sums:
        raise ValueError("the result, the sums and the cotangent do not belong to the operands")
    return types[range(3)[params[2]]]


def _gradients(g: Node, n: Saved) -> list[Node | None]:
    operands = [n.source(i) for i in range(3)]
    # what it is given is the same for all, so one call of a library may compute them
    given = (*operands, n.out, attention_sums(*operands, params=n.params), g)
    return [
        attention_gradient(*given, params=(*n.params, which)) if x.requires_grad else None
        for which, x in enumerate(operands)
    ]


def _sums_gradients(g: Node, n: Saved) -> list[Node | None]:
    q, k, v = (n.source(i) for i in range(3))
    queries, keys, _ = _matrices(q, k, v)
    weights = _weights(queries, keys, n.out, n.params)
    change = p.scale(p.mul(weights, _along(g, weights)), n.params[0])
    by_query = _by_position(s.dot(change, keys), q)
    return [by_query, _by_position(s.dot(s.swapped(change), queries), k), None]


def _jvp(tangents: Sequence[Node | None], n: Saved) -> Node:
    return _tangent(result_of, n.node, tangents)


def _tangent(formula, node: Node, tangents: Sequence[Node | None]) -> Node:
    """That of what a row is made of."""
    # nodes of their own, as one may be given as several operands
    src = [s.copy(x) for x in node.src]
    copied = Node(node.op, tuple(src), node.params, node.type)
    (found,) = jvp([formula(copied)], {x: t for x, t in zip(src, tangents) if t is not None})
    assert found is not None
    return found


def _batch(row: str):
    def batch(params: tuple, src: Sequence[Node]) -> Node:
        count = src[0].shape[0]
        found = p.TABLE[row](*[s.reshaped(x, (count * x.shape[1], *x.shape[2:])) for x in src], params=params)
        return s.reshaped(found, (count, found.shape[0] // count, *found.shape[1:]))

    return batch


def _reference_scores(params: tuple, q: np.ndarray, k: np.ndarray) -> np.ndarray:
    scale, causal = params[:2]
    k = np.repeat(k, q.shape[2] // k.shape[2], axis=2)
    x = np.einsum("bshd,bthd->bhst", q.astype(np.float64), k.astype(np.float64)) * scale
    return np.where(np.triu(np.ones(x.shape[2:], bool), 1), -np.inf, x) if causal else x


def _sums_reference(params: tuple, q: np.ndarray, k: np.ndarray, v: np.ndarray) -> np.ndarray:
    x = _reference_scores(params, q, k)
    largest = x.max(-1)
    found = largest + np.log(np.exp(x - largest[..., None]).sum(-1))
    return found.astype(np.float64 if q.dtype == np.float64 else np.float32)


def _reference(params: tuple, q: np.ndarray, k: np.ndarray, v: np.ndarray) -> np.ndarray:
    x = _reference_scores(params, q, k)
    weights = np.exp(x - x.max(-1, keepdims=True))
    weights = (weights / weights.sum(-1, keepdims=True)).astype(q.dtype).astype(np.float64)
    v = np.repeat(v, q.shape[2] // v.shape[2], axis=2)
    return np.einsum("bhst,bthe->bshe", weights, v.astype(np.float64)).astype(q.dtype)


def _gradient_reference(params: tuple, *arrays: np.ndarray) -> np.ndarray:
    scale, _, which = params
    q, k, v, out, sums, g = (x.astype(np.float64) for x in arrays)
    count = q.shape[2] // k.shape[2]
    weights = np.exp(_reference_scores(params, q, k) - sums[..., None])
    change = np.einsum("bshe,bthe->bhst", g, np.repeat(v, count, axis=2))
    change = weights * (change - np.einsum("bshe,bshe->bhs", g, out)[..., None]) * scale
    # as exact as the other operand of the product
    change, weights = (x.astype(arrays[0].dtype).astype(np.float64) for x in (change, weights))
    if which == 0:
        found = np.einsum("bhst,bthd->bshd", change, np.repeat(k, count, axis=2))
    elif which == 1:
        found = np.einsum("bhst,bshd->bthd", change, q)
    else:
        found = np.einsum("bhst,bshe->bthe", weights, g)
    if which:
        batch, sources, heads, size = found.shape
        found = found.reshape(batch, sources, heads // count, count, size).sum(3)
    return found.astype(arrays[0].dtype)


# Values ``v`` [batch, sources, heads, value size] averaged for each position of ``q`` [batch, targets, heads, size],
# with weights that the softmax of its products with ``k`` [batch, sources, heads, size] gives. Parameters: what the
# products are multiplied by, and whether target i looks at sources up to i only.
attention = Primitive(
    "attention", "attention", _infer, vjp=_gradients, jvp=_jvp, batch=_batch("attention"), reference=_reference,
    cost=100,
)

# Of each row of scores the logarithm of the sum of their exponentials, [batch, heads, targets].
attention_sums = Primitive(
    "attention_sums", "attention", _sums_infer, vjp=_sums_gradients,
    jvp=lambda tangents, n: _tangent(sums_of, n.node, tangents), batch=_batch("attention_sums"),
    reference=_sums_reference, cost=100,
)


def _expand(node: Node) -> None:
    with recording_gradients(True):
        found = gradient_of(node)
    node.op, node.src, node.params = found.op, found.src, found.params


# The gradient of ``attention`` with respect to its operand of the last parameter's number, from the operands, the
# result, the sums, and the result's cotangent. Its own gradient is that of what it is made of.
attention_gradient = Primitive(
    "attention_gradient", "attention", _gradient_infer, vjp=(None,) * 6, expand=_expand,
    jvp=lambda tangents, n: _tangent(gradient_of, n.node, tangents), batch=_batch("attention_gradient"),
    reference=_gradient_reference, cost=100,
)

FORMULAS = {attention: result_of, attention_sums: sums_of, attention_gradient: gradient_of}
