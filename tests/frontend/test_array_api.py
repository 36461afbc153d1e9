"""The array API standard's names and signatures, version 2025.12, and its functions next to NumPy's.

What is different is listed with the reason in ``tests/array_api_failures.txt``, and what is listed has to be different.
"""

import doctest
import importlib
import inspect
import os
import subprocess
import sys
import warnings
from pathlib import Path

import flamework
import numpy as np
import pytest

xp = flamework.ones(1).__array_namespace__()

FAILURES = dict(
    line.split(": ", 1) for line in (Path(__file__).parent.parent / "array_api_failures.txt").read_text().splitlines()
    if line and not line.startswith("#")
)

NAMES = """
__array_api_version__
__array_namespace_info__()
abs(x, /)
acos(x, /)
acosh(x, /)
add(x1, x2, /)
all(x, /, *, axis=None, keepdims=False)
any(x, /, *, axis=None, keepdims=False)
arange(start, /, stop=None, step=1, *, dtype=None, device=None)
argmax(x, /, *, axis=None, keepdims=False)
argmin(x, /, *, axis=None, keepdims=False)
argsort(x, /, *, axis=-1, descending=False, stable=True)
asarray(obj, /, *, dtype=None, device=None, copy=None)
asin(x, /)
asinh(x, /)
astype(x, dtype, /, *, copy=True, device=None)
atan(x, /)
atan2(x1, x2, /)
atanh(x, /)
bitwise_and(x1, x2, /)
bitwise_invert(x, /)
bitwise_left_shift(x1, x2, /)
bitwise_or(x1, x2, /)
bitwise_right_shift(x1, x2, /)
bitwise_xor(x1, x2, /)
bool
broadcast_arrays(*arrays)
broadcast_shapes(*shapes)
broadcast_to(x, /, shape)
can_cast(from_, to, /)
ceil(x, /)
clip(x, /, min=None, max=None)
complex128
complex64
concat(arrays, /, *, axis=0)
conj(x, /)
copysign(x1, x2, /)
cos(x, /)
cosh(x, /)
count_nonzero(x, /, *, axis=None, keepdims=False)
cumulative_prod(x, /, *, axis=None, dtype=None, include_initial=False)
cumulative_sum(x, /, *, axis=None, dtype=None, include_initial=False)
diff(x, /, *, axis=-1, n=1, prepend=None, append=None)
divide(x1, x2, /)
e
empty(shape, *, dtype=None, device=None)
empty_like(x, /, *, dtype=None, device=None)
equal(x1, x2, /)
exp(x, /)
expand_dims(x, /, axis)
expm1(x, /)
eye(n_rows, n_cols=None, /, *, k=0, dtype=None, device=None)
finfo(type, /)
flip(x, /, *, axis=None)
float32
float64
floor(x, /)
floor_divide(x1, x2, /)
from_dlpack(x, /, *, device=None, copy=None)
full(shape, fill_value, *, dtype=None, device=None)
full_like(x, /, fill_value, *, dtype=None, device=None)
greater(x1, x2, /)
greater_equal(x1, x2, /)
hypot(x1, x2, /)
iinfo(type, /)
imag(x, /)
inf
int16
int32
int64
int8
isdtype(dtype, kind)
isfinite(x, /)
isin(x1, x2, /, *, invert=False)
isinf(x, /)
isnan(x, /)
less(x1, x2, /)
less_equal(x1, x2, /)
linspace(start, stop, /, num, *, dtype=None, device=None, endpoint=True)
log(x, /)
log10(x, /)
log1p(x, /)
log2(x, /)
logaddexp(x1, x2, /)
logical_and(x1, x2, /)
logical_not(x, /)
logical_or(x1, x2, /)
logical_xor(x1, x2, /)
matmul(x1, x2, /)
matrix_transpose(x, /)
max(x, /, *, axis=None, keepdims=False)
maximum(x1, x2, /)
mean(x, /, *, axis=None, keepdims=False)
meshgrid(*arrays, indexing='xy')
min(x, /, *, axis=None, keepdims=False)
minimum(x1, x2, /)
moveaxis(x, source, destination, /)
multiply(x1, x2, /)
nan
negative(x, /)
newaxis
nextafter(x1, x2, /)
nonzero(x, /)
not_equal(x1, x2, /)
ones(shape, *, dtype=None, device=None)
ones_like(x, /, *, dtype=None, device=None)
permute_dims(x, /, axes)
pi
positive(x, /)
pow(x1, x2, /)
prod(x, /, *, axis=None, dtype=None, keepdims=False)
real(x, /)
reciprocal(x, /)
remainder(x1, x2, /)
repeat(x, repeats, /, *, axis=None)
reshape(x, /, shape, *, copy=None)
result_type(*arrays_and_dtypes)
roll(x, /, shift, *, axis=None)
round(x, /)
searchsorted(x1, x2, /, *, side='left', sorter=None)
sign(x, /)
signbit(x, /)
sin(x, /)
sinh(x, /)
sort(x, /, *, axis=-1, descending=False, stable=True)
sqrt(x, /)
square(x, /)
squeeze(x, /, axis)
stack(arrays, /, *, axis=0)
std(x, /, *, axis=None, correction=0, keepdims=False)
subtract(x1, x2, /)
sum(x, /, *, axis=None, dtype=None, keepdims=False)
take(x, indices, /, *, axis=None)
take_along_axis(x, indices, /, *, axis=-1)
tan(x, /)
tanh(x, /)
tensordot(x1, x2, /, *, axes=2)
tile(x, repetitions, /)
tril(x, /, *, k=0)
triu(x, /, *, k=0)
trunc(x, /)
uint16
uint32
uint64
uint8
unique_all(x, /)
unique_counts(x, /)
unique_inverse(x, /)
unique_values(x, /)
unstack(x, /, *, axis=0)
var(x, /, *, axis=None, correction=0, keepdims=False)
vecdot(x1, x2, /, *, axis=-1)
where(condition, x1, x2, /)
zeros(shape, *, dtype=None, device=None)
zeros_like(x, /, *, dtype=None, device=None)
linalg.cholesky(x, /, *, upper=False)
linalg.cross(x1, x2, /, *, axis=-1)
linalg.det(x, /)
linalg.diagonal(x, /, *, offset=0)
linalg.eigh(x, /)
linalg.eigvalsh(x, /)
linalg.inv(x, /)
linalg.matmul(x1, x2, /)
linalg.matrix_norm(x, /, *, keepdims=False, ord='fro')
linalg.matrix_power(x, n, /)
linalg.matrix_rank(x, /, *, rtol=None)
linalg.matrix_transpose(x, /)
linalg.outer(x1, x2, /)
linalg.pinv(x, /, *, rtol=None)
linalg.qr(x, /, *, mode='reduced')
linalg.slogdet(x, /)
linalg.solve(x1, x2, /)
linalg.svd(x, /, *, full_matrices=True)
linalg.svdvals(x, /)
linalg.tensordot(x1, x2, /, *, axes=2)
linalg.trace(x, /, *, offset=0, dtype=None)
linalg.vecdot(x1, x2, /, *, axis=-1)
linalg.vector_norm(x, /, *, axis=None, keepdims=False, ord=2)
fft.fftfreq(n, /, *, d=1.0, dtype=None, device=None)
fft.fftn(x, /, *, s=None, axes=None, norm='backward')
fft.fftshift(x, /, *, axes=None)
fft.hfft(x, /, *, n=None, axis=-1, norm='backward')
fft.ifft(x, /, *, n=None, axis=-1, norm='backward')
fft.ifftn(x, /, *, s=None, axes=None, norm='backward')
fft.ifftshift(x, /, *, axes=None)
fft.ihfft(x, /, *, n=None, axis=-1, norm='backward')
fft.irfft(x, /, *, n=None, axis=-1, norm='backward')
fft.irfftn(x, /, *, s=None, axes=None, norm='backward')
fft.rfft(x, /, *, n=None, axis=-1, norm='backward')
fft.rfftfreq(n, /, *, d=1.0, dtype=None, device=None)
fft.rfftn(x, /, *, s=None, axes=None, norm='backward')
"""

