"""Reading and writing by index: gather, scatter, selection by index and by mask.

An index tensor that has been computed is checked here, so that a wrong index is an error at the user's line; one that
is still pending is checked by the kernel that uses it. Whatever has a shape that depends on values (``nonzero``,
``masked_select``) computes the mask first. Indexing with brackets is in ``indexing.py``. Read next: ``joining.py``.
"""

from __future__ import annotations

import math

import numpy as np

from . import formulas as f
from .arguments import exactly_returned, numpy_names, scalar_type, tensor_argument, values_of
from .compiler import dtypes, primitives as p, primitives_shape as s
from .compiler.dtypes import BOOL, COMPLEX, DType
from .compiler.ir import Node, TensorType, tensor_type
from .indexing import bounds, masked_fill
from .origin import with_line
from .recording import (
    broadcast_shapes,
    common_device,
    from_array,
    input_node,
    known,
    node_of,
    number_dtype,
    operands,
    plain_number,
    promoted,
    scalar_node,
    tensor_of,
)
from .runtime.selection import true_coordinates
from .tensor import Tensor, axis_of

OUT_OF_RANGE = "index {index} is out of bounds for dimension {axis} with size {size}"


def checked_index(
    index: Node, size: int, axis: int = 0, *, message: str = OUT_OF_RANGE, error: type[Exception] = IndexError,
    negative: bool = False,
) -> Node:
    """An index node as int64 in ``[0, size)``.

    Args:
        axis: what ``message`` calls the axis.
        message: the error's text, with ``{index}``, ``{axis}`` and ``{size}``.
        negative: whether indices in ``[-size, 0)`` count from the end.

    Raises:
        IndexError: (or ``error``) an index that is known already is out of range.
    """
    index = f.converted(index, dtypes.int64)
    if index.type.size == 0:
        return index
    if known(index):
        low, high = bounds(index)
        if high >= size or low < (-size if negative else 0):
            wrong = high if high >= size else low
            raise error(message.format(index=wrong, axis=axis, size=size))
        if low >= 0:
            return index
        return p.where(p.lt(index, f.constant(index, 0)), p.add(index, f.argument(index, size)), index)
    extent = f.argument(index, size)
    if not negative:
        # wrap_index would take a negative index for one from the end, so make it one that is out of range
        index = p.where(p.lt(index, f.constant(index, 0)), extent, index)
    return with_line(p.wrap_index(index, extent))


# The functions that take positions in int64 only, and what is raised for int32.
_LONG_ONLY: dict[str, tuple[type[Exception], str]] = {
    **dict.fromkeys(
        ("take", "put_", "index_copy"), (RuntimeError, "{name}(): Expected a long tensor for index, but got Int")
    ),
    "index_fill": (IndexError, "{name}_(): Expected dtype int64 for index."),
    "take_along_dim": (RuntimeError, "torch.{name}(): dtype of indices should be Long but got Int"),
}


def index_argument(index: object, function: str, position: int) -> Node:
    node = tensor_argument(index, function, "index", position)
    if node.type.dtype is dtypes.int32 and function in _LONG_ONLY:
        error, text = _LONG_ONLY[function]
        raise error(text.format(name=function))
    if node.type.size == 0 and function.startswith(("gather", "scatter")):
        # PyTorch looks at no element, and not at the dtype
        return s.converted(node, dtypes.int64)
    if node.type.dtype not in (dtypes.int64, dtypes.int32):
        raise RuntimeError(f"{function}(): Expected dtype int32/int64 for index")
    return node


def rows_of(x: Node, axis: int, index: Node) -> Node:
    """The positions ``index`` (a vector in range) of one axis, each with everything that stands there."""
    shape = x.type.shape
    target = (*shape[:axis], index.type.size, *shape[axis + 1 :])
    around = [1] * len(shape)
    around[axis] = index.type.size
    return s.gather(x, f.expanded(f.reshaped(index, around), target), params=(axis,))


def written_rows(x: Node, axis: int, index: Node, new: Node, mode: str) -> Node:
    """``x`` with ``new`` written ("set") or added ("add") at the positions ``index`` of one axis."""
    around = [1] * x.ndim
    around[axis] = index.type.size
    return s.scatter(x, f.expanded(f.reshaped(index, around), new.type.shape), new, params=(axis, mode))


