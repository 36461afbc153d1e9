"""Views: what they show, how they lie in memory, and memory shared with NumPy."""

from __future__ import annotations

import gc

import flamework
import numpy as np
import pytest
from flamework.recording import from_array
from hypothesis import HealthCheck, given, note, settings, strategies as st
from same_as_torch import assert_same

# ---------------------------------------------------------------------------------------------------- shape and strides

# What a view function makes of a tensor of sizes (2, 3, 4) and a matrix of sizes (4, 6).
PROGRAMS = [
    "x.view(6, 4)", "x.view(-1)", "x.view([3, 8])", "x.view(2, -1, 2)", "x.reshape(4, 6)", "x.reshape((-1, 3))",
    "x.view_as(m)", "x.reshape_as(m)", "x.permute(2, 0, 1)", "x.permute((0, 2, 1))", "x.permute(-1, 0, 1)",
    "x.transpose(0, 2)", "x.transpose(-1, -2)", "x.swapaxes(0, 1)", "x.swapdims(0, 1)", "m.t()", "m.T", "x.mT", "m.mH",
    "x.movedim(0, 2)", "x.movedim((0, 1), (1, 2))", "x.moveaxis(-1, 0)", "m.adjoint()", "x.flatten()",
    "x.flatten(1)", "x.flatten(0, 1)", "x.ravel()", "m.unflatten(1, (2, 3))", "m.unflatten(-1, (-1, 2))",
    "m.unsqueeze(0)", "m.unsqueeze(1)", "m.t().unsqueeze(1)", "m[:, :1].squeeze()", "m[:, :1].squeeze(1)",
    "m[:1].squeeze((0, 1))", "m[:, :1].squeeze(0)", "m[:1].expand(3, 6)", "m[:1].expand(2, -1, 6)",
    "m[:1].expand_as(m)", "m[:, :1].broadcast_to((2, 4, 6))", "x[0]", "x[-1]", "x[:, 1]", "x[..., 2]", "x[1, 2, 3]",
    "x[None]", "x[:, None, 1:]", "m[::2]", "m[1::2, ::3]", "m[3:1]", "m[-3:-1]", "m.select(1, 2)", "m.select(-1, -1)",
    "m.narrow(1, 2, 3)", "m.narrow(0, -2, 2)", "m.diagonal()", "m.diagonal(1)", "m.diagonal(-2)", "x.diagonal(0, 1, 2)",
    "x.diagonal(1, 0, 2)", "m.diagonal(9)", "m.unfold(1, 2, 2)", "m.unfold(1, 3, 1)", "x.unfold(-1, 2, 1)",
    "m.unfold(0, 4, 1)", "m.as_strided((2, 2), (1, 2))", "m.as_strided((2, 3), (6, 1), 7)",
    "m[1:].as_strided((2,), (2,))",
    "m.t().as_strided((3, 3), (3, 1))", "m.t().contiguous()", "m.contiguous()", "m.detach()", "m.t().detach()",
    "m.data",
    "x.permute(2, 0, 1)[1:, :, ::2]", "x.transpose(0, 1)[1].unsqueeze(0)", "m.t()[2:4].t()", "m.view(2, 2, 6)[1].t()",
    "m[:, 1:4].t().unsqueeze(0).expand(2, 3, 4)", "m.t().view(2, 3, 4)", "m[1:3].view(12)",
    "m[:, 2:].unflatten(0, (2, 2))",
    "m.narrow_copy(0, 1, 2)", "x[:, 1].view(2, 2, 2)", "x.expand(2, 2, 3, 4)[1].transpose(0, 1)",
]
MANY = [
    "m.split(3)", "m.split(3, 1)", "m.split([1, 3])", "m.split_with_sizes([2, 4], 1)", "m.chunk(3)", "m.chunk(4, -1)",
    "m.unbind()", "m.unbind(1)", "m.chunk(9)", "list(m)",
]


def run(program):
    def script(torch):
        values = torch.from_numpy(np.arange(24.0))
        x, m = values.view(2, 3, 4).clone(), values.view(4, 6).clone()
        result = eval(program, {"x": x, "m": m})
        results = list(result) if isinstance(result, (tuple, list)) else [result]
        return [(v.tolist(), list(v.shape), meaningful(v), v.storage_offset(), v.is_contiguous()) for v in results]

    return script


def meaningful(v):
    """Strides of the axes whose stride matters: those with more than one position, in a tensor that has elements."""
    return [stride for stride, extent in zip(v.stride(), v.shape) if extent > 1] if v.numel() else []


@pytest.mark.parametrize("program", PROGRAMS + MANY)
def test_views_show_and_lie_as_pytorchs(program):
    assert_same(run(program))


# Not those that copy, or show an element twice; PyTorch counts writes through ``data`` apart.
NO_WRITES = ("expand", "broadcast", "contiguous", "narrow_copy", "3, 1)", "2, 1)", "data")
WRITES = [p for p in PROGRAMS if not any(part in p for part in NO_WRITES)]


