"""Complex numbers against PyTorch (NumPy where it is not installed): values, gradients, views, promotion, refusals."""

from __future__ import annotations

import pickle

import flamework as fw
import numpy as np
import pytest
from same_as_torch import assert_same

try:
    import torch
except ImportError:
    torch = None

needs_torch = pytest.mark.skipif(torch is None, reason="compares with PyTorch, which is not installed")
RNG = np.random.default_rng(0)


def numbers(*shape):
    return RNG.standard_normal(shape) + 1j * RNG.standard_normal(shape)


Z, W = numbers(4, 5), numbers(4, 5)
REAL = RNG.standard_normal((4, 5))


def call(name, *more, **named):
    return lambda t, *args: getattr(t, name)(*args, *more, **named)


# name: function of the library and of tensors, and its arguments
FUNCTIONS = {
    **{name: (call(name), (Z,)) for name in (
        "exp", "expm1", "log", "log2", "log10", "log1p", "sqrt", "rsqrt", "reciprocal", "sin", "cos", "tan", "sinh",
        "cosh", "tanh", "asin", "acos", "atan", "asinh", "acosh", "atanh", "sigmoid", "sinc", "neg", "square", "abs",
        "angle", "conj", "sgn", "real", "imag", "view_as_real", "sum", "mean", "prod", "isreal", "isfinite", "isnan",
        "positive", "exp2",
    )},
    **{name: (call(name), (Z, W)) for name in ("add", "sub", "mul", "div", "pow", "eq", "ne", "isclose")},
    **{f"{name} along": (call(name, dim=1), (Z,)) for name in ("sum", "mean", "prod", "cumsum", "cumprod")},
    "with a real tensor": (lambda t, z, x: z * x + x, (Z, REAL)),
    "with real numbers": (lambda t, z: (2 * z - 1) / 3 + 1 / z, (Z,)),
    "with complex numbers": (lambda t, z: (2j * z - 1j) / (3 + 1j) + 1j / z, (Z,)),
    "real by a complex number": (lambda t, x: x * 2j + 1, (REAL,)),
    "powers": (lambda t, z: z**2 + z**3 + z**-1 + z**2.5 + z**1j + 2**z, (Z,)),
    "polar": (lambda t, x: t.polar(x.abs(), x), (REAL,)),
    "complex": (lambda t, x: t.complex(x, 2 * x), (REAL,)),
    "matmul": (lambda t, z, w: z @ w.T, (Z, W)),
    "vector product": (lambda t, z, w: z[0] @ w[1], (Z, W)),
    "einsum": (lambda t, z, w: t.einsum("ij,kj->ik", z, w), (Z, W)),
    "adjoints": (lambda t, z: z.H @ z + z.mH @ z + t.adjoint(z) @ z, (Z,)),
    "movement": (lambda t, z: t.cat([z.T, z.flip(0).T], 1)[1:4, ::2].reshape(-1), (Z,)),
    "stack and pad": (lambda t, z: t.nn.functional.pad(t.stack([z, z * 2]), (1, 2), value=0.5), (Z,)),
    "gather": (lambda t, z: z[:, [0, 3, 3]] + z.index_select(1, t.tensor([1, 1, 2])), (Z,)),
    "scatter": (lambda t, z, w: z.index_add(1, t.tensor([0, 0, 1, 4, 4]), w), (Z, W)),
    "where": (lambda t, z, w, x: t.where(x > 0, z, w), (Z, W, REAL)),
    "masks": (lambda t, z, x: z.masked_fill(x > 0, 1j), (Z, REAL)),
    "casts": (lambda t, z: z.to(t.complex64).to(t.complex128) + z.bool().to(t.complex128), (Z,)),
    "lerp and addcmul": (lambda t, z, w: t.lerp(z, w, 0.3) + t.addcmul(z, w, z, value=2) + t.addcdiv(z, w, z), (Z, W)),
    "linear": (lambda t, z, w: t.nn.functional.linear(z, w, z[0, :4]), (Z, W)),
    "norms": (lambda t, z: z.abs().pow(2).sum(1).sqrt(), (Z,)),
}
NO_GRADIENT = ("isreal", "isfinite", "isnan", "eq", "ne", "isclose")


def tensors(t, args, dtype="complex128"):
    real = "float64" if dtype == "complex128" else "float32"
    return [t.tensor(a, dtype=getattr(t, dtype if a.dtype.kind == "c" else real)) for a in args]


@needs_torch
@pytest.mark.parametrize("dtype", ["complex64", "complex128"])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_function_gives_pytorchs_numbers(name, dtype):
    function, args = FUNCTIONS[name]
    tolerance = 1e-5 if dtype == "complex64" else 1e-12
    assert_same(lambda t: function(t, *tensors(t, args, dtype)).resolve_conj(), rtol=tolerance, atol=tolerance)


