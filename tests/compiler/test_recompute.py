"""What is computed again instead of stored, and the memory that this saves."""

from __future__ import annotations

import flamework
import pytest
from flamework.compiler import primitives as p, primitives_shape as s
from flamework.compiler.dtypes import float32
from flamework.compiler.ir import topological
from flamework.compiler.recompute import computed_again
from flamework.recording import node_of
from flamework.runtime import engine
from graphs import const, normal

F = flamework.nn.functional
ROWS, WIDTH = 64, 48


def again(*roots):
    return [node.op.name for node in topological(roots) if node in computed_again(topological(roots), set(roots))]


def product(*shape):
    return s.dot(normal(1, shape[0], 8), normal(1, 8, shape[1]))


def test_cheap_work_on_a_product_and_a_bias_is_computed_again():
    y = p.relu(p.add(product(16, 64), s.expanded(normal(1, 1, 64), (1, 16, 64))))
    assert again(s.reduce_sum(y, params=(2,))) == ["add", "relu"]


def test_what_reads_more_than_its_own_size_is_stored():
    a, b = product(4, 64), product(4, 64)
    y = p.neg(p.mul(a, b))
    # the product of the two is as large as one of them, and what is computed from it is free
    assert again(s.reduce_sum(y, params=(2,))) == ["neg"]


def test_long_chains_of_expensive_work_are_stored_where_they_become_long():
    y = product(4, 64)
    for _ in range(4):
        y = p.exp(y)
    assert again(s.reduce_sum(y, params=(2,))) == ["exp"] * 3


def test_results_of_the_program_are_stored_and_anchor_what_follows():
    x = p.exp(product(4, 64))
    y = p.tanh(x)
    assert again(x, s.reduce_sum(y, params=(2,))) == ["tanh"]


def test_a_mask_is_stored_and_not_the_wider_values_that_it_was_made_of():
    wide = product(4, 64)
    for _ in range(4):
        wide = p.exp(wide)
    assert again(p.cast(p.lt(wide, const(wide, 0.5)), params=(float32,))) == ["exp"] * 3


def test_constants_cost_nothing_to_read():
    x = product(4, 64)
    assert again(s.reduce_sum(p.mul(x, const(x, 2.0)), params=(2,))) == ["mul"]


# ------------------------------------------------------------------------------------------------ training steps


def arena_of(model, parameters: int) -> float:
    """The arena of a training step, in activations of ROWS x WIDTH."""
    flamework.manual_seed(0)
    weights = [(flamework.randn(WIDTH, WIDTH) * 0.1).requires_grad_() for _ in range(parameters)]
    x = flamework.randn(ROWS, WIDTH)
    flamework.realize()
    model(x, weights).backward()
    grads = [node_of(w.grad) for w in weights]
    plan, *_ = engine.prepared(grads, ())
    return plan.arena_bytes / (ROWS * WIDTH * 4)


def deep(activation):
    def model(x, weights):
        for w in weights:
            x = activation(x @ w)
        return (x * x).sum()

    return model


@pytest.mark.parametrize("name, kept", [("relu", 1), ("gelu", 2), ("silu", 2)])
def test_a_layer_keeps_its_product_or_its_result_and_nothing_in_between(name, kept):
    few, many = (arena_of(deep(getattr(F, name)), layers) for layers in (4, 12))
    assert (many - few) / 8 <= kept + 0.1


def test_a_dropout_keeps_no_mask():
    few, many = (arena_of(deep(lambda x: F.dropout(x, 0.5)), layers) for layers in (4, 12))
    assert (many - few) / 8 <= 1.1


def test_a_layer_norm_is_normalised_again():
    def model(x, weights):
        for w in weights:
            x = x + F.layer_norm(x, (WIDTH,)) @ w
        return (x * x).sum()

    few, many = (arena_of(model, layers) for layers in (4, 12))
    # the sum, and the operand of the product
    assert (many - few) / 8 <= 2.2


def test_a_step_computed_again_has_the_gradients_of_one_that_stores(monkeypatch):
    from flamework.compiler import fusion

    def gradients():
        flamework.manual_seed(0)
        weights = [(flamework.randn(WIDTH, WIDTH) * 0.1).requires_grad_() for _ in range(4)]
        x = flamework.randn(ROWS, WIDTH)
        deep(F.gelu)(x, weights).backward()
        return [w.grad.tolist() for w in weights]

    first = gradients()
    monkeypatch.setattr(fusion, "computed_again", lambda order, required: set())
    engine._plans.clear()
    assert gradients() == first
