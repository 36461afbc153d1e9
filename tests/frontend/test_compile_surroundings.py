"""Compiled functions and what they reach: random numbers, modules, closures; and the hazards of replay."""

import threading

import flamework
import flamework as torch
import numpy as np
import pytest
from compiled_and_not import Batch, randn, same
from flamework import nn, optim
from flamework.nn import functional as F
from flamework.runtime.counters import counters

# ------------------------------------------------------------------------------------------------------ random numbers


def test_a_replay_draws_new_numbers():
    def script(compile):
        drop = nn.Dropout(0.5)

        @compile
        def f(x):
            noise = torch.randn(3) + torch.rand_like(x) * torch.randint(0, 5, (3,))
            y = x.clone().uniform_(-1, 1)
            return drop(x + noise), y, torch.randperm(4), torch.bernoulli(torch.full((5,), 0.5), p=0.3)

        for i in range(4):
            yield f(randn(3, seed=i))
            yield torch.rand(2)
        torch.manual_seed(3)
        yield f(randn(3))
        generator = torch.Generator().manual_seed(5)
        g = compile(lambda x, generator: x + torch.randn(3, generator=generator))
        for _ in range(3):
            yield g(randn(3), generator)
        generator.manual_seed(5)
        yield g(randn(3), generator)

    same(script, recordings=2)


def test_gradients_see_the_mask_of_their_own_call():
    def script(compile):
        w = nn.Parameter(torch.ones(40))
        f = compile(lambda: F.dropout(w * w, 0.5).sum() + (torch.randn(40) * w).sum())
        for _ in range(4):
            loss = f()
            loss.backward()
            yield loss, w.grad
            w.grad = None

    same(script, recordings=1)


# ------------------------------------------------------------------------------------------------------------- modules


def test_modules_compile_and_stay_modules():
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
    compiled = flamework.compile(model)
    assert isinstance(compiled, nn.Module)
    assert [id(p) for p in compiled.parameters()] == [id(p) for p in model.parameters()]
    assert set(compiled.state_dict()) == {f"_orig_mod.{name}" for name in model.state_dict()}
    assert compiled[0] is model[0] if hasattr(type(compiled), "__getitem__") else compiled._orig_mod[0] is model[0]
    x = randn(5, 3)
    for _ in range(3):
        assert compiled(x).tolist() == model(x).tolist()
    compiled.eval()
    assert not model.training
    nested = nn.Sequential(compiled, nn.Linear(2, 1))
    assert nested(x).shape == (5, 1)


