"""``flamework.optim``: optimizers and schedules of their learning rates, with the names of ``torch.optim``.

In: the parameters of a model and their gradients. Out: parameters updated in place. Read ``optimizer.py`` first.
"""

from flamework.optim import lr_scheduler
from flamework.optim.adam import Adam, AdamW
from flamework.optim.optimizer import Optimizer
from flamework.optim.sgd import SGD

__all__ = ["SGD", "Adam", "AdamW", "Optimizer", "lr_scheduler"]
