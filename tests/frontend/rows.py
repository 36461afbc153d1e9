"""Tables of expressions that have to mean the same in Flamework and in PyTorch.

A row is a Python expression over named tensors (:data:`TENSORS`), with ``torch`` for the package and ``F`` for its
``nn.functional``. :func:`check` evaluates it with both packages, seeded alike, and compares type, dtype, shape, values,
``requires_grad``, and the gradients of every float64 tensor that it names. A row that raises has to raise in both
(:func:`check_error`). Rows with several statements assign ``result``.
"""

from __future__ import annotations

import builtins
import re
import warnings

import flamework
import numpy as np
import pytest
from flamework.compiler.primitives import Undefined
from oracle import expected

_random = np.random.default_rng(7)


def _normal(*shape: int, dtype: str = "float64") -> np.ndarray:
    return _random.standard_normal(shape).astype(dtype)


# float64 tensors require a gradient in every row; the others do not.
TENSORS = {
    "x": _normal(3, 4),
    "y": _normal(3, 4),
    "pos": np.abs(_normal(3, 4)) + 0.1,
    "unit": np.clip(_normal(3, 4) / 3, -0.9, 0.9),
    "prob": np.clip(np.abs(_normal(3, 4)) / 3, 0.05, 0.95),
    "ties": np.array([[1.0, 2.0, 2.0, -1.0], [0.0, 0.0, 0.0, 0.0], [-3.0, -1.0, -1.0, -3.0]]),
    "edge": np.array([-3.0, -1.0, -0.5, 0.0, 0.5, 1.0, 3.0, 6.0]),
    "wild": np.array([np.nan, np.inf, -np.inf, 0.0, -0.0, 1.5, -1e300, 1e-300]),
    "nan2": np.array([[1.0, np.nan, 3.0], [np.nan, np.nan, np.nan], [2.0, 1.0, 3.0]]),
    "vec": _normal(4),
    "vec3": _normal(3),
    "col": _normal(3, 1),
    "scalar": np.array(0.75),
    "cube": _normal(2, 3, 4),
    "cube2": _normal(2, 3, 4),
    "mat": _normal(4, 5),
    "batch": _normal(2, 4, 5),
    "deep": _normal(2, 1, 3, 4),
    "image": _normal(2, 4, 6, 7),
    "seq": _normal(2, 4, 9),
    "volume": _normal(1, 2, 4, 5, 4),
    "empty": np.zeros((0, 3)),
    "hollow": np.zeros((2, 0, 3)),
    "f": _normal(3, 4, dtype="float32"),
    "f1": _normal(4, dtype="float32"),
    "i": _random.integers(-5, 6, (3, 4)),
    "j": _random.integers(1, 5, (3, 4)),
    "i32": _random.integers(-5, 6, (3, 4)).astype("int32"),
    "u8": _random.integers(0, 9, (3, 4)).astype("uint8"),
    "i8": _random.integers(-9, 9, (3, 4)).astype("int8"),
    "b": _random.integers(0, 2, (3, 4)).astype(bool),
    "b1": np.array([True, False, True, True]),
    "zero_i": np.array(3),
    "idx": np.array([[0, 2, 1, 0], [1, 1, 0, 2]]),
    "cols": np.array([[3, 0], [1, 1], [0, 2]]),
    "few": np.array([2, 0, 2]),
    "labels": np.array([1, 0, 3]),
    "ignored": np.array([1, -100, 3]),
    "none_i": np.zeros((0,), "int64"),
}

TOLERANCE = {"float32": (2e-5, 2e-6), "float64": (1e-9, 1e-11)}


def named(expression: str) -> list[str]:
    return [name for name in TENSORS if re.search(rf"\b{name}\b", expression)]


def evaluate(package, expression: str, *, gradients: bool = True):
    """The value of a row and the leaves that it used."""
    tensors = {}
    for name in named(expression):
        array = TENSORS[name]
        tensors[name] = package.tensor(array if array.ndim else array[()])
        if array.dtype == np.float64 and gradients:
            tensors[name].requires_grad_()
    package.manual_seed(3)
    scope = {"torch": package, "F": package.nn.functional, "np": np, "inf": float("inf"), "nan": float("nan")} | tensors
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if "result =" in expression:
            exec(expression, scope)
            return scope["result"], tensors
        return eval(expression, scope), tensors


