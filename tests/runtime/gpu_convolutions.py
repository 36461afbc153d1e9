"""Convolutions by cuDNN, on stand-ins for it and the driver; prints for each behaviour what went wrong."""

import functools
import gc

import fake_cuda
import fake_cudnn
import flamework as torch
import numpy as np
import simulator
from flamework.runtime import cudnn, engine, gpu

F32, F64, F16, BF16 = "float32", "float64", "float16", "bfloat16"
TOLERANCES = {F32: 1e-5, F64: 1e-12, F16: 4e-3, BF16: 3e-2}

# Shapes of an image and a weight, stride, padding, dilation, groups.
CONVOLUTIONS = [
    ((2, 3, 7), (4, 3, 3), 1, 0, 1, 1),
    ((2, 4, 9), (6, 2, 3), 2, 1, 2, 2),
    ((1, 1, 1), (1, 1, 1), 1, 0, 1, 1),
    ((2, 3, 5, 6), (4, 3, 3, 2), 1, 1, 1, 1),
    ((1, 3, 5, 6), (2, 3, 3, 3), 1, "same", 1, 1),
    ((1, 2, 5, 6), (2, 2, 2, 4), 1, "same", 1, 1),
    ((2, 4, 6, 5), (4, 1, 3, 3), 1, 1, 1, 4),
    ((1, 2, 6, 7), (2, 2, 3, 2), (2, 3), (1, 0), (1, 2), 1),
    ((1, 2, 3, 4, 3), (2, 2, 2, 3, 1), 1, (1, 0, 2), 1, 1),
    ((1, 4, 3, 3, 4), (4, 2, 2, 2, 2), (1, 2, 1), 1, (2, 1, 1), 2),
    # elements in no window: the last, and some in between
    ((2, 3, 8), (2, 3, 3), 3, 0, 1, 1),
    ((2, 3, 9, 8), (2, 3, 1, 2), (2, 3), 0, 1, 1),
]


def values(shape, seed=0):
    return torch.from_numpy(np.random.default_rng(seed).standard_normal(shape))


def convolved(x, weight, *options, kind="conv"):
    return getattr(torch.nn.functional, f"{kind}{x.ndim - 2}d")(x, weight, None, *options)


def trained(x, weight, options, kind="conv"):
    """A convolution, and both gradients."""
    x, weight = x.detach().requires_grad_(), weight.detach().requires_grad_()
    y = convolved(x, weight, *options, kind=kind)
    cotangent = values(y.shape, 2).to(y.dtype).to(y.device)
    (y * cotangent).sum().backward()
    return [found.detach().cpu() for found in (y, x.grad, weight.grad)]


def on_gpu(*tensors):
    found = [tensor.cuda() for tensor in tensors]
    torch.realize(*found)
    return found


def a_pair(dtype=F32):
    return on_gpu(values((2, 3, 5, 6)).to(getattr(torch, dtype)), values((4, 3, 3, 2), 1).to(getattr(torch, dtype)))


def assert_same(found, wanted, tolerance):
    for one, other in zip(found, wanted, strict=True):
        assert one.shape == other.shape and one.dtype is other.dtype
        assert torch.allclose(one, other, rtol=tolerance, atol=10 * tolerance)


def plans(fake, *tensors):
    """The plans with which their convolution ran."""
    fake.ran.clear()
    torch.realize(convolved(*tensors))
    return [name for *_, name in fake.ran]


def results_and_gradients_are_the_cpus(fake):
    for *shapes, stride, padding, dilation, groups in CONVOLUTIONS:
        for dtype, tolerance in TOLERANCES.items():
            x, weight = (values(shape, i).to(getattr(torch, dtype)) for i, shape in enumerate(shapes))
            options = stride, padding, dilation, groups
            fake.ran.clear()
            assert_same(trained(*on_gpu(x, weight), options), trained(x, weight, options), tolerance)
            operations = [operation for operation, *_ in fake.ran]
            assert sorted(operations) == ["conv_dgrad", "conv_fprop", "conv_wgrad"], (shapes, operations)
            assert {found for _, found, _ in fake.ran} == {dtype}


def transposed_convolutions_are_gradients_of_an_image(fake):
    for shape, filters, options in (
        ((2, 4, 7), (4, 3, 3), (2, 1, 1)), ((2, 4, 5, 6), (4, 3, 3, 2), (1, 0, 0, 2)),
        ((1, 2, 3, 4), (2, 2, 2, 2), (3, 1, 2, 1, 2)), ((1, 2, 3, 2, 3), (2, 2, 2, 2, 1), ()),
        # more added at the end than a step
        ((1, 2, 4), (2, 3, 2), (1, 0, 1, 1, 2)),
    ):
        x, weight = values(shape).float(), values(filters, 1).float()
        fake.ran.clear()
        found = trained(*on_gpu(x, weight), options, "conv_transpose")
        assert_same(found, trained(x, weight, options, "conv_transpose"), 1e-5)
        operations = sorted(operation for operation, *_ in fake.ran)
        assert operations == ["conv_dgrad", "conv_fprop", "conv_wgrad"] or options == (1, 0, 1, 1, 2), operations


