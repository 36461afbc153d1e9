"""The other half of the table: movement, reductions, contraction, indexing.

Movement rows change which element stands where and compute nothing; lowering turns them into index arithmetic
(``lowering.py``), so most of them cost nothing. ``reshape``, ``permute``, ``expand``, ``slice``, ``flip``, ``pad``,
``unfold`` and ``as_strided`` are all there are. Parameters are canonical: axes are non-negative, reduced axes are
sorted, sizes are Python integers.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from . import dtypes, primitives as p
from .ir import Node, TensorType, tensor_type
from .primitives import Primitive, Saved, const, full_like, iota

# ------------------------------------------------------------------------------------------------------------ aliases


def _identity(params: tuple, x: TensorType) -> TensorType:
    return x


# The same values in memory of their own: what clone() records, so that writing to one leaves the other alone.
copy = Primitive(
    "copy", "alias", _identity, vjp=(lambda g, n: g,), jvp=lambda t, n: t[0], batch=lambda params, src: copy(*src),
    reference=lambda params, x: x.copy(), cost=0,
)
# The same values cut off from the gradient's graph; also what a leaf that requires a gradient is made with.
detach = Primitive(
    "detach", "alias", _identity, batch=lambda params, src: detach(*src), reference=lambda params, x: x, cost=0
)
# The same values on another device. The runtime copies them before anything else is planned.
transfer = Primitive(
    "transfer", "transfer", lambda params, x: tensor_type(x.shape, x.dtype, params[0]),
    vjp=(lambda g, n: transfer(g, params=(n.type(0).device,)),), jvp=lambda t, n: transfer(t[0], params=n.params),
    batch=lambda params, src: transfer(*src, params=params), reference=lambda params, x: x, cost=0,
)
# The first source as a node of its own, read from memory and not before the second has been computed: what is computed
# from it is computed then, and again, even if the same was computed before.
barrier = Primitive(
    "barrier", "barrier", lambda params, x, after: x, vjp=(lambda g, n: g, None),
    jvp=lambda t, n: t[0],
    batch=lambda params, src: barrier(*src), reference=lambda params, x, after: x, cost=0,
)

# ----------------------------------------------------------------------------------------------------------- movement


def _linear(name: str):
    """The JVP of a row that is linear in its one differentiable source: the row applied to the tangent."""

    def jvp(tangents: Sequence[Node | None], saved: Saved) -> Node | None:
        if tangents[0] is None:
            return None
        return p.TABLE[name](tangents[0], *saved.node.src[1:], params=saved.params)

    return jvp


def _reshape_infer(params: tuple, x: TensorType) -> TensorType:
    shape = params
    if math.prod(shape) != x.size or any(extent < 0 for extent in shape):
        raise ValueError(f"{x.size} elements do not fill {list(shape)}")
    return tensor_type(shape, x.dtype, x.device)


reshape = Primitive(
    "reshape", "movement", _reshape_infer, cost=0, jvp=_linear("reshape"),
    vjp=(lambda g, n: reshaped(g, n.type(0).shape),),
    batch=lambda params, src: reshape(src[0], params=(src[0].shape[0], *params)),
    reference=lambda params, x: x.reshape(params),
)


def _permute_infer(params: tuple, x: TensorType) -> TensorType:
    if sorted(params) != list(range(x.ndim)):
        raise ValueError(f"{list(params)} is no permutation of {x.ndim} axes")
    return tensor_type(tuple(x.shape[a] for a in params), x.dtype, x.device)


def inverse_permutation(axes: Sequence[int]) -> tuple[int, ...]:
    inverse = [0] * len(axes)
    for i, a in enumerate(axes):
        inverse[a] = i
    return tuple(inverse)


permute = Primitive(
    "permute", "movement", _permute_infer, cost=0, jvp=_linear("permute"),
    vjp=(lambda g, n: permute(g, params=inverse_permutation(n.params)),),
    batch=lambda params, src: permute(src[0], params=(0, *(a + 1 for a in params))),
    reference=lambda params, x: x.transpose(params),
)


def _expand_infer(params: tuple, x: TensorType) -> TensorType:
    if len(params) != x.ndim or any(a != b and a != 1 for a, b in zip(x.shape, params)):
        raise ValueError(f"{list(x.shape)} does not expand to {list(params)}")
    return tensor_type(params, x.dtype, x.device)


def _expand_vjp(g: Node, n: Saved) -> Node:
    shape = n.type(0).shape
    axes = tuple(a for a in range(g.ndim) if shape[a] != g.shape[a])
    return reshaped(reduce_sum(g, params=axes), shape) if axes else g


# Repeats axes of size 1. The rank stays: new axes come from a reshape.
expand = Primitive(
    "expand", "movement", _expand_infer, cost=0, jvp=_linear("expand"), vjp=(_expand_vjp,),
    batch=lambda params, src: expand(src[0], params=(src[0].shape[0], *params)),
    reference=lambda params, x: np.broadcast_to(x, params),
)


def _slice_infer(params: tuple, x: TensorType) -> TensorType:
    starts, steps, counts = params
    if not len(starts) == len(steps) == len(counts) == x.ndim:
        raise ValueError("one start, step and count an axis")
    for start, step, count, extent in zip(starts, steps, counts, x.shape):
        if step < 1 or count < 0 or start < 0 or (count and start + (count - 1) * step >= extent):
            raise ValueError(f"{count} elements from {start} in steps of {step} leave an axis of {extent}")
    return tensor_type(counts, x.dtype, x.device)


def _slice_reference(params: tuple, x: np.ndarray) -> np.ndarray:
    return x[tuple(slice(s, s + (c - 1) * d + 1 if c else s, d) for s, d, c in zip(*params))]


def _slice_vjp(g: Node, n: Saved) -> Node:
    x = n.type(0)
    starts, steps, counts = n.params
    if all(d == 1 for d in steps):
        high = tuple(e - s - c for e, s, c in zip(x.shape, starts, counts))
        return pad(g, params=(starts, high, 0.0))
    zeros = const(params=(x.shape, x.dtype, x.device, p.python_value(x.dtype, 0)))
    return update(zeros, g, params=(starts, steps))


slice_ = Primitive(
    "slice", "movement", _slice_infer, cost=0, jvp=_linear("slice"), vjp=(_slice_vjp,),
    batch=lambda params, src: slice_(
        src[0], params=((0, *params[0]), (1, *params[1]), (src[0].shape[0], *params[2]))
    ),
    reference=_slice_reference,
)


def _flip_infer(params: tuple, x: TensorType) -> TensorType:
    if any(not 0 <= a < x.ndim for a in params):
        raise ValueError(f"axes {list(params)} of a tensor of {x.ndim} axes")
    return x


flip = Primitive(
    "flip", "movement", _flip_infer, cost=0, jvp=_linear("flip"), vjp=(lambda g, n: flip(g, params=n.params),),
    batch=lambda params, src: flip(src[0], params=tuple(a + 1 for a in params)),
    reference=lambda params, x: np.flip(x, params),
)


def _pad_infer(params: tuple, x: TensorType) -> TensorType:
    low, high, _ = params
    if not len(low) == len(high) == x.ndim or any(v < 0 for v in (*low, *high)):
        raise ValueError("one non-negative width at both ends of every axis")
    return tensor_type(tuple(a + e + b for a, e, b in zip(low, x.shape, high)), x.dtype, x.device)


def _pad_reference(params: tuple, x: np.ndarray) -> np.ndarray:
    low, high, value = params
    out = np.full([a + e + b for a, e, b in zip(low, x.shape, high)], value, x.dtype)
    out[tuple(slice(a, a + e) for a, e in zip(low, x.shape))] = x
    return out


def _pad_jvp(tangents, saved):
    return pad(tangents[0], params=(*saved.params[:2], 0.0))


pad = Primitive(
    "pad", "movement", _pad_infer, cost=0, jvp=_pad_jvp,
    vjp=(lambda g, n: slice_(g, params=(n.params[0], (1,) * g.ndim, n.type(0).shape)),),
    batch=lambda params, src: pad(src[0], params=((0, *params[0]), (0, *params[1]), params[2])),
    reference=_pad_reference,
)


def _unfold_infer(params: tuple, x: TensorType) -> TensorType:
    axis, size, step, dilation = params
    extent = (size - 1) * dilation + 1
    if size < 1 or step < 1 or dilation < 1 or extent > x.shape[axis]:
        raise ValueError(f"a window of {extent} does not fit an axis of {x.shape[axis]}")
    count = (x.shape[axis] - extent) // step + 1
    return tensor_type((*x.shape[:axis], count, *x.shape[axis + 1 :], size), x.dtype, x.device)


def _unfold_reference(params: tuple, x: np.ndarray) -> np.ndarray:
    axis, size, step, dilation = params
    windows = np.lib.stride_tricks.sliding_window_view(x, (size - 1) * dilation + 1, axis)
    index = [slice(None)] * windows.ndim
    index[axis] = slice(None, None, step)
    index[-1] = slice(None, None, dilation)
    return windows[tuple(index)]


def _unfold_vjp(g: Node, n: Saved) -> Node:
    axis, size, step, dilation = n.params
    x = n.type(0)
    extent, count = x.shape[axis], g.shape[axis]
    if step == size and dilation == 1:
        # windows that do not overlap: the gradient is a reshape
        order = (*range(axis + 1), g.ndim - 1, *range(axis + 1, g.ndim - 1))
        body = reshaped(permuted(g, order), (*x.shape[:axis], count * size, *x.shape[axis + 1 :]))
        return padded_axis(body, axis, 0, extent - count * size)
    total = None
    for k in range(size):
        part = slice_(
            g, params=((0,) * (g.ndim - 1) + (k,), (1,) * g.ndim, (*g.shape[:-1], 1)),
        )
        part = reshaped(part, g.shape[:-1])
        if step > 1:
            # zeros between the elements: pad each to a block of its own
            part = reshaped(part, (*part.shape[: axis + 1], 1, *part.shape[axis + 1 :]))
            part = padded_axis(part, axis + 1, 0, step - 1)
            part = reshaped(part, (*part.shape[:axis], count * step, *part.shape[axis + 2 :]))
            keep = min(count * step, extent - k * dilation)
            counts = (*part.shape[:axis], keep, *part.shape[axis + 1 :])
            part = sliced(part, (0,) * part.ndim, counts)
        low = k * dilation
        part = padded_axis(part, axis, low, extent - low - part.shape[axis])
        total = part if total is None else p.add(total, part)
    return total


# Sliding windows along one axis as one more axis at the end: ``out[.., i, .., k] = x[.., i*step + k*dilation, ..]``.
unfold = Primitive(
    "unfold", "movement", _unfold_infer, cost=0, jvp=_linear("unfold"), vjp=(_unfold_vjp,),
    batch=lambda params, src: unfold(src[0], params=(params[0] + 1, *params[1:])), reference=_unfold_reference,
)


def _as_strided_infer(params: tuple, x: TensorType) -> TensorType:
    shape, strides, offset = params
    if x.ndim != 1 or len(shape) != len(strides):
        raise ValueError("as_strided reads a tensor of one axis, with one stride an axis of the result")
    if offset < 0 or any(s < 0 for s in strides):
        raise ValueError("strides and offset are not negative")
    if math.prod(shape) and offset + sum((e - 1) * s for e, s in zip(shape, strides)) >= x.size:
        raise ValueError(f"leaves the {x.size} elements of the storage")
    return tensor_type(shape, x.dtype, x.device)


def strided_index(shape: Sequence[int], strides: Sequence[int], offset: int, device: str) -> Node:
    """The position in the storage of every element of a strided view, an int64 node of that shape."""
    total = const(params=(tuple(shape), dtypes.int64, device, offset))
    for axis, stride in enumerate(strides):
        position = iota(params=(tuple(shape), dtypes.int64, device, axis))
        total = p.add(total, p.mul(position, full_like(position, stride)))
    return total


def _as_strided_vjp(g: Node, n: Saved) -> Node:
    shape, strides, offset = n.params
    x = n.type(0)
    index = reshaped(strided_index(shape, strides, offset, g.type.device), (g.type.size,))
    zeros = const(params=(x.shape, x.dtype, x.device, 0.0))
    return scatter(zeros, index, reshaped(g, (g.type.size,)), params=(0, "add"))


def _as_strided_batch(params: tuple, src: Sequence[Node]) -> Node:
    shape, strides, offset = params
    batch, n = src[0].shape
    flat = reshaped(src[0], (batch * n,))
    return as_strided(flat, params=((batch, *shape), (n, *strides), offset))


as_strided = Primitive(
    "as_strided", "movement", _as_strided_infer, cost=0, jvp=_linear("as_strided"), vjp=(_as_strided_vjp,),
    batch=_as_strided_batch,
    reference=lambda params, x: np.lib.stride_tricks.as_strided(
        np.ascontiguousarray(x)[params[2] :], params[0], [s * x.itemsize for s in params[1]]
    ).copy(),
)


def _cat_infer(params: tuple, *types: TensorType) -> TensorType:
    (axis,) = params
    first = types[0]
    total = 0
    for t in types:
        if t.dtype is not first.dtype or t.device != first.device:
            raise ValueError("one dtype and device")
        if t.shape[:axis] + t.shape[axis + 1 :] != first.shape[:axis] + first.shape[axis + 1 :] or t.ndim != first.ndim:
            raise ValueError(f"{list(t.shape)} and {list(first.shape)} differ beside axis {axis}")
        total += t.shape[axis]
    return tensor_type((*first.shape[:axis], total, *first.shape[axis + 1 :]), first.dtype, first.device)


def _cat_vjp(g: Node, n: Saved) -> list[Node]:
    (axis,) = n.params
    parts, start = [], 0
    for i in range(len(n.node.src)):
        shape = n.type(i).shape
        parts.append(sliced(g, (0,) * axis + (start,) + (0,) * (g.ndim - axis - 1), shape))
        start += shape[axis]
    return parts


def _cat_jvp(tangents, saved):
    filled = [full_like(s, 0) if t is None else t for t, s in zip(tangents, saved.node.src)]
    return cat(*filled, params=saved.params)


cat = Primitive(
    "cat", "cat", _cat_infer, cost=0, vjp=_cat_vjp, jvp=_cat_jvp,
    batch=lambda params, src: cat(*src, params=(params[0] + 1,)),
    reference=lambda params, *arrays: np.concatenate(arrays, params[0]),
)


def _update_infer(params: tuple, old: TensorType, new: TensorType) -> TensorType:
    if old.dtype is not new.dtype or old.device != new.device:
        raise ValueError("one dtype and device")
    _slice_infer((*params, new.shape), old)
    return old


def _update_reference(params: tuple, old: np.ndarray, new: np.ndarray) -> np.ndarray:
    out = old.copy()
    # the ellipsis keeps the view of a 0-dim array an array
    out[(*(slice(s, s + (c - 1) * d + 1 if c else s, d) for s, d, c in zip(*params, new.shape)), ...)] = new
    return out


def _update_vjp_old(g: Node, n: Saved) -> Node:
    zeros = const(params=(n.type(1).shape, g.dtype, g.type.device, 0.0))
    return update(g, zeros, params=n.params)


def _update_jvp(tangents, saved):
    old, new = (full_like(s, 0) if t is None else t for t, s in zip(tangents, saved.node.src))
    return update(old, new, params=saved.params)


# ``old`` with a strided block replaced by ``new``: what writing through a view records.
update = Primitive(
    "update", "update", _update_infer, jvp=_update_jvp,
    vjp=(_update_vjp_old, lambda g, n: slice_(g, params=(*n.params, n.type(1).shape))),
    batch=lambda params, src: update(*src, params=((0, *params[0]), (1, *params[1]))),
    reference=_update_reference,
)

# --------------------------------------------------------------------------------------------------- reductions, scans


def _reduce_infer(params: tuple, x: TensorType) -> TensorType:
    if not params or list(params) != sorted(set(params)) or not 0 <= params[0] <= params[-1] < x.ndim:
        raise ValueError(f"reduces distinct, sorted axes of {x.ndim}, not {list(params)}")
    return tensor_type(tuple(e for a, e in enumerate(x.shape) if a not in params), x.dtype, x.device)


def back(x: Node, axes: Sequence[int], shape: Sequence[int]) -> Node:
    """Repeat a reduced value along the axes that were reduced."""
    kept = tuple(1 if a in axes else e for a, e in enumerate(shape))
    return expanded(reshaped(x, kept), tuple(shape))


def _sum_vjp(g: Node, n: Saved) -> Node:
    return back(g, n.params, n.type(0).shape)


def _prod_vjp(g: Node, n: Saved) -> Node:
    """The product of the other elements, exact and differentiable once more where elements are zero.

    The zeros are multiplied by themselves (``zeros``), all other elements by themselves (``rest``). An element that is
    zero has a slope if it is the only one; of two, each one's slope is the other, whose value is 0.
    """
    x, axes = n.x, n.params
    shape = x.shape
    nought, one = full_like(x, 0), full_like(x, 1)
    is_zero = p.eq(x, nought)
    count = back(reduce_sum(p.where(is_zero, one, nought), params=axes), axes, shape)
    rest = back(reduce_prod(p.where(is_zero, one, x), params=axes), axes, shape)
    zeros = p.where(is_zero, x, one)
    of_others = p.div(p.mul(back(reduce_prod(zeros, params=axes), axes, shape), rest), p.where(is_zero, one, x))
    other = p.sub(back(reduce_sum(p.where(is_zero, x, nought), params=axes), axes, shape), x)
    of_zero = p.where(p.eq(count, one), one, p.where(p.eq(count, full_like(x, 2)), other, nought))
    return p.mul(back(g, axes, shape), p.conjugate(p.where(is_zero, p.mul(of_zero, rest), of_others)))


def _extremum_vjp(g: Node, n: Saved) -> Node:
    # shared evenly among equal elements, as PyTorch's amax does
    x, axes = n.x, n.params
    chosen = p.cast(p.eq(x, back(n.out, axes, x.shape)), params=(g.dtype,))
    count = reduce_sum(chosen, params=axes)
    return p.mul(chosen, back(p.div(g, count), axes, x.shape))


def _reduce_via_vjp_jvp(tangents, saved):
    # the tangent of a scalar-valued function of many: sum of slope times tangent
    n = saved.node
    slope = p.conjugate(n.op.vjp[0](full_like(n, 1), saved))
    return reduce_sum(p.mul(slope, tangents[0]), params=n.params)


def _ordered_infer(params: tuple, x: TensorType) -> TensorType:
    if x.dtype.kind == dtypes.COMPLEX:
        raise ValueError("complex numbers have no order")
    return _reduce_infer(params, x)


def _reduction(name: str, ufunc, vjp, jvp, infer=_reduce_infer) -> Primitive:
    return Primitive(
        name, "reduce", infer, vjp=(vjp,), jvp=jvp,
        batch=lambda params, src: p.TABLE[name](*src, params=tuple(a + 1 for a in params)),
        reference=lambda params, x: ufunc(x, params),
    )


reduce_sum = _reduction("sum", lambda x, axes: np.sum(x, axes, dtype=x.dtype), _sum_vjp, _linear("sum"))
reduce_prod = _reduction("prod", lambda x, axes: np.prod(x, axes, dtype=x.dtype), _prod_vjp, _reduce_via_vjp_jvp)
reduce_max = _reduction("reduce_max", np.max, _extremum_vjp, _reduce_via_vjp_jvp, _ordered_infer)
reduce_min = _reduction("reduce_min", np.min, _extremum_vjp, _reduce_via_vjp_jvp, _ordered_infer)


def _scan_infer(params: tuple, x: TensorType) -> TensorType:
    if len(params) != 1 or not 0 <= params[0] < x.ndim:
        raise ValueError(f"one axis of {x.ndim}, not {list(params)}")
    return x


cumsum = Primitive(
    "cumsum", "scan", _scan_infer, jvp=_linear("cumsum"),
    vjp=(lambda g, n: flip(cumsum(flip(g, params=n.params), params=n.params), params=n.params),),
    batch=lambda params, src: cumsum(src[0], params=(params[0] + 1,)),
    reference=lambda params, x: np.cumsum(
        x, params[0], dtype=np.result_type(x.dtype, np.float64) if x.dtype.kind in "fc" else x.dtype
    ).astype(x.dtype),
)

# -------------------------------------------------------------------------------------------------------- contraction


def _dot_infer(params: tuple, a: TensorType, b: TensorType) -> TensorType:
    if a.ndim != 3 or b.ndim != 3 or a.shape[0] != b.shape[0] or a.shape[2] != b.shape[1]:
        raise ValueError("needs [batch, m, k] and [batch, k, n]")
    if a.dtype is not b.dtype or a.dtype.kind < dtypes.FLOATING or a.device != b.device:
        raise ValueError("needs one floating point or complex dtype and one device")
    return tensor_type((a.shape[0], a.shape[1], b.shape[2]), a.dtype, a.device)


def _dot_jvp(tangents, saved):
    a, b = saved.node.src[:2]
    terms = [dot(t, b) if i == 0 else dot(a, t) for i, t in enumerate(tangents) if t is not None]
    return terms[0] if len(terms) == 1 else p.add(*terms)


def shared(x: Node) -> Node | None:
    """What a batch repeats, if all of its elements are the same."""
    repeats = x.op is expand and x.src[0].shape == (1, *x.shape[1:])
    return reshaped(x.src[0], x.shape[1:]) if repeats else None


def _dot_batch(params: tuple, src: Sequence[Node]) -> Node:
    batch, products, rows = src[0].shape[:3]
    columns = src[1].shape[3]
    same_a, same_b = map(shared, src)
    if same_b is not None:
        # one product with more rows: a batch of vectors times one matrix is a product of matrices
        a = reshaped(permute(src[0], params=(1, 0, 2, 3)), (products, batch * rows, src[0].shape[3]))
        out = reshaped(dot(a, same_b), (products, batch, rows, columns))
        return permute(out, params=(1, 0, 2, 3))
    if same_a is not None:
        b = reshaped(permute(src[1], params=(1, 2, 0, 3)), (products, src[1].shape[2], batch * columns))
        out = reshaped(dot(same_a, b), (products, rows, batch, columns))
        return permute(out, params=(2, 0, 1, 3))
    a, b = (reshaped(s, (s.shape[0] * s.shape[1], *s.shape[2:])) for s in src)
    return reshaped(dot(a, b), (*src[0].shape[:3], src[1].shape[3]))


def swapped(x: Node) -> Node:
    """The last two axes exchanged."""
    return permute(x, params=(*range(x.ndim - 2), x.ndim - 1, x.ndim - 2))


dot = Primitive(
    "dot", "contract", _dot_infer, jvp=_dot_jvp, batch=_dot_batch, cost=100,
    vjp=(
        lambda g, n: dot(g, swapped(p.conjugate(n.y))),
        lambda g, n: dot(swapped(p.conjugate(n.x)), g),
    ),
    reference=lambda params, a, b: np.matmul(a, b),
)


def _dot_add_infer(params: tuple, a: TensorType, b: TensorType, sum: TensorType) -> TensorType:
    if _dot_infer(params, a, b) is not sum or a.dtype.kind == dtypes.COMPLEX:
        raise ValueError("the sum is real and has the type of the product")
    return sum


def _dot_add_jvp(tangents, saved):
    product = _dot_jvp(tangents[:2], saved) if any(t is not None for t in tangents[:2]) else None
    return p.add(tangents[2], product) if None not in (tangents[2], product) else product or tangents[2]


def _dot_add_batch(params: tuple, src: Sequence[Node]) -> Node:
    flat = [reshaped(x, (x.shape[0] * x.shape[1], *x.shape[2:])) for x in src]
    return reshaped(dot_add(*flat), src[2].shape)


# ``sum + a @ b``, written over the sum: how several products are added up (accumulate.py).
dot_add = Primitive(
    "dot_add", "contract", _dot_add_infer, jvp=_dot_add_jvp, batch=_dot_add_batch, cost=100,
    vjp=(*dot.vjp, lambda g, n: g), reference=lambda params, a, b, sum: sum + np.matmul(a, b),
)

# ----------------------------------------------------------------------------------------------------------- indexing


def _gather_infer(params: tuple, x: TensorType, index: TensorType) -> TensorType:
    (axis,) = params
    if index.dtype is not dtypes.int64 or x.ndim != index.ndim:
        raise ValueError("needs an int64 index of the same rank")
    if any(a != axis and x.shape[a] != index.shape[a] for a in range(x.ndim)):
        raise ValueError(f"{list(index.shape)} and {list(x.shape)} differ beside axis {axis}")
    return tensor_type(index.shape, x.dtype, x.device)


def _gather_vjp(g: Node, n: Saved) -> Node:
    x = n.type(0)
    return scatter(const(params=(x.shape, x.dtype, x.device, 0.0)), n.y, g, params=(n.params[0], "add"))


# ``out[.., i, ..] = x[.., index[.., i, ..], ..]``. Indices are in range: wrap_index comes before.
gather = Primitive(
    "gather", "gather", _gather_infer, jvp=_linear("gather"), vjp=(_gather_vjp, None), cost=4,
    batch=lambda params, src: gather(*src, params=(params[0] + 1,)),
    reference=lambda params, x, index: np.take_along_axis(x, index, params[0]),
)

SCATTER_MODES = ("set", "add", "mul", "max", "min")


def _scatter_infer(params: tuple, base: TensorType, index: TensorType, new: TensorType) -> TensorType:
    axis, mode = params
    if mode not in SCATTER_MODES or index.dtype is not dtypes.int64 or index.shape != new.shape:
        raise ValueError("needs an int64 index of the shape of the new values")
    if base.dtype is not new.dtype or base.ndim != index.ndim:
        raise ValueError("one dtype and rank")
    if any(a != axis and base.shape[a] != index.shape[a] for a in range(base.ndim)):
        raise ValueError(f"{list(index.shape)} and {list(base.shape)} differ beside axis {axis}")
    return base


def _scatter_reference(params: tuple, base: np.ndarray, index: np.ndarray, new: np.ndarray) -> np.ndarray:
    axis, mode = params
    out = base.copy()
    where = list(np.indices(index.shape, sparse=True))
    where[axis] = index
    where = tuple(where)
    if mode == "set":
        out[where] = new
    else:
        {"add": np.add, "mul": np.multiply, "max": np.maximum, "min": np.minimum}[mode].at(out, where, new)
    return out


def _scatter_vjp_base(g: Node, n: Saved) -> Node:
    axis, mode = n.params
    if mode == "add":
        return g
    if mode == "set":
        index = n.y
        zeros = const(params=(index.shape, g.dtype, g.type.device, 0.0))
        return scatter(g, index, zeros, params=(axis, "set"))
    raise RuntimeError(f"scatter with mode {mode!r} is not differentiable")


def _scatter_vjp_new(g: Node, n: Saved) -> Node:
    return gather(g, n.y, params=(n.params[0],))


def _scatter_jvp(tangents, saved):
    base, index, new = saved.node.src
    base_t = full_like(base, 0) if tangents[0] is None else tangents[0]
    new_t = full_like(new, 0) if tangents[2] is None else tangents[2]
    return scatter(base_t, index, new_t, params=saved.params)


scatter = Primitive(
    "scatter", "scatter", _scatter_infer, vjp=(_scatter_vjp_base, None, _scatter_vjp_new), jvp=_scatter_jvp, cost=4,
    batch=lambda params, src: scatter(*src, params=(params[0] + 1, params[1])), reference=_scatter_reference,
)


def _argsort_infer(params: tuple, x: TensorType) -> TensorType:
    _, count = params
    if x.dtype.kind == dtypes.COMPLEX:
        raise ValueError("complex numbers have no order")
    if not x.ndim or not 0 <= count <= x.shape[-1]:
        raise ValueError(f"there are no {count} elements along the last axis of {list(x.shape)}")
    return tensor_type((*x.shape[:-1], count), dtypes.int64, x.device)


def _argsort_reference(params: tuple, x: np.ndarray) -> np.ndarray:
    descending, count = params
    if not descending:
        return np.argsort(x, axis=-1, kind="stable")[..., :count]
    # reversing twice keeps equal elements in their order
    order = np.argsort(x[..., ::-1], axis=-1, kind="stable")[..., ::-1]
    return (x.shape[-1] - 1 - order)[..., :count]


# The positions of the first ``count`` elements of the last axis in stable order, ascending or descending; NaN counts as
# the largest. A library call: the kernels are written by hand, in ``kernels/cpu/sort.py``.
argsort = Primitive(
    "argsort", "sort", _argsort_infer, batch=lambda params, src: argsort(*src, params=params),
    reference=_argsort_reference, cost=50,
)

# -------------------------------------------------------------------------------- movement that skips the identity


def reshaped(x: Node, shape: Sequence[int]) -> Node:
    shape = tuple(shape)
    return x if shape == x.type.shape else reshape(x, params=shape)


def permuted(x: Node, axes: Sequence[int]) -> Node:
    axes = tuple(axes)
    return x if axes == tuple(range(len(axes))) else permute(x, params=axes)


def expanded(x: Node, shape: Sequence[int]) -> Node:
    shape = tuple(shape)
    return x if shape == x.type.shape else expand(x, params=shape)


def sliced(x: Node, starts: Sequence[int], counts: Sequence[int]) -> Node:
    starts, counts = tuple(starts), tuple(counts)
    return x if counts == x.type.shape else slice_(x, params=(starts, (1,) * x.ndim, counts))


def padded_axis(x: Node, axis: int, low: int, high: int) -> Node:
    if low == 0 and high == 0:
        return x
    zeros = [0] * x.ndim
    lows, highs = list(zeros), list(zeros)
    lows[axis], highs[axis] = low, high
    return pad(x, params=(tuple(lows), tuple(highs), 0.0))


def broadcast_to(x: Node, shape: Sequence[int]) -> Node:
    """Expand by NumPy's rule: missing axes in front, axes of size 1 repeated."""
    shape = tuple(shape)
    if x.type.shape == shape:
        return x
    return expanded(reshaped(x, (1,) * (len(shape) - x.ndim) + x.type.shape), shape)


def converted(x: Node, dtype: dtypes.DType) -> Node:
    return x if x.type.dtype is dtype else p.cast(x, params=(dtype,))
