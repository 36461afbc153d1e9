"""Reductions, scans, softmax and order statistics against PyTorch: values, dtypes, gradients, errors."""

import flamework
import numpy as np
import pytest
from flamework import formulas
from rows import check, check_error
from same_as_torch import assert_same

DIMS = ["", ", 0", ", -1", ", 1, True", ", (0, 1)", ", dim=(1,), keepdim=True"]

VALUES = [
    *(f"torch.{name}({t}{dim})" for name in ("sum", "nansum") for t in ("x", "i", "f", "b") for dim in DIMS),
    *(f"torch.{name}(x{dim})" for name in ("mean", "amax", "amin", "var", "std", "nanmean") for dim in DIMS),
    *(f"torch.{name}(x, dim={dim})" for name in ("var_mean", "std_mean") for dim in ("None", "0", "(0, 1)")),
    *(f"torch.{name}({t}{dim})" for name in ("prod",) for t in ("x", "i", "b", "ties") for dim in DIMS[:4]),
    *(f"torch.{name}({t}{dim})" for name in ("any", "all") for t in ("i", "b", "u8", "x") for dim in DIMS),
    *(f"torch.{name}({t}{dim})" for name in ("max", "min") for t in ("x", "i", "f", "b", "ties") for dim in DIMS[:4]),
    *(f"torch.{name}({t}{dim})" for name in ("argmax", "argmin") for t in ("x", "i", "ties", "nan2")
      for dim in DIMS[:4]),
    *(f"torch.{name}({t})" for name in ("amax", "amin", "max", "min", "logsumexp") for t in ("nan2, 1",)),
    *(f"torch.{name}(scalar)" for name in ("sum", "mean", "prod", "amax", "max", "argmax", "norm", "any", "all")),
    *(f"torch.{name}(scalar, 0)" for name in ("sum", "mean", "prod", "amax", "max", "argmax", "cumsum", "softmax",
                                              "log_softmax", "logsumexp", "cumprod", "cummax", "any", "all")),
    *(f"torch.{name}(empty)" for name in ("sum", "mean", "prod", "any", "all", "nansum", "norm", "count_nonzero")),
    *(f"torch.{name}(empty, {dim})" for name in ("sum", "mean", "prod", "any", "all", "logsumexp", "nansum",
                                                 "softmax", "cumsum") for dim in (0, 1)),
    *(f"torch.{name}(hollow, 1)" for name in ("sum", "all", "any", "var", "std")),
    *(f"x.{name}()" for name in ("sum", "mean", "max", "min", "std", "var", "prod", "norm", "any", "argmax")),
    "torch.sum(x, ())", "torch.sum(i, dtype=torch.float32)", "torch.sum(x, 1, dtype=torch.float32)", "torch.sum(u8)",
    "torch.mean(i, dtype=torch.float64)", "torch.prod(i, dtype=torch.int32)",
    "torch.sum(cube, (0, -1), keepdim=True)", "torch.mean(cube, (0, 2))", "torch.amax(ties)", "torch.amax(ties, 1)",
    "torch.amin(ties, 0)", "torch.max(ties)", "torch.amax(x, ())", "torch.amax(i, 1)", "torch.aminmax(x)",
    "torch.aminmax(x, dim=1, keepdim=True)", "torch.max(x, y)", "torch.min(i, j)", "torch.max(ties, 1).values",
    "torch.max(x, 1).indices", "torch.max(x, other=y)", "torch.argmax(ties, keepdim=True)", "torch.argmin(cube, -1)",
    "torch.any(i, ())", "torch.all(x, ())", "torch.var(x, False)", "torch.var(x, 1, False)",
    "torch.var(x, 1, True, True)", "torch.std(x, 0, unbiased=False)", "torch.std(x, dim=1, correction=0)",
    "torch.var(x, correction=2)", "torch.std(ties, 1)", "torch.var(scalar)",
    "torch.std(torch.ones(4, dtype=torch.float64) * scalar)", "torch.var(f, 1)", "torch.std(cube, (0, 2))",
    "torch.count_nonzero(i)", "torch.count_nonzero(x, 1)", "torch.count_nonzero(b, (0, 1))", "torch.nansum(nan2, 1)",
    "torch.nanmean(nan2.detach(), 1)", "torch.nanmean(nan2)", "torch.nansum(wild)",
    *(f"torch.norm({args})" for args in (
        "x", "x, 1", "x, 3", "x, inf", "x, -inf", "x, 0", "x, 2, 1", "x, 'fro', 0", "x, 2.5, (0, 1), True",
        "ties, 2, 1", "ties, 3, 1", "ties, inf, 1", "x, p=1, dim=0", "cube, dim=(0, 2)", "f, 1.5",
        "f, dtype=torch.float64", "x, -1",
    )),
    "x.norm(1, 0, True)", "torch.dist(x, y)", "torch.dist(x, vec, 1)", "torch.dist(ties, ties.detach())",
    "torch.logsumexp(x, 1)", "torch.logsumexp(x, (0, 1))", "torch.logsumexp(x * 1000, 1, True)",
    "torch.logsumexp(i, 0)", "torch.logsumexp(wild.detach(), 0)", "torch.logsumexp(torch.full((3,), -inf), 0)",
    "torch.logsumexp(f, 0)",
    # NumPy's names for dim and keepdim
    "torch.sum(x, axis=1, keepdims=True)", "x.mean(axis=0)", "x.max(axis=1, keepdims=True)",
    "torch.softmax(x, axis=1)", "torch.sort(x, axis=0)", "torch.argmax(x, axis=1)", "torch.cumsum(x, axis=0)",
    "torch.cat([x, y], axis=1)",
    # scans
    *(f"torch.{name}({t}, {dim})" for name in ("cumsum", "cumprod") for t in ("x", "i", "b", "ties")
      for dim in (0, -1)),
    *(f"torch.{name}({t}, {dim})" for name in ("cummax", "cummin") for t in ("x", "i", "ties", "nan2", "b")
      for dim in (0, 1)),
    "torch.cumsum(i, 0, dtype=torch.float64)", "torch.cumprod(cube, 1)", "torch.cumsum(empty, 0)",
    "torch.cumprod(empty, 0)", "torch.logcumsumexp(x, 1)", "torch.logcumsumexp(x * 1000, 0)", "torch.cummax(seq, 2)",
    "torch.cumprod(seq, 2)", "torch.diff(x)", "torch.diff(x, 2, 0)", "torch.diff(i, prepend=j)", "torch.diff(b)",
    "torch.diff(x, append=y)", "torch.diff(x, 9)", "a = i.clone(); a.cumsum_(1); result = a",
    # softmax
    *(f"torch.{name}({args})" for name in ("softmax", "log_softmax") for args in (
        "x, 0", "x, -1", "cube, 1", "f, 1", "i, 1, dtype=torch.float64", "x * 1000, 1", "f, 1, torch.float64",
        "torch.tensor([[-inf, 0.0], [-inf, -inf]]), 1",
    )),
    "x.softmax(1)", "x.log_softmax(dim=0)",
    # order
    "torch.sort(x)", "torch.sort(x, 0, True)", "torch.sort(i, descending=True, stable=True)", "torch.sort(nan2)",
    "torch.sort(scalar)", "torch.argsort(x, 0)", "torch.msort(x)", "torch.topk(x, 2)", "torch.topk(x, 2, 0, False)",
    "torch.topk(x, 0)", "torch.kthvalue(x, 2)", "torch.kthvalue(x, 1, 0, True)", "torch.median(x)",
    "torch.median(x, 1)", "torch.median(i, 0)", "torch.median(x, 0, True)", "torch.median(nan2)",
    "torch.median(nan2, 1).values", "torch.median(torch.tensor([1.0, 2.0, 2.0, 3.0], dtype=torch.float64) * scalar)",
    "torch.median(torch.tensor([]))", "torch.nanmedian(nan2)", "torch.nanmedian(nan2, 1)", "torch.nanmedian(i)",
    "torch.mode(i, 1).values", "torch.mode(i)",
    "torch.mode(i, 0)", "torch.mode(x)", *(f"torch.quantile(x, 0.3, interpolation='{m}')" for m in (
        "linear", "lower", "higher", "midpoint", "nearest")),
    "torch.quantile(x, torch.tensor([0.1, 0.9], dtype=torch.float64), 1)", "torch.quantile(x, 0.5, 0, True)",
    "torch.quantile(x, torch.tensor([0.1, 0.9], dtype=torch.float64), keepdim=True)", "torch.quantile(nan2, 0.5, 1)",
    "torch.nanquantile(nan2, 0.4, 1)", "torch.nanquantile(nan2, 0.4)", "torch.unique(i)",
    "torch.unique(i, return_inverse=True, return_counts=True)", "torch.unique(i, dim=0)", "torch.unique(b)",
    "torch.unique_consecutive(torch.tensor([1, 1, 2, 1]), return_inverse=True, return_counts=True)",
    "torch.unique_consecutive(i, dim=1)",
    "torch.searchsorted(torch.tensor([1.0, 2.0, 3.0]), torch.tensor([[0.5, 2.0]]))",
    "torch.searchsorted(torch.tensor([1, 2, 3]), torch.tensor([2, 9]), right=True, out_int32=True)",
    "torch.searchsorted(torch.sort(i).values, j)", "torch.searchsorted(torch.tensor([1, 2]), 2)",
    "torch.bucketize(x.detach(), torch.tensor([-1.0, 0.0, 1.0]))", "torch.bincount(j.flatten())",
    "torch.bincount(labels, torch.tensor([0.5, 1.5, 2.5]), 6)", "torch.histc(f, 5, -2, 2)", "torch.histc(f, 4)",
    # out=
    "a = torch.zeros(3); torch.sum(f, 1, out=a); result = a",
    "a = (torch.zeros(3), torch.zeros(3, dtype=torch.int64)); torch.max(f, 1, out=a); result = a",
]

