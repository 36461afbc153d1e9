"""Arguments at their limits, and derivatives at corners: PyTorch's answer, or its kind of error."""

from __future__ import annotations

import pytest
from same_as_torch import assert_same

PROGRAMS = """
torch.flip(m, dims=[0])
m.flip(dims=(0, 1))
torch.tensordot(torch.ones(1, 3), torch.arange(6.0).reshape(3, 2), dims=([0], [0]))
torch.tensordot(torch.arange(6.0).reshape(3, 2), torch.ones(1, 4), dims=([0], [0]))
torch.tensordot(torch.arange(6.0).reshape(3, 2), torch.ones(1, 2, 4), dims=([0, 1], [0, 1]))
torch.tensordot(torch.arange(6).reshape(2, 3), torch.arange(3).reshape(1, 3), dims=2)
torch.tensordot(m.int(), torch.ones(1, 1, dtype=torch.int32), dims=([1], [0]))
torch.tensordot(m, m, dims=([0, 0], [0, 0]))
torch.tensordot(m, m, dims=([0, 1], [0]))
torch.tensordot(m, m, dims=([0], [1]))
F.pad(m[None], (-1, 1), mode='replicate')
F.pad(m[None], (-3, 3), mode='replicate')
F.pad(m[None], (-3, 1), mode='replicate')
F.pad(m[None], (-2, 2), mode='replicate')
F.pad(m[None], (1, -3), mode='replicate')
F.pad(m[None, None], (2, -1, -1, 2), mode='replicate')
F.pad(torch.arange(24.0).reshape(1, 1, 2, 3, 4), (2, -1, -1, 2, 1, -1), mode='replicate')
F.pad(m[None], (1, -1), mode='reflect')
F.pad(m[None, None], (1, -1, -1, 1), mode='reflect')
F.pad(m[None], (-1, 1), mode='circular')
m.view(torch.int64)
m.view(torch.int16)
torch.arange(4.0).view(torch.float64)
torch.arange(4.0).view(torch.complex64)
torch.arange(8, dtype=torch.uint8)[1:5].view(torch.int32)
torch.arange(8, dtype=torch.uint8)[4:].view(torch.int32)
torch.arange(8, dtype=torch.uint8)[::2].view(torch.int32)
torch.arange(12, dtype=torch.int16).reshape(3, 4)[:, :2].view(torch.int32)
torch.arange(15, dtype=torch.int16).reshape(3, 5)[:, :2].view(torch.int32)
m.t().view(torch.int16)
m.t().view(torch.int32)
torch.tensor(1.0).view(torch.int16)
torch.ones(4, requires_grad=True).view(torch.int32)
torch.ones(4, requires_grad=True).view(torch.float32).requires_grad
torch.ones(4, requires_grad=True).view(torch.bfloat16).requires_grad
torch.tensor(True).sum_to_size(())
torch.tensor(2, dtype=torch.uint8).sum_to_size(())
torch.tensor([True]).sum_to_size((1,))
F.margin_ranking_loss(i, i.flip(0), i - i + 1, reduction='sum')
F.margin_ranking_loss(i, i.flip(0), i - i + 1, margin=0.5)
F.margin_ranking_loss(i, i.flip(0), i - i - 1, margin=1)
F.triplet_margin_loss(m, m, m, margin=-1.0)
F.triplet_margin_with_distance_loss(m, m, m, margin=-1.0)
torch.roll(v, ())
torch.roll(torch.tensor(1.0), 0, 0)
torch.narrow(m, 0, torch.tensor([1]), 1)
torch.narrow(m, 0, torch.tensor(1), 1)
torch.exp(w, out=torch.empty(3))
torch.add(w, 1, out=torch.empty(3))
torch.sum(w, 0, out=torch.empty(()))
torch.cat([w, w], out=torch.empty(6))
torch.mm(w[None], w[:, None], out=torch.empty(1, 1))
torch.sort(w, out=(torch.empty(3), torch.empty(3, dtype=torch.int64)))
""".strip().split("\n")

