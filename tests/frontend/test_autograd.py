"""Gradients as PyTorch gives them: leaves, passes, hooks, in-place writes, refusals."""

from __future__ import annotations

import weakref

import flamework
import numpy as np
import pytest
from same_as_torch import assert_same

# Each script runs with both libraries and returns what is compared: gradients, flags, values.


def leaf(torch, *values):
    return torch.tensor(list(values), requires_grad=True)


def chain_rule(torch):
    x, y = leaf(torch, 1.0, 2.0), leaf(torch, 3.0, 4.0)
    torch.sum(torch.exp(x * y) / (x + y) - y**2).backward()
    return x.grad, y.grad


def value_used_twice(torch):
    x = leaf(torch, 1.0, 2.0)
    y = x * x
    torch.sum(y * y + y).backward()
    return x.grad


def broadcasting_sums_the_gradient(torch):
    x, b = torch.ones(3, 2, requires_grad=True), leaf(torch, 1.0, 2.0)
    torch.sum(x * b * 2).backward()
    return x.grad, b.grad


def passes_accumulate_into_the_same_tensor(torch):
    x = leaf(torch, 1.0, 2.0)
    torch.sum(x * 2).backward()
    first = x.grad
    torch.sum(x * 3).backward()
    return first, x.grad, first is x.grad


def gradient_vector(torch):
    x = leaf(torch, 1.0, 2.0)
    (x * x).backward(torch.tensor([1.0, 10.0]))
    return x.grad


def given_gradient_is_not_shared_with_grad(torch):
    x, v = leaf(torch, 1.0, 2.0), torch.ones(2)
    (x + 0).backward(v)
    x.grad.add_(5)
    return v, x.grad


def one_gradient_for_two_leaves_is_not_shared(torch):
    x, y = leaf(torch, 1.0), leaf(torch, 2.0)
    torch.sum(x + y).backward()
    x.grad.mul_(7)
    return x.grad, y.grad


def grad_leaves_the_attributes_alone(torch):
    x, y = leaf(torch, 1.0, 2.0), leaf(torch, 3.0, 4.0)
    found = torch.autograd.grad(torch.sum(x * y), [x, y])
    return found, x.grad, y.grad


def grad_of_an_intermediate_value(torch):
    x = leaf(torch, 1.0, 2.0)
    y = x * 3
    return torch.autograd.grad(torch.sum(y * y), [y, x])


def grad_with_several_outputs(torch):
    x = leaf(torch, 1.0, 2.0)
    return torch.autograd.grad([torch.sum(x * x), x * 3], [x], [None, torch.tensor([1.0, 2.0])])


def grad_of_an_unused_input(torch):
    x, y = leaf(torch, 1.0), leaf(torch, 2.0)
    return torch.autograd.grad(torch.sum(x * 2), [x, y], allow_unused=True)


def grad_of_an_unused_input_as_zeros(torch):
    x, y = leaf(torch, 1.0), leaf(torch, 2.0, 3.0)
    return torch.autograd.grad(torch.sum(x * 2), [x, y], materialize_grads=True)


def second_derivative(torch):
    x = leaf(torch, 1.0, 2.0)
    (g,) = torch.autograd.grad(torch.sum(x**3), x, create_graph=True)
    (h,) = torch.autograd.grad(torch.sum(g), x)
    return g.detach(), g.requires_grad, h


def third_derivative_by_backward(torch):
    x = leaf(torch, 1.5)
    y = torch.sin(x) * x
    (g,) = torch.autograd.grad(y, x, create_graph=True)
    (h,) = torch.autograd.grad(g, x, create_graph=True)
    h.backward()
    return x.grad


def gradient_penalty(torch):
    w, x = leaf(torch, 0.5, -1.0), leaf(torch, 1.0, 2.0)
    y = torch.sum(torch.tanh(w * x))
    (g,) = torch.autograd.grad(y, x, create_graph=True)
    (y + torch.sum(g * g)).backward()
    return w.grad, x.grad


