"""In-place writes, gradients and data that PyTorch refuses, with its sentences; and what it allows, with its values."""

from __future__ import annotations

import flamework
import numpy as np
import pytest
from same_as_torch import assert_same

# Writes to views. A row may leave something to compare in r.
VIEWS = [
    "a,b=h.chunk(2); a.add_(1)",
    "a,b=leaf.chunk(2); a.add_(1)",
    "a,b=h.split(2); b.mul_(2)",
    "a,b=h.split([1,3]); b.mul_(2)",
    "a,b,c,d=h.unbind(); b.zero_()",
    "a,b,c,d=leaf.unbind(); b.zero_()",
    "a,b=h.tensor_split(2); b.mul_(2)",
    "a,b=hm.hsplit([1]); b.mul_(2)",
    "a,b=hm.vsplit(2); b.mul_(2)",
    "a=list(hm)[0]; a.add_(1)",
    "for a in hm: a.add_(1)",
    "for a in lm: a.add_(1)",
    "for a in m: a.add_(1)",
    "a,b=m.chunk(2); a.add_(b); r=m",
    "a,b=m.unbind(); a.add_(b); r=m",
    "a,b=h.chunk(2); a[0]=1",
    "a,b=h.chunk(2); a.view(2,1).add_(1)",
    "a,b=h.chunk(2); a.detach().add_(1); r=h",
    "a,b=m.unbind(); a.add_(lm[0])",
    "a,b=m.unbind(); a.mul_(lm.sum()); r=m",
    "a,b=h.chunk(2); h.add_(1); r=a",
    "a,b=h.chunk(2)\nwith torch.no_grad(): a.add_(1)\nr=h",
    "a,b=leaf.chunk(2)\nwith torch.no_grad(): a.add_(1)\nr=leaf",
    "with torch.no_grad(): a=h[1:]\na.add_(1)",
    "with torch.no_grad(): a=leaf[1:]\na.add_(1)",
    "with torch.no_grad(): a=leaf.view(2,2)\na.mul_(2)",
    "with torch.no_grad(): a=m[1:]\na.mul_(2);r=m",
    "with torch.no_grad(): a=m[1:]\na.mul_(lm.sum());r=m",
    "with torch.no_grad(): a=m.unbind()[0]\na.mul_(2);r=m",
    "with torch.no_grad(): a=h.unbind()[0]\na.mul_(2);r=m",
    "with torch.no_grad(): a=h.unbind()[0]\na=a.detach();a.mul_(2);r=h",
    "with torch.no_grad():\n  a=h[1:]\n  a.add_(1)\nr=h",
    "with torch.no_grad(): a=h.detach()[1:]\na.add_(1);r=h",
    "with torch.no_grad(): a=h.detach()\na.add_(1);r=h",
    "a=leaf.unsqueeze(0)\na.add_(1)",
    "leaf.add_(1)",
    "leaf[0]=1",
    "leaf[0].fill_(1)",
    "leaf.view(2,2)[0]=1",
    "leaf.t_()",
    "leaf.squeeze_()",
    "leaf.unsqueeze_(0)",
    "h.unsqueeze_(0); r=h",
    "leaf.T.add_(1)",
    "leaf.expand(2,4).add_(1)",
    "leaf.detach_()",
    "h[1:].detach_()",
    "a,b=h.chunk(2); a.detach_()",
    "a,b=m.chunk(2); a.detach_()",
    "leaf.resize_(8)",
    "h.resize_(8)",
    "h.set_(h); r=h.shape",
    "nn.Parameter(i)",
    "h.retain_grad(); m.retain_grad()",
    "m.register_hook(print)",
    "leaf.copy_(torch.ones(4))",
    "leaf.zero_()",
    "with torch.no_grad(): leaf.zero_()\nr=leaf",
    "v.expand(3,3).add_(1)",
    "leaf += 1",
    "h += 1; r=h",
    "h.clone().mul_(h); r=h",
    "x=torch.ones(4); a,b=x.chunk(2); a.mul_(leaf[:2])",
    "h.real.add_(1); r=h",
    "hm[:,1].add_(1); r=hm",
    "hm.diagonal().add_(1); r=hm",
    "a,b=torch.svd(hm)[:2]; a.add_(1); r=0",
    "a,b=hm.sort(); a.add_(1); r=a",
    "a,b=hm.max(1); a.add_(1); r=a",
    "a=hm.unfold(1,2,1); a.add_(1)",
    "leaf.swapaxes_(0,0)",
    "a,b=h.chunk(2); a.unsqueeze_(0)",
    "a,b=h.chunk(2); a.squeeze_()",
    "with torch.no_grad(): a=h[1:]\na.unsqueeze_(0); r=a.shape",
    "a,b=h.chunk(2); a.copy_(b)",
    "a,b=h.chunk(2); a.normal_()",
    "a,b=h.chunk(2); a.clamp_(0)",
]

