"""Special functions against PyTorch: values, special values, dtypes, gradients, errors; and what fuses."""

from __future__ import annotations

import doctest

import flamework as fw
import numpy as np
import pytest
from same_as_torch import assert_same

RNG = np.random.default_rng(0)
INF, NAN = np.inf, np.nan
SPECIAL = np.array([0.0, -0.0, 1, -1, 2, -2, 50, -50, 200, -200, 1000, -1000, 1e-300, -1e-300, INF, -INF, NAN])

# name: values at which the function has a gradient; those of torch itself first
WITH_GRADIENT = {
    "special.digamma": RNG.uniform(-3, 5, 40),
    "special.gammaln": RNG.uniform(-3, 5, 40),
    "lgamma": RNG.uniform(-3, 5, 40),
    "erfc": RNG.uniform(-4, 4, 40),
    "erfinv": RNG.uniform(-1, 1, 40),
    "i0": RNG.uniform(-8, 8, 40),
    "special.entr": RNG.uniform(0, 4, 40),
    "special.erfcx": RNG.uniform(-3, 9, 40),
    "special.i0e": RNG.uniform(-8, 8, 40),
    "special.i1": np.append(RNG.uniform(-8, 8, 40), 0),
    "special.i1e": np.append(RNG.uniform(-8, 8, 40), 0),
    "special.log_ndtr": RNG.uniform(-9, 6, 40),
    "special.ndtr": RNG.uniform(-6, 6, 40),
    "special.ndtri": RNG.uniform(0, 1, 40),
}
ALIASES = [
    "special.erf", "special.erfc", "special.erfinv", "special.exp2", "special.expit", "special.expm1", "special.i0",
    "special.log1p", "special.logit", "special.psi", "special.round", "special.sinc",
]
WITHOUT_GRADIENT = {
    "airy_ai": RNG.uniform(-4, 9, 40),
    "bessel_j0": RNG.uniform(-30, 30, 40),
    "bessel_j1": RNG.uniform(-30, 30, 40),
    "bessel_y0": RNG.uniform(0, 30, 40),
    "bessel_y1": RNG.uniform(0, 30, 40),
    "modified_bessel_i0": RNG.uniform(-9, 9, 40),
    "modified_bessel_i1": RNG.uniform(-9, 9, 40),
    "modified_bessel_k0": RNG.uniform(0, 9, 40),
    "modified_bessel_k1": RNG.uniform(0, 9, 40),
    "scaled_modified_bessel_k0": RNG.uniform(0, 9, 40),
    "scaled_modified_bessel_k1": RNG.uniform(0, 9, 40),
    "spherical_bessel_j0": RNG.uniform(-30, 30, 40),
}
POLYNOMIALS = [
    *[f"{shifted}chebyshev_polynomial_{letter}" for shifted in ("", "shifted_") for letter in "tuvw"],
    "hermite_polynomial_h", "hermite_polynomial_he", "laguerre_polynomial_l", "legendre_polynomial_p",
]
# PyTorch's own approximations of these are so far off; ours are compared with mpmath, too
ROUGH = {"airy_ai": 5e-5, "bessel_j0": 1e-6, "bessel_j1": 1e-6, "bessel_y0": 1e-6, "bessel_y1": 1e-6}
NARROW = ["digamma", "entr", "erfc", "erfinv", "gammaln", "i0", "i0e", "i1", "i1e", "ndtr"]
ONLY_WIDE = ["erfcx", "log_ndtr", "ndtri", *WITHOUT_GRADIENT]


def named(t, path):
    for name in path.split("."):
        t = getattr(t, name)
    return t


def assert_refused(script):
    """Both packages raise, ours PyTorch's type or one that is related to it."""
    torch = pytest.importorskip("torch")
    with pytest.raises(Exception) as theirs:
        script(torch)
    with pytest.raises(theirs.type if issubclass(theirs.type, TypeError) else RuntimeError) as ours:
        script(fw)
    assert str(ours.value)


def test_everything_that_torch_has_is_there():
    torch = pytest.importorskip("torch")
    theirs = {name for name, value in vars(torch.special).items() if callable(value) and name != "Tensor"}
    assert {name for name in theirs if name[0] != "_"} == set(fw.special.__all__)
    assert all(callable(getattr(fw.special, name)) for name in fw.special.__all__)


