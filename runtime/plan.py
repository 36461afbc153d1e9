"""Plans: programs ready to run.

A plan loads the kernels of a tape and puts addresses where the tape wants them. Running it fills in the addresses of
inputs, results and arena and the Python numbers, and calls the driver once.

A plan holds no buffers and no nodes of the user's graph.

In: a :class:`~flamework.runtime.tape.Tape`. Out: ``Plan.run``. Read next: ``engine.py``, which decides what to compute
and finds the plan.
"""

from __future__ import annotations

import functools
import struct
import threading
from collections.abc import Callable, Sequence
from operator import attrgetter
from typing import TYPE_CHECKING

import numpy as np

from ..compiler.ir import Node
from ..compiler.primitives import DIVISION_BY_ZERO
from ..kernels.cpu import blas
from ..kernels.cpu.driver import ENTRY_WORDS
from . import events
from .allocator import Buffer, allocate_block, size_class
from .counters import COUNTERS
from .donation import Receiver
from .kernels import KERNELS
from .tape import Tape

if TYPE_CHECKING:
    from ..compiler.fusion import Fusion
    from .placement import Item
    from .planner import Planner

_address = attrgetter("address")


class Plan(Receiver):
    """A program ready to run; see the chapter's head.

    Attributes:
        tape: what runs.
        can_fail: whether it may report an error in the data.
        planner: how the program is computed, for inspection; made again for a tape that was kept on disk.
    """

    def __init__(self, tape: Tape, plan_again: Callable[[], Planner]) -> None:
        super().__init__(tape.output_bytes, tape.donors, tape.late)
        self.tape = tape
        self.can_fail = tape.can_fail
        self.plan_again = plan_again
        self.lock = threading.Lock()
        # whether the results are the outputs, none of them an input, each once
        self.plain = tape.outputs == [("result", n) for n in range(len(tape.output_bytes))]
        self.requests = [(nbytes, size_class(nbytes)) for nbytes in tape.output_bytes]
        self.arena_bytes, self.arena_size = tape.arena_bytes, size_class(tape.arena_bytes)
        self.launches, self.entries = len(tape.first_entries), len(tape.entries)
        addresses = tape.error_at - tape.values_at - len(tape.numbers)
        self.pack = struct.Struct(f"{addresses}q{tape.kinds}").pack_into
        self.load()

    @functools.cached_property
    def planner(self) -> Planner:
        return self.plan_again()

    @property
    def items(self) -> list[Item]:
        """The schedule."""
        return self.planner.items

    @property
    def fusion(self) -> Fusion:
        """The clusters, with the reasons of every border."""
        return self.planner.fusion

    @property
    def roots(self) -> list[Node]:
        """The results, of the graph as it was rewritten."""
        return self.planner.roots

    def steps(self, number: int) -> list:
        """What an item of the schedule becomes on a GPU: nothing."""
        return []

    def load(self) -> None:
        """Get the kernels, and put addresses into the argument blocks and entries."""
        tape = self.tape
        KERNELS.prepare(tape.programs)
        self.kernels = [KERNELS.pool, *map(KERNELS.get, tape.programs)]
        functions = [self.address(*function) for function in tape.functions]
        self.args = np.array(tape.words, np.int64)
        words = self.args.ctypes.data
        for slot, kind, number in tape.fixups:
            if kind == "word":
                self.args[slot] = words + 8 * number
            elif kind == "function":
                self.args[slot] = functions[number]
            else:
                self.args[slot] = self.tables[number].ctypes.data
        self.entry_words = np.zeros((self.entries, ENTRY_WORDS), np.int64)
        for row, (function, block, units, work, flags) in zip(self.entry_words, tape.entries):
            row[:6] = functions[function], words + 8 * block, units, work, flags, words + 8 * tape.error_at
        self.tape_address = self.entry_words.ctypes.data

    @functools.cached_property
    def tables(self) -> list[np.ndarray]:
        return [np.frombuffer(bytearray(table), np.uint8) for table in self.tape.tables]

    def address(self, kind: str, number: int, name: str) -> int:
        """Of a function."""
        if kind == "kernel":
            return self.kernels[1 + number][name]
        return blas.gemm_addresses()[name] if kind == "blas" else self.tape.calls[number].address

    def run(
        self, inputs: Sequence[Buffer], numbers: Sequence[float], dying: frozenset[int] = frozenset(),
        spare: Sequence[Buffer] = (),
    ) -> list[Buffer]:
        """Compute the results for these input buffers and Python numbers, in the order of the leaves.

        Args:
            dying: numbers of the inputs that nobody needs after the call. A result may be written into one of them.
            spare: memory that is no input and that nobody needs after a call which succeeds. It is written to like
                inputs are, when nothing can fail any more.

        Raises:
            IndexError: an index in the data was out of range; nothing was read or written outside a tensor, and all
                inputs are as they were.
        """
        if dying or spare:
            given = self.given(inputs, dying, spare)
            results = [allocate_block(*request) if x is None else x for x, request in zip(given, self.requests)]
            del given
        else:
            results = [allocate_block(nbytes, size) for nbytes, size in self.requests]
        arena = allocate_block(self.arena_bytes, self.arena_size) if self.arena_bytes else None
        with self.lock:
            self.pack(
                self.args, 8 * self.tape.values_at, arena.address if arena else 0, *map(_address, inputs),
                *map(_address, results), *map(numbers.__getitem__, self.tape.numbers),
            )
            if self.launches:
                run, recorder = KERNELS.pool.run, events.active
                if recorder is None:
                    done = run(self.tape_address, self.entries)
                else:
                    done = events.run_tape(recorder, self, run)
                if done != self.entries:
                    self.fail()
        COUNTERS.kernels_launched += self.launches
        if self.plain:
            return results
        return [inputs[n] if kind == "input" else results[n] for kind, n in self.tape.outputs]

    def fail(self) -> None:
        words = self.args[self.tape.error_at : self.tape.error_at + 4]
        index, extent = int(words[1]), int(words[2])
        words[:] = 0
        for call in self.tape.calls:
            error, call.error = call.error, None
            if error is not None:
                raise error
        if index == DIVISION_BY_ZERO:
            raise RuntimeError("ZeroDivisionError")
        raise IndexError(f"index {index} is out of bounds for dimension with size {extent}")


__all__ = ["Plan"]
