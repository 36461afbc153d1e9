"""Sorts in numba's CUDA simulator, which has to be chosen before numba is imported. Prints what is wrong, as JSON.

Blocks of four threads, in warps of two, have tiles of 32 elements, and a row has at most three chunks: so that rows
have several tiles, chunks and passes, and tiles several rows.
"""

import json
import sys

import numpy as np
from flamework.compiler import dtypes
from flamework.kernels.cuda import sort, toolchain

DTYPES = {x.name: x for x in vars(dtypes).values() if isinstance(x, dtypes.DType)}

#: Rows and elements: rows that share a tile, a tile that is full, two tiles, several in a chunk, the last not full.
SHAPES = [(5, 1), (9, 3), (1, 32), (2, 33), (1, 130)]


def elements(dtype, shape, rng):
    """Few different values, each of those that are special among them."""
    if dtype.kind == dtypes.BOOL:
        return rng.random(shape) < 0.5
    if dtype.kind == dtypes.FLOATING:
        x = rng.integers(-3, 4, shape) / 4
        special = np.array([np.nan, -np.nan, np.inf, -np.inf, 0.0, -0.0, 3e-45, -65504.0])
        return np.where(rng.random(shape) < 0.5, x, rng.choice(special, shape)).astype(dtype.numpy)
    limits = np.iinfo(dtype.numpy)
    few = rng.integers(limits.min, limits.max, 7, dtype.numpy, endpoint=True)
    return rng.choice(np.concatenate([few, np.array([limits.min, limits.max, 0, 1], dtype.numpy)]), shape)


def wanted(x, keep, descending):
    """The positions, by Python's stable sort."""
    def rank(value):
        return (value != value, 0 if value != value else value)

    values = x.astype(float) if x.dtype.name == "bfloat16" else x
    rows = [[rank(value) for value in row] for row in values.tolist()]
    orders = [sorted(range(len(row)), key=row.__getitem__, reverse=descending) for row in rows]
    return np.array([order[:keep] for order in orders])


def simulated(found, x, keep):
    memory = {name: np.full(nbytes, 0xA5, np.uint8) for name, nbytes in found.scratch.items()}
    memory |= {"": np.empty(0, np.uint8), "x": x, "out": np.full((len(x), keep), -1, np.int64)}
    for step in found.steps:
        arguments = [memory[a] if isinstance(a, str) else a for a in step.arguments]
        toolchain.simulate(found.source, [step.launch], arguments)
    return memory


def problem(dtype):
    rng = np.random.default_rng(0)
    for rows, length in SHAPES:
        x = elements(dtype, (rows, length), rng)
        for descending, keep in ((False, length), (True, -(-length // 3))):
            found = sort.describe(dtype, rows, length, keep, descending, 4, 2)
            if not np.array_equal(simulated(found, x, keep)["out"], wanted(x, keep, descending)):
                return f"{rows} {length} {descending} {keep}"
    return None


def order_of_few_bits():
    """Numbers of eleven bits take three passes, and leave sorted keys and their positions."""
    x = np.random.default_rng(0).integers(0, 1 << 11, (1, 300)).astype(np.int32)
    found = sort.describe(dtypes.int32, 1, 300, 300, False, 4, 2, bits=11)
    memory = simulated(found, x, 300)
    order = memory[found.order].view(np.int32)
    keys = memory[found.keys].view(np.int32)
    return [len(found.steps), np.array_equal(order, wanted(x, 300, False)[0]), np.array_equal(keys, x[0][order])]


def main():
    sort.CHUNKS = 3
    report = {name: problem(DTYPES[name]) for name in sys.argv[1:]}
    print(json.dumps(report | {"few bits": order_of_few_bits()}))


if __name__ == "__main__":
    main()
