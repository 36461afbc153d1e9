"""Sums of matrix products: which become one buffer, the order of the sum, and the memory that this saves."""

from __future__ import annotations

import textwrap

import flamework
import graphs
import numpy as np
import pytest
from flamework.compiler import primitives as p, primitives_shape as s
from flamework.compiler.accumulate import accumulate
from flamework.compiler.ir import Node, format_program, verify
from flamework.compiler.rewrite import rewrite
from flamework.runtime import engine
from graphs import normal


def accumulated(*roots: Node) -> list[Node]:
    found = accumulate(rewrite(roots))
    verify(found)
    return found


def adding(*roots: Node) -> int:
    """How many products are added to others in place."""
    return format_program(accumulated(*roots)).count("dot_add(")


def product(seed: int, *shape: int, dtype: str = "float32") -> Node:
    m, k, n = shape
    return s.dot(normal(1, m, k, seed=seed, dtype=dtype), normal(1, k, n, seed=seed + 100, dtype=dtype))


def text(*roots: Node) -> str:
    return format_program(accumulated(*roots))


def test_a_sum_of_products_is_a_chain():
    total = p.add(p.add(product(1, 3, 4, 5), product(2, 3, 6, 5)), product(3, 3, 1, 5))
    assert text(total) == textwrap.dedent("""\
        %0 = input() : f32[1,3,1]
        %1 = input() : f32[1,1,5]
        %2 = input() : f32[1,3,6]
        %3 = input() : f32[1,6,5]
        %4 = input() : f32[1,3,4]
        %5 = input() : f32[1,4,5]
        %6 = dot(%4, %5) : f32[1,3,5]
        %7 = dot_add(%2, %3, %6) : f32[1,3,5]
        %8 = dot_add(%0, %1, %7) : f32[1,3,5]
        return %8""")


def test_products_are_added_in_the_order_in_which_they_can_be_computed():
    late = s.dot(p.exp(p.exp(normal(1, 2, 3))), normal(1, 3, 2))
    early = s.dot(normal(1, 2, 4), normal(1, 4, 2))
    assert text(s.reshape(p.add(late, early), params=(4,))) == textwrap.dedent("""\
        %0 = input() : f32[1,2,3]
        %1 = exp(%0) : f32[1,2,3]
        %2 = exp(%1) : f32[1,2,3]
        %3 = input() : f32[1,3,2]
        %4 = input() : f32[1,2,4]
        %5 = input() : f32[1,4,2]
        %6 = dot(%4, %5) : f32[1,2,2]
        %7 = dot_add(%2, %3, %6) : f32[1,2,2]
        %8 = reshape(%7) [4] : f32[4]
        return %8""")


def test_products_below_reshapes_and_sums_of_sums_are_one_chain():
    a, b, c, d = (s.reshape(product(i, 4, 3, 6), params=(4, 6)) for i in range(4))
    assert adding(p.add(p.add(a, b), p.add(c, d))) == 3


def test_a_product_that_something_else_reads_stays():
    a, b, c = (product(i, 4, 3, 6) for i in range(3))
    assert adding(p.add(a, b), p.neg(a)) == 0
    assert adding(p.add(a, b), a) == 0
    assert adding(p.add(a, a)) == 0
    partial = p.add(a, b)
    assert adding(p.add(partial, c), p.neg(partial)) == 1
    assert adding(p.add(partial, c), partial) == 1


def test_what_is_no_sum_of_equal_products_stays():
    a, b = product(1, 4, 3, 6), product(2, 6, 3, 4)
    assert adding(p.add(a, normal(1, 4, 6))) == 0
    assert adding(p.add(a, p.neg(product(2, 4, 3, 6)))) == 0
    assert adding(p.add(s.reshape(a, params=(24,)), s.reshape(b, params=(24,)))) == 0
    assert adding(p.add(a, s.swapped(product(2, 6, 3, 4)))) == 1  # the rewriter made it a product of transposes
    assert adding(p.sub(a, product(2, 4, 3, 6))) == 0


def test_windows_that_are_read_in_place_are_not_copied_for_a_sum():
    def windows(seed: int) -> Node:
        rows = s.unfold(normal(2, 3, 12, seed=seed), params=(2, 3, 1, 1))
        columns = s.reshape(s.permute(rows, params=(0, 1, 3, 2)), params=(2, 9, 10))
        return s.dot(s.expand(normal(1, 7, 9, seed=seed), params=(2, 7, 9)), columns)

    total = p.add(windows(1), windows(2))
    assert adding(total) == 0
    graphs.assert_matches_reference(total)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("shape", [(1, 1, 1), (3, 0, 5), (17, 33, 9), (130, 64, 70), (300, 2, 500)])
