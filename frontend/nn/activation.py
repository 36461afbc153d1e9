"""Activation layers: functions of each element, and softmax over one dimension.

Each class holds the arguments of a function and calls it; none but ``PReLU`` has a parameter.

In: activations. Out: activations of the same shape. The functions are in ``flamework/nn/functional.py``.
"""

from __future__ import annotations

from typing import Any

import flamework
from flamework.nn import functional as F, init as initialise
from flamework.nn.module import Module
from flamework.nn.parameter import Parameter
from flamework.origin import warn
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


class Mish(_Plain):
    """x tanh(log(1 + exp(x))).

    Args:
        inplace: overwrite the input.

    Misra, "Mish: a self regularized non-monotonic activation function" (2019).

    Example:
        >>> import flamework
        >>> flamework.nn.Mish()(flamework.zeros(2)).tolist()
        [0.0, 0.0]
    """

    def forward(self, input: Tensor) -> Tensor:
        return F.mish(input, inplace=self.inplace)


class SELU(_Plain):
    """A scaled ``ELU`` whose two constants keep mean 0 and variance 1.

    Args:
        inplace: overwrite the input.

    Klambauer et al., "Self-normalizing neural networks" (2017).

    Example:
        >>> import flamework
        >>> flamework.nn.SELU()(flamework.zeros(2)).tolist()
        [0.0, 0.0]
    """

    def forward(self, input: Tensor) -> Tensor:
        return F.selu(input, self.inplace)


class Hardsigmoid(_Plain):
    """min(max(x + 3, 0), 6) / 6, a sigmoid of three lines.

    Args:
        inplace: overwrite the input.

    Example:
        >>> import flamework
        >>> flamework.nn.Hardsigmoid()(flamework.tensor([-4.0, 0.0])).tolist()
        [0.0, 0.5]
    """

    def forward(self, input: Tensor) -> Tensor:
        return F.hardsigmoid(input, self.inplace)

    def extra_repr(self) -> str:
        return ""


class Hardswish(_Plain):
    """x times ``Hardsigmoid``.

    Args:
        inplace: overwrite the input.

    Howard et al., "Searching for MobileNetV3" (2019).

    Example:
        >>> import flamework
        >>> flamework.nn.Hardswish()(flamework.tensor([0.0, 4.0])).tolist()
        [0.0, 4.0]
    """

    def forward(self, input: Tensor) -> Tensor:
        return F.hardswish(input, self.inplace)

    def extra_repr(self) -> str:
        return ""


class Threshold(_Activation):
    """x where it is above ``threshold``, ``value`` elsewhere.

    Args:
        threshold: the bound.
        value: what replaces the rest.
        inplace: overwrite the input.

    Example:
        >>> import flamework
        >>> flamework.nn.Threshold(0.5, 9.0)(flamework.tensor([0.0, 1.0])).tolist()
        [9.0, 1.0]
    """

    def __init__(self, threshold: float, value: float, inplace: bool = False) -> None:
        super().__init__()
        self.threshold = threshold
        self.value = value
        self.inplace = inplace

    def forward(self, input: Tensor) -> Tensor:
        return F.threshold(input, self.threshold, self.value, self.inplace)

    def extra_repr(self) -> str:
        return self._describe(f"threshold={self.threshold}", f"value={self.value}")


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
            warn("keyword argument `min_value` is deprecated and renamed to `min_val`", FutureWarning)
            min_val = min_value
        if max_value is not None:
            warn("keyword argument `max_value` is deprecated and renamed to `max_val`", FutureWarning)
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


class CELU(_Activation):
    """x where it is positive, ``alpha`` (exp(x / alpha) - 1) elsewhere.

    Args:
        alpha: minus the limit for small x.
        inplace: overwrite the input.

    Barron, "Continuously differentiable exponential linear units" (2017).

    Example:
        >>> import flamework
        >>> flamework.nn.CELU()(flamework.tensor([0.0, 2.0])).tolist()
        [0.0, 2.0]
    """

    def __init__(self, alpha: float = 1.0, inplace: bool = False) -> None:
        super().__init__()
        self.alpha = alpha
        self.inplace = inplace

    def forward(self, input: Tensor) -> Tensor:
        return F.celu(input, self.alpha, self.inplace)

    def extra_repr(self) -> str:
        return self._describe(f"alpha={self.alpha}")


