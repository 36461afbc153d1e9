"""Attention: values averaged with weights that queries and keys decide.

Scores, mask, softmax and dropout are one row-wise formula between two matrix products. Read next: ``functional.py``.
"""

from __future__ import annotations

import math

from .. import formulas as f
from ..arguments import floating_only, scalar_type, tensor_argument
from ..compiler import primitives as p, primitives_shape as s
from ..compiler.dtypes import BOOL
from ..compiler.ir import Node
from ..compiler.narrow import is_narrow
from ..compiler.primitives_attention import attention
from ..formulas import argument, constant
from ..memory_order import arranged_like
from ..recording import broadcast_shapes, node_of, tensor_of
from ..tensor import Tensor, strides_of
from .functional_dropout import dropped


def scaled_dot_product_attention(
    query: Tensor, key: Tensor, value: Tensor, attn_mask: Tensor | None = None, dropout_p: float = 0.0,
    is_causal: bool = False, scale: float | None = None, enable_gqa: bool = False,
) -> Tensor:
    """``softmax(query @ key.T * scale + mask) @ value``.

    Args:
        query: ``[*, targets, size]``.
        key: ``[*, sources, size]``.
        value: ``[*, sources, value size]``.
        attn_mask: broadcasts to ``[*, targets, sources]``; bool, True where a source may be looked at, or added to the
            scores. A target that may look at nothing gives zeros.
        dropout_p: probability of setting a weight to 0.
        is_causal: target i looks at sources up to i.
        scale: by default ``1 / sqrt(size)``.
        enable_gqa: let each head of key and value (axis -3) serve several heads of the query.

    As ``torch.nn.functional.scaled_dot_product_attention``. Vaswani and others, "Attention is all you need" (2017).

    Raises:
        RuntimeError: shapes that do not fit, or both a mask and ``is_causal``.

    Example:
        >>> import flamework as torch
        >>> x = torch.ones(1, 2, 4)
        >>> torch.nn.functional.scaled_dot_product_attention(x, x, x).shape
        torch.Size([1, 2, 4])
    """
    q = floating_only(tensor_argument(query, "scaled_dot_product_attention", "query", 1), "attention")
    k = tensor_argument(key, "scaled_dot_product_attention", "key", 2)
    v = tensor_argument(value, "scaled_dot_product_attention", "value", 3)
    _check(q, k, v, attn_mask, is_causal)
    factor = 1 / math.sqrt(max(q.type.shape[-1], 1)) if scale is None else scale
    if attn_mask is None and not dropout_p:
        whole = _whole(q, k, v, factor, bool(is_causal), enable_gqa)
        if whole is not None:
            return _ordered(tensor_of(whole), query)
    if enable_gqa:
        k, v = (_repeated_heads(n, q) for n in (k, v))
    # scaled between the products, where it is part of the softmax's kernel
    scores = f.matmul(q, s.swapped(k))
    scores = p.mul(scores, argument(scores, factor))
    if is_causal:
        ahead = p.lt(f.iota(scores, scores.ndim - 2), f.iota(scores, scores.ndim - 1))
        scores = p.where(ahead, constant(scores, -math.inf), scores)
    axis = scores.ndim - 1
    if attn_mask is not None:
        scores = _masked(scores, node_of(attn_mask))
        weights = f.masked_softmax(scores, axis)
    else:
        weights = f.softmax(scores, axis)
    if dropout_p:
        if not 0 <= dropout_p <= 1:
            raise ValueError(f"dropout probability has to be between 0 and 1, but got {dropout_p}")
        weights = dropped(weights, dropout_p)
    result = tensor_of(f.matmul(weights, v))
    return result if dropout_p else _ordered(result, query)


def _ordered(result: Tensor, query: Tensor) -> Tensor:
    """The result, whose heads lie in memory as those of the query, as in PyTorch: where a projection's are read as
    ``[batch, heads, targets, size]``, the next one reads the result without a copy."""
    if result.ndim != 4 or result.shape != query.shape or strides_of(query)[0][-1] != 1:
        return result
    return arranged_like(result, (query,))


def _whole(q: Node, k: Node, v: Node, scale: float, is_causal: bool, shares_heads: bool) -> Node | None:
    """Attention of 16-bit floats on a GPU, where libraries compute it whole; None of anything else."""
    operands = (q, k, v)
    if q.type.device == "cpu" or not is_narrow(q.type.dtype) or any(x.ndim != 4 or not x.type.size for x in operands):
        return None
    heads, of_keys = q.type.shape[1], k.type.shape[1]
    fits = heads % of_keys == 0 if shares_heads else heads == of_keys
    if not fits or q.type.shape[0] != k.type.shape[0] or k.type.shape[:2] != v.type.shape[:2]:
        return None
    if type(scale) not in (int, float):
        # a number of a function that is being recorded for replay: it is read anew at every call
        return None
    by_position = [s.permuted(x, (0, 2, 1, 3)) for x in operands]
    return s.permuted(attention(*by_position, params=(float(scale), is_causal)), (0, 2, 1, 3))


def _check(q: Node, k: Node, v: Node, mask: Tensor | None, is_causal: bool) -> None:
    if min(n.ndim for n in (q, k, v)) < 2:
        raise RuntimeError(
            "Expected query, key, and value to all be  at least 2 dimensional, but got query of "
            f"{q.ndim}, key of {k.ndim} and value of {v.ndim} axes"
        )
    if q.type.dtype is not k.type.dtype or q.type.dtype is not v.type.dtype:
        raise RuntimeError(
            "Expected query, key, and value to have the same dtype, but got query.dtype: "
            f"{q.type.dtype.name} key.dtype: {k.type.dtype.name} and value.dtype: {v.type.dtype.name} instead."
        )
    if mask is not None and is_causal:
        raise RuntimeError("_scaled_dot_product_attention: Explicit attn_mask should not be set when is_causal=True")
    if q.type.shape[-1] != k.type.shape[-1] or k.type.shape[-2] != v.type.shape[-2]:
        raise RuntimeError(
            f"query {list(q.type.shape)}, key {list(k.type.shape)} and value {list(v.type.shape)} do not fit: query "
            "and key have the same last size, key and value the same number of sources"
        )


def _repeated_heads(x: Node, q: Node) -> Node:
    heads, wanted = x.type.shape[-3], q.type.shape[-3]
    if wanted % heads:
        raise RuntimeError(
            f"Number of heads in key and value must divide the number of heads in query, not {heads} {wanted}"
        )
    shape = x.type.shape
    lead, tail = shape[:-3], shape[-2:]
    grown = f.reshaped(x, (*lead, heads, 1, *tail))
    return f.reshaped(f.expanded(grown, (*lead, heads, wanted // heads, *tail)), (*lead, wanted, *tail))


def _masked(scores: Node, mask: Node) -> Node:
    shape = broadcast_shapes(scores.type.shape, mask.type.shape)
    if shape != scores.type.shape:
        raise RuntimeError(f"attn_mask {list(mask.type.shape)} does not broadcast to {list(scores.type.shape)}")
    if mask.type.dtype.kind == BOOL:
        return p.where(f.broadcast_to(mask, shape), scores, constant(scores, -math.inf))
    if mask.type.dtype is not scores.type.dtype:
        raise RuntimeError(
            "Expected attn_mask dtype to be bool or to match query dtype, but got attn_mask.dtype: "
            f"{scalar_type(mask.type.dtype)} and query.dtype: {scalar_type(scores.type.dtype)}"
        )
    return p.add(scores, f.broadcast_to(mask, shape))


__all__ = ["scaled_dot_product_attention"]
