"""Matrix products by NVIDIA's cuBLASLt, through the bindings of nvmath-python, where both are installed.

cuBLASLt's matrices are column-major. A row-major product ``c = a @ b`` is the column-major product ``c' = b' @ a'`` of
the same memory, and so ``b`` is its first operand here.

A product has the same bits each time: the first algorithm of the library's list is used, which depends on the product
and how it is stored, on whether its operands are aligned to 16 bytes and on the GPU, and whose workspace is our own. No
algorithm is taken that adds up parts in less than the precision of the computation. float32 is computed in TF32 only if
:data:`float32_precision` asks for it. 16-bit floats are added up in float32. A vector that is added to each row, and
the rounding to 16 bits, are the library's too where that is what is stored (``compiler/epilogues.py``).

In: operands described by strides. Out: :class:`Multiplication`, which is called with addresses.
Read next: ``gpu_plan.py``.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from ..compiler.cluster import Matrix
    from ..compiler.dtypes import DType
    from .nvidia import Nvidia

#: As ``torch.set_float32_matmul_precision`` names it: "highest" for float32, "high" or "medium" for TF32.
float32_precision = "highest"

#: What NVIDIA recommends for its newest GPUs. The stream's products use it one after the other.
WORKSPACE_BYTES = 32 << 20

#: The most that an algorithm's loads and stores need.
ALIGNMENT = 16

#: cuBLAS's name of each dtype of operands.
TYPES = {"float16": "CUDA_R_16F", "bfloat16": "CUDA_R_16BF", "float32": "CUDA_R_32F", "float64": "CUDA_R_64F"}

#: Its name of the way to compute a product of each dtype. Products of complex numbers are written with real ones.
WAYS = {"float32": "COMPUTE_32F", "float64": "COMPUTE_64F"}


class Bindings(NamedTuple):
    """The library's functions, and the numbers that NVIDIA gave to types, ways to compute and transposes."""

    lt: Any
    data_types: Any
    compute_types: Any
    operations: Any


@functools.cache
def bindings() -> Bindings:
    """Those of nvmath-python. Raises ImportError where it is not installed."""
    from nvmath import CudaDataType
    from nvmath.bindings import cublas, cublasLt

    return Bindings(cublasLt, CudaDataType, cublas.ComputeType, cublas.Operation)


@dataclass(frozen=True)
class Operand:
    """A column-major matrix in memory, and whether its transpose is meant."""

    rows: int
    columns: int
    leading: int
    transposed: bool


@dataclass(frozen=True)
class Product:
    """Products ``[batch, m, n]`` of operands of one dtype.

    Attributes:
        dtype: of the products, in which they are computed.
        stored: of the operands.
        first, second, result: the operands as the library sees them: the second, the first, and what is computed.
        batch: how many products one call computes.
        strides: elements from one of them to the next, in each.
        offsets: for each call the elements that come before, in each.
        accumulate: whether the product is added to what is there.
        rounded: the dtype in which it is stored.
        has_bias: whether a vector is added to each row, before it is rounded.
    """

    dtype: DType
    stored: DType
    first: Operand
    second: Operand
    result: Operand
    batch: int
    strides: tuple[int, int, int]
    offsets: tuple[tuple[int, int, int], ...]
    accumulate: bool
    rounded: DType
    has_bias: bool


def describe(
    dtype: DType, stored: DType, shape: tuple[int, int, int, int], a: Matrix, b: Matrix, accumulate: bool,
    rounded: DType, has_bias: bool,
) -> Product | None:
    """The product of operands ``[batch, m, k]`` and ``[batch, k, n]``, or None if the library does not compute it.

    Args:
        dtype: of the product.
        stored: of the operands: the same, or the 16-bit floats of a product in float32.
        shape: batch, m, n, k.
        rounded: in which it is stored: that of the product or of the operands.
    """
    batch, m, n, k = shape
    if dtype.name not in WAYS or 0 in shape or rounded not in (dtype, stored):
        return None
    first, second = (operand(*sizes, x.rows, x.columns) for x, sizes in ((b, (k, n)), (a, (m, k))))
    inner = next((x.batch[1][0] for x in (a, b) if len(x.batch) == 2), batch)
    steps = [x.batch_strides(inner) for x in (b, a)]
    if first is None or second is None or None in steps:
        return None
    steps.append((m * n * inner, m * n))
    outer = batch // inner
    if outer > 1 and all(far == near * inner for far, near in steps):
        steps, inner, outer = [(0, near) for _, near in steps], batch, 1
    if outer > inner:
        # one of the two is a loop of calls
        steps, inner, outer = [(near, far) for far, near in steps], outer, inner
    if any(near < 0 for _, near in steps):
        return None
    return Product(
        dtype, stored, first, second, Operand(n, m, n, False), inner, tuple(near for _, near in steps),
        tuple(tuple(i * far for far, _ in steps) for i in range(outer)), accumulate,
        rounded, has_bias,
    )


