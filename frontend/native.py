"""The functions of ``nn.functional`` that ``torch`` has as well, where their arguments differ.

``torch.embedding`` takes the weight first, ``torch.batch_norm`` the parameters before the running estimates, and the
losses a number for the reduction, of which the default is none. Those whose arguments agree are the same functions
(:data:`SHARED`).

In: the functions of ``nn/functional.py``. Out: names of ``torch``. The chapter of functions ends here.
"""

from __future__ import annotations

from collections.abc import Sequence

from .nn import functional as F
from .nn.functional_sparse import bags_of
from .recording import tensor_of
from .tensor import Tensor

SHARED = """
    avg_pool1d bilinear celu channel_shuffle conv1d conv2d conv3d conv_transpose1d conv_transpose2d conv_transpose3d
    cosine_similarity group_norm hardshrink layer_norm max_pool1d max_pool2d max_pool3d pairwise_distance pixel_shuffle
    pixel_unshuffle prelu rms_norm rrelu selu threshold adaptive_avg_pool1d celu_ rrelu_ selu_ threshold_
""".split()

_REDUCTIONS = ("none", "mean", "sum")


def _reduction(number: int) -> str:
    if number not in (0, 1, 2):
        raise ValueError(f"a reduction is 0 (none), 1 (mean) or 2 (sum), not {number}")
    return _REDUCTIONS[number]


def dropout(input: Tensor, p: float, train: bool) -> Tensor:
    """:func:`flamework.nn.functional.dropout`. As ``torch.dropout``."""
    return F.dropout(input, p, train)


def dropout_(input: Tensor, p: float, train: bool) -> Tensor:
    """:func:`flamework.nn.functional.dropout` in place. As ``torch.dropout_``."""
    return F.dropout(input, p, train, inplace=True)


def feature_dropout(input: Tensor, p: float, train: bool) -> Tensor:
    """Dropout of whole channels of ``[batch, channels, *]``. As ``torch.feature_dropout``."""
    return F.dropout3d(input, p, train) if input.ndim == 5 else F.dropout2d(input, p, train)


def alpha_dropout(input: Tensor, p: float, train: bool) -> Tensor:
    """:func:`flamework.nn.functional.alpha_dropout`. As ``torch.alpha_dropout``."""
    return F.alpha_dropout(input, p, train)


def feature_alpha_dropout(input: Tensor, p: float, train: bool) -> Tensor:
    """:func:`flamework.nn.functional.feature_alpha_dropout`. As ``torch.feature_alpha_dropout``."""
    return F.feature_alpha_dropout(input, p, train)


def embedding(weight: Tensor, indices: Tensor, padding_idx: int = -1, scale_grad_by_freq: bool = False) -> Tensor:
    """The rows of ``weight`` at ``indices``; -1 means no padding here. As ``torch.embedding``."""
    return F.embedding(indices, weight, padding_idx if padding_idx >= 0 else None, None, 2.0, scale_grad_by_freq)


