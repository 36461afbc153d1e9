"""Activation layers: functions of each element, and softmax over one dimension.

Each class holds the arguments of a function and calls it.

In: activations. Out: activations of the same shape. The functions are in ``flamework/nn/functional.py``.
"""

from __future__ import annotations

import warnings

from flamework.nn import functional as F
from flamework.nn.module import Module
from flamework.tensor import Tensor


class _Activation(Module):
    """An activation that can overwrite its input."""

    inplace: bool

    def _describe(self, *arguments: str) -> str:
        return ", ".join([*arguments, "inplace=True"] if self.inplace else arguments)


class _Plain(_Activation):
    """An activation without arguments but ``inplace``."""

    def __init__(self, inplace: bool = False) -> None:
        super().__init__()
        self.inplace = inplace

    def extra_repr(self) -> str:
        return self._describe()


class ReLU(_Plain):
    """max(x, 0).

    Args:
        inplace: overwrite the input.

    Example:
        >>> import flamework
        >>> flamework.nn.ReLU()(flamework.tensor([-1.0, 2.0])).tolist()
        [0.0, 2.0]
    """

    def forward(self, input: Tensor) -> Tensor:
        return F.relu(input, inplace=self.inplace)


class SiLU(_Plain):
    """x sigmoid(x), also known as swish.

    Args:
        inplace: overwrite the input.

    Example:
        >>> import flamework
        >>> flamework.nn.SiLU()(flamework.zeros(2)).tolist()
        [0.0, 0.0]
    """

    def forward(self, input: Tensor) -> Tensor:
        return F.silu(input, inplace=self.inplace)


class Hardtanh(_Activation):
    """x limited to an interval.

    Args:
        min_val, max_val: the interval; ``min_value`` and ``max_value`` are the old names.
        inplace: overwrite the input.

    Raises:
        AssertionError: the interval is empty.

    Example:
        >>> import flamework
        >>> flamework.nn.Hardtanh()(flamework.tensor([-3.0, 0.5])).tolist()
        [-1.0, 0.5]
    """

    def __init__(self, min_val: float = -1.0, max_val: float = 1.0, inplace: bool = False,
                 min_value: float | None = None, max_value: float | None = None) -> None:
        super().__init__()
        if min_value is not None:
            warnings.warn("keyword argument `min_value` is deprecated and renamed to `min_val`", FutureWarning,
                          stacklevel=2)
            min_val = min_value
        if max_value is not None:
            warnings.warn("keyword argument `max_value` is deprecated and renamed to `max_val`", FutureWarning,
                          stacklevel=2)
            max_val = max_value
        if max_val <= min_val:
            raise AssertionError(f"max_val ({max_val}) must be greater than min_val ({min_val})")
        self.min_val = min_val
        self.max_val = max_val
        self.inplace = inplace

    def forward(self, input: Tensor) -> Tensor:
        return F.hardtanh(input, self.min_val, self.max_val, self.inplace)

    def extra_repr(self) -> str:
        return self._describe(f"min_val={self.min_val}", f"max_val={self.max_val}")


class ReLU6(Hardtanh):
    """min(max(x, 0), 6).

    Args:
        inplace: overwrite the input.

    Example:
        >>> import flamework
        >>> flamework.nn.ReLU6()(flamework.tensor([-1.0, 8.0])).tolist()
        [0.0, 6.0]
    """

    def __init__(self, inplace: bool = False) -> None:
        super().__init__(0.0, 6.0, inplace)

    def extra_repr(self) -> str:
        return self._describe()


class LeakyReLU(_Activation):
    """x where it is positive, ``negative_slope`` x elsewhere.

    Args:
        negative_slope: the slope.
        inplace: overwrite the input.

    Example:
        >>> import flamework
        >>> flamework.nn.LeakyReLU(0.5)(flamework.tensor([-1.0, 2.0])).tolist()
        [-0.5, 2.0]
    """

    def __init__(self, negative_slope: float = 0.01, inplace: bool = False) -> None:
        super().__init__()
        self.negative_slope = negative_slope
        self.inplace = inplace

    def forward(self, input: Tensor) -> Tensor:
        return F.leaky_relu(input, self.negative_slope, self.inplace)

    def extra_repr(self) -> str:
        return self._describe(f"negative_slope={self.negative_slope}")


class ELU(_Activation):
    """x where it is positive, ``alpha`` (exp(x) - 1) elsewhere.

    Args:
        alpha: minus the limit for small x.
        inplace: overwrite the input.

    Clevert et al., "Fast and accurate deep network learning by exponential linear units" (2015).

    Example:
        >>> import flamework
        >>> flamework.nn.ELU()(flamework.tensor([0.0, 2.0])).tolist()
        [0.0, 2.0]
    """

    def __init__(self, alpha: float = 1.0, inplace: bool = False) -> None:
        super().__init__()
        self.alpha = alpha
        self.inplace = inplace

    def forward(self, input: Tensor) -> Tensor:
        return F.elu(input, self.alpha, self.inplace)

    def extra_repr(self) -> str:
        return self._describe(f"alpha={self.alpha}")


