"""First and second derivatives of functions, real and complex, against PyTorch's; forward mode against backward mode,
and ``vmap`` against a loop. And the points where a derivative is a convention.

Everything is computed by the references of the table of primitives: it is the rules that are tested here.
"""

from __future__ import annotations

import flamework
import numpy as np
import pytest
from flamework.compiler.reference import evaluate
from flamework.recording import node_of
from flamework.runtime.engine import read_node
from oracle import expected

_random = np.random.default_rng(11)
X = _random.uniform(0.15, 0.85, (3, 4))
Y = _random.uniform(0.15, 0.85, (3, 4))

# Functions of x, in (0, 1), by their names in ``torch``. Of complex numbers, too: those in both lists.
REAL = (
    "abs acos acosh(x+1) angle asin asinh atan atanh ceil cos cosh deg2rad digamma erf erfc erfinv exp exp2 "
    "expm1 fix floor frac i0 lgamma log log10 log1p log2 logit nan_to_num neg positive rad2deg reciprocal relu "
    "round rsqrt selu sgn sigmoid sign sin sinc sinh sqrt square tan tanh trunc special.entr special.erfcx "
    "special.i0e special.i1 special.i1e special.log_ndtr special.ndtr special.ndtri special.xlog1py(x,y) "
    "frexp(x).mantissa celu logsigmoid mish silu softplus softsign tanhshrink gelu gelu(x,approximate='tanh') "
    "elu hardsigmoid hardswish hardtanh leaky_relu relu6 hardshrink softshrink threshold(x,.5,2) "
    "prelu(x-.5,y[0,:1]) glu rrelu(x-.5) softmin(x,0) softmax(x,1) log_softmax(x,1) normalize "
    "layer_norm(x,(4,),y[0],y[1]) rms_norm(x,(4,),y[0]) group_norm(x,2,y[0],y[1]) "
    "nn.functional.instance_norm(x[None]) nn.functional.batch_norm(x,None,None,y[0],y[1],True) "
    "local_response_norm(x[None],2) binary_cross_entropy(x,y) binary_cross_entropy_with_logits(x,y) "
    "cosine_similarity(x,y) huber_loss(x,y,delta=.2) smooth_l1_loss(x,y,beta=.2) mse_loss(x,y) l1_loss(x,y) "
    "kl_div(x,y) nn.functional.poisson_nll_loss(x,y) gaussian_nll_loss(x,y,y) soft_margin_loss(x,y.detach()) "
    "margin_ranking_loss(x,y,x-y) hinge_embedding_loss(x,y.detach().round()*2-1) "
    "cosine_embedding_loss(x,y,torch.tensor([1,-1,1])) pairwise_distance(x,y) triplet_margin_loss(x,y,x.flip(0)) "
    "cross_entropy(x,torch.tensor([1,0,3]),label_smoothing=.1) multi_margin_loss(x,torch.tensor([1,0,3]),p=2) "
    "multilabel_soft_margin_loss(x,y) nll_loss(x,torch.tensor([1,0,3])) "
    "bilinear(x,y,torch.stack([x.T@y]*2)) conv1d(x[None],y[:,:3,None]@y[:,None,:2]) "
    "conv2d(x[None,None],y[None,None,:2,:2]) conv_transpose2d(x[None,None],y[None,None,:2,:2]) "
    "max_pool2d(x[None],2) avg_pool2d(x[None],2) adaptive_avg_pool1d(x,3) nn.functional.adaptive_max_pool1d(x,2) "
    "lp_pool1d(x,3,2) interpolate(x[None],scale_factor=2,mode='linear') "
    "interpolate(x[None,None],size=(5,6),mode='bicubic') pad(x,(1,2),'constant') pad(x,(1,2),'reflect') "
    "pad(x,(2,1),'replicate') pad(x,(1,2),'circular') scaled_dot_product_attention(x[None],y[None],y[None]) "
    "unfold(x[None,None],2) fold(x[None].reshape(1,4,3),(2,4),2) pixel_shuffle(x.reshape(1,4,1,3),2) "
    "nn.functional.embedding(torch.tensor([1,1,0]),x) atan2(x,y) hypot(x,y) copysign(x,-y) fmod(x,y) "
    "remainder(x,y) logaddexp(x,y) logaddexp2(x,y) maximum(x,y) fmax(x,y) minimum(x,y) xlogy(x,y) ldexp(x,y) "
    "nextafter(x,y).detach()*x clamp(x,y,y+.2) lerp(x,y,x) where(x>y,x,y*x) cdist(x,y) cdist(x,y,1) cdist(x,y,3) "
    "pdist(x) pdist(x,float('inf')) renorm(x,3,0,.9) cross(x[:,:3],y[:,:3]) amax(x,1) amin(x,0) aminmax(x).max "
    "max(x,1).values min(x) median(x) nanmedian(x,1).values mode(x,1).values quantile(x,.3,1) nanquantile(x,.3) "
    "kthvalue(x,2,1).values topk(x,2).values sort(x,1,True).values msort cummax(x,1).values cummin(x,0).values "
    "logcumsumexp(x,1) logsumexp(x,1) nansum nanmean std(x,1) var_mean(x)[0] cov corrcoef renorm(x,2,1,.5) "
    "trapezoid(x,y) cumulative_trapezoid(x) gradient(x)[0] histc(x,3).detach()*x[0,:3] "
    "scatter_reduce(x,1,torch.tensor([[0,0,1,0]]*3),y,'prod') "
    "scatter_reduce(x,1,torch.tensor([[0,0,1,0]]*3),y,'amax') "
    "scatter_reduce(x,0,torch.tensor([[0,0,1,0]]*3),y,'mean',include_self=False) "
    "index_reduce(x,0,torch.tensor([0,0,2]),y,'prod') rfft(x).abs() irfft(x) hfft(x) ihfft(x).abs() polar(x,y) "
    "complex(x,y) slice_scatter(x,y[:1],0,1,2) select_scatter(x,y[0],0,1) poisson(x) bernoulli(x) normal(x,y) "
    "norm(x,3) norm(x,.5) norm(x,-2) norm(x,float('inf'),1) norm(x,0)"
).split()
BOTH = (
    "exp sqrt sin tanh acos(x-.5) log1p square reciprocal sgn abs angle sigmoid sinc mul(x,y) div(x,y) "
    "add(x,y,alpha=2) sub(x,y) pow(x,y) pow(x,3) pow(x,-.5) float_power(x,y) rsub(x,y) addcmul(x,x,y) "
    "addcdiv(x,x,y) prod(x,1) prod cumprod(x,1) cumsum(x,0) sum(x,1) mean(x,0,True) var(x,1) std(x,0) "
    "matmul(x,y.mT) mm(x.mT,y) mv(x,y[0]) dot(x[0],y[0]) vdot(x[0],y[0]) inner(x,y) outer(x[0],y[0]) "
    "kron(x,y[:,:1]) tensordot(x,y,([1],[1])) einsum('ij,kj->ik',x,y) bmm(x[None],y.mT[None]) "
    "addmm(x[:,:3],x,y.mT,beta=.5,alpha=2) addmv(x[:,0],x,y[1]) addr(x,x[:,1],y[0]) "
    "baddbmm(x[None,:,:3],x[None],y.mT[None]) addbmm(x[:,:3],x[None],y.mT[None]) chain_matmul(x,y.mT,x) "
    "matrix_power(x[:,:3],3) trace diag diag_embed diagonal tril(x,1) triu flip(x,(0,)) roll(x,1,0) rot90 "
    "repeat_interleave(x,2,1) tile(x,(2,1)) cat((x,y*x)) stack((x,y)) vstack((x,y)) "
    "gather(x,1,torch.tensor([[0,0],[3,1],[2,2]])) index_select(x,1,torch.tensor([0,0,2])) "
    "take(x,torch.tensor([0,0,5])) masked_select(x,x.abs()>.3) index_add(x,0,torch.tensor([0,0,2]),y,alpha=2) "
    "index_copy(x,0,torch.tensor([1,0,2]),y) index_put(x,(torch.tensor([0,0]),),y[:2],accumulate=True) "
    "masked_scatter(x,x.abs()>.3,y) masked_fill(x,x.abs()>.3,y[0,0]) "
    "scatter(x,1,torch.tensor([[1,0],[3,2]]),y[:2,:2]) scatter_add(x,1,torch.tensor([[1,1],[3,2]]),y[:2,:2]) "
    "diagonal_scatter(x,y[0,:3]) as_strided(x,(2,2),(1,2)) unfold_copy(x,1,2,1) diff(x,2) norm norm(x,1,1) "
    "dist(x,y) dist(x,y,3) logsumexp(x,1) logcumsumexp(x,1) logaddexp(x,y) block_diag(x,y) "
    "cartesian_prod(x[0],y[0]) view_as_real(x*(1+1j)) real imag((1+1j)*x) conj "
    "stft(x,4,window=torch.ones_like(x[0].abs()),return_complex=True,center=False,onesided=False) "
    ""
    "fft.fft(x) fft2(x,norm='ortho') ifftn(x) fftshift(x) linalg.cross(x[:,:3],y[:,:3]) linalg.vecdot(x,y) "
    "linalg.vector_norm(x,3,1) linalg.matrix_norm(x,'nuc') linalg.matrix_norm(x,1) linalg.det(x[:,:3]) "
    "linalg.slogdet(x[:,:3]).logabsdet logdet(x@x.mH) linalg.inv(x[:,:3]) linalg.pinv(x) linalg.solve(x[:,:3],y) "
    "linalg.svdvals(x) linalg.eigvalsh(x@x.mH) linalg.eigvals(x[:,:3]).abs() linalg.cholesky(x@x.mH) "
    "linalg.qr(x).R.abs() linalg.matrix_exp(x[:,:3]) linalg.multi_dot((x,y.mT,x)) "
    "linalg.householder_product(x[:,:2],y[0,:2]) linalg.lu(x[:,:3]).U linalg.lstsq(x.mT,y.mT)[0] "
    "linalg.vander(x[0]) linalg.tensorinv(x[:,:3].reshape(3,3,1),1) linear(x,y)"
).split()
# Nothing of what is drawn is the same for each element of a batch, and what depends on values has no shape.
NOT_BATCHED = ("rrelu", "poisson", "bernoulli", "normal", "masked_s", "histc", "mode")
# PyTorch has no second derivative.
ONCE = ("pdist", "cdist", "hardsigmoid", "multi_margin_loss")


