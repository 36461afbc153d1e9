"""What it costs to plan and run long programs: work in proportion to the number of nodes, and bounded memory.

Work is counted in executed lines of the compiler and the runtime, which a machine's load does not change.
"""

from __future__ import annotations

import gc
import sys

import flamework
import numpy as np
import pytest
from flamework.compiler import primitives as p
from flamework.compiler.ir import Node, tensor_type
from flamework.recording import node_of
from flamework.runtime import engine
from flamework.runtime.counters import counters

F = flamework.nn.functional


def ready(*shape: int) -> flamework.Tensor:
    x = flamework.ones(*shape) * 1
    flamework.realize(x)
    return x


def chain(n: int) -> list:
    x = ready(4)
    for _ in range(n):
        x = x + 1
    return [x]


def independent_results(n: int) -> list:
    x = ready(4)
    return [x + float(k) for k in range(n)]


def independent_programs(n: int) -> list:
    return [(x * 2).sum() for x in [ready(4) for _ in range(n)]]


def tree(n: int) -> list:
    xs = [flamework.zeros(4) + k for k in range(n)]
    while len(xs) > 1:
        xs = [a + b for a, b in zip(xs[::2], xs[1::2])] + (xs[-1:] if len(xs) % 2 else [])
    return xs


def residual_products(n: int) -> list:
    x, w = ready(2, 2), ready(2, 2)
    for _ in range(n // 3):
        x = x + flamework.relu(x @ w)
    return [x]


def softmaxes(n: int) -> list:
    x = ready(4, 4)
    for _ in range(n // 60):
        x = flamework.softmax(x, 1)
    return [x]


def many_readers(n: int) -> list:
    y = flamework.sin(ready(64))
    return [(y[: 2 + k % 61] * float(k)).sum() + y.sum() for k in range(n // 4)]


def many_scans_of_one_value(n: int) -> list:
    y = flamework.softmax(ready(8, 8), 1)
    return [y.cumsum(k % 2) * float(k) for k in range(n // 2)]


def many_writes(n: int) -> list:
    x = ready(8)
    for k in range(n // 4):
        x[k % 8] = float(k)
    return [x]


def backward(n: int) -> list:
    w, x = flamework.ones(4, 4, requires_grad=True), ready(4, 4)
    for _ in range(n // 12):
        x = x + flamework.tanh(F.layer_norm(x, (4,)) @ w)
    x.sum().backward()
    return [w.grad]


def optimizer_step(n: int) -> list:
    parameters = [flamework.nn.Parameter(ready(2, 2)) for _ in range(n // 15)]
    for w in parameters:
        w.grad = ready(2, 2)
    optimizer = flamework.optim.Adam(parameters, lr=0.1)
    optimizer.step()
    return parameters


PROGRAMS = [chain, independent_results, independent_programs, tree, residual_products, softmaxes, many_readers,
            many_scans_of_one_value, many_writes, backward, optimizer_step]


def planning_lines(tensors: list) -> int:
    """Lines that are executed to write down and plan the program of some tensors."""
    nodes = [node for x in tensors if (node := node_of(x)).value is None]
    lines = 0

    def count(frame, event, argument):
        nonlocal lines
        if event == "call" and not frame.f_globals.get("__name__", "").startswith("flamework."):
            return None
        lines += event == "line"
        return count

    traced = sys.gettrace()
    sys.settrace(count)
    try:
        engine.prepared(nodes, ())
    finally:
        sys.settrace(traced)
    return lines


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda f: f.__name__)
def test_planning_takes_work_in_proportion_to_the_nodes(program, monkeypatch):
    # what is compiled is the same for both sizes but for a kernel or two, and is no part of planning
    monkeypatch.setattr(engine, "LONG_KEY", 1 << 60)
    sizes = (240, 960)
    for size in sizes:
        engine.prepared([n for x in program(size) if (n := node_of(x)).value is None], ())
    engine._plans.clear()
    small, large = (planning_lines(program(size)) for size in sizes)
    # what one kernel computes is bounded, and may take more
    most = 8 if program is softmaxes else 5
    assert large < most * small, f"{large / small:.1f} times the work for 4 times the nodes"


# -------------------------------------------------------------------------------------------------------- in pieces


@pytest.fixture
def short_pieces(monkeypatch):
    monkeypatch.setattr(engine, "LONG_KEY", 600)
    monkeypatch.setattr(engine, "PIECE_NODES", 60)


def long_programs() -> dict:
    def looped(n=400):
        x = ready(4, 4)
        for k in range(n // 4):
            x = flamework.tanh(x.t() * 1.01 + 0.1) - x.mean()
            if k % 7 == 0:
                x = x.expand(3, 4, 4).sum(0) / 3
        return [x]

    def trained():
        w, x = (ready(4, 4) * 0.3).requires_grad_(), ready(4, 4)
        for _ in range(40):
            x = x + flamework.tanh(F.layer_norm(x, (4,)) @ w)
        loss = x.square().mean()
        loss.backward()
        return [loss, w.grad]

    def written():
        x = ready(9)
        for k in range(200):
            x[k % 9] += float(k)
            x.mul_(0.99)
        return [x]

    return {"a loop": looped, "a training step": trained, "writes": written, "many results": lambda: tree(150)}


@pytest.mark.parametrize("name", long_programs())
def test_a_program_in_pieces_gives_the_same_numbers(name, short_pieces, monkeypatch):
    pieces = [x.tolist() for x in long_programs()[name]()]
    monkeypatch.setattr(engine, "LONG_KEY", 1 << 60)
    assert pieces == [x.tolist() for x in long_programs()[name]()]


def test_the_pieces_of_a_loop_share_plans(short_pieces):
    x = chain(3000)[0]
    before = counters()
    assert x.tolist() == [3001.0] * 4
    built, replayed = (counters()[k] - before[k] for k in ("plans_built", "plans_replayed"))
    assert built <= 4 and replayed > 60


def test_values_that_pieces_hand_on_are_no_larger_than_what_they_show(short_pieces):
    x = ready(4)
    rows = [(x + float(k)).expand(100_000, 4) for k in range(200)]
    total = sum(row[k] for k, row in enumerate(rows))
    del rows
    before = counters()["bytes_allocated"]
    assert total.tolist() == [sum(k + 1.0 for k in range(200))] * 4
    assert counters()["bytes_allocated"] - before < 1 << 20


def test_a_long_loop_in_a_script_builds_few_plans_and_is_computed_as_it_goes():
    x = ready(4)
    before = counters()["plans_built"]
    for _ in range(120_000):
        x = x + 1
    assert x.tolist() == [120_001.0] * 4
    assert counters()["plans_built"] - before <= 8


def test_plans_of_long_programs_are_not_kept_for_ever(monkeypatch):
    monkeypatch.setattr(engine, "MAX_WORDS", 20_000)
    for n in range(500, 530):
        chain(n)[0].tolist()
    assert sum(map(len, engine._plans)) <= 20_000


# -------------------------------------------------------------------------------------------------------- deletion


@pytest.mark.parametrize("width", [1, 2])
def test_a_chain_of_a_million_nodes_is_released_without_recursion(width):
    type = tensor_type((1,), flamework.float32)
    node = Node(p.input_, (), (), type, None)
    for _ in range(1_000_000):
        node = Node(p.neg if width == 1 else p.add, (node,) * width, (), type)
    del node
    gc.collect()


def test_the_graph_of_a_long_loop_with_a_gradient_is_released_without_recursion():
    x = y = flamework.ones(2, requires_grad=True)
    for _ in range(30_000):
        y = y * 1.0
    y.sum().backward()
    assert x.grad.tolist() == [1.0, 1.0]
    del x, y


def test_results_of_a_long_program_are_those_of_numpy():
    rng = np.random.default_rng(0)
    array = rng.standard_normal(16).astype(np.float32)
    x = flamework.from_numpy(array.copy())
    expected = array.copy()
    for _ in range(30_000):
        x = x * 0.5 + 1
        expected = expected * np.float32(0.5) + np.float32(1)
    np.testing.assert_array_equal(x.numpy(), expected)


def test_a_long_program_may_be_cut_inside_of_a_remembered_gradient(monkeypatch):
    monkeypatch.setattr(engine, "LONG_KEY", 100)
    monkeypatch.setattr(engine, "PIECE_NODES", 16)

    def gradients():
        flamework.manual_seed(0)
        model = flamework.nn.Sequential(*[flamework.nn.Linear(3, 3) for _ in range(6)])
        optimizer = flamework.optim.Adam(model.parameters(), lr=0.1)
        for _ in range(2):
            optimizer.zero_grad()
            F.layer_norm(model(flamework.ones(2, 3)).tanh(), (3,)).square().mean().backward()
            optimizer.step()
        return [p.detach().tolist() for p in model.parameters()]

    in_pieces = gradients()
    monkeypatch.undo()
    assert in_pieces == gradients()
