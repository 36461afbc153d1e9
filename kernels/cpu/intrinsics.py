"""The vocabulary of generated kernels: typed memory, exact arithmetic, casts, and hints to the vectoriser.

A kernel's source is Python that numba compiles, but Python's own operators say too little or too much for a tensor
kernel: numba promotes `int32 + int32` to `int64`, its `max` does not vectorise, a division may branch to an
exception, and there is no way to say that two pointers never overlap. Each name in `INTRINSICS` is one LLVM
instruction sequence with exactly the meaning written beside it, and nothing else.

In: numba types. Out: `INTRINSICS`, the dictionary of names that `toolchain.compile_kernels` puts in scope.
Read next: `toolchain.py`, which turns the scopes and loop hints recorded here into LLVM metadata, and `system.py`,
which adds the atomics and native calls that only the driver needs.

The rules of arithmetic:

- Floating point is IEEE 754 in source order. Nothing is contracted to a fused multiply-add unless the source says
  `fma`, and no fast-math flag is set, save `reassoc` on `fadd_reassoc` and `fmul_reassoc`. `reassoc` alone is what
  the vectoriser needs to split a sum into lanes. `nsz` would give up signed zeros, `contract` would let the value of
  `s + x * x` depend on whether something else in the loop also uses `x * x`, and `nnan`, `ninf` would lose NaN and
  infinity.
- Integers wrap around at their own width.
- A float that does not fit in a signed integer type becomes that type's smallest value, as on x86 (and as PyTorch
  does there); narrower and unsigned types go through int32 or int64 and keep the low bits.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable

from llvmlite import ir
from numba.core import cgutils, types
from numba.core.errors import TypingError

from .target import has_feature, target_description

#: Every name that generated source may use, filled by the definitions below.
INTRINSICS: dict[str, object] = {"inf": float("inf"), "nan": float("nan")}

INTEGERS = {
    name: getattr(types, name)
    for name in ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")
}
FLOATS = {"float32": types.float32, "float64": types.float64}
SHORT_NAMES = {
    "i8": types.int8, "i16": types.int16, "i32": types.int32, "i64": types.int64,
    "u8": types.uint8, "u16": types.uint16, "u32": types.uint32, "u64": types.uint64,
    "f32": types.float32, "f64": types.float64, "bool": types.boolean,
}  # fmt: skip
#: What an element of each dtype is in a kernel, by the dtype's code: the 16-bit floats are bits.
ELEMENTS = {code: element for code, element in SHORT_NAMES.items() if code != "bool"} | {
    "b8": types.boolean, "f16": types.uint16, "bf16": types.uint16,
}

_I1, _I8, _I16, _I32, _I64, _I128 = (ir.IntType(bits) for bits in (1, 8, 16, 32, 64, 128))
_HALF, _FLOAT, _DOUBLE = ir.HalfType(), ir.FloatType(), ir.DoubleType()


class Intrinsic:
    """A name of the vocabulary: a typing rule and the LLVM instructions that it stands for.

    `signature(*types)` gives the numba signature for the given argument types, or None where they do not fit;
    `emit(builder, types, *values)` builds the instructions and returns their value.
    """

    def __init__(self, name: str, result: Callable, emit: Callable, takes_literals: bool):
        self.name = self.__name__ = name
        self.emit = emit
        self._result = result
        self._takes_literals = takes_literals

    def __repr__(self) -> str:
        return f"<intrinsic {self.name}>"

    def signature(self, *given: types.Type):
        arguments = given if self._takes_literals else tuple(types.unliteral(t) for t in given)
        try:
            result = self._result(*arguments)
        except TypeError:
            result = None  # the wrong number of arguments
        if result is None:
            raise TypingError(f"{self.name} does not take ({', '.join(map(str, given))})")
        return result(*arguments) if isinstance(result, types.Type) else result


def define(
    name: str, result: Callable, emit: Callable, takes_literals: bool = False, into: dict[str, object] | None = None
) -> None:
    """Add an intrinsic to `INTRINSICS`, or to the dictionary `into`.

    `result(*types)` gives the type of the result, or the whole signature, or None where the types do not fit.
    Literal integers keep their values in the types only if it `takes_literals`.
    """
    (INTRINSICS if into is None else into)[name] = Intrinsic(name, result, emit, takes_literals)


def call_llvm(builder: ir.IRBuilder, name: str, values: list, fastmath: tuple[str, ...] = ()) -> ir.Value:
    """Call the floating-point intrinsic `llvm.<name>`, whose arguments and result have one type."""
    kind = values[0].type
    signature = ir.FunctionType(kind, [v.type for v in values])
    suffix = "f32" if kind == _FLOAT else "f64"
    function = cgutils.get_or_insert_function(builder.module, signature, f"llvm.{name}.{suffix}")
    return builder.call(function, values, fastmath=fastmath)


def _same(predicate: Callable) -> Callable:
    """A typing rule: all arguments of one type, which satisfies `predicate`, and the result of that type too."""
    return lambda a, *rest: a if predicate(a) and all(t == a for t in rest) else None


def _is_float(t) -> bool:
    return isinstance(t, types.Float)


def _is_integer(t) -> bool:
    return isinstance(t, types.Integer)


def _is_number(t) -> bool:
    return _is_float(t) or _is_integer(t)


# Memory ---------------------------------------------------------------------------------------------------------
#
# `load(p, i, scope)` and `store(p, i, value, scope)` index element i of a typed pointer. `scope` is a literal: the
# number of the operand. Operands with different numbers are promised not to overlap, so the vectoriser needs no
# run-time checks however many operands there are. Operands that may overlap must share a number.


def _operand_scope(module: ir.Module, scope: int) -> tuple:
    """The metadata nodes `(alias.scope, noalias)` of an operand, made on first use.

    The noalias list names all the other operands, which are not known yet: `finish_scopes` fills it in.
    """
    scopes = module.__dict__.setdefault("flamework_scopes", {})
    if scope not in scopes:
        domain = module.add_metadata(["flamework"])
        own = module.add_metadata([f"operand {scope}", domain])
        scopes[scope] = own, module.add_metadata([own]), module.add_metadata([f"others than {scope}"])
    return scopes[scope][1:]


def finish_scopes(module: ir.Module) -> None:
    """Declare every operand of a lowered module as not overlapping any other."""
    scopes = module.__dict__.get("flamework_scopes", {})
    for scope, (_, _, noalias) in scopes.items():
        noalias.operands = tuple(own for other, (own, _, _) in scopes.items() if other != scope)


def _attach_scope(builder, instruction, scope_type) -> None:
    alias_scope, noalias = _operand_scope(builder.module, scope_type.literal_value)
    instruction.set_metadata("alias.scope", alias_scope)
    instruction.set_metadata("noalias", noalias)


def _emit_load(builder, argument_types, pointer, index, scope):
    value = builder.load(builder.gep(pointer, [index], inbounds=True))
    _attach_scope(builder, value, argument_types[2])
    return builder.icmp_unsigned("!=", value, _I8(0)) if argument_types[0].dtype == types.boolean else value


def _emit_store(builder, argument_types, pointer, index, value, scope):
    value = builder.zext(value, _I8) if argument_types[0].dtype == types.boolean else value
    _attach_scope(builder, builder.store(value, builder.gep(pointer, [index], inbounds=True)), argument_types[3])


def _type_load(pointer, index, scope):
    if isinstance(pointer, types.CPointer) and _is_integer(index) and isinstance(scope, types.IntegerLiteral):
        return pointer.dtype(pointer, types.int64, scope)
    return None


def _type_store(pointer, index, value, scope):
    if _type_load(pointer, index, scope) is not None and types.unliteral(value) == pointer.dtype:
        return types.void(pointer, types.int64, pointer.dtype, scope)
    return None


define("load", _type_load, _emit_load, takes_literals=True)
define("store", _type_store, _emit_store, takes_literals=True)


def _define_pointer(short: str, element: types.Type, storage: ir.Type) -> None:
    define(
        f"pointer_{short}",
        lambda address: types.CPointer(element)(types.int64) if _is_integer(address) else None,
        lambda builder, argument_types, address: builder.inttoptr(address, storage.as_pointer()),
    )


def _llvm_type(t) -> ir.Type:
    return {types.float32: _FLOAT, types.float64: _DOUBLE, types.boolean: _I1}.get(t) or ir.IntType(t.bitwidth)


for _short, _element in (SHORT_NAMES | ELEMENTS).items():
    _define_pointer(_short, _element, _I8 if _element == types.boolean else _llvm_type(_element))


# Loop hints -----------------------------------------------------------------------------------------------------
#
# `loop_hint(width, interleave)` as a statement of a loop's body fixes the structure of the vectorised loop: `width`
# lanes, `interleave` copies of them. A sum then has width * interleave partial sums whatever else the loop computes.
# Note that LLVM takes such a hint as leave to reorder every reduction of the loop, `fadd_reassoc` or not.
# `loop_hint(0, 0)` leaves the choice to LLVM.


def _emit_loop_hint(builder, argument_types, width, interleave):
    hints = builder.module.__dict__.setdefault("flamework_loop_hints", [])
    hints.append((builder.basic_block, *(t.literal_value for t in argument_types)))


define(
    "loop_hint",
    lambda width, interleave: types.void(width, interleave)
    if all(isinstance(t, types.IntegerLiteral) for t in (width, interleave))
    else None,
    _emit_loop_hint,
    takes_literals=True,
)


def loop_metadata(module: ir.Module, width: int, interleave: int) -> ir.MDValue:
    """The `llvm.loop` node of one loop; each loop needs a node of its own, which refers to itself."""
    properties = [
        module.add_metadata(["llvm.loop.vectorize.width", _I32(width)]),
        module.add_metadata(["llvm.loop.interleave.count", _I32(interleave)]),
    ]
    number = len(module.metadata)
    node = module.add_metadata([f"loop {number}"])
    node.operands = (node, *properties)
    return node


# Floating point -------------------------------------------------------------------------------------------------

for _name, _opcode in (("fadd", "fadd"), ("fsub", "fsub"), ("fmul", "fmul"), ("fdiv", "fdiv")):
    define(_name, _same(_is_float), lambda b, t, x, y, op=_opcode: getattr(b, op)(x, y))
for _name in ("fadd", "fmul"):
    define(
        f"{_name}_reassoc",
        _same(_is_float),
        lambda b, t, x, y, op=_name: getattr(b, op)(x, y, flags=("reassoc",)),
    )
define("fneg", _same(_is_float), lambda b, t, x: b.fneg(x))
define("fma", _same(_is_float), lambda b, t, *v: call_llvm(b, "fma", list(v)))
for _name, _llvm_name in (
    ("fabs", "fabs"), ("fsqrt", "sqrt"), ("ffloor", "floor"), ("fceil", "ceil"), ("ftrunc", "trunc"),
    ("frint", "roundeven"),
):  # fmt: skip
    define(_name, _same(_is_float), lambda b, t, x, n=_llvm_name: call_llvm(b, n, [x]))
define("fcopysign", _same(_is_float), lambda b, t, x, y: call_llvm(b, "copysign", [x, y]))
# IEEE 754-2019 maximum and minimum: NaN if either argument is NaN, and -0 < +0. The `reassoc` forms are for
# reductions: NaN propagates too, but a zero result may have the sign of either zero, which on x86 halves the work.
for _name, _llvm_name in (("fmax", "maximum"), ("fmin", "minimum")):
    define(_name, _same(_is_float), lambda b, t, x, y, n=_llvm_name: call_llvm(b, n, [x, y]))
    define(
        f"{_name}_reassoc",
        _same(_is_float),
        lambda b, t, x, y, n=_llvm_name: call_llvm(b, n, [x, y], fastmath=("nsz",)),
    )


# Integers -------------------------------------------------------------------------------------------------------

for _name, _opcode in (("iadd", "add"), ("isub", "sub"), ("imul", "mul"), ("iand", "and_"), ("ior", "or_"),
                       ("ixor", "xor")):  # fmt: skip
    define(_name, _same(_is_integer), lambda b, t, x, y, op=_opcode: getattr(b, op)(x, y))
define("ineg", _same(_is_integer), lambda b, t, x: b.neg(x))
define("inot", _same(_is_integer), lambda b, t, x: b.not_(x))


def _emit_extremum(operator: str) -> Callable:
    def emit(builder, argument_types, x, y):
        compare = builder.icmp_signed if argument_types[0].signed else builder.icmp_unsigned
        return builder.select(compare(operator, x, y), x, y)

    return emit


define("imax", _same(_is_integer), _emit_extremum(">"))
define("imin", _same(_is_integer), _emit_extremum("<"))
define(
    "iabs",
    _same(_is_integer),
    lambda b, t, x: b.select(b.icmp_signed("<", x, x.type(0)), b.neg(x), x) if t[0].signed else x,
)


def _emit_shift(left: bool) -> Callable:
    """Shifts by an amount of the same type. An amount outside [0, bits) gives 0, or the sign for a right shift."""

    def emit(builder, argument_types, x, amount):
        bits = x.type.width
        in_range = builder.icmp_unsigned("<", amount, amount.type(bits))
        if left:
            return builder.select(in_range, builder.shl(x, amount), x.type(0))
        if argument_types[0].signed:
            return builder.ashr(x, builder.select(in_range, amount, amount.type(bits - 1)))
        return builder.select(in_range, builder.lshr(x, amount), x.type(0))

    return emit


define("ishl", _same(_is_integer), _emit_shift(left=True))
define("ishr", _same(_is_integer), _emit_shift(left=False))


def _emit_multiply_high(builder, argument_types, x, y):
    bits = x.type.width
    wide = ir.IntType(2 * bits)
    widen = builder.sext if argument_types[0].signed else builder.zext
    product = builder.mul(widen(x, wide), widen(y, wide))
    return builder.trunc(builder.lshr(product, wide(bits)), x.type)


define("imulhi", _same(_is_integer), _emit_multiply_high)


def _truncating_division(builder, signed: bool, x, y):
    """The quotient of `x` by a divisor that is neither 0 nor -1, rounded towards zero."""
    bits = x.type.width
    if bits > 32:
        return builder.sdiv(x, y) if signed else builder.udiv(x, y)
    # There are no vector instructions for integer division. The quotient of integers of up to 32 bits is exact in
    # float64 once truncated: if it is not whole, its distance to the next whole number is more than 2**-32 of it.
    to_float, to_integer = (builder.sitofp, builder.fptosi) if signed else (builder.uitofp, builder.fptoui)
    return to_integer(builder.fdiv(to_float(x, _DOUBLE), to_float(y, _DOUBLE)), x.type)


def _emit_division(quotient_wanted: bool, floor: bool) -> Callable:
    """Quotient or remainder. Division by 0 gives 0, and the smallest integer by -1 wraps; nothing ever traps."""

    def emit(builder, argument_types, x, y):
        kind, signed = x.type, argument_types[0].signed
        zero, one = kind(0), kind(1)
        by_zero = builder.icmp_unsigned("==", y, zero)
        safe = builder.select(by_zero, one, y)
        if signed:
            by_minus_one = builder.icmp_signed("==", y, kind(-1))
            safe = builder.select(by_minus_one, one, safe)
        quotient = _truncating_division(builder, signed, x, safe)
        if signed:
            quotient = builder.select(by_minus_one, builder.neg(quotient), quotient)
        remainder = builder.sub(x, builder.mul(quotient, y))
        if signed and floor:
            inexact = builder.icmp_signed("!=", remainder, zero)
            signs_differ = builder.icmp_signed("<", builder.xor(remainder, y), zero)
            adjust = builder.and_(inexact, signs_differ)
            quotient = builder.sub(quotient, builder.zext(adjust, kind))
            remainder = builder.select(adjust, builder.add(remainder, y), remainder)
        return builder.select(by_zero, zero, quotient if quotient_wanted else remainder)

    return emit


define("idiv_floor", _same(_is_integer), _emit_division(quotient_wanted=True, floor=True))
define("irem_floor", _same(_is_integer), _emit_division(quotient_wanted=False, floor=True))
define("idiv_trunc", _same(_is_integer), _emit_division(quotient_wanted=True, floor=False))
define("irem_trunc", _same(_is_integer), _emit_division(quotient_wanted=False, floor=False))


# Selection and booleans -----------------------------------------------------------------------------------------

define(
    "select",
    lambda condition, x, y: x if condition == types.boolean and x == y else None,
    lambda b, t, condition, x, y: b.select(condition, x, y),
)
for _name, _opcode in (("band", "and_"), ("bor", "or_"), ("bxor", "xor")):
    define(_name, _same(lambda t: t == types.boolean), lambda b, t, x, y, op=_opcode: getattr(b, op)(x, y))
define("bnot", _same(lambda t: t == types.boolean), lambda b, t, x: b.not_(x))


def _emit_compare(operator: str) -> Callable:
    """Comparison of equal types; with a NaN every comparison is false but `!=`, which is true."""

    def emit(builder, argument_types, x, y):
        if _is_float(argument_types[0]):
            return (builder.fcmp_unordered if operator == "!=" else builder.fcmp_ordered)(operator, x, y)
        signed = _is_integer(argument_types[0]) and argument_types[0].signed
        return (builder.icmp_signed if signed else builder.icmp_unsigned)(operator, x, y)

    return emit


for _name, _operator in (("eq", "=="), ("ne", "!="), ("lt", "<"), ("le", "<="), ("gt", ">"), ("ge", ">=")):
    define(
        _name,
        lambda x, y: types.boolean(x, y) if x == y and (_is_number(x) or x == types.boolean) else None,
        _emit_compare(_operator),
    )


# Casts ----------------------------------------------------------------------------------------------------------


def _float_to_signed(builder, x, target: ir.IntType):
    """Truncate a float; what does not fit, NaN included, becomes the smallest integer, as x86's instruction does."""
    limit = x.type(2.0 ** (target.width - 1))
    lowest = x.type(-(2.0 ** (target.width - 1)))
    # `x > -2**31 - 1` also holds for fractions just under the limit, where float64 has them.
    if x.type == _DOUBLE and target.width == 32:
        above = builder.fcmp_ordered(">", x, x.type(-(2.0**31) - 1.0))
    else:
        above = builder.fcmp_ordered(">=", x, lowest)
    fits = builder.and_(above, builder.fcmp_ordered("<", x, limit))
    # The unused arm of a select may be poison, so the conversion needs no guard of its own.
    return builder.select(fits, builder.fptosi(x, target), target(-(2 ** (target.width - 1))))


