"""Singular values and principal components of matrices of low rank, from a random basis.

In: matrices. Out: factors of few columns. Halko and others, "Finding structure with randomness" (2011), algorithm 5.1.
"""

from __future__ import annotations

from . import linalg
from .arguments import tensor_argument
from .random import randn
from .tensor import Tensor


def svd_lowrank(
    A: Tensor, q: int | None = 6, niter: int | None = 2, M: Tensor | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """``U``, ``S`` and ``V`` with ``U @ diag(S) @ V.mH`` close to a matrix of low rank, or to that less ``M``.

    Args:
        A: ``[*batch, m, n]``.
        q: how many singular values; a few more than the rank.
        niter: how often the basis is improved.
        M: what is subtracted, of the shape of ``A`` or one that broadcasts.

    Returns:
        ``[*batch, m, q]``, ``[*batch, q]`` and ``[*batch, n, q]``; which basis is drawn from the default generator
        decides about the last digits. As ``torch.svd_lowrank``.

    Raises:
        RuntimeError: integers, or fewer than two axes.

    Example:
        >>> import flamework as torch
        >>> U, S, V = torch.svd_lowrank(torch.ones(3, 4), q=1)
        >>> round(S.item(), 4)
        3.4641
    """
    linalg.matrix_argument(A, "svd_lowrank", kernel="geqrf_cpu")
    if M is not None:
        A = A - M
    is_wide = A.shape[-2] < A.shape[-1]
    tall = A.mH if is_wide else A
    basis = _basis(tall, 6 if q is None else q, 2 if niter is None else niter)
    u, s, vh = linalg.svd(basis.mH @ tall, full_matrices=False)
    u, v = basis @ u, vh.mH
    return (v, s, u) if is_wide else (u, s, v)


def _basis(A: Tensor, q: int, niter: int) -> Tensor:
    """Orthonormal columns that nearly span those of ``A``."""
    basis = linalg.qr(A @ randn(A.shape[-1], q, dtype=A.dtype, device=A.device)).Q
    for _ in range(niter):
        basis = linalg.qr(A.mH @ basis).Q
        basis = linalg.qr(A @ basis).Q
    return basis


def pca_lowrank(
    A: Tensor, q: int | None = None, center: bool = True, niter: int = 2
) -> tuple[Tensor, Tensor, Tensor]:
    """The singular value decomposition of the rows of a matrix less their mean: their principal components.

    Args:
        A: ``[*batch, m, n]``, ``m`` samples of ``n`` features, floating point.
        q: how many components, by default 6 or as many as there are.
        center: whether the mean is subtracted.
        niter: how often the basis is improved.

    Returns:
        ``U``, ``S`` and ``V`` of :func:`svd_lowrank`: the columns of ``V`` are the principal directions, and
        ``A @ V[:, :k]`` are the samples in the first ``k``. As ``torch.pca_lowrank``.

    Raises:
        ValueError: ``q`` is not between 0 and the smaller size, or ``niter`` is negative.
        RuntimeError: integers.

    Example:
        >>> import flamework as torch
        >>> U, S, V = torch.pca_lowrank(torch.tensor([[0.0, 1.0], [2.0, 1.0]]), q=1)
        >>> V.abs().round(decimals=4).tolist()
        [[1.0], [0.0]]
    """
    tensor_argument(A, "pca_lowrank", "A", 1)
    if A.dim() < 2:
        raise ValueError(f"pca_lowrank expects a matrix or a batch of them, not {A.dim()} axes")
    m, n = A.shape[-2:]
    q = min(6, m, n) if q is None else q
    if not 0 <= q <= min(m, n):
        raise ValueError(f"q(={q}) must be non-negative integer and not greater than min(m, n)={min(m, n)}")
    if niter < 0:
        raise ValueError(f"niter(={niter}) must be non-negative integer")
    return svd_lowrank(A - A.mean(-2, keepdim=True) if center else A, q, niter)


__all__ = ["pca_lowrank", "svd_lowrank"]
