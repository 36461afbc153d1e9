"""Tensors on several GPUs, as ``torch.cuda.comm``: copies to all, pieces to each, and back.

In: tensors and devices. Out: tensors, each on its device. Read next: ``../conversion.py``.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ..device import device_name
from ..joining import cat
from ..tensor import Tensor
from . import DeviceLike


def _apart(devices: Iterable[DeviceLike] | None, out: Sequence[Tensor] | None) -> list[str]:
    """The devices' names; either they or tensors have to be given."""
    if (devices is None) == (out is None):
        raise RuntimeError(f"Exactly one of 'devices' and 'out' must be specified, but got {devices=} and {out=}")
    return [device_name(place) for place in (devices if out is None else [x.device for x in out])]


def _served(made: Sequence[Tensor], out: Sequence[Tensor] | None) -> tuple[Tensor, ...]:
    if out is None:
        return tuple(made)
    for target, value in zip(out, made, strict=True):
        target.copy_(value)
    return tuple(out)


def broadcast(
    tensor: Tensor, devices: Iterable[DeviceLike] | None = None, *, out: Sequence[Tensor] | None = None
) -> tuple[Tensor, ...]:
    """A copy of a tensor on each device; as ``torch.cuda.comm.broadcast``."""
    return _served([tensor.to(place) for place in _apart(devices, out)], out)


def broadcast_coalesced(
    tensors: Sequence[Tensor], devices: Iterable[DeviceLike], buffer_size: int = 10485760
) -> tuple[tuple[Tensor, ...], ...]:
    """Copies of tensors on each device. Each is copied by itself, whatever ``buffer_size``."""
    return tuple(tuple(tensor.to(place) for tensor in tensors) for place in _apart(devices, None))


def reduce_add(inputs: Sequence[Tensor], destination: int | None = None) -> Tensor:
    """The sum of tensors of one shape, on a GPU, by default the current one.

    Raises:
        ValueError: the shapes differ, or a tensor is not on a GPU.
    """
    place = device_name("cuda" if destination is None else destination)
    for tensor in inputs:
        if not tensor.is_cuda:
            raise ValueError("reduce_add expects all inputs to be on GPUs")
        if tensor.shape != inputs[0].shape:
            raise ValueError(f"input {list(tensor.shape)} does not have the shape {list(inputs[0].shape)} of the first")
    total = inputs[0].to(place)
    for tensor in inputs[1:]:
        total = total + tensor.to(place)
    return total


def scatter(
    tensor: Tensor, devices: Iterable[DeviceLike] | None = None, chunk_sizes: Sequence[int] | None = None, dim: int = 0,
    streams: None = None, *, out: Sequence[Tensor] | None = None,
) -> tuple[Tensor, ...]:
    """Pieces of a tensor along ``dim``, one on each device; as ``torch.cuda.comm.scatter``.

    Args:
        chunk_sizes: how long each is; by default they are as equal as ``chunk`` makes them.
        streams: only None: there is one order of all work.
    """
    if streams is not None:
        raise ValueError("scatter(): streams must be None")
    places = _apart(devices, out)
    if out is not None:
        chunk_sizes = [x.shape[dim] for x in out]
    pieces = tensor.chunk(len(places), dim) if chunk_sizes is None else tensor.split(list(chunk_sizes), dim)
    return _served([piece.to(place) for piece, place in zip(pieces, places)], out)


def gather(
    tensors: Sequence[Tensor], dim: int = 0, destination: DeviceLike = None, *, out: Tensor | None = None
) -> Tensor:
    """Tensors joined along ``dim`` on one device, by default the current GPU; as ``torch.cuda.comm.gather``."""
    if out is not None:
        return out.copy_(cat([tensor.to(out.device) for tensor in tensors], dim))
    place = device_name("cuda" if destination is None or destination == -1 else destination)
    return cat([tensor.to(place) for tensor in tensors], dim)
