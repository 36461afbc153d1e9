"""Numeric limits of dtypes, and the constants of ``torch``.

In: a dtype. Out: its range and precision as Python numbers.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .compiler.dtypes import FLOATING, DType, bfloat16
from .recording import get_default_dtype

inf, nan, pi, e = math.inf, math.nan, math.pi, math.e
newaxis = None


def finfo_of(dtype: DType) -> Any:
    if dtype is not bfloat16:
        return np.finfo(dtype.numpy)
    import ml_dtypes

    return ml_dtypes.finfo(dtype.numpy)


class finfo:
    """Limits of a floating point dtype; as ``torch.finfo``.

    Attributes:
        bits: size of a number in bits.
        eps: distance from 1 to the next larger number.
        max, min: largest and smallest finite number.
        tiny, smallest_normal: smallest positive normal number.
        resolution: the decimal digits that are exact, as a power of ten.
        dtype: name of the dtype.

    Raises:
        TypeError: the dtype is no floating point dtype.

    Example:
        >>> import flamework
        >>> flamework.finfo(flamework.float64).eps
        2.220446049250313e-16
    """

    def __init__(self, type: DType | None = None) -> None:
        dtype = get_default_dtype() if type is None else type
        if dtype.kind != FLOATING:
            raise TypeError(
                f"torch.finfo() requires a floating point input type. Use torch.iinfo to handle '{dtype.name}'"
            )
        limits = finfo_of(dtype)
        self.bits = limits.bits
        self.eps = float(limits.eps)
        self.max = float(limits.max)
        self.min = float(limits.min)
        self.tiny = self.smallest_normal = float(limits.smallest_normal)
        self.resolution = 10.0**-limits.precision
        self.dtype = dtype.name

    def __repr__(self) -> str:
        names = ("resolution", "min", "max", "eps", "smallest_normal", "tiny")
        fields = ", ".join(f"{name}={getattr(self, name):g}" for name in names)
        return f"finfo({fields}, dtype={self.dtype})"


class iinfo:
    """Limits of an integer dtype; as ``torch.iinfo``.

    Attributes:
        bits: size of a number in bits.
        max, min: largest and smallest number.
        dtype: name of the dtype.

    Raises:
        TypeError: the dtype is no integer dtype.

    Example:
        >>> import flamework
        >>> flamework.iinfo(flamework.uint8).max
        255
    """

    def __init__(self, type: DType) -> None:
        if type.kind == FLOATING:
            raise TypeError(f"torch.iinfo() requires an integer input type. Use torch.finfo to handle '{type.name}'")
        if type.code == "b8":
            raise TypeError("torch.bool is not supported by torch.iinfo")
        limits = np.iinfo(type.numpy)
        self.bits = limits.bits
        self.max = int(limits.max)
        self.min = int(limits.min)
        self.dtype = type.name

    def __repr__(self) -> str:
        return f"iinfo(min={self.min}, max={self.max}, dtype={self.dtype})"
