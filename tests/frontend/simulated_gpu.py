"""What ``test_cuda_simulated.py`` runs in processes of their own, with two simulated GPUs.

Called as a script with the name of a part, prints one JSON object: for each call or behaviour None, or what went wrong.
"""

from __future__ import annotations

import copy
import io
import json
import pickle
import sys
import traceback
import warnings

# Calls whose results on a GPU are those of the CPU. x and y are [4, 6], v [6], i positions, m a mask, s a symmetric
# positive matrix, image [1, 2, 4, 6], place a device.
CALLS = """
x + y
x * 2 - y / 3
x + torch.tensor(2.0)
torch.tensor(2.0) * x
x.add(y, alpha=2)
x.double() + y
x.half() * y.half()
x.bfloat16() + 1
(x > y, x <= y, x == x, x != y)
(x > 0) & (y > 0) | ~(x > 1)
x.exp(), x.log1p(), x.abs().sqrt(), x.sin(), x.tanh(), x.erf(), x.sigmoid()
x.abs().lgamma(), x.abs().digamma()
x.floor(), x.ceil(), x.round(), x.trunc(), x.frac()
x.clamp(-0.5, 0.5), x.clamp(min=y)
torch.where(x > 0, x, y)
torch.where(x > 0, x, 0.0)
torch.lerp(x, y, 0.3)
torch.addcmul(x, x, y, value=0.5), torch.addcdiv(x, x, y.abs() + 1)
torch.atan2(x, y), torch.hypot(x, y), torch.maximum(x, y), torch.fmod(x, 0.3), x.remainder(0.3)
(x * 10).long() // 3, (x * 10).long() % 3, (x * 10).long() << 1, (x * 10).int() ^ 5
torch.complex(x, y) * torch.complex(y, x)
torch.view_as_real(torch.complex(x, y).conj().resolve_conj())
torch.complex(x, y).abs(), torch.complex(x, y).angle()
x.sum(), x.sum(0), x.sum(1, keepdim=True), x.sum(dtype=torch.float64)
x.mean(), x.mean(1), x.var(), x.std(0), x.prod(1), x.norm(), x.norm(1, dim=0)
x.max(), x.min(), x.max(1), x.min(0), x.amax(0), x.aminmax()
x.argmax(), x.argmin(1), x.any(), x.all(0), (x > 0).sum(), x.count_nonzero()
x.logsumexp(1), x.softmax(0), x.log_softmax(1), x.median(), x.median(0), x.mode(0)
x.quantile(0.3), x.nanmean(), x.nansum(), x.kthvalue(2)
x.cumsum(0), x.cumsum(1), x.cumprod(1), x.cummax(0), x.logcumsumexp(1)
x.sort(1), x.sort(0, descending=True), x.argsort(1), x.topk(2), v.msort()
torch.unique((x * 2).long()), torch.unique((x * 2).long(), return_inverse=True, return_counts=True)
torch.unique((x * 2).long(), dim=0), torch.unique_consecutive((x * 2).long())
torch.searchsorted(v.msort(), x), torch.bucketize(x, v.msort())
torch.bincount(i), torch.bincount(i, minlength=9), torch.histc(x, 4), torch.histogram(x, 4)
x.nonzero(), (x > 0).nonzero(as_tuple=True), torch.argwhere(x > 0), torch.nonzero_static(x > 0, size=3)
torch.isin(i, i[:1]), torch.equal(x, x), torch.allclose(x, x), x.isnan(), x.isfinite()
x @ y.T
x.half() @ y.half().T, x.bfloat16() @ y.bfloat16().T, F.linear(x.half(), y.half(), v[:4].half())
x.half().float() @ y.bfloat16().float().T, x.half().float() @ y.T, x[:, ::2].half() @ y.half()[:3, 1:4]
F.conv2d(image.half(), image.half(), padding=1), F.conv2d(image.bfloat16(), image[..., :2, :2].bfloat16())
torch.bmm(x.reshape(2, 3, 4), y.reshape(2, 4, 3)), x @ v, v @ v, torch.outer(v, v)
torch.einsum("ij,kj->ik", x, y), torch.tensordot(x, y, 2), torch.kron(x, s)
torch.addmm(s[:, :1], x, y.T), torch.baddbmm(x.reshape(2, 3, 4)[:, :, :3], x.reshape(2, 3, 4), y.reshape(2, 4, 3))
torch.linalg.inv(s), torch.linalg.det(s), torch.linalg.cholesky(s), torch.linalg.solve(s, s[:, :1])
torch.linalg.eigvalsh(s), torch.linalg.svdvals(x), torch.linalg.lstsq(x, x[:, :1])[0], torch.linalg.matrix_rank(x)
torch.linalg.pinv(x), torch.linalg.matrix_norm(x), torch.linalg.slogdet(s), torch.linalg.lu_factor(s)
torch.cdist(x, y), torch.pdist(x), torch.renorm(x, 2, 0, 1.0), torch.cov(x), torch.corrcoef(x)
torch.trace(x), torch.diag(v), x.diagonal(), torch.tril(x), torch.triu(x, 1), torch.block_diag(x, y)
torch.cat([x, y], 1), torch.stack([x, y]), torch.hstack([x, y]), torch.cat([x, y.long()])
x.split(2), x.chunk(3, 1), x.unbind(1), torch.tensor_split(x, 3)
x.reshape(6, 4), x.T, x.flatten(), x.unsqueeze(1), x.expand(2, 4, 6), x.repeat(2, 1), x.permute(1, 0)
x.flip(0), x.roll(1, 1), x.rot90(), torch.movedim(x, 0, 1), x.unfold(1, 2, 2), x[::2, 1::2]
x.repeat_interleave(2, 1), torch.repeat_interleave(x, i[:4] + 1, dim=0)
x[1], x[-1, 2], x[:, 1:3], x[..., None], x[[0, 2, 1]], x[x > 0], x[:, i], x[i[:2], i[1:3]]
x[torch.tensor([1, 0])], x[(x > 0).cpu()], x[torch.tensor(1)], x[None, [1], True]
x.take(i), x.gather(1, i[None, :2]), x.index_select(1, i), torch.take_along_dim(x, x.argsort(1), 1)
torch.masked_select(x, m), x.masked_fill(m, 2.0), x.masked_fill(m, torch.tensor(2.0)), x.masked_scatter(m, y)
torch.zeros(4, 6, device=place).index_add_(0, i[:4] % 4, x), x.index_fill(0, i[:1], 7)
x.index_copy(1, i[:1], y[:, :1])
x.scatter(1, i[None, :2], 3.0), x.scatter_add(1, i[None, :2], y), x.scatter_reduce(1, i[None, :2], y, "amax")
torch.index_put(x, (i[:2], i[1:3]), y[0, :2]), torch.combinations(v, 2), torch.cartesian_prod(v[:2], v[:3])
torch.meshgrid(v, v, indexing="ij"), torch.vander(v), torch.gradient(v), torch.trapezoid(v), torch.diff(x)
torch.fft.fft(x).abs(), torch.fft.rfft(x).abs(), torch.fft.ifft(x).real, torch.fft.fft2(x).abs()
torch.fft.fftshift(x)
torch.stft(v.repeat(4), 4, window=torch.ones(4, device=place), return_complex=True).abs()
torch.tril_indices(3, 3, device=place), torch.triu_indices(3, 4, 1, device=place)
torch.arange(5, device=place), torch.linspace(0, 1, 4, device=place), torch.logspace(0, 1, 3, device=place)
torch.eye(3, device=place), torch.full((2,), 3, device=place), torch.zeros_like(x), torch.ones(2, device=place)
torch.tensor([[1, 2], [3, 4]], device=place), torch.as_tensor([1.0], device=place), x.new_full((2,), 1)
x.new_tensor([1])
torch.hann_window(5, device=place), torch.kaiser_window(5, device=place), torch.scalar_tensor(2, device=place)
x.to(torch.int32), x.bool(), x.byte(), x.type_as(i), x.view(torch.int32), x.real
x.view(torch.uint8), x.view(torch.float64), x[1:, 2:4].view(torch.int64), i.view(torch.int32), x.bool().view(torch.int8)
(lambda t: (t.view(torch.int64).fill_(0), t.view(torch.uint8)[1:, 3].zero_(), t))(x[:, :4].clone())[-1]
(lambda t: (t.untyped_storage().fill_(0), t))(x.clone())[-1], (lambda t: (t.view(torch.int64), t.add_(1)))(x.clone())
torch.from_dlpack(x), torch.from_dlpack(x.T.bfloat16()), torch.from_dlpack(x[:0]), torch.asarray(x, copy=True)
x.tolist(), x.sum().item(), len(x), bool((x > 0).any()), int(i[0]), x[0, 0].is_nonzero()
x.clone().add_(1), x.clone().mul_(y), x.clone().zero_(), x.clone().fill_(2), x.clone().copy_(y)
(lambda t: (t[0].mul_(3), t[:, 1].add_(1), t))(x.clone())[-1]
(lambda t: (t.__setitem__(0, y[0]), t.__setitem__((1, 2), 9.0), t.__setitem__(t > 1, 0), t))(x.clone())[-1]
(lambda t: (t.__setitem__(0, torch.ones(6)), t.__setitem__([1], torch.tensor(2.0)), t))(x.clone())[-1]
(lambda t: (t.t().add_(y.t()), t.view(-1)[::2].neg_(), t))(x.clone())[-1]
torch.add(x, y, out=torch.empty(4, 6, device=place))
torch.arange(3, out=torch.empty(3, dtype=torch.int64, device=place))
x[:0], x[:0].sum(), x[:0] @ y.T, torch.cat([x[:0], y]), x[:, :0].sum(1)
F.relu(x), F.gelu(x), F.silu(x), F.elu(x), F.leaky_relu(x), F.softplus(x), F.hardtanh(x), F.mish(x), F.logsigmoid(x)
F.linear(x, y), F.linear(x, y, v[:4]), F.bilinear(x[:, :2], y[:, :3], torch.ones(2, 2, 3, device=place))
F.layer_norm(x, (6,), v, v), F.rms_norm(x, (6,)), F.batch_norm(x, None, None, training=True), F.group_norm(image, 2)
F.instance_norm(image), F.normalize(x), F.local_response_norm(image, 2), F.cosine_similarity(x, y)
F.cross_entropy(x, i[:4]), F.nll_loss(x.log_softmax(1), i[:4]), F.mse_loss(x, y), F.l1_loss(x, y), F.huber_loss(x, y)
F.binary_cross_entropy_with_logits(x, y.sigmoid()), F.kl_div(x.log_softmax(1), y.softmax(1)), F.smooth_l1_loss(x, y)
F.cross_entropy(x, y.softmax(1), label_smoothing=0.1), F.multi_margin_loss(x, i[:4]), F.triplet_margin_loss(x, y, -x)
F.ctc_loss(x[:, None, :].log_softmax(2), i[None, :2] % 5 + 1, (4,), (2,))
F.conv2d(image, image, padding=1), F.conv2d(image, image[:, :1].repeat(2, 1, 1, 1)[:, :, :2, :2], groups=2)
F.conv1d(image[0], image[0, :, :, :2]), F.conv_transpose2d(image, image.reshape(2, 2, 2, 6)[..., :2])
F.max_pool2d(image, 2), F.max_pool2d(image, 2, return_indices=True), F.avg_pool2d(image, 2)
F.adaptive_avg_pool2d(image, 2)
F.adaptive_max_pool2d(image, 2), F.lp_pool2d(image, 2, 2), F.unfold(image, 2), F.fold(F.unfold(image, 2), (4, 6), 2)
F.interpolate(image, scale_factor=2), F.interpolate(image, scale_factor=2, mode="bilinear")
F.interpolate(image, size=(3, 5), mode="bicubic"), F.interpolate(image, size=(2, 3), mode="area")
F.grid_sample(image, torch.zeros(1, 2, 2, 2, device=place), align_corners=False)
F.pixel_shuffle(image.repeat(1, 2, 1, 1), 2)
F.affine_grid(torch.ones(1, 2, 3, device=place), (1, 1, 2, 2), align_corners=False)
F.pad(image, (1, 1)), F.pad(image, (1, 1, 1, 1), mode="reflect"), F.pad(image[0], (1, 0), mode="circular")
F.embedding(i, y.T), F.embedding_bag(i, y.T, i[:1] * 0), F.one_hot(i, 6)
F.scaled_dot_product_attention(*[x.reshape(1, 2, 3, 4)] * 3), F.dropout(x, 0.0), F.dropout(x, 0.5, training=False)
torch.histogramdd(x[:, :2], [2, 2]), torch.frexp(x), torch.nextafter(x, y), torch.ldexp(x, i[:1])
torch.vmap(lambda row: (row * 2).sum())(x), torch.func.grad(lambda t: (t.sin() * t).sum())(x)
torch.func.jacrev(lambda t: t * t)(v), torch.func.jvp(lambda t: t.exp(), (v,), (v,))
torch.autograd.functional.hessian(lambda t: (t ** 3).sum(), v[:3])
torch.broadcast_tensors(x, v), torch.atleast_2d(v), torch.swapaxes(x, 0, 1), x.view(2, 2, 6), x.ravel()
torch.bernoulli((x > 0).float()), torch.poisson(torch.zeros(3, device=place)), torch.normal(x, 0.0)
torch.rand(0, device=place)
torch.special.i0(x), torch.special.ndtri(x.sigmoid()), torch.special.zeta(x.abs() + 2, 2.0)
torch.polygamma(1, x.abs() + 1)
""".strip().splitlines()

