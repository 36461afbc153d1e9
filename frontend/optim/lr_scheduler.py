"""Learning rates over time: schedules that write ``lr`` into the groups of an optimizer.

This module only collects the names, as ``torch.optim.lr_scheduler`` has them. ``lr_base.py`` has the base class,
``lr_decay.py`` the schedules along a formula, ``lr_cycles.py`` those that go up and down, and ``lr_composition.py``
those made of others and the one that reacts to a metric.
"""

from flamework.optim.lr_base import LRScheduler
from flamework.optim.lr_composition import ChainedScheduler, ReduceLROnPlateau, SequentialLR
from flamework.optim.lr_cycles import CosineAnnealingWarmRestarts, CyclicLR, OneCycleLR
from flamework.optim.lr_decay import (
    ConstantLR,
    CosineAnnealingLR,
    ExponentialLR,
    LambdaLR,
    LinearLR,
    MultiplicativeLR,
    MultiStepLR,
    PolynomialLR,
    StepLR,
)

# The name of the base class before PyTorch 2.0, which old scripts subclass.
_LRScheduler = LRScheduler

__all__ = [
    "ChainedScheduler",
    "ConstantLR",
    "CosineAnnealingLR",
    "CosineAnnealingWarmRestarts",
    "CyclicLR",
    "ExponentialLR",
    "LRScheduler",
    "LambdaLR",
    "LinearLR",
    "MultiStepLR",
    "MultiplicativeLR",
    "OneCycleLR",
    "PolynomialLR",
    "ReduceLROnPlateau",
    "SequentialLR",
    "StepLR",
]
