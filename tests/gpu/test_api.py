"""On a real GPU, what ``tests/frontend/test_cuda_simulated.py`` checks in the simulator."""

from __future__ import annotations

import inspect
import sys
from pathlib import Path

import flamework
import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "frontend"))

from simulated_gpu import PARTS  # noqa: E402, the folder of the frontend's tests is not on the path

CHECKS = {name: check for table in PARTS.values() for name, check in table.items()}


def needs_two(name: str) -> bool:
    """Whether a check names a second GPU, or counts them."""
    function, *arguments = CHECKS[name]
    text = name if arguments else inspect.getsource(function)
    return any(word in text for word in ("cuda:1", "cuda:2", "device_count() == 2", "range(2)", "(0, 1"))


@pytest.mark.gpu
@pytest.mark.parametrize("name", CHECKS)
def test_on_a_gpu(name):
    if needs_two(name) and flamework.cuda.device_count() != 2:
        pytest.skip("is written for two GPUs")
    function, *arguments = CHECKS[name]
    function(flamework, *arguments)