@needs_torch
@pytest.mark.parametrize("name", [name for name in FUNCTIONS if name not in NO_GRADIENT])
def test_gradient_is_pytorchs(name):
    function, args = FUNCTIONS[name]

    def script(t):
        inputs = [x.requires_grad_() for x in tensors(t, args)]
        result = function(t, *inputs).resolve_conj()
        weights = t.tensor(np.resize(W if result.is_complex() else REAL, tuple(result.shape)))
        total = (t.view_as_real(result) * t.view_as_real(weights)).sum() if result.is_complex() else (
            result * weights).sum()
        return [g.resolve_conj() for g in t.autograd.grad(total, inputs)]

    assert_same(script, rtol=1e-9, atol=1e-9)


NUMPY = {name: name for name in ("exp", "log", "sqrt", "sin", "tanh", "log1p")} | {
    "asin": "arcsin", "acos": "arccos", "atan": "arctan", "acosh": "arccosh", "atanh": "arctanh",
}


@pytest.mark.parametrize("name", NUMPY)
def test_function_agrees_with_numpy_near_its_cuts_and_far_away(name):
    z = np.array([
        0, 1, -1, 0.5, -0.5, 2, -2, 1e-8, 30, -30, 1j, -1j, 2j, -2j, 1e-3 + 1e-3j, -5 + 1e-9j, -5 - 1e-9j, 40 + 40j,
    ], complex)
    if name in ("atanh", "atan"):
        z = z[~np.isin(z, [1, -1, 1j, -1j])]
    if name.startswith("log"):
        z = z[(z != 0) & (z != -1)]
    found = getattr(fw, name)(fw.from_numpy(z)).numpy()
    np.testing.assert_allclose(found, getattr(np, NUMPY[name])(z), rtol=1e-12, atol=1e-14)


def test_division_does_not_overflow():
    big = 1e300 + 1e300j
    assert abs((fw.tensor(big, dtype=fw.complex128) / fw.tensor(big, dtype=fw.complex128)).item() - 1) < 1e-15
    assert abs(fw.tensor(big, dtype=fw.complex128)).item() == pytest.approx(np.hypot(1e300, 1e300))


@needs_torch
def test_writing_through_parts_and_pairs():
    def script(t):
        z = t.tensor(Z)
        z.real[1:3] += 1
        z.imag.mul_(2)
        z.imag[0, ::2] = 7
        t.view_as_real(z)[..., 1].T[2] = 5
        z.real.diagonal().zero_()
        z.real = z.real + 1
        x = t.arange(8.0).reshape(2, 2, 2)
        t.view_as_complex(x)[0] *= 1j
        z[1:3] *= 1j
        z.t()[0] -= 2j
        return z, x, z.real.stride(), t.view_as_real(z).stride(), z.imag.storage_offset(), z.real.is_contiguous()

    assert_same(script, rtol=1e-12)


@needs_torch
@pytest.mark.parametrize("dtype", ["complex64", "complex128"])
@pytest.mark.parametrize("name", ["abs", "log", "sqrt", "sgn", "angle"])
def test_gradients_and_theirs_where_a_part_is_zero(name, dtype):
    """Formulas of absolute values of the parts have a corner there; the function has none."""
    def script(t):
        z = t.tensor([1, 2j, -3, 0.5j, -2j, 1 + 2j, -3 + 0.5j], dtype=getattr(t, dtype), requires_grad=True)
        weight = t.arange(1.0, 8.0, dtype=z.real.dtype)
        y = getattr(z, name)()
        y = y.real + 2 * y.imag if y.is_complex() else y
        (first,) = t.autograd.grad((y * weight).sum(), z, create_graph=True)
        (second,) = t.autograd.grad((first.real * weight + first.imag * weight.flip(0)).sum(), z)
        return first.detach().resolve_conj(), second.resolve_conj()

    assert_same(script, rtol=1e-5, atol=1e-6)


def test_absolute_value_of_zero_and_nan():
    values = np.array([complex(0, np.nan), complex(np.nan, 0), complex(np.inf, np.nan), complex(np.nan, -np.inf), 0])
    for dtype in (np.complex64, np.complex128):
        found = fw.from_numpy(values.astype(dtype)).abs().numpy()
        np.testing.assert_array_equal(found, np.abs(values).astype(found.dtype))


@needs_torch
def test_gradients_through_writes_to_parts():
    def script(t):
        z = t.tensor(Z, requires_grad=True)
        y = z * 2
        y.real[1] = 0
        y.imag.mul_(3)
        (t.view_as_real(y) ** 2).sum().backward()
        return z.grad

    assert_same(script, rtol=1e-12)


def test_numpy_shares_memory():
    array = Z.copy()
    z = fw.from_numpy(array)
    z.imag.zero_()
    assert (array.imag == 0).all()
    array[0, 0] = 5 + 6j
    assert z[0, 0].item() == 5 + 6j
    assert z.real[0, 0].item() == 5
    pairs = fw.view_as_real(z).numpy()
    pairs[1, 1] = 8, 9
    assert array[1, 1] == 8 + 9j


