"""The order of a new tensor's elements in memory: PyTorch's strides, and what programs see of them."""

import copy
import io

import flamework
import numpy as np
import pytest
from same_as_torch import array, assert_same

OPERANDS = {
    "permuted": lambda t, a: a.permute(2, 0, 1),
    "in steps": lambda t, a: a[:, ::2].transpose(0, 2),
    "expanded": lambda t, a: a[:, :1].expand(3, 4, 5),
    "expanded in front": lambda t, a: a[0].t().expand(3, 5, 4),
    "an axis of one": lambda t, a: a[:, :1].transpose(0, 2),
    "in index order": lambda t, a: a,
    "matrix": lambda t, a: a[0].t(),
    "image": lambda t, a: a.reshape(1, 3, 4, 5).repeat(2, 1, 1, 1).contiguous(memory_format=t.channels_last),
}

EXPRESSIONS = """
    t.abs(x); t.exp(x); t.floor(x); t.frac(x); t.sign(x); t.nan_to_num(x); t.digamma(x); t.isnan(x); t.logical_not(x)
    t.special.entr(x); t.special.i0e(x); -x; abs(x); x ** 2; 2 ** x; x + 1; 1 - x; x > 1; ~(x > 1); x * True
    x.clone(); x.double(); x.to(t.float16); x.to(t.complex64); x.to(t.complex64).conj() + 1; x.to(t.complex64).real
    x.type(t.float64); x.cpu(); x.contiguous(); x.clone(memory_format=t.contiguous_format); x.detach() * 2
    t.zeros_like(x); t.empty_like(x, dtype=t.float64); t.full_like(x, 2); t.rand_like(x); t.randint_like(x, 3)
    t.ones_like(x, memory_format=t.contiguous_format); t.randn_like(x, requires_grad=True)
    t.add(x, y); t.mul(y, x); x + y; y + x; x * y - 1; x ** 2 + y; x + x.contiguous(); x.contiguous() + x; x >= y
    t.where(x > 1, x, y); t.lerp(x, y, 0.5); t.addcmul(x, y, y); t.clamp(x, y, y); t.maximum(y, x); t.atan2(x, y)
    t.fmod(x, y); x // y; x.long() // 2; x.long() & 1; x.long() << 1; t.gcd(x.long(), y.long()); t.isclose(x, y)
    t.complex(x, y); t.polar(x, y); t.copysign(x, y); t.xlogy(x, y); t.logical_xor(x, y); (x > 1) | (y > 1)
    x + t.ones(x.shape[-1]); x + t.ones(x.shape[0], *[1] * (x.ndim - 1)); x.sum(-1, keepdim=True) + x; x[0] * 2
    x[1:] * 2; x[..., ::2] * 2; x.diagonal() + 1; x.unfold(0, 2, 1) + 1; x.flatten(1) + 1; x.mT * 2
    x.movedim(0, -1) * 2
    x.sort(dim=0)[0]; x.sort(-1)[1]; x.argsort(0); x.flip(0); t.rot90(x); t.fliplr(x); x.diff(); x.frexp()[1]
    x.cumsum(0); x.softmax(-1); x.sum(0); x.tril(); x.gather(0, t.zeros(x.shape, dtype=t.int64)); t.cat([x, x])
    x.matmul(x.mT); x.repeat(2, *[1] * (x.ndim - 1)); x.roll(1, 0); x.masked_fill(x > 1, 0.0)
    x.index_select(0, t.arange(2))
    t.nn.functional.relu(x); t.nn.functional.gelu(x); t.nn.functional.softplus(x); t.nn.functional.dropout(x, 0.5)
    t.nn.functional.mse_loss(x, y, reduction="none"); t.nn.functional.layer_norm(x, x.shape[-1:])
    t.nn.functional.prelu(x, t.tensor([0.5])); t.nn.functional.normalize(x); t.nn.functional.threshold(x, 0.1, 2.0)
    t.nn.GELU()(x); t.nn.Dropout(0.5)(x); t.nn.LeakyReLU()(x); t.nn.LayerNorm(x.shape[-1])(x)
"""