# -------------------------------------------------------------------------------------------------------------- gather


def _with_axis(node: Node) -> Node:
    return f.reshaped(node, (1,)) if node.ndim == 0 else node


@numpy_names
def gather(
    input: Tensor, dim: int, index: Tensor, *, sparse_grad: bool = False, out: Tensor | None = None
) -> Tensor:
    """``out[.., i, ..] = input[.., index[.., i, ..], ..]`` along ``dim``, in the shape of ``index``.

    As ``torch.gather``.

    Args:
        sparse_grad: whether the gradient may be sparse; it never is, and has the same values.

    Raises:
        RuntimeError: an index out of range, of another dtype or rank, or larger than ``input`` beside ``dim``.

    Example:
        >>> import flamework as torch
        >>> torch.gather(torch.tensor([[1, 2], [3, 4]]), 1, torch.tensor([[0], [1]])).tolist()
        [[1], [4]]
    """
    x = tensor_argument(input, "gather", "input", 1)
    chosen = index_argument(index, "gather", 3)
    axis = axis_of(dim, x.ndim)
    shape = chosen.type.shape
    x, chosen = _with_axis(x), _with_axis(chosen)
    _check_ranks("gather", x, chosen)
    for d, (extent, available) in enumerate(zip(chosen.type.shape, x.type.shape)):
        if d != axis and extent > available:
            raise RuntimeError(
                f"Size does not match at dimension {d} expected index {list(chosen.type.shape)} to be no larger than "
                f"self {list(x.type.shape)} apart from dimension {axis}"
            )
    chosen = checked_index(chosen, x.type.shape[axis], axis, error=RuntimeError)
    x = _trimmed(x, chosen, axis)
    return exactly_returned(f.reshaped(s.gather(x, chosen, params=(axis,)), shape), out)


def _check_ranks(function: str, x: Node, index: Node) -> None:
    if x.ndim != index.ndim:
        raise RuntimeError("Index tensor must have the same number of dimensions as input tensor")


def _trimmed(x: Node, index: Node, axis: int) -> Node:
    """``x`` cut to the sizes of ``index`` beside ``axis``."""
    for d, extent in enumerate(index.type.shape):
        if d != axis:
            x = f.axis_slice(x, d, 0, extent)
    return x


def take_along_dim(input: Tensor, indices: Tensor, dim: int | None = None, *, out: Tensor | None = None) -> Tensor:
    """As :func:`gather`, but shapes broadcast beside ``dim``; without ``dim`` from the flattened tensor.

    With ``dim`` an index beyond the axis counts on from its other end. As ``torch.take_along_dim``.

    Example:
        >>> import flamework as torch
        >>> x = torch.tensor([[3, 1, 2]])
        >>> torch.take_along_dim(x, torch.argsort(x, dim=1), 1).tolist()
        [[1, 2, 3]]
    """
    index = index_argument(indices, "take_along_dim", 2)
    if dim is None:
        if known(index):
            checked_index(index, input.numel(), error=RuntimeError)
        return gather(input.reshape(-1), 0, indices.reshape(-1), out=out)
    axis = axis_of(dim, input.ndim)
    if input.ndim != indices.ndim:
        raise RuntimeError(
            "torch.take_along_dim(): input and indices should have the same number of dimensions, but got "
            f"{input.ndim} dimensions for input, and {indices.ndim} dimensions for indices"
        )
    size = input.shape[axis]
    if index.type.size and not (known(index) and bounds(index)[0] >= 0 and bounds(index)[1] < size):
        indices = indices % size
    beside = broadcast_shapes(*(tuple(1 if d == axis else e for d, e in enumerate(t.shape)) for t in (input, indices)))
    shapes = ([*beside[:axis], t.shape[axis], *beside[axis + 1 :]] for t in (input, indices))
    return gather(input.expand(next(shapes)), axis, indices.expand(next(shapes)), out=out)


