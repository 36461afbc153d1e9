"""Fourier transforms against PyTorch: values, gradients, normalisations, lengths, axes, dtypes, errors."""

from __future__ import annotations

import flamework as fw
import numpy as np
import pytest
from same_as_torch import assert_same

RNG = np.random.default_rng(0)
REAL = RNG.standard_normal((3, 4, 6))
COMPLEX = REAL + 1j * RNG.standard_normal((3, 4, 6))
OF_REAL = ("rfft", "ihfft", "rfft2", "ihfft2", "rfftn", "ihfftn")
OF_ONE_AXIS = ("fft", "ifft", "rfft", "irfft", "hfft", "ihfft")
OF_SEVERAL = (
    "fftn", "ifftn", "rfftn", "irfftn", "hfftn", "ihfftn", "fft2", "ifft2", "rfft2", "irfft2", "hfft2", "ihfft2",
)
NORMS = (None, "backward", "ortho", "forward")


def array_for(name):
    return REAL if name in OF_REAL else COMPLEX


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("name", OF_ONE_AXIS)
def test_transform_of_one_axis(name, norm):
    def script(t):
        x = t.tensor(array_for(name))
        function = getattr(t.fft, name)
        return [function(x, n, dim, norm).resolve_conj() for n in (None, 1, 3, 5, 9) for dim in (-1, 0, 1)]

    assert_same(script, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("name", OF_SEVERAL)
def test_transform_of_several_axes(name, norm):
    def script(t):
        x = t.tensor(array_for(name))
        function = getattr(t.fft, name)
        return [function(x, s, dim, norm).resolve_conj() for s, dim in (
            (None, (-2, -1)), ((3, 4), (0, 2)), ((5,), (1,)), ((-1, 7), (2, 0)), (None, (1,)))]

    assert_same(script, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", ["fftn", "ifftn", "rfftn", "irfftn", "hfftn", "ihfftn"])
def test_axes_left_out_are_all_or_the_last(name):
    def script(t):
        x = t.tensor(array_for(name))
        return [getattr(t.fft, name)(x, s).resolve_conj() for s in (None, (4,), (3, 5))]

    assert_same(script, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", [*OF_ONE_AXIS, *OF_SEVERAL])
def test_gradient(name):
    def script(t):
        x = t.tensor(array_for(name), requires_grad=True)
        y = getattr(t.fft, name)(x).resolve_conj()
        y = t.view_as_real(y) if y.is_complex() else y
        weights = t.tensor(np.resize(REAL, tuple(y.shape)))
        (gradient,) = t.autograd.grad((y * y * weights).sum(), x)
        return gradient.resolve_conj()

    assert_same(script, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("name", OF_ONE_AXIS)
def test_gradient_of_the_gradient(name):
    def script(t):
        x = t.tensor(array_for(name), requires_grad=True)
        y = getattr(t.fft, name)(x, 5).abs().pow(3).sum()
        (first,) = t.autograd.grad(y, x, create_graph=True)
        (second,) = t.autograd.grad(first.abs().pow(2).sum(), x)
        return second.resolve_conj()

    assert_same(script, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("script", [
    lambda t: t.fft.fft(t.arange(4)),
    lambda t: t.fft.fft(t.tensor([True, False])),
    lambda t: t.fft.rfft(t.ones(5, dtype=t.float64)),
    lambda t: t.fft.fft(t.ones(3, dtype=t.complex64)),
    lambda t: t.fft.irfft(t.ones(3)),
    lambda t: [t.fft.fftfreq(n, 0.5) for n in (1, 4, 5)] + [t.fft.rfftfreq(n, 0.5) for n in (1, 4, 5)],
    lambda t: t.fft.fftfreq(4, dtype=t.float64),
    lambda t: [f(t.arange(12).reshape(3, 4), d)
               for f in (t.fft.fftshift, t.fft.ifftshift) for d in (None, 0, (1,), (0, 1))],
    lambda t: t.fft.fft(t.ones(4), out=t.empty(4, dtype=t.complex64)),
])
def test_dtypes_and_helpers(script):
    assert_same(script)


@pytest.mark.parametrize("script", [
    lambda t: t.fft.fft(t.ones(3), norm="no"),
    lambda t: t.fft.fft(t.ones(3), n=0),
    lambda t: t.fft.fft(t.ones(3), dim=1),
    lambda t: t.fft.rfft(t.ones(3, dtype=t.complex64)),
    lambda t: t.fft.fftn(t.ones(3, 3), dim=(0, 0)),
    lambda t: t.fft.fftn(t.ones(3, 3), s=(1, 2), dim=(0,)),
    lambda t: t.fft.fftn(t.ones(3), s=(1, 2)),
    lambda t: t.fft.irfft(t.ones(1)),
    lambda t: t.fft.fft(t.ones(3, dtype=t.half)),
])
def test_errors(script):
    assert_same(script, messages=False)


def test_what_is_around_a_transform_fuses_and_is_replayed():
    @fw.compile
    def filtered(x):
        return fw.fft.irfft(fw.fft.rfft(x * 2 + 1) * 0.5).relu()

    x = fw.from_numpy(REAL)
    wanted = np.maximum(REAL * 2 + 1, 0) * 0.5
    for _ in range(2):
        np.testing.assert_allclose(filtered(x).numpy(), np.where(REAL * 2 + 1 > 0, wanted, 0), atol=1e-12)
    kinds = [kernel.kind for kernel in fw.explain(filtered)(x).kernels]
    assert kinds.count("kernel") == 3


def test_an_error_of_the_library_reaches_the_user_and_leaves_the_plan_usable(monkeypatch):
    from flamework.compiler import primitives_library

    def fails(params, x):
        raise ValueError("it did not converge")

    x = fw.ones(4) + 1
    y = fw.fft.rfft(x)
    monkeypatch.setattr(primitives_library.rfft, "reference", fails)
    with pytest.raises(ValueError, match="it did not converge"):
        y.tolist()
    monkeypatch.undo()
    assert y.real.tolist() == [8.0, 0.0, 0.0]
