"""Every row of the table of primitives on a GPU, through the engine, with the data of ``primitive_cases.py``.

On a real GPU the tests call :func:`problem`. In the simulator, which has to be asked for before anything is imported,
this file is run as a program of its own, with the number of a part of the rows, and prints for each of them as JSON
what went wrong.
"""

from __future__ import annotations

import json
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "compiler"))

import graphs  # noqa: E402, the folder of tests of the compiler is not on the path
import numpy as np  # noqa: E402
from flamework.compiler import dtypes  # noqa: E402
from flamework.compiler.dtypes import DType  # noqa: E402
from flamework.compiler.ir import Node, tensor_type  # noqa: E402
from flamework.compiler.primitives import input_  # noqa: E402
from flamework.runtime import engine  # noqa: E402
from primitive_cases import CASES, ROWS, Case, is_float  # noqa: E402

DEVICE = "cuda:0"
PARTS = 2
NAMES = list(CASES)

#: How many elements the largest source of a row has at least in a test at a large size.
LARGE = 1 << 20


def on_gpu(array: np.ndarray) -> Node:
    """An input in the memory of the GPU."""
    array = np.ascontiguousarray(array).reshape(array.shape)
    type = tensor_type(array.shape, dtypes.from_numpy(array.dtype), DEVICE)
    needs = is_float(array.dtype) or array.dtype.kind == "c"
    return Node(input_, (), (), type, engine.buffer_from_numpy(array, DEVICE), needs)


def parameters(case: Case, dtype: DType) -> tuple:
    """A case's parameters, of which one is the device where it makes a tensor."""
    return tuple(DEVICE if param == "cpu" else param for param in case.parameters(dtype))


def small(name: str) -> Iterator[tuple[Node, Case]]:
    """A row in all its cases: the first with every dtype, the others with a float, an integer and bools."""
    row = ROWS[name]
    for case in CASES[name]:
        accepted = case.accepted(row)
        if case is not CASES[name][0]:
            accepted = [d for d in (dtypes.float32, dtypes.int16, dtypes.bool_) if d in accepted] or accepted[:1]
        for dtype in accepted:
            yield row(*map(on_gpu, case.arrays(dtype)), params=parameters(case, dtype)), case


def large_case(name: str) -> Case | None:
    """The case of a row that :func:`large` makes large, if there is one."""
    return next((case for case in CASES[name] if case.batched and all(0 not in o.shape for o in case.operands)), None)


def large(name: str, least: int = LARGE) -> Iterator[tuple[Node, Case]]:
    """A row at a large size: one case with every dtype, each source with a long leading axis by the row's rule for
    batches, and a number of elements that no power of two divides.

    Args:
        least: how many elements the largest source has at least; of what a library computes, a thousandth of it.
    """
    row, case = ROWS[name], large_case(name)
    least = least >> 10 if row.kind == "library" else least
    count = least // max(1, *(int(np.prod(o.shape)) for o in case.operands)) | 1
    for dtype in case.accepted(row):
        seeds = [case.arrays(dtype, seed) for seed in range(5)]
        chosen = np.random.default_rng(0).integers(0, len(seeds), count)
        sources = [on_gpu(np.stack(arrays)[chosen]) for arrays in zip(*seeds)]
        yield row.batch(parameters(case, dtype), sources), case


def problem(uses: Iterator[tuple[Node, Case]], least: float = 0) -> str | None:
    """What is wrong with these uses of a row, computed in one program, or None.

    Args:
        least: the relative error that is allowed to all.
    """
    try:
        roots, cases = zip(*uses)
        with np.errstate(all="ignore"):
            wanted = graphs.expected(*roots)
        for root, case, found, value in zip(roots, cases, graphs.computed(*roots), wanted):
            rtol = max(case.rtol, least)
            graphs.assert_same(found, value, f"{root.op.name}{list(root.params)} {root.type}", rtol=rtol, atol=rtol)
            assert root.value is None or root.value.gpu.name == DEVICE or not root.type.size
    except Exception:
        return traceback.format_exc(limit=-6)
    return None


def main() -> None:
    from flamework.compiler import codegen_cuda

    # as seen by blocks of the simulator's eight threads: several warps, and more accumulators than shared memory holds
    codegen_cuda.WARP, codegen_cuda.SHARED_BYTES = 2, 64
    names = NAMES[int(sys.argv[1]) :: PARTS]
    print(json.dumps({name: problem(small(name), least=3e-5) for name in names}))


if __name__ == "__main__":
    main()
