"""Every example runs with one command. Small settings here; what is asserted is what the example is there to show."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("sklearn")
EXAMPLES = Path(__file__).parent.parent.parent / "examples"


def run(name, folder, *arguments):
    """The standard output of an example, run in a folder where it may write."""
    command = [sys.executable, str(EXAMPLES / name), *map(str, arguments)]
    done = subprocess.run(command, cwd=folder, text=True, capture_output=True)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def number_after(text, output):
    return float(re.search(re.escape(text) + r"\s*(-?\d+\.?\d*)", output)[1])


def losses(output):
    return [float(number) for number in re.search(r"loss: ([\d.]+) .*?, ([\d.]+) in the last", output).groups()]


def test_digits_learns_and_writes_its_fused_graph(tmp_path):
    output = run("digits.py", tmp_path, "--graph", "graph")
    first, last = losses(output)
    assert last < 0.1 * first
    assert number_after("test accuracy:", output) >= 97
    kernels = int(re.search(r"(\d+) kernels, with their sources in graph/", output)[1])
    graph = json.loads((tmp_path / "graph" / "graph.json").read_text())
    assert len(graph["kernels"]) == kernels
    sources = {path.read_text() for path in (tmp_path / "graph" / "kernels").glob("*.cpu.py")}
    assert {kernel["cpu_source"] for kernel in graph["kernels"]} - {""} == sources
    assert sources


def test_digits_gives_the_same_loss_for_the_same_seed(tmp_path):
    outputs = [run("digits.py", tmp_path, "--epochs", 2, "--seed", seed) for seed in (3, 3, 4)]
    assert losses(outputs[0]) == losses(outputs[1]) != losses(outputs[2])


def test_compiled_digits_replays_its_step(tmp_path):
    output = run("digits_compiled.py", tmp_path, "--epochs", 12)
    first, last = losses(output)
    assert last < 0.3 * first
    assert number_after("test accuracy:", output) >= 95
    assert number_after("plans replayed:", output) > 10 * number_after("plans built:", output)


def test_cnn_learns(tmp_path):
    output = run("cnn.py", tmp_path, "--epochs", 3, "--width", 8)
    first, last = losses(output)
    assert last < 0.6 * first
    assert number_after("test accuracy:", output) >= 90


def test_transformer_learns_and_writes(tmp_path):
    output = run("transformer.py", tmp_path, "--steps", 60, "--batch-size", 8, "--context", 32, "--sample", 20)
    first, last = losses(output)
    assert last < first - 0.2
    sample = output.split("sample:\n")[1].removesuffix("\n")
    assert len(sample) == 20


def test_inspect_graph_shows_kernels_and_their_source(tmp_path):
    output = run("inspect_graph.py", tmp_path, "--rows", 16, "--width", 8, "--folder", "out")
    operations, kernels = map(int, re.search(r"(\d+) operations in (\d+) kernels", output).groups())
    assert operations > 3 * kernels
    assert number_after("forward alone:", output) < kernels
    assert "def kernel(" in output
    assert (tmp_path / "out" / "explanation.txt").read_text().startswith(f"{kernels} kernels")


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.py")), ids=lambda path: path.stem)
def test_an_example_is_short_and_says_how_to_run_it(path):
    text = path.read_text()
    assert text.count("\n") <= 120
    assert f"python examples/{path.name}" in text
