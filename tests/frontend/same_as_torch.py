"""Running one program with two packages and comparing what comes out.

A *script* is a function of a package: it is called once with ``flamework`` and once with ``torch`` and returns plain
values, arrays or tensors, nested in tuples, lists and dictionaries. An exception counts as a result too: its type and
its text.
"""

from __future__ import annotations

from collections import OrderedDict

import flamework
import numpy as np
from oracle import expected


def kind_of(error):
    """PyTorch's type of an error: ours are subclasses of it."""
    return NotImplementedError if isinstance(error, NotImplementedError) else type(error)


def assert_same(script, *args, rtol=1e-6, atol=1e-7, messages=True):
    """Assert that ``script(package, *args)`` gives the same with both packages."""
    theirs = expected(lambda torch: outcome(script, torch, *args))
    ours = outcome(script, flamework, *args)
    if not messages:
        ours, theirs = _without_message(ours), _without_message(theirs)
    compare(ours, theirs, rtol, atol)


def outcome(script, package, *args):
    """Return the plain result of a script, or the type and text of the exception that it raised."""
    try:
        return plain(script(package, *args))
    except Exception as error:
        return ("raised", type(error).__name__, str(error))


def plain(value):
    """Replace tensors by arrays, at any depth."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if hasattr(value, "detach"):
        return value.detach().cpu().numpy()
    return value


def compare(ours, theirs, rtol=1e-6, atol=1e-7, path="result"):
    """Assert that two plain results are equal, arrays up to rounding."""
    if isinstance(theirs, dict):
        assert isinstance(ours, dict), f"{path}: {ours!r} instead of {theirs!r}"
        assert list(ours) == list(theirs), path
        for key, item in theirs.items():
            compare(ours[key], item, rtol, atol, f"{path}[{key!r}]")
    elif isinstance(theirs, list):
        assert isinstance(ours, list), f"{path}: {ours!r} instead of {theirs!r}"
        assert len(ours) == len(theirs), f"{path}: {ours!r} instead of {theirs!r}"
        for i, item in enumerate(theirs):
            compare(ours[i], item, rtol, atol, f"{path}[{i}]")
    elif isinstance(theirs, np.ndarray):
        assert ours.dtype == theirs.dtype, path
        np.testing.assert_allclose(ours, theirs, rtol=rtol, atol=atol, err_msg=path)
        assert ours.shape == theirs.shape, path
    else:
        assert ours == theirs, f"{path}: {ours!r} instead of {theirs!r}"


def array(*shape, seed=0, dtype="float32"):
    """Return an array of numbers from the standard normal distribution."""
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def small_model(torch):
    """Return a model with a tied weight, a module under two names, buffers and nested containers."""
    nn = torch.nn
    torch.manual_seed(0)
    model = nn.Sequential(OrderedDict(
        first=nn.Linear(3, 4),
        norm=nn.BatchNorm1d(4),
        body=nn.ModuleList([nn.Linear(4, 4), nn.Linear(4, 4), nn.Sequential(nn.ReLU(), nn.Dropout(0.1))]),
    ))
    model.tied = nn.Linear(3, 4)
    model.tied.weight = model.first.weight
    model.again = model.first
    return model


def _without_message(result):
    if not isinstance(result, tuple) or result[0] != "raised":
        return result
    # a subclass of ours
    return "raised", "NotImplementedError" if result[1] == "Undefined" else result[1]
