"""Losses of classification: cross entropy and its relatives.

A loss is a formula over the classes of every sample and a reduction over the samples: ``"none"``, ``"mean"`` or
``"sum"``. Cross entropy is written around the label's own logit, so that forward and backward are one pass over the
logits each. Read next: ``functional_regression.py`` for losses of regression and of distances.
"""

from __future__ import annotations

import math

from .. import formulas as f
from ..arguments import floating_only, scalar_type, tensor_argument
from ..compiler import dtypes, primitives as p, primitives_shape as s
from ..compiler.composite import composite
from ..compiler.dtypes import FLOATING
from ..compiler.ir import Node
from ..formulas import argument, constant
from ..gathering import checked_index, known
from ..mutation import fitted_dtype
from ..origin import warn
from ..recording import get_default_dtype, node_of, operands, read, tensor_of
from ..reduction import mean
from ..tensor import Tensor

# ----------------------------------------------------------------------------------------------------------- reduction


def reduction_mode(reduction: str, size_average: bool | None, reduce: bool | None) -> str:
    """The reduction, also from the two arguments that came before it.

    Raises:
        ValueError: a name that is none.
    """
    if size_average is not None or reduce is not None:
        if reduce is False:
            reduction = "none"
        else:
            reduction = "sum" if size_average is False else "mean"
        warn(f"size_average and reduce args will be deprecated, please use reduction='{reduction}' instead.")
    if reduction not in ("none", "mean", "sum"):
        raise ValueError(f"{reduction} is not a valid value for reduction")
    return reduction


def reduced(loss: Node, reduction: str) -> Node:
    if reduction == "none":
        return loss
    if loss.type.dtype.kind < FLOATING and reduction == "mean":
        # which says that integers have no mean
        return node_of(mean(tensor_of(loss)))
    axes = tuple(range(loss.ndim))
    return f.mean(loss, axes) if reduction == "mean" else f.total(loss, axes)


def reduced_tensor(loss: Node, reduction: str, source: Node) -> Tensor:
    return tensor_of(f.fresh(reduced(loss, reduction), source))


# ------------------------------------------------------------------------------------------------------- class indices


def are_in_range(target: Node, classes: int, ignore_index: int) -> bool:
    """Whether labels are known to be in range; those that are not known yet are checked when they are used.

    Raises:
        RuntimeError: they are no labels.
        IndexError: one is known to be no class.
    """
    if target.type.dtype not in (dtypes.int64, dtypes.uint8):
        raise RuntimeError(f"expected target dtype to be Long or Byte, but got {scalar_type(target.type.dtype)}")
    if not known(target):
        return False
    values = read(target)
    # as unsigned numbers negative ones are large
    if values.size and values.view(f"u{values.itemsize}").max() >= classes:
        counted = values[values != ignore_index]
        wrong = counted[(counted < 0) | (counted >= classes)]
        if wrong.size:
            raise IndexError(f"Target {int(wrong[0])} is out of bounds.")
    return True


class Labels:
    """Class indices of samples, with what is to be ignored.

    Attributes:
        index: the labels, in range; 0 where ignored.
        ignored: bool node, whether a sample does not count.
    """

    __slots__ = ("index", "ignored")

    def __init__(self, target: Node, classes: int, ignore_index: int, is_checked: bool) -> None:
        label = f.converted(target, dtypes.int64)
        self.ignored = p.eq(label, argument(label, ignore_index))
        kept = p.where(self.ignored, constant(label, 0), label)
        self.index = kept if is_checked else checked_index(kept, classes)

    def pick(self, x: Node, axis: int) -> Node:
        """The element of every sample that belongs to its label; without ``axis``."""
        column = f.kept(self.index, (axis,), x.type.shape)
        return f.reshaped(s.gather(x, column, params=(axis,)), self.index.type.shape)

    def of_class(self, weights: Node) -> Node:
        """The entry of a vector over classes for every sample."""
        flat = f.reshaped(self.index, (self.index.type.size,))
        return f.reshaped(s.gather(weights, flat, params=(0,)), self.index.type.shape)

    def counted(self, loss: Node) -> Node:
        """``loss`` with 0 for samples that are ignored."""
        return p.where(self.ignored, constant(loss, 0), loss)

    def weights(self, weight: Node | None, dtype: dtypes.DType) -> Node:
        """The weight of every sample: that of its class, 1 without any, 0 if it is ignored."""
        if weight is None:
            return f.converted(p.bnot(self.ignored), dtype)
        return self.counted(self.of_class(weight))