def take(input: Tensor, index: Tensor, *, out: Tensor | None = None) -> Tensor:
    """Elements of the flattened tensor, in the shape of ``index``; negative indices count from the end.

    As ``torch.take``.

    Example:
        >>> import flamework as torch
        >>> torch.take(torch.tensor([[1, 2], [3, 4]]), torch.tensor([0, -1])).tolist()
        [1, 4]
    """
    x = tensor_argument(input, "take", "input", 1)
    chosen = index_argument(index, "take", 2)
    size = x.type.size
    message = "out of range: tried to access index {index} on a tensor of {size} elements."
    flat = checked_index(f.reshaped(chosen, (chosen.type.size,)), size, message=message, negative=True)
    return exactly_returned(f.reshaped(s.gather(f.reshaped(x, (size,)), flat, params=(0,)), chosen.type.shape), out)


@numpy_names
def index_select(input: Tensor, dim: int, index: Tensor, *, out: Tensor | None = None) -> Tensor:
    """The positions ``index`` (a vector, or one number) along ``dim``. As ``torch.index_select``.

    Raises:
        IndexError: an index out of range, or more than one axis of indices.
        RuntimeError: an index of another axis than the first is known to be out of range.

    Example:
        >>> import flamework as torch
        >>> torch.index_select(torch.tensor([[1, 2], [3, 4]]), 0, torch.tensor([1])).tolist()
        [[3, 4]]
    """
    x = tensor_argument(input, "index_select", "input", 1)
    axis = axis_of(dim, x.ndim)
    chosen = _vector("index_select", index)
    shape = x.type.shape
    x = _with_axis(x)
    # PyTorch's two loops, over rows and within them, have an error each
    text, error = ("INDICES element is out of DATA bounds, id={index} axis_dim={size}", RuntimeError)
    if axis == 0:
        text, error = "index out of range in self", IndexError
    picked = rows_of(x, axis, checked_index(chosen, x.type.shape[axis], message=text, error=error))
    return exactly_returned(f.reshaped(picked, ()) if not shape and picked.type.size == 1 else picked, out)


def _vector(function: str, index: Tensor) -> Node:
    node = index_argument(index, function, 3)
    if node.ndim > 1:
        raise IndexError(f"{function}(): Index is supposed to be a vector")
    return _with_axis(node)


# ------------------------------------------------------------------------------------------------------------- scatter


def scatter(
    input: Tensor, dim: int, index: Tensor, src: Tensor | float | None = None, *, value: float | None = None,
    reduce: str | None = None,
) -> Tensor:
    """A copy of ``input`` with ``src`` written at ``index`` along ``dim``: the reverse of :func:`gather`.

    Args:
        src: tensor at least as large as ``index``, or a number.
        value: the number, by name.
        reduce: None to replace; ``"add"`` or ``"multiply"`` to combine with what is there.

    Raises:
        RuntimeError: an index out of range, sizes that do not fit, or different dtypes.

    As ``torch.scatter``.

    Example:
        >>> import flamework as torch
        >>> torch.scatter(torch.zeros(3), 0, torch.tensor([2, 0]), torch.tensor([1.0, 5.0])).tolist()
        [5.0, 0.0, 1.0]
    """
    modes = {None: "set", "add": "add", "multiply": "mul"}
    if reduce not in modes:
        raise RuntimeError("reduce argument must be either add or multiply.")
    source = src if value is None else value
    if source is None:
        raise TypeError("scatter() needs src or value")
    return _scattered("scatter", input, dim, index, source, modes[reduce])


def scatter_add(input: Tensor, dim: int, index: Tensor, src: Tensor) -> Tensor:
    """A copy of ``input`` with ``src`` added at ``index`` along ``dim``. As ``torch.scatter_add``.

    Example:
        >>> import flamework as torch
        >>> torch.scatter_add(torch.zeros(2), 0, torch.tensor([1, 1]), torch.tensor([1.0, 5.0])).tolist()
        [0.0, 6.0]
    """
    tensor_argument(src, "scatter_add", "src", 4)
    return _scattered("scatter_add", input, dim, index, src, "add")


