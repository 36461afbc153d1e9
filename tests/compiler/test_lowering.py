"""The loop IR of a few kernels as text, and what holds for every kernel: no sizes, offsets that fit, honest reports."""

from __future__ import annotations

import re

import graphs
import numpy as np
import pytest
from flamework.compiler import dtypes, primitives as p, primitives_shape as s
from flamework.compiler.lowering import NARROW_TILE, PIECE, Lowered, expression
from graphs import indices, lowered, normal, number, total

X = normal(64, 100)


def embedding(table, count: int):
    """Rows of a table, with checked indices."""
    rows, width = table.shape
    index = p.wrap_index(indices(count, below=rows), number(rows, (count,), dtypes.int64))
    return s.gather(table, s.expand(s.reshape(index, params=(count, 1)), params=(count, width)), params=(0,))


def histogram(count: int, bins: int):
    base = graphs.const(normal(bins), 0)
    return s.scatter(base, indices(count, below=bins), normal(count, seed=1), params=(0, "add"))


KERNELS = {
    "softmax": (
        lambda: graphs.softmax(X),
        """
        kernel rows
          group 0: i0 < n0
          group 1: i1 < n1
          arguments: n0:integer, n1:integer, p0:pointer, s0:integer, p1:pointer, s1:integer
          loop group 1 -> r0 = reduce_max(v0)
            v0:f32 = p0[i0 * s0 + i1]
          loop group 1 -> r1 = sum(v3)
            v1:f32 = p0[i0 * s0 + i1]
            v2:f32 = (v1 - r0)
            v3:f32 = exp(v2)
            p1[i0 * s1 + i1] = v3
          loop group 1
            v6:f32 = p1[i0 * s1 + i1]
            v7:f32 = (v6 / r1)
            p1[i0 * s1 + i1] = v7
        """,
    ),
    "column sum of squares": (
        lambda: s.reduce_sum(p.mul(X, X), params=(0,)),
        """
        kernel columns
          group 0: i0 < n0
          group 1: i1 < n1
          arguments: n0:integer, n1:integer, p0:pointer, s0:integer, p1:pointer, n2:integer, n3:integer
          loop group 1 -> r0 = sum(v1)
            v0:f32 = p0[i0 + i1 * s0]
            v1:f32 = (v0 * v0)
          p1[i0] = r0
        """,
    ),
    "sum of a large matrix": (
        lambda: total(normal(700, 1000)),
        """
        kernel split
          group 0:
          group 1: i0 < n0
          arguments: n0:integer, p0:pointer, p1:pointer, n1:integer, n2:integer, scratch:scratch
          loop group 1 -> r0 = sum(v0)
            v0:f32 = p0[i0]
          p1[0] = r0
        """,
    ),
    "gather with checked indices": (
        lambda: s.gather(
            normal(50), p.wrap_index(indices(10, below=50), number(50, (10,), dtypes.int64)), params=(0,)
        ),
        """
        kernel flat
          group 0: i0 < n0
          arguments: n0:integer, c0:scalar, p0:pointer, error:error, p1:pointer, p2:pointer
          v0:i64 = p0[i0]
          v1:i64 = wrap_index(v0, c0, error)
          v2:f32 = p1[v1]
          p2[i0] = v2
        """,
    ),
    "scaled, of contiguous memory": (
        lambda: p.mul(p.exp(X), number(2.0, X.shape)),
        """
        kernel flat
          group 0: i0 < n0
          arguments: n0:integer, c0:scalar, p0:pointer, p1:pointer
          v0:f32 = p0[i0]
          v1:f32 = exp(v0)
          v2:f32 = (v1 * c0)
          p1[i0] = v2
        """,
    ),
    "mean of sums of squares": (
        lambda: graphs.mean(s.reduce_sum(p.mul(X, X), params=(1,)), (0,)),
        """
        kernel rows
          group 0:
          group 1: i0 < n0
          group 2: i1 < n1
          arguments: n0:integer, n1:integer, p0:pointer, s0:integer, c0:scalar, p1:pointer
          loop group 1 -> r0 = sum(r1)
            loop group 2 -> r1 = sum(v1)
              v0:f32 = p0[i0 * s0 + i1]
              v1:f32 = (v0 * v0)
          v2:f32 = (r0 / c0)
          p1[0] = v2
        """,
    ),
    "running sum": (
        lambda: s.cumsum(X, params=(1,)),
        """
        kernel rows
          group 0: i0 < n0
          group 1: i1 < n1
          arguments: n0:integer, n1:integer, p0:pointer, s0:integer, p1:pointer, s1:integer
          loop group 1
            v0:f32 = p0[i0 * s0 + i1]
            v1:f32 = sum of v0 so far
            p1[i0 * s1 + i1] = v1
        """,
    ),
    "pad": (
        lambda: s.pad(normal(9), params=((1,), (2,), 7.0)),
        """
        kernel flat
          group 0: i0 < n0
          arguments: n0:integer, o0:integer, n1:integer, p0:pointer, o1:integer, p1:pointer
          v0:f32 = p0[i0 + o1] if inside(i0 + o0, n1) else f32(7.0)
          p1[i0] = v0
        """,
    ),
}  # fmt: skip