# What .grad, .data and .requires_grad may be assigned.
GRADIENTS = [
    "a,b=h.chunk(2); a.data.add_(1); r=h",
    "a,b=m.unbind(); a.requires_grad_(); r=a.requires_grad",
    "h.detach_(); r=h.requires_grad",
    "leaf.requires_grad_(False); r=leaf.requires_grad",
    "h.requires_grad_(False)",
    "h.requires_grad=False",
    "h.requires_grad_(True); r=h.requires_grad",
    "i.requires_grad_()",
    "i.requires_grad_(False); r=i.requires_grad",
    "i.requires_grad=True",
    "i.requires_grad=1",
    "leaf.requires_grad=0; r=leaf.requires_grad",
    "leaf.requires_grad='a'",
    "leaf.requires_grad_(0)",
    "leaf.requires_grad_(None)",
    "torch.tensor([1,2],requires_grad=True)",
    "torch.ones(2,dtype=torch.int64,requires_grad=True)",
    "torch.ones(2,dtype=torch.bool,requires_grad=True)",
    "torch.arange(3,requires_grad=True)",
    "torch.zeros_like(i,requires_grad=True)",
    "leaf.grad=1",
    "leaf.grad='a'",
    "leaf.grad=leaf",
    "leaf.grad=torch.ones(3)",
    "leaf.grad=torch.ones(4,dtype=torch.float64)",
    "leaf.grad=torch.ones(4,dtype=torch.int64)",
    "leaf.grad=torch.ones(3,dtype=torch.float64)",
    "leaf.grad=torch.ones(1,4)",
    "leaf.grad=np.ones(4)",
    "leaf.grad=None; r=leaf.grad",
    "leaf.grad=torch.ones(4); r=leaf.grad",
    "leaf.grad=torch.ones(4); leaf.grad=None; r=leaf.grad",
    "i.grad=torch.ones(3)",
    "i.grad=torch.ones(3,dtype=torch.int64); r=i.grad",
    "m.grad=torch.ones(2,3); r=m.grad",
    "h.grad=torch.ones(4); r=h.grad",
    "leaf.grad=h; r=leaf.grad.requires_grad",
    "del leaf.grad; r=leaf.grad",
    "leaf.data=1",
    "leaf.data=None",
    "leaf.data=np.ones(4)",
    "leaf.data=torch.ones(4,dtype=torch.int64)",
    "leaf.data=torch.ones(4,dtype=torch.float64); r=leaf",
    "leaf.data=torch.ones(3); r=leaf",
    "m.data=torch.ones(3,dtype=torch.int64); r=m",
    "m.data=torch.ones(3,dtype=torch.complex64); r=m",
    "h.data=torch.ones(3); r=h",
    "leaf.data=torch.ones(4,dtype=torch.bool)",
    "leaf.data=torch.ones(4,dtype=torch.complex64)",
    "h.data=torch.ones(4,dtype=torch.int64)",
    "del leaf.data",
    "m.copy_(lm); r=m.requires_grad",
    "leaf.data.zero_(); r=leaf",
    "x=torch.ones(4); x.mul_(leaf); r=x.requires_grad",
    "x=torch.ones(4); y=x.detach(); y.mul_(leaf); r=(x.requires_grad,y.requires_grad)",
    "x=torch.ones(4,requires_grad=True); x.detach().mul_(leaf)",
    "x=torch.ones(4); a,b=x.chunk(2); x.mul_(leaf); r=(a.requires_grad,); a.add_(1)",
    "a,b=h.chunk(2); a.requires_grad_(); r=a.is_leaf",
    "x=torch.ones(3); y=x.view(3); y.requires_grad_(); x.add_(1); r=y",
    "x=torch.ones(4); a,b=x.chunk(2); a.requires_grad_(); a.add_(1)",
    "x=torch.ones(4); a,b=x.chunk(2); a.requires_grad_(); b.add_(1); r=x",
    "x=torch.ones(4); a=x.detach(); x.requires_grad_(); a.add_(1); r=x",
]

