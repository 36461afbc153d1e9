"""Products of vectors, matrices and batches against PyTorch: values, dtypes, gradients, errors."""

import pytest
from rows import check, check_error

EINSUMS = [
    ("ij,jk->ik", "x, mat"), ("ij,jk", "x, mat"), ("ij->ji", "x"), ("ij->", "x"), ("ij->j", "x"), ("ij,ij->", "x, y"),
    ("i,j->ij", "vec3, vec"), ("bij,bjk->bik", "cube, batch"), ("bij,jk->bik", "cube, mat"),
    ("...ij,jk->...ik", "cube, mat"),
    ("...i,...i->...", "cube, vec"), ("ii->i", "x @ x.t()"), ("ii", "x @ x.t()"), ("ij,kj,lj->ikl", "x, y, x"),
    ("bij,bkj->bik", "cube, cube2"), ("ij, jk -> ki", "x, mat"), ("b...,b...->...", "cube, cube2"),
    ("i,i->i", "vec, vec"),
    ("ij,j->i", "x, vec"), ("abc,cd,ab->d", "cube, mat, cube[:, :, 0]"), ("...", "x"), ("ij,ij->ij", "x, y"),
    ("ij,ik->jk", "col, x"), ("ab,ab->b", "col, x"),
]

VALUES = [
    # matmul in every pair of ranks
    *(f"torch.matmul({a}, {b})" for a, b in (
        ("vec", "vec"), ("vec", "mat"), ("x", "vec"), ("x", "mat"), ("vec", "batch"), ("cube", "vec"), ("x", "batch"),
        ("cube", "mat"), ("cube", "batch"), ("deep", "batch"), ("deep", "mat"), ("vec", "batch.unsqueeze(1)"),
        ("deep", "vec"), ("cube", "deep.transpose(-1, -2)"), ("i", "i32.long().t()"), ("i[0]", "j[1]"), ("i", "j[0]"),
        ("f", "f.t()"), ("x[:0]", "mat"), ("x[:, :0]", "mat[:0]"), ("cube[:0]", "mat"), ("x.t()", "y"),
        ("i.reshape(1, 3, 4)", "j.t().reshape(1, 4, 3)"),
    )),
    "x @ mat", "cube @ batch", "x.matmul(vec)", "torch.mm(x, mat)", "torch.mm(i, j.t())", "torch.bmm(cube, batch)",
    "torch.mv(x, vec)", "torch.dot(vec, vec)", "torch.dot(i[0], j[0])", "torch.vdot(vec, vec)",
    "torch.inner(vec, vec)", "torch.inner(x, y)", "torch.inner(cube, y)", "torch.inner(x, scalar)",
    "torch.outer(vec3, vec)", "torch.ger(vec, vec3)", "torch.outer(i[0], j[0])",
    "torch.addmm(vec3 @ x @ mat, x, mat)", "torch.addmm(torch.ones(5), f, f.t() @ torch.ones(3, 5))",
    "torch.addmm(scalar, x, mat, beta=0.5, alpha=2)", "torch.addmm(torch.full((3, 5), nan).double(), x, mat, beta=0)",
    "torch.addmm(i @ j.t(), i, j.t(), alpha=2)", "torch.addmv(vec3, x, vec, beta=2)", "torch.addmv(scalar, x, vec)",
    "torch.addr(x, vec3, vec, alpha=0.5)", "torch.baddbmm(cube @ batch, cube, batch, beta=0.1, alpha=0.2)",
    "torch.baddbmm(scalar, cube, batch)", "torch.addbmm(x @ mat, cube, batch)",
    "torch.addbmm(scalar, cube, batch, alpha=2)", "torch.chain_matmul(x, mat, mat.t(), y.t())",
    "torch.tensordot(x, mat, 1)", "torch.tensordot(x, y, 2)", "torch.tensordot(cube, batch, ([0, 2], [0, 1]))",
    "torch.tensordot(x, y, 0)", "torch.trace(x)", "torch.trace(i)", "torch.cross(x[:, :3], y[:, :3], dim=1)",
    "torch.cross(x, y, dim=0)", "torch.kron(x, vec)", "torch.kron(i, j)", "torch.kron(x, y)",
    "a = x.clone(); a.addmm_(x, y.t() @ x, beta=0.5); result = a",
    "a = torch.empty(0); torch.matmul(f, f.t(), out=a); result = a",
    *(f"torch.einsum('{equation}', {tensors})" for equation, tensors in EINSUMS),
    "torch.einsum('ij,jk->ik', [x, mat])",
]

ERRORS = [
    "torch.matmul(vec, vec3)", "torch.matmul(x, y)", "torch.matmul(scalar, vec)", "torch.matmul(x, f1)",
    "torch.mm(x, vec)", "torch.mm(x, y)", "torch.bmm(x, y)", "torch.bmm(cube, cube)", "torch.mv(x, vec3)",
    "torch.mv(vec, x)", "torch.dot(vec, vec3)", "torch.dot(x, y)", "torch.matmul(cube, deep[0])",
    "torch.matmul(b, b.t())", "torch.outer(x, vec)", "torch.einsum('ij,jk', x, y)",
    "torch.einsum('ij,jk->ii', x, mat)", "torch.einsum('ij', vec)", "torch.einsum('ij->k', x)",
    "torch.einsum('ij,ij', x)", "torch.einsum('i1', x)", "torch.tensordot(x, y, 1)", "torch.addmm(vec, x, mat)",
    "torch.inner(x, mat)", "torch.trace(vec)", "torch.cross(x, y, dim=1)", "torch.mm(x, i)", "torch.matmul(1, x)",
]
SAME_TEXT = [
    "torch.matmul(vec, vec3)", "torch.matmul(x, y)", "torch.matmul(scalar, vec)", "torch.mm(x, y)", "torch.bmm(x, y)",
    "torch.bmm(cube, cube)", "torch.mv(x, vec3)", "torch.dot(vec, vec3)", "torch.einsum('ij,jk', x, y)",
    "torch.einsum('ij,jk->ii', x, mat)", "torch.matmul(x, vec3)", "torch.matmul(cube, x)",
]


@pytest.mark.parametrize("expression", VALUES)
def test_product_equals_torch(expression):
    check(expression)


@pytest.mark.parametrize("expression", ERRORS)
def test_product_refuses_what_torch_refuses(expression):
    check_error(expression)


@pytest.mark.parametrize("expression", SAME_TEXT)
def test_product_error_says_what_torch_says(expression):
    check_error(expression, text=True)
