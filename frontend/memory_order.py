"""The order in which a new tensor's elements lie in memory.

The graph knows no memory order, and what a kernel writes lies in index order. But a program sees more: PyTorch gives
the result of ``x.t() + 1`` the strides of ``x.t()``, so that ``reshape`` copies where it does and shares memory where
it does. Here such a tensor starts with a step ``arranged`` of its chain: its storage holds the axes in the order of
memory, and nothing is moved unless somebody looks at that memory.

The rules are those of PyTorch's ``TensorIterator`` (for functions that work element by element), of ``empty_like``, and
of ``suggest_memory_format`` (for functions of images). Which functions follow them is one table each.

In: a new tensor and what it was made from. Out: the same tensor, arranged. Read next: ``results.py``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from .compiler import primitives as p, primitives_shape as s
from .recording import storage_of
from .storage import Cut, arranged, is_contiguous
from .tensor import Tensor, memory_format, strides_of

# Functions whose result has the order of their operands in memory; as methods also in place, where nothing is new.
ELEMENTWISE = frozenset(
    """
    abs absolute acos acosh add addcdiv addcmul angle arccos arccosh arcsin arcsinh arctan arctan2 arctanh asin asinh
    atan atan2 atanh bitwise_and bitwise_left_shift bitwise_not bitwise_or bitwise_right_shift bitwise_xor ceil clamp
    clamp_max clamp_min clip complex copysign cos cosh deg2rad diff digamma div divide eq erf erfc erfinv exp exp2
    expm1 fix flip fliplr flipud float_power floor floor_divide fmax fmin fmod frac frexp gcd ge greater greater_equal
    gt heaviside hypot i0 igamma igammac isclose isfinite isinf isnan isneginf isposinf isreal lcm ldexp le lerp less
    less_equal lgamma log log10 log1p log2 logaddexp logaddexp2 logical_and logical_not logical_or logical_xor logit lt
    maximum minimum mul multiply mvlgamma nan_to_num ne neg negative nextafter not_equal polar polygamma positive pow
    rad2deg reciprocal relu remainder rot90 round rsqrt rsub sgn sigmoid sign signbit sin sinc sinh sqrt square sub
    subtract tan tanh true_divide trunc where xlogy __abs__ __invert__ __neg__ __pow__ index_fill
    real_if_close sort argsort
    celu dropout elu gelu hardshrink hardsigmoid hardswish hardtanh leaky_relu mish normalize prelu relu6
    rrelu selu silu softplus softshrink softsign tanhshrink threshold alpha_dropout feature_alpha_dropout
    huber_loss l1_loss mse_loss smooth_l1_loss binary_cross_entropy
    airy_ai bessel_j0 bessel_j1 bessel_y0 bessel_y1 entr erfcx expit gammainc gammaincc gammaln i0e i1 i1e log_ndtr
    modified_bessel_i0 modified_bessel_i1 modified_bessel_k0 modified_bessel_k1 multigammaln ndtr ndtri psi
    scaled_modified_bessel_k0 scaled_modified_bessel_k1 spherical_bessel_j0 xlog1py zeta
    """.split()
)

# Functions of images, whose result is channels-last where their first argument is.
IMAGES = frozenset(
    """
    adaptive_avg_pool2d adaptive_max_pool2d avg_pool2d batch_norm cat channel_shuffle concat concatenate conv2d
    conv_transpose2d dropout2d group_norm interpolate local_response_norm lp_pool2d max_pool2d pad rms_norm roll
    adaptive_avg_pool3d adaptive_max_pool3d avg_pool3d conv3d conv_transpose3d dropout3d max_pool3d upsample
    """.split()
)


# Steps of a view after which an outer axis still has the larger stride, or none.
_IN_ORDER = frozenset((s.slice_, s.reshape, s.expand, p.bitcast, p.conj, p.neg))


def is_plain(tensor: Tensor) -> bool:
    """Whether what is computed from a tensor lies in index order, as most does; False says nothing."""
    if tensor._storage is not None:
        for function, _ in tensor._chain:
            # a cut first: parameters have one and no other step
            if type(function) is not Cut and function not in _IN_ORDER:
                return False
    return True


def arrange(tensor: Tensor, order: tuple[int, ...]) -> Tensor:
    """Let a new tensor's elements lie in memory with its axes in ``order``, the outermost first."""
    storage = storage_of(tensor)
    storage.node = s.permute(storage.node, params=order)
    tensor._chain = ((arranged, s.inverse_permutation(order)), *tensor._chain)
    return tensor


def is_dense(tensor: Tensor) -> bool:
    """Whether a tensor's elements fill a piece of memory, each place once."""
    expected = 1
    for stride, extent in sorted((b, a) for a, b in zip(tensor._node.type.shape, strides_of(tensor)[0]) if a != 1):
        if stride != expected:
            return False
        expected *= extent
    return True


