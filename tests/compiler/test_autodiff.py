"""The gradient transform: accumulation, wanted nodes, hooks, saved values that are gone, higher orders, jvp.

That each row's rule is right is tested in ``test_primitives.py``; here are the walk and whole programs, with PyTorch or
finite differences as the oracle.
"""

from __future__ import annotations

import graphs
import numpy as np
import pytest
from flamework.compiler import autodiff, dtypes, primitives as p, primitives_shape as s
from flamework.compiler.autodiff import SECOND_TIME, is_leaf, jvp, recording_gradients, vjp
from flamework.compiler.ir import Node, topological
from flamework.compiler.reference import evaluate


def leaf(*values: float) -> Node:
    return graphs.variable(np.array(values), True)


def ones(node: Node) -> Node:
    return graphs.const(node, 1)


def numbers(*nodes: Node) -> list:
    return [array.tolist() for array in graphs.expected(*nodes)]


# ------------------------------------------------------------------------------------------------------------ the walk


def test_a_value_that_is_used_twice_gets_the_sum_of_its_cotangents():
    x = leaf(2.0, 3.0)
    y = p.add(p.mul(x, x), p.exp(x))
    found = vjp([y], [ones(y)])
    assert list(found) == [x]
    np.testing.assert_allclose(graphs.expected(found[x])[0], 2 * np.array([2, 3]) + np.exp([2, 3]))


def test_a_diamond_visits_each_node_once():
    """Without accumulation before the visit, the work would double at every level."""
    x = leaf(1.0)
    y = x
    for _ in range(60):
        y = p.add(y, y)
    found = vjp([y], [ones(y)])
    assert numbers(found[x]) == [[2.0**60]]
    assert len(topological([found[x]])) < 200


def test_cotangents_of_several_outputs_are_added():
    x = leaf(1.0, 2.0)
    a, b = p.scale(x, 3), p.scale(x, 5)
    found = vjp([a, b], [ones(a), graphs.variable(np.array([1.0, 10.0]))])
    assert numbers(found[x]) == [[8.0, 53.0]]


def test_an_output_may_be_a_leaf_and_may_be_below_another_output():
    x = leaf(2.0)
    y = p.mul(x, x)
    found = vjp([y, x], [ones(y), ones(x)])
    assert numbers(found[x]) == [[5.0]]


def test_constants_and_integers_take_no_part():
    x, c, i = leaf(1.0), graphs.variable(np.array([4.0])), graphs.indices(1, below=1)
    assert not p.mul(c, c).requires_grad
    assert not s.gather(c, i, params=(0,)).requires_grad
    assert not p.lt(x, c).requires_grad
    assert not p.cast(x, params=(dtypes.int64,)).requires_grad
    y = p.mul(x, c)
    assert y.requires_grad
    assert set(vjp([y], [ones(y)])) == {x}


def test_nothing_is_recorded_for_gradients_inside_the_block():
    x = leaf(1.0)
    with recording_gradients(False):
        assert not p.exp(x).requires_grad
        with recording_gradients(True):
            assert p.exp(x).requires_grad
        assert not p.exp(x).requires_grad
    assert p.exp(x).requires_grad


def test_detach_ends_the_gradient_and_copy_does_not():
    x = leaf(3.0)
    y = p.mul(s.detach(x), s.copy(x))
    assert numbers(vjp([y], [ones(y)])[x]) == [[3.0]]


def test_a_detach_that_requires_a_gradient_is_a_leaf():
    x = leaf(3.0)
    parameter = s.detach(x)
    parameter.requires_grad = True
    assert is_leaf(parameter)
    y = p.mul(parameter, x)
    found = vjp([y], [ones(y)])
    assert set(found) == {parameter, x}


def test_wanted_nodes_may_be_inside_the_graph_and_others_are_not_visited():
    x, z = leaf(0.5), leaf(2.0)
    y = p.exp(x)
    out = p.mul(y, z)
    found = vjp([out], [ones(out)], wanted=[y], retain_graph=True)
    assert set(found) == {y}
    assert numbers(found[y]) == [[2.0]]
    both = vjp([out], [ones(out)], wanted=[y, x], retain_graph=True)
    np.testing.assert_allclose(numbers(both[x]), [[2 * np.exp(0.5)]])


