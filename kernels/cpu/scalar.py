"""The scalar functions that rows of the primitive table name and that are neither arithmetic nor vectorised maths.

``NAMESPACE`` is everything that generated source may use besides the intrinsics: the names here and the functions of
``vmath.py``. Each is straight-line LLVM, so a loop that uses it still vectorises, with the exceptions marked below.
"""

from __future__ import annotations

from llvmlite import ir
from numba.core import cgutils, types

from ...compiler.philox import MULTIPLIER_0, MULTIPLIER_1, ROUNDS, WEYL_0, WEYL_1
from .intrinsics import ELEMENTS, INTRINSICS, _llvm_type, call_llvm, define
from .vmath import FUNCTIONS

NAMESPACE: dict[str, object] = {}

_I32, _I64 = ir.IntType(32), ir.IntType(64)


def _float_same(*given):
    first = given[0]
    return first if isinstance(first, types.Float) and all(t == first for t in given) else None


def _scalar(name: str, result, emit) -> None:
    define(name, result, emit, into=NAMESPACE)


def _inside(builder, argument_types, index, extent):
    # one unsigned comparison: a negative index is a huge one
    return builder.icmp_unsigned("<", index, extent)


_scalar("inside", lambda i, n: types.boolean if i == types.int64 and n == types.int64 else None, _inside)


def _sign(builder, argument_types, x):
    zero, one = x.type(0.0), x.type(1.0)
    positive = builder.select(builder.fcmp_ordered(">", x, zero), one, zero)
    return builder.select(builder.fcmp_ordered("<", x, zero), x.type(-1.0), positive)


_scalar("fsign", _float_same, _sign)


def _integer_sign(builder, argument_types, x):
    zero, one = x.type(0), x.type(1)
    positive = builder.select(builder.icmp_unsigned("!=", x, zero), one, zero)
    if not argument_types[0].signed:
        return positive
    return builder.select(builder.icmp_signed("<", x, zero), x.type(-1), positive)


_scalar("isign", lambda x: x if isinstance(x, types.Integer) else None, _integer_sign)


def _fmod(builder, argument_types, x, y):
    # a call of libm: exact, and not vectorised
    return builder.frem(x, y)


def _signs_differ(builder, remainder, y):
    zero = y.type(0.0)
    inexact = builder.fcmp_unordered("!=", remainder, zero)
    differ = builder.xor(builder.fcmp_ordered("<", y, zero), builder.fcmp_ordered("<", remainder, zero))
    return builder.and_(inexact, differ)


def _remainder(builder, argument_types, x, y):
    """Python's modulo: the result has the sign of the divisor."""
    rest = builder.frem(x, y)
    return builder.select(_signs_differ(builder, rest, y), builder.fadd(rest, y), rest)


def _floordiv(builder, argument_types, x, y):
    """The largest whole number not above the exact quotient, as Python's ``divmod`` finds it."""
    rest = builder.frem(x, y)
    zero = x.type(0.0)
    quotient = builder.fdiv(builder.fsub(x, rest), y)
    quotient = builder.select(_signs_differ(builder, rest, y), builder.fsub(quotient, x.type(1.0)), quotient)
    whole = call_llvm(builder, "floor", [quotient])
    far = builder.fcmp_ordered(">", builder.fsub(quotient, whole), x.type(0.5))
    whole = builder.select(far, builder.fadd(whole, x.type(1.0)), whole)
    plain = builder.fdiv(x, y)
    whole = builder.select(
        builder.fcmp_unordered("!=", quotient, zero), whole, call_llvm(builder, "copysign", [zero, plain])
    )
    return builder.select(builder.fcmp_ordered("==", y, zero), plain, whole)


_scalar("fmod", _float_same, _fmod)
_scalar("remainder", _float_same, _remainder)
_scalar("floordiv", _float_same, _floordiv)


