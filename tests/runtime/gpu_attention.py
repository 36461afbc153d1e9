"""Attention by cuDNN, on stand-ins for it and the driver; prints for each behaviour what went wrong."""

import flamework as torch
import simulator
from flamework.runtime import engine
from gpu_convolutions import installed, on_gpu, values

attend = torch.nn.functional.scaled_dot_product_attention

# Shapes of queries, keys and values, ``[batch, heads, positions, size]``.
SHAPES = [
    ((2, 3, 5, 8), (2, 3, 5, 8), (2, 3, 5, 8)),
    ((1, 2, 4, 16), (1, 2, 7, 16), (1, 2, 7, 8)),
    ((1, 4, 7, 8), (1, 2, 3, 8), (1, 2, 3, 8)),
    ((2, 1, 1, 8), (2, 1, 9, 8), (2, 1, 9, 24)),
]
TOLERANCES = {torch.float16: 3e-3, torch.bfloat16: 2e-2}


def operands(shapes, dtype=torch.float16):
    return [values(shape, i).to(dtype) for i, shape in enumerate(shapes)]


def trained(tensors, **options):
    """Attention and its gradients."""
    tensors = [x.detach().requires_grad_() for x in tensors]
    out = attend(*tensors, enable_gqa=True, **options)
    cotangent = values(out.shape, 9).to(out.dtype).to(out.device)
    (out * cotangent).sum().backward()
    found = [x.detach() for x in (out, *(x.grad for x in tensors))]
    torch.realize(*found)
    return [x.cpu().double() for x in found]


def ran(fake):
    found = [operation for operation, *_ in fake.ran]
    fake.ran.clear()
    return found


def compared(found, wanted, tolerance):
    for one, other in zip(found, wanted, strict=True):
        assert one.shape == other.shape
        assert torch.allclose(one, other, rtol=tolerance, atol=5 * tolerance), (one - other).abs().max()


def results_and_gradients_are_those_of_float64(fake):
    for shapes in SHAPES:
        for dtype, tolerance in TOLERANCES.items():
            for options in ({}, {"is_causal": True}, {"scale": 0.3}):
                x = operands(shapes, dtype)
                found = trained(on_gpu(*x), **options)
                compared(found, trained([t.double() for t in x], **options), tolerance)
                assert ran(fake) == ["sdpa", "sdpa_backward"], (shapes, dtype)


def without_it_kernels_compute_the_same(fake):
    fake.refuses = lambda graph: "plans"
    for shapes in SHAPES:
        for dtype, tolerance in TOLERANCES.items():
            x = operands(shapes, dtype)
            found = trained(on_gpu(*x), is_causal=True)
            compared(found, trained([t.double() for t in x], is_causal=True), tolerance)
    assert not ran(fake)


def one_direction_may_be_refused(fake):
    x = operands(SHAPES[0])
    wanted = trained([t.double() for t in x])
    for refused, left in (("sdpa", ["sdpa_backward"]), ("sdpa_backward", ["sdpa"])):
        fake.refuses = lambda graph, refused=refused: "plans" if graph.operation == refused else None
        engine._plans.clear()
        compared(trained(on_gpu(*x)), wanted, TOLERANCES[torch.float16])
        assert ran(fake) == left


def operands_are_read_where_they_lie(fake):
    def of_projections(q, k, v):
        return attend(*(x.view(2, 5, 3, 8).transpose(1, 2) for x in (q, k, v))).transpose(1, 2).reshape(2, 5, 24)

    def of_one_projection(qkv):
        return of_projections(*qkv.split(24, 2))

    separate = on_gpu(*(values((2, 5, 24), i).half() for i in range(3)))
    together = on_gpu(torch.cat([x.cpu() for x in separate], 2))
    wanted = of_projections(*(x.cpu().double() for x in separate))
    for program, given in ((of_projections, separate), (of_one_projection, together)):
        explained = torch.explain(program)(*given)
        assert [kernel.kind for kernel in explained.kernels] == ["attention"]
        compared([program(*given).cpu().double()], [wanted], TOLERANCES[torch.float16])
    assert ran(fake) == ["sdpa", "sdpa"]


def what_no_strides_describe_is_copied(fake):
    q, k, v = on_gpu(*(values((2, 5, 3, 8), i).half() for i in range(3)))
    odd = on_gpu(values((2, 3, 5, 9)).half())[0]

    def check(*tensors):
        found, wanted = attend(*tensors), attend(*(x.cpu().double() for x in tensors))
        compared([found.cpu().double()], [wanted], TOLERANCES[torch.float16])
        assert ran(fake) == ["sdpa"]

    # backwards, the size not last, rows that begin at odd places, all heads one
    check(*(x.transpose(1, 2) for x in (q, k.flip(1), v)))
    check(*(x.permute(0, 2, 3, 1) for x in on_gpu(*(values((2, 8, 3, 5), i).half() for i in range(3)))))
    check(odd[..., 1:], k.transpose(1, 2), v.transpose(1, 2))
    check(q.transpose(1, 2), k.transpose(1, 2)[:, :1].expand(2, 3, 5, 8), v.transpose(1, 2))


def operands_that_are_not_aligned_are_copied(fake):
    kept = [values((3 + 2 * 3 * 5 * 8,), i).half() for i in range(3)]
    for offset in (1, 2, 3):
        tensors = [x[offset : offset + 240].reshape(2, 3, 5, 8) for x in on_gpu(*kept)]
        wanted = [x[offset : offset + 240].reshape(2, 3, 5, 8).double() for x in kept]
        compared(trained(tensors), trained(wanted), TOLERANCES[torch.float16])
        assert ran(fake) == ["sdpa", "sdpa_backward"]


