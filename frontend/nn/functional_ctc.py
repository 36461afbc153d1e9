"""Connectionist temporal classification: the loss of a sequence of labels without an alignment.

In: log-probabilities of classes at every step, labels, and lengths. Out: minus the log-probability of the labels. The
sum over alignments is a row of the table (``compiler/primitives_library.py``).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .. import formulas as f
from ..arguments import floating_only, scalar_type, tensor_argument, values_of
from ..compiler import dtypes, primitives as p, primitives_shape as s
from ..compiler.ir import Node
from ..compiler.primitives_library import check_lengths, ctc
from ..formulas import constant
from ..gathering import checked_index, known
from ..recording import input_node, node_of, read, tensor_of
from ..tensor import Tensor
from .functional_loss import reduced, reduction_mode

Lengths = Tensor | Sequence[int]


def ctc_loss(
    log_probs: Tensor, targets: Tensor, input_lengths: Lengths, target_lengths: Lengths, blank: int = 0,
    reduction: str = "mean", zero_infinity: bool = False,
) -> Tensor:
    """Minus the log-probability that steps spell labels, each of them repeated and with blanks between as one likes.

    Args:
        log_probs: ``[steps, batch, classes]``, logarithms of probabilities, or ``[steps, classes]``.
        targets: integers, ``[batch, most]``, of which the first of each row count; or all labels, one after the other.
        input_lengths, target_lengths: how many steps and labels of each sequence count, tensors or tuples.
        blank: the class that is no label.
        reduction: ``"mean"`` divides each loss by its number of labels before the mean over the batch; ``"sum"`` or
            ``"none"``.
        zero_infinity: give 0, with no gradient, instead of infinity where there are fewer steps than labels need.

    As ``torch.nn.functional.ctc_loss``: the gradient is that of scores which a log-softmax made ``log_probs`` of, so it
    sums to 0 over classes. It has no gradient itself. Graves and others, "Connectionist temporal classification"
    (2006).

    Raises:
        RuntimeError: shapes or lengths that do not fit, or a blank that is no class.
        IndexError: a label that is no class; when the value is computed.

    Example:
        >>> import flamework as torch
        >>> steps = torch.full((2, 1, 2), 0.5).log()
        >>> round(torch.nn.functional.ctc_loss(steps, torch.tensor([[1]]), (2,), (1,)).exp().item(), 4)
        1.3333
    """
    mode = reduction_mode(reduction, None, None)
    x = floating_only(tensor_argument(log_probs, "ctc_loss", "log_probs", 1), "ctc_loss_cpu")
    if x.type.dtype.compute is not x.type.dtype:
        raise p.Undefined(f"\"ctc_loss_cpu\" not implemented for '{scalar_type(x.type.dtype)}'")
    if x.ndim not in (2, 3):
        raise RuntimeError(f"ctc_loss: expected log_probs of 2 or 3 axes, got {list(x.type.shape)}")
    batched = x.ndim == 3
    if not batched:
        x = f.reshaped(x, (x.type.shape[0], 1, x.type.shape[1]))
    steps, batch, classes = x.type.shape
    if not 0 <= blank < classes:
        raise RuntimeError("blank must be in label range")
    inputs = _lengths(input_lengths, "input_lengths", batch, x)
    counts = _lengths(target_lengths, "target_lengths", batch, x)
    labels = _labels(node_of(targets), counts, batch, classes, batched)
    if known(inputs) and known(counts):
        check_lengths(steps, labels.type.shape[1], read(inputs), read(counts))
    loss = ctc(x, labels, inputs, counts, params=(blank, bool(zero_infinity)))
    extra = _normalisation(x, inputs)
    if zero_infinity:
        impossible = p.eq(f.cut(loss), constant(loss, float("inf")))
        loss, extra = (p.where(impossible, constant(v, 0), v) for v in (loss, extra))
    loss = p.add(loss, extra)
    if mode == "mean":
        least = p.where(p.lt(counts, constant(counts, 1)), constant(counts, 1), counts)
        loss = p.div(loss, f.converted(least, loss.type.dtype))
    return tensor_of(reduced(loss if batched else f.reshaped(loss, ()), mode))


def _lengths(lengths: Lengths, name: str, batch: int, x: Node) -> Node:
    if isinstance(lengths, Tensor):
        node = node_of(lengths)
        if node.type.dtype.kind != dtypes.INTEGER:
            raise RuntimeError(f"{name} must be integral")
        node = f.converted(f.reshaped(node, (node.type.size,)), dtypes.int64)
    else:
        node = input_node(np.array(lengths, np.int64).reshape(-1), x.type.device)
    if node.type.size != batch:
        raise RuntimeError(f"{name} must be of size batch_size")
    return node


def _labels(targets: Node, counts: Node, batch: int, classes: int, batched: bool) -> Node:
    """The labels as ``[batch, most]``, 0 where none counts."""
    if targets.type.dtype.kind == dtypes.BOOL:
        raise RuntimeError("ctc_loss: targets are labels, not bool")
    targets = f.converted(targets, dtypes.int64)
    if targets.ndim == 1:
        sizes = values_of(counts)
        if sizes.size and sizes.min() < 0 or sizes.sum() != targets.type.size:
            raise RuntimeError(
                f"Expected tensor to have size {int(sizes.sum())} at dimension 0, but got size {targets.type.size} for "
                "argument #2 'targets' (while checking arguments for ctc_loss_allocate_outputs)"
            )
        most = int(sizes.max(initial=0))
        place = (np.cumsum(sizes) - sizes)[:, None] + np.arange(most)
        place = np.clip(place, 0, max(targets.type.size - 1, 0)).reshape(-1)
        if targets.type.size:
            targets = s.gather(targets, input_node(place, targets.type.device), params=(0,))
        targets = f.reshaped(targets, (batch, most))
    elif targets.ndim != 2 or targets.type.shape[0] != batch:
        raise RuntimeError(
            f"ctc_loss: expected targets of [{batch}, labels] or [labels], got {list(targets.type.shape)}"
        )
    place = f.iota(targets, 1)
    kept = p.where(p.lt(place, f.along(counts, (1,), targets)), targets, constant(targets, 0))
    return checked_index(kept, classes)


def _normalisation(x: Node, lengths: Node) -> Node:
    """0 for each sequence, with the gradient ``exp(x)``: what a log-softmax before ``x`` adds to its own gradient."""
    if not x.requires_grad:
        return f.filled(lengths.type.shape, x.type.dtype, x.type.device, 0)
    counts = p.lt(f.iota(x, 0), f.along(lengths, (0, 2), x))
    sizes = f.total(p.where(counts, p.exp(x), constant(x, 0)), (0, 2))
    return p.sub(sizes, f.cut(sizes))


__all__ = ["ctc_loss"]
