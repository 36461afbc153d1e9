"""CPU kernels: their source, that they vectorise, and that their numbers never depend on how they are run.

The same bits must come out for every division of the work, every number of threads, and every company in which a
result is computed. Sums keep close to the exact value at any length, and NaN, infinities and signed zeros survive.
"""

from __future__ import annotations

import ctypes
import math
import platform
import re

import graphs
import numpy as np
import pytest
from flamework.compiler import codegen_cpu, dtypes, primitives as p, primitives_shape as s
from flamework.compiler.codegen_cpu import functions, generate, identity
from flamework.compiler.ir import Node
from flamework.compiler.loopir import Accumulator, Let, Load, Loop, Scan, Store, invariant
from flamework.compiler.lowering import Lowered
from flamework.kernels.cpu import scalar, toolchain
from flamework.kernels.cpu.programs import Program
from flamework.runtime import threads
from flamework.runtime.kernels import KERNELS
from graphs import computed, const, lowered, normal, number, total, variable

KERNEL = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64)


def only(root: Node) -> Lowered:
    (found,) = lowered(root)
    return found


def run(kernel: Lowered, cuts: list[float]) -> dict[str, np.ndarray]:
    """The results of a kernel by operand, with its units divided at fractions of the whole."""
    loaded = KERNELS.get(Program(generate(kernel.kernel), tuple(functions(kernel.kernel))))
    arrays = [
        graphs.engine.read_node(x) if x.value is not None else np.full(x.shape, 77, x.dtype.numpy)
        for x in kernel.operands
    ]
    scratch = np.full(max(kernel.scratch, 8), 0xA5, np.uint8)
    words = np.zeros(max(len(kernel.kernel.arguments), 1), np.int64)
    for k, argument in enumerate(kernel.kernel.arguments):
        match argument.kind:
            case "pointer":
                words[k] = arrays[argument.source].ctypes.data
            case "integer":
                words[k] = argument.source
            case "scalar":
                view = words.view(np.float64) if argument.dtype.is_floating_point else words
                view[k] = argument.source.value
            case "scratch":
                words[k] = scratch.ctypes.data
    edges = [0, *sorted(int(kernel.units * c) for c in cuts), kernel.units]
    for start, stop in zip(edges, edges[1:]):
        if start < stop:
            KERNEL(loaded["kernel"])(words.ctypes.data, start, stop)
    if kernel.kernel.pieces:
        KERNEL(loaded["finish"])(words.ctypes.data, 0, kernel.finish_units)
    return {f"{x.op.name} {k}": a for k, (x, a) in enumerate(zip(kernel.operands, arrays)) if x.value is None}


def bits(array: np.ndarray) -> bytes:
    return array.tobytes()


# ------------------------------------------------------------------------------------------------------------- source

ROW_SUM = """
def kernel(args, start, stop):
    n0 = args[0]
    n1 = args[1]
    p0 = pointer_f32(args[2])
    s0 = args[3]
    p1 = pointer_f32(args[4])
    for unit in range(start, stop):
        i0 = unit
        r0 = f32(0.0)
        for i1_block in range(0, n1, 4096):
            r0_part = f32(0.0)
            for i1 in range(i1_block, imin(i1_block + 4096, n1)):
                loop_hint(16, 4)
                v0 = load(p0, i0 * s0 + i1, 0)
                v1 = (v0 * v0)
                r0_part = fadd_reassoc(r0_part, v1)
            r0 = fadd_reassoc(r0, r0_part)
        store(p1, i0, r0, 1)
"""

SCALED = """
def kernel(args, start, stop):
    n0 = args[0]
    c0 = i32(args[1])
    p0 = pointer_i32(args[2])
    p1 = pointer_i32(args[3])
    for i0 in range(start, stop):
        v0 = load(p0, i0, 0)
        v1 = imul(v0, c0)
        store(p1, i0, v1, 1)
"""


def test_source_of_a_row_sum():
    x = normal(64, 100)
    assert generate(only(s.reduce_sum(p.mul(x, x), params=(1,))).kernel) == ROW_SUM.lstrip()


