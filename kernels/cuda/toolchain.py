"""From a GPU kernel's source to PTX and machine code, or to a run in the simulator.

The only module that knows numba.cuda. numba-cuda types the source and writes LLVM; NVIDIA's libnvvm turns that into
PTX and ``ptxas`` into SASS, none of which needs a GPU. They come with ``pip install flamework[cuda]``; what needs them
and does not find them raises :class:`ToolchainMissing`. The simulator is part of numba: with ``NUMBA_ENABLE_CUDASIM=1``
in the environment before the first import, :func:`simulate` runs a kernel thread by thread in Python.

numba-cuda-mlir 0.6, the successor of numba-cuda, cannot take its place yet: its intrinsics are built as MLIR and refuse
those of our vocabulary, which write LLVM. Nor has it a simulator.

In: a kernel of the loop IR, or generated source. Out: :func:`ptx`, :func:`sass`, :func:`sass_report`, :func:`simulate`.
Read next: ``compiler/codegen_cuda.py``, which writes the source.
"""

from __future__ import annotations

import functools
import importlib.util
import math
import re
import shutil
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numba.core import config, types

from ...compiler import codegen_cuda
from ...compiler.loopir import Kernel
from .grouped import MOST_PARAMETERS

#: The prefix of every entry point in PTX.
SYMBOL_PREFIX = "flamework_"

#: The names of dtypes, for shared memory.
DTYPES = {
    "bool": np.bool_, "uint8": np.uint8, "int8": np.int8, "int16": np.int16, "int32": np.int32, "int64": np.int64,
    "float32": np.float32, "float64": np.float64,
}  # fmt: skip


class ToolchainMissing(RuntimeError):
    """A program or package that compiles for a GPU is not installed."""


class KernelCompilationError(RuntimeError):
    """Generated source did not compile. That is a fault of the code generator, never of the user's program."""


def is_simulator() -> bool:
    """Whether numba.cuda is its simulator in this process."""
    return bool(config.ENABLE_CUDASIM)


def has_compiler() -> bool:
    """Whether kernels can be compiled to PTX in this process."""
    return not is_simulator() and all(importlib.util.find_spec(name) for name in ("numba_cuda", "cuda"))


# ------------------------------------------------------------------------------------------------------- the compiler


@functools.cache
def _device_functions() -> Mapping[str, object]:
    """The vocabulary as numba-cuda intrinsics."""
    from numba import cuda
    from numba.cuda.extending import intrinsic

    from . import namespace

    def wrapped(name: str):
        known = namespace.NAMESPACE[name]

        def emit(context, builder, signature, values):
            return known.emit(builder, signature.args, *values)

        # numba reads the parameters off the function
        typed = (
            lambda typing_context: (known.signature(), emit),
            lambda typing_context, x: (known.signature(x), emit),
            lambda typing_context, x, y: (known.signature(x, y), emit),
            lambda typing_context, x, y, z: (known.signature(x, y, z), emit),
            lambda typing_context, x, y, z, w: (known.signature(x, y, z, w), emit),
        )[namespace.ARITY[name]]
        typed.__name__ = typed.__qualname__ = name
        return intrinsic(typed)

    functions = {name: wrapped(name) for name in namespace.NAMESPACE}
    return {**functions, **DTYPES, "cuda": cuda, "inf": math.inf, "nan": math.nan}