# The attributes and methods of arrays. Without __imatmul__, x @= y is x = x @ y.
ATTRIBUTES = """
T device dtype mT ndim shape size __abs__ __add__ __and__ __array_namespace__ __bool__ __complex__ __dlpack__
__dlpack_device__ __eq__ __float__ __floordiv__ __ge__ __getitem__ __gt__ __iadd__ __iand__ __ifloordiv__ __ilshift__
__imod__ __imul__ __index__ __int__ __invert__ __ior__ __ipow__ __irshift__ __isub__ __iter__ __itruediv__
__ixor__ __le__ __lshift__ __lt__ __matmul__ __mod__ __mul__ __ne__ __neg__ __or__ __pos__ __pow__ __radd__ __rand__
__rfloordiv__ __rlshift__ __rmatmul__ __rmod__ __rmul__ __ror__ __rpow__ __rrshift__ __rshift__ __rsub__ __rtruediv__
__rxor__ __setitem__ __sub__ __truediv__ __xor__ to_device
"""


def resolved(namespace, path):
    for part in path.split("."):
        namespace = getattr(namespace, part)
    return namespace


def listed(name, works):
    """Assert that something works, or is listed as what does not."""
    assert works == (name not in FAILURES), FAILURES.get(name, "it works, and is listed as what does not" * works)


