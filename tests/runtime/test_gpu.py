"""Programs on a GPU, with a stand-in for the driver: the calls that it gets, and what they compute in the simulator."""

import re
from dataclasses import replace

import gpu_cases
import pytest
import simulator
from flamework.compiler.codegen_cuda import Launch
from flamework.runtime import gpu_groups
from flamework.runtime.gpu_groups import Step


@pytest.fixture(scope="module")
def report():
    return simulator.answer(gpu_cases.__file__)


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


@pytest.mark.parametrize("what", ["kernel", "graph"])
def test_without_memory_to_launch_a_program_can_be_run_again(report, what):
    (message, *found), graphs = report[f"no memory for a {what}"]
    assert "2" in message and found == [True, True]
    assert graphs == 1


def test_memory_is_freed(report):
    assert report["freed"] == [True, 0, 0, 0]


def test_a_row_is_read_where_it_is(report):
    assert report["rows"] == [[3, 4, 5], *[[3, 4, 5], [4, 5, 6]] * 2]


def test_a_launch_has_as_many_blocks_as_run_at_once_and_the_bits_are_the_same(report):
    # two on each of so many multiprocessors
    assert report["grids"] == [[2, 6], True]


def test_adam_over_fifty_parameters_is_few_launches(report):
    agrees, launches = report["adam"]
    assert agrees
    assert max(launches) <= 3


def a_step(reads, writes, source="one", function="kernel", arguments=()):
    """A launch that reads and writes spans of the arena, ``(begin, end)``."""
    spans = [("pointer", 0, begin, end - begin) for begin, end in (*reads, *writes)]
    written = frozenset(range(len(reads), len(spans)))
    return Step(source, Launch(function, 1, 8, 5), [*spans, *arguments], written=written)


def grouped(steps):
    """How many launches of each source the steps become, in order."""
    source = "def kernel(a0, a1, units):\n    unit = i64(cuda.blockIdx.x)\n    unit += i64(cuda.gridDim.x)\n"
    steps = [replace(step, source=source + f"    # {step.source}\n") for step in steps]
    found = gpu_groups.group(steps, 2)
    return [(re.search("# (.*)", step.source)[1], step.source.count("_of_0")) for step in found]


def test_launches_are_grouped_if_their_order_does_not_matter():
    one, other = a_step([(0, 8)], [(8, 16)]), a_step([(16, 24)], [(24, 32)])
    assert [count > 0 for _, count in grouped([one, other])] == [True]
    reads_it, writes_it, writes_what_it_reads = (
        a_step([(12, 20)], [(40, 48)]), a_step([(16, 24)], [(15, 17)]), a_step([(30, 38)], [(4, 12)])
    )
    for later in (reads_it, writes_it, writes_what_it_reads):
        assert [count for _, count in grouped([one, later])] == [0, 0]


def test_a_launch_is_not_moved_before_what_it_depends_on():
    first, between = a_step([(0, 8)], [(8, 16)]), a_step([(8, 16)], [(16, 24)], source="two")
    assert [name for name, _ in grouped([first, between, a_step([(16, 24)], [(32, 40)])])] == ["one", "two", "one"]
    assert [name for name, _ in grouped([first, between, a_step([(24, 32)], [(32, 40)])])] == ["one", "two"]
    keeps_its_place = replace(between, written=None)
    assert len(grouped([first, keeps_its_place, a_step([(24, 32)], [(32, 40)])])) == 3


def test_a_launch_of_many_members_stays_within_the_parameters_of_a_kernel():
    steps = [a_step([(20 * k, 20 * k + 8)], [(20 * k + 8, 20 * k + 16)]) for k in range(150)]
    sources = gpu_groups.group([replace(s, source="def kernel(a0, a1, units):\n    pass\n") for s in steps], 2)
    assert [len(step.arguments) + 1 <= 512 for step in sources] == [True] * 3


def test_rows_of_any_length_are_sorted_stably(report):
    assert report["sorting"] == "sorted"


def test_pinned_memory_is_locked_by_the_driver_for_as_long_as_it_lives(report):
    assert report["locked"] == [True, [0, 1, 2, 3, 4], 1, 0]


def test_threads_of_a_simulated_block_share_their_memory(report):
    assert report["shared"] == [True, [30, 34, 38, 42, 46]]
