"""Tapes on disk: what an earlier process found out about a program.

The key of a program (``engine.linearised``) decides its plan, so a tape can be kept under the key's text. The text
names only what means the same in every process: rows of the primitive table, types, numbers. A program with anything
else in it, such as a user's own row, is planned anew. What also decides a tape is the source of the planner, the
compiler and the kernels, and the processor; all of it is in the name of the entry, as for kernels (``kernels.py``).

In: keys and tapes. Out: tapes. Read next: ``tape.py``, and ``cache.py`` for the disk.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..compiler import (  # noqa: F401, rows
    composite,
    primitives as p,
    primitives_conv,
    primitives_library,
    primitives_linalg,
    primitives_special,
)
from ..compiler.dtypes import DType
from ..compiler.ir import Node, TensorType
from ..compiler.primitives import Primitive
from .counters import COUNTERS
from .kernels import KERNELS, library_version
from .log import ENABLED, log
from .tape import Tape, decode, encode

#: A program of fewer words, about five for a node, is planned as fast as it is read.
LEAST_WORDS = 256

#: The rows that mean the same in every process: those of the compiler.
ROWS = frozenset(p.TABLE.values())


#: What the cache calls an entry by: the parts of its key.
Name = dict[str, str]


class Unspellable(Exception):
    """A program has something in it that has no name outside this process."""


def name_of(key: tuple) -> Name | None:
    """The name of a program's entry; None for one that is not kept: a short one, or one that has no name elsewhere."""
    if len(key) < LEAST_WORDS:
        return None
    from ..kernels.cpu.target import target_description

    try:
        text = spelled(key)
    except Unspellable as reason:
        log("cache", f"a plan stays in memory: {reason}")
        return None
    program = hashlib.sha256(text.encode()).hexdigest()
    return {"kind": "plan", "program": program, "planner": planner_version(), **target_description()}


def recall(name: Name) -> Tape | None:
    """The tape of a program, if an earlier process left it."""
    if ENABLED.rewrite or ENABLED.fusion or ENABLED.plan:
        return None  # somebody wants to read how it is planned
    entry = KERNELS.cache.get(name)
    if entry is None:
        return None
    COUNTERS.plans_recalled += 1
    return decode(entry.object_code)


def keep(name: Name, tape: Tape) -> None:
    """Leave a tape for later processes."""
    if not tape.calls:
        KERNELS.cache.put(name, encode(tape), {})


@functools.cache
def planner_version() -> str:
    """A digest of the sources that decide what becomes of a program."""
    root = Path(composite.__file__).parent
    digester = hashlib.sha256(library_version().encode())
    for path in sorted([*root.glob("*.py"), *Path(__file__).parent.glob("*.py")]):
        digester.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return digester.hexdigest()


def spelled(key: tuple) -> str:
    """A key as text; different keys have different texts.

    Raises:
        Unspellable: a part has no name outside this process.
    """
    templates: dict[composite.Template, str] = {}

    def spell(value: Any) -> str:
        kind = type(value)
        if kind is int or kind is float or kind is bool or kind is str or kind is complex or value is None:
            return repr(value)
        if kind is tuple or kind is list:
            return f"({','.join(map(spell, value))})"
        if kind is TensorType:
            return f"{value!r}"
        if kind is DType:
            return value.code
        if kind is Primitive and value in ROWS:
            return f"@{value.name}"
        if kind is composite.Template:
            name = templates.get(value)
            if name is None:
                name = templates[value] = f"T{len(templates)}"
                parts = (value.inputs, value.numbers, value.steps, value.outputs, value.types)
                return f"{name}={spell(parts)}"
            return name
        raise Unspellable(f"{value!r} of {kind}")

    return "\n".join(map(spell, key))


def program_of(key: Sequence[Any]) -> tuple[list[Node], list[Node], list[Node]]:
    """The program that a key was written down from: its roots, inputs and Python numbers, without values."""
    at = 0
    entries: list[tuple[Any, tuple, TensorType | None, list[int]]] = []
    while type(key[at]) is not str:
        op, what = key[at], key[at + 1]
        at += 2
        sources = []
        while type(key[at]) is int:
            sources.append(key[at])
            at += 1
        if op is None or op is p.scalar:
            entries.append((op or p.input_, (), what, sources))
        else:
            entries.append((op, what, None, sources))
    nodes: list[Node | None] = [None] * len(entries)
    stack = [*reversed(key[at + 1 :])]
    while stack:
        number = stack[-1]
        op, params, type_, sources = entries[number]
        missing = [source for source in sources if nodes[source] is None]
        if nodes[number] is None and not missing:
            src = tuple([nodes[source] for source in sources])
            nodes[number] = Node(op, src, params, type_ or op.infer(params, *[x.type for x in src]))
        if missing:
            stack += missing
        else:
            stack.pop()
    roots = [nodes[number] for number in key[at + 1 :]]
    inputs = [node for node, entry in zip(nodes, entries) if entry[0] is p.input_ and entry[2] is not None]
    numbers = [node for node, entry in zip(nodes, entries) if entry[0] is p.scalar]
    return roots, inputs, numbers


__all__ = ["keep", "name_of", "program_of", "recall"]
