"""The slow, obvious evaluation of a graph: every row's NumPy reference, one node at a time.

The oracle of ``FLAMEWORK_VERIFY=1`` and of the tests. Nothing in normal running comes here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from .composite import flattened
from .ir import Node, topological
from .narrow import computes


def evaluate(roots: Sequence[Node], read: Callable[[Node], np.ndarray]) -> list[np.ndarray]:
    """The values of ``roots`` as arrays. ``read`` gives the array of a node that has been computed (an input)."""
    values: dict[Node, np.ndarray] = {}
    roots = flattened(roots)
    for node in topological(roots):
        op = node.op
        if op.name == "scalar":
            result = np.full(node.shape, node.value, node.dtype.numpy)
        elif node.value is not None:
            result = read(node)
        else:
            with np.errstate(all="ignore"):
                arrays = [values[s] for s in node.src]
                if computes(op):
                    # 16-bit floats are computed with in float32
                    arrays = [x.astype(s.dtype.compute.numpy, copy=False) for x, s in zip(arrays, node.src)]
                result = op.reference(node.params, *arrays)
        result = np.asarray(result)
        if result.dtype != node.dtype.numpy:
            result = result.astype(node.dtype.numpy)
        values[node] = result
    return [values[root] for root in roots]
