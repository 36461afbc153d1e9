"""Convolutions and the gradients of their weights by NVIDIA's cuDNN, through its frontend for Python, where both are
installed.

The gradient of an image is made of convolutions (``compiler/primitives_conv.py``), so two operations are enough.

A convolution has the same bits each time: the first plan of the library's list is used, which depends on the
convolution and on the GPU, and no plan is taken whose sums have no fixed order. None is taken either that adds up in
less than the precision of the computation, or that transforms the image (Winograd's, and Fourier's): there an infinite
element reaches results whose windows it is not in. float32 is computed in TF32 only if :data:`allow_tf32` says so.
16-bit floats are added up in float32, and the sum is rounded once, which is what their convolution means.

What the library has no plan for is found out while a program is planned, and is computed by our own kernels.

In: a node of the graph. Out: :class:`Convolver`, which is called with addresses. Read next: ``gpu_plan.py``.
"""

from __future__ import annotations

import functools
import math
import threading
import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..compiler.affine import strides_of
from ..compiler.primitives_conv import convolve, filter_gradient

if TYPE_CHECKING:
    from ..compiler.dtypes import DType
    from ..compiler.ir import Node
    from .nvidia import Nvidia

#: Whether the library is used in programs that are planned from now on.
enabled = True

#: Whether convolutions of float32 may be computed in TF32.
allow_tf32 = False

#: The frontend says nothing else to the library: addresses are multiples of it.
ALIGNMENT = 16

#: cuDNN's names of each dtype, and of the one in which its products are added up.
TYPES = {
    "float16": ("HALF", "FLOAT"), "bfloat16": ("BFLOAT16", "FLOAT"), "float32": ("FLOAT", "FLOAT"),
    "float64": ("DOUBLE", "DOUBLE"),
}

#: What a plan must not do, in cuDNN's words; see the chapter's head.
NEVER = (
    "NONDETERMINISTIC", "REDUCED_PRECISION_REDUCTION", "FFT", "WINOGRAD", "WINOGRAD_TILE_4x4", "WINOGRAD_TILE_6x6",
    "WINOGRAD_TILE_13x13",
)

#: What a plan for float32 does in TF32 only.
IN_TF32 = ("TENSOR_CORE", "DOWN_CONVERT_INPUTS")

#: The numbers by which the operands and the result are told apart.
FIRST, SECOND, RESULT = 1, 2, 3

OPERATIONS = {convolve: "conv_fprop", filter_gradient: "conv_wgrad"}


@functools.cache
def bindings() -> Any:
    """The frontend. Raises ImportError, OSError or RuntimeError where it, or the library, is not installed."""
    import cudnn

    return cudnn


@dataclass(frozen=True)
class Convolution:
    """A convolution, or the gradient of its weight, of contiguous operands. How many groups it has is told by their
    channels.

    Attributes:
        operation: as the frontend names it.
        dtype: of all three.
        first, second, result: shapes, with at least two axes of space.
        stride, low, high, dilation: one for each axis of space; widths of zeros before and after it.
    """

    operation: str
    dtype: DType
    first: tuple[int, ...]
    second: tuple[int, ...]
    result: tuple[int, ...]
    stride: tuple[int, ...]
    low: tuple[int, ...]
    high: tuple[int, ...]
    dilation: tuple[int, ...]


def describe(node: Node) -> Convolution | None:
    """The convolution of a node; None if the library computes no such thing."""
    operation = OPERATIONS.get(node.op)
    if operation is None or node.dtype.name not in TYPES:
        return None
    shapes = [x.shape for x in (*node.src, node)]
    stride, low, high, dilation = node.params[:4]
    rank = len(stride)
    if any(0 in shape for shape in shapes) or rank > 3:
        return None
    if rank == 1:
        # cuDNN has no line, only an image of one row
        shapes = [(*shape[:2], 1, shape[2]) for shape in shapes]
        stride, dilation, low, high = (1, *stride), (1, *dilation), (0, *low), (0, *high)
    return Convolution(operation, node.dtype, *shapes, *map(tuple, (stride, low, high, dilation)))


