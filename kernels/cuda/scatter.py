"""A scatter on a GPU by many threads, in the order of the indices and with the same bits as by one.

What may meet in one element of the target has to come in the order of the program. So the iterations are sorted by
their target, stably: those of one target then stand in a row, in order, and a thread takes such a row, which it finds
by its first. The sum of a target is the same that a single thread makes, whatever the device; a target that gets very
many values takes one thread as long as it did.

The kernel becomes:

- ``keys``: a kernel of the loop IR that computes the target of each iteration,
- ``values``: one that computes what is combined, and does all else that the kernel did; none where values are in
  memory as they are needed,
- the launches of a sort of the keys (``sort.py``),
- ``segments``: a thread for each iteration, of which those work whose key differs from the one before.

If the index does not depend on the last variable, as of the rows of an embedding, this one is no part of the keys:
neighbouring threads take neighbouring *columns*.

In: a kernel that scatters. Out: :class:`Scatter`, or None where a thread for each of what cannot meet does better.
"""

from __future__ import annotations

import functools
import math
import re
from dataclasses import dataclass

from ...compiler.codegen_cpu import combine
from ...compiler.codegen_cuda import MAX_BLOCKS, MODES, Launch
from ...compiler.dtypes import DType, int32, int64
from ...compiler.loopir import Argument, Kernel, Let, Load, LoopVar, Store, independent
from . import sort

LEAST = 1024  # iterations in order for a thread, from which they are sorted
MANY = 1 << 16  # threads without sorting: as many as a GPU runs at once

SOURCE = '''
def segments(a0, a1, a2, a3, size, columns, scale, units):
    keys = pointer_{kept}(a0)
    order = pointer_i32(a1)
    values = pointer_{code}(a2)
    target = pointer_{code}(a3)
    unit = i64(cuda.blockIdx.x) * {threads} + i64(cuda.threadIdx.x)
    unit_step = i64(cuda.gridDim.x) * {threads}
    while unit < units:
        at = udiv(unit, columns)
        column = unit - at * columns
        key = load_constant(keys, at)
        to = i64(key) * scale + column
{work}
        unit += unit_step
'''

#: The last value stays.
SET = '''
        if at == size - 1 or load_constant(keys, imin(at + 1, size - 1)) != key:
            store(target, to, load_constant(values, i64(load_constant(order, at)) * columns + column))
'''

#: Eight values are on their way at once, combined in order. No load waits to know whether it is needed: where not, the
#: first of the eight is read again.
COMBINE = '''
        if at == 0 or load_constant(keys, imax(at - 1, 0)) != key:
            total = load(target, to)
            count = 8
            while count == 8:
                near = registers_i32()
                found = registers_{code}()
                count = 0
                part = 0
                while part < 8:
                    place = imin(at + part, size - 1)
                    put(near, part, load_constant(order, place))
                    same = load_constant(keys, place) == key
                    count += 1 if same and at + part < size else 0
                    part += 1
                    unrolled()
                part = 0
                while part < 8:
                    place = i64(got(near, part)) if part < count else i64(got(near, 0))
                    put(found, part, load_constant(values, place * columns + column))
                    part += 1
                    unrolled()
                part = 0
                while part < 8:
                    if part < count:
                        total = {combined}
                    part += 1
                    unrolled()
                at += 8
            store(target, to, total)
'''


@dataclass(frozen=True)
class Scatter:
    """How a kernel scatters.

    Attributes:
        keys: the kernel of the keys, whose last argument is their address.
        values: that of the values, or None.
        value: the argument that is the address of values in memory, if there is no kernel of them.
        target: the argument that is the address of the target.
        scratch: bytes of keys and values; the sort has its own.
        bytes_read, bytes_written: of keys and values, and by the sort.
        words: what ``segments`` gets after the addresses of keys, order, values and target.
    """

    keys: Kernel
    values: Kernel | None
    value: Argument | None
    target: Argument
    scratch: dict[str, int]
    sort: sort.Sort
    bytes_read: int
    bytes_written: int
    source: str
    words: tuple[int, ...]
    launch: Launch


@functools.cache
def source(dtype: DType, mode: str, kept: DType, threads: int) -> str:
    """The source of ``segments`` for elements of a dtype and keys of another."""
    work = SET
    if mode != "set":
        work = COMBINE.format(code=dtype.code, combined=combine(MODES[mode], dtype, "total", "got(found, part)"))
    return SOURCE.format(code=dtype.code, kept=kept.code, threads=threads, work=work.strip("\n"))


