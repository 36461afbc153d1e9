"""Compiling many programs at once, on the cores there are.

numba holds Python's lock while it compiles, so threads would not help: other processes do. They are started when a plan
needs many kernels that no cache has, import numba while this process does the same, and take programs from the same
list as this process, so that nobody waits for a process which is slow to start. A program whose process ends without an
answer goes back to the list: whatever happens to the others, this process alone is enough. The object code is the same
wherever it was compiled.

Processes that have nothing to do end themselves, and all end with this one.

In: programs. Out: :func:`compile_programs`. Read next: ``kernels.py``, which asks.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import queue
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Iterator, Sequence

from ..kernels.cpu.programs import Program
from .threads import default_num_threads

#: A process is started for so many programs. It takes about as long to be ready as this process needs for three.
PROGRAMS_EACH = 4

#: Seconds after which a process that nobody asks for anything ends, and one that does not answer is not waited for.
PATIENCE = 20.0

#: What a program was compiled to: its object code, and its symbols by the names of the functions.
Objects = tuple[bytes, dict[str, str]]


def compile_programs(programs: Sequence[Program]) -> Iterator[tuple[Program, Objects]]:
    """Compile programs, in any order. Raises `KernelCompilationError` where one does not compile."""
    waiting = deque(programs)
    answers: queue.SimpleQueue[tuple[Program, Objects | None]] = queue.SimpleQueue()
    for number in range(min(default_num_threads() - 1, len(programs) // PROGRAMS_EACH)):
        threading.Thread(target=_ask_process, args=(number, waiting, answers), daemon=True).start()
    for _ in programs:
        try:
            program, objects = waiting.popleft(), None
        except IndexError:  # others have what is left
            try:
                program, objects = answers.get(timeout=PATIENCE)
            except queue.Empty:
                close_processes()
                program, objects = answers.get()
        if objects is None:
            compiled = program.compile()
            objects = compiled.object_code, compiled.symbols
        yield program, objects


def _ask_process(
    number: int, waiting: deque[Program], answers: queue.SimpleQueue[tuple[Program, Objects | None]]
) -> None:
    """Let a process compile what waits; None is the answer where it ends before it has one. Runs on its own thread."""
    with _lock:
        process = _processes.get(number) or _start(number)
    if process is None:
        return
    program = None
    try:
        process.wait_until_ready()
        while True:
            program = waiting.popleft()
            answers.put((program, process.compile(program)))
            program = None
    except IndexError:
        return
    except (OSError, ValueError):
        if program is not None:
            answers.put((program, None))
        process.close()


class Process:
    """A process that compiles what it is sent, a program at a time; see :func:`serve`.

    Every method raises `OSError` or `ValueError` when the process does not answer or answers something else.
    """

    def __init__(self) -> None:
        code = f"import sys; sys.path[:] = {sys.path!r}; from {__name__} import serve; serve()"
        self.popen = subprocess.Popen(
            [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            start_new_session=True,  # an interrupt of the program is none of this one
        )
        self.greeted = False

    def wait_until_ready(self) -> None:
        if not self.greeted:
            self._receive()
            self.greeted = True

    def compile(self, program: Program) -> Objects:
        message = json.dumps([program.source, program.functions, program.kind])
        self.popen.stdin.write(message.encode() + b"\n")
        self.popen.stdin.flush()
        size, symbols = self._receive()
        object_code = self.popen.stdout.read(size)
        if len(object_code) != size:
            raise OSError("the process ended")
        return object_code, symbols

    def _receive(self) -> list:
        line = self.popen.stdout.readline()
        if not line:
            raise OSError("the process ended")
        return json.loads(line)

    def close(self) -> None:
        """End it, whatever it does."""
        with _lock:
            for number in [n for n, process in _processes.items() if process is self]:
                del _processes[number]
        self.popen.kill()
        self.popen.wait()
        for pipe in (self.popen.stdin, self.popen.stdout):
            with contextlib.suppress(OSError, ValueError):
                pipe.close()


_processes: dict[int, Process] = {}
_lock = threading.RLock()


def _start(number: int) -> Process | None:
    """A new process, or None where there can be none."""
    try:
        process = _processes[number] = Process()
    except OSError:
        return None
    return process


@atexit.register
def close_processes() -> None:
    """End all of them, whatever they do."""
    for process in list(_processes.values()):
        process.close()


if hasattr(os, "register_at_fork"):
    # The pipes are the parent's: two processes that write into one would mix their programs.
    os.register_at_fork(after_in_child=_processes.clear)


def serve() -> None:
    """What such a process does: greet, then answer each line, a program, with the size and symbols of its object code
    as a line, and the code. It ends when nobody asks any more, when its parent has ended, and when it cannot answer:
    the parent, which then compiles the program itself, meets the same error where it can be reported."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    from ..kernels.cpu import scalar, toolchain  # noqa: F401  (importing numba is what takes time)

    answers.write(b"[]\n")
    answers.flush()
    while True:
        timer = threading.Timer(PATIENCE, os._exit, [0])
        timer.daemon = True
        timer.start()
        line = sys.stdin.buffer.readline()
        timer.cancel()
        if not line:
            return
        source, functions, kind = json.loads(line)
        compiled = Program(source, tuple(functions), kind).compile()
        answers.write(json.dumps([len(compiled.object_code), compiled.symbols]).encode() + b"\n")
        answers.write(compiled.object_code)
        answers.flush()
