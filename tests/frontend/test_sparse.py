"""Sparse tensors next to PyTorch: how they print, what may be done with them, and what is refused.

A row is an expression, or statements and an expression, over a few tensors: ``s`` has a coordinate twice, ``c`` is the
same coalesced, ``e``, ``m`` and ``u`` have other coordinates, ``h`` has a dense axis, ``z`` has no elements, and ``d``
is dense. Both packages must print the same.
"""

import copy
import io
import pickle
import warnings

import flamework
import numpy as np
import pytest
from flamework.sparse.tensor import SparseTensor, groups, order
from flamework.tensor import SparseOperand, sparse_functions
from hypothesis import given, strategies as st
from oracle import expected
from same_as_torch import assert_same
from sparse_rows import REFUSED, SAME


@pytest.fixture(autouse=True)
def warnings_of_torch_are_left_out():
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Sparse invariant checks")
        yield


def scope(torch):
    i, v = torch.tensor([[0, 1, 1], [2, 0, 0]]), torch.tensor([3.0, 4.0, 5.0])
    s = torch.sparse_coo_tensor(i, v, (2, 3))
    return {
        "torch": torch, "i": i, "v": v, "s": s, "c": s.coalesce(), "d": torch.arange(6.0).reshape(2, 3),
        "e": torch.sparse_coo_tensor([[0, 0, 1], [0, 2, 1]], [1.0, 2.0, 3.0], (2, 3)).coalesce(),
        "h": torch.sparse_coo_tensor(i, torch.arange(6.0).reshape(3, 2), (2, 3, 2)),
        "m": torch.sparse_coo_tensor([[0, 1, 1, 1], [2, 0, 2, 2]], [3.0, -4.0, 5.0, 6.0], (2, 3)),
        "u": torch.sparse_coo_tensor([[0, 2, 2]], [1.0, 2.0, 3.0], (3,)), "z": torch.sparse_coo_tensor(size=(2, 3)),
    }


def evaluated(torch, row):
    names = scope(torch)
    *statements, expression = row.strip().split(";")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for statement in statements:
            exec(statement.strip(), names)
        return eval(expression.strip(), names)


def text(torch, row):
    value = evaluated(torch, row)
    sparse = isinstance(value, torch.Tensor) and value.is_sparse
    return [repr(value), value.is_coalesced() if sparse else None]


def error(torch, row):
    with pytest.raises(Exception) as raised:
        evaluated(torch, row)
    return [kind.__name__ for kind in type(raised.value).__mro__]


@pytest.mark.parametrize("row", SAME)
def test_prints_as_torch_prints(row):
    assert text(flamework, row) == expected(lambda torch: text(torch, row))


@pytest.mark.parametrize("row", REFUSED)
def test_what_torch_refuses_is_refused(row):
    # what catches its error catches ours
    assert expected(lambda torch: error(torch, row))[0] in error(flamework, row)


# ------------------------------------------------------------------------------------------------------ the coordinates


@pytest.mark.parametrize("row", [
    "torch.sparse_coo_tensor(i, v, (2, 2), check_invariants=True)",
    "torch.sparse_coo_tensor(-i, v, (2, 3), check_invariants=True)",
    "torch.sparse_coo_tensor(i, v[:2], (2, 3))", "torch.sparse_coo_tensor(i, v, (2, 3, 4))",
    "torch.sparse_coo_tensor(i, torch.ones(3, 2), (2, 3, 3))", "torch.sparse_coo_tensor([0, 1], [1., 2])",
    "s.indices()", "s.values()", "s + 1", "s / s", "torch.ones(3) + c", "c * h", "c + h", "c.mv(torch.ones(2))",
    "torch.ones(2, 2).sparse_mask(s)", "torch.eye(2).to_sparse(3)", "h.transpose(0, 2)", "torch.ones(2).coalesce()",
])
def test_errors_have_the_sentences_of_torch(row):
    def message(torch):
        with pytest.raises(Exception) as raised:
            evaluated(torch, row)
        return str(raised.value)

    assert message(flamework) == expected(message)


@pytest.mark.parametrize("row", [
    "torch.sparse_coo_tensor(i, v, (2, 2))", "torch.sparse_coo_tensor(-i, v, (2, 3))",
    "torch.sparse_coo_tensor(i, v, (2, 3), is_coalesced=True)",
])
def test_coordinates_are_checked_without_being_asked(row):
    # PyTorch checks them only if it is asked, and would write outside of the memory
    with pytest.raises(RuntimeError):
        evaluated(flamework, row)


