"""Names that PyTorch had before it gave them to other functions or took them away, and that still work here.

Each is a few lines over the function that took its place; the documentation of PyTorch 1.1 says what it takes and
gives. A name that today's PyTorch keeps only to raise an error is in ``removed.py``.

In: tensors. Out: names of ``torch`` and methods of ``Tensor``; and the module ``flamework.fft`` can be called.
"""

from __future__ import annotations

import sys
import types
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from . import complex_numbers, fft as transforms, linalg
from .arguments import tensor_argument, values_of
from .joining import cat, tril, triu
from .mutation import write_out
from .recording import from_array, node_of
from .tensor import Tensor

_Out = tuple[Tensor, ...] | None


def _returned(results: tuple[Tensor, ...], out: _Out) -> tuple[Tensor, ...]:
    if out is None:
        return results
    return tuple(write_out(tensor, node_of(result)) for tensor, result in zip(out, results, strict=True))


# ------------------------------------------------------------------------------------------------------ linear algebra


def gesv(b: Tensor, A: Tensor, *, out: _Out = None) -> tuple[Tensor, Tensor]:
    """The solution of ``A @ X = b`` and the LU factorisation of ``A`` in one matrix. As ``torch.gesv``.

    Args:
        b: ``[*batch, n, k]``.
        A: ``[*batch, n, n]``.

    Example:
        >>> import flamework as torch
        >>> torch.gesv(torch.ones(2, 1), torch.tensor([[2.0, 0.0], [0.0, 4.0]]))[0].tolist()
        [[0.5], [0.25]]
    """
    return _returned((linalg.solve(A, b), linalg.lu_factor(A).LU), out)


def gels(B: Tensor, A: Tensor, *, out: _Out = None) -> tuple[Tensor, Tensor]:
    """The least squares solution of ``A @ X = B``, or that of the least norm, by a QR factorisation.

    Args:
        B: ``[m, k]``.
        A: ``[m, n]`` of full rank.

    Returns:
        ``X``, ``[max(m, n), k]``: the solution in the first ``n`` rows, below it numbers whose squares sum to the
        residual's, which have no gradient; and the factorisation as LAPACK leaves it. As ``torch.gels``.

    Example:
        >>> import flamework as torch
        >>> X, qr = torch.gels(torch.tensor([[1.0], [3.0]]), torch.ones(2, 1))
        >>> [[round(abs(v), 4) for v in row] for row in X.tolist()]
        [[2.0], [1.4142]]
    """
    tensor_argument(B, "gels", "B", 1)
    m, n = A.shape[-2:]
    if m < n:
        q, r = linalg.qr(A.mT)
        solution = q @ linalg.solve_triangular(r.mT, B, upper=False)
        return _returned((solution, linalg.geqrf(A.mT)[0].mT), out)
    q, r = linalg.qr(A)
    solution = linalg.solve_triangular(r, q.mT @ B, upper=True)
    packed, tau = linalg.geqrf(A.detach())
    rest = linalg.ormqr(packed, tau, B.detach(), transpose=True)[..., n:, :]
    return _returned((cat((solution, rest), -2), packed), out)


def potrf(a: Tensor, upper: bool = True, *, out: Tensor | None = None) -> Tensor:
    """The Cholesky factor of a positive definite matrix, upper unless told. As ``torch.potrf``.

    Example:
        >>> import flamework as torch
        >>> torch.potrf(torch.tensor([[4.0, 2.0], [2.0, 5.0]])).tolist()
        [[2.0, 1.0], [0.0, 2.0]]
    """
    return linalg.TORCH["cholesky"](a, upper, out=out)


def potri(u: Tensor, upper: bool = True, *, out: Tensor | None = None) -> Tensor:
    """The inverse of the matrix whose Cholesky factor is ``u``. As ``torch.potri``.

    Example:
        >>> import flamework as torch
        >>> torch.potri(torch.tensor([[2.0, 0.0], [0.0, 1.0]])).tolist()
        [[0.25, 0.0], [0.0, 1.0]]
    """
    return linalg.cholesky_inverse(u, upper, out=out)


def potrs(b: Tensor, u: Tensor, upper: bool = True, *, out: Tensor | None = None) -> Tensor:
    """The solution for ``b`` of the matrix whose Cholesky factor is ``u``. As ``torch.potrs``.

    Example:
        >>> import flamework as torch
        >>> torch.potrs(torch.ones(2, 1), torch.tensor([[2.0, 0.0], [0.0, 1.0]])).tolist()
        [[0.25], [1.0]]
    """
    return linalg.cholesky_solve(b, u, upper, out=out)


class PivotedCholesky(NamedTuple):
    """What :func:`pstrf` returns."""

    u: Tensor
    pivot: Tensor


