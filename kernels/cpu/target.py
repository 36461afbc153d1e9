"""The processor that kernels are compiled for.

Kernels are compiled for the machine that runs them, with every instruction-set extension that it has, so the
description of the target is part of the key of every cached kernel. This module imports llvmlite and nothing else:
a process that finds all its kernels in the cache needs the description, and must not pay for importing numba.

In: nothing. Out: `target_description()` for cache keys and `create_target_machine()` for code generation.
Read next: `toolchain.py`, which compiles for this target, and `flamework.runtime.loader`, which loads the result.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.metadata
import importlib.resources
import threading

import llvmlite
import llvmlite.binding as llvm

#: The modules that decide what object code a given source becomes.
_COMPILER_MODULES = ("intrinsics.py", "numba_lowering.py", "system.py", "target.py", "toolchain.py")

_initialise_lock = threading.Lock()
_initialised = False


def initialise_llvm() -> None:
    """Register LLVM's native target and assembler, once a process."""
    global _initialised
    with _initialise_lock:
        if not _initialised:
            llvm.initialize_native_target()
            llvm.initialize_native_asmprinter()
            _initialised = True


@functools.cache
def target_features() -> dict[str, bool]:
    """The host's instruction-set extensions by LLVM's names, for example `{"avx2": True, "avx512f": False}`."""
    try:
        return dict(llvm.get_host_cpu_features())
    except RuntimeError:
        # LLVM cannot enumerate features on every platform. The processor's name alone then selects them.
        return {}


def has_feature(name: str) -> bool:
    """Whether the host has the extension that LLVM calls `name`."""
    return target_features().get(name, False)


@functools.cache
def target_description() -> dict[str, str]:
    """Everything about this machine and this compiler that decides which object code is right.

    Returns a dictionary of strings: LLVM's triple, processor name and feature string, the versions of LLVM, llvmlite
    and numba, and a digest of our own compiler's text. All of it belongs in the key of a cached kernel.

    Example: `target_description()["triple"]` is `"x86_64-unknown-linux-gnu"` on a usual Linux machine.
    """
    features = ",".join(("+" if on else "-") + name for name, on in sorted(target_features().items()))
    return {
        "triple": llvm.get_process_triple(),
        "cpu": llvm.get_host_cpu_name(),
        "features": features,
        "llvm": ".".join(map(str, llvm.llvm_version_info)),
        "llvmlite": llvmlite.__version__,
        "numba": importlib.metadata.version("numba"),
        "codegen": _compiler_digest(),
    }


def _compiler_digest() -> str:
    """SHA-256 of the modules that compile, so that an edited compiler never meets kernels of the old one."""
    digest = hashlib.sha256()
    for name in _COMPILER_MODULES:
        digest.update(importlib.resources.files(__package__).joinpath(name).read_bytes())
    return digest.hexdigest()


def create_target_machine() -> llvm.TargetMachine:
    """A new LLVM target machine for the host, set up for code that is loaded into this process."""
    initialise_llvm()
    description = target_description()
    target = llvm.Target.from_triple(description["triple"])
    # The large code model ("jitdefault" on 64-bit hosts) with static relocation lets a kernel reach libm from
    # wherever the loader puts it; only on x86 does LLVM accept static relocation for that.
    reloc = "static" if target.name.startswith("x86") else "default"
    return target.create_target_machine(
        cpu=description["cpu"],
        features=description["features"],
        opt=3,
        reloc=reloc,
        codemodel="jitdefault",
        jit=True,
    )
