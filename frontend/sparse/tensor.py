"""The sparse tensor: coordinates, values, and a size.

A :class:`SparseTensor` holds two dense tensors: an index of int64, ``[sparse_dim, nnz]``, whose columns are
coordinates, and values, ``[nnz, *dense]``, of which each belongs to one column. Coordinates may come several times;
their values add up. Where they lie is known as soon as a sparse tensor is made: what an operation does to the pattern
is computed at once, with NumPy, and what it does to the values is recorded like everything else, so that gradients flow
through values.

Its class is a ``Tensor``, but it has no node: whatever reads a tensor as a dense one meets :class:`SparseOperand`.

In: indices and values. Out: a sparse tensor, its coalesced form, its dense form, its text. Read next: ``methods.py``.
"""

from __future__ import annotations

import functools
import math
import operator
import weakref
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..compiler import dtypes
from ..compiler.dtypes import FLOATING, DType
from ..compiler.ir import grad_mode
from ..compiler.primitives import Undefined
from ..creation import as_tensor, zeros
from ..device import device
from ..gathering import index_add, index_select
from ..grad_mode import no_grad
from ..gradient_hooks import GradFunction
from ..mutation import write_out
from ..printing import format_sparse
from ..recording import from_array, get_default_dtype, node_of, observe
from ..size import Size
from ..tensor import SparseOperand, Tensor, layout, sparse_coo, sparse_functions

_new = Tensor.__new__


def _no_node(tensor: SparseTensor) -> Any:
    raise SparseOperand()


class SparseTensor(Tensor):
    """A tensor whose elements are zero except at some coordinates; made by :func:`flamework.sparse_coo_tensor`.

    Attributes:
        _index: the coordinates, int64 of ``[sparse_dim, nnz]``.
        _value: what is there, of ``[nnz, *dense]``; it carries the gradient.
        _extents: the size.
        _is_coalesced: whether every coordinate comes once, and in order.
        _step: what PyTorch calls the operation that made it, in its text.
        _checked: the version of the index at which its coordinates were last seen to be inside of the size.
        _gradient: what has been accumulated in a leaf.
    """

    __slots__ = ("_index", "_value", "_extents", "_is_coalesced", "_step", "_checked", "_gradient")

    _index: Tensor
    _value: Tensor
    _extents: Size
    _is_coalesced: bool
    _step: str | None
    _checked: int
    _gradient: SparseTensor | None

    _node = _storage = _seen = _chain = _meta = property(_no_node)
    is_sparse = True

    @property
    def shape(self) -> Size:
        return self._extents

    @property
    def dtype(self) -> DType:
        return self._value.dtype

    @property
    def device(self) -> device:
        return self._value.device

    @property
    def ndim(self) -> int:
        return len(self._extents)

    @property
    def itemsize(self) -> int:
        """Size of one element in bytes."""
        return self._value.itemsize

    @property
    def layout(self) -> layout:
        """``flamework.sparse_coo``."""
        return sparse_coo

    @property
    def is_cpu(self) -> bool:
        return self._value.is_cpu

    @property
    def is_cuda(self) -> bool:
        return self._value.is_cuda

    @property
    def is_leaf(self) -> bool:
        """Whether gradients end here."""
        return self._value.is_leaf

    @property
    def _version(self) -> int:
        """How often the values were written to."""
        return self._value._version

    @property
    def requires_grad(self) -> bool:
        """Whether operations on this tensor are tracked for gradients."""
        return self._value.requires_grad

    @requires_grad.setter
    def requires_grad(self, requires_grad: bool) -> None:
        requires_grad_(self, requires_grad)

    @property
    def grad_fn(self) -> GradFunction | None:
        """The place of the values in the backward graph; None for leaves."""
        return self._value.grad_fn

    @property
    def grad(self) -> SparseTensor | None:
        """The gradient accumulated by ``backward``, a sparse tensor with the same coordinates, or None."""
        return self._gradient

    @grad.setter
    def grad(self, grad: SparseTensor | None) -> None:
        if grad is not None:
            if not isinstance(grad, SparseTensor):
                raise TypeError(f"assigned grad expected to be a sparse Tensor or None but got {type(grad).__name__}")
            if grad.shape != self.shape or grad.dtype is not self.dtype:
                raise RuntimeError("assigned grad has data of a different size or dtype")
        self._gradient = grad

    @grad.deleter
    def grad(self) -> None:
        self._gradient = None

    @property
    def data(self) -> SparseTensor:
        """The same elements without the gradient history."""
        return made(self._index, self._value.detach(), self._extents, self._is_coalesced)

    def __hash__(self) -> int:
        return id(self)

    def __repr__(self) -> str:
        step = None if self.is_leaf else self._step or "SparseCooTensorWithDimsAndTensors"
        values = observe(self._value.detach())
        return format_sparse(
            observe(self._index), values.astype(np.float32) if self.dtype is dtypes.bfloat16 else values, self._extents,
            self.dtype.name, get_default_dtype().name, requires_grad=self.requires_grad,
            grad_fn=step and (step if step[-1].isdigit() else f"{step}Backward0"),
            device=None if self.is_cpu else str(self.device),
        )

    def __format__(self, spec: str) -> str:
        return object.__format__(self, spec)


