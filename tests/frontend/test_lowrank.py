"""Decompositions of low rank: PyTorch's from the same basis, and exact ones of what has the rank."""

import flamework
import numpy as np
import pytest
from same_as_torch import array, assert_same


def product(u, s, v):
    return u * s.unsqueeze(-2) @ v.mH


@pytest.mark.parametrize("shape", [(8, 5), (5, 8), (2, 7, 5), (2, 5, 7), (4, 4)])
@pytest.mark.parametrize("options", [{"q": 3}, {"q": 2, "niter": 0}, {"q": 4, "niter": 1}])
def test_the_same_basis_gives_pytorchs_factors(shape, options):
    def script(torch):
        torch.manual_seed(5)
        a = torch.tensor(array(*shape, dtype="float64"))
        u, s, v = torch.svd_lowrank(a, **options)
        torch.manual_seed(5)
        m, t, w = torch.svd_lowrank(a, M=torch.ones(shape[-2:], dtype=torch.float64) * 0.5, **options)
        return s, product(u, s, v), t, product(m, t, w), u.mH @ u, [tuple(x.shape) for x in (u, s, v)]
    assert_same(script, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("center", [True, False])
def test_principal_components(center):
    def script(torch):
        torch.manual_seed(2)
        a = torch.tensor(array(20, 5, dtype="float64") + 3, requires_grad=True)
        u, s, v = torch.pca_lowrank(a, center=center)
        s.sum().backward()
        return s, product(u, s, v), a.grad
    assert_same(script, rtol=1e-6, atol=1e-8)


def test_a_matrix_of_the_rank_is_recovered():
    a = array(30, 3, dtype="float64") @ array(3, 20, seed=1, dtype="float64")
    values = a + 1j * a[::-1]
    for matrix in (a, values):
        u, s, v = flamework.svd_lowrank(flamework.tensor(matrix), q=6)
        np.testing.assert_allclose(product(u, s.to(u.dtype), v).numpy(), matrix, atol=1e-10)
        np.testing.assert_allclose(s.numpy(), np.linalg.svd(matrix, compute_uv=False)[:6], atol=1e-10)


@pytest.mark.parametrize("call", [
    lambda torch: torch.pca_lowrank(torch.ones(3, 4), q=4), lambda torch: torch.pca_lowrank(torch.ones(3, 4), q=-1),
    lambda torch: torch.pca_lowrank(torch.ones(3, 4), niter=-1),
    lambda torch: torch.pca_lowrank(torch.ones(3, 4).long()),
])
def test_refuses_what_pytorch_refuses(call):
    assert_same(call, messages=False)
