"""Derivatives of functions at given inputs: ``jacobian``, ``hessian`` and products. As ``torch.autograd.functional``.

An older form of ``flamework.func``: the function is recorded by ordinary autograd, and ``create_graph`` says whether
results can be differentiated. Read next: ``gradcheck.py``.

In: a function and its inputs, a tensor or a tuple of tensors. Out: tensors, or tuples of them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from .. import autograd
from ..compiler.autodiff import recording_gradients
from ..creation import ones_like, zeros, zeros_like
from ..func import jacfwd, vmap
from ..func.jacobians import basis
from ..joining import stack
from ..tensor import Tensor

__all__ = ["hessian", "hvp", "jacobian", "jvp", "vhp", "vjp"]

Tensors = Tensor | tuple[Tensor, ...]


def _as_tuple(given: Any, what: str, name: str) -> tuple[bool, tuple[Tensor, ...]]:
    """Whether ``given`` is a tuple, and it as one. Raises TypeError for anything but tensors."""
    is_tuple = isinstance(given, tuple)
    for i, x in enumerate(given if is_tuple else (given,)):
        if not isinstance(x, Tensor):
            if is_tuple:
                raise TypeError(
                    f"The {what} given to {name} must be either a Tensor or a tuple of Tensors but the value at index "
                    f"{i} has type {type(x)}."
                )
            raise TypeError(
                f"The {what} given to {name} must be either a Tensor or a tuple of Tensors but the given {what} has "
                f"type {type(given)}."
            )
    return is_tuple, given if is_tuple else (given,)


def _begun(inputs: Sequence[Tensor], create_graph: bool) -> tuple[Tensor, ...]:
    """Copies of the inputs that require a gradient, connected to the inputs if the results are to be."""
    return tuple(
        x.view_as(x) if create_graph and x.requires_grad else x.detach().requires_grad_(True) for x in inputs
    )


def _called(func: Callable, inputs: tuple[Tensor, ...], name: str) -> tuple[bool, tuple[Tensor, ...]]:
    return _as_tuple(func(*inputs), "outputs of the user-provided function", name)


def _strict_outputs(outputs: Sequence[Tensor]) -> None:
    for i, x in enumerate(outputs):
        if not x.requires_grad:
            raise RuntimeError(
                f"Output {i} of the user-provided function does not require gradients. The outputs must be computed in "
                "a differentiable manner from the input when running in strict mode."
            )


def _gradients(
    outputs: Sequence[Tensor], inputs: Sequence[Tensor], cotangents: Sequence[Tensor | None], create_graph: bool
) -> tuple[Tensor | None, ...]:
    """``autograd.grad`` that gives None for whatever does not depend."""
    pairs = [(x, g) for x, g in zip(outputs, cotangents) if x.requires_grad]
    if not pairs:
        return (None,) * len(inputs)
    found, given = zip(*pairs)
    return autograd.grad(
        found, inputs, given, retain_graph=True, create_graph=create_graph, allow_unused=True
    )


def _filled(
    found: Sequence[Tensor | None], like: Sequence[Tensor], strict: bool, what: str, name: str
) -> tuple[Tensor, ...]:
    """Zeros for None; with ``strict`` an error."""
    filled = []
    for i, (x, reference) in enumerate(zip(found, like)):
        if x is None or (strict and what != "output" and not x.requires_grad):
            if strict:
                raise RuntimeError(_independent(what, name, i))
            x = zeros_like(reference) if x is None else x
        filled.append(x)
    return tuple(filled)


def _independent(what: str, name: str, i: int) -> str:
    if what == "output":
        return (
            f"The output of the user-provided function is independent of input {i}. This is not allowed in strict mode."
        )
    return (
        f"While computing the {name}, found that the jacobian of the user-provided function with respect to input {i} "
        "is independent of the input. This is not allowed in strict mode. You should ensure that your function is "
        "twice differentiable and that the jacobian depends on the input."
    )


def _finished(values: Sequence[Tensor], create_graph: bool) -> tuple[Tensor, ...]:
    return tuple(x if create_graph or not x.requires_grad else x.detach() for x in values)


def _shaped(values: Sequence[Any], is_tuple: bool) -> Any:
    return tuple(values) if is_tuple else values[0]


def _vectors(v: Any, like: Sequence[Tensor], is_tuple: bool, message: str) -> tuple[Tensor, ...]:
    """The vectors of a product, of the shapes of ``like``."""
    if v is None:
        if len(like) != 1 or like[0].numel() != 1:
            raise RuntimeError(message)
        return (ones_like(like[0]),)
    v_tuple, given = _as_tuple(v, "v", "the product")
    if len(given) != len(like):
        if is_tuple:
            raise RuntimeError(f"v is a tuple of invalid length: should be {len(like)} but got {len(given)}.")
        raise RuntimeError("The given v should contain a single Tensor.")
    for i, (x, g) in enumerate(zip(like, given)):
        if x.shape != g.shape:
            prefix = f"Entry {i} in v" if is_tuple else "v"
            raise RuntimeError(f"{prefix} has invalid size: should be {x.shape} but got {g.shape}.")
    return given


OUTPUT_VECTOR = (
    "The vector v can only be None if the user-provided function returns a single Tensor with a single element."
)
INPUT_VECTOR = (
    "The vector v can only be None if the input to the user-provided function is a single Tensor with a single element."
)


def _scalar(func: Callable, inputs: tuple[Tensor, ...], name: str) -> Tensor:
    is_tuple, outputs = _called(func, inputs, name)
    if is_tuple:
        raise RuntimeError(f"The function given to {name} should return a single Tensor")
    if outputs[0].numel() != 1:
        raise RuntimeError(f"The Tensor returned by the function given to {name} should contain a single element")
    return outputs[0].squeeze()


def vjp(
    func: Callable, inputs: Tensors, v: Tensors | None = None, create_graph: bool = False, strict: bool = False
) -> tuple[Tensors, Tensors]:
    """The outputs of ``func`` and the product of ``v`` with its Jacobian; as ``torch.autograd.functional.vjp``.

    Args:
        v: of the shapes of the outputs; may be left out for one output of one element.
        create_graph: whether the results can be differentiated.
        strict: refuse outputs that do not depend on the inputs, instead of giving zeros.

    Example:
        >>> import flamework
        >>> flamework.autograd.functional.vjp(flamework.exp, flamework.zeros(2), flamework.ones(2))
        (tensor([1., 1.]), tensor([1., 1.]))
    """
    with recording_gradients(True):
        is_tuple, given = _as_tuple(inputs, "inputs", "vjp")
        begun = _begun(given, create_graph)
        outputs_tuple, outputs = _called(func, begun, "vjp")
        if strict:
            _strict_outputs(outputs)
        vectors = _vectors(v, outputs, outputs_tuple, OUTPUT_VECTOR)
        found = _filled(_gradients(outputs, begun, vectors, create_graph), begun, strict, "output", "vjp")
    return (
        _shaped(_finished(outputs, create_graph), outputs_tuple), _shaped(_finished(found, create_graph), is_tuple)
    )


def jvp(
    func: Callable, inputs: Tensors, v: Tensors | None = None, create_graph: bool = False, strict: bool = False
) -> tuple[Tensors, Tensors]:
    """The outputs of ``func`` and the product of its Jacobian with ``v``; as ``torch.autograd.functional.jvp``.

    Args:
        v: of the shapes of the inputs; may be left out for one input of one element.
        create_graph: whether the results can be differentiated.
        strict: refuse outputs that do not depend on the inputs, instead of giving zeros.

    Example:
        >>> import flamework
        >>> flamework.autograd.functional.jvp(flamework.exp, flamework.zeros(2), flamework.ones(2))
        (tensor([1., 1.]), tensor([1., 1.]))
    """
    with recording_gradients(True):
        is_tuple, given = _as_tuple(inputs, "inputs", "jvp")
        begun = _begun(given, create_graph)
        vectors = _vectors(v, begun, is_tuple, INPUT_VECTOR)
        outputs_tuple, outputs = _called(func, begun, "jvp")
        if strict:
            _strict_outputs(outputs)
        # the gradient of a product with cotangents, by these cotangents, is the tangent
        cotangents = tuple(zeros_like(x).requires_grad_(True) for x in outputs)
        pulled = _filled(_gradients(outputs, begun, cotangents, True), begun, strict, "output", "jvp")
        found = _filled(_gradients(pulled, cotangents, vectors, create_graph), outputs, False, "output", "jvp")
    return (
        _shaped(_finished(outputs, create_graph), outputs_tuple), _shaped(_finished(found, create_graph), outputs_tuple)
    )


def jacobian(
    func: Callable, inputs: Tensors, create_graph: bool = False, strict: bool = False, vectorize: bool = False,
    strategy: str = "reverse-mode",
) -> Any:
    """The Jacobian of ``func``; as ``torch.autograd.functional.jacobian``.

    Args:
        create_graph: whether the result can be differentiated.
        strict: refuse outputs that do not depend on the inputs, instead of giving zeros.
        vectorize: compute all rows at once, by ``vmap``.
        strategy: "reverse-mode", or with ``vectorize`` also "forward-mode".

    Returns:
        A tensor of the output's shape followed by the input's; tuples of them for a tuple of outputs or inputs.

    Example:
        >>> import flamework
        >>> flamework.autograd.functional.jacobian(lambda x: x**2, flamework.tensor([1.0, 2.0]))
        tensor([[2., 0.],
                [0., 4.]])
    """
    if strategy not in ("forward-mode", "reverse-mode"):
        raise AssertionError(
            'Expected strategy to be either "forward-mode" or "reverse-mode". Hint: If your function has more outputs '
            'than inputs, "forward-mode" tends to be more performant. Otherwise, prefer to use "reverse-mode".'
        )
    is_tuple, given = _as_tuple(inputs, "inputs", "jacobian")
    if strict and vectorize:
        raise RuntimeError(
            "torch.autograd.functional.jacobian: `strict=True` and `vectorized=True` are not supported together. "
            "Please either set `strict=False` or `vectorize=False`."
        )
    if strategy == "forward-mode":
        if not vectorize:
            raise RuntimeError(
                "Computing Jacobian using forward-AD or forward-over-reverse Hessian is only implemented for "
                "`vectorize=True`."
            )
        with recording_gradients(create_graph):
            found = jacfwd(func, tuple(range(len(given))))(*given)
        outputs_tuple = isinstance(found[0], tuple)
        if not outputs_tuple:
            found = (found,)
        rows = [_shaped(_finished(row, create_graph), is_tuple) for row in found]
        return _shaped(rows, outputs_tuple)
    with recording_gradients(True):
        begun = _begun(given, create_graph)
        outputs_tuple, outputs = _called(func, begun, "jacobian")
        if strict:
            _strict_outputs(outputs)
        matrices = []
        for i, output in enumerate(outputs):
            if vectorize or not output.numel():
                def pulled(row: Tensor, output: Tensor = output) -> tuple[Tensor, ...]:
                    return _filled(_gradients([output], begun, [row], create_graph), begun, False, "output", "jacobian")

                columns = list(vmap(pulled)(basis([output])[0])) if output.numel() else [
                    zeros((0, *x.shape), dtype=output.dtype) for x in begun
                ]
            else:
                columns = _rows(output, begun, i, create_graph, strict)
            shaped = [m.reshape(*output.shape, *x.shape) for m, x in zip(columns, begun)]
            matrices.append(_shaped(_finished(shaped, create_graph), is_tuple))
    return _shaped(matrices, outputs_tuple)


def _rows(
    output: Tensor, inputs: tuple[Tensor, ...], i: int, create_graph: bool, strict: bool
) -> list[Tensor]:
    """For each input ``[elements of output, *shape]``, one row after another."""
    rows = []
    for vector in basis([output])[0]:
        found = _gradients([output], inputs, [vector], create_graph)
        for at, x in enumerate(found):
            if strict and x is None:
                raise RuntimeError(
                    f"Output {i} of the user-provided function is independent of input {at}. This is not allowed in "
                    "strict mode."
                )
            if strict and create_graph and not x.requires_grad:
                raise RuntimeError(
                    "The jacobian of the user-provided function is independent of input "
                    f"{i}. This is not allowed in strict mode when create_graph=True."
                )
        rows.append(_filled(found, inputs, False, "output", "jacobian"))
    return [stack(list(column)) for column in zip(*rows)]


def hessian(
    func: Callable, inputs: Tensors, create_graph: bool = False, strict: bool = False, vectorize: bool = False,
    outer_jacobian_strategy: str = "reverse-mode",
) -> Any:
    """The second derivatives of a scalar function; as ``torch.autograd.functional.hessian``.

    Args:
        create_graph, strict, vectorize: as for :func:`jacobian`.
        outer_jacobian_strategy: the ``strategy`` of the second derivative.

    Example:
        >>> import flamework
        >>> flamework.autograd.functional.hessian(lambda x: (x**3).sum(), flamework.tensor([1.0, 2.0]))
        tensor([[ 6.,  0.],
                [ 0., 12.]])
    """
    is_tuple, given = _as_tuple(inputs, "inputs", "hessian")
    if outer_jacobian_strategy not in ("forward-mode", "reverse-mode"):
        raise AssertionError('Expected strategy to be either "forward-mode" or "reverse-mode".')

    def gradient(*inner: Tensor) -> tuple[Tensor, ...]:
        if outer_jacobian_strategy == "forward-mode":
            from ..func import grad

            return grad(lambda *x: _scalar(func, x, "hessian"), tuple(range(len(inner))))(*inner)
        output = _scalar(func, inner, "hessian")
        if strict:
            _strict_outputs([output])
        found = _gradients([output], inner, [None], True)
        return _filled(found, inner, strict, "gradient", "hessian")

    found = jacobian(gradient, given, create_graph, strict, vectorize, outer_jacobian_strategy)
    return found if is_tuple else found[0][0]


def vhp(
    func: Callable, inputs: Tensors, v: Tensors | None = None, create_graph: bool = False, strict: bool = False
) -> tuple[Tensor, Tensors]:
    """The value of a scalar function and the product of ``v`` with its Hessian; as ``torch.autograd.functional.vhp``.

    Args:
        v: of the shapes of the inputs; may be left out for one input of one element.
        create_graph: whether the results can be differentiated.
        strict: refuse a gradient that does not depend on the inputs, instead of giving zeros.

    Example:
        >>> import flamework
        >>> x = flamework.tensor([1.0, 2.0])
        >>> flamework.autograd.functional.vhp(lambda x: (x**3).sum(), x, flamework.ones(2))
        (tensor(9.), tensor([ 6., 12.]))
    """
    with recording_gradients(True):
        is_tuple, given = _as_tuple(inputs, "inputs", "vhp")
        begun = _begun(given, create_graph)
        vectors = _vectors(v, begun, is_tuple, INPUT_VECTOR)
        output = _scalar(func, begun, "vhp")
        if strict:
            _strict_outputs([output])
        slopes = _filled(_gradients([output], begun, [None], True), begun, strict, "gradient", "hessian")
        found = _filled(_gradients(slopes, begun, vectors, create_graph), begun, strict, "output", "vhp")
    return _finished([output], create_graph)[0], _shaped(_finished(found, create_graph), is_tuple)


def hvp(
    func: Callable, inputs: Tensors, v: Tensors | None = None, create_graph: bool = False, strict: bool = False
) -> tuple[Tensor, Tensors]:
    """The value of a scalar function and the product of its Hessian with ``v``; as ``torch.autograd.functional.hvp``.

    A Hessian is symmetric, so that this is :func:`vhp`.

    Example:
        >>> import flamework
        >>> x = flamework.tensor([1.0, 2.0])
        >>> flamework.autograd.functional.hvp(lambda x: (x**3).sum(), x, flamework.ones(2))
        (tensor(9.), tensor([ 6., 12.]))
    """
    _as_tuple(inputs, "inputs", "hvp")

    def checked(*x: Tensor) -> Tensor:
        return _scalar(func, x, "hvp")

    return vhp(checked, inputs, v, create_graph, strict)
