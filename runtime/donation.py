"""Donation: which inputs of a program nobody needs once it has run.

A plan may write a result over an input that it reads for the last time (``placement.py``), if the input's memory ends
with the call: it is a block of the allocator's own, and everything that refers to it is about to let go. That is
decided by counting references, so that whoever holds a value in whatever way, a tensor, a view, a saved gradient, an
array, a program that waits, another thread, keeps it from being written over.

In a lazy script an input ends if all that holds it are nodes of the program, which forget their sources when they have
values: :class:`Lifetimes` knows the shape of the program and looks at the counts. At the call of a compiled function
the frontend knows which tensors get new values, and counts with :func:`others`.

Read next: ``engine.py``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from sys import getrefcount
from typing import Any

from ..compiler import primitives_shape as s
from ..compiler.ir import Node, topological
from .allocator import Buffer
from .gpu import DeviceBuffer

#: Memory that a plan may write over, of either kind of device.
BUFFERS = frozenset([Buffer, DeviceBuffer])

#: Programs that could donate less do not look: small blocks come from the cache, and are warm.
LEAST_BYTES = 1 << 20


def others(value: object) -> int:
    """How many references there are to a value beside the local variable of the caller that holds it."""
    return getrefcount(value) - _OF_A_LOCAL


def _measured() -> int:
    value = object()
    return others(value)


# What getrefcount adds of its own depends on the version of Python, so it is measured.
_OF_A_LOCAL = 0
_OF_A_LOCAL = _measured()


class Lifetimes:
    """Which nodes of one shape of program hold its inputs.

    Made for the first program of the shape, from its roots and inputs, and used for all of them. ``candidates`` are
    the numbers of the inputs that matter.
    """

    def __init__(self, roots: Sequence[Node], inputs: Sequence[Node], candidates: Sequence[int]) -> None:
        order = topological(roots, known=set(inputs))
        wanted = {inputs[number]: number for number in candidates}
        holding = set(wanted)
        for node in order:
            if any(x in holding for x in node.src):
                holding.add(node)
        chosen = [node for node in reversed(order) if node in holding]
        position = {node: k for k, node in enumerate(chosen)}
        root_of = {root: k for k, root in enumerate(roots)}
        users: dict[Node, list[tuple[int, int]]] = {node: [] for node in (*chosen, *wanted)}
        for node in chosen:
            for at, x in enumerate(node.src):
                if x in users:
                    users[x].append((position[node], at))
        # users before sources: number of the root, or -1, and who refers to the node and where
        self.steps = [(root_of.get(node, -1), users[node]) for node in chosen]
        self.inputs = [(number, users[node]) for node, number in wanted.items() if users[node]]

    def dying(self, roots: Sequence[Node], inputs: Sequence[Node], forgets: Callable[[Node], bool]) -> frozenset[int]:
        """Numbers of the inputs that end with this program.

        Beside the nodes of the program only the list ``inputs`` may refer to each. ``forgets`` tells whether a root
        lets go of its sources when it has its value.
        """
        nodes: list[Node] = []
        kept: list[bool] = []
        settled: set[int] = set()  # values below leaves, which get a value, and forget their sources, with the leaf
        for root, users in self.steps:
            if root >= 0:
                node = roots[root]
            else:
                user, at = users[0]
                node = nodes[user].src[at]
            nodes.append(node)
            keep = any(kept[user] for user, _ in users)
            # two nodes that shared a tuple of sources would hold its nodes once where the program sees two
            sources = node.src
            keep = keep or others(sources) != 1
            if root >= 0:
                if node.op is s.detach and node.mark is not None and node.mark.leaf is not None:
                    keep = keep or sources[0].value is not None or sources[0].requires_grad
                    settled.add(id(sources[0]))
                else:
                    keep = keep or not forgets(node)
            elif id(node) not in settled:
                # whoever holds an intermediate node beside the program may ask for it again
                keep = keep or others(node) != 1 + len(users)
            kept.append(keep)
        found = []
        for number, users in self.inputs:
            node = inputs[number]
            if not any(kept[user] for user, _ in users) and others(node) == 1 + len(users) and holds_alone(node):
                found.append(number)
        return frozenset(found)


def holds_alone(node: Node) -> bool:
    """Whether a computed node, with the value below it if it is a leaf, is all that refers to a block of memory."""
    buffer = node.value
    if type(buffer) not in BUFFERS or not buffer.is_block:
        return False
    sources = node.src
    if not sources:
        return others(buffer) == 1
    if node.op is not s.detach or others(sources) != 1:
        return False
    value = sources[0]
    return value.value is buffer and not value.src and others(value) == 1 and others(buffer) == 2


class Receiver:
    """A plan whose results may be written over its inputs.

    Attributes:
        output_bytes, donors, late: see ``placement.Placement``.
        lifetimes: who holds the inputs that results may be written into; None if that would save little.
    """

    def __init__(self, output_bytes: Sequence[int], donors: Sequence[Sequence[int]], late: Sequence[bool]) -> None:
        self.output_bytes, self.donors, self.late = output_bytes, donors, late
        self.lifetimes: Lifetimes | None = None
        self.matched: dict[frozenset[int], dict[int, int]] = {}

    def watch_lifetimes(self, roots: Sequence[Node], inputs: Sequence[Node]) -> None:
        """Learn from the nodes that the plan was made for who holds the inputs that could be donated."""
        if pays(self.output_bytes, self.donors):
            self.lifetimes = Lifetimes(roots, inputs, sorted({n for numbers in self.donors for n in numbers}))

    def match(self, dying: frozenset[int]) -> dict[int, int]:
        """Which result is written into which of the inputs that die."""
        found = self.matched.get(dying)
        if found is None:
            found = self.matched[dying] = match(self.donors, dying)
        return found

    def given(self, inputs: Sequence[Any], dying: frozenset[int], spare: Sequence[Any]) -> list[Any]:
        """For each result the memory that it is written into, or None for new memory; see ``plan.Plan.run``."""
        donor = self.match(dying) if dying else {}
        free: dict[int, list[Any]] = {}
        for buffer in spare:
            free.setdefault(buffer.nbytes, []).append(buffer)
        return [
            inputs[donor[j]] if j in donor
            else free[nbytes].pop() if self.late[j] and free.get(nbytes) else None
            for j, nbytes in enumerate(self.output_bytes)
        ]


def pays(output_bytes: Sequence[int], donors: Sequence[Sequence[int]]) -> bool:
    """Whether a program may save so much memory that it looks who holds its inputs."""
    return sum(nbytes for nbytes, numbers in zip(output_bytes, donors) if numbers) >= LEAST_BYTES


def match(donors: Sequence[Sequence[int]], dying: frozenset[int]) -> dict[int, int]:
    """An input for as many results as greedily possible, those with the fewest choices first."""
    chosen: dict[int, int] = {}
    taken: set[int] = set()
    choices = [[number for number in numbers if number in dying] for numbers in donors]
    for result in sorted(range(len(donors)), key=lambda j: len(choices[j])):
        for number in choices[result]:
            if number not in taken:
                chosen[result] = number
                taken.add(number)
                break
    return chosen
