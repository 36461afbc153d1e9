"""Distances between vectors, as layers.

In: two tensors of vectors. Out: a number for each pair. The computation is in ``functional_regression.py``.
"""

from __future__ import annotations

from flamework.nn import functional as F
from flamework.nn.module import Module
from flamework.tensor import Tensor


class PairwiseDistance(Module):
    """The norm of the difference of two vectors.

    Args:
        p: the order of the norm; may be negative or infinite.
        eps: added to the difference.
        keepdim: whether the last dimension stays, with size 1.

    Shape: (N, D) or (D) and the same to (N) or (), with ``keepdim`` (N, 1) or (1). As ``torch.nn.PairwiseDistance``.

    Example:
        >>> import flamework
        >>> flamework.nn.PairwiseDistance(1.0, eps=0.0)(flamework.ones(2, 3), flamework.zeros(2, 3)).tolist()
        [3.0, 3.0]
    """

    def __init__(self, p: float = 2.0, eps: float = 1e-6, keepdim: bool = False) -> None:
        super().__init__()
        self.norm = p
        self.eps = eps
        self.keepdim = keepdim

    def forward(self, x1: Tensor, x2: Tensor) -> Tensor:
        return F.pairwise_distance(x1, x2, self.norm, self.eps, self.keepdim)


class CosineSimilarity(Module):
    """The cosine of the angle between two vectors.

    Args:
        dim: the dimension along which the vectors lie.
        eps: least length of a vector that is divided by.

    Shape: two tensors alike to the same without ``dim``. As ``torch.nn.CosineSimilarity``.

    Example:
        >>> import flamework
        >>> flamework.nn.CosineSimilarity()(flamework.ones(1, 3), flamework.ones(1, 3)).round().tolist()
        [1.0]
    """

    def __init__(self, dim: int = 1, eps: float = 1e-8) -> None:
        super().__init__()
        self.dim = dim
        self.eps = eps

    def forward(self, x1: Tensor, x2: Tensor) -> Tensor:
        return F.cosine_similarity(x1, x2, self.dim, self.eps)
