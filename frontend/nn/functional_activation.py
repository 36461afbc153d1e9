"""Activations: functions of one tensor between the layers of a network, as in ``torch.nn.functional``.

With ``inplace=True`` the result becomes the new value of the argument. The formulas are in ``formulas.py``; the casting
of integers, where PyTorch refuses them, is refused here too. Read next: ``functional_norm.py``.
"""

from __future__ import annotations

from .. import formulas as f, pointwise, random, scans
from ..arguments import floating_only, tensor_argument
from ..compiler import primitives as p, primitives_shape as s
from ..compiler.dtypes import BOOL, COMPLEX, FLOATING, DType, meant
from ..compiler.ir import Node
from ..compiler.narrow import rounded_once
from ..formulas import argument, constant
from ..formulas_complex import FUNCTIONS
from ..memory_order import keeps_order
from ..mutation import assign
from ..origin import warn
from ..recording import node_of, tensor_of
from ..storage import attached
from ..tensor import Tensor, axis_of

SELU_ALPHA, SELU_SCALE = 1.6732632423543772848170429916717, 1.0507009873554804934193349852946


def result(node: Node, input: Tensor, inplace: bool) -> Tensor:
    """A new tensor, or ``input`` with the new value."""
    return assign(input, node) if inplace else tensor_of(node)


def _argument(input: Tensor, function: str) -> Node:
    return floating_only(node_of(input), function)


@keeps_order
def relu(input: Tensor, inplace: bool = False) -> Tensor:
    """``max(x, 0)``. As ``torch.nn.functional.relu``.

    Example:
        >>> import flamework as torch
        >>> torch.nn.functional.relu(torch.tensor([-1.0, 2.0])).tolist()
        [0.0, 2.0]
    """
    if not inplace:
        return pointwise.relu(input)
    x = node_of(input)
    if x.type.dtype.kind == BOOL:
        raise RuntimeError("Boolean inputs not supported for relu")
    return assign(input, p.relu(x))


def relu6(input: Tensor, inplace: bool = False) -> Tensor:
    """``min(max(x, 0), 6)``. As ``torch.nn.functional.relu6``."""
    return hardtanh(input, 0, 6, inplace)


def hardtanh(input: Tensor, min_val: float = -1.0, max_val: float = 1.0, inplace: bool = False) -> Tensor:
    """The elements limited to [min_val, max_val]; no gradient at or beyond the limits.

    As ``torch.nn.functional.hardtanh``.

    Raises:
        ValueError: ``min_val`` above ``max_val``.

    Example:
        >>> import flamework as torch
        >>> torch.nn.functional.hardtanh(torch.tensor([-2.0, 0.5])).tolist()
        [-1.0, 0.5]
    """
    if min_val > max_val:
        raise ValueError("min_val cannot be greater than max_val")
    x = node_of(input)
    return result(f.hardtanh(x, argument(x, min_val), argument(x, max_val)), input, inplace)


def leaky_relu(input: Tensor, negative_slope: float = 0.01, inplace: bool = False) -> Tensor:
    """``x`` where positive, ``negative_slope * x`` elsewhere. As ``torch.nn.functional.leaky_relu``.

    Example:
        >>> import flamework as torch
        >>> torch.nn.functional.leaky_relu(torch.tensor([-2.0, 3.0]), 0.5).tolist()
        [-1.0, 3.0]
    """
    x = _argument(input, "leaky_relu")
    return result(_leaky(x, argument(x, negative_slope)), input, inplace)


def _leaky(x: Node, slope: Node) -> Node:
    x = p.piecewise(x)
    return p.where(p.lt(constant(x, 0), x), x, p.mul(x, slope))


def prelu(input: Tensor, weight: Tensor) -> Tensor:
    """:func:`leaky_relu` with a slope that is learned: one number, or one a channel (axis 1).

    As ``torch.nn.functional.prelu``.
    """
    x, w = _argument(input, "prelu"), node_of(weight)
    if x.type.dtype is not w.type.dtype:
        raise RuntimeError("prelu: Type promoting not supported. Got " + f"{x.type.dtype} and {w.type.dtype}")
    if w.type.size == 1:
        return tensor_of(_leaky(x, f.broadcast_to(f.reshaped(w, ()), x.type.shape)))
    channels = x.type.shape[1] if x.ndim > 1 else 1
    if w.ndim != 1 or w.type.size != channels:
        raise RuntimeError(
            f"Mismatch of parameter numbers and input channel size. Found parameter numbers = {w.type.size} and "
            f"channel size = {channels}."
        )
    return tensor_of(_leaky(x, f.channelwise(w, x, 1)))