BOOLS = """
m.topk(True) v.chunk(True) m.split(True) m.tensor_split(True) m.narrow(0,True,1) m.narrow(0,0,True)
m.repeat_interleave(True) m.unfold(0,True,True) m.diagonal(True) m.diag(True) m.tril(True) m.triu(False)
torch.eye(True) torch.linspace(0,1,True) torch.logspace(0,1,True) torch.randint(True,(2,)) torch.tril_indices(True,2)
m.kthvalue(True) m.rot90(True) m.diff(True) torch.hsplit(m,True) F.avg_pool1d(m[None],True) F.max_pool1d(m[None],True)
F.unfold(m[None,None],True) torch.fft.fft(m,True) m.clamp(True) m.index_fill(1,torch.tensor([0]),True) m.lerp(m,True)
torch.linspace(0,True,3) m.repeat_interleave(2,dim=0) m.topk(1,0,True,False) m.diagonal(1)
torch.addmm(m,m,m.new_ones(3,3),beta=True)
""".split()

ANSWERS = """
torch.linspace(4.3, 0, 50, dtype=torch.uint8)
torch.linspace(4.3, 50, 50, dtype=torch.uint8)
torch.linspace(-3, 5, 5, dtype=torch.uint8)
torch.linspace(-3.7, 5.9, 7, dtype=torch.int64)
torch.linspace(300, 0, 7, dtype=torch.uint8)
torch.linspace(float('nan'), 2, 3, dtype=torch.int64)
torch.linspace(1e20, 2, 3, dtype=torch.int64)
torch.linspace(-130, 5, 5, dtype=torch.int8)
torch.logspace(-3.7, 5.9, 7, dtype=torch.int64)
torch.logspace(0.5, 2.5, 7, 2.7, dtype=torch.int64)
torch.logspace(0, 2.5, 7, dtype=torch.uint8)
torch.logspace(300, 0, 7, dtype=torch.uint8)
torch.complex(m, m, out=torch.ones(2, 3, dtype=torch.complex128))
torch.complex(m, m, out=torch.ones(2, 3, dtype=torch.complex64))
torch.polar(m, m, out=torch.ones(2, 3))
torch.arange(0, 64, 0)
torch.arange(0, 64, 0.5, out=torch.ones(0, dtype=torch.int64))
torch.diff(m, 0, 0, m, m)
torch.diff(m > 2, 0, 0, m > 1)
torch.diff(m, 1, 0, m, m)
torch.diff(m, 0, 0, torch.ones(1, 4))
torch.diff(m, 1, 0, torch.ones(3))
F.conv1d(i.reshape(1, 1, 3), i[:2].reshape(1, 1, 2), i[:1], padding=1)
F.conv1d(i.reshape(1, 1, 3), i[:2].reshape(1, 1, 2), m[0, :1])
F.conv1d(i.reshape(1, 1, 3), m[:, :2].reshape(2, 1, 2))
F.conv1d(i.reshape(1, 1, 3) > 1, i[:2].reshape(1, 1, 2) > 1)
F.conv2d(torch.arange(32).reshape(1, 2, 4, 4), torch.arange(24).reshape(3, 2, 2, 2), i, 2, 1, 2)
F.conv2d(torch.arange(64).reshape(2, 2, 4, 4), torch.arange(12).reshape(2, 1, 2, 3), groups=2)
F.conv2d(torch.arange(32).reshape(2, 4, 4), torch.arange(24).reshape(3, 2, 2, 2), padding='same')
F.conv2d(torch.arange(32).reshape(1, 2, 4, 4).byte(), torch.arange(24).reshape(3, 2, 2, 2).byte())
F.conv2d(torch.arange(32).reshape(1, 2, 4, 4).to(torch.int8), torch.arange(24).reshape(3, 2, 2, 2).to(torch.int8))
F.conv2d(torch.ones(0, 2, 4, 4, dtype=torch.int64), torch.ones(3, 2, 2, 2, dtype=torch.int64))
F.conv3d(torch.arange(64).reshape(1, 1, 4, 4, 4), torch.arange(16).reshape(2, 1, 2, 2, 2))
F.conv_transpose1d(i.reshape(1, 1, 3), i[:2].reshape(1, 1, 2), i[:1], 2)
F.conv_transpose1d(i.reshape(1, 1, 3).int(), i[:2].reshape(1, 1, 2).int())
F.conv_transpose2d(torch.arange(32).reshape(1, 2, 4, 4), torch.arange(24).reshape(2, 3, 2, 2), i, 2, 1, 1)
F.conv_transpose2d(torch.arange(32).reshape(1, 2, 4, 4), torch.arange(8).reshape(2, 1, 2, 2), groups=2, dilation=2)
F.conv_transpose3d(torch.arange(27).reshape(1, 1, 3, 3, 3), torch.arange(16).reshape(1, 2, 2, 2, 2))
F.local_response_norm(torch.arange(12).reshape(1, 6, 2), 2, alpha=3e-5, beta=0.5, k=1.25)
F.local_response_norm(torch.arange(-6, 6).reshape(1, 6, 2), 3)
F.local_response_norm(torch.arange(12).reshape(1, 6, 2).int(), 2)
F.local_response_norm(torch.ones(1, 6, 2, dtype=torch.complex64), 2)
F.rms_norm(torch.tensor([[1 + 2j, 3, 4 - 1j]]), (3,))
F.rms_norm(torch.tensor([[1 + 2j, 3, 4 - 1j]]), (3,), torch.tensor([1j, 2, 3]), eps=0.5)
F.rms_norm(torch.tensor([[1 + 2j, 3, 4 - 1j]]), (3,), v)
F.rms_norm(i, (3,))
F.max_pool1d(torch.ones(0, 10), 1)
F.max_pool1d(torch.ones(2, 0, 10), 1, return_indices=True)
F.max_pool1d(torch.ones(0, 2, 10), 1)
F.max_pool2d(torch.ones(1, 0, 2, 10), 1)
F.max_pool2d(torch.ones(0, 1, 2, 10), 1)
F.max_pool3d(torch.ones(0, 1, 2, 10), 1)
F.avg_pool1d(torch.ones(0, 10), 1)
F.avg_pool2d(torch.ones(1, 0, 2, 10), 1)
F.avg_pool2d(torch.ones(0, 1, 2, 10), 1)
F.avg_pool3d(torch.ones(1, 0, 1, 2, 10), 1)
F.lp_pool1d(torch.ones(0, 10), 2, 1)
F.adaptive_avg_pool1d(torch.ones(2), 2)
F.adaptive_avg_pool2d(m, (2, 2))
F.adaptive_avg_pool2d(m, (None, 2))
F.adaptive_avg_pool2d(m, 2)
F.adaptive_avg_pool2d(m[None], (1, 2, 3))
F.adaptive_avg_pool2d(m[None], (2,))
F.adaptive_avg_pool3d(m[None], (2, 2, 2))
F.adaptive_max_pool1d(torch.ones(2), 2)
F.adaptive_max_pool2d(m, (2, 2))
F.adaptive_max_pool2d(m, 2)
F.adaptive_max_pool2d(m[None], (1, 2, 3))
F.adaptive_max_pool3d(m[None], (2, 2, 2))
F.multi_margin_loss(v[0], torch.tensor(0))
F.multi_margin_loss(v[0], torch.tensor([0]))
F.multi_margin_loss(v[0], torch.tensor(0), reduction='none')
F.multi_margin_loss(v[0], torch.tensor(1))
F.multi_margin_loss(m, torch.ones(2), weight=torch.tensor(1.0))
torch.narrow(m, 0, torch.tensor(0.0), 1)
torch.narrow(m, 0, torch.tensor(False), 1)
torch.max(m, m, True)
torch.max(m, m, None)
torch.min(m, m, 3)
m.max(m, 1)
torch.add(m, 1, alpha=True)
torch.add(i, i, alpha=True)
torch.add(m > 1, m > 2, alpha=True)
torch.add(m > 1, True, alpha=True)
torch.add(m > 1, 1, alpha=True)
torch.sub(m, m, alpha=True)
m.add_(1, alpha=True)
i.sub_(1, alpha=True)
i.add_(1, alpha=1.5)
(m > 1).add_(True, alpha=False)
(m > 1).add_(m > 3, alpha=True)
torch.eq(2, m)
torch.ne(2, m)
torch.lt(2, m)
torch.le(2, m)
torch.gt(2, m)
torch.greater_equal(2, m)
torch.copysign(2, m)
torch.fmod(2, m)
torch.rsub(2, m)
torch.remainder(2, v)
torch.addcmul(2, m, m)
torch.addcdiv(2, m, m)
torch.gather(v, 0, torch.ones(0, dtype=torch.uint8))
torch.gather(m, 0, torch.ones(0, 3))
torch.gather(v, 0, v)
torch.scatter(v, 0, torch.ones(0), 1.0)
torch.scatter_add(v, 0, torch.ones(0), torch.ones(0))
torch.scatter_reduce(v, 0, torch.ones(0), torch.ones(0), 'sum')
torch.index_select(v, 0, torch.ones(0))
torch.take(v, torch.ones(0))
torch.norm(m, 'nuc')
torch.norm(m, 'nuc', keepdim=True)
torch.norm(m, 'nuc', dim=(0, 1), dtype=torch.float64)
torch.norm(m[None], 'nuc', dim=(1, 2))
torch.norm(m[None], 'nuc')
torch.norm(m, 'nuc', dim=0)
torch.norm(v, 'nuc')
torch.norm(m, 'foo')
F.cosine_embedding_loss(m, m.flip(0), torch.tensor([True, False]), margin=0.3, reduction='none')
F.cosine_embedding_loss(m, m.flip(0), torch.tensor([1, 255]).byte(), margin=0.3, reduction='none')
F.cosine_embedding_loss(m.long(), m.long().flip(0), torch.tensor([1, -1]), margin=0.3, reduction='none')
F.cosine_embedding_loss(m.byte() * 50, m.byte() * 30, torch.tensor([1, -1]), margin=0.3, reduction='none')
F.cosine_embedding_loss(m > 2, m > 3, torch.tensor([True, False]), margin=0.3)
torch.rsub(m, m, alpha=True)
""".strip().split("\n")


