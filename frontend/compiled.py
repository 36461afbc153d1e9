"""``@compile``: record a function once, run its plan ever after.

The first call with arguments of some kind runs the function as it is, which records its nodes like any lazy script,
and then keeps the plan with a note of where each input came from: an argument, a tensor that the function reached
(a parameter, an optimizer's state), a number read anew. A later call of the same kind checks that what the function
reaches has not changed (``guards.py``), runs the plan and puts the results where the function would have put them:
returned tensors, tensors written in place, gradients. Nothing of the function's Python runs again.

What counts as the same kind: the nesting of the arguments, each tensor's type, layout, sharing of memory and
``requires_grad``, every other argument's value, and the grad mode. Another size or another number records again, but
compiles no kernel that is known.

Gradients of the results are recorded when they are asked for, from a template of the function's graph.

In: a function or Module. Out: a callable of the same signature. Read next: ``guards.py``.
"""

from __future__ import annotations

import functools
import weakref
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from . import capture as capturing
from .capture import Capture, Recording, SideEffectError, is_live
from .compiler import autodiff, primitives as p, primitives_shape as s
from .compiler.autodiff import recording_gradients
from .compiler.ir import Node, grad_mode, topological
from .compiler.primitives import Primitive
from .guards import Surroundings, optimizer_state
from .nn.module import Module
from .pytree import flatten, unflatten
from .recording import get_default_dtype, node_of, reclaim, register, tensor_of
from .runtime import engine
from .runtime.allocator import Buffer
from .runtime.counters import COUNTERS
from .storage import EXPORTED, Cut, Storage, leaf_node
from .tensor import Tensor, meta_of

MAX_VARIANTS = 64

_STATIC = (type(None), bool, int, float, complex, str, bytes)


def base_node(tensor: Tensor) -> Node:
    """The node whose buffer holds the memory of a tensor: of a view its storage's, of a leaf what is below it."""
    storage = tensor._storage
    if storage is not None:
        return node_of(tensor) if storage.stamp == EXPORTED and not reclaim(storage) else storage.node
    node = tensor._node
    while node.value is None and node.op is s.detach:
        node = node.src[0]
    return node


def layout(tensor: Tensor) -> tuple:
    """How a view lies in its storage; nothing for a plain tensor."""
    storage = tensor._storage
    if storage is None:
        return ()
    steps = tuple(
        ("cut", function.requires_grad) if type(function) is Cut else (function, params)
        for function, params in tensor._chain
    )
    return (storage.node.type, steps, storage.stamp == EXPORTED)


def identity(tensor: Tensor) -> int:
    return id(tensor if tensor._storage is None else tensor._storage)


def signature(leaves: Sequence[Any], structure: Any) -> tuple:
    """What has to be equal for a recorded program to serve."""
    key: list = [structure, grad_mode.enabled, get_default_dtype()]
    first: dict[int, int] = {}
    for i, leaf in enumerate(leaves):
        if isinstance(leaf, Tensor):
            where = first.setdefault(identity(leaf), i)
            key += (leaf._node.type, leaf.requires_grad, layout(leaf), where, type(leaf))
            meta = leaf._meta
            key.append(meta is not None and meta.grad is not None)
        elif isinstance(leaf, _STATIC):
            key += (type(leaf), leaf)
        else:
            key += ("object", id(leaf))
    return tuple(key)


# ------------------------------------------------------------------------------------------------ gradients of results


@dataclass(eq=False, slots=True)
class Template:
    """The graph of a captured function, from which the gradient of its results is recorded.

    Attributes:
        inputs: placeholder nodes, one for each source of a call node.
        roots: the results.
    """

    inputs: list[Node]
    roots: list[Node]

    def instantiate(self, sources: Sequence[Node], number: int) -> Node:
        """The graph of one result on actual sources."""
        new: dict[Node, Node] = dict(zip(self.inputs, sources))
        with recording_gradients(True):
            for node in topological([self.roots[number]], into_values=True):
                if node not in new:
                    if node.op.kind == "leaf":
                        new[node] = node
                    else:
                        new[node] = node.op(*[new[x] for x in node.src], params=node.params)
        return new[self.roots[number]]


def _call_vjp(g: Node, saved: p.Saved) -> list[Node | None]:
    template, number = saved.params
    sources = [s.copy(saved.source(i)) for i in range(len(saved.node.src))]
    result = template.instantiate(sources, number)
    found = autodiff.vjp([result], [g], wanted=sources, retain_graph=True) if result.requires_grad else {}
    zero = [found.get(x) for x in sources]
    return [p.full_like(x, 0) if c is None else c for x, c in zip(sources, zero)]