def signature(function):
    """Names, kinds and defaults of parameters."""
    return [(p.name, p.kind, p.default) for p in inspect.signature(function).parameters.values()]


@pytest.mark.parametrize("line", NAMES.split("\n")[1:-1])
def test_names_and_signatures(line):
    name, opening, _ = line.partition("(")
    try:
        found = resolved(xp, name)
    except AttributeError:
        listed(name, False)
        return
    wanted = signature(eval(f"lambda {line[len(name) + 1 : -1]}: 0")) if opening else None
    # a name may be followed by more arguments, as long as none has to be given
    listed(name, wanted is None or signature(found)[: len(wanted)] == wanted)


@pytest.mark.parametrize("name", ATTRIBUTES.split())
def test_arrays_have_the_attributes(name):
    x = xp.ones((2, 2))
    found = getattr(x, name, None)
    listed(f"array.{name}", found is not None and callable(found) == (name.startswith("__") or name == "to_device"))


def test_nothing_is_listed_that_no_test_looks_at():
    names = {line.partition("(")[0] for line in NAMES.split("\n")}
    assert set(FAILURES) <= names | {f"array.{name}" for name in ATTRIBUTES.split()} | set(EXPRESSIONS)


def test_the_names_are_those_of_the_standard():
    standard = {line.partition(".")[0].partition("(")[0] for line in NAMES.split("\n")[1:-1]}
    assert set(xp.__all__) <= standard | {"fft", "linalg"}


