"""What ``grad_fn`` is called: the name that PyTorch gives to a public function's place in the backward graph.

Many of PyTorch's functions are formulas here, whose last step has a name of its own. The name that a user knows is left
at the node of the result while gradients are recorded. A name with a number (``SumBackward1``) says which form of a
function was called.

In: a call and its result. Out: a name. Read next: ``results.py``; ``compiler/gradient_names.py``, for functions that
are one node.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from .compiler import primitives_shape as s
from .recording import node_of
from .tensor import Tensor

Rule = Callable[[Sequence[Any], dict[str, Any], Any], str]


def _given(args: Sequence[Any], options: dict[str, Any], position: int, name: str, otherwise: Any = None) -> Any:
    return args[position] if len(args) > position else options.get(name, otherwise)


def _by_dim(name: str, whole: int = 0, along: int = 1) -> Rule:
    """One number for all elements, another for those along axes."""
    of_all, of_axes = f"{name}Backward{whole}", f"{name}Backward{along}"

    def rule(args: Sequence[Any], options: dict[str, Any], result: Any) -> str:
        dim = args[1] if len(args) > 1 else options.get("dim", options.get("axis")) if options else None
        return of_all if dim is None else of_axes

    return rule


def _by_tensor(name: str, position: int, keyword: str, number: int = 0, tensor: int = 1) -> Rule:
    """One number if an argument is a Python number, another if it is a tensor."""
    of_number, of_tensor = f"{name}Backward{number}", f"{name}Backward{tensor}"

    def rule(args: Sequence[Any], options: dict[str, Any], result: Any) -> str:
        return of_tensor if isinstance(_given(args, options, position, keyword), Tensor) else of_number

    return rule


def _extreme(name: str) -> Rule:
    def rule(args: Sequence[Any], options: dict[str, Any], result: Any) -> str:
        other = _given(args, options, 1, "other", options.get("dim"))
        if isinstance(other, Tensor):
            return f"{name}imumBackward0"
        return f"{name}Backward{1 if other is None else 0}"

    return rule


def _clamp(args: Sequence[Any], options: dict[str, Any], result: Any) -> str:
    if isinstance(_given(args, options, 1, "min"), Tensor) or isinstance(_given(args, options, 2, "max"), Tensor):
        return "ClampBackward0"
    return "ClampBackward1"


def _division(args: Sequence[Any], options: dict[str, Any], result: Any) -> str:
    return f"DivBackward{0 if options.get('rounding_mode') is None else 2}"


def _squeeze(args: Sequence[Any], options: dict[str, Any], result: Any) -> str:
    dim = _given(args, options, 1, "dim")
    return f"SqueezeBackward{0 if dim is None else 2 if isinstance(dim, (tuple, list)) else 1}"


def _split(args: Sequence[Any], options: dict[str, Any], result: Any) -> str:
    sizes = _given(args, options, 1, "split_size_or_sections", options.get("split_size"))
    return "SplitWithSizesBackward0" if isinstance(sizes, (tuple, list)) else "SplitBackward0"


def _sort(args: Sequence[Any], options: dict[str, Any], result: Any) -> str:
    return f"SortBackward{1 if 'stable' in options else 0}"


def _round(args: Sequence[Any], options: dict[str, Any], result: Any) -> str:
    return f"RoundBackward{1 if 'decimals' in options else 0}"


def _trapezoid(args: Sequence[Any], options: dict[str, Any], result: Any) -> str:
    if _given(args, options, 1, "x") is not None:
        return "DivBackward1"
    return "CumsumBackward0" if result.ndim == args[0].ndim else "MulBackward1"


def _transformed(real: str) -> Rule:
    """A Fourier transform, of real numbers another one."""

    def rule(args: Sequence[Any], options: dict[str, Any], result: Any) -> str:
        return "FftC2CBackward0" if args[0].is_complex() else real

    return rule


def _reshape(args: Sequence[Any], options: dict[str, Any], result: Any) -> str:
    return "UnsafeViewBackward0" if result._storage is None else "ViewBackward0"


def _diag(args: Sequence[Any], options: dict[str, Any], result: Any) -> str:
    return "DiagEmbedBackward0" if args[0].ndim == 1 else "DiagonalBackward0_copy"


def _unbatched(name: str, axes: int) -> Rule:
    """A convolution, whose input gets an axis of size 1 if it has no images."""
    batched = f"{name}Backward0"

    def rule(args: Sequence[Any], options: dict[str, Any], result: Any) -> str:
        return batched if result.ndim == axes + 2 else "SqueezeBackward1"

    return rule


def _pooled(name: str, axes: int) -> Rule:
    """Adaptive average pooling: to one element an axis it is a mean."""

    def rule(args: Sequence[Any], options: dict[str, Any], result: Any) -> str:
        return "MeanBackward1" if all(e == 1 for e in result.shape[-axes:]) else f"{name}Backward0"

    return rule


def _interpolated(args: Sequence[Any], options: dict[str, Any], result: Any) -> str:
    axes, mode = result.ndim - 2, _given(args, options, 3, "mode", "nearest")
    if mode == "area":
        return "SqueezeBackward1" if axes == 1 else f"AdaptiveAvgPool{axes}DBackward0"
    kind = {"nearest-exact": "NearestExact"}.get(mode, mode.capitalize())
    return f"Upsample{kind}{axes}D{'Aa' if options.get('antialias') else ''}Backward0"


def _padded(args: Sequence[Any], options: dict[str, Any], result: Any) -> str:
    axes, mode = len(_given(args, options, 1, "pad")) // 2, _given(args, options, 2, "mode", "constant")
    if mode == "constant":
        return "ConstantPadNdBackward0"
    return {"reflect": f"ReflectionPad{axes}DBackward0", "replicate": f"ReplicationPad{axes}DBackward0"}.get(
        mode, "CopySlices"
    )


def _linear(args: Sequence[Any], options: dict[str, Any], result: Any) -> str:
    biased = (args[2] if len(args) > 2 else options.get("bias")) is not None
    ndim = result._node.type.ndim
    if ndim == 2:
        return "AddmmBackward0" if biased else "MmBackward0"
    if biased:
        return "ViewBackward0"
    return "SqueezeBackward4" if ndim == 1 else "UnsafeViewBackward0"


def _matmul(args: Sequence[Any], options: dict[str, Any], result: Any) -> str:
    a, b = args[0], _given(args, options, 1, "other", options.get("tensor2"))
    pairs = {(1, 1): "DotBackward0", (2, 1): "MvBackward0", (1, 2): "SqueezeBackward4", (2, 2): "MmBackward0"}
    return pairs.get((a.ndim, b.ndim), "UnsafeViewBackward0")


def _einsum(args: Sequence[Any], options: dict[str, Any], result: Any) -> str:
    equation = args[0].replace(" ", "").replace("...", "")
    left, _, right = equation.partition("->")
    letters = left.replace(",", "")
    if "->" not in equation:
        right = "".join(x for x in letters if letters.count(x) == 1)
    summed = set(letters) - set(right)
    if "," not in left:
        return "SumBackward1" if summed else "PermuteBackward0"
    return "ViewBackward0" if summed else "MulBackward0"


def _power(args: Sequence[Any], options: dict[str, Any], result: Any) -> str:
    if not isinstance(args[0], Tensor):
        return "PowBackward2"
    return f"PowBackward{1 if isinstance(_given(args, options, 1, 'exponent'), Tensor) else 0}"


def _attention(args: Sequence[Any], options: dict[str, Any], result: Any) -> str:
    mask = _given(args, options, 3, "attn_mask")
    flash = result.ndim == 4 and not _given(args, options, 4, "dropout_p", 0.0)
    flash = flash and (mask is None or not mask.requires_grad)
    return "ScaledDotProductFlashAttentionForCpuBackward0" if flash else "UnsafeViewBackward0"


def _cross_entropy(args: Sequence[Any], options: dict[str, Any], result: Any) -> str:
    x, target = args[0], _given(args, options, 1, "target")
    if options.get("label_smoothing") and not target.is_floating_point():
        return "AddBackward0"
    if target.is_floating_point():
        return "DivBackward1" if options.get("reduction", "mean") == "mean" else "NegBackward0"
    return _nll_loss(args, options, result) if x.ndim <= 4 else "NllLoss2DBackward0"


def _nll_loss(args: Sequence[Any], options: dict[str, Any], result: Any) -> str:
    return "NllLossBackward0" if args[0].ndim <= 2 else "NllLoss2DBackward0"


def _reduced(unreduced: str | Rule, **others: str) -> Rule:
    """A loss that ends with the reduction that was asked for."""
    names = {"mean": "MeanBackward0", "sum": "SumBackward0", **others}

    def rule(args: Sequence[Any], options: dict[str, Any], result: Any) -> str:
        found = names.get(options.get("reduction", "mean"))
        return found or (unreduced if isinstance(unreduced, str) else unreduced(args, options, result))

    return rule


def _if(option: str, name: str, otherwise: str) -> Rule:
    def rule(args: Sequence[Any], options: dict[str, Any], result: Any) -> str:
        return name if options.get(option) else otherwise

    return rule


def _sampled(args: Sequence[Any], options: dict[str, Any], result: Any) -> str:
    return f"GridSampler{args[0].ndim - 2}DBackward0"


def _smooth(args: Sequence[Any], options: dict[str, Any], result: Any) -> str:
    return "SmoothL1LossBackward0" if options.get("beta", 1) else "MeanBackward0"


# Names as they are, or those whose PyTorch name is another: ``function:Name`` stands for NameBackward0.
_TORCH = """
    acosh addmm addmv addbmm baddbmm dot vdot mv addr addcmul addcdiv asinh atanh block_diag cholesky cholesky_inverse
    cholesky_solve view_as_complex cumsum cumprod cummax cummin diag_embed diagonal diagonal_scatter fmax fmin frac
    frexp kthvalue ldexp lu_unpack masked_scatter masked_select var_mean std_mean aminmax as_strided_scatter
    constant_pad_nd nextafter topk mode mvlgamma narrow_copy dist ormqr permute roll rot90 sinc sign sgn unsafe_split
    inner:View
    split_with_sizes select select_scatter slice_scatter triangular_solve nan_to_num angle polar gather index_copy
    index_select index_add index_reduce index_put put take bernoulli scatter_add stack hypot unbind renorm unsqueeze
    logsumexp trace transpose tril triu logcumsumexp logit t amax amin std var nansum scatter_reduce expand repeat
    clone unfold celu hardshrink threshold pixel_shuffle pixel_unshuffle channel_shuffle view
    combinations:Stack cartesian_prod:Stack chunk:Split unsafe_chunk:UnsafeSplit cov:Squeeze cross:LinalgCross
    deg2rad:Deg2Rad rad2deg:Rad2Deg log1p:Log1P lu:LinalgLuFactorEx lu_solve:LinalgLuSolve matrix_exp:LinalgMatrixExp
    meshgrid:Expand quantile:SqueezeBackward4 nanquantile:SqueezeBackward4 qr:LinalgQr square:Pow svd:LinalgSvd
    tensor_split:Slice unflatten:View pinverse:LinalgPinv msort:Sort take_along_dim:Gather tile:Repeat kron:UnsafeView
    tensordot:View norm:LinalgVectorNorm diagflat:DiagEmbed swapaxes:Transpose swapdims:Transpose movedim:Permute
    moveaxis:Permute narrow:Slice expand_as:Expand view_as:View contiguous:Clone det:LinalgDet slogdet:LinalgSlogdet
    inverse:LinalgInvEx prelu:PreluKernel rrelu:RreluWithNoise hstack:Cat vstack:Cat dstack:Cat concat:Cat
    expand_copy:ExpandBackward0_copy diagonal_copy:DiagonalBackward0_copy alias_copy:AliasBackward0_copy
    as_strided_copy:AsStridedBackward0_copy view_copy:ViewBackward0_copy permute_copy:PermuteBackward0_copy
    split_with_sizes_copy:SplitWithSizesBackward0_copy unbind_copy:UnbindBackward0_copy t_copy:TBackward0_copy
    unfold_copy:UnfoldBackward0_copy unsqueeze_copy:UnsqueezeBackward0_copy transpose_copy:TransposeBackward0_copy
    conv_tbc:ConvTbc cdist:Cdist batch_norm:NativeBatchNorm group_norm:NativeGroupNorm instance_norm:View
    embedding:Embedding cosine_similarity:SumBackward1 pdist:Pdist outer:Mul ger:Mul chain_matmul:View
