"""A reader of pickles that runs nothing which a file could choose.

Python's own unpickler imports whatever a pickle names and calls it, so opening a file runs its author's code. This one
interprets the operations itself. A name is looked up in a table that the caller gives, never imported; an object may be
called only if the table says by which function of ours, which checks its arguments; attributes are set on ordered
dictionaries and on objects of classes that the user allowed. Everything else raises ``pickle.UnpicklingError``.

Memory stays in proportion to the file: lengths are checked against what there is to read, and calls that copy a
container (``set(list)``) may copy no more than the file has bytes, or a few operations on one list would fill memory.
Nesting costs no recursion, so depth cannot overflow the stack.

In: bytes of a pickle and a table of names. Out: plain objects. Read next: ``serialization.py``.
"""

from __future__ import annotations

import codecs
from collections import Counter, OrderedDict
from collections.abc import Callable, Mapping
from pickle import UnpicklingError
from typing import IO, Any

# What a dictionary's key or a set's element may be. Hashing nested tuples recurses, and takes time that doubles with
# each level when a tuple holds another one twice.
_SCALAR = (str, bytes, int, float, complex, type(None))
_LONGEST_KEY = 64


def checked_key(key: Any) -> Any:
    """``key`` if hashing it has a bounded cost: a scalar, an object that is hashed by identity, or a flat tuple."""
    if isinstance(key, tuple):
        if len(key) <= _LONGEST_KEY and not any(isinstance(item, tuple | frozenset) for item in key):
            return key
        raise UnpicklingError("a key is a nested tuple, or one of more than 64 elements")
    if isinstance(key, _SCALAR) or type(key).__hash__ is not None and not isinstance(key, frozenset):
        return key
    raise UnpicklingError(f"a key of type {type(key).__name__} cannot be hashed")


class Names:
    """What a pickle may name.

    Attributes:
        objects: the object of each dotted name.
        calls: by object, the function that stands for a call of it; it gets the reader and the arguments.
        trusted: classes and functions that the user allowed, by dotted name; they are called as they are.
    """

    def __init__(self, objects: Mapping[str, Any], calls: Mapping[Any, Callable], trusted: Mapping[str, Any]) -> None:
        self.objects = objects
        self.calls = calls
        self.trusted = trusted
        self._trusted_ids = {id(value) for value in trusted.values()}

    def trusts(self, thing: Any) -> bool:
        return id(thing) in self._trusted_ids


class Reader:
    """Reads one pickle from a stream, which is left behind its end.

    Args:
        stream: a seekable file, such as ``io.BytesIO``, that gives no more bytes than it has.
        names: what the pickle may name.
        persistent_load: gives the object of a persistent id.
        size: how many bytes there are; containers of as many elements may be copied.

    Raises:
        pickle.UnpicklingError: from :meth:`load`; the message says what was found.
    """

    def __init__(self, stream: IO[bytes], names: Names, persistent_load: Callable[[Any], Any], size: int) -> None:
        self.stream = stream
        self.names = names
        self.persistent_load = persistent_load
        self.allowance = size
        self.stack: list[Any] = []
        self.marked: list[list[Any]] = []
        self.memo: dict[int, Any] = {}

    def load(self) -> Any:
        """The object that the pickle holds."""
        import pickletools

        # genops decodes an operation's argument and checks its length; it raises ValueError for whatever is wrong
        try:
            for operation, argument, _ in pickletools.genops(self.stream):
                if operation.name == "STOP":
                    return self.stack.pop()
                step = _STEPS.get(operation.name)
                if step is None:
                    raise UnpicklingError(f"the pickle uses {operation.name}, which no file of tensors needs")
                step(self, argument)
        except UnpicklingError:
            raise
        except IndexError as error:
            raise UnpicklingError("the pickle takes more from its stack than there is") from error
        except (KeyError, ValueError, TypeError, AttributeError, OverflowError) as error:
            raise UnpicklingError(f"the pickle is damaged: {type(error).__name__}: {error}") from error
        raise UnpicklingError("the pickle has no end")

    def copies(self, count: int) -> None:
        """Note that so many elements are copied."""
        self.allowance -= count
        if self.allowance < 0:
            raise UnpicklingError("the pickle would take more memory than a file of its size can need")

    def pop_mark(self) -> list[Any]:
        """The objects since the last mark."""
        if not self.marked:
            raise UnpicklingError("the pickle refers to a mark that is not there")
        items, self.stack = self.stack, self.marked.pop()
        return items

    def find(self, module: Any, name: Any) -> Any:
        """The object of a name in the tables."""
        if module == "__builtin__":
            # what protocol 2 calls it
            module = "builtins"
        full = f"{module}.{name}"
        for table in (self.names.objects, self.names.trusted):
            if full in table:
                return table[full]
        raise UnpicklingError(
            f"Unsupported global: {full:.200} is not among the names that a file may use, and nothing is imported for "
            "a file. If it is a class that you trust, allow it with flamework.serialization.add_safe_globals()."
        )