# Each is evaluated with ``xp`` as our namespace and as NumPy. f and g are float64, h float32, i and j integers, b bool,
# c complex, m a positive definite matrix, s a stack of matrices, v a vector of three, z with NaN and infinities.
EXPRESSIONS = """
xp.abs(f) | xp.abs(c) | xp.abs(i) | xp.acos(f / 9) | xp.acosh(f * f + 1) | xp.add(i, j) | xp.add(f, 2) | xp.add(2, h)
xp.add(i, True * 3) | xp.add(h, 1j) | xp.add(h, f[0, 0]) | xp.add(h[0, 0], f)
xp.multiply(xp.asarray(2, dtype=xp.int64), i32) | xp.asin(f / 9) | xp.asinh(f) | xp.atan(f) | xp.atan2(f, g)
xp.atanh(f / 9) | xp.bitwise_and(i, j) | xp.bitwise_and(b, b) | xp.bitwise_invert(i) | xp.bitwise_invert(b)
xp.bitwise_left_shift(j, 1) | xp.bitwise_or(i, j) | xp.bitwise_xor(i, j) | xp.bitwise_right_shift(i, 1) | xp.ceil(f)
xp.ceil(i) | xp.floor(i) | xp.trunc(i) | xp.round(i) | xp.conj(c) | xp.copysign(f, g) | xp.cos(f) | xp.cosh(f)
xp.divide(f, g) | xp.equal(i, j) | xp.exp(f) | xp.exp(c) | xp.expm1(f) | xp.floor(f) | xp.floor_divide(i, j)
xp.floor_divide(f, g) | xp.greater(f, g) | xp.greater_equal(f, 0.5) | xp.hypot(f, g) | xp.imag(c) | xp.real(c)
xp.isfinite(z) | xp.isinf(z) | xp.isnan(z) | xp.isfinite(i) | xp.less(f, g) | xp.less_equal(i, 1) | xp.log(f * f)
xp.log1p(f * f) | xp.log2(f * f) | xp.log10(f * f) | xp.logaddexp(f, g) | xp.logical_and(b, b) | xp.logical_not(b)
xp.logical_or(b, i > 1) | xp.logical_xor(b, i > 1) | xp.maximum(f, g) | xp.maximum(z, 0.0) | xp.minimum(i, 1)
xp.multiply(f, g) | xp.multiply(c, 2) | xp.negative(i) | xp.not_equal(f, g) | xp.positive(f) | xp.pow(j, 2)
xp.pow(f, 2.0) | xp.pow(2, j) | xp.reciprocal(g) | xp.remainder(i, j) | xp.remainder(f, g) | xp.round(f) | xp.round(c)
xp.sign(f) | xp.sign(c) | xp.sign(i) | xp.signbit(f) | xp.sin(f) | xp.sinh(f) | xp.sqrt(f * f) | xp.square(c)
xp.subtract(f, g) | xp.subtract(3, i) | xp.tan(f) | xp.tanh(f) | xp.trunc(f) | xp.where(b, f, g) | xp.where(b, i, 0)
xp.where(b, h, f) | xp.nextafter(f, g) | xp.nextafter(h, h * 2) | xp.nextafter(z, f[0, 0]) | xp.nextafter(f * 0, g)
xp.nextafter(f, f) | xp.nextafter(f, z[0, :1]) | xp.clip(f, -0.5, 0.5) | xp.clip(i, min=1) | xp.clip(i, None, 2)
xp.clip(f, max=None, min=None) | xp.clip(f, g, None) | xp.clip(z, 0.0, 1.0) | xp.clip(h, -0.5, 0.5)
xp.clip(i32, -1, 2) | xp.arange(5) | xp.arange(2, 7, 2) | xp.arange(5, 0, -2) | xp.arange(3, 1)
xp.arange(0, 1, 0.25, dtype=xp.float64) | xp.arange(5, dtype=xp.int32) | xp.asarray([[1, 2], [3, 4]])
xp.asarray(True) | xp.asarray([1.5], dtype=xp.float32) | xp.asarray(memoryview(b"abc"))
xp.asarray(f, dtype=xp.float32) | xp.asarray(f, copy=True) | xp.empty((2, 0), dtype=xp.int64) | xp.empty_like(f)[:0]
xp.eye(3, dtype=xp.float64) | xp.eye(2, 3, k=1, dtype=xp.int64) | xp.eye(3, 2, k=-2, dtype=xp.int64)
xp.eye(2, k=5, dtype=xp.float64) | xp.full((2, 2), 3) | xp.full(2, True) | xp.full((), 1.5, dtype=xp.float64)
xp.full_like(f, 2) | xp.linspace(0, 1, 5, dtype=xp.float64) | xp.linspace(0, 1, 5, endpoint=False, dtype=xp.float64)
xp.linspace(0, 1j, 3, dtype=xp.complex128) | xp.linspace(1, 2, 1, dtype=xp.float64)
xp.linspace(1, 2, 0, dtype=xp.float64) | xp.meshgrid(v, f[0]) | xp.meshgrid(v, f[0], indexing="ij") | xp.meshgrid(v)
xp.ones((2, 1), dtype=xp.int64) | xp.ones_like(i) | xp.tril(f, k=1) | xp.triu(s, k=-1) | xp.zeros(3, dtype=xp.float64)
xp.zeros_like(f, dtype=xp.int64) | xp.broadcast_arrays(v, f[:, :1]) | xp.broadcast_to(v, (2, 3))
xp.broadcast_shapes((2, 1), (3,)) | xp.concat([f, g]) | xp.concat([f, i], axis=None) | xp.concat([h, f], axis=-1)
xp.expand_dims(f, 0) | xp.expand_dims(f, -1) | xp.expand_dims(f, (0, -1)) | xp.expand_dims(f, axis=3)
xp.expand_dims(f, axis=(1, -3)) | xp.flip(f) | xp.flip(f, axis=-1) | xp.flip(f, axis=(0, 1)) | xp.moveaxis(s, 0, -1)
xp.moveaxis(s, (0, 1), (1, 0)) | xp.permute_dims(s, (2, 0, 1)) | xp.repeat(f, 2) | xp.repeat(f, 2, axis=1)
xp.repeat(v, xp.asarray([1, 0, 2])) | xp.reshape(f, (3, 2)) | xp.reshape(f, (-1,), copy=True)
xp.reshape(f, (6,), copy=False) | xp.reshape(xp.permute_dims(f, (1, 0)), (6,), copy=False) | xp.roll(f, 1)
xp.roll(f, 1, axis=1) | xp.roll(f, (1, 2), axis=(0, 1)) | xp.squeeze(f[:, :1], 1) | xp.squeeze(f, 0)
xp.squeeze(f[:1, :1], (0, 1)) | xp.stack([f, g]) | xp.stack([f, i], axis=-1) | xp.tile(f, (2, 1, 2))
xp.tile(f, (2,)) | xp.unstack(f) | xp.unstack(f, axis=1) | xp.take(f, xp.asarray([1, -1]), axis=1)
xp.take(v, xp.asarray([[2, 0]])) | xp.take_along_axis(f, xp.asarray([[0, 2], [1, -1]]), axis=1)
xp.take_along_axis(f, xp.asarray([[0, 2]])) | xp.astype(f, xp.int64) | xp.astype(i, xp.bool)
xp.astype(c, xp.complex64) | xp.result_type(f, h) | xp.result_type(i, 3) | xp.result_type(h, 1.5)
xp.result_type(h, 1j) | xp.result_type(i32, xp.int64) | xp.result_type(xp.uint8, xp.int8)
xp.can_cast(xp.int32, xp.int64) | xp.can_cast(f, xp.float32) | xp.can_cast(xp.float32, xp.complex64)
xp.can_cast(xp.bool, xp.bool) | xp.can_cast(xp.int8, xp.uint8) | xp.isdtype(xp.float32, "real floating")
xp.isdtype(xp.int8, ("bool", "signed integer")) | xp.isdtype(xp.uint8, "integral")
xp.isdtype(xp.complex64, "numeric") | xp.isdtype(xp.bool, "numeric") | xp.isdtype(xp.bool, xp.bool)
xp.isdtype(xp.int8, "nonsense") | float(xp.finfo(xp.float32).eps) | xp.finfo(xp.complex128).bits
xp.iinfo(xp.int16).max | xp.finfo(xp.float64).dtype | xp.iinfo(xp.uint8).dtype | xp.all(b) | xp.all(b, axis=0)
xp.all(f, axis=(0, 1), keepdims=True) | xp.any(b, axis=-1) | xp.any(s, axis=(0, 2)) | xp.all(b, axis=())
xp.any(f[:0], axis=0) | xp.sum(f) | xp.sum(f, axis=0) | xp.sum(s, axis=(0, 2), keepdims=True) | xp.sum(f, axis=())
xp.sum(i32) | xp.sum(u8) | xp.sum(b) | xp.sum(h) | xp.sum(i, dtype=xp.float64) | xp.sum(f[:0]) | xp.prod(f)
xp.prod(f, axis=1, keepdims=True) | xp.prod(s, axis=(0, -1)) | xp.prod(i32) | xp.prod(u8) | xp.prod(f, axis=())
xp.max(f) | xp.max(z) | xp.max(i, axis=0) | xp.max(s, axis=(0, 1), keepdims=True) | xp.min(f, axis=-1) | xp.min(z)
xp.max(f, axis=()) | xp.mean(f) | xp.mean(s, axis=(0, 2)) | xp.mean(h, axis=0, keepdims=True) | xp.mean(f, axis=())
xp.var(f) | xp.var(s, axis=(0, 1), correction=1) | xp.var(f, axis=(), correction=0) | xp.std(f) | xp.std(h, axis=1)
xp.std(f, axis=0, correction=0.5, keepdims=True) | xp.count_nonzero(f) | xp.count_nonzero(b, axis=0)
xp.count_nonzero(s, axis=(0, 1), keepdims=True) | xp.argmax(f) | xp.argmax(f, axis=1)
xp.argmin(f, axis=0, keepdims=True) | xp.argmax(i, keepdims=True) | xp.cumulative_sum(v)
xp.cumulative_sum(f, axis=1) | xp.cumulative_sum(i32, axis=0) | xp.cumulative_sum(f, axis=0, include_initial=True)
xp.cumulative_sum(f, axis=-1, include_initial=True) | xp.cumulative_prod(v)
xp.cumulative_prod(f, axis=1, include_initial=True) | xp.cumulative_sum(h, axis=0, dtype=xp.float64) | xp.diff(f)
xp.diff(f, axis=0) | xp.diff(v, n=2) | xp.diff(v, prepend=v[:1], append=v[:2]) | xp.sort(f) | xp.sort(f, axis=0)
xp.argsort(i) | xp.argsort(f, axis=0) | xp.sort(i32, stable=False) | xp.searchsorted(xp.sort(v), f)
xp.searchsorted(xp.asarray([1, 2, 2, 3]), xp.asarray([2, 4]), side="right")
xp.searchsorted(v, f, sorter=xp.argsort(v)) | xp.unique_all(i) | xp.unique_counts(i) | xp.unique_inverse(i)
xp.sort(xp.unique_values(i)) | xp.unique_values(b) | xp.isin(i, j) | xp.isin(i, 1) | xp.isin(i, j, invert=True)
xp.nonzero(f > 0) | xp.nonzero(b) | xp.nonzero(xp.asarray(1)) | xp.matmul(f, m) | xp.matmul(s, m) | xp.matmul(h, m)
xp.matmul(v, m) | xp.matrix_transpose(s) | xp.matrix_transpose(v) | xp.tensordot(f, g, axes=2)
xp.tensordot(f, m, axes=1) | xp.tensordot(f, g, axes=((0,), (0,))) | xp.tensordot(v, v, axes=0) | xp.vecdot(f, g)
xp.vecdot(c, c) | xp.vecdot(f, g, axis=0) | xp.vecdot(f, v) | xp.linalg.cholesky(m)
xp.linalg.cholesky(m, upper=True) | xp.linalg.cross(f, g) | xp.linalg.cross(f, v) | xp.linalg.det(m)
xp.linalg.det(s) | xp.linalg.diagonal(s) | xp.linalg.diagonal(f, offset=1) | xp.abs(xp.linalg.eigh(m).eigenvectors)
xp.linalg.eigvalsh(m) | xp.linalg.eigh(m).eigenvalues | xp.linalg.inv(m) | xp.linalg.matmul(f, m)
xp.linalg.matrix_norm(s) | xp.linalg.matrix_norm(f, ord=1, keepdims=True) | xp.linalg.matrix_norm(f, ord="nuc")
xp.linalg.matrix_power(m, 3) | xp.linalg.matrix_power(m, -1) | xp.linalg.matrix_rank(m)
xp.linalg.matrix_rank(s, rtol=0.1) | xp.linalg.outer(v, v) | xp.linalg.pinv(f) | xp.linalg.pinv(m, rtol=0.1)
xp.abs(xp.linalg.qr(f).R) | xp.abs(xp.linalg.qr(f, mode="complete").Q) | xp.linalg.slogdet(m).logabsdet
xp.linalg.slogdet(s).sign | xp.linalg.solve(m, v) | xp.linalg.solve(m, m) | xp.linalg.solve(s, f)
xp.linalg.solve(s, xp.permute_dims(f, (1, 0))) | xp.linalg.solve(s, v) | xp.linalg.svdvals(f)
xp.abs(xp.linalg.svd(f).U) | xp.linalg.svd(f, full_matrices=False).S
xp.abs(xp.linalg.svd(f, full_matrices=False).Vh) | xp.linalg.trace(m) | xp.linalg.trace(s, offset=1)
xp.linalg.trace(i[:, :2]) | xp.linalg.vector_norm(f) | xp.linalg.vector_norm(v, ord=1)
xp.linalg.vector_norm(s, axis=(0, 2), keepdims=True) | xp.linalg.vector_norm(f, axis=1, ord=xp.inf)
xp.linalg.vecdot(f, v) | xp.linalg.matrix_transpose(f) | xp.linalg.tensordot(f, m, axes=1) | xp.fft.fft(f)
xp.fft.fft(f, n=4, axis=0, norm="ortho") | xp.fft.ifft(c) | xp.fft.fftn(f) | xp.fft.ifftn(s, axes=(0, 1))
xp.fft.fftn(f, s=(2, 2), axes=(0, 1), norm="forward") | xp.fft.rfft(f) | xp.fft.irfft(c, n=4) | xp.fft.rfftn(f)
xp.fft.irfftn(c) | xp.fft.hfft(c, n=4) | xp.fft.ihfft(f) | xp.astype(xp.fft.fftfreq(4, d=0.5), xp.float64)
xp.astype(xp.fft.rfftfreq(4), xp.float64) | xp.fft.fftshift(f) | xp.fft.fftshift(f, axes=0)
xp.fft.ifftshift(f, axes=(1,)) | xp.e + xp.pi | xp.isnan(xp.asarray(xp.nan)) | xp.asarray(xp.inf, dtype=xp.float64)
f[xp.newaxis, :, 0] | f[f > 0] | h + f[0, 0] | i32 * xp.asarray(2, dtype=xp.int64) | f + 1 | i // 2 | 2 ** j | f @ m
f.mT | s.mT | f.T | abs(i) | ~b | f[0, ...] | f[..., ::2] | i << 1 | f.ndim | tuple(f.shape) | f.size | f.dtype
bool(f[0, 0] > 9) | int(i[0, 0]) | f.__array_namespace__(api_version="2024.12") is xp
"""
EXPRESSIONS = [case.strip() for line in EXPRESSIONS.strip().splitlines() for case in line.split(" | ")]


