"""Compiled functions do what the function does: the same script with and without the decorator, bit for bit."""

import dataclasses
import threading
from collections import OrderedDict, namedtuple

import flamework
import flamework as torch
import numpy as np
import pytest
from flamework import nn, optim
from flamework.nn import functional as F
from flamework.runtime.counters import counters

Pair = namedtuple("Pair", "first second")


@dataclasses.dataclass
class Batch:
    x: object
    y: object = None


def plain(value):
    """Tensors as arrays at any depth, so that two runs can be compared."""
    if isinstance(value, torch.Tensor):
        return (str(value.dtype), value.requires_grad, value.stride(), np.array(value.detach().numpy(), copy=True))
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [type(value).__name__, *map(plain, value)]
    if isinstance(value, Exception):
        return (type(value).__name__, str(value))
    return value


def assert_equal(found, expected, path="result"):
    assert type(found) is type(expected), (path, found, expected)
    if isinstance(expected, dict):
        assert list(found) == list(expected), path
        for key in expected:
            assert_equal(found[key], expected[key], f"{path}[{key!r}]")
    elif isinstance(expected, (list, tuple)):
        assert len(found) == len(expected), (path, found, expected)
        for i, (a, b) in enumerate(zip(found, expected)):
            assert_equal(a, b, f"{path}[{i}]")
    elif isinstance(expected, np.ndarray):
        assert found.shape == expected.shape, path
        assert found.tobytes() == expected.tobytes(), (path, found, expected)
    else:
        assert found == expected or (found != found and expected != expected), (path, found, expected)


class Decorator:
    """``flamework.compile``, which remembers what it made."""

    def __init__(self):
        self.made = []

    def __call__(self, function, **options):
        self.made.append(flamework.compile(function, **options))
        return self.made[-1]

    @property
    def recordings(self):
        """How many programs are kept."""
        found = [getattr(c, "compiled", c) for c in self.made]
        return sum(len(kind.variants) for c in found for kind in c.kinds.values())


def uncompiled(function, **options):
    return function


def same(script, recordings=None):
    """Run a script with and without compilation and compare everything that it returns.

    Args:
        script: a function of the decorator; a generator of values, or a function that returns them.
        recordings: how many programs the compiled functions keep at the end.
    """
    torch.manual_seed(0)
    expected = [plain(v) for v in script(uncompiled)]
    torch.manual_seed(0)
    decorator = Decorator()
    for i, (value, wanted) in enumerate(zip(script(decorator), expected, strict=True)):
        assert_equal(plain(value), wanted, f"value {i}")
    if recordings is not None:
        assert decorator.recordings == recordings


def randn(*shape, seed=0, dtype=np.float32):
    return torch.from_numpy(np.random.default_rng(seed + sum(shape)).standard_normal(shape).astype(dtype)).clone()


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
            result = {"total": total, "list": [a * 2, (b, None)], "flag": flag, "ordered": OrderedDict(x=c["deep"][0] * 2)}
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
            for x in (base, base.t(), base[1:3], base[:, ::2], base[0].expand(3, 6), base[1 + i % 2], base.reshape(2, 12),
                      base.diagonal(), base.unfold(0, 2, 1)):
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


# ----------------------------------------------------------------------------------------------------------- gradients


def test_gradients_through_a_compiled_forward_pass():
    def script(compile):
        model = nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.LayerNorm(5), nn.Linear(5, 2))
        forward = compile(model)
        optimizer = optim.Adam(model.parameters(), lr=0.05)
        for i in range(5):
            optimizer.zero_grad()
            x = randn(4, 3, seed=i).requires_grad_()
            out = forward(x)
            assert out.requires_grad and not out.is_leaf
            loss = F.mse_loss(out, randn(4, 2, seed=i))
            loss.backward()
            optimizer.step()
            yield loss, x.grad, [p.grad for p in model.parameters()]
        yield list(model.parameters())

    same(script, recordings=1)


def test_second_order_gradients_through_a_compiled_function():
    def script(compile):
        w = nn.Parameter(randn(3))
        f = compile(lambda x: ((x * w).sin().sum(), (x * x * w).exp()))
        for i in range(3):
            x = randn(3, seed=i).requires_grad_()
            a, b = f(x)
            (g,) = torch.autograd.grad(a + b.sum(), x, create_graph=True)
            yield g
            (g * g).sum().backward()
            yield x.grad, w.grad
            w.grad = None

    same(script, recordings=1)


