"""Kernels for GPUs by their source: in the disk cache, or compiled now.

In: generated source. Out: PTX. Read next: ``kernels/cuda/toolchain.py``, which compiles.
"""

from __future__ import annotations

import functools
import hashlib
from pathlib import Path

from .counters import COUNTERS
from .kernels import KERNELS


def machine_code(source: str, cc: tuple[int, int], threads: int) -> bytes:
    """The PTX of all functions of a source for a compute capability, which the driver makes machine code of."""
    key = {
        "kind": "ptx", "source": source, "cc": f"{cc[0]}.{cc[1]}", "threads": str(threads), "library": _version(),
        "cpu": "gpu",
    }
    entry = KERNELS.cache.get(key)
    if entry is not None:
        return entry.object_code
    from ..kernels.cuda import toolchain

    text = toolchain.ptx(source, cc, threads).encode() + b"\0"
    COUNTERS.kernels_compiled += 1
    KERNELS.cache.put(key, text, {})
    return text


@functools.cache
def _version() -> str:
    """A digest of what decides the meaning of a source: the vocabulary, and the versions of the compilers."""
    import importlib.metadata

    from ..kernels import cpu, cuda

    digester = hashlib.sha256()
    for folder in (Path(cuda.__file__).parent, Path(cpu.__file__).parent):
        for path in sorted(folder.glob("*.py")):
            digester.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    for package in ("numba-cuda", "nvidia-nvvm"):
        try:
            digester.update(importlib.metadata.version(package).encode() + b"\0")
        except importlib.metadata.PackageNotFoundError:
            digester.update(b"none\0")
    return digester.hexdigest()
