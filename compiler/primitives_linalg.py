"""Rows of linear algebra: factorisations and solutions of batches of matrices, by LAPACK.

A row with several results packs them along the last axis of ``[*batch, count]`` in one dtype. Gradients are formulas of
rows again, so that they have gradients; a tangent is the transpose of a gradient, which is linear in its cotangent.
Where a factorisation leaves a choice (the sign of an eigenvector, the phase of a complex one), the gradient is that of
functions which do not depend on it.

A row that can fail has the text of its error as its first parameter, with places for ``{batch}`` and ``{info}``; None
if the result may then be anything.

Read next: ``rewrite.py``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from . import matrices as m, primitives as p, primitives_shape as s
from .dtypes import COMPLEX, FLOATING, INTEGER, complex_of, int32, int64
from .ir import Node, TensorType, tensor_type
from .matrices import adjoint, mm
from .primitives import Primitive, Saved


class _LinAlgError(RuntimeError):
    """A matrix that an algorithm cannot work with: singular, not positive definite, or without convergence."""


# --------------------------------------------------------------------------------------------------- what rows share


def _matrix(x: TensorType, square: bool = False) -> tuple[tuple[int, ...], int, int]:
    """The batch, rows and columns of a matrix that LAPACK takes."""
    if x.dtype.kind < FLOATING or x.dtype.compute is not x.dtype:
        raise ValueError(f"LAPACK has no {x.dtype}")
    *lead, rows, columns = x.shape
    if square and rows != columns:
        raise ValueError(f"a square matrix, not {rows} by {columns}")
    return tuple(lead), rows, columns


def _square(params: tuple, x: TensorType) -> TensorType:
    _matrix(x, square=True)
    return x


def _one_type(*types: TensorType) -> None:
    if any(t.dtype is not types[0].dtype or t.device != types[0].device for t in types):
        raise ValueError("needs one dtype and one device")


def _pack(lead: Sequence[int], dtype: np.dtype, *arrays: np.ndarray) -> np.ndarray:
    flat = [np.reshape(a, (*lead, math.prod(a.shape[len(lead) :]))) for a in arrays]
    return np.concatenate([a.astype(dtype) for a in flat], -1)


def _check_first(text: str | None, infos: np.ndarray, kind: type[Exception] = _LinAlgError) -> None:
    """Raise for the first matrix whose info is not 0."""
    if text is not None and infos.any():
        at = int(np.flatnonzero(infos)[0])
        batch = f"(Batch element {at}): " if infos.ndim else ""
        raise kind(text.format(batch=batch, info=int(infos.flat[at])))


def _first_bad(bad: np.ndarray) -> np.ndarray:
    """LAPACK's info: the number, from 1, of the first True along the last axis; 0 if there is none."""
    if bad.shape[-1] == 0:
        return np.zeros(bad.shape[:-1], np.int64)
    return np.where(bad.any(-1), bad.argmax(-1) + 1, 0)


def _diagonal(x: np.ndarray) -> np.ndarray:
    return np.diagonal(x, 0, -2, -1)


def _check_finite(text: str, x: np.ndarray) -> None:
    _check_first(text, ~np.isfinite(x).all((-2, -1)) * 1)


def _transposed(tangents: Sequence[Node | None], n: Saved) -> Node:
    """A tangent: the gradient is linear in the cotangent, and its own gradient to the cotangent maps tangents."""
    from . import autodiff

    kind = n.node.type
    zero = m.zeros(kind.shape, kind.dtype, kind.device)
    cotangent = Node(p.const, (), zero.params, kind, None, True)
    total = None
    for rule, tangent in zip(n.node.op.vjp, tangents):
        if rule is not None and tangent is not None:
            with autodiff.recording_gradients(True):
                back = rule(cotangent, n)
            term = autodiff.vjp([back], [tangent], wanted=[cotangent], retain_graph=True)[cotangent]
            total = term if total is None else p.add(total, term)
    return total


def _row(name: str, infer: Callable, reference: Callable, *vjp: Callable | None) -> Primitive:
    """A row whose leading axes are a batch, so that one more changes nothing."""
    return Primitive(
        name, "library", infer, vjp=vjp or None, jvp=_transposed if vjp else None,
        batch=lambda params, src: p.TABLE[name](*src, params=params), reference=reference, cost=1000,
    )


