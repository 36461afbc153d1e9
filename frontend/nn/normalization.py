"""Normalisation layers: shift and scale activations to mean zero and variance one, then by learned factors.

They differ in the elements that share a mean: each row of the last dimensions (layer and RMS normalisation), groups of
channels (group normalisation), each channel of an example (instance normalisation), or each channel over the whole
batch (batch normalisation, which also keeps running averages for evaluation).

In: activations. Out: activations of the same shape. The computation is in ``flamework/nn/functional.py``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import flamework
from flamework.nn import functional as F, init
from flamework.nn.module import Module
from flamework.nn.parameter import Parameter
from flamework.origin import warn
from flamework.tensor import Tensor


def _shape(normalized_shape: int | Sequence[int]) -> tuple[int, ...]:
    return (normalized_shape,) if isinstance(normalized_shape, int) else tuple(normalized_shape)


class _Affine(Module):
    """A layer with an optional weight of ones and an optional bias of zeros."""

    def _register_affine(self, shape: tuple[int, ...], weight: bool, bias: bool, device: Any, dtype: Any) -> None:
        for name, wanted in (("weight", weight), ("bias", bias)):
            parameter = Parameter(flamework.empty(shape, device=device, dtype=dtype)) if wanted else None
            self.register_parameter(name, parameter)

    def reset_parameters(self) -> None:
        """Set the weight to ones and the bias to zeros."""
        if self.weight is not None:
            init.ones_(self.weight)
        if self.bias is not None:
            init.zeros_(self.bias)


class LayerNorm(_Affine):
    """Normalise over the last dimensions.

    Args:
        normalized_shape: their sizes; one number for the last dimension alone.
        eps: added to the variance.
        elementwise_affine: whether there is a learned weight, and a bias if ``bias``.
        bias: False leaves out the bias only.
        device, dtype: of the parameters.

    Shape: (*, *normalized_shape) to the same. Ba et al., "Layer normalization" (2016). As ``torch.nn.LayerNorm``.

    Example:
        >>> import flamework
        >>> flamework.nn.LayerNorm(2)(flamework.tensor([[1.0, 1.0]])).tolist()
        [[0.0, 0.0]]
    """

    def __init__(self, normalized_shape: int | Sequence[int], eps: float = 1e-5, elementwise_affine: bool = True,
                 bias: bool = True, device: Any = None, dtype: Any = None) -> None:
        super().__init__()
        self.normalized_shape = _shape(normalized_shape)
        self.eps = eps
        self.elementwise_affine = elementwise_affine
        self._register_affine(self.normalized_shape, elementwise_affine, elementwise_affine and bias, device, dtype)
        self.reset_parameters()

    def forward(self, input: Tensor) -> Tensor:
        return F.layer_norm(input, self.normalized_shape, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        return (f"{self.normalized_shape}, eps={self.eps}, elementwise_affine={self.elementwise_affine}, "
                f"bias={self.bias is not None}")


class RMSNorm(Module):
    """Divide by the root of the mean square over the last dimensions.

    Args:
        normalized_shape: their sizes; one number for the last dimension alone.
        eps: added to the mean square; the dtype's machine epsilon when None.
        elementwise_affine: whether there is a learned weight.
        device, dtype: of the parameter.

    Shape: (*, *normalized_shape) to the same. Zhang and Sennrich, "Root mean square layer normalization" (2019). As
    ``torch.nn.RMSNorm``.

    Example:
        >>> import flamework
        >>> flamework.nn.RMSNorm(2, eps=0.0)(flamework.tensor([[2.0, 2.0]])).tolist()
        [[1.0, 1.0]]
    """

    def __init__(self, normalized_shape: int | Sequence[int], eps: float | None = None,
                 elementwise_affine: bool = True, device: Any = None, dtype: Any = None) -> None:
        super().__init__()
        self.normalized_shape = _shape(normalized_shape)
        self.eps = eps
        self.elementwise_affine = elementwise_affine
        if elementwise_affine:
            self.weight = Parameter(flamework.empty(self.normalized_shape, device=device, dtype=dtype))
        else:
            self.register_parameter("weight", None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Set the weight to ones."""
        if self.weight is not None:
            init.ones_(self.weight)

    def forward(self, input: Tensor) -> Tensor:
        return F.rms_norm(input, self.normalized_shape, self.weight, self.eps)

    def extra_repr(self) -> str:
        return f"{self.normalized_shape}, eps={self.eps}, elementwise_affine={self.elementwise_affine}"