def operand(rows: int, columns: int, row_stride: int, column_stride: int) -> Operand | None:
    """The transpose of a matrix as column-major memory; None if its elements lie otherwise."""
    if (columns == 1 or column_stride == 1) and (rows == 1 or row_stride >= columns):
        return Operand(columns, rows, row_stride if rows > 1 else columns, False)
    if (rows == 1 or row_stride == 1) and (columns == 1 or column_stride >= rows):
        return Operand(rows, columns, column_stride if columns > 1 else rows, True)
    return None


class CublasLt:
    """The library on one GPU.

    Raises:
        ImportError: nvmath-python is not installed.
        RuntimeError: cuBLASLt is not.
    """

    def __init__(self, gpu: Nvidia) -> None:
        self.bindings = bindings()
        self.lt = self.bindings.lt
        gpu.enter()
        self.gpu = gpu
        self.handle = self.lt.create()

    @functools.cached_property
    def workspace(self) -> Any:
        return self.gpu.allocate(WORKSPACE_BYTES)

    def multiplication(self, product: Product) -> Multiplication | None:
        """How a product is computed; None if the library has no algorithm for it."""
        found = Multiplication(self, product)
        return None if found.variant(False, False) is None else found


class Multiplication:
    """A product of one plan, with what the library was told about it."""

    def __init__(self, cublas: CublasLt, product: Product) -> None:
        self.cublas = cublas
        self.product = product
        self.variants: dict[tuple[bool, bool], Variant | None] = {}
        scale = product.dtype.numpy
        # what the product and what was there are multiplied by; read when the library is called
        self.alpha, self.beta = np.ones(1, scale), np.full(1, product.accumulate, scale)
        sizes = product.stored.itemsize, product.stored.itemsize, product.rounded.itemsize
        #: for each call the bytes before each matrix
        self.offsets = [[x * size for x, size in zip(offsets, sizes)] for offsets in product.offsets]
        self.keeps_alignment = not any(offset % ALIGNMENT for offsets in self.offsets for offset in offsets)

    def variant(self, in_tf32: bool, is_aligned: bool) -> Variant | None:
        key = in_tf32, is_aligned
        if key not in self.variants:
            self.cublas.gpu.enter()
            self.variants[key] = Variant.found(self.cublas, self.product, in_tf32, is_aligned)
        return self.variants[key]

    def __call__(self, a: int, b: int, c: int, bias: int = 0) -> None:
        """Put the product on the GPU's stream, for operands, a result, and perhaps a vector at these addresses."""
        cublas = self.cublas
        gpu, lt = cublas.gpu, cublas.lt
        is_aligned = self.keeps_alignment and not (a | b | c | bias) % ALIGNMENT
        in_tf32 = self.product.stored.name == "float32" and float32_precision != "highest"
        variant = self.variant(in_tf32, is_aligned) or self.variant(False, False)
        assert variant is not None
        gpu.enter()
        if bias:
            variant.assign("matmul_desc", variant.description, lt.MatmulDescAttribute.BIAS_POINTER, bias)
        for of_b, of_a, of_c in self.offsets:
            result = c + of_c
            lt.matmul(
                cublas.handle, variant.description, self.alpha.ctypes.data, b + of_b, variant.first, a + of_a,
                variant.second, self.beta.ctypes.data, result, variant.result, result, variant.result,
                variant.algorithm.ctypes.data, cublas.workspace.address, WORKSPACE_BYTES, int(gpu.stream),
            )


