"""What becomes one kernel: counts for programs that people write, the reasons of borders, and listings as text."""

from __future__ import annotations

import re

import graphs
import numpy as np
import pytest
from flamework.compiler import dtypes, primitives as p, primitives_shape as s
from flamework.compiler.affine import Access, Var, of, split
from flamework.compiler.cluster import Cluster, live
from flamework.compiler.fusion import MAX_OPERANDS, MAX_OPERATIONS, Fusion
from flamework.compiler.ir import Node
from graphs import gradients, indices, normal, total

X = normal(64, 100)
W, B = normal(100, seed=1), normal(100, seed=2)
LABELS = indices(64, below=100)


def kernels(*roots: Node) -> int:
    """The number of kernels; every border has a reason, and no kernel reads what it writes."""
    fusion = graphs.fused(*roots)
    graphs.check(fusion)
    return len(fusion.clusters)


# ------------------------------------------------------------------------------------------------------------- counts

FORWARD = {
    "relu(x*w+b).sum()": lambda: total(p.relu(graphs.affine(X, W, B))),
    "softmax": lambda: graphs.softmax(X),
    "softmax of four axes": lambda: graphs.softmax(normal(2, 3, 17, 19)),
    "log_softmax": lambda: graphs.log_softmax(X),
    "layer norm with affine": lambda: graphs.layer_norm(X, W, B),
    "layer norm of four axes": lambda: graphs.layer_norm(normal(2, 3, 5, 100), W, B),
    "RMS norm": lambda: graphs.rms_norm(X, W),
    "GELU by tanh": lambda: graphs.gelu(X),
    "GELU by erf": lambda: graphs.gelu_erf(X),
    "standardised rows": lambda: graphs.standardise(X, (1,)),
    "standardised over two axes": lambda: graphs.standardise(normal(8, 9, 10), (1, 2)),
    "cross entropy": lambda: graphs.cross_entropy(X, LABELS),
    "column sum of squares": lambda: s.reduce_sum(p.mul(X, X), params=(0,)),
    "a sum of many elements in few rows": lambda: total(p.exp(normal(700, 1000))),
    "embedding and scale": lambda: p.scale(
        s.gather(X, s.expand(s.reshape(indices(10, below=64), params=(10, 1)), params=(10, 100)), params=(0,)), 2.0
    ),
    "transposed and added": lambda: p.add(p.exp(X), s.permute(p.exp(normal(100, 64)), params=(1, 0))),
    "dropout with philox": lambda: dropout(X),
    "sliding mean": lambda: graphs.mean(s.unfold(p.neg(X), params=(1, 4, 1, 1)), (2,)),
    "slice, flip, pad": lambda: s.pad(
        s.flip(s.slice_(p.exp(X), params=((1, 2), (2, 3), (20, 30))), params=(1,)), params=((1, 2), (0, 3), 7.0)
    ),
}  # fmt: skip


def dropout(x: Node) -> Node:
    position = s.reshaped(graphs.iota((x.type.size,), 0), x.shape)
    bits = p.philox(position, graphs.number(1234, x.shape, dtypes.int64))
    kept = p.lt(graphs.const(bits, 0), bits)
    return p.where(kept, p.scale(x, 2.0), graphs.const(x, 0))


@pytest.mark.parametrize("name", FORWARD)
def test_forward_is_one_kernel(name):
    root = FORWARD[name]()
    assert kernels(root) == 1


@pytest.mark.parametrize("name", ["softmax", "log_softmax", "GELU by tanh", "GELU by erf", "standardised rows"])
def test_backward_of_a_layer_is_one_kernel(name):
    (slope,) = gradients(total(p.mul(FORWARD[name](), graphs.variable(np.ones(X.shape, "f")))), X)
    assert kernels(slope) == 1


def test_relu_of_an_affine_map_takes_two_more_kernels_for_all_its_gradients():
    loss = FORWARD["relu(x*w+b).sum()"]()
    slopes = gradients(loss, X, W, B)
    assert kernels(*slopes) <= 2
    assert kernels(loss, *slopes) <= 3


