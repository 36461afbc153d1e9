"""Where the tensors of a compiled function are, in this call and in the next.

A recorded program does not know tensors but places: argument 2, this parameter, the gradient of that one. Of each
place matters which memory the tensor sees (:func:`home_node`, the node of its storage) and how it sees it
(:func:`form`). A tensor that sees a contiguous piece of a larger memory, a minibatch, is read where it is, whichever
piece it is.

In: tensors. Out: nodes, buffers, forms. Read next: ``recorder.py``.
"""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from typing import Any

import numpy as np

from .compiler import primitives as p, primitives_shape as s
from .compiler.autodiff import note_write
from .compiler.ir import Node
from .recording import copied_home, node_of, reclaim, register, snapshot
from .runtime import engine, shared
from .runtime.allocator import Buffer
from .runtime.donation import BUFFERS, others
from .storage import (
    EXPORTED,
    Chain,
    Cut,
    Storage,
    attached,
    geometry,
    is_contiguous,
    leaf_node,
    replay as replay_chain,
    signs,
    straight_through,
)
from .tensor import Tensor


class Place:
    """A tensor that a function can reach.

    Attributes:
        kind: ``argument``, ``tensor`` or ``gradient``.
        what: the argument's position, the tensor itself, or the place whose ``grad`` it is.
    """

    __slots__ = ("kind", "what")

    def __init__(self, kind: str, what: Any) -> None:
        self.kind = kind
        self.what = what

    def tensor(self, leaves: Sequence[Any]) -> Tensor:
        """The tensor that is there in a call with these arguments."""
        if self.kind == "argument":
            return leaves[self.what]
        if self.kind == "tensor":
            return self.what
        return self.what.tensor(leaves)._meta.grad

    def __repr__(self) -> str:
        return f"<{self.kind} {self.what if self.kind == 'argument' else ''}>"


# --------------------------------------------------------------------------------------------------------------- forms


def form(tensor: Tensor) -> Any:
    """How a tensor sees its memory: None for all of it, a piece, or a view with its steps.

    What is equal here can be read by one program. Where a piece lies is left out.
    """
    storage = tensor._storage
    if storage is None or not tensor._chain:
        return None
    chain = tensor._chain
    if len(chain) == 1 and type(chain[0][0]) is Cut:
        cut = chain[0][0]
        return None if cut.leaf is not None else ("cut", cut.silent, cut.graph is not None)
    if is_piece(chain, storage):
        return ("piece", *(cut_form(function) for function, _ in chain if type(function) is Cut))
    return exact_form(tensor)


def exact_form(tensor: Tensor) -> Any:
    """The whole layout of a tensor: the type of its memory, and every step."""
    storage = tensor._storage
    if storage is None:
        return None
    return (
        "view", storage.node.type,
        *((cut_form(step[0]), ()) if type(step[0]) is Cut else step for step in tensor._chain),
    )


def cut_form(cut: Cut) -> tuple:
    return ("cut", cut.leaf is not None, cut.silent, cut.graph is not None)


def is_piece(chain: Chain, storage: Storage) -> bool:
    """Whether a view shows neighbouring elements of its storage in order."""
    function, params = chain[0]
    base = storage.node.type
    if len(chain) == 1 and function is s.slice_:
        _, steps, counts = params
        return steps[0] == 1 and counts[1:] == base.shape[1:]
    shape, strides, _ = geometry(chain, base)
    return is_contiguous(shape, strides) and not any(signs(chain))


def identity(tensor: Tensor) -> int:
    """Equal for tensors that share memory."""
    return id(tensor if tensor._storage is None else tensor._storage)


def is_exported(tensor: Tensor) -> bool:
    """Whether somebody outside can write to the memory."""
    storage = tensor._storage
    return storage is not None and storage.stamp == EXPORTED and not reclaim(storage)


# --------------------------------------------------------------------------------------------------------------- nodes


def below_leaf(node: Node) -> Node:
    """The value that a leaf node of a plain tensor was made of."""
    mark = node.mark
    if node.requires_grad and mark is not None and mark.leaf is not None and node.src:
        return node.src[0]
    return node


def home_node(tensor: Tensor) -> Node:
    """The node whose value is all of the memory that a tensor sees."""
    storage = tensor._storage
    return below_leaf(tensor._node) if storage is None else storage.node


def value_node(tensor: Tensor) -> Node:
    """The node of a tensor's own elements, without a leaf's cut."""
    node = node_of(tensor)
    while node.value is None and node.op is s.detach and node.src:
        node = node.src[0]
    return node