@pytest.mark.parametrize("program", WRITES)
def test_writing_to_a_view_reaches_the_base(program):
    def script(torch):
        values = torch.from_numpy(np.arange(24.0))
        x, m = values.view(2, 3, 4).clone(), values.view(4, 6).clone()
        v = eval(program, {"x": x, "m": m})
        v.mul_(-2)
        v += 100
        return x, m, x._version, m._version, v._version

    assert_same(script)


def test_reshape_of_what_cannot_be_a_view_is_a_copy():
    x = from_array(np.arange(6.0).reshape(2, 3))
    copied = x.t().reshape(6)
    copied.zero_()
    assert x.tolist() == [[0, 1, 2], [3, 4, 5]]


def test_views_of_one_storage_see_each_others_writes_in_order():
    x = from_array(np.zeros((2, 3)))
    row, column, flat = x[0], x[:, 1], x.view(-1)
    row += 1
    column *= 10
    flat[0] = 7
    assert x.tolist() == [[7, 10, 1], [0, 0, 0]]
    assert row.tolist() == [7, 10, 1] and column.tolist() == [10, 0] and flat.tolist() == [7, 10, 1, 0, 0, 0]


def test_chunks_can_be_added_to_each_other():
    x = from_array(np.arange(4.0))
    a, b = x.chunk(2)
    a.add_(b)
    assert x.tolist() == [2, 4, 2, 3]


def test_a_value_recorded_before_a_write_keeps_the_old_elements():
    x = from_array(np.ones(2))
    before = x * 1
    x[0] = 5
    after = x * 1
    assert before.tolist() == [1, 1] and after.tolist() == [5, 1]


def test_the_base_may_be_gone():
    view = from_array(np.zeros((2, 2)))[0]
    gc.collect()
    view += 1
    assert view.tolist() == [1, 1]


def test_a_view_as_another_dtype_of_the_same_size_shares_memory():
    x = from_array(np.array([1.0, -2.0], np.float32))
    bits = x.view(flamework.int32)
    assert bits.tolist() == [0x3F800000, -0x40000000]
    bits[0] = 0x40400000
    assert x.tolist() == [3, -2]


def test_a_view_as_another_dtype_of_another_size_shares_memory():
    x = from_array(np.array([1, 2], np.int64))
    halves = x.view(flamework.int32)
    assert halves.tolist() == [1, 0, 2, 0]
    halves[0] = 5
    x[1] = 7
    assert x.tolist() == [5, 7] and halves.tolist() == [5, 0, 7, 0]


def test_views_in_place_change_the_tensor_itself():
    x = from_array(np.arange(6.0).reshape(2, 3))
    alias = x.view(6)
    assert x.t_() is x and x.shape == (3, 2) and x.stride() == (1, 3)
    x.unsqueeze_(0).squeeze_(0).transpose_(0, 1)
    assert x.shape == (2, 3)
    x[0, 1] = 9
    assert alias.tolist() == [0, 9, 2, 3, 4, 5]


def test_channels_last_orders_memory_and_not_indices():
    x = from_array(np.arange(48.0).reshape(2, 3, 2, 4))
    y = x.contiguous(memory_format=flamework.channels_last)
    assert y.tolist() == x.tolist()
    assert y.stride() == (24, 1, 12, 3)
    assert y.is_contiguous(memory_format=flamework.channels_last) and not y.is_contiguous()
    assert y.contiguous(memory_format=flamework.channels_last) is y
    assert x.to(memory_format=flamework.channels_last).stride() == (24, 1, 12, 3)


# --------------------------------------------------------------------------------------------------- sharing with NumPy


def test_from_numpy_sees_what_numpy_writes():
    array = np.zeros(3)
    x = flamework.from_numpy(array)
    y = x + 1
    array[0] = 5
    assert x.tolist() == [5, 0, 0]
    assert y.tolist() == [1, 1, 1]


def test_numpy_sees_what_is_written_to_a_tensor_at_once():
    array = np.zeros((2, 2))
    x = flamework.from_numpy(array)
    x[0] += 1
    x.t()[1].fill_(7)
    assert array.tolist() == [[1, 7], [0, 7]]


def test_strided_arrays_are_shared():
    array = np.arange(12.0).reshape(3, 4)
    x = flamework.from_numpy(array[:, ::2])
    assert x.stride() == (4, 2)
    x += 100
    assert array.tolist() == [[100, 1, 102, 3], [104, 5, 106, 7], [108, 9, 110, 11]]
    transposed = flamework.from_numpy(array.T)
    transposed[0] = 0
    assert array[:, 0].tolist() == [0, 0, 0]
    assert x.tolist() == [[0, 102], [0, 106], [0, 110]]


def test_numpy_shares_the_memory_of_a_computed_tensor():
    x = from_array(np.zeros(3)) + 1
    array = x.numpy()
    array[0] = 9
    x[1] = 5
    assert x.tolist() == [9, 5, 1] and array.tolist() == [9, 5, 1]


