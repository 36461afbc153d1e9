"""``flamework.func``: derivatives of functions, nested in any order, and modules as functions."""

import flamework
import numpy as np
import pytest
from flamework.func import functional_call, grad, grad_and_value, hessian, jacfwd, jacrev, jvp, linearize, vjp, vmap
from same_as_torch import array, assert_same

# Functions of one [3, 4] tensor that return a tensor, by what they are made of.
FUNCTIONS = {
    "polynomial": lambda torch, x: x**3 - 2 * x * x + 1,
    "transcendental": lambda torch, x: torch.exp(x).sin() * torch.tanh(x) + torch.log1p(x * x) / (1 + x.abs()),
    "softmax": lambda torch, x: x.softmax(-1),
    "log_softmax": lambda torch, x: torch.log_softmax(x, 0),
    "matmul": lambda torch, x: x @ x.mT,
    "matvec": lambda torch, x: x @ x[0],
    "einsum": lambda torch, x: torch.einsum("ij,kj->ik", x, x * 2),
    "prod": lambda torch, x: x.prod(1),
    "max": lambda torch, x: x.amax(1) + x.max(),
    "logsumexp": lambda torch, x: x.logsumexp(1),
    "layer_norm": lambda torch, x: torch.nn.functional.layer_norm(x, (4,)),
    "gelu": lambda torch, x: torch.nn.functional.gelu(x),
    "index": lambda torch, x: x[torch.tensor([2, 0, 0])] * 2,
    "gather": lambda torch, x: x.gather(1, torch.tensor([[3, 3], [0, 1], [2, 2]])) ** 2,
    "scatter": lambda torch, x: (x * x).scatter_add(1, torch.tensor([[0, 0, 1, 1]] * 3), x),
    "cumsum": lambda torch, x: x.cumsum(1) * x,
    "cumprod": lambda torch, x: x.cumprod(1),
    "sort": lambda torch, x: x.sort(1)[0] * torch.arange(4.0),
    "views": lambda torch, x: x.t().reshape(2, 6)[:, ::2].flip(0).expand(3, 2, 3) * 2,
    "pad": lambda torch, x: torch.nn.functional.pad(x * x, (1, 2)),
    "unfold": lambda torch, x: x.unfold(1, 2, 1).prod(-1),
    "cat": lambda torch, x: torch.cat([x, x * x], 1).sum(0),
    "where": lambda torch, x: torch.where(x > 0, x * x, x.exp()),
    "clamp": lambda torch, x: x.clamp(-0.5, 0.5) * x,
    "diagonal": lambda torch, x: x.diagonal() ** 2,
    "var": lambda torch, x: x.var(1) + x.std(),
    "norm": lambda torch, x: x.norm() * x,
    "conv": lambda torch, x: torch.nn.functional.conv1d(x[None], x[:, None, :2], groups=3),
    "written": lambda torch, x: written(torch, x),
    "masked": lambda torch, x: x.masked_fill(x > 0.3, 2.0) * x,
    "constant": lambda torch, x: x.detach() * x,
    "bool": lambda torch, x: (x > 0).to(x.dtype) * x,
    "integer": lambda torch, x: x.long().to(x.dtype) * x,
}


def written(torch, x):
    y = x.clone()
    y[1:, :2] *= 3
    y.t().add_(x.t() * x.t())
    y[0] = x[2] * x[1]
    return y * 2


def both(script, *args, rtol=2e-4, atol=1e-5):
    assert_same(script, *args, rtol=rtol, atol=atol)


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("transform", ["jacrev", "jacfwd"])
def test_jacobians_are_those_of_torch(name, transform):
    def script(torch):
        x = torch.tensor(array(3, 4))
        found = getattr(torch.func, transform)(lambda x: FUNCTIONS[name](torch, x))(x)
        return found, found.requires_grad

    both(script)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_jacobians_agree_with_each_other_and_with_differences(name):
    x = flamework.tensor(array(3, 4, dtype="float64"))

    def function(x):
        return FUNCTIONS[name](flamework, x)

    by_rows, by_columns = jacrev(function)(x), jacfwd(function)(x)
    np.testing.assert_allclose(by_rows.numpy(), by_columns.numpy(), rtol=1e-9, atol=1e-9)
    if name == "constant":
        return
    direction = flamework.tensor(array(3, 4, seed=1, dtype="float64"))
    step = 1e-6
    slope = (function(x + step * direction) - function(x - step * direction)) / (2 * step)
    product = (by_rows * direction).sum((-1, -2))
    np.testing.assert_allclose(product.numpy(), slope.numpy(), rtol=1e-5, atol=1e-6)


