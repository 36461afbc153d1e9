"""Expressions over sparse tensors, for test_sparse.py: those that print the same here and in PyTorch, and those that
both refuse."""

SAME = """
c[1]
s[1]
c.select(1, 2)
h[1]
h.select(2, 1)
h[:, 0]
u[2]
u[1]
u[0]
u.bool()[2]
m.coalesce()[1]
m.coalesce()[1, 2]
m.coalesce()[-1]
m[:, 2]
m[1][2]
m[1, :]
m.unbind()
list(m)
len(u)
c.unsqueeze(0)
c.unsqueeze(-1)
h.unsqueeze(3)
h.unsqueeze(2)
torch.cat([m, m.coalesce()])
torch.cat([m.coalesce(), m.coalesce()], 1)
torch.cat([m.coalesce()], 1)
torch.cat([h, h], 2)
torch.cat([h, h], -1)
torch.cat([m, m.double()])
torch.stack([m, m.coalesce()])
torch.stack([m, m.coalesce()], 1)
torch.stack([m, m.coalesce()], -1)
torch.stack([h, h], 3)
torch.concat([m, m])
m.abs()
m.int().abs()
m.sqrt()
m.int().sqrt()
m.sin()
m.relu()
m.sign()
m.sgn()
m.square()
m.pow(2)
m**3
m**-1
m**0.5
torch.pow(m, 2)
m.tanh()
m.expm1()
m.log1p()
m.floor()
torch.sqrt(m)
torch.abs(m)
abs(m)
torch.square(m)
torch.relu(m)
m.norm()
m.norm(1)
m.norm(3)
torch.norm(m)
h.norm()
torch.empty_like(m)
torch.empty_like(h, dtype=torch.int32)
torch.zeros_like(h)
m.erf()
m.deg2rad()
m.asinh()
m.atan()
m.trunc()
m.sinh()
m.tan()
m.asin()
m.atanh()
m.ceil()
m.rad2deg()
s
s.coalesce()
s.to_dense()
s._indices()
s.coalesce().values()
torch.sparse_coo_tensor(i, v)
torch.sparse_coo_tensor(i.float(), v, (2, 3))
torch.sparse_coo_tensor(i.int(), v, (2, 3))
torch.sparse_coo_tensor([[0, 1]], [1, 2])
torch.sparse_coo_tensor((2, 3))
torch.sparse_coo_tensor(size=(2, 3))
torch.sparse_coo_tensor(torch.empty([2, 0]).long(), torch.empty([0, 4]))
torch.sparse_coo_tensor(torch.empty([2, 0]).long(), torch.empty([0, 4]), (2, 3, 4))
torch.sparse_coo_tensor([[0], [1]], 3.0)
torch.sparse_coo_tensor([[0], [1]], 3.0, (2, 3))
torch.sparse_coo_tensor(i, v, (2, 3), check_invariants=True)
torch.sparse_coo_tensor(i, v.cdouble(), (2, 3))
torch.sparse_coo_tensor(i, v.bool(), (2, 3)).coalesce()
torch.sparse_coo_tensor(i, v.bool(), (2, 3)).to_dense()
s.requires_grad_()
s.detach().t()
torch.zeros_like(s)
torch.empty_like(s)
len(s)
s[0]
s[0, 1]
list(s)
s.numel()
s.T
s.mT
s.permute(1, 0)
s.unsqueeze(0)
s.sin()
s.relu()
s.abs()
s.sqrt()
s*2
s/2
2*s
s+s
torch.ones(2, 3)+s
s*torch.ones(2, 3)
torch.ones(2, 3)*s
s*s
s-s
torch.ones(2, 3)-s
s**2
-s
abs(s)
s.sum()
s.sum(0)
s.norm()
torch.sparse.sum(s)
torch.sparse.sum(s, 0)
torch.sparse.sum(s, (0, 1))
torch.sparse.softmax(s, 0)
torch.sparse.softmax(s, 1)
torch.sparse.log_softmax(s, 1)
s.mm(torch.ones(3, 2))
s@torch.ones(3, 2)
torch.ones(2, 2)@s
torch.ones(2, 2).mm(s)
s@torch.ones(3)
s.mv(torch.ones(3))
s.t()@s
s.t().mm(s)
torch.sparse.mm(s, torch.ones(3, 2))
torch.sparse.mm(s.t(), s)
torch.sparse.mm(torch.ones(2, 2), s)
torch.sparse.addmm(torch.ones(2, 2), s, torch.ones(3, 2))
torch.addmm(torch.ones(2, 2), s, torch.ones(3, 2), beta=2, alpha=3)
torch.smm(s, torch.ones(3, 2))
torch.hspmm(s, torch.ones(3, 2))
torch.sspaddmm(torch.sparse_coo_tensor(size=(2, 2)), s, torch.ones(3, 2))
s.sspaddmm(s, torch.ones(3, 3))
torch.spmm(s, torch.ones(3, 2))
torch.stack([s, s])
torch.cat([s, s])
s.to(torch.float64)
s.double()
s.half()
s.int()
s.long()
s.bool()
s.to('cpu')
s.cpu()
s.type(torch.float64)
torch.typename(s)
isinstance(s, torch.FloatTensor)
s.clone()
s.index_select(0, torch.tensor([1, 0, 1]))
s.narrow_copy(1, 0, 2)
s.select(0, 1)
s.get_device()
s.is_cuda
s._version
s.sparse_dim()
torch.ones(2).sparse_dim()
torch.ones(2).dense_dim()
torch.ones(2).to_dense()
torch.eye(2).to_sparse()
torch.eye(2).to_sparse(1)
torch.ones(()).to_sparse()
s.to_sparse()
torch.eye(2).to_sparse(layout=torch.sparse_coo)
torch.eye(2).to_sparse(layout=torch.strided)
torch.ones(2, 3).sparse_mask(s)
torch.ones(2, 3).sparse_mask(s.coalesce())
s.layout
s.is_sparse
s.dim()
s.size(0)
s.size()
s.shape
s.element_size()
s.is_floating_point()
s.is_same_size(s)
s.zero_()
s.data
s.sign()
s.floor()
s.pow(2)
s.square()
s.unbind()
torch.sparse_coo_tensor(i, v, (2, 3)).device
s.ndim
torch.sparse_coo_tensor([[0]], [3.0], (2, ))
torch.sparse_coo_tensor(torch.empty(1, 0).long(), torch.empty(0), (2, ))
torch.sparse_coo_tensor(i.bool(), v, (2, 3))
torch.sparse_coo_tensor(i.cfloat(), v, (2, 3))
torch.sparse_coo_tensor(torch.empty(0, 1).long(), torch.ones(1), ())
torch.sparse_coo_tensor(torch.empty(0, 2).long(), torch.ones(2), ())
torch.sparse_coo_tensor(torch.empty(0, 2).long(), torch.ones(2), ()).coalesce()
torch.sparse_coo_tensor([[]], [])
c.clone()
c*2
c/2
-c
c+c
c-c
c*c
s*c
c*d
c.t()
c.t().t()
c.transpose(0, 1)
c.transpose(0, 0)
h.transpose(0, 1)
h.to_dense()
h.coalesce()
c.detach()
c.double()
c.int()
c.index_select(0, torch.tensor([0, 1]))
c.index_select(0, torch.tensor([1, 0]))
c.index_select(0, torch.tensor([-1]))
h.index_select(2, torch.tensor([1]))
c.narrow_copy(0, 0, 1)
c.narrow_copy(0, 1, 1)
s.narrow_copy(0, 1, 1)
h.narrow_copy(2, 1, 1)
torch.sparse.sum(c)
torch.sparse.sum(c, 0)
torch.sparse.sum(s, 1)
torch.sparse.sum(h, 0)
torch.sparse.sum(h, (0, 1))
torch.sparse.sum(h, 2)
torch.sparse.sum(h, (0, 2))
torch.sparse.sum(s, dtype=torch.float64)
torch.sparse.sum(s, 0, dtype=torch.float64)
torch.sparse.sum(s.int())
torch.sparse.sum(s.int(), 0)
torch.sparse.sum(s.bool())
torch.sparse.sum(s, ())
torch.sparse.sum(s, [])
s.sum((0, 1))
h.sum(2)
h.sum(0)
s.sum(dtype=torch.float64)
s.int().sum()
torch.sum(s)
torch.sum(s, 0)
torch.sparse.softmax(c, 0)
torch.sparse.softmax(h, 0)
torch.sparse.softmax(h, 2)
torch.sparse.softmax(s, -1)
torch.sparse.softmax(s, 1, dtype=torch.float64)
torch.sparse.softmax(s.int(), 1, dtype=torch.float32)
torch.sparse.mm(d, d.t())
torch.sparse.mm(c, c.t())
torch.sparse.mm(c.int(), torch.ones(3, 2).int())
torch.sparse.mm(c.half(), torch.ones(3, 2).half())
torch.mm(torch.ones(2, 2), c)
c@torch.ones(3)
torch.ones(2)@c
torch.addmm(d[:, :2], c, torch.ones(3, 2))
torch.addmm(d[:, :2], c, torch.ones(3, 2), beta=0, alpha=2)
torch.addmm(d[0, :2], c, torch.ones(3, 2))
torch.sparse.addmm(d[:, :2], c, torch.ones(3, 2), beta=2, alpha=3)
torch.sparse.addmm(d[:, :2], d, torch.ones(3, 2))
torch.smm(c, torch.ones(3, 2))
torch.sspaddmm(c, c, torch.ones(3, 3))
torch.sspaddmm(c, c, torch.ones(3, 3), beta=2, alpha=3)
torch.sspaddmm(s, s, torch.ones(3, 3), beta=0)
torch.dsmm(c, torch.ones(3, 2))
c+e
e+c
c-e
c*e
z+c
c+z
c*z
c+c.double()
c.int()+c
c.int()+c.int()
torch.add(c, e, alpha=2)
torch.sub(c, e, alpha=2)
c.add(e, alpha=2.5)
d.add(c, alpha=2)
torch.add(d, c, alpha=2)
d.sub(c)
d.double()+c
d.int()+c
torch.ones(2, 3, 2)+h
d.bool()+c.bool()
c*torch.tensor(2.)
c*torch.ones(3)
c*torch.ones(2, 1)
torch.ones(2, 1)*c
h*torch.ones(2, 3, 2)
h*torch.ones(2)
h*h
c*True
c.bool()*2
c.int()*2.5
c.int()*c
c.int()/2
c/torch.tensor(2.)
c/0
c/2j
c*2j
c.div(2)
c.true_divide(2)
c.multiply(2)
c.subtract(e)
c.negative()
torch.neg(c)
c.neg_(); c
c.mul_(e); c
s.mul_(s); s
c.div_(2); c
c.add_(e); c
c.add_(e, alpha=2); c
c.add_(c.double()); c
c.sub_(e); c
d.add_(c); d
d.sub_(c); d
d.mul_(c); d
d+=c; d
d-=c; d
d*=c; d
c+=e; c
c.zero_(); c
h.zero_(); h
c.copy_(e); c
c.copy_(s); c
c.copy_(e.double()); c
z.resize_as_(h); z
c.resize_as_(z); c
c.t_(); c
c.transpose_(0, 1); c
c.sparse_resize_((3, 4), 2, 0); c
z.sparse_resize_((2, 3, 4), 1, 2); z
c.sparse_resize_and_clear_((4, 5, 6), 2, 1); c
c.clone().detach_()
torch.t(torch.sparse_coo_tensor([[1]], [2.], (3, )))
s.swapaxes(0, 1)
c.narrow_copy(1, 0, 3)
s.narrow_copy(1, 0, 3)
s.unsqueeze(2)
torch.cat([c, e])
torch.cat([c, c], 1)
torch.stack([c, e], 1)
c[1, 0]
c[1, 2]
h[1, 0]
h[1, 0, 1]
h[-1]
c[:, 0]
c[None]
c.select(1, 0)
len(z)
c.size(-1)
c.to(torch.int32)
c.to(d)
d.to(c)
c.to('cpu', torch.float64)
c.to(torch.float32) is c
c.float() is c
c.cpu() is c
c.type(torch.float64).dtype
c.type('torch.sparse.DoubleTensor')
c.type('torch.DoubleTensor')
c.is_leaf
s.bool().to_dense()
s.int().coalesce()
d.to_dense() is d
d.to_sparse().is_coalesced()
torch.tensor([[0., float('nan'), -0.]]).to_sparse()
torch.eye(2, dtype=torch.bool).to_sparse()
torch.tensor([1, 0, 2]).to_sparse()
torch.zeros(0, 3).to_sparse()
torch.zeros(2, 3).to_sparse()
torch.zeros(2, 3, 2).to_sparse(2)
torch.ones(2, 3, 2).to_sparse(2)
torch.tensor(0.).to_sparse()
d.to_sparse(sparse_dim=1)
d.to_sparse_coo()
d.sparse_mask(c)
d.sparse_mask(s)
torch.ones(2, 3, 2).sparse_mask(h)
d.double().sparse_mask(c)
d.is_sparse, d.layout
str(c)
format(c, "")
f"{c}"
torch.zeros_like(c, dtype=torch.int32)
torch.empty_like(h)
torch.zeros_like(c, layout=torch.strided)
torch.numel(c)
torch.is_floating_point(c)
torch.is_complex(c)
c.is_signed()
c.is_complex()
c.element_size()
c.itemsize
c.dim(), c.ndimension(), c.nelement()
c.get_device()
c.is_same_size(d)
d.is_same_size(c)
bool(torch.sparse_coo_tensor([[0]], [1.], (1, )))
torch.sparse_coo_tensor([[0]], [1.], (1, )).item()
torch.sparse_coo_tensor(torch.empty(0, 1).long(), torch.ones(1), ()).item()
torch.is_same_size(c, e)
c.unbind()
c.log1p()
c.expm1()
c.cpu()
torch.clone(c)
torch.detach(c)
torch.t(c)
torch.transpose(c, 0, 1)
torch.index_select(c, 0, torch.tensor([1]))
torch.narrow_copy(c, 0, 0, 1)
torch.sparse.FloatTensor(i, v, (2, 3))
torch.sparse.FloatTensor(i, v, torch.Size([2, 3]))
torch.sparse.FloatTensor(2, 3)
torch.sparse.FloatTensor()
torch.sparse.IntTensor(i, v.int(), (2, 3))
isinstance(c, torch.sparse.FloatTensor)
isinstance(c, torch.sparse.DoubleTensor)
torch.sparse.FloatTensor.dtype
torch.sparse.FloatTensor.layout
c.abs_(); c
c.sqrt_(); c
c.sgn_(); c
c.sign_(); c
c.erfinv_(); c
torch.round_(c); c
torch.relu_(c)
torch.fix_(c)
torch.arcsin_(c)
m.isnan()
m.isinf()
m.signbit()
m.int().isposinf()
m.isneginf()
m.round()
m.frac()
m.nan_to_num()
m.erfinv()
m.positive()
torch.positive(m)
torch.add(m, 2, m)
torch.add(c.to_dense(), 2, c)
torch.linalg.matmul(s, s.to_dense().mT)
+m
m.conj()
m.conj_physical()
(m * 2j).conj_physical()
m.resolve_conj()
m.resolve_neg()
m // 2
m.floor_divide(2)
m.floor_divide_(2); m
m //= 2; m
m.div(2, rounding_mode="floor")
m.div(2, rounding_mode="trunc")
m.div_(2, rounding_mode="trunc"); m
torch.div(m, 2, rounding_mode="floor")
torch.div(m, torch.tensor(2.), rounding_mode="floor")
torch.floor_divide(m, 2)
m.int() // 2
m.float_power(2)
torch.float_power(m, 0.5)
m.any()
z.any()
m.any(dim=None, keepdim=True)
torch.any(h)
m.norm(0)
m.norm(-1)
m.norm(float("inf"))
m.norm(-float("inf"))
m.norm(2, dim=(0, 1))
z.norm(0)
s * torch.ones(2, 2, 3)
torch.ones(2, 2, 3) * s
u * torch.arange(6.).reshape(2, 3)
u * torch.ones(2, 2, 3)
h * torch.ones(2, 1, 1, 2)
h * torch.ones(2, 3, 1)
torch.sparse_coo_tensor([[0, 1]], [[2.], [3]], (2, 1)) * torch.arange(6.).reshape(2, 3)
torch.sparse_coo_tensor(torch.empty(0, 1).long(), torch.ones(1), ()) * torch.ones(2)
z * torch.ones(2, 2, 3)
s.mul_(torch.ones(2, 2, 3)); s
torch.bmm(torch.stack([s, m]), torch.arange(24.).reshape(2, 3, 4))
torch.stack([s, m]).bmm(torch.ones(2, 3, 0))
torch.bmm(torch.stack([s, s]).int(), torch.ones(2, 3, 4).int())
s.sparse_mask(c)
c.sparse_mask(s)
c.sparse_mask(e)
m.sparse_mask(e)
h.sparse_mask(h)
z.sparse_mask(s)
s.sparse_mask(z)
c.double().sparse_mask(c)
torch.abs(s, out=c); c
torch.mul(s, 2, out=c)
torch.add(c, e, out=z); z
torch.mm(s, torch.ones(3, 2), out=torch.ones(2, 2))
torch.bmm(torch.stack([s, s]), torch.ones(2, 3, 4), out=torch.empty(0))
torch.neg(s, out=c)
torch.sin(s, out=c.double())
torch.isposinf(s, out=c.bool())
torch.isnan(s)
torch.round(s)
s//2
torch.mul(s,2,out=c)
torch.div(s,2,rounding_mode='floor')
s*torch.ones(3,2,3)
u*torch.ones(2,2,3)
h*torch.ones(2,1,1,2)
torch.bmm(torch.stack([s,s]),torch.ones(2,3,4))
torch.norm(s,0)
torch.mm(s,torch.ones(3,2),out=torch.ones(2,2))
torch.erfinv(s)
""".strip().split("\n")

