"""Embeddings: a table of vectors that is indexed by integers.

In: integers of any shape. Out: the table's rows, in one more dimension, or the sums of bags of rows.
"""

from __future__ import annotations

from typing import Any, Self

import flamework
from flamework.nn import functional as F, init
from flamework.nn.module import Module
from flamework.nn.parameter import Parameter
from flamework.tensor import Tensor


def _row(padding_idx: int | None, rows: int, name: str) -> int | None:
    """The row that stands for padding, counted from the beginning."""
    if padding_idx is None:
        return None
    if not -rows <= padding_idx < rows:
        raise AssertionError(f"{name} must be within num_embeddings")
    return padding_idx % rows


class Embedding(Module):
    """Look up rows of a learned table.

    Args:
        num_embeddings: number of rows.
        embedding_dim: length of a row.
        padding_idx: a row that starts as zeros and gets no gradient; negative counts from the end.
        max_norm: rows with a larger norm are scaled down, in place, when they are looked up.
        norm_type: the p of that norm.
        scale_grad_by_freq: divide a row's gradient by the number of times that it was looked up.
        device, dtype: of the parameter.

    Shape: (*) of int64 or int32 to (*, embedding_dim). ``weight`` is (num_embeddings, embedding_dim) and starts from
    the standard normal distribution. As ``torch.nn.Embedding``.

    Raises:
        AssertionError: ``padding_idx`` lies outside of the table.

    Example:
        >>> import flamework
        >>> tuple(flamework.nn.Embedding(10, 3)(flamework.tensor([[1, 2], [4, 9]])).shape)
        (2, 2, 3)
    """

    def __init__(self, num_embeddings: int, embedding_dim: int, padding_idx: int | None = None,
                 max_norm: float | None = None, norm_type: float = 2.0, scale_grad_by_freq: bool = False, *,
                 _weight: Tensor | None = None, _freeze: bool = False, device: Any = None,
                 dtype: Any = None) -> None:
        super().__init__()
        padding_idx = _row(padding_idx, num_embeddings, "Padding_idx")
        self.num_embeddings = num_embeddings
        self.embedding_dim = embedding_dim
        self.padding_idx = padding_idx
        self.max_norm = max_norm
        self.norm_type = norm_type
        self.scale_grad_by_freq = scale_grad_by_freq
        if _weight is None:
            table = flamework.empty((num_embeddings, embedding_dim), device=device, dtype=dtype)
            self.weight = Parameter(table, requires_grad=not _freeze)
            self.reset_parameters()
        else:
            if tuple(_weight.shape) != (num_embeddings, embedding_dim):
                raise AssertionError("Shape of weight does not match num_embeddings and embedding_dim")
            self.weight = Parameter(_weight, requires_grad=not _freeze)

    def reset_parameters(self) -> None:
        """Draw the table anew and clear the padding row."""
        init.normal_(self.weight)
        if self.padding_idx is not None:
            with flamework.no_grad():
                self.weight[self.padding_idx].fill_(0)

    def forward(self, input: Tensor) -> Tensor:
        return F.embedding(input, self.weight, self.padding_idx, self.max_norm, self.norm_type,
                           self.scale_grad_by_freq)

    def extra_repr(self) -> str:
        text = f"{self.num_embeddings}, {self.embedding_dim}"
        if self.padding_idx is not None:
            text += f", padding_idx={self.padding_idx}"
        if self.max_norm is not None:
            text += f", max_norm={self.max_norm}"
        if self.norm_type != 2:
            text += f", norm_type={self.norm_type}"
        if self.scale_grad_by_freq:
            text += f", scale_grad_by_freq={self.scale_grad_by_freq}"
        return text

    @classmethod
    def from_pretrained(cls, embeddings: Tensor, freeze: bool = True, padding_idx: int | None = None,
                        max_norm: float | None = None, norm_type: float = 2.0,
                        scale_grad_by_freq: bool = False) -> Self:
        """Make an embedding of an existing table, (num_embeddings, embedding_dim), which it shares.

        Args:
            freeze: whether the table gets no gradients.

        The other arguments are those of the class.

        Raises:
            AssertionError: the table is not two-dimensional.
        """
        if embeddings.dim() != 2:
            raise AssertionError("Embeddings parameter is expected to be 2-dimensional")
        rows, columns = embeddings.shape
        return cls(rows, columns, padding_idx=padding_idx, max_norm=max_norm, norm_type=norm_type,
                   scale_grad_by_freq=scale_grad_by_freq, _weight=embeddings, _freeze=freeze)


