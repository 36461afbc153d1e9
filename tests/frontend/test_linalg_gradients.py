"""Gradients of ``flamework.linalg``, and theirs, against PyTorch, real and complex; where PyTorch has none, against a
property."""

from __future__ import annotations

import flamework as fw
import numpy as np
import pytest
from same_as_torch import assert_same


# A function of a matrix, which does not depend on the choice of vectors, and the shape of the matrix.
def factor(t, x):
    """A Cholesky factor."""
    return t.linalg.cholesky(x @ x.mH + t.eye(3))


FUNCTIONS = {
    "cholesky": (lambda t, x: t.linalg.cholesky(x @ x.mH + t.eye(3, dtype=x.dtype)), (2, 3, 3)),
    "cholesky upper": (lambda t, x: t.linalg.cholesky(x @ x.mH + t.eye(3, dtype=x.dtype), upper=True), (3, 3)),
    "solve": (lambda t, x: t.linalg.solve(x[..., :3], x[..., 3:]), (2, 3, 5)),
    "solve left": (lambda t, x: t.linalg.solve(x[:3], x[3:], left=False), (5, 3)),
    "inv": (lambda t, x: t.linalg.inv(x), (2, 3, 3)),
    "det": (lambda t, x: t.linalg.det(x), (2, 3, 3)),
    "slogdet": (lambda t, x: t.linalg.slogdet(x)[1], (2, 3, 3)),
    "logdet": (lambda t, x: t.logdet(x @ x.mH), (3, 3)),
    "triangular": (lambda t, x: t.linalg.solve_triangular(
        x[:3], x[3:], upper=False, left=False, unitriangular=True), (5, 3)),
    "triangular_solve": (lambda t, x: (
        t.triangular_solve(x[:, :2], x[:, 2:])[0],
        t.triangular_solve(x[:, :2], x[:, 2:], upper=False, transpose=True)[0]), (3, 5)),
    "lu": (lambda t, x: t.linalg.lu(x)[1:], (3, 3)),
    "lu tall": (lambda t, x: t.linalg.lu(x)[1:], (4, 3)),
    "lu wide": (lambda t, x: t.linalg.lu(x)[1:], (2, 3, 4)),
    "lu_unpack": (lambda t, x: t.lu_unpack(*t.lu(x))[1:], (3, 3)),
    "lu_solve": (lambda t, x: t.linalg.lu_solve(*t.linalg.lu_factor(x[:, :3]), x[:, 3:]), (3, 5)),
    "lu_solve adjoint": (lambda t, x: t.linalg.lu_solve(
        *t.linalg.lu_factor(x[:, :3]), x[:, 3:], adjoint=True), (3, 5)),
    "lu_solve left": (lambda t, x: t.linalg.lu_solve(*t.linalg.lu_factor(x[:3]), x[3:], left=False), (5, 3)),
    "qr": (lambda t, x: t.linalg.qr(x), (3, 3)),
    "qr tall": (lambda t, x: t.linalg.qr(x), (2, 4, 3)),
    "qr wide": (lambda t, x: t.linalg.qr(x), (3, 5)),
    "qr complete": (lambda t, x: t.linalg.qr(x, mode="complete"), (3, 5)),
    "eigvalsh": (lambda t, x: t.linalg.eigvalsh(x), (2, 3, 3)),
    "eigh": (lambda t, x: hermitian_function(*t.linalg.eigh(x + x.mH)), (2, 3, 3)),
    "eigh of one triangle": (lambda t, x: t.linalg.eigh(x, "U")[1].abs(), (3, 3)),
    "eig": (lambda t, x: (lambda l, v: (v * l.exp().unsqueeze(-2)) @ t.linalg.inv(v))(*t.linalg.eig(x)), (2, 3, 3)),
    "eig vectors": (lambda t, x: (lambda l, v: (v.abs() ** 3 * l.abs().unsqueeze(-2)).sum(-1))(
        *t.linalg.eig(x)), (3, 3)),
    "eigvals": (lambda t, x: (t.linalg.eigvals(x) ** 2).sum(), (3, 3)),
    "svdvals": (lambda t, x: t.linalg.svdvals(x), (2, 3, 4)),
    "svd": (lambda t, x: singular_function(*t.linalg.svd(x)), (3, 3)),
    "svd tall": (lambda t, x: singular_function(*t.linalg.svd(x, full_matrices=False)), (2, 4, 2)),
    "svd wide": (lambda t, x: singular_function(*t.linalg.svd(x, full_matrices=False)), (2, 4)),
    "svd full": (lambda t, x: t.linalg.svd(x)[0][:, :3].abs() ** 3, (4, 3)),
    "pinv": (lambda t, x: t.linalg.pinv(x), (2, 4, 3)),
    "pinv wide": (lambda t, x: t.linalg.pinv(x), (3, 4)),
    "pinv of lower rank": (lambda t, x: t.linalg.pinv(x[:, :2] @ x[:2]), (4, 4)),
    "pinv hermitian": (lambda t, x: t.linalg.pinv(x + x.mH, hermitian=True), (3, 3)),
    "matrix_exp": (lambda t, x: t.linalg.matrix_exp(x), (2, 3, 3)),
    "lstsq": (lambda t, x: t.linalg.lstsq(x[:, :3], x[:, 3:])[0], (5, 5)),
    **{f"matrix_norm {o}": (lambda t, x, o=o: t.linalg.matrix_norm(x, o), (2, 3, 4))
       for o in ("fro", "nuc", 2, -2, 1, -1, float("inf"), -float("inf"))},
    **{f"vector_norm {o}": (lambda t, x, o=o: t.linalg.vector_norm(x, o, dim=1), (2, 3, 4))
       for o in (2, 1, 3, 0.5, float("inf"), -1)},
    "cond": (lambda t, x: (t.linalg.cond(x), t.linalg.cond(x, -2)), (2, 3, 3)),
    "power": (lambda t, x: (t.linalg.matrix_power(x, 5), t.linalg.matrix_power(x, -3)), (2, 3, 3)),
    "householder": (lambda t, x: t.linalg.householder_product(x[:, :3], x[0, 3:5]), (4, 5)),
    # factors as they are: torch has gradients of the triangle that is not read, and of imaginary parts of the diagonal
    "cholesky_inverse": (lambda t, x: (
        t.cholesky_inverse(factor(t, x)), t.cholesky_inverse(factor(t, x).mH, upper=True)), (3, 3)),
    "cholesky_solve": (lambda t, x: t.cholesky_solve(x[:, :2], factor(t, x[:, 2:])), (3, 5)),
    "cross": (lambda t, x: t.linalg.cross(x[:1], x[1:2], dim=-1), (2, 4, 3)),
    "vecdot": (lambda t, x: t.linalg.vecdot(x[:1], x[1:]), (3, 3)),
    "multi_dot": (lambda t, x: t.linalg.multi_dot([x[0], x, x[:, :2], x[:2, 0]]), (3, 3)),
    "tensorinv": (lambda t, x: t.linalg.tensorinv(x.reshape(4, 2, 2), ind=1), (4, 4)),
}


