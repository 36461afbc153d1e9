"""Tapes: how a program runs, without an address in it.

A tape lists the entries of the driver (``kernels/cpu/driver.py``) and the words of their argument blocks. Where a word
is an address, of another word, a table or a function, it says so in its ``fixups``. So it can be kept on disk for the
next process, which then neither fuses nor lowers what an earlier one did (:func:`encode`, :func:`decode`).

In: what ``planner.py`` found out. Out: a :class:`Tape`, or its bytes. Read next: ``plan.py``, which runs it, and
``plans.py``, which keeps it.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np

from ..kernels.cpu.driver import CHECKED
from ..kernels.cpu.programs import Program
from .library import Call

_LENGTHS = struct.Struct("<3Q")


@dataclass
class Tape:
    """See the chapter's head.

    Attributes:
        programs: the kernels that it calls.
        functions: ``(kind, number, name)``: of a program (``kernel``), of BLAS (``blas``), a call of ``library.py``.
        tables: constant arrays that kernels read, as bytes.
        calls: operations of libraries of Python. A tape that has any is not kept.
        words: the argument blocks, then four words about an error.
        fixups: ``(slot, kind, number)``: the word at ``slot`` is the address of a ``word``, ``table`` or ``function``.
        entries: ``(function, block, units, work, flags)``; the first one writes addresses to where they are read.
        first_entries: of each launch.
        error_at, values_at: the words about an error, and the words that a call fills in: addresses of the arena, the
            inputs and the results, then numbers.
        kinds: of the numbers, ``d`` for floats and ``q`` for integers.
        numbers: which of the program's Python numbers they are.
        outputs: for every result of the program ``("input", number)`` or ``("result", number)``.
        output_bytes: of each result that is allocated.
        arena_bytes: of intermediate values.
        donors: for each result, the inputs into which it may be written.
        late: for each result, whether it is written when nothing can fail any more.
    """

    programs: list[Program]
    functions: list[tuple[str, int, str]]
    tables: list[bytes]
    calls: list[Call]
    words: Sequence[int]
    fixups: list[tuple[int, str, int]]
    entries: list[tuple[int, int, int, int, int]]
    first_entries: list[int]
    error_at: int
    values_at: int
    kinds: str
    numbers: list[int]
    outputs: list[tuple[str, int]]
    output_bytes: list[int]
    arena_bytes: int
    donors: list[list[int]]
    late: list[bool]

    @property
    def can_fail(self) -> bool:
        """Whether an entry may report an error in the data."""
        return any(flags & CHECKED for *_, flags in self.entries)


_APART = ("programs", "tables", "calls", "words")


def encode(tape: Tape) -> bytes:
    """The bytes of a tape without library calls."""
    header = {field.name: getattr(tape, field.name) for field in fields(Tape) if field.name not in _APART}
    header["programs"] = [(program.source, program.functions, program.kind) for program in tape.programs]
    header["tables"] = [len(table) for table in tape.tables]
    text = json.dumps(header, separators=(",", ":")).encode()
    words = np.array(tape.words, np.int64).tobytes()
    tables = b"".join(tape.tables)
    return _LENGTHS.pack(len(text), len(words), len(tables)) + text + words + tables


def decode(data: bytes) -> Tape:
    """The tape that :func:`encode` made bytes of."""
    lengths = _LENGTHS.unpack_from(data)
    ends = np.cumsum((_LENGTHS.size, *lengths)).tolist()
    text, words, tables = (data[begin:end] for begin, end in zip(ends, ends[1:]))
    header = json.loads(text)
    programs = [Program(source, tuple(functions), kind) for source, functions, kind in header.pop("programs")]
    ends = np.cumsum((0, *header.pop("tables"))).tolist()
    parts = [tables[begin:end] for begin, end in zip(ends, ends[1:])]
    for name in ("functions", "fixups", "entries", "outputs"):
        header[name] = [tuple(item) for item in header[name]]
    return Tape(programs=programs, tables=parts, calls=[], words=np.frombuffer(words, np.int64), **header)