def test_source_of_an_elementwise_kernel():
    x = variable(np.zeros((6, 7), np.int32))
    assert generate(only(p.mul(x, number(3, (6, 7), dtypes.int32))).kernel) == SCALED.lstrip()


def test_a_split_kernel_has_a_second_function_for_what_comes_after_the_pieces():
    kernel = only(p.sqrt(total(normal(700, 1000)))).kernel
    assert functions(kernel) == ["kernel", "finish"]
    source = generate(kernel)
    assert "sqrt" not in source[: source.index("def finish")]
    assert "sqrt" in source[source.index("def finish") :]


def test_sums_down_columns_run_by_columns_whatever_is_read_once_for_each_row():
    x, weight = normal(300, 70), normal(300, seed=1)
    weighted = p.mul(x, s.back(weight, (1,), x.shape))
    kernel = only(s.reduce_sum(weighted, params=(0,))).kernel
    assert kernel.mode == "columns"
    kernel = only(s.reduce_sum(weighted, params=(1,))).kernel
    assert kernel.mode == "rows"


def picked(table: Node, index: Node) -> Node:
    """Rows of a table by checked indices."""
    wrapped = p.wrap_index(index, number(table.shape[0], index.shape, dtypes.int64))
    count = index.shape[0]
    around = s.reshape(wrapped, params=(count, *[1] * (table.ndim - 1)))
    return s.gather(table, s.expand(around, params=(count, *table.shape[1:])), params=(0,))


def added(table: Node, index: Node, new: Node) -> Node:
    """A table with rows added at checked indices."""
    wrapped = p.wrap_index(index, number(table.shape[0], index.shape, dtypes.int64))
    around = s.expand(s.reshape(wrapped, params=(*index.shape, 1)), params=new.shape)
    return s.scatter(table, around, new, params=(0, "add"))


INDEX = variable(np.random.default_rng(0).integers(-50, 50, 300))
PICKED_ROWS = {
    "rows": lambda: picked(normal(50, 70), INDEX),
    "rows of rows": lambda: picked(normal(50, 9, 70), INDEX),
    "sums of rows": lambda: s.reduce_sum(picked(normal(50, 70), INDEX), params=(1,)),
    "sums down columns": lambda: s.reduce_sum(picked(normal(50, 70), INDEX), params=(0,)),
    "sums of rows with a mean": lambda: graphs.standardise(picked(normal(50, 70), INDEX), (1,)),
    "additions to rows": lambda: added(normal(50, 70), INDEX, normal(300, 70, seed=1)),
}


@pytest.mark.parametrize("name", PICKED_ROWS)
def test_an_index_is_checked_once_for_each_row_and_not_for_each_element(name):
    root = PICKED_ROWS[name]()
    (kernel,) = (k for k in lowered(root) if any(a.kind == "error" for a in k.kernel.arguments))
    source = generate(kernel.kernel)
    assert kernel.kernel.mode == ("columns" if "columns" in name else "scatter" if "additions" in name else
                                  "rows" if "sums" in name else "flat")  # fmt: skip
    (check,) = re.findall(r"^( *)v\d+ = wrap_index", source, re.MULTILINE)
    used = re.findall(r"^( *)(?:v\d+ = load|at = ).*\bv\d+ \* s\d+", source, re.MULTILINE)
    assert used and all(len(spaces) > len(check) for spaces in used)
    np.testing.assert_allclose(computed(root)[0], graphs.expected(root)[0], rtol=2e-5, atol=1e-5)


def test_reading_a_checked_row_vectorises():
    kernel = only(p.mul(picked(normal(50, 70), INDEX), normal(300, 70))).kernel
    compiled = toolchain.compile_kernels(generate(kernel), functions(kernel), scalar.NAMESPACE)
    assert re.search(r"fmul <\d+ x float>", compiled.llvm_ir)
    assert "masked.scatter" not in compiled.llvm_ir and "masked.gather" not in compiled.llvm_ir


