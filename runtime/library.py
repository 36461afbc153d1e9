"""Operations that a library of Python computes, as steps of a plan.

The row's NumPy reference is what runs: factorisations and transforms, which LAPACK and pocketfft do better than we
could. A step is a C function like any kernel, which takes the interpreter's lock, makes arrays over the operands and
the result where they lie, and calls it. It runs on the thread that runs the plan.

In: a node of kind ``library``. Out: a :class:`Call` with an address for the tape.
"""

from __future__ import annotations

import ctypes

import numpy as np

from ..compiler.ir import Node, TensorType

_FUNCTION = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64)


class Call:
    """One library operation.

    Attributes:
        address: of the C function ``(args, start, stop)``; ``args`` are the addresses of the operands, of the result,
            and of the error word.
        error: what the operation raised, or None.
    """

    def __init__(self, node: Node) -> None:
        self.op, self.params, self.type = node.op, node.params, node.type
        self.operands = [x.type for x in node.src]
        self.error: Exception | None = None
        self._function = _FUNCTION(self._run)
        self.address = ctypes.cast(self._function, ctypes.c_void_p).value

    def _run(self, args: int, start: int, stop: int) -> None:
        addresses = (ctypes.c_int64 * (len(self.operands) + 2)).from_address(args)
        try:
            arrays = [array_at(address, kind) for address, kind in zip(addresses, self.operands)]
            with np.errstate(all="ignore"):
                array_at(addresses[-2], self.type)[...] = self.op.reference(self.params, *arrays)
        except Exception as error:  # noqa: BLE001, whatever it is, it must not reach the C function that called this
            self.error = error
            ctypes.c_int64.from_address(addresses[-1]).value = 1


def array_at(address: int, type: TensorType) -> np.ndarray:
    """The memory of a value as an array; without elements it has none."""
    if type.size == 0:
        return np.empty(type.shape, type.dtype.numpy)
    memory = (ctypes.c_uint8 * type.nbytes).from_address(address)
    return np.frombuffer(memory, np.uint8).view(type.dtype.numpy).reshape(type.shape)
