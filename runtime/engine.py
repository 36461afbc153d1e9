"""Materialisation: when somebody looks at a value, compute it and what belongs to it.

:func:`realize` takes the nodes that are looked at, adds the results that other live tensors wait for from the same
part of the graph (so that nothing is computed twice), writes the program down as a flat tuple, and looks for the plan
of exactly that tuple. Sizes and dtypes are in the tuple; Python numbers and buffers are not.

Read next: ``plan.py``.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import sys
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from ..compiler import composite, primitives as p, primitives_shape as s
from ..compiler.autodiff import is_leaf, is_view
from ..compiler.batching import lane
from ..compiler.composite import PRODUCTS
from ..compiler.ir import Node, format_program, topological, verify
from ..compiler.reference import evaluate
from . import events
from .allocator import Buffer, allocate
from .counters import COUNTERS
from .log import ENABLED, log

if TYPE_CHECKING:
    from .plan import Plan
    from .planner import Planner

MAX_PLANS = 512

# A longer program, in words of its key (about five for a node), is computed in pieces: a plan takes kilobytes for a
# node, and the pieces of a long loop are often equal, so that one plan serves for many.
LONG_KEY = 100_000
PIECE_NODES = 2048

# Of all plans together, in words of their keys: those of long programs are large.
MAX_WORDS = 1_000_000

VERIFY = os.environ.get("FLAMEWORK_VERIFY", "") not in ("", "0")

# Held while a program is written down, and while one runs that writes results into its inputs: no other thread may find
# such an input in a pending program meanwhile. Whoever found it before holds it, and so it is not written to.
following = threading.RLock()

_plans: OrderedDict[tuple, Plan] = OrderedDict()
_live: Callable[[], Iterable[Node]] = tuple
_listeners: list[Callable[[Sequence[Node], Plan], None]] = []

# Set while a function is being recorded for replay: called with the nodes that somebody wants to look at, and where to
# note buffers made from data meanwhile.
refuse: Callable[[Sequence[Node]], None] | None = None
created: dict[int, Buffer] | None = None

# Whether values have been moved between devices: programs have to be searched for such steps.
transfers = False

# While a program is recorded whose tangents will be asked for, computed nodes keep their sources.
keep_history = False

LOOKED_AT = (
    "vmap: It looks like you're attempting to use a Tensor in some data-dependent control flow. We don't support that "
    "yet: the values of a Tensor inside vmap are those of one element of a batch, and which one is not known."
)


def set_live_nodes(source: Callable[[], Iterable[Node]]) -> None:
    """Tell the engine where to ask for the pending nodes that live tensors hold."""
    global _live
    _live = source


def buffer_from_numpy(array: np.ndarray, device: str = "cpu") -> Buffer:
    """A buffer over the memory of a C-contiguous array, or in the memory of another device with its elements."""
    if device != "cpu":
        from .gpu import gpu

        buffer = gpu(device).upload(array)
    else:
        buffer = Buffer.from_numpy(array)
    note_created(buffer)
    return buffer


def note_created(buffer: Buffer) -> None:
    """While a function is recorded, remember a buffer whose elements do not come from what is recorded."""
    if created is not None:
        created[id(buffer)] = buffer


def read_node(node: Node) -> np.ndarray:
    """The elements of a computed node, in its own memory."""
    return node.value.as_numpy(node.dtype.numpy, node.shape)


def is_computed(node: Node) -> bool:
    return node.value is not None and node.op is not p.scalar


def realize(nodes: Sequence[Node]) -> None:
    """Compute the values of ``nodes``; afterwards ``node.value`` is a buffer.

    Raises:
        IndexError: an index in the data is out of range.
        RuntimeError: no memory.
    """
    roots = [node for node in dict.fromkeys(nodes) if not is_computed(node)]
    if not roots:
        return
    live = None
    if refuse is not None:
        # only what depends on nothing outside may be computed now, and nothing else with it
        refuse(roots)
        live = ()
    COUNTERS.materialisations += 1
    if ENABLED.materialise:
        log("materialise", f"{len(roots)} values for {caller()}")
    if ENABLED.record:
        for line in format_program(roots).splitlines():
            log("record", line)
    for root in roots:
        if root.type.size == 0:
            settle(root, allocate_on(root.type.device, 0))
    roots = [root for root in roots if root.type.size]
    if transfers and roots:
        roots = copied(roots)
        if len({root.type.device for root in roots}) > 1:
            for device in dict.fromkeys(root.type.device for root in roots):
                realize([root for root in roots if root.type.device == device])
            return
    if roots:
        if events.active is None:
            program = prepared(roots, live)
        else:
            with events.span("plan", events.LOOKUP):
                program = prepared(roots, live)
        run_program(*program)


def allocate_on(device: str, nbytes: int) -> Buffer:
    """A buffer in the memory of a device, with undefined contents."""
    if device == "cpu":
        return allocate(nbytes)
    from .gpu import gpu

    return gpu(device).allocate(nbytes)


def copied(roots: Sequence[Node]) -> list[Node]:
    """Copy what a program reads of another device; the roots that are left to compute."""
    while True:
        waiting: set[Node] = set()
        ready = []
        for node in topological(roots):
            if node.value is not None:
                continue
            waits = any(x in waiting for x in node.src)
            if node.op is s.transfer and not waits:
                ready.append(node)
            if waits or node.op is s.transfer:
                waiting.add(node)
        if not ready:
            return [root for root in roots if not is_computed(root)]
        # what is copied from one device is computed together
        realize([node.src[0] for node in ready])
        for node in ready:
            settle(node, moved(node.src[0], node.type.device))


def waiting_transfers(roots: Sequence[Node]) -> list[Node]:
    """The steps of a program that still have to copy from one device to another, sources first."""
    return [node for node in topological(roots) if node.op is s.transfer and node.value is None]


def parts_on(node: Node, device: str) -> list[Node]:
    """What a device can compute now of a value: all of it, or what will be copied from there."""
    waiting = waiting_transfers([node])
    if not waiting:
        return [node] if node.type.device == device else []
    sources = [source for transfer in waiting for source in transfer.src]
    return [x for x in sources if x.type.device == device and x.value is None and not waiting_transfers([x])]


def moved(node: Node, device: str) -> Buffer:
    """A copy of a computed node's value in the memory of a device."""
    return buffer_from_numpy(np.array(read_node(node), order="C"), device)


