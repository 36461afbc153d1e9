"""``flamework.linalg``: Cholesky and LU factorisations, systems of equations, inverses and determinants, by LAPACK.

What a matrix holds is known when it is computed, so a singular one is refused then, where a value is looked at.

In: tensors ``[*batch, m, n]``. Out: tensors with PyTorch's gradients. Read next: ``linalg_spectral.py``.
"""

from __future__ import annotations

from . import formulas as f, return_types
from .arguments import exactly_returned, scalar_type, tensor_argument
from .compiler import dtypes, matrices as m, primitives as p, primitives_linalg as rows, primitives_shape as s
from .compiler.dtypes import FLOATING
from .compiler.ir import Node
from .compiler.primitives import Undefined
from .mutation import write_out
from .pointwise import log, sgn
from .recording import broadcast_shapes, node_of, tensor_of
from .tensor import Tensor

# The texts of errors that values cause, with places for the matrix and for LAPACK's number.
NOT_DEFINITE = (
    ": {batch}The factorization could not be completed because the input is not positive-definite (the leading minor "
    "of order {info} is not positive-definite)."
)
NO_INVERSE = (
    ": {batch}The diagonal element {info} is zero, the inversion could not be completed because the input matrix is "
    "singular."
)
NO_SOLUTION = ": {batch}The solver failed because the input matrix is singular."
NO_FACTOR = (
    ": {batch}U[{info},{info}] is zero and using it on lu_solve would result in a division by zero. If you still want "
    "to perform the factorization, consider calling linalg.lu(A, pivot) or linalg.lu_factor_ex(A, pivot)"
)

# ------------------------------------------------------------------------------------------------------------ arguments


def matrix_argument(
    value: Tensor, function: str, name: str = "A", *, kernel: str | None = None, square: bool = False,
    inexact: bool = True,
) -> Node:
    """A matrix or a batch of matrices.

    Args:
        kernel: what PyTorch calls the function that does not take 16-bit floats; None where it refuses them first.
        inexact: whether integers are refused by their kind, and not as something that the kernel does not take.

    Raises:
        RuntimeError: fewer than two axes, integers, 16-bit floats, or where it matters no square.
    """
    x = tensor_argument(value, function, name, 1)
    dtype = x.type.dtype
    if x.ndim < 2:
        raise RuntimeError(f"{function}: The input tensor {name} must have at least 2 dimensions.")
    if square:
        check_square(x, function, name)
    if inexact and dtype.kind < FLOATING:
        raise RuntimeError(
            f"{function}: Expected a floating point or complex tensor as input. Got {scalar_type(dtype)}"
        )
    if dtype.kind < FLOATING or dtype.compute is not dtype:
        if kernel is None:
            raise RuntimeError(f"{function}: Low precision dtypes not supported. Got {scalar_type(dtype)}")
        raise Undefined(f"\"{kernel}\" not implemented for '{scalar_type(dtype)}'")
    return x


def check_square(x: Node, function: str, name: str = "A") -> None:
    rows_, columns = x.type.shape[-2:]
    if rows_ != columns:
        lead = f"{function}: " if function else ""
        raise RuntimeError(
            f"{lead}{name} must be batches of square matrices, but they are {rows_} by {columns} matrices"
        )


def batched(*nodes: Node) -> list[Node]:
    """The matrices with one batch: leading axes broadcast."""
    lead = nodes[0].type.shape[:-2]
    for x in nodes[1:]:
        lead = broadcast_shapes(lead, x.type.shape[:-2])
    return [f.broadcast_to(x, (*lead, *x.type.shape[-2:])) for x in nodes]


def several(kind: type, nodes: list[Node], out: tuple[Tensor, ...] | None) -> tuple:
    """A named tuple of results, or of the tensors that a user passed for them."""
    if out is None:
        return kind(*map(tensor_of, nodes))
    return kind(*(write_out(tensor, node) for tensor, node in zip(out, nodes, strict=True)))


def eye_like(x: Node) -> Node:
    """The identity matrix for each square matrix of ``x``."""
    *lead, n, _ = x.type.shape
    return m.identity(lead, n, n, x.type.dtype, x.type.device)