"""
_FUNCTIONAL = """
    binary_cross_entropy_with_logits binary_cross_entropy hardswish soft_margin_loss multi_margin_loss
    multilabel_margin_loss leaky_relu glu celu hardsigmoid threshold softshrink hardshrink hardtanh mse_loss huber_loss
    pdist pixel_shuffle pixel_unshuffle channel_shuffle embedding
    relu6:Hardtanh prelu:PreluKernel rrelu:RreluWithNoise
    cosine_similarity:SumBackward1 pairwise_distance:NormBackward1 adaptive_avg_pool1d:SqueezeBackward1
    adaptive_max_pool1d:SqueezeBackward1 adaptive_max_pool2d:AdaptiveMaxPool2D adaptive_max_pool3d:AdaptiveMaxPool3D
    avg_pool1d:SqueezeBackward1 avg_pool2d:AvgPool2D avg_pool3d:AvgPool3D max_pool1d:SqueezeBackward1
    max_pool2d:MaxPool2DWithIndices max_pool3d:MaxPool3DWithIndices max_unpool1d:SqueezeBackward1
    max_unpool2d:MaxUnpool2D max_unpool3d:MaxUnpool3D fractional_max_pool2d:FractionalMaxPool2D
    fractional_max_pool3d:FractionalMaxPool3D batch_norm:NativeBatchNorm group_norm:NativeGroupNorm instance_norm:View
    unfold:Im2Col fold:Col2Im embedding_bag:EmbeddingBag normalize:Div local_response_norm:Div
