"""Wrong arguments: PyTorch's ``TypeError`` for what has the wrong type, found when something failed.

A function's annotations say what it takes. Nothing looks at them while a program is right: a public function is called
inside of a ``try``, and only an exception compares the arguments with the annotations. If one does not fit, that is
what the user is told. A few functions would compute something from a wrong argument; theirs are compared first
(``STRICT``).

Arithmetic and pointwise functions check their operands themselves, in the conversion that they have to do anyway, and a
call of theirs is too short to put another one around it.

In: the public functions. Out: the same, with errors. Read next: ``__init__.py``, which lists what is public.
"""

from __future__ import annotations

import functools
import inspect
import operator
from collections.abc import Callable, Sequence
from types import CodeType, FunctionType, ModuleType
from typing import Any

import numpy as np

from .compiler.dtypes import BOOL, COMPLEX, INTEGER, OF_PYTHON, DType, meant
from .compiler.primitives import Undefined
from .operators import NO_BOOL_DIFFERENCE
from .results import unfinished
from .tensor import SparseOperand, Tensor, sparse_call

# Functions that take what is no tensor for one, or any object for an int or a bool, without failing.
STRICT = frozenset(
    """
    allclose bincount cholesky cholesky_inverse column_stack combinations cosine_similarity dist dstack flip
    hinge_embedding_loss hstack is_set_to kl_div ldexp lu matrix_power multinomial nonzero pairwise_distance
    poisson_nll_loss qr requires_grad_ resize_ row_stack soft_margin_loss stack svd tile triangular_solve unique
    unique_consecutive vander vstack
    """.split()
)

# Functions that would take a bool for an int.
_NO_BOOLS = frozenset(
    """
    avg_pool1d chunk diag diagonal diff dsplit eye fft hsplit ifft irfft kthvalue linspace logspace max_pool1d narrow
    randint repeat_interleave rfft rot90 split tensor_split topk tril tril_indices triu triu_indices unfold
    vsplit
    """.split()
)

# What is refused for its dtype, though it could be computed: the functions, the kinds of dtype, and PyTorch's error.
_REFUSED: dict[str, dict[int, tuple[type[Exception], str]]] = {}
for _names, _kinds, _error, _text in (
    ("cummax cummin kthvalue", (COMPLEX,), Undefined, "\"{name}_cpu\" not implemented for '{dtype}'"),
    ("bincount kthvalue", (BOOL,), Undefined, "\"{name}_cpu\" not implemented for '{dtype}'"),
    ("median nanmedian", (BOOL,), Undefined, "\"median_cpu\" not implemented for '{dtype}'"),
    ("cumsum_ cumprod_", (BOOL,), Undefined, "\"{name}out_cpu\" not implemented for '{dtype}'"),
    ("topk", (BOOL,), RuntimeError, "topk does not support bool dtypes on CPU"),
    ("trace", (BOOL,), Undefined, "\"trace\" not implemented for '{dtype}'"),
    ("searchsorted", (BOOL,), Undefined, "\"searchsorted_out_cpu\" not implemented for '{dtype}'"),
    ("linear", (BOOL,), Undefined, "\"addmm_impl_cpu_\" not implemented for '{dtype}'"),
    ("max_pool1d_with_indices", (BOOL, COMPLEX), Undefined, "\"max_pool2d\" not implemented for '{dtype}'"),
    ("poisson_nll_loss", (BOOL,), RuntimeError, NO_BOOL_DIFFERENCE),
    ("gradient", (BOOL,), RuntimeError, NO_BOOL_DIFFERENCE),
    ("isin", (BOOL,), RuntimeError, "Unsupported input type encountered for isin(): {dtype}"),
    ("mvlgamma multigammaln", (BOOL,), RuntimeError, "The input tensor may not be a boolean tensor."),
):
    for _name in _names.split():
        _REFUSED.setdefault(_name, {}).update(dict.fromkeys(_kinds, (_error, _text)))

# Their chapters check what they are given.
_UNWRAPPED = ("arithmetic", "comparison", "operators", "pointwise")