def test_numpy_does_not_copy_what_nobody_else_needs():
    x = from_array(np.zeros(3)) + 1
    flamework.realize(x)
    address = x.data_ptr()
    assert x.numpy().ctypes.data == address
    y = x * 2
    assert x.numpy().ctypes.data != address
    assert y.tolist() == [2, 2, 2]


def test_numpy_of_a_view_shares_the_memory_of_its_base():
    x = from_array(np.zeros((2, 3)))
    array = x[:, 1:].numpy()
    array[0] = 5
    x[1] = 2
    assert x.tolist() == [[0, 5, 5], [2, 2, 2]] and array.tolist() == [[5, 5], [2, 2]]


def test_a_value_recorded_before_the_memory_was_shown_keeps_its_elements():
    x = from_array(np.zeros(2)) + 1
    pending, saved = x * 2, x.clone()
    x.numpy()[:] = 50
    assert pending.tolist() == [2, 2] and saved.tolist() == [1, 1] and x.tolist() == [50, 50]


def test_memory_is_ours_again_when_the_last_array_is_gone():
    x = from_array(np.zeros(2)) + 1
    array = x.numpy()
    part = array[1:]
    del array
    part[0] = 3
    y = x * 2
    assert y.tolist() == [2, 6]
    del part
    kept = x + 0
    assert x._storage.memory is None
    assert kept.tolist() == [1, 3]


def test_an_array_that_nobody_else_holds_is_adopted():
    x = flamework.from_numpy(np.ones(3))
    y = x + 1
    assert x._storage.memory is None
    assert y.tolist() == [2, 2, 2]


def test_an_array_that_somebody_views_is_not_adopted():
    array = np.ones(4)
    x = flamework.from_numpy(array)
    part = array[:2]
    del array
    y = x + 1
    part[:] = 8
    assert x.tolist() == [8, 8, 1, 1] and y.tolist() == [2, 2, 2, 2]


def test_a_parameter_trains_while_numpy_holds_its_memory():
    w = from_array(np.array([1.0, 2.0])).requires_grad_()
    array = w.detach().numpy()
    for _ in range(2):
        w.grad = None
        flamework.sum(w * w).backward()
        with flamework.no_grad():
            w -= 0.25 * w.grad
    assert array.tolist() == [0.25, 0.5] and w.is_leaf and w.requires_grad
    array[:] = 3
    flamework.sum(w * w).backward()
    assert w.grad.tolist() == [7, 8]


def test_read_only_arrays_are_copied_by_the_first_write():
    array = np.zeros(2)
    array.flags.writeable = False
    with pytest.warns(UserWarning, match="not writable"):
        x = flamework.from_numpy(array)
    x += 1
    assert x.tolist() == [1, 1] and array.tolist() == [0, 0]


def test_dlpack_shares_memory_in_both_directions():
    array = np.zeros(2)
    x = flamework.from_dlpack(array)
    array[0] = 4
    assert x.tolist() == [4, 0]
    y = from_array(np.zeros(2))
    other = np.from_dlpack(y)
    y += 3
    assert other.tolist() == [3, 3]


def test_numpy_functions_take_tensors():
    x = from_array(np.array([1.0, 4.0]))
    assert np.asarray(x).tolist() == [1, 4]
    assert np.array(x, dtype=np.int64).tolist() == [1, 4]
    assert isinstance(np.sqrt(x), flamework.Tensor) and np.sqrt(x).tolist() == [1, 2]
    assert np.concatenate([x, x]).tolist() == [1, 4, 1, 4]


@settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_programs_that_mix_numpy_and_tensors_agree_with_numpy_alone(data):
    # NumPy's own views are the oracle: every step is done to an array, and to a tensor or an array shared with one
    draw = data.draw
    expected = [np.arange(12.0).reshape(3, 4)]
    shared = expected[0].copy()
    actual = [(shared, flamework.from_numpy(shared))] if draw(st.booleans()) else [(None, from_array(shared))]
    for _ in range(draw(st.integers(1, 10))):
        i = draw(st.integers(0, len(expected) - 1))
        step = draw(st.sampled_from(["row", "transpose", "add", "array_add", "show", "drop", "read"]))
        note(f"{step} {i}")
        array, tensor = actual[i]
        if step == "row" and expected[i].ndim == 2:
            expected.append(expected[i][1])
            actual.append((None, tensor[1]))
        elif step == "transpose":
            expected.append(expected[i].T)
            actual.append((None, tensor.t()))
        elif step == "add":
            expected[i] += 1
            tensor.add_(1)
        elif step == "show":
            actual[i] = (tensor.numpy(), tensor)
        elif step == "array_add" and array is not None:
            expected[i] += 10
            array += 10
        elif step == "drop":
            actual[i] = (None, tensor)
        elif step == "read":
            assert (tensor * 1).tolist() == expected[i].tolist()
        for wanted, (array, _) in zip(expected, actual):
            if array is not None:
                np.testing.assert_array_equal(array, wanted)
    for wanted, (_, tensor) in zip(expected, actual):
        np.testing.assert_array_equal(np.array(tensor.tolist()), wanted)