SECOND = {
    "hessian": lambda torch, f, x: torch.func.hessian(f)(x),
    "jacrev of jacrev": lambda torch, f, x: torch.func.jacrev(torch.func.jacrev(f))(x),
    "jacrev of jacfwd": lambda torch, f, x: torch.func.jacrev(torch.func.jacfwd(f))(x),
    "jacfwd of jacfwd": lambda torch, f, x: torch.func.jacfwd(torch.func.jacfwd(f))(x),
    "grad of grad": lambda torch, f, x: torch.func.grad(lambda x: (torch.func.grad(f)(x) * x).sum())(x),
    "jvp of grad": lambda torch, f, x: torch.func.jvp(torch.func.grad(f), (x,), (x * 2,)),
    "vmap of grad": lambda torch, f, x: torch.func.vmap(torch.func.grad(lambda r: f(r.expand(3, 4))))(x),
    "grad of vmap": lambda torch, f, x: torch.func.grad(
        lambda x: torch.func.vmap(lambda r: f(r * x).sin())(x).sum())(x),
    "jvp of vmap": lambda torch, f, x: torch.func.jvp(torch.func.vmap(lambda r: f(r * x)), (x,), (x.cos(),)),
    "vmap of jvp": lambda torch, f, x: torch.func.vmap(lambda r: torch.func.jvp(f, (x * r,), (x,)))(x),
    "vmap of hessian": lambda torch, f, x: torch.func.vmap(torch.func.hessian(lambda r: f(x * r)))(x),
    "vmap of vmap": lambda torch, f, x: torch.func.vmap(torch.func.vmap(lambda a: f(a * x), in_dims=0))(
        x.expand(2, 3, 4)),
    "third": lambda torch, f, x: torch.func.jacfwd(torch.func.hessian(lambda r: f(x * r)))(x[0]),
}
SCALARS = ["transcendental", "log_softmax", "matmul", "prod", "written", "index"]


@pytest.mark.parametrize("name", SCALARS)
@pytest.mark.parametrize("nested", SECOND)
def test_nested_transforms_are_those_of_torch(name, nested):
    if (nested, name) == ("vmap of jvp", "written"):
        pytest.skip("PyTorch cannot write a tangent into a batch")

    def script(torch):
        x = torch.tensor(array(3, 4, dtype="float64"))
        return SECOND[nested](torch, lambda x: (FUNCTIONS[name](torch, x) ** 2).sum(), x)

    both(script, rtol=1e-6, atol=1e-8)


