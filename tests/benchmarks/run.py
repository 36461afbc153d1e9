"""Let Flamework and its peers race on the same programs.

    make bench                                               everything: hours, most of them torch.compile's compiler
    make bench ARGS=--quick                                  one short round each: about forty minutes
    make bench ARGS="--quick reductions"                     one group, or the workloads that are named
    make bench ARGS="--scaling --record results.json --markdown tests/benchmarks/RESULTS.md"
    make bench-gpu                                           everything on a GPU, into tests/benchmarks/RESULTS-GPU.md

Each pair of workload and contestant has a process of its own. Processes of one workload stay alive side by side and
take turns, so that a machine which slows down slows all of them. A pair is started twice: with an empty kernel cache,
and with the cache that the first process filled (where the contestant has one); the second one is timed. A quick run
starts a pair once.

Contestants that are not installed are left out with a note, one that takes longer than the timeout is reported and not
waited for, and a row that Flamework loses stays. The answers of the contestants are compared; one that differs from
the majority is marked. Limits are what memory and arithmetic gave in the same minute: a triad and a large product.

A long run may be made in pieces: `--record` keeps what was measured in a file, where a later run replaces its own
workloads only, and the tables show all that is in it.

In: names of groups or workloads, and options. Out: tables, on standard output and in a Markdown file. Read next:
`workloads.py` for what is measured, `worker.py` for how, `report.py` for the tables.
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import queue
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path

import flamework
import numpy as np
import report
from worker import CONTESTANTS, ON_GPU, ONLY_ON_GPU, installed
from workloads import FOR_GPUS, GROUPS, WORKLOADS

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


@dataclass
class Row:
    """All that is known of one workload. Rates are bytes and operations a second, times are in seconds."""

    workload: str
    results: list[Result]
    memory_rate: float
    arithmetic_rate: float
    # flamework.compile's best times: with one thread and with all, and of a quarter, the whole and four times the size.
    scaling: dict[str, float] = field(default_factory=dict)


def environment(cache: str, threads: int, device: str = "cpu") -> dict[str, str]:
    """The variables of a worker: its threads, and an own folder for every cache that a contestant keeps."""
    variables = dict.fromkeys(
        ("FLAMEWORK_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS",
         "NUMEXPR_NUM_THREADS", "CPU_COUNT"),
        str(threads),
    )
    folders = {"FLAMEWORK_CACHE_DIR": "flamework", "TORCHINDUCTOR_CACHE_DIR": "inductor", "TRITON_CACHE_DIR": "triton",
               "JAX_COMPILATION_CACHE_DIR": "jax", "CACHEDB": "tinygrad"}
    for name, folder in folders.items():
        variables[name] = os.path.join(cache, folder)
    always = {"DEV": "CPU", "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0", "JAX_PLATFORMS": device}
    if device == "cpu":
        always["CUDA_VISIBLE_DEVICES"] = ""
    else:
        # contestants are there side by side, and products of float32 are of float32 in all of them
        always |= {"XLA_PYTHON_CLIENT_PREALLOCATE": "false", "JAX_DEFAULT_MATMUL_PRECISION": "highest"}
    return os.environ | variables | always


class Process:
    """A worker, seen from outside. `ask` raises `TimeoutError` when it says nothing in time and `RuntimeError` when it
    ends; both end it."""

    def __init__(
        self, workload: str, contestant: str, size: str, threads: int, cache: str, factor: float = 1.0,
        device: str = "cpu",
    ):
        arguments = [workload, contestant, size, str(threads), str(factor), device]
        command = [sys.executable, str(HERE / "worker.py"), *arguments]
        self.errors = tempfile.TemporaryFile("w+")
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.errors,
                                        text=True, env=environment(cache, threads, device), cwd=HERE)
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


def start(result: Result, kind: str, options, cache: str, threads: int, factor: float = 1.0) -> Process | None:
    """Start a worker and wait for its first result, which `result` takes note of."""
    begin = time.perf_counter()
    process = Process(result.workload, result.contestant, options.size, threads, cache, factor, options.device)
    try:
        first = process.ask("", options.timeout)
    except (TimeoutError, RuntimeError) as error:
        result.trouble = str(error)
        return None
    if first["absent"]:
        result.trouble = report.ABSENT
        process.close()
        return None
    result.started[kind] = time.perf_counter() - begin
    setattr(result, kind, first["first"])
    result.digest = first["digest"]
    result.counters[kind] = first.get("counters", {})
    return process


def take_turns(running: list[tuple[Result, Process]], options) -> None:
    """Time the steps of workers in alternating order, then let them end."""
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


def race(workload: str, contestants: list[str], options) -> list[Result]:
    """Measure the contestants on one workload, in turns."""
    results = [Result(workload, contestant) for contestant in contestants]
    running: list[tuple[Result, Process]] = []
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as caches:
        for result in results:
            cache = os.path.join(caches, result.contestant)
            if result.contestant == "torch.compile" and options.primed:
                shutil.copytree(options.primed, cache)
            process = start(result, "cold", options, cache, options.threads)
            if process and not options.quick:
                process.close()
                process = start(result, "warm", options, cache, options.threads)
            if process:
                running.append((result, process))
        take_turns(running, options)
    mark_disagreement(results, max(1e-3, WORKLOADS[workload].tolerance))
    return results


def scaling(workload: str, options) -> dict[str, float]:
    """The best times of flamework.compile with one thread, and at a quarter and four times the size."""
    cases = {"whole": (options.threads, 1.0), "one thread": (1, 1.0)}
    if WORKLOADS[workload].grows:
        cases |= {"quarter": (options.threads, 0.25), "four times": (options.threads, 4.0)}
    results = {case: Result(workload, "flamework.compile") for case in cases}
    running = []
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as cache:
        for case, (threads, factor) in cases.items():
            process = start(results[case], "cold", options, cache, threads, factor)
            if process:
                running.append((results[case], process))
        take_turns(running, options)
    return {case: min(result.samples) for case, result in results.items() if result.samples}


def mark_disagreement(results: list[Result], tolerance: float = 1e-3) -> None:
    """Note in a result that its answer is not the median of all answers."""
    answers = [result.digest for result in results if result.samples]
    if len(answers) < 3:
        return
    usual = np.median(np.array(answers), axis=0)
    for result in results:
        if result.samples and not np.allclose(result.digest, usual, rtol=tolerance, atol=tolerance):
            result.trouble = f"answer differs: {result.digest} instead of {usual.tolist()}"


def machine_rates(threads: int) -> tuple[float, float]:
    """What the machine gives to a program now: bytes a second of `a = b + 3*c`, counting each of the three arrays once,
    and operations a second of a product of float32 matrices.

    The processor also reads the lines of `a` before it writes them, which is not counted: a program that updates in
    place can be faster than this limit.
    """
    code = """
