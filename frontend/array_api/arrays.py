"""The array API standard: dtypes and their promotion, creation, and the functions that only move elements.

In: tensors. Out: tensors, dtypes. Read next: ``elementwise.py``.
"""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from .. import creation, gathering, joining, limits, views
from ..compiler import dtypes
from ..compiler.dtypes import BOOL, COMPLEX, FLOATING, INTEGER, DType, complex_of, promote
from ..creation import DeviceLike
from ..device import device, device_name, device_named
from ..recording import get_default_dtype
from ..runtime import gpu
from ..sharing import asarray as shared, from_dlpack as from_capsule
from ..tensor import Tensor

VERSION = "2025.12"
VERSIONS = ("2021.12", "2022.12", "2023.12", "2024.12", VERSION)

# What the standard calls the kinds of dtypes.
KINDS: dict[str, tuple[DType, ...]] = {
    "bool": (dtypes.bool_,),
    "signed integer": (dtypes.int8, dtypes.int16, dtypes.int32, dtypes.int64),
    "unsigned integer": (dtypes.uint8,),
    "real floating": (dtypes.float16, dtypes.bfloat16, dtypes.float32, dtypes.float64),
    "complex floating": (dtypes.complex64, dtypes.complex128),
}
KINDS["integral"] = KINDS["signed integer"] + KINDS["unsigned integer"]
KINDS["numeric"] = KINDS["integral"] + KINDS["real floating"] + KINDS["complex floating"]


# --------------------------------------------------------------------------------------------------------------- dtypes


def isdtype(dtype: DType, kind: DType | str | tuple[DType | str, ...]) -> bool:
    """Whether a dtype is another one, or of a kind: ``integral``, ``real floating``, and so on; or any of several.

    Raises:
        ValueError: there is no such kind.
    """
    if isinstance(kind, tuple):
        return any(isdtype(dtype, one) for one in kind)
    if isinstance(kind, DType):
        return dtype is kind
    if kind not in KINDS:
        raise ValueError(f"the kinds of dtypes are {', '.join(KINDS)}, but got {kind!r}")
    return dtype in KINDS[kind]


def with_number(dtype: DType, number: complex) -> DType:
    """The dtype of an array of a dtype together with a Python number.

    Raises:
        TypeError: the number is of a higher kind than the array's.
    """
    if isinstance(number, bool):
        wanted = BOOL
    elif isinstance(number, int):
        wanted = INTEGER
    else:
        wanted = COMPLEX if isinstance(number, complex) else FLOATING
    if wanted == COMPLEX and dtype.kind == FLOATING:
        return complex_of(dtype)
    if wanted > dtype.kind or (wanted == BOOL) != (dtype.kind == BOOL):
        raise TypeError(f"a Python {type(number).__name__} and an array of {dtype} have no common dtype")
    return dtype


def result_type(*arrays_and_dtypes: Tensor | DType | complex) -> DType:
    """The dtype that arrays, dtypes and Python numbers have together; an array without axes counts as any other.

    Raises:
        TypeError: only numbers, or a number of a higher kind.
    """
    strong = [x.dtype if isinstance(x, Tensor) else x for x in arrays_and_dtypes]
    found = [x for x in strong if isinstance(x, DType)]
    if not found:
        raise TypeError("result_type() needs at least one array or dtype")
    dtype = found[0]
    for other in found[1:]:
        dtype = promote(dtype, other)
    for number in strong:
        if not isinstance(number, DType):
            dtype = with_number(dtype, number)
    return dtype


def together(*arrays: Tensor | complex) -> list[Tensor]:
    """Arrays and Python numbers as tensors of their common dtype."""
    dtype = result_type(*arrays)
    return [x.to(dtype) if isinstance(x, Tensor) else creation.tensor(x, dtype=dtype) for x in arrays]


def can_cast(from_: Tensor | DType, to: DType, /) -> bool:
    """Whether a dtype, or an array's, becomes another by promotion."""
    return promote(from_.dtype if isinstance(from_, Tensor) else from_, to) is to


def astype(x: Tensor, dtype: DType, /, *, copy: bool = True, device: DeviceLike = None) -> Tensor:
    """An array of another dtype; itself if it is so already and no copy is asked for.

    Raises:
        TypeError: complex numbers as real ones.
    """
    if x.dtype.is_complex and not dtype.is_complex:
        raise TypeError(f"astype(): complex numbers cannot become {dtype}; take their real() first")
    return x.to(x.device if device is None else device, dtype, copy=copy)


