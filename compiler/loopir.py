"""The loop IR: what a kernel does, before it is written for a CPU or a GPU.

The grammar; scalar text is Python over the names that it defines, and both generators print it as it stands::

    kernel    := mode groups arguments block          mode := flat | tiled | scatter | rows | split | columns
    block     := statement*
    statement := Let(name, dtype, text)               name = text
               | Load(name, dtype, pointer, index, guard, fill)
               | Store(pointer, index, text, mode)    mode := set | add | mul | max | min
               | Scan(name, dtype, op, text)             name = the running op of text
               | Loop(group, block, accumulators)     for every value of the group's variables

Group 0 holds the variables that are divided among cores or thread blocks; a ``Loop`` over group ``k`` stands in a
block of group ``k - 1``. After a loop its accumulators' names hold the reduced values.

``flat`` kernels have one group and no loops; ``tiled`` ones are the same run over square tiles of their last two
variables, because some buffer is read across the direction in which another is written. ``scatter`` kernels have one
group too, and write where an index says: what can never meet in one element (:func:`independent`) is divided, along the
last variable in tiles, and the rest runs in order, so that the last write and the order of additions are the same on
any number of threads. ``rows`` run their block once
for each value of group 0. ``split`` is ``rows`` with few, long rows: the only loop of the outer block is cut into
pieces of fixed size, whose partial results a second function combines. ``columns`` keep one accumulator for each
of a tile of neighbouring values of the last variable of group 0, because those are neighbours in memory.

Extents, strides, numbers and addresses are arguments: a kernel has no sizes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from .dtypes import DType


@dataclass(slots=True)
class LoopVar:
    """A loop variable: its name and the argument that holds its extent."""

    name: str
    extent: str


@dataclass(slots=True)
class Let:
    name: str
    dtype: DType
    text: str


@dataclass(slots=True)
class Load:
    name: str
    dtype: DType
    pointer: str
    index: str
    guard: str | None = None
    fill: str = ""


@dataclass(slots=True)
class Store:
    pointer: str
    dtype: DType
    index: str
    text: str
    mode: str = "set"


@dataclass(slots=True)
class Scan:
    """A running value that is kept from one iteration of the surrounding loop to the next."""

    name: str
    dtype: DType
    op: str
    text: str


@dataclass(slots=True)
class Accumulator:
    """A reduction's running value. ``op`` is the reduction's name in the table, ``text`` what each step adds."""

    name: str
    dtype: DType
    op: str
    text: str


@dataclass(slots=True)
class Loop:
    group: int
    body: list
    accumulators: list[Accumulator] = field(default_factory=list)


@dataclass(slots=True)
class Argument:
    """One 64-bit argument. ``kind`` says how it is read and where the runtime takes it from.

    ``pointer`` (an address; ``source`` is an operand's number), ``integer`` (an extent, stride or offset; ``source`` is
    its value), ``scalar`` (a Python number; ``source`` is the node), ``error`` (address of the error word), ``scratch``
    (address of memory for partial results).
    """

    name: str
    kind: str
    dtype: DType | None
    source: object


@dataclass(slots=True)
class Kernel:
    """A kernel in the loop IR.

    Attributes:
        mode: ``flat``, ``tiled``, ``scatter``, ``rows``, ``split`` or ``columns``.
        groups: loop variables by level.
        arguments: what it is called with, in order.
        body: the block of group 0.
        serial: iterations must run in order on one core (a scatter all of whose writes may meet).
        tiles: ``columns``: the argument that holds the number of tiles; ``scatter``: the same, if the last variable is
            divided; ``tiled``: those of the last two variables.
        width: ``columns``: the argument that holds the number of columns of a tile.
        step, pieces: ``split``, and ``columns`` if they are few and long: the arguments that hold the length, in values
            of the first variable, and the number of pieces.
        operations: the rows of the table that it evaluates, for reports.
    """

    mode: str
    groups: list[list[LoopVar]]
    arguments: list[Argument]
    body: list
    serial: bool = False
    tiles: str = ""
    width: str = ""
    step: str = ""
    pieces: str = ""
    operations: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        lines = [f"kernel {self.mode}"]
        for level, group in enumerate(self.groups):
            lines.append(f"  group {level}: " + ", ".join(f"{v.name} < {v.extent}" for v in group))
        lines.append("  arguments: " + ", ".join(f"{a.name}:{a.kind}" for a in self.arguments))
        _format(self.body, lines, "  ")
        return "\n".join(lines)


def mentioned(statements: list) -> set[str]:
    """Every value (``v``) and reduction (``r``) that statements mention."""
    return set(mentions(statements))


def mentions(statements: list) -> list[str]:
    """The same, each as often as it is mentioned."""
    texts: list[str] = []
    stack = list(statements)
    while stack:
        match stack.pop():
            case Let(_, _, text) | Scan(_, _, _, text):
                texts.append(text)
            case Load(_, _, _, index, guard, fill):
                texts += [index, guard or "", fill]
            case Store(_, _, index, text, _):
                texts += [index, text]
            case Loop(_, body, accumulators):
                texts += [a.text for a in accumulators]
                stack += body
    return re.findall(r"\b[vr]\d+\b", " ".join(texts))


def loops_in(body: list) -> Iterator[Loop]:
    """The loops of a block and those inside them."""
    for st in body:
        if isinstance(st, Loop):
            yield st
            yield from loops_in(st.body)


def blocks_in(body: list) -> Iterator[list]:
    yield body
    for loop in loops_in(body):
        yield loop.body


def stores_in(body: list) -> list[Store]:
    return [st for block in blocks_in(body) for st in block if isinstance(st, Store)]


def independent(kernel: Kernel) -> list[LoopVar]:
    """The variables of a scatter in which two iterations must agree to meet in one element: those that every stored
    index names. The position along the scattered axis is read from memory and names none."""
    named = [set(re.findall(r"\bi\d+\b", st.index)) for st in stores_in(kernel.body)]
    return [v for v in kernel.groups[0] if all(v.name in names for names in named)]


def invariant(statements: list, varying: set[str]) -> tuple[list, list]:
    """The statements of a loop's body that come out the same each time, and the others.

    Args:
        varying: what differs from one iteration to the next: the loop's variable, and values that are read back in it.
    """
    varying = set(varying)
    same, others = [], []
    for st in statements:
        match st:
            case Let(_, _, text):
                texts = text
            case Load(_, _, _, index, guard, fill):
                texts = f"{index} {guard or ''} {fill}"
            case Loop(_, _, accumulators):
                varying.update(a.name for a in accumulators)
                others.append(st)
                continue
            case _:
                if isinstance(st, Scan):
                    varying.add(st.name)
                others.append(st)
                continue
        if varying.isdisjoint(re.findall(r"\w+", texts)):
            same.append(st)
        else:
            varying.add(st.name)
            others.append(st)
    return same, others


def _format(block: list, lines: list[str], indent: str) -> None:
    for statement in block:
        match statement:
            case Let(name, dtype, text):
                lines.append(f"{indent}{name}:{dtype.code} = {text}")
            case Load(name, dtype, pointer, index, guard, fill):
                guarded = f" if {guard} else {fill}" if guard else ""
                lines.append(f"{indent}{name}:{dtype.code} = {pointer}[{index}]{guarded}")
            case Store(pointer, _, index, text, mode):
                sign = {"set": "=", "add": "+="}.get(mode, f"{mode}=")
                lines.append(f"{indent}{pointer}[{index}] {sign} {text}")
            case Scan(name, dtype, op, text):
                lines.append(f"{indent}{name}:{dtype.code} = {op} of {text} so far")
            case Loop(group, body, accumulators):
                results = ", ".join(f"{a.name} = {a.op}({a.text})" for a in accumulators)
                lines.append(f"{indent}loop group {group}" + (f" -> {results}" if results else ""))
                _format(body, lines, indent + "  ")
