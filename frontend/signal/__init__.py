"""Windows and the short-time Fourier transform.

In: lengths, signals. Out: windows that are constants, spectra with PyTorch's gradients. Read next: ``windows.py``.
"""

from . import windows

__all__ = ["windows"]
