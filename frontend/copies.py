"""The functions that give a view, as functions that give a copy: ``permute_copy`` and its kin.

In: the methods of tensors that give views. Out: names of ``torch``. Read next: ``joining.py``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from . import complex_numbers
from .compiler.dtypes import DType
from .mutation import write_out
from .recording import node_of
from .tensor import Tensor, axis_of


def _expand(input: Tensor, size: Sequence[int], *, implicit: bool = False) -> Tensor:
    return input.expand(size)


def _permute(input: Tensor, dims: Sequence[int]) -> Tensor:
    return input.permute(dims)


def _slice(input: Tensor, dim: int = 0, start: int | None = None, end: int | None = None, step: int = 1) -> Tensor:
    return input[(slice(None),) * axis_of(dim, input.ndim) + (slice(start, end, step),)]


def _unfold(input: Tensor, dimension: int, size: int, step: int) -> Tensor:
    return input.unfold(dimension, size, step)


def _view(input: Tensor, size: Sequence[int] | DType) -> Tensor:
    return input.view(size)


# The name without "_copy", and the function if it is no method of that name.
_VIEWS: dict[str, Callable[..., Any] | None] = {
    **dict.fromkeys(
        """
        as_strided detach diagonal select split split_with_sizes squeeze t transpose unbind unsqueeze
        """.split()
    ),
    "alias": lambda input: input,
    "expand": _expand,
    "permute": _permute,
    "slice": _slice,
    "unfold": _unfold,
    "view": _view,
    "view_as_complex": complex_numbers.view_as_complex,
    "view_as_real": complex_numbers.view_as_real,
}


def _copying(name: str, view: Callable[..., Any]) -> Callable[..., Any]:
    def function(input: Tensor, *args: Any, out: Tensor | Sequence[Tensor] | None = None, **options: Any) -> Any:
        found = view(input, *args, **options)
        if isinstance(found, Tensor):
            return found.clone() if out is None else write_out(out, node_of(found))
        if out is None:
            return tuple(part.clone() for part in found)
        for place, part in zip(out, found):
            write_out(place, node_of(part))
        return None

    function.__name__ = function.__qualname__ = name + "_copy"
    # whose annotations say what it takes
    function.__wrapped__ = view
    function.__doc__ = f"A copy of what :meth:`Tensor.{name}` shows. As ``torch.{name}_copy``."
    return function


TORCH: dict[str, Callable[..., Any]] = {
    name + "_copy": _copying(name, view or getattr(Tensor, name)) for name, view in _VIEWS.items()
} | {name: getattr(Tensor, name) for name in ("unsafe_chunk", "unsafe_split", "unsafe_split_with_sizes")}
