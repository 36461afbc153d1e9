"""Matrix products by cuBLASLt: on stand-ins for it and the driver, its real names, and where there is a GPU itself."""

import inspect
import re
from pathlib import Path

import fake_cublas
import flamework as torch
import gpu_products
import pytest
import simulator
from flamework.compiler import dtypes
from flamework.compiler.cluster import Matrix
from flamework.runtime import cublas


@pytest.mark.parametrize("name", [behaviour.__name__ for behaviour in gpu_products.BEHAVIOURS])
def test_with_stand_ins(name):
    problem = simulator.answer(gpu_products.__file__)[name]
    assert problem is None, problem


def described(a, b, shape, dtype=dtypes.float32):
    matrices = (Matrix(None, 0, batch, rows, columns) for batch, rows, columns in (a, b))
    return cublas.describe(dtype, dtype, shape, *matrices, False, dtype, False)


def test_batches_of_two_axes_are_one_call_or_a_loop_over_the_shorter_axis():
    plain = ([(6, 20)], 5, 1)
    # [2, 3] of matrices side by side
    whole = described(([(2, 36), (3, 12)], 4, 1), plain, (6, 3, 5, 4))
    assert whole.offsets == ((0, 0, 0),) and whole.batch == 6 and whole.strides == (20, 12, 15)
    # three matrices a step
    apart = described(([(2, 100), (3, 12)], 4, 1), plain, (6, 3, 5, 4))
    assert apart.offsets == ((0, 0, 0), (60, 100, 45)) and apart.batch == 3 and apart.strides == (20, 12, 15)
    longer = described(([(3, 100), (2, 12)], 4, 1), plain, (6, 3, 5, 4))
    assert longer.offsets == ((0, 0, 0), (20, 12, 15)) and longer.batch == 3 and longer.strides == (40, 100, 30)
    assert described(([(6, -12)], 4, 1), plain, (6, 3, 5, 4)) is None


def test_what_has_no_leading_dimension_is_left_to_kernels():
    good = ([], 5, 1)
    assert described(([], 4, 1), good, (1, 3, 5, 4)) is not None
    for rows, columns in ((8, 2), (0, 1), (3, 1), (1, 2), (-4, 1)):
        assert described(([], rows, columns), good, (1, 3, 5, 4)) is None, (rows, columns)
    # the stride of an axis of one element is no matter
    assert described(([], 0, 1), good, (1, 1, 5, 4)).second == cublas.Operand(4, 1, 4, False)
    assert described(([], 7, 9), good, (1, 3, 5, 1)).second == cublas.Operand(1, 3, 7, False)
    assert described(([], 4, 1), good, (1, 3, 5, 4), dtypes.int64) is None
    for shape in ((0, 3, 5, 4), (1, 0, 5, 4), (1, 3, 0, 4), (1, 3, 5, 0)):
        assert described(([], 4, 1), good, shape) is None


def test_the_stand_in_has_the_names_and_numbers_of_nvmath():
    pytest.importorskip("nvmath")
    lt, *kinds = cublas.bindings()
    for theirs, ours in zip(kinds, (fake_cublas.CudaDataType, fake_cublas.ComputeType, fake_cublas.Operation)):
        assert {x.name: int(theirs[x.name]) for x in ours} == {x.name: int(x) for x in ours}
    for name in ("MatmulDescAttribute", "MatrixLayoutAttribute", "MatmulPreferenceAttribute", "ReductionScheme",
                 "Epilogue"):
        ours = getattr(fake_cublas, name)
        assert {x.name: int(getattr(lt, name)[x.name]) for x in ours} == {x.name: int(x) for x in ours}
    for kind, name in (("matmul_desc", "MatmulDescAttribute"), ("matrix_layout", "MatrixLayoutAttribute"),
                       ("matmul_preference", "MatmulPreferenceAttribute")):
        for attribute, dtype in fake_cublas.ATTRIBUTES[getattr(fake_cublas, name)].items():
            assert getattr(lt, f"get_{kind}_attribute_dtype")(attribute) is dtype
    assert lt.matmul_heuristic_result_dtype == fake_cublas.FakeCublasLt.matmul_heuristic_result_dtype
    assert issubclass(lt.cuBLASLtError, Exception)


def test_functions_are_called_with_as_many_arguments_as_nvmath_wants():
    pytest.importorskip("nvmath")
    lt = cublas.bindings().lt
    called = sorted(set(re.findall(r"\blt\.([a-z_]+)\(", Path(cublas.__file__).read_text())))
    assert {"create", "matmul", "matmul_algo_get_heuristic", "matmul_desc_create"} <= set(called)
    for name in [*called, "matmul_desc_set_attribute", "matrix_layout_set_attribute", "matrix_layout_destroy",
                 "matmul_preference_set_attribute", "matmul_desc_destroy", "matmul_preference_destroy"]:
        theirs = getattr(lt, name).__doc__.partition("(")[2].partition(")")[0]
        ours = inspect.signature(getattr(fake_cublas.FakeCublasLt, name))
        count = len(theirs.split(",")) if theirs else 0
        ours.bind(None, *range(count))


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "bfloat16"])
def test_a_product_on_a_gpu(dtype):
    pytest.importorskip("nvmath")
    x, y = (torch.randn(3, 64, 48, dtype=torch.float64).to(getattr(torch, dtype)) for _ in range(2))
    found = (x.cuda() @ y.cuda().mT).cpu()
    tolerance = {"float64": 1e-12, "float32": 1e-5, "float16": 1e-2, "bfloat16": 1e-1}[dtype]
    assert torch.allclose(found.double(), x.double() @ y.double().mT, rtol=tolerance, atol=tolerance)
    assert torch.equal(found, (x.cuda() @ y.cuda().mT).cpu())


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_a_product_with_a_vector_on_a_gpu(dtype):
    pytest.importorskip("nvmath")
    # whole numbers of some bits, whose sums are exact in float32
    shapes = (3, 32, 48), (40, 48), (41,)
    x, weight, bias = ((torch.randint(-8, 8, shape) / 16).to(getattr(torch, dtype)) for shape in shapes)
    for first in (0, 1):
        vector = bias[first : first + 40]
        found = torch.nn.functional.linear(x.cuda(), weight.cuda(), bias.cuda()[first : first + 40]).cpu()
        assert torch.equal(found, torch.nn.functional.linear(x, weight, vector))
