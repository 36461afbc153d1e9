"""Generated source to object code: what the vocabulary means, what the optimiser makes of it, what is refused."""

from __future__ import annotations

import ctypes
import math
import re
import subprocess
import sys
import textwrap

import numpy as np
import pytest
from flamework.kernels.cpu import toolchain
from flamework.kernels.cpu.target import target_description
from flamework.runtime.loader import load_object

KERNEL = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64)
SHORT = {"float32": "f32", "float64": "f64", "bool": "bool"} | {
    f"{prefix}int{bits}": f"{prefix or 'i'}{bits}" for prefix in ("", "u") for bits in (8, 16, 32, 64)
}
INTEGERS = [name for name in SHORT if "int" in name]


def compile_source(source, namespace=None):
    return toolchain.compile_kernels(textwrap.dedent(source), ["kernel"], namespace)


def call(compiled, *arguments, units=1):
    """Run the kernel over arrays (passed by address) and integers."""
    loaded = load_object(compiled.object_code, compiled.symbols)
    words = np.array([a.ctypes.data if isinstance(a, np.ndarray) else a for a in arguments], np.int64)
    KERNEL(loaded["kernel"])(words.ctypes.data, 0, units)


def elementwise_source(expression, dtypes, result):
    """A kernel that stores `expression` of x, y, z, whose arrays have the given dtypes."""
    names = "xyz"[: len(dtypes)]
    lines = [f"p{k} = pointer_{SHORT[dtype]}(args[{k}])" for k, dtype in enumerate(dtypes)]
    lines += [f"out = pointer_{SHORT[result]}(args[{len(dtypes)}])", "for i in range(start, stop):"]
    lines += [f"    {name} = load(p{k}, i, {k})" for k, name in enumerate(names)]
    lines += [f"    store(out, i, {expression}, {len(dtypes)})"]
    return "def kernel(args, start, stop):\n" + textwrap.indent("\n".join(lines), "    ")


def evaluate(expression, *arrays, result):
    compiled = toolchain.compile_kernels(
        elementwise_source(expression, [str(a.dtype) for a in arrays], result), ["kernel"]
    )
    out = np.empty(arrays[0].shape, result)
    call(compiled, *arrays, out, units=out.size)
    return out


def every_bit_pattern_of_16():
    return np.arange(2**16, dtype=np.uint32).astype(np.uint16)


def assert_same_bits(actual, expected):
    assert actual.dtype == expected.dtype
    np.testing.assert_array_equal(actual.view(f"u{actual.itemsize}"), expected.view(f"u{expected.itemsize}"))


# Integers ---------------------------------------------------------------------------------------------------------


def integer_samples(dtype, seed=0):
    info = np.iinfo(dtype)
    special = np.array([info.min, info.min + 1, info.max, info.max - 1, 0, 1, 2, 3, 7], dtype)
    if info.min < 0:
        special = np.concatenate([special, np.array([-1, -2, -3, -7], dtype)])
    random = np.random.default_rng(seed).integers(info.min, info.max, 60, dtype, endpoint=True)
    values = np.concatenate([special, random])
    x, y = np.meshgrid(values, values)
    return x.ravel().copy(), y.ravel().copy()


@pytest.mark.parametrize("dtype", INTEGERS)
def test_integer_arithmetic_wraps_around_at_its_own_width(dtype):
    x, y = integer_samples(dtype)
    with np.errstate(over="ignore"):
        cases = {"iadd(x, y)": x + y, "isub(x, y)": x - y, "imul(x, y)": x * y, "ineg(x)": np.negative(x)}
    for expression, expected in cases.items():
        np.testing.assert_array_equal(evaluate(expression, x, y, result=dtype), expected, expression)