def compile_to_ptx(source: str, functions: Sequence[str], cc: tuple[int, int], threads: int) -> str:
    """Compile functions of a piece of generated source into one PTX module for a compute capability such as ``(9, 0)``.

    Each becomes an entry point ``flamework_<name>`` of 64-bit parameters for blocks of at most ``threads`` threads.
    Multiplications and additions are not contracted, so that results are those of the source. Raises
    :class:`ToolchainMissing` without numba-cuda, and :class:`KernelCompilationError`, which quotes the source, if the
    source does not compile.
    """
    if not has_compiler():
        raise ToolchainMissing(
            "compiling for a GPU needs numba-cuda and NVIDIA's compiler, and no NUMBA_ENABLE_CUDASIM: "
            "pip install 'flamework[cuda]'"
        )
    from numba.cuda import compiler
    from numba.cuda.cudadrv import nvvm

    scope = dict(_device_functions())
    modules: list[str] = []
    symbols: dict[str, str] = {}
    try:
        exec(compile(source, "<flamework kernel>", "exec"), scope)  # noqa: S102  (our own generated text)
        for name in functions:
            parameters = scope[name].__code__.co_argcount
            if parameters > MOST_PARAMETERS:
                raise ValueError(f"{parameters} arguments, more than the {MOST_PARAMETERS} that a launch can pass")
            # The public numba.cuda.compile has no option for contraction; this is what it calls. With "at least one
            # block" said, ptxas does not spill registers to make room for another.
            signature = types.void(*[types.int64] * parameters)
            library, _ = compiler._compile_pyfunc_with_fixup(
                scope[name], signature, device=False, abi="numba", cc=cc, launch_bounds=(threads, 1)
            )
            modules += [unroll(text) for text in library.llvm_strs if text not in modules]
            symbols[library._entry_name] = SYMBOL_PREFIX + name
        text = nvvm.compile_ir(modules, arch=f"compute_{cc[0]}{cc[1]}", opt=3, fma=False)
    except Exception as error:
        raise KernelCompilationError(f"{type(error).__name__}: {error}\nin the source\n{source}") from error
    ptx = text.decode().rstrip("\x00").strip() + "\n"
    for mangled, symbol in symbols.items():
        ptx = ptx.replace(mangled, symbol)
    # numba's marker of an environment, which nothing refers to
    return re.sub(r"^\.common \.global .*NumbaEnv.*\n", "", ptx, flags=re.MULTILINE)


def unroll(llvm: str) -> str:
    """LLVM in which the marks of :data:`namespace.UNROLLING` stand where LLVM looks for them: at the branch back."""
    from .namespace import UNROLLING

    first = 1 + max((int(n) for n in re.findall(r"^!(\d+) =", llvm, re.MULTILINE)), default=-1)
    lines, nodes, mark = [], [], None
    for line in llvm.split("\n"):
        mark = next((text for text in UNROLLING.values() if f"!{text} " in line), mark)
        if mark and line.lstrip().startswith("br "):
            number = first + len(nodes)
            line += f", !llvm.loop !{number}"
            nodes += [f"!{number} = distinct !{{ !{number}, !{number + 1} }}", f'!{number + 1} = !{{ !"{mark}" }}']
            mark = None
        lines.append(line)
    return "\n".join([*lines, *nodes])


def ptx(kernel: Kernel | str, cc: tuple[int, int], threads: int = codegen_cuda.THREADS) -> str:
    """The PTX of a kernel, or of generated source, for a compute capability, such as ``(8, 0)``; see
    :func:`compile_to_ptx`."""
    source = kernel if isinstance(kernel, str) else codegen_cuda.generate(kernel, threads)
    return compile_to_ptx(source, re.findall(r"^def (\w+)\(", source, re.MULTILINE), cc, threads)


@functools.cache
def find_program(name: str) -> str:
    """The path of one of NVIDIA's programs: in its pip package beside the compiler, or on the search path."""
    found = None
    if importlib.util.find_spec("cuda") and importlib.util.find_spec("cuda.pathfinder"):
        from cuda import pathfinder

        found = pathfinder.find_nvidia_binary_utility(name)
    found = found or shutil.which(name)
    if found is None:
        raise ToolchainMissing(f"this needs NVIDIA's {name}: pip install 'flamework[cuda]'")
    return found


def _run(*command: str) -> subprocess.CompletedProcess[str]:
    finished = subprocess.run(command, capture_output=True, text=True, check=False)
    if finished.returncode:
        raise KernelCompilationError(f"{' '.join(command)}: {finished.stderr.strip()}")
    return finished