def test_what_a_loop_does_not_change_is_written_before_it():
    body = [
        Load("v0", dtypes.float32, "p0", "i0"), Let("v1", dtypes.float32, "exp(v0)"),
        Load("v2", dtypes.float32, "p1", "i0 * s0 + i1"), Let("v3", dtypes.float32, "(v1 + v2)"),
        Load("v4", dtypes.float32, "p2", "i0", "inside(i1, n0)", "f32(0.0)"),
        Loop(2, [], [Accumulator("r0", dtypes.float32, "sum", "v0")]), Let("v5", dtypes.float32, "exp(r0)"),
        Scan("v6", dtypes.float32, "sum", "v0"), Let("v7", dtypes.float32, "exp(v6)"),
        Store("p3", dtypes.float32, "i0", "v1"),
    ]  # fmt: skip
    assert invariant(body, {"i1"}) == (body[:2], body[2:])
    assert invariant(body, {"i0", "i1"})[0] == []


def test_different_operands_have_different_alias_scopes_and_one_operand_has_one():
    a, b = normal(50), normal(50, seed=1)
    source = generate(only(p.add(p.mul(a, b), a)).kernel)
    assert sorted(re.findall(r"(?:load|store)\((p\d).*?, (\d)\)", source)) == [("p0", "0"), ("p1", "1"), ("p2", "2")]


@pytest.mark.parametrize(
    ("op", "dtype", "text"),
    [("sum", "float32", "f32(0.0)"), ("prod", "int8", "i8(1)"), ("reduce_max", "float64", "f64(-inf)"),
     ("reduce_min", "uint8", "u8(255)"), ("reduce_max", "int16", "i16(-32768)"), ("reduce_max", "bool", "False"),
     ("reduce_min", "bool", "True"), ("reduce_max", "uint8", "u8(0)"), ("reduce_min", "int64", f"i64({2**63 - 1})")],
)  # fmt: skip
def test_what_a_reduction_starts_from(op, dtype, text):
    assert identity(op, dtypes.dtype_named(dtype)) == text


# ------------------------------------------------------------------------------------------------------ vectorisation

X = normal(64, 100)
PACKED = {
    "x86_64": r"\bv?{}ps\s+.*%?[xyz]mm",
    "aarch64": r"\bf{}\s+v\d+\.4s|\bf{}\s+z\d+\.s",
}
WHAT_VECTORISES = {
    "an elementwise chain": (lambda: p.mul(p.add(X, const(X, 1)), p.tanh(X)), ["add", "mul"]),
    "a softmax": (lambda: graphs.softmax(X), ["max", "sub", "add", "div"]),
    "a row sum": (lambda: s.reduce_sum(X, params=(1,)), ["add"]),
    "a column sum": (lambda: s.reduce_sum(X, params=(0,)), ["add"]),
    "a layer norm": (lambda: graphs.layer_norm(X, normal(100), normal(100)), ["sub", "mul", "add"]),
    # a NaN that the rounding looked for with a comparison of floats would be merged with the maximum
    "a maximum of rounded numbers": (lambda: s.reduce_max(p.cast(X, params=(dtypes.bfloat16,)), params=(1,)), ["max"]),
    "a softmax of masked scores": (
        lambda: graphs.softmax(p.where(p.lt(X, const(X, 0)), const(X, -np.inf), X)), ["max", "sub", "add", "div"]),
    "an addition of a transposed matrix": (lambda: p.add(X, s.permute(normal(100, 64), params=(1, 0))), ["add"]),
}  # fmt: skip


@pytest.mark.parametrize("name", WHAT_VECTORISES)
def test_assembly_has_vector_instructions(name, capfd):
    program, instructions = WHAT_VECTORISES[name]
    kernel = only(program()).kernel
    compiled = toolchain.compile_kernels(generate(kernel), functions(kernel), scalar.NAMESPACE)
    # what LLVM says of a loop that was to be vectorised and could not be
    assert "not vectorized" not in capfd.readouterr().err
    machine = platform.machine()
    for instruction in instructions:
        assert re.search(r"<\d+ x float>", compiled.llvm_ir)
        if machine in PACKED:
            pattern = PACKED[machine].format(instruction, instruction)
            # LLVM may contract neither, but it may turn a subtraction or a maximum into an equal instruction
            assert re.search(pattern, compiled.assembly()), instruction
    assert not re.search(r"call .*@(expf?|tanhf?|fmaxf?)\(", compiled.llvm_ir)


