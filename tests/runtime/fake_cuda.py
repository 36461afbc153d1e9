"""The functions of NVIDIA's driver that Flamework calls, on the host's memory, with kernels in numba's simulator.

It is strict where the driver is: contexts have to be current, memory has to be allocated, handles have to live, and the
device's memory is at addresses that the CPU cannot read. What it loads as a module is the source of a kernel, which
:func:`installed` lets pass for PTX.
"""

import contextlib
import ctypes
import re
import threading
from types import SimpleNamespace

import numpy as np
from flamework.compiler.codegen_cuda import Launch
from flamework.kernels.cuda import toolchain
from flamework.runtime import engine, gpu, gpu_kernels, nvidia

SUCCESS, INVALID, OUT_OF_MEMORY = 0, 1, 2

#: The stream that work has to be on.
STREAM = 77

#: No address in the CPU's memory is so large.
OFFSET = 1 << 60


class FakeDriver:
    """See the chapter's head. ``calls`` counts the calls of each function, ``asked`` are those that order streams;
    ``capacity`` is the device's memory."""

    CUdevice_attribute = SimpleNamespace(
        CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR="major", CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR="minor",
        CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT="processors",
    )
    CUpointer_attribute = SimpleNamespace(CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL="ordinal")
    CUDA_KERNEL_NODE_PARAMS = SimpleNamespace

    def __init__(self, capacity=1 << 24, processors=2):
        self.capacity = capacity
        self.processors = processors
        self.memory = {}
        self.locked = {}
        self.calls = {}
        self.current = threading.local()
        self.graphs = {}
        self.executables = {}
        self.handles = 0
        self.events = {}
        self.asked = []

    def __getattribute__(self, name):
        if name.startswith("cu") and name[2].isupper():
            self.calls[name] = self.calls.get(name, 0) + 1
            if name not in ("cuInit", "cuDeviceGetCount", "cuDeviceGet", "cuDevicePrimaryCtxRetain", "cuCtxSetCurrent",
                            "cuGetErrorName", "cuGetErrorString", "cuDeviceGetAttribute", "cuDeviceGetName",
                            "cuGraphDestroy", "cuGraphExecDestroy", "cuMemFreeHost"):
                assert getattr(self.current, "context", None) == "context 0", f"{name} without a current context"
        return super().__getattribute__(name)

    def handle(self):
        self.handles += 1
        return self.handles

    def cuInit(self, flags):
        return (SUCCESS,)

    def cuGetErrorName(self, code):
        return SUCCESS, f"CUDA_ERROR_{code}".encode()

    def cuGetErrorString(self, code):
        return SUCCESS, b"something is wrong"

    def cuDeviceGetCount(self):
        return SUCCESS, 1

    def cuDeviceGet(self, number):
        return (SUCCESS, number) if number == 0 else (INVALID, None)

    def cuDevicePrimaryCtxRetain(self, device):
        return SUCCESS, f"context {device}"

    def cuCtxSetCurrent(self, context):
        self.current.context = context
        return (SUCCESS,)

    def cuStreamCreate(self, flags):
        return SUCCESS, STREAM

    def cuStreamSynchronize(self, stream):
        assert stream == STREAM
        self.asked.append(("synchronize", stream))
        return (SUCCESS,)

    def cuCtxSynchronize(self):
        self.asked.append(("synchronize", "all"))
        return (SUCCESS,)

    def cuEventCreate(self, flags):
        event = f"event {self.handle()}"
        self.events[event] = None
        return SUCCESS, event

    def cuEventRecord(self, event, stream):
        assert event in self.events and stream == STREAM
        self.events[event] = stream
        return (SUCCESS,)

    def cuStreamWaitEvent(self, stream, event, flags):
        assert self.events[event] is not None, "the event was not recorded"
        self.asked.append((stream, "waits for", self.events[event]))
        return (SUCCESS,)

    def cuEventDestroy(self, event):
        del self.events[event]
        return (SUCCESS,)

    def cuPointerGetAttribute(self, attribute, address):
        assert attribute == "ordinal"
        return (SUCCESS, 0) if any(a <= address < a + x.size for a, x in self.memory.items()) else (INVALID, None)

    def cuDeviceGetAttribute(self, attribute, device):
        return SUCCESS, {"major": 9, "minor": 0, "processors": self.processors}[attribute]

    def cuDeviceGetName(self, length, device):
        return SUCCESS, b"a stand-in".ljust(length, b"\0")

    def cuMemGetInfo(self):
        return SUCCESS, self.capacity - sum(x.size for x in self.memory.values()), self.capacity

    def cuMemAllocAsync(self, size, stream):
        if sum(x.size for x in self.memory.values()) + size > self.capacity:
            return OUT_OF_MEMORY, None
        block = np.full(size + 256, 0xA5, np.uint8)
        block = block[-block.ctypes.data % 256 :][:size]
        self.memory[block.ctypes.data + OFFSET] = block
        return SUCCESS, block.ctypes.data + OFFSET

    def cuMemHostAlloc(self, nbytes, flags):
        block = np.empty(nbytes, np.uint8)
        self.locked[block.ctypes.data] = block
        return SUCCESS, block.ctypes.data

    def cuMemFreeHost(self, address):
        del self.locked[address]
        return (SUCCESS,)

    def cuMemFreeAsync(self, address, stream):
        del self.memory[address]
        return (SUCCESS,)

    def span(self, address, nbytes=None):
        """The memory at an address, to the end of its block if it is not said how much."""
        for base, block in self.memory.items():
            if base <= address < base + block.size:
                found = block[address - base :]
                assert nbytes is None or nbytes <= found.size
                return found if nbytes is None else found[:nbytes]
        raise AssertionError(f"{address:#x} is no memory of this device")

    def cuMemcpyHtoDAsync(self, target, source, nbytes, stream):
        self.span(target, nbytes)[:] = np.frombuffer((ctypes.c_uint8 * nbytes).from_address(source), np.uint8)
        return (SUCCESS,)

    def cuMemcpyDtoHAsync(self, target, source, nbytes, stream):
        np.frombuffer((ctypes.c_uint8 * nbytes).from_address(target), np.uint8)[:] = self.span(source, nbytes)
        return (SUCCESS,)

    def cuMemcpyDtoDAsync(self, target, source, nbytes, stream):
        assert stream == STREAM
        self.span(target, nbytes)[:] = self.span(source, nbytes).copy()
        return (SUCCESS,)

    def cuModuleLoadData(self, image):
        assert image.endswith(b"\0")
        return SUCCESS, image[:-1].decode()

    def cuModuleGetFunction(self, module, name):
        function = name.decode().removeprefix("flamework_")
        assert re.search(rf"^def {function}\(", module, re.MULTILINE)
        return SUCCESS, (module, function)

    def cuOccupancyMaxActiveBlocksPerMultiprocessor(self, function, threads, shared):
        assert shared == 0
        return SUCCESS, 2

    def cuGraphCreate(self, flags):
        graph = self.handle()
        self.graphs[graph] = {}
        return SUCCESS, graph

    def cuGraphDestroy(self, graph):
        del self.graphs[graph]
        return (SUCCESS,)

    def arguments(self, parameters):
        """The values of a launch's arguments now, as the driver copies them."""
        source, function = parameters.func
        names = re.search(rf"^def {function}\((.*)\):", source, re.MULTILINE)[1].split(",")
        pointers = (ctypes.c_void_p * len(names)).from_address(parameters.kernelParams)
        return [ctypes.c_int64.from_address(pointer).value for pointer in pointers]

    def cuGraphAddKernelNode(self, graph, dependencies, count, parameters):
        assert count == len(dependencies) and all(x in self.graphs[graph] for x in dependencies)
        node = self.handle()
        self.graphs[graph][node] = (parameters, self.arguments(parameters))
        return SUCCESS, node

    def cuGraphInstantiate(self, graph, flags):
        executable = self.handle()
        self.executables[executable] = dict(self.graphs[graph])
        return SUCCESS, executable

    def cuGraphExecDestroy(self, executable):
        del self.executables[executable]
        return (SUCCESS,)

    def cuGraphExecKernelNodeSetParams(self, executable, node, parameters):
        assert any(node in nodes for nodes in self.graphs.values()), "the node's graph was destroyed"
        assert node in self.executables[executable]
        self.executables[executable][node] = (parameters, self.arguments(parameters))
        return (SUCCESS,)

    def cuGraphLaunch(self, executable, stream):
        memory = type("Word", (np.int64,), {"bytes": property(lambda word: self.address(int(word)))})
        for parameters, arguments in self.executables[executable].values():
            source, function = parameters.func
            *words, units = arguments
            launch = Launch(function, parameters.gridDimX, parameters.blockDimX, units)
            toolchain.simulate(source, [launch], [memory(word) for word in words])
        return (SUCCESS,)

    def address(self, value):
        return self.span(value) if value else np.empty(0, np.uint8)


@contextlib.contextmanager
def with_library(make, install):
    """A GPU with one of NVIDIA's libraries: what ``make`` makes for a driver, and ``install`` gives to the GPU."""
    driver = FakeDriver(capacity=1 << 26)
    library = make(driver)
    with installed(driver) as device:
        install(device, library)
        yield library


@contextlib.contextmanager
def installed(fake, threads=8):
    """Let a GPU of this driver be ``cuda:0``."""
    before = nvidia.driver, nvidia.Nvidia.threads, gpu.gpu, gpu_kernels.machine_code
    nvidia.driver, nvidia.Nvidia.threads = lambda: fake, threads
    device = nvidia.Nvidia("cuda:0")
    gpu.gpu = lambda name: device
    engine._plans.clear()  # those of another device
    gpu_kernels.machine_code = lambda source, cc, threads: source.encode() + b"\0"
    try:
        yield device
    finally:
        engine._plans.clear()  # they are for this device
        nvidia.driver, nvidia.Nvidia.threads, gpu.gpu, gpu_kernels.machine_code = before
