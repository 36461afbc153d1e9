"""``flamework.linalg``: QR, eigenvalues and eigenvectors, singular values, and what is made of them, by LAPACK.

Eigenvectors and singular vectors are not unique: the gradients are right for functions that do not depend on the
choice, and undefined (NaN) where vectors of equal eigenvalues are differentiated.

In: tensors ``[*batch, m, n]``. Out: tensors with PyTorch's gradients. Read next: ``linalg_norms.py``.
"""

from __future__ import annotations

from . import formulas as f, return_types
from .arguments import exactly_returned, returned, scalar_type, tensor_argument, values_of
from .compiler import dtypes, matrices as m, primitives as p, primitives_linalg as rows, primitives_shape as s
from .compiler.dtypes import FLOATING
from .compiler.ir import Node
from .limits import finfo
from .linalg_solve import batched, check_square, matrix_argument, several
from .recording import broadcast_shapes, node_of
from .tensor import Tensor

Tolerance = float | Tensor | None

# ------------------------------------------------------------------------------------------------------------------- QR


def qr_factors(x: Node, mode: str) -> list[Node]:
    return rows.qr_pieces(rows.qr(x, params=(mode,)), mode, x.type)


def qr(A: Tensor, mode: str = "reduced", *, out: tuple[Tensor, ...] | None = None) -> return_types.linalg_qr:
    """``A = Q @ R`` with orthonormal columns of ``Q`` and an upper triangular ``R``.

    Args:
        mode: ``"reduced"`` for ``[m, k]`` and ``[k, n]`` with the smaller size k, ``"complete"`` for ``[m, m]`` and
            ``[m, n]``, ``"r"`` for no ``Q``.

    Raises:
        RuntimeError: another mode, fewer than two axes, integers; and in the gradient, if ``Q`` was not computed or has
            more columns than ``A``.

    As ``torch.linalg.qr``.

    Example:
        >>> import flamework as torch
        >>> torch.linalg.qr(torch.eye(2)).R.abs().tolist()
        [[1.0, 0.0], [0.0, 1.0]]
    """
    x = matrix_argument(A, "linalg.qr", kernel="geqrf_cpu")
    if mode not in ("reduced", "complete", "r"):
        raise RuntimeError(
            f"qr received unrecognized mode '{mode}' but expected one of 'reduced' (default), 'r', or 'complete'"
        )
    if mode == "r":
        k, columns = min(x.type.shape[-2:]), x.type.shape[-1]
        r = f.reshaped(rows.qr(x, params=("r",)), (*x.type.shape[:-2], k, columns))
        nodes = [m.zeros((0,), x.type.dtype, x.type.device), r]
    else:
        nodes = qr_factors(x, mode)
    return several(return_types.linalg_qr, nodes, out)


def geqrf(input: Tensor, *, out: tuple[Tensor, ...] | None = None) -> return_types.geqrf:
    """The QR factorisation in LAPACK's form: ``R`` above Householder vectors, and a scale of each.

    As ``torch.geqrf``.
    """
    x = matrix_argument(input, "geqrf", "input", kernel="geqrf_cpu", inexact=False)
    row_count, columns = x.type.shape[-2:]
    return several(return_types.geqrf, m.pieces(rows.geqrf(x), (row_count, columns), (min(row_count, columns),)), out)


def reflected(x: Node, tau: Node, other: Node, transpose: bool = False) -> Node:
    """The product of reflections ``I - tau v v^H`` times a matrix, as ``I - V T V^H``.

    R. Schreiber and C. Van Loan, "A storage-efficient WY representation for products of Householder transformations"
    (1989); with T as the solution of a triangular system, so that a scale of 0 divides nothing.
    """
    count = tau.type.shape[-1]
    v = m.lower(s.sliced(x, (0,) * x.ndim, (*x.type.shape[:-1], count)), -1)
    v = p.where(m.on_diagonal(v), p.full_like(v, 1), v)
    inner = m.mm(m.adjoint(v), other)
    scale = m.diagonal_matrix(tau)
    system = m.mm(scale, m.mm(m.adjoint(v), v))
    if transpose:
        inner = m.mm(m.adjoint(scale), rows.triangular(m.adjoint(system), inner, params=(False, True)))
    else:
        inner = rows.triangular(system, m.mm(scale, inner), params=(True, True))
    return p.sub(other, m.mm(v, inner))