def compute_pieces(roots: Sequence[Node]) -> None:
    """Compute a large program up to its last piece.

    The nodes are taken in the order of their dependencies, :data:`PIECE_NODES` at a time, or fewer where a computed
    value comes in, so that what is between two values is cut alike every time. What a later piece reads of an earlier
    one gets a value.
    """
    # a composite with several results is no value that could be kept between two pieces
    composite.write_out_all(roots)
    order = topological(roots)
    piece_of: dict[Node, int] = {}
    last = size = 0
    for node in order:
        if size >= PIECE_NODES or (2 * size >= PIECE_NODES and is_computed(node)):
            last, size = last + 1, 0
        size += 1
        if node.value is None and node.src:
            piece_of[node] = last
    frontiers: list[dict[Node, None]] = [{} for _ in range(last + 1)]
    for node in order:
        at = piece_of.get(node)
        if at is None:
            continue
        for source in node.src:
            while source in piece_of and piece_of[source] < at:
                if source.op.kind in ("movement", "alias"):
                    # larger than what it shows, perhaps, and free to derive again
                    source = source.src[0]
                    continue
                frontiers[piece_of[source]][source] = None
                break
    del order, piece_of
    for frontier in frontiers[:last]:
        nodes = [node for node in frontier if node.value is None and node.type.size]
        if nodes:
            with following:
                program = linearised(nodes)
            key, pending, inputs, numbers = program
            run_program(plan_for(key, pending, inputs, numbers), pending, inputs, numbers)


