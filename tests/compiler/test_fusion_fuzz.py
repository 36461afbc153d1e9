"""Random programs: whatever is fused, the engine computes what the references say.

Each program mixes elementwise rows, broadcasting, movement, reductions, scans, indexing, matrix products and writes
on a few small inputs, asks for several results, and every other one for gradients too. The seeds are fixed. To look at
one: ``python tests/compiler/test_fusion_fuzz.py 77`` prints the program, its kernels and what differs.
"""

from __future__ import annotations

import random
import sys

import graphs
import numpy as np
import pytest
from flamework.compiler import autodiff, dtypes, primitives as p, primitives_shape as s
from flamework.compiler.ir import Node, format_program, verify
from flamework.compiler.reference import evaluate

GRAPHS, BATCH = 140, 10
SMALL = [(4, 6), (6,), (3, 4, 6), (4, 1), (24,), (2, 3, 4), (5,)]
# more than a tile, a block of a sum or a vector
WIDE = [(40, 66), (66,), (3, 40, 66), (40, 1), (2640,), (66, 40), (130,)]

UNARY = [p.neg, p.exp, p.tanh, p.sigmoid, p.relu, p.abs, p.sin, p.sqrt]
BINARY = [p.add, p.mul, p.sub, p.maximum, p.minimum]
REDUCTIONS = [s.reduce_sum, s.reduce_sum, s.reduce_max, s.reduce_min, s.reduce_prod]


