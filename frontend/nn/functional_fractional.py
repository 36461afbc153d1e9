"""Fractional max pooling: windows whose distances are drawn at random, so that their number can be any.

In: ``[batch, channels, *space]``, or without the batch. Out: the same with other sizes of space. Read next:
``functional_loss.py``.
"""

from __future__ import annotations

from collections.abc import Sequence

from ..compiler.primitives import piecewise
from ..creation import arange
from ..grad_mode import no_grad
from ..random import rand
from ..recording import node_of, tensor_of
from ..tensor import Tensor

Sizes = int | Sequence[int]
Ratio = float | Sequence[float]


def _starts(sample: Tensor, extent: int, count: int, size: int) -> Tensor:
    """Where ``count`` windows of a size begin on an axis, for a random number of each plane; at the axis' end."""
    if count == 1:
        return (sample * 0).long().unsqueeze(-1) + (extent - size)
    step = (sample * 0 + (extent - size)) / (count - 1)
    places = arange(count, dtype=sample.dtype)
    found = ((places + sample.unsqueeze(-1)) * step.unsqueeze(-1)).long() - (sample * step).long().unsqueeze(-1)
    return found.where(arange(count) < count - 1, found.new_full((), extent - size))


def _pooled(
    rank: int, input: Tensor, kernel_size: Sizes, output_size: Sizes | None, output_ratio: Ratio | None,
    return_indices: bool, samples: Tensor | None,
) -> Tensor | tuple[Tensor, Tensor]:
    name = f"fractional_max_pool{rank}d"
    if output_size is None and output_ratio is None:
        raise ValueError(f"{name} requires specifying either an output_size or an output_ratio")
    if input.ndim <= rank:
        # the error is that of a missing axis
        input.size(-rank - 1)
    if input.ndim not in (rank + 1, rank + 2):
        raise RuntimeError(
            f"{name}(): Expected {rank + 1}D or {rank + 2}D tensor, but got: {list(input.shape)}"
        )
    x = input if input.ndim == rank + 2 else input.unsqueeze(0)
    space = tuple(x.shape[2:])
    if output_size is None:
        ratios = (output_ratio,) * rank if isinstance(output_ratio, (int, float)) else tuple(output_ratio)
        if len(ratios) > rank:
            raise ValueError(f"{name} requires output_ratio to either be a single Int or tuple of Ints.")
        output_size = [int(extent * ratio) for extent, ratio in zip(space, ratios)]
    size = (kernel_size,) * rank if isinstance(kernel_size, int) else tuple(kernel_size)
    counts = (output_size,) * rank if isinstance(output_size, int) else tuple(output_size)
    for axis, (extent, k, count) in enumerate(zip(space, size, counts), 3 - rank):
        if count + k - 1 > extent:
            axis_name = ("time", "height", "width")[axis]
            function = name if rank == 2 else f"{name}_out"
            raise RuntimeError(f"{function}(): pool {axis_name} {k} too large relative to input {axis_name} {extent}")
    if samples is None:
        samples = rand(*x.shape[:2], rank, dtype=x.dtype, device=x.device)
    planes = x.flatten(2)
    with no_grad():
        flat: Tensor | None = None
        for axis, (extent, k, count) in enumerate(zip(space, size, counts)):
            # the samples of an image are those of its columns, then of its rows
            sample = samples[..., 1 - axis if rank == 2 else axis]
            places = _starts(sample, extent, count, k).unsqueeze(-1) + arange(k)
            # [batch, channels, 1, ..., count, ..., 1, 1, ..., k, ..., 1]
            shape = [1] * (2 * rank)
            shape[axis], shape[rank + axis] = count, k
            places = places.reshape(*x.shape[:2], *shape)
            flat = places if flat is None else flat * extent + places
        index = flat.reshape(*x.shape[:2], *counts, -1)
        window = planes.detach().gather(2, index.flatten(2)).reshape(index.shape)
        index = index.gather(-1, window.argmax(-1, keepdim=True)).squeeze(-1)
    values = tensor_of(piecewise(node_of(planes))).gather(2, index.flatten(2)).reshape(index.shape)
    if input.ndim == rank + 1:
        values, index = values.squeeze(0), index.squeeze(0)
    return (values, index) if return_indices else values


def fractional_max_pool2d(
    input: Tensor, kernel_size: Sizes, output_size: Sizes | None = None, output_ratio: Ratio | None = None,
    return_indices: bool = False, _random_samples: Tensor | None = None,
) -> Tensor | tuple[Tensor, Tensor]:
    """The maximum of every window of an image, where the distances of windows are drawn at random.

    Args:
        input: ``[batch, channels, height, width]``, or without the batch.
        output_size: how many windows there are along each axis.
        output_ratio: their number as a part of the input's size.
        return_indices: also give the position of each maximum in its image, row by row.
        _random_samples: ``[batch, channels, 2]``, numbers of [0, 1) that say where the windows are.

    As ``torch.nn.functional.fractional_max_pool2d``. Graham, "Fractional max-pooling" (2014).

    Raises:
        ValueError: neither a size nor a ratio.
        RuntimeError: windows that do not fit.

    Example:
        >>> import flamework as torch
        >>> torch.nn.functional.fractional_max_pool2d(torch.ones(1, 1, 5, 5), 2, output_size=3).shape
        torch.Size([1, 1, 3, 3])
    """
    return _pooled(2, input, kernel_size, output_size, output_ratio, return_indices, _random_samples)


def fractional_max_pool3d(
    input: Tensor, kernel_size: Sizes, output_size: Sizes | None = None, output_ratio: Ratio | None = None,
    return_indices: bool = False, _random_samples: Tensor | None = None,
) -> Tensor | tuple[Tensor, Tensor]:
    """The maximum of every window of a volume; see :func:`fractional_max_pool2d`.

    As ``torch.nn.functional.fractional_max_pool3d``.
    """
    return _pooled(3, input, kernel_size, output_size, output_ratio, return_indices, _random_samples)


def fractional_max_pool2d_with_indices(
    input: Tensor, kernel_size: Sizes, output_size: Sizes | None = None, output_ratio: Ratio | None = None,
    return_indices: bool = False, _random_samples: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """:func:`fractional_max_pool2d` with the positions, whatever is asked for."""
    return _pooled(2, input, kernel_size, output_size, output_ratio, True, _random_samples)


def fractional_max_pool3d_with_indices(
    input: Tensor, kernel_size: Sizes, output_size: Sizes | None = None, output_ratio: Ratio | None = None,
    return_indices: bool = False, _random_samples: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """:func:`fractional_max_pool3d` with the positions, whatever is asked for."""
    return _pooled(3, input, kernel_size, output_size, output_ratio, True, _random_samples)


__all__ = [
    "fractional_max_pool2d", "fractional_max_pool2d_with_indices", "fractional_max_pool3d",
    "fractional_max_pool3d_with_indices",
]
