"""``flamework.fft``: discrete Fourier transforms, by pocketfft.

A transform of several axes is one of each axis after the other. The rows (``compiler/primitives_library.py``) do not
divide; what a normalisation multiplies with fuses with what comes next.

In: tensors. Out: tensors with PyTorch's gradients.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from . import formulas as f
from .arguments import returned, scalar_type, tensor_argument
from .compiler import dtypes, primitives as p, primitives_library as rows, primitives_shape as s
from .compiler.dtypes import COMPLEX, FLOATING, DType, complex_of
from .compiler.ir import Node
from .creation import DeviceLike, arange
from .joining import roll
from .recording import get_default_dtype
from .tensor import Tensor, axis_of

Sizes = int | Sequence[int] | None

# ------------------------------------------------------------------------------------------------------------ arguments


def _check_norm(norm: str | None) -> str:
    if norm not in (None, "forward", "backward", "ortho"):
        raise RuntimeError(f'Invalid normalization mode: "{norm}"')
    return norm or "backward"


def _real(input: Tensor, function: str) -> Node:
    x = tensor_argument(input, function, "input", 1)
    if x.type.dtype.kind == COMPLEX:
        raise RuntimeError(f"{function} expects a real input tensor, but got {scalar_type(x.type.dtype)}")
    return _supported(x if x.type.dtype.kind == FLOATING else f.converted(x, get_default_dtype()))


def _complex(input: Tensor, function: str) -> Node:
    x = tensor_argument(input, function, "input", 1)
    if x.type.dtype.kind == COMPLEX:
        return x
    x = _supported(x if x.type.dtype.kind == FLOATING else f.converted(x, get_default_dtype()))
    return f.converted(x, complex_of(x.type.dtype))


def _supported(x: Node) -> Node:
    if x.type.dtype.compute is not x.type.dtype:
        raise RuntimeError(f"Unsupported dtype {scalar_type(x.type.dtype)}")
    return x


def _axis(x: Node, dim: int) -> int:
    if x.ndim == 0:
        raise IndexError("Dimension specified as -1 but tensor has no dimensions")
    return axis_of(dim, x.ndim)


def _resized(x: Node, axis: int, n: int | None) -> Node:
    """``x`` with ``n`` elements along an axis: cut, or filled with zeros at the end."""
    extent = x.type.shape[axis]
    n = extent if n is None else n
    if n < 1:
        raise RuntimeError(f"Invalid number of data points ({n}) specified")
    return f.axis_slice(x, axis, 0, n) if n <= extent else s.padded_axis(x, axis, 0, n - extent)


def _scaled(x: Node, count: int, inverse: bool, norm: str) -> Node:
    """What the normalisation multiplies a transform of ``count`` elements with."""
    if norm == ("backward" if not inverse else "forward"):
        return x
    factor = 1 / math.sqrt(count) if norm == "ortho" else 1 / count
    if x.type.dtype.kind != COMPLEX:
        return p.mul(x, f.argument(x, factor))
    parts = p.real(x), p.imag(x)
    return p.complex_(*[p.mul(part, f.argument(part, factor)) for part in parts])


def _axes(x: Node, sizes: Sizes, dim: Sizes) -> tuple[list[int], list[int | None]]:
    """The axes to transform, and how many elements of each."""
    given = None if sizes is None else [sizes] if isinstance(sizes, int) else list(sizes)
    if dim is not None:
        axes = [axis_of(d, x.ndim) for d in ([dim] if isinstance(dim, int) else dim)]
        if len(set(axes)) != len(axes):
            raise RuntimeError("FFT dims must be unique")
        if given is not None and len(given) != len(axes):
            raise RuntimeError("When given, dim and shape arguments must have the same length")
    else:
        if given is not None and len(given) > x.ndim:
            raise RuntimeError(
                f"Got shape with {len(given)} values but input tensor only has {x.ndim} dimensions."
            )
        axes = list(range(x.ndim))[x.ndim - len(given) if given is not None else 0 :]
    return axes, [None if n == -1 else n for n in given] if given is not None else [None] * len(axes)


# ---------------------------------------------------------------------------------------------------------- transforms


def _along(x: Node, n: int | None, axis: int, inverse: bool, norm: str) -> Node:
    x = _resized(x, axis, n)
    return _scaled(rows.fft(x, params=(axis, inverse)), x.type.shape[axis], inverse, norm)


def _real_along(x: Node, n: int | None, axis: int, norm: str, inverse: bool = False) -> Node:
    x = _resized(x, axis, n)
    return _scaled(rows.rfft(x, params=(axis,)), x.type.shape[axis], inverse, norm)


def _back_to_real(x: Node, n: int | None, axis: int, norm: str, inverse: bool = True) -> Node:
    n = 2 * (x.type.shape[axis] - 1) if n is None else n
    if n < 1:
        raise RuntimeError(f"Invalid number of data points ({n}) specified")
    return _scaled(rows.irfft(_resized(x, axis, n // 2 + 1), params=(axis, n)), n, inverse, norm)


def fft(input: Tensor, n: int | None = None, dim: int = -1, norm: str | None = None, *,
        out: Tensor | None = None) -> Tensor:
    """The discrete Fourier transform along one axis, ``X[k] = sum_j x[j] exp(-2 pi i j k / n)``.

    Args:
        input: real or complex.
        n: the length of the transform; the axis is cut to it, or filled with zeros.
        norm: ``"backward"`` (the inverse divides by n), ``"ortho"`` (both divide by its square root) or ``"forward"``.

    Raises:
        RuntimeError: ``n`` is less than 1, another ``norm``, or a 16-bit float.

    As ``torch.fft.fft``. Cooley and Tukey (1965); Bluestein (1970) for large prime factors.

    Example:
        >>> import flamework as torch
        >>> torch.fft.fft(torch.tensor([1.0, 0.0, 0.0])).real.tolist()
        [1.0, 1.0, 1.0]
    """
    x, mode = _complex(input, "fft"), _check_norm(norm)
    return returned(_along(x, n, _axis(x, dim), False, mode), out)


def ifft(input: Tensor, n: int | None = None, dim: int = -1, norm: str | None = None, *,
         out: Tensor | None = None) -> Tensor:
    """The inverse of :func:`fft`, with the same arguments. As ``torch.fft.ifft``.

    Example:
        >>> import flamework as torch
        >>> torch.fft.ifft(torch.fft.fft(torch.tensor([1.0, 2.0]))).real.tolist()
        [1.0, 2.0]
    """
    x, mode = _complex(input, "ifft"), _check_norm(norm)
    return returned(_along(x, n, _axis(x, dim), True, mode), out)


def rfft(input: Tensor, n: int | None = None, dim: int = -1, norm: str | None = None, *,
         out: Tensor | None = None) -> Tensor:
    """The first ``n // 2 + 1`` elements of :func:`fft` of real numbers: the others are conjugates of them.

    As ``torch.fft.rfft``.

    Example:
        >>> import flamework as torch
        >>> torch.fft.rfft(torch.ones(4)).real.tolist()
        [4.0, 0.0, 0.0]
    """
    x, mode = _real(input, "rfft"), _check_norm(norm)
    return returned(_real_along(x, n, _axis(x, dim), mode), out)


def irfft(input: Tensor, n: int | None = None, dim: int = -1, norm: str | None = None, *,
          out: Tensor | None = None) -> Tensor:
    """The inverse of :func:`rfft`: ``n`` real numbers, by default ``2 * (size - 1)``. As ``torch.fft.irfft``.

    Example:
        >>> import flamework as torch
        >>> torch.fft.irfft(torch.fft.rfft(torch.tensor([1.0, 2.0, 3.0])), n=3).tolist()
        [1.0, 2.0, 3.0]
    """
    x, mode = _complex(input, "irfft"), _check_norm(norm)
    return returned(_back_to_real(x, n, _axis(x, dim), mode), out)


def hfft(input: Tensor, n: int | None = None, dim: int = -1, norm: str | None = None, *,
         out: Tensor | None = None) -> Tensor:
    """:func:`fft` of a signal that equals its conjugate in reverse, of which ``input`` is the first half: real.

    As ``torch.fft.hfft``.
    """
    x, mode = _complex(input, "hfft"), _check_norm(norm)
    return returned(_back_to_real(p.conj(x), n, _axis(x, dim), mode, inverse=False), out)


def ihfft(input: Tensor, n: int | None = None, dim: int = -1, norm: str | None = None, *,
          out: Tensor | None = None) -> Tensor:
    """The inverse of :func:`hfft`: the first half of :func:`ifft` of real numbers. As ``torch.fft.ihfft``."""
    x, mode = _real(input, "ihfft"), _check_norm(norm)
    return returned(p.conj(_real_along(x, n, _axis(x, dim), mode, inverse=True)), out)


def fftn(input: Tensor, s: Sizes = None, dim: Sizes = None, norm: str | None = None, *,
         out: Tensor | None = None) -> Tensor:
    """The transform along several axes.

    Args:
        s: the lengths, -1 for an axis that keeps its own; without ``dim``, of the last axes.
        dim: the axes, by default all.
        norm: as :func:`fft`, of the product of the lengths.

    As ``torch.fft.fftn``.

    Example:
        >>> import flamework as torch
        >>> torch.fft.fftn(torch.ones(2, 2)).real.tolist()
        [[4.0, 0.0], [0.0, 0.0]]
    """
    source, mode = _complex(input, "fftn"), _check_norm(norm)
    x = source
    for axis, n in zip(*_axes(x, s, dim)):
        x = _along(x, n, axis, False, mode)
    return returned(x, out, source)


def ifftn(input: Tensor, s: Sizes = None, dim: Sizes = None, norm: str | None = None, *,
          out: Tensor | None = None) -> Tensor:
    """The inverse of :func:`fftn`, with the same arguments. As ``torch.fft.ifftn``."""
    source, mode = _complex(input, "ifftn"), _check_norm(norm)
    x = source
    for axis, n in zip(*_axes(x, s, dim)):
        x = _along(x, n, axis, True, mode)
    return returned(x, out, source)


def _last(x: Node, sizes: Sizes, dim: Sizes, function: str) -> tuple[list[int], list[int | None]]:
    axes, lengths = _axes(x, sizes, dim)
    if not axes:
        raise RuntimeError(f"{function} must transform at least one axis")
    return axes, lengths


def rfftn(input: Tensor, s: Sizes = None, dim: Sizes = None, norm: str | None = None, *,
          out: Tensor | None = None) -> Tensor:
    """:func:`fftn` of real numbers, of which the last axis keeps its first half only. As ``torch.fft.rfftn``."""
    x, mode = _real(input, "rfftn"), _check_norm(norm)
    axes, lengths = _last(x, s, dim, "rfftn")
    x = _real_along(x, lengths[-1], axes[-1], mode)
    for axis, n in zip(axes[:-1], lengths[:-1]):
        x = _along(x, n, axis, False, mode)
    return returned(x, out)


def irfftn(input: Tensor, s: Sizes = None, dim: Sizes = None, norm: str | None = None, *,
           out: Tensor | None = None) -> Tensor:
    """The inverse of :func:`rfftn`; the last length is by default ``2 * (size - 1)``. As ``torch.fft.irfftn``."""
    x, mode = _complex(input, "irfftn"), _check_norm(norm)
    axes, lengths = _last(x, s, dim, "irfftn")
    for axis, n in zip(axes[:-1], lengths[:-1]):
        x = _along(x, n, axis, True, mode)
    return returned(_back_to_real(x, lengths[-1], axes[-1], mode), out)


def hfftn(input: Tensor, s: Sizes = None, dim: Sizes = None, norm: str | None = None, *,
          out: Tensor | None = None) -> Tensor:
    """:func:`hfft` of the last axis after :func:`fft` of the others. As ``torch.fft.hfftn``."""
    x, mode = _complex(input, "hfftn"), _check_norm(norm)
    axes, lengths = _last(x, s, dim, "hfftn")
    for axis, n in zip(axes[:-1], lengths[:-1]):
        x = _along(x, n, axis, False, mode)
    return returned(_back_to_real(p.conj(x), lengths[-1], axes[-1], mode, inverse=False), out)


def ihfftn(input: Tensor, s: Sizes = None, dim: Sizes = None, norm: str | None = None, *,
           out: Tensor | None = None) -> Tensor:
    """The inverse of :func:`hfftn`. As ``torch.fft.ihfftn``."""
    x, mode = _real(input, "ihfftn"), _check_norm(norm)
    axes, lengths = _last(x, s, dim, "ihfftn")
    x = p.conj(_real_along(x, lengths[-1], axes[-1], mode, inverse=True))
    for axis, n in zip(axes[:-1], lengths[:-1]):
        x = _along(x, n, axis, True, mode)
    return returned(x, out)


def _of_two_axes(name: str, function):
    def transform(input: Tensor, s: Sizes = None, dim: Sizes = (-2, -1), norm: str | None = None, *,
                  out: Tensor | None = None) -> Tensor:
        return function(input, s, dim, norm, out=out)

    transform.__name__ = transform.__qualname__ = name
    transform.__doc__ = (
        f":func:`{function.__name__}` of the last two axes, or of those in ``dim``. As ``torch.fft.{name}``."
    )
    return transform


fft2, ifft2 = _of_two_axes("fft2", fftn), _of_two_axes("ifft2", ifftn)
rfft2, irfft2 = _of_two_axes("rfft2", rfftn), _of_two_axes("irfft2", irfftn)
hfft2, ihfft2 = _of_two_axes("hfft2", hfftn), _of_two_axes("ihfft2", ihfftn)

# ---------------------------------------------------------------------------------------------------------- frequencies


def fftfreq(
    n: int, d: float = 1.0, *, out: Tensor | None = None, dtype: DType | None = None,
    device: DeviceLike = None, requires_grad: bool = False,
) -> Tensor:
    """The frequencies of the elements of :func:`fft`, for samples at a distance of ``d``. As ``torch.fft.fftfreq``.

    Example:
        >>> import flamework as torch
        >>> torch.fft.fftfreq(4).tolist()
        [0.0, 0.25, -0.5, -0.25]
    """
    whole = arange(n, dtype=dtypes.int64, device=device)
    signed = roll(whole - n // 2, -(n // 2), 0) if n else whole
    return _frequencies(signed, n, d, out, dtype, requires_grad)


def rfftfreq(
    n: int, d: float = 1.0, *, out: Tensor | None = None, dtype: DType | None = None,
    device: DeviceLike = None, requires_grad: bool = False,
) -> Tensor:
    """The frequencies of the elements of :func:`rfft`. As ``torch.fft.rfftfreq``.

    Example:
        >>> import flamework as torch
        >>> torch.fft.rfftfreq(4).tolist()
        [0.0, 0.25, 0.5]
    """
    return _frequencies(arange(n // 2 + 1, dtype=dtypes.int64, device=device), n, d, out, dtype, requires_grad)


def _frequencies(
    place: Tensor, n: int, d: float, out: Tensor | None, dtype: DType | None, requires_grad: bool
) -> Tensor:
    chosen = dtype or (get_default_dtype() if out is None else out.dtype)
    found = place.to(chosen) * (1.0 / (n * d))
    if out is not None:
        return out.resize_(found.shape).copy_(found)
    return found.requires_grad_(requires_grad)


def _shifts(input: Tensor, dim: Sizes, back: bool) -> Tensor:
    axes = tuple(range(input.ndim)) if dim is None else (dim,) if isinstance(dim, int) else tuple(dim)
    counts = [input.shape[d] for d in axes]
    return roll(input, tuple((n + 1) // 2 if back else n // 2 for n in counts), axes) if axes else input.clone()


def fftshift(input: Tensor, dim: Sizes = None) -> Tensor:
    """The frequency 0 moved to the middle of some or all axes. As ``torch.fft.fftshift``.

    Example:
        >>> import flamework as torch
        >>> torch.fft.fftshift(torch.tensor([0, 1, -2, -1])).tolist()
        [-2, -1, 0, 1]
    """
    return _shifts(input, dim, back=False)


def ifftshift(input: Tensor, dim: Sizes = None) -> Tensor:
    """The inverse of :func:`fftshift`. As ``torch.fft.ifftshift``."""
    return _shifts(input, dim, back=True)


__all__ = [
    "fft", "fft2", "fftfreq", "fftn", "fftshift", "hfft", "hfft2", "hfftn", "ifft", "ifft2", "ifftn", "ifftshift",
    "ihfft", "ihfft2", "ihfftn", "irfft", "irfft2", "irfftn", "rfft", "rfft2", "rfftfreq", "rfftn",
]
