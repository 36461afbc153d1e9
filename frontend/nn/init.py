"""Initialisation of parameters: the schemes of ``torch.nn.init``, drawing the same random numbers in the same order.

Every function fills a tensor in place, outside of the graph, and returns it. A seeded model therefore starts from the
weights that PyTorch gives it, as long as each scheme asks the generator for the same numbers: one ``uniform_`` or
``normal_`` over the whole tensor, never several over parts.

In: a tensor and the scheme's numbers. Out: the same tensor. Read ``linear.py`` next for the defaults of a layer.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import flamework
import numpy as np
from flamework.origin import warn
from flamework.tensor import Tensor

_LINEAR = frozenset({"linear", "conv1d", "conv2d", "conv3d",
                     "conv_transpose1d", "conv_transpose2d", "conv_transpose3d"})


def calculate_gain(nonlinearity: str, param: float | None = None) -> float:
    """Return the factor by which weights must grow so that activations keep their variance through a nonlinearity.

    Args:
        nonlinearity: ``linear``, ``conv1d`` and the like, ``sigmoid``, ``tanh``, ``relu``, ``leaky_relu`` or ``selu``.
        param: the negative slope of ``leaky_relu``, 0.01 when left out.

    Raises:
        ValueError: another name, or a slope that is no number.

    As ``torch.nn.init.calculate_gain``.

    Example:
        >>> from flamework.nn import init
        >>> init.calculate_gain("tanh")
        1.6666666666666667
    """
    if nonlinearity in _LINEAR or nonlinearity == "sigmoid":
        return 1
    if nonlinearity == "tanh":
        return 5.0 / 3
    if nonlinearity == "relu":
        return math.sqrt(2.0)
    if nonlinearity == "leaky_relu":
        slope = 0.01 if param is None else param
        if isinstance(slope, bool) or not isinstance(slope, int | float):
            raise ValueError(f"negative_slope {param} not a valid number")
        return math.sqrt(2.0 / (1 + slope**2))
    if nonlinearity == "selu":
        # The value which PyTorch found by experiment; 1 would be the fixed point's.
        return 3.0 / 4
    raise ValueError(f"Unsupported nonlinearity {nonlinearity}")


def uniform_(tensor: Tensor, a: float = 0.0, b: float = 1.0, generator: Any = None) -> Tensor:
    """Fill with draws from the uniform distribution on [a, b).

    Example:
        >>> import flamework
        >>> weights = flamework.nn.init.uniform_(flamework.empty(2, 3), -1, 1)
    """
    with flamework.no_grad():
        return tensor.uniform_(a, b, generator=generator)


def normal_(tensor: Tensor, mean: float = 0.0, std: float = 1.0, generator: Any = None) -> Tensor:
    """Fill with draws from the normal distribution with the given mean and standard deviation.

    Example:
        >>> import flamework
        >>> weights = flamework.nn.init.normal_(flamework.empty(2, 3), std=0.02)
    """
    with flamework.no_grad():
        return tensor.normal_(mean, std, generator=generator)


def trunc_normal_(tensor: Tensor, mean: float = 0.0, std: float = 1.0, a: float = -2.0, b: float = 2.0,
                  generator: Any = None) -> Tensor:
    """Fill with draws from the normal distribution, conditioned on lying in [a, b].

    Draws outside are replaced by new ones. If the interval catches less than 0.3 of the probability, uniform candidates
    are accepted with the density's weight instead. Both read values, so this runs at once.

    As ``torch.nn.init.trunc_normal_``.

    Example:
        >>> import flamework
        >>> weights = flamework.nn.init.trunc_normal_(flamework.empty(64), std=0.02, a=-0.04, b=0.04)
        >>> bool((weights.abs() <= 0.04).all())
        True
    """
    if mean < a - 2 * std or mean > b + 2 * std:
        warn("mean is more than 2 std from [a, b] in nn.init.trunc_normal_. "
             "The distribution of values may be incorrect.")
    caught = _normal_cdf((b - mean) / std) - _normal_cdf((a - mean) / std)
    with flamework.no_grad():
        if caught > 0.3:
            _redraw_outside(tensor, mean, std, a, b, generator)
        else:
            _draw_by_rejection(tensor, mean, std, a, b, generator)
    return tensor


def _normal_cdf(x: float) -> float:
    return (1.0 + math.erf(x / math.sqrt(2.0))) / 2.0


def _redraw_outside(tensor: Tensor, mean: float, std: float, a: float, b: float, generator: Any) -> None:
    # The bounds are compared after rounding to the tensor's dtype, or a draw equal to one would be redrawn.
    low, high = tensor.new_tensor(a).item(), tensor.new_tensor(b).item()
    tensor.normal_(mean, std, generator=generator)
    while True:
        outside = (tensor < low) | (tensor > high)
        if not outside.any():
            return
        redrawn = flamework.empty_like(tensor).normal_(mean, std, generator=generator)
        tensor.copy_(flamework.where(outside, redrawn, tensor))


def _draw_by_rejection(tensor: Tensor, mean: float, std: float, a: float, b: float, generator: Any) -> None:
    mode = max(a, min(mean, b))
    log_peak = -0.5 * ((mode - mean) / std) ** 2
    pending = None
    while True:
        candidates = flamework.empty_like(tensor).uniform_(a, b, generator=generator)
        log_density = candidates.sub(mean).div(std).pow(2).mul(-0.5).sub(log_peak)
        rejected = flamework.empty_like(tensor).uniform_(generator=generator).log().gt(log_density)
        if pending is None:
            tensor.copy_(candidates)
            pending = rejected
        else:
            tensor.copy_(flamework.where(pending, candidates, tensor))
            pending = pending & rejected
        if not pending.any():
            return


def constant_(tensor: Tensor, val: float) -> Tensor:
    """Fill with the number ``val``.

    Example:
        >>> import flamework
        >>> flamework.nn.init.constant_(flamework.empty(2), 0.5).tolist()
        [0.5, 0.5]
    """
    with flamework.no_grad():
        return tensor.fill_(val)


def ones_(tensor: Tensor) -> Tensor:
    """Fill with ones."""
    return constant_(tensor, 1.0)


def zeros_(tensor: Tensor) -> Tensor:
    """Fill with zeros."""
    with flamework.no_grad():
        return tensor.zero_()


def eye_(tensor: Tensor) -> Tensor:
    """Fill a matrix with the identity: ones on the main diagonal, zeros elsewhere.

    Raises:
        ValueError: the tensor is not two-dimensional.
    """
    if tensor.dim() != 2:
        raise ValueError("Only tensors with 2 dimensions are supported")
    with flamework.no_grad():
        return tensor.copy_(flamework.eye(*tensor.shape))


def dirac_(tensor: Tensor, groups: int = 1) -> Tensor:
    """Fill the weight of a convolution, (out, in, *kernel), so that it passes its input channels through.

    Args:
        groups: number of groups; each passes its channels through.

    Raises:
        ValueError: not 3 to 5 dimensions, or the output channels do not divide into the groups.
    """
    if tensor.dim() not in (3, 4, 5):
        raise ValueError("Only tensors with 3, 4, or 5 dimensions are supported")
    out_channels, in_channels, *kernel = tensor.shape
    if out_channels % groups:
        raise ValueError("dim 0 must be divisible by groups")
    per_group = out_channels // groups
    centre = tuple(size // 2 for size in kernel)
    with flamework.no_grad():
        tensor.zero_()
        for group in range(groups):
            for channel in range(min(per_group, in_channels)):
                tensor[(group * per_group + channel, channel, *centre)] = 1
    return tensor


def _calculate_fan_in_and_fan_out(tensor: Tensor) -> tuple[int, int]:
    """Return how many inputs an output of the layer sees, and how many outputs an input reaches."""
    if tensor.dim() < 2:
        raise ValueError("Fan in and fan out can not be computed for tensor with fewer than 2 dimensions")
    receptive_field = math.prod(tensor.shape[2:])
    return tensor.shape[1] * receptive_field, tensor.shape[0] * receptive_field


def _calculate_correct_fan(tensor: Tensor, mode: str) -> int:
    valid = ["fan_in", "fan_out"]
    if mode.lower() not in valid:
        raise ValueError(f"Mode {mode} not supported, please use one of {valid}")
    return _calculate_fan_in_and_fan_out(tensor)[valid.index(mode.lower())]


def xavier_uniform_(tensor: Tensor, gain: float = 1.0, generator: Any = None) -> Tensor:
    """Fill uniformly on [-a, a) with a = gain * sqrt(6 / (fan_in + fan_out)).

    Glorot and Bengio, "Understanding the difficulty of training deep feedforward neural networks" (2010).

    Raises:
        ValueError: the tensor has fewer than two dimensions.
    """
    bound = math.sqrt(3.0) * _xavier_std(tensor, gain)
    return uniform_(tensor, -bound, bound, generator)


def xavier_normal_(tensor: Tensor, gain: float = 1.0, generator: Any = None) -> Tensor:
    """Fill from the normal distribution with standard deviation gain * sqrt(2 / (fan_in + fan_out)).

    The paper and the error are those of ``xavier_uniform_``.
    """
    return normal_(tensor, 0.0, _xavier_std(tensor, gain), generator)


def _xavier_std(tensor: Tensor, gain: float) -> float:
    return gain * math.sqrt(2.0 / float(sum(_calculate_fan_in_and_fan_out(tensor))))


def kaiming_uniform_(tensor: Tensor, a: float = 0, mode: str = "fan_in", nonlinearity: str = "leaky_relu",
                     generator: Any = None) -> Tensor:
    """Fill uniformly on [-b, b) with b = gain * sqrt(3 / fan).

    He et al., "Delving deep into rectifiers" (2015).

    Args:
        a: the negative slope of the leaky rectifier that follows.
        mode: ``fan_in`` keeps the variance of the forward pass, ``fan_out`` that of the backward pass.
        nonlinearity: see ``calculate_gain``.

    Raises:
        ValueError: the tensor has fewer than two dimensions, or an unknown ``mode`` or ``nonlinearity``.

    Example:
        >>> import flamework
        >>> weights = flamework.nn.init.kaiming_uniform_(flamework.empty(3, 5), nonlinearity="relu")
    """
    if 0 in tensor.shape:
        warn("Initializing zero-element tensors is a no-op")
        return tensor
    bound = math.sqrt(3.0) * _kaiming_std(tensor, a, mode, nonlinearity)
    return uniform_(tensor, -bound, bound, generator)


def kaiming_normal_(tensor: Tensor, a: float = 0, mode: str = "fan_in", nonlinearity: str = "leaky_relu",
                    generator: Any = None) -> Tensor:
    """Fill from the normal distribution with standard deviation gain / sqrt(fan).

    Paper, arguments and errors are those of ``kaiming_uniform_``.
    """
    if 0 in tensor.shape:
        warn("Initializing zero-element tensors is a no-op")
        return tensor
    return normal_(tensor, 0.0, _kaiming_std(tensor, a, mode, nonlinearity), generator)


def _kaiming_std(tensor: Tensor, a: float, mode: str, nonlinearity: str) -> float:
    fan = _calculate_correct_fan(tensor, mode)
    return calculate_gain(nonlinearity, a) / math.sqrt(fan)


def orthogonal_(tensor: Tensor, gain: float = 1, generator: Any = None) -> Tensor:
    """Fill with a random orthogonal matrix times ``gain``; further dimensions are flattened into the columns.

    The Q factor of a normal matrix, with the signs that make R's diagonal positive, so that the distribution is
    uniform and the result does not depend on LAPACK's choice of signs. Saxe et al., "Exact solutions to the nonlinear
    dynamics of learning in deep linear neural networks" (2013).

    Raises:
        ValueError: the tensor has fewer than two dimensions.
    """
    if tensor.dim() < 2:
        raise ValueError("Only tensors with 2 or more dimensions are supported")
    if tensor.numel() == 0:
        return tensor
    rows = tensor.shape[0]
    with flamework.no_grad():
        draws = tensor.new_empty((rows, tensor.numel() // rows)).normal_(0, 1, generator=generator)
        matrix = draws.cpu().numpy()
        wide = matrix.shape[0] < matrix.shape[1]
        q, r = np.linalg.qr(matrix.T if wide else matrix)
        q = q * np.sign(np.diagonal(r))
        q = np.ascontiguousarray(q.T if wide else q)
        return tensor.copy_(flamework.from_numpy(q).reshape(tensor.shape)).mul_(gain)


def sparse_(tensor: Tensor, sparsity: float, std: float = 0.01, generator: Any = None) -> Tensor:
    """Fill a matrix from the normal distribution and set a fraction ``sparsity`` of each column to zero.

    Martens, "Deep learning via Hessian-free optimization" (2010). As in PyTorch, ``generator`` draws the values while
    the rows which become zero come from the default generator.

    Raises:
        ValueError: the tensor is not two-dimensional.
    """
    if tensor.dim() != 2:
        raise ValueError("Only tensors with 2 dimensions are supported")
    rows, columns = tensor.shape
    zeros = math.ceil(sparsity * rows)
    with flamework.no_grad():
        tensor.normal_(0, std, generator=generator)
        for column in range(columns):
            tensor[flamework.randperm(rows)[:zeros], column] = 0
    return tensor


def _deprecated(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    old_name = function.__name__.removesuffix("_")

    @functools.wraps(function)
    def alias(*args: Any, **kwargs: Any) -> Tensor:
        warn(f"`nn.init.{old_name}` is now deprecated in favor of `nn.init.{old_name}_`.",
             FutureWarning)
        return function(*args, **kwargs)

    alias.__name__ = old_name
    alias.__doc__ = f"The old name of ``{old_name}_``."
    return alias


uniform = _deprecated(uniform_)
normal = _deprecated(normal_)
constant = _deprecated(constant_)
eye = _deprecated(eye_)
dirac = _deprecated(dirac_)
xavier_uniform = _deprecated(xavier_uniform_)
xavier_normal = _deprecated(xavier_normal_)
kaiming_uniform = _deprecated(kaiming_uniform_)
kaiming_normal = _deprecated(kaiming_normal_)
orthogonal = _deprecated(orthogonal_)
sparse = _deprecated(sparse_)
