"""Every argument that PyTorch names, given by its name, and by the other names that PyTorch takes for it."""

import warnings

import flamework
import pytest
from rows import check, evaluate
from test_surface import difference, plain

torch = pytest.importorskip("torch")

# Calls with the identity matrix m and x, the ones in four axes.
CALLS = """
    torch.zeros_like(x, memory_format=torch.preserve_format)
    torch.zeros_like(x, memory_format=torch.channels_last)
    torch.zeros_like(x.permute(0, 3, 1, 2), memory_format=torch.contiguous_format)
    torch.zeros(2, 3, layout=torch.strided)
    torch.zeros(2, 3, pin_memory=False)
    torch.tensor([1.], pin_memory=False)
    torch.empty(2, 3, 4, 5, memory_format=torch.channels_last)
    torch.empty(2, 3, 4, 5, memory_format=torch.contiguous_format)
    torch.rand(2, layout=torch.strided, pin_memory=False)
    torch.arange(3, layout=torch.strided)
    torch.hann_window(4, layout=torch.strided)
    x.float(memory_format=torch.preserve_format)
    x.double(memory_format=torch.channels_last)
    x.half(memory_format=torch.contiguous_format)
    x.cpu(memory_format=torch.preserve_format)
    x.int(memory_format=torch.preserve_format)
    x.bool(memory_format=torch.preserve_format)
    x.bfloat16(memory_format=torch.preserve_format)
    x.resize_(2, 3, memory_format=torch.contiguous_format)
    x.resize_as_(m, memory_format=torch.contiguous_format)
    x.new_zeros(2, layout=torch.strided, pin_memory=False)
    x.new_empty((2,), layout=torch.strided, pin_memory=False)
    x.new_full((2,), 1., layout=torch.strided, pin_memory=False)
    torch.gather(m, 1, torch.tensor([[0]]), sparse_grad=False)
    torch.gather(m, 1, torch.tensor([[0]]), sparse_grad=True)
    torch.split(m, split_size_or_sections=2)[0]
    torch.split(tensor=m, split_size_or_sections=[1, 2], dim=1)[1]
    m.split(split_size=2)[0]
    torch.tril_indices(2, 3, device='cpu')
    torch.tril_indices(row=2, col=3, offset=0, layout=torch.strided, device='cpu')
    torch.inverse(input=m)
    torch.det(input=m)
    torch.logdet(input=m)
    torch.matrix_power(input=m, n=2)
    torch.slogdet(input=m)[0]
    torch.cholesky(input=m)
    torch.svd(input=m)[1]
    torch.pinverse(input=m)
    torch.matrix_exp(input=m)
    torch.linalg.det(A=m)
    torch.linalg.inv(A=m)
    torch.linalg.norm(input=m)
    torch.linalg.vector_norm(input=m)
    torch.linalg.vector_norm(x=m)
    torch.linalg.matrix_norm(input=m)
    torch.linalg.svd(A=m)[1]
    torch.linalg.qr(A=m)[1]
    torch.linalg.eigh(input=m)[0]
    torch.linalg.eig(input=m)[0]
    torch.linalg.cholesky(input=m)
    torch.linalg.solve(A=m, B=m)
    torch.linalg.lstsq(input=m, b=m)[0]
    torch.linalg.pinv(input=m)
    torch.linalg.matrix_rank(input=m)
    torch.linalg.matrix_power(input=m, n=2)
    torch.linalg.matrix_exp(input=m)
    torch.linalg.cond(input=m)
    torch.linalg.multi_dot(tensors=[m, m])
    torch.linalg.cross(input=m, other=m)
    torch.linalg.vecdot(x=m, y=m)
    torch.linalg.tensorinv(input=torch.eye(4).reshape(4, 2, 2), ind=1)
    torch.linalg.tensorsolve(input=torch.eye(4).reshape(2, 2, 4), other=torch.ones(2, 2))
    torch.linalg.householder_product(input=m, tau=torch.ones(3))
    torch.linalg.diagonal(A=m)
    torch.linalg.inv_ex(A=m, check_errors=True)[0]
    torch.linalg.lu(A=m)[0]
    torch.linalg.svdvals(A=m)
    torch.linalg.eigvals(input=m)
    torch.linalg.vander(x=torch.ones(3))
    torch.linalg.solve_triangular(m, m, upper=True, left=False, unitriangular=True)
    torch.linalg.solve_triangular(input=m, B=m, upper=True)
    torch.take(input=m, index=torch.tensor([0]))
    torch.bmm(input=x[0], mat2=x[0].mT)
    torch.dot(input=m[0], tensor=m[0])
    torch.mv(input=m, vec=m[0])
    torch.mm(input=m, mat2=m)
    torch.matmul(input=m, other=m)
    torch.add(input=m, other=1, alpha=2)
    torch.div(input=m, other=2, rounding_mode='floor')
    m.expand(size=(2, 3, 3))
    m.repeat(repeats=(2, 3))
    m.reshape(shape=(9,))
    m.view(size=(9,))
    m.view(dtype=torch.int32)
    m.permute(dims=(1, 0))
    torch.permute(input=m, dims=(1, 0))
    m.flip(dims=(0,))
    m.roll(shifts=1, dims=0)
    m.tile(dims=(2,))
    m.sum(axis=0)
    m.sum(dim=0, keepdims=True)
    m.mean(axis=0, keepdims=True)
    torch.cat(tensors=[m, m], axis=1)
    torch.cat([m, m], axis=1)
    torch.stack(tensors=[m, m], axis=1)
    torch.concat([m, m], axis=1)
    torch.sort(m, axis=0)[0]
    torch.argmax(m, axis=0)
    torch.max(m, axis=0)[0]
    torch.softmax(m, axis=0)
    torch.softmax(input=m, dim=0)
    torch.cumsum(m, axis=0)
    torch.squeeze(m, axis=0)
    torch.unsqueeze(m, axis=0)
    torch.topk(m, 2, axis=0)[0]
    torch.gather(m, axis=0, index=torch.tensor([[0]]))
    torch.index_select(m, axis=0, index=torch.tensor([0]))
    torch.unbind(m, axis=1)[0]
    torch.chunk(m, 2, axis=1)[0]
    torch.swapaxes(m, axis0=0, axis1=1)
    torch.diff(m, axis=0)
    torch.logsumexp(m, axis=0)
    torch.count_nonzero(m, axis=0)
    torch.nansum(m, axis=0)
    torch.median(m, axis=0)[0]
    torch.prod(m, axis=0, keepdims=True)
    torch.all(m>0, axis=0)
    torch.amax(m, axis=0, keepdims=True)
    torch.std(m, axis=0, keepdims=True)
    torch.var(m, axis=0, correction=0)
    torch.var(m, dim=0, unbiased=False)
    torch.std(m, False)
    torch.std(m, 0, True, True)
    torch.std(m, correction=None)
    torch.take_along_dim(m, torch.tensor([[0]]), axis=0)
    torch.where(condition=m>0, input=m, other=m)
    torch.clamp(m, min=0, max=.5)
    torch.clamp(input=m, min=torch.zeros(3))
    m.clip(min=0)
    torch.minimum(input=m, other=m)
    torch.atleast_1d(m)
    torch.searchsorted(torch.arange(4.), m, right=True)
    torch.searchsorted(torch.arange(4.), m, side='right')
    torch.searchsorted(sorted_sequence=torch.arange(4.), input=m, out_int32=True)
    torch.bucketize(m, boundaries=torch.arange(4.), right=True, out_int32=True)
    torch.unique(m, sorted=False)
    torch.unique(m, return_inverse=True, return_counts=True, dim=0)[1]
    torch.sort(m, stable=True)[1]
    torch.sort(m, descending=True, stable=True)[1]
    torch.argsort(m, dim=0, descending=True, stable=True)
    torch.topk(m, 2, largest=False, sorted=False)[0]
    torch.randn(3, generator=torch.Generator())
    torch.rand_like(m, generator=None)
    torch.randperm(4, generator=torch.Generator(), dtype=torch.int32)
    torch.multinomial(m, 2, replacement=True, generator=torch.Generator())
    torch.normal(mean=0., std=1., size=(2,), generator=torch.Generator())
    torch.normal(mean=m, std=1.)
    torch.normal(mean=m, std=m)
    m.random_(0, 10, generator=torch.Generator())
    m.random_(to=10)
    m.uniform_(0, 1, generator=torch.Generator())
    m.normal_(mean=0, std=1, generator=torch.Generator())
    m.bernoulli_(p=.5, generator=torch.Generator())
    m.exponential_(lambd=1)
    torch.poisson(m, generator=torch.Generator())
    torch.linspace(start=0, end=1, steps=3)
    torch.logspace(start=0, end=1, steps=3, base=2)
    torch.arange(start=0, end=3, step=1)
    torch.full(size=(2,), fill_value=1)
    torch.eye(n=2, m=3)
    torch.quantile(m, q=.5, dim=0, keepdim=True, interpolation='lower')
    torch.nanquantile(m, .5, interpolation='nearest')
    torch.histc(m, bins=3, min=0, max=1)
    torch.tensordot(m, m, dims=([0], [1]))
    torch.einsum('ij->ji', m)
    torch.meshgrid(m[0], m[0], indexing='xy')[0]
    torch.cdist(x1=m, x2=m, p=2., compute_mode='donot_use_mm_for_euclid_dist')
    torch.allclose(input=m, other=m, rtol=0, atol=0, equal_nan=True)
    torch.isclose(input=m, other=m, equal_nan=True)
    torch.cumsum(m, dim=0, dtype=torch.float64)
    m.cumsum_(dim=0)
    torch.sum(m, dtype=torch.float64)
    torch.sum(input=m, dim=(0, 1), keepdim=True, dtype=torch.float64)
    torch.nan_to_num(m, nan=1., posinf=2., neginf=3.)
    torch.round(m, decimals=2)
    torch.renorm(m, p=2, dim=0, maxnorm=1)
    torch.cross(m, m, dim=1)
    torch.linalg.cross(m, m, dim=-1)
    torch.repeat_interleave(m, repeats=2, dim=0, output_size=6)
    torch.repeat_interleave(torch.tensor([1, 2]), output_size=3)
    torch.masked_fill(m, mask=m>0, value=1)
    m.masked_fill_(mask=m>0, value=1.)
    m.scatter(dim=0, index=torch.tensor([[0]]), value=1.)
    m.scatter(dim=0, index=torch.tensor([[0]]), src=m)
    m.scatter_add(dim=0, index=torch.tensor([[0]]), src=m)
    m.scatter_reduce(dim=0, index=torch.tensor([[0]]), src=m, reduce='sum', include_self=False)
    m.index_add(dim=0, index=torch.tensor([0]), source=m[:1], alpha=2)
    m.index_copy(dim=0, index=torch.tensor([0]), source=m[:1])
    m.index_fill(dim=0, index=torch.tensor([0]), value=1)
    m.index_put((torch.tensor([0]),), torch.tensor(1.), accumulate=True)
    m.index_put(indices=(torch.tensor([0]),), values=torch.tensor(1.))
    m.put_(index=torch.tensor([0]), source=torch.ones(1), accumulate=True)
    m.copy_(m.clone(), non_blocking=False)
    m.clone(memory_format=torch.contiguous_format)
    m.contiguous(memory_format=torch.contiguous_format)
    m.is_contiguous(memory_format=torch.contiguous_format)
    m.to(torch.float64, non_blocking=True, copy=True, memory_format=torch.preserve_format)
    m.to(device='cpu', dtype=torch.float64)
    m.type(dtype=torch.float64)
    m.type(torch.float64, non_blocking=False)
    m.unfold(dimension=0, size=2, step=1)
    m.narrow(dim=0, start=0, length=1)
    m.select(dim=0, index=1)
    m.diagonal(offset=0, dim1=0, dim2=1)
    m.tril(diagonal=1)
    m.unflatten(dim=0, sizes=(3, 1))
    m.flatten(start_dim=0, end_dim=1)
    m.movedim(source=0, destination=1)
    m.transpose(dim0=0, dim1=1)
    m.unsqueeze(dim=0)
    m.transpose_(dim0=0, dim1=1)
    m.unsqueeze_(dim=0)
    m.squeeze_(dim=0)
    m.requires_grad_(requires_grad=True)
    m.fill_diagonal_(fill_value=1., wrap=True)
    m.stride(dim=0)
    m.size(dim=0)
    m.as_strided(size=(2,), stride=(1,), storage_offset=1)
    torch.as_strided(input=m, size=(2,), stride=(1,))
    torch.fft.fft(input=m, n=4, dim=0, norm='ortho')
    torch.fft.fftn(input=m, s=(2, 2), dim=(0, 1), norm='forward')
    torch.fft.fftfreq(n=4, d=.5)
    torch.fft.fftshift(input=m, dim=0)
    torch.fft.rfft2(m, s=None, dim=(-2, -1), norm=None)
    torch.special.logit(m, eps=.1)
    torch.special.softmax(m, dim=0, dtype=torch.float64)
    torch.special.logsumexp(m, dim=0, keepdim=True)
    torch.special.polygamma(n=1, input=m+1)
    torch.special.zeta(input=m+2, other=m+1)
    torch.special.multigammaln(m+5, p=2)
    torch.special.round(m, decimals=1)
    torch.special.xlogy(input=m, other=m)
    torch.lerp(input=m, end=m, weight=.5)
    torch.addmm(input=m, mat1=m, mat2=m, beta=2, alpha=3)
    torch.addcmul(input=m, tensor1=m, tensor2=m, value=2)
    torch.baddbmm(input=x[0], batch1=x[0], batch2=x[0].mT@x[0], beta=1)
    torch.pow(input=m, exponent=2)
    torch.pow(2, m)
    torch.float_power(input=m, exponent=2)
    torch.remainder(input=m, other=2)
    torch.logaddexp(input=m, other=m)
    torch.heaviside(input=m, values=m)
    torch.ldexp(input=m, other=m)
    torch.gradient(m, spacing=2., dim=0, edge_order=1)[0]
    torch.trapezoid(y=m, x=m, dim=0)
    torch.trapezoid(y=m, dx=2.)
    torch.cov(m, correction=0, fweights=torch.tensor([1, 2, 3]))
    torch.vander(x=m[0], N=2, increasing=True)
    torch.tensor_split(m, sections=2)[0]
    torch.tensor_split(m, indices=(1,))[0]
    torch.hsplit(m, indices=(1,))[0]
    torch.rot90(m, k=1, dims=[0, 1])
    torch.block_diag(m, m)
    torch.cartesian_prod(m[0], m[0])
    torch.combinations(m[0], r=2, with_replacement=True)
    torch.isin(elements=m, test_elements=m, assume_unique=True, invert=True)
    torch.isin(m, test_element=1.)
    torch.nonzero(m, as_tuple=True)[0]
    torch.nonzero(input=m, as_tuple=False)
    torch.argwhere(input=m)
    torch.count_nonzero(input=m, dim=0)
    torch.mode(input=m, dim=0, keepdim=True)[0]
    torch.kthvalue(input=m, k=1, dim=0, keepdim=True)[0]
    torch.std_mean(m, dim=0, correction=0, keepdim=True)[0]
    torch.aminmax(m, dim=0, keepdim=True)[0]
    torch.bincount(torch.tensor([1, 2]), weights=torch.ones(2), minlength=5)
    torch.complex(real=m, imag=m)
    torch.polar(abs=m, angle=m)
    torch.dist(input=m, other=m, p=1)
    torch.asarray([1.], dtype=torch.float64, copy=True, requires_grad=True)
    torch.as_tensor(data=[1.], dtype=torch.float64, device='cpu')
    torch.scalar_tensor(1., dtype=torch.float64)
    torch.frombuffer(bytearray(8), dtype=torch.float32, count=1, offset=4)
    torch.hamming_window(4, periodic=False, alpha=.5, beta=.5)
    torch.kaiser_window(4, periodic=True, beta=12.)
    torch.cholesky(m, upper=True)
    torch.triangular_solve(m, m, upper=True, transpose=False, unitriangular=False)[0]
    torch.tensor(data=[1.], dtype=torch.float32, device='cpu', requires_grad=True)
    torch.can_cast(from_=torch.int32, to=torch.float32)
    torch.numel(input=m)
    torch.is_floating_point(input=m)
    torch.is_complex(input=m)
    torch.is_nonzero(input=m[0, 0])
    torch.nonzero_static(m, size=2, fill_value=-1)
    torch.empty_strided((2, 3), (1, 2), layout=torch.strided, pin_memory=False)
    torch.randint(low=0, high=3, size=(2,), layout=torch.strided, dtype=torch.int64)
    torch.randint(3, (2,), generator=torch.Generator())
    torch.randint_like(m, low=0, high=3, memory_format=torch.preserve_format)
    torch.log_softmax(m, dim=0, dtype=torch.float64)
    torch.nn.functional.softmax(m, dim=0, _stacklevel=3, dtype=torch.float64)
    torch.relu_(m)
    torch.threshold_(m, threshold=.5, value=0.)
    torch.celu_(m, alpha=1.)
    torch.rrelu_(m, lower=.1, upper=.1, training=False)
"""

