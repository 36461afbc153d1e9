"""``flamework.utils``: what belongs to no other part, with the names of ``torch.utils``.

In: functions of tensors, and tensors. Out: the same with another use of memory, or with memory that others share. Read
``checkpoint.py`` and ``dlpack.py``.
"""

from flamework.utils import checkpoint, dlpack

__all__ = ["checkpoint", "dlpack"]