def _weighted(loss: Node, labels: Labels, weight: Node | None, reduction: str) -> Node:
    if weight is not None:
        loss = p.mul(loss, labels.of_class(weight))
    loss = labels.counted(loss)
    if reduction != "mean":
        return reduced(loss, reduction)
    axes = tuple(range(loss.ndim))
    return p.div(f.total(loss, axes), f.total(labels.weights(weight, loss.type.dtype), axes))


def _class_axis(x: Node, target: Node) -> int:
    """The axis of classes: 1, or 0 without a batch.

    Raises:
        ValueError, RuntimeError: shapes that do not fit.
    """
    if x.ndim == 0:
        raise ValueError("Expected input to have at least one axis, that of the classes")
    axis = 0 if x.ndim == 1 else 1
    expected = x.type.shape[:axis] + x.type.shape[axis + 1 :]
    if target.type.shape != expected:
        if axis and target.ndim and x.type.shape[0] != target.type.shape[0]:
            raise ValueError(
                f"Expected input batch_size ({x.type.shape[0]}) to match target batch_size ({target.type.shape[0]})."
            )
        raise RuntimeError(f"Expected target size {list(expected)}, got {list(target.type.shape)}")
    return axis


def _class_weight(weight: Tensor | None, classes: int) -> Node | None:
    if weight is None:
        return None
    node = node_of(weight)
    if node.type.shape != (classes,):
        raise RuntimeError(
            f"weight tensor should be defined either for all {classes} classes or no classes but got weight tensor of "
            f"shape: {list(node.type.shape)}"
        )
    return node


def nll_loss(
    input: Tensor, target: Tensor, weight: Tensor | None = None, size_average: bool | None = None,
    ignore_index: int = -100, reduce: bool | None = None, reduction: str = "mean",
) -> Tensor:
    """Minus the log-probability of each sample's label.

    Args:
        input: log-probabilities ``[batch, classes, *]`` or ``[classes]``.
        target: class indices ``[batch, *]`` or none, int64.
        weight: weight of each class; the mean is weighted.
        ignore_index: label of samples that do not count.
        reduction: ``"none"``, ``"mean"`` or ``"sum"``; ``size_average`` and ``reduce`` are its older forms.

    As ``torch.nn.functional.nll_loss``.

    Raises:
        IndexError: a label that is no class.

    Example:
        >>> import flamework as torch
        >>> torch.nn.functional.nll_loss(torch.tensor([[-0.5, -2.0]]), torch.tensor([0])).item()
        0.5
    """
    mode = reduction_mode(reduction, size_average, reduce)
    x = floating_only(tensor_argument(input, "nll_loss", "input", 1), "nll_loss")
    labels_node = tensor_argument(target, "nll_loss", "target", 2)
    axis = _class_axis(x, labels_node)
    classes = x.type.shape[axis]
    is_checked = are_in_range(labels_node, classes, ignore_index)
    class_weight = _class_weight(weight, classes)
    return tensor_of(_nll_loss(x, labels_node, class_weight, axis, mode, ignore_index, is_checked))


@composite
def _nll_loss(
    x: Node, target: Node, weight: Node | None, axis: int, reduction: str, ignore_index: int, is_checked: bool
) -> Node:
    labels = Labels(target, x.type.shape[axis], ignore_index, is_checked)
    return _weighted(p.neg(labels.pick(p.piecewise(x), axis)), labels, weight, reduction)


