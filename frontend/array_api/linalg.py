"""The array API standard's extension for linear algebra, and the products that the standard itself has.

In: arrays of matrices in their last two axes. Out: the same. Read next: ``fft.py``.
"""

from __future__ import annotations

from typing import Any

from .. import linalg, products
from ..compiler.dtypes import DType
from ..tensor import Tensor
from . import reductions
from .arrays import broadcast_arrays, broadcast_shapes, together

__all__ = [
    "cholesky", "cross", "det", "diagonal", "eigh", "eigvalsh", "inv", "matmul", "matrix_norm", "matrix_power",
    "matrix_rank", "matrix_transpose", "outer", "pinv", "qr", "slogdet", "solve", "svd", "svdvals", "tensordot",
    "trace", "vecdot", "vector_norm",
]


def matmul(x1: Tensor, x2: Tensor, /) -> Tensor:
    """The product of matrices, or of vectors."""
    return products.matmul(*together(x1, x2))


def matrix_transpose(x: Tensor, /) -> Tensor:
    """An array with its last two axes exchanged.

    Raises:
        ValueError: it has fewer.
    """
    if x.ndim < 2:
        raise ValueError(f"matrix_transpose(): an array must have at least two axes, but got {x.ndim}")
    return x.transpose(-2, -1)


def tensordot(x1: Tensor, x2: Tensor, /, *, axes: int | tuple = 2) -> Tensor:
    """The sums of products over axes: so many last and first ones, or those listed."""
    return products.tensordot(*together(x1, x2), axes)


def vecdot(x1: Tensor, x2: Tensor, /, *, axis: int = -1) -> Tensor:
    """The inner products along an axis; of ``x1`` the conjugate is taken."""
    return linalg.vecdot(*together(x1, x2), dim=axis)


def cholesky(x: Tensor, /, *, upper: bool = False) -> Tensor:
    """The Cholesky factor of positive definite matrices, lower or upper."""
    return linalg.cholesky(x, upper=upper)


def cross(x1: Tensor, x2: Tensor, /, *, axis: int = -1) -> Tensor:
    """The cross products of vectors of three elements along an axis."""
    return linalg.cross(*broadcast_arrays(*together(x1, x2)), dim=axis)


def det(x: Tensor, /) -> Tensor:
    """The determinants."""
    return linalg.det(x)


def diagonal(x: Tensor, /, *, offset: int = 0) -> Tensor:
    """The elements of a diagonal."""
    return linalg.diagonal(x, offset=offset)


def eigh(x: Tensor, /) -> Any:
    """The eigenvalues and eigenvectors of Hermitian matrices."""
    return linalg.eigh(x)


def eigvalsh(x: Tensor, /) -> Tensor:
    """The eigenvalues of Hermitian matrices."""
    return linalg.eigvalsh(x)


def inv(x: Tensor, /) -> Tensor:
    """The inverse matrices."""
    return linalg.inv(x)


def matrix_norm(x: Tensor, /, *, keepdims: bool = False, ord: float | str | None = "fro") -> Tensor:
    """The norms of matrices."""
    return linalg.matrix_norm(x, "fro" if ord is None else ord, keepdim=keepdims)


def matrix_power(x: Tensor, n: int, /) -> Tensor:
    """The matrices multiplied with themselves."""
    return linalg.matrix_power(x, n)


def matrix_rank(x: Tensor, /, *, rtol: float | Tensor | None = None) -> Tensor:
    """How many singular values are above ``rtol`` times the largest."""
    return linalg.matrix_rank(x, rtol=rtol)


def outer(x1: Tensor, x2: Tensor, /) -> Tensor:
    """The products of every two elements of vectors."""
    return products.outer(*together(x1, x2))


def pinv(x: Tensor, /, *, rtol: float | Tensor | None = None) -> Tensor:
    """The pseudo-inverse matrices; singular values up to ``rtol`` times the largest are taken for 0."""
    return linalg.pinv(x, rtol=rtol)


def qr(x: Tensor, /, *, mode: str = "reduced") -> Any:
    """The factors ``Q`` and ``R``; square ones for ``mode="complete"``."""
    return linalg.qr(x, mode)


def slogdet(x: Tensor, /) -> Any:
    """The sign and the logarithm of the absolute value of the determinants."""
    return linalg.slogdet(x)


def solve(x1: Tensor, x2: Tensor, /) -> Tensor:
    """The solutions of ``x1 @ x = x2``; ``x2`` is one vector if it has one axis, and else matrices."""
    x1, x2 = together(x1, x2)
    if x2.ndim == 1:
        return linalg.solve(x1, x2[:, None])[..., 0]
    # PyTorch takes a stack of vectors for what fits one; a stack of matrices has as many axes as those on the left
    stack = broadcast_shapes(tuple(x1.shape[:-2]), tuple(x2.shape[:-2]))
    return linalg.solve(x1.expand(*stack, *x1.shape[-2:]), x2.expand(*stack, *x2.shape[-2:]))


def svd(x: Tensor, /, *, full_matrices: bool = True) -> Any:
    """The singular value decomposition, as ``U``, ``S`` and ``Vh``."""
    return linalg.svd(x, full_matrices)


def svdvals(x: Tensor, /) -> Tensor:
    """The singular values."""
    return linalg.svdvals(x)


def trace(x: Tensor, /, *, offset: int = 0, dtype: DType | None = None) -> Tensor:
    """The sums of diagonals."""
    return reductions.sum(diagonal(x, offset=offset), axis=-1, dtype=dtype)


def vector_norm(
    x: Tensor, /, *, axis: int | tuple[int, ...] | None = None, keepdims: bool = False, ord: float = 2
) -> Tensor:
    """The norm over axes, of all elements as one vector by default."""
    if axis == ():  # of each element, a vector by itself
        found = x.abs()
        return (found != 0).to(found.dtype) if ord == 0 else found
    return linalg.vector_norm(x, ord, axis, keepdims)
