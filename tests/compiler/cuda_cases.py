"""Graphs whose GPU kernels ``test_codegen_cuda.py`` checks, and the program that runs them in the CUDA simulator.

The simulator must be chosen before numba is imported, so this file is run as a program of its own: it evaluates every
case of :data:`CASES`, kernel by kernel, compares with the NumPy references, and prints what it found as JSON. The rows
of the table are run in ``tests/gpu``.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import traceback
from collections.abc import Callable

import graphs
import numpy as np
import primitive_cases
from flamework.compiler import codegen_cuda, dtypes, fusion, lowering, primitives as p, primitives_shape as s
from flamework.compiler.fusion import Fusion, fuse
from flamework.compiler.ir import Node
from flamework.compiler.lowering import Lowered
from flamework.compiler.rewrite import rewrite
from flamework.runtime import engine
from graphs import (
    cross_entropy,
    gelu,
    gradients,
    indices,
    iota,
    layer_norm,
    mean,
    normal,
    number,
    softmax,
    total,
    variable,
)

CASES: dict[str, Callable[[], list[Node]]] = {}
SPLIT: set[str] = set()
EXACT: set[str] = set()

#: The rows of the table that become kernels; the others are given, or library calls.
ROWS = [
    name for name, row in primitive_cases.ROWS.items()
    if name in primitive_cases.CASES and row.kind not in ("contract", "sort", "library")
]  # fmt: skip

# ------------------------------------------------------------------------------------------------------------ graphs


def argmax(x: Node) -> Node:
    """The first position of the largest element of each row."""
    rows, columns = x.shape
    position = iota(x.shape, 1)
    largest = p.eq(x, s.back(s.reduce_max(x, params=(1,)), (1,), x.shape))
    return s.reduce_min(p.where(largest, position, p.full_like(position, columns)), params=(1,))


def case(build: Callable[[], list[Node]]) -> Callable[[], list[Node]]:
    CASES[build.__name__] = build
    return build


def in_pieces(build: Callable[[], list[Node]]) -> Callable[[], list[Node]]:
    """Long rows are those of more than 16 elements here, and pieces have 16."""
    SPLIT.add(build.__name__)
    return case(build)


def exact(build: Callable[[], list[Node]]) -> Callable[[], list[Node]]:
    """The order of evaluation is the reference's, so every bit must agree."""
    EXACT.add(build.__name__)
    return case(build)


def uses_of(name: str) -> list[Node]:
    """The first case of a row of the table, with all its dtypes."""
    row, case = primitive_cases.ROWS[name], primitive_cases.CASES[name][0]
    return [case.node(row, dtype) for dtype in case.accepted(row)]


def reductions_of(dtype: str) -> list[Node]:
    numbers = np.random.default_rng(3).integers(1, 4, (5, 7))
    x = variable(numbers.astype(dtype) if dtype != "bool" else np.arange(35).reshape(5, 7) % 6 == 0)
    rows = [s.reduce_sum, s.reduce_prod, s.reduce_max, s.reduce_min]
    if dtype == "bool":
        rows = rows[2:]
    return [row(x, params=axes) for row in rows for axes in ((0,), (1,), (0, 1))]


for _name in ("float64", "int64", "uint8", "bool"):
    CASES[f"reductions_of_{_name}"] = lambda name=_name: reductions_of(name)


@case
def softmax_of_rows():
    return [softmax(normal(5, 11), 1)]


@case
def softmax_of_many_short_rows():
    return [softmax(normal(3, 7, 3), 2)]


@case
def softmax_of_columns():
    return [softmax(normal(6, 5), 0)]


@case
def softmax_of_a_middle_axis():
    return [softmax(normal(3, 5, 4), 1)]


@case
def softmax_backward():
    x = normal(5, 6)
    return gradients(total(p.mul(softmax(x, 1), normal(5, 6, seed=1))), x)


@case
def layer_norm_forward():
    return [layer_norm(normal(5, 12), normal(12), normal(12, seed=1))]


@case
def layer_norm_backward():
    x, weight, bias = normal(7, 6), normal(6), normal(6, seed=1)
    return gradients(total(p.mul(layer_norm(x, weight, bias), normal(7, 6, seed=1))), x, weight, bias)


