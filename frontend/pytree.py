"""Nested containers as a flat list of leaves and a structure: what compiled functions take and return.

Tuples, named tuples, lists, dictionaries and instances of dataclasses are containers, everything else is a leaf. A
structure is a hashable tuple, equal for equal nestings.

In: any nesting. Out: leaves in order, and the structure from which :func:`unflatten` builds the nesting again.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

LEAF = None


class Shell:
    """An empty copy of a container whose class may want more than its contents. All shells are equal."""

    __slots__ = ("container",)

    def __init__(self, container: Any) -> None:
        self.container = container

    def __eq__(self, other: object) -> bool:
        return type(other) is Shell

    def __hash__(self) -> int:
        return 0


def flatten(tree: Any, is_leaf: Callable[[Any], bool] | None = None) -> tuple[list[Any], Any]:
    """The leaves of a nesting and its structure.

    Args:
        is_leaf: says of a container whether it is to be a leaf itself.

    Example:
        >>> from flamework.pytree import flatten
        >>> flatten({"a": (1, 2)})[0]
        [1, 2]
    """
    leaves: list[Any] = []
    return leaves, _flatten(tree, leaves, is_leaf)


def _flatten(tree: Any, leaves: list[Any], is_leaf: Callable[[Any], bool] | None) -> Any:
    parts = None if is_leaf is not None and is_leaf(tree) else contents(tree)
    if parts is None:
        leaves.append(tree)
        return LEAF
    names, values = parts
    kind = type(tree)
    shell = None if kind in _SIMPLE or names is None else Shell(emptied(tree))
    return (kind, names, tuple(_flatten(x, leaves, is_leaf) for x in values), shell)


_SIMPLE = (tuple, list, dict)


def contents(tree: Any) -> tuple[tuple | None, Any] | None:
    """The keys of a container, None if it has none, and its values; None for a leaf."""
    kind = type(tree)
    if kind is tuple or kind is list or (isinstance(tree, tuple) and hasattr(kind, "_fields")):
        return None, tree
    if isinstance(tree, dict):
        return tuple(tree), tree.values()
    if dataclasses.is_dataclass(tree) and not isinstance(tree, type):
        names = tuple(f.name for f in dataclasses.fields(tree) if hasattr(tree, f.name))
        return names, [getattr(tree, name) for name in names]
    return None


def emptied(tree: Any) -> Any:
    """A copy of a dictionary or dataclass without its contents."""
    shell = copy.copy(tree)
    if isinstance(shell, dict):
        shell.clear()
    else:
        for field in dataclasses.fields(shell):
            object.__setattr__(shell, field.name, None)
    return shell


def unflatten(structure: Any, leaves: Iterator[Any]) -> Any:
    """The nesting of a structure with these leaves."""
    if structure is LEAF:
        return next(leaves)
    kind, names, children, shell = structure
    items = [unflatten(child, leaves) for child in children]
    if names is None:
        return kind(*items) if hasattr(kind, "_fields") else kind(items)
    if shell is None:
        return dict(zip(names, items, strict=True))
    result = copy.copy(shell.container)
    if isinstance(result, dict):
        for name, item in zip(names, items, strict=True):
            result[name] = item
    else:
        for name, item in zip(names, items, strict=True):
            object.__setattr__(result, name, item)
    return result
