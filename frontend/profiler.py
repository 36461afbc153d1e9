"""``flamework.profiler``: profiles of some steps of a loop, with the names of ``torch.profiler``.

In: a block, and a schedule that says which steps are looked at. Out: events, averages and traces. Read next:
``autograd/profiler.py``, which does the work.
"""

from __future__ import annotations

import enum
import json
import os
import platform
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from types import TracebackType
from typing import Any

from .autograd.profiler import profile as _profile, record_function, run_pending
from .autograd.profiler_util import EventList, write_trace
from .origin import warn

__all__ = [
    "ProfilerAction", "ProfilerActivity", "profile", "record_function", "schedule", "supported_activities",
    "tensorboard_trace_handler",
]


class ProfilerActivity(enum.Enum):
    """Where work is looked at; as ``torch.profiler.ProfilerActivity``."""

    CPU = 0
    CUDA = 2


class ProfilerAction(enum.Enum):
    """What a profile does in a step; as ``torch.profiler.ProfilerAction``."""

    NONE = 0
    WARMUP = 1
    RECORD = 2
    RECORD_AND_SAVE = 3


_RECORDING = (ProfilerAction.RECORD, ProfilerAction.RECORD_AND_SAVE)


def supported_activities() -> set[ProfilerActivity]:
    """The activities that can be looked at here: kernels run on the CPU."""
    return {ProfilerActivity.CPU}


def schedule(
    *, wait: int, warmup: int, active: int, repeat: int = 0, skip_first: int = 0, skip_first_wait: int = 0
) -> Callable[[int], ProfilerAction]:
    """Which steps a profile looks at; as ``torch.profiler.schedule``.

    Args:
        wait, warmup, active: a cycle is so many steps without, so many to warm up, and so many that are noted.
        repeat: how many cycles there are; 0 for no end.
        skip_first: steps before the first cycle.
        skip_first_wait: leave out the first cycle's ``wait`` if not 0.

    Returns:
        A function from the number of a step to what is done in it.

    Raises:
        AssertionError: a negative number, or no active step.

    Example:
        >>> import flamework as torch
        >>> actions = torch.profiler.schedule(wait=1, warmup=1, active=2, repeat=1)
        >>> [actions(step).name for step in range(5)]
        ['NONE', 'WARMUP', 'RECORD', 'RECORD_AND_SAVE', 'NONE']
    """
    if min(wait, warmup, repeat, skip_first) < 0 or active <= 0:
        raise AssertionError(
            f"Invalid profiler schedule arguments. Got wait={wait} (need >= 0), warmup={warmup} (need >= 0), "
            f"active={active} (need > 0), repeat={repeat} (need >= 0), skip_first={skip_first} (need >= 0)."
        )
    if warmup == 0:
        warn("Profiler won't be using warmup, this can skew profiler results")

    def action(step: int) -> ProfilerAction:
        if step < 0:
            raise AssertionError(f"Step must be non-negative. Got {step}.")
        if step < skip_first:
            return ProfilerAction.NONE
        step += (wait if skip_first_wait else 0) - skip_first
        cycle, position = divmod(step, wait + warmup + active)
        if 0 < repeat <= cycle or position < wait:
            return ProfilerAction.NONE
        if position < wait + warmup:
            return ProfilerAction.WARMUP
        is_last = position == wait + warmup + active - 1
        return ProfilerAction.RECORD_AND_SAVE if is_last else ProfilerAction.RECORD

    return action


def tensorboard_trace_handler(
    dir_name: str | os.PathLike, worker_name: str | None = None, use_gzip: bool = False
) -> Callable[[profile], None]:
    """An ``on_trace_ready`` that writes each trace to a file of its own; as ``torch.profiler``'s.

    Args:
        dir_name: the folder; it is made if there is none.
        worker_name: how the files' names begin, by default with the host and the process.
        use_gzip: compress them.
    """

    def write(profiler: profile) -> None:
        folder = Path(dir_name)
        folder.mkdir(parents=True, exist_ok=True)
        worker = worker_name or f"{platform.node()}_{os.getpid()}"
        profiler.export_chrome_trace(folder / f"{worker}.{time.time_ns()}.pt.trace.json{'.gz' if use_gzip else ''}")

    return write


