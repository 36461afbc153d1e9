"""Windows: ``flamework.signal.windows``, and the older ``hann_window`` and its like.

A window depends on Python numbers only, so that it is computed at once, in float64, and rounded once. Symmetric windows
are for filters; periodic ones, a symmetric window of one more element without its last, for spectra.

In: a length. Out: a tensor ``[length]``. Read next: ``spectra.py``.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Iterable

import numpy as np

from ..arguments import placed, scalar_type
from ..compiler import dtypes
from ..compiler.dtypes import FLOATING, DType
from ..creation import DeviceLike, made
from ..device import device_name
from ..recording import get_default_dtype, input_node
from ..tensor import Tensor


def _tensor(values: np.ndarray, dtype: DType, place: DeviceLike, requires_grad: bool) -> Tensor:
    return made(input_node(values.astype(dtype.numpy), device_name(place)), requires_grad)


# ------------------------------------------------------------------------------------------------------------- formulas
# Each is a function of the positions 0, 1, ..., and of the last position of the symmetric window.


def _general_cosine(position: np.ndarray, last: int, a: Iterable[float]) -> np.ndarray:
    angle = position * (2 * math.pi / last)
    return sum((-1) ** i * coefficient * np.cos(i * angle) for i, coefficient in enumerate(a))


def _bartlett(position: np.ndarray, last: int) -> np.ndarray:
    return 1 - np.abs(2 * position / last - 1)


def _kaiser(position: np.ndarray, last: int, beta: float) -> np.ndarray:
    centered = 2 * position / last - 1
    return np.i0(beta * np.sqrt(np.maximum(1 - centered * centered, 0))) / np.i0(beta)


def _cosine(position: np.ndarray, last: int) -> np.ndarray:
    return np.sin((position + 0.5) * (math.pi / (last + 1)))


def _exponential(position: np.ndarray, last: int, center: float | None, tau: float) -> np.ndarray:
    return np.exp(-np.abs(position - (last / 2 if center is None else center)) / tau)


def _gaussian(position: np.ndarray, last: int, std: float) -> np.ndarray:
    return np.exp(-(((position - last / 2) / std) ** 2) / 2)


_HANN, _BLACKMAN = (0.5, 0.5), (0.42, 0.5, 0.08)
_NUTTALL = (0.3635819, 0.4891775, 0.1365995, 0.0106411)

# ----------------------------------------------------------------------------------------------------- symmetric or not


def _window(
    name: str, M: int, formula: Callable, numbers: tuple, sym: bool, dtype: DType | None, device: DeviceLike,
    requires_grad: bool,
) -> Tensor:
    chosen = get_default_dtype() if dtype is None else dtype
    if M < 0:
        raise ValueError(f"{name} requires non-negative window length, got M={M}")
    if chosen not in (dtypes.float32, dtypes.float64):
        raise ValueError(f"{name} expects float32 or float64 dtypes, got: {chosen}")
    if operator.index(M) <= 1:
        values = np.ones(M)
    else:
        values = formula(np.arange(M, dtype=np.float64), M - 1 if sym else M, *numbers)
    return _tensor(values, chosen, device, requires_grad)


def exponential(
    M: int, *, center: float | None = None, tau: float = 1.0, sym: bool = True, dtype: DType | None = None,
    device: DeviceLike = None, requires_grad: bool = False,
) -> Tensor:
    """``exp(-|n - center| / tau)``; ``center`` only for a periodic window. As ``torch.signal.windows.exponential``.

    Raises:
        ValueError: a length below 0, ``tau`` not above 0, or a center of a symmetric window.

    Example:
        >>> import flamework as torch
        >>> torch.signal.windows.exponential(3).tolist()[1]
        1.0
    """
    if tau <= 0:
        raise ValueError(f"Tau must be positive, got: {tau} instead.")
    if sym and center is not None:
        raise ValueError("Center must be None for symmetric windows")
    return _window("exponential", M, _exponential, (center, tau), sym, dtype, device, requires_grad)


def cosine(
    M: int, *, sym: bool = True, dtype: DType | None = None, device: DeviceLike = None, requires_grad: bool = False
) -> Tensor:
    """Half a period of the sine. As ``torch.signal.windows.cosine``.

    Example:
        >>> import flamework as torch
        >>> torch.signal.windows.cosine(3).tolist()[1]
        1.0
    """
    return _window("cosine", M, _cosine, (), sym, dtype, device, requires_grad)


def gaussian(
    M: int, *, std: float = 1.0, sym: bool = True, dtype: DType | None = None, device: DeviceLike = None,
    requires_grad: bool = False,
) -> Tensor:
    """The normal distribution's curve, of height 1. As ``torch.signal.windows.gaussian``.

    Raises:
        ValueError: ``std`` is not positive.

    Example:
        >>> import flamework as torch
        >>> torch.signal.windows.gaussian(3).tolist()[1]
        1.0
    """
    if std <= 0:
        raise ValueError(f"Standard deviation must be positive, got: {std} instead.")
    return _window("gaussian", M, _gaussian, (std,), sym, dtype, device, requires_grad)


def kaiser(
    M: int, *, beta: float = 12.0, sym: bool = True, dtype: DType | None = None, device: DeviceLike = None,
    requires_grad: bool = False,
) -> Tensor:
    """Kaiser's window, a ratio of Bessel functions. As ``torch.signal.windows.kaiser``.

    Raises:
        ValueError: ``beta`` is negative.

    Example:
        >>> import flamework as torch
        >>> torch.signal.windows.kaiser(3, beta=0.0).tolist()
        [1.0, 1.0, 1.0]
    """
    if beta < 0:
        raise ValueError(f"beta must be non-negative, got: {beta} instead.")
    return _window("kaiser", M, _kaiser, (beta,), sym, dtype, device, requires_grad)


def general_cosine(
    M: int, *, a: Iterable[float], sym: bool = True, dtype: DType | None = None, device: DeviceLike = None,
    requires_grad: bool = False,
) -> Tensor:
    """``sum_i (-1)^i a[i] cos(2 pi i n / (M - 1))``. As ``torch.signal.windows.general_cosine``.

    Raises:
        TypeError: ``a`` is no sequence.
        ValueError: ``a`` is empty.

    Example:
        >>> import flamework as torch
        >>> torch.signal.windows.general_cosine(3, a=[0.5, 0.5]).tolist()
        [0.0, 1.0, 0.0]
    """
    if not isinstance(a, Iterable):
        raise TypeError("Coefficients must be a list/tuple")
    if not a:
        raise ValueError("Coefficients cannot be empty")
    return _window("general_cosine", M, _general_cosine, (tuple(a),), sym, dtype, device, requires_grad)


def general_hamming(
    M: int, *, alpha: float = 0.54, sym: bool = True, dtype: DType | None = None, device: DeviceLike = None,
    requires_grad: bool = False,
) -> Tensor:
    """``alpha - (1 - alpha) cos(2 pi n / (M - 1))``. As ``torch.signal.windows.general_hamming``."""
    return general_cosine(
        M, a=[alpha, 1.0 - alpha], sym=sym, dtype=dtype, device=device, requires_grad=requires_grad
    )


def hamming(
    M: int, *, sym: bool = True, dtype: DType | None = None, device: DeviceLike = None, requires_grad: bool = False
) -> Tensor:
    """:func:`general_hamming` with 0.54. As ``torch.signal.windows.hamming``."""
    return general_hamming(M, sym=sym, dtype=dtype, device=device, requires_grad=requires_grad)


def hann(
    M: int, *, sym: bool = True, dtype: DType | None = None, device: DeviceLike = None, requires_grad: bool = False
) -> Tensor:
    """:func:`general_hamming` with 0.5: a raised cosine. As ``torch.signal.windows.hann``."""
    return general_hamming(M, alpha=0.5, sym=sym, dtype=dtype, device=device, requires_grad=requires_grad)


def blackman(
    M: int, *, sym: bool = True, dtype: DType | None = None, device: DeviceLike = None, requires_grad: bool = False
) -> Tensor:
    """Blackman's window of three cosines. As ``torch.signal.windows.blackman``."""
    return _window("blackman", M, _general_cosine, (_BLACKMAN,), sym, dtype, device, requires_grad)


