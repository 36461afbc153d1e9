"""Graphs whose GPU kernels ``test_codegen_cuda.py`` checks, and the program that runs them in the CUDA simulator.

The simulator must be chosen before numba is imported, so this file is run as a program of its own: it evaluates every
case of :data:`CASES` kernel by kernel, compares with the NumPy reference of the graph, and prints what it found as JSON.
"""

from __future__ import annotations

import contextlib
import json
import math
import re
import sys
import traceback
from collections.abc import Callable, Iterator

import numpy as np

from flamework.compiler import autodiff, codegen_cuda, dtypes, fusion, lowering, primitives as p, primitives_shape as s
from flamework.compiler.fusion import Fusion, fuse
from flamework.compiler.ir import IRError, Node, tensor_type
from flamework.compiler.lowering import Lowered
from flamework.compiler.reference import evaluate
from flamework.compiler.rewrite import rewrite

CASES: dict[str, Callable[[], list[Node]]] = {}
SPLIT: set[str] = set()
EXACT: set[str] = set()

# ------------------------------------------------------------------------------------------------------------ graphs


def tensor(array, requires_grad: bool = False) -> Node:
    array = np.ascontiguousarray(array)
    return Node(p.input_, (), (), tensor_type(array.shape, dtypes.from_numpy(array.dtype)), array, requires_grad)


def number(value, shape=(), dtype=dtypes.int64) -> Node:
    return Node(p.scalar, (), (shape, dtype, "cpu"), tensor_type(shape, dtype), value)


def normal(*shape: int, dtype="float32") -> Node:
    seed = 1 + sum(n * 31**k for k, n in enumerate(shape))
    return tensor(np.random.default_rng(seed).standard_normal(shape).astype(dtype), True)


def integers(low: int, high: int, *shape: int, dtype="int64") -> Node:
    return tensor(np.random.default_rng(low + 7 * high + len(shape)).integers(low, high, shape).astype(dtype))


def total(x: Node) -> Node:
    return s.reduce_sum(x, params=tuple(range(x.ndim))) if x.ndim else x


def mean(x: Node, axes: tuple[int, ...]) -> Node:
    result = s.reduce_sum(x, params=axes)
    return p.scale(result, 1 / math.prod(x.shape[a] for a in axes))


def softmax(x: Node, axis: int) -> Node:
    highest = s.detach(s.reduce_max(x, params=(axis,)))
    power = p.exp(p.sub(x, s.back(highest, (axis,), x.shape)))
    return p.div(power, s.back(s.reduce_sum(power, params=(axis,)), (axis,), x.shape))


def layer_norm(x: Node, weight: Node, bias: Node) -> Node:
    last = (x.ndim - 1,)
    centred = p.sub(x, s.back(mean(x, last), last, x.shape))
    variance = mean(p.mul(centred, centred), last)
    normalised = p.mul(centred, s.back(p.rsqrt(p.add(variance, p.full_like(variance, 1e-5))), last, x.shape))
    return p.add(p.mul(normalised, s.broadcast_to(weight, x.shape)), s.broadcast_to(bias, x.shape))


def cross_entropy(x: Node, labels: Node) -> Node:
    rows, classes = x.shape
    highest = s.detach(s.reduce_max(x, params=(1,)))
    power = p.exp(p.sub(x, s.back(highest, (1,), x.shape)))
    log_sum = p.add(p.log(s.reduce_sum(power, params=(1,))), highest)
    index = p.wrap_index(labels, number(classes, (rows,)))
    picked = s.reshaped(s.gather(x, s.reshaped(index, (rows, 1)), params=(1,)), (rows,))
    return mean(p.sub(log_sum, picked), (0,))


def argmax(x: Node) -> Node:
    """The first position of the largest element of each row."""
    rows, columns = x.shape
    position = p.iota(params=(x.shape, dtypes.int64, "cpu", 1))
    largest = p.eq(x, s.back(s.reduce_max(x, params=(1,)), (1,), x.shape))
    return s.reduce_min(p.where(largest, position, p.full_like(position, columns)), params=(1,))


