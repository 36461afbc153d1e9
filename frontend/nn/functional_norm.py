"""Normalisation: layer, RMS, group, batch, instance and response normalisation, and vectors of unit length.

Rows are brought to one axis, so that statistics and their use are one row-wise formula. Running statistics are updated
in place, without a gradient. Read next: ``functional_conv.py``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from .. import formulas as f
from ..arguments import floating_only, tensor_argument
from ..arithmetic import div
from ..compiler import primitives as p
from ..compiler.autodiff import recording_gradients
from ..compiler.composite import composite
from ..compiler.dtypes import COMPLEX, int64
from ..compiler.ir import Node
from ..compiler.narrow import rounded, widened
from ..formulas import argument
from ..formulas_windows import pooled_sum
from ..limits import finfo
from ..mutation import assign, write_out
from ..recording import get_default_dtype, node_of, tensor_of
from ..reduction import sizes
from ..tensor import Tensor, axis_of


def _nodes(*tensors: Tensor | None) -> list[Node | None]:
    return [None if tensor is None else node_of(tensor) for tensor in tensors]


def _affine_rows(x: Node, weight: Node | None, bias: Node | None) -> Node:
    """Rows of the last axis times ``weight`` plus ``bias``, both as long as a row in all."""
    size = (x.type.shape[-1],)
    if weight is not None:
        x = p.mul(x, f.broadcast_to(f.reshaped(weight, size), x.type.shape))
    if bias is not None:
        x = p.add(x, f.broadcast_to(f.reshaped(bias, size), x.type.shape))
    return x


def _check_rows(x: Node, shape: tuple[int, ...], weight: Tensor | None, bias: Tensor | None) -> None:
    if not shape:
        raise RuntimeError(
            "Expected normalized_shape to be at least 1-dimensional, i.e., containing at least one element"
        )
    if x.ndim < len(shape) or x.type.shape[x.ndim - len(shape) :] != shape:
        wanted = "".join(f", {e}" for e in shape)
        raise RuntimeError(
            f"Given normalized_shape={list(shape)}, expected input with shape [*{wanted}], but got input of "
            f"size{list(x.type.shape)}"
        )
    for name, parameter in (("weight", weight), ("bias", bias)):
        if parameter is not None and tuple(parameter.shape) != shape:
            raise RuntimeError(
                f"Expected {name} to be of same shape as normalized_shape, but got {name} of shape "
                f"{list(parameter.shape)} and normalized_shape = {list(shape)}"
            )


def _sizes(normalized_shape: int | Sequence[int]) -> tuple[int, ...]:
    return (normalized_shape,) if isinstance(normalized_shape, int) else tuple(normalized_shape)


def layer_norm(
    input: Tensor, normalized_shape: int | Sequence[int], weight: Tensor | None = None, bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Tensor:
    """The last axes shifted to mean 0 and scaled to variance 1, then ``* weight + bias``.

    Args:
        input: ``[*, *normalized_shape]``, floating point.
        weight: ``normalized_shape``, as ``bias``.
        eps: added to the variance.

    As ``torch.nn.functional.layer_norm``. Ba, Kiros and Hinton, "Layer normalization" (2016).

    Raises:
        RuntimeError: shapes that do not fit.

    Example:
        >>> import flamework as torch
        >>> torch.nn.functional.layer_norm(torch.tensor([[1.0, 1.0]]), (2,)).tolist()
        [[0.0, 0.0]]
    """
    x = floating_only(tensor_argument(input, "layer_norm", "input", 1), "layer_norm")
    shape = _sizes(normalized_shape)
    _check_rows(x, shape, weight, bias)
    return tensor_of(_layer_norm(x, *_nodes(weight, bias), len(shape), eps))


@composite
def _layer_norm(x: Node, weight: Node | None, bias: Node | None, count: int, eps: float) -> Node:
    rows = f.merged_tail(x, count)
    return f.reshaped(_affine_rows(f.layer_norm(rows, eps), weight, bias), x.type.shape)


def rms_norm(
    input: Tensor, normalized_shape: int | Sequence[int], weight: Tensor | None = None, eps: float | None = None
) -> Tensor:
    """The last axes divided by the root of their mean square, then ``* weight``.

    Args:
        eps: added to the mean square; by default the dtype's smallest step from 1.

    As ``torch.nn.functional.rms_norm``. Zhang and Sennrich, "Root mean square layer normalization" (2019).
    """
    x = tensor_argument(input, "rms_norm", "input", 1)
    if x.type.dtype.kind != COMPLEX:
        floating_only(x, "rms_norm")
    shape = _sizes(normalized_shape)
    _check_rows(x, shape, weight, None)
    eps = finfo(x.type.dtype.part).eps if eps is None else eps
    return tensor_of(_rms_norm(x, *_nodes(weight), len(shape), eps))


@composite
def _rms_norm(x: Node, weight: Node | None, count: int, eps: float) -> Node:
    rows = f.merged_tail(x, count)
    if weight is not None and x.dtype.kind == COMPLEX:
        weight = f.converted(weight, x.dtype)
    return f.reshaped(_affine_rows(f.rms_norm(rows, eps), weight, None), x.type.shape)


def _affine_channels(x: Node, weight: Tensor | None, bias: Tensor | None) -> Node:
    if weight is not None:
        x = p.mul(x, f.channelwise(widened(node_of(weight)), x, 1))
    if bias is not None:
        x = p.add(x, f.channelwise(widened(node_of(bias)), x, 1))
    return x


def _check_channels(channels: int, **parameters: Tensor | None) -> None:
    for name, parameter in parameters.items():
        if parameter is not None and parameter.numel() != channels:
            raise RuntimeError(f"{name} should contain {channels} elements not {parameter.numel()}")


def group_norm(
    input: Tensor, num_groups: int, weight: Tensor | None = None, bias: Tensor | None = None, eps: float = 1e-5
) -> Tensor:
    """Groups of channels normalised together for every sample, then ``* weight + bias`` by channel.

    Args:
        input: ``[batch, channels, *]``.
        num_groups: divides the number of channels.

    As ``torch.nn.functional.group_norm``. Wu and He, "Group normalization" (2018).
    """
    x = floating_only(tensor_argument(input, "group_norm", "input", 1), "group_norm")
    if x.ndim < 2:
        raise RuntimeError(f"Expected at least 2 dimensions for input tensor but received {x.ndim}")
    batch, channels = x.type.shape[:2]
    if num_groups <= 0 or channels % num_groups:
        raise RuntimeError(
            "Expected number of channels in input to be divisible by num_groups, but got input of shape "
            f"{list(x.type.shape)} and num_groups={num_groups}"
        )
    _check_channels(channels, weight=weight, bias=bias)
    length = channels // num_groups * math.prod(x.type.shape[2:])
    rows = f.layer_norm(widened(f.reshaped(x, (batch, num_groups, length))), eps)
    return tensor_of(rounded(_affine_channels(f.reshaped(rows, x.type.shape), weight, bias), x.type.dtype))


def batch_norm(
    input: Tensor, running_mean: Tensor | None, running_var: Tensor | None, weight: Tensor | None = None,
    bias: Tensor | None = None, training: bool = False, momentum: float = 0.1, eps: float = 1e-5,
) -> Tensor:
    """Every channel normalised over the batch and all positions, then ``* weight + bias`` by channel.

    Args:
        input: ``[batch, channels, *]``.
        running_mean: estimate by channel, updated in place when training and used otherwise; as ``running_var``.
        training: use the statistics of this batch.
        momentum: weight of this batch in the running estimates.

    As ``torch.nn.functional.batch_norm``. Ioffe and Szegedy, "Batch normalization" (2015).

    Raises:
        ValueError: training with one value a channel.
        RuntimeError: no running estimates when not training, or sizes that do not fit.
    """
    x = floating_only(tensor_argument(input, "batch_norm", "input", 1), "batch_norm")
    if x.ndim < 2:
        raise RuntimeError(f"batch_norm: expected an input of at least 2 axes, got {x.ndim}")
    dtype, x = x.type.dtype, widened(x)
    axes = (0, *range(2, x.ndim))
    count = f.count_of(x, axes)
    _check_channels(x.type.shape[1], running_mean=running_mean, running_var=running_var, weight=weight, bias=bias)
    if training:
        if count == 1:
            raise ValueError(f"Expected more than 1 value per channel when training, got input size {input.shape}")
        average, centred, variance = f.moments(x, axes, 0)
        _update_running(running_mean, running_var, average, variance, momentum, count)
    else:
        for name, estimate in (("running_mean", running_mean), ("running_var", running_var)):
            if estimate is None:
                raise RuntimeError(f"{name} must be defined in evaluation mode")
        average, variance = node_of(running_mean), node_of(running_var)
        centred = p.sub(x, f.channelwise(f.converted(average, x.type.dtype), x, 1))
        variance = f.converted(variance, x.type.dtype)
    return tensor_of(rounded(_channel_scaled(centred, variance, weight, bias, eps), dtype))


def _channel_scaled(centred: Node, variance: Node, weight: Tensor | None, bias: Tensor | None, eps: float) -> Node:
    scale = p.rsqrt(p.add(variance, argument(variance, eps)))
    if weight is not None:
        scale = p.mul(scale, f.reshaped(widened(node_of(weight)), scale.type.shape))
    out = p.mul(centred, f.channelwise(scale, centred, 1))
    return out if bias is None else p.add(out, f.channelwise(widened(node_of(bias)), out, 1))


def _update_running(
    running_mean: Tensor | None, running_var: Tensor | None, average: Node, variance: Node, momentum: float, count: int
) -> None:
    with recording_gradients(False):
        if running_mean is not None:
            assign(running_mean, _moved(node_of(running_mean), f.cut(average), momentum))
        if running_var is not None:
            variance = f.cut(variance)
            # the estimate is of the population, so it divides by one less
            unbiased = p.mul(variance, argument(variance, count / (count - 1) if count > 1 else math.nan))
            assign(running_var, _moved(node_of(running_var), unbiased, momentum))


def _moved(old: Node, new: Node, momentum: float) -> Node:
    new = f.reshaped(f.converted(new, old.type.dtype), old.type.shape)
    return p.add(p.mul(new, argument(new, momentum)), p.mul(old, argument(old, 1 - momentum)))


def instance_norm(
    input: Tensor, running_mean: Tensor | None = None, running_var: Tensor | None = None, weight: Tensor | None = None,
    bias: Tensor | None = None, use_input_stats: bool = True, momentum: float = 0.1, eps: float = 1e-5,
) -> Tensor:
    """Every channel of every sample normalised over its positions, then ``* weight + bias`` by channel.

    Args:
        input: ``[batch, channels, *]``.
        use_input_stats: use the statistics of the input, and update the running ones; otherwise use those.

    As ``torch.nn.functional.instance_norm``.
    """
    x = floating_only(tensor_argument(input, "instance_norm", "input", 1), "instance_norm")
    if not use_input_stats:
        return batch_norm(input, running_mean, running_var, weight, bias, False, momentum, eps)
    dtype, x = x.type.dtype, widened(x)
    axes = tuple(range(2, x.ndim))
    count = f.count_of(x, axes)
    if not axes or count == 1:
        raise ValueError(f"Expected more than 1 spatial element when training, got input size {input.shape}")
    _check_channels(x.type.shape[1], running_mean=running_mean, running_var=running_var, weight=weight, bias=bias)
    average, centred, variance = f.moments(x, axes, 0)
    whole = (f.mean(f.cut(average), (0,)), f.mean(f.cut(variance), (0,)))
    _update_running(running_mean, running_var, *whole, momentum, count)
    scale = p.rsqrt(p.add(variance, argument(variance, eps)))
    return tensor_of(rounded(_affine_channels(p.mul(centred, f.along(scale, axes, x)), weight, bias), dtype))


def local_response_norm(
    input: Tensor, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0
) -> Tensor:
    """Every element divided by ``(k + alpha * mean square of size neighbouring channels) ** beta``.

    As ``torch.nn.functional.local_response_norm``.
    """
    x = tensor_argument(input, "local_response_norm", "input", 1)
    if x.type.dtype is not int64:
        floating_only(x, "local_response_norm")
    if x.ndim < 3:
        raise ValueError(f"Expected 3D or higher dimensionality input (got {x.ndim} dimensions)")
    batch, channels = x.type.shape[:2]
    squares = f.reshaped(p.mul(x, x), (batch, 1, channels, math.prod(x.type.shape[2:])))
    near = pooled_sum(squares, (size, 1), (1, 1), (size // 2, 0), ((size - 1) // 2, 0))
    if x.type.dtype is int64:
        # a mean of integers is rounded, as that of `avg_pool2d` is
        near = node_of(div(tensor_of(near), size, rounding_mode="trunc"))
        near, x = (f.converted(node, get_default_dtype()) for node in (near, x))
    else:
        near = p.div(near, argument(near, size))
    base = p.add(p.mul(near, argument(near, alpha)), argument(near, k))
    return tensor_of(p.div(x, f.reshaped(p.pow(base, argument(base, beta)), x.type.shape)))


def normalize(
    input: Tensor, p: float = 2.0, dim: int = 1, eps: float = 1e-12, out: Tensor | None = None
) -> Tensor:
    """Vectors along ``dim`` divided by their norm of order ``p``, or by ``eps`` if that is larger.

    As ``torch.nn.functional.normalize``.

    Example:
        >>> import flamework as torch
        >>> torch.nn.functional.normalize(torch.tensor([[3.0, 4.0]])).tolist()
        [[0.6000000238418579, 0.800000011920929]]
    """
    x = tensor_argument(input, "normalize", "input", 1)
    axis = axis_of(dim, x.ndim)
    length = f.vector_norm(sizes(x), (axis,) if x.ndim else (), float(p))
    length = f.clamped(length, argument(length, eps), None)
    unit = _divided(x, f.converted(length, x.type.dtype), (axis,))
    return tensor_of(unit) if out is None else write_out(out, unit)


def _divided(x: Node, length: Node, axes: tuple[int, ...]) -> Node:
    return p.div(x, f.along(length, axes, x) if x.ndim else length)


__all__ = [
    "batch_norm", "group_norm", "instance_norm", "layer_norm", "local_response_norm", "normalize", "rms_norm",
]
