"""Covariances, integrals and derivatives of samples; small matrices and lists made from a vector.

Each is a composition of functions of the chapters before. In: samples. Out: tensors with PyTorch's gradients.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np

from .arguments import scalar_type, tensor_argument, values_of
from .compiler import dtypes
from .compiler.dtypes import BOOL, FLOATING, INTEGER
from .creation import empty, ones, zeros
from .joining import cat, diag
from .origin import warn
from .recording import get_default_dtype, input_node, node_of, promoted, tensor_of
from .reduction import sum as total
from .runtime import engine
from .scans import cumprod, cumsum
from .tensor import Tensor, axis_of, method
from .views import sizes_of

# ---------------------------------------------------------------------------------------------------------- covariances


def _check_weights(name: str, weights: Tensor, observations: int, kind: int) -> None:
    if weights.ndim > 1:
        raise RuntimeError(
            f"cov(): expected {name} to have one or fewer dimensions but got {name} with {weights.ndim} dimensions"
        )
    if node_of(weights).type.dtype.kind != kind:
        wanted = "integral" if kind == INTEGER else "floating point"
        raise RuntimeError(
            f"cov(): expected {name} to have {wanted} dtype but got {name} with {scalar_type(weights.dtype)} dtype"
        )
    if weights.numel() != observations:
        raise RuntimeError(
            f"cov(): expected {name} to have the same numel as there are observations in the input but got "
            f"{weights.numel()} != {observations}"
        )
    if engine.refuse is None and not np.all(values_of(node_of(weights)) >= 0):
        raise RuntimeError(f"cov(): {name} cannot be negative")


@method
def cov(
    input: Tensor, *, correction: int = 1, fweights: Tensor | None = None, aweights: Tensor | None = None
) -> Tensor:
    """The covariances of the rows of ``[variables, observations]``: ``[variables, variables]``.

    Args:
        input: one variable if it has one axis, for which a number is returned.
        correction: what is taken from the number of observations: 1 for an estimate without bias.
        fweights: how often each observation was made, integers.
        aweights: how much each observation counts.

    Raises:
        RuntimeError: more than two axes, bools, or weights that do not fit. A compiled function does not look at the
            values of weights.

    As ``torch.cov``.

    Example:
        >>> import flamework as torch
        >>> torch.cov(torch.tensor([[0.0, 1.0, 2.0], [2.0, 1.0, 0.0]])).tolist()
        [[1.0, -1.0], [-1.0, 1.0]]
    """
    node = tensor_argument(input, "cov", "input", 1)
    if node.ndim > 2:
        raise RuntimeError(
            f"cov(): expected input to have two or fewer dimensions but got an input with {node.ndim} dimensions"
        )
    if node.type.dtype.kind == BOOL:
        raise RuntimeError("cov(): bool dtype is not supported for input")
    x = input if node.ndim == 2 else input.reshape(1, -1)
    observations = x.shape[1]
    weights = None
    if fweights is not None:
        _check_weights("fweights", fweights, observations, INTEGER)
        weights = fweights
    if aweights is not None:
        _check_weights("aweights", aweights, observations, FLOATING)
        weights = aweights if weights is None else weights * aweights
    if x.dtype.kind < FLOATING:
        x = x.to(get_default_dtype())
    if weights is None:
        average = x.sum(1) / observations if observations else x.mean(1)
        divisor = max(observations - correction, 0)
        few = observations <= correction
    else:
        weights = weights.reshape(-1)
        count = weights.sum()
        if engine.refuse is None and observations and count.item() == 0:
            raise RuntimeError("cov(): weights sum to zero, can't be normalized")
        average = (x * weights).sum(1) / count
        divisor = count - correction
        if aweights is not None and correction:
            divisor = count - correction * (weights * aweights.reshape(-1)).sum() / count
        few = engine.refuse is None and divisor.item() <= 0
        divisor = divisor.clamp(min=0)
    if few:
        warn("cov(): degrees of freedom is <= 0")
    x = x - average.unsqueeze(1)
    weighted = x if weights is None else (x * weights).to(x.dtype)
    found = x @ weighted.mT.conj()
    found = found / (input_tensor(divisor, found) if weights is None else divisor)
    return found.to(x.dtype) if node.ndim == 2 and found.shape != (1, 1) else found.to(x.dtype).squeeze()


def input_tensor(number: int, like: Tensor) -> Tensor:
    """A number as a tensor, so that a division by 0 is IEEE's."""
    real = like.dtype.part if like.is_complex() else like.dtype
    return tensor_of(input_node(np.asarray(number, real.numpy), str(like.device)))