class DenseOperand(Undefined):
    """A dense tensor was given to an operation on sparse ones."""

    def __init__(self, name: str) -> None:
        super().__init__(f"Could not run 'aten::{name}' with arguments from the 'CPU' backend: it takes no dense one")


def supported(*names: str, mixed: bool = False) -> Callable[[Callable], Callable]:
    """Let a function take sparse tensors under a name of ``torch``, and be the method of that name.

    Args:
        mixed: whether the first argument may be dense, if another one is sparse.
    """

    def install(function: Callable) -> Callable:
        for name in names or (function.__name__,):
            sparse_functions[name] = _called(function, name, mixed)
            setattr(SparseTensor, name, function)
        return function

    return install


def _called(function: Callable, name: str, mixed: bool) -> Callable:
    @functools.wraps(function)
    def call(*args: Any, **options: Any) -> Any:
        if not args and "input" in options:
            args = (options.pop("input"),)
        out = options.pop("out", None)
        if not (any(isinstance(arg, SparseTensor) for arg in args[: None if mixed else 1]) or (mixed and out is None)):
            raise SparseOperand(name)
        result = function(*args, **options)
        if out is None:
            return result
        if isinstance(out, SparseTensor) is not isinstance(result, SparseTensor):
            raise SparseOperand(f"{name}.out")
        return written(out, result)

    return call


def method(*names: str) -> Callable[[Callable], Callable]:
    """Install a function as a method of sparse tensors alone."""

    def install(function: Callable) -> Callable:
        for name in names or (function.__name__,):
            setattr(SparseTensor, name, function)
        return function

    return install


# --------------------------------------------------------------------------------------------------------------- making


def made(
    index: Tensor | np.ndarray, value: Tensor, extents: Sequence[int], is_coalesced: bool = False,
    step: str | None = None,
) -> SparseTensor:
    """A sparse tensor of parts that nobody else changes, whose coordinates are known to be right."""
    tensor = _new(SparseTensor)
    tensor._index = from_array(index, str(value.device)) if isinstance(index, np.ndarray) else index
    tensor._value = value
    tensor._extents = Size(extents)
    # one coordinate is always in order
    tensor._is_coalesced = is_coalesced or tensor._index.shape[1] < 2
    tensor._step = step
    tensor._checked = tensor._index._version
    tensor._gradient = None
    return tensor


def alias(value: Tensor) -> Tensor:
    """Another tensor over the same memory, with the gradient history."""
    return value.view(value.shape) if value.requires_grad and grad_mode.enabled else value.detach()


