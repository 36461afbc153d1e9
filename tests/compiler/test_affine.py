"""Index arithmetic against NumPy: every position that an access names is looked up in an array of row numbers."""

from __future__ import annotations

import itertools
import math

import graphs
import numpy as np
import pytest
from flamework.compiler import primitives_shape as s
from flamework.compiler.affine import (
    Access,
    Expr,
    Guard,
    Indirect,
    Var,
    count,
    covers,
    linear,
    of,
    pull,
    reshape_at,
    resolve,
    split,
    spread,
    strides_of,
)
from flamework.compiler.ir import Node, topological
from hypothesis import given, settings, strategies as st

PROFILE = settings(derandomize=True, max_examples=200, deadline=None, database=None)

extents = st.integers(1, 6)
shapes = st.lists(extents, min_size=0, max_size=4).map(tuple)


def values_of(variables: list[Var], numbers: tuple[int, ...]) -> dict[Var, int]:
    """The value of every live variable where the original ones have these values."""
    known: dict[Var, int] = {}
    pending = list(zip(variables, numbers))
    while pending:
        v, number = pending.pop()
        if v.becomes is None:
            known[v] = number
            continue
        # what v was replaced by is a mixed radix number: its digits, from the largest
        for part, weight in sorted(v.becomes.terms.items(), key=lambda term: -term[1]):
            pending.append((part, number // weight))
            number %= weight
        assert number == 0
    return known


def evaluated(expr: Expr, known: dict[Var, int]) -> int:
    expr = resolve(expr)
    return expr.const + sum(c * known[v] for v, c in expr.terms.items())


def read(array: np.ndarray, access: Access, known: dict[Var, int]):
    """What an access reads: the padding's value where a guard fails, the outermost pad first."""
    for guard in access.guards:
        if not 0 <= evaluated(guard.expr, known) < guard.extent:
            return guard.fill
    return array[tuple(evaluated(e, known) for e in access.at)]


def everything_read(array: np.ndarray, access: Access, variables: list[Var], shape: tuple[int, ...]) -> np.ndarray:
    result = np.empty(shape, array.dtype)
    for numbers in np.ndindex(*shape):
        result[numbers] = read(array, access, values_of(variables, numbers))
    return result


# -------------------------------------------------------------------------------------------------------- expressions


def test_expressions_add_and_scale_and_drop_what_cancels():
    u, v = Var(3), Var(4)
    e = of(u) * 2 + of(v).shift(5)
    assert (e.const, e.terms) == (5, {u: 2, v: 1})
    assert (e + of(u) * -2).terms == {v: 1}
    assert (e * 0).key() == Expr(0).key()
    assert (e + e).key() == (e * 2).key()
    assert e.range() == (5, 12)
    assert (e * -1).range() == (-12, -5)
    assert of(Var(1)).terms == {}
    assert count([u, v]) == 12


def test_a_split_variable_is_replaced_wherever_it_stood():
    v = Var(12)
    e = (of(v) * 2).shift(1)
    hi, lo = split(v, 4)
    inner, _ = split(lo, 2)
    assert (hi.extent, lo.extent, inner.extent) == (3, 4, 2)
    assert e.terms == {v: 2}
    assert [c for _, c in sorted(resolve(e).terms.items(), key=lambda t: -t[1])] == [8, 4, 2]


@PROFILE
@given(shapes)
def test_linear_is_the_row_major_offset(shape):
    variables = [Var(extent) for extent in shape]
    offset = linear([of(v) for v in variables], shape)
    assert strides_of(shape) == tuple(math.prod(shape[a + 1 :]) for a in range(len(shape)))
    for numbers in np.ndindex(*shape):
        wanted = int(np.ravel_multi_index(numbers, shape)) if shape else 0
        assert evaluated(offset, values_of(variables, numbers)) == wanted


# ----------------------------------------------------------------------------------------------------------- reshapes


@st.composite
def refactored(draw):
    """Two shapes that merge neighbours of one list of factors in two ways."""
    factors = draw(st.lists(st.integers(1, 4), min_size=1, max_size=5))

    def merged():
        cuts = sorted(draw(st.sets(st.integers(1, max(1, len(factors) - 1)), max_size=4)))
        cuts = [c for c in cuts if c < len(factors)]
        return tuple(math.prod(factors[a:b]) for a, b in zip([0, *cuts], [*cuts, len(factors)]))

    return merged(), merged()


@PROFILE
@given(refactored())
def test_a_reshape_along_common_factors_never_needs_a_division(pair):
    shape, target = pair
    variables = [Var(extent) for extent in shape]
    at = reshape_at([of(v) for v in variables], shape, target)
    assert at is not None
    assert_same_elements(at, variables, shape, target)


def assert_same_elements(at, variables, shape, target) -> None:
    for row, numbers in enumerate(np.ndindex(*shape)):
        known = values_of(variables, numbers)
        position = tuple(evaluated(e, known) for e in at)
        assert all(0 <= x < n for x, n in zip(position, target))
        assert (int(np.ravel_multi_index(position, target)) if target else 0) == row


def all_shapes(size: int) -> list[tuple[int, ...]]:
    found = {()} if size == 1 else set()
    for rank in (1, 2, 3):
        found |= {t for t in itertools.product(range(1, size + 1), repeat=rank) if math.prod(t) == size}
    return sorted(found)


@pytest.mark.parametrize("size", [1, 6, 12])
def test_every_reshape_is_right_or_refused(size):
    refused = 0
    for shape, target in itertools.product(all_shapes(size), repeat=2):
        variables = [Var(extent) for extent in shape]
        at = reshape_at([of(v) for v in variables], shape, target)
        if at is None:
            refused += 1
        else:
            assert_same_elements(at, variables, shape, target)
    assert (refused > 0) == (size > 1)  # 2 x 3 as 3 x 2 needs a division


def test_an_axis_that_a_reshape_leaves_alone_may_carry_any_expression():
    i, j = Var(5), Var(6)
    indirect = Expr(0, {Indirect(graphs.indices(3, below=7), Access([Expr(0)])): 1})
    at = reshape_at([indirect, of(i) * -1, of(j)], (7, 5, 6), (7, 1, 5, 2, 3))
    assert at[0].key() == indirect.key()
    assert at[1].key() == Expr(0).key()
    assert at[2].key() == (of(i) * -1).key()
    assert linear(at[3:], (2, 3)).key() == resolve(of(j)).key()


def test_what_crosses_an_axis_at_no_multiple_of_it_is_not_spread():
    assert spread(of(Var(12)) * 2, (5, 7)) is None
    assert spread(of(Var(4)) * -1, (2, 2)) is None
    assert spread(of(Var(3)).shift(1), (2, 2)) is None  # 1, 2, 3: no product of digits
    assert [e.const for e in spread(Expr(5), (2, 3))] == [1, 2]


@PROFILE
@given(shapes, st.data())
def test_what_is_spread_has_the_same_offset_inside_the_shape(shape, data):
    """Whatever expression: the positions lie in the shape and their offset is the expression."""
    variables = [Var(data.draw(st.integers(2, 6))) for _ in range(data.draw(st.integers(0, 3)))]
    position = Expr(data.draw(st.integers(0, 4)) if shape else 0)
    for v in variables:
        position = position + of(v) * data.draw(st.integers(1, 12))
    at = spread(position, shape)
    if at is None:
        return
    for numbers in np.ndindex(*[v.extent for v in variables]):
        known = values_of(variables, numbers)
        digits = [evaluated(e, known) for e in at]
        assert all(0 <= d < n for d, n in zip(digits, shape))
        assert sum(d * step for d, step in zip(digits, strides_of(shape))) == evaluated(position, known)


# ----------------------------------------------------------------------------------------------------------- movement


@st.composite
def moved(draw) -> tuple[Node, list[Node]]:
    """A chain of movement rows on an input that numbers its elements, and the nodes from the input up."""
    shape = draw(shapes)
    node = graphs.variable(np.arange(math.prod(shape), dtype=np.float64).reshape(shape))
    for _ in range(draw(st.integers(1, 5))):
        step = draw(st.sampled_from(MOVES))(draw, node)
        if step is not None and step.type.size <= 400:
            node = step
    return node, topological([node])


def reshape_step(draw, x: Node) -> Node:
    size = x.type.size
    first = draw(st.sampled_from([d for d in range(1, size + 1) if size % d == 0] or [0]))
    return s.reshape(x, params=(first, size // first) if first else x.shape)


def permute_step(draw, x: Node) -> Node:
    return s.permute(x, params=tuple(draw(st.permutations(range(x.ndim)))))


def expand_step(draw, x: Node) -> Node:
    wide = s.reshape(x, params=(1, *x.shape))
    return s.expand(wide, params=(draw(st.integers(1, 3)), *x.shape))


def slice_step(draw, x: Node) -> Node:
    starts = [draw(st.integers(0, extent - 1)) for extent in x.shape]
    steps = [draw(st.integers(1, 3)) for _ in x.shape]
    counts = [draw(st.integers(1, -(-(e - a) // d))) for e, a, d in zip(x.shape, starts, steps)]
    return s.slice_(x, params=(tuple(starts), tuple(steps), tuple(counts)))


def flip_step(draw, x: Node) -> Node:
    return s.flip(x, params=tuple(a for a in range(x.ndim) if draw(st.booleans())))


def pad_step(draw, x: Node) -> Node:
    low, high = (tuple(draw(st.integers(0, 2)) for _ in x.shape) for _ in range(2))
    return s.pad(x, params=(low, high, float(draw(st.integers(-3, -1)))))


def unfold_step(draw, x: Node) -> Node | None:
    if not x.ndim:
        return None
    axis = draw(st.integers(0, x.ndim - 1))
    size, dilation = draw(st.integers(1, 2)), draw(st.integers(1, 2))
    if (size - 1) * dilation + 1 > x.shape[axis]:
        return None
    return s.unfold(x, params=(axis, size, draw(st.integers(1, 2)), dilation))


def strided_step(draw, x: Node) -> Node | None:
    if x.ndim != 1:
        return None
    offset, stride = draw(st.integers(0, x.type.size - 1)), draw(st.integers(0, 2))
    rows = draw(st.integers(1, 3))
    if offset + (rows - 1) * stride >= x.type.size:
        return None
    return s.as_strided(x, params=((rows, 1), (stride, 1), offset))


MOVES = [
    reshape_step, permute_step, expand_step, slice_step, flip_step, pad_step, unfold_step, strided_step,
    lambda draw, x: s.copy(x),
]  # fmt: skip


@PROFILE
@given(moved())
def test_a_position_below_movement_names_the_element_that_numpy_moved_there(drawn):
    node, chain = drawn
    variables = [Var(extent) for extent in node.shape]
    access = Access([of(v) for v in variables])
    for upper in reversed(chain[1:]):
        below = pull(upper, access.resolved())
        if below is None:
            assert upper.op is s.reshape
            return
        access = below
    (wanted,) = graphs.expected(node)
    found = everything_read(graphs.engine.read_node(chain[0]), access, variables, node.shape)
    np.testing.assert_array_equal(found, wanted)


def test_the_padding_of_the_outer_of_two_pads_counts_outside_it():
    x = graphs.variable(np.arange(2.0))
    node = s.pad(s.pad(x, params=((1,), (1,), -1.0)), params=((2,), (0,), -2.0))
    variable = Var(6)
    access = pull(node.src[0], pull(node, Access([of(variable)])))
    assert [g.fill for g in access.guards] == [-2.0, -1.0]
    found = everything_read(np.arange(2.0), access, [variable], (6,))
    assert found.tolist() == graphs.expected(node)[0].tolist() == [-2, -2, -1, 0, 1, -1]


# ------------------------------------------------------------------------------------------------------------- covers


def visits_once(access: Access, shape: tuple[int, ...]) -> bool:
    """By running over all values of the variables that the access names."""
    variables = sorted(access.variables(), key=lambda v: v.id)
    seen = np.zeros(shape, int)
    for numbers in np.ndindex(*[v.extent for v in variables]):
        known = dict(zip(variables, numbers))
        at = [evaluated(e, known) for e in access.at]
        if any(not 0 <= x < n for x, n in zip(at, shape)):
            return False
        seen[tuple(at)] += 1
    return bool((seen == 1).all())


@PROFILE
@given(moved())
def test_what_covers_a_tensor_visits_every_element_once(drawn):
    node, chain = drawn
    access = Access([of(Var(extent)) for extent in node.shape])
    for upper in reversed(chain[1:]):
        assert not covers(access, upper.shape) or visits_once(access, upper.shape)
        access = pull(upper, access.resolved())
        if access is None:
            return
    assert not covers(access, chain[0].shape) or visits_once(access, chain[0].shape)


@PROFILE
@given(shapes, st.data())
def test_permutations_and_reshapes_cover_what_they_move(shape, data):
    x = graphs.variable(np.zeros(shape))
    node = permute_step(data.draw, reshape_step(data.draw, permute_step(data.draw, x)))
    access = Access([of(Var(extent)) for extent in node.shape])
    while node is not x:
        assert covers(access, node.shape)
        access = pull(node, access)
        if access is None:
            return
        node = node.src[0]
    assert covers(access, shape)


@pytest.mark.parametrize(
    "at",
    [
        lambda i, j: [of(i), of(i)],  # a diagonal
        lambda i, j: [of(i), Expr(0)],  # one column
        lambda i, j: [of(i), of(j) * -1],  # leaves the tensor
        lambda i, j: [of(i), of(j).shift(1)],
        lambda i, j: [of(i), of(j) * 2],
    ],
)
def test_what_misses_elements_does_not_cover(at):
    i, j = Var(4), Var(4)
    assert covers(Access([of(i), of(j)]), (4, 4))
    assert not covers(Access(at(i, j)), (4, 4))


def test_guarded_and_indirect_accesses_do_not_cover():
    i = Var(4)
    assert not covers(Access([of(i)], (Guard(of(i), 4, 0.0),)), (4,))
    index = graphs.indices(4, below=4)
    assert not covers(Access([Expr(0, {Indirect(index, Access([of(i)])): 1})]), (4,))


def test_an_indirect_access_depends_on_the_variables_of_its_index():
    i, j = Var(4), Var(5)
    index = graphs.indices(4, below=9)
    access = Access([Expr(0, {Indirect(index, Access([of(i)])): 1}), of(j)])
    assert access.is_indirect()
    assert access.variables() == {i, j}
    assert access.at[0].range() is None
    same = Access([Expr(0, {Indirect(index, Access([of(i)])): 1}), of(j)])
    assert access.key() == same.key()