# Errors that PyTorch raises: the call, the class, and a part of the message.
ERRORS = {
    "x + y.cpu()": (RuntimeError, "Expected all tensors to be on the same device, but found at least two devices"),
    "x @ y.T.cpu()": (RuntimeError, "Expected all tensors to be on the same device"),
    "torch.cat([x, y.cpu()])": (RuntimeError, "Expected all tensors to be on the same device"),
    "torch.where(m, x, y.cpu())": (RuntimeError, "Expected all tensors to be on the same device"),
    "x.index_select(0, i.cpu())": (RuntimeError, "Expected all tensors to be on the same device"),
    "x.add_(y.cpu())": (RuntimeError, "Expected all tensors to be on the same device"),
    "x.cpu().add_(y)": (RuntimeError, "Expected all tensors to be on the same device"),
    "torch.tensor(1.0).add_(x[0, 0])": (RuntimeError, "Expected all tensors to be on the same device"),
    "torch.add(x, y, out=torch.empty(4, 6))": (RuntimeError, "Expected all tensors to be on the same device"),
    "F.cross_entropy(x, i[:4].cpu())": (RuntimeError, "Expected all tensors to be on the same device"),
    "x.cpu()[i]": (RuntimeError, "indices should be either on cpu or on the same device as the indexed tensor"),
    "x.to('cuda:1') + x": (RuntimeError, "cuda:1 and cuda:0"),
    "x.numpy()": (TypeError, "can't convert cuda:0 device type tensor to numpy. Use Tensor.cpu() to copy the tensor"),
    "x.__array__()": (TypeError, "can't convert cuda:0 device type tensor to numpy"),
    "torch.ones(2, device='cuda:2')": (RuntimeError, "invalid device ordinal"),
    "torch.cuda.set_device(2)": (RuntimeError, "invalid device ordinal"),
    "x.pin_memory()": (RuntimeError, "only dense CPU tensors can be pinned"),
    "torch.rand(2, generator=torch.Generator('cuda'))": (RuntimeError, "Expected a 'cpu' device type"),
    "torch.rand(2, generator=torch.Generator(), device='cuda')": (RuntimeError, "Expected a 'cuda' device type"),
    "torch.cuda.device('cpu')": (ValueError, "Expected a cuda device, but got: cpu"),
    "x[[0, 9]].tolist()": (IndexError, "out of bounds"),
    "x.requires_grad_().__dlpack__()": (BufferError, "Can't export tensors that require gradient"),
    "x.__dlpack__(stream=0)": (AssertionError, "unsupported stream on CUDA: 0"),
    "x.__dlpack__(stream='a')": (TypeError, "stream must be"),
    "x.__dlpack__(dl_device=(1, 0), copy=False)": (BufferError, "cannot be exported to the device (1, 0)"),
    "x.__dlpack__(dl_device=(2, 1))": (BufferError, "cannot be exported to the device (2, 1)"),
    "x.requires_grad_().__cuda_array_interface__": (RuntimeError, "on Variable that requires grad"),
    "x.cpu().__cuda_array_interface__": (AttributeError, "on non-CUDA tensor type: torch.FloatTensor"),
    "torch.bernoulli(x, 2.0)": (RuntimeError, "p to be in"),
    "torch.empty(3, device=place).exponential_(0)": (RuntimeError, "lambda > 0"),
    "torch.randint(0, 300, (2,), dtype=torch.uint8, device=place)": (RuntimeError, "out of bounds"),
    "torch.multinomial(v.abs(), 7)": (RuntimeError, "without replacement"),
}