# ----------------------------------------------------------------------------------------------- any division of work

BIG = normal(37, 5003)
MODES = {
    "flat": lambda: p.tanh(p.mul(BIG, BIG)),
    "flat rows": lambda: graphs.affine(BIG, normal(5003), None),
    "tiled": lambda: p.add(normal(70, 90), s.permute(normal(90, 70), params=(1, 0))),
    "rows": lambda: s.reduce_sum(BIG, params=(1,)),
    "rows of several loops": lambda: graphs.softmax(BIG),
    "columns": lambda: s.reduce_sum(p.mul(BIG, BIG), params=(0,)),
    "split": lambda: total(p.mul(normal(400, 1000), normal(400, 1000))),
    "split of a product": lambda: s.reduce_prod(p.exp(p.scale(normal(3, 70_001), 1e-3)), params=(1,)),
    "scan": lambda: s.cumsum(BIG, params=(1,)),
}


@pytest.mark.parametrize("name", MODES)
def test_the_bits_are_the_same_for_every_division_of_the_units(name):
    kernel = only(MODES[name]())
    assert kernel.kernel.mode == name.split()[0].replace("scan", "rows")
    whole = run(kernel, [])
    for cuts in ([0.5], [0.1, 0.2, 0.7], list(np.linspace(0, 1, 12)), [1e-3, 0.999]):
        for key, array in run(kernel, cuts).items():
            assert bits(array) == bits(whole[key])


@pytest.mark.parametrize("rows", [1, 3, 4, 5, 63, 64, 67, 4097, 4099])
@pytest.mark.parametrize("columns", [1, 7, 64, 300])
def test_several_rows_at_a_time_give_the_bits_of_one_row_after_the_other(monkeypatch, rows, columns):
    x = normal(rows, columns)
    programs = {
        "sum": lambda: s.reduce_sum(p.mul(x, x), params=(0,)),
        "product": lambda: s.reduce_prod(x, params=(0,)),
        "largest": lambda: s.reduce_max(x, params=(0,)),
        "standardised": lambda: graphs.standardise(x, (0,)),
    }
    for program in programs.values():
        root = program()
        together = lowered(root)
        found = [run(kernel, []) for kernel in together]
        with monkeypatch.context() as patched:
            patched.setattr(codegen_cpu, "MAX_REPEATED", -1)
            single = [run(kernel, []) for kernel in together]
        for one, other in zip(found, single):
            assert {k: bits(v) for k, v in one.items()} == {k: bits(v) for k, v in other.items()}
        np.testing.assert_allclose(computed(root)[0], graphs.expected(root)[0], rtol=1e-3, atol=1e-3)


@pytest.fixture
def restored_threads():
    before = threads.get_num_threads()
    yield
    threads.set_num_threads(before)


def test_the_bits_are_the_same_for_one_two_and_eight_threads(restored_threads):
    found = []
    for count in (1, 2, 8):
        threads.set_num_threads(count)
        values = computed(*[program() for program in MODES.values()], s.dot(normal(3, 90, 70), normal(3, 70, 80)))
        found.append([bits(array) for array in values])
    assert found[0] == found[1] == found[2]


def test_the_bits_of_a_vector_are_those_of_its_elements():
    """The vectorised body of a loop and what is left over after it compute the same."""
    x = np.random.default_rng(0).standard_normal(203).astype("f")
    for row in (p.exp, p.tanh, p.sigmoid, p.log1p, p.sin, p.erf):
        (whole,) = computed(row(p.abs(variable(x))))
        (kernel,) = lowered(row(p.abs(variable(x))))
        single = run(kernel, [k / 203 for k in range(203)])
        assert bits(next(iter(single.values()))) == bits(whole)


# -------------------------------------------------------------------------------------------------------- any company