IMAGES = """
    f.conv2d(x, t.ones(2, 3, 2, 2)); f.conv2d(x.contiguous(), t.ones(2, 3, 2, 2).to(memory_format=t.channels_last))
    f.max_pool2d(x, 2); f.avg_pool2d(x, 2); f.adaptive_avg_pool2d(x, 2); f.interpolate(x, scale_factor=2)
    f.batch_norm(x, t.zeros(3), t.ones(3)); f.group_norm(x, 3); f.pad(x, (1, 1))
    f.conv_transpose2d(x, t.ones(3, 2, 2, 2))
    t.cat([x, x]); x.to(memory_format=t.contiguous_format) * 2; t.nn.Conv2d(3, 2, 1)(x); t.nn.MaxPool2d(2)(x)
    t.nn.BatchNorm2d(3)(x); t.nn.Sequential(t.nn.Conv2d(3, 4, 2), t.nn.ReLU(), t.nn.AvgPool2d(2))(x)
    f.instance_norm(x); f.pixel_shuffle(x.repeat(1, 4, 1, 1), 2); f.dropout2d(x)
    f.interpolate(x, scale_factor=2, mode="bilinear")
"""

HEADS = """
    f.scaled_dot_product_attention(x, x, x); f.scaled_dot_product_attention(x, y, y, is_causal=True)
    f.scaled_dot_product_attention(y, x, x); f.scaled_dot_product_attention(x, x[:, :1], x[:, :1], enable_gqa=True)
    f.scaled_dot_product_attention(x, x, x, t.ones(5, 5)); f.scaled_dot_product_attention(x[:, 0], x[:, 0], x[:, 0])
    f.scaled_dot_product_attention(x[:, :, ::2], x, x); f.scaled_dot_product_attention(*[x.half()] * 3)
    f.scaled_dot_product_attention(*[x.permute(1, 0, 2, 3)] * 3); f.scaled_dot_product_attention(*[x.mT] * 3)
    f.scaled_dot_product_attention(x, x, x).transpose(1, 2).view(2, 5, 24)
"""


def values(t):
    return t.arange(60.0).reshape(3, 4, 5) / 7 + 0.25


def strides(t, expressions, x):
    y = t.arange(float(x.numel())).reshape(x.shape) / 5 + 0.25
    found = {}
    for text in expressions.replace("\n", ";").split(";"):
        if text.strip():
            t.manual_seed(0)
            result = eval(text, {"t": t, "f": t.nn.functional, "x": x, "y": y})
            found[text.strip()] = [list(result.shape), told(result), result.is_contiguous()]
    return found


def told(x):
    """The strides of axes with more than one element; those of others say nothing."""
    return [stride for extent, stride in zip(x.shape, x.stride(), strict=True) if extent > 1]


@pytest.mark.parametrize("operand", OPERANDS)
def test_strides_of_results(operand):
    assert_same(lambda t: strides(t, EXPRESSIONS, OPERANDS[operand](t, values(t))))


def test_strides_of_what_is_made_from_images():
    assert_same(lambda t: strides(t, IMAGES, OPERANDS["image"](t, values(t))))


def test_strides_of_attention():
    assert_same(lambda t: strides(t, HEADS, t.arange(240.0).reshape(2, 5, 3, 8).transpose(1, 2)))


def programs(t):
    """What a program can see of the order, one result each."""
    m = t.arange(6.0).reshape(2, 3)

    def copied():
        y = m.t() + 1
        y.reshape(-1).zero_()
        return y

    def shared():
        y = m.t() + 1
        y.t().reshape(-1).zero_()
        return y

    def cannot_be_viewed():
        return (m.t() + 1).view(-1)

    def viewed():
        return (m.t() + 1).t().view(-1)

    def strided():
        return (m.t() + 1).as_strided((6,), (1,))

    def written():
        y = m.t() * 2
        y[1] += 10
        y.t()[0] = 7
        y += t.arange(2)
        y.mul_(y)
        return y, y.stride()

    def written_through_a_flat_view():
        y = m.t() * 2
        y.as_strided((6,), (1,))[2] = -1
        return y

    def diagonal():
        y = m.t()[:2] * 2
        y.diagonal().fill_(5)
        return y, y.diagonal().stride()

    def given_out():
        out = t.empty(2, 3).t()
        t.exp(m.t(), out=out)
        return out, out.stride()

    def taken_apart():
        y = m.t() * 2
        a, b = y.unbind(1)
        a.add_(100)
        return y, a.stride(), b.stride()

    def leaf():
        w = (m.t() * 2).requires_grad_()
        (w * w).sum().backward()
        return w.grad, w.grad.stride(), w.is_leaf

    def leaf_view():
        w = m.clone().t().requires_grad_()
        (w.contiguous() ** 2).sum().backward()
        return w.grad, w.grad.stride()

    def leaf_in_steps():
        w = m[:, ::2].t().requires_grad_()
        (w ** 2).sum().backward()
        return w.grad, w.grad.stride()

    def hooked():
        w = m.clone().requires_grad_()
        y = w.t() * 3
        seen = []
        y.register_hook(lambda g: seen.append(g.clone()))
        y.retain_grad()
        (y.reshape(-1) * t.arange(6.0)).sum().backward()
        return w.grad, seen, y.grad

    def detached():
        w = m.clone().requires_grad_()
        y = w.t() * 3
        y.detach_()
        y += 1
        return y, y.stride(), y.requires_grad

    def as_data():
        w = t.nn.Parameter(m.clone())
        w.data = m.t() * 2
        w.data[0, 0] = 9
        return w, w.stride()

    def stored():
        return (m.t() * 2).untyped_storage().nbytes(), list((m.t() * 2).storage())

    def exported():
        return list((m.t() * 2).numpy().strides), (m.t() * 2).numpy().copy()

    def written_by_numpy():
        y = m.t() * 2
        y.numpy()[1, 0] = 50
        return y, y.stride()

    def saved():
        file = io.BytesIO()
        t.save(m.t() * 2, file)
        file.seek(0)
        found = t.load(file)
        return found, found.stride()

    def duplicated():
        found = copy.deepcopy(m.t() * 2)
        return found, found.stride()

    def pickled():
        y = m.t() * 2
        y.set_(y.clone())
        return y, y.stride()

    def no_grad():
        w = m.clone().requires_grad_()
        with t.no_grad():
            y = w.t() * 2
        y.mul_(w.t())
        y.sum().backward()
        return w.grad, y

    def empty():
        y = m[:, :0].t() * 2
        return y, y.is_contiguous(), (y.mT + 1).is_contiguous()

    def wider():
        y = m.t() + t.arange(3.0)[:, None]
        return (y[None] * t.ones(2, 1, 1)), (y[None] * t.ones(2, 1, 1)).stride()

    return {name: f for name, f in locals().items() if callable(f)}


