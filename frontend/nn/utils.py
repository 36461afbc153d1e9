"""Helpers around training: limiting gradients, and parameters as one vector.

In: the parameters of a model. Out: their gradients limited in place, or one flat tensor.
"""

from __future__ import annotations

from collections.abc import Iterable

import flamework
from flamework.nn.parameter import typename
from flamework.tensor import Tensor

__all__ = ["clip_grad_norm_", "clip_grad_value_", "clip_grads_with_norm_", "get_total_norm", "parameters_to_vector",
           "vector_to_parameters"]


def _as_list(tensors: Tensor | Iterable[Tensor]) -> list[Tensor]:
    return [tensors] if isinstance(tensors, Tensor) else list(tensors)


def get_total_norm(tensors: Tensor | Iterable[Tensor], norm_type: float = 2.0,
                   error_if_nonfinite: bool = False) -> Tensor:
    """Return the norm of the norms of ``tensors``, a scalar: their norm as if they were one vector.

    Args:
        norm_type: the p of the norm; infinity is the largest absolute value.
        error_if_nonfinite: raise when the norm is infinite or NaN. Reads the value, so it materialises.

    Raises:
        RuntimeError: the norm is not finite and ``error_if_nonfinite``.

    Example:
        >>> import flamework
        >>> flamework.nn.utils.get_total_norm([flamework.tensor([3.0]), flamework.tensor([4.0])]).item()
        5.0
    """
    tensors = _as_list(tensors)
    norm_type = float(norm_type)
    if not tensors:
        return flamework.tensor(0.0)
    with flamework.no_grad():
        norms = [tensor.norm(norm_type).to(tensors[0].device) for tensor in tensors]
        total = flamework.stack(norms).norm(norm_type)
        if error_if_nonfinite and not total.isfinite():
            raise RuntimeError(f"The total norm of order {norm_type} for gradients from `parameters` is non-finite, so "
                               "it cannot be clipped. To disable this error and scale the gradients by the non-finite "
                               "norm anyway, set `error_if_nonfinite=False`")
    return total


def clip_grads_with_norm_(parameters: Tensor | Iterable[Tensor], max_norm: float, total_norm: Tensor) -> None:
    """Scale the gradients in place by max_norm / total_norm where that is less than 1.

    Args:
        total_norm: a scalar, as ``get_total_norm`` returns it.
    """
    # The factor stays a tensor: whether to scale is decided when the gradients are computed, not now.
    with flamework.no_grad():
        factor = (float(max_norm) / (total_norm + 1e-6)).clamp(max=1.0)
        for parameter in _as_list(parameters):
            if parameter.grad is not None:
                parameter.grad.mul_(factor.to(parameter.grad.device))


def clip_grad_norm_(parameters: Tensor | Iterable[Tensor], max_norm: float, norm_type: float = 2.0,
                    error_if_nonfinite: bool = False) -> Tensor:
    """Limit the norm of all gradients together to ``max_norm``, in place, and return what it was.

    Args:
        parameters: whose gradients; parameters without one are skipped.
        max_norm: the limit.
        norm_type: the p of the norm.
        error_if_nonfinite: raise when the norm is infinite or NaN.

    Raises:
        RuntimeError: the norm is not finite and ``error_if_nonfinite``.

    As ``torch.nn.utils.clip_grad_norm_``.

    Example:
        >>> import flamework
        >>> w = flamework.nn.Parameter(flamework.ones(1))
        >>> (w * 10).sum().backward()
        >>> flamework.nn.utils.clip_grad_norm_(w, max_norm=1.0).item()
        10.0
    """
    parameters = _as_list(parameters)
    grads = [parameter.grad for parameter in parameters if parameter.grad is not None]
    total = get_total_norm(grads, norm_type, error_if_nonfinite)
    clip_grads_with_norm_(parameters, max_norm, total)
    return total


def clip_grad_value_(parameters: Tensor | Iterable[Tensor], clip_value: float) -> None:
    """Limit each element of the gradients to [-clip_value, clip_value], in place.

    As ``torch.nn.utils.clip_grad_value_``.

    Example:
        >>> import flamework
        >>> w = flamework.nn.Parameter(flamework.ones(1))
        >>> (w * 10).sum().backward()
        >>> flamework.nn.utils.clip_grad_value_(w, 2.0)
        >>> w.grad.tolist()
        [2.0]
    """
    clip_value = float(clip_value)
    with flamework.no_grad():
        for parameter in _as_list(parameters):
            if parameter.grad is not None:
                parameter.grad.clamp_(min=-clip_value, max=clip_value)


def parameters_to_vector(parameters: Iterable[Tensor]) -> Tensor:
    """Return all elements of ``parameters`` in order as one tensor of one dimension.

    Example:
        >>> import flamework
        >>> layer = flamework.nn.Linear(2, 3)
        >>> tuple(flamework.nn.utils.parameters_to_vector(layer.parameters()).shape)
        (9,)
    """
    return flamework.cat([parameter.reshape(-1) for parameter in parameters])


def vector_to_parameters(vec: Tensor, parameters: Iterable[Tensor]) -> None:
    """Make consecutive pieces of ``vec`` the values of ``parameters``, which share its storage afterwards.

    Args:
        vec: one dimension, with as many elements as all parameters together, or more.

    Raises:
        TypeError: ``vec`` is no tensor.

    Example:
        >>> import flamework
        >>> layer = flamework.nn.Linear(2, 1)
        >>> flamework.nn.utils.vector_to_parameters(flamework.tensor([1.0, 2.0, 3.0]), layer.parameters())
        >>> layer.bias.tolist()
        [3.0]
    """
    if not isinstance(vec, Tensor):
        raise TypeError(f"expected torch.Tensor, but got: {typename(vec)}")
    start = 0
    for parameter in parameters:
        stop = start + parameter.numel()
        parameter.data = vec[start:stop].view_as(parameter).detach()
        start = stop
