"""The engine: replay of plans, what is computed together, errors in the data, memory, depth, threads.

Programs are graphs of primitives. What it counts (:mod:`flamework.runtime.counters`) is the measure of what was built,
compiled and launched.
"""

from __future__ import annotations

import contextlib
import gc
import itertools
import os
import random
import subprocess
import sys
import textwrap
import threading
import weakref
from collections import OrderedDict

import numpy as np
import pytest
from flamework.compiler import autodiff, dtypes, primitives as p, primitives_shape as s
from flamework.compiler.ir import Node, tensor_type
from flamework.compiler.reference import evaluate
from flamework.runtime import engine, plan as plan_module
from flamework.runtime.allocator import Buffer
from flamework.runtime.counters import counters
from flamework.runtime.placement import Arena


def variable(array, requires_grad: bool = False) -> Node:
    array = np.ascontiguousarray(array).reshape(np.shape(array))
    type = tensor_type(array.shape, dtypes.from_numpy(array.dtype))
    return Node(p.input_, (), (), type, engine.buffer_from_numpy(array), requires_grad)


def normal(*shape: int, seed: int = 0, requires_grad: bool = False) -> Node:
    return variable(np.random.default_rng([seed, *shape]).standard_normal(shape).astype("f"), requires_grad)


def number(value, shape=(), dtype=dtypes.float32) -> Node:
    params = (tuple(shape), dtype, "cpu")
    return Node(p.scalar, (), params, tensor_type(*params), value)


def computed(*roots: Node) -> list[np.ndarray]:
    engine.realize(roots)
    return [engine.read_node(root) for root in roots]


def checked(*roots: Node) -> None:
    """The engine computes what the references say."""
    wanted = evaluate(roots, engine.read_node)
    for found, value in zip(computed(*roots), wanted):
        np.testing.assert_allclose(found, value, rtol=2e-5, atol=1e-5)


@contextlib.contextmanager
def counted(**expected: int):
    """The block changes these counters by exactly that."""
    before = counters()
    yield
    after = counters()
    assert {name: after[name] - before[name] for name in expected} == expected


@pytest.fixture
def live(monkeypatch):
    """A list whose nodes count as pending values of live tensors."""
    nodes: list[Node] = []
    monkeypatch.setattr(engine, "_live", lambda: [node for node in nodes if node.value is None])
    return nodes


@pytest.fixture(autouse=True)
def _no_other_tensors(monkeypatch):
    monkeypatch.setattr(engine, "_live", tuple)


def softmax(x: Node) -> Node:
    largest = s.back(s.reduce_max(x, params=(1,)), (1,), x.shape)
    e = p.exp(p.sub(x, largest))
    return p.div(e, s.back(s.reduce_sum(e, params=(1,)), (1,), x.shape))


# ------------------------------------------------------------------------------------------------------------- replay


def step(x: Node, w: Node, rate: float) -> list[Node]:
    loss = s.reduce_sum(softmax(p.mul(x, s.broadcast_to(w, x.shape))), params=(0,))
    return [loss, p.sub(w, p.mul(loss, number(rate, w.shape)))]


def test_a_second_identical_program_builds_no_plan():
    checked(*step(normal(11, 7), normal(7), 0.5))
    with counted(plans_built=0, plans_replayed=1, kernels_compiled=0, kernels_loaded=0, materialisations=1):
        checked(*step(normal(11, 7, seed=1), normal(7, seed=1), 0.5))


def test_a_new_python_number_builds_no_plan_and_compiles_nothing():
    checked(*step(normal(11, 7), normal(7), 0.5))
    for rate in (0.25, -3.0, 1e-30, float("inf"), 2):
        with counted(plans_built=0, kernels_compiled=0, kernels_loaded=0):
            checked(*step(normal(11, 7), normal(7), rate))


