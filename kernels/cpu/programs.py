"""What can be compiled: generated kernels, and the programs of this folder that every plan may call.

In: source text. Out: `Program`, which is all that a process needs to compile it, and those of this folder.
Read next: `toolchain.py`, which compiles, and `flamework.runtime.kernels`, which keeps what was compiled.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from . import blas, contraction, depthwise, driver

if TYPE_CHECKING:
    from .toolchain import Compiled


@dataclass(frozen=True, slots=True)
class Program:
    """Source text and the names of the functions in it to compile.

    `kind` says what the text may use beside the intrinsics: `kernel` is what the code generator writes.
    """

    source: str
    functions: tuple[str, ...]
    kind: str = "kernel"

    def key_parts(self) -> dict[str, str]:
        """What decides its object code, beside the target and the sources of this folder."""
        return {"kind": self.kind, "source": self.source, "functions": ",".join(self.functions)}

    def compile(self) -> Compiled:
        """Compile it; raises `KernelCompilationError`."""
        from . import toolchain

        signatures = driver.DRIVER_SIGNATURES if self.kind == "driver" else None
        return toolchain.compile_kernels(self.source, self.functions, _VOCABULARIES[self.kind](), signatures)


def _scalars() -> Mapping[str, object]:
    from . import scalar  # it needs numba

    return scalar.NAMESPACE


_VOCABULARIES: dict[str, Callable[[], Mapping[str, object]]] = {
    "kernel": _scalars,
    "gemm": lambda: blas.GEMM_NAMESPACE,
    "contraction": contraction.contraction_namespace,
    "depthwise": depthwise.depthwise_namespace,
    "driver": lambda: driver.DRIVER_NAMESPACE,
}

#: What runs a plan's tape.
DRIVER = Program(driver.DRIVER_SOURCE, tuple(driver.DRIVER_SIGNATURES), "driver")


@functools.cache
def gemm(dtype: str) -> Program:
    """The kernel that calls BLAS, for the code of a dtype, such as ``f32``."""
    return Program(blas.gemm_source(dtype), (f"gemm_{dtype}",), "gemm")


@functools.cache
def contraction_of(dtype: str) -> Program:
    """The kernels of products whose operands are read through tables."""
    return Program(contraction.contraction_source(dtype), (f"pack_{dtype}", f"contract_{dtype}"), "contraction")


@functools.cache
def depthwise_of(dtype: str) -> Program:
    """The kernels of depthwise convolutions."""
    return Program(depthwise.depthwise_source(dtype), (f"depthwise_{dtype}", f"filters_{dtype}"), "depthwise")
