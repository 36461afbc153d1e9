"""Distances between rows, and slices kept to a length: ``cdist``, ``pdist``, ``renorm``.

The differences of all pairs are never in memory: they are computed by the kernel that sums their powers.

In: rows of numbers. Out: distances, with PyTorch's gradients. Read next: ``statistics.py``.
"""

from __future__ import annotations

import math

import numpy as np

from . import formulas as f
from .arguments import scalar_type, tensor_argument
from .compiler import dtypes, primitives as p
from .compiler.dtypes import COMPLEX, FLOATING
from .compiler.ir import Node
from .compiler.primitives import Undefined
from .formulas import constant
from .gathering import index_select
from .mutation import assign, write_out
from .pointwise import abs as magnitude
from .recording import broadcast_shapes, input_node, node_of, tensor_of
from .storage import attached
from .tensor import Tensor, axis_of, method

COMPUTE_MODES = ("use_mm_for_euclid_dist_if_necessary", "use_mm_for_euclid_dist", "donot_use_mm_for_euclid_dist")


def _distance(difference: Node, order: float) -> Node:
    axis = difference.ndim - 1
    if difference.type.shape[axis] == 0:
        return f.filled(difference.type.shape[:-1], difference.type.dtype, difference.type.device, 0)
    length = f.vector_norm(difference, (axis,), order)
    if order == math.inf and difference.requires_grad:
        # equal largest differences have the whole gradient each
        size = p.abs(difference)
        largest = p.eq(size, f.along(f.cut(length), (axis,), size))
        return attached(length, f.total(p.where(largest, size, constant(size, 0)), (axis,)))
    if order != 0:
        return length
    # that norm counts NaN like any other number, but the distance is NaN
    unknown = p.where(p.eq(difference, difference), f.constant(difference, 0), f.cut(difference))
    return p.add(length, f.total(unknown, (axis,)))


def _wide(dtype: dtypes.DType, function: str) -> None:
    if dtype.compute is not dtype:
        raise Undefined(f"\"{function}\" not implemented for '{scalar_type(dtype)}'")


def cdist(x1: Tensor, x2: Tensor, p: float = 2.0, compute_mode: str = COMPUTE_MODES[0]) -> Tensor:
    """The distance of every row of ``x1`` from every row of ``x2``.

    Of ``[batch, P, M]`` and ``[batch, R, M]``, whose batches broadcast: ``[batch, P, R]``.

    Args:
        p: which norm of the difference, from 0 (how many elements differ) to infinity (the largest).
        compute_mode: how PyTorch may compute Euclidean distances; here they come from the differences in each mode,
            which is the exact way.

    Raises:
        RuntimeError: a negative ``p``, or shapes that do not fit.
        ValueError: another mode.

    As ``torch.cdist``.

    Example:
        >>> import flamework as torch
        >>> torch.cdist(torch.tensor([[0.0, 0.0]]), torch.tensor([[3.0, 4.0], [1.0, 0.0]])).tolist()
        [[5.0, 1.0]]
    """
    if compute_mode not in COMPUTE_MODES:
        raise ValueError(f"{compute_mode} is not a valid value for compute_mode")
    a, b = tensor_argument(x1, "cdist", "x1", 1), tensor_argument(x2, "cdist", "x2", 2)
    for name, x in (("X1", a), ("X2", b)):
        if x.ndim < 2:
            raise RuntimeError(f"cdist only supports at least 2D tensors, {name} got: {x.ndim}D")
    if a.type.shape[-1] != b.type.shape[-1]:
        raise RuntimeError(
            f"X1 and X2 must have the same number of columns. X1: {a.type.shape[-1]} X2: {b.type.shape[-1]}"
        )
    for name, x in (("X1", a), ("X2", b)):
        if x.type.dtype.kind != FLOATING:
            raise RuntimeError(f"cdist only supports floating-point dtypes, {name} got: {scalar_type(x.type.dtype)}")
    if not p >= 0:
        raise RuntimeError("cdist only supports non-negative p values")
    if a.type.dtype is not b.type.dtype:
        raise RuntimeError(
            f"expected scalar type {scalar_type(a.type.dtype)} but found {scalar_type(b.type.dtype)}"
        )
    _wide(a.type.dtype, "cdist")
    batch = broadcast_shapes(a.type.shape[:-2], b.type.shape[:-2])
    rows, others, columns = a.type.shape[-2], b.type.shape[-2], a.type.shape[-1]
    whole = (*batch, rows, others, columns)
    difference = _minus(
        f.broadcast_to(f.reshaped(a, (*a.type.shape[:-1], 1, columns)), whole),
        f.broadcast_to(f.reshaped(b, (*b.type.shape[:-2], 1, others, columns)), whole),
    )
    return tensor_of(_distance(difference, p))


