"""Tables of results, in Markdown that reads well on a terminal too.

In: the results of `run.py`. Out: text. Ratios compare within one run only; times do not carry over between machines.
"""

from __future__ import annotations

import importlib.metadata
import os
import platform
import statistics
from pathlib import Path

from worker import CONTESTANTS

PACKAGES = ("flamework", "numba", "llvmlite", "torch", "jax", "numpy")


def machine(threads: int, missing: list[str]) -> str:
    """What was measured on: processor, system, versions, load."""
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
        f"- Processor: {processor}; {os.cpu_count()} visible, {threads} used by each contestant",
        f"- System: {platform.system()} {platform.machine()}, Python {platform.python_version()}",
        f"- Packages: {', '.join(versions)}",
    ]
    if hasattr(os, "getloadavg"):
        lines.append(f"- Load when the run started: {os.getloadavg()[0]:.1f}")
    if missing:
        lines.append(f"- Not installed, and so left out: {', '.join(missing)}")
    return "\n".join(lines) + "\n"


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


def workload_table(workload, results: list, rate: float, size: str) -> str:
    """One workload: a row for each contestant, and what went wrong underneath."""
    best_peer = best_of(results, peers_only=True)
    traffic = workload.traffic and workload.traffic(**(workload.tiny if size == "tiny" else workload.size))
    limit = traffic / rate if traffic else None
    unit, scale = ("us", 1e6) if (best_of(results) or 1) < 1e-4 else ("ms", 1e3)
    rows, notes = [], []
    for result in results:
        if result.trouble:
            notes.append(f"{result.contestant}: {result.trouble}")
        if not result.samples:
            continue
        best = min(result.samples)
        rows.append([
            result.contestant,
            number(best * scale),
            number(statistics.median(result.samples) * scale),
            number(best / best_peer) if best_peer else "",
            number(best / limit) if limit else "",
            number(result.cold),
            number(result.warm),
            number(result.memory / 2**20),
        ])
    rows.sort(key=lambda row: float(row[1]))
    headings = ["contestant", f"best {unit}", f"median {unit}", "/ best peer", "/ limit"]
    headings += ["first cold s", "first warm s", "peak MiB"]
    text = f"\n### {workload.name}\n\n{workload.text}"
    if limit:
        text += f"; limit {number(limit * 1e3)} ms at {rate / 1e9:.1f} GB/s"
    return text + ".\n\n" + table(headings, rows) + "".join(f"\n- {note}\n" for note in notes)


def summary_table(results: list, rates: list[float]) -> str:
    """Every workload in one row: the best time of each contestant, and Flamework's best over the best peer's."""
    names = [name for name in CONTESTANTS if any(result.contestant == name for result in results)]
    rows = []
    for workload in dict.fromkeys(result.workload for result in results):
        here = [result for result in results if result.workload == workload]
        best = {result.contestant: min(result.samples) * 1e3 for result in here if result.samples}
        peer = best_of(here, peers_only=True)
        own = min((time for name, time in best.items() if not CONTESTANTS[name].peer), default=None)
        ratio = number(own / peer / 1e3) if own and peer else ""
        rows.append([workload, *(number(best.get(name)) for name in names), ratio])
    speeds = f"{min(rates) / 1e9:.1f} to {max(rates) / 1e9:.1f}"
    text = f"\nBest time of one step in milliseconds. The triad ran at {speeds} GB/s.\n\n"
    return text + table(["workload", *names, "flamework / best peer"], rows)


def start_table(results: list, imports: dict[str, float]) -> str:
    """Imports, and the time from the start of a process to the first result of the digits training step."""
    digits = {result.contestant: result for result in results if result.workload == "digits_step"}
    rows = []
    for name, seconds in imports.items():
        started = digits[name].started if name in digits else {}
        counters = digits[name].counters if name in digits else {}
        compiled = [str(counters.get(kind, {}).get("kernels_compiled", "")) for kind in ("cold", "warm")]
        rows.append([name, number(seconds), number(started.get("cold")), number(started.get("warm")), *compiled])
    headings = ["contestant", "import s", "first step s, cold", "warm", "kernels compiled, cold", "warm"]
    text = "\nStarting: importing, and from the start of a process to its first result of digits_step.\n\n"
    return text + table(headings, rows)
