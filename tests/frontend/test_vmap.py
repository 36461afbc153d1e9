"""``flamework.vmap``: one function for a batch of inputs."""

import flamework
import numpy as np
import pytest
from flamework.func import grad, jvp
from same_as_torch import array, assert_same

CALLS = {
    "vectors": lambda torch, x: torch.vmap(torch.dot)(x, x * 2),
    "second axis": lambda torch, x: torch.vmap(lambda a: a * torch.arange(3.0), in_dims=1)(x),
    "last axis out": lambda torch, x: torch.vmap(lambda a: a * 2, out_dims=-1)(x),
    "negative axis": lambda torch, x: torch.vmap(lambda a, b: a + b.sum(), in_dims=(-1, 1))(x, x),
    "unmapped": lambda torch, x: torch.vmap(lambda a, b: a @ b, in_dims=(0, None))(x, x.mT),
    "number": lambda torch, x: torch.vmap(lambda a, b: a * b, in_dims=(0, None))(x, 2.0),
    "nesting": lambda torch, x: torch.vmap(lambda d: d["a"] * d["b"][0], in_dims=({"a": 0, "b": [None]},))(
        {"a": x, "b": [x]}),
    "one number for a nesting": lambda torch, x: torch.vmap(lambda d: d[0] - d[1])((x, x * 3)),
    "outputs": lambda torch, x: torch.vmap(lambda a: (a * 2, {"s": a.sum()}), out_dims=(1, 0))(x),
    "same for all": lambda torch, x: torch.vmap(lambda a: (a, torch.ones(2)), out_dims=(0, None))(x),
    "constant": lambda torch, x: torch.vmap(lambda a: torch.ones(2))(x),
    "chunks": lambda torch, x: torch.vmap(lambda a: (a * 2, a.sum()), out_dims=(1, 0), chunk_size=2)(x),
    "keywords": lambda torch, x: torch.vmap(lambda a, *, b: a * b)(x, b=x),
    "matrix times vectors": lambda torch, x: torch.vmap(lambda a: x @ a)(x),
    "vectors times matrix": lambda torch, x: torch.vmap(lambda a: a @ x.mT)(x),
    "matrices": lambda torch, x: torch.vmap(lambda a: a[:, None] @ a[None] @ x.mT)(x),
    "shared images": lambda torch, x: torch.vmap(lambda w: torch.nn.functional.conv1d(x[None], w[None, None, :2].expand(
        2, 3, 2)))(x),
    "shared filters": lambda torch, x: torch.vmap(lambda a: torch.nn.functional.conv1d(
        a[None, None], x[:, None, :2], padding=1))(x),
    "linear": lambda torch, x: torch.vmap(lambda a: torch.nn.functional.linear(a, x, x[:, 0]))(x),
    "softmax": lambda torch, x: torch.vmap(lambda a: a.softmax(0))(x),
    "indices": lambda torch, x: torch.vmap(lambda a, i: x[i] * a.sum())(x, torch.tensor([2, 0, 1])),
    "gather": lambda torch, x: torch.vmap(lambda a, i: a.gather(0, i))(x, torch.tensor([[2, 0], [1, 1], [3, 0]])),
    "one hot": lambda torch, x: torch.vmap(lambda i: torch.zeros(4).scatter(0, i, 1.0))(torch.tensor([[2], [0], [1]])),
    "sort": lambda torch, x: torch.vmap(lambda a: a.sort(descending=True))(x)[0],
    "argmax": lambda torch, x: torch.vmap(lambda a: a.argmax())(x),
    "where": lambda torch, x: torch.vmap(lambda a: torch.where(a > 0, a, -a))(x),
    "integers": lambda torch, x: torch.vmap(lambda a: a // 2 + 1)(torch.arange(6).reshape(3, 2)),
    "views": lambda torch, x: torch.vmap(lambda a: a.reshape(2, 2).t().flatten()[1:])(x),
    "cat": lambda torch, x: torch.vmap(lambda a: torch.cat([a, torch.ones(2), a[:1]]))(x),
    "cumsum": lambda torch, x: torch.vmap(lambda a: a.cumsum(0))(x),
    "outer": lambda torch, x: torch.vmap(torch.vmap(lambda a, b: a * b, (None, 0)), (0, None))(x[0], x[1]),
    "own write": lambda torch, x: (torch.vmap(lambda a: a.add_(1))(x), x),
    "write through a view": lambda torch, x: (torch.vmap(lambda a: a[1:3].mul_(3).sum())(x), x),
    "write along another axis": lambda torch, x: (torch.vmap(lambda a: a[0].add_(10), in_dims=1)(x), x),
    "write to a copy": lambda torch, x: (torch.vmap(lambda a: a.clone().mul_(2))(x), x),
    "write to a new tensor": lambda torch, x: torch.vmap(lambda a: written(a.new_zeros(4), a))(x),
    "write to one for all": lambda torch, x: counted(torch, x),
    "gradient by autograd": lambda torch, x: rows(torch, x),
    "same random numbers": lambda torch, x: torch.vmap(lambda a: a + torch.rand(2, 4), randomness="same")(x),
    "other random numbers": lambda torch, x: torch.vmap(lambda a: a + torch.randn(5, 4), randomness="different")(x),
    "random numbers in nesting": lambda torch, x: torch.vmap(torch.vmap(
        lambda a: a + torch.rand(2), randomness="different"), randomness="different")(x),
    "random permutations": lambda torch, x: torch.vmap(lambda a: a.sum() + torch.randperm(4), randomness="same")(x),
    "random error": lambda torch, x: torch.vmap(lambda a: a + torch.rand(4))(x),
    "random like error": lambda torch, x: torch.vmap(lambda a: torch.rand_like(a))(x),
    "dropout error": lambda torch, x: torch.vmap(lambda a: torch.nn.functional.dropout(a))(x),
    "randomness": lambda torch, x: torch.vmap(lambda a: a, randomness="some")(x),
    "no axis": lambda torch, x: torch.vmap(lambda a: a, in_dims=None)(x),
    "text": lambda torch, x: torch.vmap(lambda a: a, in_dims="a")(x),
    "no such axis": lambda torch, x: torch.vmap(lambda a: a, in_dims=2)(x),
    "too few axes": lambda torch, x: torch.vmap(lambda a, b: a, in_dims=(0,))(x, x),
    "nothing mapped": lambda torch, x: torch.vmap(lambda a: a, in_dims=(None,))(x),
    "no inputs": lambda torch, x: torch.vmap(lambda: x)(),
    "sizes": lambda torch, x: torch.vmap(lambda a, b: a)(x, x[:2]),
    "mapped number": lambda torch, x: torch.vmap(lambda a, b: a)(x, 1.0),
    "returns a number": lambda torch, x: torch.vmap(lambda a: 1.0)(x),
    "returns nothing": lambda torch, x: torch.vmap(lambda a: None)(x),
    "batched without an axis": lambda torch, x: torch.vmap(lambda a: a, out_dims=None)(x),
    "too many axes out": lambda torch, x: torch.vmap(lambda a: (a, a), out_dims=(0, 0, 0))(x),
    "no such axis out": lambda torch, x: torch.vmap(lambda a: a, out_dims=5)(x),
    "chunks of nothing": lambda torch, x: torch.vmap(lambda a: a, chunk_size=0)(x),
    "item": lambda torch, x: torch.vmap(lambda a: a.item())(x[0]),
    "control flow": lambda torch, x: torch.vmap(lambda a: a if a > 0 else -a)(x[0]),
    "nonzero": lambda torch, x: torch.vmap(lambda a: a.nonzero())(x),
    "mask": lambda torch, x: torch.vmap(lambda a: a[a > 0])(x),
    "captured": lambda torch, x: torch.vmap(lambda a: x[0].add_(a))(x * 2),
    "print": lambda torch, x: torch.vmap(lambda a: (repr(a), a)[1] * len(repr(a)))(x),
}


def written(z, a):
    z[1:] = a[:3]
    z[0] += a[3]
    return z


def counted(torch, x):
    count = torch.zeros(2)
    return torch.vmap(lambda a: a.sum() * count.add_(1)[0])(x), count


def rows(torch, x):
    leaf = x.clone().requires_grad_()
    y = (leaf**2).sum(0)
    return torch.vmap(lambda v: torch.autograd.grad(y, leaf, v)[0])(torch.eye(4))


@pytest.mark.parametrize("name", CALLS)
def test_results_are_those_of_torch(name):
    def script(torch):
        torch.manual_seed(3)
        return CALLS[name](torch, torch.tensor(array(3, 4)))

    assert_same(script, rtol=1e-4, atol=1e-5, messages=False)


@pytest.mark.parametrize(("name", "message"), [
    ("item", "vmap: It looks like you're calling .item() on a Tensor."),
    ("control flow", "vmap: It looks like you're attempting to use a Tensor in some data-dependent control flow."),
    ("random error", "vmap: called random operation while in randomness error mode."),
    ("captured", "vmap: inplace arithmetic"),
])
def test_what_a_batch_cannot_do_is_said(name, message):
    x = flamework.tensor(array(3, 4))
    with pytest.raises(RuntimeError) as error:
        CALLS[name](flamework, x)
    assert str(error.value).startswith(message)
    assert np.array_equal(x.numpy(), array(3, 4))


def test_a_captured_tensor_is_not_written_by_element():
    outside, x = flamework.zeros(2), flamework.ones(3, 2)
    for write in (
        lambda a: outside.add_(a), lambda a: outside.view(2).add_(a), lambda a: outside[0].copy_(a[0]),
        lambda a: outside.view_as(outside).mul_(a), lambda a: (outside.add_(1), outside.mul_(a)),
    ):
        with pytest.raises(RuntimeError, match="inplace arithmetic"):
            flamework.vmap(lambda a, write=write: (write(a), a)[1])(x)
    assert outside.tolist() == [1, 1]


def test_an_inner_batch_does_not_write_to_the_outer_one():
    def outer(a):
        own = a.new_zeros(2)
        return flamework.vmap(lambda b: own.add_(b))(a[:, None].expand(2, 2))

    with pytest.raises(RuntimeError, match="inplace arithmetic"):
        flamework.vmap(outer)(flamework.ones(3, 2))

    def total(a):
        own = a.new_zeros(2)
        flamework.vmap(lambda b: b * own.add_(1))(a)
        return own + a

    assert flamework.vmap(total)(flamework.ones(3, 2)).tolist() == [[2, 2]] * 3


def test_a_tensor_that_leaked_is_refused_and_others_are_not():
    leaked, x = [], flamework.arange(3.0)
    before = x * 5
    result = flamework.vmap(lambda a: (leaked.append(a * 2), a + 1)[1])(x)
    assert result.tolist() == [1, 2, 3]
    assert before.tolist() == [0, 5, 10]
    with pytest.raises(RuntimeError, match="vmap"):
        leaked[0].tolist()
    flamework.realize()
    assert (x + 1).tolist() == [1, 2, 3]


def test_values_from_outside_can_be_looked_at():
    outside = flamework.ones(2) * 3
    assert flamework.vmap(lambda a: a * (outside * 2).sum().item())(flamework.ones(2)).tolist() == [12, 12]


def test_dropout_is_another_for_each_element_or_the_same():
    x = flamework.ones(4, 1000)
    drop = flamework.nn.functional.dropout
    other = flamework.vmap(lambda a: drop(a), randomness="different")(x)
    same = flamework.vmap(lambda a: drop(a), randomness="same")(x)
    assert 0.45 < (other == 0).float().mean().item() < 0.55
    assert not (other[0] == other[1]).all().item()
    assert (same == same[:1]).all().item()
    nested = flamework.vmap(flamework.vmap(lambda a: drop(a), randomness="different"), randomness="different")(
        flamework.ones(2, 2, 1000))
    halves = nested.reshape(4, 1000)
    assert len({tuple(row) for row in halves.tolist()}) == 4


def test_gradients_flow_through_a_batch():
    x = flamework.tensor(array(3, 4), requires_grad=True)
    flamework.vmap(lambda a: (a * x[0]).sum())(x * 2).sum().backward()
    expected = flamework.tensor(array(3, 4), requires_grad=True)
    (2 * expected * expected[0]).sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), expected.grad.numpy(), rtol=1e-5)
    assert not flamework.vmap(lambda a: a.detach())(x).requires_grad
    assert not flamework.vmap(flamework.no_grad()(lambda a: a * 2))(x).requires_grad
    with flamework.no_grad():
        assert not flamework.vmap(lambda a: a * 2)(x).requires_grad


