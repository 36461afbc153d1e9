"""What a workload is, and how its formulas become programs of each contestant.

A workload makes its inputs with NumPy, so that every contestant computes the same numbers and the harness can compare
their answers. Its programs are functions of a module: the PyTorch one runs under PyTorch and under Flamework without
a change, and one formula in NumPy's spelling runs under NumPy, JAX, MLX and tinygrad. A program is built once (which
copies the inputs) and returns a function without arguments, a *step*, whose result is every array that the step has
to finish, one number or array that tells whether it computed the right thing at the front.

In: formulas. Out: `Workload` and builders of programs. Read next: `workloads.py`, for what is measured.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

ADAM = {"lr": 1e-3, "betas": (0.9, 0.999), "eps": 1e-8}


@dataclass(frozen=True)
class Workload:
    """One row of the results.

    `programs` has a builder for each library that has a version: `programs["torch"](torch, whole, part, *inputs)`
    builds the PyTorch program, `programs["jax"](jax, *inputs)` the one of JAX, and so on. `whole` decorates the whole
    step and `part` its differentiable and its updating part separately: a compiler gets whichever its own
    documentation recommends.
    """

    name: str
    text: str
    size: dict[str, Any]
    tiny: dict[str, Any]  # the same at a size for tests
    inputs: Callable[..., tuple[np.ndarray, ...]]
    programs: dict[str, Callable[..., Callable[[], Any]]]
    traffic: Callable[..., float] | None = None  # the least bytes to move: inputs once, outputs once
    arithmetic: Callable[..., float] | None = None  # the multiplications and additions of its matrix products
    grows: str = ""  # the size to which its work is proportional
    operations: int = 1  # times are divided by this
    finishes: bool = True  # whether the time covers finishing the step's results, or only issuing its operations
    tolerance: float = 1e-4  # relative, of answers that are right
    compiles: bool = True  # whether it is one program: its operations are not timed singly, its shapes need no values

    def limit(self, memory_rate: float, arithmetic_rate: float, tiny: bool = False) -> tuple[float, str] | None:
        """The seconds below which no step can get at these rates, and which of memory and arithmetic sets them."""
        size = self.tiny if tiny else self.size
        limits = []
        if self.traffic:
            limits.append((self.traffic(**size) / memory_rate, "memory"))
        if self.arithmetic:
            limits.append((self.arithmetic(**size) / arithmetic_rate, "arithmetic"))
        return max(limits, default=None)


def normal(*shapes: tuple[int, ...], dtype: str = "float32") -> tuple[np.ndarray, ...]:
    """Numbers from the standard normal distribution, the same at each call."""
    rng = np.random.default_rng(0)
    return tuple(rng.standard_normal(shape, dtype=np.float32).astype(dtype, copy=False) for shape in shapes)


# One spelling for the libraries that follow NumPy.


class Spelling:
    """A library's functions under NumPy's names, and names of its own where it differs."""

    def __init__(self, module: Any, **own: Callable):
        self._module = module
        vars(self).update(own)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._module, name)


class Methods:
    """Functions under NumPy's names, of a library whose tensors have them as methods and which says `keepdim`."""

    def __init__(self, **own: Callable):
        vars(self).update(own)

    def __getattr__(self, name: str) -> Callable:
        def function(x, *arguments, keepdims=None, **named):
            if keepdims is not None:
                named["keepdim"] = keepdims
            return getattr(x, name)(*arguments, **named)

        return function


def softmax_by_hand(xp, x):
    e = xp.exp(x - xp.max(x, axis=-1, keepdims=True))
    return e / xp.sum(e, axis=-1, keepdims=True)


def log_softmax_by_hand(xp, x):
    x = x - xp.max(x, axis=-1, keepdims=True)
    return x - xp.log(xp.sum(xp.exp(x), axis=-1, keepdims=True))