def order_of(shape: Sequence[int], strides: Sequence[Sequence[int]]) -> tuple[int, ...] | None:
    """The order of axes in memory, the outermost first, of what is computed from operands with these strides.

    None for index order. The strides are of operands that were broadcast to ``shape``; 0 where an axis was expanded.
    """
    ndim = len(shape)

    def after(a: int, b: int) -> int:
        """1 if axis ``a`` lies outside of ``b``, -1 if inside, 0 if the operands do not say."""
        for stride in strides:
            if not stride[a] or not stride[b]:
                continue
            if stride[a] != stride[b]:
                return 1 if stride[a] > stride[b] else -1
            if shape[a] > shape[b]:
                return 1
        return 0

    # an insertion sort, as the comparison is no order: axes stay where they are unless they are known to be wrong
    inner_first = list(range(ndim - 1, -1, -1))
    for i in range(1, ndim):
        at = i
        for other in range(i - 1, -1, -1):
            which = after(inner_first[other], inner_first[at])
            if which > 0:
                inner_first[other], inner_first[at] = inner_first[at], inner_first[other]
                at = other
            elif which < 0:
                break
    order = tuple(reversed(inner_first))
    return None if order == tuple(range(ndim)) else order


def _strides_in(tensor: Tensor, shape: tuple[int, ...]) -> tuple[int, ...] | None:
    """Strides of an operand broadcast to ``shape``; None if it has more axes."""
    own = tensor._node.type.shape
    lead = len(shape) - len(own)
    if lead < 0:
        return None
    strides = strides_of(tensor)[0]
    return (*(0,) * lead, *(0 if a == 1 != b else c for a, b, c in zip(own, shape[lead:], strides)))


def arranged_like(result: Any, operands: Sequence[Any]) -> Any:
    """A new tensor, or each of several, in the order of the operands that it was computed from element by element."""
    if type(result) is not Tensor:
        if isinstance(result, tuple):
            for part in result:
                if type(part) is Tensor:
                    arranged_like(part, operands)
        return result
    if result._storage is not None:
        return result
    shape = result._node.type.shape
    tensors = [x for x in operands if isinstance(x, Tensor) and not x.is_sparse]
    if len(shape) < 2 or all(map(is_plain, tensors)) or any(x is result for x in tensors):
        return result
    strides = [found for x in tensors if (found := _strides_in(x, shape)) is not None]
    full = [x for x in tensors if x._node.type.shape == shape]
    if len(full) == len(tensors) and all(is_contiguous(shape, found) for found in strides):
        return result
    order = order_of(shape, strides)
    return result if order is None else arrange(result, order)


def in_format_of(result: Tensor, source: Tensor) -> Tensor:
    """A new image in channels-last order if the image that it was made from is so and is not in index order."""
    if type(result) is not Tensor or result._storage is not None or not isinstance(source, Tensor):
        return result
    ndim = result._node.type.ndim
    wanted = {4: memory_format.channels_last, 5: memory_format.channels_last_3d}.get(ndim)
    if wanted is None or source._node.type.ndim != ndim or not suggests(source, wanted):
        return result
    return arrange(result, wanted.order(ndim))


def suggests(tensor: Tensor, wanted: memory_format) -> bool:
    """Whether strides are in the order of a channels-last format, and would not do for index order as well."""
    shape, strides = tensor._node.type.shape, strides_of(tensor)[0]
    smallest = 0
    if not strides[1]:
        return False
    inner_first = reversed(wanted.order(len(shape)))
    for axis in inner_first:
        if not shape[axis] or strides[axis] < smallest:
            return False
        if axis == 0 and smallest == strides[1]:
            # no axis but this one has more than one element: index order
            return False
        smallest = strides[axis] * max(shape[axis], 1)
    return True


def like_operands(result: Any, args: tuple) -> None:
    """Arrange the result of a function of :data:`ELEMENTWISE`."""
    for x in args:
        # what is not a view has no chain, and asks for no call
        if isinstance(x, Tensor) and not x.is_sparse and x._storage is not None and x._chain and not is_plain(x):
            arranged_like(result, args)
            return


def like_image(result: Any, args: tuple) -> None:
    """Arrange the result of a function of :data:`IMAGES`."""
    sources = args[0] if args and isinstance(args[0], (tuple, list)) else args[:2]
    for x in sources:
        if isinstance(x, Tensor) and x._storage is not None and not is_plain(x):
            in_format_of(result, x)


#: What arranges the result of a function, by its name.
RULES: dict[str, Callable[[Any, tuple], None]] = {
    **dict.fromkeys(IMAGES, like_image), **dict.fromkeys(ELEMENTWISE, like_operands),
}

#: Functions that see to it themselves, and to sparse operands, as they are called so often that a call around them
#: would be felt.
OWN_ORDER: set[Callable] = set()


def keeps_order(function: Callable) -> Callable:
    """Say that a function arranges its result itself, and catches ``SparseOperand``."""
    OWN_ORDER.add(function)
    return function
