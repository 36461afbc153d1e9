"""Joining, repeating and reordering: functions that put elements of tensors next to each other.

What only shows elements in another way is a view and stands in ``views.py``; here every result has memory of its own.
Read next: ``sorting.py``.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from . import formulas as f
from .arguments import canonical_axes, exactly_returned, numpy_names, returned, scalar_type, tensor_argument, values_of
from .compiler import dtypes, primitives as p, primitives_shape as s
from .compiler.ir import Node
from .gathering import rows_of
from .mutation import can_cast
from .recording import broadcast_shapes, input_node, node_of, promoted, tensor_of
from .tensor import Tensor, axis_of
from .views import sizes_of


@numpy_names
def cat(tensors: Sequence[Tensor], dim: int = 0, *, out: Tensor | None = None) -> Tensor:
    """The tensors one after another along ``dim``; they agree in all other sizes, and dtypes are promoted.

    A vector without elements may stand anywhere. As ``torch.cat``.

    Raises:
        ValueError: no tensors.
        RuntimeError: sizes that do not fit.

    Example:
        >>> import flamework as torch
        >>> torch.cat([torch.tensor([1]), torch.tensor([2, 3])]).tolist()
        [1, 2, 3]
    """
    if isinstance(tensors, Tensor):
        raise TypeError("cat(): argument 'tensors' (position 1) must be tuple of Tensors, not Tensor")
    nodes = []
    for i, tensor in enumerate(tensors):
        if not isinstance(tensor, Tensor):
            raise TypeError(
                f"expected Tensor as element {i} in argument 0, but got {type(tensor).__name__}"
            )
        nodes.append(node_of(tensor))
    if not nodes:
        raise ValueError("torch.cat(): expected a non-empty list of Tensors")
    return _joined_in(nodes, dim, promoted(*tensors), out)


def _joined_in(nodes: Sequence[Node], dim: int, dtype: dtypes.DType, out: Tensor | None) -> Tensor:
    if out is not None and not can_cast(dtype, out.dtype):
        raise TypeError(
            f"torch.cat(): input types can't be cast to the desired output type {out.dtype.scalar_name}"
        )
    return returned(_joined(nodes, dim, dtype), out)


def _joined(nodes: list[Node], dim: int, dtype: dtypes.DType) -> Node:
    for i, node in enumerate(nodes):
        if node.ndim == 0:
            raise RuntimeError(f"zero-dimensional tensor (at position {i}) cannot be concatenated")
    # a vector without elements joins anything
    parts = [n for n in nodes if n.type.shape != (0,)] or nodes[:1]
    first = parts[0]
    axis = axis_of(dim, first.ndim)
    for node in parts[1:]:
        if node.ndim != first.ndim:
            raise RuntimeError(f"Tensors must have same number of dimensions: got {first.ndim} and {node.ndim}")
        for d, (expected, extent) in enumerate(zip(first.type.shape, node.type.shape)):
            if d != axis and extent != expected:
                raise RuntimeError(
                    f"Sizes of tensors must match except in dimension {axis}. Expected size {expected} but got size "
                    f"{extent} for tensor number {nodes.index(node)} in the list."
                )
    return s.cat(*(f.converted(n, dtype) for n in parts), params=(axis,))


concat = concatenate = cat


@numpy_names
def stack(tensors: Sequence[Tensor], dim: int = 0, *, out: Tensor | None = None) -> Tensor:
    """The tensors, all of one shape, along a new axis at ``dim``. As ``torch.stack``.

    Raises:
        RuntimeError: no tensors, or different shapes.

    Example:
        >>> import flamework as torch
        >>> torch.stack([torch.tensor([1, 2]), torch.tensor([3, 4])]).tolist()
        [[1, 2], [3, 4]]
    """
    nodes = [tensor_argument(t, "stack", "tensors", 1) for t in tensors]
    if not nodes:
        raise RuntimeError("stack expects a non-empty TensorList")
    shape = nodes[0].type.shape
    for i, node in enumerate(nodes):
        if node.type.shape != shape:
            raise RuntimeError(
                f"stack expects each tensor to be equal size, but got {list(shape)} at entry 0 and "
                f"{list(node.type.shape)} at entry {i}"
            )
    axis = axis_of(dim, len(shape) + 1)
    grown = [f.reshaped(n, (*shape[:axis], 1, *shape[axis:])) for n in nodes]
    return _joined_in(grown, axis, promoted(*tensors), out)


def hstack(tensors: Sequence[Tensor], *, out: Tensor | None = None) -> Tensor:
    """The tensors side by side: along the second axis, vectors along the first. As ``torch.hstack``.

    Example:
        >>> import flamework as torch
        >>> torch.hstack([torch.tensor([1]), torch.tensor([2, 3])]).tolist()
        [1, 2, 3]
    """
    grown = [atleast_1d(t) for t in tensors]
    if not grown:
        raise RuntimeError("hstack expects a non-empty TensorList")
    return cat(grown, 0 if grown[0].ndim == 1 else 1, out=out)


def vstack(tensors: Sequence[Tensor], *, out: Tensor | None = None) -> Tensor:
    """The tensors on top of each other: along the first axis, vectors as rows. As ``torch.vstack``.

    Example:
        >>> import flamework as torch
        >>> torch.vstack([torch.tensor([1, 2]), torch.tensor([3, 4])]).tolist()
        [[1, 2], [3, 4]]
    """
    grown = [atleast_2d(t) for t in tensors]
    if not grown:
        raise RuntimeError("vstack expects a non-empty TensorList")
    return cat(grown, 0, out=out)


row_stack = vstack


def dstack(tensors: Sequence[Tensor], *, out: Tensor | None = None) -> Tensor:
    """The tensors along the third axis, after :func:`atleast_3d`. As ``torch.dstack``.

    Example:
        >>> import flamework as torch
        >>> torch.dstack([torch.tensor([1, 2]), torch.tensor([3, 4])]).tolist()
        [[[1, 3], [2, 4]]]
    """
    grown = [atleast_3d(t) for t in tensors]
    if not grown:
        raise RuntimeError("dstack expects a non-empty TensorList")
    return cat(grown, 2, out=out)


def column_stack(tensors: Sequence[Tensor], *, out: Tensor | None = None) -> Tensor:
    """The tensors side by side, vectors as columns. As ``torch.column_stack``.

    Example:
        >>> import flamework as torch
        >>> torch.column_stack([torch.tensor([1, 2]), torch.tensor([3, 4])]).tolist()
        [[1, 3], [2, 4]]
    """
    grown = [t.reshape(t.numel(), 1) if t.ndim < 2 else t for t in tensors]
    if not grown:
        raise RuntimeError("column_stack expects a non-empty TensorList")
    return hstack(grown, out=out)


def _at_least(rank: int, tensors: tuple):
    grow = {1: _grown_1d, 2: _grown_2d, 3: _grown_3d}[rank]
    if len(tensors) == 1 and isinstance(tensors[0], Tensor):
        return grow(tensors[0])
    if len(tensors) == 1:
        tensors = tuple(tensors[0])
    return tuple(grow(t) for t in tensors)


def _grown_1d(t: Tensor) -> Tensor:
    return t.reshape(1) if t.ndim == 0 else t


def _grown_2d(t: Tensor) -> Tensor:
    return t.reshape(1, t.numel()) if t.ndim < 2 else t


def _grown_3d(t: Tensor) -> Tensor:
    return _grown_2d(t).unsqueeze(-1) if t.ndim < 3 else t


def atleast_1d(*tensors: Tensor | Sequence[Tensor]) -> Tensor | tuple[Tensor, ...]:
    """Views with at least one axis. As ``torch.atleast_1d``."""
    return _at_least(1, tensors)


def atleast_2d(*tensors: Tensor | Sequence[Tensor]) -> Tensor | tuple[Tensor, ...]:
    """Views with at least two axes; new ones in front. As ``torch.atleast_2d``."""
    return _at_least(2, tensors)


def atleast_3d(*tensors: Tensor | Sequence[Tensor]) -> Tensor | tuple[Tensor, ...]:
    """Views with at least three axes; a matrix gets its new one at the end. As ``torch.atleast_3d``."""
    return _at_least(3, tensors)


# -------------------------------------------------------------------------------------------------------------- parts


def tensor_split(
    input: Tensor, indices_or_sections: int | Sequence[int] | Tensor, dim: int = 0
) -> tuple[Tensor, ...]:
    """Views of consecutive parts along ``dim``: so many of nearly equal size, or cut before the given indices.

    As ``torch.tensor_split``.

    Example:
        >>> import flamework as torch
        >>> [t.tolist() for t in torch.tensor_split(torch.arange(5), 2)]
        [[0, 1, 2], [3, 4]]
    """
    axis = axis_of(dim, input.ndim)
    if input.ndim == 0:
        raise RuntimeError("tensor_split expected at least a 1-dimensional tensor, but got a tensor with 0 dims")
    extent = input.shape[axis]
    if isinstance(indices_or_sections, Tensor):
        indices_or_sections = indices_or_sections.tolist()
    if isinstance(indices_or_sections, int):
        count = indices_or_sections
        if count <= 0:
            raise RuntimeError(f"number of sections must be larger than 0, got {count}")
        size, extra = divmod(extent, count)
        ends = [(i + 1) * size + min(i + 1, extra) for i in range(count)]
    else:
        ends = [slice(None, i).indices(extent)[1] for i in indices_or_sections] + [extent]
    parts, start = [], 0
    for end in ends:
        parts.append(input.narrow(axis, min(start, extent), max(0, end - start)))
        start = end
    return tuple(parts)


def hsplit(input: Tensor, indices_or_sections: int | Sequence[int]) -> tuple[Tensor, ...]:
    """Parts along the second axis, of a vector along the first; equal if a number is given. As ``torch.hsplit``."""
    if input.ndim < 1:
        raise RuntimeError(
            "torch.hsplit requires a tensor with at least 1 dimension, but got a tensor with 0 dimensions!"
        )
    return _equal_parts("hsplit", input, indices_or_sections, 0 if input.ndim == 1 else 1)


def vsplit(input: Tensor, indices_or_sections: int | Sequence[int]) -> tuple[Tensor, ...]:
    """Parts along the first axis of two or more; equal if a number is given. As ``torch.vsplit``."""
    if input.ndim < 2:
        raise RuntimeError(
            f"torch.vsplit requires a tensor with at least 2 dimension, but got a tensor with {input.ndim} dimensions!"
        )
    return _equal_parts("vsplit", input, indices_or_sections, 0)


def dsplit(input: Tensor, indices_or_sections: int | Sequence[int]) -> tuple[Tensor, ...]:
    """Parts along the third axis of three or more; equal if a number is given. As ``torch.dsplit``."""
    if input.ndim < 3:
        raise RuntimeError(
            f"torch.dsplit requires a tensor with at least 3 dimension, but got a tensor with {input.ndim} dimensions!"
        )
    return _equal_parts("dsplit", input, indices_or_sections, 2)


def _equal_parts(function: str, input: Tensor, parts: int | Sequence[int], axis: int) -> tuple[Tensor, ...]:
    if isinstance(parts, int) and (parts <= 0 or input.shape[axis] % parts):
        raise RuntimeError(
            f"torch.{function} attempted to split along dimension {axis}, but the size of the dimension "
            f"{input.shape[axis]} is not divisible by the split_size {parts}!"
        )
    return tensor_split(input, parts, axis)


# ------------------------------------------------------------------------------------------------ repeating, reordering


def repeat(input: Tensor, *repeats: int | Sequence[int]) -> Tensor:
    """The tensor so many times along each axis; further repeats in front make new axes. As ``Tensor.repeat``.

    Raises:
        RuntimeError: fewer repeats than axes, or a negative one.

    Example:
        >>> import flamework as torch
        >>> torch.tensor([1, 2]).repeat(2, 2).tolist()
        [[1, 2, 1, 2], [1, 2, 1, 2]]
    """
    return tensor_of(_repeated(node_of(input), sizes_of(repeats)))


def _repeated(x: Node, counts: tuple[int, ...]) -> Node:
    if len(counts) < x.ndim:
        raise RuntimeError(
            "Number of dimensions of repeat dims can not be smaller than number of dimensions of tensor"
        )
    if any(c < 0 for c in counts):
        raise RuntimeError(f"Trying to create tensor with negative dimension in repeats {list(counts)}")
    shape = (1,) * (len(counts) - x.ndim) + x.type.shape
    pairs = [e for count, extent in zip(counts, shape) for e in (count, extent)]
    spread = f.reshaped(x, [e for extent in shape for e in (1, extent)])
    return f.reshaped(f.fresh(f.expanded(spread, pairs), x), [c * e for c, e in zip(counts, shape)])


def tile(input: Tensor, *dims: int | Sequence[int]) -> Tensor:
    """As :func:`repeat`, with as many repeats as wanted, which belong to the last axes. As ``torch.tile``.

    Example:
        >>> import flamework as torch
        >>> torch.tile(torch.tensor([[1, 2]]), (2,)).tolist()
        [[1, 2, 1, 2]]
    """
    counts = sizes_of(dims)
    x = tensor_argument(input, "tile", "input", 1)
    return tensor_of(_repeated(x, (1,) * (x.ndim - len(counts)) + counts))


def repeat_interleave(
    input: Tensor, repeats: int | Tensor | None = None, dim: int | None = None, *, output_size: int | None = None
) -> Tensor:
    """Each element so many times in a row along ``dim``, by default of the flattened tensor.

    Args:
        repeats: one number for all, or a vector with one for each position; it is computed.
        output_size: the length of the result, if known; checked.

    With ``input`` alone, a vector of counts, the positions so many times each. As ``torch.repeat_interleave``.

    Example:
        >>> import flamework as torch
        >>> torch.repeat_interleave(torch.tensor([5, 6]), torch.tensor([1, 2])).tolist()
        [5, 6, 6]
    """
    if repeats is None:
        counts = _counts(node_of(input))
        return tensor_of(_positions(counts, output_size, input))
    x = tensor_argument(input, "repeat_interleave", "input", 1)
    if dim is None:
        x, axis = f.reshaped(x, (x.type.size,)), 0
    else:
        axis = axis_of(dim, x.ndim)
        x = f.reshaped(x, x.type.shape or (1,))
    extent = x.type.shape[axis]
    if isinstance(repeats, Tensor) and repeats.numel() == 1:
        repeats = int(_counts(node_of(repeats.reshape(1)))[0])
    if not isinstance(repeats, Tensor):
        if repeats < 0:
            raise RuntimeError("Repeats must be non-negative")
        if output_size is not None and output_size != extent * repeats:
            raise RuntimeError(f"repeat_interleave: output_size {output_size} is not the result's {extent * repeats}")
        shape = x.type.shape
        grown = f.reshaped(x, (*shape[: axis + 1], 1, *shape[axis + 1 :]))
        spread = f.expanded(grown, (*shape[: axis + 1], repeats, *shape[axis + 1 :]))
        return tensor_of(f.fresh(f.reshaped(spread, (*shape[:axis], extent * repeats, *shape[axis + 1 :])), x))
    counts = _counts(node_of(repeats))
    if counts.size != extent:
        raise RuntimeError(
            f"repeats must have the same size as input along dim, but got repeats.size(0) = {counts.size} and "
            f"input.size({axis}) = {extent}"
        )
    return tensor_of(rows_of(x, axis, _positions(counts, output_size, repeats)))


def _counts(node: Node) -> np.ndarray:
    if node.type.dtype not in (dtypes.int64, dtypes.int32):
        raise p.Undefined(f"repeats has to be Long or Int tensor, not {scalar_type(node.type.dtype)}")
    if node.ndim != 1:
        raise RuntimeError("repeat_interleave only accept 1D vector as repeat")
    counts = values_of(node)
    if counts.size and counts.min() < 0:
        raise RuntimeError("repeats can not be negative")
    return counts


def _positions(counts: np.ndarray, output_size: int | None, like: Tensor) -> Node:
    positions = np.repeat(np.arange(counts.size, dtype=np.int64), counts)
    if output_size is not None and output_size != positions.size:
        raise RuntimeError(f"repeat_interleave: output_size {output_size} is not the result's {positions.size}")
    return input_node(positions, str(like.device))


def flip(input: Tensor, *dims: int | Sequence[int]) -> Tensor:
    """The elements in reverse order along the given axes, as a copy. As ``torch.flip``.

    Example:
        >>> import flamework as torch
        >>> torch.flip(torch.tensor([1, 2, 3]), (0,)).tolist()
        [3, 2, 1]
    """
    x = tensor_argument(input, "flip", "input", 1)
    wanted = sizes_of(dims)
    axes = canonical_axes(wanted, x.ndim) if wanted else ()
    return tensor_of(s.flip(x, params=axes) if axes else s.copy(x))


def fliplr(input: Tensor) -> Tensor:
    """The second axis reversed. As ``torch.fliplr``."""
    if input.ndim < 2:
        raise RuntimeError("Input must be >= 2-d.")
    return flip(input, 1)


def flipud(input: Tensor) -> Tensor:
    """The first axis reversed. As ``torch.flipud``."""
    if input.ndim < 1:
        raise RuntimeError("Input must be >= 1-d.")
    return flip(input, 0)


def rot90(input: Tensor, k: int = 1, dims: Sequence[int] = (0, 1)) -> Tensor:
    """The plane of two axes turned ``k`` times by 90 degrees, from the first towards the second. As ``torch.rot90``.

    Example:
        >>> import flamework as torch
        >>> torch.rot90(torch.tensor([[1, 2], [3, 4]])).tolist()
        [[2, 4], [1, 3]]
    """
    if len(dims) != 2:
        raise RuntimeError(f"expected total rotation dims == 2, but got dims = {len(dims)}")
    if input.ndim < 2:
        raise RuntimeError(f"expected total dims >= 2, but got total dims = {input.ndim}")
    a, b = (axis_of(d, input.ndim) for d in dims)
    if a == b:
        raise RuntimeError(f"expected rotation dims to be different, but got dim0 = {dims[0]} and dim1 = {dims[1]}")
    turns = k % 4
    if turns == 1:
        return flip(input, b).transpose(a, b)
    if turns == 2:
        return flip(input, a, b)
    if turns == 3:
        return flip(input, a).transpose(a, b)
    return input.clone()


def roll(input: Tensor, shifts: int | Sequence[int], dims: int | Sequence[int] | None = None) -> Tensor:
    """The elements moved on by ``shifts`` positions along axes; what leaves at the end comes in at the start.

    Without ``dims`` the flattened tensor is rolled. As ``torch.roll``.

    Example:
        >>> import flamework as torch
        >>> torch.roll(torch.tensor([1, 2, 3]), 1).tolist()
        [3, 1, 2]
    """
    x = tensor_argument(input, "roll", "input", 1)
    moves = sizes_of((shifts,))
    if not moves:
        raise RuntimeError("`shifts` required")
    axes = () if dims is None else sizes_of((dims,))
    if not axes and len(moves) == 1:
        flat = _rolled(f.reshaped(x, (x.type.size,)), 0, moves[0])
        return tensor_of(f.fresh(f.reshaped(flat, x.type.shape), x))
    if len(moves) != len(axes):
        raise RuntimeError(f"shifts and dimensions must align. shifts: {len(moves)}, dims:{len(axes)}")
    y = x
    for move, d in zip(moves, axes):
        if not x.ndim:
            raise IndexError(f"Dimension specified as {d} but tensor has no dimensions")
        y = _rolled(y, axis_of(d, x.ndim), move)
    return tensor_of(f.fresh(y, x))


def _rolled(x: Node, axis: int, shift: int) -> Node:
    extent = x.type.shape[axis]
    shift = shift % extent if extent else 0
    if shift == 0:
        return x
    return s.cat(f.axis_slice(x, axis, extent - shift, shift), f.axis_slice(x, axis, 0, extent - shift), params=(axis,))


def tril(input: Tensor, diagonal: int = 0, *, out: Tensor | None = None) -> Tensor:
    """The part on and below a diagonal of the last two axes, zeros above. As ``torch.tril``.

    Args:
        diagonal: 0 is the main diagonal, positive ones lie above it.

    Example:
        >>> import flamework as torch
        >>> torch.tril(torch.ones(2, 2)).tolist()
        [[1.0, 0.0], [1.0, 1.0]]
    """
    x = _matrix("tril", input)
    return exactly_returned(p.where(_not_above(x, diagonal), x, f.constant(x, 0)), out)


def triu(input: Tensor, diagonal: int = 0, *, out: Tensor | None = None) -> Tensor:
    """The part on and above a diagonal of the last two axes, zeros below. As ``torch.triu``.

    Args:
        diagonal: 0 is the main diagonal, positive ones lie above it.

    Example:
        >>> import flamework as torch
        >>> torch.triu(torch.ones(2, 2)).tolist()
        [[1.0, 1.0], [0.0, 1.0]]
    """
    x = _matrix("triu", input)
    return exactly_returned(p.where(_not_above(x, diagonal - 1), f.constant(x, 0), x), out)


def _matrix(function: str, input: Tensor) -> Node:
    x = tensor_argument(input, function, "input", 1)
    if x.ndim < 2:
        raise RuntimeError(f"{function}: input tensor must have at least 2 dimensions")
    return x


def _not_above(x: Node, diagonal: int) -> Node:
    row, column = f.iota(x, x.ndim - 2), f.iota(x, x.ndim - 1)
    return p.le(column, p.add(row, f.argument(row, diagonal)) if diagonal else row)


def diag(input: Tensor, diagonal: int = 0, *, out: Tensor | None = None) -> Tensor:
    """The diagonal of a matrix as a vector, or a matrix of zeros with a vector on its diagonal. As ``torch.diag``.

    Example:
        >>> import flamework as torch
        >>> torch.diag(torch.tensor([1, 2])).tolist()
        [[1, 0], [0, 2]]
    """
    if input.ndim == 1:
        return exactly_returned(node_of(diag_embed(input, diagonal)), out)
    if input.ndim != 2:
        raise RuntimeError(f"diag(): Supports 1D or 2D tensors. Got {input.ndim}D")
    return exactly_returned(s.copy(node_of(input.diagonal(diagonal))), out)


def diag_embed(input: Tensor, offset: int = 0, dim1: int = -2, dim2: int = -1) -> Tensor:
    """Matrices of zeros with the vectors of the last axis on a diagonal. As ``torch.diag_embed``.

    Example:
        >>> import flamework as torch
        >>> torch.diag_embed(torch.tensor([1, 2]), offset=1).tolist()
        [[0, 1, 0], [0, 0, 2], [0, 0, 0]]
    """
    x = tensor_argument(input, "diag_embed", "input", 1)
    rank = x.ndim + 1
    first, second = axis_of(dim1, rank), axis_of(dim2, rank)
    if first == second:
        raise RuntimeError(f"diagonal dimensions cannot be identical {dim1}, {dim2}")
    n = x.type.shape[-1]
    side = n + abs(offset)
    lead = x.type.shape[:-1]
    # widened by the offset, every element stands in its column; the row says where it is kept
    wide = s.pad(x, params=(
        (*(0,) * len(lead), max(offset, 0)), (*(0,) * len(lead), max(-offset, 0)), p.python_value(x.type.dtype, 0),
    ))
    full = (*lead, side, side)
    grid = f.expanded(f.reshaped(wide, (*lead, 1, side)), full)
    row, column = f.iota(grid, len(lead)), f.iota(grid, len(lead) + 1)
    on_diagonal = p.eq(column, p.add(row, f.argument(row, offset)) if offset else row)
    square = p.where(on_diagonal, grid, f.constant(grid, 0))
    order = list(range(len(lead)))
    for axis, source in sorted(((first, len(lead)), (second, len(lead) + 1))):
        order.insert(axis, source)
    return tensor_of(f.permuted(square, order))


def diagflat(input: Tensor, offset: int = 0) -> Tensor:
    """A matrix of zeros with all elements of ``input`` on a diagonal. As ``torch.diagflat``."""
    return diag_embed(input.reshape(-1), offset)


def broadcast_tensors(*tensors: Tensor | Sequence[Tensor]) -> tuple[Tensor, ...]:
    """Views of the tensors in the shape that they broadcast to. As ``torch.broadcast_tensors``."""
    if len(tensors) == 1 and not isinstance(tensors[0], Tensor):
        tensors = tuple(tensors[0])
    shape = broadcast_shapes(*(tuple(t.shape) for t in tensors))
    return tuple(t.expand(shape) for t in tensors)


def meshgrid(*tensors: Tensor | Sequence[Tensor], indexing: str = "ij") -> tuple[Tensor, ...]:
    """Views of vectors spread over the grid that they span. As ``torch.meshgrid``.

    Args:
        indexing: ``"ij"`` for axes in the order of the vectors, ``"xy"`` with the first two exchanged.

    Example:
        >>> import flamework as torch
        >>> [t.tolist() for t in torch.meshgrid(torch.tensor([1, 2]), torch.tensor([3, 4]))]
        [[[1, 1], [2, 2]], [[3, 4], [3, 4]]]
    """
    if len(tensors) == 1 and not isinstance(tensors[0], Tensor):
        tensors = tuple(tensors[0])
    if indexing not in ("ij", "xy"):
        raise RuntimeError(f'torch.meshgrid: indexing must be one of "xy" or "ij", but received: {indexing}')
    for t in tensors:
        if t.ndim > 1:
            raise RuntimeError(f"torch.meshgrid: Expected 0D or 1D tensor in the tensor list but got: {list(t.shape)}")
    swap = indexing == "xy" and len(tensors) >= 2
    ordered = (tensors[1], tensors[0], *tensors[2:]) if swap else tensors
    shape = [t.numel() for t in ordered]
    grids = [
        t.reshape([-1 if i == axis else 1 for i in range(len(shape))]).expand(shape) for axis, t in enumerate(ordered)
    ]
    return (grids[1], grids[0], *grids[2:]) if swap else tuple(grids)


def cartesian_prod(*tensors: Tensor) -> Tensor:
    """All combinations of the elements of vectors, one a row. As ``torch.cartesian_prod``."""
    for tensor in tensors:
        if tensor.ndim != 1:
            raise RuntimeError(f"Expect a 1D vector, but got shape {list(tensor.shape)}")
    if len(tensors) == 1:
        return tensors[0].clone()
    return stack([g.reshape(-1) for g in meshgrid(*tensors)], dim=1)


