"""The table of primitives: the closed set of operations that every program is made of.

Each operation is one :class:`Primitive`, and everything that is known about it stands in its row: the rule for
shape and dtype, the gradient (VJP), the tangent (JVP), the batching rule, a NumPy reference and the scalar
expression that the code generators print. Nothing else in Flamework holds a rule for an operation, and the tests
iterate over :data:`TABLE`, so a new row is tested as soon as it exists.

This chapter holds the row type, the leaves and the elementwise rows; ``primitives_shape.py`` holds movement,
reductions, contractions, indexing and the rest. Calling a row makes a node: ``add(x, y)``.

Elementwise rows want operands of one shape (broadcasting is an explicit ``expand``) and, but for comparisons and
``where``, of one dtype. Expressions are templates: ``{0}``, ``{1}``, ``{2}`` are the operands, ``{t}`` the
constructor of the first operand's dtype; the functions that they name are supplied by ``kernels/``.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from . import dtypes
from .dtypes import BOOL, COMPLEX, FLOATING, INTEGER, DType, complex_of
from .ir import IRError, Node, TensorType, grad_mode, tensor_type

TABLE: dict[str, Primitive] = {}

# Setting the attributes takes two thirds of the time of a call of the constructor.
_new_node = Node.__new__


@dataclass(eq=False, slots=True)
class Primitive:
    """One row of the table.

    Attributes:
        name: what the operation is called in the text form of a graph.
        kind: how it is lowered: ``leaf``, ``elementwise``, ``movement``, ``alias``, ``reduce``, ``scan``, ``gather``,
            ``scatter``, ``contract``, ``attention``, ``update``, ``cat``, ``barrier`` (a value read from memory, not
            before another is there), ``sort``, ``library`` (computed by its reference) or ``call`` (a computed value
            whose history is written down when a gradient wants it).
        infer: ``(params, *source types) -> TensorType``; raises ``ValueError`` for sources that do not fit.
        vjp: for each source, a function ``(cotangent, Saved) -> Node`` or None where no gradient flows; for rows
            with any number of sources one function ``(cotangent, Saved) -> list``. None: not differentiable.
        jvp: ``(tangents, Saved) -> Node`` with None for a source that has no tangent.
        batch: ``(params, sources) -> Node`` for sources that all have one more axis in front.
        reference: the operation on NumPy arrays, ``(params, *arrays) -> array``.
        expr: elementwise: the template of the scalar expression, or one for each kind of dtype (``f``, ``i``, ``b``).
        cost: arithmetic an element, in units of one multiplication; decides what may be computed twice.
        checks: evaluating it can report an error in the data (an index out of range).
        repeatable: whether ``vjp`` depends on the graph alone, and not on what a user left beside a node, so that a
            backward pass that was made once serves again.
        expand: a function that gives a node the history that it stands for, in place: of a ``call``, and of a row
            whose gradient is that of what it is made of.
    """

    name: str
    kind: str
    infer: Callable[..., TensorType]
    vjp: Any = None
    jvp: Callable | None = None
    batch: Callable | None = None
    reference: Callable | None = None
    expr: str | dict[str, str] | None = None
    cost: int = 1
    checks: bool = False
    repeatable: bool = True
    expand: Callable[[Node], None] | None = None
    inferred: dict = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        if self.name in TABLE:
            raise ValueError(f"a primitive named {self.name!r} exists already")
        TABLE[self.name] = self

    def __call__(self, *src: Node, params: tuple = ()) -> Node:
        """Make a node. Raises :class:`IRError` for sources that the row does not accept."""
        count = len(src)
        if count == 2:
            key = (params, src[0].type, src[1].type)
        elif count == 1:
            key = (params, src[0].type)
        else:
            key = (params, *[s.type for s in src])
        type = self.inferred.get(key)
        if type is None:
            same_device(key[1:])
            try:
                check_static(params)
                type = self.infer(params, *key[1:])
            except (TypeError, ValueError, IndexError) as error:
                kinds = [t.dtype for t in key[1:] if t.dtype.kind == COMPLEX]
                if kinds:
                    raise Undefined(f"\"{self.name}\" not implemented for '{kinds[0].scalar_name}'") from error
                raise IRError(f"{self.name}{list(params)} of {list(key[1:])}: {error}") from error
            remember(self.inferred, key, type)
        node = _new_node(Node)
        node.op = self
        node.src = src
        node.params = params
        node.type = type
        node.value = node.mark = None
        node.requires_grad = False
        if self.vjp is not None and grad_mode.enabled:
            for s in src:
                if s.requires_grad:
                    node.requires_grad = type.dtype.kind >= FLOATING
                    break
        return node

    def __repr__(self) -> str:
        return f"<primitive {self.name}>"

    def __reduce__(self):
        return (TABLE.__getitem__, (self.name,))


class Undefined(IRError, NotImplementedError):
    """An operation that has no meaning for a dtype, such as an order of complex numbers, or a gradient that PyTorch
    does not have either: an error of the user, where others of rows are ours. PyTorch raises ``NotImplementedError``
    too."""


def same_device(types: Sequence[TensorType]) -> None:
    """Raises :class:`RuntimeError`, in PyTorch's words, if values of different devices are to be computed with."""
    places = list(dict.fromkeys([t.device for t in types]))
    if len(places) > 1:
        raise RuntimeError(
            "Expected all tensors to be on the same device, but found at least two devices, "
            f"{places[0]} and {places[1]}!"
        )