def given(torch, place):
    """The names that calls use, on a device."""
    import numpy as np

    rng = np.random.default_rng(0)
    x, y = (torch.from_numpy(rng.standard_normal((4, 6)).astype("float32")) for _ in range(2))
    square = x @ x.T + 4 * torch.eye(4)
    image = torch.from_numpy(rng.standard_normal((1, 2, 4, 6)).astype("float32"))
    tensors = {
        "x": x, "y": y, "v": y[1].clone(), "i": torch.tensor([3, 0, 5, 1]), "m": x > y, "s": square, "image": image,
    }
    names = {name: tensor.to(place) for name, tensor in tensors.items()}
    return {"torch": torch, "F": torch.nn.functional, "place": place, **names}


def flat(torch, value, place):
    """All arrays in a result, whose tensors have to be on a device."""
    import numpy as np

    if isinstance(value, torch.Tensor):
        assert value.device.type == torch.device(place).type, f"a result is on {value.device}"
        value = value.detach().cpu()
        return [(value.double() if value.dtype is torch.bfloat16 else value).numpy()]
    if isinstance(value, (tuple, list)):
        return [array for part in value for array in flat(torch, part, place)]
    return [np.asarray(value)]


def call(torch, expression):
    import numpy as np

    expected, found = (
        flat(torch, eval(expression, given(torch, place)), place) for place in ("cpu", "cuda")
    )
    assert len(expected) == len(found)
    for a, b in zip(expected, found):
        assert (a.shape, a.dtype) == (b.shape, b.dtype), f"{b.dtype}{b.shape} instead of {a.dtype}{a.shape}"
        assert np.allclose(a, b, rtol=1e-4, atol=1e-5, equal_nan=True), f"{b} instead of {a}"