def first_zero(values: Node, bad: Node) -> Node:
    """LAPACK's info: the number, from 1, of the first True along the last axis, or 0; int32."""
    n = values.type.shape[-1]
    axis = values.ndim - 1
    lead = values.type.shape[:-1]
    if n == 0:
        return f.filled(lead, dtypes.int32, values.type.device, 0)
    place = f.iota(bad, axis, dtypes.int64)
    place = p.where(bad, place, p.full_like(place, n))
    first = s.reduce_min(place, params=(axis,))
    found = p.where(p.eq(first, p.full_like(first, n)), p.full_like(first, 0), p.add(first, p.full_like(first, 1)))
    return p.cast(found, params=(dtypes.int32,))


def zero_info(factors: Node) -> Node:
    pivots = f.cut(m.diagonal(factors))
    return first_zero(pivots, p.eq(pivots, p.full_like(pivots, 0)))


# ------------------------------------------------------------------------------------------------------------- Cholesky


def _cholesky(x: Node, upper: bool, text: str | None) -> Node:
    if upper:
        return m.adjoint(rows.cholesky(m.adjoint(x), params=(text,)))
    return rows.cholesky(x, params=(text,))


def cholesky(A: Tensor, *, upper: bool = False, out: Tensor | None = None) -> Tensor:
    """The lower triangular ``L`` with ``L @ L.mH`` equal to a Hermitian positive definite matrix.

    Only one triangle of ``A`` is read: the lower one, and with ``upper``, for ``U = L.mH``, the upper one.

    Raises:
        LinAlgError: the matrix is not positive definite; when the value is computed.
        RuntimeError: not square, or neither floating point nor complex.

    As ``torch.linalg.cholesky``. Its gradient: Murray (2016).

    Example:
        >>> import flamework as torch
        >>> torch.linalg.cholesky(torch.tensor([[4.0, 2.0], [2.0, 5.0]])).tolist()
        [[2.0, 0.0], [1.0, 2.0]]
    """
    x = matrix_argument(A, "linalg.cholesky", kernel="cholesky_cpu", square=True)
    return exactly_returned(_cholesky(x, upper, "linalg.cholesky" + NOT_DEFINITE), out)


def cholesky_ex(
    A: Tensor, *, upper: bool = False, check_errors: bool = False, out: tuple[Tensor, ...] | None = None
) -> return_types.linalg_cholesky_ex:
    """:func:`cholesky`, and for each matrix 0, or the order of the first minor that is not positive definite.

    As ``torch.linalg.cholesky_ex``.
    """
    x = matrix_argument(A, "linalg.cholesky", kernel="cholesky_cpu", square=True)
    factor = _cholesky(x, upper, "linalg.cholesky_ex" + NOT_DEFINITE if check_errors else None)
    sizes = f.cut(m.real_part(m.diagonal(factor)))
    bad = p.bnot(p.lt(p.full_like(sizes, 0), sizes))
    return several(return_types.linalg_cholesky_ex, [factor, first_zero(sizes, bad)], out)


# ------------------------------------------------------------------------------------------------------------ solutions


def _incompatible(function: str, left: bool, a: Node, b: Node) -> RuntimeError:
    (n, columns), (rows_, k) = a.type.shape[-2:], b.type.shape[-2:]
    equation = "AX = B" if left else "XA = B"
    return RuntimeError(
        f"{function}: Incompatible shapes of A and B for the equation {equation} ({n}x{columns} and {rows_}x{k})"
    )


def _solution(a: Node, b: Node, left: bool, text: str | None) -> Node:
    """``b`` may be a vector for each matrix, if its shape is that of ``a`` without the last axis."""
    is_vector = b.ndim == 1 or (b.ndim == a.ndim - 1 and b.type.shape == a.type.shape[:-1])
    if is_vector:
        b = f.reshaped(b, (*b.type.shape, 1))
    if b.type.shape[-2 if left else -1] != a.type.shape[-1]:
        raise _incompatible("linalg.solve", left, a, b)
    if not left:
        a, b = s.swapped(a), s.swapped(b)
    x = rows.solve(*batched(a, b), params=(text,))
    if not left:
        x = s.swapped(x)
    return f.reshaped(x, x.type.shape[:-1]) if is_vector else x