def test_a_wanted_node_that_does_not_matter_is_missing():
    x, z = leaf(0.5), leaf(2.0)
    out = p.exp(x)
    assert vjp([out], [ones(out)], wanted=[z]) == {}


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("missing", [None, 0, 3, 9])
def test_the_parts_of_a_value_that_was_taken_apart_are_put_together(axis, missing):
    x = graphs.normal(20, 20)
    counts = (2, 20) if axis == 0 else (20, 2)
    parts = [s.sliced(x, (2 * i * (1 - axis), 2 * i * axis), counts) for i in range(10)]
    y, *others = [s.reduce_sum(p.mul(part, part), params=(0, 1)) for i, part in enumerate(parts) if i != missing]
    for other in others:
        y = p.add(y, other)
    gradient = vjp([y], [ones(y)])[x]
    assert (gradient.op is s.cat) == (missing is None)
    expected = 2 * graphs.expected(x)[0]
    if missing is not None:
        expected[(slice(None),) * axis + (slice(2 * missing, 2 * missing + 2),)] = 0
    np.testing.assert_allclose(graphs.expected(gradient)[0], expected, rtol=1e-6)


def test_overlapping_parts_are_added():
    x = graphs.normal(12)
    parts = [s.sliced(x, (i,), (2,)) for i in range(11)]
    y = s.reduce_sum(s.cat(*parts, params=(0,)), params=(0,))
    gradient = vjp([y], [ones(y)])[x]
    assert numbers(gradient) == [[1, *[2] * 10, 1]]


def test_hooks_see_and_may_replace_the_whole_cotangent_of_a_node():
    x = leaf(2.0)
    y = p.mul(x, x)
    seen = []
    y.marks().hooks = {0: lambda g: seen.append(g), 1: lambda g: p.scale(g, 10)}
    out = p.add(y, y)
    found = vjp([out], [ones(out)])
    assert numbers(*seen) == [[2.0]]
    assert numbers(found[x]) == [[80.0]]


def test_the_gradient_of_a_chain_of_100000_nodes_does_not_recurse():
    x = leaf(1.0)
    y = x
    for _ in range(100_000):
        y = p.neg(y)
    assert vjp([y], [ones(y)])[x].type is x.type


# ---------------------------------------------------------------------------------------------------- saved values


def overwrite(node: Node) -> None:
    node.marks().overwritten += 1


def test_a_second_backward_pass_needs_retain_graph():
    x = leaf(2.0)
    y = p.mul(x, x)
    vjp([y], [ones(y)], retain_graph=True)
    vjp([y], [ones(y)])
    with pytest.raises(RuntimeError) as raised:
        vjp([y], [ones(y)])
    assert str(raised.value) == SECOND_TIME


def test_a_graph_whose_rules_use_no_values_can_be_walked_again():
    x = leaf(2.0)
    y = p.add(p.neg(x), x)
    for _ in range(3):
        assert numbers(vjp([y], [ones(y)])[x]) == [[0.0]]


def test_what_leads_to_freed_values_is_freed_too():
    x = leaf(2.0)
    y = p.mul(x, x)
    out = p.neg(y)
    vjp([out], [ones(out)])
    with pytest.raises(RuntimeError, match="second time"):
        other = p.neg(y)
        vjp([other], [ones(other)])


@pytest.mark.parametrize(
    ("row", "needs_source", "needs_result"),
    [(p.exp, False, True), (p.log, True, False), (p.neg, False, False), (p.tanh, False, True), (p.sin, True, False),
     (p.relu, False, True), (p.sqrt, False, True)],
)  # fmt: skip
def test_a_value_that_was_overwritten_is_missed_only_by_rules_that_use_it(row, needs_source, needs_result):
    for victim, needed in ((0, needs_source), (1, needs_result)):
        x = p.abs(leaf(2.0))
        y = row(x)
        overwrite((x, y)[victim])
        if needed:
            with pytest.raises(RuntimeError, match="modified by an inplace operation"):
                vjp([y], [ones(y)])
        else:
            vjp([y], [ones(y)])


def test_the_error_names_type_shape_and_operation():
    x = p.exp(graphs.normal(2, 3))
    y = p.sin(x)
    overwrite(x)
    with pytest.raises(RuntimeError) as raised:
        vjp([y], [ones(y)])
    assert "[torch.FloatTensor [2, 3]], which is output 0 of Exp, is at version 1" in str(raised.value)


def test_overwriting_a_value_reaches_its_views_but_not_its_copies():
    for view, shared in ((s.copy, False), (lambda v: s.reshape(v, params=(1, 1)), True), (s.detach, True)):
        x = p.neg(leaf(2.0))
        viewed = view(x)
        y = p.mul(viewed, s.reshaped(leaf(1.0), viewed.shape))
        overwrite(x)
        if shared:
            with pytest.raises(RuntimeError, match="modified by an inplace operation"):
                vjp([y], [ones(y)])
        else:
            vjp([y], [ones(y)])


# ------------------------------------------------------------------------------------------------------ ties and jumps


def test_the_gradient_of_equal_operands_of_a_maximum_is_shared_in_halves():
    a, b = leaf(1.0, 2.0, 3.0), leaf(1.0, 5.0, 0.0)
    for row, of_a in ((p.maximum, [0.5, 0.0, 1.0]), (p.minimum, [0.5, 1.0, 0.0])):
        y = row(a, b)
        found = vjp([y], [ones(y)])
        assert numbers(found[a], found[b]) == [of_a, [1 - v for v in of_a]]


