"""Events as a user reads them: as a table, by name, and as a trace.

In: what ``runtime/events.py`` noted. Out: an :class:`EventList` of :class:`FunctionEvent`, their averages, Chrome's
trace format. The names are those of ``torch.autograd.profiler_util``; kernels also tell how much memory they touch.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..runtime.events import Event

if TYPE_CHECKING:
    from ..inspection import Kernel
    from ..runtime.plan import Plan

# What Chrome's trace viewer calls the kinds of events.
CATEGORIES = {"plan": "plan", "kernel": "kernel", "compilation": "compilation", "range": "user_annotation"}

_HEADERS = ["Self CPU %", "Self CPU", "CPU total %", "CPU total", "CPU time avg", "# of Calls", "Read", "Written"]
_WIDTH = 12


def format_time(microseconds: float, unit: str | None = None) -> str:
    """A time with its unit, by default the largest in which it is not below 1."""
    if unit is None:
        unit = "s" if microseconds >= 1e6 else "ms" if microseconds >= 1e3 else "us"
    scale = {"s": 1e6, "ms": 1e3, "us": 1.0}.get(unit)
    if scale is None:
        raise ValueError(f"a time_unit is 's', 'ms' or 'us', but got {unit!r}")
    return f"{microseconds / scale:.3f}{unit}"


def format_share(part: float, whole: float) -> str:
    return f"{part * 100.0 / whole:.2f}%" if whole else "NaN"


def format_memory(nbytes: int) -> str:
    for unit, scale in (("GB", 1 << 30), ("MB", 1 << 20), ("KB", 1 << 10)):
        if nbytes >= scale:
            return f"{nbytes / scale:.2f} {unit}"
    return f"{nbytes} B"


class _Times:
    """What events and averages have in common: times in microseconds."""

    key: str | None
    count: int
    cpu_time_total: float
    self_cpu_time_total: float

    @property
    def cpu_time(self) -> float:
        """The mean time of a call, in microseconds."""
        return self.cpu_time_total / self.count if self.count else 0.0

    cpu_time_str = property(lambda self: format_time(self.cpu_time))
    cpu_time_total_str = property(lambda self: format_time(self.cpu_time_total))
    self_cpu_time_total_str = property(lambda self: format_time(self.self_cpu_time_total))


class Interval:
    """A span of time in microseconds since the profile began."""

    __slots__ = ("start", "end")

    def __init__(self, start: float, end: float) -> None:
        self.start = start
        self.end = end

    def elapsed_us(self) -> float:
        return self.end - self.start

    def __repr__(self) -> str:
        return f"Interval(start={self.start:.3f}, end={self.end:.3f})"


class FunctionEvent(_Times):
    """One event: a plan that was looked for, built or run, a kernel, a compilation, or a user's range.

    Attributes:
        id: its position among the events.
        name, key: what it is; a kernel is named as :func:`flamework.explain` names it.
        kind: ``plan``, ``kernel``, ``compilation`` or ``range``.
        thread: the number of its thread.
        time_range: when it was.
        cpu_parent, cpu_children: the event of the same thread around it, and those directly inside it.
        input_shapes: of a kernel, the sizes of what it reads, if ``record_shapes``.
        stack: the user's lines that led here, innermost first, if ``with_stack``.
        bytes_read, bytes_written: of a kernel, the memory that it touches.
        kernel: the :class:`~flamework.inspection.Kernel`, with its operations, operands and sources; or None.
        details: what else is known, by name.
    """

    count = 1

    def __init__(self, id: int, event: Event, origin: int, kernel: Kernel | None, shapes: bool) -> None:
        self.id = id
        self.kind = event.kind
        self.name = self.key = event.name if kernel is None else kernel.name
        self.thread = event.thread
        self.time_range = Interval((event.start - origin) / 1e3, (event.end - origin) / 1e3)
        self.cpu_parent: FunctionEvent | None = None
        self.cpu_children: list[FunctionEvent] = []
        self.kernel = kernel
        reads = [] if kernel is None else [operand for operand in kernel.operands if operand.mode == "read"]
        self.input_shapes = [list(operand.shape) for operand in reads] if shapes else []
        self.stack = event.stack
        self.bytes_read = 0 if kernel is None else kernel.bytes_read
        self.bytes_written = 0 if kernel is None else kernel.bytes_written
        self.details = event.details

    @property
    def is_user_annotation(self) -> bool:
        return self.kind == "range"

    @property
    def cpu_time_total(self) -> float:
        return self.time_range.elapsed_us()

    @property
    def self_cpu_time_total(self) -> float:
        """The time that is in none of its children."""
        return self.cpu_time_total - sum(child.cpu_time_total for child in self.cpu_children)

    def __repr__(self) -> str:
        return (
            f"<FunctionEvent id={self.id} name={self.name} cpu_time={self.cpu_time_str} "
            f"start_us={self.time_range.start:.3f} end_us={self.time_range.end:.3f} "
            f"cpu_children={[child.id for child in self.cpu_children]} thread={self.thread} "
            f"input_shapes={self.input_shapes} bytes_read={self.bytes_read} bytes_written={self.bytes_written}>"
        )


class FunctionEventAvg(_Times):
    """Events of one name, added up; as ``torch.autograd.profiler_util.FunctionEventAvg``.

    Attributes:
        key: their name.
        count: how many there are.
        cpu_time_total, self_cpu_time_total: their times in microseconds, without their children in the second.
        bytes_read, bytes_written: the memory that they touch, if they are kernels.
    """

    def __init__(self) -> None:
        self.key: str | None = None
        self.count = 0
        self.cpu_time_total = self.self_cpu_time_total = 0.0
        self.bytes_read = self.bytes_written = 0
        self.cpu_parent: FunctionEvent | None = None
        self.input_shapes: list[list[int]] = []
        self.stack: list[str] = []
        self.kind = ""
        self.is_user_annotation = False

    def add(self, other: FunctionEvent | FunctionEventAvg) -> FunctionEventAvg:
        """Add an event, or events that were added up before."""
        if self.key is None:
            for name in ("key", "cpu_parent", "input_shapes", "stack", "kind", "is_user_annotation"):
                setattr(self, name, getattr(other, name))
        for name in ("count", "cpu_time_total", "self_cpu_time_total", "bytes_read", "bytes_written"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        return self

    __iadd__ = add

    def __repr__(self) -> str:
        return (
            f"<FunctionEventAvg key={self.key} self_cpu_time={self.self_cpu_time_total_str} "
            f"cpu_time={self.cpu_time_str} input_shapes={self.input_shapes} bytes_read={self.bytes_read} "
            f"bytes_written={self.bytes_written}>"
        )


class EventList(list):
    """Events, or their averages; as ``torch.autograd.profiler_util.EventList``."""

    def __str__(self) -> str:
        return self.table()

    @property
    def self_cpu_time_total(self) -> float:
        """The time of all events, none counted twice, in microseconds."""
        return sum(event.self_cpu_time_total for event in self)

    def table(
        self,
        sort_by: str | None = None,
        row_limit: int = 100,
        max_src_column_width: int | None = 75,
        max_name_column_width: int | None = 55,
        max_shapes_column_width: int | None = 80,
        header: str | None = None,
        top_level_events_only: bool = False,
        time_unit: str | None = None,
    ) -> str:
        """The events as a text, one in a line; empty if there are none.

        Args:
            sort_by: the attribute by which events are sorted, the largest first: ``count``, ``cpu_time``,
                ``cpu_time_total``, ``self_cpu_time_total``, ``bytes_read``, ``bytes_written``, ``key``. By default in
                the order in which they began.
            row_limit: how many are shown at most; -1 for all.
            max_src_column_width, max_name_column_width, max_shapes_column_width: longer texts are cut; None for no
                bound.
            header: a line that comes first.
            top_level_events_only: leave out what happened inside of another event.
            time_unit: ``s``, ``ms`` or ``us`` for all times, instead of one that fits each.

        Raises:
            AttributeError: events have no such attribute.
        """
        if not self:
            return ""
        rows = list(self)
        if sort_by is not None:
            rows.sort(key=lambda event: getattr(event, sort_by), reverse=True)
        if top_level_events_only:
            rows = [event for event in rows if event.cpu_parent is None]
        if row_limit >= 0:
            rows = rows[:row_limit]
        whole = self.self_cpu_time_total
        headers = ["Name", *_HEADERS]
        widths = [_bounded(max(len(event.key) for event in self) + 4, max_name_column_width), *[_WIDTH] * len(_HEADERS)]
        with_shapes = any(event.input_shapes for event in self)
        if with_shapes:
            headers.append("Input Shapes")
            longest = max(len(str(event.input_shapes)) for event in self)
            widths.append(_bounded(max(longest, _WIDTH) + 4, max_shapes_column_width))
        source_width = max((len(line) for event in self for line in event.stack), default=0)
        if source_width:
            headers.append("Source Location")
            source_width = _bounded(source_width + 4, max_src_column_width)
            widths.append(source_width)
        directions = [">"] * len(headers)
        if source_width:
            directions[-1] = "<"

        def line(cells: Iterable[Any]) -> str:
            return "".join(f"{cell!s:{way}{width}}  " for cell, way, width in zip(cells, directions, widths))

        rule = line("-" * width for width in widths)
        double = "=" * (sum(widths) + 2 * len(widths) - 2)
        lines = [] if header is None else [double, header]
        if top_level_events_only:
            lines += [double, "This report only display top-level ops statistics"]
        lines += [rule, line(headers), rule]
        for event in rows:
            name = event.key
            if max_name_column_width is not None and len(name) >= max_name_column_width - 3:
                name = name[: max_name_column_width - 3] + "..."
            is_kernel = event.kind == "kernel"
            cells = [
                name,
                format_share(event.self_cpu_time_total, whole), format_time(event.self_cpu_time_total, time_unit),
                format_share(event.cpu_time_total, whole), format_time(event.cpu_time_total, time_unit),
                format_time(event.cpu_time, time_unit), event.count,
                format_memory(event.bytes_read) if is_kernel else "--",
                format_memory(event.bytes_written) if is_kernel else "--",
            ]
            if with_shapes:
                cells.append(str(event.input_shapes)[: widths[len(cells)]])
            if source_width:
                places = [_trimmed(place, source_width) for place in event.stack] or [""]
                lines.append(line([*cells, places[0]]))
                blank = [""] * len(cells)
                lines += [line([*blank, place]) for place in [*places[1:], ""]]
            else:
                lines.append(line(cells))
        lines += [rule, f"Self CPU time total: {format_time(whole, time_unit)}"]
        return "\n".join(lines) + "\n"

    def key_averages(self, group_by_input_shape: bool = False, group_by_stack_n: int = 0) -> EventList:
        """Events of one name added up; as ``EventList.key_averages``.

        Args:
            group_by_input_shape: kernels that read other sizes are others.
            group_by_stack_n: events that come from other places are others, by so many lines.
        """
        found: dict[tuple, FunctionEventAvg] = {}
        for event in self:
            key: tuple = (event.key, event.kind)
            if group_by_input_shape:
                key += (str(event.input_shapes),)
            if group_by_stack_n > 0:
                key += tuple(event.stack[:group_by_stack_n])
            found.setdefault(key, FunctionEventAvg()).add(event)
        for average in found.values():
            average.stack = average.stack[:group_by_stack_n]
            if not group_by_input_shape:
                average.input_shapes = []
        return EventList(found.values())

    def total_average(self) -> FunctionEventAvg:
        """All events added up, under the name ``Total``. What happens inside of another event counts in both."""
        total = FunctionEventAvg()
        for event in self:
            total.add(event)
        total.key, total.kind, total.cpu_parent = "Total", "", None
        total.input_shapes, total.stack, total.is_user_annotation = [], [], False
        return total

    def export_chrome_trace(self, path: str | os.PathLike) -> None:
        """Write the events to a file that ``chrome://tracing`` and Perfetto show; gzipped if its name ends in .gz."""
        write_trace(path, self)

    def export_stacks(self, path: str | os.PathLike, metric: str) -> None:
        """Write a line for each event: the user's lines that led to it, outermost first, and a number.

        It is what tools read that draw flame graphs. Events without a stack, or whose number is 0, are left out.

        Args:
            metric: the attribute that gives the number: ``self_cpu_time_total``, ``cpu_time_total``, ``bytes_read``.
        """
        cleaned = str.maketrans(" ;\t\n", "____")
        with open(path, "w") as file:
            for event in self:
                value = int(getattr(event, metric))
                if event.stack and value > 0:
                    file.write(";".join(line.translate(cleaned) for line in reversed(event.stack)) + f" {value}\n")


