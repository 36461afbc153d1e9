"""Test data for every row of the table of primitives: shapes, values and parameters, and what a row refuses.

``CASES`` maps the name of a row to its cases; ``test_primitives.py`` runs each through the kernels, the reference, the
gradients and the batching rule, and fails for a row that has none.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass, replace

import graphs
import numpy as np
from flamework.compiler import (  # noqa: F401, the rows of the last three are tested here
    dtypes,
    primitives as p,
    primitives_attention,
    primitives_library,
    primitives_linalg,
    primitives_special,
)
from flamework.compiler.dtypes import COMPLEX, DType, bool_, float32, float64, int8, int32, int64, uint8
from flamework.compiler.ir import Node, tensor_type
from flamework.compiler.primitives import TABLE, Primitive

# Marks of the frontend in a graph, which never reach a kernel: a compiled function that is called, a gradient that the
# user wrote, and values with a gradient of their own. They are tested with what they belong to.
MARKS = (
    "call", "result", "transfer", "compiled_call", "user_gradient", "checkpointed", "lane", "softmax_of", "function_of",
    "hypotenuse_of", "hypot_of", "x_log_y_of", "x_log1p_y_of",
    "acosh_of", "atanh_of", "logit_of", "cross_entropy_of", "scatter_product",
)
ROWS: dict[str, Primitive] = {name: row for name, row in TABLE.items() if name not in MARKS}

Values = Callable[[np.random.Generator, tuple, np.dtype], np.ndarray]


def is_float(dtype: np.dtype) -> bool:
    return dtype.kind == "f" or dtype.name == "bfloat16"


def uniform(low: float, high: float) -> Values:
    """Floats between two bounds, integers too if there is one between them; bools at random."""

    def values(rng, shape, dtype):
        if is_float(dtype):
            return np.asarray(rng.uniform(low, high, shape)).astype(dtype)
        if dtype.kind == "b":
            return rng.integers(0, 2, shape).astype(dtype)
        least = max(int(np.ceil(low)), 0 if dtype.kind == "u" else int(np.ceil(low)))
        return rng.integers(least, max(least, int(high)) + 1, shape).astype(dtype)

    return values


def eighths(rng, shape, dtype):
    """Distinct small multiples of 1/8, which float32 holds exactly, and sums of them too."""
    count = int(np.prod(shape))
    return (rng.permutation(count).reshape(shape) / 8 - count / 16).astype(dtype)


def distinct(rng, shape, dtype):
    """No two are equal, and none is close to another: no tie for a maximum."""
    count = int(np.prod(shape))
    order = rng.permutation(count).reshape(shape)
    return order.astype(dtype) if not is_float(dtype) else (0.37 * order - 0.17 * count).astype(dtype)


def fractions(rng, shape, dtype):
    """Away from whole numbers and from halves."""
    whole = rng.integers(-3, 4, shape)
    return (whole + rng.choice([0.2, 0.3, 0.7, 0.8], shape)).astype(dtype) if is_float(dtype) else whole.astype(dtype)


def given(*values) -> Values:
    return lambda rng, shape, dtype: np.array(values, dtype)


def always(value) -> Values:
    return lambda rng, shape, dtype: np.full(shape, value, dtype)


def below(extent: int, least: int = 0) -> Values:
    return lambda rng, shape, dtype: rng.integers(least, extent, shape).astype(dtype)


def permuted(extent: int, axis: int) -> Values:
    """Indices of which no two along an axis are equal."""

    def values(rng, shape, dtype):
        rows = rng.permuted(np.broadcast_to(np.arange(extent), (*np.delete(shape, axis), extent)), axis=-1)
        return np.moveaxis(rows[..., : shape[axis]], -1, axis).astype(dtype)

    return values


def dominant(rng, shape, dtype):
    """Matrices with a large diagonal, well conditioned; different numbers on it."""
    count = min(shape[-2:])
    return (rng.uniform(-1, 1, shape) + np.eye(*shape[-2:]) * (3 + np.arange(shape[-1]))).astype(dtype) if count else (
        np.zeros(shape, dtype))


def with_zeros(*counts: int) -> Values:
    """Values of which row ``i`` holds ``counts[i]`` zeros."""

    def values(rng, shape, dtype):
        array = uniform(0.5, 2)(rng, shape, dtype)
        for row, count in zip(array.reshape(-1, shape[-1]), counts):
            row[rng.permutation(shape[-1])[:count]] = 0
        return array

    return values


SIGNED = uniform(-3, 3)
POSITIVE = uniform(0.3, 3)
DIVISOR = uniform(1, 5)
UNIT = uniform(-0.9, 0.9)
NATURAL = uniform(0, 3)


@dataclass(frozen=True)
class Operand:
    """A source: its shape, its values, and its dtype if it is not the case's."""

    shape: tuple[int, ...]
    values: Values = SIGNED
    dtype: DType | None = None