# --------------------------------------------------------------------------------------------------------------- values


@pytest.mark.parametrize("path", [*WITH_GRADIENT, *ALIASES, *[f"special.{name}" for name in WITHOUT_GRADIENT]])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_values(path, dtype):
    name = path.rpartition(".")[2]
    values = WITH_GRADIENT.get(path, WITHOUT_GRADIENT.get(name, RNG.uniform(0.1, 0.9, 40)))

    def script(t):
        return named(t, path)(t.tensor(values, dtype=getattr(t, dtype)))

    tolerance = max(ROUGH.get(name, 0), 1e-11 if dtype == "float64" else 2e-5)
    assert_same(script, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize(("name", "wanted"), [
    ("airy_ai", lambda m, x: m.airyai(x)), ("bessel_j0", lambda m, x: m.besselj(0, x)),
    ("bessel_j1", lambda m, x: m.besselj(1, x)), ("bessel_y0", lambda m, x: m.bessely(0, x)),
    ("bessel_y1", lambda m, x: m.bessely(1, x)),
])
def test_values_of_functions_that_pytorch_computes_roughly(name, wanted):
    mpmath = pytest.importorskip("mpmath")
    x = WITHOUT_GRADIENT[name]
    exact = np.array([float(wanted(mpmath, float(v))) for v in x])
    found = getattr(fw.special, name)(fw.from_numpy(x.copy()))
    np.testing.assert_allclose(found.numpy(), exact, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("path", [*WITH_GRADIENT, *ALIASES, *[f"special.{name}" for name in WITHOUT_GRADIENT]])
def test_zeros_poles_infinities_and_nan(path):
    tolerance = max(ROUGH.get(path.rpartition(".")[2], 0), 1e-11)
    assert_same(lambda t: named(t, path)(t.tensor(SPECIAL)), rtol=tolerance, atol=1e-13)


@pytest.mark.parametrize("name", ["gammainc", "gammaincc", "zeta", "xlog1py", "xlogy"])
def test_functions_of_two_tensors(name):
    a = np.concatenate([RNG.uniform(0.1, 5, 40), np.repeat([0.0, 1, 2, 2.5, -1, -0.5, 100], 6)])
    b = np.concatenate([RNG.uniform(0.1, 5, 40), np.tile([0.0, 0.5, 1, 3, 30, -2], 7)])
    assert_same(lambda t: getattr(t.special, name)(t.tensor(a), t.tensor(b)), rtol=1e-11, atol=1e-14)


@pytest.mark.parametrize("name", ["xlog1py", "xlogy"])
def test_products_with_logarithms_of_special_values(name):
    a, b = (x.ravel() for x in np.meshgrid(SPECIAL, SPECIAL))
    assert_same(lambda t: getattr(t.special, name)(t.tensor(a), t.tensor(b)), rtol=1e-12)


def test_polygamma_and_multigammaln():
    x = RNG.uniform(-4, 9, 40)

    def script(t):
        a, b = t.tensor(x), t.tensor(np.abs(x) + 2)
        return [t.polygamma(n, a) for n in range(5)] + [t.special.multigammaln(b, p) for p in (1, 2, 5)]

    assert_same(script, rtol=1e-9, atol=1e-11)


def test_polygamma_of_zero_and_far_negative_numbers():
    # PyTorch has large numbers at the poles, because its sine of a multiple of pi is not 0
    assert_same(lambda t: t.polygamma(1, t.tensor([0.0, -0.5, -7.25, INF, NAN], dtype=t.float64)), rtol=1e-9)
    # 2 pi**2, and not in as many steps as the number is large
    far = fw.polygamma(1, fw.tensor([-1e12 - 0.25], dtype=fw.float64)).item()
    assert far == pytest.approx(2 * np.pi**2, rel=1e-11)
    assert fw.polygamma(1, fw.tensor([-1.0, -7.0])).tolist() == [INF, INF]


@pytest.mark.parametrize("name", POLYNOMIALS)
def test_polynomial(name):
    x = np.concatenate([RNG.uniform(-3, 3, 20), RNG.uniform(-1, 1, 20), [0, 1, -1, 0.5]])

    def script(t):
        function = getattr(t.special, name)
        degrees = t.arange(44) % 12
        return [function(t.tensor(x), n) for n in (-1, 0, 1, 2, 2.9, 7, 30)] + [function(t.tensor(x), degrees)]

    assert_same(script, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("name", POLYNOMIALS)
def test_polynomial_of_infinity_and_nan(name):
    # of NaN PyTorch returns what is on its stack
    function = getattr(fw.special, name)
    x = fw.tensor([NAN, INF, -INF])
    assert function(x, 0).tolist() == [1, 1, 1]
    assert np.isnan(function(x, 3)[0].item())
    assert_same(lambda t: [getattr(t.special, name)(t.tensor([INF, -INF]), n) for n in (0, 1, 2, 9)])
    assert_same(lambda t: getattr(t.special, name)(2.5, t.tensor([NAN, INF, -INF, -0.5])))


def test_high_degrees_of_chebyshev_polynomials():
    def script(t):
        x = t.tensor([-0.99, -0.3, 0.0, 0.4, 0.999], dtype=t.float64)
        return [getattr(t.special, name)(x, 10**6) for name in POLYNOMIALS[:4]]

    assert_same(script, rtol=1e-6, atol=1e-7)


# ------------------------------------------------------------------------------------------------------------ gradients


@pytest.mark.parametrize("path", WITH_GRADIENT)
def test_gradient(path):
    def script(t):
        x = t.tensor(WITH_GRADIENT[path], requires_grad=True)
        (first,) = t.autograd.grad(named(t, path)(x).sum(), x, create_graph=True)
        return first, t.autograd.grad(first.sum(), x)[0]

    assert_same(script, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize(("path", "values"), [
    ("special.entr", [0.0, 1.0, -1.0, NAN]), ("erfinv", [0.0, 1.0, -1.0, 2.0]), ("erfc", [0.0, INF, -INF]),
    ("lgamma", [0.0, -0.0, -1.0, 1.0, NAN]), ("special.ndtri", [0.0, 1.0, -1.0]), ("i0", [0.0, -0.0, NAN]),
    ("special.i1", [0.0, -0.0]), ("special.i0e", [0.0, -0.0, INF, NAN]), ("special.i1e", [0.0, -0.0]),
    ("special.log_ndtr", [0.0, -50.0, 50.0, NAN]), ("special.ndtr", [0.0, INF, -INF, NAN]),
])
def test_gradient_of_special_values(path, values):
    def script(t):
        x = t.tensor(values, dtype=t.float64, requires_grad=True)
        return t.autograd.grad(named(t, path)(x).sum(), x)[0]

    assert_same(script, rtol=1e-12, atol=1e-14)


def test_gradient_of_polygamma_and_multigammaln():
    def script(t):
        x = t.tensor([0.3, 1.5, 4.0, 9.0], dtype=t.float64, requires_grad=True)
        return [t.autograd.grad(y.sum(), x)[0] for y in (
            t.polygamma(0, x), t.polygamma(1, x), t.polygamma(3, x), t.mvlgamma(x + 2, 3))]

    assert_same(script, rtol=1e-10)


@pytest.mark.parametrize("name", ["gammainc", "gammaincc", "zeta", "xlog1py", "xlogy"])
def test_gradient_of_the_second_tensor(name):
    def script(t):
        a = t.tensor([1.5, 2.0, 3.5], dtype=t.float64)
        b = t.tensor([0.5, 1.25, 4.0], dtype=t.float64, requires_grad=True)
        return t.autograd.grad(getattr(t.special, name)(a, b).sum(), b)[0]

    assert_same(script, rtol=1e-11)


@pytest.mark.parametrize("name", ["gammainc", "gammaincc", "zeta"])
def test_gradient_of_the_first_tensor_is_refused(name):
    torch = pytest.importorskip("torch")
    said = []
    for t in (fw, torch):
        a, b = t.tensor([1.5], requires_grad=True), t.tensor([0.5])
        with pytest.raises(NotImplementedError) as error:
            getattr(t.special, name)(a, b).sum().backward()
        said.append(str(error.value))
    assert said[0] == said[1]


@pytest.mark.parametrize("name", WITHOUT_GRADIENT)
def test_functions_without_a_gradient(name):
    assert_same(lambda t: getattr(t.special, name)(t.ones(2, requires_grad=True)).requires_grad)


def test_polynomials_have_no_gradient():
    assert not any(getattr(fw.special, name)(fw.ones(2, requires_grad=True), 2).requires_grad for name in POLYNOMIALS)


# --------------------------------------------------------------------------------------------------------------- dtypes


@pytest.mark.parametrize("name", [*NARROW, *ONLY_WIDE])
def test_integers_and_bools_give_the_default_dtype(name):
    def script(t):
        function = getattr(t.special, name)
        return [function(t.tensor([0, 1, 2, 3])), function(t.tensor([False, True]))]

    assert_same(script, rtol=5e-5, atol=1e-6)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("name", NARROW)
def test_16_bit_floats_are_rounded_at_the_end(name, dtype):
    def script(t):
        x = t.tensor(np.linspace(0.05, 0.95, 19), dtype=t.float32).to(getattr(t, dtype))
        y = getattr(t.special, name)(x)
        assert y.dtype is getattr(t, dtype)
        return y.float()

    # PyTorch computes these in several steps, each of which it rounds
    steps = 4 if name in ("ndtr", "i0e") else 1.5
    assert_same(script, rtol=steps * (2**-10 if dtype == "float16" else 2**-7), atol=1e-4)


@pytest.mark.parametrize("name", [*NARROW, *ONLY_WIDE])
@pytest.mark.parametrize("dtype", ["complex64", "float16"])
def test_refused_dtypes(name, dtype):
    if name in NARROW and dtype == "float16":
        return
    assert_refused(lambda t: getattr(t.special, name)(t.ones(2, dtype=getattr(t, dtype))))


@pytest.mark.parametrize("script", [
    lambda t: t.special.zeta(2.0, t.tensor([1, 2])),
    lambda t: t.special.zeta(t.tensor([2.0, 3.0]), 2),
    lambda t: t.special.xlog1py(2, t.tensor([1, 2])),
    lambda t: t.special.legendre_polynomial_p(t.tensor([[1.0], [2.0]]), t.tensor([1, 2, 3])),
    lambda t: t.special.legendre_polynomial_p(t.tensor([1, 2]), n=t.tensor([2.0], dtype=t.float64)),
    lambda t: t.igamma(t.tensor([1.0, 2.0]), t.tensor([1, 2])),
    lambda t: t.igammac(t.tensor([[1.0], [2.0]]), t.tensor([1.0, 2.0], dtype=t.float64)),
    lambda t: t.mvlgamma(t.tensor([2, 3]), 2),
    lambda t: t.polygamma(2, t.tensor([2, 3])),
    lambda t: t.polygamma(1, t.ones(0, 3)),
    lambda t: t.special.i1(t.tensor(2.0)),
    lambda t: t.special.i1(t.ones(6)[::2]),
    lambda t: t.special.i1(t.ones(3), out=t.empty(3, dtype=t.float64)),
    lambda t: t.lgamma(t.ones(3) * 3, out=t.empty(0)),
    lambda t: t.special.softmax(t.tensor([1.0, 2.0]), 0),
    lambda t: t.special.log_softmax(t.tensor([1, 2]), dim=0, dtype=t.float32),
    lambda t: t.special.logsumexp(t.tensor([[1.0, 2.0]]), 1, True),
    lambda t: t.special.round(t.tensor([1.25]), decimals=1),
    lambda t: t.special.logit(t.tensor([0.0, 0.5]), eps=0.1),
])
def test_shapes_dtypes_and_out(script):
    assert_same(script, rtol=1e-5)


@pytest.mark.parametrize("script", [
    lambda t: t.lgamma(3.0),
    lambda t: t.igamma(2.0, t.ones(2)),
    lambda t: t.igamma(t.ones(2), 2.0),
    lambda t: t.igamma(t.tensor([1, 2]), t.tensor([1, 2])),
    lambda t: t.special.zeta(2.0, 3.0),
    lambda t: t.special.zeta(t.ones(2).half(), 3.0),
    lambda t: t.special.legendre_polynomial_p(t.ones(2).bfloat16(), 3.0),
    lambda t: t.special.legendre_polynomial_p(t.ones(2) + 1j, 3.0),
    lambda t: t.special.xlog1py(t.ones(2) + 1j, 3.0),
    lambda t: t.polygamma(-1, t.ones(2)),
    lambda t: t.polygamma(1.5, t.ones(2)),
    lambda t: t.mvlgamma(t.ones(2), 0),
    lambda t: t.lgamma(t.ones(2), out=t.empty(2, dtype=t.int64)),
    lambda t: t.ones(2).long().lgamma_(),
    lambda t: t.special.softmax(t.tensor([1, 2]), 0),
])
def test_errors(script):
    assert_refused(script)


# -------------------------------------------------------------------------------------------------- methods, and fusion


def test_methods():
    def script(t):
        x, y = t.tensor([0.2, 0.5, 0.9]), t.tensor([1.5, 2.5, 3.5])
        pure = [x.erfc(), x.erfinv(), x.lgamma(), x.digamma(), x.i0(), y.igamma(x), y.igammac(x), y.mvlgamma(2),
                x.polygamma(2)]
        changed = [x.clone().erfc_(), x.clone().erfinv_(), x.clone().lgamma_(), x.clone().digamma_(), x.clone().i0_(),
                   y.clone().igamma_(x), y.clone().igammac_(x), y.clone().mvlgamma_(2), x.clone().polygamma_(2),
                   t.erfc_(x.clone()), t.i0_(x.clone())]
        return pure + changed

    assert_same(script, rtol=1e-5)


def test_in_place_on_a_view_with_a_gradient():
    def script(t):
        x = t.tensor([[0.2, 0.5], [1.5, 2.5]], dtype=t.float64, requires_grad=True)
        y = x * 1
        y[0].lgamma_()
        y.t()[1].polygamma_(1)
        (gradient,) = t.autograd.grad(y.sum(), x)
        return y, gradient

    assert_same(script, rtol=1e-10)


def test_error_functions_and_lgamma_fuse():
    def loss(x):
        return fw.lgamma(x * 2 + 1) - fw.erfc(x) + fw.special.ndtr(x) * fw.special.entr(x).exp() + fw.erfinv(x / 9)

    assert [kernel.kind for kernel in fw.explain(loss)(fw.rand(7)).kernels] == ["kernel"]


def test_the_gradient_of_lgamma_fuses():
    def gradient(x):
        y = x.detach().requires_grad_()
        return fw.autograd.grad((fw.lgamma(y) * 2).sum(), y)[0]

    assert [kernel.kind for kernel in fw.explain(gradient)(fw.rand(7) + 1).kernels] == ["kernel"]


def test_what_is_around_a_library_row_is_replayed():
    @fw.compile
    def program(x):
        return fw.special.i0e(x * 2).sum() + fw.digamma(x + 1)

    x = np.linspace(0.1, 3, 9)
    from scipy import special

    for scale in (1.0, 2.0):
        wanted = special.i0e(scale * x * 2).sum() + special.psi(scale * x + 1)
        np.testing.assert_allclose(program(fw.from_numpy(scale * x)).numpy(), wanted, rtol=1e-13)


def test_gradient_through_vmap_and_func():
    x = np.linspace(0.3, 3, 4)
    found = fw.func.vmap(fw.func.grad(lambda v: fw.lgamma(v) + fw.special.i1(v)))(fw.from_numpy(x.copy()))

    def script(t):
        v = t.tensor(x, requires_grad=True)
        return t.autograd.grad((t.lgamma(v) + t.special.i1(v)).sum(), v)[0] if t is not fw else found

    assert_same(script, rtol=1e-11)


def test_examples_of_the_documentation():
    # the functions that a factory makes have theirs too
    runner, finder = doctest.DocTestRunner(), doctest.DocTestFinder()
    names = {*fw.special.__all__, "igamma", "igammac", "lgamma", "mvlgamma"}
    found = [test for name in sorted(names) for test in finder.find(getattr(fw.special, name), name, module=False)]
    for test in found:
        runner.run(test)
    assert runner.failures == 0
    assert runner.tries > len(names)
