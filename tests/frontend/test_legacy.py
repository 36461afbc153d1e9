"""Names of older versions of PyTorch: by what took their place, and by the formulas of their documentation."""

import flamework
import numpy as np
import pytest
from same_as_torch import array, assert_same

SQUARE = array(4, 4, dtype="float64") + 3 * np.eye(4)
DEFINITE = SQUARE @ SQUARE.T
BATCH = np.stack([SQUARE, SQUARE.T + np.eye(4)])
RIGHT = array(4, 3, seed=1, dtype="float64")


# What is called with old names here, and with new ones there.
PAIRS = {
    "gesv": (lambda t, a, b: t.gesv(b, a), lambda t, a, b: (t.linalg.solve(a, b), t.linalg.lu_factor(a)[0])),
    "potrf": (lambda t, a, b: t.potrf(a @ a.mT), lambda t, a, b: t.linalg.cholesky(a @ a.mT, upper=True)),
    "potrf, lower": (lambda t, a, b: t.potrf(a @ a.mT, False), lambda t, a, b: t.linalg.cholesky(a @ a.mT)),
    "potri": (lambda t, a, b: t.potri(t.triu(a)), lambda t, a, b: t.cholesky_inverse(t.triu(a), upper=True)),
    "potri, lower": (lambda t, a, b: t.potri(t.tril(a), upper=False), lambda t, a, b: t.cholesky_inverse(t.tril(a))),
    "potrs": (lambda t, a, b: t.potrs(b, t.triu(a)), lambda t, a, b: t.cholesky_solve(b, t.triu(a), upper=True)),
    "potrs, lower": (lambda t, a, b: t.potrs(b, t.tril(a), False), lambda t, a, b: t.cholesky_solve(b, t.tril(a))),
    "trtrs": (lambda t, a, b: t.trtrs(b, a), lambda t, a, b: (t.linalg.solve_triangular(a, b, upper=True), a)),
    "trtrs, all arguments": (
        lambda t, a, b: t.trtrs(b, a, False, True, True)[0],
        lambda t, a, b: t.linalg.solve_triangular(a.mT, b, upper=True, unitriangular=True)),
    "btrifact": (lambda t, a, b: t.btrifact(a)[0], lambda t, a, b: t.linalg.lu_factor(a)[0]),
    "btrisolve": (lambda t, a, b: t.btrisolve(b, *t.btrifact(a)), lambda t, a, b: t.linalg.solve(a, b)),
    "btrisolve, vectors": (lambda t, a, b: t.btrisolve(b[..., 0], *t.btrifact(a)),
                           lambda t, a, b: t.linalg.solve(a, b[..., :1])[..., 0]),
    "btriunpack": (lambda t, a, b: t.btriunpack(*t.btrifact(a)), lambda t, a, b: t.linalg.lu(a)),
}


@pytest.mark.parametrize("batched", [False, True])
@pytest.mark.parametrize("name", PAIRS)
def test_linear_algebra(name, batched):
    def script(torch):
        a = torch.tensor(BATCH if batched else SQUARE, requires_grad=True)
        b = torch.tensor(np.stack([RIGHT, -RIGHT]) if batched else RIGHT, requires_grad=True)
        results = PAIRS[name][torch is not flamework](torch, a, b)
        results = list(results) if isinstance(results, tuple) else [results]
        # the copy of A has no part in the gradient
        sum((r * (i + 1)).sum() for i, r in enumerate(results[: 1 if name == "trtrs" else 3])).backward()
        return results, a.grad, b.grad
    assert_same(script, rtol=1e-7, atol=1e-9)


def test_factorisations_tell_pivots_and_failures():
    singular = np.array([SQUARE, np.zeros((4, 4))])
    factors, pivots = flamework.btrifact(flamework.tensor(SQUARE))
    assert pivots.dtype is flamework.int32
    _, again, info = flamework.tensor(singular).btrifact_with_info()
    assert again[0].tolist() == pivots.tolist()
    assert info.tolist() == [0, 1]
    with pytest.raises(RuntimeError, match="pivoting"):
        flamework.btrifact(flamework.tensor(SQUARE), pivot=False)


