"""How a GPU's threads share the elements of a loop: several neighbours at a time, where memory allows it.

A GPU moves 16 bytes with one instruction as fast as it moves one, so that a thread takes a *vector* of neighbouring
elements: as many as make 16 bytes of the widest dtype that is read or written at neighbouring places. Several vectors
are a *turn* apart, and all their loads are asked for before the first result is computed.

How many elements those are depends on a kernel's text alone, and who takes which on the sizes: where an address is not
a multiple of 16 the same thread takes the same elements one by one, so that the bits of a sum do not depend on where
its operands lie.

In: a kernel of the loop IR. Out: :func:`vector_width`, :func:`plan_chunk`. Read next: ``codegen_cuda.py``.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from .dtypes import DType
from .loopir import Kernel, Let, Load, Loop, LoopVar, Store, loops_in

if TYPE_CHECKING:
    from .codegen_cuda import Scope

VECTOR_BYTES = 16  # the widest access of a thread
BYTES_UNDER_WAY = 64  # loads of a thread that are asked for together
MOST_TURNS = 8  # vectors of one operand among them
MOST_ACCESSES = 16  # loads and stores of an element, so that vectors of all of them fit into registers


@dataclass(frozen=True)
class Chunk:
    """What a thread does with the elements that it takes at a time.

    Attributes:
        turns: how many vectors it takes.
        phases: statements to run one list after the other for all elements: the loads whose places are known, then
            those whose places those say, and in the end everything else.
        kept: what a later phase reads of an earlier one, with its dtype.
        loads, stores: the accesses that are made by vectors.
    """

    turns: int
    phases: list[list]
    kept: dict[str, DType]
    loads: list[Load]
    stores: list[Store]


@dataclass
class Alignment:
    """What has to be a multiple of what, for vectors to be aligned: addresses of so many bytes, numbers of elements."""

    addresses: dict[str, int] = field(default_factory=dict)
    numbers: set[str] = field(default_factory=set)


def leaves(kernel: Kernel) -> Iterator[tuple[list, list[LoopVar]]]:
    """The bodies of the innermost loops whose elements threads deal out, and their variables."""
    if kernel.mode == "flat":
        yield kernel.body, kernel.groups[0]
        return
    for loop in loops_in(kernel.body):
        if not any(isinstance(st, Loop) for st in loop.body):
            yield loop.body, kernel.groups[loop.group]


def is_plain(body: list) -> bool:
    """Whether the elements of a body can be taken several at a time: nothing that it stores is read at another place,
    and there are registers for what is read and stored."""
    if not all(isinstance(st, (Let, Load)) or (isinstance(st, Store) and st.mode == "set") for st in body):
        return False
    if sum(not isinstance(st, Let) for st in body) > MOST_ACCESSES:
        return False
    stored: dict[str, set[str]] = {}
    for st in body:
        if isinstance(st, Store):
            stored.setdefault(st.pointer, set()).add(st.index)
    seen: set[str] = set()
    for st in body:
        if isinstance(st, Store):
            seen.add(st.pointer)
        elif isinstance(st, Load) and st.pointer in stored:
            if st.pointer in seen or stored[st.pointer] != {st.index}:
                return False
    return True


def defined_in(body: list) -> set[str]:
    return {st.name for st in body if isinstance(st, (Let, Load))}


def is_neighbouring(index: str, last: str, own: set[str]) -> bool:
    """Whether neighbouring values of the last variable are neighbours in memory, and the rest of the place is made of
    multiples of strides and of offsets."""
    terms = index.split(" + ")
    if terms.count(last) != 1:
        return False
    for term in terms:
        factor = re.fullmatch(r"(\w+) \* s\d+", term)
        if term != last and not re.fullmatch(r"o\d+", term) and not (factor and factor[1] not in own | {last}):
            return False
    return True


def vectors_of(body: list, group: list[LoopVar]) -> tuple[list[Load], list[Store]]:
    """The accesses of a body that can be made by vectors."""
    if not group or not is_plain(body):
        return [], []
    last, own = group[-1].name, defined_in(body)
    loads = [st for st in body if isinstance(st, Load) and not st.guard and is_neighbouring(st.index, last, own)]
    stores = [st for st in body if isinstance(st, Store)]
    pointers = [st.pointer for st in stores]
    # what is stored at several places of a buffer is stored in order
    return loads, [
        st for st in stores if pointers.count(st.pointer) == 1 and is_neighbouring(st.index, last, own)
    ]


def vector_width(kernel: Kernel) -> int:
    """How many neighbouring elements a thread takes, in all loops of a kernel."""
    if kernel.mode in ("columns", "tiled"):
        return 1
    found = [st for body, group in leaves(kernel) for accesses in vectors_of(body, group) for st in accesses]
    return VECTOR_BYTES // max(st.dtype.itemsize for st in found) if found else 1


def alignment(kernel: Kernel) -> Alignment:
    """What makes all the vectors of a kernel aligned."""
    width, found = vector_width(kernel), Alignment()
    for body, group in leaves(kernel):
        for accesses in vectors_of(body, group):
            for st in accesses:
                found.addresses[st.pointer] = width * st.dtype.itemsize
                found.numbers.update(re.findall(r"\b[so]\d+\b", st.index))
                if len(group) > 1:
                    found.numbers.add(group[-1].extent)
    return found


def plan_chunk(body: list, group: list[LoopVar], width: int, adds: set[str]) -> Chunk | None:
    """How a body's elements are taken; None where it has to be run for one element after the other.

    Args:
        adds: the names that the accumulators of the loop read.
    """
    if not is_plain(body):
        return None
    loads, stores = vectors_of(body, group) if width > 1 else ([], [])
    own = defined_in(body)
    varying = own | {v.name for v in group}
    # a load from the same place for all elements is left where it is
    fetches = {st.name for st in body if isinstance(st, Load) and not varying.isdisjoint(words_of(st))}
    values = [st for st in body if not isinstance(st, Store)]
    needs = {st.name: own & words_of(st) for st in values}
    depth: dict[str, int] = {}
    for name, needed in needs.items():
        depth[name] = max((depth[x] + (x in fetches) for x in needed), default=0)
    last = 1 + max((depth[name] for name in fetches), default=-1)
    # loads come as early as what they need is there, and of the rest only what a later load needs
    phase: dict[str, int] = {}
    for name in reversed(needs):
        early = name in fetches or any(name in needed and phase.get(x, last) < last for x, needed in needs.items())
        phase[name] = depth[name] if early else last
    phases = [[st for st in values if phase[st.name] == k] for k in range(last)]
    phases.append([st for st in body if isinstance(st, Store) or phase[st.name] == last])
    kept: dict[str, DType] = {}
    for k, statements in enumerate(phases[:-1]):
        later = adds.union(*(words_of(st) for found in phases[k + 1 :] for st in found))
        kept |= {st.name: st.dtype for st in statements if st.name in later}
    under_way = sum(width * st.dtype.itemsize for st in values if st.name in fetches)
    turns = 1
    while turns < MOST_TURNS and 2 * turns * under_way <= BYTES_UNDER_WAY and under_way:
        turns *= 2
    return Chunk(turns, phases, kept, loads, stores)


def words_of(st: Let | Load | Store) -> set[str]:
    """The names that a statement reads."""
    return set(re.findall(r"\w+", text_of(st)))


def text_of(st: Let | Load | Store) -> str:
    match st:
        case Let(_, _, text):
            return text
        case Load(_, _, _, index, guard, fill):
            return f"{index} {guard or ''} {fill}"
        case Store(_, _, index, text, _):
            return f"{index} {text}"


# --------------------------------------------------------------------------------------------------------- the text


@dataclass(frozen=True)
class Dealt:
    """How a loop's elements are dealt out: ``counter`` is the number of a thread's next vector, up to ``stop``, with
    ``step`` from one to the next; the first element of all has the number ``low``. The text ``even`` says whether
    vectors are aligned."""

    chunk: Chunk
    group: int
    counter: str
    step: str
    stop: str
    low: str
    even: str


class VectorWriter:
    """The part of ``codegen_cuda.Writer`` that writes chunks."""

    @contextlib.contextmanager
    def unrolled(self, counter: str, count: int) -> Iterator[None]:
        """A loop of a few steps, which the compiler writes out."""
        depth = self.depth
        if count > 1:
            self.line(f"{counter} = 0")
            self.begin(f"while {counter} < {count}:")
        inside = self.depth
        yield
        if count > 1:
            self.depth = inside
            self.line(f"{counter} += 1")
            self.line("unrolled()")
        self.depth = depth

    @contextlib.contextmanager
    def each_turn(self, dealt: Dealt) -> Iterator[None]:
        """The thread's vectors; ``place`` is the number of each."""
        with self.unrolled("turn", dealt.chunk.turns):
            if dealt.chunk.turns > 1:
                self.line(f"place = {dealt.counter} + turn * {dealt.step}")
                self.begin(f"if place < {dealt.stop}:")
            else:
                self.line(f"place = {dealt.counter}")
            yield

    @contextlib.contextmanager
    def each_part(self, dealt: Dealt) -> Iterator[None]:
        """The elements of a vector."""
        with self.unrolled("part", self.width):
            self.position(dealt, "part" if self.width > 1 else "")
            yield

    def position(self, dealt: Dealt, part: str) -> None:
        """The variables of a part of a vector, or of its first."""
        terms = [] if dealt.low == "0" else [dealt.low]
        terms.append(f"place * {self.width}" if self.width > 1 else "place")
        self.decode_from(" + ".join([*terms, part] if part else terms), dealt.group)

    def slot(self, dealt: Dealt, part: str = "part") -> str:
        """Where a thread keeps what belongs to an element; a vector's first is the part ``""``."""
        terms = [f"turn * {self.width}" if self.width > 1 else "turn"] if dealt.chunk.turns > 1 else []
        return " + ".join([*terms, part] if part and self.width > 1 else terms) or "0"

    def take(self, dealt: Dealt, scope: Scope, adds: Iterable[str]) -> None:
        """Compute the elements that a thread takes at a time."""
        chunk, width = dealt.chunk, self.width
        self.begin(f"while {dealt.counter} < {dealt.stop}:")
        depth = self.depth
        for name, dtype in chunk.kept.items():
            self.line(f"held_{name} = registers_{dtype.code}()")
        vectors = [st for st in chunk.loads if st.name in chunk.kept]
        if vectors:
            self.begin(f"if {dealt.even}:")
            with self.each_turn(dealt):
                self.position(dealt, "")
                for st in vectors:
                    load = self.load_of(st.pointer)
                    self.line(f"{load}_{width}({st.pointer}, {st.index}, held_{st.name}, {self.slot(dealt, '')})")
            self.depth = depth
            self.begin("else:")
            self.phase(dealt, vectors, scope)
            self.depth = depth
        for statements in chunk.phases[:-1]:
            others = [st for st in statements if st not in vectors]
            if others:
                self.phase(dealt, others, scope)
        with self.each_turn(dealt):
            for st in chunk.stores:
                self.line(f"new_{st.pointer} = registers_{st.dtype.code}()")
            with self.each_part(dealt):
                self.recall(dealt, chunk.phases[-1], adds)
                for st in chunk.phases[-1]:
                    if isinstance(st, Store) and st in chunk.stores:
                        self.line(f"put(new_{st.pointer}, {'part' if width > 1 else '0'}, {st.text})")
                    else:
                        self.statement(st, scope)
                self.repeat(adds)
            if chunk.stores:
                self.store_vectors(dealt, scope)
        self.depth = depth
        self.line(f"{dealt.counter} += {f'{chunk.turns} * ' if chunk.turns > 1 else ''}{dealt.step}")
        self.line("rolled()")
        self.depth = depth - 1

    def phase(self, dealt: Dealt, statements: list, scope: Scope) -> None:
        """Run statements for all elements that a thread takes, and keep what they give."""
        with self.each_turn(dealt), self.each_part(dealt):
            self.recall(dealt, statements, ())
            for st in statements:
                self.statement(st, scope)
                if st.name in dealt.chunk.kept:
                    self.line(f"put(held_{st.name}, {self.slot(dealt)}, {st.name})")

    def recall(self, dealt: Dealt, statements: list, adds: Iterable[str]) -> None:
        """What earlier phases have kept for these statements."""
        words = set(re.findall(r"\w+", " ".join(adds))).union(*map(words_of, statements))
        here = {st.name for st in statements if not isinstance(st, Store)}
        for name in dealt.chunk.kept:
            if name in words - here:
                self.line(f"{name} = got(held_{name}, {self.slot(dealt)})")

    def store_vectors(self, dealt: Dealt, scope: Scope) -> None:
        depth = self.depth
        if scope.guard:
            self.begin(f"if {scope.guard}:")
        inside = self.depth
        self.begin(f"if {dealt.even}:")
        self.position(dealt, "")
        for st in dealt.chunk.stores:
            self.line(f"store_{self.width}({st.pointer}, {st.index}, new_{st.pointer}, 0)")
        self.depth = inside
        self.begin("else:")
        with self.each_part(dealt):
            for st in dealt.chunk.stores:
                self.line(f"store({st.pointer}, {st.index}, got(new_{st.pointer}, part))")
        self.depth = depth

    def align(self) -> None:
        """Whether all that is read and written by vectors lies at multiples of their size."""
        needed = alignment(self.kernel)
        arguments = {a.name: f"address(a{k})" for k, a in enumerate(self.kernel.arguments) if a.kind == "pointer"}
        masks: dict[int, list[str]] = {}
        for pointer, nbytes in needed.addresses.items():
            masks.setdefault(nbytes - 1, []).append(arguments[pointer])
        masks.setdefault(self.width - 1, []).extend(sorted(needed.numbers))
        terms = [f"({' | '.join(names)}) & {mask}" for mask, names in masks.items() if names]
        self.line(f"aligned = {' | '.join(terms)} == 0")
