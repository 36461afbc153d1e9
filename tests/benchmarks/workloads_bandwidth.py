"""What is to run at the speed of a GPU's memory: long chains and rows of many lengths, in float32 and in 16 bits, and
attention in 16 bits. Large enough that launching and waiting is no part of it; nothing for a CPU.

Out: `BANDWIDTH`. Read next: `workloads.py`.
"""

from __future__ import annotations

from itertools import product

import numpy as np
from workload import Workload, jax_gradients, jax_program, rms_norm_by_hand, torch_gradients, torch_program
from workloads_elementwise import gelu_chain

DTYPES = {"float32": 4, "float16": 2, "bfloat16": 2}
ELEMENTS = 1 << 28
COLUMNS = (1_000, 4_096, 32_000)
SHORT = {"float32": "f32", "float16": "f16", "bfloat16": "bf16"}
#: Answers of 16-bit floats are as exact as these are.
TOLERANCE = {"float32": 1e-4, "float16": 1e-2, "bfloat16": 5e-2}


def repeated(*shapes, dtype=None):
    """Numbers from the standard normal distribution, of which a million are made and repeated."""
    rng = np.random.default_rng(0)
    return tuple(np.resize(rng.standard_normal(1 << 20, dtype=np.float32), shape) for shape in shapes)


def classes_of(rows, columns, dtype=None):
    (x,) = repeated((rows, columns))
    return np.ones((), np.float32), x, np.random.default_rng(1).integers(0, columns, rows)


def in_dtype(builder, dtype):
    """A builder of PyTorch's or JAX's programs, whose floating point inputs are of a dtype when a program is built."""

    def build(module, *arguments):
        decorators = [x for x in arguments if callable(x)]
        arrays = arguments[len(decorators) :]
        if module.__name__ == "jax":
            cast = [x.astype(module.numpy.dtype(dtype)) if x.dtype.kind == "f" else x for x in arrays]
            return builder(module, *decorators, *cast)
        return builder(Casting(module, dtype), *decorators, *arrays)

    return build


class Casting:
    """PyTorch, or Flamework, whose `tensor` makes floating point tensors of a dtype."""

    def __init__(self, torch, dtype):
        self._torch, self._dtype = torch, getattr(torch, dtype)

    def __getattr__(self, name):
        return getattr(self._torch, name)

    def tensor(self, array):
        made = self._torch.tensor(array)
        return made.to(self._dtype) if made.is_floating_point() else made


def torch_softmax(torch, x):
    return torch.softmax(x, -1)


def torch_layer_norm(torch, x, weight, bias):
    return torch.nn.functional.layer_norm(x, (x.shape[-1],), weight, bias)


def torch_rms_norm(torch, x, weight):
    return torch.nn.functional.rms_norm(x, (x.shape[-1],), weight, 1e-5)


def torch_cross_entropy(torch, x, labels):
    return torch.nn.functional.cross_entropy(x, labels)


def array_cross_entropy(xp, x, labels):
    wide = x.astype("float32")
    largest = xp.max(wide, axis=-1, keepdims=True)
    sums = xp.log(xp.sum(xp.exp(wide - largest), axis=-1)) + largest[:, 0]
    return xp.mean(sums - xp.take_along_axis(wide, labels[:, None], axis=1)[:, 0]).astype(x.dtype)


def torch_attention(torch, q, k, v):
    return torch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)


def array_attention(xp, q, k, v):
    import jax

    return jax.nn.dot_product_attention(*(x.swapaxes(1, 2) for x in (q, k, v)), is_causal=True).swapaxes(1, 2)


def _programs(torch, jax, dtype):
    return {"torch": in_dtype(torch, dtype), "jax": in_dtype(jax, dtype)}


def _rows(name, text, columns, dtype, torch, array, inputs, passes=2):
    size, tiny = ({"rows": rows, "columns": count} for rows, count in ((ELEMENTS // columns, columns), (8, 40)))
    return Workload(
        f"{name}_{columns}_{SHORT[dtype]}", f"{text} of {size['rows']} x {columns} {dtype}", size, tiny, inputs,
        _programs(torch, array, dtype), lambda rows, columns: passes * DTYPES[dtype] * rows * columns, grows="rows",
        tolerance=TOLERANCE[dtype],
    )


def _chain(dtype):
    return Workload(
        f"gelu_chain_{SHORT[dtype]}", f"x*w + 0.5 through the GELU by tanh, written out, of {ELEMENTS} {dtype}",
        {"n": ELEMENTS}, {"n": 1_000}, lambda n: repeated((n,), (n,)),
        _programs(torch_program(gelu_chain), jax_program(gelu_chain), dtype), lambda n: 3 * DTYPES[dtype] * n,
        grows="n", tolerance=TOLERANCE[dtype],
    )


def _attention(dtype, trains):
    size, tiny = {"batch": 8, "length": 2048, "heads": 16, "width": 128}, {
        "batch": 2, "length": 8, "heads": 2, "width": 8}
    make = (torch_gradients, jax_gradients) if trains else (torch_program, jax_program)
    programs = [make(function, 3) if trains else make(function) for make, function in zip(
        make, (torch_attention, array_attention))]
    programs = _programs(*programs, dtype)
    if dtype == "float16":
        del programs["jax"]  # which has no such products on a CPU, where tests run

    def inputs(batch, length, heads, width):
        return repeated(*[(batch, heads, length, width)] * (4 if trains else 3))

    # half of the scores; backward five products for the two of forward
    return Workload(
        f"attention{'_train' if trains else ''}_{SHORT[dtype]}",
        f"causal attention of 8 x 16 heads, 2048 positions, 128 wide, {dtype}{', and gradients' if trains else ''}",
        size, tiny, inputs, programs,
        arithmetic=lambda batch, length, heads, width: (7 if trains else 2) * batch * heads * length**2 * width,
        grows="batch", tolerance=TOLERANCE[dtype],
    )


BANDWIDTH = [
    *map(_chain, DTYPES),
    *[_rows("softmax", "softmax over the rows", columns, dtype, torch_program(torch_softmax),
            jax_program(lambda xp, x: xp.softmax(x)), lambda rows, columns: repeated((rows, columns)))
      for columns, dtype in product(COLUMNS, DTYPES)],
    *[_rows("rms_norm", "rms_norm over the rows", columns, dtype, torch_program(torch_rms_norm),
            jax_program(rms_norm_by_hand), lambda rows, columns: repeated((rows, columns), (columns,)))
      for columns, dtype in product(COLUMNS, DTYPES)],
    *[_rows("layer_norm", "layer_norm over the rows", 4_096, dtype, torch_program(torch_layer_norm),
            jax_program(lambda xp, x, w, b: xp.layer_norm(x, w, b)),
            lambda rows, columns: repeated((rows, columns), (columns,), (columns,))) for dtype in DTYPES],
    *[_rows("cross_entropy_train", "cross_entropy with classes over the rows, and its gradient,", 32_000, dtype,
            torch_gradients(torch_cross_entropy, 1), jax_gradients(array_cross_entropy, 1), classes_of)
      for dtype in DTYPES],
    *[_attention(dtype, trains) for dtype, trains in product(("float16", "bfloat16"), (False, True))],
]
