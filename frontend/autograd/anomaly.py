"""Anomaly detection: which operation's gradient is NaN, and the line of the user that recorded it.

While it is on, every recorded tensor notes the user's line, and a backward pass is taken step by step and looked at.
Off, it costs nothing.

In: nothing. Out: an error where a NaN appears.
"""

from __future__ import annotations

import linecache
from collections.abc import Sequence
from types import TracebackType

import numpy as np

from ..compiler import autodiff
from ..compiler.gradient_names import gradient_name
from ..compiler.ir import Node, topological
from ..origin import origin, warn
from ..recording import pending, read
from ..tensor import Tensor

_state = {"enabled": False, "check_nan": True}


def is_anomaly_enabled() -> bool:
    """Whether anomaly detection is on; as ``torch.is_anomaly_enabled``."""
    return _state["enabled"]


def is_anomaly_check_nan_enabled() -> bool:
    """Whether it looks for NaN; as ``torch.is_anomaly_check_nan_enabled``."""
    return _state["check_nan"]


class set_detect_anomaly:
    """Turn anomaly detection on or off, until further notice or for a ``with`` block.

    Args:
        mode: on or off.
        check_nan: raise when an operation's gradient holds a NaN.

    As ``torch.autograd.set_detect_anomaly``.

    Example:
        >>> import flamework as torch
        >>> x = torch.tensor([-1.0], requires_grad=True)
        >>> with torch.autograd.set_detect_anomaly(True):
        ...     y = x.sqrt()
        ...     try:
        ...         y.sum().backward()
        ...     except RuntimeError as error:
        ...         print(str(error).partition(".")[0])
        Function 'SqrtBackward0' returned nan values in its 0th output
    """

    def __init__(self, mode: bool, check_nan: bool = True) -> None:
        self.previous = dict(_state)
        _set(bool(mode), bool(check_nan))

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        _set(self.previous["enabled"], self.previous["check_nan"])


class detect_anomaly(set_detect_anomaly):
    """Turn anomaly detection on for a ``with`` block; as ``torch.autograd.detect_anomaly``.

    A backward pass that gives a NaN raises, and a warning names the line of the forward pass it belongs to.
    """

    def __init__(self, check_nan: bool = True) -> None:
        warn(
            "Anomaly Detection has been enabled. This mode will increase the runtime and should only be enabled for "
            "debugging.",
        )
        self.check_nan = check_nan
        self.previous = dict(_state)

    def __enter__(self) -> None:
        self.previous = dict(_state)
        _set(True, self.check_nan)


def _set(enabled: bool, check_nan: bool) -> None:
    _state.update(enabled=enabled, check_nan=check_nan)
    pending.notify(note_origin if enabled else None)
    autodiff.inspect = look if enabled and check_nan else None


def note_origin(tensor: Tensor) -> None:
    """Leave the user's line at the nodes that were recorded for a tensor."""
    found = origin()
    if found is None:
        return
    stack = [tensor._node]
    while stack:
        node = stack.pop()
        if node.value is None and node.src and node.marks().origin is None:
            node.marks().origin = found
            stack += node.src


def look(node: Node, given: Sequence[tuple[Node, Node | None]]) -> None:
    """Raise if a cotangent that a node's rules gave is NaN somewhere."""
    origin = node.marks().origin
    for source, _ in given:
        # what a formula was written out to has no line of its own
        if origin is not None and source.src and source.marks().origin is None:
            source.marks().origin = origin
    for position, (_, cotangent) in enumerate(given):
        if cotangent is None or not cotangent.dtype.is_floating_point or depends_on_no_value(cotangent):
            continue
        if np.isnan(read(cotangent).astype(np.float64)).any():
            report(node, position)


def depends_on_no_value(node: Node) -> bool:
    """Whether a node belongs to a function that is being recorded and has nothing to be computed from."""
    return any(x.op.kind == "leaf" and x.value is None and x.op.name == "input" for x in topological([node]))


def report(node: Node, position: int) -> None:
    name = gradient_name(node)
    message = f"Function '{name}' returned nan values in its {position}th output."
    origin = node.marks().origin
    if origin is None:
        raise RuntimeError(message)
    file, line, function = origin
    text = linecache.getline(file, line).strip()
    warn(
        f"Error detected in {name}. Traceback of forward call that caused the error:\n"
        f'  File "{file}", line {line}, in {function}\n    {text}',
    )
    raise RuntimeError(f"{message} It was recorded at {file}:{line}: {text}")


__all__ = ["detect_anomaly", "is_anomaly_check_nan_enabled", "is_anomaly_enabled", "set_detect_anomaly"]
