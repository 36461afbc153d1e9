"""What runs while somebody profiles: plans that are looked for, built and run, their kernels, compilations, and ranges.

Nothing is noted as long as :data:`active` is None, which is what hot code tests. While there is a :class:`Recorder`, a
tape runs launch by launch, each with the time that it took; its results are the same.

In: begins and ends from all over the runtime. Out: :class:`Event` in the order in which they began. Read next:
``frontend/autograd/profiler.py``.
"""

from __future__ import annotations

import itertools
import sys
import threading
import time
from collections.abc import Callable
from types import FrameType
from typing import TYPE_CHECKING

from ..kernels.cpu.driver import ENTRY_WORDS

if TYPE_CHECKING:
    from .plan import Plan

# The names of events that are no kernel and no user's range.
LOOKUP, BUILD, RUN, COMPILE = "plan::lookup", "plan::build", "plan::run", "kernel::compile"

_PACKAGE = __name__.partition(".")[0]


class Event:
    """Something that took time.

    Attributes:
        kind: ``plan``, ``kernel``, ``compilation`` or ``range``.
        name: what it is; empty for a kernel, which is named when it is looked at.
        thread: the number of its thread, in the order in which threads began.
        start, end: in nanoseconds.
        parent: the event of the same thread in which it happened.
        launch: of a kernel, the plan and which of its launches it is.
        details: what else is known, by name.
        stack: the user's lines that led here, innermost first; empty unless they were asked for.
    """

    __slots__ = ("kind", "name", "thread", "start", "end", "parent", "launch", "details", "stack")

    def __init__(self, kind: str, name: str, thread: int, parent: Event | None) -> None:
        self.kind = kind
        self.name = name
        self.thread = thread
        self.parent = parent
        self.launch: tuple[Plan, int] | None = None
        self.details: dict[str, object] = {}
        self.stack: list[str] = []
        self.start = self.end = 0


class Recorder:
    """Notes events of all threads until it is stopped.

    Args:
        with_stack: note the user's lines as well.
    """

    def __init__(self, with_stack: bool = False) -> None:
        self.events: list[Event] = []
        self.with_stack = with_stack
        self.lock = threading.Lock()
        # of each thread its number and the events that have begun and not ended
        self.open: dict[int, tuple[int, list[Event]]] = {}

    def begin(self, kind: str, name: str, launch: tuple[Plan, int] | None = None, **details: object) -> Event:
        thread = threading.get_ident()
        with self.lock:
            number, stack = self.open.setdefault(thread, (len(self.open) + 1, []))
            event = Event(kind, name, number, stack[-1] if stack else None)
            stack.append(event)
            self.events.append(event)
        event.launch = launch
        event.details = details
        if self.with_stack:
            event.stack = event.parent.stack if launch is not None and event.parent else user_stack(sys._getframe(1))
        event.start = event.end = time.perf_counter_ns()
        return event

    def end(self, event: Event) -> None:
        """End an event, and with it what began inside it and was left open."""
        now = time.perf_counter_ns()
        with self.lock:
            for number, stack in self.open.values():
                if number == event.thread and event in stack:
                    while True:
                        last = stack.pop()
                        last.end = now
                        if last is event:
                            return

    def stop(self) -> list[Event]:
        """End everything; gives the events in the order in which they began."""
        for _, stack in list(self.open.values()):
            if stack:
                self.end(stack[0])
        return self.events


active: Recorder | None = None


def start(recorder: Recorder) -> None:
    """Note events with ``recorder`` from now on.

    Raises:
        RuntimeError: another one is doing so.
    """
    global active
    if active is not None:
        raise RuntimeError("Profiler is already enabled: one can be active at a time")
    active = recorder


def stop(recorder: Recorder) -> list[Event]:
    """Note nothing any more; gives the events."""
    global active
    if active is recorder:
        active = None
    return recorder.stop()


class span:
    """Note a block as an event, if anybody wants to know."""

    __slots__ = ("described", "opened")

    def __init__(self, kind: str, name: str, **details: object) -> None:
        self.described = kind, name, details
        self.opened: tuple[Recorder, Event] | None = None

    def __enter__(self) -> None:
        recorder = active
        if recorder is not None:
            kind, name, details = self.described
            self.opened = recorder, recorder.begin(kind, name, **details)

    def __exit__(self, *error: object) -> None:
        if self.opened is not None:
            recorder, event = self.opened
            recorder.end(event)


def run_tape(recorder: Recorder, plan: Plan, run: Callable[[int, int], int]) -> int:
    """Run the tape of a plan, launch by launch, as ``run(tape_address, entries)`` runs all of it."""
    whole = recorder.begin(
        "plan", RUN, launches=plan.launches, arena_bytes=plan.arena_bytes, result_bytes=sum(plan.tape.output_bytes)
    )
    # what comes before the first launch writes addresses and numbers to where the kernels read them
    done = run(plan.tape_address, plan.tape.first_entries[0])
    for launch, (first, end) in enumerate(itertools.pairwise([*plan.tape.first_entries, plan.entries])):
        if done != first:
            break  # an error in the data
        event = recorder.begin("kernel", "", (plan, launch))
        done += run(plan.tape_address + 8 * ENTRY_WORDS * first, end - first)
        recorder.end(event)
    recorder.end(whole)
    return done


def user_stack(frame: FrameType | None) -> list[str]:
    """The lines outside the package that led to a frame, innermost first."""
    found = []
    while frame is not None:
        if frame.f_globals.get("__name__", "").partition(".")[0] != _PACKAGE:
            found.append(f"{frame.f_code.co_filename}({frame.f_lineno}): {frame.f_code.co_name}")
        frame = frame.f_back
    return found