def rrelu(
    input: Tensor, lower: float = 1.0 / 8, upper: float = 1.0 / 3, training: bool = False, inplace: bool = False
) -> Tensor:
    """:func:`leaky_relu` with a slope drawn uniformly from [lower, upper] when training, their middle otherwise.

    As ``torch.nn.functional.rrelu``; the slopes come from the counter-based stream.
    """
    x = _argument(input, "rrelu")
    if lower > upper:
        raise RuntimeError(f"rrelu: lower must not be above upper, but got {lower} > {upper}")
    if training:
        low, width = argument(x, lower), argument(x, upper - lower)
        slope = p.add(low, p.mul(width, random.uniform_bits(x)))
    else:
        slope = argument(x, (lower + upper) / 2)
    return result(_leaky(x, slope), input, inplace)


def elu(input: Tensor, alpha: float = 1.0, inplace: bool = False) -> Tensor:
    """``x`` where positive, ``alpha * (exp(x) - 1)`` elsewhere. As ``torch.nn.functional.elu``."""
    return result(f.elu(_argument(input, "elu"), alpha), input, inplace)


def celu(input: Tensor, alpha: float = 1.0, inplace: bool = False) -> Tensor:
    """``x`` where positive, ``alpha * (exp(x / alpha) - 1)`` elsewhere. As ``torch.nn.functional.celu``."""
    if alpha == 0:
        raise RuntimeError("ZeroDivisionError: alpha cannot be 0 for CELU")
    return result(f.elu(_argument(input, "celu"), alpha, 1.0, 1 / alpha), input, inplace)


def selu(input: Tensor, inplace: bool = False) -> Tensor:
    """:func:`elu`, scaled so that activations keep mean 0 and variance 1. As ``torch.nn.functional.selu``.

    Klambauer and others, "Self-normalizing neural networks" (2017).
    """
    return result(f.elu(_argument(input, "selu"), SELU_ALPHA, SELU_SCALE), input, inplace)


def gelu(input: Tensor, approximate: str = "none") -> Tensor:
    """``x`` times the normal distribution function at ``x``. As ``torch.nn.functional.gelu``.

    Args:
        approximate: ``"none"`` for the exact function, ``"tanh"`` for the approximation by a hyperbolic tangent.

    Example:
        >>> import flamework as torch
        >>> torch.nn.functional.gelu(torch.tensor([0.0])).tolist()
        [0.0]
    """
    if approximate not in ("none", "tanh"):
        raise RuntimeError("approximate argument must be either none or tanh.")
    x = _argument(input, "gelu")
    return tensor_of(f.gelu(x) if approximate == "none" else f.gelu_tanh(x))


def silu(input: Tensor, inplace: bool = False) -> Tensor:
    """``x * sigmoid(x)``, also of complex numbers. As ``torch.nn.functional.silu``."""
    x = tensor_argument(input, "silu", "input", 1)
    if x.type.dtype.kind == COMPLEX:
        return result(p.mul(x, FUNCTIONS["sigmoid"](x)), input, inplace)
    return result(f.silu(_argument(input, "silu")), input, inplace)


def mish(input: Tensor, inplace: bool = False) -> Tensor:
    """``x * tanh(softplus(x))``. As ``torch.nn.functional.mish``."""
    return result(f.mish(_argument(input, "mish")), input, inplace)


def softplus(input: Tensor, beta: float = 1, threshold: float = 20) -> Tensor:
    """``log(1 + exp(beta * x)) / beta``, and ``x`` where ``beta * x > threshold``.

    As ``torch.nn.functional.softplus``.
    """
    return tensor_of(f.softplus(_argument(input, "softplus"), beta, threshold))


def hardsigmoid(input: Tensor, inplace: bool = False) -> Tensor:
    """``min(max(x + 3, 0), 6) / 6``. As ``torch.nn.functional.hardsigmoid``."""
    return result(_hardsigmoid(_argument(input, "hardsigmoid")), input, inplace)