# ------------------------------------------------------------------------------------------------ Cholesky, triangular


def _cholesky_reference(params: tuple, x: np.ndarray) -> np.ndarray:
    (text,) = params
    try:
        found = np.linalg.cholesky(x)
        infos = _first_bad(~(_diagonal(found).real > 0))
    except np.linalg.LinAlgError:
        infos = np.ones(1)
    if infos.any():
        from scipy.linalg import get_lapack_funcs

        (potrf,) = get_lapack_funcs(("potrf",), (x,))
        found, infos = np.zeros_like(x), np.zeros(x.shape[:-2], np.int64)
        for index in np.ndindex(*x.shape[:-2]):
            found[index], infos[index] = potrf(x[index], lower=1, clean=1)
            at = infos[index] - 1
            if at >= 0 and found[index][at, at].real > 0:  # so that who reads the result sees where it ended
                found[index][at, at] = 0
        infos = _first_bad(~(_diagonal(found).real > 0))
        _check_first(text, infos)
    return found


def _cholesky_vjp(g: Node, n: Saved) -> Node:
    # I. Murray, "Differentiation of the Cholesky decomposition" (2016)
    factor = n.out
    phi = m.lower(mm(adjoint(factor), g))
    phi = p.where(m.on_diagonal(phi), m.half(phi), phi)
    left = triangular(adjoint(factor), phi, params=(True, False))
    whole = adjoint(triangular(adjoint(factor), adjoint(left), params=(True, False)))
    return m.half(p.add(whole, adjoint(whole)))


# The lower triangular factor of a Hermitian matrix, whose lower triangle is read: ``params = (text of the error,)``.
# A matrix that is not positive definite has no positive number on the diagonal where the algorithm ended.
cholesky = _row("cholesky", _square, _cholesky_reference, _cholesky_vjp)


def _solve_infer(params: tuple, a: TensorType, b: TensorType) -> TensorType:
    _one_type(a, b)
    (lead, n, _), (other, rows, _) = _matrix(a, square=True), _matrix(b)
    if lead != other or n != rows:
        raise ValueError(f"a matrix {list(a.shape)} and right-hand sides {list(b.shape)}")
    return b


