"""Formulas: what the API computes, written once as functions from nodes to nodes.

In come nodes of one dtype and canonical axes; out comes a composition of table rows. Nothing here knows tensors,
promotion or arguments that may be left out: the thin functions in ``pointwise.py``, ``reduction.py`` and
``nn/functional*.py`` settle those and call in here. Gradients follow from the rows, so a formula is also its backward
pass, and its shape decides what fuses: one row-wise formula should lower to one kernel in either direction.

Two kinds of numbers are kept apart. A constant of a formula (the 0.5 of GELU) is :func:`constant`, part of the
kernel. A number that a user chose, or that follows from a shape (the length of a mean), is :func:`argument`: it
reaches the kernel when it runs, so that a new batch size or a new epsilon compiles nothing.

Read next: ``formulas_windows.py`` for convolution and pooling.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from .compiler import dtypes, primitives as p, primitives_shape as s
from .compiler.composite import composite
from .compiler.dtypes import COMPLEX, FLOATING, DType
from .compiler.ir import Node
from .compiler.narrow import rounded_once
from .compiler.primitives import full_like as constant
from .compiler.primitives_shape import broadcast_to, converted, expanded, permuted, reshaped  # noqa: F401
from .formulas_complex import FUNCTIONS, absolute
from .recording import broadcast_shapes, scalar_node

BLOCK = 8192  # elements of a block of a long vector in which an extremum is looked for
LONG = 1 << 21  # from which a vector is not read a second time from memory: a shorter one is in cache

# ------------------------------------------------------------------------------------------------------------- leaves


def argument(x: Node, value: float | int | bool) -> Node:
    """A number as a runtime argument, of the type of ``x``."""
    return scalar_node(value, x.type)


def iota(x: Node, axis: int, dtype: DType = dtypes.int64) -> Node:
    """The position along ``axis`` of every element of ``x``."""
    return p.iota(params=(x.type.shape, dtype, x.type.device, axis))


def filled(shape: Sequence[int], dtype: DType, device: str, value: float | int | bool) -> Node:
    """A tensor filled with a constant of the program."""
    return p.const(params=(tuple(shape), dtype, device, p.python_value(dtype, value)))


def cut(x: Node) -> Node:
    """``x`` without its gradient."""
    return s.detach(x) if x.requires_grad else x


def fresh(x: Node, source: Node) -> Node:
    """A node other than ``source``: two tensors that may be written to must not have one node between them."""
    return s.copy(x) if x is source else x


# ----------------------------------------------------------------------------------------------------------- movement


def axis_slice(x: Node, axis: int, start: int, count: int, step: int = 1) -> Node:
    """``count`` positions of one axis from ``start`` in steps of ``step``."""
    shape = x.type.shape
    if start == 0 and count == shape[axis] and step == 1:
        return x
    starts, steps = [0] * len(shape), [1] * len(shape)
    starts[axis], steps[axis] = start, step
    return s.slice_(x, params=(tuple(starts), tuple(steps), (*shape[:axis], count, *shape[axis + 1 :])))


def kept(reduced: Node, axes: Sequence[int], shape: Sequence[int]) -> Node:
    """A reduced value with axes of size 1 where it was reduced."""
    return reshaped(reduced, [1 if a in axes else e for a, e in enumerate(shape)])


def along(reduced: Node, axes: Sequence[int], x: Node) -> Node:
    """A reduced value repeated along the axes of ``x`` that were reduced."""
    return s.back(reduced, axes, x.type.shape)


def channelwise(values: Node, x: Node, axis: int) -> Node:
    """A vector spread over ``x`` with its elements along ``axis``."""
    shape = [1] * x.ndim
    shape[axis] = values.type.size
    return expanded(reshaped(values, shape), x.type.shape)


def merged_tail(x: Node, count: int) -> Node:
    """The last ``count`` axes merged into one: a reduction over them is then one over rows."""
    if count == 1:
        return x
    shape = x.type.shape
    lead = len(shape) - count
    return reshaped(x, (*shape[:lead], math.prod(shape[lead:])))


def last_axis(x: Node, axis: int) -> Node:
    """``axis`` moved to the end."""
    return permuted(x, [a for a in range(x.ndim) if a != axis] + [axis])


def from_last_axis(x: Node, axis: int) -> Node:
    """The inverse of :func:`last_axis`."""
    order = list(range(x.ndim - 1))
    order.insert(axis, x.ndim - 1)
    return permuted(x, order)


# ----------------------------------------------------------------------------------------------------- basic reductions


def count_of(x: Node, axes: Sequence[int]) -> int:
    """How many elements of ``x`` each element of a reduction over ``axes`` is made of."""
    shape = x.type.shape
    return math.prod(shape[a] for a in axes)


def total(x: Node, axes: tuple[int, ...]) -> Node:
    return s.reduce_sum(x, params=axes) if axes else x


@rounded_once
def mean(x: Node, axes: tuple[int, ...]) -> Node:
    summed = total(x, axes)
    return p.div(summed, argument(summed, count_of(x, axes)))


def square_of(x: Node) -> Node:
    """The square of the size."""
    return p.mul(x, x) if x.type.dtype.kind != COMPLEX else p.real(p.mul(x, p.conj(x)))


@rounded_once
def moments(x: Node, axes: tuple[int, ...], correction: float) -> tuple[Node, Node, Node]:
    """Mean, the differences from it, and variance, in two passes: the mean, then the squares of the differences."""
    average = mean(x, axes)
    centred = p.sub(x, along(average, axes, x))
    squares = total(square_of(centred), axes)
    return average, centred, p.div(squares, argument(squares, max(0, count_of(x, axes) - correction)))


def root(x: Node) -> Node:
    """A square root whose gradients at 0 are 0, which PyTorch gives to norms and deviations."""
    if not x.requires_grad:
        return p.sqrt(x)
    zero = p.eq(x, constant(x, 0))
    return p.where(zero, s.detach(x), p.sqrt(p.where(zero, constant(x, 1), x)))


def is_nan(x: Node) -> Node:
    return p.ne(x, x)


def first_index(chosen: Node, axis: int) -> Node:
    """The first position along ``axis`` where a condition holds, int64."""
    # in 32 bits where they do, which is twice as fast: as many numbers in a vector as there are float32
    small = chosen.type.shape[axis] < 2**31
    position = iota(chosen, axis, dtypes.int32 if small else dtypes.int64)
    none = constant(position, 2**31 - 1 if small else 2**63 - 1)
    return converted(s.reduce_min(p.where(chosen, position, none), params=(axis,)), dtypes.int64)


def extremum_index(x: Node, axis: int, row: p.Primitive) -> Node:
    """The first position along ``axis`` of the extremum that ``row`` reduces to, or of a NaN if there is one."""
    x = cut(x)
    if x.ndim == 1 and x.type.size >= LONG:
        return _extremum_index_by_blocks(x, row)
    chosen = p.eq(x, along(row(x, params=(axis,)), (axis,), x))
    if x.dtype.is_floating_point:
        chosen = p.bor(chosen, is_nan(x))
    return first_index(chosen, axis)


def _extremum_index_by_blocks(x: Node, row: p.Primitive) -> Node:
    """The same of a long vector, which is read once: the extrema of its blocks, the first block that holds the extremum
    of them all, and the position in that block. The last block overlaps the one before it: all have one length."""
    count = x.type.size
    blocks = (count - 1) // BLOCK
    begun = reshaped(axis_slice(x, 0, 0, blocks * BLOCK), (blocks, BLOCK))
    last = reshaped(axis_slice(x, 0, count - BLOCK, BLOCK), (1, BLOCK))
    extrema = s.cat(row(begun, params=(1,)), row(last, params=(1,)), params=(0,))
    block = extremum_index(extrema, 0, row)
    start = p.minimum(p.mul(block, constant(block, BLOCK)), argument(block, count - BLOCK))
    places = expanded(reshaped(start, (1,)), (BLOCK,))
    places = p.add(places, iota(places, 0))
    return p.add(start, extremum_index(s.gather(x, places, params=(0,)), 0, row))


def extremum_with_index(x: Node, axis: int, row: p.Primitive) -> tuple[Node, Node]:
    """Extremum and its first position along ``axis``. The gradient goes to that position alone."""
    index = extremum_index(x, axis, row)
    if not x.requires_grad:
        return row(x, params=(axis,)), index
    shape = x.type.shape
    picked = s.gather(x, kept(index, (axis,), shape), params=(axis,))
    return reshaped(picked, index.type.shape), index


def any_true(x: Node, axes: tuple[int, ...]) -> Node:
    """Whether a bool node holds True somewhere along ``axes``."""
    if not axes:
        return x
    if count_of(x, axes) == 0:
        return p.cast(s.reduce_sum(p.cast(x, params=(dtypes.int64,)), params=axes), params=(dtypes.bool_,))
    return s.reduce_max(x, params=axes)


def all_true(x: Node, axes: tuple[int, ...]) -> Node:
    if not axes:
        return x
    return p.bnot(any_true(p.bnot(x), axes)) if count_of(x, axes) == 0 else s.reduce_min(x, params=axes)


# ------------------------------------------------------------------------------------------------------ softmax family


def shifted_exponential(x: Node, axis: int) -> tuple[Node, Node, Node]:
    """``x - max``, its exponential, and that one's sum along ``axis``: what the softmax family shares.

    The maximum only keeps the exponential in range. The result does not depend on it, so no gradient goes there.
    """
    largest = s.reduce_max(cut(x), params=(axis,))
    shifted = p.sub(x, along(largest, (axis,), x))
    powers = p.exp(shifted)
    return shifted, powers, s.reduce_sum(powers, params=(axis,))


@composite
def softmax(x: Node, axis: int) -> Node:
    if x.type.shape[axis] == 0:
        return s.copy(x)
    _, powers, denominator = shifted_exponential(cut(x), axis)
    return softmax_of(p.div(powers, along(denominator, (axis,), x)), x, params=(axis,))


def _softmax_derivative(change: Node, n: p.Saved) -> Node:
    """The Jacobian of a softmax is symmetric, so this is its VJP and its JVP."""
    weighted = p.mul(change, n.out)
    total = s.reduce_sum(weighted, params=n.params)
    return p.mul(n.out, p.sub(change, along(total, n.params, change)))


# The softmax of the second source along an axis, computed without a gradient, which needs nothing but the result:
# through its division and its exponential it would need the scores, too.
softmax_of = p.Primitive(
    "softmax_of", "alias", lambda params, value, x: value,
    vjp=(None, _softmax_derivative), jvp=lambda tangents, saved: _softmax_derivative(tangents[1], saved),
    batch=lambda params, src: softmax_of(*src, params=(params[0] + 1,)),
    reference=lambda params, value, x: value, cost=0,
)


@composite
def log_softmax(x: Node, axis: int) -> Node:
    if x.type.shape[axis] == 0:
        return s.copy(x)
    shifted, _, denominator = shifted_exponential(x, axis)
    return p.sub(shifted, along(p.log(denominator), (axis,), x))


@composite
def masked_softmax(x: Node, axis: int) -> Node:
    """Softmax in which a row of nothing but ``-inf`` gives zeros: attention with a row that may look at nothing."""
    given, x = x, cut(x)
    largest = s.reduce_max(x, params=(axis,))
    dead = p.eq(largest, constant(largest, -math.inf))
    shifted = p.sub(x, along(p.where(dead, constant(largest, 0), largest), (axis,), x))
    powers = p.exp(shifted)
    denominator = s.reduce_sum(powers, params=(axis,))
    denominator = p.where(dead, constant(denominator, 1), denominator)
    return softmax_of(p.div(powers, along(denominator, (axis,), x)), given, params=(axis,))


def logsumexp(x: Node, axes: tuple[int, ...]) -> Node:
    return log_sum_exp(x, axes) if axes else x


@composite
def log_sum_exp(x: Node, axes: tuple[int, ...]) -> Node:
    if count_of(x, axes) == 0:
        return p.log(s.reduce_sum(p.exp(x), params=axes))
    largest = s.reduce_max(cut(x), params=axes)
    finite = p.ne(p.abs(largest), constant(largest, math.inf))
    # an infinite maximum would give inf - inf
    largest = p.where(finite, largest, constant(largest, 0))
    powers = p.exp(p.sub(x, along(largest, axes, x)))
    return p.add(p.log(s.reduce_sum(powers, params=axes)), largest)


# --------------------------------------------------------------------------------------------------------------- norms


@rounded_once
def deviation(x: Node, axes: tuple[int, ...], correction: float) -> Node:
    return root(moments(x, axes, correction)[2])


@rounded_once
def vector_norm(x: Node, axes: tuple[int, ...], order: float) -> Node:
    """``(sum |x|**order) ** (1/order)``; the maximum and minimum for infinite orders, the count of non-zeros for 0."""
    if order == 0:
        x = absolute(x) if x.dtype.kind == COMPLEX else x
        count = total(p.cast(p.ne(x, constant(x, 0)), params=(x.dtype,)), axes)
        return p.locally_constant(count, total(x, axes)) if x.requires_grad else count
    if x.dtype.kind == COMPLEX and (order != 2 or not axes):
        return vector_norm(absolute(x), axes, order)
    if not axes:
        return p.abs(x)
    if order == math.inf:
        return s.reduce_max(p.abs(x), params=axes)
    if order == -math.inf:
        return s.reduce_min(p.abs(x), params=axes)
    if order == 1:
        return total(p.abs(x), axes)
    if order == 2:
        return root(total(square_of(x), axes))
    size = p.abs(x)
    if not x.requires_grad:
        powers = total(p.pow(size, argument(size, order)), axes)
        return p.pow(powers, argument(powers, 1 / order))
    # nor is there a gradient of elements of 0, whose power may have an infinite slope
    zero = p.eq(size, constant(size, 0))
    powers = p.pow(p.where(zero, constant(size, 1), size), argument(size, order))
    powers = total(p.where(zero, constant(size, 0 if order > 0 else math.inf), powers), axes)
    # the slope of the root at 0 is infinite; PyTorch's gradient there is 0
    zero = p.eq(powers, constant(powers, 0))
    safe = p.where(zero, constant(powers, 1), powers)
    return p.where(zero, p.pow(cut(powers), argument(powers, 1 / order)), p.pow(safe, argument(powers, 1 / order)))


@composite
def layer_norm(x: Node, eps: float) -> Node:
    """Rows of the last axis with mean 0 and variance 1."""
    axes = (x.ndim - 1,)
    _, centred, variance = moments(x, axes, 0)
    return p.mul(centred, along(p.rsqrt(p.add(variance, argument(variance, eps))), axes, x))


@composite
def rms_norm(x: Node, eps: float) -> Node:
    axes = (x.ndim - 1,)
    square = mean(p.mul(x, x), axes)
    rsqrt = FUNCTIONS["rsqrt"] if x.dtype.kind == COMPLEX else p.rsqrt
    return p.mul(x, along(rsqrt(p.add(square, argument(square, eps))), axes, x))


# ------------------------------------------------------------------------------------------------------------ products


def matrix_product(a: Node, b: Node) -> Node:
    """``[batch, m, k] @ [batch, k, n]`` of one dtype. Integers, which no library multiplies, as a sum of products."""
    if a.dtype.kind >= FLOATING:
        return s.dot(a, b)
    batch, m, k = a.type.shape
    n = b.type.shape[2]
    shape = (batch, m, k, n)
    left = expanded(reshaped(a, (batch, m, k, 1)), shape)
    right = expanded(reshaped(b, (batch, 1, k, n)), shape)
    return s.reduce_sum(p.mul(left, right), params=(2,))


@composite
def matmul(a: Node, b: Node) -> Node:
    """The matrix product of ``torch.matmul`` for nodes of one dtype, at least one axis each and fitting shapes."""
    left_vector, right_vector = a.ndim == 1, b.ndim == 1
    if left_vector:
        a = reshaped(a, (1, a.type.shape[0]))
    if right_vector:
        b = reshaped(b, (b.type.shape[0], 1))
    m, k = a.type.shape[-2:]
    n = b.type.shape[-1]
    if b.ndim == 2:
        # one product: the leading axes are more rows
        lead = a.type.shape[:-2]
        out = matrix_product(reshaped(a, (1, math.prod(lead) * m, k)), reshaped(b, (1, k, n)))
    else:
        lead = broadcast_shapes(a.type.shape[:-2], b.type.shape[:-2])
        batch = math.prod(lead)
        a = reshaped(broadcast_to(a, (*lead, m, k)), (batch, m, k))
        b = reshaped(broadcast_to(b, (*lead, k, n)), (batch, k, n))
        out = matrix_product(a, b)
    rows = () if left_vector else (m,)
    columns = () if right_vector else (n,)
    return reshaped(out, (*lead, *rows, *columns))


# --------------------------------------------------------------------------------------------------------- activations


@composite
def gelu(x: Node) -> Node:
    half = p.scale(x, 0.5)
    return p.mul(half, p.add(p.erf(p.scale(x, math.sqrt(0.5))), constant(x, 1)))


@composite
def gelu_tanh(x: Node) -> Node:
    cube = p.mul(p.mul(x, x), x)
    inner = p.scale(p.add(x, p.scale(cube, 0.044715)), math.sqrt(2 / math.pi))
    return p.mul(p.scale(x, 0.5), p.add(p.tanh(inner), constant(x, 1)))


@composite
def silu(x: Node) -> Node:
    return p.mul(x, p.sigmoid(x))


@composite
def softplus(x: Node, beta: float, threshold: float) -> Node:
    scaled = x if beta == 1 else p.mul(x, argument(x, beta))
    linear = p.lt(argument(x, threshold), scaled)
    # the branch that is not taken must stay finite, for its gradient is multiplied by 0
    curved = p.log1p(p.exp(p.where(linear, constant(x, 0), scaled)))
    return p.where(linear, x, curved if beta == 1 else p.div(curved, argument(x, beta)))


@composite
def mish(x: Node) -> Node:
    return p.mul(x, p.tanh(softplus(x, 1, 20)))


@composite
def log_sigmoid(x: Node) -> Node:
    # min(x, 0) - log(1 + exp(-|x|)); where, not minimum and abs, for the gradient at 0
    negative = p.lt(x, constant(x, 0))
    size = p.where(negative, p.neg(x), x)
    return p.sub(p.where(negative, x, constant(x, 0)), p.log1p(p.exp(p.neg(size))))


@composite
def elu(x: Node, alpha: float, scale: float = 1.0, input_scale: float = 1.0) -> Node:
    negative = p.lt(x, constant(x, 0))
    # expm1 only sees what its branch is taken for, so that its gradient stays finite
    inner = p.where(negative, x, constant(x, 0))
    if input_scale != 1:
        inner = p.mul(inner, argument(x, input_scale))
    curved = p.expm1(inner)
    if alpha != 1:
        curved = p.mul(curved, argument(x, alpha))
    # at 0 the slope is that of the curve, and does not change
    slope = alpha * input_scale
    straight = x if slope == 1 else p.where(p.le(x, constant(x, 0)), p.mul(x, argument(x, slope)), x)
    out = p.where(negative, curved, straight)
    return out if scale == 1 else p.mul(out, argument(x, scale))


def hardtanh(x: Node, low: Node, high: Node) -> Node:
    """``x`` limited to [low, high], without a gradient where it is at a limit (unlike :func:`clamped`)."""
    x = p.piecewise(x)
    return p.where(p.le(x, low), low, p.where(p.le(high, x), high, x))


def clamped(x: Node, low: Node | None, high: Node | None) -> Node:
    """``min(max(x, low), high)``. At a limit the gradient is the element's; to equal limits none flows from below."""
    if low is not None and high is not None and low.requires_grad:
        low = p.where(p.lt(low, high), low, s.detach(low))
    if low is not None:
        x = p.where(p.lt(x, low), low, x)
    if high is not None:
        x = p.where(p.lt(high, x), high, x)
    return x