@pytest.mark.parametrize("dtype", [d for d in dtypes.ALL if dtypes.BOOL < d.kind < dtypes.COMPLEX], ids=str)
def test_python_numbers_of_every_dtype_reach_the_kernel(dtype):
    x = variable(np.arange(5).astype(dtype.numpy))
    for value in (3, 7):
        (found,) = computed(p.mul(x, number(value, (5,), dtype)))
        np.testing.assert_array_equal(found, np.arange(5).astype(dtype.numpy) * dtype.numpy.type(value))


def test_a_new_batch_size_builds_a_plan_and_compiles_nothing():
    checked(*step(normal(11, 7), normal(7), 0.5))
    for rows in (3, 40, 1000):
        with counted(plans_built=1, kernels_compiled=0, kernels_loaded=0):
            checked(*step(normal(rows, 7), normal(7), 0.5))


def test_programs_that_differ_in_a_parameter_a_shape_or_a_dtype_have_plans_of_their_own():
    programs = [
        lambda: s.reduce_sum(normal(6, 6), params=(0,)),
        lambda: s.reduce_sum(normal(6, 6), params=(1,)),
        lambda: s.reduce_sum(normal(6, 5), params=(0,)),
        lambda: s.reduce_max(normal(6, 6), params=(0,)),
        lambda: s.reduce_sum(variable(np.ones((6, 6))), params=(0,)),
        lambda: p.sub(normal(6), normal(6, seed=1)),
        lambda: (lambda a: p.sub(a, a))(normal(6)),
        lambda: p.copysign(normal(6), p.full_like(normal(6), 0.0)),
        lambda: p.copysign(normal(6), p.full_like(normal(6), -0.0)),
    ]
    for program in programs:
        checked(program())
    with counted(plans_built=0, plans_replayed=len(programs)):
        for program in programs:
            checked(program())


def test_nan_in_a_program_does_not_make_it_a_new_one():
    def program() -> Node:
        x = normal(6)
        return p.where(p.lt(x, p.full_like(x, 0)), p.full_like(x, float("nan")), x)

    checked_once = computed(program())[0]
    with counted(plans_built=0, plans_replayed=1):
        np.testing.assert_array_equal(computed(program())[0], checked_once)


def test_minibatches_of_a_tensor_replay_one_plan():
    data = normal(40, 6)

    def batch(start: int) -> Node:
        rows = s.slice_(data, params=((start, 0), (1, 1), (8, 6)))
        return s.reduce_sum(p.exp(rows), params=(0,))

    checked(batch(0))
    with counted(plans_built=0, plans_replayed=3):
        for start in (8, 17, 32):
            checked(batch(start))


def test_what_is_computed_already_is_not_computed_again():
    y = p.exp(normal(5))
    checked(y)
    with counted(materialisations=0, kernels_launched=0):
        engine.realize([y, y])
    z = p.neg(y)
    with counted(kernels_launched=1):
        checked(z)


def test_the_oldest_plan_is_forgotten_when_there_are_too_many(monkeypatch):
    monkeypatch.setattr(engine, "MAX_PLANS", 3)
    monkeypatch.setattr(engine, "_plans", OrderedDict())
    for size in (1, 2, 3, 1, 4):
        checked(p.exp(normal(size)))
    assert len(engine._plans) == 3
    with counted(plans_built=1, plans_replayed=1):
        checked(p.exp(normal(1)))
        checked(p.exp(normal(2)))


def test_listeners_see_roots_and_plan_and_a_refusal_stops_everything(monkeypatch):
    seen = []
    x = normal(4)
    with engine.observed(lambda roots, plan: seen.append((list(roots), plan))):
        y = p.exp(x)
        engine.realize([y])
    engine.realize([p.neg(x)])
    assert [roots for roots, _ in seen] == [[y]]
    assert len(seen[0][1].items) == 1

    def refuse(nodes):
        raise RuntimeError("not now")

    monkeypatch.setattr(engine, "refuse", refuse)
    with pytest.raises(RuntimeError, match="not now"), counted(materialisations=0):
        engine.realize([p.abs(x)])


# ------------------------------------------------------------------------------------------------- what runs together


