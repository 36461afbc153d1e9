"""Checkpointing: the gradients of PyTorch, and memory that is really free between the two passes."""

from __future__ import annotations

import flamework
import numpy as np
import pytest
from flamework.recording import node_of
from flamework.runtime import engine
from flamework.runtime.counters import counters
from flamework.utils.checkpoint import checkpoint, checkpoint_sequential
from same_as_torch import array, assert_same

F = flamework.nn.functional


def tensor(torch, *shape, seed=0, grad=True):
    return torch.tensor(array(*shape, seed=seed)).requires_grad_(grad)


def gradients(*tensors):
    return [None if t.grad is None else t.grad for t in tensors]


def with_a_parameter_outside(torch, use_reentrant):
    x, w = tensor(torch, 3, 4), tensor(torch, 4, 5, seed=1)
    y = torch.utils.checkpoint.checkpoint(lambda x: torch.tanh(x @ w), x, use_reentrant=use_reentrant)
    (y * y).sum().backward()
    return y, gradients(x, w)


def several_arguments_and_results(torch, use_reentrant):
    x, y, z = tensor(torch, 3), tensor(torch, 3, seed=1), tensor(torch, 3, seed=2, grad=False)

    def function(x, factor, y, z, nothing):
        assert nothing is None
        return torch.sin(x) * factor, z * 2, x * y * z

    a, b, c = torch.utils.checkpoint.checkpoint(function, x, 3.0, y, z, None, use_reentrant=use_reentrant)
    (a.exp() + c).sum().backward()
    # PyTorch's other variant says of every result that it requires a gradient
    return a, b, c, use_reentrant or b.requires_grad, gradients(x, y, z)


def keyword_arguments_and_nesting(torch):
    x, y = tensor(torch, 3), tensor(torch, 3, seed=1)

    def function(x, *, pair, scale):
        return {"a": pair["y"] * x, "b": [x.exp() * scale, "text"]}

    found = torch.utils.checkpoint.checkpoint(function, x, pair={"y": y}, scale=2, use_reentrant=False)
    (found["a"] * found["b"][0]).sum().backward()
    return found["b"][1], found["a"], gradients(x, y)


def checkpoints_within_checkpoints(torch):
    x, w = tensor(torch, 4), tensor(torch, 4, seed=1)
    once = torch.utils.checkpoint.checkpoint

    def inner(x):
        return torch.tanh(x * w)

    def outer(x):
        return once(inner, torch.sin(once(inner, x, use_reentrant=False)), use_reentrant=False) * x

    once(outer, x, use_reentrant=False).sum().backward()
    return gradients(x, w)


def a_captured_value_with_a_history(torch):
    x, w = tensor(torch, 4), tensor(torch, 4, seed=1)
    h = torch.exp(w) * 2
    y = torch.utils.checkpoint.checkpoint(lambda x: torch.sin(x * h) + h, x, use_reentrant=False)
    (y.sum() + h.sum()).backward()
    return gradients(x, w)


def gradients_of_gradients(torch):
    x, w = tensor(torch, 4), tensor(torch, 4, seed=1)
    y = torch.utils.checkpoint.checkpoint(lambda x: torch.sin(x * w).exp(), x, use_reentrant=False)
    (g,) = torch.autograd.grad(y.sum(), x, create_graph=True)
    (g * g).sum().backward()
    return g, gradients(x, w)


def two_backward_passes(torch):
    x = tensor(torch, 4)
    y = torch.utils.checkpoint.checkpoint(lambda x: x.exp().sin(), x, use_reentrant=True).sum()
    y.backward(retain_graph=True)
    first = x.grad.clone()
    y.backward()
    return first, x.grad


def in_place_operations_inside(torch):
    x, buffer = tensor(torch, 4), torch.zeros(4)

    def function(x):
        with torch.no_grad():
            buffer.add_(1)
        y = x * 2
        y.mul_(x).add_(1)
        return y

    torch.utils.checkpoint.checkpoint(function, x, use_reentrant=True).sum().backward()
    return gradients(x)


def hooks_inside(torch):
    x = tensor(torch, 4)

    def function(x):
        y = x * 2
        y.register_hook(lambda g: g * 10)
        return y.exp()

    torch.utils.checkpoint.checkpoint(function, x, use_reentrant=False).sum().backward()
    return gradients(x)