def test_coordinates_that_somebody_wrote_to_are_checked_again():
    s = flamework.sparse_coo_tensor([[0, 1]], [1.0, 2.0], (2,)).coalesce()
    s._indices().fill_(1)
    assert not s.is_coalesced()
    assert s.to_dense().tolist() == [0, 3]
    s._indices().fill_(2)
    with pytest.raises(RuntimeError, match="size is 2 but found index 2"):
        s.to_dense()


def test_values_share_memory():
    v = flamework.tensor([1.0, 2.0])
    s = flamework.sparse_coo_tensor([[0, 1]], v, (3,), is_coalesced=True)
    v.mul_(10)
    s.values()[0] = 7.0
    s.mul_(2)
    assert v.tolist() == [14, 40] and s.to_dense().tolist() == [14, 40, 0]
    copied = s.clone()
    v.zero_()
    assert copied.to_dense().tolist() == [14, 40, 0]


def test_more_coordinates_than_an_integer_can_number():
    extents = (2**40, 2**40)
    a = flamework.sparse_coo_tensor([[2**39, 0, 2**39], [5, 1, 5]], [1.0, 2.0, 3.0], extents)
    b = flamework.sparse_coo_tensor([[2**39, 7], [5, 7]], [10.0, 20.0], extents)
    assert (a * b).coalesce().values().tolist() == [40]
    assert (a.coalesce() + b.coalesce()).values().tolist() == [2, 20, 14]
    with pytest.raises(RuntimeError):
        a.to_dense()


@given(st.lists(st.tuples(st.integers(0, 3), st.sampled_from([0, 1, 7, 2**61])), max_size=9))
def test_the_order_of_coordinates_is_stable(columns):
    # 2**61 leaves no room for the place beside the coordinate
    index = np.array(columns, np.int64).reshape(-1, 2).T
    found = order(index)
    if found is None:
        assert columns == sorted(set(columns))
    else:
        assert found.tolist() == sorted(range(len(columns)), key=lambda k: columns[k])
    where, place = groups(index)
    assert where.T.tolist() == [list(column) for column in sorted(set(columns))]
    np.testing.assert_array_equal(where[:, place], index)


# ------------------------------------------------------------------------------------------ never taken for a dense one

# These are compositions of what is supported.
COMPOSED = {"pairwise_distance", "rsub"}


@pytest.mark.parametrize("path", ["", "nn.functional", "linalg", "fft", "special", "nn.init"])
def test_functions_take_no_sparse_tensor_for_a_dense_one(path):
    module = flamework
    for part in filter(None, path.split(".")):
        module = getattr(module, part)
    s, d = evaluated(flamework, "torch.eye(3).to_sparse()"), flamework.arange(9.0).reshape(3, 3)
    took = set()
    for name in module.__all__ if hasattr(module, "__all__") else vars(module):
        function = getattr(module, name)
        if name.startswith("_") or not callable(function) or isinstance(function, type):
            continue
        for arguments in ((s,), (s, 1), (s, s), (s, d), (d.clone(), s)):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                try:
                    value = function(*arguments)
                except Exception:
                    continue
                if isinstance(value, flamework.Tensor) and not any(value is a for a in arguments):
                    if name not in sparse_functions and not value.is_sparse:
                        took.add(name)
    assert took <= COMPOSED


def test_every_method_is_defined_for_sparse_tensors_or_refused():
    dense = vars(flamework.Tensor)
    inherited = {name for name in dense if getattr(SparseTensor, name) is getattr(flamework.Tensor, name)}
    assert inherited <= {
        "__annotations__", "__doc__", "__hash__", "__init__", "__module__", "__slots__", "__weakref__",
        "__array_priority__", "_make_subclass", "is_meta", "is_quantized",
    }


def test_a_sparse_tensor_has_no_node():
    s = flamework.eye(2).to_sparse()
    for refused in (lambda: s._node, lambda: s.exp(), lambda: flamework.exp(s), lambda: s.T.sigmoid(),
                    lambda: flamework.bmm(flamework.ones(1, 2, 2), s[None]), lambda: flamework.ones(2, 2).copy_(s),
                    lambda: flamework.nn.functional.linear(flamework.ones(2, 2), s), lambda: s == s,
                    lambda: flamework.where(flamework.ones(2, 2) > 0, flamework.ones(2, 2), s),
                    lambda: flamework.add(flamework.ones(2, 2), flamework.ones(2, 2), out=s)):
        with pytest.raises(SparseOperand, match="it takes no sparse tensor"):
            refused()