def householder_product(A: Tensor, tau: Tensor, *, out: Tensor | None = None) -> Tensor:
    """The first n columns of the product of Householder reflections ``I - tau[i] * v[i] @ v[i].mH``.

    Args:
        A: ``[*batch, m, n]``: below the diagonal stand the vectors, which are 1 on it and 0 above.
        tau: ``[*batch, k]``, with k at most n.

    As ``torch.linalg.householder_product``.

    Example:
        >>> import flamework as torch
        >>> torch.linalg.householder_product(torch.zeros(2, 1), torch.tensor([2.0])).tolist()
        [[-1.0], [0.0]]
    """
    name = "torch.linalg.householder_product"
    x, scales = tensor_argument(A, name, "input", 1), tensor_argument(tau, name, "tau", 2)
    if x.ndim < 2:
        raise RuntimeError(f"{name}: input must have at least 2 dimensions.")
    row_count, columns = x.type.shape[-2:]
    if row_count < columns:
        raise RuntimeError(f"{name}: input.shape[-2] must be greater than or equal to input.shape[-1]")
    if columns < (scales.type.shape[-1] if scales.ndim else 1):
        raise RuntimeError(f"{name}: input.shape[-1] must be greater than or equal to tau.shape[-1]")
    if x.ndim - scales.ndim != 1:
        raise RuntimeError(
            f"{name}: Expected tau to have one dimension less than input, but got tau.ndim equal to {scales.ndim} and "
            f"input.ndim is equal to {x.ndim}"
        )
    if scales.type.shape[:-1] != x.type.shape[:-2]:
        raise RuntimeError(
            f"{name}: Expected batch dimensions of tau to be equal to input.shape[:-2], but got "
            f"{list(scales.type.shape[:-1])}"
        )
    if scales.type.dtype is not x.type.dtype:
        raise RuntimeError(f"{name}: tau dtype {scalar_type(scales.type.dtype)} does not match input dtype "
                           f"{scalar_type(x.type.dtype)}")
    x = matrix_argument(A, name, kernel="orgqr_cpu", inexact=False)
    whole = m.identity(x.type.shape[:-2], row_count, columns, x.type.dtype, x.type.device)
    return exactly_returned(reflected(x, scales, whole), out)


def ormqr(
    input: Tensor, tau: Tensor, other: Tensor, left: bool = True, transpose: bool = False, *, out: Tensor | None = None
) -> Tensor:
    """``Q @ other``, or ``other @ Q``, with the square ``Q`` of :func:`geqrf`, or its conjugate transpose.

    As ``torch.ormqr``.
    """
    x = matrix_argument(input, "torch.ormqr", "input", kernel="ormqr_cpu", inexact=False)
    scales, c = tensor_argument(tau, "ormqr", "tau", 2), tensor_argument(other, "ormqr", "other", 3)
    if c.ndim < 2:
        raise RuntimeError("torch.ormqr: other must have at least 2 dimensions.")
    side = -2 if left else -1
    if c.type.shape[side] < (scales.type.shape[-1] if scales.ndim else 1):
        raise RuntimeError(f"torch.ormqr: other.shape[{side}] must be greater than or equal to tau.shape[-1]")
    if c.type.shape[side] != x.type.shape[-2]:
        raise RuntimeError(f"torch.ormqr: other.shape[{side}] must be equal to input.shape[-2]")
    if scales.type.shape[-1] != min(c.type.shape[side], x.type.shape[-1]):
        raise RuntimeError(
            f"torch.ormqr: tau.shape[-1] must be equal to min(other.shape[{side}], input.shape[-1])"
        )
    # other @ Q is the adjoint of Q^H @ other^H
    product = reflected(x, scales, c, transpose) if left else m.adjoint(
        reflected(x, scales, m.adjoint(c), not transpose))
    return exactly_returned(product, out)


