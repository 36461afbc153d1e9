"""Launches of one kernel that do not depend on one another, made into one launch.

A launch costs a GPU some microseconds, which is more than most parameters of a model take to be updated.

In: the steps of a program in order. Out: fewer of them, that compute the same. Read next: ``kernels/cuda/grouped.py``,
which writes the source of such a launch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from ..compiler.codegen_cuda import Launch
from ..compiler.ir import Node
from ..kernels.cuda import grouped


class Call(Protocol):
    """A call of one of the GPU's libraries."""

    def scratch_bytes(self, *addresses: int) -> int:
        """How much memory it needs beside operands and results at these addresses."""

    def __call__(self, *addresses: int, scratch: int) -> None:
        """Put it on the GPU's stream, with that memory at the address ``scratch``."""


@dataclass
class Step:
    """A launch: its source, how often, and its arguments, ``(kind, ...)``; or an operation of a library of Python, or a
    call of one of the GPU's libraries, with the addresses of its arguments.

    Which of the arguments are addresses of what it writes is said by ``written``; None of a step that keeps its place.
    """

    source: str
    launch: Launch | None
    arguments: list[tuple[Any, ...]]
    operation: Node | None = None
    call: Call | None = None
    written: frozenset[int] | None = None


LOOK_BACK = 16  # groups that a launch may belong to: the search is linear
BLOCKS = 8  # of a member for each multiprocessor: more than run at once
SIZES = (2, 4, 8, 16, 24, 32, 40, 48, 56, 64)  # members, some of which may be empty: each size is a kernel of its own


class Group:
    """Steps that may become one: what they write, and all that they touch, as spans of memories."""

    def __init__(self, step: Step, shared: Mapping[int, int]) -> None:
        self.shared = shared
        self.members: list[Step] = []
        self.writes: list[tuple[int, int, int]] = []
        self.touches: list[tuple[int, int, int]] = []
        self.keeps_place = step.written is None
        self.add(step)

    def add(self, step: Step) -> None:
        self.members.append(step)
        for k, (kind, *what) in enumerate(step.arguments):
            if kind == "pointer":
                base, begin, nbytes = what
                base = self.shared.get(base, base)
                self.touches.append((base, begin, begin + nbytes))
                if k in (step.written or ()):
                    self.writes.append(self.touches[-1])

    def conflicts(self, other: Group) -> bool:
        """Whether the order of the two matters: one writes memory that the other reads or writes."""
        return self.keeps_place or other.keeps_place or any(
            base == memory and begin < stop and start < end
            for one, two in ((self, other), (other, self))
            for base, begin, end in one.writes
            for memory, start, stop in two.touches
        )


def group(steps: Sequence[Step], processors: int, shared: Mapping[int, int]) -> list[Step]:
    """The steps with launches grouped. Every step comes after what it depends on.

    Args:
        shared: for memories that may turn out to be one, which of them stands for all.
    """
    groups: list[Group] = []
    for step in steps:
        alone = Group(step, shared)
        for found in reversed(groups[-LOOK_BACK:]):
            if found.conflicts(alone):
                groups.append(alone)
                break
            if fits(step, found.members):
                found.add(step)
                break
        else:
            groups.append(alone)
    return [x.members[0] if len(x.members) == 1 else merged(x.members, processors) for x in groups]


def fits(step: Step, others: Sequence[Step]) -> bool:
    """Whether a step can be one of a group's members."""
    first = others[0]
    if step.source != first.source or step.launch is None or first.launch is None or len(others) == SIZES[-1]:
        return False
    members = [*others, step]
    count = shared_by(members).count(False) + 2
    parameters = len(step.arguments) - count + 2 + count * size_of(len(members)) + 1
    return parameters <= grouped.MOST_PARAMETERS and (step.launch.function, step.launch.threads) == (
        first.launch.function, first.launch.threads
    )


def size_of(members: int) -> int:
    return next(size for size in SIZES if size >= members)


def shared_by(members: Sequence[Step]) -> tuple[bool, ...]:
    """Which arguments are the same for all members, whatever their sizes."""
    found = zip(*(step.arguments for step in members))
    return tuple(x[0][0] != "word" and all(other == x[0] for other in x) for x in found)


def merged(members: Sequence[Step], processors: int) -> Step:
    """One launch of all members. Those that fill it up to a size have no block of their own."""
    first = members[0]
    shared, size = shared_by(members), size_of(len(members))
    arguments = [argument for argument, common in zip(first.arguments, shared) if common]
    begin = 0
    for step in members:
        arguments += [argument for argument, common in zip(step.arguments, shared) if not common]
        arguments += [("word", step.launch.units), ("word", begin)]
        begin += min(step.launch.blocks, BLOCKS * processors)
    arguments += [*[("word", 0)] * (shared.count(False) + 1), ("word", begin)] * (size - len(members))
    source = grouped.source(first.source, first.launch.function, shared, size)
    written = frozenset(k for k, argument in enumerate(arguments) if argument[0] == "pointer")
    return Step(source, Launch("kernel", begin, first.launch.threads, begin), arguments, written=written)
