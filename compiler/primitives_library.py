"""Rows that a library computes: transforms and factorisations.

Their NumPy reference is what runs (``runtime/library.py``); everything around them fuses as usual, but they read and
write memory. A row with several results gives them packed along one axis, from which slices take them.

Read next: ``rewrite.py``.
"""

from __future__ import annotations

import numpy as np

from . import primitives as p, primitives_shape as s
from .dtypes import COMPLEX, INTEGER, complex_of
from .ir import Node, TensorType, tensor_type
from .primitives import Primitive, Saved


def _linear(row: str):
    return lambda tangents, n: p.TABLE[row](*tangents, params=n.params)


# --------------------------------------------------------------------------------------------------- Fourier transforms


def _fft_infer(params: tuple, x: TensorType) -> TensorType:
    axis, _ = params
    if x.dtype.kind != COMPLEX or not 0 <= axis < x.ndim:
        raise ValueError(f"transforms complex numbers along one of {x.ndim} axes, not {x.dtype} along {axis}")
    return x


def _fft_reference(params: tuple, x: np.ndarray) -> np.ndarray:
    from scipy import fft as library

    axis, inverse = params
    if x.shape[axis] == 0:
        return x
    return library.ifft(x, axis=axis, norm="forward") if inverse else library.fft(x, axis=axis)


# The discrete Fourier transform along one axis, ``params = (axis, inverse)``. Neither direction divides, so each is the
# other's adjoint.
fft = Primitive(
    "fft", "library", _fft_infer, vjp=(lambda g, n: fft(g, params=(n.params[0], not n.params[1])),), jvp=_linear("fft"),
    batch=lambda params, src: fft(*src, params=(params[0] + 1, params[1])), reference=_fft_reference, cost=50,
)


def _rfft_infer(params: tuple, x: TensorType) -> TensorType:
    (axis,) = params
    if not x.dtype.is_floating_point or not 0 <= axis < x.ndim:
        raise ValueError(f"transforms real numbers along one of {x.ndim} axes, not {x.dtype} along {axis}")
    shape = (*x.shape[:axis], x.shape[axis] // 2 + 1, *x.shape[axis + 1 :])
    return tensor_type(shape, complex_of(x.dtype), x.device)


def _rfft_reference(params: tuple, x: np.ndarray) -> np.ndarray:
    from scipy import fft as library

    return library.rfft(x, axis=params[0])


def _rfft_vjp(g: Node, n: Saved) -> Node:
    (axis,) = n.params
    extent = n.type(0).shape[axis]
    whole = s.padded_axis(g, axis, 0, extent - g.type.shape[axis])
    return p.real(fft(whole, params=(axis, True)))


# The first half of the transform of real numbers, whose second half is its conjugate: ``params = (axis,)``.
rfft = Primitive(
    "rfft", "library", _rfft_infer, vjp=(_rfft_vjp,), jvp=_linear("rfft"),
    batch=lambda params, src: rfft(*src, params=(params[0] + 1,)), reference=_rfft_reference, cost=50,
)


def _irfft_infer(params: tuple, x: TensorType) -> TensorType:
    axis, extent = params
    if x.dtype.kind != COMPLEX or not 0 <= axis < x.ndim or extent < 1 or x.shape[axis] != extent // 2 + 1:
        raise ValueError(f"{list(x.shape)} is not half of a transform of {extent} numbers along {axis}")
    return tensor_type((*x.shape[:axis], extent, *x.shape[axis + 1 :]), x.dtype.part, x.device)


def _irfft_reference(params: tuple, x: np.ndarray) -> np.ndarray:
    from scipy import fft as library

    axis, extent = params
    return library.irfft(x, extent, axis=axis, norm="forward")


def _irfft_vjp(g: Node, n: Saved) -> Node:
    axis, extent = n.params
    half = rfft(g, params=(axis,))
    # all but the first number, and for even extents the last, stand for two of the whole transform
    place = p.iota(params=(half.type.shape, half.type.dtype.part, half.type.device, axis))
    single = p.eq(place, p.full_like(place, 0))
    if extent % 2 == 0:
        single = p.bor(single, p.eq(place, p.full_like(place, extent // 2)))
    re, im = p.real(half), p.imag(half)
    return p.complex_(p.where(single, re, p.scale(re, 2.0)), p.where(single, p.full_like(im, 0), p.scale(im, 2.0)))


# The inverse of ``rfft``, without its division: ``params = (axis, extent)``. The imaginary parts of numbers that would
# be their own conjugates are ignored.
irfft = Primitive(
    "irfft", "library", _irfft_infer, vjp=(_irfft_vjp,), jvp=_linear("irfft"),
    batch=lambda params, src: irfft(*src, params=(params[0] + 1, params[1])), reference=_irfft_reference, cost=50,
)

# ------------------------------------------------------------------------------------------------------ whole numbers


def _gcd_infer(params: tuple, a: TensorType, b: TensorType) -> TensorType:
    if a.dtype.kind != INTEGER:
        raise ValueError(f"needs integers, not {a.dtype}")
    return p.same_type(params, a, b)


# The greatest common divisor: a loop whose length depends on the numbers.
gcd = Primitive(
    "gcd", "library", _gcd_infer, batch=lambda params, src: gcd(*src), reference=lambda params, a, b: np.gcd(a, b),
    cost=50,
)
