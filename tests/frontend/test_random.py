"""Random numbers: the streams of PyTorch's generator, samplers, states, errors."""

import pickle

import flamework
import numpy as np
import pytest
from rows import check, check_error

# Numbers that are PyTorch's bit for bit.
EXACT = [
    "torch.rand(3)", "torch.rand(2, 3)", "torch.rand((4, 5), dtype=torch.float64)", "torch.rand(0)",
    "torch.rand(size=(2,))", "torch.randint(10, (20,))", "torch.randint(-5, 5, (3, 4))",
    "torch.randint(0, 2, (9,), dtype=torch.float32)", "torch.randint(3, 7, size=(5,))",
    "torch.randint(0, 2**40, (5,))", "torch.randperm(10)", "torch.randperm(7, dtype=torch.int32)",
    "torch.randperm(0)", "torch.rand_like(f)", "torch.randint_like(i, 9)", "torch.randint_like(f, 2, 9)",
    "torch.empty(20).uniform_()", "torch.empty(20).uniform_(-2, 3)", "torch.empty(5).double().uniform_(0, 0.5)",
    "torch.zeros(9).random_(5)", "torch.zeros(9).random_(-3, 3)", "torch.zeros(9, dtype=torch.int64).random_()",
    "torch.bernoulli(torch.full((20,), 0.3))", "torch.empty(20).bernoulli_(torch.full((20,), 0.3))",
    "torch.multinomial(torch.tensor([0.1, 0.5, 0.4]), 7, replacement=True)",
    "torch.rand(3), torch.randint(9, (3,)), torch.rand(2)",
    "torch.binomial(torch.arange(40.0), torch.linspace(-0.1, 1.1, 40)), torch.rand(2)",
    "torch.binomial(torch.full((60,), 300.0).double(), torch.linspace(0, 1, 60).double())",
    "torch.binomial(torch.full((3, 4), 90.0), torch.full((3, 4), 0.3)), torch.randn(1)",
    "g = torch.Generator().manual_seed(9); result = (torch.rand(3, generator=g), torch.rand(3))",
    "a = torch.empty(3); torch.rand(3, out=a); result = a", "torch.rand(2, requires_grad=True)",
    "torch.initial_seed()", "torch.empty(20).bernoulli_(0.25)", "torch.poisson(torch.full((20,), 3.0))",
    "torch.poisson(torch.full((20,), 30.0))", "torch.multinomial(torch.linspace(0.1, 1, 30), 9)",
    "torch.empty(20, dtype=torch.float16).uniform_()", "torch.empty(9, dtype=torch.int64).random_(-5, 5)",
]
# Numbers that agree up to the last place of logarithm, sine and cosine.
CLOSE = [
    "torch.randn(3)", "torch.randn(4, 5)", "torch.randn(40)", "torch.randn(20, dtype=torch.float64)",
    "torch.randn_like(f)", "torch.empty(20).normal_()", "torch.empty(5, 5).normal_(2, 3)",
    "torch.normal(0.0, 1.0, (20,))", "torch.normal(2.0, 0.5, (3, 4))", "torch.normal(torch.arange(20.0), 0.1)",
    "torch.normal(0.0, torch.ones(20))", "torch.normal(torch.zeros(4), torch.ones(4))", "torch.empty(20).cauchy_()",
    "torch.empty(20).log_normal_()", "torch.empty(20).geometric_(0.3)",
    "torch.randn(3), torch.rand(2), torch.randn(3)", "torch.empty(20).exponential_(2.0)",
    "torch.empty(20).double().exponential_()", "torch.nn.functional.gumbel_softmax(torch.zeros(4, 5))",
]
ERRORS = [
    "torch.randint(5, 3, (2,))", "torch.binomial(i, f)", "torch.binomial(f.double(), f)",
    "torch.binomial(f.half(), f.half())",
    "torch.randperm(-1)", "torch.rand(2, dtype=torch.int64)", "torch.rand_like(i)",
    "torch.bernoulli(torch.tensor([2.0]))", "torch.bernoulli(i)",
    "torch.normal(torch.zeros(2), torch.tensor([-1.0, 1.0]))", "torch.multinomial(torch.tensor([-1.0, 1.0]), 1)",
    "torch.multinomial(torch.tensor([1.0, 1.0]), 3)", "torch.rand(-1)", "torch.empty(2).uniform_(2, 1)",
    "torch.empty(2).normal_(0, -1)", "i.clone().normal_()", "torch.randint(5)", "torch.empty(2).exponential_(-1)",
    "torch.empty(2).geometric_(1.5)", "x.normal_()",
]


