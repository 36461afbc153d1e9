"""Storages and views: what several tensors that share memory have in common.

The graph knows values, not memory. A tensor whose memory nobody shares needs no more than a node. As soon as a view
is taken, or the memory is shown to NumPy, the tensor and its views share a :class:`Storage`, which holds the one
authoritative value; a view is a *chain* of movement steps that starts there. Reading a view replays its chain,
writing through it computes the storage's next value (:func:`written_through`).

A chain is a tuple of steps ``(function, params)``; ``function(node, params=params)`` is the step's value. The functions
are rows of the primitive table, :func:`diagonal_step`, at most one :func:`arranged`, and at most one :class:`Cut`, the
place where a tensor's gradient parts from that of its storage (``detach()``, a leaf that requires a gradient). Strides
exist only here: :func:`geometry` derives PyTorch's strides and offset of a view from its chain.

In: chains and nodes. Out: nodes, strides. Read next: ``tensor.py``, then ``recording.py``.
"""

from __future__ import annotations

import math
import weakref
from collections.abc import Sequence
from sys import getrefcount
from typing import Any

import numpy as np

from .compiler import primitives as p, primitives_shape as s
from .compiler.dtypes import complex_of
from .compiler.ir import Node, TensorType, grad_mode
from .compiler.primitives import Primitive
from .runtime import engine

Chain = tuple[tuple, ...]

# The stamp of a storage whose memory NumPy can write to at any time: no value derived from it stays fresh.
EXPORTED = -1


class Storage:
    """The memory that a tensor and its views share.

    Attributes:
        node: the current value, of the type of the tensor that the storage was made for. While the memory is
            exported only its type and its gradient history are meaningful.
        version: how often it was written to, as far as autograd is concerned (``tensor._version``).
        serial: how often it changed at all; a view is fresh if it was derived at this number.
        stamp: ``serial``, or ``EXPORTED`` while the memory is exported.
        memory: while exported, the memory as a flat array.
        owner: the user's array that the memory belongs to (``from_numpy``).
        exporter: weak reference to what keeps an export alive (``numpy()``).
    """

    __slots__ = ("node", "version", "serial", "stamp", "memory", "owner", "exporter", "__weakref__")

    def __init__(self, node: Node, version: int = 0) -> None:
        self.node = node
        self.version = self.serial = self.stamp = version
        self.memory: np.ndarray | None = None
        self.owner: np.ndarray | None = None
        self.exporter: weakref.ref | None = None

    def replace(self, node: Node, *, silent: bool = False) -> None:
        """Make ``node`` the value; ``silent`` hides the write from autograd, as writes through ``.data`` are."""
        self.node = node
        if not silent:
            self.version += 1
        self.serial += 1
        if self.stamp != EXPORTED:
            self.stamp = self.serial


def holders(storage: Storage) -> tuple[int, int, int]:
    """How many references there are to the storage's node, to the node's value, and to the user's array."""
    return getrefcount(storage.node), getrefcount(storage.node.value), getrefcount(storage.owner)


def _alone() -> tuple[int, int, int]:
    """What :func:`holders` counts when nobody but the storage refers to these; it depends on the version of Python."""
    storage = Storage(Node(p.input_, (), (), None, np.zeros(1)))
    storage.owner = np.zeros(1)
    storage.memory = np.lib.stride_tricks.as_strided(storage.owner, (1,), (8,))
    return holders(storage)


ALONE = _alone()


class _Holder:
    """Something that refers to a storage as a tensor does."""

    __slots__ = ("_storage",)


def storage_references(holder: Any) -> int:
    """How many references there are to the storage of a tensor."""
    return getrefcount(holder._storage)


def _one_reference() -> int:
    holder = _Holder()
    holder._storage = Storage(Node(p.input_, (), (), None, None))
    return storage_references(holder)


ONE_REFERENCE = _one_reference()


# ---------------------------------------------------------------------------------------------------- gradient history


# The value of the first source with the gradient of the second: a value that was replaced behind autograd's back,
# under no_grad or through detach().
straight_through = Primitive(
    "straight_through", "alias", lambda params, value, graph: value, vjp=(None, lambda g, n: g),
    jvp=lambda tangents, saved: tangents[1], batch=lambda params, src: straight_through(*src),
    reference=lambda params, value, graph: value, cost=0,
)


