"""Grad modes: whether what is recorded is tracked for gradients.

In: nothing. Out: context managers, which are decorators too, around the one flag of ``compiler/ir.py``. Read next:
``leaves.py``.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable

from .compiler.ir import grad_mode


class _GradMode:
    """A context manager, also usable as a decorator, in which gradients are (not) tracked."""

    def __init__(self, enabled: bool) -> None:
        self.enabled = enabled
        self._previous: list[bool] = []

    def __enter__(self) -> None:
        self._previous.append(grad_mode.enabled)
        grad_mode.enabled = self.enabled

    def __exit__(self, *exception: object) -> None:
        grad_mode.enabled = self._previous.pop()

    def clone(self) -> _GradMode:
        return _GradMode(self.enabled)

    def __call__(self, function: Callable) -> Callable:
        """Run ``function``, also a generator function, in this mode."""
        if inspect.isgeneratorfunction(function):

            @functools.wraps(function)
            def generator(*args, **kwargs):
                running = function(*args, **kwargs)
                # the mode holds while the generator runs, not while its caller does
                send, value = running.send, None
                while True:
                    try:
                        with self.clone():
                            yielded = send(value)
                    except StopIteration as stop:
                        return stop.value
                    try:
                        value = yield yielded
                        send = running.send
                    except GeneratorExit:
                        with self.clone():
                            running.close()
                        raise
                    except BaseException as error:
                        send, value = running.throw, error

            return generator

        @functools.wraps(function)
        def wrapper(*args, **kwargs):
            with self.clone():
                return function(*args, **kwargs)

        return wrapper


class no_grad(_GradMode):
    """Context manager and decorator in which no gradients are tracked; as ``torch.no_grad``.

    Example:
        >>> import flamework
        >>> x = flamework.ones(1, requires_grad=True)
        >>> with flamework.no_grad():
        ...     y = x * 2
        >>> y.requires_grad
        False
    """

    def __new__(cls, function: Callable | None = None):
        mode = super().__new__(cls)
        if function is None:
            return mode
        _GradMode.__init__(mode, cls.tracks)
        return mode(function)

    tracks = False

    def __init__(self, function: Callable | None = None) -> None:
        super().__init__(self.tracks)


class enable_grad(no_grad):
    """Context manager and decorator in which gradients are tracked; as ``torch.enable_grad``."""

    tracks = True


class set_grad_enabled(_GradMode):
    """Switch the tracking of gradients on or off, at once or for a ``with`` block; as ``torch.set_grad_enabled``."""

    def __init__(self, mode: bool) -> None:
        super().__init__(bool(mode))
        self._before = grad_mode.enabled
        grad_mode.enabled = self.enabled

    def __enter__(self) -> None:
        # the mode was switched when the object was made; leaving the block restores what was before that
        self._previous.append(self._before)
        grad_mode.enabled = self.enabled

    def __call__(self, function: Callable) -> Callable:
        grad_mode.enabled = self._before
        return super().__call__(function)


class inference_mode(_GradMode):
    """``no_grad`` by another name, for code that never needs gradients; as ``torch.inference_mode``.

    PyTorch's tensors made in this mode are barred from autograd for good; here they are ordinary tensors.
    """

    def __new__(cls, mode: bool | Callable = True):
        made = super().__new__(cls)
        if callable(mode):
            _GradMode.__init__(made, False)
            return made(mode)
        return made

    def __init__(self, mode: bool = True) -> None:
        super().__init__(not mode and grad_mode.enabled)


def is_grad_enabled() -> bool:
    """Whether gradients are being tracked."""
    return grad_mode.enabled
