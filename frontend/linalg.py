"""``flamework.linalg``: the names of ``torch.linalg``, and the older ones that ``torch`` and ``Tensor`` have.

In: the chapters ``linalg_solve.py``, ``linalg_spectral.py`` and ``linalg_norms.py``. Out: one namespace.
"""

from __future__ import annotations

import math

from . import formulas as f, return_types
from .arguments import exactly_returned, scalar_type, tensor_argument
from .compiler import dtypes, matrices as m, primitives as p, primitives_linalg as rows, primitives_shape as s
from .compiler.dtypes import COMPLEX
from .compiler.primitives_linalg import _LinAlgError as LinAlgError
from .formulas_complex import angle
from .linalg_norms import (
    cond,
    cross,
    diagonal,
    matmul,
    matrix_norm,
    matrix_power,
    multi_dot,
    norm,
    tensorinv,
    tensorsolve,
    vander,
    vecdot,
    vector_norm,
)
from .linalg_solve import (
    NO_INVERSE,
    NOT_DEFINITE,
    _cholesky,
    batched,
    check_square,
    cholesky,
    cholesky_ex,
    det,
    inv,
    inv_ex,
    inverse_of,
    lu,
    lu_factor,
    lu_factor_ex,
    lu_solve,
    matrix_argument,
    several,
    sign_and_logarithm,
    slogdet,
    solve,
    solve_ex,
    solve_triangular,
    unpacked,
)
from .linalg_spectral import (
    eig,
    eigh,
    eigvals,
    eigvalsh,
    geqrf,
    householder_product,
    lstsq,
    matrix_exp,
    matrix_rank,
    ormqr,
    pinv,
    qr,
    qr_factors,
    svd,
    svd_argument,
    svd_factors,
    svdvals,
)
from .recording import tensor_of
from .tensor import Tensor

__all__ = [
    "LinAlgError", "cholesky", "cholesky_ex", "cond", "cross", "det", "diagonal", "eig", "eigh", "eigvals", "eigvalsh",
    "householder_product", "inv", "inv_ex", "lstsq", "lu", "lu_factor", "lu_factor_ex", "lu_solve", "matmul",
    "matrix_exp", "matrix_norm", "matrix_power", "matrix_rank", "multi_dot", "norm", "pinv", "qr", "slogdet", "solve",
    "solve_ex", "solve_triangular", "svd", "svdvals", "tensorinv", "tensorsolve", "vander", "vecdot", "vector_norm",
]


def _torch_cholesky(input: Tensor, upper: bool = False, *, out: Tensor | None = None) -> Tensor:
    """:func:`linalg.cholesky`, under its older name. As ``torch.cholesky``."""
    x = matrix_argument(input, "cholesky", kernel="cholesky_cpu", square=True)
    return exactly_returned(_cholesky(x, upper, "cholesky" + NOT_DEFINITE), out)


def cholesky_inverse(input: Tensor, upper: bool = False, *, out: Tensor | None = None) -> Tensor:
    """The inverse of the matrix whose Cholesky factor is given. As ``torch.cholesky_inverse``.

    Example:
        >>> import flamework as torch
        >>> torch.cholesky_inverse(torch.tensor([[2.0]])).tolist()
        [[0.25]]
    """
    x = matrix_argument(input, "cholesky_inverse", "A", kernel="cholesky_inverse_out_cpu", square=True, inexact=False)
    factor = m.upper(x) if upper else m.adjoint(m.lower(x))
    inverse = inverse_of(factor, "cholesky_inverse" + NO_INVERSE)
    return exactly_returned(m.mm(inverse, m.adjoint(inverse)), out)