def test_cross_entropy_and_its_gradient_are_one_kernel_each():
    loss = graphs.cross_entropy(X, LABELS)
    slopes = gradients(loss, X)
    assert kernels(loss) == 1
    assert kernels(*slopes) == 1
    assert kernels(loss, *slopes) <= 2


def test_the_backward_of_layer_norm_is_one_kernel_along_rows_and_one_down_columns():
    upstream = graphs.variable(np.ones(X.shape, "f"))
    slopes = gradients(total(p.mul(graphs.layer_norm(X, W, B), upstream)), X, W, B)
    assert kernels(*slopes) == 2


def test_adam_over_fifty_parameters_is_one_launch_of_one_kernel():
    shapes = [(3 + k,) if k % 3 == 0 else (2 + k, 5 + k % 7) for k in range(50)]
    roots = []
    for k, shape in enumerate(shapes):
        parameter, slope, first, second = (normal(*shape, seed=4 * k + i) for i in range(4))
        roots += graphs.adam(parameter, slope, first, p.mul(second, second), 1e-3, 3)
    plan = graphs.plan_of(*roots)
    assert len(plan.items) == 1
    assert len({item.source for item in plan.items}) == 1
    assert len(plan.items[0].clusters) == 50


def test_sums_along_rows_and_along_columns_are_two_kernels_and_maxima_of_nested_axes_one():
    nested = ((2,), (1, 2), (0, 1, 2))
    assert kernels(s.reduce_sum(X, params=(0,)), s.reduce_sum(X, params=(1,))) == 2
    assert kernels(*[s.reduce_max(Z, params=axes) for axes in nested]) == 1
    # the loop of the longest sum would be divided, which changes its last bits
    assert kernels(*[s.reduce_sum(Z, params=axes) for axes in nested]) == 3


@pytest.mark.parametrize("shape, axis, count", [
    ((3, 1024, 4096), 1, 1), ((40, 64, 64), 0, 1),
    ((3, 1025, 4096), 1, 2),  # a tile of columns would leave the cache
    ((40, 64, 63), 0, 2),  # fewer tiles than keep many cores busy
])
def test_mean_and_variance_down_columns_are_one_kernel_while_a_tile_stays_in_cache(shape, axis, count):
    x = graphs.variable(np.zeros(shape, np.float32))
    mean = s.reshaped(graphs.mean(x, (axis,)), tuple(1 if a == axis else n for a, n in enumerate(shape)))
    centred = p.sub(x, s.expanded(mean, shape))
    assert kernels(mean, graphs.mean(p.mul(centred, centred), (axis,))) == count


def test_siblings_that_read_one_tensor_at_one_position_share_a_kernel():
    assert kernels(p.exp(X), p.neg(X), p.tanh(X)) == 1
    assert kernels(p.exp(X), s.reduce_sum(p.neg(X), params=(1,))) == 1
    assert kernels(p.exp(X), p.neg(normal(64, 100, seed=3))) == 2


def test_independent_programs_stay_apart():
    assert kernels(*[p.exp(normal(50, seed=k)) for k in range(10, 15)]) == 5


def test_a_matrix_product_reads_transposed_and_expanded_operands_in_place():
    a, b = normal(1, 20, 30), normal(4, 10, 30)
    product = s.dot(s.expand(a, params=(4, 20, 30)), s.swapped(b))
    fusion = graphs.fused(product)
    assert [c.kind for c in fusion.clusters] == ["dot"]
    first, second = fusion.clusters[0].matrices
    assert (first.batch, first.rows, first.columns) == ([(4, 0)], 30, 1)
    assert (second.batch, second.rows, second.columns) == ([(4, 300)], 1, 30)


def test_an_operand_of_a_matrix_product_that_strides_cannot_describe_is_copied():
    a = normal(4, 20, 30)
    assert kernels(s.dot(s.slice_(a, params=((0, 0, 0), (1, 1, 2), (4, 20, 15))), normal(4, 15, 10))) == 2