CALLS = {
    "argnums": lambda torch, x, y: torch.func.grad(lambda a, b: (a * b * b).sum(), argnums=(1, 0))(x, y),
    "last argument": lambda torch, x, y: torch.func.grad(lambda a, b: (a * b * b).sum(), argnums=-1)(x, y),
    "dictionary": lambda torch, x, y: torch.func.grad(lambda d: (d["a"] * d["b"][0]).sum())({"a": x, "b": [y, x]}),
    "auxiliary": lambda torch, x, y: torch.func.grad(lambda a: ((a * y).sum(), {"twice": a * 2}), has_aux=True)(x),
    "value": lambda torch, x, y: torch.func.grad_and_value(lambda a: (a * y).sum())(x),
    "value and auxiliary": lambda torch, x, y: torch.func.grad_and_value(
        lambda a: ((a * y).sum(), a + 1), has_aux=True)(x),
    "keywords": lambda torch, x, y: torch.func.grad(lambda a, *, b: (a * b).sum())(x, b=y),
    "unused": lambda torch, x, y: torch.func.grad(lambda a, b: (b * b).sum(), argnums=(0, 1))(x, y),
    "constant": lambda torch, x, y: torch.func.grad(lambda a: y.sum())(x),
    "identity": lambda torch, x, y: torch.func.grad(lambda a: a)(x[0, 0]),
    "vjp": lambda torch, x, y: torch.func.vjp(lambda a, b: {"p": a * b, "s": a.sum()}, x, y)[1]({"p": y, "s": x[0, 0]}),
    "vjp of one": lambda torch, x, y: torch.func.vjp(torch.sin, x)[1](y),
    "vjp twice": lambda torch, x, y: (lambda f: (f(y), f(x)))(torch.func.vjp(torch.sin, x)[1]),
    "vjp auxiliary": lambda torch, x, y: torch.func.vjp(lambda a: (a * y, a), x, has_aux=True)[2],
    "vjp of several": lambda torch, x, y: torch.func.vjp(lambda a: (a * 2, a * y), x)[1]((x, y)),
    "jvp": lambda torch, x, y: torch.func.jvp(lambda a, b: (a * b, a), (x, y), (y, x)),
    "jvp of a nesting": lambda torch, x, y: torch.func.jvp(lambda d: d["a"] * d["b"], ({"a": x, "b": y},),
                                                           ({"a": y, "b": x},)),
    "jvp auxiliary": lambda torch, x, y: torch.func.jvp(lambda a: (a * y, a), (x,), (y,), has_aux=True),
    "jvp of a constant": lambda torch, x, y: torch.func.jvp(lambda a: y * 1, (x,), (y,)),
    "linearize": lambda torch, x, y: (lambda r: (r[0], r[1](y), r[1](x)))(torch.func.linearize(lambda a: a**3, x)),
    "jacrev of outputs": lambda torch, x, y: torch.func.jacrev(lambda a: (a * y, {"s": a.sum(1)}))(x),
    "jacrev by several": lambda torch, x, y: torch.func.jacrev(lambda a, b: a * b, argnums=(0, 1))(x, y),
    "jacrev by a tuple of one": lambda torch, x, y: torch.func.jacrev(lambda a, b: a * b, argnums=(1,))(x, y),
    "jacrev in chunks": lambda torch, x, y: torch.func.jacrev(lambda a: a * y, chunk_size=5)(x),
    "jacrev auxiliary": lambda torch, x, y: torch.func.jacrev(lambda a: (a * y, a + 1), has_aux=True)(x),
    "jacrev of a dictionary": lambda torch, x, y: torch.func.jacrev(lambda d: d["a"] * d["b"])({"a": x, "b": y}),
    "jacfwd of outputs": lambda torch, x, y: torch.func.jacfwd(lambda a: (a * y, {"s": a.sum(1)}))(x),
    "jacfwd by several": lambda torch, x, y: torch.func.jacfwd(lambda a, b: a * b, argnums=(0, 1))(x, y),
    "jacfwd by a tuple of one": lambda torch, x, y: torch.func.jacfwd(lambda a, b: a * b, argnums=(1,))(x, y),
    "jacfwd auxiliary": lambda torch, x, y: torch.func.jacfwd(lambda a: (a * y, a.sum()), has_aux=True)(x),
    "jacfwd of a dictionary": lambda torch, x, y: torch.func.jacfwd(lambda d: d["a"] * d["b"])({"a": x, "b": y}),
    "hessian by several": lambda torch, x, y: torch.func.hessian(lambda a, b: (a * a * b).sum(), argnums=(0, 1))(x, y),
    "written argument": lambda torch, x, y: (torch.func.grad(lambda a, b: (a * b.add_(a)).sum())(x, y), y),
    "control flow": lambda torch, x, y: torch.func.grad(lambda a: (a * y).sum() if a.sum() > 0 else a.sum())(x),
    "control flow of jvp": lambda torch, x, y: torch.func.jvp(
        lambda a: (a * a).exp() if (a * a).sum() > 0 else a, (x,), (y,)),
    "gradient inside": lambda torch, x, y: torch.func.grad(
        lambda a: torch.autograd.grad((a**3).sum(), a, create_graph=True)[0].sum())(x),
    "no grad outside": lambda torch, x, y: torch.no_grad()(torch.func.grad(lambda a: (a**3).sum()))(x),
    "no grad inside": lambda torch, x, y: torch.func.grad(
        lambda a: (a * torch.no_grad()(lambda: a * 2)()).sum())(x),
    "no grad inside of jvp": lambda torch, x, y: torch.func.jvp(
        torch.no_grad()(lambda a: a * a), (x,), (y,)),
    "empty": lambda torch, x, y: torch.func.jacrev(lambda a: a * 2)(x[:0]),
    "perturbations": lambda torch, x, y: torch.func.grad(
        lambda a: a * torch.func.grad(lambda b: a * b)(y[0, 0]))(x[0, 0]),
    "perturbed tangents": lambda torch, x, y: torch.func.jvp(
        lambda a: a * torch.func.jvp(lambda b: a * b, (y,), (x,))[1], (x,), (y,)),
}


