"""``flamework.utils``: what belongs to no other part, with the names of ``torch.utils``.

In: functions of tensors. Out: the same, with another use of memory. Read ``checkpoint.py``.
"""

from flamework.utils import checkpoint

__all__ = ["checkpoint"]
