"""Hooks: user functions that run around a module's forward and backward pass.

``Module.__call__`` takes a short cut when a module has no hooks; with hooks it comes here. The order is PyTorch's:
forward pre-hooks (may replace the arguments), ``forward``, forward hooks (may replace the result), and, when the
gradients arrive, backward pre-hooks (may replace the gradients of the outputs) and backward hooks (may replace the
gradients of the inputs).

A backward hook wants the gradients of *all* inputs, or all outputs, in one call, while a tensor's own hook sees one
gradient. ``_join`` closes the gap: tensors that are concatenated and split again have a single gradient between them,
the concatenation's, so one tensor hook sees and can replace everything at once.

In: a module with hooks and the arguments of its call. Out: the result of the call. Read ``module.py`` for the methods
which register hooks.
"""

from __future__ import annotations

import itertools
import weakref
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, Self

import flamework
from flamework.nn.epoch import advance
from flamework.origin import warn
from flamework.tensor import Tensor

if TYPE_CHECKING:
    from flamework.nn.module import Module

_next_id = itertools.count().__next__


class RemovableHandle:
    """The receipt for a registered hook; ``remove()``, or leaving a ``with`` block, takes the hook out again.

    Args:
        hooks_dict: the ordered dictionary that holds the hook under the handle's ``id``.
        extra_dict: one more such dictionary, or a sequence of them, with an entry for the same ``id``.

    As ``torch.utils.hooks.RemovableHandle``.

    Example:
        >>> import flamework
        >>> layer = flamework.nn.ReLU()
        >>> handle = layer.register_forward_hook(lambda module, args, output: output + 1)
        >>> handle.remove()
    """

    def __init__(self, hooks_dict: OrderedDict, *, extra_dict: OrderedDict | Sequence[OrderedDict] = ()) -> None:
        extra = (extra_dict,) if isinstance(extra_dict, dict) else extra_dict
        self.id = _next_id()
        self._refer_to((hooks_dict, *extra))

    def _refer_to(self, registries: Iterable[OrderedDict]) -> None:
        # Weak, because a handle that somebody keeps must not keep the module alive.
        self._registries = [weakref.ref(registry) for registry in registries]

    def remove(self) -> None:
        """Take the hook out; a second call does nothing."""
        for reference in self._registries:
            registry = reference()
            if registry is not None:
                registry.pop(self.id, None)
        advance()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.remove()

    def __getstate__(self) -> tuple[int, list[OrderedDict | None]]:
        return self.id, [reference() for reference in self._registries]

    def __setstate__(self, state: tuple[int, list[OrderedDict | None]]) -> None:
        # A handle that is copied together with its module removes the hook from the copy.
        self.id, registries = state
        self._refer_to(registry for registry in registries if registry is not None)


def register(hooks: OrderedDict, hook: Callable, *, prepend: bool = False,
             marks: Sequence[tuple[OrderedDict, bool]] = ()) -> RemovableHandle:
    """Enter ``hook`` into ``hooks`` and return its handle.

    Args:
        prepend: run it before the hooks that are already there.
        marks: pairs of a dictionary of properties, such as "takes keyword arguments", and whether ``hook`` has it.
    """
    handle = RemovableHandle(hooks, extra_dict=[registry for registry, _ in marks])
    hooks[handle.id] = hook
    for registry, holds in marks:
        if holds:
            registry[handle.id] = True
    if prepend:
        hooks.move_to_end(handle.id, last=False)
    advance()
    return handle


def call_with_hooks(module: Module, args: tuple, kwargs: dict[str, Any]) -> Any:
    """Call ``module.forward`` with every hook of the module around it."""
    result = None
    started: set[int] = set()
    try:
        args, kwargs = _run_forward_pre_hooks(module, args, kwargs)
        boundary = None
        if module._backward_hooks or module._backward_pre_hooks:
            boundary = _BackwardBoundary(module)
            args = boundary.enter(args)
        result = module.forward(*args, **kwargs)
        for key, hook in tuple(module._forward_hooks.items()):
            started.add(key)
            replacement = _run_forward_hook(module, key, hook, args, kwargs, result)
            if replacement is not None:
                result = replacement
        return result if boundary is None else boundary.leave(result)
    except Exception:
        for key, hook in tuple(module._forward_hooks.items()):
            if key in module._forward_hooks_always_called and key not in started:
                try:
                    replacement = _run_forward_hook(module, key, hook, args, kwargs, result)
                    if replacement is not None:
                        result = replacement
                except Exception as error:
                    warn("module forward hook with ``always_call=True`` raised an exception that was silenced "
                         f"as another error was raised in forward: {error}")
        raise


def _run_forward_pre_hooks(module: Module, args: tuple, kwargs: dict[str, Any]) -> tuple[tuple, dict[str, Any]]:
    for key, hook in tuple(module._forward_pre_hooks.items()):
        if key in module._forward_pre_hooks_with_kwargs:
            replacement = hook(module, args, kwargs)
            if replacement is None:
                continue
            if not (isinstance(replacement, tuple) and len(replacement) == 2):
                raise RuntimeError("forward pre-hook must return None or a tuple of (new_args, new_kwargs), "
                                   f"but got {replacement}.")
            args, kwargs = replacement
        else:
            replacement = hook(module, args)
            if replacement is not None:
                args = replacement if isinstance(replacement, tuple) else (replacement,)
    return args, kwargs


