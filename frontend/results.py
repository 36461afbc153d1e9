"""What every public function does to its result: its order in memory, and its name in the backward graph.

A function is put into one call around it, which does what the tables of ``memory_order.py`` and of
``backward_names.py`` say of it, and nothing where they say nothing. If an operand turns out to be sparse, the call is
one of the function on sparse tensors.

In: the public functions. Out: the same, with results as PyTorch's. Read next: ``argument_errors.py``, which looks at
what they are given.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from types import FunctionType, ModuleType
from typing import Any

from .backward_names import NAMES, Rule, leave
from .compiler.ir import grad_mode
from .memory_order import OWN_ORDER, RULES
from .tensor import SparseOperand, Tensor, sparse_call

Order = Callable[[Any, tuple], Any]

# What is done by the functions that were made here, and of which function they were made.
_MADE: dict[Callable, tuple[FunctionType, Order | None, str | Rule | None]] = {}


@functools.cache
def finished(function: FunctionType, order: Order | None, rule: str | Rule | None, in_place: bool) -> Callable:
    """The function, arranging its result in memory and leaving a name at it unless that is its argument as it was."""
    if function in _MADE:
        bare, own_order, own_rule = _MADE[function]
        if (order is None or own_order is not None) and (rule is None or own_rule is not None):
            return function
        return finished(bare, own_order or order, own_rule or rule, in_place)

    chapter = vars(sys.modules[function.__module__])
    # linalg.norm is another function than norm
    name = f"linalg_{function.__name__}" if ".linalg" in function.__module__ else function.__name__

    @functools.wraps(function)
    def public(*args: Any, **options: Any) -> Any:
        try:
            result = function(*args, **options)
        except SparseOperand:
            return sparse_call(name, args, options)
        if order is not None:
            order(result, args)
        if rule is not None and grad_mode.enabled:
            if result.__class__ is Tensor:
                if result._node.requires_grad and (in_place or not args or result is not args[0]):
                    leave(result, rule if rule.__class__ is str else rule(args, options, result))
            elif isinstance(result, (tuple, list)):
                for part in result:
                    if part.__class__ is Tensor and part._node.requires_grad:
                        leave(part, rule if rule.__class__ is str else rule(args, options, part))
        return result

    _MADE[public] = function, order, rule
    # functions of the same chapter call it too, and a pickle looks there
    if chapter.get(function.__name__) is function:
        chapter[function.__name__] = public
    return public


def unfinished(function: Callable) -> Callable:
    """The function itself of one that was made here."""
    return _MADE[function][0] if function in _MADE else function


def install(*places: ModuleType | type) -> None:
    """Finish the results of public functions, in modules and as methods of ``Tensor``."""
    for place in places:
        is_class = isinstance(place, type)
        names = NAMES["flamework" if is_class else place.__name__]
        for name in vars(place).get("__all__") or list(vars(place)):
            function = vars(place)[name]
            if not isinstance(function, FunctionType):
                continue
            order = None if function in OWN_ORDER else RULES.get(name)
            in_place = is_class and name.endswith("_") and name not in names
            rule = names.get(name.removesuffix("_") if in_place else name)
            if order is not None or rule is not None:
                setattr(place, name, finished(function, order, rule, in_place))