def describe(kernel: Kernel, sizes: dict[str, int], threads: int, warp: int) -> Scatter | None:
    """How to scatter by sorting; None where it cannot be done so, or does not pay.

    Args:
        sizes: the number of elements of each operand, by the name of the argument.
    """
    (group, *loops), stores = kernel.groups, [st for st in kernel.body if isinstance(st, Store)]
    by_index = [st for st in stores if re.search(r"\bv\d+\b", st.index)]
    if loops or len(by_index) != 1 or not all(isinstance(st, (Let, Load, Store)) for st in kernel.body):
        return None
    (store,) = by_index
    others = [st for st in stores if st is not store]
    touched = {st.pointer for st in kernel.body if isinstance(st, Load)} | {st.pointer for st in others}
    integers = {a.name: a.source for a in kernel.arguments if a.kind == "integer"}
    extents = {v.name: integers[v.extent] for v in group}
    where = terms(store.index, integers)
    if where is None or store.pointer in touched or any(st.mode != "set" for st in others):
        return None
    if store.mode != "set" and store.dtype.compute is not store.dtype:
        return None
    free = independent(kernel)
    in_order = math.prod(extents[v.name] for v in group if v not in free)
    at_once = math.prod(extents[v.name] for v in free)
    indices = [name for name in where if name[:1] == "v"]
    if in_order < LEAST or not 0 < at_once < MANY or len(indices) != 1:
        return None
    last = group[-1]
    has_columns = last in free and where[last.name] == 1 and last.name not in words_of(needed(kernel, indices[0]))
    rows = group[:-1] if has_columns else group
    columns = extents[last.name] if has_columns else 1
    size = math.prod(extents[v.name] for v in rows)
    parts = [part for part in store.index.split(" + ") if not has_columns or part != last.name]
    # the index itself has fewer bits than the place where it leads
    alone = len(parts) == 1
    key, scale = (indices[0], where[indices[0]]) if alone else (" + ".join(parts), 1)
    bits = max(1, (-(-sizes[store.pointer] // scale) - 1).bit_length())
    kept = int32 if bits < 32 else int64
    if size >= 1 << 31:
        return None
    keys = writing(kernel, rows, extents, kept, f"{kept.code}({key})", [])
    value = values = None
    load = next((st for st in kernel.body if isinstance(st, Load) and st.name == store.text), None)
    if not others and load is not None and load.guard is None:
        place = terms(load.index, integers)
        if place is not None and without_one(place, extents) == without_one(strides(group, extents), extents):
            value = next(a for a in kernel.arguments if a.name == load.pointer)
    scratch = {"x": size * kept.itemsize}
    if value is None:
        values = writing(kernel, group, extents, store.dtype, store.text, others)
        scratch["values"] = size * columns * store.dtype.itemsize
    units = size * columns
    launch = Launch("segments", max(1, min(-(-units // threads), MAX_BLOCKS)), threads, units)
    order = sort.describe(kept, 1, size, size, False, threads, warp, bits)
    moved = sum(scratch.values())
    return Scatter(
        keys, values, value, next(a for a in kernel.arguments if a.name == store.pointer), scratch, order,
        order.bytes_read + moved + 4 * size, order.bytes_written + moved,
        source(store.dtype, store.mode, kept, threads), (size, columns, scale), launch,
    )


def terms(index: str, integers: dict[str, int]) -> dict[str, int] | None:
    """An index's variables and values with what each is multiplied by; a constant is that of "". None if it is not a
    sum of such."""
    found: dict[str, int] = {}
    for part in index.split(" + "):
        name, _, stride = part.partition(" * ")
        if not re.fullmatch(r"\w+", name) or stride and stride not in integers:
            return None
        constant = name in integers or name.isdigit()
        number = integers.get(name, 0) if constant else integers[stride] if stride else 1
        if name.isdigit() and name != "0":
            return None
        found["" if constant else name] = number
    return found


def strides(group: list[LoopVar], extents: dict[str, int]) -> dict[str, int]:
    """What variables are multiplied by where all their values have elements one after the other."""
    found, stride = {}, 1
    for v in reversed(group):
        found[v.name] = stride
        stride *= extents[v.name]
    return found


def without_one(found: dict[str, int], extents: dict[str, int]) -> dict[str, int]:
    """The same without variables that have one value."""
    return {name: stride for name, stride in found.items() if stride and extents.get(name) != 1}


def words_of(statements: list) -> set[str]:
    """Every name that statements mention."""
    texts = []
    for st in statements:
        if isinstance(st, Let):
            texts.append(st.text)
        elif isinstance(st, Load):
            texts += [st.pointer, st.index, st.guard or "", st.fill]
        else:
            texts += [st.pointer, st.index, st.text]
    return set(re.findall(r"\w+", " ".join(texts)))


def needed(kernel: Kernel, *texts: str) -> list:
    """The statements of a kernel that compute the values in some texts."""
    names = set(re.findall(r"\w+", " ".join(texts)))
    found = []
    for st in reversed(kernel.body):
        if isinstance(st, (Let, Load)) and st.name in names:
            found.append(st)
            names |= words_of([st])
    return found[::-1]


def writing(
    kernel: Kernel, group: list[LoopVar], extents: dict[str, int], dtype: DType, text: str, others: list[Store]
) -> Kernel:
    """A kernel that computes a value for each iteration over some of a kernel's variables, and does other stores."""
    count = len(kernel.arguments)
    added, parts = [], []
    for k, (name, stride) in enumerate(strides(group, extents).items()):
        if k == 0:
            parts.append(name)
        else:
            added.append(Argument(f"s{count + k}", "integer", None, stride))
            parts.append(f"{name} * {added[-1].name}")
    out = Argument(f"p{count}", "pointer", dtype, None)
    last = Store(out.name, dtype, " + ".join(parts[::-1]), text)
    body = needed(kernel, text, *(f"{st.index} {st.text}" for st in others))
    body += [*others, last]
    words = words_of(body) | {v.extent for v in group}
    arguments = [a for a in kernel.arguments if a.name in words]
    return Kernel("flat", [group], [*arguments, *added, out], body, operations=kernel.operations)