def _scattered(function: str, input: Tensor, dim: int, index: Tensor, source: Tensor | float, mode: str) -> Tensor:
    base = tensor_argument(input, function, "input", 1)
    chosen = index_argument(index, function, 3)
    axis = axis_of(dim, base.ndim)
    if chosen.type.size == 0:
        return tensor_of(s.copy(base))
    shape = base.type.shape
    x, chosen = _with_axis(base), _with_axis(chosen)
    if isinstance(source, Tensor):
        new = _with_axis(node_of(source))
        if new.type.dtype is not x.type.dtype:
            raise RuntimeError("scatter(): Expected self.dtype to be equal to src.dtype")
        _check_ranks(function, x, chosen)
        if new.ndim != chosen.ndim:
            raise RuntimeError("Index tensor must have the same number of dimensions as src tensor")
        _check_scatter_sizes(x, chosen, axis, new)
        new = _trimmed(f.axis_slice(new, axis, 0, chosen.type.shape[axis]), chosen, axis)
    else:
        _check_ranks(function, x, chosen)
        _check_scatter_sizes(x, chosen, axis, None)
        new = scalar_node(plain_number(source), _typed_like(chosen, x.type.dtype))
    chosen = checked_index(chosen, x.type.shape[axis], axis, error=RuntimeError)
    block = _trimmed(x, chosen, axis)
    written = s.scatter(block, chosen, new, params=(axis, mode))
    if block is not x:
        zeros = (0,) * x.ndim
        written = s.update(x, written, params=(zeros, (1,) * x.ndim))
    return tensor_of(f.reshaped(written, shape))


def _typed_like(index: Node, dtype: DType) -> TensorType:
    return tensor_type(index.type.shape, dtype, index.type.device)


def _check_scatter_sizes(x: Node, index: Node, axis: int, new: Node | None) -> None:
    sizes = index.type.shape
    beside = all(d == axis or e <= have for d, (e, have) in enumerate(zip(sizes, x.type.shape)))
    within = new is None or all(e <= have for e, have in zip(sizes, new.type.shape))
    if not beside or not within:
        of_source = "" if new is None else f" and to be no larger size than src {list(new.type.shape)}"
        raise RuntimeError(
            f"Expected index {list(sizes)} to be no larger than self {list(x.type.shape)} apart from dimension {axis}"
            f"{of_source}"
        )


def index_add(
    input: Tensor, dim: int, index: Tensor, source: Tensor, *, alpha: float = 1, out: Tensor | None = None
) -> Tensor:
    """A copy of ``input`` with ``alpha * source`` added at the positions ``index`` along ``dim``.

    As ``torch.index_add``.

    Example:
        >>> import flamework as torch
        >>> torch.index_add(torch.zeros(2), 0, torch.tensor([1, 1]), torch.tensor([1.0, 5.0])).tolist()
        [0.0, 6.0]
    """
    x, axis, chosen, new = _row_arguments("index_add", input, dim, index, source)
    if alpha != 1:
        new = p.mul(new, f.argument(new, alpha))
    if x.ndim > 1:
        chosen = checked_index(chosen, x.type.shape[axis], axis, error=RuntimeError)
    else:
        chosen = checked_index(chosen, x.type.shape[axis], message="index out of range in self")
    return exactly_returned(f.reshaped(written_rows(x, axis, chosen, new, "add"), input.shape), out)


def index_copy(input: Tensor, dim: int, index: Tensor, source: Tensor, *, out: Tensor | None = None) -> Tensor:
    """A copy of ``input`` with ``source`` written at the positions ``index`` along ``dim``. As ``torch.index_copy``.

    Example:
        >>> import flamework as torch
        >>> torch.index_copy(torch.zeros(3), 0, torch.tensor([2, 0]), torch.tensor([1.0, 5.0])).tolist()
        [5.0, 0.0, 1.0]
    """
    x, axis, chosen, new = _row_arguments("index_copy", input, dim, index, source)
    chosen = checked_index(chosen, x.type.shape[axis], axis, message="index_copy_(): " + OUT_OF_RANGE)
    return exactly_returned(f.reshaped(written_rows(x, axis, chosen, new, "set"), input.shape), out)


