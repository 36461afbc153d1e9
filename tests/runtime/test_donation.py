"""Results that are written over inputs: when they may be, and that nobody who holds a value ever notices."""

from __future__ import annotations

import gc
import weakref

import flamework
import numpy as np
import pytest
from donating import N, block, run_random
from flamework.compiler import dtypes
from flamework.compiler.inplace import replaceable
from flamework.compiler.loopir import Accumulator, Argument, Kernel, Let, Load, Loop, LoopVar, Store
from flamework.places import home_node
from flamework.recording import node_of
from flamework.runtime import donation, engine
from flamework.runtime.counters import counters
from flamework.runtime.donation import match

F32 = dtypes.float32


@pytest.fixture(autouse=True)
def any_size(monkeypatch):
    """Donation is worth its checks for large values only; here it is made for all, in plans of its own."""
    monkeypatch.setattr(donation, "LEAST_BYTES", 1)
    engine._plans.clear()
    yield
    engine._plans.clear()


def address(x: flamework.Tensor) -> int:
    return node_of(x).value.address


def allocated(function) -> int:
    before = counters()["bytes_allocated"]
    function()
    return counters()["bytes_allocated"] - before


def update(x, y) -> None:
    x.mul_(0.5).add_(y)
    flamework.realize(x)


# ------------------------------------------------------------------------------------------------------- lazy programs


def test_an_update_is_written_where_the_old_value_was():
    x, y = block(), block(2.0)
    where, expected = address(x), 0.5 * x.tolist()[7] + y.tolist()[7]
    gc.collect()
    assert allocated(lambda: update(x, y)) == 0
    assert address(x) == where
    assert x.tolist()[7] == pytest.approx(expected)


HOLDERS = {
    "a view": lambda x: x[10:],
    "an alias": lambda x: x.detach(),
    "an array": lambda x: x.numpy(),
    "a pending program": lambda x: x * 3,
    "a pending program with a gradient": lambda x: x * block().requires_grad_(),
    "a node": node_of,
    "a buffer": lambda x: node_of(x).value,
    "a clone that waits": lambda x: x.clone(),
}


@pytest.mark.parametrize("holder", HOLDERS)
def test_a_value_that_something_holds_is_not_written_over(holder):
    x, y = block(), block(2.0)
    buffer = weakref.ref(node_of(x).value)
    old = buffer().as_numpy(np.float32, (N,)).copy()
    held = HOLDERS[holder](x)
    shares = holder in ("a view", "an alias", "an array")
    update(x, y)
    if not shares:
        # what holds the old value still finds it
        np.testing.assert_array_equal(buffer().as_numpy(np.float32, (N,)), old)
    elif holder != "an array":
        np.testing.assert_array_equal(held.numpy(), x.numpy()[-held.numel():])
    else:
        np.testing.assert_array_equal(held, x.numpy())
    if holder == "a pending program":
        np.testing.assert_array_equal(held.numpy(), old * np.float32(3))
    if holder == "a clone that waits":
        np.testing.assert_array_equal(held.numpy(), old)


def test_memory_of_numpy_is_never_written_by_a_donation():
    array = np.ones(N, np.float32)
    x = flamework.from_numpy(array) * 1.0  # reads foreign memory, which nobody holds but the program
    y = block()
    del array
    z = x + y
    del x
    assert allocated(z.tolist) > 0


def test_a_value_that_another_result_is_computed_from_later_is_kept():
    x, y = block(), block(2.0)
    summed = x.sum()
    update(x, y)
    assert summed.item() == pytest.approx(float((np.arange(N, dtype="f") * np.float32(0.001) + 1).sum()), rel=1e-5)


def test_an_input_that_dies_gives_its_memory_to_a_result():
    x = block()
    where = address(x)
    y = x.exp()
    del x
    assert allocated(lambda: flamework.realize(y)) == 0
    assert address(y) == where


def test_a_row_that_is_read_twice_before_it_is_written_takes_its_own_place():
    x = block(n=64 * 64).reshape(64, 64) * 1.0
    flamework.realize(x)
    where, array = address(x), np.array(x.tolist(), np.float64)
    y = flamework.softmax(x, 1)
    del x
    flamework.realize(y)
    assert address(y) == where
    e = np.exp(array - array.max(1, keepdims=True))
    np.testing.assert_allclose(y.numpy(), e / e.sum(1, keepdims=True), rtol=1e-5)


