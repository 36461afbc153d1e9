"""Fractional max pooling: PyTorch's windows, values, positions and gradients."""

from __future__ import annotations

import pytest
from same_as_torch import array, assert_same

CASES = [
    (2, (2, 3, 7, 9), "2, output_size=3"), (2, (3, 7, 9), "(2, 3), output_size=(4, 5)"),
    (2, (2, 3, 8, 8), "2, output_ratio=(0.5, 0.7)"), (2, (1, 2, 5, 6), "2, output_size=1"),
    (2, (1, 2, 5, 6), "(5, 6), output_size=1"), (2, (1, 2, 5, 6), "1, output_size=(5, 6)"),
    (2, (1, 1, 4, 4), "2, output_size=(1, 3)"), (2, (1, 2, 5, 6), "3, output_size=4"), (2, (1, 2, 5, 6), "3"),
    (2, (5, 6), "3, 2"), (3, (1, 2, 5, 6, 7), "2, output_size=3"),
    (3, (2, 5, 6, 7), "(1, 2, 3), output_size=(2, 3, 4)"),
    (3, (1, 2, 6, 6, 8), "2, output_ratio=(0.5, 0.5, 0.5)"), (3, (1, 2, 5, 6, 7), "3, output_size=6"),
]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("rank", "shape", "arguments"), CASES)
def test_windows_values_and_gradients(rank, shape, arguments, dtype):
    def script(torch):
        torch.manual_seed(5)
        x = torch.tensor(array(*shape, dtype=dtype), requires_grad=True)
        y, index = eval(f"torch.nn.functional.fractional_max_pool{rank}d_with_indices(x, {arguments})", locals())
        y.mul(torch.arange(y.numel(), dtype=y.dtype).reshape(y.shape)).sum().backward()
        return y, index, x.grad, torch.rand(2)

    assert_same(script)


def test_given_samples_and_the_largest_start():
    def script(torch):
        samples = torch.tensor([[[0.0, 0.9999999], [0.3, 0.7]]])
        x = torch.tensor(array(1, 2, 11, 13))
        return [torch.nn.functional.fractional_max_pool2d(x, 3, output_size=(n, 7), _random_samples=samples)
                for n in (1, 2, 5, 9)]

    assert_same(script)


@pytest.mark.parametrize("layer", [
    "2d(2, output_size=3)", "2d(2, output_ratio=0.5, return_indices=True)", "3d(2, output_ratio=(0.5, 0.4, 0.6))",
    "2d(2)", "2d(2, 3, 0.5)", "2d(2, output_ratio=1.5)",
])
def test_layers(layer):
    def script(torch):
        torch.manual_seed(1)
        made = eval(f"torch.nn.FractionalMaxPool{layer}", {"torch": torch})
        return made(torch.tensor(array(2, 3, *[8] * int(layer[0])))), list(made.state_dict()), repr(made)

    assert_same(script)