def cross_entropy(
    input: Tensor, target: Tensor, weight: Tensor | None = None, size_average: bool | None = None,
    ignore_index: int = -100, reduce: bool | None = None, reduction: str = "mean", label_smoothing: float = 0.0,
) -> Tensor:
    """The cross entropy between the softmax of logits and class indices or class probabilities.

    Args:
        input: logits ``[batch, classes, *]`` or ``[classes]``.
        target: class indices ``[batch, *]`` (int64), or probabilities in the shape of ``input``.
        weight: weight of each class; with indices the mean is weighted.
        ignore_index: label of samples that do not count.
        reduction: ``"none"``, ``"mean"`` or ``"sum"``; ``size_average`` and ``reduce`` are its older forms.
        label_smoothing: share of the target that is spread evenly over all classes.

    As ``torch.nn.functional.cross_entropy``.

    Raises:
        IndexError: a label that is no class.
        ValueError, RuntimeError: shapes or dtypes that do not fit.

    Example:
        >>> import flamework as torch
        >>> logits = torch.tensor([[0.0, 0.0]])
        >>> round(torch.nn.functional.cross_entropy(logits, torch.tensor([1])).item(), 4)
        0.6931
    """
    mode = reduction_mode(reduction, size_average, reduce)
    if not 0 <= label_smoothing <= 1:
        raise RuntimeError(f"label_smoothing must be between 0.0 and 1.0. Got: {label_smoothing}")
    x = floating_only(tensor_argument(input, "cross_entropy", "input", 1), "cross_entropy")
    wanted = tensor_argument(target, "cross_entropy", "target", 2)
    if wanted.type.shape == x.type.shape and x.ndim and wanted.type.dtype.kind == FLOATING:
        axis = 0 if x.ndim == 1 else 1
        if ignore_index >= 0:
            raise RuntimeError("ignore_index is not supported for floating point target")
        class_weight = _class_weight(weight, x.type.shape[axis])
        return tensor_of(_soft_cross_entropy(x, wanted, class_weight, axis, mode, label_smoothing))
    axis = _class_axis(x, wanted)
    classes = x.type.shape[axis]
    is_checked = are_in_range(wanted, classes, ignore_index)
    class_weight = _class_weight(weight, classes)
    return tensor_of(_cross_entropy(x, wanted, class_weight, axis, mode, label_smoothing, ignore_index, is_checked))


@composite
def _cross_entropy(
    x: Node, target: Node, weight: Node | None, axis: int, reduction: str, smoothing: float, ignore_index: int,
    is_checked: bool,
) -> Node:
    labels = Labels(target, x.type.shape[axis], ignore_index, is_checked)
    # log(sum(exp(x - m))) - (x[label] - m): the label's logit is read from x itself, so that no tensor of
    # log-probabilities is made
    largest = s.reduce_max(f.cut(x), params=(axis,))
    shifted = p.sub(x, f.along(largest, (axis,), x))
    log_total = p.log(s.reduce_sum(p.exp(shifted), params=(axis,)))
    own = p.sub(log_total, p.sub(labels.pick(x, axis), largest))
    loss = _weighted(own, labels, weight, reduction)
    if smoothing == 0:
        return loss
    classes = x.type.shape[axis]
    if weight is None:
        spread = p.sub(p.mul(log_total, argument(log_total, classes)), s.reduce_sum(shifted, params=(axis,)))
    else:
        each = f.channelwise(weight, x, axis)
        spread = s.reduce_sum(p.mul(p.sub(f.along(log_total, (axis,), x), shifted), each), params=(axis,))
    spread = labels.counted(spread)
    axes = tuple(range(spread.ndim))
    if reduction == "sum":
        spread = f.total(spread, axes)
    elif reduction == "mean":
        spread = p.div(f.total(spread, axes), f.total(labels.weights(weight, x.type.dtype), axes))
    kept = p.mul(loss, argument(loss, 1 - smoothing))
    return p.add(kept, p.mul(spread, argument(spread, smoothing / classes)))


@composite
def _soft_cross_entropy(
    x: Node, target: Node, weight: Node | None, axis: int, reduction: str, smoothing: float
) -> Node:
    target = f.converted(target, x.type.dtype)
    classes = x.type.shape[axis]
    if smoothing:
        target = p.add(p.mul(target, argument(target, 1 - smoothing)), argument(target, smoothing / max(classes, 1)))
    if weight is not None:
        target = p.mul(target, f.channelwise(weight, x, axis))
    loss = p.neg(s.reduce_sum(p.mul(f.log_softmax(x, axis), target), params=(axis,)))
    if classes == 0 and reduction == "mean":
        # there was nothing to divide
        loss = p.mul(loss, constant(loss, math.nan))
    return reduced(loss, reduction)