@method
def corrcoef(input: Tensor) -> Tensor:
    """Pearson's correlations of the rows of ``[variables, observations]``. As ``torch.corrcoef``.

    Raises:
        RuntimeError: more than two axes.

    Example:
        >>> import flamework as torch
        >>> torch.corrcoef(torch.tensor([[0.0, 1.0, 2.0], [4.0, 2.0, 0.0]]))[0, 1].item()
        -1.0
    """
    node = tensor_argument(input, "corrcoef", "input", 1)
    if node.ndim > 2:
        raise RuntimeError(
            f"corrcoef(): expected input to have two or fewer dimensions but got an input with {node.ndim} dimensions"
        )
    c = cov(input)
    if c.ndim == 0:
        return c / c
    d = diag(c)
    deviation = (d.real if d.is_complex() else d).sqrt()
    c = c / deviation.unsqueeze(1) / deviation.unsqueeze(0)
    if not c.is_complex():
        return c.clamp(-1, 1)
    from .complex_numbers import complex

    return complex(c.real.clamp(-1, 1), c.imag.clamp(-1, 1))


@method
def sum_to_size(self: Tensor, *size: int | Sequence[int]) -> Tensor:
    """The sums over the axes along which a tensor of ``size`` would be repeated to become this one's size.

    Raises:
        RuntimeError: ``size`` does not expand to this one's.

    As ``Tensor.sum_to_size``.

    Example:
        >>> import flamework as torch
        >>> torch.ones(2, 3).sum_to_size(1, 3).tolist()
        [[2.0, 2.0, 2.0]]
    """
    if not size:
        raise TypeError('sum_to_size() missing 1 required positional arguments: "size"')
    wanted, have = sizes_of(size), tuple(self.shape)
    more = len(have) - len(wanted)
    if more < 0 or any(n not in (1, m) for n, m in zip(wanted, have[more:])):
        raise RuntimeError(f"size {{{list(wanted)}}} is not expandable to size {{{list(have)}}}.")
    if not wanted:
        return total(self)
    if wanted == have:
        return self
    axes = [a for a in range(len(have)) if a < more or wanted[a - more] == 1 != have[a]]
    return (total(self, axes, keepdim=True) if axes else self).reshape(wanted)


# ------------------------------------------------------------------------------------------------------------ integrals


def _areas(function: str, y: Tensor, x: Tensor | None, dx: object, dim: int) -> Tensor:
    """Twice the areas of the trapezoids between neighbours along ``dim``."""
    axis = axis_of(dim, y.ndim)
    if node_of(y).type.dtype.kind == BOOL or (x is not None and node_of(x).type.dtype.kind == BOOL):
        names = "`y`" if x is None else "`x` or `y`"
        raise RuntimeError(f"{function}: received a bool input for {names}, but bool is not supported")
    count = y.shape[axis]
    pairs = y.narrow(axis, 1, count - 1) + y.narrow(axis, 0, count - 1) if count else y
    if x is None:
        if isinstance(dx, (bool, complex)):
            raise RuntimeError(f"{function}: Currently, we only support dx as a real number.")
        return pairs * dx
    if x.ndim == 1:
        if x.shape[0] != count:
            raise RuntimeError(f"{function}: There must be one `x` value for each sample point")
        x = x.reshape([-1 if a == axis else 1 for a in range(y.ndim)])
    elif x.ndim < y.ndim:
        x = x.reshape((1,) * (y.ndim - x.ndim) + tuple(x.shape))
    extent = x.shape[axis]
    if not extent:
        return pairs * x
    return pairs * (x.narrow(axis, 1, extent - 1) - x.narrow(axis, 0, extent - 1))


