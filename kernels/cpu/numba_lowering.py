"""numba's front end without the rest of numba: Python functions to LLVM IR.

numba's usual pipeline serves a dispatcher. It rewrites array expressions, wraps the result for Python, compiles it in
numba's own JIT and prepares a runtime for reference counts, and its first use imports linear algebra, typed
containers and random numbers (0.4 s). A kernel needs none of it. This module keeps four steps, each of which is numba's
own code: bytecode to numba IR, single static assignment, type inference, lowering.

A plain Python function that a kernel calls (an `@njit` function too) is a device function: it is compiled for the
types of its arguments through the same steps, once a process, and inlined into its callers.

In: a Python function and its argument types. Out: `Lowered`, llvmlite IR and what has to be linked to it.
Read next: `toolchain.py`, the only caller.
"""

from __future__ import annotations

import functools
import types as python_types
from dataclasses import dataclass

import llvmlite.binding as llvm
from llvmlite import ir
from numba.core import funcdesc, lowering, types, typing
from numba.core.analysis import compute_cfg_from_blocks
from numba.core.bytecode import ByteCode, FunctionIdentity
from numba.core.callconv import create_error_model
from numba.core.compiler import Flags
from numba.core.cpu import CPUContext
from numba.core.dispatcher import Dispatcher
from numba.core.errors import TypingError
from numba.core.extending import _Intrinsic as NumbaIntrinsic
from numba.core.interpreter import Interpreter
from numba.core.ir_utils import build_definitions
from numba.core.postproc import PostProcessor
from numba.core.ssa import reconstruct_ssa
from numba.core.targetconfig import ConfigStack
from numba.core.typed_passes import PreLowerStripPhis, type_inference_stage
from numba.core.typing.templates import AbstractTemplate, Registry, builtin_registry

from .intrinsics import Intrinsic, finish_scopes, loop_metadata


def _is_scalar_rule(template: type) -> bool:
    return any(base.__module__ == "numba.core.typing.builtins" for base in template.__mro__)


class _TypingContext(typing.Context):
    """numba's typing rules for scalars, and for calls of intrinsics and device functions."""

    def _load_builtins(self):
        # numba's own registry also holds the rules for arrays and containers, and installing those imports SciPy's
        # linear algebra. The rules for scalars and loops are written in one module.
        if self._scalar_rules is None:
            self._scalar_rules = rules = Registry()
            rules.functions += filter(_is_scalar_rule, builtin_registry.functions)
            rules.attributes += filter(_is_scalar_rule, builtin_registry.attributes)
            rules.globals += [
                (value, kind)
                for value, kind in builtin_registry.globals
                if all(map(_is_scalar_rule, getattr(kind, "templates", (type(kind),))))
            ]
        self.install_registry(self._scalar_rules)

    _scalar_rules: Registry | None = None

    def load_additional_registries(self):
        from numba.core.typing import mathdecl

        self.install_registry(mathdecl.registry)

    def resolve_value_type(self, value):
        if isinstance(value, Dispatcher):
            value = value.py_func
        if isinstance(value, (Intrinsic, NumbaIntrinsic)):
            return _callable_type(value)
        if callable(value):
            known = self._lookup_global(value)
            if known is not None:
                return known
            if isinstance(value, python_types.FunctionType):
                return _callable_type(value)
        return super().resolve_value_type(value)


class _TargetContext(CPUContext):
    """numba's lowering rules for scalars, and for calls of intrinsics and device functions."""

    def load_additional_registries(self):
        from numba.core import optional  # noqa: F401  (registers its rules when imported)
        from numba.cpython import builtins, mathimpl, numbers, rangeobj, tupleobj  # noqa: F401

        self.install_registry(mathimpl.registry)

    def get_function(self, fn, sig, _firstcall=True):
        if isinstance(fn, types.Function) and issubclass(fn.templates[0], _CallTemplate):
            return fn.templates[0].implementation(self, sig)
        return super().get_function(fn, sig, _firstcall)

    def post_lowering(self, mod, library):
        """Link nothing: numba would add its run-time library."""


