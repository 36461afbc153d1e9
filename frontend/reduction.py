"""Reductions: functions that fold axes of a tensor into one value.

``dim`` is an axis, several, or None for all; negative numbers count from the end; ``keepdim`` leaves axes of size 1.
Integers are summed in int64. Means and variances of float32 stay in float32. Read next: ``scans.py`` for running
sums and the softmax family, ``sorting.py`` for medians and quantiles.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from . import formulas as f, return_types
from .arguments import (
    canonical_axes,
    exactly_returned,
    is_set,
    kept,
    numpy_names,
    real_only,
    returned,
    scalar_type,
    summand,
    with_dtype,
)
from .arithmetic import maximum, minimum
from .comparison import truth
from .compiler import dtypes, primitives as p, primitives_shape as s
from .compiler.dtypes import BOOL, COMPLEX, FLOATING, DType
from .compiler.ir import Node
from .formulas import constant
from .formulas_complex import absolute, log_sum_exp as complex_log_sum_exp
from .mutation import write_out
from .operators import OPERATORS
from .origin import warn
from .recording import get_default_dtype, node_of, tensor_of
from .tensor import Tensor, axis_of

Dim = int | Sequence[int] | None


@numpy_names
def sum(
    input: Tensor, dim: Dim = None, keepdim: bool = False, *, dtype: DType | None = None, out: Tensor | None = None
) -> Tensor:
    """The sum over some or all axes. Integers and bools are summed in int64 unless ``dtype`` says otherwise.

    As ``torch.sum``.

    Example:
        >>> import flamework as torch
        >>> torch.sum(torch.tensor([[1, 2], [3, 4]]), dim=1).tolist()
        [3, 7]
    """
    source = node_of(input)
    x = summand(source, dtype, out)
    axes = canonical_axes(dim, x.ndim)
    return returned(kept(f.total(x, axes), axes, x, keepdim), out, source)


@numpy_names
def nansum(
    input: Tensor, dim: Dim = None, keepdim: bool = False, *, dtype: DType | None = None, out: Tensor | None = None
) -> Tensor:
    """The sum in which NaN counts as 0. As ``torch.nansum``.

    Example:
        >>> import flamework as torch
        >>> torch.nansum(torch.tensor([1.0, float("nan")])).item()
        1.0
    """
    source = node_of(input)
    axes = canonical_axes(dim, source.ndim)
    real_only(source, "nansum")
    x = summand(source, dtype, out)
    if x.type.dtype.kind == FLOATING:
        x = p.where(f.is_nan(x), constant(x, 0), x)
    return returned(kept(f.total(x, axes), axes, x, keepdim), out, source)


@numpy_names
def mean(
    input: Tensor, dim: Dim = None, keepdim: bool = False, *, dtype: DType | None = None, out: Tensor | None = None
) -> Tensor:
    """The arithmetic mean over some or all axes; floating point only, unless ``dtype`` is given. As ``torch.mean``.

    Raises:
        RuntimeError: an integer or bool tensor without ``dtype``.

    Example:
        >>> import flamework as torch
        >>> torch.mean(torch.tensor([[1.0, 2.0], [3.0, 4.0]]), dim=0).tolist()
        [2.0, 3.0]
    """
    x = with_dtype(node_of(input), dtype)
    if x.type.dtype.kind < FLOATING:
        which = "Input" if dtype is None else "Optional"
        raise RuntimeError(
            f"mean(): could not infer output dtype. {which} dtype must be either a floating point or complex dtype. "
            f"Got: {scalar_type(x.type.dtype)}"
        )
    axes = canonical_axes(dim, x.ndim)
    return returned(kept(f.mean(x, axes), axes, x, keepdim), out)


@numpy_names
def nanmean(
    input: Tensor, dim: Dim = None, keepdim: bool = False, *, dtype: DType | None = None, out: Tensor | None = None
) -> Tensor:
    """The mean of the elements that are not NaN. As ``torch.nanmean``.

    Example:
        >>> import flamework as torch
        >>> torch.nanmean(torch.tensor([1.0, float("nan"), 3.0])).item()
        2.0
    """
    x = with_dtype(node_of(input), dtype)
    if x.type.dtype.kind == COMPLEX:
        canonical_axes(dim, x.ndim)
        real_only(x, "nanmean")
    if x.type.dtype.kind != FLOATING:
        raise RuntimeError(
            f"nanmean(): expected input to have floating point or complex dtype but got {scalar_type(x.type.dtype)}"
        )
    axes = canonical_axes(dim, x.ndim)
    missing = f.is_nan(x)
    summed = f.total(p.where(missing, constant(x, 0), x), axes)
    count = f.total(f.converted(p.bnot(missing), x.type.dtype), axes)
    return returned(kept(p.div(summed, count), axes, x, keepdim), out)


@numpy_names
def prod(
    input: Tensor, dim: int | None = None, keepdim: bool = False, *, dtype: DType | None = None,
    out: Tensor | None = None,
) -> Tensor:
    """The product over one or all axes; of integers and bools in int64, unless ``dtype`` is given. As ``torch.prod``.

    Example:
        >>> import flamework as torch
        >>> torch.prod(torch.tensor([[1, 2], [3, 4]])).item()
        24
    """
    source = node_of(input)
    x = summand(source, dtype, out)
    axes = canonical_axes(dim, x.ndim)
    if x.type.dtype.kind == BOOL:
        product = f.all_true(x, axes)
    else:
        product = s.reduce_prod(x, params=axes) if axes else x
    return returned(kept(product, axes, x, keepdim), out, source)


# ------------------------------------------------------------------------------------------------------------ variance


def _variance_arguments(
    name: str, input: Tensor, dim: Dim | bool, unbiased: bool | None, keepdim: bool, correction: float | None
) -> tuple[Node, tuple[int, ...], float]:
    if isinstance(dim, bool):
        dim, unbiased = None, dim
    if unbiased is not None and correction is not None:
        raise TypeError(f"{name}() received both unbiased and correction: they say the same, give one")
    if correction is None:
        correction = 1 if unbiased is None or is_set(unbiased) else 0
    x = node_of(input)
    if x.type.dtype.kind < FLOATING:
        raise RuntimeError("std and var only support floating point and complex dtypes")
    axes = canonical_axes(dim, x.ndim)
    if f.count_of(x, axes) - correction <= 0:
        warn(
            f"{name}(): degrees of freedom is <= 0. Correction should be strictly less than the reduction factor "
            "(input numel divided by output numel).",
        )
    return x, axes, correction


@numpy_names
def var(
    input: Tensor, dim: Dim | bool = None, unbiased: bool | None = None, keepdim: bool = False, *,
    correction: float | None = None, out: Tensor | None = None,
) -> Tensor:
    """The variance over some or all axes: squared differences from the mean, divided by ``count - correction``.

    Args:
        correction: 1 when left out.
        unbiased: the older spelling: True means a correction of 1, False of 0.

    As ``torch.var``.

    Example:
        >>> import flamework as torch
        >>> torch.var(torch.tensor([1.0, 2.0, 3.0])).item()
        1.0
    """
    x, axes, correction = _variance_arguments("var", input, dim, unbiased, keepdim, correction)
    return returned(kept(f.moments(x, axes, correction)[2], axes, x, keepdim), out)


@numpy_names
def std(
    input: Tensor, dim: Dim | bool = None, unbiased: bool | None = None, keepdim: bool = False, *,
    correction: float | None = None, out: Tensor | None = None,
) -> Tensor:
    """The standard deviation, the square root of :func:`var`. As ``torch.std``.

    Example:
        >>> import flamework as torch
        >>> torch.std(torch.tensor([1.0, 2.0, 3.0])).item()
        1.0
    """
    x, axes, correction = _variance_arguments("std", input, dim, unbiased, keepdim, correction)
    return returned(kept(f.deviation(x, axes, correction), axes, x, keepdim), out)


@numpy_names
def var_mean(
    input: Tensor, dim: Dim | bool = None, unbiased: bool | None = None, keepdim: bool = False, *,
    correction: float | None = None,
) -> tuple[Tensor, Tensor]:
    """Variance and mean together. As ``torch.var_mean``.

    Example:
        >>> import flamework as torch
        >>> [t.item() for t in torch.var_mean(torch.tensor([1.0, 2.0, 3.0]))]
        [1.0, 2.0]
    """
    x, axes, correction = _variance_arguments("var_mean", input, dim, unbiased, keepdim, correction)
    average, _, variance = f.moments(x, axes, correction)
    return tensor_of(kept(variance, axes, x, keepdim)), tensor_of(kept(average, axes, x, keepdim))


@numpy_names
def std_mean(
    input: Tensor, dim: Dim | bool = None, unbiased: bool | None = None, keepdim: bool = False, *,
    correction: float | None = None,
) -> tuple[Tensor, Tensor]:
    """Standard deviation and mean together. As ``torch.std_mean``.

    Example:
        >>> import flamework as torch
        >>> [t.item() for t in torch.std_mean(torch.tensor([1.0, 2.0, 3.0]))]
        [1.0, 2.0]
    """
    x, axes, correction = _variance_arguments("std_mean", input, dim, unbiased, keepdim, correction)
    average, deviation = f.mean(x, axes), f.deviation(x, axes, correction)
    return tensor_of(kept(deviation, axes, x, keepdim)), tensor_of(kept(average, axes, x, keepdim))


# ------------------------------------------------------------------------------------------------------------- extrema


def _check_not_empty(name: str, x: Node, axes: tuple[int, ...]) -> None:
    for axis in axes:
        if x.type.shape[axis] == 0:
            raise IndexError(f"{name}(): Expected reduction dim {axis} to have non-zero size.")


@numpy_names
def amax(input: Tensor, dim: Dim = (), keepdim: bool = False, *, out: Tensor | None = None) -> Tensor:
    """The maximum over some or all axes; NaN if there is one. Equal maxima share the gradient. As ``torch.amax``.

    Raises:
        IndexError: an axis of size 0.

    Example:
        >>> import flamework as torch
        >>> torch.amax(torch.tensor([[1, 5], [3, 2]]), dim=1).tolist()
        [5, 3]
    """
    return _reduced_extremum("amax", s.reduce_max, input, dim, keepdim, out)


@numpy_names
def amin(input: Tensor, dim: Dim = (), keepdim: bool = False, *, out: Tensor | None = None) -> Tensor:
    """The minimum over some or all axes; NaN if there is one. Equal minima share the gradient. As ``torch.amin``.

    Raises:
        IndexError: an axis of size 0.

    Example:
        >>> import flamework as torch
        >>> torch.amin(torch.tensor([[1, 5], [3, 2]]), dim=1).tolist()
        [1, 2]
    """
    return _reduced_extremum("amin", s.reduce_min, input, dim, keepdim, out)


def _reduced_extremum(
    name: str, row: p.Primitive, input: Tensor, dim: Dim, keepdim: bool, out: Tensor | None
) -> Tensor:
    x = node_of(input)
    axes = canonical_axes(dim, x.ndim)
    if dim == () and x.type.size == 0:
        raise RuntimeError(f"{name}(): Expected reduction dim to be specified for input.numel() == 0.")
    _check_not_empty(name, x, axes)
    return exactly_returned(kept(row(x, params=axes) if axes else x, axes, x, keepdim), out, x)


@numpy_names
def aminmax(
    input: Tensor, *, dim: int | None = None, keepdim: bool = False, out: tuple[Tensor, Tensor] | None = None
) -> return_types.aminmax:
    """Minimum and maximum together. As ``torch.aminmax``.

    Example:
        >>> import flamework as torch
        >>> torch.aminmax(torch.tensor([3, 1, 2])).max.item()
        3
    """
    low, high = (None, None) if out is None else out
    dim = () if dim is None else dim
    return return_types.aminmax(amin(input, dim, keepdim, out=low), amax(input, dim, keepdim, out=high))


@numpy_names
def max(
    input: Tensor, dim: int | Tensor | None = None, keepdim: bool = False, *,
    other: Tensor | None = None, out: Tensor | tuple[Tensor, Tensor] | None = None,
) -> Tensor | return_types.max:
    """The maximum: of all elements, or along ``dim`` with its position, or of two tensors element by element.

    ``max(input)`` gives a tensor without axes. ``max(input, dim)`` gives ``(values, indices)``, the first position if
    there are several; the gradient goes to that position. ``max(input, other)`` is ``maximum``. As ``torch.max``.

    Raises:
        IndexError: an axis of size 0 or out of range.
        RuntimeError: no elements and no ``dim``.

    Example:
        >>> import flamework as torch
        >>> torch.max(torch.tensor([[1, 5], [3, 2]]), 1).indices.tolist()
        [1, 0]
    """
    return _extremum("max", s.reduce_max, maximum, return_types.max, input, dim, keepdim, other, out)


@numpy_names
def min(
    input: Tensor, dim: int | Tensor | None = None, keepdim: bool = False, *,
    other: Tensor | None = None, out: Tensor | tuple[Tensor, Tensor] | None = None,
) -> Tensor | return_types.min:
    """The minimum: of all elements, or along ``dim`` with its position, or of two tensors element by element.

    As :func:`max`, with the smallest elements; as ``torch.min``.

    Example:
        >>> import flamework as torch
        >>> torch.min(torch.tensor([[1, 5], [3, 2]]), 1).indices.tolist()
        [0, 1]
    """
    return _extremum("min", s.reduce_min, minimum, return_types.min, input, dim, keepdim, other, out)


def _extremum(name, row, elementwise, named, input, dim, keepdim, other, out):
    if isinstance(dim, Tensor) or other is not None:
        if keepdim is not False:
            raise TypeError(f"{name}(): two tensors are compared element by element, without an argument 'keepdim'")
        return elementwise(input, dim if other is None else other, out=out)
    x = node_of(input)
    if dim is None:
        if x.type.size == 0:
            raise RuntimeError(
                f"{name}(): Expected reduction dim to be specified for input.numel() == 0. Specify the reduction dim "
                "with the 'dim' argument."
            )
        axes = tuple(range(x.ndim))
        return returned(row(x, params=axes) if axes else x, out, x)
    axis = axis_of(dim, x.ndim)
    values, index = _indexed_extremum(name, row, x, axis, keepdim)
    if out is None:
        return named(tensor_of(values), tensor_of(index))
    return named(write_out(out[0], values), write_out(out[1], index))


def _indexed_extremum(name: str, row: p.Primitive, x: Node, axis: int, keepdim: bool) -> tuple[Node, Node]:
    if x.ndim == 0:
        return s.copy(x), f.filled((), dtypes.int64, x.type.device, 0)
    _check_not_empty(name, x, (axis,))
    values, index = f.extremum_with_index(x, axis, row)
    return kept(values, (axis,), x, keepdim), kept(index, (axis,), x, keepdim)


@numpy_names
def argmax(input: Tensor, dim: int | None = None, keepdim: bool = False, *, out: Tensor | None = None) -> Tensor:
    """The first position of the maximum, int64: along ``dim``, or in the flattened tensor. NaN counts as the largest.

    As ``torch.argmax``.

    Raises:
        IndexError: no elements to choose from.

    Example:
        >>> import flamework as torch
        >>> torch.argmax(torch.tensor([1, 5, 3])).item()
        1
    """
    return _position("argmax", s.reduce_max, input, dim, keepdim, out)


@numpy_names
def argmin(input: Tensor, dim: int | None = None, keepdim: bool = False, *, out: Tensor | None = None) -> Tensor:
    """The first position of the minimum, int64: along ``dim``, or in the flattened tensor. NaN counts as the smallest.

    As ``torch.argmin``.

    Raises:
        IndexError: no elements to choose from.

    Example:
        >>> import flamework as torch
        >>> torch.argmin(torch.tensor([4, 1, 3])).item()
        1
    """
    return _position("argmin", s.reduce_min, input, dim, keepdim, out)


def _position(name, row, input, dim, keepdim, out):
    x = node_of(input)
    if x.type.dtype.kind in (BOOL, COMPLEX):
        raise RuntimeError(f"{name}(): does not support {'bool' if x.type.dtype.kind == BOOL else 'complex'} input")
    if dim is None:
        if x.type.size == 0:
            raise IndexError(f"{name}(): Expected reduction dim to be specified for input.numel() == 0.")
        index = f.extremum_index(f.reshaped(x, (x.type.size,)), 0, row)
        return returned(f.reshaped(index, (1,) * x.ndim) if is_set(keepdim) else index, out)
    axis = axis_of(dim, x.ndim)
    if x.ndim == 0:
        return returned(f.filled((), dtypes.int64, x.type.device, 0), out)
    _check_not_empty(name, x, (axis,))
    return returned(kept(f.extremum_index(x, axis, row), (axis,), x, keepdim), out)


# --------------------------------------------------------------------------------------------------------------- logic


@numpy_names
def any(input: Tensor, dim: Dim = None, keepdim: bool = False, *, out: Tensor | None = None) -> Tensor:
    """Whether an element is not 0, as bool (uint8 for uint8); False over nothing. As ``torch.any``.

    Example:
        >>> import flamework as torch
        >>> torch.any(torch.tensor([[0, 0], [0, 1]]), dim=1).tolist()
        [False, True]
    """
    return _quantified(f.any_true, input, dim, keepdim, out)


@numpy_names
def all(input: Tensor, dim: Dim = None, keepdim: bool = False, *, out: Tensor | None = None) -> Tensor:
    """Whether all elements are not 0, as bool (uint8 for uint8); True over nothing. As ``torch.all``.

    Example:
        >>> import flamework as torch
        >>> torch.all(torch.tensor([[1, 1], [0, 1]]), dim=1).tolist()
        [True, False]
    """
    return _quantified(f.all_true, input, dim, keepdim, out)


def _quantified(formula, input, dim, keepdim, out):
    source = node_of(input)
    x = truth(source)
    # an empty sequence of axes is none of them here, as in PyTorch
    axes = () if isinstance(dim, (tuple, list)) and not dim else canonical_axes(dim, x.ndim)
    result = kept(formula(x, axes), axes, x, keepdim)
    if source.type.dtype is dtypes.uint8:
        result = f.converted(result, dtypes.uint8)
    return returned(result, out, source)


@numpy_names
def count_nonzero(input: Tensor, dim: Dim = None) -> Tensor:
    """How many elements are not 0, int64. As ``torch.count_nonzero``.

    Example:
        >>> import flamework as torch
        >>> torch.count_nonzero(torch.tensor([0, 3, 4])).item()
        2
    """
    x = node_of(input)
    axes = canonical_axes(dim, x.ndim)
    return tensor_of(f.total(f.converted(truth(x), dtypes.int64), axes))


# --------------------------------------------------------------------------------------------------------------- norms


@numpy_names
def norm(
    input: Tensor, p: float | str | None = "fro", dim: Dim = None, keepdim: bool = False, out: Tensor | None = None,
    dtype: DType | None = None,
) -> Tensor:
    """The vector norm of order ``p`` over some or all axes: ``(sum |x|**p)**(1/p)``.

    Args:
        p: a number; ``inf`` and ``-inf`` give the largest and smallest size, 0 counts what is not 0; ``"fro"`` and None
            are order 2; ``"nuc"`` is that of :func:`flamework.linalg.matrix_norm`, over two axes.

    Raises:
        RuntimeError: not floating point, or another order.

    As ``torch.norm``.

    Example:
        >>> import flamework as torch
        >>> torch.norm(torch.tensor([3.0, 4.0])).item()
        5.0
    """
    x = node_of(input)
    if isinstance(p, str) and p != "fro":
        from .linalg_norms import matrix_norm

        return matrix_norm(input, p, tuple(range(x.ndim)) if dim is None else dim, keepdim, dtype=dtype, out=out)
    x = sizes(x) if dtype is not None or x.type.dtype.kind != COMPLEX else x
    if dtype is not None:
        if dtype.kind != FLOATING or dtype.itemsize < x.type.dtype.itemsize:
            raise RuntimeError(
                f"norm: the dtype of the input ({scalar_type(x.type.dtype)}) should be convertible without narrowing "
                f"to the specified dtype ({scalar_type(dtype)})"
            )
        x = f.converted(x, dtype)
    axes = canonical_axes(dim, x.ndim)
    order = 2.0 if p is None or p == "fro" else float(p)
    if order < 0 or order == math.inf:
        _check_not_empty("norm", x, axes)
    return exactly_returned(kept(f.vector_norm(x, axes, order), axes, x, keepdim), out, x)


def dist(input: Tensor, other: Tensor, p: float = 2) -> Tensor:
    """The norm of order ``p`` of ``input - other``. As ``torch.dist``.

    Example:
        >>> import flamework as torch
        >>> torch.dist(torch.tensor([3.0, 0.0]), torch.tensor([0.0, 4.0])).item()
        5.0
    """
    gap = OPERATORS["sub"].node(input, other)
    gap = gap if gap.type.dtype.kind == COMPLEX else sizes(gap)
    return tensor_of(f.vector_norm(gap, tuple(range(gap.ndim)), float(p)))


def sizes(x: Node) -> Node:
    """What a norm is made of: a floating point node, of complex numbers their absolute values."""
    if x.type.dtype.kind == COMPLEX:
        return absolute(x)
    if x.type.dtype.kind != FLOATING:
        raise RuntimeError(
            "linalg.vector_norm: Expected a floating point or complex tensor as input. Got "
            f"{scalar_type(x.type.dtype)}"
        )
    return x


@numpy_names
def logsumexp(input: Tensor, dim: Dim, keepdim: bool = False, *, out: Tensor | None = None) -> Tensor:
    """``log(sum(exp(x)))`` without overflow. Integers give the default dtype. As ``torch.logsumexp``.

    Example:
        >>> import flamework as torch
        >>> torch.logsumexp(torch.tensor([1000.0, float("-inf")]), 0).item()
        1000.0
    """
    x = node_of(input)
    axes = canonical_axes(dim, x.ndim)
    if x.type.dtype.kind == COMPLEX:
        return returned(kept(complex_log_sum_exp(x, axes), axes, x, keepdim), out, x)
    if x.type.dtype.kind != FLOATING:
        x = f.converted(x, get_default_dtype())
    return returned(kept(f.logsumexp(x, axes), axes, x, keepdim), out, x)


