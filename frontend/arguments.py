"""Arguments: what every public function does to its arguments before it records anything.

Axes that may be negative become canonical, result dtypes are chosen, ``out=`` is served, and a wrong argument is
refused at the user's line with PyTorch's error. In: what a user passed. Out: canonical axes, nodes, tensors. Read
next: ``pointwise.py``, the first of the function modules.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .compiler import dtypes
from .compiler.dtypes import DType
from .compiler.ir import Node
from .compiler.primitives import Undefined
from .formulas import converted, fresh, kept as with_axes
from .memory_order import arranged_like
from .mutation import write_out
from .origin import warn
from .recording import node_of, read, tensor_of
from .runtime import engine, gpu
from .tensor import Tensor, axis_of, memory_format as _formats, strided
from .views import contiguous


def scalar_type(dtype: DType) -> str:
    """What PyTorch's messages call a dtype: ``"Float"`` for float32."""
    return dtype.scalar_name


def tensor_argument(value: object, function: str, name: str, position: int) -> Node:
    """The node of an argument that must be a tensor.

    Raises:
        TypeError: it is something else.
    """
    if not isinstance(value, Tensor):
        raise TypeError(
            f"{function}(): argument '{name}' (position {position}) must be Tensor, not {type(value).__name__}"
        )
    return node_of(value)


def canonical_axes(dim: int | Sequence[int] | None, ndim: int) -> tuple[int, ...]:
    """The sorted axes that ``dim`` means: all of them for None and for an empty sequence.

    Raises:
        IndexError: one is out of range.
        RuntimeError: one appears twice.
    """
    if dim is None:
        return tuple(range(ndim))
    if isinstance(dim, (tuple, list)):
        if not dim:
            return tuple(range(ndim))
        axes = [axis_of(d, ndim) for d in dim]
        for i, axis in enumerate(axes):
            if axis in axes[:i]:
                raise RuntimeError(f"dim {axis} appears multiple times in the list of dims")
        return tuple(sorted(axes)) if ndim else ()
    axis = axis_of(dim, ndim)
    return (axis,) if ndim else ()


_NUMPY_NAMES = (("axis", "dim"), ("keepdims", "keepdim"))


def numpy_names(function: Callable) -> Callable:
    """Let a function take ``axis`` and ``keepdims`` for ``dim`` and ``keepdim``, as PyTorch's functions do."""

    @functools.wraps(function)
    def with_either_name(*args, **options):
        if options:
            for alias, name in _NUMPY_NAMES:
                if alias in options and name not in options:
                    options[name] = options.pop(alias)
        return function(*args, **options)

    return with_either_name


def placed(function: Callable) -> Callable:
    """Let a function that makes a tensor take ``layout`` and ``pin_memory``, of which it can have one value each.

    Raises:
        RuntimeError: another layout than ``strided``, or memory that is locked for a GPU, without one.
    """

    @functools.wraps(function)
    def made(*args: Any, layout: Any = strided, pin_memory: bool = False, **options: Any) -> Any:
        if layout is not strided and layout is not None:
            raise RuntimeError(f"{function.__name__}(): torch.strided is the layout of its result, but got {layout}")
        check_pinning(pin_memory)
        return pinned(function(*args, **options), pin_memory)

    return made


def pinned(tensor: Tensor, wanted: bool) -> Tensor:
    """A new tensor, in memory that is locked for a GPU if that is wanted."""
    return tensor.pin_memory().requires_grad_(tensor.requires_grad) if wanted else tensor


def check_pinning(pin_memory: bool) -> None:
    """Refuse ``pin_memory=True`` without a GPU. Raises :class:`RuntimeError`."""
    if pin_memory and not gpu.count():
        raise RuntimeError("pin_memory=True requires a CUDA or other accelerator backend; there is none")


def formatted(function: Callable) -> Callable:
    """Let a function whose result is a new tensor take ``memory_format``, the order of its elements in memory."""

    @functools.wraps(function)
    def ordered(*args: Any, memory_format: Any = None, **options: Any) -> Any:
        tensor = function(*args, **options)
        if memory_format is None or memory_format is _formats.preserve_format:
            source = args[0] if args else options.get("input")
            return arranged_like(tensor, (source,)) if isinstance(source, Tensor) else tensor
        if not tensor.is_leaf:
            return contiguous(tensor, memory_format=memory_format)
        return contiguous(tensor.detach(), memory_format=memory_format).requires_grad_(tensor.requires_grad)

    return ordered


def factors_first(*names: str) -> Callable[[Callable], Callable]:
    """Let a function take its factors before its terms, as older programs write them: ``x.addcmul_(2, y, z)`` for
    ``x.addcmul_(y, z, value=2)``. PyTorch takes this as well, with a warning.

    Args:
        names: of the factors, in that order.
    """

    def decorate(function: Callable) -> Callable:
        @functools.wraps(function)
        def either_order(*args: Any, **options: Any) -> Any:
            numbers = [value for value in args if not isinstance(value, Tensor)]
            if numbers and len(numbers) <= len(names) and len(args) > 3:
                older_order(function.__name__)
                options.update(zip(names, numbers))
                args = tuple(value for value in args if isinstance(value, Tensor))
            return function(*args, **options)

        return either_order

    return decorate


