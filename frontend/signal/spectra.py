"""The short-time Fourier transform and its inverse: ``torch.stft`` and ``torch.istft``.

Both are compositions: overlapping frames are a view of the signal (``unfold``), which is multiplied with the window as
one kernel and transformed (``fft.py``); the inverse adds the frames where they overlap and divides by what the squared
windows add up to there.

In: signals and windows. Out: spectra, signals, with PyTorch's gradients.
"""

from __future__ import annotations

import math

import numpy as np

from .. import fft
from ..arguments import scalar_type, tensor_argument, values_of
from ..compiler.dtypes import FLOATING
from ..complex_numbers import complex, view_as_real
from ..creation import ones
from ..joining import stack
from ..nn.functional_conv import fold
from ..nn.functional_vision import pad
from ..origin import warn
from ..recording import node_of
from ..runtime import engine
from ..tensor import Tensor, method

# Below this, what the squared windows add up to counts as nothing.
_NOTHING = 1e-11


def _call(head: str, numbers: dict[str, object], window: Tensor | None, tail: dict[str, object]) -> str:
    """A call as PyTorch's errors repeat it."""
    shown = "None" if window is None else f"torch.{scalar_type(window.dtype)}Tensor{{{list(window.shape)}}}"
    values = {**numbers, "window": shown, **tail}
    return f"{head}, " + ", ".join(
        f"{name}={int(v) if isinstance(v, bool) else v}" for name, v in values.items()
    ) + ")"


def _no_window(advice: str) -> None:
    warn(
        f"A window was not provided. A rectangular window will be applied,{advice} To suppress this warning and use a "
        "rectangular window, explicitly set `window=torch.ones(n_fft, device=<device>)`.",
    )


def _full_window(window: Tensor | None, win_length: int, n_fft: int, like: Tensor) -> Tensor | None:
    """The window in the middle of ``n_fft`` elements; None for one that is 1 everywhere."""
    if window is None:
        if win_length == n_fft:
            return None
        real = like.real.dtype if like.is_complex() else like.dtype
        window = ones(win_length, dtype=real, device=like.device)
    left = (n_fft - win_length) // 2
    return window if win_length == n_fft else _zeros_around(window, left, n_fft - win_length - left)


def _zeros_around(x: Tensor, left: int, right: int) -> Tensor:
    if not x.is_complex():
        return pad(x, (left, right))
    return complex(pad(x.real, (left, right)), pad(x.imag, (left, right)))


