"""From the loop IR to numba source for one core of a CPU.

What comes out is a function of the uniform signature ``(args, start, stop)``: ``args`` points to 64-bit arguments,
``start`` and ``stop`` bound the iterations of group 0 that this call shall do. A kernel in pieces has a second
function, ``finish``, for what comes after them. The text names only what it defines and what
``kernels/cpu`` supplies; nothing of the user's reaches it.

Sums run in blocks: lanes in the innermost loop (``loop_hint`` fixes how many, so that the order of summation is the
same whatever else the loop does), blocks of :data:`BLOCK` elements, then the blocks. The error then grows with the
block's length and not with the row's.
"""

from __future__ import annotations

import re

from . import dtypes
from .dtypes import BOOL, FLOATING, DType
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
    independent,
    invariant,
    mentioned,
)
from .lowering import BLOCK, COLUMN_TILE, NARROW_TILE, TILE

SHORT_BLOCK = 64  # where it is not
ROWS = 4  # that are added to the columns of a tile at a time,
MAX_REPEATED = 8  # if their statements are few


def identity(op: str, dtype: DType) -> str:
    """The value that a reduction starts from."""
    code = dtype.code
    if dtype.kind == BOOL:
        return "False" if op in ("sum", "reduce_max") else "True"
    if op in ("sum", "prod"):
        value = "0" if op == "sum" else "1"
        return f"{code}({value}.0)" if dtype.kind == FLOATING else f"{code}({value})"
    low = op == "reduce_max"
    if dtype.kind == FLOATING:
        return f"{code}({'-inf' if low else 'inf'})"
    bits = dtype.itemsize * 8
    smallest, largest = (-(1 << (bits - 1)), (1 << (bits - 1)) - 1) if dtype.is_signed else (0, (1 << bits) - 1)
    return f"{code}({smallest if low else largest})"


def combine(op: str, dtype: DType, a: str, b: str) -> str:
    """One step of a reduction."""
    names = {
        FLOATING: {"sum": "fadd_reassoc", "prod": "fmul_reassoc", "reduce_max": "fmax_reassoc",
                   "reduce_min": "fmin_reassoc"},
        BOOL: {"sum": "bor", "prod": "band", "reduce_max": "bor", "reduce_min": "band"},
    }.get(dtype.kind, {"sum": "iadd", "prod": "imul", "reduce_max": "imax", "reduce_min": "imin"})
    return f"{names[op]}({a}, {b})"


