"""Tensors beside Python's numbers, NumPy's arrays and other libraries' memory: next to PyTorch, call by call.

Each row of a table is an expression over ``P``, which is one package and then the other; ``T`` is always PyTorch.
"""

import array
import copy
import doctest
import gc
import importlib
import math
import operator
import pickle
import warnings
import weakref

import flamework
import numpy as np
import pytest

torch = pytest.importorskip("torch")

A = np.arange(6.0).reshape(2, 3)


def then(value, *steps):
    """The value, after the steps have been evaluated."""
    return value


def read_only(values):
    values.setflags(write=False)
    return values


def plain(value):
    if isinstance(value, np.ndarray):
        return "array", value.dtype.str, value.shape, value.tolist()
    if hasattr(value, "detach"):
        return "tensor", str(value.dtype), tuple(value.shape), value.requires_grad, value.detach().tolist()
    if isinstance(value, (tuple, list)):
        return [plain(item) for item in value]
    return type(value).__name__, value


def outcome(package, expression):
    names = {
        "P": package, "T": torch, "np": np, "A": A.copy(), "t": package.from_numpy(A.copy()), "then": then,
        "copy": copy, "pickle": pickle, "math": math, "operator": operator, "array": array, "read_only": read_only,
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return repr(plain(eval(expression, names)))
        except Exception as error:
            return type(error).__name__, str(error).partition("\n")[0]


NUMBERS = """
bool(P.tensor(2)) | bool(P.tensor([[0.0]])) | bool(t) | bool(P.zeros(0)) | int(P.tensor(2.7)) | int(t)
int(P.tensor(2j)) | int(P.tensor(2+0j)) | int(P.tensor(True)) | int(P.tensor(math.nan)) | int(P.tensor(math.inf))
float(P.tensor([[3]])) | float(t) | float(P.tensor(2j)) | float(P.tensor(2+0j)) | float(P.zeros(0))
complex(P.tensor(2.5)) | complex(t) | complex(P.tensor(2.5+1j)) | range(10)[P.tensor(2)] | [5, 6][P.tensor(True)]
[5, 6][P.tensor(1.0)] | [5, 6][P.tensor([1, 2])] | [5, 6][P.tensor([[1]])] | [5, 6][P.tensor(1j)]
operator.index(P.tensor([3])) | list(range(P.tensor(3))) | [1, 2, 3][P.tensor(0):P.tensor(2)]
bytes(P.tensor([1, 2], dtype=P.uint8)) | bytes(P.tensor(3)) | chr(P.tensor(65)) | hex(P.tensor(65))
f"{P.tensor(3.14159):.2f}|{P.tensor(3):>5d}" | f"{P.tensor([3.14159]):.2f}" | f"{P.tensor([3.5])}|{t:}"
f"{P.tensor(3.5, requires_grad=True):.1f}" | f"{P.tensor(3.5, requires_grad=True)}"
f"{P.nn.Parameter(P.tensor(3.5)):.1f}" | f"{P.tensor(1+2j):.1f}" | "{:s}".format(P.tensor([1]))
"%s %d %.1f" % (P.tensor(1), P.tensor(2), P.tensor(2.55)) | 3 in t | 9.5 in t | t[0] in t | "a" in t | None in t
True in t | [1.0] in t | np.float64(3) in t | np.int64(3) in t | 1j in t | np.array([3.0]) in t | round(P.tensor(2.7))
round(P.tensor(2.747), 2) | math.floor(P.tensor(2.7)) | math.ceil(P.tensor(2.7)) | math.trunc(P.tensor(2.7))
math.sqrt(P.tensor(4.0)) | divmod(P.tensor(7.0), 2) | abs(P.tensor(-2)) | list(t) | list(P.tensor(1))
[*P.zeros(0, 2)] | len(t) | len(P.tensor(1)) | reversed(t) | reversed(P.tensor(1)) | sum(t)
sorted(P.tensor([3, 1, 2])) | max(P.tensor([3, 1, 2])) | P.tensor([[3]]).item() | t.item() | t.tolist()
"""

ARRAYS = """
np.asarray(t) | np.asarray(t, dtype=np.float32) | np.array(t) | t.requires_grad_().__array__() | np.array(list(t))
np.asarray(t.requires_grad_()) | np.asarray(P.ones(2, dtype=P.bfloat16)) | t.requires_grad_().numpy(force=True)
t.requires_grad_().numpy() | np.add(A, t) | np.add(t, A) | A + t | t + A | t.__imul__(A) | A + t.requires_grad_()
A - t | A / (t + 1) | A // (t + 1) | A ** t | t ** A | A.T @ t | t @ A.T | A == t | t == A | t == A.astype("f4")
t == np.array([1.0, 2.0]) | t == np.array(["a"]) | t == np.arange(3) | A < t | t < A | np.float64(2) * t
t * np.float64(2) | np.float32(2) * t.float() | t.float() * np.int64(2) | np.int64(3) + P.tensor(2) | np.sin(t)
np.array([1, 2]) / P.tensor([1, 2]) | np.concatenate([t, t]) | np.stack([t, t]) | np.add(A, A, out=t)
np.add(A, t, out=np.zeros((2, 3))) | np.equal(A, t) | np.isnan(t) | np.where(t > 2, 1, 0) | np.reshape(t, (3, 2))
np.transpose(t) | np.ones_like(t) | np.add.reduce(t) | np.modf(t) | t.__array_wrap__(np.array([True])) | np.cumsum(t)
t.__array_wrap__(np.zeros(2, "f4")) | A[P.tensor([1, 0])] | A[P.tensor(1)] | A[P.tensor([True, False])] | np.argmax(t)
then(A, A.__setitem__(0, t[1])) | then(A, A.__setitem__((0, 0), P.tensor(5.0))) | t[np.array([1, 0])] | np.dot(A.T, t)
t[np.array([True, False])] | t[np.int64(1)] | then(t, t.__setitem__(0, A[1])) | t.__array_priority__
np.clip(t, 0, 2) | np.round(t) | np.squeeze(t) | np.copy(t) | np.sort(t) | np.isclose(t, A) | np.linalg.norm(t)
memoryview(t) | P.from_numpy(A[::-1]) | P.from_numpy([1]) | P.from_numpy(np.array([1j]))
P.from_numpy(np.array([1], "f2")) | P.from_numpy(np.array(3)) | P.from_numpy(np.float64(3))
P.from_numpy(np.array([1], ">f8")) | P.from_numpy(np.asfortranarray(A)).stride() | P.from_numpy(A[:, ::2]).stride()
P.from_numpy(np.zeros((2, 0))) | P.from_numpy(np.broadcast_to(np.zeros(1), (3,)))
P.from_numpy(np.zeros(3, [("a", "f4"), ("b", "f4")])["b"])
P.from_numpy(np.zeros(3, [("a", "i1"), ("b", "f4")])["b"]) | P.from_numpy(np.matrix([[1.0, 2.0]])) | P.tensor(A)
P.as_tensor(np.float32(3)) | P.tensor([np.float32(3), np.float32(4)]) | P.tensor([A, A])
then(P.as_tensor(A), A.fill(9))
"""

SHARING = """
P.asarray(A, copy=False) | then(P.asarray(A), A.fill(9)) | then(P.asarray(A, copy=True), A.fill(9))
P.asarray([1, 2.0]) | P.asarray(A, copy=False, dtype=P.float32) | P.asarray([1], copy=False) | P.asarray(t) is t
P.asarray(t, copy=True) is t | P.asarray(3, copy=False) | P.asarray(3) | P.asarray(np.float32(2))
P.asarray(np.float32(2), copy=False) | P.asarray(bytearray(8)) | P.asarray(bytearray(8), copy=False, dtype=P.int16)
P.asarray(range(3)) | P.asarray("a") | P.asarray(t, dtype=P.int64, copy=False) | P.asarray(t.requires_grad_() * 2)
P.asarray(A.__dlpack__()) | P.asarray(t.requires_grad_() * 2, requires_grad=False)
P.asarray(t.requires_grad_(), requires_grad=False) is t | P.asarray([1, 2], requires_grad=True)
P.asarray([1.0], requires_grad=True) | P.asarray(A, requires_grad=True)
P.asarray(memoryview(bytearray(8)), dtype=P.int16) | P.asarray(array.array("i", [1, 2]), dtype=P.int32)
P.frombuffer(bytearray(8), dtype=P.float32) | P.frombuffer(bytearray(7), dtype=P.float32)
P.frombuffer(3, dtype=P.uint8) | P.frombuffer(bytearray(8), dtype=P.float32, count=3)
P.frombuffer(bytearray(8), dtype=P.float32, offset=9) | P.frombuffer(bytearray(8), dtype=P.float32, offset=8)
P.frombuffer(bytearray(), dtype=P.float32) | P.frombuffer(bytearray(8), dtype=P.float32, count=0)
P.frombuffer(bytearray(8), dtype=P.float32, count=1, offset=2)
P.frombuffer(b"12345678", dtype=P.uint8, count=2, offset=1) | P.frombuffer(bytearray(8), dtype=P.bfloat16, offset=6)
P.frombuffer(bytearray(8), dtype=P.float32, requires_grad=True)
P.frombuffer(bytearray(8), dtype=P.float32, offset=-1) | P.frombuffer(bytearray(8), dtype=P.int32, requires_grad=True)
P.frombuffer(bytearray(8), dtype=P.complex64) | then(t, copy.copy(t).fill_(1)) | then(t, copy.deepcopy(t).fill_(1))
copy.deepcopy(t.t()).stride() | (lambda c: then(c[0], c[1].fill_(1)))(copy.deepcopy([t, t[0]]))
copy.deepcopy(t.requires_grad_() * 2) | copy.copy(t.requires_grad_() * 2) | pickle.loads(pickle.dumps(t.t()))
pickle.loads(pickle.dumps(t.t())).stride() | bool(pickle.dumps(t.requires_grad_() * 2))
type(pickle.loads(pickle.dumps(P.nn.Parameter(t)))).__name__ | pickle.loads(pickle.dumps(P.ones(2, dtype=P.bfloat16)))
pickle.loads(pickle.dumps(t.requires_grad_())) | str(pickle.loads(pickle.dumps(P.float32)))
pickle.loads(pickle.dumps(P.Size([1, 2]))) | str(pickle.loads(pickle.dumps(P.device("cpu"))))
"""

CAPSULES = """
str(P.ones(3).__dlpack__())[:25] | str(P.ones(3).__dlpack__(max_version=(1, 0)))[:35]
str(P.ones(3).__dlpack__(max_version=(0, 8)))[:25] | str(P.ones(3).__dlpack__(stream=None))[:25]
str(P.ones(3).__dlpack__(stream=-1))[:25] | P.ones(3).__dlpack__(stream=1) | P.ones(3).__dlpack__(stream="a")
P.ones(3).__dlpack__(stream=0) | str(P.ones(3).__dlpack__(dl_device=(1, 0)))[:25]
P.ones(2).__dlpack_device__()[0].name | tuple(map(int, t.__dlpack_device__()))
then(np.from_dlpack(t, copy=True), t.fill_(3)) | then(np.from_dlpack(t, copy=False), t.fill_(3))
P.ones(3, requires_grad=True).__dlpack__() | np.from_dlpack(t).flags.writeable | then(t, np.from_dlpack(t).fill(9))
P.from_dlpack(np.broadcast_to(np.zeros(1), (3,))) | P.from_dlpack(read_only(np.ones(2)))
P.from_dlpack(np.arange(12.0).reshape(3, 4).T[::2]).stride()
np.from_dlpack(P.arange(12.0).reshape(3, 4).t()[::2]).strides | np.from_dlpack(P.ones(1).expand(3)).strides
np.from_dlpack(P.arange(12.0)[5:]) | T.from_dlpack(P.ones(3, 4)[:, :1]).stride() | np.from_dlpack(P.ones(0, 3)).shape
P.from_dlpack(np.zeros((0, 3))) | P.from_dlpack(T.zeros((2, 0, 3))) | T.from_dlpack(P.zeros((2, 0, 3))).shape
np.from_dlpack(P.tensor(4)) | P.from_dlpack(np.array(4)) | P.from_dlpack(T.tensor(4))
P.from_dlpack(np.arange(3).__dlpack__()) | P.from_dlpack(T.arange(3).__dlpack__())
P.from_dlpack(T.arange(3).__dlpack__(max_version=(1, 0)))
(lambda c: (P.from_dlpack(c), P.from_dlpack(c)))(t.__dlpack__()) | P.from_dlpack([1])
then(t, P.from_dlpack(t).zero_()) | P.from_dlpack(t.requires_grad_()) | P.from_dlpack(T.arange(6).view(2, 3).t())
str(P.utils.dlpack.to_dlpack(t))[:25] | P.utils.dlpack.from_dlpack(P.utils.dlpack.to_dlpack(t))
str(P.to_dlpack(t))[:25] | P.from_dlpack(P.utils.dlpack.to_dlpack(t.requires_grad_()))
then(P.from_dlpack(A, copy=True), A.fill(9)) | then(P.from_dlpack(A, copy=False), A.fill(9))
P.from_dlpack(A, device="cpu") | P.from_dlpack(A, device=P.device("cpu")) | P.from_dlpack(A.__dlpack__(), copy=True)
P.nn.Parameter(t).__dlpack__() | np.from_dlpack(P.nn.Parameter(t).detach())
[int(code) for code in P.utils.dlpack.DLDeviceType] | P.from_dlpack(t.__dlpack__()).numpy().flags.writeable
(lambda c: then(c, P.from_dlpack(c)) and str(c)[:30])(T.arange(3).__dlpack__())
(lambda c: then(c, P.from_dlpack(c)) and str(c)[:40])(T.arange(3).__dlpack__(max_version=(1, 0)))
"""

# Python's types of numbers in the place of dtypes.
TYPES = """
P.zeros(2, dtype=bool) | P.tensor([1.5], dtype=int) | P.ones(2, dtype=float) | P.ones(2).to(bool)
P.ones(2).to(dtype=float) | P.ones(2).sum(dtype=float) | P.asarray([1], dtype=float) | P.as_tensor([1], dtype=float)
P.ones(2, dtype=complex) | P.ones(2).to(int) | P.empty(2, dtype=float).dtype.itemsize | P.arange(3, dtype=float)
P.full((2,), 1, dtype=bool) | P.zeros_like(P.ones(2), dtype=int) | P.ones(2).view(int)
P.cumsum(P.ones(2), 0, dtype=float) | P.ones(2).mean(dtype=float) | P.softmax(P.ones(2), 0, dtype=float)
P.nn.functional.softmax(P.ones(2), 0, dtype=float) | P.ones(2).new_zeros(2, dtype=int)
P.linspace(0, 1, 3, dtype=float) | P.eye(2, dtype=int) | P.prod(P.ones(2), dtype=int)
P.nn.Linear(2, 2, dtype=float).weight.dtype.itemsize | P.nn.Linear(2, 2).to(float).weight.dtype.itemsize
P.frombuffer(bytearray(8), dtype=int) | P.scalar_tensor(1, dtype=int) | P.ones(2).to("cpu", float)
P.ones(2).new_tensor([1], dtype=float) | P.logspace(0, 1, 2, dtype=float) | P.ones(2).new_full((2,), 1, dtype=int)
P.nansum(P.ones(2), dtype=float) | P.linalg.vector_norm(P.ones(2), dtype=float) | P.norm(P.ones(2), dtype=float)
P.ones(2).log_softmax(0, dtype=float) | P.hann_window(3, dtype=float) | P.tril_indices(2, 2, dtype=int)
"""

CASES = [
    case.strip() for table in (NUMBERS, ARRAYS, SHARING, CAPSULES, TYPES) for line in table.strip().splitlines()
    for case in line.split(" | ")
]


@pytest.mark.parametrize("expression", CASES)
def test_the_same_as_torch(expression):
    assert outcome(flamework, expression) == outcome(torch, expression)


# ----------------------------------------------------------------------------------- where Flamework does more


def test_no_tensor_has_a_dtype_that_is_none():
    for wrong in (str, list, "float32", np.float32):
        for call in (
            lambda: flamework.zeros(2, dtype=wrong), lambda: flamework.ones(2).sum(dtype=wrong),  # noqa: B023
            lambda: flamework.ones(2).to(dtype=wrong).tolist(),  # noqa: B023
        ):
            with pytest.raises((TypeError, RuntimeError)):
                call()


def test_numpy_2_can_ask_for_a_copy_or_refuse_one():
    x = flamework.from_numpy(A.copy())
    shared, copied = np.asarray(x, copy=False), np.array(x, copy=True)
    x.fill_(7)
    assert (shared == 7).all() and (copied == A).all()
    assert x.__array__(np.float64, copy=False) is not None
    with pytest.raises(ValueError, match="Unable to avoid copy"):
        np.asarray(x, dtype=np.float32, copy=False)


def test_arrays_that_differ_are_told_from_tensors_element_by_element():
    x = flamework.tensor([1, 2])
    assert (x != np.array([1, 3])).tolist() == (np.array([1, 3]) != x).tolist() == [False, True]
    assert (x != np.array(["a"])) is True
    source = np.array([1, 2])
    equal = x == source  # pending: what happens to the array later does not matter
    source[:] = 0
    assert equal.tolist() == [True, True]


def test_a_pickle_keeps_what_tensors_share():
    x = flamework.zeros(2, 3)
    a, b = pickle.loads(pickle.dumps([x, x[0]]))
    b.fill_(1)
    assert a.tolist() == [[1.0] * 3, [0.0] * 3]


DTYPES = "bool uint8 int8 int16 int32 int64 float16 bfloat16 float32 float64 complex64 complex128".split()


@pytest.mark.parametrize("version", [None, (1, 0)])
@pytest.mark.parametrize("name", DTYPES)
def test_capsules_share_memory_both_ways(name, version):
    ours = flamework.ones(2, 3, dtype=getattr(flamework, name)).t()
    theirs = torch.from_dlpack(ours.__dlpack__(max_version=version))
    assert theirs.dtype is getattr(torch, name) and theirs.stride() == ours.stride() == (1, 3)
    ours.zero_()
    assert not theirs.any()
    theirs[2, 1] = 1
    assert ours.sum(dtype=flamework.complex128).item() == 1 == ours[2, 1].item()

    theirs = torch.ones(4, dtype=getattr(torch, name))[1:]
    ours = flamework.from_dlpack(theirs.__dlpack__(max_version=version))
    assert ours.dtype is getattr(flamework, name) and ours.shape == (3,)
    theirs.zero_()
    assert not ours.any()
    ours[1] = 1
    assert theirs.tolist() == [0, 1, 0]


def test_memory_lives_as_long_as_its_last_reader():
    class Held(np.ndarray):
        pass

    source = np.arange(1000.0).view(Held)
    gone = weakref.ref(source)
    x = flamework.from_dlpack(source)
    capsule = x[10:].__dlpack__()
    del source, x
    gc.collect()
    assert gone() is not None
    y = torch.from_dlpack(capsule)
    del capsule
    gc.collect()
    assert gone() is not None and y[0].item() == 10
    del y
    gc.collect()
    assert gone() is None


def test_an_unused_capsule_lets_go():
    source = np.arange(3.0)
    gone = weakref.ref(source)
    capsule = flamework.from_numpy(source).to(flamework.float64).__dlpack__(max_version=(1, 0))
    del source
    assert gone() is not None
    del capsule
    gc.collect()
    assert gone() is None


def test_what_cannot_be_exchanged():
    x = flamework.ones(2)
    with pytest.raises(BufferError, match="cannot be exported to the device"):
        x.__dlpack__(dl_device=(2, 0))
    with pytest.raises(TypeError, match="dl_device must be tuple of ints, not str"):
        x.__dlpack__(dl_device="cpu")
    with pytest.raises(RuntimeError, match="not compiled with CUDA"):
        flamework.from_dlpack(x, device="cuda")
    with pytest.raises(TypeError, match="uint16"):
        flamework.from_dlpack(np.ones(2, "u2"))
    with pytest.raises(ValueError, match="negative"):
        flamework.from_dlpack(np.ones(2)[::-1])


def test_older_libraries_need_no_arguments():
    class Old:
        def __init__(self, options):
            self.options = options
            self.array = np.zeros(2)

        def __dlpack__(self, **options):
            if set(options) - self.options:
                raise TypeError("unexpected keyword argument")
            return self.array.__dlpack__()

        def __dlpack_device__(self):
            return (1, 0)

    for known in (set(), {"copy"}):
        old = Old(known)
        x = flamework.from_dlpack(old)
        old.array[0] = 1
        assert x.tolist() == [1.0, 0.0]
        x[1] = 2
        assert old.array.tolist() == [1.0, 2.0]
    old = Old(set())
    x = flamework.from_dlpack(old, copy=True)
    old.array[0] = 1
    assert x.tolist() == [0.0, 0.0]


def test_a_tensor_in_shared_memory_computes_with_what_was_written():
    source = bytearray(16)
    x = flamework.frombuffer(source, dtype=flamework.float32)
    y = x + 1
    source[:4] = np.float32(5).tobytes()
    assert (x + 1).tolist() == [6.0, 1.0, 1.0, 1.0]
    assert y.tolist() == [1.0] * 4
    x.mul_(2)
    assert np.frombuffer(source, np.float32)[0] == 10
    with pytest.warns(UserWarning, match="not writable"):
        flamework.frombuffer(b"1234", dtype=flamework.uint8)


def test_examples():
    found = doctest.testmod(importlib.import_module("flamework.sharing"))
    assert found.attempted >= 15 and found.failed == 0
