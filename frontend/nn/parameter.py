"""Parameters and buffers: the two kinds of tensor that a module owns.

Both are ordinary tensors with a type of their own, so that assigning one to an attribute of a module is enough to
register it: a ``Parameter`` is something an optimizer trains, a ``Buffer`` is state that is saved with the model but
never trained. Operations on either return plain tensors.

In: a tensor. Out: a leaf that shares its storage. Read ``module.py`` next for the registration.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Self

import flamework
from flamework.tensor import Tensor


def typename(value: object) -> str:
    """Name a value's type as PyTorch's messages do: ``torch.FloatTensor`` for a tensor, ``module.Class`` otherwise."""
    if isinstance(value, Tensor):
        return value.type()
    module = type(value).__module__
    name = type(value).__qualname__
    return name if module in (None, "builtins") else f"{module}.{name}"


class Parameter(Tensor):
    """A tensor that a module trains; a leaf which shares storage with ``data``.

    Args:
        data: tensor of any shape; an empty float tensor when left out. Its history is not kept.
        requires_grad: whether gradients are accumulated in ``.grad``.

    Raises:
        RuntimeError: ``requires_grad`` with a ``data`` that is not floating point.

    As ``torch.nn.Parameter``.

    Example:
        >>> import flamework
        >>> weight = flamework.nn.Parameter(flamework.zeros(2))
        >>> weight.requires_grad, weight.is_leaf
        (True, True)
    """

    def __new__(cls, data: Tensor | None = None, requires_grad: bool = True) -> Self:
        if data is None:
            data = flamework.empty(0)
        return Tensor._make_subclass(cls, data, requires_grad)

    def __init__(self, data: Tensor | None = None, requires_grad: bool = True) -> None:
        # The object is complete when __new__ returns; the base class must not construct it a second time.
        pass

    def __deepcopy__(self, memo: dict[int, Any]) -> Parameter:
        if id(self) not in memo:
            memo[id(self)] = type(self)(self.detach().clone(), self.requires_grad)
        return memo[id(self)]

    def __reduce_ex__(self, protocol: int) -> tuple[Any, ...]:
        return _rebuild, (type(self), self.detach(), {"requires_grad": self.requires_grad}, vars(self))

    def __repr__(self) -> str:
        return "Parameter containing:\n" + super().__repr__()


class Buffer(Tensor):
    """A tensor that belongs to a module's state without being trained, registered by assignment.

    Args:
        data: tensor of any shape; an empty float tensor when left out.
        persistent: whether the module's ``state_dict`` holds it.

    As ``torch.nn.Buffer``.

    Example:
        >>> import flamework
        >>> module = flamework.nn.Module()
        >>> module.mean = flamework.nn.Buffer(flamework.zeros(3))
        >>> [name for name, _ in module.named_buffers()]
        ['mean']
    """

    def __new__(cls, data: Tensor | None = None, *, persistent: bool = True) -> Self:
        if data is None:
            data = flamework.empty(0)
        buffer = Tensor._make_subclass(cls, data, data.requires_grad)
        buffer.persistent = persistent
        return buffer

    def __init__(self, data: Tensor | None = None, *, persistent: bool = True) -> None:
        pass

    def __deepcopy__(self, memo: dict[int, Any]) -> Buffer:
        if id(self) not in memo:
            memo[id(self)] = type(self)(self.detach().clone(), persistent=self.persistent)
        return memo[id(self)]

    def __reduce_ex__(self, protocol: int) -> tuple[Any, ...]:
        return _rebuild, (type(self), self.detach(), {"persistent": self.persistent}, vars(self))


def _rebuild(
    cls: Callable[..., Tensor], data: Tensor, arguments: dict[str, bool], attributes: dict[str, Any]
) -> Tensor:
    result = cls(data, **arguments)
    vars(result).update(attributes)
    return result
