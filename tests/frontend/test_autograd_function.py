"""Functions with gradients of the user's own: ``autograd.Function`` as PyTorch has it."""

from __future__ import annotations

import pytest
from same_as_torch import assert_same
from test_autograd import leaf


def a_function_with_its_own_gradient(torch):
    class Clipped(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x, low):
            ctx.save_for_backward(x)
            ctx.low = low
            return torch.clamp(x, min=low)

        @staticmethod
        def backward(ctx, grad):
            (x,) = ctx.saved_tensors
            return grad * (x > ctx.low) * 10, None

    x = leaf(torch, 1.0, -2.0)
    y = Clipped.apply(x * 2, 0.0)
    torch.sum(y * y).backward()
    return y.detach(), x.grad, y.requires_grad


def a_function_of_several_results(torch):
    calls = []

    class SinCos(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            ctx.set_materialize_grads(False)
            return torch.sin(x), torch.cos(x), 7

        @staticmethod
        def backward(ctx, sine, cosine, number):
            (x,) = ctx.saved_tensors
            calls.append((sine is None, cosine is None, number is None))
            total = 0
            if sine is not None:
                total = total + sine * torch.cos(x)
            if cosine is not None:
                total = total - cosine * torch.sin(x)
            return total

    x = leaf(torch, 1.0, 2.0)
    sine, cosine, number = SinCos.apply(x)
    torch.sum(sine * cosine).backward()
    again, _, _ = SinCos.apply(x)
    torch.sum(again).backward()
    return x.grad, calls, number


def a_function_of_several_arguments(torch):
    class Product(torch.autograd.Function):
        @staticmethod
        def forward(x, y):
            return x * y

        @staticmethod
        def setup_context(ctx, inputs, output):
            ctx.save_for_backward(*inputs)

        @staticmethod
        def backward(ctx, grad):
            x, y = ctx.saved_tensors
            return grad * y if ctx.needs_input_grad[0] else None, grad * x if ctx.needs_input_grad[1] else None

    x, y = leaf(torch, 1.0, 2.0), torch.tensor([3.0, 4.0])
    torch.sum(Product.apply(x, y)).backward()
    first = x.grad
    x.grad = None
    z = leaf(torch, 5.0, 6.0)
    (g,) = torch.autograd.grad(torch.sum(Product.apply(x, z) ** 2), x, create_graph=True)
    torch.sum(g).backward()
    return first, x.grad, z.grad


def a_function_without_gradients_is_just_called(torch):
    class Twice(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x * 2

    return Twice.apply(torch.ones(2)), Twice.apply(torch.ones(2)).requires_grad


def a_function_that_returns_too_little(torch):
    class Wrong(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x, y):
            return x * y

        @staticmethod
        def backward(ctx, grad):
            return grad

    torch.sum(Wrong.apply(leaf(torch, 1.0), leaf(torch, 1.0))).backward()


FUNCTIONS = [
    a_function_with_its_own_gradient, a_function_of_several_results, a_function_of_several_arguments,
    a_function_without_gradients_is_just_called, a_function_that_returns_too_little,
]


@pytest.mark.parametrize("script", FUNCTIONS, ids=lambda f: f.__name__)
def test_functions_with_their_own_gradients_work_as_in_pytorch(script):
    assert_same(script, rtol=1e-5)


def test_the_class_has_the_names_of_its_context():
    def script(torch):
        Function = torch.autograd.Function
        names = "save_for_backward", "saved_tensors", "needs_input_grad", "mark_dirty", "mark_non_differentiable"
        return [hasattr(Function, name) for name in names], issubclass(Function, torch.autograd.function.FunctionCtx) \
            if hasattr(torch.autograd, "function") else issubclass(Function, torch.autograd.FunctionCtx)
    assert_same(script)


def test_variables_are_tensors():
    def script(torch):
        Variable = torch.autograd.Variable
        x = leaf(torch, 1.0, 2.0)
        plain, fresh = Variable(x * 2), Variable(x * 3, requires_grad=True)
        (fresh * fresh).sum().backward()
        shared = torch.zeros(2)
        Variable(shared).add_(1)
        return (plain, plain.requires_grad, fresh.is_leaf, fresh.grad, x.grad, shared, isinstance(x, Variable),
                isinstance(torch.nn.Parameter(torch.zeros(1)), Variable), isinstance(3, Variable),
                type(plain) is torch.Tensor, torch.compiled_with_cxx11_abi())
    assert_same(script)


@pytest.mark.parametrize("make", [
    lambda torch: torch.autograd.Variable([1.0]), lambda torch: torch.autograd.Variable(torch.ones(2).long(), True),
])
def test_what_is_no_variable_is_refused(make):
    assert_same(make, messages=False)