def prepared(
    nodes: Sequence[Node], live: Iterable[Node] | None = None
) -> tuple[Plan, list[Node], list[Node], list[Node]]:
    """The plan that computes ``nodes`` and what belongs to them, with all its roots, its inputs and its numbers."""
    live = _live() if live is None else live
    if transfers:
        live = [part for x in live for part in parts_on(x, nodes[0].type.device)]
    with following:
        key, roots, inputs, numbers = linearised(nodes, live)
    if len(key) > LONG_KEY:
        del key, inputs, numbers
        compute_pieces(roots)
        with following:
            key, roots, inputs, numbers = linearised(nodes, live)
    return plan_for(key, roots, inputs, numbers), roots, inputs, numbers


def plan_for(key: tuple, roots: Sequence[Node], inputs: Sequence[Node], numbers: Sequence[Node]) -> Plan:
    """The plan of a program that :func:`linearised` wrote down."""
    plan = _plans.get(key)
    if plan is None:
        plan = _plans[key] = plan_kept(key, roots, inputs, numbers)
        forget_plans()
    else:
        try:
            _plans.move_to_end(key)
        except KeyError:  # another thread has just dropped it
            pass
        COUNTERS.plans_replayed += 1
    return plan


def forget_plans() -> None:
    """Drop the plans that were not used for longest, until the rest is within bounds."""
    words = sum(map(len, _plans))
    while len(_plans) > MAX_PLANS or (words > MAX_WORDS and len(_plans) > 1):
        key, _ = _plans.popitem(last=False)
        words -= len(key)


@contextlib.contextmanager
def observed(listener: Callable[[Sequence[Node], Plan], None]) -> Iterator[None]:
    """Call ``listener`` with the roots and the plan of every materialisation in the block, before it runs."""
    _listeners.append(listener)
    try:
        yield
    finally:
        _listeners.remove(listener)


def announce(plan: Plan, roots: Sequence[Node]) -> None:
    """Tell those who observe that a plan is about to run."""
    for listener in _listeners:
        listener(roots, plan)


def run_program(plan: Plan, roots: Sequence[Node], inputs: Sequence[Node], numbers: Sequence[Node]) -> None:
    """Run a plan, into those of its inputs that end with it where it can, and give the roots their values."""
    if plan.lifetimes is not None:
        with following:
            dying = plan.lifetimes.dying(roots, inputs, forgets)
            if dying:
                run_plan(plan, roots, inputs, numbers, dying)
                return
    run_plan(plan, roots, inputs, numbers)


def run_plan(
    plan: Plan, roots: Sequence[Node], inputs: Sequence[Node], numbers: Sequence[Node],
    dying: frozenset[int] = frozenset(),
) -> None:
    """Run a plan on the leaves of a program, and give the roots their values.

    Args:
        dying: numbers of inputs that may be written over.
    """
    announce(plan, roots)
    expected = evaluate(roots, read_node) if VERIFY else None
    try:
        results = plan.run([input_buffer(node) for node in inputs], [node.value for node in numbers], dying)
    except (IndexError, RuntimeError) as error:
        add_lines(error, origins(roots) if plan.can_fail else ())
        raise
    if expected is not None:
        compare(roots, results, expected)
    for root, buffer in zip(roots, results):
        settle(root, buffer)


def origins(roots: Sequence[Node]) -> list[tuple[str, int, str]]:
    """Where the user's program has what may be wrong with values that ``roots`` are computed from."""
    marks = [node.mark for node in topological(roots) if node.op is p.wrap_index]
    return list(dict.fromkeys(mark.origin for mark in marks if mark is not None and mark.origin is not None))


def add_lines(error: BaseException, lines: Sequence[tuple[str, int, str]]) -> None:
    """Say in an error's notes where its cause was recorded: in one of these lines."""
    for file, line, function in lines:
        error.add_note(f'  recorded in File "{file}", line {line}, in {function}')