def test_live_values_that_share_work_are_computed_together_and_others_are_not(live):
    x, unrelated_input = normal(20, 30), normal(20, 30, seed=1)
    shared = p.exp(x)
    wanted, sibling, below = p.neg(shared), s.reduce_sum(shared, params=(1,)), shared
    unrelated = p.exp(unrelated_input)
    only_the_input = p.sin(x)
    live += [sibling, below, unrelated, only_the_input]
    with counted(materialisations=1, plans_built=1):
        engine.realize([wanted])
    assert sibling.value is not None
    assert below.value is not None
    assert unrelated.value is None
    assert only_the_input.value is None
    np.testing.assert_allclose(engine.read_node(sibling), np.exp(engine.read_node(x)).sum(1), rtol=1e-5)


def test_a_live_value_that_is_needed_on_the_way_is_kept(live):
    x = normal(10)
    middle = p.exp(x)
    live.append(middle)
    (found,) = computed(p.neg(p.mul(middle, middle)))
    assert middle.value is not None
    np.testing.assert_allclose(found, -np.exp(engine.read_node(x)) ** 2, rtol=1e-5)


def test_work_that_joins_by_way_of_other_live_values_is_found(live):
    """a and b share; b and c share; a alone says nothing about c."""
    x, y = p.exp(normal(8)), p.exp(normal(8, seed=1))
    a, b, c = p.neg(x), p.add(x, y), p.abs(y)
    live += [c, b]
    engine.realize([a])
    assert b.value is not None
    assert c.value is not None


def test_a_matrix_product_whose_gradient_is_to_come_is_kept():
    a, b = normal(1, 4, 5, requires_grad=True), normal(1, 5, 6, requires_grad=True)
    product = s.dot(a, b)
    out = p.relu(product)
    engine.realize([out])
    assert product.value is not None
    plain = s.dot(normal(1, 4, 5), normal(1, 5, 6))
    engine.realize([p.relu(plain)])
    assert plain.value is None


def test_history_is_let_go_unless_a_gradient_needs_it():
    x, w = normal(4), normal(4, requires_grad=True)
    y, z = p.exp(x), p.mul(x, w)
    engine.realize([y, z])
    assert (y.op, y.src) == (p.input_, ())
    assert z.src == (x, w)
    slope = autodiff.vjp([z], [p.full_like(z, 1)])[w]
    np.testing.assert_array_equal(computed(slope)[0], engine.read_node(x))


def test_launches_are_counted_by_entry_of_the_schedule():
    x = normal(30, 40)
    with counted(kernels_launched=1):
        checked(softmax(x))
    with counted(kernels_launched=2):
        checked(s.reduce_sum(x, params=(0,)), s.reduce_sum(x, params=(1,)))
    with counted(kernels_launched=1):
        checked(*[p.tanh(normal(n)) for n in (3, 4, 5, 6)])  # four calls of one kernel
    with counted(kernels_launched=3):
        checked(p.exp(s.dot(p.exp(normal(1, 4, 5)), normal(1, 5, 6))))
    with counted(kernels_launched=2):
        index = s.argsort(x, params=(False, x.shape[1]))
        np.testing.assert_array_equal(
            computed(s.gather(x, index, params=(1,)))[0], np.sort(engine.read_node(x), 1)
        )


def test_calls_of_one_kernel_in_one_launch_are_divided_right():
    """From no element to many, so that parts of the work begin and end inside and between calls."""
    sizes = [1, 70_000, 3, 0, 40_000, 64, 1, 100_001]
    checked(*[p.mul(normal(n), number(2.5, (n,))) for n in sizes])


def test_what_one_launch_writes_the_next_may_read():
    """Equal kernels of different depth are not put into one launch."""
    x = normal(5, 6)
    y = x
    for _ in range(4):
        y = s.cumsum(y, params=(1,))
    checked(y, s.cumsum(normal(7, 8), params=(1,)))


def test_two_equal_roots_have_memory_of_their_own():
    x = normal(50)
    roots = [p.exp(x), p.exp(x), p.add(x, x), s.copy(x), s.copy(x)]
    engine.realize(roots)
    spans = sorted((r.value.address, r.value.address + r.value.nbytes) for r in [*roots, x])
    assert all(a[1] <= b[0] for a, b in itertools.pairwise(spans))


