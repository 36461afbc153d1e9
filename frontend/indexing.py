"""Indexing: ``x[...]`` to read and to write, with everything that PyTorch accepts between the brackets.

An index is worked off in two stages. The *basic* part (integers, slices, ``None``, ``...``) is a view: one slice and
one reshape. What remains are index tensors, one for each indexed axis; a mask stands for the positions of its true
elements (so a mask is computed at once: the result's size depends on it). The axes that they index are merged into one,
the indices into one flat index, and the result is a single gather, or scatter when writing.

Writing a single value through a mask needs no positions: it is a ``where``.

In: a tensor and an index. Out: a view or a new tensor; when writing, the same tensor with a new value. Read next:
``exchange.py``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from .arguments import type_name
from .compiler import dtypes, primitives as p, primitives_shape as s
from .compiler.batching import depends_on_lane
from .compiler.dtypes import BOOL, FLOATING
from .compiler.ir import Node, TensorType, grad_mode
from .mutation import LEAF, VIEW_OF_LEAF, assign, covers, overlaps
from .origin import warn, with_line
from .parts import rooted
from .recording import (
    broadcast_shapes,
    input_node,
    known,
    moved,
    node_of,
    observe,
    pending,
    plain_number,
    read,
    scalar_node,
    tensor_of,
)
from .runtime import engine
from .runtime.selection import true_coordinates
from .storage import written_through
from .tensor import Tensor, is_gradient_leaf, method, strides_of
from .views import broadcast_to, view_of

INVALID = "only integers, slices (`:`), ellipsis (`...`), None and long or byte Variables are valid indices (got {})"


class Selection:
    """An index, worked off: the steps of its basic part and the index tensors of the rest.

    Attributes:
        steps: movement steps from the indexed tensor to the basic view.
        shape: shape of the basic view.
        advanced: pairs of an axis of the basic view and the index or mask node that starts there.
    """

    __slots__ = ("steps", "shape", "advanced")

    def __init__(self, steps: tuple, shape: tuple[int, ...], advanced: list[tuple[int, Node]]) -> None:
        self.steps = steps
        self.shape = shape
        self.advanced = advanced


# -------------------------------------------------------------------------------------------------------------- parsing


def _as_tuple(index: Any) -> tuple:
    if isinstance(index, tuple):
        return index
    if isinstance(index, list) and len(index) < 32:
        # NumPy's old rule, which PyTorch still follows: a list of more than integers is a tuple
        if any(isinstance(e, (Tensor, list, tuple, np.ndarray, slice)) or e is None or e is Ellipsis for e in index):
            warn(
                "Using a non-tuple sequence for multidimensional indexing is deprecated; use x[tuple(seq)] instead of "
                "x[seq]",
            )
            return tuple(index)
    return (index,)


def _index_node(entry: Any, place: str) -> Node | int | bool:
    """An entry that is no slice, None or ellipsis: an integer, a bool, or the node of an index or mask."""
    if isinstance(entry, Tensor):
        kind = entry._node.type
        if kind.dtype.kind == FLOATING or kind.dtype.code not in ("i64", "i32", "u8", "b8"):
            raise IndexError("tensors used as indices must be long, int, byte or bool tensors")
        if kind.ndim == 0 and pending.level is not None and depends_on_lane(node_of(entry)):
            # the position is another for each element of a batch
            return s.converted(node_of(entry), dtypes.int64) if kind.dtype is not dtypes.bool_ else node_of(entry)
        if kind.ndim == 0:
            value = observe(entry).item()
            return bool(value) if kind.dtype.code in ("u8", "b8") else value
        if kind.device not in ("cpu", place):
            raise RuntimeError(
                f"indices should be either on cpu or on the same device as the indexed tensor ({place})"
            )
        node = moved(node_of(entry), place)
        if kind.dtype is dtypes.uint8:
            warn(
                "indexing with dtype torch.uint8 is now deprecated, please use a dtype torch.bool instead.",
            )
            return p.ne(node, p.full_like(node, 0))
        return node if kind.dtype in (dtypes.bool_, dtypes.int64) else s.converted(node, dtypes.int64)
    if isinstance(entry, (bool, np.bool_)):
        return bool(entry)
    if hasattr(entry, "__index__") and not isinstance(entry, np.ndarray):
        return entry.__index__()
    if isinstance(entry, (list, tuple, range, np.ndarray)):
        if isinstance(entry, list):
            entry = [observe(e) if isinstance(e, Tensor) else e for e in entry]
        array = np.asarray(entry)
        if array.size == 0 and array.dtype.kind == "f":
            array = array.astype(np.int64)
        if array.dtype.kind not in "biu" or array.dtype.itemsize > 8:
            raise IndexError("tensors used as indices must be long, int, byte or bool tensors")
        array = np.array(array, np.bool_ if array.dtype.kind == "b" else np.int64, order="C")
        return input_node(array, place) if array.ndim else array.item()
    raise IndexError(INVALID.format(type(entry).__name__))


def select(kind: TensorType, index: Any) -> Selection:
    """Work off an index of a tensor of a type. Indices on the CPU go where it is.

    Raises:
        IndexError: an entry that is no index, too many entries, an integer out of range, or a mask that does not fit.
        ValueError: a slice with a step below 1.
    """
    entries: list[Any] = []
    consumed, ellipsis = 0, False
    for entry in _as_tuple(index):
        if entry is None or isinstance(entry, slice):
            consumed += entry is not None
        elif entry is Ellipsis:
            ellipsis = True
        else:
            entry = _index_node(entry, kind.device)
            if isinstance(entry, Node) and entry.type.dtype is dtypes.bool_:
                consumed += entry.type.ndim
            elif not isinstance(entry, bool):
                consumed += 1
        entries.append(entry)
    shape = kind.shape
    ndim = len(shape)
    if consumed > ndim:
        if not ndim and any(type(e) is int for e in entries):
            raise IndexError(
                "invalid index of a 0-dim tensor. Use `tensor.item()` in Python or `tensor.item<T>()` in C++ to "
                "convert a 0-dim tensor to a number"
            )
        raise IndexError(f"too many indices for tensor of dimension {ndim}")

    starts, steps, counts = [], [], []
    view_shape: list[int] = []
    advanced: list[tuple[int, Node]] = []
    fill = ndim - consumed
    for entry in entries if ellipsis else (*entries, Ellipsis):
        axis = len(starts)
        if entry is None:
            view_shape.append(1)
        elif entry is Ellipsis:
            # a second ellipsis stands for nothing
            for extent in shape[axis : axis + fill]:
                starts.append(0)
                steps.append(1)
                counts.append(extent)
                view_shape.append(extent)
            fill = 0
        elif isinstance(entry, slice):
            start, step, count = slice_range(entry, shape[axis])
            starts.append(start)
            steps.append(step)
            counts.append(count)
            view_shape.append(count)
        elif isinstance(entry, bool):
            advanced.append((len(view_shape), input_node(np.zeros(1 if entry else 0, np.int64), kind.device)))
            view_shape.append(1)
        elif isinstance(entry, int):
            extent = shape[axis]
            if not -extent <= entry < extent:
                raise IndexError(f"index {entry} is out of bounds for dimension {axis} with size {extent}")
            starts.append(entry % extent)
            steps.append(1)
            counts.append(1)
        else:
            covered = entry.type.ndim if entry.type.dtype is dtypes.bool_ else 1
            advanced.append((len(view_shape), entry))
            if entry.type.dtype is dtypes.bool_:
                for k in range(covered):
                    if entry.type.shape[k] != shape[axis + k]:
                        raise IndexError(
                            f"The shape of the mask {list(entry.type.shape)} at index {k} does not match the shape of "
                            f"the indexed tensor {list(shape)} at index {axis + k}"
                        )
            for extent in shape[axis : axis + covered]:
                starts.append(0)
                steps.append(1)
                counts.append(extent)
                view_shape.append(extent)
    moves = []
    if tuple(counts) != shape:
        moves.append((s.slice_, (tuple(starts), tuple(steps), tuple(counts))))
    if view_shape != counts:
        moves.append((s.reshape, tuple(view_shape)))
    return Selection(tuple(moves), tuple(view_shape), advanced)


def slice_range(entry: slice, extent: int) -> tuple[int, int, int]:
    """Start, step and count of a slice of an axis. Raises ValueError for a step below 1."""
    if entry.step is not None and entry.step.__index__() <= 0:
        raise ValueError("step must be greater than zero")
    start, stop, step = entry.indices(extent)
    count = max(0, -(-(stop - start) // step))
    return start, (step if count > 1 else 1), count


# -------------------------------------------------------------------------------------------------------- index tensors


def positions(mask: Node) -> list[Node]:
    """The indices of a mask's true elements, one node for each axis. Computes the mask."""
    return [input_node(found, mask.type.device) for found in true_coordinates(read(mask), by_axis=True)]


