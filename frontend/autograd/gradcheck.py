"""Gradients against finite differences: ``gradcheck`` and ``gradgradcheck``. As ``torch.autograd.gradcheck``.

In: a function and inputs in float64. Out: True, or an error that shows both Jacobians. This is the last chapter on
autograd.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from .. import autograd
from ..comparison import allclose
from ..compiler.autodiff import recording_gradients
from ..compiler.dtypes import FLOATING
from ..complex_numbers import view_as_complex, view_as_real
from ..creation import zeros, zeros_like
from ..func import vjp, vmap
from ..joining import stack
from ..random import randn_like
from ..tensor import Tensor
from . import forward_ad

__all__ = ["GradcheckError", "gradcheck", "gradgradcheck"]


class GradcheckError(RuntimeError):
    """A gradient that is not that of the function."""


def _outputs(func: Callable, inputs: Sequence[Any]) -> list[Tensor]:
    """The floating point outputs of a function."""
    found = func(*inputs)
    found = found if isinstance(found, (tuple, list)) else (found,)
    return [x for x in found if isinstance(x, Tensor) and x.dtype.kind == FLOATING]


def _numerical(func: Callable, inputs: list[Any], at: int, eps: float) -> list[Tensor]:
    """For each output ``[elements of the input, elements of the output]``, by central differences."""
    base = inputs[at].detach()
    columns: list[list[Tensor]] = []
    with recording_gradients(False):
        for i in range(base.numel()):
            sides = []
            for step in (eps, -eps):
                moved = base.clone().reshape(-1)
                moved[i] += step
                given = [*inputs[:at], moved.reshape(base.shape), *inputs[at + 1 :]]
                sides.append([x.clone() for x in _outputs(func, given)])
            columns.append([((a - b) / (2 * eps)).reshape(-1) for a, b in zip(*sides)])
    if not columns:
        return [zeros(0, x.numel(), dtype=x.dtype) for x in _outputs(func, inputs)]
    return [stack(list(parts)) for parts in zip(*columns)]


def _analytical(output: Tensor, inputs: Sequence[Tensor]) -> list[Tensor]:
    """For each input ``[elements of the input, elements of the output]``, by one backward pass for each column."""
    columns: list[list[Tensor]] = [[] for _ in inputs]
    for j in range(output.numel()):
        vector = zeros(output.numel(), dtype=output.dtype)
        vector[j] = 1
        found: Sequence[Tensor | None] = (None,) * len(inputs)
        if output.requires_grad:
            found = autograd.grad(output, inputs, vector.reshape(output.shape), retain_graph=True, allow_unused=True)
        for column, g, x in zip(columns, found, inputs):
            column.append((zeros_like(x) if g is None else g).detach().reshape(-1))
    return [
        stack(column, 1) if column else zeros(x.numel(), 0, dtype=output.dtype) for column, x in zip(columns, inputs)
    ]


def _forward(func: Callable, inputs: list[Any], at: int) -> list[Tensor]:
    """As :func:`_numerical`, by tangents."""
    base = inputs[at].detach()
    rows: list[list[Tensor]] = []
    for i in range(base.numel()):
        direction = zeros(base.numel(), dtype=base.dtype)
        direction[i] = 1
        with forward_ad.dual_level():
            dual = forward_ad.make_dual(base, direction.reshape(base.shape))
            row = []
            for output in _outputs(func, [*inputs[:at], dual, *inputs[at + 1 :]]):
                tangent = forward_ad.unpack_dual(output).tangent
                row.append((zeros_like(output) if tangent is None else tangent).detach().reshape(-1))
        rows.append(row)
    return [stack(list(parts)) for parts in zip(*rows)]


def _places(inputs: Sequence[Any]) -> list[int]:
    """Which inputs require a gradient."""
    return [i for i, x in enumerate(inputs) if isinstance(x, Tensor) and x.requires_grad]


def in_real_numbers(func: Callable, inputs: Any) -> tuple[Callable, list[Any]]:
    """The same function of real tensors, and their values: complex ones as pairs of real ones."""
    given = list(inputs) if isinstance(inputs, (tuple, list)) else [inputs]
    complexes = [isinstance(x, Tensor) and x.is_complex() for x in given]
    reals = [
        view_as_real(x.detach()).clone().requires_grad_(x.requires_grad) if is_complex else x
        for x, is_complex in zip(given, complexes)
    ]

    def of_reals(*args: Any) -> tuple:
        found = func(*[view_as_complex(x) if is_complex else x for x, is_complex in zip(args, complexes)])
        found = found if isinstance(found, (tuple, list)) else (found,)
        return tuple([view_as_real(x) if isinstance(x, Tensor) and x.is_complex() else x for x in found])

    return of_reals, reals


def _check_combination(func: Callable, inputs: list[Any], eps: float, atol: float, rtol: float) -> None:
    """One random combination of the elements of each Jacobian, by differences along a direction and by a gradient."""
    wanted = _places(inputs)
    for at, output in enumerate(_outputs(func, inputs)):
        weights = randn_like(output.detach())
        found: Sequence[Tensor | None] = (None,) * len(wanted)
        if output.requires_grad:
            found = autograd.grad(output, [inputs[i] for i in wanted], weights, retain_graph=True, allow_unused=True)
        for g, i in zip(found, wanted):
            base = inputs[i].detach()
            direction = randn_like(base)
            with recording_gradients(False):
                above, below = (
                    (_outputs(func, [*inputs[:i], base + step * direction, *inputs[i + 1 :]])[at] * weights).sum()
                    for step in (eps, -eps)
                )
            expected = (above - below) / (2 * eps)
            combined = zeros_like(expected) if g is None else (g.detach() * direction).sum()
            _compare([combined], [expected], at, atol, rtol, "analytical", wanted.index(i))


def gradcheck(
    func: Callable, inputs: Any, *, eps: float = 1e-6, atol: float = 1e-5, rtol: float = 1e-3,
    raise_exception: bool = True, nondet_tol: float = 0.0, check_undefined_grad: bool = True,
    check_grad_dtypes: bool = False, check_batched_grad: bool = False, check_batched_forward_grad: bool = False,
    check_forward_ad: bool = False, check_backward_ad: bool = True, fast_mode: bool = False,
    masked: bool | None = None,
) -> bool:
    """Whether the gradients of a function are those of finite differences; as ``torch.autograd.gradcheck``.

    Complex inputs and outputs are seen as pairs of real ones, whose Jacobians are compared.

    Args:
        func: of the inputs, returning a tensor or a tuple of tensors.
        inputs: a tensor, or a tuple of tensors and other arguments; in float64, or no difference is small enough.
        eps, atol, rtol: the step, and how far the Jacobians may differ.
        raise_exception: raise for a wrong gradient, instead of returning False.
        nondet_tol: by how much two backward passes may differ.
        check_grad_dtypes: also require of each gradient the dtype of its input.
        check_batched_grad: also require that ``vmap`` over gradients gives these.
        check_batched_forward_grad: the same for tangents.
        check_forward_ad, check_backward_ad: by tangents, and by gradients.
        fast_mode: compare one random combination of each Jacobian's elements instead of all.
        check_undefined_grad, masked: True or False alike: a rule of ours never sees a gradient that is not defined, and
            no tensor leaves elements out.

    Raises:
        GradcheckError: with both Jacobians.
        ValueError: no input requires a gradient.

    Example:
        >>> import flamework
        >>> x = flamework.tensor([0.5, 1.0], dtype=flamework.float64, requires_grad=True)
        >>> flamework.autograd.gradcheck(flamework.sin, (x,))
        True
    """
    try:
        func, given = in_real_numbers(func, inputs)
        forward = check_forward_ad or check_batched_forward_grad
        if fast_mode and check_backward_ad:
            _check_combination(func, given, eps, atol, rtol)
            check_backward_ad = False
        if check_backward_ad or forward or check_grad_dtypes or check_batched_grad or not _places(given):
            _check(func, given, eps, atol, rtol, nondet_tol, check_grad_dtypes, check_batched_grad, forward,
                   check_backward_ad)
    except GradcheckError:
        if raise_exception:
            raise
        return False
    return True


def _check(
    func: Callable, inputs: Any, eps: float, atol: float, rtol: float, nondet_tol: float, dtypes: bool, batched: bool,
    forward: bool, backward: bool,
) -> None:
    given = list(inputs) if isinstance(inputs, (tuple, list)) else [inputs]
    places = _places(given)
    if not places:
        raise ValueError(
            "gradcheck expects at least one input tensor to require gradient, but none of them have requires_grad=True."
        )
    wanted = [given[i] for i in places]
    outputs = _outputs(func, given)
    numerical = [_numerical(func, given, i, eps) for i in places]
    if not any(x.requires_grad for x in outputs):
        if any((m != 0).any().item() for parts in numerical for m in parts):
            raise GradcheckError("Numerical gradient for function expected to be zero")
        return
    for at, output in enumerate(outputs):
        expected = [parts[at] for parts in numerical]
        if backward:
            found = _analytical(output, wanted)
            _compare(found, expected, at, atol, rtol, "analytical")
            for a, b in zip(found, _analytical(output, wanted)):
                if not allclose(a, b, rtol=0.0, atol=nondet_tol):
                    raise GradcheckError(
                        "Backward is not reentrant, i.e., running backward with same input and grad_output multiple "
                        "times gives different values, although analytical gradient matches numerical gradient."
                    )
        if dtypes and output.requires_grad:
            _check_dtypes(output, wanted)
        if batched and output.requires_grad:
            _check_batched(output, wanted, atol, rtol)
    if forward:
        for i, place in enumerate(places):
            tangents = _forward(func, given, place)
            for at, found in enumerate(tangents):
                _compare([found], [numerical[i][at]], at, atol, rtol, "analytical", i)


def _compare(
    found: Sequence[Tensor], expected: Sequence[Tensor], output: int, atol: float, rtol: float, how: str, first: int = 0
) -> None:
    for i, (a, n) in enumerate(zip(found, expected)):
        if not allclose(a, n.to(a.dtype), rtol=rtol, atol=atol):
            raise GradcheckError(
                f"Jacobian mismatch for output {output} with respect to input {first + i},\nnumerical:{n}\n{how}:{a}\n"
            )


def _check_dtypes(output: Tensor, inputs: Sequence[Tensor]) -> None:
    found = autograd.grad(output, inputs, randn_like(output), retain_graph=True, allow_unused=True)
    for g, x in zip(found, inputs):
        if g is not None and g.dtype is not x.dtype:
            raise GradcheckError(f"Expected a gradient of dtype {x.dtype}, but got {g.dtype}")


def _check_batched(output: Tensor, inputs: Sequence[Tensor], atol: float, rtol: float) -> None:
    def pulled(g: Tensor) -> tuple[Tensor, ...]:
        found = autograd.grad(output, inputs, g, retain_graph=True, allow_unused=True)
        return tuple(zeros_like(x) if g is None else g for g, x in zip(found, inputs))

    cotangents = [randn_like(output.detach()) for _ in range(2)]
    expected = [stack(list(parts)) for parts in zip(*[pulled(g) for g in cotangents])]
    for i, (a, b) in enumerate(zip(vmap(pulled)(stack(cotangents)), expected)):
        if not allclose(a, b, rtol=rtol, atol=atol):
            raise GradcheckError(f"For output and input {i}:\nvmap of the gradient gives {a}\na loop gives {b}")


def gradgradcheck(
    func: Callable, inputs: Any, grad_outputs: Any = None, *, eps: float = 1e-6, atol: float = 1e-5,
    rtol: float = 1e-3, gen_non_contig_grad_outputs: bool = False, raise_exception: bool = True,
    nondet_tol: float = 0.0, check_undefined_grad: bool = True, check_grad_dtypes: bool = False,
    check_batched_grad: bool = False, check_fwd_over_rev: bool = False, check_rev_over_rev: bool = True,
    fast_mode: bool = False, masked: bool = False,
) -> bool:
    """:func:`gradcheck` of a function's gradient, by its inputs and by ``grad_outputs``.

    As ``torch.autograd.gradgradcheck``. Memory is never laid out otherwise, so that ``gen_non_contig_grad_outputs``
    has nothing to say.

    Args:
        grad_outputs: the cotangents, random ones if they are left out.
        check_fwd_over_rev, check_rev_over_rev: tangents of gradients, and gradients of gradients.
        fast_mode, check_undefined_grad, masked: as :func:`gradcheck`.

    Example:
        >>> import flamework
        >>> x = flamework.tensor([0.5, 1.0], dtype=flamework.float64, requires_grad=True)
        >>> flamework.autograd.gradgradcheck(flamework.sin, (x,))
        True
    """
    func, reals = in_real_numbers(func, inputs)
    given = tuple(reals)
    if grad_outputs is None:
        cotangents = tuple(randn_like(x.detach()).requires_grad_(True) for x in _outputs(func, given))
    else:
        listed = grad_outputs if isinstance(grad_outputs, (tuple, list)) else (grad_outputs,)
        cotangents = tuple(
            view_as_real(g.detach()).clone().requires_grad_(g.requires_grad) if g.is_complex() else g for g in listed
        )
    count = len(given)

    def gradient(*args: Any) -> tuple[Tensor, ...]:
        places = _places(given)

        def outputs(*tensors: Tensor) -> tuple[Tensor, ...]:
            begun = list(args[:count])
            for i, x in zip(places, tensors):
                begun[i] = x
            return tuple(_outputs(func, begun))

        _, pull = vjp(outputs, *[args[i] for i in places])
        return pull(args[count:])

    return gradcheck(
        gradient, (*given, *cotangents), eps=eps, atol=atol, rtol=rtol, raise_exception=raise_exception,
        nondet_tol=nondet_tol, check_grad_dtypes=check_grad_dtypes, check_batched_grad=check_batched_grad,
        check_forward_ad=check_fwd_over_rev, check_backward_ad=check_rev_over_rev, fast_mode=fast_mode,
    )