def pstrf(a: Tensor, upper: bool = True, *, out: _Out = None) -> PivotedCholesky:
    """The Cholesky factor of a positive definite matrix after a permutation, the largest pivot first; computes.

    Args:
        a: ``[n, n]``, of which one triangle is read: the upper one, or without ``upper`` the lower one.

    Returns:
        ``u``, and int32 ``pivot``: ``a[pivot][:, pivot]`` is ``u.T @ u``, or without ``upper`` ``u @ u.T``. As
        ``torch.pstrf``.

    Raises:
        RuntimeError: the matrix is not positive definite, when the value is computed; or it is no square.

    Example:
        >>> import flamework as torch
        >>> u, pivot = torch.pstrf(torch.tensor([[1.0, 0.0], [0.0, 4.0]]))
        >>> u.tolist(), pivot.tolist()
        ([[2.0, 0.0], [0.0, 1.0]], [1, 0])
    """
    from scipy.linalg import lapack

    node = linalg.matrix_argument(a, "pstrf", "a", kernel="pstrf", square=True)
    if node.ndim != 2:
        raise RuntimeError(f"pstrf: expected a matrix, got {list(a.shape)}")
    half = triu(a) if upper else tril(a)
    whole = half + (triu(a, 1) if upper else tril(a, -1)).mH
    routine = lapack.get_lapack_funcs("pstrf", dtype=node.type.dtype.numpy)
    order = np.zeros(0, np.int32)
    if a.shape[0]:
        order = routine(values_of(node_of(whole.detach())), lower=not upper)[1].astype(np.int32) - 1
    pivot = from_array(order, node.type.device)
    place = pivot.long()
    u = linalg.cholesky(whole.index_select(0, place).index_select(1, place), upper=upper)
    return PivotedCholesky(*_returned((u, pivot), out))


def trtrs(
    b: Tensor, A: Tensor, upper: bool = True, transpose: bool = False, unitriangular: bool = False
) -> tuple[Tensor, Tensor]:
    """The solution of ``A @ X = b`` with a triangular ``A``, and a copy of ``A``. As ``torch.trtrs``.

    Example:
        >>> import flamework as torch
        >>> torch.trtrs(torch.ones(2, 1), torch.tensor([[2.0, 0.0], [9.0, 4.0]]))[0].tolist()
        [[0.5], [0.25]]
    """
    return linalg.triangular_solve(b, A, upper, transpose, unitriangular)


def btrifact(A: Tensor, pivot: bool = True) -> tuple[Tensor, Tensor]:
    """The LU factorisation of matrices and its pivots, from 1. As ``torch.btrifact``.

    Example:
        >>> import flamework as torch
        >>> torch.btrifact(torch.tensor([[[2.0, 4.0], [1.0, 6.0]]]))[0].tolist()
        [[[2.0, 4.0], [0.5, 4.0]]]
    """
    return linalg.TORCH["lu"](A, pivot)


def btrifact_with_info(A: Tensor, pivot: bool = True) -> tuple[Tensor, Tensor, Tensor]:
    """:func:`btrifact`, and for each matrix 0, or the number of the first zero on the diagonal.

    As ``torch.btrifact_with_info``.

    Example:
        >>> import flamework as torch
        >>> torch.btrifact_with_info(torch.eye(2).expand(3, 2, 2))[2].tolist()
        [0, 0, 0]
    """
    return linalg.TORCH["lu"](A, pivot, get_infos=True)


def btrisolve(b: Tensor, LU_data: Tensor, LU_pivots: Tensor) -> Tensor:
    """The solution of ``A @ x = b`` for the factorisation of :func:`btrifact`. As ``torch.btrisolve``.

    Args:
        b: ``[*batch, n, k]``, or a vector for each matrix: ``[*batch, n]``.

    Example:
        >>> import flamework as torch
        >>> torch.btrisolve(torch.ones(1, 2), *torch.btrifact(torch.tensor([[[2.0, 0.0], [0.0, 4.0]]]))).tolist()
        [[0.5, 0.25]]
    """
    if b.dim() == LU_data.dim() - 1:
        return linalg.TORCH["lu_solve"](b.unsqueeze(-1), LU_data, LU_pivots).squeeze(-1)
    return linalg.TORCH["lu_solve"](b, LU_data, LU_pivots)


def btriunpack(
    LU_data: Tensor, LU_pivots: Tensor, unpack_data: bool = True, unpack_pivots: bool = True
) -> tuple[Tensor, Tensor, Tensor]:
    """The permutation matrix and both factors of :func:`btrifact`. As ``torch.btriunpack``.

    Example:
        >>> import flamework as torch
        >>> P, L, U = torch.btriunpack(*torch.btrifact(torch.tensor([[[2.0, 4.0], [1.0, 6.0]]])))
        >>> (P @ L @ U).tolist()
        [[[2.0, 4.0], [1.0, 6.0]]]
    """
    return linalg.lu_unpack(LU_data, LU_pivots, unpack_data, unpack_pivots)


# -------------------------------------------------------------------------------- Fourier transforms of pairs of reals


