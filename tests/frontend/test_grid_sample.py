"""Sampling of images at the points of a grid: values and gradients of PyTorch for every mode and edge."""

import warnings

import flamework
import numpy as np
import pytest
from same_as_torch import array, assert_same


def points(*shape):
    """Inside, outside, far outside, at elements and half-way between them."""
    values = array(*shape, seed=5, dtype="float64") * 1.2
    flat = values.reshape(-1)
    flat[::7] = np.resize([-1, 1, 0, 1 / 3, -3.7, 12.3, 0.5], flat[::7].size)
    return values


def sampled(torch, shape, grid, mode, padding, aligned):
    x = torch.tensor(array(*shape, dtype="float64"), requires_grad=True)
    grid = torch.tensor(grid, requires_grad=True)
    y = torch.nn.functional.grid_sample(x, grid, mode, padding, aligned)
    (y * torch.tensor(array(*y.shape, seed=1, dtype="float64"))).sum().backward()
    return y, x.grad, grid.grad


@pytest.mark.parametrize("aligned", [False, True])
@pytest.mark.parametrize("padding", ["zeros", "border", "reflection"])
@pytest.mark.parametrize("mode", ["bilinear", "nearest", "bicubic"])
def test_images(mode, padding, aligned):
    assert_same(lambda torch: sampled(torch, (2, 3, 5, 4), points(2, 3, 6, 2), mode, padding, aligned), rtol=1e-8,
                atol=1e-10)


@pytest.mark.parametrize("aligned", [False, True])
@pytest.mark.parametrize("padding", ["zeros", "border", "reflection"])
@pytest.mark.parametrize("mode", ["bilinear", "nearest"])
def test_volumes(mode, padding, aligned):
    assert_same(lambda torch: sampled(torch, (2, 2, 3, 4, 5), points(2, 2, 3, 2, 3), mode, padding, aligned), rtol=1e-8,
                atol=1e-10)


@pytest.mark.parametrize("padding", ["zeros", "border", "reflection"])
@pytest.mark.parametrize("shape", [(1, 1, 1, 1), (1, 2, 1, 3), (2, 0, 2, 2), (0, 1, 2, 2)])
def test_small_images(shape, padding):
    def script(torch):
        grid = torch.tensor(points(shape[0], 2, 3, 2))
        x = torch.tensor(array(*shape, dtype="float64"))
        return [torch.nn.functional.grid_sample(x, grid, "bilinear", padding, aligned) for aligned in (False, True)]
    assert_same(script, rtol=1e-9)


@pytest.mark.parametrize("padding", ["zeros", "border", "reflection"])
@pytest.mark.parametrize("mode", ["bilinear", "nearest", "bicubic"])
def test_points_without_a_place_read_no_memory_that_is_not_the_images(mode, padding):
    grid = flamework.tensor([[[[np.nan, 0.0], [np.inf, 0.0], [0.0, -np.inf], [1e30, 1e30]]]])
    y = flamework.nn.functional.grid_sample(flamework.ones(1, 1, 3, 3), grid, mode, padding, False).numpy()
    assert y.shape == (1, 1, 1, 4)
    assert all(np.isnan(v) or v in (0.0, 1.0) or abs(v - 1) < 1e-5 for v in y.ravel())


def test_half_precision():
    def script(torch):
        x, grid = torch.tensor(array(1, 2, 5, 4)).half(), torch.tensor(points(1, 2, 3, 2)).half()
        return torch.nn.functional.grid_sample(x, grid, align_corners=False)
    assert_same(script, rtol=2e-3, atol=2e-3)


@pytest.mark.parametrize("aligned", [False, True])
@pytest.mark.parametrize("size", [(2, 3, 4, 5), (2, 1, 1, 3), (2, 1, 2, 3, 4), (2, 1, 1, 1, 1)])
def test_affine_grid(size, aligned):
    def script(torch):
        rank = len(size) - 2
        theta = torch.tensor(array(2, rank, rank + 1), requires_grad=True)
        y = torch.nn.functional.affine_grid(theta, size, align_corners=aligned)
        (y * torch.tensor(array(*y.shape, seed=1))).sum().backward()
        return y, theta.grad
    assert_same(script, rtol=1e-5, atol=1e-6)


def test_the_default_alignment_is_warned_about():
    with pytest.warns(UserWarning, match="align_corners=False"):
        grid = flamework.nn.functional.affine_grid(flamework.ones(1, 2, 3), (1, 1, 2, 2))
    with pytest.warns(UserWarning, match="align_corners=False"):
        flamework.nn.functional.grid_sample(flamework.ones(1, 1, 2, 2), grid)


@pytest.mark.parametrize("call", [
    "grid_sample(ones(1, 1, 2, 2), ones(1, 2, 2, 2), mode='x')",
    "grid_sample(ones(1, 1, 2, 2), ones(1, 2, 2, 2), padding_mode='x')",
    "grid_sample(ones(1, 1, 2, 2), ones(1, 2, 2, 3))", "grid_sample(ones(1, 1, 2, 2), ones(2, 2, 2, 2))",
    "grid_sample(ones(1, 1, 2, 2), ones(1, 2, 2, 2, 3))", "grid_sample(ones(1, 2, 2), ones(1, 2, 2))",
    "grid_sample(ones(1, 1, 2, 2, 2), ones(1, 2, 2, 2, 3), mode='bicubic')",
    "grid_sample(ones(1, 1, 0, 2), ones(1, 2, 2, 2))", "grid_sample(ones(1, 1, 2, 2).double(), ones(1, 2, 2, 2))",
    "grid_sample(ones(1, 1, 2, 2).long(), ones(1, 2, 2, 2))", "affine_grid(ones(1, 2, 3), (1, 1, 2))",
    "affine_grid(ones(1, 2, 3), (1, 1, 2, 0))", "affine_grid(ones(2, 3), (1, 1, 2, 2))",
    "affine_grid(ones(1, 2, 3), (1, 1, 2, 2, 2))", "affine_grid(ones(1, 2, 3).long(), (1, 1, 2, 2))",
    "affine_grid(ones(2, 2, 3), (1, 1, 2, 2))",
])
def test_refuses_what_pytorch_refuses(call):
    torch = pytest.importorskip("torch")

    def error(package):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with pytest.raises(Exception) as caught:
                eval("functional." + call, {"functional": package.nn.functional, "ones": package.ones})
        return caught.value
    assert isinstance(error(flamework), type(error(torch)))