MANY = 1 << 16  # indices whose smallest and largest a kernel finds sooner than NumPy


def bounds(index: Node) -> tuple[int, int]:
    """The smallest and the largest element of a computed node that has elements."""
    axes = tuple(range(index.type.ndim))
    if index.type.size < MANY or engine.refuse is not None:
        values = read(index)
        return int(values.min()), int(values.max())
    low, high = s.reduce_min(index, params=axes), s.reduce_max(index, params=axes)
    engine.realize([low, high])
    return int(read(low)), int(read(high))


def checked_index(index: Node, extent: int, axis: int) -> Node:
    """Indices in ``[-extent, extent)`` as indices in ``[0, extent)``.

    Values that are known already are checked now, others where they are used.

    Raises:
        IndexError: one is out of range.
    """
    if index.type.size == 0:
        return index
    if extent == 0:
        raise IndexError("index is out of bounds for dimension with size 0")
    if known(index):
        low, high = bounds(index)
        if low < -extent or high >= extent:
            raise IndexError(
                f"index {low if low < -extent else high} is out of bounds for dimension {axis} with size {extent}"
            )
        if low >= 0:
            return index
    return with_line(p.wrap_index(index, scalar_node(extent, index.type)))


class Located:
    """Index tensors on the axes of a value, merged into one flat index.

    The value is seen as ``(before, extent, after)``: ``arranged`` brings it into that shape, and ``index`` has shape
    ``(before, count, after)`` with positions in the middle axis.

    Attributes:
        shape: shape of what the index selects.
    """

    def __init__(self, shape: tuple[int, ...], axes: Sequence[int], indices: Sequence[Node]) -> None:
        try:
            common = broadcast_shapes(*[i.type.shape for i in indices])
        except RuntimeError:
            raise IndexError(
                "shape mismatch: indexing tensors could not be broadcast together with shapes "
                + ", ".join(str(list(i.type.shape)) for i in indices)
            ) from None
        flat: Node | None = None
        for axis, index in zip(axes, indices):
            index = s.broadcast_to(checked_index(index, shape[axis], axis), common)
            if flat is not None:
                # row-major: each further axis counts within the ones before
                index = p.add(p.mul(flat, scalar_node(shape[axis], flat.type)), index)
            flat = index
        adjacent = list(axes) == list(range(axes[0], axes[0] + len(axes)))
        rest = [a for a in range(len(shape)) if a not in axes]
        # separated index tensors put their axes in front, adjacent ones stay where they are
        first = axes[0] if adjacent else 0
        self.order = (*rest[:first], *axes, *rest[first:])
        before, after = [shape[a] for a in rest[:first]], [shape[a] for a in rest[first:]]
        self.view = (math.prod(before), math.prod(shape[a] for a in axes), math.prod(after))
        self.permuted_shape = tuple(shape[a] for a in self.order)
        self.shape = (*before, *common, *after)
        count = math.prod(common)
        self.block = (self.view[0], count, self.view[2])
        self.index = s.expanded(s.reshaped(flat, (1, count, 1)), self.block)

    def arranged(self, value: Node) -> Node:
        return s.reshaped(s.permuted(value, self.order), self.view)

    def restored(self, value: Node) -> Node:
        return s.permuted(s.reshaped(value, self.permuted_shape), s.inverse_permutation(self.order))

    def take(self, value: Node) -> Node:
        """The selected elements of ``value``, of shape ``shape``."""
        return s.reshaped(s.gather(self.arranged(value), self.index, params=(1,)), self.shape)

    def put(self, value: Node, new: Node, mode: str = "set") -> Node:
        """``value`` with the selected elements replaced by ``new``, of shape ``shape``, or added to."""
        written = s.scatter(self.arranged(value), self.index, s.reshaped(new, self.block), params=(1, mode))
        return self.restored(written)


