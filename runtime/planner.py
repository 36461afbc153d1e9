"""Planning: a graph turned into a tape.

The graph is rewritten and fused, every cluster becomes a launch, every intermediate value gets a place in one arena,
and the tape with its argument blocks is written down.

A planner holds no buffers and no nodes of the user's graph: leaves are :class:`Slot` numbers.

In: the roots of a graph. Out: a :class:`~flamework.runtime.tape.Tape`. Read next: ``plan.py``, which runs it.
"""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

from ..compiler import codegen_cpu, primitives_shape as s
from ..compiler.accumulate import accumulate
from ..compiler.cluster import Cluster, Indexed, Matrix, find
from ..compiler.depthwise import layout_of
from ..compiler.dtypes import FLOATING
from ..compiler.epilogues import Epilogue
from ..compiler.fusion import Fusion, fuse
from ..compiler.ir import Node, format_program, tensor_type, verify
from ..compiler.loopir import Kernel
from ..compiler.lowering import KEEP_COST, PIECE, Lowered, lower
from ..compiler.primitives_conv import convolve
from ..compiler.rewrite import rewrite
from ..kernels.cpu import blas, contraction, depthwise, sort
from ..kernels.cpu.driver import CHECKED, SERIAL
from ..kernels.cpu.programs import DRIVER, Program
from . import library
from .log import ENABLED, log
from .placement import Item, Packed, Place, Placement, Slot, is_input, touched
from .tape import Tape

#: Products that read a matrix until it is packed for them, whatever its size.
OFTEN = 8

#: A packed operand of more bytes is packed again, rather than kept, for the next product.
MOST_SHARED = 8 << 20

GROUPED = Program('''
def grouped(args, start, stop):
    function = args[0]
    for k in range(args[1]):
        base = args[2 + 3 * k]
        low = imax(start - base, 0)
        high = imin(stop - base, args[3 + 3 * k])
        if low < high:
            call_kernel(function, args[4 + 3 * k], low, high)
''', ("grouped",))