def test_a_compiled_function_refuses_sparse_tensors():
    s = flamework.eye(2).to_sparse()

    @flamework.compile
    def dense(x, y):
        return x.to_dense() + y

    with pytest.raises(NotImplementedError):
        dense(s, flamework.ones(2, 2))


# ------------------------------------------------------------------------------------------------------------ gradients


def leaf_gradient(torch, row, coalesced):
    names = scope(torch)
    s = names["c" if coalesced else "s"].detach().requires_grad_()
    w = torch.arange(1.0, 7.0).reshape(2, 3)
    value = eval(row, names | {"s": s, "w": w}).to_dense()
    (value * torch.arange(1.0, 1 + value.numel()).reshape(value.shape)).sum().backward()
    return s.grad.to_dense()


GRADIENTS = """
s
s.coalesce().values()
torch.sparse.mm(s, torch.arange(6.0).reshape(3, 2))
torch.sparse.addmm(torch.ones(2, 2), s, torch.arange(6.0).reshape(3, 2), alpha=3)
torch.sparse.sum(s)
torch.sparse.sum(s, 0)
torch.sparse.sum(s, 1)
s * 2
s / 2
s + s
s - s * 3
-s
s * w
s * s
s.double()
s.clone()
torch.sparse.softmax(s, 1)
torch.sparse.log_softmax(s, 0)
torch.sparse.mm(s, torch.sparse_coo_tensor([[0, 2, 2], [1, 1, 0]], [1., 2, 3], (3, 2)))
torch.sparse.mm(torch.sparse_coo_tensor([[0, 1, 1], [1, 1, 0]], [1., 2, 3], (3, 2)), s)
""".strip().split("\n")


@pytest.mark.parametrize("coalesced", [False, True])
@pytest.mark.parametrize("row", GRADIENTS)
def test_gradient_of_a_sparse_leaf(row, coalesced):
    def gradient(torch):
        found = leaf_gradient(torch, row, coalesced)
        # PyTorch's may have more coordinates than the leaf
        return (found * scope(torch)["c"].to_dense().bool()).numpy()

    np.testing.assert_allclose(gradient(flamework), expected(gradient), rtol=1e-5)


def test_gradients_accumulate_with_the_coordinates_of_the_leaf():
    s = flamework.sparse_coo_tensor([[1, 0, 1]], [1.0, 2.0, 3.0], (4,), requires_grad=True)
    assert s.is_leaf and s.grad is None
    for _ in range(2):
        (s.to_dense() * flamework.arange(4.0)).sum().backward()
    assert s.grad.is_sparse and s.grad._indices().tolist() == [[0, 1]] and s.grad.to_dense().tolist() == [0, 2, 0, 0]
    assert s.grad is s.grad
    s.grad = None
    assert s.grad is None
    with pytest.raises(RuntimeError, match="leaf Variable that requires grad"):
        s.mul_(2)


@pytest.mark.parametrize("row", [
    "torch.sparse_coo_tensor(i, v, (2, 3)).to_dense()", "torch.sparse_coo_tensor(i, v, (2, 3)).coalesce().values()",
    "torch.sparse.mm(torch.sparse_coo_tensor(i, v, (2, 3)), w.t())", "torch.sparse_coo_tensor(i, v, (2, 3)).t() @ w",
    "torch.sparse.sum(torch.sparse_coo_tensor(i, v, (2, 3)), 0).to_dense()",
    "(torch.sparse_coo_tensor(i, v, (2, 3)) * torch.sparse_coo_tensor(i, v, (2, 3))).to_dense()",
    "torch.sparse.softmax(torch.sparse_coo_tensor(i, v, (2, 3)), 0).to_dense()", "w.sparse_mask(s).to_dense() * v[0]",
    "w.to_sparse().to_dense()", "w + torch.sparse_coo_tensor(i, v, (2, 3))", "w.sparse_mask(c).values()",
    "w @ torch.sparse_coo_tensor(i, v, (2, 3)).t()", "torch.sparse_coo_tensor(i, v, (2, 3)).mv(w[0])",
])
def test_gradients_of_values_and_of_dense_tensors(row):
    def script(torch):
        names = scope(torch)
        v = names["v"].clone().requires_grad_()
        w = torch.arange(1.0, 7.0).reshape(2, 3).requires_grad_()
        value = eval(row, names | {"v": v, "w": w})
        (value * torch.arange(1.0, 1 + value.numel()).reshape(value.shape)).sum().backward()
        return [value, v.grad, w.grad]

    assert_same(script, rtol=1e-5)


