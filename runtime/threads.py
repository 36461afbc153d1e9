"""The threads that kernels run on.

One pool serves the process. Its workers are Python daemon threads that enter native code once and stay there, with the
GIL released, so that a tape of kernels runs on every core without Python taking part. The native half, and the
protocol between caller and workers, is in `flamework.kernels.cpu.driver`.

In: the driver's code, tapes. Out: `Pool.run`, and the number of threads as the user sets it.
Read next: `flamework.kernels.cpu.driver`.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import math
import os
import platform
import sys
import threading
import time
import warnings
import weakref
from collections.abc import Mapping
from pathlib import Path

from flamework.kernels.cpu.driver import SLEEP_CONDITION, SLEEP_FUTEX, STATE_BYTES, STATE_LAYOUT
from flamework.runtime.loader import LoadedKernels

#: An entry of a tape that touches fewer elements than this runs on the calling thread: handing work to a spinning
#: worker costs about a microsecond, in which a vector kernel does some ten thousand elements.
PARALLEL_THRESHOLD = 32768

#: Sleeping workers are woken for at least this many elements: it costs the caller a system call of some ten
#: microseconds, and the workers several times that until they begin.
WAKE_THRESHOLD = 16 * PARALLEL_THRESHOLD

#: How long an idle worker spins before it sleeps. It covers the Python code between two tapes of a training loop.
SPIN_SECONDS = 50e-6

_RUN = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_int64, ctypes.c_int64, ctypes.c_int64)
_ONE_WORD = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_int64)

_SYS_FUTEX = {"x86_64": 202, "aarch64": 98, "riscv64": 98, "ppc64le": 221, "s390x": 238}

_pools: weakref.WeakSet[Pool] = weakref.WeakSet()
_requested: int | None = None


def default_num_threads(environment: Mapping[str, str] = os.environ) -> int:
    """The smallest of what the process may use: its CPU affinity, its cgroup's quota, and the environment's wish.

    `FLAMEWORK_NUM_THREADS`, or else `OMP_NUM_THREADS`, is the wish; what is not a positive integer is ignored there.
    """
    limits = [_available_cores()]
    quota = _cgroup_quota()
    if quota is not None:
        limits.append(quota)
    for name in ("FLAMEWORK_NUM_THREADS", "OMP_NUM_THREADS"):
        # OpenMP allows a list, one number for each level of nesting.
        first = environment.get(name, "").split(",")[0].strip()
        if first.isdecimal() and int(first) > 0:
            limits.append(int(first))
            break
    return max(1, min(limits))


def _available_cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _cgroup_quota(root: Path = Path("/sys/fs/cgroup"), membership: Path = Path("/proc/self/cgroup")) -> int | None:
    """The least CPU quota of the groups that the process is in, in whole cores, rounded up, or None.

    In a container the group is usually what is mounted at `root`; a service or a batch job is further down, and every
    group above it limits it too.
    """
    own = {"": "", "cpu": ""}
    with contextlib.suppress(OSError):
        for line in membership.read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            for name in controllers.split(","):
                own[name] = path.strip("/")
    found = []
    for group in _with_parents(root, own[""]):
        with contextlib.suppress(OSError, ValueError):
            quota, period = (group / "cpu.max").read_text().split()
            if quota != "max":
                found.append(int(quota) / int(period))
    for group in _with_parents(root / "cpu", own["cpu"]):
        with contextlib.suppress(OSError, ValueError):
            quota = int((group / "cpu.cfs_quota_us").read_text())
            if quota > 0:
                found.append(quota / int((group / "cpu.cfs_period_us").read_text()))
    return max(1, math.ceil(min(found))) if found else None


def _with_parents(root: Path, path: str) -> list[Path]:
    parts = [part for part in path.split("/") if part and part != ".."]
    return [root.joinpath(*parts[:count]) for count in range(len(parts), -1, -1)]


def get_num_threads() -> int:
    """The number of threads that kernels use, the calling thread included. (PyTorch: `torch.get_num_threads`.)

    Example: `flamework.get_num_threads()` is the number of cores unless something limits it.
    """
    global _requested
    if _requested is None:
        _requested = default_num_threads()
    return _requested


def set_num_threads(count: int) -> None:
    """Set the number of threads that kernels use from now on. (PyTorch: `torch.set_num_threads`.)

    Results do not depend on it. Raises `TypeError` for what is not an integer and `RuntimeError` for less than one.

    Example: `flamework.set_num_threads(1)` keeps all work on the calling thread.
    """
    global _requested
    if isinstance(count, bool) or not isinstance(count, int):
        raise TypeError(f"set_num_threads expects an int, but got {type(count).__name__}")
    if count <= 0:
        raise RuntimeError("set_num_threads expects a positive integer")
    if count != _requested:
        _requested = count
        for pool in list(_pools):
            pool.restart()


class Pool:
    """Worker threads and the driver that feeds them.

    `driver` is the driver's code, as `loader.load_object` returns it. Threads start when a first tape runs. After a
    fork the child's pool starts afresh.

    `run(tape_address, count)` executes a tape and returns `count`, or the index of the entry that reported an error.
    It may be called from several threads at once; one of them uses the workers, the others run alone meanwhile.
    """

    def __init__(
        self,
        driver: LoadedKernels,
        threshold: int = PARALLEL_THRESHOLD,
        sleep_mode: int | None = None,
    ):
        self._driver = driver
        self._run = _RUN(driver["run"])
        self._spin = _ONE_WORD(driver["spin"])
        self._threshold = threshold
        self._sleep_mode = _default_sleep_mode() if sleep_mode is None else sleep_mode
        self._lock = threading.Lock()
        self._spins: int | None = None
        self._state: _State | None = None
        # A tape that still runs while the pool restarts goes on using the state that it began with.
        self._retired: list[_State] = []
        self.run = self._start_and_run
        _pools.add(self)

    def _start_and_run(self, tape_address: int, count: int) -> int:
        with self._lock:
            if self._state is None:
                self._start()
            run = self.run
        return run(tape_address, count)

    def _start(self) -> None:
        """Make a state block, start its workers, and let `run` go straight to native code."""
        if self._spins is None:
            self._spins = self._measure_spins()
        wanted = get_num_threads() if self._sleep_mode is not None else 1
        state = _State(wanted, self._threshold, self._spins, self._sleep_mode)
        caller_core = _current_core() if wanted <= _available_cores() else None
        started = 1
        for number in range(1, wanted):
            worker = threading.Thread(
                target=_live, args=(self._driver, state, caller_core), name=f"flamework-worker-{number}", daemon=True
            )
            try:
                worker.start()
            except RuntimeError as error:  # no more threads, or the interpreter is about to end
                warnings.warn(f"flamework runs on {started} of {wanted} threads: {error}", stacklevel=4)
                break
            started += 1
        state["THREADS"] = started
        self._state = state
        self._finalizer = weakref.finalize(self, _dismiss, self._driver, state)
        self._finalizer.atexit = False
        self.run = functools.partial(self._run, state.address)

    def restart(self) -> None:
        """Let the workers go; the next tape starts as many as are wanted then."""
        with self._lock:
            self.run = self._start_and_run
            if self._state is not None:
                self._retired.append(self._state)
                self._state = None
                self._finalizer()

    def abandon(self) -> None:
        """Forget threads and state without touching them: in a forked child the threads do not exist."""
        self._lock = threading.Lock()
        self.run = self._start_and_run
        if self._state is not None:
            self._retired.append(self._state)
            self._state = None
            self._finalizer.detach()

    @property
    def threads(self) -> int:
        """How many threads serve this pool now, the caller's included; 0 before the first tape."""
        return 0 if self._state is None else self._state["THREADS"]

    def _measure_spins(self) -> int:
        """The number of pauses in `SPIN_SECONDS`: a pause takes from 10 to 140 cycles on different processors."""
        trial = 2000
        best = min(self._time_spin(trial) for _ in range(3))
        return max(1, int(SPIN_SECONDS / (best / trial)))

    def _time_spin(self, count: int) -> float:
        start = time.perf_counter()
        self._spin(count)
        return max(time.perf_counter() - start, 1e-9)


