"""The native driver and its threads: order, partition, errors, concurrency, forks."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import threading
import time

import numpy as np
import pytest
from flamework.kernels.cpu import driver, toolchain
from flamework.kernels.cpu.driver import CHECKED, ENTRY_WORDS, SERIAL, SLEEP_CONDITION, SLEEP_FUTEX
from flamework.runtime import threads
from flamework.runtime.loader import load_object
from flamework.runtime.threads import Pool, default_num_threads, get_num_threads, set_num_threads

MODES = [SLEEP_CONDITION, SLEEP_FUTEX] if sys.platform.startswith("linux") else [SLEEP_CONDITION]

KERNELS = """
def add_one(args, start, stop):
    x = pointer_i64(args[0])
    for i in range(start, stop):
        store(x, i, load(x, i, 0) + 1, 0)


def count_call(args, start, stop):
    # args: counter of calls, longest part, number of units done
    atomic_add(args[0], 1)
    atomic_add(args[0] + 16, stop - start)
    longest = atomic_load(args[0] + 8)
    while longest < stop - start:
        atomic_compare_exchange(args[0] + 8, longest, stop - start)
        longest = atomic_load(args[0] + 8)


def shift_left(args, start, stop):
    # y[i] = x[i + 1]: wrong unless the entry that wrote x is complete
    x = pointer_i64(args[0])
    y = pointer_i64(args[1])
    n = args[2]
    for i in range(start, stop):
        store(y, i, load(x, (i + 1) % n, 0) + 1, 1)


def fail_at(args, start, stop):
    # sets the error word if unit args[1] is among those done
    if start <= args[1] and args[1] < stop:
        write_word(args[0], 1)


def row_sums(args, start, stop):
    x = pointer_f32(args[0])
    out = pointer_f32(args[1])
    n = args[2]
    for row in range(start, stop):
        total = f32(0.0)
        for i in range(n):
            loop_hint(16, 4)
            total = fadd_reassoc(total, load(x, row * n + i, 0))
        store(out, row, total, 1)
