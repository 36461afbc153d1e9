"""Where values live while a plan runs: the arena, the results, and inputs that end with the call.

In comes the schedule, out comes a :class:`Place` for every stored value. Two values share memory in one of three ways:

- one is dead before the other is written: the arena gives its span away (:class:`Arena`);
- a kernel writes one over the other, element by element (``compiler/inplace.py``): they are one *group*, with one span,
  or with the buffer of a result;
- a result is written over an input that nobody needs after the call. Which inputs those are is known at the call
  only; :attr:`Placement.donors` lists what is possible, ``donation.match`` chooses.

An input is never written before the last thing that can fail, an index out of range, is behind.

Read next: ``donation.py`` for which inputs end, ``planner.py`` for the tape.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass, field

from ..compiler import codegen_cpu, primitives as p
from ..compiler.cluster import Cluster
from ..compiler.fusion import Fusion
from ..compiler.inplace import replaceable
from ..compiler.ir import Node, TensorType
from ..compiler.lowering import Lowered
from ..kernels.cpu import contraction, sort
from ..kernels.cpu.programs import Program, contraction_of, depthwise_of, gemm

ALIGNMENT = 64


@dataclass(frozen=True, slots=True)
class Slot:
    """Stands for the value of a leaf: the number of an input buffer or of a Python number."""

    number: int


@dataclass(eq=False)
class Packed:
    """An operand of products as their inner loop reads it. What reads the same operand shares it."""

    type: TensorType
    value = None


@dataclass
class Item:
    """One entry of the schedule: a kernel or library call, or several calls of one kernel.

    Attributes:
        clusters: what it computes; more than one share a kernel and run as one launch.
        lowered: for kernels, the loop IR with its operands, one a cluster.
        source: the CPU source.
        sort: for sorts, the calls that they are made of.
        contraction: for a product of our own kernels.
        packed: its packed operand.
        packs: whether it is the first that needs the packed operand, and makes it.
    """

    clusters: list[Cluster]
    kind: str
    lowered: list[Lowered] = field(default_factory=list)
    source: str = ""
    sort: sort.SortCall | None = None
    contraction: contraction.Contraction | None = None
    packed: Packed | None = None
    packs: bool = False

    @functools.cached_property
    def program(self) -> Program | None:
        """What it calls; None for what is not compiled."""
        node = self.clusters[0].node
        match self.kind:
            case "kernel":
                return Program(self.source, tuple(codegen_cpu.functions(self.lowered[0].kernel)))
            case "library":
                return None
            case "sort":
                return Program(sort.source(node.src[0].dtype.code), sort.FUNCTIONS)
            case "convolve":
                return depthwise_of(node.dtype.code)
        return gemm(node.dtype.code) if self.contraction is None else contraction_of(node.dtype.code)

    @property
    def scratch_bytes(self) -> list[int]:
        """How much memory each of its calls needs beside its operands."""
        if self.sort is not None:
            return [self.sort.scratch]
        return [lowered.scratch for lowered in self.lowered]

    @functools.cached_property
    def replaceable(self) -> list[set[tuple[int, int]]]:
        """For each of its calls, the pairs of operands that may be one memory."""
        return [replaceable(lowered.kernel) for lowered in self.lowered]

    def overwrites(self) -> list[Node]:
        """The inputs of the plan over which it may write a result."""
        return list(dict.fromkeys(
            lowered.operands[read] for lowered, pairs in zip(self.lowered, self.replaceable)
            for read, _ in sorted(pairs) if is_input(lowered.operands[read])
        ))

    def can_fail(self) -> bool:
        """Whether it may raise an error that depends on the data."""
        return self.kind == "library" or any(a.kind == "error" for x in self.lowered for a in x.kernel.arguments)


@dataclass(slots=True)
class Place:
    """Where a value lives: ``base`` 0 is the arena, then come the inputs, then the results."""

    base: int
    offset: int = 0


def is_input(node: Node) -> bool:
    return isinstance(node.value, Slot) and node.op is not p.scalar


def touched(item: Item, fusion: Fusion) -> tuple[list[Node | Packed], list[Node | Packed]]:
    """The stored values that an item reads and writes, each once."""
    base = fusion.base
    reads: list[Node] = []
    writes: list[Node] = []
    for cluster, lowered in zip(item.clusters, item.lowered or [None] * len(item.clusters)):
        if lowered is not None:
            reads += lowered.operands
            writes += [base(store.target) for store in cluster.stores]
        else:
            writes += [base(x) for x in cluster.results]
            if cluster.kind == "attention":
                reads += [base(x.base) for x in cluster.strided]
            elif cluster.kind == "dot":
                reads += [base(m.base) for m in cluster.matrices]
                if cluster.epilogue is not None and cluster.epilogue.bias is not None:
                    reads.append(base(cluster.epilogue.bias))
            else:
                reads += [base(x) for x in cluster.node.src]
    if item.packed is not None:
        (writes if item.packs else reads).append(item.packed)
    return list(dict.fromkeys(reads)), list(dict.fromkeys(writes))


class Placement:
    """The places of a plan's values.

    Attributes:
        place: of every value that a launch writes.
        outputs: of each root, ``("input", number)`` or ``("result", number)``.
        output_bytes: the size of each result.
        scratch: of each item, where its kernels keep partial results, or -1.
        arena_bytes: the size of the arena.
        donors: of each result, the inputs into which it may be written if they end with the call.
        late: of each result, whether its memory is written only when nothing can fail any more.
    """

    def __init__(self, fusion: Fusion, items: Sequence[Item], roots: Sequence[Node], inputs: int) -> None:
        self.fusion = fusion
        self.items = items
        self.inputs = inputs
        self.place: dict[Node, Place] = {}
        self.outputs: list[tuple[str, int]] = []
        self.output_bytes: list[int] = []
        self.place_results(roots)
        self.touched = [touched(item, fusion) for item in items]
        self.last: dict[Node, int] = {}
        self.writers: dict[Node, int] = {}
        for position, (reads, writes) in enumerate(self.touched):
            self.last.update(dict.fromkeys((*reads, *writes), position))
            for node in writes:
                self.writers[node] = self.writers.get(node, 0) + 1
        self.pairs = [self.item_pairs(item) for item in items]
        self.find_donors()
        self.group()
        self.fill_arena()
        early = {self.place[node].base for _, writes in self.touched[: self.safe] for node in writes}
        self.late = [1 + inputs + j not in early for j in range(len(self.output_bytes))]

    def place_results(self, roots: Sequence[Node]) -> None:
        for root in roots:
            home = self.fusion.base(root)
            if is_input(home):
                self.outputs.append(("input", home.value.number))
                continue
            if home not in self.place:
                self.place[home] = Place(1 + self.inputs + len(self.output_bytes))
                self.output_bytes.append(home.type.nbytes)
            self.outputs.append(("result", self.place[home].base - 1 - self.inputs))

    def item_pairs(self, item: Item) -> dict[Node, list[Node]]:
        """For values that an item writes, those of its operands over which it may write them."""
        readers: dict[Node, int] = {}
        for lowered in item.lowered:
            for node in set(lowered.operands):
                readers[node] = readers.get(node, 0) + 1
        found: dict[Node, list[Node]] = {}
        for cluster, lowered, pairs in zip(item.clusters, item.lowered, item.replaceable):
            whole = {self.fusion.base(st.target) for st in cluster.stores if st.target is st.value}
            for read, written in sorted(pairs):
                source, target = lowered.operands[read], lowered.operands[written]
                alone = self.writers[target] == 1 and readers[source] == 1 and target in whole
                if alone and source.type.nbytes == target.type.nbytes and source.dtype is target.dtype:
                    found.setdefault(target, []).append(source)
        return found

    def find_donors(self) -> None:
        """Results that a kernel may write over an input which it is the last to read."""
        self.donors: list[list[int]] = [[] for _ in self.output_bytes]
        kept = {number for kind, number in self.outputs if kind == "input"}
        safe = self.safe = max((k + 1 for k, item in enumerate(self.items) if item.can_fail()), default=0)
        for position, pairs in enumerate(self.pairs):
            if position < safe:
                continue
            for target, sources in pairs.items():
                if target in self.place:
                    self.donors[self.place[target].base - 1 - self.inputs] += [
                        x.value.number for x in sources
                        if is_input(x) and x.value.number not in kept and self.last[x] == position
                    ]

    def group(self) -> None:
        """Let values be written over intermediate values that end there.

        Results first: what ends in a result is computed in the result's buffer, unless that may be an input's.
        """
        self.members: dict[Node, list[Node]] = {}
        self.leader: dict[Node, Node] = {}
        for position in reversed(range(len(self.items))):
            for target, sources in self.pairs[position].items():
                if target in self.place and self.place[target].base and self.donors[self.result(target)]:
                    continue
                for source in sources:
                    usable = not is_input(source) and source not in self.place and source not in self.leader
                    if usable and self.last[source] == position and self.writers.get(source) == 1:
                        leader = self.leader.get(target, target)
                        self.leader[source] = leader
                        self.members.setdefault(leader, [leader]).append(source)
                        if leader in self.place:
                            self.place[source] = self.place[leader]
                        break
        for leader, members in self.members.items():
            self.last[leader] = max(self.last[x] for x in members)

    def result(self, node: Node) -> int:
        return self.place[node].base - 1 - self.inputs

    def fill_arena(self) -> None:
        """Spans of the arena, from where a group is first written to where it is last read."""
        arena = Arena()
        self.scratch: list[list[int]] = []
        for position, (reads, writes) in enumerate(self.touched):
            for node in sorted(writes, key=lambda n: -n.type.nbytes):
                if node not in self.place:
                    span = Place(0, arena.take(node.type.nbytes))
                    for member in self.members.get(self.leader.get(node, node), (node,)):
                        self.place[member] = span
            item = self.items[position]
            scratch = [arena.take(nbytes) if nbytes else -1 for nbytes in item.scratch_bytes]
            self.scratch.append(scratch)
            for offset, nbytes in zip(scratch, item.scratch_bytes):
                if offset >= 0:
                    arena.give(offset, nbytes)
            for leader in dict.fromkeys(self.leader.get(node, node) for node in (*reads, *writes)):
                place = self.place.get(leader)
                if self.last[leader] == position and place is not None and place.base == 0:
                    arena.give(place.offset, leader.type.nbytes)
        self.arena_bytes = arena.size


class Arena:
    """Offsets for intermediate values: best fit among what has been freed, else at the end."""

    def __init__(self) -> None:
        self.free: list[tuple[int, int]] = []
        self.size = 0

    def take(self, nbytes: int) -> int:
        nbytes = -(-nbytes // ALIGNMENT) * ALIGNMENT
        best = min((hole for hole in self.free if hole[1] >= nbytes), key=lambda hole: hole[1], default=None)
        if best is not None:
            self.free.remove(best)
            if best[1] > nbytes:
                self.free.append((best[0] + nbytes, best[1] - nbytes))
            return best[0]
        # extend a hole that touches the end
        tail = next((hole for hole in self.free if hole[0] + hole[1] == self.size), None)
        if tail is not None:
            self.free.remove(tail)
            self.size = tail[0] + nbytes
            return tail[0]
        offset = self.size
        self.size += nbytes
        return offset

    def give(self, offset: int, nbytes: int) -> None:
        nbytes = -(-nbytes // ALIGNMENT) * ALIGNMENT
        for hole in list(self.free):
            if hole[0] + hole[1] == offset:
                self.free.remove(hole)
                offset, nbytes = hole[0], hole[1] + nbytes
            elif offset + nbytes == hole[0]:
                self.free.remove(hole)
                nbytes += hole[1]
        self.free.append((offset, nbytes))