def _run_forward_hook(module: Module, key: int, hook: Callable, args: tuple, kwargs: dict[str, Any],
                      result: Any) -> Any:
    if key in module._forward_hooks_with_kwargs:
        return hook(module, args, kwargs, result)
    return hook(module, args, result)


class _BackwardBoundary:
    """Tensor hooks at the entry and the exit of one module call, which together run the module's backward hooks."""

    def __init__(self, module: Module) -> None:
        self.module = module
        self.hooks = list(module._backward_hooks.values())
        self.pre_hooks = list(module._backward_pre_hooks.values())
        self.args: tuple = ()
        self.inputs: list[int] = []
        self.grad_outputs: tuple[Tensor | None, ...] | None = None

    def enter(self, args: tuple) -> tuple:
        if not self.hooks:
            return args
        self.args = args
        self.inputs = _differentiable(args)
        return _join(args, self.inputs, self._on_grad_inputs)

    def leave(self, result: Any) -> Any:
        if not isinstance(result, Tensor | tuple):
            warn("For backward hooks to be called, module output should be a Tensor or a tuple of Tensors "
                 f"but received {type(result)}")
            return result
        outputs = result if isinstance(result, tuple) else (result,)
        joined = _join(outputs, _differentiable(outputs), self._on_grad_outputs)
        return joined if isinstance(result, tuple) else joined[0]

    def _on_grad_outputs(self, grads: tuple[Tensor | None, ...]) -> tuple[Tensor | None, ...]:
        for hook in self.pre_hooks:
            grads = _replaced(hook(self.module, grads), grads, "Backward pre hook", "grad_output")
        self.grad_outputs = grads
        if not self.inputs:
            for hook in self.hooks:
                answer = hook(self.module, (None,) * len(self.args), grads)
                if answer is not None and not (isinstance(answer, tuple) and all(a is None for a in answer)):
                    raise RuntimeError("Backward hook for Modules where no input requires gradient should always "
                                       "return None or None for all gradients.")
        return grads

    def _on_grad_inputs(self, grads: tuple[Tensor | None, ...]) -> tuple[Tensor | None, ...]:
        if self.grad_outputs is None:
            raise RuntimeError("Module backward hook for grad_input is called before the grad_output one: the gradient "
                               "reached the module's input without passing through its output. Make sure that the "
                               "output depends on the input and that the loss is computed from the output.")
        # A tensor without a gradient beside one that has it is shown with zeros, as in PyTorch.
        grads = tuple(flamework.zeros_like(arg) if grad is None and isinstance(arg, Tensor) else grad
                      for arg, grad in zip(self.args, grads, strict=True))
        for hook in self.hooks:
            answer = hook(self.module, grads, self.grad_outputs)
            grads = _replaced(answer, grads, "Backward hook", "grad_input")
        self.grad_outputs = None
        return grads


def _differentiable(values: tuple) -> list[int]:
    if not flamework.is_grad_enabled():
        return []
    return [i for i, value in enumerate(values) if isinstance(value, Tensor) and value.requires_grad]


def _join(values: tuple, positions: list[int], on_grads: Callable[[tuple], tuple]) -> tuple:
    """Return ``values`` with the tensors at ``positions`` passed through one identity whose gradient ``on_grads`` sees.

    ``on_grads`` takes and returns one entry per value, None where a value has no gradient. A tensor that takes no part
    in the loss has a gradient of zeros when it is joined with others.
    """
    if not positions:
        return values
    passed = list(values)
    if len(positions) == 1:
        only = positions[0]
        alias = values[only].view_as(values[only])

        def on_single_grad(grad: Tensor) -> Tensor | None:
            grads = tuple(grad if i == only else None for i in range(len(values)))
            return on_grads(grads)[only]

        alias.register_hook(on_single_grad)
        passed[only] = alias
        return tuple(passed)

    tensors = [values[i] for i in positions]
    # Different float types are promoted by cat and cast back, which is exact in both directions.
    joined = flamework.cat([tensor.reshape(-1) for tensor in tensors])

    def on_joined_grad(grad: Tensor) -> Tensor:
        grads: list[Tensor | None] = [None] * len(values)
        for i, piece in zip(positions, _split_like(grad, tensors), strict=True):
            grads[i] = piece
        answer = on_grads(tuple(grads))
        pieces = [flamework.zeros_like(tensor) if answer[i] is None else answer[i]
                  for i, tensor in zip(positions, tensors, strict=True)]
        return flamework.cat([piece.reshape(-1) for piece in pieces]).to(joined.dtype)

    joined.register_hook(on_joined_grad)
    for i, piece in zip(positions, _split_like(joined, tensors), strict=True):
        passed[i] = piece
    return tuple(passed)


def _split_like(flat: Tensor, tensors: list[Tensor]) -> list[Tensor]:
    pieces, start = [], 0
    for tensor in tensors:
        stop = start + tensor.numel()
        pieces.append(flat[start:stop].reshape(tensor.shape).to(tensor.dtype))
        start = stop
    return pieces


def _replaced(answer: Any, grads: tuple, who: str, what: str) -> tuple:
    if answer is None:
        return grads
    if not isinstance(answer, tuple):
        answer = (answer,)
    if len(answer) != len(grads):
        raise RuntimeError(f"{who} returned an invalid number of {what}, got {len(answer)}, but expected {len(grads)}")
    return answer