NAMES = [name for name in programs(flamework) if name not in ("t", "m")]


@pytest.mark.parametrize("name", NAMES)
def test_what_a_program_sees(name):
    assert_same(lambda t: programs(t)[name]())


def random_program(t, seed):
    """A program of permutations, arithmetic, reshaping and writing, which depends on who shares memory with whom."""
    rng = np.random.default_rng(seed)
    tensors = [t.tensor(array(2, 3, 4, seed=seed)), t.tensor(array(2, 3, 4, seed=seed + 1)).permute(2, 0, 1)]
    log = []
    for _ in range(25):
        x = tensors[rng.integers(len(tensors))]
        what = rng.integers(9)
        number = float(rng.integers(1, 5)) / 4
        order = [int(a) for a in rng.permutation(x.ndim)]
        if what == 0:
            y = x.permute(order)
        elif what == 1:
            y = x * number + 1
        elif what == 2:
            same = [z for z in tensors if z.shape == x.shape]
            y = x + same[rng.integers(len(same))] * number
        elif what == 3:
            y = x.reshape(-1) if rng.integers(2) else x.reshape(int(x.shape[0]), -1)
        elif what == 4:
            y = x.clone() if rng.integers(2) else t.tanh(x)
        elif what == 5:
            y = x[int(rng.integers(x.shape[0])) :] if x.shape[0] > 1 else x
        elif what == 6:
            x.mul_(number)
            continue
        elif what == 7:
            x[0] = number
            continue
        else:
            y = x.contiguous()
        if y.ndim:
            tensors.append(y)
            log.append((list(y.shape), told(y), y.is_contiguous()))
    return log, tensors


@pytest.mark.parametrize("seed", range(20))
def test_random_programs(seed):
    assert_same(random_program, seed, rtol=1e-5, atol=1e-6)


def test_compiled_functions_return_the_same_order():
    def f(x):
        y = x.t() * 2
        return y, y.reshape(-1), t_like(x), (x.t() + x.t()).contiguous()

    def t_like(x):
        return flamework.zeros_like(x.t())

    compiled = flamework.compile(f)
    for _ in range(3):
        x = flamework.tensor(array(3, 4))
        for ours, theirs in zip(compiled(x), f(x), strict=True):
            assert ours.stride() == theirs.stride()
            np.testing.assert_array_equal(ours.numpy(), theirs.numpy())
        y = compiled(x)[0]
        y.reshape(-1).zero_()
        assert y.abs().sum() > 0


def test_an_order_moves_nothing():
    """Elementwise work on a transposed tensor is one kernel, as long as nobody looks at the memory."""
    x = flamework.tensor(array(8, 16))
    flamework.realize(x)
    before = flamework.counters()["kernels_launched"]
    ((x.t() * 2 + 1).exp() - 1).tolist()
    assert flamework.counters()["kernels_launched"] - before == 1
