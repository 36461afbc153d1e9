"""Flamework: PyTorch's API over a compiler that fuses what a program records.

``import flamework as torch``: tensors record what is done to them, and compute when somebody looks. The names below are
PyTorch's. Read next: ``tensor.py`` for what a tensor is, ``recording.py`` for how operations are recorded.
"""

# The imports are the public names, in the order in which the chapters build on each other.
# ruff: noqa: E402, F401, I001

import sys

from .compiler.dtypes import (
    DType as dtype, bfloat16, bool_ as bool, complex64, complex64 as cfloat, complex128, complex128 as cdouble,
    float16, float16 as half, float32, float32 as float, float64,
    float64 as double, int8, int16, int16 as short, int32, int32 as int, int64, int64 as long,
    promote as promote_types, uint8,
)
from .device import device
from .size import Size
from .tensor import (
    Tensor, get_device, is_complex, is_floating_point, is_same_size, is_signed, is_tensor, layout, memory_format,
    numel, sparse_coo, strided,
)
from .limits import e, finfo, iinfo, inf, nan, newaxis, pi
from .recording import get_default_dtype, promoted as result_type, realize, set_default_dtype
from . import operators
from .views import (
    adjoint, broadcast_shapes, broadcast_to, clone, detach, flatten, moveaxis, movedim, permute, ravel, reshape,
    squeeze, swapaxes, swapdims, t, transpose, unflatten, unsqueeze,
)
from .parts import as_strided, chunk, diagonal, narrow, narrow_copy, select, split, split_with_sizes, unbind
from .resizing import as_strided_scatter, diagonal_scatter, select_scatter, slice_scatter
from .mutation import can_cast
from .complex_numbers import (
    angle, complex, conj, conj_physical, imag, is_conj, is_neg, polar, real, resolve_conj, resolve_neg, view_as_complex,
    view_as_real,
)
from .indexing import index_put
from .leaves import detach_
from .resizing import resize_as_
from .autograd import (
    enable_grad, inference_mode, is_anomaly_check_nan_enabled, is_anomaly_enabled, is_grad_enabled, no_grad,
    set_grad_enabled,
)
from .exchange import from_numpy, is_nonzero
from .printing import set_printoptions
from .runtime.counters import counters
from .runtime.gpu import OutOfMemoryError
from .creation import (
    arange, as_tensor, empty, empty_like, empty_permuted, empty_strided,
    eye, full, full_like, linspace, logspace, ones, ones_like, range,
    scalar_tensor, tensor, tril_indices, triu_indices, zeros, zeros_like,
)
from .sharing import asarray, from_dlpack, frombuffer, to_dlpack
from .random import (
    bernoulli, binomial, default_generator, fork_rng, Generator, get_rng_state, initial_seed, manual_seed, multinomial,
    normal, poisson, rand, rand_like, randint, randint_like, randn, randn_like, randperm, seed, set_rng_state,
)
from .pointwise import (
    abs, absolute, acos, acosh, arccos, arccosh, arcsin, arcsinh, arctan, arctanh, asin, asinh, atan, atanh, ceil,
    cos, cosh, deg2rad, erf, exp, exp2, expm1, fix, floor, frac, log, log10, log1p, log2, logit, nan_to_num, neg,
    negative, positive, rad2deg, reciprocal, relu, round, rsqrt, sgn, sigmoid, sign, sin, sinc, sinh, sqrt, square, tan,
    tanh, trunc,
)
from .arithmetic import (
    add, addcdiv, addcmul, arctan2, atan2, clamp, clamp_max, clamp_min, clip, copysign, div, divide, float_power,
    floor_divide, fmax, fmin, fmod, gcd, heaviside, hypot, lcm, ldexp, lerp, logaddexp, logaddexp2, maximum, minimum,
    mul, multiply, pow, remainder, rsub, sub, subtract, true_divide, xlogy,
)
from .comparison import (
    allclose, bitwise_and, bitwise_left_shift, bitwise_not, bitwise_or, bitwise_right_shift, bitwise_xor, eq, equal,
    ge, greater, greater_equal, gt, isclose, isfinite, isinf, isnan, isneginf, isposinf, isreal, le, less,
    less_equal, logical_and, logical_not, logical_or, logical_xor, lt, ne, not_equal, signbit,
)
from .reduction import (
    all, amax, amin, aminmax, any, argmax, argmin, count_nonzero, dist, logsumexp, max, mean, min, nanmean, nansum,
    norm, prod, std, std_mean, sum, var, var_mean,
)
from .scans import cummax, cummin, cumprod, cumsum, diff, log_softmax, logcumsumexp, softmax
from .sorting import (
    argsort, bincount, bucketize, histc, kthvalue, median, mode, msort, nanmedian, nanquantile, quantile,
    searchsorted, sort, topk, unique, unique_consecutive,
)
from .special import digamma, erfc, erfinv, i0, igamma, igammac, lgamma, mvlgamma, polygamma
from .products import (
    addbmm, addmm, addmv, addr, baddbmm, bmm, chain_matmul, cross, dot, ger, inner, kron, matmul, mm, mv, outer,
    tensordot, trace, vdot,
)
from .einsum import einsum
from .joining import (
    atleast_1d, atleast_2d, atleast_3d, broadcast_tensors, cartesian_prod, cat, column_stack, concat, concatenate,
    diag, diag_embed, diagflat, dsplit, dstack, flip, fliplr, flipud, hsplit, hstack, meshgrid,
    repeat_interleave, roll, rot90, row_stack, stack, tensor_split, tile, tril, triu, vsplit, vstack,
)
from .gathering import (
    argwhere, gather, index_add, index_copy, index_fill, index_select, isin, masked_fill, masked_scatter,
    masked_select, nonzero, nonzero_static, put, scatter, scatter_add, take, take_along_dim, where,
)
from .conversion import typename
from .scattering import index_reduce, scatter_reduce
from .floats import frexp, nextafter
from .histograms import histogram, histogramdd
from . import elements
from .distances import cdist, pdist, renorm
from .statistics import (
    block_diag, combinations, corrcoef, cov, cumulative_trapezoid, gradient, trapezoid, trapz, unravel_index, vander,
)
from .storages import TypedStorage, UntypedStorage, is_storage, set_default_tensor_type
from . import (
    argument_errors, autograd, backends, conversion, copies, cuda, fft, func, gradient_hooks, legacy, linalg, methods,
    native, nn, optim, profiler, removed, results, serialization, signal, sparse, special, storages, testing, utils,
)
from .sparse.products import hspmm, smm, sspaddmm
from .sparse.tensor import sparse_coo_tensor
from .settings import (
    are_deterministic_algorithms_enabled, compiled_with_cxx11_abi, get_default_device, get_deterministic_debug_mode,
    is_deterministic_algorithms_warn_only_enabled, set_default_device, set_deterministic_debug_mode, set_flush_denormal,
    use_deterministic_algorithms,
)
from .backends import get_float32_matmul_precision, set_float32_matmul_precision
from .signal.windows import bartlett_window, blackman_window, hamming_window, hann_window, kaiser_window
from .signal.spectra import istft, stft
from .lowrank import pca_lowrank, svd_lowrank
from .func import vmap
from .serialization import load, save
from .compiled import SideEffectError, compile
from .runtime.threads import get_num_threads, set_num_threads
from .inspection import explain