def accumulation_with_a_graph_is_out_of_place(torch):
    x = leaf(torch, 1.0, 2.0)
    torch.sum(x**3).backward(create_graph=True)
    first = x.grad
    torch.sum(x**2).backward(create_graph=True)
    return first.detach(), x.grad.detach(), first is x.grad, x.grad.requires_grad


def retained_graph_can_be_used_twice(torch):
    x = leaf(torch, 1.0, 2.0)
    y = torch.sum(x * x)
    y.backward(retain_graph=True)
    y.backward()
    return x.grad


def passes_that_saved_nothing_can_be_repeated(torch):
    x = leaf(torch, 1.0, 2.0)
    y = torch.sum(x + 1)
    y.backward()
    y.backward()
    return x.grad


def inputs_restrict_the_pass(torch):
    x, y = leaf(torch, 1.0), leaf(torch, 2.0)
    torch.sum(x * y).backward(inputs=[x])
    return x.grad, y.grad


def inputs_may_be_intermediate_values(torch):
    x = leaf(torch, 1.0, 2.0)
    y = x * 2
    y.retain_grad()
    torch.sum(y * y).backward(inputs=[y])
    return x.grad, y.grad


# ------------------------------------------------------------------------------------------- leaves and flags


def flags_of_leaves_and_results(torch):
    x = leaf(torch, 1.0)
    y = x * 2
    z = torch.ones(1)
    return [(t.requires_grad, t.is_leaf, t.grad_fn is None) for t in (x, y, z, y.detach(), x.detach(), x.data, y > 1)]


def comparison_and_integers_require_nothing(torch):
    x = leaf(torch, 1.0)
    return (x > 0).requires_grad, x.long().requires_grad, x.double().requires_grad


def no_grad_records_nothing(torch):
    x = leaf(torch, 1.0)
    with torch.no_grad():
        y = x * 2
        inner = torch.is_grad_enabled()
        with torch.enable_grad():
            z = x * 2
    return y.requires_grad, inner, z.requires_grad, torch.is_grad_enabled()


def grad_modes_as_decorators(torch):
    x = leaf(torch, 1.0)

    @torch.no_grad()
    def quiet():
        return (x * 2).requires_grad

    @torch.no_grad
    def also_quiet():
        return (x * 2).requires_grad

    @torch.inference_mode()
    def inferred():
        return (x * 2).requires_grad

    @torch.no_grad()
    def generator():
        yield (x * 2).requires_grad
        yield (x * 3).requires_grad

    @torch.set_grad_enabled(False)
    def disabled():
        return (x * 2).requires_grad

    seen = []
    for flag in generator():
        seen.append((flag, torch.is_grad_enabled()))
    return quiet(), also_quiet(), inferred(), seen, disabled(), torch.is_grad_enabled()


def set_grad_enabled_as_a_function(torch):
    torch.set_grad_enabled(False)
    off = torch.is_grad_enabled()
    torch.set_grad_enabled(True)
    with torch.set_grad_enabled(False):
        inside = torch.is_grad_enabled()
    return off, inside, torch.is_grad_enabled()


def view_as_a_leaf(torch):
    x = torch.zeros(4)
    part = x[1:3].requires_grad_()
    torch.sum(part * 3 + x[1:3]).backward()
    return part.is_leaf, part.grad, x.requires_grad


def leaf_can_be_switched_off(torch):
    x = leaf(torch, 1.0)
    x.requires_grad_(False)
    y = x * 2
    x.requires_grad = True
    return y.requires_grad, x.requires_grad, x.is_leaf


def detach_cuts_the_gradient(torch):
    x = leaf(torch, 1.0, 2.0)
    y = x * x
    torch.sum(y.detach() * x).backward()
    return x.grad