def _row_arguments(function: str, input: Tensor, dim: int, index: Tensor, source: Tensor):
    x = tensor_argument(input, function, "input", 1)
    axis = axis_of(dim, x.ndim)
    chosen = _vector(function, index)
    new = tensor_argument(source, function, "source", 4)
    if new.type.dtype is not x.type.dtype:
        raise RuntimeError(f"{function}_(): self and source expected to have the same dtype, but got (self) "
                           f"{scalar_type(x.type.dtype)} and (source) {scalar_type(new.type.dtype)}")
    x, new = _with_axis(x), _with_axis(new)
    if new.ndim != x.ndim or new.type.shape[axis] != chosen.type.size:
        raise RuntimeError(
            f"{function}_(): Number of indices ({chosen.type.size}) should be equal to source.size(dim): "
            f"({new.type.shape[axis] if axis < new.ndim else 1}), for dim: {axis}"
        )
    for d, (extent, available) in enumerate(zip(new.type.shape, x.type.shape)):
        if d != axis and extent != available:
            raise RuntimeError(
                f"{function}_(): source and self must have the same sizes beside dimension {axis}, but have "
                f"{list(new.type.shape)} and {list(x.type.shape)}"
            )
    return x, axis, chosen, new


def index_fill(input: Tensor, dim: int, index: Tensor, value: float | Tensor) -> Tensor:
    """A copy of ``input`` with ``value`` at the positions ``index`` along ``dim``; negative ones count from the end.

    As ``torch.index_fill``.

    Example:
        >>> import flamework as torch
        >>> torch.index_fill(torch.zeros(3), 0, torch.tensor([0, 2]), 7).tolist()
        [7.0, 0.0, 7.0]
    """
    x = tensor_argument(input, "index_fill", "input", 1)
    axis = axis_of(dim, x.ndim)
    shape = x.type.shape
    chosen = _vector("index_fill", index)
    x = _with_axis(x)
    chosen = checked_index(chosen, x.type.shape[axis], axis, negative=True)
    block = f.axis_slice(x, axis, 0, 0)
    target = (*x.type.shape[:axis], chosen.type.size, *x.type.shape[axis + 1 :])
    new = _fill_value("index_fill_", value, f.filled(target, block.type.dtype, block.type.device, 0))
    return tensor_of(f.reshaped(written_rows(x, axis, chosen, new, "set"), shape))


def _fill_value(function: str, value: float | Tensor, like: Node) -> Node:
    """A number or a tensor without axes as a node of the type of ``like``."""
    if isinstance(value, Tensor):
        node = node_of(value)
        if node.ndim:
            raise RuntimeError(
                f"{function} only supports a 0-dimensional value tensor, but got tensor with {node.ndim} dimension(s)."
            )
        return f.broadcast_to(f.converted(node, like.type.dtype), like.type.shape)
    number = plain_number(value)
    if number is None:
        raise TypeError(f"{function}(): argument 'value' must be Number, not {type(value).__name__}")
    return f.argument(like, number)


def put(input: Tensor, index: Tensor, source: Tensor, accumulate: bool = False) -> Tensor:
    """A copy of ``input`` with ``source`` written, or added, at positions of the flattened tensor. As ``torch.put``.

    Example:
        >>> import flamework as torch
        >>> torch.put(torch.zeros(2, 2), torch.tensor([0, -1]), torch.tensor([5.0, 6.0])).tolist()
        [[5.0, 0.0], [0.0, 6.0]]
    """
    x = tensor_argument(input, "put_", "input", 1)
    chosen = index_argument(index, "put_", 2)
    new = tensor_argument(source, "put_", "source", 3)
    if new.type.dtype is not x.type.dtype:
        raise RuntimeError("put_(): self and source expected to have the same dtype")
    if new.type.size != chosen.type.size:
        raise RuntimeError(
            f"put_(): Expected source and index to have the same number of elements, but got source.numel() = "
            f"{new.type.size}, index.numel() = {chosen.type.size}"
        )
    message = "out of range: tried to access index {index} on a tensor of {size} elements."
    flat = checked_index(f.reshaped(chosen, (chosen.type.size,)), x.type.size, message=message, negative=True)
    mode = "add" if accumulate else "set"
    written = s.scatter(f.reshaped(x, (x.type.size,)), flat, f.reshaped(new, (new.type.size,)), params=(0, mode))
    return tensor_of(f.reshaped(written, x.type.shape))


# --------------------------------------------------------------------------------------------------------------- masks


