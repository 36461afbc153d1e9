"""The notation in which the vectorisable functions are written: numbers whose operators emit LLVM instructions.

What comes in is an llvmlite ``IRBuilder``; what goes out is a straight line of LLVM instructions. An algorithm such
as ``vmath_exponential.exp(m, x)`` is ordinary Python over ``Value`` objects and runs once, while a kernel is being
generated: ``x * x`` emits one ``fmul``, ``m.fma(a, b, c)`` one ``llvm.fma``, ``m.select(condition, a, b)`` one
``select``. There is no branch and no call except to intrinsics that LLVM can widen, so the loop vectoriser can turn a
loop around the emitted code into a loop over vectors.

Two promises hold for all emitted arithmetic. It is exactly the written sequence of IEEE 754 operations, whatever
flags the surrounding kernel is compiled with: numba's ``fastmath`` rewrites the flags of every instruction of a
module, and sums of the form ``(x + big) - big`` would not survive that, so the flag lists here are sealed. And a
fused multiply-add is one: where the processor has none, LLVM calls the C library's exact ``fma``, which is slow but
gives the same bits.

Read next: ``vmath_exponential.py``, the first user of the notation.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from llvmlite import ir

_BOOL = ir.IntType(1)


@dataclass(frozen=True)
class Format:
    """An IEEE 754 binary format: `width` bits, of which `precision` - 1 are stored bits of the significand."""

    width: int
    precision: int
    bias: int
    ir_type: ir.Type
    int_type: ir.IntType

    @property
    def fraction_bits(self) -> int:
        return self.precision - 1

    @property
    def smallest_normal(self) -> float:
        return 2.0 ** (1 - self.bias)

    @property
    def round_magic(self) -> float:
        """1.5 * 2**(precision - 1). Adding it to a small number leaves the nearest integer in the low bits."""
        return 1.5 * 2.0**self.fraction_bits

    @property
    def sign_mask(self) -> int:
        return 1 << (self.width - 1)

    @property
    def one_bits(self) -> int:
        """The representation of 1."""
        return self.bias << self.fraction_bits

    def power_bits(self, exponent: int) -> int:
        """The representation of 2**exponent."""
        return (self.bias + exponent) << self.fraction_bits


BINARY32 = Format(32, 24, 127, ir.FloatType(), ir.IntType(32))
BINARY64 = Format(64, 53, 1023, ir.DoubleType(), ir.IntType(64))

_FORMAT_OF_TYPE = {fmt.ir_type: fmt for fmt in (BINARY32, BINARY64)}
_FORMAT_OF_INT_TYPE = {fmt.int_type: fmt for fmt in (BINARY32, BINARY64)}


class _SealedFlags(list):
    """The flags of an arithmetic instruction that numba's fast-math rewrite must not extend."""

    def append(self, flag: str) -> None:
        return None


class _SealedCallFlags(ir.instructions.FastMathFlags):
    """The same for a call."""

    def add(self, name: str) -> None:
        return None