def embedding_bag(
    weight: Tensor, indices: Tensor, offsets: Tensor, scale_grad_by_freq: bool = False, mode: int = 0,
    sparse: bool = False, per_sample_weights: Tensor | None = None, include_last_offset: bool = False,
    padding_idx: int | None = None,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """:func:`flamework.nn.functional.embedding_bag` of a mode 0 (sum), 1 (mean) or 2 (max). As ``torch.embedding_bag``.

    Returns:
        The result; of each index its bag; of each bag how many indices count; and where the maxima come from.
    """
    if mode not in (0, 1, 2):
        raise ValueError(f"a mode is 0 (sum), 1 (mean) or 2 (max), not {mode}")
    found = bags_of(
        indices, weight, offsets, None, 2.0, scale_grad_by_freq, ("sum", "mean", "max")[mode], sparse,
        per_sample_weights, include_last_offset, padding_idx,
    )
    return tuple(map(tensor_of, found))


def batch_norm(
    input: Tensor, weight: Tensor | None, bias: Tensor | None, running_mean: Tensor | None,
    running_var: Tensor | None, training: bool, momentum: float, eps: float, cudnn_enabled: bool = True,
) -> Tensor:
    """:func:`flamework.nn.functional.batch_norm`. As ``torch.batch_norm``.

    ``cudnn_enabled`` permits a library that computes the same; the result does not depend on it.
    """
    return F.batch_norm(input, running_mean, running_var, weight, bias, training, momentum, eps)


def instance_norm(
    input: Tensor, weight: Tensor | None, bias: Tensor | None, running_mean: Tensor | None,
    running_var: Tensor | None, use_input_stats: bool, momentum: float, eps: float, cudnn_enabled: bool = True,
) -> Tensor:
    """:func:`flamework.nn.functional.instance_norm`. As ``torch.instance_norm``.

    ``cudnn_enabled`` permits a library that computes the same; the result does not depend on it.
    """
    return F.instance_norm(input, running_mean, running_var, weight, bias, use_input_stats, momentum, eps)


def adaptive_max_pool1d(input: Tensor, output_size: int | Sequence[int]) -> tuple[Tensor, Tensor]:
    """Maxima and their positions. As ``torch.adaptive_max_pool1d``."""
    return F.adaptive_max_pool1d(input, output_size, return_indices=True)


def max_pool1d_with_indices(
    input: Tensor, kernel_size: int | Sequence[int], stride: int | Sequence[int] | None = None,
    padding: int | Sequence[int] = 0, dilation: int | Sequence[int] = 1, ceil_mode: bool = False,
) -> tuple[Tensor, Tensor]:
    """Maxima and their positions. As ``torch.max_pool1d_with_indices``."""
    return F.max_pool1d(input, kernel_size, stride, padding, dilation, ceil_mode, return_indices=True)


def constant_pad_nd(input: Tensor, pad: Sequence[int], value: float = 0) -> Tensor:
    """:func:`flamework.nn.functional.pad` with a constant. As ``torch.constant_pad_nd``."""
    return F.pad(input, pad, "constant", value)


def kl_div(input: Tensor, target: Tensor, reduction: int = 0, *, log_target: bool = False) -> Tensor:
    """:func:`flamework.nn.functional.kl_div`. As ``torch.kl_div``."""
    loss = F.kl_div(input, target, reduction="none", log_target=log_target)
    return loss if reduction == 0 else loss.sum() if _reduction(reduction) == "sum" else loss.mean()


def binary_cross_entropy_with_logits(
    input: Tensor, target: Tensor, weight: Tensor | None = None, pos_weight: Tensor | None = None, reduction: int = 0
) -> Tensor:
    """The loss of that name. As ``torch.binary_cross_entropy_with_logits``."""
    return F.binary_cross_entropy_with_logits(
        input, target, weight, reduction=_reduction(reduction), pos_weight=pos_weight
    )


def cosine_embedding_loss(
    input1: Tensor, input2: Tensor, target: Tensor, margin: float = 0.0, reduction: int = 0
) -> Tensor:
    """The loss of that name. As ``torch.cosine_embedding_loss``."""
    return F.cosine_embedding_loss(input1, input2, target, margin, reduction=_reduction(reduction))


def hinge_embedding_loss(input: Tensor, target: Tensor, margin: float = 1.0, reduction: int = 0) -> Tensor:
    """The loss of that name. As ``torch.hinge_embedding_loss``."""
    return F.hinge_embedding_loss(input, target, margin, reduction=_reduction(reduction))


def margin_ranking_loss(
    input1: Tensor, input2: Tensor, target: Tensor, margin: float = 0.0, reduction: int = 0
) -> Tensor:
    """The loss of that name. As ``torch.margin_ranking_loss``."""
    return F.margin_ranking_loss(input1, input2, target, margin, reduction=_reduction(reduction))


def ctc_loss(
    log_probs: Tensor, targets: Tensor, input_lengths: Tensor | Sequence[int], target_lengths: Tensor | Sequence[int],
    blank: int = 0, reduction: int = 0, zero_infinity: bool = False,
) -> Tensor:
    """The loss of that name. As ``torch.ctc_loss``."""
    return F.ctc_loss(
        log_probs, targets, input_lengths, target_lengths, blank, _reduction(reduction), zero_infinity
    )


def triplet_margin_loss(
    anchor: Tensor, positive: Tensor, negative: Tensor, margin: float = 1.0, p: float = 2.0, eps: float = 1e-6,
    swap: bool = False, reduction: int = 0,
) -> Tensor:
    """The loss of that name. As ``torch.triplet_margin_loss``."""
    return F.triplet_margin_loss(anchor, positive, negative, margin, p, eps, swap, reduction=_reduction(reduction))


__all__ = [
    "adaptive_max_pool1d", "alpha_dropout", "batch_norm", "binary_cross_entropy_with_logits", "cosine_embedding_loss",
    "ctc_loss", "dropout", "dropout_", "embedding", "embedding_bag", "feature_alpha_dropout", "feature_dropout",
    "hinge_embedding_loss",
    "constant_pad_nd", "instance_norm", "kl_div", "margin_ranking_loss", "max_pool1d_with_indices",
    "triplet_margin_loss",
]

# the two activations that are also methods
Tensor.hardshrink, Tensor.prelu = F.hardshrink, F.prelu

FUNCTIONS = {name: getattr(F, name) for name in SHARED} | {name: globals()[name] for name in __all__}