def operands(xp):
    random = np.random.default_rng(3)
    f, g = random.standard_normal((2, 2, 3))
    i, j = random.integers(-3, 4, (2, 3)), random.integers(1, 5, (2, 3))
    arrays = {
        "f": f, "g": g, "h": f.astype("f4"), "i": i, "j": j, "b": f > 0, "c": f + 1j * g, "i32": i.astype("i4"),
        "u8": j.astype("u1"), "m": g.T @ g + np.eye(3), "s": random.standard_normal((2, 3, 3)), "v": f[0] * 2,
        "z": np.array([[np.nan, np.inf, -np.inf], [0.0, -0.0, 1.0]]),
    }
    return {"xp": xp, **{name: xp.asarray(array.copy()) for name, array in arrays.items()}}


def plain(value):
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return value if isinstance(value, (bool, int, float, str, type(None))) else np.asarray(value)


def same(ours, theirs):
    if isinstance(theirs, list):
        return isinstance(ours, list) and len(ours) == len(theirs) and all(map(same, ours, theirs))
    if isinstance(theirs, np.ndarray) and theirs.dtype != object:
        close = {4: 1e-5, 8: 1e-10}.get(np.real(theirs).dtype.itemsize, 0) if theirs.dtype.kind in "fc" else 0
        return (
            isinstance(ours, np.ndarray) and ours.shape == theirs.shape and ours.dtype == theirs.dtype
            and np.allclose(ours, theirs, rtol=close, atol=close, equal_nan=True)
        )
    return str(ours).removeprefix("torch.") == str(theirs)


