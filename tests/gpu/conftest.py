"""Tests that need a GPU of NVIDIA's are marked ``gpu``, and skipped with the reason elsewhere."""

import functools
import os
import sys
from pathlib import Path

import pytest

# the GPU that nobody has is the benchmarks', and their report's
sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))


@functools.cache
def reason() -> str:
    """Why there is no GPU to test on; empty where there is one."""
    if os.environ.get("NUMBA_ENABLE_CUDASIM", "0") not in ("", "0"):
        return "needs a GPU, and numba simulates one"
    try:
        from flamework.runtime import nvidia

        nvidia.driver()
    except Exception as error:
        return f"needs a GPU of NVIDIA's and its driver: {error}"
    return "" if nvidia.count() else "needs a GPU: the driver sees none"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.get_closest_marker("gpu") and reason():
            item.add_marker(pytest.mark.skip(reason=reason()))