@dataclass(frozen=True)
class Case:
    """One use of a row.

    Attributes:
        operands: the sources.
        params: the row's parameters, or a function of the dtype that gives them.
        dtypes: what to run the kernel with; None for all that the row accepts.
        wrt: the sources to differentiate to; empty where the mathematical derivative is not what the row gives.
        step: of the finite differences; None for one that depends on the values.
        rtol: relative error that the kernel may make in float32.
        batched: whether the batching rule is tried.
    """

    operands: tuple[Operand, ...]
    params: object = ()
    dtypes: tuple[DType, ...] | None = None
    wrt: tuple[int, ...] | None = None
    step: float | None = None
    rtol: float = 2e-6
    batched: bool = True

    def parameters(self, dtype: DType) -> tuple:
        return self.params(dtype) if callable(self.params) else self.params

    def arrays(self, dtype: DType, seed: int = 0, shapes=None) -> list[np.ndarray]:
        rng = np.random.default_rng(seed)
        shapes = [o.shape for o in self.operands] if shapes is None else shapes

        def values(o: Operand, shape: tuple) -> np.ndarray:
            wanted = o.dtype or dtype
            array = np.asarray(o.values(rng, shape, wanted.part.numpy)).reshape(shape)
            if wanted.kind == COMPLEX:
                array = np.asarray(array + 1j * SIGNED(rng, shape, wanted.part.numpy)).astype(wanted.numpy)
            return array

        return [values(o, shape) for o, shape in zip(self.operands, shapes)]

    def types(self, dtype: DType) -> list:
        return [tensor_type(o.shape, o.dtype or dtype) for o in self.operands]

    def node(self, row: Primitive, dtype: DType, seed: int = 0) -> Node:
        """The row applied to inputs; every floating point one requires a gradient."""
        sources = [graphs.variable(a, is_float(a.dtype) or a.dtype.kind == "c") for a in self.arrays(dtype, seed)]
        return row(*sources, params=self.parameters(dtype))

    def accepted(self, row: Primitive) -> list[DType]:
        """The dtypes of the case, or all those for which the row infers a type."""
        if self.dtypes is not None:
            return list(self.dtypes)
        found = []
        for dtype in dtypes.ALL:
            try:
                row.infer(self.parameters(dtype), *self.types(dtype))
            except (ValueError, TypeError):
                continue
            found.append(dtype)
        return found


SHAPES = ((3, 4), (), (0,), (2, 0, 3), (7, 37))

# Queries, keys and values, and a scale and whether the attention is causal.
ATTENTIONS = [
    ((1, 3, 2, 2), (1, 4, 2, 2), (1, 4, 2, 3), (0.7, False)), ((2, 3, 2, 1), (2, 3, 1, 1), (2, 3, 1, 2), (0.5, True)),
    ((1, 4, 1, 2), (1, 2, 1, 2), (1, 2, 1, 1), (-0.4, True)), ((1, 1, 4, 2), (1, 3, 2, 2), (1, 3, 2, 1), (0.0, False)),
    ((2, 21, 4, 8), (2, 37, 2, 8), (2, 37, 2, 9), (0.35, True)),
]


def pointwise(*values: Values, wrt=None, kept: dict[int, DType] | None = None, rtol: float = 2e-6) -> list[Case]:
    """Cases of an elementwise row for every shape."""
    return [
        Case(tuple(Operand(shape, v, (kept or {}).get(i)) for i, v in enumerate(values)), wrt=wrt, rtol=rtol)
        for shape in SHAPES
    ]


def case(*operands: Operand, **options) -> Case:
    return Case(operands, **options)


def X(*shape: int, values: Values = SIGNED, dtype: DType | None = None) -> Operand:
    return Operand(shape, values, dtype)


def index(*shape: int, values: Values) -> Operand:
    return Operand(shape, values, int64)


# quotients that are no whole number, where the derivative jumps
REMAINDERS = [
    *pointwise(fractions, always(1), wrt=(0,)),
    case(X(4, values=given(5.3, -5.3, 7.9, -0.4)), X(4, values=given(2, 3, -2, 1.5)), dtypes=(float64,)),
    *pointwise(uniform(-9, 9), DIVISOR, wrt=()),
]
SAME_SIZE = ((float32, int32), (int32, float32), (float64, int64), (int64, float64), (uint8, int8), (int8, uint8),
             (bool_, int8), (int64, int64))  # fmt: skip

POLYNOMIALS = [name for name in ROWS if "_polynomial_" in name]