def run(torch, text):
    names = {
        "torch": torch, "F": torch.nn.functional, "m": torch.arange(6.0).reshape(2, 3), "v": torch.arange(1.0, 4),
        "i": torch.tensor([1, 2, 3]), "w": torch.ones(3, requires_grad=True),
    }
    return eval(text, names)


@pytest.mark.parametrize("text", PROGRAMS)
def test_programs_mean_what_they_mean_in_pytorch(text):
    assert_same(run, text)


@pytest.mark.parametrize("text", BOOLS)
def test_a_bool_is_an_int_where_it_is_one_in_pytorch(text):
    """PyTorch lists the forms of some functions; the type of the error is compared."""
    assert_same(run, text, messages=False)


@pytest.mark.parametrize("text", ANSWERS)
def test_answers_are_those_of_pytorch(text):
    """The type of an error is compared: many of PyTorch's messages are of its kernels."""
    assert_same(run, text, messages=False)


@pytest.mark.parametrize("itemsize", ["int16", "int32", "float64"])
def test_a_view_as_another_dtype_is_of_the_same_memory(itemsize):
    def script(torch):
        x = torch.arange(4.0)
        y = x.view(getattr(torch, itemsize))
        y.fill_(1)
        x.add_(1)
        return x, y

    assert_same(script)