def detach_in_place(torch):
    x = leaf(torch, 1.0)
    y = x * 2
    y.detach_()
    return y.requires_grad, y.is_leaf, y


def data_is_assigned(torch):
    x = leaf(torch, 1.0, 2.0)
    x.data = torch.tensor([5.0, 6.0])
    torch.sum(x * x).backward()
    return x.detach(), x.grad, x.is_leaf


def grad_is_assigned_and_deleted(torch):
    x = leaf(torch, 1.0, 2.0)
    x.grad = torch.ones(2)
    torch.sum(x).backward()
    total = x.grad.clone()
    x.grad = None
    return total, x.grad


# ----------------------------------------------------------------------------------------------------------- writing


def optimizer_step(torch):
    x = leaf(torch, 1.0, 2.0)
    for _ in range(3):
        x.grad = None
        torch.sum(x**2).backward()
        with torch.no_grad():
            x -= 0.1 * x.grad
    return x.detach(), x.is_leaf, x.requires_grad, x.grad


def optimizer_step_through_data(torch):
    x = leaf(torch, 1.0, 2.0)
    for _ in range(3):
        torch.sum(x**2).backward()
        x.data.add_(x.grad, alpha=-0.1)
        x.grad.zero_()
    return x.detach(), x.is_leaf, x.grad


def step_through_a_view_of_a_leaf(torch):
    x = leaf(torch, 1.0, 2.0, 3.0)
    with torch.no_grad():
        x[1:] *= 10
        x.view(3, 1)[0].fill_(7)
    torch.sum(x * x).backward()
    return x.detach(), x.grad, x.is_leaf


def gradient_before_and_after_a_step(torch):
    x = leaf(torch, 1.0, 2.0)
    before = torch.sum(x * 3)
    with torch.no_grad():
        x.add_(1)
    after = torch.sum(x * x)
    (before + after).backward()
    return x.grad


def writing_to_a_result(torch):
    x = leaf(torch, 1.0, 2.0)
    y = x * 2
    y.mul_(3).add_(x)
    y[0] = 5.0
    torch.sum(y).backward()
    return x.grad, y.detach()


def writing_saves_the_old_value(torch):
    x, w = leaf(torch, 1.0, 2.0), leaf(torch, 5.0, 6.0)
    y = x * 3
    y.mul_(w)
    y /= w + x
    y **= 2
    torch.sum(y).backward()
    return y.detach(), x.grad, w.grad


def writing_to_a_view_of_a_result(torch):
    x = leaf(torch, 1.0, 2.0, 3.0, 4.0)
    y = (x * 2).view(2, 2)
    row = y[0]
    row.mul_(10)
    torch.sum(y * y).backward()
    return x.grad, row.detach(), row.requires_grad


def writing_a_gradient_into_a_plain_tensor(torch):
    x = leaf(torch, 1.0, 2.0)
    buffer = torch.zeros(2, 2)
    buffer[1] = x * 3
    flags = buffer.requires_grad, buffer.is_leaf
    torch.sum(buffer * torch.tensor([[1.0, 2.0], [3.0, 4.0]])).backward()
    return x.grad, flags


def views_see_the_gradient_written_through_another(torch):
    x = leaf(torch, 1.0, 2.0)
    base = torch.zeros(2, 2)
    row, column = base[0], base[:, 1]
    row.add_(x)
    torch.sum(column * 5).backward()
    return x.grad, column.detach(), column.requires_grad


def zeroing_keeps_the_flag(torch):
    x = leaf(torch, 1.0, 2.0)
    y = x * 2
    y.zero_()
    torch.sum(y).backward()
    return y.requires_grad, x.grad


def overwriting_gives_a_gradient_of_zero(torch):
    x, z = leaf(torch, 1.0, 2.0), leaf(torch, 3.0, 4.0)
    y = x * 2
    y.copy_(z)
    torch.sum(y * y).backward()
    return x.grad, z.grad


