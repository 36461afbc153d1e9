"""Convolutions of complex numbers: PyTorch's values and gradients."""

from __future__ import annotations

import numpy as np
import pytest
from same_as_torch import array, assert_same

CASES = [
    ("conv1d", (2, 4, 9), (6, 4, 3), "stride=2, padding=1"), ("conv1d", (4, 9), (6, 2, 3), "groups=2, dilation=2"),
    ("conv2d", (2, 2, 5, 6), (4, 2, 3, 2), "padding='same'"), ("conv2d", (1, 2, 5, 6), (2, 1, 2, 2), "groups=2"),
    ("conv3d", (1, 2, 4, 4, 3), (3, 2, 2, 2, 2), "padding=1"),
    ("conv_transpose1d", (2, 4, 5), (4, 3, 3), "stride=2, output_padding=1"),
    ("conv_transpose2d", (1, 4, 4, 3), (4, 2, 2, 3), "padding=1, groups=2"),
    ("conv_transpose3d", (1, 2, 3, 3, 2), (2, 2, 2, 2, 2), "stride=2"),
]


@pytest.mark.parametrize("dtype", ["complex64", "complex128"])
@pytest.mark.parametrize(("function", "shape", "filters", "arguments"), CASES)
def test_values_and_gradients(function, shape, filters, arguments, dtype):
    def numbers(*shape, seed):
        return (array(*shape, seed=seed, dtype="float64") + 1j * array(*shape, seed=seed + 9, dtype="float64")).astype(
            dtype
        )

    def script(torch):
        x = torch.tensor(numbers(*shape, seed=1), requires_grad=True)
        weight = torch.tensor(numbers(*filters, seed=2), requires_grad=True)
        groups = 2 if "groups" in arguments else 1
        out = filters[1] * groups if "transpose" in function else filters[0]
        bias = torch.tensor(numbers(out, seed=3), requires_grad=True)
        y = eval(f"torch.nn.functional.{function}(x, weight, bias, {arguments})", locals())
        y.mul(torch.arange(y.numel(), dtype=torch.float32).reshape(y.shape)).abs().sum().backward()
        return y, x.grad, weight.grad, bias.grad

    tolerance = 1e-4 if dtype == "complex64" else 1e-9
    assert_same(script, rtol=tolerance, atol=tolerance * 100)


def test_layers_and_wrong_dtypes():
    def script(torch):
        layer = torch.nn.Conv1d(2, 3, 2, dtype=torch.complex64)
        x = torch.tensor(np.ones((1, 2, 4), "complex64"))
        return layer(x).dtype is torch.complex64, [p.requires_grad for p in layer.parameters()]

    assert_same(script)

    def mixed(torch):
        return torch.nn.functional.conv1d(torch.ones(1, 1, 3, dtype=torch.complex64), torch.ones(1, 1, 2))

    assert_same(mixed, messages=False)
