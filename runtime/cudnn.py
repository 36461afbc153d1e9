"""NVIDIA's cuDNN, through its frontend for Python, where both are installed.

An operation has the same bits each time: the first plan of the library's list is used, which depends on the operation
and on the GPU, and no plan is taken whose sums have no fixed order. None is taken either that adds up in less than the
precision of the computation, or that transforms an image (Winograd's, and Fourier's): there an infinite element reaches
results whose windows it is not in. float32 is computed in TF32 only if :data:`allow_tf32` says so. 16-bit floats are
added up in float32, and the sum is rounded once, which is what their operations mean.

What the library has no plan for is found out while a program is planned, and is computed by our own kernels.

In: an operation of ``cudnn_operations.py``. Out: :class:`Call`, which is called with addresses. Read next:
``gpu_plan.py``.
"""

from __future__ import annotations

import functools
import threading
import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .cudnn_operations import Operation
from .gpu import aligned

if TYPE_CHECKING:
    from .nvidia import Nvidia

#: Whether the library is used in programs that are planned from now on.
enabled = True

#: Whether convolutions of float32 may be computed in TF32.
allow_tf32 = False

#: The frontend says nothing else to the library: addresses are multiples of it.
ALIGNMENT = 16

#: What a plan must not do, in cuDNN's words; see the chapter's head.
NEVER = (
    "NONDETERMINISTIC", "REDUCED_PRECISION_REDUCTION", "FFT", "WINOGRAD", "WINOGRAD_TILE_4x4", "WINOGRAD_TILE_6x6",
    "WINOGRAD_TILE_13x13",
)

#: What a plan for float32 does in TF32 only.
IN_TF32 = ("TENSOR_CORE", "DOWN_CONVERT_INPUTS")


@functools.cache
def bindings() -> Any:
    """The frontend. Raises ImportError, OSError or RuntimeError where it, or the library, is not installed."""
    import cudnn

    return cudnn


def graph_of(dnn: Any, handle: Any, operation: Operation) -> Any:
    """The frontend's graph of an operation, of which nothing is planned yet. Its operands and then its results are
    numbered from 1 on."""
    stored, computed = (getattr(dnn.data_type, name) for name in operation.types)
    graph = dnn.pygraph(
        io_data_type=stored, intermediate_data_type=computed, compute_data_type=computed, handle=handle
    )
    kinds = {True: computed, False: stored}
    operands = [
        graph.tensor(
            dim=list(x.shape), stride=list(x.strides), data_type=kinds[x.is_wide], uid=uid, name=f"operand {uid}"
        )
        for uid, x in enumerate(operation.operands, 1)
    ]
    results = operation.apply(graph, operands, computed)
    for uid, (tensor, x) in enumerate(zip(results, operation.results), 1 + len(operands)):
        tensor.set_output(True).set_data_type(kinds[x.is_wide]).set_uid(uid)
        tensor.set_dim(list(x.shape)).set_stride(list(x.strides))
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
        self.calls: weakref.WeakValueDictionary[Operation, Call] = weakref.WeakValueDictionary()

    def call(self, operation: Operation) -> Call | None:
        """How an operation is computed; None if the library has no plan for it."""
        found = self.calls.get(operation)
        if found is None:
            found = Call(self, operation)
            if found.plan(False) is None:
                return None
            self.calls[operation] = found
        return found

    def planned(self, operation: Operation, unwanted: Sequence[str]) -> Plan | None:
        """The first plan of the library's list without these properties; None if there is none."""
        dnn = self.dnn
        self.gpu.enter()
        with self.lock:
            graph = graph_of(dnn, self.handle, operation)
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
    """What the library made for an operation, and the bytes of memory that it needs."""

    graph: Any
    workspace: int


class Call:
    """An operation of plans, with what the library was told about it."""

    def __init__(self, cudnn: Cudnn, operation: Operation) -> None:
        self.cudnn = cudnn
        self.operation = operation
        wide, stored = (dtype.itemsize for dtype in (operation.dtype.compute, operation.dtype))
        tensors = (*operation.operands, *operation.results)
        #: of each operand and result
        self.nbytes = [x.elements * (wide if x.is_wide else stored) for x in tensors]
        self.plans: dict[bool, Plan | None] = {}

    def plan(self, in_tf32: bool) -> Plan | None:
        if in_tf32 not in self.plans:
            is_exact = self.operation.dtype.name == "float32" and not in_tf32
            unwanted = (*NEVER, *IN_TF32) if is_exact else NEVER
            self.plans[in_tf32] = self.cudnn.planned(self.operation, unwanted)
        return self.plans[in_tf32]

    def current_plan(self) -> Plan:
        plan = self.plan(allow_tf32 and self.operation.dtype.name == "float32")
        assert plan is not None
        return plan

    def missing(self, addresses: Sequence[int]) -> list[tuple[int, int, bool]]:
        """The operands that have to be copied, as they are not aligned, and the results that nobody wants: number,
        bytes, and whether it is an operand."""
        operands = len(self.operation.operands)
        found = []
        for k, (address, nbytes) in enumerate(zip(addresses, self.nbytes, strict=True)):
            if not address or address % ALIGNMENT:
                assert k < operands or not address
                found.append((k, nbytes, k < operands))
        return found

    def scratch_bytes(self, *addresses: int) -> int:
        return aligned(self.current_plan().workspace) + sum(aligned(nbytes) for _, nbytes, _ in self.missing(addresses))

    def __call__(self, *addresses: int, scratch: int) -> None:
        """Put the operation on the GPU's stream, for operands and results at these addresses; 0 for a result that
        nobody wants."""
        gpu, plan = self.cudnn.gpu, self.current_plan()
        places = list(addresses)
        at = scratch + aligned(plan.workspace)
        for k, nbytes, is_operand in self.missing(addresses):
            places[k] = at
            if is_operand:
                gpu.copy(at, addresses[k], nbytes)
            at += aligned(nbytes)
        gpu.enter()
        with self.cudnn.lock:
            plan.graph.execute(
                dict(enumerate(places, 1)), scratch if plan.workspace else 0, handle=self.cudnn.handle
            )
