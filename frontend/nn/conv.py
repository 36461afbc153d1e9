"""Convolution layers.

What a layer of any number of spatial dimensions has in common (its arguments, weight, initialisation, padding modes)
is in ``_Convolution``; a subclass adds the number of dimensions and the function that computes. Transposed ones go back
from the size of a convolution's result to that of its input.

In: images (batch, channels, *spatial). Out: images of other channels and sizes. Read ``init.py`` for the default
weights.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from itertools import repeat
from typing import Any

import flamework
from flamework.nn import functional as F, init
from flamework.nn.module import Module
from flamework.nn.parameter import Parameter
from flamework.tensor import Tensor

_PADDING_MODES = ("zeros", "reflect", "replicate", "circular")


def to_tuple(value: int | Iterable[int], length: int) -> tuple[int, ...]:
    """Return one number per spatial dimension: a sequence as it is, a single number repeated."""
    return tuple(value) if isinstance(value, Iterable) else tuple(repeat(value, length))


class _Convolution(Module):
    """Arguments, parameters and padding of a convolution over ``dimensions`` spatial dimensions."""

    dimensions: int
    # that of the functional form, which computes
    function: Callable
    transposed = False

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int | tuple[int, ...],
                 stride: int | tuple[int, ...] = 1, padding: int | tuple[int, ...] | str = 0,
                 dilation: int | tuple[int, ...] = 1, groups: int = 1, bias: bool = True,
                 padding_mode: str = "zeros", device: Any = None, dtype: Any = None) -> None:
        super().__init__()
        if groups <= 0:
            raise ValueError("groups must be a positive integer")
        if in_channels % groups:
            raise ValueError("in_channels must be divisible by groups")
        if out_channels % groups:
            raise ValueError("out_channels must be divisible by groups")
        if padding_mode not in _PADDING_MODES:
            raise ValueError(f"padding_mode must be one of {_PADDING_MODES}, but got padding_mode='{padding_mode}'")
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.kernel_size = to_tuple(kernel_size, self.dimensions)
        self.stride = to_tuple(stride, self.dimensions)
        self.padding = padding if isinstance(padding, str) else to_tuple(padding, self.dimensions)
        self.dilation = to_tuple(dilation, self.dimensions)
        self.groups = groups
        self.padding_mode = padding_mode
        if isinstance(padding, str):
            if padding not in ("same", "valid"):
                raise ValueError(f"Invalid padding string {padding!r}, should be one of 'same', 'valid'")
            if padding == "same" and any(step != 1 for step in self.stride):
                raise ValueError("padding='same' is not supported for strided convolutions")

        ends = (in_channels, out_channels) if self.transposed else (out_channels, in_channels)
        shape = (ends[0], ends[1] // groups, *self.kernel_size)
        self.weight = Parameter(flamework.empty(shape, device=device, dtype=dtype))
        if bias:
            self.bias = Parameter(flamework.empty((out_channels,), device=device, dtype=dtype))
        else:
            self.register_parameter("bias", None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw weight and bias anew, uniform on +-1/sqrt(inputs of one output)."""
        init.kaiming_uniform_(self.weight, a=math.sqrt(5))
        if self.bias is not None:
            fan_in, _ = init._calculate_fan_in_and_fan_out(self.weight)
            bound = 1 / math.sqrt(fan_in) if fan_in > 0 else 0
            init.uniform_(self.bias, -bound, bound)

    def _padded(self, input: Tensor) -> Tensor:
        """Pad explicitly, for the modes that a convolution does not know."""
        amounts: list[int] = []
        # F.pad wants the last dimension first.
        for i in reversed(range(self.dimensions)):
            if self.padding == "same":
                total = self.dilation[i] * (self.kernel_size[i] - 1)
                amounts += [total // 2, total - total // 2]
            elif self.padding == "valid":
                amounts += [0, 0]
            else:
                amounts += [self.padding[i], self.padding[i]]
        return F.pad(input, amounts, mode=self.padding_mode)

    def forward(self, input: Tensor) -> Tensor:
        padding = self.padding
        if self.padding_mode != "zeros":
            input, padding = self._padded(input), 0
        return self.function(input, self.weight, self.bias, self.stride, padding, self.dilation, self.groups)

    def extra_repr(self) -> str:
        text = f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, stride={self.stride}"
        if self.padding != (0,) * self.dimensions:
            text += f", padding={self.padding}"
        if self.dilation != (1,) * self.dimensions:
            text += f", dilation={self.dilation}"
        text += self._extra_output()
        if self.groups != 1:
            text += f", groups={self.groups}"
        if self.bias is None:
            text += ", bias=False"
        if self.padding_mode != "zeros":
            text += f", padding_mode={self.padding_mode}"
        return text

    def _extra_output(self) -> str:
        return ""


class Conv1d(_Convolution):
    """Cross-correlation of sequences with learned kernels; arguments as of :class:`Conv2d`.

    Shape: (N, in_channels, L) or (in_channels, L) to the same with out_channels. As ``torch.nn.Conv1d``.

    Example:
        >>> import flamework
        >>> tuple(flamework.nn.Conv1d(3, 8, 5)(flamework.zeros(2, 3, 10)).shape)
        (2, 8, 6)
    """

    dimensions = 1
    function = staticmethod(F.conv1d)


class Conv2d(_Convolution):
    """Cross-correlation of images with learned kernels.

    Args:
        in_channels, out_channels: numbers of channels.
        kernel_size, stride, dilation: one number, or one per dimension (height, width).
        padding: the same, or "valid" for none, or "same" for an output of the input's size.
        groups: number of groups of channels that are convolved separately.
        bias: whether a number per output channel is added.
        padding_mode: "zeros", "reflect", "replicate" or "circular".
        device, dtype: of the parameters.

    Shape: (N, in_channels, H, W) or (in_channels, H, W) to the same with out_channels and
    floor((H + 2 padding - dilation (kernel_size - 1) - 1) / stride + 1) rows, columns alike. ``weight`` is
    (out_channels, in_channels / groups, *kernel_size). As ``torch.nn.Conv2d``.

    Raises:
        ValueError: channels that do not divide into the groups, an unknown padding, or "same" with a stride.

    Example:
        >>> import flamework
        >>> layer = flamework.nn.Conv2d(3, 8, 3, padding=1)
        >>> tuple(layer(flamework.zeros(2, 3, 10, 12)).shape)
        (2, 8, 10, 12)
    """

    dimensions = 2
    function = staticmethod(F.conv2d)


class Conv3d(_Convolution):
    """Cross-correlation of volumes with learned kernels; arguments as of :class:`Conv2d`.

    Shape: (N, in_channels, D, H, W) or (in_channels, D, H, W) to the same with out_channels. As ``torch.nn.Conv3d``.

    Example:
        >>> import flamework
        >>> tuple(flamework.nn.Conv3d(3, 8, 3, padding=1)(flamework.zeros(2, 3, 4, 5, 6)).shape)
        (2, 8, 4, 5, 6)
    """

    dimensions = 3
    function = staticmethod(F.conv3d)


class _TransposedConvolution(_Convolution):
    """What the gradient of a convolution does to an image, with a weight of its own."""

    transposed = True

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int | tuple[int, ...],
                 stride: int | tuple[int, ...] = 1, padding: int | tuple[int, ...] = 0,
                 output_padding: int | tuple[int, ...] = 0, groups: int = 1, bias: bool = True,
                 dilation: int | tuple[int, ...] = 1, padding_mode: str = "zeros", device: Any = None,
                 dtype: Any = None) -> None:
        if padding_mode != "zeros":
            raise ValueError(f'Only "zeros" padding mode is supported for {type(self).__name__}')
        super().__init__(in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias, padding_mode,
                         device, dtype)
        self.output_padding = to_tuple(output_padding, self.dimensions)

    def forward(self, input: Tensor, output_size: Sequence[int] | None = None) -> Tensor:
        """Compute.

        Args:
            output_size: of the spatial dimensions of the result, or of all: it decides between the sizes that a
                stride rounds to one, in place of ``output_padding``.

        Raises:
            ValueError: a size that the stride does not round to the input's.
        """
        extra = self.output_padding if output_size is None else self._remainder(input, list(output_size))
        return self.function(input, self.weight, self.bias, self.stride, self.padding, extra, self.groups,
                             self.dilation)

    def _remainder(self, input: Tensor, size: list[int]) -> list[int]:
        first = input.dim() - self.dimensions
        if len(size) == input.dim():
            size = size[first:]
        if len(size) != self.dimensions:
            raise ValueError(
                f"{type(self).__name__}: for {input.dim()}D input, output_size must have {self.dimensions} or "
                f"{input.dim()} elements (got {len(size)})"
            )
        least = [
            (input.shape[first + i] - 1) * self.stride[i] - 2 * self.padding[i]
            + self.dilation[i] * (self.kernel_size[i] - 1) + 1
            for i in range(self.dimensions)
        ]
        most = [low + step - 1 for low, step in zip(least, self.stride)]
        if any(not low <= wanted <= high for low, wanted, high in zip(least, size, most)):
            raise ValueError(
                f"requested an output size of {size}, but valid sizes range from {least} to {most} (for an input of "
                f"{list(input.shape[2:])})"
            )
        return [wanted - low for wanted, low in zip(size, least)]

    def _extra_output(self) -> str:
        return f", output_padding={self.output_padding}" if any(self.output_padding) else ""


