"""The array API standard's extension for Fourier transforms.

In: arrays. Out: arrays. The transforms are those of ``flamework.fft``, with the standard's names of arguments.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from .. import fft
from ..compiler.dtypes import DType
from ..creation import DeviceLike
from ..tensor import Tensor

_torch = fft


def _along_one(name: str) -> Callable[..., Tensor]:
    function = getattr(_torch, name)

    def transform(x: Tensor, /, *, n: int | None = None, axis: int = -1, norm: str = "backward") -> Tensor:
        return function(x, n, axis, norm)

    transform.__name__ = transform.__qualname__ = name
    transform.__doc__ = f"The standard's ``{name}``: along an axis, of ``n`` elements."
    return transform


def _along_several(name: str) -> Callable[..., Tensor]:
    function = getattr(_torch, name)

    def transform(
        x: Tensor, /, *, s: Sequence[int] | None = None, axes: Sequence[int] | None = None, norm: str = "backward"
    ) -> Tensor:
        return function(x, s, axes, norm)

    transform.__name__ = transform.__qualname__ = name
    transform.__doc__ = f"The standard's ``{name}``: along axes, by default all, of ``s`` elements."
    return transform


for _name in ("fft", "hfft", "ifft", "ihfft", "irfft", "rfft"):
    globals()[_name] = _along_one(_name)
for _name in ("fftn", "ifftn", "irfftn", "rfftn"):
    globals()[_name] = _along_several(_name)


def fftfreq(n: int, /, *, d: float = 1.0, dtype: DType | None = None, device: DeviceLike = None) -> Tensor:
    """The frequencies of a transform of ``n`` samples at distances ``d``."""
    return _torch.fftfreq(n, d, dtype=dtype, device=device)


def rfftfreq(n: int, /, *, d: float = 1.0, dtype: DType | None = None, device: DeviceLike = None) -> Tensor:
    """The frequencies of a transform of ``n`` real samples at distances ``d``."""
    return _torch.rfftfreq(n, d, dtype=dtype, device=device)


def fftshift(x: Tensor, /, *, axes: int | Sequence[int] | None = None) -> Tensor:
    """An array with the frequency 0 in the middle of axes, by default all."""
    return _torch.fftshift(x, axes)


def ifftshift(x: Tensor, /, *, axes: int | Sequence[int] | None = None) -> Tensor:
    """The inverse of :func:`fftshift`."""
    return _torch.ifftshift(x, axes)