def test_gradients_of_several_results_and_retained_graphs():
    def script(compile):
        f = compile(lambda x, y: (x * y, (x * y).sum(), x + 1, y))
        for i in range(3):
            x, y = randn(3, seed=i).requires_grad_(), randn(3, seed=i + 1).requires_grad_()
            a, b, c, d = f(x, y)
            assert d is y
            hooks = []
            a.register_hook(lambda g, hooks=hooks: hooks.append(g))
            a.retain_grad()
            (a * c).sum().backward(retain_graph=True)
            yield x.grad, y.grad, hooks, a.grad
            b.backward()
            yield x.grad, y.grad
            try:
                b.backward()
            except RuntimeError as error:
                yield error

    same(script, recordings=1)


def test_a_value_overwritten_before_backward_is_an_error():
    def script(compile):
        f = compile(lambda x, y: (x * y, x.exp()))
        g = compile(lambda x, y: x + y)
        for i in range(3):
            for write in range(4):
                x, y = randn(3, seed=i).requires_grad_(), randn(3, seed=i)
                held = x * 1
                a, b = f(held, y)
                c = g(held, y)
                if write == 1:
                    y.add_(1)
                elif write == 2:
                    b.add_(1)
                elif write == 3:
                    held.add_(1)
                for out in (c, b, a):
                    try:
                        out.sum().backward(retain_graph=True)
                        yield x.grad
                    except RuntimeError as error:
                        yield type(error), "modified by an inplace operation" in str(error)

    same(script)


def test_inplace_on_tensors_that_require_gradients():
    def script(compile):
        @compile
        def f(h, x):
            h.mul_(x)
            h[0] = x[1] * 2
            return h.sum()

        for i in range(3):
            w = randn(3, seed=i).requires_grad_()
            h = w * 1
            total = f(h, randn(3, seed=i))
            (total + (h * h).sum()).backward()
            yield h, total, w.grad

    same(script)


def test_grad_functions_of_results():
    f = flamework.compile(lambda x: (x * 2).exp())
    for _ in range(2):
        y = f(torch.ones(2, requires_grad=True))
        assert y.grad_fn.name() == "ExpBackward0"
        assert y.grad_fn.next_functions[0][0].name() == "MulBackward0"


def test_gradients_within_a_function():
    def script(compile):
        w = randn(3).requires_grad_()

        @compile
        def penalty(x):
            (g,) = torch.autograd.grad((w * x).pow(3).sum(), w, create_graph=True)
            return (g * g).sum()

        @compile
        def saliency(x):
            x.requires_grad_()
            (x.pow(3) * w).sum().backward()
            return x.grad

        for i in range(3):
            loss = penalty(randn(3, seed=i))
            loss.backward()
            yield loss, w.grad
            w.grad = None
            x = randn(3, seed=i)
            g = saliency(x)
            assert g is x.grad and x.requires_grad
            yield g, w.grad
            w.grad = None

    same(script)


def test_no_grad_inside_and_outside():
    def script(compile):
        w = nn.Parameter(randn(3))

        @compile
        def f(x):
            with torch.no_grad():
                y = w * x
            return y + w, y

        for _ in range(2):
            yield f(randn(3))
            with torch.no_grad():
                yield f(randn(3))
            with torch.inference_mode():
                yield f(randn(3)), w * 1

    same(script)


def test_detached_results_and_custom_functions():
    def script(compile):
        class Twice(torch.autograd.Function):
            @staticmethod
            def forward(ctx, x):
                ctx.save_for_backward(x)
                return x * 2

            @staticmethod
            def backward(ctx, g):
                (x,) = ctx.saved_tensors
                return g * x

        f = compile(lambda x: (Twice.apply(x).sum(), (x * 3).detach()))

        @compile
        def step(x):
            x = x.detach().requires_grad_()
            Twice.apply(x).sum().backward()
            return x.grad * 1

        for i in range(3):
            x = randn(3, seed=i).requires_grad_()
            y, d = f(x)
            y.backward()
            yield x.grad, d, step(x)

    same(script)


# ------------------------------------------------------------------------------------------------------ training steps


def small_model():
    return nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 3))


