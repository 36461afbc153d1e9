"""``@compile``: record a function once, run its plan ever after.

The first call with arguments of some kind runs the function as it is, which records its nodes like any lazy script,
and then keeps the plan with a note of where each input came from: an argument, a tensor that the function reached
(a parameter, an optimizer's state), a number read anew. A later call of the same kind checks that what the function
reaches has not changed (``guards.py``), runs the plan and puts the results where the function would have put them:
returned tensors, tensors written in place, gradients. Nothing of the function's Python runs again.

What counts as the same kind: the nesting of the arguments, each tensor's type, layout, sharing of memory and
``requires_grad``, every other argument's value, and the grad mode. Floats are read anew at every call, as far as the
function only computes with them. Another size, or another value of something else, records again, but compiles no
kernel that is known.

In: a function or Module. Out: a callable of the same signature. Read next: ``recorder.py``, ``guards.py``.
"""

from __future__ import annotations

import functools
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any

from . import levels
from .capture import SideEffectError, Transparent, capturing
from .compiler.ir import grad_mode
from .device import chosen, device
from .guards import is_alive
from .live import compiled_reader
from .nn.module import Module
from .places import check_apart, exact_form, form, identity
from .pytree import contents
from .recorder import Recorded, record
from .recording import get_default_dtype
from .replay import Changed, Program
from .runtime import engine
from .runtime.log import ENABLED, log
from .size import Size
from .storage import EXPORTED
from .tensor import Tensor, is_gradient_leaf

#: How many kinds of calls are remembered, and how many states of the surroundings for each.
MAX_KINDS = 64
MAX_VARIANTS = 8

#: After so many calls that could not be kept the function runs as it is.
MAX_FAILURES = 4

_BY_VALUE = (type(None), bool, int, str, bytes, device, range)


def compile(
    model: Callable | None = None, *, fullgraph: bool = True, disable: bool = False
) -> Callable:
    """Compile a function or a Module; also a decorator, with or without arguments. As ``torch.compile``.

    Args:
        model: what to compile. Arguments and results may be nested tuples, lists and dictionaries of tensors.
        fullgraph: if True, a function with a side effect that cannot be replayed is refused with its line; if False,
            such a function runs as an ordinary lazy script.
        disable: if True, return ``model`` as it is.

    Returns:
        A callable with the same signature and the same results.

    Raises:
        SideEffectError: (a RuntimeError) at a call, when the function does what a replay could not repeat. Tensors and
            containers are then as they were before the call.

    Example:
        >>> import flamework
        >>> @flamework.compile
        ... def scaled(x, factor):
        ...     return x * factor
        >>> scaled(flamework.ones(2), 3.0).tolist()
        [3.0, 3.0]
    """
    if model is None:
        return functools.partial(compile, fullgraph=fullgraph, disable=disable)
    if disable:
        return model
    if not callable(model):
        raise TypeError(f"compile() takes a function or a Module, not {type(model).__name__}")
    return CompiledModule(model, fullgraph) if isinstance(model, Module) else Compiled(model, fullgraph)


# ------------------------------------------------------------------------------------------------------ kinds of calls


def collect(value: Any, leaves: list[Any], key: list[Any], containers: list[Any], top: bool) -> None:
    """Take an argument apart: its leaves, its containers, and what has to be equal for a recording to serve."""
    if isinstance(value, Tensor):
        leaves.append(value)
        meta = value._meta
        requires_grad = value.requires_grad
        key += (value._node.type, requires_grad and is_gradient_leaf(value), requires_grad)
        found, has_grad = form(value), meta is not None and meta.grad is not None
        if found is not None or has_grad or type(value) is not Tensor:
            key.append((found, has_grad, type(value)))
        return
    parts = contents(value)
    if parts is not None:
        names, values = parts
        containers.append(value)
        key += (type(value), names, len(values))
        for item in values:
            collect(item, leaves, key, containers, False)
        return
    leaves.append(value)
    if type(value) is float and top:
        key.append(float)
    else:
        key.append(leaf_key(value))


def leaf_key(value: Any) -> Any:
    """What stands for an argument that is no tensor."""
    kind = type(value)
    if kind in _BY_VALUE:
        return (kind, value)
    if kind is Size:
        return (kind, tuple(value))
    if isinstance(value, (float, complex)):
        # by text, which tells the two zeros apart
        return (kind, repr(value))
    if kind is slice:
        return (kind, leaf_key(value.start), leaf_key(value.stop), leaf_key(value.step))
    return ("object", id(value))