def evaluated(expression, namespace):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return plain(eval(expression, operands(namespace)))
        except Exception as error:
            return error


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_values_are_those_of_numpy(expression):
    ours, theirs = evaluated(expression, xp), evaluated(expression, np)
    if isinstance(theirs, Exception):
        listed(expression, isinstance(ours, Exception))
    else:
        listed(expression, not isinstance(ours, Exception) and same(ours, theirs))


def test_every_function_is_called():
    called = " ".join(EXPRESSIONS)
    names = [line.partition("(")[0] for line in NAMES.split("\n")[1:-1] if "(" in line]
    unused = [name for name in names if f"xp.{name}(" not in called and name not in FAILURES]
    assert unused == ["__array_namespace_info__", "from_dlpack"]


def test_descending_orders_are_stable():
    x = xp.asarray([2, 1, 2, 3, 1])
    assert xp.argsort(x, descending=True).tolist() == [3, 0, 2, 1, 4]
    assert xp.sort(x, descending=True).tolist() == [3, 2, 2, 1, 1]


def test_sets_hold_every_nan():
    found = xp.unique_all(xp.asarray([xp.nan, 1.0, xp.nan, 1.0]))
    assert found.counts.tolist() == [2, 1, 1]
    assert found.indices.tolist() == [1, 0, 2]