def hermitian_function(values, vectors):
    return (vectors * values.exp().unsqueeze(-2)) @ vectors.mH


def singular_function(u, s, vh):
    return (u * s.exp().unsqueeze(-2)) @ vh, u.abs() ** 3, vh.abs() ** 3


def number(t, *values):
    """A real number that every element counts for differently."""
    total = 0
    for y in values:
        weight = t.tensor(np.resize(np.random.default_rng(9).standard_normal(1000), tuple(y.shape)))
        y = y.resolve_conj()
        size = y.real ** 2 + y.imag ** 2 * 0.7 + y.imag * y.real if y.is_complex() else y + y ** 2
        total = total + (size * weight).sum()
    return total


@pytest.mark.parametrize("is_complex", [False, True])
@pytest.mark.parametrize("name", list(FUNCTIONS))
def test_gradient_and_its_gradient(name, is_complex):
    function, shape = FUNCTIONS[name]
    rng = np.random.default_rng(3)
    array = rng.standard_normal(shape)
    array = array + 1j * rng.standard_normal(shape) if is_complex else array

    def script(t):
        x = t.tensor(array, requires_grad=True)
        y = function(t, x)
        (first,) = t.autograd.grad(number(t, *(y if isinstance(y, tuple) else [y])), x, create_graph=True)
        # scaled, so that a tolerance means the same for all
        (second,) = t.autograd.grad(number(t, first / first.detach().abs().max()), x)
        return first.detach().resolve_conj(), (second / second.abs().max()).resolve_conj()

    assert_same(script, rtol=1e-5, atol=1e-6)