def sharing(leaves: Sequence[Any]) -> tuple | None:
    """Which arguments share memory, and which are one tensor, by the position of the first; None if none do."""
    homes = [id(x if x._storage is None else x._storage) for x in leaves if isinstance(x, Tensor)]
    exported = {id(x._storage): x._storage for x in leaves
                if isinstance(x, Tensor) and x._storage is not None and x._storage.stamp == EXPORTED}
    if len(exported) > 1:
        check_apart(list(exported.values()))
    if len(set(homes)) == len(homes):
        return None
    first: dict[int, int] = {}
    pattern = [first.setdefault(identity(x), i) for i, x in enumerate(leaves) if isinstance(x, Tensor)]
    first = {}
    return (*pattern, *(first.setdefault(id(x), i) for i, x in enumerate(leaves) if isinstance(x, Tensor)))


# ------------------------------------------------------------------------------------------------------------ variants


class Variant:
    """One recorded program, and what it depends on besides the kind of the call."""

    def __init__(self, recorded: Recorded, leaves: Sequence[Any]) -> None:
        self.program: Program = recorded.program
        self.surroundings = recorded.surroundings
        self.optimizers = recorded.optimizers
        recorded.optimizers.before = []
        self.learning = recorded.surroundings.learning
        # an argument that is told by its identity must not make place for another object
        self.objects = [leaf for leaf in leaves if not isinstance(leaf, Tensor)]
        self.exact = [(i, exact_form(leaves[i])) for i in recorded.exact]
        self.conditions = None
        if recorded.conditions:
            self.outcomes = tuple(outcome for _, outcome in recorded.conditions)
            self.conditions = compiled_reader([expression for expression, _ in recorded.conditions])
        arguments = {id(leaf) for leaf in leaves if isinstance(leaf, Tensor)}
        self.before = [recorded.reached[key] for key in recorded.surroundings.tensors if key not in arguments]
        self.watch()

    def watch(self) -> None:
        """Sort the tensors of the surroundings by what has to be compared."""
        self.plain = []
        self.shared = []
        self.grads = []
        for b in self.before:
            tensor = b.tensor
            if tensor._storage is None:
                self.plain.append((tensor, b.type, b.requires_grad))
            else:
                self.shared.append((tensor, tensor._storage, tensor._chain, b.requires_grad, b.leaf))
            if b.leaf or b.grad is not None:
                self.grads.append((tensor, b.grad))

    def holds(self) -> bool:
        """Whether what the function reaches is as it was."""
        for tensor, type, requires_grad in self.plain:
            node = tensor._node
            if tensor._storage is not None or node.type is not type or node.requires_grad is not requires_grad:
                return self.refreshed()
        for tensor, storage, chain, requires_grad, leaf in self.shared:
            if tensor._storage is not storage or tensor._chain is not chain:
                return self.refreshed()
            if not leaf and tensor.requires_grad is not requires_grad:
                return False
        for tensor, kind in self.grads:
            meta = tensor._meta
            grad = None if meta is None else meta.grad
            if grad is None:
                if kind is not None:
                    return False
            elif kind is None or grad._node.type is not kind[0] or grad._node.requires_grad is not kind[1]:
                return False
        return self.surroundings.holds() and self.optimizers.holds()

    def refreshed(self) -> bool:
        """A tensor got a storage, as when somebody takes a view of it: whether that is all that has happened."""
        owners: dict[int, Any] = {}
        for b in self.before:
            tensor = b.tensor
            if tensor._node.type is not b.type or tensor.requires_grad is not b.requires_grad:
                return False
            if form(tensor) != b.form or owners.setdefault(identity(tensor), b.home) != b.home:
                return False
        if len(set(owners.values())) != len(owners):
            return False
        self.watch()
        self.program.prepare()
        return self.holds()

    def serves(self, leaves: Sequence[Any]) -> bool:
        """Whether the program is what the function would record now with these arguments."""
        if not self.holds():
            return False
        for i, expected in self.exact:
            if exact_form(leaves[i]) != expected:
                return False
        if self.learning and not is_alive(self.learning):
            return False
        return self.conditions is None or self.conditions(leaves, ()) == self.outcomes

    def reason(self, leaves: Sequence[Any]) -> str:
        """Why the program does not serve, in words."""
        what = self.surroundings.difference()
        if what is not None:
            return f"{what!r} is not what it was"
        if not self.optimizers.holds():
            return "an optimizer has other state"
        if any(exact_form(leaves[i]) != expected for i, expected in self.exact):
            return "an argument that is written to lies elsewhere in its memory"
        if self.learning and not is_alive(self.learning):
            return "a learning rate is no float any more"
        if self.conditions is not None and self.conditions(leaves, ()) != self.outcomes:
            return "a number makes the function decide otherwise"
        if not self.holds():
            return "a tensor that the function reaches has another type, layout or gradient"
        return "tensors share memory in another way"


class Kind:
    """The variants of one kind of call.

    Attributes:
        failures: how many recordings could not be kept.
    """

    __slots__ = ("variants", "failures")

    def __init__(self) -> None:
        self.variants: list[Variant] = []
        self.failures = 0


# ------------------------------------------------------------------------------------------------------------ callables


