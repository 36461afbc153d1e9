"""Stochastic gradient descent, with momentum and weight decay.

In: gradients. Out: parameters moved against them. Read ``optimizer.py`` first; ``adam.py`` is the rule with more state.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import chain
from typing import Any

import flamework
from flamework import formulas as f
from flamework.capture import number
from flamework.compiler import primitives as p, primitives_shape as s
from flamework.compiler.composite import composite
from flamework.compiler.ir import Node
from flamework.mutation import assign
from flamework.optim.optimizer import (
    Arguments,
    Optimizer,
    Parameters,
    as_number,
    check_hints,
    check_learning_rate,
    check_not_negative,
    evaluate,
    in_batches,
    with_gradient,
)
from flamework.recording import node_of, tensor_of
from flamework.tensor import Tensor


class SGD(Optimizer):
    """p <- p - lr g, or with momentum v <- momentum v + (1 - dampening) g and p <- p - lr v.

    Args:
        params: what ``Optimizer`` takes.
        lr: learning rate; a tensor of one element is read at every step.
        momentum: the part of the velocity that stays; the first step's velocity is the gradient.
        dampening: takes from the gradient's part in the velocity.
        weight_decay: adds this times the parameter to the gradient.
        nesterov: use g + momentum v in the place of v.
        maximize: move along the gradients.
        foreach, fused: which of PyTorch's implementations to use. They compute the same; here every update is fused,
            and both are kept for ``state_dict``.

    Raises:
        ValueError: a negative hyperparameter, or ``nesterov`` without momentum or with dampening.

    Sutskever et al., "On the importance of initialization and momentum in deep learning" (2013). As
    ``torch.optim.SGD``.

    Example:
        >>> import flamework
        >>> w = flamework.nn.Parameter(flamework.ones(1))
        >>> optimizer = flamework.optim.SGD([w], lr=0.5, momentum=0.9)
        >>> (w * 2).sum().backward()
        >>> optimizer.step()
        >>> w.tolist()
        [0.0]
    """

    def __init__(self, params: Parameters, lr: float | Tensor = 1e-3, momentum: float = 0, dampening: float = 0,
                 weight_decay: float = 0, nesterov: bool = False, *, maximize: bool = False,
                 foreach: bool | None = None, fused: bool | None = None) -> None:
        check_learning_rate(lr)
        check_not_negative("momentum value", momentum)
        check_not_negative("weight_decay value", weight_decay)
        if nesterov and (momentum <= 0 or dampening != 0):
            raise ValueError("Nesterov momentum requires a momentum and zero dampening")
        check_hints(foreach, fused)
        super().__init__(params, {"lr": lr, "momentum": momentum, "dampening": dampening,
                                  "weight_decay": weight_decay, "nesterov": nesterov, "maximize": maximize,
                                  "foreach": foreach, "fused": fused})

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        for group in self.param_groups:
            for name, default in (("nesterov", False), ("maximize", False), ("foreach", None), ("fused", None)):
                group.setdefault(name, default)

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Update every parameter that has a gradient.

        Args:
            closure: evaluates the model and returns the loss; called first, with gradients enabled.

        Returns:
            What ``closure`` returned.
        """
        loss = evaluate(closure)
        with flamework.no_grad():
            for group in self.param_groups:
                lr = number(lambda group=group: as_number(group["lr"]))
                arguments = Arguments()
                # parameters that have a velocity, and those that get theirs now
                sets: tuple[list, list] = ([], [])
                for param, grad in with_gradient(group):
                    velocity = self.state[param].get("momentum_buffer") if group["momentum"] != 0 else None
                    held = () if velocity is None else (velocity,)
                    sets[len(held)].append(((param, grad, *held), 0))
                for batch, _ in chain(*map(in_batches, sets)):
                    self._update(batch, lr, group, arguments)
        return loss

    def _update(
        self, batch: list[Sequence[Tensor]], lr: float, group: dict[str, Any], arguments: Arguments
    ) -> None:
        momentum, weight_decay = group["momentum"], group["weight_decay"]
        nodes = [node_of(tensor) for tensors in batch for tensor in tensors]
        like = nodes[0]
        decay = arguments("decay", weight_decay, like) if weight_decay != 0 else None
        factors = (None, None)
        if momentum != 0:
            factors = arguments("momentum", momentum, like), arguments("share", 1 - group["dampening"], like)
        factor = arguments("factor", -lr, like)
        values = iter(_sgd(factor, *factors, decay, group["nesterov"], len(batch[0]), *nodes))
        for param, _, *held in batch:
            assign(param, next(values))
            if held:
                assign(held[0], next(values))
            elif momentum != 0:
                self.state[param]["momentum_buffer"] = tensor_of(next(values))


@composite
def _sgd(
    factor: Node, momentum: Node | None, share: Node | None, decay: Node | None, nesterov: bool, count: int,
    *tensors: Node,
) -> tuple[Node, ...]:
    """The new values of the parameters of a batch, each followed by its velocity if there is a momentum.

    ``tensors`` are, ``count`` for each parameter: itself, its gradient, and its velocity if it has one. Numbers have no
    axes.
    """
    numbers = (factor, momentum, share, decay)
    values: list[Node] = []
    for at in range(0, len(tensors), count):
        values += _sgd_of_one(numbers, nesterov, *tensors[at : at + count])
    return tuple(values)


def _sgd_of_one(
    numbers: tuple[Node | None, ...], nesterov: bool, param: Node, grad: Node, velocity: Node | None = None
) -> tuple[Node, ...]:
    factor, momentum, share, decay = [None if n is None else f.broadcast_to(n, param.type.shape) for n in numbers]
    grad = f.converted(grad, param.type.dtype)
    if decay is not None:
        grad = p.add(grad, p.mul(param, decay))
    direction, more = grad, ()
    if momentum is not None:
        velocity = s.copy(grad) if velocity is None else p.add(p.mul(velocity, momentum), p.mul(grad, share))
        direction, more = velocity, (velocity,)
        if nesterov:
            direction = p.add(grad, p.mul(velocity, momentum))
    return p.add(param, p.mul(direction, factor)), *more
