"""What a compiled function depends on besides its arguments, and how to notice that it has changed.

A function reads closures, globals, attributes of modules and of other objects. :class:`Surroundings` walks
everything that can be reached from the function and its arguments, notes the tensors it meets, and keeps what the
containers on the way held. A later call compares: equal means that the recorded program still is what the function
would record. Modules are compared only when one of them has changed (``nn/epoch.py`` counts their changes).

The same comparison right after recording shows whether the function changed anything that is not a tensor: that is a
side effect which a replay would not repeat, and :meth:`Surroundings.changed` says where it is.

In: functions and objects. Out: tensors, guards. Read next: ``places.py``.
"""

from __future__ import annotations

import array
import collections
import dis
import functools
import sys
import types
import weakref
from collections.abc import Iterator, Mapping, Sequence
from operator import is_
from typing import Any

import numpy as np

from .capture import Transparent, is_known_library
from .live import Expression, LiveNumber
from .nn import epoch
from .nn.module import Module
from .optim.optimizer import Optimizer
from .random import Generator
from .tensor import Tensor

MAX_OBJECTS = 50000

_PLAIN = (type(None), bool, int, float, complex, str, bytes, np.dtype, np.generic, range, slice, types.CodeType)
_NUMBERS = (bool, int, float, complex, str, bytes)
# Objects of these have caches and counters that are nobody's input.
_OPAQUE = ("logging", "threading", "_thread", "io", "_io", "re", "concurrent.futures.thread")
_REGISTRIES = {name for name, value in vars(Module()).items() if isinstance(value, dict)}

MISSING: Any = type("Missing", (), {"__repr__": lambda self: "nothing"})()


def same(a: Any, b: Any) -> bool:
    """Whether a value is what it was: the same object, or an equal number or string."""
    return a is b or (type(a) is type(b) and isinstance(a, _NUMBERS) and a == b)


def all_same(a: Sequence[Any], b: Sequence[Any]) -> bool:
    return len(a) == len(b) and all(map(same, a, b))


class Guard:
    """Something that a function can reach and what it held.

    Attributes:
        name: what it is called where it was found.
        soft: it belongs to an installed library, which may fill a cache in it.
    """

    __slots__ = ("name", "soft")

    def difference(self) -> str | None:
        """What is another now, in words; None if nothing is."""
        raise AssertionError(type(self).__name__)


class ItemGuard(Guard):
    """A value under a key of a mapping."""

    __slots__ = ("mapping", "key", "value")

    def __init__(self, mapping: Mapping, key: Any, value: Any) -> None:
        self.mapping, self.key, self.value = mapping, key, value

    def difference(self) -> str | None:
        return None if same(self.mapping.get(self.key, MISSING), self.value) else f"{self.key}"


class CellGuard(Guard):
    """A variable of an enclosing function."""

    __slots__ = ("cell", "value")

    def __init__(self, cell: types.CellType, value: Any) -> None:
        self.cell, self.value = cell, value

    def difference(self) -> str | None:
        return None if same(cell_contents(self.cell), self.value) else self.name


class ListGuard(Guard):
    """A list or another sequence that can change."""

    __slots__ = ("items", "held")

    def __init__(self, items: Sequence[Any]) -> None:
        self.items, self.held = items, tuple(items)

    def difference(self) -> str | None:
        if len(self.items) != len(self.held):
            return self.name
        for i, (a, b) in enumerate(zip(self.items, self.held)):
            if not same(a, b):
                return f"{self.name}[{i}]"
        return None


class DictGuard(Guard):
    """A dictionary: keys, values and their order."""

    __slots__ = ("items", "keys", "held")

    def __init__(self, items: dict) -> None:
        self.items, self.keys, self.held = items, tuple(items), tuple(items.values())

    def difference(self) -> str | None:
        items, keys = self.items, self.keys
        if len(items) != len(keys):
            added = [k for k in items if k not in keys]
            gone = [k for k in keys if k not in items]
            return f"{(added or gone)[0]}"
        for key, value in zip(keys, self.held):
            if not same(items.get(key, MISSING), value):
                return f"{key}"
        return None if all(a is b or a == b for a, b in zip(items, keys)) else f"the order of {self.name}"