def check_static(params: tuple) -> None:
    """Refuse a tensor among static parameters, where it would be part of a key by identity and hold a value that
    nobody computes. Raises :class:`TypeError`."""
    for value in params:
        if isinstance(value, tuple):
            check_static(value)
        elif hasattr(value, "__index__") and not isinstance(value, (int, np.integer)):
            raise TypeError(f"a static parameter is a number, not {type(value).__name__}")


def remember(table: dict, key: tuple, value: Any) -> None:
    """Put a result into a memo table which is emptied when it has grown large (new shapes without end)."""
    if len(table) > 4096:
        table.clear()
    table[key] = value


class Saved:
    """What a gradient rule may look at: the sources and result of a node. Looking counts as use of a saved value,
    so it fails after the value was overwritten in place or freed (``autodiff.py`` supplies the check)."""

    __slots__ = ("node", "check", "used")

    def __init__(self, node: Node, check: Callable[[Node, Node], None] | None = None) -> None:
        self.node = node
        self.check = check
        self.used = False

    def source(self, i: int) -> Node:
        self.used = True
        value = self.node.src[i]
        if self.check is not None:
            self.check(self.node, value)
        return value

    @property
    def x(self) -> Node:
        return self.source(0)

    @property
    def y(self) -> Node:
        return self.source(1)

    @property
    def z(self) -> Node:
        return self.source(2)

    @property
    def out(self) -> Node:
        self.used = True
        if self.check is not None:
            self.check(self.node, self.node)
        return self.node

    @property
    def params(self) -> tuple:
        return self.node.params

    def type(self, i: int) -> TensorType:
        return self.node.src[i].type


# ------------------------------------------------------------------------------------------------------------- leaves


def _leaf_infer(params: tuple, *types: TensorType) -> TensorType:
    shape, dtype, device = params[:3]
    return tensor_type(shape, dtype, device)


# A buffer in memory. Made by the runtime, which sets ``value``.
input_ = Primitive("input", "leaf", _leaf_infer, cost=0)
# A Python number, an argument of the kernel: a learning rate that changes compiles nothing.
scalar = Primitive("scalar", "leaf", _leaf_infer, cost=0)
# A number which is part of the program, so that it can be folded: the 0.5 in a formula of ours.
const = Primitive(
    "const", "leaf", _leaf_infer, cost=0,
    reference=lambda params: np.full(params[0], params[3], params[1].numpy),
)
# The index along one axis.
iota = Primitive(
    "iota", "leaf", _leaf_infer, cost=0,
    reference=lambda params: np.broadcast_to(
        np.arange(params[0][params[3]]).reshape([-1 if a == params[3] else 1 for a in range(len(params[0]))]), params[0]
    ).astype(params[1].numpy),
)

# ---------------------------------------------------------------------------------------------- elementwise rules


def same_shape(types: Sequence[TensorType]) -> TensorType:
    first = types[0]
    for t in types[1:]:
        if t.shape != first.shape:
            raise ValueError(f"shapes differ: {list(first.shape)} and {list(t.shape)}")
    return first


