"""Let Flamework and its peers race on the same programs.

    make bench                                               everything, about twenty minutes
    make bench ARGS=--quick                                  one short round each, minutes
    python tests/benchmarks/run.py softmax_4096 --markdown RESULTS.md

Each pair of workload and contestant has a process of its own. Processes of one workload stay alive side by side and
take turns, so that a machine which slows down slows all of them. A pair is started twice: with an empty kernel cache,
and with the cache that the first process filled (where the contestant has one); the second one is timed.

Contestants that are not installed are left out with a note, and a row that Flamework loses stays. The answers of the
contestants are compared; one that differs from the majority is marked.

In: names of workloads and options. Out: tables, on standard output and in a Markdown file. Read next: `workloads.py`
for what is measured, `worker.py` for how, `report.py` for the tables.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import queue
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import report
from worker import CONTESTANTS
from workloads import WORKLOADS

HERE = Path(__file__).parent
PAUSE_SECONDS = 0.2  # between two turns: threads of a pool may spin this long for more work


@dataclass
class Result:
    """What is known of one contestant on one workload. Times are in seconds."""

    workload: str
    contestant: str
    trouble: str = ""  # why there is no result
    cold: float | None = None  # first result with an empty cache, import not counted
    warm: float | None = None  # first result with the cache that an earlier process left
    started: dict[str, float] = field(default_factory=dict)  # process start to first result, "cold" and "warm"
    samples: list[float] = field(default_factory=list)
    memory: int = 0
    digest: list[float] = field(default_factory=list)
    counters: dict[str, dict[str, int]] = field(default_factory=dict)  # Flamework's after the first result


def environment(cache: str, threads: int) -> dict[str, str]:
    """The variables of a worker: its threads, and an own folder for every cache that a contestant keeps."""
    variables = dict.fromkeys(
        ("FLAMEWORK_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"),
        str(threads),
    )
    folders = {"FLAMEWORK_CACHE_DIR": "flamework", "TORCHINDUCTOR_CACHE_DIR": "inductor", "TRITON_CACHE_DIR": "triton",
               "JAX_COMPILATION_CACHE_DIR": "jax"}
    for name, folder in folders.items():
        variables[name] = os.path.join(cache, folder)
    always = {"JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0", "JAX_PLATFORMS": "cpu", "CUDA_VISIBLE_DEVICES": ""}
    return os.environ | variables | always


class Process:
    """A worker, seen from outside. `ask` raises `TimeoutError` when it says nothing in time and `RuntimeError` when it
    ends; both end it."""

    def __init__(self, workload: str, contestant: str, size: str, threads: int, cache: str):
        command = [sys.executable, str(HERE / "worker.py"), workload, contestant, size, str(threads)]
        self.errors = tempfile.TemporaryFile("w+")
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.errors,
                                        text=True, env=environment(cache, threads), cwd=HERE)
        self.lines: queue.SimpleQueue[str] = queue.SimpleQueue()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        for line in self.process.stdout:
            self.lines.put(line)
        self.lines.put("")

    def ask(self, command: str, timeout: float) -> dict:
        """Send a line, unless it is empty, and return the answer."""
        try:
            if command:
                self.process.stdin.write(command + "\n")
                self.process.stdin.flush()
            line = self.lines.get(timeout=timeout)
        except queue.Empty:
            self.close()
            raise TimeoutError(f"no answer in {timeout:.0f} s") from None
        except BrokenPipeError:
            line = ""
        if not line:
            self.close()
            self.errors.seek(0)
            last = (self.errors.read().strip() or "no message").splitlines()[-1]
            raise RuntimeError(last[:200])
        return json.loads(line)

    def close(self) -> None:
        """End the process, however busy it is."""
        self.process.kill()
        self.process.wait()


def start(result: Result, kind: str, options, cache: str) -> Process | None:
    """Start a worker and wait for its first result, which `result` takes note of."""
    begin = time.perf_counter()
    process = Process(result.workload, result.contestant, options.size, options.threads, cache)
    try:
        first = process.ask("", options.timeout)
    except (TimeoutError, RuntimeError) as error:
        result.trouble = str(error)
        return None
    if first["absent"]:
        result.trouble = "has no version of this workload"
        process.close()
        return None
    result.started[kind] = time.perf_counter() - begin
    setattr(result, kind, first["first"])
    result.digest = first["digest"]
    result.counters[kind] = first.get("counters", {})
    return process


def race(workload: str, contestants: list[str], options) -> list[Result]:
    """Measure the contestants on one workload, in turns."""
    results = [Result(workload, contestant) for contestant in contestants]
    running: list[tuple[Result, Process]] = []
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as caches:
        for result in results:
            cache = os.path.join(caches, result.contestant)
            process = start(result, "cold", options, cache)
            if process:
                process.close()
                process = start(result, "warm", options, cache)
            if process:
                running.append((result, process))
        for turn in range(options.rounds):
            for result, process in running[:: 1 if turn % 2 == 0 else -1]:
                time.sleep(PAUSE_SECONDS)
                try:
                    result.samples += process.ask(f"round {options.seconds}", options.timeout)["samples"]
                except (TimeoutError, RuntimeError) as error:
                    result.trouble = str(error)
            running = [(result, process) for result, process in running if not result.trouble]
        for result, process in running:
            result.memory = process.ask("quit", options.timeout)["memory"]
            process.process.wait()
    mark_disagreement(results)
    return results


def mark_disagreement(results: list[Result], tolerance: float = 1e-3) -> None:
    """Note in a result that its answer is not the median of all answers."""
    answers = [result.digest for result in results if result.samples]
    if len(answers) < 3:
        return
    usual = np.median(np.array(answers), axis=0)
    for result in results:
        if result.samples and not np.allclose(result.digest, usual, rtol=tolerance, atol=tolerance):
            result.trouble = f"answer differs: {result.digest} instead of {usual.tolist()}"


def triad_rate(threads: int, elements: int = 20_000_000, repeats: int = 10) -> float:
    """Bytes a second of `a = b + 3*c`, counting each of the three arrays once: what memory gives to a program.

    The processor also reads the lines of `a` before it writes them, which is not counted: a program that updates in
    place can be faster than this limit.
    """
    code = f"""