def text_of(kernel) -> list[str]:
    return [line.strip() for line in str(kernel).splitlines()]


@pytest.mark.parametrize("name", KERNELS)
def test_kernel_text(name):
    program, text = KERNELS[name]
    (kernel,) = lowered(program())
    assert text_of(kernel.kernel) == [line.strip() for line in text.strip().splitlines()]


def test_a_scatter_is_a_kernel_that_fills_and_a_serial_one_that_adds():
    fill, add = lowered(histogram(40, 7))
    assert not fill.kernel.serial
    assert add.kernel.serial
    assert text_of(add.kernel)[-1] == "p2[v1] += v0" or " += v0" in text_of(add.kernel)[-1]


# ----------------------------------------------------------------------------------------------------------- no sizes

SIZES = {
    "softmax": lambda n: graphs.softmax(normal(n, 2 * n)),
    "layer norm": lambda n: graphs.layer_norm(normal(3, n, 2 * n), normal(2 * n), normal(2 * n)),
    "column sum": lambda n: s.reduce_sum(normal(n, 2 * n), params=(0,)),
    "large sum": lambda n: total(normal(n, 3000)),
    "transposed": lambda n: p.add(normal(n, 2 * n), s.permute(normal(2 * n, n), params=(1, 0))),
    "cross entropy": lambda n: graphs.cross_entropy(normal(n, 2 * n), indices(n, below=2 * n)),
    "windows": lambda n: s.reduce_sum(s.unfold(normal(3, n), params=(1, 4, 1, 1)), params=(2,)),
    "embedding": lambda n: embedding(normal(n, 16), 2 * n),
    "pad": lambda n: s.pad(normal(n, 2 * n), params=((1, 2), (3, 4), 0.0)),
    "slice": lambda n: p.neg(s.slice_(normal(n, 2 * n), params=((1, 2), (1, 2), (n - 1, n - 1)))),
}


@pytest.mark.parametrize("name", SIZES)
def test_a_kernel_is_the_same_at_every_size(name):
    small, large = ([str(x.kernel) for x in lowered(SIZES[name](n))] for n in (40, 90))
    assert small == large
    for text in small:
        assert not re.search(r"\b(40|90|80|180)\b", text)


def test_python_numbers_are_arguments_and_numbers_of_the_program_are_text():
    (kernel,) = lowered(p.add(p.mul(X, number(0.25, X.shape)), graphs.const(X, 0.75)))
    text = str(kernel.kernel)
    assert "0.25" not in text
    assert "f32(0.75)" in text
    (argument,) = [a for a in kernel.kernel.arguments if a.kind == "scalar"]
    assert argument.source.value == 0.25


def test_infinities_nan_and_the_sign_of_zero_are_written_exactly():
    values = {"f32(inf)": np.inf, "f32(-inf)": -np.inf, "f32(nan)": np.nan, "f32(-0.0)": -0.0}
    for text, value in values.items():
        (kernel,) = lowered(p.copysign(X, graphs.const(X, value)))
        assert text in str(kernel.kernel)


# ---------------------------------------------------------------------------------------------------------- structure


def only(*roots) -> Lowered:
    (found,) = lowered(*roots)
    return found


def test_contiguous_axes_become_one_variable_and_broadcast_ones_stay():
    assert len(only(p.exp(normal(2, 3, 4, 5))).kernel.groups[0]) == 1
    affine = graphs.affine(normal(2, 3, 4), normal(4), None)
    assert len(only(affine).kernel.groups[0]) == 2
    turned = p.neg(s.permute(normal(2, 3, 4), params=(1, 0, 2)))
    assert len(only(turned).kernel.groups[0]) == 3
    assert only(p.exp(normal())).kernel.groups == [[]]


def test_the_fastest_variable_is_the_one_with_the_smallest_strides():
    """Whatever the order of the axes: here memory is read and written along the first."""
    x = s.permute(normal(7, 9, 11), params=(2, 1, 0))
    kernel = only(s.reduce_sum(x, params=(2,))).kernel
    assert kernel.mode == "columns"
    assert str(kernel).count("p0[i1 + i0 * s0]") + str(kernel).count("p0[i0") == 1


def test_a_buffer_read_across_the_direction_of_the_result_is_walked_in_tiles():
    a, b = normal(40, 50), normal(50, 40)
    assert only(p.add(a, s.permute(b, params=(1, 0)))).kernel.mode == "tiled"
    assert only(p.add(normal(4, 5), s.permute(normal(5, 4), params=(1, 0)))).kernel.mode == "flat"


