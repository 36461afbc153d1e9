"""Where in the user's program something was recorded.

What is wrong with a value shows when it is computed, which may be many lines later. So what may be wrong with values
(an index, a divisor of integers) remembers the line, and an error gets a note with it. A warning names the line too.

In: nodes. Out: the same nodes, marked. Read next: ``autograd/anomaly.py``, which marks all of them.
"""

from __future__ import annotations

import sys
import warnings
from types import FrameType

from .compiler.ir import Node

_PACKAGE = __name__.partition(".")[0]


def user_frame() -> FrameType | None:
    """The innermost frame outside of the package."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and frame.f_globals.get("__name__", "").partition(".")[0] == _PACKAGE:
        frame = frame.f_back
    return frame


def origin() -> tuple[str, int, str] | None:
    """File, line and function of the user's statement that runs."""
    frame = user_frame()
    return None if frame is None else (frame.f_code.co_filename, frame.f_lineno, frame.f_code.co_name)


def warn(text: str, category: type[Warning] = UserWarning) -> None:
    """A warning at the user's line, however many calls of the package are between."""
    level, frame = 1, sys._getframe()
    while frame is not None and frame.f_globals.get("__name__", "").partition(".")[0] == _PACKAGE:
        level, frame = level + 1, frame.f_back
    # the level of this function is 1
    warnings.warn(text, category, stacklevel=level)


def with_line(node: Node) -> Node:
    """The node, which remembers the user's line."""
    node.marks().origin = origin()
    return node
