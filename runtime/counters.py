"""What the runtime has done so far, as numbers.

Tests assert on these ("a second batch size compiles nothing"), and a user who wonders where the time went reads them.
Code that does the work adds to `COUNTERS` in place; nothing here does any work.

In: increments from all over the runtime. Out: `counters()`. Read next: `log.py`, which tells the same story in words.
"""

from __future__ import annotations


class Counters:
    """Totals since the process began. Increments are not synchronised between threads: they inform, no more."""

    __slots__ = (
        "bytes_allocated",
        "kernels_compiled",
        "kernels_launched",
        "kernels_loaded",
        "materialisations",
        "plans_built",
        "plans_recalled",
        "plans_replayed",
    )

    def __init__(self) -> None:
        for name in self.__slots__:
            setattr(self, name, 0)

    bytes_allocated: int  # bytes of buffers handed out, whether fresh from the system or reused
    kernels_compiled: int  # kernels that went through numba and LLVM
    kernels_launched: int  # entries of tapes that were run
    kernels_loaded: int  # functions linked into the process, just compiled or from the cache
    materialisations: int  # times that pending work had to be computed because somebody looked
    plans_built: int  # times that a program got a plan, because this process had none for it
    plans_recalled: int  # of these, plans whose tape an earlier process had left on disk
    plans_replayed: int  # times that an existing plan was run again


COUNTERS = Counters()


def counters() -> dict[str, int]:
    """A snapshot of all counters by name.

    Example: `before = counters()`, then after some work `counters()["kernels_compiled"] - before["kernels_compiled"]`.
    """
    return {name: getattr(COUNTERS, name) for name in Counters.__slots__}
