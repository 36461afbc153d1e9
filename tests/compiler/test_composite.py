"""Composites: formulas recorded as one node, and backward passes recorded once."""

from __future__ import annotations

import flamework as torch
import numpy as np
import pytest
from flamework.compiler import composite as c, gradient, primitives as p, primitives_shape as s
from flamework.compiler.dtypes import float32
from flamework.compiler.ir import Node, format_program, tensor_type
from flamework.compiler.reference import evaluate
from flamework.nn import functional as F
from flamework.recording import input_node, node_of, scalar_node
from flamework.runtime.counters import counters


def value(*elements) -> Node:
    return input_node(np.array(elements, np.float32))


def computed(node: Node) -> list[float]:
    c.write_out_all([node])
    return evaluate([node], lambda n: n.value.as_numpy(n.dtype.numpy, n.shape))[0].tolist()


calls = []


@c.composite
def scaled_sum(x: Node, y: Node | None, factor: float) -> Node:
    calls.append(factor)
    scaled = p.mul(x, scalar_node(factor, x.type))
    return scaled if y is None else p.add(scaled, y)


@c.composite
def both(x: Node, y: Node) -> tuple[Node, ...]:
    return p.add(x, y), x, p.add(x, y)


def test_a_formula_is_traced_once_for_each_types_and_parameters():
    calls.clear()
    for _ in range(3):
        node = scaled_sum(value(1, 2), value(10, 20), 3.0)
        assert node.op is c.call and computed(node) == [13.0, 26.0]
    assert calls == [3.0]
    assert computed(scaled_sum(value(1, 2), None, 3.0)) == [3.0, 6.0]
    assert computed(scaled_sum(value(1, 2, 3), None, 3.0)) == [3.0, 6.0, 9.0]
    assert computed(scaled_sum(value(1, 2), None, 4.0)) == [4.0, 8.0]
    assert calls == [3.0, 3.0, 3.0, 4.0]


def test_numbers_of_a_formula_are_operands_of_the_call():
    node = scaled_sum(value(1, 2), None, 3.0)
    assert [x.op for x in node.src] == [p.input_, p.scalar]
    assert node.src[1].value == 3.0


def test_results_are_nodes_of_their_own_even_if_they_are_equal():
    x = value(1, 2)
    total, same, again = both(x, value(3, 4))
    assert len({total, same, again, x}) == 4
    assert [computed(n) for n in (total, same, again)] == [[4.0, 6.0], [1.0, 2.0], [4.0, 6.0]]


def test_results_that_are_written_out_together_share_what_they_are_computed_from():
    @c.composite
    def sum_and_negative(x: Node, y: Node) -> tuple[Node, ...]:
        total = p.add(x, y)
        return p.exp(total), p.neg(total)

    results = sum_and_negative(value(1, 2), value(3, 4))
    c.write_out_all(results)
    assert results[0].src[0] is results[1].src[0]


def test_types_are_known_before_anything_is_written_out():
    node = scaled_sum(value(1, 2), None, 2.0)
    assert node.type is tensor_type((2,), float32)
    assert "call(" in format_program([node]) and "scaled_sum" in format_program([node])


def test_a_gradient_looks_through_a_composite():
    x = torch.ones(3, requires_grad=True)
    node = scaled_sum(node_of(x), None, 5.0)
    assert node.requires_grad
    (found,) = gradient.gradients([node], [value(1, 2, 3)]).values()
    assert computed(found) == [5.0, 10.0, 15.0]


# ------------------------------------------------------------------------------------------------ remembered gradients


def chain(x, y):
    return ((x * y).tanh() @ y).sum() + x.sum()


def test_a_pass_through_an_equal_graph_is_made_once():
    torch.manual_seed(0)
    for _ in range(3):
        x, y = (torch.rand(4, 4).requires_grad_() for _ in range(2))
        chain(x, y).backward()
        before = len(gradient._PASSES)
        x2, y2 = (t.detach().clone().requires_grad_() for t in (x, y))
        chain(x2, y2).backward()
        assert len(gradient._PASSES) == before
        again = torch.autograd.grad(chain(x, y), (x, y), create_graph=True)
        for found, other, direct in zip((x.grad, y.grad), (x2.grad, y2.grad), again):
            assert torch.equal(found, other)
            assert torch.allclose(found, direct)


def test_the_order_in_which_operands_repeat_is_part_of_a_graph():
    x, y = (torch.tensor([a], requires_grad=True) for a in (2.0, 3.0))
    (x * x * y).backward()
    assert (x.grad.item(), y.grad.item()) == (12.0, 4.0)
    x.grad = y.grad = None
    (x * y * y).backward()
    assert (x.grad.item(), y.grad.item()) == (9.0, 12.0)


def test_which_operands_need_a_gradient_is_part_of_a_graph():
    for flags in [(True, True), (True, False), (False, True)]:
        x, y = (torch.tensor([a], requires_grad=flag) for a, flag in zip((2.0, 3.0), flags))
        (x * y).backward()
        assert [None if t.grad is None else t.grad.item() for t in (x, y)] == [
            other if flag else None for other, flag in zip((3.0, 2.0), flags)
        ]


@pytest.mark.parametrize("times", [1, 2, 3])
def test_every_pass_frees_and_checks_what_the_first_one_did(times):
    for _ in range(times):
        x = torch.tensor([2.0], requires_grad=True)
        y = x * x
        y.backward()
        with pytest.raises(RuntimeError, match="second time"):
            y.backward()
        z = x.exp()
        z.add_(1.0)
        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            z.backward()
        kept = x.exp()
        kept.backward(retain_graph=True)
        kept.backward()


def test_a_gradient_is_that_of_the_values_at_the_time_of_the_pass():
    x = torch.rand(3, 3).requires_grad_()
    labels = torch.tensor([0, 1, 2])
    expected = torch.autograd.grad(F.cross_entropy(x @ x, labels), x, create_graph=True)[0].tolist()
    loss = F.cross_entropy(x @ x, labels)
    loss.backward()
    loss.item()
    with torch.no_grad():
        x.mul_(0.0)
    np.testing.assert_allclose(x.grad.numpy(), expected, rtol=1e-5)


def test_a_training_loop_settles_on_one_plan_and_one_materialisation_a_step():
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Tanh(), torch.nn.Linear(8, 3))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.1)
    x, y = torch.rand(6, 4), torch.tensor([0, 1, 2, 0, 1, 2])

    def step():
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        return loss.item()

    losses = [step() for _ in range(3)]
    before = counters()
    losses += [step() for _ in range(40)]
    after = counters()
    assert after["plans_built"] == before["plans_built"]
    assert after["materialisations"] == before["materialisations"] + 40
    assert losses[-1] < losses[0] / 2


def test_rows_of_composites_say_how_they_are_written_out():
    assert c.call.expand is c.write_out and c.result.expand is c.write_out
    assert s.dot.expand is None