# A result of a compiled function: computed already, differentiable through its template.
compiled_call = Primitive("compiled_call", "call", lambda params, *types: params[0].roots[params[1]].type, vjp=_call_vjp)


# --------------------------------------------------------------------------------------------------------- the program


@dataclass(slots=True)
class Source:
    """Where an input of the plan comes from: ``argument`` i, ``tensor``, ``gradient`` of a tensor, ``drawn`` number i,
    or a ``constant`` node."""

    kind: str
    what: Any
    type: Any


class Variant:
    """One recorded program of a compiled function."""

    def __init__(self, surroundings: Surroundings, optimizers: tuple, leaves: list[Any]) -> None:
        self.surroundings = surroundings
        self.optimizers = optimizers
        self.objects = [leaf for leaf in leaves if not isinstance(leaf, (Tensor, *_STATIC))]
        arguments = {id(leaf) for leaf in leaves if isinstance(leaf, Tensor)}
        self.closure = [t for t in surroundings.tensors.values() if id(t) not in arguments]
        self.states = [state_of(t) for t in self.closure]
        self.closure_identities = {identity(t) for t in self.closure}

    def why_not(self, leaves: Sequence[Any]) -> str | None:
        """What has changed since the recording, or None."""
        for tensor, state in zip(self.closure, self.states):
            if state_of(tensor) != state:
                return "a tensor that the function reaches has another type, layout or gradient"
        if not self.surroundings.holds():
            return self.surroundings.changed() or "a module changed"
        if self.optimizers != optimizer_state(self.surroundings.optimizers):
            return "an optimizer's settings changed"
        for leaf in leaves:
            if isinstance(leaf, Tensor) and identity(leaf) in self.closure_identities:
                return "an argument shares memory with a tensor that the function reaches"
        return None


def state_of(tensor: Tensor) -> tuple:
    meta = tensor._meta
    grad = None if meta is None or meta.grad is None else meta.grad._node.type
    storage = tensor._storage
    return (tensor._node.type, tensor.requires_grad, grad, None if storage is None else id(storage))


class Program:
    """How to run a variant: the plan, its inputs, and what to do with its results."""

    def __init__(self) -> None:
        self.plan = None
        self.sources: list[Source] = []
        self.numbers: list[Any] = []
        self.sequence: list[Callable[[], Any]] = []
        self.outputs: list[tuple] = []
        self.structure: Any = None
        self.writes: list[tuple[Source, int]] = []
        self.gradients: list[tuple[Source, int | None]] = []
        self.template: Template | None = None
        self.template_sources: list[Source] = []
        self.results: list[int] = []
        self.kinds: list[tuple] = []


