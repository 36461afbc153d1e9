"""From generated source to object code: numba's front end, then LLVM's optimiser and code generator once.

numba is used for what it is best at, turning typed Python into LLVM IR. What follows is done here, because a kernel
is a plain C function that links against libc and libm alone, so that a later process can load its object code
without importing numba.

In: source text, the names of the functions to compile, a namespace. Out: `Compiled`, with object code.
Read next: `intrinsics.py` for the vocabulary of the source, `numba_lowering.py` for the front end, `driver.py` for a
program written in this vocabulary, and `flamework.runtime.loader`, which puts the object code into a process.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import llvmlite.binding as llvm
from llvmlite import ir
from numba.core import types
from numba.core.compiler_lock import global_compiler_lock

from . import numba_lowering
from .intrinsics import INTRINSICS
from .system import SYSTEM_INTRINSICS
from .target import create_target_machine, initialise_llvm

#: What every kernel looks like to the driver: `void fn(int64_t *args, int64_t start, int64_t stop)`.
KERNEL_SIGNATURE = "void(int64*, int64, int64)"

#: The prefix of every exported symbol.
SYMBOL_PREFIX = "flamework_"

#: What a kernel may leave to the loader: functions of libm and libc. (LLVM introduces memcpy and memset itself.)
_LIBM = (
    "acos", "acosh", "asin", "asinh", "atan", "atan2", "atanh", "cbrt", "ceil", "copysign", "cos", "cosh", "erf",
    "erfc", "exp", "exp2", "expm1", "fabs", "floor", "fma", "fmax", "fmin", "fmod", "hypot", "ldexp", "lgamma", "log",
    "log10", "log1p", "log2", "nearbyint", "pow", "rint", "round", "sin", "sinh", "sqrt", "tan", "tanh", "tgamma",
    "trunc",
)  # fmt: skip
ALLOWED_SYMBOLS = frozenset(name + suffix for name in _LIBM for suffix in ("", "f")) | {"memcpy", "memset", "memmove"}

_ARGUMENT_TYPES = {"int64": types.int64, "int64*": types.CPointer(types.int64)}
_RETURN_TYPES = {"void": types.void, "int64": types.int64}


class KernelCompilationError(RuntimeError):
    """Generated source did not compile. That is a fault of the code generator, never of the user's program."""


@dataclass(frozen=True)
class Compiled:
    """The product of one compilation.

    `object_code` is a relocatable object for `target.target_description()`; `symbols` maps the name of each function
    in the source to its symbol there; `llvm_ir` is the optimised module as text.
    """

    object_code: bytes = field(repr=False)
    symbols: dict[str, str]
    llvm_ir: str = field(repr=False)

    def assembly(self) -> str:
        """The machine code as assembly text."""
        return create_target_machine().emit_assembly(llvm.parse_assembly(self.llvm_ir))


def compile_kernels(
    source: str,
    functions: Sequence[str],
    namespace: Mapping[str, object] | None = None,
    signatures: Mapping[str, str] | None = None,
) -> Compiled:
    """Compile functions of a piece of generated source into one relocatable object.

    `source` is executed in a copy of `namespace` on top of the intrinsics, and the functions named in `functions` are
    compiled with the signature `void(int64*, int64, int64)`, or the one given for them in `signatures`. Other functions
    in the source and the namespace are device functions: they are compiled and inlined where they are called.
    Raises `KernelCompilationError`, which quotes the source, if it does not compile.

    Example::

        source = '''
        def double(args, start, stop):
            x = pointer_f32(args[0])
            for i in range(start, stop):
                store(x, i, fadd(load(x, i, 0), load(x, i, 0)), 0)
        '''
        compile_kernels(textwrap.dedent(source), ["double"]).symbols  # {'double': 'flamework_double'}
    """
    scope = {**INTRINSICS, **SYSTEM_INTRINSICS, **(namespace or {})}
    if re.search(r"\b(pointer_)?f64\(", source):
        # LLVM takes a half's sign from the binary64 that it was made of, by a call into the compiler's own library,
        # which is not there
        scope |= dict.fromkeys(("f16", "f32_to_f16"), scope["f32_to_f16_by_bits"])
    try:
        exec(compile(source, "<flamework kernel>", "exec"), scope)  # noqa: S102  (our own generated text)
        with global_compiler_lock:
            initialise_llvm()
            module = _lower_module(scope, functions, signatures or {})
            _optimise(module)
            _check_symbols(module)
            object_code = _host_machine().emit_object(module)
    except Exception as error:
        raise KernelCompilationError(f"{type(error).__name__}: {error}\nin the source\n{source}") from error
    symbols = {name: SYMBOL_PREFIX + name for name in functions}
    return Compiled(object_code, symbols, str(module))