class ValueGuard(Guard):
    """Anything that is compared by something made of it: the contents of an array, the progress of an iterator."""

    __slots__ = ("thing", "measure", "held")

    def __init__(self, thing: Any, measure: Any) -> None:
        self.thing, self.measure, self.held = thing, measure, measure(thing)

    def difference(self) -> str | None:
        now = self.measure(self.thing)
        return None if now is self.held or now == self.held else self.name


def cell_contents(cell: types.CellType) -> Any:
    try:
        return cell.cell_contents
    except ValueError:
        return MISSING


def random_state(generator: Any) -> str:
    """The state of a random generator of Python or NumPy."""
    if hasattr(generator, "getstate"):
        return repr(generator.getstate())
    found = getattr(generator, "_bit_generator", None) or getattr(generator, "bit_generator", generator)
    return repr(getattr(found, "state", None))


def array_contents(a: np.ndarray) -> tuple:
    return (a.shape, a.dtype.str, a.strides, a.tobytes())


def progress(iterator: Any) -> Any:
    """How far an iterator has got. The parts are compared by identity or as numbers."""
    frame = getattr(iterator, "gi_frame", MISSING)
    if frame is not MISSING:
        return None if frame is None else frame.f_lasti
    reduce = getattr(iterator, "__reduce__", None)
    try:
        state = reduce()
    except TypeError:
        return repr(iterator)
    return tuple(tuple(v if isinstance(v, _NUMBERS) else id(v) for v in part) if isinstance(part, tuple)
                 else part if isinstance(part, _NUMBERS) else id(part) for part in state)