def write_trace(path: str | os.PathLike, events: Sequence[FunctionEvent], metadata: Mapping[str, Any] = {}) -> None:
    """Write Chrome's trace format, with what else is to stand in it."""
    process = os.getpid()
    name = os.path.basename(sys.argv[0]) or "python"
    written: list[dict[str, Any]] = [
        {"ph": "M", "name": "process_name", "pid": process, "tid": 0, "args": {"name": name}}
    ]
    for thread in sorted({event.thread for event in events}):
        named = {"name": f"thread {thread}"}
        written.append({"ph": "M", "name": "thread_name", "pid": process, "tid": thread, "args": named})
    for event in events:
        arguments: dict[str, Any] = {"id": event.id, **event.details}
        if event.kernel is not None:
            arguments |= {
                "operations": event.kernel.operations, "calls": event.kernel.calls,
                "bytes_read": event.bytes_read, "bytes_written": event.bytes_written,
            }
        if event.input_shapes:
            arguments["input_shapes"] = event.input_shapes
        if event.stack:
            arguments["stack"] = event.stack
        written.append({
            "ph": "X", "cat": CATEGORIES[event.kind], "name": event.name, "pid": process, "tid": event.thread,
            "ts": event.time_range.start, "dur": event.cpu_time_total, "args": arguments,
        })
    text = json.dumps({"schemaVersion": 1, "displayTimeUnit": "ms", **metadata, "traceEvents": written}, indent=1)
    data = text.encode()
    if os.fspath(path).endswith(".gz"):
        import gzip

        data = gzip.compress(data)
    Path(path).write_bytes(data)


def function_events(events: Sequence[Event], shapes: bool = False) -> EventList:
    """What was noted, in the order in which it began, with the names of kernels."""
    from ..inspection import describe, node_names

    names: dict[Plan, dict] = {}
    kernels: dict[tuple[Plan, int], Kernel] = {}
    of: dict[Event, FunctionEvent] = {}
    found = EventList()
    origin = events[0].start if events else 0
    for event in events:
        kernel = None
        if event.launch is not None:
            kernel = kernels.get(event.launch)
            if kernel is None:
                plan, position = event.launch
                if plan not in names:
                    names[plan] = node_names(plan)
                kernel = kernels[event.launch] = describe(plan, position, names[plan])
        made = of[event] = FunctionEvent(len(found), event, origin, kernel, shapes)
        if event.parent in of:
            made.cpu_parent = of[event.parent]
            made.cpu_parent.cpu_children.append(made)
        found.append(made)
    return found


def _bounded(width: int, most: int | None) -> int:
    return width if most is None else min(width, most)


def _trimmed(path: str, width: int) -> str:
    """The end of a path that is too long."""
    return path if len(path) <= width else "..." + path[len(path) - width + 3 :]
