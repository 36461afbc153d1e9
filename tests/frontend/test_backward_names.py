"""The names of ``grad_fn``: PyTorch's, for every row of the frontend's tables."""

import importlib

import flamework
import pytest
import rows
from flamework.einsum import contraction_order
from flamework.recording import node_of
from same_as_torch import assert_same

#: Rows whose last step is another one here, or which PyTorch refuses.
OTHER = frozenset((
    "torch.nanmean(x, 1, True)", "torch.nanmean(x, dim=(1,), keepdim=True)", "torch.softmax(scalar, 0)",
    "torch.log_softmax(scalar, 0)", "torch.softmax(empty, 0)", "torch.softmax(empty, 1)",
    "x.max(axis=1, keepdims=True)", "torch.atleast_2d(vec, x)", "torch.atleast_3d([vec, scalar])",
    "torch.repeat_interleave(x, torch.tensor([1, 0, 2]), 0)", "torch.repeat_interleave(x, torch.tensor([2]), 0)",
    "torch.repeat_interleave(x, torch.tensor([1, 0, 2]), 0, output_size=3)", "torch.flip(x, ())",
    "torch.broadcast_tensors(x, vec)", "torch.cartesian_prod(vec)", "torch.take(x, labels * 30)",
    "torch.matmul(x, batch)", "torch.inner(x, scalar)", "a = x.clone(); F.elu_(a, 0.5); result = a",
    "a = x * 2; F.hardtanh_(a); result = a", "F.linear(vec, vec)", "F.linear(x, vec)",
    "F.bilinear(x, y, cube.reshape(-1)[:16].reshape(1, 4, 4))",
    "F.multilabel_soft_margin_loss(x, prob, reduction='none')", "F.mse_loss(x, y, weight=pos.detach())",
    "F.l1_loss(x, y, reduce=False)",
))


def names(package, expressions):
    """For each expression the names of its results, None without a gradient."""
    found = {}
    for expression in expressions:
        try:
            value, _ = rows.evaluate(package, expression)
        except Exception:
            continue
        parts = [x.grad_fn for x in rows.flatten(value) if hasattr(x, "grad_fn")]
        found[expression] = [None if x is None else x.name().replace("torch::autograd::", "") for x in parts]
    return found


@pytest.mark.parametrize("module", ["pointwise", "reduction", "joining", "products", "functional", "edges"])
def test_rows(module):
    found = {}
    for name, value in vars(importlib.import_module(f"test_{module}")).items():
        if name.isupper() and isinstance(value, list):
            found |= dict.fromkeys(x for x in value if isinstance(x, str) and rows.named(x) and x not in OTHER)
    expressions = list(found)
    for begin in range(0, len(expressions), 25):
        # few enough for an answer to be recorded
        assert_same(names, expressions[begin : begin + 25])


FORMS = """
    x[0]; x[0, 1]; x[:, 1]; x[1:]; x[None]; x[...]; x[:]; x[:, :]; x[0, 1:]; x[0, None]; x[None, 0]; x[1:, None]
    x[0:2, 1]; x[:, [0]]; x[x > 0]; x[[0, 1]]; x.T; x.mT; x.t(); x.transpose(0, 1); x.view(-1); x.view(2, 3)
    x.reshape(-1); x.t().reshape(-1); x.flatten(); x.squeeze(); x.squeeze(0); x.squeeze((0, 1)); x.unsqueeze(0)
    x.expand(4, 2, 3); x.permute(1, 0); x.movedim(0, 1); x.unbind()[0]; x.split(1)[0]; x.split([1, 1])[1]
    x.chunk(2)[1]; x.narrow(0, 0, 1); x.select(1, 0); x.diagonal(); x.unfold(1, 2, 1); x.contiguous().view(6)
    x.double(); x.to(torch.float16); x.clone(); x.sum(); x.sum(0); x.mean(); x.mean(1); x.prod(); x.prod(0); x.max()
    x.max(0)[0]; x.median(); x.median(1)[0]; x.std(); x.var(1); x.norm(); x.amax(0); x.logsumexp(1); x.cumsum(0)
    x.sort()[0]; x.topk(2)[0]; 1 - x; x - 1; 1 / x; x / 2; 2 ** x; x ** 2; x ** x; x % 2; x % x; -x; abs(x)
    x @ x.t(); x @ x[0]; x.clamp(0); x.clamp(min=x); x.clamp_min(0); x.masked_fill(x > 0, 1.0); x.where(x > 0, x * 2)
    x.repeat(2, 1); x.roll(1, 0); x.flip(0); x.tril(); x.gather(0, torch.zeros(1, 3, dtype=torch.int64))
    x.index_select(0, torch.tensor([1])); torch.cat([x, x]); torch.stack([x, x]); torch.addmm(x, x[:, :2], x)
    torch.lerp(x, x, 0.5); torch.einsum("ij,kj->ik", x, x); torch.nn.Linear(3, 2)(x)
    torch.nn.functional.linear(x[None], x, None); torch.nn.functional.relu(x); torch.nn.functional.gelu(x)
    torch.nn.functional.softmax(x, 1); torch.nn.functional.dropout(x, 0.5); torch.nn.functional.layer_norm(x, (3,))
    torch.nn.functional.mse_loss(x, x * 2); torch.nn.functional.l1_loss(x, x * 2)
    torch.nn.functional.cross_entropy(x, torch.tensor([0, 1])); torch.nn.functional.pad(x, (1, 1))
    torch.nn.functional.embedding(torch.tensor([0]), x); torch.nn.functional.conv1d(x[None], torch.ones(1, 2, 2))
    torch.nn.functional.max_pool1d(x[None], 2); torch.nn.functional.interpolate(x[None], scale_factor=2)
    torch.linalg.norm(x); torch.linalg.svd(x)[1]; torch.linalg.inv(x[:, :2]); torch.fft.rfft(x)
    torch.outer(x[0], x[1]); x.clone().mul_(2); x.clone().clamp_(0); x.clone().addcmul_(x, x)
"""


def test_forms():
    def script(torch):
        torch.manual_seed(0)
        x = torch.tensor([[0.5, 1.0, 2.0], [3.0, -1.0, 0.25]], requires_grad=True)
        return {
            text.strip(): eval(text.strip(), {"torch": torch, "x": x}).grad_fn.name()
            for text in FORMS.replace("\n", ";").split(";") if text.strip()
        }

    assert_same(script)


def test_einsum_by_numbers_and_in_the_best_order():
    def script(torch):
        a, b, c = (torch.arange(float(m * n)).reshape(m, n) / 7 for m, n in ((2, 3), (3, 40), (40, 2)))
        return [
            torch.einsum(a, [0, 1], b, [1, 2], [0, 2]), torch.einsum(a, [..., 1], b, [1, 27]),
            torch.einsum("ij,jk,kl->il", a, b, c), torch.einsum("ij,jk,kl,li->", a, b, c, torch.ones(2, 2)),
            torch.einsum("...i,ij,jk->...k", a, b, c), torch.einsum("ij,ij,ij->i", a, a, a),
        ]

    assert_same(script, rtol=1e-5)


def test_the_order_of_products_is_the_cheapest():
    found = [(node_of(flamework.ones(*shape)), list(labels)) for shape, labels in
             (((300, 2), "ij"), ((2, 300), "jk"), ((300, 1), "kl"))]
    # from left to right there would be a matrix of 300 x 300
    assert contraction_order(found, ["i", "l"]) == [(1, 2), (0, 1)]