# Functions with out=: of a tensor of floats, what they give there.
OUT = """
    torch.abs(x, out=o)
    torch.add(x, y, out=o)
    torch.sub(x, y, alpha=2, out=o)
    torch.mul(x, 2, out=o)
    torch.div(x, y, rounding_mode="floor", out=o)
    torch.pow(x, 2, out=o)
    torch.clamp(x, -1, 1, out=o)
    torch.maximum(x, y, out=o)
    torch.where(x > 0, x, y, out=o)
    torch.lerp(x, y, 0.5, out=o)
    torch.addcmul(x, y, y, out=o)
    torch.sum(x, 0, out=o)
    torch.mean(x, 0, out=o)
    torch.prod(x, 0, out=o)
    torch.amax(x, 0, out=o)
    torch.var(x, 0, out=o)
    torch.logsumexp(x, 0, out=o)
    torch.norm(x, dim=0, out=o)
    torch.cumsum(x, 0, out=o)
    torch.diff(x, out=o)
    torch.cat([x, y], out=o)
    torch.stack([x, y], out=o)
    torch.index_select(x, 0, few, out=o)
    torch.gather(x, 1, idx, out=o)
    torch.take(x, few, out=o)
    torch.masked_select(x, b, out=o)
    torch.tril(x, out=o)
    torch.diag(vec, out=o)
    torch.mm(x, x.t(), out=o)
    torch.matmul(x, vec, out=o)
    torch.bmm(cube, cube.mT, out=o)
    torch.outer(vec, vec, out=o)
    torch.dot(vec, vec, out=o)
    torch.linalg.norm(x, out=o)
    torch.linalg.det(x @ x.t(), out=o)
    torch.linalg.inv(x @ x.t(), out=o)
    torch.special.ndtr(x, out=o)
    torch.nan_to_num(x, out=o)
    torch.quantile(x, 0.5, out=o)
    torch.zeros(3, out=o)
    torch.arange(3, out=o)
    torch.linspace(0, 1, 3, out=o)
    torch.eye(3, out=o)
    torch.full((2,), 3.0, out=o)
"""