def _triangular_reference(params: tuple, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    from scipy.linalg import get_blas_funcs

    upper, unit = params
    found = np.empty_like(b)
    if b.size:
        (trsm,) = get_blas_funcs(("trsm",), (a, b))
        for index in np.ndindex(*b.shape[:-2]):
            found[index] = trsm(1.0, a[index], b[index], lower=not upper, diag=unit)
    return found


def _triangular_vjp_matrix(g: Node, n: Saved) -> Node:
    upper, unit = n.params
    right = triangular(adjoint(n.x), g, params=(not upper, unit))
    slope = p.neg(mm(right, adjoint(n.out)))
    if upper:
        return s.swapped(m.lower(s.swapped(slope), -int(unit)))
    return m.lower(slope, -int(unit))


# The solution of a triangular system; the other triangle, and with ``unit`` the diagonal, is not looked at:
# ``params = (upper, unit)``.
triangular = _row(
    "solve_triangular", _solve_infer, _triangular_reference, _triangular_vjp_matrix,
    lambda g, n: triangular(adjoint(n.x), g, params=(not n.params[0], n.params[1])),
)

# ---------------------------------------------------------------------------------------------------------- LU, solve


def _solve_reference(params: tuple, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    (text,) = params
    try:
        return np.linalg.solve(a, b)
    except np.linalg.LinAlgError:
        size = a.shape[-1]
        factors = _lu_reference((None,), a)[..., : size * size].reshape(a.shape)
        infos = _first_bad(_diagonal(factors) == 0)
        _check_first(text, infos)
        found = np.full_like(b, math.nan)
        found[infos == 0] = np.linalg.solve(a[infos == 0], b[infos == 0])
        return found


# The solution of ``a @ x = b``: ``params = (text of the error,)``.
solve = _row(
    "solve", _solve_infer, _solve_reference,
    lambda g, n: p.neg(mm(solve(adjoint(n.x), g, params=n.params), adjoint(n.out))),
    lambda g, n: solve(adjoint(n.x), g, params=n.params),
)


def _lu_infer(params: tuple, x: TensorType) -> TensorType:
    lead, rows, columns = _matrix(x)
    return tensor_type((*lead, rows * columns + min(rows, columns)), x.dtype, x.device)


def _lu_reference(params: tuple, x: np.ndarray) -> np.ndarray:
    from scipy.linalg import get_lapack_funcs

    (text,) = params
    *lead, rows, columns = x.shape
    factors, pivots = np.zeros_like(x), np.zeros((*lead, min(rows, columns)))
    if x.size:
        (getrf,) = get_lapack_funcs(("getrf",), (x,))
        for index in np.ndindex(*lead):
            factors[index], order, _ = getrf(x[index])
            pivots[index] = order + 1
    _check_first(text, _first_bad(_diagonal(factors) == 0), RuntimeError)
    return _pack(lead, x.dtype, factors, pivots)


def lu_pieces(packed: Node, rows: int, columns: int) -> tuple[Node, Node]:
    """Of the row's result, both factors in one matrix, and the pivots, int32, from 1."""
    factors, pivots = m.pieces(packed, (rows, columns), (min(rows, columns),))
    return factors, p.cast(m.real_part(pivots), params=(int32,))


def lu_factors(factors: Node) -> tuple[Node, Node]:
    """The unit lower factor ``[rows, k]`` and the upper one ``[k, columns]`` of the matrix that holds both."""
    *lead, rows, columns = factors.type.shape
    k, zeros = min(rows, columns), (0,) * factors.ndim
    left = m.lower(s.sliced(factors, zeros, (*lead, rows, k)), -1)
    left = p.where(m.on_diagonal(left), p.full_like(left, 1), left)
    return left, m.upper(s.sliced(factors, zeros, (*lead, k, columns)))


def _lu_vjp(g: Node, n: Saved) -> Node:
    *lead, rows, columns = n.type(0).shape
    k, zeros = min(rows, columns), (0,) * (len(lead) + 2)
    factors, pivots = lu_pieces(n.out, rows, columns)
    left, right = lu_factors(factors)
    cotangent, _ = m.pieces(g, (rows, columns), (k,))
    g_left = m.lower(s.sliced(cotangent, zeros, (*lead, rows, k)), -1)
    g_right = m.upper(s.sliced(cotangent, zeros, (*lead, k, columns)))
    # the square part, and what is beside or below it, which is a product with the square factors
    l, u = (s.sliced(x, zeros, (*lead, k, k)) for x in (left, right))  # noqa: E741
    gl, gu = (s.sliced(x, zeros, (*lead, k, k)) for x in (g_left, g_right))

    def solved_left(x: Node) -> Node:
        return triangular(adjoint(l), x, params=(True, True))

    def solved_right(x: Node) -> Node:
        return adjoint(triangular(u, adjoint(x), params=(True, False)))

    rest = None
    if rows > k:
        below, g_below = (s.sliced(x, (*(0,) * len(lead), k, 0), (*lead, rows - k, k)) for x in (left, g_left))
        rest = solved_right(g_below)
        gu = p.sub(gu, mm(adjoint(below), rest))
    elif columns > k:
        beside, g_beside = (
            s.sliced(x, (*(0,) * len(lead), 0, k), (*lead, k, columns - k)) for x in (right, g_right)
        )
        rest = solved_left(g_beside)
        gl = p.sub(gl, mm(rest, adjoint(beside)))
    inner = p.add(m.lower(mm(adjoint(l), gl), -1), m.upper(mm(gu, adjoint(u))))
    slope = solved_left(solved_right(inner))
    if rest is not None:
        slope = s.cat(slope, rest, params=(len(lead) + (0 if rows > k else 1),))
    return mm(m.permutation_matrix(permutation(pivots, params=(rows,)), slope.type.dtype), slope)


# Both factors of the LU factorisation with partial pivoting in one matrix, and the pivots: ``params = (text of the
# error,)``.
lu_factor = _row("lu_factor", _lu_infer, _lu_reference, _lu_vjp)


def _permutation_infer(params: tuple, pivots: TensorType) -> TensorType:
    (rows,) = params
    if pivots.dtype.kind != INTEGER or pivots.shape[-1] > rows:
        raise ValueError(f"{pivots.shape[-1]} pivots, {pivots.dtype}, of {rows} rows")
    return tensor_type((*pivots.shape[:-1], rows), int64, pivots.device)


def _permutation_reference(params: tuple, pivots: np.ndarray) -> np.ndarray:
    (rows,) = params
    lead, count = pivots.shape[:-1], pivots.shape[-1]
    order = np.broadcast_to(np.arange(rows), (*lead, rows)).reshape(math.prod(lead), rows).copy()
    which = np.arange(len(order))
    for i, other in enumerate(pivots.reshape(len(order), count).T.astype(np.int64) - 1):
        if ((other < 0) | (other >= rows)).any():
            raise RuntimeError(f"pivots must be from 1 to {rows}, the number of rows")
        order[which, i], order[which, other] = order[which, other], order[which, i]
    return order.reshape(*lead, rows)


# The order in which pivots leave the rows, from 0: ``params = (rows,)``.
permutation = _row("permutation", _permutation_infer, _permutation_reference)


def _number_infer(params: tuple, x: TensorType) -> TensorType:
    lead, _, _ = _matrix(x, square=True)
    return tensor_type(lead, x.dtype, x.device)


def _det_vjp(g: Node, n: Saved) -> Node:
    slope = p.conjugate(cofactor(n.x))
    return p.mul(s.broadcast_to(s.reshaped(g, (*g.type.shape, 1, 1)), slope.type.shape), slope)


# The determinant.
det = _row("det", _number_infer, lambda params, x: np.linalg.det(x), _det_vjp)


def _cofactor_reference(params: tuple, x: np.ndarray) -> np.ndarray:
    if not np.isfinite(x).all():
        return np.full_like(x, math.nan)
    u, sizes, vh = np.linalg.svd(x)
    count = sizes.shape[-1]
    others = np.where(np.eye(count, dtype=bool), 1, sizes[..., None, :]).prod(-1)
    turn = (np.linalg.det(u) * np.linalg.det(vh))[..., None, None]
    return (turn * ((u.conj() * others[..., None, :]) @ vh.conj())).astype(x.dtype)


def _cofactor_vjp(g: Node, n: Saved) -> Node:
    return p.conjugate(cofactor_change(n.x, p.conjugate(g)))


# The derivative of the determinant, which singular matrices have too: of ``u diag(s) vh`` it is the product of those
# of the three.
cofactor = _row("cofactor", _square, _cofactor_reference, _cofactor_vjp)


def _change_infer(params: tuple, x: TensorType, change: TensorType) -> TensorType:
    if change is not x:
        raise ValueError(f"a matrix {list(x.shape)} changes by one {list(change.shape)}")
    return _square(params, x)


def _change_reference(params: tuple, x: np.ndarray, change: np.ndarray) -> np.ndarray:
    if not np.isfinite(x).all():
        return np.full_like(x, math.nan)
    u, sizes, vh = np.linalg.svd(x)
    count = sizes.shape[-1]
    one = np.eye(count, dtype=bool)
    # what is left of the product of all sizes without two of them
    others = np.where(one[:, None, :] | one[None, :, :], 1, sizes[..., None, None, :]).prod(-1) * ~one
    turn = (np.linalg.det(u) * np.linalg.det(vh))[..., None, None]
    inner = u.conj().swapaxes(-2, -1) @ change @ vh.conj().swapaxes(-2, -1)
    along = others @ np.diagonal(inner, axis1=-2, axis2=-1)[..., None]
    found = np.where(one, along, -others * inner.swapaxes(-2, -1))
    return (turn * (u.conj() @ found @ vh.conj())).astype(x.dtype)


def _change_vjp_matrix(g: Node, n: Saved) -> Node:
    # the third derivative of the determinant; of a singular matrix it is not found by this quotient
    h, g, c, whole = n.y, p.conjugate(g), cofactor(n.x), det(n.x)

    def product(a: Node, b: Node) -> Node:
        summed = s.reduce_sum(p.mul(a, b), params=(a.ndim - 2, a.ndim - 1))
        return s.broadcast_to(s.reshaped(summed, (*summed.type.shape, 1, 1)), c.type.shape)

    ct = s.swapped(c)
    slope = p.sub(
        p.add(p.mul(product(c, h), g), p.mul(product(g, c), h)), p.add(mm(g, ct, h), mm(h, ct, g)))
    divisor = s.broadcast_to(s.reshaped(whole, (*whole.type.shape, 1, 1)), c.type.shape)
    change = p.sub(cofactor_change(n.x, slope), p.mul(product(g, n.out), c))
    return p.conjugate(p.div(change, divisor))


# The derivative of the cofactors in a direction, the second of the determinant: ``(matrix, direction)``.
cofactor_change = _row(
    "cofactor_change", _change_infer, _change_reference, _change_vjp_matrix,
    lambda g, n: p.conjugate(cofactor_change(n.x, p.conjugate(g))),
)

# ------------------------------------------------------------------------------------------------------------------ QR


def _qr_sizes(mode: str, x: TensorType) -> tuple[int, int, int]:
    rows, columns = x.shape[-2:]
    return rows, columns, rows if mode == "complete" else min(rows, columns)


def _qr_infer(params: tuple, x: TensorType) -> TensorType:
    lead, rows, columns = _matrix(x)
    _, _, k = _qr_sizes(params[0], x)
    count = k * columns if params[0] == "r" else rows * k + k * columns
    return tensor_type((*lead, count), x.dtype, x.device)


def _qr_reference(params: tuple, x: np.ndarray) -> np.ndarray:
    *lead, rows, columns = x.shape
    if x.size == 0 and params[0] == "complete":
        whole = np.broadcast_to(np.eye(rows), (*lead, rows, rows))
        return _pack(lead, x.dtype, whole, np.zeros((*lead, rows, columns)))
    if params[0] == "r":
        return _pack(lead, x.dtype, np.linalg.qr(x, "r"))
    q, r = np.linalg.qr(x, params[0])
    return _pack(lead, x.dtype, q, r)


def qr_pieces(packed: Node, mode: str, x: TensorType) -> list[Node]:
    rows, columns, k = _qr_sizes(mode, x)
    return m.pieces(packed, (rows, k), (k, columns))


def _qr_vjp(g: Node, n: Saved) -> Node:
    (mode,) = n.params
    rows, columns, k = _qr_sizes(mode, n.type(0))
    if mode == "r":
        raise RuntimeError(
            "The derivative of linalg.qr depends on Q, which is not computed when mode='r'. Please use "
            "linalg.qr(A, mode='reduced') if you are going to differentiate through linalg.qr."
        )
    if k > columns:
        raise RuntimeError("The QR decomposition is not differentiable when mode='complete' and nrows > ncols.")
    q, r = qr_pieces(n.out, mode, n.type(0))
    gq, gr = qr_pieces(g, mode, n.type(0))
    if k == columns:
        return _qr_square_vjp(q, r, gq, gr)
    # of [a, b] = q [r, q^H b], a is square
    lead, zeros = q.type.shape[:-2], (0,) * (q.ndim - 2)
    (square, _), (g_square, g_rest) = (
        (s.sliced(x, (*zeros, 0, 0), (*lead, k, k)), s.sliced(x, (*zeros, 0, k), (*lead, k, columns - k)))
        for x in (r, gr)
    )
    rest = s.sliced(n.x, (*zeros, 0, k), (*lead, rows, columns - k))
    gq = p.add(gq, mm(rest, adjoint(g_rest)))
    return s.cat(_qr_square_vjp(q, square, gq, g_square), mm(q, g_rest), params=(q.ndim - 1,))


def _qr_square_vjp(q: Node, r: Node, gq: Node, gr: Node) -> Node:
    """M. Seeger et al., "Auto-differentiating linear algebra" (2017); with at least as many rows as columns."""
    inner = m.upper(p.sub(mm(gr, adjoint(r)), mm(adjoint(q), gq)))
    whole = p.add(inner, adjoint(inner))
    whole = p.where(m.on_diagonal(whole), m.half(whole), whole)
    slope = p.add(gq, mm(q, whole))
    return adjoint(triangular(r, adjoint(slope), params=(True, False)))


# ``q [rows, k]`` and ``r [k, columns]``: ``params = (mode,)``, "reduced", "complete", or "r" for ``r`` alone.
qr = _row("qr", _qr_infer, _qr_reference, _qr_vjp)


def _geqrf_infer(params: tuple, x: TensorType) -> TensorType:
    lead, rows, columns = _matrix(x)
    return tensor_type((*lead, rows * columns + min(rows, columns)), x.dtype, x.device)


def _geqrf_reference(params: tuple, x: np.ndarray) -> np.ndarray:
    from scipy.linalg import get_lapack_funcs

    *lead, rows, columns = x.shape
    found, factors = np.zeros_like(x), np.zeros((*lead, min(rows, columns)), x.dtype)
    if x.size:
        (geqrf,) = get_lapack_funcs(("geqrf",), (x,))
        for index in np.ndindex(*lead):
            found[index], factors[index] = geqrf(x[index])[:2]
    return _pack(lead, x.dtype, found, factors)


def _geqrf_vjp(g: Node, n: Saved) -> Node:
    raise p.Undefined("the derivative for 'geqrf' is not implemented.")


# The factors of a QR factorisation as Householder reflections, one matrix and their scales. As in PyTorch it has no
# gradient, and says so.
geqrf = _row("geqrf", _geqrf_infer, _geqrf_reference, _geqrf_vjp)

# ---------------------------------------------------------------------------------------------------------- eigenvalues


def _eigh_infer(params: tuple, x: TensorType) -> TensorType:
    lead, n, _ = _matrix(x, square=True)
    return tensor_type((*lead, n + n * n if params[1] else n), x.dtype, x.device)


_NO_EIGENVALUES = (
    "linalg.eigh: {batch}The algorithm failed to converge because the input matrix is ill-conditioned or has too many "
    "repeated eigenvalues (error code: {info})."
)


def _eigh_reference(params: tuple, x: np.ndarray) -> np.ndarray:
    triangle, vectors = params
    lead = x.shape[:-2]
    bad = ~np.isfinite(np.tril(x) if triangle == "L" else np.triu(x)).all((-2, -1))
    _check_first(_NO_EIGENVALUES, bad * (x.shape[-1] - 1 or 1))
    if not vectors:
        return np.linalg.eigvalsh(x, triangle).astype(x.dtype)
    return _pack(lead, x.dtype, *np.linalg.eigh(x, triangle))


def eigh_pieces(packed: Node, n: int) -> list[Node]:
    """Eigenvalues, real, and eigenvectors."""
    values, vectors = m.pieces(packed, (n,), (n, n))
    return [m.real_part(values), vectors]


def _eigh_vjp(g: Node, n: Saved) -> Node:
    size = n.type(0).shape[-1]
    values, vectors = eigh_pieces(n.out, size)
    g_values, g_vectors = m.pieces(g, (size,), (size, size))
    turned = mm(adjoint(vectors), g_vectors)
    gaps = m.of_dtype(_gaps(values), turned.type.dtype)
    inner = m.with_diagonal(m.over(turned, gaps), m.of_dtype(m.real_part(g_values), turned.type.dtype))
    slope = mm(vectors, inner, adjoint(vectors))
    return m.half(p.add(slope, adjoint(slope)))


def _gaps(values: Node) -> Node:
    """``values[j] - values[i]``, and 1 on the diagonal."""
    n = values.type.shape[-1]
    square = m.zeros((*values.type.shape, n), values.type.dtype, values.type.device)
    gaps = p.sub(m.columns(values, square), m.rows(values, square))
    return p.where(m.on_diagonal(gaps), p.full_like(gaps, 1), gaps)


# Eigenvalues, ascending, and eigenvectors of a Hermitian matrix: ``params = ("L" or "U": the triangle that is read,
# whether there are eigenvectors)``; without them there is no gradient.
eigh = _row("eigh", _eigh_infer, _eigh_reference, _eigh_vjp)


def _eig_infer(params: tuple, x: TensorType) -> TensorType:
    lead, n, _ = _matrix(x, square=True)
    dtype = x.dtype if x.dtype.kind == COMPLEX else complex_of(x.dtype)
    return tensor_type((*lead, n + n * n if params[0] else n), dtype, x.device)


def _eig_reference(params: tuple, x: np.ndarray) -> np.ndarray:
    dtype = np.result_type(x.dtype, np.complex64)
    if not np.isfinite(x).all():
        raise RuntimeError("torch.linalg.eig: input tensor should not contain infs or NaNs.")
    if not params[0]:
        return np.linalg.eigvals(x).astype(dtype)
    return _pack(x.shape[:-2], dtype, *np.linalg.eig(x))


def _eig_vjp(g: Node, n: Saved) -> Node:
    size, of_real = n.type(0).shape[-1], n.type(0).dtype.kind != COMPLEX
    values, vectors = m.pieces(n.out, (size,), (size, size))
    g_values, g_vectors = m.pieces(g, (size,), (size, size))
    # the length of eigenvectors is 1 whatever the matrix
    turned = mm(adjoint(vectors), g_vectors)
    lengths = m.of_dtype(p.real(m.diagonal(turned)), turned.type.dtype)
    turned = p.sub(turned, mm(adjoint(vectors), p.mul(vectors, m.columns(lengths, vectors))))
    inner = m.with_diagonal(m.over(turned, p.conj(_gaps(values))), g_values)
    slope = solve(adjoint(vectors), mm(inner, adjoint(vectors)), params=(None,))
    return p.real(slope) if of_real else slope


# Eigenvalues and eigenvectors, complex: ``params = (whether there are eigenvectors,)``.
eig = _row("eig", _eig_infer, _eig_reference, _eig_vjp)

# ------------------------------------------------------------------------------------------------------ singular values


def svd_shapes(full: bool, x: TensorType) -> list[tuple[int, ...]]:
    rows, columns = x.shape[-2:]
    k = min(rows, columns)
    return [(k,), (rows, rows if full else k), (columns if full else k, columns)]


def _svd_infer(params: tuple, x: TensorType) -> TensorType:
    lead, _, _ = _matrix(x)
    full, vectors = params
    shapes = svd_shapes(full, x)
    return tensor_type((*lead, sum(map(math.prod, shapes if vectors else shapes[:1]))), x.dtype, x.device)


_NO_SINGULAR_VALUES = (
    "linalg.svd: {batch}The algorithm failed to converge because the input matrix contained non-finite values."
)


def _svd_reference(params: tuple, x: np.ndarray) -> np.ndarray:
    full, vectors = params
    *lead, rows, columns = x.shape
    _check_finite(_NO_SINGULAR_VALUES, x)
    if not vectors:
        return np.linalg.svd(x, compute_uv=False).astype(x.dtype)
    u, sizes, vh = np.linalg.svd(x, full_matrices=full)
    return _pack(lead, x.dtype, sizes, u, vh)


def _svd_vjp(g: Node, n: Saved) -> Node:
    full, _ = n.params
    *lead, rows, columns = n.type(0).shape
    k, zeros = min(rows, columns), (0,) * (len(lead) + 2)
    values, u, vh = m.pieces(n.out, *svd_shapes(full, n.type(0)))
    g_values, gu, g_vh = m.pieces(g, *svd_shapes(full, n.type(0)))
    u, gu = (s.sliced(x, zeros, (*lead, rows, k)) for x in (u, gu))
    vh, g_vh = (s.sliced(x, zeros, (*lead, k, columns)) for x in (vh, g_vh))
    dtype, sizes = u.type.dtype, m.real_part(values)
    left, right = m.skew(mm(adjoint(u), gu)), m.skew(mm(vh, adjoint(g_vh)))
    across, down = (m.of_dtype(spread(sizes, left), dtype) for spread in (m.columns, m.rows))
    gaps = m.of_dtype(_gaps(p.mul(sizes, sizes)), dtype)
    inner = m.over(p.add(p.mul(left, across), p.mul(down, right)), gaps)
    on = m.of_dtype(m.real_part(g_values), dtype)
    if dtype.kind == COMPLEX:  # the phase of each pair of vectors
        single = m.of_dtype(sizes, dtype)
        on = p.add(on, m.over(m.half(m.diagonal(left)), single))
    slope = m.with_diagonal(inner, on)
    if rows > k:
        scaled = m.over(gu, m.of_dtype(m.columns(sizes, gu), dtype))
        outside = p.sub(scaled, mm(u, mm(adjoint(u), scaled)))
        return mm(p.add(mm(u, slope), outside), vh)
    if columns > k:
        scaled = m.over(g_vh, m.of_dtype(m.rows(sizes, g_vh), dtype))
        outside = p.sub(scaled, mm(mm(scaled, adjoint(vh)), vh))
        return mm(u, p.add(mm(slope, vh), outside))
    return mm(u, slope, vh)


# Singular values, descending, and with ``vectors`` the left and the (adjoint) right singular vectors:
# ``params = (full, vectors)``. No gradient without vectors; that of the vectors beside the first min(rows, columns) of
# a full matrix is not defined and left out.
svd = _row("svd", _svd_infer, _svd_reference, _svd_vjp)


def _pinv_infer(params: tuple, x: TensorType, least: TensorType, relative: TensorType) -> TensorType:
    lead, rows, columns = _matrix(x, square=params[0])
    if any(t.shape != lead or t.dtype is not x.dtype.part or t.device != x.device for t in (least, relative)):
        raise ValueError("one tolerance a matrix, real")
    return tensor_type((*lead, columns, rows), x.dtype, x.device)


def _pinv_reference(params: tuple, x: np.ndarray, least: np.ndarray, relative: np.ndarray) -> np.ndarray:
    if params[0]:
        _check_finite(_NO_EIGENVALUES, np.tril(x))
        values, u = np.linalg.eigh(x)
        vh = u.conj().swapaxes(-2, -1)
    else:
        _check_finite(_NO_SINGULAR_VALUES, x)
        u, values, vh = np.linalg.svd(x, full_matrices=False)
    sizes = np.abs(values)
    bound = np.maximum(least, relative * sizes.max(-1, initial=0))[..., None]
    inverse = np.where(sizes > bound, 1 / np.where(sizes > bound, values, 1), 0)
    return (vh.conj().swapaxes(-2, -1) @ (inverse[..., None] * u.conj().swapaxes(-2, -1))).astype(x.dtype)


def _pinv_vjp(g: Node, n: Saved) -> Node:
    # G. Golub and V. Pereyra, "The differentiation of pseudo-inverses" (1973), of constant rank
    a, inverse, gh = n.x, n.out, adjoint(g)
    back = adjoint(inverse)
    if a.type.shape[-2] <= a.type.shape[-1]:
        k = mm(gh, inverse)
        kb = mm(k, back)
        slope = p.sub(p.neg(adjoint(mm(inverse, k))), mm(mm(a, inverse), kb))
        return p.add(p.add(slope, kb), mm(mm(back, inverse), p.sub(gh, mm(k, a))))
    k = mm(inverse, gh)
    bk = mm(back, k)
    slope = p.sub(p.neg(adjoint(mm(k, inverse))), mm(mm(bk, inverse), a))
    return p.add(p.add(slope, bk), mm(mm(p.sub(gh, mm(a, k)), inverse), back))


# The pseudo-inverse. Singular values up to the larger of the two tolerances, an absolute one and one relative to the
# largest of them, count as zero: ``params = (whether the matrix is Hermitian,)``.
pinv = _row("pinv", _pinv_infer, _pinv_reference, _pinv_vjp, None, None)

# ---------------------------------------------------------------------------------------------------------- exponential


def _exp_reference(params: tuple, x: np.ndarray) -> np.ndarray:
    from scipy.linalg import expm

    found = np.full_like(x, math.nan)
    if x.size:
        for index in np.ndindex(*x.shape[:-2]):
            if np.isfinite(x[index]).all():
                found[index] = expm(x[index])
    return found


def _exp_vjp(g: Node, n: Saved) -> Node:
    # R. Mathias, "A chain rule for matrix functions" (1996): the derivative stands in the corner of the exponential
    # of a matrix of twice the size
    x = adjoint(n.x)
    *lead, size, _ = x.type.shape
    last = x.ndim - 1
    above = s.cat(x, g, params=(last,))
    below = s.cat(p.full_like(x, 0), x, params=(last,))
    whole = matrix_exp(s.cat(above, below, params=(last - 1,)))
    return s.sliced(whole, (*(0,) * len(lead), 0, size), (*lead, size, size))


# The exponential, by Padé approximation with scaling and squaring (Al-Mohy and Higham, 2009).
matrix_exp = _row("matrix_exp", _square, _exp_reference, _exp_vjp)