def empty_like(extents: Sequence[int], sparse_dim: int, dtype: DType, place: Any) -> SparseTensor:
    """A sparse tensor without elements."""
    value = zeros((0, *extents[sparse_dim:]), dtype=dtype, device=place)
    return made(np.zeros((sparse_dim, 0), np.int64), value, extents, True)


def sparse_coo_tensor(
    indices: Any = None, values: Any = None, size: Sequence[int] | None = None, dtype: DType | None = None,
    device: Any = None, requires_grad: bool = False, *, pin_memory: bool = False, check_invariants: bool | None = None,
    is_coalesced: bool | None = None,
) -> SparseTensor:
    """A sparse tensor with ``values`` at the coordinates that are the columns of ``indices``.

    As ``torch.sparse_coo_tensor``; ``sparse_coo_tensor(size)`` has no elements. Coordinates may come several times.

    Args:
        indices: integers of ``[sparse_dim, nnz]``.
        values: of ``[nnz, *dense]``; the axes after the first are dense.
        size: ``sparse_dim`` sizes and those of the dense axes; by default the smallest that holds all coordinates.
        dtype: of the values; by default their own.
        device: by default that of ``values``.
        requires_grad: whether the result is a leaf that gets gradients.
        check_invariants: coordinates are checked in any case.
        is_coalesced: promise that every coordinate comes once, in order.

    Raises:
        RuntimeError: a coordinate that is negative or outside of the size, numbers of coordinates and values that
            differ, sizes that do not fit, or a promise that does not hold.

    Example:
        >>> import flamework as torch
        >>> torch.sparse_coo_tensor([[0, 1], [2, 0]], [3.0, 4.0], (2, 3)).to_dense()
        tensor([[0., 0., 3.],
                [4., 0., 0.]])
    """
    if pin_memory:
        raise RuntimeError("pin_memory=True requires memory that is dense")
    if values is None and (size is not None or indices is not None):
        if size is None:
            if isinstance(indices, Tensor):
                raise TypeError("sparse_coo_tensor(): argument 'size' (position 1) must be tuple of ints, not Tensor")
            size = indices
        extents = _sizes(size)
        dtype = get_default_dtype() if dtype is None else dtype
        return empty_like(extents, len(extents), dtype, device).requires_grad_(requires_grad)
    if values is None or indices is None:
        raise TypeError("sparse_coo_tensor() received an invalid combination of arguments: no indices or no values")
    for name, given in (("indices", indices), ("values", values)):
        if isinstance(given, SparseTensor):
            raise RuntimeError(f"expected {name} to be a dense tensor, but got {name} of layout Sparse")
    value = as_tensor(values, dtype=dtype, device=device)
    index = as_tensor(indices, dtype=dtypes.int64, device=value.device)
    if value.ndim == 0:
        value = value.reshape(1)
    value = alias(value) if value is values else value
    index = index.detach() if index is indices else index
    extents = _fitting(index, value, None if size is None else _sizes(size))
    tensor = made(index, value, extents)
    check_coordinates(tensor)
    if is_coalesced and not tensor._is_coalesced:
        if order(observe(index)) is not None:
            raise RuntimeError("cannot set is_coalesced to true if indices correspond to uncoalesced COO tensor")
        tensor._is_coalesced = True
    if requires_grad and value.dtype.kind < FLOATING:
        raise RuntimeError("Only Tensors of floating point and complex dtype can require gradients")
    return tensor.requires_grad_(True) if requires_grad else tensor


def _sizes(size: Any) -> tuple[int, ...]:
    if not isinstance(size, (tuple, list)):
        raise TypeError(f"sparse_coo_tensor(): argument 'size' must be tuple of ints, not {type(size).__name__}")
    extents = tuple(map(operator.index, size))
    if any(extent < 0 for extent in extents):
        raise RuntimeError(f"Trying to create tensor with negative dimension {min(extents)}: {list(extents)}")
    return extents