@needs_torch
@pytest.mark.parametrize("script", [
    lambda t: [str(t.result_type(a, b)) for a in (
        t.ones(1), t.ones(1, dtype=t.float64), t.ones(1, dtype=t.int64), t.ones((), dtype=t.float64), t.ones(1) * 1j,
        t.ones((), dtype=t.complex128), t.ones(1, dtype=t.bool))
        for b in (1j, t.ones((), dtype=t.complex128), t.ones(1, dtype=t.complex64), t.ones(1, dtype=t.complex128))],
    lambda t: [str(t.promote_types(t.complex64, d)) for d in (t.bfloat16, t.float32, t.float64, t.int64, t.bool)],
    lambda t: [str(t.tensor(v).dtype) for v in (1j, [1, 2j], [1.5, 2j], np.array([1j]), np.complex64(1j))],
    lambda t: (t.tensor([1 + 2j]).is_complex(), t.complex64.is_complex, t.complex64.is_floating_point,
               t.complex128.itemsize, t.is_complex(t.ones(1)), str(t.tensor(1j).real.dtype)),
    lambda t: (t.tensor(1 + 2j).item(), t.tensor([1j, 2]).tolist(), complex(t.tensor(3 + 1j)), bool(t.tensor(1j))),
    lambda t: [repr(t.tensor(v)) for v in ([1 + 2j, -3.5j], 1j, [[1e6 + 1j]], [complex("nan"), complex("inf")])],
], ids=["result_type", "promote_types", "dtype of data", "questions", "python numbers", "text"])
def test_the_same_as_pytorch(script):
    assert_same(script)


@needs_torch
@pytest.mark.parametrize("script", [
    lambda t: t.tensor([1j]) < t.tensor([2j]),
    lambda t: t.tensor([1j]).max(),
    lambda t: t.sort(t.tensor([1j])),
    lambda t: t.floor(t.tensor([1j])),
    lambda t: t.sign(t.tensor([1j])),
    lambda t: t.round(t.tensor([1j])),
    lambda t: t.relu(t.tensor([1j])),
    lambda t: t.maximum(t.tensor([1j]), t.tensor([1j])),
    lambda t: t.tensor([1j]) // 2,
    lambda t: t.tensor([1j]) % 2,
    lambda t: ~t.tensor([1j]),
    lambda t: t.ones(1).imag,
    lambda t: t.view_as_real(t.ones(1)),
    lambda t: t.view_as_complex(t.ones(3)),
    lambda t: t.view_as_complex(t.ones(2, 2).T),
    lambda t: t.complex(t.ones(1), t.ones(1, dtype=t.float64)),
    lambda t: t.ones(2).add_(1j),
    lambda t: t.ones(2).mul_(t.tensor([1j, 1])),
    lambda t: t.tensor([1j], dtype=t.float32),
    lambda t: t.softmax(t.tensor([1j]), 0),
    lambda t: t.tensor([1j]).argmax(),
    lambda t: (t.tensor([1j], requires_grad=True) * 2).sum().backward(),
])
def test_what_has_no_meaning_is_refused(script):
    with pytest.raises(Exception) as theirs:  # noqa: PT011, whatever PyTorch raises
        script(torch)
    with pytest.raises(theirs.type):
        script(fw)


def test_a_chain_of_complex_arithmetic_is_one_kernel():
    z, w = fw.from_numpy(Z), fw.from_numpy(W)
    assert len(fw.explain(lambda z, w: ((z * w + 1) / (w - 2j)).exp().sum(1))(z, w).kernels) == 1


def test_a_compiled_function_of_complex_numbers_trains():
    weight = fw.nn.Parameter(fw.tensor([0.1 + 0.1j, 0.2 - 0.1j]))
    x = fw.from_numpy(numbers(50, 2).astype(np.complex64))
    target = x @ fw.tensor([1 - 1j, 2j])
    optimizer = fw.optim.SGD([weight], lr=0.1)

    @fw.compile
    def step():
        optimizer.zero_grad()
        loss = ((x @ weight) - target).abs().pow(2).mean()
        loss.backward()
        optimizer.step()
        return loss

    losses = [step().item() for _ in range(100)]
    assert losses[-1] < 1e-4 * losses[0]


def test_pickles():
    z = pickle.loads(pickle.dumps(fw.tensor([1 + 2j])))
    assert z.dtype is fw.complex64
    assert z.tolist() == [1 + 2j]


@needs_torch
def test_complex_numbers_are_assigned():
    def script(t):
        z = t.zeros(4, dtype=t.complex64)
        z[t.tensor([True, False, True, False])] = 1j
        z[1] = 2 + 1j
        z[t.tensor([3])] = t.tensor([3j])
        z[2:3] = 5
        found = [z.clone(), z.masked_fill(z.abs() > 4, -1j), z.clone().fill_(2j), z.eq(1j)]
        try:
            t.zeros(2)[0] = 1j
        except RuntimeError as error:
            found.append(str(error))
        return found

    assert_same(script, messages=False)
