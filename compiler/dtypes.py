"""Element types: their names, sizes, NumPy equivalents and promotion.

A :class:`DType` is a singleton; those below are all there are, and every other module compares them by
identity. ``kind`` orders the categories of PyTorch's promotion rules (bool < integer < floating point < complex). The
16-bit floats have no arithmetic of their own: ``narrow.py`` turns it into that of ``compute``. Complex numbers are two
of their ``part``: ``parts.py`` takes them apart.
Next chapter: ``ir.py``, which gives every node one of these.
"""

from __future__ import annotations

from typing import Any

import numpy as np

BOOL, INTEGER, FLOATING, COMPLEX = 0, 1, 2, 3


class DType:
    """One element type.

    Attributes:
        name: PyTorch's name, such as ``"float32"``.
        code: the short name used in kernels and their keys, such as ``"f32"``.
        itemsize: size of one element in bytes.
        kind: category for promotion: 0 bool, 1 integer, 2 floating point, 3 complex.
        numpy: the equivalent ``numpy.dtype``; of bfloat16 that of ``ml_dtypes``.
        compute: the dtype that arithmetic is done in.
        part: of a complex dtype that of the real and of the imaginary part, else the dtype itself.
        scalar_name: what PyTorch's messages call it, such as ``"Float"``.
    """

    __slots__ = ("name", "code", "itemsize", "kind", "numpy", "rank", "compute", "part", "scalar_name")

    def __init__(
        self, name: str, code: str, kind: int, rank: int, scalar_name: str, compute: DType | None = None,
        part: DType | None = None,
    ) -> None:
        self.name = name
        self.code = code
        self.scalar_name = scalar_name
        self.kind = kind
        self.itemsize = int(code.lstrip("abcdefghijklmnopqrstuvwxyz")) // 8
        self.rank = rank
        self.compute = self if compute is None else compute
        self.part = self if part is None else part
        if name != "bfloat16":
            self.numpy = np.dtype(name)

    def __getattr__(self, name: str) -> Any:
        # asked for what is not there: the package that knows bfloat16 is imported when somebody needs it
        if name != "numpy":
            raise AttributeError(f"'{type(self).__name__}' object has no attribute '{name}'")
        import ml_dtypes

        self.numpy = np.dtype(ml_dtypes.bfloat16)
        return self.numpy

    @property
    def is_floating_point(self) -> bool:
        return self.kind == FLOATING

    @property
    def is_complex(self) -> bool:
        return self.kind == COMPLEX

    @property
    def is_signed(self) -> bool:
        return self.kind >= FLOATING or self.code[0] == "i"

    def __repr__(self) -> str:
        return f"torch.{self.name}"

    def __reduce__(self):
        return (dtype_named, (self.name,))


bool_ = DType("bool", "b8", BOOL, 0, "Bool")
uint8 = DType("uint8", "u8", INTEGER, 1, "Byte")
int8 = DType("int8", "i8", INTEGER, 2, "Char")
int16 = DType("int16", "i16", INTEGER, 3, "Short")
int32 = DType("int32", "i32", INTEGER, 4, "Int")
int64 = DType("int64", "i64", INTEGER, 5, "Long")
float32 = DType("float32", "f32", FLOATING, 8, "Float")
float64 = DType("float64", "f64", FLOATING, 9, "Double")
float16 = DType("float16", "f16", FLOATING, 6, "Half", float32)
bfloat16 = DType("bfloat16", "bf16", FLOATING, 7, "BFloat16", float32)
complex64 = DType("complex64", "c64", COMPLEX, 10, "ComplexFloat", part=float32)
complex128 = DType("complex128", "c128", COMPLEX, 11, "ComplexDouble", part=float64)

ALL = (bool_, uint8, int8, int16, int32, int64, float16, bfloat16, float32, float64, complex64, complex128)
_BY_NAME = {d.name: d for d in ALL}
_BY_NUMPY = {d.numpy: d for d in ALL if d is not bfloat16}


def dtype_named(name: str) -> DType:
    """The dtype of that name; ``KeyError`` when there is none."""
    return _BY_NAME[name]


def from_numpy(dtype: np.dtype) -> DType:
    """The dtype equal to a NumPy dtype in native byte order; ``TypeError`` for one that has no equivalent."""
    found = _BY_NUMPY.get(np.dtype(dtype))
    if found is None and np.dtype(dtype).name == "bfloat16":
        return bfloat16
    if found is None:
        raise TypeError(
            f"can't convert np.ndarray of type {np.dtype(dtype)}. The only supported types are: "
            "float64, float32, float16, complex64, complex128, int64, int32, int16, int8, uint8, and bool."
        )
    return found


# What Python's types of numbers mean where a dtype is expected.
OF_PYTHON = {bool: bool_, int: int64, float: float64, complex: complex128}


def meant(dtype: DType | type | None) -> DType | None:
    """The dtype that was meant where one of Python's types was given."""
    return OF_PYTHON.get(dtype, dtype) if isinstance(dtype, type) else dtype


def complex_of(dtype: DType) -> DType:
    """The complex dtype of numbers that a floating point dtype is the part of."""
    return complex128 if dtype is float64 else complex64


def promote(a: DType, b: DType) -> DType:
    """The smallest dtype that holds both, by PyTorch's table: that of uint8 and int8 is int16, of the two 16-bit floats
    float32."""
    if a is b:
        return a
    if {a, b} == {uint8, int8}:
        return int16
    if {a, b} == {float16, bfloat16}:
        return float32
    if COMPLEX in (a.kind, b.kind) and float64 in (a, b):
        return complex128
    return a if a.rank > b.rank else b
