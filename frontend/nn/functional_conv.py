"""Convolution and its transpose, in one, two and three dimensions, and the window views behind them.

Arguments are checked and spread over the axes of space here; the formulas are in ``formulas_windows.py``. An input may
come without its batch axis. Read next: ``functional_pool.py``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from .. import formulas as f, formulas_windows as w
from ..arguments import floating_only, integers, scalar_type, tensor_argument
from ..compiler import primitives as p
from ..compiler.dtypes import BOOL, COMPLEX, INTEGER, int64
from ..compiler.ir import Node
from ..recording import node_of, tensor_of
from ..tensor import Tensor

Sizes = int | Sequence[int]


def with_batch(x: Node, rank: int, function: str) -> tuple[Node, bool]:
    """``x`` with a batch axis, and whether it had one.

    Raises:
        RuntimeError: another number of axes.
    """
    if x.ndim == rank + 2:
        return x, True
    if x.ndim == rank + 1:
        return f.reshaped(x, (1, *x.type.shape)), False
    raise RuntimeError(
        f"Expected {rank + 1}D (unbatched) or {rank + 2}D (batched) input to {function}, but got input of size: "
        f"{list(x.type.shape)}"
    )


def without_batch(x: Node, batched: bool) -> Tensor:
    return tensor_of(x if batched else f.reshaped(x, x.type.shape[1:]))


def _checked(
    function: str, rank: int, input: Tensor, weight: Tensor, bias: Tensor | None, groups: int, *, transposed: bool
) -> tuple[Node, Node, bool]:
    x = tensor_argument(input, function, "input", 1)
    if x.type.dtype.kind == BOOL or (transposed and x.type.dtype.kind == INTEGER and x.type.dtype is not int64):
        floating_only(x, function)
    kernel = tensor_argument(weight, function, "weight", 2)
    for name, other in (("weight", weight), ("bias", bias)):
        if other is not None and other.dtype is not x.type.dtype:
            raise RuntimeError(
                f"Input type ({x.type.dtype.name}) and {name} type ({other.dtype.name}) should be the same"
            )
    if kernel.ndim != rank + 2:
        raise RuntimeError(f"{function}: expected a weight of {rank + 2} axes, got {list(kernel.type.shape)}")
    if groups <= 0:
        raise RuntimeError("non-positive groups is not supported")
    x, batched = with_batch(x, rank, function)
    shape = kernel.type.shape
    if shape[0] % groups:
        raise RuntimeError(
            f"Given groups={groups}, expected weight to be divisible by {groups} at dimension 0, but got weight of "
            f"size [{list(shape)}] instead"
        )
    channels = shape[0] if transposed else shape[1] * groups
    if x.type.shape[1] != channels:
        transpose = "transposed=1, " if transposed else ""
        raise RuntimeError(
            f"Given {transpose}groups={groups}, weight of size {list(shape)}, expected input{list(x.type.shape)} to "
            f"have {channels} channels, but got {x.type.shape[1]} channels instead"
        )
    out_channels = shape[1] * groups if transposed else shape[0]
    if bias is not None and tuple(bias.shape) != (out_channels,):
        raise RuntimeError(
            f"Given weight of size {list(shape)}, expected bias to be 1-dimensional with {out_channels} elements, but "
            f"got bias of size {list(bias.shape)} instead"
        )
    return x, kernel, batched


def _positive(name: str, values: tuple[int, ...]) -> tuple[int, ...]:
    if any(v <= 0 for v in values):
        raise RuntimeError(f"non-positive {name} is not supported")
    return values


def _bilinear(product: Callable[[Node, Node], Node], x: Node, y: Node) -> Node:
    """A bilinear function of real nodes, also of complex ones."""
    if x.type.dtype.kind != COMPLEX:
        return product(x, y)
    a, b, c, d = p.real(x), p.imag(x), p.real(y), p.imag(y)
    return p.complex_(p.sub(product(a, c), product(b, d)), p.add(product(a, d), product(b, c)))


def _biased(out: Node, bias: Tensor | None) -> Node:
    return out if bias is None else p.add(out, f.channelwise(node_of(bias), out, 1))


def _convolved(
    rank: int, input: Tensor, weight: Tensor, bias: Tensor | None, stride: Sizes, padding: Sizes | str,
    dilation: Sizes, groups: int,
) -> Tensor:
    function = f"conv{rank}d"
    x, kernel, batched = _checked(function, rank, input, weight, bias, groups, transposed=False)
    steps = _positive("stride", integers(stride, rank, function, "stride"))
    gaps = _positive("dilation", integers(dilation, rank, function, "dilation"))
    size = kernel.type.shape[2:]
    low, high = _padding(function, rank, padding, size, steps, gaps)
    reached = tuple(d * (k - 1) + 1 for d, k in zip(gaps, size))
    available = tuple(e + a + b for e, a, b in zip(x.type.shape[2:], low, high))
    if any(need > have for need, have in zip(reached, available)):
        raise RuntimeError(
            f"Calculated padded input size per channel: ({' x '.join(map(str, available))}). Kernel size: "
            f"({' x '.join(map(str, reached))}). Kernel size can't be greater than actual input size"
        )
    out = _bilinear(lambda a, b: w.convolution(a, b, steps, low, high, gaps, groups), x, kernel)
    return without_batch(_biased(out, bias), batched)


def _padding(function, rank, padding, size, stride, dilation) -> tuple[tuple[int, ...], tuple[int, ...]]:
    if isinstance(padding, str):
        if padding == "valid":
            return (0,) * rank, (0,) * rank
        if padding != "same":
            raise RuntimeError(f"Invalid padding string: '{padding}'")
        if any(step != 1 for step in stride):
            raise RuntimeError("padding='same' is not supported for strided convolutions")
        total = [d * (k - 1) for d, k in zip(dilation, size)]
        # of an odd number the larger half goes to the far end
        return tuple(t // 2 for t in total), tuple(t - t // 2 for t in total)
    widths = integers(padding, rank, function, "padding")
    if any(v < 0 for v in widths):
        raise RuntimeError("negative padding is not supported")
    return widths, widths


def conv1d(
    input: Tensor, weight: Tensor, bias: Tensor | None = None, stride: Sizes = 1, padding: Sizes | str = 0,
    dilation: Sizes = 1, groups: int = 1,
) -> Tensor:
    """Cross-correlation of ``[batch, in, length]`` with ``weight`` ``[out, in / groups, size]``; see :func:`conv2d`.

    As ``torch.nn.functional.conv1d``.

    Example:
        >>> import flamework as torch
        >>> torch.nn.functional.conv1d(torch.ones(1, 1, 3), torch.ones(1, 1, 2)).tolist()
        [[[2.0, 2.0]]]
    """
    return _convolved(1, input, weight, bias, stride, padding, dilation, groups)


def conv2d(
    input: Tensor, weight: Tensor, bias: Tensor | None = None, stride: Sizes = 1, padding: Sizes | str = 0,
    dilation: Sizes = 1, groups: int = 1,
) -> Tensor:
    """Cross-correlation of images with filters.

    Args:
        input: ``[batch, in, height, width]``, or without the batch.
        weight: ``[out, in / groups, kernel height, kernel width]``.
        bias: ``[out]``.
        stride: distance between windows.
        padding: zeros around the image; ``"same"`` for as many as keep the size, ``"valid"`` for none.
        dilation: distance between the elements of a window.
        groups: parts into which the channels are split, each with filters of its own.

    As ``torch.nn.functional.conv2d``.

    Raises:
        RuntimeError: sizes or dtypes that do not fit.

    Example:
        >>> import flamework as torch
        >>> torch.nn.functional.conv2d(torch.ones(1, 1, 2, 2), torch.ones(1, 1, 2, 2)).tolist()
        [[[[4.0]]]]
    """
    return _convolved(2, input, weight, bias, stride, padding, dilation, groups)


def conv3d(
    input: Tensor, weight: Tensor, bias: Tensor | None = None, stride: Sizes = 1, padding: Sizes | str = 0,
    dilation: Sizes = 1, groups: int = 1,
) -> Tensor:
    """Cross-correlation of volumes ``[batch, in, depth, height, width]``; see :func:`conv2d`.

    As ``torch.nn.functional.conv3d``.
    """
    return _convolved(3, input, weight, bias, stride, padding, dilation, groups)


def _transposed(
    rank: int, input: Tensor, weight: Tensor, bias: Tensor | None, stride: Sizes, padding: Sizes,
    output_padding: Sizes, groups: int, dilation: Sizes,
) -> Tensor:
    function = f"conv_transpose{rank}d"
    x, kernel, batched = _checked(function, rank, input, weight, bias, groups, transposed=True)
    steps = _positive("stride", integers(stride, rank, function, "stride"))
    gaps = _positive("dilation", integers(dilation, rank, function, "dilation"))
    widths = integers(padding, rank, function, "padding")
    extra = integers(output_padding, rank, function, "output_padding")
    if any(v < 0 for v in widths):
        raise RuntimeError("negative padding is not supported")
    for e, step, gap in zip(extra, steps, gaps):
        if e < 0 or (e >= step and e >= gap):
            raise RuntimeError(
                "output padding must be smaller than either stride or dilation, but got output_padding: "
                f"{list(extra)}, stride: {list(steps)}, dilation: {list(gaps)}"
            )
    out = _bilinear(lambda a, b: w.transposed_convolution(a, b, steps, widths, extra, gaps, groups), x, kernel)
    return without_batch(_biased(out, bias), batched)


def conv_transpose1d(
    input: Tensor, weight: Tensor, bias: Tensor | None = None, stride: Sizes = 1, padding: Sizes = 0,
    output_padding: Sizes = 0, groups: int = 1, dilation: Sizes = 1,
) -> Tensor:
    """The transpose of :func:`conv1d`; see :func:`conv_transpose2d`. As ``torch.nn.functional.conv_transpose1d``."""
    return _transposed(1, input, weight, bias, stride, padding, output_padding, groups, dilation)


def conv_transpose2d(
    input: Tensor, weight: Tensor, bias: Tensor | None = None, stride: Sizes = 1, padding: Sizes = 0,
    output_padding: Sizes = 0, groups: int = 1, dilation: Sizes = 1,
) -> Tensor:
    """The transpose of :func:`conv2d`: what its gradient does to an image.

    Args:
        input: ``[batch, in, height, width]``, or without the batch.
        weight: ``[in, out / groups, kernel height, kernel width]``.
        padding: what is cut off around the result.
        output_padding: additional size of the result at its far ends.

    As ``torch.nn.functional.conv_transpose2d``.
    """
    return _transposed(2, input, weight, bias, stride, padding, output_padding, groups, dilation)


def conv_transpose3d(
    input: Tensor, weight: Tensor, bias: Tensor | None = None, stride: Sizes = 1, padding: Sizes = 0,
    output_padding: Sizes = 0, groups: int = 1, dilation: Sizes = 1,
) -> Tensor:
    """The transpose of :func:`conv3d`; see :func:`conv_transpose2d`. As ``torch.nn.functional.conv_transpose3d``."""
    return _transposed(3, input, weight, bias, stride, padding, output_padding, groups, dilation)


# ------------------------------------------------------------------------------------------------- windows as columns


def unfold(
    input: Tensor, kernel_size: Sizes, dilation: Sizes = 1, padding: Sizes = 0, stride: Sizes = 1
) -> Tensor:
    """The windows of images as columns: ``[batch, channels * window, windows]``. As ``torch.nn.functional.unfold``."""
    x = tensor_argument(input, "unfold", "input", 1)
    x, batched = with_batch(x, 2, "unfold")
    size = _positive("kernel_size", integers(kernel_size, 2, "unfold", "kernel_size"))
    steps = _positive("stride", integers(stride, 2, "unfold", "stride"))
    gaps = _positive("dilation", integers(dilation, 2, "unfold", "dilation"))
    widths = integers(padding, 2, "unfold", "padding")
    counts = _window_counts("unfold", x.type.shape[2:], size, gaps, widths, steps)
    view = w.windows(w.padded(x, widths, widths, 0), size, steps, gaps)
    columns = f.permuted(view, (0, 1, 4, 5, 2, 3))
    batch, channels = x.type.shape[:2]
    return without_batch(f.reshaped(columns, (batch, channels * math.prod(size), math.prod(counts))), batched)


def _window_counts(function, space, size, gaps, widths, steps) -> list[int]:
    counts = [
        (e + 2 * pad - gap * (k - 1) - 1) // step + 1 for e, k, gap, pad, step in zip(space, size, gaps, widths, steps)
    ]
    if any(c < 1 for c in counts):
        raise RuntimeError(
            f"{function}: windows of {list(size)} in steps of {list(steps)} do not fit an image of {list(space)} with "
            f"padding {list(widths)}: there would be {counts} of them"
        )
    return counts


def fold(
    input: Tensor, output_size: Sizes, kernel_size: Sizes, dilation: Sizes = 1, padding: Sizes = 0, stride: Sizes = 1
) -> Tensor:
    """The transpose of :func:`unfold`: columns added to the places that they were read from.

    As ``torch.nn.functional.fold``.
    """
    x = floating_only(tensor_argument(input, "fold", "input", 1), "fold")
    if x.ndim not in (2, 3):
        raise RuntimeError(f"fold: expected [batch, columns, windows], got {list(x.type.shape)}")
    batched = x.ndim == 3
    x = x if batched else f.reshaped(x, (1, *x.type.shape))
    space = integers(output_size, 2, "fold", "output_size")
    size = _positive("kernel_size", integers(kernel_size, 2, "fold", "kernel_size"))
    steps = _positive("stride", integers(stride, 2, "fold", "stride"))
    gaps = _positive("dilation", integers(dilation, 2, "fold", "dilation"))
    widths = integers(padding, 2, "fold", "padding")
    counts = _window_counts("fold", space, size, gaps, widths, steps)
    batch, columns, windows = x.type.shape
    if columns % math.prod(size) or windows != math.prod(counts):
        raise RuntimeError(
            f"fold: an image of {list(space)} has {math.prod(counts)} windows of {math.prod(size)} elements a "
            f"channel, but the input is {scalar_type(x.type.dtype)}{list(x.type.shape)}"
        )
    view = f.permuted(f.reshaped(x, (batch, columns // math.prod(size), *size, *counts)), (0, 1, 4, 5, 2, 3))
    summed = w.overlap_added(view, [e + 2 * pad for e, pad in zip(space, widths)], steps, gaps)
    cut = [-pad for pad in widths]
    return without_batch(w.padded(summed, cut, cut, 0), batched)


__all__ = [
    "conv1d", "conv2d", "conv3d", "conv_transpose1d", "conv_transpose2d", "conv_transpose3d", "fold", "unfold",
]