def _fitting(index: Tensor, value: Tensor, extents: tuple[int, ...] | None) -> tuple[int, ...]:
    """The size of a sparse tensor of these parts, checked against them but not against the coordinates."""
    if index.ndim != 2 and (extents is None or index.ndim > 2):
        raise RuntimeError(f"indices must be sparse_dim x nnz, but got: {list(index.shape)}")
    if index.ndim == 0:
        raise IndexError("Dimension specified as 0 but tensor has no dimensions")
    sparse_dim, dense = index.shape[0], tuple(value.shape[1:])
    if extents is not None and len(extents) != sparse_dim + len(dense):
        raise RuntimeError(
            f"'len(size) == sparse_dim + dense_dim' is not satisfied: len(size) = {len(extents)}, sparse_dim = "
            f"{sparse_dim}, dense_dim = {len(dense)}"
        )
    if index.ndim != 2:
        raise RuntimeError(f"indices must be sparse_dim x nnz, but got: {list(index.shape)}")
    nnz = index.shape[1]
    if nnz != value.shape[0]:
        raise RuntimeError(
            f"indices and values must have same nnz, but got nnz from indices: {nnz}, nnz from values: "
            f"{value.shape[0]}"
        )
    if extents is None:
        largest = observe(index).max(axis=1) + 1 if nnz else np.zeros(sparse_dim, np.int64)
        return (*map(int, largest), *dense)
    if extents[sparse_dim:] != dense:
        expected = [nnz, *extents[sparse_dim:]]
        raise RuntimeError(f"values has incorrect size, expected {expected}, got {list(value.shape)}")
    return extents


def check_coordinates(tensor: SparseTensor) -> None:
    """Look at every coordinate. Raises :class:`RuntimeError` for one that is outside of the size."""
    index = observe(tensor._index)
    if index.shape[1]:
        for d, (low, high, extent) in enumerate(zip(index.min(axis=1), index.max(axis=1), tensor._extents)):
            if low < 0:
                raise RuntimeError(f"found negative index {low} for dim {d}")
            if high >= extent:
                raise RuntimeError(
                    f"size is inconsistent with indices: for dim {d}, size is {extent} but found index {high}"
                )
    tensor._checked = tensor._index._version


# ---------------------------------------------------------------------------------------------------------- the pattern


def coordinates(tensor: SparseTensor) -> np.ndarray:
    """The coordinates, ``[sparse_dim, nnz]``, not to be written to; checked again after somebody wrote there."""
    if tensor._checked != tensor._index._version:
        check_coordinates(tensor)
        tensor._is_coalesced = order(observe(tensor._index)) is None
    return observe(tensor._index)


def order(index: np.ndarray) -> np.ndarray | None:
    """The stable order in which coordinates are sorted; None if they are, and each comes once."""
    nnz = index.shape[1]
    if nnz < 2:
        return None
    spans = [int(row.max()) + 1 for row in index]
    if math.prod(spans) * nnz < 2**63:
        # numbers that tell the coordinate and the place are sorted several times faster than an order is found
        key = flat(index, spans)
        return None if (key[1:] > key[:-1]).all() else np.sort(key * nnz + np.arange(nnz)) % nnz
    # the first axis whose coordinate differs from that of the neighbour tells which of the two is first
    later = np.zeros(nnz - 1, np.int8)
    for row in index:
        later = np.where(later == 0, np.sign(np.diff(row)), later)
    return None if (later > 0).all() else np.lexsort(index[::-1])


