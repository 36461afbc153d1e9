"""Padding layers: an image with a border of one number, or of what is near it.

What layers of any number of spatial dimensions have in common is in a base class; a subclass adds the number of
dimensions. The computation is ``F.pad``.

In: (N, C, *spatial) or (C, *spatial). Out: the same with larger sizes, or smaller ones where a width is negative.
"""

from __future__ import annotations

from flamework.nn import functional as F
from flamework.nn.conv import to_tuple
from flamework.nn.module import Module
from flamework.tensor import Tensor

_Widths = int | tuple[int, ...]


class _Pad(Module):
    """The widths, last dimension first, near side before far side."""

    dimensions: int
    mode: str

    def __init__(self, padding: _Widths) -> None:
        super().__init__()
        self.padding = to_tuple(padding, 2 * self.dimensions)

    def forward(self, input: Tensor) -> Tensor:
        return F.pad(input, self.padding, self.mode)

    def extra_repr(self) -> str:
        return f"{self.padding}"


class _ConstantPad(_Pad):
    def __init__(self, padding: _Widths, value: float) -> None:
        super().__init__(padding)
        self.value = value

    def forward(self, input: Tensor) -> Tensor:
        return F.pad(input, self.padding, "constant", self.value)

    def extra_repr(self) -> str:
        return f"padding={self.padding}, value={self.value}"


class ConstantPad1d(_ConstantPad):
    """A border of one number around a sequence.

    Args:
        padding: the widths, one number for all, or (left, right); negative ones cut off.
        value: what the border consists of.

    Shape: (N, C, L) or (C, L) to the same with larger sizes. As ``torch.nn.ConstantPad1d``.

    Example:
        >>> import flamework
        >>> flamework.nn.ConstantPad1d(1, 9.0)(flamework.tensor([[1.0, 2.0]])).tolist()
        [[9.0, 1.0, 2.0, 9.0]]
    """

    dimensions = 1


class ConstantPad2d(_ConstantPad):
    """A border of one number around an image.

    Arguments as of :class:`ConstantPad1d`, the widths (left, right, top, bottom).

    Shape: (N, C, H, W) or (C, H, W) to the same with larger sizes. As ``torch.nn.ConstantPad2d``.

    Example:
        >>> import flamework
        >>> flamework.nn.ConstantPad2d((1, 0, 0, 0), 9.0)(flamework.tensor([[[1.0, 2.0], [3.0, 4.0]]])).tolist()
        [[[9.0, 1.0, 2.0], [9.0, 3.0, 4.0]]]
    """

    dimensions = 2


class ConstantPad3d(_ConstantPad):
    """A border of one number around a volume.

    Arguments as of :class:`ConstantPad1d`, the widths (left, right, top, bottom, front, back).

    Shape: (N, C, D, H, W) or (C, D, H, W) to the same with larger sizes. As ``torch.nn.ConstantPad3d``.

    Example:
        >>> import flamework
        >>> tuple(flamework.nn.ConstantPad3d(1, 0.5)(flamework.zeros(1, 2, 2, 2)).shape)
        (1, 4, 4, 4)
    """

    dimensions = 3


class _ZeroPad(_ConstantPad):
    def __init__(self, padding: _Widths) -> None:
        super().__init__(padding, 0.0)

    def extra_repr(self) -> str:
        return f"{self.padding}"


class ZeroPad1d(_ZeroPad):
    """A border of zeros around a sequence.

    Args:
        padding: the widths, one number for all, or (left, right); negative ones cut off.

    Shape: (N, C, L) or (C, L) to the same with larger sizes. As ``torch.nn.ZeroPad1d``.

    Example:
        >>> import flamework
        >>> flamework.nn.ZeroPad1d(1)(flamework.tensor([[1.0, 2.0]])).tolist()
        [[0.0, 1.0, 2.0, 0.0]]
    """

    dimensions = 1


class ZeroPad2d(_ZeroPad):
    """A border of zeros around an image.

    Arguments as of :class:`ZeroPad1d`, the widths (left, right, top, bottom).

    Shape: (N, C, H, W) or (C, H, W) to the same with larger sizes. As ``torch.nn.ZeroPad2d``.

    Example:
        >>> import flamework
        >>> flamework.nn.ZeroPad2d((0, 1, 0, 0))(flamework.tensor([[[1.0, 2.0], [3.0, 4.0]]])).tolist()
        [[[1.0, 2.0, 0.0], [3.0, 4.0, 0.0]]]
    """

    dimensions = 2


class ZeroPad3d(_ZeroPad):
    """A border of zeros around a volume.

    Arguments as of :class:`ZeroPad1d`, the widths (left, right, top, bottom, front, back).

    Shape: (N, C, D, H, W) or (C, D, H, W) to the same with larger sizes. As ``torch.nn.ZeroPad3d``.

    Example:
        >>> import flamework
        >>> tuple(flamework.nn.ZeroPad3d(1)(flamework.zeros(1, 2, 2, 2)).shape)
        (1, 4, 4, 4)
    """

    dimensions = 3


class _ReflectionPad(_Pad):
    mode = "reflect"