def test_an_operand_of_a_matrix_product_with_several_axes_an_index_is_read_in_place():
    a = normal(4, 20, 30)
    assert kernels(s.dot(s.flip(a, params=(2,)), normal(4, 30, 10))) == 1
    windows = s.unfold(normal(2, 3, 12), params=(2, 3, 1, 1))  # [image, channel, place, within]
    columns = s.reshape(s.permute(windows, params=(0, 1, 3, 2)), params=(2, 9, 10))
    assert kernels(s.dot(s.expand(normal(1, 7, 9), params=(2, 7, 9)), columns)) == 1


def test_of_a_padded_operand_the_padding_goes_to_memory_and_its_windows_do_not():
    padded = s.pad(normal(2, 3, 10), params=((0, 0, 1), (0, 0, 1), 0.0))
    windows = s.unfold(padded, params=(2, 3, 1, 1))
    columns = s.reshape(s.permute(windows, params=(0, 1, 3, 2)), params=(2, 9, 10))
    fusion = graphs.fused(s.dot(s.expand(normal(1, 7, 9), params=(2, 7, 9)), columns))
    assert [c.kind for c in fusion.clusters] == ["kernel", "dot"]
    assert fusion.clusters[1].matrices[1].base.shape == (2, 3, 12)


def test_attention_is_a_product_a_kernel_and_a_product():
    q, k, v = (normal(2, 8, 16, seed=i) for i in range(3))
    weights = graphs.softmax(p.scale(s.dot(q, s.swapped(k)), 0.25))
    fusion = graphs.fused(s.dot(weights, v))
    assert [c.kind for c in fusion.clusters] == ["dot", "kernel", "dot"]


def test_what_is_computed_already_is_read_from_memory():
    y = p.exp(normal(30))
    z = p.neg(y)
    graphs.computed(y)
    fusion = graphs.fused(z)
    assert [node.op.name for node in fusion.order] == ["input", "neg"] or fusion.order[0].value is not None
    assert len(fusion.clusters) == 1


def test_empty_results_need_no_kernel():
    assert kernels(p.exp(normal(0, 3))) == 0
    assert kernels(s.reduce_sum(normal(3, 0), params=(1,))) == 1


def test_a_leaf_that_is_a_result_is_written_by_a_kernel():
    assert kernels(graphs.const(X, 3)) == 1
    assert kernels(graphs.iota((5, 7), 1)) == 1


# ------------------------------------------------------------------------------------------------------------ borders


def chain(x: Node, length: int) -> Node:
    for _ in range(length):
        x = p.sin(x)
    return x


def many(count: int) -> Node:
    result = normal(8)
    for k in range(1, count):
        result = p.add(result, normal(8, seed=k))
    return result


def rowwise(x: Node, other: Node) -> Node:
    """A row's value added to every element of the row."""
    return p.add(s.expand(s.reshape(x, params=(*x.shape, 1)), params=other.shape), other)


ROWS = s.reduce_sum(X, params=(1,))
LONG = normal(2, 1 << 17)