def test_memory_is_shared_or_copied():
    x = xp.zeros((2, 3))
    xp.reshape(x, (6,), copy=False)[0] = 1
    xp.reshape(x, (6,), copy=True)[1] = 1
    xp.astype(x, x.dtype, copy=False)[0, 2] = 1
    xp.astype(x, x.dtype)[1, 0] = 1
    assert x.tolist() == [[1, 0, 1], [0, 0, 0]]
    array = np.zeros(2)
    y = xp.from_dlpack(array)
    array[0] = 1
    assert y.tolist() == [1, 0] and xp.from_dlpack(array, copy=True).tolist() == [1, 0]
    with pytest.raises(ValueError, match="can't alias"):
        xp.asarray([1, 2], copy=False)


def test_gradients_go_through():
    x = xp.asarray([1.0, 2.0, 3.0])
    x.requires_grad_()
    xp.sum(xp.clip(xp.concat([x, xp.square(x)]), 0.0, 5.0)).backward()
    assert x.grad.tolist() == [3.0, 5.0, 1.0]


def test_what_needs_an_axis():
    x = xp.ones((2, 3))
    for call in (lambda: xp.take(x, xp.asarray([0])), lambda: xp.cumulative_sum(x), lambda: xp.squeeze(x, 1)):
        with pytest.raises(ValueError, match="ax"):
            call()