# They are called most and check what they are given, or they take any object, or look at its attributes as PyTorch's
# do, which are written in Python.
_ALONE = frozenset(
    """
    affine_grid as_tensor asarray compile copy_ counters embedding_bag explain fill_ fractional_max_pool2d
    fractional_max_pool2d_with_indices fractional_max_pool3d fractional_max_pool3d_with_indices from_dlpack from_numpy
    frombuffer is_storage is_tensor load matmul realize save softmin tensor upsample upsample_bilinear
    upsample_nearest
    """.split()
)

# What an argument may be called as well: by NumPy's names, and by the other one of two that PyTorch has.
_NAMES = {
    "axis": ("dim",), "axis0": ("dim0",), "axis1": ("dim1",), "keepdims": ("keepdim",), "x": ("input",),
    "x1": ("input",), "x2": ("other",), "input": ("A", "x", "self", "values"), "other": ("B",),
    "split_size_or_sections": ("split_size",), "sections": ("indices_or_sections",),
    "indices": ("indices_or_sections",), "test_element": ("test_elements",), "self": ("values", "input"),
    "input2": ("L", "tau"), "input3": ("other",),
}

# Names of what functions take one by one, or as one sequence.
_SIZES = frozenset(("dims", "dtype", "repeats", "shape", "shifts", "size"))

# What a local name of an annotation stands for.
_ALIASES = {
    "Sizes": "int | Sequence[int]", "Dim": "int | Sequence[int] | None", "TensorLike": "Tensor | float",
    "Scalar": "float",
    "Order": "float | str | None", "Tolerance": "Tensor | float | None",
}


def _whole(value: Any) -> bool:
    if isinstance(value, Tensor):
        return value.numel() == 1 and value.dtype.kind == INTEGER
    return hasattr(value, "__index__") and not isinstance(value, bool)


def _number(value: Any) -> bool:
    if isinstance(value, Tensor):
        return value.ndim == 0
    return isinstance(value, (int, float, complex, np.number, np.bool_)) or hasattr(value, "__float__")


def _all(test: Callable[[Any], bool]) -> Callable[[Any], bool]:
    def every(value: Any) -> bool:
        return isinstance(value, Sequence) and not isinstance(value, str) and all(test(v) for v in value)

    return every


def _tensor(value: Any) -> bool:
    return isinstance(value, Tensor)


# For each annotation whether a value is of that type, and what PyTorch calls it.
_TYPES: dict[str, tuple[Callable[[Any], bool], str]] = {
    "Tensor": (_tensor, "Tensor"),
    "Sequence[Tensor]": (_all(_tensor), "tuple of Tensors"),
    "int": (_whole, "int"),
    "Sequence[int]": (_all(_whole), "tuple of ints"),
    "Sequence[int | None]": (_all(lambda v: v is None or _whole(v)), "tuple of ints"),
    "float": (_number, "Number"),
    "Sequence[float]": (_all(_number), "tuple of floats"),
    "bool": (lambda v: isinstance(v, bool), "bool"),
    "str": (lambda v: isinstance(v, str), "str"),
    "DType": (lambda v: isinstance(v, DType), "torch.dtype"),
    "None": (lambda v: v is None, "None"),
}


@functools.cache
def _expected(annotation: str) -> tuple[tuple[Callable[[Any], bool], ...], list[str]] | None:
    """The tests of an annotation, of which one has to hold, and their names; None if it is not understood."""
    for alias, meaning in _ALIASES.items():
        annotation = annotation.replace(alias, meaning) if alias in annotation.split(" | ") else annotation
    # the bar inside of brackets is none between alternatives
    parts = annotation.replace("[int | None]", "[int|None]").split(" | ")
    found = [_TYPES.get(part.replace("|", " | ")) for part in parts]
    if not annotation or None in found:
        return None
    return tuple(test for test, _ in found), [name for _, name in found if name != "None"] or ["None"]


_signature = functools.cache(inspect.signature)