class profile:
    """Note what a block runs, or some steps of it; as ``torch.profiler.profile``.

    Args:
        activities: where to look: the CPU. A GPU that is not there is warned of.
        schedule: from the number of a step to a :class:`ProfilerAction`; by default everything is noted. The loop calls
            :meth:`step` at the end of each step. There is nothing to warm up: a step that would is left alone.
        on_trace_ready: called with the profile whenever a cycle, or the block, has ended.
        record_shapes, with_stack: as for :class:`flamework.autograd.profiler.profile`.

    Raises:
        AssertionError: no activity is left, or results are asked for before there are any.
        RuntimeError: another profile is active.

    Example:
        >>> import flamework as torch
        >>> x = torch.ones(1000)
        >>> steps = torch.profiler.schedule(wait=1, warmup=1, active=2, repeat=1)
        >>> with torch.profiler.profile(schedule=steps) as prof:
        ...     for _ in range(6):
        ...         y = torch.realize(x * 2)
        ...         prof.step()
        >>> [event.name for event in prof.events() if event.cpu_parent is None]
        ['ProfilerStep#2', 'ProfilerStep#3']
    """

    def __init__(
        self,
        *,
        activities: Iterable[ProfilerActivity] | None = None,
        schedule: Callable[[int], ProfilerAction] | None = None,
        on_trace_ready: Callable[[profile], Any] | None = None,
        record_shapes: bool = False,
        with_stack: bool = False,
    ) -> None:
        wanted = supported_activities() if activities is None else set(activities)
        for activity in wanted:
            if not isinstance(activity, ProfilerActivity):
                raise TypeError(f"activities are ProfilerActivity, but got {type(activity).__name__}")
        if ProfilerActivity.CUDA in wanted:
            warn("CUDA is not available, disabling CUDA profiling")
        self.activities = wanted & supported_activities()
        if not self.activities:
            raise AssertionError("No valid profiler activities found")
        self.schedule = schedule or (lambda step: ProfilerAction.RECORD)
        self.record_steps = schedule is not None
        self.on_trace_ready = on_trace_ready
        self.record_shapes = record_shapes
        self.with_stack = with_stack
        self.step_num = 0
        self.current_action = self.schedule(0)
        self.profiler: _profile | None = None
        self._metadata: dict[str, Any] = {}
        self._step: record_function | None = None

    def __enter__(self) -> profile:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._end(failed=kind is not None)

    def start(self) -> None:
        """Begin with the first step, as entering the block does."""
        self._change(ProfilerAction.NONE, self.current_action)
        self._begin_step()

    def stop(self) -> None:
        """End, as leaving the block does."""
        self._end(failed=False)

    def _end(self, failed: bool) -> None:
        self._end_step(failed)
        self._change(self.current_action, None)

    def step(self) -> None:
        """The next step begins. What the last one left pending runs first, if the step is noted."""
        self._end_step(failed=False)
        before, self.step_num = self.current_action, self.step_num + 1
        self.current_action = self.schedule(self.step_num)
        self._change(before, self.current_action)
        self._begin_step()

    def _begin_step(self) -> None:
        if self.record_steps:
            self._step = record_function(f"ProfilerStep#{self.step_num}")
            self._step.__enter__()

    def _end_step(self, failed: bool) -> None:
        if self.current_action in _RECORDING and not failed:
            run_pending()
        step, self._step = self._step, None
        if step is not None:
            step.__exit__(None, None, None)

    def _change(self, before: ProfilerAction, after: ProfilerAction | None) -> None:
        """From one action to the next; None after the last."""
        saves = before is ProfilerAction.RECORD_AND_SAVE or after is None
        if before in _RECORDING and (saves or after not in _RECORDING):
            if not saves:
                warn(f"Incorrect schedule: RECORD followed by {after.name}")
            self.profiler.finish()
            if saves and self.on_trace_ready is not None:
                self.on_trace_ready(self)
            before = ProfilerAction.NONE
        if after in _RECORDING and before not in _RECORDING:
            profiler = _profile(record_shapes=self.record_shapes, with_stack=self.with_stack)
            profiler.__enter__()
            self.profiler = profiler

    def _finished(self, what: str) -> _profile:
        if self.profiler is None or self.profiler._noted is None:
            raise AssertionError(f"Profiler must be initialized before {what}")
        return self.profiler

    def events(self) -> EventList:
        """The events of the last cycle, in the order in which they began."""
        return self._finished("accessing events").function_events

    def key_averages(self, group_by_input_shape: bool = False, group_by_stack_n: int = 0) -> EventList:
        """Events of one name added up; all steps are one name, ``ProfilerStep*``."""
        profiler = self._finished("getting key averages")
        for event in profiler.function_events:
            if event.is_user_annotation and event.name.startswith("ProfilerStep#"):
                event.key = "ProfilerStep*"
        return profiler.key_averages(group_by_input_shape, group_by_stack_n)

    def export_chrome_trace(self, path: str | os.PathLike) -> None:
        """Write a file for ``chrome://tracing`` or Perfetto; gzipped if its name ends in ``.gz``."""
        write_trace(path, self._finished("exporting chrome trace").function_events, self._metadata)

    def export_stacks(self, path: str | os.PathLike, metric: str = "self_cpu_time_total") -> None:
        """Write a file for flame graphs; see :meth:`EventList.export_stacks`."""
        self._finished("exporting stacks").export_stacks(path, metric)

    def add_metadata(self, key: str, value: str) -> None:
        """Have the trace hold a text under a name."""
        self._metadata[key] = str(value)

    def add_metadata_json(self, key: str, value: str) -> None:
        """Have the trace hold what a JSON text says under a name."""
        self._metadata[key] = json.loads(value)