@pytest.mark.parametrize("dtype", INTEGERS)
def test_integer_division_rounds_to_minus_infinity_and_never_traps(dtype):
    x, y = integer_samples(dtype)
    wide = np.array([int(a) // int(b) if b else 0 for a, b in zip(x, y, strict=True)], object)
    rest = np.array([int(a) % int(b) if b else 0 for a, b in zip(x, y, strict=True)], object)
    bits = 8 * x.itemsize
    wrapped = np.array([q & (2**bits - 1) for q in wide], object).astype(f"uint{bits}").astype(dtype)
    np.testing.assert_array_equal(evaluate("idiv_floor(x, y)", x, y, result=dtype), wrapped)
    np.testing.assert_array_equal(evaluate("irem_floor(x, y)", x, y, result=dtype), rest.astype(dtype))


@pytest.mark.parametrize("dtype", ["int8", "int32", "uint32", "int64"])
def test_truncating_division_agrees_with_c(dtype):
    x, y = integer_samples(dtype)
    keep = y != 0
    if np.iinfo(dtype).min < 0:
        keep &= ~((x == np.iinfo(dtype).min) & (y == -1))
    x, y = x[keep], y[keep]
    pairs = [(int(a), int(b)) for a, b in zip(x, y, strict=True)]
    expected = np.array([abs(a) // abs(b) * (1 if (a < 0) == (b < 0) else -1) for a, b in pairs], object)
    np.testing.assert_array_equal(evaluate("idiv_trunc(x, y)", x, y, result=dtype), expected.astype(dtype))
    np.testing.assert_array_equal(evaluate("irem_trunc(x, y)", x, y, result=dtype), np.fmod(x, y))


@pytest.mark.parametrize("dtype", INTEGERS)
def test_integer_extrema_shifts_and_bits(dtype):
    x, y = integer_samples(dtype)
    bits = 8 * x.itemsize
    amount = (np.arange(x.size) % (bits + 3)).astype(dtype)
    inside = amount < bits
    safe = np.where(inside, amount, 0).astype(dtype)
    sign = np.where(x < 0, -1, 0).astype(dtype)
    cases = {
        "imax(x, y)": np.maximum(x, y),
        "imin(x, y)": np.minimum(x, y),
        "iand(x, y)": x & y,
        "ior(x, y)": x | y,
        "ixor(x, y)": x ^ y,
        "inot(x)": ~x,
        "iabs(x)": np.abs(x),
    }
    for expression, expected in cases.items():
        np.testing.assert_array_equal(evaluate(expression, x, y, result=dtype), expected, expression)
    left = np.where(inside, np.left_shift(x, safe), 0).astype(dtype)
    right = np.where(inside, np.right_shift(x, safe), sign).astype(dtype)
    np.testing.assert_array_equal(evaluate("ishl(x, y)", x, amount, result=dtype), left)
    np.testing.assert_array_equal(evaluate("ishr(x, y)", x, amount, result=dtype), right)


@pytest.mark.parametrize("dtype", ["uint32", "uint64", "int32", "int64"])
def test_multiply_high_is_the_upper_half_of_the_product(dtype):
    x, y = integer_samples(dtype)
    bits = 8 * x.itemsize
    expected = [(int(a) * int(b)) >> bits for a, b in zip(x, y, strict=True)]
    expected = np.array(expected, object).astype(dtype)
    np.testing.assert_array_equal(evaluate("imulhi(x, y)", x, y, result=dtype), expected)


# Casts ------------------------------------------------------------------------------------------------------------

FLOAT_SAMPLES = [0.0, -0.0, 0.5, -0.5, 1.9, -1.9, 126.9, 127.5, -128.9, 255.5, 300.0, -1.0, -300.0, 32768.0, 65536.7]
FLOAT_SAMPLES += [2147483520.0, 2147483648.0, -2147483648.0, 4e9]
OUT_OF_RANGE = [1e18, 1e10, -1e10, 9.3e18, -9.3e18, 1.8e19, float("inf"), -float("inf"), float("nan")]


@pytest.mark.parametrize("source", ["float32", "float64"])
@pytest.mark.parametrize("target", list(SHORT))
def test_casts_from_floats_agree_with_pytorch(source, target):
    torch = pytest.importorskip("torch")
    samples = FLOAT_SAMPLES if target == "uint32" else FLOAT_SAMPLES + OUT_OF_RANGE
    x = np.array(samples * 4, source)
    cast = "boolean" if target == "bool" else SHORT[target]
    expected = torch.from_numpy(x).to(getattr(torch, target)).numpy()
    np.testing.assert_array_equal(evaluate(f"{cast}(x)", x, result=target), expected)


@pytest.mark.parametrize("source", [*INTEGERS, "bool"])
def test_casts_from_integers_agree_with_numpy(source):
    x = np.array([False, True] * 9) if source == "bool" else integer_samples(source)[0]
    for target in SHORT:
        cast = "boolean" if target == "bool" else SHORT[target]
        np.testing.assert_array_equal(evaluate(f"{cast}(x)", x, result=target), x.astype(target), target)


def test_bitcasts_keep_the_bits():
    x = np.random.default_rng(0).integers(0, 2**32, 1000, np.uint32)
    y = np.random.default_rng(0).integers(0, 2**63, 1000, np.int64)
    assert_same_bits(evaluate("bitcast_u32_f32(x)", x, result="float32"), x.view(np.float32))
    assert_same_bits(evaluate("bitcast_f32_i32(x)", x.view(np.float32), result="int32"), x.view(np.int32))
    assert_same_bits(evaluate("bitcast_f64_i64(bitcast_i64_f64(x))", y, result="int64"), y)


@pytest.mark.parametrize("name", ["f16_to_f32", "f16_to_f32_by_bits"])
def test_every_float16_converts_to_float32(name):
    x = every_bit_pattern_of_16()
    expected = x.view(np.float16).astype(np.float32)
    actual = evaluate(f"{name}(x)", x, result="float32")
    np.testing.assert_array_equal(np.isnan(actual), np.isnan(expected))
    finite = ~np.isnan(expected)
    assert_same_bits(actual[finite], expected[finite])


def rounding_samples():
    """float32 values on, beside and halfway between all float16 and bfloat16 values of interest, and random bits."""
    halves = every_bit_pattern_of_16().view(np.float16).astype(np.float32)
    halves = halves[np.isfinite(halves)]
    middles = (halves[:-1].astype(np.float64) + halves[1:]) / 2
    near = np.concatenate([halves, middles.astype(np.float32)])
    near = np.concatenate([near, np.nextafter(near, np.float32(np.inf)), np.nextafter(near, np.float32(-np.inf))])
    bits = np.random.default_rng(1).integers(0, 2**32, 200_000, np.uint32).view(np.float32)
    special = np.array([65504, 65519.996, 65520, 65536, np.inf, -np.inf, np.nan, 2**-25, 2**-24], np.float32)
    return np.concatenate([near, bits, special])


@pytest.mark.parametrize("name", ["f32_to_f16", "f32_to_f16_by_bits"])
def test_float32_rounds_to_nearest_even_float16(name):
    x = rounding_samples()
    with np.errstate(over="ignore", invalid="ignore"):
        expected = x.astype(np.float16)
    actual = evaluate(f"{name}(x)", x, result="uint16").view(np.float16)
    numbers = ~np.isnan(x)
    assert np.isnan(actual[~numbers]).all()
    assert_same_bits(actual[numbers], expected[numbers])


def test_float32_rounds_to_nearest_even_bfloat16():
    torch = pytest.importorskip("torch")
    x = rounding_samples()
    expected = torch.from_numpy(x).to(torch.bfloat16)
    actual = evaluate("f32_to_bf16(x)", x, result="uint16")
    numbers = ~np.isnan(x)
    assert_same_bits(actual[numbers].view(np.int16), expected.view(torch.int16).numpy()[numbers])
    widened = evaluate("bf16_to_f32(x)", actual, result="float32")
    np.testing.assert_array_equal(widened, expected.float().numpy())


# Floating point ---------------------------------------------------------------------------------------------------

SPECIAL = np.array([0.0, -0.0, 1.5, -1.5, 2.5, 0.5, -0.5, np.inf, -np.inf, np.nan, 1e-45, 3e38], np.float32)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_rounding_and_sign_functions_agree_with_numpy(dtype):
    x = np.tile(SPECIAL, 8).astype(dtype)
    with np.errstate(invalid="ignore"):
        cases = {
            "ffloor(x)": np.floor(x), "fceil(x)": np.ceil(x), "ftrunc(x)": np.trunc(x), "frint(x)": np.rint(x),
            "fabs(x)": np.abs(x), "fneg(x)": -x, "fsqrt(x)": np.sqrt(x),
        }  # fmt: skip
    for expression, expected in cases.items():
        actual = evaluate(expression, x, result=dtype)
        numbers = ~np.isnan(expected)
        assert_same_bits(actual[numbers], expected[numbers])
        assert np.isnan(actual[~numbers]).all()


@pytest.mark.parametrize("name", ["fmax", "fmin"])
def test_extrema_propagate_nan_and_order_zeros(name):
    x, y = (a.ravel().copy() for a in np.meshgrid(SPECIAL, SPECIAL))
    actual = evaluate(f"{name}(x, y)", x, y, result="float32")
    np.testing.assert_array_equal(actual, {"fmax": np.maximum, "fmin": np.minimum}[name](x, y))
    both_zero = (x == 0) & (y == 0)
    wanted = np.signbit(x) & np.signbit(y) if name == "fmax" else np.signbit(x) | np.signbit(y)
    np.testing.assert_array_equal(np.signbit(actual)[both_zero], wanted[both_zero])


def test_comparisons_and_selection_treat_nan_as_ieee_does():
    x, y = (a.ravel().copy() for a in np.meshgrid(SPECIAL, SPECIAL))
    cases = {"eq": x == y, "ne": x != y, "lt": x < y, "le": x <= y, "gt": x > y, "ge": x >= y}
    for name, expected in cases.items():
        np.testing.assert_array_equal(evaluate(f"{name}(x, y)", x, y, result="bool"), expected, name)
    chosen = evaluate("select(bor(lt(x, y), bnot(eq(x, x))), x, y)", x, y, result="float32")
    np.testing.assert_array_equal(chosen, np.where((x < y) | np.isnan(x), x, y))


def test_products_and_sums_are_not_contracted_to_a_fused_operation():
    x = np.full(64, 1 + 2.0**-12, np.float32)
    y = np.full(64, -1.0, np.float32)
    expected = x * x + y
    assert_same_bits(evaluate("fadd(fmul(x, x), y)", x, y, result="float32"), expected)
    assert_same_bits(evaluate("x * x + y", x, y, result="float32"), expected)
    fused = (x.astype(np.float64) ** 2 - 1).astype(np.float32)
    assert_same_bits(evaluate("fma(x, x, y)", x, y, result="float32"), fused)
    assert (fused != expected).all()


def test_division_by_zero_gives_infinity_and_vectorises():
    source = elementwise_source("x / y", ["float32", "float32"], "float32")
    compiled = toolchain.compile_kernels(source, ["kernel"])
    assert re.search(r"fdiv <\d+ x float>", compiled.llvm_ir)
    x, out = np.array([1, -1, 0, 1] * 16, np.float32), np.empty(64, np.float32)
    call(compiled, x, np.array([0, 0, 0, 2] * 16, np.float32), out, units=64)
    np.testing.assert_array_equal(out, np.array([np.inf, -np.inf, np.nan, 0.5] * 16, np.float32))


# Loops ------------------------------------------------------------------------------------------------------------

PLAIN_SUM = """
    def kernel(args, start, stop):
        x = pointer_f32(args[0])
        results = pointer_f32(args[1])
        n = args[2]
        total = f32(0.0)
        for i in range(n):
            loop_hint(16, 4)
            total = fadd_reassoc(total, load(x, i, 0))
        store(results, 0, total, 1)
"""

SUM_IN_HEAVY_COMPANY = """
    def polynomial(x):
        r = f32(1.0)
        r = fma(r, x, f32(0.1)); r = fma(r, x, f32(0.2)); r = fma(r, x, f32(0.3)); r = fma(r, x, f32(0.4))
        r = fma(r, x, f32(0.5)); r = fma(r, x, f32(0.6)); r = fma(r, x, f32(0.7)); r = fma(r, x, f32(0.8))
        return fdiv(fadd(r, frint(x)), fsqrt(fadd(fabs(x), f32(2.0))))

    def kernel(args, start, stop):
        x = pointer_f32(args[0])
        results = pointer_f32(args[1])
        n = args[2]
        y = pointer_f32(args[3])
        z = pointer_f64(args[4])
        mask = pointer_bool(args[5])
        total = f32(0.0)
        squares = f32(0.0)
        largest = f32(-inf)
        for i in range(n):
            loop_hint(16, 4)
            v = load(x, i, 0)
            total = fadd_reassoc(total, v)
            r = polynomial(v)
            squares = fadd_reassoc(squares, fmul(v, v))
            largest = fmax(largest, r)
            store(y, i, r, 2)
            store(z, i, f64(r), 3)
            store(mask, i, gt(r, v), 4)
        store(results, 0, total, 1)
        store(results, 1, squares, 1)
        store(results, 2, largest, 1)
"""


def sum_in_64_lanes(x):
    """The order of summation that `loop_hint(16, 4)` promises: 64 partial sums, folded, then the remainder."""
    whole = x.size // 64 * 64
    lanes = np.zeros(64, np.float32)
    for i in range(0, whole, 64):
        lanes += x[i : i + 64]
    first, *others = lanes.reshape(4, 16)
    for other in others:
        first = first + other
    while first.size > 1:
        first = first[: first.size // 2] + first[first.size // 2 :]
    total = first[0]
    for value in x[whole:]:
        total = np.float32(total + value)
    return total


def test_order_of_a_sum_does_not_depend_on_the_rest_of_the_loop():
    plain, heavy = compile_source(PLAIN_SUM), compile_source(SUM_IN_HEAVY_COMPANY)
    generator = np.random.default_rng(0)
    for n in [*range(0, 200, 7), 63, 64, 65, 127, 128, 1000, 4095, 12345]:
        x = generator.standard_normal(n).astype(np.float32)
        alone, accompanied = np.zeros(3, np.float32), np.zeros(3, np.float32)
        call(plain, x, alone, n)
        call(heavy, x, accompanied, n, np.empty(n, np.float32), np.empty(n), np.empty(n, bool))
        assert alone[0] == accompanied[0] == sum_in_64_lanes(x), n
        assert accompanied[1] == sum_in_64_lanes(x * x), n


def test_hinted_reductions_are_vectorised_sixteen_wide_and_four_deep():
    for source in (PLAIN_SUM, SUM_IN_HEAVY_COMPANY):
        ir = compile_source(source).llvm_ir
        assert len(re.findall(r"phi <16 x float>", ir)) >= 4
        assert not re.findall(r"phi <(?:4|8|32) x float>", ir)


@pytest.mark.parametrize(
    ("short", "dtype", "operation", "start", "reduce", "hint"),
    [
        ("f32", "float32", "fmax", "-inf", np.max, "16, 4"),
        ("f32", "float32", "fmin_reassoc", "inf", np.min, "16, 4"),
        ("f64", "float64", "fadd_reassoc", "0.0", None, "8, 4"),
        ("i64", "int64", "iadd", "0", np.sum, "8, 4"),
        ("i32", "int32", "imax", "-2147483648", np.max, "16, 4"),
    ],
)
def test_reductions_vectorise_and_agree_with_numpy(short, dtype, operation, start, reduce, hint):
    compiled = compile_source(f"""
        def kernel(args, start, stop):
            x = pointer_{short}(args[0])
            out = pointer_{short}(args[1])
            for row in range(start, stop):
                result = {short}({start})
                for i in range(args[2]):
                    loop_hint({hint})
                    result = {operation}(result, load(x, row * args[2] + i, 0))
                store(out, row, result, 1)
    """)
    assert re.search(rf"phi <{hint.split(',')[0]} x ", compiled.llvm_ir)
    generator = np.random.default_rng(0)
    x = (generator.standard_normal((5, 331)) * 1000).astype(dtype)
    out = np.empty(5, dtype)
    call(compiled, x, out, 331, units=5)
    if reduce is None:
        np.testing.assert_allclose(out, x.sum(1), rtol=1e-12)
    else:
        np.testing.assert_array_equal(out, reduce(x, axis=1))


@pytest.mark.parametrize("operation", ["fmax", "fmin", "fmax_reassoc", "fmin_reassoc"])
@pytest.mark.parametrize("position", [0, 17, 64, 130])
def test_a_nan_anywhere_reaches_the_result_of_an_extremum(operation, position):
    compiled = compile_source(f"""
        def kernel(args, start, stop):
            x = pointer_f32(args[0])
            out = pointer_f32(args[1])
            result = load(x, 0, 0)
            for i in range(args[2]):
                loop_hint(16, 4)
                result = {operation}(result, load(x, i, 0))
            store(out, 0, result, 1)
    """)
    x, out = np.arange(131, dtype=np.float32), np.zeros(1, np.float32)
    x[position] = np.nan
    call(compiled, x, out, 131)
    assert np.isnan(out[0])


def test_many_operands_need_no_alias_checks():
    count = 12
    loads = "\n".join(f"p{k} = pointer_f32(args[{k}])" for k in range(count))
    total = "load(p0, i, 0)"
    for k in range(1, count - 1):
        total = f"fadd({total}, load(p{k}, i, {k}))"
    source = f"{loads}\nfor i in range(start, stop):\n    store(p{count - 1}, i, {total}, {count - 1})"
    compiled = compile_source("def kernel(args, start, stop):\n" + textwrap.indent(source, "    "))
    assert re.search(r"fadd <\d+ x float>", compiled.llvm_ir)
    assert "vector.memcheck" not in compiled.llvm_ir
    arrays = [np.full(100, k, np.float32) for k in range(count - 1)]
    out = np.empty(100, np.float32)
    call(compiled, *arrays, out, units=100)
    np.testing.assert_array_equal(out, np.full(100, sum(range(count - 1)), np.float32))


def test_operands_that_share_a_scope_may_overlap():
    compiled = compile_source("""
        def kernel(args, start, stop):
            x = pointer_f32(args[0])
            y = pointer_f32(args[1])
            for i in range(start, stop):
                store(y, i, fadd(load(x, i, 0), f32(1.0)), 0)
    """)
    memory = np.zeros(101, np.float32)
    call(compiled, memory, memory[1:], units=100)
    np.testing.assert_array_equal(memory, np.arange(101))


# The object code --------------------------------------------------------------------------------------------------


def test_object_code_loads_without_numba():
    source = """
        def kernel(args, start, stop):
            x = pointer_f64(args[0])
            for i in range(start, stop):
                store(x, i, lgamma(load(x, i, 0)), 0)
    """
    compiled = compile_source(source, {"lgamma": math.lgamma})
    script = f"""
import ctypes, sys
from flamework.runtime.loader import load_object
loaded = load_object({compiled.object_code!r}, {compiled.symbols!r})
value = ctypes.c_double(10.0)
words = (ctypes.c_int64 * 1)(ctypes.addressof(value))
ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64)(loaded["kernel"])(ctypes.addressof(words), 0, 1)
assert abs(value.value - 12.801827480081469) < 1e-12, value
assert "numba" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", script], check=True)


def test_the_same_source_gives_the_same_object_code():
    assert compile_source(PLAIN_SUM).object_code == compile_source(PLAIN_SUM).object_code


def test_device_functions_of_source_and_namespace_are_inlined():
    def increment(x):
        return x + np.float32(1.0)

    compiled = compile_source(
        """
        def twice(x):
            return fadd(x, x)

        def four_times(x):
            return twice(twice(x))

        def kernel(args, start, stop):
            x = pointer_f32(args[0])
            for i in range(start, stop):
                store(x, i, increment(four_times(load(x, i, 0))), 0)
        """,
        {"increment": increment},
    )
    assert len(re.findall(r"^define ", compiled.llvm_ir, re.MULTILINE)) == 1
    x = np.arange(10, dtype=np.float32)
    call(compiled, x, units=10)
    np.testing.assert_array_equal(x, np.arange(10) * 4 + 1)


def test_several_functions_share_an_object_and_may_have_other_signatures():
    compiled = toolchain.compile_kernels(
        textwrap.dedent("""
            def increment(x):
                return x + 1

            def first(args, start, stop):
                write_word(args[0], increment(args[1]))

            def second(x, y):
                return increment(x) * y
        """),
        ["first", "second"],
        signatures={"second": "int64(int64, int64)"},
    )
    loaded = load_object(compiled.object_code, compiled.symbols)
    out = np.zeros(1, np.int64)
    KERNEL(loaded["first"])(np.array([out.ctypes.data, 6], np.int64).ctypes.data, 0, 0)
    assert out[0] == 7
    assert ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_int64, ctypes.c_int64)(loaded["second"])(4, 5) == 25


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("store(pointer_f32(args[0]), start, 1.0, 0)", "store does not take"),
        ("print(start)", "print"),
        ("loop_hint(16, 4)", "outside any loop"),
        ("raise ValueError(start)", ""),
        ("iadd(i32(1), i64(1))", "iadd does not take"),
        ("undefined_name(start)", "undefined_name"),
        ("(", "SyntaxError"),
    ],
)
def test_source_that_does_not_compile_is_reported_with_its_text(body, message):
    with pytest.raises(toolchain.KernelCompilationError) as caught:
        compile_source(f"def kernel(args, start, stop):\n    {body}\n")
    assert message in str(caught.value)
    assert body in str(caught.value)


def test_target_description_is_complete_and_needs_no_numba():
    assert set(target_description()) == {"triple", "cpu", "features", "llvm", "llvmlite", "numba", "codegen"}
    assert all(isinstance(value, str) and value for value in target_description().values())
    script = "import sys; from flamework.kernels.cpu.target import target_description as t; t(); "
    subprocess.run([sys.executable, "-c", script + "assert 'numba' not in sys.modules"], check=True)