OPTIMIZERS = {
    "sgd": lambda p: optim.SGD(p, lr=0.1),
    "momentum": lambda p: optim.SGD(p, lr=0.1, momentum=0.9, nesterov=True, weight_decay=0.01),
    "adam": lambda p: optim.Adam(p, lr=0.01),
    "amsgrad": lambda p: optim.Adam(p, lr=0.01, amsgrad=True, weight_decay=0.1, maximize=True),
    "adamw": lambda p: optim.AdamW(p, lr=0.01, weight_decay=0.1),
    "groups": lambda p: optim.Adam([{"params": [q], "lr": 0.01 * (i + 1)} for i, q in enumerate(p)], lr=0.1),
    "tensor": lambda p: optim.SGD(p, lr=torch.tensor(0.1)),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("set_to_none", [True, False])
def test_training_steps(name, set_to_none):
    def script(compile):
        model = small_model()
        optimizer = OPTIMIZERS[name](list(model.parameters()))

        @compile
        def step(x, y):
            optimizer.zero_grad(set_to_none=set_to_none)
            loss = F.cross_entropy(model(x), y)
            loss.backward()
            optimizer.step()
            return loss

        for i in range(6):
            yield step(randn(5, 4, seed=i), torch.arange(5) % 3)
            if i == 3:
                yield optimizer.state_dict()["state"]
        yield list(model.parameters()), [p.grad for p in model.parameters()]
        yield optimizer.state_dict()

    same(script)


SCHEDULES = {
    "step": lambda o: optim.lr_scheduler.StepLR(o, 2, 0.5),
    "cosine": lambda o: optim.lr_scheduler.CosineAnnealingLR(o, 10),
    "one cycle": lambda o: optim.lr_scheduler.OneCycleLR(o, 0.1, total_steps=20),
    "lambda": lambda o: optim.lr_scheduler.LambdaLR(o, lambda k: float(np.exp(-k))),
}


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("kind", ["adam", "momentum"])
def test_learning_rates_that_change_between_calls(schedule, kind):
    def script(compile):
        model = nn.Linear(3, 1)
        optimizer = OPTIMIZERS[kind](model.parameters())
        scheduler = SCHEDULES[schedule](optimizer)

        @compile
        def step(x):
            optimizer.zero_grad()
            model(x).pow(2).mean().backward()
            optimizer.step()

        for i in range(8):
            step(randn(5, 3, seed=i))
            scheduler.step()
            yield list(model.parameters()), scheduler.get_last_lr()

    # the first call makes the state and is not kept
    same(script, recordings=1)


def test_several_steps_in_one_call():
    def script(compile):
        model = nn.Linear(3, 1)
        optimizer = optim.Adam(model.parameters(), lr=0.1)

        @compile
        def steps(x):
            for row in x:
                optimizer.zero_grad()
                model(row).pow(2).mean().backward()
                optimizer.step()

        for i in range(4):
            steps(randn(3, 5, 3, seed=i))
            yield optimizer.state_dict()
            yield list(model.parameters())

    same(script)


def test_gradient_accumulation():
    def script(compile):
        model = small_model()
        optimizer = optim.SGD(model.parameters(), lr=0.1)

        @compile
        def accumulate(x, y):
            loss = F.cross_entropy(model(x), y)
            loss.backward()
            return loss.detach()

        update = compile(lambda: optimizer.step())
        clear = compile(lambda: optimizer.zero_grad())
        grads = None
        for i in range(9):
            yield accumulate(randn(5, 4, seed=i), torch.arange(5) % 3)
            if i % 3 == 0:
                grads = [p.grad for p in model.parameters()]
            elif i % 3 == 1:
                # somebody holds the gradients: they are accumulated in place
                assert all(p.grad is g for p, g in zip(model.parameters(), grads))
                yield grads
            else:
                update()
                yield list(model.parameters())
                clear()
                assert all(p.grad is None for p in model.parameters())

    same(script)


def test_gradients_returned_and_clipped():
    def script(compile):
        model = small_model()

        @compile
        def gradients(x):
            model.zero_grad()
            model(x).sum().backward()
            nn.utils.clip_grad_norm_(model.parameters(), 0.5)
            return [p.grad for p in model.parameters()]

        for i in range(4):
            found = gradients(randn(2, 4, seed=i))
            assert all(g is p.grad for g, p in zip(found, model.parameters()))
            yield found

    same(script)


def test_parameters_frozen_between_calls():
    def script(compile):
        model = small_model()
        optimizer = optim.SGD(model.parameters(), lr=0.1)

        @compile
        def step(x):
            optimizer.zero_grad()
            model(x).pow(2).sum().backward()
            optimizer.step()

        for i in range(9):
            for p in model[0].parameters():
                p.requires_grad_(i // 3 != 1)
            step(randn(2, 4, seed=i))
            yield list(model.parameters()), [p.grad for p in model.parameters()]

    same(script)


def test_optimizer_state_loaded_between_calls():
    def script(compile):
        model = nn.Linear(3, 2)
        optimizer = optim.Adam(model.parameters(), lr=0.1)

        @compile
        def step(x):
            optimizer.zero_grad()
            model(x).pow(2).mean().backward()
            optimizer.step()

        for i in range(3):
            step(randn(4, 3, seed=i))
        saved = optimizer.state_dict(), {k: v.clone() for k, v in model.state_dict().items()}
        saved = [{k: v for k, v in s.items()} for s in saved]
        for i in range(3):
            step(randn(4, 3, seed=i))
        yield list(model.parameters())
        model.load_state_dict(saved[1])
        optimizer.load_state_dict(saved[0])
        for i in range(3):
            step(randn(4, 3, seed=i))
            yield list(model.parameters()), optimizer.state_dict()
        optimizer.param_groups[0]["weight_decay"] = 0.5
        optimizer.param_groups[0]["betas"] = (0.5, 0.6)
        step(randn(4, 3))
        yield list(model.parameters())
        optimizer.param_groups[0]["maximize"] = True
        step(randn(4, 3))
        yield list(model.parameters())

    same(script)


def test_an_optimizer_of_the_users():
    def script(compile):
        class Decaying(optim.Optimizer):
            def __init__(self, params, lr):
                super().__init__(params, {"lr": lr})

            def step(self):
                with torch.no_grad():
                    for group in self.param_groups:
                        for p in group["params"]:
                            state = self.state[p]
                            state["step"] = state.get("step", 0) + 1
                            p.sub_(p.grad * group["lr"] / state["step"])

        model = nn.Linear(3, 2)
        optimizer = Decaying(model.parameters(), 0.1)

        @compile
        def step(x):
            optimizer.zero_grad()
            model(x).pow(2).mean().backward()
            optimizer.step()

        for i in range(8):
            step(randn(4, 3, seed=i))
            yield list(model.parameters())

    same(script)


def test_training_agrees_with_pytorch():
    theirs = pytest.importorskip("torch")

    def run(torch, decorate):
        torch.manual_seed(0)
        model = torch.nn.Sequential(
            torch.nn.Linear(6, 8), torch.nn.LayerNorm(8), torch.nn.GELU(), torch.nn.Linear(8, 8, bias=False),
            torch.nn.BatchNorm1d(8), torch.nn.ReLU(), torch.nn.Linear(8, 3),
        )
        optimizer = torch.optim.AdamW(model.parameters(), lr=0.01, weight_decay=0.1)
        scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.02, total_steps=30)

        @decorate
        def step(x, y):
            optimizer.zero_grad()
            loss = torch.nn.functional.cross_entropy(model(x), y)
            loss.backward()
            optimizer.step()
            return loss

        losses = []
        for i in range(12):
            rng = np.random.default_rng(i)
            x, y = rng.standard_normal((10 + i % 2, 6)).astype(np.float32), rng.integers(0, 3, 10 + i % 2)
            losses.append(step(torch.from_numpy(x), torch.from_numpy(y)).item())
            scheduler.step()
        return losses, [p.detach().numpy().copy() for p in model.parameters()], model.state_dict()["4.running_var"].numpy()

    ours, expected = run(flamework, flamework.compile), run(theirs, lambda f: f)
    np.testing.assert_allclose(ours[0], expected[0], rtol=2e-4)
    for a, b in zip(ours[1], expected[1]):
        np.testing.assert_allclose(a, b, rtol=2e-3, atol=2e-4)
    np.testing.assert_allclose(ours[2], expected[2], rtol=1e-3)


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
        fail = [True]

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
        lambda x, i: F.embedding(i, x), lambda x, i: x.take(i * 3), lambda x, i: torch.take_along_dim(x, i.reshape(-1, 1), 0),
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