# ----------------------------------------------------------------------------------------------------------- operations


def _push(reader: Reader, argument: Any) -> None:
    reader.stack.append(argument)


def _push_text(reader: Reader, argument: str) -> None:
    # strings of Python 2 are bytes, which genops decodes one by one
    reader.stack.append(argument.encode("latin-1").decode("utf-8"))


def _constant(value: Any) -> Callable:
    return lambda reader, argument: reader.stack.append(value)


def _made(kind: Callable) -> Callable:
    return lambda reader, argument: reader.stack.append(kind())


def _last(count: int) -> Callable:
    def step(reader: Reader, argument: Any) -> None:
        if len(reader.stack) < count:
            raise IndexError
        reader.stack[-count:] = [tuple(reader.stack[-count:])]

    return step


def _mark(reader: Reader, argument: Any) -> None:
    reader.marked.append(reader.stack)
    reader.stack = []


def _since_mark(kind: Callable) -> Callable:
    def step(reader: Reader, argument: Any) -> None:
        items = reader.pop_mark()
        reader.stack.append(kind(items))

    return step


def _dict_of(items: list[Any]) -> dict:
    result: dict = {}
    _set_all(result, items)
    return result


def _frozenset_of(items: list[Any]) -> frozenset:
    return frozenset(map(checked_key, items))


def _set_all(target: Any, items: list[Any]) -> None:
    if type(target) not in (dict, OrderedDict, Counter):
        raise UnpicklingError(f"the pickle sets an item of an object of type {type(target).__name__}")
    if len(items) % 2:
        raise UnpicklingError("the pickle sets a key without a value")
    for i in range(0, len(items), 2):
        target[checked_key(items[i])] = items[i + 1]


def _list_target(reader: Reader) -> list:
    target = reader.stack[-1]
    if type(target) is not list:
        raise UnpicklingError(f"the pickle appends to an object of type {type(target).__name__}")
    return target


def _append(reader: Reader, argument: Any) -> None:
    value = reader.stack.pop()
    _list_target(reader).append(value)


def _appends(reader: Reader, argument: Any) -> None:
    items = reader.pop_mark()
    _list_target(reader).extend(items)


def _set_item(reader: Reader, argument: Any) -> None:
    value, key = reader.stack.pop(), reader.stack.pop()
    _set_all(reader.stack[-1], [key, value])


def _set_items(reader: Reader, argument: Any) -> None:
    items = reader.pop_mark()
    _set_all(reader.stack[-1], items)


def _add_items(reader: Reader, argument: Any) -> None:
    items = reader.pop_mark()
    target = reader.stack[-1]
    if type(target) is not set:
        raise UnpicklingError(f"the pickle adds elements to an object of type {type(target).__name__}")
    target.update(map(checked_key, items))


def _pop(reader: Reader, argument: Any) -> None:
    if reader.stack:
        reader.stack.pop()
    else:
        reader.pop_mark()


def _pop_mark(reader: Reader, argument: Any) -> None:
    reader.pop_mark()