COMPANIONS = {
    "row sums": lambda x: s.reduce_sum(x, params=(x.ndim - 1,)),
    "total": total,
    "column sums": lambda x: s.reduce_sum(x, params=(0,)),
    "squares": lambda x: total(p.mul(x, x)),
    "exponentials": p.exp,
    "softmax": graphs.softmax,
    "largest": lambda x: s.reduce_max(x, params=(x.ndim - 1,)),
    "layer norm": graphs.layer_norm,
}


@pytest.mark.parametrize("shape", [(300, 500), (30, 50), (3, 70_000), (7, 9, 300)])
def test_the_bits_of_a_result_do_not_depend_on_what_is_computed_beside_it(shape):
    array = np.random.default_rng(0).standard_normal(shape).astype("f")

    def values(*names: str) -> list[bytes]:
        x = variable(array)
        return [bits(a) for a in computed(*[COMPANIONS[name](x) for name in names])]

    alone = {name: values(name)[0] for name in COMPANIONS}
    assert values(*COMPANIONS) == list(alone.values())
    for name in COMPANIONS:
        for other in ("row sums", "total", "exponentials"):
            if other != name:
                assert values(name, other)[0] == alone[name], f"{name} beside {other}"


# ------------------------------------------------------------------------------------------------------ accurate sums


@pytest.mark.parametrize(
    ("shape", "axes"),
    [((10_000_000,), (0,)), ((2, 5_000_000), (1,)), ((3_000_000, 3), (0,)), ((3000, 3000), (0, 1)),
     ((3000, 3000), (0,))],
)  # fmt: skip
def test_long_sums_of_float32_are_accurate(shape, axes):
    """To a millionth, where adding one after the other is off by a thousandth and more."""
    array = np.random.default_rng(1).random(shape, np.float32)
    (found,) = computed(s.reduce_sum(variable(array), params=axes))
    if len(axes) == array.ndim:
        exact = math.fsum(memoryview(array.reshape(-1)))
    else:
        exact = array.sum(axes, dtype=np.float64)
    np.testing.assert_allclose(found, exact, rtol=1e-6)


def test_a_running_sum_is_as_accurate_as_its_result_can_be():
    array = np.full(1_000_000, 0.1, np.float32)
    (found,) = computed(s.cumsum(variable(array), params=(0,)))
    np.testing.assert_allclose(found, np.cumsum(array, dtype=np.float64), rtol=1e-7)


def test_the_gradient_of_a_large_sum_of_squares_is_exact():
    x = normal(200_000)
    (slope,) = graphs.gradients(total(p.mul(x, x)), x)
    (found,) = computed(slope)
    np.testing.assert_array_equal(found, 2 * graphs.engine.read_node(x))


# ----------------------------------------------------------------------------------- NaN, infinities and signed zeros

SPECIAL = np.array([0.0, -0.0, 1.0, -1.0, np.inf, -np.inf, np.nan], np.float32)


def pairs(repeat: int) -> tuple[np.ndarray, np.ndarray]:
    """All pairs of special values, several times, so that the vectorised part of a loop meets each."""
    a, b = (g.reshape(-1) for g in np.meshgrid(SPECIAL, SPECIAL))
    return np.tile(a, repeat), np.tile(b, repeat)


@pytest.mark.parametrize("repeat", [1, 7])
def test_maximum_and_minimum_propagate_nan_and_order_zeros(repeat):
    a, b = pairs(repeat)
    largest, smallest = computed(p.maximum(variable(a), variable(b)), p.minimum(variable(a), variable(b)))
    np.testing.assert_array_equal(largest, np.maximum(a, b))
    np.testing.assert_array_equal(smallest, np.minimum(a, b))
    mixed = (a == 0) & (b == 0) & (np.signbit(a) != np.signbit(b))
    assert not np.signbit(largest[mixed]).any()
    assert np.signbit(smallest[mixed]).all()


