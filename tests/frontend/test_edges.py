"""The edges: no axes, no elements, NaN, signed zeros, pairs of dtypes, and arguments as older programs give them."""

import warnings

import flamework
import numpy as np
import pytest
from rows import check, check_error
from same_as_torch import assert_same

ROWS = """
    torch.asinh(torch.tensor([-0.0, 0.0])).signbit()
    torch.prod(f, 0, dtype=torch.bool)
    torch.sum(f, 0, dtype=torch.bool)
    torch.prod(b, dtype=torch.bool)
    torch.xlogy(torch.tensor([-0.0, 0.0, 0.0]), torch.tensor([5.0, -1.0, nan]))
    torch.special.xlog1py(torch.tensor([-0.0, 0.0, 0.0]), torch.tensor([5.0, -2.0, nan]))
    torch.float_power(torch.tensor([-inf, 4.0]), 0.5)
    torch.float_power(i32, 2)
    torch.cdist(nan2, nan2, 0)
    torch.pdist(nan2, 0)
    torch.inner(torch.tensor(2), f)
    torch.linalg.vecdot(scalar, scalar)
    torch.movedim(scalar, -1, 0)
    torch.adjoint(scalar)
    F.pairwise_distance(scalar, torch.tensor(2.0, dtype=torch.float64))
    F.cosine_similarity(scalar, scalar, 0)
    F.triplet_margin_loss(scalar, scalar + 1, scalar + 3)
    F.l1_loss(f, torch.tensor(1.0, dtype=torch.float64))
    F.mse_loss(f, torch.tensor(1.0, dtype=torch.float64))
    str(F.cosine_similarity(f, torch.tensor(1.0, dtype=torch.float64)).dtype)
    F.silu(torch.complex(f, f)).imag
    torch.fmod(torch.zeros(0, dtype=torch.int32), 0)
    torch.zeros(0, dtype=torch.int32) // 0
    torch.trapezoid(torch.zeros(0))
    torch.cumulative_trapezoid(torch.zeros(0), torch.zeros(0))
    F.scaled_dot_product_attention(torch.zeros(3, 0), torch.zeros(3, 0), torch.zeros(3, 0))
    torch.histc(torch.arange(60).float() * 0.1, 59)
    torch.linalg.vander(u8[0])
    torch.tensor([torch.tensor(0.1, dtype=torch.float64), torch.tensor(2)])
    torch.tensor([[torch.tensor(1, dtype=torch.int32)], [torch.tensor(2, dtype=torch.int32)]])
    torch.tensor([1.5, torch.tensor(2)])
    torch.as_tensor([torch.tensor(1.0, dtype=torch.float16), True])
    torch.topk(vec, torch.tensor(2))
    torch.diagflat(vec, torch.tensor(1))
    torch.diag(x, diagonal=torch.tensor(1))
    torch.split(vec, torch.tensor(1))
    torch.fft.fft(f1, torch.tensor(2))
    F.pad(vec, (torch.tensor(1), 1))
    F.one_hot(torch.tensor([1]), torch.tensor(3))
    torch.bartlett_window(torch.tensor(3))
    torch.linalg.norm(f, dtype=float)
    torch.zeros(1, 2, 1).squeeze(0, 2)
    torch.rsub(x, 2, 3)
    torch.add(x, 2, y)
    torch.sub(x, 2, y)
    torch.add(f, 1, 2)
    torch.addcmul(x, 0.5, y, pos)
    torch.addmm(2, torch.eye(3), 3, torch.eye(3), torch.ones(3, 3))
    torch.eye(3).addmm(2, 3, torch.eye(3), torch.ones(3, 3))
    torch.addmv(2, vec3, torch.eye(3).double(), vec3)
    f.clone().add_(-2, f).sub_(3, f)
    f.clone().addcdiv_(-2, f, f + 1).addcmul_(0.5, f, f)
"""
ERRORS = """
    torch.add(x, 1, 2, 3)
    torch.zeros(1, 3).expand(-2, 3)
    torch.tensordot(scalar, scalar)
    torch.topk(x, x)
    torch.cumsum(x, 0, dtype=torch.bool)
    torch.linalg.vecdot(vec, 1)
    torch.linalg.vander(vec, 3)
    torch.linalg.vander(b1)
    torch.linalg.norm(x, x)
    torch.linalg.matrix_norm(f.half(), 2)
    torch.linalg.qr([x])
    torch.fft.fft(x, x)
    torch.special.softmax(x, 0, x)
    torch.special.multigammaln(b, 2)
    F.multilabel_soft_margin_loss(scalar, scalar)
    x.squeeze(x)
    torch.amax(empty)
    torch.amax(empty, 0)
    torch.aminmax(empty)
"""


