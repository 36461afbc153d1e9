"""Vectorisable elementary functions for CPU kernels: exp, log, tanh, erf, sin, pow and their relatives.

numba's ``math.exp`` is a scalar call of the C library, and a loop that contains one is not vectorised. The functions
here are straight lines of LLVM instructions instead, without branches or calls, so LLVM widens a loop around
them to whatever vectors the processor has. Each is written once, in Python, over the small notation of
``vmath_builder.py``, and serves float32 and float64. What comes in is a numba-typed number, what goes out
instructions; numba's type inference sees a single intrinsic, so that a call costs well under a millisecond to compile.

Accuracy, in units in the last place of the argument's own type: at most 2 for exp, log, tanh, sigmoid, erf, sin, cos
and pow (in fact below 1.5), at most 4 for the others over their whole domain, subnormal arguments and results
included. Exceptions: digamma for negative arguments is as accurate as the reflection formula, which loses
digits next to the roots there, and lgamma is as good as the C library. NaN, infinities and signed zeros are those
of C's math library (Annex F of the C standard); digamma's poles are PyTorch's. No fast-math flag is ever set, and a
fused multiply-add is always exactly that, so the result for an element does not depend on whether the
compiler put it into a vector, into a remainder loop or into a scalar.

How they are made:

- Exponentials: argument reduction after W. J. Cody and W. Waite, "Software Manual for the Elementary Functions" (1980).
- Circular functions: reduction after M. H. Payne and R. N. Hanek, "Radian reduction for trigonometric functions"
  (1983), done for every argument in floating point, see ``vmath_trigonometric.py``.
- Sums that must not round: T. J. Dekker, "A floating-point technique for extending the available precision" (1971).
- Polynomials: minimax, by our own Remez exchange in 200-bit arithmetic (``vmath_fit.py``), which also writes the
  tables of ``vmath_coefficients.py``.

Read next: ``vmath_builder.py``, then ``vmath_exponential.py``.
"""

from __future__ import annotations

from collections.abc import Callable

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from . import vmath_exponential, vmath_special, vmath_trigonometric
from .vmath_builder import Emitter, Value

Algorithm = Callable[..., Value]


def _llvm(name: str) -> Algorithm:
    """The algorithm that is a single LLVM intrinsic."""
    return lambda m, *arguments: m.intrinsic(name, *arguments)


_UNARY: dict[str, Algorithm] = {
    "exp": vmath_exponential.exp,
    "exp2": vmath_exponential.exp2,
    "expm1": vmath_exponential.expm1,
    "log": vmath_exponential.log,
    "log1p": vmath_exponential.log1p,
    "log2": vmath_exponential.log2,
    "log10": vmath_exponential.log10,
    "sigmoid": vmath_exponential.sigmoid,
    "tanh": vmath_exponential.tanh,
    "sinh": vmath_exponential.sinh,
    "cosh": vmath_exponential.cosh,
    "sin": vmath_trigonometric.sin,
    "cos": vmath_trigonometric.cos,
    "tan": vmath_trigonometric.tan,
    "asin": vmath_trigonometric.asin,
    "acos": vmath_trigonometric.acos,
    "atan": vmath_trigonometric.atan,
    "erf": vmath_special.erf,
    "erfc": vmath_special.erfc,
    "erfinv": vmath_special.erfinv,
    "digamma": vmath_special.digamma,
    "lgamma": vmath_special.lgamma,
    "sqrt": _llvm("sqrt"),
    "rsqrt": lambda m, x: 1.0 / m.sqrt(x),
    "floor": _llvm("floor"),
    "ceil": _llvm("ceil"),
    "trunc": _llvm("trunc"),
    "rint": _llvm("rint"),
    "fabs": _llvm("fabs"),
}

_BINARY: dict[str, Algorithm] = {
    "pow": vmath_exponential.pow,
    "atan2": vmath_trigonometric.atan2,
    "copysign": _llvm("copysign"),
}

_ALGORITHMS = _UNARY | _BINARY

#: The functions around which a loop stays vectorisable.
VECTORISABLE: frozenset[str] = frozenset(_ALGORITHMS) - {"lgamma"}

#: The number of arguments of each function.
ARITY: dict[str, int] = dict.fromkeys(_UNARY, 1) | dict.fromkeys(_BINARY, 2)


def emit(name: str, builder: ir.IRBuilder, *arguments: ir.Value) -> ir.Value:
    """Emit the function `name` at the builder's position and return its result.

    The arguments are LLVM values, all ``float`` or all ``double``; the result has their type. For code generators
    that have a builder at hand; Python source that numba compiles uses `FUNCTIONS`.

    Example::

        product = vmath.emit("exp", builder, builder.fadd(x, y))
    """
    m = Emitter(builder)
    return _ALGORITHMS[name](m, *(Value(m, argument) for argument in arguments)).ir


def _is_float(kind: types.Type) -> bool:
    return kind in (types.float32, types.float64)


def _unary_intrinsic(name: str) -> Callable:
    def function(typingctx, x):
        if _is_float(x):
            return x(x), lambda context, builder, signature, arguments: emit(name, builder, *arguments)
        return None

    function.__name__ = function.__qualname__ = name
    return intrinsic(function)


def _binary_intrinsic(name: str) -> Callable:
    def function(typingctx, x, y):
        if _is_float(x) and x == y:
            return x(x, y), lambda context, builder, signature, arguments: emit(name, builder, *arguments)
        return None

    function.__name__ = function.__qualname__ = name
    return intrinsic(function)


#: Each function as a numba intrinsic, to be put into the globals of generated source under its name. Arguments are
#: float32 or float64, two of them of one type (numba raises its TypingError otherwise); the result has their type.
FUNCTIONS: dict[str, Callable] = {name: _unary_intrinsic(name) for name in _UNARY} | {
    name: _binary_intrinsic(name) for name in _BINARY
}
