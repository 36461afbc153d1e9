"""Views and in-place writes: random programs that must leave every tensor as PyTorch leaves it."""

from __future__ import annotations

import flamework
import numpy as np
import pytest
from flamework.recording import from_array
from hypothesis import HealthCheck, given, note, reject, settings, strategies as st

SETTINGS = settings(max_examples=80, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))


# ------------------------------------------------------------------------------------------------------- the programs

# Each entry draws arguments for a tensor of a shape and returns a function that works on either library's tensors, or
# None where the operation does not apply.


def _axis(draw, shape):
    return draw(st.integers(-len(shape), len(shape) - 1))


def _slice(draw, extent):
    bounds = st.one_of(st.none(), st.integers(-extent - 1, extent + 1))
    return slice(draw(bounds), draw(bounds), draw(st.sampled_from([None, 1, 2, 3])))


def _index(draw, shape):
    entries = []
    for extent in shape[: draw(st.integers(0, len(shape)))]:
        kind = draw(st.sampled_from(["slice", "int", "none"]))
        if kind == "int" and extent:
            entries.append(draw(st.integers(-extent, extent - 1)))
        else:
            if kind == "none":
                entries.append(None)
            entries.append(_slice(draw, extent))
    if draw(st.booleans()):
        entries.append(Ellipsis)
    return tuple(entries)


def _getitem(draw, shape):
    index = _index(draw, shape)
    return lambda x: x[index]


