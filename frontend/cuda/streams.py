"""Streams and events, as ``torch.cuda.Stream`` and ``torch.cuda.Event``.

What is pending is put in order by what it needs, and a GPU does it one after the other: whatever the current stream, a
program reads what was written before. A stream is therefore a name, and waiting for one is never needed. An event marks
a point in time: what is pending on the GPU is computed then.

In: a GPU. Out: streams, events. Read next: ``random.py``.
"""

from __future__ import annotations

import itertools
import time
from typing import Any

from ..device import device as Device, device_named
from ..tensor import Tensor, method
from . import DeviceLike, index_of, synchronize

_numbers = itertools.count(1)


class Stream:
    """A queue of work of a GPU.

    Args:
        device: the GPU, None for the current one.
        priority: of no importance: there is only one kind of work.

    Raises:
        AssertionError: there is no GPU.
    """

    def __init__(self, device: DeviceLike = None, priority: int = 0) -> None:
        self.device_index = index_of(device)
        self.priority = priority
        self.stream_id = next(_numbers)

    @property
    def device(self) -> Device:
        return device_named(f"cuda:{self.device_index}")

    def query(self) -> bool:
        """Whether all work is done: what is recorded is done before anybody can look."""
        return True

    def synchronize(self) -> None:
        """Compute what is pending on the GPU, and wait until it is done."""
        synchronize(self.device_index)

    def wait_event(self, event: Event) -> None:
        """Let work that is recorded from now on wait for an event, which it does anyway."""

    def wait_stream(self, stream: Stream) -> None:
        """Let work that is recorded from now on wait for what another stream has, which it does anyway."""

    def record_event(self, event: Event | None = None) -> Event:
        """Record an event, by default a new one; returns it."""
        event = Event() if event is None else event
        event.record(self)
        return event

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Stream):
            return False
        return (self.device_index, self.stream_id) == (other.device_index, other.stream_id)

    def __hash__(self) -> int:
        return hash((self.device_index, self.stream_id))

    def __repr__(self) -> str:
        return f"<torch.cuda.Stream device={self.device} stream_id={self.stream_id}>"


class Event:
    """A point in the work of a GPU.

    Args:
        enable_timing: whether it measures time.
        blocking: whether :meth:`synchronize` sleeps; it returns at once in any case.

    Raises:
        AssertionError: there is no GPU.
    """

    def __init__(self, enable_timing: bool = False, blocking: bool = False) -> None:
        index_of(None)
        self.enable_timing = enable_timing
        self.time: float | None = None

    def record(self, stream: Stream | None = None) -> None:
        """Compute what is pending on the stream's GPU, by default the current one, and note the time."""
        (current_stream() if stream is None else stream).synchronize()
        self.time = time.perf_counter()

    def wait(self, stream: Stream | None = None) -> None:
        """Let a stream wait for the event, which it does anyway."""

    def query(self) -> bool:
        """Whether the work before the event is done: it was when the event was recorded."""
        return True

    def synchronize(self) -> None:
        """Wait for the work before the event, which is done."""

    def elapsed_time(self, end_event: Event) -> float:
        """Milliseconds from this event to another.

        Raises:
            ValueError: one of the two does not measure time, or was not recorded.
        """
        if not (self.enable_timing and end_event.enable_timing):
            raise ValueError("Both events must be created with argument 'enable_timing=True'.")
        if self.time is None or end_event.time is None:
            raise ValueError("Both events must be recorded before calculating elapsed time.")
        return 1000 * (end_event.time - self.time)


_default: dict[int, Stream] = {}
_current: dict[int, Stream] = {}


def default_stream(device: DeviceLike = None) -> Stream:
    """The stream that a GPU begins with."""
    index = index_of(device)
    if index not in _default:
        _default[index] = Stream(index)
        _default[index].stream_id = 0
    return _default[index]


def current_stream(device: DeviceLike = None) -> Stream:
    """The stream of a GPU on which work is put."""
    return _current.get(index_of(device)) or default_stream(device)


def set_stream(stream: Stream | None) -> None:
    """Make a stream the current one of its GPU; None changes nothing."""
    if stream is not None:
        _checked(stream)
        _current[stream.device_index] = stream


def _checked(stream: Any) -> None:
    if not isinstance(stream, Stream):
        raise TypeError(f"a stream or None, not {type(stream).__name__}")


class StreamContext:
    """A block in which a stream, and its GPU, is the current one. None changes nothing."""

    def __init__(self, stream: Stream | None) -> None:
        if stream is not None:
            _checked(stream)
        self.stream = stream
        self.before: list[tuple[Any, Stream]] = []

    def __enter__(self) -> None:
        if self.stream is not None:
            from . import device

            block = device(self.stream.device_index)
            self.before.append((block, current_stream(self.stream.device_index)))
            block.__enter__()
            set_stream(self.stream)

    def __exit__(self, *exception: object) -> None:
        if self.stream is not None:
            block, before = self.before.pop()
            set_stream(before)
            block.__exit__()


def stream(stream: Stream | None) -> StreamContext:
    """A block in which a stream is the current one. None changes nothing."""
    return StreamContext(stream)


@method
def record_stream(self: Tensor, stream: Stream) -> None:
    """Note that a stream uses the tensor. Memory is never reused before what reads it is done, so nothing changes.

    Raises:
        RuntimeError: not a stream, or the tensor is not on a GPU.
    """
    if not isinstance(stream, Stream):
        raise RuntimeError("unknown parameter type")
    if not self.is_cuda:
        raise RuntimeError("record_stream(): the tensor is not on a GPU")
