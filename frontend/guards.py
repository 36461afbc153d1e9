"""What a compiled function depends on besides its arguments, and how to notice that it has changed.

A function reads closures, globals, attributes of modules and of other objects. :class:`Surroundings` walks
everything that can be reached from the function and its arguments, notes the tensors it meets, and keeps a list of
containers with what they held. A later call first compares the containers (and one number for all modules together,
``nn.epoch``); equal means that the recorded program still is what the function would record.

The same comparison right after recording shows whether the function changed anything that is not a tensor: that is a
side effect which a replay would not repeat, and :func:`changed` says where it is.

In: functions and objects. Out: tensors, guards. Read next: ``compiled.py``.
"""

from __future__ import annotations

import dis
import functools
import types
from collections.abc import Iterator
from typing import Any

import numpy as np

from .nn import epoch
from .nn.module import Module
from .optim.optimizer import Optimizer
from .tensor import Tensor

MAX_OBJECTS = 20000

_PLAIN = (type(None), bool, int, float, complex, str, bytes, type, types.BuiltinFunctionType, np.dtype, range, slice)
_NUMBERS = (bool, int, float, complex, str, bytes)
_PACKAGE = __name__.partition(".")[0]


def same(a: Any, b: Any) -> bool:
    """Whether a value is what it was: the same object, or an equal number or string."""
    return a is b or (type(a) is type(b) and isinstance(a, _NUMBERS) and a == b)


class Guard:
    """A container and what it held. ``kind`` is ``dict``, ``list``, ``set`` or ``cell``."""

    __slots__ = ("kind", "container", "keys", "held", "owner")

    def __init__(self, kind: str, container: Any, keys: tuple, held: tuple, owner: str) -> None:
        self.kind = kind
        self.container = container
        self.keys = keys
        self.held = held
        self.owner = owner

    def difference(self) -> str | None:
        """What changed, in words, or None."""
        kind, container = self.kind, self.container
        if kind == "cell":
            try:
                value = container.cell_contents
            except ValueError:
                return self.keys[0]
            return None if same(value, self.held[0]) else self.keys[0]
        if kind == "list":
            if len(container) != len(self.held):
                return f"{self.owner} has {len(container)} elements, not {len(self.held)}"
            for i, (a, b) in enumerate(zip(container, self.held)):
                if not same(a, b):
                    return f"{self.owner}[{i}]"
            return None
        if kind == "set":
            return None if container == self.held[0] else self.owner
        if kind == "names":
            for key, value in zip(self.keys, self.held):
                if not same(container.get(key, MISSING), value):
                    return key
            return None
        if len(container) != len(self.keys):
            added = [k for k in container if k not in self.keys]
            gone = [k for k in self.keys if k not in container]
            return f"{(added or gone)[0]}"
        for key, value in zip(self.keys, self.held):
            if not same(container.get(key, MISSING), value):
                return f"{key}"
        return None


MISSING = object()


