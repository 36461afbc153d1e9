"""Creation of tensors against PyTorch: values, dtypes, shapes, errors."""

import flamework
import numpy as np
import pytest
from rows import check, check_error

VALUES = [
    *(f"torch.{name}({size})" for name in ("zeros", "ones") for size in ("3", "2, 3", "(2, 3)", "[2, 0]", "()",
                                                                        "torch.Size([2])", "size=(2, 3)")),
    "torch.zeros(2, dtype=torch.int64)", "torch.ones(2, dtype=torch.bool)", "torch.zeros(2, device='cpu')",
    "torch.ones(2, requires_grad=True)", "torch.empty(2, 3).shape", "torch.full((2, 3), 7)", "torch.full((2,), 2.5)",
    "torch.full((2,), True)", "torch.full((), 3)", "torch.full((2,), 2.7, dtype=torch.int64)",
    "torch.full((2,), 7, dtype=torch.float64)", "torch.full([2], torch.tensor(3))", "torch.zeros_like(i)",
    "torch.ones_like(f)", "torch.ones_like(i, dtype=torch.float64)", "torch.full_like(f, 3)",
    "torch.full_like(i, 3.7)", "torch.full_like(i, 2.5, dtype=torch.float32)", "torch.empty_like(f).shape",
    "torch.zeros_like(x, requires_grad=True)", "f.new_zeros(2, 3)", "i.new_ones((2,))", "f.new_full((2,), 3)",
    "i.new_full((2,), 3, dtype=torch.float32)", "f.new_tensor([1, 2])", "i.new_tensor([1.7])", "f.new_empty(2).shape",
    *(f"torch.arange({args})" for args in (
        "5", "1, 5", "1, 10, 3", "5.0", "0, 1, 0.25", "5, 0, -2", "0", "3, dtype=torch.float32", "1.5, 4",
        "torch.tensor(3)", "0.1, 1.05, 0.1", "5, dtype=torch.int32", "-3, 3", "0, 10, 2.5, dtype=torch.int64",
        "start=1, end=3", "2, 2", "0, 1, 0.1, dtype=torch.float64",
    )),
    "torch.range(1, 4)", "torch.range(0, 1, 0.5)", *(f"torch.linspace({args})" for args in (
        "0, 1, 5", "0, 1, 1", "0, 1, 0", "-3, 10, 7", "5, 0, 4", "0, 5, 3, dtype=torch.int64",
        "0, 1, 11, dtype=torch.float64", "start=0, end=1, steps=3",
    )),
    "torch.logspace(0, 2, 3)", "torch.logspace(-1, 1, 5, base=2)", "torch.logspace(0, 1, 4, dtype=torch.float64)",
    "torch.eye(3)", "torch.eye(2, 3)", "torch.eye(3, 2, dtype=torch.int64)", "torch.eye(0)",
    "torch.tril_indices(3, 4)", "torch.tril_indices(3, 4, 1)", "torch.triu_indices(3, 4, -1)",
    "torch.scalar_tensor(3)", "a = torch.empty(0); torch.zeros(2, 3, out=a); result = a",
    "a = torch.empty(3); torch.arange(3, out=a); result = a",
    *(f"torch.tensor({data})" for data in (
        "3", "2.5", "True", "[1, 2]", "[[1, 2], [3, 4]]", "[1, 2.5]", "[True, 2]", "[]", "[[]]", "(1, 2)",
        "[[1.0], [2.0]]", "np.float64(1.5)", "np.int32(3)", "[np.float64(1.5)]", "[np.float32(1.5)]", "np.arange(3)",
        "np.ones((2, 2), 'float32')", "[torch.tensor(1), torch.tensor(2)]", "[np.array([1.0, 2.0])]",
        "[1, 2], dtype=torch.float64", "[1.7, 2.2], dtype=torch.int64", "[0, 2], dtype=torch.bool", "range(3)",
        "1e300", "[float('nan'), inf]", "[1.0, 2.0], requires_grad=True", "np.bool_(True)", "[[[1]]]",
        "-7, dtype=torch.int8", "np.array([[True]])", "[300], dtype=torch.int32",
    )),
    "torch.as_tensor([1, 2])", "torch.as_tensor(np.arange(3), dtype=torch.float32)",
    "torch.as_tensor(f, dtype=torch.float64)", "torch.as_tensor(np.arange(3))", "torch.asarray([1.5])",
]

ERRORS = [
    "torch.tensor([[1, 2], [3]])", "torch.tensor('a')", "torch.tensor(None)", "torch.tensor([None])",
    "torch.zeros(-1)", "torch.zeros(2.5)", "torch.zeros([2, 'a'])", "torch.arange(0, 5, 0)", "torch.arange(5, 0)",
    "torch.linspace(0, 1, -1)", "torch.eye(-1)", "torch.ones(2, dtype=torch.int64, requires_grad=True)",
    "torch.full((2,), 'a')", "torch.zeros_like(3)", "torch.tensor([1, 'a'])", "torch.tensor([2**70])",
    "torch.tensor([torch.ones(2), torch.ones(2)])", "torch.arange(nan)", "torch.zeros(2, device='nowhere')",
    "torch.full((2,), torch.ones(2))", "torch.tensor([1, [2]])", "torch.zeros()",
]
SAME_TEXT = [
    "torch.tensor([[1, 2], [3]])", "torch.arange(0, 5, 0)", "torch.arange(5, 0)", "torch.linspace(0, 1, -1)",
    "torch.eye(-1)", "torch.zeros(-1)", "torch.tensor('a')", "torch.tensor(None)",
]


@pytest.mark.parametrize("expression", VALUES)
def test_creation_function_equals_torch(expression):
    check(expression)


@pytest.mark.parametrize("expression", ERRORS)
def test_creation_function_refuses_what_torch_refuses(expression):
    check_error(expression)


@pytest.mark.parametrize("expression", SAME_TEXT)
def test_creation_error_says_what_torch_says(expression):
    check_error(expression, text=True)


def test_default_dtype_decides_what_python_floats_become():
    flamework.set_default_dtype(flamework.float64)
    try:
        made = [flamework.tensor([1.5]), flamework.zeros(2), flamework.rand(2), flamework.arange(2.0)]
        assert {t.dtype for t in [*made, flamework.full((1,), 2.5)]} == {flamework.float64}
        assert flamework.tensor([1]).dtype is flamework.int64
    finally:
        flamework.set_default_dtype(flamework.float32)


def test_tensor_copies_an_array_and_as_tensor_shares_it():
    array = np.zeros(2)
    copied, shared = flamework.tensor(array), flamework.as_tensor(array)
    array[0] = 5
    assert copied.tolist() == [0, 0]
    assert shared.tolist() == [5, 0]


def test_as_tensor_returns_a_tensor_that_needs_no_conversion():
    x = flamework.ones(2)
    assert flamework.as_tensor(x) is x


def test_tensor_of_a_tensor_warns_and_copies():
    x = flamework.ones(2)
    with pytest.warns(UserWarning, match="copy construct"):
        copied = flamework.tensor(x)
    copied.add_(1)
    assert x.tolist() == [1, 1]
