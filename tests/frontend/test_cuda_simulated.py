"""With a GPU, which numba simulates, everything runs with ``device="cuda"`` as on the CPU.

The simulator has to be asked for before anything is imported, so the calls are made in processes of their own.
"""

from __future__ import annotations

import functools
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from simulated_gpu import PARTS


@functools.cache
def results(part: str) -> dict[str, str | None]:
    script = Path(__file__).with_name("simulated_gpu.py")
    environment = {**os.environ, "NUMBA_ENABLE_CUDASIM": "1", "FLAMEWORK_SIMULATED_GPUS": "2"}
    done = subprocess.run([sys.executable, str(script), part], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize(("part", "name"), [(part, name) for part, table in PARTS.items() for name in table])
def test_on_a_simulated_gpu(part, name):
    problem = results(part)[name]
    assert problem is None, problem


def test_rows_of_the_tables_give_what_they_give_on_the_cpu():
    """A sample, with gradients of strided convolutions among it; the others are chosen by other numbers."""
    command = [sys.executable, "-W", "ignore", str(Path(__file__).with_name("rows_on_gpu.py")), "7", "50"]
    done = subprocess.run(command, env={**os.environ, "NUMBA_ENABLE_CUDASIM": "1"}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["rows"] > 30 and not found["problems"], found["problems"]


def test_importing_asks_for_no_gpu():
    code = "import sys, flamework; print(any(name.startswith('numba') for name in sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
