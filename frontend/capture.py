"""Recording for replay: what a compiled function does besides recording nodes.

While a function is captured, values that come from outside the graph anew at every call are noted in the order in which
they were asked for: random numbers drawn on the host, the counts of an optimizer's steps. A replay asks again, in that
order. Outside a capture the functions here just call what they are given.

What a replay could not repeat is refused with the user's line: looking at a tensor's value, printing, reading the
clock, Python's own random numbers.

In: functions that give a number or an array. Out: numbers and nodes. Read next: ``guards.py``, ``compiled.py``.
"""

from __future__ import annotations

import collections
import datetime
import gc
import io
import os
import random
import sys
import threading
import time
from collections.abc import Callable, Container, Iterable, Sequence
from types import FrameType
from typing import Any

import numpy as np

from . import live
from .compiler import primitives as p
from .compiler.ir import Node, topological
from .live import Expression, LiveInteger, LiveNumber, is_live
from .recording import input_node, pending
from .runtime import engine

_PACKAGE = __name__.partition(".")[0]
# Libraries whose own code and objects do not decide what a function records.
_LIBRARIES = {
    "numpy", "scipy", "numba", "llvmlite", "torch", "jax", "sklearn", "pandas", "matplotlib", "tqdm", "networkx",
    "pytest", "_pytest", "pluggy", "hypothesis", "builtins", *sys.stdlib_module_names,
} - {"__main__"}

_CLOCK = "reads the clock"
_REFUSED: dict[Any, str] = {
    print: "prints", input: "reads input", open: "opens a file", exec: "executes code", eval: "evaluates code",
    globals: "looks at globals()", time.sleep: "sleeps",
    **{
        getattr(time, name): _CLOCK
        for name in (
            "time", "time_ns", "perf_counter", "perf_counter_ns", "monotonic", "monotonic_ns", "process_time",
            "process_time_ns", "thread_time", "thread_time_ns", "localtime", "gmtime", "ctime", "strftime",
        )
        if hasattr(time, name)
    },
    **{
        getattr(os, name): f"calls os.{name}()"
        for name in (
            "system", "write", "remove", "unlink", "mkdir", "rmdir", "rename", "replace", "putenv", "unsetenv", "fork",
            "kill", "urandom", "chdir", "truncate", "symlink", "link", "utime", "chmod",
        )
        if hasattr(os, name)
    },
}
_READS_AND_WRITES = ("write", "writelines", "truncate", "read", "readline", "readlines", "readinto")
_MUTATORS = {
    "append", "extend", "insert", "pop", "remove", "clear", "update", "add", "setdefault", "discard", "sort", "reverse",
    "popitem", "appendleft", "extendleft", "popleft", "rotate", "__setitem__", "__delitem__",
}
_CONTAINERS = (list, dict, set, collections.deque, bytearray)
# Python code that runs between a user's line and a system call without being anybody's intention
_MACHINERY = (
    "importlib", "_frozen_importlib", "_frozen_importlib_external", "warnings", "linecache", "tokenize",
    "traceback",
)


def restore_profile(profile: Any) -> None:
    """Give the interpreter back to the profiler that had it: a function, or an object such as cProfile's."""
    sys.setprofile(profile if callable(profile) else None)
    if profile is not None and not callable(profile):
        profile.enable()


class SideEffectError(RuntimeError):
    """A compiled function did something that a replay could not repeat. The message names the line."""


class Transparent:
    """An object that stands for the ``function`` in it: what the function reaches matters, the object does not."""

    function: Callable


