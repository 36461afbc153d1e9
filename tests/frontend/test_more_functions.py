"""Distances, statistics, integrals and lists of a vector against PyTorch: values, dtypes, gradients, errors."""

from __future__ import annotations

import math
import warnings

import flamework as fw
import numpy as np
import pytest
from same_as_torch import assert_same

RNG = np.random.default_rng(0)
X, Y = RNG.standard_normal((2, 4, 3)), RNG.standard_normal((5, 3))
ORDERS = (0, 0.5, 1, 1.5, 2, 3, math.inf)


@pytest.fixture(autouse=True)
def quiet():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def both(call, **tolerance):
    """Assert that a call gives the same, or the same error, with both packages."""
    assert_same(lambda t: call(t, t.tensor), **tolerance)


@pytest.mark.parametrize("order", ORDERS)
def test_distances(order):
    def script(t):
        x, y = t.tensor(X, requires_grad=True), t.tensor(Y, requires_grad=True)
        weights = t.arange(40.0, dtype=t.float64).reshape(2, 4, 5)
        found = t.cdist(x, y, order)
        pairs = t.pdist(y, order)
        loss = (found * weights).sum() + (pairs * weights.reshape(-1)[:10]).sum()
        return [found, pairs, t.nn.functional.pdist(y, order), *t.autograd.grad(loss, (x, y))]

    assert_same(script, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("order", (0, 1, 1.5, 2, 3, math.inf))
def test_gradient_of_a_distance_of_zero(order):
    def script(t):
        x = t.zeros(2, 3, dtype=t.float64, requires_grad=True)
        (a,) = t.autograd.grad(t.cdist(x, x.detach(), order).sum(), x)
        (b,) = t.autograd.grad(t.pdist(x, order).sum(), x)
        return [a, b]

    assert_same(script)


@pytest.mark.parametrize("call", [
    lambda t, a: t.cdist(t.ones(2, 3), t.ones(4, 2)), lambda t, a: t.cdist(t.ones(3), t.ones(4, 3)),
    lambda t, a: t.cdist(t.ones(2, 3), t.ones(4, 3).double()), lambda t, a: t.cdist(a([[1]]), a([[1]])),
    lambda t, a: t.cdist(t.ones(2, 3), t.ones(4, 3), -1), lambda t, a: t.cdist(t.ones(0, 3), t.ones(4, 3)),
    lambda t, a: t.cdist(t.ones(2, 0), t.ones(4, 0)), lambda t, a: t.cdist(t.ones(2, 3), t.ones(4, 3), 2.0, "no"),
    lambda t, a: t.cdist(t.ones(3, 2, 3), t.ones(2, 4, 3)), lambda t, a: t.cdist(t.ones(2, 3), t.ones(3, 3) + 0j),
    lambda t, a: t.cdist(t.ones(1, 5, 2, 3), t.ones(4, 1, 6, 3)).shape[1:],
    lambda t, a: t.pdist(t.ones(2, 3), -1), lambda t, a: t.pdist(t.ones(2, 2, 3)), lambda t, a: t.pdist(a([[1]])),
    lambda t, a: t.pdist(t.ones(1, 3)), lambda t, a: t.pdist(t.ones(0, 3)), lambda t, a: t.pdist(t.ones(3, 0)),
])
def test_arguments_of_distances(call):
    both(call)


@pytest.mark.parametrize("function", ["cdist", "pdist"])
def test_distances_refuse_16_bits(function):
    x = fw.ones(2, 3, dtype=fw.float16)
    with pytest.raises(NotImplementedError, match=f"\"{function}\" not implemented for 'Half'"):
        getattr(fw, function)(*([x, x] if function == "cdist" else [x]))


def test_euclidean_distances_in_every_mode():
    modes = ("use_mm_for_euclid_dist_if_necessary", "use_mm_for_euclid_dist", "donot_use_mm_for_euclid_dist")
    both(lambda t, a: [t.cdist(a(X), a(Y), compute_mode=mode) for mode in modes], rtol=1e-10)


@pytest.mark.parametrize("call", [
    lambda t, x: t.renorm(x, 2, 0, 1.0), lambda t, x: t.renorm(x, 1, 1, 0.5), lambda t, x: t.renorm(x, 0.5, -1, 1.0),
    lambda t, x: t.renorm(x, math.inf, 0, 1.0),
    lambda t, x: t.renorm(x + 1j, 2, 0, 1.0),
    lambda t, x: x.renorm(3, 2, 0),
    lambda t, x: x.clone().renorm_(2, 0, 1), lambda t, x: t.renorm(x, 2, 0, 1, out=t.zeros(2, 4, 3, dtype=t.float64)),
    lambda t, x: t.renorm(x, 0, 1, 1.0), lambda t, x: t.renorm(x, -1, 1, 1.0), lambda t, x: t.renorm(x, 2, 3, 1.0),
    lambda t, x: t.renorm(x[0, 0], 2, 0, 1.0),
    lambda t, x: t.renorm(x, 2, 0, -1.0),
    lambda t, x: t.renorm(x.long(), 2, 0, 1),
    lambda t, x: t.renorm(x.half(), 2, 0, 1.0).float(), lambda t, x: t.renorm(x.float(), 2, 0, 1.0),
])
def test_renorm(call):
    assert_same(lambda t: call(t, t.tensor(X)), rtol=1e-6, atol=1e-7)


def test_gradient_of_renorm():
    def script(t):
        x = t.tensor(X, requires_grad=True)
        return t.autograd.grad((t.renorm(x, 2, 1, 1.5) * t.tensor(X).cos()).sum(), x)

    assert_same(script, rtol=1e-9, atol=1e-10)


M = RNG.standard_normal((3, 6))


@pytest.mark.parametrize("call", [
    lambda t, m: t.cov(m), lambda t, m: t.cov(m[0]), lambda t, m: t.cov(m[0, 0]), lambda t, m: t.cov(m[None]),
    lambda t, m: t.cov(m, correction=0), lambda t, m: t.cov(m, correction=7), lambda t, m: t.cov(m[:1]),
    lambda t, m: t.cov(m, fweights=t.arange(6)), lambda t, m: t.cov(m, aweights=t.arange(6.0).double()),
    lambda t, m: m.cov(fweights=t.arange(6), aweights=t.arange(6.0).double(), correction=2),
    lambda t, m: t.cov(m, aweights=t.arange(6.0).double(), correction=0),
    lambda t, m: t.cov(m, fweights=t.arange(6.0)), lambda t, m: t.cov(m, aweights=t.arange(6)),
    lambda t, m: t.cov(m, fweights=t.arange(5)), lambda t, m: t.cov(m, fweights=t.ones(1, 6).long()),
    lambda t, m: t.cov(m, fweights=t.arange(6) - 3), lambda t, m: t.cov(m, aweights=t.arange(6.0) - 3),
    lambda t, m: t.cov(m, aweights=t.arange(7.0)), lambda t, m: t.cov(m, fweights=t.zeros(6).long()),
    lambda t, m: t.cov(m.long()), lambda t, m: t.cov(m > 0), lambda t, m: t.cov(m + 1j * m.flip(1)),
    lambda t, m: t.cov(m[:, :0]), lambda t, m: t.cov(m[:0]), lambda t, m: t.cov(m.float()),
    lambda t, m: t.corrcoef(m), lambda t, m: m.corrcoef(), lambda t, m: t.corrcoef(m[0]),
    lambda t, m: t.corrcoef(m[None]), lambda t, m: t.corrcoef((m * 10).long()), lambda t, m: t.corrcoef(t.ones(2, 3)),
    lambda t, m: t.corrcoef(m + 1j * m.flip(1)), lambda t, m: t.corrcoef(m[:1]),
])
def test_covariances(call):
    assert_same(lambda t: call(t, t.tensor(M)), rtol=1e-6, atol=1e-9)


def test_gradients_of_covariances():
    def script(t):
        m = t.tensor(M, requires_grad=True)
        loss = (t.cov(m, fweights=t.arange(6)) ** 2).sum() + (t.corrcoef(m) ** 3).sum()
        return t.autograd.grad(loss, m)

    assert_same(script, rtol=1e-8, atol=1e-9)


@pytest.mark.parametrize("name", ["trapezoid", "trapz", "cumulative_trapezoid"])
@pytest.mark.parametrize("call", [
    lambda f, t, m: f(m), lambda f, t, m: f(m, dx=2), lambda f, t, m: f(m, dx=0.5, dim=0),
    lambda f, t, m: f(m, t.arange(6.0).double() ** 2),
    lambda f, t, m: f(m, m.flip(1)),
    lambda f, t, m: f(m, m.cos(), dim=0),
    lambda f, t, m: f(m, t.arange(3), dim=0),
    lambda f, t, m: f((m * 9).long()),
    lambda f, t, m: f((m * 9).int(), t.arange(6)),
    lambda f, t, m: f(m[:, :0]), lambda f, t, m: f(m[:, :1]), lambda f, t, m: f(m[0], t.arange(6.0)),
    lambda f, t, m: f(m[None], m),
    lambda f, t, m: f(m, m[:, :1]),
    lambda f, t, m: f(m, t.tensor([[1, 2, 4.0, 5, 7, 8]])),
    # errors
    lambda f, t, m: f(m, dim=3), lambda f, t, m: f(m[0, 0]),
])
def test_integrals(name, call):
    assert_same(lambda t: call(getattr(t, name), t, t.tensor(M)), rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("name", ["trapezoid", "cumulative_trapezoid"])
@pytest.mark.parametrize("call", [
    lambda f, t, m: f(m, t.arange(2.0)), lambda f, t, m: f(m > 0), lambda f, t, m: f(m > 0, t.arange(6)),
    lambda f, t, m: f(m, dx=True), lambda f, t, m: f(m, dx=1j),
])
def test_arguments_of_integrals(name, call):
    assert_same(lambda t: call(getattr(t, name), t, t.tensor(M)))


@pytest.mark.parametrize("call", [
    lambda t, m: t.gradient(m), lambda t, m: t.gradient(m, spacing=2.0), lambda t, m: t.gradient(m, dim=1),
    lambda t, m: t.gradient(m, dim=(-1, 0), spacing=[1, 2.0]), lambda t, m: t.gradient(m, edge_order=2),
    lambda t, m: t.gradient(m[0], spacing=(t.arange(6.0).double() ** 2,)),
    lambda t, m: t.gradient(m, spacing=(t.arange(3.0) ** 2, t.arange(6) ** 3)),
    lambda t, m: t.gradient(m, spacing=(t.arange(3.0) ** 2, t.arange(6) ** 3), edge_order=2),
    lambda t, m: t.gradient((m * 9).long()), lambda t, m: t.gradient(m[0, 0]), lambda t, m: t.gradient(m[:, :2], dim=1),
    lambda t, m: t.gradient(m + 1j),
    lambda t, m: t.gradient(m, edge_order=3), lambda t, m: t.gradient(m[:, :1]), lambda t, m: t.gradient(m, dim=5),
    lambda t, m: t.gradient(m.to(t.uint8)), lambda t, m: t.gradient(m, spacing=[1, 2, 3.0]),
    lambda t, m: t.gradient(m, dim=(0, 0)), lambda t, m: t.gradient(m[:2], edge_order=2),
])
def test_gradient_of_samples(call):
    assert_same(lambda t: call(t, t.tensor(M)), rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("call", [
    lambda t, a: t.vander(a([1, 2, 3])),
    lambda t, a: t.vander(a([1.0, 2, 3]), 2),
    lambda t, a: t.vander(a([1.0, 2]), 4, True),
    lambda t, a: t.vander(t.ones(2, 3)), lambda t, a: t.vander(a([1, 2]), -1), lambda t, a: t.vander(a([1, 2]), 0),
    lambda t, a: t.vander(a([True, False])),
    lambda t, a: t.vander(a([1, 2]).int()),
    lambda t, a: t.vander(a([1 + 1j, 2])),
    lambda t, a: t.vander(a([1, 2]), 1),
    lambda t, a: t.vander(t.zeros(0)),
    lambda t, a: t.vander(a([1.0, 2]).half(), 3),
    lambda t, a: t.combinations(a([4.0, 5, 6])), lambda t, a: t.combinations(a([4, 5, 6]), 3),
    lambda t, a: t.combinations(a([4, 5, 6]), with_replacement=True), lambda t, a: t.combinations(a([4, 5, 6]), 0),
    lambda t, a: t.combinations(a([4, 5]), -1),
    lambda t, a: t.combinations(t.ones(2, 2)),
    lambda t, a: t.combinations(a([4]), 4),
    lambda t, a: t.combinations(a([4, 5]), 1),
    lambda t, a: t.combinations(a(3.0)),
    lambda t, a: t.combinations(t.ones(0)),
    lambda t, a: t.block_diag(t.ones(2, 3), a([7]), a(3.0)),
    lambda t, a: t.block_diag(),
    lambda t, a: t.block_diag(t.ones(1, 1, 1)),
    lambda t, a: t.block_diag(t.ones(2), 3), lambda t, a: t.block_diag(t.zeros(0), t.ones(2, 3)),
    lambda t, a: t.block_diag(a([1]).int(), a([True])),
    lambda t, a: t.unravel_index(a([1, 5]), (2, 3)), lambda t, a: t.unravel_index(a(5), 6),
    lambda t, a: t.unravel_index(a([[7, -1]]), [2, 3]), lambda t, a: t.unravel_index(a([1.0]), (2, 3)),
    lambda t, a: t.unravel_index(a(1), ()), lambda t, a: t.unravel_index(a([1]), (2.0, 3)),
    lambda t, a: t.unravel_index(a([1]), (-2, 3)), lambda t, a: t.unravel_index(a([1]).int(), t.Size([2, 3])),
    lambda t, a: t.unravel_index(a([True]), (2, 3)), lambda t, a: t.unravel_index(a([1]), (0, 3)),
])
def test_made_from_a_vector(call):
    both(call)


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16"])
def test_poisson_draws_the_numbers_of_pytorch(dtype):
    def script(t):
        t.manual_seed(5)
        rates = t.tensor([0.0, 0.3, 2.0, 9.9, 10.0, 33.0, 1000.0]).repeat(40).reshape(-1, 7).to(getattr(t, dtype))
        return [t.poisson(rates), t.rand(3), t.poisson(rates[:2], generator=t.Generator().manual_seed(1)), t.rand(3)]

    assert_same(script)


@pytest.mark.parametrize("rate", [0.7, 6.0, 25.0])
def test_poisson_has_its_distribution(rate):
    stats = pytest.importorskip("scipy.stats")
    fw.manual_seed(0)
    drawn = fw.poisson(fw.full((20000,), rate, dtype=fw.float64)).numpy()
    top = int(stats.poisson.ppf(0.999, rate))
    bottom = int(stats.poisson.ppf(0.001, rate))
    counts = np.bincount(np.clip(drawn, bottom, top).astype(int) - bottom, minlength=top - bottom + 1)
    edges = stats.poisson.cdf(np.arange(bottom, top), rate)
    expected = np.diff(np.concatenate([[0.0], edges, [1.0]])) * drawn.size
    assert stats.chisquare(counts, expected).pvalue > 0.01


def test_arguments_and_gradient_of_poisson():
    assert_same(lambda t: t.poisson(t.tensor([-1.0])))
    assert_same(lambda t: t.poisson(t.tensor([math.nan])))
    with pytest.raises(NotImplementedError, match="\"poisson_cpu\" not implemented for 'Long'"):
        fw.poisson(fw.tensor([1]))

    def script(t):
        x = t.tensor([3.0], requires_grad=True)
        return t.autograd.grad(t.poisson(x).sum(), x)

    assert_same(script)


@pytest.mark.parametrize("call", [
    lambda t, e: e((2, 3), (1, 2)), lambda t, e: e((2, 3), (1,)), lambda t, e: e((2, 3), (0, 1)),
    lambda t, e: e((2, 3), (-1, 1)), lambda t, e: e((-2, 3), (1, 1)), lambda t, e: e((2, 3), (10, 1)),
    lambda t, e: e((0, 3), (10, 1)), lambda t, e: e((), ()), lambda t, e: e((2,), (1,), requires_grad=True),
    lambda t, e: t.ones(1).new_empty_strided((2, 3), (10, 1), dtype=t.int64),
    lambda t, e: t.empty_permuted((2, 3, 4), (0, 2, 1)), lambda t, e: t.empty_permuted((2, 3, 4), (0, 2, 2)),
])
def test_tensors_with_strides(call):
    def script(t):
        x = call(t, t.empty_strided)
        return [str(x.dtype), list(x.shape), x.stride(), x.storage_offset(), x.requires_grad]

    assert_same(script)


@pytest.mark.parametrize("call", [
    lambda t, x: x.sum_to_size(1, 3), lambda t, x: x.sum_to_size((3,)), lambda t, x: x.sum_to_size(2),
    lambda t, x: x.sum_to_size(()), lambda t, x: x.sum_to_size(), lambda t, x: x.sum_to_size(2, 3) is x,
    lambda t, x: x.sum_to_size(1, 2, 3), lambda t, x: x.int().sum_to_size(1, 1), lambda t, x: (x > 1).sum_to_size(2, 1),
    lambda t, x: x.sum_to_size([1]), lambda t, x: x.sum_to_size(t.Size([2, 1])),
    lambda t, x: x.apply_(lambda v: v + 1), lambda t, x: x.long().apply_(lambda v: v + 0.5),
    lambda t, x: [x.t().apply_(lambda v: v * v), x], lambda t, x: [x[:, 1].apply_(lambda v: -v), x],
    lambda t, x: x.map_(t.ones(3), lambda a, b: a - b), lambda t, x: x.map2_(x, t.ones(3), lambda a, b, c: a - b + c),
    lambda t, x: x.map_(t.ones(3).double(), lambda a, b: a), lambda t, x: x.map2_(x.double(), x, lambda a, b, c: a),
    lambda t, x: x.requires_grad_().apply_(abs), lambda t, x: x.map_(x.clone().requires_grad_(), max),
    lambda t, x: x.map_(3, abs), lambda t, x: x.map_(t.ones(5), max), lambda t, x: x.apply_(lambda v: "a"),
    lambda t, x: (x > 1).apply_(lambda v: not v), lambda t, x: x.apply_(lambda v: t.tensor(2.0)),
    lambda t, x: (x + 1j).apply_(lambda v: v * 2), lambda t, x: x.half().apply_(lambda v: v * 2).float(),
    lambda t, x: t.resize_as_(x, t.ones(3)), lambda t, x: t.detach_(x.requires_grad_() * 2).requires_grad,
])
def test_methods(call):
    assert_same(lambda t: call(t, t.arange(6.0).reshape(2, 3)))


def test_gradient_of_sum_to_size():
    def script(t):
        x = t.tensor(X, requires_grad=True)
        return t.autograd.grad((x.sum_to_size(4, 1) ** 2).sum(), x)

    assert_same(script)


@pytest.mark.parametrize("call", [
    lambda t, a: [f(a([12, -18, 0, 5, -7, 0]), a([8, 12, 0, 0, -14, 3])) for f in (t.gcd, t.lcm)],
    lambda t, a: [f(a([4, 9]).int(), a([[2], [6]])) for f in (t.gcd, t.lcm)],
    lambda t, a: [f(a([4, 200], dtype=t.uint8), a([6, 100], dtype=t.uint8)) for f in (t.gcd, t.lcm)],
    lambda t, a: t.lcm(a([100], dtype=t.int8), a([101], dtype=t.int8)), lambda t, a: a([4]).gcd_(a([6])),
    lambda t, a: t.lcm_(a([4]), a([6])), lambda t, a: a([4]).lcm(a([6])), lambda t, a: t.gcd(t.ones(0).long(), a([1])),
])
def test_divisors_and_multiples(call):
    both(call)


@pytest.mark.parametrize("name", ["gcd", "lcm"])
@pytest.mark.parametrize("values", [[1.0], [True]])
def test_divisors_are_of_integers(name, values):
    with pytest.raises(NotImplementedError, match=f"\"{name}_cpu\" not implemented for"):
        getattr(fw, name)(fw.tensor(values), fw.tensor(values))
