"""What a compiled function must not do: it is refused with the line, and nothing has happened."""

import datetime
import io
import itertools
import json
import logging
import math
import os
import random
import sys
import time
import uuid
import warnings
from collections import deque
from pathlib import Path

import flamework
import flamework as torch
import numpy as np
import pytest
from flamework import SideEffectError, nn, optim

COUNT = 0


class Holder:
    total = 0

    def __init__(self):
        self.value = 0
        self.items = []
        self.table = {}
        self.unique = set()


class Slots:
    __slots__ = ("value",)


HOLDER = Holder()
SLOTS = Slots()
SLOTS.value = 0
OUTER: list = []
QUEUE: deque = deque()
ITERATOR = iter(range(1000))
COUNTER = itertools.count()
TEXT = io.StringIO()
ARRAY = np.zeros(3)


def numbers():
    yield from range(1000)


GENERATOR = numbers()
LOGGER = logging.getLogger("compiled")


def appends(x):
    y = x + 1
    OUTER.append(y)  # here
    return y


def extends(x):
    OUTER.extend([1, 2])  # here
    return x * 2


def adds_in_place(x):
    global OUTER
    OUTER += [1]  # here
    return x * 2


def sets_item(x):
    HOLDER.table["a"] = x  # here
    return x * 2


def deletes_item(x):
    HOLDER.items.append(1)  # here
    del HOLDER.items[0]
    HOLDER.items.append(2)
    return x * 2


def sets_attribute(x):
    HOLDER.value += 1  # here
    return x * 2


def sets_class_attribute(x):
    Holder.total = Holder.total + 1  # here
    return x * 2


def sets_slot(x):
    SLOTS.value = x.shape[0] + SLOTS.value  # here
    return x * 2


def adds_to_set(x):
    HOLDER.unique.add(len(HOLDER.unique))  # here
    return x * 2


def rotates_a_queue(x):
    QUEUE.append(3)  # here
    return x * 2


def sets_global(x):
    global COUNT
    COUNT += 1  # here
    return x * COUNT


def makes_global(x):
    global MADE_BY_THE_FUNCTION
    MADE_BY_THE_FUNCTION = x  # here
    return x * 2


def draws_from_an_iterator(x):
    return x * next(ITERATOR)


def counts(x):
    return x * next(COUNTER)


def draws_from_a_generator(x):
    return x * next(GENERATOR)


def prints(x):
    print("hello", x.shape)  # here
    return x * 2


def prints_a_tensor(x):
    print(x)  # here
    return x * 2


def writes_to_stdout(x):
    sys.stdout.write("text")  # here
    return x * 2


def writes_text(x):
    TEXT.write("text")  # here
    return x * 2


def logs(x):
    LOGGER.warning("x has %s", x.shape)  # here
    return x * 2


def reads_the_clock(x):
    return x * time.time()  # here


def reads_the_date(x):
    return x * datetime.datetime.now().year  # here


def sleeps(x):
    time.sleep(0)  # here
    return x * 2


def draws_python_numbers(x):
    return x * random.random()  # here


def shuffles(x):
    items = [1.0, 2.0, 3.0]
    random.shuffle(items)  # here
    return x * items[0]


def makes_a_name(x):
    return x, str(uuid.uuid4())  # here


def asks_the_system(x):
    return x * len(os.urandom(3))  # here


def runs_code(x):
    exec("y = 1")  # here
    return x * 2


def evaluates(x):
    return x * eval("1 + 1")  # here


def takes_the_item(x):
    return x * x.sum().item()  # here


def takes_an_item_of_an_argument(x):
    return x * x[0].item()  # here


def takes_a_float(x):
    return x * float(x.max())  # here


def decides(x):
    if x.sum() > 0:  # here
        return x
    return -x


def asserts(x):
    assert (x == x).all()  # here
    return x


def lists(x):
    return x * sum(x.tolist())  # here


def converts(x):
    return x * torch.tensor(x.numpy())  # here


def catches_everything(x):
    try:
        print(x.sum().item())  # here
    except Exception:
        return x
    return x * 2


def formats(x):
    return x, f"{x}"  # here


def compares(x):
    return x * 2 if torch.equal(x, x + 1) else x  # here


def masks(x):
    return x[x > 0]  # here


def looks_for_nonzero(x):
    return torch.nonzero(x)  # here


def iterates_over_numbers(x):
    return x * sum(int(v) for v in x)  # here


def takes_the_address(x):
    return x * (x.data_ptr() * 0 + 1)  # here


REFUSED = [
    appends, extends, adds_in_place, sets_item, deletes_item, sets_attribute, sets_class_attribute, sets_slot,
    adds_to_set, rotates_a_queue, sets_global, makes_global, prints, prints_a_tensor, writes_to_stdout, writes_text,
    logs, reads_the_clock, reads_the_date, sleeps, draws_python_numbers, shuffles, makes_a_name, asks_the_system,
    runs_code, evaluates, takes_the_item, takes_an_item_of_an_argument, takes_a_float, decides, asserts, lists,
    converts, catches_everything, formats, compares, masks, looks_for_nonzero, iterates_over_numbers, takes_the_address,
]
REFUSED_WITHOUT_LINE = [draws_from_an_iterator, counts, draws_from_a_generator]