def complaint(
    name: str, function: FunctionType, args: tuple, options: dict[str, Any], is_method: bool
) -> str | None:
    """What is wrong with the types of a call's arguments, in PyTorch's words; None if they fit the annotations."""
    parameters = _signature(function).parameters.values()
    position = -is_method
    given = list(args)
    for parameter in parameters:
        position += 1
        place = position
        if parameter.kind is parameter.VAR_KEYWORD:
            continue
        expected = _expected(str(parameter.annotation)) if parameter.annotation is not parameter.empty else None
        if parameter.kind is parameter.VAR_POSITIONAL:
            values, given = given, []
            if expected is not None and "tuple of ints" in expected[1]:
                if not values and not options:
                    return f'{name}() missing 1 required positional arguments: "{parameter.name}"'
                if len(values) == 1 and not is_method and not _all(_whole)(values[0]) and name in STRICT:
                    return _wrong(name, parameter.name, position, "tuple of ints", values[0])
        elif given and parameter.kind is not parameter.KEYWORD_ONLY:
            values = [given.pop(0)]
        elif parameter.name in options:
            # a name tells which argument is meant
            values, place = [options[parameter.name]], 0
        else:
            continue
        for value in values:
            if expected is not None and value is not parameter.default and not any(test(value) for test in expected[0]):
                return _wrong(name, parameter.name, place, expected[1][-1], value)
    return None


def as_meant(function: FunctionType, args: tuple, options: dict[str, Any]) -> tuple[tuple, dict[str, Any]] | None:
    """A call's arguments in the form that functions compute with; None if they have it already.

    PyTorch takes NumPy's names of arguments, Python's types ``bool``, ``int``, ``float`` and ``complex`` for dtypes,
    a tensor of one integer for an int, and a bool for one wherever a sequence does not begin with it.
    """
    found = _renamed(function, args, options)
    changed = found is not None
    args, options = found or (args, options)
    if any(isinstance(value, type) and value in OF_PYTHON for value in (*args, *options.values())):
        args, options, changed = tuple(map(meant, args)), {name: meant(value) for name, value in options.items()}, True
    if any(map(_stands_for_int, (args, *args, *options.values()))):
        try:
            bound = _signature(function).bind(*args, **options)
        except TypeError:
            return (args, options) if changed else None
        for name, value in bound.arguments.items():
            number = _as_int(bound.signature.parameters[name], value)
            if number is not value:
                bound.arguments[name], changed = number, True
        args, options = bound.args, bound.kwargs
    return (args, options) if changed else None


def _renamed(function: FunctionType, args: tuple, options: dict[str, Any]) -> tuple[tuple, dict[str, Any]] | None:
    """A call's arguments under the names that the function has for them; None if all have them."""
    parameters = _signature(function).parameters
    sizes = next((p.name for p in parameters.values() if p.kind is p.VAR_POSITIONAL), None)
    unknown = [name for name in options if name not in parameters or name == sizes]
    if not unknown or any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
        return None
    given, options = options, dict(options)
    for name in unknown:
        meant = next((n for n in _NAMES.get(name, ()) if n in parameters and n not in options), None)
        if meant is not None:
            options[meant] = options.pop(name)
        elif sizes is not None and name in _SIZES:
            # given by name what comes one by one, and before it what stands before it
            value, before = options.pop(name), list(parameters)[len(args) : list(parameters).index(sizes)]
            args = (*args, *[options.pop(n) for n in before if n in options], value)
    return (args, options) if options.keys() != given.keys() else None


def _stands_for_int(value: Any) -> bool:
    """Whether a value, or an element of a sequence, may be meant as an int though it is none."""
    if isinstance(value, (tuple, list)):
        return any(isinstance(v, Tensor) for v in value) or any(v.__class__ is bool for v in value[1:])
    return isinstance(value, Tensor)


def _as_int(parameter: inspect.Parameter, value: Any) -> Any:
    """What stands for the int, or the ints, that a parameter wants, as these; other values as they are."""
    if isinstance(value, (tuple, list)) and len(value) == 1 and isinstance(value[0], (tuple, list)):
        found = _as_int(parameter, value[0])
        return value if found is value[0] else (found,)
    expected = _expected(str(parameter.annotation)) if _stands_for_int(value) else None
    if expected is None:
        return value
    if isinstance(value, (tuple, list)):
        whole = all(_whole(v) or (place > 0 and v.__class__ is bool) for place, v in enumerate(value))
        return tuple(map(operator.index, value)) if whole and _WHOLE.issuperset(expected[1]) else value
    return int(value) if _whole in expected[0] and _tensor not in expected[0] and _whole(value) else value


