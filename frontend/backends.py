"""``torch.backends``: which libraries compute. Kernels are compiled; on a GPU cuBLASLt computes products and cuDNN
convolutions, where they are installed.

The switches of cuDNN and of CUDA's products can be set, as programs that may find a GPU do; they concern GPUs only, in
PyTorch too. TF32 is used only when it is asked for, for products and for convolutions.

In: questions and switches. Out: namespaces. Read next: ``cuda.py``.
"""

from __future__ import annotations

from typing import Any

from .origin import warn
from .runtime import cublas, cudnn as _cudnn, gpu

__all__ = ["cuda", "cudnn", "mkl", "mps", "openmp"]


class _Backend:
    """A library of which a machine may have none. Switches are attributes that exist, of the type that they have."""

    def __setattr__(self, name: str, value: Any) -> None:
        if not hasattr(type(self), name):
            raise AttributeError(f"{type(self).__name__.strip('_').lower()} has no switch {name!r}")
        if not isinstance(value, type(getattr(self, name))):
            raise RuntimeError(f"{name} is a {type(getattr(self, name)).__name__}, not {value!r}")
        super().__setattr__(name, value)


class _Library(_Backend):
    """A library that does not compute here."""

    @staticmethod
    def is_available() -> bool:
        """Whether it can be used: False."""
        return False


class _Cudnn(_Backend):
    """cuDNN, which computes convolutions, and attention of 16-bit floats, on GPUs where it is installed.

    They have the same bits each time, whatever ``deterministic`` and ``benchmark`` are. Unlike PyTorch's,
    ``allow_tf32`` is False until it is set.
    """

    benchmark = False
    deterministic = False

    @property
    def enabled(self) -> bool:
        """Whether programs that are planned from now on may use it."""
        return _cudnn.enabled

    @enabled.setter
    def enabled(self, value: bool) -> None:
        _cudnn.enabled = value

    @property
    def allow_tf32(self) -> bool:
        """Whether convolutions of float32 may be computed in TF32: their factors are rounded to 11 bits."""
        return _cudnn.allow_tf32

    @allow_tf32.setter
    def allow_tf32(self, value: bool) -> None:
        _cudnn.allow_tf32 = value

    @staticmethod
    def is_available() -> bool:
        """Whether it computes convolutions and attention: there is a GPU, cuDNN and its frontend for Python."""
        return gpu.count() > 0 and gpu.gpu("cuda:0").cudnn is not None

    @staticmethod
    def version() -> int | None:
        """The version of cuDNN, 92801 for 9.28.1; None where it is not available."""
        found = gpu.gpu("cuda:0").cudnn if gpu.count() else None
        return None if found is None else found.dnn.backend_version()


class _Products(_Backend):
    """Matrix products on GPUs. Sums are in float32 whatever is allowed for 16-bit floats."""

    allow_fp16_reduced_precision_reduction = True
    allow_bf16_reduced_precision_reduction = True

    @property
    def allow_tf32(self) -> bool:
        """Whether products of float32 may be computed in TF32, where cuBLASLt computes them."""
        return cublas.float32_precision != "highest"

    @allow_tf32.setter
    def allow_tf32(self, value: bool) -> None:
        set_float32_matmul_precision("high" if value else "highest")


def set_float32_matmul_precision(precision: Any) -> None:
    """How precise matrix products of float32 have to be on a GPU; as ``torch.set_float32_matmul_precision``.

    Args:
        precision: "highest" for float32, "high" or "medium" for TF32 where cuBLASLt computes the product: its factors
            are rounded to 11 bits.

    Raises:
        RuntimeError: no text. Of another text there is a warning.

    Example:
        >>> import flamework as torch
        >>> torch.get_float32_matmul_precision()
        'highest'
    """
    if not isinstance(precision, str):
        raise RuntimeError(f"set_float32_matmul_precision expects a str, but got {type(precision).__name__}")
    if precision not in ("highest", "high", "medium"):
        warn(
            f"{precision} is not one of 'highest', 'high', or 'medium'; the current setFloat32MatmulPrecision call has "
            "no effect.",
        )
        return
    cublas.float32_precision = precision


def get_float32_matmul_precision() -> str:
    """What :func:`set_float32_matmul_precision` was last told, at first "highest"."""
    return cublas.float32_precision


class _Cuda(_Backend):
    """CUDA."""

    matmul = _Products()

    @staticmethod
    def is_built() -> bool:
        """Whether kernels can run on GPUs: if there is one."""
        return gpu.count() > 0


class _Mps(_Library):
    """Apple's GPUs."""

    @staticmethod
    def is_built() -> bool:
        """Whether kernels can run on Apple's GPUs: False."""
        return False


class _Mkl(_Library):
    """Intel's MKL: OpenBLAS and SciPy compute matrix products and transforms here."""


class _Openmp(_Library):
    """OpenMP: the threads of kernels are Flamework's own."""


cuda, cudnn, mkl, mps, openmp = _Cuda(), _Cudnn(), _Mkl(), _Mps(), _Openmp()