def error(torch, expression):
    kind, message = ERRORS[expression]
    try:
        eval(expression, given(torch, "cuda"))
    except kind as found:
        assert message in str(found), f"{found}"
    else:
        raise AssertionError("nothing was raised")


# ----------------------------------------------------------------------------------------------------------- behaviours


def devices_and_their_properties(torch):
    cuda = torch.cuda
    assert cuda.is_available() and cuda.device_count() == 2 and cuda.current_device() == 0
    x = torch.ones(2, device="cuda")
    assert x.is_cuda and not x.is_cpu and x.get_device() == 0 and x.device == torch.device("cuda", 0)
    assert x.type() == "torch.cuda.FloatTensor" and "device='cuda:0'" in repr(x)
    assert cuda.is_initialized() and cuda.get_device_capability() == (9, 0) and cuda.is_bf16_supported()
    properties = cuda.get_device_properties(1)
    assert properties.name == cuda.get_device_name("cuda:1") and properties.total_memory == cuda.mem_get_info(1)[1]
    assert not cuda.can_device_access_peer(0, 1)
    info = x.__array_namespace__().__array_namespace_info__()
    assert list(map(str, info.devices())) == ["cpu", "cuda:0", "cuda:1"] and torch.backends.cuda.is_built()


def the_current_device(torch):
    with torch.cuda.device(1):
        assert torch.ones(1, device="cuda").device.index == torch.cuda.current_device() == 1
        assert torch.ones(1).cuda().get_device() == 1
        with torch.cuda.device_of(torch.ones(1, device="cuda:0")):
            assert torch.cuda.current_device() == 0
        with torch.cuda.device_of(torch.ones(1)), torch.cuda.device(-1):
            assert torch.cuda.current_device() == 1
    assert torch.cuda.current_device() == 0
    torch.cuda.set_device("cuda:1")
    assert torch.cuda.current_device() == 1
    torch.cuda.set_device(0)


