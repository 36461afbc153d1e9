"""Memory shared with other libraries: DLPack, Python's buffers, and ``asarray``.

NumPy writes and reads the capsules, so that memory is held and let go as it holds and lets go; bfloat16, which DLPack
knows and NumPy does not, goes through as 16-bit integers under its own name, and a GPU's memory, which NumPy does not
know either, as the CPU's.

In: objects that hold memory. Out: tensors over it; capsules. Read next: ``exchange.py``, for what shared memory means.
"""

from __future__ import annotations

import ctypes
import enum
import warnings
from typing import Any

import numpy as np

from .compiler import dtypes
from .compiler.dtypes import DType, meant
from .creation import DeviceLike, as_tensor, requiring_grad, tensor as tensor_from
from .cuda_interface import from_cuda_array_interface
from .device import device as Device, device_name
from .exchange import Exporter, check_array, from_numpy, shared_array, tensor_over
from .origin import warn
from .runtime import gpu
from .tensor import Tensor, method


class DLDeviceType(enum.IntEnum):
    """DLPack's codes of devices; as ``torch.utils.dlpack.DLDeviceType``."""

    kDLCPU = 1
    kDLCUDA = 2
    kDLCUDAHost = 3
    kDLOpenCL = 4
    kDLVulkan = 7
    kDLMetal = 8
    kDLVPI = 9
    kDLROCM = 10
    kDLROCMHost = 11
    kDLExtDev = 12
    kDLCUDAManaged = 13
    kDLOneAPI = 14
    kDLWebGPU = 15
    kDLHexagon = 16
    kDLMAIA = 17


class _DLTensor(ctypes.Structure):
    _fields_ = [
        ("data", ctypes.c_void_p), ("device_type", ctypes.c_int32), ("device_id", ctypes.c_int32),
        ("ndim", ctypes.c_int32), ("code", ctypes.c_uint8), ("bits", ctypes.c_uint8), ("lanes", ctypes.c_uint16),
    ]


# Where the DLTensor of a capsule is, by the capsule's name: what comes first in a DLManagedTensorVersioned is its
# version, two pointers and its flags.
_OFFSETS = {b"dltensor": 0, b"dltensor_versioned": 8 + 2 * ctypes.sizeof(ctypes.c_void_p) + 8}

_UNSIGNED, _BFLOAT = 1, 4

_capsule_name = ctypes.PYFUNCTYPE(ctypes.c_char_p, ctypes.py_object)(("PyCapsule_GetName", ctypes.pythonapi))
_capsule_pointer = ctypes.PYFUNCTYPE(ctypes.c_void_p, ctypes.py_object, ctypes.c_char_p)(
    ("PyCapsule_GetPointer", ctypes.pythonapi)
)


def _described(capsule: Any) -> tuple[bytes, _DLTensor]:
    """The name of a DLPack capsule and the tensor that it describes, in the capsule's memory.

    Raises:
        RuntimeError: it is none, or has been taken.
    """
    name = _capsule_name(capsule) if type(capsule).__name__ == "PyCapsule" else None
    if name not in _OFFSETS:
        raise RuntimeError(
            "from_dlpack received an invalid capsule. Note that DLTensor capsules can be consumed only once, so you "
            "might have already constructed a tensor from it once."
        )
    return name, _DLTensor.from_address(_capsule_pointer(capsule, name) + _OFFSETS[name])


class _Capsule:
    """A capsule as the object that NumPy wants one from."""

    def __init__(self, capsule: Any, described: _DLTensor) -> None:
        self.capsule = capsule
        self.place = described.device_type, described.device_id

    def __dlpack__(self, **options: Any) -> Any:
        return self.capsule

    def __dlpack_device__(self) -> tuple[int, int]:
        return self.place


@method
def __dlpack__(
    self: Tensor, *, stream: int | None = -1, max_version: tuple[int, int] | None = None,
    dl_device: tuple[int, int] | None = None, copy: bool | None = None,
) -> Any:
    """A DLPack capsule over the tensor's memory; as ``Tensor.__dlpack__``.

    Args:
        stream: for a GPU the reader's stream, whose work waits until the elements are there: its handle, 2 for that of
            the thread, 1 or None for the legacy default stream, -1 for no waiting. On a CPU None or -1.
        max_version: the newest version that the reader knows; the capsule has a version if that is 1.0 or newer.
        dl_device: the device to be on: the tensor's own, or the CPU's, for a copy there.
        copy: True for memory of its own, False to raise where only a copy will do.

    Raises:
        BufferError: the tensor requires a gradient, or another device is asked for.
        AssertionError: a stream that the device does not have.
    """
    if self.requires_grad:
        raise BufferError("Can't export tensors that require gradient, use tensor.detach()")
    if self.is_conj():
        raise BufferError("Can't export tensors with the conjugate bit set")
    if stream is not None and type(stream) is not int:
        raise TypeError("stream must be ``int`` or ``none``")
    if self.is_cpu and stream is not None and stream != -1:
        raise AssertionError("stream should be None on cpu.")
    if self.is_cuda and stream == 0:
        raise AssertionError("unsupported stream on CUDA: 0.")
    place = __dlpack_device__(self)
    if dl_device is not None:
        if not isinstance(dl_device, tuple):
            raise TypeError(f"dl_device must be tuple of ints, not {type(dl_device).__name__}")
        if dl_device[0] == DLDeviceType.kDLCPU and self.is_cuda and copy is not False:
            return self.cpu().__dlpack__(max_version=max_version)
        if dl_device != place:
            raise BufferError(
                f"a tensor on the device {self.device} cannot be exported to the device {tuple(map(int, dl_device))}"
            )
    options: dict[str, Any] = {} if max_version is None else {"max_version": max_version}
    if self.is_cuda:
        # NumPy would copy what is not in its reach
        array = shared_array(self.clone() if copy else self)
    else:
        array = shared_array(self)
        if copy is not None:
            options["copy"] = copy
    is_bfloat = self._node.type.dtype is dtypes.bfloat16
    capsule = (array.view(np.uint16) if is_bfloat else array).__dlpack__(**options)
    described = _described(capsule)[1]
    if is_bfloat:
        described.code = _BFLOAT
    if self.is_cuda:
        described.device_type, described.device_id = place
        if stream != -1:
            gpu.gpu(str(self.device)).hand_over(1 if stream is None else stream)
    return capsule


