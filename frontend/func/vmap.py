"""``vmap``: a function of one element, for a batch of them.

The function is called once, on placeholders for one element (``compiler/batching.py``), and what it recorded is then
made for all: each operation by the batching rule of its row. There are no loops, neither here nor in what is computed.

An argument that the function writes to is written for the whole batch. A tensor from outside of the function, of which
there is one for all elements, cannot be given a value for each.

In: a function of tensors. Out: a function of tensors with one axis more. Read next: ``modules.py``.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

from ..compiler.ir import Node
from ..compiler.primitives_shape import permuted
from ..function import moved_rule
from ..joining import cat
from ..levels import BatchLevel
from ..mutation import assign
from ..pytree import LEAF, flatten, unflatten
from ..recording import node_of, pending, tensor_of
from ..tensor import Tensor, axis_of
from ..views import movedim, view_of
from .derivatives import own_tensors

RANDOMNESS = ("error", "different", "same")


def vmap(
    func: Callable, in_dims: int | tuple = 0, out_dims: int | tuple | None = 0, randomness: str = "error", *,
    chunk_size: int | None = None,
) -> Callable:
    """A function that applies ``func`` to every element of a batch, and stacks the results; as ``torch.vmap``.

    Args:
        func: of tensors and nestings of them, returning tensors; it looks at no values.
        in_dims: along which axis of each argument the elements lie; None for what is the same for all. One number, or
            numbers nested like the arguments, where a number stands for all of a nesting.
        out_dims: where that axis is to be in each result; None for a result that is the same for all elements.
        randomness: whether random functions are refused ("error"), or give each element numbers of its own
            ("different") or all the same ("same").
        chunk_size: how many elements to compute at once; None for all.

    Raises:
        ValueError: arguments that do not fit ``in_dims`` or each other.
        RuntimeError: when called: ``func`` looks at a value, or writes elements' values to a tensor of all.

    Example:
        >>> import flamework
        >>> flamework.vmap(flamework.dot)(flamework.ones(3, 2), flamework.ones(3, 2))
        tensor([2., 2., 2.])
    """
    if randomness not in RANDOMNESS:
        raise RuntimeError(f"Only allowed values for randomness are 'error', 'different', or 'same'. Got {randomness}")
    if not (chunk_size is None or chunk_size > 0):
        raise ValueError(f"vmap: chunk_size should be None or greater than 0. (got {chunk_size})")

    @functools.wraps(func)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        name = getattr(func, "__name__", repr(func))
        leaves, structure = flatten(args)
        dims = input_dims(in_dims, args, leaves, structure, name)

        def rebuild(values: Sequence[Any]) -> tuple[Any, Any]:
            # what is given by name is the same for all
            return unflatten(structure, iter(values)), kwargs

        size = batch_size(leaves, dims)
        if chunk_size is None or size <= chunk_size:
            results, shape = mapped(func, name, rebuild, leaves, dims, size, out_dims, randomness)
            return unflatten(shape, iter(results))
        pieces = []
        for start in range(0, size, chunk_size):
            count = min(chunk_size, size - start)
            part = [x if d is None else x.narrow(d, start, count) for x, d in zip(leaves, dims)]
            pieces.append(mapped(func, name, rebuild, part, dims, count, out_dims, randomness))
        shape = pieces[0][1]
        places = output_dims(out_dims, shape, name)
        joined = [
            parts[0] if d is None else cat(parts, d) for d, *parts in zip(places, *[results for results, _ in pieces])
        ]
        return unflatten(shape, iter(joined))

    return wrapped


# ---------------------------------------------------------------------------------------------------------------- axes


def input_dims(in_dims: Any, args: tuple, leaves: Sequence[Any], structure: Any, name: str) -> list[int | None]:
    """For each leaf of the arguments the axis of its elements, not negative, or None."""
    if not isinstance(in_dims, (int, tuple, list)):
        raise ValueError(
            f"vmap({name}, in_dims={in_dims}, ...)(<inputs>): expected `in_dims` to be int or a (potentially nested) "
            f"tuple matching the structure of inputs, got: {type(in_dims)}."
        )
    if not args:
        raise ValueError(
            f"vmap({name})(<inputs>): got no inputs. Maybe you forgot to add inputs, or you are trying to vmap over a "
            "function with no inputs. The latter is unsupported."
        )
    found: list[Any] = []
    if not spread_dims(tuple(in_dims) if isinstance(in_dims, list) else in_dims, structure, found):
        raise ValueError(
            f"vmap({name}, in_dims={in_dims}, ...)(<inputs>): in_dims is not compatible with the structure of `inputs`."
        )
    dims = []
    for leaf, d in zip(leaves, found):
        if d is not None and not isinstance(d, int):
            raise ValueError(
                f"vmap({name}, in_dims={in_dims}, ...)(<inputs>): Got in_dim={d} for an input but in_dim must be "
                "either an integer dimension or None."
            )
        if isinstance(d, int) and not isinstance(leaf, Tensor):
            raise ValueError(
                f"vmap({name}, in_dims={in_dims}, ...)(<inputs>): Got in_dim={d} for an input but the input is of type "
                f"{type(leaf)}. We cannot vmap over non-Tensor arguments, please use None as the respective in_dim"
            )
        if d is not None and not -leaf.ndim <= d < leaf.ndim:
            raise ValueError(
                f"vmap({name}, in_dims={in_dims}, ...)(<inputs>): Got in_dim={d} for some input, but that input is a "
                f"Tensor of dimensionality {leaf.ndim} so expected in_dim to satisfy -{leaf.ndim} <= in_dim < "
                f"{leaf.ndim}."
            )
        dims.append(None if d is None else d % leaf.ndim)
    return dims


def spread_dims(dims: Any, structure: Any, found: list[Any]) -> bool:
    """Append the axis of each leaf below ``structure``; False if ``dims`` is nested otherwise."""
    if structure is LEAF:
        found.append(dims)
        return not isinstance(dims, (tuple, list, dict))
    kind, names, children, _ = structure
    if dims is None or isinstance(dims, int):
        return all(spread_dims(dims, child, found) for child in children)
    if not isinstance(dims, (tuple, list, dict)) or isinstance(dims, dict) != (names is not None):
        return False
    if len(dims) != len(children) or names is not None and set(dims) != set(names):
        return False
    parts = dims if names is None else [dims[key] for key in names]
    return all(spread_dims(part, child, found) for part, child in zip(parts, children))


def batch_size(leaves: Sequence[Any], dims: Sequence[int | None]) -> int:
    sizes = [x.shape[d] for x, d in zip(leaves, dims) if d is not None]
    if not sizes:
        raise ValueError("vmap: at least one input must have an in_dim that is not None")
    if len(set(sizes)) > 1:
        raise ValueError(
            "vmap: Expected all tensors to have the same size in the mapped dimension, got sizes "
            f"{sizes} for the mapped dimension"
        )
    return sizes[0]


def output_dims(out_dims: Any, structure: Any, name: str) -> list[int | None]:
    """For each leaf of the result where the axis of the batch is to be."""
    found: list[Any] = []
    if isinstance(out_dims, (tuple, list)) and len(out_dims) == 1 and structure is LEAF:
        (out_dims,) = out_dims
    if not spread_dims(out_dims, structure, found):
        raise ValueError(
            f"vmap({name}, ..., out_dims={out_dims})(<inputs>): out_dims is not compatible with the structure of "
            "`outputs`."
        )
    return found


# ----------------------------------------------------------------------------------------------------------- recording


def mapped(
    func: Callable, name: str, rebuild: Callable, leaves: Sequence[Any], dims: Sequence[int | None], size: int,
    out_dims: Any, randomness: str,
) -> tuple[list[Any], Any]:
    """The results of ``func`` for a batch, flat, and their structure."""
    level = BatchLevel(size, randomness)
    rule = moved_rule(level.rule, level.lane, level.batched)
    arguments: list[tuple[Tensor, Tensor, Node, int]] = []
    with level, pending.inside(level):
        values = list(leaves)
        for i, (leaf, d) in enumerate(zip(leaves, dims)):
            if d is not None:
                node = level.lane(in_front(node_of(leaf), d))
                values[i] = tensor_of(node)
                arguments.append((leaf, values[i], node, d))
        args, kwargs = rebuild(values)
        outputs, structure = flatten(func(*args, **kwargs))
        places = output_dims(out_dims, structure, name)
        nodes = checked(outputs, places, level, name)
        changed = [(leaf, d, written_value(tensor)) for leaf, tensor, node, d in arguments if is_written(tensor, node)]
    results = level.batched([node for node, d in zip(nodes, places) if d is not None], rule)
    for leaf, d, node in changed:
        (value,) = level.batched([node], rule)
        assign(movedim(leaf, d, 0) if d else view_of(leaf), value)
    ends = [d for d in places if d is not None]
    tensors = own_tensors([moved(x, axis_of(d, x.ndim)) for x, d in zip(results, ends)], list(level.values.values()))
    found = iter(tensors)
    return [output if d is None else next(found) for output, d in zip(outputs, places)], structure


def checked(outputs: Sequence[Any], places: Sequence[int | None], level: BatchLevel, name: str) -> list[Node | None]:
    """The nodes of the results, where there has to be one."""
    nodes: list[Node | None] = []
    for output, d in zip(outputs, places):
        if isinstance(output, Tensor):
            node = node_of(output)
            if d is None and level.depends(node):
                raise ValueError(f"vmap({name}, ...): `{name}` can not return a BatchedTensor when out_dim is None")
            nodes.append(node)
            continue
        if d is not None:
            raise ValueError(
                f"vmap({name}, ...): `{name}` must only return Tensors, got type {type(output)}. Did you mean to set "
                "out_dims= to None for output?"
            )
        nodes.append(None)
    return nodes


def is_written(tensor: Tensor, node: Node) -> bool:
    """Whether an argument is no longer the placeholder ``node``."""
    return written_value(tensor) is not node


def written_value(tensor: Tensor) -> Node:
    return tensor._node if tensor._storage is None else tensor._storage.node


def in_front(node: Node, axis: int) -> Node:
    """A node with one axis moved to the front."""
    order = (axis, *[a for a in range(node.ndim) if a != axis])
    return permuted(node, order)


def moved(node: Node, axis: int) -> Node:
    """A node with its first axis moved."""
    order = list(range(1, node.ndim))
    order.insert(axis, 0)
    return permuted(node, tuple(order))
