"""Compiled functions do what the function does: arguments, results, numbers, writing, NumPy's memory."""

import gc
import time
from collections import OrderedDict

import flamework
import flamework as torch
import numpy as np
import pytest
from compiled_and_not import Batch, Pair, randn, same
from flamework import nn, optim
from flamework.nn import functional as F
from flamework.runtime.counters import counters

# ---------------------------------------------------------------------------------------------- arguments and results


def test_function_of_tensors_replays_with_new_values():
    def script(compile):
        f = compile(lambda x, y: (x * y + 1).relu())
        for i in range(4):
            yield f(randn(3, 4, seed=i), randn(3, 4, seed=10 + i))

    same(script, recordings=1)


def test_decorator_with_and_without_arguments():
    @flamework.compile
    def f(x):
        """Doc."""
        return x + 1

    @flamework.compile(fullgraph=False)
    def g(x):
        return x + 1

    @flamework.compile()
    def h(x):
        return x + 1

    for _ in range(2):
        assert f(torch.ones(2)).tolist() == g(torch.ones(2)).tolist() == h(torch.ones(2)).tolist() == [2.0, 2.0]
    assert f.__name__ == "f" and f.__doc__ == "Doc."
    plain_function = f.function
    assert flamework.compile(plain_function, disable=True) is plain_function
    with pytest.raises(TypeError, match="takes a function or a Module"):
        flamework.compile(3)


def test_methods_and_static_methods():
    def script(compile):
        class Model:
            def __init__(self, factor):
                self.factor = factor
                self.bias = randn(3)

            @compile
            def apply(self, x):
                return self.shifted(x) * self.factor

            def shifted(self, x):
                return x + self.bias

            @staticmethod
            @compile
            def twice(x):
                return x * 2

        a, b = Model(2.0), Model(3)
        for i in range(3):
            yield a.apply(randn(3, seed=i))
            yield b.apply(randn(3, seed=i))
            yield Model.twice(randn(3, seed=i))
            yield a.twice(randn(3, seed=i))
        a.factor = 5.0
        yield a.apply(randn(3))
        a.bias = randn(3, seed=9)
        yield a.apply(randn(3))
        a.bias.add_(1)
        yield a.apply(randn(3))

    same(script)


def test_nested_arguments_and_results():
    def script(compile):
        @compile
        def f(items, *, table, flag=True, pair=None):
            a, (b, c) = items
            total = a + b * table["w"] + c["deep"][0]
            if pair is not None:
                total = total + pair.first - pair.second
            result = {"total": total, "list": [a * 2, (b, None)], "flag": flag}
            result["ordered"] = OrderedDict(x=c["deep"][0] * 2)
            return Pair(result, [total.sum()]) if flag else (result,)

        for i in range(3):
            items = [randn(2, seed=i), (randn(2, seed=i + 5), {"deep": [randn(2, seed=i + 9)]})]
            yield f(items, table={"w": randn(2, seed=i + 3)})
            yield f(items, table={"w": randn(2, seed=i + 3)}, flag=False)
            yield f(items, table={"w": randn(2, seed=i)}, pair=Pair(randn(2, seed=1), randn(2, seed=2)))

    same(script, recordings=3)


def test_dataclasses_are_containers():
    def script(compile):
        f = compile(lambda batch, scale: Batch(batch.x * scale, [batch.y, batch.x]))
        for i in range(3):
            yield f(Batch(randn(2, seed=i), randn(1, seed=i)), 2.0)

    same(script, recordings=1)


def test_defaults_and_keywords_are_told_apart():
    def script(compile):
        @compile
        def f(x, y=None, *, scale=2.0, mode="a"):
            x = x * scale
            return x + 1 if y is None else x + y if mode == "a" else x - y

        for i in range(2):
            x, y = randn(3, seed=i), randn(3, seed=i + 1)
            yield f(x)
            yield f(x, y)
            yield f(x, y=y)
            yield f(x, y, mode="b")
            yield f(x, scale=3.0)
            yield f(x, scale=4.0 + i)

    same(script)


def test_results_that_are_no_tensors():
    def script(compile):
        @compile
        def f(x, n, name):
            return x * n, n, name, x.shape, x.dtype, None, x.ndim * 2, (x.shape[0], 0.5), n * 2.0

        for i in range(3):
            yield f(randn(3 + i % 2), 2.0 + i, "name")

    same(script)


def test_the_same_result_twice_and_an_argument_returned():
    def script(compile):
        @compile
        def f(x, items):
            y = x + 1
            return y, y, x, items, [y, x]

        for i in range(3):
            x, items = randn(3, seed=i), [randn(2, seed=i)]
            a, b, c, d, (e, g) = f(x, items)
            assert a is b is e and c is x is g and d is items
            a.add_(1)
            c.mul_(2)
            yield a, b, c, x, d

    same(script, recordings=1)


