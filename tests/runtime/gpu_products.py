"""Matrix products by cuBLASLt, on stand-ins for it and the driver; prints for each behaviour what went wrong."""

import functools
import gc

import fake_cublas
import fake_cuda
import flamework as torch
import numpy as np
import simulator

F32, F64, F16, BF16 = "float32", "float64", "float16", "bfloat16"

# A product of x and y, their shapes, and what the library has to be called with: transposes, leading dimensions,
# strides and batch of each call; None if a kernel has to compute it.
PRODUCTS = {
    "x @ y": ((3, 4), (4, 5), [((0, 0), (5, 4, 5), 1)]),
    "x @ y.T": ((3, 4), (5, 4), [((1, 0), (4, 4, 5), 1)]),
    "x.T @ y": ((4, 3), (4, 5), [((0, 1), (5, 3, 5), 1)]),
    "x.T @ y.T": ((4, 3), (5, 4), [((1, 1), (4, 3, 5), 1)]),
    "x[1:, 2:] @ y[:, 1:4]": ((4, 7), (5, 6), [((0, 0), (6, 7, 3), 1)]),
    "x[::2] @ y": ((6, 4), (4, 5), [((0, 0), (5, 8, 5), 1)]),
    "x[:, ::2] @ y": ((3, 8), (4, 5), "copied"),
    "x @ y[:, 0]": ((3, 4), (4, 5), "any"),
    "x[0] @ y": ((3, 4), (4, 5), "any"),
    "x[:, :1] @ y[:1]": ((3, 4), (4, 5), [((0, 0), (5, 4, 5), 1)]),
    "x[:0] @ y": ((3, 4), (4, 5), None),
    "x[:, :0] @ y[:0]": ((3, 4), (4, 5), None),
    "x.bmm(y)": ((2, 3, 4), (2, 4, 5), [((0, 0), (5, 4, 5), 2)]),
    "x.bmm(y.mT)": ((2, 3, 4), (2, 5, 4), [((1, 0), (4, 4, 5), 2)]),
    "torch.matmul(x, y)": ((2, 3, 3, 4), (2, 3, 4, 5), [((0, 0), (5, 4, 5), 6)]),
    "x.transpose(1, 2) @ y.transpose(1, 2).mT": ((2, 5, 3, 4), (2, 5, 3, 4), [((1, 0), (12, 12, 5), 3)] * 2),
    "x.transpose(1, 2) @ y.transpose(1, 2)": ((3, 4, 2, 4), (3, 4, 2, 5), [((0, 0), (10, 8, 5), 3)] * 2),
    "x @ y.expand(3, 4, 5)": ((3, 2, 4), (4, 5), "any"),
}

TOLERANCES = {F32: 1e-5, F64: 1e-12, F16: 2e-3, BF16: 2e-2, "complex64": 1e-5, "complex128": 1e-12}


def operands(shapes, dtype):
    generator = np.random.default_rng(0)
    arrays = [generator.standard_normal(shape) + 1j * generator.standard_normal(shape) for shape in shapes]
    if not dtype.startswith("complex"):
        arrays = [array.real for array in arrays]
    return [torch.from_numpy(array).to(getattr(torch, dtype)) for array in arrays]


def evaluated(expression, tensors):
    return eval(expression, {"torch": torch, **dict(zip("xyz", tensors))})


def on_gpu(tensors):
    found = [tensor.cuda() for tensor in tensors]
    torch.realize(*found)
    return found


def products_have_the_right_arguments(lt):
    for expression, (*shapes, expected) in PRODUCTS.items():
        for dtype, tolerance in TOLERANCES.items():
            tensors = operands(shapes, dtype)
            lt.products.clear()
            found = evaluated(expression, on_gpu(tensors)).cpu()
            wanted = evaluated(expression, tensors)
            assert found.shape == wanted.shape and found.dtype is wanted.dtype
            assert torch.allclose(found, wanted, rtol=tolerance, atol=tolerance), (expression, dtype)
            if dtype.startswith("complex"):
                continue
            calls = [(t, tuple(x[2] for x in layouts), n) for _, _, t, layouts, n, *_ in lt.products]
            if isinstance(expected, str):
                assert calls, (expression, dtype)
            else:
                assert calls == (expected or []), (expression, dtype, calls)


def computes_are_what_the_dtypes_say(lt):
    ways = {}
    for dtype in TOLERANCES:
        x, y = on_gpu(operands(((3, 4), (4, 5)), dtype))
        lt.products.clear()
        torch.realize(x @ y)
        ways[dtype] = {product[:2] for product in lt.products}
    assert ways[F32] == {("COMPUTE_32F", F32)} and ways[F64] == {("COMPUTE_64F", F64)}
    assert ways[F16] == {("COMPUTE_32F", F16)} and ways[BF16] == {("COMPUTE_32F", BF16)}