def where(
    condition: Tensor, input: Tensor | float | None = None, other: Tensor | float | None = None, *,
    out: Tensor | None = None,
) -> Tensor | tuple[Tensor, ...]:
    """``input`` where the condition holds and ``other`` elsewhere, with broadcasting and promotion.

    With the condition alone, the positions where it is not 0, one tensor an axis. As ``torch.where``.

    Raises:
        RuntimeError: the condition is not bool, or shapes do not broadcast.

    Example:
        >>> import flamework as torch
        >>> torch.where(torch.tensor([True, False]), torch.tensor([1, 2]), 0).tolist()
        [1, 0]
    """
    test = tensor_argument(condition, "where", "condition", 1)
    if input is None and other is None:
        return nonzero(condition, as_tuple=True)
    if input is None or other is None:
        raise TypeError("where() takes the condition alone, or a condition and two values")
    if test.type.dtype is dtypes.uint8:
        test = p.ne(test, f.constant(test, 0))
    if test.type.dtype.kind != BOOL:
        raise RuntimeError(
            "where expected condition to be a boolean tensor, but got a tensor with dtype "
            f"{scalar_type(test.type.dtype)}"
        )
    if isinstance(input, Tensor) or isinstance(other, Tensor):
        a, b = operands(input, other)
    else:
        dtype = dtypes.promote(*(number_dtype(_number(v)) for v in (input, other)))
        a, b = (scalar_node(_number(v), _typed_like(test, dtype)) for v in (input, other))
    shape = broadcast_shapes(test.type.shape, a.type.shape)
    test, a, b = (f.broadcast_to(n, shape) for n in (test, a, b))
    return exactly_returned(p.where(test, a, b), out)


def _number(value: object) -> float:
    number = plain_number(value)
    if number is None:
        raise TypeError(f"where(): argument must be Tensor or a number, not {type(value).__name__}")
    return number


def mask_argument(function: str, mask: Tensor) -> Node:
    node = tensor_argument(mask, function, "mask", 2)
    if node.type.dtype.kind != BOOL:
        raise RuntimeError(
            f"{function} only supports boolean masks, but got mask with dtype {scalar_type(node.type.dtype).lower()}"
        )
    return node


def masked_select(input: Tensor, mask: Tensor, *, out: Tensor | None = None) -> Tensor:
    """The elements where ``mask`` is True, as a vector; both broadcast. Computes the mask. As ``torch.masked_select``.

    Example:
        >>> import flamework as torch
        >>> torch.masked_select(torch.tensor([1, 2, 3]), torch.tensor([True, False, True])).tolist()
        [1, 3]
    """
    x = tensor_argument(input, "masked_select", "input", 1)
    if tensor_argument(mask, "masked_select", "mask", 2).type.dtype.kind != BOOL:
        raise RuntimeError("masked_select: expected BoolTensor for mask")
    chosen = node_of(mask)
    shape = broadcast_shapes(chosen.type.shape, x.type.shape)
    positions = true_positions(f.broadcast_to(chosen, shape))
    flat = f.reshaped(f.broadcast_to(x, shape), (math.prod(shape),))
    return exactly_returned(s.gather(flat, positions, params=(0,)), out)


def true_positions(mask: Node) -> Node:
    """Where a bool node is True, as positions of the flattened node; computes it."""
    return input_node(true_coordinates(values_of(mask).reshape(-1)).reshape(-1), mask.type.device)


def masked_scatter(input: Tensor, mask: Tensor, source: Tensor) -> Tensor:
    """A copy of ``input`` in which the places where ``mask`` is True hold the elements of ``source`` in order.

    Computes the mask. As ``torch.masked_scatter``.

    Raises:
        RuntimeError: ``source`` has fewer elements than the mask has True, or another dtype.

    Example:
        >>> import flamework as torch
        >>> torch.masked_scatter(torch.zeros(3), torch.tensor([True, False, True]), torch.tensor([1.0, 2.0])).tolist()
        [1.0, 0.0, 2.0]
    """
    x = tensor_argument(input, "masked_scatter", "input", 1)
    chosen = mask_argument("masked_scatter_", mask)
    new = tensor_argument(source, "masked_scatter", "source", 3)
    if new.type.dtype is not x.type.dtype:
        raise RuntimeError(
            f"masked_scatter_: expected self and source to have same dtypes but got {scalar_type(x.type.dtype)} and "
            f"{scalar_type(new.type.dtype)}"
        )
    shape = broadcast_shapes(x.type.shape, chosen.type.shape)
    positions = true_positions(f.broadcast_to(chosen, shape))
    count = positions.type.size
    if count > new.type.size:
        raise RuntimeError("Number of elements of source < number of ones in mask")
    flat = f.reshaped(f.broadcast_to(x, shape), (math.prod(shape),))
    first = f.axis_slice(f.reshaped(new, (new.type.size,)), 0, 0, count)
    return tensor_of(f.reshaped(s.scatter(flat, positions, first, params=(0, "set")), shape))