class RReLU(_Activation):
    """x where it is positive; elsewhere x times a random slope while training, and times the middle one otherwise.

    Args:
        lower, upper: the slopes are uniform between these.
        inplace: overwrite the input.

    Xu et al., "Empirical evaluation of rectified activations in convolutional network" (2015).

    Example:
        >>> import flamework
        >>> flamework.nn.RReLU(0.25, 0.75).eval()(flamework.tensor([-1.0, 2.0])).tolist()
        [-0.5, 2.0]
    """

    def __init__(self, lower: float = 1.0 / 8, upper: float = 1.0 / 3, inplace: bool = False) -> None:
        super().__init__()
        self.lower = lower
        self.upper = upper
        self.inplace = inplace

    def forward(self, input: Tensor) -> Tensor:
        return F.rrelu(input, self.lower, self.upper, self.training, self.inplace)

    def extra_repr(self) -> str:
        return self._describe(f"lower={self.lower}", f"upper={self.upper}")


class PReLU(Module):
    """x where it is positive, x times a learned slope elsewhere.

    Args:
        num_parameters: 1, or the number of channels for a slope each.
        init: what the slopes start from.
        device, dtype: of the parameter.

    Shape: (N, num_parameters, *), or any with one slope, to the same. He et al., "Delving deep into rectifiers" (2015).

    Example:
        >>> import flamework
        >>> flamework.nn.PReLU()(flamework.tensor([-1.0, 2.0])).tolist()
        [-0.25, 2.0]
    """

    def __init__(self, num_parameters: int = 1, init: float = 0.25, device: Any = None, dtype: Any = None) -> None:
        super().__init__()
        self.num_parameters = num_parameters
        self.init = init
        self.weight = Parameter(flamework.empty(num_parameters, device=device, dtype=dtype))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Set the slopes back to ``init``."""
        initialise.constant_(self.weight, self.init)

    def forward(self, input: Tensor) -> Tensor:
        return F.prelu(input, self.weight)

    def extra_repr(self) -> str:
        return f"num_parameters={self.num_parameters}"


class GLU(Module):
    """The first half of the input times the sigmoid of the second.

    Args:
        dim: the dimension that is halved.

    Dauphin et al., "Language modeling with gated convolutional networks" (2016).

    Example:
        >>> import flamework
        >>> flamework.nn.GLU()(flamework.tensor([4.0, 0.0])).tolist()
        [2.0]
    """

    def __init__(self, dim: int = -1) -> None:
        super().__init__()
        self.dim = dim

    def forward(self, input: Tensor) -> Tensor:
        return F.glu(input, self.dim)

    def extra_repr(self) -> str:
        return f"dim={self.dim}"


class _Shrink(Module):
    """An activation that is zero on [-lambd, lambd]."""

    def __init__(self, lambd: float = 0.5) -> None:
        super().__init__()
        self.lambd = lambd

    def extra_repr(self) -> str:
        return str(self.lambd)


class Hardshrink(_Shrink):
    """x outside of [-lambd, lambd], 0 inside.

    Args:
        lambd: the bound.

    Example:
        >>> import flamework
        >>> flamework.nn.Hardshrink()(flamework.tensor([0.25, -1.0])).tolist()
        [0.0, -1.0]
    """

    def forward(self, input: Tensor) -> Tensor:
        return F.hardshrink(input, self.lambd)


class Softshrink(_Shrink):
    """x moved towards 0 by ``lambd``, and 0 where it would cross.

    Args:
        lambd: the amount.

    Example:
        >>> import flamework
        >>> flamework.nn.Softshrink()(flamework.tensor([0.25, -1.0])).tolist()
        [0.0, -0.5]
    """

    def forward(self, input: Tensor) -> Tensor:
        return F.softshrink(input, self.lambd)


class Tanhshrink(Module):
    """x - tanh(x).

    Example:
        >>> import flamework
        >>> flamework.nn.Tanhshrink()(flamework.zeros(2)).tolist()
        [0.0, 0.0]
    """

    def forward(self, input: Tensor) -> Tensor:
        return F.tanhshrink(input)


class LogSigmoid(Module):
    """The logarithm of the sigmoid, without its underflow.

    Example:
        >>> import flamework
        >>> flamework.nn.LogSigmoid()(flamework.tensor([-200.0])).tolist()
        [-200.0]
    """

    def forward(self, input: Tensor) -> Tensor:
        return F.logsigmoid(input)


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
        return F.softsign(input)


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
        return F.softmin(input, self.dim)


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