CASES: dict[str, list[Case]] = {
    # ----------------------------------------------------------------------------------------------------- leaves
    "const": [case(params=lambda d, shape=shape: (shape, d, "cpu", p.python_value(d, 3)), batched=False)
              for shape in SHAPES],
    "iota": [case(params=lambda d, shape=shape, axis=axis: (shape, d, "cpu", axis), batched=False,
                  dtypes=(int64, int32, float32))
             for shape, axis in (((4,), 0), ((3, 4), 1), ((3, 4), 0), ((2, 0, 3), 2))],
    # ------------------------------------------------------------------------------------------------- elementwise
    "add": pointwise(SIGNED, SIGNED),
    "sub": pointwise(SIGNED, SIGNED),
    "mul": pointwise(SIGNED, SIGNED),
    "div": pointwise(SIGNED, POSITIVE),
    "floordiv": pointwise(uniform(-9, 9), DIVISOR, wrt=()),
    "rem": REMAINDERS,
    "fmod": REMAINDERS,
    "pow": pointwise(POSITIVE, NATURAL) + pointwise(SIGNED, always(3), wrt=(0,)),
    "atan2": pointwise(SIGNED, POSITIVE),
    "max": pointwise(SIGNED, SIGNED),
    "min": pointwise(SIGNED, SIGNED),
    "copysign": pointwise(SIGNED, SIGNED, wrt=(0,)),
    "and": pointwise(SIGNED, SIGNED),
    "or": pointwise(SIGNED, SIGNED),
    "xor": pointwise(SIGNED, SIGNED),
    "not": pointwise(SIGNED),
    "shl": pointwise(SIGNED, NATURAL),
    "shr": pointwise(uniform(-100, 100), NATURAL),
    "eq": pointwise(NATURAL, NATURAL),
    "ne": pointwise(NATURAL, NATURAL),
    "lt": pointwise(NATURAL, NATURAL),
    "le": pointwise(NATURAL, NATURAL),
    "where": pointwise(SIGNED, SIGNED, SIGNED, kept={0: bool_}),
    "neg": pointwise(SIGNED),
    "abs": pointwise(SIGNED),
    "sign": pointwise(SIGNED),
    "recip": pointwise(POSITIVE),
    "sqrt": pointwise(POSITIVE),
    "rsqrt": pointwise(POSITIVE),
    "exp": pointwise(SIGNED),
    "expm1": pointwise(SIGNED),
    "log": pointwise(POSITIVE),
    "log1p": pointwise(uniform(-0.8, 2)),
    "exp2": pointwise(SIGNED),
    "log2": pointwise(POSITIVE),
    "log10": pointwise(POSITIVE),
    "sin": pointwise(SIGNED),
    "cos": pointwise(SIGNED),
    "tan": pointwise(uniform(-1.2, 1.2)),
    "asin": pointwise(UNIT),
    "acos": pointwise(UNIT),
    "atan": pointwise(SIGNED),
    "sinh": pointwise(SIGNED),
    "cosh": pointwise(SIGNED),
    "tanh": pointwise(SIGNED),
    "sigmoid": pointwise(SIGNED),
    "relu": pointwise(SIGNED),
    "erf": pointwise(SIGNED),
    "erfc": pointwise(SIGNED),
    "erfinv": pointwise(UNIT),
    "lgamma": pointwise(uniform(0.3, 6)) + pointwise(fractions, rtol=1e-5),
    "digamma": pointwise(POSITIVE) + pointwise(fractions),
    "entr": pointwise(POSITIVE),
    "floor": pointwise(fractions),
    "ceil": pointwise(fractions),
    "trunc": pointwise(fractions),
    "round": pointwise(fractions),
    "complex": pointwise(SIGNED, SIGNED),
    "real": pointwise(SIGNED),
    "imag": pointwise(SIGNED),
    "conj": pointwise(SIGNED),
    "cast": [case(X(*shape, values=eighths), params=(to,), step=1 / 8, wrt=None if to in (float32, float64) else ())
             for to, shape in [*itertools.product(dtypes.ALL, ((4, 5),)), (float32, ()), (float32, (0,))]],
    "bitcast": [case(X(3, 4), params=(to,), dtypes=(of,)) for of, to in SAME_SIZE],
    "wrap_index": [case(index(*shape, values=below(7, -7)), index(*shape, values=always(7)), dtypes=(int64,))
                   for shape in SHAPES],
    "philox": [case(index(*shape, values=below(1 << 62)), index(*shape, values=below(1 << 62)), dtypes=(int64,))
               for shape in SHAPES],
    # ---------------------------------------------------------------------------------------------------- movement
    "copy": [case(X(*shape)) for shape in SHAPES],
    "detach": [case(X(*shape), wrt=()) for shape in SHAPES],
    "barrier": [case(X(*shape), X(2, 3), wrt=(0,)) for shape in SHAPES],
    # its gradient is not the derivative of its value, which tests/frontend/test_mutation.py looks at
    "straight_through": [case(X(*shape), X(*shape), wrt=()) for shape in SHAPES],
    "locally_constant": [case(X(*shape), X(2, 3), wrt=(0,)) for shape in SHAPES],
    "piecewise_linear": [case(X(*shape)) for shape in SHAPES],
    "reshape": [case(X(*a), params=b) for a, b in (
        ((3, 4), (2, 6)), ((), (1, 1)), ((1,), ()), ((2, 0), (0, 5, 3)), ((2, 3, 4), (6, 4)), ((24,), (2, 3, 4)))],
    "permute": [case(X(*a), params=b) for a, b in (
        ((3, 4), (1, 0)), ((2, 3, 4), (2, 0, 1)), ((), ()), ((2, 0, 3), (2, 1, 0)), ((40, 50), (1, 0)))],
    "expand": [case(X(*a), params=b) for a, b in (
        ((3, 1), (3, 4)), ((1, 3, 1), (2, 3, 4)), ((), ()), ((1,), (0,)), ((1, 1), (2, 2)))],
    "slice": [case(X(*a), params=b) for a, b in (
        ((6, 7), ((1, 2), (1, 1), (3, 4))), ((6, 7), ((1, 0), (2, 3), (2, 3))), ((), ((), (), ())),
        ((5,), ((5,), (1,), (0,))), ((9,), ((2,), (3,), (2,))))],
    "flip": [case(X(*a), params=b) for a, b in (
        ((3, 4), (0,)), ((3, 4), (0, 1)), ((2, 3, 4), (1,)), ((), ()), ((0, 3), (1,)))],
    "pad": [case(X(*a), params=lambda d, b=b, v=v: (*b, p.python_value(d, v))) for a, b, v in (
        ((3, 4), ((1, 0), (2, 3)), 0), ((3,), ((2,), (0,)), 5), ((), ((), ()), 1), ((0,), ((2,), (1,)), 3),
        ((2, 3), ((1, 1), (1, 1)), 1))],
    "unfold": [case(X(*a), params=b) for a, b in (
        ((7,), (0, 3, 1, 1)), ((7, 2), (0, 3, 2, 1)), ((2, 9), (1, 3, 1, 2)), ((2, 9), (1, 2, 2, 1)),
        ((2, 8), (1, 3, 3, 1)), ((10,), (0, 3, 2, 3)), ((5,), (0, 1, 2, 1)), ((0, 3), (1, 2, 1, 1)))],
    "as_strided": [case(X(a), params=b) for a, b in (
        (12, ((3, 4), (4, 1), 0)), (12, ((4, 3), (1, 4), 0)), (9, ((4, 3), (2, 1), 0)), (9, ((2, 2), (0, 3), 2)),
        (5, ((), (), 3)), (5, ((0, 2), (1, 1), 0)))],
    "cat": [case(*[X(*shape) for shape in a], params=(axis,)) for a, axis in (
        (((2, 3), (2, 1), (2, 4)), 1), (((2, 3), (1, 3)), 0), (((3,), (0,)), 0), (((2, 2),), 1), (((0,), (0,)), 0))],
    "update": [case(X(*a), X(*b), params=c) for a, b, c in (
        ((4, 5), (2, 3), ((1, 1), (1, 1))), ((4, 5), (2, 2), ((0, 1), (2, 3))), ((), (), ((), ())),
        ((4,), (0,), ((2,), (1,))), ((4,), (4,), ((0,), (1,))))],
    # --------------------------------------------------------------------------------------------------- reductions
    "sum": [case(X(*a), params=b, rtol=1e-5) for a, b in (
        ((3, 4), (1,)), ((3, 4), (0,)), ((2, 3, 4), (0, 2)), ((5,), (0,)), ((0, 3), (0,)), ((3, 0), (0,)),
        ((2, 1), (1,)), ((30, 200), (1,)), ((200, 30), (0,)))],
    "prod": [case(X(*a, values=v), params=b, rtol=1e-5) for a, b, v in (
        ((3, 4), (1,), SIGNED), ((3, 4), (0,), SIGNED), ((2, 3, 2), (0, 2), SIGNED), ((0, 3), (0,), SIGNED),
        ((4, 4), (1,), with_zeros(0, 1, 2, 3)), ((5,), (0,), with_zeros(1)), ((30, 7), (1,), uniform(0.5, 2)),
        ((2, 3), (1,), always(1)))],
    "reduce_max": [case(X(*a, values=distinct), params=b) for a, b in (
        ((3, 4), (1,)), ((3, 4), (0,)), ((2, 3, 4), (0, 2)), ((5,), (0,)), ((3, 0), (0,)), ((6, 40), (1,)))],
    "reduce_min": [case(X(*a, values=distinct), params=b) for a, b in (
        ((3, 4), (1,)), ((3, 4), (0,)), ((2, 3, 4), (0, 2)), ((5,), (0,)), ((3, 0), (0,)), ((6, 40), (1,)))],
    "cumsum": [case(X(*a), params=b) for a, b in (
        ((5,), (0,)), ((3, 4), (1,)), ((3, 4), (0,)), ((2, 3, 4), (1,)), ((0,), (0,)), ((3, 1), (1,)), ((2, 0), (0,)))],
    "dot": [case(X(*a), X(*b), rtol=1e-5) for a, b in (
        ((1, 3, 4), (1, 4, 2)), ((2, 3, 4), (2, 4, 5)), ((1, 1, 4), (1, 4, 1)), ((2, 3, 0), (2, 0, 2)),
        ((1, 0, 4), (1, 4, 2)), ((2, 20, 30), (2, 30, 10)))],
    "dot_add": [case(X(*a), X(*b), X(*c), rtol=1e-5) for a, b, c in (
        ((1, 3, 4), (1, 4, 2), (1, 3, 2)), ((2, 3, 4), (2, 4, 5), (2, 3, 5)), ((2, 3, 0), (2, 0, 2), (2, 3, 2)),
        ((1, 0, 4), (1, 4, 2), (1, 0, 2)), ((2, 20, 30), (2, 30, 10), (2, 20, 10)))],
    # image, weight, and (stride, zeros before, zeros after, dilation, groups)
    "convolve": [case(X(*a), X(*b), params=c, rtol=2e-5) for a, b, c in (
        ((2, 2, 7), (3, 2, 3), ((1,), (0,), (0,), (1,), 1)), ((2, 2, 8), (3, 2, 3), ((2,), (1,), (2,), (1,), 1)),
        ((1, 4, 5, 6), (2, 2, 2, 3), ((1, 1), (1, 0), (0, 2), (2, 1), 2)),
        ((2, 3, 4), (1, 3, 2), ((1,), (3,), (2,), (1,), 1)),
        ((2, 1, 5, 4), (2, 1, 2, 1), ((2, 2), (0, 0), (1, 0), (1, 1), 1)),
        ((2, 2, 3, 3), (3, 2, 1, 1), ((1, 1), (0, 0), (0, 0), (1, 1), 1)),
        ((1, 1, 3, 3, 2), (2, 1, 2, 2, 2), ((1, 1, 1), (0, 1, 0), (0, 0, 1), (1, 1, 1), 1)),
        ((2, 3, 6), (6, 1, 3), ((1,), (1,), (1,), (1,), 3)),
        ((2, 2, 5, 6), (2, 1, 2, 3), ((2, 1), (1, 0), (0, 2), (1, 2), 2)),
        ((0, 2, 4), (3, 2, 3), ((1,), (1,), (1,), (1,), 1)), ((2, 0, 4), (3, 0, 3), ((1,), (1,), (1,), (1,), 1)),
        ((3, 9, 12, 13), (10, 9, 3, 3), ((1, 1), (1, 1), (1, 1), (1, 1), 1)),
        ((2, 3, 1, 4, 3), (3, 1, 1, 2, 2), ((1, 2, 1), (0, 1, 0), (0, 0, 1), (1, 1, 1), 3)))],
    # queries, keys, values, and (scale, causal)
    **{name: [case(X(*q), X(*k), X(*v), params=c, rtol=2e-5, wrt=(0, 1, 2) if name == "attention" else (0, 1))
              for q, k, v, c in ATTENTIONS] for name in ("attention", "attention_sums")},
    # and the result, the sums, its cotangent
    "attention_gradient": [
        *[case(X(*q), X(*k), X(*v), X(*q[:3], v[3]), X(q[0], q[2], q[1], values=uniform(2, 3)), X(*q[:3], v[3]),
               params=(*c, which), rtol=1e-4, dtypes=(float32, float64),
               wrt=(0, 1, 4, 5) if which == 2 else range(6))
          for q, k, v, c in ATTENTIONS for which in range(3)],
        *[case(X(1, 3, 2, 8), X(1, 4, 2, 8), X(1, 4, 2, 8), X(1, 3, 2, 8), Operand((1, 2, 3), uniform(4, 5), float32),
               X(1, 3, 2, 8), params=(0.3, False, which), rtol=1e-4, dtypes=(dtypes.float16, dtypes.bfloat16))
          for which in range(3)],
    ],
    # cotangent, weight, and a convolution's parameters with the shape of the image's space
    "image_gradient": [case(X(*a), X(*b), params=c, rtol=2e-5) for a, b, c in (
        ((2, 3, 5), (3, 2, 3), ((1,), (0,), (0,), (1,), 1, (7,))),
        ((1, 2, 4, 6), (2, 2, 2, 3), ((1, 1), (1, 0), (0, 2), (2, 1), 2, (5, 6))),
        # the last elements are in no window, nor is every other in between
        ((2, 2, 2, 2), (2, 1, 2, 1), ((2, 2), (0, 0), (0, 0), (1, 1), 1, (5, 4))),
        ((2, 3, 2), (3, 2, 2), ((4,), (0,), (0,), (1,), 1, (9,))),
        ((2, 2, 3), (2, 2, 3), ((3,), (2,), (3,), (2,), 1, (7,))),
        # more zeros around the image than a window is long
        ((2, 1, 9), (1, 3, 2), ((1,), (3,), (3,), (1,), 1, (4,))),
        ((2, 6, 6), (6, 1, 3), ((1,), (1,), (1,), (1,), 3, (6,))),
        ((2, 2, 3, 4), (2, 1, 2, 3), ((2, 1), (1, 0), (0, 2), (1, 2), 2, (5, 6))),
        ((2, 3, 1, 2, 3), (3, 1, 1, 2, 2), ((1, 2, 1), (0, 1, 0), (0, 0, 1), (1, 1, 1), 3, (1, 4, 3))),
        ((0, 3, 4), (3, 2, 3), ((1,), (1,), (1,), (1,), 1, (4,))),
        ((2, 0, 4), (0, 2, 3), ((1,), (1,), (1,), (1,), 1, (4,))),
        ((2, 3, 4), (3, 0, 3), ((1,), (1,), (1,), (1,), 1, (4,))),
        ((3, 10, 6, 7), (10, 9, 3, 3), ((2, 2), (1, 1), (1, 1), (1, 1), 1, (12, 13))))],
    # image, cotangent, and a convolution's parameters with the size of a window
    "filter_gradient": [case(X(*a), X(*b), params=c, rtol=2e-5) for a, b, c in (
        ((2, 2, 7), (2, 3, 5), ((1,), (0,), (0,), (1,), 1, (3,))),
        ((1, 4, 5, 6), (1, 2, 4, 6), ((1, 1), (1, 0), (0, 2), (2, 1), 2, (2, 3))),
        ((2, 1, 5, 4), (2, 2, 3, 2), ((2, 2), (0, 0), (1, 0), (1, 1), 1, (2, 1))),
        ((2, 3, 6), (2, 6, 6), ((1,), (1,), (1,), (1,), 3, (3,))),
        ((2, 2, 5, 6), (2, 2, 3, 4), ((2, 1), (1, 0), (0, 2), (1, 2), 2, (2, 3))),
        ((2, 3, 1, 4, 3), (2, 3, 1, 2, 3), ((1, 2, 1), (0, 1, 0), (0, 0, 1), (1, 1, 1), 3, (1, 2, 2))),
        ((0, 2, 4), (0, 3, 4), ((1,), (1,), (1,), (1,), 1, (3,))),
        ((0, 2, 4), (0, 2, 4), ((1,), (1,), (1,), (1,), 2, (3,))),
        ((2, 0, 4), (2, 3, 4), ((1,), (1,), (1,), (1,), 1, (3,))))],
    # ----------------------------------------------------------------------------------------------------- indexing
    "gather": [case(X(*a), index(*b, values=below(a[axis])), params=(axis,)) for a, b, axis in (
        ((5,), (4,), 0), ((4, 3), (6, 3), 0), ((4, 3), (4, 2), 1), ((2, 3, 4), (2, 1, 4), 1), ((4, 3), (0, 3), 0))],
    "scatter": [
        *[case(X(*a), index(*b, values=below(a[axis])), X(*b), params=(axis, mode), wrt=None if mode == "add" else ())
          for mode in ("add", "mul", "max", "min")
          for a, b, axis in (((4,), (6,), 0), ((4, 3), (6, 3), 0), ((3, 4), (3, 2), 1), ((3,), (0,), 0))],
        # which of two values for one place wins is not defined: indices without repetition
        *[case(X(*a), index(*b, values=permuted(a[axis], axis)), X(*b), params=(axis, "set"), batched=False)
          for a, b, axis in (((6,), (4,), 0), ((6, 3), (4, 3), 0), ((3, 4), (3, 2), 1), ((3, 4), (3, 1), 1))],
    ],
    # ---------------------------------------------------------------------------------------------------- library
    "fft": [case(X(*shape), params=params, rtol=1e-5) for shape, params in (
        ((6,), (0, False)), ((6,), (0, True)), ((3, 5), (1, False)), ((3, 4, 2), (1, True)), ((1, 1), (0, False)))],
    "gcd": [case(X(*shape), X(*shape), dtypes=(int8, uint8, int32, int64), wrt=()) for shape in SHAPES],
    "rfft": [case(X(*shape), params=(axis,), rtol=1e-5)
             for shape, axis in (((6,), 0), ((3, 5), 1), ((4, 3), 0), ((1,), 0))],
    "irfft": [case(X(*shape), params=params, rtol=1e-5) for shape, params in (
        ((4,), (0, 6)), ((4,), (0, 7)), ((3, 3), (1, 4)), ((3, 2), (0, 5)), ((1,), (0, 1)))],
    **{name: [case(X(*shape), X(shape[1], most, values=below(shape[2]), dtype=int64),
                   X(shape[1], values=below(shape[0] + 1, min(shape[0], 2 * most)), dtype=int64),
                   X(shape[1], values=below(most + 1), dtype=int64), params=(0, zero), rtol=1e-5,
                   wrt=(0,) if name == "ctc" else ())
              for shape, most, zero in (((6, 2, 3), 2, False), ((7, 3, 4), 3, True), ((4, 2, 3), 0, False),
                                        ((3, 0, 2), 1, False), ((0, 2, 2), 0, False))]
       for name in ("ctc", "ctc_occupancy")},
    "cholesky": [case(X(*shape, values=dominant), params=(None,), wrt=(), rtol=1e-5)
                 for shape in ((3, 3), (2, 4, 4), (0, 0), (0, 2, 2))],
    "solve_triangular": [case(X(*lead, n, n, values=dominant), X(*lead, n, k), params=(upper, unit), rtol=1e-5)
                         for upper in (False, True) for unit in (False, True)
                         for *lead, n, k in ((3, 2), (2, 2, 1), (0, 2), (2, 0))],
    "solve": [case(X(*lead, n, n, values=dominant), X(*lead, n, k), params=("singular",), rtol=1e-5)
              for *lead, n, k in ((3, 2), (2, 2, 1), (0, 2), (2, 0), (0, 2, 2))],
    "lu_factor": [case(X(*shape), params=(None,), rtol=1e-5)
                  for shape in ((3, 3), (4, 2), (2, 4), (2, 3, 3), (0, 0), (3, 0), (0, 2, 2))],
    "permutation": [case(X(*shape, values=below(rows + 1, 1), dtype=int32), params=(rows,), dtypes=(int32,))
                    for *shape, rows in ((3, 4), (2, 3, 3), (0, 2), (0, 2, 2))],
    "det": [case(X(*shape), rtol=1e-5) for shape in ((3, 3), (2, 2, 2), (1, 1), (0, 0), (0, 2, 2))],
    "cofactor": [case(X(*shape), rtol=1e-5) for shape in ((3, 3), (2, 2, 2), (0, 2, 2))],
    "cofactor_change": [case(X(*shape), X(*shape), rtol=1e-5) for shape in ((3, 3), (2, 2, 2), (0, 2, 2))],
    "qr": [case(X(*shape), params=(mode,), rtol=1e-5,
                wrt=() if mode == "r" or (mode == "complete" and shape[-2] > shape[-1]) else None)
           for mode in ("reduced", "complete", "r")
           for shape in ((3, 3), (4, 2), (2, 4), (2, 3, 2), (0, 0), (3, 0), (0, 3), (0, 2, 2))],
    "geqrf": [case(X(*shape), wrt=(), rtol=1e-5) for shape in ((3, 3), (4, 2), (2, 2, 4), (3, 0))],
    # what reads one triangle, and what has a choice, is differentiated in tests/frontend/test_linalg_*.py
    "eigh": [case(X(*shape, values=dominant), params=(triangle, vectors), wrt=(), rtol=1e-5)
             for triangle in "LU" for vectors in (False, True) for shape in ((3, 3), (2, 2, 2), (0, 0), (0, 2, 2))],
    "eig": [case(X(*shape, values=dominant), params=(vectors,), wrt=(), rtol=1e-5)
            for vectors in (False, True) for shape in ((3, 3), (2, 2, 2), (0, 0), (0, 2, 2))],
    "svd": [
        *[case(X(*shape), params=(full, True), dtypes=(float32, float64), rtol=1e-5, wrt=() if full else None)
          for full in (False, True) for shape in ((3, 3), (4, 2), (2, 4), (2, 3, 2))],
        *[case(X(*shape), params=params, wrt=(), rtol=1e-5) for params in ((False, False), (True, True))
          for shape in ((3, 3), (2, 4), (2, 3, 2), (0, 0), (3, 0), (0, 2, 2))]],
    "pinv": [case(X(*shape, values=dominant), X(*shape[:-2], values=always(0.0), dtype=real),
                  X(*shape[:-2], values=always(1e-5), dtype=real), params=(False,), dtypes=(dtype,), wrt=(0,),
                  rtol=1e-4)
             for dtype, real in ((float32, float32), (float64, float64), (dtypes.complex128, float64))
             for shape in ((3, 3), (4, 2), (2, 4), (2, 3, 2), (3, 0))],
    "matrix_exp": [case(X(*shape, values=UNIT), rtol=1e-5) for shape in ((3, 3), (2, 2, 2), (0, 0), (0, 2, 2))],
    "erfcx": pointwise(SIGNED),
    "ndtri": pointwise(uniform(0.1, 0.9)),
    "log_ndtr": pointwise(SIGNED),
    "polygamma": [replace(case, params=(n,)) for values in (POSITIVE, fractions) for n in (1, 2, 3)
                  for case in pointwise(values)],
    "igamma": pointwise(POSITIVE, POSITIVE, wrt=(1,)),
    "igammac": pointwise(POSITIVE, POSITIVE, wrt=(1,)),
    "zeta": pointwise(uniform(1.5, 4), POSITIVE, wrt=(1,)),
    **{name: pointwise(SIGNED) for name in ("i0", "i0e", "i1", "i1e")},
    **{f"bessel_{name}": pointwise(POSITIVE) for name in ("j0", "j1", "y0", "y1", "k0", "k1", "k0e", "k1e")},
    "airy_ai": pointwise(SIGNED),
    **{name: pointwise(SIGNED, uniform(-1, 12)) for name in POLYNOMIALS},
    "argsort": [case(X(*a, values=NATURAL), params=(descending, count)) for descending in (False, True)
                for *a, count in ((6, 6), (3, 5, 5), (3, 5, 2), (2, 0, 0))],
}  # fmt: skip


