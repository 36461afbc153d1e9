"""Images sampled at the points of a grid: spatial transformers.

In: images and a grid of points, from -1 at one end of an axis to 1 at the other, the last axis of the image first. Out:
what stands at the points. Jaderberg and others, "Spatial transformer networks" (2015).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import product

import numpy as np

from .. import formulas as f
from ..arguments import floating_only, tensor_argument
from ..compiler import dtypes, primitives as p, primitives_shape as s
from ..compiler.ir import Node
from ..formulas import argument, constant
from ..origin import warn
from ..recording import input_node, node_of, tensor_of
from ..storage import attached
from ..tensor import Tensor
from .functional_vision import CUBIC


def _alignment(align_corners: bool | None, function: str) -> bool:
    if align_corners is None:
        warn(
            f"Default {function} behavior has changed to align_corners=False since 1.3.0. Please specify "
            "align_corners=True if the old behavior is desired. See the documentation of grid_sample for details.",
        )
    return bool(align_corners)


def grid_sample(
    input: Tensor, grid: Tensor, mode: str = "bilinear", padding_mode: str = "zeros",
    align_corners: bool | None = None,
) -> Tensor:
    """What stands in images at the points of a grid.

    Args:
        input: ``[batch, channels, height, width]``, or with a depth before the height.
        grid: ``[batch, *size of the result, 2]`` with points (x, y), or 3 with (x, y, z); -1 and 1 are the ends.
        mode: ``"bilinear"`` (of volumes in all three directions), ``"nearest"``, or for images ``"bicubic"``.
        padding_mode: what is outside: ``"zeros"``, the nearest edge (``"border"``), or the image mirrored
            (``"reflection"``).
        align_corners: whether the ends are the centres of the outermost elements, or their outer edges (False).

    Returns:
        ``[batch, channels, *size of the result]``. As ``torch.nn.functional.grid_sample``.

    Raises:
        ValueError: another mode.
        RuntimeError: shapes or dtypes that do not fit.

    Example:
        >>> import flamework as torch
        >>> image, points = torch.tensor([[[[1.0, 2.0, 3.0]]]]), torch.tensor([[[[-1.0, 0.0], [0.5, 0.0]]]])
        >>> torch.nn.functional.grid_sample(image, points, align_corners=True).tolist()
        [[[[1.0, 2.5]]]]
    """
    if mode not in ("bilinear", "nearest", "bicubic"):
        raise ValueError(
            f"nn.functional.grid_sample(): expected mode to be 'bilinear', 'nearest' or 'bicubic', but got: '{mode}'"
        )
    if padding_mode not in ("zeros", "border", "reflection"):
        raise ValueError(
            "nn.functional.grid_sample(): expected padding_mode to be 'zeros', 'border', or 'reflection', but got: "
            f"'{padding_mode}'"
        )
    aligned = _alignment(align_corners, "grid_sample")
    x = tensor_argument(input, "grid_sample", "input", 1)
    points = tensor_argument(grid, "grid_sample", "grid", 2)
    _check(x, points, mode)
    dtype = x.type.dtype
    x, points = f.converted(x, dtype.compute), f.converted(points, dtype.compute)
    out = _Sampler(x, padding_mode, aligned).at(points, mode)
    return tensor_of(f.converted(out, dtype))


def _check(x: Node, points: Node, mode: str) -> None:
    shapes = f"input with sizes {list(x.type.shape)} and grid with sizes {list(points.type.shape)}"
    rank = x.ndim - 2
    if rank not in (2, 3) or points.ndim != x.ndim:
        raise RuntimeError(
            f"grid_sampler(): expected 4D or 5D input and grid with same number of dimensions, but got {shapes}"
        )
    if points.type.shape[0] != x.type.shape[0]:
        raise RuntimeError(f"grid_sampler(): expected grid and input to have same batch size, but got {shapes}")
    if points.type.shape[-1] != rank:
        raise RuntimeError(
            f"grid_sampler(): expected grid to have size {rank} in last dimension, but got grid with sizes "
            f"{list(points.type.shape)}"
        )
    if 0 in x.type.shape[2:]:
        raise RuntimeError(f"grid_sampler(): expected input to have non-empty spatial dimensions, but got {shapes}")
    if mode == "bicubic" and rank != 2:
        raise RuntimeError("grid_sampler(): bicubic interpolation only supports 4D input")
    floating_only(x, "grid_sampler")
    if points.type.dtype is not x.type.dtype:
        raise RuntimeError(f"grid_sampler(): expected one dtype, but got {x.type.dtype} and {points.type.dtype}")


class _Sampler:
    """An image and what is around it."""

    def __init__(self, x: Node, padding: str, aligned: bool) -> None:
        self.x, self.padding, self.aligned = x, padding, aligned
        self.space = x.type.shape[2:]
        self.flat = f.reshaped(x, (*x.type.shape[:2], math.prod(self.space)))

    def at(self, points: Node, mode: str) -> Node:
        batch, *size, rank = points.type.shape
        flat = f.reshaped(points, (batch, math.prod(size), rank))
        # the last axis of the image comes first
        columns = [f.axis_slice(flat, 2, rank - 1 - i, 1) for i in range(rank)]
        places = [
            self._element(f.reshaped(column, flat.type.shape[:2]), extent)
            for column, extent in zip(columns, self.space)
        ]
        if mode == "bicubic":
            taps = [self._cubic(place) for place in places]
        else:
            places = [self._inside(place, extent) for place, extent in zip(places, self.space)]
            taps = [[(p.round(place), None)] if mode == "nearest" else self._linear(place) for place in places]
        total = None
        for corner in product(*taps):
            positions, weights = zip(*corner)
            if mode == "bicubic":
                positions = [self._inside(at, extent) for at, extent in zip(positions, self.space)]
            part = self._read(positions)
            if weights[0] is not None:
                weight = weights[0]
                for other in weights[1:]:
                    weight = p.mul(weight, other)
                part = p.mul(part, f.along(weight, (1,), part))
            total = part if total is None else p.add(total, part)
        if mode == "nearest" and points.requires_grad:
            # a gradient of 0 for the points
            steps = p.floor(f.along(places[0], (1,), total))
            total = attached(total, p.add(total, steps))
        return f.reshaped(total, (*self.x.type.shape[:2], *size))

    def _element(self, place: Node, extent: int) -> Node:
        """From [-1, 1] to the number of an element."""
        grown = p.add(place, constant(place, 1))
        if self.aligned:
            return p.mul(p.scale(grown, 0.5), argument(place, extent - 1))
        return p.scale(p.sub(p.mul(grown, argument(place, extent)), constant(place, 1)), 0.5)

    def _inside(self, place: Node, extent: int) -> Node:
        """Where a place outside of the image is read."""
        if self.padding == "zeros":
            return place
        if self.padding == "reflection":
            place = _reflected(place, *((0, extent - 1) if self.aligned else (-0.5, extent - 0.5)))
        low, high = constant(place, 0), argument(place, extent - 1)
        # NaN becomes 0, and the gradient ends where the image does
        return p.where(p.lt(low, place), p.where(p.lt(place, high), place, high), low)

    @staticmethod
    def _linear(place: Node) -> list[tuple[Node, Node]]:
        below = p.floor(place)
        weight = p.sub(place, below)
        return [(below, p.sub(constant(weight, 1), weight)), (p.add(below, constant(below, 1)), weight)]

    @staticmethod
    def _cubic(place: Node) -> list[tuple[Node, Node]]:
        below = p.floor(place)
        t = p.sub(place, below)
        one = constant(t, 1)
        a = CUBIC

        def near(x: Node) -> Node:
            inner = p.sub(p.scale(x, a + 2), argument(x, a + 3))
            return p.add(p.mul(p.mul(inner, x), x), one)

        def far(x: Node) -> Node:
            inner = p.add(p.mul(p.sub(p.scale(x, a), argument(x, 5 * a)), x), argument(x, 8 * a))
            return p.sub(p.mul(inner, x), argument(x, 4 * a))

        weights = (far(p.add(t, one)), near(t), near(p.sub(one, t)), far(p.sub(argument(t, 2), t)))
        return [(p.add(below, argument(below, k - 1)), weight) for k, weight in enumerate(weights)]

    def _read(self, positions: Sequence[Node]) -> Node:
        """The elements at whole positions, ``[batch, points]`` of floats by axis; 0 outside of the image."""
        inside, index = None, None
        for position, extent in zip(positions, self.space):
            position = f.cut(position)
            low, high = constant(position, 0), argument(position, extent - 1)
            within = p.band(p.le(low, position), p.le(position, high))
            number = f.converted(p.where(within, position, low), dtypes.int64)
            inside = within if inside is None else p.band(inside, within)
            index = number if index is None else p.add(p.mul(index, argument(index, extent)), number)
        shape = (*self.flat.type.shape[:2], index.type.shape[1])
        spread = f.expanded(f.reshaped(index, (shape[0], 1, shape[2])), shape)
        values = s.gather(self.flat, spread, params=(2,))
        return p.where(f.along(inside, (1,), values), values, constant(values, 0))


def _reflected(x: Node, low: float, high: float) -> Node:
    """``x`` mirrored at ``low`` and ``high`` until it lies between them."""
    if low == high:
        return p.mul(x, constant(x, 0))
    least, span = argument(x, low), argument(x, high - low)
    distance = p.sub(x, least)
    distance = p.where(p.lt(distance, constant(x, 0)), p.neg(distance), distance)
    rest = p.fmod(distance, span)
    turns = p.floor(p.div(distance, span))
    odd = p.ne(p.fmod(f.cut(turns), argument(x, 2)), constant(x, 0))
    return p.add(p.where(odd, p.sub(span, rest), rest), least)


def affine_grid(theta: Tensor, size: Sequence[int], align_corners: bool | None = None) -> Tensor:
    """The points of a grid after affine maps, for :func:`grid_sample`.

    Args:
        theta: ``[batch, 2, 3]``, or ``[batch, 3, 4]`` for volumes: matrices that map (x, y, 1).
        size: of the result of sampling, (batch, channels, height, width) or with a depth before the height.
        align_corners: whether -1 and 1 are the centres of the outermost elements, or their outer edges (False).

    Returns:
        ``[batch, height, width, 2]`` or ``[batch, depth, height, width, 3]``. As ``torch.nn.functional.affine_grid``.

    Raises:
        ValueError: matrices of another shape or dtype, or a size that is not positive.
        NotImplementedError: another number of dimensions.

    Example:
        >>> import flamework as torch
        >>> same = torch.tensor([[[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]])
        >>> torch.nn.functional.affine_grid(same, (1, 1, 1, 2), align_corners=True).tolist()
        [[[[-1.0, 0.0], [1.0, 0.0]]]]
    """
    if not theta.is_floating_point():
        raise ValueError(f"Expected theta to have floating point type, but got {theta.dtype}")
    rank = len(size) - 2
    if rank not in (2, 3):
        raise p.Undefined(
            f"affine_grid only supports 4D and 5D sizes, for 2D and 3D affine transforms, respectively. Got size "
            f"{size}."
        )
    maps, space = node_of(theta), list(size[2:])
    if maps.ndim != 3 or maps.type.shape[1:] != (rank, rank + 1):
        raise ValueError(
            f"Expected a batch of {rank}D affine matrices of shape Nx{rank}x{rank + 1} for size {list(size)}. Got "
            f"{list(maps.type.shape)}."
        )
    if min(size) <= 0:
        raise ValueError(f"Expected non-zero, positive output size. Got {list(size)}")
    batch = size[0]
    if maps.type.shape[0] != batch:
        raise RuntimeError(f"affine_grid: expected {batch} matrices, got {maps.type.shape[0]}")
    aligned = _alignment(align_corners, "affine_grid")
    lines = [_line(extent, aligned) for extent in space]
    mesh = np.meshgrid(*lines, indexing="ij")
    base = np.stack([*mesh[::-1], np.ones(space)], -1).reshape(1, -1, rank + 1).astype(maps.type.dtype.numpy)
    points = f.expanded(input_node(np.ascontiguousarray(base), maps.type.device), (batch, *base.shape[1:]))
    return tensor_of(f.reshaped(f.matmul(points, s.swapped(maps)), (batch, *space, rank)))


def _line(extent: int, aligned: bool) -> np.ndarray:
    line = np.linspace(-1, 1, extent) if extent > 1 else np.zeros(1)
    return line if aligned else line * ((extent - 1) / extent)


__all__ = ["affine_grid", "grid_sample"]
