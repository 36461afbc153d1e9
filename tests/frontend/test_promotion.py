"""The table of promotion: PyTorch's, for every pair of dtypes, of tensors, 0-dimensional tensors and numbers."""

import pytest
from same_as_torch import assert_same, kind_of

DTYPES = (
    "float16", "bfloat16", "float32", "float64", "complex64", "complex128", "uint8", "int8", "int16", "int32", "int64",
    "bool",
)
NUMBERS = (True, 2, 2.5, 1j)
OPERATIONS = {
    "add": lambda t, a, b: a + b, "mul": lambda t, a, b: a * b, "div": lambda t, a, b: a / b,
    "eq": lambda t, a, b: a == b, "where": lambda t, a, b: t.where(a == b, a, b), "cat": lambda t, a, b: t.cat([a, b]),
}


def told(function, *args):
    """The dtype of a result, or the error. complex32, which PyTorch has for float16, is complex64 here."""
    try:
        found = function(*args)
    except Exception as error:
        return kind_of(error).__name__
    return str(getattr(found, "dtype", found)).replace("complex32", "complex64")


@pytest.mark.parametrize("dtype", DTYPES)
def test_types_of_pairs(dtype):
    def script(t):
        found = {}
        for other in DTYPES:
            one, two = getattr(t, dtype), getattr(t, other)
            found[other] = [told(t.promote_types, one, two), told(t.can_cast, one, two)]
            for shapes in (((1,), (1,)), ((1,), ()), ((), (1,)), ((), ())):
                a, b = t.ones(shapes[0], dtype=one), t.ones(shapes[1], dtype=two)
                found[other].append(told(t.result_type, a, b))
        return found

    assert_same(script)


@pytest.mark.parametrize("default", ["float32", "float64"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_types_of_tensors_and_numbers(dtype, default):
    def script(t):
        before = t.get_default_dtype()
        t.set_default_dtype(getattr(t, default))
        try:
            return [
                told(t.result_type, t.ones(shape, dtype=getattr(t, dtype)), number)
                for shape in ((1,), ()) for number in NUMBERS
            ]
        finally:
            t.set_default_dtype(before)

    assert_same(script)


@pytest.mark.parametrize("name", OPERATIONS)
def test_results_of_operations(name):
    def script(t):
        found = {}
        for one in DTYPES:
            for two in DTYPES:
                if "float16" in (one, two) and "complex" in one + two:
                    continue  # complex32 in PyTorch
                a = t.ones(2, dtype=getattr(t, one))
                pair = [t.ones(2, dtype=getattr(t, two))]
                if name != "cat":
                    pair.append(t.ones((), dtype=getattr(t, two)))
                found[f"{one} {two}"] = [told(OPERATIONS[name], t, a, b) for b in pair]
        return found

    assert_same(script)


@pytest.mark.parametrize("dtype", DTYPES)
def test_writing_in_place(dtype):
    """The result of ``+=`` keeps the dtype, or is refused."""

    def script(t):
        found = {}
        for other in (*DTYPES, *NUMBERS):
            a = t.ones(2, dtype=getattr(t, dtype))
            b = t.ones(2, dtype=getattr(t, other)) if isinstance(other, str) else other
            found[str(other)] = told(a.add_, b)
        return found

    assert_same(script)