def bartlett(
    M: int, *, sym: bool = True, dtype: DType | None = None, device: DeviceLike = None, requires_grad: bool = False
) -> Tensor:
    """A triangle that begins with 0. As ``torch.signal.windows.bartlett``."""
    return _window("bartlett", M, _bartlett, (), sym, dtype, device, requires_grad)


def nuttall(
    M: int, *, sym: bool = True, dtype: DType | None = None, device: DeviceLike = None, requires_grad: bool = False
) -> Tensor:
    """Nuttall's window of four cosines. As ``torch.signal.windows.nuttall``."""
    return general_cosine(M, a=_NUTTALL, sym=sym, dtype=dtype, device=device, requires_grad=requires_grad)


# --------------------------------------------------------------------------------------------------------- hann_window


def _older(
    name: str, length: int, periodic: bool, formula: Callable, numbers: tuple, dtype: DType | None,
    device: DeviceLike, requires_grad: bool,
) -> Tensor:
    chosen = get_default_dtype() if dtype is None else dtype
    if not hasattr(length, "__index__"):
        raise TypeError(
            f"{name}(): argument 'window_length' (position 1) must be int, not {type(length).__name__}"
        )
    if chosen.kind != FLOATING:
        raise RuntimeError(f"{name} expects floating point dtypes, got: {scalar_type(chosen)}")
    if length < 0:
        raise RuntimeError(f"{name} requires non-negative window_length, got window_length={length}")
    if length <= 1:
        values = np.ones(length)
    else:
        values = formula(np.arange(length, dtype=np.float64), length if periodic else length - 1, *numbers)
    return _tensor(values, chosen, device, requires_grad)