class Value:
    """One LLVM value: a float, an integer of the same width, or a boolean. Python numbers become constants."""

    __slots__ = ("m", "ir")
    __hash__ = None

    def __init__(self, m: Emitter, value: ir.Value) -> None:
        self.m = m
        self.ir = value

    @property
    def format(self) -> Format:
        """The float format of a float, or the one with the width of an integer."""
        kind = self.ir.type
        return _FORMAT_OF_TYPE.get(kind) or _FORMAT_OF_INT_TYPE[kind]

    def _binary(self, other: Value | float | int | bool, float_op: str, int_op: str) -> Value:
        right = self.m.constant_like(self, other)
        name = float_op if self.ir.type in _FORMAT_OF_TYPE else int_op
        return self.m.arithmetic(name, self, right)

    def __add__(self, other: Value | float) -> Value:
        return self._binary(other, "fadd", "add")

    def __radd__(self, other: float) -> Value:
        return self.m.constant_like(self, other) + self

    def __sub__(self, other: Value | float) -> Value:
        return self._binary(other, "fsub", "sub")

    def __rsub__(self, other: float) -> Value:
        return self.m.constant_like(self, other) - self

    def __mul__(self, other: Value | float) -> Value:
        return self._binary(other, "fmul", "mul")

    def __rmul__(self, other: float) -> Value:
        return self.m.constant_like(self, other) * self

    def __truediv__(self, other: Value | float) -> Value:
        return self._binary(other, "fdiv", "")

    def __rtruediv__(self, other: float) -> Value:
        return self.m.constant_like(self, other) / self

    def __neg__(self) -> Value:
        return self.m.negate(self)

    def __and__(self, other: Value | int) -> Value:
        return self._binary(other, "", "and_")

    def __or__(self, other: Value | int) -> Value:
        return self._binary(other, "", "or_")

    def __xor__(self, other: Value | int) -> Value:
        return self._binary(other, "", "xor")

    def __invert__(self) -> Value:
        return self ^ (True if self.ir.type == _BOOL else -1)

    def __lshift__(self, count: Value | int) -> Value:
        return self._binary(count, "", "shl")

    def __rshift__(self, count: Value | int) -> Value:
        """A logical shift: AVX2 has no arithmetic one for 64-bit lanes."""
        return self._binary(count, "", "lshr")

    def __lt__(self, other: Value | float) -> Value:
        return self.m.compare("<", self, other)

    def __le__(self, other: Value | float) -> Value:
        return self.m.compare("<=", self, other)

    def __gt__(self, other: Value | float) -> Value:
        return self.m.compare(">", self, other)

    def __ge__(self, other: Value | float) -> Value:
        return self.m.compare(">=", self, other)

    def __eq__(self, other: Value | float) -> Value:  # type: ignore[override]
        return self.m.compare("==", self, other)

    def __ne__(self, other: Value | float) -> Value:  # type: ignore[override]
        return self.m.compare("!=", self, other)


