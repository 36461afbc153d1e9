"""Recurrent layers compute what PyTorch's do: outputs, states, gradients, initial numbers, errors."""

import flamework
import numpy as np
import pytest
from same_as_torch import array, assert_same

# Constructor of the layer, the shape of its input, the shapes of its states.
LAYERS = {
    "RNN": (lambda nn: nn.RNN(3, 4), (5, 2, 3), [(1, 2, 4)]),
    "RNN, relu": (lambda nn: nn.RNN(3, 4, 2, "relu", False), (5, 2, 3), [(2, 2, 4)]),
    "RNN, one sequence": (lambda nn: nn.RNN(3, 4, bidirectional=True), (5, 3), [(2, 4)]),
    "RNN, one step": (lambda nn: nn.RNN(3, 4), (1, 2, 3), [(1, 2, 4)]),
    "LSTM": (lambda nn: nn.LSTM(3, 4), (5, 2, 3), [(1, 2, 4)] * 2),
    "LSTM, no bias": (lambda nn: nn.LSTM(3, 4, bias=False), (5, 2, 3), [(1, 2, 4)] * 2),
    "LSTM, deep": (lambda nn: nn.LSTM(3, 4, 3, batch_first=True, bidirectional=True), (2, 5, 3), [(6, 2, 4)] * 2),
    "LSTM, projected": (lambda nn: nn.LSTM(3, 4, 2, proj_size=2), (5, 2, 3), [(2, 2, 2), (2, 2, 4)]),
    "LSTM, projected both ways": (
        lambda nn: nn.LSTM(3, 5, 2, bidirectional=True, proj_size=2), (4, 3), [(4, 2), (4, 5)]),
    "LSTM, batch first, one sequence": (lambda nn: nn.LSTM(3, 4, batch_first=True), (5, 3), [(1, 4)] * 2),
    "LSTM, no sequence": (lambda nn: nn.LSTM(3, 4), (5, 0, 3), [(1, 0, 4)] * 2),
    "GRU": (lambda nn: nn.GRU(3, 4), (5, 2, 3), [(1, 2, 4)]),
    "GRU, no bias": (lambda nn: nn.GRU(3, 4, bias=False), (5, 2, 3), [(1, 2, 4)]),
    "GRU, deep": (lambda nn: nn.GRU(3, 4, 2, batch_first=True, bidirectional=True), (2, 5, 3), [(4, 2, 4)]),
    "GRU, all dropped": (lambda nn: nn.GRU(3, 4, 2, dropout=1.0), (5, 2, 3), [(2, 2, 4)]),
    "GRU, one sequence": (lambda nn: nn.GRU(3, 4, 2), (5, 3), [(2, 4)]),
    "RNNCell": (lambda nn: nn.RNNCell(3, 4), (2, 3), [(2, 4)]),
    "RNNCell, relu": (lambda nn: nn.RNNCell(3, 4, False, "relu"), (2, 3), [(2, 4)]),
    "RNNCell, one": (lambda nn: nn.RNNCell(3, 4), (3,), [(4,)]),
    "LSTMCell": (lambda nn: nn.LSTMCell(3, 4), (2, 3), [(2, 4)] * 2),
    "LSTMCell, one": (lambda nn: nn.LSTMCell(3, 4, bias=False), (3,), [(4,)] * 2),
    "GRUCell": (lambda nn: nn.GRUCell(3, 4), (2, 3), [(2, 4)]),
    "GRUCell, one": (lambda nn: nn.GRUCell(3, 4, bias=False), (3,), [(4,)]),
}


def flat(results):
    """All tensors of a result, in order."""
    return [tensor for item in results for tensor in flat(item)] if isinstance(results, tuple) else [results]


def run(torch, layer, x, states):
    """The results of a layer and the gradients of a weighted sum of all of them; states None is the layer's own."""
    tensors = [torch.tensor(value, requires_grad=True) for value in [x, *(states or ())]]
    first, *rest = tensors
    hx = None if states is None else rest[0] if len(rest) == 1 else tuple(rest)
    results = flat(layer(first, hx))
    total = sum((result * torch.tensor(array(*result.shape, seed=9 + i))).sum() for i, result in enumerate(results))
    total.backward()
    return results, [tensor.grad for tensor in tensors], {name: p.grad for name, p in layer.named_parameters()}