def same_type(params: tuple, *types: TensorType) -> TensorType:
    """All sources and the result have one shape and one dtype."""
    first = same_shape(types)
    for t in types[1:]:
        if t.dtype is not first.dtype:
            raise ValueError(f"dtypes differ: {first.dtype} and {t.dtype}")
    return first


def floating(params: tuple, *types: TensorType) -> TensorType:
    first = same_type(params, *types)
    if first.dtype.kind != FLOATING:
        raise ValueError(f"needs a floating point dtype, not {first.dtype}")
    return first


def inexact(params: tuple, *types: TensorType) -> TensorType:
    first = same_type(params, *types)
    if first.dtype.kind < FLOATING:
        raise ValueError(f"needs a floating point or complex dtype, not {first.dtype}")
    return first


def integral(params: tuple, *types: TensorType) -> TensorType:
    first = same_type(params, *types)
    if first.dtype.kind >= FLOATING:
        raise ValueError(f"needs an integer or bool dtype, not {first.dtype}")
    return first


def comparison(params: tuple, *types: TensorType) -> TensorType:
    first = same_type(params, *types)
    return tensor_type(first.shape, dtypes.bool_, first.device)


def order(params: tuple, *types: TensorType) -> TensorType:
    if types[0].dtype.kind == COMPLEX:
        raise ValueError("complex numbers have no order")
    return comparison(params, *types)


def selection(params: tuple, condition: TensorType, a: TensorType, b: TensorType) -> TensorType:
    same_shape((condition, a, b))
    if condition.dtype is not dtypes.bool_:
        raise ValueError(f"the condition is {condition.dtype}, not bool")
    return same_type((), a, b)


def elementwise_jvp(tangents: Sequence[Node | None], saved: Saved) -> Node | None:
    """An elementwise row's Jacobian is diagonal, so its VJP applied to a tangent is its JVP: where that multiplies with
    the conjugate of a slope, with the slope."""
    total = None
    for rule, tangent in zip(saved.node.op.vjp, tangents, strict=True):
        if rule is not None and tangent is not None:
            term = conjugate(rule(conjugate(tangent), saved))
            total = term if total is None else add(total, term)
    return total


# The keys of an elementwise row's expressions, by the kind of its first operand's dtype.
KIND_LETTERS = {BOOL: "b", INTEGER: "i", FLOATING: "f", COMPLEX: "c"}


def kind_letter(dtype: DType) -> str:
    return "n" if dtype.compute is not dtype else KIND_LETTERS[dtype.kind]


def elementwise(
    name: str, infer, expr, reference, vjp=None, cost: int = 1, checks: bool = False, jvp=elementwise_jvp
) -> Primitive:
    """A row whose batching rule and JVP follow from its being elementwise.

    It takes as many sources as its expression names, of the kinds of dtype that it has an expression for.
    """
    texts = expr.values() if isinstance(expr, dict) else [expr]
    arity = max(int(number) + 1 for text in texts for number in re.findall(r"\{(\d)\}", text))

    def checked(params: tuple, *types: TensorType) -> TensorType:
        if len(types) != arity:
            raise ValueError(f"takes {arity} sources, not {len(types)}")
        if isinstance(expr, dict) and KIND_LETTERS[types[0].dtype.kind] not in expr:
            raise ValueError(f"is not defined for {types[0].dtype}")
        return infer(params, *types)

    return Primitive(
        name, "elementwise", checked, vjp=vjp, jvp=None if vjp is None else jvp,
        batch=lambda params, src: TABLE[name](*src, params=params),
        reference=lambda params, *arrays: reference(*arrays), expr=expr, cost=cost, checks=checks,
    )


def sloped(name: str, *rules: Callable[[Node, Saved], Node]) -> Primitive:
    """A row for the value of its first source as an elementwise function of the others, whose gradients are given
    instead of following from the formula that the value was computed by."""
    row = Primitive(
        name, "alias", lambda params, value, *rest: value, vjp=(None, *rules), jvp=elementwise_jvp,
        batch=lambda params, src: row(*src), reference=lambda params, value, *rest: value, cost=0,
    )
    return row


