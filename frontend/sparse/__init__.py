"""Sparse tensors, whose elements are zero except at some coordinates; as ``torch.sparse``.

:func:`flamework.sparse_coo_tensor` makes one. Its chapters, in the order in which to read them: ``tensor.py`` for what
it is, ``methods.py``, ``selection.py``, ``arithmetic.py``, ``values.py``, ``products.py``, and ``dense.py`` for what
joins it with dense tensors.
"""

from ..compiler import dtypes as _dtypes
from . import selection as _selection, values as _values  # noqa: F401, they install methods
from .arithmetic import log_softmax, softmax, sum
from .dense import sparsetype as _sparsetype
from .products import sparse_addmm as addmm, sparse_mm as mm

# torch.sparse.FloatTensor and so on
globals().update({
    f"{dtype.scalar_name}Tensor": _sparsetype(
        f"{dtype.scalar_name}Tensor", (),
        {"dtype": dtype, "__module__": "torch.sparse", "__doc__": f"The sparse tensors of {dtype}."},
    )
    for dtype in _dtypes.ALL if not dtype.is_complex
})

__all__ = ["addmm", "log_softmax", "mm", "softmax", "sum"]
