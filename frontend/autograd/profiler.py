"""``flamework.autograd.profiler``: what a program runs, and how long it takes.

A lazy program takes its time where something runs, so that is what the events are: a plan is looked for
(``plan::lookup``), built if it is new (``plan::build``, with the compilations of its kernels, ``kernel::compile``) and
run (``plan::run``), kernel by kernel. A user's ranges are around them.

Work belongs to the block in which it was written: what is pending runs before a profile begins and before it ends.

In: a block. Out: an :class:`~flamework.autograd.profiler_util.EventList`. Read next: ``profiler_util.py``; and
``flamework.profiler``, which profiles some steps of many.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from types import TracebackType
from typing import Any

from ..recording import pending_node, pending_tensors
from ..runtime import engine, events
from .profiler_util import EventList, FunctionEvent, FunctionEventAvg, function_events

__all__ = ["EventList", "FunctionEvent", "FunctionEventAvg", "profile", "record_function"]


def run_pending() -> None:
    """Compute what live tensors wait for."""
    engine.realize([node for tensor in pending_tensors() if (node := pending_node(tensor)) is not None])


class profile:
    """Note what a block runs; as ``torch.autograd.profiler.profile``.

    Kernels run one by one meanwhile, with the same results. All threads are looked at.

    Args:
        enabled: False makes the block one like any other.
        use_cuda: there is no GPU to look at: only False can be had.
        record_shapes: note the sizes of what kernels read, for ``key_averages(group_by_input_shape=True)``.
        with_stack: note the user's lines that lead to each event, for ``group_by_stack_n`` and ``export_stacks``.

    Raises:
        RuntimeError: entered twice, or while another profile is active; ``use_cuda``; results are asked for before
            the block has ended.

    Example:
        >>> import flamework as torch
        >>> x = torch.ones(1000)
        >>> with torch.autograd.profiler.profile() as prof:
        ...     y = (x * 2 + 1).sum()
        >>> [event.key for event in prof.key_averages() if event.kind == "plan"]
        ['plan::lookup', 'plan::build', 'plan::run']
        >>> [(event.count, event.bytes_read) for event in prof.function_events if event.kind == "kernel"]
        [(1, 4000)]
    """

    def __init__(
        self, enabled: bool = True, *, use_cuda: bool = False, record_shapes: bool = False, with_stack: bool = False
    ) -> None:
        if use_cuda:
            raise RuntimeError("use_cuda=True: there is no GPU whose kernels could be profiled")
        self.enabled = enabled
        self.record_shapes = record_shapes
        self.with_stack = with_stack
        self.entered = False
        self._recorder: events.Recorder | None = None
        self._noted: list[events.Event] | None = None

    def __enter__(self) -> profile | None:
        if not self.enabled:
            return None
        if self.entered:
            raise RuntimeError("Profiler context manager is not reentrant")
        run_pending()
        recorder = events.Recorder(self.with_stack)
        events.start(recorder)
        self.entered, self._recorder = True, recorder
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if not self.enabled:
            return
        try:
            if kind is None:
                run_pending()
        finally:
            self.finish()

    def finish(self) -> None:
        """Note nothing any more."""
        self._noted = events.stop(self._recorder)

    @functools.cached_property
    def function_events(self) -> EventList:
        """All events, in the order in which they began."""
        if self._noted is None:
            raise RuntimeError("Profiler didn't finish running")
        return function_events(self._noted, self.record_shapes)

    def table(self, sort_by: str | None = None, row_limit: int = 100, **options: Any) -> str:
        """The events as a text; takes what :meth:`EventList.table` takes."""
        return self.function_events.table(sort_by, row_limit, **options)

    def key_averages(self, group_by_input_shape: bool = False, group_by_stack_n: int = 0) -> EventList:
        """Events of one name added up; see :meth:`EventList.key_averages`."""
        return self.function_events.key_averages(group_by_input_shape, group_by_stack_n)

    def total_average(self) -> FunctionEventAvg:
        """All events added up; see :meth:`EventList.total_average`."""
        return self.function_events.total_average()

    def export_chrome_trace(self, path: str | os.PathLike) -> None:
        """Write a file for ``chrome://tracing`` or Perfetto."""
        self.function_events.export_chrome_trace(path)

    def export_stacks(self, path: str | os.PathLike, metric: str = "self_cpu_time_total") -> None:
        """Write a file for flame graphs; see :meth:`EventList.export_stacks`.

        Raises:
            ValueError: the profile was made without ``with_stack``.
        """
        if not self.with_stack:
            raise ValueError("export_stacks() requires with_stack=True")
        self.function_events.export_stacks(path, metric)

    @property
    def self_cpu_time_total(self) -> float:
        """The time of all events, none counted twice, in microseconds."""
        return self.function_events.self_cpu_time_total

    def __str__(self) -> str:
        return "<unfinished torch.autograd.profile>" if self._noted is None else str(self.function_events)

    __repr__ = __str__


class record_function:
    """Name a block, or each call of a function, in the profiles around it; as ``torch.autograd.profiler``'s.

    What is recorded in the block runs in it only if somebody looks at it there. Without a profile it does nothing, and
    the replay of a compiled function does not enter it.

    Args:
        name: the name of the event.
        args: a text that the trace shows with it.

    Example:
        >>> import flamework as torch
        >>> with torch.autograd.profiler.profile() as prof:
        ...     with torch.autograd.profiler.record_function("forward"):
        ...         value = (torch.ones(3) * 2).sum().item()
        >>> prof.function_events[0].name, [child.name for child in prof.function_events[0].cpu_children][-1]
        ('forward', 'plan::run')
    """

    def __init__(self, name: str, args: str | None = None) -> None:
        if not isinstance(name, str):
            raise TypeError(f"record_function(): argument 'name' must be str, not {type(name).__name__}")
        self.name = name
        self.args = args
        self._spans: list[events.span] = []

    def __enter__(self) -> record_function:
        details = {} if self.args is None else {"args": self.args}
        self._spans.append(events.span("range", self.name, **details))
        self._spans[-1].__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._spans.pop().__exit__()

    def __call__(self, function: Callable) -> Callable:
        @functools.wraps(function)
        def named(*args: Any, **kwargs: Any) -> Any:
            with record_function(self.name, self.args):
                return function(*args, **kwargs)

        return named