class GroupNorm(_Affine):
    """Normalise each group of channels of each example.

    Args:
        num_groups: number of groups.
        num_channels: number of channels, a multiple of the groups.
        eps: added to the variance.
        affine: whether there is a learned weight per channel, and a bias if ``bias``.
        device, dtype: of the parameters.
        bias: False leaves out the bias only.

    Shape: (N, num_channels, *) to the same. Wu and He, "Group normalization" (2018). As ``torch.nn.GroupNorm``.

    Raises:
        ValueError: ``num_channels`` is no multiple of ``num_groups``.

    Example:
        >>> import flamework
        >>> tuple(flamework.nn.GroupNorm(3, 6)(flamework.zeros(2, 6, 4, 4)).shape)
        (2, 6, 4, 4)
    """

    def __init__(self, num_groups: int, num_channels: int, eps: float = 1e-5, affine: bool = True,
                 device: Any = None, dtype: Any = None, *, bias: bool = True) -> None:
        super().__init__()
        if num_channels % num_groups:
            raise ValueError(f"num_channels ({num_channels}) must be divisible by num_groups ({num_groups})")
        self.num_groups = num_groups
        self.num_channels = num_channels
        self.eps = eps
        self.affine = affine
        self._register_affine((num_channels,), affine, affine and bias, device, dtype)
        self.reset_parameters()

    def forward(self, input: Tensor) -> Tensor:
        return F.group_norm(input, self.num_groups, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        return (f"{self.num_groups}, {self.num_channels}, eps={self.eps}, affine={self.affine}, "
                f"bias={self.bias is not None}")


class _ChannelNorm(_Affine):
    """Parameters and running averages of each channel; a subclass says which numbers of dimensions it accepts."""

    # Version 2 added num_batches_tracked.
    _version = 2
    # Accepted numbers of dimensions, and their names in the error.
    accepted: tuple[int, ...]

    def __init__(self, num_features: int, eps: float = 1e-5, momentum: float | None = 0.1, affine: bool = True,
                 track_running_stats: bool = True, device: Any = None, dtype: Any = None, *,
                 bias: bool = True) -> None:
        super().__init__()
        self.num_features = num_features
        self.eps = eps
        self.momentum = momentum
        self.affine = affine
        self.track_running_stats = track_running_stats
        self._register_affine((num_features,), affine, affine and bias, device, dtype)
        if track_running_stats:
            self.register_buffer("running_mean", flamework.zeros(num_features, device=device, dtype=dtype))
            self.register_buffer("running_var", flamework.ones(num_features, device=device, dtype=dtype))
            self.register_buffer("num_batches_tracked", flamework.zeros((), dtype=flamework.int64, device=device))
        else:
            for name in ("running_mean", "running_var", "num_batches_tracked"):
                self.register_buffer(name, None)
        self.reset_parameters()

    def reset_running_stats(self) -> None:
        """Forget the running averages: mean zero, variance one, no batches."""
        if self.track_running_stats:
            self.running_mean.zero_()
            self.running_var.fill_(1)
            self.num_batches_tracked.zero_()

    def reset_parameters(self) -> None:
        """Set the weight to ones and the bias to zeros, and forget the running averages."""
        self.reset_running_stats()
        super().reset_parameters()

    def _check_dimensions(self, input: Tensor) -> None:
        if input.dim() not in self.accepted:
            names = " or ".join(f"{count}D" for count in self.accepted)
            raise ValueError(f"expected {names} input (got {input.dim()}D input)")

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, local_metadata: dict[str, Any],
                              *rest: Any) -> None:
        key = f"{prefix}num_batches_tracked"
        if local_metadata.get("version", 1) < 2 and self.num_batches_tracked is not None and key not in state_dict:
            state_dict[key] = self.num_batches_tracked
        super()._load_from_state_dict(state_dict, prefix, local_metadata, *rest)

    def extra_repr(self) -> str:
        return (f"{self.num_features}, eps={self.eps}, momentum={self.momentum}, affine={self.affine}, "
                f"bias={self.bias is not None}, track_running_stats={self.track_running_stats}")