# ------------------------------------------------------------------------------------------------------------- binary


def _same_size(input: Tensor, target: Tensor, message: str) -> None:
    if tuple(input.shape) != tuple(target.shape):
        raise ValueError(message.format(target=target.shape, input=input.shape))


def _weighted_by(loss: Node, weight: Tensor | None) -> Node:
    if weight is None:
        return loss
    return p.mul(loss, f.broadcast_to(f.converted(node_of(weight), loss.type.dtype), loss.type.shape))


def binary_cross_entropy(
    input: Tensor, target: Tensor, weight: Tensor | None = None, size_average: bool | None = None,
    reduce: bool | None = None, reduction: str = "mean",
) -> Tensor:
    """The cross entropy between probabilities and targets in [0, 1]; logarithms are at least -100.

    Args:
        input: probabilities, any shape.
        target: the same shape.
        weight: factors that broadcast to the loss.

    As ``torch.nn.functional.binary_cross_entropy``.

    Raises:
        ValueError: different shapes.
        RuntimeError: an input that is known and outside of [0, 1].
    """
    mode = reduction_mode(reduction, size_average, reduce)
    _same_size(
        input, target, "Using a target size ({target}) that is different to the input size ({input}) is deprecated. "
        "Please ensure they have the same size.",
    )
    x = floating_only(node_of(input), "binary_cross_entropy")
    t = node_of(target)
    if t.type.dtype is not x.type.dtype:
        raise RuntimeError(f"Found dtype {scalar_type(t.type.dtype)} but expected {scalar_type(x.type.dtype)}")
    if known(x):
        values = read(x)
        if values.size and not ((values >= 0) & (values <= 1)).all():
            raise RuntimeError("all elements of input should be between 0 and 1")
    one = constant(x, 1)
    value, wanted = f.cut(x), f.cut(t)
    logs = [f.clamped(y, constant(y, -100), None) for y in (p.log(value), p.log1p(p.neg(value)))]
    loss = p.neg(p.add(p.mul(wanted, logs[0]), p.mul(p.sub(one, wanted), logs[1])))
    return tensor_of(reduced(_weighted_by(_cross_entropy_of(loss, x, t), weight), mode))


def _probability_slope(g: Node, n: p.Saved) -> Node:
    # finite at 0 and 1 as well, where the bound of the logarithms is not seen
    x, one = n.y, constant(g, 1)
    spread = f.clamped(p.mul(p.sub(one, x), x), constant(g, 1e-12), None)
    return p.div(p.mul(g, p.sub(x, n.z)), spread)


# The first source, the cross entropy of probabilities and targets.
_cross_entropy_of = p.sloped(
    "cross_entropy_of", _probability_slope,
    lambda g, n: p.mul(g, p.sub(p.log1p(p.neg(n.y)), p.log(n.y))),
)


def binary_cross_entropy_with_logits(
    input: Tensor, target: Tensor, weight: Tensor | None = None, size_average: bool | None = None,
    reduce: bool | None = None, reduction: str = "mean", pos_weight: Tensor | None = None,
) -> Tensor:
    """:func:`binary_cross_entropy` of the logistic function of ``input``, without overflow.

    Args:
        weight: factors that broadcast to the loss.
        pos_weight: factors of the positive part, that broadcast to ``input``.

    As ``torch.nn.functional.binary_cross_entropy_with_logits``.

    Example:
        >>> import flamework as torch
        >>> loss = torch.nn.functional.binary_cross_entropy_with_logits(torch.zeros(1), torch.ones(1))
        >>> round(loss.item(), 4)
        0.6931
    """
    mode = reduction_mode(reduction, size_average, reduce)
    _same_size(input, target, "Target size ({target}) must be the same as input size ({input})")
    x, t = operands(input, target)
    floating_only(x, "binary_cross_entropy_with_logits")
    size = f.log_sigmoid(x)
    if pos_weight is not None:
        factor = f.broadcast_to(f.converted(node_of(pos_weight), x.type.dtype), x.type.shape)
        one = constant(x, 1)
        size = p.mul(size, p.add(p.mul(p.sub(factor, one), t), one))
    loss = p.sub(p.mul(p.sub(constant(x, 1), t), x), size)
    return tensor_of(reduced(_weighted_by(loss, weight), mode))