def open_leaf(tensor: Tensor) -> None:
    """Split the computed node of a plain leaf into a value and the leaf above it, so that the two can be told apart."""
    node = tensor._node
    mark = node.mark
    if tensor._storage is not None or not node.requires_grad or mark is None or mark.leaf is None:
        return
    if not node.src:
        base = Node(p.input_, (), node.params, node.type, node.value)
        node.op, node.src, node.params, node.value = s.detach, (base,), (), None
    elif engine.is_computed(node.src[0]):
        node.value = None


# ------------------------------------------------------------------------------------------------------------- buffers


def home_buffer(tensor: Tensor) -> Buffer:
    """All of the memory that a tensor sees, computed; of exported memory the elements of this moment."""
    storage = tensor._storage
    if storage is None:
        node = tensor._node
        if node.value is None:
            node = below_leaf(node)
        if not engine.is_computed(node):
            engine.realize([node])
        return node.value
    if storage.stamp == EXPORTED and not reclaim(storage):
        return shared_buffer(storage.memory, storage.node.type.device)
    node = storage.node
    if not engine.is_computed(node):
        engine.realize([node])
    return node.value


def elements_buffer(tensor: Tensor) -> Buffer:
    """The elements of a tensor, whatever it sees of its memory."""
    node = elements(tensor)
    while node.value is None and node.op is s.detach:
        node = node.src[0]
    if not engine.is_computed(node):
        engine.realize([node])
    return node.value


def shared_buffer(memory: np.ndarray, device: str) -> Buffer:
    """A buffer over an array that somebody else can write to. It must be read before anybody can.

    A GPU reads later than it is asked to, and so reads a copy.
    """
    if device != "cpu":
        return shared.copied(memory, device)
    if not memory.flags.aligned or not memory.flags.c_contiguous:
        memory = np.ascontiguousarray(memory).copy()
    return Buffer.from_numpy(memory)


