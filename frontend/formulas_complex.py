"""Functions of complex numbers, as formulas of their real and imaginary parts.

Each takes a complex node and returns a complex one (``absolute`` and ``angle`` a real one). Gradients are PyTorch's: of
a real number L with respect to a + ib, dL/da + i dL/db. Analytic functions have theirs in a table, :data:`SLOPES`,
because the real formulas have corners where the function has none; those of the others follow from their formulas.

The branch cuts are those of C99 and of Kahan, "Branch cuts for complex elementary functions" (1987), whose formulas the
inverse functions use.

In: a complex node. Out: a node. Read next: ``pointwise.py``, which chooses between these and the rows for real numbers.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from .compiler import primitives as p, primitives_shape as s
from .compiler.composite import composite
from .compiler.dtypes import float32, float64
from .compiler.ir import Node
from .compiler.primitives import full_like as constant
from .compiler.primitives_shape import converted

Pair = tuple[Node, Node]


def parts(z: Node) -> Pair:
    return p.real(z), p.imag(z)


def hypotenuse(a: Node, b: Node) -> Node:
    """``sqrt(a**2 + b**2)`` without overflow in between, with a gradient of 0 at 0."""
    if a.requires_grad or b.requires_grad:
        return hypotenuse_of(hypotenuse(*[s.detach(x) if x.requires_grad else x for x in (a, b)]), a, b)
    wide, high = p.abs(a), p.abs(b)
    if a.type.dtype is float32:
        # the squares of all float32 numbers fit float64
        long = [converted(x, float64) for x in (a, b)]
        size = converted(p.sqrt(p.add(p.mul(long[0], long[0]), p.mul(long[1], long[1]))), float32)
    else:
        large = p.maximum(wide, high)
        flat = p.bor(p.eq(large, constant(large, 0)), p.eq(large, constant(large, math.inf)))
        divisor = p.where(flat, constant(large, 1), large)
        x, y = (p.div(p.where(flat, constant(side, 0), side), divisor) for side in (a, b))
        square = p.where(flat, constant(large, 1), p.add(p.mul(x, x), p.mul(y, y)))
        size = p.where(flat, large, p.mul(large, p.sqrt(square)))
    # an infinite side makes the other one irrelevant, even if it is NaN
    either = p.bor(p.eq(wide, constant(a, math.inf)), p.eq(high, constant(b, math.inf)))
    return p.where(either, constant(a, math.inf), size)


def _side(g: Node, n: p.Saved, which: int) -> Node:
    # at (0, 0) the gradient is 0, and its gradient
    out = n.out
    zero = p.eq(out, constant(out, 0))
    return p.where(zero, constant(g, 0), p.mul(g, p.div(n.source(which), p.where(zero, constant(out, 1), out))))


# The first source, the length of the hypotenuse over the others: its formulas have corners on the axes.
hypotenuse_of = p.sloped("hypotenuse_of", lambda g, n: _side(g, n, 1), lambda g, n: _side(g, n, 2))


@composite
def absolute(z: Node) -> Node:
    return hypotenuse(*parts(z))


@composite
def angle(z: Node) -> Node:
    a, b = parts(z)
    return p.atan2(b, a)


def _changed(t: Node, n: p.Saved) -> Node:
    return SLOPES[n.params[0]](t, n.y, n)


# The value of the first source, an analytic function of the second with a slope of its own: ``params = (its name,)``.
function_of = p.Primitive(
    "function_of", "alias", lambda params, value, z: value,
    vjp=(None, lambda g, n: p.conjugate(_changed(p.conjugate(g), n))), jvp=lambda tangents, n: _changed(tangents[1], n),
    batch=lambda params, src: function_of(*src, params=params), reference=lambda params, value, z: value, cost=0,
)


def _composed(formula: Callable[..., Pair]) -> Callable[..., Node]:
    """A function from a complex node to a complex node, recorded as one node."""
    name = formula.__name__.strip("_")

    def whole(z: Node) -> Node:
        value = p.complex_(*formula(*parts(s.detach(z) if z.requires_grad else z)))
        return function_of(value, z, params=(name,)) if z.requires_grad else value

    whole.__name__ = formula.__name__
    return composite(whole)


def _exp(a: Node, b: Node) -> Pair:
    size = p.exp(a)
    # of a real number the result is real, even where it is infinite
    real = p.eq(b, constant(b, 0))
    return p.where(real, size, p.mul(size, p.cos(b))), p.where(real, b, p.mul(size, p.sin(b)))


def _log(a: Node, b: Node) -> Pair:
    return p.log(hypotenuse(a, b)), p.atan2(b, a)


def _over(pair: Pair, number: float) -> Pair:
    return tuple(p.div(x, constant(x, number)) for x in pair)  # type: ignore[return-value]


def _log2(a: Node, b: Node) -> Pair:
    return _over(_log(a, b), math.log(2))


def _log10(a: Node, b: Node) -> Pair:
    return _over(_log(a, b), math.log(10))


def _log1p(a: Node, b: Node) -> Pair:
    square = p.add(p.mul(a, p.add(a, constant(a, 2))), p.mul(b, b))
    return p.scale(p.log1p(square), 0.5), p.atan2(b, p.add(a, constant(a, 1)))


def _exp2(a: Node, b: Node) -> Pair:
    return _exp(p.scale(a, math.log(2)), p.scale(b, math.log(2)))


def _expm1(a: Node, b: Node) -> Pair:
    half = p.sin(p.scale(b, 0.5))
    re = p.sub(p.mul(p.expm1(a), p.cos(b)), p.scale(p.mul(half, half), 2.0))
    return re, p.mul(p.exp(a), p.sin(b))


def _sqrt(a: Node, b: Node) -> Pair:
    size = hypotenuse(a, b)
    zero = p.eq(size, constant(size, 0))
    negative = p.lt(a, constant(a, 0))
    # half of |a| + |z|: nothing cancels; where a is 0 the slope of |a| is that of the branch
    t = p.sqrt(p.where(zero, constant(a, 1), p.add(p.scale(p.where(negative, p.neg(a), a), 0.5), p.scale(size, 0.5))))
    other = p.div(p.scale(b, 0.5), t)
    re = p.where(negative, p.mul(other, p.copysign(constant(b, 1), b)), t)
    im = p.where(negative, p.copysign(t, b), other)
    endless = p.eq(p.abs(b), constant(b, math.inf))
    re = p.where(endless, p.abs(b), re)
    return p.where(zero, constant(a, 0), re), p.where(p.bor(zero, endless), b, im)


def _sin(a: Node, b: Node) -> Pair:
    return p.mul(p.sin(a), p.cosh(b)), p.mul(p.cos(a), p.sinh(b))


def _cos(a: Node, b: Node) -> Pair:
    return p.mul(p.cos(a), p.cosh(b)), p.neg(p.mul(p.sin(a), p.sinh(b)))


def _sinh(a: Node, b: Node) -> Pair:
    return p.mul(p.sinh(a), p.cos(b)), p.mul(p.cosh(a), p.sin(b))


def _cosh(a: Node, b: Node) -> Pair:
    return p.mul(p.cosh(a), p.cos(b)), p.mul(p.sinh(a), p.sin(b))


def _tanh(a: Node, b: Node) -> Pair:
    # (sinh 2a + i sin 2b) / (cosh 2a + cos 2b), both multiplied with 2 exp(-2|a|) so that nothing overflows
    negative = p.lt(a, constant(a, 0))
    size = p.where(negative, p.neg(a), a)
    small = p.exp(p.scale(size, -2.0))
    twice = p.scale(b, 2.0)
    sinh = p.neg(p.expm1(p.scale(size, -4.0)))
    below = p.add(p.add(p.mul(small, small), constant(a, 1)), p.mul(p.scale(small, 2.0), p.cos(twice)))
    re = p.div(p.where(negative, p.neg(sinh), sinh), below)
    return re, p.div(p.mul(p.scale(small, 2.0), p.sin(twice)), below)


def _tan(a: Node, b: Node) -> Pair:
    re, im = _tanh(p.neg(b), a)
    return im, p.neg(re)


def _asinh_real(x: Node) -> Node:
    negative = p.lt(x, constant(x, 0))
    a = p.where(negative, p.neg(x), x)
    far = p.lt(constant(x, 2.0**28), a)
    near = p.where(far, constant(x, 1), a)
    square, one = p.mul(near, near), constant(x, 1)
    inner = p.add(near, p.div(square, p.add(one, p.sqrt(p.add(one, square)))))
    large = p.add(p.log(p.where(far, a, one)), constant(x, math.log(2)))
    size = p.where(far, large, p.log1p(inner))
    return p.where(negative, p.neg(size), size)


def _one_minus(a: Node, b: Node) -> Pair:
    return p.sub(constant(a, 1), a), p.neg(b)


def _one_plus(a: Node, b: Node) -> Pair:
    return p.add(constant(a, 1), a), b


def _asin(a: Node, b: Node) -> Pair:
    (c, d), (e, g) = _sqrt(*_one_minus(a, b)), _sqrt(*_one_plus(a, b))
    re = p.atan2(a, p.sub(p.mul(c, e), p.mul(d, g)))
    return re, _asinh_real(p.sub(p.mul(c, g), p.mul(d, e)))


def _acos(a: Node, b: Node) -> Pair:
    (c, d), (e, g) = _sqrt(*_one_minus(a, b)), _sqrt(*_one_plus(a, b))
    return p.scale(p.atan2(c, e), 2.0), _asinh_real(p.sub(p.mul(e, d), p.mul(g, c)))


def _asinh(a: Node, b: Node) -> Pair:
    re, im = _asin(p.neg(b), a)
    return im, p.neg(re)


def _acosh(a: Node, b: Node) -> Pair:
    (c, d), (e, g) = _sqrt(p.sub(a, constant(a, 1)), b), _sqrt(*_one_plus(a, b))
    return _asinh_real(p.add(p.mul(c, e), p.mul(d, g))), p.scale(p.atan2(d, e), 2.0)


def _atanh(a: Node, b: Node) -> Pair:
    less, more = p.sub(constant(a, 1), a), p.add(constant(a, 1), a)
    below = p.add(p.mul(less, less), p.mul(b, b))
    re = p.scale(p.log1p(p.div(p.scale(a, 4.0), below)), 0.25)
    return re, p.scale(p.atan2(p.scale(b, 2.0), p.sub(p.mul(less, more), p.mul(b, b))), 0.5)


def _atan(a: Node, b: Node) -> Pair:
    re, im = _atanh(p.neg(b), a)
    return im, p.neg(re)


FUNCTIONS: dict[str, Callable[[Node], Node]] = {
    formula.__name__.strip("_"): _composed(formula) for formula in (
        _exp, _exp2, _expm1, _log, _log2, _log10, _log1p, _sqrt, _sin, _cos, _tan, _sinh, _cosh, _tanh, _asin, _acos,
        _atan, _asinh, _acosh, _atanh,
    )
}


def _one(z: Node) -> Node:
    return constant(z, 1)


def _square(z: Node) -> Node:
    return p.mul(z, z)


def _inverse_root(z: Node) -> Node:
    return FUNCTIONS["rsqrt"](z)


# A change of the argument of each function of :data:`FUNCTIONS` that is made of real formulas, times its slope there:
# of the change, the argument, and what a gradient rule may look at. On branch cuts the slopes are PyTorch's.
SLOPES: dict[str, Callable[[Node, Node, p.Saved], Node]] = {
    "exp": lambda t, z, n: p.mul(t, n.out),
    "exp2": lambda t, z, n: p.mul(t, p.scale(n.out, math.log(2))),
    "expm1": lambda t, z, n: p.mul(t, p.add(n.out, _one(z))),
    "log": lambda t, z, n: p.div(t, z),
    "log2": lambda t, z, n: p.div(t, p.scale(z, math.log(2))),
    "log10": lambda t, z, n: p.div(t, p.scale(z, math.log(10))),
    "log1p": lambda t, z, n: p.div(t, p.add(z, _one(z))),
    "sqrt": lambda t, z, n: p.div(t, p.scale(n.out, 2.0)),
    "sin": lambda t, z, n: p.mul(t, FUNCTIONS["cos"](z)),
    "cos": lambda t, z, n: p.neg(p.mul(t, FUNCTIONS["sin"](z))),
    "tan": lambda t, z, n: p.mul(t, p.add(_square(n.out), _one(z))),
    "sinh": lambda t, z, n: p.mul(t, FUNCTIONS["cosh"](z)),
    "cosh": lambda t, z, n: p.mul(t, FUNCTIONS["sinh"](z)),
    "tanh": lambda t, z, n: p.mul(t, p.sub(_one(z), _square(n.out))),
    "asin": lambda t, z, n: p.mul(t, _inverse_root(p.sub(_one(z), _square(z)))),
    "acos": lambda t, z, n: p.neg(p.mul(t, _inverse_root(p.sub(_one(z), _square(z))))),
    "atan": lambda t, z, n: p.div(t, p.add(_square(z), _one(z))),
    "asinh": lambda t, z, n: p.mul(t, _inverse_root(p.add(_square(z), _one(z)))),
    "acosh": lambda t, z, n: p.mul(
        t, p.mul(_inverse_root(p.sub(z, _one(z))), _inverse_root(p.add(z, _one(z))))),
    "atanh": lambda t, z, n: p.div(t, p.sub(_one(z), _square(z))),
}

FUNCTIONS |= {
    "rsqrt": lambda z: p.recip(FUNCTIONS["sqrt"](z)),
    "reciprocal": p.recip,
    "sigmoid": lambda z: p.recip(p.add(FUNCTIONS["exp"](p.neg(z)), _one(z))),
    "sinc": lambda z: sinc(z),
}


def sinc(z: Node) -> Node:
    zero = p.eq(z, constant(z, 0))
    turned = p.scale(p.where(zero, _one(z), z), math.pi)
    return p.where(zero, _one(z), p.div(FUNCTIONS["sin"](turned), turned))


def log_sum_exp(z: Node, axes: tuple[int, ...]) -> Node:
    """``log(sum(exp(z)))``, with the largest real part taken out."""
    if not z.type.size:
        return FUNCTIONS["log"](s.reduce_sum(FUNCTIONS["exp"](z), params=axes)) if axes else z
    largest = s.detach(p.real(z))
    largest = s.reduce_max(largest, params=axes) if axes else largest
    infinite = p.eq(p.abs(largest), constant(largest, math.inf))
    largest = p.where(infinite, constant(largest, 0), largest)
    kept = tuple(1 if axis in axes else extent for axis, extent in enumerate(z.type.shape))
    around = s.broadcast_to(s.reshape(largest, params=kept), z.type.shape)
    powers = FUNCTIONS["exp"](p.sub(z, converted(around, z.type.dtype)))
    total = s.reduce_sum(powers, params=axes) if axes else powers
    return p.add(FUNCTIONS["log"](total), converted(largest, z.type.dtype))


def log_add_exp(a: Node, b: Node) -> Node:
    """``log(exp(a) + exp(b))``, with the larger real part taken out."""
    swapped = p.lt(p.real(a), p.real(b))
    larger, smaller = p.where(swapped, b, a), p.where(swapped, a, b)
    return p.add(larger, FUNCTIONS["log1p"](FUNCTIONS["exp"](p.sub(smaller, larger))))


def direction(z: Node) -> Node:
    """``z / |z|``, and 0 at 0."""
    size = absolute(z)
    zero = p.eq(size, constant(size, 0))
    size = p.where(zero, constant(size, 1), size)
    return p.complex_(*[p.where(zero, constant(x, 0), p.div(x, size)) for x in parts(z)])


def power(z: Node, w: Node) -> Node:
    """``z**w = exp(w log z)``; of zero 1 for an exponent of 0, and 0 for one with a positive real part."""
    zero = p.eq(z, constant(z, 0))
    safe = p.where(zero, _one(z), z)
    value = FUNCTIONS["exp"](p.mul(w, FUNCTIONS["log"](safe)))
    re, _ = parts(w)
    none = p.eq(w, constant(w, 0))
    at_zero = p.where(none, _one(z), p.where(p.lt(constant(re, 0), re), constant(z, 0), p.recip(constant(z, 0))))
    return p.where(zero, at_zero, value)