# -------------------------------------------------------------------------------------------------------------- scans


def doubling_scan(parts: tuple[Node, ...], axis: int, combine, empty: Sequence[float]) -> tuple[Node, ...]:
    """An inclusive scan with any associative function, in log2(n) steps over whole tensors (Hillis and Steele, 1986).

    Args:
        parts: the nodes that make up one element of the scan.
        combine: ``(earlier parts, later parts) -> parts``.
        empty: the neutral element, a number for each part.
    """
    extent = parts[0].type.shape[axis]
    reach = 1
    while reach < extent:
        earlier = []
        for part, neutral in zip(parts, empty):
            shifted = axis_slice(part, axis, 0, extent - reach)
            low = [0] * part.ndim
            low[axis] = reach
            value = p.python_value(part.dtype, neutral)
            earlier.append(s.pad(shifted, params=(tuple(low), (0,) * part.ndim, value)))
        parts = combine(tuple(earlier), parts)
        reach *= 2
    return parts


@rounded_once
def cumulative_product(x: Node, axis: int) -> Node:
    return doubling_scan((x,), axis, lambda a, b: (p.mul(a[0], b[0]),), (1,))[0]


@composite
def log_add_exp(a: Node, b: Node) -> Node:
    """``log(exp(a) + exp(b))`` without overflow."""
    larger, gap = _larger_and_gap(a, b)
    return p.add(larger, p.log1p(p.exp(gap)))