def test_gradients_of_gradients_flow_through_values():
    v = flamework.tensor([1.0, 2.0], requires_grad=True)
    dense = flamework.sparse_coo_tensor([[0, 0]], v, (2,)).to_dense()
    (g,) = flamework.autograd.grad((dense**3).sum(), v, create_graph=True)
    g.sum().backward()
    assert g.tolist() == [27, 27] and v.grad.tolist() == [36, 36]


def test_grad_by_sparse_tensors():
    s = scope(flamework)["s"].requires_grad_()
    w = flamework.ones(3, 1, requires_grad=True)
    by_s, by_w = flamework.autograd.grad((s @ w).sum(), (s, w))
    assert by_s.is_sparse and by_s.to_dense().tolist() == [[0, 0, 1], [1, 0, 0]] and by_w.tolist() == [[9], [0], [3]]
    assert s.grad is None
    double = s * 2
    (by_double,) = flamework.autograd.grad(double.to_dense().sum(), double)
    assert by_double.to_dense().tolist() == [[0, 0, 1], [1, 0, 0]]
    with pytest.raises(RuntimeError, match="not have been used"):
        flamework.autograd.grad(w.sum(), s)


def test_gradients_of_parts_and_functions():
    s = flamework.sparse_coo_tensor([[0, 1, 1], [2, 0, 0]], [3.0, 4.0, 5.0], (2, 3), requires_grad=True)
    for value, gradient in (
        (s[1].to_dense().sum(), [0, 1]), (s[0, 2], [1, 0]), (s.select(1, 0).to_dense().sum(), [0, 1]),
        (flamework.cat([s, s * 2]).to_dense().sum(), [3, 3]), (s.unsqueeze(0).to_dense().sum(), [1, 1]),
        (s.square().to_dense().sum(), [6, 18]), ((s**3).sum(), [27, 243]), (s.abs().to_dense().sum(), [1, 1]),
        (flamework.stack([s, s]).to_dense().sum(), [2, 2]), (s.norm() ** 2, [6, 18]),
        (s.index_select(0, flamework.tensor([1, 1, 0])).sum(), [1, 2]), (s.narrow_copy(0, 1, 1).sum(), [0, 1]),
    ):
        (found,) = flamework.autograd.grad(value, s)
        np.testing.assert_allclose(found.values().numpy(), gradient, rtol=1e-5)


def test_functions_of_other_modules_with_the_same_name_are_refused():
    s = flamework.eye(2).to_sparse()
    assert s.norm(2).item() == flamework.norm(s, 2).item() == pytest.approx(2**0.5)
    # which is the largest singular value
    with pytest.raises(SparseOperand, match="linalg_norm"):
        flamework.linalg.norm(s, 2)


# ----------------------------------------------------------------------------------------------------- files and copies


@pytest.mark.parametrize("older", [False, True])
@pytest.mark.parametrize("coalesced", [False, True])
def test_files_are_those_of_torch(older, coalesced):
    torch = pytest.importorskip("torch")
    for writer, reader in ((torch, flamework), (flamework, torch), (flamework, flamework)):
        s = scope(writer)["c" if coalesced else "s"]
        file = io.BytesIO()
        writer.save({"s": s, "v": s._values()}, file, _use_new_zipfile_serialization=not older)
        file.seek(0)
        found = reader.load(file)
        assert found["s"].is_coalesced() is coalesced
        assert repr(found["s"]) == repr(s)
        found["v"].zero_()
        assert not found["s"].to_dense().any()


def test_copies_and_pickles():
    s = scope(flamework)["s"].requires_grad_()
    s.to_dense().sum().backward()
    for made in (copy.copy(s), copy.deepcopy(s), pickle.loads(pickle.dumps(s))):
        assert repr(made) == repr(s) and made is not s and made.is_leaf
    assert copy.deepcopy(s).grad.to_dense().tolist() == s.grad.to_dense().tolist()
    with flamework.no_grad():
        copied = copy.deepcopy(s.detach())
        copied.mul_(2)
    assert s.to_dense().sum().item() == 12


# ----------------------------------------------------------------------------------------------------------- properties


