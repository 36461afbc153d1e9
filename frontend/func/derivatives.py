"""Derivatives of functions: ``grad``, ``vjp``, ``jvp``, ``linearize``.

A function is called on copies of its arguments which require a gradient, so that it records a graph that begins there;
``compiler/autodiff.py`` extends that graph. When the derivative is there, the copies are taken out again
(:meth:`Graph.results`): the results hang on the arguments themselves, and can be differentiated, batched or neither, as
whatever is outside wants it. Tangents need no such copies of the graph: they are pushed through what was recorded.

In: functions of tensors, and of nestings of tensors. Out: functions. Read next: ``jacobians.py``.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

from ..compiler import primitives as p, primitives_shape as s
from ..compiler.autodiff import jvp as tangents_of, recording_gradients, vjp as vjp_of
from ..compiler.batching import Rule, lane_of, rebuild, rebuilt
from ..compiler.gradient import gradients
from ..compiler.ir import Node, grad_mode
from ..function import moved_rule
from ..leaves import check_differentiable
from ..levels import ForwardLevel, Level, active, is_tracked
from ..pytree import flatten, unflatten
from ..recording import node_of, tensor_of
from ..storage import Storage
from ..tensor import Tensor


def described(structure: Any) -> str:
    """A nesting as PyTorch's messages show it: ``(*, {'a': *})``."""
    if structure is None:
        return "*"
    kind, names, children, _ = structure
    inner = [described(child) for child in children]
    if names is not None:
        return "{" + ", ".join(f"{name!r}: {text}" for name, text in zip(names, inner)) + "}"
    if kind is list:
        return "[" + ", ".join(inner) + "]"
    return "(" + ", ".join(inner) + ("," if len(inner) == 1 else "") + ")"


def tensors_in(tree: Any) -> tuple[list[Tensor], Any]:
    """The tensors of a nesting, and its structure.

    Raises:
        ValueError: a leaf that is no tensor.
    """
    leaves, structure = flatten(tree)
    for leaf in leaves:
        if not isinstance(leaf, Tensor):
            raise ValueError(f"Thing passed to transform API must be Tensor, got {type(leaf)}")
    return leaves, structure


def output_tensors(output: Any, name: str) -> tuple[list[Tensor], Any]:
    """The tensors that a function returned, and their structure.

    Raises:
        RuntimeError: it returned something else, or nothing.
    """
    leaves, structure = flatten(output)
    for leaf in leaves:
        if not isinstance(leaf, Tensor):
            raise RuntimeError(
                f"{name}: expected f(*primals) to return only tensors, got unsupported type {type(leaf)}"
            )
    if not leaves:
        raise RuntimeError(f"{name}: Expected f to be a function that has non-empty output, got output = {output}")
    return leaves, structure


def with_aux(result: Any, name: str, has_aux: bool) -> tuple[Any, Any]:
    """What a function returned, and the rest of it."""
    if not has_aux:
        return result, None
    if not (isinstance(result, tuple) and len(result) == 2):
        raise RuntimeError(f"{name}: output of function f should be a tuple: (output, aux) if has_aux is True")
    return result


def argument_positions(argnums: int | Sequence[int], count: int) -> tuple[int, ...]:
    """Non-negative positions among ``count`` arguments. Raises as PyTorch does for what is none."""
    if not isinstance(argnums, (int, tuple)):
        raise RuntimeError(f"argnum must be int or Tuple[int, ...], got: {type(argnums)}")
    given = (argnums,) if isinstance(argnums, int) else argnums
    if not given:
        raise RuntimeError("argnums must be non-empty")
    for at in given:
        if not isinstance(at, int):
            raise RuntimeError(f"argnum must be int, got {type(at)}")
        if not -count <= at < count:
            raise RuntimeError(f"Got argnum={at}, but only {count} positional inputs")
    positions = tuple(at % count for at in given)
    if len(set(positions)) != len(positions):
        raise RuntimeError(f"argnums elements must be unique, got {argnums}")
    return positions