def full_like(x: Node, value: float | int | bool) -> Node:
    """A constant of the type of ``x``; the value is part of the kernel."""
    return const(params=(x.type.shape, x.type.dtype, x.type.device, python_value(x.type.dtype, value)))


# The first source as a function of the second too, of a derivative that is zero: the gradient of a piecewise linear
# function does not change with its argument, but a gradient of that gradient is asked for and is zero, as in PyTorch.
locally_constant = Primitive(
    "locally_constant", "alias", lambda params, value, x: value, vjp=(lambda g, n: g, lambda g, n: full_like(g, 0)),
    jvp=lambda tangents, n: tangents[0], batch=lambda params, src: locally_constant(*src),
    reference=lambda params, value, x: value, cost=0,
)


def slope_of_pieces(g: Node, n: Saved, i: int = 0) -> Node:
    """The cotangent of a source that a row is piecewise linear in. Only where gradients are recorded a node more."""
    return locally_constant(g, n.node.src[i]) if grad_mode.enabled else g


# The source of a piecewise linear formula that is made of other rows.
piecewise_linear = Primitive(
    "piecewise_linear", "alias", lambda params, x: x, vjp=(slope_of_pieces,), jvp=lambda tangents, n: tangents[0],
    batch=lambda params, src: piecewise_linear(*src), reference=lambda params, x: x, cost=0,
)


def piecewise(x: Node) -> Node:
    """The argument of a piecewise linear formula, made so that its gradient has a gradient."""
    return piecewise_linear(x) if x.requires_grad else x


class NegativeZero(float):
    """-0.0 as a parameter. Parameters are keys, and as a key it must differ from 0.0, which it equals as a number."""

    __slots__ = ()

    def __eq__(self, other: object) -> bool:
        return self is other

    def __ne__(self, other: object) -> bool:
        return self is not other

    def __hash__(self) -> int:
        return hash("-0.0")


NEGATIVE_ZERO = NegativeZero(-0.0)


def python_value(dtype: DType, value) -> bool | int | float:
    """A number as the parameter of a node: of the dtype's kind, and equal only to itself, as a key should be."""
    if dtype.kind < FLOATING:
        return bool(value) if dtype.kind == BOOL else int(value)
    if isinstance(value, complex):
        return value
    value = float(value)
    if math.isnan(value):
        return math.nan  # one object, because two are never equal
    return NEGATIVE_ZERO if value == 0 and math.copysign(1, value) < 0 else value


def conjugate(x: Node) -> Node:
    """The complex conjugate, which of a real number is the number: what a gradient is multiplied with."""
    return conj(x) if x.type.dtype.kind == COMPLEX else x


def scale(x: Node, factor: float) -> Node:
    return mul(x, full_like(x, factor))


def remainder_reference(x, y):
    """The sign of the divisor; a remainder of zero keeps that of the dividend, as PyTorch's does."""
    if x.dtype.kind != "f":
        return np.remainder(x, y)
    rest = np.fmod(x, y)
    return np.where((rest != 0) & ((rest < 0) != (y < 0)), rest + y, rest)


def sign_reference(x):
    """Of NaN it is 0, as in PyTorch."""
    return x if x.dtype.kind == "b" else (x > 0).astype(x.dtype) - (x < 0).astype(x.dtype)


def erf_reference(x):
    from scipy.special import erf as scipy_erf

    return scipy_erf(x)


def quiet(function):
    """NumPy warns where IEEE arithmetic is meant: division by zero, overflow, invalid."""

    def call(*arrays):
        with np.errstate(all="ignore"):
            return function(*arrays)

    return call


# Operations on complex numbers have no expression: ``parts.py`` makes real operations of them.
PART, PARTS = "{0}", "{0} {1}"

# ------------------------------------------------------------------------------------------------- arithmetic rows