class Generator:
    """Makes random nodes on top of each other."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.numbers = np.random.default_rng(seed)
        self.shapes, self.largest = (WIDE, 40_000) if seed % 5 == 4 else (SMALL, 3000)
        self.pool = [self.input() for _ in range(3)]

    def input(self) -> Node:
        shape = self.rng.choice(self.shapes)
        return graphs.variable((self.numbers.random(shape) + 0.1).astype("f"), True)

    def grow(self, count: int) -> None:
        steps = [
            (25, self.unary), (25, self.binary), (6, self.number), (5, self.where), (15, self.reduce),
            (7, self.permute), (7, self.reshape), (5, self.slice), (4, self.pad), (2, self.flip), (2, self.unfold),
            (2, self.cat), (3, self.index), (2, self.cumsum), (2, self.update), (2, self.dot), (2, self.convert),
            (1, self.iota),
        ]  # fmt: skip
        weights = [weight for weight, _ in steps]
        for _ in range(count):
            (step,) = self.rng.choices([step for _, step in steps], weights)
            node = step(self.rng.choice(self.pool))
            if node is not None and node.type.size <= self.largest:
                self.pool.append(node)

    def other(self, x: Node) -> tuple[Node, Node] | None:
        """``x`` and another node, broadcast against each other."""
        y = self.rng.choice(self.pool)
        try:
            shape = np.broadcast_shapes(x.shape, y.shape)
        except ValueError:
            return None
        return s.broadcast_to(x, shape), s.broadcast_to(y, shape)

    def axis(self, x: Node) -> int:
        return self.rng.randrange(x.ndim)

    def unary(self, x: Node) -> Node:
        return self.rng.choice(UNARY)(x)

    def binary(self, x: Node) -> Node | None:
        pair = self.other(x)
        return pair and self.rng.choice(BINARY)(*pair)

    def number(self, x: Node) -> Node:
        value = self.rng.choice([0.5, 1.5, -2.0])
        other = graphs.number(value, x.shape) if self.rng.random() < 0.5 else graphs.const(x, value)
        return self.rng.choice([p.add, p.mul, p.div])(x, other)

    def where(self, x: Node) -> Node | None:
        pair = self.other(x)
        return pair and p.where(self.rng.choice([p.lt, p.le])(*pair), *pair[::-1])

    def reduce(self, x: Node) -> Node | None:
        if not x.ndim:
            return None
        axes = tuple(sorted(self.rng.sample(range(x.ndim), self.rng.randint(1, x.ndim))))
        y = self.rng.choice(REDUCTIONS)(x, params=axes)
        return s.back(y, axes, x.shape) if self.rng.random() < 0.5 else y

    def permute(self, x: Node) -> Node:
        return s.permute(x, params=tuple(self.rng.sample(range(x.ndim), x.ndim)))

    def reshape(self, x: Node) -> Node:
        first = self.rng.choice([d for d in range(1, x.type.size + 1) if x.type.size % d == 0])
        return s.reshape(x, params=(first, x.type.size // first))

    def slice(self, x: Node) -> Node:
        steps = [self.rng.randint(1, 2) for _ in x.shape]
        starts = [self.rng.randint(0, extent - 1) for extent in x.shape]
        counts = [self.rng.randint(1, -(-(e - a) // d)) for e, a, d in zip(x.shape, starts, steps)]
        return s.slice_(x, params=(tuple(starts), tuple(steps), tuple(counts)))

    def pad(self, x: Node) -> Node:
        low, high = (tuple(self.rng.randint(0, 2) for _ in x.shape) for _ in range(2))
        return s.pad(x, params=(low, high, self.rng.choice([0.0, 1.5])))

    def flip(self, x: Node) -> Node | None:
        return s.flip(x, params=(self.axis(x),)) if x.ndim else None

    def unfold(self, x: Node) -> Node | None:
        if not x.ndim or x.shape[axis := self.axis(x)] < 2:
            return None
        return s.unfold(x, params=(axis, 2, self.rng.randint(1, 2), 1))

    def cat(self, x: Node) -> Node | None:
        return s.cat(x, p.neg(x), params=(self.axis(x),)) if x.ndim else None

    def index(self, x: Node) -> Node | None:
        """A gather, and sometimes a scatter of what was gathered."""
        if not x.ndim:
            return None
        axis = self.axis(x)
        shape = list(x.shape)
        shape[axis] = self.rng.randint(1, 5)
        index = graphs.variable(self.numbers.integers(0, x.shape[axis], shape))
        if self.rng.random() < 0.3:
            index = p.wrap_index(index, graphs.number(x.shape[axis], shape, dtypes.int64))
        y = s.gather(x, index, params=(axis,))
        return s.scatter(x, index, y, params=(axis, "add")) if self.rng.random() < 0.4 else y

    def cumsum(self, x: Node) -> Node | None:
        return s.cumsum(x, params=(self.axis(x),)) if x.ndim else None

    def update(self, x: Node) -> Node:
        counts = tuple(self.rng.randint(1, extent) for extent in x.shape)
        zeros, ones = (0,) * x.ndim, (1,) * x.ndim
        return s.update(x, p.neg(s.slice_(x, params=(zeros, ones, counts))), params=(zeros, ones))

    def dot(self, x: Node) -> Node | None:
        if x.ndim < 2:
            return None
        x = s.reshape(x, params=(x.type.size // (x.shape[-1] * x.shape[-2]), *x.shape[-2:]))
        return s.dot(x, s.swapped(x)) if self.rng.random() < 0.5 else s.dot(s.swapped(x), p.tanh(x))

    def convert(self, x: Node) -> Node:
        return p.cast(p.cast(x, params=(dtypes.float64,)), params=(dtypes.float32,))

    def iota(self, x: Node) -> Node | None:
        return p.mul(x, graphs.iota(x.shape, self.axis(x), dtypes.float32)) if x.ndim else None


def program(seed: int, count: int = 25) -> list[Node]:
    """The results of the program of a seed."""
    generator = Generator(seed)
    generator.grow(count)
    made = [node for node in generator.pool if node.src]
    if not made:
        return []
    roots = generator.rng.sample(made, min(len(made), generator.rng.randint(1, 4)))
    if seed % 2 and roots[-1].requires_grad:
        roots += autodiff.vjp([roots[-1]], [graphs.const(roots[-1], 1)], retain_graph=True).values()
    return [root for root in dict.fromkeys(roots) if root.value is None]


def references(roots: list[Node]) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """What the results should be, and how far they may be off: as far as they move when the inputs are rounded
    otherwise, which tells a program that magnifies errors from one that is computed wrongly."""
    signs = np.random.default_rng(0)

    def nearby(node: Node) -> np.ndarray:
        array = graphs.engine.read_node(node)
        return array * (1 + 1e-6 * signs.choice([-1, 1], array.shape)).astype("f") if array.dtype.kind == "f" else array

    wanted = graphs.expected(*roots)
    moved = evaluate(roots, nearby)
    with np.errstate(all="ignore"):
        return wanted, [2e-3 + 2e-3 * np.abs(a) + 10 * np.abs(a - b) for a, b in zip(wanted, moved)]


def differences(roots: list[Node], wanted: list[np.ndarray], allowed: list[np.ndarray]) -> list[str]:
    """Compute the results; say which are wrong. Values that overflow somewhere on the way are left out."""
    wrong = []
    for root, a, most, b in zip(roots, wanted, allowed, graphs.computed(*roots)):
        usable = np.isfinite(a) & (np.abs(a) < 1e20) & np.isfinite(most)
        if not (np.abs(b[usable] - a[usable]) <= most[usable]).all():
            wrong.append(f"{root.op.name} {root.type}\nwanted\n{a}\nfound\n{b}")
    return wrong


@pytest.mark.parametrize("start", range(0, GRAPHS, BATCH))
def test_random_programs_compute_what_the_references_say(start):
    for seed in range(start, start + BATCH):
        roots = program(seed)
        verify(roots)
        graphs.check(graphs.fused(*roots))
        wrong = differences(roots, *references(roots))
        assert not wrong, f"seed {seed}: {wrong[0]}"


@pytest.mark.parametrize("seed", range(4, 60, 5))
def test_the_bits_of_a_result_do_not_depend_on_the_other_results(seed):
    together = graphs.computed(*program(seed))
    for k, array in enumerate(together):
        (alone,) = graphs.computed(program(seed)[k])
        np.testing.assert_array_equal(alone, array)


def main(seed: int) -> None:
    roots = program(seed)
    print(format_program(roots))
    limits = references(roots)
    plan = graphs.plan_of(*roots)
    print(format_program(plan.roots))
    print(graphs.describe(plan.fusion))
    for item in plan.items:
        for lowered in item.lowered[:1]:
            print(lowered.kernel)
            print(item.source)
    print(*differences(roots, *limits), sep="\n")


if __name__ == "__main__":
    main(int(sys.argv[1]))