def the_default_device(torch):
    torch.set_default_device("cuda")
    try:
        assert torch.ones(1).is_cuda and torch.get_default_device() == torch.device("cuda:0")
        with torch.cuda.device(1):
            assert torch.rand(1).get_device() == 1
        with torch.device("cpu"):
            assert torch.tensor([1]).is_cpu
        assert torch.nn.Linear(2, 2).weight.is_cuda
    finally:
        torch.set_default_device(None)
    with torch.device("cuda:1"), torch.device("cuda:0"):
        assert torch.zeros(1).get_device() == 0
    assert torch.zeros(1).is_cpu


def moves_between_devices(torch):
    x = torch.arange(3.0)
    a = x.to("cuda:0", non_blocking=True)
    b = a.to("cuda:1")
    assert (b.get_device(), a.cuda() is a, b.to(a).get_device(), b.to("cuda").get_device()) == (1, True, 0, 0)
    assert (b + 1).cpu().tolist() == [1, 2, 3] and torch.ones(3).copy_(b).tolist() == [0, 1, 2]
    assert b.copy_(a + 1).get_device() == 1 and b.tolist() == [1, 2, 3]
    pinned = x.pin_memory()
    assert pinned.to("cuda", non_blocking=True).tolist() == [0, 1, 2]
    assert (pinned.is_pinned(), x.is_pinned(), (pinned + 1).is_pinned()) == (True, False, False)
    assert pinned.add_(1).is_pinned() and pinned[1:].is_pinned() and pinned.pin_memory() is pinned
    zeros = torch.zeros(2, pin_memory=True, requires_grad=True)
    assert zeros.is_cpu and zeros.is_pinned() and zeros.requires_grad and zeros.tolist() == [0, 0]
    assert torch.tensor([1, 2], pin_memory=True).is_pinned() and torch.tensor([], pin_memory=True).numel() == 0


def memory_is_counted(torch):
    cuda = torch.cuda
    torch.realize()
    before = cuda.memory_allocated(1)
    x = torch.ones(1000, device="cuda:1")
    assert cuda.memory_allocated(1) == before
    torch.realize(x)
    assert cuda.memory_allocated(1) == before + 4000 <= cuda.memory_reserved(1)
    del x
    assert cuda.memory_allocated(1) == before and cuda.max_memory_allocated(1) >= before + 4000
    cuda.reset_peak_memory_stats(1)
    assert cuda.max_memory_allocated(1) == before == cuda.memory_stats(1)["allocated_bytes.all.current"]
    cuda.empty_cache()
    assert cuda.memory_reserved(1) <= before + 4096 and "reserved" in cuda.memory_summary(1)


def memory_that_does_not_suffice(torch):
    from flamework.runtime.gpu import gpu

    device = gpu("cuda:1")
    device.obtain, x = lambda size: None, torch.ones(5000, device="cuda:1")
    try:
        torch.realize(x)
    except torch.cuda.OutOfMemoryError as error:
        assert "CUDA out of memory" in str(error)
    else:
        raise AssertionError("there was no memory")
    finally:
        del device.obtain
    assert x.sum().item() == 5000


def streams_and_events(torch):
    cuda = torch.cuda
    stream = cuda.Stream()
    assert cuda.current_stream() == cuda.default_stream() != stream
    begin, end = cuda.Event(enable_timing=True), cuda.Event(enable_timing=True)
    with cuda.stream(stream):
        assert cuda.current_stream() == stream
        begin.record()
        x = torch.ones(3, device="cuda").exp()
        stream.record_event(end)
    assert cuda.current_stream() == cuda.default_stream()
    stream.wait_stream(cuda.current_stream())
    x.record_stream(stream)
    cuda.synchronize()
    assert end.query() and stream.query() and begin.elapsed_time(end) > 0
    with cuda.stream(cuda.Stream(1)):
        assert cuda.current_device() == 1
    assert cuda.current_device() == 0
    for a, b in ((cuda.Event(), end), (cuda.Event(enable_timing=True), end)):
        try:
            a.elapsed_time(b)
        except ValueError:
            continue
        raise AssertionError("there is no time between them")


def synchronize_computes_what_is_pending(torch):
    x = torch.ones(3, device="cuda") + 1
    y = torch.ones(3) + 1
    before = torch.counters()["materialisations"]
    torch.cuda.synchronize()
    torch.cuda.synchronize()
    assert torch.counters()["materialisations"] == before + 1
    del x, y


def generators(torch):
    cuda = torch.cuda

    def drawn(**options):
        return torch.rand(4, device="cuda", **options).tolist()

    torch.manual_seed(5)
    on_cpu, first = torch.rand(3).tolist(), drawn()
    second = drawn()
    torch.manual_seed(5)
    assert drawn() == first != second == drawn(), "the CPU's numbers have changed the GPU's"
    assert torch.rand(3).tolist() == on_cpu
    cuda.manual_seed_all(5)
    assert drawn() == first and torch.rand(4, device="cuda:1").tolist() == first and cuda.initial_seed() == 5
    state = cuda.get_rng_state()
    assert state.is_cpu and state.numel() == 16 and len(cuda.get_rng_state_all()) == 2
    third = drawn()
    cuda.set_rng_state(state)
    assert drawn() == third
    generator = torch.Generator(device="cuda").manual_seed(5)
    assert generator.device.type == "cuda" and drawn(generator=generator) == first
    copied = pickle.loads(pickle.dumps(generator))
    assert drawn(generator=copied) == drawn(generator=generator)
    with torch.random.fork_rng():
        inside = drawn()
    assert drawn() == inside
    assert generator.seed() == generator.initial_seed()