# costs too much to be computed twice
COSTLY = p.exp(p.sin(p.exp(p.sin(X))))
REASONS = {
    f"the kernel has {MAX_OPERATIONS} operations": lambda: [chain(X, 200)],
    f"the kernel has {MAX_OPERANDS} operands": lambda: [many(60)],
    "a scan is computed in order": lambda: [p.neg(s.cumsum(X, params=(1,)))],
    "one of them reduces down columns": lambda: [s.reduce_sum(X, params=(0,)), ROWS],
    "it reduces down columns": lambda: [graphs.softmax(X, 0)],
    "they reduce different axes": lambda: [
        s.reduce_sum(Z, params=axes) for axes in ((0, 2), (1, 2))
    ],
    "long rows are reduced in pieces, and what reads the result is a second pass": lambda: [graphs.softmax(LONG)],
    "a reduction is not computed below an index or a pad": lambda: [
        s.gather(ROWS, indices(10, below=64), params=(0,))
    ],
    "its result is read at several positions": lambda: [
        p.add(s.slice_(ROWS, params=((0,), (1,), (63,))), s.slice_(ROWS, params=((1,), (1,), (63,))))
    ],
    "it reduces 100 elements where the kernel runs over 7": lambda: [rowwise(ROWS, normal(64, 7))],
    "its 64 results would be computed 186 times": lambda: [p.neg(s.unfold(ROWS, params=(0, 3, 1, 1)))],
    "it is also stored, and the kernel does not visit each of its elements once": lambda: [
        p.exp(X), s.slice_(p.neg(p.exp(X)), params=((0, 0), (1, 1), (3, 4)))
    ],
    "exp would be computed 3 times for each element": lambda: [
        graphs.mean(s.unfold(p.exp(X), params=(1, 4, 1, 1)), (2,))
    ],
    "a reshape that would need a division reads from memory": lambda: [
        p.neg(s.reshape(s.permute(p.exp(X), params=(1, 0)), params=(64, 100)))
    ],
    "a reshape of it is read from memory": lambda: [
        p.add(s.reshape(p.exp(C), params=(6, 4)), s.permute(p.exp(C), params=(1, 0)))
    ],
    "a kernel that writes into an existing buffer runs alone": lambda: [
        s.cat(p.exp(X), p.exp(p.neg(X)), params=(0,)), p.tanh(X)
    ],
    "it would have to run before and after another kernel": lambda: [
        p.add(p.sub(X, s.back(s.reduce_max(s.cumsum(COSTLY, params=(1,)), params=(1,)), (1,), X.shape)), COSTLY)
    ],
    "one needs the other's results": lambda: [p.div(X, s.back(s.reduce_sum(p.exp(X), params=(0,)), (0,), X.shape))],
    "a sum would be taken in another order": lambda: [total(Z), s.reduce_max(Z, params=(2,))],
    "one of them reads it at several positions": lambda: [
        p.neg(p.exp(C)), p.add(s.slice_(p.exp(C), params=((0, 0), (1, 1), (3, 6))),
                               s.slice_(p.exp(C), params=((1, 0), (1, 1), (3, 6))))
    ],
    "they run over different axes": lambda: [rowwise(p.exp(Z), normal(4, 5, 6, 7)), p.neg(p.exp(Z))],
    "they do not visit each element once": lambda: [p.neg(X), s.slice_(p.abs(X), params=((0, 0), (1, 1), (3, 4)))],
}  # fmt: skip
Z = normal(4, 5, 6)
C = normal(4, 6)


@pytest.mark.parametrize("reason", REASONS)
def test_the_reason_why_two_neighbours_are_not_one_kernel(reason):
    fusion = graphs.fused(*REASONS[reason]())
    graphs.check(fusion)
    assert reason in {border.reason for border in fusion.borders}
    assert len(fusion.clusters) > 1


def test_a_kernel_does_not_read_back_what_it_stores_for_a_reshape():
    """The reshape needs a division, so it is read from memory; the kernel that reads it must not be the one that
    stores it."""
    e = p.exp(C)
    moved = s.reshape(s.permute(s.reshape(e, params=(8, 3)), params=(1, 0)), params=(4, 6))
    graphs.assert_matches_reference(p.add(moved, e))
    row_sums = s.back(s.reduce_sum(e, params=(1,)), (1,), (4, 6))
    graphs.assert_matches_reference(p.add(p.neg(moved), p.neg(row_sums)))


def test_a_movement_that_is_a_result_makes_no_cycle_with_its_readers():
    e = p.exp(normal(4, 6, seed=9))
    turned = s.permute(e, params=(1, 0))
    sums = s.back(s.reduce_sum(turned, params=(0,)), (0,), (6, 4))
    graphs.assert_matches_reference(turned, p.mul(turned, sums))


# -------------------------------------------------------------------------------------------------------------- chain


