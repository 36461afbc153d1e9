"""What the workloads become on a GPU, where none is needed to know it.

    make gpu-report                                          every workload, into tests/benchmarks/RESULTS-GPU.md
    make gpu-report ARGS="reductions softmax_4096"           groups or workloads, printed

Each workload runs on a device that holds no memory and computes nothing: Flamework records, fuses, plans and launches
as it would on a GPU, at the full sizes, and the kernels that it would launch are compiled to machine code for a compute
capability. Which kernels these are, what they take and how many bytes they move is then known; how long they take is
not.

In: names of groups or workloads. Out: the section "Kernels" of RESULTS-GPU.md. Read next: ``run.py``, which measures.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import contextlib
import multiprocessing
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import flamework
import numpy as np
import report
import run
from flamework import inspection
from flamework.compiler.codegen_cuda import THREADS
from flamework.kernels.cuda import toolchain
from flamework.runtime import gpu, gpu_kernels
from flamework.runtime.gpu_plan import GpuPlan
from worker import Runner
from workloads import GROUPS, WORKLOADS

CC = (9, 0)
BYTES_PER_SECOND = 4.8e12  # the peak of an H200's memory, as its data sheet gives it
SPAWN = multiprocessing.get_context("spawn")
COLUMNS = ("registers", "shared", "spills", "barriers")

#: Atomic operations, with which a sum would be in another order each time; all but the exchange by which the first
#: index out of range is kept.
ATOMIC = re.compile(r"\b(?:atom|red)\.(?!global\.cas\.b64)")

INTRODUCTION = """What each step launches once it has run before, compiled for compute capability 9.0 and read off the
machine code: blocks of the largest launch, registers of a thread, bytes of shared memory of a block, bytes that do not
fit into registers (spills), and barriers. Launches of one kernel are one row. The bytes are predicted, not measured:
each operand is read or written once from memory. The last column is a prediction, too, the time that these bytes take
at 4.8 TB/s, the peak of an H200's memory: a launch itself takes a few microseconds, products and convolutions are bound
by arithmetic, and few blocks do not reach the peak. A row without registers is computed by a library on the CPU.
"""


class Dry(gpu.Gpu):
    """A GPU that nobody has: addresses without memory behind them, and launches that do nothing."""

    title = "none"
    cc = CC
    processors = 132
    threads = THREADS

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.next = 1 << 40

    def obtain(self, size: int) -> int:
        self.next += size
        return self.next - size

    def release(self, address: int) -> None:
        pass

    def memory(self) -> tuple[int, int]:
        return 141 << 30, 141 << 30

    def write(self, address: int, array: np.ndarray) -> None:
        pass

    def download(self, address: int, array: np.ndarray) -> None:
        array[...] = 0
        if array.dtype == bool:
            array.reshape(-1)[::2] = True  # a mask chooses as many as one of random numbers

    def launches(self, launches: Sequence[gpu.Launched]) -> gpu.Launches:
        return DryLaunches(self, launches)


class DryLaunches(gpu.Launches):
    def run(self) -> None:
        pass


@dataclass
class Line:
    """Kernels of one source in a workload: what they are, how many launches, and the bytes that these move."""

    name: str
    source: str
    launches: int = 0
    blocks: int = 0
    bytes_read: int = 0
    bytes_written: int = 0

    @property
    def seconds(self) -> float:
        return (self.bytes_read + self.bytes_written) / BYTES_PER_SECOND


@contextlib.contextmanager
def dry() -> Iterator[list[GpuPlan]]:
    """Let ``cuda`` be a dry GPU in the block; yields a list to which each program that runs is added."""
    device, ran = Dry("cuda:0"), []
    before = gpu.is_simulator, gpu.count, gpu.gpu, GpuPlan.run

    def run(plan: GpuPlan, *arguments) -> list[gpu.DeviceBuffer]:
        ran.append(plan)
        return before[-1](plan, *arguments)

    gpu.is_simulator, gpu.count, gpu.gpu, GpuPlan.run = lambda: False, lambda: 1, lambda name: device, run
    try:
        yield ran
    finally:
        flamework.set_default_device("cpu")
        gpu.is_simulator, gpu.count, gpu.gpu, GpuPlan.run = before


def lines_of(name: str, tiny: bool = False) -> list[Line]:
    """What a step of a workload launches once it has run before; what is computed on the CPU has no source."""
    with dry() as ran:
        contestant = "flamework.compile" if WORKLOADS[name].compiles else "flamework"
        runner = Runner(WORKLOADS[name], contestant, tiny, device="cuda")
        runner.round(0.0)
        ran.clear()
        runner.finish(runner.step())
        found: dict[tuple[str, str], Line] = {}
        for plan in ran:
            for number in range(len(plan.items)):
                kernel = inspection.describe(plan, number, {})
                short = kernel.name.rpartition("_")[0] if kernel.kind == "kernel" else kernel.name
                steps = plan.steps(number)
                # a scatter is launches of several sources: bytes are those of the first
                for place, source in enumerate(dict.fromkeys(step.source for step in steps)):
                    line = found.setdefault((short, source), Line(short, source))
                    own = [step for step in steps if step.source == source]
                    line.launches += len(own)
                    line.blocks = max(line.blocks, *(step.launch.blocks for step in own if step.launch), 0)
                    if place == 0:
                        line.bytes_read += kernel.bytes_read
                        line.bytes_written += kernel.bytes_written
    return list(found.values())


def resources(source: str) -> dict[str, int]:
    """What the machine code of a source takes, by ``ptxas``, and how many atomic operations its PTX has."""
    text = gpu_kernels.machine_code(source, CC, THREADS).rstrip(b"\0").decode()
    return toolchain.resources(text, CC) | {"atomics": len(ATOMIC.findall(text))}


def section(name: str, lines: list[Line], found: dict[str, dict[str, int]], size: str = "full") -> str:
    """One workload: a row for each of its kernels."""
    rows = []
    for line in lines:
        taken = found.get(line.source, {})
        rows.append([
            line.name, str(line.launches), str(line.blocks), *(str(taken.get(key, "")) for key in COLUMNS),
            megabytes(line.bytes_read), megabytes(line.bytes_written), report.number(line.seconds * 1e6),
        ])
    headings = ["kernel", "launches", "blocks", *COLUMNS, "MB read", "MB written", "us at peak"]
    total = sum(line.seconds for line in lines)
    launches = sum(line.launches for line in lines)
    return (f"\n#### {name}\n\n{WORKLOADS[name].text}: {launches} launches, {report.number(total * 1e6)} us.\n\n"
            + report.table(headings, rows))


def megabytes(count: int) -> str:
    return report.number(count / 1e6)


def kernels_section(names: list[str], tiny: bool = False) -> str:
    """The section for these workloads."""
    lines = {name: lines_of(name, tiny) for name in names}
    sources = list(dict.fromkeys(line.source for found in lines.values() for line in found if line.source))
    with concurrent.futures.ProcessPoolExecutor(os.cpu_count(), mp_context=SPAWN) as pool:
        found = dict(zip(sources, pool.map(resources, sources, chunksize=4)))
    spilled = sum(taken["spills"] > 0 for taken in found.values())
    most = max((taken["registers"] for taken in found.values()), default=0)
    atomic = sum(taken["atomics"] > 0 for taken in found.values())
    text = (f"{INTRODUCTION}\n{len(found)} different kernels; {spilled} of them spill, {atomic} have atomic "
            f"operations; at most {most} registers a thread.\n")
    for group, workloads in GROUPS.items():
        chosen = [workload.name for workload in workloads if workload.name in lines]
        text += f"\n### {group}\n" if chosen else ""
        text += "".join(section(name, lines[name], found) for name in chosen)
    return text


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="What the workloads become on a GPU; none is needed.")
    parser.add_argument("names", nargs="*", metavar="NAME", help="groups or workloads; all of them go to a file")
    parser.add_argument("--markdown", metavar="FILE", type=Path, help="the file whose section Kernels is written")
    options = parser.parse_args(arguments)
    names = run.chosen(parser, options.names, "cuda")
    text = kernels_section(names)
    print(text)
    if options.markdown:
        report.write_section(options.markdown, "Kernels", text)


if __name__ == "__main__":
    main()
