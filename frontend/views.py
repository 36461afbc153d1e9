"""Views: tensors that show the memory of another one in a different order, shape or part.

Each function turns its arguments into one or two movement steps and calls :func:`view_of`, which appends them to the
chain of the tensor's storage. No element moves. Where PyTorch's strides make a view impossible, ``view`` raises and
``reshape`` copies.

In: a tensor. Out: a tensor that shares its storage. Read next: ``mutation.py``, which writes through views.
"""

from __future__ import annotations

import math
import operator
import weakref
from collections.abc import Sequence

from .compiler import primitives as p, primitives_shape as s
from .compiler.dtypes import DType
from .compiler.ir import Node, grad_mode
from .memory_order import arrange, arranged_like, is_plain
from .recording import _pending_tensors, broadcast_shapes as broadcast, node_of, pending, reclaim, storage_of, tensor_of
from .size import Size
from .storage import EXPORTED, Chain, Cut, Storage, find_cut, signs, view_strides, without_cut
from .tensor import (
    Creation,
    Tensor,
    axis_of,
    contiguous_in_memory,
    is_gradient_leaf,
    memory_format,
    meta_of,
    method,
    strides_of,
)

_new = Tensor.__new__
_ref = weakref.ref


def view_of(tensor: Tensor, *steps: tuple) -> Tensor:
    """A tensor that shares the storage of ``tensor`` and shows it through more steps ``(row, params)``."""
    storage = tensor._storage
    if storage is None:
        storage = storage_of(tensor)
    if storage.stamp != tensor._seen and (storage.stamp != EXPORTED or reclaim(storage)):
        node_of(tensor)
    # while the memory is exported nothing is read: the node only says what type the view has
    node = tensor._node
    chain = tensor._chain
    recorded = grad_mode.enabled
    tracked = False
    if not recorded:
        tracked = tensor.requires_grad
        if tracked:
            chain = (*without_cut(chain), (Cut(), ()))
    elif not steps and node.requires_grad:
        # a place of its own in the backward graph
        steps = ((s.reshape, node.type.shape),)
    for row, params in steps:
        node = row(node, params=params)
    view = _made(storage, chain + steps, node)
    meta = tensor._meta
    creation = None if meta is None else meta.creation
    if creation is not None:
        maker = view_name(steps) if node.requires_grad else None
        meta_of(view).creation = Creation(creation.kind, 0, maker, creation.requires_grad)
    elif not recorded:
        meta_of(view).creation = _OF_TRACKED if tracked else _OF_UNTRACKED
    return view


# How a view is made while gradients are disabled, of what requires a gradient and of what does not.
_OF_TRACKED, _OF_UNTRACKED = Creation("no_grad", 0, None, True), Creation("no_grad", 0, None, False)


def view_name(steps: Sequence[tuple]) -> str:
    """What PyTorch calls the operation that makes a view through these steps."""
    if not steps:
        return "Alias"
    rows = tuple(row for row, _ in steps)
    return "Select" if rows == (s.slice_, s.reshape) else _VIEW_NAMES.get(rows[-1], "AsStrided")


_VIEW_NAMES = {s.slice_: "Slice", s.reshape: "View", s.permute: "Permute", s.expand: "Expand", s.unfold: "Unfold"}


def made_together(parts: Sequence[Tensor], maker: str) -> tuple[Tensor, ...]:
    """The results of an operation that makes several views at once, to which autograd does not let anybody write."""
    if grad_mode.enabled and parts:
        requires_grad = parts[0].requires_grad
        made_by = maker if requires_grad else None
        for i, part in enumerate(parts):
            meta = meta_of(part)
            kind = "multi_output" if meta.creation is None else meta.creation.kind
            meta.creation = Creation(kind, i, made_by, requires_grad)
    return tuple(parts)


def _made(storage: Storage, chain: Chain, node: Node) -> Tensor:
    view = _new(Tensor)
    view._node = node
    view._storage = storage
    view._chain = chain
    view._seen = storage.serial
    view._meta = None
    if node.value is None:
        _pending_tensors.append(_ref(view))
        if len(_pending_tensors) > pending.limit:
            pending.flush()
    return view


