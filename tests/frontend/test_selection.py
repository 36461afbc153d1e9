"""Results whose size depends on values, at sizes where several threads find them: against NumPy."""

import flamework as torch
import numpy as np
import pytest
from flamework.runtime.selection import CHUNK
from flamework.runtime.threads import get_num_threads, set_num_threads


@pytest.fixture(params=[1, 2, 8], ids=lambda n: f"{n} threads")
def threads(request):
    before = get_num_threads()
    set_num_threads(request.param)
    yield request.param
    set_num_threads(before)


def masks():
    rng = np.random.default_rng(0)
    for size in (0, 1, 7, 8, 9, CHUNK - 1, CHUNK, CHUNK + 1, 5 * CHUNK + 13):
        for share in (0.0, 0.01, 0.5, 1.0):
            yield rng.random(size) < share
    yield rng.random((7, 5, 3333)) < 0.3
    yield rng.random((40_000, 2)) < 0.9
    yield np.zeros((0, 3), bool)


def test_coordinates_of_true_elements_are_numpys(threads):
    for mask in masks():
        x = torch.tensor(mask)
        np.testing.assert_array_equal(torch.nonzero(x).numpy(), np.argwhere(mask))
        for found, expected in zip(torch.nonzero(x, as_tuple=True), np.nonzero(mask), strict=True):
            np.testing.assert_array_equal(found.numpy(), expected)


def test_elements_behind_a_mask_are_numpys(threads):
    rng = np.random.default_rng(1)
    for mask in masks():
        values = rng.standard_normal(mask.shape).astype(np.float32)
        np.testing.assert_array_equal(torch.tensor(values)[torch.tensor(mask)].numpy(), values[mask])


def test_nonzero_takes_nan_and_not_negative_zero():
    x = torch.tensor([0.0, -0.0, float("nan"), 1.0])
    assert torch.nonzero(x).tolist() == [[2], [3]]


def test_a_mask_over_bytes_that_begin_anywhere():
    memory = np.random.default_rng(2).random(100_003) < 0.5
    for start in (1, 3, 5):
        found = torch.nonzero(torch.from_numpy(memory)[start:]).reshape(-1)
        np.testing.assert_array_equal(found.numpy(), np.flatnonzero(memory[start:]))


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int64, np.int8, np.uint8, np.bool_])
def test_distinct_elements_are_numpys(threads, dtype):
    rng = np.random.default_rng(3)
    for size in (0, 1, 2, 1000, 100_000):
        values = rng.integers(0, 2 if dtype is np.bool_ else 90, size).astype(dtype)
        found, inverse, counts = torch.unique(torch.tensor(values), return_inverse=True, return_counts=True)
        expected = np.unique(values, return_inverse=True, return_counts=True)
        for ours, numpys in zip((found, inverse, counts), expected, strict=True):
            np.testing.assert_array_equal(ours.numpy(), numpys)
        np.testing.assert_array_equal(torch.unique(torch.tensor(values)).numpy(), expected[0])


def test_every_nan_is_distinct_and_both_zeros_are_one():
    x = torch.tensor([[float("nan"), 0.0, 1.0], [-0.0, float("nan"), 0.0]])
    found, inverse, counts = torch.unique(x, return_inverse=True, return_counts=True)
    assert str(found.tolist()) == "[0.0, 1.0, nan, nan]"
    assert inverse.tolist() == [[2, 0, 1], [0, 3, 0]]
    assert counts.tolist() == [3, 1, 1, 1]


def test_counts_of_numbers_are_numpys(threads):
    rng = np.random.default_rng(4)
    for high in (1, 1000, 100_000):
        values = rng.integers(0, high, 200_000)
        weights = rng.standard_normal(values.size)
        np.testing.assert_array_equal(torch.bincount(torch.tensor(values)).numpy(), np.bincount(values))
        np.testing.assert_allclose(
            torch.bincount(torch.tensor(values), torch.tensor(weights), high + 5).numpy(),
            np.bincount(values, weights, high + 5), rtol=1e-9, atol=1e-9,
        )


def test_counts_refuse_negative_numbers_among_many():
    values = torch.zeros(100_000, dtype=torch.int64)
    values[70_000] = -1
    with pytest.raises(RuntimeError, match="non-negative"):
        torch.bincount(values)


def test_one_wrong_index_among_many_is_an_error_at_once():
    numbers = np.zeros(100_000, np.int64)
    numbers[99_999] = 10
    index = torch.tensor(numbers)
    with pytest.raises(IndexError, match="out of range"):
        torch.index_select(torch.zeros(10), 0, index)
    with pytest.raises(IndexError, match="index 10 is out of bounds"):
        torch.zeros(10)[index]


@pytest.mark.parametrize("shape", [(300, 1000), (20_000, 70), (3, 50_000), (40, 30, 65)])
def test_repeated_indices_are_added_and_written_in_order(threads, shape):
    rng = np.random.default_rng(5)
    for axis in range(len(shape)):
        base = rng.standard_normal(shape).astype(np.float32)
        new = rng.standard_normal(shape).astype(np.float32)
        index = rng.integers(0, min(7, shape[axis]), shape)
        where = list(np.indices(shape, sparse=True))
        where[axis] = index
        summed = base.copy()
        np.add.at(summed, tuple(where), new)
        x, i, y = torch.tensor(base), torch.tensor(index), torch.tensor(new)
        np.testing.assert_array_equal(torch.scatter_add(x, axis, i, y).numpy(), summed)
        last = base.copy()
        last[tuple(where)] = new
        np.testing.assert_array_equal(torch.scatter(x, axis, i, y).numpy(), last)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int64])
@pytest.mark.parametrize("shape", [(8192, 8), (12_345, 8), (9000, 70), (2, 9000, 5)])
def test_columns_in_pieces_have_the_bits_of_whole_ones(threads, shape, dtype):
    x = (10 * np.random.default_rng(6).standard_normal(shape)).astype(dtype)
    axis = len(shape) - 2
    # repeated side by side until there are enough columns to give every core whole ones
    wide = torch.tensor(np.concatenate([x] * (1 + 64 * 16 // shape[-1]), -1)).sum(axis).numpy()
    few = torch.tensor(x)
    np.testing.assert_array_equal(few.sum(axis).numpy(), wide[..., : shape[-1]])
    np.testing.assert_array_equal(few.amax(axis).numpy(), x.max(axis))
    if dtype is not np.int64:
        np.testing.assert_allclose(few.var(axis).numpy(), x.var(axis, ddof=1, dtype=np.float64), rtol=1e-4)