def test_the_gradient_of_a_reduced_maximum_is_shared_evenly_among_equal_elements():
    x = graphs.variable(np.array([[1.0, 4.0, 4.0, 4.0], [2.0, 1.0, 0.0, 2.0]]), True)
    y = s.reduce_max(x, params=(1,))
    assert numbers(vjp([y], [ones(y)])[x]) == [[[0, 1 / 3, 1 / 3, 1 / 3], [0.5, 0, 0, 0.5]]]


def test_the_slope_of_relu_at_zero_is_zero_and_that_of_a_power_at_zero_is_finite():
    x = leaf(0.0, -0.0, 2.0)
    y = p.relu(x)
    assert numbers(vjp([y], [ones(y)])[x]) == [[0.0, 0.0, 1.0]]
    base, exponent = leaf(0.0, 0.0, 0.0), leaf(0.0, 1.0, 2.0)
    y = p.pow(base, exponent)
    found = vjp([y], [ones(y)])
    assert numbers(found[base], found[exponent]) == [[0.0, 1.0, 0.0], [0.0, 0.0, 0.0]]


def test_nan_of_the_branch_that_was_not_taken_stays_out_of_where():
    x = leaf(4.0, -1.0)
    y = p.where(p.lt(graphs.const(x, 0), x), p.sqrt(x), graphs.const(x, 0))
    slope = vjp([y], [ones(y)])[x]
    # the rule of sqrt divides by its result, so PyTorch gives NaN here too; the value stays clean
    assert numbers(y) == [[2.0, 0.0]]
    assert graphs.expected(slope)[0][0] == 0.25


# ----------------------------------------------------------------------------------------- whole programs against torch


def in_torch(torch):
    """Programs written for PyTorch, by the name of the same program in ``graphs``."""
    f = torch.nn.functional
    return {
        "softmax": lambda x, w, b: torch.softmax(x, -1),
        "log_softmax": lambda x, w, b: torch.log_softmax(x, -1),
        "layer_norm": lambda x, w, b: f.layer_norm(x, x.shape[-1:], w, b),
        "rms_norm": lambda x, w, b: f.rms_norm(x, x.shape[-1:], w, 1e-6),
        "gelu": lambda x, w, b: f.gelu(x, approximate="tanh"),
        "gelu_erf": lambda x, w, b: f.gelu(x),
    }


OURS = {
    "softmax": lambda x, w, b: graphs.softmax(x),
    "log_softmax": lambda x, w, b: graphs.log_softmax(x),
    "layer_norm": lambda x, w, b: graphs.layer_norm(x, w, b),
    "rms_norm": lambda x, w, b: graphs.rms_norm(x, w),
    "gelu": lambda x, w, b: graphs.gelu(x),
    "gelu_erf": lambda x, w, b: graphs.gelu_erf(x),
}


@pytest.mark.parametrize("name", OURS)
def test_values_and_first_and_second_gradients_of_a_layer_are_those_of_torch(name):
    torch = pytest.importorskip("torch")
    arrays = [np.random.default_rng(i).standard_normal(shape) for i, shape in enumerate([(5, 7), (7,), (7,)])]
    upstream = np.random.default_rng(9).standard_normal((5, 7))
    ours = [graphs.variable(a, True) for a in arrays]
    theirs = [torch.tensor(a, requires_grad=True) for a in arrays]

    y = OURS[name](*ours)
    first = vjp([y], [graphs.variable(upstream)], retain_graph=True)
    used = [x for x in ours if x in first]
    penalty = None
    for x in used:
        term = graphs.total(p.mul(first[x], first[x]))
        penalty = term if penalty is None else p.add(penalty, term)
    second = vjp([penalty], [ones(penalty)], wanted=used, retain_graph=True)

    out = in_torch(torch)[name](*theirs)
    used_theirs = [t for t, x in zip(theirs, ours) if x in first]
    grads = torch.autograd.grad(out, used_theirs, torch.tensor(upstream), create_graph=True)
    grads2 = torch.autograd.grad(sum((g * g).sum() for g in grads), used_theirs, allow_unused=True)

    found = graphs.computed(y, *[first[x] for x in used], *[second[x] for x in used if x in second])
    wanted = [out, *grads, *[g for g in grads2 if g is not None]]
    assert len(found) == len(wanted)
    for a, b in zip(found, wanted):
        np.testing.assert_allclose(a, b.detach().numpy(), rtol=1e-9, atol=1e-10)


