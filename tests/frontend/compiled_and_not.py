"""Running a script with and without ``flamework.compile`` and comparing what comes out, bit for bit."""

import dataclasses
from collections import namedtuple

import flamework
import flamework as torch
import numpy as np

Pair = namedtuple("Pair", "first second")


@dataclasses.dataclass
class Batch:
    x: object
    y: object = None


def plain(value):
    """Tensors as arrays at any depth, so that two runs can be compared."""
    if isinstance(value, torch.Tensor):
        return (str(value.dtype), value.requires_grad, value.stride(), np.array(value.detach().numpy(), copy=True))
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [type(value).__name__, *map(plain, value)]
    if isinstance(value, Exception):
        return (type(value).__name__, str(value))
    return value


def assert_equal(found, expected, path="result"):
    assert type(found) is type(expected), (path, found, expected)
    if isinstance(expected, dict):
        assert list(found) == list(expected), path
        for key in expected:
            assert_equal(found[key], expected[key], f"{path}[{key!r}]")
    elif isinstance(expected, (list, tuple)):
        assert len(found) == len(expected), (path, found, expected)
        for i, (a, b) in enumerate(zip(found, expected)):
            assert_equal(a, b, f"{path}[{i}]")
    elif isinstance(expected, np.ndarray):
        assert found.shape == expected.shape, path
        assert found.tobytes() == expected.tobytes(), (path, found, expected)
    else:
        assert found == expected or (found != found and expected != expected), (path, found, expected)


class Decorator:
    """``flamework.compile``, which remembers what it made."""

    def __init__(self):
        self.made = []

    def __call__(self, function, **options):
        self.made.append(flamework.compile(function, **options))
        return self.made[-1]

    @property
    def recordings(self):
        """How many programs are kept."""
        found = [getattr(c, "compiled", c) for c in self.made]
        return sum(len(kind.variants) for c in found for kind in c.kinds.values())


def uncompiled(function, **options):
    return function


def same(script, recordings=None):
    """Run a script with and without compilation and compare everything that it returns.

    Args:
        script: a function of the decorator; a generator of values, or a function that returns them.
        recordings: how many programs the compiled functions keep at the end.
    """
    torch.manual_seed(0)
    expected = [plain(v) for v in script(uncompiled)]
    torch.manual_seed(0)
    decorator = Decorator()
    for i, (value, wanted) in enumerate(zip(script(decorator), expected, strict=True)):
        assert_equal(plain(value), wanted, f"value {i}")
    if recordings is not None:
        assert decorator.recordings == recordings


def randn(*shape, seed=0, dtype=np.float32):
    return torch.from_numpy(np.random.default_rng(seed + sum(shape)).standard_normal(shape).astype(dtype)).clone()
