"""``torch.nn.functional``: the functions behind the layers, gathered from their chapters.

In reading order: ``functional_activation.py``, ``functional_norm.py``, ``functional_conv.py``, ``functional_pool.py``,
``functional_loss.py``, ``functional_regression.py``, ``functional_ctc.py``, ``functional_sparse.py``,
``functional_vision.py``, ``functional_grid.py``, ``functional_dropout.py``, ``functional_attention.py``.
"""

import sys

from .. import results
from ..distances import pdist
from .functional_activation import *  # noqa: F403
from .functional_activation import __all__ as _activation
from .functional_attention import *  # noqa: F403
from .functional_attention import __all__ as _attention
from .functional_conv import *  # noqa: F403
from .functional_conv import __all__ as _conv
from .functional_ctc import *  # noqa: F403
from .functional_ctc import __all__ as _ctc
from .functional_dropout import *  # noqa: F403
from .functional_dropout import __all__ as _dropout
from .functional_fractional import *  # noqa: F403
from .functional_fractional import __all__ as _fractional
from .functional_grid import *  # noqa: F403
from .functional_grid import __all__ as _grid
from .functional_loss import *  # noqa: F403
from .functional_loss import __all__ as _loss
from .functional_norm import *  # noqa: F403
from .functional_norm import __all__ as _norm
from .functional_pool import *  # noqa: F403
from .functional_pool import __all__ as _pool
from .functional_regression import *  # noqa: F403
from .functional_regression import __all__ as _regression
from .functional_sparse import *  # noqa: F403
from .functional_sparse import __all__ as _sparse
from .functional_vision import *  # noqa: F403
from .functional_vision import __all__ as _vision

__all__ = sorted([
    *_activation, *_attention, *_conv, *_ctc, *_dropout, *_fractional, *_grid, *_loss, *_norm, *_pool, *_regression,
    *_sparse, *_vision, pdist.__name__,
])
results.install(sys.modules[__name__])