def line_of(function):
    """File and line of the statement that is marked."""
    lines = Path(__file__).read_text().splitlines()
    first = function.__code__.co_firstlineno
    number = next(i for i in range(first, len(lines)) if "# here" in lines[i - 1])
    return f"{__file__}:{number}"


@pytest.mark.parametrize("function", REFUSED, ids=lambda f: f.__name__)
def test_side_effects_are_refused_with_their_line(function, capsys):
    compiled = flamework.compile(function)
    x = torch.tensor([1.0, -2.0, 3.0])
    for _ in range(2):
        with pytest.raises(SideEffectError) as error:
            compiled(x)
        assert isinstance(error.value, RuntimeError)
        assert line_of(function) in str(error.value)
    assert x.tolist() == [1.0, -2.0, 3.0]
    assert capsys.readouterr().out == ""
    assert (OUTER, HOLDER.value, HOLDER.items, HOLDER.table, HOLDER.unique, COUNT) == ([], 0, [], {}, set(), 0)
    assert (SLOTS.value, list(QUEUE), "MADE_BY_THE_FUNCTION" in globals()) == (0, [], False)


@pytest.mark.parametrize("function", REFUSED_WITHOUT_LINE, ids=lambda f: f.__name__)
def test_iterators_that_advance_are_refused(function):
    with pytest.raises(SideEffectError, match="changes"):
        flamework.compile(function)(torch.ones(2))


def test_numpy_random_numbers_are_refused():
    np.random.seed(0)
    generator = np.random.default_rng(0)
    for function in [
        lambda x: x * np.random.rand(), lambda x: x + torch.from_numpy(np.random.randn(2)),
        lambda x: x * generator.random(), lambda x: x * float(np.random.default_rng().random()),
    ]:
        with pytest.raises(SideEffectError):
            flamework.compile(function)(torch.ones(2))
    # numbers from a seed are the same at every call
    fixed = flamework.compile(lambda x: x * float(np.random.default_rng(3).random()))
    assert fixed(torch.ones(2)).tolist() == fixed(torch.ones(2)).tolist()


def test_files_are_refused(tmp_path):
    target = tmp_path / "file.txt"
    handle = open(tmp_path / "open.txt", "w")
    for function in [
        lambda x: target.write_text("x") and x, lambda x: x * len(open(__file__).read()),
        lambda x: handle.write("x") and x, lambda x: json.dump({}, handle) or x * 2,
    ]:
        with pytest.raises(SideEffectError, match=r"test_compile_effects.py:\d+"):
            flamework.compile(function)(torch.ones(2))
    handle.close()
    assert not target.exists() and (tmp_path / "open.txt").read_text() == ""


def test_nonlocal_variables_are_refused_and_restored():
    calls = 0

    def f(x):
        nonlocal calls
        calls += 1
        return x * 2

    with pytest.raises(SideEffectError, match="calls"):
        flamework.compile(f)(torch.ones(2))
    assert calls == 0


def test_a_refused_call_leaves_tensors_as_they_were():
    w = nn.Parameter(torch.ones(2))
    shared = np.ones(2, np.float32)
    optimizer = optim.Adam([w], lr=0.1)
    seen = []

    @flamework.compile
    def f(x, y):
        x.add_(1)
        y[0] = 5
        (w * x).sum().backward()
        optimizer.step()
        torch.rand(2)
        seen.append(1)

    state = torch.get_rng_state().tolist()
    x = torch.ones(4)
    with pytest.raises(SideEffectError, match="seen|append"):
        f(x[1:3], torch.from_numpy(shared))
    assert x.tolist() == [1.0] * 4 and shared.tolist() == [1.0, 1.0]
    assert w.tolist() == [1.0, 1.0] and w.grad is None and not optimizer.state
    assert torch.get_rng_state().tolist() == state and seen == []
    w.add_(1) if False else None
    with torch.no_grad():
        w.add_(1)
    assert w.tolist() == [2.0, 2.0]


def test_without_fullgraph_such_functions_run_as_they_are(capsys):
    w = torch.zeros(2)
    log = []

    @flamework.compile(fullgraph=False)
    def f(x):
        w.add_(x)
        log.append(w.sum().item())
        print("called", log[-1])
        return x * log[-1]

    assert [f(torch.ones(2)).tolist() for _ in range(3)] == [[2.0, 2.0], [4.0, 4.0], [6.0, 6.0]]
    assert w.tolist() == [3.0, 3.0] and log == [2.0, 4.0, 6.0]
    assert capsys.readouterr().out == "called 2.0\ncalled 4.0\ncalled 6.0\n"