def settle(node: Node, buffer: Buffer) -> None:
    """Give a node its value, and let go of its history if no gradient can ask for it any more."""
    node.value = buffer
    op, mark = node.op, node.mark
    if op is s.detach and mark is not None and mark.leaf is not None and not node.src[0].requires_grad:
        # a leaf stays above its value, so that a write to the memory of that value is noticed
        if node.src[0].value is None:
            settle(node.src[0], buffer)
        return
    if forgets(node):
        if is_view(node):
            base = node.src[0]
            while is_view(base):
                base = base.src[0]
            node.marks().base = base.marks()
        node.become_input(p.input_)


def forgets(node: Node) -> bool:
    """Whether a node that gets its value lets go of its sources: no gradient can ask for them any more."""
    if keep_history:
        return False
    freed = node.mark is not None and node.mark.freed
    return not node.requires_grad or is_leaf(node) or freed or node.op is p.scalar


def linearised(
    nodes: Sequence[Node], live: Iterable[Node] = (), blocks: bool = True
) -> tuple[tuple, list[Node], list[Node], list[Node]]:
    """A program as a tuple that is equal for equal programs, with its roots, inputs and Python numbers in order.

    Besides ``nodes``, the roots are those ``live`` nodes that share work with them (so that nothing is computed twice),
    and matrix products whose gradient is still to come, because the backward pass will want them. With ``blocks``,
    contiguous slices of computed tensors count as inputs.
    """
    position: dict[Node, int] = {}
    order: list[Node] = []
    key: list = []
    inputs: list[Node] = []
    numbers: list[Node] = []
    products: list[Node] = []
    scalar, block = p.scalar, s.slice_ if blocks else None
    call = composite.call
    for root in nodes:
        if root not in position:
            position[root] = len(order)
            order.append(root)
    roots = list(order)
    waiting = [node for node in live if node not in position]
    done = 0
    while True:
        # breadth first, one visit a node: the list grows while it is walked
        for node in itertools.islice(order, done, None):
            op = node.op
            if node.value is not None:
                if op is scalar:
                    numbers.append(node)
                    key += (scalar, node.type)
                else:
                    inputs.append(node)
                    key += (None, node.type)
                continue
            src = node.src
            if not src:
                key += (op, node.params)
                continue
            if op is block and is_block(node):
                inputs.append(node)
                key += (None, node.type)
                continue
            # the types follow, and the next entry begins with an operation
            key += (op, node.params)
            for source in src:
                at = position.get(source)
                if at is None:
                    at = position[source] = len(order)
                    order.append(source)
                key.append(at)
            if (op.kind in PRODUCTS or op is call and node.params[0].has_product) and node.requires_grad:
                if node.mark is None or not node.mark.freed:
                    products.append(node)
        done = len(order)
        if not waiting:
            break
        rest = []
        shared: set[Node] = set()
        for node in waiting:
            if node in position or shares(node, position, shared):
                roots.append(node)
                if node not in position:
                    position[node] = len(order)
                    order.append(node)
            else:
                rest.append(node)
        if len(rest) == len(waiting) or len(order) == done:
            break
        waiting = rest
    if products:
        known = set(roots)
        roots += [node for node in products if node not in known]
    roots = [node for node in roots if node.type.size]
    key.append("return")
    for root in roots:
        key.append(position[root])
    return tuple(key), roots, inputs, numbers


def is_block(node: Node) -> bool:
    """Whether a slice is one contiguous piece of a computed tensor: a minibatch. It is read where it is, so that
    minibatches differ in an address and not in the program."""
    source = node.src[0]
    if source.value is None or source.op is p.scalar or node.requires_grad or node.type.size == 0 or not node.ndim:
        return False
    _, steps, counts = node.params
    return counts[1:] == source.type.shape[1:] and steps[0] == 1


