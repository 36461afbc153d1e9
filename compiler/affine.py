"""Index arithmetic: which element of a source an iteration of a loop reads.

A position is an affine expression over loop variables. Movement operations are rewrites of positions
(:func:`pull`): a permutation reorders them, an expansion makes one 0, a slice adds and scales, a reshape merges
and, if it can be done without division, splits them. To split, a loop variable may have to become two
(``i = hi * 4 + lo``); variables remember into what they were split, and :func:`resolve` rewrites older expressions.

Read next: ``fusion.py``, which decides what shares a loop; ``lowering.py``, which turns positions into offsets.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence

from . import primitives_shape as s
from .ir import Node

_ids = itertools.count()


class Var:
    """A loop variable over ``range(extent)``. ``becomes`` is the expression that replaced it, if one has."""

    __slots__ = ("extent", "id", "becomes")

    def __init__(self, extent: int) -> None:
        self.extent = extent
        self.id = next(_ids)
        self.becomes: Expr | None = None

    def key(self) -> int:
        return self.id

    def __repr__(self) -> str:
        return f"v{self.id}<{self.extent}"


class Indirect:
    """A position read from memory: the value of an index node at some position of its own."""

    __slots__ = ("node", "access")
    becomes = None

    def __init__(self, node: Node, access: Access) -> None:
        self.node = node
        self.access = access

    def key(self) -> tuple:
        return (id(self.node), self.access.key())

    def __repr__(self) -> str:
        return f"[{self.node.op.name} at {self.access}]"


class Expr:
    """``const + sum(coefficient * variable)``. Immutable."""

    __slots__ = ("const", "terms", "_key")

    def __init__(self, const: int, terms: dict | None = None) -> None:
        self.const = const
        self.terms = terms or {}
        self._key: tuple | None = None

    def __add__(self, other: Expr) -> Expr:
        terms = dict(self.terms)
        for v, c in other.terms.items():
            c += terms.get(v, 0)
            if c:
                terms[v] = c
            else:
                terms.pop(v, None)
        return Expr(self.const + other.const, terms)

    def __mul__(self, factor: int) -> Expr:
        return Expr(self.const * factor, {v: c * factor for v, c in self.terms.items()}) if factor else ZERO

    def shift(self, amount: int) -> Expr:
        return Expr(self.const + amount, self.terms) if amount else self

    def key(self) -> tuple:
        if self._key is not None:
            return self._key
        key = self.const, frozenset([(v.key(), c) for v, c in self.terms.items()])
        if all(isinstance(v, Var) for v in self.terms):  # the access of an index may be resolved once more
            self._key = key
        return key

    def range(self) -> tuple[int, int] | None:
        """Smallest and largest value, or None where a term is read from memory."""
        low = high = self.const
        for v, c in self.terms.items():
            if not isinstance(v, Var):
                return None
            if c > 0:
                high += c * (v.extent - 1)
            else:
                low += c * (v.extent - 1)
        return low, high

    def __repr__(self) -> str:
        parts = [f"{c}*{v}" if c != 1 else f"{v}" for v, c in self.terms.items()]
        return " + ".join([*parts, str(self.const)] if self.const or not parts else parts)


ZERO = Expr(0)


def of(v: Var) -> Expr:
    return Expr(0, {v: 1}) if v.extent != 1 else ZERO


def resolve(expr: Expr) -> Expr:
    """The expression in terms of variables that have not been replaced."""
    for v in expr.terms:
        if v.becomes is not None:
            break
    else:
        return expr
    total = Expr(expr.const)
    for v, c in expr.terms.items():
        if v.becomes is not None:
            total = total + resolve(v.becomes) * c
        else:
            total = total + Expr(0, {v: c})
    return total


class Guard:
    """An access below a ``pad`` is valid where ``0 <= expr < extent``; elsewhere the padding's value is read."""

    __slots__ = ("expr", "extent", "fill")

    def __init__(self, expr: Expr, extent: int, fill: float) -> None:
        self.expr = expr
        self.extent = extent
        self.fill = fill

    def key(self) -> tuple:
        return (resolve(self.expr).key(), self.extent, self.fill)


class Access:
    """Where a node is read: one position an axis, valid under all guards."""

    __slots__ = ("at", "guards")

    def __init__(self, at: Sequence[Expr], guards: tuple[Guard, ...] = ()) -> None:
        self.at = tuple(at)
        self.guards = guards

    def resolved(self) -> Access:
        for e in self.at:
            for v in e.terms:
                if v.becomes is not None:
                    self.at = tuple([resolve(e) for e in self.at])
                    return self
        return self

    def key(self) -> tuple:
        self.resolved()
        return (tuple(e.key() for e in self.at), tuple(g.key() for g in self.guards))

    def variables(self) -> set[Var]:
        """The loop variables that the access depends on, through indices read from memory too."""
        found: set[Var] = set()
        self.resolved()
        for expr in (*self.at, *(resolve(g.expr) for g in self.guards)):
            for v in expr.terms:
                if isinstance(v, Var):
                    found.add(v)
                else:
                    found |= v.access.variables()
        return found

    def is_indirect(self) -> bool:
        return any(isinstance(v, Indirect) for e in self.resolved().at for v in e.terms)

    def __repr__(self) -> str:
        guards = "".join(f" if 0<={g.expr}<{g.extent}" for g in self.guards)
        return f"[{', '.join(map(str, self.at))}]{guards}"


def strides_of(shape: Sequence[int]) -> tuple[int, ...]:
    """Row-major strides in elements."""
    strides, step = [], 1
    for extent in reversed(shape):
        strides.append(step)
        step *= extent
    return tuple(reversed(strides))


