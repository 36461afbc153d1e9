"""Pooling: one number for every window of an image, its maximum, mean or norm.

Windows are given by size and stride (``max_pool2d``) or by the size of the result (``adaptive_max_pool2d``). Inputs are
``[batch, channels, *space]``, or without the batch. The formulas are in ``formulas_windows.py``. Read next:
``functional_loss.py``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from .. import formulas as f, formulas_windows as w
from ..arguments import floating_only, integers, tensor_argument
from ..arithmetic import div
from ..compiler import dtypes, primitives as p, primitives_shape as s
from ..compiler.ir import Node
from ..formulas import argument
from ..gathering import checked_index
from ..recording import node_of, tensor_of
from ..tensor import Tensor
from .functional_conv import without_batch

Sizes = int | Sequence[int]


def _with_batch(x: Node, rank: int) -> tuple[Node, bool]:
    if x.ndim == rank + 2:
        return x, True
    if x.ndim == rank + 1:
        return f.reshaped(x, (1, *x.type.shape)), False
    raise RuntimeError(f"non-empty {rank + 1}D or {rank + 2}D (batch mode) tensor expected for input")


def _pooled(function: str, x: Node, rank: int) -> tuple[Node, bool]:
    x, batched = _with_batch(x, rank)
    if 0 in x.type.shape[1:]:
        raise RuntimeError(
            f"{function}: Expected {rank + 1}D or {rank + 2}D (batch mode) tensor with optional 0 dim batch size for "
            f"input, but got:{list(x.type.shape[not batched:])}"
        )
    return x, batched


def _layout(
    function: str, x: Node, kernel_size: Sizes, stride: Sizes | None, padding: Sizes, dilation: Sizes, ceil_mode: bool
) -> tuple[tuple[int, ...], ...]:
    """Size, stride, padding at both ends, dilation and number of windows by axis."""
    rank = x.ndim - 2
    size = integers(kernel_size, rank, function, "kernel_size")
    steps = size if stride is None or stride == () or stride == [] else integers(stride, rank, function, "stride")
    low = integers(padding, rank, function, "padding")
    gaps = integers(dilation, rank, function, "dilation")
    if any(k <= 0 for k in size):
        raise RuntimeError(f"kernel size should be greater than zero, but got {list(size)}")
    if any(step <= 0 for step in steps):
        raise RuntimeError("stride should not be zero")
    if any(gap <= 0 for gap in gaps):
        raise RuntimeError(f"dilation should be greater than zero, but got {list(gaps)}")
    high, counts = [], []
    for extent, k, step, pad, gap in zip(x.type.shape[2:], size, steps, low, gaps):
        reach = gap * (k - 1) + 1
        if pad < 0:
            raise RuntimeError("pad must be non-negative")
        if pad > reach // 2:
            raise RuntimeError(
                f"pad should be at most half of effective kernel size, but got pad={pad}, kernel_size={k} and "
                f"dilation={gap}"
            )
        spare = extent + 2 * pad - reach
        count = (-(-spare // step) if ceil_mode else spare // step) + 1
        if ceil_mode and (count - 1) * step >= extent + pad:
            # the last window has to start inside of the image or its padding on the near side
            count -= 1
        counts.append(count)
        high.append(max(pad, (count - 1) * step + reach - extent - pad))
    if any(c < 1 for c in counts):
        channels, given = x.type.shape[1], "x".join(map(str, x.type.shape[1:]))
        raise RuntimeError(
            f"Given input size: ({given}). Calculated output size: "
            f"({'x'.join(map(str, (channels, *counts)))}). Output size is too small"
        )
    return size, steps, low, tuple(high), gaps, tuple(counts)


def _max_pool(
    rank: int, input: Tensor, kernel_size: Sizes, stride: Sizes | None, padding: Sizes, dilation: Sizes,
    ceil_mode: bool, return_indices: bool,
) -> Tensor | tuple[Tensor, Tensor]:
    function = f"max_pool{rank}d"
    x, batched = _pooled(function, tensor_argument(input, function, "input", 1), rank)
    size, steps, low, high, gaps, _ = _layout(function, x, kernel_size, stride, padding, dilation, ceil_mode)
    values, index = w.pooled_maximum(x, size, steps, low, high, gaps, return_indices)
    if return_indices:
        return without_batch(values, batched), without_batch(index, batched)
    return without_batch(values, batched)


def max_pool1d(
    input: Tensor, kernel_size: Sizes, stride: Sizes | None = None, padding: Sizes = 0, dilation: Sizes = 1,
    ceil_mode: bool = False, return_indices: bool = False,
) -> Tensor | tuple[Tensor, Tensor]:
    """The maximum of every window of a sequence; see :func:`max_pool2d`. As ``torch.nn.functional.max_pool1d``."""
    if not return_indices:
        floating_only(tensor_argument(input, "max_pool1d", "input", 1), "max_pool1d_impl")
    return _max_pool(1, input, kernel_size, stride, padding, dilation, ceil_mode, return_indices)


def max_pool2d(
    input: Tensor, kernel_size: Sizes, stride: Sizes | None = None, padding: Sizes = 0, dilation: Sizes = 1,
    ceil_mode: bool = False, return_indices: bool = False,
) -> Tensor | tuple[Tensor, Tensor]:
    """The maximum of every window of an image.

    Args:
        input: ``[batch, channels, height, width]``, or without the batch.
        stride: distance between windows, by default their size.
        padding: minus infinities around the image, at most half a window.
        ceil_mode: whether a window may hang over the far ends.
        return_indices: also give the position of each maximum in its image, row by row.

    The gradient goes to the first maximum of a window. As ``torch.nn.functional.max_pool2d``.

    Example:
        >>> import flamework as torch
        >>> torch.nn.functional.max_pool2d(torch.arange(4.0).reshape(1, 1, 2, 2), 2).tolist()
        [[[[3.0]]]]
    """
    return _max_pool(2, input, kernel_size, stride, padding, dilation, ceil_mode, return_indices)


def max_pool3d(
    input: Tensor, kernel_size: Sizes, stride: Sizes | None = None, padding: Sizes = 0, dilation: Sizes = 1,
    ceil_mode: bool = False, return_indices: bool = False,
) -> Tensor | tuple[Tensor, Tensor]:
    """The maximum of every window of a volume; see :func:`max_pool2d`. As ``torch.nn.functional.max_pool3d``."""
    return _max_pool(3, input, kernel_size, stride, padding, dilation, ceil_mode, return_indices)


def _avg_pool(
    rank: int, input: Tensor, kernel_size: Sizes, stride: Sizes | None, padding: Sizes, ceil_mode: bool,
    count_include_pad: bool, divisor_override: int | None,
) -> Tensor:
    function = f"avg_pool{rank}d"
    x = tensor_argument(input, function, "input", 1)
    if x.type.dtype is not dtypes.int64:
        # PyTorch has means of integers, rounded towards 0, for this dtype only
        floating_only(x, function)
    x, batched = _pooled(function, x, rank)
    size, steps, low, high, _, counts = _layout(function, x, kernel_size, stride, padding, 1, ceil_mode)
    if divisor_override == 0:
        raise RuntimeError("divisor must be not zero")
    summed = w.pooled_sum(p.piecewise(x), size, steps, low, high)
    if divisor_override is not None:
        divisor = argument(summed, divisor_override)
    else:
        held = [
            _elements_held(count, step, k, pad, extent, count_include_pad)
            for count, step, k, pad, extent in zip(counts, steps, size, low, x.type.shape[2:])
        ]
        divisor = w.window_sizes(held, summed)
    if x.type.dtype is dtypes.int64:
        return without_batch(node_of(div(tensor_of(summed), tensor_of(divisor), rounding_mode="trunc")), batched)
    return without_batch(p.div(summed, divisor), batched)


def _elements_held(count: int, step: int, k: int, pad: int, extent: int, count_include_pad: bool) -> int | np.ndarray:
    start = np.arange(count) * step - pad
    end = np.minimum(start + k, extent + pad)
    if not count_include_pad:
        start, end = np.maximum(start, 0), np.minimum(end, extent)
    held = end - start
    return int(held[0]) if (held == held[0]).all() else held


def avg_pool1d(
    input: Tensor, kernel_size: Sizes, stride: Sizes | None = None, padding: Sizes = 0, ceil_mode: bool = False,
    count_include_pad: bool = True,
) -> Tensor:
    """The mean of every window of a sequence; see :func:`avg_pool2d`. As ``torch.nn.functional.avg_pool1d``."""
    return _avg_pool(1, input, kernel_size, stride, padding, ceil_mode, count_include_pad, None)


def avg_pool2d(
    input: Tensor, kernel_size: Sizes, stride: Sizes | None = None, padding: Sizes = 0, ceil_mode: bool = False,
    count_include_pad: bool = True, divisor_override: int | None = None,
) -> Tensor:
    """The mean of every window of an image.

    Args:
        input: ``[batch, channels, height, width]``, or without the batch.
        stride: distance between windows, by default their size.
        padding: zeros around the image, at most half a window.
        ceil_mode: whether a window may hang over the far ends.
        count_include_pad: whether these zeros count in the mean.
        divisor_override: what to divide the sums by instead.

    As ``torch.nn.functional.avg_pool2d``.

    Example:
        >>> import flamework as torch
        >>> torch.nn.functional.avg_pool2d(torch.arange(4.0).reshape(1, 1, 2, 2), 2).tolist()
        [[[[1.5]]]]
    """
    return _avg_pool(2, input, kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override)


def avg_pool3d(
    input: Tensor, kernel_size: Sizes, stride: Sizes | None = None, padding: Sizes = 0, ceil_mode: bool = False,
    count_include_pad: bool = True, divisor_override: int | None = None,
) -> Tensor:
    """The mean of every window of a volume; see :func:`avg_pool2d`. As ``torch.nn.functional.avg_pool3d``."""
    return _avg_pool(3, input, kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override)


def _lp_pool(
    rank: int, input: Tensor, norm_type: float, kernel_size: Sizes, stride: Sizes | None, ceil_mode: bool
) -> Tensor:
    function = f"lp_pool{rank}d"
    x, batched = _pooled(function, floating_only(tensor_argument(input, function, "input", 1), function), rank)
    size, steps, low, high, _, counts = _layout(function, x, kernel_size, stride, 0, 1, ceil_mode)
    summed = w.pooled_sum(p.pow(x, argument(x, norm_type)), size, steps, low, high)
    # PyTorch takes a mean, which at an overhanging window is over what it holds, and multiplies by the whole window
    held = [
        _elements_held(count, step, k, pad, extent, True)
        for count, step, k, pad, extent in zip(counts, steps, size, low, x.type.shape[2:])
    ]
    if not all(isinstance(h, int) for h in held):
        summed = p.mul(p.div(summed, w.window_sizes(held, summed)), argument(summed, math.prod(size)))
    positive = p.mul(p.sign(f.cut(summed)), p.relu(p.abs(summed)))
    return without_batch(p.pow(positive, argument(positive, 1.0 / norm_type)), batched)


def lp_pool1d(
    input: Tensor, norm_type: float, kernel_size: Sizes, stride: Sizes | None = None, ceil_mode: bool = False
) -> Tensor:
    """``(sum x**norm_type) ** (1/norm_type)`` of every window of a sequence. As ``torch.nn.functional.lp_pool1d``."""
    return _lp_pool(1, input, norm_type, kernel_size, stride, ceil_mode)


def lp_pool2d(
    input: Tensor, norm_type: float, kernel_size: Sizes, stride: Sizes | None = None, ceil_mode: bool = False
) -> Tensor:
    """``(sum x**norm_type) ** (1/norm_type)`` of every window of an image. As ``torch.nn.functional.lp_pool2d``."""
    return _lp_pool(2, input, norm_type, kernel_size, stride, ceil_mode)


# ------------------------------------------------------------------------------------------------------------ adaptive


def _output_size(function: str, x: Node, output_size: int | Sequence[int | None]) -> list[int]:
    space = x.type.shape[2:]
    if isinstance(output_size, int) and not isinstance(output_size, bool):
        output_size = [output_size] * len(space)
    # a sequence has no axis to take from but its own, and PyTorch takes no None there
    entries = int if len(space) == 1 else int | None
    if not isinstance(output_size, Sequence) or not all(isinstance(count, entries) for count in output_size):
        raise TypeError(f"{function}(): argument 'output_size' must be tuple of ints, not {output_size!r}")
    if len(output_size) != len(space):
        raise RuntimeError(f"{function}: output_size must be {len(space)} long, got {list(output_size)}")
    counts = [extent if count is None else count for count, extent in zip(output_size, space)]
    if any(c < 0 for c in counts):
        raise RuntimeError(f"{function}: elements of output_size must be greater than or equal to 0, got {counts}")
    return counts


def _adaptive_input(
    function: str, input: Tensor, output_size: int | Sequence[int | None], rank: int, first: int
) -> tuple[Node, bool]:
    """The input with a batch axis, and whether it had one. Axes from ``first`` on must not be empty."""
    if rank > 1 and isinstance(output_size, tuple | list) and input.ndim <= len(output_size):
        raise ValueError(f"Input dimension should be at least {len(output_size) + 1}")
    x, batched = _with_batch(floating_only(tensor_argument(input, function, "input", 1), function), rank)
    if 0 in x.type.shape[first:]:
        raise RuntimeError(
            f"{function}(): Expected input to have non-zero size for non-batch dimensions, but input has sizes "
            f"{list(input.shape)}"
        )
    return x, batched


def _no_windows(x: Node, counts: Sequence[int]) -> Node:
    """Nothing, of the shape of so many windows, to which a gradient flows through all the same."""
    none = s.sliced(x, (0,) * x.ndim, (*x.type.shape[:2], *(0,) * len(counts)))
    return f.reshaped(none, (*x.type.shape[:2], *counts))


def _adaptive_avg(rank: int, input: Tensor, output_size: int | Sequence[int | None]) -> Tensor:
    function = f"adaptive_avg_pool{rank}d"
    x, batched = _adaptive_input(function, input, output_size, rank, 2)
    counts = _output_size(function, x, output_size)
    if 0 in counts:
        return without_batch(_no_windows(x, counts), batched)
    # one window is a mean, whose gradient has none
    x = x if math.prod(counts) == 1 else p.piecewise(x)
    view, held = w.adaptive_windows(x, counts, 0)
    summed = s.reduce_sum(view, params=w.window_axes(rank))
    return without_batch(p.div(summed, w.window_sizes(held, summed)), batched)


def _adaptive_max(
    rank: int, input: Tensor, output_size: int | Sequence[int | None], return_indices: bool
) -> Tensor | tuple[Tensor, Tensor]:
    function = f"adaptive_max_pool{rank}d"
    x, batched = _adaptive_input(function, input, output_size, rank, 1)
    counts = _output_size(function, x, output_size)
    if 0 in counts:
        values = _no_windows(x, counts)
        index = f.filled(values.type.shape, dtypes.int64, x.type.device, 0)
    else:
        values, index = w.adaptive_maximum(x, counts, return_indices)
    if return_indices:
        return without_batch(values, batched), without_batch(index, batched)
    return without_batch(values, batched)


def adaptive_avg_pool1d(input: Tensor, output_size: int | Sequence[int]) -> Tensor:
    """The means of ``output_size`` windows that cover a sequence evenly.

    As ``torch.nn.functional.adaptive_avg_pool1d``.
    """
    return _adaptive_avg(1, input, output_size)


def adaptive_avg_pool2d(input: Tensor, output_size: int | Sequence[int | None]) -> Tensor:
    """The means of windows that cover an image evenly.

    Args:
        input: ``[batch, channels, height, width]``, or without the batch.
        output_size: how many windows by axis; None for as many as the image has elements.

    As ``torch.nn.functional.adaptive_avg_pool2d``.

    Example:
        >>> import flamework as torch
        >>> torch.nn.functional.adaptive_avg_pool2d(torch.arange(4.0).reshape(1, 1, 2, 2), 1).tolist()
        [[[[1.5]]]]
    """
    return _adaptive_avg(2, input, output_size)


def adaptive_avg_pool3d(input: Tensor, output_size: int | Sequence[int | None]) -> Tensor:
    """The means of windows that cover a volume evenly. As ``torch.nn.functional.adaptive_avg_pool3d``."""
    return _adaptive_avg(3, input, output_size)


def adaptive_max_pool1d(
    input: Tensor, output_size: int | Sequence[int], return_indices: bool = False
) -> Tensor | tuple[Tensor, Tensor]:
    """The maxima of windows that cover a sequence evenly. As ``torch.nn.functional.adaptive_max_pool1d``."""
    return _adaptive_max(1, input, output_size, return_indices)


def adaptive_max_pool2d(
    input: Tensor, output_size: int | Sequence[int | None], return_indices: bool = False
) -> Tensor | tuple[Tensor, Tensor]:
    """The maxima of windows that cover an image evenly; see :func:`adaptive_avg_pool2d` and :func:`max_pool2d`.

    As ``torch.nn.functional.adaptive_max_pool2d``.
    """
    return _adaptive_max(2, input, output_size, return_indices)


def adaptive_max_pool3d(
    input: Tensor, output_size: int | Sequence[int | None], return_indices: bool = False
) -> Tensor | tuple[Tensor, Tensor]:
    """The maxima of windows that cover a volume evenly. As ``torch.nn.functional.adaptive_max_pool3d``."""
    return _adaptive_max(3, input, output_size, return_indices)


# ----------------------------------------------------------------------------------------------------------- unpooling


def _max_unpool(
    rank: int, input: Tensor, indices: Tensor, kernel_size: Sizes, stride: Sizes | None, padding: Sizes,
    output_size: Sequence[int] | None,
) -> Tensor:
    function = f"max_unpool{rank}d"
    x, batched = _with_batch(tensor_argument(input, function, "input", 1), rank)
    index, _ = _with_batch(node_of(indices), rank)
    size = integers(kernel_size, rank, function, "kernel_size")
    steps = size if stride is None else integers(stride, rank, function, "stride")
    pads = integers(padding, rank, function, "padding")
    if output_size is None:
        space = [(e - 1) * step - 2 * pad + k for e, step, pad, k in zip(x.type.shape[2:], steps, pads, size)]
    else:
        space = list(output_size)[-rank:]
    if index.type.shape != x.type.shape:
        raise RuntimeError(
            f"Expected shape of indices to be same as that of the input tensor ({list(x.type.shape)}) but got indices "
            f"tensor with shape: {list(index.type.shape)}"
        )
    lead = x.type.shape[:2]
    flat = (*lead, math.prod(x.type.shape[2:]))
    message = "Found an invalid max index: {index} (output volumes are of size {size})"
    place = checked_index(f.reshaped(index, flat), math.prod(space), message=message, error=RuntimeError)
    empty = f.filled((*lead, math.prod(space)), x.type.dtype, x.type.device, 0)
    written = s.scatter(empty, place, f.reshaped(x, flat), params=(2, "set"))
    return without_batch(f.reshaped(written, (*lead, *space)), batched)


def max_unpool1d(
    input: Tensor, indices: Tensor, kernel_size: Sizes, stride: Sizes | None = None, padding: Sizes = 0,
    output_size: Sequence[int] | None = None,
) -> Tensor:
    """The maxima of :func:`max_pool1d` back in their places, zeros elsewhere.

    As ``torch.nn.functional.max_unpool1d``.
    """
    return _max_unpool(1, input, indices, kernel_size, stride, padding, output_size)


def max_unpool2d(
    input: Tensor, indices: Tensor, kernel_size: Sizes, stride: Sizes | None = None, padding: Sizes = 0,
    output_size: Sequence[int] | None = None,
) -> Tensor:
    """The maxima of :func:`max_pool2d` back in their places, zeros elsewhere.

    As ``torch.nn.functional.max_unpool2d``.
    """
    return _max_unpool(2, input, indices, kernel_size, stride, padding, output_size)


def max_unpool3d(
    input: Tensor, indices: Tensor, kernel_size: Sizes, stride: Sizes | None = None, padding: Sizes = 0,
    output_size: Sequence[int] | None = None,
) -> Tensor:
    """The maxima of :func:`max_pool3d` back in their places, zeros elsewhere.

    As ``torch.nn.functional.max_unpool3d``.
    """
    return _max_unpool(3, input, indices, kernel_size, stride, padding, output_size)


__all__ = [
    "adaptive_avg_pool1d", "adaptive_avg_pool2d", "adaptive_avg_pool3d", "adaptive_max_pool1d", "adaptive_max_pool2d",
    "adaptive_max_pool3d", "avg_pool1d", "avg_pool2d", "avg_pool3d", "lp_pool1d", "lp_pool2d", "max_pool1d",
    "max_pool2d", "max_pool3d", "max_unpool1d", "max_unpool2d", "max_unpool3d",
]
