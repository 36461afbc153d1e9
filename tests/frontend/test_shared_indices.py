"""An index is what it was at the call, whoever writes to its memory before the result is computed.

It is checked when it is recorded if its elements are known, so that a kernel which read other elements would read or
write out of bounds.
"""

from __future__ import annotations

import flamework as torch
import numpy as np
import pytest
from flamework.nn import functional as F

OUTSIDE = 10**6
X = [0.0, 10.0, 20.0, 30.0]


def vector():
    return torch.tensor(X)


USES = {
    "subscript": lambda i: vector()[i],
    "index_select": lambda i: vector().index_select(0, i),
    "gather": lambda i: vector().gather(0, i),
    "take": lambda i: vector().take(i),
    "embedding": lambda i: F.embedding(i, vector().reshape(4, 1)),
    "scatter": lambda i: torch.zeros(4).scatter(0, i, 1.0),
    "scatter_add": lambda i: torch.zeros(4).scatter_add(0, i, torch.ones(i.numel())),
    "index_add": lambda i: torch.zeros(4).index_add(0, i, torch.ones(i.numel())),
    "index_put": lambda i: torch.zeros(4).index_put((i,), torch.tensor(1.0)),
    "one_hot": lambda i: F.one_hot(i, 4),
    "nll_loss": lambda i: F.nll_loss(vector().reshape(1, 4).expand(i.numel(), 4), i, reduction="none"),
    "cross_entropy": lambda i: F.cross_entropy(torch.zeros(i.numel(), 4), i, reduction="none"),
}


def computed(elements):
    index = torch.tensor(elements)
    torch.realize(index)
    return index


def array_that_was_shared(elements, use):
    array = np.array(elements)
    result = use(torch.from_numpy(array))
    array[:] = OUTSIDE
    return result


def array_taken_afterwards(elements, use):
    index = computed(elements)
    result = use(index)
    index.numpy()[:] = OUTSIDE
    return result


def array_taken_before(elements, use):
    index = computed(elements)
    array = index.numpy()
    result = use(index)
    array[:] = OUTSIDE
    return result


def write_in_place(elements, use):
    index = computed(elements)
    result = use(index)
    torch.realize(index.fill_(OUTSIDE))
    return result


def array_of_the_base_of_a_view(elements, use):
    index = computed([*elements, 0])
    result = use(index[:-1])
    index.numpy()[:] = OUTSIDE
    return result


WRITES = [
    array_that_was_shared, array_taken_afterwards, array_taken_before, write_in_place, array_of_the_base_of_a_view,
]


@pytest.mark.parametrize("size", [3, 300_000])
@pytest.mark.parametrize("name", USES)
@pytest.mark.parametrize("write", WRITES)
def test_a_later_write_does_not_reach_an_index(write, name, size):
    elements = [0, 1, 2] * (size // 3)
    expected = USES[name](torch.tensor(elements)).numpy().copy()
    np.testing.assert_array_equal(write(elements, USES[name]).numpy(), expected)


@pytest.mark.parametrize("name", USES)
def test_a_replay_checks_the_index_that_it_is_given(name):
    compiled = torch.compile(USES[name])
    array = np.array([0, 1, 2])
    expected = USES[name](torch.tensor([0, 1, 2])).tolist()
    for _ in range(2):
        assert compiled(torch.from_numpy(array)).tolist() == expected
    array[1] = OUTSIDE
    with pytest.raises((IndexError, RuntimeError)):
        compiled(torch.from_numpy(array)).tolist()
    array[1] = 1
    result = compiled(torch.from_numpy(array))
    array[:] = OUTSIDE
    assert result.tolist() == expected


def test_a_replay_checks_an_index_that_the_function_reaches():
    array = np.array([0, 1, 2])
    index = torch.from_numpy(array)
    select = torch.compile(lambda x: x[index])
    assert select(vector()).tolist() == X[:3]
    assert select(vector()).tolist() == X[:3]
    array[2] = OUTSIDE
    with pytest.raises(IndexError):
        select(vector()).tolist()
