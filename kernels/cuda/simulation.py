"""The vocabulary of generated GPU kernels in plain Python, for numba's CUDA simulator.

Each name of ``namespace.py`` with the same meaning, on NumPy scalars of the kernel's dtypes (positions and extents may
be plain integers). Memory is checked: where a GPU would read something else, an index outside the operand raises here.

Read next: ``toolchain.py``, which runs generated source with these names.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable

import numpy as np

from ...compiler.philox import philox_u32

#: Every name that generated source may use besides ``cuda`` and the names of dtypes.
NAMESPACE: dict[str, object] = {"inf": math.inf, "nan": math.nan}

DTYPES = {
    "i8": np.int8, "i16": np.int16, "i32": np.int32, "i64": np.int64, "u8": np.uint8, "u16": np.uint16,
    "u32": np.uint32, "u64": np.uint64, "f32": np.float32, "f64": np.float64, "b8": np.bool_,
}  # fmt: skip


class Address:
    """The address of an array's first element, as a kernel's argument."""

    def __init__(self, array: np.ndarray) -> None:
        if not array.flags.c_contiguous:
            raise ValueError("a kernel's operands are contiguous")
        self.bytes = array.reshape(-1).view(np.uint8) if array.size else np.empty(0, np.uint8)


def _name(function: Callable) -> Callable:
    NAMESPACE[function.__name__.removeprefix("_")] = function
    return function


# Memory ---------------------------------------------------------------------------------------------------------


def _pointer(dtype: type) -> Callable:
    def typed(address: Address) -> np.ndarray:
        # scratch memory may end in the middle of an element
        whole = address.bytes.size // size * size
        return address.bytes[:whole].view(dtype)

    size = np.dtype(dtype).itemsize
    return typed


# The 16-bit floats are bits.
ELEMENTS = DTYPES | {"f16": np.uint16, "bf16": np.uint16}
for _code, _dtype in ELEMENTS.items():
    NAMESPACE[f"pointer_{_code}"] = _pointer(_dtype)


@_name
def load(pointer: np.ndarray, index):
    if not 0 <= index < pointer.size:
        raise IndexError(f"element {index} of an operand of {pointer.size} is read")
    return pointer[index]


NAMESPACE["load_constant"] = load


@_name
def store(pointer: np.ndarray, index, value) -> None:
    if not 0 <= index < pointer.size:
        raise IndexError(f"element {index} of an operand of {pointer.size} is written")
    if not isinstance(value, bool) and np.asarray(value).dtype != pointer.dtype:
        raise TypeError(f"{np.asarray(value).dtype} is stored in an operand of {pointer.dtype}")
    pointer[index] = value


@_name
def fma(x, y, z):
    return type(x)(np.float64(x) * np.float64(y) + np.float64(z))


@_name
def store_if(condition, pointer: np.ndarray, index, value) -> None:
    if condition:
        store(pointer, index, value)


@_name
def wrap_index(index, extent, error: Address | int):
    wrapped = index + extent if index < 0 else index
    if 0 <= wrapped < extent:
        return np.int64(wrapped)
    if not isinstance(error, int):
        words = error.bytes.view(np.int64)
        if not words[0]:
            words[:3] = 1, index, extent
    return np.int64(0)


# Several at a time: what is kept in registers is an array of the thread's own

for _code, _dtype in ELEMENTS.items():
    NAMESPACE[f"registers_{_code}"] = lambda dtype=_dtype: np.zeros(64, dtype)
NAMESPACE["got"], NAMESPACE["put"] = load, store
NAMESPACE["unrolled"] = NAMESPACE["rolled"] = NAMESPACE["branch"] = lambda: None


@_name
def address(x) -> int:
    return int(x) if isinstance(x, np.integer) else x.bytes.ctypes.data


def _check_vector(pointer: np.ndarray, index, count: int) -> None:
    if (pointer.ctypes.data + int(index) * pointer.itemsize) % (count * pointer.itemsize):
        raise ValueError(f"a vector of {count} elements is misaligned at element {index}")


def _vector_load(count: int) -> Callable:
    def load_vector(pointer, index, kept, number):
        _check_vector(pointer, index, count)
        for k in range(count):
            kept[number + k] = load(pointer, index + k)

    return load_vector


def _vector_store(count: int) -> Callable:
    def store_vector(pointer, index, kept, number):
        _check_vector(pointer, index, count)
        for k in range(count):
            store(pointer, index + k, kept[number + k])

    return store_vector


for _count in (2, 4, 8, 16):
    NAMESPACE[f"load_{_count}"] = NAMESPACE[f"load_constant_{_count}"] = _vector_load(_count)
    NAMESPACE[f"store_{_count}"] = _vector_store(_count)

# Threads --------------------------------------------------------------------------------------------------------

#: Executed in the scope of a kernel, whose ``cuda`` the simulator replaces while it runs. Blocks run one after the
#: other, and all threads of a block take part in an exchange.
EXCHANGE = '''
def shuffle(value, distance):
    thread = cuda.threadIdx.x
    exchanged[thread] = value
    cuda.syncthreads()
    found = exchanged[thread ^ int(distance)]
    cuda.syncthreads()
    return found


def shared_array(name, count, dtype):
    # one step, whichever thread comes first: numba's own looks and then makes one, and two threads may do so at once
    return arrays.setdefault(name, empty(count, dtype))
'''

#: Where a kernel asks for shared memory.
SHARED_ARRAY = re.compile(r"(\w+) = cuda\.shared\.array\(")


# Integers -------------------------------------------------------------------------------------------------------


@_name
def iadd(x, y):
    return x + y


@_name
def isub(x, y):
    return x - y


@_name
def imul(x, y):
    return x * y


@_name
def ineg(x):
    return np.negative(x)


@_name
def inot(x):
    return ~x


@_name
def iand(x, y):
    return x & y


@_name
def ior(x, y):
    return x | y


@_name
def ixor(x, y):
    return x ^ y


@_name
def imax(x, y):
    return x if x > y else y


@_name
def imin(x, y):
    return x if x < y else y


@_name
def iabs(x):
    return np.abs(x)


@_name
def isign(x):
    return np.sign(x)


@_name
def udiv(x, y):
    return x // y


def _bits(x) -> int:
    return 8 * x.dtype.itemsize


@_name
def ishl(x, amount):
    return x << amount if 0 <= amount < _bits(x) else type(x)(0)


@_name
def ishr(x, amount):
    return x >> amount if 0 <= amount < _bits(x) else type(x)(-1 if x < 0 else 0)


def _wrapped(value: int, like):
    """A whole number reduced to the width of ``like``."""
    return np.array(value & ((1 << _bits(like)) - 1), f"u{like.dtype.itemsize}").view(like.dtype)[()]


def _divided(x, y, floor: bool) -> tuple[int, int]:
    x, y = int(x), int(y)
    if y == 0:
        return 0, 0
    quotient = x // y if floor or (x < 0) == (y < 0) else -(-x // y)
    return quotient, x - quotient * y


@_name
def idiv_floor(x, y):
    return _wrapped(_divided(x, y, floor=True)[0], x)


@_name
def irem_floor(x, y):
    return _wrapped(_divided(x, y, floor=True)[1], x)


@_name
def idiv_trunc(x, y):
    return _wrapped(_divided(x, y, floor=False)[0], x)


@_name
def irem_trunc(x, y):
    return _wrapped(_divided(x, y, floor=False)[1], x)


@_name
def ipow(x, n):
    base, exponent = int(x), int(n)
    if exponent < 0:
        return _wrapped(base ** (exponent & 1) if base in (1, -1) else 0, x)
    return _wrapped(pow(base, exponent, 1 << _bits(x)), x)


@_name
def philox(counter, key):
    return philox_u32(np.int64(counter), np.int64(key))


# Booleans, selection, conversion ----------------------------------------------------------------------------------


@_name
def band(x, y):
    return bool(x) and bool(y)


@_name
def bor(x, y):
    return bool(x) or bool(y)


@_name
def bxor(x, y):
    return bool(x) != bool(y)


@_name
def bnot(x):
    return not x


@_name
def select(condition, x, y):
    return x if condition else y


@_name
def inside(index, extent):
    return bool(0 <= index < extent)


def _whole(x, bits: int) -> int:
    """A float truncated to a signed integer of so many bits; what does not fit becomes the smallest, as on the CPU."""
    limit = 1 << (bits - 1)
    return int(x) if math.isfinite(x) and -limit <= int(x) < limit else -limit


def _integer(dtype: np.dtype) -> Callable:
    bits = 8 * dtype.itemsize
    through = 64 if dtype.name in ("int64", "uint64", "uint32") else 32
    unsigned = np.dtype(f"u{dtype.itemsize}")

    def convert(x):
        if isinstance(x, (float, np.floating)):
            x = int(x) if dtype.name == "uint64" and 2.0**63 <= x < 2.0**64 else _whole(x, through)
        return np.array(int(x) & ((1 << bits) - 1), unsigned).view(dtype)[()]

    return convert


for _code, _dtype in DTYPES.items():
    NAMESPACE[_code] = _integer(np.dtype(_dtype)) if np.dtype(_dtype).kind in "iu" else _dtype
NAMESPACE["b8"] = bool


def _bitcast(source: type, target: type) -> Callable:
    return lambda x: bool(x) if target is np.bool_ else source(x).view(target)


for _from, _source in ELEMENTS.items():
    for _to, _target in ELEMENTS.items():
        if np.dtype(_source).itemsize == np.dtype(_target).itemsize:
            NAMESPACE[f"bitcast_{_from}_{_to}"] = _bitcast(_source, _target)

@_name
def f16(x):
    return np.float16(x).view(np.uint16)


@_name
def f16_to_f32(x):
    return np.float32(x.view(np.float16))


@_name
def bf16(x):
    if x != x:
        return np.uint16(0x7FC0)
    bits = int(np.float32(x).view(np.uint32))
    return np.uint16((bits + 0x7FFF + (bits >> 16 & 1)) >> 16)


@_name
def bf16_to_f32(x):
    return np.uint32(int(x) << 16).view(np.float32)


# Floating point -------------------------------------------------------------------------------------------------

for _table, _numpy in {
    "sqrt": np.sqrt, "fabs": np.abs, "floor": np.floor, "ceil": np.ceil, "trunc": np.trunc, "rint": np.rint,
    "copysign": np.copysign, "fmod": np.fmod, "exp": np.exp, "exp2": np.exp2, "expm1": np.expm1, "log": np.log,
    "log1p": np.log1p, "log2": np.log2, "log10": np.log10, "sin": np.sin, "cos": np.cos, "tan": np.tan,
    "asin": np.arcsin, "acos": np.arccos, "atan": np.arctan, "atan2": np.arctan2, "sinh": np.sinh, "cosh": np.cosh,
    "tanh": np.tanh, "pow": np.power, "remainder": np.remainder, "floordiv": np.floor_divide,
}.items():  # fmt: skip
    NAMESPACE[_table] = _numpy


def _special(name: str) -> Callable:
    def evaluate(x):
        from scipy import special

        return type(x)(getattr(special, name)(x))

    return evaluate


for _table, _scipy in {
    "erf": "erf", "erfc": "erfc", "erfinv": "erfinv", "lgamma": "gammaln", "digamma": "psi",
}.items():  # fmt: skip
    NAMESPACE[_table] = _special(_scipy)


@_name
def sigmoid(x):
    power = np.exp(-np.abs(x))
    return (power if x < 0 else type(x)(1)) / (type(x)(1) + power)


@_name
def fsign(x):
    return type(x)(int(x > 0) - int(x < 0))


@_name
def fmax(x, y):
    return x + y if x != x or y != y else (x + y if x == y == 0 else max(x, y))


@_name
def fmin(x, y):
    return x + y if x != x or y != y else (-(-x - y) if x == y == 0 else min(x, y))


@_name
def fadd_reassoc(x, y):
    return x + y


@_name
def fmul_reassoc(x, y):
    return x * y


NAMESPACE["fmax_reassoc"], NAMESPACE["fmin_reassoc"] = fmax, fmin
