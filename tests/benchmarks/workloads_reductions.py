"""Reductions: softmax, normalisations and their gradients, statistics along each kind of dimension, scans.

Out: `REDUCTIONS`. Read next: `workloads_products.py`.
"""

from __future__ import annotations

from workload import (
    Workload,
    array_programs,
    gradient_programs,
    log_softmax_by_hand,
    normal,
    rms_norm_by_hand,
    softmax_by_hand,
)
from workloads_elementwise import two_long

SQUARE, SQUARE_TINY = {"rows": 4096, "columns": 4096}, {"rows": 8, "columns": 16}
ROWS = {"rows": 8192, "columns": 1024}
MIDDLE, MIDDLE_TINY = {"shape": (64, 512, 512)}, {"shape": (2, 5, 4)}


def one_matrix(rows, columns):
    return normal((rows, columns))


def norm_inputs(rows, columns):
    return normal((rows, columns), (columns,), (columns,))


def rms_inputs(rows, columns):
    return normal((rows, columns), (columns,))


def with_cotangent(inputs):
    """The inputs of a gradient: a cotangent as large as the first input, then the inputs."""

    def make(**size):
        arrays = inputs(**size)
        return arrays[0][::-1].copy(), *arrays

    return make


def two_matrices_bytes(rows, columns):
    return 8 * rows * columns


def matrix_bytes(rows, columns):
    return 4 * rows * columns


def gradient_bytes(rows, columns):
    return 16 * rows * columns  # input, cotangent; output, gradient


def torch_softmax(torch, x):
    return torch.softmax(x, dim=-1)


def torch_softmax_by_hand(torch, x):
    e = torch.exp(x - x.amax(dim=-1, keepdim=True))
    return e / e.sum(dim=-1, keepdim=True)


def torch_log_softmax(torch, x):
    return torch.log_softmax(x, dim=-1)


def torch_log_softmax_by_hand(torch, x):
    x = x - x.amax(dim=-1, keepdim=True)
    return x - x.exp().sum(dim=-1, keepdim=True).log()


def torch_layer_norm(torch, x, weight, bias):
    return torch.nn.functional.layer_norm(x, (x.shape[-1],), weight, bias)


def torch_rms_norm(torch, x, weight):
    return torch.nn.functional.rms_norm(x, (x.shape[-1],), weight, 1e-5)


def torch_rms_norm_by_hand(torch, x, weight):
    return x * torch.rsqrt((x * x).mean(dim=-1, keepdim=True) + 1e-5) * weight


def sum_sq_diff(xp, a, b):
    return ((a - b) ** 2).sum()


def torch_standardise(torch, x):
    return (x - x.mean(dim=0)) / (x.std(dim=0, unbiased=False) + 1e-5)


def array_standardise(xp, x):
    return (x - xp.mean(x, axis=0)) / (xp.sqrt(xp.var(x, axis=0)) + 1e-5)


def _matrix(name, text, torch, array, size=SQUARE, traffic=two_matrices_bytes, inputs=one_matrix, leave_out=()):
    return Workload(name, f"{text} of {size['rows']} x {size['columns']} float32", size, SQUARE_TINY, inputs,
                    array_programs(torch, array, leave_out), traffic, grows="rows")


def _gradient(name, text, torch, array, inputs, wanted):
    return Workload(name, f"{text} over the rows of 8192 x 1024 float32, forward and backward", ROWS, SQUARE_TINY,
                    with_cotangent(inputs), gradient_programs(torch, array, wanted), gradient_bytes, grows="rows")


def _moments(name, text, axis, torch_axis):
    """Mean and variance along an axis of a tensor of three dimensions."""

    def torch_moments(torch, x):
        return x.mean(dim=torch_axis), x.var(dim=torch_axis, unbiased=False)

    def array_moments(xp, x):
        return xp.mean(x, axis=axis), xp.var(x, axis=axis)

    return Workload(name, f"mean and variance {text} of 64 x 512 x 512 float32", MIDDLE, MIDDLE_TINY,
                    lambda shape: normal(shape), array_programs(torch_moments, array_moments),
                    lambda shape: 4 * shape[0] * shape[1] * shape[2])


REDUCTIONS = [
    _matrix("softmax_4096", "softmax by name over the rows", torch_softmax, lambda xp, x: xp.softmax(x)),
    _matrix("softmax_handwritten_4096", "softmax written out over the rows", torch_softmax_by_hand, softmax_by_hand),
    _matrix("log_softmax_4096", "log_softmax by name over the rows", torch_log_softmax,
            lambda xp, x: xp.log_softmax(x)),
    _matrix("log_softmax_handwritten_4096", "log_softmax written out over the rows", torch_log_softmax_by_hand,
            log_softmax_by_hand),
    _matrix("layernorm_8192x1024", "layer_norm with weight and bias over the rows", torch_layer_norm,
            lambda xp, x, w, b: xp.layer_norm(x, w, b), ROWS, inputs=norm_inputs),
    _gradient("layernorm_train_8192x1024", "layer_norm with weight and bias", torch_layer_norm,
              lambda xp, x, w, b: xp.layer_norm(x, w, b), norm_inputs, 3),
    _matrix("rmsnorm_8192x1024", "rms_norm by name over the rows", torch_rms_norm, lambda xp, x, w: xp.rms_norm(x, w),
            ROWS, inputs=rms_inputs),
    _gradient("rmsnorm_train_8192x1024", "RMS norm written out", torch_rms_norm_by_hand, rms_norm_by_hand,
              rms_inputs, 2),
    Workload("sum_sq_diff_10m", "sum((a - b)**2), 10 million float32", {"n": 10_000_000}, {"n": 1_000}, two_long,
             array_programs(sum_sq_diff, sum_sq_diff, numexpr="sum((a-b)**2)"), lambda n: 8 * n, grows="n"),
    _moments("moments_rows", "along rows", -1, -1),
    _moments("moments_columns", "along columns, the first dimension", 0, 0),
    _moments("moments_middle", "along the middle dimension", 1, 1),
    _moments("moments_all", "over everything", None, (0, 1, 2)),
    _matrix("argmax_4096", "argmax along the rows", lambda torch, x: x.argmax(dim=-1),
            lambda xp, x: xp.argmax(x, axis=-1), traffic=matrix_bytes),
    _matrix("cumsum_4096", "cumsum along the rows", lambda torch, x: x.cumsum(dim=-1),
            lambda xp, x: xp.cumsum(x, axis=-1)),
    _matrix("standardise_cols_20000x500", "(x - mean) / (std + eps) over the columns", torch_standardise,
            array_standardise, {"rows": 20_000, "columns": 500}),
]
