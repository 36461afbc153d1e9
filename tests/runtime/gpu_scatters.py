"""Scatters that are sorted, on a stand-in for NVIDIA's driver in numba's CUDA simulator; prints what is wrong as JSON.

From sixteen iterations on they are sorted, in blocks of four threads: tiles have 32 elements, and rows three chunks at
most, so that a scatter of ninety has several tiles, chunks and passes. Results have to be the CPU's, bit for bit.
"""

import json
import traceback

import fake_cuda
import flamework as torch
import numpy as np
from flamework.compiler import codegen_cuda
from flamework.kernels.cuda import scatter, sort
from flamework.nn import functional as F
from flamework.runtime.gpu_plan import GpuPlanner

rng = np.random.default_rng(0)
COUNT, TARGETS, WIDTH = 90, 7, 5

#: What scatters get: indices with duplicates, values, and a table.
GIVEN = {
    "i": rng.integers(0, TARGETS, COUNT), "x": rng.standard_normal((COUNT, WIDTH)).astype(np.float32),
    "t": rng.standard_normal((TARGETS, WIDTH)).astype(np.float32), "v": rng.standard_normal(COUNT).astype(np.float32),
    "row": rng.standard_normal(TARGETS).astype(np.float32),
}  # fmt: skip

#: Name, how many scatters are sorted, whether the first has values in memory already, its columns, and the program.
CASES = {
    "rows": (1, True, 5, lambda i, x, t, v, row: t.index_add(0, i, x)),
    "computed": (1, False, 5, lambda i, x, t, v, row: t.index_add(0, i, x * 2 + 1)),
    "elements": (1, True, 1, lambda i, x, t, v, row: row.scatter_add(0, i, v)),
    "strided": (1, False, 1, lambda i, x, t, v, row: row.scatter_add(0, i, x[:, 2])),
    "columns": (1, True, 1, lambda i, x, t, v, row: t.scatter_add(
        0, (i[:, None] + torch.arange(5).to(i.device)) % 7, x)),
    "two indices": (1, True, 1, lambda i, x, t, v, row: t.index_put((i, i % 5), v, accumulate=True)),
    "last of two indices": (1, True, 1, lambda i, x, t, v, row: t.index_put((i, i % 5), v)),
    "last rows": (1, True, 5, lambda i, x, t, v, row: t.index_copy(0, i, x)),
    "negative": (1, True, 5, lambda i, x, t, v, row: t.index_put((i - 7,), x, accumulate=True)),
    "one target": (1, True, 1, lambda i, x, t, v, row: row.scatter_add(0, i * 0 + 3, v)),
    "all targets": (1, True, 1, lambda i, x, t, v, row: torch.zeros_like(v).scatter_add(
        0, (torch.arange(90).to(i.device) * 7) % 90, v)),
    "largest": (1, True, 1, lambda i, x, t, v, row: row.scatter_reduce(0, i, v, "amax")),
    "smallest": (1, False, 1, lambda i, x, t, v, row: row.scatter_reduce(0, i, v.log(), "amin")),
    "product": (1, True, 1, lambda i, x, t, v, row: row.scatter_reduce(0, i, v, "prod")),
    "counts": (1, False, 1, lambda i, x, t, v, row: torch.bincount(i)),
    "middle": (1, True, 5, lambda i, x, t, v, row: torch.stack([t, t]).index_add(1, i, torch.stack([x, x * 3]))),
    "integers": (1, False, 5, lambda i, x, t, v, row: t.long().index_add(0, i, (x * 100).long())),
    "doubles": (1, False, 5, lambda i, x, t, v, row: t.double().index_add(0, i, x.double())),
    "halves": (1, False, 5, lambda i, x, t, v, row: t.half().index_add(0, i, x.half())),
    "last halves": (1, False, 5, lambda i, x, t, v, row: t.half().index_copy(0, i, x.half())),
    "bools": (1, False, 5, lambda i, x, t, v, row: (t > 0).index_copy(0, i, x > 0)),
    "signed zeros": (1, False, 5, lambda i, x, t, v, row: (t * -0.0).index_add(0, i, x * 0.0)),
    "embedding": (1, False, 5, lambda i, x, t, v, row: gradient(t, lambda w: (F.embedding(i, w).sin() * x).sum())),
    "few": (0, False, 1, lambda i, x, t, v, row: row.scatter_add(0, i[:9], v[:9])),
    "empty": (0, False, 1, lambda i, x, t, v, row: t.index_add(0, i[:0], x[:0])),
}  # fmt: skip


def gradient(x, loss):
    x = x.clone().requires_grad_()
    loss(x).backward()
    return x.grad


def problem(name):
    count, in_memory, columns, program = CASES[name]
    found, scatter_steps = [], GpuPlanner.scatter_steps

    def noted(planner, lowered, scratch):
        found.append(planner.scatters[id(lowered)])
        scatter_steps(planner, lowered, scratch)

    GpuPlanner.scatter_steps = noted
    try:
        results = []
        for place in ("cpu", "cuda"):
            given = {name: torch.from_numpy(array).to(place) for name, array in GIVEN.items()}
            torch.realize(*given.values())
            results.append(program(**given).cpu().numpy())
    except Exception:
        return traceback.format_exc(limit=-5)
    finally:
        GpuPlanner.scatter_steps = scatter_steps
    for result in results:
        result[result != result] = np.nan if result.dtype.kind == "f" else 0  # NaN has many bits, with one meaning
    if results[0].tobytes() != results[1].tobytes():
        return f"{results[1]}, not {results[0]}"
    seen = [len(found), *([found[0].values is None, found[0].words[1]] if found else [in_memory, columns])]
    return None if seen == [count, in_memory, columns] else f"sorted, in memory, columns: {seen}"


def out_of_range():
    """What a wrong index raises, and whether the table stays as it was."""
    i, x, t = (torch.from_numpy(GIVEN[name]).cuda() for name in "ixt")
    try:
        i = torch.where(torch.arange(COUNT).cuda() == 50, TARGETS + 1, i)
        t.index_put((i,), x, accumulate=True).sum().item()
        message = ""
    except IndexError as error:
        message = str(error)
    return message, np.array_equal(t.cpu().numpy(), GIVEN["t"])


def grids():
    """The bits of a sum on devices with so many multiprocessors."""
    found = []
    for processors in (1, 5):
        with fake_cuda.installed(fake_cuda.FakeDriver(processors=processors), threads=4):
            i, x, t = (torch.from_numpy(GIVEN[name]).cuda() for name in "ixt")
            found.append(t.index_add(0, i, x).cpu().numpy().tobytes())
    return found[0] == found[1]


def main():
    scatter.LEAST, sort.CHUNKS, codegen_cuda.WARP = 16, 3, 2
    with fake_cuda.installed(fake_cuda.FakeDriver(), threads=4):
        report = {name: problem(name) for name in CASES} | {"out of range": out_of_range()}
    print(json.dumps(report | {"grids": grids()}))


if __name__ == "__main__":
    main()