_typing_context = _TypingContext()
_target_context = _TargetContext(_typing_context, "cpu")
# "python" would put a branch to ZeroDivisionError beside every division, and such loops do not vectorise.
_target_context.error_model = create_error_model("numpy", _target_context)
_flags = Flags()
_flags.error_model = "numpy"


class _Library:
    """Stands where numba keeps a code library while it lowers a function, and keeps the module instead."""

    def __init__(self, name: str):
        self.name = name
        self.module: ir.Module | None = None
        self.helpers: dict[str, llvm.ModuleRef] = {}

    def create_ir_module(self, name: str) -> ir.Module:
        return _target_context.codegen()._create_empty_module(name)

    def add_ir_module(self, module: ir.Module) -> None:
        self.module = module


class _Lower(lowering.Lower):
    """numba's lowering, which also carries loop hints to the branches that close their loops."""

    def pre_lower(self):
        super().pre_lower()
        self._hints: list[tuple[int, int, int]] = []
        self._terminators: dict[int, ir.Instruction] = {}
        self._offsets = {id(block): offset for offset, block in self.blocks.items()}

    def post_block(self, block):
        super().post_block(block)
        offset = self._offsets[id(block)]
        pending = self.module.__dict__.setdefault("flamework_loop_hints", [])
        self._hints += [(offset, width, interleave) for _, width, interleave in pending]
        pending.clear()
        self._terminators[offset] = self.builder.block.terminator

    def post_lower(self):
        super().post_lower()
        if not self._hints:
            return
        graph = compute_cfg_from_blocks(self.blocks)
        for offset, width, interleave in self._hints:
            enclosing = [loop for loop in graph.loops().values() if offset in loop.body]
            if not enclosing:
                raise TypingError("loop_hint stands outside any loop")
            if width == interleave == 0:
                continue
            innermost = min(enclosing, key=lambda loop: len(loop.body))
            node = loop_metadata(self.module, width, interleave)
            for source, _ in graph.predecessors(innermost.header):
                if source in innermost.body:
                    self._terminators[source].set_metadata("llvm.loop", node)


@dataclass
class Lowered:
    """A function as LLVM IR: its module, its descriptor, its type, and the modules of the device functions it calls."""

    module: ir.Module
    descriptor: funcdesc.PythonFunctionDescriptor
    return_type: types.Type
    helpers: dict[str, llvm.ModuleRef]

    @property
    def function(self) -> ir.Function:
        """The LLVM function, in numba's calling convention: a status, the result through a pointer."""
        return self.module.get_global(self.descriptor.mangled_name)


def lower(function, argument_types: tuple, return_type: types.Type | None = None) -> Lowered:
    """Lower a Python function for the given numba types; without `return_type` it is inferred.

    The caller holds numba's compiler lock. Raises numba's errors where the source does not type.
    """
    identity = FunctionIdentity.from_function(function)
    function_ir = Interpreter(identity).interpret(ByteCode(identity))
    PostProcessor(function_ir).run()
    function_ir = reconstruct_ssa(function_ir)
    function_ir._definitions = build_definitions(function_ir.blocks)

    with ConfigStack().enter(_flags.copy()):
        _target_context.refresh()
        typed = type_inference_stage(_typing_context, _target_context, function_ir, argument_types, return_type)
        function_ir = PreLowerStripPhis()._strip_phi_nodes(function_ir)
        function_ir._definitions = build_definitions(function_ir.blocks)
        PostProcessor(function_ir).run()
        descriptor = funcdesc.PythonFunctionDescriptor.from_specialized_function(
            function_ir,
            typed.typemap,
            typed.return_type,
            typed.calltypes,
            mangler=_target_context.mangler,
            inline=False,
            noalias=False,
            abi_tags=(),
        )
        library = _Library(descriptor.unique_name)
        with _target_context.push_code_library(library):
            _Lower(_target_context, library, descriptor, function_ir).lower()
    finish_scopes(library.module)
    _drop_environment(library.module)
    return Lowered(library.module, descriptor, typed.return_type, library.helpers)