def test_empty_and_zero_dimensional_tensors():
    def script(compile):
        f = compile(lambda x, y: (x * 2, y.sum(), torch.cat([x, x]), x.sum() + y))
        for i in range(3):
            yield f(torch.ones(0), torch.tensor(1.5 + i))
            yield f(torch.ones(2), torch.tensor(1.5 + i))
            yield f(torch.ones(0, 3), torch.tensor(2.0))

    same(script, recordings=3)


def test_transposed_expanded_and_strided_arguments():
    def script(compile):
        f = compile(lambda x: (x * 2 + 1, x.sum(0), x.reshape(-1), x.is_contiguous(), x.stride()))
        for i in range(3):
            base = randn(4, 6, seed=i)
            for x in (base, base.t(), base[1:3], base[:, ::2], base[0].expand(3, 6), base[1 + i % 2],
                      base.reshape(2, 12), base.diagonal(), base.unfold(0, 2, 1)):
                yield f(x)

    same(script)


def test_minibatches_share_one_recording():
    def script(compile):
        data, labels = randn(40, 3), torch.arange(40)
        shared = np.arange(120, dtype=np.float32).reshape(40, 3)
        numpy_data = torch.from_numpy(shared)
        f = compile(lambda x, y: (x.sum(1) * y).sum())
        for k in range(0, 40, 8):
            yield f(data[k : k + 8], labels[k : k + 8])
            yield f(numpy_data[k : k + 8], labels[k : k + 8])
            shared += 1

    same(script, recordings=1)


def test_static_values_and_kinds_are_keys():
    f = flamework.compile(lambda x, k: x * k if isinstance(k, int) else x)
    f(torch.ones(2), 1)
    for call in [lambda: f(torch.ones(2), 2), lambda: f(torch.ones(2), True), lambda: f(torch.ones(3), 1),
                 lambda: f(torch.ones(2, 1), 1), lambda: f(torch.ones(2, dtype=torch.float64), 1),
                 lambda: f(torch.ones(2, requires_grad=True), 1), lambda: f(torch.ones(2), None)]:
        before = len(f.kinds)
        call()
        assert len(f.kinds) == before + 1
        call()
        assert len(f.kinds) == before + 1
    with torch.no_grad():
        f(torch.ones(2), 1)
    assert len(f.kinds) == before + 2


# ------------------------------------------------------------------------------------------------ numbers and kernels


def test_a_new_batch_size_and_a_new_number_compile_no_kernel():
    model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.LayerNorm(8), nn.Linear(8, 3))
    optimizer = optim.SGD(model.parameters(), lr=0.1, momentum=0.9)

    @flamework.compile
    def step(x, y, weight):
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x), y) * weight
        loss.backward()
        optimizer.step()
        return loss

    def train(size, weight):
        return step(randn(size, 4), torch.arange(size) % 3, weight).item()

    for _ in range(3):
        train(6, 1.0)
    before = counters()["kernels_compiled"]
    for size in (9, 12, 33):
        train(size, 1.0)
        optimizer.param_groups[0]["lr"] *= 0.5
        train(size, 0.25 * size)
    assert counters()["kernels_compiled"] == before


def test_a_float_is_read_anew():
    def script(compile):
        @compile
        def f(x, a, b):
            c = (a - b) * 2 / 3 + b**2 - (-a)
            return x * a + c, x.add(x, alpha=b), x.clamp(-a, a), 1 / (1 + a)

        for i in range(5):
            yield f(randn(4, seed=i), 0.5 + i, 0.1 * i)

    same(script, recordings=1)