def layer_norm_by_hand(xp, x, weight, bias):
    centred = x - xp.mean(x, axis=-1, keepdims=True)
    variance = xp.mean(centred * centred, axis=-1, keepdims=True)
    return centred / xp.sqrt(variance + 1e-5) * weight + bias


def rms_norm_by_hand(xp, x, weight):
    return x / xp.sqrt(xp.mean(x * x, axis=-1, keepdims=True) + 1e-5) * weight


def _numpy_spelling(numpy):
    """NumPy's functions, or CuPy's, whose special functions are a module of its own."""
    special = importlib.import_module("cupyx.scipy.special" if numpy.__name__ == "cupy" else "scipy.special")
    return Spelling(
        numpy, erf=special.erf,
        softmax=lambda x: softmax_by_hand(numpy, x), log_softmax=lambda x: log_softmax_by_hand(numpy, x),
        layer_norm=lambda x, w, b: layer_norm_by_hand(numpy, x, w, b),
        rms_norm=lambda x, w: rms_norm_by_hand(numpy, x, w),
        top=lambda x, k: -numpy.sort(numpy.partition(-x, k)[:k]),
    )


def jax_spelling(jax):
    """JAX's functions under NumPy's names."""
    jnp = jax.numpy
    return Spelling(
        jnp, erf=jax.scipy.special.erf, softmax=jax.nn.softmax, log_softmax=jax.nn.log_softmax,
        layer_norm=lambda x, w, b: layer_norm_by_hand(jnp, x, w, b),
        rms_norm=lambda x, w: rms_norm_by_hand(jnp, x, w),
        top=lambda x, k: jax.lax.top_k(x, k)[0],
    )


def mlx_spelling(mx):
    """MLX's functions under NumPy's names."""
    return Spelling(
        mx, softmax=lambda x: mx.softmax(x, axis=-1), log_softmax=lambda x: x - mx.logsumexp(x, axis=-1, keepdims=True),
        layer_norm=lambda x, w, b: mx.fast.layer_norm(x, w, b, 1e-5),
        rms_norm=lambda x, w: mx.fast.rms_norm(x, w, 1e-5),
        top=lambda x, k: mx.sort(mx.topk(x, k))[::-1],
    )


def mlx_array(mx, array):
    """MLX makes float32 of NumPy's float64 unless it is told."""
    return mx.array(array, dtype=mx.float64 if array.dtype == np.float64 else None)


def _tinygrad_spelling():
    by_name = Methods()
    return Methods(
        softmax=lambda x: x.softmax(-1), log_softmax=lambda x: x.log_softmax(-1),
        layer_norm=lambda x, w, b: x.layernorm() * w + b, rms_norm=lambda x, w: rms_norm_by_hand(by_name, x, w),
        var=lambda x, axis=None: x.var(axis, correction=0),
    )


# Builders for one formula.


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


def jax_program(function, compiled=True):
    """The builder of a program that calls `function(jax.numpy, *arrays)` at each step."""

    def build(jax, *inputs):
        arrays = [jax.numpy.asarray(array) for array in inputs]
        xp = jax_spelling(jax)

        def program(*arrays):
            return function(xp, *arrays)

        program = jax.jit(program) if compiled else program
        return lambda: program(*arrays)

    return build


def mlx_program(function, compiled=True):
    """The builder of a program that calls `function(mlx.core, *arrays)` at each step."""

    def build(mx, *inputs):
        arrays = [mlx_array(mx, array) for array in inputs]
        xp = mlx_spelling(mx)

        def program(*arrays):
            return function(xp, *arrays)

        program = mx.compile(program) if compiled else program
        return lambda: program(*arrays)

    return build


def tinygrad_program(function):
    """The builder of a program that calls `function(tinygrad, *tensors)`, captured, at each step."""

    def build(tinygrad, *inputs):
        tensors = [tinygrad.Tensor(array).realize() for array in inputs]
        xp = _tinygrad_spelling()

        @tinygrad.TinyJit
        def program(*tensors):
            results = function(xp, *tensors)
            results = results if isinstance(results, tuple) else (results,)
            tinygrad.Tensor.realize(*results)
            return results

        return lambda: program(*tensors)

    return build