def test_the_values_are_those_of_the_sum(shape, dtype):
    products = [product(i, *shape, dtype=dtype) for i in range(5)]
    total = products[0]
    for other in products[1:]:
        total = p.add(total, other)
    graphs.assert_matches_reference(p.exp(p.scale(total, 0.01)), total, rtol=1e-4, atol=1e-4)


def test_transposed_and_strided_operands_are_added():
    a, b = normal(2, 8, 5), normal(2, 8, 6)
    c = s.slice_(normal(2, 5, 14, seed=1), params=((0, 0, 4), (1, 1, 1), (2, 5, 7)))
    d = s.slice_(normal(2, 7, 12, seed=2), params=((0, 0, 6), (1, 1, 1), (2, 7, 6)))
    total = p.add(s.dot(s.swapped(a), b), s.dot(c, d))
    assert adding(total) == 1
    graphs.assert_matches_reference(total)


def test_not_a_number_and_infinity_pass_through_a_sum():
    a = np.ones((1, 2, 2), np.float32)
    b = np.full((1, 2, 2), np.nan, np.float32)
    c = np.full((1, 2, 2), -np.inf, np.float32)
    ones = graphs.variable(np.eye(2, dtype=np.float32)[None])
    total = p.add(s.dot(graphs.variable(a), graphs.variable(b)), s.dot(ones, graphs.variable(a)))
    graphs.assert_matches_reference(total)
    total = p.add(s.dot(graphs.variable(a), graphs.variable(c)), s.dot(ones, graphs.variable(a)))
    (found,) = graphs.computed(total)
    assert (found == -np.inf).all()


def test_a_sum_may_begin_with_any_value_and_leaves_it_alone():
    a, b, before = normal(1, 20, 30), normal(1, 30, 10), normal(1, 20, 10)
    was = engine.read_node(before).copy()
    work = p.exp(before)
    graphs.assert_matches_reference(s.dot_add(a, b, work), s.dot_add(a, b, before), p.neg(work))
    np.testing.assert_array_equal(engine.read_node(before), was)


def test_a_sum_on_top_of_a_product_that_is_also_a_result_leaves_it_alone():
    first, a, b = product(1, 20, 30, 10), normal(1, 20, 30), normal(1, 30, 10)
    graphs.assert_matches_reference(s.dot_add(a, b, first), first)
    first = product(1, 20, 30, 10)
    graphs.assert_matches_reference(s.dot_add(a, b, first), p.neg(first))
    first = product(1, 20, 30, 10)
    graphs.assert_matches_reference(s.dot_add(a, b, first), s.dot_add(a, p.neg(b), first))


def recurrence(steps: int):
    """The plan of the gradient of a weight that is used so many times."""
    weight = flamework.full((64, 64), 0.01, requires_grad=True)
    x = flamework.ones(8, 64)
    flamework.realize(weight, x)
    for _ in range(steps):
        x = (x @ weight).tanh()
    x.sum().backward()
    plans = []
    with engine.observed(lambda roots, plan: plans.append(plan)):
        flamework.realize(weight.grad)
    return plans[0], weight


def test_the_gradient_of_a_weight_in_a_loop_takes_the_memory_of_one_product():
    few, many = recurrence(4)[0], recurrence(12)[0]
    weight, state = 64 * 64 * 4, 8 * 64 * 4
    assert many.arena_bytes - few.arena_bytes <= 8 * 3 * state
    assert many.arena_bytes < 3 * weight + 13 * 3 * state
    assert sum(item.clusters[0].node.op is s.dot_add for item in many.items if item.kind == "dot") == 11


def test_the_gradient_of_a_weight_in_a_loop_is_pytorchs():
    torch = pytest.importorskip("torch")
    _, found = recurrence(6)
    weight = torch.full((64, 64), 0.01, requires_grad=True)
    x = torch.ones(8, 64)
    for _ in range(6):
        x = (x @ weight).tanh()
    x.sum().backward()
    np.testing.assert_allclose(found.grad.numpy(), weight.grad.numpy(), rtol=1e-5)