def cholesky_solve(input: Tensor, L: Tensor, upper: bool = False, *, out: Tensor | None = None) -> Tensor:
    """The solution of ``A @ X = input`` from the Cholesky factor of ``A``. As ``torch.cholesky_solve``.

    Example:
        >>> import flamework as torch
        >>> torch.cholesky_solve(torch.ones(1, 1), torch.tensor([[2.0]])).tolist()
        [[0.25]]
    """
    b, factor = tensor_argument(input, "cholesky_solve", "input", 1), tensor_argument(L, "cholesky_solve", "L", 2)
    for x, name in ((b, "b"), (factor, "u")):
        if x.ndim < 2:
            raise RuntimeError(f"{name} should have at least 2 dimensions, but has {x.ndim} dimensions instead")
    check_square(factor, "")
    n, (rows_, columns) = factor.type.shape[-1], b.type.shape[-2:]
    if rows_ != n:
        raise RuntimeError(
            f"Incompatible matrix sizes for cholesky_solve: each A matrix is {n} by {n} but each b matrix is "
            f"{rows_} by {columns}"
        )
    if b.type.dtype is not factor.type.dtype:
        raise RuntimeError(
            f"Expected b and A to have the same dtype, but found b of type {scalar_type(b.type.dtype)} and A of type "
            f"{scalar_type(factor.type.dtype)} instead"
        )
    matrix_argument(L, "cholesky_solve", kernel="cholesky_solve_cpu", inexact=False)
    b, factor = batched(b, factor)
    below = m.adjoint(factor) if upper else factor
    half = rows.triangular(below, b, params=(False, False))
    return exactly_returned(rows.triangular(m.adjoint(below), half, params=(True, False)), out)


def logdet(input: Tensor) -> Tensor:
    """The logarithm of the determinant: of a real negative one NaN, of 0 minus infinity. As ``torch.logdet``.

    Example:
        >>> import flamework as torch
        >>> torch.logdet(torch.eye(2)).item()
        0.0
    """
    x = matrix_argument(input, "linalg.slogdet", square=True)
    sign, size = sign_and_logarithm(x)
    if x.type.dtype.kind == COMPLEX:
        return tensor_of(p.complex_(size, angle(sign)))
    return tensor_of(p.where(p.eq(sign, p.full_like(sign, -1)), p.full_like(size, math.nan), size))


def _torch_slogdet(input: Tensor, *, out: tuple[Tensor, ...] | None = None) -> return_types.slogdet:
    """:func:`linalg.slogdet`, under its older name. As ``torch.slogdet``."""
    return several(return_types.slogdet, sign_and_logarithm(matrix_argument(input, "linalg.slogdet", square=True)), out)


def pinverse(input: Tensor, rcond: float = 1e-15) -> Tensor:
    """:func:`linalg.pinv`, under its older name. As ``torch.pinverse``."""
    return pinv(input, rcond)


def _torch_qr(input: Tensor, some: bool = True, *, out: tuple[Tensor, ...] | None = None) -> return_types.qr:
    """:func:`linalg.qr`, under its older name; without ``some`` its mode ``"complete"``. As ``torch.qr``."""
    x = matrix_argument(input, "linalg.qr", kernel="geqrf_cpu")
    return several(return_types.qr, qr_factors(x, "reduced" if some else "complete"), out)


def _torch_svd(
    input: Tensor, some: bool = True, compute_uv: bool = True, *, out: tuple[Tensor, ...] | None = None
) -> return_types.svd:
    """:func:`linalg.svd`, under its older name, with ``V`` for its adjoint.

    Args:
        some: only the first min(m, n) singular vectors.
        compute_uv: False for zeros in the place of all singular vectors.

    As ``torch.svd``.
    """
    x = svd_argument(input)
    if not compute_uv:
        *lead, n, k = x.type.shape
        u, v = (m.zeros((*lead, size, size), x.type.dtype, x.type.device) for size in (n, k))
        return several(return_types.svd, [u, svd_factors(x, False)[1], v], out)
    u, values, vh = svd_factors(x, not some)
    return several(return_types.svd, [u, values, m.adjoint(vh)], out)


def _torch_lu(
    A: Tensor, pivot: bool = True, get_infos: bool = False, out: tuple[Tensor, ...] | None = None
) -> tuple[Tensor, ...]:
    """:func:`linalg.lu_factor_ex`, under its older name; without ``get_infos`` a tuple of two.

    As ``torch.lu``.
    """
    found = lu_factor_ex(A, pivot=pivot, out=out)
    return return_types.lu_with_info(*found) if get_infos else tuple(found[:2])