def flatten(value) -> list:
    if isinstance(value, (tuple, list)) and type(value).__name__ != "Size":
        return [leaf for part in value for leaf in flatten(part)]
    return [value]


def answer(package, expression: str, gradients: bool) -> dict:
    """What a row gives in a package: the name of its type, its tensors and other values, and the gradients."""
    value, leaves = evaluate(package, expression, gradients=gradients)
    # PyTorch's named results cannot be asked for their fields' names except one by one
    fields = isinstance(value, tuple) and (hasattr(type(value), "n_fields") or hasattr(type(value), "_fields"))
    found, loss = [], None
    for part in flatten(value):
        if not isinstance(part, package.Tensor):
            found.append(tuple(part) if isinstance(part, tuple) else part)
            continue
        found.append({
            "dtype": str(part.dtype).removeprefix("torch.").removeprefix("flamework."), "shape": tuple(part.shape),
            "requires_grad": part.requires_grad, "value": part.detach().numpy(),
        })
        if part.requires_grad and part.numel():
            weights = np.random.default_rng(part.numel()).standard_normal(tuple(part.shape))
            weighted = (part * package.tensor(weights, dtype=package.float64)).sum()
            loss = weighted if loss is None else loss + weighted
    found = {"type": type(value).__name__ if fields else "", "values": found, "gradients": {}}
    if loss is not None:
        loss.backward()
        given = {name: leaf.grad for name, leaf in leaves.items()}
        found["gradients"] = {name: None if g is None else g.numpy() for name, g in given.items()}
    return found


def check(expression: str, *, gradients: bool = True, exact: bool = False, tolerance: float = 0) -> None:
    """Assert that a row means the same in both packages."""
    theirs = expected(lambda torch: answer(torch, expression, gradients))
    ours = answer(flamework, expression, gradients)
    if theirs["type"]:
        assert ours["type"] == theirs["type"]
    assert len(ours["values"]) == len(theirs["values"]), expression
    for a, b in zip(ours["values"], theirs["values"]):
        if not isinstance(b, dict):
            assert a == b or (a != a and b != b), expression
            continue
        assert [a[key] for key in ("dtype", "shape", "requires_grad")] == [
            b[key] for key in ("dtype", "shape", "requires_grad")
        ], expression
        same(a["value"], b["value"], expression, exact, tolerance)
    for name, gradient in theirs["gradients"].items():
        mine = ours["gradients"].get(name)
        if gradient is None or (mine is None and not gradient.any()):
            assert mine is None or not mine.any(), f"gradient of {name} in {expression}"
        else:
            assert mine is not None, f"no gradient of {name} in {expression}"
            same(mine, gradient, f"gradient of {name} in {expression}", False, tolerance)


def same(a: np.ndarray, b: np.ndarray, what: str, exact: bool, tolerance: float) -> None:
    relative, absolute = (0, 0) if exact else TOLERANCE.get(str(b.dtype), (0, 0))
    np.testing.assert_allclose(a, b, rtol=max(relative, tolerance), atol=absolute, equal_nan=True, err_msg=what)


def check_error(expression: str, *, text: bool = False) -> None:
    """Assert that a row raises PyTorch's type of error in both packages, ``Undefined`` being a NotImplementedError; if
    asked, with its text."""
    name, theirs = expected(lambda torch: raised(torch, expression))
    with pytest.raises(Exception) as ours:
        value, _ = evaluate(flamework, expression)
        for part in flatten(value):
            if isinstance(part, flamework.Tensor):
                part.detach().numpy()
    kind = NotImplementedError if ours.type is Undefined else ours.type
    assert kind is getattr(builtins, name, None), f"{expression}: {ours.value!r} instead of {name}: {theirs}"
    assert str(ours.value), expression
    if text:
        # the first sentence; what follows points to functions and pages of PyTorch
        assert str(ours.value).split("\n")[0] == theirs


def raised(package, expression: str) -> tuple[str, str]:
    """The type of the error that a row raises, and the first line of its text."""
    with pytest.raises(Exception) as error:
        evaluate(package, expression)
    return error.type.__name__, str(error.value).split("\n")[0]
