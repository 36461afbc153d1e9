"""The functional parts of ``autograd``: Jacobians and products, dual tensors, gradients against differences."""

import flamework
import numpy as np
import pytest
from flamework.autograd import forward_ad, gradcheck, gradgradcheck
from flamework.autograd.gradcheck import GradcheckError
from same_as_torch import array, assert_same


def cube(x):
    return x**3


def total(x):
    return (x**3).sum()


def both_of(x, y):
    return (x * y * y).sum()


CALLS = {
    "jacobian": lambda f, x, y: f.jacobian(cube, x),
    "jacobian by several": lambda f, x, y: f.jacobian(both_of, (x, y)),
    "jacobian of several": lambda f, x, y: f.jacobian(lambda x: (x * 2, x.sum()), x),
    "jacobian of several by several": lambda f, x, y: f.jacobian(lambda x, y: (x * y, x.sum()), (x, y)),
    "jacobian vectorized": lambda f, x, y: f.jacobian(lambda x, y: (x * y, x.sum()), (x, y), vectorize=True),
    "jacobian forward": lambda f, x, y: f.jacobian(cube, x, vectorize=True, strategy="forward-mode"),
    "jacobian forward by several": lambda f, x, y: f.jacobian(
        lambda x, y: (x * y, x.sum()), (x, y), vectorize=True, strategy="forward-mode"),
    "jacobian of a constant": lambda f, x, y: f.jacobian(lambda x: y, x),
    "jacobian strict": lambda f, x, y: f.jacobian(lambda x: y, x, strict=True),
    "jacobian strict and vectorized": lambda f, x, y: f.jacobian(cube, x, strict=True, vectorize=True),
    "jacobian by no strategy": lambda f, x, y: f.jacobian(cube, x, strategy="sideways"),
    "jacobian of a number": lambda f, x, y: f.jacobian(cube, 1.0),
    "jacobian to a number": lambda f, x, y: f.jacobian(lambda x: 1.0, x),
    "hessian": lambda f, x, y: f.hessian(total, x),
    "hessian by several": lambda f, x, y: f.hessian(both_of, (x, y)),
    "hessian vectorized": lambda f, x, y: f.hessian(both_of, (x, y), vectorize=True),
    "hessian of a linear function": lambda f, x, y: f.hessian(lambda x: x.sum(), x),
    "hessian strict": lambda f, x, y: f.hessian(lambda x: x.sum(), x, strict=True),
    "hessian of no scalar": lambda f, x, y: f.hessian(cube, x),
    "hessian of a tuple": lambda f, x, y: f.hessian(lambda x: (x.sum(), x.sum()), x),
    "vjp": lambda f, x, y: f.vjp(cube, x, y),
    "vjp of a scalar": lambda f, x, y: f.vjp(both_of, (x, y)),
    "vjp of a constant": lambda f, x, y: f.vjp(lambda x: y, x, y),
    "vjp without a vector": lambda f, x, y: f.vjp(cube, x),
    "vjp of another shape": lambda f, x, y: f.vjp(cube, x, y[:1]),
    "vjp strict": lambda f, x, y: f.vjp(lambda x: y, x, y, strict=True),
    "jvp": lambda f, x, y: f.jvp(cube, x, y),
    "jvp by several": lambda f, x, y: f.jvp(both_of, (x, y), (y, x)),
    "jvp of one element": lambda f, x, y: f.jvp(cube, x[0, 0]),
    "jvp without a vector": lambda f, x, y: f.jvp(cube, x),
    "jvp of too many": lambda f, x, y: f.jvp(cube, x, (y, y)),
    "jvp strict": lambda f, x, y: f.jvp(lambda x: y, x, y, strict=True),
    "hvp": lambda f, x, y: f.hvp(total, x, y),
    "hvp by several": lambda f, x, y: f.hvp(both_of, (x, y), (y, x)),
    "hvp of a linear function": lambda f, x, y: f.hvp(lambda x: x.sum(), x, y),
    "hvp of no scalar": lambda f, x, y: f.hvp(cube, x, y),
    "hvp strict": lambda f, x, y: f.hvp(lambda x: x.sum(), x, y, strict=True),
    "vhp": lambda f, x, y: f.vhp(total, x, y),
    "vhp by several": lambda f, x, y: f.vhp(both_of, (x, y), (y, x)),
    "vhp without a vector": lambda f, x, y: f.vhp(total, x),
}


@pytest.mark.parametrize("name", CALLS)
def test_results_are_those_of_torch(name):
    def script(torch):
        x, y = torch.tensor(array(2, 3)), torch.tensor(array(2, 3, seed=1))
        return CALLS[name](torch.autograd.functional, x, y)

    assert_same(script, rtol=1e-4, atol=1e-5, messages="strict" not in name)


@pytest.mark.parametrize("name", ["jacobian", "hessian", "vjp", "jvp", "hvp", "vhp"])
def test_results_can_be_differentiated_if_asked(name):
    x, y = flamework.tensor(array(3), requires_grad=True), flamework.tensor(array(3, seed=1))
    function = cube if name in ("jacobian", "vjp", "jvp") else total
    arguments = (function, x) if name in ("jacobian", "hessian") else (function, x, y)

    def result(**options):
        found = getattr(flamework.autograd.functional, name)(*arguments, **options)
        return found[1] if isinstance(found, tuple) else found

    assert not result().requires_grad
    found = result(create_graph=True)
    (slope,) = flamework.autograd.grad(found.sum(), x)
    assert (slope != 0).all().item()
    assert x.grad is None