def sums_of_16_bit_floats_are_in_float32(lt):
    # 2048 + 1 is 2048 in float16
    x, y = on_gpu([torch.ones(1, 4096, dtype=torch.float16), torch.ones(4096, 1, dtype=torch.float16)])
    assert (x @ y).item() == 4096


def tf32_is_used_only_when_it_is_asked_for(lt):
    x, y = on_gpu(operands(((3, 4), (4, 5)), F32))
    doubles = on_gpu(operands(((3, 4), (4, 5)), F64))

    def way(x, y):
        lt.products.clear()
        torch.realize(x @ y)
        (product,) = lt.products
        return product[0]

    matmul = torch.backends.cuda.matmul
    assert way(x, y) == "COMPUTE_32F" and matmul.allow_tf32 is False
    try:
        for ask, unask in (
            (lambda: torch.set_float32_matmul_precision("high"), lambda: setattr(matmul, "allow_tf32", False)),
            (lambda: torch.set_float32_matmul_precision("medium"),
             lambda: torch.set_float32_matmul_precision("highest")),
            (lambda: setattr(matmul, "allow_tf32", True), lambda: torch.set_float32_matmul_precision("highest")),
        ):
            ask()
            assert matmul.allow_tf32 and way(x, y) == "COMPUTE_32F_FAST_TF32" and way(*doubles) == "COMPUTE_64F"
            unask()
            assert not matmul.allow_tf32 and torch.get_float32_matmul_precision() == "highest"
            assert way(x, y) == "COMPUTE_32F"
    finally:
        torch.set_float32_matmul_precision("highest")


def what_is_there_is_added_to(lt):
    tensors = operands(((3, 4), (4, 5), (4, 5), (4, 5)), F32)

    @torch.compile
    def total(x, a, b, c):
        return x @ a + x @ b + x @ c

    expected = total(*tensors)
    for _ in range(3):
        lt.products.clear()
        assert torch.allclose(total(*on_gpu(tensors)).cpu(), expected, atol=1e-5)
        assert [product[6] for product in lt.products] == [0, 1, 1]


def addresses_change_between_replays(lt):
    def step(x, y):
        return (x @ y).relu().sum(1)

    compiled = torch.compile(step)
    kept = []
    for seed in range(4):
        x, y = on_gpu([t + seed for t in operands(((3, 4), (4, 5)), F32)])
        kept.append((x, y, compiled(x, y)))
    for x, y, found in kept:
        assert torch.allclose(found.cpu(), step(x.cpu(), y.cpu()), atol=1e-5)


def operands_that_are_not_aligned_have_an_algorithm_of_their_own(lt):
    x, y = on_gpu(operands(((6, 3), (3, 5)), F32))
    for first, alignment in ((0, 16), (1, 4), (4, 16), (5, 4)):
        lt.products.clear()
        found = (x[first : first + 1] @ y).cpu()
        assert torch.allclose(found, x.cpu()[first : first + 1] @ y.cpu(), atol=1e-5)
        assert [product[5] for product in lt.products] == [alignment], first


def what_the_library_cannot_is_done_by_kernels(lt):
    lt.refuses = lambda kind: kind == fake_cublas.CudaDataType.CUDA_R_16BF
    x, y = operands(((3, 4), (4, 5)), BF16)
    assert torch.allclose((x.cuda() @ y.cuda()).cpu(), x @ y, atol=2e-2)
    whole = torch.arange(6).reshape(2, 3)
    assert (whole.cuda() @ whole.cuda().T).tolist() == (whole @ whole.T).tolist()
    image, weight = torch.arange(32.0).reshape(1, 2, 4, 4), torch.arange(36.0).reshape(2, 2, 3, 3)
    conv2d = torch.nn.functional.conv2d
    assert torch.allclose(conv2d(image.cuda(), weight.cuda()).cpu(), conv2d(image, weight))
    assert not lt.products


def descriptions_live_as_long_as_a_plan(lt):
    from flamework.runtime import engine

    x, y = on_gpu(operands(((3, 4), (4, 5)), F32))
    torch.realize(x @ y)
    assert len(lt.objects) > 1
    engine._plans.clear()
    gc.collect()
    assert [found.kind for found in lt.objects.values()] == ["handle"]


def a_program_goes_on_without_memory_for_a_workspace(lt):
    x, y = on_gpu(operands(((3, 4), (4, 5)), F32))
    kept = torch.ones(9 << 20).cuda()
    torch.realize(kept)
    try:
        torch.realize(x @ y)
    except torch.cuda.OutOfMemoryError as error:
        assert "Tried to allocate 32.00 MiB" in str(error) and "36.00 MiB is in use by tensors" in str(error)
    else:
        raise AssertionError("there was no memory")
    assert (x + 1).shape == (3, 4) and torch.allclose((x + 1).cpu(), x.cpu() + 1)
    del kept
    assert torch.allclose((x @ y).cpu(), x.cpu() @ y.cpu(), atol=1e-5) and lt.products