def _system(A: Tensor, B: Tensor) -> tuple[Node, Node]:
    b = tensor_argument(B, "linalg.solve", "B", 2)
    a = matrix_argument(A, "linalg.solve", square=True)
    if a.type.dtype is not b.type.dtype:
        raise RuntimeError(
            "linalg.solve: Expected A and B to have the same dtype, but found A of type "
            f"{scalar_type(a.type.dtype)} and B of type {scalar_type(b.type.dtype)} instead"
        )
    return a, b


def solve(A: Tensor, B: Tensor, *, left: bool = True, out: Tensor | None = None) -> Tensor:
    """The solution of ``A @ X = B``, or without ``left`` of ``X @ A = B``.

    Args:
        A: ``[*batch, n, n]``.
        B: ``[*batch, n, k]``, or a vector for each matrix: ``[n]`` or ``[*batch, n]``. Batches broadcast.

    Raises:
        LinAlgError: a matrix is singular; when the value is computed.
        RuntimeError: sizes that do not fit, different dtypes, integers.

    As ``torch.linalg.solve``.

    Example:
        >>> import flamework as torch
        >>> torch.linalg.solve(torch.tensor([[2.0, 0.0], [0.0, 4.0]]), torch.ones(2)).tolist()
        [0.5, 0.25]
    """
    return exactly_returned(_solution(*_system(A, B), left, "torch.linalg.solve" + NO_SOLUTION), out)


def solve_ex(
    A: Tensor, B: Tensor, *, left: bool = True, check_errors: bool = False, out: tuple[Tensor, ...] | None = None
) -> return_types.linalg_solve_ex:
    """:func:`solve`, and for each matrix 0, or the number of the first zero on the diagonal of its LU factorisation.

    As ``torch.linalg.solve_ex``.
    """
    a, b = _system(A, B)
    x = _solution(a, b, left, "torch.linalg.solve_ex" + NO_SOLUTION if check_errors else None)
    factors, _ = _lu(f.cut(a), None)
    return several(return_types.linalg_solve_ex, [x, zero_info(factors)], out)


def solve_triangular(
    A: Tensor, B: Tensor, *, upper: bool, left: bool = True, unitriangular: bool = False, out: Tensor | None = None
) -> Tensor:
    """The solution of ``A @ X = B`` with a triangular ``A``, or without ``left`` of ``X @ A = B``.

    The other triangle is not read, nor with ``unitriangular`` the diagonal. Batches broadcast. Zeros on the diagonal
    give infinities.

    As ``torch.linalg.solve_triangular``.

    Example:
        >>> import flamework as torch
        >>> A = torch.tensor([[2.0, 9.0], [0.0, 4.0]])
        >>> torch.linalg.solve_triangular(A, torch.ones(2, 1), upper=False).tolist()
        [[0.5], [0.25]]
    """
    name = "linalg.solve_triangular"
    b = matrix_argument(B, name, "B", kernel="triangular_solve_cpu", inexact=False)
    a = matrix_argument(A, name, square=True, kernel="triangular_solve_cpu", inexact=False)
    if b.type.shape[-2 if left else -1] != a.type.shape[-1]:
        raise _incompatible(name, left, a, b)
    if a.type.dtype is not b.type.dtype:
        raise RuntimeError(
            f"{name}: Expected A and B to have the same dtype, but found A of type "
            f"{scalar_type(a.type.dtype)} and B of type {scalar_type(b.type.dtype)} instead"
        )
    if not left:
        a, b, upper = s.swapped(a), s.swapped(b), not upper
    x = rows.triangular(*batched(a, b), params=(bool(upper), bool(unitriangular)))
    return exactly_returned(x if left else s.swapped(x), out)


def inverse_of(x: Node, text: str | None) -> Node:
    return rows.solve(x, eye_like(x), params=(text,))


def inv(A: Tensor, *, out: Tensor | None = None) -> Tensor:
    """The inverse of a square matrix.

    Raises:
        LinAlgError: it is singular; when the value is computed.

    As ``torch.linalg.inv``.

    Example:
        >>> import flamework as torch
        >>> torch.linalg.inv(torch.tensor([[2.0, 0.0], [0.0, 4.0]])).tolist()
        [[0.5, 0.0], [0.0, 0.25]]
    """
    return exactly_returned(inverse_of(matrix_argument(A, "linalg.inv", square=True), "linalg.inv" + NO_INVERSE), out)