def case_inputs(case, dtype="float32"):
    make, shape, state_shapes = LAYERS[case]
    states = [array(*state_shape, seed=i, dtype=dtype) for i, state_shape in enumerate(state_shapes)]
    return make, array(*shape, seed=1, dtype=dtype), states


@pytest.mark.parametrize("case", LAYERS)
def test_same_seed_gives_pytorchs_parameters_results_and_gradients(case):
    make, x, states = case_inputs(case)

    def script(torch):
        torch.manual_seed(3)
        layer = make(torch.nn)
        with_states = run(torch, layer, x, states)
        layer.zero_grad()
        without = run(torch, layer, x, None)
        layer.eval()
        return repr(layer), dict(layer.state_dict()), with_states, without, flat(layer(torch.tensor(x)))
    assert_same(script, rtol=2e-5, atol=2e-6)


@pytest.mark.parametrize("case", ["RNN, relu", "LSTM, projected", "GRU, deep", "LSTMCell"])
def test_double(case):
    make, x, states = case_inputs(case, "float64")

    def script(torch):
        torch.manual_seed(3)
        return run(torch, make(torch.nn).double(), x, states)
    assert_same(script, rtol=1e-10, atol=1e-12)


def zeros(torch, *shapes):
    made = tuple(torch.zeros(shape) for shape in shapes)
    return made[0] if len(made) == 1 else made


WRONG = {
    "nonlinearity": lambda torch: torch.nn.RNN(3, 4, nonlinearity="x"),
    "no features": lambda torch: torch.nn.LSTM(0, 4),
    "no state": lambda torch: torch.nn.LSTM(3, 0),
    "no layers": lambda torch: torch.nn.LSTM(3, 4, 0),
    "dropout": lambda torch: torch.nn.LSTM(3, 4, 2, dropout=2),
    "dropout, bool": lambda torch: torch.nn.LSTM(3, 4, 2, dropout=True),
    "projection too wide": lambda torch: torch.nn.LSTM(3, 4, proj_size=4),
    "projection negative": lambda torch: torch.nn.LSTM(3, 4, proj_size=-1),
    "projection, GRU": lambda torch: torch.nn.GRU(3, 4, proj_size=2),
    "projection, RNN": lambda torch: torch.nn.RNN(3, 4, proj_size=2),
    "input_size type": lambda torch: torch.nn.LSTM("3", 4),
    "hidden_size type": lambda torch: torch.nn.LSTM(3, 4.0),
    "bias type": lambda torch: torch.nn.LSTM(3, 4, bias=1),
    "batch_first type": lambda torch: torch.nn.LSTM(3, 4, batch_first=0),
    "mode": lambda torch: torch.nn.RNNBase("X", 3, 4),
    "vector, LSTM": lambda torch: torch.nn.LSTM(3, 4)(torch.zeros(3)),
    "vector, GRU": lambda torch: torch.nn.GRU(3, 4)(torch.zeros(3)),
    "four dimensions, RNN": lambda torch: torch.nn.RNN(3, 4)(torch.zeros(1, 2, 3, 3)),
    "features": lambda torch: torch.nn.LSTM(3, 4)(torch.zeros(5, 2, 4)),
    "empty sequence": lambda torch: torch.nn.GRU(3, 4)(torch.zeros(0, 2, 3)),
    "dtype": lambda torch: torch.nn.GRU(3, 4)(torch.zeros(5, 2, 3, dtype=torch.float64)),
    "integers": lambda torch: torch.nn.GRU(3, 4)(torch.zeros(5, 2, 3, dtype=torch.int64)),
    "h": lambda torch: torch.nn.LSTM(3, 4)(torch.zeros(5, 2, 3), zeros(torch, (2, 2, 4), (1, 2, 4))),
    "c": lambda torch: torch.nn.LSTM(3, 4, proj_size=2)(torch.zeros(5, 2, 3), zeros(torch, (1, 2, 2), (1, 2, 2))),
    "h, batch first": lambda torch: torch.nn.LSTM(3, 4, batch_first=True)(
        torch.zeros(5, 2, 3), zeros(torch, (1, 2, 4), (1, 2, 4))),
    "h of one sequence, LSTM": lambda torch: torch.nn.LSTM(3, 4)(torch.zeros(5, 2, 3), zeros(torch, (1, 4), (1, 4))),
    "h of many, LSTM": lambda torch: torch.nn.LSTM(3, 4)(torch.zeros(5, 3), zeros(torch, (1, 2, 4), (1, 2, 4))),
    "h of one sequence, GRU": lambda torch: torch.nn.GRU(3, 4)(torch.zeros(5, 2, 3), zeros(torch, (1, 4))),
    "h of many, GRU": lambda torch: torch.nn.GRU(3, 4)(torch.zeros(5, 3), zeros(torch, (1, 2, 4))),
    "h, GRU": lambda torch: torch.nn.GRU(3, 4)(torch.zeros(5, 2, 3), zeros(torch, (1, 3, 4))),
    "cell, features": lambda torch: torch.nn.LSTMCell(3, 4)(torch.zeros(2, 4)),
    "cell, dimensions": lambda torch: torch.nn.GRUCell(3, 4)(torch.zeros(2, 2, 3)),
    "cell, scalar": lambda torch: torch.nn.RNNCell(3, 4)(torch.zeros(())),
    "cell, hidden dimensions": lambda torch: torch.nn.RNNCell(3, 4)(torch.zeros(3), torch.zeros(1, 1, 4)),
    "cell, c dimensions": lambda torch: torch.nn.LSTMCell(3, 4)(torch.zeros(2, 3), zeros(torch, (2, 4), (1, 2, 4))),
    "cell, batch": lambda torch: torch.nn.LSTMCell(3, 4)(torch.zeros(2, 3), zeros(torch, (3, 4), (2, 4))),
    "cell, c": lambda torch: torch.nn.LSTMCell(3, 4)(torch.zeros(2, 3), zeros(torch, (2, 4), (2, 5))),
    "cell, batched h": lambda torch: torch.nn.LSTMCell(3, 4)(torch.zeros(3), zeros(torch, (1, 4), (1, 4))),
    "cell, nonlinearity": lambda torch: torch.nn.RNNCell(3, 4, nonlinearity="x")(torch.zeros(2, 3)),
}


