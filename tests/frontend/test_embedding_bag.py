"""Bags of embeddings: values and gradients of PyTorch in every mode and layout."""

import flamework
import numpy as np
import pytest
from same_as_torch import array, assert_same

INDEX = np.array([1, 2, 4, 5, 4, 3, 4, 1])
PADDED = np.array([[1, 2, 2], [4, 4, 4], [0, 4, 5]])
LAYOUTS = {
    "offsets": (INDEX, [0, 2, 2, 5], {}),
    "first and last are empty": (INDEX, [0, 0, 3, 8], {}),
    "last offset": (INDEX, [0, 2, 2, 8], {"include_last_offset": True}),
    "nothing": (INDEX[:0], [0, 0], {}),
    "rows": (PADDED, None, {}),
    "int32": (PADDED.astype("int32"), None, {}),
}


def bag_and_gradients(torch, layout, mode, factors=None, **options):
    index, offsets, more = LAYOUTS[layout]
    weight = torch.tensor(array(6, 3), requires_grad=True)
    if factors is not None:
        factors = torch.tensor(factors, requires_grad=True)
    out = torch.nn.functional.embedding_bag(
        torch.tensor(index), weight, None if offsets is None else torch.tensor(offsets, dtype=torch.int64), mode=mode,
        per_sample_weights=factors, **more, **options)
    (out * torch.tensor(array(*out.shape, seed=1))).sum().backward()
    return out, weight.grad, None if factors is None else factors.grad


