"""Attention by cuDNN: on stand-ins for it and the driver, its real names, and where there is a GPU itself."""

import flamework as torch
import gpu_attention
import pytest
import simulator
from flamework.compiler import dtypes
from flamework.runtime import cudnn
from flamework.runtime.cudnn_operations import Attention, AttentionGradient, Tensor, by_head, contiguous


@pytest.mark.parametrize("name", [behaviour.__name__ for behaviour in gpu_attention.BEHAVIOURS])
def test_with_stand_ins(name):
    problem = simulator.answer(gpu_attention.__file__)[name]
    assert problem is None, problem


def test_heads_come_before_positions():
    assert by_head((2, 5, 3, 8), (120, 24, 8, 1)) == Tensor((2, 3, 5, 8), (120, 8, 24, 1))


QUERY, KEY, VALUE, OUT = (
    by_head(shape, (shape[1] * shape[2] * shape[3], shape[2] * shape[3], shape[3], 1))
    for shape in ((2, 5, 4, 8), (2, 7, 2, 8), (2, 7, 2, 16), (2, 5, 4, 16))
)
SUMS = contiguous((2, 4, 5, 1), True)
FORWARD = Attention(dtypes.bfloat16, (QUERY, KEY, VALUE), (OUT, SUMS), 0.25, True)
BACKWARD = AttentionGradient(
    dtypes.float16, (QUERY, KEY, VALUE, OUT, SUMS, OUT), (QUERY, KEY, VALUE), 0.5, False
)


@pytest.mark.parametrize(
    ("operation", "kind", "operands", "results"),
    [(FORWARD, "SDPA", "q k v", "O Stats"), (BACKWARD, "SDPA_BWD", "q k v o stats dO", "dQ dK dV")],
)
def test_a_graph_is_described_to_the_frontend(operation, kind, operands, results):
    pytest.importorskip("cudnn")
    library = cudnn.bindings()
    (node,) = cudnn.graph_of(library, None, operation).nodes
    assert node.node_type.name == kind
    tensors = [*(node.inputs[name] for name in operands.split()), *(node.outputs[name] for name in results.split())]
    assert len(node.inputs) + len(node.outputs) == len(tensors)
    for uid, (tensor, wanted) in enumerate(zip(tensors, (*operation.operands, *operation.results), strict=True), 1):
        assert (tensor.get_uid(), tuple(tensor.get_dim())) == (uid, wanted.shape)
        assert tuple(tensor.get_stride()) == wanted.strides
        name = operation.types[1 if wanted.is_wide else 0]
        assert tensor.get_data_type() == getattr(library.data_type, name) and not tensor.is_virtual
    assert node.params["attn_scale"] == operation.scale and node.params["use_causal_mask"] is operation.causal
    assert node.params.get("generate_stats", True) is True
    assert node.params.get("use_deterministic_algorithm", True) is True


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("shapes", [
    ((2, 12, 1024, 64), (2, 12, 1024, 64)), ((3, 8, 100, 128), (3, 2, 77, 128)), ((2, 4, 1, 32), (2, 4, 513, 32)),
])
def test_attention_on_a_gpu(dtype, causal, shapes):
    pytest.importorskip("cudnn")
    assert torch.backends.cudnn.is_available()

    def trained(place, dtype):
        torch.manual_seed(0)
        x = [torch.randn(shape).to(getattr(torch, dtype)).to(place) for shape in (*shapes, shapes[1])]
        return gpu_attention.trained(x, is_causal=causal)

    kinds = torch.explain(gpu_attention.attend)
    q, k, v = (torch.ones(shape, dtype=getattr(torch, dtype), device="cuda") for shape in (*shapes, shapes[1]))
    kernels = kinds(q, k, v, is_causal=causal, enable_gqa=True).kernels
    assert "attention" in [kernel.kind for kernel in kernels]
    found = trained("cuda", dtype)
    tolerance = {"float16": 5e-3, "bfloat16": 4e-2}[dtype]
    for one, again, wanted in zip(found, trained("cuda", dtype), trained("cpu", "float64")):
        assert torch.equal(one, again)
        assert torch.allclose(one, wanted, rtol=tolerance, atol=tolerance * wanted.abs().max().item())
