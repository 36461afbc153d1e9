"""Functions that other tests do not meet, next to PyTorch's: values, dtypes, gradients, ``out=`` and errors."""

import flamework
import numpy as np
import pytest
from same_as_torch import kind_of

torch = pytest.importorskip("torch")

FLOATS = [0.0, -0.0, 1.0, -1.5, 6.0, 0.1, 1e-310, 5e-324, 1e-40, 1e-45, 65504.0, 1e308, float("inf"), float("-inf"),
          float("nan")]
X = np.arange(12.0).reshape(3, 4)


def outcome(t, call):
    try:
        return plain(call(t))
    except Exception as error:
        return kind_of(error)


def plain(value):
    if isinstance(value, (tuple, list)):
        return [plain(v) for v in value]
    if hasattr(value, "detach"):
        return str(value.dtype), tuple(value.shape), str(value.detach().tolist())
    return value


def same(call):
    assert outcome(flamework, call) == outcome(torch, call)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64", "int64"])
def test_frexp(dtype):
    def call(t):
        x = t.tensor(FLOATS[:4] if dtype == "int64" else FLOATS, dtype=t.float64).to(getattr(t, dtype))
        return list(t.frexp(x)) + list(x.frexp())

    same(call)


def test_gradient_of_the_mantissa():
    def call(t):
        x = t.tensor([6.0, -0.1, 1e-3], requires_grad=True)
        t.frexp(x).mantissa.sum().backward()
        return x.grad

    same(call)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64", "int64"])
def test_nextafter(dtype):
    def call(t):
        x = t.tensor([0.0, 1.0] if dtype == "int64" else FLOATS, dtype=t.float64).to(getattr(t, dtype))
        return t.nextafter(x[:, None], x), x.clone().nextafter_(x.flip(0))

    same(call)


@pytest.mark.parametrize("dtype", ["float32", "float64", "int64", "complex64"])
def test_logaddexp2(dtype):
    def values(t):
        x = t.tensor([1.0, -3.0, 2000.0, 5.0]).to(getattr(t, dtype))
        y = t.tensor([1.0, 5.0, 2000.0, -500.0]).to(getattr(t, dtype))
        if x.is_floating_point():
            x, y = x.requires_grad_(), y.requires_grad_()
        result = t.logaddexp2(x, y)
        result.sum().backward()
        return [v.tolist() for v in (result, x.grad, y.grad)]

    if dtype.startswith("float"):
        for one, other in zip(values(flamework), values(torch)):
            assert one == pytest.approx(other, rel=1e-6, abs=1e-30)
    else:
        same(values)


COPIES = {
    "alias_copy": (), "as_strided_copy": ((2, 2), (1, 2)), "detach_copy": (), "diagonal_copy": (1,),
    "expand_copy": ((2, 3, 4),), "permute_copy": ((1, 0),), "select_copy": (1, 2), "slice_copy": (1, 1, 4, 2),
    "split_copy": (2, 1), "split_with_sizes_copy": ([1, 2],), "squeeze_copy": (), "t_copy": (),
    "transpose_copy": (0, 1), "unbind_copy": (1,), "unfold_copy": (1, 2, 1), "unsqueeze_copy": (1,),
    "view_copy": ((4, 3),),
}


@pytest.mark.parametrize("name", COPIES)
def test_a_copy_of_a_view_has_memory_of_its_own(name):
    def call(t):
        x = t.from_numpy(X.copy()).requires_grad_()
        made = getattr(t, name)(x, *COPIES[name])
        parts = list(made) if isinstance(made, tuple) else [made]
        if name != "detach_copy":
            sum((part * part).sum() for part in parts).backward()
        for part in parts:
            part.detach().zero_()
        return x, x.grad, *parts

    same(call)


def test_copies_go_to_out():
    def call(t):
        out, parts = t.zeros(4, 3, dtype=t.float64), [t.zeros(2, 4), t.zeros(1, 4)]
        x = t.from_numpy(X.copy())
        returned = t.t_copy(x, out=out)
        nothing = t.split_copy(x.float(), 2, out=parts)
        return returned is out, out, nothing, parts

    same(call)