def _duplicate(reader: Reader, argument: Any) -> None:
    reader.stack.append(reader.stack[-1])


def _get(reader: Reader, argument: int) -> None:
    if argument not in reader.memo:
        raise UnpicklingError(f"the pickle refers to object {argument} of its memo, which is not there")
    reader.stack.append(reader.memo[argument])


def _put(reader: Reader, argument: int) -> None:
    reader.memo[argument] = reader.stack[-1]


def _memoize(reader: Reader, argument: Any) -> None:
    reader.memo[len(reader.memo)] = reader.stack[-1]


def _global(reader: Reader, argument: str) -> None:
    module, _, name = argument.partition(" ")
    reader.stack.append(reader.find(module, name))


def _stack_global(reader: Reader, argument: Any) -> None:
    name, module = reader.stack.pop(), reader.stack.pop()
    if type(name) is not str or type(module) is not str:
        raise UnpicklingError("the pickle names a global by something that is no text")
    reader.stack.append(reader.find(module, name))


def _popped_arguments(reader: Reader) -> tuple:
    arguments = reader.stack.pop()
    if type(arguments) is not tuple:
        raise UnpicklingError(f"the pickle calls something with arguments of type {type(arguments).__name__}")
    return arguments


def _reduce(reader: Reader, argument: Any) -> None:
    arguments = _popped_arguments(reader)
    function = reader.stack.pop()
    names = reader.names
    if names.trusts(function):
        reader.stack.append(function(*arguments))
        return
    call = names.calls.get(function) if callable(function) and type(function).__hash__ is not None else None
    if call is None:
        raise UnpicklingError(f"the pickle calls {_described(function)}, which a file may not call")
    reader.stack.append(call(reader, *arguments))


def _new_object(reader: Reader, argument: Any) -> None:
    arguments = _popped_arguments(reader)
    kind = reader.stack.pop()
    if not isinstance(kind, type) or not reader.names.trusts(kind):
        raise UnpicklingError(f"the pickle makes an object of {_described(kind)}, which a file may not make")
    reader.stack.append(kind.__new__(kind, *arguments))


def _build(reader: Reader, argument: Any) -> None:
    state = reader.stack.pop()
    target = reader.stack[-1]
    if type(target) is OrderedDict:
        set_attributes(reader, target, state)
        return
    if not reader.names.trusts(type(target)):
        raise UnpicklingError(f"the pickle sets the state of {_described(target)}, which a file may not set")
    restore = getattr(target, "__setstate__", None)
    if restore is not None:
        restore(state)
        return
    slots = None
    if isinstance(state, tuple) and len(state) == 2:
        state, slots = state
    if state:
        target.__dict__.update(state)
    for name, value in (slots or {}).items():
        setattr(target, name, value)


def set_attributes(reader: Reader, target: Any, state: Any) -> None:
    """Set the attributes that a pickle gives an object; none of them may hide one of its class."""
    if type(state) is not dict:
        raise UnpicklingError(f"the pickle sets attributes from an object of type {type(state).__name__}")
    reader.copies(len(state))
    for name, value in state.items():
        if type(name) is not str or hasattr(type(target), name):
            raise UnpicklingError(f"the pickle sets the attribute {name!r:.80} of a {type(target).__name__}")
        target.__dict__[name] = value


def _persistent(reader: Reader, argument: Any) -> None:
    reader.stack.append(reader.persistent_load(reader.stack.pop()))


def _described(thing: Any) -> str:
    return getattr(thing, "__qualname__", None) or f"an object of type {type(thing).__name__}"


