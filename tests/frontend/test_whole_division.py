"""A zero among the divisors of integers: PyTorch's error when the quotient is looked at, whatever is fused with it."""

import flamework as fw
import pytest

OPERATIONS = {
    "floor_divide": lambda x, y: x // y,
    "remainder": lambda x, y: x % y,
    "fmod": fw.fmod,
    "div floor": lambda x, y: fw.div(x, y, rounding_mode="floor"),
    "div trunc": lambda x, y: fw.div(x, y, rounding_mode="trunc"),
    "in place": lambda x, y: x.clone().floor_divide_(y),
    "number on the left": lambda x, y: 5 // y,
    "fused": lambda x, y: ((x + 1) // (y * 2)).sum(),
    "compiled": fw.compile(lambda x, y: x // y),
}


@pytest.mark.parametrize("dtype", [fw.int64, fw.int32, fw.int16, fw.int8, fw.uint8])
@pytest.mark.parametrize("name", OPERATIONS)
def test_a_zero_among_the_divisors_is_refused(name, dtype):
    x = fw.arange(1, 38, dtype=dtype)
    y = fw.ones(37, dtype=dtype)
    y[36] = 0
    with pytest.raises(RuntimeError, match="ZeroDivisionError"):
        OPERATIONS[name](x, y).tolist()


@pytest.mark.parametrize("name", OPERATIONS)
def test_other_divisors_are_not(name):
    x, y = fw.tensor([-7, 7, -8, 0]), fw.tensor([2, -2, -1, -3])
    wanted = {
        "remainder": [1, -1, 0, 0], "fmod": [-1, 1, 0, 0], "div trunc": [-3, -3, 8, 0],
        "number on the left": [2, -3, -5, -2], "fused": -2 - 2 + 3 - 1,
    }
    assert OPERATIONS[name](x, y).tolist() == wanted.get(name, [-4, -4, 8, 0])


def test_a_quotient_that_nobody_looks_at_is_not_computed_and_floats_divide_by_zero():
    fw.tensor([1]) // fw.tensor([0])
    assert (fw.tensor([1.0]) // fw.tensor([0.0])).item() == float("inf")
    assert (fw.zeros(0, dtype=fw.int64) // fw.zeros(0, dtype=fw.int64)).tolist() == []