@pytest.mark.parametrize("expression", EXACT)
def test_random_numbers_are_those_of_torch(expression):
    check(expression, gradients=False, exact=True)


@pytest.mark.parametrize("expression", CLOSE)
def test_normal_numbers_are_close_to_those_of_torch(expression):
    check(expression, gradients=False)


@pytest.mark.parametrize("expression", ERRORS)
def test_sampler_refuses_what_torch_refuses(expression):
    check_error(expression)


def test_state_can_be_saved_and_restored():
    flamework.manual_seed(3)
    flamework.randn(3)
    state = flamework.get_rng_state()
    first = flamework.randn(5).tolist()
    flamework.set_rng_state(state)
    assert flamework.randn(5).tolist() == first


def test_state_is_exchanged_with_torch():
    torch = pytest.importorskip("torch")
    torch.manual_seed(11)
    torch.rand(7)
    flamework.set_rng_state(flamework.tensor(torch.get_rng_state().numpy()))
    assert flamework.rand(4).tolist() == torch.rand(4).tolist()
    torch.set_rng_state(torch.tensor(flamework.get_rng_state().numpy()))
    assert flamework.rand(4).tolist() == torch.rand(4).tolist()


def test_fork_rng_leaves_the_generator_as_it_was():
    flamework.manual_seed(0)
    expected = flamework.rand(2).tolist()
    flamework.manual_seed(0)
    with flamework.random.fork_rng():
        flamework.rand(100)
    assert flamework.rand(2).tolist() == expected


def test_generator_is_independent_of_the_default_one_and_can_be_pickled():
    generator = flamework.Generator()
    assert generator.manual_seed(2) is generator
    assert generator.initial_seed() == 2
    copied = pickle.loads(pickle.dumps(generator))
    assert flamework.rand(4, generator=copied).tolist() == flamework.rand(4, generator=generator).tolist()
    assert str(generator.device) == "cpu"


def test_seed_from_the_system_changes_the_stream():
    first = flamework.seed()
    assert first == flamework.initial_seed()
    assert flamework.seed() != first


def test_samplers_follow_their_distributions():
    flamework.manual_seed(0)
    n = 20000
    exponential = flamework.empty(n).exponential_(2.0).numpy()
    coins = flamework.empty(n).bernoulli_(0.25).numpy()
    drawn = flamework.multinomial(flamework.tensor([0.0, 3.0, 1.0]), n, replacement=True).numpy()
    assert abs(exponential.mean() - 0.5) < 0.02
    assert abs(coins.mean() - 0.25) < 0.02
    assert abs((drawn == 1).mean() - 0.75) < 0.02
    assert not (drawn == 0).any()


@pytest.mark.parametrize(("count", "probability"), [(6, 0.4), (40, 0.35), (40, 0.8), (1000, 0.01)])
def test_binomial_numbers_pass_a_chi_squared_test(count, probability):
    from scipy import stats

    flamework.manual_seed(1)
    n = 20000
    drawn = flamework.binomial(flamework.full((n,), float(count)), flamework.tensor(probability)).numpy().astype(int)
    wanted = n * stats.binom.pmf(np.arange(count + 1), count, float(np.float32(probability)))
    common = wanted > 20
    observed = np.bincount(drawn, minlength=count + 1)
    cells = np.append(observed[common], observed[~common].sum()), np.append(wanted[common], wanted[~common].sum())
    statistic = ((cells[0] - cells[1]) ** 2 / np.maximum(cells[1], 1e-9)).sum()
    assert stats.chi2.sf(statistic, common.sum()) > 1e-3


def test_binomial_of_no_numbers():
    nan = float("nan")
    found = flamework.binomial(flamework.tensor([3.0, nan, 0.0, -1.0]), flamework.tensor([nan, 0.5, 0.5, 0.5])).tolist()
    assert [v != v for v in found] == [True, True, False, False]
    assert found[2:] == [0.0, 0.0]
    assert flamework.binomial(flamework.ones(2, 0), flamework.ones(2, 0)).shape == (2, 0)


def test_random_tensor_is_drawn_when_it_is_made_not_when_it_is_read():
    flamework.manual_seed(0)
    early, late = flamework.rand(2), flamework.rand(2)
    late_values, early_values = late.tolist(), early.tolist()
    flamework.manual_seed(0)
    assert [*early_values, *late_values] == flamework.rand(4).tolist()


def test_in_place_sampler_respects_views():
    x = flamework.zeros(4, 4)
    x[1].fill_(1)
    x[:, 2].uniform_(5, 6)
    values = x.numpy()
    assert (values[:, 2] >= 5).all()
    assert np.count_nonzero(values) == 7