class ConvTranspose1d(_TransposedConvolution):
    """The transpose of a convolution of sequences; arguments as of :class:`ConvTranspose2d`.

    Shape: (N, in_channels, L) or (in_channels, L) to the same with out_channels. As ``torch.nn.ConvTranspose1d``.

    Example:
        >>> import flamework
        >>> tuple(flamework.nn.ConvTranspose1d(3, 8, 5)(flamework.zeros(2, 3, 6)).shape)
        (2, 8, 10)
    """

    dimensions = 1
    function = staticmethod(F.conv_transpose1d)


class ConvTranspose2d(_TransposedConvolution):
    """The transpose of a convolution of images: from the size of its output to that of its input.

    Args:
        in_channels, out_channels: numbers of channels.
        kernel_size, stride, dilation: one number, or one per dimension (height, width).
        padding: what is cut off around the result; what the convolution padded with.
        output_padding: additional size of the result at its far ends.
        groups: number of groups of channels that are convolved separately.
        bias: whether a number per output channel is added.
        padding_mode: "zeros".
        device, dtype: of the parameters.

    Shape: (N, in_channels, H, W) or (in_channels, H, W) to the same with out_channels and
    (H - 1) stride - 2 padding + dilation (kernel_size - 1) + output_padding + 1 rows, columns alike. ``weight`` is
    (in_channels, out_channels / groups, *kernel_size). As ``torch.nn.ConvTranspose2d``.

    Raises:
        ValueError: channels that do not divide into the groups, or another padding mode.

    Example:
        >>> import flamework
        >>> layer = flamework.nn.ConvTranspose2d(8, 3, 3, stride=2, padding=1)
        >>> image = flamework.zeros(2, 8, 5, 6)
        >>> tuple(layer(image).shape), tuple(layer(image, output_size=(10, 11)).shape)
        ((2, 3, 9, 11), (2, 3, 10, 11))
    """

    dimensions = 2
    function = staticmethod(F.conv_transpose2d)


class ConvTranspose3d(_TransposedConvolution):
    """The transpose of a convolution of volumes; arguments as of :class:`ConvTranspose2d`.

    Shape: (N, in_channels, D, H, W) or (in_channels, D, H, W) to the same with out_channels. As
    ``torch.nn.ConvTranspose3d``.

    Example:
        >>> import flamework
        >>> tuple(flamework.nn.ConvTranspose3d(3, 8, 3)(flamework.zeros(2, 3, 4, 5, 6)).shape)
        (2, 8, 6, 7, 8)
    """

    dimensions = 3
    function = staticmethod(F.conv_transpose3d)
