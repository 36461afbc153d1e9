"""The examples in the docstrings of the package do what they say."""

from __future__ import annotations

import doctest
import importlib
import pkgutil

import flamework
import pytest


def modules() -> list[str]:
    """Every module of the package but those for what is not installed."""
    found = [info.name for info in pkgutil.walk_packages(flamework.__path__, "flamework.")]
    return [name for name in found if ".kernels.cuda" not in name]


@pytest.mark.parametrize("name", modules())
def test_examples_of_a_module(name):
    module = importlib.import_module(name)
    finder = doctest.DocTestFinder(exclude_empty=True)
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
    output: list[str] = []
    for test in finder.find(module, name):
        runner.run(test, out=output.append)
    assert runner.failures == 0, "".join(output)