def gradients(result: Node, *wanted: Node) -> list[Node]:
    found = autodiff.vjp([result], [p.full_like(result, 1)], retain_graph=True)
    return [found[x] for x in wanted]


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


def operands_of(row: p.Primitive, dtype: dtypes.DType) -> Iterator[tuple[list[Node], tuple]]:
    """Sources and parameters that a row of the table can be called with on a dtype."""
    if row.name == "cast":
        x = tensor(np.array([0, 1, 2, 5, 100, 120]).astype(dtype.numpy))
        yield from (([x], (target,)) for target in dtypes.ALL)
        return
    if row.name == "bitcast":
        x = values(dtype, 0)
        yield from (([x], (target,)) for target in dtypes.ALL if dtypes.BOOL not in (dtype.kind, target.kind))
        return
    if row.name == "wrap_index":
        yield [tensor(np.array([-7, -1, 0, 3, 6])), number(7, (5,))], ()
        return
    x, y = values(dtype, 0), values(dtype, 1)
    if row.name in ("pow", "shl", "shr") and dtype.kind == dtypes.INTEGER:
        y = tensor((np.arange(y.shape[0]) % 7).astype(dtype.numpy))
    if row.name == "sign" and dtype.kind == dtypes.FLOATING:
        x = p.where(p.eq(x, x), x, p.full_like(x, 2))
    condition = tensor(np.arange(x.shape[0]) % 3 == 0)
    template = next(iter(row.expr.values())) if isinstance(row.expr, dict) else row.expr
    yield {1: [x], 2: [x, y], 3: [condition, x, y]}[1 + max(map(int, re.findall(r"{(\d)}", template)))], ()


def values(dtype: dtypes.DType, which: int) -> Node:
    if dtype.kind == dtypes.BOOL:
        return tensor(np.array([[False, True, False, True], [False, False, True, True]])[which])
    if dtype.kind == dtypes.FLOATING:
        special = [0.0, -0.0, 1.0, -1.0, 0.5, -2.5, 3.5, 7.25, 1e-3, 80.0, -80.0, np.inf, -np.inf, np.nan, 0.75, -0.25]
    else:
        limits = np.iinfo(dtype.numpy)
        special = [0, 1, 2, 3, 7, 100, limits.max, limits.min, limits.max - 1, limits.min + 1, 5, 11]
    return tensor(np.roll(np.array(special, dtype.numpy), 5 * which))


def rows_of_the_table(dtype: dtypes.DType) -> list[Node]:
    """Every elementwise row that a dtype has, as one graph."""
    kind = {dtypes.FLOATING: "f", dtypes.BOOL: "b"}.get(dtype.kind, "i")
    nodes = []
    for row in p.TABLE.values():
        if row.kind != "elementwise" or (isinstance(row.expr, dict) and kind not in row.expr):
            continue
        if kind == "b" and row.name in ("sub", "floordiv", "rem", "fmod"):
            continue  # NumPy or PyTorch refuse them
        for sources, params in operands_of(row, dtype):
            with contextlib.suppress(IRError):
                nodes.append(row(*sources, params=params))
    return nodes


for _dtype in dtypes.ALL:
    CASES[f"table_rows_of_{_dtype.name}"] = lambda dtype=_dtype: rows_of_the_table(dtype)
    if not _dtype.is_floating_point:
        EXACT.add(f"table_rows_of_{_dtype.name}")


def reductions_of(dtype: str) -> list[Node]:
    x = integers(1, 4, 5, 7, dtype=dtype) if dtype != "bool" else tensor(np.arange(35).reshape(5, 7) % 6 == 0)
    rows = [s.reduce_sum, s.reduce_prod, s.reduce_max, s.reduce_min]
    if dtype == "bool":
        rows = rows[2:]
    return [row(x, params=axes) for row in rows for axes in ((0,), (1,), (0, 1))]


