"""Fusion: which nodes are computed in one kernel, and which values go through memory.

In comes a graph, out comes a list of :class:`Cluster` in an order in which they can run. The nodes are visited from
the results to the sources. Each node knows by then where it is read: in which clusters and at which positions
(:class:`~flamework.compiler.affine.Access`). It joins the cluster that reads it if it can be computed there without
costing more than the memory traffic which that saves; otherwise it is stored and begins a cluster of its own. A
node that several clusters read brings them together if they run over the same positions.

What one kernel can be is said by its *chain*: the sets of loop variables over which its reductions and stored
results run, each contained in the next. A softmax over rows has the chain ``{i}, {i, j}``: for every ``i``, several
loops over ``j``, and values that depend on ``i`` alone between them. A mean of row losses has ``{}, {i}, {i, j}``.
Sums along rows and along columns of one matrix make no chain, so they are two kernels.

Every time that two neighbours are not fused, the reason is noted in :attr:`Fusion.borders`.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from . import primitives as p, primitives_shape as s
from .affine import (
    Access,
    Expr,
    Indirect,
    Var,
    count,
    covers,
    of,
    pull,
    reshape_at,
    resolve,
    split,
)
from .cluster import Border, Cluster, Reduction, Store, find
from .epilogues import Epilogue
from .ir import Node, topological
from .operands import product_operands, strided_operand
from .recompute import computed_again

MAX_OPERATIONS = 160  # of one kernel: past this, compile time and registers grow faster than traffic shrinks
MAX_OPERANDS = 40
MAX_LOADED = 8  # matrix products that one sum waits for, all of them in memory (a weight's gradient in a loop)
MAX_RECOMPUTED = 8  # cheap operations that may be evaluated more often than they have elements
RECOMPUTED = 1.5  # evaluations an element up to which nothing counts as computed again (a pad's border)
MAX_AGAIN = 3  # kernels that each compute a value, and do not hand it on through memory
# A kernel goes down columns again, for sums of what it computes from their sums, if a tile of 256 stays in the second
# level of cache meanwhile and there are tiles enough: mean and variance of 64 x 512 x 512 along either take 0.6 of the
# time. (Results for each element that are computed so, such as a softmax, would take twice as long.)
MOST_ROWS_AGAIN, LEAST_COLUMNS_AGAIN = 1024, 4096
MAX_TRIES = 8  # with so many kernels that read one value, each other one is tried: programs may have thousands
EXPENSIVE = 4  # cost from which an operation is never evaluated more often than it has elements
SPLIT_ROWS, SPLIT_LENGTH = 16, 1 << 16  # fewer rows than this, each longer than that, are summed in pieces


class Fusion:
    """The state of one fusion; :func:`fuse` runs it."""

    def __init__(self, roots: Sequence[Node], epilogues: Mapping[Node, Epilogue]) -> None:
        self.order = topological(roots)
        self.epilogues = epilogues
        self.required: set[Node] = set(roots)
        self.demands: dict[Node, dict[Cluster, list[Access]]] = {}
        self.home: dict[Node, Cluster] = {}
        self.alias: dict[Node, Node] = {}
        self.loads: dict[Node, list[Cluster]] = {}
        self.clusters: list[Cluster] = []
        self.borders: list[Border] = []
        # of sums of products: who adds the next one, and whether anything else reads it
        self.next_product: dict[Node, Cluster] = {}
        self.calls: dict[Node | tuple, Cluster] = {}
        self.uses = Counter(x for node in self.order for x in node.src)
        self.again = computed_again(self.order, self.required)
        # what positions and numbers alone decide, such as a dropout's mask: it reads nothing from memory
        self.from_nothing: set[Node] = set()
        for node in self.order:
            computes = node.op.kind in ("elementwise", "movement", "alias") and not node.op.checks
            if computes and node.value is None and all(x in self.from_nothing or is_number(x) for x in node.src):
                self.from_nothing.add(node)

    # ------------------------------------------------------------------------------------------------ bookkeeping

    def readers(self, node: Node) -> dict[Cluster, list[Access]]:
        """The clusters that read a node, with its distinct accesses in each."""
        demands = self.demands.get(node, {})
        if len(demands) == 1:
            ((cluster, accesses),) = demands.items()
            if len(accesses) == 1:
                return {find(cluster): list(accesses)}
        merged: dict[Cluster, dict[tuple, Access]] = {}
        for cluster, accesses in demands.items():
            found = merged.setdefault(find(cluster), {})
            for access in accesses:
                found[access.key()] = access
        return {cluster: list(found.values()) for cluster, found in merged.items()}

    def demand(self, node: Node, cluster: Cluster, access: Access) -> None:
        self.demands.setdefault(node, {}).setdefault(cluster, []).append(access)
        if node.value is not None and node.op is not p.scalar:
            cluster.operands.add(node)

    def note(self, producer: Node, consumer: Cluster | None, reason: str) -> None:
        self.borders.append(Border(producer, consumer, reason))

    def precede(self, first: Cluster, then: Cluster) -> None:
        """``then`` reads what ``first`` writes."""
        first.successors.add(then)
        then.predecessors.add(first)
        self.lift([first], then.height + 1)

    def absorb(self, first: Cluster, second: Cluster) -> None:
        """``second`` becomes part of ``first``: what ran before and after it does so with the whole."""
        second.merged_into = first
        first.successors |= second.successors
        first.predecessors |= second.predecessors
        first.height = max(first.height, second.height)
        self.lift(first.predecessors, first.height + 1)

    @staticmethod
    def lift(clusters: Iterable[Cluster], height: int) -> None:
        """Raise clusters to at least ``height``, and what runs before them above them."""
        stack = [(cluster, height) for cluster in clusters]
        while stack:
            cluster, height = stack.pop()
            cluster = find(cluster)
            if cluster.height < height:
                cluster.height = height
                stack += [(x, height + 1) for x in cluster.predecessors]

    def reaches(self, starts: Iterable[Cluster], goal: Cluster) -> bool:
        """Whether ``goal`` runs after one of ``starts`` because of what it reads."""
        stack = [start for start in starts if start.height > goal.height]
        seen = set(stack)
        while stack:
            for successor in stack.pop().successors:
                successor = find(successor)
                if successor is goal:
                    return True
                if successor.height > goal.height and successor not in seen:
                    seen.add(successor)
                    stack.append(successor)
        return False

    def load(self, node: Node, cluster: Cluster) -> None:
        """``cluster`` reads ``node`` from memory. Whatever stores it, perhaps below reshapes, runs before."""
        cluster.operands.add(node)
        cluster.loaded += node.op.kind == "contract"
        self.follow(node, cluster)

    def follow(self, node: Node, cluster: Cluster) -> None:
        """``cluster`` runs after ``node`` is in memory."""
        node = self.base(node)
        home = self.home.get(node)
        if home is None:
            self.loads.setdefault(node, []).append(cluster)
        elif find(home) is not cluster:
            self.precede(find(home), cluster)

    def store(self, node: Node, home: Cluster) -> None:
        """``home`` computes ``node`` and stores it, and runs before all that were found to read it."""
        self.home[node] = home
        for cluster in self.loads.pop(node, ()):
            self.follow(node, find(cluster))

    def store_for_all(self, node: Node, home: Cluster) -> None:
        """Store a node from where every other cluster that reads it loads it."""
        self.store(node, home)
        for cluster in self.readers(node):
            if cluster is not home:
                self.load(node, cluster)

    def share_buffer(self, node: Node, source: Node) -> None:
        """``node`` has the same bytes in the same order as ``source``: one buffer serves both."""
        self.alias[node] = source
        self.required.add(source)
        for cluster in self.loads.pop(node, ()):
            self.follow(source, find(cluster))

    def base(self, node: Node) -> Node:
        """The node whose buffer holds a value. Chains of aliases (many writes to one tensor) are shortened."""
        base = node
        while base in self.alias:
            base = self.alias[base]
        while node is not base:
            self.alias[node], node = base, self.alias[node]
        return base

    # --------------------------------------------------------------------------------------------------- placing

    def place(self, node: Node, cluster: Cluster, access: Access) -> None:
        """Compute ``node`` in ``cluster`` at ``access``, and demand its sources there."""
        placed = cluster.values.setdefault(node, [])
        if any(other.key() == access.key() for other in placed):
            return
        placed.append(access)
        op = node.op
        if op.kind == "leaf":
            return
        cluster.operations += 1 if op.kind != "movement" else 0
        if op.kind in ("reduce", "scan"):
            self.demand(node.src[0], cluster, self.reduced_access(node, cluster, access))
        elif op.kind == "gather":
            source, index = node.src
            at = list(access.at)
            at[node.params[0]] = Expr(0, {Indirect(index, access): 1})
            self.demand(index, cluster, access)
            self.demand(source, cluster, Access(at, access.guards))
        elif op.kind in ("movement", "alias"):
            moved = pull(node, access)
            assert moved is not None
            self.demand(node.src[0], cluster, moved)
        else:
            for source in node.src:
                self.demand(source, cluster, access)

    def reduced_access(self, node: Node, cluster: Cluster, access: Access) -> Access:
        """Where a reduction reads its source: its own position with the reduced axes put back."""
        if node.op.kind == "scan":
            return access
        kept, reduced = iter(access.at), iter(cluster.reductions[node].axes)
        return Access([next(reduced) if a in node.params else next(kept) for a in range(node.src[0].ndim)])

    def new_kernel(self, node: Node) -> Cluster:
        """A cluster of its own, whose result is ``node`` in memory."""
        cluster = Cluster()
        self.clusters.append(cluster)
        if node.op.kind == "scatter":
            self.start_scatter(node, cluster)
        elif node.op.kind == "update":
            self.start_block(node, node.src[1], cluster, *node.params)
        else:
            access = Access([of(Var(extent)) for extent in node.shape])
            variables = frozenset(access.variables())
            if node.op.kind == "scan":
                (axis,) = node.params
                inner = list(resolve(access.at[axis]).terms)
                cluster.reductions[node] = Reduction(variables - set(inner), inner, (access.at[axis],))
                cluster.chain = sorted({variables - set(inner), variables}, key=len)
            else:
                cluster.chain = [variables]
                if node.op.kind == "reduce":
                    self.add_reduction(node, cluster, access)
            cluster.stores.append(Store(node, node, access, access.at))
            self.place(node, cluster, access)
        return cluster

    def start_block(self, node: Node, new: Node, cluster: Cluster, starts, steps) -> None:
        """A kernel that stores ``new`` as a strided block of the buffer of ``node``."""
        access = Access([of(Var(extent)) for extent in new.shape])
        at = tuple((e * d).shift(b) for e, b, d in zip(access.at, starts, steps))
        if not cluster.chain:
            cluster.chain = [frozenset(access.variables())]
        cluster.stores.append(Store(node, new, access, at))
        self.demand(new, cluster, access)

    def start_scatter(self, node: Node, cluster: Cluster) -> None:
        axis, mode = node.params
        _, index, new = node.src
        access = Access([of(Var(extent)) for extent in new.shape])
        at = list(access.at)
        at[axis] = Expr(0, {Indirect(index, access): 1})
        cluster.chain = [frozenset(access.variables())]
        cluster.stores.append(Store(node, new, access, tuple(at), mode))
        self.demand(index, cluster, access)
        self.demand(new, cluster, access)

    def add_reduction(self, node: Node, cluster: Cluster, access: Access) -> str | None:
        """Give a reduction its loops in ``cluster``. Returns why not."""
        source = node.src[0]
        extents = [source.shape[a] for a in node.params]
        outer = frozenset(access.variables())
        length = math.prod(extents)
        if not cluster.fits(outer):
            return "its result runs over other axes than the rest of the kernel"
        sets = cluster.sets()
        larger = [v for v in sets if len(v) > len(outer)]
        if larger:
            inner = sorted(larger[0] - outer, key=lambda v: v.id)
            if count(inner) != length:
                return f"it reduces {length} elements where the kernel runs over {count(inner)}"
            axes = self.match_axes(node, cluster, inner, extents)
            if axes is None:
                return "its reduced axes do not line up with the kernel's"
        else:
            axes = tuple(of(Var(extent)) for extent in extents)
        inner = [v for e in axes for v in resolve(e).terms]
        cluster.insert(outer)
        cluster.insert(outer | frozenset(inner))
        cluster.reductions[node] = Reduction(outer, inner, axes)
        return None

    def match_axes(self, node: Node, cluster: Cluster, inner: list[Var], extents: list[int]) -> tuple | None:
        """Positions along the reduced axes in terms of loop variables that exist already."""
        at = reshape_at([of(v) for v in inner], [v.extent for v in inner], extents)
        return None if at is None else tuple(at)

    # ----------------------------------------------------------------------------------------------- may it join?

    def refusal(self, node: Node, cluster: Cluster, accesses: list[Access], stored: bool) -> str | None:
        """Why ``node`` cannot be computed inside ``cluster``, or None if it can."""
        op = node.op
        if cluster.kind != "kernel":
            return f"{cluster.node.op.name} reads from memory"
        if cluster.operations >= MAX_OPERATIONS:
            return f"the kernel has {MAX_OPERATIONS} operations"
        if len(cluster.operands) >= MAX_OPERANDS:
            return f"the kernel has {MAX_OPERANDS} operands"
        if op is p.add and cluster.loaded >= MAX_LOADED:
            return f"the kernel waits for {MAX_LOADED} results of other kernels"
        if op.kind == "scan":
            return "a scan is computed in order"
        if op.checks and any(access.guards for access in accesses):
            return "an index is checked, which must not happen in a pad's border"
        for access in accesses:
            access.resolved()
        if stored:
            if len(accesses) != 1 or not covers(accesses[0], node.shape):
                return "it is also stored, and the kernel does not visit each of its elements once"
            variables = frozenset(accesses[0].variables())
            if op.kind != "reduce" and variables not in cluster.sets():
                if not self.follows_reduction(node) or not cluster.insert(variables):
                    return "it is also stored, and runs over other axes than the kernel"
        if op.kind == "reduce":
            if len(accesses) != 1:
                return "its result is read at several positions"
            return self.reduction_refusal(node, cluster, accesses[0])
        if op.kind in ("elementwise", "gather"):
            work = sum(count(access.variables()) for access in accesses)
            if work > RECOMPUTED * node.type.size:
                if op.cost >= EXPENSIVE:
                    return f"{op.name} would be computed {work // max(node.type.size, 1)} times for each element"
                if cluster.recomputed >= MAX_RECOMPUTED:
                    return "too much would be computed again for each element"
                if not self.reads_memory_only(node):
                    return "what it depends on would be computed again for each element"
        return None

    def follows_reduction(self, node: Node) -> bool:
        """Whether a node is computed from the result of a reduction of the same size, a few steps away."""
        for _ in range(6):
            if node.op.kind == "reduce":
                return True
            rest = [x for x in node.src if x.value is None and x.op.kind != "leaf"]
            if not rest or node.op.kind not in ("elementwise", "movement", "alias"):
                return False
            if node.type.size != rest[0].type.size and node.op.kind == "elementwise":
                return False
            node = rest[0]
        return False

    def reads_memory_only(self, node: Node) -> bool:
        """Whether a node is one step away from memory, so that computing it again costs little."""
        for source in node.src:
            while source.op.kind in ("movement", "alias") and source.value is None:
                source = source.src[0]
            if source.value is None and source.op.kind != "leaf":
                return False
        return True

    def reduction_refusal(self, node: Node, cluster: Cluster, access: Access) -> str | None:
        if access.guards or access.is_indirect():
            return "a reduction is not computed below an index or a pad"
        outer = frozenset(access.variables())
        rows = count(outer)
        if rows != node.type.size:
            return f"its {node.type.size} results would be computed {rows} times"
        if not cluster.fits(outer):
            return "it reduces other axes than the rest of the kernel"
        sets = cluster.sets()
        larger = [v for v in sets if len(v) > len(outer)]
        length = math.prod(node.src[0].shape[a] for a in node.params)
        if larger:
            inner = larger[0] - outer
            if count(inner) != length:
                return f"it reduces {length} elements where the kernel runs over {count(inner)}"
            if rows < SPLIT_ROWS and length > SPLIT_LENGTH:
                return "long rows are reduced in pieces, and what reads the result is a second pass"
            if self.runs_down_columns(node, access, outer):
                again = rows >= LEAST_COLUMNS_AGAIN and length <= MOST_ROWS_AGAIN
                if not again or any(not outer.issuperset(st.access.variables()) for st in cluster.stores):
                    return "it reduces down columns"
        elif any(len(r.inner) == 0 for r in cluster.reductions.values()):
            return "a reduction over nothing"
        return None

    def runs_down_columns(self, node: Node, access: Access, outer: frozenset[Var]) -> bool:
        """Whether neighbouring elements in memory belong to different results."""
        source = node.src[0]
        last = max((a for a in range(source.ndim) if source.shape[a] != 1), default=-1)
        return last >= 0 and last not in node.params

    # ---------------------------------------------------------------------------------------------------- merging

    def merge(self, first: Cluster, second: Cluster, node: Node, a: Access, b: Access) -> str | None:
        """Make one kernel of two that read (or compute) ``node`` at ``a`` and at ``b``. Returns why not."""
        if first.kind != "kernel" or second.kind != "kernel":
            return "a library call reads from memory"
        if any(st.mode != "set" or st.target.op.kind in ("update", "cat") for c in (first, second) for st in c.stores):
            return "a kernel that writes into an existing buffer runs alone"
        if any(node.op.kind == "scan" for c in (first, second) for node in c.reductions):
            return "a scan is computed in order"
        if first.operations + second.operations > MAX_OPERATIONS:
            return f"together they have more than {MAX_OPERATIONS} operations"
        if len(first.operands | second.operands) + len(first.stores) + len(second.stores) > MAX_OPERANDS:
            return f"together they have more than {MAX_OPERANDS} operands"
        if not covers(a, node.shape) or not covers(b, node.shape):
            return "they do not visit each element once"
        # the larger space keeps its variables
        full_a, full_b = first.sets()[-1], second.sets()[-1]
        if a.variables() != full_a or b.variables() != full_b:
            return "they run over different axes"
        if self.reaches([first], second) or self.reaches([second], first):
            return "one needs the other's results"
        columns = [self.is_columnwise(c) for c in (first, second)]
        if columns[0] != columns[1]:
            return "one of them reduces down columns"
        mapping = self.align(a, b, node.shape)
        if mapping is None:
            return "their loops do not line up"
        chain = {frozenset(mapping.get(v, v) for v in variables) for variables in second.sets()}
        if any(not first.fits(variables) for variables in chain):
            return "they reduce different axes"
        if any(not (x <= y or y <= x) for x in chain for y in first.sets()):
            return "they reduce different axes"
        back = {new: old for old, new in mapping.items()}
        if second.would_divide_sums(frozenset(back.get(v, v) for v in x) for x in first.sets()):
            return "a sum would be taken in another order"
        if first.would_divide_sums(chain):
            return "a sum would be taken in another order"
        for old, new in mapping.items():
            if old is not new:
                old.becomes = of(new)
        self.absorb(first, second)
        for variables in chain:
            first.insert(variables)
        first.stores += second.stores
        for placed, accesses in second.values.items():
            mine = first.values.setdefault(placed, [])
            keys = {x.key() for x in mine}
            mine += [x for x in accesses if x.key() not in keys]
        first.reductions.update(second.reductions)
        first.operations += second.operations
        first.recomputed += second.recomputed
        first.loaded += second.loaded
        first.operands |= second.operands
        return None

    def is_columnwise(self, cluster: Cluster) -> bool:
        for node, reduction in cluster.reductions.items():
            if node.op.kind == "reduce" and reduction.outer and self.runs_down_columns(node, None, reduction.outer):
                return True
        return False

    def align(self, a: Access, b: Access, shape: Sequence[int]) -> dict[Var, Var] | None:
        """Which variable of the second access is which of the first; splits where one has more than the other."""
        mapping: dict[Var, Var] = {}
        for axis in range(len(shape)):
            while True:
                mine = sorted(resolve(a.at[axis]).terms.items(), key=lambda t: t[1])
                other = sorted(resolve(b.at[axis]).terms.items(), key=lambda t: t[1])
                if [(v.extent, c) for v, c in mine] == [(v.extent, c) for v, c in other]:
                    mapping.update({v: u for (u, _), (v, _) in zip(mine, other)})
                    break
                if not self.refine(mine, other):
                    return None
        return mapping

    @staticmethod
    def refine(mine: list, other: list) -> bool:
        """Split the first variable that differs, on the side where it is longer. False if the sizes do not divide."""
        for (u, _), (v, _) in zip(mine, other):
            if u.extent == v.extent:
                continue
            longer, shorter = (u, v) if u.extent > v.extent else (v, u)
            if longer.extent % shorter.extent:
                return False
            split(longer, shorter.extent)
            return True
        return False

    # --------------------------------------------------------------------------------------------------- the walk

    def run(self) -> None:
        for node in reversed(self.order):
            if node.value is not None and node.op is not p.scalar:
                continue
            if node.type.size == 0:
                continue
            kind = node.op.kind
            if node not in self.required and node not in self.demands:
                continue
            if kind == "leaf":
                self.visit_leaf(node)
            elif kind in ("movement", "alias"):
                self.visit_movement(node)
            elif kind == "barrier":
                self.visit_barrier(node)
            elif kind in ("contract", "attention", "sort", "library") or node in self.epilogues:
                self.visit_library(node)
            elif kind == "cat":
                self.visit_cat(node)
            else:
                self.visit_compute(node)
        for node in self.order:
            if node.value is not None and node.op is not p.scalar:
                self.share_operand(node)
        self.sort()

    def visit_leaf(self, node: Node) -> None:
        if node in self.required:
            self.store(node, self.new_kernel(node))
        for cluster, accesses in self.readers(node).items():
            if cluster.kind != "kernel":
                self.load(node, cluster)
                continue
            for access in accesses:
                self.place(node, cluster, access)

    def visit_movement(self, node: Node) -> None:
        source = node.src[0]
        if node in self.required and (node.op is s.reshape or node.op is s.detach):
            self.share_buffer(node, source)
        elif node in self.required:
            self.store(node, self.new_kernel(node))
        for cluster, accesses in self.readers(node).items():
            if cluster.kind != "kernel":
                self.load(node, cluster)
                continue
            for access in accesses:
                moved = pull(node, access.resolved())
                if moved is not None:
                    cluster.values.setdefault(node, []).append(access)
                    self.demand(source, cluster, moved)
                    continue
                # a division: the source goes to memory, where a reshape is free
                self.note(source, cluster, "a reshape that would need a division reads from memory")
                if node not in self.home and node not in self.alias:
                    self.share_buffer(node, source)
                self.load(node, cluster)

    def visit_barrier(self, node: Node) -> None:
        """What reads the value loads it, and runs when what it waits for is in memory."""
        source, after = node.src
        while after.value is None and after.op.kind in ("movement", "alias", "barrier"):
            after = after.src[0]
        waits = after.value is None and after.op.kind != "leaf"
        if waits:
            self.required.add(after)
        self.share_buffer(node, source)
        for cluster in self.readers(node):
            self.note(source, cluster, "a barrier: it is computed again later")
            self.load(node, cluster)
            if waits:
                self.follow(after, cluster)

    def visit_library(self, node: Node) -> None:
        epilogue = self.epilogues.get(node)
        product = node.op in (s.dot, s.dot_add) or epilogue is not None
        kind = "dot" if product else "convolve" if node.op.kind == "contract" else node.op.kind
        # attention and its sums, or its three gradients, are one call
        key = (node.params[:2], node.src) if kind == "attention" else node
        if key in self.calls:
            self.calls[key].results.append(node)
            self.store_for_all(node, self.calls[key])
            return
        cluster = self.calls[key] = Cluster(kind)
        cluster.node, cluster.results = node, [node]
        self.clusters.append(cluster)
        if node in self.next_product:
            self.precede(cluster, self.next_product[node])
        else:
            self.store_for_all(node, cluster)
        read = list(node.src)
        if product:
            cluster.epilogue = epilogue
            cluster.matrices = product_operands(cluster.product)
            read = [operand.base for operand in cluster.matrices]
            if epilogue is not None and epilogue.bias is not None:
                read.append(epilogue.bias)
        elif kind == "attention":
            cluster.strided = [strided_operand(source) for source in node.src]
            read = [operand.base for operand in cluster.strided]
        for source in read:
            self.required.add(source)
            self.demand(source, cluster, Access([of(Var(e)) for e in source.shape]))
        if node.op is s.dot_add:
            self.begin_sum(node, cluster)

    def begin_sum(self, node: Node, cluster: Cluster) -> None:
        """The product that ``cluster`` adds goes on top of what is in the buffer of ``node`` by then: the products
        before it in the sum, or the values of the sum that one kernel puts there."""
        before = node.src[2]
        alone = self.uses[before] == 1 and before not in self.required
        if before.op.kind == "contract" and before.value is None and alone:
            self.required.add(before)
            self.alias[before] = node
            self.next_product[before] = cluster
            return
        first = Cluster()
        self.clusters.append(first)
        self.start_block(node, before, first, [0] * node.ndim, [1] * node.ndim)
        self.precede(first, cluster)

    def visit_cat(self, node: Node) -> None:
        """Each part is stored as a block of the result; the first cluster stands for the node."""
        (axis,) = node.params
        start = 0
        for source in node.src:
            extent = source.shape[axis]
            if source.type.size:
                cluster = Cluster()
                self.clusters.append(cluster)
                starts = [0] * node.ndim
                starts[axis] = start
                self.start_block(node, source, cluster, starts, [1] * node.ndim)
                if node in self.home:
                    # readers wait for every part
                    self.precede(cluster, find(self.home[node]))
                else:
                    self.store_for_all(node, cluster)
            start += extent

    def visit_compute(self, node: Node) -> None:
        stored = node in self.required
        readers = self.readers(node)
        sink_only = node.op.kind in ("scatter", "update")
        if sink_only:
            self.visit_sink(node)
            return
        kernels = {c: a for c, a in readers.items() if c.kind == "kernel"}
        stored = stored or len(kernels) < len(readers)
        if not stored and len(kernels) > 1 and self.duplicate(node, kernels):
            return
        if len(kernels) > 1:
            kernels = self.bring_together(node, kernels)
            if len(kernels) > 1:
                if not stored and node in self.again and self.apart(node, kernels):
                    self.join_all(node, kernels)
                    return
                stored = True
        joined = None
        loading = {find(c) for c in self.loads.get(node, ())}
        others = loading.union(self.readers(node)) if kernels else loading
        for cluster, accesses in itertools.islice(kernels.items(), MAX_TRIES):
            reason = self.refusal(node, cluster, accesses, stored)
            if reason is None and cluster in loading:
                reason = "a reshape of it is read from memory"
            if reason is None and self.reaches(others - {cluster}, cluster):
                reason = "it would have to run before and after another kernel"
            if reason is None:
                reason = self.join(node, cluster, accesses, stored)
            if reason is None:
                joined = cluster
                break
            self.note(node, cluster, reason)
        for cluster in itertools.islice(kernels, MAX_TRIES, None):
            self.note(node, cluster, f"more than {MAX_TRIES} kernels read it")
        if joined is None:
            joined = self.new_kernel(node)
            stored = True
        if stored:
            self.store_for_all(node, joined)

    def visit_sink(self, node: Node) -> None:
        """A node that is written into a buffer which holds the old values: one kernel puts them there, one writes."""
        old = node.src[0]
        readers = self.readers(node)
        only = next(iter(readers)) if len(readers) == 1 and node not in self.required else None
        write = self.new_kernel(node)
        self.store(node, write)
        if only is not None and self.initialises(only, node):
            # nobody else needs the state in between: both write into one buffer
            target = only.stores[0].target
            self.alias[node] = target
            self.demands.pop(node)
            self.absorb(write, only)
        else:
            self.store_for_all(node, write)
        first = Cluster()
        self.clusters.append(first)
        self.start_block(node, old, first, [0] * node.ndim, [1] * node.ndim)
        self.precede(first, write)

    @staticmethod
    def initialises(cluster: Cluster, node: Node) -> bool:
        """Whether all that a kernel does is copy ``node`` into the buffer of a later write."""
        return (
            cluster.kind == "kernel"
            and len(cluster.stores) == 1
            and cluster.stores[0].value is node
            and cluster.stores[0].target is not node
            and cluster.stores[0].target.op.kind in ("update", "scatter")
            and cluster.stores[0].target.src[0] is node
            and not cluster.values
        )

    def join(self, node: Node, cluster: Cluster, accesses: list[Access], stored: bool) -> str | None:
        if node.op.kind == "reduce":
            reason = self.add_reduction(node, cluster, accesses[0])
            if reason is not None:
                return reason
        work = sum(count(access.variables()) for access in accesses)
        if node.op.kind == "elementwise" and work > RECOMPUTED * node.type.size:
            cluster.recomputed += 1
        for access in accesses:
            self.place(node, cluster, access)
        if stored:
            cluster.stores.append(Store(node, node, accesses[0], accesses[0].at))
        return None

    def duplicate(self, node: Node, kernels: dict[Cluster, list[Access]]) -> bool:
        """Compute a cheap node in each kernel that reads it, if that reads no more than storing it would."""
        if node in self.from_nothing:
            if len(kernels) > MAX_AGAIN:
                return False
        elif node.op.kind != "elementwise" or node.op.cost > 1 or len(node.src) > 2:
            return False
        elif not self.reads_memory_only(node):
            return False
        if any(self.refusal(node, c, a, False) is not None for c, a in kernels.items()):
            return False
        inputs = {x for x in node.src if x.op.kind != "leaf" or x.op is s.p.input_}
        if len(inputs) > 1 and sum(x.type.nbytes for x in inputs) > 2 * node.type.nbytes:
            return False
        self.join_all(node, kernels)
        return True

    def apart(self, node: Node, kernels: dict[Cluster, list[Access]]) -> bool:
        """Whether each kernel can compute a node, and one runs later than another: it would be kept until then."""
        return (
            len(kernels) <= MAX_AGAIN
            and all(self.refusal(node, cluster, accesses, False) is None for cluster, accesses in kernels.items())
            and any(self.reaches(set(kernels) - {cluster}, cluster) for cluster in kernels)
        )

    def join_all(self, node: Node, kernels: dict[Cluster, list[Access]]) -> None:
        for cluster, accesses in kernels.items():
            self.join(node, cluster, accesses, False)

    def bring_together(self, node: Node, kernels: dict[Cluster, list[Access]]) -> dict[Cluster, list[Access]]:
        """Merge the kernels that read a node where they run over the same positions."""
        merged: list[Cluster] = []
        for cluster in sorted(kernels, key=lambda c: c.id):
            for other in merged[-MAX_TRIES:]:
                a, b = kernels[other], kernels[cluster]
                if len(a) != 1 or len(b) != 1:
                    reason = "one of them reads it at several positions"
                else:
                    # their loops become one, and so do their positions
                    reason = self.merge(other, cluster, node, a[0], b[0])
                if reason is None:
                    break
                self.note(node, cluster, reason)
            else:
                merged.append(cluster)
        return {c: a for c, a in self.readers(node).items() if c.kind == "kernel"}

    def share_operand(self, node: Node) -> None:
        """Kernels that read the same buffer at the same positions become one, so that it is read once."""
        readers = {c: a for c, a in self.readers(node).items() if c.kind == "kernel"}
        if 1 < len(readers) <= 8 and node.type.size > 1:
            self.bring_together(node, readers)

    def sort(self) -> None:
        """Put the clusters in an order in which each comes after those that it reads from."""
        self.clusters = [cluster for cluster in self.clusters if cluster.merged_into is None]
        waiting: dict[Cluster, int] = dict.fromkeys(self.clusters, 0)
        following: dict[Cluster, set[Cluster]] = {}
        for cluster in self.clusters:
            following[cluster] = {find(x) for x in cluster.successors} - {cluster}
            for successor in following[cluster]:
                waiting[successor] += 1
        # results were visited first: the reverse of discovery is close to the order of the program
        ready = [c for c in self.clusters if not waiting[c]]
        ordered: list[Cluster] = []
        while ready:
            cluster = ready.pop()
            ordered.append(cluster)
            # what little waits for, such as a weight's gradient, goes first: the values that it reads may end there
            for successor in sorted(following[cluster], key=lambda c: (-c.height, c.id)):
                waiting[successor] -= 1
                if not waiting[successor]:
                    ready.append(successor)
        assert len(ordered) == len(self.clusters), "fusion made a cycle"
        self.clusters = ordered


def is_number(node: Node) -> bool:
    """Whether a node is a constant, a Python number or the position itself."""
    return node.op.kind == "leaf" and (node.value is None or node.op is p.scalar)


def fuse(roots: Sequence[Node], epilogues: Mapping[Node, Epilogue] | None = None) -> Fusion:
    """Group the nodes that ``roots`` need into kernels and library calls, in an order in which they can run."""
    fusion = Fusion(roots, epilogues or {})
    fusion.run()
    return fusion
