"""One contestant with one workload, in a process of its own.

The process says on standard output, one JSON object a line, how long its first result took, then times steps whenever
`run.py` asks for a round, so that rounds of several contestants alternate on the machine.

In: `python worker.py WORKLOAD CONTESTANT SIZE THREADS FACTOR DEVICE`, then lines `round SECONDS` and at last `quit`.
FACTOR multiplies the size to which the work is proportional. DEVICE is `cpu` or `cuda`.
Out: a line about the first result, a line for each round, a line about memory. Read next: `run.py`.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
import shutil
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from workload import Workload
from workloads import WORKLOADS

SAMPLE_SECONDS = 1e-3  # steps shorter than this are timed several at once


@dataclass(frozen=True)
class Contestant:
    """How a contestant builds a workload's program and how it waits for the arrays of a step."""

    module: str
    build: Callable[[Any, Workload, tuple[np.ndarray, ...]], Callable[[], Any] | None]
    finish: Callable[[Any, Any], None]
    peer: bool = True
    needs: str = ""  # a program without which it does not run


def _same(function):
    return function


def _builder(library: str):
    def build(module, workload, inputs):
        make = workload.programs.get(library)
        return make and make(module, *inputs)

    return build


def _build_jax(jax, workload, inputs):
    jax.config.update("jax_enable_x64", any(array.dtype == np.float64 for array in inputs))
    return _builder("jax")(jax, workload, inputs)


def _build_cupy(cupy, workload, inputs):
    make = workload.programs.get("numpy")
    return make and make(cupy, *map(cupy.asarray, inputs))


def _torch_builder(whole: bool, part: bool):
    def build(torch, workload, inputs):
        if (whole or part) and not workload.compiles:
            return None
        decorators = [torch.compile if compiled else _same for compiled in (whole, part)]
        return workload.programs["torch"](torch, *decorators, *inputs)

    return build


def _finished(module, results):
    """Nothing to wait for: results were computed when they were returned."""


def _realize(flamework, results):
    flamework.realize(*as_tuple(results))
    _wait(flamework, results)


def _wait(torch, results):
    """On a GPU a step returns before it has run."""
    if any(getattr(result, "is_cuda", False) for result in as_tuple(results)):
        torch.cuda.synchronize()


def _synchronise_cupy(cupy, results):
    cupy.cuda.get_current_stream().synchronize()


def _synchronise(tinygrad, results):
    tinygrad.Device[tinygrad.Device.DEFAULT].synchronize()


CONTESTANTS = {
    "flamework": Contestant("flamework", _torch_builder(False, False), _realize, peer=False),
    "flamework.compile": Contestant("flamework", _torch_builder(True, False), _realize, peer=False),
    "torch": Contestant("torch", _torch_builder(False, False), _wait),
    "torch.compile": Contestant("torch", _torch_builder(False, True), _wait),
    "jax": Contestant("jax", _build_jax, lambda m, r: m.block_until_ready(r)),
    "mlx": Contestant("mlx.core", _builder("mlx"), lambda m, r: m.eval(*as_tuple(r))),
    "tinygrad": Contestant("tinygrad", _builder("tinygrad"), _synchronise, needs="clang"),
    "numexpr": Contestant("numexpr", _builder("numexpr"), _finished),
    "numpy": Contestant("numpy", _builder("numpy"), _finished),
    "cupy": Contestant("cupy", _build_cupy, _synchronise_cupy),
}

#: Who can compute on a GPU; the others, and the only one that computes nowhere else.
ON_GPU = ("flamework", "flamework.compile", "torch", "torch.compile", "jax", "cupy")
ONLY_ON_GPU = ("cupy",)


def installed() -> list[str]:
    """The contestants that can run here."""
    return [
        name for name, contestant in CONTESTANTS.items()
        if importlib.util.find_spec(contestant.module.partition(".")[0])
        and (not contestant.needs or shutil.which(contestant.needs))
    ]


#: How many numbers of a result are compared.
MOST_LOOKED_AT = 1 << 24


def as_tuple(results) -> tuple:
    return results if isinstance(results, tuple) else (results,)