def function_of(torch, row: str):
    """A row as a function of two tensors."""
    name, bracket, rest = row.partition("(")
    # the old torch.rfft and torch.irfft are other functions
    for place in (torch.fft, torch, torch.nn.functional, torch.Tensor):
        found = place
        for part in name.split("."):
            found = getattr(found, part, None)
        if found is not None:
            break
    call = compile(f"found({rest}" if bracket else "found(x)", row, "eval")
    return lambda x, y: eval(call, {"torch": torch, "found": found, "x": x, "y": y})


def tensors(torch, is_complex: bool, x=X, y=Y) -> list:
    given = [x + 1j * y[::-1], y - 1j * x[:, ::-1]] if is_complex else [x, y]
    return [torch.tensor(a, requires_grad=True) for a in given]


def weights(torch, like, seed: int):
    """A cotangent or tangent."""
    random = np.random.default_rng(seed)
    found = random.standard_normal(tuple(like.shape))
    if like.is_complex():
        found = found + 1j * random.standard_normal(tuple(like.shape))
    return torch.tensor(found if found.ndim else found[()], dtype=like.dtype)


def slopes(torch, outputs, inputs, create_graph: bool) -> list:
    """Gradients of several outputs, zeros where there are none."""
    outputs = [y for y in outputs if y is not None and y.requires_grad]
    if not outputs:
        return [torch.zeros_like(x) for x in inputs]
    given = [weights(torch, y, i) for i, y in enumerate(outputs)]
    found = torch.autograd.grad(outputs, inputs, given, create_graph=create_graph, allow_unused=True)
    return [torch.zeros_like(x) if g is None else g for g, x in zip(found, inputs)]


