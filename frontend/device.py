"""Device objects: where a tensor lives, as ``torch.device`` writes it.

In: a string such as ``"cpu"`` or ``"cuda:1"``. Out: an object with ``type`` and ``index`` that compares by value.
The compiler knows devices by their strings. Read next: ``tensor.py``.
"""

from __future__ import annotations

import re

from .runtime import gpu

KINDS = ("cpu", "cuda")

# The device of tensors that are made without one, as the compiler writes it; :func:`set_default` replaces it.
_default = "cpu"
# What was asked for: a GPU without an index is the current one, whichever that is.
_wanted: device | None = None
# The index of the GPU that "cuda" means.
_current = 0
# What was the default outside of the blocks ``with torch.device(...)`` that have begun.
_outside: list[device | None] = []

_TEXT = re.compile(r"([a-z]+)(?::(0|[1-9][0-9]*))?")


class device:
    """A device, as ``torch.device``.

    Args:
        type: ``"cpu"`` or ``"cuda"``, with or without ``":index"``, another device, or an integer (the
            index of a GPU).
        index: which of the devices of that type; None for the current one.

    Raises:
        RuntimeError: the text names no device.

    Example:
        >>> import flamework
        >>> flamework.device("cuda:1").index
        1
    """

    __slots__ = ("type", "index")

    def __init__(self, type: str | int | device, index: int | None = None) -> None:
        if isinstance(type, device):
            type, index = type.type, type.index if index is None else index
        if isinstance(type, int) and not isinstance(type, bool):
            type, index = "cuda", type
        if not isinstance(type, str):
            raise TypeError(f"device(): argument 'type' must be str, not {type.__class__.__name__}")
        match = _TEXT.fullmatch(type)
        if match is None:
            raise RuntimeError(f"Invalid device string: '{type}'")
        if match[1] not in KINDS:
            raise RuntimeError(
                f"Expected one of {', '.join(KINDS)} device type at start of device string: {match[1]}"
            )
        if match[2] is not None:
            if index is not None:
                raise RuntimeError(
                    f"type (string) must not include an index because index was passed explicitly: {type}"
                )
            index = int(match[2])
        object.__setattr__(self, "type", match[1])
        object.__setattr__(self, "index", index)

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"attribute '{name}' of 'torch.device' objects is not writable")

    def __str__(self) -> str:
        return self.type if self.index is None else f"{self.type}:{self.index}"

    def __repr__(self) -> str:
        index = "" if self.index is None else f", index={self.index}"
        return f"device(type='{self.type}'{index})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, device) and (self.type, self.index) == (other.type, other.index)

    def __hash__(self) -> int:
        return hash((self.type, self.index))

    def __reduce__(self):
        return (device, (str(self),))

    def __enter__(self) -> device:
        """Begin a block in which tensors are made on this device unless another one is asked for."""
        _outside.append(_wanted)
        try:
            set_default(self)
        except BaseException:
            _outside.pop()
            raise
        return self

    def __exit__(self, *exception: object) -> None:
        set_default(_outside.pop())


_BY_NAME: dict[str, device] = {}


class NoCuda(AssertionError, RuntimeError):
    """A GPU is asked for and there is none: an AssertionError in PyTorch without CUDA, else a RuntimeError."""

    def __init__(self) -> None:
        super().__init__("Torch not compiled with CUDA enabled")


def device_named(name: str) -> device:
    """The device of a compiler string; one object for each."""
    found = _BY_NAME.get(name)
    if found is None:
        found = _BY_NAME[name] = device(name)
    return found


def device_name(place: str | int | device | None) -> str:
    """The compiler's string for what a user passed as ``device=``; None means the default one.

    Raises:
        RuntimeError: this machine has no such device; for a GPU it is an AssertionError as well, PyTorch's.
    """
    if place is None:
        return _default
    found = place if isinstance(place, device) else device(place)
    if found.type == "cpu":
        return "cpu"
    index = _current if found.index is None else found.index
    if not 0 <= index < gpu.count():
        raise NoCuda() if not gpu.count() else RuntimeError("CUDA error: invalid device ordinal")
    return f"cuda:{index}"


def set_default(place: str | int | device | None) -> None:
    """Choose the device that None means to :func:`device_name` from now on; None for the CPU.

    Raises:
        RuntimeError: this machine has no such device.
    """
    global _default, _wanted
    wanted = None if place is None else place if isinstance(place, device) else device(place)
    _default = "cpu" if wanted is None else device_name(wanted)
    _wanted = wanted


def current() -> int:
    """The index of the GPU that "cuda" means."""
    return _current


def chosen() -> tuple[str, int]:
    """The default device and the current GPU: what a function that names no device depends on."""
    return _default, _current


def set_current(index: int) -> None:
    """Choose it. Raises RuntimeError if there is no such GPU."""
    global _current
    device_name(device("cuda", index))
    _current = index
    set_default(_wanted)
