"""``flamework.utils.dlpack``: memory shared with other libraries, with the names of ``torch.utils.dlpack``.

In: tensors. Out: capsules, and tensors made from them. Read ``flamework/sharing.py``.
"""

from ..sharing import DLDeviceType, from_dlpack, to_dlpack

__all__ = ["DLDeviceType", "from_dlpack", "to_dlpack"]