# Sources and parameters that a row refuses. ``F``, ``L`` and ``B`` make types of float32, int64 and bool.


def F(*shape: int):
    return tensor_type(shape, float32)


def L(*shape: int):
    return tensor_type(shape, int64)


def B(*shape: int):
    return tensor_type(shape, bool_)


def C(*shape: int):
    return tensor_type(shape, dtypes.complex64)


def H(*shape: int):
    return tensor_type(shape, dtypes.float16)


FLOATING_ONLY = (
    "div atan2 copysign recip sqrt rsqrt exp expm1 log log1p exp2 log2 log10 sin cos tan asin acos atan sinh cosh tanh "
    "sigmoid erf erfc erfinv lgamma digamma entr floor ceil trunc round"
).split()
NOT_FLOATING = [(L(2),), (B(2),)]
# The library rows that work element by element, and how many sources they take.
SPECIAL = {name: len(CASES[name][0].operands) for name in (
    "erfcx ndtri log_ndtr polygamma igamma igammac zeta i0 i0e i1 i1e airy_ai bessel_j0 bessel_j1 bessel_y0 "
    "bessel_y1 bessel_k0 bessel_k1 bessel_k0e bessel_k1e"
).split() + POLYNOMIALS}
REFUSED: dict[str, list[tuple]] = {
    "add": [(F(2), L(2)), (F(2), F(3)), (F(2), F(1)), (F(2),), (F(2),) * 3, (F(2), tensor_type((2,), float32, "cuda"))],
    **{name: [(F(2), F(2)), (L(2), B(2))] for name in ("and", "or", "xor")},
    "not": [(F(2),)],
    "complex": [(F(2), tensor_type((2,), float64)), (L(2), L(2)), (H(2), H(2)), (F(2), F(3))],
    **{name: [(F(2),), (L(2),)] for name in ("real", "imag", "conj")},
    **{name: [(C(2), C(2))] for name in ("lt", "le", "max", "pow", "atan2")},
    **{name: [(C(2),)] for name in ("floor", "exp", "sqrt", "sigmoid")},
    "eq": [(F(2), L(2)), (F(2), F(2, 1))],
    "where": [(L(2), F(2), F(2)), (B(2), F(2), L(2)), (B(3), F(2), F(2)), (B(2), F(2))],
    **{name: [(B(2),), (F(2), F(2))] for name in ("neg", "relu")},
    **{name: [(B(2), B(2)), (F(2),)] for name in ("sub", "floordiv", "rem", "fmod", "pow")},
    **{name: [(B(2), B(2)), (F(2), F(2))] for name in ("shl", "shr")},
    "cast": [(F(2), F(2), (float32,))],
    "bitcast": [(F(2), (int64,)), (B(2), (float32,))],
    "wrap_index": [(tensor_type((2,), int32), tensor_type((2,), int32)), (L(2), L(3))],
    "philox": [(tensor_type((2,), int32), tensor_type((2,), int32)), (L(2), L(3))],
    "copy": [(F(2), F(2))],
    "detach": [(F(2), F(2))],
    "straight_through": [(F(2),)],
    "locally_constant": [(F(2),)],
    "piecewise_linear": [(F(2), F(2))],
    "barrier": [(F(2),)],
    "reshape": [(F(2, 3), (5,)), (F(2, 3), (-1, 6)), (F(0), (1,))],
    "permute": [(F(2, 3), (0, 0)), (F(2, 3), (0,)), (F(2, 3), (0, 2))],
    "expand": [(F(2, 3), (2, 4)), (F(3), (2, 3)), (F(1), ())],
    "slice": [(F(4), ((2,), (1,), (3,))), (F(4), ((0,), (2,), (3,))), (F(4), ((0,), (0,), (1,))),
              (F(4), ((-1,), (1,), (1,))), (F(4, 4), ((0,), (1,), (1,)))],
    "flip": [(F(2), (1,)), (F(2), (-1,))],
    "pad": [(F(2), ((-1,), (0,), 0.0)), (F(2), ((1, 1), (0, 0), 0.0))],
    "unfold": [(F(4), (0, 5, 1, 1)), (F(4), (0, 2, 0, 1)), (F(4), (1, 2, 1, 1)), (F(4), (0, 3, 1, 2))],
    "as_strided": [(F(2, 2), ((4,), (1,), 0)), (F(4), ((5,), (1,), 0)), (F(4), ((2,), (1,), 3)),
                   (F(4), ((2,), (-1,), 3)), (F(4), ((2, 2), (1,), 0))],
    "cat": [(F(2), L(2), (0,)), (F(2, 3), F(2, 4), (0,)), (F(2), F(2, 1), (0,))],
    "update": [(F(4), L(2), ((0,), (1,))), (F(4), F(3), ((2,), (1,))), (F(4, 4), F(4), ((0,), (1,)))],
    **{name: [(F(2, 3), ()), (F(2, 3), (1, 0)), (F(2, 3), (0, 0)), (F(2, 3), (2,)), (F(2, 3), (-1,))]
       for name in ("sum", "prod", "reduce_max", "reduce_min")},
    "cumsum": [(F(2), ()), (F(2), (1,)), (F(2, 2), (0, 1))],
    "dot": [(F(2, 3), F(3, 2)), (F(1, 2, 3), F(1, 4, 2)), (F(1, 2, 3), F(2, 3, 2)), (L(1, 2, 3), L(1, 3, 2))],
    "dot_add": [(F(1, 2, 3), F(1, 3, 2), F(1, 2, 3)), (F(1, 2, 3), F(1, 4, 2), F(1, 2, 2)), (F(1, 2, 3), F(1, 3, 2))],
    "convolve": [
        *[(F(1, 2, 4), weight, ((1,), (0,), (0,), (1,), groups)) for weight, groups in (
            (F(3, 1, 3), 1), (F(3, 2, 5), 1), (F(3, 1, 3), 2), (L(3, 2, 3), 1), (F(3, 2, 0), 1), (F(3, 2), 1))],
        *[(F(1, 2, 4), F(3, 2, 3), params) for params in (
            ((0,), (0,), (0,), (1,), 1), ((1,), (-1,), (0,), (1,), 1), ((1,), (0, 0), (0,), (1,), 1),
            ((1, 1), (0, 0), (0, 0), (1, 1), 1))],
    ],
    **{name: [(F(1, 2, 2, 3), F(1, 4, 2, 3), F(1, 4, 2, 5), params) for params in ((1, False), (1.0, None), (1.0,))] + [
        (q, k, v, (1.0, False)) for q, k, v in (
            (F(2, 2, 3), F(4, 2, 3), F(4, 2, 3)), (F(1, 2, 2, 3), F(1, 4, 2, 4), F(1, 4, 2, 4)),
            (F(1, 2, 3, 3), F(1, 4, 2, 3), F(1, 4, 2, 3)), (F(1, 2, 2, 3), F(1, 4, 2, 3), F(1, 5, 2, 3)),
            (F(2, 2, 2, 3), F(1, 4, 2, 3), F(1, 4, 2, 3)), (F(1, 2, 2, 3), H(1, 4, 2, 3), F(1, 4, 2, 3)),
            (L(1, 2, 2, 3), L(1, 4, 2, 3), L(1, 4, 2, 3)), (F(1, 2, 2, 3), F(1, 0, 2, 3), F(1, 0, 2, 3)))]
       for name in ("attention", "attention_sums")},
    "attention_gradient": [
        (F(1, 2, 2, 3), F(1, 4, 2, 3), F(1, 4, 2, 5), out, sums, g, (1.0, False, which)) for out, sums, g, which in (
            (F(1, 2, 2, 5), F(1, 2, 2), F(1, 2, 2, 5), 3), (F(1, 2, 2, 3), F(1, 2, 2), F(1, 2, 2, 5), 0),
            (F(1, 2, 2, 5), F(1, 2, 2, 1), F(1, 2, 2, 5), 0), (F(1, 2, 2, 5), F(1, 2, 2), F(1, 2, 2, 3), 0))],
    "image_gradient": [
        *[(g, weight, ((1,), (0,), (0,), (1,), groups, space)) for g, weight, groups, space in (
            (F(1, 3, 3), F(3, 2, 3), 1, (4,)), (F(1, 3, 2), F(4, 2, 3), 1, (4,)), (F(1, 3, 2), F(3, 2, 3), 2, (4,)),
            (F(1, 3, 2), F(3, 2, 3), 0, (4,)), (L(1, 3, 2), F(3, 2, 3), 1, (4,)), (F(1, 3, 2), L(3, 2, 3), 1, (4,)),
            (F(1, 3, 2), F(3, 2, 3), 1, (4, 1)), (F(1, 3, 2), F(3, 2, 3), 1, ()), (F(1, 3), F(3, 2), 1, ()))],
        # two more elements than the last window reaches are one more window
        (F(1, 3, 2), F(3, 2, 3), ((2,), (0,), (0,), (1,), 1, (7,))),
    ],
    "filter_gradient": [
        (F(1, 2, 4), g, ((1,), (0,), (0,), (1,), groups, size)) for g, groups, size in (
            (F(1, 3, 3), 1, (3,)), (F(2, 3, 2), 1, (3,)), (F(1, 3, 2), 2, (3,)), (F(1, 2, 2), 0, (3,)),
            (L(1, 3, 2), 1, (3,)), (F(1, 3, 2), 1, (3, 1)), (F(1, 3), 1, ()))
    ],
    "gather": [(F(4), F(4), (0,)), (F(4), L(4, 1), (0,)), (F(4, 3), L(4, 2), (0,))],
    "scatter": [(F(4), L(2), F(3), (0, "add")), (F(4), L(2), L(2), (0, "add")), (F(4), L(2), F(2), (0, "no such mode")),
                (F(4, 3), L(2, 2), F(2, 2), (0, "add")), (F(4), F(2), F(2), (0, "set"))],
    "fft": [(F(2), (0, False)), (C(2), (1, False)), (C(), (0, False))],
    "gcd": [(F(2), F(2), ()), (L(2), L(3), ()), (B(2), B(2), ())],
    "rfft": [(C(2), (0,)), (F(2), (1,)), (L(2), (0,))],
    **{name: [(L(4, 2, 3), L(2, 1), L(2), L(2), (0, False)), (F(4, 2, 3), F(2, 1), L(2), L(2), (0, False)),
              (F(4, 2, 3), L(2, 1), L(3), L(2), (0, False)), (F(4, 2, 3), L(1, 1), L(2), L(2), (0, False)),
              (F(4, 2, 3), L(2, 1), L(2), L(2), (3, False)), (F(2, 3), L(2, 1), L(2), L(2), (0, False))]
       for name in ("ctc", "ctc_occupancy")},
    "irfft": [(C(3), (0, 6)), (F(3), (0, 4)), (C(3), (1, 4))],
    **{name: [(F(2, 3), (None,)), (L(2, 2), (None,)), (H(2, 2), (None,)), (F(3), (None,))]
       for name in ("cholesky", "det", "cofactor", "matrix_exp")},
    "cofactor_change": [(F(2, 3), F(2, 3)), (L(2, 2), L(2, 2)), (H(2, 2), H(2, 2)), (F(2, 2), F(3, 3))],
    **{name: [(F(2, 2), F(3, 2), params), (F(2, 3), F(2, 2), params), (F(2, 2), C(2, 2), params),
              (F(1, 2, 2), F(2, 2), params), (H(2, 2), H(2, 2), params)]
       for name, params in (("solve", (None,)), ("solve_triangular", (True, False)))},
    **{name: [(L(2, 2), params), (H(2, 2), params), (F(2), params)] for name, params in (
        ("lu_factor", (None,)), ("qr", ("reduced",)), ("geqrf", ()), ("svd", (False, True)))},
    "permutation": [(F(2), (2,)), (L(3), (2,))],
    "eigh": [(F(2, 3), ("L", True)), (L(2, 2), ("L", True)), (H(2, 2), ("L", True))],
    "eig": [(F(2, 3), (True,)), (L(2, 2), (True,)), (H(2, 2), (True,))],
    "pinv": [(F(2, 3), F(), F(), (True,)), (F(2, 3), F(2), F(), (False,)), (C(2, 3), C(), C(), (False,)),
             (F(2, 3), F(), (False,))],
    **{name: [(F(2),) * (count + 1), (L(2),) * count, (C(2),) * count, *[(F(2), F(3)), (F(2), L(2))][: 2 * count - 2]]
       for name, count in SPECIAL.items()},
    "argsort": [(F(2), F(2), (False, 2)), (F(), (False, 1)), (F(3), (False, 4))],
}  # fmt: skip
# what takes floats only, and what takes one or two operands, refuses anything else
for _name, _row in ROWS.items():
    if _row.kind == "elementwise" and (_name not in REFUSED or C(2) in REFUSED[_name][0]):
        _count = len(CASES[_name][0].operands) if _name in CASES else 1
        REFUSED[_name] = REFUSED.get(_name, []) + [(F(2),) * (_count + 1)]
        REFUSED[_name] += [(F(2), L(2)), (F(2), F(3))] if _count == 2 else []
        if _name in FLOATING_ONLY:
            REFUSED[_name] += [types * _count for types in NOT_FLOATING]
