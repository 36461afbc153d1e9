"""Object code into this process.

Compiled kernels are relocatable objects, fresh from the toolchain or read from the cache. LLVM's ORC linker places
one in memory and gives the addresses of its functions, in about 0.2 ms; the process pays once for importing llvmlite
and never for numba.

In: object code and the symbols of its functions. Out: `LoadedKernels`, with callable addresses.
Read next: `cache.py`, where the object code is kept, and `threads.py`, which calls the addresses.
"""

from __future__ import annotations

import itertools
import sys
import threading
from collections.abc import Mapping

from flamework.runtime.counters import COUNTERS

_lock = threading.Lock()
_linker = None
_names = itertools.count()


class LoadedKernels(dict[str, int]):
    """Functions of one object in this process: a dictionary of their addresses by name.

    The code stays in memory for as long as this dictionary lives, so whoever keeps an address keeps the dictionary.
    """

    __slots__ = ("_tracker",)

    def __init__(self, addresses: Mapping[str, int], tracker: object):
        super().__init__(addresses)
        self._tracker = tracker

    @property
    def addresses(self) -> LoadedKernels:
        """The addresses by name: the dictionary itself, so that they cannot outlive the code."""
        return self


def load_object(object_code: bytes, symbols: Mapping[str, str]) -> LoadedKernels:
    """Link an object into this process.

    `symbols` maps names, as the caller wants to use them, to the object's symbols. Raises `RuntimeError` if the
    object is not for this machine, lacks a symbol, or needs one that neither libc nor libm has.

    Example: `load_object(compiled.object_code, compiled.symbols)["double"]` is the address of the kernel `double`.
    """
    global _linker
    with _lock:
        import llvmlite.binding as llvm

        if _linker is None:
            _linker = _create_linker(llvm)
        builder = llvm.JITLibraryBuilder().add_object_img(object_code).add_current_process()
        for symbol in symbols.values():
            builder.export_symbol(symbol)
        # Each object is a library of its own, so that equal symbols in two objects do not meet.
        tracker = builder.link(_linker, f"flamework_{next(_names)}")
        COUNTERS.kernels_loaded += len(symbols)
        return LoadedKernels({name: tracker[symbol] for name, symbol in symbols.items()}, tracker)


def _create_linker(llvm):
    from flamework.kernels.cpu.target import create_target_machine

    if sys.platform.startswith("linux"):
        # An extension module brings in libm for itself alone; kernels look for it in the process's global scope.
        try:
            llvm.load_library_permanently("libm.so.6")
        except RuntimeError:
            pass  # another C library, such as musl, has the functions in libc
    return llvm.create_lljit_compiler(create_target_machine(), suppress_errors=True)