class Planner:
    """How a program is computed; see the chapter's head.

    Attributes:
        roots: the results, of the graph as it was rewritten.
        fusion: the clusters, with the reasons of every border.
        items: the schedule.
        place: where every stored value lives.
        tape: what runs.
        keep_cost, piece: see :func:`~flamework.compiler.lowering.lower`.
    """

    keep_cost, piece = KEEP_COST, PIECE

    def __init__(self, roots: Sequence[Node], leaves: Mapping[Node, Node], inputs: int) -> None:
        self.before = format_program(list(roots)) if ENABLED.rewrite else ""
        graph = distinct(accumulate(rewrite(roots, leaves, self.keeps)))
        if ENABLED.rewrite:
            log("rewrite", f"{self.before.count(chr(10))} nodes -> {format_program(graph).count(chr(10))}")
        self.roots = graph
        self.inputs = inputs
        self.fusion = fuse(graph, self.epilogues(graph))
        self.items = self.schedule()
        if ENABLED.fusion:
            for border in self.fusion.borders:
                log("fusion", f"{border.producer.op.name} {border.producer.type}: {border.reason}")
        self.place_values()
        self.write_tape()
        if ENABLED.plan:
            log("plan", f"{len(self.items)} launches, arena of {self.arena_bytes} bytes, {len(graph)} results")

    # --------------------------------------------------------------------------------------------------- schedule

    def keeps(self, node: Node) -> bool:
        """Whether a library computes an operation that kernels would compute as others."""
        return False

    def epilogues(self, roots: Sequence[Node]) -> dict[Node, Epilogue]:
        """What a library stores a product as, rather than as itself."""
        return {}

    def generate(self, kernel: Kernel) -> str:
        return codegen_cpu.generate(kernel)

    def describe_sort(self, node: Node) -> sort.SortCall:
        return describe_sort(node)

    def describe_product(self, cluster: Cluster, often: set[tuple]) -> contraction.Contraction | None:
        return describe_product(cluster, often)

    def schedule(self) -> list[Item]:
        """One item a cluster, those of one source and one depth together, in an order in which they can run."""
        clusters = self.fusion.clusters
        after = {c: {find(x) for x in c.successors} - {c} for c in clusters}
        depth = dict.fromkeys(clusters, 0)
        for c in clusters:
            for successor in after[c]:
                depth[successor] = max(depth[successor], depth[c] + 1)
        groups: dict[tuple, Item] = {}
        item_of: dict[Cluster, Item] = {}
        often = read_often(clusters)
        for c in clusters:
            if c.kind != "kernel":
                sort_call = self.describe_sort(c.node) if c.kind == "sort" else None
                item_of[c] = Item([c], c.kind, sort=sort_call, contraction=self.describe_product(c, often))
                continue
            lowered = lower(c, self.fusion, self.keep_cost, self.piece)
            source = self.generate(lowered.kernel)
            alone = lowered.kernel.serial or lowered.kernel.pieces or "error" in source
            key = (id(c),) if alone else (source, depth[c])
            item = groups.get(key)
            if item is None:
                item = groups[key] = Item([], "kernel", source=source)
            item.clusters.append(c)
            item.lowered.append(lowered)
            item_of[c] = item
        items = ordered(clusters, after, item_of, self.fusion)
        share_packing(items)
        return items

    # ------------------------------------------------------------------------------------------------------ memory

    def place_values(self) -> None:
        """Where every value lives; see ``placement.py``."""
        found = self.placement = Placement(self.fusion, self.items, self.roots, self.inputs)
        self.place = found.place
        self.arena_bytes = found.arena_bytes

    def locate(self, node: Node) -> Place:
        node = self.fusion.base(node)
        if is_input(node):
            return Place(1 + node.value.number)
        return self.place[node]

    # -------------------------------------------------------------------------------------------------------- tape

    def write_tape(self) -> None:
        self.words: list[int] = []
        self.fixups: list[tuple[int, str, int]] = []
        self.relocations: list[tuple[int, int, int]] = []
        self.numbers: dict[tuple[int, bool], list[int]] = {}
        self.functions: dict[tuple[str, int, str], int] = {}
        self.programs: dict[Program, int] = {}
        self.calls: list[library.Call] = []
        self.tables: dict[bytes, int] = {}
        self.error_slots: list[int] = []
        entries: list[tuple[int, int, int, int, int]] = []
        first_entries: list[int] = []
        for item, scratch in zip(self.items, self.placement.scratch):
            first_entries.append(1 + len(entries))
            if item.sort is not None:
                entries += self.sort_entries(item, scratch[0])
            elif item.contraction is not None:
                entries += self.contraction_entries(item)
            elif item.kind == "library":
                entries.append(self.library_entry(item.clusters[0].node))
            elif item.kind == "convolve":
                entries.append(self.depthwise_entry(item))
            elif item.kind == "dot":
                entries.append(self.dot_entry(item))
            else:
                entries += self.kernel_entries(item, scratch)
        found = self.placement
        patch, kinds, values_at = self.patch_entry()
        # argument blocks, then the error word, in one array whose address never changes
        error_at = len(self.words)
        self.fixups += [(slot, "word", error_at) for slot in self.error_slots]
        self.tape = Tape(
            programs=list(self.programs), functions=list(self.functions), tables=list(self.tables), calls=self.calls,
            words=[*self.words, 0, 0, 0, 0], fixups=self.fixups, entries=[patch, *entries],
            first_entries=first_entries, error_at=error_at, values_at=values_at, kinds=kinds,
            numbers=[number for number, _ in self.numbers], outputs=found.outputs, output_bytes=found.output_bytes,
            arena_bytes=found.arena_bytes, donors=found.donors, late=found.late,
        )

    def function(self, program: Program, name: str) -> int:
        """The number of a function of a program."""
        return self.numbered("kernel", self.programs.setdefault(program, len(self.programs)), name)

    def numbered(self, kind: str, number: int, name: str) -> int:
        return self.functions.setdefault((kind, number, name), len(self.functions))

    def patch_entry(self) -> tuple[tuple[int, int, int, int, int], str, int]:
        """What comes first: addresses and numbers, which a call writes in a row, go to where they are read.

        Returns also the kinds of the numbers, ``d`` or ``q``, and the word where the row begins.
        """
        values = 1 + self.inputs + len(self.placement.output_bytes)  # the arena, inputs and results, then numbers
        triples = [(8 * slot, 8 * base, offset) for slot, base, offset in self.relocations]
        for at, slots in enumerate(self.numbers.values(), values):
            triples += [(8 * slot, 8 * at, 0) for slot in slots]
        kinds = "".join("d" if is_float else "q" for _, is_float in self.numbers)
        begin = len(self.words)
        self.words += [0, 0, len(triples), *[word for triple in triples for word in triple]]
        values_at = len(self.words)
        self.fixups += [(begin, "word", 0), (begin + 1, "word", values_at)]
        self.words += [0] * (values + len(self.numbers))
        return (self.function(DRIVER, "patch"), begin, 1, 0, SERIAL), kinds, values_at

    def block(self, lowered: Lowered, scratch: int) -> int:
        """Write an argument block; returns where it begins."""
        begin = len(self.words)
        for argument in lowered.kernel.arguments:
            slot = len(self.words)
            self.words.append(0)
            if argument.kind == "pointer":
                place = self.locate(lowered.operands[argument.source])
                self.relocations.append((slot, place.base, place.offset))
            elif argument.kind == "integer":
                self.words[slot] = argument.source
            elif argument.kind == "scalar":
                number = (argument.source.value.number, argument.dtype.kind == FLOATING)
                self.numbers.setdefault(number, []).append(slot)
            elif argument.kind == "scratch":
                self.relocations.append((slot, 0, scratch))
            else:
                self.error_slots.append(slot)
        return begin

    def kernel_entries(self, item: Item, scratch: list[int]) -> list[tuple[int, int, int, int, int]]:
        kernel = item.lowered[0].kernel
        program = item.program
        blocks = [self.block(lowered, place) for lowered, place in zip(item.lowered, scratch)]
        flags = (SERIAL if kernel.serial else 0) | (CHECKED if "error" in {a.name for a in kernel.arguments} else 0)
        if len(blocks) == 1:
            lowered = item.lowered[0]
            entries = [(self.function(program, "kernel"), blocks[0], lowered.units, lowered.work, flags)]
            if kernel.pieces:
                entries.append((self.function(program, "finish"), blocks[0], lowered.finish_units, 0, SERIAL))
            return entries
        begin = len(self.words)
        self.words += [0, len(blocks)]
        self.fixups.append((begin, "function", self.function(program, "kernel")))
        total = 0
        for block, lowered in zip(blocks, item.lowered):
            self.words += [total, lowered.units]
            self.fixups.append((len(self.words), "word", block))
            self.words.append(0)
            total += lowered.units
        return [(self.function(GROUPED, "grouped"), begin, total, sum(x.work for x in item.lowered), flags)]

    def dot_entry(self, item: Item) -> tuple[int, int, int, int, int]:
        """A matrix product: the argument block of the gemm kernel, with the strides of both operands."""
        cluster = item.clusters[0]
        node = cluster.node
        batch, m, k = node.src[0].shape
        n = node.src[1].shape[2]
        first, second = cluster.matrices
        inner = next((x.batch[1][0] for x in (first, second) if len(x.batch) == 2), batch)
        function = f"gemm_{node.dtype.code}"
        call = blas.describe_gemm(
            (m, n, k),
            (*first.batch_strides(inner), first.rows, first.columns),
            (*second.batch_strides(inner), second.rows, second.columns),
            (m * n * inner, m * n, n, 1),
            (batch // inner, inner),
            accumulate=node.op is s.dot_add,
        )
        begin = len(self.words)
        self.fixups.append((begin + blas.GEMM_WORDS.index("GEMM"), "function", self.numbered("blas", 0, function)))
        self.words += call.words
        places = [self.locate(first.base), self.locate(second.base), self.locate(node)]
        offsets = [first.offset * node.dtype.itemsize, second.offset * node.dtype.itemsize, 0]
        for slot, place, offset in zip((call.a_word, call.b_word, call.c_word), places, offsets):
            self.relocations.append((begin + slot, place.base, place.offset + offset))
        return (self.function(item.program, function), begin, call.units, batch * m * n * k, 0)

    def library_entry(self, node: Node) -> tuple[int, int, int, int, int]:
        """An operation that its NumPy reference computes."""
        self.calls.append(library.Call(node))
        begin = len(self.words)
        self.words += [0] * (len(node.src) + 2)
        for slot, operand in enumerate([*node.src, node], begin):
            if operand.type.size == 0:
                continue  # it is nowhere
            place = self.locate(operand)
            self.relocations.append((slot, place.base, place.offset))
        self.error_slots.append(len(self.words) - 1)
        function = self.numbered("library", len(self.calls) - 1, node.op.name)
        return (function, begin, 1, 0, SERIAL | CHECKED)

    def sort_entries(self, item: Item, scratch: int) -> list[tuple[int, int, int, int, int]]:
        """A sort: a call for each of its steps."""
        call, node = item.sort, item.clusters[0].node
        (x,) = node.src
        places = {"x": self.locate(x), "out": self.locate(node), "scratch": Place(0, scratch)}
        entries = []
        for step in call.steps:
            begin = len(self.words)
            self.words += step.words
            for word, name, offset in step.addresses:
                self.relocations.append((begin + word, places[name].base, places[name].offset + offset))
            entries.append((self.function(item.program, step.function), begin, step.units, step.work, 0))
        return entries

    def contraction_entries(self, item: Item) -> list[tuple[int, int, int, int, int]]:
        """A product of our own kernels: one operand is packed, unless another product did it, then they are
        multiplied."""
        cluster, described = item.clusters[0], item.contraction
        node = cluster.node
        short, size = node.dtype.code, node.dtype.itemsize
        begin = len(self.words)
        word = {name: i for i, name in enumerate(contraction.CONTRACTION_WORDS)}
        self.words += described.words
        self.fill_tables(described.tables, begin, word)
        operands = cluster.matrices if described.first_is_a else cluster.matrices[::-1]
        addresses = [(self.locate(x.base), x.offset * size) for x in operands]
        for name, (place, offset) in zip("ABC", [*addresses, (self.locate(node), 0)]):
            self.relocations.append((begin + word[name], place.base, place.offset + offset))
        packed = self.place[item.packed]
        self.relocations.append((begin + word["PACKED"], packed.base, packed.offset))
        batch, m, n = node.shape
        k = node.src[0].shape[2]
        multiply = (self.function(item.program, f"contract_{short}"), begin, described.units, batch * m * n * k, 0)
        if not item.packs:
            return [multiply]
        pack = self.function(item.program, f"pack_{short}")
        return [(pack, begin, described.pack_units, described.packed_bytes // size, 0), multiply]

    def depthwise_entry(self, item: Item) -> tuple[int, int, int, int, int]:
        """A depthwise convolution, or the gradient of its windows."""
        node = item.clusters[0].node
        call = describe_depthwise(node)
        begin = len(self.words)
        word = {name: begin + i for i, name in enumerate(depthwise.DEPTHWISE_WORDS)}
        self.words += call.words
        self.fill_tables(call.tables, 0, word)
        for name, operand in zip(("X", "Y", "OUT"), (*node.src, node)):
            place = self.locate(operand)
            self.relocations.append((word[name], place.base, place.offset))
        function = self.function(item.program, f"{call.function}_{node.dtype.code}")
        return (function, begin, call.units, call.work, 0)

    def fill_tables(self, tables: Mapping[str, np.ndarray], begin: int, word: Mapping[str, int]) -> None:
        """Write the addresses of a call's tables; equal ones of the plan, such as those of an image, are one."""
        for name, table in tables.items():
            number = self.tables.setdefault(table.tobytes(), len(self.tables))
            self.fixups.append((begin + word[name], "table", number))


def describe_sort(node: Node) -> sort.SortCall:
    """The calls of an ``argsort``."""
    (x,) = node.src
    descending, count = node.params
    return sort.describe(x.dtype.code, x.type.size // x.shape[-1], x.shape[-1], count, descending)


def describe_depthwise(node: Node) -> depthwise.Depthwise:
    x, other = node.src
    forward = node.op is convolve
    weight, out = (other.shape, node.shape) if forward else (node.shape, other.shape)
    params = node.params[:5]
    found = layout_of(out[2:], weight[2:], params)
    function = "depthwise" if forward else "filters"
    return depthwise.describe_depthwise(function, x.shape, out, weight[2:], params, found)


def read_often(clusters: Sequence[Cluster]) -> set[tuple]:
    """The matrices that many products read in one way, such as a weight at every step of a recurrence: packing one
    once is less than packing what it is multiplied with each time."""
    operands = [(x, side) for c in clusters if c.matrices for side, x in enumerate(c.matrices) if isinstance(x, Matrix)]
    uses = Counter((*x.key(), side) for x, side in operands)
    return {key for key, count in uses.items() if count >= OFTEN}


def describe_product(cluster: Cluster, often: set[tuple]) -> contraction.Contraction | None:
    """The call of our own kernels for a product; None for BLAS, and for another library call.

    Args:
        often: the operands that are worth packing for many products.
    """
    if not cluster.matrices:
        return None
    node = cluster.node
    batch, m, n = node.shape
    k = node.src[0].shape[2]
    first, second = cluster.matrices
    paddings = tuple(padding_of(operand) for operand in cluster.matrices if isinstance(operand, Indexed))
    pack = None
    if isinstance(first, Indexed):
        axes = first.axes, second.axes
    elif contraction.pays(m, n, k):
        axes = first.axes((batch, m, k)), second.axes((batch, k, n))
        pack = next((side for side, x in enumerate(cluster.matrices) if (*x.key(), side) in often), None)
    else:
        return None
    return describe_contraction(
        (m, n, k), *map(_frozen, axes), node.dtype.itemsize, paddings or (None, None), node.op is s.dot_add, pack
    )


#: Every step of a recurrence has the same products.
describe_contraction = functools.lru_cache(contraction.describe_contraction)


def _frozen(axes: Sequence[contraction.Axes]) -> tuple[contraction.Axes, ...]:
    return tuple(tuple(map(tuple, index)) for index in axes)


def share_packing(items: Sequence[Item]) -> None:
    """Let products pack an operand once that several of them read, such as a weight at every step of a recurrence."""
    found: dict[tuple, Packed] = {}
    for item in items:
        described = item.contraction
        if described is None:
            continue
        operand = item.clusters[0].matrices[1 if described.first_is_a else 0]
        key = (operand.base, operand.offset, described.packing)
        item.packed = found.get(key)
        if item.packed is None:
            node = item.clusters[0].node
            size = described.packed_bytes // node.dtype.itemsize
            item.packed = Packed(tensor_type((size,), node.dtype, node.type.device))
            item.packs = True
            if described.packed_bytes <= MOST_SHARED:
                found[key] = item.packed


def padding_of(operand: Indexed) -> contraction.Padding | None:
    """Where an operand's buffer holds zeros that stand around an image."""
    base = operand.base
    if base.value is not None or base.op is not s.pad or base.params[2] != 0:
        return None
    before, after, _ = base.params
    return contraction.Padding(base.shape, before, after, operand.offset)


def distinct(roots: list[Node]) -> list[Node]:
    """Roots that became one node get buffers of their own: somebody may write to one of them through NumPy."""
    seen: set[Node] = set()
    result = []
    for root in roots:
        if root in seen:
            root = s.copy(root)
        seen.add(root)
        result.append(root)
    return result


def ordered(
    clusters: list[Cluster], after: dict[Cluster, set[Cluster]], item_of: dict[Cluster, Item], fusion: Fusion
) -> list[Item]:
    """Items so that each comes after those that it needs; early clusters first."""
    import heapq

    rank: dict[int, int] = {}
    items: dict[int, Item] = {}
    for position, c in enumerate(clusters):
        item = item_of[c]
        rank.setdefault(id(item), position)
        items[id(item)] = item
    following: dict[int, set[int]] = {i: set() for i in items}
    waiting = dict.fromkeys(items, 0)
    for c, successors in after.items():
        for successor in successors:
            a, b = id(item_of[c]), id(item_of[successor])
            if a != b and b not in following[a]:
                following[a].add(b)
                waiting[b] += 1
    ready = [(rank[i], i) for i, n in waiting.items() if not n]
    heapq.heapify(ready)
    order = []
    while ready:
        _, i = heapq.heappop(ready)
        order.append(items[i])
        for j in following[i]:
            waiting[j] -= 1
            if not waiting[j]:
                heapq.heappush(ready, (rank[j], j))
    assert len(order) == len(items), "launches made a cycle"
    return overwriting_last(order, following, fusion)


def overwriting_last(order: list[Item], following: dict[int, set[int]], fusion: Fusion) -> list[Item]:
    """The same order, but an item that may write a result over an input comes after the input's other readers.

    So an optimizer's step on a weight waits for the product with the weight in the backward pass, and needs no memory
    of its own for the new weight. An item stays where something between needs its results.
    """
    last: dict[Node, int] = {}
    for k, item in enumerate(order):
        last.update((x, k) for x in touched(item, fusion)[0] if is_input(x))
    moved: list[list[Item]] = [[] for _ in order]
    for k, item in enumerate(order):
        to = max([k, *(last[x] for x in item.overwrites())])
        if any(id(between) in following[id(item)] for between in order[k + 1 : to + 1]):
            to = k
        moved[to].insert(0 if to == k else len(moved[to]), item)
    return [item for items in moved for item in items]

__all__ = ["Fusion", "Item", "Planner", "Slot", "verify"]
