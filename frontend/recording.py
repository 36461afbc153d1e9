"""Recording: how values become nodes and nodes become tensors.

Every function of the API is written with what stands here. :func:`operands` turns tensors and Python numbers into
nodes of one dtype and one shape (promotion and broadcasting by PyTorch's rules), rows of the primitive table make a
node of them, :func:`tensor_of` wraps it. Nothing is computed until :func:`observe`.

Python numbers that a user gives are ``scalar`` leaves, arguments of the kernel; numbers of our own formulas are
``const``, part of the program.

In: tensors and numbers. Out: nodes, tensors, and, when somebody looks, arrays. Read next: ``operators.py``.
"""

from __future__ import annotations

import contextlib
import numbers
import weakref
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from .compiler import dtypes, primitives as p, primitives_shape as s
from .compiler.batching import depends_on_lane
from .compiler.dtypes import COMPLEX, FLOATING, DType, complex_of
from .compiler.ir import Node, TensorType, grad_mode, tensor_type
from .compiler.primitives import remember, same_device
from .runtime import engine, shared
from .storage import (
    ALONE,
    EXPORTED,
    ONE_REFERENCE,
    Cut,
    Storage,
    attached,
    contiguous_strides,
    find_cut,
    geometry,
    holders,
    leaf_value,
    replay,
    signed,
    signs,
    storage_references,
    strided_array,
    without_cut,
)
from .tensor import Tensor

if TYPE_CHECKING:
    from .levels import BatchLevel
    from .runtime.allocator import Buffer
    from .runtime.gpu import DeviceBuffer

_new = Tensor.__new__
_ref = weakref.ref

# ------------------------------------------------------------------------------------------------------- default dtype


class _Defaults:
    __slots__ = ("dtype",)

    def __init__(self) -> None:
        self.dtype = dtypes.float32


_defaults = _Defaults()


def get_default_dtype() -> DType:
    """The dtype of tensors made from Python floats; as ``torch.get_default_dtype``."""
    return _defaults.dtype


def set_default_dtype(d: DType) -> None:
    """Choose the dtype of tensors made from Python floats; as ``torch.set_default_dtype``.

    Raises:
        TypeError: ``d`` is no floating point dtype.
    """
    if not isinstance(d, DType) or d.kind != FLOATING:
        raise TypeError("only floating-point types are supported as the default type")
    _defaults.dtype = d


# ----------------------------------------------------------------------------------------------------- pending tensors

# Recording is cheap in memory but not free: after so many tensors everything which is still alive is computed.
BUDGET = 20000


class Pending:
    """The tensors recorded since they were last looked through, and how many more may be recorded before a flush."""

    __slots__ = ("tensors", "limit", "watermark", "level", "note")

    def __init__(self) -> None:
        self.tensors: list[weakref.ref] = []
        self.limit = BUDGET
        self.watermark = 64
        # the innermost vmap whose function is being recorded: its tensors have no values
        self.level: BatchLevel | None = None
        # called with each new tensor, for anomaly detection
        self.note: Callable[[Tensor], None] | None = None

    def notify(self, note: Callable[[Tensor], None] | None) -> None:
        """Call ``note`` with every tensor that is recorded from now on."""
        self.note = note
        # every tensor is over this limit, and flush() is called
        self.limit = BUDGET if note is None else -1

    @contextlib.contextmanager
    def inside(self, level: BatchLevel) -> Iterator[None]:
        """A block in which nothing pending is computed by itself, and ``level`` is told of every new tensor."""
        before = self.level, self.limit, len(self.tensors)
        # every tensor is over this limit, and flush() is called
        self.level, self.limit = level, -1
        try:
            yield
        finally:
            self.level, self.limit, start = before
            if self.level is None:
                # what leaked out can never be computed
                kept = [r for r in self.tensors[start:] if (t := r()) is not None and not depends_on_lane(t._node)]
                self.tensors[start:] = kept

    def compact(self) -> None:
        """Forget tensors that died or were computed; what remains keeps counting against the budget."""
        if self.level is not None:
            return
        kept = [r for r in self.tensors if (t := r()) is not None and (not released(t) or pending_node(t) is not None)]
        dropped = len(self.tensors) - len(kept)
        self.tensors[:] = kept
        self.watermark = 2 * len(kept) + 64
        if self.note is None:
            self.limit = self.limit - dropped if kept else BUDGET

    def flush(self) -> None:
        """Compute every pending tensor that is still alive; inside ``vmap`` only note the last one, which is new."""
        if self.level is not None:
            tensor = self.tensors[-1]()
            if tensor is not None:
                self.level.made(tensor)
            return
        if self.note is not None:
            tensor = self.tensors[-1]() if self.tensors else None
            if tensor is not None:
                self.note(tensor)
            if len(self.tensors) < BUDGET:
                return
        nodes = {node: None for r in self.tensors if (t := r()) is not None and (node := pending_node(t)) is not None}
        if nodes:
            engine.realize(list(nodes))
        self.compact()
        if self.note is None:
            self.limit = BUDGET