@pytest.mark.parametrize("case", WRONG)
def test_errors_are_pytorchs(case):
    assert_same(WRONG[case])
    with pytest.raises((RuntimeError, TypeError, ValueError)):
        WRONG[case](flamework)


def test_dropout_of_a_single_layer_warns():
    with pytest.warns(UserWarning, match="non-zero dropout expects num_layers greater than 1, but got dropout=0.1"):
        flamework.nn.LSTM(3, 4, dropout=0.1)


def test_names_of_all_weights():
    layer = flamework.nn.LSTM(3, 4, 2, bidirectional=True, proj_size=2)
    assert [len(weights) for weights in layer.all_weights] == [5, 5, 5, 5]
    assert [name for name, _ in layer.named_parameters()][4:7] == [
        "weight_hr_l0", "weight_ih_l0_reverse", "weight_hh_l0_reverse"]
    assert layer.flatten_parameters() is None


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def lstm_by_numpy(x, h, c, w_ih, w_hh, b_ih, b_hh):
    outputs = []
    for step in x:
        i, f, g, o = np.split(step @ w_ih.T + b_ih + h @ w_hh.T + b_hh, 4, axis=-1)
        c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
        h = sigmoid(o) * np.tanh(c)
        outputs.append(h)
    return np.stack(outputs), h, c


def gru_by_numpy(x, h, w_ih, w_hh, b_ih, b_hh):
    outputs = []
    for step in x:
        (ri, zi, ni), (rh, zh, nh) = np.split(step @ w_ih.T + b_ih, 3, -1), np.split(h @ w_hh.T + b_hh, 3, -1)
        z, n = sigmoid(zi + zh), np.tanh(ni + sigmoid(ri + rh) * nh)
        h = (1 - z) * n + z * h
        outputs.append(h)
    return np.stack(outputs), h


