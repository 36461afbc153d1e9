"""The gradient of a softmax is computed from its result alone."""

from __future__ import annotations

import flamework
import numpy as np
import pytest
from flamework.runtime import engine

torch = pytest.importorskip("torch")

SCORES = {
    "ordinary": [[0.5, -1.0, 2.0], [3.0, 3.0, -4.0]],
    "far apart": [[1e4, -1e4, 0.0], [80.0, -80.0, 88.0]],
    "masked": [[-np.inf, 1.0, 2.0], [0.0, -np.inf, -np.inf]],
}


def both(function, *arrays):
    """Gradients of the arguments, by Flamework and by PyTorch."""
    found = []
    for library in (flamework, torch):
        leaves = [library.tensor(np.array(a, np.float32), requires_grad=True) for a in arrays]
        function(library, *leaves).backward()
        found.append([leaf.grad.numpy() for leaf in leaves])
    return zip(*found)


def loss(library, y):
    return (y * library.arange(1.0, 1.0 + y.numel()).reshape(y.shape)).sum()


@pytest.mark.parametrize("dim", [0, 1, -1])
@pytest.mark.parametrize("scores", ["ordinary", "far apart"])
def test_it_is_pytorchs(scores, dim):
    for found, wanted in both(lambda lib, x: loss(lib, x.softmax(dim)), SCORES[scores]):
        np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-6)


def test_a_masked_score_has_no_gradient():
    for found, wanted in both(lambda lib, x: loss(lib, x.softmax(1)), SCORES["masked"]):
        np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-6)
        assert (found[np.isinf(SCORES["masked"])] == 0).all()


def test_of_not_a_number_it_is_not_a_number():
    for found, wanted in both(lambda lib, x: loss(lib, x.softmax(1)), [[np.nan, 1.0], [2.0, 3.0]]):
        np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-6)
        assert np.isnan(found[0]).all() and not np.isnan(found[1]).any()


def test_its_gradient_has_a_gradient():
    def twice(library, x):
        first, = library.autograd.grad(loss(library, x.softmax(1)), x, create_graph=True)
        return (first * first).sum()

    for found, wanted in both(twice, SCORES["ordinary"]):
        np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-6)


def test_a_result_that_was_overwritten_is_refused_and_scores_may_be_overwritten():
    for library in (flamework, torch):
        x = library.ones(2, 3, requires_grad=True)
        scores = x * 1.0
        y = scores.softmax(1)
        scores.mul_(3.0)
        loss(library, y).backward()
        y = (x * 1.0).softmax(1)
        y.mul_(2.0)
        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            loss(library, y).backward()


def test_the_gradient_is_that_of_the_scores_where_both_are_wanted():
    for found, wanted in both(lambda lib, x: loss(lib, x.softmax(0)) + (x * x).sum() + x.softmax(1)[0, 1],
                              SCORES["ordinary"]):
        np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-6)


def attention_plan(layers: int, heads: int = 4, length: int = 64, width: int = 8, masked: bool = False):
    q = flamework.randn(1, heads, length, width).requires_grad_()
    mask = flamework.ones(length, length, dtype=flamework.bool).tril() if masked else None
    flamework.realize(*[x for x in (q, mask) if x is not None])
    x = q
    for _ in range(layers):
        x = flamework.nn.functional.scaled_dot_product_attention(x, x, x, mask)
    x.sum().backward()
    plans = []
    with engine.observed(lambda roots, plan: plans.append(plan)):
        flamework.realize(q.grad)
    return plans[-1]


@pytest.mark.parametrize("masked", [False, True])
def test_attention_keeps_one_matrix_of_a_layer_for_the_backward_pass(masked):
    matrix, state = 4 * 4 * 64 * 64, 4 * 4 * 64 * 8
    few, many = (attention_plan(layers, masked=masked).arena_bytes for layers in (2, 6))
    assert many - few <= 4 * (matrix + 4 * state)