def test_frequencies_have_the_dtype_that_is_asked_for():
    for name in ("fftfreq", "rfftfreq"):
        found = getattr(xp.fft, name)(5, d=0.5, dtype=xp.float64)
        assert found.dtype is xp.float64 and np.array_equal(found, getattr(np.fft, name)(5, d=0.5))


def test_the_namespace_tells_what_it_has():
    info = xp.__array_namespace_info__()
    assert info.default_device() in info.devices()
    assert info.default_dtypes(device="cpu")["real floating"] is xp.float32
    assert set(info.dtypes()) == set("bool int8 int16 int32 int64 uint8 float32 float64 complex64 complex128".split())
    assert info.dtypes(kind="signed integer").keys() == {"int8", "int16", "int32", "int64"}
    assert list(info.dtypes(kind=("bool", "unsigned integer"))) == ["bool", "uint8"]
    assert info.capabilities()["boolean indexing"] is True
    x = xp.ones(2)
    assert x.to_device(info.devices()[0]) is x and x.__array_namespace__() is xp
    with pytest.raises(ValueError, match="versions"):
        x.__array_namespace__(api_version="1999.12")
    with pytest.raises(ValueError, match="stream"):
        x.to_device("cpu", stream=1)


def test_libraries_find_the_namespace():
    compat = pytest.importorskip("scipy._lib.array_api_compat")
    x = xp.asarray([[1.0, 2.0]])
    assert compat.array_namespace(x) is xp
    assert compat.size(x) == 2 and compat.device(x) == x.device and compat.to_device(x, "cpu") is x


def test_numbers_of_a_higher_kind_are_refused():
    for call in (
        lambda: xp.add(xp.asarray([1]), 1.5), lambda: xp.add(xp.asarray([True]), 1),
        lambda: xp.clip(xp.asarray([1]), 0.5), lambda: xp.astype(xp.asarray([1j]), xp.float32),
        lambda: xp.nextafter(xp.asarray([1]), xp.asarray([2])),
        lambda: xp.add(1, 2), lambda: xp.result_type(3),
    ):
        with pytest.raises(TypeError):
            call()


def test_example():
    found = doctest.testmod(importlib.import_module("flamework.array_api"))
    assert found.attempted >= 3 and found.failed == 0


def test_pythons_types_are_taken_for_dtypes():
    assert xp.zeros(2, dtype=bool).dtype is xp.bool and xp.asarray([1], dtype=float).dtype is xp.float64
    assert xp.astype(xp.ones(1), int).dtype is xp.sum(xp.ones(1), dtype=int).dtype is xp.int64


SCIPY = """
special.logsumexp(x, axis=0) | special.softmax(x, axis=0) | special.xlogy(x * x, x * x + 1) | stats.zscore(x)
stats.skew(x) | stats.ttest_1samp(x, 0.0).pvalue | stats.moment(x, 3) | stats.pearsonr(x[:, 0], x[:, 1]).statistic
stats.entropy(x * x) | stats.bartlett(x[:, 0], x[:, 1]).statistic | integrate.trapezoid(x)
integrate.cumulative_trapezoid(x) | integrate.tanhsinh(lambda z: z * z, 0 * x[0, 0], x[0, 0] ** 2).integral
signal.detrend(x) | fft.dct(x) | cluster.vq.whiten(x) | optimize.rosen(x) | ndimage.gaussian_filter(x, 1.0)
spatial.transform.Rotation.from_rotvec(x).as_matrix()
"""
SCIPY_PROGRAM = """
import flamework, numpy as np
from scipy import cluster, fft, integrate, ndimage, optimize, signal, spatial, special, stats
import scipy.cluster.vq, scipy.spatial.transform
array = np.random.default_rng(0).standard_normal((20, 3))
for case in CASES:
    ours = eval(case, globals(), {"x": flamework.from_numpy(array.copy())})
    theirs = eval(case, globals(), {"x": array})
    assert isinstance(ours, flamework.Tensor), case
    assert np.allclose(ours, theirs), case
print("all of", len(CASES))
"""


def test_scipy_works_on_tensors():
    """SciPy looks at the variable when it is imported: a process of its own."""
    cases = [case.strip() for line in SCIPY.strip().splitlines() for case in line.split(" | ")]
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", f"CASES = {cases!r}\n{SCIPY_PROGRAM}"], text=True, capture_output=True,
        env={**os.environ, "SCIPY_ARRAY_API": "1"},
    )
    assert done.stdout == f"all of {len(cases)}\n", done.stderr