pending = Pending()
_pending_tensors = pending.tensors


def pending_node(tensor: Tensor) -> Node | None:
    """The node that has to be computed before ``tensor`` can be read, or None; of a written storage its value."""
    storage = tensor._storage
    if storage is None:
        return tensor._node if tensor._node.value is None else None
    if storage.stamp == EXPORTED or storage.node.value is not None:
        return None
    if storage.serial:
        return storage.node
    # nothing was written: a view of a value that nobody else wants need not compute all of it
    return tensor._node if tensor._node.value is None else None


def released(tensor: Tensor) -> bool:
    """Let a detached tensor go of its base's gradient history once it is all that is left of the storage.

    Returns whether there is nothing (more) to let go of; otherwise it has to be tried again later.
    """
    if tensor._storage is None or tensor._storage.stamp == EXPORTED or not tensor._storage.node.requires_grad:
        return True
    if find_cut(tensor._chain) is None:
        # the history is its own
        return True
    shape, strides, _ = geometry(tensor._chain, tensor._storage.node.type)
    if strides != contiguous_strides(shape) or any(signs(tensor._chain)):
        # without the storage it would be contiguous, and of its own signs
        return True
    if storage_references(tensor) > ONE_REFERENCE:
        return False
    node_of(tensor)
    tensor._seen = tensor._storage.version
    tensor._storage = None
    return True


def pending_tensors() -> list[Tensor]:
    """Tensors which somebody holds and which have not been computed, in the order in which they were recorded."""
    found = (r() for r in _pending_tensors)
    return list(dict.fromkeys(t for t in found if t is not None and pending_node(t) is not None))


def _live_nodes() -> list[Node]:
    """The nodes of :func:`pending_tensors`, computed together with what somebody looks at if they share work.

    In the order in which their tensors were recorded or written to last: a loop then gives the same program each time.
    """
    found: dict[Node, None] = {}
    if pending.level is not None:
        return []
    for reference in reversed(_pending_tensors):
        tensor = reference()
        if tensor is not None and (node := pending_node(tensor)) is not None:
            found.setdefault(node)
    return list(reversed(found))


engine.set_live_nodes(_live_nodes)


def register(tensor: Tensor) -> None:
    """Note that ``tensor`` has a new node to be computed."""
    _pending_tensors.append(_ref(tensor))
    if len(_pending_tensors) > pending.limit and pending.level is None:
        pending.flush()


# ------------------------------------------------------------------------------------------------- tensors and nodes


def tensor_of(node: Node) -> Tensor:
    """A new tensor whose value is ``node``. No other tensor may have that node: record ``copy`` to duplicate one."""
    tensor = _new(Tensor)
    tensor._node = node
    tensor._storage = None
    tensor._seen = 0
    tensor._meta = None
    if node.value is None:
        _pending_tensors.append(_ref(tensor))
        if len(_pending_tensors) > pending.limit:
            pending.flush()
    return tensor


def node_of(tensor: Tensor) -> Node:
    """The current value of a tensor: replays the chain of a stale view and copies memory that NumPy can write to."""
    storage = tensor._storage
    if storage is None or storage.stamp == tensor._seen:
        return tensor._node
    if storage.stamp == EXPORTED:
        if not reclaim(storage):
            return snapshot(tensor)
        if storage.stamp == tensor._seen:
            return tensor._node
    node = tensor._node = replay(tensor._chain, storage.node)
    tensor._seen = storage.stamp
    return node


def storage_of(tensor: Tensor) -> Storage:
    """The storage of a tensor; a plain one gets it here, as its memory is about to be shared."""
    storage = tensor._storage
    if storage is None:
        node = tensor._node
        mark = node.mark
        if node.requires_grad and mark is not None and mark.leaf is not None:
            # views of a leaf are above its cut, and its memory can be shared without its gradient
            storage = Storage(leaf_value(node), tensor._seen)
            tensor._chain = ((Cut(_ref(tensor), mark.hooks), ()),)
        else:
            storage = Storage(node, tensor._seen)
            tensor._chain = ()
        tensor._storage = storage
    return storage


