"""Convolutions of every geometry and their gradients are PyTorch's, and results do not depend on threads."""

from __future__ import annotations

import itertools
from collections import Counter

import flamework
import numpy as np
import pytest
from same_as_torch import array, assert_same

SPACES = [(1,), (5,), (8,), (4, 7)]


@pytest.mark.parametrize("groups", [1, 2, 4])
@pytest.mark.parametrize("space", SPACES)
def test_gradients_with_steps_gaps_and_padding_of_every_size(space, groups):
    rank = len(space)
    geometries = [
        (size, stride, padding, dilation)
        for size, stride, padding, dilation in itertools.product((1, 2, 3), (1, 2, 3, 4), (0, 1, 3, 8), (1, 2, 4))
        if min(space) + 2 * padding >= dilation * (size - 1) + 1
    ][:: 1 if rank == 1 else 5]
    assert geometries

    def script(torch):
        convolve = getattr(torch.nn.functional, f"conv{rank}d")
        results = []
        for size, stride, padding, dilation in geometries:
            x = torch.tensor(array(2, 4, *space, dtype="float64"), requires_grad=True)
            weight = torch.tensor(array(8, 4 // groups, *(size,) * rank, seed=1, dtype="float64"), requires_grad=True)
            y = convolve(x, weight, None, stride, padding, dilation, groups)
            y.backward(torch.tensor(array(*y.shape, seed=2, dtype="float64")))
            results += [y, x.grad, weight.grad]
        return results
    assert_same(script, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("shape", [(0, 64, 5, 5), (7, 64, 4, 4), (3, 40, 9, 6)])
@pytest.mark.parametrize("stride", [1, 2, (2, 1)])
def test_training_on_small_and_no_images(shape, stride):
    def script(torch):
        x = torch.tensor(array(*shape), requires_grad=True)
        weight = torch.tensor(array(96, shape[1], 3, 3, seed=1), requires_grad=True)
        y = torch.nn.functional.conv2d(x, weight, None, stride, 1)
        y.backward(torch.tensor(array(*y.shape, seed=2)))
        return y, x.grad, weight.grad
    assert_same(script, rtol=1e-4, atol=1e-3)


def test_not_a_number_inside_an_image_reaches_its_windows_only():
    def script(torch):
        value = array(6, 64, 4, 4)
        value[2, 5, 0, 3], value[3, 0, 1, 1], value[5, 9, 3, 0] = np.nan, np.inf, -np.inf
        x = torch.tensor(value, requires_grad=True)
        weight = torch.tensor(array(80, 64, 3, 3, seed=1), requires_grad=True)
        y = torch.nn.functional.conv2d(x, weight, None, 2, 1)
        cotangent = array(*y.shape, seed=2)
        cotangent[1, 3, 1, 1] = np.nan  # of a window without padding
        y.backward(torch.tensor(cotangent))
        return y, x.grad.isnan(), weight.grad.isfinite()
    assert_same(script, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize(("shape", "size", "stride", "groups"), [
    ((7, 64, 4, 4), 3, 1, 1), ((7, 64, 8, 8), 3, 2, 1), ((7, 64, 8, 8), 1, 2, 1), ((7, 64, 5, 6), 3, 2, 4),
    ((7, 64, 9, 9), 3, 2, 64), ((3, 64, 40, 150), 3, 1, 64), ((2, 64, 90, 90), 5, 2, 64),
])
def test_results_have_the_same_bits_with_any_number_of_threads(shape, size, stride, groups):
    def step():
        x = flamework.tensor(array(*shape), requires_grad=True)
        weight = flamework.tensor(array(64, shape[1] // groups, size, size, seed=1), requires_grad=True)
        y = flamework.nn.functional.conv2d(x, weight, None, stride, size // 2, 1, groups)
        (y * y).sum().backward()
        return [value.detach().numpy().tobytes() for value in (y, x.grad, weight.grad)]

    before = flamework.get_num_threads()
    results = []
    try:
        for threads in (1, 2, 5):
            flamework.set_num_threads(threads)
            results.append(step())
    finally:
        flamework.set_num_threads(before)
    assert results[0] == results[1] == results[2]


def depthwise_script(shape, size, stride, padding, dilation=1, each=1, fill=(), dtype="float32"):
    """Results and gradients of a depthwise convolution; ``fill`` are values for places of the image or cotangent."""
    def script(torch):
        values = {"x": array(*shape, dtype=dtype)}
        channels = shape[1]
        convolve = getattr(torch.nn.functional, f"conv{len(shape) - 2}d")
        lengths = size if isinstance(size, tuple) else (size,) * (len(shape) - 2)
        weight = torch.tensor(array(channels * each, 1, *lengths, seed=1, dtype=dtype), requires_grad=True)
        probe = convolve(torch.tensor(values["x"]), weight, None, stride, padding, dilation, channels)
        values["g"] = array(*probe.shape, seed=2, dtype=dtype)
        for name, place, value in fill:
            values[name][place] = value
        x = torch.tensor(values["x"], requires_grad=True)
        y = convolve(x, weight, None, stride, padding, dilation, channels)
        y.backward(torch.tensor(values["g"]))
        return y, x.grad, weight.grad
    return script


@pytest.mark.parametrize(("shape", "size", "stride", "padding", "dilation", "each"), [
    ((3, 5, 14, 14), 3, 1, 1, 1, 1), ((2, 3, 17, 33), (3, 5), 1, (1, 2), 1, 2),
    ((2, 3, 9, 31), (4, 2), 1, (0, 1), 2, 1),
    ((2, 3, 20, 21), 7, 1, 3, 1, 1), ((2, 3, 15, 16), 3, (2, 1), 1, 1, 1), ((2, 3, 15, 16), 3, 3, 0, 2, 3),
    ((2, 3, 15, 16), 2, 5, 0, 1, 1), ((2, 3, 200, 90), 3, 1, 1, 1, 1), ((2, 3, 131, 130), 3, 2, 1, 1, 1),
    ((2, 3, 50, 3000), 3, 1, 1, 1, 1), ((2, 3, 1, 1), 3, 1, 1, 1, 1), ((2, 3, 33), 3, 1, 1, 1, 1),
    ((2, 3, 7000), 5, 1, 2, 1, 1), ((2, 3, 15000), 3, 2, 1, 1, 1), ((2, 3, 4, 5, 6), 3, 1, 1, 1, 1),
    ((2, 3, 9, 9), 9, 1, 4, 1, 1), ((0, 3, 14, 14), 3, 1, 1, 1, 1),
])
def test_depthwise_convolutions_of_one_block_of_many_and_of_none(shape, size, stride, padding, dilation, each):
    assert_same(depthwise_script(shape, size, stride, padding, dilation, each, dtype="float64"), rtol=1e-9, atol=1e-9)
    assert_same(depthwise_script(shape, size, stride, padding, dilation, each), rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("stride", [1, 2])
def test_special_values_at_the_borders_of_depthwise_images_reach_their_windows_only(value, stride):
    for at in ((0, 0), (0, 13), (5, 0), (5, 13), (13, 0), (13, 13), (12, 6)):
        script = depthwise_script((2, 3, 14, 14), 3, stride, 1, fill=[("x", (1, 1, *at), value)])
        assert_same(script, rtol=1e-4, atol=1e-4)
    # of a window without padding, which has another value at PyTorch
    script = depthwise_script((2, 3, 14, 14), 3, stride, 1, fill=[("g", (1, 1, 3, 2), value)])
    assert_same(script, rtol=1e-4, atol=1e-4)


def test_padding_is_multiplied_like_any_zero():
    x, weight = flamework.ones(1, 2, 4, 4), flamework.full((2, 1, 3, 3), float("inf"))
    y = flamework.nn.functional.conv2d(x, weight, None, 1, 1, 1, 2).numpy()
    inside = np.zeros((4, 4), bool)
    inside[1:3, 1:3] = True
    assert (y[:, :, inside] == np.inf).all() and np.isnan(y[:, :, ~inside]).all()


def test_depthwise_convolution_of_part_of_a_batch_and_in_narrow_floats():
    x, weight = flamework.tensor(array(5, 3, 7, 9)), flamework.tensor(array(3, 1, 3, 3, seed=1))
    flamework.realize(x)
    convolve = flamework.nn.functional.conv2d
    whole, part = convolve(x, weight, None, 1, 1, 1, 3), convolve(x[3:], weight, None, 1, 1, 1, 3)
    np.testing.assert_array_equal(whole[3:].numpy(), part.numpy())
    half = convolve(x.half(), weight.half(), None, 1, 1, 1, 3)
    wide = convolve(x.half().float(), weight.half().float(), None, 1, 1, 1, 3)
    np.testing.assert_array_equal(half.numpy(), wide.half().numpy())


def test_a_depthwise_convolution_and_its_gradients_are_one_launch_each():
    weight, g = flamework.tensor(array(8, 1, 3, 3)), flamework.tensor(array(2, 8, 14, 14))

    def gradients(x, weight):
        x, weight = x.detach().requires_grad_(), weight.detach().requires_grad_()
        y = flamework.nn.functional.conv2d(x, weight, None, 1, 1, 1, 8)
        return y, *flamework.autograd.grad(y, (x, weight), g)

    fused = flamework.explain(gradients)(flamework.tensor(array(2, 8, 14, 14)), weight)
    assert sorted(k.kind for k in fused.kernels) == ["convolve"] * 3 + ["kernel"]  # the kernel turns the windows


def test_a_strided_image_gradient_copies_no_weight_for_each_image():
    weight = flamework.tensor(array(32, 32, 3, 3))
    g = flamework.tensor(array(64, 32, 2, 2))

    def gradient(x):
        return flamework.autograd.grad(flamework.nn.functional.conv2d(x, weight, None, 2, 1), (x,), g)[0]

    fused = flamework.explain(gradient)(flamework.zeros(64, 32, 4, 4, requires_grad=True))
    for kernel in fused.kernels:
        assert kernel.bytes_written <= 2 * 4 * 64 * 32 * 4 * 4


def test_a_training_step_launches_these_kernels():
    layers = flamework.nn
    small, half = layers.Conv2d(4, 4, 3, padding=1), layers.Conv2d(4, 8, 3, 2, 1)
    parameters = [*small.parameters(), *half.parameters()]

    def step(x):
        loss = half(small(x).relu() + x).relu().square().mean()
        return loss, *flamework.autograd.grad(loss, parameters)

    fused = flamework.explain(step)(flamework.tensor(array(3, 4, 10, 10)))
    # two forward, two for weights, and one for each remainder by the strides
    assert Counter(kernel.kind for kernel in fused.kernels) == {"dot": 8, "kernel": 10}


def test_gradients_of_convolutions_have_names():
    x, weight = flamework.ones(1, 2, 5, 5, requires_grad=True), flamework.ones(2, 2, 3, 3, requires_grad=True)
    for stride in (1, 2):
        y = flamework.nn.functional.conv2d(x, weight, None, stride)
        found = flamework.autograd.grad(y.sum(), (x, weight), create_graph=True)
        assert y.grad_fn.name() == "ConvolutionBackward0"
        assert [g.grad_fn.name() for g in found] == ["ConvolutionBackwardBackward0"] * 2