def attached(value: Node, graph: Node) -> Node:
    """The value of ``value`` with the gradient of ``graph``, whatever the grad mode."""
    return Node(straight_through, (value, graph), (), value.type, None, graph.requires_grad)


def leaf_node(value: Node, tensor: weakref.ref, hooks: dict | None = None) -> Node:
    """A node at which gradients end and are added to ``tensor().grad``."""
    node = Node(s.detach, (value,), (), value.type, None, True)
    marks = node.marks()
    marks.leaf = tensor
    marks.hooks = hooks
    return node


def leaf_value(node: Node) -> Node:
    """The value that a leaf node was made of."""
    if node.src:
        return node.src[0]
    return Node(p.input_, (), node.params, node.type, node.value)


class Cut:
    """A step of a chain at which gradients part: what is above has a history of its own.

    Attributes:
        leaf: weak reference to the tensor that is a leaf here.
        hooks: the hooks of that leaf.
        graph: node with the history of a value that was written through a detached view.
        silent: writes above it are not counted as versions (``tensor.data``).
    """

    __slots__ = ("leaf", "hooks", "graph", "silent")

    def __init__(self, leaf: weakref.ref | None = None, hooks: dict | None = None, silent: bool = False) -> None:
        self.leaf = leaf
        self.hooks = hooks
        self.graph: Node | None = None
        self.silent = silent

    @property
    def requires_grad(self) -> bool:
        return self.leaf is not None or (self.graph is not None and self.graph.requires_grad)

    def __call__(self, node: Node, params: tuple = ()) -> Node:
        if self.leaf is not None:
            return leaf_node(node, self.leaf, self.hooks)
        if self.graph is not None:
            return attached(node, self.graph)
        # tangents end here too
        return s.detach(node) if node.requires_grad or engine.keep_history else node


def cut_index(chain: Chain) -> int:
    """Position of the chain's cut, or -1."""
    for i, (function, _) in enumerate(chain):
        if type(function) is Cut:
            return i
    return -1


def find_cut(chain: Chain) -> Cut | None:
    for function, _ in chain:
        if type(function) is Cut:
            return function
    return None


def without_cut(chain: Chain) -> Chain:
    return tuple([step for step in chain if type(step[0]) is not Cut])


# ------------------------------------------------------------------------------------------------- replay and writing


def diagonal_step(node: Node, params: tuple) -> Node:
    """The diagonal ``params = (axis1, axis2, offset)`` as a new last axis."""
    shape, strides, start = diagonal_geometry(node.shape, contiguous_strides(node.shape), 0, params)
    return s.as_strided(s.reshaped(node, (node.type.size,)), params=(shape, strides, start))


def diagonal_geometry(
    shape: Sequence[int], strides: Sequence[int], start: int, params: tuple
) -> tuple[tuple[int, ...], tuple[int, ...], int]:
    """Sizes, strides and offset of a diagonal."""
    axis1, axis2, offset = params
    if offset >= 0:
        count = max(0, min(shape[axis1], shape[axis2] - offset))
        start += offset * strides[axis2] if count else 0
    else:
        count = max(0, min(shape[axis1] + offset, shape[axis2]))
        start -= offset * strides[axis1] if count else 0
    kept = [a for a in range(len(shape)) if a not in (axis1, axis2)]
    return (
        (*(shape[a] for a in kept), count),
        (*(strides[a] for a in kept), strides[axis1] + strides[axis2]),
        start,
    )


def arranged(node: Node, params: tuple) -> Node:
    """The axes as they are indexed, of a memory that holds them in another order: no view (``memory_order.py``)."""
    return s.permute(node, params=params)


def replay(chain: Chain, node: Node) -> Node:
    """The value of a view of ``node``.

    Gradients are tracked even under ``no_grad``: the value is remembered and may be used after that block.
    """
    enabled, grad_mode.enabled = grad_mode.enabled, True
    try:
        for function, params in chain:
            node = function(node, params=params)
    finally:
        grad_mode.enabled = enabled
    return node


def pairs(node: Node, params: tuple = ()) -> Node:
    """Complex numbers as pairs of real ones along a new last axis."""
    shape = (*node.type.shape, 1)
    return s.cat(s.reshape(p.real(node), params=shape), s.reshape(p.imag(node), params=shape), params=(len(shape) - 1,))


