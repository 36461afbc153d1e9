"""Losses: how far predictions are from targets, as a number to differentiate.

Each class holds the arguments of the function of the same name in ``flamework/nn/functional.py`` and calls it. They
share ``reduction``: "mean" of all elements' losses, their "sum", or "none" for a loss per element. ``size_average`` and
``reduce`` are its old spelling, of two booleans.

In: predictions and targets. Out: a scalar, or with "none" a tensor.
"""

from __future__ import annotations

from collections.abc import Sequence

from flamework.nn import functional as F
from flamework.nn.module import Module
from flamework.origin import warn
from flamework.tensor import Tensor


def reduction_name(size_average: bool | None, reduce: bool | None, reduction: str) -> str:
    """Translate the two old arguments, when one is given, to the name of the reduction."""
    if size_average is None and reduce is None:
        return reduction
    if reduce is False:
        name = "none"
    else:
        name = "sum" if size_average is False else "mean"
    warn(f"size_average and reduce args will be deprecated, please use reduction='{name}' instead.")
    return name


class _Loss(Module):
    def __init__(self, size_average: bool | None = None, reduce: bool | None = None, reduction: str = "mean") -> None:
        super().__init__()
        self.reduction = reduction_name(size_average, reduce, reduction)


class _WeightedLoss(_Loss):
    def __init__(self, weight: Tensor | None = None, size_average: bool | None = None, reduce: bool | None = None,
                 reduction: str = "mean") -> None:
        super().__init__(size_average, reduce, reduction)
        self.register_buffer("weight", weight)


class L1Loss(_Loss):
    """Absolute difference.

    Shape: input and target alike. As ``torch.nn.L1Loss``.

    Example:
        >>> import flamework
        >>> flamework.nn.L1Loss()(flamework.tensor([1.0, 3.0]), flamework.zeros(2)).item()
        2.0
    """

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        return F.l1_loss(input, target, reduction=self.reduction)


class MSELoss(_Loss):
    """Squared difference.

    Shape: input and target alike. As ``torch.nn.MSELoss``.

    Example:
        >>> import flamework
        >>> flamework.nn.MSELoss()(flamework.tensor([1.0, 3.0]), flamework.zeros(2)).item()
        5.0
    """

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        return F.mse_loss(input, target, reduction=self.reduction)


class SmoothL1Loss(_Loss):
    """Squared difference below ``beta``, absolute difference above.

    Args:
        beta: where the two meet; 0 is the absolute difference everywhere.

    Shape: input and target alike. As ``torch.nn.SmoothL1Loss``.

    Example:
        >>> import flamework
        >>> flamework.nn.SmoothL1Loss()(flamework.tensor([1.0, 3.0]), flamework.zeros(2)).item()
        1.5
    """

    def __init__(self, size_average: bool | None = None, reduce: bool | None = None, reduction: str = "mean",
                 beta: float = 1.0) -> None:
        super().__init__(size_average, reduce, reduction)
        self.beta = beta

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        return F.smooth_l1_loss(input, target, reduction=self.reduction, beta=self.beta)


class CTCLoss(_Loss):
    """Minus the log-probability of labels, whatever their alignment to the steps.

    Args:
        blank: the class that is no label.
        zero_infinity: give 0, with no gradient, where there are fewer steps than labels need.

    The mean divides each loss by its number of labels first. Called with log-probabilities (T, N, C), labels (N, S) or
    (all of them), and the lengths of both, (N). Graves et al., "Connectionist temporal classification" (2006). As
    ``torch.nn.CTCLoss``.

    Example:
        >>> import flamework
        >>> steps = flamework.full((2, 1, 2), 0.5).log()
        >>> round(flamework.nn.CTCLoss()(steps, flamework.tensor([[1]]), (2,), (1,)).exp().item(), 4)
        1.3333
    """

    def __init__(self, blank: int = 0, reduction: str = "mean", zero_infinity: bool = False) -> None:
        super().__init__(reduction=reduction)
        self.blank = blank
        self.zero_infinity = zero_infinity

    def forward(self, log_probs: Tensor, targets: Tensor, input_lengths: Tensor | Sequence[int],
                target_lengths: Tensor | Sequence[int]) -> Tensor:
        return F.ctc_loss(log_probs, targets, input_lengths, target_lengths, self.blank, self.reduction,
                          self.zero_infinity)


class HuberLoss(_Loss):
    """``SmoothL1Loss`` times ``delta``, so that both sides of the border keep their slope.

    Args:
        delta: where square and line meet, positive.

    Shape: input and target alike. Huber, "Robust estimation of a location parameter" (1964). As ``torch.nn.HuberLoss``.

    Raises:
        TypeError: ``delta`` is no number.

    Example:
        >>> import flamework
        >>> flamework.nn.HuberLoss(delta=2.0)(flamework.tensor([1.0, 3.0]), flamework.zeros(2)).item()
        2.25
    """

    def __init__(self, reduction: str = "mean", delta: float = 1.0) -> None:
        super().__init__(reduction=reduction)
        if not isinstance(delta, float | int):
            raise TypeError(f"delta must be a float or int, got: {type(delta)}")
        self.delta = delta

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        return F.huber_loss(input, target, reduction=self.reduction, delta=self.delta)