def _distance(function: str, x: object, dx: object) -> object:
    if x is not None and dx is not None:
        raise TypeError(f"{function}() takes either x or dx")
    value = 1 if dx is None else dx
    return value.item() if isinstance(value, Tensor) else value


def trapezoid(y: Tensor, x: Tensor | None = None, *, dx: float | None = None, dim: int = -1) -> Tensor:
    """The integral of samples along ``dim`` by the trapezoidal rule.

    Args:
        x: where the samples are, ``[n]`` or in the shape of ``y``.
        dx: the distance of the samples, instead; by default 1.

    Raises:
        RuntimeError: bools, or another number of places.

    As ``torch.trapezoid``.

    Example:
        >>> import flamework as torch
        >>> torch.trapezoid(torch.tensor([1.0, 3.0, 5.0])).item()
        6.0
    """
    tensor_argument(y, "trapezoid", "y", 1)
    step = _distance("trapezoid", x, dx)
    axis = axis_of(dim, y.ndim)
    if not y.ndim:
        raise IndexError("Dimension specified as -1 but tensor has no dimensions")
    if y.shape[axis] == 0:
        return zeros([n for a, n in enumerate(y.shape) if a != axis], dtype=y.dtype, device=y.device)
    return total(_areas("trapezoid", y, x, step, axis), axis) / 2.0


def trapz(y: Tensor, x: Tensor | None = None, *, dx: float | None = None, dim: int = -1) -> Tensor:
    """:func:`trapezoid`, by its older name. As ``torch.trapz``."""
    return trapezoid(y, x, dx=dx, dim=dim)


def cumulative_trapezoid(y: Tensor, x: Tensor | None = None, *, dx: float | None = None, dim: int = -1) -> Tensor:
    """The integrals up to every sample but the first, by the trapezoidal rule. As ``torch.cumulative_trapezoid``.

    Example:
        >>> import flamework as torch
        >>> torch.cumulative_trapezoid(torch.tensor([1.0, 3.0, 5.0])).tolist()
        [2.0, 6.0]
    """
    tensor_argument(y, "cumulative_trapezoid", "y", 1)
    step = _distance("cumulative_trapezoid", x, dx)
    if not y.ndim:
        raise IndexError("slice() cannot be applied to a 0-dim tensor.")
    return cumsum(_areas("cumulative_trapezoid", y, x, step, dim), axis_of(dim, y.ndim)) / 2.0


# ---------------------------------------------------------------------------------------------------------- derivatives


def gradient(
    input: Tensor, *, spacing: float | Sequence[float] | Sequence[Tensor] | None = None,
    dim: int | Sequence[int] | None = None, edge_order: int = 1,
) -> tuple[Tensor, ...]:
    """Derivatives of samples along some or all axes, by central differences of second order.

    Args:
        spacing: the distance of the samples, one for each axis, or for each axis a vector of their places.
        dim: the axes, by default all.
        edge_order: the order at both ends, 1 or 2.

    Raises:
        RuntimeError: too few samples, or a ``spacing`` for another number of axes.

    As ``torch.gradient``.

    Example:
        >>> import flamework as torch
        >>> torch.gradient(torch.tensor([0.0, 1.0, 4.0, 9.0]))[0].tolist()
        [1.0, 2.0, 4.0, 5.0]
    """
    x = tensor_argument(input, "gradient", "input", 1)
    if x.type.dtype is dtypes.uint8:
        raise RuntimeError("torch.gradient does not support uint8 input.")
    if edge_order not in (1, 2):
        raise RuntimeError("torch.gradient only supports edge_order=1 and edge_order=2.")
    dims = range(x.ndim) if dim is None else [dim] if isinstance(dim, int) else dim
    axes = [axis_of(d, x.ndim) for d in dims]
    for i, axis in enumerate(axes):
        if axis in axes[:i]:
            raise RuntimeError(f"dim {axis} appears multiple times in the list of dims")
    steps = list(spacing) if isinstance(spacing, (list, tuple)) else [1 if spacing is None else spacing] * len(axes)
    if len(steps) != len(axes):
        given = f"'self.dim() = {x.ndim}', since dim argument was not given" if dim is None else (
            f"'dim.size() = {len(axes)}'"
        )
        raise RuntimeError(
            f"torch.gradient expected spacing to be unspecified, a scalar, or a list of length equal to {given}, but "
            f"got a list of length {len(steps)}"
        )
    for axis in axes:
        if x.type.shape[axis] < edge_order + 1:
            raise RuntimeError("torch.gradient expected each dimension size to be at least edge_order+1")
    samples = input if x.type.dtype.kind >= FLOATING else input.to(get_default_dtype())
    return tuple(_derivative(samples, axis, step, edge_order) for axis, step in zip(axes, steps))


