"""Running sums and their like, and the softmax family: functions along one axis that keep its length.

Read next: ``products.py``.
"""

from __future__ import annotations

import math

import numpy as np

from . import formulas as f, return_types
from .arguments import floating_only, numpy_names, returned, summand, tensor_argument, with_dtype
from .compiler import dtypes, primitives as p, primitives_shape as s
from .compiler.dtypes import BOOL, COMPLEX, FLOATING, DType
from .compiler.ir import Node
from .compiler.narrow import rounded_once
from .formulas_complex import log_add_exp
from .mutation import write_out
from .recording import node_of, tensor_of
from .tensor import Tensor, axis_of


def _no_bools(name: str, x: Node) -> Node:
    if x.type.dtype.kind == BOOL:
        raise p.Undefined(f"\"{name}_out_cpu\" not implemented for 'Bool'")
    return x


@numpy_names
def cumsum(input: Tensor, dim: int, *, dtype: DType | None = None, out: Tensor | None = None) -> Tensor:
    """The running sum along ``dim``; of integers and bools in int64, unless ``dtype`` is given. As ``torch.cumsum``.

    Example:
        >>> import flamework as torch
        >>> torch.cumsum(torch.tensor([1, 2, 3]), 0).tolist()
        [1, 3, 6]
    """
    source = node_of(input)
    x = _no_bools("cumsum", summand(source, dtype, out))
    axis = axis_of(dim, x.ndim)
    return returned(s.cumsum(x, params=(axis,)) if x.ndim else x, out, source)


@numpy_names
def cumprod(input: Tensor, dim: int, *, dtype: DType | None = None, out: Tensor | None = None) -> Tensor:
    """The running product along ``dim``; of integers and bools in int64, unless ``dtype`` is given.

    As ``torch.cumprod``.

    Example:
        >>> import flamework as torch
        >>> torch.cumprod(torch.tensor([1, 2, 3]), 0).tolist()
        [1, 2, 6]
    """
    source = node_of(input)
    x = _no_bools("cumprod", summand(source, dtype, out))
    axis = axis_of(dim, x.ndim)
    return returned(f.cumulative_product(x, axis) if x.ndim else x, out, source)


@numpy_names
def cummax(
    input: Tensor, dim: int, *, out: tuple[Tensor, Tensor] | None = None
) -> return_types.cummax:
    """The running maximum along ``dim`` and its last position so far; a NaN stays. As ``torch.cummax``.

    Example:
        >>> import flamework as torch
        >>> torch.cummax(torch.tensor([1, 3, 2]), 0).values.tolist()
        [1, 3, 3]
    """
    return return_types.cummax(*_running_extremum(input, dim, out, lambda earlier, later: p.le(earlier, later), -1))


@numpy_names
def cummin(
    input: Tensor, dim: int, *, out: tuple[Tensor, Tensor] | None = None
) -> return_types.cummin:
    """The running minimum along ``dim`` and its last position so far; a NaN stays. As ``torch.cummin``.

    Example:
        >>> import flamework as torch
        >>> torch.cummin(torch.tensor([3, 1, 2]), 0).values.tolist()
        [3, 1, 1]
    """
    return return_types.cummin(*_running_extremum(input, dim, out, lambda earlier, later: p.le(later, earlier), 1))


def _running_extremum(input, dim, out, wins, direction):
    x = node_of(input)
    axis = axis_of(dim, x.ndim)
    if x.ndim == 0:
        values, index = s.copy(x), f.filled((), dtypes.int64, x.type.device, 0)
    else:
        index = _extremum_positions(f.cut(x), axis, wins, direction)
        values = s.gather(x, index, params=(axis,))
    if out is not None:
        return write_out(out[0], values), write_out(out[1], index)
    return tensor_of(values), tensor_of(index)


def _extremum_positions(x: Node, axis: int, wins, direction: int) -> Node:
    def later_one(earlier: tuple[Node, ...], later: tuple[Node, ...]) -> tuple[Node, ...]:
        take = wins(earlier[0], later[0])
        if x.type.dtype.kind == FLOATING:
            take = p.bor(take, f.is_nan(later[0]))
        # what is before the start has no position, so that not even an equal value there is chosen
        take = p.bor(take, p.lt(earlier[1], f.constant(earlier[1], 0)))
        return p.where(take, later[0], earlier[0]), p.where(take, later[1], earlier[1])

    return f.doubling_scan((x, f.iota(x, axis)), axis, later_one, (_worst(x.type.dtype, direction), -1))[1]