def _drop_environment(module: ir.Module) -> None:
    """Remove the slot for numba's Python-side environment, which a native kernel has no use for."""
    for name in [name for name in module.globals if ".NumbaEnv." in name or "NumbaEnv" in name]:
        module.globals[name].linkage = "internal"


# Calls of intrinsics and of device functions --------------------------------------------------------------------


class _Implementation:
    """What numba calls to lower a call: `emit(context, builder, signature, values)` for a known signature."""

    def __init__(self, emit, context, signature):
        self._emit, self._context, self._signature = emit, context, signature

    def __call__(self, builder, values, loc=None):
        value = self._emit(self._context, builder, self._signature, values)
        return self._context.get_dummy_value() if value is None else value


class _CallTemplate(AbstractTemplate):
    """numba's handle on a callable; each intrinsic and each device function has a subclass of its own."""

    function: object
    prefer_literal = True  # the typing rules themselves decide what to make of a literal

    @classmethod
    def implementation(cls, context, signature) -> _Implementation:
        raise AssertionError("a template of the base class is never called")


class _IntrinsicTemplate(_CallTemplate):
    def generic(self, args, kws):
        return self.function.signature(*args, *kws.values())

    @classmethod
    def implementation(cls, context, signature):
        def emit(context, builder, signature, values):
            return cls.function.emit(builder, signature.args, *values)

        return _Implementation(emit, context, signature)


class _NumbaIntrinsicTemplate(_CallTemplate):
    """A function made by `numba.extending.intrinsic`, which registers itself only with numba's own contexts."""

    code_generators: dict

    def generic(self, args, kws):
        definition = self.function._defn
        arguments = args if self.function._prefer_literal else tuple(types.unliteral(t) for t in args)
        typed = definition(self.context, *arguments, **kws)
        if typed is None:
            return None
        signature, code_generator = typed
        self.code_generators[signature.args] = code_generator
        return signature

    @classmethod
    def implementation(cls, context, signature):
        return _Implementation(cls.code_generators[signature.args], context, signature)


class _DeviceTemplate(_CallTemplate):
    """Types a call of a device function by compiling the function for those types."""

    compiled: dict

    def generic(self, args, kws):
        if kws:
            raise TypingError(f"{self.function.__name__} is a device function and takes positional arguments only")
        arguments = tuple(types.unliteral(t) for t in args)
        if arguments not in self.compiled:
            lowered = lower(self.function, arguments)
            # Every kernel that calls it holds a copy, which is inlined and then dropped.
            lowered.function.linkage = "linkonce_odr"
            lowered.function.attributes.add("alwaysinline")
            module = llvm.parse_assembly(str(lowered.module))
            helpers = {**lowered.helpers, lowered.descriptor.mangled_name: module}
            self.compiled[arguments] = lowered.return_type, lowered.descriptor, helpers
        return self.compiled[arguments][0](*arguments)

    @classmethod
    def implementation(cls, context, signature):
        _, descriptor, helpers = cls.compiled[signature.args]

        def emit(context, builder, signature, values):
            context.active_code_library.helpers.update(helpers)
            return context.call_internal(builder, descriptor, signature, values)

        return _Implementation(emit, context, signature)


def _callable_type(function) -> types.Function:
    """The numba type of an intrinsic or a device function."""
    is_device = isinstance(function, python_types.FunctionType)
    return _device_type(function) if is_device else _intrinsic_type(function)


@functools.cache
def _intrinsic_type(function) -> types.Function:
    if isinstance(function, Intrinsic):
        return _function_type(_IntrinsicTemplate, function, {"function": function})
    return _function_type(_NumbaIntrinsicTemplate, function, {"function": function, "code_generators": {}})


# Functions that a kernel's own source defines are new objects at every compilation, so this must be bounded.
@functools.lru_cache(maxsize=256)
def _device_type(function) -> types.Function:
    return _function_type(_DeviceTemplate, function, {"function": staticmethod(function), "compiled": {}})


def _function_type(template: type, function, members: dict) -> types.Function:
    name = f"{template.__name__}_of_{function.__name__}"
    return types.Function(type(name, (template,), {"key": function, **members}))


def target_context() -> CPUContext:
    """The target context in which functions are lowered, for its types and calling convention."""
    return _target_context
