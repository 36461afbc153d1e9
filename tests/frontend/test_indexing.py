"""Indexing against PyTorch: every kind of index, read and written, with gradients and errors."""

from __future__ import annotations

import warnings
from pathlib import Path

import flamework
import numpy as np
import pytest
from flamework.recording import from_array
from hypothesis import HealthCheck, given, note, settings, strategies as st

SETTINGS = settings(max_examples=100, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
SHAPES = [(6,), (4, 3), (2, 3, 4), (3, 1, 2, 4), (5, 0), ()]


def make(torch, array, requires_grad=False):
    """The same values as a tensor of both libraries."""
    theirs, ours = torch.from_numpy(array.copy()), from_array(array.copy())
    return (theirs.requires_grad_(), ours.requires_grad_()) if requires_grad else (theirs, ours)


class Indices:
    """A tuple of index entries, with index tensors as arrays until a library is chosen."""

    def __init__(self, entries):
        self.entries = entries

    def of(self, library):
        wrap = from_array if library is flamework else library.from_numpy
        return tuple(wrap(e.copy()) if isinstance(e, np.ndarray) else e for e in self.entries)

    def __repr__(self):
        return repr(self.entries)


def draw_entry(draw, extents, kinds):
    """One entry and how many axes it consumes."""
    kind = draw(st.sampled_from(kinds))
    extent = extents[0] if extents else 0
    if kind == "none":
        return None, 0
    if kind == "bool":
        return draw(st.booleans()), 0
    if not extents:
        return None, 0
    if kind == "int" and extent:
        return draw(st.integers(-extent, extent - 1)), 1
    if kind == "array" and extent:
        shape = draw(st.sampled_from([(), (3,), (1,), (2, 3), (2, 1)]))
        values = draw(st.lists(st.integers(-extent, extent - 1), min_size=6, max_size=6))
        return np.array(values[: int(np.prod(shape))], np.int64).reshape(shape), 1
    if kind == "list" and extent:
        return draw(st.lists(st.integers(-extent, extent - 1), min_size=3, max_size=3)), 1
    if kind == "mask":
        covered = draw(st.integers(1, min(2, len(extents))))
        bits = draw(st.integers(0, 2 ** 12 - 1))
        size = int(np.prod(extents[:covered]))
        return np.array([bits >> (i % 12) & 1 for i in range(size)], bool).reshape(extents[:covered]), covered
    bounds = st.one_of(st.none(), st.integers(-extent - 1, extent + 1))
    return slice(draw(bounds), draw(bounds), draw(st.sampled_from([None, 1, 2]))), 1


def draw_index(draw, shape, kinds):
    entries, axis = [], 0
    dotted = False
    for _ in range(draw(st.integers(0, len(shape) + 1))):
        if not dotted and draw(st.integers(0, 5)) == 0:
            # the ellipsis skips an axis or none
            entries.append(Ellipsis)
            dotted = True
            axis = min(axis + 1, len(shape))
            continue
        entry, consumed = draw_entry(draw, shape[axis:], kinds)
        if axis + consumed > len(shape):
            break
        entries.append(entry)
        axis += consumed
    if dotted and Ellipsis in [e for e in entries if not isinstance(e, np.ndarray)]:
        # entries after an ellipsis count from the end, so that masks may not fit: both libraries then say so
        pass
    return Indices(entries)


ALL_KINDS = ["slice", "int", "none", "array", "list", "mask", "bool"]


def outcome(function):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return function(), None
        except (IndexError, RuntimeError, ValueError, TypeError) as error:
            return None, error


def compare(theirs, ours):
    (expected, their_error), (result, our_error) = theirs, ours
    if their_error is not None:
        assert type(our_error) is type(their_error), f"{their_error!r} but {our_error!r}, {result}"
        return False
    if our_error is not None:
        raise our_error
    assert tuple(result.shape) == tuple(expected.shape)
    np.testing.assert_array_equal(result.detach().numpy(), expected.detach().numpy())
    return True


@SETTINGS
@given(data=st.data())
def test_reading_by_any_index_gives_what_pytorch_gives(data):
    torch = pytest.importorskip("torch")
    shape = data.draw(st.sampled_from(SHAPES))
    index = draw_index(data.draw, shape, ALL_KINDS)
    note(f"{shape} {index}")
    array = np.arange(float(np.prod(shape))).reshape(shape)
    theirs, ours = make(torch, array, requires_grad=True)
    expected, result = outcome(lambda: theirs[index.of(torch)]), outcome(lambda: ours[index.of(flamework)])
    if not compare(expected, result):
        return
    weights = np.arange(1.0, expected[0].numel() + 1).reshape(tuple(expected[0].shape))
    expected[0].backward(torch.from_numpy(weights))
    result[0].backward(from_array(weights.copy()))
    np.testing.assert_array_equal(ours.grad.numpy(), theirs.grad.numpy())


def distinct(index, shape):
    """Whether no element is selected twice, so that the result of a write is defined."""
    positions = np.arange(int(np.prod(shape))).reshape(shape)
    wrapped = from_array(positions)[index.of(flamework)].numpy().ravel()
    return len(set(wrapped.tolist())) == wrapped.size


@SETTINGS
@given(data=st.data())
def test_writing_by_any_index_gives_what_pytorch_gives(data):
    torch = pytest.importorskip("torch")
    draw = data.draw
    shape = draw(st.sampled_from(SHAPES))
    index = draw_index(draw, shape, ALL_KINDS)
    note(f"{shape} {index}")
    array = np.arange(float(np.prod(shape))).reshape(shape)
    selected, error = outcome(lambda: torch.from_numpy(array.copy())[index.of(torch)])
    if error is not None or not distinct(index, shape):
        return
    value_shape = tuple(selected.shape)[draw(st.integers(0, selected.ndim)) :]
    value_shape = tuple(1 if draw(st.integers(0, 3)) == 0 else e for e in value_shape)
    if draw(st.integers(0, 3)) == 0:
        value_shape = (1, *value_shape)
    value = np.asarray(-1.0 - np.arange(float(np.prod(value_shape))).reshape(value_shape))
    number = draw(st.booleans())
    note(f"value {'-7' if number else value_shape}")

    leaves = make(torch, array, requires_grad=True), make(torch, value, requires_grad=True)

    def program(library, side):
        base, new = leaves[0][side] * 2, leaves[1][side] * 3
        base[index.of(library)] = -7 if number else new
        return base

    expected, result = outcome(lambda: program(torch, 0)), outcome(lambda: program(flamework, 1))
    if not compare(expected, result):
        return
    weights = np.arange(1.0, array.size + 1).reshape(shape)
    expected[0].backward(torch.from_numpy(weights))
    result[0].backward(from_array(weights.copy()))
    for theirs, ours in leaves if not number else leaves[:1]:
        if theirs.grad is None:
            assert ours.grad is None
        else:
            np.testing.assert_array_equal(ours.grad.numpy(), theirs.grad.numpy())


# ------------------------------------------------------------------------------------------------------------- literals


def test_index_tensors_separated_by_a_slice_put_their_axes_in_front():
    x = from_array(np.arange(24).reshape(2, 3, 4))
    assert x[[0, 1], :, [1, 2]].tolist() == [[1, 5, 9], [14, 18, 22]]


def test_an_integer_beside_an_index_tensor_selects_first():
    x = from_array(np.arange(24).reshape(2, 3, 4))
    assert x[0, :, [1, 2]].tolist() == [[1, 2], [5, 6], [9, 10]]


def test_the_last_of_several_values_for_one_element_stays():
    x = from_array(np.zeros(3))
    x[[1, 1, 1]] = from_array(np.array([5.0, 6.0, 7.0]))
    assert x.tolist() == [0, 7, 0]


def test_accumulating_adds_several_values_to_one_element():
    x = from_array(np.zeros(3))
    x.index_put_((from_array(np.array([1, 1, 2])),), from_array(np.array([5.0, 6.0, 7.0])), accumulate=True)
    assert x.tolist() == [0, 11, 7]


def test_writing_a_number_through_a_mask_computes_nothing():
    x = from_array(np.arange(4.0)) * 1
    mask = x > 1
    x[mask] = -1.0
    assert mask._node.value is None and x._node.value is None
    assert x.tolist() == [0, 1, -1, -1]


def test_reading_by_a_computed_0_dim_tensor_is_a_view():
    x = from_array(np.zeros((3, 2)))
    row = x[from_array(np.array(1))]
    row += 1
    assert x.tolist() == [[0, 0], [1, 1], [0, 0]]


def test_a_pending_index_is_wrapped_where_it_is_used():
    x = from_array(np.arange(5.0))
    index = from_array(np.array([0, 1])) - 2
    assert x[index].tolist() == [3, 4]


READ_ERRORS = [
    ("x[5]", IndexError, "index 5 is out of bounds for dimension 0 with size 2"),
    ("x[:, :, -5]", IndexError, "index -5 is out of bounds for dimension 2 with size 4"),
    ("x[[5]]", IndexError, "index 5 is out of bounds for dimension 0 with size 2"),
    ("x[:, [0, -4]]", IndexError, "index -4 is out of bounds for dimension 1 with size 3"),
    ("x[0, 0, 0, 0]", IndexError, "too many indices for tensor of dimension 3"),
    ("x[::-1]", ValueError, "step must be greater than zero"),
    ("x[[True, True, True]]", IndexError,
     "The shape of the mask [3] at index 0 does not match the shape of the indexed tensor [2, 3, 4] at index 0"),
    ("x[[0, 1], [0, 1, 2]]", IndexError,
     "shape mismatch: indexing tensors could not be broadcast together with shapes [2], [3]"),
    ("x[1.0]", IndexError,
     "only integers, slices (`:`), ellipsis (`...`), None and long or byte Variables are valid indices (got float)"),
    ("x[x]", IndexError, "tensors used as indices must be long, int, byte or bool tensors"),
    ("x[0, 0, 0][0]", IndexError,
     "invalid index of a 0-dim tensor. Use `tensor.item()` in Python or `tensor.item<T>()` in C++ to convert a 0-dim "
     "tensor to a number"),
    ("x[:, :0][:, [0]]", IndexError, "index is out of bounds for dimension with size 0"),
]


@pytest.mark.parametrize(("program", "kind", "message"), READ_ERRORS, ids=[e[0] for e in READ_ERRORS])
def test_a_wrong_index_is_refused_with_pytorchs_sentence(program, kind, message):
    x = from_array(np.arange(24.0).reshape(2, 3, 4))
    with pytest.raises(kind) as caught:
        eval(program, {"x": x})
    assert str(caught.value) == message


WRITE_ERRORS = [
    ("0", np.ones(5), RuntimeError,
     "The expanded size of the tensor (4) must match the existing size (5) at non-singleton dimension 1.  Target "
     "sizes: "
     "[3, 4].  Tensor sizes: [5]"),
    ("[0]", np.ones(5), RuntimeError,
     "shape mismatch: value tensor of shape [5] cannot be broadcast to indexing result of shape [1, 3, 4]"),
    ("[0]", np.ones(4, np.float32), RuntimeError,
     "Index put requires the source and destination dtypes match, got Double for the destination and Float for the "
     "source."),
    ("0", "a", TypeError, "can't assign a str to a torch.DoubleTensor"),
    ("0", [1.0], TypeError, "can't assign a list to a torch.DoubleTensor"),
]


@pytest.mark.parametrize(("index", "value", "kind", "message"), WRITE_ERRORS)
def test_a_wrong_value_is_refused_with_pytorchs_sentence(index, value, kind, message):
    x = from_array(np.arange(24.0).reshape(2, 3, 4))
    with pytest.raises(kind) as caught:
        x[eval(index)] = from_array(value) if isinstance(value, np.ndarray) else value
    assert str(caught.value) == message


def test_a_list_that_holds_sequences_is_a_tuple_as_in_pytorch():
    x = from_array(np.arange(24).reshape(2, 3, 4))
    with pytest.warns(UserWarning, match="non-tuple sequence"):
        assert x[[[0, 1], [1, 2]]].shape == (2, 4)


def test_a_write_through_an_index_to_an_expanded_tensor_writes_the_selected_elements_only():
    base = from_array(np.arange(3.0))
    with pytest.warns(UserWarning, match="expanded tensors is deprecated"):
        base.expand(2, 3)[[0]] = 9.0
    assert base.tolist() == [9, 9, 9]


def line_with(text):
    """The number of the first line of this file with a text."""
    return next(n for n, line in enumerate(Path(__file__).read_text().splitlines(), 1) if text in line)


@pytest.mark.parametrize("compiled", [False, True])
def test_an_index_out_of_range_is_told_with_the_line_that_has_it(compiled):
    def pick(x, i):
        return x[i * 2]  # the line

    x, run = flamework.arange(4), flamework.compile(pick) if compiled else pick
    assert run(x, flamework.tensor([0, 1])).tolist() == [0, 2]
    for _ in range(2):
        with pytest.raises(IndexError, match="index 6 is out of bounds") as caught:
            run(x, flamework.tensor([3])).tolist()
        (note,) = caught.value.__notes__
        assert f'"{__file__}", line {line_with("# the " + "line")}, in pick' in note
    assert run(x, flamework.tensor([1])).tolist() == [2]


def test_functions_that_gather_tell_their_lines():
    x, i = flamework.ones(3, 2), flamework.tensor([4]) * 1
    for call in (
        lambda: x.index_select(0, i), lambda: x.gather(0, i[:, None]), lambda: flamework.nn.functional.embedding(i, x),
        lambda: x.index_add(0, i, flamework.ones(1, 2)), lambda: flamework.take(x, i * 2),
    ):
        with pytest.raises(IndexError) as caught:
            call().tolist()
        assert "in <lambda>" in caught.value.__notes__[0]


def test_a_division_by_zero_tells_its_line():
    divisor = flamework.tensor([1, 0]) * 1
    result = flamework.tensor([4, 4]) // divisor  # the division
    with pytest.raises(RuntimeError, match="ZeroDivisionError") as caught:
        result.tolist()
    assert f"line {line_with('# the ' + 'division')}," in caught.value.__notes__[0]