# ---------------------------------------------------------------------------------------------------------- eigenvalues


def hermitian_argument(A: Tensor, UPLO: str) -> tuple[Node, str]:
    x = matrix_argument(A, "linalg.eigh", square=True, kernel="linalg_eigh_cpu", inexact=False)
    if not isinstance(UPLO, str) or UPLO.upper() not in ("L", "U"):
        raise RuntimeError(f"Expected UPLO argument to be 'L' or 'U', but got {UPLO}")
    return x, UPLO.upper()


def eigenvalues_of(x: Node, triangle: str) -> Node:
    if x.requires_grad:
        return rows.eigh_pieces(rows.eigh(x, params=(triangle, True)), x.type.shape[-1])[0]
    return m.real_part(rows.eigh(x, params=(triangle, False)))


def eigh(A: Tensor, UPLO: str = "L", *, out: tuple[Tensor, ...] | None = None) -> return_types.linalg_eigh:
    """Eigenvalues, ascending, and eigenvectors, the columns, of a Hermitian matrix of which one triangle is read.

    Raises:
        LinAlgError: the matrix holds NaN or infinities; when the value is computed.
        RuntimeError: not square, fewer than two axes, or another ``UPLO`` than ``"L"`` and ``"U"``.

    As ``torch.linalg.eigh``.

    Example:
        >>> import flamework as torch
        >>> torch.linalg.eigh(torch.tensor([[3.0, 0.0], [0.0, 1.0]])).eigenvalues.tolist()
        [1.0, 3.0]
    """
    x, triangle = hermitian_argument(A, UPLO)
    packed = rows.eigh(x, params=(triangle, True))
    return several(return_types.linalg_eigh, rows.eigh_pieces(packed, x.type.shape[-1]), out)


def eigvalsh(A: Tensor, UPLO: str = "L", *, out: Tensor | None = None) -> Tensor:
    """The eigenvalues of :func:`eigh`. As ``torch.linalg.eigvalsh``.

    Example:
        >>> import flamework as torch
        >>> torch.linalg.eigvalsh(torch.tensor([[3.0, 0.0], [0.0, 1.0]])).tolist()
        [1.0, 3.0]
    """
    return exactly_returned(eigenvalues_of(*hermitian_argument(A, UPLO)), out)


def _eig_argument(A: Tensor, function: str) -> Node:
    x = tensor_argument(A, function, "A", 1)
    if x.type.dtype.kind < FLOATING:
        raise RuntimeError(f"Unknown Complex ScalarType for {scalar_type(x.type.dtype)}")
    return matrix_argument(A, function, kernel="linalg_eig_out_cpu", square=True)


def _eig(x: Node) -> list[Node]:
    n = x.type.shape[-1]
    return m.pieces(rows.eig(x, params=(True,)), (n,), (n, n))


def eig(A: Tensor, *, out: tuple[Tensor, ...] | None = None) -> return_types.linalg_eig:
    """Eigenvalues and eigenvectors, the columns, of a square matrix; complex, in no particular order.

    Raises:
        RuntimeError: the matrix holds NaN or infinities, when the value is computed; or it is not square.

    As ``torch.linalg.eig``.

    Example:
        >>> import flamework as torch
        >>> sorted(torch.linalg.eig(torch.tensor([[0.0, -1.0], [1.0, 0.0]])).eigenvalues.imag.tolist())
        [-1.0, 1.0]
    """
    return several(return_types.linalg_eig, _eig(_eig_argument(A, "linalg.eig")), out)


def eigvals(A: Tensor, *, out: Tensor | None = None) -> Tensor:
    """The eigenvalues of :func:`eig`. As ``torch.linalg.eigvals``."""
    x = _eig_argument(A, "linalg.eigvals")
    return exactly_returned(_eig(x)[0] if x.requires_grad else rows.eig(x, params=(False,)), out)


# ------------------------------------------------------------------------------------------------------ singular values