# the number of pyproject.toml, which a test compares
__version__ = "0.1.0"

contiguous_format = memory_format.contiguous_format
preserve_format = memory_format.preserve_format
channels_last = memory_format.channels_last
channels_last_3d = memory_format.channels_last_3d

# torch.cholesky, torch.svd and so on: older names, some with other arguments than those of torch.linalg
globals().update(linalg.TORCH)
# torch.permute_copy and so on: what a view shows, copied
globals().update(copies.TORCH)
# names of older versions that still work: torch.gesv, torch.rfft
globals().update(legacy.TORCH)
# names that PyTorch has only to say what took their place
globals().update(removed.TORCH)
# the classes of tensors and storages by dtype: torch.FloatTensor, torch.FloatStorage
globals().update(storages.CLASSES)
vars(cuda).update(storages.CUDA_CLASSES)
# torch.exp_(x) is x.exp_(), for the functions that PyTorch has under both names
globals().update(methods.IN_PLACE_FUNCTIONS)
# torch.spmm and torch.dsmm, for a sparse matrix and a dense one
spmm = dsmm = mm
# torch.conv2d is nn.functional.conv2d, and so on
globals().update(native.FUNCTIONS)
results.install(sys.modules[__name__], linalg, fft, special, Tensor)
argument_errors.install(sys.modules[__name__], nn.functional, linalg, fft, special)
sparse.dense.install()
del sys