def _float_to_uint64(builder, x):
    """As C on x86: [2**63, 2**64) is exact, anything else goes through int64 and keeps its bits."""
    limit = x.type(2.0**63)
    high = builder.fcmp_ordered(">=", x, limit)
    low_part = _float_to_signed(builder, builder.select(high, builder.fsub(x, limit), x), _I64)
    return builder.select(high, builder.xor(low_part, _I64(-(2**63))), low_part)


def _emit_cast(target: types.Type) -> Callable:
    llvm_target = _llvm_type(target)

    def emit(builder, argument_types, x):
        (source,) = argument_types
        if source == target:
            return x
        if target == types.boolean:
            if _is_float(source):
                return builder.fcmp_unordered("!=", x, x.type(0.0))
            return builder.icmp_unsigned("!=", x, x.type(0))
        if _is_float(target):
            if _is_float(source):
                return (builder.fpext if target.bitwidth > source.bitwidth else builder.fptrunc)(x, llvm_target)
            signed = _is_integer(source) and source.signed
            return (builder.sitofp if signed else builder.uitofp)(x, llvm_target)
        if _is_float(source):
            if target == types.uint64:
                return _float_to_uint64(builder, x)
            through = _I64 if target in (types.int64, types.uint32) else _I32
            value = _float_to_signed(builder, x, through)
            return builder.trunc(value, llvm_target) if through.width > llvm_target.width else value
        width = 1 if source == types.boolean else source.bitwidth
        if width == target.bitwidth:
            return x
        if width > target.bitwidth:
            return builder.trunc(x, llvm_target)
        signed = _is_integer(source) and source.signed
        return (builder.sext if signed else builder.zext)(x, llvm_target)

    return emit


