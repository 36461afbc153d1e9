"""Mathematical functions of one tensor, element by element.

Functions that are a row of the table are made by two small factories; the others are compositions. Each takes a tensor
of any shape, records a node or a few, and returns a tensor of that shape at once. Read next: ``arithmetic.py`` for
functions of several tensors.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from . import formulas as f
from .arguments import exactly_returned, floating_only, returned, scalar_type, tensor_argument
from .compiler import dtypes, primitives as p
from .compiler.dtypes import BOOL, COMPLEX, FLOATING
from .compiler.ir import Node
from .compiler.narrow import is_narrow, rounded_once
from .formulas import argument, constant
from .formulas_complex import FUNCTIONS, absolute as complex_absolute, direction
from .limits import finfo
from .memory_order import arranged_like, is_plain, keeps_order
from .recording import float_operands, get_default_dtype, node_of, tensor_of
from .tensor import SparseOperand, Tensor, sparse_call


def float_function(
    row: p.Primitive | Callable[[Node], Node], path: str, says: str, example: str, narrow: bool = True
):
    """A public function of one floating point argument; integers and bools become the default dtype first.

    Args:
        path: its name, in a module as ``special.ndtri``.
        narrow: whether PyTorch has it for 16-bit floats.
    """
    name = path.rpartition(".")[2]
    if not isinstance(row, p.Primitive):
        row = rounded_once(row)

    def function(input: Tensor, *, out: Tensor | None = None) -> Tensor:
        try:
            x = node_of(input)
        except SparseOperand:
            return sparse_call(name, (input,), {"out": out})
        except AttributeError:
            x = tensor_argument(input, name, "input", 1)
        kind = x.type.dtype.kind
        if kind == COMPLEX:
            if name not in FUNCTIONS:
                raise p.Undefined(f"\"{name}\" not implemented for '{x.type.dtype.scalar_name}'")
            return arranged_like(returned(FUNCTIONS[name](x), out), (input,))
        if kind != FLOATING:
            x = p.cast(x, params=(get_default_dtype(),))
        elif not narrow and is_narrow(x.type.dtype):
            raise p.Undefined(f"\"{name}\" not implemented for '{x.type.dtype.scalar_name}'")
        if out is not None:
            return returned(row(x), out)
        made = tensor_of(row(x))
        return made if input._storage is None or is_plain(input) else arranged_like(made, (input,))

    keeps_order(function)
    accepts = "floating point or complex" if name in FUNCTIONS else "floating point"
    return documented(function, path, says, f"{accepts}; integers and bools give the default dtype", example)


def _kept_integers(row: p.Primitive, name: str, says: str, example: str):
    """A public function of one argument that leaves integers as they are."""

    def function(input: Tensor, *, out: Tensor | None = None) -> Tensor:
        try:
            x = node_of(input)
        except AttributeError:
            x = tensor_argument(input, name, "input", 1)
        if x.type.dtype.kind == FLOATING:
            return tensor_of(row(x)) if out is None else returned(row(x), out)
        if x.type.dtype.kind == COMPLEX:
            raise p.Undefined(f"{name} is not supported for complex inputs")
        if x.type.dtype.kind == BOOL:
            raise p.Undefined(f"\"{name}\" not implemented for 'Bool'")
        return returned(x, out, x)

    return documented(function, name, says, "floating point; integers are returned as they are", example)


def documented(function, path: str, says: str, accepts: str, example: str):
    function.__name__ = function.__qualname__ = path.rpartition(".")[2]
    # what tracebacks, and messages about `out`, call it
    function.__code__ = function.__code__.replace(co_name=function.__name__)
    argument, result = example.split(" -> ")
    function.__doc__ = (
        f"{says}\n\n    Args:\n        input: tensor of any shape, {accepts}.\n        out: tensor to write to.\n\n"
        f"    As ``torch.{path}``.\n\n    Example:\n        >>> import flamework as torch\n"
        f"        >>> torch.{path}(torch.tensor({argument})).item()\n        {result}\n    "
    )
    return function


# ------------------------------------------------------------------------------------------- functions of one argument

exp = float_function(p.exp, "exp", "e to the power of each element.", "0.0 -> 1.0")
expm1 = float_function(p.expm1, "expm1", "``exp(x) - 1``, accurate near 0.", "0.0 -> 0.0")
exp2 = float_function(p.exp2, "exp2", "2 to the power of each element.", "3.0 -> 8.0")
log = float_function(p.log, "log", "The natural logarithm.", "1.0 -> 0.0")
log1p = float_function(p.log1p, "log1p", "``log(1 + x)``, accurate near 0.", "0.0 -> 0.0")
log2 = float_function(p.log2, "log2", "The logarithm to base 2.", "8.0 -> 3.0")
log10 = float_function(p.log10, "log10", "The logarithm to base 10.", "1.0 -> 0.0")
sqrt = float_function(p.sqrt, "sqrt", "The square root; NaN for negative elements.", "9.0 -> 3.0")
rsqrt = float_function(p.rsqrt, "rsqrt", "One over the square root.", "4.0 -> 0.5")
reciprocal = float_function(p.recip, "reciprocal", "One over each element.", "4.0 -> 0.25")
sin = float_function(p.sin, "sin", "The sine of angles in radians.", "0.0 -> 0.0")
cos = float_function(p.cos, "cos", "The cosine of angles in radians.", "0.0 -> 1.0")
tan = float_function(p.tan, "tan", "The tangent of angles in radians.", "0.0 -> 0.0")
asin = float_function(p.asin, "asin", "The arc sine, in [-pi/2, pi/2].", "0.0 -> 0.0")
acos = float_function(p.acos, "acos", "The arc cosine, in [0, pi].", "1.0 -> 0.0")
atan = float_function(p.atan, "atan", "The arc tangent, in (-pi/2, pi/2).", "0.0 -> 0.0")
sinh = float_function(p.sinh, "sinh", "The hyperbolic sine.", "0.0 -> 0.0")
cosh = float_function(p.cosh, "cosh", "The hyperbolic cosine.", "0.0 -> 1.0")
tanh = float_function(p.tanh, "tanh", "The hyperbolic tangent.", "0.0 -> 0.0")
sigmoid = float_function(p.sigmoid, "sigmoid", "The logistic function ``1 / (1 + exp(-x))``.", "0.0 -> 0.5")
erf = float_function(p.erf, "erf", "The error function.", "0.0 -> 0.0")
floor = _kept_integers(p.floor, "floor", "The largest integer not above each element.", "1.5 -> 1.0")
ceil = _kept_integers(p.ceil, "ceil", "The smallest integer not below each element.", "1.5 -> 2.0")
trunc = _kept_integers(p.trunc, "trunc", "Each element without its fraction.", "-1.5 -> -1.0")


def _asinh(x: Node) -> Node:
    # log1p(a + a**2 / (1 + sqrt(1 + a**2))) with a = |x|; beyond 2**28 that is log(2 a), where a**2 may overflow
    negative = p.lt(x, constant(x, 0))
    a = p.where(negative, p.neg(x), x)
    far = p.lt(constant(x, 2.0**28), a)
    near = p.where(far, constant(x, 1), a)
    square = p.mul(near, near)
    one = constant(x, 1)
    inner = p.add(near, p.div(square, p.add(one, p.sqrt(p.add(one, square)))))
    large = p.add(p.log(p.where(far, a, one)), constant(x, math.log(2)))
    size = p.where(far, large, p.log1p(inner))
    # a zero keeps its sign
    return p.where(p.eq(x, constant(x, 0)), x, p.where(negative, p.neg(size), size))


def _acosh(x: Node) -> Node:
    return _acosh_of(_acosh_value(f.cut(x)), x) if x.requires_grad else _acosh_value(x)


def _acosh_value(x: Node) -> Node:
    # log1p(t + sqrt(t) sqrt(t + 2)) with t = x - 1
    far = p.lt(constant(x, 2.0**28), x)
    one = constant(x, 1)
    t = p.sub(p.where(far, constant(x, 2), x), one)
    near = p.log1p(p.add(t, p.mul(p.sqrt(t), p.sqrt(p.add(t, constant(x, 2))))))
    return p.where(far, p.add(p.log(p.where(far, x, one)), constant(x, math.log(2))), near)


def _atanh(x: Node) -> Node:
    return _atanh_of(_atanh_value(f.cut(x)), x) if x.requires_grad else _atanh_value(x)


def _atanh_value(x: Node) -> Node:
    return p.scale(p.log1p(p.div(p.scale(x, 2), p.sub(constant(x, 1), x))), 0.5)


# The first source as a function of the second: at the ends of their domains the formulas have no slope, the functions
# an infinite one.
_acosh_of = p.sloped("acosh_of", lambda g, n: p.mul(g, p.rsqrt(p.sub(p.mul(n.y, n.y), constant(g, 1)))))
_atanh_of = p.sloped("atanh_of", lambda g, n: p.div(g, p.sub(constant(g, 1), p.mul(n.y, n.y))))


def _sinc(x: Node) -> Node:
    zero = p.eq(x, constant(x, 0))
    angle = p.scale(p.where(zero, constant(x, 1), x), math.pi)
    return p.where(zero, constant(x, 1), p.div(p.sin(angle), angle))


asinh = float_function(_asinh, "asinh", "The inverse hyperbolic sine.", "0.0 -> 0.0")
acosh = float_function(_acosh, "acosh", "The inverse hyperbolic cosine; NaN below 1.", "1.0 -> 0.0")
atanh = float_function(_atanh, "atanh", "The inverse hyperbolic tangent; NaN outside of [-1, 1].", "0.0 -> 0.0")
sinc = float_function(_sinc, "sinc", "``sin(pi x) / (pi x)``, and 1 at 0.", "0.0 -> 1.0")
deg2rad = float_function(lambda x: p.scale(x, math.pi / 180), "deg2rad", "Degrees as radians.", "0.0 -> 0.0")
rad2deg = float_function(lambda x: p.scale(x, 180 / math.pi), "rad2deg", "Radians as degrees.", "0.0 -> 0.0")
arcsin, arccos, arctan, arcsinh, arccosh, arctanh = asin, acos, atan, asinh, acosh, atanh
fix = trunc


def abs(input: Tensor, *, out: Tensor | None = None) -> Tensor:
    """The absolute value of each element; any dtype but bool. As ``torch.abs``.

    Raises:
        RuntimeError: for a bool tensor.

    Example:
        >>> import flamework as torch
        >>> torch.abs(torch.tensor([-1, 2])).tolist()
        [1, 2]
    """
    x = tensor_argument(input, "abs", "input", 1)
    if x.type.dtype.kind == BOOL:
        raise p.Undefined("\"abs\" not implemented for 'Bool'")
    return exactly_returned(complex_absolute(x) if x.type.dtype.kind == COMPLEX else p.abs(x), out)


def neg(input: Tensor, *, out: Tensor | None = None) -> Tensor:
    """Minus each element; any dtype but bool. As ``torch.neg``.

    Raises:
        RuntimeError: for a bool tensor.

    Example:
        >>> import flamework as torch
        >>> torch.neg(torch.tensor([1, -2])).tolist()
        [-1, 2]
    """
    x = tensor_argument(input, "neg", "input", 1)
    if x.type.dtype.kind == BOOL:
        raise RuntimeError(
            "Negation, the `-` operator, on a bool tensor is not supported. If you are trying to invert a mask, use "
            "the `~` or `logical_not()` operator instead."
        )
    return returned(p.neg(x), out)


def positive(input: Tensor) -> Tensor:
    """The tensor itself; any dtype but bool. As ``torch.positive``."""
    if tensor_argument(input, "positive", "input", 1).type.dtype.kind == BOOL:
        raise RuntimeError("The `+` operator, on a bool tensor is not supported.")
    return input


def sign(input: Tensor, *, out: Tensor | None = None) -> Tensor:
    """-1, 0 or 1 by the sign of each element, in the dtype of the input; 0 for NaN. As ``torch.sign``.

    Example:
        >>> import flamework as torch
        >>> torch.sign(torch.tensor([-3, 0, 5])).tolist()
        [-1, 0, 1]
    """
    x = tensor_argument(input, "sign", "input", 1)
    if x.type.dtype.kind == COMPLEX:
        raise p.Undefined("Unlike NumPy, torch.sign doesn't support complex inputs. Use torch.sgn instead.")
    signs = p.sign(x)
    if x.type.dtype.kind == FLOATING:
        signs = p.where(f.is_nan(x), constant(x, 0), signs)
    return returned(signs, out)


def square(input: Tensor, *, out: Tensor | None = None) -> Tensor:
    """Each element times itself; bools give int64. As ``torch.square``.

    Example:
        >>> import flamework as torch
        >>> torch.square(torch.tensor([3.0])).tolist()
        [9.0]
    """
    x = tensor_argument(input, "square", "input", 1)
    if x.type.dtype.kind == BOOL:
        x = f.converted(x, dtypes.int64)
    return returned(p.mul(x, x), out)


def frac(input: Tensor, *, out: Tensor | None = None) -> Tensor:
    """The fraction of each element, with its sign: ``x - trunc(x)``. Floating point only. As ``torch.frac``.

    Example:
        >>> import flamework as torch
        >>> torch.frac(torch.tensor([1.5, -2.25])).tolist()
        [0.5, -0.25]
    """
    x = floating_only(tensor_argument(input, "frac", "input", 1), "frac")
    return returned(p.sub(x, p.trunc(x)), out)


def round(input: Tensor, *, decimals: int = 0, out: Tensor | None = None) -> Tensor:
    """Round to integers, halves to even, or to ``decimals`` places (negative: tens, hundreds). As ``torch.round``.

    Example:
        >>> import flamework as torch
        >>> torch.round(torch.tensor([0.5, 1.5, 2.6])).tolist()
        [0.0, 2.0, 3.0]
    """
    x = tensor_argument(input, "round", "input", 1)
    if x.type.dtype.kind == COMPLEX:
        raise p.Undefined("round is not supported for complex inputs")
    if x.type.dtype.kind == BOOL or (decimals and x.type.dtype.kind != FLOATING):
        raise p.Undefined(f"\"round with decimals={decimals}\" not implemented for '{scalar_type(x.type.dtype)}'")
    if x.type.dtype.kind != FLOATING:
        return returned(x, out, x)
    if decimals == 0:
        return returned(p.round(x), out)
    factor = argument(x, 10.0 ** (decimals if decimals > 0 else -decimals))
    if decimals > 0:
        return returned(p.div(p.round(p.mul(x, factor)), factor), out)
    return returned(p.mul(p.round(p.div(x, factor)), factor), out)


@keeps_order
def relu(input: Tensor) -> Tensor:
    """``max(x, 0)``; NaN stays NaN. Any dtype but bool. As ``torch.relu``.

    Example:
        >>> import flamework as torch
        >>> torch.relu(torch.tensor([-1.0, 2.0])).tolist()
        [0.0, 2.0]
    """
    try:
        x = tensor_argument(input, "relu", "input", 1)
    except SparseOperand:
        return sparse_call("relu", (input,), {})
    if x.type.dtype.kind == BOOL:
        raise RuntimeError("Boolean inputs not supported for relu")
    made = tensor_of(p.relu(x))
    return made if input._storage is None or is_plain(input) else arranged_like(made, (input,))


def logit(input: Tensor, eps: float | None = None, *, out: Tensor | None = None) -> Tensor:
    """``log(x / (1 - x))``, the inverse of ``sigmoid``; with ``eps``, x is first limited to [eps, 1 - eps].

    As ``torch.logit``.

    Example:
        >>> import flamework as torch
        >>> torch.logit(torch.tensor([0.5])).tolist()
        [0.0]
    """
    (x,) = float_operands(input)
    if x.type.dtype.kind == COMPLEX:
        raise p.Undefined(f"\"logit\" not implemented for '{x.type.dtype.scalar_name}'")
    if eps is not None:
        low, high = argument(x, eps), argument(x, 1 - eps)
        # not one after the other, because eps may be more than a half
        x = p.where(p.lt(x, low), low, p.where(p.lt(high, x), high, x))
    return returned(_logit(x), out)


@rounded_once
def _logit(x: Node) -> Node:
    value = f.cut(x)
    value = p.log(p.div(value, p.sub(constant(x, 1), value)))
    return _logit_of(value, x) if x.requires_grad else value


def _logit_slope(g: Node, n: p.Saved) -> Node:
    x, one = n.y, constant(g, 1)
    outside = p.bor(p.lt(x, constant(x, 0)), p.lt(one, x))
    return p.where(outside, constant(g, math.nan), p.div(g, p.mul(x, p.sub(one, x))))


_logit_of = p.sloped("logit_of", _logit_slope)


def nan_to_num(
    input: Tensor, nan: float = 0.0, posinf: float | None = None, neginf: float | None = None, *,
    out: Tensor | None = None,
) -> Tensor:
    """Replace NaN by ``nan`` and the infinities by ``posinf`` and ``neginf``, by default the dtype's limits.

    As ``torch.nan_to_num``.

    Example:
        >>> import flamework as torch
        >>> torch.nan_to_num(torch.tensor([float("nan"), 1.0])).tolist()
        [0.0, 1.0]
    """
    x = tensor_argument(input, "nan_to_num", "input", 1)
    if x.type.dtype.kind == COMPLEX:
        parts = [_finite(part, nan, posinf, neginf) for part in (p.real(x), p.imag(x))]
        return exactly_returned(p.complex_(*parts), out)
    return exactly_returned(x if x.type.dtype.kind < FLOATING else _finite(x, nan, posinf, neginf), out, x)


def _finite(x: Node, nan: float | None, posinf: float | None, neginf: float | None) -> Node:
    limit = finfo(x.type.dtype).max
    low = argument(x, -limit if neginf is None else neginf)
    high = argument(x, limit if posinf is None else posinf)
    y = p.where(f.is_nan(x), argument(x, 0.0 if nan is None else nan), x)
    y = p.where(p.eq(x, constant(x, math.inf)), high, y)
    return p.where(p.eq(x, constant(x, -math.inf)), low, y)


def sgn(input: Tensor, *, out: Tensor | None = None) -> Tensor:
    """As :func:`sign`, but of a complex number ``z / abs(z)``, and 0 of 0. As ``torch.sgn``.

    Example:
        >>> import flamework as torch
        >>> torch.sgn(torch.tensor([-3.0, 0.0])).tolist()
        [-1.0, 0.0]
    """
    x = tensor_argument(input, "sgn", "input", 1)
    return returned(direction(x), out) if x.type.dtype.kind == COMPLEX else sign(input, out=out)


absolute, negative = abs, neg