@method
def stft(
    input: Tensor, n_fft: int, hop_length: int | None = None, win_length: int | None = None,
    window: Tensor | None = None, center: bool = True, pad_mode: str = "reflect", normalized: bool = False,
    onesided: bool | None = None, return_complex: bool | None = None, align_to_window: bool | None = None,
) -> Tensor:
    """Fourier transforms of overlapping frames: ``[batch, frequencies, frames]``, or without a batch.

    Args:
        input: ``[batch, length]`` or ``[length]``, floating point or complex.
        n_fft: how many elements a frame has.
        hop_length: from frame to frame, by default a quarter of ``n_fft``.
        win_length: the window's elements, by default ``n_fft``; a shorter window stands in the middle of the frame.
        window: ``[win_length]``, by default all ones.
        center: whether frames are centered at multiples of ``hop_length``, for which ``n_fft // 2`` elements are put
            before and after the signal, as :func:`flamework.nn.functional.pad` does with ``pad_mode``.
        normalized: whether to divide by the square root of ``n_fft``.
        onesided: whether to leave out the conjugates, by default if signal and window are real.
        return_complex: False gives a last axis of real and imaginary parts instead. Needed for a real signal.
        align_to_window: without ``center``, whether the first frame's window, not the frame, begins at the signal's
            start.

    Raises:
        RuntimeError: sizes that do not fit, or ``return_complex`` missing.

    As ``torch.stft``. Allen and Rabiner (1977).

    Example:
        >>> import flamework as torch
        >>> x, window = torch.ones(16), torch.hann_window(8)
        >>> torch.stft(x, 8, window=window, return_complex=True).shape
        torch.Size([5, 9])
    """
    if center and align_to_window is not None:
        raise RuntimeError("stft align_to_window should only be set when center = false")
    tensor_argument(input, "stft", "input", 1)
    x = input
    if center:
        extended = x.reshape((1,) * (3 - x.ndim) + tuple(x.shape))
        around = (n_fft // 2, n_fft // 2)
        if x.is_complex():
            extended = complex(pad(extended.real, around, pad_mode), pad(extended.imag, around, pad_mode))
        else:
            extended = pad(extended, around, pad_mode)
        x = extended.reshape(extended.shape[-x.ndim:])
    if window is None:
        _no_window(" which is known to cause spectral leakage. Other windows such as torch.hann_window or "
                   "torch.hamming_window are recommended to reduce spectral leakage.")
    hop = n_fft // 4 if hop_length is None else hop_length
    width = n_fft if win_length is None else win_length
    is_complex = x.is_complex() or (window is not None and window.is_complex())
    if return_complex is None:
        if not is_complex:
            raise RuntimeError(
                "stft requires the return_complex parameter be given for real inputs, and will further require that "
                "return_complex=True in a future PyTorch release."
            )
        return_complex = True
    elif not return_complex:
        warn(
            "stft with return_complex=False is deprecated. In a future pytorch release, stft will return complex "
            "tensors for all inputs, and return_complex=False will raise an error.\nNote: you can still call "
            "torch.view_as_real on the complex output to recover the old return format.",
        )
    length = x.shape[-1] if x.ndim else 1

    def problem(text: str) -> RuntimeError:
        head = f"stft(torch.{scalar_type(x.dtype)}Tensor{list(x.shape)}"
        numbers = {"n_fft": n_fft, "hop_length": hop, "win_length": width}
        tail = {"normalized": normalized, "onesided": onesided, "return_complex": return_complex,
                "align_to_window": align_to_window}
        return RuntimeError(f"{_call(head, numbers, window, tail)} : {text}")

    if node_of(x).type.dtype.kind < FLOATING:
        raise problem("expected a tensor of floating point or complex values")
    if x.ndim not in (1, 2):
        raise problem("expected a 1D or 2D tensor")
    if not 0 < n_fft <= length:
        raise problem(f"expected 0 < n_fft < {length}, but got n_fft={n_fft}")
    if hop <= 0:
        raise problem(f"expected hop_length > 0, but got hop_length={hop}")
    if not 0 < width <= n_fft:
        raise problem(f"expected 0 < win_length <= n_fft, but got win_length={width}")
    if window is not None and tuple(window.shape) != (width,):
        raise problem(
            f"expected a 1D window tensor of size equal to win_length={width}, but got window with size "
            f"{list(window.shape)}"
        )
    onesided = not is_complex if onesided is None else onesided
    if onesided and is_complex:
        raise RuntimeError("Cannot have onesided output if window or input is complex")
    if align_to_window:
        left = (n_fft - width) // 2
        x = _zeros_around(x, left, n_fft - width - left)
    frames = x.unfold(-1, n_fft, hop)
    whole = _full_window(window, width, n_fft, x)
    if whole is not None:
        frames = frames * whole
    norm = "ortho" if normalized else None
    spectrum = (fft.rfft if onesided else fft.fft)(frames, norm=norm).transpose(-2, -1)
    return spectrum if return_complex else view_as_real(spectrum)


@method
def istft(
    input: Tensor, n_fft: int, hop_length: int | None = None, win_length: int | None = None,
    window: Tensor | None = None, center: bool = True, normalized: bool = False, onesided: bool | None = None,
    length: int | None = None, return_complex: bool = False,
) -> Tensor:
    """The signal of which ``input`` is the :func:`stft`: ``[batch, length]``, or without a batch.

    Args:
        input: complex, ``[batch, frequencies, frames]`` or ``[frequencies, frames]``.
        n_fft, hop_length, win_length, window, center, normalized, onesided: as :func:`stft` was given them.
        length: how many elements to return; zeros are added to a signal that is shorter.
        return_complex: whether the signal is complex.

    Raises:
        RuntimeError: sizes that do not fit, or windows which leave an element of the signal out (where a compiled
            function, which does not look at them, divides by 0).

    As ``torch.istft``. Griffin and Lim (1984).

    Example:
        >>> import flamework as torch
        >>> x, window = torch.arange(16.0), torch.hann_window(8)
        >>> spectrum = torch.stft(x, 8, window=window, return_complex=True)
        >>> torch.allclose(torch.istft(spectrum, 8, window=window), x, atol=1e-5)
        True
    """
    tensor_argument(input, "istft", "input", 1)
    if window is None:
        _no_window("Please provide the same window used by stft to make the inversion lossless.")
    hop = n_fft // 4 if hop_length is None else hop_length
    width = n_fft if win_length is None else win_length
    call = _call(
        f"istft(CPU{scalar_type(input.dtype)}Type{list(input.shape)}",
        {"n_fft": n_fft, "hop_length": hop, "win_length": width}, window,
        {"center": center, "normalized": normalized, "onesided": onesided, "length": length,
         "return_complex": return_complex},
    )
    if not input.is_complex():
        raise RuntimeError(
            "istft requires a complex-valued input tensor matching the output from stft with return_complex=True."
        )
    if input.numel() == 0:
        raise RuntimeError(f"{call} : input tensor cannot be empty.")
    if input.ndim not in (2, 3):
        raise RuntimeError(f"{call} : expected a tensor with 3 or 4 dimensions, but got {input.ndim + 1}")
    spectrum = input if input.ndim == 3 else input.unsqueeze(0)
    frequencies, count = spectrum.shape[1:]
    onesided = frequencies != n_fft if onesided is None else onesided
    if onesided and frequencies != n_fft // 2 + 1:
        raise RuntimeError(
            f"{call} : expected the frequency dimension (3rd to the last) of the input tensor to match n_fft / 2 + 1 "
            f"when onesided=True, but got {frequencies}"
        )
    if not onesided and frequencies != n_fft:
        raise RuntimeError(
            f"{call} : expected the frequency dimension (3rd to the last) of the input tensor to match n_fft when "
            f"onesided=False, but got {frequencies}"
        )
    if not 0 < hop <= width:
        raise RuntimeError(f"{call} : expected 0 < hop_length <= win_length")
    if not 0 < width <= n_fft:
        raise RuntimeError(f"{call} : expected 0 < win_length <= n_fft")
    if window is not None and tuple(window.shape) != (width,):
        raise RuntimeError(f"{call} : Invalid window shape. window has to be 1D and length of `win_length`")
    if return_complex and onesided:
        raise RuntimeError("Cannot have onesided output if window or input is complex")
    if window is not None and window.is_complex() and not return_complex:
        raise RuntimeError("Complex windows are incompatible with return_complex=False")

    norm = "ortho" if normalized else None
    spectrum = spectrum.transpose(1, 2)
    if return_complex:
        frames = fft.ifft(spectrum, norm=norm)
    else:
        # a real signal's frequencies above the middle are conjugates, at which PyTorch does not look either
        frames = fft.irfft(spectrum[..., : n_fft // 2 + 1], n_fft, norm=norm)
    whole = _full_window(window, width, n_fft, frames)
    if whole is None:
        whole = ones(n_fft, dtype=frames.real.dtype if frames.is_complex() else frames.dtype, device=frames.device)
    available = n_fft + hop * (count - 1)
    signal = _overlap_added(frames * whole, available, hop)
    envelope = _overlap_added((whole * whole).expand(1, count, n_fft), available, hop)

    start = n_fft // 2 if center else 0
    stop = start + length if length is not None else available - n_fft // 2 if center else available
    signal, envelope = signal[:, start:stop], envelope[:, start:stop]
    if not envelope.numel():
        raise RuntimeError(
            "min(): Expected reduction dim to be specified for input.numel() == 0. Specify the reduction dim with the "
            "'dim' argument."
        )
    if engine.refuse is None and not np.all(np.abs(values_of(node_of(envelope))) > _NOTHING):
        raise RuntimeError(f"{call} window overlap add min: 1\n[ CPUBoolType{{}} ]")
    signal = signal / envelope
    if stop > available:
        warn(
            "The length of signal is shorter than the length parameter. Result is being padded with zeros in the "
            "tail. Please check your center and hop_length settings.",
        )
        signal = _zeros_around(signal, 0, stop - available)
    return signal if input.ndim == 3 else signal.squeeze(0)


def _overlap_added(frames: Tensor, length: int, hop: int) -> Tensor:
    """Frames ``[batch, frames, n]`` added where they overlap: ``[batch, length]``."""
    batch, count, n = frames.shape
    parts = stack((frames.real, frames.imag), 1) if frames.is_complex() else frames.unsqueeze(1)
    columns = parts.transpose(2, 3).reshape(batch, math.prod(parts.shape[1::2]), count)
    added = fold(columns, (1, length), (1, n), stride=(1, hop))
    return complex(added[:, 0, 0], added[:, 1, 0]) if frames.is_complex() else added[:, 0, 0]