def check_creation(tensor: Tensor, requires_grad: bool) -> None:
    """Refuse a write for which a gradient is wanted to a view that autograd does not see such writes through.

    Args:
        requires_grad: whether one is required of what is written.
    """
    meta = tensor._meta
    creation = None if meta is None else meta.creation
    if creation is None or not grad_mode.enabled or not (
        requires_grad or creation.requires_grad or tensor.requires_grad
    ):
        return
    kind, output, maker, _ = creation
    if maker is None:
        text = "A view was created in no_grad mode and"
    elif kind == "no_grad":
        text = f"Output {output} of {maker} is a view of a view which was created in no_grad mode and"
    else:
        text = f"Output {output} of {maker} is a view and"
    modified = "is being modified inplace" + ("." if text.endswith("view and") else " with grad mode enabled.")
    raise RuntimeError(f"{text} {modified} {_WHY_NOT_WRITTEN[kind]}")


_WHY_NOT_WRITTEN = {
    "multi_output":
        "This view is the output of a function that returns multiple views. Such functions do not allow the output "
        "views to be modified inplace. You should replace the inplace operation by an out-of-place one.",
    "no_grad":
        "Given that this use case is ambiguous and error-prone, it is forbidden. You can clarify your code by moving "
        "both the view and the inplace either both inside the no_grad block (if you don't want the inplace to be "
        "tracked) or both outside (if you want the inplace to be tracked).",
    "function":
        "This view was created inside a custom Function (or because an input was returned as-is) and the autograd "
        "logic to handle view+inplace would override the custom backward associated with the custom Function, leading "
        "to incorrect gradients. This behavior is forbidden. You can fix this by cloning the output of the custom "
        "Function.",
}


def become_view(tensor: Tensor, view: Tensor) -> Tensor:
    """Make ``tensor`` itself what ``view`` is: ``t_()``, ``squeeze_()`` and the like.

    Raises:
        RuntimeError: a leaf that requires a gradient, while gradients are enabled.
    """
    check_creation(tensor, False)
    leaf = is_gradient_leaf(tensor)
    if leaf and grad_mode.enabled:
        raise RuntimeError("a leaf Variable that requires grad is being used in an in-place operation.")
    hooks = find_cut(tensor._chain).hooks if leaf else None
    tensor._node = view._node
    tensor._storage = view._storage
    tensor._chain = view._chain
    tensor._seen = view._seen
    if leaf:
        # it stays the leaf: the gradient now ends after the new steps
        cut = Cut(_ref(tensor), hooks)
        tensor._node = cut(tensor._node)
        tensor._chain = (*without_cut(tensor._chain), (cut, ()))
    return tensor


# ------------------------------------------------------------------------------------------------------------ arguments


def sizes_of(sizes: tuple | list) -> tuple[int, ...]:
    """Sizes given one by one or as one sequence, as integers."""
    if len(sizes) == 1 and not hasattr(sizes[0], "__index__"):
        sizes = sizes[0]
    elif len(sizes) == 1 and isinstance(sizes[0], Tensor) and sizes[0].ndim:
        sizes = sizes[0].tolist()
    for extent in sizes:
        if extent.__class__ is not int:
            # PyTorch looks for bools at the first place only
            if sizes[0].__class__ is bool:
                raise TypeError("a size is an int, not a bool")
            return tuple(map(operator.index, sizes))
    return tuple(sizes)