def _derivative(x: Tensor, axis: int, step: float | Tensor, edge_order: int) -> Tensor:
    n = x.shape[axis]

    def at(i: int, count: int = 1) -> Tensor:
        return x.narrow(axis, i if i >= 0 else n + i, count)

    if not isinstance(step, Tensor):
        middle = (at(2, n - 2) - at(0, n - 2)) / (2 * step) if n > 2 else None
        if edge_order == 1:
            ends = (at(1) - at(0)) / step, (at(-1) - at(-2)) / step
        else:
            ends = (-1.5 * at(0) + 2 * at(1) - 0.5 * at(2)) / step, (1.5 * at(-1) - 2 * at(-2) + 0.5 * at(-3)) / step
    else:
        h = (step[1:] - step[:-1]).reshape([-1 if a == axis else 1 for a in range(x.ndim)])

        def gap(i: int, count: int = 1) -> Tensor:
            return h.narrow(axis, i if i >= 0 else n - 1 + i, count)

        middle = None
        if n > 2:
            near, far = gap(0, n - 2), gap(1, n - 2)
            middle = (
                -far / (near * (near + far)) * at(0, n - 2) + (far - near) / (near * far) * at(1, n - 2)
                + near / (far * (near + far)) * at(2, n - 2)
            )
        if edge_order == 1:
            ends = (at(1) - at(0)) / gap(0), (at(-1) - at(-2)) / gap(-1)
        else:
            ends = (_edge(at(0), at(1), at(2), gap(0), gap(1)), -_edge(at(-1), at(-2), at(-3), gap(-1), gap(-2)))
    parts = [ends[0], middle, ends[1]] if middle is not None else list(ends)
    return cat(parts, axis)


def _edge(first: Tensor, second: Tensor, third: Tensor, near: Tensor, far: Tensor) -> Tensor:
    """The derivative of the parabola through three samples, at the first."""
    return (
        -(2 * near + far) / (near * (near + far)) * first + (near + far) / (near * far) * second
        - near / (far * (near + far)) * third
    )


# -------------------------------------------------------------------------------------------------- made from a vector


def vander(x: Tensor, N: int | None = None, increasing: bool = False) -> Tensor:
    """The powers of every element, ``[n, N]``, the highest first; ``N`` is by default ``n``. As ``torch.vander``.

    Raises:
        RuntimeError: no vector, or a negative ``N``.

    Example:
        >>> import flamework as torch
        >>> torch.vander(torch.tensor([2, 3]), 3).tolist()
        [[4, 2, 1], [9, 3, 1]]
    """
    node = tensor_argument(x, "vander", "x", 1)
    if node.ndim != 1:
        raise RuntimeError("x must be a one-dimensional tensor.")
    count = node.type.shape[0] if N is None else N
    if count < 0:
        raise RuntimeError("N must be non-negative.")
    dtype = promoted(x, 1) if node.type.dtype.kind >= FLOATING else dtypes.int64
    first = ones(node.type.shape[0], min(count, 1), dtype=dtype, device=x.device)
    if count < 2:
        return first
    others = x.to(dtype).unsqueeze(1).expand(-1, count - 1)
    powers = cat([first, cumprod(others, 1)], 1)
    return powers if increasing else powers.flip(1)


