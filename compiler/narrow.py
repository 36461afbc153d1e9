"""The 16-bit floats: their arithmetic is that of float32, rounded after each operation.

A rewrite: an operation on float16 or bfloat16 becomes casts to float32, the operation, and a cast back, which is what
PyTorch computes. Operations that only move elements are left alone, so in a kernel 16-bit floats are loaded, converted,
selected and stored, and nothing else. Where the operation is exact, as a negation is, the cast back and the next cast
to float32 are one too many and go.

Sums, products and scatters add up in float32. A multiplication with, or a division by, a Python number takes the
number as float32: PyTorch's kernels do.
"""

from __future__ import annotations

import functools
import weakref
from collections.abc import Callable
from typing import Any

from . import dtypes, primitives as p, primitives_shape as s
from .ir import Node, tensor_type
from .primitives import Primitive
from .primitives_conv import image_gradient

COMPUTING = frozenset({"elementwise", "reduce", "scan", "contract", "sort", "library"})
# They compute nothing, or are what the others are made of.
MOVING = frozenset({p.cast, p.bitcast, p.where})
# Their results are elements, or negated elements, of the operands, or whole numbers that are no longer.
EXACT = frozenset({
    p.neg, p.abs, p.relu, p.sign, p.maximum, p.minimum, p.floor, p.ceil, p.trunc, p.round, p.copysign,
    s.reduce_max, s.reduce_min,
})
# The numbers of a program as float32: one for each, so that equal operations stay equal.
_NUMBERS: weakref.WeakKeyDictionary[Node, Node] = weakref.WeakKeyDictionary()
TAKES_NUMBERS = frozenset({p.mul, p.div})


def is_narrow(dtype: dtypes.DType) -> bool:
    return dtype.compute is not dtype


def rounded_once(formula: Callable[..., Any]) -> Callable[..., Any]:
    """A formula that is computed in float32 if it is given 16-bit floats, and rounded at its end.

    PyTorch has one kernel for it. The formula takes nodes and other arguments, and returns a node, or a tuple of them.
    """

    @functools.wraps(formula)
    def computed(*args: Any) -> Any:
        given = [x.type.dtype for x in args if x.__class__ is Node and x.type.dtype.kind == dtypes.FLOATING]
        if not any(map(is_narrow, given)):
            return formula(*args)
        dtype = functools.reduce(dtypes.promote, given)
        results = formula(*[(number_of(x) or widened(x)) if x.__class__ is Node else x for x in args])
        if isinstance(results, tuple):
            return tuple([rounded(x, dtype) for x in results])
        return rounded(results, dtype)

    return computed


def rounded(x: Node, dtype: dtypes.DType) -> Node:
    """A result of a formula whose operands had been widened from ``dtype``."""
    return s.converted(x, dtype) if x.dtype is dtype.compute else x


def computes(op: Primitive) -> bool:
    return op.kind in COMPUTING and op not in MOVING


def widened(x: Node) -> Node:
    return s.converted(x, x.dtype.compute)


def as_float32(node: Node) -> Node | None:
    """An operation on 16-bit floats as one on float32."""
    if node.op is p.cast:
        return cast_through_float32(node)
    if node.op is p.iota and is_narrow(node.dtype):
        shape, dtype, *rest = node.params
        return s.converted(p.iota(params=(shape, dtype.compute, *rest)), dtype)
    if not any(is_narrow(x.dtype) for x in node.src):
        return None
    if node.op is image_gradient:
        # of several convolutions side by side, which are rounded themselves
        return None
    if not (computes(node.op) or (node.op is s.scatter and node.params[1] != "set")):
        return None
    src = [widened(x) for x in node.src]
    if node.op in TAKES_NUMBERS:
        src = [number_of(x) or wide for x, wide in zip(node.src, src)]
    return s.converted(node.op(*src, params=node.params), node.dtype)


def number_of(x: Node) -> Node | None:
    """A Python number, perhaps repeated, as float32."""
    moved: list[Node] = []
    while x.op.kind == "movement":
        moved.append(x)
        x = x.src[0]
    if x.op is not p.scalar or not is_narrow(x.dtype):
        return None
    number = _NUMBERS.get(x)
    if number is None:
        shape, dtype, device = x.params
        kind = tensor_type(shape, dtype.compute, device)
        number = _NUMBERS[x] = Node(p.scalar, (), (shape, dtype.compute, device), kind, x.value)
    for move in reversed(moved):
        number = move.op(number, params=move.params)
    return number


def cast_through_float32(node: Node) -> Node | None:
    """A cast between a 16-bit float and anything else goes through float32."""
    (source,) = node.src
    if is_narrow(source.dtype):
        wide = source.dtype.compute
        return s.converted(p.cast(source, params=(wide,)), node.dtype) if node.dtype is not wide else exact(node)
    if is_narrow(node.dtype) and source.dtype is not node.dtype.compute:
        return p.cast(p.cast(source, params=(node.dtype.compute,)), params=node.params)
    return None


def exact(node: Node) -> Node | None:
    """The cast to float32 of what was cast from float32 before, if that changed nothing."""
    narrowed = node.src[0]
    if narrowed.op is not p.cast or narrowed.src[0].dtype is not node.dtype:
        return None
    value = narrowed.src[0]
    if value.op not in EXACT:
        return None
    if all(x.op is p.cast and x.src[0].dtype is narrowed.dtype for x in value.src):
        return value
    return None
