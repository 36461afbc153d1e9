"""Special functions: ``torch.special``, and those of them that ``torch`` has too.

The rows are in ``compiler/primitives_special.py``. Error functions, the logarithm of the gamma function, its derivative
and what is written with them fuse; Bessel functions, polygammas and polynomials are computed by SciPy. As in PyTorch,
Bessel functions of ``x`` other than ``i0`` and ``i1``, and polynomials, have no gradients, and some functions take no
16-bit floats. Read next: ``methods.py``.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from . import formulas as f
from .arguments import returned, tensor_argument
from .arithmetic import TensorLike, xlogy
from .compiler import primitives as p, primitives_special as rows
from .compiler.dtypes import COMPLEX, FLOATING
from .compiler.ir import Node
from .compiler.narrow import is_narrow, rounded_once
from .formulas import constant
from .pointwise import documented, erf, exp2, expm1, float_function, log1p, logit, round, sigmoid, sinc
from .recording import float_operands, get_default_dtype, operands
from .reduction import logsumexp
from .scans import log_softmax, softmax
from .tensor import Tensor

# ------------------------------------------------------------------------------------------------- the error functions

erfc = float_function(rows.erfc, "erfc", "``1 - erf(x)``, accurate for large elements.", "0.0 -> 1.0")
erfinv = float_function(rows.erfinv, "erfinv", "The inverse of ``erf``; NaN outside of [-1, 1].", "0.0 -> 0.0")
erfcx = float_function(
    rows.erfcx, "special.erfcx", "``exp(x**2) * erfc(x)``, which does not underflow.", "0.0 -> 1.0", narrow=False
)
ndtr = float_function(
    lambda x: p.scale(rows.erfc(p.scale(x, -rows.ROOT_HALF)), 0.5), "special.ndtr",
    "The probability that a number of the standard normal distribution is at most x.", "0.0 -> 0.5",
)
log_ndtr = float_function(
    rows.log_ndtr, "special.log_ndtr", "The logarithm of ``ndtr``, accurate far from 0.", "float('-inf') -> -inf",
    narrow=False,
)
ndtri = float_function(
    rows.ndtri, "special.ndtri", "The inverse of ``ndtr``; NaN outside of [0, 1].", "0.5 -> 0.0", narrow=False
)
entr = float_function(rows.entr, "special.entr", "``-x * log(x)``; 0 at 0 and -inf below.", "0.0 -> 0.0")

# ---------------------------------------------------------------------------------------------------- the gamma family

lgamma = float_function(rows.lgamma, "lgamma", "The logarithm of the absolute value of the gamma function.",
                        "2.0 -> 0.0")
digamma = float_function(
    rows.digamma, "digamma", "The derivative of ``lgamma``; -inf at 0, NaN at negative integers.", "0.0 -> -inf"
)


def polygamma(n: int, input: Tensor, *, out: Tensor | None = None) -> Tensor:
    """The derivative of order ``n`` of :func:`digamma`; integers and bools give the default dtype.

    Raises:
        RuntimeError: ``n`` is negative.

    As ``torch.polygamma``.

    Example:
        >>> import flamework as torch
        >>> torch.polygamma(1, torch.tensor([1.0]))
        tensor([1.6449])
    """
    if isinstance(n, Tensor):
        n = n.__index__()
    if not isinstance(n, int):
        raise TypeError(f"polygamma(): argument 'n' (position 1) must be int, not {type(n).__name__}")
    if n < 0:
        raise RuntimeError("polygamma(n, x) does not support negative n.")
    x = _real(tensor_argument(input, "polygamma", "input", 2), "polygamma")
    return returned(rows.polygamma(x, params=(n,)) if n else rows.digamma(x), out)


def mvlgamma(input: Tensor, p: int, *, out: Tensor | None = None) -> Tensor:
    """The logarithm of the gamma function of ``p`` dimensions, ``sum_i lgamma(input - i / 2)`` and a constant.

    Raises:
        RuntimeError: ``p`` is less than 1.

    As ``torch.mvlgamma``.

    Example:
        >>> import flamework as torch
        >>> torch.mvlgamma(torch.tensor([2.0]), 1).tolist()
        [0.0]
    """
    if p < 1:
        raise RuntimeError("p has to be greater than or equal to 1")
    x = _real(tensor_argument(input, "mvlgamma", "input", 1), "mvlgamma")
    return returned(_sum_of_gammas(x, p), out)


@rounded_once
def _sum_of_gammas(x: Node, count: int) -> Node:
    total = constant(x, count * (count - 1) / 4 * math.log(math.pi))
    for i in range(count):
        total = p.add(total, rows.lgamma(p.sub(x, constant(x, i / 2))))
    return total


def _real(x: Node, function: str) -> Node:
    if x.type.dtype.kind == COMPLEX:
        raise p.Undefined(f"\"{function}\" not implemented for '{x.type.dtype.scalar_name}'")
    return x if x.type.dtype.kind == FLOATING else f.converted(x, get_default_dtype())


def _incomplete(row: p.Primitive, name: str, says: str, example: str):
    """A function of two tensors that is defined for floating point only."""

    def function(input: Tensor, other: Tensor, *, out: Tensor | None = None) -> Tensor:
        tensor_argument(input, name, "input", 1)
        tensor_argument(other, name, "other", 2)
        a, x = operands(input, other)
        if a.type.dtype.kind != FLOATING:
            raise p.Undefined(f"\"{name}\" not implemented for '{a.type.dtype.scalar_name}'")
        return returned(row(a, x), out)

    note = "floating point, as is ``other``, a tensor; gradients flow to ``other`` only"
    return documented(function, name, says, note, example)


igamma = _incomplete(
    rows.igamma, "igamma", "The regularised lower incomplete gamma function of ``other``, with exponent ``input``.",
    "1.0), torch.tensor(0.0 -> 0.0",
)
igammac = _incomplete(
    rows.igammac, "igammac", "The regularised upper incomplete gamma function: 1 less :func:`igamma`.",
    "1.0), torch.tensor(0.0 -> 1.0",
)
gammaln, psi, multigammaln, gammainc, gammaincc = lgamma, digamma, mvlgamma, igamma, igammac


def _real_operands(name: str, *args: TensorLike) -> tuple[Node, ...]:
    """Nodes of one dtype that is neither complex nor of 16 bits."""
    found = float_operands(*args)
    dtype = found[0].type.dtype
    if dtype.kind == COMPLEX or is_narrow(dtype):
        raise p.Undefined(f"\"{name}\" not implemented for '{dtype.scalar_name}'")
    return found


def zeta(input: TensorLike, other: TensorLike, *, out: Tensor | None = None) -> Tensor:
    """Hurwitz's zeta function: the sum of ``(k + other)**-input`` over all ``k >= 0``.

    Tensors or numbers, of which at least one is a tensor; gradients flow to ``other`` only. As ``torch.special.zeta``.

    Example:
        >>> import flamework as torch
        >>> torch.special.zeta(torch.tensor([2.0, 1.0]), 1)
        tensor([1.6449,    inf])
    """
    return returned(rows.zeta(*_real_operands("zeta", input, other)), out)


def xlog1py(input: TensorLike, other: TensorLike, *, out: Tensor | None = None) -> Tensor:
    """``input * log1p(other)``, and 0 where ``input`` is 0 unless ``other`` is NaN. As ``torch.special.xlog1py``.

    Example:
        >>> import flamework as torch
        >>> torch.special.xlog1py(torch.tensor([0.0, 2.0]), torch.tensor([-1.0, 0.0])).tolist()
        [0.0, 0.0]
    """
    x, y = float_operands(input, other)
    return returned(f.x_log1p_y(_real(x, "xlog1py"), y), out)


# ---------------------------------------------------------------------------------------------------- Bessel functions


def _without_gradient(formula: Callable[[Node], Node]) -> Callable[[Node], Node]:
    return lambda x: formula(f.cut(x))


def _spherical(x: Node) -> Node:
    zero, infinite = p.eq(x, constant(x, 0)), p.eq(p.abs(x), constant(x, math.inf))
    angle = p.where(p.bor(zero, infinite), constant(x, 1), x)
    quotient = p.where(zero, constant(x, 1), p.div(p.sin(angle), angle))
    return p.where(infinite, constant(x, 0), quotient)


def _bessel(row: p.Primitive | Callable[[Node], Node], name: str, says: str, example: str):
    return float_function(_without_gradient(row), f"special.{name}", says, example, narrow=False)


i0 = float_function(rows.i0, "i0", "The modified Bessel function of the first kind of order 0.", "0.0 -> 1.0")
i0e = float_function(rows.i0e, "special.i0e", "``i0(x) * exp(-abs(x))``.", "0.0 -> 1.0")
i1 = float_function(
    rows.i1, "special.i1", "The modified Bessel function of the first kind of order 1.", "0.0 -> 0.0"
)
i1e = float_function(rows.i1e, "special.i1e", "``i1(x) * exp(-abs(x))``.", "0.0 -> 0.0")
airy_ai = _bessel(rows.airy_ai, "airy_ai", "The Airy function Ai.", "200.0 -> 0.0")
bessel_j0 = _bessel(rows.j0, "bessel_j0", "The Bessel function of the first kind of order 0.", "0.0 -> 1.0")
bessel_j1 = _bessel(rows.j1, "bessel_j1", "The Bessel function of the first kind of order 1.", "0.0 -> 0.0")
bessel_y0 = _bessel(rows.y0, "bessel_y0", "The Bessel function of the second kind of order 0.", "0.0 -> -inf")
bessel_y1 = _bessel(rows.y1, "bessel_y1", "The Bessel function of the second kind of order 1.", "0.0 -> -inf")
modified_bessel_i0 = _bessel(rows.i0, "modified_bessel_i0", ":func:`i0`, without a gradient.", "0.0 -> 1.0")
modified_bessel_i1 = _bessel(rows.i1, "modified_bessel_i1", ":func:`i1`, without a gradient.", "0.0 -> 0.0")
modified_bessel_k0 = _bessel(
    rows.k0, "modified_bessel_k0", "The modified Bessel function of the second kind of order 0.", "0.0 -> inf"
)
modified_bessel_k1 = _bessel(
    rows.k1, "modified_bessel_k1", "The modified Bessel function of the second kind of order 1.", "0.0 -> inf"
)
scaled_modified_bessel_k0 = _bessel(
    rows.k0e, "scaled_modified_bessel_k0", "``modified_bessel_k0(x) * exp(x)``.", "0.0 -> inf"
)
scaled_modified_bessel_k1 = _bessel(
    rows.k1e, "scaled_modified_bessel_k1", "``modified_bessel_k1(x) * exp(x)``.", "0.0 -> inf"
)
spherical_bessel_j0 = _bessel(
    _spherical, "spherical_bessel_j0", "The spherical Bessel function of order 0: ``sin(x) / x``.", "0.0 -> 1.0"
)

# ---------------------------------------------------------------------------------------------- orthogonal polynomials


def _polynomial(row: p.Primitive, says: str, example: str):
    """A function of an argument and a degree, tensors or numbers of which at least one is a tensor."""

    def function(input: TensorLike, n: TensorLike, *, out: Tensor | None = None) -> Tensor:
        return returned(row(*_real_operands(row.name, input, n)), out)

    note = "floating point; ``n`` is a tensor or a number, cut to an integer, and below 0 the result is 0"
    return documented(function, f"special.{row.name}", f"{says} of degree ``n``.", note, example)


chebyshev_polynomial_t = _polynomial(
    rows.chebyshev_t, "The Chebyshev polynomial of the first kind", "2.0), torch.tensor(2 -> 7.0"
)
chebyshev_polynomial_u = _polynomial(
    rows.chebyshev_u, "The Chebyshev polynomial of the second kind", "2.0), torch.tensor(2 -> 15.0"
)
chebyshev_polynomial_v = _polynomial(
    rows.chebyshev_v, "The Chebyshev polynomial of the third kind", "2.0), torch.tensor(2 -> 11.0"
)
chebyshev_polynomial_w = _polynomial(
    rows.chebyshev_w, "The Chebyshev polynomial of the fourth kind", "2.0), torch.tensor(2 -> 19.0"
)
shifted_chebyshev_polynomial_t = _polynomial(
    rows.shifted_t, ":func:`chebyshev_polynomial_t` at ``2 * input - 1``,", "1.5), torch.tensor(2 -> 7.0"
)
shifted_chebyshev_polynomial_u = _polynomial(
    rows.shifted_u, ":func:`chebyshev_polynomial_u` at ``2 * input - 1``,", "1.5), torch.tensor(2 -> 15.0"
)
shifted_chebyshev_polynomial_v = _polynomial(
    rows.shifted_v, ":func:`chebyshev_polynomial_v` at ``2 * input - 1``,", "1.5), torch.tensor(2 -> 11.0"
)
shifted_chebyshev_polynomial_w = _polynomial(
    rows.shifted_w, ":func:`chebyshev_polynomial_w` at ``2 * input - 1``,", "1.5), torch.tensor(2 -> 19.0"
)
hermite_polynomial_h = _polynomial(rows.hermite_h, "The physicist's Hermite polynomial", "2.0), torch.tensor(2 -> 14.0")
hermite_polynomial_he = _polynomial(
    rows.hermite_he, "The probabilist's Hermite polynomial", "2.0), torch.tensor(2 -> 3.0"
)
laguerre_polynomial_l = _polynomial(rows.laguerre, "The Laguerre polynomial", "2.0), torch.tensor(2 -> -1.0")
legendre_polynomial_p = _polynomial(rows.legendre, "The Legendre polynomial", "2.0), torch.tensor(2 -> 5.5")

expit = sigmoid

__all__ = [
    "airy_ai", "bessel_j0", "bessel_j1", "bessel_y0", "bessel_y1", "chebyshev_polynomial_t", "chebyshev_polynomial_u",
    "chebyshev_polynomial_v", "chebyshev_polynomial_w", "digamma", "entr", "erf", "erfc", "erfcx", "erfinv", "exp2",
    "expit", "expm1", "gammainc", "gammaincc", "gammaln", "hermite_polynomial_h", "hermite_polynomial_he", "i0", "i0e",
    "i1", "i1e", "laguerre_polynomial_l", "legendre_polynomial_p", "log1p", "log_ndtr", "log_softmax", "logit",
    "logsumexp", "modified_bessel_i0", "modified_bessel_i1", "modified_bessel_k0", "modified_bessel_k1",
    "multigammaln", "ndtr", "ndtri", "polygamma", "psi", "round", "scaled_modified_bessel_k0",
    "scaled_modified_bessel_k1", "shifted_chebyshev_polynomial_t", "shifted_chebyshev_polynomial_u",
    "shifted_chebyshev_polynomial_v", "shifted_chebyshev_polynomial_w", "sinc", "softmax", "spherical_bessel_j0",
    "xlog1py", "xlogy", "zeta",
]