@case
def cross_entropy_forward():
    return [cross_entropy(normal(7, 5), variable(np.array([0, -1, 4, -5, 2, 2, 1])))]


@case
def cross_entropy_backward():
    x = normal(7, 5)
    loss = cross_entropy(x, indices(7, below=5))
    return [loss, *gradients(loss, x)]


@case
def loops_in_loops_in_loops():
    x = normal(3, 4, 5)
    inner = p.log(s.reduce_sum(p.exp(x), params=(2,)))
    return [total(p.log(s.reduce_sum(p.mul(inner, inner), params=(1,))))]


@case
def results_of_several_levels():
    x = normal(6, 5)
    inner = s.reduce_sum(p.exp(x), params=(1,))
    return [inner, s.reduce_sum(p.log(inner), params=(0,))]


@case
def nan_survives_maxima_and_minima():
    x = np.arange(24, dtype=np.float32).reshape(4, 6)
    x[1, 5] = x[2, 0] = np.nan
    return [row(variable(x), params=axes) for row in (s.reduce_max, s.reduce_min) for axes in ((0,), (1,))]


@case
def more_accumulators_than_shared_memory_holds_at_once():
    x = normal(4, 6)
    return [s.reduce_sum(p.exp(p.scale(x, 0.5 + k)), params=(1,)) for k in range(3)]


@case
def statistics_over_two_axes():
    x = normal(3, 4, 5)
    average, square = mean(x, (0, 2)), mean(p.mul(x, x), (0, 2))
    return [p.mul(p.sub(x, s.back(average, (0, 2), x.shape)), s.back(p.rsqrt(square), (0, 2), x.shape))]


@case
def reductions_over_one_element_and_over_none():
    empty = variable(np.zeros((3, 0), np.float32))
    return [s.reduce_sum(normal(3, 1), params=(1,)), s.reduce_max(normal(1, 4), params=(0,)),
            s.reduce_sum(empty, params=(1,))]


@case
def sum_of_tenths():
    # one after the other, float32 additions would lose five digits
    return [total(variable(np.full((3, 5000), 0.1, np.float32)))]


@case
def index_found_by_a_reduction():
    x = normal(5, 6)
    index = s.reshaped(argmax(x), (5, 1))
    return [s.gather(normal(5, 6), index, params=(1,))]


@in_pieces
def whole_sum_in_pieces():
    x = normal(9, 7)
    return [total(p.mul(x, s.broadcast_to(normal(7), x.shape)))]


@in_pieces
def sums_and_maxima_of_long_rows_in_pieces():
    x = normal(2, 37)
    return [s.reduce_sum(p.exp(x), params=(1,)), s.reduce_max(x, params=(1,)), s.reduce_min(x, params=(1,))]


@in_pieces
def result_beside_a_sum_in_pieces():
    x = normal(5, 9)
    y = p.relu(x)
    return [y, p.sqrt(total(p.mul(y, y)))]


@in_pieces
def mean_of_row_losses_in_pieces():
    return [cross_entropy(normal(9, 6), indices(9, below=6))]


@case
def gelu_of_a_vector():
    return [gelu(normal(40))]


@case
def transposed_operand():
    return [p.add(normal(70, 50), s.permute(normal(50, 70), params=(1, 0)))]


@case
def batch_of_transposed_operands():
    return [p.add(normal(3, 40, 35), s.permute(normal(3, 35, 40), params=(0, 2, 1)))]


@exact
def permuted_and_reshaped():
    x = normal(4, 5, 6)
    return [s.permuted(x, (2, 0, 1)), p.neg(s.reshaped(s.permute(x, params=(1, 0, 2)), (10, 12)))]


@exact
def sliced_flipped_and_padded():
    x = s.slice_(p.neg(normal(9, 20)), params=((1, 2), (2, 3), (4, 6)))
    return [s.pad(s.flip(x, params=(1,)), params=((1, 2), (0, 3), 7.0))]


@case
def sum_of_a_padded_operand():
    return [s.reduce_sum(s.pad(p.exp(normal(4, 6)), params=((1, 2), (0, 3), 2.0)), params=(1,))]


