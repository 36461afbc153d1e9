"""From the loop IR to numba.cuda source, and how many threads to launch it with.

What comes out is a function whose parameters are the kernel's arguments in order, each of 64 bits, and ``units``, the
number of iterations of its outermost loop. Addresses and numbers come as bits, so that every kernel is launched alike.
The text names only what it defines, ``cuda``, and what ``kernels/cuda`` supplies. A ``split`` kernel has a second
function, ``finish``, for what comes after the pieces.

Who does what:

- ``flat``: a thread takes elements, a grid apart.
- ``rows``: a block's threads form *teams* of ``lanes`` threads, as many as a row has elements (a power of two), and each
  team takes a row. The lanes take the elements of a loop in turn; then a tree in shared memory combines their partial
  results and every lane reads the whole. A long row gets the whole block; of rows of ten elements a block does sixteen
  at a time. A team with no row left repeats the last one and stores nothing, because all threads must meet at barriers.
- ``columns``: the same, but neighbouring threads belong to different teams, so that a warp reads neighbouring columns.
- three levels, and pieces of a ``split`` kernel: a block takes a unit, its teams the values of the middle level.
- scans: a thread takes a row.
- scatters: threads take what can never meet in one element of the target; the rest runs in order within a thread. Atomic
  additions would come in another order each time, and the result would not be the same twice.

A thread adds up at most :data:`RUN` elements before the partial sum goes to the next stage, so that the error of a sum
grows as in ``codegen_cpu.py``.

Read next: ``kernels/cuda/namespace.py`` for the names, ``kernels/cuda/toolchain.py`` for the compiler.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, replace

from .codegen_cpu import combine, identity
from .dtypes import FLOATING, DType
from .loopir import Accumulator, Argument, Kernel, Let, Load, Loop, LoopVar, Scan, Store

THREADS = 256  # of a block; a power of two
WARP = 32  # neighbouring columns that are read together
RUN = 64  # elements that a thread adds up one after the other
MAX_BLOCKS = 1 << 16  # more units than that are taken in turn
SHARED_BYTES = 4096  # of shared memory for each dtype: further accumulators wait for their turn


@dataclass(frozen=True)
class Launch:
    """One launch of a function of a kernel: ``blocks`` blocks of ``threads`` threads do ``units`` iterations."""

    function: str
    blocks: int
    threads: int
    units: int


@dataclass(frozen=True)
class Workers:
    """The threads that share a loop: this thread's number among them, their number (a power of two), how far apart
    neighbours are in the block, and the first of them. All are text."""

    index: str
    count: str
    pitch: str
    first: str


@dataclass(frozen=True)
class Scope:
    """Who executes a block of statements: one thread (``workers`` None) or several alike. What they store is stored by
    the one thread for which ``guard`` holds; ``live`` is false for a team that repeats work."""

    workers: Workers | None
    guard: str
    live: str = ""


def is_deep(loop: Loop) -> bool:
    """Whether a loop contains loops."""
    return any(isinstance(st, Loop) for st in loop.body)


def has_scan(body: list) -> bool:
    return any(isinstance(st, Scan) or (isinstance(st, Loop) and has_scan(st.body)) for st in body)


def stores_in(body: list) -> list[Store]:
    found = []
    for st in body:
        if isinstance(st, Store):
            found.append(st)
        elif isinstance(st, Loop):
            found += stores_in(st.body)
    return found


def is_scatter(kernel: Kernel) -> bool:
    """Whether two iterations may write one element, so that their order counts."""
    return kernel.serial or any(re.search(r"\bv\d+\b", st.index) for st in stores_in(kernel.body))


def independent(kernel: Kernel) -> list[LoopVar]:
    """The variables of a scatter that stand in the index of everything it stores. Iterations that differ in one of them
    write different elements; all others, whose position in the target is read from memory, may meet."""
    used = [set(re.findall(r"\bi\d+\b", st.index)) for st in stores_in(kernel.body)]
    return [v for v in kernel.groups[0] if all(v.name in names for names in used)]


def lanes_for(length: int, limit: int) -> int:
    """How many threads share a row of ``length`` elements."""
    lanes = 1
    while lanes < limit and lanes < length:
        lanes *= 2
    return lanes


class Writer:
    def __init__(self, kernel: Kernel, threads: int) -> None:
        if threads & (threads - 1) or not 0 < threads <= 1024:
            raise ValueError(f"a block has 1, 2, 4 ... 1024 threads, not {threads}")
        self.kernel = kernel
        self.threads = threads
        self.lines: list[str] = []
        self.depth = 0
        self.written = {st.pointer for st in stores_in(kernel.body)}
        self.block = Workers("thread", str(threads), "1", "0")
        self.lanes = Workers("lane", "lanes", "1", "thread - lane")
        self.teams = Workers("team", "teams", "lanes", "lane")

    def line(self, text: str) -> None:
        self.lines.append("    " * self.depth + text)

    def text(self) -> str:
        getattr(self, self.kernel.mode)()
        return "\n".join(self.lines) + "\n"

    # ------------------------------------------------------------------------------------------------------- header

    def header(self, name: str) -> None:
        names = [self.parameter(argument, slot) for slot, argument in enumerate(self.kernel.arguments)]
        self.line(f"def {name}({', '.join([*names, 'units'])}):")
        self.depth += 1
        for argument, text in zip(self.kernel.arguments, names):
            if argument.kind == "pointer":
                self.line(f"{argument.name} = pointer_{argument.dtype.code}({text})")
            elif argument.kind == "scalar":
                value = f"bitcast_i64_f64({text})" if argument.dtype.kind == FLOATING else text
                self.line(f"{argument.name} = {argument.dtype.code}({value})")
        for level, group in enumerate(self.kernel.groups):
            if level and len(group) > 1:
                self.line(f"{self.size(level)} = {' * '.join(v.extent for v in group)}")

    @staticmethod
    def parameter(argument: Argument, slot: int) -> str:
        return f"a{slot}" if argument.kind in ("pointer", "scalar") else argument.name

    def size(self, level: int) -> str:
        """The number of values of a group's variables."""
        group = self.kernel.groups[level]
        return group[0].extent if len(group) == 1 else f"size{level}" if group else "1"

    def thread(self) -> None:
        self.line("thread = i64(cuda.threadIdx.x)")

    def shared(self, loops: list[Loop]) -> None:
        """Shared memory for the accumulators of the loops: one array of a dtype for each that is reduced together."""
        self.slots: dict[DType, int] = {}
        for loop in loops:
            counts: dict[DType, int] = {}
            for a in loop.accumulators:
                counts[a.dtype] = counts.get(a.dtype, 0) + 1
            for dtype, count in counts.items():
                most = max(1, SHARED_BYTES // (dtype.itemsize * self.threads))
                self.slots[dtype] = max(self.slots.get(dtype, 0), min(count, most))
            self_slots = self.slots
            self.shared_inside(loop, self_slots)
        for dtype, count in self.slots.items():
            for slot in range(count):
                self.line(f"shared_{dtype.code}_{slot} = cuda.shared.array({self.threads}, {dtype.name})")

    def form_teams(self, length: str, limit: int, interleaved: bool = False) -> None:
        """Divide the block's threads into teams for rows of ``length`` elements."""
        self.line("lanes = 1")
        self.line(f"while lanes < {limit} and lanes < {length}:")
        self.line("    lanes <<= 1")
        self.line(f"teams = udiv({self.threads}, lanes)")
        if interleaved:
            self.line("lane = udiv(thread, teams)")
            self.line("team = thread - lane * teams")
            self.lanes = Workers("lane", "lanes", "teams", "team")
            self.teams = Workers("team", "teams", "1", "thread - team")
        else:
            self.line("team = udiv(thread, lanes)")
            self.line("lane = thread - team * lanes")
