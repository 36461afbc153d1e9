"""NVIDIA's GPUs, through the driver's own interface (``cuda.bindings``).

Memory comes from the driver's stream-ordered pool. A sequence of launches becomes a CUDA graph once; a later run
changes the nodes whose arguments are others, such as the addresses of the inputs, and launches the graph by one call.

Everything goes through one stream of the device, so that copies and graphs run in the order in which they were asked
for, while the program goes on.

In: the number of a GPU. Out: :class:`Nvidia`, a :class:`~flamework.runtime.gpu.Gpu`. Read next: ``gpu.py``.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..compiler.codegen_cuda import THREADS
from .gpu import Gpu, Launched, Launches

if TYPE_CHECKING:
    from .cublas import CublasLt
    from .cudnn import Cudnn

_OUT_OF_MEMORY = 2  # CUDA_ERROR_OUT_OF_MEMORY
_FOR_ALL_CONTEXTS = 1  # CU_MEMHOSTALLOC_PORTABLE
_DISABLE_TIMING = 2  # CU_EVENT_DISABLE_TIMING
_NOT_BLOCKING = 1  # CU_STREAM_NON_BLOCKING: the legacy stream does not wait for this one


class DriverError(RuntimeError):
    """The driver refused something; PyTorch raises RuntimeError too."""


@functools.cache
def driver() -> Any:
    """The driver's functions. Raises ``ImportError`` or ``RuntimeError`` where there is none."""
    from cuda.bindings import driver as found

    checked(found, found.cuInit(0))
    return found


def checked(cuda: Any, answer: tuple) -> Any:
    """What a function of the driver answers, after its error code."""
    code, *values = answer
    if int(code):
        _, name = cuda.cuGetErrorName(code)
        _, text = cuda.cuGetErrorString(code)
        raise DriverError(f"CUDA error: {_text(text)} ({_text(name)})")
    return values[0] if len(values) == 1 else tuple(values)


def _text(value: bytes | str) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def count() -> int:
    """How many GPUs the driver sees; 0 without a driver."""
    try:
        cuda = driver()
        return int(checked(cuda, cuda.cuDeviceGetCount()))
    except (ImportError, OSError, RuntimeError):
        return 0


class Nvidia(Gpu):
    """One GPU of NVIDIA's.

    Attributes:
        stream: the stream that all work of the device is put on.
    """

    threads = THREADS

    def __init__(self, name: str) -> None:
        super().__init__(name)
        cuda = self.cuda = driver()
        self.device = self.call("cuDeviceGet", int(name.partition(":")[2]))
        self.context = self.call("cuDevicePrimaryCtxRetain", self.device)
        self.enter()
        self.stream = self.call("cuStreamCreate", _NOT_BLOCKING)
        names = cuda.CUdevice_attribute
        self.cc = (
            self.attribute(names.CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR),
            self.attribute(names.CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR),
        )
        self.processors = self.attribute(names.CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT)
        self.title = _text(self.call("cuDeviceGetName", 256, self.device)).partition("\0")[0]
        self.modules: dict[str, Any] = {}

    def call(self, function: str, *arguments: Any) -> Any:
        """A function of the driver. Raises :class:`DriverError`."""
        return checked(self.cuda, getattr(self.cuda, function)(*arguments))

    def attribute(self, which: Any) -> int:
        return int(self.call("cuDeviceGetAttribute", which, self.device))

    def enter(self) -> None:
        """Make the device's context current in this thread."""
        self.call("cuCtxSetCurrent", self.context)

    # -------------------------------------------------------------------------------------------------------- memory

    def obtain(self, size: int) -> int | None:
        self.enter()
        code, address = self.cuda.cuMemAllocAsync(size, self.stream)
        if int(code) == _OUT_OF_MEMORY:
            return None
        checked(self.cuda, (code,))
        return int(address)

    def release(self, address: int) -> None:
        self.enter()
        self.call("cuMemFreeAsync", address, self.stream)

    def write(self, address: int, array: np.ndarray) -> None:
        if array.nbytes:
            self.enter()
            self.call("cuMemcpyHtoDAsync", address, array.ctypes.data, array.nbytes, self.stream)
            # the array may be gone, or others' again, as soon as this returns
            self.synchronize()

    def download(self, address: int, array: np.ndarray) -> None:
        if array.nbytes:
            self.enter()
            self.call("cuMemcpyDtoHAsync", array.ctypes.data, address, array.nbytes, self.stream)
            self.synchronize()

    def copy(self, target: int, source: int, nbytes: int) -> None:
        if nbytes:
            self.enter()
            self.call("cuMemcpyDtoDAsync", target, source, nbytes, self.stream)

    def synchronize(self) -> None:
        self.enter()
        self.call("cuStreamSynchronize", self.stream)

    def wait(self) -> None:
        self.enter()
        self.call("cuCtxSynchronize")

    def home_of(self, address: int) -> str:
        self.enter()
        which = self.cuda.CUpointer_attribute.CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL
        return f"cuda:{int(self.call('cuPointerGetAttribute', which, address))}"

    @property
    def stream_handle(self) -> int:
        return int(self.stream)

    def hand_over(self, stream: int) -> None:
        self.enter()
        event = self.call("cuEventCreate", _DISABLE_TIMING)
        self.call("cuEventRecord", event, self.stream)
        self.call("cuStreamWaitEvent", stream, event, 0)
        # the driver keeps it for as long as somebody waits
        self.call("cuEventDestroy", event)

    def memory(self) -> tuple[int, int]:
        self.enter()
        free, total = self.call("cuMemGetInfo")
        return int(free), int(total)

    def locked(self, nbytes: int) -> np.ndarray:
        return np.asarray(Locked(self, nbytes))

    # ------------------------------------------------------------------------------------------------------- kernels

    @functools.cached_property
    def products(self) -> CublasLt | None:
        from .cublas import CublasLt

        try:
            return CublasLt(self)
        except (ImportError, RuntimeError):
            return None

    @functools.cached_property
    def cudnn(self) -> Cudnn | None:
        from .cudnn import Cudnn

        if self.products is None:
            # cuDNN calls cuBLASLt, and ends the process where that cannot be loaded
            return None
        try:
            return Cudnn(self)
        except (ImportError, OSError, RuntimeError):
            return None

    def function(self, source: str, name: str) -> Any:
        """A kernel of a piece of generated source."""
        module = self.modules.get(source)
        if module is None:
            from .gpu_kernels import machine_code

            self.enter()
            module = self.modules[source] = self.call("cuModuleLoadData", machine_code(source, self.cc, self.threads))
        return self.call("cuModuleGetFunction", module, f"flamework_{name}".encode())

    def at_once(self, function: Any, threads: int) -> int:
        """How many blocks of a kernel the device runs at the same time."""
        of_each = int(self.call("cuOccupancyMaxActiveBlocksPerMultiprocessor", function, threads, 0))
        return self.processors * max(1, of_each)

    def launches(self, launches: Sequence[Launched]) -> Launches:
        return Graph(self, launches)