# Values that a gradient needs, written to before it is taken.
SAVED = [
    "y=leaf.exp(); y.add_(1); y.sum().backward()",
    "y=leaf*2; z=y*y; y.add_(1); z.sum().backward()",
    "y=leaf*2; z=y*y; y[0]=1; z.sum().backward()",
    "y=leaf*2; z=y[1:].exp(); z.mul_(2); z.sum().backward()",
    "y=leaf*2; z=y[1:]*y[1:]; y.mul_(2); z.sum().backward()",
    "y=leaf.sigmoid(); y.mul_(2); y.mul_(2); y.sum().backward()",
    "w=torch.ones(4); z=leaf*w; w.add_(1); z.sum().backward()",
    "w=torch.ones(4); z=leaf*w; w.add_(1);w.add_(1); z.sum().backward()",
    "w=torch.ones(4); w.add_(1); z=leaf*w; w.add_(1); z.sum().backward()",
    "w=torch.ones(4); w.add_(1); w.add_(1); z=leaf*w; w.add_(1); z.sum().backward()",
    "w=torch.ones(4); q=w[1:]; q.add_(1); z=leaf[1:]*q; w.add_(1); z.sum().backward()",
    "w=torch.ones(4); z=leaf[1:]*w[1:]; w.add_(1); z.sum().backward()",
    "y=leaf.softmax(0); y.add_(1); y.sum().backward()",
    "y=leaf/h; h.add_(1); y.sum().backward()",
    "y=h.log(); h.add_(1); y.sum().backward()",
    "y=h.sum(); h.add_(1); y.sum().backward(); r=leaf.grad",
    "y=h.max(); h.add_(1); y.sum().backward(); r=leaf.grad",
    "y=h.sin(); h.mul_(2); y.sum().backward()",
    "y=torch.where(h>0,h,h*2); h.mul_(2); y.sum().backward(); r=leaf.grad",
    "y=h.prod(); h.mul_(2); y.sum().backward()",
    "y=F.linear(lm,torch.ones(2,3,requires_grad=True)); y.add_(1); y.sum().backward(); r=lm.grad",
    "W=torch.ones(3,3,requires_grad=True)\ny=lm@W\nwith torch.no_grad(): W.add_(1)\ny.sum().backward()",
    "y=h*h; y.sum().backward(); y.sum().backward()",
    "y=h*h; z=y.sum(); z.backward(); z.backward()",
    "h.backward()",
    "m.sum().backward()",
    "h.sum().backward(torch.ones(2))",
    "h.sum().backward(torch.ones(1))",
    "x=torch.ones(4); y=x[1:]; y.mul_(leaf[1:]); x.sum().backward(); r=leaf.grad",
]

# Functions of a user: the body of forward, that of backward, and a program with Fn.
FUNCTIONS = [
    ("return x.view(2,2)", "g", "return g.view(4)", "y=Fn.apply(h); y.add_(1)"),
    ("return x[:2],x[2:]", "g,k", "return torch.cat([g,k])", "y,z=Fn.apply(h); y.add_(1)"),
    ("ctx.mark_dirty(x); return x.add_(1)", "g", "return g", "y=Fn.apply(h); r=y is h"),
    ("ctx.mark_dirty(x); return x.add_(1)", "g", "return g", "y=Fn.apply(leaf)"),
    ("return x", "g", "return g", "y=Fn.apply(h); y.add_(1);r=y"),
    ("ctx.save_for_backward(x); return x*2", "g", "return g*ctx.saved_tensors[0]",
     "y=Fn.apply(h); h.add_(1); y.sum().backward()"),
    ("ctx.save_for_backward(x); return x*2", "g", "return g*ctx.saved_tensors[0]",
     "y=Fn.apply(h).sum(); y.backward(); y.backward()"),
    ("ctx.save_for_backward(1); return x*2", "g", "return g*ctx.saved_tensors[0]",
     "y=Fn.apply(h).sum(); y.backward(); y.backward()"),
    ("return x*2", "g", "return g[:2]", "y=Fn.apply(h).sum(); y.backward()"),
    ("return x*2", "g", "return 1", "y=Fn.apply(h).sum(); y.backward()"),
    ("return x*2", "g", "return g,g", "y=Fn.apply(h).sum(); y.backward()"),
]