def numpy_program(function):
    """The builder of a program that calls `function(numpy, *arrays)` at each step."""

    def build(numpy, *inputs):
        xp = _numpy_spelling(numpy)
        return lambda: function(xp, *inputs)

    return build


def numexpr_program(expression, names="ab"):
    """The builder of a program that evaluates an expression of the inputs, called `names` in their order."""

    def build(numexpr, *inputs):
        variables = dict(zip(names, inputs))
        return lambda: numexpr.evaluate(expression, local_dict=variables)

    return build


ARRAY_PROGRAMS = {"numpy": numpy_program, "jax": jax_program, "mlx": mlx_program, "tinygrad": tinygrad_program}


def array_programs(torch, array, leave_out=(), numexpr=None):
    """The programs of one formula: `torch` for PyTorch's API, `array` for the libraries that follow NumPy."""
    programs = {"torch": torch_program(torch)}
    programs |= {name: make(array) for name, make in ARRAY_PROGRAMS.items() if name not in leave_out}
    if numexpr:
        programs["numexpr"] = numexpr_program(numexpr)
    return programs


# Builders for gradients: the first input is the cotangent, and a step returns the results, then the gradients.


def torch_gradients(function, wanted):
    """The gradients of `function(torch, *tensors)` with respect to the first `wanted` tensors."""

    def build(torch, whole, part, cotangent, *inputs):
        tensors = [torch.tensor(array) for array in inputs]
        for tensor in tensors[:wanted]:
            tensor.requires_grad_()
        cotangent = torch.tensor(cotangent)

        @part
        def forward(*tensors):
            return function(torch, *tensors)

        @whole
        def step(cotangent, *tensors):
            result = forward(*tensors)
            return (result, *torch.autograd.grad(result, tensors[:wanted], cotangent))

        return lambda: step(cotangent, *tensors)

    return build


def _vjp_program(transform, function, wanted):
    def program(cotangent, *arrays):
        def of_wanted(*changing):
            return function(*changing, *arrays[wanted:])

        return transform(of_wanted, arrays[:wanted], cotangent)

    return program


def jax_gradients(function, wanted):
    """The same for `function(jax.numpy, *arrays)`."""

    def build(jax, *inputs):
        arrays = [jax.numpy.asarray(array) for array in inputs]
        xp = jax_spelling(jax)

        def transform(of_wanted, primals, cotangent):
            result, pull = jax.vjp(of_wanted, *primals)
            return (result, *pull(cotangent))

        program = jax.jit(_vjp_program(transform, lambda *arrays: function(xp, *arrays), wanted))
        return lambda: program(*arrays)

    return build


def mlx_gradients(function, wanted):
    """The same for `function(mlx.core, *arrays)`."""

    def build(mx, *inputs):
        arrays = [mlx_array(mx, array) for array in inputs]
        xp = mlx_spelling(mx)

        def transform(of_wanted, primals, cotangent):
            (result,), gradients = mx.vjp(of_wanted, list(primals), [cotangent])
            return (result, *gradients)

        program = mx.compile(_vjp_program(transform, lambda *arrays: function(xp, *arrays), wanted))
        return lambda: program(*arrays)

    return build


def gradient_programs(torch, array, wanted, leave_out=()):
    """The programs of a formula and its gradients."""
    programs = {"torch": torch_gradients(torch, wanted), "jax": jax_gradients(array, wanted),
                "mlx": mlx_gradients(array, wanted)}
    return {name: program for name, program in programs.items() if name not in leave_out}


# Builders for training: the first inputs are data, the others are parameters. A step returns the loss first.


def sgd(torch, parameters):
    return torch.optim.SGD(parameters, lr=0.1)


def adam(torch, parameters):
    return torch.optim.Adam(parameters, **ADAM)