add = elementwise(
    "add", same_type, {"f": "({0} + {1})", "i": "iadd({0}, {1})", "b": "bor({0}, {1})", "c": PARTS}, np.add,
    vjp=(lambda g, n: g, lambda g, n: g),
)
sub = elementwise(
    "sub", same_type, {"f": "({0} - {1})", "i": "isub({0}, {1})", "c": PARTS}, np.subtract,
    vjp=(lambda g, n: g, lambda g, n: neg(g)),
)
mul = elementwise(
    "mul", same_type, {"f": "({0} * {1})", "i": "imul({0}, {1})", "b": "band({0}, {1})", "c": PARTS},
    quiet(np.multiply),
    vjp=(lambda g, n: mul(g, conjugate(n.y)), lambda g, n: mul(g, conjugate(n.x))),
)
div = elementwise(
    "div", inexact, {"f": "({0} / {1})", "c": PARTS}, quiet(np.divide), cost=4,
    vjp=(
        lambda g, n: div(g, conjugate(n.y)),
        lambda g, n: neg(div(mul(g, conjugate(div(n.x, n.y))), conjugate(n.y))),
    ),
)
floordiv = elementwise(
    "floordiv", same_type, {"f": "floordiv({0}, {1})", "i": "idiv_floor({0}, {1})"},
    quiet(np.floor_divide), cost=8,
)
rem = elementwise(
    "rem", same_type, {"f": "remainder({0}, {1})", "i": "irem_floor({0}, {1})"},
    quiet(remainder_reference), cost=8,
    vjp=(lambda g, n: g, lambda g, n: slope_of_pieces(neg(mul(g, floordiv(n.x, n.y))), n, 1)),
)
fmod = elementwise(
    "fmod", same_type, {"f": "fmod({0}, {1})", "i": "irem_trunc({0}, {1})"},
    quiet(np.fmod), cost=8,
    vjp=(lambda g, n: g, lambda g, n: neg(mul(g, trunc(div(n.x, n.y))))),
)


def _pow_base(g: Node, n: Saved) -> Node:
    # y * x**(y-1), and 0 where y is 0 even at x = 0, where x**-1 is infinite
    x, y = n.x, n.y
    zero = full_like(y, 0)
    slope = mul(y, pow(x, sub(y, full_like(y, 1))))
    return where(eq(y, zero), full_like(g, 0), mul(g, slope))


def _pow_exponent(g: Node, n: Saved) -> Node:
    # x**y * log(x), and 0 at x = 0 with y >= 0, where the logarithm is infinite
    x, y = n.x, n.y
    zero = full_like(x, 0)
    flat = band(eq(x, zero), le(zero, y))
    return where(flat, full_like(g, 0), mul(g, mul(n.out, log(x))))


pow = elementwise(
    "pow", same_type, {"f": "pow({0}, {1})", "i": "ipow({0}, {1})"}, quiet(np.power), cost=24,
    vjp=(_pow_base, _pow_exponent),
)
def _over_square(g: Node, n: Saved) -> Node:
    # 0 at (0, 0)
    square = add(mul(n.x, n.x), mul(n.y, n.y))
    zero = eq(square, full_like(square, 0))
    return where(zero, full_like(g, 0), div(g, where(zero, full_like(square, 1), square)))


atan2 = elementwise(
    "atan2", floating, "atan2({0}, {1})", np.arctan2, cost=16,
    vjp=(
        lambda g, n: _over_square(mul(g, n.y), n), lambda g, n: _over_square(neg(mul(g, n.x)), n),
    ),
)


def _tie_rule(pick_first):
    # the gradient goes to the operand that won, in halves when they are equal, as PyTorch's maximum does
    def rule(g: Node, n: Saved) -> Node:
        a, b = (n.x, n.y) if pick_first else (n.y, n.x)
        zero = full_like(g, 0)
        wins = lt(b, a) if n.node.op is maximum else lt(a, b)
        return where(eq(a, b), scale(g, 0.5), where(wins, g, zero))

    return rule


maximum = elementwise(
    "max", same_type, {"f": "fmax({0}, {1})", "i": "imax({0}, {1})", "b": "bor({0}, {1})"}, np.maximum,
    vjp=(_tie_rule(True), _tie_rule(False)),
)
minimum = elementwise(
    "min", same_type, {"f": "fmin({0}, {1})", "i": "imin({0}, {1})", "b": "band({0}, {1})"}, np.minimum,
    vjp=(_tie_rule(True), _tie_rule(False)),
)
copysign = elementwise(
    "copysign", floating, "copysign({0}, {1})", np.copysign,
    vjp=(lambda g, n: mul(g, mul(sign(n.x), copysign(full_like(n.y, 1), n.y))), lambda g, n: full_like(g, 0)),
)

