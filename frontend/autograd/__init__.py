"""Gradients as a user asks for them: ``backward`` and ``grad``.

The work is done by ``compiler/autodiff.py``, which extends the graph by the cotangents of some nodes; here tensors are
translated to nodes and back. Nothing is computed: a gradient is recorded like everything else, and runs together with
the program that it belongs to.

In: tensors. Out: gradients, in the ``grad`` of leaves or as tensors. Read next: ``gradient_hooks.py``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .. import levels
from ..compiler import primitives as p, primitives_shape as s
from ..compiler.autodiff import differentiable_order, is_leaf, recording_gradients, vjp
from ..compiler.dtypes import COMPLEX
from ..compiler.gradient import gradients as gradients_of
from ..compiler.ir import Node
from ..function import Function, FunctionCtx, once_differentiable
from ..grad_mode import enable_grad, inference_mode, is_grad_enabled, no_grad, set_grad_enabled
from ..leaves import accumulate
from ..recording import node_of, tensor_of
from ..tensor import Tensor, is_gradient_leaf

__all__ = [
    "Function", "FunctionCtx", "Variable", "backward", "detect_anomaly", "enable_grad", "forward_ad", "functional",
    "grad", "gradcheck", "gradgradcheck", "inference_mode", "is_anomaly_check_nan_enabled", "is_anomaly_enabled",
    "is_grad_enabled", "no_grad", "once_differentiable", "profiler", "set_detect_anomaly", "set_grad_enabled",
]


class _VariableType(type):
    def __instancecheck__(cls, instance: Any) -> bool:
        return isinstance(instance, Tensor)


class Variable(metaclass=_VariableType):
    """What tensors with gradients were called: ``Variable(data)`` is a tensor, and every tensor is a ``Variable``.

    Args:
        data: a tensor, whose memory the result shares but whose history it does not have.
        requires_grad: whether it is a leaf that gets gradients.

    As ``torch.autograd.Variable``.

    Raises:
        TypeError: ``data`` is no tensor.

    Example:
        >>> import flamework
        >>> x = flamework.autograd.Variable(flamework.ones(2), requires_grad=True)
        >>> type(x) is flamework.Tensor, isinstance(x, flamework.autograd.Variable), x.requires_grad
        (True, True, True)
    """

    def __new__(cls, data: Tensor, requires_grad: bool = False) -> Tensor:
        if not isinstance(data, Tensor):
            raise TypeError(f"Variable data has to be a tensor, but got {type(data).__name__}")
        return data.detach().requires_grad_(requires_grad)


def _sequence(value: Any) -> tuple:
    if value is None:
        return ()
    return (value,) if isinstance(value, Tensor) else tuple(value)


def _cotangents(outputs: Sequence[Tensor], gradients: Sequence[Tensor | None], create_graph: bool) -> list[Node]:
    cotangents = []
    for i, (output, gradient) in enumerate(zip(outputs, gradients)):
        if not isinstance(output, Tensor):
            raise TypeError(f"expected Tensors, but got {type(output).__name__}")
        if not output.requires_grad:
            raise RuntimeError(f"element {i} of tensors does not require grad and does not have a grad_fn")
        node = node_of(output)
        if gradient is None:
            if node.type.size != 1:
                raise RuntimeError("grad can be implicitly created only for scalar outputs")
            if node.type.dtype.kind == COMPLEX:
                raise RuntimeError(
                    f"grad can be implicitly created only for real scalar outputs but got {node.type.dtype}"
                )
            cotangents.append(p.full_like(node, 1))
            continue
        if not isinstance(gradient, Tensor):
            raise TypeError(f"gradients can be either Tensors or None, but got {type(gradient).__name__}")
        given = node_of(gradient)
        if given.type.shape != node.type.shape:
            raise RuntimeError(
                f"Mismatch in shape: grad_output[{i}] has a shape of {gradient.shape} and output[{i}] has a shape of "
                f"{output.shape}."
            )
        cotangents.append(s.converted(given, node.type.dtype))
    return cotangents


def _leaf_nodes(order: Sequence[Node]) -> dict[Tensor, list[Node]]:
    """For each leaf tensor the nodes of its values in a graph."""
    found: dict[Tensor, list[Node]] = {}
    for node in order:
        mark = node.mark
        if is_leaf(node) and mark is not None and mark.leaf is not None and (tensor := mark.leaf()) is not None:
            found.setdefault(tensor, []).append(node)
    return found


def _wanted(inputs: Sequence[Tensor], outputs: Sequence[Node]) -> list[list[Node]]:
    leaves: dict[Tensor, list[Node]] | None = None
    wanted = []
    for tensor in inputs:
        if not tensor.requires_grad:
            raise RuntimeError("One of the differentiated Tensors does not require grad")
        if is_gradient_leaf(tensor):
            if leaves is None:
                leaves = _leaf_nodes(differentiable_order(outputs))
            wanted.append(leaves.get(tensor, []))
        else:
            wanted.append([node_of(tensor)])
    return wanted


class _Handed:
    """Gradients that are handed to tensors: each node to one tensor only, and never a node that the user holds."""

    def __init__(self, cotangents: Sequence[Node]) -> None:
        self.taken = set(cotangents)

    def __call__(self, node: Node) -> Node:
        if node in self.taken:
            return s.copy(node)
        self.taken.add(node)
        return node


def backward(
    tensors: Tensor | Sequence[Tensor],
    grad_tensors: Tensor | Sequence[Tensor | None] | None = None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
    inputs: Tensor | Sequence[Tensor] | None = None,
) -> None:
    """Add the gradients of ``tensors`` to the ``grad`` of the leaves; as ``torch.autograd.backward``.

    Args:
        tensors: what to differentiate; of one element each, unless it has a ``grad_tensors``.
        grad_tensors: the vectors of the vector-Jacobian products, of the shapes of ``tensors``.
        retain_graph: keep what the graph saved, for another pass; by default ``create_graph``.
        create_graph: record the pass itself, so that its results can be differentiated.
        inputs: accumulate into these only.

    Raises:
        RuntimeError: nothing requires a gradient, shapes do not fit, a saved value is gone, or a transform of
            ``flamework.func`` is running.
    """
    if levels.active:
        raise RuntimeError(
            "backward() called inside a functorch transform. This is not supported, please use functorch.grad or "
            "functorch.vjp instead or call backward() outside of functorch transforms."
        )
    outputs = _sequence(tensors)
    gradients = _sequence(grad_tensors) or (None,) * len(outputs)
    if len(gradients) != len(outputs):
        raise RuntimeError(f"got {len(outputs)} tensors and {len(gradients)} gradients")
    if inputs is not None and not _sequence(inputs):
        raise RuntimeError("`inputs` argument to `backward()` cannot be empty.")
    cotangents = _cotangents(outputs, gradients, create_graph)
    nodes = [node_of(t) for t in outputs]
    keep = create_graph if retain_graph is None else retain_graph
    handed = _Handed(cotangents)
    targets = _sequence(inputs)
    wanted = _wanted(targets, nodes) if targets else None
    take = vjp if create_graph else gradients_of
    with recording_gradients(create_graph):
        flat = None if wanted is None else [n for group in wanted for n in group]
        found = take(nodes, cotangents, wanted=flat, retain_graph=keep)
        if wanted is None:
            for node, gradient in found.items():
                tensor = node.mark.leaf() if node.mark is not None and node.mark.leaf is not None else None
                if tensor is not None:
                    accumulate(tensor, handed(gradient))
            return
        for tensor, group in zip(targets, wanted):
            # the hook of retain_grad() has done it already
            if not tensor.retains_grad:
                for node in group:
                    if node in found:
                        accumulate(tensor, handed(found[node]))


def grad(
    outputs: Tensor | Sequence[Tensor],
    inputs: Tensor | Sequence[Tensor],
    grad_outputs: Tensor | Sequence[Tensor | None] | None = None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
    allow_unused: bool | None = None,
    is_grads_batched: bool = False,
    materialize_grads: bool = False,
) -> tuple[Tensor | None, ...]:
    """The gradients of ``outputs`` by ``inputs``, without touching any ``grad``; as ``torch.autograd.grad``.

    Args:
        allow_unused: give None for inputs that do not influence the outputs, instead of raising.
        is_grads_batched: the first axis of ``grad_outputs`` is a batch, and becomes that of the gradients: rows of a
            Jacobian by one pass.
        materialize_grads: give zeros for inputs that do not influence the outputs.

    Raises:
        RuntimeError: an input that requires no gradient or is unused, or as for :func:`backward`.
    """
    results, targets = _sequence(outputs), _sequence(inputs)
    if any(isinstance(t, Tensor) and t.is_sparse for t in targets):
        return _sparse_grad(targets, outputs, grad_outputs, retain_graph, create_graph, allow_unused, is_grads_batched,
                            materialize_grads)
    if materialize_grads and allow_unused is False:
        raise ValueError(
            "Expected allow_unused to be True or not passed when materialize_grads=True, but got: allow_unused=False."
        )
    gradients = _sequence(grad_outputs) or (None,) * len(results)
    if len(gradients) != len(results):
        raise RuntimeError(f"got {len(results)} tensors and {len(gradients)} gradients")
    if is_grads_batched:
        return _batched_grad(results, targets, gradients, retain_graph, create_graph, allow_unused, materialize_grads)
    cotangents = _cotangents(results, gradients, create_graph)
    nodes = [node_of(t) for t in results]
    wanted = _wanted(targets, nodes)
    keep = create_graph if retain_graph is None else retain_graph
    handed = _Handed(cotangents)
    take = vjp if create_graph else gradients_of
    with recording_gradients(create_graph):
        found = take(nodes, cotangents, wanted=[n for group in wanted for n in group], retain_graph=keep)
        answer: list[Tensor | None] = []
        for tensor, group in zip(targets, wanted):
            total = None
            for node in group:
                if node in found:
                    total = found[node] if total is None else p.add(total, found[node])
            if total is not None:
                answer.append(tensor_of(handed(total)))
            elif materialize_grads:
                answer.append(tensor_of(p.full_like(tensor._node, 0)))
            elif allow_unused:
                answer.append(None)
            else:
                raise RuntimeError(
                    f"The differentiated Tensor at index {len(answer)} appears to not have been used in the graph. Set "
                    "allow_unused=True if this is the desired behavior."
                )
    return tuple(answer)


def _sparse_grad(inputs: Sequence[Tensor], outputs: Tensor | Sequence[Tensor], *options: Any) -> tuple:
    """The gradients by tensors some of which are sparse: those of their values, with their coordinates."""
    from ..sparse.tensor import gradient_of, values_of  # they are made of what this chapter exports

    found = grad(outputs, [values_of(t) if t.is_sparse else t for t in inputs], *options)
    return tuple(gradient_of(t, g) if t.is_sparse and g is not None else g for t, g in zip(inputs, found))


def _batched_grad(
    outputs: Sequence[Tensor], inputs: Sequence[Tensor], grad_outputs: Sequence[Tensor | None], *options: Any
) -> tuple[Tensor | None, ...]:
    """The gradients for every element of a batch of cotangents."""
    from ..func.vmap import vmap  # it is made of what this chapter exports

    retain_graph, create_graph, allow_unused, materialize_grads = options
    batched = [i for i, g in enumerate(grad_outputs) if g is not None]
    for i in batched:
        given, meant = grad_outputs[i].shape, outputs[i].shape
        if tuple(given[1:]) != tuple(meant):
            raise RuntimeError(
                "If `is_grads_batched=True`, we interpret the first dimension of each grad_output as the batch "
                "dimension. The sizes of the remaining dimensions are expected to match the shape of corresponding "
                f"output, but a mismatch was detected: grad_output[{i}] has a shape of {given} and output[{i}] has a "
                f"shape of {meant}. If you only want some tensors in `grad_output` to be considered batched, consider "
                "using vmap."
            )
    used: list[bool] = []

    def single(*rows: Tensor) -> tuple[Tensor, ...]:
        cotangents = dict(zip(batched, rows))
        found = grad(
            outputs, inputs, [cotangents.get(i) for i in range(len(outputs))], retain_graph, create_graph, allow_unused,
            materialize_grads=materialize_grads,
        )
        used[:] = [g is not None for g in found]
        return tuple(g for g in found if g is not None)

    parts = iter(vmap(single)(*[grad_outputs[i] for i in batched]))
    return tuple(next(parts) if there else None for there in used)


def _backward(
    self: Tensor,
    gradient: Tensor | None = None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
    inputs: Tensor | Sequence[Tensor] | None = None,
) -> None:
    """Add the gradients of this tensor to the ``grad`` of the leaves it was computed from; as ``Tensor.backward``.

    Example:
        >>> import flamework
        >>> x = flamework.tensor([1.0, 2.0], requires_grad=True)
        >>> (x * x).sum().backward()
        >>> x.grad
        tensor([2., 4.])
    """
    backward(self, None if gradient is None else (gradient,), retain_graph, create_graph, inputs)


Tensor.backward = _backward

# These chapters are written with the functions above.
from . import forward_ad, functional, profiler  # noqa: E402
from .anomaly import (  # noqa: E402
    detect_anomaly,
    is_anomaly_check_nan_enabled,
    is_anomaly_enabled,
    set_detect_anomaly,
)
from .gradcheck import gradcheck, gradgradcheck  # noqa: E402
