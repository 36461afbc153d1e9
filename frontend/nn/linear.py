"""Linear layers and the changes of shape between layers.

In: tensors whose last dimension holds features. Out: tensors with that dimension transformed. Read ``init.py`` for the
default weights, and ``flamework/nn/functional.py`` for the computation.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import flamework
from flamework.nn import functional as F, init
from flamework.nn.module import Module
from flamework.nn.parameter import Parameter
from flamework.tensor import Tensor


class Identity(Module):
    """Return the input; takes any arguments, so that it can replace any layer.

    Example:
        >>> import flamework
        >>> x = flamework.ones(2)
        >>> flamework.nn.Identity(54, unused=True)(x) is x
        True
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__()

    def forward(self, input: Tensor) -> Tensor:
        return input


class Linear(Module):
    """y = x A^T + b on the last dimension.

    Args:
        in_features: size of the input's last dimension.
        out_features: size of the output's last dimension.
        bias: whether b is added.
        device, dtype: of the parameters.

    Shape: (*, in_features) to (*, out_features). ``weight`` is (out_features, in_features), ``bias`` (out_features,);
    both start uniform on +-1/sqrt(in_features). As ``torch.nn.Linear``.

    Example:
        >>> import flamework
        >>> tuple(flamework.nn.Linear(20, 30)(flamework.zeros(128, 20)).shape)
        (128, 30)
    """

    def __init__(self, in_features: int, out_features: int, bias: bool = True, device: Any = None,
                 dtype: Any = None) -> None:
        super().__init__()
        self.in_features = in_features
        self.out_features = out_features
        self.weight = Parameter(flamework.empty((out_features, in_features), device=device, dtype=dtype))
        if bias:
            self.bias = Parameter(flamework.empty((out_features,), device=device, dtype=dtype))
        else:
            self.register_parameter("bias", None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw weight and bias anew."""
        # With this slope the bound of the Kaiming scheme is 1 / sqrt(fan_in).
        init.kaiming_uniform_(self.weight, a=math.sqrt(5))
        if self.bias is not None:
            bound = 1 / math.sqrt(self.in_features) if self.in_features > 0 else 0
            init.uniform_(self.bias, -bound, bound)

    def forward(self, input: Tensor) -> Tensor:
        return F.linear(input, self.weight, self.bias)

    def extra_repr(self) -> str:
        return f"in_features={self.in_features}, out_features={self.out_features}, bias={self.bias is not None}"


class Bilinear(Module):
    """y = x1^T A x2 + b on the last dimensions of two inputs.

    Args:
        in1_features, in2_features: sizes of the inputs' last dimensions.
        out_features: size of the output's last dimension.
        bias: whether b is added.
        device, dtype: of the parameters.

    Shape: (*, in1_features) and (*, in2_features) to (*, out_features), with equal leading dimensions. ``weight`` is
    (out_features, in1_features, in2_features). As ``torch.nn.Bilinear``.

    Raises:
        ValueError: ``in1_features`` is not positive.

    Example:
        >>> import flamework
        >>> layer = flamework.nn.Bilinear(2, 3, 4)
        >>> tuple(layer(flamework.zeros(5, 2), flamework.zeros(5, 3)).shape)
        (5, 4)
    """

    def __init__(self, in1_features: int, in2_features: int, out_features: int, bias: bool = True, device: Any = None,
                 dtype: Any = None) -> None:
        super().__init__()
        if in1_features <= 0:
            raise ValueError(f"in1_features must be > 0, but got (in1_features={in1_features})")
        self.in1_features = in1_features
        self.in2_features = in2_features
        self.out_features = out_features
        shape = (out_features, in1_features, in2_features)
        self.weight = Parameter(flamework.empty(shape, device=device, dtype=dtype))
        if bias:
            self.bias = Parameter(flamework.empty((out_features,), device=device, dtype=dtype))
        else:
            self.register_parameter("bias", None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw weight and bias anew, uniform on +-1/sqrt(in1_features)."""
        bound = 1 / math.sqrt(self.in1_features)
        init.uniform_(self.weight, -bound, bound)
        if self.bias is not None:
            init.uniform_(self.bias, -bound, bound)

    def forward(self, input1: Tensor, input2: Tensor) -> Tensor:
        return F.bilinear(input1, input2, self.weight, self.bias)

    def extra_repr(self) -> str:
        return (f"in1_features={self.in1_features}, in2_features={self.in2_features}, "
                f"out_features={self.out_features}, bias={self.bias is not None}")


class Flatten(Module):
    """Merge a range of dimensions into one.

    Args:
        start_dim: the first dimension of the range; by default the one after the batch.
        end_dim: the last, included.

    Example:
        >>> import flamework
        >>> tuple(flamework.nn.Flatten()(flamework.zeros(32, 1, 5, 5)).shape)
        (32, 25)
    """

    def __init__(self, start_dim: int = 1, end_dim: int = -1) -> None:
        super().__init__()
        self.start_dim = start_dim
        self.end_dim = end_dim

    def forward(self, input: Tensor) -> Tensor:
        return input.flatten(self.start_dim, self.end_dim)

    def extra_repr(self) -> str:
        return f"start_dim={self.start_dim}, end_dim={self.end_dim}"


class Unflatten(Module):
    """Split one dimension into several.

    Args:
        dim: the dimension.
        unflattened_size: the sizes that replace it; one may be -1.

    Raises:
        TypeError: ``unflattened_size`` is no tuple or list of integers.

    Example:
        >>> import flamework
        >>> tuple(flamework.nn.Unflatten(1, (2, 5))(flamework.zeros(3, 10)).shape)
        (3, 2, 5)
    """

    def __init__(self, dim: int, unflattened_size: Sequence[int]) -> None:
        super().__init__()
        if not isinstance(unflattened_size, tuple | list):
            raise TypeError(f"unflattened_size must be a tuple of ints, but found type "
                            f"{type(unflattened_size).__name__}")
        for position, size in enumerate(unflattened_size):
            if not isinstance(size, int):
                raise TypeError("unflattened_size must be tuple of ints, but found element of type "
                                f"{type(size).__name__} at pos {position}")
        self.dim = dim
        self.unflattened_size = unflattened_size

    def forward(self, input: Tensor) -> Tensor:
        return input.unflatten(self.dim, self.unflattened_size)

    def extra_repr(self) -> str:
        return f"dim={self.dim}, unflattened_size={self.unflattened_size}"