@pytest.mark.parametrize("make", [lambda x: x.t() + x, lambda x: x.flip(0) + x, lambda x: x + x.sum(0),
                                  lambda x: x.roll(1, 0) * x, lambda x: x.cumsum(0) + x])
def test_elements_that_are_read_elsewhere_forbid_it(make):
    x = block(n=64 * 64).reshape(64, 64) * 1.0
    expected = make(x.clone()).numpy().copy()
    y = make(x)
    del x
    np.testing.assert_array_equal(y.numpy(), expected)


def test_a_leaf_keeps_its_place_through_optimizer_steps():
    w = flamework.nn.Parameter(block())
    optimizer = flamework.optim.Adam([w], lr=0.1)
    for _ in range(3):
        w.grad = block(3.0)
        optimizer.step()
        flamework.realize()
    state = optimizer.state[w]

    def places() -> set[int]:
        return {home_node(w).value.address, address(state["exp_avg"]), address(state["exp_avg_sq"])}

    before = places()
    w.grad = block(3.0)
    gc.collect()
    optimizer.step()
    assert allocated(flamework.realize) == 0
    assert places() == before


def deep_training(layers: int = 4, width: int = 64):
    """A perceptron whose weights are read by their own updates and by the products of the backward pass."""
    weights = [flamework.nn.Parameter(flamework.ones(width, width) * 0.01) for _ in range(layers)]
    optimizer = flamework.optim.Adam(weights, lr=1e-3)
    x = flamework.ones(width, width) * 0.5
    flamework.realize(x, *weights)

    def step():
        optimizer.zero_grad()
        y = x
        for w in weights:
            y = (y @ w).tanh()
        loss = y.square().mean()
        loss.backward()
        optimizer.step()
        return loss

    return weights, optimizer, step


def test_a_step_of_training_allocates_for_gradients_and_activations_only():
    weights, optimizer, step = deep_training()
    for _ in range(3):
        flamework.realize(step(), *weights)
    gc.collect()

    def places() -> set[int]:
        moments = [state[name] for state in optimizer.state.values() for name in ("exp_avg", "exp_avg_sq")]
        return {home_node(w).value.address for w in weights} | {address(x) for x in moments}

    before = places()
    plans = counters()["plans_built"]
    got = allocated(lambda: flamework.realize(step(), *weights))
    assert counters()["plans_built"] == plans
    # although the product with a weight in the backward pass comes after the weight's gradient in the program
    assert places() == before
    plan = list(engine._plans.values())[-1]
    gradients = 4 * sum(w.numel() for w in weights)
    assert gradients <= got - plan.arena_bytes < gradients + 1024


def test_an_update_stays_where_something_before_the_last_reader_needs_it():
    x, y = block(), block(2.0)
    array = x.numpy().astype(np.float64)
    x = x * 1.0
    flamework.realize(x)
    total = (x.double() * 2).sum(), x.cumsum(0)
    x.add_(y)
    later = (x @ x, total[1][-1] * x.cumsum(0)[-1])
    flamework.realize(x, *total, *later)
    expected = array + y.numpy()
    np.testing.assert_allclose(x.numpy(), expected, rtol=1e-6)
    np.testing.assert_allclose(total[0].item(), 2 * array.sum(), rtol=1e-6)
    np.testing.assert_allclose(later[0].item(), expected @ expected, rtol=1e-5)
    np.testing.assert_allclose(later[1].item(), array.sum() * expected.sum(), rtol=1e-4)


def test_an_index_out_of_range_leaves_all_inputs_as_they_were():
    x, y, table = block(), block(2.0), block(3.0)
    old = [t.numpy().copy() for t in (x, y)]
    x, y = [flamework.tensor(a) * 1 for a in old]
    flamework.realize(x, y)
    index = flamework.tensor([0, N - 1]) + 1
    x.add_(1)
    picked = table[index]
    y.mul_(2).add_(picked.sum())
    with pytest.raises(IndexError):
        flamework.realize(x, y)
    del picked, index
    np.testing.assert_array_equal(x.numpy(), old[0] + 1)


# ------------------------------------------------------------------------------------------------- compiled functions


