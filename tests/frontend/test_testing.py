"""``assert_close``, ``make_tensor`` and the settings of the process against PyTorch: what passes, and each message."""

from __future__ import annotations

import math
import tomllib
from pathlib import Path

import flamework as fw
import numpy as np
import pytest
from same_as_torch import assert_same

NAN = math.nan


@pytest.mark.parametrize("call", [
    # tensors
    lambda c, a, t: c(a([1.0, 2]), a([1.0, 2.1])), lambda c, a, t: c(a([1.0, 2]), a([1.0, 2 + 1e-6])),
    lambda c, a, t: c(a([1.0, 2, 3]), a([1.0, 2.1, 4]), rtol=1e-3, atol=0), lambda c, a, t: c(a(1.0), a(1.1)),
    lambda c, a, t: c(a([1]), a([1.0])), lambda c, a, t: c(a([1]), a([2])), lambda c, a, t: c(a([1.0, 2]), a([1.0])),
    lambda c, a, t: c(a([NAN]), a([NAN])), lambda c, a, t: c(a([NAN]), a([NAN]), equal_nan=True),
    lambda c, a, t: c(a([True]), a([False])), lambda c, a, t: c(a([[1.0, 2], [3, 4]]), a([[1.0, 2], [3, 5]])),
    lambda c, a, t: c(a([1 + 1j]), a([1 + 2j])), lambda c, a, t: c(a([1.0]).double(), a([1.0]), check_dtype=False),
    lambda c, a, t: c(a([[1.0, 2], [3, 4]]).t(), a([[1.0, 3], [2, 4]]), check_stride=True),
    lambda c, a, t: c(a([[1.0, 2], [3, 4]]).t(), a([[1.0, 3], [2, 4]])),
    lambda c, a, t: c(a([0]), a([0.0]), check_dtype=False), lambda c, a, t: c(a([1]), a([2.5]), check_dtype=False),
    lambda c, a, t: c(a(NAN), a(1.0)), lambda c, a, t: c(a([1, 5]), a([2, 5]), rtol=0.1, atol=0.1),
    lambda c, a, t: c(t.zeros(0), t.zeros(0)), lambda c, a, t: c(a([0.0, 1]), a([0.0, 0.0])),
    lambda c, a, t: c(a([1.0]).half(), a([1.01]).half()), lambda c, a, t: c(a([1.0, NAN, 7]), a([1.0, 3, 2])),
    lambda c, a, t: c(a([200], dtype=t.uint8), a([100], dtype=t.uint8)), lambda c, a, t: c(a(2.0), a([2.0])),
    lambda c, a, t: c(a([1.0]).bfloat16(), a([1.01]).bfloat16()), lambda c, a, t: c(a([math.inf]), a([math.inf])),
    lambda c, a, t: c(a([math.inf, 1]), a([-math.inf, 1])),
    lambda c, a, t: c(a(1), a(2)),
    lambda c, a, t: c(a(True), a(True)),
    lambda c, a, t: c(a([1.0], requires_grad=True), a([1.0])), lambda c, a, t: c(a([3.0]), t.nn.Parameter(a([3.0]))),
    lambda c, a, t: c(a([2.0]).double(), a([2.0 + 1e-6]).double()), lambda c, a, t: c(a([7, 9]), a([0, 9])),
    # numbers
    lambda c, a, t: c(1.0, 1.1), lambda c, a, t: c(1, 1.0), lambda c, a, t: c(1, 2), lambda c, a, t: c(1 + 1j, 2),
    lambda c, a, t: c(NAN, NAN),
    lambda c, a, t: c(NAN, NAN, equal_nan=True),
    lambda c, a, t: c(3, 3.0, check_dtype=False),
    lambda c, a, t: c(True, False),
    lambda c, a, t: c(1, 0),
    lambda c, a, t: c(1 + 1j, 2 + 1j),
    lambda c, a, t: c(None, 3),
    lambda c, a, t: c(None, None), lambda c, a, t: c(1.0, 1.0 + 1e-9), lambda c, a, t: c(math.inf, math.inf),
    lambda c, a, t: c(math.inf, 1.0),
    # nests
    lambda c, a, t: c([1.0, 2], [1.0, 3]), lambda c, a, t: c({"a": a([1.0])}, {"a": a([2.0])}),
    lambda c, a, t: c({"a": 1}, {"b": 1}), lambda c, a, t: c([1], [1, 2]), lambda c, a, t: c([1, 2], (1, 2)),
    lambda c, a, t: c([[1, a([1.0])]], [[1, a([2.0])]]), lambda c, a, t: c([1, [1, 2]], [2, [1]]),
    lambda c, a, t: c({"b": 1, "a": 1}, {"b": 2, "a": 2}),
    lambda c, a, t: c([], []),
    lambda c, a, t: c({1: [2]}, {1: [3]}),
    lambda c, a, t: c([1, "a"], [1, "a"]), lambda c, a, t: c([2, "a"], [1, "a"]),
    # arrays
    lambda c, a, t: c(np.array([1.0]), np.array([2.0])),
    lambda c, a, t: c(np.float64(1), 2.0),
    lambda c, a, t: c("a", "a"),
    # messages and arguments
    lambda c, a, t: c(a([1.0]), a([2.0]), rtol=1e-3), lambda c, a, t: c(a([1.0]), a([2.0]), atol=1e-3),
    lambda c, a, t: c(a([1.0]), a([2.0]), msg="hi"), lambda c, a, t: c(a([1.0]), a([2.0]), msg=lambda m: "before " + m),
    lambda c, a, t: c([1], [2], msg=lambda m: m + " after"), lambda c, a, t: c([1], [1, 2], msg="lengths"),
])
def test_assert_close(call):
    assert_same(lambda t: call(t.testing.assert_close, t.tensor, t))


