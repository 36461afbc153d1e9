"""Chains of elementwise operations on long arrays, and short arrays on which issuing operations is the work.

Out: `ELEMENTWISE`, `SMALL`. Read next: `workloads_reductions.py`.
"""

from __future__ import annotations

import numpy as np
from workload import Workload, array_programs, jax_program, mlx_program, normal, numpy_program, torch_program

LONG, LONG_TINY = {"n": 10_000_000, "dtype": "float32"}, {"n": 1_000, "dtype": "float32"}
DOUBLE, DOUBLE_TINY = {"n": 4_000_000, "dtype": "float64"}, {"n": 1_000, "dtype": "float64"}
HALF = 0.7071067811865476  # of which erf makes the normal distribution


def two_long(n, dtype="float32"):
    return normal((n,), (n,), dtype=dtype)


def three_long_bytes(n, dtype="float32"):
    return 3 * np.dtype(dtype).itemsize * n


def gelu_chain(xp, x, w):
    y = x * w + 0.5
    return 0.5 * y * (1.0 + xp.tanh(0.7978845608028654 * (y + 0.044715 * y * y * y)))


def torch_axpby_relu(torch, a, b):
    return torch.relu(2.5 * a + b * b - 1.0)


def array_axpby_relu(xp, a, b):
    return xp.maximum(2.5 * a + b * b - 1.0, 0.0)


def option_inputs(n, dtype="float32"):
    """Prices of the asset, strikes, and years."""
    prices, strikes, years = (np.abs(a) for a in normal((n,), (n,), (n,), dtype=dtype))
    return prices * 10 + 10, strikes * 10 + 10, years + dtype_of(dtype)(0.25)


def dtype_of(name):
    return np.dtype(name).type


def black_scholes(xp, price, strike, years):
    rate, volatility = 0.02, 0.3
    spread = volatility * xp.sqrt(years)
    d1 = (xp.log(price / strike) + (rate + 0.5 * volatility * volatility) * years) / spread
    d2 = d1 - spread
    cdf1, cdf2 = 0.5 + 0.5 * xp.erf(d1 * HALF), 0.5 + 0.5 * xp.erf(d2 * HALF)
    return price * cdf1 - strike * xp.exp(-rate * years) * cdf2


def _chain(name, text, size, tiny, inputs, torch, array, numexpr=None, arrays=3):
    return Workload(name, text, size, tiny, inputs, array_programs(torch, array, numexpr=numexpr), grows="n",
                    traffic=lambda n, dtype: arrays * np.dtype(dtype).itemsize * n)


GELU_TEXT = "x*w + 0.5 through the GELU by tanh, written out"
GELU_EXPRESSION = "0.5*(a*b+0.5)*(1+tanh(0.7978845608028654*((a*b+0.5)+0.044715*(a*b+0.5)*(a*b+0.5)*(a*b+0.5))))"
GELU = (two_long, gelu_chain, gelu_chain, GELU_EXPRESSION)
AXPBY = (two_long, torch_axpby_relu, array_axpby_relu, "where(2.5*a + b*b - 1 > 0, 2.5*a + b*b - 1, 0)")

ELEMENTWISE = [
    _chain("gelu_chain_10m", f"{GELU_TEXT}, 10 million float32", LONG, LONG_TINY, *GELU),
    _chain("gelu_chain_4m_f64", f"{GELU_TEXT}, 4 million float64", DOUBLE, DOUBLE_TINY, *GELU),
    _chain("axpby_relu_10m", "relu(2.5*a + b*b - 1), 10 million float32", LONG, LONG_TINY, *AXPBY),
    _chain("axpby_relu_4m_f64", "relu(2.5*a + b*b - 1), 4 million float64", DOUBLE, DOUBLE_TINY, *AXPBY),
    _chain("black_scholes_4m", "price of a call by Black and Scholes (log, sqrt, exp, erf), 4 million float32",
           {"n": 4_000_000, "dtype": "float32"}, LONG_TINY, option_inputs, black_scholes, black_scholes, arrays=4),
    _chain("black_scholes_4m_f64", "the same in float64", DOUBLE, DOUBLE_TINY, option_inputs, black_scholes,
           black_scholes, arrays=4),
]


def four_short(n):
    return normal((n,), (n,), (n,), (n,))


def small_ops(xp, x, a, b, c):
    for _ in range(50):
        x = xp.minimum(x * a + b, c)
    return x


def positive_square(n):
    return (np.abs(normal((n, n))[0]) + 1,)


def torch_normalise_in_turns(torch, x):
    for i in range(20):
        x = x / x.sum(dim=i % 2, keepdim=True)
    return x


def array_normalise_in_turns(xp, x):
    for i in range(20):
        x = x / xp.sum(x, axis=i % 2, keepdims=True)
    return x


def many_adds(xp, x, a):
    for _ in range(200):
        x = x + a
    return x


SMALL = [
    Workload("small_ops_100x1000", "150 dependent operations on 1,000 float32",
             {"n": 1_000}, {"n": 10}, four_short, array_programs(small_ops, small_ops), grows="n"),
    Workload("replay_20_kernels", "a 32 x 32 matrix divided by its column sums and its row sums in turn, 20 times",
             {"n": 32}, {"n": 4}, positive_square,
             array_programs(torch_normalise_in_turns, array_normalise_in_turns)),
    # Not compiled: what is measured is the call of one operation.
    Workload("record_operation", "issuing one of 200 dependent additions of 1,000 float32, not waiting for results",
             {"n": 1_000}, {"n": 10}, two_long,
             {"torch": torch_program(many_adds), "numpy": numpy_program(many_adds),
              "jax": jax_program(many_adds, compiled=False), "mlx": mlx_program(many_adds, compiled=False)},
             operations=200, finishes=False, compiles=False),
]