"""


@pytest.fixture(scope="module")
def native():
    compiled = toolchain.compile_kernels(
        driver.DRIVER_SOURCE, list(driver.DRIVER_SIGNATURES), driver.DRIVER_NAMESPACE, driver.DRIVER_SIGNATURES
    )
    names = ["add_one", "count_call", "shift_left", "fail_at", "row_sums"]
    kernels = toolchain.compile_kernels(textwrap.dedent(KERNELS), names)
    return load_object(compiled.object_code, compiled.symbols), load_object(kernels.object_code, kernels.symbols)


@pytest.fixture
def kernels(native):
    return native[1]


@pytest.fixture(params=MODES)
def pool(native, request):
    previous = get_num_threads()
    set_num_threads(4)
    yield Pool(native[0], threshold=1, sleep_mode=request.param)
    set_num_threads(previous)


class Tape:
    """A tape under construction, which keeps what it points to."""

    def __init__(self):
        self.entries, self.kept = [], []

    def add(self, function, *arguments, units, work=None, flags=0, error=None):
        words = np.array([a.ctypes.data if isinstance(a, np.ndarray) else a for a in arguments], np.int64)
        self.kept += [words, *arguments, error]
        error_address = 0 if error is None else error.ctypes.data
        work = units if work is None else work
        self.entries.append([function, words.ctypes.data, units, work, flags, error_address, 0, 0])
        return self

    def run(self, pool):
        tape = np.array(self.entries, np.int64).reshape(-1, ENTRY_WORDS)
        return pool.run(tape.ctypes.data, len(tape))


@pytest.mark.parametrize("units", [0, 1, 2, 3, 7, 16, 17, 1000, 4096, 100_003])
def test_every_unit_is_done_exactly_once(pool, kernels, units):
    x = np.arange(units + 1)
    assert Tape().add(kernels["add_one"], x, units=units).run(pool) == 1
    np.testing.assert_array_equal(x[:units], np.arange(units) + 1)
    assert x[units] == units


def test_parallel_entries_are_divided_and_serial_ones_are_not(pool, kernels):
    for flags, work, divided in ((0, 10**9, True), (SERIAL, 10**9, False), (0, 0, False)):
        counts = np.zeros(3, np.int64)
        Tape().add(kernels["count_call"], counts, units=1000, work=work, flags=flags).run(pool)
        calls, longest, done = counts
        assert done == 1000
        assert (calls, longest) == ((16, 63) if divided else (1, 1000))


def test_each_entry_is_complete_before_the_next_begins(pool, kernels):
    n, steps = 5003, 200
    x, y = np.arange(n), np.zeros(n, np.int64)
    tape = Tape()
    for step in range(steps):
        source, target = (x, y) if step % 2 == 0 else (y, x)
        tape.add(kernels["shift_left"], source, target, n, units=n)
    assert tape.run(pool) == steps
    np.testing.assert_array_equal(x, np.roll(np.arange(n), -steps) + steps)


def test_a_checked_entry_with_an_error_stops_the_tape(pool, kernels):
    for failing in (0, 2, 4, None):
        x, errors = np.zeros(100, np.int64), np.zeros(1, np.int64)
        tape = Tape()
        for index in range(5):
            tape.add(kernels["add_one"], x, units=100)
            unit = 37 if index == failing else -1
            tape.add(kernels["fail_at"], errors, unit, units=100, flags=CHECKED, error=errors)
        assert tape.run(pool) == (10 if failing is None else 2 * failing + 1)
        np.testing.assert_array_equal(x, 5 if failing is None else failing + 1)


def test_an_error_word_is_not_looked_at_without_the_flag(pool, kernels):
    errors = np.zeros(1, np.int64)
    tape = Tape().add(kernels["fail_at"], errors, 0, units=10).add(kernels["fail_at"], errors, 0, units=10)
    assert tape.run(pool) == 2
    assert errors[0] == 1


def test_an_empty_tape_runs(pool):
    assert pool.run(0, 0) == 0


def test_results_do_not_depend_on_the_number_of_threads(native, kernels):
    x = np.random.default_rng(0).standard_normal((257, 1003)).astype(np.float32)
    results = []
    previous = get_num_threads()
    try:
        for count in (1, 2, 3, 8):
            set_num_threads(count)
            pool = Pool(native[0], threshold=1)
            out = np.empty(257, np.float32)
            Tape().add(kernels["row_sums"], x, out, 1003, units=257).run(pool)
            assert pool.threads == count
            results.append(out)
    finally:
        set_num_threads(previous)
    for other in results[1:]:
        np.testing.assert_array_equal(results[0].view(np.uint32), other.view(np.uint32))


def test_workers_that_went_to_sleep_come_back(pool, kernels):
    x = np.zeros(100_000, np.int64)
    tape = Tape().add(kernels["add_one"], x, units=x.size, work=10**9)
    for pause in (0, 0.003, 0, 0.01, 0.003, 0):
        tape.run(pool)
        time.sleep(pause)
    np.testing.assert_array_equal(x, 6)


def test_tapes_of_several_python_threads_run_at_the_same_time(pool, kernels):
    arrays = [np.zeros(3001, np.int64) for _ in range(4)]

    def work(x):
        tape = Tape()
        for _ in range(50):
            tape.add(kernels["add_one"], x, units=x.size)
        for _ in range(20):
            tape.run(pool)

    workers = [threading.Thread(target=work, args=(x,)) for x in arrays]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    for x in arrays:
        np.testing.assert_array_equal(x, 1000)


def test_the_number_of_threads_can_change_while_tapes_run(pool, kernels):
    x = np.zeros(3001, np.int64)
    tape = Tape()
    for _ in range(20):
        tape.add(kernels["add_one"], x, units=x.size)
    runs = []

    def work():
        for _ in range(300):
            runs.append(tape.run(pool))

    worker = threading.Thread(target=work)
    worker.start()
    count = 1
    while worker.is_alive():
        set_num_threads(count)
        count = count % 4 + 1
        time.sleep(0.001)
    worker.join()
    assert runs == [20] * 300
    np.testing.assert_array_equal(x, 6000)


def test_workers_end_with_their_pool(native, kernels):
    previous = get_num_threads()
    set_num_threads(3)
    try:
        before = set(threading.enumerate())
        pool = Pool(native[0], threshold=1)
        x = np.zeros(1000, np.int64)
        Tape().add(kernels["add_one"], x, units=1000).run(pool)
        workers = set(threading.enumerate()) - before
        assert len(workers) == 2
        assert all(worker.daemon for worker in workers)
        del pool
        for worker in workers:
            worker.join(timeout=10)
            assert not worker.is_alive()
    finally:
        set_num_threads(previous)


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_has_a_pool_of_its_own(pool, kernels):
    x = np.zeros(10_000, np.int64)
    tape = Tape().add(kernels["add_one"], x, units=x.size)
    tape.run(pool)
    child = os.fork()
    if child == 0:
        fault = 1
        try:
            for _ in range(20):
                tape.run(pool)
            fault = 0 if (x == 21).all() and pool.threads == 4 else 2
        finally:
            os._exit(fault)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    tape.run(pool)
    np.testing.assert_array_equal(x, 2)


def test_a_program_ends_while_workers_are_asleep_or_spinning(native, tmp_path):
    compiled = toolchain.compile_kernels(
        driver.DRIVER_SOURCE, list(driver.DRIVER_SIGNATURES), driver.DRIVER_NAMESPACE, driver.DRIVER_SIGNATURES
    )
    (tmp_path / "driver.o").write_bytes(compiled.object_code)
    script = f"""
