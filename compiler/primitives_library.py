"""Rows that a library computes: transforms, common divisors and alignments.

Their NumPy reference is what runs (``runtime/library.py``); everything around them fuses as usual, but they read and
write memory. A row with several results gives them packed along one axis, from which slices take them.

Read next: ``rewrite.py``.
"""

from __future__ import annotations

import functools

import numpy as np

from . import primitives as p, primitives_shape as s
from .dtypes import COMPLEX, FLOATING, INTEGER, complex_of, int64
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

# --------------------------------------------------------------------------------------------------------- alignments


def check_lengths(steps: int, most: int, input_lengths: np.ndarray, target_lengths: np.ndarray) -> None:
    """Raises:
    RuntimeError: a length that is negative or greater than what it is the length of."""
    for name, lengths, limit in (("input_lengths", input_lengths, steps), ("target_lengths", target_lengths, most)):
        if lengths.size and (lengths.min() < 0 or lengths.max() > limit):
            wrong, bound = (lengths.min(), "least 0") if lengths.min() < 0 else (lengths.max(), f"most {limit}")
            raise RuntimeError(f"Expected {name} to have value at {bound}, but got value {wrong}")


def _ctc_types(params: tuple, scores: TensorType, labels: TensorType, *lengths: TensorType) -> tuple[int, ...]:
    blank, _ = params
    if scores.dtype.kind != FLOATING or scores.dtype.compute is not scores.dtype or scores.ndim != 3:
        raise ValueError(f"needs scores of steps, sequences and classes, not {scores}")
    if any(t.dtype is not int64 for t in (labels, *lengths)):
        raise ValueError("needs labels and lengths of int64")
    _, batch, classes = scores.shape
    fits = labels.ndim == 2 and labels.shape[0] == batch and all(t.shape == (batch,) for t in lengths)
    if not fits or not 0 <= blank < classes:
        raise ValueError(f"{[labels, *lengths]} do not fit {scores}")
    return scores.shape


def _log_sum(*terms: np.ndarray) -> np.ndarray:
    largest = functools.reduce(np.maximum, terms)
    largest = np.where(np.isneginf(largest), 0, largest)
    return largest + np.log(sum(np.exp(term - largest) for term in terms))


class _Lattice:
    """The paths through labels with blanks between them: Graves and others, "Connectionist temporal classification"
    (2006). In logarithms of float64.

    Attributes:
        states: the class of every state, [batch, 2 labels + 1].
        scores: of every state at every step, [steps, batch, states].
        before: the logarithm of the sum over paths that reach a state at a step, with that step's score.
        loss: minus the logarithm of the sum over complete paths, [batch].
    """

    def __init__(self, blank: int, scores, labels, input_lengths, target_lengths) -> None:
        steps, batch, _ = scores.shape
        check_lengths(steps, labels.shape[1], input_lengths, target_lengths)
        self.states = np.full((batch, 2 * labels.shape[1] + 1), blank)
        self.states[:, 1::2] = labels
        self.scores = np.take_along_axis(scores.astype(np.float64), self.states[None], 2)
        # the blank between two labels may be left out if they differ
        self.skips = np.pad(self.states[:, 2:] != self.states[:, :-2], ((0, 0), (2, 0)))[:, : self.states.shape[1]]
        self.input_lengths = input_lengths
        # a path ends in the last label or the blank after it
        place = np.arange(self.states.shape[1])
        last = 2 * target_lengths[:, None]
        self.ends = np.where((place == last) | (place == last - 1), 0.0, -np.inf)
        self.before = np.full(self.scores.shape, -np.inf)
        if steps:
            self.before[0, :, :2] = self.scores[0, :, :2]
        for t in range(1, steps):
            self.before[t] = self._arrived(self.before[t - 1]) + self.scores[t]
        # nothing has been read before the first step: that is complete if there are no labels
        start = np.where(place == 0, 0.0, -np.inf)
        final = np.where(input_lengths[:, None] > 0, self.before[input_lengths - 1, np.arange(batch)], start) if steps \
            else np.broadcast_to(start, self.states.shape)
        self.loss = -np.logaddexp.reduce(final + self.ends, axis=1)

    def _arrived(self, from_: np.ndarray) -> np.ndarray:
        one, two = (self._moved(from_, count) for count in (1, 2))
        return _log_sum(from_, one, np.where(self.skips, two, -np.inf))

    @staticmethod
    def _moved(x: np.ndarray, count: int) -> np.ndarray:
        out = np.full(x.shape, -np.inf)
        out[:, count:] = x[:, : max(x.shape[1] - count, 0)]
        return out

    def occupancy(self, classes: int, impossible: float) -> np.ndarray:
        """The probability that a complete path stands at a class at a step."""
        steps, batch, count = self.scores.shape
        after = np.full((batch, count), -np.inf)
        shares = np.zeros(self.scores.shape)
        for t in reversed(range(steps)):
            onward = after + (self.scores[t + 1] if t + 1 < steps else 0)
            leaving = np.where(self.skips, onward, -np.inf)
            one, two = (self._moved(x[:, ::-1], k)[:, ::-1] for x, k in ((onward, 1), (leaving, 2)))
            after = np.where((self.input_lengths == t + 1)[:, None], self.ends, _log_sum(onward, one, two))
            share = np.exp(self.before[t] + after + self.loss[:, None])
            reads = self.input_lengths > t
            shares[t] = np.where(reads[:, None], share, 0)
        # several states may be of one class
        place = np.arange(steps * batch).reshape(steps, batch, 1) * classes + self.states
        out = np.bincount(place.ravel(), shares.ravel(), steps * batch * classes)
        # of nothing it counts in integers
        out = out.astype(np.float64, copy=False).reshape(steps, batch, classes)
        out[(np.arange(steps)[:, None] < self.input_lengths) & np.isposinf(self.loss)] = impossible
        return out