def chosen(argnums: int | Sequence[int], args: Sequence[Any]) -> Any:
    """The arguments that are differentiated by: one, or a tuple."""
    positions = argument_positions(argnums, len(args))
    return args[positions[0]] if isinstance(argnums, int) else tuple(args[at] for at in positions)


def replaced(argnums: int | Sequence[int], args: Sequence[Any], values: Any) -> list[Any]:
    """All arguments, with others in the place of the chosen ones."""
    result = list(args)
    positions = argument_positions(argnums, len(args))
    for at, value in zip(positions, (values,) if isinstance(argnums, int) else values):
        result[at] = value
    return result


class Graph:
    """What a function recorded, begun at copies of its arguments.

    Attributes:
        inputs: the copies, as ``tensors`` what the function is called with.
        values: the arguments, of which they are copies.
        outputs: what the function returned.
    """

    def __init__(self, tensors: Sequence[Tensor]) -> None:
        for tensor in tensors:
            check_differentiable(tensor)
        self.values = [node_of(t) for t in tensors]
        self.inputs = [Node(s.copy, (x,), (), x.type, None, True) for x in self.values]
        self.tensors = [tensor_of(x) for x in self.inputs]
        self.outputs: list[Node] = []
        self.written: dict[int, Any] = {}
        self.rebuilt: dict[Node, Node] = dict(zip(self.inputs, self.values))

    def call(
        self, function: Callable, args: Sequence[Any], kwargs: dict[str, Any], level: Level | None = None
    ) -> Any:
        """The function's result, where gradients are tracked whatever the mode outside.

        Args:
            level: if not one whose inputs must not be written to.
        """
        if level is None:
            level = Level()
            level.inputs = self.tensors
        with level, recording_gradients(True):
            result = function(*args, **kwargs)
        self.written = level.written
        return result

    def has_history(self, nodes: Sequence[Node]) -> bool:
        """Whether anything outside may want to differentiate or transform ``nodes``."""
        return bool(active) or (grad_mode.enabled and is_tracked(nodes, self.inputs))

    def vjp(self, cotangents: Sequence[Node]) -> list[Node]:
        """The gradients of the outputs by the inputs, zeros where they do not depend on one: for :meth:`results`."""
        pairs = [(node, g) for node, g in zip(self.outputs, cotangents) if node.requires_grad]
        nodes, given = [node for node, _ in pairs], [g for _, g in pairs]
        found: dict[Node, Node] = {}
        if self.has_history([*nodes, *given]):
            with recording_gradients(True):
                found = vjp_of(nodes, given, wanted=self.inputs, retain_graph=True)
        elif nodes:
            # the same pass as last time, if the function recorded the same
            with recording_gradients(False):
                found = gradients(nodes, given, wanted=self.inputs, retain_graph=True)
        return [found[x] if x in found else p.full_like(x, 0) for x in self.inputs]

    def results(self, nodes: Sequence[Node]) -> list[Tensor]:
        """Tensors of nodes, computed from the arguments themselves."""
        if self.has_history(nodes):
            made = self.rebuild(nodes, moved_rule(rebuild, lambda g: g, self.rebuild))
        else:
            made = [s.detach(x) if x.requires_grad else x for x in nodes]
        return own_tensors(made, self.values)

    def rebuild(self, nodes: Sequence[Node], rule: Rule) -> list[Node]:
        return rebuilt(nodes, self.rebuilt, rule)

    def outside(self, tree: Any) -> Any:
        """A nesting with its tensors computed from the arguments themselves."""
        leaves, structure = flatten(tree)
        places = [i for i, leaf in enumerate(leaves) if isinstance(leaf, Tensor) and leaf.requires_grad]
        for i, tensor in zip(places, self.results([node_of(leaves[i]) for i in places])):
            leaves[i] = tensor
        return unflatten(structure, iter(leaves))

    def settle_writes(self) -> None:
        """Take the copies out of what the function has written to tensors from outside."""
        for held in self.written.values():
            node = held.node if isinstance(held, Storage) else held._node
            if node.requires_grad:
                (made,) = self.results([node])
                if isinstance(held, Storage):
                    held.replace(node_of(made), silent=True)
                else:
                    held._node = node_of(made)


