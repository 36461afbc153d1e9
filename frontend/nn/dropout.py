"""Dropout: set random elements to zero while training, and scale the others so that the mean stays.

In: activations. Out: activations of the same shape. The numbers come from the counter-based generator of the kernels,
so a compiled program draws the same ones as the same program run line by line.
"""

from __future__ import annotations

from collections.abc import Callable

from flamework.nn import functional as F
from flamework.nn.module import Module
from flamework.tensor import Tensor


class _Dropout(Module):
    """Probability and place of a dropout; ``function`` computes."""

    function: Callable

    def __init__(self, p: float = 0.5, inplace: bool = False) -> None:
        super().__init__()
        if p < 0 or p > 1:
            raise ValueError(f"dropout probability has to be between 0 and 1, but got {p}")
        self.p = p
        self.inplace = inplace

    def forward(self, input: Tensor) -> Tensor:
        return self.function(input, self.p, self.training, self.inplace)

    def extra_repr(self) -> str:
        return f"p={self.p}, inplace={self.inplace}"


class Dropout(_Dropout):
    """Zero each element with probability ``p`` and divide the others by 1 - p; the identity in evaluation mode.

    Args:
        p: the probability.
        inplace: overwrite the input.

    Shape: any, to the same. Hinton et al., "Improving neural networks by preventing co-adaptation of feature detectors"
    (2012). As ``torch.nn.Dropout``.

    Raises:
        ValueError: ``p`` is not between 0 and 1.

    Example:
        >>> import flamework
        >>> flamework.nn.Dropout(0.5).eval()(flamework.ones(3)).tolist()
        [1.0, 1.0, 1.0]
    """

    function = staticmethod(F.dropout)


class Dropout1d(_Dropout):
    """:class:`Dropout` of whole channels of sequences.

    Shape: (N, C, L) or (C, L), to the same. Tompson et al., "Efficient object localization using
    convolutional networks" (2015). As ``torch.nn.Dropout1d``.

    Example:
        >>> import flamework
        >>> flamework.nn.Dropout1d(0.5).eval()(flamework.ones(1, 1, 1)).tolist()
        [[[1.0]]]
    """

    function = staticmethod(F.dropout1d)


class Dropout2d(_Dropout):
    """:class:`Dropout` of whole channels of images.

    Shape: (N, C, H, W), to the same. Tompson et al., "Efficient object localization using
    convolutional networks" (2015). As ``torch.nn.Dropout2d``.

    Example:
        >>> import flamework
        >>> flamework.nn.Dropout2d(0.5).eval()(flamework.ones(1, 1, 1, 1)).tolist()
        [[[[1.0]]]]
    """

    function = staticmethod(F.dropout2d)


class Dropout3d(_Dropout):
    """:class:`Dropout` of whole channels of volumes.

    Shape: (N, C, D, H, W) or (C, D, H, W), to the same. Tompson et al., "Efficient object localization using
    convolutional networks" (2015). As ``torch.nn.Dropout3d``.

    Example:
        >>> import flamework
        >>> flamework.nn.Dropout3d(0.5).eval()(flamework.ones(1, 1, 1, 1, 1)).tolist()
        [[[[[1.0]]]]]
    """

    function = staticmethod(F.dropout3d)


class AlphaDropout(_Dropout):
    """Set each element with probability ``p`` to the limit of SELU, then shift and scale: mean and variance stay.

    Args:
        p: the probability.
        inplace: overwrite the input.

    Shape: any, to the same. Klambauer et al., "Self-normalizing neural networks" (2017). As ``torch.nn.AlphaDropout``.

    Raises:
        ValueError: ``p`` is not between 0 and 1.

    Example:
        >>> import flamework
        >>> flamework.nn.AlphaDropout(0.5).eval()(flamework.ones(3)).tolist()
        [1.0, 1.0, 1.0]
    """

    function = staticmethod(F.alpha_dropout)


class FeatureAlphaDropout(_Dropout):
    """:class:`AlphaDropout` of whole channels.

    Shape: (N, C, *), to the same. As ``torch.nn.FeatureAlphaDropout``.

    Example:
        >>> import flamework
        >>> flamework.nn.FeatureAlphaDropout(0.5).eval()(flamework.ones(1, 1, 3)).tolist()
        [[[1.0, 1.0, 1.0]]]
    """

    function = staticmethod(F.feature_alpha_dropout)
