"""What one kernel computes: the clusters that fusion builds and lowering turns into loops.

A :class:`Cluster` holds nodes with the positions at which they are computed, the results that it stores, and its chain
of loop variables (see ``fusion.py``). Library calls are clusters of one node; the operands of a matrix product are
described by strides (:class:`Matrix`), or of several axes an index (:class:`Indexed`), so that a transposed or sliced
operand, or the windows of an image, are read where they lie.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from . import primitives_shape as s
from .affine import Access, Expr, Var, of, resolve, strides_of
from .dtypes import FLOATING
from .epilogues import Epilogue
from .ir import Node

_ids = itertools.count()


@dataclass(slots=True)
class Store:
    """A result that a kernel writes: ``value`` goes to position ``at`` of the buffer of ``target``."""

    target: Node
    value: Node
    access: Access
    at: tuple[Expr, ...]
    mode: str = "set"


@dataclass(slots=True)
class Reduction:
    """Where a reduction runs: ``outer`` are the variables of its result, ``inner`` those that it sums over."""

    outer: frozenset[Var]
    inner: list[Var]
    axes: tuple[Expr, ...]


@dataclass(slots=True)
class Border:
    """A value that goes through memory although both sides are kernels, and why."""

    producer: Node
    consumer: Cluster | None
    reason: str


Axes = list[tuple[int, int]]


@dataclass(slots=True)
class Matrix:
    """An operand ``[batch, rows, columns]`` of a matrix product: where it starts in a buffer and its strides.

    The batch may be two axes of the buffer: ``(extent, stride)`` of each, the outer first.
    """

    base: Node
    offset: int
    batch: list[tuple[int, int]]
    rows: int
    columns: int

    def is_usable(self, shape: Sequence[int]) -> bool:
        """Whether the library can read it: one of the last two axes contiguous, the other at least as far apart."""
        _, rows, columns = shape
        plain = (columns == 1 or self.columns == 1) and (rows == 1 or self.rows >= columns)
        swapped = (rows == 1 or self.rows == 1) and (columns == 1 or self.columns >= rows)
        return len(self.batch) <= 2 and (plain or swapped)

    def axes(self, shape: Sequence[int]) -> tuple[Axes, Axes, Axes]:
        """Its three indices as axes of the buffer, for an operand of this shape."""
        _, rows, columns = shape
        return list(self.batch) or [(1, 0)], [(rows, self.rows)], [(columns, self.columns)]

    def key(self) -> tuple:
        """The same for operands that are the same elements in the same order."""
        return self.base, self.offset, tuple(self.batch), self.rows, self.columns

    def batch_strides(self, inner: int) -> tuple[int, int] | None:
        """Strides of the batch as axes of any size and of ``inner``; None if it is not divided there."""
        if len(self.batch) == 2:
            return (self.batch[0][1], self.batch[1][1]) if self.batch[1][0] == inner else None
        stride = self.batch[0][1] if self.batch else 0
        return (stride * inner, stride)


@dataclass(slots=True)
class Indexed:
    """An operand ``[batch, rows, columns]`` of a product that no strides describe, such as sliding windows.

    Each of its three indices is several axes of the buffer: ``(extent, stride)`` of each, the outer first.
    """

    base: Node
    offset: int
    axes: tuple[Axes, Axes, Axes]


@dataclass(frozen=True, slots=True)
class Strided:
    """An operand of a library: the buffer that it is read from, where it begins, and how far apart its elements are."""

    base: Node
    offset: int
    strides: tuple[int, ...]


class Cluster:
    """The nodes of one kernel, or one library call (``kind`` ``dot``, ``convolve``, ``attention``, ``sort`` or
    ``library``).

    Attributes:
        stores: what it writes.
        values: the accesses at which each of its nodes is computed.
        chain: sets of loop variables, each contained in the next.
        reductions: for each reduction and scan at its access, the loops that it runs over.
        loaded: how many matrix products it reads.
        successors, predecessors: what has to run after it and before it.
        height: larger than that of every successor, so that a search for one that runs later can stop early.
        epilogue: of a product, what is done to it before it is stored as ``node``.
        results: what a call computes: ``node``, and of attention what comes with it.
    """

    def __init__(self, kind: str = "kernel") -> None:
        self.id = next(_ids)
        self.kind = kind
        self.stores: list[Store] = []
        self.values: dict[Node, list[Access]] = {}
        self.chain: list[frozenset[Var]] = []
        self.reductions: dict[Node, Reduction] = {}
        self.operations = 0
        self.recomputed = 0
        self.loaded = 0
        self.operands: set[Node] = set()
        self.successors: set[Cluster] = set()
        self.predecessors: set[Cluster] = set()
        self.height = 0
        self.merged_into: Cluster | None = None
        self.node: Node | None = None
        self.matrices: list[Matrix | Indexed] = []
        self.strided: list[Strided] = []
        self.results: list[Node] = []
        self.epilogue: Epilogue | None = None

    @property
    def product(self) -> Node:
        """The product that is computed."""
        return self.node if self.epilogue is None else self.epilogue.product

    def sets(self) -> list[frozenset[Var]]:
        """The chain in terms of live variables."""
        self.chain = [live(v) for v in self.chain]
        return self.chain

    def insert(self, variables: frozenset[Var]) -> bool:
        """Add a set to the chain if it fits between the others."""
        sets = self.sets()
        if variables in sets:
            return True
        if any(not (variables <= other or other <= variables) for other in sets):
            return False
        self.chain = sorted([*sets, variables], key=len)
        return True

    def fits(self, variables: frozenset[Var]) -> bool:
        sets = self.sets()
        return all(variables <= other or other <= variables for other in sets)

    def would_divide_sums(self, sets: Iterable[frozenset[Var]]) -> bool:
        """Whether a loop over one of ``sets`` would cut the loop of a sum here, and so change its last bits: what a
        result is must not depend on what is computed beside it."""
        new = [variables for variables in sets if variables not in self.sets()]
        for node, reduction in self.reductions.items():
            if node.op in (s.reduce_sum, s.reduce_prod) and node.dtype.kind == FLOATING:
                outer = live(reduction.outer)
                whole = outer | live(frozenset(reduction.inner))
                if any(outer < variables < whole for variables in new):
                    return True
        return False

    def __repr__(self) -> str:
        return f"<cluster {self.id} {self.kind} {[st.target.op.name for st in self.stores]}>"


def live(variables: frozenset[Var]) -> frozenset[Var]:
    if all(v.becomes is None for v in variables):
        return variables
    found: set[Var] = set()
    for v in variables:
        found |= {u for u in resolve(of(v)).terms if isinstance(u, Var)}
    return frozenset(found)


def find(cluster: Cluster) -> Cluster:
    while cluster.merged_into is not None:
        cluster = cluster.merged_into
    return cluster


def axis_strides(v: Var, offset: Expr) -> list[tuple[int, int]]:
    """Extents and strides in a buffer of the parts into which an axis was split, the outer first."""
    parts = sorted(resolve(of(v)).terms.items(), key=lambda term: -term[1])
    merged: list[tuple[int, int]] = []
    for part, _ in parts:
        stride = offset.terms.get(part, 0)
        if merged and merged[-1][1] == stride * part.extent:
            merged[-1] = (merged[-1][0] * part.extent, stride)
        else:
            merged.append((part.extent, stride))
    return merged


def contiguous_matrix(source: Node) -> Matrix:
    batch, rows, columns = strides_of(source.shape)
    return Matrix(source, 0, [(source.shape[0], batch)], rows, columns)