# ---------------------------------------------------------------------------------------- logic, bits and comparisons

band = elementwise("and", integral, {"i": "iand({0}, {1})", "b": "band({0}, {1})"}, np.bitwise_and)
bor = elementwise("or", integral, {"i": "ior({0}, {1})", "b": "bor({0}, {1})"}, np.bitwise_or)
bxor = elementwise("xor", integral, {"i": "ixor({0}, {1})", "b": "bxor({0}, {1})"}, np.bitwise_xor)
bnot = elementwise("not", integral, {"i": "inot({0})", "b": "bnot({0})"}, np.invert)
shl = elementwise("shl", integral, {"i": "ishl({0}, {1})"}, np.left_shift)
shr = elementwise("shr", integral, {"i": "ishr({0}, {1})"}, np.right_shift)
eq = elementwise("eq", comparison, "({0} == {1})", np.equal)
ne = elementwise("ne", comparison, "({0} != {1})", np.not_equal)
lt = elementwise("lt", order, "({0} < {1})", np.less)
le = elementwise("le", order, "({0} <= {1})", np.less_equal)
where = elementwise(
    "where", selection, "select({0}, {1}, {2})", np.where,
    vjp=(None, lambda g, n: where(n.x, g, full_like(g, 0)), lambda g, n: where(n.x, full_like(g, 0), g)),
)

# --------------------------------------------------------------------------------------------------------- unary rows

