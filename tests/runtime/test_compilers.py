"""Several processes compile what one would, and whatever happens to them, everything is compiled."""

from __future__ import annotations

import subprocess

import pytest
from flamework.kernels.cpu.programs import Program
from flamework.kernels.cpu.toolchain import KernelCompilationError
from flamework.runtime import compilers

SOURCE = """
def kernel(args, start, stop):
    x = pointer_f32(args[0])
    for i in range(start, stop):
        store(x, i, fadd(load(x, i, 0), f32({number}.0)), 0)
"""


@pytest.fixture(autouse=True)
def two_cores(monkeypatch):
    monkeypatch.setattr(compilers, "default_num_threads", lambda: 2)
    compilers.close_processes()
    yield
    compilers.close_processes()


def programs(count: int) -> list[Program]:
    return [Program(SOURCE.format(number=number), ("kernel",)) for number in range(count)]


def compiled(todo: list[Program]) -> dict[Program, compilers.Objects]:
    return dict(compilers.compile_programs(todo))


def test_another_process_makes_the_same_object_code():
    process = compilers.Process()
    try:
        process.wait_until_ready()
        for program in programs(2):
            here = program.compile()
            assert process.compile(program) == (here.object_code, here.symbols)
    finally:
        process.close()


def test_few_programs_start_no_process():
    todo = programs(compilers.PROGRAMS_EACH - 1)
    assert set(compiled(todo)) == set(todo)
    assert not compilers._processes


def test_many_programs_are_compiled_once_each():
    todo = programs(12)
    found = list(compilers.compile_programs(todo))
    assert sorted(p.source for p, _ in found) == sorted(p.source for p in todo)
    assert len(compilers._processes) == 1
    assert all(objects[1] == {"kernel": "flamework_kernel"} for _, objects in found)


def test_a_process_that_ends_leaves_its_program_to_this_one(monkeypatch):
    taken = []

    def ended(self, program):
        taken.append(program)
        self.popen.kill()
        return list(self._receive())

    monkeypatch.setattr(compilers.Process, "compile", ended)
    monkeypatch.setattr(Program, "compile", waits_for(taken, Program.compile))
    todo = programs(8)
    assert set(compiled(todo)) == set(todo)
    assert len(taken) == 1
    assert not compilers._processes


def test_a_process_that_never_answers_is_not_waited_for(monkeypatch):
    taken = []

    def silent(self, program):
        taken.append(program)
        return self._receive()

    monkeypatch.setattr(compilers, "PATIENCE", 0.1)
    monkeypatch.setattr(compilers.Process, "compile", silent)
    monkeypatch.setattr(Program, "compile", waits_for(taken, Program.compile))
    todo = programs(8)
    assert set(compiled(todo)) == set(todo)
    assert len(taken) == 1


def waits_for(taken: list[Program], compile_program):
    """Compile here when the other process has taken a program, and not before."""

    def wait(program):
        while not taken:
            pass
        return compile_program(program)

    return wait


def test_where_no_process_can_be_started_this_one_compiles_everything(monkeypatch):
    def refuse(*arguments, **others):
        raise PermissionError("no processes here")

    monkeypatch.setattr(subprocess, "Popen", refuse)
    todo = programs(8)
    assert set(compiled(todo)) == set(todo)


@pytest.mark.parametrize("place", [0, 7])
def test_an_error_is_raised_here(place):
    todo = programs(8)
    todo[place] = Program("def kernel(args, start, stop):\n    unknown(args)\n", ("kernel",))
    with pytest.raises(KernelCompilationError, match="unknown"):
        compiled(todo)