_WHOLE = {"int", "tuple of ints"}


def _wrong(function: str, name: str, position: int, expected: str, value: Any) -> str:
    if expected == "tuple of ints" and isinstance(value, (tuple, list)):
        place, element = next((i, v) for i, v in enumerate(value) if not _whole(v))
        found = f", but found element of type {type(element).__name__} at pos {place}"
    else:
        found = f", not {type(value).__name__}"
    where = f" (position {position})" if position > 0 else ""
    return f"{function}(): argument '{name}'{where} must be {expected}{found}"


@functools.cache
def checked(
    name: str, function: FunctionType, is_method: bool, module: str, dtypes_checked: bool = False
) -> FunctionType:
    """The function as the user calls it."""
    bare = inspect.unwrap(function)
    # linalg.norm is another operation than norm, which PyTorch calls linalg_norm
    plain = is_method or module in (__package__, f"{__package__}.nn.functional")
    group = "" if plain else module.rpartition(".")[2] + "_"
    refused = _REFUSED.get(name) or _REFUSED.get(name.rstrip("_"))
    if refused is not None and not dtypes_checked:
        unrefused = checked(name, function, is_method, module, True)

        def public(*args: Any, **options: Any) -> Any:
            given = next((value for value in (*args, *options.values()) if isinstance(value, Tensor)), None)
            if given is None or given.dtype.kind not in refused:
                return unrefused(*args, **options)
            try:
                unrefused(*args, **options)
            except (IndexError, TypeError):
                raise
            except Exception:  # noqa: S110  (what is refused anyway may fail in any way)
                pass
            error, text = refused[given.dtype.kind]
            raise error(text.format(name=name, dtype=given.dtype.scalar_name))

    elif name in STRICT or name.rstrip("_") in STRICT:

        def public(*args: Any, **options: Any) -> Any:
            args, options = as_meant(bare, args, options) or (args, options)
            wrong = complaint(name, bare, args, options, is_method)
            if wrong is not None:
                raise TypeError(wrong)
            try:
                return function(*args, **options)
            except SparseOperand:
                return sparse_call(group + name, args, options)

    else:

        def public(*args: Any, **options: Any) -> Any:
            try:
                return function(*args, **options)
            except SparseOperand:
                return sparse_call(group + name, args, options)
            except Exception as error:
                meant = as_meant(bare, args, options)
                if meant is not None:
                    return public(*meant[0], **meant[1])
                if isinstance(error, TypeError) and ("argument" in str(error) or "expected" in str(error)):
                    # the function has told it already
                    raise
                wrong = complaint(name, bare, args, options, is_method)
                if wrong is None:
                    raise
                raise TypeError(wrong) from None

    if name in _NO_BOOLS:
        unchecked = public

        def public(*args: Any, **options: Any) -> Any:
            if any(value.__class__ is bool for value in args):
                wrong = complaint(name, bare, args, options, is_method)
                if wrong is not None:
                    raise TypeError(wrong)
            return unchecked(*args, **options)

    functools.update_wrapper(public, function)
    # where the name is found, for a pickle
    public.__module__, public.__name__ = module, name
    return public


def _code(function: FunctionType) -> CodeType:
    """What tells a function's arguments: not that of the call which finishes its result."""
    return unfinished(function).__code__


def _is_checked(function: Any, name: str) -> bool:
    return (
        isinstance(function, FunctionType)
        and name not in _ALONE
        and not name.startswith("_")
        and (inspect.unwrap(function).__module__.rpartition(".")[2] not in _UNWRAPPED or name.rstrip("_") in STRICT)
    )


def install(*modules: ModuleType) -> None:
    """Put the functions of modules, and the methods of ``Tensor``, into their checks."""
    for module in modules:
        names = vars(module)
        for name in names.get("__all__") or list(names):
            if _is_checked(names[name], name):
                names[name] = checked(name, names[name], False, module.__name__)
    for name, function in list(vars(Tensor).items()):
        if _is_checked(function, name) and (
            _code(function).co_argcount > 1 or _code(function).co_flags & 4 or name in _REFUSED or name in STRICT
        ):
            setattr(Tensor, name, checked(name, function, True, function.__module__))