@pytest.mark.parametrize("activation", [
    "elu(x)", "elu(x, 0.5)", "elu(x, -1.5)", "selu(x)", "celu(x)", "celu(x, 0.5)", "silu(x)", "mish(x)", "softplus(x)",
    "gelu(x)", "logsigmoid(x)", "huber_loss(x, 0 * x, reduction='sum')", "smooth_l1_loss(x, 0 * x, reduction='sum')",
])
def test_derivatives_at_corners(activation):
    def script(torch):
        x = torch.tensor([0.0, -0.0, 1.0, -1.0, 3.0, -6.0, float("nan")], dtype=torch.float64, requires_grad=True)
        y = eval(f"torch.nn.functional.{activation}", {"torch": torch, "x": x})
        (first,) = torch.autograd.grad(y.sum(), x, create_graph=True)
        (second,) = torch.autograd.grad((first * torch.arange(1.0, 8)).sum(), x)
        return y, first, second

    assert_same(script)


PIECEWISE = """
F.relu(x) F.relu(x.clone(),inplace=True) F.relu6(x) F.hardtanh(x,-0.5,2.0)
F.leaky_relu(x) F.leaky_relu_(x.clone()) F.prelu(x+1,w)
F.rrelu(x) F.threshold(x,0.1,2.0) F.softshrink(x) F.hardshrink(x) F.max_pool1d(x[None],2) F.max_pool1d(x[None],3,1)
F.max_pool1d(x[None],3,1,return_indices=True)[0] F.adaptive_max_pool1d(x[None],2) F.nll_loss(x,torch.tensor(1)) x.pow(1)
x.pow(0) x**0.0 x.clamp(0,1) x.clamp(min=0) torch.where(x>0,x,0) x.max() x.sort()[0] x.sign() x.round()
torch.copysign(w,x) x.relu()*x.relu() F.relu(x*x) F.leaky_relu(x)*w F.max_pool1d(x[None]*x,2)
x.div(2,rounding_mode='floor') F.avg_pool1d(x[None],2) F.avg_pool2d(x.reshape(1,2,2),2) F.adaptive_avg_pool1d(x[None],2)
F.adaptive_avg_pool2d(x.reshape(1,2,2),1) F.adaptive_avg_pool3d(x.reshape(1,1,2,2),(1,2,1))
F.pad(x[None],(1,1),mode='reflect') F.pad(x[None],(0,0),mode='reflect') F.pad(x[None],(1,1),mode='replicate')
F.pad(x[None],(1,1),mode='circular') F.pad(x[None],(1,1))
F.fractional_max_pool2d(x.reshape(1,1,2,2),1,output_size=1,_random_samples=torch.zeros(1,1,2))
F.interpolate(x[None,None],size=2,mode='area')
torch.remainder(x.detach()+5,x+9) x.remainder(x.detach()+5) torch.div(x.detach(),x+5,rounding_mode='trunc')
torch.div(x,x+5,rounding_mode='trunc') torch.div(w,x+5,rounding_mode='trunc')
""".split()


