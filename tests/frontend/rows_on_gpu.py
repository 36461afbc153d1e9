"""Rows of the frontend's tables on a simulated GPU: what ``rows.py`` compares with PyTorch, compared with the CPU.

Run as a program of its own, with the simulator asked for: of the rows whose values are the same on any device, every
so-many-th is evaluated, with tensors on the CPU and with ``cuda`` as the default device. Prints as JSON how many rows
ran, and what went wrong for which.

In: the number of the first row, and how far apart rows are.
"""

from __future__ import annotations

import importlib
import json
import re
import sys
import traceback
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))  # for the oracle's module, which pytest's conftest imports

import flamework as torch
import numpy as np
import rows

MODULES = ("pointwise", "reduction", "joining", "products", "functional", "edges")

#: Rows about random numbers, whose stream on a GPU is another one, and about the CPU itself.
OTHER = re.compile(r"rand|drop|bernoulli|normal|multinomial|poisson|exponential|numpy|\bnp\.|device|cpu|pin_|cuda")


def all_rows() -> list[str]:
    """Every row whose values are the same on any device."""
    found = {}
    for module in MODULES:
        for name, value in vars(importlib.import_module(f"test_{module}")).items():
            if name.isupper() and isinstance(value, list):
                found |= dict.fromkeys(x for x in value if isinstance(x, str) and rows.named(x))
    return [row for row in found if not OTHER.search(row)]


def answer(expression: str, device: str) -> list:
    """What a row gives with a default device: types, values and gradients, or the error."""
    torch.set_default_device(device)
    try:
        value, leaves = rows.evaluate(torch, expression)
        found, loss = [], None
        for part in rows.flatten(value):
            if not isinstance(part, torch.Tensor):
                found.append(part)
                continue
            found.append((str(part.dtype), tuple(part.shape), part.requires_grad, array(part)))
            if part.requires_grad and part.numel():
                weights = np.random.default_rng(part.numel()).standard_normal(tuple(part.shape))
                weighted = (part * torch.tensor(weights, dtype=torch.float64)).sum()
                loss = weighted if loss is None else loss + weighted
        if loss is not None:
            loss.backward()
            found += [(name, None if leaf.grad is None else array(leaf.grad)) for name, leaf in leaves.items()]
        return found
    except Exception as error:
        return [type(error).__name__, str(error).replace("cuda:0", "cpu")]
    finally:
        torch.set_default_device("cpu")


def array(x: torch.Tensor) -> np.ndarray:
    x = x.detach().cpu()
    return (x.double() if x.dtype is torch.bfloat16 else x).numpy()


def same(a, b) -> bool:
    if isinstance(a, tuple):
        return isinstance(b, tuple) and len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, np.ndarray):
        rtol, atol = rows.TOLERANCE.get(str(a.dtype), (2e-3, 2e-3) if a.dtype.kind in "fc" else (0, 0))
        return isinstance(b, np.ndarray) and np.allclose(a, b, rtol=rtol, atol=10 * atol, equal_nan=True)
    return type(a) is type(b) and (a == b or a != a)


def main() -> None:
    first, step = map(int, sys.argv[1:])
    chosen = all_rows()[first::step]
    problems = {}
    for row in chosen:
        try:
            on_cpu, on_gpu = answer(row, "cpu"), answer(row, "cuda")
            if len(on_cpu) != len(on_gpu) or not all(map(same, on_cpu, on_gpu)):
                problems[row] = f"{on_gpu}\ninstead of\n{on_cpu}"
        except Exception:
            problems[row] = traceback.format_exc(limit=-4)
    print(json.dumps({"rows": len(chosen), "problems": problems}))


if __name__ == "__main__":
    main()