def a_function_with_its_own_gradient(torch):
    class Doubled(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return x * x

        @staticmethod
        def backward(ctx, g):
            return g * ctx.saved_tensors[0] * 20

    x = tensor(torch, 4)
    torch.utils.checkpoint.checkpoint(lambda x: Doubled.apply(x.sin()).exp(), x, use_reentrant=False).sum().backward()
    return gradients(x)


def without_gradients(torch):
    x = tensor(torch, 4)
    with torch.no_grad():
        y = torch.utils.checkpoint.checkpoint(lambda x: x.exp(), x, use_reentrant=False)
    return y, y.requires_grad


def the_argument_itself(torch):
    x = tensor(torch, 4)
    torch.utils.checkpoint.checkpoint(lambda x: x, x, use_reentrant=False).sum().backward()
    return gradients(x)


def only_parameters_have_gradients(torch):
    x, w = tensor(torch, 4, grad=False), tensor(torch, 4, seed=1)
    y = torch.utils.checkpoint.checkpoint(lambda x: (x * w).exp(), x, use_reentrant=False)
    y.sum().backward()
    return gradients(w)


def a_sequence_in_segments(torch, segments, use_reentrant):
    torch.manual_seed(0)
    layers = [torch.nn.Linear(4, 4) for _ in range(5)]
    model = torch.nn.Sequential(*[m for layer in layers for m in (layer, torch.nn.Tanh())])
    x = tensor(torch, 3, 4)
    y = torch.utils.checkpoint.checkpoint_sequential(model, segments, x, use_reentrant=use_reentrant)
    y.sum().backward()
    return y, gradients(x, *[layer.weight for layer in layers])


SCRIPTS = [
    *[(with_a_parameter_outside, r) for r in (False, True)],
    *[(several_arguments_and_results, r) for r in (False, True)],
    (keyword_arguments_and_nesting,), (checkpoints_within_checkpoints,), (a_captured_value_with_a_history,),
    (gradients_of_gradients,), (two_backward_passes,), (in_place_operations_inside,), (hooks_inside,),
    (a_function_with_its_own_gradient,), (without_gradients,), (the_argument_itself,),
    (only_parameters_have_gradients,),
    *[(a_sequence_in_segments, n, r) for n in (1, 2, 3, 10) for r in (False, True)],
]


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda s: "-".join(getattr(x, "__name__", str(x)) for x in s))
def test_values_and_gradients_are_those_of_pytorch(script):
    pytest.importorskip("torch.utils.checkpoint")
    assert_same(script[0], *script[1:])


REFUSED = {
    "another check": lambda c, x: c.checkpoint(lambda x: x, x, use_reentrant=False, determinism_check="strict"),
    "a keyword": lambda c, x: c.checkpoint(lambda x: x, x, use_reentrant=True, foo=1),
    "contexts": lambda c, x: c.checkpoint(lambda x: x, x, use_reentrant=True, context_fn=lambda: (1, 2)),
    "a debugger": lambda c, x: c.checkpoint(lambda x: x, x, use_reentrant=True, debug=True),
    "a keyword of a sequence": lambda c, x: c.checkpoint_sequential([abs], 1, x, use_reentrant=False, foo=1),
}


@pytest.mark.parametrize("name", REFUSED)
def test_arguments_are_refused_as_in_pytorch(name):
    pytest.importorskip("torch.utils.checkpoint")
    assert_same(lambda package: REFUSED[name](package.utils.checkpoint, package.ones(2, requires_grad=True)))


def test_too_many_segments_are_refused():
    with pytest.raises(ValueError, match="1 functions cannot be divided into 2 segments"):
        checkpoint_sequential([abs], 2, flamework.ones(1), use_reentrant=False)


def test_use_reentrant_should_be_given_and_then_an_argument_has_to_require_a_gradient():
    x, w = flamework.ones(2), flamework.ones(2, requires_grad=True)
    with pytest.warns(UserWarning, match="use_reentrant"):
        assert checkpoint(lambda x: x * 2, w).requires_grad
    with pytest.warns(UserWarning, match="None of the inputs have requires_grad=True"):
        assert not checkpoint(lambda x: x * w, x, use_reentrant=True).requires_grad
    assert checkpoint(lambda x: x * w, x, use_reentrant=False).requires_grad