@placed
def bartlett_window(
    window_length: int, periodic: bool = True, *, dtype: DType | None = None, device: DeviceLike = None,
    requires_grad: bool = False,
) -> Tensor:
    """A triangle that begins with 0. As ``torch.bartlett_window``.

    Raises:
        RuntimeError: a length below 0, or a dtype that is not floating point.

    Example:
        >>> import flamework as torch
        >>> torch.bartlett_window(4).tolist()
        [0.0, 0.5, 1.0, 0.5]
    """
    return _older("bartlett_window", window_length, periodic, _bartlett, (), dtype, device, requires_grad)


@placed
def blackman_window(
    window_length: int, periodic: bool = True, *, dtype: DType | None = None, device: DeviceLike = None,
    requires_grad: bool = False,
) -> Tensor:
    """``0.42 - 0.5 cos(2 pi n / N) + 0.08 cos(4 pi n / N)``. As ``torch.blackman_window``.

    Raises:
        RuntimeError: as :func:`bartlett_window`.
    """
    return _older("blackman_window", window_length, periodic, _general_cosine, (_BLACKMAN,), dtype, device,
                  requires_grad)


@placed
def hamming_window(
    window_length: int, periodic: bool = True, alpha: float = 0.54, beta: float = 0.46, *,
    dtype: DType | None = None, device: DeviceLike = None, requires_grad: bool = False,
) -> Tensor:
    """``alpha - beta cos(2 pi n / N)``. As ``torch.hamming_window``.

    Raises:
        RuntimeError: as :func:`bartlett_window`.
    """
    return _older("hamming_window", window_length, periodic, _general_cosine, ((alpha, beta),), dtype, device,
                  requires_grad)


@placed
def hann_window(
    window_length: int, periodic: bool = True, *, dtype: DType | None = None, device: DeviceLike = None,
    requires_grad: bool = False,
) -> Tensor:
    """``0.5 - 0.5 cos(2 pi n / N)``. As ``torch.hann_window``.

    Raises:
        RuntimeError: as :func:`bartlett_window`.

    Example:
        >>> import flamework as torch
        >>> torch.hann_window(4).tolist()
        [0.0, 0.5, 1.0, 0.5]
    """
    return _older("hann_window", window_length, periodic, _general_cosine, (_HANN,), dtype, device, requires_grad)


@placed
def kaiser_window(
    window_length: int, periodic: bool = True, beta: float = 12.0, *, dtype: DType | None = None,
    device: DeviceLike = None, requires_grad: bool = False,
) -> Tensor:
    """Kaiser's window, a ratio of Bessel functions. As ``torch.kaiser_window``.

    Raises:
        RuntimeError: as :func:`bartlett_window`.
    """
    return _older("kaiser_window", window_length, periodic, _kaiser, (beta,), dtype, device, requires_grad)
