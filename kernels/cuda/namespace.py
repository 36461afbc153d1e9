"""The vocabulary of generated GPU kernels: each name that their source may use, as LLVM for NVIDIA's compiler.

Arithmetic that must mean exactly what it means on the CPU (integers, casts, booleans, selections, bits, Philox) is the
CPU's own: the same rule of types and the same LLVM instructions, taken from ``kernels/cpu``. Written here is what
differs on a GPU: memory, which is addressed in the global space and whose constant part may go through the read-only
cache; division, where the detour over float64 would not pay; the elementary functions, which are libdevice's (the CUDA
C++ programming guide lists their errors, at most 2 units in the last place for exp, log and tanh); and maxima, which
keep NaN.

Floating point is IEEE 754 in source order, as on the CPU: the toolchain turns contraction to fused multiply-adds off.

In: numba types. Out: :data:`NAMESPACE`, which ``toolchain.py`` puts in scope.
Read next: ``simulation.py``, the same names in plain Python; ``toolchain.py``.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from llvmlite import ir
from numba.core import cgutils, types

from ..cpu.intrinsics import ELEMENTS, INTRINSICS, Intrinsic, define
from ..cpu.scalar import NAMESPACE as CPU

#: Every name that generated source may use besides ``cuda``, the names of dtypes, ``inf`` and ``nan``.
NAMESPACE: dict[str, Intrinsic] = {}

#: How many arguments each takes.
ARITY: dict[str, int] = {}

_I1, _I8, _I32, _I64 = (ir.IntType(bits) for bits in (1, 8, 32, 64))
_FLOAT, _DOUBLE = ir.FloatType(), ir.DoubleType()
GLOBAL_MEMORY = 1  # NVVM's number of the address space

# The same on both -----------------------------------------------------------------------------------------------

SHARED_WITH_CPU = {
    1: ("i8", "i16", "i32", "i64", "u8", "u16", "u32", "u64", "f32", "f64", "b8", "bf16",
        "bf16_to_f32", "ineg", "inot", "iabs", "isign",
        "fsign", "bnot"),
    2: ("iadd", "isub", "imul", "iand", "ior", "ixor", "ishl", "ishr", "imax", "imin", "ipow", "band", "bor", "bxor",
        "inside", "philox"),
    3: ("select",),
}  # fmt: skip
for _arity, _names in SHARED_WITH_CPU.items():
    for _name in _names:
        NAMESPACE[_name], ARITY[_name] = INTRINSICS.get(_name) or CPU[_name], _arity


def _define(name: str, arity: int, result: Callable, emit: Callable) -> None:
    define(name, result, emit, into=NAMESPACE)
    ARITY[name] = arity


def _llvm_type(kind: types.Type) -> ir.Type:
    """How a value of a type is held in a register."""
    return {types.float32: _FLOAT, types.float64: _DOUBLE, types.boolean: _I1}.get(kind) or ir.IntType(kind.bitwidth)


def _same_float(*given):
    first = given[0]
    return first if isinstance(first, types.Float) and all(t == first for t in given) else None


def _same_integer(*given):
    first = given[0]
    return first if isinstance(first, types.Integer) and all(t == first for t in given) else None


# Memory ---------------------------------------------------------------------------------------------------------


def _element_type(kind: types.Type) -> ir.Type:
    """How an element of a type is held in memory."""
    return _I8 if kind == types.boolean else _llvm_type(kind)


for _short, _element in ELEMENTS.items():
    _define(
        f"pointer_{_short}",
        1,
        lambda address, e=_element: types.CPointer(e)(types.int64) if isinstance(address, types.Integer) else None,
        lambda b, t, address, e=_element: b.inttoptr(address, _element_type(e).as_pointer()),
    )


def _element_address(builder, pointer, index):
    space = ir.PointerType(pointer.type.pointee, GLOBAL_MEMORY)
    return builder.gep(builder.addrspacecast(pointer, space), [index], inbounds=True)


def _type_load(pointer, index):
    if isinstance(pointer, types.CPointer) and isinstance(index, types.Integer):
        return pointer.dtype(pointer, types.int64)
    return None


def _type_store(pointer, index, value):
    if _type_load(pointer, index) is not None and types.unliteral(value) == pointer.dtype:
        return types.void(pointer, types.int64, pointer.dtype)
    return None


def _emit_load(constant: bool) -> Callable:
    """``load_constant`` is for memory that the kernel does not write: it goes through the read-only cache, and no
    store stands in the way when the compiler moves it."""

    def emit(builder, argument_types, pointer, index):
        value = builder.load(_element_address(builder, pointer, index))
        if constant:
            value.set_metadata("invariant.load", builder.module.add_metadata([]))
        return builder.icmp_unsigned("!=", value, _I8(0)) if argument_types[0].dtype == types.boolean else value

    return emit


def _emit_store(builder, argument_types, pointer, index, value):
    value = builder.zext(value, _I8) if argument_types[0].dtype == types.boolean else value
    builder.store(value, _element_address(builder, pointer, index))


def _emit_store_if(builder, argument_types, condition, pointer, index, value):
    with builder.if_then(condition):
        _emit_store(builder, argument_types[1:], pointer, index, value)


def _type_store_if(condition, pointer, index, value):
    if condition == types.boolean and _type_store(pointer, index, value) is not None:
        return types.void(types.boolean, pointer, types.int64, pointer.dtype)
    return None


_define("load", 2, _type_load, _emit_load(constant=False))
_define("load_constant", 2, _type_load, _emit_load(constant=True))
_define("store", 3, _type_store, _emit_store)
_define("store_if", 4, _type_store_if, _emit_store_if)


# Several at a time ----------------------------------------------------------------------------------------------

#: The most elements that a thread keeps of one operand.
MOST_KEPT = 64


def _emit_registers(kind: types.Type) -> Callable:
    """Elements of the thread's own: in registers, where the loops over them are written out. They are zero
    again each time, so that none of them has to be kept for the next turn of a loop."""

    def emit(builder, argument_types):
        array = ir.ArrayType(_element_type(kind), MOST_KEPT)
        kept = cgutils.alloca_once(builder, array)
        builder.store(array(None), kept)
        return builder.gep(kept, [_I32(0), _I32(0)])

    return emit


for _short, _element in ELEMENTS.items():
    _define(f"registers_{_short}", 0, lambda e=_element: types.CPointer(e)(), _emit_registers(_element))


def _emit_put(builder, argument_types, kept, number, value):
    value = builder.zext(value, _I8) if argument_types[0].dtype == types.boolean else value
    builder.store(value, builder.gep(kept, [number]))


def _emit_got(builder, argument_types, kept, number):
    value = builder.load(builder.gep(kept, [number]))
    return builder.icmp_unsigned("!=", value, _I8(0)) if argument_types[0].dtype == types.boolean else value


_define("put", 3, _type_store, _emit_put)
_define("got", 2, _type_load, _emit_got)


def _vector_address(builder, pointer, index, count: int):
    """Where a vector lies, of what words it is made, and how many elements each of those has.

    Small elements go by words of up to 32 bits: the compiler would move a vector of them one by one.
    """
    element = pointer.type.pointee
    word, each = element, 1
    if isinstance(element, ir.IntType) and element.width < 32:
        each = min(count, 32 // element.width)
        word = ir.IntType(each * element.width)
    kind = ir.VectorType(word, count // each) if count > each else word
    return builder.bitcast(_element_address(builder, pointer, index), ir.PointerType(kind, GLOBAL_MEMORY)), word, each


def _vector_bytes(kind: ir.Type, count: int) -> int:
    return count * ({_FLOAT: 32, _DOUBLE: 64}.get(kind) or kind.width) // 8


def _type_vector(pointer, index, kept, number):
    if _type_load(pointer, index) is not None and kept == pointer:
        return types.void(pointer, types.int64, pointer, types.int64)
    return None


def _emit_vector_load(count: int, constant: bool) -> Callable:
    """``count`` elements from an address that is a multiple of their size, to be kept from a number on."""

    def emit(builder, argument_types, pointer, index, kept, number):
        element = pointer.type.pointee
        address, word, each = _vector_address(builder, pointer, index, count)
        value = builder.load(address, align=_vector_bytes(element, count))
        if constant:
            value.set_metadata("invariant.load", builder.module.add_metadata([]))
        for k in range(count):
            found = value if count == each else builder.extract_element(value, _I32(k // each))
            if each > 1:
                found = builder.trunc(builder.lshr(found, word(k % each * element.width)), element)
            builder.store(found, builder.gep(kept, [builder.add(number, _I64(k))]))

    return emit


def _emit_vector_store(count: int) -> Callable:
    def emit(builder, argument_types, pointer, index, kept, number):
        element = pointer.type.pointee
        address, word, each = _vector_address(builder, pointer, index, count)
        value = address.type.pointee(ir.Undefined)
        for first in range(0, count, each):
            whole = None
            for k in range(each):
                part = builder.load(builder.gep(kept, [builder.add(number, _I64(first + k))]))
                if each > 1:
                    part = builder.shl(builder.zext(part, word), word(k * element.width))
                whole = part if whole is None else builder.or_(whole, part)
            value = whole if count == each else builder.insert_element(value, whole, _I32(first // each))
        builder.store(value, address, align=_vector_bytes(element, count))

    return emit


for _count in (2, 4, 8, 16):
    _define(f"load_{_count}", 4, _type_vector, _emit_vector_load(_count, constant=False))
    _define(f"load_constant_{_count}", 4, _type_vector, _emit_vector_load(_count, constant=True))
    _define(f"store_{_count}", 4, _type_vector, _emit_vector_store(_count))

_define("address", 1, lambda x: types.int64 if x == types.int64 else None, lambda b, t, x: x)

# A condition that is branched on: the compiler does not do what stands on both sides and select.
_define(
    "branch", 0, lambda: types.void(),
    lambda b, t: b.asm(ir.FunctionType(ir.VoidType(), []), "", "", [], side_effect=True),
)

#: The last statement of a loop may say that the compiler writes it out, or that it does not; see ``toolchain.unroll``.
UNROLLING = {"unrolled": "llvm.loop.unroll.full", "rolled": "llvm.loop.unroll.disable"}


def _emit_mark(name: str) -> Callable:
    return lambda builder, argument_types: builder.add(_I64(0), _I64(0)).set_metadata(
        name, builder.module.add_metadata([])
    )


for _name, _mark in UNROLLING.items():
    _define(_name, 0, lambda: types.void(), _emit_mark(_mark))


def _wrap_index(builder, argument_types, index, extent, error):
    """A valid index from one in ``[-extent, extent)``. Another becomes 0, so that nothing outside the tensor is
    touched, and the first to be found is reported at ``error`` (1, the index, the extent), unless that is 0."""
    zero = _I64(0)
    wrapped = builder.select(builder.icmp_signed("<", index, zero), builder.add(index, extent), index)
    valid = builder.icmp_unsigned("<", wrapped, extent)
    reported = builder.and_(builder.not_(valid), builder.icmp_signed("!=", error, zero))
    with builder.if_then(reported, likely=False):
        words = builder.inttoptr(error, ir.PointerType(_I64, GLOBAL_MEMORY))
        found = builder.cmpxchg(words, zero, _I64(1), "monotonic", "monotonic")
        with builder.if_then(builder.extract_value(found, 1)):
            builder.store(index, builder.gep(words, [_I64(1)]))
            builder.store(extent, builder.gep(words, [_I64(2)]))
    return builder.select(valid, wrapped, zero)


_define(
    "wrap_index",
    3,
    lambda i, n, e: types.int64 if all(t == types.int64 for t in (i, n, e)) else None,
    _wrap_index,
)

# Threads --------------------------------------------------------------------------------------------------------


def _shuffle(builder, argument_types, value, distance):
    """The value of the thread of the same warp whose number differs in one bit. All threads of a warp take part."""
    kind = value.type
    bits = 1 if kind == _I1 else {_FLOAT: 32, _DOUBLE: 64}.get(kind) or kind.width
    signature = ir.FunctionType(_I32, [_I32] * 4)
    function = cgutils.get_or_insert_function(builder.module, signature, "llvm.nvvm.shfl.sync.bfly.i32")
    lane = builder.trunc(distance, _I32)

    def exchanged(word):
        return builder.call(function, [_I32(0xFFFFFFFF), word, lane, _I32(31)])

    if bits < 32:
        return builder.trunc(exchanged(builder.zext(value, _I32)), kind)
    whole = value if isinstance(kind, ir.IntType) else builder.bitcast(value, ir.IntType(bits))
    if bits == 32:
        found = exchanged(whole)
    else:
        low = builder.zext(exchanged(builder.trunc(whole, _I32)), _I64)
        high = builder.zext(exchanged(builder.trunc(builder.lshr(whole, _I64(32)), _I32)), _I64)
        found = builder.or_(builder.shl(high, _I64(32)), low)
    return found if isinstance(kind, ir.IntType) else builder.bitcast(found, kind)


_define(
    "shuffle", 2, lambda x, distance: x if isinstance(distance, types.Integer) else None, _shuffle
)

# Integers -------------------------------------------------------------------------------------------------------


def _emit_division(quotient_wanted: bool, floor: bool) -> Callable:
    """Quotient or remainder as on the CPU: division by 0 gives 0, and the smallest integer by -1 wraps."""

    def emit(builder, argument_types, x, y):
        kind, signed = x.type, argument_types[0].signed
        zero, one = kind(0), kind(1)
        by_zero = builder.icmp_unsigned("==", y, zero)
        safe = builder.select(by_zero, one, y)
        if not signed:
            value = builder.udiv(x, safe) if quotient_wanted else builder.urem(x, safe)
            return builder.select(by_zero, zero, value)
        by_minus_one = builder.icmp_signed("==", y, kind(-1))
        safe = builder.select(by_minus_one, one, safe)
        quotient = builder.sdiv(x, safe)
        quotient = builder.select(by_minus_one, builder.neg(quotient), quotient)
        remainder = builder.sub(x, builder.mul(quotient, y))
        if floor:
            inexact = builder.icmp_signed("!=", remainder, zero)
            adjust = builder.and_(inexact, builder.icmp_signed("<", builder.xor(remainder, y), zero))
            quotient = builder.sub(quotient, builder.zext(adjust, kind))
            remainder = builder.select(adjust, builder.add(remainder, y), remainder)
        return builder.select(by_zero, zero, quotient if quotient_wanted else remainder)

    return emit


_define("idiv_floor", 2, _same_integer, _emit_division(quotient_wanted=True, floor=True))
_define("irem_floor", 2, _same_integer, _emit_division(quotient_wanted=False, floor=True))
_define("idiv_trunc", 2, _same_integer, _emit_division(quotient_wanted=True, floor=False))
_define("irem_trunc", 2, _same_integer, _emit_division(quotient_wanted=False, floor=False))
# of numbers that are not negative, by one that is positive: positions and extents
_define("udiv", 2, _same_integer, lambda b, t, x, y: b.udiv(x, y))

# Bits -----------------------------------------------------------------------------------------------------------

_BY_SIZE = (("i8", "u8", "b8"), ("i16", "u16", "f16", "bf16"), ("i32", "u32", "f32"), ("i64", "u64", "f64"))


def _emit_bitcast(source: types.Type, target: types.Type) -> Callable:
    def emit(builder, argument_types, x):
        if source == target:
            return x
        if source == types.boolean:
            return builder.zext(x, _I8)
        if target == types.boolean:
            return builder.icmp_unsigned("!=", x, _I8(0))
        return builder.bitcast(x, _llvm_type(target))

    return emit


for _names in _BY_SIZE:
    for _from in _names:
        for _to in _names:
            _source, _target = (ELEMENTS[n] for n in (_from, _to))
            _define(
                f"bitcast_{_from}_{_to}",
                1,
                lambda x, s=_source, r=_target: r if x == s else None,
                _emit_bitcast(_source, _target),
            )

# Floating point -------------------------------------------------------------------------------------------------

# The 16-bit floats are bits, which the GPU converts itself.
_define(
    "f16", 1, lambda x: types.uint16 if x == types.float32 else None,
    lambda b, t, x: b.bitcast(b.fptrunc(x, ir.HalfType()), ir.IntType(16)),
)
_define(
    "f16_to_f32", 1, lambda x: types.float32 if x == types.uint16 else None,
    lambda b, t, x: b.fpext(b.bitcast(x, ir.HalfType()), _FLOAT),
)

#: The functions of libdevice, by their number of arguments: ``__nv_<name>f`` for float32, ``__nv_<name>`` for float64.
LIBDEVICE = {
    1: ("sqrt", "fabs", "floor", "ceil", "trunc", "rint", "exp", "exp2", "expm1", "log", "log1p", "log2", "log10",
        "sin", "cos", "tan", "asin", "acos", "atan", "sinh", "cosh", "tanh", "erf", "erfc", "erfinv", "lgamma"),
    2: ("copysign", "fmod", "atan2", "pow"),
    3: ("fma",),
}  # fmt: skip


def libdevice(builder: ir.IRBuilder, name: str, *values: ir.Value) -> ir.Value:
    kind = values[0].type
    signature = ir.FunctionType(kind, [kind] * len(values))
    symbol = f"__nv_{name}{'f' if kind == _FLOAT else ''}"
    return builder.call(cgutils.get_or_insert_function(builder.module, signature, symbol), list(values))


for _arity, _names in LIBDEVICE.items():
    for _name in _names:
        _define(_name, _arity, _same_float, lambda b, t, *values, n=_name: libdevice(b, n, *values))


def _sigmoid(builder, argument_types, x):
    """1 / (1 + e**-x), written with e**-|x| so that nothing overflows and small results keep their digits."""
    one = x.type(1.0)
    # a subtraction: this LLVM has no negation of floats
    power = libdevice(builder, "exp", builder.fsub(x.type(-0.0), libdevice(builder, "fabs", x)))
    numerator = builder.select(builder.fcmp_ordered("<", x, x.type(0.0)), power, one)
    return builder.fdiv(numerator, builder.fadd(one, power))


_define("sigmoid", 1, _same_float, _sigmoid)

# B_2k / (2 k), k = 1 ... 7: psi(x) = log(x) - 1 / (2 x) - the sum of these times x**(-2 k)
_DIGAMMA_SERIES = (1 / 12, -1 / 120, 1 / 252, -1 / 240, 1 / 132, -691 / 32760, 1 / 12)
_DIGAMMA_STEPS = 10


def _digamma(builder, argument_types, x):
    """In float64, as on the CPU; but next to its root near 1.46 it is exact to 1e-15, and not to so many digits."""
    wide = builder.fpext(x, _DOUBLE) if x.type == _FLOAT else x
    zero, one = _DOUBLE(0.0), _DOUBLE(1.0)
    reflected = builder.fcmp_ordered("<", wide, zero)
    a = builder.select(reflected, builder.fsub(one, wide), wide)
    small = builder.fcmp_ordered("<", a, _DOUBLE(_DIGAMMA_STEPS))
    steps = zero
    for i in reversed(range(_DIGAMMA_STEPS)):
        steps = builder.fadd(steps, builder.fdiv(one, builder.fadd(a, _DOUBLE(i))))
    steps = builder.select(small, steps, zero)
    far = builder.select(small, builder.fadd(a, _DOUBLE(_DIGAMMA_STEPS)), a)
    inverse = builder.fdiv(one, far)
    square = builder.fmul(inverse, inverse)
    series = zero
    for coefficient in reversed(_DIGAMMA_SERIES):
        series = builder.fmul(square, builder.fadd(_DOUBLE(coefficient), series))
    series = builder.fadd(series, builder.fmul(inverse, _DOUBLE(0.5)))
    result = builder.fsub(builder.fsub(libdevice(builder, "log", far), series), steps)
    # psi(x) = psi(1 - x) - pi / tan(pi x), with the period of the tangent taken off exactly
    fraction = builder.fsub(wide, libdevice(builder, "rint", wide))
    tangent = libdevice(builder, "tan", builder.fmul(fraction, _DOUBLE(math.pi)))
    whole = builder.fcmp_ordered("==", fraction, zero)
    mirrored = builder.fsub(result, builder.fdiv(_DOUBLE(math.pi), tangent))
    mirrored = builder.select(whole, _DOUBLE(math.nan), mirrored)
    result = builder.select(reflected, mirrored, result)
    pole = libdevice(builder, "copysign", _DOUBLE(math.inf), builder.fsub(_DOUBLE(-0.0), wide))
    result = builder.select(builder.fcmp_ordered("==", wide, zero), pole, result)
    return builder.fptrunc(result, _FLOAT) if x.type == _FLOAT else result


_define("digamma", 1, _same_float, _digamma)


def _signs_differ(builder, rest, y):
    zero = y.type(0.0)
    inexact = builder.fcmp_unordered("!=", rest, zero)
    return builder.and_(inexact, builder.xor(builder.fcmp_ordered("<", y, zero), builder.fcmp_ordered("<", rest, zero)))


def _remainder(builder, argument_types, x, y):
    """Python's modulo: the result has the sign of the divisor."""
    rest = libdevice(builder, "fmod", x, y)
    return builder.select(_signs_differ(builder, rest, y), builder.fadd(rest, y), rest)