def test_empty_values_constants_numbers_and_inputs_may_be_asked_for():
    x = normal(3)
    empty = p.exp(normal(0, 4))
    roots = [empty, p.full_like(x, 2), number(5.0, (3,)), s.reduce_sum(normal(3, 0), params=(1,)),
             s.reshape(x, params=(3, 1)), p.iota(params=((4,), dtypes.int64, "cpu", 0))]  # fmt: skip
    values = computed(*roots)
    assert [v.tolist() for v in values[1:4]] == [[2, 2, 2], [5, 5, 5], [0, 0, 0]]
    assert values[0].shape == (0, 4)
    np.testing.assert_array_equal(values[4].ravel(), engine.read_node(x))
    assert values[5].tolist() == [0, 1, 2, 3]
    engine.realize([])


# ------------------------------------------------------------------------------------------------- errors in the data


def rows_of(table: Node, index: Node) -> Node:
    """Rows of a table by checked indices."""
    count, (rows, width) = index.shape[0], table.shape
    wrapped = p.wrap_index(index, number(rows, (count,), dtypes.int64))
    return s.gather(table, s.expand(s.reshape(wrapped, params=(count, 1)), params=(count, width)), params=(0,))


@pytest.fixture
def guarded(monkeypatch):
    """Surround the memory of results and intermediate values with bytes that must stay as they are."""
    zones = []

    def allocate(nbytes: int, size: int) -> Buffer:
        memory = np.full(nbytes + 8192, 0x5A, np.uint8)
        zones.append((memory, nbytes))
        return Buffer(memory.ctypes.data + 4096, nbytes, memory)

    monkeypatch.setattr(plan_module, "allocate_block", allocate)
    yield
    for memory, nbytes in zones:
        assert (memory[:4096] == 0x5A).all()
        assert (memory[4096 + nbytes :] == 0x5A).all()


@pytest.mark.parametrize("bad", [5, -6, 10**12, -(10**12), 2**62])
def test_an_index_out_of_range_is_an_index_error_and_nothing_outside_is_touched(guarded, bad):
    table = variable(np.arange(15, dtype=np.float32).reshape(5, 3))
    index = np.array([0, 4, -5, bad, 1])
    with pytest.raises(IndexError) as raised:
        engine.realize([p.neg(rows_of(table, variable(index)))])
    assert str(raised.value) == f"index {bad} is out of bounds for dimension with size 5"
    # the same plan goes on working
    with counted(plans_built=0):
        (found,) = computed(p.neg(rows_of(table, variable(np.array([0, 4, -5, -1, 1])))))
    np.testing.assert_array_equal(found, -engine.read_node(table)[[0, 4, -5, -1, 1]])


def test_an_index_out_of_range_in_a_large_kernel_on_several_threads(guarded):
    table = normal(50, 16)
    index = np.random.default_rng(0).integers(-50, 50, 30_000)
    index[[100, 29_000]] = 77, -51
    with pytest.raises(IndexError, match=r"index (77|-51) is out of bounds for dimension with size 50"):
        engine.realize([rows_of(table, variable(index))])
    index[[100, 29_000]] = 0
    np.testing.assert_array_equal(computed(rows_of(table, variable(index)))[0], engine.read_node(table)[index])


def test_a_bad_index_of_a_write_changes_nothing_outside(guarded):
    base, new = normal(5), normal(3, seed=1)
    for index, fails in (([0, 9, 1], True), ([0, 4, 1], False)):
        wrapped = p.wrap_index(variable(np.array(index)), number(5, (3,), dtypes.int64))
        root = s.scatter(base, wrapped, new, params=(0, "add"))
        if fails:
            with pytest.raises(IndexError, match="index 9 is out of bounds"):
                engine.realize([root])
        else:
            checked(root)


