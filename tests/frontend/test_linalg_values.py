"""``flamework.linalg`` against PyTorch and against identities: values, shapes, dtypes, batches, errors."""

from __future__ import annotations

import doctest
import importlib

import flamework as fw
import numpy as np
import pytest
from same_as_torch import assert_same, compare, outcome

DTYPES = ("float32", "float64", "complex64", "complex128")
SHAPES = ((3, 3), (2, 4, 4), (1, 1), (0, 0), (0, 3, 3))
RECTANGLES = (*SHAPES, (4, 2), (2, 3, 5), (3, 0), (0, 3), (2, 0, 3))


def matrix(*shape, dtype="float64", seed=0):
    rng = np.random.default_rng(seed)
    values = rng.standard_normal(shape)
    if dtype.startswith("complex"):
        values = values + 1j * rng.standard_normal(shape)
    return values.astype(dtype)


def definite(*shape, dtype="float64"):
    a = matrix(*shape, dtype=dtype)
    return (a @ a.conj().swapaxes(-2, -1) + np.eye(shape[-1])).astype(dtype)


def close(found, wanted, dtype):
    rtol, atol = (2e-3, 2e-4) if dtype in ("float32", "complex64") else (1e-10, 1e-10)
    np.testing.assert_allclose(found.numpy(), wanted, rtol=rtol, atol=atol)
    assert str(found.dtype) == f"torch.{found.numpy().dtype}"


