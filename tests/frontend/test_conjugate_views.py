"""Views of conjugates and negatives: what is shared, what is resolved, and what cannot be given out."""

import copy
import io
import pickle

import flamework
import numpy as np
import pytest
from same_as_torch import assert_same

# Of z and its conjugate c; each is a value, whose signs and elements are compared.
EXPRESSIONS = """
    c; c.clone(); c.conj(); c.real; c.imag; c.imag.clone(); c[0]; c.t(); c.contiguous(); c.to(t.complex128); c.detach()
    c.reshape(-1); c.t().reshape(-1); c + 0; c.resolve_conj(); c.imag.resolve_neg(); c.imag.neg(); t.zeros_like(c)
    c.data; t.stack([c, c]); c.conj_physical(); z.mH; z.H; z.adjoint(); c.expand(2, 2, 2); c.as_strided((2,), (1,))
    c.as_strided((2,), (1,), 1).imag; t.neg(c); t.real(c); c.unsqueeze(0); c.view(-1); c.squeeze()
    c.select(0, 0); c.diagonal(); c.unfold(0, 1, 1); c.chunk(2)[0]; c.index_select(0, t.tensor([0]))
    z.real.resolve_neg(); c.abs(); c.angle()
    c @ z; c.sum(0); c * z; c == z; t.where(c.real > 0, c, z); c.imag * 2; c.imag[0]; c.imag.t()
    c.new_zeros(2); c.fill_(1j); t.view_as_real(c.resolve_conj()); c.H; c.mT.conj(); c.conj().real; c.conj().imag
"""

FAILING = """
    c.numpy(); np.asarray(c); c.imag.numpy(); t.view_as_real(c); c.view(t.float32); c.__dlpack__(); c.imag.imag
"""

# What writing does to z.
WRITES = """
    c.mul_(2); c[0] = 5 + 1j; c.real.add_(1); c.imag.add_(1); c.imag[1] = 3; c.t()[0].zero_(); c.copy_(z * 2)
    c.conj().add_(1j); c.as_strided((2,), (1,), 1).fill_(2j); c.imag.copy_(t.ones(2, 2)); c.diagonal().mul_(1j)
    c.data.add_(1j); c.reshape(-1)[3] = 1j; c.t().reshape(-1)[0] = 9; c.H[0, 1] = 4j; c.masked_fill_(c.real > 0, 1j)
"""


def pair(t):
    z = t.tensor([[1 + 2j, 3 - 1j], [2j, 1]])
    return z, z.conj()


def pieces(text):
    return [piece.strip() for piece in text.replace("\n", ";").split(";") if piece.strip()]


@pytest.mark.parametrize("text", pieces(EXPRESSIONS))
def test_what_is_shown(text):
    def script(t):
        z, c = pair(t)
        found = eval(text, {"t": t, "np": np, "z": z, "c": c})
        return found.is_conj(), found.is_neg(), found.tolist(), found.resolve_conj().resolve_neg(), str(found)

    assert_same(script)


@pytest.mark.parametrize("text", pieces(FAILING))
def test_what_cannot_be_given_out(text):
    def script(t):
        z, c = pair(t)
        return eval(text, {"t": t, "np": np, "z": z, "c": c})

    assert_same(script)


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("text", pieces(WRITES))
def test_writing_through(text, shared):
    def script(t):
        z, c = pair(t)
        array = z.numpy() if shared else None
        exec(text, {"t": t, "z": z, "c": c})
        return z, c.resolve_conj(), c.is_conj(), array, (c + 0).tolist()

    assert_same(script)


def test_numpy_writes_are_seen():
    def script(t):
        z, c = pair(t)
        z.numpy()[0, 0] = 5 + 5j
        return c.resolve_conj(), c.imag.resolve_neg(), c.t()[0].resolve_conj(), c.numpy(force=True), (c * 2).tolist()

    assert_same(script)


def test_gradients():
    def script(t):
        w = t.tensor([1 + 2j, 3 - 1j], requires_grad=True)
        c = w.conj()
        (c.imag * c.real + (c * c).real).sum().backward()
        v = t.tensor([1 + 2j, 3 - 1j], requires_grad=True)
        u = v * 1
        u.conj()[0] = 2 * v[1]
        u.conj().imag.mul_(3)
        (u.real + u.imag * 2).sum().backward()
        return w.grad.resolve_conj(), c.is_conj(), v.grad.resolve_conj(), c.grad_fn.name()

    assert_same(script)


def test_files_and_copies():
    def script(t):
        z, c = pair(t)
        file = io.BytesIO()
        t.save([c, z, pair(t)[1].imag], file)
        file.seek(0)
        found = t.load(file)
        found[0].mul_(2)
        return (
            [x.resolve_conj().resolve_neg() for x in found], found[0].is_conj(), found[2].is_neg(),
            copy.deepcopy(c).resolve_conj(), pickle.loads(pickle.dumps(c)).resolve_conj(),
        )

    assert_same(script)


def test_files_of_torch(tmp_path):
    torch = pytest.importorskip("torch")
    z, c = pair(torch)
    torch.save([c, pair(torch)[1].imag], tmp_path / "theirs.pt")
    ours = flamework.load(tmp_path / "theirs.pt")
    assert [ours[0].is_conj(), ours[1].is_neg()] == [True, True]
    assert ours[0].tolist() == c.tolist()
    assert ours[1].tolist() == c.imag.tolist()
    flamework.save(ours, tmp_path / "ours.pt")
    theirs = torch.load(tmp_path / "ours.pt")
    assert [theirs[0].is_conj(), theirs[1].is_neg()] == [True, True]
    assert theirs[0].tolist() == c.tolist()


def test_compiled_functions_read_conjugates():
    def f(x):
        return x * 2, x.conj(), x.imag + 1

    compiled = flamework.compile(f)
    for number in range(3):
        z = flamework.tensor([[1 + 2j, number - 1j]])
        for x in (z, z.conj(), z.conj().t()):
            ours, theirs = compiled(x), f(x)
            assert [y.tolist() for y in ours] == [y.tolist() for y in theirs]
            assert [y.is_conj() for y in ours] == [y.is_conj() for y in theirs]
