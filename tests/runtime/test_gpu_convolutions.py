"""Convolutions by cuDNN: on stand-ins for it and the driver, its real names, and where there is a GPU itself."""

import functools
import inspect

import fake_cudnn
import flamework as torch
import gpu_convolutions
import pytest
import simulator
from flamework.compiler import dtypes
from flamework.compiler.primitives_conv import filter_gradient, image_gradient
from flamework.runtime import cudnn
from flamework.runtime.cudnn_operations import TYPES, Convolution, contiguous, describe


@pytest.mark.parametrize("name", [behaviour.__name__ for behaviour in gpu_convolutions.BEHAVIOURS])
def test_with_stand_ins(name):
    problem = simulator.answer(gpu_convolutions.__file__)[name]
    assert problem is None, problem


def described(x, weight, *options):
    y = getattr(torch.nn.functional, f"conv{len(x) - 2}d")(torch.ones(x), torch.ones(weight), None, *options)
    return describe(y._node)


def test_gradients_are_described():
    x, weight, g = (torch.ones(shape, dtype=torch.float16)._node for shape in ((2, 4, 7), (6, 2, 3), (2, 6, 4)))
    line, windows, out = (contiguous(shape) for shape in ((2, 4, 1, 7), (6, 2, 1, 3), (2, 6, 1, 4)))
    params, options = ((2,), (1,), (2,), (1,), 2), ((1, 2), (0, 1), (0, 2), (1, 1))
    assert describe(image_gradient(g, weight, params=(*params, (7,)))) == Convolution(
        dtypes.float16, (out, windows), (line,), "conv_dgrad", *options
    )
    assert describe(filter_gradient(x, g, params=(*params, (3,)))) == Convolution(
        dtypes.float16, (line, out), (windows,), "conv_wgrad", *options
    )


def test_a_line_is_an_image_of_one_row():
    line = described((2, 4, 9), (6, 2, 3), 2, 1, 3, 2)
    assert line == Convolution(
        dtypes.float32, (contiguous((2, 4, 1, 9)), contiguous((6, 2, 1, 3))), (contiguous((2, 6, 1, 3)),), "conv_fprop",
        (1, 2), (0, 1), (0, 1), (1, 3),
    )


def test_what_cudnn_is_not_asked():
    assert described((2, 4, 5, 6), (6, 4, 3, 3)) is not None
    assert described((0, 4, 5, 6), (6, 4, 3, 3)) is None
    assert described((2, 0, 5, 6), (6, 0, 3, 3)) is None
    assert describe(torch.ones(3)._node) is None


@functools.cache
def frontend():
    """The real one, which needs its library, and no GPU to describe a graph."""
    pytest.importorskip("cudnn")
    return cudnn.bindings()


CONVOLUTION = Convolution(
    dtypes.bfloat16, (contiguous((2, 4, 5, 6)), contiguous((6, 2, 3, 2))), (contiguous((2, 6, 4, 5)),), "conv_fprop",
    (1, 1), (0, 1), (1, 0), (1, 1),
)
# of an image of which no window covers the last row
IMAGE_GRADIENT = Convolution(
    dtypes.float16, (contiguous((2, 6, 2, 3)), contiguous((6, 2, 3, 2))), (contiguous((2, 4, 6, 6)),), "conv_dgrad",
    (2, 3), (0, 1), (0, 1), (1, 1),
)
WEIGHT_GRADIENT = Convolution(
    dtypes.float32, (contiguous((2, 4, 5, 6)), contiguous((2, 6, 3, 5))), (contiguous((6, 2, 3, 2)),), "conv_wgrad",
    (1, 1), (0, 0), (0, 0), (1, 1),
)


def test_the_stand_in_has_the_names_and_numbers_of_the_frontend():
    library = frontend()
    for name in ("data_type", "heur_mode", "numerical_note"):
        theirs = getattr(library, name).__members__
        assert {x.name: int(theirs[x.name]) for x in getattr(fake_cudnn, name)} == {
            x.name: x.value for x in getattr(fake_cudnn, name)
        }
    known = set(library.numerical_note.__members__)
    assert {*cudnn.NEVER, *cudnn.IN_TF32} <= known
    # what else a plan may be is known too: a note that comes new has to be thought about
    assert known - {*cudnn.NEVER, *cudnn.IN_TF32} == {"STRICT_NAN_PROP"}
    assert issubclass(library.cudnnGraphNotSupportedError, Exception)


@pytest.mark.parametrize("found", [CONVOLUTION, IMAGE_GRADIENT, WEIGHT_GRADIENT])
def test_a_graph_is_described_to_the_frontend(found):
    library = frontend()
    graph = cudnn.graph_of(library, None, found)
    (node,) = graph.nodes
    assert node.node_type.name == found.name.upper()
    tensors = [*node.inputs.values(), *node.outputs.values()]
    kinds = [getattr(library.data_type, name) for name in TYPES[found.dtype.name]]
    for uid, (tensor, wanted) in enumerate(zip(tensors, (*found.operands, *found.results), strict=True), 1):
        assert (tensor.get_uid(), tuple(tensor.get_dim())) == (uid, wanted.shape)
        assert tuple(tensor.get_stride()) == wanted.strides
        assert tensor.get_data_type() == kinds[0] and not tensor.is_virtual
    assert node.compute_data_type == kinds[1]
    windows = {"stride": found.stride, "pre_padding": found.low, "post_padding": found.high, "dilation": found.dilation}
    assert {name: tuple(value) for name, value in node.params.items()} == windows


def test_functions_take_the_arguments_that_they_are_given():
    library = frontend()
    inspect.signature(library.create_handle).bind()
    inspect.signature(library.set_stream).bind(handle=None, stream=1)
    assert library.backend_version() > 90000
    for name, arguments, named in (
        ("validate", (), {}), ("build_operation_graph", (), {}), ("create_execution_plans", ([],), {}),
        ("deselect_numeric_notes", ([],), {}), ("check_support", (), {}), ("build_plans", (), {}),
        ("get_workspace_size", (), {}), ("execute", ({}, 0), {"handle": None}),
    ):
        inspect.signature(getattr(library.pygraph, name)).bind(None, *arguments, **named)
        assert callable(getattr(fake_cudnn.Graph, name))


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "bfloat16"])
@pytest.mark.parametrize("groups", [1, 8])
@pytest.mark.parametrize("stride", [1, 2, 4])  # with 4 there are elements in no window, in between and at an end
def test_a_convolution_on_a_gpu(dtype, groups, stride):
    pytest.importorskip("cudnn")
    assert torch.backends.cudnn.is_available()
    tolerance = {"float64": 1e-11, "float32": 1e-4, "float16": 1e-2, "bfloat16": 1e-1}[dtype]

    def trained(place, dtype):
        torch.manual_seed(0)
        shapes = (3, 16, 9, 7), (24, 16 // groups, 3, 3)
        operands = [torch.randn(shape, dtype=torch.float64).to(getattr(torch, dtype)).to(place) for shape in shapes]
        x, weight = (tensor.requires_grad_() for tensor in operands)
        y = torch.nn.functional.conv2d(x, weight, None, stride, 1, 1, groups)
        y.square().sum().backward()
        return [found.detach().cpu().double() for found in (y, x.grad, weight.grad)]

    found = trained("cuda", dtype)
    for one, again, wanted in zip(found, trained("cuda", dtype), trained("cpu", dtype)):
        assert torch.equal(one, again)
        assert torch.allclose(one, wanted, rtol=tolerance, atol=tolerance * wanted.abs().max().item())