class Emitter:
    """Emits instructions through `builder`. It is the `m` of every algorithm."""

    def __init__(self, builder: ir.IRBuilder) -> None:
        self.builder = builder
        self.module = builder.module

    # Constants and conversions

    def constant(self, fmt: Format, value: float) -> Value:
        """The float `value` rounded to `fmt`."""
        return Value(self, ir.Constant(fmt.ir_type, value))

    def constant_like(self, like: Value, value: Value | float | int | bool) -> Value:
        """`value` itself if it is one, else a constant of the type of `like`."""
        return value if isinstance(value, Value) else Value(self, ir.Constant(like.ir.type, value))

    def bits(self, x: Value) -> Value:
        """The representation of the float `x` as an integer."""
        return Value(self, self.builder.bitcast(x.ir, x.format.int_type))

    def float_from_bits(self, i: Value) -> Value:
        """The float with the representation `i`."""
        return Value(self, self.builder.bitcast(i.ir, i.format.ir_type))

    def widen(self, x: Value) -> Value:
        """binary32 to binary64, exact; a binary64 stays as it is."""
        return x if x.format is BINARY64 else Value(self, self.builder.fpext(x.ir, BINARY64.ir_type))

    def narrow(self, x: Value, fmt: Format) -> Value:
        """binary64 to `fmt`, rounded once, gradual underflow and overflow to infinity included."""
        return x if x.format is fmt else Value(self, self.builder.fptrunc(x.ir, fmt.ir_type))

    def truncate_int(self, i: Value, fmt: Format) -> Value:
        """The low bits of the integer `i`, as many as `fmt` has."""
        return i if i.format is fmt else Value(self, self.builder.trunc(i.ir, fmt.int_type))

    # Arithmetic

    def arithmetic(self, name: str, a: Value, b: Value) -> Value:
        instruction = getattr(self.builder, name)(a.ir, b.ir)
        instruction.flags = _SealedFlags()
        return Value(self, instruction)

    def negate(self, a: Value) -> Value:
        instruction = self.builder.fneg(a.ir) if a.ir.type in _FORMAT_OF_TYPE else self.builder.neg(a.ir)
        instruction.flags = _SealedFlags()
        return Value(self, instruction)

    def compare(self, operator: str, a: Value, b: Value | float) -> Value:
        """False if an operand is NaN, except ``!=``, which is then true. Integers compare as signed."""
        right = self.constant_like(a, b)
        if a.ir.type not in _FORMAT_OF_TYPE:
            return Value(self, self.builder.icmp_signed(operator, a.ir, right.ir))
        emit = self.builder.fcmp_unordered if operator == "!=" else self.builder.fcmp_ordered
        instruction = emit(operator, a.ir, right.ir)
        instruction.flags = _SealedFlags()
        return Value(self, instruction)

    def is_nan(self, x: Value) -> Value:
        return x != x

    def select(self, condition: Value, a: Value | float, b: Value | float) -> Value:
        """`a` where `condition` holds, else `b`. One of the two must be a `Value`."""
        like = a if isinstance(a, Value) else b
        return Value(
            self,
            self.builder.select(condition.ir, self.constant_like(like, a).ir, self.constant_like(like, b).ir),
        )

    def intrinsic(self, name: str, *operands: Value) -> Value:
        """Call ``llvm.<name>``, all of whose operands and whose result have one type."""
        kind = operands[0].ir.type
        full_name = f"llvm.{name}.{kind.intrinsic_name}"
        function = self.module.globals.get(full_name)
        if function is None:
            function = ir.Function(self.module, ir.FunctionType(kind, [kind] * len(operands)), full_name)
        call = self.builder.call(function, [operand.ir for operand in operands])
        call.fastmath = _SealedCallFlags()
        return Value(self, call)

    def fma(self, a: Value, b: Value | float, c: Value | float) -> Value:
        """a * b + c with one rounding."""
        return self.intrinsic("fma", a, self.constant_like(a, b), self.constant_like(a, c))

    def sqrt(self, x: Value) -> Value:
        return self.intrinsic("sqrt", x)

    def fabs(self, x: Value) -> Value:
        return self.intrinsic("fabs", x)

    def copysign(self, magnitude: Value | float, sign: Value) -> Value:
        return self.intrinsic("copysign", self.constant_like(sign, magnitude), sign)

    def rint(self, x: Value) -> Value:
        """The nearest integer, halves to the even one."""
        return self.intrinsic("rint", x)

    def clamp(self, x: Value, low: float, high: float) -> Value:
        """`x` forced into [low, high]; a NaN stays."""
        x = self.select(x < low, low, x)
        return self.select(x > high, high, x)

    def two_sum_fast(self, a: Value | float, b: Value) -> tuple[Value, Value]:
        """The rounded sum and its exact error, for |a| >= |b| or a = 0 (Dekker 1971)."""
        a = self.constant_like(b, a)
        total = a + b
        return total, b - (total - a)

    def two_sum(self, a: Value, b: Value) -> tuple[Value, Value]:
        """The rounded sum and its exact error, for any order of magnitude (Knuth)."""
        total = a + b
        b_part = total - a
        return total, (a - (total - b_part)) + (b - b_part)

    def two_product(self, a: Value, b: Value | float) -> tuple[Value, Value]:
        """The rounded product and its exact error."""
        product = a * b
        return product, self.fma(a, b, -product)

    def horner(self, x: Value, coefficients: Sequence[float]) -> Value:
        """The sum of coefficients[i] * x**i by Horner's rule."""
        total = self.constant_like(x, coefficients[-1])
        for coefficient in reversed(coefficients[:-1]):
            total = self.fma(total, x, coefficient)
        return total

    def polynomial(self, x: Value, coefficients: Sequence[float]) -> Value:
        """The same; a long one goes as two interleaved Horner chains in x**2.

        That is half the latency for one more multiplication, which a scalar loop or a short vector loop feels. Where
        the terms alternate and x is near one the chains cancel, so `horner` is the one to use there.
        """
        if len(coefficients) > 6:
            square = x * x
            return self.fma(self.horner(square, coefficients[1::2]), x, self.horner(square, coefficients[0::2]))
        return self.horner(x, coefficients)

    # Tables

    def load(self, table_name: str, table: Sequence[float], index: Value) -> Value:
        """Element `index` of a table of binary64 constants that lives in the object code (a gather when widened)."""
        global_name = f"flamework.vmath.{table_name}"
        array = self.module.globals.get(global_name)
        if array is None:
            kind = ir.ArrayType(BINARY64.ir_type, len(table))
            array = ir.GlobalVariable(self.module, kind, global_name)
            array.initializer = ir.Constant(kind, list(table))
            array.global_constant = True
            array.linkage = "internal"
            array.unnamed_addr = True
        address = self.builder.gep(array, [ir.Constant(ir.IntType(64), 0), index.ir], inbounds=True)
        return Value(self, self.builder.load(address))