def listed(table):
    return [row.strip() for row in table.strip().splitlines()]


def value(package, call):
    package.manual_seed(0)
    scope = {"torch": package, "m": package.eye(3), "x": package.ones(2, 3, 4, 5)}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        result = eval(call, scope)
    if "empty" in call or "resize" in call:
        result.zero_()
    strides = list(result.stride()) if "memory_format" in call and hasattr(result, "stride") else []
    return [strides, plain(result)]


@pytest.mark.parametrize("call", listed(CALLS))
def test_arguments_have_the_names_that_torch_takes(call):
    assert difference(value(flamework, call), value(torch, call)) is None


def test_what_only_a_gpu_or_another_layout_could_do_is_refused():
    for call in (
        lambda: flamework.zeros(2, pin_memory=True), lambda: flamework.tensor([1.0], pin_memory=True),
        lambda: flamework.rand(2, layout="sparse"),
        lambda: flamework.ones(2).resize_(1, memory_format=flamework.channels_last),
    ):
        with pytest.raises(RuntimeError):
            call()


@pytest.mark.parametrize("row", listed(OUT))
def test_out_is_resized_when_empty_and_is_what_is_returned(row):
    made = "o = torch.empty(0, dtype=torch.float64); result = "
    same = f"{made[:-9]}r = {row}; result = (o.clone(), r is o, r.data_ptr() == o.data_ptr())"
    check(same, gradients=False)


@pytest.mark.parametrize("dtype", ["int32", "float32", "bool"])
@pytest.mark.parametrize("row", listed(OUT))
def test_out_of_another_dtype_is_filled_or_refused_as_by_torch(row, dtype):
    call = f"o = torch.empty(0, dtype=torch.{dtype}); r = {row}; result = (o.clone(), r is o)"
    assert difference(outcome(flamework, call), outcome(torch, call), 1e-3) is None


def outcome(package, call):
    try:
        return plain(evaluate(package, call, gradients=False)[0])
    except Exception as error:
        return error
