"""Recording a call of a compiled function, and turning it into a :class:`~flamework.replay.Program`.

The function runs once for real. Before, every tensor that it can reach is noted with its memory
(:class:`Snapshot`); afterwards the differences say what it wrote, and the graph below its results says what it read.
If the function raises, or does what a replay could not repeat, the tensors are what they were.

Then everything is put back, and the recording replayed, so that the first call is like all later ones.

In: a function and arguments. Out: the result, and how to repeat it. Read next: ``replay.py``.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from .capture import Capture, Recording, SideEffectError
from .compiler import primitives as p, primitives_shape as s
from .compiler.autodiff import recording_gradients
from .compiler.ir import Node
from .deferred import Template, Unreplayable
from .guards import OptimizerGuard, Surroundings, calm, enliven
from .live import Expression, LiveNumber, compiled_reader, depends_on_events, is_live, plain
from .places import Place, Unshared, cut_form, form, home_node, open_leaf, piece_buffer, value_node
from .pytree import flatten, unflatten
from .random import default_generators
from .recording import node_of, pending_node, pending_tensors
from .replay import Changed, Program
from .runtime import engine
from .storage import Cut, replay as replay_chain
from .tensor import Tensor, is_gradient_leaf

SIDE_EFFECT = (
    "a compiled function has a side effect that a replay would not repeat: {what}. Return the value instead, or do "
    "this outside of the function."
)


@dataclass(slots=True)
class Before:
    """A tensor as it was when the call began."""

    tensor: Tensor
    node: Node
    value: Node
    home: Node
    form: Any
    storage: Any
    chain: tuple
    seen: int
    grad: Tensor | None
    leaf: bool
    requires_grad: bool
    hooks: tuple


class Reached:
    """What a variant has to compare of a tensor that the function reaches; nothing that holds the old value's memory.

    Attributes:
        type, requires_grad, leaf, form: of the tensor as it was recorded.
        home: equal for tensors that shared memory.
        grad: type of its gradient and whether that requires one, or None.
    """

    __slots__ = ("tensor", "type", "requires_grad", "leaf", "form", "home", "grad")

    def __init__(self, before: Before) -> None:
        self.tensor = before.tensor
        self.type = before.node.type
        self.requires_grad = before.requires_grad
        self.leaf = before.leaf
        self.form = before.form
        self.home = id(before.home)
        self.grad = None if before.grad is None else (before.grad._node.type, before.grad.requires_grad)


class Snapshot:
    """The tensors that a function can reach, by identity, each with its place and state at the beginning.

    Attributes:
        twice: pairs of places that hold one and the same tensor.
    """

    def __init__(
        self, leaves: Sequence[Any], tensors: Iterable[Tensor], own: set[int], unshared: Unshared
    ) -> None:
        self.unshared = unshared
        self.twice: list[tuple[Place, Place]] = []
        self.places: dict[int, Place] = {}
        self.before: dict[int, Before] = {}
        for i, leaf in enumerate(leaves):
            if isinstance(leaf, Tensor) and id(leaf) not in self.places:
                self.places[id(leaf)] = Place("argument", i)
                self.note(leaf)
        for tensor in tensors:
            if id(tensor) not in self.places:
                self.places[id(tensor)] = Place("tensor", tensor)
                self.note(tensor)
            elif id(tensor) in own:
                self.twice.append((self.places[id(tensor)], Place("tensor", tensor)))
        for state in list(self.before.values()):
            grad = state.grad
            if grad is None:
                continue
            place = Place("gradient", self.places[id(state.tensor)])
            if id(grad) in self.places:
                self.twice.append((self.places[id(grad)], place))
            else:
                self.places[id(grad)] = place
                self.note(grad)
        self.storages = {id(b.storage): b.storage for b in self.before.values() if b.storage is not None}
        self.versions = {
            key: (st.node, st.version, st.serial, st.stamp) for key, st in self.storages.items()
        }
        self.overwritten = {
            node: node.mark.overwritten if node.mark is not None else 0
            for b in self.before.values() for node in (b.node, b.home)
        }

    def note(self, tensor: Tensor) -> None:
        open_leaf(tensor)
        node = node_of(tensor)
        storage, meta = tensor._storage, tensor._meta
        found = form(tensor)
        if storage is not None and node.value is not None and not is_piece_form(found):
            # only the steps matter, and the memory that they start from
            mark = node.mark
            if mark is None or is_gradient_leaf(tensor) or not (mark.freed or mark.hooks):
                node = tensor._node = replay_chain(tensor._chain, storage.node)
        home, value = home_node(tensor), value_node(tensor)
        if home.op is p.scalar:
            engine.realize([home])
        if is_piece_form(found) and value.value is None and home.value is not None:
            # a contiguous piece is read where it is; what it is a piece of is kept, as a write there must be noticed
            buffer = piece_buffer(tensor)
            if self.unshared.holds(tensor):
                buffer = engine.buffer_from_numpy(buffer.as_numpy(value.dtype.numpy, value.shape).copy())
            value.value = buffer
        self.before[id(tensor)] = Before(
            tensor, node, value, home, found, storage,
            () if storage is None else tensor._chain, tensor._seen,
            None if meta is None else meta.grad, is_gradient_leaf(tensor), tensor.requires_grad, hooks_of(tensor),
        )

    def restore(self) -> None:
        """Give every tensor the value, memory and gradient that it had."""
        for b in self.before.values():
            tensor = b.tensor
            tensor._node, tensor._storage, tensor._seen = b.node, b.storage, b.seen
            if b.storage is not None:
                tensor._chain = b.chain
            if tensor._meta is not None:
                tensor._meta.grad = b.grad
        for key, state in self.versions.items():
            storage = self.storages[key]
            storage.node, storage.version, storage.serial, storage.stamp = state
        for node, count in self.overwritten.items():
            if node.mark is not None:
                node.mark.overwritten = count


def hooks_of(tensor: Tensor) -> tuple:
    """How many hooks a tensor has, and whether it keeps its gradient."""
    meta, mark = tensor._meta, tensor._node.mark
    return (
        0 if mark is None or mark.hooks is None else len(mark.hooks),
        0 if meta is None or meta.accumulated is None else len(meta.accumulated),
        meta is not None and meta.retains_grad,
    )


@dataclass
class Recorded:
    """What a recording gave.

    Attributes:
        result: what the function returned.
        program: how to repeat the call, None if it cannot be repeated; ``reason`` says why.
        surroundings, optimizers: what the program depends on.
        conditions: what has to hold for the numbers of another call.
        exact: positions of arguments whose whole layout matters.
    """

    result: Any
    program: Program | None = None
    reason: str = ""
    surroundings: Surroundings | None = None
    optimizers: OptimizerGuard | None = None
    conditions: list[tuple[Expression, bool]] = field(default_factory=list)
    reached: dict[int, Reached] = field(default_factory=dict)
    exact: list[int] = field(default_factory=list)


def record(function: Any, args: tuple, kwargs: dict, leaves: list[Any], containers: Sequence[Any]) -> Recorded:
    """Record a function's call, and make the call by replaying the recording.

    So the first call is like all later ones: the values that it replaces are held by nobody, and the new ones can be
    written over them.

    Args:
        leaves: the arguments, flat.
        containers: the lists, dictionaries and so on in which they were nested.

    Raises:
        SideEffectError: the function did what a replay could not repeat; everything is as it was.
    """
    surroundings = Surroundings(function, *leaves)
    given = Surroundings.of_containers(containers)
    tensors = [leaf for leaf in leaves if isinstance(leaf, Tensor)] + list(surroundings.tensors.values())
    gradients = [t._meta.grad for t in tensors if t._meta is not None and t._meta.grad is not None]
    unshared = Unshared([*tensors, *gradients])
    try:
        found = Call(function, args, kwargs, leaves, containers, surroundings, given, unshared).run()
    finally:
        unshared.give_back()
    del unshared, tensors, gradients
    if found.program is not None:
        try:
            found.result = found.program.run(leaves, containers)
        except Changed:
            found.program, found.reason = None, "its arguments share memory"
            found.result = function(*args, **kwargs)
    return found


class Call:
    """One recorded call."""

    def __init__(
        self, function: Any, args: tuple, kwargs: dict, leaves: list[Any], containers: Sequence[Any],
        surroundings: Surroundings, given: Surroundings, unshared: Unshared,
    ) -> None:
        self.function, self.args, self.kwargs, self.leaves = function, args, kwargs, leaves
        self.containers = containers
        self.surroundings, self.given, self.unshared = surroundings, given, unshared
        self.waiting = [n for t in pending_tensors() if (n := pending_node(t)) is not None]
        self.snapshot = Snapshot(leaves, surroundings.tensors.values(), surroundings.own, unshared)
        self.optimizers = OptimizerGuard(surroundings.optimizers)
        self.generators = list(dict.fromkeys([*default_generators(), *surroundings.generators]))
        self.states = [g.get_state() for g in self.generators]

    def run(self) -> Recorded:
        outside = {node for b in self.snapshot.before.values() for node in (b.node, b.home, b.value)}
        seen = self.surroundings.seen.keys() | {id(c) for c in self.containers}
        recording = Recording(outside, seen)
        args, kwargs = self.with_live_numbers(recording.capture)
        try:
            placed = enliven(self.surroundings)
            try:
                with recording as capture:
                    result = self.function(*args, **kwargs)
            finally:
                changed = calm(placed)
            if capture.refusal is not None:
                raise capture.refusal
            what = changed and f"it changes {changed!r} of an optimizer"
            what = what or self.surroundings.changed(capture.mutations) or self.given.changed(capture.mutations)
            if what:
                raise SideEffectError(SIDE_EFFECT.format(what=what))
            return self.recorded(result, capture)
        except SideEffectError:
            self.take_back(recording.capture)
            self.surroundings.restore()
            self.given.restore()
            raise
        except BaseException:
            self.take_back(recording.capture)
            raise

    def take_back(self, capture: Capture) -> None:
        """Leave the tensors, optimizers and random generators as they were before the call."""
        self.snapshot.restore()
        self.optimizers.restore()
        for generator, state in zip(self.generators, self.states):
            generator.set_state(state)
        for generator in default_generators():
            if generator not in self.generators:
                # a GPU's, which was used for the first time
                generator.manual_seed(generator.initial_seed())

    def with_live_numbers(self, capture: Capture) -> tuple[tuple, dict]:
        """The arguments, with floats that know from which argument they are."""
        if not any(type(x) is float for x in self.args) and not any(type(x) is float for x in self.kwargs.values()):
            return self.args, self.kwargs
        position = 0
        made: list[Any] = []
        for value in (*self.args, *self.kwargs.values()):
            if type(value) is float:
                value = LiveNumber(value, Expression("argument", position))
                capture.live_arguments.append(value)
            made.append(value)
            position += len(flatten(value)[0])
        count = len(self.args)
        return tuple(made[:count]), dict(zip(self.kwargs, made[count:]))

    def recorded(self, result: Any, capture: Capture) -> Recorded:
        leaves, structure = flatten(result, self.is_whole)
        answer = unflatten(structure, iter([plain(x) for x in leaves])) if any(map(is_live, leaves)) else result
        found = Recorded(answer)
        try:
            if not self.surroundings.complete:
                raise Unreplayable("it can reach too many objects to watch them all")
            if self.surroundings.difference() is not None:
                raise Unreplayable("an installed library keeps something for its next call")
            if not self.optimizers.settle(capture.covered):
                raise Unreplayable("an optimizer makes its state, or changes numbers in it")
            recorder = Recorder(self, capture)
            found.program = recorder.build(leaves, structure)
            found.exact = sorted(recorder.exact)
        except Unreplayable as error:
            found.reason = str(error)
            return found
        found.surroundings, found.optimizers = self.surroundings, self.optimizers
        found.conditions = [c for c in capture.conditions.found if not depends_on_events(c[0])]
        found.reached = {key: Reached(self.snapshot.before[key]) for key in self.surroundings.tensors}
        found.result = None
        self.take_back(capture)
        return found

    def is_whole(self, container: Any) -> bool:
        """Whether a returned container is one that was there before, and not a new one."""
        return id(container) in self.surroundings.seen or any(container is c for c in self.containers)


class Recorder:
    """Builds the program of one recorded call."""

    def __init__(self, call: Call, capture: Capture) -> None:
        self.call = call
        self.capture = capture
        self.leaves = call.leaves
        self.places, self.before = call.snapshot.places, call.snapshot.before
        self.program = Program()
        self.roots: list[Node] = []
        self.originals: dict[Node, Node] = {}
        self.exact: set[int] = set()
        # one place for each memory: the first that was met
        self.homes: dict[Node, Place] = {}
        self.of_storage: dict[int, Tensor] = {}
        self.values: dict[Node, Place] = {}
        self.pieces: dict[Node, Place] = {}
        self.groups: dict[int, list[Place]] = {}
        for key, b in self.before.items():
            place = self.places[key]
            self.homes.setdefault(b.home, place)
            self.values.setdefault(b.node, place)
            self.groups.setdefault(id(b.home), []).append(place)
            if place.kind == "argument" and is_piece_form(b.form):
                self.pieces.setdefault(b.value, place)
            if b.tensor._storage is not None:
                self.of_storage.setdefault(id(b.tensor._storage), b.tensor)
        for members in self.groups.values():
            kinds = {place.kind for place in members}
            if len(members) > 1 and len(kinds) > 1:
                self.program.together += [(members[0], other) for other in members[1:]]

    # -------------------------------------------------------------------------------------------------- the program

    def build(self, leaves: list[Any], structure: Any) -> Program:
        program = self.program
        program.twice = self.call.snapshot.twice
        program.events, program.undo = self.capture.events, self.capture.undo
        late = [c for c in self.capture.conditions.found if depends_on_events(c[0])]
        if late:
            program.outcomes = tuple(outcome for _, outcome in late)
            program.conditions = compiled_reader([expression for expression, _ in late])
        program.structure = structure
        self.storages: dict[int, int] = {}
        self.fresh: dict[int, int] = {}
        self.find_writes()
        program.outputs = [self.output(leaf) for leaf in leaves]
        roots = self.roots
        program.kinds = [(n.type, n.requires_grad, n.mark is not None and n.mark.freed) for n in roots]
        for tensor in [b.tensor for b in self.before.values()]:
            if hooks_of(tensor) != self.before[id(tensor)].hooks and tensor._storage is self.before[id(tensor)].storage:
                raise Unreplayable("it registers a gradient hook")
        wanted = [n for n, kind in zip(roots, program.kinds) if kind[1] and not kind[2]]
        if wanted:
            self.make_template(wanted)
        self.compute()
        program.exclusive = bool(program.writes)
        if self.capture.draws:
            program.generators = list(dict.fromkeys([*self.call.generators, *default_generators()]))
        program.prepare()
        return program

    def want(self, node: Node) -> int:
        """Make a node a result."""
        if node.value is not None or node in self.homes or node in self.values:
            with recording_gradients(True):
                original, node = node, s.copy(node)
            self.originals[node] = original
        self.roots.append(node)
        return len(self.roots) - 1

    def find_writes(self) -> None:
        """What the function did to tensors that were there before."""
        program = self.program
        changed: set[int] = set()
        for key, b in self.before.items():
            tensor, place = b.tensor, self.places[key]
            leaf = is_gradient_leaf(tensor)
            if leaf != b.leaf:
                program.leaf_flags.append((place, leaf))
            if tensor._storage is not b.storage and (b.storage is not None or not self.grown(b)):
                self.moved(b, place)
            elif id(tensor if b.storage is None else b.storage) not in changed:
                changed.add(id(tensor if b.storage is None else b.storage))
                self.written(b, place)
            if b.storage is not None and tensor._storage is b.storage and not same_steps(tensor._chain, b.chain):
                raise Unreplayable("it makes a tensor another view of its memory")
            if any(f.graph is not None for f, _ in b.chain if type(f) is Cut):
                raise Unreplayable("it writes through a detached view")
        for b in self.before.values():
            grad = None if b.tensor._meta is None else b.tensor._meta.grad
            if grad is not b.grad:
                output = ("value", None) if grad is None else self.output(grad)
                program.gradients.append((self.places[id(b.tensor)], output))

    def grown(self, b: Before) -> bool:
        """Whether a plain tensor only got a storage, as it does when a view of it is taken."""
        storage = b.tensor._storage
        known = id(storage) in self.call.snapshot.storages
        return not known and storage.node.type is b.node.type and all(type(f) is Cut for f, _ in b.tensor._chain)

    def moved(self, b: Before, place: Place) -> None:
        """The tensor was given other memory."""
        tensor, storage = b.tensor, b.tensor._storage
        if b.storage is not None and self.call.snapshot.versions[id(b.storage)][0] is not b.storage.node:
            raise Unreplayable("it writes to memory that a tensor had before")
        if storage is None:
            self.program.writes.append(("replace", place, self.want(tensor._node)))
        elif id(storage) in self.call.snapshot.storages or any(type(f) is not Cut for f, _ in tensor._chain):
            raise Unreplayable("it gives a tensor the memory of another")
        else:
            self.program.writes.append(("data", place, self.want(storage.node)))
        self.need_exact(place)

    def written(self, b: Before, place: Place) -> None:
        """Record a write to memory that the tensor had before."""
        tensor = b.tensor
        if b.storage is not None:
            node, how = b.storage.node, "assign"
            before = self.call.snapshot.versions[id(b.storage)]
            if node is before[0]:
                return
            if b.storage.version == before[1]:
                how = "silent"
        else:
            node, how = home_node(tensor), "assign"
            if node is b.home:
                return
            if node.type is not b.home.type:
                how = "replace"
        self.program.writes.append((how, place, self.want(node)))
        self.need_exact(place)

    def need_exact(self, place: Place) -> None:
        """The program uses the memory that arguments see pieces of: it matters which pieces these are."""
        for member in self.groups[id(self.state(place).home)]:
            if member.kind == "argument" and is_piece_form(self.state(member).form):
                self.exact.add(member.what)

    def state(self, place: Place) -> Before:
        """What a place held at the beginning."""
        if place.kind == "gradient":
            return self.before[id(self.state(place.what).grad)]
        return self.before[id(self.leaves[place.what] if place.kind == "argument" else place.what)]

    # --------------------------------------------------------------------------------------------------- results

    def output(self, leaf: Any) -> tuple:
        """How to make one result: ``(kind, ...)``."""
        if not isinstance(leaf, Tensor):
            return self.plain_output(leaf)
        if id(leaf) in self.places:
            return ("place", self.places[id(leaf)])
        if hooks_of(leaf) != (0, 0, False) or (leaf._meta is not None and leaf._meta.grad is not None):
            raise Unreplayable("it returns a tensor with a gradient or with hooks")
        if is_gradient_leaf(leaf) or type(leaf) is not Tensor:
            raise Unreplayable("it returns a new leaf")
        storage = leaf._storage
        if storage is None:
            position = self.fresh.get(id(leaf))
            if position is None:
                position = self.fresh[id(leaf)] = self.want(leaf._node)
            return ("new", position)
        owner = self.of_storage.get(id(storage))
        if owner is not None:
            place = self.places[id(owner)]
            self.need_exact(place)
            own = owner._chain
            shared = leaf._chain[: len(own)] == own
            return ("view", place, shared, plain_steps(leaf._chain[len(own) :] if shared else leaf._chain), id(leaf))
        position = self.storages.get(id(storage))
        if position is None:
            position = self.storages[id(storage)] = self.want(storage.node)
        return ("part", id(storage), position, plain_steps(leaf._chain), id(leaf))

    def plain_output(self, value: Any) -> tuple:
        """A result that is no tensor."""
        if is_live(value):
            return ("number", compiled_reader([value.expression]))
        for i, leaf in enumerate(self.leaves):
            if leaf is value and not isinstance(value, _IMMUTABLE):
                return ("argument", i)
        for i, container in enumerate(self.call.containers):
            if container is value:
                return ("container", i)
        if isinstance(value, _IMMUTABLE) or id(value) in self.call.surroundings.seen or is_description(value):
            return ("value", value)
        raise SideEffectError(
            f"a compiled function returns a new object of class {type(value).__name__}, which a replay could not make "
            "again. Return tensors and numbers, or tuples, lists, dictionaries and dataclasses of them."
        )

    # -------------------------------------------------------------------------------------------- plan and gradient

    def compute(self) -> None:
        """Make the plan."""
        program, roots = self.program, self.roots
        pending: list[Node] = []
        for node in self.used(roots):
            if not engine.is_computed(node):
                pending.append(node)
        compute_before(pending, self.call.waiting)
        compute = list(dict.fromkeys(n for n in roots if n.type.size))
        for node in roots:
            if not node.type.size and node.value is None:
                engine.settle(node, engine.allocate_on(node.type.device, 0))
        program.results = [-1] * len(roots)
        if not compute:
            self.add_owners()
            return
        if len({node.type.device for node in compute}) > 1 or engine.waiting_transfers(compute):
            raise Unreplayable("it moves values between devices")
        with engine.following:
            key, compute, inputs, numbers = engine.linearised(compute, blocks=False)
        for at, node in enumerate(inputs):
            self.read(at, node)
        self.add_owners()
        program.numbers = compiled_reader([getattr(n.value, "expression", n.value) for n in numbers])
        plan = program.plan = engine.plan_for(key, compute, inputs, numbers)
        program.checked = plan.can_fail
        program.origins = engine.origins(compute) if plan.can_fail else ()
        position = {node: at for at, node in enumerate(compute)}
        program.results = [position[n] if n.type.size else -1 for n in roots]
        if program.template is not None:
            index = program.template.index
            program.saved = [(index[n], at) for n, at in position.items() if n in index and n not in roots]
            program.steps = [index.get(n, index.get(self.originals.get(n), -1)) for n in roots]
            program.template.index = {}
        if engine.VERIFY:
            engine.run_plan(plan, compute, inputs, numbers)  # compares the results
        else:
            engine.announce(plan, compute)

    def used(self, roots: Sequence[Node]) -> list[Node]:
        """The values from before that the results are computed from."""
        found: list[Node] = []
        seen: set[Node] = set()
        stack = list(roots)
        while stack:
            node = stack.pop()
            if node in seen:
                continue
            seen.add(node)
            if node in self.pieces or node in self.homes:
                found.append(node)
            elif node.value is None:
                stack.extend(node.src)
        return found

    def read(self, at: int, node: Node) -> None:
        """Note where an input of the plan comes from."""
        program = self.program
        program.inputs.append(None)
        place = self.homes.get(node)
        if place is not None:
            program.reads.append((at, "home", place))
            self.need_exact(place)
        elif node in self.pieces:
            program.reads.append((at, "piece", self.pieces[node]))
        elif node in self.values:
            program.reads.append((at, "elements", self.values[node]))
        elif node in self.capture.drawn:
            program.drawn.append((at, self.capture.drawn[node], node.type.device))
        elif self.capture.is_constant(node):
            program.inputs[at] = node.value
        else:
            raise Unreplayable("it reads a tensor that it reaches in a way which cannot be followed")

    def add_owners(self) -> None:
        """Memory that is written to, or read in pieces, must not be that of another place either."""
        program = self.program
        if not program.writes:
            return
        known = {id(place) for _, kind, place in program.reads if kind == "home"}
        places = [place for _, kind, place in program.reads if kind != "home"] + [w[1] for w in program.writes]
        for place in places:
            owner = self.homes[self.state(place).home]
            if id(owner) not in known:
                known.add(id(owner))
                program.reads.append((-1, "home", owner))

    def make_template(self, wanted: Sequence[Node]) -> None:
        """Keep the graph of results that require a gradient."""
        numbers: list[Any] = []

        def source_of(node: Node) -> tuple[str, Any] | None:
            place = self.values.get(node)
            if place is not None:
                return ("elements", place)
            place = self.pieces.get(node)
            if place is not None:
                return ("value", place)
            place = self.homes.get(node)
            if place is not None:
                return ("home", place)
            event = self.capture.drawn.get(node)
            if event is not None:
                return ("event", (event, node.type))
            if node.op is p.scalar and is_live(node.value):
                numbers.append(node.value.expression)
                return ("number", (len(numbers) - 1, node.params, node.type))
            return None

        template = Template.of(wanted, source_of, lambda tensor: self.places.get(id(tensor)))
        for kind, what in template.sources:
            if kind == "home":
                self.need_exact(what)
        self.program.template = template
        if numbers:
            self.program.template_numbers = compiled_reader(numbers)


_IMMUTABLE = (type(None), bool, int, float, complex, str, bytes, type, range, slice)


def is_description(value: Any) -> bool:
    """Whether a value describes a tensor and is the same whoever makes it: a size, a dtype, a device."""
    return isinstance(value, tuple) and all(isinstance(v, int) for v in value) or (
        type(value).__module__.startswith(__name__.partition(".")[0]) and not hasattr(value, "__dict__")
    )


def is_piece_form(found: Any) -> bool:
    return type(found) is tuple and found[0] == "piece"


def same_steps(a: tuple, b: tuple) -> bool:
    """Whether two chains show the same elements of a memory."""
    return a is b or [(cut_form(f) if type(f) is Cut else f, x) for f, x in a] == [
        (cut_form(f) if type(f) is Cut else f, x) for f, x in b
    ]


def plain_steps(steps: tuple) -> tuple:
    """Steps of a view that can be repeated on other tensors."""
    if any(type(f) is Cut and (f.leaf is not None or f.graph is not None) for f, _ in steps):
        raise Unreplayable("it returns a detached view that was written to")
    return steps


def compute_before(nodes: Sequence[Node], waiting: Sequence[Node]) -> None:
    """Compute values from before the recording, with what waited for a part of them then."""
    for node in nodes:
        if not node.type.size:
            engine.settle(node, engine.allocate_on(node.type.device, 0))
    nodes = engine.copied([node for node in nodes if node.type.size])
    for device in dict.fromkeys(node.type.device for node in nodes):
        here = [node for node in nodes if node.type.device == device and node.value is None]
        if here:
            engine.run_plan(*engine.prepared(here, [n for n in waiting if n.value is None]))