@pytest.mark.parametrize("length", [1, 3, 64, 4099, 70_001])
def test_reduced_extrema_propagate_nan_and_infinities(length):
    array = np.random.default_rng(0).standard_normal((4, length)).astype("f")
    array[1, length // 2] = np.nan
    array[2, length // 3] = np.inf
    array[3] = -np.inf
    x = variable(array)
    found = computed(s.reduce_max(x, params=(1,)), s.reduce_min(x, params=(1,)))
    np.testing.assert_array_equal(found[0], array.max(1))
    np.testing.assert_array_equal(found[1], array.min(1))
    columns = variable(array.T)
    np.testing.assert_array_equal(computed(s.reduce_max(columns, params=(0,)))[0], array.max(1))


@pytest.mark.parametrize("length", [1, 64, 4099, 70_001])
def test_sums_keep_nan_and_infinities(length):
    array = np.ones((4, length), np.float32)
    array[0, length // 2] = np.nan
    array[1, length // 2] = np.inf
    array[2, 0], array[2, -1] = np.inf, -np.inf if length > 1 else np.inf
    (found,) = computed(s.reduce_sum(variable(array), params=(1,)))
    np.testing.assert_array_equal(found, [np.nan, np.inf, np.nan if length > 1 else np.inf, length])


def test_relu_keeps_nan_and_gives_positive_zero():
    array = np.tile(SPECIAL, 9)
    (found,) = computed(p.relu(variable(array)))
    np.testing.assert_array_equal(found, np.tile(np.array([0, 0, 1, 0, np.inf, 0, np.nan], "f"), 9))
    assert not np.signbit(found[~np.isnan(found)]).any()


def test_where_takes_the_bits_of_either_side():
    a, b = pairs(5)
    condition = np.arange(a.size) % 3 == 0
    (found,) = computed(p.where(variable(condition), variable(a), variable(b)))
    assert bits(found) == bits(np.where(condition, a, b))


def test_comparisons_with_nan_are_false_but_for_ne():
    a, b = pairs(3)
    for row, function in ((p.eq, np.equal), (p.ne, np.not_equal), (p.lt, np.less), (p.le, np.less_equal)):
        np.testing.assert_array_equal(computed(row(variable(a), variable(b)))[0], function(a, b))


def test_arithmetic_is_ieee_for_special_values():
    a, b = pairs(3)
    with np.errstate(all="ignore"):
        for row, function in ((p.add, np.add), (p.sub, np.subtract), (p.mul, np.multiply), (p.div, np.divide)):
            (found,) = computed(row(variable(a), variable(b)))
            wanted = function(a, b)
            np.testing.assert_array_equal(found, wanted)
            known = ~np.isnan(wanted)
            np.testing.assert_array_equal(np.signbit(found[known]), np.signbit(wanted[known]))


def test_a_product_and_a_sum_are_rounded_each():
    """No fused multiply-add, whose use would let bits depend on what else is in the kernel."""
    rng = np.random.default_rng(0)
    a, b, c = (rng.standard_normal(1000).astype("f") for _ in range(3))
    (found,) = computed(p.add(p.mul(variable(a), variable(b)), variable(c)))
    assert bits(found) == bits(a * b + c)


def test_integers_wrap_at_their_own_width():
    for name in ("uint8", "int8", "int16", "int32", "int64"):
        info = np.iinfo(name)
        x = variable(np.array([info.max, info.min, 1] * 30, name))
        (found,) = computed(p.add(p.mul(x, x), x))
        array = graphs.engine.read_node(x)
        with np.errstate(all="ignore"):
            np.testing.assert_array_equal(found, array * array + array)


def test_generated_source_names_only_what_it_defines_and_what_the_kernels_supply():
    known = {*toolchain.INTRINSICS, *scalar.NAMESPACE, *dir(__builtins__), "args", "range", "kernel", "finish"}
    for program in MODES.values():
        code = compile(generate(only(program()).kernel), "<kernel>", "exec")
        for function in (c for c in code.co_consts if hasattr(c, "co_names")):
            assert set(function.co_names) <= known


def test_the_tile_of_a_column_kernel_and_the_block_of_a_sum_are_powers_of_two():
    for size in (codegen_cpu.BLOCK, codegen_cpu.SHORT_BLOCK, codegen_cpu.COLUMN_TILE, codegen_cpu.TILE):
        assert size & (size - 1) == 0