def torch_training(loss_of, data=2, optimizer=adam):
    """Steps on `loss_of(torch, parameters, *data)`."""

    def build(torch, whole, part, *inputs):
        parameters = [torch.nn.Parameter(torch.tensor(array)) for array in inputs[data:]]
        return torch_steps(torch, whole, part, optimizer(torch, parameters), parameters,
                           lambda *batch: loss_of(torch, parameters, *batch), inputs[:data])

    return build


def torch_steps(torch, whole, part, optimizer, parameters, loss_of, batch):
    """The step of a training loop: gradients to zero, loss, backward, update."""
    batch = [torch.tensor(array) for array in batch]
    loss_of = part(loss_of)

    @part
    def update():
        optimizer.step()

    @whole
    def train(*batch):
        optimizer.zero_grad()
        loss = loss_of(*batch)
        loss.backward()
        update()
        return loss

    return lambda: (train(*batch), *parameters)


def array_adam(xp, parameters, gradients, state):
    """Adam's update of lists of arrays, as PyTorch's documentation states it."""
    (beta1, beta2), (first, second, step) = ADAM["betas"], state
    step = step + 1
    first = [beta1 * m + (1 - beta1) * g for m, g in zip(first, gradients)]
    second = [beta2 * v + (1 - beta2) * g * g for v, g in zip(second, gradients)]
    scale, correction = ADAM["lr"] / (1 - beta1**step), 1 - beta2**step
    parameters = [p - scale * m / (xp.sqrt(v / correction) + ADAM["eps"])
                  for p, m, v in zip(parameters, first, second)]
    return parameters, (first, second, step)


def array_sgd(xp, parameters, gradients, state):
    """The update of `sgd`."""
    return [p - 0.1 * g for p, g in zip(parameters, gradients)], state


def jax_training(loss_of, data=2, update=array_adam):
    """Steps on `loss_of(jax.numpy, parameters, *data)`, with the state threaded through one compiled function."""

    def build(jax, *inputs):
        xp = jax_spelling(jax)

        def train(parameters, state, *batch):
            loss, gradients = jax.value_and_grad(lambda parameters: loss_of(xp, parameters, *batch))(parameters)
            return loss, update(xp, parameters, gradients, state)

        return array_steps(jax.numpy, jax.jit(train, donate_argnums=(0, 1)), inputs[:data], inputs[data:])

    return build


def mlx_training(loss_of, data=2, update=array_adam):
    """Steps on `loss_of(mlx.core, parameters, *data)`."""

    def build(mx, *inputs):
        xp = mlx_spelling(mx)
        gradients_of = mx.value_and_grad(lambda parameters, *batch: loss_of(xp, parameters, *batch))

        def train(parameters, state, *batch):
            loss, gradients = gradients_of(parameters, *batch)
            return loss, update(xp, parameters, gradients, state)

        return array_steps(mx, mx.compile(train), inputs[:data], inputs[data:])

    return build


def array_steps(xp, train, batch, parameters):
    """A step which threads parameters and the optimizer's state through `train(parameters, state, *batch)`."""
    batch = [xp.array(array) for array in batch]
    parameters = [xp.array(array) for array in parameters]
    state = ([xp.zeros_like(p) for p in parameters], [xp.zeros_like(p) for p in parameters], xp.array(0.0))

    def step():
        nonlocal parameters, state
        loss, (parameters, state) = train(parameters, state, *batch)
        return (loss, *parameters)

    return step


def training_programs(torch, array=None, data=2, optimizer="adam", leave_out=()):
    """The programs of training steps on a loss."""
    programs = {"torch": torch_training(torch, data, {"adam": adam, "sgd": sgd}[optimizer])}
    if array:
        update = {"adam": array_adam, "sgd": array_sgd}[optimizer]
        programs |= {"jax": jax_training(array, data, update), "mlx": mlx_training(array, data, update)}
    return {name: program for name, program in programs.items() if name not in leave_out}