@rounded_once
def _hardsigmoid(x: Node) -> Node:
    x = p.piecewise(x)
    ramp = p.scale(p.add(x, constant(x, 3)), 1 / 6)
    low, high = p.le(x, constant(x, -3)), p.le(constant(x, 3), x)
    return p.where(low, constant(x, 0), p.where(high, constant(x, 1), ramp))


def hardswish(input: Tensor, inplace: bool = False) -> Tensor:
    """``x * hardsigmoid(x)``. As ``torch.nn.functional.hardswish``."""
    return result(_hardswish(_argument(input, "hardswish")), input, inplace)


@rounded_once
def _hardswish(x: Node) -> Node:
    ramp = p.mul(x, p.scale(p.add(x, constant(x, 3)), 1 / 6))
    low, high = p.le(x, constant(x, -3)), p.le(constant(x, 3), x)
    return p.where(low, constant(x, 0), p.where(high, x, ramp))


def logsigmoid(input: Tensor) -> Tensor:
    """The logarithm of the logistic function, accurate everywhere. As ``torch.nn.functional.logsigmoid``."""
    return tensor_of(f.log_sigmoid(_argument(input, "logsigmoid")))


def softsign(input: Tensor) -> Tensor:
    """``x / (1 + |x|)``. As ``torch.nn.functional.softsign``."""
    if tensor_argument(input, "softsign", "input", 1).type.dtype.kind != FLOATING:
        return input / (input.abs() + 1)
    x = _argument(input, "softsign")
    return tensor_of(rounded_once(lambda x: p.div(x, p.add(p.abs(x), constant(x, 1))))(x))


def tanhshrink(input: Tensor) -> Tensor:
    """``x - tanh(x)``. As ``torch.nn.functional.tanhshrink``."""
    if tensor_argument(input, "tanhshrink", "input", 1).type.dtype.kind != FLOATING:
        return input - input.tanh()
    x = _argument(input, "tanhshrink")
    return tensor_of(p.sub(x, p.tanh(x)))


def softshrink(input: Tensor, lambd: float = 0.5) -> Tensor:
    """The elements moved by ``lambd`` towards 0, and 0 where that passes it. As ``torch.nn.functional.softshrink``."""
    if lambd < 0:
        raise RuntimeError(f"lambda must be greater or equal to 0, but found to be {lambd}.")
    x = p.piecewise(_argument(input, "softshrink"))
    width = argument(x, lambd)
    inner = p.where(p.lt(x, p.neg(width)), p.add(x, width), p.mul(x, constant(x, 0)))
    return tensor_of(p.where(p.lt(width, x), p.sub(x, width), inner))


def hardshrink(input: Tensor, lambd: float = 0.5) -> Tensor:
    """The elements outside of [-lambd, lambd], and 0 for those inside. As ``torch.nn.functional.hardshrink``."""
    x = p.piecewise(_argument(input, "hardshrink"))
    return tensor_of(p.where(p.le(p.abs(x), argument(x, lambd)), constant(x, 0), x))


def threshold(input: Tensor, threshold: float, value: float, inplace: bool = False) -> Tensor:
    """The elements above ``threshold``, and ``value`` for the others. As ``torch.nn.functional.threshold``."""
    x = p.piecewise(node_of(input))
    return result(p.where(p.le(x, argument(x, threshold)), argument(x, value), x), input, inplace)


def glu(input: Tensor, dim: int = -1) -> Tensor:
    """The first half along ``dim`` times the logistic function of the second half. As ``torch.nn.functional.glu``.

    Raises:
        RuntimeError: an axis of odd size.
    """
    x = tensor_argument(input, "glu", "input", 1)
    if x.ndim == 0:
        raise RuntimeError("glu does not support 0-dimensional tensors")
    axis = axis_of(dim, x.ndim)
    _argument(input, "glu")
    extent = x.type.shape[axis]
    if extent % 2:
        raise RuntimeError(f"Halving dimension must be even, but dimension {axis} is size {extent}")
    half = extent // 2
    return tensor_of(_gated(f.axis_slice(x, axis, 0, half), f.axis_slice(x, axis, half, half)))


@rounded_once
def _gated(x: Node, gate: Node) -> Node:
    return p.mul(x, p.sigmoid(gate))


def tanh(input: Tensor) -> Tensor:
    """The hyperbolic tangent. As ``torch.nn.functional.tanh``."""
    return pointwise.tanh(input)