def _torch_lu_solve(b: Tensor, LU_data: Tensor, LU_pivots: Tensor, *, out: Tensor | None = None) -> Tensor:
    """:func:`linalg.lu_solve`, with other arguments. As ``torch.lu_solve``."""
    return lu_solve(LU_data, LU_pivots, b, out=out)


def lu_unpack(
    LU_data: Tensor, LU_pivots: Tensor, unpack_data: bool = True, unpack_pivots: bool = True, *,
    out: tuple[Tensor, ...] | None = None,
) -> return_types.lu_unpack:
    """``P``, ``L`` and ``U`` of the result of :func:`linalg.lu_factor`; empty tensors for what is not asked for.

    As ``torch.lu_unpack``.
    """
    factors, pivots = tensor_argument(LU_data, "lu_unpack", "LU_data", 1), tensor_argument(
        LU_pivots, "lu_unpack", "LU_pivots", 2)
    if unpack_pivots and pivots.type.dtype is not dtypes.int32:
        raise RuntimeError(
            "torch.lu_unpack: LU_pivots is expected to be a contiguous tensor of torch.int32 dtype.\nNote: this "
            "function is intended to be used with the output produced by torch.linalg.lu_factor"
        )
    nodes = unpacked(factors, pivots) if unpack_pivots else [None, *rows.lu_factors(factors)]
    nothing = f.filled((0,), factors.type.dtype, factors.type.device, 0)
    wanted = (unpack_pivots, unpack_data, unpack_data)
    return several(return_types.lu_unpack, [x if w else nothing for x, w in zip(nodes, wanted)], out)


def triangular_solve(
    b: Tensor, A: Tensor, upper: bool = True, transpose: bool = False, unitriangular: bool = False, *,
    out: tuple[Tensor, ...] | None = None,
) -> return_types.triangular_solve:
    """The solution of ``A @ X = b`` with a triangular ``A``, or its transpose; and a copy of ``A``.

    As ``torch.triangular_solve``.

    Example:
        >>> import flamework as torch
        >>> torch.triangular_solve(torch.ones(1, 1), torch.tensor([[2.0]])).solution.item()
        0.5
    """
    name = "torch.triangular_solve"
    right, x = tensor_argument(b, name, "b", 1), tensor_argument(A, name, "A", 2)
    for node, argument in ((right, "b"), (x, "A")):
        if node.ndim < 2:
            raise RuntimeError(
                f"{name}: Expected {argument} to have at least 2 dimensions, but it has {node.ndim} dimensions instead"
            )
    check_square(x, "")
    n, (rows_, columns) = x.type.shape[-1], right.type.shape[-2:]
    if rows_ != n:
        raise RuntimeError(
            f"Incompatible matrix sizes for triangular_solve: each A matrix is {n} by {n} but each b matrix is {rows_} "
            f"by {columns}"
        )
    if x.type.dtype is not right.type.dtype:
        raise RuntimeError(
            f"Expected b and A to have the same dtype, but found b of type {scalar_type(right.type.dtype)} and A of "
            f"type {scalar_type(x.type.dtype)} instead"
        )
    matrix_argument(A, name, kernel="triangular_solve_cpu", inexact=False)
    right, x = batched(right, x)
    whole = s.swapped(x) if transpose else x
    solution = rows.triangular(whole, right, params=(bool(upper) != bool(transpose), bool(unitriangular)))
    return several(return_types.triangular_solve, [solution, s.copy(x)], out)


# The names of torch and of Tensor, which differ from those of torch.linalg in some arguments or results.
TORCH = {
    "cholesky": _torch_cholesky, "cholesky_inverse": cholesky_inverse, "cholesky_solve": cholesky_solve, "det": det,
    "geqrf": geqrf, "inverse": inv, "logdet": logdet, "lu": _torch_lu, "lu_solve": _torch_lu_solve,
    "lu_unpack": lu_unpack, "matrix_exp": matrix_exp, "matrix_power": matrix_power, "orgqr": householder_product,
    "ormqr": ormqr, "pinverse": pinverse, "qr": _torch_qr, "slogdet": _torch_slogdet, "svd": _torch_svd,
    "triangular_solve": triangular_solve,
}
for _name, _function in TORCH.items():
    if _name != "lu_unpack" and _name not in Tensor.__dict__:
        setattr(Tensor, _name, _function)
