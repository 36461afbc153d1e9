"""Matrix products and convolutions, alone and with what is fused to them.

Out: `PRODUCTS`, `CONVOLUTIONS`. Read next: `workloads_indexing.py`.
"""

from __future__ import annotations

from workload import (
    Workload,
    array_programs,
    jax_gradients,
    jax_program,
    normal,
    torch_gradients,
    torch_program,
)


def two_matrices(rows, inner, columns, batch=()):
    return normal((*batch, rows, inner), (*batch, inner, columns))


def layer_inputs(rows, inner, columns):
    return normal((rows, inner), (inner, columns), (columns,))


def product_arithmetic(rows, inner, columns, batch=()):
    return 2 * rows * inner * columns * (batch[0] if batch else 1)


def product_bytes(rows, inner, columns, batch=()):
    return 4 * (rows * inner + inner * columns + rows * columns) * (batch[0] if batch else 1)


def product(xp, a, b):
    return xp.matmul(a, b)


def torch_layer(torch, x, weight, bias):
    return torch.nn.functional.gelu(torch.addmm(bias, x, weight))


def array_layer(xp, x, weight, bias):
    y = xp.matmul(x, weight) + bias
    return 0.5 * y * (1.0 + xp.erf(y * 0.7071067811865476))


def torch_relu_layer(torch, x, weight, bias):
    return torch.relu(torch.addmm(bias, x, weight))


def array_relu_layer(xp, x, weight, bias):
    return xp.maximum(xp.matmul(x, weight) + bias, 0.0)


def _product(name, text, size, torch=product, array=product, inputs=two_matrices, leave_out=("tinygrad",)):
    tiny = {"rows": 3, "inner": 4, "columns": 5} | ({"batch": (2,)} if "batch" in size else {})
    return Workload(name, text, size, tiny, inputs, array_programs(torch, array, leave_out), product_bytes,
                    product_arithmetic)


def _sizes(rows, inner=None, columns=None, **more):
    return {"rows": rows, "inner": inner or rows, "columns": columns or rows} | more


PRODUCTS = [
    *(_product(f"matmul_{n}", f"product of two {n} x {n} float32 matrices", _sizes(n)) for n in (64, 256, 1024, 2048)),
    _product("matmul_tall", "100,000 x 64 times 64 x 64", _sizes(100_000, 64, 64)),
    _product("matmul_inner", "64 x 100,000 times 100,000 x 64", _sizes(64, 100_000, 64)),
    _product("matmul_batched", "64 products of 256 x 64 times 64 x 256", _sizes(256, 64, 256, batch=(64,))),
    _product("linear_relu_1024", "relu(x W + b), 1024 x 1024 each", _sizes(1024), torch_relu_layer, array_relu_layer,
             layer_inputs),
    _product("linear_gelu_tall", "gelu(x W + b), 16,384 x 256 times 256 x 256", _sizes(16_384, 256, 256), torch_layer,
             array_layer, layer_inputs),
]


# Convolutions: name, output channels, kernel, stride, groups.
CONVOLUTION_KINDS = [
    ("3x3", 64, 3, 1, 1),
    ("1x1", 256, 1, 1, 1),
    ("strided", 128, 3, 2, 1),
    ("depthwise", 64, 3, 1, 64),
    ("grouped", 64, 3, 1, 4),
]


def convolution_inputs(batch, channels, out, side, kernel, stride, groups):
    return normal((batch, channels, side, side), (out, channels // groups, kernel, kernel), (out,))


def convolution_gradient_inputs(**size):
    side = -(-size["side"] // size["stride"])
    cotangent, = normal((size["batch"], size["out"], side, side))
    return cotangent, *convolution_inputs(**size)


def convolution_arithmetic(batch, channels, out, side, kernel, stride, groups):
    return 2 * batch * out * (side // stride) ** 2 * channels // groups * kernel**2


def convolution_bytes(batch, channels, out, side, kernel, stride, groups):
    return 4 * batch * (channels * side**2 + out * (side // stride) ** 2)


def _convolution(name, text, size, tiny, backward):
    kernel, stride = size["kernel"], size["stride"]

    def torch_of(torch, x, weight, bias):
        return torch.nn.functional.conv2d(x, weight, bias, stride, kernel // 2, 1, x.shape[1] // weight.shape[1])

    def jax_of(xp, x, weight, bias):  # only JAX's: other libraries order the dimensions otherwise
        import jax

        y = jax.lax.conv_general_dilated(x, weight, (stride, stride), [(kernel // 2, kernel // 2)] * 2,
                                         feature_group_count=x.shape[1] // weight.shape[1])
        return y + bias[:, None, None]

    if backward:
        programs = {"torch": torch_gradients(torch_of, 3), "jax": jax_gradients(jax_of, 3)}
        return Workload(name, text, size, tiny, convolution_gradient_inputs, programs,
                        lambda **size: 2 * convolution_bytes(**size), lambda **size: 3 * convolution_arithmetic(**size),
                        grows="batch")
    programs = {"torch": torch_program(torch_of), "jax": jax_program(jax_of)}
    return Workload(name, text, size, tiny, convolution_inputs, programs, convolution_bytes, convolution_arithmetic,
                    grows="batch")


def _convolutions():
    for name, out, kernel, stride, groups in CONVOLUTION_KINDS:
        size = {"batch": 16, "channels": 64, "out": out, "side": 32, "kernel": kernel, "stride": stride,
                "groups": groups}
        tiny = size | {"batch": 2, "channels": 4, "out": 4, "side": 6, "groups": min(groups, 4)}
        text = f"conv2d {name}, 64 to {out} channels, 32 x 32, batch 16"
        yield _convolution(f"conv_{name}", text, size, tiny, False)
        yield _convolution(f"conv_{name}_train", text + ", forward and backward", size, tiny, True)


CONVOLUTIONS = list(_convolutions())