class finfo_object(NamedTuple):
    """Limits of a floating point dtype, by the standard's names."""

    bits: int
    eps: float
    max: float
    min: float
    smallest_normal: float
    dtype: DType


class iinfo_object(NamedTuple):
    """Limits of an integer dtype, by the standard's names."""

    bits: int
    max: int
    min: int
    dtype: DType


def finfo(type: DType | Tensor, /) -> finfo_object:
    """Limits of a floating point dtype, or of the parts of a complex one, or of an array's."""
    dtype = type.dtype if isinstance(type, Tensor) else type
    dtype = dtype.part if dtype.is_complex else dtype
    found = limits.finfo(dtype)
    return finfo_object(found.bits, found.eps, found.max, found.min, found.smallest_normal, dtype)


def iinfo(type: DType | Tensor, /) -> iinfo_object:
    """Limits of an integer dtype, or of an array's."""
    dtype = type.dtype if isinstance(type, Tensor) else type
    found = limits.iinfo(dtype)
    return iinfo_object(found.bits, found.max, found.min, dtype)


class Info:
    """What the namespace says of itself."""

    def capabilities(self) -> dict[str, Any]:
        """What is supported beyond arrays of known shape."""
        return {"boolean indexing": True, "data-dependent shapes": True, "max dimensions": None}

    def default_device(self) -> device:
        return device_named(device_name(None))

    def devices(self) -> list[device]:
        return [device_named("cpu"), *(device_named(f"cuda:{index}") for index in range(gpu.count()))]

    def default_dtypes(self, *, device: DeviceLike = None) -> dict[str, DType]:
        """The dtypes of arrays that are made of Python numbers."""
        device_name(device)
        real = get_default_dtype()
        return {
            "real floating": real, "complex floating": complex_of(real), "integral": dtypes.int64,
            "indexing": dtypes.int64,
        }

    def dtypes(self, *, device: DeviceLike = None, kind: str | tuple[str, ...] | None = None) -> dict[str, DType]:
        """The standard's dtypes that there are, by name; of a kind only, if one is given."""
        device_name(device)
        every = [d for d in dtypes.ALL if d not in (dtypes.float16, dtypes.bfloat16)]
        return {d.name: d for d in every if kind is None or isdtype(d, kind)}


def __array_namespace_info__() -> Info:
    """What the namespace has: its devices and dtypes."""
    return Info()


# ------------------------------------------------------------------------------------------------------------- creation


def asarray(
    obj: Any, /, *, dtype: DType | None = None, device: DeviceLike = None, copy: bool | None = None
) -> Tensor:
    """Numbers, a buffer or another library's array as an array, sharing memory where it can be.

    Raises:
        ValueError: ``copy`` is False, and memory cannot be shared.
    """
    if not isinstance(obj, (Tensor, np.ndarray, np.generic)):
        if hasattr(obj, "__dlpack__"):
            obj = from_capsule(obj)
        elif not isinstance(obj, (bool, int, float, complex, list, tuple)):
            obj = np.asarray(memoryview(obj))
    return shared(obj, dtype=dtype, device=device, copy=copy)


def from_dlpack(x: Any, /, *, device: DeviceLike = None, copy: bool | None = None) -> Tensor:
    """An array over the memory of an object that speaks DLPack."""
    return from_capsule(x, device=device, copy=copy)


def arange(
    start: float, /, stop: float | None = None, step: float = 1, *, dtype: DType | None = None,
    device: DeviceLike = None,
) -> Tensor:
    """Numbers from ``start``, or 0, up to ``stop`` in steps; empty if there are none."""
    if stop is None:
        start, stop = 0, start
    if step and (stop - start) / step <= 0:
        dtype = dtype or (dtypes.int64 if all(isinstance(x, int) for x in (start, stop, step)) else None)
        return creation.empty((0,), dtype=dtype, device=device)
    return creation.arange(start, stop, step, dtype=dtype, device=device)


def empty(shape: int | tuple[int, ...], *, dtype: DType | None = None, device: DeviceLike = None) -> Tensor:
    """An array whose elements are whatever is in its memory."""
    return creation.empty(shape, dtype=dtype, device=device)


def zeros(shape: int | tuple[int, ...], *, dtype: DType | None = None, device: DeviceLike = None) -> Tensor:
    """An array of zeros."""
    return creation.zeros(shape, dtype=dtype, device=device)