def groups(index: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The coordinates that occur, in order, and for each column of ``index`` the one of them that it is."""
    found = order(index)
    if found is None:
        return index, np.arange(index.shape[1])
    ordered = index[:, found]
    begins = np.ones(index.shape[1], bool)
    begins[1:] = (ordered[:, 1:] != ordered[:, :-1]).any(axis=0)
    place = np.empty(index.shape[1], np.int64)
    place[found] = np.cumsum(begins) - 1
    return ordered[:, begins], place


def flat(index: np.ndarray, extents: Sequence[int]) -> np.ndarray:
    """The positions of coordinates in an array of these sizes.

    Raises:
        RuntimeError: positions do not fit into 64 bits.
    """
    if math.prod(extents) >= 2**63:
        raise RuntimeError(f"numel: integer multiplication overflow of the sizes {list(extents)}")
    position = np.zeros(index.shape[1], np.int64)
    for row, extent in zip(index, extents):
        position = position * extent + row
    return position


def tensor_at(array: np.ndarray, like: Tensor) -> Tensor:
    """An array of positions, which is not needed any more, as a tensor on the device of another one."""
    return from_array(np.ascontiguousarray(array, np.int64), str(like.device))


def rows_of(value: Tensor, position: np.ndarray) -> Tensor:
    """The rows of ``value`` at these positions."""
    return index_select(value, 0, tensor_at(position, value))


def summed(value: Tensor, position: np.ndarray, count: int) -> Tensor:
    """``count`` rows, each the sum of those rows of ``value`` whose position it is; of bools, whether any is set.

    16-bit floats are added in float32 and rounded once.
    """
    kind = value.dtype
    if kind is dtypes.bool_:
        wide = dtypes.int64
    else:
        wide = dtypes.float32 if kind in (dtypes.float16, dtypes.bfloat16) else kind
    start = zeros((count, *value.shape[1:]), dtype=wide, device=value.device)
    total = index_add(start, 0, tensor_at(position, value), value.to(wide))
    return total.to(kind)


def spread(value: Tensor, index: np.ndarray, extents: Sequence[int]) -> Tensor:
    """The dense tensor with ``value``, ``[nnz, *dense]``, added up at coordinates of the first axes, else zero."""
    sparse = extents[: len(index)]
    return summed(value, flat(index, sparse), math.prod(sparse)).reshape(tuple(extents))


def rows_at(dense: Tensor, index: np.ndarray) -> Tensor:
    """What a dense tensor has at coordinates of its first axes, ``[nnz, *dense]``."""
    sparse = dense.shape[: len(index)]
    return rows_of(dense.reshape(math.prod(sparse), *dense.shape[len(sparse) :]), flat(index, sparse))


def found_in(index: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """For each column of ``wanted`` its place among the columns of ``index``, each of which comes once; or -1."""
    _, place = groups(np.concatenate([index, wanted], axis=1))
    of_group = np.full(place.max(initial=-1) + 1, -1)
    of_group[place[: index.shape[1]]] = np.arange(index.shape[1])
    return of_group[place[index.shape[1] :]]


def scaled(tensor: SparseTensor, value: Tensor, step: str) -> SparseTensor:
    """Other values at the coordinates of a tensor."""
    return made(coordinates(tensor).copy(), value, tensor._extents, tensor._is_coalesced, step)


@supported()
def coalesce(self: SparseTensor) -> SparseTensor:
    """The same tensor with every coordinate once, in order, and the values of equal coordinates added up; itself if
    that is so already. As ``Tensor.coalesce``.

    Example:
        >>> import flamework as torch
        >>> torch.sparse_coo_tensor([[1, 0, 1]], [1.0, 2.0, 3.0], (2,)).coalesce().values()
        tensor([2., 4.])
    """
    index = coordinates(self)
    if self._is_coalesced:
        return self
    where, place = groups(index)
    value = summed(self._value, place, where.shape[1])
    return made(where.copy(), value, self._extents, True, "Coalesce")


@method()
def to_dense(
    self: SparseTensor, dtype: DType | None = None, *, masked_grad: bool | None = None
) -> Tensor:
    """The dense tensor of the same elements; as ``Tensor.to_dense``.

    Args:
        dtype: None; a sparse tensor is converted before.
        masked_grad: gradients reach the values that there are, whatever is asked for.

    Example:
        >>> import flamework as torch
        >>> torch.sparse_coo_tensor([[1, 1]], [1.0, 2.0], (3,)).to_dense()
        tensor([0., 3., 0.])
    """
    if dtype is not None:
        raise RuntimeError("dtype argument is not supported by sparse_to_dense")
    if masked_grad is False:
        raise RuntimeError("to_dense(): masked_grad=False is not supported: gradients reach the values alone")
    index = coordinates(self)
    return spread(self._value, index, self._extents)


# ------------------------------------------------------------------------------------------------------------- in place


def check_writable(tensor: SparseTensor) -> None:
    """Refuse to change a leaf that gets gradients. Raises :class:`RuntimeError`."""
    if tensor.is_leaf and tensor.requires_grad:
        if grad_mode.enabled:
            raise RuntimeError("a leaf Variable that requires grad is being used in an in-place operation.")
        raise RuntimeError("a sparse tensor that requires grad keeps its coordinates: write to a detach() of it")


def become(tensor: SparseTensor, result: SparseTensor) -> SparseTensor:
    """Make a result, which nobody else holds, the content of a tensor, in the tensor's dtype.

    Raises:
        RuntimeError: a leaf that requires a gradient, or a dtype that cannot be cast.
    """
    check_writable(tensor)
    if result.dtype.kind > tensor.dtype.kind:
        raise RuntimeError(
            f"result type {result.dtype.scalar_name} can't be cast to the desired output type "
            f"{tensor.dtype.scalar_name}"
        )
    tensor._value = result._value.to(tensor.dtype)
    tensor._index, tensor._extents, tensor._checked = result._index, result._extents, result._checked
    tensor._is_coalesced, tensor._step = result._is_coalesced, result._step
    return tensor


def written(out: Tensor, result: Tensor) -> Tensor:
    """``out`` with a result as its new content: both sparse, or both dense."""
    if isinstance(result, SparseTensor):
        return become(out, result)
    return write_out(out, node_of(result))


# ------------------------------------------------------------------------------------------------------------ gradients


@method()
def requires_grad_(self: SparseTensor, requires_grad: bool = True) -> SparseTensor:
    """Say whether gradients are to be accumulated in this leaf's ``grad``; as ``Tensor.requires_grad_``.

    Example:
        >>> import flamework as torch
        >>> x = torch.sparse_coo_tensor([[1]], [2.0], (3,)).requires_grad_()
        >>> (x.to_dense() * torch.tensor([1.0, 5.0, 7.0])).sum().backward()
        >>> x.grad.to_dense()
        tensor([0., 5., 0.])
    """
    changes = bool(requires_grad) != self.requires_grad
    self._value.requires_grad_(requires_grad)
    if changes and requires_grad:
        self._value.register_post_accumulate_grad_hook(functools.partial(_collect, weakref.ref(self)))
    return self


def values_of(tensor: SparseTensor) -> Tensor:
    """The dense tensor that carries the gradient of a sparse one."""
    return tensor._value


def gradient_of(tensor: SparseTensor, gradient: Tensor) -> SparseTensor:
    """The gradient of a sparse tensor, of that of its values.

    Equal coordinates have equal gradients, and the result has each of them once.
    """
    where, place = groups(coordinates(tensor))
    if not tensor._is_coalesced:
        first = np.zeros(where.shape[1], np.int64)
        first[place[::-1]] = np.arange(len(place))[::-1]
        gradient = rows_of(gradient, first)
    return made(where.copy(), gradient, tensor._extents, True)


def _collect(owner: weakref.ref, value: Tensor) -> None:
    """Add the gradient that has arrived at the values of a leaf to the leaf's own."""
    gradient, value.grad = value.grad, None
    tensor = owner()
    if tensor is None:
        return
    new = gradient_of(tensor, gradient)
    if tensor._gradient is None:
        tensor._gradient = new
    else:
        with no_grad():
            tensor._gradient = tensor._gradient + new