import time, numba, numpy
@numba.njit(parallel=True)
def triad(a, b, c):
    for i in numba.prange(a.size):
        a[i] = b[i] + numba.float32(3) * c[i]
a, b, c = (numpy.ones({elements}, numpy.float32) for _ in range(3))
best = float("inf")
for _ in range({repeats} + 1):
    start = time.perf_counter()
    triad(a, b, c)
    best = min(best, time.perf_counter() - start)
print(3 * a.nbytes / best)
"""
    with tempfile.TemporaryDirectory() as cache:
        done = subprocess.run([sys.executable, "-c", code], env=environment(cache, threads), check=True, text=True,
                              stdout=subprocess.PIPE)
    return float(done.stdout)


def import_seconds(module: str, repeats: int = 5) -> float:
    """The least seconds that importing a module takes in a new process."""
    code = f"import time; start = time.perf_counter(); import {module}; print(time.perf_counter() - start)"
    runs = [subprocess.run([sys.executable, "-c", code], check=True, text=True, stdout=subprocess.PIPE)
            for _ in range(repeats)]
    return min(float(done.stdout) for done in runs)


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Measure Flamework against its peers.")
    parser.add_argument("workloads", nargs="*", metavar="WORKLOAD", help=f"any of: {', '.join(WORKLOADS)}")
    parser.add_argument("--contestants", nargs="+", choices=CONTESTANTS, default=list(CONTESTANTS))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1.0, help="of a contestant's turn in a round")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--timeout", type=float, default=120.0, help="seconds for a contestant's first result")
    parser.add_argument("--quick", action="store_true", help="one round of a fifth of a second")
    parser.add_argument("--size", choices=("full", "tiny"), default="full", help="tiny only shows that everything runs")
    parser.add_argument("--markdown", metavar="FILE", type=Path, help="write the tables to FILE as well")
    options = parser.parse_args(arguments)
    for name in options.workloads:
        if name not in WORKLOADS:
            parser.error(f"no workload is named {name!r}; there are {', '.join(WORKLOADS)}")
    if options.quick:
        options.rounds, options.seconds = 1, 0.2
    return options


def main() -> None:
    options = parse_arguments()
    installed = [name for name in options.contestants if importlib.util.find_spec(CONTESTANTS[name].module)]
    text = report.machine(options.threads, [name for name in options.contestants if name not in installed])
    print(text, flush=True)
    all_results: list[Result] = []
    rates = []
    details = ""
    for name in options.workloads or WORKLOADS:
        before = triad_rate(options.threads)
        results = race(name, installed, options)
        rates.append(max(before, triad_rate(options.threads)))
        all_results += results
        table = report.workload_table(WORKLOADS[name], results, rates[-1], options.size)
        print(table, flush=True)
        details += table
    imports = {name: import_seconds(CONTESTANTS[name].module) for name in installed}
    summary = report.summary_table(all_results, rates) + report.start_table(all_results, imports)
    print(summary)
    if options.markdown:
        options.markdown.write_text(f"# Results\n\n{text}\n{summary}\n## Workload by workload\n{details}")


if __name__ == "__main__":
    main()
