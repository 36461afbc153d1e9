"""The functions of cuBLASLt that Flamework calls, as nvmath-python has them, on a stand-in for NVIDIA's driver.

It is strict where the library is: about handles, attributes' sizes, leading dimensions, alignments, the workspace, and
the algorithm, which has to be one that was found for the very same descriptions. Products are NumPy's, in the precision
of the computation.
"""

import ctypes
from enum import IntEnum
from types import SimpleNamespace

import fake_cuda
import ml_dtypes
import numpy as np
from flamework.runtime import cublas


class Operation(IntEnum):
    N, T, C = 0, 1, 2


class CudaDataType(IntEnum):
    CUDA_R_32F, CUDA_R_64F, CUDA_R_16F, CUDA_R_16BF = 0, 1, 2, 14


class ComputeType(IntEnum):
    COMPUTE_32F, COMPUTE_64F, COMPUTE_32F_FAST_TF32 = 68, 70, 77


class MatmulDescAttribute(IntEnum):
    TRANSA, TRANSB, EPILOGUE, BIAS_POINTER = 3, 4, 7, 8


class MatrixLayoutAttribute(IntEnum):
    BATCH_COUNT, STRIDED_BATCH_OFFSET = 5, 6


class MatmulPreferenceAttribute(IntEnum):
    MAX_WORKSPACE_BYTES, REDUCTION_SCHEME_MASK = 1, 3
    MIN_ALIGNMENT_A_BYTES, MIN_ALIGNMENT_B_BYTES, MIN_ALIGNMENT_C_BYTES, MIN_ALIGNMENT_D_BYTES = 5, 6, 7, 8


class Epilogue(IntEnum):
    DEFAULT, BIAS = 1, 4


class ReductionScheme(IntEnum):
    NONE, INPLACE, COMPUTE_TYPE, OUTPUT_TYPE = 0, 1, 2, 4


ATTRIBUTES = {
    MatmulDescAttribute: {3: np.int32, 4: np.int32, 7: np.uint32, 8: np.int64},
    MatrixLayoutAttribute: {5: np.int32, 6: np.int64},
    MatmulPreferenceAttribute: {1: np.uint64, 3: np.uint32, 5: np.uint32, 6: np.uint32, 7: np.uint32, 8: np.uint32},
}
ELEMENTS = {0: np.float32, 1: np.float64, 2: np.float16, 14: ml_dtypes.bfloat16}
# For each way to compute: the types of the scales, the operands and the result.
COMPUTES = {68: {(0, 0, 0), (0, 2, 0), (0, 2, 2), (0, 14, 0), (0, 14, 14)}, 77: {(0, 0, 0)}, 70: {(1, 1, 1)}}


class cuBLASLtError(Exception):
    pass


