"""Joining, repeating, reordering, reading and writing by index against PyTorch: values, dtypes, gradients, errors."""

import flamework
import pytest
from rows import check, check_error

VALUES = [
    "torch.cat([x, y])", "torch.cat([x, y], 1)", "torch.cat((x, col), -1)", "torch.cat([f, i])", "torch.cat([b, u8])",
    "torch.cat([torch.zeros(0), f])", "torch.cat([x])", "torch.cat([i, i32, u8], dim=1)", "torch.concat([x, y])",
    "torch.cat([empty, x[:, :3]])", "torch.cat([x.detach(), y], 0)", "torch.stack([x, y])", "torch.stack([x, y], -1)",
    "torch.stack([vec, vec], 1)", "torch.stack([scalar, scalar])", "torch.stack([f, i])", "torch.hstack([vec, vec3])",
    "torch.hstack([x, y])", "torch.hstack([scalar, scalar])", "torch.vstack([vec, x])", "torch.vstack([vec, vec])",
    "torch.row_stack([vec, vec])", "torch.dstack([x, y])", "torch.dstack([vec, vec])",
    "torch.column_stack([vec3, x])", "torch.column_stack([vec, vec])", "torch.atleast_1d(scalar)",
    "torch.atleast_2d(vec, x)", "torch.atleast_3d(x)", "torch.atleast_3d([vec, scalar])",
    "torch.tensor_split(vec, 3)", "torch.tensor_split(x, (1, 3), 1)", "torch.tensor_split(x, (2, 1), 1)",
    "torch.tensor_split(x, 5)", "torch.hsplit(x, 2)", "torch.hsplit(vec, [1, 3])", "torch.vsplit(x, 3)",
    "torch.dsplit(cube, 2)", "x.tensor_split(2)", "torch.tile(x, (2,))", "torch.tile(vec, (3, 2))",
    "torch.tile(x, (2, 1, 3))", "x.repeat(2, 3)", "x.repeat(2, 1, 3)", "vec.repeat((2,))", "x.repeat(0, 1)",
    "scalar.repeat(3)", "torch.repeat_interleave(x, 2)", "torch.repeat_interleave(x, 2, 1)",
    "torch.repeat_interleave(x, torch.tensor([1, 0, 2]), 0)", "torch.repeat_interleave(x, torch.tensor([2]), 0)",
    "torch.repeat_interleave(torch.tensor([1, 0, 2]))",
    "torch.repeat_interleave(x, torch.tensor([1, 0, 2]), 0, output_size=3)", "torch.flip(x, (0,))",
    "torch.flip(x, (0, -1))", "x.flip(1)", "x.flip(0, 1)", "torch.fliplr(x)", "torch.flipud(x)",
    "torch.flip(x, ())", *(f"torch.rot90(x, {k})" for k in range(-1, 4)), "torch.rot90(cube, 1, (1, 2))",
    "torch.roll(x, 1)", "torch.roll(x, -1, 0)", "torch.roll(x, (1, 2), (0, 1))", "torch.roll(x, 9, 1)",
    "torch.roll(x, 0)",
    "torch.roll(empty, 1, 0)", *(f"torch.{name}(x, {k})" for name in ("tril", "triu") for k in (-1, 0, 2)),
    "torch.tril(cube)", "torch.triu(i)", "torch.tril(b)", "a = x.clone(); a.tril_(1); result = a", "torch.diag(vec)",
    "torch.diag(vec, 1)", "torch.diag(vec, -2)", "torch.diag(x)", "torch.diag(x, 1)", "torch.diag_embed(x)",
    "torch.diag_embed(x, 1, 0, 2)", "torch.diag_embed(x, -1, -2, 0)", "torch.diagflat(x, 1)", "torch.diag(i[0])",
    "torch.broadcast_tensors(x, vec)", "torch.meshgrid(vec, vec3, indexing='ij')",
    "torch.meshgrid(vec, vec3, indexing='xy')", "torch.cartesian_prod(vec, vec3)", "torch.cartesian_prod(vec)",
    # by index
    "torch.gather(x, 1, cols)", "torch.gather(x, 0, idx)", "x.gather(1, cols[:2])", "torch.gather(vec, 0, few)",
    "torch.gather(x, 1, cols.int())", "torch.gather(x, 0, none_i.reshape(0, 4))",
    "torch.gather(scalar, 0, zero_i * 0)", "torch.take_along_dim(x, torch.argsort(x.detach(), 1), 1)",
    "torch.take_along_dim(x, cols[:1], 1)", "torch.take_along_dim(x, idx)", "torch.take(x, idx)",
    "torch.take(x, few - 3)", "torch.index_select(x, 0, few)", "torch.index_select(x, 1, few)",
    "x.index_select(1, zero_i)", "torch.index_select(cube, -1, few)", "torch.index_select(x, 0, none_i)",
    "torch.index_select(i, 1, few.int())", "torch.scatter(x, 1, cols, y[:, :2])", "torch.scatter(x, 0, idx, y[:2])",
    "torch.scatter(x, 1, cols[:2, :1], y.detach())", "torch.scatter(x, 1, cols, 2.5)",
    "torch.scatter(x, 1, cols, value=2.5)", "torch.scatter(i, 1, cols, 7)",
    "torch.scatter(f, 1, cols, f, reduce='add')", "torch.scatter(f, 1, cols, 2.5, reduce='multiply')",
    "torch.scatter(x, 0, none_i.reshape(0, 4), y.detach())", "torch.scatter_add(x, 1, cols, y[:, :2])",
    "torch.scatter_add(x, 0, idx, y[:2])", "torch.scatter_add(x, 1, cols, y.detach())",
    "torch.scatter_add(i, 0, idx, j)", "torch.scatter_add(cube, 2, cols[None], cube2[:1, :, :2])",
    "torch.scatter_add(vec, 0, few, vec3)",
    "a = x.clone(); a.scatter_(1, cols, y[:, :2]); a.scatter_add_(0, idx, y[:2]); result = a",
    "torch.index_add(x, 0, few, y)", "torch.index_add(x, 1, few, y[:, :3], alpha=0.5)",
    "torch.index_add(i, 0, few, j)", "torch.index_add(scalar, 0, zero_i * 0, scalar)",
    "torch.index_copy(x, 0, torch.tensor([2, 0]), y[:2])", "torch.index_copy(i, 1, few[:2], j[:, :2])",
    "torch.index_fill(x, 0, few, 3.5)", "torch.index_fill(x, 1, few - 3, 3.5)",
    "torch.index_fill(x, 1, few, scalar.detach())",
    "a = x.clone(); a.index_add_(0, few, y); a.index_fill_(1, few, 0); result = a", "torch.masked_fill(x, b, 2.5)",
    "torch.masked_fill(x, b1, 2.5)", "torch.masked_fill(x, b, scalar)", "torch.masked_fill(i, b, 2.5)",
    "x.masked_fill(b[0], 0)", "a = x.clone(); a.masked_fill_(b, 1); result = a", "torch.masked_select(x, b)",
    "torch.masked_select(x, b1)", "torch.masked_select(vec, b)", "torch.masked_scatter(x, b, y)",
    "torch.masked_scatter(x, b1, y)", "torch.nonzero(i)", "torch.nonzero(b, as_tuple=True)", "torch.nonzero(zero_i)",
    "torch.nonzero(empty)", "torch.argwhere(x)", "torch.isin(i, torch.tensor([1, 2]))",
    "torch.isin(i, torch.tensor([1, 2]), invert=True)", "torch.isin(i, 2)",
    "a = x.clone(); a.put_(torch.tensor([0, -1]), vec[:2]); result = a",
    "a = x.clone(); a.put_(torch.tensor([0, 0]), vec[:2], accumulate=True); result = a",
    "torch.put(x, torch.tensor([1, 5]), vec[:2])",
]

