"""Scattered values reduced with each other: values, gradients and errors next to PyTorch's."""

import flamework
import numpy as np
import pytest

torch = pytest.importorskip("torch")

rng = np.random.default_rng(3)
INDEX = rng.integers(0, 3, (4, 5))
BASE, SOURCE = rng.integers(-2, 3, (3, 6)).astype(np.float64), rng.integers(-2, 3, (5, 6)).astype(np.float64)
REDUCTIONS = ("sum", "prod", "mean", "amax", "amin")


def scattered(t, reduce, include_self, dtype):
    base, src = (t.from_numpy(a).to(getattr(t, dtype)) for a in (BASE, SOURCE))
    if dtype.startswith("float"):
        # the gradient of elements beyond the index is an error of PyTorch's
        base, src = base.requires_grad_(), src[:4, :5].clone().requires_grad_()
    index = t.from_numpy(INDEX)
    result = base.scatter_reduce(0, index, src, reduce, include_self=include_self)
    grads = ()
    if dtype.startswith("float"):
        (result * t.arange(18.0).reshape(3, 6)).sum().backward()
        grads = base.grad, src.grad
    return [x.tolist() for x in (result, *grads)]


@pytest.mark.parametrize("dtype", ["float64", "float32", "int64", "int32", "uint8"])
@pytest.mark.parametrize("include_self", [True, False])
@pytest.mark.parametrize("reduce", REDUCTIONS)
def test_scatter_reduce_and_its_gradients(reduce, include_self, dtype):
    found, wanted = (scattered(t, reduce, include_self, dtype) for t in (flamework, torch))
    for one, other in zip(found, wanted, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("include_self", [True, False])
@pytest.mark.parametrize("reduce", REDUCTIONS[1:])
@pytest.mark.filterwarnings("ignore:index_reduce")
def test_index_reduce_and_its_gradients(reduce, include_self):
    def reduced(t):
        base, src = (t.from_numpy(a).requires_grad_() for a in (BASE, SOURCE))
        result = base.index_reduce(0, t.tensor([2, 0, 2, 0, 2]), src, reduce, include_self=include_self)
        (result * t.arange(18.0).reshape(3, 6)).sum().backward()
        return result.tolist(), base.grad.tolist(), src.grad.tolist()

    for one, other in zip(reduced(flamework), reduced(torch), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-6, atol=1e-7)


def test_nan_empty_indices_numbers_and_in_place():
    def values(t):
        x = t.tensor([1.0, float("nan"), 3.0])
        to = t.tensor([0, 0, 1])
        single = t.tensor(2.0).scatter_reduce(0, t.tensor(0), t.tensor(5.0), "amax")
        y = x.clone()
        returned = y.scatter_reduce_(0, to, t.tensor([2.0, 1.0, float("nan")]), "amin")
        empty = x.scatter_reduce(0, t.zeros(0, dtype=t.int64), t.zeros(0), "prod")
        return single.tolist(), str(y.tolist()), returned is y, str(empty.tolist())

    assert values(flamework) == values(torch)


ERRORS = (
    lambda t, x, to: x.scatter_reduce(0, to, x, "foo"),
    lambda t, x, to: x.scatter_reduce(0, to, x.double(), "sum"),
    lambda t, x, to: x.scatter_reduce(0, to, 1.0, "sum"),
    lambda t, x, to: x.scatter_reduce(0, t.tensor([5, 6, 6]), x, "sum"),
    lambda t, x, to: x.scatter_reduce(1, to, x, "sum"),
    lambda t, x, to: x.cfloat().scatter_reduce(0, to, x.cfloat(), "amax"),
    lambda t, x, to: x.index_reduce(0, to, x, "sum"),
    lambda t, x, to: x.index_reduce(0, to, x.double(), "prod"),
    lambda t, x, to: x.index_reduce(0, to[:2], x, "prod"),
)


@pytest.mark.parametrize("call", ERRORS)
def test_errors(call):
    with pytest.raises(Exception) as theirs:
        call(torch, torch.ones(3), torch.tensor([0, 1, 1]))
    with pytest.raises(type(theirs.value)):
        call(flamework, flamework.ones(3), flamework.tensor([0, 1, 1])).tolist()
