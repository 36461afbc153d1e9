"""Numbers that are read anew at every replay.

A learning rate, the number of an optimizer's steps and a float that a compiled function was given may be others at the
next call of the same program. While a function is recorded they are :class:`LiveNumber`: floats that remember where
they come from. Arithmetic gives another such number, which remembers the expression; a comparison is remembered with
its outcome, as a *condition* under which the recording can serve again; and whoever takes the bare number out of one
(``int(x)``, a NumPy call, a hash) leaves the condition that it must be equal.

Expressions are compiled to one Python function (:func:`compiled_reader`), so that reading all numbers of a training
step costs little more than the arithmetic.

In: places where numbers are kept. Out: numbers, expressions, readers. Read next: ``capture.py``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any


class Expression:
    """How to compute a number again.

    Attributes:
        op: ``argument``, ``item``, ``event`` or an operator of Python.
        args: of an ``argument`` its position; of an ``item`` the container and keys; of an ``event`` the position in
            the sequence of what a replay asks for, and perhaps a component; of an operator expressions and numbers.
    """

    __slots__ = ("op", "args")

    def __init__(self, op: str, *args: Any) -> None:
        self.op = op
        self.args = args


class Conditions:
    """What has to hold for the numbers of another call, collected while a function is recorded."""

    def __init__(self) -> None:
        self.found: list[tuple[Expression, bool]] = []

    def add(self, expression: Expression, outcome: bool) -> None:
        self.found.append((expression, outcome))


# The conditions of the recording that is going on.
current: Conditions | None = None


def _expression(value: Any) -> Any:
    return value.expression if type(value) is LiveNumber else value


def _operation(symbol: str, name: str, reverse: str | None = None) -> tuple[Callable, Callable | None]:
    compute = getattr(float, name)

    def forward(self: LiveNumber, other: Any) -> Any:
        value = compute(self, other) if isinstance(other, (float, int)) else NotImplemented
        if type(value) is not float:
            if value is not NotImplemented:
                self.pin()
            return value
        return LiveNumber(value, Expression(symbol, self.expression, _expression(other)))

    if reverse is None:
        return forward, None
    backwards = getattr(float, reverse)

    def backward(self: LiveNumber, other: Any) -> Any:
        value = backwards(self, other) if isinstance(other, (float, int)) else NotImplemented
        if type(value) is not float:
            if value is not NotImplemented:
                self.pin()
            return value
        return LiveNumber(value, Expression(symbol, _expression(other), self.expression))

    return forward, backward


def _comparison(symbol: str, name: str) -> Callable:
    compute = getattr(float, name)

    def compare(self: LiveNumber, other: Any) -> Any:
        outcome = compute(self, other)
        if outcome is not NotImplemented and current is not None:
            current.add(Expression(symbol, self.expression, _expression(other)), outcome)
        return outcome

    return compare


def _pinned(name: str) -> Callable:
    compute = getattr(float, name)

    def method(self: LiveNumber, *args: Any) -> Any:
        self.pin()
        return compute(self, *args)

    return method


class LiveNumber(float):
    """A Python float that knows how to be read again."""

    __slots__ = ("expression",)

    def __new__(cls, value: float, expression: Expression) -> LiveNumber:
        number = super().__new__(cls, value)
        number.expression = expression
        return number

    def pin(self) -> None:
        """Somebody took the bare number: the recording serves for this one only."""
        if current is not None:
            current.add(Expression("same", self.expression, float.__float__(self)), True)

    __add__, __radd__ = _operation("+", "__add__", "__radd__")
    __sub__, __rsub__ = _operation("-", "__sub__", "__rsub__")
    __mul__, __rmul__ = _operation("*", "__mul__", "__rmul__")
    __truediv__, __rtruediv__ = _operation("/", "__truediv__", "__rtruediv__")
    __floordiv__, __rfloordiv__ = _operation("//", "__floordiv__", "__rfloordiv__")
    __mod__, __rmod__ = _operation("%", "__mod__", "__rmod__")
    __pow__, __rpow__ = _operation("**", "__pow__", "__rpow__")

    def __neg__(self) -> LiveNumber:
        return LiveNumber(float.__neg__(self), Expression("negative", self.expression))

    def __abs__(self) -> LiveNumber:
        return LiveNumber(float.__abs__(self), Expression("absolute", self.expression))

    def __pos__(self) -> LiveNumber:
        return self

    __eq__ = _comparison("==", "__eq__")
    __ne__ = _comparison("!=", "__ne__")
    __lt__ = _comparison("<", "__lt__")
    __le__ = _comparison("<=", "__le__")
    __gt__ = _comparison(">", "__gt__")
    __ge__ = _comparison(">=", "__ge__")

    def __bool__(self) -> bool:
        return self != 0.0

    __hash__ = _pinned("__hash__")
    __int__ = _pinned("__int__")
    __float__ = _pinned("__float__")
    __trunc__ = _pinned("__trunc__")
    __floor__ = _pinned("__floor__")
    __ceil__ = _pinned("__ceil__")
    __round__ = _pinned("__round__")
    __divmod__ = _pinned("__divmod__")
    __rdivmod__ = _pinned("__rdivmod__")
    __repr__ = _pinned("__repr__")
    __str__ = _pinned("__str__")
    __format__ = _pinned("__format__")
    hex = _pinned("hex")
    is_integer = _pinned("is_integer")
    as_integer_ratio = _pinned("as_integer_ratio")
    conjugate = _pinned("conjugate")

    @property
    def real(self) -> float:
        return self.__float__()

    imag = 0.0

    def __reduce__(self) -> tuple:
        return (float, (self.__float__(),))

    def __reduce_ex__(self, protocol: int) -> tuple:
        return self.__reduce__()

    def __copy__(self) -> LiveNumber:
        return self

    def __deepcopy__(self, memo: dict) -> LiveNumber:
        return self

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **options: Any) -> Any:
        plain = [x.__float__() if type(x) is LiveNumber else x for x in inputs]
        return getattr(ufunc, method)(*plain, **options)


class LiveInteger(int):
    """A Python integer that is drawn anew at every replay: the key or the position of a random stream."""

    def __new__(cls, value: int, expression: Expression) -> LiveInteger:
        integer = super().__new__(cls, value)
        integer.expression = expression
        return integer


def is_live(value: Any) -> bool:
    return type(value) is LiveNumber or type(value) is LiveInteger


def plain(value: Any) -> Any:
    """A live number as the number that it is now; anything else as it is. Leaves no condition."""
    if type(value) is LiveNumber:
        return float.__float__(value)
    return int.__int__(value) if type(value) is LiveInteger else value


def depends_on_events(expression: Any) -> bool:
    """Whether a number is known only in the middle of a replay."""
    stack = [expression]
    while stack:
        found = stack.pop()
        if isinstance(found, Expression):
            if found.op == "event":
                return True
            if found.op not in ("argument", "item"):
                stack.extend(found.args)
    return False


class _Reader:
    """Writes the Python function that computes a sequence of expressions, each common part once."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.space: dict[str, Any] = {}
        self.names: dict[Any, str] = {}
        self.texts: dict[str, str] = {}

    def constant(self, value: Any) -> str:
        """A name for an object. Numbers are told apart by type and text: 0.0, -0.0 and False are three."""
        key = (type(value), repr(value)) if isinstance(value, (int, float, str)) else id(value)
        name = self.names.get(key)
        if name is None:
            name = self.names[key] = f"k{len(self.space)}"
            self.space[name] = value
        return name

    def text(self, value: Any) -> str:
        if not isinstance(value, Expression):
            return self.constant(value)
        known = self.names.get(value)
        if known is not None:
            return known
        # iterative, because a schedule may have made a long chain of operations
        stack = [value]
        while stack:
            top = stack[-1]
            if top in self.names:
                stack.pop()
                continue
            waiting = []
            if top.op not in ("argument", "item", "event"):
                waiting = [a for a in top.args if isinstance(a, Expression) and a not in self.names]
            if waiting:
                stack += waiting
                continue
            self.names[top] = self.assigned(self.body(top))
            stack.pop()
        return self.names[value]

    def body(self, e: Expression) -> str:
        if e.op == "argument":
            return f"leaves[{e.args[0]}]"
        if e.op == "item":
            return self.constant(e.args[0]) + "".join(f"[{self.constant(key)}]" for key in e.args[1:])
        if e.op == "event":
            return f"events[{e.args[0]}]" + "".join(f"[{part}]" for part in e.args[1:])
        operands = [self.names[a] if isinstance(a, Expression) else self.constant(a) for a in e.args]
        if e.op == "negative":
            return f"-{operands[0]}"
        if e.op == "absolute":
            return f"abs({operands[0]})"
        if e.op == "same":
            # tells the two zeros apart, and takes NaN for itself
            return f"repr({operands[0]}) == repr({operands[1]})"
        return f"{operands[0]} {e.op} {operands[1]}"

    def assigned(self, text: str) -> str:
        name = self.texts.get(text)
        if name is None:
            name = self.texts[text] = f"t{len(self.texts)}"
            self.lines.append(f"    {name} = {text}")
        return name


def compiled_reader(values: Sequence[Any]) -> Callable[[Sequence[Any], Sequence[Any]], tuple]:
    """A function ``(leaves, events) -> values`` that computes expressions anew; what is no expression stays."""
    reader = _Reader()
    results = "".join(f"{reader.text(value)}, " for value in values)
    source = "\n".join(["def read(leaves, events):", *reader.lines, f"    return ({results})"])
    space = dict(reader.space)
    exec(source, space)
    return space["read"]