for _short, _target in SHORT_NAMES.items():
    define(
        "boolean" if _short == "bool" else _short,
        lambda x, r=_target: r if _is_number(x) or x == types.boolean else None,
        _emit_cast(_target),
    )

def _emit_bitcast(source: types.Type, target: types.Type) -> Callable:
    """A bool is a byte in memory: its bits are 0 or 1, and any other byte read as one is true."""

    def emit(builder, argument_types, x):
        if source == types.boolean:
            return builder.zext(x, _I8)
        if target == types.boolean:
            return builder.icmp_unsigned("!=", x, _I8(0))
        return builder.bitcast(x, _llvm_type(target))

    return emit


for _names in (("i8", "u8", "b8"), ("i16", "u16", "f16", "bf16"), ("i32", "u32", "f32"), ("i64", "u64", "f64")):
    for _from, _to in itertools.product(_names, repeat=2):
        _source, _target = (ELEMENTS[name] for name in (_from, _to))
        define(
            f"bitcast_{_from}_{_to}",
            lambda x, s=_source, r=_target: r if x == s else None,
            _emit_bitcast(_source, _target),
        )


# The 16-bit floats, as bits in uint16 ----------------------------------------------------------------------------


def _half_is_native() -> bool:
    """Whether the processor converts between half and single precision itself.

    Without such instructions LLVM would call a helper of the compiler's own library, which need not be in the process.
    """
    return has_feature("f16c") or target_description()["triple"].startswith(("aarch64", "arm64"))