class _BatchNorm(_ChannelNorm):
    """Batch normalisation for inputs of any number of dimensions."""

    def forward(self, input: Tensor) -> Tensor:
        self._check_dimensions(input)
        momentum = 0.0 if self.momentum is None else self.momentum
        if self.training and self.track_running_stats and self.num_batches_tracked is not None:
            self.num_batches_tracked.add_(1)
            if self.momentum is None:
                # The mean over all batches so far. Reads a value, so it materialises; PyTorch does too.
                momentum = 1.0 / float(self.num_batches_tracked)
        use_running = not self.training or self.track_running_stats
        mean = self.running_mean if use_running else None
        variance = self.running_var if use_running else None
        from_batch = self.training or (self.running_mean is None and self.running_var is None)
        return F.batch_norm(input, mean, variance, self.weight, self.bias, from_batch, momentum, self.eps)


class BatchNorm1d(_BatchNorm):
    """Normalise each channel over the batch, and over the length if there is one.

    Args:
        num_features: number of channels C.
        eps: added to the variance.
        momentum: weight of the new batch in the running averages; None averages over all batches.
        affine: whether there is a learned weight per channel, and a bias if ``bias``.
        track_running_stats: whether running averages are kept, and used in evaluation mode.
        device, dtype: of parameters and buffers.
        bias: False leaves out the bias only.

    Shape: (N, C) or (N, C, L) to the same. Ioffe and Szegedy, "Batch normalization" (2015). As
    ``torch.nn.BatchNorm1d``.

    Raises:
        ValueError: on a call, an input of another number of dimensions.

    Example:
        >>> import flamework
        >>> tuple(flamework.nn.BatchNorm1d(3)(flamework.zeros(5, 3)).shape)
        (5, 3)
    """

    accepted = (2, 3)


class BatchNorm2d(_BatchNorm):
    """Normalise each channel over batch, height and width.

    Arguments, paper and error are those of ``BatchNorm1d``; shape: (N, C, H, W) to the same. As
    ``torch.nn.BatchNorm2d``.

    Example:
        >>> import flamework
        >>> tuple(flamework.nn.BatchNorm2d(3)(flamework.zeros(5, 3, 4, 4)).shape)
        (5, 3, 4, 4)
    """

    accepted = (4,)


class BatchNorm3d(_BatchNorm):
    """Normalise each channel over batch, depth, height and width.

    Arguments, paper and error are those of ``BatchNorm1d``; shape: (N, C, D, H, W) to the same. As
    ``torch.nn.BatchNorm3d``.

    Example:
        >>> import flamework
        >>> tuple(flamework.nn.BatchNorm3d(3)(flamework.zeros(5, 3, 2, 4, 4)).shape)
        (5, 3, 2, 4, 4)
    """

    accepted = (5,)