def nonzero(input: Tensor, *, out: Tensor | None = None, as_tuple: bool = False) -> Tensor | tuple[Tensor, ...]:
    """The positions of the elements that are not 0, int64 ``[count, ndim]``; computes. As ``torch.nonzero``.

    Args:
        as_tuple: give one vector an axis instead, which can be used as an index.

    Example:
        >>> import flamework as torch
        >>> torch.nonzero(torch.tensor([0, 3, 0, 4])).tolist()
        [[1], [3]]
    """
    if as_tuple and out is not None:
        raise RuntimeError("nonzero does not support the out kwarg when as_tuple is True")
    x = tensor_argument(input, "nonzero", "input", 1)
    mask = values_of(f.cut(x) if x.type.dtype.kind == BOOL else p.ne(f.cut(x), f.constant(x, 0)))
    if as_tuple:
        found = true_coordinates(np.atleast_1d(mask), by_axis=True)
        return tuple(tensor_of(input_node(i, x.type.device)) for i in found)
    found = true_coordinates(mask) if x.ndim else np.zeros((int(mask), 0), np.int64)
    return exactly_returned(input_node(found, x.type.device), out)


def nonzero_static(input: Tensor, *, size: int, fill_value: int = -1, out: Tensor | None = None) -> Tensor:
    """The first ``size`` positions of :func:`nonzero`, and ``fill_value`` where there are fewer.

    As ``torch.nonzero_static``.

    Raises:
        RuntimeError: ``size`` is negative.

    Example:
        >>> import flamework as torch
        >>> torch.nonzero_static(torch.tensor([0, 3]), size=2).tolist()
        [[1], [-1]]
    """
    if size < 0:
        raise RuntimeError("nonzero_static: 'size' must be an non-negative integer")
    whole = node_of(nonzero(input))
    found = values_of(whole)[:size]
    padded = np.full((size, found.shape[1]), fill_value, np.int64)
    padded[: len(found)] = found
    return exactly_returned(input_node(padded, whole.type.device), out)


def argwhere(input: Tensor) -> Tensor:
    """The positions of the elements that are not 0, as :func:`nonzero`. As ``torch.argwhere``."""
    return nonzero(input)


def isin(
    elements: Tensor | float, test_elements: Tensor | float, *, assume_unique: bool = False, invert: bool = False
) -> Tensor:
    """Whether each element is among ``test_elements``; computes. As ``torch.isin``.

    Args:
        assume_unique: no element is there twice in either; lets a faster way be taken, and changes nothing else.
        invert: whether it is not among them.

    Example:
        >>> import flamework as torch
        >>> torch.isin(torch.tensor([1, 2, 3]), torch.tensor([2, 3])).tolist()
        [False, True, True]
    """
    wanted = promoted(elements, test_elements)
    if wanted.kind == COMPLEX:
        raise RuntimeError(f"Unsupported input type encountered for isin(): {wanted.scalar_name}")
    dtype = wanted.numpy
    left, right = (
        values_of(node_of(v)) if isinstance(v, Tensor) else np.asarray(v) for v in (elements, test_elements)
    )
    place = common_device([v._node.type for v in (elements, test_elements) if isinstance(v, Tensor)])
    return from_array(np.isin(left.astype(dtype), right.astype(dtype), assume_unique, invert), place)


__all__ = [
    "argwhere", "gather", "index_add", "index_copy", "index_fill", "index_select", "isin", "masked_fill",
    "masked_scatter", "masked_select", "nonzero", "nonzero_static", "put", "scatter", "scatter_add", "take",
    "take_along_dim", "where",
]
