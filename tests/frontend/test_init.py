"""``nn.init`` draws PyTorch's numbers: from the same seed come the same weights."""

import math
import warnings

import flamework
import numpy as np
import pytest
from flamework.nn import init
from same_as_torch import assert_same

# Rounding of the logarithms and cosines behind normal draws differs in the last places between maths libraries.
DRAWN = {"rtol": 2e-6, "atol": 1e-7}

SCHEMES = {
    "uniform": lambda nn, w: nn.init.uniform_(w, -2.0, 3.0),
    "normal": lambda nn, w: nn.init.normal_(w, 1.0, 0.5),
    "constant": lambda nn, w: nn.init.constant_(w, 0.25),
    "ones": lambda nn, w: nn.init.ones_(w),
    "zeros": lambda nn, w: nn.init.zeros_(w),
    "trunc normal": lambda nn, w: nn.init.trunc_normal_(w),
    "trunc normal, narrow": lambda nn, w: nn.init.trunc_normal_(w, 0.0, 0.02, -0.01, 0.01),
    "trunc normal, rejection": lambda nn, w: nn.init.trunc_normal_(w, 0.0, 1.0, 1.0, 2.0),
    "xavier uniform": lambda nn, w: nn.init.xavier_uniform_(w, gain=2.0),
    "xavier normal": lambda nn, w: nn.init.xavier_normal_(w),
    "kaiming uniform": lambda nn, w: nn.init.kaiming_uniform_(w, a=math.sqrt(5)),
    "kaiming uniform, fan out": lambda nn, w: nn.init.kaiming_uniform_(w, mode="fan_out", nonlinearity="relu"),
    "kaiming normal": lambda nn, w: nn.init.kaiming_normal_(w, mode="FAN_OUT", nonlinearity="tanh"),
    "orthogonal": lambda nn, w: nn.init.orthogonal_(w, gain=1.5),
    "eye": lambda nn, w: nn.init.eye_(w),
    "sparse": lambda nn, w: nn.init.sparse_(w, 0.3),
    "dirac": lambda nn, w: nn.init.dirac_(w),
    "dirac, groups": lambda nn, w: nn.init.dirac_(w, groups=2),
}
SHAPES = [(6, 4), (4, 6), (3, 3), (6, 4, 3), (4, 2, 3, 5), (2, 2, 2, 2, 2), (5,), (), (7, 0), (40, 30)]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("scheme", SCHEMES)
def test_same_seed_gives_pytorchs_weights(scheme, shape):
    def script(torch):
        torch.manual_seed(7)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            weight = torch.nn.Parameter(torch.empty(shape))
            returned = SCHEMES[scheme](torch.nn, weight)
        # The next draw shows that the same number of random numbers was used.
        return weight, returned is weight, weight.requires_grad, torch.rand(3)
    loose = {"rtol": 1e-4, "atol": 1e-5} if scheme == "orthogonal" else DRAWN
    assert_same(script, **loose)


