"""Dropout: set random elements to zero while training, and scale the others so that the mean stays.

In: activations. Out: activations of the same shape. The numbers come from the counter-based generator of the kernels,
so a compiled program draws the same ones as the same program run line by line.
"""

from __future__ import annotations

from flamework.nn import functional as F
from flamework.nn.module import Module
from flamework.tensor import Tensor


class Dropout(Module):
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

    def __init__(self, p: float = 0.5, inplace: bool = False) -> None:
        super().__init__()
        if p < 0 or p > 1:
            raise ValueError(f"dropout probability has to be between 0 and 1, but got {p}")
        self.p = p
        self.inplace = inplace

    def forward(self, input: Tensor) -> Tensor:
        return F.dropout(input, self.p, self.training, self.inplace)

    def extra_repr(self) -> str:
        return f"p={self.p}, inplace={self.inplace}"
