"""The edges: no axes, no elements, NaN, signed zeros, pairs of dtypes, and arguments as older programs give them."""

import warnings

import flamework
import numpy as np
import pytest
from rows import check, check_error

ROWS = """
    torch.asinh(torch.tensor([-0.0, 0.0])).signbit()
    torch.prod(f, 0, dtype=torch.bool)
    torch.sum(f, 0, dtype=torch.bool)
    torch.prod(b, dtype=torch.bool)
    torch.xlogy(torch.tensor([-0.0, 0.0, 0.0]), torch.tensor([5.0, -1.0, nan]))
    torch.special.xlog1py(torch.tensor([-0.0, 0.0, 0.0]), torch.tensor([5.0, -2.0, nan]))
    torch.float_power(torch.tensor([-inf, 4.0]), 0.5)
    torch.float_power(i32, 2)
    torch.cdist(nan2, nan2, 0)
    torch.pdist(nan2, 0)
    torch.inner(torch.tensor(2), f)
    torch.linalg.vecdot(scalar, scalar)
    torch.movedim(scalar, -1, 0)
    torch.adjoint(scalar)
    F.pairwise_distance(scalar, torch.tensor(2.0, dtype=torch.float64))
    F.cosine_similarity(scalar, scalar, 0)
    F.triplet_margin_loss(scalar, scalar + 1, scalar + 3)
    F.l1_loss(f, torch.tensor(1.0, dtype=torch.float64))
    F.mse_loss(f, torch.tensor(1.0, dtype=torch.float64))
    str(F.cosine_similarity(f, torch.tensor(1.0, dtype=torch.float64)).dtype)
    F.silu(torch.complex(f, f)).imag
    torch.fmod(torch.zeros(0, dtype=torch.int32), 0)
    torch.zeros(0, dtype=torch.int32) // 0
    torch.trapezoid(torch.zeros(0))
    torch.cumulative_trapezoid(torch.zeros(0), torch.zeros(0))
    F.scaled_dot_product_attention(torch.zeros(3, 0), torch.zeros(3, 0), torch.zeros(3, 0))
    torch.histc(torch.arange(60).float() * 0.1, 59)
    torch.linalg.vander(u8[0])
    torch.tensor([torch.tensor(0.1, dtype=torch.float64), torch.tensor(2)])
    torch.tensor([[torch.tensor(1, dtype=torch.int32)], [torch.tensor(2, dtype=torch.int32)]])
    torch.tensor([1.5, torch.tensor(2)])
    torch.as_tensor([torch.tensor(1.0, dtype=torch.float16), True])
    torch.topk(vec, torch.tensor(2))
    torch.diagflat(vec, torch.tensor(1))
    torch.diag(x, diagonal=torch.tensor(1))
    torch.split(vec, torch.tensor(1))
    torch.fft.fft(f1, torch.tensor(2))
    F.pad(vec, (torch.tensor(1), 1))
    F.one_hot(torch.tensor([1]), torch.tensor(3))
    torch.bartlett_window(torch.tensor(3))
    torch.linalg.norm(f, dtype=float)
    torch.zeros(1, 2, 1).squeeze(0, 2)
    torch.rsub(x, 2, 3)
    torch.add(x, 2, y)
    torch.sub(x, 2, y)
    torch.add(f, 1, 2)
    torch.addcmul(x, 0.5, y, pos)
    torch.addmm(2, torch.eye(3), 3, torch.eye(3), torch.ones(3, 3))
    torch.eye(3).addmm(2, 3, torch.eye(3), torch.ones(3, 3))
    torch.addmv(2, vec3, torch.eye(3).double(), vec3)
    f.clone().add_(-2, f).sub_(3, f)
    f.clone().addcdiv_(-2, f, f + 1).addcmul_(0.5, f, f)
"""
ERRORS = """
    torch.add(x, 1, 2, 3)
    torch.zeros(1, 3).expand(-2, 3)
    torch.tensordot(scalar, scalar)
    torch.topk(x, x)
    torch.cumsum(x, 0, dtype=torch.bool)
    torch.linalg.vecdot(vec, 1)
    torch.linalg.vander(vec, 3)
    torch.linalg.vander(b1)
    torch.linalg.norm(x, x)
    torch.linalg.matrix_norm(f.half(), 2)
    torch.linalg.qr([x])
    torch.fft.fft(x, x)
    torch.special.softmax(x, 0, x)
    torch.special.multigammaln(b, 2)
    F.multilabel_soft_margin_loss(scalar, scalar)
    x.squeeze(x)
    torch.amax(empty)
    torch.amax(empty, 0)
    torch.aminmax(empty)
"""


def listed(table):
    return [row.strip() for row in table.strip().splitlines()]


@pytest.mark.parametrize("row", listed(ROWS))
def test_edges_are_those_of_torch(row):
    check(row)


@pytest.mark.parametrize("row", listed(ERRORS))
def test_errors_at_the_edges_are_those_of_torch(row):
    check_error(row)


def test_the_older_order_of_factors_is_warned_about():
    x = flamework.ones(2)
    for call in (lambda: x.add(2, x), lambda: x.clone().add_(2, x), lambda: x.addcmul(2, x, x)):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            call()
        assert [w.category for w in caught] == [UserWarning]


def test_a_tensor_is_no_part_of_a_graph_as_a_size():
    """It would be a key by identity; and a size of memory, so that the allocator's counters would be tensors."""
    with pytest.raises(TypeError):
        flamework.zeros(flamework.tensor(2.5))
    made = flamework.zeros(flamework.tensor(2), 3)
    assert [type(extent) for extent in made.shape] == [int, int]
    assert np.array_equal(made.numpy(), np.zeros((2, 3)))