def derivatives(torch, row: str, is_complex: bool, x=X, y=Y, twice: bool = True) -> list:
    """The value of a row, its gradients, and theirs."""
    inputs = tensors(torch, is_complex, x, y)
    torch.manual_seed(2)
    value = function_of(torch, row)(*inputs)
    first = slopes(torch, [value], inputs, twice)
    second = slopes(torch, first, inputs, False) if twice else []
    return [value, *first, *second]


def arrays(found: list) -> list:
    """Values, by the references for Flamework."""
    if not isinstance(found[0], flamework.Tensor):
        return [(x + 0).detach().resolve_conj().numpy() for x in found]
    return evaluate([node_of(x) for x in found], read_node)


def same(ours: list, theirs: list, row: str) -> None:
    for a, b in zip(ours, theirs, strict=True):
        assert (a.shape, a.dtype) == (b.shape, b.dtype), row
        largest = np.abs(b[np.isfinite(b)]).max(initial=1)
        np.testing.assert_allclose(a, b, rtol=1e-7, atol=1e-9 * largest, err_msg=row)


CASES = [(row, False) for row in [*REAL, *BOTH]] + [(row, True) for row in BOTH]
NAMES = [f"{row} {'complex' * c}" for row, c in CASES]


@pytest.mark.parametrize(("row", "is_complex"), CASES, ids=NAMES)
def test_first_and_second_derivative(row, is_complex):
    twice = not row.startswith(ONCE)
    theirs = expected(lambda torch: arrays(derivatives(torch, row, is_complex, twice=twice)))
    same(arrays(derivatives(flamework, row, is_complex, twice=twice)), theirs, row)


