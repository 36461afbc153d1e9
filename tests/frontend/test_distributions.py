"""What has no stream of PyTorch's: numbers computed from counters, by kernels. Their distributions, at fixed seeds.

Continuous ones are compared by the test of Kolmogorov and Smirnov, discrete ones by the chi-squared test.
"""

import flamework
import numpy as np
import pytest
from flamework.counters import CounterStream
from flamework.recording import node_of, tensor_of
from scipy import stats

COUNT = 20000
LEAST = 1e-3  # the smallest p-value of numbers that are what they should be; seeds are fixed


def stream(seed):
    """A stream as a GPU's generator has it, whose numbers are computed on the CPU."""
    taken = [0]

    def take(count):
        taken[0] += count
        return seed, taken[0] - count

    return CounterStream("cpu", take)


def numbers(drawn):
    return drawn.astype(float) if isinstance(drawn, np.ndarray) else tensor_of(drawn).double().numpy().reshape(-1)


CONTINUOUS = {
    "rand": (lambda g, t: g.rand(COUNT, t), stats.uniform()),
    "uniform": (lambda g, t: g.uniform(COUNT, -2.0, 3.0, t), stats.uniform(-2, 5)),
    "randn": (lambda g, t: g.randn(COUNT, t), stats.norm()),
    "normal": (lambda g, t: g.normal(COUNT, 1.0, 3.0, t), stats.norm(1, 3)),
    "log_normal": (lambda g, t: g.log_normal(COUNT, 0.5, 0.7, t), stats.lognorm(0.7, scale=np.exp(0.5))),
    "exponential": (lambda g, t: g.exponential(COUNT, 2.0, t), stats.expon(scale=0.5)),
    "cauchy": (lambda g, t: g.cauchy(COUNT, 1.0, 2.0, t), stats.cauchy(1, 2)),
}


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", CONTINUOUS)
def test_continuous(name, dtype, seed):
    draw, wanted = CONTINUOUS[name]
    assert stats.kstest(numbers(draw(stream(seed), np.dtype(dtype))), wanted.cdf).pvalue > LEAST


def chi_squared(drawn, wanted):
    """The p-value of counts of the whole numbers from 0 on, for their probabilities; rare ones are one."""
    wanted = np.append(wanted, max(0.0, 1 - wanted.sum())) * len(drawn)
    observed = np.bincount(np.minimum(drawn.astype(int), len(wanted) - 1), minlength=len(wanted))
    common = wanted > 10
    observed = np.append(observed[common], observed[~common].sum())
    wanted = np.append(wanted[common], wanted[~common].sum())
    if not wanted[-1]:
        assert not observed[-1]
        observed, wanted = observed[:-1], wanted[:-1]
    return stats.chisquare(observed, wanted * (observed.sum() / wanted.sum())).pvalue


WEIGHTS = np.array([0.0, 3.0, 1.0, 2.0])

DISCRETE = {
    "randint": (lambda g: g.randint(COUNT, 0, 13, np.dtype(np.int64)), np.full(13, 1 / 13)),
    "random_": (lambda g: g.random_(COUNT, np.dtype(np.uint8)), np.full(256, 1 / 256)),
    "geometric": (lambda g: g.geometric(COUNT, 0.3, np.dtype(np.float32)), stats.geom.pmf(np.arange(60), 0.3)),
    "bernoulli": (lambda g: g.bernoulli(0.25, COUNT, np.dtype(np.float32)), np.array([0.75, 0.25])),
    "bernoulli of each": (
        lambda g: g.bernoulli(node_of(flamework.full((COUNT,), 0.6)), COUNT, np.dtype(np.float32)),
        np.array([0.4, 0.6]),
    ),
    "multinomial": (
        lambda g: g.multinomial(node_of(flamework.tensor(WEIGHTS)), COUNT, True), WEIGHTS / WEIGHTS.sum(),
    ),
    "first of a multinomial without replacement": (
        lambda g: node_of(tensor_of(g.multinomial(node_of(flamework.tensor(WEIGHTS).expand(COUNT, 4)), 2))[:, 0]),
        WEIGHTS / WEIGHTS.sum(),
    ),
    "poisson": (
        lambda g: g.poisson(np.full(COUNT, 3.5, np.float32)), stats.poisson.pmf(np.arange(40), 3.5),
    ),
    "poisson of many": (
        lambda g: g.poisson(np.full(COUNT, 40.0, np.float32)), stats.poisson.pmf(np.arange(120), 40.0),
    ),
}


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("name", DISCRETE)
def test_discrete(name, seed):
    draw, wanted = DISCRETE[name]
    assert chi_squared(numbers(draw(stream(seed))), wanted) > LEAST


def test_permutations_are_equally_likely():
    g = stream(3)
    found = [tuple(numbers(g.randperm(3, np.dtype(np.int64))).astype(int)) for _ in range(3000)]
    assert set(map(len, map(set, found))) == {3}
    counts = [found.count(order) for order in set(found)]
    assert len(counts) == 6
    assert stats.chisquare(counts).pvalue > LEAST


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("probability", [0.1, 0.5, 0.8])
def test_dropout_keeps_every_element_as_often_and_by_itself(probability, seed):
    flamework.manual_seed(seed)
    kept = (flamework.nn.functional.dropout(flamework.ones(COUNT), probability) != 0).numpy()
    assert chi_squared(kept.astype(int), np.array([probability, 1 - probability])) > LEAST
    # pairs of neighbours, and of the same place in two calls
    again = (flamework.nn.functional.dropout(flamework.ones(COUNT), probability) != 0).numpy()
    for other in (np.roll(kept, 1), again):
        pairs = kept.astype(int) * 2 + other
        one = np.array([probability, 1 - probability])
        assert chi_squared(pairs, np.outer(one, one).reshape(-1)) > LEAST


@pytest.mark.parametrize("seed", [1, 2])
def test_slopes_of_rrelu_are_uniform(seed):
    flamework.manual_seed(seed)
    found = -flamework.nn.functional.rrelu(-flamework.ones(COUNT), 0.1, 0.4, training=True).double().numpy()
    assert stats.kstest(found, stats.uniform(0.1, 0.3).cdf).pvalue > LEAST


def test_streams_of_other_seeds_are_others():
    one, two = (numbers(stream(seed).rand(COUNT, np.dtype(np.float64))) for seed in (1, 2))
    assert abs(np.corrcoef(one, two)[0, 1]) < 4 / np.sqrt(COUNT)