def test_after_an_error_the_values_are_still_pending_and_inputs_are_unchanged():
    table = normal(5, 3)
    before = engine.read_node(table).copy()
    bad = rows_of(table, variable(np.array([0, 7])))
    other = p.exp(table)
    with pytest.raises(IndexError):
        engine.realize([bad, other])
    assert bad.value is None
    np.testing.assert_array_equal(engine.read_node(table), before)
    checked(other)


def test_indices_of_rows_that_a_pad_leaves_out_are_not_read():
    table = normal(5, 3)
    padded = s.pad(rows_of(table, variable(np.array([1, 2]))), params=((3, 3), (0, 0), 0.0))
    checked(padded)


# ------------------------------------------------------------------------------------------------------------- verify

VERIFY = """
    import numpy as np
    from flamework.compiler import dtypes, primitives as p, primitives_shape as s
    from flamework.compiler.ir import Node, tensor_type
    from flamework.runtime import engine

    x = Node(p.input_, (), (), tensor_type((4, 6), dtypes.float32), None)
    x.value = engine.buffer_from_numpy(np.linspace(-1, 1, 24, dtype=np.float32).reshape(4, 6))
    engine.realize([p.exp(p.tanh(x)), s.reduce_sum(p.mul(x, x), params=(1,)), s.cumsum(x, params=(0,))])
    print("same")
    p.exp.reference = lambda params, x: np.exp(x) + 1e-2
    try:
        engine.realize([p.neg(p.exp(x))])
    except AssertionError as error:
        print(error)
    wrong = Node(p.neg, (x,), (), tensor_type((6, 4), dtypes.float32))
    try:
        engine.realize([wrong])
    except Exception as error:
        print(type(error).__name__, error)
"""


def test_verification_compares_every_result_with_the_references():
    environment = {**os.environ, "FLAMEWORK_VERIFY": "1"}
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(VERIFY)], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    same, different, malformed = done.stdout.splitlines()
    assert same == "same"
    assert different == "FLAMEWORK_VERIFY: neg f32[4,6] differs from its reference"
    assert malformed == "IRError neg has type f32[6,4], its row infers f32[4,6]"


# ------------------------------------------------------------------------------------------------------------- memory


def plan_of(*roots: Node) -> plan_module.Plan:
    plan, *_ = engine.prepared(roots)
    return plan


def test_a_chain_of_a_hundred_products_needs_memory_for_two():
    x = normal(1, 64, 64)
    y = x
    for k in range(100):
        y = s.dot(y, normal(1, 64, 64, seed=k % 3))
    plan = plan_of(y)
    assert len(plan.items) == 100
    assert plan.arena_bytes <= 3 * x.type.nbytes


def test_a_chain_of_scans_runs_in_an_arena_of_two_values():
    x = normal(50, 60)
    y = x
    for _ in range(60):
        y = p.scale(s.cumsum(y, params=(1,)), 0.02)
    plan = plan_of(y)
    assert len(plan.items) > 50
    assert plan.arena_bytes <= 3 * x.type.nbytes
    checked(y)


def test_results_that_are_read_again_stay_intact_until_then():
    """Values of different sizes and lifetimes in one arena."""
    xs = [normal(10 + 7 * k, 20) for k in range(8)]
    scans = [s.cumsum(x, params=(1,)) for x in xs]
    again = [s.cumsum(p.neg(y), params=(1,)) for y in scans]
    checked(*[s.reduce_sum(p.mul(a, b), params=(0, 1)) for a, b in zip(scans, again)])


