"""Jacobians: ``jacrev`` by rows, ``jacfwd`` by columns, ``hessian`` by both.

Each is the derivative of ``derivatives.py`` in all directions at once: a ``vmap`` over a basis.

In: functions of tensors. Out: functions that return matrices. Read next: ``vmap.py``.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

from ..compiler.dtypes import FLOATING
from ..creation import arange
from ..pytree import flatten, unflatten
from ..tensor import Tensor
from .derivatives import chosen, jvp_by, tensors_in, vjp_by
from .vmap import vmap


def basis(tensors: Sequence[Tensor]) -> list[Tensor]:
    """For each tensor ``[total, *shape]``, where ``total`` is the number of all elements: each is 1 once."""
    sizes = [t.numel() for t in tensors]
    total = sum(sizes)
    rows, start = [], 0
    for t, size in zip(tensors, sizes):
        block = eye_rows(total, start, size, t)
        rows.append(block.reshape(total, *t.shape))
        start += size
    return rows


def eye_rows(total: int, start: int, size: int, like: Tensor) -> Tensor:
    """``[total, size]`` with ones where the row is ``start`` more than the column."""
    row = arange(total, device=like.device).unsqueeze(1)
    column = arange(size, device=like.device).unsqueeze(0) + start
    return (row == column).to(like.dtype)


def jacrev(
    func: Callable, argnums: int | tuple[int, ...] = 0, *, has_aux: bool = False, chunk_size: int | None = None,
    _preallocate_and_copy: bool = False,
) -> Callable:
    """A function that returns the Jacobian of ``func``, row by row; as ``torch.func.jacrev``.

    Args:
        func: returns floating point tensors, nested or not; with ``has_aux`` also something else.
        argnums: by which of the positional arguments.
        chunk_size: how many rows to compute at once; None for all.

    Returns:
        For each output, nested as these are, and for each argument a tensor of the output's shape followed by the
        argument's.

    Example:
        >>> import flamework
        >>> flamework.func.jacrev(lambda x: x**2)(flamework.tensor([1.0, 2.0]))
        tensor([[2., 0.],
                [0., 4.]])
    """
    if not (chunk_size is None or chunk_size > 0):
        raise ValueError("jacrev: `chunk_size` should be greater than 0.")

    @functools.wraps(func)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        called = functools.partial(func, **kwargs) if kwargs else func
        output, vjp_fn, *aux = vjp_by(called, argnums, args, has_aux)
        leaves, structure = flatten(output)
        for leaf in leaves:
            if leaf.dtype.kind != FLOATING:
                raise RuntimeError(
                    "vjp(f, ...): All outputs of f must be floating-point or complex Tensors, got Tensor with dtype "
                    f"{leaf.dtype}"
                )
        primals, primal_structure = tensors_in(chosen(argnums, args))

        def pulled(*rows: Tensor) -> tuple:
            return tuple(flatten(vjp_fn(unflatten(structure, iter(rows))))[0])

        found = vmap(pulled, chunk_size=chunk_size)(*basis(leaves))
        jacobians, start = [], 0
        for leaf in leaves:
            parts = [
                rows.narrow(0, start, leaf.numel()).reshape(*leaf.shape, *x.shape) for rows, x in zip(found, primals)
            ]
            jacobians.append(unflatten(primal_structure, iter(parts)))
            start += leaf.numel()
        result = unflatten(structure, iter(jacobians))
        return (result, *aux) if has_aux else result

    return wrapper


def jacfwd(
    func: Callable, argnums: int | tuple[int, ...] = 0, has_aux: bool = False, *, randomness: str = "error",
    chunk_size: int | None = None,
) -> Callable:
    """A function that returns the Jacobian of ``func``, column by column; as ``torch.func.jacfwd``.

    Args:
        func: returns tensors, nested or not; with ``has_aux`` also something else.
        argnums: by which of the positional arguments.
        randomness: as for :func:`flamework.vmap`.
        chunk_size: how many columns to compute at once; None for all.

    Returns:
        As :func:`jacrev`.

    Example:
        >>> import flamework
        >>> flamework.func.jacfwd(lambda x: x**2)(flamework.tensor([1.0, 2.0]))
        tensor([[2., 0.],
                [0., 4.]])
    """

    @functools.wraps(func)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        called = functools.partial(func, **kwargs) if kwargs else func
        primals = chosen(argnums, args)
        leaves, structure = tensors_in(primals if argnums.__class__ is int else tuple(primals))
        kept: list[Any] = []

        def pushed(*columns: Tensor) -> tuple:
            _, tangents, *aux = jvp_by(
                called, argnums, args, primals, unflatten(structure, iter(columns)), has_aux=has_aux
            )
            flat, shape = flatten(tangents)
            kept[:] = [shape]
            return (tuple(flat), *aux)

        directions = basis(leaves)
        if has_aux:
            found, aux = vmap(pushed, out_dims=(-1, None), randomness=randomness, chunk_size=chunk_size)(*directions)
        else:
            (found,) = vmap(pushed, out_dims=-1, randomness=randomness, chunk_size=chunk_size)(*directions)
        jacobians = []
        for columns in found:
            parts, start = [], 0
            for x in leaves:
                part = columns.narrow(-1, start, x.numel())
                parts.append(part.reshape(*columns.shape[:-1], *x.shape))
                start += x.numel()
            jacobians.append(unflatten(structure, iter(parts)))
        result = unflatten(kept[0], iter(jacobians))
        return (result, aux) if has_aux else result

    return wrapper


def hessian(func: Callable, argnums: int | tuple[int, ...] = 0) -> Callable:
    """A function that returns the second derivatives of ``func``: ``jacfwd`` of ``jacrev``; as ``torch.func.hessian``.

    Example:
        >>> import flamework
        >>> flamework.func.hessian(lambda x: (x**3).sum())(flamework.tensor([1.0, 2.0]))
        tensor([[ 6.,  0.],
                [ 0., 12.]])
    """
    return jacfwd(jacrev(func, argnums), argnums)
