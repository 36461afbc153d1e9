"""``Size``, the type of ``tensor.shape``: a tuple of integers that prints as PyTorch's does.

In: a sequence of integers. Out: a tuple with ``numel()``. Read next: ``tensor.py``.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Iterable


class Size(tuple):
    """The sizes of a tensor, as ``torch.Size``: a tuple of non-negative integers.

    Args:
        sizes: integers, or objects with ``__index__``.

    Raises:
        TypeError: an element is no integer.

    Example:
        >>> import flamework
        >>> flamework.Size([2, 3]).numel()
        6
    """

    __slots__ = ()

    def __new__(cls, sizes: Iterable[int] = ()) -> Size:
        sizes = tuple(sizes)
        for i, size in enumerate(sizes):
            if not hasattr(size, "__index__"):
                raise TypeError(f"torch.Size() takes an iterable of 'int' (item {i} is '{type(size).__name__}')")
        return tuple.__new__(cls, map(operator.index, sizes))

    def numel(self) -> int:
        """Number of elements of a tensor of these sizes."""
        return math.prod(self)

    def __getitem__(self, index):
        found = tuple.__getitem__(self, index)
        return tuple.__new__(Size, found) if isinstance(index, slice) else found

    def __add__(self, other):
        return tuple.__new__(Size, tuple.__add__(self, tuple(other)))

    def __radd__(self, other):
        return tuple.__new__(Size, tuple(other) + tuple(self))

    def __mul__(self, count):
        return tuple.__new__(Size, tuple.__mul__(self, count))

    __rmul__ = __mul__

    def __repr__(self) -> str:
        return f"torch.Size([{', '.join(map(repr, self))}])"

    def __reduce__(self):
        return (Size, (tuple(self),))