def test_cross_entropy_and_its_gradient_are_those_of_torch():
    torch = pytest.importorskip("torch")
    logits = np.random.default_rng(0).standard_normal((6, 5))
    labels = np.array([0, 4, 2, 2, 1, 3])
    x = graphs.variable(logits, True)
    loss = graphs.cross_entropy(x, graphs.variable(labels))
    (slope,) = graphs.gradients(loss, x)
    t = torch.tensor(logits, requires_grad=True)
    theirs = torch.nn.functional.cross_entropy(t, torch.tensor(labels))
    theirs.backward()
    found = graphs.computed(loss, slope)
    np.testing.assert_allclose(found[0], theirs.item(), rtol=1e-12)
    np.testing.assert_allclose(found[1], t.grad.numpy(), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("order", [1, 2, 3, 4])
def test_gradients_of_gradients_to_any_order(order):
    x = graphs.variable(np.array([0.3, 0.7]), True)
    y = p.sin(x)
    for _ in range(order):
        (y,) = graphs.gradients(y, x, again=True)
    wanted = np.sin(np.array([0.3, 0.7]) + order * np.pi / 2)
    np.testing.assert_allclose(graphs.expected(y)[0], wanted, rtol=1e-12)


def test_the_gradient_of_a_convolution_by_windows_is_that_of_torch():
    torch = pytest.importorskip("torch")
    image = np.random.default_rng(0).standard_normal((2, 3, 6, 6))
    weight = np.random.default_rng(1).standard_normal((4, 3, 3, 3))
    x, w = graphs.variable(image, True), graphs.variable(weight, True)
    padded = s.pad(x, params=((0, 0, 1, 1), (0, 0, 1, 1), 0.0))
    windows = s.unfold(s.unfold(padded, params=(2, 3, 2, 1)), params=(3, 3, 2, 1))
    columns = s.reshape(s.permute(windows, params=(0, 1, 4, 5, 2, 3)), params=(2, 27, 9))
    kernels = s.expand(s.reshape(w, params=(1, 4, 27)), params=(2, 4, 27))
    y = s.dot(kernels, columns)
    dx, dw = graphs.gradients(graphs.total(p.mul(y, y)), x, w)
    tx, tw = (torch.tensor(a, requires_grad=True) for a in (image, weight))
    ty = torch.nn.functional.conv2d(tx, tw, stride=2, padding=1)
    (ty * ty).sum().backward()
    for a, b in zip(graphs.computed(y, dx, dw), [ty.reshape(2, 4, 9), tx.grad, tw.grad]):
        np.testing.assert_allclose(a, b.detach().numpy(), rtol=1e-9, atol=1e-10)


# ----------------------------------------------------------------------------------------------------------------- jvp


def test_tangents_agree_with_cotangents():
    """``<vjp(g), t> == <g, jvp(t)>`` for a program that is no single row."""
    x = graphs.normal(4, 6, dtype="float64")
    y = graphs.layer_norm(p.exp(graphs.softmax(x)))
    g, t = (graphs.variable(np.random.default_rng(k).standard_normal((4, 6))) for k in (1, 2))
    (tangent,) = jvp([y], {x: t})
    cotangent = vjp([y], [g], retain_graph=True)[x]
    a, b, t_value, g_value = graphs.expected(tangent, cotangent, t, g)
    np.testing.assert_allclose((b * t_value).sum(), (a * g_value).sum(), rtol=1e-12)


def test_an_output_without_a_tangent_is_none():
    x, z = leaf(1.0), leaf(2.0)
    y = p.exp(x)
    found = jvp([y, p.exp(z), p.lt(x, z), x], {x: ones(x)})
    assert [t is None for t in found] == [False, True, True, False]


def test_forward_over_reverse_is_the_product_with_the_hessian():
    x = leaf(0.2, 0.5, 0.8)
    y = graphs.total(p.mul(p.exp(x), p.mul(x, x)))
    (slope,) = graphs.gradients(y, x)
    direction = graphs.variable(np.array([1.0, -2.0, 0.5]))
    (product,) = jvp([slope], {x: direction})
    value = np.array([0.2, 0.5, 0.8])
    hessian = np.exp(value) * (value**2 + 4 * value + 2)
    np.testing.assert_allclose(graphs.expected(product)[0], hessian * [1, -2, 0.5], rtol=1e-12)


def test_the_transform_makes_nodes_and_computes_nothing(monkeypatch):
    def refused(*_):
        raise AssertionError("something was computed")

    monkeypatch.setattr(graphs.engine, "run_plan", refused)
    x = graphs.normal(3, 4)
    y = graphs.total(graphs.softmax(x))
    before = set(topological([y]))
    (slope,) = graphs.gradients(y, x)
    assert set(topological([slope])) - before
    assert evaluate([slope], graphs.engine.read_node)[0].shape == (3, 4)
    assert autodiff.vjp([y], [ones(y)], wanted=[]) == {}
