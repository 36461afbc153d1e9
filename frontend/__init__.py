"""Flamework: PyTorch's API over a compiler that fuses what a program records.

``import flamework as torch``: tensors record what is done to them, and compute when somebody looks. The names below are
PyTorch's. Read next: ``tensor.py`` for what a tensor is, ``recording.py`` for how operations are recorded.
"""

from .compiler.dtypes import (
    DType as dtype, bool_ as bool, float32, float32 as float, float64, float64 as double, int8, int16, int16 as short,
    int32, int32 as int, int64, int64 as long, uint8,
)
from .compiler.dtypes import promote as promote_types
from .device import device
from .size import Size
from .tensor import Tensor, memory_format
from .recording import get_default_dtype, realize, set_default_dtype
from .recording import broadcast_shapes as _broadcast_shapes
from . import operators as _operators
from .mutation import can_cast
from .views import (
    adjoint, broadcast_to, clone, detach, flatten, moveaxis, movedim, permute, ravel, reshape, squeeze, swapaxes, swapdims,
    t, transpose, unflatten, unsqueeze,
)
from .parts import as_strided, chunk, diagonal, narrow, select, split, split_with_sizes, unbind
from .indexing import index_put, index_put_
from .autograd import enable_grad, inference_mode, is_grad_enabled, no_grad, set_grad_enabled
from . import autograd, conversion as _conversion
from .exchange import from_dlpack, from_numpy
from .printing import set_printoptions
from .arithmetic import *
from .reduction import *

contiguous_format = memory_format.contiguous_format
preserve_format = memory_format.preserve_format
channels_last = memory_format.channels_last
channels_last_3d = memory_format.channels_last_3d
