"""Element types: their names, sizes, NumPy equivalents and promotion.

A :class:`DType` is a singleton; the eight below are all there are, and every other module compares them by
identity. ``kind`` orders the categories of PyTorch's promotion rules (bool < integer < floating point).
Next chapter: ``ir.py``, which gives every node one of these.
"""

from __future__ import annotations

import numpy as np

BOOL, INTEGER, FLOATING = 0, 1, 2


class DType:
    """One element type.

    Attributes:
        name: PyTorch's name, such as ``"float32"``.
        code: the short name used in kernels and their keys, such as ``"f32"``.
        itemsize: size of one element in bytes.
        kind: category for promotion: 0 bool, 1 integer, 2 floating point.
        numpy: the equivalent ``numpy.dtype``.
    """

    __slots__ = ("name", "code", "itemsize", "kind", "numpy", "rank")

    def __init__(self, name: str, code: str, kind: int, rank: int) -> None:
        self.name = name
        self.code = code
        self.kind = kind
        self.numpy = np.dtype(name)
        self.itemsize = self.numpy.itemsize
        self.rank = rank

    @property
    def is_floating_point(self) -> bool:
        return self.kind == FLOATING

    @property
    def is_complex(self) -> bool:
        return False

    @property
    def is_signed(self) -> bool:
        return self.kind == FLOATING or self.code[0] == "i"

    def __repr__(self) -> str:
        return f"torch.{self.name}"

    def __reduce__(self):
        return (dtype_named, (self.name,))


bool_ = DType("bool", "b8", BOOL, 0)
uint8 = DType("uint8", "u8", INTEGER, 1)
int8 = DType("int8", "i8", INTEGER, 2)
int16 = DType("int16", "i16", INTEGER, 3)
int32 = DType("int32", "i32", INTEGER, 4)
int64 = DType("int64", "i64", INTEGER, 5)
float32 = DType("float32", "f32", FLOATING, 6)
float64 = DType("float64", "f64", FLOATING, 7)

ALL = (bool_, uint8, int8, int16, int32, int64, float32, float64)
_BY_NAME = {d.name: d for d in ALL}
_BY_NUMPY = {d.numpy: d for d in ALL}


def dtype_named(name: str) -> DType:
    """The dtype of that name; ``KeyError`` when there is none."""
    return _BY_NAME[name]


def from_numpy(dtype: np.dtype) -> DType:
    """The dtype equal to a NumPy dtype in native byte order; ``TypeError`` for one that has no equivalent."""
    found = _BY_NUMPY.get(np.dtype(dtype))
    if found is None:
        raise TypeError(
            f"can't convert np.ndarray of type {np.dtype(dtype)}. The only supported types are: "
            "float64, float32, int64, int32, int16, int8, uint8, and bool."
        )
    return found


def promote(a: DType, b: DType) -> DType:
    """The smallest dtype that holds both, by PyTorch's table (uint8 with int8 gives int16)."""
    if a is b:
        return a
    if {a, b} == {uint8, int8}:
        return int16
    return a if a.rank > b.rank else b