@exact
def concatenated():
    x = normal(4, 6)
    return [s.cat(x, p.neg(normal(3, 6)), normal(1, 6), params=(0,)), s.cat(x, normal(4, 2), params=(1,))]


@exact
def windows():
    x = normal(3, 12)
    padded = s.pad(normal(1, 2, 4, 4), params=((0, 0, 1, 1), (0, 0, 1, 1), 0.0))
    patches = s.unfold(s.unfold(padded, params=(2, 3, 1, 1)), params=(3, 3, 1, 1))
    return [
        s.unfold(x, params=(1, 3, 2, 2)),
        s.reshaped(s.permute(patches, params=(0, 1, 4, 5, 2, 3)), (1, 18, 16)),
    ]


@case
def sums_of_windows():
    return [s.reduce_sum(s.unfold(normal(3, 12), params=(1, 3, 1, 1)), params=(2,))]


@exact
def updated_in_place():
    x = s.update(p.neg(normal(8, 9)), normal(3, 4), params=((2, 3), (2, 1)))
    for k in range(3):
        x = s.update(x, normal(1, 9), params=((k, 0), (1, 1)))
    return [x]


@exact
def gathered_rows():
    index = s.broadcast_to(s.reshaped(indices(5, below=8), (5, 1)), (5, 6))
    return [s.gather(normal(8, 6), index, params=(0,))]


def scattered(mode: str) -> list[Node]:
    x, new = normal(4, 6), normal(9, 6)
    rows = s.broadcast_to(s.reshaped(indices(9, below=4), (9, 1)), (9, 6))
    columns = indices(4, 5, below=6)
    return [
        s.scatter(x, rows, new, params=(0, mode)),
        s.scatter(x, columns, normal(4, 5), params=(1, mode)),
        s.scatter(normal(6), indices(20, below=6), normal(20), params=(0, mode)),
    ]


for _mode in s.SCATTER_MODES:
    # equal indices meet, and come in the order of the reference
    CASES[f"scatter_{_mode}"] = lambda mode=_mode: scattered(mode)
    EXACT.add(f"scatter_{_mode}")


@case
def scatter_of_what_rows_reduce_to():
    sums = s.reduce_sum(p.exp(normal(7, 6)), params=(1,))
    rows = s.broadcast_to(s.reshaped(indices(7, below=5), (7, 1)), (7, 6))
    return [
        s.scatter(normal(5), indices(7, below=5), sums, params=(0, "add")),
        s.scatter(normal(5, 6), rows, softmax(normal(7, 6), 1), params=(0, "set")),
    ]


@case
def softmax_of_a_cumulative_sum():
    return [softmax(s.cumsum(normal(5, 6), params=(1,)), 1)]


@case
def cumulative_sums():
    x = normal(5, 7)
    return [s.cumsum(x, params=(0,)), s.cumsum(x, params=(1,)), s.cumsum(indices(3, 4, 5, below=9), params=(1,))]


@case
def cumulative_sum_of_exponentials():
    return [s.cumsum(p.exp(normal(5, 7)), params=(1,))]


@exact
def random_bits():
    return [p.philox(iota((20,), 0), number(12345678901234, (20,), dtypes.int64))]


@exact
def numbers_positions_and_views():
    x = normal(3, 4)
    return [
        p.add(iota((5, 7), 1), iota((5, 7), 0)),
        p.mul(x, number(2.5, (3, 4))),
        s.as_strided(normal(50), params=((4, 5), (3, 2), 1)),
        p.neg(normal()),
    ]


# --------------------------------------------------------------------------------------------------------- evaluation


@contextlib.contextmanager
def short_pieces(wanted: bool):
    """Rows of more than 16 elements are long."""
    places = [(fusion, "SPLIT_LENGTH"), (lowering, "SPLIT_LENGTH")]
    before = [getattr(module, name) for module, name in places]
    for module, name in places:
        setattr(module, name, 16 if wanted else getattr(module, name))
    try:
        yield
    finally:
        for (module, name), value in zip(places, before, strict=True):
            setattr(module, name, value)


