"""Scattered values reduced with each other: sums, products, means and extrema of what goes to one place.

The values come from the scatter row; the gradients are PyTorch's: a product gives each factor the product of the
others, and equal extrema share what comes to them.

In: tensors. Out: tensors. Read next: ``gathering.py``, which the checks of indices and sizes come from.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .arguments import tensor_argument
from .compiler import primitives as p
from .compiler.dtypes import COMPLEX, FLOATING
from .compiler.ir import Node
from .compiler.primitives import Primitive, Saved, Undefined
from .gathering import _scattered, gather, index_argument, scatter, scatter_add, where
from .recording import node_of, tensor_of
from .storage import attached
from .tensor import Tensor, axis_of

_MODES = {"amax": "max", "amin": "min", "prod": "mul"}


def scatter_reduce(
    input: Tensor, dim: int, index: Tensor, src: Tensor, reduce: str, *, include_self: bool = True
) -> Tensor:
    """A copy of ``input`` in which the elements of ``src`` that go to one place along ``dim`` are reduced.

    Args:
        index: int64, with the rank of ``input``, not larger than ``src``.
        reduce: ``"sum"``, ``"prod"``, ``"mean"``, ``"amax"`` or ``"amin"``.
        include_self: whether the element of ``input`` takes part where something goes.

    Raises:
        RuntimeError: another ``reduce``, an index out of range, sizes that do not fit, or different dtypes.

    As ``torch.scatter_reduce``.

    Example:
        >>> import flamework as torch
        >>> torch.scatter_reduce(torch.zeros(2), 0, torch.tensor([1, 1]), torch.tensor([1.0, 5.0]), "amax").tolist()
        [0.0, 5.0]
    """
    if reduce not in ("sum", "mean", *_MODES):
        raise RuntimeError(f"reduce argument must be either sum, prod, mean, amax or amin, got {reduce}")
    base = tensor_argument(input, "scatter_reduce", "input", 1)
    new = tensor_argument(src, "scatter_reduce", "src", 4)
    if new.type.dtype is not base.type.dtype:
        raise RuntimeError("scatter(): Expected self.dtype to be equal to src.dtype")
    if index_argument(index, "scatter_reduce", 3).type.size == 0:
        return input.clone()
    return _reduced(input, axis_of(dim, base.ndim), index, src, reduce, include_self)


def index_reduce(
    input: Tensor, dim: int, index: Tensor, source: Tensor, reduce: str, *, include_self: bool = True
) -> Tensor:
    """As :func:`scatter_reduce`, for whole rows of ``source`` at the positions ``index``, a vector. Without sums.

    As ``torch.index_reduce``.

    Example:
        >>> import flamework as torch
        >>> torch.index_reduce(torch.ones(2), 0, torch.tensor([1, 1]), torch.tensor([2.0, 5.0]), "prod").tolist()
        [1.0, 10.0]
    """
    if reduce not in ("mean", *_MODES):
        raise RuntimeError(f"index_reduce(): Expected reduce to be one of prod, mean, amax or amin but got {reduce}.")
    base = tensor_argument(input, "index_reduce", "input", 1)
    chosen = index_argument(index, "index_reduce", 3)
    new = tensor_argument(source, "index_reduce", "source", 4)
    if new.type.dtype is not base.type.dtype:
        raise RuntimeError(
            f"index_reduce_(): self ({base.type.dtype.scalar_name}) and source ({new.type.dtype.scalar_name}) must "
            "have the same scalar type"
        )
    if chosen.ndim > 1:
        raise IndexError("index_reduce_(): Index is supposed to be a vector")
    axis = axis_of(dim, base.ndim)
    extent = new.type.shape[axis] if new.ndim else 1
    if chosen.type.size != extent:
        raise RuntimeError(
            f"index_reduce_(): Number of indices ({chosen.type.size}) should be equal to source.size(dim) ({extent})"
        )
    if chosen.type.size == 0:
        return input.clone()
    around = [extent if d == axis else 1 for d in range(new.ndim)]
    return _reduced(input, axis, index.reshape(around).expand(new.type.shape), source, reduce, include_self)


def _reduced(input: Tensor, axis: int, index: Tensor, src: Tensor, reduce: str, include_self: bool) -> Tensor:
    dtype = input.dtype
    if reduce in ("amax", "amin") and dtype.kind == COMPLEX:
        raise Undefined(f"\"scatter_gather_tensor_cpu_reduce_{reduce}\" not implemented for '{dtype.scalar_name}'")
    # what is not included is replaced by what changes nothing, without a gradient
    base = input if include_self else scatter(input, axis, index, _neutral(dtype, reduce))
    if reduce == "sum":
        return scatter_add(base, axis, index, src)
    if reduce == "mean":
        total = scatter_add(base, axis, index, src)
        counts = input.new_ones(input.shape) if include_self else input.new_zeros(input.shape)
        counts = scatter_add(counts, axis, index, src.new_ones(src.shape))
        counts = counts.masked_fill(counts == 0, 1)
        return total / counts if dtype.kind >= FLOATING else total // counts
    value = _scattered("scatter_reduce", base.detach(), axis, index, src.detach(), _MODES[reduce])
    if not (base.requires_grad or src.requires_grad):
        return value
    for d, extent in enumerate(index.shape):
        src = src.narrow(d, 0, extent)
    if reduce == "prod":
        factors = [node_of(x) for x in (value, base, index, src)]
        return tensor_of(_product(*factors, params=(axis,)))
    # an equal element takes its share in PyTorch even if it is not included
    own, others = _shares_of_extremum(input.detach(), axis, index, src.detach(), value)
    # a sum with the same derivatives
    slope = scatter_add(base * own, axis, index, src * others)
    return tensor_of(attached(node_of(value), node_of(slope)))


def _neutral(dtype, reduce: str) -> float:
    if reduce in ("sum", "mean", "prod"):
        return int(reduce == "prod")
    if dtype.kind == FLOATING:
        return float("-inf") if reduce == "amax" else float("inf")
    limits = np.iinfo(dtype.numpy) if dtype.kind else None
    return int(reduce == "amin") if limits is None else int(limits.min if reduce == "amax" else limits.max)


def _shares_of_extremum(base: Tensor, axis: int, index: Tensor, src: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
    own, others = (base == value).to(base.dtype), (src == gather(value, axis, index)).to(base.dtype)
    winners = scatter_add(own, axis, index, others)
    return own / winners, others / gather(winners, axis, index)


def _product_of(base: Tensor, axis: int, index: Tensor, src: Tensor) -> Tensor:
    return _reduced(base, axis, index, src, "prod", True)


def _own_share(n: Saved) -> Node:
    """What the element of the base is multiplied with."""
    base, index, src = (tensor_of(n.source(i)) for i in (1, 2, 3))
    return node_of(_product_of(base.new_ones(base.shape), n.params[0], index, src))


def _other_share(n: Saved) -> Node:
    """What each factor is multiplied with: the quotient of the product and the factor, unless that is zero."""
    (axis,) = n.params
    base, index, src = (tensor_of(n.source(i)) for i in (1, 2, 3))
    zero = src == 0
    zeros = gather(scatter_add(base.new_zeros(base.shape), axis, index, zero.to(base.dtype)), axis, index)
    single = zero & (zeros == 1)
    without = gather(_product_of(base, axis, index, src.masked_fill(single, 1)), axis, index)
    return node_of(where(single, without, gather(tensor_of(n.out), axis, index) / src.masked_fill(zero, 1)))


def _product_tangent(tangents: Sequence[Node | None], n: Saved) -> Node:
    _, own, _, others = tangents
    base, index = n.x, tensor_of(n.source(2))
    change = tensor_of(p.full_like(base, 0) if own is None else p.mul(own, _own_share(n)))
    if others is not None:
        change = scatter_add(change, n.params[0], index, tensor_of(p.mul(others, _other_share(n))))
    return node_of(change)


# The first source, a product of the elements of a base and of what goes there, as a function of these:
# ``(value, base, index, factors)``, ``params = (axis,)``.
_product = Primitive(
    "scatter_product", "alias", lambda params, value, *rest: value,
    vjp=(
        None, lambda g, n: p.mul(g, p.conjugate(_own_share(n))), None,
        lambda g, n: p.mul(
            node_of(gather(tensor_of(g), n.params[0], tensor_of(n.source(2)))), p.conjugate(_other_share(n))),
    ),
    jvp=_product_tangent, batch=lambda params, src: _product(*src, params=(params[0] + 1,)),
    reference=lambda params, value, *rest: value, cost=0,
)


__all__ = ["index_reduce", "scatter_reduce"]