@pytest.mark.parametrize("seed", range(20))
def test_spans_of_an_arena_never_overlap_and_what_is_free_is_used_again(seed):
    rng = random.Random(seed)
    arena, held = Arena(), []
    most = in_use = 0
    for _ in range(200):
        if held and rng.random() < 0.5:
            offset, size = held.pop(rng.randrange(len(held)))
            arena.give(offset, size)
        else:
            size = rng.choice([1, 64, 100, 1000, 4096])
            offset = arena.take(size)
            assert offset % 64 == 0
            assert all(offset + size <= o or o + n <= offset for o, n in held)
            held.append((offset, size))
        in_use = sum(-(-n // 64) * 64 for _, n in held)
        most = max(most, in_use)
        assert all(o + n <= arena.size for o, n in held)
    assert arena.size <= 2 * most + 4096
    for offset, size in held:
        arena.give(offset, size)
    assert arena.free == [(0, arena.size)] or not arena.size


def test_a_plan_holds_no_buffers_of_its_inputs_or_results():
    def addresses() -> set[int]:
        x = normal(1000)
        y = p.exp(x)
        engine.realize([y])
        return {x.value.address, y.value.address}

    first = addresses()
    plan = plan_of(p.exp(normal(1000)))
    for node in plan.fusion.order:
        assert not isinstance(node.value, Buffer)
    assert first


# -------------------------------------------------------------------------------------------------------------- depth


def test_a_chain_of_50000_nodes_is_planned_and_run():
    x = variable(np.zeros(4, np.float32))
    one = number(1.0, (4,))
    y = x
    for _ in range(50_000):
        y = p.add(y, one)
    (found,) = computed(y)
    assert found.tolist() == [50_000] * 4


def test_a_graph_of_50000_nodes_of_which_many_are_results():
    x = variable(np.arange(6, dtype=np.float32))
    rows = []
    for k in range(1000):
        y = p.mul(x, number(float(k), (6,)))
        for _ in range(24):
            y = p.abs(p.neg(y))
        rows.append(y)
    engine.realize(rows)
    np.testing.assert_array_equal(engine.read_node(rows[7]), 7 * np.arange(6))


# ------------------------------------------------------------------------------------------------------------ threads


def test_one_plan_runs_on_four_python_threads_with_right_results():
    """The arguments of a plan are patched in place, so runs of one plan must not meet."""
    def program(x: Node, factor: float) -> Node:
        return p.mul(softmax(x), number(factor, x.shape))

    checked(program(normal(64, 300), 1.0))
    failures: list[str] = []
    barrier = threading.Barrier(4)

    def work(thread: int) -> None:
        barrier.wait()
        for k in range(60):
            factor = float(1 + 10 * thread + k)
            x = normal(64, 300, seed=1 + thread)
            (found,) = computed(program(x, factor))
            array = np.exp(engine.read_node(x).astype(np.float64))
            wanted = factor * array / array.sum(1, keepdims=True)
            if not np.allclose(found, wanted, rtol=1e-4):
                failures.append(f"thread {thread}, run {k}")

    workers = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert not failures


def test_an_error_on_one_thread_leaves_the_others_alone():
    table = normal(200, 32)
    barrier = threading.Barrier(4)
    outcomes: list[tuple[bool, bool]] = []

    def work(thread: int) -> None:
        rng = np.random.default_rng(thread)
        barrier.wait()
        for k in range(40):
            index = rng.integers(0, 200, 500)
            bad = (k + thread) % 3 == 0
            if bad:
                index[k] = 200 + thread
            root = rows_of(table, variable(index))
            try:
                engine.realize([root])
                right = not bad and np.array_equal(engine.read_node(root), engine.read_node(table)[index])
            except IndexError as error:
                right = bad and f"index {200 + thread} " in str(error)
            outcomes.append((bad, right))

    workers = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert len(outcomes) == 160
    assert all(right for _, right in outcomes)
    assert {bad for bad, _ in outcomes} == {True, False}


class ForgetfulPlans(OrderedDict):
    """As if another thread dropped each plan as soon as it has been found."""

    def get(self, key, default=None):
        return self.pop(key, default)


def test_a_plan_may_be_dropped_by_another_thread_as_soon_as_it_is_found(monkeypatch):
    monkeypatch.setattr(engine, "_plans", ForgetfulPlans())
    for _ in range(3):
        checked(p.exp(normal(9)))


def test_a_plan_keeps_no_value_of_the_program_that_it_was_made_for():
    node = p.const(params=((3, 1, 7), dtypes.float32, "cpu", 5.0))
    engine.realize([node])
    buffer = weakref.ref(node.value)
    del node
    gc.collect()
    assert buffer() is None