"""
_LINALG = """
    cross det multi_dot:ViewBackward0 diagonal:DiagonalBackward0 cond:SqueezeBackward1
    cholesky:CholeskyEx cholesky_ex eig eigvals:Eig eigh eigvalsh:Eigh
    householder_product lstsq qr slogdet vector_norm lu_factor:LuFactorEx lu_factor_ex lu lu_solve inv:InvEx inv_ex
    solve:SolveEx solve_ex solve_triangular pinv svd svdvals:Svd matrix_exp
"""
_SPECIAL = """
    i0e:SpecialI0E i1:SpecialI1 i1e:SpecialI1E ndtr:MulBackward1 entr:SpecialEntr ndtri:SpecialNdtri
    log_ndtr:SpecialLogNdtr erfcx:SpecialErfcx logsumexp xlog1py:SpecialXlog1Py zeta:SpecialZeta
"""
_FFT = """
    fft:FftC2C fft2:FftC2C fftn:FftC2C ifft:FftC2C ifft2:FftC2C ifftn:FftC2C hfft:FftC2R hfft2:FftC2R hfftn:FftC2R
    rfft:FftR2C rfft2:FftR2C rfftn:FftR2C irfft:FftC2R irfft2:FftC2R irfftn:FftC2R fftshift:Roll ifftshift:Roll
