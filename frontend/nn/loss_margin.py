"""Losses of margins, of distances and of counts; the arguments that they share are those of ``loss.py``.

In: predictions and targets. Out: a scalar, or with the reduction "none" a tensor. The computation is in
``functional_loss.py`` and ``functional_regression.py``.
"""

from __future__ import annotations

from collections.abc import Callable

from flamework.nn import functional as F
from flamework.nn.distance import PairwiseDistance
from flamework.nn.loss import _Loss, _WeightedLoss
from flamework.tensor import Tensor


class PoissonNLLLoss(_Loss):
    """Minus the log-likelihood of counts under Poisson distributions.

    Args:
        log_input: whether the input is the logarithm of the rate.
        full: whether to add Stirling's approximation of the term that depends on the target only.
        eps: added to a rate before its logarithm is taken.

    Shape: input and target alike. As ``torch.nn.PoissonNLLLoss``.

    Example:
        >>> import flamework
        >>> flamework.nn.PoissonNLLLoss()(flamework.zeros(2), flamework.ones(2)).item()
        1.0
    """

    def __init__(self, log_input: bool = True, full: bool = False, size_average: bool | None = None, eps: float = 1e-8,
                 reduce: bool | None = None, reduction: str = "mean") -> None:
        super().__init__(size_average, reduce, reduction)
        self.log_input = log_input
        self.full = full
        self.eps = eps

    def forward(self, log_input: Tensor, target: Tensor) -> Tensor:
        return F.poisson_nll_loss(log_input, target, self.log_input, self.full, eps=self.eps, reduction=self.reduction)


class GaussianNLLLoss(_Loss):
    """Minus the log-likelihood under normal distributions of given means and variances.

    Args:
        full: whether to add the constant.
        eps: least variance.

    Called with means, targets, and variances that are alike or have a last dimension of size 1 or none. As
    ``torch.nn.GaussianNLLLoss``.

    Example:
        >>> import flamework
        >>> flamework.nn.GaussianNLLLoss()(flamework.zeros(2), flamework.ones(2), flamework.ones(2)).item()
        0.5
    """

    def __init__(self, *, full: bool = False, eps: float = 1e-6, reduction: str = "mean") -> None:
        super().__init__(None, None, reduction)
        self.full = full
        self.eps = eps

    def forward(self, input: Tensor, target: Tensor, var: Tensor | float) -> Tensor:
        return F.gaussian_nll_loss(input, target, var, full=self.full, eps=self.eps, reduction=self.reduction)


class _MarginLoss(_Loss):
    """A loss with a margin, whose default a subclass may change."""

    def __init__(self, margin: float = 0.0, size_average: bool | None = None, reduce: bool | None = None,
                 reduction: str = "mean") -> None:
        super().__init__(size_average, reduce, reduction)
        self.margin = margin


class MarginRankingLoss(_MarginLoss):
    """max(0, -target (input1 - input2) + margin): which of two scores is to be greater.

    Args:
        margin: by how much.

    Shape: three alike; targets are 1 or -1. As ``torch.nn.MarginRankingLoss``.

    Example:
        >>> import flamework
        >>> flamework.nn.MarginRankingLoss(1.0)(flamework.zeros(2), flamework.ones(2), flamework.ones(2)).item()
        2.0
    """

    def forward(self, input1: Tensor, input2: Tensor, target: Tensor) -> Tensor:
        return F.margin_ranking_loss(input1, input2, target, margin=self.margin, reduction=self.reduction)


class HingeEmbeddingLoss(_MarginLoss):
    """The input where the target is 1, max(0, margin - input) where it is -1.

    Args:
        margin: 1 when left out.

    Shape: input and target alike. As ``torch.nn.HingeEmbeddingLoss``.

    Example:
        >>> import flamework
        >>> flamework.nn.HingeEmbeddingLoss()(flamework.full((2,), 3.0), flamework.tensor([1.0, -1.0])).item()
        1.5
    """

    def __init__(self, margin: float = 1.0, size_average: bool | None = None, reduce: bool | None = None,
                 reduction: str = "mean") -> None:
        super().__init__(margin, size_average, reduce, reduction)

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        return F.hinge_embedding_loss(input, target, margin=self.margin, reduction=self.reduction)


class CosineEmbeddingLoss(_MarginLoss):
    """1 - cos where the target is 1, max(0, cos - margin) where it is -1.

    Args:
        margin: greatest cosine that costs nothing, -1 to 1.

    Shape: (N, D), (N, D) and (N), or all without N. As ``torch.nn.CosineEmbeddingLoss``.

    Example:
        >>> import flamework
        >>> x, y = flamework.tensor([[1.0, 0.0]]), flamework.tensor([[0.0, 1.0]])
        >>> flamework.nn.CosineEmbeddingLoss()(x, y, flamework.ones(1)).item()
        1.0
    """

    def forward(self, input1: Tensor, input2: Tensor, target: Tensor) -> Tensor:
        return F.cosine_embedding_loss(input1, input2, target, margin=self.margin, reduction=self.reduction)


class SoftMarginLoss(_Loss):
    """log(1 + exp(-target input)) for targets 1 and -1.

    Shape: input and target alike. As ``torch.nn.SoftMarginLoss``.

    Example:
        >>> import flamework
        >>> round(flamework.nn.SoftMarginLoss()(flamework.zeros(2), flamework.ones(2)).item(), 4)
        0.6931
    """

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        return F.soft_margin_loss(input, target, reduction=self.reduction)