def test_the_determinant_of_a_singular_matrix_has_a_gradient():
    x = fw.ones(2, 2, dtype=fw.float64).requires_grad_()
    (slope,) = fw.autograd.grad(fw.linalg.det(x), x)
    np.testing.assert_allclose(slope.numpy(), [[1, -1], [-1, 1]], atol=1e-12)


@pytest.mark.parametrize("is_complex", [False, True])
def test_second_derivatives_of_the_determinant_of_a_singular_matrix(is_complex):
    """The determinant is a polynomial, whose third differences are exact."""
    rng = np.random.default_rng(4)
    x, a, b = rng.standard_normal((3, 3, 3)) + 1j * is_complex * rng.standard_normal((3, 3, 3))
    if not is_complex:
        x, a, b = x.real, a.real, b.real
    x[2] = x[0] + 2 * x[1]

    def det(array):
        return np.linalg.det(array)

    matrix, first, second = fw.tensor(x, requires_grad=True), fw.tensor(a), fw.tensor(b)
    (slope,) = fw.autograd.grad(fw.linalg.det(matrix), matrix, fw.tensor(1.0, dtype=matrix.dtype), create_graph=True)
    along = (slope.conj() * first).sum()
    (found,) = fw.autograd.grad(along, matrix, fw.tensor(1.0, dtype=matrix.dtype))
    mixed = (det(x + a + b) - det(x + a - b) - det(x - a + b) + det(x - a - b)) / 4
    np.testing.assert_allclose((found.conj() * second).sum().item(), mixed, rtol=1e-9)


@pytest.mark.parametrize("is_complex", [False, True])
def test_third_derivatives_of_the_determinant(is_complex):
    rng = np.random.default_rng(6)
    array = rng.standard_normal((2, 3, 3)) + (1j * rng.standard_normal((2, 3, 3)) if is_complex else 0)

    def script(t):
        x = t.tensor(array, requires_grad=True)
        slope = t.linalg.det(x)
        for _ in range(3):
            (slope,) = t.autograd.grad(number(t, slope), x, create_graph=True)
        return slope.detach().resolve_conj()

    assert_same(script, rtol=1e-8, atol=1e-7)


def test_norms_of_matrices_with_equal_singular_values_have_a_gradient():
    x = fw.eye(3, dtype=fw.float64).requires_grad_()
    (slope,) = fw.autograd.grad(fw.linalg.matrix_norm(x, "nuc"), x)
    np.testing.assert_allclose(slope.numpy(), np.eye(3), atol=1e-12)
    (slope,) = fw.autograd.grad(fw.linalg.eigvalsh(x).sum(), x)
    np.testing.assert_allclose(slope.numpy(), np.eye(3), atol=1e-12)


@pytest.mark.parametrize(("script", "text"), [
    (lambda x: fw.linalg.qr(x, "complete").R, "not differentiable when mode='complete'"),
    (lambda x: fw.linalg.qr(x, "r").R, "depends on Q"), (lambda x: fw.geqrf(x).a, "'geqrf' is not implemented"),
])
def test_gradients_that_are_refused(script, text):
    x = fw.ones(3, 2).requires_grad_()
    with pytest.raises(RuntimeError, match=text):
        script(x).sum().backward()