def _ctc_infer(params: tuple, *types: TensorType) -> TensorType:
    _, batch, _ = _ctc_types(params, *types)
    return tensor_type((batch,), types[0].dtype, types[0].device)


def _ctc_occupancy_infer(params: tuple, *types: TensorType) -> TensorType:
    _ctc_types(params, *types)
    return types[0]


def _sequences(scores: Node, *rest: Node) -> tuple[Node, ...]:
    """The two axes of batches made one."""
    count, steps, batch, classes = scores.type.shape
    flat = s.reshaped(s.permuted(scores, (1, 0, 2, 3)), (steps, count * batch, classes))
    return flat, *(s.reshaped(x, (count * batch, *x.type.shape[2:])) for x in rest)


def _ctc_batch(params: tuple, src: tuple[Node, ...]) -> Node:
    return s.reshaped(ctc(*_sequences(*src), params=params), src[1].type.shape[:2])


def _ctc_occupancy_batch(params: tuple, src: tuple[Node, ...]) -> Node:
    count, steps, batch, classes = src[0].type.shape
    flat = s.reshaped(ctc_occupancy(*_sequences(*src), params=params), (steps, count, batch, classes))
    return s.permuted(flat, (1, 0, 2, 3))


def _ctc_vjp(g: Node, n: Saved) -> Node:
    shares = ctc_occupancy(n.x, *n.node.src[1:], params=n.params)
    return p.mul(p.neg(shares), s.back(g, (0, 2), shares.type.shape))


def _ctc_jvp(tangents, n: Saved) -> Node:
    shares = ctc_occupancy(n.x, *n.node.src[1:], params=n.params)
    return p.neg(s.reduce_sum(p.mul(shares, tangents[0]), params=(0, 2)))


def _ctc_no_second(g: Node, n: Saved) -> Node:
    raise p.Undefined("derivative for the gradient of ctc_loss is not implemented")


# Minus the logarithm of the probability of labels under scores [steps, batch, classes], whatever the alignment: labels
# [batch, most], lengths of inputs and of targets [batch]. ``params = (blank, zero)``: whether the gradient of labels
# that no alignment gives is 0, else it is NaN.
ctc = Primitive(
    "ctc", "library", _ctc_infer, vjp=(_ctc_vjp, None, None, None), jvp=_ctc_jvp, batch=_ctc_batch, cost=50,
    reference=lambda params, *arrays: _Lattice(params[0], *arrays).loss.astype(arrays[0].dtype),
)

# Minus the derivative of ``ctc`` by the scores: what alignments make of each class at each step.
ctc_occupancy = Primitive(
    "ctc_occupancy", "library", _ctc_occupancy_infer, vjp=(_ctc_no_second, None, None, None),
    jvp=lambda tangents, n: _ctc_no_second(None, n), batch=_ctc_occupancy_batch, cost=50,
    reference=lambda params, *arrays: _Lattice(params[0], *arrays).occupancy(
        arrays[0].shape[2], 0 if params[1] else np.nan).astype(arrays[0].dtype),
)
