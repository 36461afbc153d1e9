"""The functions that PyTorch has under their old names only to say what took their place.

In: nothing. Out: names of ``torch`` and methods of ``Tensor`` that raise. Read next: ``legacy.py``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NoReturn

from .tensor import Tensor

_INSTEAD = {
    "eig": "`torch.linalg.eig`, which returns complex tensors",
    "lstsq": "`torch.linalg.lstsq`, which takes the matrix first and returns no QR decomposition",
    "matrix_rank": "`torch.linalg.matrix_rank`, which calls its parameter 'symmetric' 'hermitian'",
    "solve": "`torch.linalg.solve`, which takes the matrix first and returns no LU factorization",
    "symeig": "`torch.linalg.eigh` and `torch.linalg.eigvalsh`, which read the lower triangle",
}


def _removed(name: str, instead: str) -> Callable[..., NoReturn]:
    text = f"This function was deprecated since version 1.9 and is now removed. `torch.{name}` gave way to {instead}."
    if name in ("lstsq", "solve"):

        def function(input: Tensor, A: Any, **options: Any) -> NoReturn:
            raise RuntimeError(text)

    else:

        def function(input: Tensor, *args: Any, **options: Any) -> NoReturn:
            raise RuntimeError(text)

    function.__name__ = function.__qualname__ = name
    function.__doc__ = f"Removed from PyTorch: use {instead}."
    return function


TORCH: dict[str, Callable[..., NoReturn]] = {name: _removed(name, instead) for name, instead in _INSTEAD.items()}

for _name, _function in TORCH.items():
    if _name != "matrix_rank":
        setattr(Tensor, _name, _function)