def test_the_chain_takes_sets_that_contain_each_other_only():
    i, j, k = (Var(n) for n in (2, 3, 4))
    cluster = Cluster()
    cluster.chain = [frozenset({i, j})]
    assert cluster.insert(frozenset({i}))
    assert cluster.insert(frozenset({i, j, k}))
    assert cluster.insert(frozenset())
    assert cluster.sets() == [frozenset(), {i}, {i, j}, {i, j, k}]
    assert not cluster.insert(frozenset({j}))
    assert not cluster.fits(frozenset({i, k}))
    assert cluster.fits(frozenset({i, j}))
    assert len(cluster.sets()) == 4


def test_the_chain_follows_a_split():
    i, j = Var(6), Var(5)
    cluster = Cluster()
    cluster.chain = [frozenset({i}), frozenset({i, j})]
    hi, lo = split(i, 3)
    assert cluster.sets() == [{hi, lo}, {hi, lo, j}]
    assert live(frozenset({i})) == {hi, lo}
    assert cluster.insert(frozenset({hi}))


def test_positions_are_aligned_by_splitting_the_longer_variable():
    fusion = Fusion([], {})
    i, j, k = Var(4), Var(6), Var(24)
    mapping = fusion.align(Access([of(i) * 6 + of(j)]), Access([of(k)]), (24,))
    assert k.becomes is not None
    assert set(mapping.values()) == {i, j}
    assert fusion.align(Access([of(Var(4)) * 6 + of(Var(6))]), Access([of(Var(6)) * 4 + of(Var(4))]), (24,)) is None


# ----------------------------------------------------------------------------------------------------------- listings

LISTINGS = {
    "relu(x*w+b).sum() with its gradients": (
        lambda: (lambda loss: [loss, *gradients(loss, X, W, B)])(FORWARD["relu(x*w+b).sum()"]()),
        """
        kernel -> sum f32[100], sum f32[100], where f32[64,100], relu f32[64,100]
          reshape expand mul reshape expand add relu le where mul sum sum
        kernel -> sum f32[]
          sum
        kernel -> mul f32[64,100]
          reshape expand mul
        border: where f32[64,100]: one of them reduces down columns
        border: relu f32[64,100]: one of them reduces down columns
        border: input f32[100]: they run over different axes
        """,
    ),
    "softmax and its gradient": (
        lambda: (lambda y: [y, *gradients(total(p.mul(y, Y2)), X)])(graphs.softmax(X)),
        """
        kernel -> mul f32[64,100], div f32[64,100]
          reduce_max detach reshape expand sub exp sum reshape expand div copy div mul div neg sum
          reshape expand add mul
        """,
    ),
    "a product and what follows": (
        lambda: [p.relu(p.add(s.dot(p.exp(normal(1, 4, 5)), normal(1, 5, 6)), s.expand(
            normal(1, 1, 6), params=(1, 4, 6))))],
        """
        kernel -> exp f32[1,4,5]
          exp
        dot: dot f32[1,4,6]
        kernel -> relu f32[1,4,6]
          expand add relu
        """,
    ),
    "two writes into one buffer": (
        lambda: [s.update(s.update(p.exp(C), normal(1, 6), params=((0, 0), (1, 1))), normal(2, 6),
                          params=((1, 0), (2, 1)))],
        """
        kernel -> update f32[4,6]
          exp
        kernel -> update f32[4,6]

        kernel -> update f32[4,6]

        """,
    ),
}  # fmt: skip
Y2 = graphs.variable(np.ones(X.shape, "f"))


@pytest.mark.parametrize("name", LISTINGS)
def test_listing(name):
    program, text = LISTINGS[name]
    found = graphs.describe(graphs.fused(*program()))
    assert [line.strip() for line in found.splitlines() if line.strip()] == [
        line.strip() for line in text.splitlines() if line.strip()
    ]


def test_a_cluster_says_what_it_stores():
    (cluster,) = graphs.clusters(p.exp(X))
    assert re.fullmatch(r"<cluster \d+ kernel \['exp'\]>", repr(cluster))