class Surroundings:
    """Everything that a function can reach.

    Attributes:
        tensors: the tensors, each once.
        own: identities of those that it reaches otherwise than as arguments.
        optimizers, generators: likewise.
        code: code objects of the user's functions, to find lines in.
        seen: the objects that were met, by identity.
        complete: False if there were too many objects to look at.
        learning: numbers of optimizers, which are read anew at every replay, as ``(container, keys, number)``.
    """

    def __init__(self, *roots: Any) -> None:
        self.tensors: dict[int, Tensor] = {}
        self.optimizers: list[Optimizer] = []
        self.generators: list[Generator] = []
        self.code: list[types.CodeType] = []
        self.seen: dict[int, Any] = {}
        self.learning: list[tuple[dict, Any, Any]] = []
        self.guards: list[Guard] = []
        self.random: list[Guard] = []
        self.of_modules: list[Guard] = []
        self.epoch = epoch.mutation_epoch()
        self.soft = False
        self.complete = True
        self.walk([root for root in roots if not isinstance(root, Tensor)])
        self.own = set(self.tensors)
        self.walk([root for root in roots if isinstance(root, Tensor)])
        self.prepare()

    def walk(self, roots: Sequence[Any]) -> None:
        """Visit everything below some objects."""
        stack: list[tuple[Any, str, bool]] = [(root, "argument", False) for root in roots]
        while stack and len(self.seen) < MAX_OBJECTS:
            value, name, self.soft = stack.pop()
            if isinstance(value, _PLAIN) or id(value) in self.seen:
                continue
            self.seen[id(value)] = value
            soft = self.soft
            stack.extend((v, n, soft or self.soft) for v, n in self.visit(value, name))
        self.complete = self.complete and not stack

    @classmethod
    def of_containers(cls, containers: Sequence[Any]) -> Surroundings:
        """Guards of these containers alone."""
        self = cls()
        for container in containers:
            if isinstance(container, (list, dict)):
                self.guard((ListGuard if isinstance(container, list) else DictGuard)(container), "argument")
            elif isinstance(getattr(container, "__dict__", None), dict):
                self.guard(DictGuard(vars(container)), type(container).__name__)
        return self

    def guard(self, guard: Guard, name: str) -> None:
        guard.name, guard.soft = name, self.soft
        self.guards.append(guard)

    def prepare(self) -> None:
        """Sort guards by kind, so that :meth:`holds` runs without a call for each."""
        kinds: dict[type, list] = collections.defaultdict(list)
        for guard in self.guards:
            kinds[type(guard)].append(guard)
        self.items = tuple((g.mapping, g.key, g.value) for g in kinds[ItemGuard])
        self.cells = tuple((g.cell, g.value) for g in kinds[CellGuard])
        self.lists = tuple(kinds[ListGuard])
        self.dicts = tuple(kinds[DictGuard])
        self.others = tuple(kinds[ValueGuard])

    # ----------------------------------------------------------------------------------------------------- the walk

    def visit(self, value: Any, name: str) -> Iterator[tuple[Any, str]]:
        """Note what matters about an object, and give the objects that it refers to."""
        if isinstance(value, Tensor):
            self.tensors[id(value)] = value
            yield from self.visit_tensor(value, name)
        elif isinstance(value, Module):
            yield from self.visit_module(value)
        elif isinstance(value, Optimizer):
            yield from self.visit_optimizer(value)
        elif isinstance(value, Generator):
            self.generators.append(value)
        elif isinstance(value, Transparent):
            yield value.function, name
        elif isinstance(value, types.FunctionType):
            yield from self.visit_function(value)
        elif isinstance(value, types.MethodType):
            yield value.__func__, name
            yield value.__self__, name
        elif isinstance(value, types.BuiltinFunctionType):
            if not isinstance(value.__self__, types.ModuleType):
                yield value.__self__, name
        elif isinstance(value, functools.partial):
            yield from ((v, name) for v in (value.func, value.args, value.keywords))
        elif isinstance(value, (staticmethod, classmethod)):
            yield value.__func__, name
        elif isinstance(value, property):
            yield from ((f, name) for f in (value.fget, value.fset) if f is not None)
        elif isinstance(value, weakref.ref):
            yield value(), name
        elif isinstance(value, type):
            yield from self.visit_class(value)
        elif isinstance(value, types.ModuleType):
            return
        elif isinstance(value, (tuple, frozenset)):
            yield from ((v, name) for v in value)
            if type(value) is not tuple:
                yield type(value), name
        else:
            yield from self.visit_object(value, name)

    def visit_tensor(self, tensor: Tensor, name: str) -> Iterator[tuple[Any, str]]:
        if type(tensor) is not Tensor and getattr(tensor, "__dict__", None):
            yield tensor.__dict__, name
        meta = tensor._meta
        if meta is not None:
            yield meta.accumulated, "hook"
        mark = tensor._node.mark
        if mark is not None:
            yield mark.hooks, "hook"

    def visit_object(self, value: Any, name: str) -> Iterator[tuple[Any, str]]:
        if isinstance(value, (list, collections.deque)):
            self.guard(ListGuard(value), name)
            yield from ((v, name) for v in value)
        elif isinstance(value, dict):
            self.guard(DictGuard(value), name)
            yield from ((v, str(k)) for k, v in value.items())
        elif isinstance(value, set):
            self.guard(ValueGuard(value, frozenset), name)
            yield from ((v, name) for v in value)
        elif isinstance(value, np.ndarray):
            if value.dtype != object:
                self.guard(ValueGuard(value, array_contents), name)
            else:
                yield from ((v, name) for v in value.flat)
        elif isinstance(value, (bytearray, array.array)):
            self.guard(ValueGuard(value, bytes), name)
        elif type(value).__module__ in _OPAQUE:
            return
        elif (type(value).__module__ or "").startswith(("numpy.random", "random")):
            # others may draw from it between calls, the function may not
            state = ValueGuard(value, random_state)
            state.name, state.soft = name, False
            self.random.append(state)
            return
        elif hasattr(value, "__next__") and not hasattr(value, "__dict__"):
            self.guard(ValueGuard(value, progress), name)
        wrapped = getattr(value, "__wrapped__", None) if isinstance(value, functools._lru_cache_wrapper) else None
        if wrapped is not None:
            yield wrapped, name
        attributes = getattr(value, "__dict__", None)
        if isinstance(attributes, dict):
            yield attributes, type(value).__name__
        for slot in slots_of(type(value)):
            self.guard(ValueGuard(value, functools.partial(slot_value, slot)), slot)
            held = getattr(value, slot, None)
            if held is not None:
                yield held, slot
        yield type(value), type(value).__name__

    def visit_class(self, cls: type) -> Iterator[tuple[Any, str]]:
        """Attributes of the user's classes: functions that may be called, numbers that are read."""
        for base in cls.__mro__:
            if is_known_library(base.__module__):
                continue
            space = vars(base)
            for name in space:
                special = name.startswith("__") and name.endswith("__")
                if not special or name in ("__call__", "__getattr__", "__init__"):
                    self.guard(ItemGuard(space, name, space[name]), name)
                    yield space[name], name

    def visit_module(self, module: Module) -> Iterator[tuple[Any, str]]:
        held = vars(module)
        own = [value for name, value in held.items() if name in _REGISTRIES]
        for registry in (held, *own):
            guard = DictGuard(registry)
            guard.name, guard.soft = type(module).__name__, self.soft
            self.of_modules.append(guard)
            self.seen[id(registry)] = registry
        for registry in own:
            # parameters, buffers, children and hooks
            yield from ((v, str(k)) for k, v in registry.items())
        for name, value in held.items():
            if name not in _REGISTRIES:
                yield value, name
        yield type(module), type(module).__name__

    def visit_optimizer(self, optimizer: Optimizer) -> Iterator[tuple[Any, str]]:
        for name, value in vars(optimizer).items():
            if name not in ("_opt_called", "_stepping"):
                self.guard(ItemGuard(vars(optimizer), name, value), name)
                if name not in ("state", "param_groups"):
                    yield value, name
        self.guard(ListGuard(optimizer.param_groups), "param_groups")
        self.seen[id(optimizer.param_groups)] = optimizer.param_groups
        for group in optimizer.param_groups:
            self.seen[id(group)] = group
            for name, value in group.items():
                if isinstance(value, float) or (type(value) is tuple and any(isinstance(v, float) for v in value)):
                    self.learning.append((group, name, value))
                else:
                    self.guard(ItemGuard(group, name, value), name)
                    yield value, name
        for state in list(optimizer.state.values()):
            self.seen[id(state)] = state
            for name, value in state.items():
                if isinstance(value, Tensor) or not isinstance(value, _PLAIN):
                    self.guard(ItemGuard(state, name, value), str(name))
                    yield value, str(name)
        self.optimizers.append(optimizer)
        yield type(optimizer), type(optimizer).__name__

    def visit_function(self, function: types.FunctionType) -> Iterator[tuple[Any, str]]:
        code = function.__code__
        if is_known_library(function.__globals__.get("__name__") or ""):
            # a wrapper around a user's function
            for cell in function.__closure__ or ():
                value = cell_contents(cell)
                if callable(value):
                    yield value, function.__name__
            return
        self.soft = self.soft or "site-packages" in code.co_filename
        yield from self.visit_code(code, function.__globals__)
        for name, cell in zip(code.co_freevars, function.__closure__ or ()):
            value = cell_contents(cell)
            self.guard(CellGuard(cell, value), name)
            if value is not MISSING:
                yield value, name
        yield from ((v, "default") for v in (function.__defaults__ or ()))
        yield from ((v, k) for k, v in (function.__kwdefaults__ or {}).items())
        if function.__dict__:
            yield function.__dict__, function.__name__

    def visit_code(self, code: types.CodeType, names: dict[str, Any]) -> Iterator[tuple[Any, str]]:
        self.code.append(code)
        stored, imported = global_statements(code)
        for name in dict.fromkeys((*code.co_names, *stored)):
            if name in names:
                yield from self.visit_name(names, name, code)
            elif name in stored:
                self.guard(ItemGuard(names, name, MISSING), name)
        for name in imported:
            module = sys.modules.get(name)
            if module is not None:
                yield from self.visit_namespace(module, code)
        for constant in code.co_consts:
            if isinstance(constant, types.CodeType):
                yield from self.visit_code(constant, names)

    def visit_name(self, names: dict[str, Any], name: str, code: types.CodeType) -> Iterator[tuple[Any, str]]:
        value = names[name]
        self.guard(ItemGuard(names, name, value), name)
        if isinstance(value, types.ModuleType):
            yield from self.visit_namespace(value, code)
        else:
            yield value, name

    def visit_namespace(self, module: types.ModuleType, code: types.CodeType) -> Iterator[tuple[Any, str]]:
        """Attributes of an imported module that the code may name (``config.width``)."""
        if is_known_library(module.__name__):
            return
        space = vars(module)
        for name in code.co_names:
            if name in space:
                self.guard(ItemGuard(space, name, space[name]), name)
                if not isinstance(space[name], types.ModuleType):
                    yield space[name], name

    # ------------------------------------------------------------------------------------------------- comparing

    def holds(self) -> bool:
        """Whether everything is as it was. Identity decides first, which is nearly always enough."""
        try:
            for mapping, key, value in self.items:
                if mapping[key] is not value and not same(mapping[key], value):
                    return False
            for cell, value in self.cells:
                if cell.cell_contents is not value and not same(cell.cell_contents, value):
                    return False
        except (KeyError, ValueError):
            # a name that is missing, as it may have been before
            if any(g.difference() for g in self.guards if isinstance(g, (ItemGuard, CellGuard))):
                return False
        for g in self.lists:
            held = g.held
            if len(g.items) != len(held) or not all(map(is_, g.items, held)) and not all_same(g.items, held):
                return False
        for g in self.dicts:
            items, held = g.items, g.held
            if len(items) != len(held) or not all(map(is_, items.values(), held)) or not all(map(is_, items, g.keys)):
                if g.difference() is not None:
                    return False
        for g in self.others:
            if g.difference() is not None:
                return False
        return self.epoch == epoch.mutation_epoch() or self.modules_hold()

    def modules_hold(self) -> bool:
        """Some module has changed: whether it is none of these."""
        now = epoch.mutation_epoch()
        if any(guard.difference() is not None for guard in self.of_modules):
            return False
        self.epoch = now
        return True

    def difference(self) -> str | None:
        """What has changed, in words, or None."""
        for guard in (*self.guards, *self.of_modules):
            what = guard.difference()
            if what is not None:
                return what
        return None

    # ----------------------------------------------------------------------------------- after a recording

    def changed(self, mutations: Mapping[int, str]) -> str | None:
        """What a function changed that a replay would not, with the line where it seems to do so; None if nothing.

        Args:
            mutations: the lines that are known to change a container, by its identity.
        """
        for guard in (*self.guards, *self.of_modules, *self.random):
            if guard.soft:
                continue
            what = guard.difference()
            if what is not None:
                container = getattr(guard, "items", getattr(guard, "thing", None))
                line = mutations.get(id(container)) or self.line_of(what, guard)
                return f"it changes {what!r}" + (f" at {line}" if line else "")
        return None

    def restore(self) -> None:
        """Put back what a function changed in containers."""
        for guard in (*self.guards, *self.of_modules):
            if guard.difference() is None:
                continue
            if isinstance(guard, ItemGuard):
                put_back(guard)
            elif isinstance(guard, CellGuard):
                if guard.value is MISSING:
                    del guard.cell.cell_contents
                else:
                    guard.cell.cell_contents = guard.value
            elif isinstance(guard, ListGuard):
                guard.items.clear()
                guard.items.extend(guard.held)
            elif isinstance(guard, DictGuard):
                guard.items.clear()
                guard.items.update(zip(guard.keys, guard.held))
            elif isinstance(guard.thing, set):
                guard.thing.clear()
                guard.thing.update(guard.held)
            elif isinstance(guard.measure, functools.partial) and guard.held is not MISSING:
                setattr(guard.thing, guard.measure.args[0], guard.held)

    def line_of(self, what: str, guard: Guard) -> str | None:
        """Where the user's code stores to a name, or changes a container."""
        fallback = None
        for code in self.code:
            line = code.co_firstlineno
            for instruction in dis.get_instructions(code):
                line = instruction.positions.lineno or line
                place = f"{code.co_filename}:{line}"
                if instruction.opname in _STORES and instruction.argval == what:
                    return place
                if instruction.opname in ("STORE_SUBSCR", "DELETE_SUBSCR") and not isinstance(guard, CellGuard):
                    fallback = fallback or place
        return fallback