class ReflectionPad1d(_ReflectionPad):
    """A border that mirrors a sequence, without repeating its edge.

    Args:
        padding: the widths, one number for all, or (left, right); negative ones cut off.

    Raises:
        RuntimeError, when called: a width that is not less than the dimension.

    Shape: (N, C, L) or (C, L) to the same with larger sizes. As ``torch.nn.ReflectionPad1d``.

    Example:
        >>> import flamework
        >>> flamework.nn.ReflectionPad1d(1)(flamework.tensor([[1.0, 2.0]])).tolist()
        [[2.0, 1.0, 2.0, 1.0]]
    """

    dimensions = 1


class ReflectionPad2d(_ReflectionPad):
    """A border that mirrors an image, without repeating its edge.

    Arguments as of :class:`ReflectionPad1d`, the widths (left, right, top, bottom).

    Shape: (N, C, H, W) or (C, H, W) to the same with larger sizes. As ``torch.nn.ReflectionPad2d``.

    Example:
        >>> import flamework
        >>> flamework.nn.ReflectionPad2d((1, 0, 0, 0))(flamework.tensor([[[1.0, 2.0], [3.0, 4.0]]])).tolist()
        [[[2.0, 1.0, 2.0], [4.0, 3.0, 4.0]]]
    """

    dimensions = 2


class ReflectionPad3d(_ReflectionPad):
    """A border that mirrors a volume, without repeating its edge.

    Arguments as of :class:`ReflectionPad1d`, the widths (left, right, top, bottom, front, back).

    Shape: (N, C, D, H, W) or (C, D, H, W) to the same with larger sizes. As ``torch.nn.ReflectionPad3d``.

    Example:
        >>> import flamework
        >>> tuple(flamework.nn.ReflectionPad3d(1)(flamework.zeros(1, 2, 2, 2)).shape)
        (1, 4, 4, 4)
    """

    dimensions = 3


class _ReplicationPad(_Pad):
    mode = "replicate"


class ReplicationPad1d(_ReplicationPad):
    """A border that repeats the edge of a sequence.

    Args:
        padding: the widths, one number for all, or (left, right); negative ones cut off.

    Shape: (N, C, L) or (C, L) to the same with larger sizes. As ``torch.nn.ReplicationPad1d``.

    Example:
        >>> import flamework
        >>> flamework.nn.ReplicationPad1d(1)(flamework.tensor([[1.0, 2.0]])).tolist()
        [[1.0, 1.0, 2.0, 2.0]]
    """

    dimensions = 1


class ReplicationPad2d(_ReplicationPad):
    """A border that repeats the edge of an image.

    Arguments as of :class:`ReplicationPad1d`, the widths (left, right, top, bottom).

    Shape: (N, C, H, W) or (C, H, W) to the same with larger sizes. As ``torch.nn.ReplicationPad2d``.

    Example:
        >>> import flamework
        >>> flamework.nn.ReplicationPad2d((1, 0, 0, 0))(flamework.tensor([[[1.0, 2.0], [3.0, 4.0]]])).tolist()
        [[[1.0, 1.0, 2.0], [3.0, 3.0, 4.0]]]
    """

    dimensions = 2


class ReplicationPad3d(_ReplicationPad):
    """A border that repeats the edge of a volume.

    Arguments as of :class:`ReplicationPad1d`, the widths (left, right, top, bottom, front, back).

    Shape: (N, C, D, H, W) or (C, D, H, W) to the same with larger sizes. As ``torch.nn.ReplicationPad3d``.

    Example:
        >>> import flamework
        >>> tuple(flamework.nn.ReplicationPad3d(1)(flamework.zeros(1, 2, 2, 2)).shape)
        (1, 4, 4, 4)
    """

    dimensions = 3


class _CircularPad(_Pad):
    mode = "circular"


class CircularPad1d(_CircularPad):
    """A border that continues a sequence from its other end.

    Args:
        padding: the widths, one number for all, or (left, right); negative ones cut off.

    Raises:
        RuntimeError, when called: a width greater than the dimension.

    Shape: (N, C, L) or (C, L) to the same with larger sizes. As ``torch.nn.CircularPad1d``.

    Example:
        >>> import flamework
        >>> flamework.nn.CircularPad1d(1)(flamework.tensor([[1.0, 2.0]])).tolist()
        [[2.0, 1.0, 2.0, 1.0]]
    """

    dimensions = 1


class CircularPad2d(_CircularPad):
    """A border that continues an image from its other end.

    Arguments as of :class:`CircularPad1d`, the widths (left, right, top, bottom).

    Shape: (N, C, H, W) or (C, H, W) to the same with larger sizes. As ``torch.nn.CircularPad2d``.

    Example:
        >>> import flamework
        >>> flamework.nn.CircularPad2d((1, 0, 0, 0))(flamework.tensor([[[1.0, 2.0], [3.0, 4.0]]])).tolist()
        [[[2.0, 1.0, 2.0], [4.0, 3.0, 4.0]]]
    """

    dimensions = 2


class CircularPad3d(_CircularPad):
    """A border that continues a volume from its other end.

    Arguments as of :class:`CircularPad1d`, the widths (left, right, top, bottom, front, back).

    Shape: (N, C, D, H, W) or (C, D, H, W) to the same with larger sizes. As ``torch.nn.CircularPad3d``.

    Example:
        >>> import flamework
        >>> tuple(flamework.nn.CircularPad3d(1)(flamework.zeros(1, 2, 2, 2)).shape)
        (1, 4, 4, 4)
    """

    dimensions = 3