def gradients_that_nobody_wants_are_not_kept(fake):
    q, k, v = on_gpu(*operands(SHAPES[0]))
    k.requires_grad_()
    before = torch.cuda.memory_allocated()
    attend(q, k, v).float().square().sum().backward()
    found = k.grad.cpu()
    torch.realize(found)
    assert ran(fake) == ["sdpa", "sdpa_backward"]
    wanted = k.detach().cpu().double().requires_grad_()
    attend(q.cpu().double(), wanted, v.cpu().double()).square().sum().backward()
    compared([found.double()], [wanted.grad], 1e-2)
    assert torch.cuda.memory_allocated() - before == k.grad.nbytes


def a_result_that_is_used_before_its_gradient(fake):
    x = operands(SHAPES[0])
    q, k, v = (t.detach().requires_grad_() for t in on_gpu(*x))
    out = attend(q, k, v)
    torch.realize(out)
    assert ran(fake) == ["sdpa"]
    out.float().sum().backward()
    torch.realize(q.grad)
    # the sums had not been kept
    assert ran(fake) == ["sdpa", "sdpa_backward"]
    wanted = [t.double().requires_grad_() for t in x]
    attend(*wanted).sum().backward()
    compared([q.grad.cpu().double()], [wanted[0].grad], 1e-2)


def derivatives_of_derivatives(fake):
    x = operands(SHAPES[0])

    def curvature(tensors):
        tensors = [t.detach().requires_grad_() for t in tensors]
        grads = torch.autograd.grad(attend(*tensors).double().square().sum(), tensors, create_graph=True)
        sum(g.double().square().sum() for g in grads).backward()
        return [t.grad.cpu().double() for t in tensors]

    compared(curvature(on_gpu(*x)), curvature([t.double() for t in x]), 2e-2)

    def tangent(tensors):
        given = tuple(tensors), tuple(t * 0.5 + 1 for t in tensors)
        return [t.cpu().double() for t in torch.func.jvp(attend, *given)]

    compared(tangent(on_gpu(*x)), tangent([t.double() for t in x]), 1e-2)


def batches_of_it_are_one_call(fake):
    x = [values((4, *shape), i).half() for i, shape in enumerate(SHAPES[0])]
    found = torch.func.vmap(attend)(*on_gpu(*x)).cpu().double()
    compared([found], [attend(*(t.double() for t in x))], TOLERANCES[torch.float16])
    assert ran(fake) == ["sdpa"]


def what_it_does_not_compute_is_not_asked(fake):
    q, k, v = on_gpu(*operands(SHAPES[0]))
    mask = torch.ones(5, 5, dtype=torch.bool).tril().cuda()
    wanted = attend(*(x.cpu().double() for x in (q, k, v)), is_causal=True)
    compared([attend(q, k, v, mask).cpu().double()], [wanted], 3e-3)
    attend(q, k, v, dropout_p=0.5).cpu()
    attend(q.float(), k.float(), v.float()).cpu()
    attend(q[0], k[0], v[0]).cpu()
    attend(q[..., :6], k[..., :6], v).cpu()
    attend(q[:, :, :0], k, v).cpu()
    assert not fake.built and not ran(fake)


def a_switch_turns_it_off(fake):
    q, k, v = on_gpu(*operands(SHAPES[0]))
    try:
        torch.backends.cudnn.enabled = False
        torch.realize(attend(q, k, v))
        assert not fake.built
    finally:
        torch.backends.cudnn.enabled = True


def it_is_found_in_modules(fake):
    torch.manual_seed(0)

    class Attention(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.project, self.out = torch.nn.Linear(16, 48), torch.nn.Linear(16, 16)

        def forward(self, x):
            heads = (t.view(2, 5, 2, 8).transpose(1, 2) for t in self.project(x).split(16, 2))
            return self.out(attend(*heads, is_causal=True).transpose(1, 2).reshape(2, 5, 16))

    layer = Attention()
    x = values((2, 5, 16)).float()
    wanted = layer(x).detach()
    layer.cuda().bfloat16()
    given = x.cuda().bfloat16()
    kinds = [kernel.kind for kernel in torch.explain(layer)(given).kernels if kernel.kind != "kernel"]
    assert kinds == ["dot", "attention", "dot"]
    found = layer(given)
    found.float().sum().backward()
    torch.realize(*(p.grad for p in layer.parameters()))
    assert torch.allclose(found.detach().cpu().float(), wanted, atol=0.1)
    assert ran(fake) == ["sdpa", "sdpa_backward"]


BEHAVIOURS = [
    results_and_gradients_are_those_of_float64, without_it_kernels_compute_the_same, one_direction_may_be_refused,
    operands_are_read_where_they_lie, what_no_strides_describe_is_copied, operands_that_are_not_aligned_are_copied,
    gradients_that_nobody_wants_are_not_kept, a_result_that_is_used_before_its_gradient, derivatives_of_derivatives,
    batches_of_it_are_one_call, what_it_does_not_compute_is_not_asked, a_switch_turns_it_off, it_is_found_in_modules,
]

if __name__ == "__main__":
    simulator.report(BEHAVIOURS, installed)