@method
def __dlpack_device__(self: Tensor) -> tuple[DLDeviceType, int]:
    """DLPack's code of the device and its index: ``(1, 0)`` for the CPU."""
    return (DLDeviceType.kDLCPU, 0) if self.is_cpu else (DLDeviceType.kDLCUDA, self.get_device())


@method
def __array_namespace__(self: Tensor, *, api_version: str | None = None) -> Any:
    """The array API standard's functions for tensors: the module :mod:`flamework.array_api`.

    Raises:
        ValueError: there is no such version of the standard.
    """
    from . import array_api

    if api_version is not None and api_version not in array_api.arrays.VERSIONS:
        versions = ", ".join(array_api.arrays.VERSIONS)
        raise ValueError(f"the versions of the array API standard are {versions}, but got {api_version!r}")
    return array_api


def to_dlpack(tensor: Tensor) -> Any:
    """A DLPack capsule over the tensor's memory, without a version; as ``torch.utils.dlpack.to_dlpack``.

    Example:
        >>> import flamework as torch
        >>> x = torch.zeros(2)
        >>> y = torch.from_dlpack(torch.utils.dlpack.to_dlpack(x))
        >>> x.fill_(1)
        tensor([1., 1.])
        >>> y
        tensor([1., 1.])
    """
    return tensor.detach().__dlpack__()


def from_dlpack(ext_tensor: Any, *, device: DeviceLike = None, copy: bool | None = None) -> Tensor:
    """A tensor that shares memory with any object that speaks DLPack, or with a capsule; as ``torch.from_dlpack``.

    What the other library marks as not to be written to is written to all the same, if you do.

    Args:
        ext_tensor: an object with a method ``__dlpack__``, or a capsule, which is used up.
        device: where the tensor is to be; what the object has elsewhere is copied there.
        copy: True for memory of its own, False to raise instead.

    Raises:
        RuntimeError: no capsule, one that has been used, or a device that is not there.
        TypeError: elements of a dtype that there is not.
        BufferError: memory on another device.

    Example:
        >>> import flamework as torch, numpy
        >>> a = numpy.zeros(2)
        >>> x = torch.from_dlpack(a)
        >>> a[0] = 1
        >>> x
        tensor([1., 0.], dtype=torch.float64)
    """
    clone = False
    place = None if device is None else device_name(device)
    if hasattr(ext_tensor, "__dlpack__"):
        options: dict[str, Any] = {"max_version": (1, 0)}
        if tuple(ext_tensor.__dlpack_device__())[0] == DLDeviceType.kDLCUDA:
            options["stream"] = gpu.gpu(_gpu_name(ext_tensor.__dlpack_device__()[1])).stream_handle
        if copy is not None:
            options["copy"] = copy
        # older libraries know fewer arguments
        while True:
            try:
                capsule = ext_tensor.__dlpack__(**options)
                break
            except TypeError:
                name = next((name for name in options if name != "stream"), None)
                if name is None:
                    raise
                clone = clone or name == "copy" and bool(copy)
                del options[name]
    else:
        if device is not None or copy is not None:
            raise AssertionError(
                "device and copy kwargs not supported when ext_tensor is already a DLPack capsule."
            )
        capsule = ext_tensor
    name, described = _described(capsule)
    is_bfloat = described.code == _BFLOAT and described.bits == 16
    if is_bfloat:
        described.code = _UNSIGNED
    kind, number = described.device_type, described.device_id
    home = "cpu"
    if kind == DLDeviceType.kDLCUDA:
        home = _gpu_name(number)
        described.device_type, described.device_id = DLDeviceType.kDLCPU, 0
    array = np.from_dlpack(_Capsule(capsule, described))
    # whoever wrote the capsule will read it again, to let the memory go
    described.device_type, described.device_id = kind, number
    if name == b"dltensor":
        # no flag can say that it may be written to, so NumPy takes it that it may not
        array = np.asarray(Exporter(array, {**array.__array_interface__, "data": (array.ctypes.data, False)}))
    if is_bfloat:
        array = array.view(dtypes.bfloat16.numpy)
    check_array(array)
    found = tensor_over(array, home)
    found = found.clone() if clone else found
    return found if place is None else found.to(place)


