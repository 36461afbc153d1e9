"""How a tensor looks when it is printed: exactly as PyTorch prints it.

What comes in is an array that has been materialised, with the names of its dtype and device; what goes out is the text
of ``repr(tensor)``. The work has three steps, each a section below: a large array is *summarised* to its edges first,
so that printing costs the same for any size; a *column* chooses one notation and one width for all numbers that will be
seen; the *layout* puts the numbers into lines and nested brackets and appends what the numbers do not show (device,
size, dtype, gradient).

Read next: the tensor class, whose ``__repr__`` materialises the values and calls :func:`format_tensor`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

__all__ = ["PrintOptions", "format_tensor", "print_options", "set_printoptions"]


@dataclass(frozen=True, slots=True)
class PrintOptions:
    """How numbers are shown; the defaults are PyTorch's.

    ``precision`` is the number of digits after the point, ``threshold`` the number of elements above which the array is
    summarised, ``edgeitems`` how many elements a summary shows at each end of a dimension, ``linewidth`` the number of
    characters in a line, and ``sci_mode`` asks for (True) or rules out (False) scientific notation of floats.
    """

    precision: int = 4
    threshold: float = 1000
    edgeitems: int = 3
    linewidth: int = 80
    sci_mode: bool | None = None

    def __post_init__(self) -> None:
        for name in ("precision", "edgeitems", "linewidth"):
            value = getattr(self, name)
            if not isinstance(value, (int, np.integer)) or value < 0:
                raise ValueError(f"{name} is a whole number from 0 on, and {value!r} is not")
        if not isinstance(self.threshold, (int, float)) or not self.threshold >= 0:
            raise ValueError(f"threshold is a number from 0 on (or infinity), and {self.threshold!r} is not")


_PROFILES = {
    "default": PrintOptions(),
    "short": PrintOptions(precision=2, edgeitems=2),
    "full": PrintOptions(threshold=float("inf")),
}

_current = PrintOptions()


def print_options() -> PrintOptions:
    """The options now in force.

    >>> print_options().precision
    4
    """
    return _current


def set_printoptions(
    precision: int | None = None,
    threshold: float | None = None,
    edgeitems: int | None = None,
    linewidth: int | None = None,
    profile: str | None = None,
    sci_mode: bool | None = None,
) -> None:
    """Set the options of printing; an option which is not given keeps its value.

    ``profile`` ("default", "short" or "full", in any case) sets all options, before the others are applied.
    ``sci_mode`` is set by every call: without it, the notation is chosen by the numbers again. The meaning of the
    options is in :class:`PrintOptions`. Raises ValueError for an unknown profile or an option out of range.

    Source: PyTorch's page "torch.set_printoptions".

    >>> set_printoptions(precision=2)
    >>> print(format_tensor(np.array([1.12345], np.float32), "float32", "float32"))
    tensor([1.12])
    >>> set_printoptions(profile="default")
    """
    global _current
    options = _current
    if profile is not None:
        if str(profile).lower() not in _PROFILES:
            raise ValueError(f"profile is one of {', '.join(_PROFILES)}, and {profile!r} is not")
        options = _PROFILES[profile.lower()]
    given = {"precision": precision, "threshold": threshold, "edgeitems": edgeitems, "linewidth": linewidth}
    changed = {name: value for name, value in given.items() if value is not None}
    _current = replace(options, sci_mode=sci_mode, **changed)


# --------------------------------------------------------------------------------------------------------- summarising


def _edges(array: NDArray, edgeitems: int) -> NDArray:
    """The array without the middle of every dimension that is longer than two edges."""
    kept = [
        np.r_[0:edgeitems, size - edgeitems : size] if size > 2 * edgeitems else np.arange(size) for size in array.shape
    ]
    return array[np.ix_(*kept)]


# ------------------------------------------------------------------------------------------------------------- columns


class _Column:
    """One notation and one width for all the numbers of a tensor; :meth:`text` applies them to a number."""

    def __init__(self, values: NDArray, options: PrintOptions) -> None:
        self.width = 1
        self._format = "{}"
        self._suffix = ""
        if values.dtype.kind == "f":
            values = self._choose_notation(values.astype(np.float64), options)
        self.width = max((len(self._unpadded(value)) for value in values.ravel().tolist()), default=1)

    def _choose_notation(self, values: NDArray, options: PrintOptions) -> NDArray:
        """Decide between ``1.``, ``1.0000`` and ``1.0000e+00``, and return the values that the width depends on.

        Zeros, infinities and NaN have no say in either.
        """
        values = values[np.isfinite(values) & (values != 0)]
        integral = bool((values == np.ceil(values)).all())
        scientific = False
        if values.size and options.sci_mode is not None:
            scientific = options.sci_mode
        elif values.size:
            magnitudes = np.abs(values)
            smallest, largest = float(magnitudes.min()), float(magnitudes.max())
            scientific = largest / smallest > 1000 or largest > 1e8 or (not integral and smallest < 1e-4)
        if scientific:
            self._format = f"{{:.{options.precision}e}}"
        elif integral:
            self._format, self._suffix = "{:.0f}", "."
        else:
            self._format = f"{{:.{options.precision}f}}"
        return values

    def _unpadded(self, value: float) -> str:
        text = self._format.format(value)
        return text + self._suffix if text[-1].isdigit() else text

    def text(self, value: float) -> str:
        return self._unpadded(value).rjust(self.width)


class _ComplexColumn:
    """A column for the real and one for the imaginary parts; only the real parts are aligned."""

    def __init__(self, values: NDArray, options: PrintOptions) -> None:
        self._real, self._imaginary = _Column(values.real, options), _Column(values.imag, options)
        self.width = self._real.width + self._imaginary.width + 1

    def text(self, value: complex) -> str:
        imaginary = self._imaginary.text(value.imag).lstrip()
        sign = "" if imaginary[0] == "-" else "+"
        return f"{self._real.text(value.real)}{sign}{imaginary}j"


# -------------------------------------------------------------------------------------------------------------- layout


def _rows(shown: NDArray, full_shape: Sequence[int], column: _Column | _ComplexColumn, indent: int, width: int) -> str:
    """Nested brackets around ``shown``, with dots where a dimension of ``full_shape`` has lost its middle."""
    if shown.ndim == 0:
        return column.text(shown.item())
    cut = shown.shape[0] // 2 if shown.shape[0] < full_shape[0] else None
    margin = " " * (indent + 1)
    if shown.ndim == 1:
        items = [column.text(value) for value in shown.tolist()]
        if cut is not None:
            items.insert(cut, " ...")
        per_line = max(1, (width - indent) // (column.width + 2))
        lines = [", ".join(items[start : start + per_line]) for start in range(0, len(items), per_line)]
        return "[" + f",\n{margin}".join(lines) + "]"
    blocks = [_rows(block, full_shape[1:], column, indent + 1, width) for block in shown]
    if cut is not None:
        blocks.insert(cut, "...")
    return "[" + ("," + "\n" * (shown.ndim - 1) + margin).join(blocks) + "]"


def _with_suffixes(text: str, suffixes: Iterable[str], indent: int, width: int, free: int = 2) -> str:
    """Append ``suffixes`` and the closing parenthesis; a suffix that does not fit into the line begins a new one."""
    # PyTorch keeps two columns free after numbers, and none on a line that begins with a suffix.
    column = len(text) - (text.rfind("\n") + 1) + free
    for suffix in suffixes:
        if column + 2 + len(suffix) > width:
            text += ",\n" + " " * indent + suffix
            column = indent + len(suffix)
        else:
            text += ", " + suffix
            column += 2 + len(suffix)
    return text + ")"


def _numbers(array: NDArray, dtype_name: str, indent: int, options: PrintOptions) -> str:
    """The elements of an array in nested brackets; of a large one the edges."""
    if array.size == 0:
        return "[]"
    summarise = array.size > options.threshold
    if summarise and options.edgeitems == 0 and array.shape:
        return "[...]"
    shown = _edges(array, options.edgeitems) if summarise else array
    if dtype_name == "bfloat16" and shown.dtype == np.uint16:
        shown = (shown.astype(np.uint32) << np.uint32(16)).view(np.float32)
    column = (_ComplexColumn if shown.dtype.kind == "c" else _Column)(shown, options)
    return _rows(shown, array.shape, column, indent, options.linewidth)


def format_sparse(
    indices: NDArray, values: NDArray, shape: Sequence[int], dtype_name: str, default_dtype_name: str, *,
    requires_grad: bool = False, grad_fn: str | None = None, device: str | None = None,
) -> str:
    """The text that ``repr`` of a sparse tensor gives, of its indices and values, which are as for
    :func:`format_tensor`.

    >>> print(format_sparse(np.array([[1]]), np.array([2.5], np.float32), (3,), "float32", "float32"))
    tensor(indices=tensor([[1]]),
           values=tensor([2.5000]),
           size=(3,), nnz=1, layout=torch.sparse_coo)
    """
    indent, parts = len("tensor("), []
    for name, array in (("indices", indices), ("values", values)):
        head = f"{name}=tensor("
        text = _numbers(array, dtype_name if array is values else "int64", indent + len(head), _current)
        parts.append(head + text + (f", size={array.shape}" if array.size == 0 else "") + ")")
    suffixes = [] if device is None else [f"device='{device}'"]
    suffixes += [f"size={tuple(shape)}", f"nnz={indices.shape[1]}"]
    if dtype_name not in _unnamed_dtypes(default_dtype_name):
        suffixes.append(f"dtype=torch.{dtype_name}")
    suffixes.append("layout=torch.sparse_coo")
    if grad_fn is not None:
        suffixes.append(f"grad_fn=<{grad_fn}>")
    elif requires_grad:
        suffixes.append("requires_grad=True")
    margin = " " * indent
    # a line begins with the first suffix in any case
    last = _with_suffixes(margin + suffixes[0], suffixes[1:], indent, _current.linewidth, free=0)
    return f"tensor({parts[0]},\n{margin}{parts[1]},\n{last}"


def _unnamed_dtypes(default_dtype_name: str) -> set[str]:
    """The dtypes that numbers are taken to have if nothing is said."""
    return {default_dtype_name, "int64", "bool", "complex128" if default_dtype_name == "float64" else "complex64"}


def format_tensor(
    array: NDArray | None,
    dtype_name: str,
    default_dtype_name: str,
    *,
    requires_grad: bool = False,
    grad_fn: str | None = None,
    device: str | None = None,
    shape: Sequence[int] | None = None,
    prefix: str = "tensor(",
    options: PrintOptions | None = None,
) -> str:
    """The text that ``repr`` of a tensor gives.

    ``array`` holds the values; those of a bfloat16 tensor as float32, or as uint16 bit patterns. A tensor without
    values (on the device "meta") passes None and its ``shape``. ``dtype_name`` ("float32") is shown unless it is the
    default dtype, the default's complex dtype, int64 or bool. ``grad_fn`` is the name of the backward function
    ("AddBackward0") and is shown in place of ``requires_grad``; ``device`` is shown when given. Continuation lines are
    indented by the length of ``prefix``. ``options`` defaults to those of :func:`set_printoptions`.

    Raises ValueError if ``array`` and ``shape`` are both None, or contradict each other.

    >>> print(format_tensor(np.eye(2), "float64", "float32", grad_fn="AddBackward0"))
    tensor([[1., 0.],
            [0., 1.]], dtype=torch.float64, grad_fn=<AddBackward0>)
    """
    options = _current if options is None else options
    if array is not None:
        if shape is not None and tuple(shape) != array.shape:
            raise ValueError(f"the array has shape {array.shape}, and the tensor {tuple(shape)}")
        shape = array.shape
    elif shape is None:
        raise ValueError("a tensor without values needs a shape")
    size = math.prod(shape)

    default_dtypes = {default_dtype_name}
    show_size = False
    if array is None:
        text, show_size = "...", True
    elif size == 0:
        text, show_size = "[]", len(shape) != 1
    else:
        default_dtypes = _unnamed_dtypes(default_dtype_name)
        show_size = options.edgeitems == 0
        text = _numbers(array, dtype_name, len(prefix), options)

    suffixes = []
    if device is not None:
        suffixes.append(f"device='{device}'")
    if show_size:
        suffixes.append(f"size={tuple(shape)}")
    if dtype_name not in default_dtypes:
        suffixes.append(f"dtype=torch.{dtype_name}")
    if grad_fn is not None:
        suffixes.append(f"grad_fn=<{grad_fn}>")
    elif requires_grad:
        suffixes.append("requires_grad=True")
    return _with_suffixes(prefix + text, suffixes, len(prefix), options.linewidth)
