"""The functions of cuDNN's frontend that Flamework calls, on a stand-in for NVIDIA's driver.

It is strict where the frontend and the library are: about the order of calls, shapes, strides, dtypes, who gets which
number, the handle's stream, alignments and the workspace. It offers several plans for a convolution, those with
properties that Flamework must not accept first. Sums are NumPy's, in the precision of the computation, over one place
of the window after the other.
"""

from enum import Enum
from types import SimpleNamespace

import fake_cuda
import ml_dtypes
import numpy as np
from fake_attention import attention, attention_gradients
from flamework.runtime import cudnn


class data_type(Enum):
    FLOAT, DOUBLE, HALF, BFLOAT16 = 1, 2, 3, 10


class heur_mode(Enum):
    A, FALLBACK = 0, 2


class numerical_note(Enum):
    TENSOR_CORE, DOWN_CONVERT_INPUTS, REDUCED_PRECISION_REDUCTION, FFT, NONDETERMINISTIC = 1, 2, 3, 4, 5
    WINOGRAD, WINOGRAD_TILE_4x4, WINOGRAD_TILE_6x6, WINOGRAD_TILE_13x13 = 6, 7, 8, 9


NOTE = numerical_note

#: Plans in the order of the library's list: name, properties, bytes of workspace. The last is there in FALLBACK mode.
PLANS = (
    ("winograd", {NOTE.WINOGRAD, NOTE.WINOGRAD_TILE_4x4}, 0), ("fft", {NOTE.FFT}, 512),
    ("atomic", {NOTE.NONDETERMINISTIC}, 0), ("half sums", {NOTE.REDUCED_PRECISION_REDUCTION}, 0),
    ("tensor cores", {NOTE.TENSOR_CORE}, 0), ("plain", set(), 640), ("last", set(), 0),
)

ELEMENTS = {
    data_type.FLOAT: np.float32, data_type.DOUBLE: np.float64, data_type.HALF: np.float16,
    data_type.BFLOAT16: ml_dtypes.bfloat16,
}


class cudnnGraphNotSupportedError(Exception):
    pass


class Tensor:
    """An operand, whose attributes can be given one after the other."""

    def __init__(self, graph, dim=None, stride=None, data_type=None, uid=None, is_virtual=False):
        self.graph, self.dim, self.stride, self.data_type, self.uid = graph, dim, stride, data_type, uid
        self.is_virtual = is_virtual

    def assigned(self, **values):
        assert self.graph.stage == "made"
        vars(self).update(values)
        return self

    def set_output(self, value):
        return self.assigned(is_virtual=not value)

    def set_data_type(self, value):
        return self.assigned(data_type=value)

    def set_uid(self, value):
        return self.assigned(uid=value)

    def set_dim(self, value):
        return self.assigned(dim=list(value))

    def set_stride(self, value):
        return self.assigned(stride=list(value))

    @property
    def span(self):
        """The elements from the first to the last."""
        return 1 + sum((extent - 1) * step for extent, step in zip(self.dim, self.stride))