class Locked:
    """Page-locked memory, which NumPy's arrays over it keep."""

    def __init__(self, gpu: Nvidia, nbytes: int) -> None:
        gpu.enter()
        self.cuda = gpu.cuda
        self.address = int(gpu.call("cuMemHostAlloc", max(nbytes, 1), _FOR_ALL_CONTEXTS))
        self.__array_interface__ = {
            "shape": (nbytes,), "typestr": "|u1", "data": (self.address, False), "version": 3
        }

    def __del__(self) -> None:
        if hasattr(self, "address"):
            self.cuda.cuMemFreeHost(self.address)


class Graph(Launches):
    """Launches as a CUDA graph: a chain of kernel nodes, made at the first run, whose arguments are :attr:`words`."""

    def __init__(self, gpu: Nvidia, launches: Sequence[Launched]) -> None:
        super().__init__(gpu, launches)
        self.cuda = gpu.cuda
        self.launched = launches
        # the address of each word: a launch takes an array of pointers to its arguments
        self.pointers = self.words.ctypes.data + 8 * np.arange(len(self.words), dtype=np.int64)
        self.nodes: list[Any] = []
        self.parameters: list[Any] = []

    def prepare(self) -> None:
        if self.nodes:
            return
        self.gpu.enter()
        gpu, nodes, parameters = self.gpu, [], []
        # nodes are changed by their handles in this graph, so that it lives as long as what is made of it
        graph = gpu.call("cuGraphCreate", 0)
        try:
            for begin, launched in zip(self.begins, self.launched):
                given = self.cuda.CUDA_KERNEL_NODE_PARAMS()
                given.func = gpu.function(launched.source, launched.launch.function)
                blocks = min(launched.launch.blocks, gpu.at_once(given.func, launched.launch.threads))
                given.gridDimX, given.gridDimY, given.gridDimZ = blocks, 1, 1
                given.blockDimX, given.blockDimY, given.blockDimZ = launched.launch.threads, 1, 1
                given.sharedMemBytes = 0
                given.kernelParams = int(self.pointers.ctypes.data) + 8 * begin
                before = nodes[-1:]
                nodes.append(gpu.call("cuGraphAddKernelNode", graph, before, len(before), given))
                parameters.append(given)
            self.executable = gpu.call("cuGraphInstantiate", graph, 0)
        except Exception:
            # for lack of memory, for example: the next run begins anew
            gpu.call("cuGraphDestroy", graph)
            raise
        self.graph, self.nodes, self.parameters = graph, nodes, parameters
        self.known = self.words.copy()

    def run(self) -> None:
        gpu = self.gpu
        self.prepare()
        gpu.enter()
        changed = np.flatnonzero(self.words != self.known)
        for number in np.unique(self.launch_of[changed]).tolist():
            gpu.call("cuGraphExecKernelNodeSetParams", self.executable, self.nodes[number], self.parameters[number])
        self.known = self.words.copy()
        gpu.call("cuGraphLaunch", self.executable, gpu.stream)

    def __del__(self) -> None:
        if hasattr(self, "executable"):
            self.cuda.cuGraphExecDestroy(self.executable)
            self.cuda.cuGraphDestroy(self.graph)