class Surroundings:
    """Everything that a function can reach.

    Attributes:
        tensors: the tensors, each once.
        guards: containers and what they held.
        epoch: the number of the last change to any module.
        optimizers: the optimizers, whose state may grow while they are used.
        code: code objects of the user's functions, to find lines in.
    """

    def __init__(self, *roots: Any) -> None:
        self.tensors: dict[int, Tensor] = {}
        self.guards: list[Guard] = []
        self.optimizers: list[Optimizer] = []
        self.arrays: list[np.ndarray] = []
        self.code: list[types.CodeType] = []
        self.seen: dict[int, Any] = {}
        self.epoch = epoch.mutation_epoch()
        stack = [(root, "argument") for root in roots]
        while stack and len(self.seen) < MAX_OBJECTS:
            value, owner = stack.pop()
            stack.extend(self.visit(value, owner))

    def visit(self, value: Any, owner: str) -> Iterator[tuple[Any, str]]:
        if isinstance(value, _PLAIN) or id(value) in self.seen:
            return
        self.seen[id(value)] = value
        if isinstance(value, Tensor):
            self.tensors[id(value)] = value
            if type(value) is not Tensor and getattr(value, "__dict__", None):
                yield value.__dict__, owner
        elif isinstance(value, Module):
            yield from self.visit_module(value)
        elif isinstance(value, Optimizer):
            self.optimizers.append(value)
            for group in value.param_groups:
                yield from ((p, "params") for p in group["params"])
            for state in value.state.values():
                yield from ((v, "state") for v in state.values() if isinstance(v, Tensor))
        elif isinstance(value, types.FunctionType):
            yield from self.visit_function(value)
        elif isinstance(value, types.MethodType):
            yield value.__func__, owner
            yield value.__self__, owner
        elif isinstance(value, functools.partial):
            yield from ((v, owner) for v in (value.func, value.args, value.keywords))
        elif isinstance(value, (list, tuple)):
            if isinstance(value, list):
                self.guards.append(Guard("list", value, (), tuple(value), owner))
            yield from ((v, owner) for v in value)
        elif isinstance(value, dict):
            self.guards.append(Guard("dict", value, tuple(value), tuple(value.values()), owner))
            yield from ((v, str(k)) for k, v in value.items())
        elif isinstance(value, (set, frozenset)):
            self.guards.append(Guard("set", value, (), (frozenset(value),), owner))
        elif isinstance(value, np.ndarray):
            self.arrays.append(value)
        elif isinstance(value, types.ModuleType) or (type(value).__module__ or "").partition(".")[0] == _PACKAGE:
            return
        else:
            attributes = getattr(value, "__dict__", None)
            if isinstance(attributes, dict):
                yield attributes, type(value).__name__
            for name in slots_of(type(value)):
                held = getattr(value, name, MISSING)
                if held is not MISSING:
                    yield held, name

    def visit_module(self, module: Module) -> Iterator[tuple[Any, str]]:
        # attributes themselves are guarded by the epoch; containers that they hold are not
        for name, held in vars(module).items():
            if name in ("_parameters", "_buffers", "_modules"):
                yield from ((v, k) for k, v in held.items())
            elif not name.startswith("_"):
                yield held, name
        forward = type(module).forward
        if isinstance(forward, types.FunctionType):
            yield forward, "forward"

    def visit_function(self, function: types.FunctionType) -> Iterator[tuple[Any, str]]:
        if (function.__module__ or "").partition(".")[0] == _PACKAGE:
            return
        yield from self.visit_code(function.__code__, function.__globals__)
        for name, cell in zip(function.__code__.co_freevars, function.__closure__ or ()):
            try:
                held = cell.cell_contents
            except ValueError:
                continue
            self.guards.append(Guard("cell", cell, (name,), (held,), name))
            yield held, name
        yield from ((v, "default") for v in (function.__defaults__ or ()))
        yield from ((v, k) for k, v in (function.__kwdefaults__ or {}).items())

    def visit_code(self, code: types.CodeType, globals_: dict) -> Iterator[tuple[Any, str]]:
        self.code.append(code)
        names = tuple(n for n in code.co_names if n in globals_)
        if names:
            held = tuple(globals_[n] for n in names)
            self.guards.append(Guard("names", globals_, names, held, "global"))
            for name, value in zip(names, held):
                if isinstance(value, types.ModuleType):
                    if not is_ours(value):
                        yield from self.visit_namespace(value, code)
                else:
                    yield value, name
        for constant in code.co_consts:
            if isinstance(constant, types.CodeType):
                yield from self.visit_code(constant, globals_)

    def visit_namespace(self, module: types.ModuleType, code: types.CodeType) -> Iterator[tuple[Any, str]]:
        """Attributes of an imported module that the code may name (``config.width``)."""
        space = vars(module)
        names = tuple(n for n in code.co_names if n in space)
        if names and getattr(module, "__file__", None) and "site-packages" not in module.__file__:
            self.guards.append(Guard("names", space, names, tuple(space[n] for n in names), module.__name__))
            yield from ((space[n], n) for n in names if not isinstance(space[n], (types.ModuleType, type)))

    def holds(self) -> bool:
        """Whether everything is as it was."""
        if self.epoch != epoch.mutation_epoch():
            return False
        return all(guard.difference() is None for guard in self.guards)

    def changed(self) -> str | None:
        """What a function changed that a replay would not, with the line where it seems to do so; None if nothing."""
        for guard in self.guards:
            what = guard.difference()
            if what is not None:
                line = self.line_of(what, guard)
                return f"it changes {what!r}{line}"
        if self.epoch != epoch.mutation_epoch():
            return f"it changes a module{self.line_of(None, None)}"
        return None

    def line_of(self, name: str | None, guard: Guard | None) -> str:
        """Where the user's code stores to a name, or calls a method that changes a container."""
        writers = {"append", "extend", "insert", "pop", "remove", "clear", "update", "add", "setdefault", "discard"}
        fallback = ""
        for code in self.code:
            line = code.co_firstlineno
            for instruction in dis.get_instructions(code):
                line = instruction.positions.lineno or line
                stores = instruction.opname in ("STORE_ATTR", "STORE_GLOBAL", "STORE_DEREF", "STORE_NAME")
                if stores and instruction.argval == name:
                    return f" at {code.co_filename}:{line}"
                mutates = instruction.opname in ("STORE_SUBSCR", "DELETE_SUBSCR") or (
                    instruction.opname in ("LOAD_METHOD", "LOAD_ATTR") and instruction.argval in writers
                )
                if (mutates or stores and name is None) and not fallback:
                    fallback = f" at {code.co_filename}:{line}"
        return fallback


def slots_of(cls: type) -> list[str]:
    names: list[str] = []
    for base in cls.__mro__:
        found = base.__dict__.get("__slots__", ())
        names += [found] if isinstance(found, str) else list(found)
    return [n for n in names if n not in ("__dict__", "__weakref__")]


def is_ours(module: types.ModuleType) -> bool:
    return module.__name__.partition(".")[0] == _PACKAGE


def optimizer_state(optimizers: list[Optimizer]) -> tuple:
    """What decides the program that an optimizer records: its numbers but the learning rates and step counts, which are
    read anew at every replay, and which state it keeps."""
    found: list = []
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            found.append(tuple((k, plain(v)) for k, v in group.items() if k != "lr"))
            found.append(tuple(map(id, group["params"])))
        for key, state in optimizer.state.items():
            found.append((id(key), tuple((k, id(v)) for k, v in state.items() if isinstance(v, Tensor))))
    return tuple(found)


def plain(value: Any) -> Any:
    if isinstance(value, (list, tuple)):
        return tuple(plain(v) for v in value)
    return value if isinstance(value, _NUMBERS) or value is None else id(value)
