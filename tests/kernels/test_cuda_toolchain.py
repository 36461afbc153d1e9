"""The GPU's vocabulary and toolchain: meaning of every name, PTX, machine code, and what happens without them.

What a name means on a GPU is checked on the CPU where it is plain LLVM (with other functions in the place of
libdevice's), and by compiling it where it is not.
"""

from __future__ import annotations

import ctypes
import math
import re
import string
import textwrap
from collections.abc import Sequence
from pathlib import Path

import flamework.compiler
import flamework.kernels
import flamework.runtime
import numpy as np
import pytest
from flamework.compiler import dtypes, primitives as p
from flamework.compiler.codegen_cuda import Launch
from flamework.kernels.cpu import scalar, toolchain as cpu_toolchain, vmath
from flamework.kernels.cpu.intrinsics import call_llvm
from flamework.kernels.cuda import namespace, simulation, toolchain
from flamework.runtime import loader

NARROW = ("f16", "bf16")
REAL = [d for d in dtypes.ALL if d.kind != dtypes.COMPLEX]
DTYPES = {d.code: d.numpy.type for d in REAL if d is not dtypes.bool_ and d.code not in NARROW}
INTEGERS = ("i8", "u8", "i16", "i32", "i64")
FLOATS = ("f32", "f64")


# ------------------------------------------------------------------------------------------------------ the vocabulary


def names_in_the_table() -> set[str]:
    """Every name that a row's expression can print."""
    names = set()
    for row in p.TABLE.values():
        for kind, template in row.expr.items() if isinstance(row.expr, dict) else [("", row.expr or "")]:
            fields = {field for _, field, _, _ in string.Formatter().parse(template) if field}
            codes = [d.code for d in REAL]
            if kind == "n":
                names |= {template.format("x", s=code, r="f32")[:-3] for code in NARROW}
                continue
            for code in codes:
                same_size = [d.code for d in REAL if d.itemsize == REAL[codes.index(code)].itemsize]
                for result in same_size if "bitcast" in template else codes:
                    text = template.format(*"xyz", t=code, s=code, r=result, error="error") if fields else template
                    names |= set(re.findall(r"([a-z]\w*)\(", text))
    return names


def test_every_name_of_the_table_exists_on_the_gpu_and_in_the_simulator():
    assert names_in_the_table() <= set(namespace.NAMESPACE)
    assert names_in_the_table() <= set(simulation.NAMESPACE)


def test_gpu_and_simulator_have_the_same_names():
    # what threads exchange is written in the scope of each kernel
    assert set(simulation.NAMESPACE) | {"shuffle"} == set(namespace.NAMESPACE) | {"inf", "nan"}
    assert set(namespace.ARITY) == set(namespace.NAMESPACE)


def on_cpu(name: str, code: str, *operands: np.ndarray) -> np.ndarray:
    """A name of the GPU's vocabulary, compiled for this processor and applied to arrays of one dtype."""
    loads = ", ".join(f"load(pointer_{code}(args[{k}]), i, {k})" for k in range(len(operands)))
    result = f"store(pointer_{code}(args[{len(operands)}]), i, on_gpu({loads}), {len(operands)})"
    source = f"def kernel(args, start, stop):\n    for i in range(start, stop):\n        {result}\n"
    vocabulary = {**scalar.NAMESPACE, "on_gpu": namespace.NAMESPACE[name]}
    compiled = cpu_toolchain.compile_kernels(source, ["kernel"], vocabulary)
    loaded = loader.load_object(compiled.object_code, compiled.symbols)
    found = np.empty_like(operands[0])
    arguments = np.array([a.ctypes.data for a in (*operands, found)], np.int64)
    function = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64)(loaded["kernel"])
    function(arguments.ctypes.data, 0, found.size)
    return found


