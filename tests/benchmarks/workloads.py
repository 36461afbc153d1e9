"""What is measured: small programs, each written for PyTorch's API, for JAX and for NumPy.

A workload makes its inputs with NumPy, so that every contestant computes the same numbers and the harness can compare
their answers. Its programs are functions of a module: the PyTorch one runs under PyTorch and under Flamework without
a change. A program is built once (which copies the inputs) and returns a function without arguments, a *step*, whose
result is every array that the step has to finish.

In: sizes. Out: `WORKLOADS`. Read next: `worker.py`, which times one step, and `run.py`, which lets contestants race.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

ADAM = {"lr": 1e-3, "betas": (0.9, 0.999), "eps": 1e-8}


@dataclass(frozen=True)
class Workload:
    """One row of the results.

    `torch(torch, whole, part, *inputs)` builds the PyTorch program. `whole` decorates the whole step and `part` its
    differentiable and its updating part separately: a compiler gets whichever its own documentation recommends.
    """

    name: str
    text: str
    size: dict[str, Any]
    tiny: dict[str, Any]  # the same at a size for tests
    inputs: Callable[..., tuple[np.ndarray, ...]]
    torch: Callable[..., Callable[[], Any]]
    jax: Callable[..., Callable[[], Any]] | None = None
    numpy: Callable[..., Callable[[], Any]] | None = None
    traffic: Callable[..., int] | None = None  # the least bytes to move: inputs once, outputs once
    operations: int = 1  # times are divided by this
    finishes: bool = True  # whether the time covers finishing the step's results, or only issuing its operations


def normal(*shapes: tuple[int, ...]) -> tuple[np.ndarray, ...]:
    """Float32 arrays of numbers from the standard normal distribution, the same at each call."""
    rng = np.random.default_rng(0)
    return tuple(rng.standard_normal(shape, dtype=np.float32) for shape in shapes)


def torch_program(function):
    """The builder of a program that calls `function(torch, *tensors)` at each step."""

    def build(torch, whole, part, *inputs):
        tensors = [torch.tensor(array) for array in inputs]

        @whole
        @part
        def program(*tensors):
            return function(torch, *tensors)

        return lambda: program(*tensors)

    return build


def jax_program(function):
    """The builder of a program that calls `function(jax.numpy, *arrays)`, compiled, at each step."""

    def build(jax, *inputs):
        arrays = [jax.numpy.asarray(array) for array in inputs]
        compiled = jax.jit(partial(function, jax.numpy))
        return lambda: compiled(*arrays)

    return build


def numpy_program(function):
    """The builder of a program that calls `function(numpy, *arrays)` at each step."""

    def build(numpy, *inputs):
        return lambda: function(numpy, *inputs)

    return build


def jax_many_adds(jax, *inputs):
    """Not compiled: what is measured is the call of one operation."""
    arrays = [jax.numpy.asarray(array) for array in inputs]
    return lambda: many_adds(jax.numpy, *arrays)


# Formulas. Those whose spelling is the same everywhere take the module as `xp`.


def gelu_chain(xp, x, w):
    y = x * w + 0.5
    return 0.5 * y * (1.0 + xp.tanh(0.7978845608028654 * (y + 0.044715 * y * y * y)))


def torch_axpby_relu(torch, a, b):
    return torch.relu(2.5 * a + b * b - 1.0)


def array_axpby_relu(xp, a, b):
    return xp.maximum(2.5 * a + b * b - 1.0, 0.0)


def torch_softmax(torch, x):
    return torch.softmax(x, dim=-1)


def torch_softmax_by_hand(torch, x):
    e = torch.exp(x - x.amax(dim=-1, keepdim=True))
    return e / e.sum(dim=-1, keepdim=True)


def array_softmax_by_hand(xp, x):
    e = xp.exp(x - x.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def jax_softmax(jax, x):
    array = jax.numpy.asarray(x)
    compiled = jax.jit(partial(jax.nn.softmax, axis=-1))
    return lambda: compiled(array)


def torch_layer_norm(torch, x, weight, bias):
    return torch.nn.functional.layer_norm(x, (x.shape[-1],), weight, bias)


def array_layer_norm(xp, x, weight, bias):
    centred = x - x.mean(axis=-1, keepdims=True)
    variance = (centred * centred).mean(axis=-1, keepdims=True)
    return centred / xp.sqrt(variance + 1e-5) * weight + bias


def sum_sq_diff(xp, a, b):
    return ((a - b) ** 2).sum()


def small_ops(xp, x, a, b, c):
    for _ in range(50):
        x = xp.minimum(x * a + b, c)
    return x


def torch_normalise_in_turns(torch, x):
    for i in range(20):
        x = x / x.sum(dim=i % 2, keepdim=True)
    return x


def array_normalise_in_turns(xp, x):
    for i in range(20):
        x = x / x.sum(axis=i % 2, keepdims=True)
    return x


def many_adds(xp, x, a):
    for _ in range(200):
        x = x + a
    return x


# Training.


def mlp_inputs(batch, layers):
    """A batch of inputs, its labels, then weight and bias of each layer."""
    rng = np.random.default_rng(0)
    arrays = [rng.standard_normal((batch, layers[0]), dtype=np.float32), rng.integers(0, layers[-1], batch)]
    for fan_in, fan_out in zip(layers, layers[1:]):
        arrays.append(rng.standard_normal((fan_out, fan_in), dtype=np.float32) / np.float32(fan_in**0.5))
        arrays.append(np.zeros(fan_out, np.float32))
    return tuple(arrays)


def mlp_torch(torch, whole, part, x, y, *weights):
    nn, functional = torch.nn, torch.nn.functional
    model = nn.Sequential()
    for weight, bias in zip(weights[::2], weights[1::2]):
        if len(model):
            model.append(nn.ReLU())
        layer = nn.Linear(weight.shape[1], weight.shape[0])
        layer.weight, layer.bias = nn.Parameter(torch.tensor(weight)), nn.Parameter(torch.tensor(bias))
        model.append(layer)
    x, y = torch.tensor(x), torch.tensor(y)
    parameters = list(model.parameters())
    optimizer = torch.optim.Adam(parameters, **ADAM)

    @part
    def loss_of(x, y):
        return functional.cross_entropy(model(x), y)

    @part
    def update():
        optimizer.step()

    @whole
    def train(x, y):
        optimizer.zero_grad()
        loss = loss_of(x, y)
        loss.backward()
        update()
        return loss

    return lambda: (train(x, y), *parameters)


def jax_adam(jnp, parameters, gradients, first, second, step):
    """Adam's update of lists of arrays, as PyTorch's documentation states it."""
    (beta1, beta2), step = ADAM["betas"], step + 1
    first = [beta1 * m + (1 - beta1) * g for m, g in zip(first, gradients)]
    second = [beta2 * v + (1 - beta2) * g * g for v, g in zip(second, gradients)]
    scale = ADAM["lr"] / (1 - beta1**step)
    parameters = [
        p - scale * m / (jnp.sqrt(v / (1 - beta2**step)) + ADAM["eps"])
        for p, m, v in zip(parameters, first, second)
    ]
    return parameters, first, second, step


def mlp_jax(jax, x, y, *weights):
    jnp = jax.numpy
    x, y = jnp.asarray(x), jnp.asarray(y)

    def loss_of(parameters, x, y):
        for i in range(0, len(parameters), 2):
            x = jax.nn.relu(x) if i else x
            x = x @ parameters[i].T + parameters[i + 1]
        return -jnp.take_along_axis(jax.nn.log_softmax(x), y[:, None], axis=1).mean()

    def train(state, x, y):
        parameters, first, second, step = state
        loss, gradients = jax.value_and_grad(loss_of)(parameters, x, y)
        return loss, jax_adam(jnp, parameters, gradients, first, second, step)

    return _jax_steps(jax, train, [jnp.asarray(weight) for weight in weights], x, y)


def adam_torch(torch, whole, part, value, gradient):
    parameter = torch.nn.Parameter(torch.tensor(value))
    parameter.grad = torch.tensor(gradient)
    optimizer = torch.optim.Adam([parameter], **ADAM)

    @whole
    @part
    def update():
        optimizer.step()

    def step():
        update()
        return parameter

    return step


def adam_jax(jax, value, gradient):
    jnp = jax.numpy

    def update(state, gradient):
        parameters, first, second, step = state
        return None, jax_adam(jnp, parameters, [gradient], first, second, step)

    return _jax_steps(jax, update, [jnp.asarray(value)], jnp.asarray(gradient))


def _jax_steps(jax, function, parameters, *inputs):
    """A step which threads Adam's state through the compiled `function(state, *inputs) -> (result, state)`."""
    zeros = jax.numpy.zeros_like
    state = (parameters, [zeros(p) for p in parameters], [zeros(p) for p in parameters], 0.0)
    compiled = jax.jit(function, donate_argnums=0)

    def step():
        nonlocal state
        result, state = compiled(state, *inputs)
        return (*state[0],) if result is None else (result, *state[0])

    return step