@pytest.mark.parametrize("text", PIECEWISE)
def test_gradients_of_gradients_of_pieces(text):
    """Zero where PyTorch's gradient is a function of the argument in form, and none where it is not."""
    def script(torch):
        x = torch.tensor([-1.5, 0.0, 0.3, 2.0], requires_grad=True)
        w = torch.tensor([0.25], requires_grad=True)
        y = eval(text, {"torch": torch, "F": torch.nn.functional, "x": x, "w": w})
        (first,) = torch.autograd.grad(y, x, torch.ones_like(y), create_graph=True)
        if not first.requires_grad:
            return first
        return first, torch.autograd.grad((first * torch.arange(1.0, 5)).sum(), (x, w), allow_unused=True)

    assert_same(script)


@pytest.mark.parametrize("text", [
    "torch.hypot(x, x)", "torch.hypot(x, y)", "torch.xlogy(x, x)", "torch.xlogy(x, y)", "torch.xlogy(y, x)",
    "torch.special.xlog1py(x, y)", "torch.special.xlog1py(x, x)", "torch.xlogy(x, 2.0)", "torch.xlogy(2.0, x)",
])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_derivatives_at_zero(text, dtype):
    def script(torch):
        dt = getattr(torch, dtype)
        x = torch.tensor([0.0, 0.0, -0.0, 1.0, 0.0, 2.0, -3.0], dtype=dt, requires_grad=True)
        y = torch.tensor([0.0, 1.0, -1.0, 0.0, 2.0, 3.0, 4.0], dtype=dt, requires_grad=True)
        z = eval(text, {"torch": torch, "x": x, "y": y})
        first = torch.autograd.grad(z.sum(), (x, y), create_graph=True, allow_unused=True)
        second = torch.autograd.grad(sum(g.sum() for g in first if g is not None), (x, y), allow_unused=True)
        return [None if g is None else g.double() for g in (z, *first, *second)]

    assert_same(script)
