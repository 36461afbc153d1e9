"""Matrix products with sparse matrices.

A sparse matrix times a dense one gathers a row of the dense one for each value and adds the products up by rows; of two
sparse ones the pattern is found first, and then the values.

In: matrices, one of which is sparse. Out: dense or sparse matrices. Read next: ``dense.py``.
"""

from __future__ import annotations

import numpy as np

from ..compiler import dtypes
from ..compiler.dtypes import FLOATING
from ..compiler.primitives import Undefined
from ..joining import cat
from ..products import addmm as dense_addmm, mm as dense_mm
from ..tensor import SparseOperand, Tensor
from .arithmetic import _check_devices, _operator
from .methods import dense_dim, sparse_dim, t
from .tensor import DenseOperand, SparseTensor, coalesce, coordinates, groups, made, rows_of, summed, supported


def _check_dense(tensor: SparseTensor, other: Tensor, name: str, size: int) -> None:
    if tensor.ndim != 2 or sparse_dim(tensor) != 2:
        raise RuntimeError(
            f"{name}: expected a sparse matrix, but got {sparse_dim(tensor)} sparse and "
            f"{tensor.ndim - sparse_dim(tensor)} dense axes"
        )
    _check_devices(tensor, other)
    if other.ndim != 2:
        raise IndexError(f"Dimension out of range (expected to be in range of [-{other.ndim or 1}, "
                         f"{(other.ndim or 1) - 1}], but got 1)" if other.ndim < 2 else f"{name}: expected a matrix")
    if other.shape[0] != size:
        raise RuntimeError(f"{name}: Argument #3 (dense): Expected dim 0 size {size}, got {other.shape[0]}")
    if tensor.dtype is not other.dtype:
        raise RuntimeError(
            f"expected scalar type {tensor.dtype.scalar_name} but found {other.dtype.scalar_name}"
        )
    if tensor.dtype is dtypes.bool_:
        raise Undefined("\"addmm_sparse_dense\" not implemented for 'Bool'")


def _times_dense(tensor: SparseTensor, other: Tensor, name: str = "addmm") -> Tensor:
    """``tensor @ other``, a dense matrix."""
    _check_dense(tensor, other, name, tensor.shape[1])
    row, column = coordinates(tensor)
    return summed(tensor._value.unsqueeze(1) * rows_of(other, column), row, tensor.shape[0])


def _times_sparse(a: SparseTensor, b: SparseTensor, step: str) -> SparseTensor:
    """``a @ b``, a sparse matrix."""
    for matrix in (a, b):
        if matrix.ndim != 2 or sparse_dim(matrix) != 2:
            raise RuntimeError("sparse matmul: expected sparse matrices without dense axes")
    (m, k), (other, n) = a.shape, b.shape
    if k != other:
        raise RuntimeError(f"mat1 and mat2 shapes cannot be multiplied ({m}x{k} and {other}x{n})")
    if a.dtype is not b.dtype:
        raise RuntimeError(f"mat1 dtype {a.dtype.scalar_name} does not match mat2 dtype {b.dtype.scalar_name}")
    if a.dtype.kind < FLOATING:
        raise Undefined(f"\"sparse_matmul\" not implemented for '{a.dtype.scalar_name}'")
    _check_devices(a, b)
    a, b = coalesce(a), coalesce(b)
    (row, inner), (begins, column) = coordinates(a), coordinates(b)
    # for each value of `a` the run of values of `b` in the row that it meets
    begin, end = np.searchsorted(begins, inner, "left"), np.searchsorted(begins, inner, "right")
    counts = end - begin
    left = np.repeat(np.arange(len(row)), counts)
    right = np.arange(len(left)) - np.repeat(np.cumsum(counts) - counts, counts) + np.repeat(begin, counts)
    where, place = groups(np.stack([row[left], column[right]]))
    value = summed(rows_of(a._value, left) * rows_of(b._value, right), place, where.shape[1])
    return made(where.copy(), value, (m, n), True, step)