def moved(node: Node, device: str) -> Node:
    """The same values on another device."""
    if node.type.device == device:
        return node
    engine.transfers = True
    return s.transfer(node, params=(device,))


def input_node(array: np.ndarray, device: str = "cpu") -> Node:
    """A computed node over the memory of a C-contiguous array, which must not change any more."""
    dtype = dtypes.from_numpy(array.dtype)
    params = (array.shape, dtype, device)
    return Node(p.input_, (), params, tensor_type(array.shape, dtype, device), engine.buffer_from_numpy(array, device))


def from_array(array: np.ndarray, device: str = "cpu") -> Tensor:
    """A tensor that takes over an array which nobody else holds; on a GPU a copy of it.

    Raises:
        TypeError: the array's dtype has no equivalent.
    """
    array = np.asarray(array)
    return tensor_of(input_node(np.ascontiguousarray(array).reshape(array.shape), device))


# ------------------------------------------------------------------------------------------------------ exported memory


def reclaim(storage: Storage) -> bool:
    """Take exported memory back if nobody outside can reach it any more."""
    if storage.exporter is not None and storage.exporter() is not None:
        return False
    if storage.owner is not None and not only_ours(storage):
        return False
    take_back(storage, shared.taken(storage.memory, storage.node.type.device))
    return True


def computed_node(value: Buffer | DeviceBuffer, type: TensorType) -> Node:
    """A computed node of a buffer, whose elements must not change any more."""
    engine.note_created(value)
    return Node(p.input_, (), (type.shape, type.dtype, type.device), type, value)


def take_back(storage: Storage, value: Buffer | DeviceBuffer) -> None:
    """End the export of a storage, whose value is that of a buffer from here on."""
    base = storage.node
    value = computed_node(value, base.type)
    storage.node = attached(value, base) if base.requires_grad else value
    storage.memory = storage.owner = storage.exporter = None
    storage.serial += 1
    storage.stamp = storage.serial


def only_ours(storage: Storage) -> bool:
    """Whether the storage is all that still refers to the user's array, and the array owns its memory."""
    # counted first: the array's flags refer to it
    alone = holders(storage)[2] <= ALONE[2]
    return alone and storage.owner.flags.owndata and storage.owner.flags.c_contiguous


def copied_home(storage: Storage) -> Node:
    """All elements of exported memory as they are now, without a gradient history."""
    kind = storage.node.type
    return computed_node(shared.copied(storage.memory, kind.device), kind)


def snapshot(tensor: Tensor) -> Node:
    """The elements of a view of exported memory as they are now, with the gradient history that the view has."""
    storage, chain = tensor._storage, tensor._chain
    base = storage.node
    cut = find_cut(chain)
    if cut is None and base.requires_grad:
        return replay(chain, attached(copied_home(storage), base))
    below = len(chain)
    if cut is not None and cut.requires_grad:
        below = next(i for i, step in enumerate(chain) if step[0] is cut)
    if base.type.device != "cpu":
        return replay(chain[below:], replay(without_cut(chain[:below]), copied_home(storage)))
    array = strided_array(chain[:below], base.type, storage.memory)
    array = np.array(signed(chain[:below], array), order="C")
    return replay(chain[below:], input_node(array, base.type.device))


# ----------------------------------------------------------------------------------------------------------- observing


def observe(tensor: Tensor) -> np.ndarray:
    """The elements of a tensor, computed now, as an array that must not be written to."""
    storage = tensor._storage
    if storage is not None and storage.stamp == EXPORTED and storage.node.type.device == "cpu" and not reclaim(storage):
        return signed(tensor._chain, strided_array(tensor._chain, storage.node.type, storage.memory))
    return read(node_of(tensor))


def read(node: Node) -> np.ndarray:
    """The elements of a node, computed now."""
    if node.value is None or node.op is p.scalar:
        engine.realize([node])
        if len(_pending_tensors) > pending.watermark:
            pending.compact()
    elif engine.refuse is not None:
        engine.refuse([node])
    return engine.read_node(node)