def graph_of(dnn: Any, handle: Any, found: Convolution) -> Any:
    """The frontend's graph of a convolution, of which nothing is planned yet."""
    stored, computed = (getattr(dnn.data_type, name) for name in TYPES[found.dtype.name])
    graph = dnn.pygraph(
        io_data_type=stored, intermediate_data_type=computed, compute_data_type=computed, handle=handle
    )
    operands = [
        graph.tensor(dim=list(shape), stride=list(strides_of(shape)), data_type=stored, uid=uid, name=name)
        for shape, uid, name in ((found.first, FIRST, "first"), (found.second, SECOND, "second"))
    ]
    result = getattr(graph, found.operation)(
        *operands, pre_padding=list(found.low), post_padding=list(found.high), stride=list(found.stride),
        dilation=list(found.dilation), compute_data_type=computed,
    )
    result.set_output(True).set_data_type(stored).set_uid(RESULT)
    result.set_dim(list(found.result)).set_stride(list(strides_of(found.result)))
    return graph


class Cudnn:
    """The library on one GPU.

    Raises:
        ImportError, OSError, RuntimeError: the frontend, or the library, is not installed.
    """

    def __init__(self, gpu: Nvidia) -> None:
        self.dnn = bindings()
        gpu.enter()
        self.gpu = gpu
        self.handle = self.dnn.create_handle()
        self.dnn.set_stream(handle=self.handle, stream=int(gpu.stream))
        # a handle is for one thread at a time
        self.lock = threading.Lock()
        #: Those of the plans that are alive.
        self.convolvers: weakref.WeakValueDictionary[Convolution, Convolver] = weakref.WeakValueDictionary()

    def convolver(self, convolution: Convolution) -> Convolver | None:
        """How a convolution is computed; None if the library has no plan for it."""
        found = self.convolvers.get(convolution)
        if found is None:
            found = Convolver(self, convolution)
            if found.plan(False) is None:
                return None
            self.convolvers[convolution] = found
        return found

    def planned(self, convolution: Convolution, unwanted: Sequence[str]) -> Plan | None:
        """The first plan of the library's list without these properties; None if there is none."""
        dnn = self.dnn
        self.gpu.enter()
        with self.lock:
            graph = graph_of(dnn, self.handle, convolution)
            try:
                graph.validate()
                graph.build_operation_graph()
                graph.create_execution_plans([dnn.heur_mode.A, dnn.heur_mode.FALLBACK])
                graph.deselect_numeric_notes([getattr(dnn.numerical_note, name) for name in unwanted])
                graph.check_support()
                graph.build_plans()
            except dnn.cudnnGraphNotSupportedError:
                return None
            except RuntimeError as error:
                # a part of the library that refuses by its status is given as this
                if "NOT_SUPPORTED" in str(error):
                    return None
                raise
            return Plan(graph, graph.get_workspace_size())


@dataclass
class Plan:
    """What the library made for a convolution, and the bytes of memory that it needs."""

    graph: Any
    workspace: int


class Convolver:
    """A convolution of plans, with what the library was told about it."""

    def __init__(self, cudnn: Cudnn, convolution: Convolution) -> None:
        self.cudnn = cudnn
        self.convolution = convolution
        self.plans: dict[bool, Plan | None] = {}

    def plan(self, in_tf32: bool) -> Plan | None:
        if in_tf32 not in self.plans:
            is_exact = self.convolution.dtype.name == "float32" and not in_tf32
            unwanted = (*NEVER, *IN_TF32) if is_exact else NEVER
            self.plans[in_tf32] = self.cudnn.planned(self.convolution, unwanted)
        return self.plans[in_tf32]

    def __call__(self, first: int, second: int, result: int) -> None:
        """Put the convolution on the GPU's stream, for operands and a result at these addresses."""
        cudnn, found = self.cudnn, self.convolution
        gpu = cudnn.gpu
        plan = self.plan(allow_tf32 and found.dtype.name == "float32")
        assert plan is not None and not result % ALIGNMENT
        # memory that is let go here is written by what comes later in the stream only
        held = []
        addresses = []
        for address, shape in ((first, found.first), (second, found.second)):
            if address % ALIGNMENT:
                held.append(gpu.allocate(math.prod(shape) * found.dtype.itemsize))
                gpu.copy(held[-1].address, address, held[-1].nbytes)
                address = held[-1].address
            addresses.append(address)
        if plan.workspace:
            held.append(gpu.allocate(plan.workspace))
        gpu.enter()
        with cudnn.lock:
            plan.graph.execute(
                {FIRST: addresses[0], SECOND: addresses[1], RESULT: result},
                held[-1].address if plan.workspace else 0, handle=cudnn.handle,
            )