def _integer_power(builder, argument_types, base, exponent):
    """Square and multiply, modulo the width. A negative exponent gives 0, but for the bases 1 and -1."""
    kind = base.type
    signed = argument_types[0].signed
    zero, one = kind(0), kind(1)
    result, square, rest = (cgutils.alloca_once(builder, kind) for _ in range(3))
    builder.store(one, result)
    builder.store(base, square)
    negative = builder.icmp_signed("<", exponent, zero) if signed else ir.Constant(ir.IntType(1), 0)
    builder.store(builder.select(negative, builder.and_(exponent, one), exponent), rest)
    function = builder.function
    head, body, end = (function.append_basic_block(n) for n in ("pow.head", "pow.body", "pow.end"))
    builder.branch(head)
    builder.position_at_end(head)
    builder.cbranch(builder.icmp_unsigned("!=", builder.load(rest), zero), body, end)
    builder.position_at_end(body)
    odd = builder.icmp_unsigned("!=", builder.and_(builder.load(rest), one), zero)
    held, factor = builder.load(result), builder.load(square)
    builder.store(builder.select(odd, builder.mul(held, factor), held), result)
    builder.store(builder.mul(factor, factor), square)
    builder.store(builder.lshr(builder.load(rest), one), rest)
    builder.branch(head)
    builder.position_at_end(end)
    value = builder.load(result)
    if not signed:
        return value
    unit = builder.or_(builder.icmp_unsigned("==", base, one), builder.icmp_signed("==", base, kind(-1)))
    return builder.select(builder.and_(negative, builder.not_(unit)), zero, value)


_scalar("ipow", lambda x, n: x if isinstance(x, types.Integer) and x == n else None, _integer_power)


def _wrap_index(builder, argument_types, index, extent, error):
    """A valid index from one in ``[-extent, extent)``. Another is reported at ``error`` (1, the index, the extent) and
    becomes 0, so that nothing outside the tensor is touched."""
    zero = _I64(0)
    wrapped = builder.select(builder.icmp_signed("<", index, zero), builder.add(index, extent), index)
    valid = builder.icmp_unsigned("<", wrapped, extent)
    with builder.if_then(builder.not_(valid), likely=False):
        words = builder.inttoptr(error, _I64.as_pointer())
        builder.store(index, builder.gep(words, [_I64(1)]))
        builder.store(extent, builder.gep(words, [_I64(2)]))
        builder.store(_I64(1), words)
    return builder.select(valid, wrapped, zero)


_scalar(
    "wrap_index",
    lambda i, n, e: types.int64 if all(t == types.int64 for t in (i, n, e)) else None,
    _wrap_index,
)


def _philox(builder, argument_types, counter, key):
    """Philox4x32-10 as in ``compiler/philox.py``: the first word of the block at ``counter`` under ``key``."""

    def halves(value):
        return builder.trunc(value, _I32), builder.trunc(builder.lshr(value, _I64(32)), _I32)

    c0, c1 = halves(counter)
    k0, k1 = halves(key)
    c2 = c3 = _I32(0)
    for _ in range(ROUNDS):
        low = builder.mul(builder.zext(c0, _I64), _I64(MULTIPLIER_0))
        high = builder.mul(builder.zext(c2, _I64), _I64(MULTIPLIER_1))
        low_rest, low_carry = halves(low)
        high_rest, high_carry = halves(high)
        c0, c1 = builder.xor(builder.xor(high_carry, c1), k0), high_rest
        c2, c3 = builder.xor(builder.xor(low_carry, c3), k1), low_rest
        k0, k1 = builder.add(k0, _I32(WEYL_0)), builder.add(k1, _I32(WEYL_1))
    return c0


_scalar("philox", lambda c, k: types.int32 if c == types.int64 and k == types.int64 else None, _philox)


def _local(element: types.Type, storage: ir.Type):
    def result(count):
        return types.CPointer(element)(count) if isinstance(count, types.IntegerLiteral) else None

    def emit(builder, argument_types, count):
        array = ir.ArrayType(storage, argument_types[0].literal_value)
        # not numba's alloca_once, which stores zeros: LLVM makes a store of each element of them, thousands
        with builder.goto_entry_block():
            memory = builder.alloca(array)
        memory.align = 64
        return builder.bitcast(memory, storage.as_pointer())

    return result, emit


for _short, _element in ELEMENTS.items():
    _result, _emit = _local(_element, ir.IntType(8) if _element == types.boolean else _llvm_type(_element))
    define(f"local_{_short}", _result, _emit, takes_literals=True, into=NAMESPACE)

# the table's names for what the intrinsics have under LLVM's
for _name, _other in {
    "sqrt": "fsqrt", "fabs": "fabs", "floor": "ffloor", "ceil": "fceil", "trunc": "ftrunc", "rint": "frint",
    "copysign": "fcopysign", "b8": "boolean", "pointer_b8": "pointer_bool",
}.items():
    NAMESPACE[_name] = INTRINSICS[_other]
NAMESPACE |= FUNCTIONS