for _name in ("float32", "float64", "int32", "int64", "uint8", "int8", "bool"):
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
    return gradients(total(p.mul(softmax(x, 1), normal(5, 6))), x)


@case
def layer_norm_forward():
    return [layer_norm(normal(5, 12), normal(12), normal(12))]


@case
def layer_norm_backward():
    x, weight, bias = normal(7, 6), normal(6), normal(6)
    return gradients(total(p.mul(layer_norm(x, weight, bias), normal(7, 6))), x, weight, bias)


@case
def cross_entropy_forward():
    return [cross_entropy(normal(7, 5), integers(-5, 5, 7))]


@case
def cross_entropy_backward():
    x = normal(7, 5)
    loss = cross_entropy(x, integers(0, 5, 7))
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
    return [row(tensor(x), params=axes) for row in (s.reduce_max, s.reduce_min) for axes in ((0,), (1,))]


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
    empty = tensor(np.zeros((3, 0), np.float32))
    return [s.reduce_sum(normal(3, 1), params=(1,)), s.reduce_max(normal(1, 4), params=(0,)),
            s.reduce_sum(empty, params=(1,))]


@case
def sum_of_tenths():
    # one after the other, float32 additions would lose five digits
    return [total(tensor(np.full((3, 5000), 0.1, np.float32)))]


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
    return [cross_entropy(normal(9, 6), integers(0, 6, 9))]


@case
def gelu():
    x = normal(40)
    cubic = p.add(x, p.scale(p.mul(x, p.mul(x, x)), 0.044715))
    return [p.mul(p.scale(x, 0.5), p.add(p.full_like(x, 1), p.tanh(p.scale(cubic, 0.7978845608))))]


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
    index = s.broadcast_to(s.reshaped(integers(0, 8, 5), (5, 1)), (5, 6))
    return [s.gather(normal(8, 6), index, params=(0,))]


def scattered(mode: str) -> list[Node]:
    x, new = normal(4, 6), normal(9, 6)
    rows = s.broadcast_to(s.reshaped(integers(0, 4, 9), (9, 1)), (9, 6))
    columns = integers(0, 6, 4, 5)
    return [
        s.scatter(x, rows, new, params=(0, mode)),
        s.scatter(x, columns, normal(4, 5), params=(1, mode)),
        s.scatter(normal(6), integers(0, 6, 20), normal(20), params=(0, mode)),
    ]


for _mode in s.SCATTER_MODES:
    # equal indices meet, and come in the order of the reference
    CASES[f"scatter_{_mode}"] = lambda mode=_mode: scattered(mode)
    EXACT.add(f"scatter_{_mode}")


@case
def scatter_of_what_rows_reduce_to():
    sums = s.reduce_sum(p.exp(normal(7, 6)), params=(1,))
    rows = s.broadcast_to(s.reshaped(integers(0, 5, 7), (7, 1)), (7, 6))
    return [
        s.scatter(normal(5), integers(0, 5, 7), sums, params=(0, "add")),
        s.scatter(normal(5, 6), rows, softmax(normal(7, 6), 1), params=(0, "set")),
    ]


@case
def softmax_of_a_cumulative_sum():
    return [softmax(s.cumsum(normal(5, 6), params=(1,)), 1)]


@exact
def cumulative_sums():
    x = normal(5, 7)
    return [s.cumsum(x, params=(0,)), s.cumsum(x, params=(1,)), s.cumsum(integers(0, 9, 3, 4, 5), params=(1,))]


@case
def cumulative_sum_of_exponentials():
    return [s.cumsum(p.exp(normal(5, 7)), params=(1,))]


@exact
def random_bits():
    counter = p.iota(params=((20,), dtypes.int64, "cpu", 0))
    return [p.philox(counter, number(12345678901234, (20,)))]