neg = elementwise(
    "neg", same_type, {"f": "(-{0})", "i": "ineg({0})", "c": PART}, np.negative, vjp=(lambda g, n: neg(g),)
)
abs = elementwise(
    "abs", same_type, {"f": "fabs({0})", "i": "iabs({0})", "b": "{0}"}, np.abs, vjp=(lambda g, n: mul(g, sign(n.x)),)
)
sign = elementwise(
    "sign", same_type, {"f": "fsign({0})", "i": "isign({0})", "b": "{0}"},
    sign_reference, vjp=(lambda g, n: full_like(g, 0),),
)
recip = elementwise(
    "recip", inexact, {"f": "({t}(1.0) / {0})", "c": PART}, quiet(np.reciprocal), cost=4,
    vjp=(lambda g, n: neg(mul(g, conjugate(mul(n.out, n.out)))),),
)
sqrt = elementwise(
    "sqrt", floating, "sqrt({0})", quiet(np.sqrt), cost=4, vjp=(lambda g, n: div(g, scale(n.out, 2.0)),)
)
rsqrt = elementwise(
    "rsqrt", floating, "({t}(1.0) / sqrt({0}))", quiet(lambda x: 1 / np.sqrt(x)), cost=6,
    vjp=(lambda g, n: mul(scale(g, -0.5), mul(n.out, mul(n.out, n.out))),),
)
exp = elementwise("exp", floating, "exp({0})", quiet(np.exp), cost=12, vjp=(lambda g, n: mul(g, n.out),))
expm1 = elementwise(
    "expm1", floating, "expm1({0})", quiet(np.expm1), cost=14, vjp=(lambda g, n: mul(g, add(n.out, full_like(g, 1))),)
)
log = elementwise("log", floating, "log({0})", quiet(np.log), cost=12, vjp=(lambda g, n: div(g, n.x),))
log1p = elementwise(
    "log1p", floating, "log1p({0})", quiet(np.log1p), cost=14, vjp=(lambda g, n: div(g, add(n.x, full_like(g, 1))),)
)
exp2 = elementwise(
    "exp2", floating, "exp2({0})", quiet(np.exp2), cost=12, vjp=(lambda g, n: scale(mul(g, n.out), math.log(2)),)
)
log2 = elementwise(
    "log2", floating, "log2({0})", quiet(np.log2), cost=12, vjp=(lambda g, n: div(g, scale(n.x, math.log(2))),)
)
log10 = elementwise(
    "log10", floating, "log10({0})", quiet(np.log10), cost=12, vjp=(lambda g, n: div(g, scale(n.x, math.log(10))),)
)
sin = elementwise("sin", floating, "sin({0})", quiet(np.sin), cost=16, vjp=(lambda g, n: mul(g, cos(n.x)),))
cos = elementwise("cos", floating, "cos({0})", quiet(np.cos), cost=16, vjp=(lambda g, n: neg(mul(g, sin(n.x))),))
tan = elementwise(
    "tan", floating, "tan({0})", quiet(np.tan), cost=20,
    vjp=(lambda g, n: mul(g, add(mul(n.out, n.out), full_like(g, 1))),),
)
asin = elementwise(
    "asin", floating, "asin({0})", quiet(np.arcsin), cost=16,
    vjp=(lambda g, n: mul(g, rsqrt(sub(full_like(g, 1), mul(n.x, n.x)))),),
)
acos = elementwise(
    "acos", floating, "acos({0})", quiet(np.arccos), cost=16,
    vjp=(lambda g, n: neg(mul(g, rsqrt(sub(full_like(g, 1), mul(n.x, n.x))))),),
)
atan = elementwise(
    "atan", floating, "atan({0})", np.arctan, cost=16,
    vjp=(lambda g, n: div(g, add(mul(n.x, n.x), full_like(g, 1))),),
)
sinh = elementwise("sinh", floating, "sinh({0})", quiet(np.sinh), cost=16, vjp=(lambda g, n: mul(g, cosh(n.x)),))
cosh = elementwise("cosh", floating, "cosh({0})", quiet(np.cosh), cost=16, vjp=(lambda g, n: mul(g, sinh(n.x)),))
tanh = elementwise(
    "tanh", floating, "tanh({0})", np.tanh, cost=14,
    vjp=(lambda g, n: mul(g, sub(full_like(g, 1), mul(n.out, n.out))),),
)
sigmoid = elementwise(
    "sigmoid", floating, "sigmoid({0})", quiet(lambda x: 1 / (1 + np.exp(-x))), cost=14,
    vjp=(lambda g, n: mul(g, mul(n.out, sub(full_like(g, 1), n.out))),),
)
# A row of its own, though where(x <= 0, 0, x) says the same: its gradient needs the result only, as PyTorch's does,
# so that a later in-place change of the result is noticed and one of the argument is not.
relu = elementwise(
    "relu", same_type, {"f": "select({0} <= {t}(0.0), {t}(0.0), {0})", "i": "imax({0}, {t}(0))"},
    lambda x: np.where(x <= 0, x.dtype.type(0), x),
    vjp=(lambda g, n: slope_of_pieces(where(le(n.out, full_like(g, 0)), full_like(g, 0), g), n),),
)
erf = elementwise(
    "erf", floating, "erf({0})", erf_reference, cost=16,
    vjp=(lambda g, n: mul(scale(g, 2 / math.sqrt(math.pi)), exp(neg(mul(n.x, n.x)))),),
)
floor = elementwise("floor", floating, "floor({0})", np.floor, vjp=(lambda g, n: full_like(g, 0),))
ceil = elementwise("ceil", floating, "ceil({0})", np.ceil, vjp=(lambda g, n: full_like(g, 0),))
trunc = elementwise("trunc", floating, "trunc({0})", np.trunc, vjp=(lambda g, n: full_like(g, 0),))
round = elementwise("round", floating, "rint({0})", np.rint, vjp=(lambda g, n: full_like(g, 0),))

# ------------------------------------------------------------------------------------------ conversion and indices


def _cast_infer(params: tuple, x: TensorType) -> TensorType:
    return tensor_type(x.shape, params[0], x.device)


def _bitcast_infer(params: tuple, x: TensorType) -> TensorType:
    if COMPLEX in (params[0].kind, x.dtype.kind):
        raise ValueError("a complex number is two real ones")
    if params[0].itemsize != x.dtype.itemsize:
        raise ValueError(f"{x.dtype} and {params[0]} differ in size")
    return tensor_type(x.shape, params[0], x.device)


def _cast_back(g: Node, dtype: DType) -> Node:
    if g.type.dtype.kind == COMPLEX and dtype.kind != COMPLEX:
        g = real(g)
    return cast(g, params=(dtype,))