def random_numbers_have_their_distributions(torch):
    torch.manual_seed(0)
    n = 400

    def check(x, mean, deviation, low, high):
        x = x.cpu().double()
        assert abs(x.mean().item() - mean) < 5 * deviation / n**0.5, (x.mean().item(), mean)
        assert abs(x.std().item() - deviation) < 0.25 * deviation, (x.std().item(), deviation)
        assert low <= x.min().item() and x.max().item() <= high

    inf, third = float("inf"), 12**-0.5
    for dtype in (torch.float32, torch.float64, torch.float16, torch.bfloat16):
        check(torch.rand(n, device="cuda", dtype=dtype), 0.5, third, 0, 1 - 2**-53)
        check(torch.randn(n, device="cuda", dtype=dtype), 0, 1, -inf, inf)
    x = torch.empty(n, device="cuda")
    check(x.uniform_(-2, 3), 0.5, 5 * third, -2, 3)
    check(x.normal_(1, 2), 1, 2, -inf, inf)
    check(torch.normal(2.0, 3.0, (n,), device="cuda"), 2, 3, -inf, inf)
    check(x.exponential_(2), 0.5, 0.5, 1e-12, inf)
    check(x.log_normal_(0, 0.5).log(), 0, 0.5, -inf, inf)
    check(x.cauchy_(1, 2).sub(1).div(2).atan(), 0, torch.pi * third, -inf, inf)
    check(x.geometric_(0.5), 2, 2**0.5, 1, inf)
    check(x.bernoulli_(0.25), 0.25, 0.433, 0, 1)
    check(torch.bernoulli(torch.full((n,), 0.25, device="cuda")), 0.25, 0.433, 0, 1)
    check(torch.poisson(torch.full((n,), 4.0, device="cuda")), 4, 2, 0, inf)
    check(torch.binomial(*(torch.full((n,), v, device="cuda") for v in (10.0, 0.5))), 5, 2.5**0.5, 0, 10)
    check(torch.randint(-3, 5, (n,), device="cuda"), 0.5, 8 * third, -3, 4)
    check(torch.randint(-(2**40), 2**40, (n,), device="cuda").double() / 2**40, 0, 2 * third, -1, 1)
    whole = torch.empty(n, dtype=torch.int64, device="cuda")
    check(whole.random_().double() / 2**63, 0.5, third, 0, 1)
    check(whole.random_(-(2**63), 2**63 - 1).double() / 2**63, 0, 2 * third, -1, 1)
    assert whole.random_(-(2**62), 2**63 - 1).min().item() >= -(2**62)
    check(torch.nn.functional.dropout(torch.ones(n, device="cuda"), 0.5), 1, 1, 0, 2)
    check(torch.multinomial(torch.tensor([0.0, 1.0, 3.0], device="cuda"), n, True), 1.75, 0.433, 1, 2)


def permutations_and_samples(torch):
    order = torch.randperm(50, device="cuda")
    assert order.is_cuda and sorted(order.tolist()) == list(range(50)) != order.tolist()
    assert torch.randperm(0, device="cuda").shape == (0,)
    weights = torch.tensor([[0.0, 1.0, 3.0], [1.0, 0.0, 1.0]], device="cuda")
    assert [sorted(row) for row in torch.multinomial(weights, 2).tolist()] == [[1, 2], [0, 2]]
    assert set(torch.multinomial(weights, 40, True)[1].tolist()) == {0, 2}
    assert torch.rand(3, dtype=torch.complex64, device="cuda").imag.max().item() < 1
    rows = torch.vmap(lambda x: x + torch.rand(2, device="cuda"), randomness="different")(torch.zeros(3, device="cuda"))
    assert len(set(rows.flatten().tolist())) == 6


def pickles_copies_and_files(torch):
    x = torch.arange(6.0, device="cuda:1").reshape(2, 3)
    for made in (pickle.loads(pickle.dumps(x)), pickle.loads(pickle.dumps(x[1])), copy.deepcopy(x), copy.copy(x)):
        assert made.get_device() == 1 and made.flatten().tolist() in ([0, 1, 2, 3, 4, 5], [3, 4, 5])

    def loaded(**options):
        file.seek(0)
        return torch.load(file, **options)

    for options in ({}, {"_use_new_zipfile_serialization": False}):
        file = io.BytesIO()
        torch.save({"a": x, "part": x[1]}, file, **options)
        for location, expected in (
            (None, "cuda:1"), ("cpu", "cpu"), ("cuda:0", "cuda:0"), ({"cuda:1": "cpu"}, "cpu"),
            (lambda storage, place: storage.cuda(0), "cuda:0"), (lambda storage, place: storage, "cpu"),
        ):
            found = loaded(map_location=location)
            assert str(found["a"].device) == expected and found["a"].tolist() == [[0, 1, 2], [3, 4, 5]]
            found["part"].fill_(7)
            assert found["a"][1].tolist() == [7, 7, 7]
        try:
            loaded(map_location="cuda:3")
        except RuntimeError as problem:
            assert "on CUDA device 3 but torch.cuda.device_count() is 2" in str(problem)
        else:
            raise AssertionError("there is no such device")


