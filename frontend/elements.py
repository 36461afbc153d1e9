"""Python functions called with every element, in place: slow, and the last resort of a script.

They look at the tensor, so that a function which is recorded for replay refuses them. In: a tensor and a function of
numbers. Out: the tensor, with new values. Read next: ``distances.py``.
"""

from __future__ import annotations

import numbers
from collections.abc import Callable
from typing import Any

import numpy as np

from .arguments import scalar_type, tensor_argument, values_of
from .compiler.dtypes import BOOL, COMPLEX, FLOATING, DType
from .mutation import assign
from .recording import input_node, node_of
from .tensor import Tensor, method


def _number(value: Any, dtype: DType) -> Any:
    value = value.item() if isinstance(value, Tensor) else value
    if not isinstance(value, numbers.Number):
        raise TypeError(f"must be real number, not {type(value).__name__}")
    if dtype.kind == COMPLEX:
        return complex(value)
    return float(value) if dtype.kind == FLOATING else bool(value) if dtype.kind == BOOL else int(value)


def _called(self: Tensor, function: str, callable: Callable, *others: Tensor) -> Tensor:
    if any(x.requires_grad for x in (self, *others)):
        raise RuntimeError(
            f"Can't call {function}() on Variable that requires grad. Use var.detach().{function}() instead."
        )
    shape, dtype = self.shape, self.dtype
    columns = [values_of(node_of(x)).reshape(-1).tolist() for x in (self, *[x.expand(shape) for x in others])]
    values = [_number(callable(*elements), dtype) for elements in zip(*columns)]
    return assign(self, input_node(np.array(values, dtype.numpy).reshape(shape), str(self.device)))


@method
def apply_(self: Tensor, callable: Callable) -> Tensor:
    """Replace every element by what a Python function makes of it; as ``Tensor.apply_``.

    Raises:
        RuntimeError: the tensor requires a gradient.
        TypeError: the function returns no number.
    """
    return _called(self, "apply_", callable)


@method
def map_(self: Tensor, tensor: Tensor, callable: Callable) -> Tensor:
    """:meth:`apply_` of a function of two numbers, the second from ``tensor``, which is expanded. As ``Tensor.map_``.

    Raises:
        TypeError: another dtype, or the function returns no number.
        RuntimeError: one of the tensors requires a gradient.
    """
    if tensor_argument(tensor, "map_", "other", 1).type.dtype is not self.dtype:
        raise TypeError(
            f"map_: expected torch.{scalar_type(self.dtype)}Tensor for 'other' (got "
            f"torch.{scalar_type(tensor.dtype)}Tensor)"
        )
    return _called(self, "map_", callable, tensor)


@method
def map2_(self: Tensor, x: Tensor, y: Tensor, callable: Callable) -> Tensor:
    """:meth:`apply_` of a function of three numbers, from this tensor, ``x`` and ``y``. As ``Tensor.map2_``.

    Raises:
        TypeError, RuntimeError: as :meth:`map_`.
    """
    for name, other in (("x", x), ("y", y)):
        if tensor_argument(other, "map2_", name, 1).type.dtype is not self.dtype:
            raise TypeError(
                f"map2_: expected torch.{scalar_type(self.dtype)}Tensor for argument '{name}' (got "
                f"torch.{scalar_type(other.dtype)}Tensor)"
            )
    return _called(self, "map2_", callable, x, y)