# ------------------------------------------------------------------------------------------------------- identities


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES)
def test_factors_multiply_to_the_matrix(shape, dtype):
    a, s = matrix(*shape, dtype=dtype), definite(*shape, dtype=dtype)
    x, d = fw.tensor(a), fw.tensor(s)
    lower, upper = fw.linalg.cholesky(d), fw.linalg.cholesky(d, upper=True)
    close(lower @ lower.mH, s, dtype)
    close(upper.mH @ upper, s, dtype)
    assert not np.triu(lower.numpy(), 1).any()
    values, vectors = fw.linalg.eigh(d)
    close((vectors * values.unsqueeze(-2)) @ vectors.mH, s, dtype)
    close(vectors.mH @ vectors, np.broadcast_to(np.eye(shape[-1]), shape), dtype)
    close(fw.linalg.eigvalsh(d), values.numpy(), dtype)
    values, vectors = fw.linalg.eig(x)
    close(x.to(values.dtype) @ vectors, (vectors * values.unsqueeze(-2)).numpy(), dtype)
    close(fw.linalg.inv(d) @ d, np.broadcast_to(np.eye(shape[-1]), shape), dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", RECTANGLES)
def test_factors_of_rectangles_multiply_to_the_matrix(shape, dtype):
    a = matrix(*shape, dtype=dtype)
    x = fw.tensor(a)
    m, n = shape[-2:]
    k = min(m, n)
    for mode, size in (("reduced", k), ("complete", m)):
        q, r = fw.linalg.qr(x, mode)
        assert q.shape[-2:] == (m, size)
        assert r.shape[-2:] == (size, n)
        close(q @ r, a, dtype)
        close(q.mH @ q, np.broadcast_to(np.eye(size), (*shape[:-2], size, size)), dtype)
        assert not np.tril(r.numpy(), -1).any()
    permutation, lower, upper = fw.linalg.lu(x)
    close(permutation @ lower @ upper, a, dtype)
    for full in (False, True):
        u, s, vh = fw.linalg.svd(x, full_matrices=full)
        assert (u.shape[-1], vh.shape[-2]) == ((m, n) if full else (k, k))
        close((u[..., :k] * s.unsqueeze(-2)) @ vh[..., :k, :], a, dtype)
        assert s.dtype == getattr(fw, dtype.replace("complex64", "float32").replace("complex128", "float64"))
    inverse = fw.linalg.pinv(x)
    close(x @ inverse @ x, a, dtype)
    close(inverse @ x @ inverse, inverse.numpy(), dtype)
    close((x @ inverse).mH.resolve_conj(), (x @ inverse).numpy(), dtype)


# ---------------------------------------------------------------------------------------------------------- tables


ORDERS = ("fro", "nuc", 1, -1, 2, -2, float("inf"), -float("inf"))
SQUARE = {
    "det": lambda t, a, d: t.linalg.det(a), "slogdet": lambda t, a, d: list(t.linalg.slogdet(a)),
    "logdet": lambda t, a, d: (t.logdet(a), t.logdet(d)), "torch slogdet": lambda t, a, d: list(t.slogdet(a)),
    "inv": lambda t, a, d: (t.linalg.inv(a), t.inverse(d), a.inverse()),
    "inv_ex": lambda t, a, d: list(t.linalg.inv_ex(a)),
    "solve": lambda t, a, d: t.linalg.solve(a, d), "solve left": lambda t, a, d: t.linalg.solve(a, d, left=False),
    "solve_ex": lambda t, a, d: list(t.linalg.solve_ex(a, d)),
    "triangular": lambda t, a, d: [
        t.linalg.solve_triangular(d, a, upper=u, left=side, unitriangular=unit).resolve_conj()
        for u in (False, True) for side in (False, True) for unit in (False, True)],
    "triangular_solve": lambda t, a, d: [
        list(t.triangular_solve(a, d, upper=u, transpose=tr)) for u in (False, True) for tr in (False, True)],
    "cholesky": lambda t, a, d: (
        t.linalg.cholesky(d), t.linalg.cholesky(d, upper=True), t.cholesky(d), d.cholesky(True)),
    "cholesky_ex": lambda t, a, d: (*t.linalg.cholesky_ex(d), t.linalg.cholesky_ex(d - 100)[1]),
    "cholesky_solve": lambda t, a, d: (t.cholesky_solve(a, t.linalg.cholesky(d)), t.cholesky_solve(a, d, upper=True)),
    "cholesky_inverse": lambda t, a, d: (t.cholesky_inverse(d), t.cholesky_inverse(d, upper=True)),
    "lu": lambda t, a, d: (*t.linalg.lu(a), *t.linalg.lu_factor(a), *t.linalg.lu_factor_ex(a), *t.lu(a)),
    "lu_solve": lambda t, a, d: [
        t.linalg.lu_solve(*t.linalg.lu_factor(a), d, left=side, adjoint=turned).resolve_conj()
        for side in (False, True) for turned in (False, True)] + [t.lu_solve(d, *t.lu(a))],
    "lu_unpack": lambda t, a, d: (*t.lu_unpack(*t.lu(a)), *t.lu_unpack(*t.lu(a), unpack_data=False),
                                  *t.lu_unpack(*t.lu(a), unpack_pivots=False)),
    "eigvalsh": lambda t, a, d: (t.linalg.eigvalsh(d), t.linalg.eigvalsh(a, "U"), t.linalg.eigvalsh(a)),
    "matrix_exp": lambda t, a, d: (t.linalg.matrix_exp(a), t.matrix_exp(a)),
    "power": lambda t, a, d: [t.linalg.matrix_power(d, n) for n in (0, 1, 2, 5, -1, -2)],
    "cond": lambda t, a, d: [t.linalg.cond(d, o) for o in (None, *ORDERS)],
    "pinv": lambda t, a, d: (t.linalg.pinv(d, hermitian=True), t.pinverse(d), t.linalg.pinv(a, rtol=0.3),
                             t.linalg.pinv(d, 0.2)),
    "rank": lambda t, a, d: (t.linalg.matrix_rank(a), t.linalg.matrix_rank(d, hermitian=True),
                             t.linalg.matrix_rank(d, atol=2.0), t.linalg.matrix_rank(d, rtol=0.5),
                             t.linalg.matrix_rank(a - a)),
}
ANY = {
    "svdvals": lambda t, a: (t.linalg.svdvals(a), t.svd(a)[1], t.svd(a, compute_uv=False)[1]),
    "pinv": lambda t, a: t.linalg.pinv(a), "rank": lambda t, a: t.linalg.matrix_rank(a),
    "qr r": lambda t, a: (t.linalg.qr(a, "r")[1].abs(), t.linalg.qr(a, "r")[0], t.qr(a)[1].abs()),
    "geqrf": lambda t, a: [x.abs() for x in t.geqrf(a)], "diagonal": lambda t, a: t.linalg.diagonal(a),
    "norms": lambda t, a: (t.linalg.norm(a), t.linalg.norm(a, dim=-1, keepdim=True), t.linalg.norm(a, 3, dim=0),
                           t.linalg.vector_norm(a, 0.5), t.linalg.vector_norm(a, dim=(0, -1), keepdim=True)),
}


def resolved(value):
    """Without PyTorch's marks of conjugation, which keep a tensor from becoming an array."""
    if isinstance(value, list | tuple):
        return [resolved(x) for x in value]
    return value.resolve_conj() if hasattr(value, "resolve_conj") else value


def alike(script, dtype):
    assert_same(lambda t: resolved(script(t)), rtol=2e-3 if dtype in ("float32", "complex64") else 1e-9,
                atol=2e-3 if dtype in ("float32", "complex64") else 1e-9)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", list(SQUARE))
def test_function_of_square_matrices(name, dtype):
    for shape in SHAPES:
        arrays = matrix(*shape, dtype=dtype), definite(*shape, dtype=dtype)
        alike(lambda t, arrays=arrays: SQUARE[name](t, *map(t.tensor, arrays)), dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", list(ANY))
def test_function_of_rectangles(name, dtype):
    for shape in RECTANGLES:
        array = matrix(*shape, dtype=dtype)
        alike(lambda t, array=array: ANY[name](t, t.tensor(array)), dtype)


@pytest.mark.parametrize("dtype", DTYPES)
def test_matrix_norms_of_every_order_and_pair_of_axes(dtype):
    a = matrix(3, 2, 4, dtype=dtype)
    alike(lambda t: [t.linalg.matrix_norm(t.tensor(a), o, dim, keep) for o in ORDERS
                     for dim in ((-2, -1), (0, 1), (2, 0), (-1, 1)) for keep in (False, True)], dtype)


BATCHES = [
    lambda t: t.linalg.solve(t.tensor(matrix(2, 1, 3, 3)), t.tensor(matrix(4, 3, 2))),
    lambda t: t.linalg.solve(t.tensor(matrix(3, 3)), t.tensor(matrix(3))),
    lambda t: t.linalg.solve(t.tensor(matrix(2, 3, 3)), t.tensor(matrix(2, 3))),
    lambda t: t.linalg.solve(t.tensor(matrix(2, 3, 3)), t.tensor(matrix(3, 1))),
    lambda t: t.linalg.solve_triangular(t.tensor(matrix(2, 1, 3, 3)), t.tensor(matrix(4, 3, 2)), upper=True),
    lambda t: t.linalg.solve_triangular(t.tensor(matrix(3, 3)), t.tensor(matrix(4, 2, 3)), upper=True, left=False),
    lambda t: t.cholesky_solve(t.tensor(matrix(4, 3, 2)), t.linalg.cholesky(t.tensor(definite(2, 1, 3, 3)))),
    lambda t: t.linalg.lu_solve(*t.linalg.lu_factor(t.tensor(matrix(2, 3, 3))), t.tensor(matrix(2, 3, 2))),
    lambda t: [t.linalg.lstsq(t.tensor(matrix(*a)), t.tensor(matrix(*b)), driver=d)[i]
               for a, b in (((4, 3), (4, 2)), ((2, 4, 3), (2, 4)), ((3, 4), (3, 2)), ((3, 3), (3,)))
               for d in (None, "gels", "gelsy", "gelsd", "gelss") for i in range(4)],
    lambda t: t.linalg.multi_dot([t.tensor(matrix(3)), t.tensor(matrix(3, 4)), t.tensor(matrix(4, 2))]),
    lambda t: t.linalg.multi_dot([t.tensor(matrix(3, 5)), t.tensor(matrix(5, 2))]),
    lambda t: t.linalg.cross(t.tensor(matrix(4, 3)), t.tensor(matrix(1, 3))),
    lambda t: t.linalg.cross(t.tensor(matrix(3, 4)), t.tensor(matrix(3, 4)), dim=0),
    lambda t: t.linalg.vecdot(t.tensor(matrix(2, 3, dtype="complex128")), t.tensor(matrix(3, dtype="complex128"))),
    lambda t: t.linalg.householder_product(*t.geqrf(t.tensor(matrix(2, 4, 3, dtype="complex128")))).abs(),
    lambda t: t.orgqr(t.tensor(matrix(4, 3)), t.tensor(matrix(2))),
    lambda t: [t.ormqr(t.tensor(matrix(4, 3)), t.tensor(matrix(3)), t.tensor(matrix(4, 4)), side, turned)
               for side in (False, True) for turned in (False, True)],
    lambda t: t.linalg.tensorinv(t.tensor(matrix(4, 2, 2)), ind=1),
    lambda t: t.linalg.tensorinv(t.tensor(matrix(4, 6, 8, 3))),
    lambda t: t.linalg.tensorsolve(t.tensor(matrix(2, 3, 6)), t.tensor(matrix(2, 3))),
    lambda t: t.linalg.tensorsolve(t.tensor(matrix(6, 2, 3)), t.tensor(matrix(2, 3)), dims=(0,)),
    lambda t: [t.linalg.vander(t.tensor([1, 2, 3])), t.linalg.vander(t.tensor([[1.0, 2.0]]), N=4)],
    lambda t: t.linalg.matmul(t.tensor(matrix(2, 3)), t.tensor(matrix(3))),
    lambda t: t.linalg.matrix_power(t.arange(9).reshape(3, 3), 3),
    lambda t: t.linalg.det(t.zeros(3, 3)), lambda t: list(t.linalg.slogdet(t.zeros(3, 3))),
    lambda t: t.linalg.cond(t.zeros(2, 2), 1), lambda t: t.linalg.lu_factor_ex(t.zeros(2, 3))[2],
    lambda t: t.linalg.matrix_rank(t.tensor(matrix(3, 4, 4)), atol=t.tensor([0.1, 5.0, 0.0])),
    lambda t: t.linalg.pinv(t.tensor(matrix(2, 3, 4)), rtol=t.tensor([0.5, 0.0])),
    lambda t: t.linalg.inv(t.eye(3), out=t.empty(3, 3)),
    lambda t: [x.dtype is t.float32 for x in t.linalg.lu(t.eye(2), out=tuple(t.empty(2, 2) for _ in range(3)))],
    lambda t: t.linalg.vector_norm(t.ones(3), dtype=t.float64),
    lambda t: t.linalg.matrix_norm(t.ones(3, 3, dtype=t.complex64), dtype=t.complex128),
    lambda t: [t.linalg.vector_norm(t.tensor(3.0)), t.linalg.vector_norm(t.ones(0)), t.linalg.norm(t.ones(2, 2, 2))],
    lambda t: [t.linalg.matrix_norm(t.ones(0, 3), o) for o in ("fro", "nuc", 1, 2)],
]


@pytest.mark.parametrize("script", BATCHES)
def test_batches_and_the_rest(script):
    assert_same(script, rtol=1e-6, atol=1e-7)


# ---------------------------------------------------------------------------------------------------------- errors


WRONG = {
    "whole": lambda t: t.eye(3, dtype=t.int64), "half": lambda t: t.eye(3, dtype=t.half), "one": lambda t: t.ones(3),
    "rectangle": lambda t: t.ones(2, 3), "zero": lambda t: t.zeros(3, 3), "negative": lambda t: -t.eye(3),
    "batch": lambda t: t.stack([t.eye(3), t.zeros(3, 3)]),
}
OF_ONE = (
    "cholesky cholesky_ex inv inv_ex det slogdet qr lu lu_factor lu_factor_ex eig eigvals eigh eigvalsh svd svdvals "
    "pinv matrix_rank cond"
).split()


def failure(script, package):
    """The kind and text of an error, None for any value."""
    found = outcome(script, package)
    if not (isinstance(found, tuple) and found[0] == "raised"):
        return None
    return ("NotImplementedError" if found[1] == "Undefined" else found[1]), found[2]


@pytest.mark.parametrize("wrong", list(WRONG))
@pytest.mark.parametrize("name", OF_ONE)
def test_wrong_matrices_are_refused_in_pytorchs_words(name, wrong):
    torch = pytest.importorskip("torch")

    def script(t):
        found = getattr(t.linalg, name)(WRONG[wrong](t))
        return list(found) if isinstance(found, tuple) else found

    assert failure(script, fw) == failure(script, torch)


REFUSED = [
    lambda t: t.linalg.solve(t.zeros(3, 3), t.eye(3)),
    lambda t: t.linalg.solve(t.stack([t.eye(3), t.zeros(3, 3)]), t.ones(2, 3)),
    lambda t: t.linalg.solve(t.eye(3), t.eye(3).double()), lambda t: t.linalg.solve(t.eye(3), t.ones(2)),
    lambda t: t.linalg.solve(t.eye(3), t.ones(2, 2)), lambda t: t.linalg.solve(t.eye(3), t.ones(3), left=False),
    lambda t: t.linalg.solve_ex(t.zeros(3, 3), t.eye(3), check_errors=True)[0],
    lambda t: t.linalg.inv_ex(t.zeros(3, 3), check_errors=True)[0],
    lambda t: t.linalg.cholesky_ex(t.zeros(3, 3), check_errors=True)[0],
    lambda t: t.linalg.solve_triangular(t.eye(3), t.ones(3), upper=True),
    lambda t: t.linalg.solve_triangular(t.eye(3), t.ones(2, 3), upper=True),
    lambda t: t.linalg.solve_triangular(t.ones(2, 3), t.ones(3, 3), upper=True),
    lambda t: t.linalg.lu_solve(t.eye(3), t.tensor([1, 2, 3]), t.eye(3)),
    lambda t: t.linalg.lu_solve(t.eye(3), t.tensor([1, 2], dtype=t.int32), t.eye(3)),
    lambda t: t.linalg.lstsq(t.ones(4, 3), t.ones(3, 2)), lambda t: t.linalg.lstsq(t.eye(3), t.eye(3).double()),
    lambda t: t.linalg.lstsq(t.ones(3), t.ones(3)), lambda t: t.linalg.lstsq(t.eye(3), t.ones(3), driver="no"),
    lambda t: t.linalg.qr(t.eye(3), mode="no"), lambda t: t.linalg.eigh(t.eye(3), UPLO="X"),
    lambda t: t.linalg.svd(t.eye(3), driver="gesvd"), lambda t: t.linalg.lu(t.eye(3), pivot=False),
    lambda t: t.linalg.vector_norm(t.eye(3, dtype=t.int64)), lambda t: t.linalg.vector_norm(t.eye(3), "fro"),
    lambda t: t.linalg.vector_norm(t.eye(3), dtype=t.complex64),
    lambda t: t.linalg.vector_norm(t.eye(3).double(), dtype=t.float32),
    lambda t: t.linalg.vector_norm(t.ones(0), float("inf")), lambda t: t.linalg.vector_norm(t.ones(0, 3), -1, dim=0),
    lambda t: t.linalg.norm(t.ones(2, 3, 3), 2), lambda t: t.linalg.norm(t.ones(3), "fro"),
    lambda t: t.linalg.norm(t.ones(2, 3, 3), "fro"), lambda t: t.linalg.norm(t.ones(2, 3), "fro", dim=0),
    lambda t: t.linalg.matrix_norm(t.ones(3)), lambda t: t.linalg.matrix_norm(t.eye(3), 3),
    lambda t: t.linalg.matrix_norm(t.eye(3), dim=(0, 0)), lambda t: t.linalg.matrix_norm(t.ones(3, 0), -1),
    lambda t: t.linalg.cond(t.eye(3), "x"), lambda t: t.linalg.cond(t.ones(2, 3), 1),
    lambda t: t.linalg.matrix_power(t.ones(2, 3), 2), lambda t: t.linalg.matrix_power(t.zeros(3, 3), -1),
    lambda t: t.linalg.matrix_power(t.eye(3, dtype=t.int64), -2),
    lambda t: t.linalg.cross(t.ones(3, 3), t.ones(3)), lambda t: t.linalg.cross(t.ones(2, 2), t.ones(2, 2)),
    lambda t: t.linalg.multi_dot([t.eye(3)]), lambda t: t.linalg.multi_dot([t.eye(3), t.ones(2, 2)]),
    lambda t: t.linalg.multi_dot([t.eye(3), t.ones(2, 3, 3), t.eye(3)]),
    lambda t: t.linalg.householder_product(t.ones(3, 4), t.ones(2)),
    lambda t: t.linalg.householder_product(t.ones(4, 3), t.ones(4)),
    lambda t: t.linalg.householder_product(t.ones(4, 3), t.ones(2, 3)),
    lambda t: t.ormqr(t.ones(4, 3), t.ones(3), t.ones(3, 2)),
    lambda t: t.linalg.tensorinv(t.ones(4, 2, 3)), lambda t: t.linalg.tensorinv(t.ones(4, 2, 2), ind=0),
    lambda t: t.linalg.tensorinv(t.zeros(4, 2, 2), ind=1), lambda t: t.linalg.tensorsolve(t.ones(2, 5), t.ones(2)),
    lambda t: t.linalg.vander(t.ones(2), N=0), lambda t: t.cholesky(t.zeros(3, 3)),
    lambda t: t.cholesky_inverse(t.zeros(3, 3)), lambda t: t.cholesky_solve(t.ones(3), t.eye(3)),
    lambda t: t.cholesky_solve(t.ones(2, 2), t.eye(3)), lambda t: t.cholesky_solve(t.eye(3), t.ones(2, 3)),
    lambda t: t.triangular_solve(t.ones(3), t.eye(3)),
]


@pytest.mark.parametrize("script", REFUSED)
def test_refusals_are_pytorchs(script):
    torch = pytest.importorskip("torch")
    assert failure(script, torch) is not None
    assert failure(script, fw) == failure(script, torch)


def test_an_error_is_raised_where_the_value_is_looked_at():
    with pytest.raises(fw.linalg.LinAlgError, match="singular"):
        fw.linalg.inv(fw.zeros(2, 2)).tolist()
    assert issubclass(fw.linalg.LinAlgError, RuntimeError)
    x = fw.linalg.cholesky(fw.zeros(2, 2) - 1)
    with pytest.raises(fw.linalg.LinAlgError, match="leading minor of order 1"):
        print(x)


@pytest.mark.parametrize("name", ["cholesky", "eig", "eigvals", "eigh", "eigvalsh", "svd", "svdvals", "pinv"])
def test_matrices_with_nan_are_refused(name):
    found = getattr(fw.linalg, name)(fw.eye(3) * float("nan"))
    with pytest.raises(RuntimeError, match="linalg"):
        fw.realize(*(found if isinstance(found, tuple) else [found]))


def test_pivots_that_are_no_rows_are_refused():
    for pivots in ([0, 1], [3, 1]):
        with pytest.raises(RuntimeError, match="from 1 to 2"):
            fw.linalg.lu_solve(fw.eye(2), fw.tensor(pivots, dtype=fw.int32), fw.eye(2)).tolist()


def test_named_results_are_pytorchs():
    torch = pytest.importorskip("torch")
    x, y = fw.eye(2), torch.eye(2)
    for name in ("cholesky_ex", "inv_ex", "slogdet", "qr", "lu", "lu_factor", "lu_factor_ex", "eig", "eigh", "svd"):
        ours, theirs = getattr(fw.linalg, name)(x), getattr(torch.linalg, name)(y)
        assert type(ours).__name__ == type(theirs).__name__
        assert ours._fields == type(theirs).__match_args__
    for name in ("qr", "svd", "slogdet", "geqrf"):
        ours, theirs = getattr(fw, name)(x), getattr(torch, name)(y)
        assert type(ours).__name__ == type(theirs).__name__
        assert ours._fields == type(theirs).__match_args__


def test_every_name_of_torch_linalg_but_that_of_indefinite_factors_is_here():
    torch = pytest.importorskip("torch")
    public = {name for name in dir(torch.linalg) if not name.startswith("_")} - {"common_notes"}
    assert public - set(fw.linalg.__all__) == {"ldl_factor", "ldl_factor_ex", "ldl_solve"}


@pytest.mark.parametrize("chapter", ["linalg", "linalg_solve", "linalg_spectral", "linalg_norms"])
def test_examples(chapter):
    results = doctest.testmod(importlib.import_module(f"flamework.{chapter}"))
    assert results.failed == 0
    assert results.attempted > 0


def test_what_is_around_a_factorisation_fuses_and_is_replayed():
    @fw.compile
    def whitened(x):
        covariance = x.T @ x / x.shape[0] + fw.eye(x.shape[1], dtype=x.dtype)
        return fw.linalg.solve_triangular(fw.linalg.cholesky(covariance), x.T, upper=False)

    for seed in range(3):
        x = matrix(7, 3, seed=seed)
        wanted = np.linalg.solve(np.linalg.cholesky(x.T @ x / 7 + np.eye(3)), x.T)
        compare(whitened(fw.from_numpy(x)).numpy(), wanted, 1e-10, 1e-10)