import sys
from flamework.runtime import threads
from flamework.runtime.loader import load_object
threads.set_num_threads(3)
driver = load_object(open("driver.o", "rb").read(), {compiled.symbols!r})
pool = threads.Pool(driver)
pool.run(0, 0)
assert pool.threads == 3 and "numba" not in sys.modules
"""
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stderr == ""


def test_starting_a_pool_leaves_the_callers_cores_alone(pool, kernels):
    cores = threads._available_cores()
    x = np.zeros(1000, np.int64)
    Tape().add(kernels["add_one"], x, units=1000).run(pool)
    assert threads._available_cores() == cores


def test_driver_releases_the_gil(native):
    compiled = toolchain.compile_kernels(
        textwrap.dedent("""
            def wait_for_flag(args, start, stop):
                while atomic_load(args[0]) == 0:
                    pause()
        """),
        ["wait_for_flag"],
    )
    waiting = load_object(compiled.object_code, compiled.symbols)
    flag = np.zeros(1, np.int64)
    pool = Pool(native[0])
    tape = Tape().add(waiting["wait_for_flag"], flag, units=1, flags=SERIAL)
    worker = threading.Thread(target=tape.run, args=(pool,))
    worker.start()
    flag[0] = 1  # this thread would never get here if the driver held the GIL
    worker.join(timeout=30)
    assert not worker.is_alive()


# The number of threads --------------------------------------------------------------------------------------------


def test_set_num_threads_is_seen_and_checked():
    previous = get_num_threads()
    try:
        set_num_threads(3)
        assert get_num_threads() == 3
        for wrong in (0, -1):
            with pytest.raises(RuntimeError, match="positive"):
                set_num_threads(wrong)
        for wrong in (1.5, "2", None, True):
            with pytest.raises(TypeError, match="expects an int"):
                set_num_threads(wrong)
        assert get_num_threads() == 3
    finally:
        set_num_threads(previous)


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, 6),
        ({"OMP_NUM_THREADS": "2"}, 2),
        ({"OMP_NUM_THREADS": "3,2"}, 3),
        ({"OMP_NUM_THREADS": "2", "FLAMEWORK_NUM_THREADS": "4"}, 4),
        ({"FLAMEWORK_NUM_THREADS": "100"}, 6),
        ({"FLAMEWORK_NUM_THREADS": "0"}, 6),
        ({"OMP_NUM_THREADS": "many"}, 6),
        ({"OMP_NUM_THREADS": ""}, 6),
    ],
)
def test_default_is_the_least_of_cores_quota_and_environment(environment, expected, monkeypatch):
    monkeypatch.setattr(threads, "_available_cores", lambda: 8)
    monkeypatch.setattr(threads, "_cgroup_quota", lambda: 6)
    assert default_num_threads(environment) == expected


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({}, None),
        ({"cpu.max": "max 100000"}, None),
        ({"cpu.max": "250000 100000\n"}, 3),
        ({"cpu.max": "10000 100000"}, 1),
        ({"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, None),
        ({"cpu/cpu.cfs_quota_us": "400000", "cpu/cpu.cfs_period_us": "100000"}, 4),
        ({"cpu.max": "nonsense"}, None),
    ],
)
def test_quota_of_a_container_is_read_from_either_version_of_cgroups(files, expected, tmp_path):
    write_files(files, tmp_path)
    assert threads._cgroup_quota(tmp_path, tmp_path / "none") == expected


def write_files(files, folder):
    for name, text in files.items():
        (folder / name).parent.mkdir(exist_ok=True, parents=True)
        (folder / name).write_text(text)


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"self": "0::/batch/job\n", "batch/job/cpu.max": "150000 100000", "batch/cpu.max": "max 100000"}, 2),
        ({"self": "0::/batch/job\n", "batch/job/cpu.max": "max 100000", "batch/cpu.max": "400000 100000"}, 4),
        ({"self": "0::/batch/job\n", "batch/cpu.max": "400000 100000", "cpu.max": "300000 100000"}, 3),
        ({"self": "0::/../other\n", "cpu.max": "300000 100000"}, 3),
        ({"self": "9:memory:/a\n4:cpu,cpuacct:/batch\n", "cpu/batch/cpu.cfs_quota_us": "50000",
          "cpu/batch/cpu.cfs_period_us": "100000", "cpu/cpu.cfs_quota_us": "-1"}, 1),
        ({"self": "0::/\n"}, None),
    ],
)
def test_quota_is_the_least_of_the_groups_above_the_process(files, expected, tmp_path):
    write_files(files, tmp_path)
    assert threads._cgroup_quota(tmp_path, tmp_path / "self") == expected


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="the system has no affinity")
def test_a_process_that_may_use_one_core_starts_one_thread():
    script = "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))}); import flamework as torch; "
    script += "print(torch.get_num_threads())"
    environment = {k: v for k, v in os.environ.items() if not k.endswith("_NUM_THREADS")}
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=environment, check=True)
    assert done.stdout.strip() == "1"


def test_state_words_do_not_overlap():
    offsets = sorted(driver.STATE_LAYOUT.values())
    assert len(set(offsets)) == len(offsets)
    assert all(offset % 8 == 0 for offset in offsets)
    sizes = {"MUTEX": 128, "CONDITION": 128}
    for name, offset in driver.STATE_LAYOUT.items():
        end = offset + sizes.get(name, 8)
        assert end <= driver.STATE_BYTES
        assert not any(offset < other < end for other in offsets)