@pytest.mark.parametrize("name", CALLS)
def test_calls_are_those_of_torch(name):
    def script(torch):
        return CALLS[name](torch, torch.tensor(array(3, 4)), torch.tensor(array(3, 4, seed=1)))

    both(script)


ERRORS = {
    "no scalar": lambda torch, x: torch.func.grad(lambda x: x * 2)(x),
    "no tensor": lambda torch, x: torch.func.grad(lambda x: 2.0)(x),
    "argument is a number": lambda torch, x: torch.func.grad(lambda x: x)(1.0),
    "integers": lambda torch, x: torch.func.grad(lambda x: x.sum())(x.long()),
    "no such argument": lambda torch, x: torch.func.grad(lambda x: x.sum(), argnums=3)(x),
    "same argument twice": lambda torch, x: torch.func.grad(lambda x: x.sum(), argnums=(0, 0))(x),
    "no auxiliary value": lambda torch, x: torch.func.grad(lambda x: x.sum(), has_aux=True)(x),
    "backward": lambda torch, x: torch.func.grad(lambda x: (x.sum().backward(), x.sum())[1])(x),
    "requires_grad_": lambda torch, x: torch.func.grad(lambda x: x.detach().requires_grad_().sum())(x),
    "written input": lambda torch, x: torch.func.grad(lambda x: x.mul_(2).sum())(x),
    "cotangents of another shape": lambda torch, x: torch.func.vjp(torch.sin, x)[1](x[0]),
    "cotangents nested otherwise": lambda torch, x: torch.func.vjp(torch.sin, x)[1]((x,)),
    "vjp returns a number": lambda torch, x: torch.func.vjp(lambda x: 2.0, x),
    "primals in a list": lambda torch, x: torch.func.jvp(torch.sin, [x], [x]),
    "no primals": lambda torch, x: torch.func.jvp(lambda: x, (), ()),
    "tangents of another shape": lambda torch, x: torch.func.jvp(torch.sin, (x,), (x[0],)),
    "tangents nested otherwise": lambda torch, x: torch.func.jvp(torch.sin, (x,), ((x,),)),
    "independent": lambda torch, x: torch.func.jvp(lambda a: x, (x,), (x,), strict=True),
    "chunks of nothing": lambda torch, x: torch.func.jacrev(torch.sin, chunk_size=0),
    "jacobian of integers": lambda torch, x: torch.func.jacrev(lambda x: x.long())(x),
}


@pytest.mark.parametrize("name", ERRORS)
def test_errors_are_those_of_torch(name):
    with pytest.raises((RuntimeError, ValueError)) as ours:
        ERRORS[name](flamework, flamework.tensor(array(3, 4)))
    torch = pytest.importorskip("torch")
    with pytest.raises((RuntimeError, ValueError)) as theirs:
        ERRORS[name](torch, torch.tensor(array(3, 4)))
    assert ours.type is theirs.type
    assert str(ours.value)[:50] == str(theirs.value)[:50]


def test_results_require_a_gradient_only_if_something_outside_does():
    x = flamework.ones(3)
    assert not grad(lambda x: (x**3).sum())(x).requires_grad
    assert not jacrev(lambda x: x**3)(x).requires_grad
    outside = flamework.ones(3, requires_grad=True)
    found = grad(lambda x: (outside * x**3).sum())(x)
    assert found.requires_grad
    found.sum().backward()
    assert outside.grad.tolist() == [3, 3, 3]
    assert not x.requires_grad
    with flamework.no_grad():
        assert not grad(lambda x: (outside * x**3).sum())(x).requires_grad


