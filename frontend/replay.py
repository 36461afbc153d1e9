"""Replay: running a recorded program on the tensors of another call.

A :class:`Program` knows the plan, where each of its inputs comes from, and what to do with the results: which tensors
are returned and which memory they share, which tensors were written to, which gradients are new. Nothing is changed
before the plan has run, so that a call which fails (an index out of range) leaves everything as it was.

In: the arguments of a call. Out: what the function returns. Read next: ``deferred.py`` for gradients of the results.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from .capture import undo
from .compiler import primitives as p
from .compiler.ir import Node
from .deferred import Call, Template, compiled_call
from .leaves import _set_data as set_data
from .mutation import replace_memory
from .places import (
    Place,
    elements,
    elements_buffer,
    home_buffer,
    home_elements,
    home_node,
    identity,
    is_alone,
    overwrite,
    piece_buffer,
    value_node,
    view_of,
)
from .pytree import unflatten
from .recording import storage_of, tensor_of
from .runtime import engine
from .runtime.allocator import Buffer
from .runtime.counters import COUNTERS
from .runtime.donation import BUFFERS, others
from .storage import Cut, Storage
from .tensor import Tensor, meta_of

if TYPE_CHECKING:
    from .runtime.plan import Plan


NONE: frozenset[int] = frozenset()

# The classes of what computed nodes hold.


class Changed(Exception):
    """The program does not serve: tensors share memory in another way, or a number decides otherwise."""


class Program:
    """How to repeat a call; see the chapter's head.

    Attributes:
        plan: what computes the results; None if there is nothing to compute.
        inputs: the plan's input buffers, those of constants filled in.
        reads: ``(input, kind, place)`` with the kinds ``home`` (all of its memory), ``piece`` (a contiguous part of it)
            and ``elements`` (what it sees), and -1 as the input of a place that is only written to.
        drawn: ``(input, event)`` for inputs that are drawn anew.
        events, undo: what a replay asks for before the plan runs, and what takes that back.
        conditions, outcomes: a function ``(arguments, events)`` and what it has to give, for what the function decided
            by numbers that only events know.
        numbers: a function ``(arguments, events)`` that gives the plan's Python numbers.
        exclusive: whether the places that are read and written must not share memory.
        together: pairs of places that must share memory.
        twice: pairs of places that must hold the same tensor.
        leaf_flags: ``(place, requires_grad)`` of tensors that the function makes leaves.
        kinds: type of each result, whether it requires a gradient, and whether its graph was freed.
        results: position of each result among the plan's.
        writes: ``(how, place, result)`` with ``assign``, ``silent``, ``data`` (other memory) or ``replace``.
        gradients: ``(place, output)``, the tensors that become somebody's ``grad``.
        outputs: how to make each returned value.
        structure: the nesting of the returned values.
        template, steps: the graph, where results require a gradient, and the step of each result.
        template_numbers: as ``numbers``, for the graph.
        saved: ``(step, result of the plan)`` of values that the gradient will want.
        checked: whether the plan can fail.
        origins: the user's lines with what it can fail for.
        generators: random generators whose state a failed replay restores.
    """

    def __init__(self) -> None:
        self.plan: Plan | None = None
        self.inputs: list[Buffer | None] = []
        self.reads: list[tuple[int, str, Place]] = []
        self.drawn: list[tuple[int, int, str]] = []
        self.events: list[Callable[[], Any]] = []
        self.undo: list[Callable[[], None] | None] = []
        self.conditions: Callable[[Sequence[Any], Sequence[Any]], tuple] | None = None
        self.outcomes: tuple = ()
        self.numbers: Callable[[Sequence[Any], Sequence[Any]], tuple] | None = None
        self.exclusive = False
        self.together: list[tuple[Place, Place]] = []
        self.twice: list[tuple[Place, Place]] = []
        self.leaf_flags: list[tuple[Place, bool]] = []
        self.kinds: list[tuple] = []
        self.results: list[int] = []
        self.writes: list[tuple[str, Place, int]] = []
        self.gradients: list[tuple[Place, tuple]] = []
        self.outputs: list[tuple] = []
        self.structure: Any = None
        self.template: Template | None = None
        self.steps: list[int] = []
        self.template_numbers: Callable[[Sequence[Any], Sequence[Any]], tuple] | None = None
        self.saved: list[tuple[int, int]] = []
        self.checked = False
        self.origins: Sequence[tuple[str, int, str]] = ()
        self.generators: list[Any] = []

    def prepare(self) -> None:
        """Sort what is read by the way in which it is found."""
        self.plain: list[tuple[int, Tensor]] = []
        self.stored: list[tuple[int, Storage, Tensor]] = []
        self.arguments: list[tuple[int, int]] = []
        self.others: list[tuple[int, str, Place]] = []
        for at, kind, place in self.reads:
            if kind != "home" or place.kind == "gradient":
                self.others.append((at, kind, place))
            elif place.kind == "argument":
                self.arguments.append((at, place.what))
            elif place.what._storage is None:
                self.plain.append((at, place.what))
            else:
                self.stored.append((at, place.what._storage, place.what))
        self.simple = (
            self.structure is None and self.outputs[0][0] == "new" and self.template is None and not self.writes
            and not self.gradients and not self.leaf_flags and self.results[0] >= 0 and not self.kinds[0][1]
        )
        # writes like those of an optimizer, for which nothing is left to decide
        plain_results = self.template is None and all(kind[1:] == (False, False) for kind in self.kinds)
        self.direct = [
            (place.what, at, self.results[at], self.kinds[at][0], how == "silent") for how, place, at in self.writes
        ] if plain_results and all(
            how in ("assign", "silent") and place.kind == "tensor" and self.results[at] >= 0
            for how, place, at in self.writes
        ) else None
        # memory into which the plan may write, because its tensor gets a new value; a graph would still read the old
        written = {id(place) for how, place, _ in self.writes if how in ("assign", "silent")}
        self.ending: list[tuple[int, Place]] = []
        if self.plan is not None and self.plan.lifetimes is not None and self.template is None:
            self.ending = [
                (at, place) for at, kind, place in self.reads if at >= 0 and kind == "home" and id(place) in written
            ]
        # gradients that others replace, unless somebody gets them as a result
        results = (*self.outputs, *(output for _, output in self.gradients))
        self.old = [o[1] for o in results if o[0] in ("place", "view") and o[1].kind == "gradient"]
        named = any(place.kind == "gradient" for _, place, _ in self.writes)
        plain = self.plan is not None and self.plan.lifetimes is not None and self.template is None
        self.replaced = [place for place, _ in self.gradients] if plain and not self.old and not named else []

    # -------------------------------------------------------------------------------------------------------- running

    def run(self, leaves: Sequence[Any], containers: Sequence[Any] = ()) -> Any:
        """Repeat the call with these arguments, nested in these containers.

        Raises:
            Changed: the arguments alias each other in another way; nothing has happened.
            IndexError: an index in the data is out of range; nothing has changed.
        """
        inputs = self.gathered(leaves)
        events: list[Any] = []
        buffers = self.computed(inputs, leaves, events)
        if self.simple:
            return tensor_of(Node(p.input_, (), (), self.kinds[0][0], buffers[self.results[0]]))
        return Replay(self, leaves, containers, events, buffers).finish()

    def gathered(self, leaves: Sequence[Any]) -> list[Buffer | None]:
        """The buffers of the plan's inputs."""
        inputs = self.inputs.copy()
        homes = []
        for at, tensor in self.plain:
            node = tensor._node
            value = node.value
            if type(value) not in BUFFERS:
                value = home_buffer(tensor)
                node = home_node(tensor)
            homes.append(node)
            if at >= 0:
                inputs[at] = value
        for at, storage, tensor in self.stored:
            node = storage.node
            value = node.value
            if type(value) not in BUFFERS or storage.stamp < 0:
                value = home_buffer(tensor)
                node = storage.node
            homes.append(node)
            if at >= 0:
                inputs[at] = value
        for at, position in self.arguments:
            tensor = leaves[position]
            if tensor._storage is None and type(value := tensor._node.value) in BUFFERS:
                homes.append(tensor._node)
            else:
                value = home_buffer(tensor)
                homes.append(home_node(tensor))
            if at >= 0:
                inputs[at] = value
        for at, kind, place in self.others:
            tensor = place.tensor(leaves)
            if kind == "piece":
                inputs[at] = piece_buffer(tensor)
            elif kind == "elements":
                inputs[at] = elements_buffer(tensor)
            else:
                if at >= 0:
                    inputs[at] = home_buffer(tensor)
                homes.append(home_node(tensor))
        if self.exclusive and len(set(homes)) != len(homes):
            raise Changed
        for one, other in self.together:
            if identity(one.tensor(leaves)) != identity(other.tensor(leaves)):
                raise Changed
        for one, other in self.twice:
            if one.tensor(leaves) is not other.tensor(leaves):
                raise Changed
        return inputs

    def computed(self, inputs: list[Buffer | None], leaves: Sequence[Any], events: list[Any]) -> Sequence[Buffer]:
        """Play the events and run the plan; the events' values are added to ``events``."""
        states: list[tuple[Any, Any]] = []
        if self.events:
            if self.checked or self.conditions is not None:
                states = [(g, g.get_state()) for g in self.generators]
            events += [event() for event in self.events]
            for at, event, place in self.drawn:
                inputs[at] = engine.buffer_from_numpy(events[event], place)
        try:
            if self.conditions is not None and self.conditions(leaves, events) != self.outcomes:
                raise Changed
            if self.plan is None:
                buffers: Sequence[Buffer] = ()
            else:
                numbers = self.numbers(leaves, events)
                dying = NONE
                if self.ending:
                    dying = frozenset([at for at, place in self.ending if is_alone(place.tensor(leaves))])
                buffers = self.plan.run(inputs, numbers, dying, self.spare(leaves) if self.replaced else ())
        except BaseException as error:
            engine.add_lines(error, self.origins)
            if self.events:
                undo(self.undo)
                for generator, state in states:
                    generator.set_state(state)
            raise
        COUNTERS.plans_replayed += 1
        return buffers


    def spare(self, leaves: Sequence[Any]) -> list[Buffer]:
        """The memory of gradients that end with the call, are read by nothing in it, and that nobody else holds."""
        found = []
        for place in self.replaced:
            meta = place.tensor(leaves)._meta
            grad = None if meta is None else meta.grad
            if grad is not None and grad._storage is None and others(grad) == 1:
                buffer = grad._node.value
                if is_alone(grad):
                    found.append(buffer)
        return found