class FakeCublasLt:
    """See the chapter's head.

    ``refuses`` says of a data type whether there is no algorithm for it, ``refuses_bias`` of adding a vector.
    ``products`` are those that ran: the way to compute, the dtype, transposes, (rows, columns, leading dimension,
    stride) of each matrix, batch, alignment, beta. ``stored`` are the dtypes of their results, and whether a vector was
    added.
    """

    MatmulDescAttribute, MatrixLayoutAttribute = MatmulDescAttribute, MatrixLayoutAttribute
    MatmulPreferenceAttribute, ReductionScheme = MatmulPreferenceAttribute, ReductionScheme
    Epilogue = Epilogue
    cuBLASLtError = cuBLASLtError
    matmul_heuristic_result_dtype = np.dtype([
        ("algo", [("data_", "<u8", (8,))]), ("workspace_size", "<u8"), ("state", "<i4"), ("waves_count", "<f4"),
        ("reserved", "<i4", (4,)),
    ])

    def __init__(self, driver, refuses=lambda kind: False):
        self.driver = driver
        self.refuses = refuses
        self.objects = {}
        self.algorithms = []
        self.products = []
        self.stored = []
        self.refuses_bias = False

    def made(self, kind, **values):
        handle = 1000 + self.driver.handle()
        self.objects[handle] = SimpleNamespace(kind=kind, **values)
        return handle

    def the(self, kind, handle):
        found = self.objects[handle]
        assert found.kind == kind
        return found

    def create(self):
        assert self.driver.current.context == "context 0"
        return self.made("handle")

    def matmul_desc_create(self, compute, scale):
        return self.made("desc", compute=int(compute), scale=int(scale), values={3: 0, 4: 0, 7: 1, 8: 0})

    def matrix_layout_create(self, type, rows, columns, leading):
        assert rows > 0 and columns > 0 and leading >= rows
        return self.made("layout", type=int(type), rows=rows, columns=columns, leading=leading, values={5: 1, 6: 0})

    def matmul_preference_create(self):
        return self.made("preference", values={1: 0, 3: 7, **dict.fromkeys((5, 6, 7, 8), 256)})

    def assigned(self, kind, attributes, handle, attribute, address, size):
        dtype = ATTRIBUTES[attributes][int(attribute)]
        assert size == np.dtype(dtype).itemsize
        self.the(kind, handle).values[int(attribute)] = np.frombuffer(ctypes.string_at(address, size), dtype)[0].item()

    def matmul_desc_set_attribute(self, *arguments):
        self.assigned("desc", MatmulDescAttribute, *arguments)

    def matrix_layout_set_attribute(self, *arguments):
        self.assigned("layout", MatrixLayoutAttribute, *arguments)

    def matmul_preference_set_attribute(self, *arguments):
        self.assigned("preference", MatmulPreferenceAttribute, *arguments)

    def get_matmul_desc_attribute_dtype(self, attribute):
        return ATTRIBUTES[MatmulDescAttribute][int(attribute)]

    def get_matrix_layout_attribute_dtype(self, attribute):
        return ATTRIBUTES[MatrixLayoutAttribute][int(attribute)]

    def get_matmul_preference_attribute_dtype(self, attribute):
        return ATTRIBUTES[MatmulPreferenceAttribute][int(attribute)]

    def matmul_desc_destroy(self, handle):
        self.the("desc", handle), self.objects.pop(handle)

    def matrix_layout_destroy(self, handle):
        self.the("layout", handle), self.objects.pop(handle)

    def matmul_preference_destroy(self, handle):
        self.the("preference", handle), self.objects.pop(handle)

    def problem(self, description, a, b, c, d):
        """What a product depends on, checked: types, transposes, sizes, batch."""
        desc = self.the("desc", description)
        a, b, c, d = (self.the("layout", x) for x in (a, b, c, d))
        assert a.type == b.type and c.type == d.type and (desc.scale, a.type, c.type) in COMPUTES[desc.compute]
        transposes = desc.values[3], desc.values[4]
        (m, k), (l, n) = ((x.columns, x.rows) if t else (x.rows, x.columns) for x, t in zip((a, b), transposes))
        assert k == l and (c.rows, c.columns) == (m, n) == (d.rows, d.columns) and c is d
        assert a.values[5] == b.values[5] == c.values[5] >= 1
        layouts = tuple((x.rows, x.columns, x.leading, x.values[6]) for x in (a, b, c))
        # a vector for all of a batch, at an address that says how it is aligned
        has_bias = desc.values[7] == Epilogue.BIAS
        assert bool(desc.values[8]) == has_bias and (not has_bias or c.type != 1)
        return desc.compute, (a.type, desc.scale, c.type), transposes, layouts, a.values[5], has_bias

    def matmul_algo_get_heuristic(self, handle, description, a, b, c, d, preference, wanted, results, count):
        self.the("handle", handle)
        assert wanted == 1
        values = self.the("preference", preference).values
        assert values[1] == cublas.WORKSPACE_BYTES and values[3] == 2
        problem = self.problem(description, a, b, c, d)
        if self.refuses(problem[1][0]) or (self.refuses_bias and problem[5]):
            raise cuBLASLtError("CUBLAS_STATUS_NOT_SUPPORTED")
        alignments = [values[x] for x in (5, 6, 7)]
        assert not self.the("desc", description).values[8] % alignments[2]
        self.algorithms.append((problem, alignments))
        found = np.zeros(1, self.matmul_heuristic_result_dtype)
        found["algo"]["data_"][0] = len(self.algorithms)
        ctypes.memmove(results, found.ctypes.data, found.nbytes)
        ctypes.c_int32.from_address(count).value = 1

    def matmul(
        self, handle, description, alpha, a, of_a, b, of_b, beta, c, of_c, d, of_d, algorithm, workspace, size, stream
    ):
        self.the("handle", handle)
        assert stream == fake_cuda.STREAM and c == d and self.driver.current.context == "context 0"
        problem = self.problem(description, of_a, of_b, of_c, of_d)
        known, alignments = self.algorithms[ctypes.c_uint64.from_address(algorithm).value - 1]
        assert known == problem, "the algorithm is another product's"
        assert not any(address % alignment for address, alignment in zip((a, b, c), alignments))
        assert size == cublas.WORKSPACE_BYTES and self.driver.span(workspace, size).size == size
        assert workspace % 256 == 0
        compute, kinds, transposes, layouts, batch, has_bias = problem
        stored, scale, computed = (np.dtype(ELEMENTS[kind]) for kind in kinds)
        scales = [np.frombuffer(ctypes.string_at(x, scale.itemsize), scale)[0] for x in (alpha, beta)]
        x, y, out = (
            self.matrices(address, dtype, *layout, batch)
            for address, dtype, layout in zip((a, b, c), (stored, stored, computed), layouts)
        )
        x, y = (z.swapaxes(1, 2) if t else z for z, t in zip((x, y), transposes))
        total = scales[0] * (x.astype(scale) @ y.astype(scale))
        total = total + scales[1] * out.astype(scale) if scales[1] else total
        if has_bias:
            where = self.the("desc", description).values[8]
            assert not where % alignments[2]
            bias = self.driver.span(where, layouts[2][0] * computed.itemsize).view(computed)
            total = total + bias.astype(scale)[:, None]
        out[...] = total.astype(computed)
        way = ComputeType(compute).name
        self.products.append((way, stored.name, transposes, layouts, batch, alignments[0], scales[1]))
        self.stored.append((computed.name, has_bias))

    def matrices(self, address, dtype, rows, columns, leading, stride, batch):
        """The matrices of a batch in the device's memory, which they may not leave."""
        last = (batch - 1) * stride + (columns - 1) * leading + rows
        memory = self.driver.span(address, last * dtype.itemsize).view(dtype)
        steps = (stride * dtype.itemsize, dtype.itemsize, leading * dtype.itemsize)
        return np.lib.stride_tricks.as_strided(memory, (batch, rows, columns), steps)


def installed(device, lt):
    """Let a GPU of the stand-in for the driver use this library."""
    before = cublas.bindings
    cublas.bindings = lambda: cublas.Bindings(lt, CudaDataType, ComputeType, Operation)
    try:
        device.products = cublas.CublasLt(device)
    finally:
        cublas.bindings = before