def _gpu_name(number: int) -> str:
    return device_name(Device("cuda", number))


def frombuffer(
    buffer: Any, *, dtype: DType, count: int = -1, offset: int = 0, requires_grad: bool = False
) -> Tensor:
    """A tensor of one axis over the bytes of an object with Python's buffer protocol; as ``torch.frombuffer``.

    Args:
        dtype: what the bytes are read as.
        count: how many elements; negative for all.
        offset: bytes to leave out at the beginning.

    Raises:
        ValueError: no buffer, or its length does not fit.

    Example:
        >>> import array, flamework as torch
        >>> a = array.array("i", [1, 2, 3])
        >>> x = torch.frombuffer(a, dtype=torch.int32, offset=4)
        >>> x[0] = 7
        >>> a
        array('i', [1, 7, 3])
    """
    try:
        view = memoryview(buffer)
    except TypeError:
        raise ValueError("object does not implement Python buffer protocol.") from None
    dtype = meant(dtype)
    length, size = view.nbytes, dtype.itemsize
    if length == 0 or count == 0:
        raise ValueError(f"both buffer length ({length}) and count ({count}) must not be 0")
    if not 0 <= offset < length:
        raise ValueError(
            f"offset ({offset} bytes) must be non-negative and no greater than buffer length ({length} bytes) minus 1"
        )
    if count < 0:
        if (length - offset) % size:
            raise ValueError(
                f"buffer length ({length - offset} bytes) after offset ({offset} bytes) must be a multiple of element "
                f"size ({size})"
            )
        count = (length - offset) // size
    elif offset + count * size > length:
        raise ValueError(
            f"requested buffer length ({count} * {size} bytes) after offset ({offset} bytes) must not be greater than "
            f"actual buffer length ({length} bytes)"
        )
    if view.readonly:
        warn(
            "The given buffer is not writable, and PyTorch does not support non-writable tensors. This means you can "
            "write to the underlying (supposedly non-writable) buffer using the tensor. You may want to copy the "
            "buffer to protect its data or make it writable before converting it to a tensor.",
        )
    array = np.frombuffer(view, np.uint8, count * size, offset).view(dtype.numpy)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        found = from_numpy(array)
    return requiring_grad(found) if requires_grad else found


def asarray(
    obj: Any, *, dtype: DType | None = None, device: DeviceLike = None, copy: bool | None = None,
    requires_grad: bool | None = None,
) -> Tensor:
    """``obj`` as a tensor, sharing its memory where that is possible; as ``torch.asarray``.

    Args:
        obj: a tensor, an array, a DLPack capsule, an object with Python's buffer protocol (whose bytes are read as
            ``dtype``), or numbers.
        copy: True for memory of its own, False to raise where it cannot be shared.
        requires_grad: whether the result requires a gradient; None for as ``obj`` does.

    Raises:
        ValueError: the memory cannot be shared, and ``copy`` is False.

    Example:
        >>> import flamework as torch, numpy
        >>> a = numpy.zeros(2)
        >>> x, y = torch.asarray(a), torch.asarray(a, copy=True)
        >>> a[0] = 1
        >>> x[0].item(), y[0].item()
        (1.0, 0.0)
    """
    dtype = meant(dtype)
    if isinstance(obj, Tensor):
        found = obj
    elif isinstance(obj, np.ndarray):
        found = from_numpy(obj)
    elif hasattr(obj, "__cuda_array_interface__"):
        found = from_cuda_array_interface(obj)
    elif isinstance(obj, np.generic):
        if copy is False:
            raise RuntimeError("can't alias NumPy scalars. Either remove copy=False or transform it in a ndarray. ")
        return tensor_from(obj, dtype=dtype, device=device, requires_grad=bool(requires_grad))
    elif type(obj).__name__ == "PyCapsule":
        found = from_dlpack(obj)
    elif _is_buffer(obj):
        found = frombuffer(obj, dtype=dtype or tensor_from(0.0).dtype)
    else:
        if copy is False:
            raise ValueError("can't alias arbitrary sequence into a tensor.")
        return tensor_from(obj, dtype=dtype, device=device, requires_grad=bool(requires_grad))
    if copy is False and dtype is not None and dtype is not found.dtype:
        raise ValueError(
            f"can't alias tensor with dtype '{found.dtype.scalar_name}' into dtype '{dtype.scalar_name}'."
        )
    converted = as_tensor(found, dtype=dtype, device=device)
    if copy and converted is found:
        converted = found.clone()
    if requires_grad is None or requires_grad == converted.requires_grad:
        return converted
    return converted.requires_grad_(requires_grad) if converted.is_leaf else converted.detach()


def _is_buffer(obj: Any) -> bool:
    try:
        memoryview(obj)
    except TypeError:
        return False
    return True