@supported("mm", "spmm", "dsmm", mixed=True)
def mm(self: Tensor, mat2: Tensor) -> Tensor:
    """The product of two matrices; sparse if both are. As ``torch.mm``.

    Raises:
        RuntimeError: sizes or dtypes that do not fit.
    """
    return _product(self, mat2, "Mm")


def _product(a: Tensor, b: Tensor, step: str) -> Tensor:
    if not isinstance(a, Tensor) or not isinstance(b, Tensor):
        raise TypeError("mm(): arguments must be Tensors")
    if isinstance(a, SparseTensor):
        return _times_sparse(a, b, step) if isinstance(b, SparseTensor) else _times_dense(a, b)
    if not isinstance(b, SparseTensor):
        return dense_mm(a, b)
    if a.ndim != 2:
        raise RuntimeError("self must be a matrix")
    if a.shape[1] != b.shape[0]:
        raise RuntimeError(f"addmm: Argument #3 (dense): Expected dim 0 size {b.shape[0]}, got {a.shape[1]}")
    return _times_dense(t(b), a.t()).t()


@supported(mixed=True)
def mv(self: Tensor, vec: Tensor) -> Tensor:
    """A sparse matrix times a dense vector; as ``torch.mv``.

    Raises:
        RuntimeError: other ranks, or sizes that do not fit.
    """
    if not isinstance(self, SparseTensor) or isinstance(vec, SparseTensor):
        if self.ndim == 2 and vec.ndim == 2:
            raise RuntimeError(f"mv: two tensor dim should be 2 and 1, but got {self.ndim} and {vec.ndim}")
        raise SparseOperand("mv")
    if self.ndim != 2 or vec.ndim != 1:
        raise RuntimeError(
            f"mv: two tensor dim should be 2 and 1, but got SparseTensor Dim: {self.ndim}Tensor Dim: {vec.ndim}"
        )
    if self.shape[1] != vec.shape[0]:
        raise RuntimeError("mv: expected self.size(-1) == vec.size(-1)")
    return _times_dense(self, vec.unsqueeze(1)).squeeze(1)


@supported(mixed=True)
def matmul(self: Tensor, other: Tensor) -> Tensor:
    """The product of two matrices, or of a matrix and a vector, one of which is sparse. As ``torch.matmul``.

    Raises:
        NotImplementedError: batches of sparse matrices, or two vectors.
    """
    ranks = self.ndim, other.ndim
    if ranks == (2, 2):
        return mm(self, other)
    if ranks == (2, 1) and isinstance(self, SparseTensor):
        return mv(self, other)
    if ranks == (1, 2) and isinstance(other, SparseTensor):
        return mv(t(other), self)
    raise SparseOperand("matmul")


@supported()
def bmm(self: SparseTensor, mat2: Tensor) -> Tensor:
    """A batch of sparse matrices, ``[b, m, k]``, times one of dense ones, ``[b, k, n]``. As ``torch.bmm``.

    Raises:
        RuntimeError: ``mat2`` is sparse, other ranks, sizes that do not fit, or other dtypes.
        NotImplementedError: bools, as in PyTorch.
    """
    if isinstance(mat2, SparseTensor):
        raise RuntimeError("bmm_sparse: Tensor 'mat2' must be dense")
    for name, tensor in (("self", self), ("mat2", mat2)):
        if tensor.ndim != 3:
            raise RuntimeError(f"bmm_sparse: Tensor '{name}' must have 3 dims, but has {tensor.ndim} dims")
    if dense_dim(self):
        raise RuntimeError(f"bmm_sparse: Tensor 'self' must have 0 dense dims, but has {dense_dim(self)}")
    for a, b in ((0, 0), (2, 1)):
        if self.shape[a] != mat2.shape[b]:
            raise RuntimeError(f"bmm_sparse: 'self.size({a})' and 'mat2.size({b})' must match")
    (count, m, k), n = self.shape, mat2.shape[2]
    # one matrix with the batch's on its diagonal
    batch, row, column = coordinates(self)
    blocks = made(np.stack([batch * m + row, batch * k + column]), self._value, (count * m, count * k))
    return _times_dense(blocks, mat2.reshape(count * k, n), "bmm").reshape(count, m, n)


