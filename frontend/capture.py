"""Recording for replay: what a compiled function does besides recording nodes.

While a function is captured, values that come from outside the graph anew at every call are noted in the order in which
they were asked for: random numbers drawn on the host, learning rates, step counts. A replay asks again, in that order.
Outside a capture the functions here just call what they are given.

What a replay could not repeat is refused with the user's line: looking at a tensor's value, printing, reading the
clock or Python's own random numbers.

In: functions that give a number or an array. Out: numbers and nodes. Read next: ``guards.py``, ``compiled.py``.
"""

from __future__ import annotations

import os
import random
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .compiler.ir import Node
from .recording import input_node, pending
from .runtime import engine

_FOLDER = os.path.dirname(os.path.abspath(__file__))
_PACKAGE = __name__.partition(".")[0]

_REFUSED = {
    print: "prints", input: "reads input", open: "opens a file", exec: "executes code",
    time.time: "reads the clock", time.perf_counter: "reads the clock", time.monotonic: "reads the clock",
    time.sleep: "sleeps",
}


class SideEffectError(RuntimeError):
    """A compiled function did something that a replay could not repeat. The message names the line."""


class LiveNumber(float):
    """A Python number that is read anew at every replay. Arithmetic with numbers gives another such number."""

    __slots__ = ("read",)

    def __new__(cls, read: Callable[[], float]):
        number = super().__new__(cls, read())
        number.read = read
        return number

    def __neg__(self):
        return LiveNumber(lambda: -self.read())

    def __add__(self, other):
        return LiveNumber(lambda: self.read() + now(other))

    def __radd__(self, other):
        return LiveNumber(lambda: now(other) + self.read())

    def __sub__(self, other):
        return LiveNumber(lambda: self.read() - now(other))

    def __rsub__(self, other):
        return LiveNumber(lambda: now(other) - self.read())

    def __mul__(self, other):
        return LiveNumber(lambda: self.read() * now(other))

    __rmul__ = __mul__

    def __truediv__(self, other):
        return LiveNumber(lambda: self.read() / now(other))

    def __rtruediv__(self, other):
        return LiveNumber(lambda: now(other) / self.read())

    def __pow__(self, other):
        return LiveNumber(lambda: self.read() ** now(other))

    def __rpow__(self, other):
        return LiveNumber(lambda: now(other) ** self.read())


class LiveInteger(int):
    """A Python integer that is drawn anew at every replay: a seed, a position in a random stream."""

    def __new__(cls, read: Callable[[], int]):
        integer = super().__new__(cls, read())
        integer.read = read
        return integer


def is_live(value: Any) -> bool:
    return type(value) is LiveNumber or type(value) is LiveInteger


def now(value: float) -> float:
    return value.read() if type(value) is LiveNumber else value


class Capture:
    """One recording.

    Attributes:
        sequence: functions that a replay calls, in order, before it runs the plan.
        nodes: input nodes made from what such a function returned, with its position.
    """

    def __init__(self) -> None:
        self.sequence: list[Callable[[], Any]] = []
        self.nodes: dict[Node, int] = {}
        self.created: set[Node] = set()


_active: Capture | None = None


def capturing() -> bool:
    return _active is not None


def number(read: Callable[[], float]) -> float:
    """A number that may be another at the next call of the same program: a learning rate, a bias correction."""
    return read() if _active is None else LiveNumber(read)


def effect(function: Callable[[], Any]) -> Any:
    """Call ``function`` now, and again at every replay, in order with what else is asked for."""
    if _active is not None:
        _active.sequence.append(function)
    return function()


def drawn_node(draw: Callable[[], np.ndarray], device: str = "cpu") -> Node:
    """An input made of an array that is drawn anew at every replay."""
    node = input_node(np.ascontiguousarray(draw()), device)
    if _active is not None:
        _active.nodes[node] = len(_active.sequence)
        _active.sequence.append(lambda: np.ascontiguousarray(draw()))
    return node


def drawn_integers(draw: Callable[[], tuple[int, ...]]) -> tuple[int, ...]:
    """Integers that are drawn once now and once at every replay, in order (key and position of a random stream)."""
    values = draw()
    if _active is None:
        return values
    held = [values]

    def again() -> None:
        held[0] = draw()

    _active.sequence.append(again)
    return tuple(LiveInteger(lambda i=i: held[0][i]) for i in range(len(values)))


class Recording:
    """Context in which a function is captured."""

    def __enter__(self) -> Capture:
        global _active
        self.capture = _active = Capture()
        self.limit = pending.limit
        pending.limit = sys.maxsize
        engine.refuse = refuse_observation
        self.profile = sys.getprofile()
        sys.setprofile(watch)
        return self.capture

    def __exit__(self, *exception) -> None:
        global _active
        sys.setprofile(self.profile)
        _active = None
        pending.limit = self.limit
        engine.refuse = None


def refuse_observation(nodes: Sequence[Node]) -> None:
    raise SideEffectError(
        f"a compiled function cannot look at the value of a tensor while it is recorded ({users_line()}): item(), bool(), "
        "print() and data-dependent shapes need the value at every call. Return the tensor, or do this outside of the "
        "function."
    )


def watch(frame, event: str, called) -> None:
    """Profile hook: refuses calls of builtins that a replay would leave out."""
    if event != "c_call":
        return
    what = _REFUSED.get(called) if called.__hash__ is not None else None
    if what is None:
        owner = getattr(called, "__self__", None)
        if isinstance(owner, (random.Random, np.random.RandomState, np.random.Generator)):
            what = "draws random numbers outside of Flamework"
        elif owner is sys.stdout or owner is sys.stderr:
            what = "writes to the terminal"
    if what is None:
        return
    place = frame
    while place is not None and is_ours(place):
        place = place.f_back
    if what.startswith("draws") and place is not frame and is_ours(frame):
        return
    if place is None or is_ours(frame):
        return
    raise SideEffectError(
        f"a compiled function {what} at {place.f_code.co_filename}:{place.f_lineno}; a replay would not do that again. "
        "Do it outside of the function."
    )


def is_ours(frame) -> bool:
    return frame.f_globals.get("__name__", "").partition(".")[0] == _PACKAGE


def users_line() -> str:
    """The first line of the call stack that is not ours."""
    frame = sys._getframe(1)
    while frame is not None and is_ours(frame):
        frame = frame.f_back
    return "?" if frame is None else f"{frame.f_code.co_filename}:{frame.f_lineno}"
