"""Layers that rearrange or resize images, and that cut them into windows.

In: (N, C, *spatial). Out: the same elements in another order, or an image of another size. They have no parameters; the
computation is in ``functional_vision.py`` and, for windows, in ``functional_conv.py``.
"""

from __future__ import annotations

from flamework.nn import functional as F
from flamework.nn.module import Module
from flamework.tensor import Tensor

_Size = int | tuple[int, ...]


class PixelShuffle(Module):
    """Move channels into space, so that the image grows.

    Args:
        upscale_factor: r, how much larger height and width become.

    Shape: (*, C r**2, H, W) to (*, C, H r, W r). Shi et al., "Real-time single image and video super-resolution using
    an efficient sub-pixel convolutional neural network" (2016). As ``torch.nn.PixelShuffle``.

    Example:
        >>> import flamework
        >>> flamework.nn.PixelShuffle(2)(flamework.arange(4.0).reshape(4, 1, 1)).tolist()
        [[[0.0, 1.0], [2.0, 3.0]]]
    """

    def __init__(self, upscale_factor: int) -> None:
        super().__init__()
        self.upscale_factor = upscale_factor

    def forward(self, input: Tensor) -> Tensor:
        return F.pixel_shuffle(input, self.upscale_factor)

    def extra_repr(self) -> str:
        return f"upscale_factor={self.upscale_factor}"


class PixelUnshuffle(Module):
    """Move space into channels: the inverse of :class:`PixelShuffle`.

    Args:
        downscale_factor: r, how much smaller height and width become.

    Shape: (*, C, H r, W r) to (*, C r**2, H, W). As ``torch.nn.PixelUnshuffle``.

    Example:
        >>> import flamework
        >>> tuple(flamework.nn.PixelUnshuffle(2)(flamework.zeros(1, 1, 4, 6)).shape)
        (1, 4, 2, 3)
    """

    def __init__(self, downscale_factor: int) -> None:
        super().__init__()
        self.downscale_factor = downscale_factor

    def forward(self, input: Tensor) -> Tensor:
        return F.pixel_unshuffle(input, self.downscale_factor)

    def extra_repr(self) -> str:
        return f"downscale_factor={self.downscale_factor}"


class ChannelShuffle(Module):
    """Interleave the channels of several groups.

    Args:
        groups: number of groups.

    Shape: (N, C, *) to the same. As ``torch.nn.ChannelShuffle``.

    Example:
        >>> import flamework
        >>> flamework.nn.ChannelShuffle(2)(flamework.arange(4.0).reshape(1, 4, 1)).flatten().tolist()
        [0.0, 2.0, 1.0, 3.0]
    """

    def __init__(self, groups: int) -> None:
        super().__init__()
        self.groups = groups

    def forward(self, input: Tensor) -> Tensor:
        return F.channel_shuffle(input, self.groups)

    def extra_repr(self) -> str:
        return f"groups={self.groups}"


class Upsample(Module):
    """Images of another size.

    Args:
        size: of the result, one number or one for each spatial dimension.
        scale_factor: or how much larger it is.
        mode: "nearest", "linear", "bilinear", "bicubic" or "trilinear".
        align_corners: for the linear and cubic modes, whether the outermost points of both grids coincide.
        recompute_scale_factor: take the scale from the sizes, rounded as they are.

    Shape: (N, C, *spatial) to the same with other sizes. As ``torch.nn.Upsample``.

    Raises:
        ValueError, when called: not exactly one of ``size`` and ``scale_factor``.

    Example:
        >>> import flamework
        >>> flamework.nn.Upsample(scale_factor=2)(flamework.tensor([[[1.0, 2.0]]])).tolist()
        [[[1.0, 1.0, 2.0, 2.0]]]
    """

    def __init__(self, size: _Size | None = None, scale_factor: float | tuple[float, ...] | None = None,
                 mode: str = "nearest", align_corners: bool | None = None,
                 recompute_scale_factor: bool | None = None) -> None:
        super().__init__()
        self.size = size
        if isinstance(scale_factor, tuple):
            self.scale_factor = tuple(float(factor) for factor in scale_factor)
        else:
            self.scale_factor = float(scale_factor) if scale_factor else None
        self.mode = mode
        self.align_corners = align_corners
        self.recompute_scale_factor = recompute_scale_factor

    def forward(self, input: Tensor) -> Tensor:
        return F.interpolate(input, self.size, self.scale_factor, self.mode, self.align_corners,
                             recompute_scale_factor=self.recompute_scale_factor)

    def extra_repr(self) -> str:
        given = f"size={self.size}" if self.scale_factor is None else f"scale_factor={self.scale_factor}"
        return f"{given}, mode={self.mode!r}"


