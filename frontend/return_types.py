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
frexp = _named("frexp", "mantissa exponent")
histogram = _named("histogram", "hist bin_edges")
histogramdd = _named("histogramdd", "hist bin_edges")
kthvalue = _named("kthvalue", "values indices")
median = _named("median", "values indices")
nanmedian = _named("nanmedian", "values indices")
mode = _named("mode", "values indices")
sort = _named("sort", "values indices")
topk = _named("topk", "values indices")

linalg_cholesky_ex = _named("linalg_cholesky_ex", "L info")
linalg_eig = _named("linalg_eig", "eigenvalues eigenvectors")
linalg_eigh = _named("linalg_eigh", "eigenvalues eigenvectors")
linalg_inv_ex = _named("linalg_inv_ex", "inverse info")
linalg_lstsq = _named("linalg_lstsq", "solution residuals rank singular_values")
linalg_lu = _named("linalg_lu", "P L U")
linalg_lu_factor = _named("linalg_lu_factor", "LU pivots")
linalg_lu_factor_ex = _named("linalg_lu_factor_ex", "LU pivots info")
linalg_qr = _named("linalg_qr", "Q R")
linalg_slogdet = _named("linalg_slogdet", "sign logabsdet")
linalg_solve_ex = _named("linalg_solve_ex", "result info")
linalg_svd = _named("linalg_svd", "U S Vh")
geqrf = _named("geqrf", "a tau")
lu_unpack = _named("lu_unpack", "P L U")
qr = _named("qr", "Q R")
slogdet = _named("slogdet", "sign logabsdet")
svd = _named("svd", "U S V")
triangular_solve = _named("triangular_solve", "solution cloned_coefficient")
lu_with_info = _named("_lu_with_info", "LU pivots info")
