"""Maxima of windows and their gradients are PyTorch's, with ties, special values and sizes that windows do not fill."""

from __future__ import annotations

import flamework
import numpy as np
import pytest
from same_as_torch import array, assert_same


def pooled(shape, size, fill=(), levels=None, dtype="float32", **options):
    """A script: maxima of windows and the gradient of the image, twice."""
    def script(torch):
        value = array(*shape, dtype=dtype)
        if levels is not None:
            value = np.round(value * levels).astype(dtype)  # ties
        for place, number in fill:
            value[place] = number
        x = torch.tensor(value, requires_grad=True)
        pool = getattr(torch.nn.functional, f"max_pool{len(shape) - 2}d")
        y = pool(x, size, **options)
        g = torch.tensor(array(*y.shape, seed=1, dtype=dtype), requires_grad=True)
        (grad,) = torch.autograd.grad(y, (x,), g, create_graph=True)
        (second,) = torch.autograd.grad(grad, (g,), torch.tensor(array(*shape, seed=2, dtype=dtype)))
        return y, grad, second
    return script


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("shape", "size"), [
    ((3, 4, 28, 28), 2), ((2, 3, 29, 31), 2), ((2, 3, 7, 10), 3), ((2, 3, 9, 16), (1, 4)), ((2, 3, 17), 4),
    ((2, 3, 5, 6, 7), 2), ((2, 3, 40, 45), 5), ((2, 3, 2, 2), 2), ((2, 3, 5, 5), 1), ((2, 3, 6, 3000), (2, 3)),
])
def test_separate_windows(shape, size, dtype):
    assert_same(pooled(shape, size, dtype=dtype))
    assert_same(pooled(shape, size, levels=1, dtype=dtype))


@pytest.mark.parametrize("options", [
    {"stride": 1}, {"padding": 1}, {"dilation": 2}, {"stride": 3}, {"ceil_mode": True},
])
def test_other_windows_with_ties(options):
    assert_same(pooled((2, 3, 11, 12), 2, levels=1, **options))


def test_the_gradient_goes_to_the_first_maximum_and_to_the_last_nan():
    places = [(0, 0, 0, 0), (0, 0, 0, 1), (0, 0, 1, 0), (0, 0, 1, 1)]
    for values in (
        [np.nan, 1, np.nan, 2], [np.nan] * 4, [3, 3, 3, 3], [1, np.nan, 5, 5], [-np.inf] * 4, [np.inf, np.inf, 0, 0],
        [0.0, -0.0, 0.0, -0.0], [-0.0, 0.0, -1, 0.0], [1, 2, 3, np.nan], [-np.inf, -np.inf, -np.inf, -3],
    ):
        assert_same(pooled((1, 1, 2, 2), 2, fill=list(zip(places, values))))
        assert_same(pooled((2, 5, 18, 17), 2, fill=list(zip(places, values))))


def test_no_images_and_no_gradient():
    x = flamework.zeros(0, 3, 4, 4, requires_grad=True)
    y = flamework.nn.functional.max_pool2d(x, 2)
    y.sum().backward()
    assert y.shape == (0, 3, 2, 2) and x.grad.shape == (0, 3, 4, 4)
    with flamework.no_grad():
        assert not flamework.nn.functional.max_pool2d(flamework.ones(1, 1, 4, 4, requires_grad=True), 2).requires_grad


def test_separate_windows_add_nothing_up_in_memory():
    def step(x):
        x = x.detach().requires_grad_()
        y = flamework.nn.functional.max_pool2d(x, 2)
        return y, flamework.autograd.grad(y, (x,), flamework.ones(2, 3, 14, 14))[0]

    fused = flamework.explain(step)(flamework.tensor(array(2, 3, 28, 28)))
    assert len(fused.kernels) == 2
    written = sum(kernel.bytes_written for kernel in fused.kernels)
    assert written <= 4 * 2 * 3 * (28 * 28 + 14 * 14) + 3 * 2 * 3 * 14 * 14


def test_results_have_the_same_bits_with_any_number_of_threads():
    before = flamework.get_num_threads()
    found = []
    try:
        for threads in (1, 2, 5):
            flamework.set_num_threads(threads)
            x = flamework.tensor(array(33, 16, 28, 28), requires_grad=True)
            y = flamework.nn.functional.max_pool2d(x, 2)
            (y * y).sum().backward()
            found.append((y.detach().numpy().tobytes(), x.grad.numpy().tobytes()))
    finally:
        flamework.set_num_threads(before)
    assert found[0] == found[1] == found[2]
