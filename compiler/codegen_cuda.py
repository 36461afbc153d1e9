"""From the loop IR to numba.cuda source, and how to launch it.

What comes out is a function whose parameters are the kernel's arguments in order, each of 64 bits, and ``units``, the
number of iterations of its outermost loop. Addresses and numbers are passed as bits, so that every kernel is launched
alike. The text names only what it defines, ``cuda``, and what ``kernels/cuda`` supplies. A ``split`` kernel has a
second function, ``finish``, for what comes after the pieces.

Who does what (:func:`distribution`):

- ``elements`` (flat kernels): the threads of the grid take the elements in turn, several neighbours at a time.
- ``tiled`` (flat ones that read across the direction in which they write): a block takes a square tile, so that each
  line of memory that it touches in either direction is used while it is in the cache.
- ``teams`` (rows): a block's threads form teams of ``lanes`` threads, a power of two: up to a warp as many as a row has
  vectors, beyond that one for :data:`EACH` elements. Each team takes a row. The lanes take the vectors of a loop in
  turn; an exchange within the warp, and then shared memory between warps, combines what they found for all of them. So
  a long row gets a block, and a block does many short rows at a time. A team for which no row is left repeats the last
  one and stores nothing: all threads must meet at barriers.
- ``columns``: the same with lanes and teams exchanged: neighbouring threads belong to neighbouring columns, so that
  what a warp reads is contiguous.
- ``blocks`` (rows with loops in loops, pieces of a split row): a block takes a unit, its teams the values of the loop
  above the innermost.
- ``scans``: a thread takes a row, in order.
- ``scatter``: threads take what can never meet in one element of the target; the rest runs in order within a thread.
  Atomic additions would come in another order every time, and so would their rounding errors.

A thread adds up at most :data:`RUN` elements before the partial sum goes to the next stage: the error of a sum then
grows as slowly as it does on the CPU.

Read next: ``vectors.py`` for how a thread takes several elements, ``kernels/cuda/namespace.py`` for the names,
``kernels/cuda/toolchain.py`` for the compiler.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass

from .codegen_cpu import combine, identity
from .dtypes import FLOATING, DType, float64
from .loopir import (
    Accumulator,
    Argument,
    Kernel,
    Let,
    Load,
    Loop,
    LoopVar,
    Scan,
    Store,
    blocks_in,
    independent,
    loops_in,
    stores_in,
)  # fmt: skip
from .vectors import Dealt, VectorWriter, plan_chunk, vector_width

THREADS = 256  # of a block
WARP = 32  # threads that read together: columns of a tile, teams of neighbouring columns
EACH = 8  # elements of a row that a thread takes at least, before a row gets more threads than a warp
KEEP_COST = 20  # of a value that loops keep for one another: an exponential costs less than to store and load it
PIECE = 1 << 13  # elements of a piece of a long row: a multiprocessor gets one of a row of a million
RUN = 64  # elements that a thread adds up one after the other
MAX_BLOCKS = (1 << 31) - 1  # of a launch, says CUDA
SHARED_BYTES = 4096  # of shared memory for each dtype: accumulators beyond that are combined one batch after the other

MODES = {"add": "sum", "mul": "prod", "max": "reduce_max", "min": "reduce_min"}


@dataclass(frozen=True)
class Launch:
    """One launch: blocks of ``threads`` threads run ``function`` with ``units`` as its last argument.

    There is work for ``blocks`` of them. With fewer, each has several turns, and the results are the same: as many as
    run at once are enough.
    """

    function: str
    blocks: int
    threads: int
    units: int


@dataclass(frozen=True)
class Workers:
    """Threads that share a loop, all as text: the number of this thread among them, how many they are (a power of two),
    how far apart neighbours are within the block, and where the first one is."""

    index: str
    count: str
    pitch: str
    first: str


@dataclass(frozen=True)
class Scope:
    """Who runs a block of statements: several threads alike, or one (``workers`` is None). A statement that stores runs
    in the thread for which ``guard`` holds; ``live`` is false in a team that repeats work."""

    workers: Workers | None
    guard: str = ""
    live: str = ""


# ---------------------------------------------------------------------------------------------------- who does what


def is_deep(loop: Loop) -> bool:
    """Whether there are loops in a loop."""
    return any(isinstance(st, Loop) for st in loop.body)


def distribution(kernel: Kernel) -> str:
    """How a kernel's work is divided: the names in the chapter's head, or ``split``."""
    if kernel.serial or any(re.search(r"\bv\d+\b", st.index) for st in stores_in(kernel.body)):
        return "scatter"
    if kernel.mode == "flat":
        return "elements"
    if any(isinstance(st, Scan) for block in blocks_in(kernel.body) for st in block):
        return "scans"
    if kernel.mode == "rows":
        return "blocks" if any(is_deep(loop) for loop in loops_in(kernel.body)) else "teams"
    return kernel.mode


def most_lanes(kernel: Kernel, threads: int) -> int:
    """The largest team. Of columns, as many as a warp reads at once have a team each."""
    return max(1, threads // WARP) if kernel.mode == "columns" else threads


def launches(kernel: Kernel, threads: int = THREADS) -> list[Launch]:
    """How to launch a kernel's functions, in order, for the sizes that its arguments have as sources.

    Example::

        for launch in launches(lowered.kernel):
            print(launch.function, launch.blocks, launch.threads)
    """
    values = {a.name: a.source for a in kernel.arguments if a.kind == "integer"}
    sizes = [math.prod(values[v.extent] for v in group) for group in kernel.groups]
    how = distribution(kernel)
    units, at_once = sizes[0], 1
    if how == "scatter":
        units = math.prod(values[v.extent] for v in independent(kernel))
    if how in ("scatter", "scans"):
        at_once = threads
    elif how == "elements":
        at_once = vector_width(kernel) * threads
    elif how == "tiled":
        *outer, rows, columns = (values[v.extent] for v in kernel.groups[0])
        width = min(WARP, threads)
        units = math.prod(outer) * -(-rows // width) * -(-columns // width)
    elif how in ("teams", "columns"):
        lanes, limit, width = 1, most_lanes(kernel, threads), vector_width(kernel)
        size, each = -(-sizes[1] // width), max(1, EACH // width)
        while lanes < limit and lanes < size and (lanes < WARP or lanes * each < size):
            lanes *= 2
        at_once = threads // lanes

    def launch(function: str, units: int, at_once: int) -> Launch:
        return Launch(function, max(1, min(-(-units // at_once), MAX_BLOCKS)), threads, units)

    if how == "split":
        return [launch("kernel", units * values[kernel.pieces], 1), launch("finish", units, 1)]
    return [launch("kernel", units, at_once)]


def generate(kernel: Kernel, threads: int = THREADS) -> str:
    """The numba.cuda source of a kernel for blocks of ``threads`` threads (a power of two up to 1024).

    Raises ``ValueError`` for another number of threads.
    """
    if threads not in (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024):
        raise ValueError(f"a block has a power of two of threads up to 1024, not {threads}")
    return Writer(kernel, threads).text()


# --------------------------------------------------------------------------------------------------------- the text


class Writer(VectorWriter):
    def __init__(self, kernel: Kernel, threads: int) -> None:
        self.kernel = kernel
        self.threads = threads
        self.lines: list[str] = []
        self.depth = 0
        self.written = {st.pointer for st in stores_in(kernel.body)}
        # whether teams may repeat work that can report an error
        self.repeats = any(a.kind == "error" for a in kernel.arguments) and (
            distribution(kernel) in ("teams", "columns") or any(map(is_deep, loops_in(kernel.body)))
        )
        self.unseen: set[str] = set()  # what has been stored since the last barrier
        self.slots: dict[DType, int] = {}
        self.width = vector_width(kernel)
        self.everyone = Workers("thread", str(threads), "1", "0")
        self.lanes = Workers("lane", "lanes", "1", "thread - lane")
        self.leaders = Workers("team", "teams", "lanes", "lane")

    def text(self) -> str:
        getattr(self, distribution(self.kernel))()
        return "\n".join(self.lines) + "\n"

    def line(self, text: str) -> None:
        self.lines.append("    " * self.depth + text)

    def begin(self, text: str) -> None:
        """A line after which the block is indented."""
        self.line(text)
        self.depth += 1

    def repeat(self, lines: Iterable[str]) -> None:
        for line in lines:
            self.line(line)

    # ------------------------------------------------------------------------------------------------------- header

    def header(self, name: str) -> None:
        arguments = self.kernel.arguments
        names = [f"a{k}" if a.kind in ("pointer", "scalar") else a.name for k, a in enumerate(arguments)]
        if self.repeats:
            names[names.index("error")] = "error_address"
        self.begin(f"def {name}({', '.join([*names, 'units'])}):")
        for argument, text in zip(arguments, names):
            if argument.kind in ("pointer", "scalar"):
                self.line(f"{argument.name} = {self.argument(argument, text)}")
        if self.repeats:
            self.line("error = error_address")
        for level, group in enumerate(self.kernel.groups):
            if len(group) > 1 and level > (distribution(self.kernel) == "split"):
                self.line(f"{self.size(level)} = {' * '.join(v.extent for v in group)}")
        if self.width > 1 and distribution(self.kernel) != "scatter" and name == "kernel":
            self.align()

    @staticmethod
    def argument(argument: Argument, text: str) -> str:
        if argument.kind == "pointer":
            return f"pointer_{argument.dtype.code}({text})"
        if argument.dtype.kind == FLOATING:
            text = f"bitcast_i64_f64({text})"
            if argument.dtype.compute is not argument.dtype:
                text = f"{argument.dtype.compute.code}({text})"
        return f"{argument.dtype.code}({text})"

    def size(self, level: int) -> str:
        """The number of values of a group's variables."""
        group = self.kernel.groups[level]
        return f"size{level}" if len(group) > 1 else group[0].extent if group else "1"

    def number(self, level: int) -> str:
        """What the running number of a group's values is called."""
        group = self.kernel.groups[level]
        return group[0].name if len(group) == 1 else f"k{level}"

    def form_teams(self, level: int) -> None:
        """Divide the block's threads into teams for loops over a group."""
        limit = most_lanes(self.kernel, self.threads)
        self.line("lanes = 1")
        each = max(1, EACH // self.width)
        size = self.size(level)
        if self.width > 1:
            self.line(f"vectors = udiv({size} + {self.width - 1}, {self.width})")
            size = "vectors"
        self.begin(f"while lanes < {limit} and lanes < {size} and (lanes < {WARP} or lanes * {each} < {size}):")
        self.line("lanes <<= 1")
        self.depth -= 1
        self.line(f"teams = udiv({self.threads}, lanes)")
        if self.kernel.mode == "columns":
            self.lanes = Workers("lane", "lanes", "teams", "team")
            self.line("lane = udiv(thread, teams)")
            self.line("team = thread - lane * teams")
        else:
            self.line("team = udiv(thread, lanes)")
            self.line("lane = thread - team * lanes")

    def share(self) -> None:
        """Shared memory: for each dtype as many arrays as one loop has accumulators, within bounds."""
        for loop in loops_in(self.kernel.body):
            dtypes = [a.dtype for a in loop.accumulators]
            for dtype in dtypes:
                most = max(1, SHARED_BYTES // (dtype.itemsize * self.threads))
                self.slots[dtype] = max(self.slots.get(dtype, 0), min(dtypes.count(dtype), most))
        for dtype, count in self.slots.items():
            for slot in range(count):
                self.line(f"{self.shared(dtype, slot)} = cuda.shared.array({self.threads}, {dtype.name})")

    @staticmethod
    def shared(dtype: DType, slot: int) -> str:
        return f"shared_{dtype.code}_{slot}"

    def decode(self, number: str, group: list[LoopVar]) -> None:
        """A group's variables from their running number."""
        if len(group) == 1:
            if number != group[0].name:
                self.line(f"{group[0].name} = {number}")
            return
        for position, v in enumerate(reversed(group)):
            if position == len(group) - 1:
                self.line(f"{v.name} = {number}")
            else:
                rest = f"rest{position}"
                self.line(f"{rest} = udiv({number}, {v.extent})")
                self.line(f"{v.name} = {number} - {rest} * {v.extent}")
                number = rest

    def decode_from(self, text: str, level: int) -> None:
        """A group's variables from what their running number is."""
        group = self.kernel.groups[level]
        if len(group) == 1:
            self.line(f"{group[0].name} = {text}")
        elif group:
            self.line(f"k{level} = {text}")
            self.decode(f"k{level}", group)

    # --------------------------------------------------------------------------------------------------- statements

    def statements(self, body: list, scope: Scope) -> None:
        for st in body:
            self.statement(st, scope)

    def statement(self, st, scope: Scope) -> None:
        match st:
            case Let(name, _, text):
                self.line(f"{name} = {text}")
            case Load(name, dtype, pointer, index, guard, fill):
                load = self.load_of(pointer)
                if pointer in self.written and scope.live:
                    # what a team that repeats work has not stored itself
                    guard, fill = scope.live, identity("sum", dtype)
                text = f"{load}({pointer}, {index})"
                self.line(f"{name} = {text} if {guard} else {fill}" if guard else f"{name} = {text}")
            case Store():
                depth = self.depth
                if scope.guard and st.mode == "set":
                    self.unseen.add(st.pointer)
                    self.line(f"store_if({scope.guard}, {st.pointer}, {st.index}, {st.text})")
                    return
                if scope.guard:
                    self.begin(f"if {scope.guard}:")
                self.store(st)
                self.depth = depth
            case Scan(name, dtype, op, text):
                if dtype.kind == FLOATING:
                    self.line(f"{name}_run = ({name}_run + f64({text}))")
                    self.line(f"{name} = {dtype.code}({name}_run)")
                else:
                    self.line(f"{name}_run = {combine(op, dtype, f'{name}_run', text)}")
                    self.line(f"{name} = {name}_run")
            case Loop():
                self.loop(st, scope)

    def report_if(self, live: str) -> None:
        """Let a team that repeats work find no errors: what it reads may have been written over by the other one."""
        if self.repeats:
            self.line(f"error = error_address if {live} else 0")

    def load_of(self, pointer: str) -> str:
        return "load" if pointer in self.written else "load_constant"

    def store(self, st: Store) -> None:
        self.unseen.add(st.pointer)
        if st.mode == "set":
            self.line(f"store({st.pointer}, {st.index}, {st.text})")
            return
        self.line(f"at = {st.index}")
        step = combine(MODES[st.mode], st.dtype, f"load({st.pointer}, at)", st.text)
        self.line(f"store({st.pointer}, at, {step})")

    # -------------------------------------------------------------------------------------------------------- loops

    def loop(self, loop: Loop, scope: Scope, low: str = "0", high: str = "") -> None:
        """A loop over a group, or over part of its running numbers, divided among the workers of the scope."""
        high = high or self.size(loop.group)
        workers = scope.workers
        loads = {st.pointer for block in blocks_in([loop]) for st in block if isinstance(st, Load)}
        if workers and loads & self.unseen:
            # an earlier loop has stored what this one reads, maybe in other threads
            self.line("cuda.syncthreads()")
            self.unseen.clear()
        if workers is None:
            self.iterate(loop, scope, low, high)
        elif not is_deep(loop):
            self.iterate(loop, Scope(None, scope.live), low, high, workers)
            self.combine_workers(loop.accumulators, workers)
        elif workers is self.everyone and not any(is_deep(st) for st in loop.body if isinstance(st, Loop)):
            live = f"live{loop.group}"
            self.iterate(loop, Scope(self.lanes, f"{live} and lane == 0", live), low, high, self.leaders)
            self.combine_workers(loop.accumulators, self.leaders)
        else:
            self.iterate(loop, scope, low, high)

    def iterate(self, loop: Loop, scope: Scope, low: str, high: str, workers: Workers | None = None) -> None:
        """The loop itself. With ``workers`` each takes its share; without, all of them take all."""
        accumulators = loop.accumulators
        group = self.kernel.groups[loop.group]
        start, step = (workers.index, workers.count) if workers else ("0", "1")
        number = self.number(loop.group)
        for scan in loop.body:
            if isinstance(scan, Scan):
                kind = float64 if scan.dtype.kind == FLOATING else scan.dtype
                self.line(f"{scan.name}_run = {identity(scan.op, kind)}")
        for a in accumulators:
            self.line(f"{a.name} = {identity(a.op, a.dtype)}")
        chunk = None
        if workers is not None and workers is not self.leaders:
            words = {x for a in accumulators for x in re.findall(r"\w+", a.text)}
            chunk = plan_chunk(loop.body, group, self.width, words)
        width = self.width if chunk else 1
        counter = f"at{loop.group}" if chunk else f"base{loop.group}" if workers is self.leaders else number
        first, stop, end = ("0", f"count{loop.group}", high) if chunk else (low, high, high)
        even = "aligned"
        if chunk:
            total = high if low == "0" else f"{high} - {low}"
            self.line(f"{stop} = {f'udiv({total}, {width})' if width > 1 else total}")
            if width > 1 and low != "0":
                even = f"even{loop.group}"
                self.line(f"{even} = aligned and {low} & {width - 1} == 0")
        in_runs = any(a.dtype.kind == FLOATING and a.op in ("sum", "prod") for a in accumulators)
        depth, suffix = self.depth, ""
        if in_runs:
            length = max(1, RUN // width)
            length = str(int(step) * length) if step.isdigit() else f"{step} * {length}"
            run, limit = f"run{loop.group}", f"stop{loop.group}"
            self.line(f"{run} = {first}")
            self.begin(f"while {run} < {stop}:")
            self.line(f"{limit} = imin({run} + {length}, {stop})")
            for a in accumulators:
                self.line(f"{a.name}_part = {identity(a.op, a.dtype)}")
            first, stop, suffix = run, limit, "_part"
        adds = [f"{a.name}{suffix} = {combine(a.op, a.dtype, a.name + suffix, a.text)}" for a in accumulators]
        if workers is self.leaders:
            # barriers inside: every team makes as many steps as the others
            self.line(f"{counter} = {first}")
            self.begin(f"while {counter} < {stop}:")
            self.line(f"{scope.live} = {counter} + {start} < {stop}")
            self.report_if(scope.live)
            self.line(f"{number} = imin({counter} + {start}, {stop} - 1)")
        else:
            self.line(f"{counter} = {start if first == '0' else first if start == '0' else f'{first} + {start}'}")
        if chunk:
            self.take(Dealt(chunk, loop.group, counter, step, stop, low, even), scope, adds)
        else:
            if workers is not self.leaders:
                self.begin(f"while {counter} < {stop}:")
            self.decode(number, group)
            self.statements(loop.body, scope)
            inside = self.depth
            if accumulators and workers is self.leaders:
                self.begin(f"if {scope.live}:")
            self.repeat(adds)
            self.depth = inside
            self.line(f"{counter} += {step}")
            self.depth -= 1
        if in_runs:
            for a in accumulators:
                self.line(f"{a.name} = {combine(a.op, a.dtype, a.name, a.name + '_part')}")
            self.line(f"{run} += {length}")
        self.depth = depth
        if width > 1:
            # what is left over when all vectors are taken
            begin = f"count{loop.group} * {width} + {start}"
            self.line(f"at{loop.group} = {begin if low == '0' else f'{low} + {begin}'}")
            self.begin(f"while at{loop.group} < {end}:")
            self.decode_from(f"at{loop.group}", loop.group)
            self.statements(loop.body, scope)
            for a in accumulators:
                self.line(f"{a.name} = {combine(a.op, a.dtype, a.name, a.text)}")
            self.line(f"at{loop.group} += {step}")
            self.line("rolled()")
            self.depth = depth

    def combine_workers(self, accumulators: list[Accumulator], workers: Workers) -> None:
        """Combine what each worker found, in a tree, and give every worker the result."""
        waiting = list(accumulators)
        while waiting:
            used: dict[DType, int] = {}
            batch: list[tuple[Accumulator, str]] = []
            later: list[Accumulator] = []
            for a in waiting:
                slot = used.get(a.dtype, 0)
                if slot < self.slots[a.dtype]:
                    used[a.dtype] = slot + 1
                    batch.append((a, self.shared(a.dtype, slot)))
                else:
                    later.append(a)
            self.tree(batch, workers)
            waiting = later

    def tree(self, batch: list[tuple[Accumulator, str]], workers: Workers) -> None:
        if workers.pitch == "1":
            self.exchange(batch, workers)
            return
        for a, memory in batch:
            self.line(f"{memory}[thread] = {a.name}")
        self.line("cuda.syncthreads()")
        self.line(f"half = {workers.count} >> 1")
        self.begin("while half > 0:")
        self.begin(f"if {workers.index} < half:")
        self.line(f"other = thread + half * {workers.pitch}")
        for a, memory in batch:
            self.line(f"{memory}[thread] = {combine(a.op, a.dtype, f'{memory}[thread]', f'{memory}[other]')}")
        self.depth -= 1
        self.line("cuda.syncthreads()")
        self.line("half >>= 1")
        self.depth -= 1
        for a, memory in batch:
            self.line(f"{a.name} = {memory}[{workers.first}]")
        # nobody overwrites the result before all have read it
        self.line("cuda.syncthreads()")
        self.unseen.clear()

    def exchange(self, batch: list[tuple[Accumulator, str]], workers: Workers) -> None:
        """Among neighbours: by exchange within each warp, without a barrier, then through shared memory.

        Both of a pair compute the same, since what is combined commutes, so that all threads have the same bits.
        """
        everyone = workers is self.everyone
        self.line("half = 1")
        self.begin(f"while half < {min(self.threads, WARP) if everyone else f'imin({workers.count}, {WARP})'}:")
        for a, _ in batch:
            self.line(f"{a.name} = {combine(a.op, a.dtype, a.name, f'shuffle({a.name}, half)')}")
        self.line("half <<= 1")
        self.depth -= 1
        if self.threads <= WARP:
            return
        depth = self.depth
        if not everyone:
            self.begin(f"if {workers.count} > {WARP}:")
        self.begin(f"if thread & {WARP - 1} == 0:")
        for a, memory in batch:
            self.line(f"{memory}[udiv(thread, {WARP})] = {a.name}")
        self.depth -= 1
        self.line("cuda.syncthreads()")
        self.line(f"other = udiv({workers.first}, {WARP})")
        self.line(f"stop = other + udiv({workers.count}, {WARP})")
        for a, memory in batch:
            self.line(f"{a.name} = {memory}[other]")
        self.line("other += 1")
        self.begin("while other < stop:")
        for a, memory in batch:
            self.line(f"{a.name} = {combine(a.op, a.dtype, a.name, f'{memory}[other]')}")
        self.line("other += 1")
        self.line("rolled()")
        self.depth -= 1
        # nobody overwrites the results of warps before all have read them
        self.line("cuda.syncthreads()")
        self.depth = depth

    # ------------------------------------------------------------------------------------------------ distributions

    def each(self, name: str, start: str, step: str) -> None:
        """A loop of this thread over units, a whole grid apart."""
        self.line(f"{name} = {start}")
        self.line(f"{name}_step = {step}")
        self.begin(f"while {name} < units:")

    def each_thread(self) -> None:
        size = f" * {self.threads}" if self.threads > 1 else ""
        self.each("unit", f"i64(cuda.blockIdx.x){size} + i64(cuda.threadIdx.x)", f"i64(cuda.gridDim.x){size}")

    def elements(self) -> None:
        kernel, width = self.kernel, self.width
        self.header("kernel")
        chunk = plan_chunk(kernel.body, kernel.groups[0], width, set())
        if chunk is not None:
            size = f" * {self.threads}" if self.threads > 1 else ""
            self.line(f"first = i64(cuda.blockIdx.x){size} + i64(cuda.threadIdx.x)")
            self.line(f"step = i64(cuda.gridDim.x){size}")
            self.line(f"count = {f'udiv(units, {width})' if width > 1 else 'units'}")
            self.line("at = first")
            self.take(Dealt(chunk, 0, "at", "step", "count", "0", "aligned"), Scope(None), ())
            if width == 1:
                return
            self.line(f"unit = count * {width} + first")
            self.line("unit_step = step")
            self.begin("while unit < units:")
        else:
            self.each_thread()
        self.decode("unit", kernel.groups[0])
        self.statements(kernel.body, Scope(None))
        self.line("unit += unit_step")
        self.line("rolled()")

    def tiled(self) -> None:
        *outer, row, column = self.kernel.groups[0]
        width = min(WARP, self.threads)
        self.header("kernel")
        self.line("thread = i64(cuda.threadIdx.x)")
        self.line(f"down = udiv(thread, {width})")
        self.line(f"across = thread - down * {width}")
        self.line(f"tiles_down = udiv({row.extent} + {width - 1}, {width})")
        self.line(f"tiles_across = udiv({column.extent} + {width - 1}, {width})")
        self.each("unit", "i64(cuda.blockIdx.x)", "i64(cuda.gridDim.x)")
        self.line("strip = udiv(unit, tiles_across)")
        self.line("outer = udiv(strip, tiles_down)")
        self.line(f"top = (strip - outer * tiles_down) * {width}")
        self.line(f"bottom = imin(top + {width}, {row.extent})")
        self.line(f"{row.name} = top + down")
        self.line(f"{column.name} = (unit - strip * tiles_across) * {width} + across")
        self.decode("outer", outer)
        depth = self.depth
        self.begin(f"if {column.name} < {column.extent}:")
        self.begin(f"while {row.name} < bottom:")
        self.statements(self.kernel.body, Scope(None))
        self.line(f"{row.name} += {self.threads // width}")
        self.depth = depth
        self.line("unit += unit_step")

    def scans(self) -> None:
        self.header("kernel")
        self.each_thread()
        self.decode("unit", self.kernel.groups[0])
        self.statements(self.kernel.body, Scope(None))
        self.line("unit += unit_step")

    def scatter(self) -> None:
        self.header("kernel")
        self.each_thread()
        outer = independent(self.kernel)
        self.decode("unit", outer)
        depth = self.depth
        for v in self.kernel.groups[0]:
            if v not in outer:
                self.begin(f"for {v.name} in range({v.extent}):")
        self.statements(self.kernel.body, Scope(None))
        self.depth = depth
        self.line("unit += unit_step")

    def teams(self) -> None:
        self.header("kernel")
        self.line("thread = i64(cuda.threadIdx.x)")
        self.form_teams(1)
        self.share()
        self.each("base", "i64(cuda.blockIdx.x) * teams", "i64(cuda.gridDim.x) * teams")
        self.line("live = base + team < units")
        self.report_if("live")
        self.line("unit = imin(base + team, units - 1)")
        self.decode("unit", self.kernel.groups[0])
        self.statements(self.kernel.body, Scope(self.lanes, "live and lane == 0", "live"))
        self.line("base += base_step")

    def columns(self) -> None:
        self.teams()

    def each_block(self, name: str) -> None:
        self.line("thread = i64(cuda.threadIdx.x)")
        if any(is_deep(loop) for loop in loops_in(self.kernel.body)):
            self.form_teams(len(self.kernel.groups) - 1)
        self.share()
        self.each(name, "i64(cuda.blockIdx.x)", "i64(cuda.gridDim.x)")

    def blocks(self) -> None:
        self.header("kernel")
        self.each_block("unit")
        self.decode("unit", self.kernel.groups[0])
        self.statements(self.kernel.body, Scope(self.everyone, "thread == 0"))
        self.line("unit += unit_step")

    def split(self) -> None:
        kernel = self.kernel
        scope = Scope(self.everyone, "thread == 0")
        position = next(i for i, st in enumerate(kernel.body) if isinstance(st, Loop))
        before, loop, after = kernel.body[:position], kernel.body[position], kernel.body[position + 1 :]
        count = len(loop.accumulators)
        self.header("kernel")
        self.each_block("unit")
        self.line(f"row = udiv(unit, {kernel.pieces})")
        self.line(f"piece = unit - row * {kernel.pieces}")
        self.decode("row", kernel.groups[0])
        self.statements(before, scope)
        first, *others = (v.extent for v in kernel.groups[1])
        rest = "".join(f" * {extent}" for extent in others)
        self.line(f"low = piece * {kernel.step}{rest}")
        self.line(f"high = imin(piece * {kernel.step} + {kernel.step}, {first}){rest}")
        self.loop(loop, scope, "low", "high")
        depth = self.depth
        if count:
            self.begin("if thread == 0:")
        for k, a in enumerate(loop.accumulators):
            self.line(f"store({self.cells(a.dtype)}, {self.cell('unit', count, k, a.dtype)}, {a.name})")
        self.depth = depth
        self.line("unit += unit_step")
        self.depth = 0
        self.line("")
        self.line("")
        self.header("finish")
        self.line("thread = i64(cuda.threadIdx.x)")
        self.share()
        self.each("row", "i64(cuda.blockIdx.x)", "i64(cuda.gridDim.x)")
        self.decode("row", kernel.groups[0])
        self.statements(before, scope)
        if count:
            self.collect(loop.accumulators)
        self.statements(after, scope)
        self.line("row += row_step")

    def collect(self, accumulators: list[Accumulator]) -> None:
        """Combine the results of a row's pieces."""
        count = len(accumulators)
        for a in accumulators:
            self.line(f"{a.name} = {identity(a.op, a.dtype)}")
        self.line("piece = thread")
        self.begin(f"while piece < {self.kernel.pieces}:")
        for k, a in enumerate(accumulators):
            cell = self.cell(f"(row * {self.kernel.pieces} + piece)", count, k, a.dtype)
            self.line(f"{a.name} = {combine(a.op, a.dtype, a.name, f'load({self.cells(a.dtype)}, {cell})')}")
        self.line(f"piece += {self.threads}")
        self.depth -= 1
        self.combine_workers(accumulators, self.everyone)

    @staticmethod
    def cells(dtype: DType) -> str:
        """The scratch memory, of cells of 8 bytes, as elements of a dtype."""
        return f"pointer_{dtype.code}(scratch)"

    @staticmethod
    def cell(unit: str, count: int, k: int, dtype: DType) -> str:
        width = 8 // dtype.itemsize
        return f"({unit} * {count} + {k}) * {width}"
