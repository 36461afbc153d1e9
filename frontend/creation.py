"""Creation: tensors from Python data, filled tensors, ranges.

Filled tensors and ranges are recorded, not computed: a ``zeros`` that is overwritten costs nothing, and an ``arange``
that is only compared with fuses into the comparison. Data from Python or NumPy is copied at once. Random tensors are in
``random.py``. Read next: ``methods.py``.
"""

from __future__ import annotations

import functools
import math
import operator
from collections.abc import Sequence
from typing import Any

import numpy as np

from . import formulas as f
from .arguments import check_pinning, formatted, is_set, pinned, placed, tensor_argument
from .compiler import dtypes, primitives as p
from .compiler.dtypes import BOOL, COMPLEX, FLOATING, INTEGER, DType, complex_of, meant
from .compiler.ir import Node, tensor_type
from .compiler.primitives import Undefined
from .cuda_interface import from_cuda_array_interface
from .device import device, device_name
from .exchange import from_numpy
from .mutation import write_out
from .origin import warn
from .parts import as_strided
from .recording import (
    get_default_dtype,
    input_node,
    moved,
    node_of,
    number_dtype,
    plain_number,
    scalar_node,
    tensor_of,
)
from .runtime.allocator import out_of_memory
from .tensor import Tensor
from .views import sizes_of

DeviceLike = str | int | device | None

# What a process on a 64-bit machine can address; a tensor is lazy, but one beyond this is refused at once.
ADDRESS_SPACE = 1 << 47


def made(node: Node, requires_grad: bool = False, out: Tensor | None = None) -> Tensor:
    """A new leaf with a value, or ``out`` with that value. Raises RuntimeError where no memory could ever hold it."""
    nbytes = node.type.nbytes
    if nbytes >= ADDRESS_SPACE:
        if nbytes >= 2**63:
            raise RuntimeError(f"Storage size calculation overflowed with sizes={list(node.type.shape)}")
        raise out_of_memory(nbytes)
    if out is not None:
        tensor = write_out(out, moved(node, out._node.type.device))
    else:
        tensor = tensor_of(node)
    return requiring_grad(tensor) if requires_grad is not False and is_set(requires_grad) else tensor


def requiring_grad(tensor: Tensor) -> Tensor:
    """A new tensor as a leaf that requires a gradient. Raises RuntimeError for integers."""
    if tensor.dtype.kind < FLOATING:
        raise RuntimeError("Only Tensors of floating point and complex dtype can require gradients")
    return tensor.requires_grad_()


def shape_argument(function: str, sizes: tuple, size: Sequence[int] | None = None) -> tuple[int, ...]:
    """Sizes given one by one, as one sequence, or by name.

    Raises:
        TypeError: no integers.
        RuntimeError: a negative size.
    """
    if size is not None:
        if sizes:
            raise TypeError(f"{function}() got multiple values for argument 'size'")
        sizes = (size,)
    if not sizes:
        raise TypeError(f'{function}() missing 1 required positional arguments: "size"')
    try:
        shape = sizes_of(sizes)
    except (TypeError, AttributeError):
        given = sizes[0] if len(sizes) == 1 else sizes
        raise TypeError(
            f"{function}(): argument 'size' (position 1) must be tuple of ints, not {type(given).__name__}"
        ) from None
    if any(extent < 0 for extent in shape):
        raise RuntimeError(f"{function}: Dimension size must be non-negative.")
    for position, extent in enumerate(shape, 1):
        if extent >= 2**63:
            raise TypeError(
                f"{function}(): argument 'size' failed to unpack the object at pos {position} with error "
                '"Overflow when unpacking long long"'
            )
    return shape


def _filled(
    function: str, value: float, sizes: tuple, size: Sequence[int] | None, out: Tensor | None, dtype: DType | None,
    place: DeviceLike, requires_grad: bool,
) -> Tensor:
    shape = shape_argument(function, sizes, size)
    if out is not None and dtype is None:
        dtype = out.dtype
    return made(f.filled(shape, dtype or get_default_dtype(), device_name(place), value), requires_grad, out)


