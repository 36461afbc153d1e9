"""Named results of functions that return several tensors, as ``torch.return_types``.

In: the tensors. Out: tuples with named fields, which print as PyTorch's do. Read next: ``reduction.py``.
"""

from __future__ import annotations

from collections import namedtuple


def _named(name: str, fields: str):
    class Result(namedtuple(name, fields)):
        """Result of the function of the same name: a tuple with named fields."""

        __slots__ = ()

        def __repr__(self) -> str:
            parts = ",\n".join(f"{field}={value!r}" for field, value in zip(self._fields, self))
            return f"torch.return_types.{name}(\n{parts})"

    Result.__name__ = Result.__qualname__ = name
    Result.__module__ = __name__
    return Result


max = _named("max", "values indices")
min = _named("min", "values indices")
aminmax = _named("aminmax", "min max")
cummax = _named("cummax", "values indices")
cummin = _named("cummin", "values indices")
kthvalue = _named("kthvalue", "values indices")
median = _named("median", "values indices")
nanmedian = _named("nanmedian", "values indices")
mode = _named("mode", "values indices")
sort = _named("sort", "values indices")
topk = _named("topk", "values indices")