class Variant:
    """The library's descriptions of a product, and its algorithm."""

    def __init__(self, cublas: CublasLt, product: Product, in_tf32: bool, is_aligned: bool) -> None:
        lt, types, ways, operations = cublas.bindings
        self.lt = lt
        computed, stored, rounded = (
            types[TYPES[dtype.name]] for dtype in (product.dtype, product.stored, product.rounded)
        )
        way = "COMPUTE_32F_FAST_TF32" if in_tf32 else WAYS[product.dtype.name]
        attribute = lt.MatmulDescAttribute
        self.description = lt.matmul_desc_create(ways[way], computed)
        for which, operand in ((attribute.TRANSA, product.first), (attribute.TRANSB, product.second)):
            self.assign("matmul_desc", self.description, which, operations.T if operand.transposed else operations.N)
        if product.has_bias:
            self.assign("matmul_desc", self.description, attribute.EPILOGUE, lt.Epilogue.BIAS)
            # a call gives the address; until then it is one that is not aligned better than they are
            somewhere = ALIGNMENT if is_aligned else product.rounded.itemsize
            self.assign("matmul_desc", self.description, attribute.BIAS_POINTER, somewhere)
        self.first, self.second, self.result = (
            self.layout(kind, operand, product.batch, stride)
            for kind, operand, stride in zip(
                (stored, stored, rounded), (product.first, product.second, product.result), product.strides
            )
        )
        self.preference = lt.matmul_preference_create()
        wanted = lt.MatmulPreferenceAttribute
        self.assign("matmul_preference", self.preference, wanted.MAX_WORKSPACE_BYTES, WORKSPACE_BYTES)
        schemes = lt.ReductionScheme.NONE | lt.ReductionScheme.COMPUTE_TYPE
        self.assign("matmul_preference", self.preference, wanted.REDUCTION_SCHEME_MASK, schemes)
        for name in "ABCD":
            alignment = ALIGNMENT if is_aligned else (product.stored if name in "AB" else product.rounded).itemsize
            self.assign("matmul_preference", self.preference, wanted[f"MIN_ALIGNMENT_{name}_BYTES"], alignment)
        self.algorithm = np.zeros(1, lt.matmul_heuristic_result_dtype)
        self.count = np.zeros(1, np.int32)

    @classmethod
    def found(cls, cublas: CublasLt, product: Product, in_tf32: bool, is_aligned: bool) -> Variant | None:
        """With the first algorithm of the library's list; None if there is none."""
        made = cls(cublas, product, in_tf32, is_aligned)
        try:
            cublas.lt.matmul_algo_get_heuristic(
                cublas.handle, made.description, made.first, made.second, made.result, made.result, made.preference, 1,
                made.algorithm.ctypes.data, made.count.ctypes.data,
            )
        except cublas.lt.cuBLASLtError:
            return None
        return made if made.count[0] and made.algorithm["state"][0] == 0 else None

    def layout(self, kind: int, operand: Operand, batch: int, stride: int) -> int:
        made = self.lt.matrix_layout_create(kind, operand.rows, operand.columns, operand.leading)
        attribute = self.lt.MatrixLayoutAttribute
        self.assign("matrix_layout", made, attribute.BATCH_COUNT, batch)
        self.assign("matrix_layout", made, attribute.STRIDED_BATCH_OFFSET, stride)
        return made

    def assign(self, kind: str, target: int, attribute: int, value: int) -> None:
        """Set an attribute of a description, of the type that the bindings say that it has."""
        array = np.array([value], getattr(self.lt, f"get_{kind}_attribute_dtype")(attribute))
        getattr(self.lt, f"{kind}_set_attribute")(target, attribute, array.ctypes.data, array.nbytes)

    def __del__(self) -> None:
        for name, destroy in (
            ("description", "matmul_desc"), ("first", "matrix_layout"), ("second", "matrix_layout"),
            ("result", "matrix_layout"), ("preference", "matmul_preference"),
        ):
            if hasattr(self, name):
                getattr(self.lt, f"{destroy}_destroy")(getattr(self, name))