def located(shape: tuple[int, ...], advanced: Sequence[tuple[int, Node]]) -> Located:
    axes: list[int] = []
    indices: list[Node] = []
    for axis, index in advanced:
        if index.type.dtype.kind == BOOL:
            for k, found in enumerate(positions(index)):
                axes.append(axis + k)
                indices.append(found)
        else:
            axes.append(axis)
            indices.append(index)
    return Located(shape, axes, indices)


# -------------------------------------------------------------------------------------------------------------- reading


@method
def __getitem__(self: Tensor, index: Any) -> Tensor:
    result = _read(self, index)
    if grad_mode.enabled and result._node.requires_grad:
        result._node.name = _READ_BY.get(index.__class__) or f"{_read_by(index)}Backward0"
    return result


_READ_BY = {int: "SelectBackward0", slice: "SliceBackward0"}


def _read_by(index: Any) -> str:
    """What PyTorch calls the last of the operations that an index stands for."""
    items = index if isinstance(index, tuple) else (index,)
    last = "Alias"
    for item in items:
        if item is None:
            last = "Unsqueeze"
        elif isinstance(item, slice):
            last = last if item == slice(None) else "Slice"
        elif item is not Ellipsis:
            if isinstance(item, bool) or not hasattr(item, "__index__") or getattr(item, "ndim", 0):
                return "Index"
            last = "Select"
    return last