def pairs(values: Sequence, code: str) -> tuple[np.ndarray, np.ndarray]:
    """Every value with every other."""
    array = np.array(values, DTYPES[code])
    first, second = np.meshgrid(array, array)
    return np.ascontiguousarray(first.ravel()), np.ascontiguousarray(second.ravel())


def quotient_and_rest(x: int, y: int, floor: bool) -> tuple[int, int]:
    if y == 0:
        return 0, 0
    quotient = x // y if floor else int(math.copysign(1, x) * math.copysign(1, y)) * (abs(x) // abs(y))
    return quotient, x - quotient * y


@pytest.mark.parametrize("code", INTEGERS)
@pytest.mark.parametrize(
    ("name", "floor", "which"),
    [("idiv_floor", True, 0), ("irem_floor", True, 1), ("idiv_trunc", False, 0), ("irem_trunc", False, 1)],
)
def test_integer_division_rounds_wraps_and_never_traps(code, name, floor, which):
    limits = np.iinfo(DTYPES[code])
    values = [v for v in (0, 1, -1, 2, -2, 3, 7, -7, 100, limits.min, limits.max) if limits.min <= v <= limits.max]
    x, y = pairs(values, code)
    width = 1 << limits.bits
    exact = [quotient_and_rest(int(a), int(b), floor)[which] % width for a, b in zip(x, y)]
    expected = np.array(exact, np.dtype(DTYPES[code]).str.replace("i", "u")).view(DTYPES[code])
    np.testing.assert_array_equal(on_cpu(name, code, x, y), expected)
    simulated = [simulation.NAMESPACE[name](a, b) for a, b in zip(x, y)]
    np.testing.assert_array_equal(np.array(simulated, DTYPES[code]), expected)


@pytest.fixture
def library_of_the_processor(monkeypatch):
    """The functions of libdevice replaced by this processor's."""

    def libdevice(builder, name, *values):
        if name == "fmod":
            return builder.frem(*values)
        if name in ("fmax", "fmin"):
            return call_llvm(builder, name.replace("f", "") + "num", list(values))
        return vmath.emit(name, builder, *values)

    monkeypatch.setattr(namespace, "libdevice", libdevice)


SPECIAL = [0.0, -0.0, 1.0, -1.0, 0.5, 2.5, -2.5, 7.0, -7.0, 0.1, 1e30, -90.0, 1000.0, math.inf, -math.inf, math.nan]


@pytest.mark.parametrize("code", FLOATS)
@pytest.mark.parametrize(
    ("name", "expected"),
    [("remainder", np.remainder), ("floordiv", np.floor_divide), ("fmax", np.maximum), ("fmin", np.minimum)],
)
def test_functions_of_two_floats_keep_special_values(code, name, expected, library_of_the_processor):
    x, y = pairs(SPECIAL, code)
    with np.errstate(all="ignore"):
        np.testing.assert_array_equal(on_cpu(name, code, x, y), expected(x, y))


@pytest.mark.parametrize("code", FLOATS)
def test_simulated_maximum_orders_zeros_as_a_gpu_does(code):
    zeros = np.array([0.0, -0.0], DTYPES[code])
    assert not np.signbit([simulation.fmax(*zeros), simulation.fmax(*zeros[::-1])]).any()
    assert np.signbit([simulation.fmin(*zeros), simulation.fmin(*zeros[::-1])]).all()


@pytest.mark.parametrize("code", FLOATS)
def test_sigmoid_keeps_its_digits_for_small_results(code, library_of_the_processor):
    x = np.array([*np.linspace(-100, 100, 401), math.inf, -math.inf, math.nan], DTYPES[code])
    with np.errstate(over="ignore"):
        expected = (1 / (1 + np.exp(-x.astype(np.longdouble)))).astype(DTYPES[code])
    np.testing.assert_allclose(on_cpu("sigmoid", code, x), expected, rtol=4 * np.finfo(DTYPES[code]).eps)