def test_the_contexts_are_entered_once_each():
    entered = []

    class Context:
        def __init__(self, name):
            self.name = name

        def __enter__(self):
            entered.append(self.name)

        def __exit__(self, *exception):
            entered.append("end of " + self.name)

    x = flamework.ones(2, requires_grad=True)
    y = checkpoint(lambda x: (entered.append("function"), x.exp())[1], x, use_reentrant=False,
                   context_fn=lambda: (Context("forward"), Context("recomputation")))
    y.sum().backward()
    assert entered == ["forward", "function", "end of forward", "recomputation", "end of recomputation"]


# ----------------------------------------------------------------------------------------------------- what it is for


def trained(checkpointed: bool, compiled: bool = False, looked: bool = False):
    """A deep network with dropout: gradients, and the bytes that the step allocated."""
    flamework.manual_seed(0)
    weights = [flamework.nn.Parameter(flamework.randn(32, 32) * 0.2) for _ in range(24)]
    x = flamework.randn(256, 32).requires_grad_()
    flamework.realize()

    def block(x, i):
        for w in weights[4 * i : 4 * i + 4]:
            x = F.dropout(flamework.tanh(x @ w), 0.1)
        return x

    def step(x):
        y = x
        for i in range(6):
            y = checkpoint(block, y, i, use_reentrant=False) if checkpointed else block(y, i)
        loss = (y * y).mean()
        if looked:
            loss.item()
        loss.backward()
        return loss.detach()

    run = flamework.compile(step) if compiled else step
    for _ in range(2):
        for p in (*weights, x):
            p.grad = None
        flamework.manual_seed(1)
        before = counters()["bytes_allocated"]
        loss = run(x)
        grads = [p.grad for p in (*weights, x)]
        flamework.realize(loss, *grads)
        used = counters()["bytes_allocated"] - before
    return [loss.tolist(), *[g.tolist() for g in grads]], used


ACTIVATION = 256 * 32 * 4


@pytest.mark.parametrize("compiled", [False, True])
def test_a_step_needs_memory_for_one_segment_and_what_is_between_them(compiled):
    plain, kept = trained(False, compiled)
    again, used = trained(True, compiled)
    assert again == plain
    results = 24 * 32 * 32 * 4 + ACTIVATION
    # 24 layers keep two values each; then 6 borders, 4 layers of one segment, and a few at work
    assert kept - results > 44 * ACTIVATION
    assert used - results < 24 * ACTIVATION


def test_a_loss_that_is_looked_at_before_the_backward_pass_keeps_the_borders_only():
    plain, kept = trained(False, looked=True)
    again, used = trained(True, looked=True)
    assert again == plain
    assert used < kept / 1.5


def test_what_is_computed_again_is_not_found_to_be_equal():
    x = flamework.ones(64, 64).requires_grad_()
    flamework.realize()

    def products(y):
        plan, *_ = engine.prepared([node_of(y)], ())
        return sum(item.kind == "dot" for item in plan.items)

    def function(x):
        return flamework.tanh(x @ x)

    def gradient(y):
        (g,) = flamework.autograd.grad((y * y).sum(), x)
        return products(g)

    assert gradient(function(x)) == 3
    assert gradient(checkpoint(function, x, use_reentrant=False)) == 4


def test_every_step_runs_the_same_plan():
    x, w = flamework.randn(8, 8), flamework.nn.Parameter(flamework.randn(8, 8))

    def step():
        w.grad = None
        checkpoint(lambda x: F.dropout((x @ w).exp(), 0.5), x, use_reentrant=False).sum().backward()
        return w.grad.tolist()

    step()
    before = counters()["plans_built"]
    assert step() != step()  # other masks
    assert counters()["plans_built"] == before


def test_masks_of_dropout_are_the_same_in_both_passes():
    x = flamework.ones(1000, requires_grad=True)
    y = checkpoint(lambda x: F.dropout(x.exp(), 0.5), x, use_reentrant=False)
    y.sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), y.detach().numpy(), rtol=1e-6)


def test_a_compiled_function_whose_result_has_a_gradient_may_be_checkpointed_inside():
    w = flamework.nn.Parameter(flamework.randn(8, 8))

    @flamework.compile
    def model(x):
        return checkpoint(lambda x: (x @ w).tanh(), x, use_reentrant=False)

    for seed in range(3):
        flamework.manual_seed(seed)
        x = flamework.randn(4, 8)
        w.grad = None
        model(x).square().sum().backward()
        found = w.grad.numpy().copy()
        w.grad = None
        (x @ w).tanh().square().sum().backward()
        np.testing.assert_allclose(found, w.grad.numpy(), rtol=1e-5, atol=1e-6)