@composite
def log_add_exp2(a: Node, b: Node) -> Node:
    """``log2(2**a + 2**b)`` without overflow."""
    larger, gap = _larger_and_gap(a, b)
    return p.add(larger, p.scale(p.log1p(p.exp2(gap)), 1 / math.log(2)))


def _larger_and_gap(a: Node, b: Node) -> tuple[Node, Node]:
    larger = p.where(p.lt(a, b), b, a)
    smaller = p.where(p.lt(a, b), a, b)
    # of two equal infinities the difference would be NaN
    endless = p.band(p.eq(a, b), p.eq(p.abs(a), constant(a, math.inf)))
    return larger, p.where(endless, constant(a, 0), p.sub(smaller, larger))


def _over(g: Node, n: p.Saved, least: float) -> Node:
    # the derivative by x, 0 where PyTorch calls it that: x = 0 on the logarithm's cut
    x, y = n.y, n.z
    zero = p.band(p.eq(x, constant(x, 0)), p.le(y, constant(y, least)))
    return p.where(zero, constant(g, 0), (x_log_y if least == 0 else x_log1p_y)(g, y))


# The first source, x * log(y) or x * log1p(y) of the others, with derivatives that are NaN at (0, 0) as PyTorch's are.
x_log_y_of = p.sloped("x_log_y_of", lambda g, n: _over(g, n, 0), lambda g, n: p.mul(g, p.div(n.y, n.z)))
x_log1p_y_of = p.sloped(
    "x_log1p_y_of", lambda g, n: _over(g, n, -1), lambda g, n: p.div(p.mul(g, n.y), p.add(n.z, constant(g, 1))),
)


@composite
def x_log_y(x: Node, y: Node) -> Node:
    """``x * log(y)``, and 0 where ``x`` is 0 unless ``y`` is NaN."""
    if x.requires_grad or y.requires_grad:
        return x_log_y_of(x_log_y(cut(x), cut(y)), x, y)
    infinite = p.bor(p.le(y, constant(y, 0)), p.eq(y, constant(y, math.inf)))
    zero = p.band(p.eq(x, constant(x, 0)), infinite)
    return p.where(zero, constant(x, 0), p.mul(x, p.log(p.where(zero, constant(y, 1), y))))


@composite
def x_log1p_y(x: Node, y: Node) -> Node:
    """``x * log1p(y)``, and 0 where ``x`` is 0 unless ``y`` is NaN."""
    if x.requires_grad or y.requires_grad:
        return x_log1p_y_of(x_log1p_y(cut(x), cut(y)), x, y)
    infinite = p.bor(p.le(y, constant(y, -1)), p.eq(y, constant(y, math.inf)))
    zero = p.band(p.eq(x, constant(x, 0)), infinite)
    return p.where(zero, constant(x, 0), p.mul(x, p.log1p(p.where(zero, constant(y, 0), y))))