def own_tensors(nodes: Sequence[Node], held: Sequence[Node] = ()) -> list[Tensor]:
    """A tensor for each node; a node belongs to one tensor, so that others, and those of ``held``, get a copy."""
    taken = set(held)
    tensors = []
    for node in nodes:
        if node in taken:
            node = s.copy(node)
        taken.add(node)
        tensors.append(tensor_of(node))
    return tensors


def grad_and_value(func: Callable, argnums: int | tuple[int, ...] = 0, has_aux: bool = False) -> Callable:
    """A function that returns the gradient of ``func`` and its value; as ``torch.func.grad_and_value``.

    Args:
        func: returns a tensor of one element without axes; with ``has_aux`` also something else.
        argnums: by which of the positional arguments, each a tensor or a nesting of tensors.

    Returns:
        ``(gradient, value)``, with ``has_aux`` ``(gradient, (value, aux))``.

    Example:
        >>> import flamework
        >>> flamework.func.grad_and_value(lambda x: (x * x).sum())(flamework.tensor([1.0, 2.0]))
        (tensor([2., 4.]), tensor(5.))
    """
    name = "grad_and_value(f)(*args)"

    @functools.wraps(func)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        tensors, structure = tensors_in(chosen(argnums, args))
        graph = Graph(tensors)
        inner = replaced(argnums, args, unflatten(structure, iter(graph.tensors)))
        output, aux = with_aux(graph.call(func, inner, kwargs), name, has_aux)
        if not isinstance(output, Tensor):
            raise RuntimeError(f"{name}: Expected f(*args) to return a Tensor, got {type(output)}")
        if output.dim():
            raise RuntimeError(
                f"{name}: Expected f(*args) to return a scalar Tensor, got tensor with {output.dim()} dims. Maybe you "
                "wanted to use the vjp or jacrev APIs instead?"
            )
        node = node_of(output)
        graph.outputs = [node]
        *slopes, value = graph.results([*graph.vjp([p.full_like(node, 1)]), node])
        graph.settle_writes()
        slope = unflatten(structure, iter(slopes))
        return (slope, (value, graph.outside(aux))) if has_aux else (slope, value)

    return wrapper


def grad(func: Callable, argnums: int | tuple[int, ...] = 0, has_aux: bool = False) -> Callable:
    """A function that returns the gradient of ``func``; as ``torch.func.grad``.

    Args:
        func: returns a tensor of one element without axes; with ``has_aux`` also something else.
        argnums: by which of the positional arguments, each a tensor or a nesting of tensors.

    Raises:
        RuntimeError: when called: no such argument, no floating point, or a result that is no scalar.

    Example:
        >>> import flamework
        >>> flamework.func.grad(flamework.func.grad(lambda x: x**3))(flamework.tensor(2.0))
        tensor(12.)
    """
    both = grad_and_value(func, argnums, has_aux)

    @functools.wraps(func)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        slope, value = both(*args, **kwargs)
        return (slope, value[1]) if has_aux else slope

    return wrapper


def vjp(func: Callable, *primals: Any, has_aux: bool = False) -> tuple:
    """The result of ``func`` and a function of cotangents; as ``torch.func.vjp``.

    Args:
        func: of tensors and nestings of tensors; with ``has_aux`` it returns ``(output, aux)``.
        primals: its arguments.

    Returns:
        ``(output, vjp_fn)`` or ``(output, vjp_fn, aux)``. ``vjp_fn`` takes cotangents nested as the output is and
        returns a tuple with the product of each argument's Jacobian, transposed.

    Example:
        >>> import flamework
        >>> output, vjp_fn = flamework.func.vjp(flamework.sin, flamework.zeros(2))
        >>> vjp_fn(flamework.ones(2))
        (tensor([1., 1.]),)
    """
    return vjp_by(func, None, primals, has_aux)