def half_to_float_by_bits(builder, bits):
    """float16 bits to float32 with integer instructions only."""
    wide = builder.zext(bits, _I32)
    sign = builder.shl(builder.and_(wide, _I32(0x8000)), _I32(16))
    magnitude = builder.shl(builder.and_(wide, _I32(0x7FFF)), _I32(13))
    # Moving the exponent field and rebiasing by a multiplication also normalises subnormal halves, exactly.
    rebiased = builder.fmul(builder.bitcast(magnitude, _FLOAT), _FLOAT(2.0**112))
    special = builder.icmp_unsigned(">=", magnitude, _I32(0x7C00 << 13))
    quiet = builder.select(builder.icmp_unsigned(">", magnitude, _I32(0x7C00 << 13)), _I32(0x400000), _I32(0))
    special_bits = builder.or_(builder.or_(magnitude, _I32(0x7F800000)), quiet)
    value = builder.select(special, special_bits, builder.bitcast(rebiased, _I32))
    return builder.bitcast(builder.or_(value, sign), _FLOAT)


def float_to_half_by_bits(builder, x):
    """float32 to float16 bits, to nearest even, with integer instructions and one float32 addition."""
    bits = builder.bitcast(x, _I32)
    sign = builder.lshr(builder.and_(bits, _I32(-(2**31))), _I32(16))
    magnitude = builder.and_(bits, _I32(0x7FFFFFFF))
    # Subnormal halves: adding 0.5 aligns the significand so that the addition itself rounds to nearest even.
    aligned = builder.fadd(builder.bitcast(magnitude, _FLOAT), _FLOAT(0.5))
    subnormal = builder.sub(builder.bitcast(aligned, _I32), _I32(0x3F000000))
    odd = builder.and_(builder.lshr(magnitude, _I32(13)), _I32(1))
    rounded = builder.add(builder.add(magnitude, _I32(0xFFF - (112 << 23))), odd)
    normal = builder.lshr(rounded, _I32(13))
    is_small = builder.icmp_unsigned("<", magnitude, _I32(113 << 23))
    finite = builder.select(is_small, subnormal, normal)
    payload = builder.and_(builder.lshr(magnitude, _I32(13)), _I32(0x3FF))
    is_nan = builder.icmp_unsigned(">", magnitude, _I32(0x7F800000))
    special = builder.select(is_nan, builder.or_(payload, _I32(0x7E00)), _I32(0x7C00))
    overflows = builder.icmp_unsigned(">=", magnitude, _I32(143 << 23))
    result = builder.or_(builder.select(overflows, special, finite), sign)
    return builder.trunc(result, _I16)


