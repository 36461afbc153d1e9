"""Special functions: the error functions, the gamma family, Bessel functions, orthogonal polynomials.

Those that the kernels have are elementwise rows, which fuse. The others are library rows over ``scipy.special``, one
line each: the name, the function, the gradients. Where a rule is missing PyTorch has no gradient either.

Read next: ``primitives_library.py``.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from . import primitives as p
from .ir import Node, TensorType
from .primitives import Primitive, Saved, elementwise, elementwise_jvp, floating, full_like, quiet, scale

ROOT_HALF = math.sqrt(0.5)


def library(name: str, *arrays: Any) -> Any:
    from scipy import special

    return getattr(special, name)(*arrays)


def special(name: str, function: str | Callable, *, arity: int = 1, vjp: Any = None) -> Primitive:
    """A library row of floats, element by element.

    Args:
        function: what it is called in ``scipy.special``, or a function of the parameters and of arrays.
    """

    def infer(params: tuple, *types: TensorType) -> TensorType:
        if len(types) != arity:
            raise ValueError(f"takes {arity} sources, not {len(types)}")
        return floating(params, *types)

    def reference(params: tuple, *arrays: np.ndarray) -> np.ndarray:
        found = library(function, *arrays) if isinstance(function, str) else function(*params, *arrays)
        return np.asarray(found).astype(arrays[0].dtype)

    return Primitive(
        name, "library", infer, vjp=vjp, jvp=None if vjp is None else elementwise_jvp,
        batch=lambda params, src: p.TABLE[name](*src, params=params), reference=quiet(reference), cost=50,
    )


def refused(what: str):
    """The gradient of a function that PyTorch does not differentiate with respect to this source."""

    def rule(g: Node, n: Saved) -> Node:
        raise p.Undefined(f"the derivative for '{what}' is not implemented.")

    return rule


def _away_from_zero(x: Node, slope: Callable[[Node], Node], at_zero: float) -> Node:
    """A slope which is written with a division by ``x``, and its value at 0."""
    zero = p.eq(x, full_like(x, 0))
    return p.where(zero, full_like(x, at_zero), slope(p.where(zero, full_like(x, 1), x)))


# ------------------------------------------------------------------------------------------- rows that the kernels have


def _lgamma_reference(x: np.ndarray) -> np.ndarray:
    return np.where(np.isinf(x), x.dtype.type(np.inf), library("gammaln", x))


erfc = elementwise(
    "erfc", floating, "erfc({0})", lambda x: library("erfc", x), cost=20,
    vjp=(lambda g, n: p.mul(scale(g, -2 / math.sqrt(math.pi)), p.exp(p.neg(p.mul(n.x, n.x)))),),
)
erfinv = elementwise(
    "erfinv", floating, "erfinv({0})", lambda x: np.copysign(library("erfinv", x), x), cost=40,
    vjp=(lambda g, n: p.mul(scale(g, math.sqrt(math.pi) / 2), p.exp(p.mul(n.out, n.out))),),
)
lgamma = elementwise(
    "lgamma", floating, "lgamma({0})", _lgamma_reference, cost=50, vjp=(lambda g, n: p.mul(g, digamma(n.x)),)
)
digamma = elementwise(
    "digamma", floating, "digamma({0})", lambda x: library("psi", x), cost=60,
    vjp=(lambda g, n: p.mul(g, polygamma(n.x, params=(1,))),),
)
# A row, because at 0 and below its gradient is that of the formula, which the result is not.
entr = elementwise(
    "entr", floating,
    "select({0} < {t}(0.0), log({t}(0.0)), select({0} == {t}(0.0), {t}(0.0), (-({0} * log({0})))))",
    lambda x: library("entr", x), cost=14, vjp=(lambda g, n: p.neg(p.mul(g, p.add(p.log(n.x), full_like(n.x, 1)))),),
)

# ------------------------------------------------------------------------------------------------------ error functions

erfcx = special("erfcx", "erfcx", vjp=(
    lambda g, n: p.mul(g, p.sub(scale(p.mul(n.x, n.out), 2), full_like(g, 2 / math.sqrt(math.pi)))),
))
ndtri = special("ndtri", "ndtri", vjp=(
    lambda g, n: p.mul(scale(g, math.sqrt(2 * math.pi)), p.exp(scale(p.mul(n.out, n.out), 0.5))),
))
log_ndtr = special("log_ndtr", "log_ndtr", vjp=(
    lambda g, n: p.div(scale(g, math.sqrt(2 / math.pi)), erfcx(scale(n.x, -ROOT_HALF))),
))

# ----------------------------------------------------------------------------------------------------- the gamma family


def _polygamma_reference(n: int, x: np.ndarray) -> np.ndarray:
    if n != 1:
        return library("polygamma", n, x)
    # reflected: the sum that the library makes for negative numbers has as many terms as they are large
    wide = x.astype(np.float64)
    below = wide < 0.5
    above = library("zeta", 2.0, np.where(below, 1 - wide, wide))
    return np.where(below, (np.pi / np.sin(np.pi * (wide - np.rint(wide)))) ** 2 - above, above)


def _incomplete_slope(sign: float):
    def rule(g: Node, n: Saved) -> Node:
        a, x = n.x, n.y
        power = p.sub(p.mul(p.sub(a, full_like(a, 1)), p.log(x)), x)
        return p.mul(scale(g, sign), p.exp(p.sub(power, lgamma(a))))

    return rule


# The derivative of order n of digamma, ``params = (n,)``.
polygamma = special("polygamma", _polygamma_reference, vjp=(
    lambda g, n: p.mul(g, polygamma(n.x, params=(n.params[0] + 1,))),
))
igamma = special("igamma", "gammainc", arity=2, vjp=(refused("igamma: input"), _incomplete_slope(1)))
igammac = special("igammac", "gammaincc", arity=2, vjp=(refused("igammac: input"), _incomplete_slope(-1)))
# Hurwitz's: the sum of (k + q)**-x over all k >= 0.
zeta = special("zeta", "zeta", arity=2, vjp=(
    refused("zeta"), lambda g, n: p.neg(p.mul(g, p.mul(n.x, zeta(p.add(n.x, full_like(n.x, 1)), n.y)))),
))

# ----------------------------------------------------------------------------------------------------- Bessel functions

i0 = special("i0", "i0", vjp=(lambda g, n: p.mul(g, i1(n.x)),))
i0e = special("i0e", "i0e", vjp=(lambda g, n: p.mul(g, p.sub(i1e(n.x), p.mul(p.sign(n.x), n.out))),))
i1 = special("i1", "i1", vjp=(
    lambda g, n: p.mul(g, _away_from_zero(n.x, lambda x: p.sub(i0(x), p.div(i1(x), x)), 0.5)),
))
i1e = special("i1e", "i1e", vjp=(
    lambda g, n: p.mul(g, _away_from_zero(
        n.x, lambda x: p.sub(i0e(x), p.mul(i1e(x), p.add(p.sign(x), p.recip(x)))), 0.5)),
))
k0, k1, k0e, k1e = (special(f"bessel_{name}", name) for name in ("k0", "k1", "k0e", "k1e"))
j0, j1, y0, y1 = (special(f"bessel_{name}", name) for name in ("j0", "j1", "y0", "y1"))
airy_ai = special("airy_ai", lambda x: library("airy", x)[0])

# ----------------------------------------------------------------------------------------------- orthogonal polynomials


def polynomial(first: Callable, step: Callable, closed: Callable | None = None, shifted: bool = False) -> Callable:
    """The polynomials of one family, of the degrees ``n`` at ``x``, by their recurrence: ``P[0] = 1``, ``P[1] =
    first(x)``, ``P[k + 1] = step(k, x, P[k], P[k - 1])``.

    Degrees lose their fraction, and below 0 the polynomial is 0, as in PyTorch.

    Args:
        closed: ``(n, arccos(x))``, the value for ``abs(x) < 1``, where high degrees would take long.
        shifted: whether the argument is ``2 x - 1``.
    """

    def values(x: np.ndarray, n: np.ndarray) -> np.ndarray:
        x, n = np.broadcast_arrays(x.astype(np.float64), n.astype(np.float64))
        if shifted:
            x = 2 * x - 1
        n = np.where(np.isfinite(n), np.trunc(n), -1)
        below, value = np.ones_like(x), first(x)
        result = np.select([n < 0, n == 0, n == 1], [0.0, 1.0, value], np.nan)
        summed = n > 1
        if closed is not None:
            angular = (n > 8) & (np.abs(x) < 1)
            result = np.where(angular, closed(n, np.arccos(np.where(angular, x, 0))), result)
            summed &= ~angular
        k = 1
        # what overflowed is NaN from there on
        while (summed & (n > k) & ~np.isnan(value)).any():
            below, value = value, step(k, x, value, below)
            k += 1
            result = np.where(summed & (n == k), value, result)
        return result

    return values


def chebyshev(letter: str, first: Callable, closed: Callable) -> tuple[Primitive, Primitive]:
    def step(k, x, value, below):
        return 2 * x * value - below

    name = f"chebyshev_polynomial_{letter}"
    return (
        special(name, polynomial(first, step, closed), arity=2),
        special(f"shifted_{name}", polynomial(first, step, closed, shifted=True), arity=2),
    )


chebyshev_t, shifted_t = chebyshev("t", lambda x: x, lambda n, t: np.cos(n * t))
chebyshev_u, shifted_u = chebyshev("u", lambda x: 2 * x, lambda n, t: np.sin((n + 1) * t) / np.sin(t))
chebyshev_v, shifted_v = chebyshev("v", lambda x: 2 * x - 1, lambda n, t: np.cos((n + 0.5) * t) / np.cos(t / 2))
chebyshev_w, shifted_w = chebyshev("w", lambda x: 2 * x + 1, lambda n, t: np.sin((n + 0.5) * t) / np.sin(t / 2))
hermite_h = special("hermite_polynomial_h", polynomial(
    lambda x: 2 * x, lambda k, x, value, below: 2 * x * value - 2 * k * below), arity=2)
hermite_he = special("hermite_polynomial_he", polynomial(
    lambda x: x, lambda k, x, value, below: x * value - k * below), arity=2)
laguerre = special("laguerre_polynomial_l", polynomial(
    lambda x: 1 - x, lambda k, x, value, below: ((2 * k + 1 - x) * value - k * below) / (k + 1)), arity=2)
legendre = special("legendre_polynomial_p", polynomial(
    lambda x: x, lambda k, x, value, below: ((2 * k + 1) * x * value - k * below) / (k + 1)), arity=2)