ERRORS = [
    "torch.cat([])", "torch.cat([x, mat])", "torch.cat([x, vec])", "torch.cat([scalar, scalar])", "torch.cat([x, 1])",
    "torch.cat(x)", "torch.cat([x, y], 2)", "torch.stack([vec, vec3])", "torch.stack([])", "torch.stack([x, y], 4)",
    "torch.hsplit(x, 3)", "torch.vsplit(vec, 2)", "torch.tensor_split(x, 0)", "x.repeat(2)",
    "torch.roll(x, (1, 2), 0)", "torch.flip(x, (0, 0))", "torch.flip(x, (2,))", "torch.tril(vec)", "torch.diag(cube)",
    "torch.rot90(x, 1, (0, 0))", "torch.repeat_interleave(x, torch.tensor([1, 2]), 0)",
    "torch.repeat_interleave(x, torch.tensor([1.0]), 0)", "torch.repeat_interleave(x, -1)",
    "torch.meshgrid(x, x, indexing='ij')", "torch.gather(x, 1, torch.tensor([[4], [0], [0]]))",
    "torch.gather(x, 1, torch.tensor([[-1], [0], [0]]))", "torch.gather(x, 1, few)",
    "torch.gather(x, 0, cols.t().repeat(1, 3))", "torch.gather(x, 1, f)", "torch.take(x, labels * 30)",
    "torch.index_select(x, 0, labels)", "torch.index_select(x, 0, ignored)", "torch.index_select(x, 0, cols)",
    "torch.scatter(x, 1, cols, y[:, :1])", "torch.scatter(x, 1, torch.tensor([[4]]), y)",
    "torch.scatter(x, 1, cols, i)", "torch.scatter_add(x, 1, cols, f)", "torch.index_add(x, 0, labels, y)",
    "torch.index_add(x, 0, few, y[:2])", "torch.index_copy(x, 0, labels, y)", "torch.masked_fill(x, i, 1)",
    "torch.masked_fill(x, b, vec)", "torch.masked_select(x, i)",
    "torch.masked_select(x, torch.tensor([True]).repeat(3))", "torch.masked_scatter(x, b, vec[:1])",
    "torch.scatter(f, 1, cols, f, reduce='max')",
]
SAME_TEXT = [
    "torch.cat([])", "torch.cat([x, mat])", "torch.cat([x, vec])", "torch.stack([vec, vec3])", "x.repeat(2)",
    "torch.gather(x, 1, torch.tensor([[4], [0], [0]]))", "torch.gather(x, 1, few)",
    "torch.index_select(x, 0, labels)", "torch.flip(x, (0, 0))", "torch.masked_select(x, i)",
    "torch.scatter(x, 1, cols, y[:, :1])", "torch.index_add(x, 0, labels, y)",
]


@pytest.mark.parametrize("expression", VALUES)
def test_joining_or_indexing_function_equals_torch(expression):
    check(expression)


@pytest.mark.parametrize("expression", ERRORS)
def test_joining_or_indexing_function_refuses_what_torch_refuses(expression):
    check_error(expression)


@pytest.mark.parametrize("expression", SAME_TEXT)
def test_joining_or_indexing_error_says_what_torch_says(expression):
    check_error(expression, text=True)


@pytest.mark.parametrize("index", [[0, 7], [-1, 0]])
def test_index_that_is_still_pending_is_checked_where_it_is_used(index):
    pending = flamework.tensor(index) + flamework.tensor([0, 0])
    picked = flamework.gather(flamework.ones(5), 0, pending)
    with pytest.raises(IndexError):
        picked.tolist()