"""


def _table(text: str, prefix: str = "") -> dict[str, str | Rule]:
    found: dict[str, str | Rule] = {}
    for entry in text.split():
        name, _, known = entry.partition(":")
        known = known or "".join(word.capitalize() for word in name.split("_"))
        found[name] = known if "Backward" in known else f"{prefix}{known}Backward0"
    return found


NAMES: dict[str, dict[str, str | Rule]] = {
    "flamework": _table(_TORCH) | {
        "sum": _by_dim("Sum"), "mean": _by_dim("Mean"), "prod": _by_dim("Prod"), "median": _by_dim("Median"),
        "nanmedian": _by_dim("Nanmedian"), "max": _extreme("Max"), "min": _extreme("Min"), "squeeze": _squeeze,
        "split": _split, "sort": _sort, "reshape": _reshape, "flatten": _reshape, "ravel": _reshape,
        "reshape_as": _reshape, "diag": _diag, "clamp": _clamp, "clip": _clamp, "div": _division,
        "divide": _division, "clamp_min": _by_tensor("ClampMin", 1, "min"),
        "clamp_max": _by_tensor("ClampMax", 1, "max"), "pow": _power, "float_power": _power,
        "__pow__": _power, "einsum": _einsum,
        "fmod": _by_tensor("Fmod", 1, "other"), "remainder": _by_tensor("Remainder", 1, "other"),
        "copysign": _by_tensor("Copysign", 1, "other", 1, 0), "round": _round,
        "trapezoid": _trapezoid, "trapz": _trapezoid, "cumulative_trapezoid": _trapezoid,
        "squeeze_copy": lambda *call: f"{_squeeze(*call)}_copy", "rsub": _by_tensor("Rsub", 1, "other", 1, 0),
        "masked_fill": _by_tensor("MaskedFill", 2, "value"), "index_fill": _by_tensor("IndexFill", 3, "value"),
        "scatter": _by_tensor("Scatter", 3, "src", 1, 0), "lerp": _by_tensor("Lerp", 2, "weight"),
        "matmul": _matmul,
        **{f"conv{n}d": _unbatched("Convolution", n) for n in (1, 2, 3)},
        **{f"conv_transpose{n}d": _unbatched("Convolution", n) for n in (1, 2, 3)},
    },
    "flamework.nn.functional": _table(_FUNCTIONAL) | {
        **{f"conv{n}d": _unbatched("Convolution", n) for n in (1, 2, 3)},
        **{f"conv_transpose{n}d": _unbatched("Convolution", n) for n in (1, 2, 3)},
        **{f"adaptive_avg_pool{n}d": _pooled(f"AdaptiveAvgPool{n}D", n) for n in (2, 3)},
        "interpolate": _interpolated, "pad": _padded, "linear": _linear, "grid_sample": _sampled,
        "scaled_dot_product_attention": _attention, "cross_entropy": _cross_entropy, "nll_loss": _nll_loss,
        "smooth_l1_loss": _smooth, "l1_loss": _reduced("AbsBackward0"),
        "margin_ranking_loss": _reduced("ClampMinBackward0"), "triplet_margin_loss": _reduced("ClampMinBackward0"),
        "triplet_margin_with_distance_loss": _reduced("ClampMinBackward0"),
        "cosine_embedding_loss": _reduced("AddBackward0"), "hinge_embedding_loss": _reduced("AddBackward0"),
        "ctc_loss": _reduced("CtcLossBackward0"), "multilabel_soft_margin_loss": _reduced("MeanBackward1"),
        "gaussian_nll_loss": _reduced(_if("full", "AddBackward0", "MulBackward0")),
        "poisson_nll_loss": _reduced(_if("full", "AddBackward0", "SubBackward0")),
        "kl_div": _reduced(_if("log_target", "MulBackward0", "SubBackward0"), batchmean="DivBackward0"),
    },
    "flamework.linalg": _table(_LINALG, "Linalg") | {"matmul": _matmul},
    "flamework.special": _table(_SPECIAL),
    "flamework.fft": _table(_FFT) | {
        "fft": _transformed("FftR2CBackward0"), "ifft": _transformed("ConjBackward0"),
        "ihfft": _transformed("ConjBackward0"),
    },
}


def leave(tensor: Tensor, name: str) -> None:
    """Leave the name at a result that requires a gradient."""
    storage = tensor._storage
    node = tensor._node if storage is None or storage.stamp == tensor._seen else node_of(tensor)
    if node.src and node.op is not s.detach:
        node.name = name
