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


def run(torch, text):
    names = {
        "torch": torch, "F": torch.nn.functional, "m": torch.arange(6.0).reshape(2, 3), "v": torch.arange(1.0, 4),
        "i": torch.tensor([1, 2, 3]),
    }
    return eval(text, names)


@pytest.mark.parametrize("text", PROGRAMS)
def test_programs_mean_what_they_mean_in_pytorch(text):
    assert_same(run, text)


@pytest.mark.parametrize("text", BOOLS)
def test_a_bool_is_an_int_where_it_is_one_in_pytorch(text):
    """PyTorch lists the forms of some functions; the type of the error is compared."""
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