def digest(results) -> list[float]:
    """Sizes of the numbers of a step's first result, to compare contestants: mean, mean magnitude, largest."""
    first = as_tuple(results)[0]
    if hasattr(first, "detach"):
        # of a long one the beginning; NumPy has no bfloat16
        first = first.detach().reshape(-1)[:MOST_LOOKED_AT].float()
        first = (first.cpu() if hasattr(first, "cpu") else first).numpy()
    first = first.get() if type(first).__module__.startswith("cupy") else first
    values = np.asarray(first).reshape(-1)[:MOST_LOOKED_AT].astype(np.float64)
    return [float(values.mean()), float(np.abs(values).mean()), float(values.max())]


class Runner:
    """A built workload of one contestant.

    `report` has the seconds that the first result took, building the program included and importing the contestant
    not; a digest of that result; and Flamework's counters.
    """

    def __init__(
        self, workload: Workload, name: str, tiny: bool = False, threads: int = 2, factor: float = 1.0,
        device: str = "cpu",
    ):
        self.workload, self.contestant = workload, CONTESTANTS[name]
        size = dict(workload.tiny if tiny else workload.size)
        if factor != 1:
            size[workload.grows] = max(1, round(size[workload.grows] * factor))
        inputs = workload.inputs(**size)
        self.module = importlib.import_module(self.contestant.module)
        start = time.perf_counter()
        if self.contestant.module == "torch":  # others are told by environment variables
            self.module.set_num_threads(threads)
            self.module.backends.cudnn.allow_tf32 = False  # float32 as everybody else's
        if device != "cpu" and self.contestant.module in ("torch", "flamework"):
            self.module.set_default_device(device)
        step = self.contestant.build(self.module, workload, inputs)
        self.report: dict[str, Any] = {"absent": step is None}
        if step is None:
            return
        self.step = step
        results = self.finish(step())
        self.report["first"] = time.perf_counter() - start
        self.report["digest"] = digest(results)
        if self.contestant.module == "flamework":
            self.report["counters"] = self.module.counters()

    def finish(self, results):
        """Wait for the results of a step; returns them."""
        self.contestant.finish(self.module, results)
        return results

    def _sample(self, repeats: int) -> float:
        """Seconds for a step, from one timing of `repeats` steps."""
        if not self.workload.finishes:
            start = time.perf_counter()
            results = self.step()
            seconds = time.perf_counter() - start
            self.finish(results)
            return seconds / self.workload.operations
        start = time.perf_counter()
        for _ in range(repeats):
            self.finish(self.step())
        return (time.perf_counter() - start) / repeats / self.workload.operations

    def round(self, seconds: float) -> list[float]:
        """Seconds a step, of as many samples as fit, at least three.

        The clock starts after three steps: a second step may compile again, since the state of an optimizer exists by
        then, and all threads and caches are to be at work.
        """
        once = statistics.median(self._sample(1) for _ in range(3)) * self.workload.operations
        repeats = max(1, round(SAMPLE_SECONDS / once))
        end = time.perf_counter() + seconds
        samples = []
        while len(samples) < 3 or time.perf_counter() < end:
            samples.append(self._sample(repeats))
        return samples


def peak_memory() -> int:
    """The most bytes of memory that this process has had, or 0 where the system does not say."""
    try:
        import resource
    except ImportError:  # Windows
        return 0
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def main() -> None:
    workload, contestant, size, threads, factor, device = sys.argv[1:]
    # Libraries may print: what they print goes to stderr, and the protocol keeps stdout to itself.
    channel = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    def say(**message):
        print(json.dumps(message), file=channel, flush=True)

    if hasattr(os, "sched_setaffinity"):  # the libraries that count processors themselves, such as XLA, obey this
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: int(threads)])
    runner = Runner(WORKLOADS[workload], contestant, size == "tiny", int(threads), float(factor), device)
    say(**runner.report)
    for line in sys.stdin:
        command, *arguments = line.split()
        if command == "quit":
            say(memory=peak_memory())
            break
        say(samples=runner.round(float(arguments[0])))


if __name__ == "__main__":
    main()