def _read(self: Tensor, index: Any) -> Tensor:
    shape = self._node.type.shape
    cls = index.__class__
    if shape:
        # the two commonest indices, one integer and one slice, without the general machinery
        if cls is int:
            extent = shape[0]
            if not -extent <= index < extent:
                raise IndexError(f"index {index} is out of bounds for dimension 0 with size {extent}")
            rest = shape[1:]
            if extent == 1:
                return view_of(self, (s.reshape, rest))
            start = index + extent if index < 0 else index
            zeros, ones = (0,) * len(rest), (1,) * len(shape)
            return view_of(self, (s.slice_, ((start, *zeros), ones, (1, *rest))), (s.reshape, rest))
        if cls is slice:
            start, step, count = slice_range(index, shape[0])
            if count == shape[0]:
                return view_of(self)
            rest = shape[1:]
            zeros = (0,) * len(rest)
            return view_of(self, (s.slice_, ((start, *zeros), (step,) + (1,) * len(rest), (count, *rest))))
    selection = select(self._node.type, index)
    if not selection.advanced:
        return view_of(self, *selection.steps)
    node = node_of(self)
    for row, params in selection.steps:
        node = row(node, params=params)
    return tensor_of(located(selection.shape, selection.advanced).take(node))


# -------------------------------------------------------------------------------------------------------------- writing


@method
def __setitem__(self: Tensor, index: Any, value: Any) -> None:
    kind = self._node.type
    selection = select(kind, index)
    if not isinstance(value, Tensor) and plain_number(value) is None:
        from .compiler.autodiff import tensor_class

        raise TypeError(f"can't assign a {type_name(value)} to a torch.{tensor_class(self._node)}")
    if selection.advanced:
        _write_selected(self, selection, value, "set")
        return
    if grad_mode.enabled and is_gradient_leaf(self):
        raise RuntimeError(VIEW_OF_LEAF)
    if self._storage is None:
        # nobody shares the memory, so that no view is needed to write through
        part = self._node
        for row, params in selection.steps:
            part = row(part, params=params)
        new = _assigned(value, part)
        whole = written_through(selection.steps, self._node, new) if selection.steps else new
        assign(self, whole, replaces=covers(selection.steps))
        return
    target = view_of(self, *selection.steps)
    assign(target, _assigned(value, target._node), replaces=True)