def test_results_can_be_differentiated_by_autograd():
    x = flamework.tensor([2.0, 3.0], requires_grad=True)
    grad(lambda x: (x**3).sum())(x).sum().backward()
    assert x.grad.tolist() == [12, 18]
    assert x.is_leaf


def test_user_functions_keep_their_gradient_under_every_transform():
    class Straight(flamework.autograd.Function):
        """Rounds, with the gradient of three times the identity."""

        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return x.round()

        @staticmethod
        def backward(ctx, g):
            (x,) = ctx.saved_tensors
            return g * 3 * (x * 0 + 1)

        @staticmethod
        def jvp(ctx, t):
            return t * 3

    x = flamework.tensor([0.4, 1.6, 2.7])
    assert grad(lambda x: Straight.apply(x).sum())(x).tolist() == [3, 3, 3]
    assert vmap(grad(Straight.apply))(x).tolist() == [3, 3, 3]
    assert grad(lambda x: vmap(Straight.apply)(x).sum())(x).tolist() == [3, 3, 3]
    assert grad(lambda x: vmap(lambda a: vmap(Straight.apply)(a))(x[None]).sum())(x).tolist() == [3, 3, 3]
    assert jvp(Straight.apply, (x,), (flamework.ones(3),))[1].tolist() == [3, 3, 3]
    assert jvp(vmap(Straight.apply), (x,), (flamework.ones(3),))[1].tolist() == [3, 3, 3]
    assert jacfwd(Straight.apply)(x).diagonal().tolist() == [3, 3, 3]
    assert jacrev(Straight.apply)(x).diagonal().tolist() == [3, 3, 3]
    leaf = x.clone().requires_grad_()
    vmap(Straight.apply)(leaf).sum().backward()
    assert leaf.grad.tolist() == [3, 3, 3]


def test_a_function_without_a_tangent_is_refused():
    class Double(flamework.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x * 2

        @staticmethod
        def backward(ctx, g):
            return g * 2

    with pytest.raises(RuntimeError, match="jvp function"):
        jvp(Double.apply, (flamework.ones(2),), (flamework.ones(2),))


def test_a_compiled_function_is_differentiated():
    compiled = flamework.compile(lambda x: (x**3).sum())
    x = flamework.tensor([1.0, 2.0])
    for _ in range(3):
        assert grad(compiled)(x).tolist() == [3, 12]
        assert vmap(grad(compiled))(x[None]).tolist() == [[3, 12]]
    whole = flamework.compile(grad(lambda x: (x**3).sum()))
    assert [whole(x).tolist(), whole(x + 1).tolist(), whole(x).tolist()] == [[3, 12], [12, 27], [3, 12]]
    hessians = flamework.compile(hessian(lambda x: (x**3).sum()))
    assert [hessians(x).tolist(), hessians(x + 1).tolist()] == [[[6, 0], [0, 12]], [[12, 0], [0, 18]]]


def test_a_derivative_is_planned_once():
    x = flamework.ones(8)

    def step():
        return grad_and_value(lambda x: (x.sin() ** 2).sum())(x)[0].sum().item()

    first = step()
    step()
    before = flamework.counters()["plans_built"]
    assert step() == first
    assert flamework.counters()["plans_built"] == before


def test_checkpointed_functions_are_differentiated():
    from flamework.utils.checkpoint import checkpoint

    x = flamework.tensor([1.0, 2.0])
    function = lambda x: checkpoint(lambda x: x**3, x, use_reentrant=False)  # noqa: E731
    assert jacfwd(function)(x).tolist() == [[3, 0], [0, 12]]
    assert jacrev(function)(x).tolist() == [[3, 0], [0, 12]]


# ------------------------------------------------------------------------------------------------------------- modules


def model(torch):
    torch.manual_seed(0)
    nn = torch.nn
    return nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.BatchNorm1d(5), nn.Linear(5, 2))