class Replay:
    """The end of one replay: results become tensors, and tensors get their new values."""

    __slots__ = ("program", "leaves", "containers", "events", "buffers", "nodes", "call", "storages", "tensors", "old")

    def __init__(
        self, program: Program, leaves: Sequence[Any], containers: Sequence[Any], events: Sequence[Any],
        buffers: Sequence[Buffer],
    ) -> None:
        self.program = program
        self.leaves = leaves
        self.containers = containers
        self.events = events
        self.buffers = buffers
        self.nodes: dict[int, Node] = {}
        self.call: Call | None = None
        self.storages: dict[int, Storage] = {}
        self.tensors: dict[int, Tensor] = {}
        self.old: dict[int, Tensor] = {}

    def finish(self) -> Any:
        program, leaves = self.program, self.leaves
        for place, flag in program.leaf_flags:
            place.tensor(leaves).requires_grad_(flag)
        if program.template is not None:
            self.call = self.made_call()
        # the tensors as they were found: a gradient's place moves when the gradient is replaced
        self.old = {id(place): place.tensor(leaves) for place in program.old}
        self.write()
        if program.gradients:
            found = [(place.tensor(leaves), output) for place, output in program.gradients]
            for tensor, output in found:
                meta_of(tensor).grad = self.output(output)
        if program.structure is None:
            return self.output(program.outputs[0])
        return unflatten(program.structure, iter([self.output(output) for output in program.outputs]))

    def write(self) -> None:
        """Give tensors their new values."""
        program, nodes = self.program, self.nodes
        if program.direct is not None:
            buffers = self.buffers
            for tensor, position, at, type, silent in program.direct:
                node = nodes[position] = nodes.get(position) or Node(p.input_, (), (), type, buffers[at])
                overwrite(tensor, node, silent)
            return
        targets = [place.tensor(self.leaves) for _, place, _ in program.writes]
        for (how, _, position), tensor in zip(program.writes, targets):
            if how == "data":
                set_data(tensor, tensor_of(self.node(position)))
            elif how == "replace":
                replace_memory(tensor, self.node(position))
            else:
                overwrite(tensor, self.node(position), how == "silent")

    def made_call(self) -> Call:
        """What the graph of the results is made from, as it is before anything is written."""
        template, read = self.program.template, self.program.template_numbers
        numbers = read(self.leaves, self.events) if read is not None else ()
        sources = []
        for kind, what in template.sources:
            if kind == "elements":
                sources.append(elements(what.tensor(self.leaves)))
            elif kind == "home":
                sources.append(home_elements(what.tensor(self.leaves)))
            elif kind == "value":
                sources.append(value_node(what.tensor(self.leaves)))
            elif kind == "event":
                event, type = what
                sources.append(Node(p.input_, (), (), type, engine.buffer_from_numpy(self.events[event], type.device)))
            else:
                position, params, type = what
                sources.append(Node(p.scalar, (), params, type, numbers[position]))
        call = Call(template, sources, [place.tensor(self.leaves) for place in template.targets])
        for step, at in self.program.saved:
            call.saved[step] = self.buffers[at]
        return call

    def node(self, position: int) -> Node:
        """The node of a result."""
        node = self.nodes.get(position)
        if node is None:
            program = self.program
            type, requires_grad, freed = program.kinds[position]
            at = program.results[position]
            buffer = self.buffers[at] if at >= 0 else engine.allocate_on(type.device, 0)
            if requires_grad and not freed:
                node = Node(compiled_call, (), (self.call, type), type, buffer, True)
            else:
                node = Node(p.input_, (), (), type, buffer, requires_grad)
                if freed:
                    node.marks().freed = True
            if self.call is not None and program.steps[position] >= 0:
                self.call.result(program.steps[position], node)
            self.nodes[position] = node
        return node

    def owner(self, place: Place) -> Tensor:
        """The tensor that was in a place when the call began."""
        return self.old[id(place)] if id(place) in self.old else place.tensor(self.leaves)

    def output(self, output: tuple) -> Any:
        """Make one result."""
        kind = output[0]
        if kind == "new":
            tensor = self.tensors.get(output[1])
            if tensor is None:
                tensor = self.tensors[output[1]] = tensor_of(self.node(output[1]))
            return tensor
        if kind == "value":
            return output[1]
        if kind == "place":
            return self.owner(output[1])
        if kind == "argument":
            return self.leaves[output[1]]
        if kind == "container":
            return self.containers[output[1]]
        if kind == "number":
            return output[1](self.leaves, self.events)[0]
        if kind == "view":
            _, place, own, steps, mark = output
            if mark in self.tensors:
                return self.tensors[mark]
            owner = self.owner(place)
            storage = storage_of(owner)
            chain = (*owner._chain, *fresh(steps)) if own else fresh(steps)
            tensor = self.tensors[mark] = view_of(storage, chain)
            return tensor
        _, mark, position, steps, view = output
        if view in self.tensors:
            return self.tensors[view]
        storage = self.storages.get(mark)
        if storage is None:
            storage = self.storages[mark] = Storage(self.node(position))
        tensor = self.tensors[view] = view_of(storage, fresh(steps))
        return tensor


def fresh(steps: tuple) -> tuple:
    """Steps of a chain with cuts of their own: a cut remembers what is written through it."""
    if any(type(function) is Cut for function, _ in steps):
        return tuple((Cut(silent=f.silent), params) if type(f) is Cut else (f, params) for f, params in steps)
    return steps

