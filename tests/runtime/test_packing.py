"""Products of our own kernels: which they are, what is packed once for several, and that it is what it was then."""

from __future__ import annotations

import flamework
import numpy as np
import pytest
from flamework.kernels.cpu.contraction import LEAST_DEPTH, LEAST_RESULTS, pays
from flamework.runtime import engine


@pytest.fixture
def plans():
    """The plans that run."""
    found = []
    with engine.observed(lambda roots, plan: found.append(plan)):
        yield found


def packed(plan) -> list[bool]:
    """Of each product of our own, whether it packs an operand for itself."""
    return [item.packs for item in plan.items if item.contraction is not None]


def normal(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def equal(found: flamework.Tensor, expected: np.ndarray) -> None:
    np.testing.assert_allclose(found.numpy(), expected, rtol=0, atol=1e-6 * np.abs(expected).max() * 30)


def test_a_matrix_that_several_products_read_is_packed_once(plans):
    w, rows = normal(300, 240), [normal(260 + i, 300, seed=i) for i in range(3)]
    weight = flamework.tensor(w)
    results = [flamework.from_numpy(x) @ weight for x in rows]
    total = sum(r.sum() for r in results).item()
    assert sorted(packed(plans[-1])) == [False, False, True]
    np.testing.assert_allclose(total, sum((x.astype(float) @ w).sum() for x in rows), rtol=1e-3)


def test_a_weight_is_packed_for_the_steps_of_a_recurrence_and_not_each_state(plans):
    w, h = normal(300, 300) / 20, normal(20, 300, seed=1)
    weight, state = flamework.tensor(w), flamework.tensor(h)
    for _ in range(10):
        state = (state @ weight).tanh()
        h = np.tanh(h.astype(float) @ w)
    equal(state, h)
    assert packed(plans[-1]) == [True] + [False] * 9
    assert plans[-1].items[0].packed.type.size >= w.size


def test_parts_of_a_matrix_and_other_layouts_are_packed_apart(plans):
    w, x = normal(400, 400), normal(400, 200, seed=1)
    weight, data = flamework.tensor(w), flamework.from_numpy(x)
    parts = [weight[:200, :200], weight[200:, :200], weight[:200, :200].T, weight[:200, 200:]]
    results = [(data @ part).sum(0) for part in parts]
    stacked = flamework.stack(results)
    found = stacked.numpy()
    assert packed(plans[-1]) == [True] * 4
    for row, part in zip(found, (w[:200, :200], w[200:, :200], w[:200, :200].T, w[:200, 200:])):
        np.testing.assert_allclose(row, (x.astype(float) @ part).sum(0), rtol=0, atol=2e-2)


def test_a_product_after_the_matrix_was_written_to_sees_the_new_one():
    w, x = normal(200, 240), normal(300, 200, seed=1)
    weight, data = flamework.from_numpy(w.copy()), flamework.from_numpy(x)
    before = data @ weight
    weight += 1.0
    after = data @ weight
    equal(flamework.stack([before, after]), np.stack([x @ w, x @ (w + 1)]))


def test_a_compiled_step_that_writes_over_a_weight_reads_the_old_one():
    w, x = normal(200, 240), normal(300, 200, seed=1)

    @flamework.compile
    def step(weight, data):
        first = data @ weight
        weight = weight - 0.1 * (data.T @ first)
        return weight, data @ weight

    weight, data = flamework.from_numpy(w.copy()), flamework.from_numpy(x)
    for _ in range(3):
        expected = w - 0.1 * (x.T @ (x @ w))
        weight, result = step(weight, data)
        equal(weight, expected)
        equal(result, x @ expected)
        w = expected / np.abs(expected).max()
        weight = weight / weight.abs().max()


@pytest.mark.parametrize("m, n", [(2, LEAST_RESULTS // 2), (LEAST_RESULTS // 2, 2), (1, 5000), (5000, 1), (300, 300)])
@pytest.mark.parametrize("k", [LEAST_DEPTH - 1, LEAST_DEPTH])
def test_products_on_both_sides_of_the_border_are_right(m, n, k, plans):
    a, b = normal(m, k), normal(k, n, seed=1)
    equal(flamework.from_numpy(a) @ flamework.from_numpy(b), a.astype(float) @ b)
    assert len(packed(plans[-1])) == pays(m, n, k) == (k >= LEAST_DEPTH and min(m, n) > 1)


def test_small_products_are_for_blas_and_those_of_few_rows_are_not():
    assert not pays(64, 256, 128)
    assert not pays(128, 256, 128)
    assert pays(256, 256, 256)
    assert pays(32, 256, 256) and pays(256, 10, 512)


@pytest.mark.parametrize("expand", [False, True])
def test_batches_of_matrices(expand, plans):
    a, b = normal(6, 200, 220), normal(1 if expand else 6, 220, 240, seed=1)
    equal(flamework.from_numpy(a) @ flamework.from_numpy(b), a.astype(float) @ b)
    assert packed(plans[-1]) == [True]


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_not_a_number_stays_in_its_row(value):
    a, b = normal(297, 130), normal(130, 265, seed=1)
    a[50, 7] = value
    found = (flamework.from_numpy(a) @ flamework.from_numpy(b)).numpy()
    assert not np.isfinite(found[50]).any()
    assert np.isfinite(np.delete(found, 50, 0)).all()


def test_nothing_depends_on_the_number_of_threads():
    a, b = flamework.from_numpy(normal(300, 500)), flamework.from_numpy(normal(500, 200, seed=1))
    threads = flamework.get_num_threads()
    found = []
    try:
        for count in (1, 2, 8):
            flamework.set_num_threads(count)
            found.append((a @ b).numpy())
    finally:
        flamework.set_num_threads(threads)
    assert all((x == found[0]).all() for x in found)
