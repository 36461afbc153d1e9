"""What PyTorch calls the places of the backward graph, such as ``AddBackward0``: ``grad_fn`` and error messages say it.

In: a node. Out: a name. Read next: ``autodiff.py``.
"""

from __future__ import annotations

from . import primitives as p, primitives_shape as s
from .composite import call
from .ir import Node

_NAMES = {
    "recip": "Reciprocal", "reshape": "View", "reduce_max": "Amax", "reduce_min": "Amin", "max": "Maximum",
    "min": "Minimum", "copy": "Clone", "dot": "Bmm", "convolve": "Convolution", "rem": "Remainder",
    "filter_gradient": "ConvolutionBackward", "image_gradient": "ConvolutionBackward",
    "attention": "ScaledDotProductCudnnAttention",
    "attention_gradient": "ScaledDotProductCudnnAttentionBackward",
    "floordiv": "FloorDivide", "cast": "ToCopy",
    "update": "CopySlices", "scatter": "IndexPut", "gather": "Index", "pad": "ConstantPadNd", "cat": "Cat",
    "as_strided": "AsStrided", "user_gradient": "Function", "straight_through": "CopySlices", "rsqrt": "Rsqrt",
    "locally_constant": "CopySlices",
}


# What PyTorch calls the last step of a formula that is recorded as one node.
_COMPOSITES = {
    "linear": "Addmm", "matmul": "Mm", "nll_loss": "NllLoss", "cross_entropy": "NllLoss", "soft_cross_entropy": "Div",
    "layer_norm": "NativeLayerNorm", "rms_norm": "Mul", "softmax": "Softmax", "log_softmax": "LogSoftmax",
    "masked_softmax": "Softmax", "log_sum_exp": "Logsumexp", "gelu": "Gelu", "gelu_tanh": "Gelu", "silu": "Silu",
    "softplus": "Softplus", "mish": "Mish", "log_sigmoid": "LogSigmoid", "elu": "Elu", "log_add_exp": "Logaddexp",
    "x_log_y": "Xlogy",
}


# ``1 - x``, ``1 / x``, which PyTorch computes as a product, and ``2 ** x``.
_SCALAR_FIRST = {p.sub: "RsubBackward1", p.div: "MulBackward0", p.pow: "PowBackward2"}


def gradient_name(node: Node) -> str:
    """The name that PyTorch gives to a place in the backward graph, such as ``AddBackward0``."""
    op = node.op
    if not node.src or op is s.detach:
        return "AccumulateGrad"
    known = getattr(node, "name", None)
    if known is not None:
        return known
    if op in _SCALAR_FIRST and node.src[0].op is p.scalar:
        return _SCALAR_FIRST[op]
    if op is p.rem and node.src[1].op is not p.scalar:
        return "RemainderBackward1"
    if op is call:
        return f"{_COMPOSITES[node.params[0].name]}Backward0"
    if op is s.reshape and node.src[0].op in (s.dot, s.reduce_sum, s.reduce_prod, s.reduce_max, s.reduce_min):
        # the shape of a result is put right after the fact: the operation is what is below
        node = node.src[0]
        if node.op is s.dot:
            return "MmBackward0"
        op = node.op
    if op in (p.mul, p.div) and node.src[0].op is s.reduce_sum and node.src[1].op is p.const:
        return "MeanBackward0"
    name = _NAMES.get(op.name)
    if name is None:
        name = "".join(word.capitalize() for word in op.name.split("_"))
    return name if name == "CopySlices" else f"{name}Backward0"
