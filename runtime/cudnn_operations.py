"""What cuDNN is asked to compute: convolutions and attention, and their gradients.

Attention is of 16-bit floats; of others the library has it in TF32 only.

In: a node of the graph. Out: an :class:`Operation`, which is equal for equal ones. Read next: ``cudnn.py``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ..compiler import primitives_attention as attention
from ..compiler.affine import strides_of
from ..compiler.dtypes import DType
from ..compiler.ir import Node
from ..compiler.narrow import is_narrow
from ..compiler.operands import strided_operand
from ..compiler.primitives_conv import convolve, filter_gradient, image_gradient

#: cuDNN's names of each dtype, and of the one in which its products are added up.
TYPES = {
    "float16": ("HALF", "FLOAT"), "bfloat16": ("BFLOAT16", "FLOAT"), "float32": ("FLOAT", "FLOAT"),
    "float64": ("DOUBLE", "DOUBLE"),
}

CONVOLUTIONS = {convolve: "conv_fprop", image_gradient: "conv_dgrad", filter_gradient: "conv_wgrad"}

#: The last axis of an operand of attention is a multiple of it.
UNIT = 8


@dataclass(frozen=True)
class Tensor:
    """An operand or a result: its axes as the library orders them, strides in elements, and whether it is of the dtype
    in which is computed, and not of the stored one."""

    shape: tuple[int, ...]
    strides: tuple[int, ...]
    is_wide: bool = False

    @property
    def elements(self) -> int:
        """How many there are from the first to the last."""
        return 1 + sum((extent - 1) * stride for extent, stride in zip(self.shape, self.strides))


def contiguous(shape: Sequence[int], is_wide: bool = False) -> Tensor:
    return Tensor(tuple(shape), strides_of(shape), is_wide)


@dataclass(frozen=True)
class Operation(ABC):
    """One operation of the library.

    Attributes:
        dtype: in which its operands are stored.
        operands, results: in the order in which they are numbered.
    """

    dtype: DType
    operands: tuple[Tensor, ...]
    results: tuple[Tensor, ...]

    @property
    def types(self) -> tuple[str, str]:
        """cuDNN's names of the dtypes that are stored and computed in."""
        return TYPES[self.dtype.name]

    @abstractmethod
    def apply(self, graph: Any, operands: Sequence[Any], computed: Any) -> Sequence[Any]:
        """Put it into a graph of the frontend, in which it is computed in a dtype. Returns its results."""


@dataclass(frozen=True)
class Convolution(Operation):
    """A convolution, or the gradient of its image or weight. How many groups it has is told by the channels.

    Attributes:
        name: as the frontend names it.
        stride, low, high, dilation: one for each axis of space; widths of zeros before and after it.
    """

    name: str
    stride: tuple[int, ...]
    low: tuple[int, ...]
    high: tuple[int, ...]
    dilation: tuple[int, ...]

    def apply(self, graph: Any, operands: Sequence[Any], computed: Any) -> Sequence[Any]:
        return [getattr(graph, self.name)(
            *operands, pre_padding=list(self.low), post_padding=list(self.high), stride=list(self.stride),
            dilation=list(self.dilation), compute_data_type=computed,
        )]


@dataclass(frozen=True)
class Attention(Operation):
    """Attention, from queries, keys and values: its result and its sums.

    Attributes:
        scale: what the products of queries and keys are multiplied by.
        causal: whether a target looks at sources up to its own position only.
    """

    scale: float
    causal: bool

    def apply(self, graph: Any, operands: Sequence[Any], computed: Any) -> Sequence[Any]:
        q, k, v = operands
        return graph.sdpa(
            q=q, k=k, v=v, attn_scale=self.scale, use_causal_mask=self.causal, generate_stats=True,
            compute_data_type=computed,
        )


@dataclass(frozen=True)
class AttentionGradient(Attention):
    """The gradients of queries, keys and values, from these, the result, the sums, and the result's cotangent."""

    def apply(self, graph: Any, operands: Sequence[Any], computed: Any) -> Sequence[Any]:
        q, k, v, out, sums, cotangent = operands
        return graph.sdpa_backward(
            q=q, k=k, v=v, o=out, dO=cotangent, stats=sums, attn_scale=self.scale, use_causal_mask=self.causal,
            use_deterministic_algorithm=True, compute_data_type=computed,
        )


def describe(node: Node, *, in_place: bool = True) -> Operation | None:
    """The operation of a node; None if the library computes no such thing.

    Args:
        in_place: whether operands of attention are read below their movement.
    """
    if node.op in CONVOLUTIONS:
        return described_convolution(node)
    return described_attention(node, in_place) if node.op in attention.FORMULAS else None


def described_convolution(node: Node) -> Convolution | None:
    shapes = [x.shape for x in (*node.src, node)]
    stride, low, high, dilation = node.params[:4]
    rank = len(stride)
    if node.dtype.name not in TYPES or any(0 in shape for shape in shapes) or rank > 3:
        return None
    if rank == 1:
        # cuDNN has no line, only an image of one row
        shapes = [(*shape[:2], 1, shape[2]) for shape in shapes]
        stride, dilation, low, high = (1, *stride), (1, *dilation), (0, *low), (0, *high)
    first, second, result = map(contiguous, shapes)
    windows = map(tuple, (stride, low, high, dilation))
    return Convolution(node.dtype, (first, second), (result,), CONVOLUTIONS[node.op], *windows)


def described_attention(node: Node, in_place: bool) -> Attention | None:
    q, k, v = node.src[:3]
    if not is_narrow(q.dtype) or q.shape[3] % UNIT or v.shape[3] % UNIT:
        return None
    operands = tuple([
        contiguous((*x.shape, 1), True) if x.ndim == 3
        else by_head(x.shape, strided_operand(x).strides if in_place else strides_of(x.shape))
        for x in node.src
    ])
    scale, causal = node.params[:2]
    if node.op is attention.attention_gradient:
        results = tuple([by_head(x.shape, strides_of(x.shape)) for x in (q, k, v)])
        return AttentionGradient(q.dtype, operands, results, scale, causal)
    batch, targets, heads, _ = q.shape
    shape = (batch, targets, heads, v.shape[3])
    results = (by_head(shape, strides_of(shape)), contiguous((batch, heads, targets, 1), True))
    return Attention(q.dtype, operands, results, scale, causal)


def by_head(shape: Sequence[int], strides: Sequence[int]) -> Tensor:
    """The axes of ``[batch, positions, heads, size]`` in the library's order."""
    return Tensor(*(tuple([x[axis] for axis in (0, 2, 1, 3)]) for x in (shape, strides)))
