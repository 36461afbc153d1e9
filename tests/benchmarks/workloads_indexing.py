"""Operations whose positions are values: gather, scatter, embedding, sort, topk, boolean masks.

Out: `INDEXING`. Read next: `workloads_training.py`.
"""

from __future__ import annotations

import numpy as np
from workload import Workload, array_programs, jax_program, normal, numpy_program, torch_program, training_programs


def picked(n, table):
    """A table, and positions in it."""
    return normal((table,))[0], np.random.default_rng(1).integers(0, table, n)


def scattered(n, table):
    """A table, positions in it, and what to add there."""
    return *picked(n, table), normal((n,))[0]


def one_long(n):
    return normal((n,))


def embedding_inputs(words, width, n):
    """Identifiers and wanted vectors, then the table."""
    wanted, table = normal((n, width), (words, width))
    return np.random.default_rng(1).integers(0, words, n), wanted, table


def torch_scatter(torch, table, ids, values):
    return table.scatter_add(0, ids, values)


def numpy_scatter(xp, table, ids, values):
    return table + xp.bincount(ids, values, table.size).astype(table.dtype)


def jax_scatter(xp, table, ids, values):
    return table.at[ids].add(values)


def torch_embedding_loss(torch, parameters, ids, wanted):
    functional = torch.nn.functional
    return functional.mse_loss(functional.embedding(ids, parameters[0]), wanted)


def array_embedding_loss(xp, parameters, ids, wanted):
    difference = xp.take(parameters[0], ids, axis=0) - wanted
    return xp.mean(difference * difference)


def torch_top(torch, x):
    return torch.topk(x, 10).values


def array_top(xp, x):
    return xp.top(x, 10)


def masked(xp, x):
    return x[x > 0]


TABLE, TABLE_TINY = {"n": 10_000_000, "table": 1_000_000}, {"n": 50, "table": 10}
FLAT, FLAT_TINY = {"n": 1_000_000}, {"n": 100}

INDEXING = [
    Workload("gather_10m", "10 million elements picked from a table of a million float32", TABLE, TABLE_TINY, picked,
             array_programs(lambda torch, table, ids: table.gather(0, ids), lambda xp, table, ids: xp.take(table, ids),
                            leave_out=("tinygrad",)),
             lambda n, table: 12 * n + 4 * table, grows="n"),
    Workload("scatter_add_10m", "10 million float32 added at positions of a table of a million", TABLE, TABLE_TINY,
             scattered,
             {"torch": torch_program(torch_scatter), "numpy": numpy_program(numpy_scatter),
              "jax": jax_program(jax_scatter)},
             lambda n, table: 12 * n + 8 * table, grows="n"),
    Workload("embedding_train_50kx256", "8,192 rows of a table of 50,000 x 256, mean square loss, dense gradient, SGD",
             {"words": 50_000, "width": 256, "n": 8_192}, {"words": 10, "width": 4, "n": 6}, embedding_inputs,
             training_programs(torch_embedding_loss, array_embedding_loss, optimizer="sgd"),
             lambda words, width, n: 4 * width * (2 * n + 4 * words)),
    Workload("sort_1m", "sort of a million float32", FLAT, FLAT_TINY, one_long,
             array_programs(lambda torch, x: torch.sort(x).values, lambda xp, x: xp.sort(x), leave_out=("tinygrad",)),
             grows="n"),
    Workload("topk_1m", "the 10 largest of a million float32", FLAT, FLAT_TINY, one_long,
             array_programs(torch_top, array_top, leave_out=("tinygrad",)), lambda n: 4 * n, grows="n"),
    # JAX compiles no result whose shape depends on values.
    Workload("mask_10m", "the positive ones of 10 million float32, by a boolean mask", {"n": 10_000_000}, FLAT_TINY,
             one_long, {"torch": torch_program(masked), "numpy": numpy_program(masked),
                        "jax": jax_program(masked, compiled=False)},
             lambda n: 6 * n, grows="n", compiles=False),
]
