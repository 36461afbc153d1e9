"""Settings of the process: the default device, deterministic algorithms, small numbers.

In: what a user wants of all calls from now on. Out: the functions of ``torch`` of those names.
"""

from __future__ import annotations

from typing import Any

from .creation import DeviceLike
from .device import device, device_name, device_named, set_default


def set_default_device(device: DeviceLike) -> None:
    """The device of tensors that are made without one; None for the CPU. As ``torch.set_default_device``.

    Raises:
        RuntimeError: this machine has no such device.

    Example:
        >>> import flamework as torch
        >>> torch.set_default_device("cpu")
        >>> torch.get_default_device()
        device(type='cpu')
    """
    set_default(device)


def get_default_device() -> device:
    """The device of tensors that are made without one. As ``torch.get_default_device``."""
    return device_named(device_name(None))


class _Algorithms:
    deterministic = False
    warn_only = False


_DEBUG_MODES = ("default", "warn", "error")


def use_deterministic_algorithms(mode: bool, *, warn_only: bool = False) -> None:
    """Ask for the same results whenever a program runs, which all functions give anyway.

    As ``torch.use_deterministic_algorithms``.

    Example:
        >>> import flamework as torch
        >>> torch.use_deterministic_algorithms(True)
        >>> torch.are_deterministic_algorithms_enabled()
        True
        >>> torch.use_deterministic_algorithms(False)
    """
    if not isinstance(mode, bool):
        kind = type(mode).__name__
        raise TypeError(f"_set_deterministic_algorithms(): argument 'mode' (position 1) must be bool, not {kind}")
    _Algorithms.deterministic, _Algorithms.warn_only = mode, bool(warn_only)


def are_deterministic_algorithms_enabled() -> bool:
    """Whether they were asked for. As ``torch.are_deterministic_algorithms_enabled``."""
    return _Algorithms.deterministic


def is_deterministic_algorithms_warn_only_enabled() -> bool:
    """Whether a warning would do. As ``torch.is_deterministic_algorithms_warn_only_enabled``."""
    return _Algorithms.deterministic and _Algorithms.warn_only


def set_deterministic_debug_mode(debug_mode: Any) -> None:
    """The same as a number or name: 0 or ``"default"``, 1 or ``"warn"``, 2 or ``"error"``.

    As ``torch.set_deterministic_debug_mode``. Raises ``RuntimeError`` for another number or name, and ``TypeError`` for
    another type.
    """
    if not isinstance(debug_mode, (int, str)):
        raise TypeError(f"debug_mode must be str or int, but got {type(debug_mode)}")
    if isinstance(debug_mode, str):
        if debug_mode not in _DEBUG_MODES:
            names = ", ".join(f"`{name}`" for name in _DEBUG_MODES)
            raise RuntimeError(f"invalid value of debug_mode, expected one of {names}, but got {debug_mode}")
        debug_mode = _DEBUG_MODES.index(debug_mode)
    if debug_mode not in range(len(_DEBUG_MODES)):
        raise RuntimeError(f"invalid value of debug_mode, expected 0, 1, or 2, but got {debug_mode}")
    use_deterministic_algorithms(debug_mode > 0, warn_only=debug_mode == 1)


def get_deterministic_debug_mode() -> int:
    """What :func:`set_deterministic_debug_mode` would set. As ``torch.get_deterministic_debug_mode``."""
    if not _Algorithms.deterministic:
        return 0
    return 1 if _Algorithms.warn_only else 2


def set_flush_denormal(mode: bool) -> bool:
    """Whether numbers below the smallest normal one may become 0; False says that this is not supported.

    Kernels keep them, so that results are the same on every machine: only ``False`` can be had. As
    ``torch.set_flush_denormal`` on a machine that cannot flush them.
    """
    return False


def compiled_with_cxx11_abi() -> bool:
    """Whether C++ that works with this library has the newer of its two interfaces for strings, as PyTorch's has.

    There is no C++ here that had another one. As ``torch.compiled_with_cxx11_abi``.
    """
    return True
