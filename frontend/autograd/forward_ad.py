"""Forward-mode differentiation by hand: tensors that carry a tangent. As ``torch.autograd.forward_ad``.

Inside of a level a dual tensor is a copy of its primal whose tangent the level knows; nothing else is recorded. Asked
for the tangent of a result, :func:`unpack_dual` pushes tangents through the graph below it (``compiler/autodiff.py``).

In: tensors and tangents. Out: dual tensors and what they carry. Read next: ``functional.py``.
"""

from __future__ import annotations

import weakref
from typing import NamedTuple

from ..compiler import primitives_shape as s
from ..compiler.autodiff import jvp
from ..compiler.dtypes import FLOATING
from ..compiler.ir import Node
from ..levels import ForwardLevel, is_tracked
from ..recording import node_of, tensor_of
from ..tensor import Tensor

__all__ = ["UnpackedDualTensor", "dual_level", "enter_dual_level", "exit_dual_level", "make_dual", "unpack_dual"]


class UnpackedDualTensor(NamedTuple):
    """A primal and its tangent, None if it has none."""

    primal: Tensor
    tangent: Tensor | None


class Duals(ForwardLevel):
    """A level of dual tensors: their nodes and tangents."""

    def __init__(self) -> None:
        super().__init__()
        self.tangents: weakref.WeakKeyDictionary[Node, Node] = weakref.WeakKeyDictionary()


_level: Duals | None = None


def enter_dual_level() -> int:
    """Begin the level; there is one at a time. As ``torch.autograd.forward_ad.enter_dual_level``."""
    global _level
    if _level is not None:
        raise RuntimeError("Nested forward mode AD is not supported at the moment")
    _level = Duals()
    _level.keep()
    return 0


def exit_dual_level(*, level: int | None = None) -> None:
    """End the level: dual tensors are ordinary ones from here on.

    Raises:
        RuntimeError: there is no such level.
    """
    global _level
    if _level is None or level not in (None, 0):
        raise RuntimeError(
            "Trying to exit a forward AD level that was not the last one that was created. This is not supported."
        )
    _level.let_go()
    _level = None


class dual_level:
    """A block in which tensors can carry tangents. As ``torch.autograd.forward_ad.dual_level``.

    Example:
        >>> import flamework
        >>> from flamework.autograd import forward_ad
        >>> x = flamework.tensor([1.0, 2.0])
        >>> with forward_ad.dual_level():
        ...     y = forward_ad.make_dual(x, flamework.ones(2)) ** 2
        ...     print(forward_ad.unpack_dual(y).tangent)
        tensor([2., 4.])
    """

    def __enter__(self) -> int:
        return enter_dual_level()

    def __exit__(self, *exception: object) -> None:
        exit_dual_level()


def make_dual(tensor: Tensor, tangent: Tensor, *, level: int | None = None) -> Tensor:
    """``tensor`` with a tangent, which what is computed from it inherits.

    Raises:
        RuntimeError: there is no level; or the tangent has another shape.
        ValueError: no floating point tensors.
    """
    if _level is None:
        raise RuntimeError(
            "Trying to create a dual Tensor for forward AD but no level exists, make sure to enter_dual_level() first."
        )
    for name, given in (("primal", tensor), ("tangent", tangent)):
        if given.dtype.kind < FLOATING:
            raise ValueError(f"Expected {name} to be floating point or complex, but got: {given.dtype}")
    if tensor.shape != tangent.shape:
        raise RuntimeError(
            "Trying to set a forward gradient that has a different size than that of the original Tensor, this is not "
            f"supported. Tensor is of size {list(tensor.shape)} while the given forward gradient is of size "
            f"{list(tangent.shape)}."
        )
    value = node_of(tensor)
    # functions record what a derivative needs only for what requires a gradient
    node = Node(s.copy, (value,), (), value.type, None, True)
    _level.tangents[node] = s.converted(node_of(tangent), value.dtype)
    return tensor_of(node)


def unpack_dual(tensor: Tensor, *, level: int | None = None) -> UnpackedDualTensor:
    """The primal of a tensor and its tangent, None outside of a level and for a tensor that depends on no dual one."""
    if _level is None:
        return UnpackedDualTensor(tensor, None)
    node = node_of(tensor)
    tangents = dict(_level.tangents)
    (found,) = jvp([node], tangents)
    if found is None:
        return UnpackedDualTensor(tensor, None)
    duals = list(tangents)
    primal, tangent = (s.copy(x) if is_tracked([x], duals) else s.detach(x) for x in (node, found))
    return UnpackedDualTensor(tensor_of(primal), tensor_of(tangent))