class _InstanceNorm(_ChannelNorm):
    """Instance normalisation for inputs of any number of dimensions, the larger one with a batch."""

    def __init__(self, num_features: int, eps: float = 1e-5, momentum: float | None = 0.1, affine: bool = False,
                 track_running_stats: bool = False, device: Any = None, dtype: Any = None, *,
                 bias: bool = True) -> None:
        super().__init__(num_features, eps, momentum, affine, track_running_stats, device, dtype, bias=bias)

    def forward(self, input: Tensor) -> Tensor:
        self._check_dimensions(input)
        channels = input.shape[-self.accepted[0]]
        if channels != self.num_features:
            text = f"expected input's size at dim={input.dim() - self.accepted[0]} to match num_features"
            if self.affine:
                raise ValueError(f"{text} ({self.num_features}), but got: {channels}.")
            warn(f"input's size at dim={input.dim() - self.accepted[0]} does not match num_features. You can "
                 "silence this warning by not passing in num_features, which is not used because "
                 "affine=False")
        batch = input if input.dim() == self.accepted[1] else input.unsqueeze(0)
        use_input = self.training or not self.track_running_stats
        momentum = 0.0 if self.momentum is None else self.momentum
        result = F.instance_norm(batch, self.running_mean, self.running_var, self.weight, self.bias, use_input,
                                 momentum, self.eps)
        return result if batch is input else result.squeeze(0)


class InstanceNorm1d(_InstanceNorm):
    """Normalise each channel of each example over its length.

    Args:
        num_features: number of channels C.
        eps: added to the variance.
        momentum: weight of the new batch in the running averages.
        affine: whether there is a learned weight per channel, and a bias if ``bias``.
        track_running_stats: whether running averages are kept, and used in evaluation mode.
        device, dtype: of parameters and buffers.
        bias: False leaves out the bias only.

    Shape: (N, C, L) or (C, L) to the same. Ulyanov et al., "Instance normalization" (2016). As
    ``torch.nn.InstanceNorm1d``.

    Raises:
        ValueError: on a call, an input of another number of dimensions or channels.

    Example:
        >>> import flamework
        >>> tuple(flamework.nn.InstanceNorm1d(3)(flamework.zeros(5, 3, 4)).shape)
        (5, 3, 4)
    """

    accepted = (2, 3)


class InstanceNorm2d(_InstanceNorm):
    """Normalise each channel of each example over height and width.

    Arguments, paper and errors are those of ``InstanceNorm1d``; shape: (N, C, H, W) or (C, H, W) to the same. As
    ``torch.nn.InstanceNorm2d``.

    Example:
        >>> import flamework
        >>> tuple(flamework.nn.InstanceNorm2d(3)(flamework.zeros(5, 3, 4, 4)).shape)
        (5, 3, 4, 4)
    """

    accepted = (3, 4)


class InstanceNorm3d(_InstanceNorm):
    """Normalise each channel of each example over depth, height and width.

    Arguments, paper and errors are those of ``InstanceNorm1d``; shape: (N, C, D, H, W) or (C, D, H, W) to the same. As
    ``torch.nn.InstanceNorm3d``.

    Example:
        >>> import flamework
        >>> tuple(flamework.nn.InstanceNorm3d(3)(flamework.zeros(5, 3, 2, 4, 4)).shape)
        (5, 3, 2, 4, 4)
    """

    accepted = (4, 5)


class LocalResponseNorm(Module):
    """Divide by a power of the mean square of neighbouring channels.

    Args:
        size: how many channels are neighbours.
        alpha, beta, k: the divisor is (k + alpha * mean square) ** beta.

    Shape: (N, C, *) to the same. Krizhevsky et al., "ImageNet classification with deep convolutional neural networks"
    (2012). As ``torch.nn.LocalResponseNorm``.

    Example:
        >>> import flamework
        >>> tuple(flamework.nn.LocalResponseNorm(2)(flamework.zeros(5, 3, 4)).shape)
        (5, 3, 4)
    """

    def __init__(self, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0) -> None:
        super().__init__()
        self.size = size
        self.alpha = alpha
        self.beta = beta
        self.k = k

    def forward(self, input: Tensor) -> Tensor:
        return F.local_response_norm(input, self.size, self.alpha, self.beta, self.k)

    def extra_repr(self) -> str:
        return f"{self.size}, alpha={self.alpha}, beta={self.beta}, k={self.k}"
