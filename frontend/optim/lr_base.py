"""The base class of the learning-rate schedules, and what they share.

A scheduler counts calls of ``step`` and after each one sets every group's learning rate. A subclass writes ``get_lr``,
which returns one rate per group. Most are written as PyTorch writes them, as a factor on the current rate, so that
several can act on one optimizer; ``_get_closed_form_lr`` is the same schedule as a function of the count, for
``step(epoch)``. All of it is arithmetic on Python numbers: a kernel gets the rate as an argument.

In: an optimizer. Out: its groups' ``lr``. Read ``lr_decay.py`` next.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from flamework.optim.optimizer import Optimizer, as_number
from flamework.origin import warn
from flamework.tensor import Tensor

EPOCH_WARNING = ("The epoch parameter in `scheduler.step()` is deprecated: call `scheduler.step()` without it. With an "
                 "epoch the closed form of the schedule is used, where there is one, instead of the chainable form.")
ORDER_WARNING = ("Detected call of `lr_scheduler.step()` before `optimizer.step()`. Call `optimizer.step()` first, or "
                 "the first value of the learning rate schedule is skipped.")


class LRScheduler:
    """Base class: counts the calls of ``step`` and asks the subclass's ``get_lr`` for one learning rate per group.

    Args:
        optimizer: whose groups are changed.
        last_epoch: the count to resume from; -1 starts, and makes the current rates the initial ones.

    Raises:
        TypeError: ``optimizer`` is no Optimizer.
        KeyError: resuming, and a group has no ``initial_lr``.

    As ``torch.optim.lr_scheduler.LRScheduler``.
    """

    # True while the constructor makes the first step, in which a factor must not be applied.
    _is_initial = False
    _get_lr_called_within_step = False

    def __init__(self, optimizer: Optimizer, last_epoch: int = -1) -> None:
        check_optimizer(optimizer)
        self.optimizer = optimizer
        for i, group in enumerate(optimizer.param_groups):
            if last_epoch == -1:
                group.setdefault("initial_lr", copied(group["lr"]))
            elif "initial_lr" not in group:
                raise KeyError(f"param 'initial_lr' is not specified in param_groups[{i}] when resuming scheduler with "
                               "last_epoch >= 0. Load the optimizer's state first, or start with last_epoch=-1.")
        self.base_lrs = group_values(optimizer, "initial_lr")
        self.last_epoch = last_epoch
        self._initial_step()

    def _initial_step(self) -> None:
        self._step_count = 0
        self._is_initial = True
        try:
            self.step()
        finally:
            self._is_initial = False

    def state_dict(self) -> dict[str, Any]:
        """Return everything but the optimizer."""
        return {key: value for key, value in self.__dict__.items() if key != "optimizer"}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over what ``state_dict`` returned."""
        self.__dict__.update(state_dict)

    def get_last_lr(self) -> list[float | Tensor]:
        """Return the learning rates that the last ``step`` set, one per group."""
        return self._last_lr

    def step(self, epoch: int | None = None) -> None:
        """Advance the count and set the learning rates; call it after ``optimizer.step()``.

        Args:
            epoch: the count to jump to, which is deprecated.
        """
        if self._step_count == 1 and not self.optimizer._opt_called:
            warn(ORDER_WARNING)
        self._step_count += 1
        if epoch is not None:
            warn(EPOCH_WARNING)
        self._update_lr(epoch)

    def _update_lr(self, epoch: int | None = None) -> None:
        self._get_lr_called_within_step = True
        try:
            if epoch is None:
                self.last_epoch += 1
                rates = self.get_lr()
            else:
                self.last_epoch = epoch
                rates = self._get_closed_form_lr() if hasattr(self, "_get_closed_form_lr") else self.get_lr()
        finally:
            self._get_lr_called_within_step = False
        self._set_rates(rates)

    def _set_rates(self, rates: Iterable[float | Tensor]) -> None:
        for group, rate in zip(self.optimizer.param_groups, rates, strict=True):
            set_group_value(group, "lr", rate)
        self._last_lr = group_values(self.optimizer, "lr")

    def _current(self) -> list[float | Tensor]:
        return group_values(self.optimizer, "lr")

    def _times(self, factor: float) -> list[float | Tensor]:
        return [group["lr"] * factor for group in self.optimizer.param_groups]

    def _warn_outside_step(self) -> None:
        if not self._get_lr_called_within_step:
            warn("To get the last learning rate computed by the scheduler, please use `get_last_lr()`.")


def check_optimizer(optimizer: Any) -> None:
    """Raise TypeError unless ``optimizer`` is an Optimizer."""
    if not isinstance(optimizer, Optimizer):
        raise TypeError(f"{type(optimizer).__name__} is not an Optimizer")


def copied(value: Any) -> Any:
    """Return a tensor's copy, and anything else itself."""
    return value.clone() if isinstance(value, Tensor) else value


def group_values(optimizer: Optimizer, key: str) -> list[Any]:
    """Return the value under ``key`` in each group."""
    return [copied(group[key]) for group in optimizer.param_groups]


def set_group_value(group: dict[str, Any], key: str, value: float | Tensor) -> None:
    """Replace a hyperparameter; one that is a tensor stays the same tensor."""
    if isinstance(group[key], Tensor):
        group[key].fill_(as_number(value))
    else:
        group[key] = value


def per_group(name: str, optimizer: Optimizer, value: Any) -> list[Any]:
    """Return one value per group: a list as it is, anything else repeated; ValueError for another length."""
    count = len(optimizer.param_groups)
    if not isinstance(value, list | tuple):
        return [copied(value) for _ in range(count)]
    if len(value) != count:
        raise ValueError(f"{name} must have the same length as optimizer.param_groups. {name} has {len(value)} values, "
                         f"param_groups has {count}.")
    return [copied(item) for item in value]
