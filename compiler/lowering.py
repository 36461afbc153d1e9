"""From a cluster of nodes to a kernel in the loop IR.

First the cluster's nodes become *instances*: a node at one position, with the instances that it reads. Then positions
become offsets in buffers, neighbouring loop variables that every offset treats as one are merged, and the blocks are
written: each instance in the outermost loop in which all its variables are known, each reduction in the first loop
in which what it needs is ready.

Read next: ``codegen_cpu.py`` and ``codegen_cuda.py``.
"""

from __future__ import annotations

import math
import struct
from collections import Counter
from dataclasses import dataclass, field

from . import primitives as p, primitives_shape as s
from .affine import Access, Expr, Indirect, Var, linear, pull, resolve
from .cluster import Cluster, live
from .dtypes import BOOL, COMPLEX, FLOATING, DType, float32, float64
from .fusion import SPLIT_LENGTH, SPLIT_ROWS, Fusion
from .ir import Node
from .loopir import Accumulator, Argument, Kernel, Let, Load, Loop, LoopVar, Scan, Store, independent, mentions


class Instance:
    """A node computed, or loaded, at one position."""

    __slots__ = ("node", "access", "sources", "load", "offset", "guards", "level", "variables", "time", "indices")

    def __init__(self, node: Node, access: Access, load: bool) -> None:
        self.node = node
        self.access = access
        self.load = load
        self.sources: list[Instance] = []
        self.indices: list[Instance] = []
        self.offset: Expr | None = None
        self.guards: list[tuple] = []
        self.variables: set[Var] = set()
        self.level = 0
        self.time: dict[int, int] = {}


@dataclass(slots=True)
class Lowered:
    """A kernel with what the runtime needs to call it.

    Attributes:
        kernel: the loop IR.
        operands: the node whose buffer each pointer argument addresses; results come after ``inputs`` many.
        inputs: number of operands that are read only.
        units: the number of iterations of group 0 (or pieces), to divide among cores.
        work: estimated element operations, to decide whether dividing pays.
        pieces: for ``split`` kernels the number of pieces of a row, else 1.
        scratch: bytes of scratch memory for partial results.
        finish_units: for ``split`` kernels the number of rows.
    """

    kernel: Kernel
    operands: list[Node]
    inputs: int
    units: int
    work: int
    pieces: int = 1
    scratch: int = 0
    finish_units: int = 0
    bytes_read: int = 0
    bytes_written: int = 0
    numbers: list = field(default_factory=list)


COLUMN_TILE = 256  # most columns of a tile: a row of it is read from memory nearly as fast as a whole row
NARROW_TILE = 64  # fewest, where there are more
ENOUGH_UNITS = 8  # for the cores to share, before tiles are made wider
BLOCK = 4096  # elements of a sum's block where the loop is vectorised: 64 lanes of 64 each; rows of a piece of columns
TILE = 32
KEEP_COST = 8  # from which a value is kept for the next loop over its row and not computed again
PIECE = 1 << 15
SHORT_LOOP, LONG_LOOP = 8, 1024  # an inner loop shorter than the one is exchanged for one up to the other


def lower(cluster: Cluster, fusion: Fusion, keep_cost: int = KEEP_COST, piece: int = PIECE) -> Lowered:
    """The kernel of one cluster. Its loops keep values of that cost for one another; a piece has so many elements."""
    return Lowering(cluster, fusion, keep_cost, piece).run()


