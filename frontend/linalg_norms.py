"""``flamework.linalg``: norms, condition numbers, powers, products and the rest that is made of other functions.

In: tensors. Out: tensors with PyTorch's gradients. Read next: ``linalg.py``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from . import formulas as f
from .arguments import canonical_axes, exactly_returned, kept, returned, scalar_type, tensor_argument, widened
from .compiler import primitives as p, primitives_shape as s
from .compiler.dtypes import BOOL, COMPLEX, FLOATING, DType, meant
from .compiler.ir import Node
from .compiler.primitives import Undefined
from .linalg_solve import NO_INVERSE, check_square, eye_like, inv_ex, inverse_of, matrix_argument, solve
from .linalg_spectral import singular_values, svd_argument
from .parts import diagonal as any_diagonal
from .products import chain_product, cross as any_cross, matmul  # noqa: F401, torch.linalg.matmul
from .recording import node_of, operands, tensor_of
from .tensor import Tensor, axis_of

Order = float | str | None
Dim = int | Sequence[int] | None

# ---------------------------------------------------------------------------------------------------------------- norms


def _sizes(x: Node, dtype: DType | None, function: str) -> Node:
    """What a norm is taken of: ``x``, converted to ``dtype``."""
    own = x.type.dtype
    if own.kind < FLOATING:
        raise RuntimeError(f"{function}: Expected a floating point or complex tensor as input. Got {scalar_type(own)}")
    if dtype is not None:
        if dtype.kind < FLOATING:
            raise RuntimeError(f"{function}: dtype should be floating point or complex. Got {scalar_type(dtype)}")
        if (dtype.kind == COMPLEX) != (own.kind == COMPLEX):
            kinds = ("complex", "complex") if own.kind == COMPLEX else ("real", "real")
            raise RuntimeError(
                f"{function}: dtype should be {kinds[0]} for {kinds[1]} inputs, but got {scalar_type(dtype)}"
            )
        if dtype.itemsize < own.itemsize:
            raise RuntimeError(
                f"{function}: the dtype of the input ({scalar_type(own)}) should be convertible without narrowing to "
                f"the specified dtype ({scalar_type(dtype)})"
            )
        x = f.converted(x, dtype)
    return x


def vector_norm(
    x: Tensor, ord: float = 2, dim: Dim = None, keepdim: bool = False, *, dtype: DType | None = None,
    out: Tensor | None = None,
) -> Tensor:
    """``sum(abs(x) ** ord) ** (1 / ord)`` over some axes, or over all.

    Args:
        ord: a number; infinities give the largest and the smallest size, 0 counts what is not 0.
        dtype: what ``x`` is converted to before.

    Raises:
        RuntimeError: integers; no elements with an order that has no value for none.

    As ``torch.linalg.vector_norm``.

    Example:
        >>> import flamework as torch
        >>> torch.linalg.vector_norm(torch.tensor([3.0, -4.0])).item()
        5.0
    """
    node = tensor_argument(x, "linalg_vector_norm", "x", 1)
    if isinstance(ord, str):
        raise TypeError("linalg_vector_norm(): argument 'ord' (position 2) must be Number, not str")
    sizes = _sizes(node, meant(dtype), "linalg.vector_norm")
    axes = canonical_axes(dim, sizes.ndim)
    if ord < 0 or ord == math.inf:
        shape, text = sizes.type.shape, "inf" if ord == math.inf else f"{ord:g}"
        lead = f"linalg.vector_norm cannot compute the {text} norm on "
        if 0 in shape and len(axes) == len(shape):
            raise RuntimeError(f"{lead}an empty tensor because the operation does not have an identity")
        for axis in axes:
            if shape[axis] == 0:
                raise RuntimeError(
                    f"{lead}the dimension {axis}because this dimension is empty and the operation does not have an "
                    "identity"
                )
    return exactly_returned(kept(f.vector_norm(sizes, axes, float(ord)), axes, sizes, keepdim), out, node)


def _order_text(ord: Order) -> str:
    return ord if isinstance(ord, str) else f"{ord:g}"


def _matrix_norm(x: Node, ord: Order, first: int, second: int) -> Node:
    """The norm of matrices along two different axes, without them."""
    axes = tuple(sorted((first, second)))
    if ord == "fro":
        return f.vector_norm(x, axes, 2.0)
    order = math.inf if ord == "nuc" else float(ord)  # type: ignore[arg-type]
    largest = order > 0
    if ord == "nuc" or abs(order) == 2:
        matrix = f.permuted(x, [a for a in range(x.ndim) if a not in axes] + [first, second])
        values, last = singular_values(matrix), (x.ndim - 2,)
        if ord == "nuc":
            return s.reduce_sum(values, params=last)
    else:
        along, across = (first, second) if abs(order) == 1 else (second, first)
        values = s.reduce_sum(f.vector_norm(x, (), 1.0), params=(along,))
        last = (across - (along < across),)
    if values.type.shape[last[0]] == 0:
        if not largest:
            raise IndexError(f"amin(): Expected reduction dim {last[0]} to have non-zero size.")
        lead = [e for a, e in enumerate(values.type.shape) if a != last[0]]
        return f.filled(lead, values.type.dtype, values.type.device, 0)
    return (s.reduce_max if largest else s.reduce_min)(values, params=last)


def matrix_norm(
    A: Tensor, ord: Order = "fro", dim: Sequence[int] = (-2, -1), keepdim: bool = False, *,
    dtype: DType | None = None, out: Tensor | None = None,
) -> Tensor:
    """A norm of each matrix along two axes.

    Args:
        ord: ``"fro"``, the root of the sum of squares; ``"nuc"``, the sum of singular values; 2 and -2, the largest and
            the smallest of them; 1 and -1, of the sums of sizes in columns; ``inf`` and ``-inf``, in rows.

    Raises:
        RuntimeError: another order, axes that are no two different ones, or integers.

    As ``torch.linalg.matrix_norm``.

    Example:
        >>> import flamework as torch
        >>> torch.linalg.matrix_norm(torch.tensor([[1.0, -2.0], [3.0, 4.0]]), 1).item()
        6.0
    """
    name = "linalg.matrix_norm"
    x = tensor_argument(A, name, "A", 1)
    if x.ndim < 2:
        raise RuntimeError(f"{name}: The input tensor A must have at least 2 dimensions.")
    if isinstance(dim, int) or len(dim) != 2:
        text = dim if isinstance(dim, int) else " ".join(map(str, dim))
        raise RuntimeError(f"{name}: dim must be a 2-tuple. Got {text}")
    if ord not in ("fro", "nuc", 1, -1, 2, -2, math.inf, -math.inf):
        raise RuntimeError(f"{name}: Order {_order_text(ord)} not supported.")
    first, second = (axis_of(d, x.ndim) for d in dim)
    if first == second:
        raise RuntimeError(f"{name}: dims must be different. Got ({dim[0]}, {dim[1]})")
    dtype = meant(dtype)
    _sizes(x, dtype, name)  # refuses what it has to
    if ord in ("nuc", 2, -2) and (dtype or x.type.dtype).compute is not (dtype or x.type.dtype):
        raise RuntimeError(f"{name}: Low precision dtypes not supported. Got {scalar_type(dtype or x.type.dtype)}")
    if dtype is not None:
        x = f.converted(x, dtype)
    norm_ = _matrix_norm(x, ord, first, second)
    return exactly_returned(kept(norm_, (first, second), x, keepdim), out)


def norm(
    A: Tensor, ord: Order = None, dim: Dim = None, keepdim: bool = False, *, out: Tensor | None = None,
    dtype: DType | None = None,
) -> Tensor:
    """A norm of vectors or of matrices.

    Args:
        ord: None is order 2 of all elements as one vector; else of vectors along one axis :func:`vector_norm`, along
            two axes, or with a name, :func:`matrix_norm`.
        dim: one axis or two; by default those of a tensor that has no more.

    As ``torch.linalg.norm``.

    Example:
        >>> import flamework as torch
        >>> torch.linalg.norm(torch.tensor([[3.0, 4.0]]), dim=1).tolist()
        [5.0]
    """
    if ord is None:
        return vector_norm(A, 2, dim, keepdim, dtype=dtype, out=out)
    if dim is None and A.ndim not in (1, 2):
        raise RuntimeError(
            f"linalg.norm: If dim is not specified but ord is, the input must be 1D or 2D. Got {A.ndim}D."
        )
    if isinstance(ord, str):
        return matrix_norm(A, ord, (-2, -1) if dim is None else dim, keepdim, dtype=dtype, out=out)
    count = A.ndim if dim is None else 1 if isinstance(dim, int) else len(dim)
    if count == 2:
        return matrix_norm(A, ord, (-2, -1) if dim is None else dim, keepdim, dtype=dtype, out=out)
    return vector_norm(A, ord, dim, keepdim, dtype=dtype, out=out)


def cond(A: Tensor, p: Order = None, *, out: Tensor | None = None) -> Tensor:
    """The condition number: the norm of a matrix times that of its inverse, infinite if there is none.

    Args:
        p: an order of :func:`matrix_norm`; None is 2, for which the matrix need not be square.

    As ``torch.linalg.cond``.

    Example:
        >>> import flamework as torch
        >>> torch.linalg.cond(torch.tensor([[4.0, 0.0], [0.0, 2.0]])).item()
        2.0
    """
    x = tensor_argument(A, "linalg.cond", "A", 1)
    if x.ndim < 2:
        raise RuntimeError("linalg.cond: The input tensor must have at least 2 dimensions.")
    if p not in (None, "fro", "nuc", 1, -1, 2, -2, math.inf, -math.inf):
        raise RuntimeError(f"linalg.cond got an invalid norm type: {_order_text(p)}")
    if p in (None, 2, -2):
        values = singular_values(svd_argument(A))
        return exactly_returned(_extreme_ratio(values, p == -2), out)
    check_square(x, f"linalg.cond(ord={_order_text(p)})")
    matrix_argument(A, "linalg.cond")
    if x.type.size == 0:
        return exactly_returned(f.filled(x.type.shape[:-2], x.type.dtype.part, x.type.device, 0), out)
    inverse, info = inv_ex(A)
    last = (x.ndim - 2, x.ndim - 1)
    product = tensor_of(_matrix_norm(x, p, *last)) * tensor_of(_matrix_norm(node_of(inverse), p, *last))
    return exactly_returned(node_of(product.masked_fill(info != 0, math.inf)), out)


def _extreme_ratio(values: Node, inverted: bool) -> Node:
    count, axis = values.type.shape[-1], values.ndim - 1
    if count == 0:
        return f.filled(values.type.shape[:-1], values.type.dtype, values.type.device, 0)
    ends = [f.reshaped(f.axis_slice(values, axis, at, 1), values.type.shape[:-1]) for at in (0, count - 1)]
    return p.div(*(reversed(ends) if inverted else ends))


# ------------------------------------------------------------------------------------------------- powers and products


def matrix_power(A: Tensor, n: int, *, out: Tensor | None = None) -> Tensor:
    """The product of ``n`` copies of a square matrix; of its inverse for negative ``n``.

    Raises:
        LinAlgError: ``n`` is negative and the matrix singular; when the value is computed.

    As ``torch.linalg.matrix_power``.

    Example:
        >>> import flamework as torch
        >>> torch.linalg.matrix_power(torch.tensor([[1, 1], [1, 0]]), 5).tolist()
        [[8, 5], [5, 3]]
    """
    x = source = tensor_argument(A, "linalg.matrix_power", "A", 1)
    if x.ndim < 2:
        raise RuntimeError("linalg.matrix_power: The input tensor A must have at least 2 dimensions.")
    check_square(x, "linalg.matrix_power")
    if n < 0:
        x, n = inverse_of(matrix_argument(A, "linalg.inv", square=True), "linalg.inv" + NO_INVERSE), -n
    if n == 0:
        return exactly_returned(eye_like(x), out)
    if n > 1 and x.type.dtype.kind == BOOL:
        raise Undefined("\"addmm_impl_cpu_\" not implemented for 'Bool'")
    product = None
    while n:
        if n & 1:
            product = x if product is None else f.matmul(product, x)
        n >>= 1
        if n:
            x = f.matmul(x, x)
    return exactly_returned(product, out, source)


def multi_dot(tensors: Sequence[Tensor], *, out: Tensor | None = None) -> Tensor:
    """The product of matrices in the order that takes the fewest multiplications; the ends may be vectors.

    As ``torch.linalg.multi_dot``.

    Example:
        >>> import flamework as torch
        >>> torch.linalg.multi_dot([torch.ones(2), torch.ones(2, 3), torch.ones(3)]).item()
        6.0
    """
    name = "multi_dot()"
    nodes = [tensor_argument(t, name, "tensors", 1) for t in tensors]
    if len(nodes) < 2:
        raise RuntimeError(f"{name}: expected at least 2 tensors but got {len(nodes)}")
    first, last = nodes[0], nodes[-1]
    for i, x in enumerate(nodes):
        if x.ndim != 2 and not (x.ndim == 1 and i in (0, len(nodes) - 1)):
            if i in (0, len(nodes) - 1):
                which = "the first tensor" if i == 0 else "the last tensor"
                raise RuntimeError(f"{name}: {which} must be 1D or 2D but got {x.ndim}D")
            raise RuntimeError(f"{name}: tensor {i} must be 2D but got {x.ndim}D")
        if x.type.dtype is not first.type.dtype:
            raise RuntimeError(f"{name}: all tensors must have the same dtype")
    left, right = first.ndim == 1, last.ndim == 1
    if left:
        nodes[0] = f.reshaped(first, (1, first.type.shape[0]))
    if right:
        nodes[-1] = f.reshaped(last, (last.type.shape[0], 1))
    for i, (a, b) in enumerate(zip(nodes, nodes[1:])):
        if a.type.shape[1] != b.type.shape[0]:
            raise RuntimeError(
                f"{name}: tensors {i} and {i + 1} with shapes {list(a.type.shape)} and {list(b.type.shape)} cannot be "
                "multiplied"
            )
    product = chain_product(nodes)
    rows, columns = product.type.shape
    return exactly_returned(f.reshaped(product, (() if left else (rows,)) + (() if right else (columns,))), out)


def cross(input: Tensor, other: Tensor, *, dim: int = -1, out: Tensor | None = None) -> Tensor:
    """The cross product along an axis of size 3; the others broadcast. As ``torch.linalg.cross``.

    Example:
        >>> import flamework as torch
        >>> torch.linalg.cross(torch.tensor([1, 0, 0]), torch.tensor([0, 1, 0])).tolist()
        [0, 0, 1]
    """
    if input.ndim != other.ndim:
        raise RuntimeError("linalg.cross: inputs must have the same number of dimensions.")
    axis = axis_of(dim, input.ndim)
    if input.shape[axis] != 3 or other.shape[axis] != 3:
        raise RuntimeError(
            f"linalg.cross: inputs dimension {dim} must have length 3. Got {input.shape[axis]} and {other.shape[axis]}"
        )
    return any_cross(input, other, axis, out=out)


def vecdot(x: Tensor, y: Tensor, *, dim: int = -1, out: Tensor | None = None) -> Tensor:
    """The sum of ``x.conj() * y`` along an axis; the tensors broadcast. As ``torch.linalg.vecdot``.

    Example:
        >>> import flamework as torch
        >>> torch.linalg.vecdot(torch.tensor([[1.0, 2.0]]), torch.tensor([3.0, 4.0])).tolist()
        [11.0]
    """
    tensor_argument(y, "linalg.vecdot", "y", 2)
    a, b = operands(x, y)
    if a.type.dtype.kind < FLOATING:
        raise RuntimeError(
            f"linalg.vecdot: Expected a floating point or complex tensor as input. Got {scalar_type(a.type.dtype)}"
        )
    return exactly_returned(f.total(p.mul(p.conjugate(a), b), canonical_axes(dim, a.ndim)), out)


def diagonal(A: Tensor, *, offset: int = 0, dim1: int = -2, dim2: int = -1) -> Tensor:
    """A view of the diagonals of matrices. As ``torch.linalg.diagonal``.

    Example:
        >>> import flamework as torch
        >>> torch.linalg.diagonal(torch.tensor([[1, 2], [3, 4]])).tolist()
        [1, 4]
    """
    return any_diagonal(A, offset, dim1, dim2)


def vander(x: Tensor, *, N: int | None = None) -> Tensor:
    """The powers ``x ** 0`` to ``x ** (N - 1)`` along a new last axis; ``N`` is the last size by default.

    Integers give int64; neither bools nor 16-bit floats.

    As ``torch.linalg.vander``.

    Example:
        >>> import flamework as torch
        >>> torch.linalg.vander(torch.tensor([2, 3]), N=3).tolist()
        [[1, 2, 4], [1, 3, 9]]
    """
    node = tensor_argument(x, "linalg.vander", "x", 1)
    dtype = node.type.dtype
    if dtype.kind == BOOL or dtype.compute is not dtype:
        raise RuntimeError(
            "linalg.vander supports floating point, complex, and integer tensors, but got " + scalar_type(dtype)
        )
    node = widened(node)
    node = node if node.ndim else f.reshaped(node, (1,))
    if N is None:
        N = node.type.shape[-1]
    if N <= 1:
        raise RuntimeError("N must be greater than 1.")
    powers = [p.full_like(node, 1), node]
    while len(powers) < N:
        powers.append(p.mul(powers[-1], node))
    ends = [f.reshaped(q, (*node.type.shape, 1)) for q in powers]
    return returned(s.cat(*ends, params=(node.ndim,)), None)


def tensorinv(A: Tensor, ind: int = 2, *, out: Tensor | None = None) -> Tensor:
    """The inverse of ``A`` as a matrix from its axes from ``ind`` on to those before. As ``torch.linalg.tensorinv``.

    Example:
        >>> import flamework as torch
        >>> torch.linalg.tensorinv(torch.eye(4).reshape(4, 2, 2), ind=1).shape
        torch.Size([2, 2, 4])
    """
    if ind <= 0:
        raise RuntimeError(f"Expected a strictly positive integer for 'ind', but got {ind}")
    before, after = A.shape[:ind], A.shape[ind:]
    count, other = math.prod(after), math.prod(before)
    if count != other:
        raise RuntimeError(
            "Expected self to satisfy the requirement prod(self.shape[ind:]) == prod(self.shape[:ind]), but got "
            f"{count} != {other}"
        )
    x = matrix_argument(A.reshape(other, count), "linalg.tensorinv")
    return exactly_returned(f.reshaped(inverse_of(x, "inv" + NO_INVERSE), (*after, *before)), out)


def tensorsolve(
    A: Tensor, B: Tensor, dims: Sequence[int] | None = None, *, out: Tensor | None = None
) -> Tensor:
    """The ``X`` whose products with ``A`` over the axes of ``X`` are ``B``. As ``torch.linalg.tensorsolve``.

    Args:
        dims: axes of ``A`` that are moved to its end before.

    Example:
        >>> import flamework as torch
        >>> torch.linalg.tensorsolve(torch.eye(4).reshape(2, 2, 4), torch.ones(2, 2)).tolist()
        [1.0, 1.0, 1.0, 1.0]
    """
    if dims is not None:
        axes = [axis_of(d, A.ndim) for d in dims]
        A = A.permute([a for a in range(A.ndim) if a not in axes] + axes)
    shape = A.shape[B.ndim :]
    count, other = math.prod(shape), math.prod(A.shape[: B.ndim])
    if count != other:
        raise RuntimeError(
            "Expected self to satisfy the requirement prod(self.shape[other.ndim:]) == prod(self.shape[:other.ndim]), "
            f"but got {count} != {other}"
        )
    return exactly_returned(node_of(solve(A.reshape(other, count), B.reshape(-1)).reshape(shape)), out)