def vjp_by(
    func: Callable, argnums: int | tuple[int, ...] | None, args: Sequence[Any], has_aux: bool, jacobian: bool = False
) -> tuple:
    """:func:`vjp` by some of the arguments, or by all."""
    name = "vjp(f, *primals)"
    tensors, structure = tensors_in(tuple(args) if argnums is None else chosen(argnums, args))
    graph = Graph(tensors)
    primals = unflatten(structure, iter(graph.tensors))
    inner = primals if argnums is None else replaced(argnums, args, primals)
    output, aux = with_aux(graph.call(func, inner, {}), name, has_aux)
    leaves, output_structure = output_tensors(output, name)
    graph.outputs = [node_of(t) for t in leaves]
    results = graph.results(graph.outputs)
    graph.settle_writes()

    def vjp_fn(*given: Any) -> Any:
        cotangents = given[0] if len(given) == 1 else given
        flat, cotangent_structure = flatten(cotangents)
        if cotangent_structure != output_structure:
            raise RuntimeError(
                "Expected pytree structure of cotangents to be the same as pytree structure of outputs to the "
                f"function. cotangents: {described(cotangent_structure)}, primal output: {described(output_structure)}"
            )
        for i, (g, x) in enumerate(zip(flat, graph.outputs)):
            if tuple(g.shape) != x.shape:
                raise RuntimeError(
                    f"Mismatch in shape: grad_output[{i}] has a shape of {g.shape} and output[{i}] has a shape of "
                    f"{results[i].shape}."
                )
        nodes = [s.converted(node_of(g), x.dtype) for g, x in zip(flat, graph.outputs)]
        return unflatten(structure, iter(graph.results(graph.vjp(nodes))))

    result = unflatten(output_structure, iter(results))
    return (result, vjp_fn, graph.outside(aux)) if has_aux else (result, vjp_fn)


def jvp(
    func: Callable, primals: tuple, tangents: tuple, *, strict: bool = False, has_aux: bool = False
) -> tuple:
    """The result of ``func`` and its derivative in a direction; as ``torch.func.jvp``.

    Args:
        primals: the arguments, a tuple of tensors and nestings of tensors.
        tangents: the direction, nested as ``primals``.
        strict: refuse an output that does not depend on the arguments.
        has_aux: ``func`` returns ``(output, aux)``.

    Returns:
        ``(output, tangent)`` or ``(output, tangent, aux)``.

    Raises:
        RuntimeError: arguments that do not fit each other, or as PyTorch.

    Example:
        >>> import flamework
        >>> x = flamework.tensor([1.0, 2.0])
        >>> flamework.func.jvp(lambda x: x**2, (x,), (flamework.ones(2),))
        (tensor([1., 4.]), tensor([2., 4.]))
    """
    return jvp_by(func, None, primals, primals, tangents, strict, has_aux)


def jvp_by(
    func: Callable, argnums: int | tuple[int, ...] | None, args: Sequence[Any], primals: Any, tangents: Any,
    strict: bool = False, has_aux: bool = False,
) -> tuple:
    """:func:`jvp` by some of the arguments, ``primals``, or by all."""
    name = "jvp(f, primals, tangents)"
    if not isinstance(args, tuple):
        raise RuntimeError(f"{name}: Expected primals to be a tuple. E.g. it should be valid to call f(*primals).")
    leaves, structure = output_tensors_of(primals, name, "primals")
    directions, direction_structure = flatten(tangents)
    if structure != direction_structure:
        raise RuntimeError(
            f"{name}: Expected primals and tangents to have the same python structure. For example, if primals is a "
            f"tuple of 3 tensors, tangents also must be. Got primals with structure {described(structure)} and "
            f"tangents with structure {described(direction_structure)}"
        )
    output_tensors_of(tangents, name, "tangents")
    for x, t in zip(leaves, directions):
        if x.shape != t.shape:
            raise RuntimeError(
                "Trying to set a forward gradient that has a different size than that of the original Tensor, this is "
                f"not supported. Tensor is of size {list(x.shape)} while the given forward gradient is of size "
                f"{list(t.shape)}."
            )
    # functions record what a derivative needs only for what requires a gradient
    graph = Graph(leaves)
    begun = unflatten(structure, iter(graph.tensors))
    inner = begun if argnums is None else replaced(argnums, args, begun)
    given = [s.converted(node_of(t), x.dtype) for t, x in zip(directions, graph.inputs)]
    output, aux = with_aux(graph.call(func, inner, {}, ForwardLevel()), name, has_aux)
    outputs, output_structure = output_tensors(output, name)
    nodes = [node_of(t) for t in outputs]
    slopes = tangents_of(nodes, dict(zip(graph.inputs, given)))
    if strict and any(slope is None for slope in slopes):
        raise RuntimeError(
            f"{name[:-1]}, strict=True): The output of f is independent of the inputs. This is not allowed with "
            "strict=True."
        )
    slopes = [p.full_like(x, 0) if slope is None else slope for x, slope in zip(nodes, slopes)]
    found = iter(graph.results([*nodes, *slopes]))
    graph.settle_writes()
    answer = unflatten(output_structure, found), unflatten(output_structure, found)
    return (*answer, graph.outside(aux)) if has_aux else answer


