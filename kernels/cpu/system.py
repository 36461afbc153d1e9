"""The part of the vocabulary that only hand-written native code uses: atomics, calls by address, stack memory.

Generated kernels compute; they never synchronise and never call out. The driver and the matrix product do both, and
are written in the same Python subset with these additional names. Addresses are int64 throughout, because the object
code holds no absolute address: whatever lives outside is passed in at run time.

In: numba types. Out: `SYSTEM_INTRINSICS`. Read next: `driver.py`, which uses all of it.
"""

from __future__ import annotations

from llvmlite import ir
from numba.core import cgutils, types

from .intrinsics import define
from .target import target_description

SYSTEM_INTRINSICS: dict[str, object] = {}

_I32, _I64 = ir.IntType(32), ir.IntType(64)
_VOID = ir.VoidType()


def _integers(result: types.Type, count: int):
    """A typing rule: `count` integers, all taken as int64."""
    return lambda *given: (
        result(*([types.int64] * count))
        if len(given) == count and all(isinstance(t, types.Integer) for t in given)
        else None
    )


def _define_system(name: str, result: types.Type, count: int, emit) -> None:
    def emit_without_types(builder, argument_types, *values):
        return emit(builder, *values)

    define(name, _integers(result, count), emit_without_types, into=SYSTEM_INTRINSICS)


# Atomics on the int64 (or the low int32) at an address. All are sequentially consistent: the driver's sleep and wake
# protocol relies on a single order of stores and loads, and none is on a path that runs per element.

_ORDER = "seq_cst"


def _pointer(builder, address, kind=_I64):
    return builder.inttoptr(address, kind.as_pointer())


def _emit_exchange_if(builder, address, expected, value):
    outcome = builder.cmpxchg(_pointer(builder, address), expected, value, _ORDER, _ORDER)
    return builder.extract_value(outcome, 0)


_define_system("atomic_load", types.int64, 1, lambda b, a: b.load_atomic(_pointer(b, a), _ORDER, 8))
_define_system("atomic_store", types.void, 2, lambda b, a, v: _store_atomic(b, a, v))
_define_system("atomic_add", types.int64, 2, lambda b, a, v: b.atomic_rmw("add", _pointer(b, a), v, _ORDER))
_define_system("atomic_exchange", types.int64, 2, lambda b, a, v: b.atomic_rmw("xchg", _pointer(b, a), v, _ORDER))
# Stores `value` if the word holds `expected`; returns what it held.
_define_system("atomic_compare_exchange", types.int64, 3, _emit_exchange_if)


def _store_atomic(builder, address, value):
    builder.store_atomic(value, _pointer(builder, address), _ORDER, 8)


def _emit_pause(builder):
    """Tell the processor that this is a spin loop, so that it saves power and leaves the other hyperthread running."""
    triple = target_description()["triple"]
    if triple.startswith(("x86_64", "amd64", "i386", "i686")):
        name, arguments = "llvm.x86.sse2.pause", []
    elif triple.startswith(("aarch64", "arm64")):
        name, arguments = "llvm.aarch64.hint", [_I32(1)]  # YIELD
    else:
        return
    signature = ir.FunctionType(_VOID, [v.type for v in arguments])
    builder.call(cgutils.get_or_insert_function(builder.module, signature, name), arguments)


_define_system("pause", types.void, 0, _emit_pause)


# Calls by address -----------------------------------------------------------------------------------------------


def _call(builder, address, arguments, returns=_VOID, var_arg=False, fixed=None):
    kinds = [v.type for v in arguments]
    signature = ir.FunctionType(returns, kinds[:fixed] if var_arg else kinds, var_arg=var_arg)
    return builder.call(builder.inttoptr(address, signature.as_pointer()), arguments)


# call_kernel(function, args, start, stop)
_define_system("call_kernel", types.void, 4, lambda b, function, *v: _call(b, function, v) and None)
# call_c(function, ...): a C function of one or two pointer-sized arguments, or none, that returns int.
for _count in range(3):
    _define_system(
        f"call_c{_count}",
        types.int64,
        _count + 1,
        lambda b, function, *v: b.sext(_call(b, function, v, _I32), _I64),
    )
# call_syscall(syscall, number, a, b, c, d): libc's variadic `long syscall(long number, ...)`.
_define_system(
    "call_syscall",
    types.int64,
    6,
    lambda b, function, *v: _call(b, function, v, _I64, var_arg=True, fixed=1),
)
# call_gemm(gemm, trans_a, trans_b, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc): Fortran BLAS, all by address.
_define_system("call_gemm", types.void, 14, lambda b, function, *v: _call(b, function, v) and None)


# Memory by address ----------------------------------------------------------------------------------------------


def _emit_stack(builder, argument_types, count):
    """The address of `count` (a literal) int64 words of the caller's stack frame, 8-byte aligned."""
    words = cgutils.alloca_once(builder, ir.ArrayType(_I64, argument_types[0].literal_value))
    return builder.ptrtoint(words, _I64)


define(
    "stack_words",
    lambda count: types.int64(count) if isinstance(count, types.IntegerLiteral) else None,
    _emit_stack,
    takes_literals=True,
    into=SYSTEM_INTRINSICS,
)


def _emit_store_i32(builder, address, value):
    builder.store(builder.trunc(value, _I32), _pointer(builder, address, _I32))


_define_system("read_word", types.int64, 1, lambda b, a: b.load(_pointer(b, a)))
_define_system("write_word", types.void, 2, lambda b, a, v: b.store(v, _pointer(b, a)) and None)
# The low 32 bits of a value, as a Fortran INTEGER.
_define_system("write_int32", types.void, 2, _emit_store_i32)
