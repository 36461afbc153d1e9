"""Linear maps, embeddings and one-hot vectors.

Read next: ``functional_vision.py``.
"""

from __future__ import annotations

import numpy as np

from .. import formulas as f
from ..arguments import scalar_type, tensor_argument, values_of
from ..compiler import dtypes, primitives as p, primitives_shape as s
from ..compiler.autodiff import recording_gradients
from ..compiler.composite import composite
from ..compiler.ir import Node
from ..einsum import einsum
from ..formulas import argument, constant
from ..gathering import checked_index, known, rows_of
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
    flat = checked_index(f.reshaped(index, (index.type.size,)), rows, message="index out of range in self")
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


__all__ = ["bilinear", "embedding", "linear", "one_hot"]
