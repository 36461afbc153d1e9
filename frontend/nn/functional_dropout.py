"""Dropout: elements or whole channels set to zero at random.

Each call takes a stretch of counters from the generator's counter-based stream; the kernel that uses the mask draws the
bits, so that neither mask nor random numbers are stored, and the backward pass draws the same bits again. The numbers
are not those of PyTorch's ``dropout``; the distribution is. Read next: ``functional_attention.py``.
"""

from __future__ import annotations

import math

from .. import formulas as f
from ..arguments import floating_only, tensor_argument
from ..compiler import primitives as p
from ..compiler.ir import Node
from ..formulas import argument, constant
from ..mutation import assign
from ..origin import warn
from ..random import chance
from ..recording import tensor_of
from ..tensor import Tensor

# minus the limit of SELU for large negative arguments
SELU_LIMIT = 1.7580993408473766


def _check_probability(name: str, probability: float) -> None:
    if not 0 <= probability <= 1:
        raise ValueError(f"{name} probability has to be between 0 and 1, but got {probability}")


def dropped(x: Node, probability: float, pattern: Node | None = None) -> Node:
    """``x`` with elements set to 0 with a probability, the others divided by that of being kept.

    Args:
        pattern: a node of which every element decides for the elements of ``x`` that it broadcasts to.
    """
    pattern = x if pattern is None else pattern
    keep = chance(pattern, 1 - probability)
    # nothing is kept at probability 1, and a factor of 1 / 0 must not appear
    scale = argument(pattern, 1 / (1 - probability) if probability < 1 else 0)
    noise = p.where(keep, scale, constant(pattern, 0))
    return p.mul(x, f.broadcast_to(noise, x.type.shape))


def dropout(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """When training, elements set to 0 with probability ``p`` and the others divided by ``1 - p``.

    As ``torch.nn.functional.dropout``. Hinton and others, "Improving neural networks by preventing co-adaptation of
    feature detectors" (2012).

    Raises:
        ValueError: a probability outside of [0, 1].

    Example:
        >>> import flamework as torch
        >>> torch.nn.functional.dropout(torch.ones(2), training=False).tolist()
        [1.0, 1.0]
    """
    _check_probability("dropout", p)
    x = tensor_argument(input, "dropout", "input", 1)
    if not training or p == 0 or x.type.size == 0:
        return input
    node = dropped(floating_only(x, "dropout"), p)
    return assign(input, node) if inplace else tensor_of(node)


def _channels(x: Node) -> Node:
    """A node with one element for every channel of every sample."""
    return f.filled((*x.type.shape[:2], *(1,) * (x.ndim - 2)), x.type.dtype, x.type.device, 0)


def _feature_dropout(name: str, input: Tensor, p: float, training: bool, inplace: bool, rank: int) -> Tensor:
    _check_probability("dropout", p)
    x = tensor_argument(input, name, "input", 1)
    if not training or p == 0 or x.type.size == 0:
        return input
    if x.ndim not in (rank + 1, rank + 2):
        warn(f"{name}: Received a {x.ndim}-D input, expected {rank + 1}-D or {rank + 2}-D.")
    if x.ndim < 2:
        raise RuntimeError("Feature dropout requires at least 2 dimensions in the input")
    floating_only(x, name)
    if x.ndim == rank + 1 and rank != 2:
        # no batch: the first axis is the channels
        grown = f.reshaped(x, (1, *x.type.shape))
        node = f.reshaped(dropped(grown, p, _channels(grown)), x.type.shape)
    else:
        node = dropped(x, p, _channels(x))
    return assign(input, node) if inplace else tensor_of(node)


def dropout1d(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """:func:`dropout` of whole channels of ``[batch, channels, length]`` or ``[channels, length]``.

    As ``torch.nn.functional.dropout1d``.
    """
    return _feature_dropout("dropout1d", input, p, training, inplace, 1)


def dropout2d(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """:func:`dropout` of whole channels of ``[batch, channels, height, width]``.

    As ``torch.nn.functional.dropout2d``.
    """
    return _feature_dropout("dropout2d", input, p, training, inplace, 2)


def dropout3d(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """:func:`dropout` of whole channels of ``[batch, channels, depth, height, width]``, with or without the batch.

    As ``torch.nn.functional.dropout3d``.
    """
    return _feature_dropout("dropout3d", input, p, training, inplace, 3)


def _alpha(x: Node, probability: float, pattern: Node) -> Node:
    if probability == 1:
        return p.mul(x, constant(x, 0))
    keep = chance(pattern, 1 - probability)
    scale = 1 / math.sqrt((SELU_LIMIT**2 * probability + 1) * (1 - probability))
    shift = SELU_LIMIT * scale * probability
    noise = p.where(keep, argument(pattern, scale), constant(pattern, 0))
    offset = p.where(keep, argument(pattern, shift), argument(pattern, shift - SELU_LIMIT * scale))
    return p.add(p.mul(x, f.broadcast_to(noise, x.type.shape)), f.broadcast_to(offset, x.type.shape))


def alpha_dropout(input: Tensor, p: float = 0.5, training: bool = False, inplace: bool = False) -> Tensor:
    """Dropout to the limit of SELU, scaled so that mean and variance stay. As ``torch.nn.functional.alpha_dropout``."""
    _check_probability("dropout", p)
    x = tensor_argument(input, "alpha_dropout", "input", 1)
    if not training or p == 0 or x.type.size == 0:
        return input
    node = _alpha(floating_only(x, "alpha_dropout"), p, x)
    return assign(input, node) if inplace else tensor_of(node)


def feature_alpha_dropout(input: Tensor, p: float = 0.5, training: bool = False, inplace: bool = False) -> Tensor:
    """:func:`alpha_dropout` of whole channels (axis 1). As ``torch.nn.functional.feature_alpha_dropout``."""
    _check_probability("dropout", p)
    x = tensor_argument(input, "feature_alpha_dropout", "input", 1)
    if not training or p == 0 or x.type.size == 0:
        return input
    if x.ndim < 2:
        raise RuntimeError("Feature dropout requires at least 2 dimensions in the input")
    node = _alpha(floating_only(x, "feature_alpha_dropout"), p, _channels(x))
    return assign(input, node) if inplace else tensor_of(node)


__all__ = ["alpha_dropout", "dropout", "dropout1d", "dropout2d", "dropout3d", "feature_alpha_dropout"]