def known(node: Node) -> bool:
    """Whether the elements are there to be checked. While a function is recorded for replay they will be others.

    Those of tensors that the function itself made from data are the same at every call.
    """
    return node.op is p.input_ and node.value is not None and (
        engine.created is None or id(node.value) in engine.created
    )


def realize(*tensors: Tensor) -> None:
    """Compute tensors now; with no arguments all that are pending.

    Nothing needs this call: looking at a value computes it. It is for measuring and for choosing when work happens.

    Example:
        >>> import flamework
        >>> x = flamework.ones(3) + 1
        >>> flamework.realize(x)
    """
    if not tensors:
        pending.flush()
        return
    nodes = [node for t in tensors if (node := node_of(t)).value is None]
    if nodes:
        engine.realize(nodes)
        pending.compact()


# ----------------------------------------------------------------------------------------------------------- promotion


def number_dtype(value: Any) -> DType:
    """The dtype that a Python number brings into promotion."""
    if isinstance(value, bool):
        return dtypes.bool_
    if isinstance(value, complex):
        return complex_of(_defaults.dtype)
    return dtypes.int64 if isinstance(value, int) else _defaults.dtype


def plain_number(value: Any) -> bool | int | float | complex | None:
    """``value`` as a Python bool, int, float or complex; None if it is no such number."""
    if isinstance(value, (float, int, complex)):
        return value
    if isinstance(value, (np.generic, numbers.Complex)):
        if isinstance(value, (np.bool_, bool)):
            return bool(value)
        if isinstance(value, numbers.Integral):
            return int(value)
        if isinstance(value, numbers.Real):
            return float(value)
        if isinstance(value, numbers.Complex):
            return complex(value)
    return None


def _combine(higher: DType | None, lower: DType | None) -> DType | None:
    # a category that matters less (0-dim tensors, then numbers) changes the dtype only if its kind is higher
    if higher is None or lower is None:
        return higher or lower
    if higher.kind >= lower.kind:
        return higher
    if higher.kind == FLOATING:
        return complex_of(higher)
    if higher.kind == dtypes.BOOL or lower.kind >= FLOATING:
        return dtypes.promote(higher, lower)
    return higher


def promoted(*args: Tensor | float) -> DType:
    """The dtype of an operation on these tensors and numbers; as ``torch.result_type``."""
    dim = zero = wrapped = None
    for arg in args:
        if isinstance(arg, Tensor):
            kind = arg._node.type
            if kind.ndim:
                dim = kind.dtype if dim is None else dtypes.promote(dim, kind.dtype)
            else:
                zero = kind.dtype if zero is None else dtypes.promote(zero, kind.dtype)
        else:
            d = number_dtype(arg)
            wrapped = d if wrapped is None else dtypes.promote(wrapped, d)
    return _combine(dim, _combine(zero, wrapped))


def broadcast_shapes(*shapes: Sequence[int]) -> tuple[int, ...]:
    """The shape that all ``shapes`` broadcast to.

    Raises:
        RuntimeError: sizes that are neither equal nor 1, with PyTorch's sentence.
    """
    result = tuple(shapes[0])
    for shape in shapes[1:]:
        if shape == result:
            continue
        ndim = max(len(result), len(shape))
        a = (1,) * (ndim - len(result)) + result
        b = (1,) * (ndim - len(shape)) + tuple(shape)
        merged = []
        for axis, (m, n) in enumerate(zip(a, b)):
            if m != n and m != 1 and n != 1:
                raise RuntimeError(
                    f"The size of tensor a ({m}) must match the size of tensor b ({n}) at non-singleton dimension "
                    f"{axis}"
                )
            merged.append(n if m == 1 else m)
        result = tuple(merged)
    return result


def wrapped_integer(value: int, dtype: DType) -> int:
    """An integer as the dtype holds it; PyTorch wraps around below 64 bits.

    Raises:
        OverflowError: it does not fit 64 bits.
    """
    if not -(2**63) <= value < 2**64:
        raise OverflowError("int too big to convert")
    bits = 8 * dtype.itemsize
    value &= (1 << bits) - 1
    return value - (1 << bits) if dtype.is_signed and value >> (bits - 1) else value