class GELU(Module):
    """x times the probability that a standard normal variable is below x.

    Args:
        approximate: "none" for the error function, "tanh" for the approximation by it.

    Hendrycks and Gimpel, "Gaussian error linear units" (2016).

    Example:
        >>> import flamework
        >>> flamework.nn.GELU()(flamework.zeros(2)).tolist()
        [0.0, 0.0]
    """

    def __init__(self, approximate: str = "none") -> None:
        super().__init__()
        self.approximate = approximate

    def forward(self, input: Tensor) -> Tensor:
        return F.gelu(input, approximate=self.approximate)

    def extra_repr(self) -> str:
        return f"approximate={self.approximate!r}"


class Softplus(Module):
    """log(1 + exp(beta x)) / beta, a smooth ReLU.

    Args:
        beta: sharpness.
        threshold: above this value of beta x the result is x.

    Example:
        >>> import flamework
        >>> flamework.nn.Softplus()(flamework.tensor([30.0])).tolist()
        [30.0]
    """

    def __init__(self, beta: float = 1.0, threshold: float = 20.0) -> None:
        super().__init__()
        self.beta = beta
        self.threshold = threshold

    def forward(self, input: Tensor) -> Tensor:
        return F.softplus(input, self.beta, self.threshold)

    def extra_repr(self) -> str:
        return f"beta={self.beta}, threshold={self.threshold}"


class Sigmoid(Module):
    """1 / (1 + exp(-x)).

    Example:
        >>> import flamework
        >>> flamework.nn.Sigmoid()(flamework.zeros(2)).tolist()
        [0.5, 0.5]
    """

    def forward(self, input: Tensor) -> Tensor:
        return input.sigmoid()


class Tanh(Module):
    """tanh(x).

    Example:
        >>> import flamework
        >>> flamework.nn.Tanh()(flamework.zeros(2)).tolist()
        [0.0, 0.0]
    """

    def forward(self, input: Tensor) -> Tensor:
        return input.tanh()


class Softsign(Module):
    """x / (1 + |x|).

    Example:
        >>> import flamework
        >>> flamework.nn.Softsign()(flamework.tensor([1.0, -3.0])).tolist()
        [0.5, -0.75]
    """

    def forward(self, input: Tensor) -> Tensor:
        return input / (input.abs() + 1)


class _OverDimension(Module):
    """A function that normalises along one dimension."""

    def __init__(self, dim: int | None = None) -> None:
        super().__init__()
        self.dim = dim

    def extra_repr(self) -> str:
        return f"dim={self.dim}"


class Softmax(_OverDimension):
    """exp(x) divided by its sum along ``dim``.

    Args:
        dim: the dimension whose slices sum to 1.

    Example:
        >>> import flamework
        >>> flamework.nn.Softmax(dim=1)(flamework.zeros(1, 4)).tolist()
        [[0.25, 0.25, 0.25, 0.25]]
    """

    def forward(self, input: Tensor) -> Tensor:
        return F.softmax(input, self.dim)


class LogSoftmax(_OverDimension):
    """The logarithm of ``Softmax``, without its overflow.

    Args:
        dim: the dimension along which exp of the result sums to 1.

    Example:
        >>> import flamework
        >>> flamework.nn.LogSoftmax(dim=0)(flamework.zeros(1)).tolist()
        [0.0]
    """

    def forward(self, input: Tensor) -> Tensor:
        return F.log_softmax(input, self.dim)


class Softmin(_OverDimension):
    """``Softmax`` of the negated input.

    Args:
        dim: the dimension whose slices sum to 1.

    Example:
        >>> import flamework
        >>> flamework.nn.Softmin(dim=1)(flamework.zeros(1, 4)).tolist()
        [[0.25, 0.25, 0.25, 0.25]]
    """

    def forward(self, input: Tensor) -> Tensor:
        return F.softmax(-input, self.dim)


class Softmax2d(Module):
    """``Softmax`` over the channels of each pixel.

    Shape: (N, C, H, W) or (C, H, W) to the same.

    Raises:
        ValueError: another number of dimensions.

    Example:
        >>> import flamework
        >>> flamework.nn.Softmax2d()(flamework.zeros(2, 1, 1)).tolist()
        [[[0.5]], [[0.5]]]
    """

    def forward(self, input: Tensor) -> Tensor:
        if input.dim() not in (3, 4):
            raise ValueError(f"Softmax2d: expected input to be 3D or 4D, got {input.dim()}D instead")
        return F.softmax(input, -3)
