"""Python's operators on tensors, written for speed: most of a program's recording happens here.

For each operator there is a slow path that knows every rule (promotion, broadcasting, errors) and a fast path for what
comes most: two plain tensors of one type, or a tensor and a Python number which does not change its dtype. The slow
path remembers in a dictionary for which types the fast one may answer; the fast one makes one node and one tensor and
calls nothing else.

In: two operands. Out: a new tensor, or for ``+=`` and its kin the same tensor with a new value. Read next:
``views.py``, then ``mutation.py``.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable

from numpy import ndarray

from .arguments import term_last
from .compiler import primitives as p, primitives_shape as s
from .compiler.autodiff import note_write
from .compiler.dtypes import BOOL, COMPLEX, FLOATING, INTEGER, DType, bool_, int64
from .compiler.ir import Node, TensorType, grad_mode
from .compiler.primitives import Primitive, Undefined, remember
from .formulas_complex import absolute, power as complex_power
from .levels import active
from .memory_order import arranged_like, is_plain
from .mutation import assign, original
from .origin import with_line
from .recording import (
    _pending_tensors,
    float_operands,
    from_array,
    node_of,
    operands,
    pending,
    plain_number,
    promoted,
    tensor_of,
)
from .tensor import SparseOperand, Tensor, method, sparse_call

_new = Tensor.__new__
_new_node = Node.__new__
_ref = weakref.ref
_input = p.scalar


NO_BOOL_DIFFERENCE = (
    "Subtraction, the `-` operator, with two bool tensors is not supported. "
    "Use the `^` or `logical_xor()` operator instead."
)


def _no_bools(args: tuple) -> None:
    kinds = [a.dtype is bool_ if isinstance(a, Tensor) else isinstance(a, bool) for a in args]
    if all(kinds):
        raise RuntimeError(NO_BOOL_DIFFERENCE)
    if any(kinds):
        raise RuntimeError(
            "Subtraction, the `-` operator, with a bool tensor is not supported. "
            "If you are trying to invert a mask, use the `~` or `logical_not()` operator instead."
        )


def _no_floats(name: str) -> Callable[[tuple], None]:
    def check(args: tuple) -> None:
        dtype = promoted(*args)
        if dtype.kind >= FLOATING:
            raise RuntimeError(f"\"{name}\" not implemented for '{dtype.scalar_name}'")

    return check


def _not_bool(name: str) -> Callable[[tuple], None]:
    def check(args: tuple) -> None:
        if promoted(*args) is bool_:
            raise Undefined(f"\"{name}\" not implemented for 'Bool'")

    return check


def _divides(name: str) -> Callable[[tuple], None]:
    bools = _not_bool(name)

    def check(args: tuple) -> None:
        bools(args)
        if not isinstance(args[1], Tensor) and args[1] == 0 and promoted(*args).kind < FLOATING and args[0].numel():
            raise RuntimeError("ZeroDivisionError")

    return check


def _not_bool_no_floats(name: str) -> Callable[[tuple], None]:
    floats, bools = _no_floats(name), _not_bool(name)

    def check(args: tuple) -> None:
        floats(args)
        bools(args)

    return check


def whole_operands(a: Tensor | float, b: Tensor | float) -> tuple[Node, Node]:
    """Operands of a division without rounding; a zero among the divisors of integers is reported when it runs."""
    x, y = operands(a, b)
    if isinstance(b, Tensor) and y.type.dtype.kind == INTEGER:
        index = s.converted(y, int64)
        zero = p.full_like(index, 0)
        report = p.where(p.eq(index, zero), p.full_like(index, p.DIVISION_BY_ZERO), zero)
        # the report's value is 0 in any case
        y = p.add(y, s.converted(with_line(p.wrap_index(report, p.full_like(index, 1))), y.type.dtype))
    return x, y


class Operator:
    """One binary operator: its row, how operands are converted, and what has been learned about types.

    Attributes:
        row: the row that it records.
        swapped: whether the row takes the operands in the opposite order (``a > b`` is ``b < a``).
        convert: ``operands`` or ``float_operands``.
        check: raises for operands that the operator refuses.
        any_integer: whether every integer is accepted as an operand, a number or an element (division refuses zero).
        same: result type for two operands of one type, where no conversion is needed.
        number: for a tensor type the parameters of the scalar leaf and the result type, where a Python number of a
            kind that is not higher than the tensor's takes on its dtype.
    """

    __slots__ = ("row", "swapped", "convert", "check", "any_integer", "same", "number")

    def __init__(self, row: Primitive, *, swapped=False, convert=operands, check=None, any_integer=True) -> None:
        self.row = row
        self.swapped = swapped
        self.convert = convert
        self.check = check
        self.any_integer = any_integer
        self.same: dict[TensorType, TensorType] = {}
        self.number: dict[TensorType, tuple[tuple, TensorType]] = {}

    def node(self, a: Tensor | float, b: Tensor | float) -> Node:
        """The general case; teaches the fast path."""
        a = a if isinstance(a, Tensor) else plain_number(a)
        b = b if isinstance(b, Tensor) else plain_number(b)
        if self.check is not None:
            self.check((a, b))
        x, y = self.convert(a, b)
        node = self.row(y, x) if self.swapped else self.row(x, y)
        if x.type is y.type:
            for operand, other, converted in ((a, b, x), (b, a, y)):
                if isinstance(operand, Tensor) and operand._node.type is converted.type:
                    if isinstance(other, Tensor):
                        learned = self.any_integer or converted.type.dtype.kind == FLOATING
                        if learned and other._node.type is converted.type:
                            remember(self.same, x.type, node.type)
                    elif converted.type.dtype.kind == FLOATING or (converted.type.dtype is int64 and self.any_integer):
                        kind = converted.type
                        remember(self.number, kind, ((kind.shape, kind.dtype, kind.device), node.type))
        return node


def _operand(value: object) -> bool:
    return isinstance(value, Tensor) or plain_number(value) is not None


def forward(operator: Operator, name: str) -> Callable:
    """The method ``a <op> b``."""
    row, swapped, same, number = operator.row, operator.swapped, operator.same, operator.number
    differentiable = row.vjp is not None

    def method(self, other):
        # The attributes of nodes and tensors are set here: calls of their constructors take a third of the time.
        own = self._storage
        if own is None or own.stamp == self._seen:
            a = self._node
            kind = a.type
            node = storage = None
            if isinstance(other, Tensor):
                storage = other._storage
                if storage is None or storage.stamp == other._seen:
                    b = other._node
                    if b.type is kind:
                        result = same.get(kind)
                        if result is not None:
                            node = _new_node(Node)
                            node.requires_grad = (
                                differentiable and (a.requires_grad or b.requires_grad) and grad_mode.enabled
                            )
            else:
                cls = other.__class__
                if cls is float or cls is int:
                    found = number.get(kind)
                    if found is not None and (
                        kind.dtype.kind == FLOATING
                        or (cls is int and -0x8000000000000000 <= other < 0x8000000000000000)
                    ):
                        params, result = found
                        b = Node(_input, (), params, kind, float(other) if kind.dtype.kind == FLOATING else other)
                        node = _new_node(Node)
                        node.requires_grad = differentiable and a.requires_grad and grad_mode.enabled
            if node is not None:
                node.op = row
                node.src = (b, a) if swapped else (a, b)
                node.params = ()
                node.type = result
                node.value = node.mark = None
                tensor = _new(Tensor)
                tensor._node = node
                tensor._storage = tensor._meta = None
                tensor._seen = 0
                _pending_tensors.append(_ref(tensor))
                if len(_pending_tensors) > pending.limit:
                    pending.flush()
                if (own is None or is_plain(self)) and (storage is None or is_plain(other)):
                    return tensor
                return arranged_like(tensor, (self, other))
        if not _operand(other):
            return compared(operator, self, other) if isinstance(other, ndarray) else NotImplemented
        return arranged_like(tensor_of(operator.node(self, other)), (self, other))

    method.__name__ = method.__qualname__ = name
    return method


def compared(operator: Operator, tensor: Tensor, array: ndarray) -> Tensor:
    """``==`` and ``!=`` of a tensor and an array, element by element; NotImplemented for another operator.

    NumPy leaves these two to the tensor, and Python would compare the two objects.
    """
    if operator.row not in (p.eq, p.ne):
        return NotImplemented
    try:
        other = from_array(array.copy(), str(tensor.device))
    except TypeError:
        return NotImplemented
    return tensor_of(operator.node(tensor, other))


def reflected(operator: Operator, name: str) -> Callable:
    """The method behind ``number <op> tensor``."""
    row, number = operator.row, operator.number
    differentiable = row.vjp is not None

    def method(self, other):
        storage = self._storage
        if storage is None or storage.stamp == self._seen:
            a = self._node
            kind = a.type
            cls = other.__class__
            if (cls is float or cls is int) and kind.dtype.kind == FLOATING:
                found = number.get(kind)
                if found is not None:
                    b = Node(_input, (), found[0], kind, float(other))
                    made = tensor_of(
                        Node(
                            row, (b, a), (), found[1], None, differentiable and a.requires_grad and grad_mode.enabled
                        )
                    )
                    return made if storage is None else arranged_like(made, (self,))
        if not _operand(other):
            divides = row is p.div and isinstance(other, ndarray)
            # NumPy multiplies, and gives a tensor back
            return self.reciprocal() * other if divides else NotImplemented
        return arranged_like(tensor_of(operator.node(other, self)), (self, other))

    method.__name__ = method.__qualname__ = name
    return method


def in_place(operator: Operator, name: str) -> Callable:
    """The method behind ``a <op>= b``."""
    row, same, number = operator.row, operator.same, operator.number
    reverse = name.replace("__i", "__r")

    def method(self, other):
        try:
            own = self._storage
            a = self._node if own is None or own.stamp == self._seen else node_of(self)
            kind = a.type
            cls = other.__class__
            b = None
            if cls is float or cls is int:
                found = number.get(kind)
                if found is not None and found[1] is kind and kind.dtype.kind == FLOATING:
                    b = Node(_input, (), found[0], kind, float(other))
            elif isinstance(other, Tensor) and same.get(kind) is kind:
                storage = other._storage
                b = other._node if storage is None or storage.stamp == other._seen else node_of(other)
                if b.type is not kind:
                    b = None
            if b is not None and not (grad_mode.enabled and (a.requires_grad or b.requires_grad)):
                node = Node(row, (a, b), (), kind)
                if own is not None or a.requires_grad or active:
                    return assign(self, node)
                note_write(a, node, self._seen)
                self._node = node
                self._seen += 1
                _pending_tensors.append(_ref(self))
                if len(_pending_tensors) > pending.limit:
                    pending.flush()
                return self
            if not _operand(other):
                return NotImplemented
            return assign(self, operator.node(original(self, other), other))
        except SparseOperand:
            # a dense and a sparse tensor
            return assign(self, node_of(getattr(other, reverse)(self).to_dense()))

    method.__name__ = method.__qualname__ = name
    return method


OPERATORS = {
    "add": Operator(p.add),
    "sub": Operator(p.sub, check=_no_bools),
    "mul": Operator(p.mul),
    "truediv": Operator(p.div, convert=float_operands),
    "floordiv": Operator(p.floordiv, convert=whole_operands, check=_divides("div_floor_cpu"), any_integer=False),
    "mod": Operator(p.rem, convert=whole_operands, check=_divides("remainder_cpu"), any_integer=False),
    "and": Operator(p.band, check=_no_floats("bitwise_and_cpu")),
    "or": Operator(p.bor, check=_no_floats("bitwise_or_cpu")),
    "xor": Operator(p.bxor, check=_no_floats("bitwise_xor_cpu")),
    "lshift": Operator(p.shl, check=_not_bool_no_floats("lshift_cpu")),
    "rshift": Operator(p.shr, check=_not_bool_no_floats("rshift_cpu")),
    "eq": Operator(p.eq),
    "ne": Operator(p.ne),
    "lt": Operator(p.lt),
    "le": Operator(p.le),
    "gt": Operator(p.lt, swapped=True),
    "ge": Operator(p.le, swapped=True),
}
COMPARISONS = ("eq", "ne", "lt", "le", "gt", "ge")

for _name, _operator in OPERATORS.items():
    setattr(Tensor, f"__{_name}__", forward(_operator, f"__{_name}__"))
    if _name not in COMPARISONS:
        setattr(Tensor, f"__r{_name}__", reflected(_operator, f"__r{_name}__"))
        setattr(Tensor, f"__i{_name}__", in_place(_operator, f"__i{_name}__"))

# ---------------------------------------------------------------------------------------------------- in-place methods


def _named(name: str, fast: Callable, scaled: Operator | None) -> Callable:
    def method(self, other, *rest, alpha=1):
        if rest:
            other, alpha = term_last(name, other, rest)
        if alpha == 1 and alpha is not True:
            result = fast(self, other)
        elif isinstance(other, Tensor) and other.is_sparse:
            result = assign(self, node_of(sparse_call(name[:-1], (self, other), {"alpha": alpha})))
        else:
            check_alpha(promoted(self, other), alpha)
            # a bool times a bool is one, as it is for tensors
            term = bool(other and alpha) if isinstance(other, bool) and isinstance(alpha, bool) else other * alpha
            result = assign(self, scaled.node(original(self, other), term))
        if result is NotImplemented:
            raise TypeError(f"{name}(): argument 'other' (position 1) must be Tensor, not {type(other).__name__}")
        return result

    method.__name__ = method.__qualname__ = name
    return method


def check_alpha(dtype: DType, alpha: float) -> None:
    """Look at the ``alpha`` of ``add`` and ``sub``.

    Raises:
        RuntimeError: a fractional one for integers, or a bool for what is no bool.
    """
    if isinstance(alpha, bool) and dtype.kind != BOOL:
        raise RuntimeError("Boolean alpha only supported for Boolean results.")
    if dtype.kind < FLOATING and isinstance(alpha, float):
        raise RuntimeError("For integral input tensors, argument alpha must not be a floating point number.")


Tensor.add_ = _named("add_", Tensor.__iadd__, OPERATORS["add"])
Tensor.sub_ = Tensor.subtract_ = _named("sub_", Tensor.__isub__, OPERATORS["sub"])


@method
def mul_(self: Tensor, other: Tensor | float) -> Tensor:
    """Multiply in place; as ``Tensor.mul_``."""
    result = self.__imul__(other)
    if result is NotImplemented:
        raise TypeError(f"mul_(): argument 'other' (position 1) must be Tensor, not {type(other).__name__}")
    return result


@method
def div_(self: Tensor, other: Tensor | float, *, rounding_mode: str | None = None) -> Tensor:
    """Divide in place; ``rounding_mode`` is None, ``"trunc"`` or ``"floor"``. As ``Tensor.div_``."""
    if rounding_mode is None:
        result = self.__itruediv__(other)
        if result is NotImplemented:
            raise TypeError(f"div_(): argument 'other' (position 1) must be Tensor, not {type(other).__name__}")
        return result
    return assign(self, rounded_quotient(original(self, other), other, rounding_mode))


def rounded_quotient(a: Tensor | float, b: Tensor | float, rounding_mode: str) -> Node:
    """The node of ``div(a, b, rounding_mode=...)``: of integers it is exact, of floats it is rounded.

    Raises:
        RuntimeError: the mode is neither ``"trunc"`` nor ``"floor"``.
    """
    if rounding_mode == "floor":
        return OPERATORS["floordiv"].node(a, b)
    if rounding_mode != "trunc":
        raise RuntimeError(
            "div expected rounding_mode to be one of None, 'trunc', or 'floor' but found '" + rounding_mode + "'"
        )
    x, y = whole_operands(a, b)
    if x.type.dtype.kind == FLOATING:
        return p.trunc(p.div(*[s.detach(n) if n.requires_grad else n for n in (x, y)]))
    # (x - fmod(x, y)) / y divides without a remainder, so that flooring it is exact
    return p.floordiv(p.sub(x, p.fmod(x, y)), y)


Tensor.multiply_ = Tensor.mul_
Tensor.divide_ = Tensor.true_divide_ = Tensor.div_

# ------------------------------------------------------------------------------------------------------ powers, unary

# Exponents that need no logarithm; PyTorch takes the same way out for them.
_POWERS: dict[float, Callable[[Node], Node]] = {
    0.5: p.sqrt,
    0: lambda x: p.locally_constant(p.full_like(x, 1), x),
    1: lambda x: s.copy(p.piecewise(x)),
    2: lambda x: p.mul(x, x),
    3: lambda x: p.mul(p.mul(x, x), x),
    -0.5: p.rsqrt,
    -1: p.recip,
    -2: lambda x: p.recip(p.mul(x, x)),
}


def power(base: Tensor | float, exponent: Tensor | float) -> Node:
    """The node of ``base ** exponent``.

    Raises:
        RuntimeError: a negative integer exponent of an integer tensor, or a bool tensor as exponent of bools.
    """
    if isinstance(base, Tensor) and not isinstance(exponent, Tensor):
        number = plain_number(exponent)
        node = node_of(base)
        kind = node.type.dtype.kind
        if kind == INTEGER and isinstance(number, int) and number < 0:
            raise RuntimeError("Integers to negative integer powers are not allowed.")
        static = _POWERS.get(number) if not isinstance(number, bool) else None
        simple = kind == FLOATING or (kind == INTEGER and isinstance(number, int))
        if static is not None and (simple or (kind == COMPLEX and number not in (0.5, -0.5))):
            return static(node)
        if kind == BOOL and isinstance(number, bool):
            return s.copy(node) if number else p.full_like(node, True)
    x, y = operands(base, exponent)
    if x.type.dtype is bool_:
        raise Undefined("\"pow\" not implemented for 'Bool'")
    return complex_power(x, y) if x.type.dtype.kind == COMPLEX else p.pow(x, y)


def _pow(self, exponent, modulo=None):
    if not _operand(exponent) or modulo is not None:
        return NotImplemented
    return tensor_of(power(self, exponent))


def _rpow(self, base):
    return tensor_of(power(base, self)) if _operand(base) else NotImplemented


def _ipow(self, exponent):
    return assign(self, power(original(self, exponent), exponent)) if _operand(exponent) else NotImplemented


Tensor.__pow__, Tensor.__rpow__, Tensor.__ipow__ = _pow, _rpow, _ipow


@method
def __neg__(self: Tensor) -> Tensor:
    if self._node.type.dtype.kind == BOOL:
        raise RuntimeError(
            "Negation, the `-` operator, on a bool tensor is not supported. If you are trying to invert a mask, use "
            "the `~` or `logical_not()` operator instead."
        )
    return tensor_of(p.neg(node_of(self)))


@method
def __pos__(self: Tensor) -> Tensor:
    return self


@method
def __abs__(self: Tensor) -> Tensor:
    if self._node.type.dtype.kind == BOOL:
        raise RuntimeError("\"abs_cpu\" not implemented for 'Bool'")
    node = node_of(self)
    return tensor_of(absolute(node) if node.type.dtype.kind == COMPLEX else p.abs(node))


@method
def __invert__(self: Tensor) -> Tensor:
    if self._node.type.dtype.kind >= FLOATING:
        raise TypeError("~ (operator.invert) is only implemented on integer and Boolean-type tensors")
    return tensor_of(p.bnot(node_of(self)))