@pytest.mark.parametrize(("mode", "formula"), [("LSTM", lstm_by_numpy), ("GRU", gru_by_numpy)])
def test_the_recurrence_is_its_formula(mode, formula):
    _, x, states = case_inputs(mode, "float64")
    layer = getattr(flamework.nn, mode)(3, 4, dtype=flamework.float64)
    hx = tuple(map(flamework.tensor, states))
    results = flat(layer(flamework.tensor(x), hx if mode == "LSTM" else hx[0]))
    expected = formula(x, *(state[0] for state in states), *(w.detach().numpy() for w in layer.parameters()))
    for result, wanted in zip(results, expected):
        np.testing.assert_allclose(result.detach().numpy().reshape(wanted.shape), wanted, rtol=1e-12)


@pytest.mark.parametrize(("layer", "cell"), [("RNN", "RNNCell"), ("LSTM", "LSTMCell"), ("GRU", "GRUCell")])
def test_a_cell_is_one_step_of_its_layer(layer, cell):
    whole, step = getattr(flamework.nn, layer)(3, 4), getattr(flamework.nn, cell)(3, 4)
    for parameter, value in zip(step.parameters(), whole.parameters()):
        parameter.data.copy_(value)
    x, state, outputs = flamework.randn(5, 2, 3), None, []
    for part in x.unbind(0):
        state = step(part, state)
        outputs.append(state[0] if layer == "LSTM" else state)
    np.testing.assert_allclose(whole(x)[0].detach(), flamework.stack(outputs).detach(), rtol=1e-5, atol=1e-6)


def test_the_second_direction_is_the_first_on_the_reversed_sequence():
    layer = flamework.nn.GRU(3, 4, bidirectional=True)
    for name, parameter in layer.named_parameters():
        if name.endswith("_reverse"):
            parameter.data.copy_(layer.get_parameter(name.removesuffix("_reverse")))
    x = flamework.randn(5, 2, 3)
    output, end = layer(x)
    turned, _ = layer(x.flip(0))
    np.testing.assert_array_equal(output[..., 4:].detach(), turned.flip(0)[..., :4].detach())
    np.testing.assert_array_equal(end[1].detach(), output[0, :, 4:].detach())


def test_dropout_between_layers_follows_training():
    layer = flamework.nn.LSTM(3, 4, 2, dropout=0.5)
    x = flamework.randn(5, 2, 3)
    first, second = (layer(x)[0].detach().numpy() for _ in range(2))
    assert (first != second).any()
    layer.eval()
    first, second = (layer(x)[0].detach().numpy() for _ in range(2))
    np.testing.assert_array_equal(first, second)


def test_the_inputs_product_is_one_for_all_steps():
    layer, x = flamework.nn.RNN(3, 4), flamework.randn(7, 2, 3)
    flamework.realize(x, *layer.parameters())
    dots = [kernel for kernel in flamework.explain(layer)(x).kernels if kernel.kind == "dot"]
    assert len(dots) == 1 + 7


@pytest.mark.parametrize("kind", ["RNN", "LSTM", "GRU"])
def test_compiled_training_is_the_same_as_line_by_line(kind):
    def trained(decorate):
        flamework.manual_seed(0)
        layer = getattr(flamework.nn, kind)(3, 4, 2, batch_first=True)
        optimizer = flamework.optim.SGD(layer.parameters(), lr=0.1)
        x = flamework.randn(2, 5, 3)

        @decorate
        def step(x):
            optimizer.zero_grad()
            loss = layer(x)[0].square().mean()
            loss.backward()
            optimizer.step()
            return loss
        losses = [step(x).item() for _ in range(4)]
        assert losses[-1] < losses[0]
        return losses, [p.detach().numpy() for p in layer.parameters()]
    compiled, lazy = trained(flamework.compile), trained(lambda function: function)
    assert compiled[0] == lazy[0]
    for a, b in zip(compiled[1], lazy[1]):
        np.testing.assert_array_equal(a, b)