def gradients_and_attention(lt):
    q, k, v = operands(((2, 3, 5, 4),) * 3, F32)

    def run(*tensors):
        tensors = [t.detach().requires_grad_() for t in tensors]
        torch.nn.functional.scaled_dot_product_attention(*tensors).square().sum().backward()
        return [t.grad.cpu() for t in tensors]

    expected = run(q, k, v)
    for found, wanted in zip(run(q.cuda(), k.cuda(), v.cuda()), expected):
        assert torch.allclose(found, wanted, atol=1e-4)
    assert len(lt.products) >= 6


def linear(*tensors):
    return torch.nn.functional.linear(*tensors)


def a_vector_is_added_and_the_sum_rounded_before_it_is_stored(lt):
    """As often as that is what is stored, with the numbers that kernels of their own give."""
    def two(x, y, bias):
        return linear(linear(x, y, bias), y.T)

    def summed(x, y, bias):
        return linear(x, y, bias).relu().sum(-1)

    def one_vector_of_each_row(x, y, bias):
        return x @ y.T + bias[:4].reshape(4, 1)

    def a_computed_vector(x, y, bias):
        return linear(x, y, bias * 2)

    def read_twice(x, y, bias):
        product = x @ y.T
        return product + bias, product * 2

    programs = {
        # of float32, and of bfloat16: the dtypes in which products are stored, and whether a vector was added
        linear: ([(F32, True)], [(BF16, True)]),
        two: ([(F32, True), (F32, False)], [(BF16, True), (BF16, False)]),
        summed: ([(F32, False)], [(BF16, True)]),
        one_vector_of_each_row: ([(F32, False)], [(BF16, False)]),
        a_computed_vector: ([(F32, False)], [(F32, False)]),
        read_twice: ([(F32, False)], [(BF16, False)]),
    }
    for program, wanted in programs.items():
        for dtype, stored in zip((F32, BF16), wanted):
            # whole numbers, whose sums have the same bits whatever their order
            generator = np.random.default_rng(1)
            tensors = [torch.from_numpy(generator.integers(-9, 9, shape) / 16).to(getattr(torch, dtype))
                       for shape in ((2, 4, 6), (5, 6), (5,))]
            expected = program(*tensors)
            lt.stored.clear()
            found = program(*on_gpu(tensors))
            many = found if isinstance(found, tuple) else (found,)
            torch.realize(*many)
            for one, other in zip(many, expected if isinstance(expected, tuple) else (expected,)):
                assert torch.equal(one.cpu(), other), (program, dtype)
            assert lt.stored == stored, (program.__name__, dtype, lt.stored)


def an_explanation_says_what_is_done_to_a_product(lt):
    tensors = on_gpu(operands(((2, 4, 6), (5, 6), (5,)), BF16))
    (kernel,) = torch.explain(linear)(*tensors).kernels
    assert (kernel.kind, kernel.operations, kernel.name) == ("dot", ["dot", "add", "cast"], "dot_add_cast_bf16")
    assert [operand.shape for operand in kernel.operands] == [(2, 4, 6), (5, 6), (5,), (2, 4, 5)]


def a_vector_is_where_it_is_at_each_call(lt):
    compiled = torch.compile(linear)
    for i in range(6):
        x, y, bias = operands(((4, 6), (5, 6), (9,)), F32)
        on = on_gpu((x, y, bias))
        found = compiled(on[0], on[1], on[2][i % 5 : i % 5 + 5]).cpu()
        assert torch.allclose(found, linear(x, y, bias[i % 5 : i % 5 + 5]), atol=1e-5)
    assert {has_bias for _, has_bias in lt.stored} == {True}


def what_the_library_cannot_add_is_added_by_kernels(lt):
    lt.refuses_bias = True
    for dtype in (F32, F64, F16):
        tensors = operands(((4, 6), (5, 6), (5,)), dtype)
        found = linear(*on_gpu(tensors)).cpu()
        assert torch.allclose(found, linear(*tensors), atol=TOLERANCES[dtype], rtol=TOLERANCES[dtype])
    assert {has_bias for _, has_bias in lt.stored} == {False}


BEHAVIOURS = [
    products_have_the_right_arguments, computes_are_what_the_dtypes_say, sums_of_16_bit_floats_are_in_float32,
    tf32_is_used_only_when_it_is_asked_for, what_is_there_is_added_to, addresses_change_between_replays,
    operands_that_are_not_aligned_have_an_algorithm_of_their_own, what_the_library_cannot_is_done_by_kernels,
    a_vector_is_added_and_the_sum_rounded_before_it_is_stored, a_vector_is_where_it_is_at_each_call,
    an_explanation_says_what_is_done_to_a_product, what_the_library_cannot_add_is_added_by_kernels,
    descriptions_live_as_long_as_a_plan, a_program_goes_on_without_memory_for_a_workspace, gradients_and_attention,
]


installed = functools.partial(fake_cuda.with_library, fake_cublas.FakeCublasLt, fake_cublas.installed)

if __name__ == "__main__":
    simulator.report(BEHAVIOURS, installed)