def plans_are_exact_and_always_the_same(fake):
    assert plans(fake, *a_pair(F32)) == ["plain"]
    # their tensor cores multiply exactly
    for dtype in (F64, F16, BF16):
        assert plans(fake, *a_pair(dtype)) == ["tensor cores"]
    fake.lacks = ("plain",)
    engine._plans.clear()
    assert plans(fake, *a_pair(F32)) == ["last"]


def sums_of_16_bit_floats_are_in_float32(fake):
    # 2048 + 1 is 2048 in float16
    x, weight = on_gpu(*(torch.ones(1, 4096, 1, 1, dtype=torch.float16) for _ in range(2)))
    assert convolved(x, weight).item() == 4096 and fake.ran


def tf32_is_used_only_when_it_is_asked_for(fake):
    singles, doubles = a_pair(F32), a_pair(F64)
    switches = torch.backends.cudnn
    assert switches.allow_tf32 is False and plans(fake, *singles) == ["plain"]
    try:
        switches.allow_tf32 = True
        assert switches.allow_tf32 and plans(fake, *singles) == plans(fake, *doubles) == ["tensor cores"]
    finally:
        switches.allow_tf32 = False
    assert plans(fake, *singles) == ["plain"]


def operands_that_are_not_aligned_are_copied(fake):
    x, weight = on_gpu(values((3, 1, 3, 3)).float(), values((3, 1, 2, 2), 1).float())
    torch.realize(convolved(x, weight))
    before = torch.cuda.memory_allocated()
    for i in range(3):
        for k in range(3):
            fake.ran.clear()
            found = convolved(x[i : i + 1], weight[k : k + 1]).cpu()
            wanted = convolved(x.cpu()[i : i + 1], weight.cpu()[k : k + 1])
            assert torch.allclose(found, wanted, atol=1e-6) and fake.ran
    assert torch.cuda.memory_allocated() == before


def addresses_change_between_replays(fake):
    def step(x, weight):
        return convolved(x, weight, 1, 1).relu().sum((2, 3))

    compiled = torch.compile(step)
    kept = []
    for seed in range(4):
        x, weight = on_gpu(values((2, 3, 4, 4), seed).float(), values((2, 3, 3, 3), seed + 9).float())
        kept.append((x, weight, compiled(x, weight)))
    for x, weight, found in kept:
        assert torch.allclose(found.cpu(), step(x.cpu(), weight.cpu()), atol=1e-5)
    assert len(fake.ran) == 4 and len(fake.built) == 1


def a_library_that_refuses(fake):
    """Whatever way it says so, kernels compute it then."""
    x, weight = a_pair()
    expected = convolved(x.cpu(), weight.cpu())

    def is_computed():
        engine._plans.clear()
        return torch.allclose(convolved(x, weight).cpu(), expected, atol=1e-5)

    for how in ("descriptor", "plans"):
        fake.refuses = lambda graph, how=how: how
        assert is_computed()
    fake.refuses = lambda graph: None
    fake.lacks = ("plain", "last")
    assert is_computed() and not fake.ran
    fake.lacks = ()
    assert is_computed() and fake.ran


def only_what_it_refuses_is_left_to_kernels(fake):
    x, weight = a_pair()
    wanted = trained(x.cpu(), weight.cpu(), ((2, 1), 1))
    for refused, left in (
        ("conv_wgrad", ["conv_dgrad", "conv_fprop"]),
        # one convolution for each remainder by the strides instead
        ("conv_dgrad", ["conv_fprop"] * 3 + ["conv_wgrad"]),
        ("conv_fprop", ["conv_dgrad", "conv_wgrad"]),
    ):
        fake.refuses = lambda graph, refused=refused: "plans" if graph.operation == refused else None
        fake.ran.clear()
        engine._plans.clear()
        assert_same(trained(x, weight, ((2, 1), 1)), wanted, 1e-5)
        assert sorted(operation for operation, *_ in fake.ran) == left, (refused, fake.ran)


def gradients_of_gradients_are_computed_too(fake):
    x, weight = a_pair()

    def twice(x, weight):
        x, weight = x.detach().requires_grad_(), weight.detach().requires_grad_()
        given = torch.autograd.grad(convolved(x, weight, 2, 1).sin().sum(), (x, weight), create_graph=True)
        return torch.autograd.grad(sum(g.square().sum() for g in given), (x, weight))

    found = [one.cpu() for one in twice(x, weight)]
    assert_same(found, twice(x.cpu(), weight.cpu()), 1e-4)
    operations = [operation for operation, *_ in fake.ran]
    # the sum of the two terms in each operand's gradient, and the two gradients that they are of
    assert [operations.count(name) for name in ("conv_fprop", "conv_dgrad", "conv_wgrad")] == [3, 3, 3], operations