def input_buffer(node: Node) -> Buffer:
    """The memory of an input of a program."""
    if node.value is not None:
        return node.value
    source = node.src[0]
    held: Buffer = source.value
    start = node.params[0][0] * (source.type.nbytes // source.type.shape[0])
    return held.part(start, node.type.nbytes)


def shares(start: Node, visited: dict[Node, int], shared: set[Node]) -> bool:
    """Whether a pending node is computed from something that is going to be computed.

    ``shared`` are nodes of which that is known.
    """
    stack, seen = [start], {start}
    while stack:
        node = stack.pop()
        for source in node.src:
            if source in shared:
                return True
            if source.value is not None or source in seen:
                continue
            if source in visited:
                if source.src:
                    shared.add(node)
                    return True
                continue
            seen.add(source)
            stack.append(source)
    return False


def plan_kept(key: tuple, roots: Sequence[Node], inputs: Sequence[Node], numbers: Sequence[Node]) -> Plan:
    """The plan of a program whose tape an earlier process left on disk; else a new one, whose tape is left there."""
    from . import plans

    name = plans.name_of(key) if roots[0].type.device == "cpu" else None
    tape = None if name is None else plans.recall(name)
    if tape is None:
        plan = build(roots, inputs, numbers)
        if name is not None:
            plans.keep(name, plan.tape)
        return plan
    from .plan import Plan

    COUNTERS.plans_built += 1
    plan = Plan(tape, lambda: planned(*plans.program_of(key)))
    plan.watch_lifetimes(roots, inputs)
    return plan


def build(roots: Sequence[Node], inputs: Sequence[Node], numbers: Sequence[Node]) -> Plan:
    """The plan of a program; its leaves become slots.

    Raises:
        RuntimeError: it computes a value inside vmap.
    """
    if any(node.op is lane for node in topological(roots)):
        raise RuntimeError(LOOKED_AT)
    if VERIFY:
        verify(roots)
    COUNTERS.plans_built += 1
    device = roots[0].type.device
    with events.span("plan", events.BUILD):
        if device != "cpu":
            from .gpu import gpu
            from .gpu_plan import GpuPlan, GpuPlanner

            plan: Plan | GpuPlan = GpuPlan(GpuPlanner(roots, slotted(inputs, numbers), len(inputs), gpu(device)))
        else:
            from .plan import Plan

            planner = planned(roots, inputs, numbers)
            plan = Plan(planner.tape, lambda: planner)
    plan.watch_lifetimes(roots, inputs)
    return plan


def planned(roots: Sequence[Node], inputs: Sequence[Node], numbers: Sequence[Node]) -> Planner:
    """How a program is computed."""
    from .planner import Planner  # the compiler is imported when there is something to compile

    return Planner(roots, slotted(inputs, numbers), len(inputs))


def slotted(inputs: Sequence[Node], numbers: Sequence[Node]) -> dict[Node, Node]:
    """What stands for the leaves of a program in its plan."""
    from .planner import Slot

    slots: dict[Node, Node] = {node: Node(p.input_, (), (), node.type, Slot(i)) for i, node in enumerate(inputs)}
    for i, node in enumerate(numbers):
        slots[node] = Node(p.scalar, (), node.params, node.type, Slot(i))
    return slots


def compare(roots: Sequence[Node], results: Sequence[Buffer], expected: Sequence[np.ndarray]) -> None:
    """``FLAMEWORK_VERIFY``: every result against the unfused references."""
    for root, buffer, array in zip(roots, results, expected):
        found = buffer.as_numpy(root.dtype.numpy, root.shape)
        tolerance = {"float32": 1e-4, "float64": 1e-9}.get(root.dtype.name, 0)
        if not np.allclose(found, array, rtol=tolerance, atol=tolerance, equal_nan=True):
            raise AssertionError(f"FLAMEWORK_VERIFY: {root.op.name} {root.type} differs from its reference")


def caller() -> str:
    """What was called and from where: the outermost function of the package, and the user's file and line."""
    frame = sys._getframe(1)
    package = __name__.partition(".")[0]
    cause = "?"
    while frame is not None and frame.f_globals.get("__name__", "").partition(".")[0] == package:
        cause = frame.f_code.co_name
        frame = frame.f_back
    return f"{cause}() at " + ("?" if frame is None else f"{frame.f_code.co_filename}:{frame.f_lineno}")