def output_tensors_of(tree: Any, name: str, what: str) -> tuple[list[Tensor], Any]:
    """The tensors among the arguments of :func:`jvp`, and their structure."""
    leaves, structure = flatten(tree)
    for leaf in leaves:
        if not isinstance(leaf, Tensor):
            raise RuntimeError(
                f"{name}: Expected {what} to be a tuple of only tensors, got unsupported type {type(leaf)}"
            )
    if not leaves:
        raise RuntimeError(f"{name}: Expected {what} to contain at least one Tensor.")
    return leaves, structure


def linearize(func: Callable, *primals: Any) -> tuple[Any, Callable]:
    """The result of ``func`` and its derivative there as a function of directions; as ``torch.func.linearize``.

    Returns:
        ``(output, jvp_fn)``; ``jvp_fn`` takes as many directions as there are ``primals``.

    Example:
        >>> import flamework
        >>> output, jvp_fn = flamework.func.linearize(flamework.exp, flamework.zeros(2))
        >>> jvp_fn(flamework.ones(2))
        tensor([1., 1.])
    """
    leaves, structure = tensors_in(primals)
    graph = Graph(leaves)
    output = graph.call(func, unflatten(structure, iter(graph.tensors)), {}, ForwardLevel())
    outputs, output_structure = output_tensors(output, "linearize(f, *primals)")
    nodes = [node_of(t) for t in outputs]
    # what depends on the direction is recorded once, for one that is not known yet
    placeholders = [lane_of(x.type, True) for x in graph.inputs]
    with recording_gradients(True):
        recorded = tangents_of(nodes, dict(zip(graph.inputs, placeholders)))
    slopes = [p.full_like(x, 0) if slope is None else slope for x, slope in zip(nodes, recorded)]
    primal = unflatten(output_structure, iter(graph.results(nodes)))
    graph.settle_writes()

    def jvp_fn(*tangents: Any) -> Any:
        directions, direction_structure = flatten(tangents)
        if direction_structure != structure:
            raise RuntimeError(
                f"linearize(f, *primals): Expected tangents to have the structure {described(structure)} of the "
                f"primals, got {described(direction_structure)}"
            )
        for i, (x, t) in enumerate(zip(graph.values, directions)):
            if x.shape != tuple(t.shape) or x.dtype is not t.dtype:
                raise RuntimeError(
                    f"linearize(f, *primals): tangent {i} has shape {list(t.shape)} and dtype {t.dtype}, its primal "
                    f"{list(x.shape)} and {x.dtype}"
                )
        given = [node_of(t) for t in directions]
        found = rebuilt(slopes, {**dict(zip(graph.inputs, graph.values)), **dict(zip(placeholders, given))})
        return unflatten(output_structure, iter(own_tensors(found, [*graph.values, *slopes, *given])))

    return primal, jvp_fn