def writing_below_no_grad_keeps_the_history(torch):
    x = leaf(torch, 1.0, 2.0)
    y = x * 3
    with torch.no_grad():
        y.add_(100)
        y[0] = 0
    torch.sum(y * torch.tensor([1.0, 10.0])).backward()
    return y.detach(), x.grad


def writing_through_detach_keeps_the_history(torch):
    x = leaf(torch, 1.0, 2.0)
    y = x * 3
    y.detach().fill_(9)
    torch.sum(y).backward()
    return y.detach(), x.grad


def a_detached_view_has_its_own_history(torch):
    x, w = leaf(torch, 1.0, 2.0), leaf(torch, 5.0, 6.0)
    y = x * 3
    cut = y.detach()
    cut.mul_(w)
    torch.sum(cut + y).backward()
    return cut.detach(), y.detach(), x.grad, w.grad


def writing_through_a_parameter_reaches_its_data(torch):
    data = torch.ones(2)
    parameter = torch.nn.Parameter(data)
    with torch.no_grad():
        parameter.add_(1)
    data.mul_(5)
    torch.sum(parameter * parameter).backward()
    return data, parameter.detach(), parameter.grad, data.requires_grad


def a_saved_result_may_lose_its_argument(torch):
    x = leaf(torch, 1.0, 2.0)
    y = x * 1
    z = torch.relu(y)
    y.add_(100)
    torch.sum(z * z).backward()
    return x.grad


# -------------------------------------------------------------------------------------------------------------- hooks


def hooks_see_and_replace_gradients(torch):
    x = leaf(torch, 1.0, 2.0)
    seen = []
    x.register_hook(lambda g: seen.append(g.tolist()))
    handle = x.register_hook(lambda g: g * 10)
    y = x * 2
    y.register_hook(lambda g: g + 1)
    torch.sum(y).backward()
    handle.remove()
    first = x.grad.clone()
    torch.sum(x * 2).backward()
    return seen, first, x.grad


def hooks_stay_with_a_leaf_that_is_updated(torch):
    x = leaf(torch, 1.0)
    x.register_hook(lambda g: g * 10)
    with torch.no_grad():
        x.add_(1)
    torch.sum(x * x).backward()
    x.data = torch.tensor([3.0])
    torch.sum(x * x).backward()
    return x.grad


def retained_gradients(torch):
    x = leaf(torch, 1.0, 2.0)
    y = x * 2
    y.retain_grad()
    y.register_hook(lambda g: g * 10)
    torch.sum(y * y).backward()
    return y.grad, y.retains_grad, x.grad, x.retains_grad


def hooks_after_accumulation(torch):
    x = leaf(torch, 1.0, 2.0)

    def double(t):
        t.grad.mul_(2)

    x.register_post_accumulate_grad_hook(double)
    torch.sum(x * 3).backward()
    return x.grad


# ------------------------------------------------------------------------------------------- refusals


def hooks_after_accumulation_return_nothing(torch):
    x = leaf(torch, 1.0, 2.0)
    x.register_post_accumulate_grad_hook(lambda t: t.grad)
    torch.sum(x * 3).backward()


def second_pass_over_a_freed_graph(torch):
    x = leaf(torch, 1.0, 2.0)
    y = torch.sum(x * x)
    y.backward()
    y.backward()


def writing_to_a_leaf(torch):
    leaf(torch, 1.0).add_(1)


def writing_to_a_view_of_a_leaf(torch):
    leaf(torch, 1.0, 2.0)[0].add_(1)


def assigning_to_an_element_of_a_leaf(torch):
    leaf(torch, 1.0, 2.0)[0] = 1


def assigning_to_indexed_elements_of_a_leaf(torch):
    leaf(torch, 1.0, 2.0)[[0]] = 1


def transposing_a_leaf_in_place(torch):
    torch.ones(2, 2, requires_grad=True).t_()