REFUSED = """
c.select(2, 0)
m[:]
m[2]
m[0, 3]
m[True]
m.select(2, 0)
m.unsqueeze(5)
torch.cat([m, h])
torch.cat([m, m.t()])
torch.cat([m, torch.ones(2, 3)])
torch.cat([torch.ones(2, 3), m])
torch.cat([m, m], 2)
m**0
2**m
m**m
m.exp()
m.cos()
m.sigmoid()
m.bool().abs()
m.int().norm()
s.indices()
s.values()
torch.sparse_coo_tensor(-i, v)
torch.sparse_coo_tensor(i, v, (2, -3))
torch.sparse_coo_tensor(i, v, (2, ))
torch.sparse_coo_tensor(i, v, (2, 3, 4))
torch.sparse_coo_tensor(i, v[:2], (2, 3))
torch.sparse_coo_tensor(i[0], v, (2, ))
torch.sparse_coo_tensor(i, v, (2, 3), is_coalesced=True, check_invariants=True)
torch.ones_like(s)
s.numpy()
s.tolist()
s.item()
bool(s)
s[0:1]
s[torch.tensor([0])]
s.nbytes
s.storage()
s.data_ptr()
s.contiguous()
s.view(3, 2)
s.reshape(3, 2)
s.squeeze()
s.exp()
s+1
2/s
s-1
s+torch.ones(2, 3)
s/torch.ones(2, 3)
s/s
s-torch.ones(2, 3)
s%2
s==s
s>0
s.mean()
s.max()
s.prod()
torch.sparse.softmax(s, 2)
s.softmax(1)
torch.addmm(s.t()@s, s.t(), s)
s.dot(s)
torch.matmul(s, torch.ones(2, 3, 2))
s.narrow(1, 0, 2)
torch.ones(2).coalesce()
torch.ones(2).is_coalesced()
torch.ones(2).indices()
torch.ones(2).values()
torch.ones(2)._nnz()
torch.ones(2)._indices()
torch.ones(2)._values()
torch.eye(2).to_sparse(3)
torch.eye(2).to_sparse(0)
s.to_sparse(1)
torch.ones(2, 3).sparse_mask(torch.ones(2, 3))
torch.ones(2, 2).sparse_mask(s)
torch.nonzero(s)
s.equal(s)
torch.equal(s, s)
torch.allclose(s, s)
s.is_set_to(s)
s.backward()
s.resize_(2, 2)
s.fill_(1)
s.flatten()
s.expand(2, 2, 3)
s.trace()
s.where(s, s)
torch.where(s>0, s, s)
s.pin_memory()
s.share_memory_()
s.new_ones(2)
s.__array__()
torch.sparse_coo_tensor(i, v, (2, 2), check_invariants=True)
torch.sparse_coo_tensor(-i, v, (2, 3), check_invariants=True)
torch.sparse_coo_tensor(i, v, (2, -3), check_invariants=True)
torch.sparse_coo_tensor(i, v, (-2, 3), check_invariants=True)
torch.sparse_coo_tensor(i, torch.ones(3, 2), (2, 3, 3), check_invariants=True)
torch.sparse_coo_tensor(i, torch.ones(3, 2), (2, 3, 3))
torch.sparse_coo_tensor(i[:, :0], torch.ones(0, 2), (2, -3, 2), check_invariants=True)
torch.sparse_coo_tensor(i, v, (2, ))
torch.sparse_coo_tensor(torch.tensor(3), v, (2, ))
torch.sparse_coo_tensor(torch.tensor([[[0]]]), v, (2, ))
torch.sparse_coo_tensor(i, s)
torch.sparse_coo_tensor(s, v)
torch.sparse_coo_tensor(i, v, 5)
torch.sparse_coo_tensor(i, v, dtype=torch.int32, requires_grad=True)
torch.sparse_coo_tensor([0, 1], [1., 2])
torch.sparse_coo_tensor(1, 1)
torch.sparse_coo_tensor([], [])
torch.sparse_coo_tensor([[0, 1]], [[1., 2]])
torch.sparse_coo_tensor()
torch.sparse_coo_tensor(i)
s.transpose(0, 2)
h.transpose(0, 2)
h.t()
c.index_select(0, torch.tensor([2]))
c.index_select(5, torch.tensor([1]))
c.index_select(0, torch.tensor([[1]]))
c.index_select(0, torch.tensor([1.]))
c.narrow_copy(0, 2, 3)
c.narrow_copy(0, -1, 1)
c.narrow_copy(0, 0, -1)
c.narrow_copy(9, 0, 1)
torch.sparse.sum(d)
torch.sparse.sum(d, 0)
torch.sparse.sum(s, (0, 0))
torch.sparse.sum(s, 3)
torch.sparse.softmax(s.int(), 1)
torch.sparse.softmax(d, 1)
torch.sparse.mm(c, torch.ones(2, 2))
torch.sparse.mm(c, torch.ones(3))
torch.sparse.mm(h, torch.ones(3, 2))
torch.sparse.mm(c, torch.ones(3, 2).double())
torch.sparse.mm(c, c)
torch.sparse.mm(c, c.t().double())
torch.sparse.mm(c.bool(), torch.ones(3, 2).bool())
torch.sparse.mm(c.int(), c.int().t())
torch.mm(c, torch.ones(3, 2).double())
torch.mm(c, torch.ones(2, 2))
torch.mm(torch.ones(3, 3), c)
torch.mm(c, torch.ones(3))
c.mv(torch.ones(2))
c.mv(torch.ones(3, 1))
c.mv(c)
c@c
c@torch.ones(2, 3, 2)
torch.sparse_coo_tensor([[0]], [1.], (3, ))@torch.ones(3)
h@torch.ones(3)
torch.addmm(d, c, torch.ones(3, 2))
torch.addmm(torch.ones(2, 2), torch.ones(2, 3), c.t())
torch.addmm(c, torch.ones(2, 2), torch.ones(2, 3))
torch.addmm(torch.sparse_coo_tensor(size=(2, 2)), c, c.t())
torch.sparse.addmm(c, c, torch.ones(3, 2))
torch.hspmm(c, torch.ones(2, 2))
torch.hspmm(torch.ones(2, 3), torch.ones(3, 2))
torch.smm(c, torch.ones(2, 2))
torch.smm(torch.ones(2, 3), torch.ones(3, 2))
torch.smm(c, c.t())
torch.sspaddmm(c, c, torch.ones(3, 2))
torch.sspaddmm(torch.ones(2, 3), c, torch.ones(3, 3))
c+h
c+torch.sparse_coo_tensor(size=(2, 2))
c.bool()+c.bool()
c.bool()-c.bool()
c.int()-c.bool()
c.int().add(c.int(), alpha=2.5)
torch.ones(3)+c
torch.ones(2, 3, 1)+c
torch.ones(4, 2, 3)+c
torch.ones(2, 1)+c
torch.tensor(2.)+c
2+c
1-c
d+h
c*torch.ones(2, 2)
c*h
c*torch.sparse_coo_tensor(size=(2, 2))
c.int()/c
c/torch.sparse_coo_tensor(torch.empty(0, 1).long(), torch.ones(1), ())
c.bool().neg()
c.int().div_(2)
c.int().mul_(2.5)
c.add_(d)
c.int().add_(c)
d.div_(c); d
c-=1
c.copy_(d); c
d.copy_(c); d
c.copy_(h)
c.resize_as_(h); c
c.resize_as_(d)
h.t_()
c.sparse_resize_((1, 1), 2, 0)
c.sparse_resize_((2, 3, 4), 2, 1)
c.sparse_resize_((2, 3, 4), 3, 0)
z.sparse_resize_((2, 3, 4), 2, 2)
z.sparse_resize_((2, -3), 2, 0)
h.sparse_resize_((2, 3, 1), 2, 1)
c.sparse_resize_and_clear_((4, 5), 1, 0)
d.sparse_resize_((2, 2), 2, 0)
d.sparse_resize_and_clear_((2, 2), 2, 0)
c.narrow_copy(-1, 0, 3)
torch.cat([c, d])
c[2]
c[...]
c.size(5)
c.to_dense(torch.float64)
c.to_dense(dtype=torch.float64)
torch.tensor(0.).to_sparse(1)
d.to_sparse(-1)
torch.ones(2, 3, 4).sparse_mask(h)
c.int().requires_grad_()
torch.ones(2, 3, layout=torch.sparse_coo)
torch.full_like(c, 2)
torch.is_nonzero(c)
c.type_as(d.double())
d.type_as(c)
c.expand_as(d)
c.view_as(d)
c.new_full((2, ), 1.)
c.chunk(2)
torch.equal(c, e)
c.share_memory_()
c.retain_grad()
torch.resize_as_(c, h)
s.abs_()
s.nan_to_num_(1.)
m.int().frac()
m.round(decimals=1)
torch.round(m, decimals=0)
m.bool().positive()
m.float_power(0)
m.any(0)
m.all()
m.norm(2, dim=0)
m.norm("fro", (0, 1), True)
m.norm(dtype=torch.float64)
m.norm("nuc")
z.norm(-1)
z.norm(float("inf"))
s * torch.ones(3, 2, 2)
s * torch.ones(3, 2, 4)
torch.bmm(torch.ones(2, 4, 2), torch.stack([s, s]))
torch.bmm(torch.stack([s, s]), torch.ones(2, 2, 4))
torch.bmm(torch.stack([s, s]), torch.ones(3, 4))
torch.bmm(torch.stack([s, s]).double(), torch.ones(2, 3, 4))
torch.bmm(torch.stack([s, s]).bool(), torch.ones(2, 3, 4).bool())
torch.bmm(h, torch.ones(2, 2, 3))
torch.bmm(s, torch.ones(2, 2, 3))
s.sparse_mask(d)
s.sparse_mask(h)
torch.add(c, e, out=torch.ones(2, 3))
torch.sin(s, out=c.int())
""".strip().split("\n")
