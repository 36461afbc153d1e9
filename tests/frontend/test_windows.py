"""Windows and the short-time Fourier transform against PyTorch: values, dtypes, gradients, errors."""

from __future__ import annotations

import warnings

import flamework as fw
import numpy as np
import pytest
from same_as_torch import assert_same

OLDER = ("bartlett_window", "blackman_window", "hamming_window", "hann_window", "kaiser_window")
WINDOWS = (
    "bartlett", "blackman", "cosine", "exponential", "gaussian", "general_hamming", "hamming", "hann", "kaiser",
    "nuttall",
)
X = np.random.default_rng(0).standard_normal((2, 40))
Z = X + 1j * np.random.default_rng(1).standard_normal((2, 40))


@pytest.fixture(autouse=True)
def quiet():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@pytest.mark.parametrize("name", OLDER)
def test_older_window(name):
    def script(t):
        f = getattr(t, name)
        return [f(n, periodic, dtype=t.float64) for n in (0, 1, 2, 3, 8, 51) for periodic in (True, False)]

    assert_same(script, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("name", OLDER)
def test_older_window_in_other_dtypes(name):
    def script(t):
        window = getattr(t, name)(9, dtype=t.float16)
        return [getattr(t, name)(9), window.float(), str(window.dtype), getattr(t, name)(3, requires_grad=True)]

    assert_same(script, rtol=2e-3, atol=5e-4)
    assert_same(lambda t: getattr(t, name)(9), rtol=1e-6, atol=2e-7)


def test_numbers_of_older_windows():
    assert_same(lambda t: [
        t.hamming_window(7, True, 0.5, dtype=t.float64),
        t.hamming_window(7, False, alpha=0.4, beta=0.3, dtype=t.float64),
        t.kaiser_window(7, True, 3.0, dtype=t.float64), t.kaiser_window(7, False, beta=0.0, dtype=t.float64),
        t.kaiser_window(7, periodic=False, beta=-2.0, dtype=t.float64),
    ], rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("name", OLDER)
@pytest.mark.parametrize("length", [-1, 2.5])
def test_older_window_of_a_wrong_length(name, length):
    assert_same(lambda t: getattr(t, name)(length))


@pytest.mark.parametrize("name", OLDER)
def test_older_window_refuses_integers(name):
    with pytest.raises(RuntimeError, match="expects floating point dtypes"):
        getattr(fw, name)(3, dtype=fw.int64)


@pytest.mark.parametrize("name", WINDOWS)
def test_window(name):
    def script(t):
        f = getattr(t.signal.windows, name)
        return [f(n, sym=sym, dtype=t.float64) for n in (0, 1, 2, 3, 8, 51) for sym in (True, False)] + [f(5)]

    assert_same(script, rtol=1e-6, atol=2e-7)


@pytest.mark.parametrize("name", WINDOWS)
def test_window_raises(name):
    assert_same(lambda t: getattr(t.signal.windows, name)(-1))
    assert_same(lambda t: getattr(t.signal.windows, name)(3, dtype=t.int64))
    assert_same(lambda t: getattr(t.signal.windows, name)(3, dtype=t.bfloat16))


@pytest.mark.parametrize(("name", "options"), [
    ("exponential", {"center": 1.0, "sym": False, "tau": 2.0}), ("exponential", {"center": 1.0}),
    ("exponential", {"tau": -1.0}), ("gaussian", {"std": 2.0}), ("gaussian", {"std": 0.0}), ("kaiser", {"beta": 3.0}),
    ("kaiser", {"beta": -1.0}), ("general_cosine", {"a": [0.46, 0.23, 0.31]}), ("general_cosine", {"a": []}),
    ("general_cosine", {"a": 3}), ("general_hamming", {"alpha": 0.7}),
])
def test_numbers_of_windows(name, options):
    assert_same(lambda t: getattr(t.signal.windows, name)(6, dtype=t.float64, **options), rtol=1e-6, atol=1e-7)


# ----------------------------------------------------------------------------------------------------------- spectra

STFT = [
    {}, {"hop_length": 3}, {"win_length": 5}, {"center": False}, {"center": False, "win_length": 5},
    {"center": False, "win_length": 5, "align_to_window": True}, {"center": False, "align_to_window": False},
    {"pad_mode": "constant"}, {"pad_mode": "replicate"}, {"pad_mode": "circular"}, {"normalized": True},
    {"onesided": False}, {"onesided": True}, {"return_complex": False}, {"hop_length": 9},
    # errors
    {"center": True, "align_to_window": True}, {"hop_length": 0}, {"hop_length": -1}, {"win_length": 9},
    {"win_length": 0}, {"return_complex": None},
]


@pytest.mark.parametrize("batch", [False, True])
@pytest.mark.parametrize("n_fft", [7, 8])
@pytest.mark.parametrize("options", STFT, ids=str)
def test_stft(options, n_fft, batch):
    def script(t, windowed):
        width = options.get("win_length", n_fft)
        window = t.hann_window(max(width, 1), dtype=t.float64) if windowed else None
        x = t.tensor(X if batch else X[0])
        return t.stft(x, n_fft, window=window, **{"return_complex": True, **options})

    assert_same(script, True, rtol=1e-10, atol=1e-12)
    assert_same(script, False, rtol=1e-10, atol=1e-12)


def test_stft_of_complex_numbers():
    def script(t):
        z, window = t.tensor(Z), t.hann_window(8, dtype=t.float64)
        return [
            t.stft(z, 8, window=window), t.stft(z, 8, window=window, return_complex=False),
            t.stft(z[0], 8, window=window * (1 + 1j), center=False), z.stft(8, window=window, return_complex=True),
            t.stft(t.tensor(X), 8, window=window * 1j), t.stft(z, 8, window=window[:5], win_length=5),
        ]

    assert_same(script, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("call", [
    lambda t, x: t.stft(x.long(), 8, return_complex=True),
    lambda t, x: t.stft(x, 80, return_complex=True, center=False),
    lambda t, x: t.stft(x, 40, return_complex=True, center=False),
    lambda t, x: t.stft(x, 0, return_complex=True, center=False),
    lambda t, x: t.stft(x, 8, window=t.ones(9), return_complex=True),
    lambda t, x: t.stft(x, 8, window=t.ones(2, 4), return_complex=True),
    lambda t, x: t.stft(x[None, :], 8, return_complex=True), lambda t, x: t.stft(x + 0j, 8, onesided=True),
    lambda t, x: t.stft(x, 8), lambda t, x: x.stft(8, None, None, t.ones(8), True, "reflect", False, True, True),
])
def test_arguments_of_stft(call):
    assert_same(lambda t: call(t, t.tensor(X)), rtol=1e-10, atol=1e-12)


def test_dtypes_of_stft():
    assert_same(lambda t: [str(v.dtype) for x in (t.tensor(X), t.tensor(X).float()) for v in (
        t.stft(x, 8, window=window, return_complex=True)
        for window in (t.ones(8), t.ones(8).double(), t.ones(8).long()))])


ISTFT = [
    {}, {"normalized": True}, {"length": 30}, {"length": 12}, {"length": 44}, {"length": 60}, {"center": False},
    {"hop_length": 3}, {"win_length": 6}, {"onesided": True},
    # errors
    {"onesided": False}, {"return_complex": True}, {"hop_length": 0}, {"hop_length": 9}, {"win_length": 9},
    {"win_length": 0}, {"length": 0},
]


@pytest.mark.parametrize("batch", [False, True])
@pytest.mark.parametrize("options", ISTFT, ids=str)
def test_istft(options, batch):
    def script(t, windowed):
        width = options.get("win_length", 8)
        window = t.hamming_window(width, dtype=t.float64) if windowed and width else None
        x = t.tensor(Z if batch else Z[0])[..., :35].reshape(*([2] if batch else []), 5, 7)
        return t.istft(x, 8, window=window, **options)

    assert_same(script, True, rtol=1e-9, atol=1e-11)
    assert_same(script, False, rtol=1e-9, atol=1e-11)


def test_istft_of_both_sides():
    def script(t):
        z, window = t.tensor(Z), t.hamming_window(8, dtype=t.float64)
        spectrum = t.stft(z, 8, window=window)
        return [
            t.istft(spectrum, 8, window=window), spectrum.istft(8, window=window, return_complex=True),
            t.istft(spectrum, 8, window=window * (1 + 1j), return_complex=True),
            t.istft(spectrum, 8, window=window, return_complex=True, length=60),
            t.istft(spectrum[:, :5], 8, window=window, onesided=True),
        ]

    assert_same(script, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("call", [
    lambda t, z: t.istft(z, 8, window=t.zeros(8)), lambda t, z: t.istft(z, 8, window=t.hann_window(8), center=False),
    lambda t, z: t.istft(z.real, 8), lambda t, z: t.istft(z[:, :0], 8), lambda t, z: t.istft(z[None, None], 8),
    lambda t, z: t.istft(z, 8, window=t.ones(7)), lambda t, z: t.istft(z, 10), lambda t, z: t.istft(3, 8),
    lambda t, z: t.istft(z, 8, window=t.ones(8) + 0j),
])
def test_istft_raises(call):
    assert_same(lambda t: call(t, t.tensor(Z[0][:35].reshape(5, 7))))


@pytest.mark.parametrize("complex_signal", [False, True])
def test_gradients_of_stft_and_istft(complex_signal):
    def script(t):
        x = t.tensor(Z if complex_signal else X, requires_grad=True)
        window = t.hann_window(8, dtype=t.float64).requires_grad_()
        y = t.stft(x, 8, window=window, return_complex=True)
        back = t.istft(y * y, 8, window=window, return_complex=complex_signal)
        loss = (back.abs() ** 2).sum() + (y.abs() ** 3).sum()
        return [g.resolve_conj() for g in t.autograd.grad(loss, (x, window))]

    assert_same(script, rtol=1e-8, atol=1e-9)


def test_stft_in_a_compiled_function():
    @fw.compile
    def there_and_back(x, window):
        return fw.istft(fw.stft(x, 8, window=window, return_complex=True), 8, window=window)

    window = fw.hann_window(8)
    for seed in range(3):
        x = fw.tensor(np.random.default_rng(seed).standard_normal(40).astype("float32"))
        np.testing.assert_allclose(there_and_back(x, window).numpy(), x.numpy(), rtol=1e-4, atol=1e-5)


def test_a_missing_window_is_warned_of():
    with pytest.warns(UserWarning, match="A window was not provided"):
        fw.stft(fw.ones(16), 8, return_complex=True)


def test_an_unknown_padding_mode():
    with pytest.raises(RuntimeError, match="Unrecognised padding mode none"):
        fw.stft(fw.ones(16), 8, pad_mode="none", return_complex=True)