@pytest.mark.parametrize("padding_idx", [None, 4, -5])
@pytest.mark.parametrize("mode", ["sum", "mean", "max"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_value_and_gradient(layout, mode, padding_idx):
    assert_same(lambda torch: bag_and_gradients(torch, layout, mode, padding_idx=padding_idx), rtol=1e-5, atol=1e-6)


def test_gradient_divided_by_frequency():
    """As the documentation has it, and as ``embedding`` does; PyTorch's takes some rows for their neighbours."""
    weight = [flamework.tensor(array(6, 3), requires_grad=True) for _ in range(2)]
    cotangent, index = flamework.tensor(array(3, 3, seed=1)), flamework.tensor(PADDED)
    functional = flamework.nn.functional
    (functional.embedding_bag(index, weight[0], scale_grad_by_freq=True, mode="sum") * cotangent).sum().backward()
    (functional.embedding(index, weight[1], scale_grad_by_freq=True).sum(1) * cotangent).sum().backward()
    np.testing.assert_allclose(weight[0].grad.numpy(), weight[1].grad.numpy(), rtol=1e-6)


@pytest.mark.parametrize("mode", ["sum", "mean", "max"])
def test_what_is_in_no_bag_does_not_count(mode):
    """After the last offset, and where there are no bags: PyTorch's gradient reads outside of its memory there."""
    bag = flamework.nn.functional.embedding_bag
    index, weight = flamework.tensor(INDEX), flamework.tensor(array(6, 3), requires_grad=True)
    out = bag(index, weight, flamework.tensor([0, 3, 5]), mode=mode, include_last_offset=True)
    assert out.tolist() == bag(index[:5], weight, flamework.tensor([0, 3]), mode=mode).tolist()
    out.sum().backward()
    assert weight.grad[3].tolist() == [0.0] * 3
    none = bag(index, weight, flamework.tensor([], dtype=flamework.int64), mode=mode)
    assert none.shape == (0, 3)
    none.sum().backward()


@pytest.mark.parametrize("padding_idx", [None, 4])
@pytest.mark.parametrize("layout", ["offsets", "last offset", "rows"])
def test_factors_of_rows(layout, padding_idx):
    factors = array(*LAYOUTS[layout][0].shape, seed=7)
    assert_same(lambda torch: bag_and_gradients(torch, layout, "sum", factors, padding_idx=padding_idx), rtol=1e-5,
                atol=1e-6)


def test_of_equal_rows_the_first_has_the_gradient():
    def script(torch):
        weight = torch.ones(4, 2, requires_grad=True)
        torch.nn.functional.embedding_bag(torch.tensor([[3, 1], [2, 2]]), weight, mode="max").sum().backward()
        return weight.grad
    assert_same(script)


def test_rows_are_shortened_in_place():
    def script(torch):
        weight = torch.tensor(array(6, 3))
        out = torch.nn.functional.embedding_bag(torch.tensor(PADDED), weight, max_norm=0.5, norm_type=1.0)
        return out, weight
    assert_same(script, rtol=1e-5)


def test_sums_of_half_precision_are_rounded_once():
    assert_same(lambda torch: torch.nn.functional.embedding_bag(
        torch.tensor(INDEX), torch.tensor(array(6, 3)).half(), torch.tensor([0, 5]), mode="sum"))


@pytest.mark.parametrize("mode", [1, 2])
def test_the_function_of_torch_gives_bags_and_counts(mode):
    def script(torch):
        found = torch.embedding_bag(torch.tensor(array(6, 3)), torch.tensor(INDEX), torch.tensor([0, 2, 2, 5]), False,
                                    mode, False, None, False, 4)
        return found[:3] if mode == 1 else found
    assert_same(script, rtol=1e-6)


def test_the_layer():
    def script(torch):
        torch.manual_seed(4)
        layer = torch.nn.EmbeddingBag(6, 3, mode="sum", padding_idx=-2, max_norm=9.0, norm_type=1.5)
        factors = torch.tensor(array(8, seed=3))
        table = torch.tensor(array(6, 3))
        pretrained = torch.nn.EmbeddingBag.from_pretrained(table, mode="max", include_last_offset=True)
        return (repr(layer), layer.weight, layer(torch.tensor(INDEX), torch.tensor([0, 3]), factors), repr(pretrained),
                pretrained(torch.tensor(INDEX), torch.tensor([0, 3, 8])), pretrained.weight.requires_grad)
    assert_same(script, rtol=1e-5)


def test_indices_and_offsets_that_are_not_known_before():
    weight = flamework.tensor(array(6, 3))
    wanted = flamework.nn.functional.embedding_bag(flamework.tensor(INDEX), weight, flamework.tensor([0, 2, 5]))

    @flamework.compile
    def bag(index, offsets):
        return flamework.nn.functional.embedding_bag(index * 1, weight, offsets + 0)

    for _ in range(2):
        np.testing.assert_array_equal(bag(flamework.tensor(INDEX), flamework.tensor([0, 2, 5])).numpy(), wanted.numpy())
    with pytest.raises(IndexError):
        bag(flamework.tensor(INDEX), flamework.tensor([1, 2, 5])).tolist()
    with pytest.raises(IndexError):
        bag(flamework.tensor(INDEX), flamework.tensor([0, 2, 9])).tolist()


REFUSED = {
    "first offset": (INDEX, [1, 2], {}),
    "last offset": (INDEX, [0, 9], {}),
    "negative offset": (INDEX, [0, -1], {}),
    "rows with offsets": (PADDED, [0], {}),
    "no offsets": (INDEX, None, {}),
    "three axes": (INDEX.reshape(2, 2, 2), None, {}),
    "offsets of floats": (INDEX, [0.0, 1.0], {}),
    "indices of floats": (INDEX.astype("float32"), [0, 1], {}),
    "factors of a maximum": (INDEX, [0, 1], {"mode": "max", "per_sample_weights": 8}),
    "factors of another shape": (INDEX, [0, 1], {"mode": "sum", "per_sample_weights": 7}),
    "frequency of a maximum": (INDEX, [0, 1], {"mode": "max", "scale_grad_by_freq": True}),
    "mode": (INDEX, [0, 1], {"mode": "min"}),
    "padding": (INDEX, [0, 1], {"padding_idx": 6}),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refuses_what_pytorch_refuses(name):
    index, offsets, options = REFUSED[name]

    def script(torch):
        given = dict(options)
        if "per_sample_weights" in given:
            given["per_sample_weights"] = torch.ones(given["per_sample_weights"])
        if offsets is not None:
            given["offsets"] = torch.tensor(offsets)
        return torch.nn.functional.embedding_bag(torch.tensor(index), torch.ones(6, 3), **given).tolist()

    from same_as_torch import outcome
    torch = pytest.importorskip("torch")
    theirs = outcome(script, torch)
    with pytest.raises(Exception) as caught:
        script(flamework)
    assert theirs[0] == "raised"
    assert theirs[1] in [kind.__name__ for kind in type(caught.value).__mro__]


@pytest.mark.parametrize("index", [6, -1])
def test_an_index_that_is_no_row_is_refused(index):
    with pytest.raises(RuntimeError, match=f"takes value {index}, which is not in the valid range"):
        flamework.nn.functional.embedding_bag(flamework.tensor([[0, index]]), flamework.ones(6, 3))


def test_sparse_gradients_are_refused():
    with pytest.raises(RuntimeError, match="sparse"):
        flamework.nn.EmbeddingBag(6, 3, sparse=True)
    with pytest.raises(RuntimeError, match="sparse"):
        flamework.nn.functional.embedding_bag(flamework.tensor([[0]]), flamework.ones(6, 3), sparse=True)