def _factors(draw, size):
    options = [(size,), (1, size), (size, 1)]
    options += [(a, size // a) for a in (2, 3, 4, 5) if size % a == 0]
    options += [(2, 2, size // 4)] if size % 4 == 0 else []
    return draw(st.sampled_from(options))


def _reshape(draw, shape):
    new = _factors(draw, int(np.prod(shape)))
    return lambda x: x.reshape(new)


def _view(draw, shape):
    new = _factors(draw, int(np.prod(shape)))
    return lambda x: x.view(new)


def _permute(draw, shape):
    order = draw(st.permutations(range(len(shape))))
    return lambda x: x.permute(order)


def _transpose(draw, shape):
    if not shape:
        return None
    a, b = _axis(draw, shape), _axis(draw, shape)
    return lambda x: x.transpose(a, b)


def _expand(draw, shape):
    if any(e == 0 for e in shape) or len(shape) > 3:
        return None
    new = [draw(st.sampled_from([2, 3])) if e == 1 else -1 for e in shape]
    if draw(st.booleans()):
        new = [2, *new]
    return lambda x: x.expand(*new) if new else x.view(())


def _unsqueeze(draw, shape):
    axis = draw(st.integers(-len(shape) - 1, len(shape)))
    return (lambda x: x.unsqueeze(axis)) if len(shape) < 4 else None


def _squeeze(draw, shape):
    if shape and draw(st.booleans()):
        axis = _axis(draw, shape)
        return lambda x: x.squeeze(axis)
    return lambda x: x.squeeze()


def _narrow(draw, shape):
    if not shape:
        return None
    axis = _axis(draw, shape)
    start = draw(st.integers(0, shape[axis]))
    length = draw(st.integers(0, shape[axis] - start))
    return lambda x: x.narrow(axis, start, length)


def _chunk(draw, shape):
    if not shape:
        return None
    axis, count = _axis(draw, shape), draw(st.integers(1, 3))
    return lambda x: x.chunk(count, axis)[-1]


def _unbind(draw, shape):
    if not shape:
        return None
    axis = _axis(draw, shape)
    return (lambda x: x.unbind(axis)[-1]) if shape[axis] else None


def _diagonal(draw, shape):
    if len(shape) < 2:
        return None
    a = draw(st.integers(0, len(shape) - 1))
    b = draw(st.sampled_from([i for i in range(len(shape)) if i != a]))
    offset = draw(st.integers(-2, 2))
    return lambda x: x.diagonal(offset, a, b)


def _unfold(draw, shape):
    if not shape:
        return None
    axis = _axis(draw, shape)
    if not shape[axis] or len(shape) > 3:
        return None
    size = draw(st.integers(1, shape[axis]))
    return lambda x: x.unfold(axis, size, size)


def _flatten(draw, shape):
    return lambda x: x.flatten()


def _movedim(draw, shape):
    if not shape:
        return None
    a, b = _axis(draw, shape), _axis(draw, shape)
    return lambda x: x.movedim(a, b)


VIEWS = [
    _getitem, _getitem, _reshape, _view, _permute, _transpose, _expand, _unsqueeze, _squeeze, _narrow, _chunk, _unbind,
    _diagonal, _unfold, _flatten, _movedim,
]


# PyTorch refuses to differentiate writes to one of several views that one function made
SINGLE_VIEWS = [v for v in VIEWS if v not in (_chunk, _unbind)]


def _add_number(draw, shape):
    n = draw(st.sampled_from([1, -2.0, 0.5]))
    return lambda x: x.add_(n)


def _imul(draw, shape):
    n = draw(st.sampled_from([2, -1.0, 0.5]))

    def write(x):
        x *= n

    return write


def _fill(draw, shape):
    n = draw(st.integers(-3, 3))
    return lambda x: x.fill_(n)


def _zero(draw, shape):
    return lambda x: x.zero_()


def _add_itself(draw, shape):
    return lambda x: x.add_(x.clone(), alpha=2)


def _copy_reversed(draw, shape):
    # the source is a view of the destination's memory, cloned: overlapping copies are undefined in PyTorch
    return lambda x: x.copy_((x * 2 + 1).clone())


def _setitem(draw, shape):
    index = _index(draw, shape)
    number = draw(st.integers(-3, 3))

    def write(x):
        x[index] = number

    return write


def _setitem_tensor(draw, shape):
    index = _index(draw, shape)

    def write(x):
        x[index] = x[index].clone() - 1

    return write


def _iadd_part(draw, shape):
    index = _index(draw, shape)

    def write(x):
        x[index] += 3

    return write


def _masked(draw, shape):
    number = draw(st.integers(-3, 3))

    def write(x):
        x[x > 2] = number

    return write


def _masked_values(draw, shape):
    def write(x):
        x[x > 2] = x[x > 2] - 5

    return write


def _index_write(draw, shape):
    if not shape or not shape[0]:
        return None
    extent = shape[0]
    entries = st.integers(-extent, extent - 1)
    positions = draw(st.lists(entries, min_size=1, max_size=extent, unique_by=lambda i: i % extent))

    def write(x):
        x[positions] = x[positions] * 2

    return write


WRITES = [
    _add_number, _imul, _fill, _zero, _add_itself, _copy_reversed, _setitem, _setitem_tensor, _iadd_part, _masked,
    _masked_values, _index_write,
]


def _numpy_write(draw, shape):
    def write(x):
        array = x.detach().numpy()
        array += 1

    return write


# PyTorch's results take on the strides of their operands, ours are contiguous: what follows must not depend on it
COMPUTES = [
    lambda draw, shape: lambda x: (x * 2).contiguous(),
    lambda draw, shape: lambda x: x.clone().contiguous(),
    lambda draw, shape: lambda x: (x + x).contiguous(),
    lambda draw, shape: lambda x: x.contiguous(),
    lambda draw, shape: lambda x: x.detach(),
]


def agree(theirs, ours):
    assert tuple(ours.shape) == tuple(theirs.shape)
    np.testing.assert_array_equal(ours.detach().numpy().copy(), theirs.detach().numpy())


def both(function, theirs, ours):
    """The results of a function in both libraries; the same exception in ours as in PyTorch, or ``None`` for both."""
    try:
        expected = function(theirs)
    except Exception as error:
        with pytest.raises(type(error)):
            function(ours)
        return None
    return expected, function(ours)


def start(torch, draw):
    shape = draw(st.sampled_from([(6,), (4, 6), (3, 4), (2, 3, 4), (2, 2, 3, 2), (1, 5), ()]))
    array = np.arange(float(np.prod(shape))).reshape(shape)
    return torch.tensor(array), from_array(array.copy())


@SETTINGS
@given(data=st.data())
def test_programs_of_views_and_writes_leave_all_tensors_as_pytorch_does(data):
    torch = pytest.importorskip("torch")
    draw = data.draw
    pool = [start(torch, draw)]
    for _ in range(draw(st.integers(1, 12))):
        theirs, ours = pool[draw(st.integers(0, len(pool) - 1))]
        kind = draw(st.sampled_from(["view", "view", "write", "write", "compute", "numpy", "read"]))
        if kind == "read":
            agree(theirs, ours)
            continue
        table = {"view": VIEWS, "write": WRITES, "compute": COMPUTES, "numpy": [_numpy_write]}[kind]
        function = draw(st.sampled_from(table))(draw, tuple(theirs.shape))
        if function is None:
            continue
        if kind == "numpy" and 0 in theirs.stride():
            continue
        note(f"{function.__qualname__} of a tensor of shape {list(theirs.shape)}")
        results = both(function, theirs, ours)
        if results is not None and kind in ("view", "compute"):
            pool.append(results)
        for theirs, ours in pool:
            assert tuple(ours.shape) == tuple(theirs.shape)
    for theirs, ours in pool:
        agree(theirs, ours)


@SETTINGS
@given(data=st.data())
def test_gradients_through_programs_of_views_and_writes_are_pytorchs(data):
    torch = pytest.importorskip("torch")
    draw = data.draw
    theirs, ours = start(torch, draw)
    leaves = theirs.requires_grad_(), ours.requires_grad_()
    pool = [tuple(leaf * 2 for leaf in leaves)]
    for _ in range(draw(st.integers(1, 10))):
        theirs, ours = pool[draw(st.integers(0, len(pool) - 1))]
        kind = draw(st.sampled_from(["view", "write", "compute", "quiet"]))
        table = {"view": SINGLE_VIEWS, "write": WRITES, "compute": COMPUTES[:4], "quiet": WRITES}[kind]
        function = draw(st.sampled_from(table))(draw, tuple(theirs.shape))
        if function is None:
            continue
        try:
            if kind == "quiet":
                with torch.no_grad():
                    expected = function(theirs)
            else:
                expected = function(theirs)
        except Exception:
            # what PyTorch refuses, such as writing to one of several views, may work here; the program goes on without
            continue
        if kind == "quiet":
            with flamework.no_grad():
                function(ours)
        else:
            result = function(ours)
            if kind in ("view", "compute"):
                pool.append((expected, result))
    for theirs, ours in pool:
        agree(theirs, ours)
        assert ours.requires_grad == theirs.requires_grad
    # weights which differ by position tell which element a gradient came from
    totals = []
    for side, library in ((0, torch), (1, None)):
        total = None
        for pair in pool:
            x = pair[side]
            weights = np.arange(1.0, x.numel() + 1).reshape(tuple(x.shape))
            weights = library.tensor(weights) if library else from_array(weights)
            term = (x * weights).sum() if library else flamework.sum(x * weights)
            total = term if total is None else total + term
        totals.append(total)
    try:
        totals[0].backward()
    except RuntimeError:
        # PyTorch finds out here that a program writes to an expanded tensor
        reject()
    totals[1].backward()
    agree(leaves[0].grad, leaves[1].grad)