def test_a_compiled_update_is_written_in_place_and_allocates_nothing():
    x, y = block(), block(2.0)

    @flamework.compile
    def step():
        x.mul_(0.5).add_(y)

    for _ in range(3):
        step()
    where, old = address(x), np.array(x.tolist())
    assert allocated(step) == 0
    assert address(x) == where
    np.testing.assert_allclose(x.tolist(), old * 0.5 + np.array(y.tolist()), rtol=1e-6)


@pytest.mark.parametrize("holder", HOLDERS)
def test_what_a_compiled_function_writes_is_not_seen_by_holders_of_the_old_value(holder):
    x, y = block(), block(2.0)

    @flamework.compile
    def step():
        x.mul_(0.5).add_(y)

    for _ in range(3):
        step()
    buffer = node_of(x).value
    old = buffer.as_numpy(np.float32, (N,)).copy()
    del buffer
    held = HOLDERS[holder](x)
    step()
    if holder in ("a view", "an alias"):
        np.testing.assert_array_equal(held.numpy(), x.numpy()[-held.numel():])
    elif holder == "an array":
        np.testing.assert_array_equal(held, x.numpy())
    elif holder == "a buffer":
        np.testing.assert_array_equal(held.as_numpy(np.float32, (N,)), old)
    elif holder == "a node":
        np.testing.assert_array_equal(held.value.as_numpy(np.float32, (N,)), old)
    elif holder == "a pending program":
        np.testing.assert_array_equal(held.numpy(), old * np.float32(3))
    elif holder == "a clone that waits":
        np.testing.assert_array_equal(held.numpy(), old)
    np.testing.assert_array_equal(x.numpy(), old * np.float32(0.5) + y.numpy())


def test_the_call_that_is_recorded_needs_no_more_memory_than_later_ones():
    weights, _, step = deep_training()
    compiled = flamework.compile(step)
    compiled()  # makes the optimizer's state
    flamework.realize(*weights)
    gc.collect()
    plans = counters()["plans_built"]
    recorded = allocated(compiled)
    assert counters()["plans_built"] == plans + 1
    assert recorded == allocated(compiled)
    assert counters()["plans_built"] == plans + 1


def test_new_gradients_are_written_over_those_of_the_step_before():
    weights, _, step = deep_training()
    compiled = flamework.compile(step)
    for _ in range(3):
        compiled()
    gc.collect()
    before = {address(w.grad) for w in weights}
    got = allocated(compiled)
    assert {address(w.grad) for w in weights} == before
    assert got < list(engine._plans.values())[-1].arena_bytes + 1024


GRADIENT_HOLDERS = {
    "the gradient": lambda w: w.grad,
    "a view": lambda w: w.grad[1:],
    "an alias": lambda w: w.grad.detach(),
    "an array": lambda w: w.grad.numpy(),
    "a pending program": lambda w: w.grad * 3,
    "a node": lambda w: node_of(w.grad),
    "a buffer": lambda w: node_of(w.grad).value,
}


@pytest.mark.parametrize("holder", GRADIENT_HOLDERS)
def test_a_gradient_that_something_holds_is_not_written_over(holder):
    weights, _, step = deep_training()
    compiled = flamework.compile(step)
    for _ in range(3):
        compiled()
    (w, *_) = weights
    old = np.array(w.grad.tolist(), np.float32)
    buffer = weakref.ref(node_of(w.grad).value)
    held = GRADIENT_HOLDERS[holder](w)
    compiled()
    assert not np.array_equal(np.array(w.grad.tolist(), np.float32), old)
    np.testing.assert_array_equal(buffer().as_numpy(np.float32, old.shape), old)
    if holder == "a pending program":
        np.testing.assert_array_equal(held.numpy(), old * np.float32(3))


def test_a_gradient_that_is_returned_read_or_accumulated_is_kept():
    w = flamework.nn.Parameter(flamework.ones(N))
    x = block()

    @flamework.compile
    def step():
        old, w.grad = w.grad, None
        (w * w * x).sum().backward()
        with flamework.no_grad():
            w.mul_(0.5)
        return old

    @flamework.compile
    def accumulated():
        (w * w * x).sum().backward()
        with flamework.no_grad():
            w.mul_(0.5)

    w.grad = block(5.0)
    for _ in range(4):
        value, old, at = w.tolist(), w.grad.tolist(), x.tolist()
        assert step().tolist() == old
        np.testing.assert_allclose(w.grad.tolist(), 2 * np.array(value) * at, rtol=1e-6)
    for _ in range(4):
        value, old = w.tolist(), w.grad.tolist()
        accumulated()
        np.testing.assert_allclose(w.grad.tolist(), 2 * np.array(value) * at + old, rtol=1e-6)