def a_saved_value_that_was_written_to(torch):
    x = leaf(torch, 1.0, 2.0)
    y = x * 2
    z = y * y
    y.add_(1)
    torch.sum(z).backward()


def a_saved_view_whose_base_was_written_to(torch):
    x = leaf(torch, 1.0, 2.0)
    y = x * 2
    z = y[:1] * y[:1]
    y[1] = 7
    torch.sum(z).backward()


def a_saved_leaf_that_was_updated(torch):
    x, w = leaf(torch, 1.0), leaf(torch, 2.0)
    y = x * w
    with torch.no_grad():
        w.add_(1)
    torch.sum(y).backward()


def a_saved_result_that_was_written_to(torch):
    x = leaf(torch, 1.0)
    y = torch.exp(x)
    y.add_(1)
    torch.sum(y).backward()


def no_implicit_gradient_of_a_vector(torch):
    (leaf(torch, 1.0, 2.0) * 2).backward()


def nothing_requires_a_gradient(torch):
    torch.ones(1).backward()


def gradient_of_another_shape(torch):
    (leaf(torch, 1.0, 2.0) * 2).backward(torch.ones(3))


def an_input_that_is_unused(torch):
    torch.autograd.grad(torch.sum(leaf(torch, 1.0)), [leaf(torch, 2.0)])


def an_input_without_a_gradient(torch):
    torch.autograd.grad(torch.sum(leaf(torch, 1.0)), [torch.ones(1)])


def integers_have_no_gradient(torch):
    torch.tensor([1], requires_grad=True)


def integers_cannot_be_made_leaves(torch):
    torch.tensor([1]).requires_grad_()


def results_cannot_be_switched_off(torch):
    (leaf(torch, 1.0) * 2).requires_grad_(False)


def numpy_of_a_tensor_with_a_gradient(torch):
    leaf(torch, 1.0).numpy()


def a_hook_without_a_gradient(torch):
    torch.ones(1).register_hook(print)


def retaining_without_a_gradient(torch):
    torch.ones(1).retain_grad()


def deepcopy_of_a_result(torch):
    import copy

    copy.deepcopy(leaf(torch, 1.0) * 2)


def out_of_a_leaf(torch):
    torch.add(leaf(torch, 1.0), 1, out=torch.ones(1))


def grad_of_another_shape_assigned(torch):
    leaf(torch, 1.0).grad = torch.ones(2)


def grad_of_another_dtype_assigned(torch):
    leaf(torch, 1.0).grad = torch.ones(1, dtype=torch.float64)


def itself_assigned_as_grad(torch):
    x = leaf(torch, 1.0)
    x.grad = x


def empty_inputs(torch):
    x = leaf(torch, 1.0)
    torch.sum(x).backward(inputs=[])


# PyTorch's sentences name memory and shapes in ways that depend on its internals
OWN_WORDS = {
    grad_of_another_shape_assigned, deepcopy_of_a_result, integers_have_no_gradient, out_of_a_leaf,
    a_saved_value_that_was_written_to, a_saved_view_whose_base_was_written_to, a_saved_leaf_that_was_updated,
    a_saved_result_that_was_written_to, nothing_requires_a_gradient, grad_of_another_dtype_assigned,
}
SCRIPTS = [
    value for value in list(globals().values())
    if getattr(value, "__module__", None) == __name__ and callable(value) and value is not leaf
]


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda f: f.__name__)
def test_gradients_are_pytorchs(script):
    assert_same(script, messages=script not in OWN_WORDS)


SAVED = [
    (a_saved_value_that_was_written_to, r"\[torch.FloatTensor \[2\]\].*is at version 1; expected version 0 instead"),
    (a_saved_view_whose_base_was_written_to, r"\[torch.FloatTensor \[1\]\].*is at version 1; expected version 0"),
    (a_saved_leaf_that_was_updated, "modified by an inplace operation"),
    (a_saved_result_that_was_written_to, "modified by an inplace operation"),
]


