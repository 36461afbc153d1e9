"""Schedules made of other schedules, one after the other or together, and the one that watches a metric.

In: schedules, or an optimizer and a metric at each step. Out: the optimizer's ``lr``. Read ``lr_base.py`` first.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence
from typing import Any, SupportsFloat

from flamework.optim.lr_base import EPOCH_WARNING, LRScheduler, check_optimizer, group_values, set_group_value
from flamework.optim.optimizer import Optimizer
from flamework.origin import warn


class _Composite(LRScheduler):
    """A schedule that owns others of the same optimizer."""

    _schedulers: list[LRScheduler]

    def _check_parts(self, schedulers: Sequence[LRScheduler], optimizer: Optimizer) -> None:
        name = type(self).__name__
        for i, scheduler in enumerate(schedulers):
            if not hasattr(scheduler, "optimizer"):
                raise TypeError(f"{name} at index {i} should have `optimizer` as its attribute.")
            if isinstance(scheduler, ReduceLROnPlateau):
                raise ValueError(f"{name} does not support `ReduceLROnPlateau` scheduler as it requires additional "
                                 f"kwargs to be specified when calling `step`, but got one at index {i} in the given "
                                 "schedulers sequence.")
            if scheduler.optimizer is not optimizer:
                raise ValueError(f"{name} expects all schedulers to belong to the same optimizer, but got scheduler "
                                 f"{type(scheduler).__name__} at index {i} which belongs to another.")

    def state_dict(self) -> dict[str, Any]:
        """Return everything but the optimizer, with the states of the parts."""
        return super().state_dict() | {"_schedulers": [part.state_dict() for part in self._schedulers]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over what ``state_dict`` returned, in the parts too."""
        super().load_state_dict({key: value for key, value in state_dict.items() if key != "_schedulers"})
        for part, state in zip(self._schedulers, state_dict["_schedulers"], strict=True):
            part.load_state_dict(state)


class SequentialLR(_Composite):
    """One schedule after the other.

    Args:
        schedulers: the schedules in order, all of ``optimizer``.
        milestones: the counts at which the second, the third, ... begins.
        optimizer, last_epoch: see ``LRScheduler``.

    Raises:
        ValueError: no schedules, another number of milestones, or schedules that do not fit together.
        TypeError: something else than schedules.

    As ``torch.optim.lr_scheduler.SequentialLR``.

    Example:
        >>> import flamework
        >>> from flamework.optim import lr_scheduler
        >>> optimizer = flamework.optim.SGD([flamework.nn.Parameter(flamework.ones(1))], lr=1.0)
        >>> warm = lr_scheduler.ConstantLR(optimizer, factor=0.5, total_iters=2)
        >>> decay = lr_scheduler.ExponentialLR(optimizer, gamma=0.5)
        >>> schedule = lr_scheduler.SequentialLR(optimizer, [warm, decay], milestones=[2])
        >>> schedule.get_last_lr()
        [0.5]
    """

    def __init__(self, optimizer: Optimizer, schedulers: list[LRScheduler], milestones: list[int],
                 last_epoch: int = -1) -> None:
        if len(schedulers) < 1:
            raise ValueError(f"{type(self).__name__} expects at least one scheduler, but got no scheduler.")
        self._check_parts(schedulers, optimizer)
        if len(milestones) != len(schedulers) - 1:
            raise ValueError("Sequential Schedulers expects number of schedulers provided to be one more than the "
                             f"number of milestone points, but got number of schedulers {len(schedulers)} and the "
                             f"number of milestones to be equal to {len(milestones)}")
        self._schedulers = schedulers
        self._milestones = milestones
        self.last_epoch = last_epoch + 1
        self.optimizer = optimizer
        # Every part took its first step when it was made. Undo them all, and repeat that of the first part only.
        for group in optimizer.param_groups:
            set_group_value(group, "lr", group["initial_lr"])
        self.recursive_undo()
        first = schedulers[bisect_right(milestones, 0)]
        first._initial_step()
        self._last_lr = first.get_last_lr()

    def recursive_undo(self, sched: LRScheduler | None = None) -> None:
        """Take back one step of a schedule, or of the parts of a composite one."""
        schedule = self if sched is None else sched
        if hasattr(schedule, "_schedulers"):
            for part in schedule._schedulers:
                self.recursive_undo(part)
        elif hasattr(schedule, "last_epoch"):
            schedule.last_epoch -= 1

    def step(self) -> None:
        """Advance the count and step the schedule whose turn it is."""
        self.last_epoch += 1
        turn = bisect_right(self._milestones, self.last_epoch)
        schedule = self._schedulers[turn]
        if turn > 0 and self._milestones[turn - 1] == self.last_epoch:
            schedule._update_lr(0)
        else:
            schedule.step()
        self._last_lr = schedule.get_last_lr()


class ChainedScheduler(_Composite):
    """Several schedules at once: each step steps them all, so that their factors multiply.

    Args:
        schedulers: the schedules.
        optimizer: theirs; the first one's when left out.

    Raises:
        ValueError: no schedules, or schedules that do not fit together.
        TypeError: something else than schedules.

    As ``torch.optim.lr_scheduler.ChainedScheduler``.
    """

    def __init__(self, schedulers: Sequence[LRScheduler], optimizer: Optimizer | None = None) -> None:
        if len(schedulers) < 1:
            raise ValueError(f"{type(self).__name__} expects at least one scheduler to be chained, but got no "
                             "scheduler.")
        optimizer = schedulers[0].optimizer if optimizer is None else optimizer
        self._check_parts(schedulers, optimizer)
        self._schedulers = list(schedulers)
        self.optimizer = optimizer
        self._last_lr = group_values(optimizer, "lr")

    def step(self) -> None:
        """Step every schedule."""
        for schedule in self._schedulers:
            schedule.step()
        self._last_lr = group_values(self.optimizer, "lr")