SparseTensor.__matmul__ = _operator(matmul)
SparseTensor.__rmatmul__ = _operator(matmul, reverse=True)


@supported(mixed=True)
def addmm(self: Tensor, mat1: Tensor, mat2: Tensor, *, beta: float = 1, alpha: float = 1) -> Tensor:
    """``beta * self + alpha * (mat1 @ mat2)`` of a sparse ``mat1`` and dense others. As ``torch.addmm``.

    Raises:
        RuntimeError: another one is sparse, or sizes and dtypes do not fit.
    """
    if isinstance(self, SparseTensor):
        raise RuntimeError("addmm_sparse_dense: expected strided result tensor, got tensor with layout Sparse")
    if not isinstance(mat1, SparseTensor) or isinstance(mat2, SparseTensor):
        names = ["Sparse" if isinstance(m, SparseTensor) else "Strided" for m in (mat1, mat2)]
        raise RuntimeError(
            "addmm_sparse_dense: expected either 'mat1' to have sparse layout and 'mat2' to have strided layout, got "
            f"'mat1' with layout {names[0]} and 'mat2' with layout {names[1]}"
        )
    product = _times_dense(mat1, mat2)
    return _added(self, product if alpha == 1 else product * alpha, beta)


def _added(term: Tensor, product: Tensor, beta: float) -> Tensor:
    if term.dtype is not product.dtype:
        raise RuntimeError(f"expected scalar type {product.dtype.scalar_name} but found {term.dtype.scalar_name}")
    term = term.expand(product.shape)
    # what is multiplied by zero is not looked at
    return product if beta == 0 else product + (term if beta == 1 else term * beta)


def _check_sparse_first(mat1: Tensor, mat2: Tensor, name: str) -> None:
    if not isinstance(mat1, SparseTensor):
        raise RuntimeError(f"{name}(...) can only be called on sparse tensors")
    if isinstance(mat2, SparseTensor):
        raise RuntimeError(f"{name}: expected 'mat2' to have strided layout, got 'mat2' with layout Sparse")
    _check_dense(mat1, mat2, name, mat1.shape[1])


def _by_rows(mat1: SparseTensor, mat2: Tensor) -> tuple[np.ndarray, Tensor]:
    """The rows that ``mat1`` has elements in, and these rows of ``mat1 @ mat2``."""
    row, column = coordinates(mat1)
    where, place = groups(row[None])
    return where[0], summed(mat1._value.unsqueeze(1) * rows_of(mat2, column), place, where.shape[1])


@supported(mixed=True)
def hspmm(mat1: Tensor, mat2: Tensor) -> SparseTensor:
    """A sparse matrix times a dense one, as a tensor of one sparse and one dense axis. As ``torch.hspmm``.

    Example:
        >>> import flamework as torch
        >>> x = torch.sparse_coo_tensor([[1], [0]], [2.0], (3, 2))
        >>> torch.hspmm(x, torch.ones(2, 2))
        tensor(indices=tensor([[1]]),
               values=tensor([[2., 2.]]),
               size=(3, 2), nnz=1, layout=torch.sparse_coo)
    """
    if not isinstance(mat1, SparseTensor):
        raise DenseOperand("hspmm")
    _check_sparse_first(mat1, mat2, "hspmm")
    rows, value = _by_rows(mat1, mat2)
    return made(rows[None].copy(), value, (mat1.shape[0], mat2.shape[1]), False, "Hspmm")


def _full_rows(mat1: SparseTensor, mat2: Tensor) -> tuple[np.ndarray, Tensor]:
    rows, value = _by_rows(mat1, mat2)
    n = mat2.shape[1]
    return np.stack([np.repeat(rows, n), np.tile(np.arange(n), len(rows))]), value.reshape(-1)


