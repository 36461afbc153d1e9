"""Padding, and rearranging and resizing images.

Inputs are ``[batch, channels, *space]``. Read next: ``functional_regression.py``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from .. import formulas as f, formulas_windows as w
from ..arguments import floating_only, tensor_argument
from ..compiler import dtypes, primitives as p, primitives_shape as s
from ..compiler.ir import Node
from ..formulas import argument
from ..gathering import rows_of
from ..origin import warn
from ..recording import input_node, plain_number, tensor_of
from ..tensor import Tensor


def pad(input: Tensor, pad: Sequence[int], mode: str = "constant", value: float | None = None) -> Tensor:
    """Widen the last axes at both ends; negative widths cut.

    Args:
        pad: widths in pairs, near and far end, beginning with the last axis.
        mode: ``"constant"``; ``"reflect"`` (mirrored at the outermost elements), ``"replicate"`` (these repeated) or
            ``"circular"``, for the last one to three axes of an input with one or two more.
        value: what constant padding consists of, by default 0.

    As ``torch.nn.functional.pad``.

    Raises:
        RuntimeError: widths that do not fit, or another mode.

    Example:
        >>> import flamework as torch
        >>> torch.nn.functional.pad(torch.tensor([1, 2]), (1, 0)).tolist()
        [0, 1, 2]
    """
    x = tensor_argument(input, "pad", "input", 1)
    if len(pad) % 2:
        raise RuntimeError("Padding length must be divisible by 2")
    count = len(pad) // 2
    if count > x.ndim:
        raise RuntimeError(
            "Padding length should be less than or equal to two times the input dimension but got padding length "
            f"{len(pad)} and input of dimension {x.ndim}"
        )
    low = [pad[2 * i] for i in reversed(range(count))]
    high = [pad[2 * i + 1] for i in reversed(range(count))]
    for axis, (near, far) in enumerate(zip(low, high), x.ndim - count):
        if x.type.shape[axis] + near + far < 0:
            raise RuntimeError(
                f"The input size {x.type.shape[axis]}, plus negative padding {near} and {far} resulted in a negative "
                f"output size, which is invalid. Check dimension {axis} of your input."
            )
    if mode == "constant":
        return tensor_of(f.fresh(_constant(x, low, high, value), x))
    if value is not None:
        raise ValueError(f'Padding mode "{mode}" doesn\'t take in value argument')
    extend = {"reflect": _reflected, "replicate": _replicated, "circular": _wrapped}.get(mode)
    if extend is None:
        raise p.Undefined(f"Unrecognised padding mode {mode}")
    if not 1 <= count <= 3 or x.ndim not in (count + 1, count + 2):
        raise p.Undefined(
            f"padding of {count} axes with mode {mode} needs an input of {count + 1} or {count + 2} axes, not {x.ndim}"
        )
    y = x = x if mode == "circular" else p.piecewise(x)
    for axis, (near, far) in enumerate(zip(low, high), x.ndim - count):
        y = _extended(y, axis, near, far, extend, list(pad))
    return tensor_of(f.fresh(y, x))


def _constant(x: Node, low: Sequence[int], high: Sequence[int], value: float | None) -> Node:
    number = 0 if value is None else plain_number(value)
    if number == 0 or not any(v > 0 for v in (*low, *high)):
        return w.padded(x, low, high, 0)
    # the padding's value is part of a pad node; a user's number is written around zeros instead
    inside = w.padded(f.filled(x.type.shape, dtypes.bool_, x.type.device, True), low, high, False)
    y = w.padded(x, low, high, 0)
    return p.where(inside, y, argument(y, number))


def _extended(x: Node, axis: int, near: int, far: int, extend, pad: list[int]) -> Node:
    cut_near, cut_far = max(0, -near), max(0, -far)
    near, far = max(0, near), max(0, far)
    if extend is _wrapped:
        x = f.axis_slice(x, axis, cut_near, x.type.shape[axis] - cut_near - cut_far)
        cut_near = cut_far = 0
    parts = extend(x, axis, near, far, pad)
    kept = [part for part in parts if part.type.shape[axis]]
    y = s.cat(*kept, params=(axis,)) if len(kept) > 1 else x
    # what is mirrored or repeated at one end may have been cut at the other
    return f.axis_slice(y, axis, cut_near, y.type.shape[axis] - cut_near - cut_far) if cut_near or cut_far else y


def _reflected(x: Node, axis: int, near: int, far: int, pad: list[int]) -> tuple[Node, ...]:
    extent = x.type.shape[axis]
    if max(near, far) >= extent:
        raise RuntimeError(
            "Padding size should be less than the corresponding input dimension, but got: padding "
            f"({near}, {far}) at dimension {axis} of input {list(x.type.shape)}"
        )
    before = f.axis_slice(x, axis, 1, near) if near else f.axis_slice(x, axis, 0, 0)
    after = f.axis_slice(x, axis, extent - 1 - far, far)
    return s.flip(before, params=(axis,)), x, s.flip(after, params=(axis,))


def _replicated(x: Node, axis: int, near: int, far: int, pad: list[int]) -> tuple[Node, ...]:
    extent = x.type.shape[axis]
    if extent == 0:
        raise RuntimeError(f"replicate padding needs an element to repeat, but dimension {axis} has none")

    def repeated(at: int, count: int) -> Node:
        edge = f.axis_slice(x, axis, at, 1)
        return f.expanded(edge, [count if a == axis else e for a, e in enumerate(x.type.shape)])

    return repeated(0, near), x, repeated(extent - 1, far)


def _wrapped(x: Node, axis: int, near: int, far: int, pad: list[int]) -> tuple[Node, ...]:
    extent = x.type.shape[axis]
    if max(near, far) > extent:
        raise RuntimeError("Padding value causes wrapping around more than once.")
    return f.axis_slice(x, axis, extent - near, near), x, f.axis_slice(x, axis, 0, far)


# -------------------------------------------------------------------------------------------------------- rearranging


def pixel_shuffle(input: Tensor, upscale_factor: int) -> Tensor:
    """``[*, channels * r**2, height, width]`` to ``[*, channels, height * r, width * r]``.

    As ``torch.nn.functional.pixel_shuffle``. Shi and others, "Real-time single image and video super-resolution using
    an efficient sub-pixel convolutional neural network" (2016).
    """
    x = tensor_argument(input, "pixel_shuffle", "input", 1)
    r = upscale_factor
    if x.ndim < 3:
        raise RuntimeError(f"pixel_shuffle expects input to have at least 3 dimensions, but got input with {x.ndim}")
    *lead, channels, height, width = x.type.shape
    if r <= 0 or channels % (r * r):
        raise RuntimeError(
            "pixel_shuffle expects its input's 'channel' dimension to be divisible by the square of upscale_factor, "
            f"but input.size(-3)={channels} is not divisible by {r * r}"
        )
    n = len(lead)
    parts = f.reshaped(x, (*lead, channels // (r * r), r, r, height, width))
    moved = f.permuted(parts, (*range(n), n, n + 3, n + 1, n + 4, n + 2))
    return tensor_of(f.fresh(f.reshaped(moved, (*lead, channels // (r * r), height * r, width * r)), x))


def pixel_unshuffle(input: Tensor, downscale_factor: int) -> Tensor:
    """The inverse of :func:`pixel_shuffle`. As ``torch.nn.functional.pixel_unshuffle``."""
    x = tensor_argument(input, "pixel_unshuffle", "input", 1)
    r = downscale_factor
    if x.ndim < 3:
        raise RuntimeError(f"pixel_unshuffle expects input to have at least 3 dimensions, but got input with {x.ndim}")
    *lead, channels, height, width = x.type.shape
    if r <= 0 or height % r or width % r:
        raise RuntimeError(
            f"pixel_unshuffle expects height and width to be divisible by downscale_factor, but got {height} and "
            f"{width} with {r}"
        )
    n = len(lead)
    parts = f.reshaped(x, (*lead, channels, height // r, r, width // r, r))
    moved = f.permuted(parts, (*range(n), n, n + 2, n + 4, n + 1, n + 3))
    return tensor_of(f.fresh(f.reshaped(moved, (*lead, channels * r * r, height // r, width // r)), x))


def channel_shuffle(input: Tensor, groups: int) -> Tensor:
    """The channels of several groups interleaved. As ``torch.nn.functional.channel_shuffle``."""
    x = tensor_argument(input, "channel_shuffle", "input", 1)
    if x.ndim < 3:
        raise RuntimeError(f"channel_shuffle expects input with > 2 dims, but got sizes {list(x.type.shape)}")
    batch, channels, *space = x.type.shape
    if groups <= 0 or channels % groups:
        raise RuntimeError(
            f"Number of channels must be divisible by groups. Got {channels} channels and {groups} groups."
        )
    parts = f.reshaped(x, (batch, groups, channels // groups, math.prod(space)))
    return tensor_of(f.fresh(f.reshaped(f.permuted(parts, (0, 2, 1, 3)), x.type.shape), x))


# ------------------------------------------------------------------------------------------------------------ resizing

_LINEAR = {"linear": 1, "bilinear": 2, "trilinear": 3}


def interpolate(
    input: Tensor, size: int | Sequence[int] | None = None, scale_factor: float | Sequence[float] | None = None,
    mode: str = "nearest", align_corners: bool | None = None, recompute_scale_factor: bool | None = None,
) -> Tensor:
    """Images of another size.

    Args:
        size: of the result, one number or one an axis of space.
        scale_factor: or how much larger it is.
        mode: ``"nearest"``, ``"nearest-exact"``, ``"linear"``, ``"bilinear"``, ``"bicubic"``, ``"trilinear"`` or
            ``"area"``.
        align_corners: for the (bi-, tri-) linear and cubic modes, whether the outermost points of both grids coincide.
        recompute_scale_factor: take the scale from the sizes, rounded as they are.

    As ``torch.nn.functional.interpolate``.

    Raises:
        ValueError: not exactly one of ``size`` and ``scale_factor``, or arguments that do not belong to the mode.
        RuntimeError: a mode for another number of axes.

    Example:
        >>> import flamework as torch
        >>> torch.nn.functional.interpolate(torch.tensor([[[1.0, 2.0]]]), scale_factor=2).tolist()
        [[[1.0, 1.0, 2.0, 2.0]]]
    """
    x = tensor_argument(input, "interpolate", "input", 1)
    rank = x.ndim - 2
    if size is None and scale_factor is None:
        raise ValueError("either size or scale_factor should be defined")
    if rank not in (1, 2, 3):
        raise p.Undefined(f"interpolate: an input of 3, 4 or 5 axes is expected, got {x.ndim}")
    smooth = mode in _LINEAR or mode == "bicubic"
    if not smooth and mode not in ("nearest", "nearest-exact", "area"):
        raise ValueError(f"interpolate: there is no mode '{mode}'")
    if _LINEAR.get(mode, 2 if mode == "bicubic" else rank) != rank:
        raise p.Undefined(f"interpolate: mode '{mode}' is not for inputs with {rank} axes of space")
    if align_corners is not None and not smooth:
        raise ValueError(
            "align_corners option can only be set with the interpolating modes: linear | bilinear | bicubic | trilinear"
        )
    space = x.type.shape[2:]
    target, scales = _target(space, size, scale_factor, recompute_scale_factor)
    if mode == "area":
        from .functional_pool import _adaptive_avg

        return _adaptive_avg(rank, input, target)
    y = floating_only(x, "interpolate") if smooth else x
    for i, (count, scale) in enumerate(zip(target, scales)):
        taps = _taps(mode, space[i], count, scale, bool(align_corners))
        y = _resampled(y, 2 + i, taps)
    return tensor_of(f.fresh(y, x))


def upsample(
    input: Tensor, size: int | Sequence[int] | None = None, scale_factor: float | Sequence[float] | None = None,
    mode: str = "nearest", align_corners: bool | None = None,
) -> Tensor:
    """:func:`interpolate` under its older name. As ``torch.nn.functional.upsample``."""
    warn("`nn.functional.upsample` is deprecated. Use `nn.functional.interpolate` instead.")
    return interpolate(input, size, scale_factor, mode, align_corners)


def upsample_nearest(
    input: Tensor, size: int | Sequence[int] | None = None, scale_factor: float | Sequence[float] | None = None
) -> Tensor:
    """:func:`interpolate` with the mode ``"nearest"``. As ``torch.nn.functional.upsample_nearest``."""
    warn("`nn.functional.upsample_nearest` is deprecated. Use `nn.functional.interpolate` instead.")
    return interpolate(input, size, scale_factor, "nearest")


def upsample_bilinear(
    input: Tensor, size: int | Sequence[int] | None = None, scale_factor: float | Sequence[float] | None = None
) -> Tensor:
    """:func:`interpolate` with the mode ``"bilinear"`` and aligned corners.

    As ``torch.nn.functional.upsample_bilinear``.
    """
    warn("`nn.functional.upsample_bilinear` is deprecated. Use `nn.functional.interpolate` instead.")
    return interpolate(input, size, scale_factor, "bilinear", align_corners=True)


def _target(space, size, scale_factor, recompute) -> tuple[list[int], list[float | None]]:
    if (size is None) == (scale_factor is None):
        raise ValueError("exactly one of size and scale_factor should be defined")
    if size is not None:
        if recompute:
            raise ValueError("recompute_scale_factor is not meaningful with an explicit size.")
        counts = [size] * len(space) if isinstance(size, int) else list(size)
        if len(counts) != len(space):
            raise ValueError(f"Input and output must have the same number of spatial dimensions, got {counts}")
        return counts, [None] * len(space)
    factors = list(scale_factor) if isinstance(scale_factor, (tuple, list)) else [scale_factor] * len(space)
    if len(factors) != len(space):
        raise ValueError(f"Input and scale_factor must have the same number of spatial dimensions, got {factors}")
    counts = [math.floor(e * v) for e, v in zip(space, factors)]
    return counts, [None if recompute else float(v) for v in factors]


def _taps(
    mode: str, extent: int, count: int, scale: float | None, align_corners: bool
) -> list[tuple[np.ndarray, np.ndarray | None]]:
    """Which positions of an axis are read for every position of the result, and with what weights."""
    ratio = 1 / scale if scale else extent / count
    i = np.arange(count)
    if mode == "nearest":
        return [(np.minimum(np.floor(i * np.float32(ratio)).astype(np.int64), extent - 1), None)]
    if mode == "nearest-exact":
        return [(np.minimum(np.floor((i + 0.5) * ratio).astype(np.int64), extent - 1), None)]
    if align_corners:
        position = i * ((extent - 1) / (count - 1) if count > 1 else 0.0)
    else:
        position = (i + 0.5) * ratio - 0.5
    if mode == "bicubic":
        return _cubic_taps(position, extent)
    position = np.maximum(position, 0)
    below = np.minimum(np.floor(position).astype(np.int64), extent - 1)
    weight = np.clip(position - below, 0, 1)
    return [(below, 1 - weight), (np.minimum(below + 1, extent - 1), weight)]


# Keys, "Cubic convolution interpolation for digital image processing" (1981), with PyTorch's choice
CUBIC = -0.75


def _cubic_taps(position: np.ndarray, extent: int, a: float = CUBIC) -> list[tuple[np.ndarray, np.ndarray]]:
    start = np.floor(position)
    t = position - start

    def near(x):
        return ((a + 2) * x - (a + 3)) * x * x + 1

    def far(x):
        return ((a * x - 5 * a) * x + 8 * a) * x - 4 * a

    weights = (far(t + 1), near(t), near(1 - t), far(2 - t))
    first = start.astype(np.int64) - 1
    return [(np.clip(first + k, 0, extent - 1), weight) for k, weight in enumerate(weights)]


def _resampled(x: Node, axis: int, taps: list[tuple[np.ndarray, np.ndarray | None]]) -> Node:
    total = None
    for position, weight in taps:
        part = rows_of(x, axis, input_node(np.ascontiguousarray(position), x.type.device))
        if weight is not None:
            factor = input_node(np.ascontiguousarray(weight.astype(x.type.dtype.numpy)), x.type.device)
            part = p.mul(part, f.channelwise(factor, part, axis))
        total = part if total is None else p.add(total, part)
    return total


__all__ = [
    "channel_shuffle", "interpolate", "pad", "pixel_shuffle", "pixel_unshuffle", "upsample", "upsample_bilinear",
    "upsample_nearest",
]