HISTOGRAMS = (
    lambda t, x: t.histogram(x, 3),
    lambda t, x: x.histogram(4, range=(0.0, 3.0), density=True),
    lambda t, x: t.histogram(x, t.tensor([0.0, 2.0, 5.0]), weight=x + 1),
    lambda t, x: t.histogram(t.ones(3), 2),
    lambda t, x: t.histogram(t.ones(0), 2),
    lambda t, x: t.histogram(x, 0),
    lambda t, x: t.histogram(x, 2, range=(2.0, 1.0)),
    lambda t, x: t.histogram(x / 0, 2),
    lambda t, x: t.histogram(x.long(), 2),
    lambda t, x: t.histogram(x, 2, weight=t.ones(2)),
    lambda t, x: t.histogramdd(x.reshape(3, 2), [2, 3]),
    lambda t, x: t.histogramdd(x.reshape(3, 2), 2, range=[0.0, 4.0, 0.0, 4.0], density=True),
    lambda t, x: t.histogramdd(x.reshape(3, 2), [t.tensor([0.0, 1.0, 9.0]), t.tensor([0.0, 9.0])], weight=x[:3]),
    lambda t, x: t.histogramdd(x.reshape(3, 2), [2]),
)


@pytest.mark.parametrize("call", HISTOGRAMS)
def test_histograms(call):
    same(lambda t: tuple(call(t, t.tensor([0.0, 1.0, 1.0, 2.0, 4.0, 0.5]))))


CALLS = (
    lambda t: t.nonzero_static(t.tensor([[0, 3], [4, 0]]), size=3),
    lambda t: t.tensor([0, 3, 4]).nonzero_static(size=1, fill_value=7),
    lambda t: t.nonzero_static(t.tensor([1]), size=-1),
    lambda t: t.constant_pad_nd(t.ones(2), (1, 2), 5),
    lambda t: t.frombuffer(bytearray(range(8)), dtype=t.int32),
    lambda t: t.frombuffer(bytearray(range(8)), dtype=t.int16, count=2, offset=3),
    lambda t: t.frombuffer(bytearray(7), dtype=t.int32),
    lambda t: t.frombuffer(bytearray(8), dtype=t.int32, offset=9),
    lambda t: t.frombuffer(bytearray(8), dtype=t.int32, count=3),
    lambda t: t.frombuffer(bytearray(0), dtype=t.int32),
    lambda t: t.frombuffer(5, dtype=t.int32),
    lambda t: (t.typename(t.ones(1)), t.typename(5), t.typename("a")),
    lambda t: t.ones(1).is_pinned(),
    lambda t: t.ones(1).pin_memory(),
    lambda t: t.ones(2).share_memory_(),
    lambda t: (t.ones(2).cfloat(), t.ones(2).cdouble()),
    lambda t: (t.unsafe_chunk(t.arange(5), 2), t.arange(5).unsafe_split(2)),
    lambda t: t.eig(t.eye(2)),
    lambda t: t.solve(t.eye(2), t.eye(2)),
    lambda t: t.eye(2).lstsq(t.eye(2)),
    lambda t: t.matrix_rank(t.eye(2)),
    lambda t: t.eye(2).symeig(),
    lambda t: t.manual_seed(1) and (t.rand(5, dtype=t.complex64), t.rand(3, dtype=t.complex128)),
)


@pytest.mark.parametrize("call", CALLS)
def test_other_functions(call):
    same(call)


@pytest.mark.parametrize("count", [1, 7, 40])
@pytest.mark.parametrize("dtype", ["complex64", "complex128"])
def test_complex_normal_numbers_are_pytorchs(dtype, count):
    def drawn(t):
        t.manual_seed(2)
        made = t.randn(count, dtype=getattr(t, dtype)), t.randn_like(t.ones(2, 3, dtype=getattr(t, dtype)))
        return [x.reshape(-1).tolist() for x in made]

    for one, other in zip(drawn(flamework), drawn(torch)):
        assert one == pytest.approx(other, rel=1e-6)


def test_memory_of_a_buffer_is_shared():
    buffer = bytearray(8)
    x = flamework.frombuffer(buffer, dtype=flamework.int32)
    buffer[4] = 3
    assert x.tolist() == [0, 3]
