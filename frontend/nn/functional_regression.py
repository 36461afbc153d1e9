"""Losses of regression and ranking, and distances between vectors.

Read next: ``functional_dropout.py``.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from .. import formulas as f
from ..arguments import canonical_axes, floating_only, scalar_type, summand, tensor_argument
from ..compiler import primitives as p
from ..compiler.dtypes import BOOL, COMPLEX, FLOATING, int64
from ..compiler.ir import Node
from ..formulas import argument, constant
from ..formulas_complex import absolute
from ..gathering import known
from ..joining import broadcast_tensors
from ..mutation import fitted_dtype
from ..operators import OPERATORS
from ..origin import warn
from ..recording import float_operands, get_default_dtype, node_of, operands, read, tensor_of
from ..storage import attached
from ..tensor import Tensor
from .functional_loss import reduced, reduction_mode


def _pair(function: str, input: Tensor, target: Tensor) -> tuple[Node, Node]:
    """Both as nodes of one shape; a target of another size is warned about, since it is rarely meant."""
    tensor_argument(input, function, "input", 1)
    tensor_argument(target, function, "target", 2)
    if tuple(input.shape) != tuple(target.shape):
        warn(
            f"Using a target size ({target.shape}) that is different to the input size ({input.shape}). This will "
            "likely lead to incorrect results due to broadcasting. Please ensure they have the same size.",
        )
        # a number without axes decides the dtype like any other, as in PyTorch, which broadcasts first
        input, target = broadcast_tensors(input, target)
    return operands(input, target)


def _weighted_mean(loss: Node, weight: Tensor | None, reduction: str) -> Node:
    """The reduction of a loss with weights; the mean is divided by their sum."""
    if weight is None:
        return reduced(loss, reduction)
    factor = f.broadcast_to(f.converted(node_of(weight), loss.type.dtype), loss.type.shape)
    loss = p.mul(loss, factor)
    if reduction != "mean":
        return reduced(loss, reduction)
    axes = tuple(range(loss.ndim))
    return p.div(f.total(loss, axes), f.total(factor, axes))


def mse_loss(
    input: Tensor, target: Tensor, size_average: bool | None = None, reduce: bool | None = None,
    reduction: str = "mean", weight: Tensor | None = None,
) -> Tensor:
    """The squared differences. As ``torch.nn.functional.mse_loss``.

    Args:
        target: the shape of ``input``.
        reduction: ``"none"``, ``"mean"`` or ``"sum"``; ``size_average`` and ``reduce`` are its older forms.
        weight: factors in the shape of ``input``; the mean is weighted.

    Example:
        >>> import flamework as torch
        >>> torch.nn.functional.mse_loss(torch.tensor([1.0, 2.0]), torch.tensor([1.0, 4.0])).item()
        2.0
    """
    mode = reduction_mode(reduction, size_average, reduce)
    a, b = _pair("mse_loss", input, target)
    gap = floating_only(p.sub(a, b), "mse_loss")
    return tensor_of(_weighted_mean(p.mul(gap, gap), weight, mode))


def l1_loss(
    input: Tensor, target: Tensor, size_average: bool | None = None, reduce: bool | None = None,
    reduction: str = "mean", weight: Tensor | None = None,
) -> Tensor:
    """The sizes of the differences; arguments as in :func:`mse_loss`. As ``torch.nn.functional.l1_loss``."""
    mode = reduction_mode(reduction, size_average, reduce)
    a, b = _pair("l1_loss", input, target)
    gap = p.sub(a, b)
    if gap.type.dtype.kind < FLOATING and mode == "mean":
        raise RuntimeError(
            "mean(): could not infer output dtype. Input dtype must be either a floating point or complex dtype. Got: "
            f"{scalar_type(gap.type.dtype)}"
        )
    size = absolute(gap) if gap.type.dtype.kind == COMPLEX else p.abs(gap)
    return tensor_of(_weighted_mean(size, weight, mode))


def smooth_l1_loss(
    input: Tensor, target: Tensor, size_average: bool | None = None, reduce: bool | None = None,
    reduction: str = "mean", beta: float = 1.0,
) -> Tensor:
    """``0.5 * d**2 / beta`` for differences below ``beta``, ``d - 0.5 * beta`` above.

    As ``torch.nn.functional.smooth_l1_loss``.
    """
    mode = reduction_mode(reduction, size_average, reduce)
    if beta < 0:
        raise RuntimeError("smooth_l1_loss does not support negative values for beta.")
    a, b = _pair("smooth_l1_loss", input, target)
    if a.type.dtype.kind < FLOATING:
        raise p.Undefined(f"\"smooth_l1_cpu\" not implemented for '{scalar_type(a.type.dtype)}'")
    difference = p.sub(a, b)
    gap = p.abs(difference)
    if beta == 0:
        return tensor_of(reduced(gap, mode))
    width = argument(gap, beta)
    # not the square of the size, which has a corner at 0
    near = p.div(p.mul(p.scale(difference, 0.5), difference), width)
    return tensor_of(reduced(p.where(p.lt(gap, width), near, p.sub(gap, p.scale(width, 0.5))), mode))


def huber_loss(
    input: Tensor, target: Tensor, reduction: str = "mean", delta: float = 1.0, weight: Tensor | None = None
) -> Tensor:
    """``0.5 * d**2`` for differences up to ``delta``, ``delta * (d - 0.5 * delta)`` above.

    As ``torch.nn.functional.huber_loss``.
    """
    mode = reduction_mode(reduction, None, None)
    if delta <= 0:
        raise RuntimeError("huber_loss does not support non-positive values for delta.")
    a, b = _pair("huber_loss", input, target)
    if a.type.dtype.kind < FLOATING:
        raise p.Undefined(f"\"huber_cpu\" not implemented for '{scalar_type(a.type.dtype)}'")
    difference = p.sub(a, b)
    gap = p.abs(difference)
    width = argument(gap, delta)
    near, far = p.mul(p.scale(difference, 0.5), difference), p.mul(width, p.sub(gap, p.scale(width, 0.5)))
    loss = p.where(p.lt(gap, width), near, far)
    return tensor_of(_weighted_mean(fitted_dtype(input.dtype, loss), weight, mode))


def kl_div(
    input: Tensor, target: Tensor, size_average: bool | None = None, reduce: bool | None = None,
    reduction: str = "mean", log_target: bool = False,
) -> Tensor:
    """The Kullback-Leibler divergence of ``target`` from the log-probabilities ``input``, element by element.

    Args:
        reduction: also ``"batchmean"``: the sum divided by the size of the first axis, which is the divergence's mean.
        log_target: whether ``target`` holds log-probabilities too.

    As ``torch.nn.functional.kl_div``.
    """
    if reduction == "batchmean":
        mode = "sum"
    else:
        mode = reduction_mode(reduction, size_average, reduce)
        if mode == "mean":
            warn(
                "reduction: 'mean' divides the total loss by both the batch size and the support size. 'batchmean' "
                "divides only by the batch size, and aligns with the KL div math definition.",
            )
    x, t = operands(input, target)
    floating_only(x, "kl_div")
    if log_target:
        loss = p.mul(p.exp(t), p.sub(t, x))
    else:
        loss = p.sub(f.x_log_y(t, t), p.mul(t, x))
    total = reduced(loss, mode)
    if reduction == "batchmean":
        total = p.div(total, argument(total, x.type.shape[0] if x.ndim else 1))
    return tensor_of(total)


def poisson_nll_loss(
    input: Tensor, target: Tensor, log_input: bool = True, full: bool = False, size_average: bool | None = None,
    eps: float = 1e-8, reduce: bool | None = None, reduction: str = "mean",
) -> Tensor:
    """Minus the log-likelihood of counts under Poisson distributions, without a constant unless ``full``.

    Args:
        log_input: whether ``input`` is the logarithm of the rate.
        full: add Stirling's approximation of the constant for counts above 1.
        eps: added to the rate in its logarithm.

    As ``torch.nn.functional.poisson_nll_loss``.
    """
    mode = reduction_mode(reduction, size_average, reduce)
    x, t = float_operands(input, target)
    floating_only(x, "poisson_nll_loss")
    if log_input:
        loss = p.sub(p.exp(x), p.mul(t, x))
    else:
        loss = p.sub(x, p.mul(t, p.log(p.add(x, argument(x, eps)))))
    if full:
        one = constant(t, 1)
        large = p.lt(one, t)
        safe = p.where(large, t, one)
        stirling = p.sub(p.mul(safe, p.log(safe)), safe)
        stirling = p.add(stirling, p.scale(p.log(p.scale(safe, 2 * math.pi)), 0.5))
        loss = p.add(loss, p.where(large, stirling, constant(t, 0)))
    return tensor_of(reduced(loss, mode))


def gaussian_nll_loss(
    input: Tensor, target: Tensor, var: Tensor | float, full: bool = False, eps: float = 1e-6, reduction: str = "mean"
) -> Tensor:
    """Minus the log-likelihood under normal distributions of mean ``input`` and variance ``var``.

    Args:
        var: the shape of ``input``, or with its last axis missing or of size 1; not negative.
        full: add the constant.
        eps: the variance counts as at least this, without a gradient there.

    As ``torch.nn.functional.gaussian_nll_loss``.
    """
    mode = reduction_mode(reduction, None, None)
    spread = var
    if isinstance(var, Tensor) and tuple(var.shape) != tuple(input.shape):
        if tuple(var.shape) == tuple(input.shape[:-1]):
            spread = var.unsqueeze(-1)
        elif tuple(var.shape[:-1]) != tuple(input.shape[:-1]) or (var.ndim and var.shape[-1] != 1):
            raise ValueError("var is of incorrect size")
    x, t, v = operands(input, target, spread)
    floating_only(x, "gaussian_nll_loss")
    if isinstance(var, Tensor) and known(node_of(var)) and (read(node_of(var)) < 0).any():
        raise ValueError("var has negative entry/entries")
    floor = f.clamped(f.cut(v), argument(v, eps), None)
    safe = attached(floor, v) if v.requires_grad else floor
    gap = p.sub(x, t)
    loss = p.scale(p.add(p.log(safe), p.div(p.mul(gap, gap), safe)), 0.5)
    if full:
        loss = p.add(loss, constant(loss, 0.5 * math.log(2 * math.pi)))
    return tensor_of(reduced(loss, mode))


# ------------------------------------------------------------------------------------------------------------- ranking


def hinge_embedding_loss(
    input: Tensor, target: Tensor, margin: float = 1.0, size_average: bool | None = None, reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """``input`` where the target is 1, ``max(0, margin - input)`` where it is -1.

    As ``torch.nn.functional.hinge_embedding_loss``.
    """
    mode = reduction_mode(reduction, size_average, reduce)
    # the target is only compared, so that the dtype is that of the input
    x, t = (node_of(tensor) for tensor in broadcast_tensors(input, target))
    zero = constant(x, 0)
    # a target that is neither 1 nor -1 counts as both
    gap = OPERATORS["sub"].node(tensor_of(argument(x, margin)), tensor_of(x))
    push = p.where(p.eq(t, constant(t, 1)), zero, f.clamped(gap, zero, None))
    pull = p.where(p.eq(t, constant(t, -1)), zero, x)
    return tensor_of(reduced(p.add(push, pull), mode))


def margin_ranking_loss(
    input1: Tensor, input2: Tensor, target: Tensor, margin: float = 0, size_average: bool | None = None,
    reduce: bool | None = None, reduction: str = "mean",
) -> Tensor:
    """``max(0, -target * (input1 - input2) + margin)``. As ``torch.nn.functional.margin_ranking_loss``."""
    mode = reduction_mode(reduction, size_average, reduce)
    a, b, t = operands(input1, input2, target)
    loss = p.mul(p.neg(t), p.sub(a, b))
    if loss.type.dtype.kind < FLOATING:
        # the margin is no whole number
        loss = f.converted(loss, get_default_dtype())
    loss = p.add(loss, argument(loss, margin))
    return tensor_of(reduced(f.clamped(loss, constant(loss, 0), None), mode))


def cosine_embedding_loss(
    input1: Tensor, input2: Tensor, target: Tensor, margin: float = 0, size_average: bool | None = None,
    reduce: bool | None = None, reduction: str = "mean",
) -> Tensor:
    """``1 - cos`` where the target is 1, ``max(0, cos - margin)`` where it is -1.

    Args:
        input1: ``[batch, size]`` or ``[size]``, as ``input2``.
        target: ``[batch]`` or no axes.

    As ``torch.nn.functional.cosine_embedding_loss``.
    """
    mode = reduction_mode(reduction, size_average, reduce)
    a, b = operands(input1, input2)
    axis = a.ndim - 1
    dots, *sizes = (f.total(summand(p.mul(x, y), None, None), (axis,)) for x, y in ((a, b), (a, a), (b, b)))
    if a.type.dtype.kind < FLOATING:
        dots, *sizes = (f.converted(n, get_default_dtype()) for n in (dots, *sizes))
    floor = constant(dots, 1e-12)
    cos = p.div(dots, p.sqrt(p.mul(*[p.add(size, floor) for size in sizes])))
    t = f.broadcast_to(node_of(target), cos.type.shape)
    if t.type.dtype.kind == BOOL:
        # True is 1 and not -1
        t = f.converted(t, int64)
    zero = constant(cos, 0)
    pull = p.where(p.eq(t, constant(t, 1)), p.sub(constant(cos, 1), cos), zero)
    push = p.where(p.eq(t, constant(t, -1)), f.clamped(p.sub(cos, argument(cos, margin)), zero, None), zero)
    return tensor_of(reduced(p.add(pull, push), mode))


def triplet_margin_loss(
    anchor: Tensor, positive: Tensor, negative: Tensor, margin: float = 1.0, p: float = 2, eps: float = 1e-6,
    swap: bool = False, size_average: bool | None = None, reduce: bool | None = None, reduction: str = "mean",
) -> Tensor:
    """``max(0, |anchor - positive| - |anchor - negative| + margin)`` with distances of order ``p``.

    Args:
        swap: take the smaller of the negative's distances to anchor and positive.

    As ``torch.nn.functional.triplet_margin_loss``.
    """

    def distance(a: Tensor, b: Tensor) -> Tensor:
        return pairwise_distance(a, b, p, eps)

    mode = reduction_mode(reduction, size_average, reduce)
    return triplet_margin_with_distance_loss(
        anchor, positive, negative, distance_function=distance, margin=margin, swap=swap, reduction=mode
    )


def triplet_margin_with_distance_loss(
    anchor: Tensor, positive: Tensor, negative: Tensor, *,
    distance_function: Callable[[Tensor, Tensor], Tensor] | None = None, margin: float = 1.0, swap: bool = False,
    reduction: str = "mean",
) -> Tensor:
    """:func:`triplet_margin_loss` with any distance. As ``torch.nn.functional.triplet_margin_with_distance_loss``."""
    if margin <= 0:
        raise ValueError(f"margin must be greater than 0, got {margin}")
    mode = reduction_mode(reduction, None, None)
    distance = pairwise_distance if distance_function is None else distance_function
    near, far = distance(anchor, positive), distance(anchor, negative)
    if swap:
        far = far.minimum(distance(positive, negative))
    a, b = operands(near, far)
    loss = p.add(p.sub(a, b), argument(a, margin))
    return tensor_of(reduced(f.clamped(loss, constant(loss, 0), None), mode))


# ----------------------------------------------------------------------------------------------------------- distances


def pairwise_distance(
    x1: Tensor, x2: Tensor, p: float = 2.0, eps: float = 1e-6, keepdim: bool = False
) -> Tensor:
    """The norm of order ``p`` of ``x1 - x2 + eps`` along the last axis. As ``torch.nn.functional.pairwise_distance``.

    Example:
        >>> import flamework as torch
        >>> torch.nn.functional.pairwise_distance(torch.tensor([3.0, 0.0]), torch.tensor([0.0, 4.0]), eps=0.0).item()
        5.0
    """
    gap = node_of(x1 - x2 + eps)
    axes = canonical_axes(-1, gap.ndim)
    if gap.type.dtype.kind != COMPLEX:
        floating_only(gap, "pairwise_distance")
    length = f.vector_norm(gap, axes, float(p))
    return tensor_of(f.kept(length, axes, gap.type.shape) if keepdim else length)


def cosine_similarity(x1: Tensor, x2: Tensor, dim: int = 1, eps: float = 1e-8) -> Tensor:
    """The cosine of the angles between vectors along ``dim``; lengths count as at least ``eps``.

    As ``torch.nn.functional.cosine_similarity``.

    Example:
        >>> import flamework as torch
        >>> torch.nn.functional.cosine_similarity(torch.tensor([1.0, 0.0]), torch.tensor([0.0, 2.0]), dim=0).item()
        0.0
    """
    # broadcast first, so that a number without axes decides the dtype like any other, as in PyTorch
    a, b = operands(*broadcast_tensors(x1, x2))
    axes = canonical_axes(dim, floating_only(a, "cosine_similarity").ndim)
    units = []
    for x in (a, b):
        length = f.vector_norm(x, axes, 2.0)
        longer = f.clamped(f.cut(length), argument(length, eps), None)
        # the lower bound does not change the gradient, as in PyTorch
        units.append(p.div(x, f.along(attached(longer, length) if length.requires_grad else longer, axes, x)))
    return tensor_of(f.total(p.mul(*units), axes))


__all__ = [
    "cosine_embedding_loss", "cosine_similarity", "gaussian_nll_loss", "hinge_embedding_loss", "huber_loss", "kl_div",
    "l1_loss", "margin_ranking_loss", "mse_loss", "pairwise_distance", "poisson_nll_loss", "smooth_l1_loss",
    "triplet_margin_loss", "triplet_margin_with_distance_loss",
]
