"""What all tests share: where kernels are kept, how property tests choose their examples, a clean state, and what a
test that is marked ``gpu`` needs: a GPU of NVIDIA's. Elsewhere it is skipped, with the reason.

Kernels that tests compile are kept beside pytest's own cache: the user's cache stays as it is, and a second run of the
tests starts warm. They are addressed by their source and the compilers' versions, so none can be stale.
"""

import functools
import os
from pathlib import Path

ROOT = Path(__file__).parent.parent
os.environ.setdefault("FLAMEWORK_CACHE_DIR", str(ROOT / ".pytest_cache" / "kernels"))

import flamework  # noqa: E402, the folder has to be named first
import oracle  # noqa: E402
import pytest  # noqa: E402
from hypothesis import settings  # noqa: E402

# The same examples in each run, and no limit to one of them: machines differ in speed.
settings.register_profile("flamework", deadline=None, derandomize=True)
settings.load_profile("flamework")


def pytest_sessionfinish() -> None:
    if oracle.RECORDING:
        oracle.write()


@functools.cache
def no_gpu() -> str:
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
        if item.get_closest_marker("gpu") and no_gpu():
            item.add_marker(pytest.mark.skip(reason=no_gpu()))


@pytest.fixture(autouse=True)
def same_state_after_as_before():
    """A test that changes a default of the process, and fails before it changes it back, breaks no other test."""
    oracle.start_of_test()
    dtype, grad = flamework.get_default_dtype(), flamework.is_grad_enabled()
    yield
    flamework.set_default_dtype(dtype)
    flamework.set_grad_enabled(grad)