import time, numba, numpy
@numba.njit(parallel=True)
def triad(a, b, c):
    for i in numba.prange(a.size):
        a[i] = b[i] + numba.float32(3) * c[i]
def best(function, *arguments, repeats=10):
    times = []
    for _ in range(repeats + 1):
        start = time.perf_counter()
        function(*arguments)
        times.append(time.perf_counter() - start)
    return min(times)
a, b, c = (numpy.ones(20_000_000, numpy.float32) for _ in range(3))
print(3 * a.nbytes / best(triad, a, b, c))
x, y, z = (numpy.ones((2048, 2048), numpy.float32) for _ in range(3))
print(2 * 2048**3 / best(numpy.matmul, x, y, z))
"""
    with tempfile.TemporaryDirectory() as cache:
        done = subprocess.run([sys.executable, "-c", code], env=environment(cache, threads), check=True, text=True,
                              stdout=subprocess.PIPE)
    memory, arithmetic = map(float, done.stdout.split())
    return memory, arithmetic


def gpu_rates() -> tuple[float, float]:
    """What the GPU gives now: bytes a second of a copy, counting what is read and what is written, and operations a
    second of a product of float32 matrices without TF32, by PyTorch where it is installed."""
    code = """
import time
import flamework, importlib.util
torch = importlib.import_module("torch") if importlib.util.find_spec("torch") else flamework
if not torch.cuda.is_available():
    torch = flamework
def best(function, repeats=20):
    times = []
    for _ in range(repeats + 1):
        torch.cuda.synchronize()
        start = time.perf_counter()
        kept = function()
        if torch is flamework:
            torch.realize(kept)
        torch.cuda.synchronize()
        times.append(time.perf_counter() - start)
    return min(times)