def test_gradients_are_as_they_were_after_a_replay_that_fails():
    w, other = flamework.nn.Parameter(block()), flamework.nn.Parameter(block(2.0))

    @flamework.compile
    def step(index):
        w.grad = other.grad = None
        ((w * other).sum() + (w * w)[index].sum()).backward()

    good = flamework.tensor([0, 1])
    for _ in range(3):
        step(good)
    old = [t.grad.tolist() for t in (w, other)]
    with pytest.raises(IndexError):
        step(flamework.tensor([0, N + 5]))
    assert [t.grad.tolist() for t in (w, other)] == old
    step(good)
    assert [t.grad.tolist() for t in (w, other)] == old


def test_a_recorded_call_that_fails_leaves_its_tensors():
    x, table = block(), block(2.0)
    old = x.tolist()

    @flamework.compile
    def step(index):
        x.add_(table[index].sum())
        return x * 2

    with pytest.raises(IndexError):
        step(flamework.tensor([0, N + 5]))
    assert x.tolist() == old
    step(flamework.tensor([0, 1]))
    np.testing.assert_allclose(x.tolist(), np.array(old) + table[:2].sum().item(), rtol=1e-6)


def test_a_compiled_function_that_returns_the_old_value_keeps_it():
    x = block()

    @flamework.compile
    def swapped():
        old = x.clone()
        x.add_(1)
        return old

    for _ in range(4):
        before = x.numpy().copy()
        np.testing.assert_array_equal(swapped().numpy(), before)
        np.testing.assert_array_equal(x.numpy(), before + 1)


def test_a_compiled_function_whose_results_have_a_gradient_keeps_what_it_needs():
    x, w = block(), block(2.0).requires_grad_()

    @flamework.compile
    def loss(scale):
        value = (w * x * scale).sum()
        with flamework.no_grad():
            x.data.add_(1)
        return value

    for _ in range(3):
        old = x.numpy().copy()
        w.grad = None
        loss(flamework.ones(())).backward()
        np.testing.assert_array_equal(w.grad.numpy(), old)


def test_a_compiled_function_that_fails_leaves_its_tensors():
    x, table, index = block(), block(3.0), flamework.tensor([0, 1])

    @flamework.compile
    def step(index):
        x.mul_(0.5)
        x.add_(table[index].sum())

    for _ in range(3):
        step(index)
    old = np.array(x.tolist())
    with pytest.raises(IndexError):
        step(flamework.tensor([0, N]))
    assert x.tolist() == old.tolist()


def test_a_compiled_function_does_not_keep_the_values_of_its_first_call():
    x = block()
    first = weakref.ref(node_of(x).value)

    @flamework.compile
    def step():
        x.add_(1)

    step()
    step()
    gc.collect()
    assert first() is None or first() is node_of(x).value


# ---------------------------------------------------------------------------------------------------- random programs


@pytest.mark.parametrize("chunk", range(12))
def test_random_programs_observe_what_they_would_without_donation(chunk, monkeypatch):
    given = [0, 0]
    for seed in range(chunk * 12, chunk * 12 + 12):
        outcomes = []
        for least in (1, 1 << 60):
            monkeypatch.setattr(donation, "LEAST_BYTES", least)
            engine._plans.clear()
            before = counters()["bytes_allocated"]
            outcomes.append(run_random(seed))
            given[least > 1] += counters()["bytes_allocated"] - before
        assert repr(outcomes[0]) == repr(outcomes[1]), f"seed {seed}"
    assert given[0] < given[1]  # donations did happen


def test_verification_sees_the_inputs_as_they_were(monkeypatch):
    monkeypatch.setattr(engine, "VERIFY", True)
    x, y = block(), block(2.0)
    where = address(x)
    update(x, y)
    assert address(x) == where
    run_random(3)


# ----------------------------------------------------------------------------------------------------- which may be one


