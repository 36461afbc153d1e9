"""Programs of `kernels/cpu` in this process."""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Callable

from flamework.kernels.cpu.programs import Program
from flamework.runtime.loader import load_object


def loaded_for_both(program_of: Callable[[str], Program]) -> ChainMap[str, int]:
    """The functions of a program for float32 and for float64, by name."""
    compiled = [program_of(code).compile() for code in ("f32", "f64")]
    return ChainMap(*[load_object(x.object_code, x.symbols) for x in compiled])