def _floordiv(builder, argument_types, x, y):
    """The largest whole number not above the exact quotient, as Python's ``divmod`` finds it."""
    zero, one = x.type(0.0), x.type(1.0)
    rest = libdevice(builder, "fmod", x, y)
    quotient = builder.fdiv(builder.fsub(x, rest), y)
    quotient = builder.select(_signs_differ(builder, rest, y), builder.fsub(quotient, one), quotient)
    whole = libdevice(builder, "floor", quotient)
    far = builder.fcmp_ordered(">", builder.fsub(quotient, whole), x.type(0.5))
    whole = builder.select(far, builder.fadd(whole, one), whole)
    plain = builder.fdiv(x, y)
    signed_zero = libdevice(builder, "copysign", zero, plain)
    whole = builder.select(builder.fcmp_unordered("!=", quotient, zero), whole, signed_zero)
    return builder.select(builder.fcmp_ordered("==", y, zero), plain, whole)


_define("remainder", 2, _same_float, _remainder)
_define("floordiv", 2, _same_float, _floordiv)


def _extremum(name: str) -> Callable:
    """libdevice's ignore NaN and order the zeros; with a NaN the sum of both is one."""

    def emit(builder, argument_types, x, y):
        unordered = builder.fcmp_unordered("uno", x, y)
        return builder.select(unordered, builder.fadd(x, y), libdevice(builder, name, x, y))

    return emit


for _name in ("fmax", "fmin"):
    _define(_name, 2, _same_float, _extremum(_name))
    _define(f"{_name}_reassoc", 2, _same_float, _extremum(_name))
# Steps of a reduction. On the CPU these may be reordered into lanes; here the order is written out.
_define("fadd_reassoc", 2, _same_float, lambda b, t, x, y: b.fadd(x, y))
_define("fmul_reassoc", 2, _same_float, lambda b, t, x, y: b.fmul(x, y))