def kernel(body: list, mode: str = "flat", levels: int = 1) -> Kernel:
    arguments = [Argument(f"n{k}", "integer", None, 8) for k in range(levels)]
    arguments += [Argument("s0", "integer", None, 8), Argument("s1", "integer", None, 8)]
    arguments += [Argument(f"p{k}", "pointer", F32, k) for k in range(3)]
    return Kernel(mode, [[LoopVar(f"i{k}", f"n{k}")] for k in range(levels)], arguments, body)


def load(name: str, pointer: str, index: str = "i0") -> Load:
    return Load(name, F32, pointer, index)


def test_an_operand_read_at_the_same_index_may_be_replaced():
    found = replaceable(kernel([load("v0", "p0"), Let("v1", F32, "v0 * v0"), Store("p2", F32, "i0", "v1")]))
    assert found == {(0, 2)}


def test_an_operand_that_the_stored_value_does_not_need_may_not():
    found = replaceable(kernel([load("v0", "p0"), Store("p2", F32, "i0", "v0"), load("v1", "p1"),
                                Store("p1", F32, "i0", "v1")]))
    assert found == {(0, 2)}


@pytest.mark.parametrize("index", ["i0 + o0", "i0 * s0", "v9", "0"])
def test_other_indices_may_not(index):
    assert replaceable(kernel([load("v0", "p0", index), Store("p2", F32, "i0", "v0")])) == set()


def test_equal_strides_in_different_arguments_are_one_index():
    body = [load("v0", "p0", "i0 * s0 + i1"), Store("p2", F32, "i0 * s1 + i1", "v0")]
    k = kernel([Loop(1, body)], "rows", 2)
    assert replaceable(k) == {(0, 2)}


def test_a_store_that_is_repeated_in_an_inner_loop_may_not_replace():
    k = kernel([Loop(1, [load("v0", "p0"), Store("p2", F32, "i0", "v0")])], "rows", 2)
    assert replaceable(k) == set()


def test_a_reduction_over_the_operand_before_the_store_counts_as_needing_it():
    at = "i0 * s0 + i1"
    total = Accumulator("r0", F32, "sum", "v0")
    k = kernel([Loop(1, [load("v0", "p0", at)], [total]),
                Loop(1, [load("v1", "p0", at), Let("v2", F32, "v1 / r0"), Store("p2", F32, at, "v2")])], "rows", 2)
    assert replaceable(k) == {(0, 2)}


def test_a_reduction_beside_the_store_forbids_it():
    at = "i0 * s0 + i1"
    k = kernel([Loop(1, [load("v1", "p0", at), Store("p2", F32, at, "v1")]),
                Loop(1, [load("v0", "p0", at)], [Accumulator("r0", F32, "sum", "v0")]),
                Store("p1", F32, "i0", "r0")], "rows", 2)
    assert replaceable(k) == set()


@pytest.mark.parametrize("mode", ["split", "columns"])
def test_other_kinds_of_kernels_are_left_alone(mode):
    assert replaceable(kernel([load("v0", "p0"), Store("p2", F32, "i0", "v0")], mode)) == set()


def test_results_with_the_fewest_choices_choose_first():
    assert match([[0, 1], [0], []], frozenset([0, 1])) == {1: 0, 0: 1}
    assert match([[0, 1], [0], []], frozenset([1])) == {0: 1}


def test_references_are_counted_exactly():
    x = object()
    assert donation.others(x) == 0
    holder = [x, x]
    assert donation.others(x) == 2
    del holder
    assert donation.others(x) == 0


# --------------------------------------------------------------------------------------------------- inside the arena


def test_elementwise_work_between_products_is_done_in_place():
    x, w = flamework.ones(64, 64), [flamework.ones(64, 64) for _ in range(6)]
    flamework.realize()
    y = x
    for k in w:
        y = (y @ k).relu()
    plan, *_ = engine.prepared([node_of(y)])
    written = [(place.base, place.offset) for place in plan.planner.place.values()]
    assert len(plan.items) == 12
    assert len(set(written)) == 3 and all(written.count(place) % 2 == 0 for place in written)
    assert plan.arena_bytes == 2 * 64 * 64 * 4


def test_a_tensor_that_was_written_to_several_times_is_one_result():
    x, y = block(), block(2.0)
    x.mul_(0.5).add_(y)
    x.sub_(1)
    plans = []
    with engine.observed(lambda roots, plan: plans.append(plan)):
        (x.sum() + y.sum()).item()
    assert [len(plan.roots) for plan in plans] == [2]