def term_last(name: str, alpha: float, rest: tuple) -> tuple[Tensor | float, float]:
    """``(other, alpha)`` of a call ``add(x, alpha, other)``, as older programs write it.

    Raises:
        TypeError: too many arguments, or others.
    """
    if len(rest) != 1 or isinstance(alpha, Tensor):
        raise TypeError(f"{name}() takes 2 positional arguments but {len(rest) + 2} were given")
    older_order(name)
    return rest[0], alpha


def older_order(name: str) -> None:
    """Say that a call has the order of arguments that older programs have."""
    warn(f"This overload of {name} is deprecated: give the factors by name, after the tensors")


def integers(value: int | Sequence[int], count: int, function: str, name: str) -> tuple[int, ...]:
    """One number an axis: a single number stands for all of them.

    Raises:
        RuntimeError: a sequence of another length.
        TypeError: no integers.
    """
    if isinstance(value, (tuple, list)):
        found = tuple(operator.index(v) for v in value)
        if len(found) == 1:
            found *= count
        if len(found) != count:
            raise RuntimeError(f"{function}: expected {name} to be one integer or {count} of them, got {list(found)}")
        return found
    try:
        return (operator.index(value),) * count
    except TypeError:
        raise TypeError(
            f"{function}(): argument '{name}' must be tuple of ints, not {type(value).__name__}"
        ) from None


def values_of(node: Node) -> np.ndarray:
    """The elements of a node, computed now, for a result whose size or content has to be found on the host.

    Raises:
        Exception: while a function is recorded for replay, which would not look again (``capture.py``).
    """
    if engine.refuse is not None:
        engine.refuse([node])
    return read(node)


def is_set(flag: bool) -> bool:
    """The flag itself, which has to be True or False.

    Raises:
        TypeError: it is not.
    """
    if flag is True or flag is False:
        return flag
    raise TypeError(f"a flag must be bool, not {type(flag).__name__}")


def kept(reduced: Node, axes: Sequence[int], x: Node, keepdim: bool) -> Node:
    """What became of ``x``, with the axes that were reduced left at size 1 if ``keepdim`` is set."""
    if keepdim is False:
        return reduced
    return with_axes(reduced, axes, x.type.shape) if is_set(keepdim) else reduced


def with_dtype(node: Node, dtype: DType | None) -> Node:
    return node if dtype is None else converted(node, dtype)


def widened(node: Node) -> Node:
    """Integers and bools as int64, in which they are summed."""
    return node if node.type.dtype.kind >= dtypes.FLOATING else converted(node, dtypes.int64)


def summand(node: Node, dtype: DType | None, out: Tensor | None) -> Node:
    """The input of a sum or product in the dtype of the computation: the given one, that of ``out``, or its own."""
    if dtype is None and out is not None:
        dtype = out.dtype
    return widened(node) if dtype is None else converted(node, dtype)


def real_only(node: Node, function: str) -> Node:
    """Refuse complex numbers.

    Raises:
        NotImplementedError: the dtype is complex.
    """
    if node.type.dtype.kind == dtypes.COMPLEX:
        raise Undefined(f"\"{function}\" not implemented for '{node.type.dtype.scalar_name}'")
    return node


def floating_only(node: Node, function: str) -> Node:
    """Refuse integers and bools, for which PyTorch has no such function either.

    Raises:
        NotImplementedError: the dtype is not floating point.
    """
    if real_only(node, function).type.dtype.kind != dtypes.FLOATING:
        raise Undefined(f"\"{function}\" not implemented for '{scalar_type(node.type.dtype)}'")
    return node


def returned(node: Node, out: Tensor | None, source: Node | None = None) -> Tensor:
    """The result of a function: a new tensor, or ``out`` after ``node`` was written to it.

    Args:
        source: a node of the arguments that ``node`` may be identical with.
    """
    if out is not None:
        return write_out(out, node)
    return tensor_of(node if source is None else fresh(node, source))


def exactly_returned(node: Node, out: Tensor | None, source: Node | None = None) -> Tensor:
    """:func:`returned`, for functions that write to an ``out`` of the result's own dtype only, as in PyTorch.

    Raises:
        RuntimeError: ``out`` has another dtype.
    """
    if out is not None and out.dtype is not node.type.dtype:
        raise RuntimeError(
            f"Expected out tensor to have dtype {node.type.dtype}, but got {out.dtype} instead"
        )
    return returned(node, out, source)


def type_name(value: object) -> str:
    """The name of an object's type, as messages have it: with its module if that is not Python's own."""
    kind = type(value)
    return kind.__name__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__name__}"
