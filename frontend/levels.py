"""Which transforms of functions are running: ``grad``, ``jvp`` and ``vmap`` may be nested in any order.

Each has a :class:`Level` while its function is recorded. Operations record as they always do; only what looks at memory
or at the outside has to know: a write to a tensor from outside (:func:`check_write`), random numbers
(:func:`randomness`), the tensors that are pending (``recording.py``).

In: nothing. Out: the levels. Read next: ``func/derivatives.py`` and ``func/vmap.py``.
"""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from typing import Any

from .compiler.batching import Rule, batch, lane_of, spread, transformed
from .compiler.composite import depending
from .compiler.ir import Node, tensor_type
from .runtime import engine

LEAF = "a leaf Variable that requires grad is being used in an in-place operation."
CAPTURED = (
    "vmap: inplace arithmetic(self, *extra_args) is not possible because there exists a Tensor `other` in extra_args "
    "that has more elements than `self`. This happened due to `other` being vmapped over but `self` not being vmapped "
    "over in a vmap. Please try to use out-of-place operators instead of inplace arithmetic. If said operator is being "
    "called inside the PyTorch framework, please file a bug report instead."
)
RANDOM = (
    "vmap: called random operation while in randomness error mode. Please either use the 'same' or 'different' "
    "randomness flags on vmap or perform the randomness operation out of vmap"
)


class Level:
    """One transform whose function is being recorded.

    Attributes:
        inputs: tensors that the function is differentiated by; they must not be written to.
        written: tensors, and storages of views, that were written to.
    """

    def __init__(self) -> None:
        self.inputs: list[Any] = []
        self.written: dict[int, Any] = {}

    def __enter__(self) -> Level:
        active.append(self)
        return self

    def __exit__(self, *exception: object) -> None:
        active.remove(self)


class ForwardLevel(Level):
    """Computed values keep their history, which tangents are pushed through."""

    def keep(self) -> None:
        self.previous = engine.keep_history
        engine.keep_history = True

    def let_go(self) -> None:
        engine.keep_history = self.previous

    def __enter__(self) -> Level:
        self.keep()
        return super().__enter__()

    def __exit__(self, *exception: object) -> None:
        super().__exit__(*exception)
        self.let_go()


class BatchLevel(Level):
    """A function recorded for one element of a batch.

    Attributes:
        size: of the batch.
        randomness: "error", "same" or "different".
        values: for each placeholder the values of all elements.
        fresh: tensors that were made at this level, and the storages of these, by identity.
    """

    def __init__(self, size: int, randomness: str) -> None:
        super().__init__()
        self.size = size
        self.randomness = randomness
        self.values: dict[Node, Node] = {}
        self.fresh: dict[int, weakref.ref] = {}

    def lane(self, value: Node) -> Node:
        """The placeholder for one of the ``size`` values along the first axis of a node."""
        type = tensor_type(value.shape[1:], value.dtype, value.type.device)
        node = lane_of(type, value.requires_grad)
        self.values[node] = value
        return node

    def batched(self, nodes: Sequence[Node], rule: Rule | None = None) -> list[Node]:
        """What ``nodes`` are for all elements, along a new first axis.

        Args:
            rule: if not the rows' batching rules alone.
        """
        made = transformed(nodes, self.values, rule or self.rule)
        return [spread(node, self.size) if new is None else new for node, new in zip(nodes, made)]

    def rule(self, node: Node, src: Sequence[Node | None]) -> Node:
        return batch(node, src, self.size)

    def depends(self, node: Node) -> bool:
        """Whether a value is another for each element."""
        return node in self.values or bool(depending([node], self.values))

    def value(self, node: Node) -> Node | None:
        """What a value is for all elements, None if it is the same for all."""
        return self.batched([node])[0] if self.depends(node) else None

    def made(self, tensor: Any) -> None:
        """Note a new tensor or view."""
        storage = tensor._storage
        if storage is None:
            self.note(tensor)
        elif not self.is_fresh(storage) and any((t := r()) is not None and t is not storage and
                                                getattr(t, "_storage", None) is storage
                                                for r in list(self.fresh.values())):
            self.note(storage)

    def note(self, thing: Any) -> None:
        key, fresh = id(thing), self.fresh
        fresh[key] = weakref.ref(thing, lambda _: fresh.pop(key, None))

    def is_fresh(self, thing: Any) -> bool:
        found = self.fresh.get(id(thing))
        return found is not None and found() is thing


active: list[Level] = []


def batch_levels() -> list[BatchLevel]:
    """The running ``vmap``s, the innermost first."""
    return [level for level in reversed(active) if isinstance(level, BatchLevel)]


def check_write(tensor: Any, node: Node) -> None:
    """Note that ``node`` is about to be written to ``tensor``, while there are levels.

    Raises:
        RuntimeError: the tensor is differentiated by, or it is one for all elements of a batch and the value is not.
    """
    storage = tensor._storage
    held = tensor if storage is None else storage
    for level in reversed(active):
        if any(t is tensor or (storage is not None and t._storage is storage) for t in level.inputs):
            raise RuntimeError(LEAF)
        if isinstance(level, BatchLevel):
            if level.is_fresh(held):
                break
            if level.depends(node):
                raise RuntimeError(CAPTURED)
        level.written[id(held)] = held


def randomness() -> list[BatchLevel]:
    """The levels whose elements get random numbers of their own, the outermost first.

    Raises:
        RuntimeError: random numbers inside a ``vmap`` which forbids them.
    """
    levels = batch_levels()
    if any(level.randomness == "error" for level in levels):
        raise RuntimeError(RANDOM)
    return [level for level in reversed(levels) if level.randomness == "different"]


def lanes(value: Node, levels: Sequence[BatchLevel]) -> Node:
    """The placeholder for one element of ``value``, whose first axes are the batches of some levels."""
    for level in levels:
        value = level.lane(value)
    return value


def is_tracked(nodes: Sequence[Node], inputs: Sequence[Node]) -> bool:
    """Whether gradients of ``nodes`` flow to anything but ``inputs``, and beyond these."""
    stack, seen = [node for node in nodes if node.requires_grad], set()
    own = set(inputs)
    while stack:
        node = stack.pop()
        if node in seen:
            continue
        seen.add(node)
        sources = [x for x in node.src if x.requires_grad]
        if not sources and node not in own:
            return True
        stack += sources
    return False