def test_units_of_work_by_mode():
    assert only(p.exp(X)).units == 6400
    assert only(graphs.softmax(X)).units == 64
    assert only(s.reduce_sum(normal(10, 200), params=(0,))).units == -(-200 // NARROW_TILE)
    large = only(total(normal(700, 1000)))
    assert large.pieces == -(-700_000 // PIECE)
    assert (large.units, large.finish_units) == (large.pieces, 1)
    assert large.scratch == 8 * large.pieces


def test_bytes_read_and_written_are_those_of_the_operands():
    found = only(graphs.layer_norm(X, normal(100, seed=1), normal(100, seed=2)))
    assert (found.bytes_read, found.bytes_written) == (4 * (6400 + 200), 4 * 6400)
    both = only(p.exp(X), s.reduce_sum(X, params=(1,)))
    assert (both.bytes_read, both.bytes_written) == (4 * 6400, 4 * (6400 + 64))


def test_a_kernel_lists_the_operations_that_it_evaluates():
    found = only(graphs.softmax(X))
    assert sorted(found.kernel.operations) == ["div", "exp", "exp", "reduce_max", "sub", "sub", "sum"]
    assert found.kernel.tiles == ""
    assert "kernel rows" in str(found.kernel)


def test_an_operand_that_is_read_at_several_positions_is_one_argument():
    rows = s.slice_(X, params=((0, 0), (1, 1), (63, 100)))
    found = only(p.sub(s.slice_(X, params=((1, 0), (1, 1), (63, 100))), rows))
    assert [node.op.name for node in found.operands] == ["input", "sub"]
    assert sum(a.kind == "pointer" for a in found.kernel.arguments) == 2


def test_expressions_follow_the_kind_of_the_operand():
    f, i, b = normal(3), indices(3, below=3), p.lt(normal(3), normal(3, seed=1))
    assert expression(p.add(f, f), ["a", "b"], "") == "(a + b)"
    assert expression(p.add(i, i), ["a", "b"], "") == "iadd(a, b)"
    assert expression(p.add(b, b), ["a", "b"], "") == "bor(a, b)"
    assert expression(p.cast(i, params=(dtypes.float32,)), ["a"], "") == "f32(a)"
    assert expression(p.bitcast(f, params=(dtypes.int32,)), ["a"], "") == "bitcast_f32_i32(a)"
    assert expression(p.recip(f), ["a"], "") == "(f32(1.0) / a)"


def test_a_long_chain_is_lowered_without_recursion():
    y = X
    for _ in range(100):
        y = p.neg(p.abs(y))
    assert sum(len(x.kernel.operations) for x in lowered(y)) == 200


def test_a_scatter_is_divided_by_what_cannot_meet():
    index = indices(9, below=50)
    columns = s.broadcast_to(s.reshaped(index, (9, 1)), (9, 600))
    along_rows = s.scatter(normal(50, 600), columns, normal(9, 600), params=(0, "add"))
    *_, add = lowered(along_rows)
    assert (add.kernel.mode, add.kernel.serial, add.units) == ("scatter", False, 10)  # tiles of 64 columns
    rows = s.broadcast_to(s.reshaped(index, (1, 9)), (7, 9))
    *_, add = lowered(s.scatter(normal(7, 50), rows, normal(7, 9), params=(1, "add")))
    assert (add.kernel.mode, add.kernel.serial, add.units) == ("scatter", False, 7)


def test_few_long_columns_are_cut_into_pieces_of_a_block_of_rows():
    (few,) = lowered(s.reduce_sum(normal(10_000, 8), params=(0,)))
    assert (few.kernel.mode, few.pieces, few.units, few.finish_units) == ("columns", 3, 3, 1)
    (short,) = lowered(s.reduce_sum(normal(4096, 8), params=(0,)))
    (wide,) = lowered(s.reduce_sum(normal(10_000, 4096), params=(0,)))
    assert short.kernel.pieces == wide.kernel.pieces == ""


def test_tiles_of_columns_are_as_wide_as_leaves_work_for_the_cores():
    def tile(*shape: int) -> tuple[int, int]:
        kernel = only(s.reduce_sum(normal(*shape), params=(0,)))
        return next(a.source for a in kernel.kernel.arguments if a.name == kernel.kernel.width), kernel.units

    assert tile(100, 4096) == (256, 16)
    assert tile(100, 1000) == (128, 8)
    assert tile(100, 300) == (64, 5)
    assert tile(10_000, 1000) == (256, 4 * 3)  # pieces


@pytest.mark.parametrize(("rows", "columns", "inner"), [(40, 2, 40), (5, 3, 3), (40, 8, 8), (4000, 2, 2)])
def test_the_inner_loop_of_a_flat_kernel_is_not_a_short_one(rows, columns, inner):
    """Unless the next is short too, or so long that what it passes would leave the cache."""
    (found,) = lowered(p.neg(s.expanded(s.reshaped(normal(rows), (rows, 1)), (rows, columns))))
    last = found.kernel.groups[0][-1].extent
    assert next(a.source for a in found.kernel.arguments if a.name == last) == inner


def test_the_order_of_a_scatter_is_kept():
    base = graphs.const(normal(50, 2), 0)
    index = s.expanded(s.reshaped(indices(40, below=50), (40, 1)), (40, 2))
    found = lowered(s.scatter(base, index, normal(40, 2), params=(0, "set")))[-1]
    assert [a.source for v in found.kernel.groups[0] for a in found.kernel.arguments if a.name == v.extent] == [40, 2]