def _lower_module(scope: dict, functions: Sequence[str], signatures: Mapping[str, str]) -> llvm.ModuleRef:
    """Lower the functions, link them and the device functions that they call into one LLVM module."""
    modules: list[llvm.ModuleRef] = []
    helpers: dict[str, llvm.ModuleRef] = {}
    for name in functions:
        signature = signatures.get(name, KERNEL_SIGNATURE)
        return_type, argument_types = _parse_signature(signature)
        lowered = numba_lowering.lower(scope[name], argument_types, return_type)
        _export(lowered, SYMBOL_PREFIX + name)
        modules.append(llvm.parse_assembly(str(lowered.module)))
        helpers |= lowered.helpers
    whole, *others = modules
    for module in others:
        whole.link_in(module)
    # Callers before callees: the linker leaves out a device function that nothing refers to yet.
    for module in reversed(helpers.values()):
        whole.link_in(module, preserve=True)
    whole.verify()
    return whole


def _parse_signature(signature: str) -> tuple[types.Type, tuple[types.Type, ...]]:
    result, arguments = signature.removesuffix(")").split("(")
    return _RETURN_TYPES[result], tuple(_ARGUMENT_TYPES[text.strip()] for text in arguments.split(","))


def _export(lowered: numba_lowering.Lowered, symbol: str) -> None:
    """Add a plain C function that calls the lowered one, which then disappears into it."""
    inner = lowered.function
    inner.linkage = "internal"
    inner.attributes.add("alwaysinline")
    descriptor = lowered.descriptor
    context = numba_lowering.target_context()
    returns = descriptor.restype != types.void
    kind = ir.FunctionType(
        context.get_value_type(descriptor.restype) if returns else ir.VoidType(),
        [context.get_value_type(t) for t in descriptor.argtypes],
    )
    outer = ir.Function(lowered.module, kind, symbol)
    for argument, argument_type in zip(outer.args, descriptor.argtypes, strict=True):
        if isinstance(argument_type, types.CPointer):
            # Argument blocks and tapes are written by the runtime alone, before the call.
            argument.add_attribute("noalias")
    builder = ir.IRBuilder(outer.append_basic_block("entry"))
    _, result = context.call_conv.call_function(
        builder, inner, descriptor.restype, descriptor.argtypes, list(outer.args)
    )
    if returns:
        builder.ret(result)
    else:
        builder.ret_void()


@functools.cache
def _host_machine() -> llvm.TargetMachine:
    """The target machine that compilations share, one at a time: they hold numba's compiler lock."""
    return create_target_machine()


def _optimise(module: llvm.ModuleRef) -> None:
    """Run LLVM's O3 pipeline with both vectorisers.

    The width of vectors is left to LLVM's knowledge of the processor, except where a loop hint fixes it. Measured on
    Zen 5, where that means 512 bits: with 256 the sigmoid linear unit in cache takes 1.9 times as long, and a
    scale-and-add bound by memory takes the same time.
    """
    options = llvm.create_pipeline_tuning_options(speed_level=3)
    options.loop_vectorization = True
    options.slp_vectorization = True
    options.loop_interleaving = True
    options.loop_unrolling = True
    builder = llvm.create_pass_builder(_host_machine(), options)
    builder.getModulePassManager().run(module, builder)


def _check_symbols(module: llvm.ModuleRef) -> None:
    """Refuse a kernel that would need numba's run-time library, or anything else that is not libc or libm."""
    declared = [f.name for f in module.functions if f.is_declaration and not f.name.startswith("llvm.")]
    declared += [v.name for v in module.global_variables if v.is_declaration]
    unknown = sorted(set(declared) - ALLOWED_SYMBOLS)
    if unknown:
        raise RuntimeError(f"the kernel refers to {', '.join(unknown)}, which the loader could not find")
