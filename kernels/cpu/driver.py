"""The native driver: runs a tape of kernels, BLAS calls among them, over the cores of one machine.

A plan is a tape, an array of entries of eight int64 words each:

    word  0 function   the address of a kernel `void fn(int64_t *args, int64_t start, int64_t stop)`
    word  1 arguments  the address of its argument block
    word  2 units      how many independent pieces of work there are; the kernel is called for parts of [0, units)
    word  3 work       about how many elements the entry touches in all, to decide whether threads are worth waking
    word  4 flags      SERIAL: one call for all units, by the calling thread
                       CHECKED: afterwards, stop the tape if the error word is not zero
    word  5 error      the address of the error word, for CHECKED entries
    words 6, 7         unused

`run(state, tape, count)` executes the entries in order, each complete before the next begins, and returns `count`, or
the index of the entry after which an error word was found set. Kernels must compute the same result however [0, units)
is divided, so that nothing depends on the number of threads.

Work is handed out in chunks through one 64-bit word, the ticket: a job number in its upper half and, in its lower half,
the number of chunks not yet taken. A thread takes a chunk by a compare-and-exchange that decrements the word. Only a
thread that holds a chunk reads the description of the job, and the job cannot end before that chunk is counted as done,
so a thread that wakes up late sees an empty ticket and touches nothing. Nobody ever waits for a thread that has taken
no chunk: an entry takes no longer because another process occupies a core.

Threads that find no chunk spin for a while, because the next entry of a tape is usually microseconds away, and then
sleep on the wake word. Waking them costs the caller a system call, so it is done for much work only, at best before the
first entry. A caller that finds the pool occupied by another caller runs its entry alone.

The source below is compiled by `toolchain.py` and cached like any kernel. It holds no addresses: those of libc's
functions stand in the state block, which `flamework.runtime.threads` fills in.

In: nothing. Out: `DRIVER_SOURCE` and what is needed to compile it, and the layout of the state block.
Read next: `flamework.runtime.threads`, which owns the threads and the state.
"""

from __future__ import annotations

from collections.abc import Mapping

ENTRY_WORDS = 8

#: Flags of an entry.
SERIAL = 1
CHECKED = 2

#: How idle threads sleep: by Linux's futex, or by a POSIX condition variable.
SLEEP_FUTEX, SLEEP_CONDITION = 1, 2

#: The state block: the offset in bytes of each word. Words that different threads write lie on different cache lines
#: (128 bytes apart, because processors fetch lines in pairs).
STATE_LAYOUT: dict[str, int] = {
    # Written by Python before the pool starts.
    "THREADS": 0,
    "THRESHOLD": 8,
    "WAKE_THRESHOLD": 16,
    "SPINS": 24,
    "SLEEP_MODE": 32,
    "SYSCALL": 40,
    "SYS_FUTEX": 48,
    "SCHED_YIELD": 56,
    "MUTEX_LOCK": 64,
    "MUTEX_UNLOCK": 72,
    "CONDITION_WAIT": 80,
    "CONDITION_BROADCAST": 88,
    "SHUTDOWN": 96,
    # The job, written by whoever holds the pool.
    "JOB_FUNCTION": 128,
    "JOB_ARGUMENTS": 136,
    "JOB_UNITS": 144,
    "JOB_CHUNK": 152,
    "JOB_CHUNKS": 160,
    # Contended words.
    "LOCK": 256,
    "TICKET": 384,
    "DONE": 512,
    "WAKE": 640,
    "SLEEPERS": 648,
    # Memory for pthread_mutex_t and pthread_cond_t.
    "MUTEX": 768,
    "CONDITION": 896,
}
STATE_BYTES = 1024

