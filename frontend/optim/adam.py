"""Adam and AdamW: steps scaled by running averages of the gradient and of its square.

Each parameter keeps the two averages and the number of its steps. The number is a Python integer, so that the bias
corrections are Python floats which no kernel has to compute and nothing has to wait for; ``state_dict`` shows it as the
tensor that PyTorch has there.

In: gradients. Out: parameters moved against them. Read ``optimizer.py`` first.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import flamework
from flamework import formulas as f
from flamework.capture import effect, number
from flamework.compiler import primitives as p
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
from flamework.recording import node_of
from flamework.tensor import Tensor


class Adam(Optimizer):
    """m <- b1 m + (1 - b1) g, v <- b2 v + (1 - b2) g^2, p <- p - lr m' / (sqrt(v') + eps), m' and v' free of bias.

    Args:
        params: what ``Optimizer`` takes.
        lr: learning rate; a tensor of one element is read at every step.
        betas: b1 and b2, the parts of the averages that stay.
        eps: added to the denominator.
        weight_decay: adds this times the parameter to the gradient, or see ``decoupled_weight_decay``.
        amsgrad: divide by the largest v so far. Reddi et al., "On the convergence of Adam and beyond" (2018).
        maximize: move along the gradients.
        foreach, fused: which of PyTorch's implementations to use. They compute the same; here every update is fused,
            and both are kept for ``state_dict``.
        decoupled_weight_decay: shrink the parameter itself by lr times ``weight_decay``, as ``AdamW`` does.

    Raises:
        ValueError: a hyperparameter outside of its range.
        TypeError: at ``step``, a complex parameter.

    Kingma and Ba, "Adam: a method for stochastic optimization" (2014). As ``torch.optim.Adam``.

    Example:
        >>> import flamework
        >>> w = flamework.nn.Parameter(flamework.ones(1))
        >>> optimizer = flamework.optim.Adam([w], lr=0.25)
        >>> (w * 2).sum().backward()
        >>> optimizer.step()
        >>> round(w.item(), 4)
        0.75
    """

    def __init__(self, params: Parameters, lr: float | Tensor = 1e-3,
                 betas: tuple[float | Tensor, float | Tensor] = (0.9, 0.999), eps: float = 1e-8,
                 weight_decay: float = 0, amsgrad: bool = False, *, maximize: bool = False,
                 foreach: bool | None = None, fused: bool | None = None,
                 decoupled_weight_decay: bool = False) -> None:
        check_learning_rate(lr)
        check_not_negative("epsilon value", eps)
        check_not_negative("weight_decay value", weight_decay)
        betas = tuple(as_number(beta) for beta in betas)
        for i, beta in enumerate(betas):
            if not 0.0 <= beta < 1.0:
                raise ValueError(f"Invalid beta parameter at index {i}: {beta}")
        check_hints(foreach, fused)
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay,
                                  "amsgrad": amsgrad, "maximize": maximize, "foreach": foreach, "fused": fused,
                                  "decoupled_weight_decay": decoupled_weight_decay})

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        for group in self.param_groups:
            for name, default in (("amsgrad", False), ("maximize", False), ("foreach", None), ("fused", None),
                                  ("decoupled_weight_decay", False)):
                group.setdefault(name, default)

    def _state_to_save(self, value: dict[str, Any]) -> dict[str, Any]:
        if "step" not in value:
            return value
        return value | {"step": flamework.tensor(float(value["step"]), dtype=flamework.float32)}

    def _state_to_keep(self, value: dict[str, Any]) -> dict[str, Any]:
        if "step" not in value:
            return value
        return value | {"step": int(as_number(value["step"]))}

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
                sets = []
                for param, grad in with_gradient(group):
                    state = self._prepared_state(param, group)
                    tensors = [param, grad, state["exp_avg"], state["exp_avg_sq"]]
                    if group["amsgrad"]:
                        tensors.append(state["max_exp_avg_sq"])
                    sets.append((tensors, number(lambda state=state: state["step"])))
                for batch, steps in in_batches(sets):
                    self._update(batch, steps, lr, group, arguments)
        return loss

    def _prepared_state(self, param: Tensor, group: dict[str, Any]) -> dict[str, Any]:
        state = self.state[param]
        if not state:
            if param.is_complex():
                raise TypeError(f"{type(self).__name__} updates real parameters, but got one of {param.dtype}")
            state["step"] = 0
            state["exp_avg"] = flamework.zeros_like(param)
            state["exp_avg_sq"] = flamework.zeros_like(param)
        if group["amsgrad"] and "max_exp_avg_sq" not in state:
            state["max_exp_avg_sq"] = flamework.zeros_like(param)
        effect(lambda: count_step(state, 1), undo=lambda: count_step(state, -1), changes=(state, "step"))
        return state

    def _update(
        self, batch: list[Sequence[Tensor]], steps: float, lr: float, group: dict[str, Any], arguments: Arguments
    ) -> None:
        beta1, beta2 = group["betas"]
        weight_decay, decoupled = group["weight_decay"], group["decoupled_weight_decay"]
        nodes = [node_of(tensor) for tensors in batch for tensor in tensors]
        like = nodes[0]
        decay = None
        if weight_decay != 0:
            decay = arguments("decay", 1 - lr * weight_decay if decoupled else weight_decay, like)
        values = iter(_adam(
            arguments("new_mean", 1 - beta1, like), arguments("old_square", beta2, like),
            arguments("new_square", 1 - beta2, like), arguments("correction", (1 - beta2**steps) ** 0.5, like),
            arguments("eps", group["eps"], like), arguments("factor", -lr / (1 - beta1**steps), like), decay, decoupled,
            abs(1 - beta1) < 0.5, len(batch[0]), *nodes,
        ))
        for param, _, *held in batch:
            for tensor in (param, *held):
                assign(tensor, next(values))


@composite
def _adam(
    new_mean: Node, old_square: Node, new_square: Node, correction: Node, eps: Node, factor: Node, decay: Node | None,
    decoupled: bool, is_near: bool, count: int, *tensors: Node,
) -> tuple[Node, ...]:
    """The new values of the parameters of a batch, each followed by those of its averages. Numbers have no axes.

    ``tensors`` are, ``count`` for each parameter: itself, its gradient, mean, and mean of squares, and perhaps the
    largest of these.
    """
    numbers = (new_mean, old_square, new_square, correction, eps, factor, decay)
    values: list[Node] = []
    for at in range(0, len(tensors), count):
        values += _adam_of_one(numbers, decoupled, is_near, *tensors[at : at + count])
    return tuple(values)


def _adam_of_one(
    numbers: tuple[Node | None, ...], decoupled: bool, is_near: bool, param: Node, grad: Node, mean: Node, square: Node,
    largest: Node | None = None,
) -> tuple[Node, ...]:
    """The new parameter, mean, mean of squares, and largest of these, in PyTorch's order of operations.

    The corrections of the bias are in two factors, of the root and of the step.
    """
    w, b2, w2, correction, eps, factor, decay = [
        None if n is None else f.broadcast_to(n, param.type.shape) for n in numbers
    ]
    grad, mean, square = [f.converted(x, param.type.dtype) for x in (grad, mean, square)]
    if decay is not None:
        if decoupled:
            param = p.mul(param, decay)
        else:
            grad = p.add(grad, p.mul(param, decay))
    step = p.sub(grad, mean)
    # as lerp, from the end that is nearer
    mean = p.add(mean, p.mul(w, step)) if is_near else p.sub(grad, p.mul(step, p.sub(f.constant(w, 1), w)))
    square = p.add(p.mul(square, b2), p.mul(p.mul(w2, grad), grad))
    below, more = square, ()
    if largest is not None:
        below = p.maximum(f.converted(largest, param.type.dtype), square)
        more = (below,)
    denominator = p.add(p.div(p.sqrt(below), correction), eps)
    return p.add(param, p.div(p.mul(factor, mean), denominator)), mean, square, *more


def count_step(state: dict[str, Any], by: int) -> None:
    state["step"] += by


class AdamW(Adam):
    """Adam with decoupled weight decay: the parameter shrinks by lr times ``weight_decay``, apart from the averages.

    The arguments are those of ``Adam``, with another default of ``weight_decay``. Loshchilov and Hutter, "Decoupled
    weight decay regularization" (2017). As ``torch.optim.AdamW``.

    Example:
        >>> import flamework
        >>> w = flamework.nn.Parameter(flamework.ones(1))
        >>> optimizer = flamework.optim.AdamW([w], lr=0.5, weight_decay=0.5)
        >>> w.grad = flamework.zeros(1)
        >>> optimizer.step()
        >>> w.tolist()
        [0.75]
    """

    def __init__(self, params: Parameters, lr: float | Tensor = 1e-3,
                 betas: tuple[float | Tensor, float | Tensor] = (0.9, 0.999), eps: float = 1e-8,
                 weight_decay: float = 1e-2, amsgrad: bool = False, *, maximize: bool = False,
                 foreach: bool | None = None, fused: bool | None = None) -> None:
        super().__init__(params, lr, betas, eps, weight_decay, amsgrad, maximize=maximize, foreach=foreach,
                         fused=fused, decoupled_weight_decay=True)

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        # A state saved by a version that did not record it.
        for group in self.param_groups:
            group["decoupled_weight_decay"] = True