def svd_factors(x: Node, full: bool) -> list[Node]:
    """``U``, the singular values, and the adjoint of ``V``."""
    values, u, vh = m.pieces(rows.svd(x, params=(full, True)), *rows.svd_shapes(full, x.type))
    return [u, m.real_part(values), vh]


def singular_values(x: Node) -> Node:
    if x.requires_grad:
        return svd_factors(x, False)[1]
    return m.real_part(rows.svd(x, params=(False, False)))


def svd_argument(A: Tensor, driver: str | None = None) -> Node:
    x = matrix_argument(A, "linalg.svd", kernel="linalg_svd_cpu")
    if driver is not None:
        raise RuntimeError(
            "torch.linalg.svd: keyword argument `driver=` is only supported on CUDA inputs with cuSOLVER backend."
        )
    return x


def svd(
    A: Tensor, full_matrices: bool = True, *, driver: str | None = None, out: tuple[Tensor, ...] | None = None
) -> return_types.linalg_svd:
    """``A = U @ diag(S) @ Vh`` with orthonormal columns of ``U`` and rows of ``Vh``; ``S`` is real and descending.

    Args:
        full_matrices: ``U`` is ``[m, m]`` and ``Vh`` ``[n, n]``; otherwise ``[m, k]`` and ``[k, n]`` with the smaller
            size k.
        driver: None; others need a GPU.

    Raises:
        LinAlgError: the matrix holds NaN or infinities; when the value is computed.

    As ``torch.linalg.svd``.

    Example:
        >>> import flamework as torch
        >>> torch.linalg.svd(torch.tensor([[0.0, 2.0], [1.0, 0.0]])).S.tolist()
        [2.0, 1.0]
    """
    x = svd_argument(A, driver=driver)
    return several(return_types.linalg_svd, svd_factors(x, bool(full_matrices)), out)


def svdvals(A: Tensor, *, driver: str | None = None, out: Tensor | None = None) -> Tensor:
    """The singular values, descending. As ``torch.linalg.svdvals``.

    Example:
        >>> import flamework as torch
        >>> torch.linalg.svdvals(torch.tensor([[0.0, 2.0], [1.0, 0.0]])).tolist()
        [2.0, 1.0]
    """
    return exactly_returned(singular_values(svd_argument(A, driver=driver)), out)


# -------------------------------------------------------------------------------------------- rank and pseudo-inverse


def _tolerance(value: Tolerance, x: Node, otherwise: float | Node) -> Node:
    """A real number for each matrix."""
    lead, part = x.type.shape[:-2], x.type.dtype.part
    if isinstance(value, Tensor):
        if value.is_complex() or broadcast_shapes(value.shape, lead) != lead:
            raise RuntimeError(f"a tolerance is a real number for each of the matrices {list(lead)}, not {value!r}")
        return f.broadcast_to(f.converted(f.cut(node_of(value)), part), lead)
    if value is None and isinstance(otherwise, Node):
        return otherwise
    number = f.filled((), part, x.type.device, 0)
    return f.broadcast_to(f.argument(number, float(otherwise if value is None else value)), lead)


def tolerances(x: Node, atol: Tolerance, rtol: Tolerance) -> tuple[Node, Node]:
    """An absolute tolerance and one relative to the largest singular value, by default precision times size, and 0 if
    there is an absolute one."""
    least = _tolerance(atol, x, 0.0)
    usual = _tolerance(None, x, finfo(x.type.dtype.part).eps * max(x.type.shape[-2:]))
    if atol is not None:
        zero = p.full_like(least, 0)
        usual = p.where(p.lt(zero, least), zero, usual)
    return least, _tolerance(rtol, x, usual)


def _largest(sizes: Node) -> Node:
    if sizes.type.shape[-1] == 0:
        return f.filled(sizes.type.shape[:-1], sizes.type.dtype, sizes.type.device, 0)
    return s.reduce_max(sizes, params=(sizes.ndim - 1,))