class Lowering:
    def __init__(self, cluster: Cluster, fusion: Fusion, keep_cost: int, piece: int) -> None:
        self.cluster, self.fusion, self.keep_cost, self.piece = cluster, fusion, keep_cost, piece
        self.instances: dict[tuple, Instance] = {}
        self.order: list[Instance] = []
        self.inside = {node: {a.key() for a in accesses} for node, accesses in cluster.values.items()}
        self.arguments: list[Argument] = []
        self.by_source: dict = {}
        self.counter: dict[str, int] = {}
        self.operands: list[Node] = []
        self.pointers: dict[tuple, str] = {}
        self.operations: list[str] = []
        self.finds_extrema = any(x.op in (s.reduce_max, s.reduce_min) for x in cluster.reductions)
    # -------------------------------------------------------------------------------------------------- instances

    def instance(self, node: Node, access: Access) -> Instance:
        """The instance of a node at an access, with everything below it. Iterative: chains are long."""
        root = self.shallow(node, access)
        stack = [root]
        while stack:
            current = stack[-1]
            missing = [d for d in self.dependencies(current) if d not in self.done]
            if missing:
                stack += missing
                continue
            stack.pop()
            if current not in self.done:
                self.done.add(current)
                self.order.append(current)
        return root

    def shallow(self, node: Node, access: Access) -> Instance:
        # what computes nothing is looked through
        while node.value is None and node.op.kind in ("movement", "alias") and self.computed(node, access):
            moved = pull(node, access)
            if moved is None:
                break
            node, access = node.src[0], moved.resolved()
        key = (node, access.key())
        found = self.instances.get(key)
        if found is None:
            load = not (self.computed(node, access) or (node.op.kind == "leaf" and not self.is_buffer(node)))
            found = self.instances[key] = Instance(node, access, load)
        return found

    @staticmethod
    def is_buffer(node: Node) -> bool:
        return node.value is not None and node.op is not p.scalar

    def computed(self, node: Node, access: Access) -> bool:
        return not self.is_buffer(node) and access.key() in self.inside.get(node, ())

    def dependencies(self, instance: Instance) -> list[Instance]:
        if instance.sources or instance.indices:
            return instance.sources + instance.indices
        node, access = instance.node, instance.access
        if not instance.load and node.op.kind != "leaf":
            if node.op.kind in ("reduce", "scan"):
                at = self.fusion.reduced_access(node, self.cluster, access)
                instance.sources = [self.shallow(node.src[0], at.resolved())]
            elif node.op.kind == "gather":
                at = list(access.at)
                at[node.params[0]] = Expr(0, {Indirect(node.src[1], access): 1})
                source = self.shallow(node.src[0], Access(at, access.guards))
                instance.sources = [source, self.shallow(node.src[1], access)]
            else:
                instance.sources = [self.shallow(x, access) for x in node.src]
        indices = []
        for expr in (*access.at, *(g.expr for g in access.guards)):
            for v in expr.terms:
                if isinstance(v, Indirect):
                    indices.append(self.shallow(v.node, v.access.resolved()))
        instance.indices = indices
        return instance.sources + instance.indices

    # ----------------------------------------------------------------------------------------------------- levels

    def run(self) -> Lowered:
        cluster = self.cluster
        self.done: set[Instance] = set()
        results = [(store, self.instance(store.value, store.access.resolved())) for store in cluster.stores]
        for store, _ in results:
            for expr in store.at:
                for v in expr.terms:
                    if isinstance(v, Indirect):
                        self.instance(v.node, v.access.resolved())
        self.prepare_offsets(results)
        self.assign_levels(results)
        self.collapse()
        self.transposed = len(self.groups) == 1 and len(self.groups[0]) > 1 and self.find_transposition()
        if len(self.groups) == 1 and not self.transposed and not writes_by_index(results):
            self.avoid_short_loop()
        return self.write(results)

    def prepare_offsets(self, results) -> None:
        """Every affine expression that the kernel evaluates, in one list, so that variables can be merged."""
        self.exprs: list[Expr] = []
        for instance in self.order:
            access = instance.access
            if instance.load:
                instance.offset = len(self.exprs)
                self.exprs.append(linear(access.at, instance.node.shape))
            elif instance.node.op is p.iota:
                instance.offset = len(self.exprs)
                self.exprs.append(resolve(access.at[instance.node.params[3]]))
            instance.guards = [(self.add_expr(resolve(g.expr)), g.extent, g.fill) for g in access.guards]
        self.store_offsets = []
        for store, _ in results:
            self.store_offsets.append(self.add_expr(linear([resolve(e) for e in store.at], store.target.shape)))

    def add_expr(self, expr: Expr) -> int:
        self.exprs.append(expr)
        return len(self.exprs) - 1

    def assign_levels(self, results) -> None:
        chain = [live(v) for v in self.cluster.chain]
        chain = sorted(set(chain), key=len)
        if not any(not i.load and i.node.op.kind in ("reduce", "scan") for i in self.order):
            chain = chain[-1:]
        seen: frozenset[Var] = frozenset()
        self.groups: list[list[Var]] = []
        for level in chain:
            self.groups.append(self.memory_order(list(level - seen)))
            seen = seen | level
        level_of = {v: k for k, group in enumerate(self.groups) for v in group}
        for instance in self.order:
            variables: set[Var] = set()
            exprs = [self.exprs[g[0]] for g in instance.guards]
            if instance.offset is not None:
                exprs.append(self.exprs[instance.offset])
            for e in exprs:
                variables |= {v for v in e.terms if isinstance(v, Var)}
            if not instance.load and instance.node.op.kind in ("reduce", "scan"):
                inner = set(self.loops_of(instance))
                variables |= instance.sources[0].variables
                if instance.node.op.kind == "reduce":
                    variables -= inner
                    outer = live(self.cluster.reductions[instance.node].outer)
                    variables |= outer
                else:
                    variables |= inner
            else:
                for d in instance.sources + instance.indices:
                    variables |= d.variables
            instance.variables = variables
            instance.level = max((level_of[v] for v in variables), default=0)
        self.loop_level = {
            i: max((level_of[v] for v in self.loops_of(i)), default=0)
            for i in self.order
            if not i.load and i.node.op.kind in ("reduce", "scan")
        }
        self.store_levels = []
        for (store, instance), offset in zip(results, self.store_offsets):
            variables = live(frozenset(store.access.variables()))
            level = max((level_of[v] for v in variables if v in level_of), default=0)
            indices = self.indices_of(offset)
            self.store_levels.append(max(level, instance.level, *(i.level for i in indices), 0))

    def indices_of(self, number: int) -> list[Instance]:
        """The instances of the indices that an expression contains."""
        return [self.shallow(v.node, v.access.resolved()) for v in self.exprs[number].terms if isinstance(v, Indirect)]

    def loops_of(self, instance: Instance) -> list[Var]:
        reduction = self.cluster.reductions[instance.node]
        return [v for u in reduction.inner for v in resolve(Expr(0, {u: 1})).terms if isinstance(v, Var)]

    def memory_order(self, variables: list[Var]) -> list[Var]:
        """Variables from the slowest to the fastest in memory, judged by the mean logarithm of their strides."""
        scans = [i for i in self.order if not i.load and i.node.op.kind == "scan"]

        def slowness(v: Var) -> tuple:
            strides = [abs(e.terms[v]) for e in self.exprs if v in e.terms]
            mean = sum(math.log(c) for c in strides) / len(strides) if strides else 0.0
            ordered = max((e.terms.get(v, 0) for i in scans for e in map(resolve, i.access.at)), default=0)
            return (-ordered, -mean, v.id)

        return sorted(variables, key=slowness)

    def collapse(self) -> None:
        """Merge neighbouring variables of a group that every expression treats as one."""
        for group in self.groups:
            position = 0
            while position + 1 < len(group):
                u, v = group[position], group[position + 1]
                if all(e.terms.get(u, 0) == e.terms.get(v, 0) * v.extent for e in self.exprs):
                    merged = Var(u.extent * v.extent)
                    for i, e in enumerate(self.exprs):
                        if v in e.terms:
                            terms = {w: c for w, c in e.terms.items() if w is not u and w is not v}
                            terms[merged] = e.terms[v]
                            self.exprs[i] = Expr(e.const, terms)
                    group[position : position + 2] = [merged]
                else:
                    position += 1

    def find_transposition(self) -> bool:
        """Whether some buffer of a flat kernel is read along another axis than the results are written.

        Such a kernel runs over square tiles, so that both stay in cache; the two axes become the last of the group.
        """
        (group,) = self.groups
        last = group[-1]
        for instance in self.order:
            if not instance.load:
                continue
            terms = self.exprs[instance.offset].terms
            if abs(terms.get(last, 0)) <= 1:
                continue
            across = [v for v in group if abs(terms.get(v, 0)) == 1]
            if across and across[0].extent >= TILE // 2 and last.extent >= TILE // 2:
                group.remove(across[0])
                group.insert(len(group) - 1, across[0])
                return True
        return False

    def avoid_short_loop(self) -> None:
        """Let a flat kernel's inner loop not be one of two or three iterations: the next longer one goes inside, if all
        that it passes stays in the first cache."""
        (group,) = self.groups
        if len(group) > 1 and group[-1].extent < SHORT_LOOP and 2 * group[-1].extent <= group[-2].extent <= LONG_LOOP:
            group[-2:] = group[:-3:-1]

    # -------------------------------------------------------------------------------------------------- arguments

    def fresh(self, prefix: str) -> str:
        number = self.counter.get(prefix, 0)
        self.counter[prefix] = number + 1
        return f"{prefix}{number}"

    def integer(self, value: int, prefix: str = "s") -> str:
        name = self.fresh(prefix)
        self.arguments.append(Argument(name, "integer", None, value))
        return name

    def scalar(self, node: Node) -> str:
        key = ("scalar", node)
        if key not in self.by_source:
            name = self.fresh("c")
            self.arguments.append(Argument(name, "scalar", node.dtype, node))
            self.by_source[key] = name
        return self.by_source[key]

    def error(self) -> str:
        if "error" not in self.by_source:
            self.arguments.append(Argument("error", "error", None, None))
            self.by_source["error"] = "error"
        return "error"

    def pointer(self, node: Node, writes: bool) -> str:
        base = self.fusion.base(node)
        key = (base, writes)
        if key not in self.pointers:
            name = self.fresh("p")
            self.arguments.append(Argument(name, "pointer", node.dtype.part, len(self.operands)))
            self.operands.append(base)
            self.pointers[key] = name
        return self.pointers[key]

    def index(self, number: int) -> str:
        """The text of an affine expression: strides are arguments, but for 1 and for what is not there."""
        expr = self.exprs[number]
        parts = []
        for group in self.groups:
            for v in group:
                if v in expr.terms:
                    parts.append(self.term(self.names[v], expr.terms[v], (number, v)))
        for v, c in expr.terms.items():
            if isinstance(v, Indirect):
                name = self.lookup(self.shallow(v.node, v.access.resolved()))
                parts.append(self.term(name, c, (number, v.key())))
        if expr.const:
            parts.append(self.shared_integer((number, "const"), expr.const, "o"))
        return " + ".join(parts) if parts else "0"

    def shared_integer(self, key: tuple, value: int, prefix: str) -> str:
        """An argument for one number in one expression, which several loops may evaluate. Equal numbers of different
        expressions stay different arguments: they are equal at this size only."""
        if key not in self.by_source:
            self.by_source[key] = self.integer(value, prefix)
        return self.by_source[key]

    def term(self, name: str, coefficient: int, key: tuple) -> str:
        return name if coefficient == 1 else f"{name} * {self.shared_integer(key, coefficient, 's')}"

    def number(self, node: Node) -> str:
        # LLVM knows that an infinity changes no maximum, would make a branch of the mask that selects it, and would not
        # vectorise the loop: there it is an argument
        value, dtype = node.params[3], node.dtype
        if dtype not in (float32, float64) or not math.isinf(value) or not self.finds_extrema:
            return self.literal(dtype, value)
        (bits,) = struct.unpack("q", struct.pack("d", value))
        return f"{dtype.code}(bitcast_i64_f64({self.shared_integer(('infinity', bits), bits, 'c')}))"

    def literal(self, dtype: DType, value) -> str:
        if dtype.kind == BOOL:
            return "True" if value else "False"
        if dtype.compute is not dtype:
            return f"{dtype.code}({self.literal(dtype.compute, value)})"
        if dtype.kind == FLOATING:
            value = float(value)
            if math.isnan(value) or math.isinf(value):
                return f"{dtype.code}({'nan' if math.isnan(value) else '-inf' if value < 0 else 'inf'})"
            return f"{dtype.code}({value!r})"
        return f"{dtype.code}({int(value)})"

    # ------------------------------------------------------------------------------------------------------ blocks

    def write(self, results) -> Lowered:
        self.names: dict[Var, str] = {}
        self.vars: list[list[LoopVar]] = []
        for group in self.groups:
            row = []
            for v in group:
                self.names[v] = self.fresh("i")
                row.append(LoopVar(self.names[v], self.integer(v.extent, "n")))
            self.vars.append(row)
        self.blocks: list[list] = [[]]
        self.scopes: list[dict[Instance, str]] = [{}]
        self.expensive: dict[Instance, list[tuple[list, str]]] = {}
        self.results: list[tuple[list, Access, Store]] = []
        self.block(0, self.sinks(results))
        if len(self.groups) > 1:
            self.keep_expensive()
        return self.finish(results)

    def sinks(self, results) -> list[tuple]:
        """What is stored: ``(level, instances that it needs, how to write it)``."""
        return [
            (level, [instance, *self.indices_of(offset)], (store, instance, offset))
            for (store, instance), offset, level in zip(results, self.store_offsets, self.store_levels)
        ]

    def reductions_below(self, instances: list[Instance], level: int) -> list[Instance]:
        """The reductions with results at ``level`` that ``instances`` need, sources first."""
        wanted: set[Instance] = set()
        stack = list(instances)
        while stack:
            instance = stack.pop()
            if instance in wanted:
                continue
            wanted.add(instance)
            stack += instance.sources + instance.indices
        return [
            i for i in self.order
            if i in wanted and not i.load and i.node.op.kind == "reduce" and i.level == level
        ]

    def ready(self, instance: Instance, level: int) -> int:
        """In which of the loops of a block of ``level`` an instance can be computed first."""
        known = instance.time.get(level)
        if known is not None:
            return known
        stack = [instance]
        while stack:
            current = stack[-1]
            missing = [d for d in current.sources + current.indices if level not in d.time]
            if missing:
                stack += missing
                continue
            stack.pop()
            time = max((d.time[level] for d in current.sources + current.indices), default=0)
            if not current.load and current.node.op.kind == "reduce" and current.level == level:
                time += 1
            current.time[level] = time
        return instance.time[level]

    def block(self, level: int, sinks: list[tuple]) -> None:
        """Write a block: loops in the order in which their reductions become ready, then what is stored here."""
        needed = [i for sink in sinks for i in sink[1]]
        loops: dict[int, tuple[list, list]] = {}
        for reduction in self.reductions_below(needed, level):
            if reduction in self.scopes[-1]:
                continue
            loops.setdefault(self.ready(reduction, level) - 1, ([], []))[0].append(reduction)
        here = []
        for sink in sinks:
            if sink[0] == level:
                here.append(sink)
            else:
                time = max((self.ready(i, level) for i in sink[1]), default=0)
                loops.setdefault(time, ([], []))[1].append(sink)
        for time in sorted(loops):
            self.loop(level + 1, *loops[time])
        for sink in here:
            self.write_sink(*sink[2])

    def loop(self, level: int, reductions: list[Instance], sinks: list[tuple]) -> None:
        self.blocks.append([])
        self.scopes.append({})
        inner: list[tuple] = []
        accumulators: list[Accumulator] = []
        names: list[str] = []
        parents: list[tuple[Accumulator, Accumulator]] = []
        for sink in sinks:
            if isinstance(sink[2][0], Accumulator):
                # a reduction of a loop further out: this loop reduces its part first
                parent, source = sink[2]
                part = Accumulator(self.fresh("r"), parent.dtype, parent.op, "")
                accumulators.append(part)
                parents.append((parent, part))
                sink = (sink[0], sink[1], (part, source))
            inner.append(sink)
        for reduction in reductions:
            source = reduction.sources[0]
            target = max(self.loop_level[reduction], level)
            name = self.fresh("r")
            accumulator = Accumulator(name, reduction.node.dtype, reduction.node.op.name, "")
            accumulators.append(accumulator)
            inner.append((target, [source], (accumulator, source)))
            names.append(name)
            self.operations.append(reduction.node.op.name)
        self.block(level, inner)
        body = self.blocks.pop()
        self.scopes.pop()
        self.blocks[-1].append(Loop(level, body, accumulators))
        for parent, part in parents:
            parent.text = part.name
        self.scopes[-1].update(zip(reductions, names))

    def write_sink(self, *sink) -> None:
        if isinstance(sink[0], Accumulator):
            accumulator, source = sink
            accumulator.text = self.emit(source)
            return
        store, instance, offset = sink
        text = self.emit(instance)
        for index in self.indices_of(offset):
            self.emit(index)
        pointer = self.pointer(store.target, True)
        index, dtype = self.index(offset), store.target.dtype
        if isinstance(text, tuple):
            self.blocks[-1] += [
                Store(pointer, dtype.part, at, part, store.mode) for at, part in zip(part_indices(index), text)
            ]
            return
        statement = Store(pointer, dtype, index, text, store.mode)
        self.blocks[-1].append(statement)
        if store.mode == "set" and store.target is store.value:
            self.results.append((self.blocks[-1], store.access, statement))

    def keep_expensive(self) -> None:
        """Do not compute an exponential in every loop over a row: the first loop leaves it where the result will be
        stored, which is in cache when the last loop comes to it."""
        taken: set[str] = set()
        shortened: list[list] = []
        for instance, places in self.expensive.items():
            for block, access, store in self.results:
                usable = (
                    len(places) > 1
                    and block is places[-1][0]
                    and store.dtype is instance.node.dtype
                    and store.pointer not in taken
                    and access.key() == instance.access.key()
                    and not instance.guards
                )
                if not usable or position_of(block, places[-1][1]) > block.index(store):
                    continue
                taken.add(store.pointer)
                first, name = places[0]
                position = position_of(first, name)
                first.insert(position + 1, Store(store.pointer, store.dtype, store.index, name))
                for later, other in places[1:]:
                    later[position_of(later, other)] = Load(other, instance.node.dtype, store.pointer, store.index)
                    shortened.append(later)
                break
        remove_unused(list({id(block): block for block in shortened}.values()), self.blocks[0])

    def lookup(self, instance: Instance) -> str | None:
        for scope in reversed(self.scopes):
            if instance in scope:
                return scope[instance]
        return None

    def emit(self, instance: Instance) -> str:
        """The name that holds an instance's value, after writing what computes it."""
        stack = [instance]
        while stack:
            current = stack[-1]
            if self.lookup(current) is not None:
                stack.pop()
                continue
            missing = [
                d for d in current.indices + ([] if current.load else current.sources) if self.lookup(d) is None
            ]
            if missing:
                stack += missing
                continue
            stack.pop()
            self.write_instance(current)
        return self.lookup(instance)

    def write_instance(self, instance: Instance) -> None:
        node = instance.node
        level = min(instance.level, len(self.blocks) - 1)
        block, scope = self.blocks[level], self.scopes[level]
        guard, fill = self.guard(instance)
        if instance.load:
            pointer, index = self.pointer(node, False), self.index(instance.offset)
            if node.dtype.kind == COMPLEX:
                scope[instance] = names = self.fresh("v"), self.fresh("v")
                for name, at in zip(names, part_indices(index)):
                    block.append(Load(name, node.dtype.part, pointer, at, guard, fill))
                return
            scope[instance] = name = self.fresh("v")
            block.append(Load(name, node.dtype, pointer, index, guard, fill))
            return
        if node.op is p.complex_:
            scope[instance] = tuple([self.lookup(x) for x in instance.sources])
            return
        if node.op is p.real or node.op is p.imag:
            # of what is loaded in pairs; outside of a pad's source the load gives the pad's value
            scope[instance] = self.lookup(instance.sources[0])[node.op is p.imag]
            return
        if node.op.kind == "scan":
            self.operations.append(node.op.name)
            scope[instance] = name = self.fresh("v")
            block.append(Scan(name, node.dtype, "sum", self.lookup(instance.sources[0])))
            return
        if node.op is p.const:
            text = self.number(node)
        elif node.op is p.scalar:
            text = self.scalar(node)
        elif node.op is p.iota:
            text = f"{node.dtype.code}({self.index(instance.offset)})"
        elif node.op.kind in ("gather", "alias", "movement"):
            text = self.lookup(instance.sources[0])
        else:
            self.operations.append(node.op.name)
            operands = [self.lookup(x) for x in instance.sources]
            text = expression(node, operands, self.error() if node.op.checks else "")
        if guard is None and (node.op is not p.iota and node.op.kind in ("leaf", "gather", "alias", "movement")):
            scope[instance] = text
            return
        scope[instance] = name = self.fresh("v")
        if node.op.cost >= self.keep_cost and level == len(self.blocks) - 1:
            self.expensive.setdefault(instance, []).append((block, name))
        if guard is not None:
            # below a pad an operation is evaluated outside its operands too, where the padding's value stands
            text = f"select({guard}, {text}, {fill})"
        block.append(Let(name, node.dtype, text))

    def guard(self, instance: Instance) -> tuple[str | None, str]:
        """The condition under which an access is inside its padded sources, and what stands outside."""
        if not instance.guards:
            return None, ""
        dtype = instance.node.dtype.part
        conditions = [
            f"inside({self.index(number)}, {self.shared_integer((number, 'extent'), extent, 'n')})"
            for number, extent, _ in instance.guards
        ]
        text = conditions[0]
        for condition in conditions[1:]:
            text = f"band({text}, {condition})"
        fill = self.border(dtype, instance.guards[-1][2])
        # pads of pads: outside the outer one its own value counts
        for condition, (_, _, value) in zip(conditions[-2::-1], instance.guards[-2::-1]):
            outer = self.border(dtype, value)
            if outer != fill:
                fill = f"select({condition}, {fill}, {outer})"
        return text, fill

    def border(self, dtype: DType, value: float) -> str:
        """A pad's value in the dtype of something that is read below the pad; of an index, any valid number does."""
        return self.literal(dtype, value if dtype.kind == FLOATING or math.isfinite(value) else 0)

    # ------------------------------------------------------------------------------------------------------ result

    def finish(self, results) -> Lowered:
        extents = [[a.source for a in self.arguments if a.kind == "integer" and a.name in {v.extent for v in row}]
                   for row in self.vars]
        sizes = [math.prod(row) for row in extents]
        serial = writes_by_index(results)
        mode = "flat" if len(self.groups) == 1 else "rows"
        units, work = sizes[0], math.prod(sizes) * max(1, len(self.operations))
        body = self.blocks[0]
        kernel = Kernel(mode, self.vars, self.arguments, body, serial, operations=self.operations)
        lowered = Lowered(kernel, self.operands, 0, units, work)
        if serial and mode == "flat" and independent(kernel):
            self.divide_scatter(lowered, dict(zip((v.name for v in self.vars[0]), extents[0])))
        elif self.transposed and not serial:
            kernel.mode = "tiled"
            *outer, rows, columns = extents[0]
            tiles = [-(-rows // TILE), -(-columns // TILE)]
            kernel.tiles = ",".join(self.integer(n, "n") for n in tiles)
            lowered.units = math.prod(outer) * math.prod(tiles)
        elif mode == "rows" and not serial:
            loops = [st for st in body if isinstance(st, Loop)]
            if self.columnwise():
                kernel.mode = "columns"
                may_split = len(extents[1]) == 1 and len(loops) == 1
                pieces = -(-extents[1][0] // BLOCK) if may_split else 1
                *outer, columns = extents[0]
                width = NARROW_TILE
                while width < COLUMN_TILE and math.prod(outer) * -(-columns // (2 * width)) * pieces >= ENOUGH_UNITS:
                    width *= 2
                kernel.width = self.integer(width, "n")
                kernel.tiles = self.integer(-(-columns // width), "n")
                lowered.units = math.prod(outer) * -(-columns // width)
                if lowered.units < SPLIT_ROWS and may_split:
                    self.split_columns(lowered, loops[0], extents[1][0])
            elif any(not i.load and i.node.op.kind == "scan" for i in self.order):
                pass
            elif sizes[0] < SPLIT_ROWS and math.prod(sizes[1:]) > SPLIT_LENGTH and len(loops) == 1:
                self.split(lowered, loops[0], sizes, extents)
        self.count_bytes(lowered, results)
        return lowered

    def divide_scatter(self, lowered: Lowered, extents: dict[str, int]) -> None:
        """Give what can never meet to different cores."""
        kernel = lowered.kernel
        kernel.mode, kernel.serial = "scatter", False
        divided = [extents[v.name] for v in independent(kernel)]
        if independent(kernel)[-1] is kernel.groups[0][-1]:
            divided[-1] = -(-divided[-1] // NARROW_TILE)
            kernel.tiles = self.integer(divided[-1], "n")
        lowered.units = math.prod(divided)

    def split(self, lowered: Lowered, loop: Loop, sizes: list[int], extents) -> None:
        """Cut the one loop of a kernel with few, long rows into pieces along its first variable."""
        inner = math.prod(sizes[1:])
        first = extents[1][0] if extents[1] else 1
        step = max(1, self.piece * first // max(inner, 1))
        pieces = -(-first // step)
        if pieces < 2:
            return
        kernel = lowered.kernel
        kernel.mode = "split"
        kernel.step = self.integer(step, "n")
        kernel.pieces = self.integer(pieces, "n")
        self.arguments.append(Argument("scratch", "scratch", None, None))
        lowered.pieces = pieces
        lowered.units = sizes[0] * pieces
        lowered.finish_units = sizes[0]
        lowered.scratch = 8 * len(loop.accumulators) * sizes[0] * pieces

    def split_columns(self, lowered: Lowered, loop: Loop, rows: int) -> None:
        """Cut the one loop down a few columns into pieces of as many rows as a block of a sum has: the bits of the
        result stay the same."""
        pieces = -(-rows // BLOCK)
        if pieces < 2:
            return
        kernel = lowered.kernel
        kernel.step = self.integer(BLOCK, "n")
        kernel.pieces = self.integer(pieces, "n")
        self.arguments.append(Argument("scratch", "scratch", None, None))
        lowered.pieces, lowered.finish_units = pieces, lowered.units
        lowered.units *= pieces
        lowered.scratch = 8 * COLUMN_TILE * len(loop.accumulators) * lowered.units

    def columnwise(self) -> bool:
        """Whether neighbours in memory belong to different rows: the fastest variable is one of group 0."""
        if len(self.groups) != 2 or not self.groups[0] or not self.groups[1]:
            return False
        if any(not i.load and i.node.op.kind == "scan" for i in self.order):
            return False
        across, along = self.groups[0][-1], self.groups[1][-1]
        weight = 0
        for instance in self.order:
            if instance.load and instance.level == 1:
                terms = self.exprs[instance.offset].terms
                # what is one number for a whole row, an index or a weight, costs the same either way
                if across in terms:
                    weight += (terms[across] == 1) - (terms.get(along) == 1)
        return weight > 0 and across.extent > 1

    def count_bytes(self, lowered: Lowered, results) -> None:
        written = {self.pointers.get((self.fusion.base(store.target), True)) for store, _ in results}
        for argument in self.arguments:
            if argument.kind == "pointer":
                node = self.operands[argument.source]
                if argument.name in written:
                    continue
                lowered.bytes_read += node.type.nbytes
        lowered.bytes_written = sum(
            min(store.value.type.nbytes, store.target.type.nbytes) for store, _ in results
        )


def part_indices(index: str) -> tuple[str, str]:
    """Where in memory the parts of a complex element are."""
    return f"2 * ({index})", f"2 * ({index}) + 1"


def writes_by_index(results: list) -> bool:
    """Whether two iterations may write to one element, so that their order counts: two indices may be equal."""
    return any(isinstance(v, Indirect) for store, _ in results for e in store.at for v in e.terms)


def position_of(block: list, name: str) -> int:
    """Where a block computes a value."""
    return next(i for i, st in enumerate(block) if isinstance(st, Let) and st.name == name)


def remove_unused(blocks: list[list], kernel: list) -> None:
    """Drop the statements of some blocks whose values nothing in the kernel mentions any more."""
    uses = Counter(mentions(kernel))
    for block in blocks:
        for st in reversed(block.copy()):
            if isinstance(st, (Let, Load)) and not uses[st.name]:
                uses.subtract(mentions([st]))
                block.remove(st)


def expression(node: Node, operands: list[str], error: str) -> str:
    """A row's scalar expression for these operands."""
    template = node.op.expr
    source = node.src[0].dtype
    if isinstance(template, dict):
        template = template[p.kind_letter(source)]
    return template.format(
        *operands, t=source.code, s=source.code, r=node.dtype.code, error=error
    )