class Writer:
    def __init__(self, kernel: Kernel) -> None:
        self.kernel = kernel
        self.lines: list[str] = []
        self.depth = 0
        self.scopes: dict[str, int] = {}

    def line(self, text: str) -> None:
        self.lines.append("    " * self.depth + text)

    def scope(self, pointer: str) -> int:
        """The number of an operand: different numbers never overlap in memory."""
        return self.scopes.setdefault(pointer, len(self.scopes))

    # -------------------------------------------------------------------------------------------------- statements

    def header(self, name: str) -> None:
        self.line(f"def {name}(args, start, stop):")
        self.depth += 1
        for slot, argument in enumerate(self.kernel.arguments):
            self.line(f"{argument.name} = {self.argument(argument, slot)}")

    def argument(self, argument: Argument, slot: int) -> str:
        text = f"args[{slot}]"
        if argument.kind == "pointer":
            return f"pointer_{argument.dtype.code}({text})"
        if argument.kind == "scalar":
            if argument.dtype.kind == FLOATING:
                text = f"bitcast_i64_f64({text})"
            if argument.dtype.compute is not argument.dtype:
                text = f"{argument.dtype.compute.code}({text})"
            return f"{argument.dtype.code}({text})"
        return text

    def statement(self, st) -> None:
        match st:
            case Let(name, _, text):
                self.line(f"{name} = {text}")
            case Load(name, _, pointer, index, guard, fill):
                load = f"load({pointer}, {index}, {self.scope(pointer)})"
                self.line(f"{name} = {load} if {guard} else {fill}" if guard else f"{name} = {load}")
            case Store(pointer, dtype, index, text, mode):
                scope = self.scope(pointer)
                if mode != "set":
                    self.line(f"at = {index}")
                    held = f"load({pointer}, at, {scope})"
                    op = {"add": "sum", "mul": "prod", "max": "reduce_max", "min": "reduce_min"}[mode]
                    plain = op == "sum" and dtype.kind == FLOATING
                    step = f"({held} + {text})" if plain else combine(op, dtype, held, text)
                    self.line(f"store({pointer}, at, {step}, {scope})")
                else:
                    self.line(f"store({pointer}, {index}, {self.typed(text, dtype)}, {scope})")
            case Scan(name, dtype, op, text):
                if dtype.kind == FLOATING:
                    self.line(f"{name}_run = ({name}_run + f64({text}))")
                    self.line(f"{name} = {dtype.code}({name}_run)")
                else:
                    self.line(f"{name}_run = {combine(op, dtype, f'{name}_run', text)}")
                    self.line(f"{name} = {name}_run")
            case Loop():
                self.loop(st)

    @staticmethod
    def typed(text: str, dtype: DType) -> str:
        return f"b8({text})" if text in ("True", "False") else text

    def block(self, statements: list) -> None:
        for st in statements:
            self.statement(st)

    def before_loop(self, statements: list, varying: set[str]) -> list:
        """Write what is the same in each iteration of a loop that begins here. Returns the rest of its body.

        LLVM moves what it can by itself, but nothing that may report an error, and nothing that is read after that:
        an index would be checked once for each element of the row that it picks, and the loop not be vectorised.
        """
        same, others = invariant(statements, varying)
        self.block(same)
        return others

    def decode(self, number: str, group: list[LoopVar]) -> None:
        """The group's variables from their running number."""
        if not group:
            return
        rest = number
        for i, v in enumerate(reversed(group)):
            if i == len(group) - 1:
                self.line(f"{v.name} = {rest}")
            else:
                self.line(f"{v.name} = irem_floor({rest}, {v.extent})")
                self.line(f"rest{i} = idiv_floor({rest}, {v.extent})")
                rest = f"rest{i}"

    def loop(self, loop: Loop, first: tuple[str, str] | None = None) -> None:
        """A loop over a group. ``first`` bounds its first variable, where a piece of it is meant."""
        group = self.kernel.groups[loop.group]
        accumulators = loop.accumulators
        deep = any(isinstance(st, Loop) for st in loop.body)
        scans = [st for st in loop.body if isinstance(st, Scan)]
        for scan in scans:
            # one after the other without blocks: in float64, as PyTorch does it
            kind = dtypes.float64 if scan.dtype.kind == FLOATING else scan.dtype
            self.line(f"{scan.name}_run = {identity(scan.op, kind)}")
        for a in accumulators:
            self.line(f"{a.name} = {identity(a.op, a.dtype)}")
        depth = self.depth
        *outer, last = group
        for i, v in enumerate(outer):
            bounds = f"{first[0]}, {first[1]}" if first and i == 0 else v.extent
            self.line(f"for {v.name} in range({bounds}):")
            self.depth += 1
        low, high = first if first and not outer else ("0", last.extent)
        body = self.before_loop(loop.body, {last.name})
        blocked = any(a.dtype.kind == FLOATING and a.op in ("sum", "prod") for a in accumulators)
        if blocked:
            size = SHORT_BLOCK if deep else BLOCK
            base = f"{last.name}_block"
            self.line(f"for {base} in range({low}, {high}, {size}):")
            self.depth += 1
            for a in accumulators:
                self.line(f"{a.name}_part = {identity(a.op, a.dtype)}")
            self.line(f"for {last.name} in range({base}, imin({base} + {size}, {high})):")
        else:
            self.line(f"for {last.name} in range({low}, {high}):")
        self.depth += 1
        hint = self.hint(accumulators)
        if hint and not deep:
            self.line(hint)
        self.block(body)
        suffix = "_part" if blocked else ""
        for a in accumulators:
            held = f"{a.name}{suffix}"
            self.line(f"{held} = {combine(a.op, a.dtype, held, self.typed(a.text, a.dtype))}")
        if not accumulators and not body:
            self.line("pass")
        self.depth -= 1
        if blocked:
            for a in accumulators:
                self.line(f"{a.name} = {combine(a.op, a.dtype, a.name, a.name + '_part')}")
        self.depth = depth

    @staticmethod
    def hint(accumulators: list[Accumulator]) -> str | None:
        floats = [a.dtype for a in accumulators if a.dtype.kind == FLOATING]
        if not floats:
            return None
        return "loop_hint(8, 4)" if dtypes.float64 in floats else "loop_hint(16, 4)"

    # ------------------------------------------------------------------------------------------------------- modes

    def flat(self) -> None:
        self.header("kernel")
        group = self.kernel.groups[0]
        if len(group) < 2:
            self.line(f"for {group[0].name if group else 'once'} in range(start, stop):")
            self.depth += 1
            self.block(self.kernel.body)
            return
        *outer, last = group
        self.line(f"last = idiv_floor(stop + {last.extent} - 1, {last.extent})")
        self.line(f"for row in range(idiv_floor(start, {last.extent}), last):")
        self.depth += 1
        self.decode("row", outer)
        self.line(f"low = imax(start - row * {last.extent}, 0)")
        self.line(f"high = imin(stop - row * {last.extent}, {last.extent})")
        body = self.before_loop(self.kernel.body, {last.name})
        self.line(f"for {last.name} in range(low, high):")
        self.depth += 1
        self.block(body)

    def tiled(self) -> None:
        kernel = self.kernel
        *outer, rows, columns = kernel.groups[0]
        across, along = kernel.tiles.split(",")
        self.header("kernel")
        self.line("for unit in range(start, stop):")
        self.depth += 1
        self.line(f"rest = idiv_floor(unit, {along})")
        self.line(f"column = (unit - rest * {along}) * {TILE}")
        self.line(f"tile_row = idiv_floor(rest, {across})")
        self.line(f"row = (rest - tile_row * {across}) * {TILE}")
        self.decode("tile_row", outer)
        self.line(f"for {rows.name} in range(row, imin(row + {TILE}, {rows.extent})):")
        self.depth += 1
        body = self.before_loop(kernel.body, {columns.name})
        self.line(f"for {columns.name} in range(column, imin(column + {TILE}, {columns.extent})):")
        self.depth += 1
        self.block(body)

    def scatter(self) -> None:
        kernel = self.kernel
        divided = independent(kernel)
        last = kernel.groups[0][-1]
        self.header("kernel")
        self.line("for unit in range(start, stop):")
        self.depth += 1
        if kernel.tiles:
            self.line(f"low = irem_floor(unit, {kernel.tiles}) * {NARROW_TILE}")
            self.line(f"high = imin(low + {NARROW_TILE}, {last.extent})")
            self.line(f"place = idiv_floor(unit, {kernel.tiles})")
        self.decode("place" if kernel.tiles else "unit", [v for v in divided if v is not last])
        body = kernel.body
        looped = [v for v in kernel.groups[0] if v not in divided or v is last]
        for v in looped:
            if v is looped[-1]:
                body = self.before_loop(body, {v.name})
            self.line(f"for {v.name} in range({'low, high' if v in divided else v.extent}):")
            self.depth += 1
        self.block(body)

    def rows(self) -> None:
        self.header("kernel")
        self.line("for unit in range(start, stop):")
        self.depth += 1
        self.decode("unit", self.kernel.groups[0])
        self.block(self.kernel.body)

    def split(self) -> None:
        kernel = self.kernel
        position = next(i for i, st in enumerate(kernel.body) if isinstance(st, Loop))
        before, loop, after = kernel.body[:position], kernel.body[position], kernel.body[position + 1 :]
        count = len(loop.accumulators)
        self.header("kernel")
        self.line("for unit in range(start, stop):")
        self.depth += 1
        self.line(f"piece = irem_floor(unit, {kernel.pieces})")
        self.line(f"row = idiv_floor(unit, {kernel.pieces})")
        self.decode("row", kernel.groups[0])
        self.block(before)
        self.line(f"first = piece * {kernel.step}")
        self.line(f"last = imin(first + {kernel.step}, {kernel.groups[1][0].extent})")
        self.loop(loop, ("first", "last"))
        for k, a in enumerate(loop.accumulators):
            self.line(f"cell = pointer_{a.dtype.code}_{k}(scratch + 8 * (unit * {count} + {k}))".replace(f"_{k}(", "("))
            self.line(f"store(cell, 0, {a.name}, {self.scope('scratch')})")
        self.depth = 0
        self.line("")
        self.line("")
        self.header("finish")
        self.line("for row in range(start, stop):")
        self.depth += 1
        self.decode("row", kernel.groups[0])
        self.block(before)
        for k, a in enumerate(loop.accumulators):
            self.line(f"{a.name} = {identity(a.op, a.dtype)}")
            self.line(f"for block in range(0, {kernel.pieces}, 16):")
            self.depth += 1
            self.line(f"{a.name}_part = {identity(a.op, a.dtype)}")
            self.line(f"for piece in range(block, imin(block + 16, {kernel.pieces})):")
            self.depth += 1
            address = f"scratch + 8 * ((row * {kernel.pieces} + piece) * {count} + {k})"
            held = f"load(pointer_{a.dtype.code}({address}), 0, {self.scope('scratch')})"
            self.line(f"{a.name}_part = {combine(a.op, a.dtype, f'{a.name}_part', held)}")
            self.depth -= 1
            self.line(f"{a.name} = {combine(a.op, a.dtype, a.name, f'{a.name}_part')}")
            self.depth -= 1
        self.block(after)

    def columns(self) -> None:
        """One accumulator for each of a tile of neighbouring columns, in arrays on the stack."""
        self.column_function("kernel")
        if self.kernel.pieces:
            self.depth = 0
            self.line("")
            self.line("")
            self.column_function("finish")

    def column_function(self, name: str) -> None:
        """The whole, or in pieces: ``kernel`` does one piece of the loop, ``finish`` what comes after the loop."""
        kernel = self.kernel
        *outer, last = kernel.groups[0]
        segments = segmented(kernel.body)
        kept = kept_names(segments)
        in_pieces = bool(kernel.pieces)
        self.header(name)
        for value, dtype in kept.items():
            self.line(f"{value}_tile = local_{dtype.code}({COLUMN_TILE})")
        for segment in segments:
            if isinstance(segment, Loop):
                for a in segment.accumulators:
                    for level in ("part", "chunk"):
                        self.line(f"{a.name}_{level} = local_{a.dtype.code}({COLUMN_TILE})")
        self.line("for unit in range(start, stop):")
        self.depth += 1
        tile = "unit"
        if in_pieces and name == "kernel":
            self.line(f"piece = irem_floor(unit, {kernel.pieces})")
            self.line(f"tile = idiv_floor(unit, {kernel.pieces})")
            tile = "tile"
        self.line(f"low = irem_floor({tile}, {kernel.tiles}) * {kernel.width}")
        self.line(f"width = imin({kernel.width}, {last.extent} - low)")
        self.line(f"column_row = idiv_floor({tile}, {kernel.tiles})")
        self.decode("column_row", outer)
        for segment in segments:
            if isinstance(segment, Loop) and in_pieces and name == "finish":
                self.add_pieces(segment)
            elif isinstance(segment, Loop):
                self.column_loop(segment, last, kept)
                if in_pieces:
                    self.leave_piece(segment)
                    return
            else:
                self.each_column(last)
                self.restore(segment, kept)
                self.block(segment)
                for st in segment:
                    if isinstance(st, (Let, Load)) and st.name in kept:
                        value = self.typed(st.name, st.dtype)
                        self.line(f"store({st.name}_tile, t, {value}, {self.scope(st.name + '_tile')})")
                self.depth -= 1

    def cells(self, accumulators: list[Accumulator], k: int, piece: str) -> str:
        """Where a piece leaves the values of one accumulator, one a column."""
        place = f"({piece} * {len(accumulators)} + {k}) * {COLUMN_TILE}"
        return f"pointer_{accumulators[k].dtype.code}(scratch + 8 * {place})"

    def leave_piece(self, loop: Loop) -> None:
        for k, a in enumerate(loop.accumulators):
            self.line(f"cells{k} = {self.cells(loop.accumulators, k, 'unit')}")
            self.line("for t in range(width):")
            self.depth += 1
            held = f"load({a.name}_tile, t, {self.scope(f'{a.name}_tile')})"
            self.line(f"store(cells{k}, t, {self.typed(held, a.dtype)}, {self.scope('scratch')})")
            self.depth -= 1

    def add_pieces(self, loop: Loop) -> None:
        self.fill(loop.accumulators, "tile")
        self.line(f"for piece in range({self.kernel.pieces}):")
        self.depth += 1
        for k, a in enumerate(loop.accumulators):
            self.line(f"cells{k} = {self.cells(loop.accumulators, k, f'(unit * {self.kernel.pieces} + piece)')}")
            self.line("for t in range(width):")
            self.depth += 1
            scope = self.scope(f"{a.name}_tile")
            held, part = f"load({a.name}_tile, t, {scope})", f"load(cells{k}, t, {self.scope('scratch')})"
            self.line(f"store({a.name}_tile, t, {combine(a.op, a.dtype, held, part)}, {scope})")
            self.depth -= 1
        self.depth -= 1

    def each_column(self, last: LoopVar) -> None:
        self.line("for t in range(width):")
        self.depth += 1
        self.line(f"{last.name} = low + t")

    def restore(self, statements: list, kept: dict[str, DType], extra: str = "") -> None:
        """Bring back the values of this column that earlier segments kept."""
        defined = {st.name for st in statements if isinstance(st, (Let, Load))}
        used = mentioned(statements) | set(re.findall(r"\b[vr]\d+\b", extra))
        for name in kept:
            if name in used and name not in defined:
                self.line(f"{name} = load({name}_tile, t, {self.scope(name + '_tile')})")

    def column_loop(self, loop: Loop, last: LoopVar, kept: dict[str, DType]) -> None:
        """A loop for all columns of a tile at once: sums of :data:`SHORT_BLOCK` rows, of :data:`BLOCK`, of all."""
        accumulators = loop.accumulators
        *outer, inner = self.kernel.groups[loop.group]
        depth = self.depth
        self.fill(accumulators, "tile")
        for v in outer:
            self.line(f"for {v.name} in range({v.extent}):")
            self.depth += 1
        chunk, base = f"{inner.name}_chunk", f"{inner.name}_block"
        if self.kernel.pieces:
            self.line(f"first = piece * {self.kernel.step}")
            self.line(f"for {chunk} in range(first, imin(first + {self.kernel.step}, {inner.extent}), {BLOCK}):")
        else:
            self.line(f"for {chunk} in range(0, {inner.extent}, {BLOCK}):")
        self.depth += 1
        self.fill(accumulators, "chunk")
        self.line(f"for {base} in range({chunk}, imin({chunk} + {BLOCK}, {inner.extent}), {SHORT_BLOCK}):")
        self.depth += 1
        self.fill(accumulators, "part")
        self.line(f"last_row = imin({base} + {SHORT_BLOCK}, {inner.extent})")
        first = base
        if not invariant(loop.body, {last.name, *kept})[0] and len(loop.body) <= MAX_REPEATED:
            # several rows at a time: what a column holds stays in a register meanwhile, and more rows are on their way
            first, rows = f"{inner.name}_single", f"{inner.name}_rows"
            self.line(f"{first} = last_row - irem_floor(last_row - {base}, {ROWS})")
            self.line(f"for {rows} in range({base}, {first}, {ROWS}):")
            self.depth += 1
            self.column_rows(loop, last, kept, inner.name, [f"{rows} + {k}" for k in range(ROWS)])
            self.depth -= 1
        self.line(f"for {inner.name} in range({first}, last_row):")
        self.depth += 1
        self.column_rows(loop, last, kept, inner.name, [])
        self.depth -= 1
        self.collect(accumulators, "chunk", "part")
        self.depth -= 1
        self.collect(accumulators, "tile", "chunk")
        self.depth = depth

    def column_rows(self, loop: Loop, last: LoopVar, kept: dict[str, DType], row: str, rows: list[str]) -> None:
        """One or several rows of a loop for all columns of a tile, one after the other for each column."""
        body = self.before_loop(loop.body, {last.name, *kept})
        self.each_column(last)
        self.restore(body, kept, " ".join(a.text for a in loop.accumulators))
        for a in loop.accumulators:
            self.line(f"{a.name}_held = load({a.name}_part, t, {self.scope(f'{a.name}_part')})")
        for number in rows or [row]:
            if rows:
                self.line(f"{row} = {number}")
            self.block(body)
            for a in loop.accumulators:
                # in this order: neighbours in a vector are different columns, so that nothing need be reordered
                step = combine(a.op, a.dtype, f"{a.name}_held", self.typed(a.text, a.dtype))
                self.line(f"{a.name}_held = {step.replace('_reassoc', '') if 'add' in step or 'mul' in step else step}")
        for a in loop.accumulators:
            self.line(f"store({a.name}_part, t, {a.name}_held, {self.scope(f'{a.name}_part')})")
        self.depth -= 1

    def fill(self, accumulators: list[Accumulator], level: str) -> None:
        """Set the accumulators of a level for every column of the tile."""
        if accumulators:
            self.line("for t in range(width):")
        self.depth += 1
        for a in accumulators:
            start = self.typed(identity(a.op, a.dtype), a.dtype)
            self.line(f"store({a.name}_{level}, t, {start}, {self.scope(f'{a.name}_{level}')})")
        self.depth -= 1

    def collect(self, accumulators: list[Accumulator], into: str, level: str) -> None:
        """Add the accumulators of one level to those of the next."""
        if accumulators:
            self.line("for t in range(width):")
        self.depth += 1
        for a in accumulators:
            scope = self.scope(f"{a.name}_{into}")
            held = f"load({a.name}_{into}, t, {scope})"
            part = f"load({a.name}_{level}, t, {self.scope(f'{a.name}_{level}')})"
            self.line(f"store({a.name}_{into}, t, {combine(a.op, a.dtype, held, part)}, {scope})")
        self.depth -= 1

    def text(self) -> str:
        getattr(self, self.kernel.mode)()
        return "\n".join(self.lines) + "\n"


def segmented(body: list) -> list:
    """A block as its loops and the runs of statements between them."""
    segments: list = []
    for st in body:
        if isinstance(st, Loop):
            segments.append(st)
        elif segments and isinstance(segments[-1], list):
            segments[-1].append(st)
        else:
            segments.append([st])
    return segments


def kept_names(segments: list) -> dict[str, DType]:
    """Values that one segment defines and a later one uses: they need a place for every column of the tile."""
    kept: dict[str, DType] = {}
    for position, segment in enumerate(segments):
        later: set[str] = set()
        for other in segments[position + 1 :]:
            later |= mentioned([other] if isinstance(other, Loop) else other)
        if isinstance(segment, Loop):
            kept.update({a.name: a.dtype for a in segment.accumulators})
        else:
            kept.update({st.name: st.dtype for st in segment if isinstance(st, (Let, Load)) and st.name in later})
    return kept


def functions(kernel: Kernel) -> list[str]:
    """The names of the functions that a kernel consists of."""
    return ["kernel", "finish"] if kernel.pieces else ["kernel"]


def generate(kernel: Kernel) -> str:
    """The numba source of a kernel."""
    return Writer(kernel).text()
