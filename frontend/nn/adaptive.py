"""A softmax over very many classes, of which rare ones are reached through clusters.

The head tells frequent classes and clusters apart; each cluster has a smaller layer of its own for the classes in it.
Only the clusters that a batch holds are computed: which they are is looked at when the layer is called.

In: activations and class indices. Out: log-probabilities and their loss.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import flamework
from flamework.nn import functional as F
from flamework.nn.containers import ModuleList, Sequential
from flamework.nn.linear import Linear
from flamework.nn.module import Module
from flamework.tensor import Tensor


class ASMoutput(NamedTuple):
    """What the layer returns: the log-probability of each target, and minus their mean."""

    output: Tensor
    loss: Tensor


class AdaptiveLogSoftmaxWithLoss(Module):
    """Log-probabilities of classes that are sorted by how frequent they are, the most frequent first.

    Args:
        in_features: size of an activation.
        n_classes: number of classes.
        cutoffs: the first class of each cluster; those before the first are told apart by the head.
        div_value: the layer of cluster i has in_features / div_value**(i + 1) hidden units.
        head_bias: whether the head has a bias.
        device, dtype: of the parameters.

    Called with activations and targets of int64: (N, in_features) and (N), or (in_features) and (). It returns
    ``output``, (N) or (), and ``loss``. Grave et al., "Efficient softmax approximation for GPUs" (2017). As
    ``torch.nn.AdaptiveLogSoftmaxWithLoss``.

    Raises:
        ValueError: cutoffs that do not rise from at least 1 to less than ``n_classes``.
        RuntimeError, when called: shapes that do not fit, or a target that is no class.

    Example:
        >>> import flamework
        >>> layer = flamework.nn.AdaptiveLogSoftmaxWithLoss(8, 20, [5, 10])
        >>> x, target = flamework.randn(4, 8), flamework.tensor([0, 6, 15, 3])
        >>> tuple(layer(x, target).output.shape), tuple(layer.log_prob(x).shape), tuple(layer.predict(x).shape)
        ((4,), (4, 20), (4,))
    """

    def __init__(self, in_features: int, n_classes: int, cutoffs: Sequence[int], div_value: float = 4.0,
                 head_bias: bool = False, device: Any = None, dtype: Any = None) -> None:
        super().__init__()
        cutoffs = list(cutoffs)
        if not cutoffs:
            raise ValueError("cutoffs should be a sequence of length larger than 0")
        if (
            cutoffs != sorted(set(cutoffs)) or cutoffs[0] <= 0 or cutoffs[-1] > n_classes - 1
            or any(int(c) != c for c in cutoffs)
        ):
            raise ValueError(
                "cutoffs should be a sequence of unique, positive integers sorted in an increasing order, where each "
                "value is between 1 and n_classes-1"
            )
        self.in_features = in_features
        self.n_classes = n_classes
        self.cutoffs = [*cutoffs, n_classes]
        self.div_value = div_value
        self.head_bias = head_bias
        self.shortlist_size = cutoffs[0]
        self.n_clusters = len(cutoffs)
        self.head_size = self.shortlist_size + self.n_clusters
        kind = {"device": device, "dtype": dtype}
        self.head = Linear(in_features, self.head_size, bias=head_bias, **kind)
        self.tail = ModuleList()
        for i in range(self.n_clusters):
            hidden = int(in_features // div_value ** (i + 1))
            self.tail.append(Sequential(
                Linear(in_features, hidden, bias=False, **kind),
                Linear(hidden, self.cutoffs[i + 1] - self.cutoffs[i], bias=False, **kind),
            ))

    def reset_parameters(self) -> None:
        """Draw all weights anew."""
        self.head.reset_parameters()
        for first, second in self.tail:
            first.reset_parameters()
            second.reset_parameters()

    def forward(self, input_: Tensor, target_: Tensor) -> ASMoutput:
        self._check(input_, target_)
        batched = target_.dim() > 0
        x, target = (input_, target_) if batched else (input_.unsqueeze(0), target_.unsqueeze(0))
        choice, inside = target, []
        for i, (low, high) in enumerate(zip(self.cutoffs, self.cutoffs[1:])):
            member = (target >= low) & (target < high)
            choice = flamework.where(member, self.shortlist_size + i, choice)
            rows = member.nonzero().squeeze(1)
            if rows.numel():
                scores = F.log_softmax(self.tail[i](x.index_select(0, rows)), dim=1)
                place = (target.index_select(0, rows) - low).unsqueeze(1)
                inside.append((rows, scores.gather(1, place).squeeze(1)))
        output = F.log_softmax(self.head(x), dim=1).gather(1, choice.unsqueeze(1)).squeeze(1)
        for rows, score in inside:
            output = output.index_add(0, rows, score)
        loss = (-output).mean()
        return ASMoutput(output if batched else output.squeeze(0), loss)

    def _check(self, x: Tensor, target: Tensor) -> None:
        if target.dim() > 1:
            raise RuntimeError("0D or 1D target tensor expected, multi-target not supported")
        if x.dim() != target.dim() + 1:
            raise RuntimeError(
                f"{target.dim()}D target tensor expects {target.dim() + 1}D input tensors, but found inputs with size "
                f"{tuple(x.shape)}"
            )
        if target.dim() and x.shape[0] != target.shape[0]:
            raise RuntimeError("Input and target should have the same size in the batch dimension.")
        if target.numel() and bool(((target < 0) | (target >= self.n_classes)).any()):
            raise RuntimeError(
                f"Target values should be in [0, {self.n_classes - 1}], but values in range "
                f"[{target.min().item()}, {target.max().item()}] were found. "
            )

    def log_prob(self, input: Tensor) -> Tensor:
        """The log-probabilities of all classes: (N, in_features) to (N, n_classes)."""
        head = F.log_softmax(self.head(input), dim=1)
        parts = [head[:, : self.shortlist_size]]
        for i, layer in enumerate(self.tail):
            gate = head[:, self.shortlist_size + i].unsqueeze(1)
            parts.append(F.log_softmax(layer(input), dim=1) + gate)
        return flamework.cat(parts, dim=1)

    def predict(self, input: Tensor) -> Tensor:
        """The most probable class: (N, in_features) to (N). Clusters are computed for the rows that need them."""
        output = self.head(input).argmax(dim=1)
        rows = (output >= self.shortlist_size).nonzero().squeeze(1)
        if rows.numel():
            output = output.index_copy(0, rows, self.log_prob(input.index_select(0, rows)).argmax(dim=1))
        return output