def test_learning_rates_and_schedulers_may_not_change_inside():
    w = nn.Parameter(torch.ones(2))
    optimizer = optim.SGD([w], lr=0.1)
    scheduler = optim.lr_scheduler.StepLR(optimizer, 1)

    def sets_the_rate():
        optimizer.param_groups[0]["lr"] *= 0.5

    def steps_the_scheduler():
        scheduler.step()

    for function in (sets_the_rate, steps_the_scheduler):
        optimizer.step()
        with pytest.raises(SideEffectError):
            flamework.compile(function)()
        assert optimizer.param_groups[0]["lr"] == 0.1 and scheduler.last_epoch == 0
        assert type(optimizer.param_groups[0]["lr"]) is float


def test_a_learning_rate_may_be_read_inside():
    w = nn.Parameter(torch.ones(2))
    optimizer = optim.SGD([w], lr=0.5)
    f = flamework.compile(lambda x: (x * optimizer.param_groups[0]["lr"], optimizer.param_groups[0]["lr"]))
    for rate in (0.5, 0.25, 2.0):
        optimizer.param_groups[0]["lr"] = rate
        value, returned = f(torch.ones(1))
        assert value.item() == returned == rate and type(returned) is float
    assert sum(len(kind.variants) for kind in f.kinds.values()) == 1


def test_modules_may_not_change_inside():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.calls = 0
            self.linear = nn.Linear(2, 2)

        def forward(self, x):
            self.calls += 1
            return self.linear(x)

    net = Net()
    with pytest.raises(SideEffectError, match=rf"calls.*{Path(__file__).name}"):
        flamework.compile(net)(torch.ones(1, 2))
    assert net.calls == 0
    with pytest.raises(SideEffectError):
        flamework.compile(lambda x: net.eval() and x)(torch.ones(2))
    assert net.training


def test_results_of_unknown_classes_are_refused():
    for make in (lambda x: Holder(), lambda x: {x}, lambda x: iter([x]), lambda x: (v for v in [x])):
        with pytest.raises(SideEffectError, match="returns a new object of class"):
            flamework.compile(make)(torch.ones(2))
    assert flamework.compile(lambda x: HOLDER)(torch.ones(2)) is HOLDER


def test_arguments_may_not_be_changed_otherwise_than_as_tensors():
    def grows(items):
        items.append(items[0] * 2)
        return items[0]

    def replaces(table):
        table["x"] = table["x"] * 2
        return table["x"]

    items, table = [torch.ones(2)], {"x": torch.ones(2)}
    with pytest.raises(SideEffectError, match=Path(__file__).name):
        flamework.compile(grows)(items)
    with pytest.raises(SideEffectError):
        flamework.compile(replaces)(table)
    assert len(items) == 1 and table["x"].tolist() == [1.0, 1.0]


def test_local_containers_objects_and_warnings_are_no_side_effects():
    @flamework.compile
    def f(x):
        items, table, seen, holder = [], {}, set(), Holder()
        for i in range(3):
            items.append(x * i)
            table[i] = items[-1]
            seen.add(i)
            holder.items.append(i)
            holder.value = i
        buffer = io.StringIO()
        buffer.write("local")
        warnings.warn("a warning is shown", UserWarning, stacklevel=1)
        queue = deque([1, 2])
        queue.rotate()
        order = sorted([3, 1, 2], key=lambda v: -v)
        stack = [v * math.pi for v in [1.0, 2.0]]
        numbers = len(buffer.getvalue()) + queue[0]
        return sum(items) + table[2] * len(seen) + holder.value + order[0] + stack[1] + numbers

    with warnings.catch_warnings(record=True):
        warnings.simplefilter("always")
        first = f(torch.ones(2)).tolist()
    assert f(torch.ones(2)).tolist() == first == f.function(torch.ones(2)).tolist()


def test_constants_may_be_looked_at():
    @flamework.compile
    def f(x):
        mask = torch.tril(torch.ones(3, 3)) > 0
        picked = x[torch.tensor([True, False, True])]
        count = int(torch.tensor([1, 2, 3]).sum())
        return x * mask.sum().item() + count, picked, x[mask[1]]

    for i in range(3):
        x = torch.arange(3.0) + i
        found, expected = f(x), f.function(x)
        assert [t.tolist() for t in found] == [t.tolist() for t in expected]


def test_imports_inside_are_followed():
    module = type(sys)("settings_of_a_test")
    module.WIDTH = 2.0
    sys.modules["settings_of_a_test"] = module
    try:
        @flamework.compile
        def f(x):
            import settings_of_a_test

            return x * settings_of_a_test.WIDTH

        assert f(torch.ones(1)).item() == 2.0
        module.WIDTH = 3.0
        assert f(torch.ones(1)).item() == 3.0
    finally:
        del sys.modules["settings_of_a_test"]