ERRORS = [
    "torch.sum(x, 2)", "torch.sum(x, (0, 0))", "torch.mean(i)", "torch.var(i)", "torch.amax(empty, 0)",
    "torch.max(empty, 0)", "torch.max(empty)", "torch.argmax(empty)", "torch.argmax(empty, 0)", "torch.softmax(i, 0)",
    "torch.log_softmax(x, 2)", "torch.norm(i)", "torch.norm(x, 'x')", "torch.nanmean(i)", "torch.topk(x, 9)",
    "torch.kthvalue(x, 9)", "torch.median(empty, 0)", "torch.max(x, 5)", "torch.cumsum(x, 3)",
    "torch.var(x, 1, unbiased=True, correction=0)", "torch.quantile(x, 1.5)", "torch.quantile(i, 0.5)",
    "torch.quantile(x, 0.5, interpolation='x')", "torch.bincount(i.flatten())", "torch.bincount(f1)",
    "torch.logcumsumexp(i, 0)", "torch.sum(x, dim=0, axis=0)", "torch.diff(scalar)", "torch.amin(x, (0, 0))",
    "torch.norm(x, dtype=torch.float32)", "torch.searchsorted(i, j, side='x')",
]
SAME_TEXT = [
    "torch.sum(x, 2)", "torch.sum(x, (0, 0))", "torch.mean(i)", "torch.var(i)", "torch.amax(empty, 0)",
    "torch.max(empty, 0)", "torch.max(empty)", "torch.argmax(empty)", "torch.topk(x, 9)",
]


