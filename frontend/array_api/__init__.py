"""The array API standard's namespace over tensors: what ``x.__array_namespace__()`` gives.

`The standard <https://data-apis.org/array-api/2025.12/>`_ has other names than PyTorch for some functions
(``permute_dims``, ``concat``, ``astype``), ``axis`` and ``keepdims`` where PyTorch has ``dim`` and ``keepdim``, and it
counts an array without axes like any other one when dtypes are promoted. Libraries that are written for it take tensors
through here. What differs from it, and why, is written in ``tests/array_api_failures.txt``.

In: tensors. Out: tensors. Read next: ``arrays.py``, ``elementwise.py``, ``reductions.py``, ``linalg.py``, ``fft.py``.

Example:
    >>> import flamework
    >>> xp = flamework.ones(2).__array_namespace__()
    >>> xp.concat([xp.zeros(1), xp.sum(xp.ones((2, 3)), axis=0)])
    tensor([0., 2., 2., 2.])
"""

# The imports are the public names.
# ruff: noqa: F401, I001

from ..argument_errors import checked as _checked
from ..compiler.dtypes import (
    bool_ as bool, complex64, complex128, float32, float64, int8, int16, int32, int64, uint8,
)
from ..limits import e, inf, nan, newaxis, pi
from . import fft, linalg
from .arrays import (
    VERSION as __array_api_version__, __array_namespace_info__, arange, asarray, astype, broadcast_arrays,
    broadcast_shapes, broadcast_to, can_cast, concat, empty, empty_like, expand_dims, eye, finfo, flip, from_dlpack,
    full, full_like, iinfo, isdtype, linspace, meshgrid, moveaxis, ones, ones_like, permute_dims, repeat, reshape,
    result_type, roll, squeeze, stack, take, take_along_axis, tile, tril, triu, unstack, zeros, zeros_like,
)
from .elementwise import (
    abs, acos, acosh, add, asin, asinh, atan, atan2, atanh, bitwise_and, bitwise_invert, bitwise_left_shift, bitwise_or,
    bitwise_right_shift, bitwise_xor, ceil, clip, conj, copysign, cos, cosh, divide, equal, exp, expm1, floor,
    floor_divide, greater, greater_equal, hypot, imag, isfinite, isinf, isnan, less, less_equal, log, log1p, log2,
    log10, logaddexp, logical_and, logical_not, logical_or, logical_xor, maximum, minimum, multiply, negative,
    nextafter, not_equal, positive, pow, real, reciprocal, remainder, round, sign, signbit, sin, sinh, sqrt, square,
    subtract, tan, tanh, trunc, where,
)
from .linalg import matmul, matrix_transpose, tensordot, vecdot
from .reductions import (
    all, any, argmax, argmin, argsort, count_nonzero, cumulative_prod, cumulative_sum, diff, isin, max, mean, min,
    nonzero, prod, searchsorted, sort, std, sum, unique_all, unique_counts, unique_inverse, unique_values, var,
)

__all__ = [name for name in dir() if not name.startswith("_") and name not in ("arrays", "elementwise", "reductions")]
__all__ += ["__array_api_version__", "__array_namespace_info__"]

# Python's types are taken for dtypes, as everywhere.
for _name in __all__:
    _function = globals()[_name]
    if "dtype" in getattr(getattr(_function, "__code__", None), "co_varnames", ()):
        globals()[_name] = _checked(_name, _function, False, __name__)