DRIVER_SOURCE = '''
def take_chunk(state):
    """The number of chunks that were left, having taken one; 0 if there were none."""
    ticket = atomic_load(state + TICKET)
    while ticket & 0xFFFFFFFF != 0:
        found = atomic_compare_exchange(state + TICKET, ticket, ticket - 1)
        if found == ticket:
            return ticket & 0xFFFFFFFF
        ticket = found
    return 0


def work_on_job(state):
    left = take_chunk(state)
    while left != 0:
        chunk = read_word(state + JOB_CHUNK)
        units = read_word(state + JOB_UNITS)
        start = (read_word(state + JOB_CHUNKS) - left) * chunk
        stop = start + chunk
        if stop > units:
            stop = units
        call_kernel(read_word(state + JOB_FUNCTION), read_word(state + JOB_ARGUMENTS), start, stop)
        atomic_add(state + DONE, 1)
        left = take_chunk(state)
    return 0


def wake_workers(state):
    if read_word(state + SLEEP_MODE) == SLEEP_FUTEX:
        atomic_add(state + WAKE, 1)
        call_syscall(read_word(state + SYSCALL), read_word(state + SYS_FUTEX), state + WAKE, FUTEX_WAKE, MAX_INT, 0)
    else:
        call_c1(read_word(state + MUTEX_LOCK), state + MUTEX)
        atomic_add(state + WAKE, 1)
        call_c1(read_word(state + CONDITION_BROADCAST), state + CONDITION)
        call_c1(read_word(state + MUTEX_UNLOCK), state + MUTEX)
    return 0


def sleep_until_woken(state, seen):
    if read_word(state + SLEEP_MODE) == SLEEP_FUTEX:
        call_syscall(read_word(state + SYSCALL), read_word(state + SYS_FUTEX), state + WAKE, FUTEX_WAIT, seen, 0)
    else:
        call_c1(read_word(state + MUTEX_LOCK), state + MUTEX)
        while atomic_load(state + WAKE) == seen:
            call_c2(read_word(state + CONDITION_WAIT), state + CONDITION, state + MUTEX)
        call_c1(read_word(state + MUTEX_UNLOCK), state + MUTEX)
    return 0


def worker(state):
    """The life of a worker thread."""
    spins = read_word(state + SPINS)
    while atomic_load(state + SHUTDOWN) == 0:
        spun = 0
        while spun < spins and atomic_load(state + TICKET) & 0xFFFFFFFF == 0:
            pause()
            spun += 1
        if atomic_load(state + TICKET) & 0xFFFFFFFF != 0:
            work_on_job(state)
        else:
            # The order matters: a caller first publishes its ticket and then looks for sleepers, so either it sees
            # this one, or this one sees the ticket. If it woke before the sleep, the wake word has changed.
            seen = atomic_load(state + WAKE)
            atomic_add(state + SLEEPERS, 1)
            if atomic_load(state + TICKET) & 0xFFFFFFFF == 0 and atomic_load(state + SHUTDOWN) == 0:
                sleep_until_woken(state, seen)
            atomic_add(state + SLEEPERS, -1)
    return 0


def run_in_parallel(state, function, arguments, units, work, threads):
    """Run one job on the pool, which the caller has locked."""
    chunk = (units + 4 * threads - 1) // (4 * threads)
    if chunk >= 1024:
        # Whole cache lines and whole vectors where units are small.
        chunk = (chunk + 63) & -64
    chunks = (units + chunk - 1) // chunk
    write_word(state + JOB_FUNCTION, function)
    write_word(state + JOB_ARGUMENTS, arguments)
    write_word(state + JOB_UNITS, units)
    write_word(state + JOB_CHUNK, chunk)
    write_word(state + JOB_CHUNKS, chunks)
    atomic_store(state + DONE, 0)
    job = (atomic_load(state + TICKET) >> 32) + 1
    atomic_exchange(state + TICKET, ((job & 0x7FFFFFFF) << 32) | chunks)
    if atomic_load(state + SLEEPERS) != 0 and work >= read_word(state + WAKE_THRESHOLD):
        wake_workers(state)
    work_on_job(state)
    spins = read_word(state + SPINS)
    spun = 0
    while atomic_load(state + DONE) != chunks:
        if spun < spins:
            pause()
            spun += 1
        elif read_word(state + SCHED_YIELD) != 0:
            # A worker that holds a chunk has lost its core: leave it this one.
            call_c0(read_word(state + SCHED_YIELD))
    return 0


def wake_for_tape(state, tape, count):
    """Wake sleepers before the first entry if the tape as a whole has enough for them to do."""
    threshold = read_word(state + THRESHOLD)
    total = 0
    for index in range(count):
        entry = tape + index * ENTRY_BYTES
        work = read_word(entry + 24)
        if work >= threshold and read_word(entry + 16) > 1 and read_word(entry + 32) & SERIAL == 0:
            total += work
    if total >= read_word(state + WAKE_THRESHOLD) and atomic_load(state + LOCK) == 0:
        wake_workers(state)
    return 0


def run(state, tape, count):
    threads = read_word(state + THREADS)
    threshold = read_word(state + THRESHOLD)
    if threads > 1 and atomic_load(state + SLEEPERS) != 0:
        wake_for_tape(state, tape, count)
    for index in range(count):
        entry = tape + index * ENTRY_BYTES
        function = read_word(entry)
        arguments = read_word(entry + 8)
        units = read_word(entry + 16)
        work = read_word(entry + 24)
        flags = read_word(entry + 32)
        together = threads > 1 and units > 1 and work >= threshold and flags & SERIAL == 0
        if together and atomic_compare_exchange(state + LOCK, 0, 1) == 0:
            run_in_parallel(state, function, arguments, units, work, threads)
            atomic_store(state + LOCK, 0)
        elif units > 0:
            call_kernel(function, arguments, 0, units)
        if flags & CHECKED != 0 and read_word(read_word(entry + 40)) != 0:
            return index
    return count


def patch(block, start, stop):
    """A kernel: write addresses and numbers to where the kernels that follow read them.

    The block holds the addresses of the words to fill in and of the values, a count, and as many triples: the offset of
    a word, the offset of a value, and what is added to it.
    """
    words = read_word(block)
    values = read_word(block + 8)
    triple = block + 24
    for _ in range(read_word(block + 16)):
        value = read_word(values + read_word(triple + 8))
        write_word(words + read_word(triple), value + read_word(triple + 16))
        triple += 24
    return 0


def spin(count):
    """Pause `count` times, so that Python can learn how long a pause takes here."""
    for _ in range(count):
        pause()
    return 0


def wake_all(state):
    """Wake every sleeping worker, so that it looks at the shutdown word."""
    wake_workers(state)
    return 0
'''

#: The functions to compile, with the signatures that `toolchain.compile_kernels` takes.
DRIVER_SIGNATURES: dict[str, str] = {
    "run": "int64(int64, int64, int64)",
    "worker": "int64(int64)",
    "patch": "int64(int64, int64, int64)",
    "spin": "int64(int64)",
    "wake_all": "int64(int64)",
}

_FUTEX_WAIT_PRIVATE = 128
_FUTEX_WAKE_PRIVATE = 129

DRIVER_NAMESPACE: Mapping[str, object] = {
    **STATE_LAYOUT,
    "SLEEP_FUTEX": SLEEP_FUTEX,
    "SERIAL": SERIAL,
    "CHECKED": CHECKED,
    "ENTRY_BYTES": 8 * ENTRY_WORDS,
    "FUTEX_WAIT": _FUTEX_WAIT_PRIVATE,
    "FUTEX_WAKE": _FUTEX_WAKE_PRIVATE,
    "MAX_INT": 2**31 - 1,
}