class Capture:
    """One recording.

    Attributes:
        events: functions that a replay calls, in order, before it runs the plan.
        undo: for each of them what takes its effect back, or None.
        covered: ``(id of a container, key)`` of values that an event changes.
        drawn: input nodes made from what an event returned, with its position.
        created: buffers of tensors made from data that are the same at every call, by identity.
        constants: nodes computed meanwhile from such data only.
        conditions: what was asked about numbers that may be others at the next call.
        mutations: where the user's code called a method that changes a container, by the container's identity.
        outside: nodes of tensors that the function was given or can reach.
        containers: identities of the objects that the function can reach.
        draws: whether random numbers were drawn.
    """

    def __init__(self, outside: Container[Node], containers: Container[int]) -> None:
        self.thread = threading.get_ident()
        self.events: list[Callable[[], Any]] = []
        self.undo: list[Callable[[], None] | None] = []
        self.covered: set[tuple[int, Any]] = set()
        self.drawn: dict[Node, int] = {}
        self.created: dict[int, Any] = {}
        self.constants: set[Node] = set()
        self.conditions = live.Conditions()
        self.mutations: dict[int, str] = {}
        self.outside = outside
        self.containers = containers
        self.live_arguments: list[LiveNumber] = []
        self.reading = False
        self.draws = False
        self.refusal: SideEffectError | None = None

    def refuse(self, message: str) -> SideEffectError:
        """The error for the user, which is remembered in case that somebody catches it."""
        self.refusal = SideEffectError(message)
        return self.refusal

    def event(self, function: Callable[[], Any], undo: Callable[[], None] | None = None) -> int:
        self.events.append(function)
        self.undo.append(undo)
        return len(self.events) - 1

    def is_constant(self, node: Node) -> bool:
        """Whether a computed node holds data that are the same at every call."""
        return node in self.constants or id(node.value) in self.created


_active: Capture | None = None
_lock = threading.RLock()


def active() -> Capture | None:
    """The capture that this thread's operations belong to."""
    capture = _active
    return capture if capture is not None and capture.thread == threading.get_ident() else None


def capturing() -> bool:
    """Whether this thread is recording a function for replay."""
    return _active is not None and _active.thread == threading.get_ident()


def number(read: Callable[[], float]) -> float:
    """A number that may be another at the next call of the same program: a learning rate, a count of steps."""
    capture = active()
    if capture is None:
        return read()
    # a learning rate may be a tensor: it is looked at here and at every replay
    capture.reading = True
    try:
        value = read()
    finally:
        capture.reading = False
    if is_live(value):
        return value
    return LiveNumber(value, Expression("event", capture.event(read)))


def effect(
    function: Callable[[], Any], undo: Callable[[], None] | None = None, changes: tuple[Any, Any] | None = None
) -> Any:
    """Call ``function`` now, and again at every replay, in order with what else is asked for.

    Args:
        undo: takes the effect back, for a replay that fails.
        changes: the container and key of a value that it changes.
    """
    capture = active()
    if capture is not None:
        capture.event(function, undo)
        if changes is not None:
            capture.covered.add((id(changes[0]), changes[1]))
    return function()


def drawn_node(draw: Callable[[], np.ndarray], device: str = "cpu") -> Node:
    """An input made of an array that is drawn anew at every replay."""
    node = input_node(np.ascontiguousarray(draw()), device)
    capture = active()
    if capture is not None:
        capture.draws = True
        for cell in draw.__closure__ or ():
            if type(cell.cell_contents) is LiveNumber:
                # the bounds of a distribution are taken as they are
                cell.cell_contents.pin()
        capture.drawn[node] = capture.event(lambda: np.ascontiguousarray(draw()))
        capture.created.pop(id(node.value), None)
    return node


def drawn_integers(draw: Callable[[], tuple[int, ...]]) -> tuple[int, ...]:
    """Integers that are drawn once now and once at every replay, in order (key and position of a random stream)."""
    values = draw()
    capture = active()
    if capture is None:
        return values
    capture.draws = True
    at = capture.event(draw)
    return tuple(LiveInteger(value, Expression("event", at, i)) for i, value in enumerate(values))


class Recording:
    """Context in which a function is captured. One thread records at a time."""

    def __init__(self, outside: Container[Node] = (), containers: Container[int] = ()) -> None:
        self.capture = Capture(outside, containers)

    def __enter__(self) -> Capture:
        global _active
        _lock.acquire()
        self.random = python_random_states()
        _active = self.capture
        live.current = self.capture.conditions
        self.limit = pending.limit
        pending.limit = sys.maxsize
        engine.refuse = refuse_observation
        engine.created = self.capture.created
        # a collection calls whatever others have registered, which is not the function's doing
        self.collects = gc.isenabled()
        gc.disable()
        self.profile = sys.getprofile()
        sys.setprofile(watch)
        return self.capture

    def __exit__(self, kind: type | None, *exception: object) -> None:
        global _active
        restore_profile(self.profile)
        if self.collects:
            gc.enable()
        _active = live.current = None
        pending.limit = self.limit
        engine.refuse = engine.created = None
        _lock.release()
        if kind is None and self.random != python_random_states():
            raise SideEffectError(
                "a compiled function draws random numbers outside of Flamework, which a replay would not do again. "
                "Draw them outside of the function, or use Flamework's."
            )