@pytest.mark.parametrize("expression", VALUES)
def test_reduction_equals_torch(expression):
    check(expression)


@pytest.mark.parametrize("expression", ERRORS)
def test_reduction_refuses_what_torch_refuses(expression):
    check_error(expression)


@pytest.mark.parametrize("expression", SAME_TEXT)
def test_reduction_error_says_what_torch_says(expression):
    check_error(expression, text=True)


def test_variance_without_degrees_of_freedom_warns():
    import flamework

    with pytest.warns(UserWarning, match="degrees of freedom"):
        flamework.var(flamework.ones(1))


def test_maximum_with_index_sends_the_gradient_to_the_first_of_equal_elements():
    import flamework

    x = flamework.tensor([[2.0, 5.0, 5.0]], requires_grad=True)
    flamework.max(x, 1).values.sum().backward()
    assert x.grad.tolist() == [[0.0, 1.0, 0.0]]


LONG_VECTORS = {
    "ties": lambda x, at: np.put(x, at, 9),
    "NaN": lambda x, at: np.put(x, at, np.nan),
    "NaN after infinity": lambda x, at: np.put(x, sorted(at), [np.inf, np.nan]),
    "all alike": lambda x, at: x.fill(-np.inf),
    "zeros of both signs": lambda x, at: (x.fill(-0.0), np.put(x, at, 0.0)),
}