def test_a_product_with_one_matrix_stays_one_product():
    matrix, x = flamework.ones(8, 8), flamework.ones(5, 8)
    for function in (lambda a: matrix @ a, lambda a: a @ matrix):
        explanation = flamework.explain(flamework.vmap(function))(x)
        products = [kernel for kernel in explanation.kernels if kernel.kind == "dot"]
        assert len(products) == 1
        assert flamework.vmap(function)(x).tolist() == [[8] * 8] * 5


def test_an_empty_batch_and_empty_elements():
    assert flamework.vmap(lambda a: a.sum(0) * 2)(flamework.ones(0, 3)).shape == (0,)
    assert flamework.vmap(lambda a: a * 2)(flamework.ones(3, 0)).shape == (3, 0)


def test_a_batch_inside_a_compiled_function():
    compiled = flamework.compile(flamework.vmap(lambda a: (a * a).sum()))
    for x in (flamework.ones(3, 2), flamework.full((3, 2), 2.0), flamework.ones(4, 2)):
        assert compiled(x).tolist() == (x * x).sum(1).tolist()


def test_an_error_ends_the_batch():
    with pytest.raises(ZeroDivisionError):
        flamework.vmap(lambda a: 1 / 0)(flamework.ones(3))
    with pytest.raises(ZeroDivisionError):
        jvp(lambda a: 1 / 0, (flamework.ones(3),), (flamework.ones(3),))
    with pytest.raises(ZeroDivisionError):
        grad(lambda a: 1 / 0)(flamework.ones(3))
    from flamework import levels
    from flamework.recording import pending
    from flamework.runtime import engine

    assert not levels.active
    assert pending.level is None
    assert not engine.keep_history
    x = flamework.ones(2, requires_grad=True)
    x.sum().backward()
    assert x.grad.tolist() == [1, 1]