def compile(model: Callable | None = None, *, fullgraph: bool = True, disable: bool = False) -> Callable:
    """Compile a function or a Module; also a decorator, with or without arguments. As ``torch.compile``.

    Args:
        model: what to compile. Arguments and results may be nested tuples, lists and dictionaries of tensors.
        fullgraph: if True, a function with a side effect that cannot be replayed is refused with its line; if False,
            such a function runs as an ordinary lazy script.
        disable: if True, return ``model`` as it is.

    Returns:
        A callable with the same signature and the same results.

    Raises:
        SideEffectError: (a RuntimeError) at a call, when the function does what a replay could not repeat.

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


class Compiled:
    """A compiled function; what :func:`compile` returns."""

    def __init__(self, function: Callable, fullgraph: bool) -> None:
        self.function = function
        self.fullgraph = fullgraph
        self.variants: OrderedDict[tuple, list[tuple[Variant, Program]]] = OrderedDict()
        self.refused = False
        self.last_reason: str | None = None
        functools.update_wrapper(self, function, updated=())

    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        return self if instance is None else functools.partial(self, instance)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if capturing.capturing() or self.refused:
            return self.function(*args, **kwargs)
        leaves, structure = flatten((args, kwargs))
        key = signature(leaves, structure)
        for variant, program in self.variants.get(key, ()):
            reason = variant.why_not(leaves)
            if reason is None:
                return replay(program, leaves)
            self.last_reason = reason
        try:
            result, variant, program = record(self.function, args, kwargs, leaves, structure)
        except SideEffectError:
            if self.fullgraph:
                raise
            self.refused = True
            return self.function(*args, **kwargs)
        if program is not None:
            self.keep(key, variant, program)
        return result

    def keep(self, key: tuple, variant: Variant, program: Program) -> None:
        known = self.variants.setdefault(key, [])
        known.insert(0, (variant, program))
        del known[8:]
        self.variants.move_to_end(key)
        while len(self.variants) > MAX_VARIANTS:
            self.variants.popitem(last=False)


class CompiledModule(Compiled):
    """A compiled Module: called like one, and otherwise the Module itself."""

    def __getattr__(self, name: str) -> Any:
        if name == "function":
            raise AttributeError(name)
        return getattr(self.function, name)


# ----------------------------------------------------------------------------------------------------------- recording


def record(function: Callable, args: tuple, kwargs: dict, leaves: list[Any], structure: Any):
    """Run a function once for real, and keep how to run it again.

    No program comes back where the recording cannot serve again: an optimizer that has just made its state, or memory
    shared with NumPy that the function reaches by itself.
    """
    shadows: dict[int, Tensor] = {}
    given = leaves
    for i, leaf in enumerate(leaves):
        if isinstance(leaf, Tensor) and is_exported(leaf):
            if leaf.requires_grad:
                return function(*args, **kwargs), None, None
            shadows[i] = tensor_of(node_of(leaf))
    if shadows:
        # NumPy may write to the argument at any time: the function sees its elements of this moment
        leaves = [shadows.get(i, leaf) for i, leaf in enumerate(leaves)]
        args, kwargs = unflatten(structure, iter(leaves))
    surroundings = Surroundings(function, *leaves)
    tensors = list(surroundings.tensors.values())
    if any(is_exported(t) for t in tensors):
        return function(*args, **kwargs), None, None
    gradients = {id(t): t._meta.grad for t in tensors if t._meta is not None and t._meta.grad is not None}
    waiting = [base_node(t) for t in (*tensors, *gradients.values())]
    engine.realize([n for n in waiting if n.value is None])
    optimizers = optimizer_state(surroundings.optimizers)
    variant = Variant(surroundings, optimizers, leaves)
    before = {id(t): (base_node(t), gradients.get(id(t))) for t in tensors}
    gradient_nodes = {id(g): base_node(g) for g in gradients.values()}
    with Recording() as recording:
        result = function(*args, **kwargs)
    changed = surroundings.changed()
    if changed is not None:
        raise SideEffectError(
            f"a compiled function has a side effect that a replay would not repeat: {changed}. Return the value instead, "
            "or do this outside of the function."
        )
    settled = optimizers == optimizer_state(surroundings.optimizers)
    recorder = Recorder(recording, tensors, leaves, before, gradient_nodes)
    program = recorder.program(result)
    for i, shadow in shadows.items():
        if shadow._storage is not None or shadow._node is not before[id(shadow)][0]:
            # written to, or seen through a view: NumPy has to see that
            settled = False
            overwrite(given[i], node_of(shadow))
    return result, variant, program if settled else None


def is_exported(tensor: Tensor) -> bool:
    storage = tensor._storage
    return storage is not None and storage.stamp == EXPORTED and not reclaim(storage)


class Recorder:
    """Turns what a recording left behind into a :class:`Program`."""

    def __init__(
        self, recording: Capture, tensors: list[Tensor], leaves: list[Any], before: dict, gradient_nodes: dict
    ) -> None:
        self.recording = recording
        self.tensors = tensors
        self.leaves = leaves
        self.before = before
        self.positions = {id(leaf): i for i, leaf in enumerate(leaves) if isinstance(leaf, Tensor)}
        # where each known buffer comes from
        self.origin: dict[Node, Source] = {}
        self.storages: dict[int, Tensor] = {}
        for tensor in tensors:
            node, gradient = before[id(tensor)]
            self.origin.setdefault(node, self.source(tensor, node))
            if gradient is not None:
                held = gradient_nodes[id(gradient)]
                self.origin.setdefault(held, Source("gradient", self.handle(tensor), held.type))
            if tensor._storage is not None:
                self.storages.setdefault(id(tensor._storage), tensor)

    def handle(self, tensor: Tensor) -> int | Tensor:
        return self.positions.get(id(tensor), tensor)

    def source(self, tensor: Tensor, node: Node) -> Source:
        position = self.positions.get(id(tensor))
        if position is None:
            return Source("tensor", tensor, node.type)
        return Source("argument", position, node.type)

    def program(self, result: Any) -> Program:
        program = Program()
        program.sequence = self.recording.sequence
        roots: list[Node] = []

        def want(node: Node) -> int:
            if node.value is not None:
                node = s.copy(node)
            roots.append(node)
            return len(roots) - 1

        leaves, program.structure = flatten(result)
        fresh: dict[int, int] = {}
        for leaf in leaves:
            program.outputs.append(self.output(leaf, want, fresh))
        written: set[int] = set()
        for tensor in self.tensors:
            old, gradient = self.before[id(tensor)]
            new = base_node(tensor)
            mark = identity(tensor)
            if new is not old and mark not in written:
                written.add(mark)
                program.writes.append((self.source(tensor, new), want(new)))
            meta = tensor._meta
            held = None if meta is None else meta.grad
            if held is not gradient or (held is not None and base_node(held) is not self.gradient_before(tensor)):
                position = None if held is None else want(base_node(held))
                program.gradients.append((self.source(tensor, tensor._node), position))
        program.kinds = [(n.type, n.requires_grad, n.mark is not None and n.mark.freed) for n in roots]
        if any(kind[1] and not kind[2] for kind in program.kinds):
            self.make_template(program, roots)
        compute = list(dict.fromkeys(n for n in roots if n.type.size))
        for node in roots:
            if not node.type.size and node.value is None:
                engine.settle(node, engine.allocate(0))
        if compute:
            key, compute, inputs, numbers = engine.linearised(compute, blocks=False)
            program.sources = [self.find(node) for node in inputs]
            program.numbers = [node.value for node in numbers]
            program.plan = engine.plan_for(key, compute, inputs, numbers)
            program.results = [compute.index(n) if n.type.size else -1 for n in roots]
            engine.run_plan(program.plan, compute, inputs, numbers)
        else:
            program.results = [-1] * len(roots)
        return program

    def gradient_before(self, tensor: Tensor) -> Node | None:
        gradient = self.before[id(tensor)][1]
        if gradient is None:
            return None
        handle = self.handle(tensor)
        for node, source in self.origin.items():
            if source.kind == "gradient" and source.what is handle:
                return node
        return None

    def output(self, leaf: Any, want: Callable, fresh: dict[int, int]) -> tuple:
        """How to make one result: ``(kind, ...)``."""
        if not isinstance(leaf, Tensor):
            return ("value", leaf)
        if id(leaf) in self.before:
            return ("same", self.source(leaf, leaf._node))
        storage = leaf._storage
        if storage is not None and id(storage) in self.storages:
            owner = self.storages[id(storage)]
            return ("view", self.source(owner, owner._node), leaf._chain)
        if storage is not None:
            known = fresh.get(id(storage))
            if known is None:
                known = fresh[id(storage)] = want(storage.node)
            return ("part", id(storage), known, leaf._chain, type(leaf))
        known = fresh.get(id(leaf))
        if known is not None:
            return ("again", known)
        fresh[id(leaf)] = position = want(leaf._node)
        return ("new", position)

    def find(self, node: Node) -> Source:
        known = self.origin.get(node)
        if known is not None:
            return known
        drawn = self.recording.nodes.get(node)
        if drawn is not None:
            return Source("drawn", drawn, node.type)
        return Source("constant", node, node.type)

    def make_template(self, program: Program, roots: list[Node]) -> None:
        """Copy the graph before its values are computed, cut at the inputs."""
        new: dict[Node, Node] = {}
        placeholders: list[Node] = []
        outside = set(self.origin)
        outside.update(t._node for t in self.tensors if t._storage is None)
        with recording_gradients(True):
            for node in topological(roots):
                leaf = autodiff.is_leaf(node) and node.requires_grad
                if node in outside or leaf or (node.value is not None and node.op is not p.scalar):
                    source = self.leaf_source(node)
                    if source.kind == "constant":
                        new[node] = node
                        continue
                    placeholder = Node(p.input_, (), (), node.type, None, node.requires_grad)
                    new[node] = placeholder
                    placeholders.append(placeholder)
                    program.template_sources.append(source)
                elif node.op.kind == "leaf":
                    new[node] = node
                else:
                    new[node] = Node(
                        node.op, tuple(new[x] for x in node.src), node.params, node.type, None, node.requires_grad
                    )
        program.template = Template(placeholders, [new[x] for x in roots])

    def leaf_source(self, node: Node) -> Source:
        """A leaf of the gradient's graph is the tensor itself; another input is its memory."""
        if node.requires_grad:
            mark = node.mark
            tensor = mark.leaf() if mark is not None and mark.leaf is not None else None
            if tensor is not None and id(tensor) in self.before:
                return Source("value", self.handle(tensor), node.type)
            for tensor in self.tensors:
                if tensor._node is node:
                    return Source("value", self.handle(tensor), node.type)
        return self.find(node)