def from_pairs(node: Node, params: tuple = ()) -> Node:
    """The inverse of :func:`pairs`."""
    lead = node.type.shape[:-1]
    parts = [s.sliced(node, (0,) * len(lead) + (which,), (*lead, 1)) for which in (0, 1)]
    return p.complex_(*[s.reshaped(part, lead) for part in parts])


def signs(chain: Chain) -> tuple[bool, bool]:
    """Whether a view shows the conjugates, and whether the negatives, of what is in memory."""
    conjugate = negative = False
    for function, _ in chain:
        if function is p.conj:
            conjugate = not conjugate
        elif function is p.neg:
            negative = not negative
        elif function is p.real or function is p.imag:
            negative ^= conjugate and function is p.imag
            conjugate = False
    return conjugate, negative


def signed(chain: Chain, array: np.ndarray) -> np.ndarray:
    """What a view shows of an array of its memory, or what it writes there."""
    conjugate, negative = signs(chain)
    array = np.conj(array) if conjugate else array
    return np.negative(array) if negative else array


# Steps from complex to real numbers and back. What follows one counts its elements in others.
PART_STEPS = (p.real, p.imag, pairs, from_pairs)


def written_through(chain: Chain, base: Node, value: Node) -> Node:
    """``base`` with the elements that the view ``chain`` shows replaced by ``value``, a node of the view's type."""
    for at in range(len(chain) - 1, 0, -1):
        if chain[at][0] in PART_STEPS:
            stage = base
            for function, params in chain[:at]:
                stage = function(stage, params=params)
            return written_through(chain[:at], base, written_through(chain[at:], stage, value))
    if chain and chain[0][0] in PART_STEPS and len(chain) > 1:
        part = chain[0][0](base, params=())
        return written_through(chain[:1], base, written_through(chain[1:], part, value))
    stages = [base]
    for function, params in chain[:-1]:
        stages.append(function(stages[-1], params=params))
    for function, _ in chain:
        if function not in _PUT and type(function) is not Cut:
            return _scattered(chain, base, value)
    for stage, (function, params) in zip(reversed(stages), reversed(chain)):
        if type(function) is not Cut:
            value = _PUT[function](stage, params, value)
    return value


def _put_slice(stage: Node, params: tuple, value: Node) -> Node:
    if value.type is stage.type:
        return value
    return s.update(stage, value, params=params[:2])


def _put_permuted(stage: Node, params: tuple, value: Node) -> Node:
    return s.permute(value, params=s.inverse_permutation(params))


_PUT = {
    s.reshape: lambda stage, params, value: s.reshaped(value, stage.type.shape),
    s.permute: _put_permuted,
    arranged: _put_permuted,
    s.slice_: _put_slice,
    p.bitcast: lambda stage, params, value: p.bitcast(value, params=(stage.type.dtype,)),
    p.conj: lambda stage, params, value: p.conj(value),
    p.neg: lambda stage, params, value: p.neg(value),
    p.real: lambda stage, params, value: p.complex_(value, p.imag(stage)),
    p.imag: lambda stage, params, value: p.complex_(p.real(stage), value),
    pairs: lambda stage, params, value: from_pairs(value),
    from_pairs: lambda stage, params, value: pairs(value),
}


def _scattered(chain: Chain, base: Node, value: Node) -> Node:
    # steps without an inverse (expand, unfold, diagonal, as_strided) are written by position in the flat storage
    shape, strides, offset = geometry(chain, base.type)
    if value.type.dtype is not base.type.dtype:
        value = p.bitcast(value, params=(base.type.dtype,))
    conjugate, negative = signs(chain)
    value = p.conj(value) if conjugate else value
    value = p.neg(value) if negative else value
    size = math.prod(shape)
    index = s.reshaped(s.strided_index(shape, strides, offset, base.type.device), (size,))
    flat = s.scatter(s.reshaped(base, (base.type.size,)), index, s.reshaped(value, (size,)), params=(0, "set"))
    return s.reshaped(flat, base.type.shape)


# ------------------------------------------------------------------------------------------------------------ geometry


def contiguous_strides(shape: Sequence[int]) -> tuple[int, ...]:
    """Strides in elements of a C-contiguous tensor; an axis of size 0 counts as 1, as in PyTorch."""
    strides = [1] * len(shape)
    for axis in range(len(shape) - 2, -1, -1):
        strides[axis] = strides[axis + 1] * max(shape[axis + 1], 1)
    return tuple(strides)


