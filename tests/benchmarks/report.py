"""Tables of results, in Markdown that reads well on a terminal too.

In: the results of `run.py`. Out: text. Ratios compare within one run only; times do not carry over between machines.
"""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
import statistics
from pathlib import Path

from worker import CONTESTANTS
from workloads import BOUNDS, GROUPS, WORKLOADS

ABSENT = "has no version of this workload"

PACKAGES = ("flamework", "numba", "numba-cuda", "llvmlite", "torch", "jax", "mlx", "tinygrad", "numexpr", "numpy",
            "cupy-cuda13x")
INTRODUCTION = """What `run.py` in this folder measured, written by it. Times compare within one row only: the
machine is shared and its speed changes. A ratio above 1 in the column "/ best peer" is a row that Flamework loses.
"""

GPU_PAGE = """# Results on a GPU

## Measured

No GPU has been measured yet. On a machine with one of NVIDIA's and its driver, `make bench-gpu` measures Flamework,
PyTorch eager, torch.compile, JAX and CuPy on the same programs in turns, and writes its tables here, with the device's
name and the bandwidth of a copy in the same minute. `make bench-gpu ARGS="--quick reductions"` takes minutes.
"""


def machine(threads: int, missing: list[str], device: str = "cpu") -> str:
    """What was measured on: processor or GPU, system, versions, load."""
    processor = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        fields = dict(line.split(":", 1) for line in cpuinfo.read_text().splitlines() if ":" in line)
        fields = {key.strip(): value.strip() for key, value in fields.items()}
        vector = [flag for flag in ("neon", "asimd", "avx2", "avx512f") if flag in fields.get("flags", "").split()]
        processor = ", ".join([fields.get("model name", processor), *vector])
    versions = []
    for package in PACKAGES:
        try:
            versions.append(f"{package} {importlib.metadata.version(package)}")
        except importlib.metadata.PackageNotFoundError:
            continue
    lines = [
        f"- Processor: {processor}; {os.cpu_count()} visible, {threads} used by each contestant{memory_size()}",
        f"- System: {platform.system()} {platform.machine()}, Python {platform.python_version()}",
        f"- Packages: {', '.join(versions)}",
    ]
    if device != "cpu":
        import flamework

        lines.insert(0, f"- GPU: {flamework.cuda.get_device_name()}")
    if hasattr(os, "getloadavg"):
        lines.append(f"- Load when the run started: {os.getloadavg()[0]:.1f}")
    if missing:
        lines.append(f"- Not installed, and so left out: {', '.join(missing)}")
    return "\n".join(lines) + "\n"


def write_section(path: Path, heading: str, text: str) -> None:
    """Write the section ``## heading`` of the page about GPUs, in place of the one that it has, or at its end."""
    page = path.read_text() if path.exists() else GPU_PAGE
    sections = re.split(r"^(?=## )", page, flags=re.MULTILINE)
    at = next((i for i, section in enumerate(sections) if section.startswith(f"## {heading}\n")), len(sections))
    sections[at : at + 1] = [f"## {heading}\n\n{text}"]
    path.write_text("\n\n".join(section.strip("\n") for section in sections) + "\n")


def demoted(text: str) -> str:
    """The same with each heading one level lower."""
    return re.sub(r"^(#+ )", r"#\1", text, flags=re.MULTILINE)


def memory_size() -> str:
    try:
        return f"; {os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE') / 2**30:.0f} GiB of memory"
    except (AttributeError, ValueError, OSError):  # not every system says
        return ""


def table(headings: list[str], rows: list[list[str]]) -> str:
    """A Markdown table with columns padded to their width; the first is flush left, the others flush right."""
    widths = [max(len(row[i]) for row in [headings, *rows]) for i in range(len(headings))]

    def line(cells):
        padded = [cells[0].ljust(widths[0])] + [cell.rjust(width) for cell, width in zip(cells[1:], widths[1:])]
        return "| " + " | ".join(padded) + " |\n"

    rule = "|" + "|".join([":" + "-" * (widths[0] + 1)] + ["-" * (width + 1) + ":" for width in widths[1:]]) + "|\n"
    return line(headings) + rule + "".join(line(row) for row in rows)


def number(value: float | None, digits: int = 3) -> str:
    """A number to so many significant digits, without an exponent; nothing for None."""
    if value is None:
        return ""
    decimals = 0
    while decimals < 6 and abs(value) * 10**decimals < 10 ** (digits - 1) and value:
        decimals += 1
    return f"{value:.{decimals}f}"


def best_of(results: list, peers_only: bool = False) -> float | None:
    times = [min(r.samples) for r in results if r.samples and (CONTESTANTS[r.contestant].peer or not peers_only)]
    return min(times, default=None)


def best_own(results: list) -> float | None:
    return min((min(r.samples) for r in results if r.samples and not CONTESTANTS[r.contestant].peer), default=None)


def ratio(value: float | None, to: float | None) -> str:
    return number(value / to) if value and to else ""