def lowered_kernels(roots: list[Node], in_pieces: bool = False) -> tuple[list[Node], Fusion, list[Lowered]]:
    """The rewritten roots of a graph that has no library calls, and its kernels in order."""
    with short_pieces(in_pieces):
        final = rewrite(roots)
        found = fuse(final)
        return final, found, [
            lowering.lower(cluster, found, codegen_cuda.KEEP_COST, 16 if in_pieces else codegen_cuda.PIECE)
            for cluster in found.clusters
        ]


class Buffers:
    """Memory for what kernels read and write. Results begin as garbage. Every array begins so many elements after an
    address of whole vectors."""

    def __init__(self, found: Fusion, shift: int = 0) -> None:
        self.fusion = found
        self.shift = shift
        self.arrays: dict[Node, np.ndarray] = {}

    def __getitem__(self, node: Node) -> np.ndarray:
        base = self.fusion.base(node)
        if base not in self.arrays:
            array = self.made(base)
            room = np.empty(array.nbytes + 64 + self.shift * array.itemsize, np.uint8)
            start = -room.ctypes.data % 64 + self.shift * array.itemsize
            self.arrays[base] = room[start : start + array.nbytes].view(array.dtype).reshape(array.shape)
            self.arrays[base][...] = array
        return self.arrays[base]

    def made(self, base: Node) -> np.ndarray:
        if base.value is not None and base.op is not p.scalar:
            return engine.read_node(base)
        garbage = np.full(base.type.nbytes, 1 if base.dtype is dtypes.bool_ else 0xA5, np.uint8)
        return garbage.view(base.dtype.numpy).reshape(base.shape)


def arguments_of(lowered: Lowered, buffers: Buffers, error: np.ndarray) -> list:
    """A kernel's arguments as :func:`flamework.kernels.cuda.toolchain.simulate` takes them."""
    scratch = np.full(lowered.scratch + 8, 0xA5, np.uint8)
    given = []
    for argument in lowered.kernel.arguments:
        source = argument.source
        if argument.kind == "pointer":
            given.append(buffers[lowered.operands[source]])
        elif argument.kind == "integer":
            given.append(np.int64(source))
        elif argument.kind == "scalar":
            kind = np.float64 if argument.dtype.is_floating_point else np.int64
            given.append(kind(source.value).view(np.int64))
        else:
            given.append({"error": error, "scratch": scratch}[argument.kind])
    return given


def simulated(
    roots: list[Node], in_pieces: bool = False, threads: int = 4, shift: int = 0, blocks: int = 3
) -> tuple[list[np.ndarray], set[str], list]:
    """The values of a graph by its GPU kernels, how those divided their work, and the error words."""
    from flamework.kernels.cuda import toolchain

    final, found, kernels = lowered_kernels(roots, in_pieces)
    buffers = Buffers(found, shift)
    error = np.zeros(3, np.int64)
    how = set()
    for lowered in kernels:
        kernel = lowered.kernel
        how.add(codegen_cuda.distribution(kernel))
        # few blocks, so that each has several turns
        launches = codegen_cuda.launches(kernel, threads)
        launches = [dataclasses.replace(x, blocks=min(x.blocks, blocks)) for x in launches]
        source = codegen_cuda.generate(kernel, threads)
        try:
            toolchain.simulate(source, launches, arguments_of(lowered, buffers, error))
        except Exception as problem:
            raise RuntimeError(f"{kernel}\n{source}\n{problem}") from problem
    results = [buffers[root].reshape(root.shape) for root in final]
    return results, how, error.tolist()


def check(roots: list[Node], in_pieces: bool = False, rtol: float = 4e-6, threads: int = 4) -> dict:
    """Compare a graph's kernels with the references; what went wrong stands under ``problem``."""
    try:
        found, how, error = simulated(roots, in_pieces, threads)
        assert error == [0, 0, 0], f"an index was reported: {error}"
        for root, result, expected in zip(roots, found, graphs.expected(*roots), strict=True):
            message = f"{root.op.name}{list(root.params)} {root.type} of {[x.type for x in root.src]}"
            graphs.assert_same(result, expected, message, rtol, rtol / 2)
        return {"distributions": sorted(how)}
    except Exception:
        return {"problem": traceback.format_exc(limit=4)}