@placed
def zeros(
    *sizes: int | Sequence[int], size: Sequence[int] | None = None, out: Tensor | None = None,
    dtype: DType | None = None, device: DeviceLike = None, requires_grad: bool = False,
) -> Tensor:
    """A tensor of zeros. Sizes come one by one or as one sequence. As ``torch.zeros``.

    Example:
        >>> import flamework as torch
        >>> torch.zeros(2).tolist()
        [0.0, 0.0]
    """
    return _filled("zeros", 0, sizes, size, out, dtype, device, requires_grad)


@placed
def ones(
    *sizes: int | Sequence[int], size: Sequence[int] | None = None, out: Tensor | None = None,
    dtype: DType | None = None, device: DeviceLike = None, requires_grad: bool = False,
) -> Tensor:
    """A tensor of ones. Sizes come one by one or as one sequence. As ``torch.ones``.

    Example:
        >>> import flamework as torch
        >>> torch.ones(2, dtype=torch.int64).tolist()
        [1, 1]
    """
    return _filled("ones", 1, sizes, size, out, dtype, device, requires_grad)


@placed
@formatted
def empty(
    *sizes: int | Sequence[int], size: Sequence[int] | None = None, out: Tensor | None = None,
    dtype: DType | None = None, device: DeviceLike = None, requires_grad: bool = False,
) -> Tensor:
    """A tensor whose elements are to be written; until then they are zeros. As ``torch.empty``.

    Example:
        >>> import flamework as torch
        >>> torch.empty(2, 3).shape
        torch.Size([2, 3])
    """
    return _filled("empty", 0, sizes, size, out, dtype, device, requires_grad)


@placed
def empty_strided(
    size: Sequence[int], stride: Sequence[int], *, dtype: DType | None = None, device: DeviceLike = None,
    requires_grad: bool = False,
) -> Tensor:
    """A tensor to be written, whose elements lie in memory as ``stride`` says. As ``torch.empty_strided``.

    Raises:
        RuntimeError: negative sizes or strides, or another number of strides than sizes.

    Example:
        >>> import flamework as torch
        >>> torch.empty_strided((2, 3), (1, 2)).stride()
        (1, 2)
    """
    if len(size) != len(stride):
        raise RuntimeError(
            f"dimensionality of sizes ({len(size)}) must match dimensionality of strides ({len(stride)})"
        )
    if any(n < 0 for n in size):
        n = next(n for n in size if n < 0)
        raise RuntimeError(f"Trying to create tensor with negative dimension {n}: {list(size)}")
    if any(step < 0 for step in stride):
        raise RuntimeError(
            f"Storage size calculation overflowed with sizes={list(size)} and strides={list(stride)}"
        )
    count = 1 + sum((n - 1) * step for n, step in zip(size, stride)) if all(size) else 0
    return as_strided(empty(count, dtype=dtype, device=device), size, stride).requires_grad_(requires_grad)


@placed
def empty_permuted(
    size: Sequence[int], physical_layout: Sequence[int], *, dtype: DType | None = None, device: DeviceLike = None,
    requires_grad: bool = False,
) -> Tensor:
    """A tensor to be written, whose axes lie in memory in the order ``physical_layout``, the outermost first.

    Raises:
        RuntimeError: no permutation of the axes.

    As ``torch.empty_permuted``.

    Example:
        >>> import flamework as torch
        >>> torch.empty_permuted((2, 3, 4), (0, 2, 1)).stride()
        (12, 1, 3)
    """
    if len(size) != len(physical_layout):
        raise RuntimeError(
            f"Number of dimensions in size does not match the length of the physical_layout; i.e. len(size) = "
            f"{len(size)} is not equal to len(physical_layout) = {len(physical_layout)}"
        )
    strides, step, seen = [0] * len(size), 1, set()
    for axis in reversed(physical_layout):
        if not 0 <= axis < len(size):
            raise RuntimeError(f"Dimension out of range (expected to be between 0 and {len(size) - 1}, but got {axis})")
        if axis in seen:
            raise RuntimeError("Duplicate dim not allowed")
        seen.add(axis)
        strides[axis] = step
        step *= max(size[axis], 1)
    return empty_strided(size, strides, dtype=dtype, device=device, requires_grad=requires_grad)