class Graph:
    """A graph of one operation. Its steps have to be called in the order of STAGES."""

    STAGES = ("made", "validated", "lowered", "planned", "filtered", "supported", "built")

    def __init__(self, fake, io_data_type, intermediate_data_type, compute_data_type, handle):
        assert intermediate_data_type is compute_data_type
        self.fake, self.handle = fake, handle
        self.computed = compute_data_type
        self.stage, self.tensors, self.operation = "made", {}, None

    def step(self, stage):
        assert self.STAGES.index(stage) == 1 + self.STAGES.index(self.stage)
        self.stage = stage
        self.fake.check_handle(self.handle)

    def tensor(self, dim, stride, data_type, uid, name):
        assert all(type(x) is int and x > 0 for x in (*dim, *stride, uid)) and uid not in self.tensors
        self.tensors[uid] = Tensor(self, dim, stride, data_type, uid)
        return self.tensors[uid]

    def convolution(self, operation, first, second, pre_padding, post_padding, stride, dilation, compute_data_type):
        (result,) = self.made(operation, (first, second), compute_data_type, 1)
        self.windows = pre_padding, post_padding, stride, dilation
        return result

    def conv_fprop(self, image, weight, **windows):
        return self.convolution("conv_fprop", image, weight, **windows)

    def conv_dgrad(self, loss, filter, **windows):
        return self.convolution("conv_dgrad", loss, filter, **windows)

    def conv_wgrad(self, image, loss, **windows):
        return self.convolution("conv_wgrad", image, loss, **windows)

    def sdpa(self, q, k, v, attn_scale, use_causal_mask, generate_stats, compute_data_type):
        assert generate_stats is True
        self.attends = attn_scale, use_causal_mask
        return self.made("sdpa", (q, k, v), compute_data_type, 2)

    def sdpa_backward(
        self, q, k, v, o, dO, stats, attn_scale, use_causal_mask, use_deterministic_algorithm, compute_data_type
    ):
        assert use_deterministic_algorithm is True
        self.attends = attn_scale, use_causal_mask
        return self.made("sdpa_backward", (q, k, v, o, stats, dO), compute_data_type, 3)

    def made(self, operation, operands, compute_data_type, count):
        assert self.operation is None and compute_data_type is self.computed
        assert list(operands) == list(self.tensors.values())
        self.operation = operation
        self.results = [Tensor(self, is_virtual=True) for _ in range(count)]
        return self.results

    def parts(self):
        """The image, the weight, and what the forward pass makes of them."""
        (first, second), (result,) = self.tensors.values(), self.results
        match self.operation:
            case "conv_fprop":
                return first, second, result
            case "conv_dgrad":
                return result, second, first
            case "conv_wgrad":
                return first, result, second

    def validate(self):
        self.step("validated")
        assert not any(x.is_virtual for x in self.results)
        tensors = [*self.tensors.values(), *self.results]
        assert [x.uid for x in tensors] == list(range(1, 1 + len(tensors)))
        self.stored = tensors[0].data_type
        if self.operation in ("sdpa", "sdpa_backward"):
            self.validate_attention(tensors)
            return
        for tensor in tensors:
            assert tensor.data_type is self.stored and len(tensor.dim) == len(tensor.stride) in (4, 5)
            # packed, the last axis innermost
            assert tensor.stride == packed(tensor.dim)

    def validate_attention(self, tensors):
        if self.stored not in (data_type.HALF, data_type.BFLOAT16) or self.computed is not data_type.FLOAT:
            raise cudnnGraphNotSupportedError("needs 16-bit floats")
        q, k, v = tensors[:3]
        (b, h, s, d), (_, g, t, _), e = q.dim, k.dim, v.dim[3]
        if d % 8 or e % 8:
            raise cudnnGraphNotSupportedError("hidden_dim should be multiple of 8")
        query, key, value, sums, out = (b, h, s, d), (b, g, t, d), (b, g, t, e), (b, h, s, 1), (b, h, s, e)
        gradients = (query, key, value, out, sums, out, query, key, value)
        wanted = (query, key, value, out, sums) if self.operation == "sdpa" else gradients
        assert h % g == 0 and tuple(tuple(x.dim) for x in tensors) == wanted
        for tensor, shape in zip(tensors, wanted):
            if shape == sums:
                assert tensor.data_type is data_type.FLOAT and tensor.stride == packed(tensor.dim)
            else:
                assert tensor.data_type is self.stored and tensor.stride[3] == 1
                assert not any(step % 8 for step in tensor.stride[:3])

    def build_operation_graph(self):
        self.step("lowered")
        if self.operation.startswith("conv"):
            image, weight, out = (x.dim for x in self.parts())
            assert image[0] == out[0] and weight[0] == out[1] and image[1] % weight[1] == 0
            groups = image[1] // weight[1]
            assert weight[0] % groups == 0
            for x, k, y, low, high, step, gap in zip(image[2:], weight[2:], out[2:], *self.windows):
                assert low >= 0 and high >= 0 and step > 0 and gap > 0
                assert y == (x + low + high - gap * (k - 1) - 1) // step + 1
        if (self.stored, self.computed) not in {
            (data_type.FLOAT, data_type.FLOAT), (data_type.DOUBLE, data_type.DOUBLE),
            (data_type.HALF, data_type.FLOAT), (data_type.BFLOAT16, data_type.FLOAT),
        }:
            raise RuntimeError("CUDNN_STATUS_BAD_PARAM")
        if self.fake.refuses(self) == "descriptor":
            raise RuntimeError("finalize failed with code: CUDNN_STATUS_NOT_SUPPORTED")
        if self.fake.refuses(self) == "failure":
            raise RuntimeError("CUDNN_STATUS_INTERNAL_ERROR")

    def create_execution_plans(self, modes):
        self.step("planned")
        assert modes == [heur_mode.A, heur_mode.FALLBACK]
        if self.fake.refuses(self) == "plans":
            raise cudnnGraphNotSupportedError("No valid engine configs")
        self.plans = [plan for plan in PLANS if plan[0] not in self.fake.lacks]

    def deselect_numeric_notes(self, notes):
        self.step("filtered")
        self.plans = [plan for plan in self.plans if not plan[1] & set(notes)]

    def check_support(self):
        self.step("supported")
        if not self.plans:
            raise cudnnGraphNotSupportedError("Deselecting execution plan")

    def build_plans(self):
        self.step("built")
        self.name, _, self.workspace = self.plans[0]
        self.fake.built.append(self)

    def get_workspace_size(self):
        assert self.stage == "built"
        return self.workspace

    def execute(self, tensor_dict, workspace, handle):
        fake = self.fake
        assert self.stage == "built" and handle is self.handle and handle.stream == fake_cuda.STREAM
        fake.check_handle(handle)
        tensors = [*self.tensors.values(), *self.results]
        assert set(tensor_dict) == {x.uid for x in tensors}
        assert all(type(x) is int for x in (*tensor_dict.values(), workspace))
        assert not any(address % 16 for address in tensor_dict.values())
        if self.workspace:
            assert workspace % 256 == 0
            fake.driver.span(workspace, self.workspace)[:] = 0x5A
        memories = [self.memory(x, tensor_dict[x.uid]) for x in tensors]
        operands = [x.astype(ELEMENTS[self.computed]) for x in memories[: len(self.tensors)]]
        results = memories[len(self.tensors) :]
        stored = memories[0].dtype
        match self.operation:
            case "sdpa":
                found = attention(*operands, *self.attends, stored)
            case "sdpa_backward":
                found = attention_gradients(*operands, *self.attends, stored)
            case "conv_fprop":
                found = [forward(*operands, results[0].shape, *self.windows)]
            case "conv_dgrad":
                found = [image_gradient(*operands, results[0].shape, *self.windows)]
            case _:
                found = [weight_gradient(*operands, results[0].shape, *self.windows)]
        for memory, value in zip(results, found, strict=True):
            memory[...] = value
        fake.ran.append((self.operation, stored.name, self.name))

    def memory(self, tensor, address):
        dtype = np.dtype(ELEMENTS[tensor.data_type])
        memory = self.fake.driver.span(address, tensor.span * dtype.itemsize).view(dtype)
        return np.lib.stride_tricks.as_strided(memory, tensor.dim, [x * dtype.itemsize for x in tensor.stride])