count = COUNT
x = torch.ones(count, device="cuda")
print(8 * count / best(lambda: x.clone()))
side = SIDE
y = torch.ones((side, side), device="cuda")
print(2 * side**3 / best(lambda: y @ y))
"""
    simulated = os.environ.get("NUMBA_ENABLE_CUDASIM", "0") not in ("", "0")
    code = code.replace("COUNT", "1000" if simulated else "1 << 28").replace("SIDE", "8" if simulated else "8192")
    with tempfile.TemporaryDirectory() as cache:
        done = subprocess.run([sys.executable, "-c", "import importlib\n" + code], env=environment(cache, 2, "cuda"),
                              check=True, text=True, stdout=subprocess.PIPE)
    memory, arithmetic = map(float, done.stdout.split())
    return memory, arithmetic


def import_seconds(module: str, repeats: int) -> float:
    """The least seconds that importing a module takes in a new process."""
    code = f"import time; start = time.perf_counter(); import {module}; print(time.perf_counter() - start)"
    runs = [subprocess.run([sys.executable, "-c", code], check=True, text=True, stdout=subprocess.PIPE)
            for _ in range(repeats)]
    return min(float(done.stdout) for done in runs)


def default_groups(device: str) -> list[str]:
    return [name for name in GROUPS if device == "cuda" or name not in FOR_GPUS]


def chosen(parser: argparse.ArgumentParser, names: list[str], device: str) -> list[str]:
    """The workloads of groups and workloads that are named; all of the device where none is."""
    found = []
    for name in names or default_groups(device):
        if name not in GROUPS and name not in WORKLOADS:
            parser.error(f"no group or workload is named {name!r}; there are {', '.join([*GROUPS, *WORKLOADS])}")
        found += [workload.name for workload in GROUPS[name]] if name in GROUPS else [name]
    return found


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Measure Flamework against its peers.")
    parser.add_argument("names", nargs="*", metavar="NAME",
                        help=f"groups ({', '.join(GROUPS)}) or workloads ({', '.join(WORKLOADS)})")
    parser.add_argument("--contestants", nargs="+", choices=CONTESTANTS, default=list(CONTESTANTS))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1.0, help="of a contestant's turn in a round")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu", help="where everything is computed")
    parser.add_argument("--timeout", type=float, default=120.0, help="seconds for a contestant's first result")
    parser.add_argument("--quick", action="store_true", help="one short round, no second start")
    parser.add_argument("--scaling", action="store_true", help="also with one thread, and at 1/4 and 4 times the size")
    parser.add_argument("--size", choices=("full", "tiny"), default="full", help="tiny only shows that everything runs")
    parser.add_argument("--markdown", metavar="FILE", type=Path, help="write the tables to FILE as well")
    parser.add_argument("--record", metavar="FILE", type=Path, help="keep what is measured in FILE, too")
    options = parser.parse_args(arguments)
    if options.device == "cuda" and not flamework.cuda.is_available():
        parser.error("there is no GPU: `make gpu-report` tells what can be known without one")
    options.workloads, options.primed = chosen(parser, options.names, options.device), None
    if options.quick:
        options.rounds, options.seconds = 1, 0.2
    return options


def read_record(path: Path | None) -> tuple[dict[str, Row], dict[str, float]]:
    """The rows of a file by workload, without those whose workload is gone, and the seconds of imports."""
    if path is None or not path.exists():
        return {}, {}
    record = json.loads(path.read_text())
    rows = [row | {"results": [Result(**result) for result in row["results"]]} for row in record["rows"]]
    return {row["workload"]: Row(**row) for row in rows if row["workload"] in WORKLOADS}, record["imports"]


def write_record(path: Path, rows: dict[str, Row], imports: dict[str, float]) -> None:
    """Write what `read_record` reads."""
    path.write_text(json.dumps({"rows": [asdict(row) for row in rows.values()], "imports": imports}))


def prime(cache: str, threads: int, device: str) -> None:
    """Let torch.compile find out about its compilers, which takes it ten seconds once on a machine and is no part of
    any program's first result. Where it cannot compile, its rows say so."""
    code = f"import torch; torch.compile(lambda x: (x + 1).sum())(torch.ones(100_000, device={device!r}))"
    subprocess.run([sys.executable, "-c", code], env=environment(cache, threads, device), check=device == "cpu")


def measure(workload: str, contestants: list[str], options) -> Row:
    """Everything about one workload; the rates are the better ones of before and after the race."""
    rates = gpu_rates if options.device == "cuda" else functools.partial(machine_rates, options.threads)
    before = rates()
    results = race(workload, contestants, options)
    times = scaling(workload, options) if options.scaling else {}
    after = before if options.quick else rates()
    return Row(workload, results, *map(max, zip(before, after)), times)


def main() -> None:
    options = parse_arguments()
    able = ON_GPU if options.device == "cuda" else [name for name in CONTESTANTS if name not in ONLY_ON_GPU]
    options.contestants = [name for name in options.contestants if name in able]
    here = [name for name in options.contestants if name in installed()]
    text = report.machine(options.threads, [name for name in options.contestants if name not in here], options.device)
    text += f"- Rounds: {options.rounds} of {options.seconds} s for each contestant\n"
    print(text, flush=True)
    rows, imports = read_record(options.record)
    repeats = 1 if options.quick else 5
    imports |= {name: import_seconds(CONTESTANTS[name].module, repeats) for name in here if name not in imports}
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as options.primed:
        if "torch.compile" in here:
            prime(options.primed, options.threads, options.device)
        for name in options.workloads:
            rows[name] = measure(name, here, options)
            print(report.workload_table(rows[name], options.size), flush=True)
            if options.record:
                write_record(options.record, rows, imports)
    ordered = [rows[name] for name in WORKLOADS if name in rows]
    summary = report.summary(ordered, options.size, options.device) + report.start_tables(ordered, imports)
    summary += report.scaling_table(ordered)
    print(summary)
    if options.markdown:
        details = "".join(report.workload_table(row, options.size) for row in ordered)
        wanted = [workload.name for group in default_groups(options.device) for workload in GROUPS[group]]
        missing = len({*wanted} - {*rows})
        left_out = f"- Not measured: {missing} of {len(wanted)} workloads\n" if missing else ""
        page = f"{report.INTRODUCTION}\n{text}{left_out}{summary}\n## Details\n{details}"
        if options.device == "cuda":
            report.write_section(options.markdown, "Measured", report.demoted(page))
        else:
            options.markdown.write_text(f"# Results\n\n{page}")


if __name__ == "__main__":
    main()