SENTENCE = "one of the variables needed for gradient computation has been modified by an inplace operation"


def run(torch, text):
    leaf, matrix = torch.ones(4, requires_grad=True), torch.ones(2, 3, requires_grad=True)
    names = {
        "torch": torch, "np": np, "F": torch.nn.functional, "nn": torch.nn, "leaf": leaf, "h": leaf * 2, "lm": matrix,
        "hm": matrix * 2, "m": torch.arange(6.0).reshape(2, 3), "v": torch.tensor([1.0, 2, 3]),
        "i": torch.tensor([1, 2, 3]), "r": None,
    }
    torch.manual_seed(0)
    exec(text, names)
    return names["r"]


@pytest.mark.parametrize("text", VIEWS + GRADIENTS + SAVED)
def test_writes_are_refused_and_allowed_as_in_pytorch(text):
    assert_same(run, text)


@pytest.mark.parametrize(("forward", "grads", "backward", "text"), FUNCTIONS)
def test_functions_of_a_user_are_looked_at_as_in_pytorch(forward, grads, backward, text):
    source = (
        "class Fn(torch.autograd.Function):\n  @staticmethod\n"
        f"  def forward(ctx,x): {forward}\n  @staticmethod\n  def backward(ctx,{grads}): {backward}\n{text}"
    )
    assert_same(run, source)


@pytest.mark.parametrize("gradient", [
    "g.double()", "torch.ones(2, 4)", "torch.ones(1)", "g.sum()", "torch.ones(4, dtype=torch.int64)",
    "torch.ones(1, 4)", "torch.ones(3, 1, 4)", "'a'", "None",
])
def test_a_gradient_is_made_to_fit_its_argument(gradient):
    source = (
        "class Fn(torch.autograd.Function):\n  @staticmethod\n  def forward(ctx, a, x, k): return x * 2\n"
        f"  @staticmethod\n  def backward(ctx, g): return None, {gradient}, None\n"
        "Fn.apply(torch.ones(1), leaf, 3).sum().backward(); r = leaf.grad"
    )
    assert_same(run, source)


@pytest.mark.parametrize("outputs", ["e", "(x * x, e)", "(e, x * x)"])
def test_a_saved_result_has_the_gradient_of_the_function(outputs):
    """The second derivative of exp flows through the result that backward multiplies with."""
    source = (
        "class Fn(torch.autograd.Function):\n  @staticmethod\n  def forward(ctx, x):\n    e = x.exp()\n"
        f"    ctx.save_for_backward(x, e)\n    return {outputs}\n  @staticmethod\n  def backward(ctx, *g):\n"
        "    x, e = ctx.saved_tensors\n"
        "    return g[0] * e if len(g) == 1 else "
        + ("g[0] * e + g[1] * 2 * x\n" if outputs.startswith("(e") else "g[0] * 2 * x + g[1] * e\n")
        + "y = Fn.apply(leaf)\ny = y if isinstance(y, torch.Tensor) else y[0] + y[1]\n"
        "g, = torch.autograd.grad(y.sum(), leaf, create_graph=True)\n"
        "r = [g.detach(), g.requires_grad, torch.autograd.grad(g.sum(), leaf)[0]]"
    )
    assert_same(run, source)


@pytest.mark.parametrize("text", [
    "y = F.linear(lm, W)", "y = lm @ W.t()", "y = torch.einsum('ij,kj->ik', lm, W)", "y = lm.matmul(W.view(3, 3))",
    "y = lm @ W",
])
def test_a_matrix_that_was_written_to_is_missed_by_the_gradient_of_a_product(text):
    for written, kept in (("W.add_(1)", False), ("W.data.add_(1)", True), ("pass", True)):
        write = f"with torch.no_grad(): {written}"
        program = f"W = torch.ones(3, 3, requires_grad=True)\n{text}\n{write}\ny.sum().backward()"
        if kept:
            run(flamework, program)
        else:
            with pytest.raises(RuntimeError, match=SENTENCE):
                run(flamework, program)
