"""Programs on a GPU, with a stand-in for the driver: the calls that it gets, and what they compute in the simulator."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.fixture(scope="module")
def report():
    command = [sys.executable, "-W", "ignore", str(Path(__file__).with_name("gpu_cases.py"))]
    environment = {**os.environ, "NUMBA_ENABLE_CUDASIM": "1"}
    finished = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stderr
    return json.loads(finished.stdout)


@pytest.mark.parametrize("how", ["lazy", "compiled"])
def test_training_is_as_on_the_cpu(report, how):
    assert report[how]["cuda"][0] == pytest.approx(report[how]["cpu"][0], rel=1e-5)


@pytest.mark.parametrize("how", ["lazy", "compiled"])
def test_a_step_that_was_planned_is_one_launch_of_a_graph(report, how):
    calls = report[how]["cuda"][1][-1]
    assert {name for name, count in calls.items() if count} == {
        "cuCtxSetCurrent", "cuGraphLaunch", "cuGraphExecKernelNodeSetParams", "cuMemcpyDtoHAsync", "cuStreamSynchronize"
    }
    assert calls["cuGraphLaunch"] == 1
    # whether the classes are in range, and the loss
    assert calls["cuMemcpyDtoHAsync"] == calls["cuStreamSynchronize"] == 2


def test_an_index_out_of_range_is_reported_and_the_device_goes_on(report):
    message, table, total = report["out of range"]
    assert message == "index 7 is out of bounds for dimension with size 4"
    assert table == [[0, 1, 2], [3, 4, 5], [6, 7, 8], [9, 10, 11]]
    assert total == 78


def test_no_memory_is_an_error_that_says_how_much_and_the_program_goes_on(report):
    message, total, held, again = report["out of memory"]
    assert message.startswith("CUDA out of memory. Tried to allocate 781.25 KiB. GPU 0 has a total capacity of 1.00")
    assert total == 2000
    assert held >= 604_000
    assert again == 200_000


def test_memory_is_freed(report):
    assert report["freed"] == [True, 0, 0, 0]


def test_a_row_is_read_where_it_is(report):
    assert report["rows"] == [[3, 4, 5], *[[3, 4, 5], [4, 5, 6]] * 2]


def test_a_launch_has_as_many_blocks_as_run_at_once_and_the_bits_are_the_same(report):
    # two on each of so many multiprocessors
    assert report["grids"] == [[2, 6], True]


def test_rows_of_any_length_are_sorted_stably(report):
    assert report["sorting"] == "sorted"


def test_pinned_memory_is_locked_by_the_driver_for_as_long_as_it_lives(report):
    assert report["locked"] == [True, [0, 1, 2, 3, 4], 1, 0]


def test_threads_of_a_simulated_block_share_their_memory(report):
    assert report["shared"] == [True, [30, 34, 38, 42, 46]]