def packed(shape):
    """The strides of a tensor without gaps."""
    return [int(np.prod(shape[axis + 1 :])) for axis in range(len(shape))]


def places(image, size, out, low, high, stride, dilation):
    """For each place of the window, its position and the elements that stand there, ``[batch, channels, *windows]``."""
    if any(low) or any(high):
        image = np.pad(image, ((0, 0), (0, 0), *zip(low, high)))
    for place in np.ndindex(*size):
        begins = [i * gap for i, gap in zip(place, dilation)]
        index = [slice(b, b + step * (n - 1) + 1, step) for b, step, n in zip(begins, stride, out)]
        yield place, image[(slice(None), slice(None), *index)]


def forward(image, weight, shape, low, high, stride, dilation):
    filters, channels, *size = weight.shape
    groups = image.shape[1] // channels
    total = np.zeros((shape[0], groups, filters // groups, *shape[2:]), image.dtype)
    for place, part in places(image, size, shape[2:], low, high, stride, dilation):
        part = part.reshape(shape[0], groups, channels, *shape[2:])
        factor = weight[(..., *place)].reshape(groups, filters // groups, channels)
        total += np.einsum("bgc...,gfc->bgf...", part, factor)
    return total.reshape(shape)


def image_gradient(loss, weight, shape, low, high, stride, dilation):
    filters, channels, *size = weight.shape
    groups = shape[1] // channels
    space = [a + extent + b for a, extent, b in zip(low, shape[2:], high)]
    total = np.zeros((*shape[:2], *space), loss.dtype)
    cotangent = loss.reshape(loss.shape[0], groups, filters // groups, *loss.shape[2:])
    nothing = [0] * len(size)
    for place, part in places(total, size, loss.shape[2:], nothing, nothing, stride, dilation):
        factor = weight[(..., *place)].reshape(groups, filters // groups, channels)
        part += np.einsum("bgf...,gfc->bgc...", cotangent, factor).reshape(part.shape)
    return total[(..., *(slice(a, a + extent) for a, extent in zip(low, shape[2:])))]


def weight_gradient(image, loss, shape, low, high, stride, dilation):
    filters, channels, *size = shape
    groups = image.shape[1] // channels
    total = np.zeros(shape, image.dtype)
    cotangent = loss.reshape(loss.shape[0], groups, filters // groups, -1)
    for place, part in places(image, size, loss.shape[2:], low, high, stride, dilation):
        part = part.reshape(part.shape[0], groups, channels, -1)
        total[(..., *place)] = np.einsum("bgcp,bgfp->gfc", part, cotangent).reshape(filters, channels)
    return total


class FakeCudnn:
    """See the chapter's head.

    ``refuses`` says of a graph how there is no plan for it: "descriptor", "plans", "failure" or None; ``lacks`` are
    names of plans that there are not. ``built`` are the graphs that were planned, ``ran`` what was computed: operation,
    dtype, plan.
    """

    data_type, heur_mode, numerical_note = data_type, heur_mode, numerical_note
    cudnnGraphNotSupportedError = cudnnGraphNotSupportedError

    def __init__(self, driver, refuses=lambda graph: None, lacks=()):
        self.driver, self.refuses, self.lacks = driver, refuses, lacks
        self.handles, self.built, self.ran = [], [], []

    def check_handle(self, handle):
        assert handle in self.handles and self.driver.current.context == "context 0"

    def create_handle(self):
        assert self.driver.current.context == "context 0"
        self.handles.append(SimpleNamespace(stream=0))
        return self.handles[-1]

    def set_stream(self, handle, stream):
        self.check_handle(handle)
        handle.stream = stream

    def pygraph(self, *, io_data_type, intermediate_data_type, compute_data_type, handle):
        self.check_handle(handle)
        return Graph(self, io_data_type, intermediate_data_type, compute_data_type, handle)

    def backend_version(self):
        return 92801


def installed(device, fake):
    """Let a GPU of the stand-in for the driver use this library."""
    before = cudnn.bindings
    cudnn.bindings = lambda: fake
    try:
        device.cudnn = cudnn.Cudnn(device)
    finally:
        cudnn.bindings = before