def _cast_reference(x: np.ndarray, dtype: DType) -> np.ndarray:
    if x.dtype.kind == "c" and dtype.kind not in (BOOL, COMPLEX):
        x = x.real
    return quiet(x.astype)(dtype.numpy)


def _parts_infer(params: tuple, re: TensorType, im: TensorType) -> TensorType:
    first = floating(params, re, im)
    if first.dtype not in (dtypes.float32, dtypes.float64):
        raise ValueError(f"there are no complex numbers of {first.dtype}")
    return tensor_type(first.shape, complex_of(first.dtype), first.device)


def _part_infer(params: tuple, x: TensorType) -> TensorType:
    if x.dtype.kind != COMPLEX:
        raise ValueError(f"needs a complex dtype, not {x.dtype}")
    return tensor_type(x.shape, x.dtype.part, x.device)


def _complex_reference(re: np.ndarray, im: np.ndarray) -> np.ndarray:
    out = np.empty(re.shape, np.result_type(re.dtype, np.complex64))
    out.real, out.imag = re, im
    return out


# Complex numbers: made of two real ones, and taken apart. Gradients are PyTorch's: of a real number L with respect to
# z = a + ib the gradient is dL/da + i dL/db.
complex_ = elementwise(
    "complex", _parts_infer, PARTS, _complex_reference, vjp=(lambda g, n: real(g), lambda g, n: imag(g)),
    jvp=lambda tangents, n: complex_(*[full_like(x, 0) if t is None else t for t, x in zip(tangents, n.node.src)]),
)
real = elementwise(
    "real", _part_infer, {"c": PART}, np.real, vjp=(lambda g, n: complex_(g, full_like(g, 0)),),
    jvp=lambda tangents, n: real(tangents[0]),
)
imag = elementwise(
    "imag", _part_infer, {"c": PART}, np.imag, vjp=(lambda g, n: complex_(full_like(g, 0), g),),
    jvp=lambda tangents, n: imag(tangents[0]),
)
conj = elementwise(
    "conj", same_type, {"c": PART}, np.conj, vjp=(lambda g, n: conj(g),), jvp=lambda tangents, n: conj(tangents[0])
)

cast = Primitive(
    "cast", "elementwise", _cast_infer,
    vjp=(lambda g, n: _cast_back(g, n.type(0).dtype),), jvp=lambda t, n: cast(t[0], params=n.params),
    batch=lambda params, src: cast(*src, params=params),
    reference=lambda params, x: _cast_reference(x, params[0]),
    # 16-bit floats are bits in a kernel, which a cast to an integer must not be mistaken for
    expr={"f": "{r}({0})", "i": "{r}({0})", "b": "{r}({0})", "n": "{s}_to_{r}({0})", "c": PART},
)
bitcast = Primitive(
    "bitcast", "elementwise", _bitcast_infer, batch=lambda params, src: bitcast(*src, params=params),
    reference=lambda params, x: x.view(params[0].numpy), expr="bitcast_{s}_{r}({0})",
)


def _wrap_infer(params: tuple, index: TensorType, size: TensorType) -> TensorType:
    if index.dtype is not dtypes.int64:
        raise ValueError(f"an index is int64, not {index.dtype}")
    return same_type(params, index, size)


# Turns a user's index in [-size, size) into one in [0, size). Anything else is reported and becomes 0, so that
# nothing outside the tensor is ever read or written.
wrap_index = elementwise(
    "wrap_index", _wrap_infer, "wrap_index({0}, {1}, {error})",
    lambda i, n: np.where(i < 0, i + n, i), cost=2, checks=True,
)

# The index that stands for a zero among the divisors of integers, which is reported in the same way.
DIVISION_BY_ZERO = -(1 << 63)


def _philox_reference(counter, key):
    from .philox import philox_u32

    return philox_u32(counter, key)


def _philox_infer(params: tuple, counter: TensorType, key: TensorType) -> TensorType:
    if counter.dtype is not dtypes.int64:
        raise ValueError("the counter of the generator is int64")
    same_type(params, counter, key)
    return tensor_type(counter.shape, dtypes.int32, counter.device)


# 32 random bits for each counter value: randomness is a pure function of seed and position, so it fuses.
philox = elementwise("philox", _philox_infer, "philox({0}, {1})", _philox_reference, cost=40)