def _assigned(value: Tensor | float, part: Node) -> Node:
    """``value`` as a new value of ``part``: cast and broadcast, leading axes of size 1 dropped."""
    kind = part.type
    if not isinstance(value, Tensor):
        return scalar_node(plain_number(value), kind)
    node = moved(node_of(value), kind.device)
    shape = node.type.shape
    while len(shape) > kind.ndim and shape[0] == 1:
        shape = shape[1:]
    missing = kind.ndim - len(shape)
    if missing < 0 or any(a != b and a != 1 for a, b in zip(shape, kind.shape[missing:])):
        if missing < 0:
            raise RuntimeError(
                f"expand({node.type.dtype.scalar_name}, size={list(kind.shape)}): the number of sizes provided "
                f"({kind.ndim}) must be greater or equal to the number of dimensions in the tensor ({len(shape)})"
            )
        axis = next(i for i, (a, b) in enumerate(zip(shape, kind.shape[missing:])) if a != b and a != 1)
        raise RuntimeError(
            f"The expanded size of the tensor ({kind.shape[missing + axis]}) must match the existing size "
            f"({shape[axis]}) at non-singleton dimension {missing + axis}.  Target sizes: {list(kind.shape)}.  Tensor "
            f"sizes: {list(shape)}"
        )
    copied = s.copy(node) if node.type.dtype is kind.dtype else p.cast(node, params=(kind.dtype,))
    return s.broadcast_to(s.reshaped(copied, shape), kind.shape)


def _source(value: Tensor | float, target: Node) -> Node:
    """The values of an index assignment, which have the dtype of the target."""
    if not isinstance(value, Tensor):
        return scalar_node(plain_number(value), _scalar_type(target))
    node = node_of(value)
    if node.ndim == 0 and node.type.device == "cpu":
        node = moved(node, target.type.device)
    if node.type.dtype is not target.type.dtype:
        raise RuntimeError(
            "Index put requires the source and destination dtypes match, got "
            f"{target.type.dtype.scalar_name} for the destination and {node.type.dtype.scalar_name} for "
            "the source."
        )
    return s.copy(node)


def _scalar_type(node: Node):
    from .compiler.ir import tensor_type

    return tensor_type((), node.type.dtype, node.type.device)


def _put(target: Node, selection: Selection, value: Tensor | float, mode: str) -> Node:
    """The value of the basic view after writing ``value`` to the elements that the index tensors select."""
    new = _source(value, target)
    if mode == "set" and len(selection.advanced) == 1:
        axis, mask = selection.advanced[0]
        if mask.type.dtype.kind == BOOL:
            rest = target.type.ndim - axis - mask.type.ndim
            shape = new.type.shape
            while len(shape) > rest and shape[0] == 1:
                shape = shape[1:]
            # the value does not depend on how many elements the mask selects, if it broadcasts without that axis
            fits = axis == 0 or not shape
            if fits and len(shape) <= rest and all(
                a in (1, b) for a, b in zip(shape, target.type.shape[target.type.ndim - len(shape) :])
            ):
                everywhere = s.broadcast_to(
                    s.reshaped(mask, (1,) * axis + mask.type.shape + (1,) * rest), target.type.shape
                )
                return p.where(everywhere, s.broadcast_to(s.reshaped(new, shape), target.type.shape), target)
    where = located(selection.shape, selection.advanced)
    return where.put(target, _broadcast_source(new, where.shape), mode)


def _broadcast_source(new: Node, target: tuple[int, ...]) -> Node:
    """Values as the shape of what is selected. Raises RuntimeError when they do not broadcast to it."""
    shape = new.type.shape
    while len(shape) > len(target) and shape[0] == 1:
        shape = shape[1:]
    missing = len(target) - len(shape)
    if missing < 0 or any(a not in (1, b) for a, b in zip(shape, target[missing:])):
        raise RuntimeError(
            f"shape mismatch: value tensor of shape {list(new.type.shape)} cannot be broadcast to indexing result of "
            f"shape {list(target)}"
        )
    return s.broadcast_to(s.reshaped(new, shape), target)