def scalar_node(value: float, type: TensorType) -> Node:
    """A Python number as a value of a type: an argument of the kernel, not part of the program."""
    dtype = type.dtype
    if dtype.kind == COMPLEX:
        part = tensor_type(type.shape, dtype.part, type.device)
        if not isinstance(value, complex):
            return p.cast(scalar_node(value, part), params=(dtype,))
        return p.complex_(scalar_node(value.real, part), scalar_node(value.imag, part))
    if isinstance(value, complex):
        raise RuntimeError(
            f"value cannot be converted to type {dtype.scalar_name.lower()} without overflow"
        )
    if dtype.kind == FLOATING:
        # a subclass of float stays what it is: a compiled function reads such numbers anew at every call
        value = value if isinstance(value, float) else float(value)
    elif dtype.kind == dtypes.BOOL:
        value = bool(value)
    elif value.__class__ is int or not isinstance(value, int):
        value = wrapped_integer(int(value), dtype)
    return Node(p.scalar, (), (type.shape, dtype, type.device), type, value)


def common_device(types: Sequence[TensorType]) -> str:
    """The device of all operands; a 0-dim tensor on the CPU goes where the others are.

    Raises:
        RuntimeError: tensors on different devices, with PyTorch's sentence.
    """
    placed = [t for t in types if t.ndim or t.device != "cpu"] or types
    same_device(placed)
    return placed[0].device


def _operands(args: tuple, dtype: DType) -> tuple[Node, ...]:
    nodes = [node_of(a) if isinstance(a, Tensor) else a for a in args]
    types = [n.type for n in nodes if isinstance(n, Node)]
    full = tensor_type(broadcast_shapes(*[t.shape for t in types]), dtype, common_device(types))
    return tuple([_brought(node, full) if isinstance(node, Node) else scalar_node(node, full) for node in nodes])


# The steps that bring an operand of one type to another, as (operation, parameters, type).
_STEPS: dict[tuple[TensorType, TensorType], tuple] = {}


def _brought(node: Node, full: TensorType) -> Node:
    """``node`` converted and broadcast to a type."""
    type = node.type
    if type is full:
        return node
    if type.device != full.device:
        same_device((full, type) if type.ndim else ())
        return _brought(moved(node, full.device), full)
    steps = _STEPS.get((type, full))
    if steps is None:
        made = s.broadcast_to(s.converted(node, full.dtype), full.shape)
        found, at = [], made
        while at is not node:
            found.append((at.op, at.params, at.type))
            at = at.src[0]
        remember(_STEPS, (type, full), tuple(reversed(found)))
        return made
    for op, params, type in steps:
        tracked = node.requires_grad and grad_mode.enabled and type.dtype.kind >= FLOATING
        node = Node(op, (node,), params, type, None, tracked)
    return node


def _checked(args: tuple) -> tuple:
    checked, found = [], False
    for arg in args:
        if isinstance(arg, Tensor):
            found = True
        else:
            number = plain_number(arg)
            if number is None:
                raise TypeError(f"expected a Tensor or a number, but got {type(arg).__name__}")
            arg = number
        checked.append(arg)
    if not found:
        raise TypeError("expected at least one Tensor among the operands")
    return tuple(checked)


# For the types of the tensors and the classes of the numbers of an operation: the type of its operands.
_FULL: dict[tuple, TensorType] = {}


def operands(*args: Tensor | float) -> tuple[Node, ...]:
    """Nodes of one dtype and one shape for tensors and numbers, by PyTorch's promotion and broadcasting.

    Raises:
        TypeError: something that is neither a tensor nor a number, or no tensor at all.
        RuntimeError: shapes that do not broadcast, or tensors on different devices.
    """
    parts: list[Any] = []
    key: list[Any] = [_defaults.dtype]
    for arg in args:
        if isinstance(arg, Tensor):
            storage = arg._storage
            arg = arg._node if storage is None or storage.stamp == arg._seen else node_of(arg)
            key.append(arg.type)
        else:
            key.append(arg.__class__)
        parts.append(arg)
    known = _FULL.get(tuple(key))
    if known is None:
        args = _checked(args)
        result = _operands(args, promoted(*args))
        if all(isinstance(part, (Node, float, int)) for part in parts):
            remember(_FULL, tuple(key), result[0].type)
        return result
    return tuple([_brought(x, known) if isinstance(x, Node) else scalar_node(x, known) for x in parts])


def float_operands(*args: Tensor | float) -> tuple[Node, ...]:
    """As :func:`operands`, but integers and bools become the default dtype, as in division."""
    args = _checked(args)
    dtype = promoted(*args)
    return _operands(args, dtype if dtype.kind >= FLOATING else _defaults.dtype)