def listed(table):
    return [row.strip() for row in table.strip().splitlines()]


@pytest.mark.parametrize("row", listed(ROWS))
def test_edges_are_those_of_torch(row):
    check(row)


@pytest.mark.parametrize("row", listed(ERRORS))
def test_errors_at_the_edges_are_those_of_torch(row):
    check_error(row)


def test_the_older_order_of_factors_is_warned_about():
    x = flamework.ones(2)
    for call in (lambda: x.add(2, x), lambda: x.clone().add_(2, x), lambda: x.addcmul(2, x, x)):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            call()
        assert [w.category for w in caught] == [UserWarning]


def test_a_tensor_is_no_part_of_a_graph_as_a_size():
    """It would be a key by identity; and a size of memory, so that the allocator's counters would be tensors."""
    with pytest.raises(TypeError):
        flamework.zeros(flamework.tensor(2.5))
    made = flamework.zeros(flamework.tensor(2), 3)
    assert [type(extent) for extent in made.shape] == [int, int]
    assert np.array_equal(made.numpy(), np.zeros((2, 3)))


# Programs that PyTorch answers in a way of its own at the edge of what a function takes.
@pytest.mark.parametrize("call", [
    *[f"F.{pool}(-torch.arange(1, 6, dtype=torch.{dtype}).reshape(1, 1, 5), 2, 1)"
      for pool in ("max_pool1d", "avg_pool1d") for dtype in ("int64", "int32", "bool", "complex64", "float32")],
    "F.max_pool1d(torch.arange(5).reshape(1, 1, 5), 2, return_indices=True)",
    "F.avg_pool1d(-torch.arange(5).reshape(1, 1, 5), 2, 1, 1)",
    "F.avg_pool2d(-torch.arange(25).reshape(1, 1, 5, 5), 2, 2, 1, divisor_override=-3)",
    "F.avg_pool2d(-torch.arange(25).reshape(1, 1, 5, 5), 2, 2, 1, True, False)",
    "F.avg_pool3d(-torch.arange(64).reshape(1, 1, 4, 4, 4), 2)",
    *[f"torch.zeros(0, dtype=torch.{dtype}).{median}()"
      for median in ("median", "nanmedian") for dtype in ("int8", "uint8", "int16", "int32", "int64", "float32")],
    "F.cross_entropy(torch.ones(2, 0), torch.ones(2, 0))", "F.cross_entropy(torch.ones(0, 0), torch.ones(0, 0))",
    "F.cross_entropy(torch.ones(2, 0), torch.ones(2, 0), label_smoothing=0.1)",
    "F.cross_entropy(torch.ones(2, 0), torch.ones(2, 0), reduction='sum')",
    "F.cross_entropy(torch.ones(0, 3), torch.zeros(0, dtype=torch.int64))",
    *[f"F.multi_margin_loss(torch.ones(2, 3), torch.tensor({labels}))"
      for labels in ("[0, 3]", "[-1, 0]", "[-100, 0]", "[1, 0, 2]", "[[1], [0]]", "[0, 2]")],
    "F.multi_margin_loss(torch.ones(3), torch.tensor(5))", "F.multi_margin_loss(torch.ones(3), torch.tensor([1]))",
    "F.multilabel_margin_loss(torch.ones(2, 3), torch.tensor([[0, 3, 0], [0, 1, 2]]))",
    *[f"torch.zeros(0, 3, dtype=torch.{dtype}).{name}({dim})"
      for name in ("softmax", "log_softmax") for dtype in ("int64", "bool", "complex64", "float32") for dim in (0, 1)],
    *[f"m.take_along_dim({index}, {dim})" for dim in (1, 0, None) for index in (
        "torch.tensor([[-1, 0, 1]])", "torch.tensor([[3, -3, -4, 5, 100, -100]])",
    )],
    "m.take_along_dim(torch.arange(2)[None] - 1, 1)",
    "m[:0].take_along_dim(torch.tensor([[1]]), 0)",
    *[f"m.index_select({dim}, torch.tensor([{index}]))" for dim in (0, 1) for index in (3, -1)],
    "m[0].index_select(0, torch.tensor([3]))", "F.embedding_bag(torch.tensor([[5]]), m)",
    "F.embedding_bag(torch.tensor([[0]]), 1)", "F.embedding_bag([0], m)", "F.embedding_bag(torch.tensor([0]), m, 1)",
    "F.affine_grid(1, (1, 1, 2, 2))", "F.affine_grid(m[None], 1)", "F.affine_grid(m[None], 'ab')",
    "F.affine_grid(m[None], (1, 1, 2, 2))", "F.affine_grid(m[None], (1, 1, 2))",
    "torch.linspace(0, 1j, 3)", "torch.linspace(1 + 1j, 2, 5)", "torch.linspace(0, 1j, 1)", "torch.linspace(0, 1j, 0)",
    "torch.linspace(0, 1j, 5, dtype=torch.complex128)", "torch.linspace(torch.tensor(1j), 2, 3)",
    "torch.logspace(0, 1j, 3)", "torch.logspace(0, 1j, 3, base=2)", "torch.logspace(0, 1, 3, dtype=torch.complex64)",
    "torch.searchsorted(torch.tensor([1.0, 2.0]), self=1.5)", "torch.bucketize(self=1.5, boundaries=torch.ones(2))",
    "torch.cholesky_solve(torch.ones(2, 1), input2=torch.eye(2))",
    "torch.ones(2, 1).cholesky_solve(input2=torch.eye(2))", "torch.orgqr(torch.eye(2), input2=torch.ones(2))",
    "torch.ormqr(torch.eye(2), input2=torch.ones(2), input3=torch.eye(2))",
    "torch.eye(2).orgqr(input2=torch.ones(2))", "torch.eye(2).ormqr(input2=torch.ones(2), input3=torch.eye(2))",
    *[f"(torch.manual_seed(0), torch.zeros({size}, dtype=torch.{dtype}).{draw})[1]"
      for size in (3, 20) for dtype in ("complex64", "complex128")
      for draw in ("normal_()", "normal_(1, 2)", "uniform_()", "uniform_(1, 3)", "normal_(1j)")],
    "(torch.manual_seed(0), torch.normal(torch.full((5,), 1 + 2j), 2.0))[1]",
    "(torch.manual_seed(0), torch.normal(torch.full((20,), 1 + 2j), torch.arange(20.0)))[1]",
])
def test_edges_of_what_functions_take(call):
    def script(torch):
        try:
            return eval(call, {"torch": torch, "F": torch.nn.functional, "m": torch.arange(6.0).reshape(2, 3)})
        except NotImplementedError:
            # of which ours is a class of its own
            return "not implemented"

    assert_same(script, messages=False)


@pytest.mark.parametrize("loss", ["hinge_embedding_loss", "huber_loss", "soft_margin_loss", "smooth_l1_loss"])
@pytest.mark.parametrize("reduction", ["mean", "none"])
def test_dtypes_of_losses_of_two_dtypes(loss, reduction):
    def script(torch):
        numbers = [
            torch.tensor(value, dtype=dtype) for value in (2, [2], [1, -1])
            for dtype in (torch.float32, torch.float64, torch.float16, torch.int64)
        ]

        def each(a, b):
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    return getattr(torch.nn.functional, loss)(a, b, reduction=reduction)
            except Exception as error:
                return isinstance(error, NotImplementedError), isinstance(error, RuntimeError)

        return [each(a, b) for a in numbers for b in numbers]

    assert_same(script, rtol=1e-3)