def matrix_rank(
    A: Tensor, tol: Tolerance = None, hermitian: bool = False, *, atol: Tolerance = None, rtol: Tolerance = None,
    out: Tensor | None = None,
) -> Tensor:
    """How many singular values are larger than ``max(atol, rtol * the largest)``; int64.

    Args:
        tol: an older name of ``atol``, with ``rtol`` 0.
        hermitian: the matrix is, and its lower triangle is read.
        atol, rtol: numbers, or tensors with one for each matrix. The default of ``rtol`` is the precision of the dtype
            times the larger size, or 0 with a positive ``atol``.

    As ``torch.linalg.matrix_rank``.

    Example:
        >>> import flamework as torch
        >>> torch.linalg.matrix_rank(torch.ones(3, 3)).item()
        1
    """
    x = f.cut(tensor_argument(A, "linalg.matrix_rank", "input", 1))
    if x.ndim < 2:
        raise RuntimeError("torch.linalg.matrix_rank: The input tensor input must have at least 2 dimensions.")
    _lapack_only(x)
    if tol is not None:
        atol, rtol = tol, 0.0
    if hermitian:
        check_square(x, "linalg.eigh")
        sizes = p.abs(eigenvalues_of(x, "L"))
    else:
        sizes = singular_values(x)
    return exactly_returned(rank_of(sizes, *tolerances(x, atol, rtol)), out)


def rank_of(sizes: Node, least: Node, relative: Node) -> Node:
    largest = _largest(sizes)
    product = p.mul(relative, largest)
    bound = p.where(p.lt(product, least), least, product)
    above = p.lt(s.broadcast_to(f.reshaped(bound, (*bound.type.shape, 1)), sizes.type.shape), sizes)
    return s.reduce_sum(p.cast(above, params=(dtypes.int64,)), params=(sizes.ndim - 1,))


def _lapack_only(x: Node) -> None:
    if x.type.dtype.kind < FLOATING or x.type.dtype.compute is not x.type.dtype:
        raise RuntimeError("This function doesn't handle types other than float and double")


def pseudo_inverse(x: Node, atol: Tolerance, rtol: Tolerance, hermitian: bool) -> Node:
    return rows.pinv(x, *tolerances(x, atol, rtol), params=(hermitian,))


def pinv(
    A: Tensor, rcond: Tolerance = None, hermitian: bool = False, *, atol: Tolerance = None, rtol: Tolerance = None,
    out: Tensor | None = None,
) -> Tensor:
    """The Moore-Penrose inverse. Singular values up to ``max(atol, rtol * the largest)`` count as zero.

    Args:
        rcond: an older name of ``rtol``.
        hermitian: the matrix is, and its lower triangle is read.

    As ``torch.linalg.pinv``. Its gradient: Golub and Pereyra (1973).

    Example:
        >>> import flamework as torch
        >>> torch.linalg.pinv(torch.tensor([[2.0, 0.0], [0.0, 0.0]])).tolist()
        [[0.5, 0.0], [0.0, 0.0]]
    """
    x = tensor_argument(A, "linalg.pinv", "input", 1)
    if x.ndim < 2 or x.type.dtype.kind < FLOATING or x.type.dtype.compute is not x.type.dtype:
        sizes = ", ".join(map(str, x.type.shape))
        raise RuntimeError(
            f"linalg.pinv({scalar_type(x.type.dtype)}{{[{sizes}]}}): expected a tensor with 2 or more dimensions of "
            "float, double, cfloat or cdouble types"
        )
    if hermitian:
        check_square(x, "linalg.eigh")
    return returned(pseudo_inverse(x, 0.0 if rcond is not None else atol, rcond if rcond is not None else rtol,
                                   bool(hermitian)), out)


DRIVERS = ("gels", "gelsy", "gelsd", "gelss")


