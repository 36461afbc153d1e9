"""Pooling layers: each output is the maximum or the mean of a window of the input.

In: images (N, C, H, W) or (C, H, W). Out: smaller images. They have no parameters; the computation is in
``flamework/nn/functional.py``.
"""

from __future__ import annotations

from flamework.nn import functional as F
from flamework.nn.module import Module
from flamework.tensor import Tensor

_Size = int | tuple[int, int]


class MaxPool2d(Module):
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
        return F.max_pool2d(input, self.kernel_size, self.stride, self.padding, self.dilation,
                            ceil_mode=self.ceil_mode, return_indices=self.return_indices)

    def extra_repr(self) -> str:
        return (f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}, "
                f"dilation={self.dilation}, ceil_mode={self.ceil_mode}")


class AvgPool2d(Module):
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
        return F.avg_pool2d(input, self.kernel_size, self.stride, self.padding, self.ceil_mode,
                            self.count_include_pad, self.divisor_override)

    def extra_repr(self) -> str:
        return f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}"