@placed
def full(
    size: Sequence[int], fill_value: float | Tensor, *, out: Tensor | None = None, dtype: DType | None = None,
    device: DeviceLike = None, requires_grad: bool = False,
) -> Tensor:
    """A tensor filled with one number, which also decides the dtype if none is given. As ``torch.full``.

    Example:
        >>> import flamework as torch
        >>> torch.full((2,), 7).tolist()
        [7, 7]
    """
    shape = shape_argument("full", (size,))
    if out is not None and dtype is None:
        dtype = out.dtype
    return made(_full(shape, fill_value, dtype, device_name(device)), requires_grad, out)


def _full(shape: tuple[int, ...], value: float | Tensor, dtype: DType | None, place: str) -> Node:
    if isinstance(value, Tensor):
        node = node_of(value)
        if node.ndim:
            raise TypeError("full(): argument 'fill_value' (position 2) must be Number, not Tensor")
        return f.broadcast_to(f.fresh(f.converted(node, dtype or node.type.dtype), node), shape)
    number = plain_number(value)
    if number is None:
        raise TypeError(f"full(): argument 'fill_value' (position 2) must be Number, not {type(value).__name__}")
    return scalar_node(number, tensor_type(shape, dtype or number_dtype(number), place))


def _like(
    function: str, input: Tensor, value: float, dtype: DType | None, place: DeviceLike, requires_grad: bool
) -> Tensor:
    type = tensor_argument(input, function, "input", 1).type
    where = type.device if place is None else device_name(place)
    return made(f.filled(type.shape, dtype or type.dtype, where, value), requires_grad)


@placed
@formatted
def zeros_like(
    input: Tensor, *, dtype: DType | None = None, device: DeviceLike = None, requires_grad: bool = False
) -> Tensor:
    """Zeros in the shape, dtype and on the device of ``input``. As ``torch.zeros_like``.

    Example:
        >>> import flamework as torch
        >>> torch.zeros_like(torch.tensor([5, 6])).tolist()
        [0, 0]
    """
    return _like("zeros_like", input, 0, dtype, device, requires_grad)


@placed
@formatted
def ones_like(
    input: Tensor, *, dtype: DType | None = None, device: DeviceLike = None, requires_grad: bool = False
) -> Tensor:
    """Ones in the shape, dtype and on the device of ``input``. As ``torch.ones_like``.

    Example:
        >>> import flamework as torch
        >>> torch.ones_like(torch.tensor([5, 6])).tolist()
        [1, 1]
    """
    return _like("ones_like", input, 1, dtype, device, requires_grad)


@placed
@formatted
def empty_like(
    input: Tensor, *, dtype: DType | None = None, device: DeviceLike = None, requires_grad: bool = False
) -> Tensor:
    """A tensor to be written, in the shape, dtype and on the device of ``input``. As ``torch.empty_like``.

    Example:
        >>> import flamework as torch
        >>> torch.empty_like(torch.tensor([5, 6])).shape
        torch.Size([2])
    """
    return _like("empty_like", input, 0, dtype, device, requires_grad)


@placed
@formatted
def full_like(
    input: Tensor, fill_value: float | Tensor, *, dtype: DType | None = None, device: DeviceLike = None,
    requires_grad: bool = False,
) -> Tensor:
    """One number in the shape, dtype and on the device of ``input``. As ``torch.full_like``.

    Example:
        >>> import flamework as torch
        >>> torch.full_like(torch.tensor([5, 6]), 7).tolist()
        [7, 7]
    """
    type = tensor_argument(input, "full_like", "input", 1).type
    where = type.device if device is None else device_name(device)
    return made(_full(type.shape, fill_value, dtype or type.dtype, where), requires_grad)


# -------------------------------------------------------------------------------------------------------------- ranges


def _bound(value: float | Tensor) -> float:
    return value.item() if isinstance(value, Tensor) else value