def storages(torch):
    x = torch.tensor([1.0, 2.0], device="cuda")
    memory = x.untyped_storage()
    assert memory.is_cuda and memory.get_device() == 0 and memory.nbytes() == 8 and str(memory.device) == "cuda:0"
    assert x.storage().tolist() == [1.0, 2.0] and memory.cpu().tolist()[-1] == 64
    assert memory.data_ptr() == x.data_ptr() == x[1:].data_ptr() - 4
    assert x.storage().cuda(1).get_device() == 1 and "cuda:0" in repr(memory)
    assert x.__dlpack_device__() == (2, 0)
    part = memory[4:8]
    part.fill_(0)
    assert part.is_cuda and x.tolist() == [1.0, 0.0]
    loose = torch.UntypedStorage([1, 2, 3], device="cuda")
    loose.resize_(5)
    assert loose.is_cuda and loose.tolist()[:3] == [1, 2, 3] and len(loose) == 5


def communication(torch):
    comm, x = torch.cuda.comm, torch.arange(4.0)
    first, second = comm.scatter(x, [0, 1])
    assert (first.tolist(), second.tolist(), second.get_device()) == ([0, 1], [2, 3], 1)
    assert [p.tolist() for p in comm.scatter(x, [0, 1], [1, 3])] == [[0], [1, 2, 3]]
    assert comm.gather([first, second]).tolist() == [0, 1, 2, 3] and comm.gather([first, second], 0, "cpu").is_cpu
    assert comm.reduce_add([first, second], 1).tolist() == [2, 4]
    assert [t.get_device() for t in comm.broadcast(x, [0, 1])] == [0, 1]
    assert [[t.get_device() for t in row] for row in comm.broadcast_coalesced([x, x], [0, 1])] == [[0, 0], [1, 1]]


def what_is_copied_is_computed_together(torch):
    x = torch.arange(12.0, device="cuda").reshape(3, 4)
    torch.realize(x)
    product = (x.T @ x).exp2()
    copies = [(product + k).cpu() for k in range(3)]
    del product
    before = torch.counters()["kernels_launched"]
    # the others too, which are known by then
    assert copies[2].tolist() == (x.cpu().T @ x.cpu()).exp2().add(2).tolist()
    assert [copy.sum().item() for copy in copies[:2]]
    # a product and one kernel on either device, and a kernel on the CPU for each total
    assert torch.counters()["kernels_launched"] - before == 6
    copies = [(x * k).cpu() for k in range(3)]
    before = torch.counters()["kernels_launched"]
    torch.realize(*copies)
    assert torch.counters()["kernels_launched"] - before == 1


def gradients_cross_devices(torch):
    x = torch.arange(3.0, requires_grad=True)
    scale = torch.tensor(2.0, requires_grad=True)
    loss = (x.to("cuda:0") * scale).to("cuda:1").sin().sum()
    loss.backward()
    assert x.grad.is_cpu and scale.grad.is_cpu
    expected = 2 * (2 * torch.arange(3.0)).cos()
    assert torch.allclose(x.grad, expected)
    assert torch.allclose(scale.grad, (torch.arange(3.0) * (2 * torch.arange(3.0)).cos()).sum())


def trained(torch, place, compiled, optimizer):
    nn = torch.nn
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.LayerNorm(4), nn.Linear(4, 2)).to(place)
    optimizer = optimizer(model.parameters(), lr=0.1)
    x, y = torch.arange(12.0).reshape(4, 3).sin().to(place), torch.tensor([0, 1, 1, 0]).to(place)

    def step(x, y):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        return loss

    step = torch.compile(step) if compiled else step
    losses = [step(x, y).item() for _ in range(3)]
    assert {p.device.type for p in model.parameters()} == {p.grad.device.type for p in model.parameters()} == {place}
    return losses + [v for p in model.cpu().parameters() for v in p.flatten().tolist()]


def modules_and_optimizers_train(torch):
    import numpy as np

    for optimizer in (torch.optim.SGD, torch.optim.Adam):
        expected = trained(torch, "cpu", False, optimizer)
        for compiled in (False, True):
            assert np.allclose(trained(torch, "cuda", compiled, optimizer), expected, rtol=1e-3, atol=1e-4)


def modules_move(torch):
    model = torch.nn.BatchNorm1d(3)
    weight = model.weight
    assert model.cuda().weight is weight and weight.is_cuda and model.running_mean.is_cuda
    assert model.to("cuda:1").weight.get_device() == 1
    model(torch.rand(4, 3, device="cuda:1"))
    state = model.state_dict()
    other = torch.nn.BatchNorm1d(3)
    other.load_state_dict(state)
    assert other.weight.is_cpu and torch.allclose(other.running_mean, model.running_mean.cpu())
    assert model.cpu().num_batches_tracked.is_cpu


def compiled_functions_replay(torch):
    @torch.compile
    def scaled(x, y, factor):
        return (x * factor + y).relu(), x[1:]

    for factor in (1.0, 2.0, 3.0):
        x, y = torch.arange(4.0, device="cuda") + factor, torch.ones(4, device="cuda")
        torch.realize(x, y)
        before = torch.counters()
        found, part = scaled(x, y, factor)
        after = torch.counters()
        assert found.is_cuda and part.is_cuda
        assert found.tolist() == [(v + factor) * factor + 1 for v in range(4)]
        assert part.tolist() == [v + factor for v in (1, 2, 3)]
    assert after["plans_replayed"] > before["plans_replayed"] and after["plans_built"] == before["plans_built"]


