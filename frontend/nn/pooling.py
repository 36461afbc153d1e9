"""Pooling layers: each output is the maximum or the mean of a window of the input.

What layers of any number of spatial dimensions have in common is in a base class; a subclass adds the function that
computes. An adaptive layer is told the size of its result instead of its windows'.

In: (N, C, *spatial) or (C, *spatial). Out: the same with other spatial sizes. They have no parameters; the computation
is in ``functional_pool.py``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from flamework.nn import functional as F
from flamework.nn.conv import to_tuple
from flamework.nn.module import Module
from flamework.tensor import Tensor

_Size = int | tuple[int, ...]
_OutputSize = int | None | tuple[int | None, ...]


class _MaxPool(Module):
    """Arguments of a maximum over windows; ``function`` computes."""

    function: Callable

    def __init__(self, kernel_size: _Size, stride: _Size | None = None, padding: _Size = 0, dilation: _Size = 1,
                 return_indices: bool = False, ceil_mode: bool = False) -> None:
        super().__init__()
        self.kernel_size = kernel_size
        self.stride = kernel_size if stride is None else stride
        self.padding = padding
        self.dilation = dilation
        self.return_indices = return_indices
        self.ceil_mode = ceil_mode

    def forward(self, input: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        return self.function(input, self.kernel_size, self.stride, self.padding, self.dilation,
                             ceil_mode=self.ceil_mode, return_indices=self.return_indices)

    def extra_repr(self) -> str:
        return (f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}, "
                f"dilation={self.dilation}, ceil_mode={self.ceil_mode}")


class MaxPool1d(_MaxPool):
    """The maximum of each window of a sequence.

    Arguments as of :class:`MaxPool2d`. Shape: (N, C, L) to (N, C, L'). As ``torch.nn.MaxPool1d``.

    Example:
        >>> import flamework
        >>> flamework.nn.MaxPool1d(2)(flamework.tensor([[1.0, 3.0, 2.0, 0.0]])).tolist()
        [[3.0, 2.0]]
    """

    function = staticmethod(F.max_pool1d)


class MaxPool2d(_MaxPool):
    """The maximum of each window.

    Args:
        kernel_size: of the window; one number, or (height, width), as all sizes here.
        stride: between windows, the kernel size when left out.
        padding: with minus infinity, on both sides.
        dilation: distance between the elements of a window.
        return_indices: return the positions of the maxima too.
        ceil_mode: round the output size up instead of down.

    Shape: (N, C, H, W) to (N, C, H', W') with H' = floor((H + 2 padding - dilation (kernel - 1) - 1) / stride + 1). As
    ``torch.nn.MaxPool2d``.

    Example:
        >>> import flamework
        >>> tuple(flamework.nn.MaxPool2d(2)(flamework.zeros(1, 3, 8, 6)).shape)
        (1, 3, 4, 3)
    """

    function = staticmethod(F.max_pool2d)


class MaxPool3d(_MaxPool):
    """The maximum of each window of a volume.

    Arguments as of :class:`MaxPool2d`. Shape: (N, C, D, H, W) to (N, C, D', H', W'). As ``torch.nn.MaxPool3d``.

    Example:
        >>> import flamework
        >>> tuple(flamework.nn.MaxPool3d(2)(flamework.zeros(1, 3, 4, 8, 6)).shape)
        (1, 3, 2, 4, 3)
    """

    function = staticmethod(F.max_pool3d)


class AvgPool1d(Module):
    """The mean of each window of a sequence.

    Arguments as of :class:`AvgPool2d`, without ``divisor_override``. Shape: (N, C, L) to (N, C, L'). As
    ``torch.nn.AvgPool1d``.

    Example:
        >>> import flamework
        >>> flamework.nn.AvgPool1d(2)(flamework.tensor([[1.0, 3.0, 2.0, 0.0]])).tolist()
        [[2.0, 1.0]]
    """

    def __init__(self, kernel_size: _Size, stride: _Size | None = None, padding: _Size = 0, ceil_mode: bool = False,
                 count_include_pad: bool = True) -> None:
        super().__init__()
        self.kernel_size = to_tuple(kernel_size, 1)
        self.stride = self.kernel_size if stride is None else to_tuple(stride, 1)
        self.padding = to_tuple(padding, 1)
        self.ceil_mode = ceil_mode
        self.count_include_pad = count_include_pad

    def forward(self, input: Tensor) -> Tensor:
        return F.avg_pool1d(input, self.kernel_size, self.stride, self.padding, self.ceil_mode, self.count_include_pad)

    def extra_repr(self) -> str:
        return f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}"


class _AvgPool(Module):
    """Arguments of a mean over windows of images or volumes; ``function`` computes."""

    function: Callable

    def __init__(self, kernel_size: _Size, stride: _Size | None = None, padding: _Size = 0, ceil_mode: bool = False,
                 count_include_pad: bool = True, divisor_override: int | None = None) -> None:
        super().__init__()
        self.kernel_size = kernel_size
        self.stride = kernel_size if stride is None else stride
        self.padding = padding
        self.ceil_mode = ceil_mode
        self.count_include_pad = count_include_pad
        self.divisor_override = divisor_override

    def forward(self, input: Tensor) -> Tensor:
        return self.function(input, self.kernel_size, self.stride, self.padding, self.ceil_mode,
                             self.count_include_pad, self.divisor_override)

    def extra_repr(self) -> str:
        return f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}"


class AvgPool2d(_AvgPool):
    """The mean of each window.

    Args:
        kernel_size: of the window; one number, or (height, width), as all sizes here.
        stride: between windows, the kernel size when left out.
        padding: with zeros, on both sides.
        ceil_mode: round the output size up instead of down.
        count_include_pad: whether padding counts as elements of the mean.
        divisor_override: divide the sum by this instead of by the number of elements.

    Shape: (N, C, H, W) to (N, C, H', W') with H' = floor((H + 2 padding - kernel) / stride + 1). As
    ``torch.nn.AvgPool2d``.

    Example:
        >>> import flamework
        >>> flamework.nn.AvgPool2d(2)(flamework.ones(1, 1, 2, 4)).tolist()
        [[[[1.0, 1.0]]]]
    """

    function = staticmethod(F.avg_pool2d)


class AvgPool3d(_AvgPool):
    """The mean of each window of a volume.

    Arguments as of :class:`AvgPool2d`. Shape: (N, C, D, H, W) to (N, C, D', H', W'). As ``torch.nn.AvgPool3d``.

    Example:
        >>> import flamework
        >>> flamework.nn.AvgPool3d(2)(flamework.ones(1, 1, 2, 2, 4)).tolist()
        [[[[[1.0, 1.0]]]]]
    """

    function = staticmethod(F.avg_pool3d)


class _AdaptiveAvgPool(Module):
    function: Callable

    def __init__(self, output_size: _OutputSize) -> None:
        super().__init__()
        self.output_size = output_size

    def forward(self, input: Tensor) -> Tensor:
        return self.function(input, self.output_size)

    def extra_repr(self) -> str:
        return f"output_size={self.output_size}"


class AdaptiveAvgPool1d(_AdaptiveAvgPool):
    """The means of ``output_size`` windows that cover a sequence evenly.

    Shape: (N, C, L) to (N, C, output_size). As ``torch.nn.AdaptiveAvgPool1d``.

    Example:
        >>> import flamework
        >>> flamework.nn.AdaptiveAvgPool1d(2)(flamework.tensor([[1.0, 3.0, 2.0]])).tolist()
        [[2.0, 2.5]]
    """

    function = staticmethod(F.adaptive_avg_pool1d)


class AdaptiveAvgPool2d(_AdaptiveAvgPool):
    """The means of windows that cover an image evenly, so many whatever its size.

    Args:
        output_size: number of windows; one number, or (height, width). None means as many as the input has there.

    Shape: (N, C, H, W) to (N, C, *output_size); window i of n along H is rows floor(i H / n) to ceil((i + 1) H / n).
    As ``torch.nn.AdaptiveAvgPool2d``.

    Raises:
        RuntimeError, when called: an output size of another number of dimensions, or a negative one.

    Example:
        >>> import flamework
        >>> tuple(flamework.nn.AdaptiveAvgPool2d((1, None))(flamework.zeros(2, 3, 8, 6)).shape)
        (2, 3, 1, 6)
    """

    function = staticmethod(F.adaptive_avg_pool2d)


class AdaptiveAvgPool3d(_AdaptiveAvgPool):
    """The means of windows that cover a volume evenly; see :class:`AdaptiveAvgPool2d`.

    Shape: (N, C, D, H, W) to (N, C, *output_size). As ``torch.nn.AdaptiveAvgPool3d``.

    Example:
        >>> import flamework
        >>> tuple(flamework.nn.AdaptiveAvgPool3d((1, None, 2))(flamework.zeros(2, 3, 4, 8, 6)).shape)
        (2, 3, 1, 8, 2)
    """

    function = staticmethod(F.adaptive_avg_pool3d)


class _AdaptiveMaxPool(Module):
    function: Callable

    def __init__(self, output_size: _OutputSize, return_indices: bool = False) -> None:
        super().__init__()
        self.output_size = output_size
        self.return_indices = return_indices

    def forward(self, input: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        return self.function(input, self.output_size, self.return_indices)

    def extra_repr(self) -> str:
        return f"output_size={self.output_size}"


class AdaptiveMaxPool1d(_AdaptiveMaxPool):
    """The maxima of ``output_size`` windows that cover a sequence evenly; see :class:`AdaptiveMaxPool2d`.

    Shape: (N, C, L) to (N, C, output_size). As ``torch.nn.AdaptiveMaxPool1d``.

    Example:
        >>> import flamework
        >>> flamework.nn.AdaptiveMaxPool1d(2)(flamework.tensor([[1.0, 3.0, 2.0]])).tolist()
        [[3.0, 3.0]]
    """

    function = staticmethod(F.adaptive_max_pool1d)


class AdaptiveMaxPool2d(_AdaptiveMaxPool):
    """The maxima of windows that cover an image evenly, so many whatever its size.

    Args:
        output_size: number of windows; one number, or (height, width). None means as many as the input has there.
        return_indices: return the positions of the maxima too.

    Shape: (N, C, H, W) to (N, C, *output_size), in the windows of :class:`AdaptiveAvgPool2d`. As
    ``torch.nn.AdaptiveMaxPool2d``.

    Raises:
        RuntimeError, when called: an output size of another number of dimensions, or one that is not positive.

    Example:
        >>> import flamework
        >>> tuple(flamework.nn.AdaptiveMaxPool2d((5, 7))(flamework.zeros(1, 64, 8, 9)).shape)
        (1, 64, 5, 7)
    """

    function = staticmethod(F.adaptive_max_pool2d)


class AdaptiveMaxPool3d(_AdaptiveMaxPool):
    """The maxima of windows that cover a volume evenly; see :class:`AdaptiveMaxPool2d`.

    Shape: (N, C, D, H, W) to (N, C, *output_size). As ``torch.nn.AdaptiveMaxPool3d``.

    Example:
        >>> import flamework
        >>> tuple(flamework.nn.AdaptiveMaxPool3d(2)(flamework.zeros(1, 2, 4, 5, 6)).shape)
        (1, 2, 2, 2, 2)
    """

    function = staticmethod(F.adaptive_max_pool3d)


class _MaxUnpool(Module):
    function: Callable
    dimensions: int

    def __init__(self, kernel_size: _Size, stride: _Size | None = None, padding: _Size = 0) -> None:
        super().__init__()
        self.kernel_size = to_tuple(kernel_size, self.dimensions)
        self.stride = self.kernel_size if stride is None else to_tuple(stride, self.dimensions)
        self.padding = to_tuple(padding, self.dimensions)

    def forward(self, input: Tensor, indices: Tensor, output_size: Sequence[int] | None = None) -> Tensor:
        return self.function(input, indices, self.kernel_size, self.stride, self.padding, output_size)

    def extra_repr(self) -> str:
        return f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}"


class MaxUnpool1d(_MaxUnpool):
    """The maxima of :class:`MaxPool1d` back in their places, zeros elsewhere; see :class:`MaxUnpool2d`.

    Shape: (N, C, L) to (N, C, L'). As ``torch.nn.MaxUnpool1d``.

    Example:
        >>> import flamework
        >>> x = flamework.tensor([[1.0, 3.0, 2.0, 0.0]])
        >>> flamework.nn.MaxUnpool1d(2)(*flamework.nn.MaxPool1d(2, return_indices=True)(x)).tolist()
        [[0.0, 3.0, 2.0, 0.0]]
    """

    function = staticmethod(F.max_unpool1d)
    dimensions = 1


class MaxUnpool2d(_MaxUnpool):
    """The maxima of :class:`MaxPool2d` back in their places, zeros elsewhere.

    Args:
        kernel_size, stride, padding: those of the pooling.

    Called with the maxima, their positions, and where the pooling rounded a size down the ``output_size``.

    Shape: (N, C, H, W) to (N, C, H', W') with H' = (H - 1) stride - 2 padding + kernel_size. As
    ``torch.nn.MaxUnpool2d``.

    Example:
        >>> import flamework
        >>> x = flamework.arange(4.0).reshape(1, 1, 2, 2)
        >>> flamework.nn.MaxUnpool2d(2)(*flamework.nn.MaxPool2d(2, return_indices=True)(x)).tolist()
        [[[[0.0, 0.0], [0.0, 3.0]]]]
    """

    function = staticmethod(F.max_unpool2d)
    dimensions = 2


class MaxUnpool3d(_MaxUnpool):
    """The maxima of :class:`MaxPool3d` back in their places, zeros elsewhere; see :class:`MaxUnpool2d`.

    Shape: (N, C, D, H, W) to (N, C, D', H', W'). As ``torch.nn.MaxUnpool3d``.

    Example:
        >>> import flamework
        >>> x = flamework.arange(8.0).reshape(1, 1, 2, 2, 2)
        >>> flamework.nn.MaxUnpool3d(2)(*flamework.nn.MaxPool3d(2, return_indices=True)(x)).sum().item()
        7.0
    """

    function = staticmethod(F.max_unpool3d)
    dimensions = 3


class _LPPool(Module):
    function: Callable

    def __init__(self, norm_type: float, kernel_size: _Size, stride: _Size | None = None,
                 ceil_mode: bool = False) -> None:
        super().__init__()
        self.norm_type = norm_type
        self.kernel_size = kernel_size
        self.stride = stride
        self.ceil_mode = ceil_mode

    def forward(self, input: Tensor) -> Tensor:
        return self.function(input, float(self.norm_type), self.kernel_size, self.stride, self.ceil_mode)

    def extra_repr(self) -> str:
        return (f"norm_type={self.norm_type}, kernel_size={self.kernel_size}, stride={self.stride}, "
                f"ceil_mode={self.ceil_mode}")


class LPPool1d(_LPPool):
    """The norm of each window of a sequence; see :class:`LPPool2d`.

    Shape: (N, C, L) to (N, C, L'). As ``torch.nn.LPPool1d``.

    Example:
        >>> import flamework
        >>> flamework.nn.LPPool1d(2, 2)(flamework.tensor([[3.0, 4.0]])).tolist()
        [[5.0]]
    """

    function = staticmethod(F.lp_pool1d)


class LPPool2d(_LPPool):
    """The norm of each window, (sum x**p) ** (1/p).

    Args:
        norm_type: p; infinite for the maximum, 1 for the sum.
        kernel_size: of the window; one number, or (height, width), as all sizes here.
        stride: between windows, the kernel size when left out.
        ceil_mode: round the output size up instead of down.

    Shape: (N, C, H, W) to (N, C, H', W') with H' = floor((H - kernel) / stride + 1). As ``torch.nn.LPPool2d``.

    Example:
        >>> import flamework
        >>> flamework.nn.LPPool2d(1, 2)(flamework.ones(1, 1, 2, 4)).tolist()
        [[[[4.0, 4.0]]]]
    """

    function = staticmethod(F.lp_pool2d)


class _FractionalMaxPool(Module):
    """Arguments of a maximum over windows at random distances; ``function`` computes."""

    function: Callable
    rank: int

    def __init__(self, kernel_size: _Size, output_size: _Size | None = None,
                 output_ratio: float | tuple[float, ...] | None = None, return_indices: bool = False,
                 _random_samples: Tensor | None = None) -> None:
        super().__init__()
        self.kernel_size = to_tuple(kernel_size, self.rank)
        self.return_indices = return_indices
        self.register_buffer("_random_samples", _random_samples)
        self.output_size = None if output_size is None else to_tuple(output_size, self.rank)
        self.output_ratio = None if output_ratio is None else to_tuple(output_ratio, self.rank)
        if output_size is None and output_ratio is None:
            raise ValueError(
                f"{type(self).__name__} requires specifying either an output size, or a pooling ratio"
            )
        if output_size is not None and output_ratio is not None:
            raise ValueError("only one of output_size and output_ratio may be specified")
        if self.output_ratio is not None and not all(0 < ratio < 1 for ratio in self.output_ratio):
            raise ValueError(f"output_ratio must be between 0 and 1 (got {output_ratio})")

    def forward(self, input: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        return self.function(input, self.kernel_size, self.output_size, self.output_ratio, self.return_indices,
                             _random_samples=self._random_samples)


class FractionalMaxPool2d(_FractionalMaxPool):
    """The maximum of windows of an image, whose distances are drawn at random.

    Args:
        kernel_size: size of a window.
        output_size: number of windows along each axis, or
        output_ratio: this as a part of the input's size, between 0 and 1.
        return_indices: also give the position of each maximum in its image.

    Shape: (N, C, H, W) to (N, C, H', W'). As ``torch.nn.FractionalMaxPool2d``. Graham, "Fractional max-pooling" (2014).

    Raises:
        ValueError: not one of size and ratio.

    Example:
        >>> import flamework
        >>> flamework.nn.FractionalMaxPool2d(2, output_ratio=0.5)(flamework.ones(1, 8, 6)).shape
        torch.Size([1, 4, 3])
    """

    function = staticmethod(F.fractional_max_pool2d)
    rank = 2


class FractionalMaxPool3d(_FractionalMaxPool):
    """The maximum of windows of a volume, whose distances are drawn at random; see :class:`FractionalMaxPool2d`.

    Shape: (N, C, D, H, W) to (N, C, D', H', W'). As ``torch.nn.FractionalMaxPool3d``.
    """

    function = staticmethod(F.fractional_max_pool3d)
    rank = 3