@pytest.mark.parametrize(
    "decide",
    [
        lambda x, a: x + 1 if a > 2.5 else x - 1,
        lambda x, a: x * int(a),
        lambda x, a: x * {0.0: 1.0, 3.0: 5.0}.get(a, 7.0),
        lambda x, a: x * float(f"{a:.1f}"),
        lambda x, a: x * __import__("math").sqrt(a),
        lambda x, a: x * float(np.sqrt(a)),
        lambda x, a: x + torch.tensor([a, a]).sum(),
        lambda x, a: x * round(a),
        lambda x, a: x**a,
        lambda x, a: (x if a else x * 3) * 1.0,
        lambda x, a: x * max(a, 2.0),
        lambda x, a: x + torch.full((2,), a).sum(),
        lambda x, a: F.dropout(x, a / 10) * 0 + a,
        lambda x, a: x * (a // 2) + a % 2,
        lambda x, a: x * abs(a - 3),
    ],
)
def test_a_float_that_is_looked_at_decides(decide):
    def script(compile):
        f = compile(decide)
        for a in (0.0, 1.0, 2.0, 3.0, 4.0, 2.0, -0.0):
            if decide.__code__.co_names == ("__import__", "sqrt"):
                a = abs(a)
            yield f(randn(2) + 3, a)

    same(script)


def test_sizes_and_integers_are_static():
    def script(compile):
        f = compile(lambda x, n: x.reshape(n, -1).sum(0) / x.numel())
        for n in (1, 2, 3, 6, 2, 1):
            yield f(randn(6, seed=n), n)

    same(script)


# ------------------------------------------------------------------------------------------------------------- writing


def test_arguments_written_in_place():
    def script(compile):
        @compile
        def f(x, y):
            x.add_(1)
            x[0] = y[0]
            y[1:].mul_(x[1:])
            return x.sum()

        for i in range(4):
            x, y = randn(3, 2, seed=i), randn(3, 2, seed=i + 1)
            view = x[1]
            yield f(x, y)
            yield x, y, view
            yield f(x, y)
            yield x, y, view

    same(script)


def test_views_of_arguments_are_written_through():
    def script(compile):
        @compile
        def f(v, w):
            v.mul_(2)
            w += v
            return v * 1

        for i in range(4):
            base = randn(6, 4, seed=i)
            yield f(base[i % 2 : i % 2 + 2], base.t()[:, 2:4].t())
            yield base
            yield f(base[2:4], base[3:5])
            yield base

    same(script)


def test_closure_tensors_are_written():
    def script(compile):
        total, count = torch.zeros(3), torch.tensor(0)
        window = torch.zeros(4, 3)
        row = window[2]

        @compile
        def f(x):
            nonlocal_total = total
            nonlocal_total += x
            count.add_(1)
            window[1:3] = window[0:2].clone()
            row.copy_(x)
            return total / count

        for i in range(5):
            yield f(randn(3, seed=i))
            yield total, count, window, row
        total.zero_()
        yield f(randn(3))
        yield total

    same(script)


def test_data_and_detach_write_to_parameters():
    def script(compile):
        w = nn.Parameter(randn(3))
        v = randn(3, seed=4).requires_grad_()

        @compile
        def f(x):
            ((w * x).sum() + (v * v * x).sum()).backward()
            w.data -= 0.1 * w.grad
            with torch.no_grad():
                v.sub_(v.grad, alpha=0.1)
            w.grad = None
            v.grad.zero_()

        for i in range(4):
            f(randn(3, seed=i))
            yield w, v, w.grad, v.grad
            (w * v).sum().backward()
            yield w.grad, v.grad
            w.grad = None
            v.grad.zero_()

    same(script)


def test_a_tensor_may_be_given_other_memory():
    def script(compile):
        w = nn.Parameter(randn(3))
        old = w.data

        @compile
        def f(x):
            w.data = w.data * x

        for i in range(4):
            f(randn(3, seed=i))
            yield w, old, w.requires_grad, w.is_leaf

    same(script)


def test_outputs_that_are_views_of_arguments():
    def script(compile):
        @compile
        def f(x):
            return x[0], x.t(), x.reshape(-1), x.detach()

        for i in range(4):
            x = randn(3, 2, seed=i)
            first, turned, flat, detached = f(x)
            first.fill_(1.0)
            turned[1].mul_(3)
            yield x, first, turned, flat
            detached.add_(1)
            yield x, flat

    same(script)


def test_outputs_that_share_memory():
    def script(compile):
        @compile
        def f(x):
            y = x * 2
            return y[0], y[1:], y.t(), y

        for i in range(3):
            a, b, c, d = f(randn(3, 2, seed=i))
            a.fill_(7.0)
            b.add_(1)
            yield a, b, c, d
            d.zero_()
            yield a, b, c

    same(script, recordings=1)


def test_views_of_leaves_and_results_have_gradients():
    def script(compile):
        w = nn.Parameter(randn(3, 2))

        @compile
        def f(x):
            y = w * x
            return w[1], y[0], w.t(), w.detach()

        for i in range(3):
            row, part, turned, bare = f(randn(2, seed=i))
            assert not bare.requires_grad
            (row.sum() + (part * part).sum() + (turned * 2).sum()).backward()
            yield w.grad
            w.grad = None
            with torch.no_grad():
                w.add_(0.5)
            yield row, turned, bare

    same(script)


@pytest.mark.parametrize("order", [(0, 0), (0, 1), (1, 0)])
def test_arguments_that_alias(order):
    def script(compile):
        @compile
        def f(x, y):
            x.add_(y)
            y.mul_(2)
            return x + y

        for i in range(3):
            pair = (randn(3, seed=i), randn(3, seed=i + 7))
            yield f(pair[order[0]], pair[order[1]])
            yield pair
            same_tensor = randn(3, seed=i)
            yield f(same_tensor, same_tensor)
            yield f(same_tensor, same_tensor.view(3))
            yield f(same_tensor[:2], same_tensor[1:])
            yield f(same_tensor[:2], same_tensor[1:].clone())
            yield same_tensor

    same(script)


def test_arguments_that_alias_a_closure_tensor():
    def script(compile):
        state = randn(4)
        part = state[1:3]
        w = nn.Parameter(randn(4))

        @compile
        def f(x):
            state.add_(1)
            x.mul_(2)
            part.sub_(3)
            return state * 1 + x.sum(), w * x.sum()

        with torch.no_grad():
            for i in range(3):
                yield f(randn(4, seed=i))
                yield f(state)
                yield f(part)
                yield f(w)
                yield f(state.view(2, 2))
                yield state, part, w

    same(script)


def test_a_closure_tensor_replaced_or_changed_between_calls():
    def script(compile):
        held = {"w": randn(3)}
        items = [randn(3, seed=5)]

        @compile
        def f(x):
            return x * held["w"] + items[0] + len(items)

        for i in range(3):
            yield f(randn(3, seed=i))
        held["w"].add_(1)
        yield f(randn(3))
        held["w"] = randn(3, seed=8)
        yield f(randn(3))
        held["w"] = randn(1, seed=8)
        yield f(randn(3))
        items.append(3)
        yield f(randn(3))
        items[0] = items[0][:1]
        yield f(randn(3))
        items[0].requires_grad_()
        yield f(randn(3))
        items[0] = 2.5
        yield f(randn(3))

    same(script)


def test_a_view_taken_outside_records_nothing_again():
    def script(compile):
        w, b = randn(3), nn.Parameter(randn(3))
        f = compile(lambda x: x * w + b)
        yield f(randn(3))
        views = w[1:], b.t()
        yield f(randn(3, seed=1))
        yield views
        w.add_(1)
        yield f(randn(3, seed=2))
        views[0].mul_(2)
        yield f(randn(3, seed=3))

    same(script, recordings=1)


# ------------------------------------------------------------------------------------------------------------- NumPy


def test_arguments_shared_with_numpy():
    def script(compile):
        array = np.arange(6, dtype=np.float32).reshape(2, 3)
        x = torch.from_numpy(array)
        f = compile(lambda x: (x * 2, x[0], x.clone(), x.reshape(-1) * 1))
        g = compile(lambda x: x.add_(1).sum())
        for _ in range(3):
            result = f(x)
            array += 1
            yield result
            yield g(x)
            yield array.copy(), x
            yield g(x[0]), g(x.t()), array.copy()
            array[1] = 5
            yield f(x)

    same(script)


def test_closures_shared_with_numpy():
    def script(compile):
        array = np.ones(3, np.float32)
        w = torch.from_numpy(array)
        raw = np.arange(3.0)

        @compile
        def f(x):
            w.mul_(2)
            return x * w + torch.from_numpy(raw)

        for i in range(4):
            yield f(randn(3, seed=i))
            yield array.copy()
            array += i
            raw[0] = i

    same(script)


def test_arrays_of_results_stay_what_they_are():
    def script(compile):
        f = compile(lambda x: (x + 1, torch.tensor([1.0, 2.0])))
        arrays = []
        for i in range(4):
            result, constant = f(randn(2, seed=i))
            arrays += [result.numpy(), constant.numpy()]
            arrays[-1] += 10
            arrays[-2] *= 2
            yield result, constant
        yield arrays

    same(script, recordings=1)


def test_read_only_arrays():
    def script(compile):
        array = np.ones(3, np.float32)
        array.flags.writeable = False
        f = compile(lambda x: x * 2)
        g = compile(lambda x: x.add_(1))
        for _ in range(2):
            with pytest.warns(UserWarning):
                x = torch.from_numpy(array)
            yield f(x)
            yield g(x), x, array.copy()

    same(script)


def test_a_write_through_a_detached_argument_is_not_one_to_a_tensor_of_its_own():
    @torch.compile
    def write(x, y):
        x[1:] = y.sum()
        return x

    for make in (lambda y: torch.ones(3), lambda y: y.detach()):
        y = torch.ones(3, requires_grad=True) * 2
        result = write(make(y), y)
        assert result.requires_grad and result.tolist() == [result[0].item(), 6.0, 6.0]
    assert y.tolist() == [2.0, 6.0, 6.0]


def test_what_runs_during_a_collection_of_garbage_is_not_the_functions_doing():
    seen = []

    def callback(phase, info):
        seen.append(time.perf_counter())

    @torch.compile
    def double(x):
        for _ in range(2000):
            cycle = []
            cycle.append(cycle)
        return x * 2

    gc.callbacks.append(callback)
    try:
        assert double(torch.ones(2)).tolist() == [2.0, 2.0]
    finally:
        gc.callbacks.remove(callback)
    assert gc.isenabled()