def _worst(dtype: DType, direction: int) -> float:
    if dtype.kind == FLOATING:
        return direction * math.inf
    if dtype.kind == BOOL:
        return direction > 0
    limits = np.iinfo(dtype.numpy)
    return limits.max if direction > 0 else limits.min


@numpy_names
def logcumsumexp(input: Tensor, dim: int, *, out: Tensor | None = None) -> Tensor:
    """``log(cumsum(exp(x)))`` along ``dim`` without overflow; floating point only. As ``torch.logcumsumexp``.

    Example:
        >>> import flamework as torch
        >>> torch.logcumsumexp(torch.tensor([1000.0, float("-inf")]), 0).tolist()
        [1000.0, 1000.0]
    """
    x = node_of(input)
    axis = axis_of(dim, x.ndim)
    if x.type.dtype.kind != COMPLEX:
        floating_only(x, "logcumsumexp")
    if x.ndim == 0:
        return returned(x, out, x)
    if x.type.dtype.kind == COMPLEX:
        return returned(f.doubling_scan((x,), axis, lambda a, b: (log_add_exp(a[0], b[0]),), (-math.inf,))[0], out, x)
    return returned(_log_cumulated(x, axis), out, x)


@rounded_once
def _log_cumulated(x: Node, axis: int) -> Node:
    return f.doubling_scan((x,), axis, lambda a, b: (f.log_add_exp(a[0], b[0]),), (-math.inf,))[0]


@numpy_names
def diff(
    input: Tensor, n: int = 1, dim: int = -1, prepend: Tensor | None = None, append: Tensor | None = None, *,
    out: Tensor | None = None,
) -> Tensor:
    """The ``n``-th differences of neighbours along ``dim``; of bools, whether they differ. As ``torch.diff``.

    Args:
        prepend: tensor to put in front of ``input`` along ``dim`` first.
        append: tensor to put behind it.

    Example:
        >>> import flamework as torch
        >>> torch.diff(torch.tensor([1, 4, 9])).tolist()
        [3, 5]
    """
    x = tensor_argument(input, "diff", "input", 1)
    if x.ndim == 0:
        raise RuntimeError("diff expects input to be at least one-dimensional")
    if n < 0:
        raise RuntimeError(f"order must be non-negative but got {n}")
    axis = axis_of(dim, x.ndim)
    parts = [node_of(t) for t in (prepend, input, append) if t is not None]
    rest = x.type.shape[:axis], x.type.shape[axis + 1 :]
    for part in parts:
        if (part.type.shape[:axis], part.type.shape[axis + 1 :]) != rest:
            raise RuntimeError(
                "diff expects the shape of tensor to prepend or append to match that of input except along the "
                f"differencing dimension; input is of size {list(x.type.shape)}, but got one of {list(part.type.shape)}"
            )
    if n and len(parts) > 1:
        x = s.cat(*parts, params=(axis,))
    row = p.bxor if x.type.dtype.kind == BOOL else p.sub
    source = x
    for _ in range(min(n, x.type.shape[axis])):
        extent = x.type.shape[axis]
        x = row(f.axis_slice(x, axis, 1, extent - 1), f.axis_slice(x, axis, 0, extent - 1))
    return returned(x, out, source)


# ------------------------------------------------------------------------------------------------------------- softmax


@numpy_names
def softmax(input: Tensor, dim: int, dtype: DType | None = None, *, out: Tensor | None = None) -> Tensor:
    """``exp(x) / sum(exp(x))`` along ``dim``, without overflow; floating point only, unless ``dtype`` is given.

    As ``torch.softmax``.

    Example:
        >>> import flamework as torch
        >>> torch.softmax(torch.tensor([0.0, 0.0]), 0).tolist()
        [0.5, 0.5]
    """
    source = node_of(input)
    return returned(_along_axis(f.softmax, with_dtype(source, dtype), dim), out, source)


@numpy_names
def log_softmax(input: Tensor, dim: int, dtype: DType | None = None, *, out: Tensor | None = None) -> Tensor:
    """The logarithm of :func:`softmax`, accurate where that is near 0. As ``torch.log_softmax``.

    Example:
        >>> import flamework as torch
        >>> torch.log_softmax(torch.tensor([0.0, -1000.0]), 0).tolist()
        [0.0, -1000.0]
    """
    source = node_of(input)
    return returned(_along_axis(f.log_softmax, with_dtype(source, dtype), dim), out, source)


def _along_axis(formula, x: Node, dim: int) -> Node:
    axis = axis_of(dim, x.ndim)
    if x.type.size == 0:
        return x
    floating_only(x, formula.__name__)
    if x.ndim == 0:
        return f.reshaped(formula(f.reshaped(x, (1,)), 0), ())
    return formula(x, axis)