class Compiled(Transparent):
    """A compiled function; what :func:`compile` returns."""

    def __init__(self, function: Callable, fullgraph: bool) -> None:
        self.function = function
        self.fullgraph = fullgraph
        self.kinds: OrderedDict[tuple, Kind] = OrderedDict()
        self.refused = False
        self.lock = threading.RLock()
        functools.update_wrapper(self, function, updated=())

    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        return self if instance is None else functools.partial(self, instance)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if self.refused or levels.active or (engine.refuse is not None and capturing()):
            return self.function(*args, **kwargs)
        leaves: list[Any] = []
        containers: list[Any] = []
        key: list[Any] = [grad_mode.enabled, get_default_dtype(), chosen()]
        for value in args:
            if type(value) is Tensor and value._storage is None and value._meta is None:
                leaves.append(value)
                node = value._node
                key += (node.type, node.requires_grad and is_gradient_leaf(value), node.requires_grad)
            else:
                collect(value, leaves, key, containers, True)
        if kwargs:
            for name, value in kwargs.items():
                key.append(name)
                collect(value, leaves, key, containers, True)
        if len(leaves) > 1:
            key.append(sharing(leaves))
        with self.lock:
            kind = self.kinds.get(tuple(key))
            if kind is not None:
                for variant in kind.variants:
                    if variant.serves(leaves):
                        try:
                            return variant.program.run(leaves, containers)
                        except Changed:
                            continue
                if kind.failures >= MAX_FAILURES:
                    return self.function(*args, **kwargs)
            return self.recorded(tuple(key), args, kwargs, leaves, containers)

    def recorded(self, key: tuple, args: tuple, kwargs: dict, leaves: list[Any], containers: list[Any]) -> Any:
        """Run the function, and keep how to repeat the call."""
        if ENABLED.plan:
            log("plan", f"recording {self.name()}: {self.why(key, leaves)}")
        try:
            found = record(self.function, args, kwargs, leaves, containers)
        except SideEffectError:
            if self.fullgraph:
                raise
            self.refused = True
            return self.function(*args, **kwargs)
        kind = self.kinds.setdefault(key, Kind())
        if found.program is None:
            kind.failures += 1
            if ENABLED.plan:
                log("plan", f"{self.name()} runs as it is this time: {found.reason}")
        else:
            kind.failures = 0
            kind.variants.insert(0, Variant(found, leaves))
            del kind.variants[MAX_VARIANTS:]
        self.kinds.move_to_end(key)
        while len(self.kinds) > MAX_KINDS:
            self.kinds.popitem(last=False)
        return found.result

    def name(self) -> str:
        return getattr(self.function, "__qualname__", type(self.function).__name__)

    def why(self, key: tuple, leaves: Sequence[Any]) -> str:
        """Why no recording serves a call."""
        known = self.kinds.get(key)
        if known is not None and known.variants:
            return known.variants[0].reason(leaves)
        if known is not None or not self.kinds:
            return "it was not kept" if known is not None else "the first call"
        nearest = min(self.kinds, key=lambda other: distance(key, other))
        if len(nearest) != len(key):
            return "the arguments are nested otherwise"
        changes = [f"{show(a)} instead of {show(b)}" for a, b in zip(key, nearest) if a != b]
        return "; ".join(changes[:4])


def distance(key: tuple, other: tuple) -> int:
    return abs(len(key) - len(other)) * 100 + sum(a != b for a, b in zip(key, other))


def show(part: Any) -> str:
    """A part of a key in words."""
    if isinstance(part, tuple) and len(part) == 2 and isinstance(part[0], type):
        return repr(part[1])
    if isinstance(part, bool):
        return f"a flag (gradients, requires_grad) {part}"
    if isinstance(part, tuple) and part and part[0] == "object":
        return "an object"
    if isinstance(part, tuple) and part and part[0] in ("view", "piece", "cut"):
        return "a view"
    return "memory of its own" if part is None else repr(part)


class CompiledModule(Module):
    """A compiled Module: calling it runs the compiled program, everything else is the Module itself.

    As in PyTorch, it is a Module with the original one as its only child, ``_orig_mod``.
    """

    def __init__(self, module: Module, fullgraph: bool) -> None:
        super().__init__()
        self._orig_mod = module
        self.__dict__["compiled"] = Compiled(module, fullgraph)
        self.__dict__["training"] = module.training

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.compiled(*args, **kwargs)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return self._orig_mod.forward(*args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(self._modules["_orig_mod"], name)

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "_orig_mod" or name == "training" or "compiled" not in self.__dict__:
            super().__setattr__(name, value)
        else:
            setattr(self._orig_mod, name, value)

    def __delattr__(self, name: str) -> None:
        delattr(self._orig_mod, name)


__all__ = ["Compiled", "CompiledModule", "SideEffectError", "compile"]
