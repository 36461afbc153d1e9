"""Compiled functions and gradients: through a compiled model, and whole training steps."""


import flamework
import flamework as torch
import numpy as np
import pytest
from compiled_and_not import randn, same
from flamework import nn, optim
from flamework.nn import functional as F

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
        saved = [dict(s) for s in saved]
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
        running = model.state_dict()["4.running_var"].numpy()
        return losses, [p.detach().numpy().copy() for p in model.parameters()], running

    ours, expected = run(flamework, flamework.compile), run(theirs, lambda f: f)
    np.testing.assert_allclose(ours[0], expected[0], rtol=2e-4)
    for a, b in zip(ours[1], expected[1]):
        np.testing.assert_allclose(a, b, rtol=2e-3, atol=2e-4)
    np.testing.assert_allclose(ours[2], expected[2], rtol=1e-3)