def _write_selected(tensor: Tensor, selection: Selection, value: Tensor | float, mode: str) -> None:
    target = view_of(tensor, *selection.steps) if selection.steps else tensor
    if not overlaps(target):
        assign(target, _put(node_of(target), selection, value, mode))
        return
    warn(
        "Use of index_put_ on expanded tensors is deprecated. Please clone() the tensor before performing this "
        "operation. This also applies to advanced indexing e.g. tensor[indices] = tensor",
    )
    # several elements of the target are one in memory: only those that are selected may be written
    where = located(selection.shape, selection.advanced)
    strides, offset = strides_of(target)
    memory = s.strided_index(selection.shape, strides, offset, target._node.type.device)
    new = _broadcast_source(_source(value, target._node), where.shape)
    root = rooted(target)
    base, count = node_of(root), math.prod(where.shape)
    written = s.scatter(
        s.reshaped(base, (base.type.size,)), s.reshaped(where.take(memory), (count,)), s.reshaped(new, (count,)),
        params=(0, mode),
    )
    assign(root, s.reshaped(written, base.type.shape))


def _indices(input: Tensor, indices: Sequence[Tensor | None]) -> Selection:
    return select(input._node.type, tuple(slice(None) if i is None else i for i in indices))


@method
def index_put_(
    self: Tensor, indices: Sequence[Tensor | None], values: Tensor, accumulate: bool = False
) -> Tensor:
    """Write ``values`` where index tensors point, or add them there; as ``Tensor.index_put_``.

    Args:
        indices: one index or mask tensor for each axis from the first on; None for an axis that is not indexed.
        accumulate: add, also several times to one element; without it the last value stays.
    """
    _write_selected(self, _indices(self, indices), values, "add" if accumulate else "set")
    return self


@method
def index_put(
    self: Tensor, indices: Sequence[Tensor | None], values: Tensor, accumulate: bool = False
) -> Tensor:
    """As :func:`index_put_`, out of place."""
    return tensor_of(_put(node_of(self), _indices(self, indices), values, "add" if accumulate else "set"))


def _masked(input: Tensor, mask: Tensor, value: Tensor | float) -> Node:
    if not isinstance(mask, Tensor) or mask.dtype is not dtypes.bool_:
        got = mask.dtype if isinstance(mask, Tensor) else type(mask).__name__
        raise RuntimeError(f"masked_fill_ only supports boolean masks, but got mask with dtype {got}")
    node = node_of(input)
    kind = node.type
    if isinstance(value, Tensor):
        if value._node.type.ndim:
            raise RuntimeError(
                "masked_fill_ only supports a 0-dimensional value tensor, but got tensor with "
                f"{value._node.type.ndim} dimension(s)."
            )
        new = s.converted(node_of(value), kind.dtype)
        if new.type.device == "cpu":
            new = moved(new, kind.device)
    else:
        new = None
    shape = broadcast_shapes(kind.shape, mask._node.type.shape)
    node = s.broadcast_to(node, shape)
    filled = scalar_node(plain_number(value), node.type) if new is None else s.broadcast_to(new, shape)
    return p.where(s.broadcast_to(node_of(mask), shape), filled, node)


@method
def masked_fill(self: Tensor, mask: Tensor, value: Tensor | float) -> Tensor:
    """``value`` where ``mask`` (broadcast) is true, this tensor elsewhere; as ``Tensor.masked_fill``."""
    return tensor_of(_masked(self, mask, value))


@method
def masked_fill_(self: Tensor, mask: Tensor, value: Tensor | float) -> Tensor:
    """As :func:`masked_fill`, in place; the mask broadcasts to the tensor."""
    if grad_mode.enabled and is_gradient_leaf(self):
        raise RuntimeError(LEAF)
    if overlaps(self):
        self[broadcast_to(mask, self._node.type.shape)] = value
        return self
    return assign(self, _masked(self, mask, value))
