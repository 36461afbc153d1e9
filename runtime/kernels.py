"""Kernels by their source: in memory, in the disk cache, or compiled now.

The only module that decides to compile. A kernel's identity is its source text together with everything that decides
what the text means: the processor, LLVM's version, and the sources of ``kernels/cpu``, which supply the functions that
the text names. Nothing else is in the key, because nothing else reaches the code.

Read next: ``cache.py`` for the disk, ``compilers.py`` for compiling, ``plan.py`` for who asks.
"""

from __future__ import annotations

import functools
import hashlib
import threading
from collections.abc import Iterable
from pathlib import Path

from ..kernels.cpu import driver
from ..kernels.cpu.programs import DRIVER, Program
from . import events, loader
from .cache import KernelCache
from .compilers import compile_programs
from .counters import COUNTERS
from .log import ENABLED, log
from .threads import Pool


class Kernels:
    """The kernels of this process, by program."""

    def __init__(self) -> None:
        self.loaded: dict[Program, loader.LoadedKernels] = {}
        self.lock = threading.RLock()

    @functools.cached_property
    def cache(self) -> KernelCache:
        return KernelCache()

    def get(self, program: Program) -> loader.LoadedKernels:
        """The functions of a program, as addresses. Compiles at most once for a program."""
        found = self.loaded.get(program)
        if found is None:
            self.prepare([program])
            found = self.loaded[program]
        return found

    def prepare(self, programs: Iterable[Program]) -> None:
        """Load programs from the disk cache, and compile those that are not there."""
        from ..kernels.cpu.target import target_description

        with self.lock:
            missing: dict[Program, dict[str, str]] = {}
            for program in programs:
                if program in self.loaded or program in missing:
                    continue
                key = {**program.key_parts(), "library": library_version(), **target_description()}
                entry = self.cache.get(key)
                if entry is None:
                    missing[program] = key
                    continue
                if ENABLED.cache:
                    log("cache", f"hit {digest(program.source)}")
                self.loaded[program] = loader.load_object(entry.object_code, entry.symbols)
            compiled = compile_programs(list(missing))
            for _ in missing:
                with events.span("compilation", events.COMPILE):
                    program, (object_code, symbols) = next(compiled)
                COUNTERS.kernels_compiled += 1
                if ENABLED.kernel:
                    log("kernel", f"compiled {digest(program.source)}")
                self.cache.put(missing[program], object_code, symbols)
                self.loaded[program] = loader.load_object(object_code, symbols)

    @functools.cached_property
    def driver(self) -> loader.LoadedKernels:
        """What runs tapes."""
        return self.get(DRIVER)

    @functools.cached_property
    def pool(self) -> Pool:
        """The driver and its threads."""
        with self.lock:
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
