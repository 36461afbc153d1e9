"""Kernels by their source: in memory, in the disk cache, or compiled now.

The only module that decides to compile. A kernel's identity is its source text together with everything that decides
what the text means: the processor, LLVM's version, and the sources of ``kernels/cpu``, which supply the functions that
the text names. Nothing else is in the key, because nothing else reaches the code.

Read next: ``cache.py`` for the disk, ``plan.py`` for who asks.
"""

from __future__ import annotations

import functools
import hashlib
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from ..kernels.cpu import blas, contraction, depthwise, driver
from . import events, loader
from .cache import KernelCache
from .counters import COUNTERS
from .log import ENABLED, log
from .threads import Pool


class Kernels:
    """The kernels of this process, by source."""

    def __init__(self) -> None:
        self.loaded: dict[str, loader.LoadedKernels] = {}
        self.lock = threading.RLock()

    @functools.cached_property
    def cache(self) -> KernelCache:
        return KernelCache()

    def get(self, source: str, functions: Sequence[str]) -> loader.LoadedKernels:
        """The functions of a piece of generated source, as addresses. Compiles at most once for a source."""
        found = self.loaded.get(source)
        if found is None:
            with self.lock:
                found = self.loaded.get(source)
                if found is None:
                    key = {"kind": "kernel", "source": source, "functions": ",".join(functions)}
                    found = self.loaded[source] = self.find(key, source, functions)
        return found

    def find(
        self,
        key: Mapping[str, str],
        source: str,
        functions: Sequence[str],
        namespace: Mapping[str, object] | Callable[[], Mapping[str, object]] | None = None,
        signatures: Mapping[str, str] | None = None,
    ) -> loader.LoadedKernels:
        """Load from the disk cache, or compile and keep there."""
        from ..kernels.cpu.target import target_description

        key = {**key, "library": library_version(), **target_description()}
        entry = self.cache.get(key)
        if entry is not None:
            if ENABLED.cache:
                log("cache", f"hit {digest(source)}")
            return loader.load_object(entry.object_code, entry.symbols)
        from ..kernels.cpu import scalar, toolchain

        started = time.perf_counter()
        if callable(namespace):
            namespace = namespace()  # it needs numba
        with events.span("compilation", events.COMPILE, source=digest(source)):
            compiled = toolchain.compile_kernels(source, functions, namespace or scalar.NAMESPACE, signatures)
        COUNTERS.kernels_compiled += 1
        if ENABLED.kernel:
            log("kernel", f"compiled {digest(source)} in {1e3 * (time.perf_counter() - started):.0f} ms")
        self.cache.put(key, compiled.object_code, compiled.symbols)
        return loader.load_object(compiled.object_code, compiled.symbols)

    @functools.cached_property
    def gemm(self) -> loader.LoadedKernels:
        """The kernels that call BLAS."""
        with self.lock:
            return self.find(
                blas.gemm_key_parts(), blas.GEMM_SOURCE, blas.GEMM_FUNCTIONS, blas.GEMM_NAMESPACE,
            )

    @functools.cached_property
    def contraction(self) -> loader.LoadedKernels:
        """The kernels of products whose operands are read through tables."""
        key, source = contraction.contraction_key_parts(), contraction.contraction_source()
        with self.lock:
            return self.find(key, source, contraction.CONTRACTION_FUNCTIONS, contraction.contraction_namespace)

    @functools.cached_property
    def depthwise(self) -> loader.LoadedKernels:
        """The kernels of depthwise convolutions."""
        key, source = depthwise.depthwise_key_parts(), depthwise.depthwise_source()
        with self.lock:
            return self.find(key, source, depthwise.DEPTHWISE_FUNCTIONS, depthwise.depthwise_namespace)

    @functools.cached_property
    def pool(self) -> Pool:
        """The driver and its threads."""
        with self.lock:
            self.driver = self.find(
                driver.driver_key_parts(), driver.DRIVER_SOURCE, list(driver.DRIVER_SIGNATURES),
                driver.DRIVER_NAMESPACE, driver.DRIVER_SIGNATURES,
            )
            return Pool(self.driver.addresses)


@functools.cache
def library_version() -> str:
    """A digest of the sources that define what names in generated code mean."""
    folder = Path(driver.__file__).parent
    digester = hashlib.sha256()
    for path in sorted(folder.glob("*.py")):
        digester.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return digester.hexdigest()


def digest(source: str) -> str:
    """A short name for a kernel."""
    return hashlib.sha256(source.encode()).hexdigest()[:12]


KERNELS = Kernels()