def inv_ex(
    A: Tensor, *, check_errors: bool = False, out: tuple[Tensor, ...] | None = None
) -> return_types.linalg_inv_ex:
    """:func:`inv`, and for each matrix 0, or the number of the first zero on the diagonal of its LU factorisation.

    As ``torch.linalg.inv_ex``.
    """
    x = matrix_argument(A, "linalg.inv", square=True)
    inverse = inverse_of(x, "linalg.inv_ex" + NO_INVERSE if check_errors else None)
    factors, _ = _lu(f.cut(x), None)
    return several(return_types.linalg_inv_ex, [inverse, zero_info(factors)], out)


# ------------------------------------------------------------------------------------------------------------------- LU


def _lu(x: Node, text: str | None) -> tuple[Node, Node]:
    return rows.lu_pieces(rows.lu_factor(x, params=(text,)), *x.type.shape[-2:])


def lu_argument(A: Tensor, pivot: bool, function: str) -> Node:
    x = tensor_argument(A, function, "A", 1)
    if x.ndim < 2:
        raise RuntimeError(
            f"{function}: Expected tensor with 2 or more dimensions. Got size: {list(x.type.shape)} instead"
        )
    x = matrix_argument(A, function, kernel="lu_cpu", inexact=False)
    if not pivot:
        raise RuntimeError("linalg.lu_factor: LU without pivoting is not implemented on the CPU")
    return x


def lu_factor(
    A: Tensor, *, pivot: bool = True, out: tuple[Tensor, ...] | None = None
) -> return_types.linalg_lu_factor:
    """The LU factorisation in the form that :func:`lu_solve` takes: both factors in one matrix, and pivots from 1.

    Raises:
        RuntimeError: a zero on the diagonal, when the value is computed; or ``pivot=False``, which needs a GPU.

    As ``torch.linalg.lu_factor``.

    Example:
        >>> import flamework as torch
        >>> torch.linalg.lu_factor(torch.tensor([[2.0, 4.0], [1.0, 6.0]])).LU.tolist()
        [[2.0, 4.0], [0.5, 4.0]]
    """
    x = lu_argument(A, pivot, "torch.lu_factor")
    return several(return_types.linalg_lu_factor, list(_lu(x, "torch.linalg.lu_factor" + NO_FACTOR)), out)


def lu_factor_ex(
    A: Tensor, *, pivot: bool = True, check_errors: bool = False, out: tuple[Tensor, ...] | None = None
) -> return_types.linalg_lu_factor_ex:
    """:func:`lu_factor`, and for each matrix 0, or the number of the first zero on the diagonal.

    As ``torch.linalg.lu_factor_ex``.
    """
    x = lu_argument(A, pivot, "torch.lu_factor")
    factors, pivots = _lu(x, "torch.linalg.lu_factor_ex" + NO_FACTOR if check_errors else None)
    return several(return_types.linalg_lu_factor_ex, [factors, pivots, zero_info(factors)], out)


def unpacked(factors: Node, pivots: Node) -> list[Node]:
    """The permutation matrix and both factors."""
    order = rows.permutation(pivots, params=(factors.type.shape[-2],))
    return [m.permutation_matrix(order, factors.type.dtype), *rows.lu_factors(factors)]


def lu(A: Tensor, *, pivot: bool = True, out: tuple[Tensor, ...] | None = None) -> return_types.linalg_lu:
    """``A = P @ L @ U``: a permutation, a lower triangular matrix with ones on the diagonal, and an upper one.

    As ``torch.linalg.lu``.

    Example:
        >>> import flamework as torch
        >>> P, L, U = torch.linalg.lu(torch.tensor([[1.0, 6.0], [2.0, 4.0]]))
        >>> P.tolist(), L.tolist(), U.tolist()
        ([[0.0, 1.0], [1.0, 0.0]], [[1.0, 0.0], [0.5, 1.0]], [[2.0, 4.0], [0.0, 4.0]])
    """
    return several(return_types.linalg_lu, unpacked(*_lu(lu_argument(A, pivot, "linalg.lu"), None)), out)


