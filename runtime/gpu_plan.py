"""Programs on a GPU: planning them, and running what was planned.

The graph is rewritten and fused as for the CPU; the kernels and how they are launched are the GPU's.

In: the roots of a graph. Out: :class:`GpuPlan`. Read next: ``gpu.py``.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..compiler import codegen_cuda, primitives_shape as s
from ..compiler.cluster import Cluster, Indexed, Matrix
from ..compiler.dtypes import FLOATING
from ..compiler.epilogues import Epilogue, epilogues
from ..compiler.ir import Node
from ..compiler.loopir import Argument, Kernel, stores_in
from ..compiler.lowering import Lowered
from ..compiler.operands import product_operands
from ..compiler.primitives import DIVISION_BY_ZERO
from ..compiler.primitives_attention import attention, attention_gradient, attention_sums
from ..kernels.cuda import products, scatter, sort
from . import cublas, cudnn
from .counters import COUNTERS
from .cudnn_operations import Operation, describe
from .donation import Receiver, pays
from .gpu import DeviceBuffer, Gpu, Launched, aligned
from .gpu_groups import Step, group
from .placement import Item
from .planner import Planner


@dataclass
class GpuSort:
    """How a node is sorted, and how much memory that needs."""

    found: sort.Sort
    scratch: int


class GpuPlanner(Planner):
    """How a program is computed on a GPU."""

    keep_cost, piece = codegen_cuda.KEEP_COST, codegen_cuda.PIECE

    def __init__(self, roots, leaves, inputs: int, gpu: Gpu) -> None:
        self.gpu = gpu
        self.calls: dict[Operation, cudnn.Call | None] = {}
        self.multiplications: dict[cublas.Product, cublas.Multiplication | None] = {}
        super().__init__(roots, leaves, inputs)

    def epilogues(self, roots: Sequence[Node]) -> dict[Node, Epilogue]:
        if self.gpu.products is None:
            return {}
        found = epilogues(roots)
        return {node: x for node, x in found.items() if self.multiplication(node, x, product_operands(x.product))}

    def multiplication(
        self, node: Node, epilogue: Epilogue | None, matrices: Sequence[Matrix | Indexed]
    ) -> cublas.Multiplication | None:
        """How cuBLASLt computes a product that is stored as a node; None if it does not."""
        library = self.gpu.products
        if library is None or not all(isinstance(x, Matrix) for x in matrices):
            return None
        product = node if epilogue is None else epilogue.product
        batch, m, k = product.src[0].shape
        a, b = matrices
        described = cublas.describe(
            product.dtype, a.base.dtype, (batch, m, product.shape[2], k), a, b, product.op is s.dot_add, node.dtype,
            epilogue is not None and epilogue.bias is not None,
        )
        if described is None:
            return None
        if described not in self.multiplications:
            self.multiplications[described] = library.multiplication(described)
        return self.multiplications[described]

    def keeps(self, node: Node) -> bool:
        """Whether cuDNN computes an operation: it is found out once for each kind of them."""
        library = self.gpu.cudnn if cudnn.enabled else None
        if library is None:
            return False
        # as its operands lie now, and as they lie if they have to be copied
        for in_place in (True, False):
            operation = describe(node, in_place=in_place)
            if operation is None:
                return False
            if operation not in self.calls:
                self.calls[operation] = library.call(operation)
            if self.calls[operation] is None:
                return False
        return True

    def generate(self, kernel: Kernel) -> str:
        return codegen_cuda.generate(kernel, self.gpu.threads)

    def describe_sort(self, node: Node) -> GpuSort:
        (x,) = node.src
        descending, count = node.params
        length = x.shape[-1]
        found = sort.describe(
            x.dtype, x.type.size // length, length, count, descending, self.gpu.threads, codegen_cuda.WARP
        )
        return GpuSort(found, total(found.scratch))

    def schedule(self) -> list[Item]:
        items = super().schedule()
        self.scatters: dict[int, scatter.Scatter] = {}
        for lowered in (x for item in items for x in item.lowered):
            kernel = lowered.kernel
            if codegen_cuda.distribution(kernel) == "scatter":
                sizes = {a.name: lowered.operands[a.source].type.size for a in kernel.arguments if a.kind == "pointer"}
                found = scatter.describe(kernel, sizes, self.gpu.threads, codegen_cuda.WARP)
                if found is not None:
                    self.scatters[id(lowered)] = found
                    lowered.scratch = total(found.scratch) + total(found.sort.scratch)
                    lowered.bytes_read += found.bytes_read
                    lowered.bytes_written += found.bytes_written
        return items

    def describe_product(self, cluster: Cluster, often: set[tuple]) -> None:
        return None

    def write_tape(self) -> None:
        self.steps: list[Step] = []
        self.first_steps: list[int] = []
        for item, scratch in zip(self.items, self.placement.scratch):
            self.first_steps.append(len(self.steps))
            if item.kind == "kernel":
                for lowered, place in zip(item.lowered, scratch):
                    self.kernel_steps(lowered, place)
            elif item.kind == "dot":
                self.product_step(item)
            elif item.kind == "convolve":
                self.convolution_step(item)
            elif item.kind == "attention":
                self.attention_step(item)
            elif item.kind == "sort":
                self.sort_steps(item, scratch[0])
            else:
                self.library_step(item)
        self.can_fail = any(item.can_fail() for item in self.items)
        # what may be written over an input comes after all that can fail
        placement = self.placement
        before = len(self.steps)
        if pays(placement.output_bytes, placement.donors):
            before = [*self.first_steps, before][placement.safe]
        shared = self.shared_memories()
        self.checked = group(self.steps[:before], self.gpu.processors, shared)
        self.safe = group(self.steps[before:], self.gpu.processors, shared)

    def shared_memories(self) -> dict[int, int]:
        """For the results and inputs that may be one memory, the number of the base that stands for them."""
        shared: dict[int, int] = {}

        def found(base: int) -> int:
            while base in shared:
                base = shared[base]
            return base

        for j, numbers in enumerate(self.placement.donors):
            for number in numbers:
                one, other = found(1 + self.inputs + j), found(1 + number)
                if one != other:
                    shared[one] = other
        return {base: found(base) for base in shared}

    def pointer(self, node: Node, offset: int = 0) -> tuple[Any, ...]:
        if node.type.size == 0:
            return ("word", 0)
        place = self.locate(node)
        return ("pointer", place.base, place.offset + offset, self.fusion.base(node).type.nbytes - offset)

    def kernel_steps(self, lowered: Lowered, scratch: int) -> None:
        kernel = lowered.kernel
        if id(lowered) in self.scatters:
            self.scatter_steps(lowered, scratch)
            return
        self.launch_steps(kernel, [self.argument(lowered, a, scratch) for a in kernel.arguments])

    def argument(self, lowered: Lowered, argument: Argument, scratch: int) -> tuple[Any, ...]:
        """Where an argument of a kernel comes from."""
        match argument.kind:
            case "pointer":
                return self.pointer(lowered.operands[argument.source])
            case "integer":
                return ("word", argument.source)
            case "scalar":
                return ("number", argument.source.value.number, argument.dtype.kind == FLOATING)
            case "scratch":
                return ("pointer", 0, scratch, lowered.scratch)
        return ("error",)

    def launch_steps(self, kernel: Kernel, arguments: list[tuple[Any, ...]]) -> None:
        source = self.generate(kernel)
        stored = {st.pointer for st in stores_in(kernel.body)}
        written = frozenset(k for k, a in enumerate(kernel.arguments) if a.kind == "scratch" or a.name in stored)
        for launch in codegen_cuda.launches(kernel, self.gpu.threads):
            self.steps.append(Step(source, launch, arguments, written=written))

    def scatter_steps(self, lowered: Lowered, scratch: int) -> None:
        found = self.scatters[id(lowered)]
        places = memories(found.scratch, scratch)
        for name, kernel in (("x", found.keys), ("values", found.values)):
            if kernel is not None:
                arguments = [self.argument(lowered, a, 0) for a in kernel.arguments[:-1]]
                self.launch_steps(kernel, [*arguments, places[name]])
        if found.value is not None:
            places["values"] = self.argument(lowered, found.value, 0)
        places = self.described_steps(found.sort, places, scratch + total(found.scratch))
        pointers = [places[name] for name in (found.sort.keys, found.sort.order, "values")]
        words = [("word", word) for word in found.words]
        target = self.argument(lowered, found.target, 0)
        self.steps.append(Step(found.source, found.launch, [*pointers, target, *words]))

    def product_step(self, item: Item) -> None:
        cluster = item.clusters[0]
        node, epilogue = cluster.node, cluster.epilogue
        stored = cluster.matrices[0].base.dtype
        multiplication = self.multiplication(node, epilogue, cluster.matrices)
        if multiplication is not None:
            pointers = [self.pointer(x.base, x.offset * stored.itemsize) for x in cluster.matrices]
            bias = [] if epilogue is None or epilogue.bias is None else [self.pointer(epilogue.bias)]
            self.steps.append(Step("", None, [*pointers, self.pointer(node), *bias], call=multiplication))
            return
        assert epilogue is None
        batch, m, k = node.src[0].shape
        n = node.src[1].shape[2]
        shapes = (batch, m, k), (batch, k, n)
        a, b = (x.axes if isinstance(x, Indexed) else x.axes(shape) for x, shape in zip(cluster.matrices, shapes))
        first, second = cluster.matrices
        found = products.describe(
            node.dtype, stored, (batch, m, n, k), a, b, (first.offset, second.offset), node.op is s.dot_add,
            self.gpu.threads,
        )
        pointers = [self.pointer(x.base) for x in cluster.matrices]
        words = [("word", word) for word in found.words]
        self.steps.append(Step(found.source, found.launch, [*pointers, self.pointer(node), *words]))

    def convolution_step(self, item: Item) -> None:
        node = item.clusters[0].node
        pointers = [self.pointer(x) for x in (*node.src, node)]
        self.steps.append(Step("", None, pointers, call=self.calls[describe(node)]))

    def attention_step(self, item: Item) -> None:
        cluster = item.clusters[0]
        node = cluster.node
        operands = [self.pointer(x.base, x.offset * x.base.dtype.itemsize) for x in cluster.strided]
        if node.op is attention_gradient:
            results: list[Node | None] = [None] * 3
            for x in cluster.results:
                results[x.params[2]] = x
        else:
            results = [next((x for x in cluster.results if x.op is op), None) for op in (attention, attention_sums)]
        pointers = [("word", 0) if x is None else self.pointer(x) for x in results]
        self.steps.append(Step("", None, [*operands, *pointers], call=self.calls[describe(node)]))

    def sort_steps(self, item: Item, scratch: int) -> None:
        node = item.clusters[0].node
        places = {"x": self.pointer(node.src[0]), "out": self.pointer(node)}
        self.described_steps(item.sort.found, places, scratch)

    def described_steps(
        self, found: sort.Sort, places: dict[str, tuple[Any, ...]], scratch: int
    ) -> dict[str, tuple[Any, ...]]:
        """The launches of a sort, whose own memories begin at an offset of the arena. Returns where they are, too."""
        places = {"": ("word", 0), **places, **memories(found.scratch, scratch)}
        for step in found.steps:
            arguments = [places[x] if isinstance(x, str) else ("word", x) for x in step.arguments]
            self.steps.append(Step(found.source, step.launch, arguments))
        return places

    def library_step(self, item: Item) -> None:
        node = item.clusters[0].node
        self.steps.append(Step("", None, [*map(self.pointer, node.src), self.pointer(node)], node))


def memories(scratch: dict[str, int], begin: int) -> dict[str, tuple[Any, ...]]:
    """Arguments that are the addresses of memories one after the other, from an offset of the arena on."""
    found = {}
    for name, nbytes in scratch.items():
        found[name] = ("pointer", 0, begin, nbytes)
        begin += aligned(nbytes)
    return found


def total(scratch: dict[str, int]) -> int:
    """The bytes of memories one after the other."""
    return sum(map(aligned, scratch.values()))


class GpuPlan(Receiver):
    """A program ready to run on a GPU; its interface is that of ``plan.Plan``.

    An index out of range is looked for before what may be written over an input, or at the end.
    Launches are divided into *parts* where an operation of a library comes between. Those of the GPU's own libraries
    are not nodes of the CUDA graph: their kernels are chosen when they are called, for the addresses that they get.
    """

    def __init__(self, planner: GpuPlanner) -> None:
        placed = planner.placement
        super().__init__(placed.output_bytes, placed.donors, placed.late)
        self.planner = planner
        self.gpu = planner.gpu
        self.can_fail = planner.can_fail
        self.launches = len(planner.items)
        self.placed = planner.placement
        self.arena_bytes = self.placed.arena_bytes
        self.lock = threading.Lock()
        # what a kernel writes that finds an index out of range
        checks = any(("error",) in step.arguments for step in planner.checked)
        self.error = self.gpu.upload(np.zeros(4, np.int64)) if checks else None
        self.checked, self.safe = map(self.parts_of, (planner.checked, planner.safe))
        self.calls = [step for step in (*planner.checked, *planner.safe) if step.call is not None]

    items = property(lambda self: self.planner.items)
    fusion = property(lambda self: self.planner.fusion)
    roots = property(lambda self: self.planner.roots)

    def parts_of(self, steps: Sequence[Step]) -> list[Part | Step]:
        """Steps in order, with launches that follow one another as one part."""
        parts: list[Part | Step] = []
        for is_launch, found in itertools.groupby(steps, lambda step: step.launch is not None):
            run = list(found)
            parts += [Part(self.gpu, run)] if is_launch else run
        return parts

    def steps(self, number: int) -> list[Step]:
        """What an item of the schedule becomes."""
        begin, *end = self.planner.first_steps[number : number + 2]
        return self.planner.steps[begin : end[0] if end else None]

    def run(
        self, inputs: Sequence[DeviceBuffer], numbers: Sequence[float], dying: frozenset[int] = frozenset(),
        spare: Sequence[DeviceBuffer] = (),
    ) -> list[DeviceBuffer]:
        """Compute the results; see ``plan.Plan.run``."""
        gpu, placed, error = self.gpu, self.placed, self.error
        if dying or spare:
            given = self.given(inputs, dying, spare)
            results = [gpu.allocate(nbytes) if x is None else x for x, nbytes in zip(given, placed.output_bytes)]
            del given
        else:
            results = [gpu.allocate(nbytes) for nbytes in placed.output_bytes]
        arena = gpu.allocate(placed.arena_bytes) if placed.arena_bytes else None
        bases = np.array(
            [arena.address if arena else 0, *(x.address for x in inputs), *(x.address for x in results),
             error.address if error else 0], np.int64,
        )
        # all that takes memory gets it before anything is written over
        addresses = [
            [int(bases[a[1]]) + a[2] if a[0] == "pointer" else a[1] for a in step.arguments] for step in self.calls
        ]
        needed = max((step.call.scratch_bytes(*given) for step, given in zip(self.calls, addresses)), default=0)
        scratch = gpu.allocate(needed) if needed else None
        where = iter(addresses)

        def run(part: Part | Step) -> None:
            if not isinstance(part, Step):
                part.run(bases, numbers)
            elif part.call is None:
                self.compute_on_cpu(part, bases)
            else:
                part.call(*next(where), scratch=scratch.address if scratch else 0)

        with self.lock:
            for part in self.safe:
                if isinstance(part, Part):
                    part.launches.prepare()
            for part in self.checked:
                run(part)
            if error is not None:
                self.check(error)
            for part in self.safe:
                run(part)
        COUNTERS.kernels_launched += self.launches
        return [inputs[n] if kind == "input" else results[n] for kind, n in placed.outputs]

    def compute_on_cpu(self, step: Step, bases: np.ndarray) -> None:
        """An operation of a library of Python, whose operands are copied from the GPU and whose result back."""
        node = step.operation
        assert node is not None
        addresses = [int(bases[a[1]]) + a[2] if a[0] == "pointer" else 0 for a in step.arguments]
        arrays = []
        for source, address in zip(node.src, addresses):
            arrays.append(np.empty(source.shape, source.dtype.numpy))
            if source.type.size:
                self.gpu.download(address, arrays[-1])
        with np.errstate(all="ignore"):
            found = node.op.reference(node.params, *arrays)
        self.gpu.write(addresses[-1], np.ascontiguousarray(np.broadcast_to(found, node.shape), node.dtype.numpy))

    def check(self, error: DeviceBuffer) -> None:
        found, index, extent, _ = error.as_numpy(np.int64, (4,)).tolist()
        if not found:
            return
        self.gpu.write(error.address, np.zeros(4, np.int64))
        if index == DIVISION_BY_ZERO:
            raise RuntimeError("ZeroDivisionError")
        raise IndexError(f"index {index} is out of bounds for dimension with size {extent}")


class Part:
    """Launches that run together, and where their arguments come from."""

    def __init__(self, gpu: Gpu, steps: Sequence[Step]) -> None:
        launched = [Launched(x.source, x.launch, len(x.arguments) + 1) for x in steps]
        self.numbers: list[tuple[int, int, bool]] = []
        slots, bases, offsets, fixed = [], [], [], []
        for step in steps:
            for kind, *what in step.arguments:
                slot = len(fixed)
                fixed.append(what[0] if kind == "word" else 0)
                if kind == "number":
                    self.numbers.append((slot, *what))
                elif kind == "pointer" or kind == "error":
                    slots.append(slot)
                    bases.append(what[0] if what else -1)
                    offsets.append(what[1] if what else 0)
            fixed.append(step.launch.units)
        self.slots, self.bases, self.offsets = (np.array(x, np.int64) for x in (slots, bases, offsets))
        self.launches = gpu.launches(launched)
        self.launches.words[:] = fixed

    def run(self, bases: np.ndarray, numbers: Sequence[float]) -> None:
        words = self.launches.words
        words[self.slots] = bases[self.bases] + self.offsets
        for slot, which, is_float in self.numbers:
            words[slot] = np.float64(numbers[which]).view(np.int64) if is_float else numbers[which]
        self.launches.run()