class EmbeddingBag(Module):
    """Sums, means or maxima of rows of a learned table.

    Args:
        num_embeddings: number of rows.
        embedding_dim: length of a row.
        max_norm: rows with a larger norm are scaled down, in place, when they are looked up.
        norm_type: the p of that norm.
        scale_grad_by_freq: divide a row's gradient by the number of times that it was looked up.
        mode: "sum", "mean" or "max".
        sparse: False; gradients are dense here.
        include_last_offset: whether the last offset is the end of the last bag.
        padding_idx: a row that does not count, starts as zeros and gets no gradient; negative counts from the end.
        device, dtype: of the parameter.

    Shape: (N, L) of int64 or int32, or all indices one after the other with the offsets of the bags, to
    (N, embedding_dim); for sums also a weight for each index. ``weight`` is (num_embeddings, embedding_dim) and starts
    from the standard normal distribution. As ``torch.nn.EmbeddingBag``.

    Raises:
        AssertionError: ``padding_idx`` lies outside of the table.
        RuntimeError: ``sparse`` is True.

    Example:
        >>> import flamework
        >>> bags = flamework.nn.EmbeddingBag(10, 3, mode="sum")
        >>> tuple(bags(flamework.tensor([1, 2, 4, 5]), flamework.tensor([0, 3])).shape)
        (2, 3)
    """

    def __init__(self, num_embeddings: int, embedding_dim: int, max_norm: float | None = None, norm_type: float = 2.0,
                 scale_grad_by_freq: bool = False, mode: str = "mean", sparse: bool = False,
                 _weight: Tensor | None = None, include_last_offset: bool = False, padding_idx: int | None = None,
                 device: Any = None, dtype: Any = None) -> None:
        super().__init__()
        if sparse:
            raise RuntimeError("EmbeddingBag: gradients are dense, so sparse=True is not supported")
        padding_idx = _row(padding_idx, num_embeddings, "padding_idx")
        self.num_embeddings = num_embeddings
        self.embedding_dim = embedding_dim
        self.max_norm = max_norm
        self.norm_type = norm_type
        self.scale_grad_by_freq = scale_grad_by_freq
        self.mode = mode
        self.sparse = sparse
        self.include_last_offset = include_last_offset
        self.padding_idx = padding_idx
        if _weight is None:
            self.weight = Parameter(flamework.empty((num_embeddings, embedding_dim), device=device, dtype=dtype))
            self.reset_parameters()
        else:
            if tuple(_weight.shape) != (num_embeddings, embedding_dim):
                raise AssertionError("Shape of weight does not match num_embeddings and embedding_dim")
            self.weight = Parameter(_weight)

    def reset_parameters(self) -> None:
        """Draw the table anew and clear the padding row."""
        init.normal_(self.weight)
        if self.padding_idx is not None:
            with flamework.no_grad():
                self.weight[self.padding_idx].fill_(0)

    def forward(self, input: Tensor, offsets: Tensor | None = None,
                per_sample_weights: Tensor | None = None) -> Tensor:
        return F.embedding_bag(input, self.weight, offsets, self.max_norm, self.norm_type, self.scale_grad_by_freq,
                               self.mode, self.sparse, per_sample_weights, self.include_last_offset, self.padding_idx)

    def extra_repr(self) -> str:
        text = f"{self.num_embeddings}, {self.embedding_dim}"
        if self.max_norm is not None:
            text += f", max_norm={self.max_norm}"
        if self.norm_type != 2:
            text += f", norm_type={self.norm_type}"
        if self.scale_grad_by_freq:
            text += f", scale_grad_by_freq={self.scale_grad_by_freq}"
        text += f", mode={self.mode!r}"
        if self.padding_idx is not None:
            text += f", padding_idx={self.padding_idx}"
        return text

    @classmethod
    def from_pretrained(cls, embeddings: Tensor, freeze: bool = True, max_norm: float | None = None,
                        norm_type: float = 2.0, scale_grad_by_freq: bool = False, mode: str = "mean",
                        sparse: bool = False, include_last_offset: bool = False,
                        padding_idx: int | None = None) -> Self:
        """Make bags of an existing table, (num_embeddings, embedding_dim), which they share.

        Args:
            freeze: whether the table gets no gradients.

        The other arguments are those of the class.

        Raises:
            AssertionError: the table is not two-dimensional.
        """
        if embeddings.dim() != 2:
            raise AssertionError("Embeddings parameter is expected to be 2-dimensional")
        bags = cls(*embeddings.shape, max_norm=max_norm, norm_type=norm_type, scale_grad_by_freq=scale_grad_by_freq,
                   mode=mode, sparse=sparse, _weight=embeddings, include_last_offset=include_last_offset,
                   padding_idx=padding_idx)
        bags.weight.requires_grad = not freeze
        return bags