@pytest.mark.parametrize("other", [3.0, np.array([3.0])])
def test_values_of_different_kinds(other):
    with pytest.raises(TypeError, match="No comparison pair was able to handle inputs of type"):
        fw.testing.assert_close(fw.tensor([3.0]), other)


def test_related_types_may_be_refused():
    with pytest.raises(TypeError, match="No comparison pair"):
        fw.testing.assert_close(fw.ones(1), fw.nn.Parameter(fw.ones(1)), allow_subclasses=False)


def make(t, *shape, **options):
    t.manual_seed(3)
    result = t.testing.make_tensor(*shape, device="cpu", **options)
    values = t.view_as_real(result) if result.is_complex() else result
    return [values, result.stride(), result.requires_grad, result.is_leaf]


@pytest.mark.parametrize("dtype", [
    "bool", "uint8", "int8", "int16", "int32", "int64", "float16", "float32", "float64", "complex64", "complex128",
])
@pytest.mark.parametrize("options", [
    {}, {"low": 0, "high": 1}, {"low": 0, "high": 1, "exclude_zero": True}, {"noncontiguous": True},
    {"requires_grad": True},
    {"low": 3, "high": 2}, {"low": 3, "high": 3}, {"low": NAN}, {"low": -1000, "high": 1000}, {"low": 0.5, "high": 2.5},
], ids=str)
def test_make_tensor(dtype, options):
    assert_same(lambda t: make(t, 3, 4, dtype=getattr(t, dtype), **options), messages="exclude_zero" not in options)


@pytest.mark.parametrize("call", [
    lambda t: make(t, (2, 3), dtype=t.float32),
    lambda t: make(t, [2, 3], dtype=t.float32),
    lambda t: make(t, dtype=t.float32),
    lambda t: make(t, 1, 2, 3, 4, dtype=t.float32, memory_format=t.channels_last),
    lambda t: make(t, 1, 2, 3, 4, dtype=t.float32, memory_format=t.channels_last, noncontiguous=True)[0].shape,
    lambda t: make(t, 3, dtype=t.float32, requires_grad=True, noncontiguous=True),
    lambda t: make(t, 3, dtype=t.float64, low=0, high=0, exclude_zero=True),
    lambda t: t.testing.make_tensor(3, dtype=t.bool),
])
def test_shapes_and_formats_of_make_tensor(call):
    assert_same(call)


# ---------------------------------------------------------------------------------------------------------- settings


def test_default_device():
    assert_same(lambda t: [t.set_default_device("cpu"), str(t.get_default_device()), str(t.ones(1).device),
                           t.set_default_device(None), str(t.get_default_device())])
    with pytest.raises(RuntimeError, match="Expected one of"):
        fw.set_default_device("oven")
    with pytest.raises(RuntimeError, match="not compiled with CUDA"):
        fw.set_default_device("cuda:77")
    assert str(fw.get_default_device()) == "cpu"


def test_deterministic_algorithms():
    def script(t):
        found = [t.are_deterministic_algorithms_enabled()]
        for warn_only in (False, True):
            t.use_deterministic_algorithms(True, warn_only=warn_only)
            found += [t.are_deterministic_algorithms_enabled(), t.is_deterministic_algorithms_warn_only_enabled()]
        t.use_deterministic_algorithms(False)
        return [*found, t.are_deterministic_algorithms_enabled()]

    assert_same(script)


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("name", ["torch.DoubleTensor", "torch.HalfTensor", "torch.FloatTensor"])
def test_default_tensor_type(name):
    def script(t):
        try:
            t.set_default_tensor_type(name)
            return [str(t.get_default_dtype()), str(t.tensor(1.0).dtype)]
        finally:
            t.set_default_dtype(t.float32)

    assert_same(script)


@pytest.mark.parametrize("value", ["torch.LongTensor", "no type", 3])
def test_no_default_tensor_type(value):
    with pytest.raises(TypeError, match="invalid type object|only floating-point types"):
        fw.set_default_tensor_type(value)


def test_denormal_numbers_stay():
    assert fw.set_flush_denormal(True) is False
    assert (fw.tensor([1e-38]) * 0.01).item() == np.float32(1e-38) * np.float32(0.01) != 0


def test_version_is_that_of_the_distribution():
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    assert fw.__version__ == project["version"]


@pytest.mark.parametrize(
    ("mode", "found"),
    [(0, 0), ("default", 0), (1, 1), ("warn", 1), (2, 2), ("error", 2), (True, 1),
     ("bad", "RuntimeError: invalid value of debug_mode, expected one of `default`, `warn`, `error`, but got bad"),
     (7, "RuntimeError: invalid value of debug_mode, expected 0, 1, or 2, but got 7"),
     (1.5, "TypeError: debug_mode must be str or int, but got <class 'float'>")],
)
def test_deterministic_debug_mode(mode, found):
    try:
        fw.set_deterministic_debug_mode(mode)
        assert fw.get_deterministic_debug_mode() == found
        assert fw.are_deterministic_algorithms_enabled() == (found > 0)
        assert fw.is_deterministic_algorithms_warn_only_enabled() == (found == 1)
    except (RuntimeError, TypeError) as error:
        assert f"{type(error).__name__}: {error}" == found
    finally:
        fw.use_deterministic_algorithms(False)
    with pytest.raises(TypeError, match="argument 'mode' .position 1. must be bool, not int"):
        fw.use_deterministic_algorithms(1)