class UpsamplingNearest2d(Upsample):
    """:class:`Upsample` of images with the mode "nearest". As ``torch.nn.UpsamplingNearest2d``.

    Example:
        >>> import flamework
        >>> flamework.nn.UpsamplingNearest2d(size=(1, 4))(flamework.tensor([[[[1.0, 2.0]]]])).tolist()
        [[[[1.0, 1.0, 2.0, 2.0]]]]
    """

    def __init__(self, size: _Size | None = None, scale_factor: float | tuple[float, float] | None = None) -> None:
        super().__init__(size, scale_factor, mode="nearest")


class UpsamplingBilinear2d(Upsample):
    """:class:`Upsample` of images with the mode "bilinear" and aligned corners. As ``torch.nn.UpsamplingBilinear2d``.

    Example:
        >>> import flamework
        >>> flamework.nn.UpsamplingBilinear2d(size=(1, 3))(flamework.tensor([[[[1.0, 2.0]]]])).tolist()
        [[[[1.0, 1.5, 2.0]]]]
    """

    def __init__(self, size: _Size | None = None, scale_factor: float | tuple[float, float] | None = None) -> None:
        super().__init__(size, scale_factor, mode="bilinear", align_corners=True)


class Unfold(Module):
    """The windows of images as columns.

    Args:
        kernel_size: of a window; one number, or (height, width), as all sizes here.
        dilation: distance between the elements of a window.
        padding: with zeros, on both sides.
        stride: between windows.

    Shape: (N, C, H, W) to (N, C * elements of a window, number of windows), or both without N. As ``torch.nn.Unfold``.

    Example:
        >>> import flamework
        >>> tuple(flamework.nn.Unfold((2, 3))(flamework.zeros(2, 5, 3, 4)).shape)
        (2, 30, 4)
    """

    def __init__(self, kernel_size: _Size, dilation: _Size = 1, padding: _Size = 0, stride: _Size = 1) -> None:
        super().__init__()
        self.kernel_size = kernel_size
        self.dilation = dilation
        self.padding = padding
        self.stride = stride

    def forward(self, input: Tensor) -> Tensor:
        return F.unfold(input, self.kernel_size, self.dilation, self.padding, self.stride)

    def extra_repr(self) -> str:
        return (f"kernel_size={self.kernel_size}, dilation={self.dilation}, padding={self.padding}, "
                f"stride={self.stride}")


class Fold(Unfold):
    """The transpose of :class:`Unfold`: columns added to the places that they were read from.

    Args:
        output_size: of the image.
        kernel_size, dilation, padding, stride: as of :class:`Unfold`.

    Shape: (N, C * elements of a window, number of windows) to (N, C, *output_size), or both without N. As
    ``torch.nn.Fold``.

    Example:
        >>> import flamework
        >>> tuple(flamework.nn.Fold((3, 4), (2, 3))(flamework.zeros(2, 30, 4)).shape)
        (2, 5, 3, 4)
    """

    def __init__(self, output_size: _Size, kernel_size: _Size, dilation: _Size = 1, padding: _Size = 0,
                 stride: _Size = 1) -> None:
        super().__init__(kernel_size, dilation, padding, stride)
        self.output_size = output_size

    def forward(self, input: Tensor) -> Tensor:
        return F.fold(input, self.output_size, self.kernel_size, self.dilation, self.padding, self.stride)

    def extra_repr(self) -> str:
        return f"output_size={self.output_size}, {super().extra_repr()}"