@placed
def arange(
    start: float | Tensor = 0, end: float | Tensor | None = None, step: float | Tensor = 1, *,
    out: Tensor | None = None, dtype: DType | None = None, device: DeviceLike = None, requires_grad: bool = False,
) -> Tensor:
    """The numbers from ``start`` (0 if only one bound is given) in steps of ``step``, up to but without ``end``.

    int64 if all three are integers, otherwise the default dtype, unless ``dtype`` is given. As ``torch.arange``.

    Raises:
        RuntimeError: a step of 0, or one that leads away from ``end``.

    Example:
        >>> import flamework as torch
        >>> torch.arange(1, 4).tolist()
        [1, 2, 3]
    """
    if end is None:
        start, end = 0, start
    first, last, by = _bound(start), _bound(end), _bound(step)
    if dtype is None:
        whole = all(isinstance(v, int) for v in (first, last, by))
        dtype = out.dtype if out is not None else dtypes.int64 if whole else get_default_dtype()
    if by == 0:
        raise RuntimeError("step must be nonzero")
    if not (math.isfinite(first) and math.isfinite(last)):
        raise RuntimeError(f"unsupported range: {first} -> {last}")
    if (last - first) * by < 0:
        raise RuntimeError("upper bound and lower bound inconsistent with step sign")
    if dtype is dtypes.int64:
        first, last, by = int(first), int(last), int(by)
        if by == 0:
            raise ValueError("step must be nonzero")
    if all(isinstance(v, int) for v in (first, last, by)):
        count = -((first - last) // by)
    else:
        count = math.ceil((last - first) / by)
    if dtype.kind != FLOATING:
        # PyTorch counts in floating point but steps in integers, except for int64, where both are integers
        first, by = int(first), int(by)
    return made(_sequence(first, by, count, dtype, device_name(device)), requires_grad, out)


def _sequence(start: float, step: float, count: int, dtype: DType, place: str) -> Node:
    if dtype.kind == BOOL:
        raise Undefined("\"arange_cpu\" not implemented for 'Bool'")
    # floating point in float64, so that the last of many steps is as exact as the first
    exact = dtypes.float64 if dtype.kind == FLOATING or not isinstance(start + step, int) else dtypes.int64
    node = p.iota(params=((count,), exact, place, 0))
    if step != 1:
        node = p.mul(node, f.argument(node, step))
    if start != 0:
        node = p.add(node, f.argument(node, start))
    return f.converted(node, dtype)


@placed
def range(
    start: float = 0, end: float | None = None, step: float = 1, *, out: Tensor | None = None,
    dtype: DType | None = None, device: DeviceLike = None, requires_grad: bool = False,
) -> Tensor:
    """As :func:`arange`, but including ``end``, and of the default dtype; an older function. As ``torch.range``.

    Example:
        >>> import flamework as torch
        >>> torch.range(1, 3).tolist()
        [1.0, 2.0, 3.0]
    """
    if end is None:
        start, end = 0, start
    if step == 0:
        raise RuntimeError("step must be nonzero")
    if (end - start) * step < 0:
        raise RuntimeError("upper bound and lower bound inconsistent with step sign")
    count = int((end - start) / step + 1)
    dtype = dtype or (get_default_dtype() if out is None else out.dtype)
    return made(_sequence(start, step, count, dtype, device_name(device)), requires_grad, out)


@placed
def linspace(
    start: float | Tensor, end: float | Tensor, steps: int, *, out: Tensor | None = None, dtype: DType | None = None,
    device: DeviceLike = None, requires_grad: bool = False,
) -> Tensor:
    """``steps`` numbers at equal distances from ``start`` to ``end``, both included. As ``torch.linspace``.

    Example:
        >>> import flamework as torch
        >>> torch.linspace(0, 1, 3).tolist()
        [0.0, 0.5, 1.0]
    """
    first, last, count = _bound(start), _bound(end), _steps(steps)
    dtype = _spaced_dtype("linspace", first, last, dtype, out)
    return made(_spaced(first, last, count, dtype, device_name(device)), requires_grad, out)


def _spaced_dtype(function: str, start: complex, end: complex, dtype: DType | None, out: Tensor | None) -> DType:
    """The dtype of numbers at equal distances, which is complex if one of the ends is."""
    if isinstance(start, complex) or isinstance(end, complex):
        inferred = complex_of(get_default_dtype())
        dtype = dtype or (inferred if out is None else out.dtype)
        if dtype.kind != COMPLEX:
            raise RuntimeError(
                f"torch.{function}(): inferred dtype {inferred} can't be safely cast to passed dtype "
                f"{dtype.scalar_name}"
            )
    return dtype or (get_default_dtype() if out is None else out.dtype)


def _steps(steps: int) -> int:
    count = operator.index(steps)
    if count < 0:
        raise RuntimeError("number of steps must be non-negative")
    return count


def _whole(value: float, dtype: DType) -> int:
    """A number as one of an integer dtype, as C++ converts it; a negative integer wraps around in an unsigned one."""
    info = np.iinfo(dtype.numpy)
    least = -info.max if isinstance(value, int) and not info.min else info.min
    if not least <= value <= info.max:
        raise RuntimeError(f"value cannot be converted to type {dtype.name}_t without overflow")
    return int(value) % (info.max + 1) if not info.min else int(value)


def _spaced(start: float, end: float, count: int, dtype: DType, place: str) -> Node:
    if dtype.kind == BOOL:
        raise Undefined("\"linspace_cpu\" not implemented for 'Bool'")
    if isinstance(start, complex) or isinstance(end, complex):
        start, end = complex(start), complex(end)
        pairs = (start.real, end.real), (start.imag, end.imag)
        return f.converted(p.complex_(*[_spaced(*pair, count, dtype.part, place) for pair in pairs]), dtype)
    exact = dtype if dtype.kind == FLOATING else dtypes.float64
    if dtype.kind == INTEGER:
        # the ends are numbers of the dtype, and what is between them is rounded towards zero
        start, end = _whole(start, dtype), _whole(end, dtype)
    position = p.iota(params=((count,), exact, place, 0))
    first, last = f.argument(position, start), f.argument(position, end)
    if count < 2:
        return f.converted(first, dtype)
    # each half from its own end, so that both ends are exact
    kind = exact.numpy.type
    step = f.argument(position, float((kind(end) - kind(start)) / kind(count - 1)))
    rest = p.sub(f.argument(position, count - 1), position)
    rising = p.add(first, p.mul(step, position))
    falling = p.sub(last, p.mul(step, rest))
    near_start = p.lt(position, f.argument(position, count // 2))
    return f.converted(p.where(near_start, rising, falling), dtype)


@placed
def logspace(
    start: float | Tensor, end: float | Tensor, steps: int, base: float = 10.0, *, out: Tensor | None = None,
    dtype: DType | None = None, device: DeviceLike = None, requires_grad: bool = False,
) -> Tensor:
    """``base`` to the power of ``steps`` numbers at equal distances from ``start`` to ``end``. As ``torch.logspace``.

    Example:
        >>> import flamework as torch
        >>> torch.logspace(0, 2, 3, base=2).tolist()
        [1.0, 2.0, 4.0]
    """
    first, last, count = _bound(start), _bound(end), _steps(steps)
    dtype = _spaced_dtype("logspace", first, last, dtype, out)
    exact = dtypes.complex128 if dtype.kind == COMPLEX else dtypes.float64
    if dtype.kind == INTEGER:
        first, last = _whole(first, dtype), _whole(last, dtype)
    exponents = _spaced(first, last, count, exact, device_name(device))
    powers = node_of(pow(tensor_of(f.argument(exponents, base)), tensor_of(exponents)))
    return made(f.converted(powers, dtype), requires_grad, out)


@placed
def eye(
    n: int, m: int | None = None, *, out: Tensor | None = None, dtype: DType | None = None, device: DeviceLike = None,
    requires_grad: bool = False,
) -> Tensor:
    """A matrix ``[n, m]``, by default square, with ones on the diagonal and zeros elsewhere. As ``torch.eye``.

    Example:
        >>> import flamework as torch
        >>> torch.eye(2).tolist()
        [[1.0, 0.0], [0.0, 1.0]]
    """
    rows, columns = operator.index(n), operator.index(n if m is None else m)
    for name, extent in (("n", rows), ("m", columns)):
        if extent < 0:
            raise RuntimeError(f"{name} must be greater or equal to 0, got {extent}")
    params = ((rows, columns), dtypes.int64, device_name(device))
    diagonal = p.eq(p.iota(params=(*params, 0)), p.iota(params=(*params, 1)))
    dtype = dtype or (get_default_dtype() if out is None else out.dtype)
    return made(f.converted(diagonal, dtype), requires_grad, out)


def _triangle(row: int, col: int, offset: int, upper: bool) -> np.ndarray:
    mask = np.tri(row, col, offset - 1 if upper else offset, dtype=bool)
    return np.stack(np.nonzero(~mask if upper else mask)).astype(np.int64)


@placed
def tril_indices(
    row: int, col: int, offset: int = 0, *, dtype: DType = dtypes.int64, device: DeviceLike = None
) -> Tensor:
    """Rows and columns of the elements on and below a diagonal, ``[2, count]``. As ``torch.tril_indices``.

    Example:
        >>> import flamework as torch
        >>> torch.tril_indices(2, 2).tolist()
        [[0, 1, 1], [0, 0, 1]]
    """
    return tensor_of(f.converted(input_node(_triangle(row, col, offset, False), device_name(device)), dtype))


@placed
def triu_indices(
    row: int, col: int, offset: int = 0, *, dtype: DType = dtypes.int64, device: DeviceLike = None
) -> Tensor:
    """Rows and columns of the elements on and above a diagonal, ``[2, count]``. As ``torch.triu_indices``.

    Example:
        >>> import flamework as torch
        >>> torch.triu_indices(2, 2).tolist()
        [[0, 0, 1], [0, 1, 1]]
    """
    return tensor_of(f.converted(input_node(_triangle(row, col, offset, True), device_name(device)), dtype))


# ----------------------------------------------------------------------------------------------------- from other data


def tensor(
    data: Any, *, dtype: DType | None = None, device: DeviceLike = None, requires_grad: bool = False,
    pin_memory: bool = False,
) -> Tensor:
    """A new tensor with a copy of ``data``: a number, nested sequences of numbers, an array or a tensor.

    Without ``dtype``, Python floats give the default dtype, ints int64, bools bool; arrays keep theirs. As
    ``torch.tensor``.

    Raises:
        ValueError: rows of different lengths.
        TypeError: elements that are no numbers.

    Example:
        >>> import flamework as torch
        >>> torch.tensor([[1, 2], [3, 4]]).dtype
        torch.int64
    """
    check_pinning(pin_memory)
    place, dtype = device_name(device), meant(dtype)
    if isinstance(data, Tensor):
        warn(
            "To copy construct from a tensor, it is recommended to use sourceTensor.detach().clone() or "
            "sourceTensor.detach().clone().requires_grad_(True), rather than torch.tensor(sourceTensor).",
        )
        copied = data.detach().clone()
        where = data.device if device is None else device
        return pinned(copied.to(where, dtype or data.dtype).requires_grad_(requires_grad), pin_memory)
    if hasattr(data, "__cuda_array_interface__"):
        found = as_tensor(from_cuda_array_interface(data).clone(), dtype=dtype, device=device)
        return requiring_grad(found) if requires_grad else found
    return pinned(made(input_node(array_of(data, dtype), place), requires_grad), pin_memory)


def array_of(data: Any, dtype: DType | None) -> np.ndarray:
    """A C-contiguous array of our own with the elements of ``data``.

    Raises:
        ValueError, TypeError, RuntimeError: as :func:`tensor`.
    """
    if isinstance(data, (float, int)) and not isinstance(data, np.generic):
        wanted = number_dtype(data) if dtype is None else dtype
        kind = tensor_type((), wanted.part, "cpu")
        return np.asarray(scalar_node(data, kind).value, wanted.numpy)
    given = isinstance(data, (np.ndarray, np.generic)) or hasattr(data, "__array__")
    if not given and _holds_tensors(data):
        dtype = _promoted(data) if dtype is None else dtype
        data = _numbers(data)
    try:
        array = np.array(data)
    except ValueError:
        raise _ragged(data) from None
    if array.dtype.kind in "USO" or array.dtype == np.uint64:
        raise _no_numbers(data, array)
    if dtype is None:
        dtype = dtypes.from_numpy(array.dtype) if given or array.dtype.kind not in "fc" else _float_dtype(data, array)
    elif array.dtype.kind == "c" and dtype.kind != COMPLEX:
        if not given:
            raise TypeError(f"can't convert complex to {'float' if dtype.kind == FLOATING else 'int'}")
        array = array != 0 if dtype is dtypes.bool_ else array.real
    return np.ascontiguousarray(array, dtype.numpy).reshape(array.shape)


def _float_dtype(data: Any, array: np.ndarray) -> DType:
    """Of sequences with floats: Python's count as the default dtype, NumPy's bring their own."""
    first = data
    while isinstance(first, (list, tuple)) and first:
        first = first[0]
    if isinstance(first, (np.generic, np.ndarray)) and first.dtype.kind == array.dtype.kind:
        return dtypes.from_numpy(array.dtype)
    return complex_of(get_default_dtype()) if array.dtype.kind == "c" else get_default_dtype()


def _holds_tensors(data: Any) -> bool:
    if isinstance(data, (list, tuple)):
        return any(isinstance(x, Tensor) or (isinstance(x, (list, tuple)) and _holds_tensors(x)) for x in data)
    return False


def _promoted(data: Any) -> DType:
    """The dtype of a sequence that holds tensors: that of all its elements together."""
    if isinstance(data, (list, tuple)):
        return functools.reduce(dtypes.promote, map(_promoted, data)) if data else get_default_dtype()
    if isinstance(data, (Tensor, np.generic, np.ndarray)):
        return data.dtype if isinstance(data, Tensor) else dtypes.from_numpy(data.dtype)
    return number_dtype(data)


def _numbers(data: Any) -> Any:
    if isinstance(data, Tensor):
        if data.numel() != 1:
            raise ValueError("only one element tensors can be converted to Python scalars")
        return data.item()
    return [_numbers(x) for x in data] if isinstance(data, (list, tuple)) else data


def _ragged(data: Any, dim: int = 0) -> Exception:
    """The error for rows of different lengths: which one, and where."""
    expected: list[int] = []
    level = data
    while isinstance(level, Sequence) and not isinstance(level, str):
        expected.append(len(level))
        if not len(level):
            break
        level = level[0]

    def find(part: Any, depth: int) -> Exception | None:
        if depth == len(expected):
            return TypeError(f"not a sequence: {part!r}") if isinstance(part, Sequence) else None
        if not isinstance(part, Sequence):
            return TypeError("not a sequence")
        if len(part) != expected[depth]:
            return ValueError(f"expected sequence of length {expected[depth]} at dim {depth} (got {len(part)})")
        return next((e for e in (find(x, depth + 1) for x in part) if e is not None), None)

    return find(data, dim) or ValueError("the data has no regular shape")


def _no_numbers(data: Any, array: np.ndarray) -> Exception:
    flat = array.reshape(-1)
    culprit = next((x for x in flat.tolist() if not isinstance(x, (int, float))), None)
    if array.dtype == np.uint64 or isinstance(flat[0] if flat.size else None, int):
        return ValueError("Overflow when unpacking long long")
    if isinstance(culprit, str):
        return TypeError("new(): invalid data type 'str'")
    return RuntimeError(f"Could not infer dtype of {type(data if culprit is None else culprit).__name__}")


def as_tensor(data: Any, *, dtype: DType | None = None, device: DeviceLike = None) -> Tensor:
    """``data`` as a tensor, without a copy where that is possible: a tensor itself, an array sharing memory, an object
    with ``__cuda_array_interface__`` sharing a GPU's.

    As ``torch.as_tensor``.

    Example:
        >>> import flamework as torch
        >>> x = torch.tensor([1, 2])
        >>> torch.as_tensor(x) is x
        True
    """
    dtype = meant(dtype)
    if isinstance(data, Tensor):
        same = (dtype is None or dtype is data.dtype) and (device is None or device_name(device) == str(data.device))
        return data if same else data.to(data.device if device is None else device, dtype or data.dtype)
    if isinstance(data, np.ndarray) and device_name(device) == "cpu":
        if dtype is None or dtype.numpy == data.dtype:
            return from_numpy(data)
    if hasattr(data, "__cuda_array_interface__"):
        return as_tensor(from_cuda_array_interface(data), dtype=dtype, device=device)
    return tensor(data, dtype=dtype, device=device)


@placed
def scalar_tensor(
    s: float, *, dtype: DType | None = None, device: DeviceLike = None, requires_grad: bool = False
) -> Tensor:
    """A tensor without axes that holds a number, of the default dtype unless one is given. As ``torch.scalar_tensor``.

    Example:
        >>> import flamework as torch
        >>> torch.scalar_tensor(2).item()
        2.0
    """
    return full((), s, dtype=dtype or get_default_dtype(), device=device, requires_grad=requires_grad)


# ----------------------------------------------------------------------------------------------- methods: new_zeros ...


def _from(self: Tensor, dtype: DType | None, place: DeviceLike) -> dict[str, Any]:
    return {"dtype": dtype or self.dtype, "device": self.device if place is None else place}


@placed
def new_zeros(
    self: Tensor, *sizes: int | Sequence[int], size: Sequence[int] | None = None, dtype: DType | None = None,
    device: DeviceLike = None, requires_grad: bool = False,
) -> Tensor:
    """Zeros with the dtype and device of this tensor. As ``Tensor.new_zeros``."""
    return zeros(*sizes, size=size, requires_grad=requires_grad, **_from(self, dtype, device))


@placed
def new_ones(
    self: Tensor, *sizes: int | Sequence[int], size: Sequence[int] | None = None, dtype: DType | None = None,
    device: DeviceLike = None, requires_grad: bool = False,
) -> Tensor:
    """Ones with the dtype and device of this tensor. As ``Tensor.new_ones``."""
    return ones(*sizes, size=size, requires_grad=requires_grad, **_from(self, dtype, device))


@placed
def new_empty(
    self: Tensor, *sizes: int | Sequence[int], size: Sequence[int] | None = None, dtype: DType | None = None,
    device: DeviceLike = None, requires_grad: bool = False,
) -> Tensor:
    """A tensor to be written, with the dtype and device of this tensor. As ``Tensor.new_empty``."""
    return empty(*sizes, size=size, requires_grad=requires_grad, **_from(self, dtype, device))


@placed
def new_full(
    self: Tensor, size: Sequence[int], fill_value: float, *, dtype: DType | None = None, device: DeviceLike = None,
    requires_grad: bool = False,
) -> Tensor:
    """One number everywhere, with the dtype and device of this tensor. As ``Tensor.new_full``."""
    return full(size, fill_value, requires_grad=requires_grad, **_from(self, dtype, device))


@placed
def new_empty_strided(
    self: Tensor, size: Sequence[int], stride: Sequence[int], *, dtype: DType | None = None,
    device: DeviceLike = None, requires_grad: bool = False,
) -> Tensor:
    """:func:`empty_strided` with the dtype and device of this tensor. As ``Tensor.new_empty_strided``."""
    return empty_strided(size, stride, requires_grad=requires_grad, **_from(self, dtype, device))


@placed
def new_tensor(
    self: Tensor, data: Any, *, dtype: DType | None = None, device: DeviceLike = None, requires_grad: bool = False
) -> Tensor:
    """A copy of ``data`` with the dtype and device of this tensor. As ``Tensor.new_tensor``."""
    return tensor(data, requires_grad=requires_grad, **_from(self, dtype, device))


__all__ = [
    "arange", "as_tensor", "empty", "empty_like",
    "empty_permuted", "empty_strided", "eye", "full", "full_like", "linspace", "logspace", "ones",
    "ones_like", "range", "scalar_tensor", "tensor", "tril_indices", "triu_indices", "zeros", "zeros_like",
]