_STORES = ("STORE_ATTR", "STORE_GLOBAL", "STORE_DEREF", "STORE_NAME", "DELETE_ATTR", "DELETE_GLOBAL", "DELETE_DEREF")


def put_back(guard: ItemGuard) -> None:
    """Restore a value of a dictionary, or of a class, whose namespace can be written to only as attributes."""
    if not isinstance(guard.mapping, dict):
        return
    if guard.value is MISSING:
        guard.mapping.pop(guard.key, None)
    else:
        guard.mapping[guard.key] = guard.value


@functools.lru_cache(4096)
def global_statements(code: types.CodeType) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Names of globals that a code object assigns or deletes, and of the modules that it imports."""
    stored, imported = [], []
    for instruction in dis.get_instructions(code):
        if instruction.opname in ("STORE_GLOBAL", "DELETE_GLOBAL"):
            stored.append(instruction.argval)
        elif instruction.opname == "IMPORT_NAME":
            imported.append(instruction.argval)
    return tuple(dict.fromkeys(stored)), tuple(dict.fromkeys(imported))


def slot_value(name: str, value: Any) -> Any:
    return getattr(value, name, MISSING)


def slots_of(cls: type) -> list[str]:
    names: list[str] = []
    for base in cls.__mro__:
        if is_known_library(base.__module__):
            continue
        found = base.__dict__.get("__slots__", ())
        names += [found] if isinstance(found, str) else list(found)
    return [n for n in names if n not in ("__dict__", "__weakref__")]


# ---------------------------------------------------------------------------------------------------------- optimizers


class OptimizerGuard:
    """What decides the program that an optimizer records: which state it keeps, and the plain values in it.

    Counts that an event of the recording changes are read anew at every replay; they are left out by :meth:`settle`.
    """

    def __init__(self, optimizers: Sequence[Optimizer]) -> None:
        self.optimizers = optimizers
        self.sizes = [(o.state, len(o.state)) for o in optimizers]
        self.states = [(state, len(state)) for o in optimizers for state in o.state.values()]
        self.values = [
            (state, key, value) for state, _ in self.states for key, value in state.items()
            if isinstance(value, _PLAIN)
        ]
        self.checks = tuple(self.values)
        self.lengths = (*self.sizes, *self.states)
        self.before = [(o.state, dict(o.state), {id(s): dict(s) for s in o.state.values()}) for o in optimizers]

    def settle(self, covered: set[tuple[int, Any]]) -> bool:
        """Leave out what an event changes; whether nothing else has changed."""
        self.checks = tuple(c for c in self.values if (id(c[0]), c[1]) not in covered)
        return self.holds()

    def holds(self) -> bool:
        for container, length in self.lengths:
            if len(container) != length:
                return False
        for state, key, value in self.checks:
            if state.get(key, MISSING) is not value and not same(state.get(key, MISSING), value):
                return False
        return True

    def restore(self) -> None:
        """Give the optimizers the state that they had."""
        for state, entries, contents in self.before:
            state.clear()
            for key, entry in entries.items():
                entry.clear()
                entry.update(contents[id(entry)])
                state[key] = entry


def enliven(surroundings: Surroundings) -> list[tuple[dict, Any, Any, Any]]:
    """Put live numbers in the place of the learning rates and other numbers of the optimizers."""
    placed = []
    for group, key, value in surroundings.learning:
        if isinstance(value, float):
            alive: Any = LiveNumber(value, Expression("item", group, key))
        else:
            alive = tuple(
                LiveNumber(v, Expression("item", group, key, i)) if isinstance(v, float) else v
                for i, v in enumerate(value)
            )
        group[key] = alive
        placed.append((group, key, value, alive))
    return placed


def is_alive(learning: Sequence[tuple[dict, Any, Any]]) -> bool:
    """Whether the numbers of the optimizers are still floats where they were."""
    for group, key, value in learning:
        now = group.get(key)
        if not isinstance(now, float):
            if type(now) is not tuple or type(value) is not tuple or len(now) != len(value):
                return False
            if not all(isinstance(a, float) if isinstance(b, float) else same(a, b) for a, b in zip(now, value)):
                return False
    return True


def calm(placed: Sequence[tuple[dict, Any, Any, Any]]) -> str | None:
    """Put the plain numbers back. The name of one that was changed meanwhile, or None."""
    changed = None
    for group, key, value, alive in placed:
        if group.get(key, MISSING) is not alive:
            changed = changed or str(key)
        group[key] = value
    return changed