def is_contiguous(shape: Sequence[int], strides: Sequence[int]) -> bool:
    """Whether the elements lie in memory in index order without gaps; the strides of axes of size 1 do not matter."""
    if 0 in shape:
        return True
    expected = 1
    for extent, stride in zip(reversed(shape), reversed(strides)):
        if extent != 1:
            if stride != expected:
                return False
            expected *= extent
    return True


def view_strides(shape: Sequence[int], strides: Sequence[int], new: Sequence[int]) -> tuple[int, ...] | None:
    """Strides with which memory of one shape can be seen as another of the same number of elements, or None.

    Axes which follow each other in memory without a gap form a run; every run must be split by itself.
    """
    if math.prod(shape) == 0:
        return tuple(strides) if tuple(shape) == tuple(new) else contiguous_strides(new)
    result = [1] * len(new)
    axis = len(new) - 1
    unit, run = (strides[-1] if shape else 1), 1
    for old in range(len(shape) - 1, -1, -1):
        run *= shape[old]
        ends = old == 0 or (shape[old - 1] != 1 and strides[old - 1] != run * unit)
        if not ends:
            continue
        filled = 1
        while axis >= 0 and (filled < run or new[axis] == 1):
            result[axis] = filled * unit
            filled *= new[axis]
            axis -= 1
        if filled != run:
            return None
        if old > 0:
            unit, run = strides[old - 1], 1
    return tuple(result) if axis < 0 or all(extent == 1 for extent in new[: axis + 1]) else None


def geometry(chain: Chain, base: TensorType) -> tuple[tuple[int, ...], tuple[int, ...], int]:
    """Sizes, strides and storage offset of the view ``chain`` of a contiguous value of type ``base``.

    Strides and offset are in elements of the view's own dtype.
    """
    shape: tuple[int, ...] = base.shape
    strides = contiguous_strides(shape)
    offset = 0
    for function, params in chain:
        if function is s.slice_:
            starts, steps, shape = params
            offset += sum(a * b for a, b in zip(starts, strides))
            strides = tuple(a * b for a, b in zip(steps, strides))
        elif function is s.reshape:
            found = view_strides(shape, strides, params)
            strides = contiguous_strides(params) if found is None else found
            shape = params
        elif function is s.permute or function is arranged:
            shape, strides = tuple(shape[a] for a in params), tuple(strides[a] for a in params)
        elif function is s.expand:
            strides = tuple(0 if a != b else c for a, b, c in zip(shape, params, strides))
            shape = params
        elif function is diagonal_step:
            shape, strides, offset = diagonal_geometry(shape, strides, offset, params)
        elif function is s.as_strided:
            # its source is flat, and a flat view has one stride
            unit = strides[0]
            offset += params[2] * unit
            shape, strides = params[0], tuple(a * unit for a in params[1])
        elif function is s.unfold:
            axis, size, step, dilation = params
            count = (shape[axis] - (size - 1) * dilation - 1) // step + 1
            shape = (*shape[:axis], count, *shape[axis + 1 :], size)
            strides = (*strides[:axis], strides[axis] * step, *strides[axis + 1 :], strides[axis] * dilation)
        elif function in (p.real, p.imag, pairs):
            strides, offset = tuple(2 * stride for stride in strides), 2 * offset + (function is p.imag)
            if function is pairs:
                shape, strides = (*shape, 2), (*strides, 1)
        elif function is from_pairs:
            shape, strides, offset = shape[:-1], tuple(stride // 2 for stride in strides[:-1]), offset // 2
    return shape, strides, offset


def strided_array(chain: Chain, base: TensorType, memory: np.ndarray) -> np.ndarray:
    """The view ``chain`` over a flat array, sharing its memory: without the signs that it shows (:func:`signed`)."""
    shape, strides, offset = geometry(chain, base)
    dtype = base.dtype
    for function, params in chain:
        if function is p.bitcast:
            (dtype,) = params
        elif function is from_pairs:
            dtype = complex_of(dtype)
        elif function in PART_STEPS:
            dtype = dtype.part
    if dtype.itemsize != memory.itemsize:
        memory = memory.view(dtype.numpy)
    itemsize = memory.itemsize
    start = memory[offset:] if offset < memory.size else memory[:0]
    array = np.lib.stride_tricks.as_strided(start, shape, [stride * itemsize for stride in strides])
    return array if array.dtype == dtype.numpy else array.view(dtype.numpy)