class MultiLabelSoftMarginLoss(_WeightedLoss):
    """The mean over classes of binary cross entropies with logits.

    Args:
        weight: of each class.

    Shape: (N, C) and the same, with targets 0 and 1, to (N) before the reduction. As
    ``torch.nn.MultiLabelSoftMarginLoss``.

    Example:
        >>> import flamework
        >>> round(flamework.nn.MultiLabelSoftMarginLoss()(flamework.zeros(1, 2), flamework.ones(1, 2)).item(), 4)
        0.6931
    """

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        return F.multilabel_soft_margin_loss(input, target, weight=self.weight, reduction=self.reduction)


class MultiLabelMarginLoss(_Loss):
    """How far the scores of other classes come within 1 of those of the labels, for several labels an example.

    Shape: (N, C) and the same of int64, the labels and then -1, to (N) before the reduction; or (C). As
    ``torch.nn.MultiLabelMarginLoss``.

    Example:
        >>> import flamework
        >>> scores, labels = flamework.tensor([0.1, 0.2, 0.4, 0.8]), flamework.tensor([3, 0, -1, 1])
        >>> round(flamework.nn.MultiLabelMarginLoss()(scores, labels).item(), 4)
        0.85
    """

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        return F.multilabel_margin_loss(input, target, reduction=self.reduction)


class MultiMarginLoss(_WeightedLoss):
    """How far the scores of other classes come within a margin of the label's, meant over classes.

    Args:
        p: the power, 1 or 2.
        margin: by how much the label's score is to be greater.
        weight: of each class.

    Shape: (N, C) and (N) of int64, to (N) before the reduction; or (C) and (). As ``torch.nn.MultiMarginLoss``.

    Raises:
        ValueError: another power, or a weight of another number of dimensions than one.

    Example:
        >>> import flamework
        >>> flamework.nn.MultiMarginLoss()(flamework.zeros(1, 4), flamework.tensor([2])).item()
        0.75
    """

    def __init__(self, p: int = 1, margin: float = 1.0, weight: Tensor | None = None,
                 size_average: bool | None = None, reduce: bool | None = None, reduction: str = "mean") -> None:
        super().__init__(weight, size_average, reduce, reduction)
        if p not in (1, 2):
            raise ValueError("only p == 1 and p == 2 supported")
        if weight is not None and weight.dim() != 1:
            raise ValueError(f"MultiMarginLoss: expected weight to be None or 1D tensor, got {weight.dim()}D instead")
        self.p = p
        self.margin = margin

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        return F.multi_margin_loss(input, target, p=self.p, margin=self.margin, weight=self.weight,
                                   reduction=self.reduction)


class TripletMarginLoss(_MarginLoss):
    """max(0, |anchor - positive| - |anchor - negative| + margin).

    Args:
        margin: by how much the positive example is to be nearer, positive.
        p: the order of the norm.
        eps: added to the differences.
        swap: use the distance of the negative example from the positive one where that is smaller.

    Shape: three of (N, D) to (N) before the reduction, or (D). Balntas et al., "Learning local feature descriptors with
    triplets and shallow convolutional neural networks" (2016). As ``torch.nn.TripletMarginLoss``.

    Raises:
        ValueError: a margin that is not positive.

    Example:
        >>> import flamework
        >>> loss = flamework.nn.TripletMarginLoss()
        >>> loss(flamework.zeros(1, 4), flamework.zeros(1, 4), flamework.full((1, 4), 9.0)).item()
        0.0
    """

    def __init__(self, margin: float = 1.0, p: float = 2.0, eps: float = 1e-6, swap: bool = False,
                 size_average: bool | None = None, reduce: bool | None = None, reduction: str = "mean") -> None:
        super().__init__(margin, size_average, reduce, reduction)
        if margin <= 0:
            raise ValueError(f"TripletMarginLoss: expected margin to be greater than 0, got {margin} instead")
        self.p = p
        self.eps = eps
        self.swap = swap

    def forward(self, anchor: Tensor, positive: Tensor, negative: Tensor) -> Tensor:
        return F.triplet_margin_loss(anchor, positive, negative, margin=self.margin, p=self.p, eps=self.eps,
                                     swap=self.swap, reduction=self.reduction)


class TripletMarginWithDistanceLoss(_Loss):
    """:class:`TripletMarginLoss` with any distance.

    Args:
        distance_function: of two tensors; the Euclidean one when left out.
        margin: by how much the positive example is to be nearer, positive.
        swap: use the distance of the negative example from the positive one where that is smaller.

    As ``torch.nn.TripletMarginWithDistanceLoss``.

    Raises:
        ValueError: a margin that is not positive.

    Example:
        >>> import flamework
        >>> loss = flamework.nn.TripletMarginWithDistanceLoss(distance_function=lambda x, y: (x - y).abs().sum(-1))
        >>> loss(flamework.zeros(1, 4), flamework.ones(1, 4), flamework.ones(1, 4)).item()
        1.0
    """

    def __init__(self, *, distance_function: Callable[[Tensor, Tensor], Tensor] | None = None, margin: float = 1.0,
                 swap: bool = False, reduction: str = "mean") -> None:
        super().__init__(None, None, reduction)
        if margin <= 0:
            raise ValueError(
                f"TripletMarginWithDistanceLoss: expected margin to be greater than 0, got {margin} instead"
            )
        self.distance_function = PairwiseDistance() if distance_function is None else distance_function
        self.margin = margin
        self.swap = swap

    def forward(self, anchor: Tensor, positive: Tensor, negative: Tensor) -> Tensor:
        return F.triplet_margin_with_distance_loss(anchor, positive, negative,
                                                   distance_function=self.distance_function, margin=self.margin,
                                                   swap=self.swap, reduction=self.reduction)