def python_random_states() -> tuple:
    """The states of the random generators of Python and NumPy that anybody can reach."""
    if "numpy.random" not in sys.modules:
        return (random.getstate(),)
    state = np.random.get_state(legacy=False)
    inner = state["state"]
    return (
        random.getstate(), state["bit_generator"], state["has_gauss"], state["gauss"],
        tuple(v.tobytes() if isinstance(v, np.ndarray) else v for v in inner.values()),
    )


# ----------------------------------------------------------------------------------------------------------- refusals


def refuse_observation(nodes: Sequence[Node]) -> None:
    """Refuse to let the user's code see what will be another value at the next call.

    Raises:
        SideEffectError: one of the nodes depends on anything but constants of the program.
    """
    capture = active()
    if capture is None:
        return
    if all(is_static(capture, node) for node in nodes):
        capture.constants.update(nodes)
        return
    if capture.reading and all(node.value is not None for node in nodes):
        return
    raise capture.refuse(
        f"a compiled function cannot look at the value of a tensor while it is recorded ({users_line()}): item(), "
        "bool(), print() and data-dependent shapes need the value at every call. Return the tensor, or do this outside "
        "of the function."
    )


def is_static(capture: Capture, node: Node) -> bool:
    """Whether a value is the same at every call: computed from constants of the program only."""
    for found in topological([node]):
        if found in capture.outside or found in capture.drawn or is_live(found.value):
            return False
        if found.value is not None and found.op is not p.scalar and not capture.is_constant(found):
            return False
    return True


def watch(frame: FrameType, event: str, called: Any) -> None:
    """Profile hook, sees calls of builtins: notes those that change containers, refuses what a replay cannot do."""
    if event != "c_call":
        return
    capture = _active
    owner = getattr(called, "__self__", None)
    name = called.__name__
    what = None
    if isinstance(owner, _CONTAINERS):
        if name in _MUTATORS and id(owner) in capture.containers and not is_ours(frame):
            capture.mutations.setdefault(id(owner), line_of(users_frame(frame)))
        return
    if owner is not None and type(owner) is not type(sys):
        if isinstance(owner, (random.Random, np.random.RandomState, np.random.Generator)):
            what = "draws random numbers outside of Flamework"
        elif isinstance(owner, io.IOBase) and name in _READS_AND_WRITES:
            if not isinstance(owner, (io.StringIO, io.BytesIO)) or id(owner) in capture.containers:
                what = "writes to the terminal" if owner in (sys.stdout, sys.stderr) else f"calls {name}() of a file"
        elif isinstance(owner, type) and issubclass(owner, datetime.date) and name in ("now", "utcnow", "today"):
            what = _CLOCK
    elif called.__module__ == "math":
        # these take the bare number out of a float without its noticing
        for argument in capture.live_arguments:
            argument.pin()
        return
    else:
        what = _REFUSED.get(called)
    if what is None or is_ours(frame):
        return
    place = users_frame(frame)
    if place is not None:
        raise capture.refuse(
            f"a compiled function {what} at {line_of(place)}; a replay would not do that again. Do it outside of the "
            "function."
        )


def is_ours(frame: FrameType) -> bool:
    return frame.f_globals.get("__name__", "").partition(".")[0] == _PACKAGE


def is_known_library(module: str) -> bool:
    """Whether a module belongs to Flamework, to Python or to a library that records nothing."""
    top = module.partition(".")[0]
    return top == _PACKAGE or top in _LIBRARIES


def users_frame(frame: FrameType | None) -> FrameType | None:
    """The innermost frame of the user's own code.

    None if it is not the user's doing: if Python is importing or warning, or a library works for Flamework.
    """
    while frame is not None:
        module = frame.f_globals.get("__name__") or ""
        if module.partition(".")[0] in _MACHINERY or is_ours(frame):
            return None
        if not is_known_library(module):
            return frame
        frame = frame.f_back
    return None


def line_of(frame: FrameType | None) -> str:
    return "?" if frame is None else f"{frame.f_code.co_filename}:{frame.f_lineno}"


def users_line() -> str:
    """File and line of the innermost statement of somebody's own code."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and is_known_library(frame.f_globals.get("__name__") or ""):
        frame = frame.f_back
    return line_of(frame)


def undo(capture_undo: Iterable[Callable[[], None] | None]) -> None:
    """Take back what events did, the last first."""
    for function in reversed(list(capture_undo)):
        if function is not None:
            function()
