"""Settings of the process: the default device, deterministic algorithms, small numbers.

In: what a user wants of all calls from now on. Out: the functions of ``torch`` of those names.
"""

from __future__ import annotations

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
    _Algorithms.deterministic, _Algorithms.warn_only = bool(mode), bool(warn_only)


def are_deterministic_algorithms_enabled() -> bool:
    """Whether they were asked for. As ``torch.are_deterministic_algorithms_enabled``."""
    return _Algorithms.deterministic


def is_deterministic_algorithms_warn_only_enabled() -> bool:
    """Whether a warning would do. As ``torch.is_deterministic_algorithms_warn_only_enabled``."""
    return _Algorithms.deterministic and _Algorithms.warn_only


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