def lstsq(
    input: Tensor, b: Tensor, rcond: float | None = None, *, driver: str | None = None
) -> return_types.linalg_lstsq:
    """The ``X`` with the smallest ``norm(input @ X - b)``, and of several the smallest.

    Args:
        input: ``[*batch, m, n]``.
        b: ``[*batch, m, k]``, or a vector for each matrix.
        rcond: singular values up to ``rcond`` times the largest count as zero; by default the precision of the dtype
            times the larger size.
        driver: which of the results beside the solution there are, those of LAPACK's routine of this name: residuals
            (not of ``gelsy``, the default), rank (not of ``gels``), singular values (of ``gelsd`` and ``gelss``). The
            solution is found by the pseudo-inverse with each.

    Returns:
        ``(solution, residuals, rank, singular_values)``, empty tensors for what is not computed. There are residuals if
        m is larger than n and all ranks are n, which ``gelsd`` and ``gelss`` look at: they compute at once.

    As ``torch.linalg.lstsq``.

    Example:
        >>> import flamework as torch
        >>> torch.linalg.lstsq(torch.ones(2, 1), torch.tensor([[1.0], [3.0]])).solution
        tensor([[2.0000]])
    """
    name = "torch.linalg.lstsq"
    x, right = tensor_argument(input, name, "input", 1), tensor_argument(b, name, "b", 2)
    if x.ndim < 2:
        raise RuntimeError(f"{name}: input must have at least 2 dimensions.")
    if right.ndim < 1:
        raise RuntimeError(f"{name}: other must have at least 1 dimension.")
    if x.type.dtype is not right.type.dtype:
        raise RuntimeError(
            f"{name}: Expected input and other to have the same dtype, but got input's dtype "
            f"{scalar_type(x.type.dtype)} and other's dtype {scalar_type(right.type.dtype)}"
        )
    if not 0 <= x.ndim - right.ndim <= 1:
        raise RuntimeError(
            f"{name}: input.dim() must be greater or equal to other.dim() and (input.dim() - other.dim()) <= 1"
        )
    is_vector = x.ndim - right.ndim == 1
    if is_vector:
        if right.type.shape[-1] != x.type.shape[-2]:
            raise RuntimeError(f"{name}: input.size(-2) should match other.size(-1)")
        right = f.reshaped(right, (*right.type.shape, 1))
    elif right.type.shape[-2] != x.type.shape[-2]:
        raise RuntimeError(f"{name}: input.size(-2) should match other.size(-2)")
    _lapack_only(x)
    if driver is not None and driver not in DRIVERS:
        raise RuntimeError(f"{name}: parameter `driver` should be one of (gels, gelsy, gelsd, gelss)")
    driver = driver or "gelsy"
    own = x
    x, right = batched(x, right)
    solution = m.mm(pseudo_inverse(x, None, rcond, False), right)
    part, device = x.type.dtype.part, x.type.device
    residuals = values = f.filled((0,), part, device, 0)
    rank = f.filled((0,), dtypes.int64, device, 0)
    row_count, columns = x.type.shape[-2:]
    full = driver == "gels"
    if not full:
        sizes = singular_values(f.cut(own))
        rank = rank_of(sizes, *tolerances(own, None, rcond))
        if driver != "gelsy":
            values = sizes
            full = row_count > columns and bool((values_of(rank) == columns).all())
    if full and row_count > columns:
        gap = p.sub(m.mm(x, solution), right)
        residuals = s.reduce_sum(f.square_of(gap), params=(gap.ndim - 2,))
    if is_vector:
        solution = f.reshaped(solution, solution.type.shape[:-1])
    return several(return_types.linalg_lstsq, [solution, residuals, rank, values], None)


# ---------------------------------------------------------------------------------------------------------- exponential


def matrix_exp(A: Tensor) -> Tensor:
    """The exponential of a square matrix: the sum of ``A ** k / k!``. As ``torch.linalg.matrix_exp``.

    Example:
        >>> import flamework as torch
        >>> torch.linalg.matrix_exp(torch.tensor([[0.0, 1.0], [0.0, 0.0]])).tolist()
        [[1.0, 1.0], [0.0, 1.0]]
    """
    x = tensor_argument(A, "linalg.matrix_exp", "A", 1)
    if x.ndim >= 2 and x.type.dtype.compute is not x.type.dtype:
        wide = f.converted(x, x.type.dtype.compute)
        return returned(f.converted(rows.matrix_exp(wide), x.type.dtype), None)
    return returned(rows.matrix_exp(matrix_argument(A, "linalg.matrix_exp", square=True)), None)