class NLLLoss(_WeightedLoss):
    """Negative log likelihood of the target classes.

    Args:
        weight: (C,), a factor for each class.
        ignore_index: a target that counts nothing.

    Shape: log probabilities (C,), (N, C) or (N, C, d1, ...), targets () , (N,) or (N, d1, ...) of int64. The mean is
    over the weights of the targets. As ``torch.nn.NLLLoss``.

    Example:
        >>> import flamework
        >>> flamework.nn.NLLLoss()(flamework.tensor([[-1.0, -2.0]]), flamework.tensor([1])).item()
        2.0
    """

    def __init__(self, weight: Tensor | None = None, size_average: bool | None = None, ignore_index: int = -100,
                 reduce: bool | None = None, reduction: str = "mean") -> None:
        super().__init__(weight, size_average, reduce, reduction)
        self.ignore_index = ignore_index

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        return F.nll_loss(input, target, weight=self.weight, ignore_index=self.ignore_index,
                          reduction=self.reduction)


class CrossEntropyLoss(_WeightedLoss):
    """Cross entropy between unnormalised scores and classes or probabilities.

    Args:
        weight: (C,), a factor for each class.
        ignore_index: a target class that counts nothing.
        label_smoothing: the part of each target, 0 to 1, that is spread evenly over the classes.

    Shape: scores (C,), (N, C) or (N, C, d1, ...); targets are int64 classes of that shape without C, or probabilities
    of that shape. As ``torch.nn.CrossEntropyLoss``.

    Example:
        >>> import flamework
        >>> round(flamework.nn.CrossEntropyLoss()(flamework.zeros(1, 4), flamework.tensor([2])).item(), 4)
        1.3863
    """

    def __init__(self, weight: Tensor | None = None, size_average: bool | None = None, ignore_index: int = -100,
                 reduce: bool | None = None, reduction: str = "mean", label_smoothing: float = 0.0) -> None:
        super().__init__(weight, size_average, reduce, reduction)
        self.ignore_index = ignore_index
        self.label_smoothing = label_smoothing

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        return F.cross_entropy(input, target, weight=self.weight, ignore_index=self.ignore_index,
                               reduction=self.reduction, label_smoothing=self.label_smoothing)


class BCELoss(_WeightedLoss):
    """Cross entropy between probabilities and targets, both in [0, 1].

    Args:
        weight: a factor for each element, broadcast.

    Shape: input and target alike. As ``torch.nn.BCELoss``.

    Example:
        >>> import flamework
        >>> round(flamework.nn.BCELoss()(flamework.tensor([0.5]), flamework.tensor([1.0])).item(), 4)
        0.6931
    """

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        return F.binary_cross_entropy(input, target, weight=self.weight, reduction=self.reduction)


class BCEWithLogitsLoss(_Loss):
    """``BCELoss`` of the sigmoid of the input, without its overflow.

    Args:
        weight: a factor for each element, broadcast.
        pos_weight: a factor for the positive targets, broadcast.

    Shape: input and target alike. As ``torch.nn.BCEWithLogitsLoss``.

    Example:
        >>> import flamework
        >>> round(flamework.nn.BCEWithLogitsLoss()(flamework.zeros(1), flamework.ones(1)).item(), 4)
        0.6931
    """

    def __init__(self, weight: Tensor | None = None, size_average: bool | None = None, reduce: bool | None = None,
                 reduction: str = "mean", pos_weight: Tensor | None = None) -> None:
        super().__init__(size_average, reduce, reduction)
        self.register_buffer("weight", weight)
        self.register_buffer("pos_weight", pos_weight)

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        return F.binary_cross_entropy_with_logits(input, target, self.weight, pos_weight=self.pos_weight,
                                                  reduction=self.reduction)


class KLDivLoss(_Loss):
    """Kullback-Leibler divergence of a distribution, given by log probabilities, from the target distribution.

    Args:
        reduction: "batchmean" too, the sum over the first dimension's size, which is the divergence's definition.
        log_target: whether the target holds log probabilities too.

    Shape: input and target alike. As ``torch.nn.KLDivLoss``.

    Example:
        >>> import flamework
        >>> p = flamework.tensor([[0.5, 0.5]])
        >>> flamework.nn.KLDivLoss(reduction="batchmean")(p.log(), p).item()
        0.0
    """

    def __init__(self, size_average: bool | None = None, reduce: bool | None = None, reduction: str = "mean",
                 log_target: bool = False) -> None:
        super().__init__(size_average, reduce, reduction)
        self.log_target = log_target

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        return F.kl_div(input, target, reduction=self.reduction, log_target=self.log_target)