def _minus(a: Node, b: Node) -> Node:
    return p.sub(a, b)


def pdist(input: Tensor, p: float = 2.0) -> Tensor:
    """The distances of all pairs of rows, in the order (0, 1), (0, 2), ...: ``[N * (N - 1) / 2]`` of ``[N, M]``.

    Raises:
        RuntimeError: a negative ``p``, or no matrix of floating point numbers.

    As ``torch.pdist``.

    Example:
        >>> import flamework as torch
        >>> torch.pdist(torch.tensor([[0.0], [1.0], [3.0]])).tolist()
        [1.0, 3.0, 2.0]
    """
    x = tensor_argument(input, "pdist", "input", 1)
    if x.ndim != 2:
        raise RuntimeError(f"pdist only supports 2D tensors, got: {x.ndim}D")
    if x.type.dtype.kind != FLOATING:
        raise RuntimeError("pdist only supports floating-point dtypes")
    if not p >= 0:
        raise RuntimeError("pdist only supports non-negative p values")
    _wide(x.type.dtype, "pdist")
    pairs = np.triu_indices(x.type.shape[0], 1)
    first, second = (tensor_of(input_node(places.astype(np.int64), x.type.device)) for places in pairs)
    difference = _minus(node_of(index_select(input, 0, first)), node_of(index_select(input, 0, second)))
    return tensor_of(_distance(difference, p))


@method
def renorm(input: Tensor, p: float, dim: int, maxnorm: float, *, out: Tensor | None = None) -> Tensor:
    """``input`` with every slice at one position of ``dim`` scaled down to a norm of ``maxnorm``, if it is longer.

    Raises:
        RuntimeError: ``p`` not above 0, a negative ``maxnorm``, integers, or fewer than two axes.

    As ``torch.renorm``.

    Example:
        >>> import flamework as torch
        >>> torch.renorm(torch.tensor([[0.5, 0.0], [3.0, 4.0]]), 2, 0, 1.0)
        tensor([[0.5000, 0.0000],
                [0.6000, 0.8000]])
    """
    x = _renormed(tensor_argument(input, "renorm", "input", 1), p, dim, maxnorm)
    return tensor_of(x) if out is None else write_out(out, x)


@method
def renorm_(self: Tensor, p: float, dim: int, maxnorm: float) -> Tensor:
    """:func:`renorm`, in place. As ``Tensor.renorm_``."""
    return assign(self, _renormed(node_of(self), p, dim, maxnorm))


def _renormed(x: Node, order: float, dim: int, maxnorm: float) -> Node:
    if isinstance(order, complex) or isinstance(maxnorm, complex):
        raise RuntimeError("renorm: p and maxnorm must be real-valued")
    if not order > 0:
        raise RuntimeError("renorm: non-positive-norm not supported")
    if not maxnorm >= 0:
        raise RuntimeError(f"renorm: expected maxnorm to be >= 0 but got {maxnorm:g}")
    if x.ndim < 2:
        raise RuntimeError(f"renorm: input needs at least 2 dimensions, got {x.ndim} dimensions")
    axis = axis_of(dim, x.ndim)
    dtype = x.type.dtype
    if dtype.kind < FLOATING:
        raise RuntimeError(
            "linalg.vector_norm: Expected a floating point or complex tensor as input. Got "
            f"{scalar_type(dtype)}"
        )
    axes = tuple(a for a in range(x.ndim) if a != axis)
    part = dtype.part if dtype.kind == COMPLEX else dtype
    size = f.converted(node_of(magnitude(tensor_of(x))) if dtype.kind == COMPLEX else x, part.compute)
    norm = f.vector_norm(size, axes, order)
    limit = f.argument(norm, maxnorm)
    shorter = p.div(limit, p.add(norm, f.constant(norm, 1e-7)))
    factor = p.where(p.lt(limit, norm), shorter, f.constant(norm, 1))
    return p.mul(x, f.along(f.converted(f.converted(factor, part), dtype), axes, x))