@pytest.mark.parametrize("code", FLOATS)
def test_digamma_agrees_with_scipys(code, library_of_the_processor):
    special = pytest.importorskip("scipy.special")
    x = np.array([*np.linspace(-12.03, 30, 901), 1e-30, -1e-30, 1e10, 1e30, 1.4616321, 0.0, -0.0, -1.0, -7.0, math.inf,
                  -math.inf, math.nan], DTYPES[code])
    expected = special.psi(x.astype(np.float64)).astype(DTYPES[code])
    # near the roots at negative numbers scipy's loses digits, too
    rtol, atol = (1e-13, 3e-15) if code == "f64" else (2e-7, 1e-12)
    found = on_cpu("digamma", code, x)
    positive = ~(x < 0)
    np.testing.assert_allclose(found[positive], expected[positive], rtol=rtol, atol=atol)
    np.testing.assert_allclose(found[~positive], expected[~positive], rtol=1e3 * rtol, atol=1e3 * atol)


@pytest.mark.parametrize("pair", ["u8 i8", "i32 f32", "f32 i32", "f64 i64", "i64 f64"])
def test_bitcast_keeps_the_bits(pair):
    source, target = pair.split()
    given = np.array([1, 3, 100, 127], DTYPES[source])
    found = np.array([simulation.NAMESPACE[f"bitcast_{source}_{target}"](x) for x in given])
    np.testing.assert_array_equal(found, given.view(DTYPES[target]))


def test_simulated_memory_is_checked():
    pointer = simulation.NAMESPACE["pointer_f32"](simulation.Address(np.zeros(4, np.float32)))
    for index in (-1, 4):
        with pytest.raises(IndexError):
            simulation.load(pointer, index)
        with pytest.raises(IndexError):
            simulation.store(pointer, index, np.float32(0))
    with pytest.raises(TypeError, match="float64"):
        simulation.store(pointer, 0, np.float64(0))


# ------------------------------------------------------------------------------------------------------- without a GPU


def test_only_the_toolchain_imports_numba_cuda():
    statement = re.compile(r"^\s*(from numba import .*cuda|(from|import) numba\.cuda|import numba_cuda)", re.MULTILINE)
    packages = [flamework, flamework.compiler, flamework.kernels, flamework.runtime]
    files = {path for package in packages for path in Path(package.__file__).parent.rglob("*.py")}
    found = {path for path in files if statement.search(path.read_text())}
    assert found == {Path(toolchain.__file__)}


def test_simulator_must_be_chosen_at_the_start():
    with pytest.raises(RuntimeError, match="NUMBA_ENABLE_CUDASIM=1"):
        toolchain.simulate("def kernel(units):\n    pass\n", [Launch("kernel", 1, 1, 1)], [])


def test_missing_packages_are_named(monkeypatch):
    monkeypatch.setattr(toolchain, "has_compiler", lambda: False)
    with pytest.raises(toolchain.ToolchainMissing, match=r"pip install 'flamework\[cuda\]'"):
        toolchain.compile_to_ptx("def kernel(units):\n    pass\n", ["kernel"], (8, 0), 256)