def ones(shape: int | tuple[int, ...], *, dtype: DType | None = None, device: DeviceLike = None) -> Tensor:
    """An array of ones."""
    return creation.ones(shape, dtype=dtype, device=device)


def full(
    shape: int | tuple[int, ...], fill_value: complex, *, dtype: DType | None = None, device: DeviceLike = None
) -> Tensor:
    """An array of one number."""
    sizes = (shape,) if isinstance(shape, int) else tuple(shape)
    return creation.full(sizes, fill_value, dtype=dtype, device=device)


def empty_like(x: Tensor, /, *, dtype: DType | None = None, device: DeviceLike = None) -> Tensor:
    """:func:`empty` of an array's shape, dtype and device."""
    return creation.empty_like(x, dtype=dtype, device=device)


def zeros_like(x: Tensor, /, *, dtype: DType | None = None, device: DeviceLike = None) -> Tensor:
    """:func:`zeros` of an array's shape, dtype and device."""
    return creation.zeros_like(x, dtype=dtype, device=device)


def ones_like(x: Tensor, /, *, dtype: DType | None = None, device: DeviceLike = None) -> Tensor:
    """:func:`ones` of an array's shape, dtype and device."""
    return creation.ones_like(x, dtype=dtype, device=device)


def full_like(
    x: Tensor, /, fill_value: complex, *, dtype: DType | None = None, device: DeviceLike = None
) -> Tensor:
    """:func:`full` of an array's shape, dtype and device."""
    return creation.full_like(x, fill_value, dtype=dtype, device=device)


def eye(
    n_rows: int, n_cols: int | None = None, /, *, k: int = 0, dtype: DType | None = None, device: DeviceLike = None
) -> Tensor:
    """A matrix with ones on the diagonal ``k`` to the right of the main one."""
    columns = n_rows if n_cols is None else n_cols
    rows = creation.arange(n_rows, device=device)[:, None]
    found = creation.arange(columns, device=device) - rows == k
    return found.to(get_default_dtype() if dtype is None else dtype)


def linspace(
    start: complex, stop: complex, /, num: int, *, dtype: DType | None = None, device: DeviceLike = None,
    endpoint: bool = True,
) -> Tensor:
    """``num`` numbers at equal distances from ``start`` to ``stop``, which is left out unless ``endpoint``."""
    if isinstance(start, complex) or isinstance(stop, complex):
        start, stop = complex(start), complex(stop)
        dtype = complex_of(get_default_dtype()) if dtype is None else dtype
        real = linspace(start.real, stop.real, num, dtype=dtype.part, device=device, endpoint=endpoint)
        imaginary = linspace(start.imag, stop.imag, num, dtype=dtype.part, device=device, endpoint=endpoint)
        return real + imaginary.to(dtype) * 1j
    if endpoint:
        return creation.linspace(start, stop, num, dtype=dtype, device=device)
    return creation.linspace(start, stop, num + 1, dtype=dtype, device=device)[:num]


def meshgrid(*arrays: Tensor, indexing: str = "xy") -> tuple[Tensor, ...]:
    """Vectors as the coordinates of a grid."""
    return tuple(joining.meshgrid(*arrays, indexing=indexing)) if arrays else ()


def tril(x: Tensor, /, *, k: int = 0) -> Tensor:
    """The matrices' elements on and below a diagonal, 0 above it."""
    return joining.tril(x, k)


def triu(x: Tensor, /, *, k: int = 0) -> Tensor:
    """The matrices' elements on and above a diagonal, 0 below it."""
    return joining.triu(x, k)


# --------------------------------------------------------------------------------------------------- moving of elements


def broadcast_shapes(*shapes: tuple[int, ...]) -> tuple[int, ...]:
    """The shape to which shapes broadcast.

    Raises:
        ValueError: there is none.
    """
    try:
        return tuple(views.broadcast_shapes(*shapes))
    except RuntimeError as error:
        raise ValueError(str(error)) from None


def broadcast_arrays(*arrays: Tensor) -> tuple[Tensor, ...]:
    """Arrays broadcast to their common shape."""
    return tuple(joining.broadcast_tensors(*arrays)) if arrays else ()


def broadcast_to(x: Tensor, /, shape: tuple[int, ...]) -> Tensor:
    """An array broadcast to a shape."""
    return views.broadcast_to(x, shape)