def sigmoid(input: Tensor) -> Tensor:
    """The logistic function. As ``torch.nn.functional.sigmoid``."""
    return pointwise.sigmoid(input)


# ------------------------------------------------------------------------------------------------------ softmax family


def _implicit_dim(function: str, input: Tensor) -> int:
    warn(
        f"Implicit dimension choice for {function} has been deprecated. Change the call to include dim=X as an "
        "argument.",
    )
    return 0 if input.ndim in (0, 1, 3) else 1


def softmax(input: Tensor, dim: int | None = None, _stacklevel: int = 3, dtype: DType | None = None) -> Tensor:
    """``exp(x) / sum(exp(x))`` along ``dim``, in ``dtype`` if given. As ``torch.nn.functional.softmax``.

    Example:
        >>> import flamework as torch
        >>> torch.nn.functional.softmax(torch.tensor([0.0, 0.0]), dim=0).tolist()
        [0.5, 0.5]
    """
    dim = _implicit_dim("softmax", input) if dim is None else dim
    return scans.softmax(input, dim, meant(dtype))


def softmin(input: Tensor, dim: int | None = None, _stacklevel: int = 3, dtype: DType | None = None) -> Tensor:
    """:func:`softmax` of the negative elements. As ``torch.nn.functional.softmin``."""
    dim = _implicit_dim("softmin", input) if dim is None else dim
    return scans.softmax(-input, dim, meant(dtype))


def log_softmax(input: Tensor, dim: int | None = None, _stacklevel: int = 3, dtype: DType | None = None) -> Tensor:
    """The logarithm of :func:`softmax`, accurate where that is near 0. As ``torch.nn.functional.log_softmax``."""
    dim = _implicit_dim("log_softmax", input) if dim is None else dim
    return scans.log_softmax(input, dim, meant(dtype))


def gumbel_softmax(
    logits: Tensor, tau: float = 1, hard: bool = False, eps: float = 1e-10, dim: int = -1
) -> Tensor:
    """A sample from the Gumbel-softmax distribution along ``dim``. As ``torch.nn.functional.gumbel_softmax``.

    Args:
        tau: temperature; near 0 the samples are nearly one-hot.
        hard: give one-hot samples, with the gradient of the soft ones.
        eps: without influence, in PyTorch too: deprecated, and warned about if it is not the default.

    Jang, Gu and Poole, "Categorical reparameterization with Gumbel-softmax" (2017).
    """
    if eps != 1e-10:
        warn("`eps` parameter is deprecated and has no effect.")
    x = _argument(logits, "gumbel_softmax")
    axis = axis_of(dim, x.ndim)
    noise = node_of(random.exponential_(tensor_of(f.constant(x, 0))))
    disturbed = p.div(p.sub(x, p.log(noise)), argument(x, tau))
    soft = f.softmax(disturbed, axis)
    if not hard:
        return tensor_of(soft)
    index = f.extremum_index(soft, axis, s.reduce_max)
    chosen = p.eq(f.iota(soft, axis), f.along(index, (axis,), soft))
    # exactly one-hot, where one_hot - soft + soft would round
    value = f.converted(chosen, x.type.dtype)
    return tensor_of(attached(value, soft) if soft.requires_grad else value)


def _in_place(function):
    def in_place(input: Tensor, *args, **options) -> Tensor:
        return function(input, *args, **options, inplace=True)

    in_place.__name__ = in_place.__qualname__ = function.__name__ + "_"
    in_place.__doc__ = f":func:`{function.__name__}` in place. As ``torch.nn.functional.{function.__name__}_``."
    return in_place


relu_, hardtanh_, leaky_relu_, elu_ = (_in_place(g) for g in (relu, hardtanh, leaky_relu, elu))
celu_, selu_, rrelu_, threshold_ = (_in_place(g) for g in (celu, selu, rrelu, threshold))

__all__ = [
    "celu", "celu_", "elu", "elu_", "gelu", "glu", "gumbel_softmax", "hardshrink", "hardsigmoid", "hardswish",
    "hardtanh", "hardtanh_", "leaky_relu", "leaky_relu_", "log_softmax", "logsigmoid", "mish", "prelu", "relu", "relu6",
    "relu_", "rrelu", "rrelu_", "selu", "selu_", "sigmoid", "silu", "softmax", "softmin", "softplus", "softshrink",
    "softsign", "tanh", "tanhshrink", "threshold", "threshold_",
]