# -------------------------------------------------------------------------------------------------------------- replay


def lookup(source: Source, leaves: Sequence[Any], drawn: list) -> Node | None:
    """The node that a source stands for in this call."""
    kind, what = source.kind, source.what
    if kind == "argument":
        return base_node(leaves[what])
    if kind == "tensor":
        return base_node(what)
    if kind == "value":
        return node_of(leaves[what] if isinstance(what, int) else what)
    if kind == "gradient":
        return base_node((leaves[what] if isinstance(what, int) else what)._meta.grad)
    if kind == "drawn":
        array = drawn[what]
        return Node(p.input_, (), (), source.type, Buffer.from_numpy(array))
    return what


def replay(program: Program, leaves: Sequence[Any]) -> Any:
    """Run a recorded program on the tensors of this call."""
    drawn = [function() for function in program.sequence]
    nodes = [lookup(source, leaves, drawn) for source in program.sources]
    waiting = [n for n in nodes if n.value is None]
    if waiting:
        engine.realize(waiting)
    call = [lookup(source, leaves, drawn) for source in program.template_sources]
    if program.plan is not None:
        numbers = [v.read() if is_live(v) else v for v in program.numbers]
        buffers = program.plan.run([n.value for n in nodes], numbers)
        COUNTERS.plans_replayed += 1
    else:
        buffers = []
    made: dict[int, Node] = {}

    def node(position: int) -> Node:
        found = made.get(position)
        if found is None:
            type, requires_grad, freed = program.kinds[position]
            at = program.results[position]
            buffer = buffers[at] if at >= 0 else engine.allocate(0)
            if requires_grad and not freed:
                found = Node(compiled_call, tuple(call), (program.template, position), type, buffer, True)
            else:
                found = Node(p.input_, (), (), type, buffer, requires_grad)
                if freed:
                    found.marks().freed = True
            made[position] = found
        return found

    for source, position in program.writes:
        overwrite(leaves[source.what] if source.kind == "argument" else source.what, node(position))
    for source, position in program.gradients:
        tensor = leaves[source.what] if source.kind == "argument" else source.what
        meta_of(tensor).grad = None if position is None else tensor_of(node(position))
    if program.structure is None:
        return output_of(program.outputs[0], leaves, node, {}, {})
    storages: dict[int, Storage] = {}
    tensors: dict[int, Tensor] = {}
    results = [output_of(output, leaves, node, storages, tensors) for output in program.outputs]
    return unflatten(program.structure, iter(results))