def workload_table(row, size: str) -> str:
    """One workload: a row for each contestant, and what went wrong underneath."""
    workload, results = WORKLOADS[row.workload], row.results
    best_peer = best_of(results, peers_only=True)
    limit, source = workload.limit(row.memory_rate, row.arithmetic_rate, size == "tiny") or (None, "")
    unit, scale = ("us", 1e6) if (best_of(results) or 1) < 1e-4 else ("ms", 1e3)
    rows, notes = [], []
    for result in sorted(results, key=lambda result: min(result.samples, default=0)):
        if result.trouble and result.trouble != ABSENT:
            notes.append(f"{result.contestant}: {result.trouble}")
        if not result.samples:
            continue
        best = min(result.samples)
        rows.append([
            result.contestant,
            number(best * scale),
            number(statistics.median(result.samples) * scale),
            ratio(best, best_peer),
            ratio(best, limit),
            number(result.cold),
            number(result.warm),
            number(result.memory / 2**20),
        ])
    headings = ["contestant", f"best {unit}", f"median {unit}", "/ best peer", "/ limit"]
    headings += ["first cold s", "first warm s", "peak MiB"]
    text = f"\n### {workload.name}\n\n{workload.text}"
    if limit:
        rate = f"{row.memory_rate / 1e9:.1f} GB/s" if source == "memory" else f"{row.arithmetic_rate / 1e9:.0f} GFLOP/s"
        text += f"; limit {number(limit * 1e3)} ms, {source} at {rate}"
    return text + ".\n\n" + table(headings, rows) + "".join(f"\n- {note}\n" for note in notes)


def summary(rows: list, size: str, device: str = "cpu") -> str:
    """A table for each group: a row for each workload with the best time of each contestant, Flamework's best over the
    best peer's and over the limit, and what bounds it; on a GPU which part of the bandwidth of a copy it uses."""
    measured = {result.contestant for row in rows for result in row.results if result.samples}
    names = [name for name in CONTESTANTS if name in measured]
    speeds = [row.memory_rate / 1e9 for row in rows], [row.arithmetic_rate / 1e9 for row in rows]
    program = "triad" if device == "cpu" else "copy"
    text = (f"\n## Summary\n\nBest time of one step in milliseconds. The {program} ran at {min(speeds[0]):.1f} to "
            f"{max(speeds[0]):.1f} GB/s, the product at {min(speeds[1]):.0f} to {max(speeds[1]):.0f} GFLOP/s: "
            "where these are far apart, others used the machine, and the limits of some rows are too high.\n")
    for group, workloads in GROUPS.items():
        lines = []
        for row in rows:
            workload = WORKLOADS[row.workload]
            if workload not in workloads:
                continue
            best = {result.contestant: min(result.samples) * 1e3 for result in row.results if result.samples}
            limit, source = workload.limit(row.memory_rate, row.arithmetic_rate, size == "tiny") or (None, "")
            own = best_own(row.results)
            last = BOUNDS.get(row.workload, "")
            if device != "cpu":
                last = f"{100 * limit / own:.0f}%" if limit and own and source == "memory" else ""
            lines.append([row.workload, number(limit and limit * 1e3), *(number(best.get(name)) for name in names),
                          ratio(own, best_of(row.results, peers_only=True)), ratio(own, limit), last])
        if lines:
            headings = [group, "limit", *names, "/ best peer", "/ limit",
                        "bound by" if device == "cpu" else "of bandwidth"]
            text += "\n" + table(headings, lines)
    return text


def start_tables(rows: list, imports: dict[str, float]) -> str:
    """Imports, and for each workload the time to its first result and how many kernels Flamework compiled for it."""
    shown = [name for name in ("flamework.compile", "torch.compile", "jax") if name in imports]
    lines = []
    for row in rows:
        results = {result.contestant: result for result in row.results}
        own = results.get("flamework.compile") or Nothing
        times = [number(getattr(results.get(name, Nothing), kind)) for name in shown for kind in ("cold", "warm")]
        lines.append([row.workload, str(own.counters.get("cold", {}).get("kernels_compiled", "")), *times,
                      number(own.started.get("cold")), number(own.started.get("warm"))])
    headings = ["workload", "kernels compiled"] + [f"{name} {kind}" for name in shown for kind in ("cold", "warm")]
    text = "\n## First results\n\nSeconds to import, in a new process:\n\n"
    text += table(["contestant", "s"], [[name, number(seconds)] for name, seconds in imports.items()])
    text += ("\nThe kernels that flamework.compile compiles with an empty cache; seconds to the first result without "
             "the import, with an empty cache and with the cache that this left; and those of flamework.compile from "
             "the start of its process.\n\n")
    return text + table([*headings, "process cold", "process warm"], lines)


class Nothing:
    """A contestant that was not measured."""

    cold = warm = None
    counters: dict = {}
    started: dict = {}


def scaling_table(rows: list) -> str:
    """Flamework's speedup by threads, and how its time grows with the work."""
    lines = []
    for row in rows:
        whole, quarter, four = (row.scaling.get(case) for case in ("whole", "quarter", "four times"))
        if whole:
            lines.append([row.workload, number(whole * 1e3), ratio(row.scaling.get("one thread"), whole),
                          ratio(whole, quarter and 4 * quarter), ratio(four, quarter and 16 * quarter)])
    if not lines:
        return ""
    text = ("\n## Scaling\n\nflamework.compile: the time with all threads, how many times longer one thread takes, and "
            "the time at 4 and at 16 times the least work over 4 and 16 times its time (1 is linear; the whole size is "
            "the one in the middle, and the least work may fit into a cache).\n\n")
    return text + table(["workload", "ms", "speedup by threads", "4 times the work", "16 times"], lines)