def inner(a, b) -> float:
    """The real product of two lists of arrays, which gradients are defined by."""
    return sum((x.conj() * y).real.sum() for x, y in zip(a, b))


@pytest.mark.parametrize(("row", "is_complex"), CASES, ids=NAMES)
def test_forward_mode_is_backward_mode(row, is_complex):
    function = function_of(flamework, row)
    inputs = [x.detach() for x in tensors(flamework, is_complex)]
    directions = [weights(flamework, x, 5 + i) for i, x in enumerate(inputs)]
    flamework.manual_seed(2)
    value, change = flamework.func.jvp(function, tuple(inputs), tuple(directions))
    flamework.manual_seed(2)
    _, pullback = flamework.func.vjp(function, *inputs)
    cotangent = weights(flamework, value, 9)
    back = arrays(list(pullback(cotangent)))
    np.testing.assert_allclose(
        inner(arrays([cotangent]), arrays([change])), inner(back, arrays(directions)), rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize(("row", "is_complex"), [c for c in CASES if not c[0].startswith(NOT_BATCHED)],
                         ids=[n for n in NAMES if not n.startswith(NOT_BATCHED)])
def test_vmap_is_a_loop(row, is_complex):
    function = function_of(flamework, row)

    def whole(x, y):
        value, pullback = flamework.func.vjp(function, x, y)
        return value, *pullback(weights(flamework, value, 9))

    batch = [flamework.stack([x, x * 1.05, x * 0.95]).detach() for x in tensors(flamework, is_complex)]
    single = [arrays(list(whole(*[x[i] for x in batch]))) for i in range(3)]
    theirs = [np.stack(parts) for parts in zip(*single)]
    same(arrays(list(flamework.vmap(whole)(*batch))), theirs, row)


ZERO, TIES = np.zeros((3, 4)), np.array([[1.0, 1, 0, -1], [2, 2, 2, 2], [0, 0, 1, 0]])
ENDS = np.array([[0.0, 1, -1, 0.5], [1, 0, 1, 0], [0.0, 0, 1, -1]])
# Rows, and the values of x and y at which a gradient is a convention.
CONVENTIONS = {
    "zeros": (
        "abs relu sgn sign hypot(x+0*y+(x==0)*3,y) atan2(x,y) norm norm(x,1) norm(x,3) norm(x,-2) norm(x,.5) "
        "norm(x,float('inf')) linalg.norm(x,'fro') std(x,1) cdist(x,y) pdist pow(x,0) pow(x,2) clamp(x,0,1) "
        "clamp(x,y,y) prod prod(x,1) cumprod(x,1) normalize renorm(x,2,0,1) pairwise_distance(x,y) "
        "smooth_l1_loss(x,y) huber_loss(x,y) margin_ranking_loss(x,y,y) hinge_embedding_loss(x+1,y-1) "
        "threshold(x,0,1) leaky_relu hardtanh(x,0,1) relu6 softshrink(x,0.) elu logsigmoid maximum(x,y) minimum(x,y) "
        "fmax(x,y) amax(x,1) max(x,1).values max min median(x) linalg.det(x[:,:3]) nan_to_num "
        "div(x,y,rounding_mode='trunc') div(x,y,rounding_mode='floor') linalg.vector_norm(x,-3.5) "
        "binary_cross_entropy(x,y)",
        ZERO, ZERO),
    "ties": (
        "amax(x,1) amin amax max(x,1).values max min sort(x,dim=1,stable=True).values median(x) nanmedian "
        "cummax(x,1).values cummin(x,1).values norm(x,float('inf'),1) norm(x,-float('inf'),1) "
        "cdist(x,y,float('inf')) pdist(x,float('inf')) prod(x,1) prod cumprod(x,1) maximum(x,y) clamp(x,y,y) "
        "clamp(x,y,x) clamp(x,y,y-1) clamp(x,-1,1) quantile(x,.5,1) aminmax(x).max std(x,1) max_pool1d(x,2) "
        "nn.functional.adaptive_max_pool1d(x,2) hardtanh(x,-1,1) hardswish(x*3) hardsigmoid(x*3) "
        "linalg.matrix_norm(x,1) linalg.matrix_norm(x,float('inf')) "
        "scatter_reduce(x,1,torch.tensor([[0,0,1,0]]*3),y,'amax') "
        "scatter_reduce(x,1,torch.tensor([[0,0,1,0]]*3),y,'prod') index_reduce(x,0,torch.tensor([0,0,2]),y,'prod')",
        TIES, TIES[::-1].copy()),
    "ends": (
        "acosh acos asin atanh log sqrt logit logit(x,.25) binary_cross_entropy(x.abs(),y.abs()) "
        "where(x>0,x.log(),x) xlogy(x,x+2) smooth_l1_loss(x,y,beta=.5) huber_loss(x,y,delta=.5) round frac "
        "remainder(x,y+2)",
        ENDS, ENDS[::-1].copy()),
}
POINTS = [(row, kind) for kind, (rows, _, _) in CONVENTIONS.items() for row in rows.split()]


@pytest.mark.parametrize(("row", "kind"), POINTS, ids=[f"{row} at {kind}" for row, kind in POINTS])
def test_conventions(row, kind):
    _, x, y = CONVENTIONS[kind]
    theirs = expected(lambda torch: arrays(derivatives(torch, row, False, x, y, twice=False)))
    same(arrays(derivatives(flamework, row, False, x, y, twice=False)), theirs, row)


@pytest.mark.parametrize("number", [0j, 2 + 0j, -2 - 0j, 0.5j, -0.5j, 30 + 0j, 1e-8 + 1e-8j])
@pytest.mark.parametrize("name", (
    "exp exp2 expm1 log log2 log10 log1p sqrt sin cos tan sinh cosh tanh asin acos atan asinh acosh atanh rsqrt "
    "reciprocal sigmoid square abs angle sgn").split())
def test_complex_functions_on_the_axes(name, number):
    x = np.array([number])
    theirs = expected(lambda torch: arrays(derivatives(torch, name, False, x, x, twice=False)))
    ours = arrays(derivatives(flamework, name, False, x, x, twice=False))
    for a, b in zip(ours, theirs):
        if np.isfinite(b).all():
            same([a], [b], name)
        else:
            assert not np.isfinite(a).all()


ZERO_OR_HALF, PARTS = np.array([[0.0, 0.5]]), np.array([[0j, 2 + 1j, 1.0]])


@pytest.mark.parametrize(("row", "x", "y"), [
    ("huber_loss(x,y)", ZERO_OR_HALF, ZERO_OR_HALF), ("smooth_l1_loss(x,y)", ZERO_OR_HALF, ZERO_OR_HALF),
    ("hypot(x,y)", ZERO_OR_HALF, ZERO_OR_HALF + 1), ("std(x,1)", ZERO, ZERO),
    *[(row, PARTS, PARTS[:, ::-1] * 1j)
      for row in ("norm", "dist(x,y)", "linalg.vector_norm", "pairwise_distance(x,y)")],
])
def test_second_derivatives_where_a_size_has_a_corner(row, x, y):
    """Of differences of 0 they are those of the square, and a norm is smooth where one part of a number is 0."""
    theirs = expected(lambda torch: arrays(derivatives(torch, row, False, x, y)))
    same(arrays(derivatives(flamework, row, False, x, y)), theirs, row)


def test_dual_tensors_may_be_complex():
    fad = flamework.autograd.forward_ad
    with fad.dual_level():
        x = fad.make_dual(flamework.tensor([2 + 1j]), flamework.tensor([1j]))
        assert fad.unpack_dual(x * x).tangent.tolist() == [-2 + 4j]


def test_functions_of_dual_tensors_have_the_derivative_that_they_record_for_gradients():
    fad = flamework.autograd.forward_ad
    matrix = flamework.tensor([[1.0, 2.0], [2.0, 5.0]])
    with fad.dual_level():
        x = fad.make_dual(matrix, flamework.ones(2, 2))
        values = fad.unpack_dual(flamework.linalg.eigvalsh(x))
        assert not values.primal.requires_grad and not values.tangent.requires_grad
        np.testing.assert_allclose(values.tangent.numpy(), [0.2929, 1.7071], atol=1e-4)
        assert fad.unpack_dual(flamework.frexp(x).mantissa).tangent.tolist() == [[0.5, 0.25], [0.25, 0.125]]


def test_a_batch_of_cotangents_gives_a_batch_of_gradients():
    def script(torch):
        x, unused = torch.tensor([0.1, 0.2, 0.3], requires_grad=True), torch.ones(2, requires_grad=True)
        y = x.sin() * x.sum()
        (rows,) = torch.autograd.grad(y, x, torch.eye(3), is_grads_batched=True, create_graph=True)
        (again,) = torch.autograd.grad(rows.sum(), x, retain_graph=True)
        none = torch.autograd.grad(y, (unused, x), torch.eye(3), is_grads_batched=True, allow_unused=True)[0]
        return [rows.detach().numpy(), again.numpy(), none is None]

    ours, theirs = script(flamework), expected(script)
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6)


def test_a_batch_of_cotangents_that_do_not_fit_is_refused():
    x = flamework.ones(3, requires_grad=True)
    with pytest.raises(RuntimeError, match=r"grad_output\[0\] has a shape of .*2, 2.* and output\[0\] has a shape of"):
        flamework.autograd.grad(x * 2, x, flamework.ones(2, 2), is_grads_batched=True)


def test_a_value_that_was_written_to_is_named_by_what_made_it():
    x = flamework.ones(2, requires_grad=True)
    y = x.exp()
    y.add_(1)
    with pytest.raises(RuntimeError, match=r"which is output 0 of Exp, is at version 1; expected version 0 instead"):
        y.sum().backward()
    factor = flamework.ones(2)
    z = x * factor
    factor.add_(1)
    with pytest.raises(RuntimeError, match=r"FloatTensor \[2\]\] is at version 1; expected version 0 instead"):
        z.sum().backward()