def soft_margin_loss(
    input: Tensor, target: Tensor, size_average: bool | None = None, reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """``log(1 + exp(-target * input))`` for targets 1 and -1. As ``torch.nn.functional.soft_margin_loss``.

    Raises:
        RuntimeError: an input of integers, or a target that is larger.
    """
    mode = reduction_mode(reduction, size_average, reduce)
    x, t = operands(input, target)
    if x.type.shape != node_of(input).type.shape:
        raise RuntimeError(
            f"output with shape {list(input.shape)} doesn't match the broadcast shape {list(x.type.shape)}"
        )
    if x.type.dtype.kind < FLOATING:
        fitted_dtype(x.type.dtype, f.converted(x, get_default_dtype()))
    loss = p.log1p(p.exp(p.neg(p.mul(t, floating_only(x, "soft_margin_loss")))))
    return tensor_of(reduced(fitted_dtype(input.dtype, loss), mode))


def multilabel_soft_margin_loss(
    input: Tensor, target: Tensor | float, weight: Tensor | None = None, size_average: bool | None = None,
    reduce: bool | None = None, reduction: str = "mean",
) -> Tensor:
    """The mean over classes of binary cross entropies with logits ``[batch, classes]``.

    As ``torch.nn.functional.multilabel_soft_margin_loss``.
    """
    mode = reduction_mode(reduction, size_average, reduce)
    x, t = operands(input, target)
    if floating_only(x, "multilabel_soft_margin_loss").ndim == 0:
        raise IndexError("Dimension specified as -1 but tensor has no dimensions")
    positive = p.mul(t, f.log_sigmoid(x))
    gain = p.add(positive, p.mul(p.sub(constant(x, 1), t), f.log_sigmoid(p.neg(x))))
    loss = f.mean(_weighted_by(p.neg(gain), weight), (x.ndim - 1,))
    return tensor_of(reduced(loss, mode))


def multi_margin_loss(
    input: Tensor, target: Tensor, p: int = 1, margin: float = 1.0, weight: Tensor | None = None,
    size_average: bool | None = None, reduce: bool | None = None, reduction: str = "mean",
) -> Tensor:
    """How far the other classes come within ``margin`` of the label's score, to the power ``p``, meant over classes.

    Args:
        input: scores ``[batch, classes]`` or ``[classes]``.
        p: 1 or 2.

    As ``torch.nn.functional.multi_margin_loss``.
    """
    mode = reduction_mode(reduction, size_average, reduce)
    if p not in (1, 2):
        raise ValueError("only p == 1 and p == 2 supported")
    if weight is not None and weight.ndim != 1:
        raise ValueError("weight must be one-dimensional")
    x = floating_only(tensor_argument(input, "multi_margin_loss", "input", 1), "multi_margin_loss")
    wanted = node_of(target)
    if x.ndim == 0:
        x = f.reshaped(x, (1,))
    if x.ndim in (1, 2) and wanted.type.shape != x.type.shape[:-1] and (x.ndim == 2 or wanted.type.size != 1):
        raise RuntimeError(
            "multi_margin_loss: target tensor should be 1-D with size equal to the number of input samples (batch "
            f"size). Expected target size [{x.type.shape[0] if x.ndim == 2 else 1}], but got "
            f"{list(wanted.type.shape)}. Input has shape {list(x.type.shape)}."
        )
    try:
        # no label is ignored
        are_in_range(wanted, x.type.shape[-1], 0)
    except IndexError:
        raise RuntimeError("target out of range") from None
    if x.ndim == 1:
        grown, labels = f.reshaped(x, (1, *x.type.shape)), f.reshaped(wanted, (1,))
        loss = _margins(grown, labels, p, margin, weight)
        return tensor_of(reduced(f.reshaped(loss, wanted.type.shape), mode))
    return tensor_of(reduced(_margins(x, wanted, p, margin, weight), mode))


def _margins(x: Node, wanted: Node, power: int, margin: float, weight: Tensor | None) -> Node:
    axis = _class_axis(x, wanted)
    classes = x.type.shape[axis]
    # no label is ignored, and label 0 is what one that is would become
    labels = Labels(wanted, classes, 0, known(wanted))
    own = f.along(labels.pick(x, axis), (axis,), x)
    excess = p.relu(p.add(p.sub(x, own), argument(x, margin)))
    excess = p.mul(excess, excess) if power == 2 else excess
    class_weight = _class_weight(weight, classes)
    if class_weight is not None:
        excess = p.mul(excess, f.along(labels.of_class(class_weight), (axis,), x))
    itself = p.eq(f.iota(x, axis), f.along(labels.index, (axis,), x))
    return f.mean(p.where(itself, constant(x, 0), excess), (axis,))


def multilabel_margin_loss(
    input: Tensor, target: Tensor, size_average: bool | None = None, reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """How far the scores of other classes come within 1 of those of the labels, for several labels an example.

    Args:
        input: scores ``[batch, classes]`` or ``[classes]``.
        target: int64 of the same shape: the labels of an example, and from its first -1 on nothing.

    As ``torch.nn.functional.multilabel_margin_loss``.

    Raises:
        RuntimeError: shapes that do not fit, or labels of another dtype.
        RuntimeError, IndexError: a label that is no class, at once or when the value is computed.

    Example:
        >>> import flamework as torch
        >>> scores, labels = torch.tensor([0.1, 0.2, 0.4, 0.8]), torch.tensor([3, 0, -1, 1])
        >>> round(torch.nn.functional.multilabel_margin_loss(scores, labels).item(), 4)
        0.85
    """
    name = "multilabel_margin_loss"
    mode = reduction_mode(reduction, size_average, reduce)
    x = floating_only(tensor_argument(input, name, "input", 1), name)
    wanted = tensor_argument(target, name, "target", 2)
    if wanted.type.dtype is not dtypes.int64:
        raise RuntimeError(f"expected scalar type Long but found {scalar_type(wanted.type.dtype)}")
    if x.ndim > 2 or x.type.shape != wanted.type.shape or 0 in x.type.shape[1:]:
        raise RuntimeError(
            f"Expected non-empty vector or matrix with optional 0-dim batch size, and a target of the same size, but "
            f"got: {list(x.type.shape)} and {list(wanted.type.shape)}"
        )
    shape = (x.type.shape[0] if x.ndim == 2 else 1, x.type.shape[-1] if x.ndim else 1)
    if known(wanted) and ((read(wanted) < -1) | (read(wanted) >= shape[1])).any():
        raise RuntimeError("argument #2 'target' is out of range")
    rows, labels = f.reshaped(x, shape), f.reshaped(wanted, shape)
    loss = f.reshaped(_label_margins(rows, labels), x.type.shape[:-1])
    return tensor_of(reduced(loss, mode))


def _label_margins(x: Node, labels: Node) -> Node:
    classes = x.type.shape[1]
    # a label counts while no -1 came before it or stands there
    ended = f.converted(p.eq(labels, constant(labels, -1)), dtypes.int64)
    counts = p.eq(s.cumsum(ended, params=(1,)), constant(labels, 0))
    index = checked_index(p.where(counts, labels, constant(labels, 0)), classes)
    # whether a class is a label: a label that does not count falls on a class beyond the last
    place = p.where(counts, index, constant(index, classes))
    pairs = (*x.type.shape, classes)
    matches = p.eq(f.along(place, (2,), f.filled(pairs, dtypes.int64, x.type.device, 0)), _classes_of(pairs, x))
    others = p.bnot(f.any_true(matches, (1,)))
    own = f.along(s.gather(x, index, params=(1,)), (2,), matches)
    every = f.along(x, (1,), matches)
    excess = p.relu(p.add(p.sub(every, own), constant(own, 1)))
    both = p.band(f.along(counts, (2,), matches), f.along(others, (1,), matches))
    return f.mean(f.total(p.where(both, excess, constant(excess, 0)), (2,)), (1,))


def _classes_of(shape: tuple[int, ...], x: Node) -> Node:
    return f.iota(f.filled(shape, dtypes.int64, x.type.device, 0), len(shape) - 1)


__all__ = [
    "binary_cross_entropy", "binary_cross_entropy_with_logits", "cross_entropy", "multi_margin_loss",
    "multilabel_margin_loss", "multilabel_soft_margin_loss", "nll_loss", "soft_margin_loss",
]