@exact
def numbers_positions_and_views():
    x = normal(3, 4)
    return [
        p.add(p.iota(params=((5, 7), dtypes.int64, "cpu", 1)), p.iota(params=((5, 7), dtypes.int64, "cpu", 0))),
        p.mul(x, number(2.5, (3, 4), dtypes.float32)),
        s.as_strided(normal(50), params=((4, 5), (3, 2), 1)),
        p.neg(normal()),
    ]


# --------------------------------------------------------------------------------------------------------- evaluation


@contextlib.contextmanager
def short_pieces(wanted: bool):
    """Rows of more than 16 elements are long, and pieces have 16 elements."""
    places = [(fusion, "SPLIT_LENGTH"), (lowering, "SPLIT_LENGTH"), (lowering, "PIECE")]
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
        return final, found, [lowering.lower(cluster, found) for cluster in found.clusters]


class Buffers:
    """Memory for what kernels read and write. Results begin as garbage."""

    def __init__(self, found: Fusion) -> None:
        self.fusion = found
        self.arrays: dict[Node, np.ndarray] = {}

    def __getitem__(self, node: Node) -> np.ndarray:
        base = self.fusion.base(node)
        if isinstance(base.value, np.ndarray):
            return base.value
        if base not in self.arrays:
            garbage = np.full(base.type.nbytes, 1 if base.dtype is dtypes.bool_ else 0xA5, np.uint8)
            self.arrays[base] = garbage.view(base.dtype.numpy).reshape(base.shape)
        return self.arrays[base]


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


def simulated(roots: list[Node], in_pieces: bool = False, threads: int = 4) -> tuple[list[np.ndarray], set[str], list]:
    """The values of a graph by its GPU kernels, how those divided their work, and the error words."""
    from flamework.kernels.cuda import toolchain

    final, found, kernels = lowered_kernels(roots, in_pieces)
    buffers = Buffers(found)
    error = np.zeros(3, np.int64)
    how = set()
    for lowered in kernels:
        kernel = lowered.kernel
        how.add(codegen_cuda.distribution(kernel))
        launches = codegen_cuda.launches(kernel, threads)
        source = codegen_cuda.generate(kernel, threads)
        try:
            toolchain.simulate(source, launches, arguments_of(lowered, buffers, error))
        except Exception as problem:
            raise RuntimeError(f"{kernel}\n{source}\n{problem}") from problem
    results = [buffers[root].reshape(root.shape) for root in final]
    return results, how, error.tolist()


def check(name: str, threads: int) -> dict:
    """Run one case; what went wrong stands under ``problem``."""
    try:
        roots = CASES[name]()
        found, how, error = simulated(roots, name in SPLIT, threads)
        assert error == [0, 0, 0], f"an index was reported: {error}"
        for root, result, expected in zip(roots, found, evaluate(roots, lambda n: n.value), strict=True):
            what = f"{root.op.name} of {[x.type for x in root.src]}"
            assert result.dtype == expected.dtype, what
            if name in EXACT:
                np.testing.assert_array_equal(result, expected, what)
            else:
                np.testing.assert_allclose(result, expected, rtol=4e-6, atol=2e-6, err_msg=what)
        return {"distributions": sorted(how)}
    except Exception:
        return {"problem": traceback.format_exc(limit=4)}


def out_of_range() -> dict:
    """What a kernel does with an index that is outside."""
    index = p.wrap_index(tensor(np.array([2, -3, 9, 1])), number(3, (4,)))
    found, _, error = simulated([index])
    return {"values": found[0].tolist(), "error": error}


def main() -> None:
    codegen_cuda.WARP, codegen_cuda.SHARED_BYTES = 2, 32  # as seen by blocks of four threads
    names = sys.argv[1:] or list(CASES)
    report: dict = {name: check(name, 4) for name in names}
    report["another number of threads"] = {
        name: check(name, threads) for threads in (1, 8) for name in ("cross_entropy_forward", "softmax_of_columns")
    }
    report["out of range"] = out_of_range()
    print(json.dumps(report))


if __name__ == "__main__":
    main()
