"""What PyTorch answers: asked now where it is installed, else as it was recorded.

A test asks through :func:`expected`. With PyTorch the answer is computed; ``make record`` also keeps it, in
``tests/expected``, one file for each file of tests, by the name of the test and how many answers it asked for before.
Without PyTorch the recorded answer is given, and a test whose answers were not recorded is skipped.
"""

from __future__ import annotations

import base64
import collections
import functools
import gzip
import importlib.util
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

FOLDER = Path(__file__).parent / "expected"
INSTALLED = importlib.util.find_spec("torch") is not None
RECORDING = INSTALLED and bool(os.environ.get("FLAMEWORK_RECORD"))

#: Characters of the JSON of an answer. Large images are compared where PyTorch is, and not kept in the repository.
MOST_RECORDED = 16384

_asked: collections.Counter[tuple[str, str]] = collections.Counter()
_recorded: dict[str, dict[str, Any]] = collections.defaultdict(dict)


def expected(answer: Callable[[Any], Any]) -> Any:
    """``answer(torch)``, which is made of dictionaries, lists, tuples, arrays, numbers and strings."""
    file, _, test = os.environ["PYTEST_CURRENT_TEST"].rpartition(" ")[0].partition("::")
    name = f"{test}#{_asked[file, test]}"
    _asked[file, test] += 1
    stem = Path(file).stem
    if not INSTALLED:
        recorded = _read(stem)
        if name not in recorded:
            pytest.skip("could not import 'torch', and its answer is not recorded")
        return decoded(recorded[name])
    result = answer(pytest.importorskip("torch"))
    if RECORDING:
        form = encoded(result)
        if len(json.dumps(form)) <= MOST_RECORDED:
            _recorded[stem][name] = form
    return result


def start_of_test() -> None:
    """A test that runs again asks again from the first answer."""
    _asked.clear()


def write() -> None:
    """Keep what was recorded: each file that was asked for anew is written as a whole."""
    FOLDER.mkdir(exist_ok=True)
    for stem, answers in _recorded.items():
        text = json.dumps(dict(sorted(answers.items())), separators=(",", ":"))
        (FOLDER / f"{stem}.json.gz").write_bytes(gzip.compress(text.encode(), mtime=0))


@functools.cache
def _read(stem: str) -> dict[str, Any]:
    path = FOLDER / f"{stem}.json.gz"
    return json.loads(gzip.decompress(path.read_bytes())) if path.exists() else {}


def encoded(value: Any) -> Any:
    """A value as JSON. Raises `TypeError` for what has no form there."""
    if isinstance(value, np.ndarray):
        data = base64.b64encode(np.ascontiguousarray(value).tobytes()).decode()
        return {"array": [str(value.dtype), list(value.shape), data]}
    if isinstance(value, dict):
        return {"dict": [[encoded(key), encoded(item)] for key, item in value.items()]}
    if isinstance(value, list):
        return [encoded(item) for item in value]
    if isinstance(value, tuple):
        return {"tuple": [encoded(item) for item in value]}
    if isinstance(value, complex):
        return {"complex": [value.real, value.imag]}
    if value is None or type(value) in (bool, int, float, str):
        return value
    raise TypeError(f"an answer of type {type(value).__name__} cannot be recorded")


def decoded(value: Any) -> Any:
    """What :func:`encoded` made JSON of."""
    if isinstance(value, list):
        return [decoded(item) for item in value]
    if not isinstance(value, dict):
        return value
    ((kind, content),) = value.items()
    if kind == "array":
        dtype, shape, data = content
        return np.frombuffer(base64.b64decode(data), dtype).reshape(shape)
    if kind == "dict":
        return {decoded(key): decoded(item) for key, item in content}
    return complex(*content) if kind == "complex" else tuple(decoded(item) for item in content)
