"""Which result of a kernel may take the memory of one of its operands.

A kernel may write a result over an operand if every element of the operand has been read, for the last time, before
the result's element at the same place is written, and if no other iteration touches that place. :func:`replaceable`
finds these pairs in the loop IR:

- the kernel is ``flat``, ``tiled`` or ``rows``: one iteration of group 0 runs as a whole on one core, in program order;
- every load of the operand and every store of the result has the same index, which names every loop variable there, so
  that iterations keep apart;
- the first store of the result needs the value of *every* load of the operand, directly or through a reduction.

The last rule also holds against the machine-code compiler, which is told that operands do not overlap: whatever it
moves, it cannot store a value before it has loaded what the value is computed from.

In: a kernel in the loop IR. Out: pairs of operand numbers. Read next: ``runtime/placement.py``.
"""

from __future__ import annotations

import re

from .loopir import Kernel, Let, Load, Loop, Scan, Store

_NAME = re.compile(r"\b[a-z]+\d+\b")
_VALUE = re.compile(r"\b[vr]\d+\b")


def replaceable(kernel: Kernel) -> set[tuple[int, int]]:
    """Pairs ``(operand read, operand written)`` that may be one memory if both have the same type."""
    if kernel.mode not in ("flat", "tiled", "rows") or kernel.serial or kernel.pieces:
        return set()
    numbers = {a.name: str(a.source) for a in kernel.arguments if a.kind == "integer"}
    operands = {a.name: a.source for a in kernel.arguments if a.kind == "pointer"}
    needs: dict[str, set[str]] = {}
    loads: dict[str, list[Load]] = {}
    stores: dict[str, list[tuple[Store, int]]] = {}

    def walk(block: list, level: int) -> None:
        for statement in block:
            match statement:
                case Let(name, _, text) | Scan(name, _, _, text):
                    needs[name] = set(_VALUE.findall(text))
                case Load(name, _, pointer, index, guard, fill):
                    needs[name] = set(_VALUE.findall(f"{index} {guard} {fill}"))
                    loads.setdefault(pointer, []).append(statement)
                case Store(pointer):
                    stores.setdefault(pointer, []).append((statement, level))
                case Loop(group, body, accumulators):
                    for a in accumulators:
                        needs[a.name] = set(_VALUE.findall(a.text))
                    walk(body, group)

    def place(index: str) -> str:
        return _NAME.sub(lambda match: numbers.get(match[0], match[0]), index)

    def keeps_apart(index: str, level: int) -> bool:
        names = set(_NAME.findall(index))
        around = [v for group in kernel.groups[: level + 1] for v in group]
        return not _VALUE.search(index) and all(v.name in names or numbers[v.extent] == "1" for v in around)

    walk(kernel.body, 0)
    pairs = set()
    for target, written in stores.items():
        first, _ = written[0]
        at = place(first.index)
        if any(st.mode != "set" or place(st.index) != at or not keeps_apart(st.index, lv) for st, lv in written):
            continue
        needed = closure(_VALUE.findall(first.text), needs)
        for source, read in loads.items():
            if source not in stores and all(
                load.guard is None and load.name in needed and place(load.index) == at for load in read
            ):
                pairs.add((operands[source], operands[target]))
    return pairs


def closure(names: list[str], needs: dict[str, set[str]]) -> set[str]:
    """``names`` and everything that they are computed from."""
    found: set[str] = set()
    stack = list(names)
    while stack:
        name = stack.pop()
        if name not in found:
            found.add(name)
            stack += needs.get(name, ())
    return found
