"""Linear maps, embeddings and one-hot vectors.

Read next: ``functional_vision.py``.
"""

from __future__ import annotations

import math

import numpy as np

from .. import formulas as f
from ..arguments import scalar_type, tensor_argument, values_of
from ..compiler import dtypes, primitives as p, primitives_shape as s
from ..compiler.autodiff import recording_gradients
from ..compiler.composite import composite
from ..compiler.ir import Node
from ..einsum import einsum
from ..formulas import argument, constant
from ..gathering import checked_index, known, rows_of, written_rows
from ..mutation import assign
from ..recording import node_of, read, tensor_of
from ..tensor import Tensor


def linear(input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """``input @ weight.T + bias`` over the last axis.

    Args:
        input: ``[*, in]``.
        weight: ``[out, in]``, or ``[in]`` for one output without an axis.
        bias: ``[out]``, or no axes.

    As ``torch.nn.functional.linear``.

    Raises:
        RuntimeError: sizes or dtypes that do not fit.

    Example:
        >>> import flamework as torch
        >>> torch.nn.functional.linear(torch.ones(1, 2), torch.ones(3, 2), torch.zeros(3)).tolist()
        [[2.0, 2.0, 2.0]]
    """
    x = tensor_argument(input, "linear", "input", 1)
    w = tensor_argument(weight, "linear", "weight", 2)
    if x.type.dtype is not w.type.dtype:
        raise RuntimeError(
            f"mat1 and mat2 must have the same dtype, but got {scalar_type(x.type.dtype)} and "
            f"{scalar_type(w.type.dtype)}"
        )
    if w.ndim not in (1, 2) or x.ndim == 0:
        raise RuntimeError(
            f"linear: expected an input of one or more axes and a weight of one or two, got {x.ndim} and {w.ndim}"
        )
    if x.type.shape[-1] != w.type.shape[-1]:
        rows = x.type.size // x.type.shape[-1] if x.type.shape[-1] else 0
        out = w.type.shape[0] if w.ndim == 2 else 1
        raise RuntimeError(
            f"mat1 and mat2 shapes cannot be multiplied ({rows}x{x.type.shape[-1]} and {w.type.shape[-1]}x{out})"
        )
    if bias is None:
        return tensor_of(_linear(x, w, None))
    b = node_of(bias)
    shape = x.type.shape[:-1] + w.type.shape[:-1]
    if b.type.shape not in (shape, shape[-1:], ()):
        raise RuntimeError(
            f"The expanded size of the tensor {list(shape)} must match the existing size of the bias "
            f"{list(b.type.shape)}"
        )
    return tensor_of(_linear(x, w, b))


@composite
def _linear(x: Node, w: Node, b: Node | None) -> Node:
    product = f.matmul(x, s.swapped(w) if w.ndim == 2 else w)
    return product if b is None else p.add(product, f.broadcast_to(b, product.type.shape))


def bilinear(input1: Tensor, input2: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """``input1 @ weight[o] @ input2`` for every output, plus ``bias``.

    Args:
        input1: ``[*, in1]``.
        input2: ``[*, in2]``.
        weight: ``[out, in1, in2]``.
        bias: ``[out]``.

    As ``torch.nn.functional.bilinear``.
    """
    if tuple(input1.shape[:-1]) != tuple(input2.shape[:-1]):
        raise RuntimeError(
            f"bilinear(): input batch dimensions do not match: got {list(input1.shape)} and {list(input2.shape)}"
        )
    for tensor, axis in ((input1, 1), (input2, 2)):
        if tensor.shape[-1] != weight.shape[axis]:
            raise RuntimeError(
                f"bilinear(): input{axis} size does not match weight size: got {tensor.shape[-1]} but expected "
                f"{weight.shape[axis]}"
            )
    out = einsum("...i,oij,...j->...o", input1, weight, input2)
    return out if bias is None else out + bias


def embedding(
    input: Tensor, weight: Tensor, padding_idx: int | None = None, max_norm: float | None = None,
    norm_type: float = 2.0, scale_grad_by_freq: bool = False,
) -> Tensor:
    """The rows of ``weight`` at the indices ``input``.

    Args:
        input: int64 or int32, any shape.
        weight: ``[rows, size]``.
        padding_idx: a row without a gradient; may be negative.
        max_norm: rows that are used and are longer are shortened to it, in place.
        norm_type: the order of that norm.
        scale_grad_by_freq: divide the gradient of a row by how often ``input`` holds its index.

    Returns:
        ``[*input.shape, size]``. As ``torch.nn.functional.embedding``.

    Raises:
        IndexError: an index that is no row.

    Example:
        >>> import flamework as torch
        >>> torch.nn.functional.embedding(torch.tensor([1, 0]), torch.tensor([[1.0], [2.0]])).tolist()
        [[2.0], [1.0]]
    """
    index = tensor_argument(input, "embedding", "indices", 1)
    table = tensor_argument(weight, "embedding", "weight", 2)
    if index.type.dtype not in (dtypes.int64, dtypes.int32):
        raise RuntimeError(
            "Expected tensor for argument #1 'indices' to have one of the following scalar types: Long, Int; but got "
            f"torch.{scalar_type(index.type.dtype)}Tensor instead (while checking arguments for embedding)"
        )
    if table.ndim != 2:
        raise RuntimeError("'weight' must be 2-D")
    rows = table.type.shape[0]
    if padding_idx is not None:
        if not -rows <= padding_idx < rows:
            raise AssertionError("Padding_idx must be within num_embeddings")
        padding_idx %= rows
    flat = f.reshaped(checked_index(index, rows, message="index out of range in self"), (index.type.size,))
    if max_norm is not None:
        table = _shortened(weight, flat, max_norm, norm_type)
    picked = rows_of(table, 0, flat)
    if picked.requires_grad:
        picked = _gradient_by_row(picked, flat, rows, padding_idx, scale_grad_by_freq)
    return tensor_of(f.reshaped(picked, (*index.type.shape, table.type.shape[1])))


def _gradient_by_row(picked: Node, index: Node, rows: int, padding_idx: int | None, by_frequency: bool) -> Node:
    """``picked`` with a gradient of 0 for the padding's row, or divided by the frequency of each row."""
    if padding_idx is not None:
        padding = f.along(p.eq(index, argument(index, padding_idx)), (1,), picked)
        picked = p.where(padding, f.cut(picked), picked)
    if by_frequency:
        ones = f.filled(index.type.shape, dtypes.int64, index.type.device, 1)
        none = f.filled((rows,), dtypes.int64, index.type.device, 0)
        counts = s.gather(s.scatter(none, index, ones, params=(0, "add")), index, params=(0,))
        share = f.along(f.converted(counts, picked.type.dtype), (1,), picked)
        picked = s.copy(picked)
        picked.marks().hooks = {0: lambda g: p.div(g, share)}
    return picked


def _shortened(weight: Tensor, index: Node, max_norm: float, norm_type: float) -> Node:
    """Shorten the rows of ``weight`` that are used, in place, and give its new value."""
    with recording_gradients(False):
        table = f.cut(node_of(weight))
        ones = f.filled(index.type.shape, dtypes.bool_, index.type.device, True)
        none = f.filled(table.type.shape[:1], dtypes.bool_, index.type.device, False)
        used = s.scatter(none, index, ones, params=(0, "set"))
        length = f.vector_norm(table, (1,), float(norm_type))
        limit = argument(length, max_norm)
        factor = p.div(limit, p.add(length, constant(length, 1e-7)))
        factor = p.where(p.band(used, p.lt(limit, length)), factor, constant(length, 1))
        assign(weight, p.mul(table, f.along(factor, (1,), table)))
    return node_of(weight)


def embedding_bag(
    input: Tensor, weight: Tensor, offsets: Tensor | None = None, max_norm: float | None = None,
    norm_type: float = 2, scale_grad_by_freq: bool = False, mode: str = "mean", sparse: bool = False,
    per_sample_weights: Tensor | None = None, include_last_offset: bool = False, padding_idx: int | None = None,
) -> Tensor:
    """The sum, mean or maximum of the rows of ``weight`` in each bag of indices; zeros for an empty bag.

    Args:
        input: int64 or int32: ``[bags, size]``, or ``[n]`` with ``offsets``.
        weight: ``[rows, size]``.
        offsets: where in a one-dimensional ``input`` the bags begin; from 0 on, in order.
        max_norm, norm_type: rows that are used and are longer are shortened to it, in place.
        scale_grad_by_freq: divide the gradient of a row by how often ``input`` holds its index; not for the maximum.
        mode: ``"sum"``, ``"mean"`` or ``"max"``, whose gradient goes to the first of equal rows.
        sparse: False; gradients are dense here.
        per_sample_weights: of the shape of ``input``, a factor for each row; for sums.
        include_last_offset: whether the last offset is the end of the last bag.
        padding_idx: an index that does not count; may be negative.

    Returns:
        ``[bags, size]``. As ``torch.nn.functional.embedding_bag``.

    Raises:
        ValueError, RuntimeError: arguments that do not fit each other.
        RuntimeError, IndexError: an index that is no row, at once or when the value is computed.

    Example:
        >>> import flamework as torch
        >>> table, index = torch.tensor([[1.0], [2.0], [4.0]]), torch.tensor([0, 1, 1, 2])
        >>> torch.nn.functional.embedding_bag(index, table, torch.tensor([0, 3]), mode="sum").tolist()
        [[5.0], [4.0]]
    """
    return tensor_of(bags_of(
        input, weight, offsets, max_norm, norm_type, scale_grad_by_freq, mode, sparse, per_sample_weights,
        include_last_offset, padding_idx,
    )[0])


def bags_of(
    input: Tensor, weight: Tensor, offsets: Tensor | None, max_norm: float | None, norm_type: float,
    scale_grad_by_freq: bool, mode: str, sparse: bool, per_sample_weights: Tensor | None, include_last_offset: bool,
    padding_idx: int | None,
) -> tuple[Node, Node, Node, Node]:
    """The result, the bag of each index, how many indices count in each bag, and where the maxima come from."""
    dtype, ndim = weight.dtype, input.dim()
    index, table = node_of(input), node_of(weight)
    _check_bags(index, offsets, mode, sparse, scale_grad_by_freq, per_sample_weights)
    rows, size = table.type.shape
    if padding_idx is not None:
        if not -rows <= padding_idx < rows:
            raise RuntimeError(
                f"padding_idx must be within the number of embeddings, {-rows} through {rows - 1}, but got "
                f"{padding_idx}"
            )
        padding_idx %= rows
    count = index.type.size
    out_of_range = "the input takes value {index}, which is not in the valid range [0, {size})"
    flat = f.reshaped(checked_index(index, rows, message=out_of_range, error=RuntimeError), (count,))
    if max_norm is not None:
        table = _shortened(weight, flat, max_norm, norm_type)
    picked = rows_of(table, 0, flat)
    if scale_grad_by_freq and picked.requires_grad:
        picked = _gradient_by_row(picked, flat, rows, None, True)
    if per_sample_weights is not None:
        factors = node_of(per_sample_weights)
        if factors.type.dtype is not dtype:
            raise RuntimeError(
                f"embedding_bag: expected 'weight' and 'per_sample_weights' to have one type, but got {dtype} and "
                f"{factors.type.dtype}"
            )
        picked = p.mul(picked, f.along(f.reshaped(factors, (count,)), (1,), picked))
    counts = f.filled((count,), dtypes.bool_, index.type.device, True)
    if padding_idx is not None:
        counts = p.ne(flat, argument(flat, padding_idx))
        picked = p.where(f.along(counts, (1,), picked), picked, constant(picked, 0))
    if ndim == 2:
        bags = index.type.shape[0]
        bag = f.reshaped(f.iota(index, 0), (count,))
    else:
        bags, bag = _bag_of(node_of(offsets), count)
    picked = f.converted(picked, dtype.compute)
    held = _added(f.converted(counts, dtypes.int64), bag, bags)
    source = f.filled((bags, size), dtypes.int64, index.type.device, 0)
    if mode == "max":
        out, source = _largest(picked, counts, flat, bag, bags)
    elif ndim == 2:
        out = f.total(f.reshaped(picked, (*index.type.shape, size)), (1,))
    else:
        out = _added(picked, bag, bags)
    if mode == "mean":
        divisor = p.where(p.lt(held, constant(held, 1)), constant(held, 1), held)
        out = p.div(out, f.along(f.converted(divisor, out.type.dtype), (1,), out))
    results = [f.converted(out, dtype), bag, held, source]
    if ndim == 1 and include_last_offset:
        # what comes after the last offset is in a bag of its own
        results = [r if i == 1 else f.axis_slice(r, 0, 0, bags - 1) for i, r in enumerate(results)]
    return tuple(results)


def _check_bags(
    index: Node, offsets: Tensor | None, mode: str, sparse: bool, by_frequency: bool, factors: Tensor | None
) -> None:
    for name, node in (("indices", index), ("offsets", index if offsets is None else node_of(offsets))):
        if node.type.dtype not in (dtypes.int64, dtypes.int32):
            raise RuntimeError(
                f"Expected tensor for argument #1 '{name}' to have one of the following scalar types: Long, Int; but "
                f"got torch.{scalar_type(node.type.dtype)}Tensor instead (while checking arguments for embedding_bag)"
            )
    if index.ndim not in (1, 2):
        raise ValueError(f"input has to be 1D or 2D Tensor, but got Tensor of dimension {index.ndim}")
    if index.ndim == 2 and offsets is not None:
        raise ValueError(
            "if input is 2D, then offsets has to be None, as input is treated is a mini-batch of fixed length "
            f"sequences. However, found offsets of type {type(offsets)}"
        )
    if index.ndim == 1 and (offsets is None or offsets.ndim != 1):
        raise ValueError("offsets has to be a 1D Tensor" + (" but got None" if offsets is None else ""))
    if mode not in ("sum", "mean", "max"):
        raise ValueError("mode has to be one of sum, mean or max")
    if mode == "max" and by_frequency:
        raise ValueError("max mode does not support scaling the gradient by the frequency")
    if sparse:
        raise RuntimeError("embedding_bag: gradients are dense, so sparse=True is not supported")
    if factors is None:
        return
    if tuple(factors.shape) != index.type.shape:
        raise ValueError(
            f"embedding_bag: If per_sample_weights ({factors.shape}) is not None, then it must have the same shape as "
            f"the input ({index.type.shape})"
        )
    if mode != "sum":
        raise p.Undefined(
            "embedding_bag: per_sample_weights was not None. per_sample_weights is only supported for mode='sum' (got "
            f"mode='{mode}')."
        )


def _bag_of(offsets: Node, count: int) -> tuple[int, Node]:
    """How many bags begin at ``offsets``, and in which each of ``count`` indices is: so many began up to there."""
    bags = offsets.type.size
    if known(offsets) and bags:
        values = read(offsets)
        if values[0] != 0:
            raise RuntimeError(
                "offsets[0] has to be 0, i.e., the first sequence in the mini-batch has to start from position 0. "
                f"However, got {values[0]}"
            )
        if values[-1] > count:
            raise RuntimeError(
                f"offsets[-1] can not be greater than input's length {count} but got offsets[-1] of {values[-1]}"
            )
    begins = checked_index(offsets, count + 1)
    ones, none = (f.filled((n,), dtypes.int64, offsets.type.device, v) for n, v in ((bags, 1), (count + 1, 0)))
    begun = s.cumsum(s.scatter(none, begins, ones, params=(0, "add")), params=(0,))
    bag = f.axis_slice(p.sub(begun, constant(begun, 1)), 0, 0, count)
    return bags, checked_index(bag, bags)


def _added(x: Node, bag: Node, bags: int) -> Node:
    """The sum of the rows of each bag."""
    none = f.filled((bags, *x.type.shape[1:]), x.type.dtype, x.type.device, 0)
    return written_rows(none, 0, bag, x, "add")


def _largest(x: Node, counts: Node, index: Node, bag: Node, bags: int) -> tuple[Node, Node]:
    """The largest row of each bag by column, and its index; 0 for an empty bag. A NaN is the largest."""
    count, size = x.type.shape
    if count == 0:
        return _added(x, bag, bags), f.filled((bags, size), dtypes.int64, x.type.device, 0)
    values = f.cut(x)
    counted = f.along(counts, (1,), values)
    values = p.where(counted, values, constant(values, -math.inf))
    least = f.filled((bags, size), x.type.dtype, x.type.device, -math.inf)
    largest = rows_of(written_rows(least, 0, bag, values, "max"), 0, bag)
    hit = p.bor(p.eq(values, largest), p.band(f.is_nan(values), f.is_nan(largest)))
    place = f.iota(values, 0)
    place = p.where(p.band(hit, counted), place, constant(place, count))
    none = f.filled((bags, size), dtypes.int64, x.type.device, count)
    first = written_rows(none, 0, bag, place, "min")
    empty = p.eq(first, constant(first, count))
    first = p.where(empty, constant(first, 0), first)
    chosen = s.gather(x, first, params=(0,))
    source = s.gather(f.along(index, (1,), x), first, params=(0,))
    return p.where(empty, constant(chosen, 0), chosen), p.where(empty, constant(source, 0), source)


def one_hot(tensor: Tensor, num_classes: int = -1) -> Tensor:
    """Vectors of zeros with a one at each class index, int64 ``[*tensor.shape, num_classes]``.

    Args:
        tensor: class indices, int64.
        num_classes: -1 for one more than the largest index, which is computed.

    As ``torch.nn.functional.one_hot``.

    Raises:
        RuntimeError: another dtype, or an index that is known and out of range.

    Example:
        >>> import flamework as torch
        >>> torch.nn.functional.one_hot(torch.tensor([1, 0]), 2).tolist()
        [[0, 1], [1, 0]]
    """
    index = tensor_argument(tensor, "one_hot", "tensor", 1)
    if index.type.dtype is not dtypes.int64:
        raise RuntimeError("one_hot is only applicable to index tensor of type LongTensor.")
    if index.type.size == 0 and num_classes <= 0:
        raise RuntimeError("Can not infer total number of classes from empty tensor.")
    if num_classes == -1:
        num_classes = int(np.max(values_of(index))) + 1
    elif num_classes < 1:
        raise RuntimeError("num_classes should be positive")
    if known(index) and index.type.size:
        values = read(index)
        if values.min() < 0:
            raise RuntimeError("Class values must be non-negative.")
        if values.max() >= num_classes:
            raise RuntimeError("Class values must be smaller than num_classes.")
    index = checked_index(index, num_classes, error=RuntimeError)
    shape = (*index.type.shape, num_classes)
    spread = f.expanded(f.reshaped(index, (*index.type.shape, 1)), shape)
    return tensor_of(f.converted(p.eq(spread, f.iota(spread, index.ndim)), dtypes.int64))


__all__ = ["bilinear", "embedding", "embedding_bag", "linear", "one_hot"]