@st.composite
def sparse_arrays(draw, extents=None, inside=()):
    """A sparse tensor of float64 and its dense form; values are small integers, so that sums are exact."""
    extents = tuple(draw(st.lists(st.integers(0, 4), min_size=1, max_size=3))) if extents is None else extents
    nnz = draw(st.integers(0, 8)) if all(extents) else 0
    index = np.array([draw(st.lists(st.integers(0, max(n - 1, 0)), min_size=nnz, max_size=nnz)) for n in extents],
                     np.int64).reshape(len(extents), nnz)
    count = nnz * int(np.prod(inside))
    numbers = draw(st.lists(st.integers(-3, 3), min_size=count, max_size=count))
    values = np.array(numbers, np.float64).reshape(nnz, *inside)
    dense = np.zeros((*extents, *inside))
    np.add.at(dense, tuple(index), values)
    made = flamework.sparse_coo_tensor(flamework.tensor(index), flamework.tensor(values), (*extents, *inside))
    return (made.coalesce() if draw(st.booleans()) else made), dense


@given(st.data())
def test_elementwise_operations_are_those_of_the_dense_forms(data):
    a, x = data.draw(sparse_arrays())
    b, y = data.draw(sparse_arrays(extents=x.shape))
    for ours, theirs in (
        (a, x), (a + b, x + y), (a - b, x - y), (a * b, x * y), (-a, -x), (a * 3, x * 3), (a / 2, x / 2),
        (a.add(b, alpha=2), x + 2 * y), (a * b.to_dense(), x * y), (a.to_dense() + b, x + y), (a.to_dense() - b, x - y),
        (a.T, x.T), (a.clone(), x),
    ):
        np.testing.assert_array_equal(ours.to_dense().numpy(), theirs)
        if ours.is_sparse and ours.is_coalesced():
            assert flamework.equal(ours._indices(), ours.coalesce().indices())
    coalesced = a.coalesce()
    index = coalesced.indices().numpy()
    np.testing.assert_array_equal(index, np.unique(index, axis=1))
    np.testing.assert_array_equal(coalesced.to_dense().numpy(), x)
    again = a.to_dense().to_sparse()
    np.testing.assert_array_equal(again.indices().numpy(), np.stack(np.nonzero(x)))
    np.testing.assert_array_equal(b.to_dense().sparse_mask(a).coalesce().indices().numpy(), index)


@given(st.data())
def test_reductions_and_selections_are_those_of_the_dense_forms(data):
    a, x = data.draw(sparse_arrays(inside=data.draw(st.sampled_from([(), (2,), (0,)]))))
    axes = data.draw(st.sets(st.integers(0, x.ndim - 1), min_size=1))
    np.testing.assert_array_equal(flamework.sparse.sum(a, tuple(axes)).to_dense().numpy(), x.sum(tuple(axes)))
    kept = a.sum(tuple(axes), keepdim=True)
    np.testing.assert_array_equal(kept.to_dense().numpy(), x.sum(tuple(axes), keepdims=True))
    assert flamework.sparse.sum(a).item() == x.sum()
    axis = data.draw(st.integers(0, x.ndim - 1))
    if x.shape[axis]:
        picked = data.draw(st.lists(st.integers(-x.shape[axis], x.shape[axis] - 1), max_size=5))
        chosen = a.index_select(axis, flamework.tensor(picked, dtype=flamework.int64))
        np.testing.assert_array_equal(chosen.to_dense().numpy(), x.take(np.array(picked, np.int64), axis))
        position = data.draw(st.integers(-x.shape[axis], x.shape[axis] - 1))
        np.testing.assert_array_equal(a.select(axis, position).to_dense().numpy(), x.take(position, axis))
    for dim in range(x.ndim + 1):
        np.testing.assert_array_equal(a.unsqueeze(dim).to_dense().numpy(), np.expand_dims(x, dim))
        np.testing.assert_array_equal(flamework.stack([a, a * 2], dim).to_dense().numpy(), np.stack([x, x * 2], dim))
    twice = flamework.cat([a, a * 2, a], axis)
    np.testing.assert_array_equal(twice.to_dense().numpy(), np.concatenate([x, x * 2, x], axis))
    assert flamework.equal(a.square().to_dense(), flamework.tensor(x * x))
    start = data.draw(st.integers(0, x.shape[axis]))
    length = data.draw(st.integers(0, x.shape[axis] - start))
    part = tuple(slice(start, start + length) if d == axis else slice(None) for d in range(x.ndim))
    np.testing.assert_array_equal(a.narrow_copy(axis, start, length).to_dense().numpy(), x[part])