@pytest.mark.parametrize(("script", "message"), SAVED, ids=[s.__name__ for s, _ in SAVED])
def test_a_saved_value_that_was_written_to_is_noticed(script, message):
    with pytest.raises(RuntimeError, match=message):
        script(flamework)


# ------------------------------------------------------------------------------------------- without the other library


def test_backward_records_and_computes_nothing():
    x = flamework.tensor([1.0, 2.0], requires_grad=True)
    flamework.sum(x * x).backward()
    assert x.grad._node.value is None
    assert x.grad.tolist() == [2, 4]


def test_a_leaf_that_is_gone_gets_no_gradient_and_harms_nothing():
    x, y = flamework.tensor([1.0], requires_grad=True), flamework.tensor([2.0], requires_grad=True)
    total = flamework.sum(x * y)
    del x
    total.backward()
    assert y.grad.tolist() == [1]


def test_grad_fn_names_the_operation_and_its_operands():
    x = flamework.tensor([1.0], requires_grad=True)
    y = flamework.exp(x * 2)
    assert y.grad_fn.name() == "ExpBackward0"
    ((product, _),) = y.grad_fn.next_functions
    assert product.name() == "MulBackward0"
    (accumulate, _), (number, _) = product.next_functions
    assert accumulate.name() == "AccumulateGrad" and accumulate.variable is x and number is None


def test_warns_when_grad_of_a_result_is_read():
    y = flamework.tensor([1.0], requires_grad=True) * 2
    with pytest.warns(UserWarning, match="not a leaf Tensor"):
        assert y.grad is None


def test_a_pass_of_any_depth_needs_no_stack():
    x = flamework.tensor([1.0], requires_grad=True)
    y = x
    for _ in range(5000):
        y = y + 1
    y.backward()
    assert x.grad.tolist() == [1]


def test_a_hook_that_changes_the_shape_is_refused():
    x = flamework.tensor([1.0, 2.0], requires_grad=True)
    x.register_hook(lambda g: flamework.sum(g))
    with pytest.raises(RuntimeError, match="has changed the size of value"):
        flamework.sum(x).backward()


def test_gradients_of_numpy_shared_values_flow():
    x = flamework.tensor([1.0, 2.0], requires_grad=True)
    y = x * 2
    array = y.detach().numpy()
    array += 10
    flamework.sum(y * y).backward()
    np.testing.assert_array_equal(x.grad.numpy(), [2 * 12 * 2, 2 * 14 * 2])


# --------------------------------------------------------------------------------------------------------------- memory


def test_a_detached_result_does_not_keep_the_graph_of_a_finished_pass():
    w = flamework.tensor([1.0, 2.0], requires_grad=True)
    kept, graphs = [], []
    for _ in range(3):
        y = flamework.exp(w * 3)
        loss = flamework.sum(y)
        loss.backward()
        kept += [loss.detach(), y[:1].detach()]
        graphs += [weakref.ref(loss._node), weakref.ref(y._node)]
        w.grad = None
    del loss, y
    flamework.realize()
    assert [g() for g in graphs] == [None] * 6
    np.testing.assert_allclose([t.item() for t in kept], [423.514, 20.0855] * 3, rtol=1e-5)


def test_a_history_stays_as_long_as_a_view_sees_it():
    w = flamework.tensor([1.0, 2.0], requires_grad=True)
    y = w * 3
    view, cut = y[1:], y.detach()
    del y
    flamework.realize()
    cut.add_(1)
    flamework.sum(view * view).backward()
    assert w.grad.tolist() == [0, 2 * 7 * 3]


def test_a_write_to_the_base_of_a_computed_view_is_noticed():
    base = flamework.ones(6, 3) * 2
    view = base[1:4]
    flamework.realize(view)
    weight = flamework.ones(3, 3, requires_grad=True)
    product = view * weight
    base.zero_()
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        product.sum().backward()
