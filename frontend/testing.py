"""Comparing results in tests, and making tensors for them: ``flamework.testing``.

Arguments are taken apart first (sequences, mappings), so that structures which differ are told before values which do;
then pairs are compared one after another, and the first that differs is an ``AssertionError`` with PyTorch's text.

In: two values. Out: nothing, or an error that says where they differ and by how much.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from .comparison import isclose
from .compiler import dtypes
from .compiler.dtypes import COMPLEX, FLOATING, INTEGER, DType
from .complex_numbers import view_as_complex
from .creation import DeviceLike, empty, full
from .exchange import from_numpy
from .gathering import where
from .limits import finfo, iinfo
from .random import randint, uniform_
from .recording import observe, promoted
from .tensor import Tensor, memory_format

__all__ = ["assert_close", "make_tensor"]

_SINGLE, _DOUBLE = (1.3e-6, 1e-5), (1e-7, 1e-7)
_TOLERANCES = {
    dtypes.float16: (1e-3, 1e-5), dtypes.bfloat16: (1.6e-2, 1e-5), dtypes.float32: _SINGLE, dtypes.float64: _DOUBLE,
    dtypes.complex64: _SINGLE, dtypes.complex128: _DOUBLE,
}
_NUMBERS = {bool: dtypes.bool_, int: dtypes.int64, float: dtypes.float64, complex: dtypes.complex128}


class _Options:
    """How tensors and numbers are compared; the fields are the arguments of :func:`assert_close`."""

    def __init__(self, **options: Any) -> None:
        self.__dict__.update(options)

    def tolerances(self, *kinds: DType) -> tuple[float, float]:
        if self.rtol is not None:
            return self.rtol, self.atol
        each = [_TOLERANCES.get(kind, (0.0, 0.0)) for kind in kinds]
        return max(rtol for rtol, _ in each), max(atol for _, atol in each)


def assert_close(
    actual: Any, expected: Any, *, allow_subclasses: bool = True, rtol: float | None = None,
    atol: float | None = None, equal_nan: bool = False, check_device: bool = True, check_dtype: bool = True,
    check_layout: bool = True, check_stride: bool = False, msg: str | Callable[[str], str] | None = None,
) -> None:
    """Raise unless ``|actual - expected| <= atol + rtol * |expected|``, for tensors, arrays, numbers and nests of them.

    Args:
        allow_subclasses: whether tensors of related types may be compared.
        rtol, atol: tolerances, both or neither; by default by dtype, 0 for integers.
        equal_nan: whether NaN equals NaN.
        check_device, check_dtype, check_layout, check_stride: what else has to agree (every layout here is strided).
        msg: the error's text, or a function of the text that it would have.

    Raises:
        AssertionError: they differ; the text says where.
        TypeError: something else than tensors, arrays, numbers, bools and None.
        ValueError: one of the tolerances only.

    As ``torch.testing.assert_close``.

    Example:
        >>> import flamework as torch
        >>> torch.testing.assert_close(torch.tensor([1.0]), torch.tensor([1.0 + 1e-7]))
    """
    if (rtol is None) != (atol is None):
        raise ValueError(
            "Both 'rtol' and 'atol' must be either specified or omitted, but got no "
            f"{'rtol' if rtol is None else 'atol'}."
        )
    options = _Options(
        allow_subclasses=allow_subclasses, rtol=rtol, atol=atol, equal_nan=equal_nan, check_device=check_device,
        check_dtype=check_dtype, check_stride=check_stride,
    )
    for compare, one, other, place in list(_pairs(actual, expected, "", options)):
        text = compare(one, other, options)
        if text:
            text = _at(text, place)
            raise AssertionError(text if msg is None else msg(text) if callable(msg) else msg)


def _at(text: str, place: str) -> str:
    return f"{text}\n\nThe failure occurred for item {place}" if place else text


def _pairs(actual: Any, expected: Any, place: str, options: _Options) -> Iterator[tuple]:
    """The comparisons that two values need."""
    if all(isinstance(v, Sequence) and not isinstance(v, str) for v in (actual, expected)):
        if len(actual) != len(expected):
            raise AssertionError(
                _at(f"The length of the sequences mismatch: {len(actual)} != {len(expected)}", place)
            )
        for i, (one, other) in enumerate(zip(actual, expected)):
            yield from _pairs(one, other, f"{place}[{i}]", options)
    elif isinstance(actual, Mapping) and isinstance(expected, Mapping):
        missing, added = (sorted(a.keys() - b.keys(), key=str) for a, b in ((expected, actual), (actual, expected)))
        if missing or added:
            raise AssertionError(_at(
                f"The keys of the mappings do not match:\nMissing keys in the actual mapping: {missing}\n"
                f"Additional keys in the actual mapping: {added}", place,
            ))
        keys = list(expected)
        try:
            keys = sorted(keys)
        except TypeError:
            pass
        for key in keys:
            yield from _pairs(actual[key], expected[key], f"{place}[{key!r}]", options)
    else:
        yield _comparison(actual, expected, place, options), actual, expected, place


def _comparison(actual: Any, expected: Any, place: str, options: _Options) -> Callable:
    if actual is None or expected is None:
        return _compare_none
    both = actual, expected
    if all(isinstance(v, (bool, np.bool_)) for v in both):
        return _compare_bools
    if all(isinstance(v, (int, float, complex, np.number)) for v in both):
        return _compare_numbers
    related = isinstance(actual, type(expected)) or isinstance(expected, type(actual))
    if related if options.allow_subclasses else type(actual) is type(expected):
        if isinstance(actual, (Tensor, np.ndarray)):
            return _compare_tensors
    raise TypeError(_at(
        f"No comparison pair was able to handle inputs of type {type(actual)} and {type(expected)}.", place
    ))


def _compare_none(actual: Any, expected: Any, options: _Options) -> str | None:
    return None if actual is expected else f"None mismatch: {actual} is not {expected}"


def _compare_bools(actual: Any, expected: Any, options: _Options) -> str | None:
    return None if bool(actual) is bool(expected) else f"Booleans mismatch: {bool(actual)} is not {bool(expected)}"


def _compare_numbers(actual: Any, expected: Any, options: _Options) -> str | None:
    a, b = (v.item() if isinstance(v, np.number) else v for v in (actual, expected))
    if options.check_dtype and type(a) is not type(b):
        return f"The (d)types do not match: {type(a)} != {type(b)}."
    rtol, atol = options.tolerances(_NUMBERS[type(a)], _NUMBERS[type(b)])
    difference = abs(a - b)
    close = a == b or (math.isfinite(difference) and difference <= atol + rtol * abs(b))
    if close or (options.equal_nan and a != a and b != b):
        return None
    return _scalar_text(a, b, difference, rtol, atol)


def _scalar_text(actual: Any, expected: Any, difference: float, rtol: float, atol: float) -> str:
    relative = math.inf if expected == 0 else difference / abs(expected)
    exact = rtol == atol == 0
    allowed = ["" if exact else f" (up to {tolerance} allowed)" for tolerance in (atol, rtol)]
    return (
        f"Scalars are not {'equal' if exact else 'close'}!\n\nExpected {expected} but got {actual}.\n"
        f"Absolute difference: {difference}{allowed[0]}\nRelative difference: {relative}{allowed[1]}"
    )


def _compare_tensors(actual: Any, expected: Any, options: _Options) -> str | None:
    actual, expected = (from_numpy(v) if isinstance(v, np.ndarray) else v.detach() for v in (actual, expected))
    checks = [("shape", actual.shape, expected.shape)]
    if options.check_device:
        checks.append(("device", actual.device, expected.device))
    if options.check_dtype:
        checks.append(("dtype", actual.dtype, expected.dtype))
    if options.check_stride:
        checks.append(("stride()", actual.stride(), expected.stride()))
    for name, one, other in checks:
        if one != other:
            return f"The values for attribute '{name}' do not match: {one} != {other}."
    rtol, atol = options.tolerances(actual.dtype, expected.dtype)
    common = promoted(actual, expected) if actual.dtype is not expected.dtype else actual.dtype
    a, b = actual.to(common), expected.to(common)
    matches = np.asarray(observe(isclose(a, b, rtol=rtol, atol=atol, equal_nan=options.equal_nan)))
    if matches.all():
        return None
    if a.ndim == 0:
        one, other = a.item(), b.item()
        return _scalar_text(one, other, abs(one - other), rtol, atol)
    return _tensor_text(np.asarray(observe(a)), np.asarray(observe(b)), matches, common, rtol, atol)


def _tensor_text(
    actual: np.ndarray, expected: np.ndarray, matches: np.ndarray, dtype: DType, rtol: float, atol: float
) -> str:
    if dtype.kind < FLOATING:
        actual, expected = actual.astype(np.int64), expected.astype(np.int64)
    with np.errstate(all="ignore"):
        absolute = np.abs(actual - expected)
        relative = absolute / np.abs(expected)
        if dtype.kind < FLOATING:
            relative = relative.astype(np.float32)
    exact = rtol == atol == 0
    wrong, count = int((~matches).sum()), matches.size
    lines = [
        f"Tensor-likes are not {'equal' if exact else 'close'}!\n",
        f"Mismatched elements: {wrong} / {count} ({wrong / count:.1%})",
    ]
    for name, difference, tolerance in (("absolute", absolute, atol), ("relative", relative, rtol)):
        difference[matches] = 0
        flat = difference.reshape(-1)
        nan = np.isnan(flat)
        worst = int(nan.argmax() if nan.any() else flat.argmax())
        index = tuple(int(i) for i in np.unravel_index(worst, difference.shape))
        allowed = "" if exact else f" (up to {tolerance} allowed)"
        lines.append(f"Greatest {name} difference: {flat[worst].item()} at index {index}{allowed}")
    return "\n".join(lines)


# --------------------------------------------------------------------------------------------------------- make_tensor


def make_tensor(
    *shape: int | Sequence[int], dtype: DType, device: DeviceLike, low: float | None = None,
    high: float | None = None, requires_grad: bool = False, noncontiguous: bool = False, exclude_zero: bool = False,
    memory_format: memory_format | None = None,
) -> Tensor:
    """Random numbers from [low, high), by default between -9 and 9, of any dtype.

    Args:
        noncontiguous: with gaps between the elements of the last axis.
        exclude_zero: zeros become 1, or the smallest normal number.

    Raises:
        ValueError: bounds in the wrong order, or that are no numbers.

    As ``torch.testing.make_tensor``, number for number.

    Example:
        >>> import flamework as torch
        >>> torch.testing.make_tensor(2, 3, dtype=torch.int64, device="cpu", low=0, high=2).shape
        torch.Size([2, 3])
    """
    sizes = tuple(shape[0]) if len(shape) == 1 and isinstance(shape[0], (tuple, list)) else shape
    if noncontiguous and memory_format is not None:
        raise ValueError(
            "The parameters `noncontiguous` and `memory_format` are mutually exclusive, but got "
            f"noncontiguous={noncontiguous} and memory_format={memory_format}"
        )
    if requires_grad and dtype.kind < FLOATING:
        raise ValueError(
            f"`requires_grad=True` is not supported for boolean and integral dtypes, but got dtype={dtype}"
        )
    if noncontiguous and math.prod(sizes) > 1:
        result = _random((*sizes[:-1], 2 * sizes[-1]), dtype, device, low, high)[..., 1::2]
    else:
        result = _random(sizes, dtype, device, low, high)
    if memory_format is not None:
        result = result.clone(memory_format=memory_format)
    if exclude_zero:
        smallest = 1 if dtype.kind < FLOATING else finfo(dtype.part if dtype.kind == COMPLEX else dtype).tiny
        result.copy_(where(result == 0, full((), smallest, dtype=dtype, device=device), result))
    return result.requires_grad_(requires_grad)


def _random(sizes: tuple, dtype: DType, device: DeviceLike, low: float | None, high: float | None) -> Tensor:
    if dtype.kind >= FLOATING:
        part = dtype.part if dtype.kind == COMPLEX else dtype
        least, most, defaults = finfo(part).min, finfo(part).max, (-9, 9)
    elif dtype.kind == INTEGER:
        least, most = iinfo(dtype).min, iinfo(dtype).max + (dtype is not dtypes.int64)
        defaults = (max(-9, least), 10)
    else:
        least, most, defaults = 0, 2, (0, 2)
    low, high = defaults[0] if low is None else low, defaults[1] if high is None else high
    if low != low or high != high:
        raise ValueError(f"`low` and `high` cannot be NaN, but got low={low!r} and high={high!r}")
    if low > high or (low == high and dtype.kind < FLOATING):
        raise ValueError(f"`low` must be less than `high`, but got {low} >= {high}")
    low, high = min(max(low, least), most), min(max(high, least), most)
    if dtype.kind < FLOATING:
        return randint(math.ceil(low), math.ceil(high), sizes, dtype=dtype, device=device)
    if low == high:
        return full(sizes, complex(low, low) if dtype.kind == COMPLEX else low, dtype=dtype, device=device)
    if dtype.kind == COMPLEX:
        return view_as_complex(uniform_(empty(*sizes, 2, dtype=part, device=device), low, high))
    return uniform_(empty(sizes, dtype=dtype, device=device), low, high)