def test_missing_assembler_is_named(monkeypatch):
    toolchain.find_program.cache_clear()
    monkeypatch.setattr(toolchain.importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(toolchain.shutil, "which", lambda name: None)
    with pytest.raises(toolchain.ToolchainMissing, match=r"flamework\[cuda\]"):
        toolchain.find_program("ptxas")


def test_report_is_read_from_what_the_assembler_says():
    text = textwrap.dedent("""
        ptxas info    : Compiling entry function 'flamework_kernel' for 'sm_80'
            8 bytes stack frame, 4 bytes spill stores, 12 bytes spill loads
        ptxas info    : Used 40 registers, used 1 barriers, 8 bytes cumulative stack size, 1024 bytes smem
        ptxas info    : Compiling entry function 'flamework_finish' for 'sm_80'
            0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
        ptxas info    : Used 21 registers, used 0 barriers, 400 bytes cmem[0]
    """)
    assert toolchain.read_report(text) == {"registers": 40, "spills": 12, "shared": 1024, "barriers": 1}


# ------------------------------------------------------------------------------------------------- the real compiler


@pytest.fixture
def compiler():
    pytest.importorskip("numba_cuda")
    return lambda source, cc=(8, 0): toolchain.compile_to_ptx(textwrap.dedent(source), ["kernel"], cc, 256)


SCALE_AND_ADD = """
    def kernel(a0, a1, units):
        p0 = pointer_f32(a0)
        p1 = pointer_f32(a1)
        unit = i64(cuda.blockIdx.x) * 256 + i64(cuda.threadIdx.x)
        while unit < units:
            v0 = load_constant(p0, unit)
            v1 = (v0 * v0)
            store(p1, unit, (v1 + load(p1, unit)))
            unit += i64(cuda.gridDim.x) * 256
"""


def test_ptx_is_the_same_each_time(compiler):
    assert compiler(SCALE_AND_ADD) == compiler(SCALE_AND_ADD)


def test_memory_is_global_and_constant_memory_read_only(compiler):
    text = compiler(SCALE_AND_ADD)
    assert "ld.global.nc.f32" in text
    assert "ld.global.f32" in text
    assert "st.global.f32" in text
    assert ".visible .entry flamework_kernel(" in text
    assert ".maxntid 256" in text


def test_products_and_sums_are_not_contracted(compiler):
    text = compiler(SCALE_AND_ADD)
    assert "fma" not in text
    assert "mul.rn.f32" in text


#: The names that move elements or say something of a loop, which stand in no expression.
APART = ("pointer_", "load", "store", "registers_", "put", "got", "address", "branch", "unrolled", "rolled")


@pytest.mark.parametrize("count", [2, 4, 8, 16])
@pytest.mark.parametrize("code", ["b8", "i8", "u16", "f16", "i32", "f32", "i64", "f64"])
def test_vectors_compile(compiler, code, count):
    text = compiler(f"""
        def kernel(a0, a1, units):
            p0 = pointer_{code}(a0)
            p1 = pointer_{code}(a1)
            held = registers_{code}()
            load_constant_{count}(p0, units, held, 0)
            part = 0
            while part < {count}:
                put(held, part, got(held, part))
                part += 1
                unrolled()
            store_{count}(p1, address(units), held, 0)
            load_{count}(p1, units, held, 0)
            store_{count}(p0, units, held, 0)
    """)
    # in registers, and not in the memory that stands behind them
    assert "local" not in text
    nbytes = count * {"8": 1, "16": 2, "32": 4, "64": 8}[code.lstrip("biuf")]
    words = {4: "", 8: r"\.v2", 16: r"\.v[24]"}
    if nbytes in words:
        assert re.search(rf"ld\.global\.nc{words[nbytes]}\.\w(32|64)", text)


@pytest.mark.parametrize("name", [n for n in namespace.NAMESPACE if not n.startswith(APART)])
def test_every_name_compiles(compiler, name):
    if match := re.fullmatch(r"bitcast_(\w+)_(\w+)", name):
        codes, result = [match[1]], match[2]
    elif name in NARROW:
        codes, result = ["f32"], name
    elif name.endswith("_to_f32"):
        codes, result = [name.partition("_")[0]], "f32"
    elif name in DTYPES or name in ("b8", "u16", "u32", "u64"):
        codes, result = [*DTYPES, "b8"], name
    elif name in ("inside", "wrap_index", "philox", "udiv"):
        codes, result = ["i64"], {"inside": "b8", "philox": "i32"}.get(name, "i64")
    elif name == "shuffle":
        codes, result = ["i8", "b8", "i32", "i64", "f32", "f64"], ""
    elif name == "select" or name in ("band", "bor", "bxor", "bnot"):
        codes, result = ["b8"], "b8"
    else:
        codes, result = INTEGERS if name[0] == "i" else FLOATS, ""
    lines = ["def kernel(a0, a1, units):"]
    for code in codes:
        values = ", ".join(f"load(pointer_{code}(a0), i64({k}))" for k in range(namespace.ARITY[name]))
        if name == "shuffle":
            values = f"load(pointer_{code}(a0), i64(0)), 4"
        lines.append(f"    store(pointer_{result or code}(a1), 0, {name}({values}))")
    assert "st.global" in compiler("\n".join(lines))


def test_source_that_does_not_compile_is_quoted(compiler):
    with pytest.raises(toolchain.KernelCompilationError, match="no_such_name"):
        compiler("def kernel(a0, units):\n    no_such_name(a0)\n")


def test_more_arguments_than_a_launch_takes_are_refused(compiler):
    names = ", ".join(f"a{k}" for k in range(toolchain.MOST_PARAMETERS + 1))
    with pytest.raises(toolchain.KernelCompilationError, match="arguments"):
        compiler(f"def kernel({names}):\n    pass\n")


def test_explain_shows_what_a_gpu_would_run(compiler):
    import flamework

    (kernel,) = flamework.explain(lambda x: flamework.softmax(x * 2, 1))(flamework.rand(64, 1000)).kernels
    assert ".entry flamework_kernel" in kernel.ptx()
    assert "shfl.sync.bfly" in kernel.ptx((8, 0))
    found = kernel.gpu_resources()
    assert found["spills"] == 0
    assert 16 <= found["registers"] <= 80
    assert 0 < found["shared"] <= 4096
    (product,) = flamework.explain(lambda x: x @ x)(flamework.rand(9, 9)).kernels
    assert (product.ptx(), product.sass(), product.gpu_resources()) == ("", "", {})


def test_machine_code_is_shown(compiler, tmp_path):
    if not has_program("nvdisasm"):
        pytest.skip("nvdisasm is not installed")
    import flamework

    explained = flamework.explain(lambda x: x + 1)(flamework.rand(64))
    (kernel,) = explained.kernels
    assert "FADD" in kernel.sass()
    names = {path.name.partition(".")[2] for path in (explained.save(tmp_path, cc=(9, 0)) / "kernels").iterdir()}
    assert names == {"cpu.py", "cuda.py", "loops.txt", "ptx", "sass"}
    assert re.fullmatch(
        r"\[0\] flat_add_\w+: \d+ registers, 0 spills, 0 shared, 0 barriers, 256 bytes read, 256 written\n",
        (tmp_path / "gpu.txt").read_text(),
    )


def has_program(name: str) -> bool:
    try:
        return bool(toolchain.find_program(name))
    except toolchain.ToolchainMissing:
        return False


# ------------------------------------------------------------------------------------------------------------- loops


def test_marks_of_loops_become_metadata_of_their_branches_back():
    llvm = textwrap.dedent('''\
        B1:
          %x = add i64 0, 0, !llvm.loop.unroll.full !3
          br i1 %c, label %B1, label %B2
        B2:
          br label %B3
        B3:
          %y = add i64 0, 0, !llvm.loop.unroll.disable !3
          br i1 %c, label %B3, label %B4
        !3 = !{  }
        ''')
    assert toolchain.unroll(llvm) == textwrap.dedent('''\
        B1:
          %x = add i64 0, 0, !llvm.loop.unroll.full !3
          br i1 %c, label %B1, label %B2, !llvm.loop !4
        B2:
          br label %B3
        B3:
          %y = add i64 0, 0, !llvm.loop.unroll.disable !3
          br i1 %c, label %B3, label %B4, !llvm.loop !6
        !3 = !{  }

        !4 = distinct !{ !4, !5 }
        !5 = !{ !"llvm.loop.unroll.full" }
        !6 = distinct !{ !6, !7 }
        !7 = !{ !"llvm.loop.unroll.disable" }''')