def combinations(input: Tensor, r: int = 2, with_replacement: bool = False) -> Tensor:
    """All choices of ``r`` elements of a vector, ``[count, r]``, in the order of ``itertools.combinations``.

    Raises:
        RuntimeError: no vector, or a negative ``r``.

    As ``torch.combinations``.

    Example:
        >>> import flamework as torch
        >>> torch.combinations(torch.tensor([1, 2, 3])).tolist()
        [[1, 2], [1, 3], [2, 3]]
    """
    x = tensor_argument(input, "combinations", "input", 1)
    if x.ndim != 1:
        raise RuntimeError(f"Expect a 1D vector, but got shape {list(x.type.shape)}")
    if r < 0:
        raise RuntimeError(f"Expect a non-negative number, but got {r}")
    if r == 0:
        return empty(0, dtype=input.dtype, device=input.device)
    choose = itertools.combinations_with_replacement if with_replacement else itertools.combinations
    places = np.array(list(choose(range(x.type.shape[0]), r)), np.int64).reshape(-1, r)
    return input[tensor_of(input_node(places, x.type.device))]


def block_diag(*tensors: Tensor) -> Tensor:
    """A matrix with the given matrices (vectors are rows) along its diagonal, zeros elsewhere. As ``torch.block_diag``.

    Raises:
        RuntimeError: a tensor with more than two axes.

    Example:
        >>> import flamework as torch
        >>> torch.block_diag(torch.tensor([1, 2]), torch.tensor(3)).tolist()
        [[1, 2, 0], [0, 0, 3]]
    """
    if not tensors:
        return empty(1, 0)
    for i, x in enumerate(tensors):
        if not isinstance(x, Tensor):
            raise TypeError(f"expected Tensor as element {i} in argument 0, but got {type(x).__name__}")
        if x.ndim > 2:
            raise RuntimeError(
                f"torch.block_diag: Input tensors must have 2 or fewer dimensions. Input {i} has {x.ndim} dimensions"
            )
    dtype = promoted(*tensors)
    blocks = [x.to(dtype).reshape((1,) * (2 - x.ndim) + tuple(x.shape)) for x in tensors]
    width, before, rows = sum(b.shape[1] for b in blocks), 0, []
    for block in blocks:
        height, own = block.shape
        left = zeros(height, before, dtype=dtype, device=block.device)
        right = zeros(height, width - before - own, dtype=dtype, device=block.device)
        rows.append(cat([left, block, right], 1))
        before += own
    return cat(rows, 0)


def unravel_index(indices: Tensor, shape: int | Sequence[int]) -> tuple[Tensor, ...]:
    """The positions along every axis of flat positions in a tensor of a shape. As ``torch.unravel_index``.

    Raises:
        TypeError: indices that are no integers.
        ValueError: a negative size.

    Example:
        >>> import flamework as torch
        >>> [v.item() for v in torch.unravel_index(torch.tensor(5), (2, 4))]
        [1, 1]
    """
    node = tensor_argument(indices, "unravel_index", "indices", 1)
    if node.type.dtype.kind != INTEGER:
        raise TypeError(f"expected 'indices' to be integer dtype, but got {indices.dtype}")
    sizes = (shape,) if isinstance(shape, int) else shape
    for size in sizes:
        if not isinstance(size, int):
            raise TypeError(f"expected 'shape' sequence to only contain ints, but got {type(size)}")
    if any(size < 0 for size in sizes):
        raise ValueError(f"'shape' cannot have negative values, but got {tuple(sizes)}")
    if 0 in sizes and node.type.size:
        raise RuntimeError("ZeroDivisionError")
    found, rest = [], indices.to(dtypes.int64)
    for size in reversed(sizes):
        found.append(rest % size)
        rest = rest // size
    return tuple(reversed(found))