def check_case(name: str, threads: int = 4) -> dict:
    return check(CASES[name](), name in SPLIT, 0 if name in EXACT else 4e-6, threads)


def vector_cases() -> dict[str, Callable[[], list[Node]]]:
    """Graphs whose threads take vectors, of lengths around multiples of them, and of every dtype."""
    cases: dict[str, Callable[[], list[Node]]] = {}
    for dtype in (dtypes.float16, dtypes.bfloat16, dtypes.float32, dtypes.float64, dtypes.int8, dtypes.int64):
        for length in (0, 3, 16, 81):
            cases[f"chain of {length} {dtype.name}"] = lambda n=length, d=dtype: [
                p.add(p.mul(realized(n, d), realized(n, d, seed=1)), realized(n, d, seed=2))
            ]
    for length in (0, 3, 16, 81):
        cases[f"mask of {length}"] = lambda n=length: [p.lt(normal(n), normal(n, seed=1))]
        cases[f"cast of {length}"] = lambda n=length: [p.cast(p.exp(normal(n)), params=(dtypes.bfloat16,))]
        cases[f"positions of {length}"] = lambda n=length: [p.mul(iota((n,), 0, dtypes.float32), normal(n))]
        cases[f"softmax of {length} or one"] = lambda n=length: [softmax(normal(3, n or 1), 1)]
        cases[f"halves in rows of {length}"] = lambda n=length: [
            p.mul(x := realized(n, dtypes.float16, rows=3), s.back(s.reduce_sum(x, params=(1,)), (1,), x.shape))
        ]
        cases[f"sum of {length} in pieces"] = lambda n=length: [total(p.exp(normal(3, n)))]
        cases[f"bias of {length}"] = lambda n=length: [p.add(normal(5, n), s.broadcast_to(normal(n), (5, n)))]
        cases[f"part of {length}"] = lambda n=length: [
            p.neg(s.slice_(normal(5, n + 3), params=((0, 1), (1, 1), (5, n))))
        ]
        cases[f"many operands of {length}"] = lambda n=length: [many_operands(n)]
        cases[f"flip of {length}"] = lambda n=length: [p.mul(normal(n), s.flip(normal(n), params=(0,)))]
    return cases


def many_operands(length: int) -> Node:
    """More than a thread has registers for, if it took vectors of all."""
    found = normal(length)
    for seed in range(1, 20):
        found = p.add(p.mul(found, normal(length, seed=seed)), found)
    return found


def realized(length: int, dtype: dtypes.DType, rows: int = 0, seed: int = 0) -> Node:
    values = np.random.default_rng(seed).integers(-4, 5, (rows, length) if rows else length)
    return variable(values.astype(dtype.numpy))


def vectors() -> dict[str, str]:
    """Cases whose bits differ from the reference's beyond rounding, or with where operands lie, or with the grid."""
    problems = {}
    for name, build in vector_cases().items():
        pieces = name.endswith("pieces")
        found = check(build(), pieces)
        if "problem" in found:
            problems[name] = found["problem"]
            continue
        roots = build()
        first, _, _ = simulated(roots, pieces)
        for shift, blocks in ((1, 3), (3, 3), (0, 1), (1, 7)):
            others, _, _ = simulated(roots, pieces, shift=shift, blocks=blocks)
            if any(x.tobytes() != y.tobytes() for x, y in zip(first, others, strict=True)):
                problems[name] = f"other bits {shift} elements away in {blocks} blocks"
    return problems


def out_of_range() -> dict:
    """What a kernel does with an index that is outside."""
    index = p.wrap_index(variable(np.array([2, -3, 9, 1])), number(3, (4,), dtypes.int64))
    found, _, error = simulated([index])
    return {"values": found[0].tolist(), "error": error}


def main() -> None:
    codegen_cuda.WARP, codegen_cuda.SHARED_BYTES = 2, 32  # as seen by blocks of four threads
    print(json.dumps({
        "cases": {name: check_case(name) for name in CASES},
        "threads": [check_case(name, n) for n in (1, 8) for name in ("cross_entropy_forward", "softmax_of_columns")],
        "out of range": out_of_range(), "vectors": vectors(),
    }))  # fmt: skip


if __name__ == "__main__":
    main()