def test_dual_tensors_carry_tangents():
    def script(torch):
        forward_ad = torch.autograd.forward_ad
        x, t = torch.tensor(array(3)), torch.tensor(array(3, seed=1))
        with forward_ad.dual_level():
            dual = forward_ad.make_dual(x, t)
            y = (dual * dual).exp().sum() * dual
            unpacked = forward_ad.unpack_dual(y)
            plain = forward_ad.unpack_dual(x)
            seen = y.sum().item() > -1
            again = forward_ad.unpack_dual(y * 2)
            cut = forward_ad.unpack_dual(y.detach())
            found = [unpacked.primal, unpacked.tangent, again.tangent, plain.tangent is None, cut.tangent is None, seen]
        return [*found, forward_ad.unpack_dual(y).tangent is None]

    assert_same(script, rtol=1e-4)


@pytest.mark.parametrize("call", [
    lambda f, x: f.make_dual(x, x),
    lambda f, x: f.enter_dual_level() or f.enter_dual_level(),
    lambda f, x: f.enter_dual_level() or f.make_dual(x, x[:1]),
    lambda f, x: f.enter_dual_level() or f.make_dual(x.long(), x),
], ids=["no level", "nested", "shape", "integers"])
def test_dual_tensors_are_refused_as_by_torch(call):
    def script(torch):
        forward = torch.autograd.forward_ad
        try:
            return call(forward, torch.tensor(array(3)))
        finally:
            try:
                forward.exit_dual_level()
            except RuntimeError:
                pass

    assert_same(script, messages=False)


def test_dual_tensors_agree_with_jvp_through_views_and_writes():
    x, t = flamework.tensor(array(3, 4)), flamework.tensor(array(3, 4, seed=1))

    def function(x):
        y = x.t().clone()
        y[1:] *= x.t()[1:]
        return y.softmax(0).reshape(-1)[::2]

    expected = flamework.func.jvp(function, (x,), (t,))[1]
    with forward_ad.dual_level():
        found = forward_ad.unpack_dual(function(forward_ad.make_dual(x, t))).tangent
    np.testing.assert_allclose(found.numpy(), expected.numpy(), rtol=1e-6)


class Wrong(flamework.autograd.Function):
    """Twice the input, with a gradient of three."""

    @staticmethod
    def forward(ctx, x):
        return x * 2

    @staticmethod
    def backward(ctx, g):
        return g * 3


def doubles():
    return flamework.linspace(0.3, 1, 3, dtype=flamework.float64).requires_grad_()


def test_right_gradients_pass():
    x = doubles()
    assert gradcheck(flamework.sin, (x,), check_forward_ad=True, check_batched_grad=True, check_grad_dtypes=True)
    assert gradcheck(lambda x, y, n: (x * y.exp() * n, x.sum()), (x, doubles(), 2))
    assert gradcheck(flamework.cumprod, (x, 0))
    assert gradgradcheck(flamework.sin, (x,), check_fwd_over_rev=True)
    assert gradgradcheck(lambda x: (x * x, x.prod()), x)


def test_wrong_gradients_are_found():
    with pytest.raises(GradcheckError, match="Jacobian mismatch for output 0 with respect to input 0"):
        gradcheck(Wrong.apply, (doubles(),))
    assert gradcheck(Wrong.apply, (doubles(),), raise_exception=False) is False
    with pytest.raises(GradcheckError, match="expected to be zero"):
        gradcheck(lambda x: x.detach(), (doubles(),))
    with pytest.raises(ValueError, match="at least one input tensor"):
        gradcheck(flamework.sin, (flamework.ones(2),))


def test_wrong_second_gradients_are_found():
    class Once(flamework.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return x**3

        @staticmethod
        def backward(ctx, g):
            (x,) = ctx.saved_tensors
            return g * 3 * x.detach() ** 2

    assert gradcheck(Once.apply, (doubles(),))
    assert gradgradcheck(Once.apply, (doubles(),), raise_exception=False) is False


@pytest.mark.parametrize("fast_mode", [False, True])
def test_gradcheck_sees_complex_numbers(fast_mode):
    class Wrong(flamework.autograd.Function):
        @staticmethod
        def forward(ctx, z):
            ctx.save_for_backward(z)
            return z * z

        @staticmethod
        def backward(ctx, g):
            (z,) = ctx.saved_tensors
            # the conjugate is missing
            return g * 2 * z

    z = flamework.tensor([0.3 + 0.4j, -1 + 0.2j], dtype=flamework.complex128, requires_grad=True)
    x = flamework.tensor([0.5, 1.0], dtype=flamework.float64, requires_grad=True)
    for function in (lambda z: z * z, lambda z: z.exp(), lambda z: z.abs(), lambda z: (z.real, z * 2j)):
        assert gradcheck(function, (z,), fast_mode=fast_mode)
        assert gradgradcheck(function, (z,), fast_mode=fast_mode)
    assert gradcheck(lambda x, z: x * z, (x, z), fast_mode=fast_mode)
    with pytest.raises(GradcheckError, match="Jacobian mismatch"):
        gradcheck(Wrong.apply, (z,), fast_mode=fast_mode)
    assert not gradcheck(Wrong.apply, (z,), fast_mode=fast_mode, raise_exception=False)
    with pytest.raises(ValueError, match="none of them have requires_grad=True"):
        gradcheck(lambda z: z * 2, (z.detach(),), fast_mode=fast_mode)