def _live(driver: LoadedKernels, state: _State, caller_core: int | None) -> None:
    """The Python side of a worker thread. Its frame keeps code and state alive for as long as the thread is in them."""
    if caller_core is not None:
        _stay_off(caller_core)
    _ONE_WORD(driver["worker"])(state.address)


def _current_core() -> int | None:
    """The core that this thread runs on, or None where the system does not say."""
    try:
        core = ctypes.CDLL(None).sched_getcpu()
    except (OSError, AttributeError, TypeError):
        return None
    return core if core >= 0 and hasattr(os, "sched_setaffinity") else None


def _stay_off(core: int) -> None:
    """Keep this thread off the core on which the pool was started, as long as it has another.

    The kernel of Linux likes to wake a thread where its waker runs, and if the other cores have something to do, even
    at low priority, it leaves it there: a worker that runs for microseconds at a time never gets away from its caller.
    """
    with contextlib.suppress(OSError):
        others = os.sched_getaffinity(0) - {core}
        if others:
            os.sched_setaffinity(threading.get_native_id(), others)


def _dismiss(driver: LoadedKernels, state: _State) -> None:
    state["SHUTDOWN"] = 1
    if state["THREADS"] > 1:
        _ONE_WORD(driver["wake_all"])(state.address)


class _State:
    """The state block that the driver and its workers share, with the words named in `STATE_LAYOUT`."""

    def __init__(self, threads: int, threshold: int, spins: int, sleep_mode: int | None):
        self._memory = (ctypes.c_int64 * (STATE_BYTES // 8 + 16))()
        start = ctypes.addressof(self._memory)
        self.address = (start + 127) & -128
        self._words = (ctypes.c_int64 * (STATE_BYTES // 8)).from_address(self.address)
        self["THREADS"] = threads
        self["THRESHOLD"] = threshold
        self["WAKE_THRESHOLD"] = threshold * (WAKE_THRESHOLD // PARALLEL_THRESHOLD)
        self["SPINS"] = spins
        if sleep_mode is not None:
            self["SLEEP_MODE"] = sleep_mode
            self._find_libc_functions(sleep_mode)

    def __getitem__(self, name: str) -> int:
        return self._words[STATE_LAYOUT[name] // 8]

    def __setitem__(self, name: str, value: int) -> None:
        self._words[STATE_LAYOUT[name] // 8] = value

    def _find_libc_functions(self, sleep_mode: int) -> None:
        libc = ctypes.CDLL(None)

        def address(name: str) -> int:
            return ctypes.cast(getattr(libc, name), ctypes.c_void_p).value or 0

        self["SCHED_YIELD"] = address("sched_yield")
        if sleep_mode == SLEEP_FUTEX:
            self["SYSCALL"] = address("syscall")
            self["SYS_FUTEX"] = _SYS_FUTEX[platform.machine()]
            return
        self["MUTEX_LOCK"] = address("pthread_mutex_lock")
        self["MUTEX_UNLOCK"] = address("pthread_mutex_unlock")
        self["CONDITION_WAIT"] = address("pthread_cond_wait")
        self["CONDITION_BROADCAST"] = address("pthread_cond_broadcast")
        libc.pthread_mutex_init(ctypes.c_void_p(self.address + STATE_LAYOUT["MUTEX"]), None)
        libc.pthread_cond_init(ctypes.c_void_p(self.address + STATE_LAYOUT["CONDITION"]), None)


def _default_sleep_mode() -> int | None:
    """How workers sleep here; None where they cannot (Windows), and everything runs on the calling thread."""
    if sys.platform.startswith("linux") and platform.machine() in _SYS_FUTEX:
        return SLEEP_FUTEX
    return SLEEP_CONDITION if os.name == "posix" else None


def _after_fork_in_child() -> None:
    for pool in list(_pools):
        pool.abandon()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
