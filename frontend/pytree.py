"""Nested containers as a flat list of leaves and a structure: what compiled functions take and return.

Tuples, named tuples, lists and dictionaries (of any subclass that its own class can rebuild) are containers, everything
else is a leaf. A structure is a hashable tuple, equal for equal nestings.

In: any nesting. Out: leaves in order, and the structure from which :func:`unflatten` builds the nesting again.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

LEAF = None


def flatten(tree: Any) -> tuple[list[Any], Any]:
    """The leaves of a nesting and its structure.

    Example:
        >>> from flamework.pytree import flatten
        >>> flatten({"a": (1, 2)})[0]
        [1, 2]
    """
    leaves: list[Any] = []
    return leaves, _flatten(tree, leaves)


def _flatten(tree: Any, leaves: list[Any]) -> Any:
    kind = type(tree)
    if kind is tuple or kind is list or (isinstance(tree, tuple) and hasattr(tree, "_fields")):
        return (kind, tuple(_flatten(x, leaves) for x in tree))
    if isinstance(tree, dict):
        return (kind, tuple(tree), tuple(_flatten(x, leaves) for x in tree.values()))
    leaves.append(tree)
    return LEAF


def unflatten(structure: Any, leaves: Iterator[Any]) -> Any:
    """The nesting of a structure with these leaves."""
    if structure is LEAF:
        return next(leaves)
    kind, *rest = structure
    if len(rest) == 1:
        items = [unflatten(x, leaves) for x in rest[0]]
        return kind(*items) if hasattr(kind, "_fields") else kind(items)
    keys, structures = rest
    items = {key: unflatten(x, leaves) for key, x in zip(keys, structures, strict=True)}
    if kind is dict:
        return items
    result = kind()
    result.update(items)
    return result