def concat(arrays: Sequence[Tensor], /, *, axis: int | None = 0) -> Tensor:
    """Arrays one after the other; flattened before if ``axis`` is None."""
    dtype = result_type(*arrays)
    return joining.cat([(x.reshape(-1) if axis is None else x).to(dtype) for x in arrays], 0 if axis is None else axis)


def stack(arrays: Sequence[Tensor], /, *, axis: int = 0) -> Tensor:
    """Arrays along a new axis."""
    return joining.stack(together(*arrays), axis)


def unstack(x: Tensor, /, *, axis: int = 0) -> tuple[Tensor, ...]:
    """The arrays along an axis."""
    return tuple(x.unbind(axis))


def expand_dims(x: Tensor, /, axis: int | tuple[int, ...]) -> Tensor:
    """An array with new axes of one element, at these places of the result.

    Raises:
        IndexError: a place outside of the result.
        ValueError: one place twice.
    """
    places = (axis,) if isinstance(axis, int) else tuple(axis)
    ndim = x.ndim + len(places)
    if any(not -ndim <= place < ndim for place in places):
        raise IndexError(f"expand_dims(): an axis of {places} is out of range for an array of {ndim} axes")
    found = sorted(place % ndim for place in places)
    if len(set(found)) != len(found):
        raise ValueError(f"expand_dims(): an axis is repeated in {places}")
    for place in found:
        x = x.unsqueeze(place)
    return x


def squeeze(x: Tensor, /, axis: int | tuple[int, ...]) -> Tensor:
    """An array without these axes.

    Raises:
        ValueError: an axis of other than one element.
    """
    places = (axis,) if isinstance(axis, int) else tuple(axis)
    for place in places:
        if x.size(place) != 1:
            raise ValueError(f"squeeze(): axis {place} has {x.size(place)} elements, and not 1")
    return x.squeeze(places)


def flip(x: Tensor, /, *, axis: int | tuple[int, ...] | None = None) -> Tensor:
    """An array with the order of its elements reversed along axes, by default all."""
    if axis is None:
        axis = tuple(range(x.ndim))
    return joining.flip(x, (axis,) if isinstance(axis, int) else tuple(axis))


def moveaxis(x: Tensor, source: int | tuple[int, ...], destination: int | tuple[int, ...], /) -> Tensor:
    """An array with axes moved to other places."""
    return views.moveaxis(x, source, destination)


def permute_dims(x: Tensor, /, axes: tuple[int, ...]) -> Tensor:
    """An array with its axes in another order."""
    return views.permute(x, axes)


def repeat(x: Tensor, repeats: int | Tensor, /, *, axis: int | None = None) -> Tensor:
    """Each element so many times; of the flattened array if ``axis`` is None."""
    return joining.repeat_interleave(x, repeats, axis)


def reshape(x: Tensor, /, shape: tuple[int, ...], *, copy: bool | None = None) -> Tensor:
    """An array's elements in another shape; sharing memory if it can, or must (``copy=False``), or not (True).

    Raises:
        ValueError: ``copy`` is False, and memory cannot be shared.
    """
    if copy is False:
        try:
            return x.view(shape)
        except RuntimeError as error:
            raise ValueError(str(error)) from None
    return x.clone().reshape(shape) if copy else x.reshape(shape)


def roll(x: Tensor, /, shift: int | tuple[int, ...], *, axis: int | tuple[int, ...] | None = None) -> Tensor:
    """An array with its elements moved along axes, those that leave it coming in at the other end."""
    return joining.roll(x, shift, axis)


def tile(x: Tensor, repetitions: tuple[int, ...], /) -> Tensor:
    """An array repeated along its axes."""
    return joining.tile(x, repetitions)


def take(x: Tensor, indices: Tensor, /, *, axis: int | None = None) -> Tensor:
    """The elements at these places of an axis; negative ones count from its end.

    Raises:
        ValueError: no axis, and the array has more than one.
    """
    if axis is None:
        if x.ndim != 1:
            raise ValueError("take(): axis must be given for an array of more than one axis")
        axis = 0
    return x[(slice(None),) * (operator.index(axis) % x.ndim) + (indices,)]


def take_along_axis(x: Tensor, indices: Tensor, /, *, axis: int = -1) -> Tensor:
    """For each position its own place of an axis; negative ones count from its end."""
    extent = x.size(axis)
    return gathering.take_along_dim(x, gathering.where(indices < 0, indices + extent, indices), axis)