def sass_report(kernel: Kernel | str, cc: tuple[int, int], threads: int = codegen_cuda.THREADS) -> dict[str, int]:
    """What the machine code of a kernel, or of generated source, takes: ``registers`` of a thread, ``spills`` (bytes
    that do not fit into registers and are stored or loaded), ``shared`` bytes of a block, and how many ``barriers`` it
    names. Of several functions the largest.

    Raises :class:`ToolchainMissing` where the compiler or ``ptxas`` is not installed, and
    :class:`KernelCompilationError` where ptxas refuses, for example because it is older than the compiler.
    """
    return resources(ptx(kernel, cc, threads), cc)


def resources(text: str, cc: tuple[int, int]) -> dict[str, int]:
    """The same of PTX."""
    with tempfile.TemporaryDirectory() as folder:
        return read_report(_assembled(text, cc, Path(folder, "kernel.cubin")))


def sass(kernel: Kernel | str, cc: tuple[int, int], threads: int = codegen_cuda.THREADS) -> str:
    """A kernel's machine code as text, by ``nvdisasm``; raises as :func:`sass_report` does."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "kernel.cubin")
        _assembled(ptx(kernel, cc, threads), cc, path)
        return _run(find_program("nvdisasm"), "-c", str(path)).stdout


def _assembled(text: str, cc: tuple[int, int], path: Path) -> str:
    """Write the machine code of PTX to a file; returns what ``ptxas -v`` says."""
    source = path.with_suffix(".ptx")
    source.write_text(text)
    return _run(find_program("ptxas"), "-v", f"-arch=sm_{cc[0]}{cc[1]}", str(source), "-o", str(path)).stderr


def read_report(text: str) -> dict[str, int]:
    """The figures in what ``ptxas -v`` says; see :func:`sass_report`."""

    def largest(pattern: str) -> int:
        return max((int(n) for n in re.findall(pattern, text)), default=0)

    return {
        "registers": largest(r"Used (\d+) registers"),
        "spills": largest(r"(\d+) bytes spill (?:stores|loads)"),
        "shared": largest(r"(\d+) bytes smem"),
        "barriers": largest(r"used (\d+) barriers"),
    }


# ------------------------------------------------------------------------------------------------------ the simulator


def simulate(source: str, launches: Sequence[codegen_cuda.Launch], arguments: Sequence[object]) -> None:
    """Run functions of a piece of generated source in the simulator, one launch after the other.

    ``arguments`` are the kernel's in order: contiguous NumPy arrays for addresses, and for numbers their 64 bits as an
    integer. Arrays are written in place. Only in a process that began with ``NUMBA_ENABLE_CUDASIM=1``; raises
    ``RuntimeError`` elsewhere.

    Example::

        lowered = lower(cluster, fusion)
        kernel = lowered.kernel
        simulate(codegen_cuda.generate(kernel, 8), codegen_cuda.launches(kernel, 8), arguments)
    """
    if not is_simulator():
        raise RuntimeError("the simulator needs NUMBA_ENABLE_CUDASIM=1 in the environment before numba is imported")
    from numba import cuda

    from . import simulation

    scope = {**simulation.NAMESPACE, **DTYPES, "cuda": cuda, "empty": np.empty}
    source = simulation.SHARED_ARRAY.sub(r"\1 = shared_array('\1', ", source)
    exec(simulation.EXCHANGE, scope)  # noqa: S102
    exec(compile(source, "<flamework kernel>", "exec"), scope)  # noqa: S102  (our own generated text)
    passed = [simulation.Address(a) if isinstance(a, np.ndarray) else a for a in arguments]
    interval = sys.getswitchinterval()
    try:
        # at a barrier each of the threads waits for its turn: with Python's usual 5 ms a run takes five times as long
        sys.setswitchinterval(1e-4)
        with warnings.catch_warnings():
            # NumPy warns where IEEE arithmetic and integers that wrap around are meant
            warnings.simplefilter("ignore", RuntimeWarning)
            for launch in launches:
                scope["arrays"], scope["exchanged"] = {}, {}
                cuda.jit(scope[launch.function])[launch.blocks, launch.threads](*passed, launch.units)
    finally:
        sys.setswitchinterval(interval)