def piece_buffer(tensor: Tensor) -> Buffer:
    """The elements of a tensor that sees all of its memory or a contiguous piece of it."""
    storage = tensor._storage
    if storage is None or not tensor._chain:
        return home_buffer(tensor)
    kind = storage.node.type
    chain = tensor._chain
    function, params = chain[0]
    if len(chain) == 1 and function is s.slice_:
        start = params[0][0] * (kind.size // kind.shape[0])
    else:
        start = geometry(chain, kind)[2]
    if storage.stamp != EXPORTED and storage.node.value is None:
        # nobody may want the rest
        node = value_node(tensor)
        if node.value is None:
            engine.realize([node])
        return node.value
    held = home_buffer(tensor)
    return held.part(start * kind.dtype.itemsize, tensor._node.type.nbytes)


def is_alone(tensor: Tensor) -> bool:
    """Whether a tensor, with its storage, is all that refers to its memory, a block of the allocator's, beside one
    reference of the caller: nobody can tell then if the memory is written to, once the tensor has another value."""
    storage, node = tensor._storage, tensor._node
    if storage is None:
        value = below_leaf(node)
    elif storage.stamp == EXPORTED:
        return False
    else:
        value = storage.node
    buffer = value.value
    if type(buffer) not in BUFFERS or not buffer.is_block:
        return False
    stored = storage is not None
    if node is value:
        # `node`, the tensor, the storage
        return others(value) == 2 + stored and others(buffer) == 2
    sources = node.src
    above = bool(sources) and sources[0] is value
    return (
        others(node) == 1
        and others(sources) == 1
        and others(value) == above + stored
        and others(buffer) == 2 + (node.value is buffer)
    )


# -------------------------------------------------------------------------------------------------------- shared memory


def check_apart(storages: Sequence[Storage]) -> None:
    """Refuse memory that NumPy shares with several storages which know nothing of each other: a compiled function could
    not see that a write to one is a write to the other.

    Raises:
        RuntimeError: the memory of two storages overlaps.
    """
    spans = sorted((m.__array_interface__["data"][0], m.nbytes) for x in storages if (m := x.memory) is not None)
    for (low, size), (start, _) in zip(spans, spans[1:]):
        if size and start < low + size:
            raise RuntimeError(
                "two tensors that a compiled function uses were made by from_numpy() of arrays that overlap in memory. "
                "Make one tensor of the whole array, and take views of it."
            )


class Unshared:
    """Takes memory that NumPy can write to out of its reach while a function is recorded, and brings it back.

    The function sees the elements of the beginning of the call. What it writes is copied into the shared memory at the
    end. Until then nobody else runs, so that the elements are read where they are; only if something still refers to
    them at the end they are copied.
    """

    def __init__(self, tensors: Sequence[Tensor]) -> None:
        self.held: dict[int, tuple[Storage, Any, Any, Any, Node, Node]] = {}
        found: dict[int, Storage] = {}
        for tensor in tensors:
            if is_exported(tensor) and id(tensor._storage) not in self.held:
                found.setdefault(id(tensor._storage), tensor._storage)
        if len(found) > 1:
            check_apart(list(found.values()))
        for storage in found.values():
            self.take(storage)
        for tensor in tensors:
            if self.holds(tensor):
                node_of(tensor)

    def holds(self, tensor: Tensor) -> bool:
        return tensor._storage is not None and id(tensor._storage) in self.held

    def take(self, storage: Storage) -> None:
        base = storage.node
        value = Node(p.input_, (), (base.type.shape, base.type.dtype, base.type.device), base.type)
        value.value = shared_buffer(storage.memory, base.type.device)
        node = attached(value, base) if base.requires_grad else value
        self.held[id(storage)] = (storage, storage.memory, storage.owner, storage.exporter, base, value)
        storage.node = node
        storage.memory = storage.owner = storage.exporter = None
        storage.serial += 1
        storage.stamp = storage.serial

    def give_back(self) -> None:
        """Share the memory again, with what was written to it meanwhile."""
        while self.held:
            storage, memory, owner, exporter, base, value = self.held.popitem()[1]
            written = storage.node is not value and storage.node.op is not straight_through
            if storage.node.op is straight_through:
                written = storage.node.src[0] is not value
            if written and not engine.is_computed(storage.node):
                engine.realize([storage.node])
            buffer, taken = weakref.ref(value.value), weakref.ref(value)
            if not written:
                storage.node = base
            del value
            kept = buffer()
            if base.type.device == "cpu" and (taken() is not None or kept is not None):
                # the graph of a gradient, or a result that is the argument itself
                copied = engine.buffer_from_numpy(memory.copy())
                kept.address, kept.owner = copied.address, copied
            del kept
            if written:
                if not memory.flags.writeable:
                    continue
                shared.write(memory, base.type.device, storage.node.value)
            storage.memory, storage.owner, storage.exporter = memory, owner, exporter
            storage.stamp = EXPORTED


# ------------------------------------------------------------------------------------------------------------- writing


def overwrite(tensor: Tensor, value: Node, silent: bool) -> None:
    """Give the memory of a tensor a computed value, as the recorded in-place operations did.

    Args:
        silent: hide it from autograd, as writes through ``.data`` are.
    """
    storage = tensor._storage
    if storage is None:
        old = tensor._node
        mark = old.marks()
        if mark.leaf is not None and old.requires_grad and not value.requires_grad:
            value = leaf_node(value, weakref.ref(tensor), mark.hooks)
        note_write(old, value, tensor._seen)
        tensor._node = value
        tensor._seen += 1
        return
    if not silent:
        note_write(storage.node, value, storage.version)
    if storage.stamp == EXPORTED and not reclaim(storage):
        if storage.memory.flags.writeable:
            shared.write(storage.memory, value.type.device, value.value)
        else:
            storage.memory = storage.owner = storage.exporter = None
            storage.stamp = storage.serial
    storage.replace(value, silent=silent)
    if storage.stamp == EXPORTED:
        return
    # the tensor's node of before would keep the old memory
    chain = tensor._chain
    if len(chain) == 1 and type(cut := chain[0][0]) is Cut and cut.leaf is not None:
        tensor._node = leaf_node(value, cut.leaf, cut.hooks)
        tensor._node.value = value.value
        tensor._seen = storage.stamp
    elif all(type(f) is Cut for f, _ in chain):
        node_of(tensor)


def view_of(storage: Storage, chain: Chain) -> Tensor:
    """A tensor that sees a storage through a chain of steps."""
    tensor = Tensor.__new__(Tensor)
    tensor._storage = storage
    tensor._chain = chain
    tensor._node = replay_chain(chain, storage.node)
    tensor._seen = storage.serial
    tensor._meta = None
    if tensor._node.value is None and storage.stamp != EXPORTED:
        register(tensor)
    return tensor


def elements(tensor: Tensor) -> Node:
    """The node of a tensor's elements as autograd knows it; exported memory is copied."""
    storage = tensor._storage
    if storage is not None and storage.stamp == EXPORTED and not reclaim(storage):
        return snapshot(tensor)
    return node_of(tensor)


def home_elements(tensor: Tensor) -> Node:
    """The node of all of the memory that a tensor sees, as autograd knows it; exported memory is copied."""
    storage = tensor._storage
    if storage is not None and storage.stamp == EXPORTED and not reclaim(storage):
        base, value = storage.node, copied_home(storage)
        return attached(value, base) if base.requires_grad else value
    return home_node(tensor)


__all__ = [
    "Place", "Unshared", "cut_form", "elements", "elements_buffer", "exact_form", "form",
    "home_buffer", "home_elements", "home_node", "identity",
    "is_alone", "is_exported", "open_leaf", "overwrite", "piece_buffer", "value_node", "view_of",
]
