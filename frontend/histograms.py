"""Histograms with their edges, of numbers and of points. Read next: ``sorting.py``, which has ``histc``."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from . import return_types
from .arguments import tensor_argument, values_of
from .compiler import dtypes
from .compiler.dtypes import float32, float64
from .compiler.ir import Node
from .compiler.primitives import Undefined
from .creation import linspace
from .mutation import write_out
from .recording import input_node, node_of, tensor_of
from .tensor import Tensor

Bins = int | Tensor | Sequence[int] | Sequence[Tensor]


def histogram(
    input: Tensor, bins: int | Tensor = 100, *, range: Sequence[float] | None = None, weight: Tensor | None = None,
    density: bool = False, out: tuple[Tensor, Tensor] | None = None,
) -> return_types.histogram:
    """How many elements fall into each interval, and the edges of the intervals; computes. As ``torch.histogram``.

    Args:
        bins: the number of intervals of one width, or a vector of their edges.
        range: the first and the last edge, by default the extrema of the data.
        weight: what each element counts, in the shape of ``input``.
        density: divide by the sum and by the widths.

    Raises:
        NotImplementedError: a dtype other than float32 and float64.
        RuntimeError: no bins, or a range that is empty or not finite.

    Example:
        >>> import flamework as torch
        >>> torch.histogram(torch.tensor([1.0, 2.0, 1.0]), 2, range=(0.0, 3.0)).hist.tolist()
        [2.0, 1.0]
    """
    x = tensor_argument(input, "histogram", "input", 1)
    points = _points(x, "histogram").reshape(-1, 1)
    if isinstance(bins, int) and bins <= 0:
        raise RuntimeError(f"torch.histogram(): bins must be > 0, but got {bins} for dimension 0")
    hist, edges = _counted(points, [bins], range, _weights(weight, points, x), density, x.type.device)
    if out is not None:
        return return_types.histogram(write_out(out[0], hist), write_out(out[1], edges[0]))
    return return_types.histogram(tensor_of(hist), tensor_of(edges[0]))


def histogramdd(
    input: Tensor, bins: Bins, *, range: Sequence[float] | None = None, weight: Tensor | None = None,
    density: bool = False,
) -> return_types.histogramdd:
    """How many points ``[*, dimensions]`` fall into each box, and the edges; computes. As ``torch.histogramdd``.

    Args:
        bins: the number of intervals, one for all dimensions or one for each, or a vector of edges for each.
        range: the first and the last edge of each dimension, one after the other.

    Example:
        >>> import flamework as torch
        >>> torch.histogramdd(torch.tensor([[0.0, 1.0], [1.0, 0.0]]), 2).hist.tolist()
        [[0.0, 1.0], [1.0, 0.0]]
    """
    x = tensor_argument(input, "histogramdd", "input", 1)
    if isinstance(bins, Tensor):
        raise TypeError("histogramdd(): argument 'bins' (position 2) must be tuple of ints, not Tensor")
    if x.ndim < 2:
        raise RuntimeError("torch.histogramdd: input tensor should have at least 2 dimensions")
    points = _points(x, "histogramdd")
    points = points.reshape(math.prod(points.shape[:-1]), points.shape[-1])
    given = [bins] * points.shape[1] if isinstance(bins, int) else list(bins)
    if len(given) != points.shape[1]:
        raise RuntimeError("histogramdd: The size of bins must be equal to the innermost dimension of the input.")
    hist, edges = _counted(points, given, range, _weights(weight, points, x), density, x.type.device)
    return return_types.histogramdd(tensor_of(hist), tuple(map(tensor_of, edges)))


def _points(x: Node, function: str) -> np.ndarray:
    if x.type.dtype not in (float32, float64):
        raise Undefined(f"\"histogramdd\" not implemented for '{x.type.dtype.scalar_name}'")
    return values_of(x)


def _weights(weight: Tensor | None, points: np.ndarray, x: Node) -> np.ndarray | None:
    if weight is None:
        return None
    given = values_of(node_of(weight)).reshape(-1)
    if given.size != len(points):
        raise RuntimeError(
            "torch.histogramdd: if weight tensor is provided it should have the same shape as the input tensor "
            f"excluding its innermost dimension, but got input with shape {list(x.type.shape)} and weight with shape "
            f"{list(weight.shape)}"
        )
    return given


def _counted(points, bins, range, weights, density, place) -> tuple[Node, list[Node]]:
    edges = [_edges(points[:, d], given, range, d) for d, given in enumerate(bins)]
    hist, _ = np.histogramdd(points, edges, weights=weights, density=density)
    return input_node(hist.astype(points.dtype), place), [input_node(e, place) for e in edges]


def _edges(values: np.ndarray, bins: int | Tensor, range: Sequence[float] | None, dimension: int) -> np.ndarray:
    if isinstance(bins, Tensor):
        if bins.ndim != 1:
            raise RuntimeError(
                f"torch.histogramdd: bins tensor should have one dimension, but got {bins.ndim} dimensions in the bins "
                f"tensor for dimension {dimension}"
            )
        return np.array(values_of(node_of(bins)), values.dtype)
    if range is not None:
        low, high = range[2 * dimension : 2 * dimension + 2]
    else:
        low, high = (values.min(), values.max()) if values.size else (0.0, 0.0)
    if not (math.isfinite(low) and math.isfinite(high)):
        raise RuntimeError(f"torch.histogramdd: dimension {dimension}'s range [{low:g}, {high:g}] is not finite")
    if low > high:
        raise RuntimeError(
            f"torch.histogramdd: min should not exceed max, but got min {low:g} max {high:g} for dimension {dimension}"
        )
    if low == high and (range is not None or values.size):
        low, high = low - 0.5, high + 0.5
    elif low == high:
        high = low + 1
    dtype = dtypes.from_numpy(values.dtype)
    return values_of(node_of(linspace(float(low), float(high), bins + 1, dtype=dtype)))


__all__ = ["histogram", "histogramdd"]