_STEPS: dict[str, Callable[[Reader, Any], None]] = {
    **dict.fromkeys(("PROTO", "FRAME"), lambda reader, argument: None),
    **dict.fromkeys(
        ("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT", "UNICODE", "BINUNICODE",
         "SHORT_BINUNICODE", "BINUNICODE8", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8"), _push,
    ),
    **dict.fromkeys(("STRING", "BINSTRING", "SHORT_BINSTRING"), _push_text),
    **dict.fromkeys(("GET", "BINGET", "LONG_BINGET"), _get),
    **dict.fromkeys(("PUT", "BINPUT", "LONG_BINPUT"), _put),
    "NONE": _constant(None), "NEWTRUE": _constant(True), "NEWFALSE": _constant(False),
    "EMPTY_LIST": _made(list), "EMPTY_DICT": _made(dict), "EMPTY_SET": _made(set), "EMPTY_TUPLE": _made(tuple),
    "MARK": _mark, "LIST": _since_mark(list), "TUPLE": _since_mark(tuple), "DICT": _since_mark(_dict_of),
    "FROZENSET": _since_mark(_frozenset_of), "TUPLE1": _last(1), "TUPLE2": _last(2), "TUPLE3": _last(3),
    "APPEND": _append, "APPENDS": _appends, "SETITEM": _set_item, "SETITEMS": _set_items, "ADDITEMS": _add_items,
    "POP": _pop, "POP_MARK": _pop_mark, "DUP": _duplicate, "MEMOIZE": _memoize, "GLOBAL": _global,
    "STACK_GLOBAL": _stack_global, "REDUCE": _reduce, "NEWOBJ": _new_object, "BUILD": _build, "BINPERSID": _persistent,
}


# ------------------------------------------------------------------------------------------------------- Python's names


def _ordered_dict(reader: Reader, pairs: Any = ()) -> OrderedDict:
    result: OrderedDict = OrderedDict()
    if type(pairs) not in (list, tuple):
        raise UnpicklingError(f"an OrderedDict is made of an object of type {type(pairs).__name__}")
    reader.copies(len(pairs))
    for key, value in pairs:
        result[checked_key(key)] = value
    return result


def _counter(reader: Reader, counts: dict | None = None) -> Counter:
    result: Counter = Counter()
    if counts is not None:
        if type(counts) is not dict:
            raise UnpicklingError(f"a Counter is made of an object of type {type(counts).__name__}")
        reader.copies(len(counts))
        _set_all(result, [part for pair in counts.items() for part in pair])
    return result


def _set(reader: Reader, items: list | tuple = ()) -> set:
    if type(items) not in (list, tuple):
        raise UnpicklingError(f"a set is made of an object of type {type(items).__name__}")
    reader.copies(len(items))
    return set(map(checked_key, items))


def _frozenset(reader: Reader, items: list | tuple = ()) -> frozenset:
    return frozenset(_set(reader, items))


def _encode(reader: Reader, text: str, encoding: str = "latin1") -> bytes:
    # how protocol 2 writes bytes
    if type(text) is not str or type(encoding) is not str or encoding not in ("latin1", "latin-1"):
        raise UnpicklingError("bytes are not given as Latin-1 text")
    reader.copies(len(text))
    return text.encode("latin-1")


def _bytearray(reader: Reader, data: bytes | str = b"", encoding: str = "latin-1") -> bytearray:
    if type(data) is str:
        data = _encode(reader, data, encoding)
    if type(data) is not bytes:
        # of a number it would be so many zeros
        raise UnpicklingError(f"a bytearray is made of an object of type {type(data).__name__}")
    reader.copies(len(data))
    return bytearray(data)


def _complex(reader: Reader, real: float, imag: float) -> complex:
    if not isinstance(real, int | float) or not isinstance(imag, int | float):
        raise UnpicklingError("a complex number is not made of two numbers")
    return complex(real, imag)


# By dotted name, the object and the function that stands for a call of it.
PYTHON_NAMES: dict[str, tuple[Any, Callable]] = {
    "collections.OrderedDict": (OrderedDict, _ordered_dict),
    "collections.Counter": (Counter, _counter),
    "builtins.set": (set, _set),
    "builtins.frozenset": (frozenset, _frozenset),
    "builtins.bytes": (bytes, lambda reader: b""),
    "builtins.bytearray": (bytearray, _bytearray),
    "builtins.complex": (complex, _complex),
    "_codecs.encode": (codecs.encode, _encode),
}
