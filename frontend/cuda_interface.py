"""CUDA's array interface: memory of a GPU as a dictionary of its address, shape and strides.

CuPy, numba.cuda and PyTorch read and write it. ``as_tensor``, ``asarray`` and ``tensor`` take objects that have it.

In: tensors, objects with ``__cuda_array_interface__``. Out: the dictionary, tensors. Read next: ``sharing.py``.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .compiler import dtypes
from .device import device_name
from .exchange import Exporter, check_array, shared_array, tensor_over
from .runtime import gpu
from .tensor import Tensor, meta_of


def _cuda_array_interface(self: Tensor) -> dict[str, Any]:
    """The memory of a tensor on a GPU as version 3 of CUDA's array interface; as ``Tensor.__cuda_array_interface__``.

    Nothing is left to wait for, so there is no stream in it. Whoever asked for the memory holds the tensor, not the
    memory: it is shared for as long as the tensor lives, and each read of it copies the elements. ``x.detach()`` is a
    tensor for this purpose alone.

    Raises:
        AttributeError: the tensor is not on a GPU.
        RuntimeError: it requires a gradient.
    """
    if not self.is_cuda:
        raise AttributeError(
            f"Can't get __cuda_array_interface__ on non-CUDA tensor type: {self.type()} "
            "If CUDA data is required use tensor.cuda() to copy tensor to device memory."
        )
    if self.requires_grad:
        raise RuntimeError(
            "Can't get __cuda_array_interface__ on Variable that requires grad. "
            "If gradients aren't required, use var.detach() to get Variable that doesn't require grad."
        )
    array = shared_array(self)
    meta_of(self).shown = array
    gpu.gpu(str(self.device)).synchronize()
    return {
        "shape": array.shape, "typestr": array.dtype.str, "data": (array.ctypes.data if array.size else 0, False),
        "strides": None if array.flags.c_contiguous else array.strides, "version": 3, "stream": None,
    }


Tensor.__cuda_array_interface__ = property(_cuda_array_interface)


def from_cuda_array_interface(obj: Any) -> Tensor:
    """A tensor that shares the GPU memory of an object with ``__cuda_array_interface__``.

    Raises:
        TypeError: elements of a dtype that there is not.
        ValueError: negative strides, or strides that are no multiples of the element size.
        RuntimeError: no GPU of this process has the memory.
    """
    described = obj.__cuda_array_interface__
    if described.get("mask") is not None:
        raise TypeError("a masked array cannot be a tensor")
    address, is_read_only = described["data"]
    shape, dtype = tuple(described["shape"]), np.dtype(described["typestr"])
    is_bfloat = dtype == np.dtype("V2")  # as PyTorch writes it
    interface = {
        "shape": shape, "typestr": dtype.str, "strides": described.get("strides"), "version": 3,
        "data": (address, is_read_only),
    }
    array = np.asarray(Exporter(obj, interface)) if address else np.empty(shape, dtype)
    if is_bfloat:
        array = array.view(dtypes.bfloat16.numpy)
    check_array(array)
    return tensor_over(array, gpu.gpu(device_name("cuda")).home_of(address) if array.size else device_name("cuda"))