@given(st.data())
def test_products_are_those_of_the_dense_forms(data):
    m, k, n = (data.draw(st.integers(0, 4)) for _ in range(3))
    (a, x), (b, y) = data.draw(sparse_arrays(extents=(m, k))), data.draw(sparse_arrays(extents=(k, n)))
    ones = flamework.ones(m, n, dtype=flamework.float64)
    for ours, theirs in (
        (a @ b, x @ y), (a @ b.to_dense(), x @ y), (a.to_dense() @ b, x @ y), (a.mv(b.to_dense().sum(1)), x @ y.sum(1)),
        (flamework.sparse.mm(a, b), x @ y), (flamework.smm(a, b.to_dense()), x @ y),
        (flamework.hspmm(a, b.to_dense()), x @ y),
        (flamework.sparse.addmm(ones, a, b.to_dense(), beta=2, alpha=3), 2 + 3 * (x @ y)),
        (flamework.sspaddmm(ones.to_sparse(), a, b.to_dense(), beta=2, alpha=3), 2 + 3 * (x @ y)),
    ):
        np.testing.assert_array_equal(ours.to_dense().numpy(), theirs)
        if ours.is_sparse and ours.is_coalesced():
            assert flamework.equal(ours._indices(), ours.coalesce().indices())


@given(st.data())
def test_softmax_is_that_of_the_dense_form_without_what_is_not_there(data):
    a, x = data.draw(sparse_arrays(inside=data.draw(st.sampled_from([(), (2,)]))))
    axis = data.draw(st.integers(0, x.ndim - 1))
    there = flamework.sparse_coo_tensor(a._indices(), flamework.ones_like(a._values()), a.shape).to_dense().bool()
    dense = a.to_dense().masked_fill(~there, -float("inf"))
    weights = flamework.randn(x.shape, dtype=flamework.float64)
    for name in ("softmax", "log_softmax"):
        leaf, plain = a.detach().requires_grad_(), dense.detach().requires_grad_()
        ours = getattr(flamework.sparse, name)(leaf, axis).to_dense()
        theirs = getattr(plain, name)(axis).masked_fill(~there, 0)
        np.testing.assert_allclose(ours.detach().numpy(), theirs.detach().numpy(), rtol=1e-12, atol=1e-12)
        (ours * weights).sum().backward()
        (theirs * weights).sum().backward()
        gradient = np.nan_to_num(plain.grad.numpy())
        np.testing.assert_allclose(leaf.grad.to_dense().numpy(), gradient, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_16_bit_values_are_added_in_32_bits(dtype):
    values = flamework.ones(4001, dtype=getattr(flamework, dtype))
    s = flamework.sparse_coo_tensor(flamework.zeros(1, 4001, dtype=flamework.int64), values, (2,))
    expected_sum = flamework.tensor(4001.0).to(values.dtype).item()
    assert s.to_dense()[0].item() == s.coalesce().values().item() == expected_sum


def test_a_sparse_tensor_is_broadcast_to_a_longer_axis():
    # PyTorch leaves the elements at the first position of an axis of size 1
    a = flamework.sparse_coo_tensor([[0], [1]], [2.0], (1, 3), requires_grad=True)
    b = flamework.arange(12.0).reshape(2, 2, 3)
    product = a * b
    assert product.is_coalesced() and product._nnz() == 4
    assert product.to_dense().tolist() == (a.to_dense() * b).tolist()
    product.to_dense().sum().backward()
    assert a.grad.to_dense().tolist() == [[0, 1 + 4 + 7 + 10, 0]]
    none = flamework.sparse_coo_tensor([[0], [1]], [2.0], (1, 3)) * flamework.ones(0, 3)
    assert none.shape == (0, 3) and none._nnz() == 0


def test_older_names():
    s = scope(flamework)["s"]
    assert s.toDense().tolist() == s.to_dense().tolist() == [[0, 0, 3], [9, 0, 0]]
    assert s.spadd(s).to_dense().tolist() == [[0, 0, 6], [18, 0, 0]]
    for product in (s.spmm, s.sspmm, s.hspmm):
        assert product(flamework.ones(3, 1)).to_dense().tolist() == [[3], [9]]
    z = flamework.sparse_coo_tensor(size=(1, 1))
    assert z.resizeAs_(s).shape == (2, 3)
    assert flamework.spmm(s, flamework.ones(3, 1)).tolist() == [[3], [9]]
    assert isinstance(flamework.zeros(1), flamework.FloatTensor) and not isinstance(s, flamework.FloatTensor)