def overwrite(tensor: Tensor, value: Node) -> None:
    """Give a tensor's memory a computed value, as the recorded in-place operations did."""
    storage = tensor._storage
    if storage is not None:
        if storage.stamp == EXPORTED:
            from .mutation import assign

            with recording_gradients(False):
                assign(tensor, value)
            return
        storage.node.marks().overwritten += 1
        storage.replace(value)
        register(tensor)
        return
    old = tensor._node
    old.marks().overwritten += 1
    if old.mark.leaf is not None and old.requires_grad and not value.requires_grad:
        value = leaf_node(value, weakref.ref(tensor), old.mark.hooks)
    tensor._node = value
    tensor._seen += 1


def output_of(output: tuple, leaves: Sequence[Any], node: Callable, storages: dict, tensors: dict) -> Any:
    kind = output[0]
    if kind == "new":
        tensors[output[1]] = tensor = tensor_of(node(output[1]))
        return tensor
    if kind == "again":
        return tensors[output[1]]
    if kind == "value":
        return output[1]
    if kind == "same":
        source = output[1]
        return leaves[source.what] if source.kind == "argument" else source.what
    if kind == "view":
        _, source, chain = output
        owner = leaves[source.what] if source.kind == "argument" else source.what
        return view_of(owner._storage, chain, Tensor)
    _, mark, position, chain, cls = output
    storage = storages.get(mark)
    if storage is None:
        storage = storages[mark] = Storage(node(position))
    return view_of(storage, chain, cls)


def view_of(storage: Storage, chain: tuple, cls: type[Tensor]) -> Tensor:
    """A tensor that sees a storage through a chain of steps."""
    from .storage import replay as replay_chain

    tensor = Tensor.__new__(cls)
    tensor._storage = storage
    tensor._chain = chain
    tensor._node = replay_chain(chain, storage.node)
    tensor._seen = storage.stamp
    tensor._meta = None
    register(tensor)
    return tensor