def _mlp(name, text, batch, layers):
    return Workload(name, text, {"batch": batch, "layers": layers}, {"batch": 8, "layers": (6, 5, 4)},
                    mlp_inputs, mlp_torch, mlp_jax)


def _array(name, text, size, tiny, inputs, torch, array, jax=None, traffic=None, **more):
    """A workload whose NumPy and JAX programs are one formula, unless JAX has a name for it."""
    return Workload(name, text, size, tiny, inputs, torch_program(torch), jax or jax_program(array),
                    numpy_program(array), traffic, **more)


def two_long(n):
    return normal((n,), (n,))


def one_matrix(rows, columns):
    return normal((rows, columns))


def layer_norm_inputs(rows, columns):
    return normal((rows, columns), (columns,), (columns,))


def four_short(n):
    return normal((n,), (n,), (n,), (n,))


def positive_square(n):
    return (np.abs(normal((n, n))[0]) + 1,)


def three_long_bytes(n):
    return 12 * n


def two_matrices_bytes(rows, columns):
    return 8 * rows * columns


LONG, LONG_TINY = {"n": 10_000_000}, {"n": 1_000}
SQUARE, SQUARE_TINY = {"rows": 4096, "columns": 4096}, {"rows": 8, "columns": 16}

ALL = [
    _array("gelu_chain_10m", "x*w + 0.5 through the GELU by tanh, written out, 10 million float32",
           LONG, LONG_TINY, two_long, gelu_chain, gelu_chain, traffic=three_long_bytes),
    _array("axpby_relu_10m", "relu(2.5*a + b*b - 1), 10 million float32",
           LONG, LONG_TINY, two_long, torch_axpby_relu, array_axpby_relu, traffic=three_long_bytes),
    _array("softmax_4096", "softmax by name over the rows of 4096 x 4096 float32", SQUARE, SQUARE_TINY, one_matrix,
           torch_softmax, array_softmax_by_hand, jax_softmax, traffic=two_matrices_bytes),
    _array("softmax_handwritten_4096", "the same softmax written out", SQUARE, SQUARE_TINY, one_matrix,
           torch_softmax_by_hand, array_softmax_by_hand, traffic=two_matrices_bytes),
    _array("layernorm_8192x1024", "layer_norm with weight and bias over the rows of 8192 x 1024 float32",
           {"rows": 8192, "columns": 1024}, SQUARE_TINY, layer_norm_inputs, torch_layer_norm, array_layer_norm,
           traffic=two_matrices_bytes),
    _array("sum_sq_diff_10m", "sum((a - b)**2), 10 million float32",
           LONG, LONG_TINY, two_long, sum_sq_diff, sum_sq_diff, traffic=lambda n: 8 * n),
    _array("small_ops_100x1000", "150 dependent operations on 1,000 float32",
           {"n": 1_000}, {"n": 10}, four_short, small_ops, small_ops),
    _mlp("mlp_train_small", "784-64-64-10, cross-entropy, Adam, batch 32: the whole step", 32, (784, 64, 64, 10)),
    _mlp("mlp_train_256x512", "784-512-512-10, cross-entropy, Adam, batch 256: the whole step",
         256, (784, 512, 512, 10)),
    Workload("adam_step_10m", "Adam's step on one tensor of 10 million float32", LONG, LONG_TINY,
             two_long, adam_torch, adam_jax, traffic=lambda n: 28 * n),
    _mlp("digits_step", "64-256-128-10, cross-entropy, Adam, batch 64: as examples/digits.py, without its dropout",
         64, (64, 256, 128, 10)),
    _array("replay_20_kernels", "a 32 x 32 matrix divided by its column sums and its row sums in turn, 20 times",
           {"n": 32}, {"n": 4}, positive_square, torch_normalise_in_turns, array_normalise_in_turns),
    _array("record_operation", "issuing one of 200 dependent additions of 1,000 float32, not waiting for results",
           {"n": 1_000}, {"n": 10}, two_long, many_adds, many_adds, jax_many_adds,
           operations=200, finishes=False),
]
WORKLOADS = {workload.name: workload for workload in ALL}