def compiled_functions_follow_the_current_device(torch):
    made = torch.compile(lambda: (torch.ones(2, device="cuda") + 1, torch.zeros(1) + 1))
    for index in (0, 1, 0, 1):
        with torch.cuda.device(index):
            assert made()[0].get_device() == index
        with torch.device("cuda", index):
            assert made()[1].get_device() == index


def compiled_functions_draw_anew(torch):
    def noisy(x):
        noise = torch.rand(3, device="cuda") + torch.poisson(torch.full((3,), 1e6, device="cuda"))
        return torch.nn.functional.dropout(x, 0.5) * 0 + noise

    compiled = torch.compile(noisy)
    x = torch.ones(3, device="cuda")
    rows = []
    for function in (noisy, compiled):
        torch.manual_seed(1)
        rows.append([function(x).tolist() for _ in range(3)])
    assert rows[0] == rows[1] and len({tuple(row) for row in rows[1]}) == 3


def compiled_functions_write(torch):
    total = torch.zeros(3, device="cuda")

    @torch.compile
    def add(x):
        total.add_(x)
        return total * 2

    results = [add(torch.ones(3, device="cuda")).tolist() for _ in range(3)]
    assert results == [[2] * 3, [4] * 3, [6] * 3] and total.tolist() == [3] * 3


def compiled_functions_between_devices(torch):
    @torch.compile
    def both(x):
        return x.cuda() * 2, x + 1

    for _ in range(3):
        on_gpu, on_cpu = both(torch.ones(2))
        assert on_gpu.is_cuda and on_gpu.tolist() == [2, 2] and on_cpu.is_cpu and on_cpu.tolist() == [2, 2]


def the_first_numbers_of_a_gpu_are_drawn_in_a_compiled_function(torch):
    compiled = torch.compile(lambda: torch.rand(3, device="cuda") * 2)
    torch.manual_seed(3)
    found = [compiled().tolist() for _ in range(3)]
    torch.manual_seed(3)
    assert found == [(torch.rand(3, device="cuda") * 2).tolist() for _ in range(3)]


def results_have_the_same_bits_each_time(torch):
    def results():
        torch.manual_seed(5)
        x, index = torch.rand(9, 33).cuda(), torch.randint(0, 4, (9,)).cuda()
        weight = torch.rand(7, 33).cuda().requires_grad_()
        loss = torch.nn.functional.cross_entropy(x @ weight.T, index)
        loss.backward()
        added = torch.zeros(4, 33, device="cuda").index_add_(0, index, x)
        return [t.view(torch.int32).tolist() for t in (x.sum(), x.var(0), x.softmax(1), added, weight.grad)]

    assert results() == results()


def explanations_show_what_the_gpu_runs(torch):
    x = torch.rand(8, 8, device="cuda")
    kernels = torch.explain(lambda x: ((x @ x).relu() + 1).sort(1)[1])(x).kernels
    product, elements, sort = kernels[:3]
    assert [kernel.kind for kernel in kernels[:3]] == ["dot", "kernel", "sort"]
    assert all("cuda.blockIdx.x" in kernel.cuda_source for kernel in kernels)
    assert "cuda" not in elements.cpu_source and not product.cpu_source
    assert (product.launches, elements.launches, sort.launches) == (1, 1, 1)  # short rows are sorted in a block
    assert (product.bytes_read, product.bytes_written) == (512, 256)
    assert (sort.bytes_read, sort.bytes_written) == (256, 512)


BEHAVIOURS = [
    results_have_the_same_bits_each_time, explanations_show_what_the_gpu_runs,
    devices_and_their_properties, the_current_device, the_default_device, moves_between_devices, memory_is_counted,
    memory_that_does_not_suffice,
    streams_and_events, synchronize_computes_what_is_pending, generators, random_numbers_have_their_distributions,
    permutations_and_samples, pickles_copies_and_files, storages, communication,
    what_is_copied_is_computed_together, gradients_cross_devices,
    modules_and_optimizers_train, modules_move, compiled_functions_replay, compiled_functions_follow_the_current_device,
    compiled_functions_draw_anew,
    compiled_functions_write, compiled_functions_between_devices,
]

PARTS = {
    "calls": {text: (call, text) for text in CALLS},
    "errors": {text: (error, text) for text in ERRORS},
    "first": {first.__name__: (first,) for first in [the_first_numbers_of_a_gpu_are_drawn_in_a_compiled_function]},
    "behaviours": {function.__name__: (function,) for function in BEHAVIOURS},
}


def run(part: str) -> dict[str, str | None]:
    import flamework as torch

    warnings.simplefilter("ignore")
    found: dict[str, str | None] = {}
    for name, (function, *arguments) in PARTS[part].items():
        try:
            function(torch, *arguments)
            found[name] = None
        except Exception:
            found[name] = traceback.format_exc(limit=-6)
    return found


if __name__ == "__main__":
    print(json.dumps(run(sys.argv[1])))