MODULES = {
    "call": lambda torch, m, x: torch.func.functional_call(m, {"0.bias": torch.ones(5)}, x),
    "tuple of dictionaries": lambda torch, m, x: torch.func.functional_call(
        m, (dict(m.named_parameters()), dict(m.named_buffers())), (x,)),
    "gradients": lambda torch, m, x: torch.func.grad(
        lambda p: (torch.func.functional_call(m.eval(), p, (x,)) ** 2).sum())(
            {k: v.detach() for k, v in m.named_parameters()}),
    "gradients of parameters": lambda torch, m, x: torch.func.grad(
        lambda p: (torch.func.functional_call(m.eval(), p, (x,)) ** 2).sum())(dict(m.named_parameters())),
    "per sample": lambda torch, m, x: torch.func.vmap(
        torch.func.grad(lambda p, x: (torch.func.functional_call(m.eval(), p, (x[None],)) ** 2).sum()), (None, 0))(
            {k: v.detach() for k, v in m.named_parameters()}, x),
    "strict": lambda torch, m, x: torch.func.functional_call(m, {"0.bias": torch.ones(5)}, x, strict=True),
    "unknown": lambda torch, m, x: torch.func.functional_call(m, {"9.bias": torch.ones(5)}, x, strict=True),
    "twice": lambda torch, m, x: torch.func.functional_call(m, ({"0.bias": x}, {"0.bias": x}), x),
    "no dictionary": lambda torch, m, x: torch.func.functional_call(m, [1], x),
    "ensemble": lambda torch, m, x: ensemble(torch, x),
    "no models": lambda torch, m, x: torch.func.stack_module_state([]),
    "modes": lambda torch, m, x: torch.func.stack_module_state([model(torch), model(torch).eval()]),
}


def ensemble(torch, x):
    models = [torch.nn.Linear(4, 3) for _ in range(5)]
    parameters, buffers = torch.func.stack_module_state(models)
    call = torch.func.vmap(lambda p, b: torch.func.functional_call(models[0], (p, b), (x,)))
    return call(parameters, buffers), list(parameters["weight"].shape)


@pytest.mark.parametrize("name", MODULES)
def test_modules_are_those_of_torch(name):
    def script(torch):
        return MODULES[name](torch, model(torch), torch.tensor(array(6, 4)))

    assert_same(script, rtol=1e-3, atol=1e-4, messages=False)


def test_running_statistics_go_to_the_buffers_that_were_given():
    m, x = model(flamework), flamework.tensor(array(6, 4))
    buffers = {k: v.clone() for k, v in m.named_buffers()}
    parameters = {k: v.detach() for k, v in m.named_parameters()}
    grad(lambda p: (functional_call(m, (p, buffers), (x,)) ** 2).sum())(parameters)
    m(x)
    for name, value in m.named_buffers():
        np.testing.assert_allclose(buffers[name].numpy(), value.numpy(), rtol=1e-5)
        assert not buffers[name].requires_grad


def test_a_call_leaves_the_module_as_it_was():
    layer = flamework.nn.Linear(2, 2)
    before = [id(p) for p in layer.parameters()]
    functional_call(layer, {"weight": flamework.zeros(2, 2)}, flamework.ones(2))
    with pytest.raises(RuntimeError):
        functional_call(layer, {"weight": flamework.zeros(3, 3)}, flamework.ones(2))
    assert [id(p) for p in layer.parameters()] == before


def test_tied_weights_are_given_under_one_name():
    layer = flamework.nn.Linear(2, 2, bias=False)
    layer.other = flamework.nn.Linear(2, 2, bias=False)
    layer.other.weight = layer.weight
    value = flamework.full((2, 2), 3.0)
    layer.forward = lambda x: x @ layer.weight + x @ layer.other.weight
    assert functional_call(layer, {"weight": value}, flamework.ones(2)).tolist() == [12, 12]
    with pytest.raises(ValueError, match="which are tied"):
        functional_call(layer, {"weight": value, "other.weight": value * 2}, flamework.ones(2))


def test_a_linear_map_is_evaluated_in_several_directions():
    output, push = linearize(lambda a, b: a * b, flamework.tensor(2.0), flamework.tensor(3.0))
    assert output.item() == 6
    assert push(flamework.tensor(1.0), flamework.tensor(0.0)).item() == 3
    assert push(flamework.tensor(0.0), flamework.tensor(1.0)).item() == 2


def test_a_pulled_back_cotangent_can_be_differentiated():
    x = flamework.tensor([1.0, 2.0])
    g = flamework.ones(2, requires_grad=True)
    _, pull = vjp(lambda x: x**3, x)
    (found,) = pull(g)
    found.sum().backward()
    assert g.grad.tolist() == [3, 12]
