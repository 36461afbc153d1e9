"""Matrix products: BLAS's gemm as a kernel like any other.

The product itself is OpenBLAS's, through the function pointers that SciPy exports for Cython. The driver calls it on
tiles of the result, which are its units of work, so that a product takes part in a tape and uses the threads of our own
pool; OpenBLAS's copy is told to use one. Tiles depend on the shape alone, so the result has the same bits on any number
of threads.

A product is described by the 24 words of `GEMM_WORDS`, in elements, not bytes:

    C[b, c, i, j] = sum over k of A[b, c, i, k] * B[b, c, k, j]  (+ C[b, c, i, j] if ACCUMULATE)

C's rows are contiguous. A and B have unit stride along rows (not transposed) or along columns (transposed), and a
leading dimension for the other. Two batch dimensions, b (outer) and c (inner), have strides of their own, which may be
zero; the units are batches times tiles. A column-major C is the product of the transposes, and `describe_gemm` makes
it one.

In: strides and shapes. Out: addresses of gemm, `gemm_tiles`, `describe_gemm`, and the kernels' source.
Read next: `driver.py`, which calls the kernels.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import importlib.machinery
import importlib.util
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

#: The words of a product's argument block, in order.
GEMM_WORDS = (
    "GEMM", "A", "B", "C", "M", "N", "K", "TILE_M", "TILE_N", "TILES_M", "TILES_N",
    "A_TRANSPOSED", "A_LEADING", "B_TRANSPOSED", "B_LEADING", "C_LEADING",
    "BATCH_INNER", "A_OUTER", "A_INNER", "B_OUTER", "B_INNER", "C_OUTER", "C_INNER", "ACCUMULATE",
)  # fmt: skip

_TEMPLATE = '''
def gemm_SHORT(args, start, stop):
    m = args[M]
    n = args[N]
    k = args[K]
    tile_m = args[TILE_M]
    tile_n = args[TILE_N]
    tiles_m = args[TILES_M]
    tiles_n = args[TILES_N]
    tiles = tiles_m * tiles_n
    words = stack_words(9)
    # Fortran sees row-major matrices as transposed, so it is asked for C' = B' A'.
    write_word(words, 84 if args[B_TRANSPOSED] != 0 else 78)  # "T" or "N"
    write_word(words + 8, 84 if args[A_TRANSPOSED] != 0 else 78)
    write_int32(words + 32, k)
    write_int32(words + 40, args[B_LEADING])
    write_int32(words + 48, args[A_LEADING])
    write_int32(words + 56, args[C_LEADING])
    one = stack_words(2)
    write_word(one, ONE_BITS)
    write_word(one + 8, ONE_BITS if args[ACCUMULATE] != 0 else 0)
    for unit in range(start, stop):
        batch = idiv_floor(unit, tiles)
        tile = unit - batch * tiles
        outer = idiv_floor(batch, args[BATCH_INNER])
        inner = batch - outer * args[BATCH_INNER]
        row_of_tiles = idiv_floor(tile, tiles_n)
        row = row_of_tiles * tile_m
        column = (tile - row_of_tiles * tiles_n) * tile_n
        rows = imin(tile_m, m - row)
        columns = imin(tile_n, n - column)
        a = outer * args[A_OUTER] + inner * args[A_INNER]
        a += row if args[A_TRANSPOSED] != 0 else row * args[A_LEADING]
        b = outer * args[B_OUTER] + inner * args[B_INNER]
        b += column * args[B_LEADING] if args[B_TRANSPOSED] != 0 else column
        c = outer * args[C_OUTER] + inner * args[C_INNER] + row * args[C_LEADING] + column
        if k > 0:
            write_int32(words + 16, columns)
            write_int32(words + 24, rows)
            call_gemm(
                args[GEMM], words, words + 8, words + 16, words + 24, words + 32, one,
                args[B] + b * BYTES, words + 40, args[A] + a * BYTES, words + 48,
                one + 8, args[C] + c * BYTES, words + 56,
            )
        elif args[ACCUMULATE] == 0:
            result = pointer_SHORT(args[C])
            for i in range(rows):
                for j in range(columns):
                    store(result, c + i * args[C_LEADING] + j, SHORT(0.0), 0)
'''



def gemm_source(short: str) -> str:
    """The kernel ``gemm`` of a dtype, compiled by `toolchain.compile_kernels` and cached like any other."""
    size, one = {"f32": (4, 0x3F800000), "f64": (8, 0x3FF0000000000000)}[short]
    return _TEMPLATE.replace("SHORT", short).replace("BYTES", str(size)).replace("ONE_BITS", str(one))


GEMM_NAMESPACE: Mapping[str, object] = {name: index for index, name in enumerate(GEMM_WORDS)}

#: A product is divided into 2, 4, 8 or more tiles if each then has at least so many operations. Measured on Zen 5 at
#: 115 GFLOP/s a core: dividing 512 x 512 x 512 into 8 costs 5 per cent, and 256 x 256 x 256 into 4, 10 per cent.
_LEAST_OPERATIONS = ((2, 2_000_000), (4, 8_000_000), (8, 16_000_000), (64, 128_000_000))


def gemm_tiles(m: int, n: int, k: int, batch: int) -> tuple[int, int]:
    """The tile of the result that one call of gemm computes, from the shape of the product alone.

    Large tiles are efficient, because gemm packs its operands anew for each call; many tiles keep many threads busy.
    The result is halved along its longer side for as long as its parts stay worth a call.
    Example: `gemm_tiles(512, 512, 512, 1)` is `(256, 128)`, which makes eight tiles.
    """
    tile_m, tile_n = m, n = max(m, 1), max(n, 1)
    parts_m = parts_n = 1
    while True:
        units = 2 * batch * parts_m * parts_n
        least = next((operations for limit, operations in _LEAST_OPERATIONS if units <= limit), None)
        if least is None or tile_m * tile_n * k < least:
            return tile_m, tile_n
        if tile_n >= tile_m:
            parts_n *= 2
        else:
            parts_m *= 2
        # Whole registers' worth of rows and columns, for the kernels of every processor.
        tile_m = min(m, (-(-m // parts_m) + 15) & -16)
        tile_n = min(n, (-(-n // parts_n) + 15) & -16)


@dataclass(frozen=True)
class GemmCall:
    """A product ready for a tape: its words, of which three are addresses to be filled in, and its units of work."""

    words: tuple[int, ...]
    units: int
    a_word: int  # where the address of A goes; B's and C's likewise
    b_word: int
    c_word: int


def describe_gemm(
    shape: tuple[int, int, int],
    a_strides: tuple[int, int, int, int],
    b_strides: tuple[int, int, int, int],
    c_strides: tuple[int, int, int, int],
    batch: tuple[int, int] = (1, 1),
    accumulate: bool = False,
    gemm_address: int = 0,
) -> GemmCall | None:
    """Describe C = A @ B, or C += A @ B if `accumulate`, over two batch dimensions.

    `shape` is (M, N, K). Strides are in elements, in the order (outer batch, inner batch, row, column). Returns None if
    BLAS cannot read or write an operand where it lies, because neither its rows nor its columns are contiguous or
    they overlap; a copy of that operand then can be described.

    Example: `describe_gemm((2, 3, 4), (0, 0, 4, 1), (0, 0, 3, 1), (0, 0, 3, 1)).units` is 1.
    """
    m, n, k = shape
    a = _layout(m, k, *a_strides[2:])
    b = _layout(k, n, *b_strides[2:])
    c = _layout(m, n, *c_strides[2:])
    if a is None or b is None or c is None or max(m, n, k) > _LARGEST_INT:
        return None
    if c.transposed:
        # C' = B' A', whose rows are contiguous.
        b_strides, a_strides, c_strides = map(_transpose, (b_strides, a_strides, c_strides))
        swapped = describe_gemm((n, m, k), b_strides, a_strides, c_strides, batch, accumulate, gemm_address)
        return swapped and GemmCall(swapped.words, swapped.units, swapped.b_word, swapped.a_word, swapped.c_word)
    tile_m, tile_n = gemm_tiles(m, n, k, batch[0] * batch[1])
    tiles_m, tiles_n = -(-m // tile_m), -(-n // tile_n)
    values = {
        "GEMM": gemm_address, "A": 0, "B": 0, "C": 0, "M": m, "N": n, "K": k,
        "TILE_M": tile_m, "TILE_N": tile_n, "TILES_M": tiles_m, "TILES_N": tiles_n,
        "A_TRANSPOSED": int(a.transposed), "A_LEADING": a.leading,
        "B_TRANSPOSED": int(b.transposed), "B_LEADING": b.leading, "C_LEADING": c.leading,
        "BATCH_INNER": batch[1],
        "A_OUTER": a_strides[0], "A_INNER": a_strides[1],
        "B_OUTER": b_strides[0], "B_INNER": b_strides[1],
        "C_OUTER": c_strides[0], "C_INNER": c_strides[1],
        "ACCUMULATE": int(accumulate),
    }  # fmt: skip
    words = tuple(values[name] for name in GEMM_WORDS)
    units = batch[0] * batch[1] * tiles_m * tiles_n
    return GemmCall(words, units, *(GEMM_WORDS.index(name) for name in ("A", "B", "C")))


_LARGEST_INT = 2**31 - 1


@dataclass(frozen=True)
class _Layout:
    transposed: bool
    leading: int


def _layout(rows: int, columns: int, row_stride: int, column_stride: int) -> _Layout | None:
    """How BLAS reads a matrix with these strides, or None. The stride of a dimension of size one does not matter."""
    if rows == 0 or columns == 0:
        return _Layout(False, max(columns, 1))
    if column_stride == 1 or columns == 1:
        leading = max(columns, 1) if rows <= 1 else row_stride
        if max(columns, 1) <= leading <= _LARGEST_INT:
            return _Layout(False, leading)
    if row_stride == 1 or rows == 1:
        leading = max(rows, 1) if columns <= 1 else column_stride
        if max(rows, 1) <= leading <= _LARGEST_INT:
            return _Layout(True, leading)
    return None


def _transpose(strides: tuple[int, int, int, int]) -> tuple[int, int, int, int]:
    outer, inner, row, column = strides
    return outer, inner, column, row


# OpenBLAS -------------------------------------------------------------------------------------------------------


@functools.cache
def gemm_addresses() -> dict[str, int]:
    """The addresses of `sgemm` and `dgemm` by the names of the kernels that call them, `gemm_f32` and `gemm_f64`.

    SciPy promises these functions to Cython programs. Its extension module is loaded by itself, which takes a sixth of
    the time of importing `scipy.linalg`, and its OpenBLAS is set to one thread. Raises `ImportError` without SciPy.
    """
    module = _load_cython_blas()
    _use_one_thread()
    return {
        "gemm_f32": _capsule_address(module.__pyx_capi__["sgemm"]),
        "gemm_f64": _capsule_address(module.__pyx_capi__["dgemm"]),
    }


_CYTHON_BLAS = "scipy.linalg.cython_blas"


def _load_cython_blas():
    if _CYTHON_BLAS in sys.modules:
        return sys.modules[_CYTHON_BLAS]
    path = _find_extension()
    if path is None:
        return importlib.import_module(_CYTHON_BLAS)
    spec = importlib.util.spec_from_file_location(_CYTHON_BLAS, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    # Leave no half of a package behind: a later `import scipy.linalg` finds the same module in its own way.
    sys.modules.pop(_CYTHON_BLAS, None)
    return module


def _find_extension() -> Path | None:
    import scipy  # on some platforms this makes the folder of its libraries known

    for folder in scipy.__path__:
        for suffix in importlib.machinery.EXTENSION_SUFFIXES:
            path = Path(folder) / "linalg" / ("cython_blas" + suffix)
            if path.is_file():
                return path
    return None


def _capsule_address(capsule: object) -> int:
    get_name = ctypes.pythonapi.PyCapsule_GetName
    get_name.restype, get_name.argtypes = ctypes.c_char_p, [ctypes.py_object]
    get_pointer = ctypes.pythonapi.PyCapsule_GetPointer
    get_pointer.restype, get_pointer.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
    return get_pointer(capsule, get_name(capsule))


def _use_one_thread() -> None:
    """Tell the OpenBLAS that SciPy brought to leave threads to us. A BLAS of other origin stays as it is."""
    import scipy

    for package in scipy.__path__:
        libraries = (Path(package).parent / "scipy.libs", Path(package) / ".dylibs")
        for path in (path for folder in libraries for path in folder.glob("libscipy_openblas*")):
            with contextlib.suppress(OSError, AttributeError):
                # The library is loaded already, so this only finds it again.
                ctypes.CDLL(str(path)).scipy_openblas_set_num_threads(ctypes.c_int(1))