def inferred_shape(shape: tuple[int, ...], size: int) -> tuple[int, ...]:
    """``shape`` with a -1 replaced so that it has ``size`` elements.

    Raises:
        RuntimeError: the sizes do not fit, with PyTorch's sentences.
    """
    known, unknown = 1, -1
    for axis, extent in enumerate(shape):
        if extent == -1:
            if unknown >= 0:
                raise RuntimeError("only one dimension can be inferred")
            unknown = axis
        elif extent < 0:
            raise RuntimeError(f"invalid shape dimension {extent} at index {axis} of shape {list(shape)}")
        else:
            known *= extent
    if unknown < 0:
        if known != size:
            raise RuntimeError(f"shape '{list(shape)}' is invalid for input of size {size}")
        return shape
    if known == 0:
        if size == 0:
            raise RuntimeError(
                f"cannot reshape tensor of 0 elements into shape {list(shape)} because the unspecified dimension "
                "size -1 can be any value and is ambiguous"
            )
        raise RuntimeError(f"shape '{list(shape)}' is invalid for input of size {size}")
    if size % known:
        raise RuntimeError(f"shape '{list(shape)}' is invalid for input of size {size}")
    return (*shape[:unknown], size // known, *shape[unknown + 1 :])


def axes_of(dims: Sequence[int], ndim: int) -> tuple[int, ...]:
    """Distinct non-negative axes. Raises RuntimeError when one is repeated."""
    axes = tuple(axis_of(d, ndim) for d in dims)
    if len(set(axes)) != len(axes):
        repeated = next(a for i, a in enumerate(axes) if a in axes[:i])
        raise RuntimeError(f"dim {repeated} appears multiple times in the list of dims")
    return axes


# --------------------------------------------------------------------------------------------------------------- shapes


@method
def view(self: Tensor, *shape: int | Sequence[int] | DType) -> Tensor:
    """The same memory with another shape, or with a dtype of the same size; as ``Tensor.view``.

    Args:
        shape: sizes, of which one may be -1, or a dtype.

    Raises:
        RuntimeError: the number of elements differs, or the strides do not allow it.

    Example:
        >>> import flamework
        >>> flamework.arange(6).view(2, -1).shape
        torch.Size([2, 3])
    """
    if len(shape) == 1 and isinstance(shape[0], DType):
        return viewed_as(self, shape[0])
    kind = self._node.type
    sizes = inferred_shape(sizes_of(shape), kind.size)
    if sizes == kind.shape:
        return view_of(self)
    if self._storage is not None and self._chain and view_strides(kind.shape, strides_of(self)[0], sizes) is None:
        raise RuntimeError(
            "view size is not compatible with input tensor's size and stride (at least one dimension spans across two "
            "contiguous subspaces). Use .reshape(...) instead."
        )
    return view_of(self, (s.reshape, sizes))


def viewed_as(tensor: Tensor, dtype: DType) -> Tensor:
    """The same memory read as another dtype."""
    own = tensor.dtype
    if tensor.requires_grad:
        # bits have no gradient
        tensor = detach(tensor)
    if dtype is own:
        return view_of(tensor)
    if tensor._storage is not None and any(signs(tensor._chain)):
        raise RuntimeError(
            "torch.Tensor.view is not supported for conjugate view tensors when converting to a different dtype."
        )
    if dtype.itemsize == own.itemsize:
        return view_of(tensor, (p.bitcast, (dtype,)))
    from .exchange import shared_array, tensor_over

    _check_sizes(tensor, dtype)
    # elements of other sizes are no movement of nodes: both tensors share the memory itself, as NumPy sees it
    return tensor_over(shared_array(tensor).view(dtype.numpy), str(tensor.device))


def _check_sizes(tensor: Tensor, dtype: DType) -> None:
    """Refuse a view as elements of another size that does not consist of whole ones. Raises RuntimeError."""
    own, why = tensor.dtype, ""
    strides, offset = strides_of(tensor)
    ratio = dtype.itemsize // own.itemsize
    if tensor.ndim == 0:
        why = "self.dim() cannot be 0{}"
    elif ratio and tensor.shape[-1] % ratio:
        why = f"self.size(-1) must be divisible by {ratio}{{}}, but got {tensor.shape[-1]}"
    elif ratio and offset % ratio:
        why = f"self.storage_offset() must be divisible by {ratio}{{}}, but got {offset}"
    elif strides[-1] != 1:
        why = f"self.stride(-1) must be 1{{}}, but got {strides[-1]}"
    elif ratio:
        axis = next((a for a, stride in enumerate(strides[:-1]) if stride % ratio), None)
        if axis is not None:
            why = f"self.stride({axis}) must be divisible by {ratio}{{}}, but got {strides[axis]}"
    if why:
        raise RuntimeError(why.format(f" to view {own.scalar_name} as {dtype.scalar_name} (different element sizes)"))


@method
def reshape(input: Tensor, *shape: int | Sequence[int]) -> Tensor:
    """A view with another shape where the strides allow it, else a copy; as ``torch.reshape``."""
    kind = input._node.type
    sizes = inferred_shape(sizes_of(shape), kind.size)
    if sizes == kind.shape:
        return view_of(input)
    if input._storage is not None and input._chain and view_strides(kind.shape, strides_of(input)[0], sizes) is None:
        return tensor_of(s.copy(s.reshape(node_of(input), params=sizes)))
    return view_of(input, (s.reshape, sizes))


@method
def view_as(self: Tensor, other: Tensor) -> Tensor:
    """``view`` with the shape of another tensor."""
    return view(self, other._node.type.shape)


@method
def reshape_as(self: Tensor, other: Tensor) -> Tensor:
    """``reshape`` with the shape of another tensor."""
    return reshape(self, other._node.type.shape)


@method
def flatten(input: Tensor, start_dim: int = 0, end_dim: int = -1) -> Tensor:
    """Merge the axes from ``start_dim`` to ``end_dim`` into one; as ``torch.flatten``."""
    shape = input._node.type.shape
    start, end = axis_of(start_dim, len(shape)), axis_of(end_dim, len(shape))
    if start > end:
        raise RuntimeError("flatten() has invalid args: start_dim cannot come after end_dim")
    if not shape:
        return reshape(input, (1,))
    if start == end:
        return input
    return reshape(input, (*shape[:start], math.prod(shape[start : end + 1]), *shape[end + 1 :]))


@method
def ravel(input: Tensor) -> Tensor:
    """All elements along one axis; as ``torch.ravel``."""
    return reshape(contiguous(input), (-1,))


@method
def unflatten(input: Tensor, dim: int, sizes: Sequence[int]) -> Tensor:
    """Split one axis into several; as ``torch.unflatten``."""
    shape = input._node.type.shape
    axis = axis_of(dim, len(shape))
    if not len(sizes):
        raise RuntimeError("unflatten: sizes must be non-empty")
    sizes = sizes_of((sizes,))
    try:
        parts = inferred_shape(sizes, shape[axis])
    except RuntimeError:
        raise RuntimeError(
            f"unflatten: Provided sizes {list(sizes)} don't multiply up to the size of dim {axis} ({shape[axis]}) "
            "in the input tensor"
        ) from None
    return view(input, (*shape[:axis], *parts, *shape[axis + 1 :]))


@method
def squeeze(input: Tensor, dim: int | Sequence[int] | None = None, *more: int) -> Tensor:
    """Drop axes of size 1, all of them or those given; as ``torch.squeeze``."""
    shape = input._node.type.shape
    if dim is None:
        kept = tuple(e for e in shape if e != 1)
    else:
        axes = axes_of(sizes_of((dim, *more)), len(shape))
        kept = tuple(e for a, e in enumerate(shape) if e != 1 or a not in axes)
    return view_of(input) if kept == shape else view_of(input, (s.reshape, kept))


@method
def unsqueeze(input: Tensor, dim: int) -> Tensor:
    """Insert an axis of size 1; as ``torch.unsqueeze``."""
    shape = input._node.type.shape
    axis = axis_of(dim, len(shape) + 1)
    return view_of(input, (s.reshape, (*shape[:axis], 1, *shape[axis:])))


@method
def expand(self: Tensor, *sizes: int | Sequence[int], implicit: bool = False) -> Tensor:
    """Repeat axes of size 1 without copying; -1 keeps a size; as ``Tensor.expand``.

    ``implicit`` says for PyTorch's tracer where the call came from and has no influence on the result, as there.

    Raises:
        RuntimeError: a size that is neither 1 nor the wanted one.
    """
    shape = self._node.type.shape
    wanted = sizes_of(sizes)
    missing = len(wanted) - len(shape)
    if missing < 0:
        raise RuntimeError(
            f"expand({type_text(self)}, size={list(wanted)}): the number of sizes provided ({len(wanted)}) must be "
            f"greater or equal to the number of dimensions in the tensor ({len(shape)})"
        )
    full = (1,) * missing + shape
    target = list(wanted)
    for axis, (old, new) in enumerate(zip(full, wanted)):
        if new == -1:
            if axis < missing:
                raise RuntimeError(
                    f"The expanded size of the tensor (-1) isn't allowed in a leading, non-existing dimension {axis}"
                )
            target[axis] = old
        elif old != new and (old != 1 or new < 0):
            raise RuntimeError(
                f"The expanded size of the tensor ({new}) must match the existing size ({old}) at non-singleton "
                f"dimension {axis}.  Target sizes: {list(wanted)}.  Tensor sizes: {list(shape)}"
            )
    steps = []
    if missing:
        steps.append((s.reshape, full))
    if tuple(target) != full:
        steps.append((s.expand, tuple(target)))
    return view_of(self, *steps)


def type_text(tensor: Tensor) -> str:
    """A tensor's type and sizes as PyTorch's messages give them: ``torch.FloatTensor{[2, 3]}``."""
    from .compiler.autodiff import tensor_class

    return f"torch.{tensor_class(tensor._node)}{{{list(tensor._node.type.shape)}}}"


@method
def expand_as(self: Tensor, other: Tensor) -> Tensor:
    """``expand`` to the shape of another tensor."""
    return expand(self, other._node.type.shape)


@method
def broadcast_to(input: Tensor, size: Sequence[int]) -> Tensor:
    """``expand`` to a shape; as ``torch.broadcast_to``."""
    return expand(input, size)


def broadcast_shapes(*shapes: Sequence[int]) -> Size:
    """The shape that tensors of all ``shapes`` broadcast to; as ``torch.broadcast_shapes``.

    Raises:
        RuntimeError: sizes that are neither equal nor 1.
    """
    full = [sizes_of((shape,)) for shape in shapes]
    for i, shape in enumerate(full[1:], 1):
        try:
            broadcast(*full[: i + 1])
        except RuntimeError:
            known = broadcast(*full[:i])
            pairs = enumerate(zip(reversed(shape), reversed(known)), 1)
            axis, extent = next((a, new) for a, (new, old) in pairs if new != 1 and old not in (1, new))
            raise RuntimeError(
                f"Attempting to broadcast a dimension of length {extent} at -{axis}! Mismatching argument at index {i} "
                f"had {shape}; but expected shape should be broadcastable to {list(known)}"
            ) from None
    return Size(broadcast(*full)) if full else Size()


# --------------------------------------------------------------------------------------------------------- permutations


def permuted(tensor: Tensor, axes: tuple[int, ...]) -> Tensor:
    return view_of(tensor) if axes == tuple(range(len(axes))) else view_of(tensor, (s.permute, axes))


@method
def permute(input: Tensor, *dims: int | Sequence[int]) -> Tensor:
    """The axes in another order; as ``torch.permute``."""
    order = sizes_of(dims)
    ndim = input._node.type.ndim
    if len(order) != ndim:
        raise RuntimeError(
            "permute(sparse_coo): number of dimensions in the tensor input does not match the length of the desired "
            f"ordering of dimensions i.e. input.dim() = {ndim} is not equal to len(dims) = {len(order)}"
        )
    axes = tuple(axis_of(d, ndim) for d in order)
    if len(set(axes)) != ndim:
        raise RuntimeError("permute(): duplicate dims are not allowed.")
    return permuted(input, axes)


@method
def transpose(input: Tensor, dim0: int, dim1: int) -> Tensor:
    """Two axes exchanged; as ``torch.transpose``."""
    ndim = input._node.type.ndim
    a, b = axis_of(dim0, ndim), axis_of(dim1, ndim)
    if a == b:
        return view_of(input)
    axes = list(range(ndim))
    axes[a], axes[b] = b, a
    return view_of(input, (s.permute, tuple(axes)))


Tensor.swapaxes = Tensor.swapdims = transpose
swapaxes = swapdims = transpose


@method
def t(input: Tensor) -> Tensor:
    """The transpose of a matrix; a tensor of fewer axes as it is; as ``torch.t``."""
    ndim = input._node.type.ndim
    if ndim > 2:
        raise RuntimeError(f"t() expects a tensor with <= 2 dimensions, but self is {ndim}D")
    return view_of(input, (s.permute, (1, 0))) if ndim == 2 else view_of(input)


@method
def movedim(input: Tensor, source: int | Sequence[int], destination: int | Sequence[int]) -> Tensor:
    """Axes moved to other positions, the rest in order; as ``torch.movedim``."""
    ndim = input._node.type.ndim
    sources = (source,) if hasattr(source, "__index__") else tuple(source)
    destinations = (destination,) if hasattr(destination, "__index__") else tuple(destination)
    if len(sources) != len(destinations):
        raise RuntimeError(
            f"movedim: Invalid source or destination dims: source ({list(sources)} dims) should contain the same "
            f"number of dims as destination ({list(destinations)} dims)"
        )
    origin, target = axes_of(sources, ndim), axes_of(destinations, ndim)
    order: list[int | None] = [None] * max(ndim, 1)
    for a, b in zip(origin, target):
        order[b] = a
    if ndim == 0:
        return view_of(input)
    rest = iter([a for a in range(ndim) if a not in origin])
    return permuted(input, tuple(next(rest) if a is None else a for a in order))


moveaxis = Tensor.moveaxis = movedim


@method
def adjoint(input: Tensor) -> Tensor:
    """The last two axes exchanged, and complex numbers conjugated; as ``torch.adjoint``."""
    if input.ndim == 0:
        return input.conj()
    if input.ndim == 1:
        raise RuntimeError("tensor.adjoint() is only supported on matrices or batches of matrices. Got 1-D tensor.")
    return transpose(input, -2, -1) if not input.is_complex() else transpose(input, -2, -1).conj()


def _transposed(self: Tensor) -> Tensor:
    """All axes in reverse order."""
    return permuted(self, tuple(range(self._node.type.ndim - 1, -1, -1)))


def _matrix_transposed(self: Tensor) -> Tensor:
    """The last two axes exchanged."""
    ndim = self._node.type.ndim
    if ndim < 2:
        raise RuntimeError(f"tensor.mT is only supported on matrices or batches of matrices. Got {ndim}-D tensor.")
    return transpose(self, -2, -1)


def _adjoint(self: Tensor) -> Tensor:
    """A matrix transposed, with complex numbers conjugated."""
    if self.ndim not in (0, 2):
        raise RuntimeError(
            f"tensor.H is only supported on matrices (2-D tensors). Got {self.ndim}-D tensor."
            + (" For batches of matrices, consider using tensor.mH" if self.ndim > 2 else "")
        )
    return self.T.conj()


Tensor.T = property(_transposed)
Tensor.H = property(_adjoint)
Tensor.mT = property(_matrix_transposed)
Tensor.mH = property(lambda self: _matrix_transposed(self).conj(), doc="The last two axes exchanged, and conjugated.")


# ---------------------------------------------------------------------------------------------------- copies, detaching


@method
def contiguous(self: Tensor, *, memory_format: memory_format = memory_format.contiguous_format) -> Tensor:
    """The tensor itself if its elements lie in index order without gaps, else a copy for which that is so.

    Args:
        memory_format: ``flamework.channels_last`` orders 4-dim tensors with the second axis innermost.
    """
    if in_format(self, memory_format):
        return self
    if memory_format.name == "preserve_format":
        raise RuntimeError("preserve memory format is unsupported by the contiguous operator")
    return clone(self, memory_format=memory_format)


def in_format(tensor: Tensor, wanted: memory_format) -> bool:
    """Whether a tensor's strides are those of a memory format."""
    if not wanted.has_rank(tensor._node.type.ndim):
        return False
    order = wanted.order(tensor._node.type.ndim)
    if order is None:
        return contiguous_in_memory(tensor)
    strides = strides_of(tensor)[0]
    expected = 1
    for axis in reversed(order):
        extent = tensor._node.type.shape[axis]
        if extent != 1 and strides[axis] != expected:
            return False
        expected *= extent
    return True


@method
def is_contiguous(self: Tensor, *, memory_format: memory_format = memory_format.contiguous_format) -> bool:
    """Whether the elements lie in memory in the order of a memory format; as ``Tensor.is_contiguous``."""
    return in_format(self, memory_format)


@method
def clone(input: Tensor, *, memory_format: memory_format = memory_format.preserve_format) -> Tensor:
    """A copy with memory of its own, through which gradients flow; as ``torch.clone``.

    Its elements lie in memory in the order of the original's, unless ``memory_format`` asks for another.
    """
    copied = tensor_of(s.copy(node_of(input)))
    if memory_format.name == "preserve_format":
        return copied if is_plain(input) else arranged_like(copied, (input,))
    order = memory_format.order(input._node.type.ndim)
    return copied if order is None else arrange(copied, order)


@method
def detach(self: Tensor) -> Tensor:
    """The same memory without the gradient history; as ``Tensor.detach``."""
    return detached(self, silent=False)


def detached(tensor: Tensor, *, silent: bool) -> Tensor:
    """The same memory above a new cut; ``silent`` hides writes to it from autograd's checks."""
    storage = storage_of(tensor)
    if storage.stamp != tensor._seen and (storage.stamp != EXPORTED or reclaim(storage)):
        node_of(tensor)
    cut = Cut(silent=silent)
    return _made(storage, (*without_cut(tensor._chain), (cut, ())), cut(tensor._node))