@pytest.mark.parametrize("shape", [(6, 3), (3, 3), (3, 6)])
def test_least_squares(shape):
    a, b = array(*shape, dtype="float64"), array(shape[0], 2, seed=1, dtype="float64")
    solution, packed = flamework.gels(flamework.tensor(b), flamework.tensor(a))
    wanted, residues = np.linalg.lstsq(a, b, rcond=None)[:2]
    assert solution.shape == (max(shape), 2)
    np.testing.assert_allclose(solution[: shape[1]].numpy(), wanted, rtol=1e-9)
    if residues.size:
        np.testing.assert_allclose((solution[shape[1] :] ** 2).sum(0).numpy(), residues, rtol=1e-9)
    assert packed.shape == shape
    upper = np.triu(packed.numpy())[: min(shape)] if shape[0] >= shape[1] else np.tril(packed.numpy())[:, : shape[0]].T
    r = np.linalg.qr(a if shape[0] >= shape[1] else a.T, mode="r")
    np.testing.assert_allclose(np.abs(upper), np.abs(r), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("shape", [(6, 3), (3, 6)])
def test_gradient_of_least_squares(shape):
    def script(torch):
        a = torch.tensor(array(*shape, dtype="float64"), requires_grad=True)
        b = torch.tensor(array(shape[0], 2, seed=1, dtype="float64"), requires_grad=True)
        x = b.gels(a)[0][: shape[1]] if torch is flamework else torch.linalg.pinv(a) @ b
        (x * torch.tensor(array(*x.shape, seed=2, dtype="float64"))).sum().backward()
        return x, a.grad, b.grad
    assert_same(script, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("upper", [True, False])
@pytest.mark.parametrize("dtype", ["float32", "float64", "complex128"])
def test_pivoted_cholesky(dtype, upper):
    """The reconstruction of the documentation; only one triangle is read."""
    matrix = DEFINITE.astype(dtype)
    if dtype == "complex128":
        matrix = matrix + 1j * (np.triu(DEFINITE, 1) - np.tril(DEFINITE, -1)) * 0.1
    half = np.triu(matrix) if upper else np.tril(matrix)
    u, pivot = flamework.tensor(half).pstrf(upper)
    assert pivot.dtype is flamework.int32
    assert sorted(pivot.tolist()) == [0, 1, 2, 3]
    found = (u.mH @ u if upper else u @ u.mH).numpy()
    order = pivot.numpy()
    np.testing.assert_allclose(found, matrix[order][:, order], rtol=1e-5, atol=1e-5)
    factor = u.numpy()
    np.testing.assert_array_equal(factor, np.triu(factor) if upper else np.tril(factor))
    diagonal = np.diag(factor).real
    assert (np.diff(diagonal) <= 1e-6).all()


def test_pivoted_cholesky_of_the_documentation():
    a = flamework.tensor([[3.5405, -0.4577, 0.8342], [-0.4577, 1.8244, -0.1996], [0.8342, -0.1996, 3.7493]])
    u, pivot = flamework.pstrf(a)
    np.testing.assert_allclose(
        u.numpy(), [[1.9363, 0.4308, -0.1031], [0, 1.8316, -0.2256], [0, 0, 1.3277]], atol=1e-4)
    assert pivot.tolist() == [2, 0, 1]
    assert flamework.pstrf(flamework.zeros(0, 0)).u.shape == (0, 0)


def test_pivoted_cholesky_refuses_what_is_not_positive_definite():
    with pytest.raises(RuntimeError, match="positive"):
        flamework.pstrf(flamework.ones(2, 2)).u.tolist()
    with pytest.raises(RuntimeError, match="square"):
        flamework.pstrf(flamework.ones(2, 3))
    with pytest.raises(RuntimeError, match="a matrix"):
        flamework.pstrf(flamework.ones(2, 2, 2))


def test_results_are_written_to_out():
    a, b = flamework.tensor(SQUARE), flamework.tensor(RIGHT)
    out = [flamework.zeros(0, dtype=flamework.float64) for _ in range(2)]
    found = flamework.gesv(b, a, out=tuple(out))
    assert found[0] is out[0]
    np.testing.assert_allclose(out[0].numpy(), np.linalg.solve(SQUARE, RIGHT), rtol=1e-10)
    assert flamework.potrf(flamework.tensor(DEFINITE), out=out[1]) is out[1]


def paired(values):
    return np.stack([values.real, values.imag], -1)


@pytest.mark.parametrize("normalized", [False, True])
@pytest.mark.parametrize("count", [1, 2, 3])
def test_transforms_of_pairs(count, normalized):
    x = array(2, 3, 4, 5, 2, dtype="float64")
    axes, norm = tuple(range(-count, 0)), "ortho" if normalized else "backward"
    values = x[..., 0] + 1j * x[..., 1]
    tensor = flamework.tensor(x)
    forward = flamework.fft(tensor, count, normalized)
    np.testing.assert_allclose(forward.numpy(), paired(np.fft.fftn(values, axes=axes, norm=norm)), atol=1e-12)
    assert tensor.fft(count, normalized).tolist() == forward.tolist()
    back = forward.ifft(count, normalized=normalized)
    np.testing.assert_allclose(back.numpy(), x, atol=1e-12)
    assert flamework.ifft(forward, count, normalized).tolist() == back.tolist()


@pytest.mark.parametrize("onesided", [True, False])
@pytest.mark.parametrize("normalized", [False, True])
@pytest.mark.parametrize("count", [1, 2, 3])
def test_transforms_of_reals(count, normalized, onesided):
    x = array(2, 3, 4, 5, dtype="float64")
    axes, norm = tuple(range(-count, 0)), "ortho" if normalized else "backward"
    wanted = (np.fft.rfftn if onesided else np.fft.fftn)(x, axes=axes, norm=norm)
    tensor = flamework.tensor(x, requires_grad=True)
    found = flamework.rfft(tensor, count, normalized, onesided)
    np.testing.assert_allclose(found.detach().numpy(), paired(wanted), atol=1e-12)
    back = found.irfft(count, normalized, onesided, signal_sizes=x.shape[-count:])
    np.testing.assert_allclose(back.detach().numpy(), x, atol=1e-12)
    back.sum().backward()
    np.testing.assert_allclose(tensor.grad.numpy(), np.ones_like(x), atol=1e-12)


def test_the_size_of_a_signal_is_even_unless_told():
    half = flamework.rfft(flamework.ones(4, 5), 2)
    assert half.shape == (4, 3, 2)
    assert flamework.irfft(half, 2).shape == (4, 4)
    assert flamework.irfft(half, 2, signal_sizes=(4, 5)).shape == (4, 5)
    assert flamework.fft.fftfreq(2).tolist() == [0.0, -0.5]


@pytest.mark.parametrize("call", [
    lambda: flamework.fft(flamework.ones(4, 2), 0), lambda: flamework.fft(flamework.ones(4, 2), 4),
    lambda: flamework.fft(flamework.ones(4, 3), 1), lambda: flamework.fft(flamework.ones(2), 1),
    lambda: flamework.rfft(flamework.ones(4), 2), lambda: flamework.irfft(flamework.ones(3, 2), 1, signal_sizes=(7,)),
    lambda: flamework.irfft(flamework.ones(3, 2), 1, onesided=False, signal_sizes=(4,)),
])
def test_transforms_refuse_what_is_no_signal(call):
    with pytest.raises(RuntimeError):
        call()