def linear(at: Sequence[Expr], shape: Sequence[int]) -> Expr:
    """The offset of a position in a row-major buffer of that shape."""
    total = ZERO
    for expr, stride in zip(at, strides_of(shape)):
        total = total + expr * stride
    return resolve(total)


def split(v: Var, inner: int) -> tuple[Var, Var]:
    """Replace ``v`` by ``hi * inner + lo``."""
    hi, lo = Var(v.extent // inner), Var(inner)
    v.becomes = of(hi) * inner + of(lo)
    return hi, lo


def spread(position: Expr, shape: Sequence[int]) -> list[Expr] | None:
    """Positions along several axes from the linear position in them, splitting variables where it helps.

    None if that would need a division: a variable crosses the border of an axis at no multiple of it.
    """
    position = resolve(position)
    strides = strides_of(shape)
    pending = list(position.terms.items())
    at: list[dict] = [{} for _ in shape]
    while pending:
        v, c = pending.pop()
        if not isinstance(v, Var) or c < 0:
            return None
        axis = next((a for a, step in enumerate(strides) if step <= c and shape[a] != 1), None)
        if axis is None or c % strides[axis]:
            return None
        limit = strides[axis] * shape[axis]
        if c * v.extent > limit and any(e != 1 for e in shape[:axis]):
            if limit % c or v.extent % (limit // c):
                return None
            hi, lo = split(v, limit // c)
            pending += [(hi, limit), (lo, c)]
            continue
        at[axis][v] = at[axis].get(v, 0) + c // strides[axis]
    rest = position.const
    result = []
    for axis, step in enumerate(strides):
        digit = rest // step
        rest -= digit * step
        expr = resolve(Expr(digit, at[axis]))
        low, high = expr.range()
        if low < 0 or high >= shape[axis]:
            return None
        result.append(expr)
    return result


def reshape_at(at: Sequence[Expr], shape: Sequence[int], target: Sequence[int]) -> list[Expr] | None:
    """Positions in a tensor of shape ``target`` from positions in one of ``shape`` with the same elements in the
    same order. Groups of axes with equal products are handled by themselves, so that an axis which the reshape
    leaves alone may carry any expression."""
    result: list[Expr] = []
    i = j = 0
    while i < len(shape) or j < len(target):
        first, second = i, j
        left = right = 1
        if i < len(shape):
            left, i = shape[i], i + 1
        if j < len(target):
            right, j = target[j], j + 1
        while left != right:
            if left < right and i < len(shape):
                left, i = left * shape[i], i + 1
            elif right < left and j < len(target):
                right, j = right * target[j], j + 1
            elif i < len(shape):
                left, i = left * shape[i], i + 1
            else:
                right, j = right * target[j], j + 1
        group, goal = shape[first:i], target[second:j]
        real = [a for a, extent in enumerate(goal) if extent != 1]
        position = linear(at[first:i], group)
        if len(real) <= 1:
            result += [position if a in real else ZERO for a in range(len(goal))]
            continue
        spread_at = spread(position, goal)
        if spread_at is None:
            return None
        result += spread_at
    return result


def pull(node: Node, access: Access) -> Access | None:
    """The access of a movement (or alias) node's source for an access of the node; None if it needs a division."""
    op, at = node.op, access.at
    if op.kind == "alias":
        return access
    shape = node.src[0].shape
    if op is s.permute:
        return Access([at[a] for a in s.inverse_permutation(node.params)], access.guards)
    if op is s.expand:
        return Access([ZERO if extent == 1 else e for e, extent in zip(at, shape)], access.guards)
    if op is s.slice_:
        starts, steps, _ = node.params
        return Access([(e * d).shift(b) for e, b, d in zip(at, starts, steps)], access.guards)
    if op is s.flip:
        flipped = [
            (e * -1).shift(extent - 1) if a in node.params else e for a, (e, extent) in enumerate(zip(at, shape))
        ]
        return Access(flipped, access.guards)
    if op is s.pad:
        low, high, fill = node.params
        moved = [e.shift(-width) for e, width in zip(at, low)]
        guards = [Guard(e, n, fill) for e, n, a, b in zip(moved, shape, low, high) if a or b]
        return Access(moved, (*access.guards, *guards))
    if op is s.unfold:
        axis, _, step, dilation = node.params
        moved = list(at[:-1])
        moved[axis] = at[axis] * step + at[-1] * dilation
        return Access(moved, access.guards)
    if op is s.as_strided:
        _, strides, offset = node.params
        total = Expr(offset)
        for e, stride in zip(at, strides):
            total = total + e * stride
        return Access([total], access.guards)
    if op is s.reshape:
        moved = reshape_at([resolve(e) for e in at], node.shape, shape)
        return None if moved is None else Access(moved, access.guards)
    raise AssertionError(f"no index rule for {op.name}")


def covers(access: Access, shape: Sequence[int]) -> bool:
    """Whether the access visits every element exactly once as its variables run (a mixed radix position an axis)."""
    if access.guards:
        return False
    seen: set[Var] = set()
    for expr, extent in zip(access.resolved().at, shape):
        if expr.const:
            return False
        reach = 1
        for v, c in sorted(expr.terms.items(), key=lambda term: abs(term[1])):
            if not isinstance(v, Var) or v in seen or c != reach:
                return False
            seen.add(v)
            reach *= v.extent
        if reach != extent:
            return False
    return True


def count(variables: Iterable[Var]) -> int:
    total = 1
    for v in variables:
        total *= v.extent
    return total