@supported("smm", mixed=True)
def smm(input: Tensor, mat: Tensor) -> SparseTensor:
    """A sparse matrix times a dense one, as a sparse matrix that has all of a row or nothing. As ``torch.smm``.

    Example:
        >>> import flamework as torch
        >>> torch.smm(torch.sparse_coo_tensor([[1], [0]], [2.0], (2, 2)), torch.ones(2, 2)).to_dense()
        tensor([[0., 0.],
                [2., 2.]])
    """
    _check_sparse_first(input, mat, "sspaddmm")
    where, value = _full_rows(input, mat)
    return made(where, value, (input.shape[0], mat.shape[1]), False, "Sspaddmm")


@supported(mixed=True)
def sspaddmm(input: Tensor, mat1: Tensor, mat2: Tensor, *, beta: float = 1, alpha: float = 1) -> SparseTensor:
    """``beta * input + alpha * (mat1 @ mat2)`` of sparse ``input`` and ``mat1``, as a sparse matrix.

    As ``torch.sspaddmm``.

    Raises:
        RuntimeError: ``input`` or ``mat1`` is dense, ``mat2`` is sparse, or sizes do not fit.

    Example:
        >>> import flamework as torch
        >>> x = torch.sparse_coo_tensor([[1], [0]], [2.0], (2, 2))
        >>> torch.sspaddmm(x, x, torch.ones(2, 2), alpha=3).coalesce().values()
        tensor([8., 6.])
    """
    if not isinstance(input, SparseTensor):
        raise RuntimeError("sspaddmm: expected 'self' to have sparse layout, got 'self' with layout Strided")
    _check_sparse_first(mat1, mat2, "sspaddmm")
    for d, size in enumerate((mat1.shape[0], mat2.shape[1])):
        if input.ndim != 2 or input.shape[d] != size:
            raise RuntimeError(f"sspaddmm: Argument #1: Expected dim {d} size {size}, got {input.shape[d]}")
    if input.dtype is not mat1.dtype:
        raise RuntimeError(f"expected scalar type {mat1.dtype.scalar_name} but found {input.dtype.scalar_name}")
    where, value = _full_rows(mat1, mat2)
    index = np.concatenate([coordinates(input), where], axis=1)
    return made(index, cat([input._value * beta, value * alpha]), input._extents, False, "Sspaddmm")


# ----------------------------------------------------------------------------------------------------- flamework.sparse


def sparse_mm(mat1: Tensor, mat2: Tensor) -> Tensor:
    """The product of two matrices: dense, or sparse if both are. As ``torch.sparse.mm``.

    Both get gradients; that of a sparse matrix has its coordinates.

    Raises:
        RuntimeError: sizes or dtypes that do not fit.

    Example:
        >>> import flamework as torch
        >>> x = torch.sparse_coo_tensor([[0, 1], [2, 0]], [3.0, 4.0], (2, 3), requires_grad=True)
        >>> y = torch.sparse.mm(x, torch.ones(3, 2))
        >>> y
        tensor([[3., 3.],
                [4., 4.]], grad_fn=...)
        >>> y.sum().backward()
        >>> x.grad.coalesce().values()
        tensor([2., 2.])
    """
    return _product(mat1, mat2, "SparseSparseMatmul")


def sparse_addmm(mat: Tensor, mat1: Tensor, mat2: Tensor, *, beta: float = 1, alpha: float = 1) -> Tensor:
    """``beta * mat + alpha * (mat1 @ mat2)`` of a sparse ``mat1``, dense. As ``torch.sparse.addmm``.

    Example:
        >>> import flamework as torch
        >>> x = torch.sparse_coo_tensor([[0], [1]], [3.0], (1, 2))
        >>> torch.sparse.addmm(torch.ones(1, 1), x, torch.ones(2, 1), beta=2, alpha=10)
        tensor([[32.]])
    """
    if not any(isinstance(m, SparseTensor) for m in (mat, mat1, mat2)):
        return dense_addmm(mat, mat1, mat2, beta=beta, alpha=alpha)
    return addmm(mat, mat1, mat2, beta=beta, alpha=alpha)