def _signal(input: Tensor, signal_ndim: int, function: str, paired: bool) -> tuple[Tensor, tuple[int, ...]]:
    """The signal, complex where its last axis holds pairs, and the axes to transform."""
    tensor_argument(input, function, "input", 1)
    if signal_ndim not in (1, 2, 3):
        raise RuntimeError(f"{function}: signal_ndim can only be 1, 2 or 3, got {signal_ndim}")
    if input.dim() < signal_ndim + paired:
        raise RuntimeError(f"{function}: expected at least {signal_ndim + paired} axes, got {input.dim()}")
    if paired:
        if input.shape[-1] != 2:
            raise RuntimeError(f"{function}: expected a last axis of size 2, real and imaginary parts")
        input = complex_numbers.view_as_complex(input.contiguous())
    return input, tuple(range(-signal_ndim, 0))


def _norm(normalized: bool) -> str:
    return "ortho" if normalized else "backward"


def fft(input: Tensor, signal_ndim: int, normalized: bool = False) -> Tensor:
    """The Fourier transform of the last axes of complex numbers ``[*, 2]``. As ``torch.fft(...)`` of PyTorch 1.1.

    Args:
        signal_ndim: how many axes: 1, 2 or 3.
        normalized: divide by the square root of the number of elements.

    Example:
        >>> import flamework as torch
        >>> torch.fft(torch.tensor([[1.0, 0.0], [2.0, 0.0]]), 1).tolist()
        [[3.0, 0.0], [-1.0, 0.0]]
    """
    signal, axes = _signal(input, signal_ndim, "fft", True)
    return complex_numbers.view_as_real(transforms.fftn(signal, dim=axes, norm=_norm(normalized)))


def ifft(input: Tensor, signal_ndim: int, normalized: bool = False) -> Tensor:
    """The inverse of :func:`fft`. As ``torch.ifft`` of PyTorch 1.1.

    Example:
        >>> import flamework as torch
        >>> torch.ifft(torch.tensor([[3.0, 0.0], [-1.0, 0.0]]), 1).tolist()
        [[1.0, 0.0], [2.0, 0.0]]
    """
    signal, axes = _signal(input, signal_ndim, "ifft", True)
    return complex_numbers.view_as_real(transforms.ifftn(signal, dim=axes, norm=_norm(normalized)))


def rfft(input: Tensor, signal_ndim: int, normalized: bool = False, onesided: bool = True) -> Tensor:
    """The Fourier transform of the last axes of real numbers, as pairs ``[*, 2]``. As ``torch.rfft`` of PyTorch 1.1.

    Args:
        onesided: leave out what is the conjugate of another number.

    Example:
        >>> import flamework as torch
        >>> torch.rfft(torch.tensor([1.0, 2.0]), 1).tolist()
        [[3.0, 0.0], [-1.0, 0.0]]
    """
    signal, axes = _signal(input, signal_ndim, "rfft", False)
    transform = transforms.rfftn if onesided else transforms.fftn
    return complex_numbers.view_as_real(transform(signal, dim=axes, norm=_norm(normalized)))


def irfft(
    input: Tensor, signal_ndim: int, normalized: bool = False, onesided: bool = True,
    signal_sizes: Sequence[int] | None = None,
) -> Tensor:
    """The inverse of :func:`rfft`. As ``torch.irfft`` of PyTorch 1.1.

    Args:
        onesided: whether the input is.
        signal_sizes: sizes of the signal; the last one cannot be told from one half.

    Raises:
        RuntimeError: sizes that do not fit.

    Example:
        >>> import flamework as torch
        >>> torch.irfft(torch.rfft(torch.tensor([1.0, 2.0, 4.0]), 1), 1, signal_sizes=(3,)).round().tolist()
        [1.0, 2.0, 4.0]
    """
    signal, axes = _signal(input, signal_ndim, "irfft", True)
    given = tuple(signal.shape[axis] for axis in axes)
    sizes = (*given[:-1], 2 * (given[-1] - 1) if onesided else given[-1])
    if signal_sizes is not None:
        sizes = tuple(signal_sizes)
        if (*sizes[:-1], sizes[-1] // 2 + 1 if onesided else sizes[-1]) != given:
            raise RuntimeError(f"irfft: a signal of {list(sizes)} has no transform of {list(given)}")
    if onesided:
        return transforms.irfftn(signal, s=sizes, dim=axes, norm=_norm(normalized))
    return transforms.ifftn(signal, dim=axes, norm=_norm(normalized)).real


def pin_memory(self: Tensor) -> Tensor:
    """A copy in memory that is locked for a GPU, of any shape and dtype: :meth:`Tensor.pin_memory`.

    Raises:
        RuntimeError: there is no GPU, or the tensor is on one.
    """
    return self.pin_memory()


class _CallableModule(types.ModuleType):
    """``torch.fft`` was a function before it was a module."""

    def __call__(self, *args: Any, **options: Any) -> Tensor:
        return fft(*args, **options)


sys.modules[transforms.__name__].__class__ = _CallableModule

_METHODS: tuple[Callable[..., Any], ...] = (
    gesv, gels, potrf, potri, potrs, pstrf, trtrs, btrifact, btrifact_with_info, btrisolve, ifft, rfft, irfft,
)
for _function in (*_METHODS, fft):
    setattr(Tensor, _function.__name__, _function)

TORCH = {function.__name__: function for function in (*_METHODS, btriunpack, pin_memory)}