@pytest.mark.parametrize("scheme", ["uniform", "normal", "trunc normal", "kaiming uniform", "sparse"])
def test_double_precision_draws_pytorchs_numbers(scheme):
    def script(torch):
        torch.manual_seed(3)
        return SCHEMES[scheme](torch.nn, torch.empty(5, 7, dtype=torch.float64))
    assert_same(script, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("scheme", ["uniform_", "normal_", "trunc_normal_", "xavier_uniform_", "xavier_normal_",
                                    "kaiming_uniform_", "kaiming_normal_", "orthogonal_"])
def test_own_generator_is_used_and_the_default_one_is_not(scheme):
    def script(torch):
        torch.manual_seed(1)
        generator = torch.Generator()
        generator.manual_seed(11)
        weight = getattr(torch.nn.init, scheme)(torch.empty(4, 5), generator=generator)
        return weight, torch.rand(2)
    assert_same(script, rtol=1e-4, atol=1e-5)


LAYERS = {
    "linear": lambda nn: nn.Linear(7, 5),
    "linear without bias": lambda nn: nn.Linear(7, 5, bias=False),
    "linear without inputs": lambda nn: nn.Linear(0, 5),
    "bilinear": lambda nn: nn.Bilinear(3, 4, 5),
    "convolution": lambda nn: nn.Conv2d(4, 6, (3, 2), groups=2),
    "embedding": lambda nn: nn.Embedding(9, 5, padding_idx=-2),
    "model": lambda nn: nn.Sequential(nn.Conv2d(1, 8, 3), nn.BatchNorm2d(8), nn.Flatten(), nn.Linear(32, 10)),
}


@pytest.mark.parametrize("layer", LAYERS)
def test_seeded_layers_start_from_pytorchs_weights(layer):
    def script(torch):
        torch.manual_seed(42)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return LAYERS[layer](torch.nn).state_dict(), torch.rand(2)
    assert_same(script, **DRAWN)


def test_uniform_weights_are_pytorchs_bit_for_bit():
    torch = pytest.importorskip("torch")
    flamework.manual_seed(0)
    ours = flamework.nn.Linear(33, 17)
    torch.manual_seed(0)
    theirs = torch.nn.Linear(33, 17)
    np.testing.assert_array_equal(ours.weight.detach().numpy(), theirs.weight.detach().numpy())
    np.testing.assert_array_equal(ours.bias.detach().numpy(), theirs.bias.detach().numpy())


def test_orthogonal_columns_are_orthonormal():
    flamework.manual_seed(0)
    matrix = init.orthogonal_(flamework.empty(8, 5)).numpy().astype("float64")
    np.testing.assert_allclose(matrix.T @ matrix, np.eye(5), atol=1e-6)


GAINS = [("linear", None), ("conv3d", None), ("sigmoid", None), ("tanh", None), ("relu", None), ("selu", None),
         ("leaky_relu", None), ("leaky_relu", 0.2), ("leaky_relu", 1), ("leaky_relu", True), ("leaky_relu", "a"),
         ("unknown", None)]


@pytest.mark.parametrize(("nonlinearity", "param"), GAINS)
def test_gains(nonlinearity, param):
    assert_same(lambda torch: torch.nn.init.calculate_gain(nonlinearity, param))


ERRORS = {
    "mode": lambda nn, w: nn.init.kaiming_uniform_(w(3, 3), mode="fan"),
    "fan of a vector": lambda nn, w: nn.init.xavier_uniform_(w(3)),
    "eye of a vector": lambda nn, w: nn.init.eye_(w(3)),
    "dirac of a matrix": lambda nn, w: nn.init.dirac_(w(3, 3)),
    "dirac groups": lambda nn, w: nn.init.dirac_(w(3, 3, 3), groups=2),
    "orthogonal vector": lambda nn, w: nn.init.orthogonal_(w(3)),
    "sparse vector": lambda nn, w: nn.init.sparse_(w(3), 0.5),
}


@pytest.mark.parametrize("case", ERRORS)
def test_errors_have_pytorchs_type_and_text(case):
    assert_same(lambda torch: ERRORS[case](torch.nn, torch.empty))


def test_old_names_warn_and_work():
    with pytest.warns(FutureWarning, match="deprecated in favor of `nn.init.constant_`"):
        assert init.constant(flamework.empty(2), 2.0).tolist() == [2.0, 2.0]


def test_far_truncation_warns():
    with pytest.warns(UserWarning, match="more than 2 std"):
        init.trunc_normal_(flamework.empty(4), mean=0.0, std=1.0, a=3.0, b=4.0)


def test_initialisation_leaves_no_history():
    weight = flamework.nn.Parameter(flamework.empty(3, 3))
    init.xavier_normal_(weight)
    assert weight.is_leaf
    assert weight.requires_grad