def _emit_half_to_float(builder, argument_types, bits):
    if _half_is_native():
        return builder.fpext(builder.bitcast(bits, _HALF), _FLOAT)
    return half_to_float_by_bits(builder, bits)


def _emit_float_to_half(builder, argument_types, x):
    if _half_is_native():
        return builder.bitcast(builder.fptrunc(x, _HALF), _I16)
    return float_to_half_by_bits(builder, x)


def _emit_bfloat_to_float(builder, argument_types, bits):
    return builder.bitcast(builder.shl(builder.zext(bits, _I32), _I32(16)), _FLOAT)


def _emit_float_to_bfloat(builder, argument_types, x):
    bits = builder.bitcast(x, _I32)
    odd = builder.and_(builder.lshr(bits, _I32(16)), _I32(1))
    rounded = builder.lshr(builder.add(builder.add(bits, _I32(0x7FFF)), odd), _I32(16))
    # by its bits, because a comparison of floats is merged with a maximum that follows, which then does not vectorise
    is_nan = builder.icmp_unsigned(">", builder.and_(bits, _I32(0x7FFFFFFF)), _I32(0x7F800000))
    return builder.trunc(builder.select(is_nan, _I32(0x7FC0), rounded), _I16)


for _name, _source, _result, _emit in (
    ("f16", types.float32, types.uint16, _emit_float_to_half),
    ("bf16", types.float32, types.uint16, _emit_float_to_bfloat),
    ("f16_to_f32", types.uint16, types.float32, _emit_half_to_float),
    ("f32_to_f16", types.float32, types.uint16, _emit_float_to_half),
    ("bf16_to_f32", types.uint16, types.float32, _emit_bfloat_to_float),
    ("f32_to_bf16", types.float32, types.uint16, _emit_float_to_bfloat),
    ("f16_to_f32_by_bits", types.uint16, types.float32, lambda b, t, x: half_to_float_by_bits(b, x)),
    ("f32_to_f16_by_bits", types.float32, types.uint16, lambda b, t, x: float_to_half_by_bits(b, x)),
):
    define(_name, lambda x, s=_source, r=_result: r if x == s else None, _emit)
