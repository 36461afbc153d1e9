"""With a GPU, which numba simulates, everything runs with ``device="cuda"`` as on the CPU.

The simulator has to be asked for before anything is imported, so the calls are made in processes of their own.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import simulated_gpu
import simulator


@pytest.mark.parametrize(
    ("part", "name"), [(part, name) for part, checks in simulated_gpu.PARTS.items() for name in checks]
)
def test_on_a_simulated_gpu(part, name):
    problem = simulator.answer(simulated_gpu.__file__, part, FLAMEWORK_SIMULATED_GPUS="2")[name]
    assert problem is None, problem


def test_rows_of_the_tables_give_what_they_give_on_the_cpu():
    """A sample, with gradients of strided convolutions among it; the others are chosen by other numbers."""
    found = simulator.answer(str(Path(__file__).with_name("rows_on_gpu.py")), "7", "50")
    assert found["rows"] > 30 and not found["problems"], found["problems"]


def test_importing_asks_for_no_gpu():
    code = "import sys, flamework; print(any(name.startswith('numba') for name in sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