class ReduceLROnPlateau(LRScheduler):
    """The learning rate times ``factor`` when a metric has stopped improving.

    Args:
        optimizer: whose groups are changed.
        mode: "min" if smaller is better, "max" if larger is.
        factor: less than 1.
        patience: number of steps without improvement that are accepted.
        threshold: what counts as an improvement.
        threshold_mode: whether ``threshold`` is relative to the best value, "rel", or not, "abs".
        cooldown: number of steps after a reduction that do not count.
        min_lr: the smallest rate, or one for each group.
        eps: smaller reductions are left out.

    Raises:
        ValueError: ``factor`` or a mode out of range, or another number of ``min_lr`` than groups.
        TypeError: ``optimizer`` is no Optimizer.

    As ``torch.optim.lr_scheduler.ReduceLROnPlateau``.

    Example:
        >>> import flamework
        >>> optimizer = flamework.optim.SGD([flamework.nn.Parameter(flamework.ones(1))], lr=1.0)
        >>> schedule = flamework.optim.lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.5, patience=0)
        >>> for loss in (3.0, 3.0):
        ...     schedule.step(loss)
        >>> schedule.get_last_lr()
        [0.5]
    """

    def __init__(self, optimizer: Optimizer, mode: str = "min", factor: float = 0.1, patience: int = 10,
                 threshold: float = 1e-4, threshold_mode: str = "rel", cooldown: int = 0,
                 min_lr: float | list[float] = 0, eps: float = 1e-8) -> None:
        if factor >= 1.0:
            raise ValueError("Factor should be < 1.0.")
        if mode not in ("min", "max"):
            raise ValueError(f"mode {mode} is unknown!")
        if threshold_mode not in ("rel", "abs"):
            raise ValueError(f"threshold mode {threshold_mode} is unknown!")
        check_optimizer(optimizer)
        self.optimizer = optimizer
        count = len(optimizer.param_groups)
        self.default_min_lr = None if isinstance(min_lr, list | tuple) else min_lr
        self.min_lrs = [min_lr] * count if self.default_min_lr is not None else list(min_lr)
        if len(self.min_lrs) != count:
            raise ValueError(f"expected {count} min_lrs, got {len(self.min_lrs)}")
        self.mode = mode
        self.factor = factor
        self.patience = patience
        self.threshold = threshold
        self.threshold_mode = threshold_mode
        self.cooldown = cooldown
        self.eps = eps
        self.last_epoch = 0
        self.mode_worse = math.inf if mode == "min" else -math.inf
        self.best = self.mode_worse
        self.cooldown_counter = 0
        self.num_bad_epochs = 0
        self._last_lr = group_values(optimizer, "lr")

    @property
    def in_cooldown(self) -> bool:
        """Whether steps do not count because the rate was reduced a short while ago."""
        return self.cooldown_counter > 0

    def step(self, metrics: SupportsFloat, epoch: int | None = None) -> None:
        """Take the metric into account, and reduce the learning rates if it has stopped improving.

        Args:
            metrics: a number, or a tensor of one element, which is read and so materialised.
            epoch: the count to jump to, which is deprecated.
        """
        current = float(metrics)
        if epoch is None:
            epoch = self.last_epoch + 1
        else:
            warn(EPOCH_WARNING)
        self.last_epoch = epoch
        if self._is_better(current):
            self.best = current
            self.num_bad_epochs = 0
        else:
            self.num_bad_epochs += 1
        if self.in_cooldown:
            self.cooldown_counter -= 1
            self.num_bad_epochs = 0
        if self.num_bad_epochs > self.patience:
            self._reduce()
            self.cooldown_counter = self.cooldown
            self.num_bad_epochs = 0
        self._last_lr = group_values(self.optimizer, "lr")

    def _is_better(self, value: float) -> bool:
        if self.threshold_mode == "abs":
            return value < self.best - self.threshold if self.mode == "min" else value > self.best + self.threshold
        if self.mode == "min":
            return value < self.best * (1.0 - self.threshold)
        return value > self.best * (1.0 + self.threshold)

    def _reduce(self) -> None:
        groups = self.optimizer.param_groups
        if len(groups) != len(self.min_lrs):
            if self.default_min_lr is None:
                raise RuntimeError(f"The number of param groups in the `optimizer` ({len(groups)}) differs from when "
                                   f"`ReduceLROnPlateau` was initialized ({len(self.min_lrs)}), usually due to a new "
                                   "param group being added to the optimizer. Please modify the `min_lrs` field to "
                                   "match the length of the `optimizer` param groups.")
            self.min_lrs = [self.default_min_lr] * len(groups)
        for group, lowest in zip(groups, self.min_lrs, strict=True):
            before = float(group["lr"])
            after = max(before * self.factor, lowest)
            if before - after > self.eps:
                set_group_value(group, "lr", after)