def failures_are_not_hidden(fake):
    fake.refuses = lambda graph: "failure"
    x, weight = a_pair()
    try:
        torch.realize(convolved(x, weight))
    except RuntimeError as error:
        assert "CUDNN_STATUS_INTERNAL_ERROR" in str(error)
    else:
        raise AssertionError("it was hidden")
    assert torch.allclose((x + 1).cpu(), x.cpu() + 1)


def a_switch_turns_it_off(fake):
    x, weight = a_pair()
    switches = torch.backends.cudnn
    assert switches.is_available() and switches.version() == 92801 and switches.enabled is True
    try:
        switches.enabled = False
        assert torch.allclose(convolved(x, weight).cpu(), convolved(x.cpu(), weight.cpu()), atol=1e-5)
        assert not fake.ran
    finally:
        switches.enabled = True


def what_is_empty_asks_nobody(fake):
    for shape, filters, padding in (((0, 3, 4, 4), (2, 3, 3, 3), 0), ((2, 0, 4, 4), (2, 0, 3, 3), 0),
                                    ((2, 3, 4, 4), (0, 3, 3, 3), 1)):
        x, weight = values(shape).float(), values(filters, 1).float()
        assert_same(trained(*on_gpu(x, weight), (1, padding)), trained(x, weight, (1, padding)), 1e-5)
    assert not fake.ran


def what_is_not_finite_stays_in_its_windows(fake):
    x, weight = values((1, 2, 6, 6)).float(), values((2, 2, 3, 3), 1).float()
    x[0, 0, 1, 1], x[0, 1, 4, 5] = float("inf"), float("nan")
    found, wanted = convolved(*on_gpu(x, weight), 1, 1).cpu(), convolved(x, weight, 1, 1)
    assert torch.allclose(found, wanted, atol=1e-5, equal_nan=True) and fake.ran
    cotangent = values((1, 2, 2, 2), 2).float()
    cotangent[0, 0, 0, 0], cotangent[0, 1, 1, 1] = float("inf"), float("nan")

    def gradient(x, weight, cotangent):
        x = x.detach().requires_grad_()
        return torch.autograd.grad(convolved(x, weight, 3), (x,), cotangent)[0].cpu()

    fake.ran.clear()
    found, wanted = gradient(*on_gpu(x, weight, cotangent)), gradient(x, weight, cotangent)
    assert torch.allclose(found, wanted, atol=1e-5, equal_nan=True)
    assert [operation for operation, *_ in fake.ran] == ["conv_dgrad"]


def what_surrounds_it_fuses(fake):
    x, weight = a_pair()
    torch.realize(x)

    def program(x, weight):
        return (convolved(x * 2 + 1, weight, 1, 1).relu() + 1).sum((2, 3))

    explained = torch.explain(program)(x, weight)
    assert [kernel.kind for kernel in explained.kernels] == ["kernel", "convolve", "kernel"]
    assert torch.allclose(program(x, weight).cpu(), program(x.cpu(), weight.cpu()), atol=1e-4)
    one = torch.func.vmap(lambda x, w: convolved(x, w, 1, 1))
    x, weight = on_gpu(values((3, 2, 2, 4, 4)).float(), values((3, 2, 2, 3, 3), 1).float())
    fake.ran.clear()
    assert torch.allclose(one(x, weight).cpu(), one(x.cpu(), weight.cpu()), atol=1e-5) and len(fake.ran) == 1


def without_cublaslt_it_is_not_touched(fake):
    device, before = gpu.gpu("cuda:0"), cudnn.bindings
    cudnn.bindings = lambda: fake
    try:
        for products, is_used in ((None, False), ("cuBLASLt", True)):
            del device.cudnn
            device.products = products
            handles = len(fake.handles)
            assert (device.cudnn is not None) == is_used and len(fake.handles) == handles + is_used
    finally:
        cudnn.bindings = before


def what_was_planned_lives_as_long_as_a_program(fake):
    x, weight = a_pair()
    torch.realize(convolved(x, weight))
    torch.realize(convolved(x, weight).relu())
    known = gpu.gpu("cuda:0").cudnn.calls
    assert len(known) == len(fake.built) == 1
    fake.built.clear()
    engine._plans.clear()
    gc.collect()
    assert not known


BEHAVIOURS = [
    results_and_gradients_are_the_cpus, transposed_convolutions_are_gradients_of_an_image,
    plans_are_exact_and_always_the_same, sums_of_16_bit_floats_are_in_float32, tf32_is_used_only_when_it_is_asked_for,
    operands_that_are_not_aligned_are_copied, addresses_change_between_replays, a_library_that_refuses,
    only_what_it_refuses_is_left_to_kernels, gradients_of_gradients_are_computed_too, failures_are_not_hidden,
    a_switch_turns_it_off, what_is_empty_asks_nobody, what_is_not_finite_stays_in_its_windows, what_surrounds_it_fuses,
    what_was_planned_lives_as_long_as_a_program, without_cublaslt_it_is_not_touched,
]


installed = functools.partial(fake_cuda.with_library, fake_cudnn.FakeCudnn, fake_cudnn.installed)

if __name__ == "__main__":
    simulator.report(BEHAVIOURS, installed)