def test_running_statistics_and_training_flags():
    def script(compile):
        model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Dropout(0.3))
        forward = compile(model)
        for i in range(8):
            model.train(i // 2 % 2 == 0)
            yield forward(randn(6, 3, seed=i))
            yield dict(model.state_dict())
            if i == 5:
                nn.Linear(2, 2)  # an unrelated module

    same(script)


def test_switching_between_train_and_eval_keeps_both_recordings():
    model = nn.Sequential(nn.Linear(3, 4), nn.Dropout(0.3))
    forward = flamework.compile(model)
    x = randn(2, 3)
    for _ in range(2):
        for flag in (True, False):
            model.train(flag)
            forward(x)
            forward(x)
    assert sum(len(kind.variants) for kind in forward.compiled.kinds.values()) == 2
    before = counters()["plans_built"]
    model.train()
    forward(x)
    model.eval()
    forward(x)
    assert counters()["plans_built"] == before


def test_modules_changed_between_calls():
    def script(compile):
        class Net(nn.Module):
            def __init__(self):
                super().__init__()
                self.layers = nn.ModuleList([nn.Linear(3, 3)])
                self.scale = 2.0
                self.extra = [1.0]
                self._hidden = {"shift": 0.0}
                self.register_buffer("offset", torch.zeros(3))

            def forward(self, x):
                for layer in self.layers:
                    x = layer(x)
                return self.finish(x)

            def finish(self, x):
                return x * self.scale + sum(self.extra) + self._hidden["shift"] + self.offset

        net = Net()
        f = compile(net)

        def look():
            return [f(randn(2, 3, seed=s)) for s in range(2)]

        yield look()
        net.layers.append(nn.Linear(3, 3))
        yield look()
        net.layers[0].weight = nn.Parameter(randn(3, 3, seed=4))
        yield look()
        net.scale = 3.0
        yield look()
        net.extra.append(5.0)
        yield look()
        net._hidden["shift"] = 1.0
        yield look()
        net.offset = torch.ones(3)
        yield look()
        net.load_state_dict({k: v * 2 for k, v in net.state_dict().items()})
        yield look()
        with torch.no_grad():
            net.layers[1].bias.fill_(3.0)
        yield look()
        handle = net.layers[0].register_forward_hook(lambda m, args, out: out + 1)
        yield look()
        handle.remove()
        yield look()
        net.double()
        yield f(randn(2, 3, dtype=np.float64))
        net.layers[0].bias = None
        yield f(randn(2, 3, dtype=np.float64))

    same(script)


def test_hooks_see_their_closures():
    def script(compile):
        model = nn.Linear(3, 3)
        scale = [2.0]
        model.register_forward_pre_hook(lambda m, args: (args[0] * scale[0],))
        model.weight.register_hook(lambda g: g * scale[0])
        f = compile(model)

        @compile
        def backward(x):
            model.zero_grad()
            model(x).sum().backward()

        for value in (1.0, 2.0, 2.0, 3.0):
            scale[0] = value
            yield f(randn(2, 3))
            backward(randn(2, 3))
            yield model.weight.grad

    same(script)


# --------------------------------------------------------------------------------------------- what a function reaches

WIDTH = 2.0
TENSOR = torch.ones(3)


class Config:
    width = 2.0


class Slotted:
    __slots__ = ("value",)


def helper(x):
    return x * WIDTH + TENSOR


def test_globals_and_helpers_changed_between_calls():
    def script(compile):
        global WIDTH, TENSOR
        WIDTH, TENSOR = 2.0, torch.ones(3)
        Config.width = 2.0
        slotted = Slotted()
        slotted.value = 1.0
        settings = Batch(1.0, {"a": [1.0]})

        @compile
        def f(x):
            return helper(x) + Config.width + slotted.value + settings.x + settings.y["a"][0]

        yield f(randn(3))
        yield f(randn(3, seed=1))
        WIDTH = 3.0
        yield f(randn(3))
        TENSOR = torch.zeros(3)
        yield f(randn(3))
        TENSOR += 5
        yield f(randn(3))
        Config.width = 7.0
        yield f(randn(3))
        slotted.value = 4.0
        yield f(randn(3))
        settings.x = 2.0
        yield f(randn(3))
        settings.y["a"][0] = 9.0
        yield f(randn(3))

    same(script)


def test_a_function_replaced_between_calls():
    def script(compile):
        class Model:
            def apply(self, x):
                return x + 1

        model = Model()
        f = compile(lambda x: model.apply(x))
        yield f(randn(2))
        Model.apply = lambda self, x: x - 1
        yield f(randn(2))
        model.apply = lambda x: x * 10
        yield f(randn(2))

    same(script)


def test_compiled_functions_call_each_other():
    def script(compile):
        scale = [2.0]

        @compile
        def inner(x):
            return x * scale[0]

        @compile
        def outer(x, depth):
            return inner(x) if depth == 0 else outer(x + 1, depth - 1)

        for i in range(3):
            yield outer(randn(3, seed=i), 2)
            yield inner(randn(3, seed=i))
            yield outer(randn(3, seed=i), 0)
        scale[0] = 5.0
        yield outer(randn(3), 2)
        yield inner(randn(3))

    same(script)


def test_decorated_helpers_are_followed():
    def script(compile):
        scale = {"a": 2.0}

        @torch.no_grad()
        def quiet(x):
            return x * scale["a"]

        f = compile(lambda x: quiet(x) + 1)
        for value in (2.0, 2.0, 3.0):
            scale["a"] = value
            yield f(randn(2).requires_grad_())

    same(script)


# ------------------------------------------------------------------------------------------------- failures and hazards


def test_an_exception_leaves_nothing_half_done():
    def script(compile):
        w = nn.Parameter(torch.ones(3))
        optimizer = optim.Adam([w], lr=0.1)

        @compile
        def f(x):
            optimizer.zero_grad()
            (w * x).sum().backward()
            optimizer.step()
            torch.rand(1)
            if x.shape[0] == 1:
                raise ValueError("no batches of one")
            return w * 1

        yield f(randn(3))
        yield f(randn(3))
        yield f(randn(3))

    same(script)

    w = torch.ones(3)
    optimizer = optim.Adam([nn.Parameter(torch.ones(3))], lr=0.1)

    @flamework.compile
    def g(x, fail):
        w.add_(x)
        x.mul_(2)
        optimizer.param_groups[0]["params"][0].grad = x * 1
        optimizer.step()
        noise = torch.rand(3)
        if fail:
            raise ValueError("told to")
        return noise

    x = torch.ones(3)
    g(x.clone(), False)
    state = optimizer.state_dict()["state"][0]["step"].item(), torch.get_rng_state().tolist()
    before = w.tolist(), x.tolist(), optimizer.param_groups[0]["params"][0].tolist()
    for _ in range(2):
        with pytest.raises(ValueError, match="told to"):
            g(x, True)
        assert (w.tolist(), x.tolist(), optimizer.param_groups[0]["params"][0].tolist()) == before
        assert (optimizer.state_dict()["state"][0]["step"].item(), torch.get_rng_state().tolist()) == state
    g(x, False)
    assert x.tolist() == [2.0, 2.0, 2.0] and w.tolist() == [3.0, 3.0, 3.0]


@pytest.mark.parametrize("recorded", [1, 2, 3])
def test_an_index_out_of_range_changes_nothing(recorded):
    table = nn.Parameter(randn(4, 3))
    optimizer = optim.Adam([table], lr=0.1)
    written = torch.zeros(4)

    @flamework.compile
    def f(index):
        optimizer.zero_grad()
        F.embedding(index, table).sum().backward()
        optimizer.step()
        written[index] += 1.0
        return F.dropout(table, 0.5) + torch.rand(1)

    for _ in range(recorded):
        f(torch.tensor([0, 3]))
    before = table.tolist(), written.tolist(), torch.get_rng_state().tolist()
    steps = [s["step"] for s in optimizer.state.values()]
    for wrong in ([1, 4], [-9, 2]):
        with pytest.raises(IndexError, match="out of bounds"):
            f(torch.tensor(wrong))
        assert (table.tolist(), written.tolist(), torch.get_rng_state().tolist()) == before
        assert [s["step"] for s in optimizer.state.values()] == steps
    f(torch.tensor([1, 2]))
    f(torch.tensor([1, 2]))
    assert written.tolist() == [recorded, 2.0, 2.0, recorded]


@pytest.mark.parametrize(
    "take",
    [
        lambda x, i: x[i], lambda x, i: x.index_select(0, i), lambda x, i: x.gather(0, i.reshape(-1, 1)),
        lambda x, i: F.embedding(i, x), lambda x, i: x.take(i * 3),
        lambda x, i: F.nll_loss(x[: i.shape[0]], i % 3 + (i > 3).long() * 9),
        lambda x, i: torch.zeros(4, 3).index_add(0, i, x[: i.shape[0]]),
        lambda x, i: torch.zeros(4, 3).scatter(0, i.reshape(-1, 1), 1.0), lambda x, i: x[:, i % 3][i],
    ],
)
def test_indices_are_checked_at_every_replay(take):
    f = flamework.compile(take)
    x = randn(4, 3)
    good = torch.tensor([0, 3, 2])
    for _ in range(3):
        assert f(x, good).tolist() == take(x, good).tolist()
        with pytest.raises((IndexError, RuntimeError), match="out of (bounds|range)"):
            f(x, torch.tensor([0, 5, 1]))


def test_indices_that_the_function_makes_are_checked_at_once():
    f = flamework.compile(lambda x: x[torch.tensor([0, 2])])
    assert f(torch.arange(3)).tolist() == [0, 2]
    g = flamework.compile(lambda x: x[torch.tensor([0, 3])])
    with pytest.raises(IndexError):
        g(torch.arange(3))


def test_results_are_never_overwritten_by_later_calls():
    def script(compile):
        f = compile(lambda x: (x * 2, x.sum(), x[0]))
        results = []
        for i in range(6):
            x = randn(3, seed=i)
            results.append(f(x))
            x.add_(100)
        yield results
        h = randn(3)
        g = compile(lambda h, x: (h * x).tanh())
        states = []
        for i in range(6):
            h = g(h, randn(3, seed=i))
            states.append(h)
        yield states

    same(script)


def test_pending_arguments_are_computed_first():
    def script(compile):
        f = compile(lambda x, y: x.add_(y).sum())
        for i in range(4):
            x = randn(3, seed=i) * 2
            y = x[1:] + 1
            yield f(x, y.sum())
            yield x, y

    same(script)


def test_results_of_one_call_are_arguments_of_the_next():
    def script(compile):
        f = compile(lambda x: (x + 1, x[1:] * 2))
        x = randn(4)
        for _ in range(3):
            x, y = f(x)
            yield x, y
            x = torch.cat([y, x[:1]])

    same(script)


def test_many_variants_stay_bounded():
    f = flamework.compile(lambda x: x * 2)
    for n in range(1, 90):
        assert f(torch.ones(n)).sum().item() == 2 * n
    assert len(f.kinds) <= 64


def test_threads_compile_and_replay():
    model = nn.Linear(4, 4)
    f = flamework.compile(lambda x, n: model(x) * n)
    expected = {n: (model(torch.ones(2, 4)) * n).tolist() for n in range(4)}
    failures = []

    def work(n):
        try:
            for _ in range(30):
                assert f(torch.ones(2, 4), n).tolist() == expected[n]
                assert (torch.ones(3) * n).tolist() == [float(n)] * 3
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not failures


def test_memory_that_numpy_shares_between_two_tensors_is_refused():
    whole = np.zeros(3, np.float32)
    first, second = flamework.from_numpy(whole[:2]), flamework.from_numpy(whole[1:])

    @flamework.compile
    def step(a, b):
        a += 1
        b += 1

    with pytest.raises(RuntimeError, match="overlap in memory"):
        step(first, second)
    assert whole.tolist() == [0, 0, 0]
    apart = np.zeros(4, np.float32)
    step(flamework.from_numpy(apart[:2]), flamework.from_numpy(apart[2:]))
    step(flamework.from_numpy(apart[2:]), flamework.from_numpy(apart[:2]))
    assert apart.tolist() == [2, 2, 2, 2]
    # parameters are found as arguments are
    params = [x.requires_grad_() for x in (first, second)]
    optimizer = flamework.optim.SGD(params, lr=1.0)
    for param in params:
        param.grad = flamework.ones(2)
    with pytest.raises(RuntimeError, match="overlap in memory"):
        flamework.compile(optimizer.step)()


def test_a_profiler_keeps_profiling():
    import cProfile

    profile = cProfile.Profile()
    compiled = flamework.compile(lambda x: x * 2)
    profile.enable()
    try:
        assert compiled(flamework.ones(2)).tolist() == [2, 2]
        sorted([3, 1, 2])
    finally:
        profile.disable()
    names = {entry.code if isinstance(entry.code, str) else entry.code.co_name for entry in profile.getstats()}
    assert any("sorted" in name for name in names)
