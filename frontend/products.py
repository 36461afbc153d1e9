"""Products of vectors, matrices and batches of matrices.

Everything comes down to one row, the batched product ``[b, m, k] @ [b, k, n]``; reshapes, permutations and broadcasts
around it are index arithmetic. Operands have one dtype, as in PyTorch: there is no promotion. Read next: ``einsum.py``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from . import formulas as f
from .arguments import exactly_returned, factors_first, returned, scalar_type, tensor_argument
from .compiler import primitives as p, primitives_shape as s
from .compiler.dtypes import BOOL, FLOATING
from .compiler.ir import Node
from .recording import broadcast_shapes, node_of, operands, tensor_of
from .tensor import Tensor, axis_of
from .views import axes_of

_DOUBLE = {"Float": "float", "Double": "double", "Long": "long int", "Int": "int"}


def _matrices(function: str, *tensors: tuple[Tensor, str]) -> list[Node]:
    nodes = [tensor_argument(t, function, name, i + 1) for i, (t, name) in enumerate(tensors)]
    first = nodes[0].type.dtype
    for node in nodes[1:]:
        if node.type.dtype is not first:
            left, right = (scalar_type(d) for d in (first, node.type.dtype))
            raise RuntimeError(
                f"expected m1 and m2 to have the same dtype, but got: {_DOUBLE.get(left, left.lower())} != "
                f"{_DOUBLE.get(right, right.lower())}"
            )
        if node.type.device != nodes[0].type.device:
            raise RuntimeError(
                "Expected all tensors to be on the same device, but found at least two devices, "
                f"{nodes[0].type.device} and {node.type.device}!"
            )
    if first.kind == BOOL and len(nodes) > 1:
        raise p.Undefined(f"\"{function}\" not implemented for 'Bool'")
    return nodes


def _check_inner(a: Node, b: Node) -> None:
    (m, k), (other, n) = a.type.shape, b.type.shape
    if k != other:
        raise RuntimeError(f"mat1 and mat2 shapes cannot be multiplied ({m}x{k} and {other}x{n})")


def matmul(input: Tensor, other: Tensor, *, out: Tensor | None = None) -> Tensor:
    """The matrix product ``input @ other``.

    Two vectors give their dot product; a vector counts as a row on the left and as a column on the right; with more
    than two axes the leading ones are a batch, and broadcast. As ``torch.matmul``.

    Raises:
        RuntimeError: a tensor without axes, sizes that do not fit, or different dtypes.

    Example:
        >>> import flamework as torch
        >>> torch.matmul(torch.tensor([[1.0, 2.0]]), torch.tensor([3.0, 4.0])).tolist()
        [11.0]
    """
    a, b = _matrices("matmul", (input, "input"), (other, "other"))
    if a.ndim == 0 or b.ndim == 0:
        raise RuntimeError(
            f"both arguments to matmul need to be at least 1D, but they are {a.ndim}D and {b.ndim}D"
        )
    _check_product(a, b)
    return exactly_returned(f.matmul(a, b), out)


def _check_product(a: Node, b: Node) -> None:
    k = a.type.shape[-1]
    inner = b.type.shape[-2 if b.ndim > 1 else 0]
    if k != inner:
        if a.ndim == 1 and b.ndim == 1:
            raise RuntimeError(
                f"inconsistent tensor size, expected tensor [{k}] and src [{inner}] to have the same number of "
                f"elements, but got {k} and {inner} elements respectively"
            )
        if a.ndim <= 2 and b.ndim == 1:
            raise RuntimeError(f"size mismatch, got input ({a.type.shape[0]}), mat {_by(a)}, vec ({inner})")
        if a.ndim <= 2 and b.ndim <= 2:
            rows = a.type.shape[0] if a.ndim == 2 else 1
            raise RuntimeError(f"mat1 and mat2 shapes cannot be multiplied ({rows}x{k} and {_by(b)[1:-1]})")
        if b.ndim <= 2:
            rows = math.prod(a.type.shape[:-1])
            raise RuntimeError(f"mat1 and mat2 shapes cannot be multiplied ({rows}x{k} and {inner}x{b.type.shape[-1]})")
        batch = broadcast_shapes(a.type.shape[:-2], b.type.shape[:-2])
        raise RuntimeError(
            f"Expected size for first two dimensions of batch2 tensor to be: [{math.prod(batch)}, {k}] but got: "
            f"[{math.prod(batch)}, {inner}]."
        )
    broadcast_shapes(a.type.shape[:-2], b.type.shape[:-2])


def _by(x: Node) -> str:
    return f"({'x'.join(map(str, x.type.shape))})"


def mm(input: Tensor, mat2: Tensor, *, out: Tensor | None = None) -> Tensor:
    """The product of two matrices, ``[m, k] @ [k, n]``, without broadcasting. As ``torch.mm``.

    Raises:
        RuntimeError: other ranks, sizes that do not fit, or different dtypes.

    Example:
        >>> import flamework as torch
        >>> torch.mm(torch.tensor([[1.0, 2.0]]), torch.tensor([[3.0], [4.0]])).tolist()
        [[11.0]]
    """
    a, b = _matrices("mm", (input, "input"), (mat2, "mat2"))
    return exactly_returned(_mm(a, b, "self", "mat2"), out)


def _mm(a: Node, b: Node, left: str, right: str) -> Node:
    for node, name in ((a, left), (b, right)):
        if node.ndim != 2:
            raise RuntimeError(f"{name} must be a matrix")
    _check_inner(a, b)
    return f.matmul(a, b)


def bmm(input: Tensor, mat2: Tensor, *, out: Tensor | None = None) -> Tensor:
    """The products of two batches of matrices, ``[b, m, k] @ [b, k, n]``, without broadcasting. As ``torch.bmm``.

    Raises:
        RuntimeError: other ranks, sizes that do not fit, or different dtypes.

    Example:
        >>> import flamework as torch
        >>> torch.bmm(torch.ones(2, 1, 3), torch.ones(2, 3, 1)).tolist()
        [[[3.0]], [[3.0]]]
    """
    a, b = _matrices("bmm", (input, "input"), (mat2, "mat2"))
    return exactly_returned(_bmm(a, b), out)


def _bmm(a: Node, b: Node) -> Node:
    for node, name in ((a, "batch1"), (b, "batch2")):
        if node.ndim != 3:
            raise RuntimeError(f"{name} must be a 3D tensor")
    expected = [a.type.shape[0], a.type.shape[2]]
    if list(b.type.shape[:2]) != expected:
        raise RuntimeError(
            f"Expected size for first two dimensions of batch2 tensor to be: {expected} but got: "
            f"{list(b.type.shape[:2])}."
        )
    return f.matrix_product(a, b)


def mv(input: Tensor, vec: Tensor, *, out: Tensor | None = None) -> Tensor:
    """A matrix times a vector, ``[m, k] @ [k]``. As ``torch.mv``.

    Example:
        >>> import flamework as torch
        >>> torch.mv(torch.tensor([[1.0, 2.0]]), torch.tensor([3.0, 4.0])).tolist()
        [11.0]
    """
    a, b = _matrices("mv", (input, "input"), (vec, "vec"))
    return exactly_returned(_mv(a, b), out)


def _mv(a: Node, b: Node) -> Node:
    if a.ndim != 2 or b.ndim != 1:
        raise RuntimeError(f"mv: a matrix and a vector are expected, got tensors of {a.ndim} and {b.ndim} axes")
    if a.type.shape[1] != b.type.shape[0]:
        raise RuntimeError(f"size mismatch, got input ({a.type.shape[0]}), mat {_by(a)}, vec ({b.type.shape[0]})")
    return f.matmul(a, b)


def dot(input: Tensor, tensor: Tensor, *, out: Tensor | None = None) -> Tensor:
    """The sum of the products of two vectors of one length. As ``torch.dot``.

    Example:
        >>> import flamework as torch
        >>> torch.dot(torch.tensor([1.0, 2.0]), torch.tensor([3.0, 4.0])).item()
        11.0
    """
    a, b = _matrices("dot", (input, "input"), (tensor, "tensor"))
    if a.ndim != 1 or b.ndim != 1:
        raise RuntimeError(f"1D tensors expected, but got {a.ndim}D and {b.ndim}D tensors")
    _check_product(a, b)
    return exactly_returned(_inner(a, b), out)


def _inner(a: Node, b: Node) -> Node:
    # a sum of products fuses with what computes the vectors; a library call would not
    return s.reduce_sum(p.mul(a, b), params=(0,))


def vdot(input: Tensor, other: Tensor, *, out: Tensor | None = None) -> Tensor:
    """The sum of the products of two vectors of one length, the first conjugated. As ``torch.vdot``.

    Example:
        >>> import flamework as torch
        >>> torch.vdot(torch.tensor([1j, 1.0]), torch.tensor([1j, 2.0])).item()
        (3+0j)
    """
    return dot(input.conj(), other, out=out)


def inner(input: Tensor, other: Tensor, *, out: Tensor | None = None) -> Tensor:
    """Sums of products over the last axes of both tensors. As ``torch.inner``.

    Example:
        >>> import flamework as torch
        >>> torch.inner(torch.tensor([1.0, 2.0]), torch.tensor([3.0, 4.0])).item()
        11.0
    """
    if 0 in (tensor_argument(input, "inner", "input", 1).ndim, tensor_argument(other, "inner", "other", 2).ndim):
        return returned(p.mul(*operands(input, other)), out)
    a, b = _matrices("inner", (input, "input"), (other, "other"))
    k = a.type.shape[-1]
    if b.type.shape[-1] != k:
        raise RuntimeError(
            f"inner() the last dimension must match on both input tensors but got shapes {list(a.type.shape)} and "
            f"{list(b.type.shape)}"
        )
    rows = f.reshaped(a, (1, a.type.size // k if k else math.prod(a.type.shape[:-1]), k))
    columns = f.reshaped(b, (1, math.prod(b.type.shape[:-1]), k))
    product = f.matrix_product(rows, s.swapped(columns))
    return exactly_returned(f.reshaped(product, (*a.type.shape[:-1], *b.type.shape[:-1])), out)


def outer(input: Tensor, vec2: Tensor, *, out: Tensor | None = None) -> Tensor:
    """All products of the elements of two vectors, ``[m, n]``. As ``torch.outer``.

    Example:
        >>> import flamework as torch
        >>> torch.outer(torch.tensor([1, 2]), torch.tensor([3, 4])).tolist()
        [[3, 4], [6, 8]]
    """
    for tensor, name, position in ((input, "self", 1), (vec2, "vec2", 2)):
        if tensor_argument(tensor, "outer", name, position).ndim != 1:
            raise RuntimeError(f"outer: Expected 1-D argument {name}, but got {tensor.ndim}-D")
    product = node_of(input.reshape(-1, 1) * vec2)
    return returned(product, out)


ger = outer


# ---------------------------------------------------------------------------------------------- products added to


def _scaled(x: Node, factor: float) -> Node:
    if factor == 1:
        return x
    if x.type.dtype.kind < FLOATING:
        factor = int(factor)
    return p.mul(x, f.argument(x, factor))


def _added(input: Tensor, product: Node, beta: float, alpha: float) -> Node:
    """``beta * input + alpha * product``; with ``beta = 0`` the input is not looked at: its NaN do not matter."""
    product = _scaled(product, alpha)
    start = node_of(input)
    if start.type.dtype is not product.type.dtype:
        raise RuntimeError(
            f"self and the product must have one dtype, but are {scalar_type(start.type.dtype)} and "
            f"{scalar_type(product.type.dtype)}"
        )
    shape = broadcast_shapes(start.type.shape, product.type.shape)
    if shape != product.type.shape:
        raise RuntimeError(
            f"The expanded size of the tensor must match the existing size: {list(start.type.shape)} does not expand "
            f"to {list(product.type.shape)}"
        )
    if beta == 0:
        return product
    return p.add(_scaled(f.broadcast_to(start, shape), beta), product)


@factors_first("beta", "alpha")
def addmm(
    input: Tensor, mat1: Tensor, mat2: Tensor, *, beta: float = 1, alpha: float = 1, out: Tensor | None = None
) -> Tensor:
    """``beta * input + alpha * (mat1 @ mat2)`` of matrices. As ``torch.addmm``.

    Example:
        >>> import flamework as torch
        >>> torch.addmm(torch.ones(1), torch.ones(1, 2), torch.ones(2, 1), alpha=2).tolist()
        [[5.0]]
    """
    a, b = _matrices("addmm", (mat1, "mat1"), (mat2, "mat2"))
    return exactly_returned(_added(input, _mm(a, b, "mat1", "mat2"), beta, alpha), out)


@factors_first("beta", "alpha")
def addmv(
    input: Tensor, mat: Tensor, vec: Tensor, *, beta: float = 1, alpha: float = 1, out: Tensor | None = None
) -> Tensor:
    """``beta * input + alpha * (mat @ vec)``. As ``torch.addmv``.

    Example:
        >>> import flamework as torch
        >>> torch.addmv(torch.ones(1), torch.ones(1, 2), torch.ones(2)).tolist()
        [3.0]
    """
    a, b = _matrices("addmv", (mat, "mat"), (vec, "vec"))
    return exactly_returned(_added(input, _mv(a, b), beta, alpha), out)


@factors_first("beta", "alpha")
def addr(
    input: Tensor, vec1: Tensor, vec2: Tensor, *, beta: float = 1, alpha: float = 1, out: Tensor | None = None
) -> Tensor:
    """``beta * input + alpha * outer(vec1, vec2)``. As ``torch.addr``.

    Example:
        >>> import flamework as torch
        >>> torch.addr(torch.zeros(1, 2), torch.ones(1), torch.tensor([1.0, 2.0])).tolist()
        [[1.0, 2.0]]
    """
    return exactly_returned(_added(input, node_of(outer(vec1, vec2)), beta, alpha), out)


@factors_first("beta", "alpha")
def addbmm(
    input: Tensor, batch1: Tensor, batch2: Tensor, *, beta: float = 1, alpha: float = 1, out: Tensor | None = None
) -> Tensor:
    """``beta * input + alpha * sum(batch1[i] @ batch2[i])``. As ``torch.addbmm``.

    Example:
        >>> import flamework as torch
        >>> torch.addbmm(torch.zeros(1, 1), torch.ones(2, 1, 3), torch.ones(2, 3, 1)).tolist()
        [[6.0]]
    """
    product = _bmm(*_matrices("addbmm", (batch1, "batch1"), (batch2, "batch2")))
    return exactly_returned(_added(input, s.reduce_sum(product, params=(0,)), beta, alpha), out)


@factors_first("beta", "alpha")
def baddbmm(
    input: Tensor, batch1: Tensor, batch2: Tensor, *, beta: float = 1, alpha: float = 1, out: Tensor | None = None
) -> Tensor:
    """``beta * input + alpha * (batch1 @ batch2)`` of batches of matrices. As ``torch.baddbmm``.

    Example:
        >>> import flamework as torch
        >>> torch.baddbmm(torch.ones(1), torch.ones(1, 1, 3), torch.ones(1, 3, 1)).tolist()
        [[[4.0]]]
    """
    a, b = _matrices("baddbmm", (batch1, "batch1"), (batch2, "batch2"))
    return exactly_returned(_added(input, _bmm(a, b), beta, alpha), out)


def chain_matmul(*matrices: Tensor, out: Tensor | None = None) -> Tensor:
    """The product of several matrices, in the order that takes the fewest multiplications.

    As ``torch.chain_matmul``.

    Example:
        >>> import flamework as torch
        >>> torch.chain_matmul(torch.ones(1, 2), torch.ones(2, 3), torch.ones(3, 1)).item()
        6.0
    """
    nodes = _matrices("chain_matmul", *((m, "matrices") for m in matrices))
    for node in nodes:
        if node.ndim != 2:
            raise RuntimeError(f"Tensor dimension is {node.ndim}, expected 2 instead.")
    for a, b in zip(nodes, nodes[1:]):
        _check_inner(a, b)
    return exactly_returned(chain_product(nodes), out, nodes[0])


def chain_product(nodes: Sequence[Node]) -> Node:
    """The product of matrices in the order that takes the fewest multiplications."""
    sizes = [nodes[0].type.shape[0], *(n.type.shape[1] for n in nodes)]
    best: dict[tuple[int, int], tuple[float, int]] = {(i, i): (0, i) for i in range(len(nodes))}
    for length in range(1, len(nodes)):
        for i in range(len(nodes) - length):
            j = i + length
            best[i, j] = min(
                (best[i, k][0] + best[k + 1, j][0] + sizes[i] * sizes[k + 1] * sizes[j + 1], k) for k in range(i, j)
            )

    def product(i: int, j: int) -> Node:
        if i == j:
            return nodes[i]
        k = best[i, j][1]
        return f.matmul(product(i, k), product(k + 1, j))

    return product(0, len(nodes) - 1)


def tensordot(
    a: Tensor, b: Tensor, dims: int | tuple[Sequence[int], Sequence[int]] = 2, *, out: Tensor | None = None
) -> Tensor:
    """Sums of products over pairs of axes: the last ``dims`` of ``a`` with the first of ``b``, or two lists of axes.

    As ``torch.tensordot``.

    Example:
        >>> import flamework as torch
        >>> torch.tensordot(torch.ones(2, 3), torch.ones(3, 2), 1).tolist()
        [[3.0, 3.0], [3.0, 3.0]]
    """
    x, y = _matrices("tensordot", (a, "a"), (b, "b"))
    if isinstance(dims, int):
        if dims < 0:
            raise RuntimeError(f"tensordot expects dims >= 0, but got dims={dims}")
        if dims > min(x.ndim, y.ndim):
            raise RuntimeError(f"tensordot expects dims < ndim_a or ndim_b, but got dims={dims}")
        left, right = list(range(x.ndim - dims, x.ndim)), list(range(dims))
    else:
        if len(dims[0]) != len(dims[1]):
            raise RuntimeError("both dimension lists should have same length")
        left, right = (list(axes_of(side, n.ndim)) for side, n in zip(dims, (x, y)))
    for i, j in zip(left, right):
        if x.type.shape[i] == 1 != y.type.shape[j]:
            y = node_of(tensor_of(y).sum(j, keepdim=True, dtype=y.type.dtype))
        elif y.type.shape[j] == 1 != x.type.shape[i]:
            x = node_of(tensor_of(x).sum(i, keepdim=True, dtype=x.type.dtype))
        elif x.type.shape[i] != y.type.shape[j]:
            raise RuntimeError(
                f"contracted dimensions need to match, but first has size {x.type.shape[i]} in dim {i} and second has "
                f"size {y.type.shape[j]} in dim {j}"
            )
    free_left = [i for i in range(x.ndim) if i not in left]
    free_right = [j for j in range(y.ndim) if j not in right]
    rows, columns = [x.type.shape[i] for i in free_left], [y.type.shape[j] for j in free_right]
    k = math.prod(x.type.shape[i] for i in left)
    x = f.reshaped(f.permuted(x, (*free_left, *left)), (1, math.prod(rows), k))
    y = f.reshaped(f.permuted(y, (*right, *free_right)), (1, k, math.prod(columns)))
    return exactly_returned(f.reshaped(f.matrix_product(x, y), (*rows, *columns)), out)


def trace(input: Tensor) -> Tensor:
    """The sum of the diagonal of a matrix. As ``torch.trace``.

    Example:
        >>> import flamework as torch
        >>> torch.trace(torch.tensor([[1, 2], [3, 4]])).item()
        5
    """
    if tensor_argument(input, "trace", "input", 1).ndim != 2:
        raise RuntimeError("trace: expected a matrix, but got tensor with dim " + str(input.ndim))
    return input.diagonal().sum()


def cross(input: Tensor, other: Tensor, dim: int | None = None, *, out: Tensor | None = None) -> Tensor:
    """The cross product along an axis of size 3, by default the first one. As ``torch.cross``.

    Example:
        >>> import flamework as torch
        >>> torch.cross(torch.tensor([1, 0, 0]), torch.tensor([0, 1, 0])).tolist()
        [0, 0, 1]
    """
    a, b = operands(input, other)
    if dim is None:
        axis = next((i for i, extent in enumerate(a.type.shape) if extent == 3), None)
        if axis is None:
            raise RuntimeError("no dimension of size 3 in input")
    else:
        axis = axis_of(dim, a.ndim)
    if a.type.shape[axis] != 3:
        raise RuntimeError(f"inputs dimension {axis} must have length 3. Got {a.type.shape[axis]}")

    def rolled(x: Node, by: int) -> Node:
        return s.cat(f.axis_slice(x, axis, by, 3 - by), f.axis_slice(x, axis, 0, by), params=(axis,))

    product = p.sub(p.mul(rolled(a, 1), rolled(b, 2)), p.mul(rolled(a, 2), rolled(b, 1)))
    return returned(product, out)


def kron(input: Tensor, other: Tensor, *, out: Tensor | None = None) -> Tensor:
    """The Kronecker product: every element of ``input`` times the whole of ``other``. As ``torch.kron``.

    Example:
        >>> import flamework as torch
        >>> torch.kron(torch.tensor([1, 10]), torch.tensor([1, 2])).tolist()
        [1, 2, 10, 20]
    """
    rank = max(input.ndim, other.ndim)
    left = (1,) * (rank - input.ndim) + tuple(input.shape)
    right = (1,) * (rank - other.ndim) + tuple(other.shape)
    spread = input.reshape([e for pair in zip(left, [1] * rank) for e in pair])
    product = node_of(spread * other.reshape([e for pair in zip([1] * rank, right) for e in pair]))
    return exactly_returned(f.reshaped(product, [a * b for a, b in zip(left, right)]), out)