def lu_solve(
    LU: Tensor, pivots: Tensor, B: Tensor, *, left: bool = True, adjoint: bool = False, out: Tensor | None = None
) -> Tensor:
    """The solution of ``A @ X = B`` from the result of :func:`lu_factor` of ``A``.

    Args:
        left: False for ``X @ A = B``.
        adjoint: True for the conjugate transpose of ``A``.

    As ``torch.linalg.lu_solve``.
    """
    name = "linalg.lu_solve"
    order = tensor_argument(pivots, name, "pivots", 2)
    b = tensor_argument(B, name, "B", 3)
    factors = matrix_argument(LU, name, "LU")
    if factors.type.dtype is not b.type.dtype:
        raise RuntimeError(
            f"{name}: Expected LU and B to have the same dtype, but found LU of type {scalar_type(factors.type.dtype)} "
            f"and B of type {scalar_type(b.type.dtype)} instead"
        )
    if order.type.dtype is not dtypes.int32:
        raise RuntimeError(f"{name}: pivots should be a Tensor of scalar type torch.int32")
    check_square(factors, name, "LU")
    n = factors.type.shape[-1]
    if b.ndim < 2:
        raise RuntimeError(f"{name}: The input tensor B must have at least 2 dimensions.")
    if b.type.shape[-2 if left else -1] != n:
        raise _incompatible(name, left, factors, b)
    if order.type.shape[-1:] != (n,):
        raise RuntimeError(f"{name}: Number of pivots per batch should be same as the dimension of the matrix")
    places = rows.permutation(order, params=(n,))
    if not left:  # X A = B is A^H X^H = B^H
        b, adjoint = m.adjoint(b), not adjoint
    factors, b, permuting = batched(factors, b, m.permutation_matrix(places, b.type.dtype))
    if adjoint:
        x = rows.triangular(m.adjoint(factors), b, params=(False, False))
        x = m.mm(permuting, rows.triangular(m.adjoint(factors), x, params=(True, True)))
    else:
        x = rows.triangular(factors, m.mm(s.swapped(permuting), b), params=(False, True))
        x = rows.triangular(factors, x, params=(True, False))
    return exactly_returned(x if left else m.adjoint(x), out)


# --------------------------------------------------------------------------------------------------------- determinants


def det(A: Tensor, *, out: Tensor | None = None) -> Tensor:
    """The determinant of a square matrix. Singular matrices have a gradient too. As ``torch.linalg.det``.

    Example:
        >>> import flamework as torch
        >>> torch.linalg.det(torch.tensor([[2.0, 0.0], [0.0, 4.0]])).item()
        8.0
    """
    return exactly_returned(rows.det(matrix_argument(A, "linalg.det", kernel="lu_cpu", square=True)), out)


def sign_and_logarithm(x: Node) -> list[Node]:
    """Of the determinant, from the factor U and the number of rows that were exchanged."""
    factors, pivots = _lu(x, None)
    size = x.type.shape[-1]
    on = m.diagonal(factors)
    axis = on.ndim - 1
    moved = p.cast(p.ne(pivots, p.add(p.iota(params=(pivots.type.shape, dtypes.int32, pivots.type.device, axis)),
                                      p.full_like(pivots, 1))), params=(dtypes.int64,))
    odd = p.rem(s.reduce_sum(moved, params=(axis,)), f.filled(on.type.shape[:-1], dtypes.int64, on.type.device, 2))
    parity = p.sub(p.full_like(odd, 1), p.add(odd, odd))
    values = tensor_of(on)
    signs = node_of(sgn(values))
    sign = p.mul(s.converted(parity, x.type.dtype), s.reduce_prod(signs, params=(axis,)))
    return [sign, s.reduce_sum(node_of(log(values.abs())), params=(axis,)) if size else m.real_part(
        f.filled(sign.type.shape, x.type.dtype, x.type.device, 0))]


def slogdet(A: Tensor, *, out: tuple[Tensor, ...] | None = None) -> return_types.linalg_slogdet:
    """The sign (of complex ones, the phase) and the logarithm of the absolute value of the determinant.

    Of a singular matrix 0 and minus infinity. As ``torch.linalg.slogdet``.

    Example:
        >>> import flamework as torch
        >>> torch.linalg.slogdet(torch.tensor([[1.0, 0.0], [0.0, -1.0]])).sign.item()
        -1.0
    """
    x = matrix_argument(A, "linalg.slogdet", square=True)
    return several(return_types.linalg_slogdet, sign_and_logarithm(x), out)