@pytest.mark.parametrize("name", LONG_VECTORS)
def test_position_in_a_long_vector_is_that_of_its_first_extremum(monkeypatch, name):
    import flamework

    monkeypatch.setattr(formulas, "BLOCK", 8)
    monkeypatch.setattr(formulas, "LONG", 16)
    rng = np.random.default_rng(0)
    for length in (15, 16, 17, 24, 25, 31, 130):
        for first in range(0, length, 3):
            x = rng.standard_normal(length).astype("f")
            LONG_VECTORS[name](x, [first, int(rng.integers(first, length))])
            largest, smallest = flamework.argmax(flamework.tensor(x)), flamework.argmin(-flamework.tensor(x) * 2)
            assert (largest.dtype, largest.shape) == (flamework.int64, ())
            assert largest.item() == smallest.item() == np.argmax(x)


@pytest.mark.parametrize("dtype", ["uint8", "int32", "int64", "float64"])
def test_position_in_a_long_vector_of_any_dtype(monkeypatch, dtype):
    import flamework

    monkeypatch.setattr(formulas, "BLOCK", 8)
    monkeypatch.setattr(formulas, "LONG", 16)
    x = np.random.default_rng(0).integers(0, 100, (9, 11)).astype(dtype)
    assert flamework.argmax(flamework.tensor(x)).item() == x.argmax()
    assert flamework.argmin(flamework.tensor(x), keepdim=True).tolist() == [[x.argmin()]]
    flat = flamework.max(flamework.tensor(x.ravel()), 0)
    assert (flat.values.item(), flat.indices.item()) == (x.max(), x.argmax())


def test_position_in_a_vector_of_millions_and_its_gradient():
    import flamework

    x = np.random.default_rng(0).standard_normal(formulas.LONG + 5).astype("f")
    for at in (0, formulas.BLOCK, x.size - 1, x.size - formulas.BLOCK - 1):
        x[at] = 10
        leaf = flamework.tensor(x, requires_grad=True)
        found = flamework.compile(lambda x: flamework.max(x, 0))(leaf)
        found.values.backward()
        assert found.indices.item() == at
        assert leaf.grad.nonzero().tolist() == [[at]]
        x[at] = 0


COLUMNS = [((70, 4099), 0), ((1, 4096), 0), ((65, 17, 241), 0), ((5, 130, 1000), 1), ((2, 1, 5000), 1)]


@pytest.mark.parametrize("shape, dim", COLUMNS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_variance_down_many_columns(shape, dim, dtype):
    array = np.random.default_rng(0).standard_normal(shape).astype(dtype) + 100
    array[..., 3] = np.nan
    array[..., 5] = np.inf
    variance, mean = flamework.var_mean(flamework.from_numpy(array), dim, correction=0)
    exact = array.astype(np.float64)
    with np.errstate(invalid="ignore"):
        np.testing.assert_allclose(mean.numpy(), exact.mean(dim), rtol=1e-6)
        np.testing.assert_allclose(variance.numpy(), exact.var(dim), rtol=1e-4, atol=1e-9)


@pytest.mark.parametrize("name", ["max", "min"])
@pytest.mark.parametrize("first", [0, 255, 256, 999, 4096, None])
@pytest.mark.parametrize("shape", [(5000,), (3, 5000), (5000, 3)])
def test_extremum_of_long_vectors_of_bools(name, first, shape):
    """The place of the first element that differs from the others, beyond what a byte or a lane can count."""
    axis = shape.index(5000)

    def script(torch):
        place = torch.arange(5000).reshape([5000 if a == axis else 1 for a in range(len(shape))]).expand(shape)
        x = (place == -1) if first is None else (place >= first)
        return list(getattr(x if name == "max" else ~x, name)(axis))

    assert_same(script)


def test_product_of_bools_is_whether_all_are_true():
    rows = flamework.tensor([[True, True, True], [True, False, True]])
    assert rows.prod(1, dtype=flamework.bool).tolist() == [True, False]
    assert flamework.ones(100_000, dtype=flamework.bool).prod(dtype=flamework.bool).item() is True
