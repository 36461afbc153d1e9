"""Schedules that raise the learning rate and lower it again: once, in cycles, or with restarts.

Two of them move the momentum (or Adam's first beta) against the learning rate.

In: an optimizer and the shape of the cycle. Out: its groups' ``lr`` and momentum. Read ``lr_base.py`` first.
"""

from __future__ import annotations

import math
import types
from collections.abc import Callable
from typing import Any

from flamework.optim.lr_base import (
    LRScheduler,
    check_optimizer,
    per_group,
    set_group_value,
)
from flamework.optim.optimizer import Optimizer
from flamework.tensor import Tensor


class _WithMomentum(LRScheduler):
    """A schedule which can cycle the momentum, or the first beta of optimizers that have betas."""

    cycle_momentum: bool
    use_beta1: bool

    def _start_momentum(self, base: list[float], highest: list[float], last_epoch: int) -> None:
        if last_epoch == -1:
            for group, low, high in zip(self.optimizer.param_groups, base, highest, strict=True):
                self._set_momentum(group, high)
                group["max_momentum"] = high
                group["base_momentum"] = low

    def _check_momentum(self) -> None:
        defaults = self.optimizer.defaults
        if "momentum" not in defaults and "betas" not in defaults:
            raise ValueError("optimizer must support momentum or beta1 with `cycle_momentum` option enabled")
        self.use_beta1 = "betas" in defaults

    def _set_momentum(self, group: dict[str, Any], momentum: float) -> None:
        if self.use_beta1:
            group["betas"] = (momentum, *group["betas"][1:])
        else:
            group["momentum"] = momentum


class CyclicLR(_WithMomentum):
    """The learning rate goes in lines between two bounds, up and down; the upper bound can shrink.

    Args:
        base_lr, max_lr: the bounds, or one for each group.
        step_size_up, step_size_down: steps of each half; the second is like the first when left out.
        mode: "triangular" keeps the height, "triangular2" halves it after each cycle, "exp_range" multiplies it by
            ``gamma`` to the number of steps.
        gamma: see ``mode``.
        scale_fn: another height, a function of the cycle's number or of the step; ``mode`` is not used then.
        scale_mode: which of both, "cycle" or "iterations".
        cycle_momentum: move the momentum from ``max_momentum`` down to ``base_momentum`` and back meanwhile.
        base_momentum, max_momentum: its bounds, or one for each group.
        optimizer, last_epoch: see ``LRScheduler``.

    Raises:
        ValueError: an unknown ``mode``, lists of another length than the groups, or no momentum to be cycled.

    Smith, "Cyclical learning rates for training neural networks" (2015). As ``torch.optim.lr_scheduler.CyclicLR``.

    Example:
        >>> import flamework
        >>> optimizer = flamework.optim.SGD([flamework.nn.Parameter(flamework.ones(1))], lr=1.0, momentum=0.9)
        >>> schedule = flamework.optim.lr_scheduler.CyclicLR(optimizer, 0.0, 1.0, step_size_up=2)
        >>> optimizer.step()
        >>> schedule.step()
        >>> schedule.get_last_lr()
        [0.5]
    """

    def __init__(self, optimizer: Optimizer, base_lr: float | list[float], max_lr: float | list[float],
                 step_size_up: int = 2000, step_size_down: int | None = None, mode: str = "triangular",
                 gamma: float = 1.0, scale_fn: Callable[[float], float] | None = None, scale_mode: str = "cycle",
                 cycle_momentum: bool = True, base_momentum: float | list[float] = 0.8,
                 max_momentum: float | list[float] = 0.9, last_epoch: int = -1) -> None:
        check_optimizer(optimizer)
        self.optimizer = optimizer
        base_lrs = per_group("base_lr", optimizer, base_lr)
        if last_epoch == -1:
            for group, rate in zip(optimizer.param_groups, base_lrs, strict=True):
                set_group_value(group, "lr", rate)
        self.max_lrs = per_group("max_lr", optimizer, max_lr)
        up = float(step_size_up)
        down = up if step_size_down is None else float(step_size_down)
        self.total_size = up + down
        self.step_ratio = up / self.total_size
        if scale_fn is None and mode not in ("triangular", "triangular2", "exp_range"):
            raise ValueError("mode is invalid and scale_fn is None")
        self.mode = mode
        self.gamma = gamma
        self._scale_fn_custom = scale_fn
        if scale_fn is None:
            scale_mode = "iterations" if mode == "exp_range" else "cycle"
        self.scale_mode = scale_mode
        self.cycle_momentum = cycle_momentum
        if cycle_momentum:
            self._check_momentum()
            self.base_momentums = per_group("base_momentum", optimizer, base_momentum)
            self.max_momentums = per_group("max_momentum", optimizer, max_momentum)
            self._start_momentum(self.base_momentums, self.max_momentums, last_epoch)
        super().__init__(optimizer, last_epoch)
        self.base_lrs = base_lrs

    def scale_fn(self, x: float) -> float:
        """Return the height of cycle, or of step, ``x``."""
        if self._scale_fn_custom is not None:
            return self._scale_fn_custom(x)
        if self.mode == "triangular2":
            return 1 / 2.0 ** (x - 1)
        return self.gamma**x if self.mode == "exp_range" else 1.0

    def get_lr(self) -> list[float | Tensor]:
        self._warn_outside_step()
        cycle = math.floor(1 + self.last_epoch / self.total_size)
        x = 1.0 + self.last_epoch / self.total_size - cycle
        position = x / self.step_ratio if x <= self.step_ratio else (x - 1) / (self.step_ratio - 1)
        height = self.scale_fn(cycle if self.scale_mode == "cycle" else self.last_epoch)
        if self.cycle_momentum:
            for group, low, high in zip(self.optimizer.param_groups, self.base_momentums, self.max_momentums,
                                        strict=True):
                self._set_momentum(group, high - (high - low) * position * height)
        # The constructor's first step runs before base_lrs is its own; group["lr"] is the lower bound then.
        return [low + (high - low) * position * height
                for low, high in zip(self.base_lrs, self.max_lrs, strict=True)]

    def state_dict(self) -> dict[str, Any]:
        """Return everything but the optimizer; of ``scale_fn`` only the attributes of a callable object."""
        state = super().state_dict()
        function = state["_scale_fn_custom"]
        plain = function is None or isinstance(function, types.FunctionType)
        state["_scale_fn_custom"] = None if plain else function.__dict__.copy()
        return state

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over what ``state_dict`` returned; ``scale_fn`` stays the constructor's."""
        attributes = state_dict["_scale_fn_custom"]
        super().load_state_dict({key: value for key, value in state_dict.items() if key != "_scale_fn_custom"})
        if attributes is not None:
            self._scale_fn_custom.__dict__.update(attributes)


class OneCycleLR(_WithMomentum):
    """One rise from a small learning rate to ``max_lr`` and a fall to a much smaller one.

    Args:
        max_lr: the largest rate, or one for each group.
        total_steps: length of the schedule; or ``epochs`` times ``steps_per_epoch``.
        pct_start: the part of the steps that rise, a float.
        anneal_strategy: "cos" or "linear".
        cycle_momentum: move the momentum from ``max_momentum`` down to ``base_momentum`` and back meanwhile.
        base_momentum, max_momentum: its bounds, or one for each group.
        div_factor: the first rate is max_lr / div_factor.
        final_div_factor: the last rate is the first one / final_div_factor.
        three_phase: fall to the first rate in as many steps as the rise takes, then on to the last.
        optimizer, last_epoch: see ``LRScheduler``.

    Raises:
        ValueError: no length, a number out of its range, no momentum to be cycled, or a step after the last one.

    Smith and Topin, "Super-convergence" (2017). As ``torch.optim.lr_scheduler.OneCycleLR``.

    Example:
        >>> import flamework
        >>> optimizer = flamework.optim.SGD([flamework.nn.Parameter(flamework.ones(1))], lr=1.0, momentum=0.9)
        >>> schedule = flamework.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=1.0, total_steps=10)
        >>> [round(rate, 6) for rate in schedule.get_last_lr()]
        [0.04]
    """

    def __init__(self, optimizer: Optimizer, max_lr: float | list[float], total_steps: int | None = None,
                 epochs: int | None = None, steps_per_epoch: int | None = None, pct_start: float = 0.3,
                 anneal_strategy: str = "cos", cycle_momentum: bool = True,
                 base_momentum: float | list[float] = 0.85, max_momentum: float | list[float] = 0.95,
                 div_factor: float = 25.0, final_div_factor: float = 1e4, three_phase: bool = False,
                 last_epoch: int = -1) -> None:
        check_optimizer(optimizer)
        self.optimizer = optimizer
        if total_steps is not None:
            self.total_steps = _positive("total_steps", total_steps)
        elif epochs is not None and steps_per_epoch is not None:
            self.total_steps = _positive("epochs", epochs) * _positive("steps_per_epoch", steps_per_epoch)
        else:
            raise ValueError("You must define either total_steps OR (epochs AND steps_per_epoch)")
        if not isinstance(pct_start, float) or not 0 <= pct_start <= 1:
            raise ValueError(f"Expected float between 0 and 1 pct_start, but got {pct_start}")
        if anneal_strategy not in ("cos", "linear"):
            raise ValueError(f"anneal_strategy must be one of 'cos' or 'linear', instead got {anneal_strategy}")
        self._anneal_func_type = anneal_strategy
        self._schedule_phases = _phases(pct_start * self.total_steps, self.total_steps, three_phase)
        max_lrs = per_group("max_lr", optimizer, max_lr)
        if last_epoch == -1:
            for group, highest in zip(optimizer.param_groups, max_lrs, strict=True):
                group["initial_lr"] = highest / div_factor
                group["max_lr"] = highest
                group["min_lr"] = group["initial_lr"] / final_div_factor
        self.cycle_momentum = cycle_momentum
        if cycle_momentum:
            self._check_momentum()
            self._start_momentum(per_group("base_momentum", optimizer, base_momentum),
                                 per_group("max_momentum", optimizer, max_momentum), last_epoch)
        super().__init__(optimizer, last_epoch)

    def _between(self, start: float, end: float, part: float) -> float:
        if self._anneal_func_type == "linear":
            return (end - start) * part + start
        return end + (start - end) / 2.0 * (math.cos(math.pi * part) + 1)

    def get_lr(self) -> list[float | Tensor]:
        self._warn_outside_step()
        if self.last_epoch > self.total_steps:
            raise ValueError(f"Tried to step {self.last_epoch} times. The specified number of total steps is "
                             f"{self.total_steps}")
        start = 0.0
        for phase in self._schedule_phases:
            if self.last_epoch <= phase["end_step"]:
                break
            if phase is not self._schedule_phases[-1]:
                start = phase["end_step"]
        part = (self.last_epoch - start) / (phase["end_step"] - start)
        rates = []
        for group in self.optimizer.param_groups:
            rates.append(self._between(group[phase["start_lr"]], group[phase["end_lr"]], part))
            if self.cycle_momentum:
                self._set_momentum(group, self._between(group[phase["start_momentum"]], group[phase["end_momentum"]],
                                                        part))
        return rates


def _positive(name: str, value: int) -> int:
    if not isinstance(value, int) or value <= 0:
        raise ValueError(f"Expected positive integer {name}, but got {value}")
    return value


def _phases(rise: float, total: int, three_phase: bool) -> list[dict[str, Any]]:
    """List the phases: when each ends, and the keys of the groups from which and to which it goes."""
    corners = [(float(rise) - 1, "max_lr", "base_momentum")]
    if three_phase:
        corners.append((float(2 * rise) - 2, "initial_lr", "max_momentum"))
    corners.append((total - 1, "min_lr", "max_momentum"))
    phases = []
    rate, momentum = "initial_lr", "max_momentum"
    for end, next_rate, next_momentum in corners:
        phases.append({"end_step": end, "start_lr": rate, "end_lr": next_rate, "start_momentum": momentum,
                       "end_momentum": next_momentum})
        rate, momentum = next_rate, next_momentum
    return phases


class CosineAnnealingWarmRestarts(LRScheduler):
    """Half a cosine from the initial learning rate down to ``eta_min``, again and again, each ``T_mult`` times longer.

    Args:
        T_0: steps to the first restart.
        T_mult: the factor on the number of steps after each.
        eta_min: the smallest rate.
        optimizer, last_epoch: see ``LRScheduler``.

    ``step`` takes fractions of epochs too. Loshchilov and Hutter, "SGDR: stochastic gradient descent with warm
    restarts" (2016). As ``torch.optim.lr_scheduler.CosineAnnealingWarmRestarts``.

    Raises:
        ValueError: a number out of its range, or a negative epoch.
    """

    def __init__(self, optimizer: Optimizer, T_0: int, T_mult: int = 1, eta_min: float = 0.0,
                 last_epoch: int = -1) -> None:
        if not isinstance(T_0, int) or T_0 <= 0:
            raise ValueError(f"Expected positive integer T_0, but got {T_0}")
        if not isinstance(T_mult, int) or T_mult < 1:
            raise ValueError(f"Expected integer T_mult >= 1, but got {T_mult}")
        if not isinstance(eta_min, float | int):
            raise ValueError(f"Expected float or int eta_min, but got {eta_min} of type {type(eta_min)}")
        self.T_0 = T_0
        self.T_i = T_0
        self.T_mult = T_mult
        self.eta_min = eta_min
        self.T_cur = last_epoch
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float | Tensor]:
        self._warn_outside_step()
        height = (1 + math.cos(math.pi * self.T_cur / self.T_i)) / 2
        return [self.eta_min + (base - self.eta_min) * height for base in self.base_lrs]

    def step(self, epoch: float | None = None) -> None:
        """Advance by one step, or jump to ``epoch``, which may be a fraction."""
        if epoch is None and self.last_epoch >= 0:
            epoch = self.last_epoch + 1
            self.T_cur += 1
            if self.T_cur >= self.T_i:
                self.T_cur %= self.T_i
                self.T_i *= self.T_mult
        else:
            epoch = 0 if epoch is None else epoch
            self._jump(epoch)
        self.last_epoch = math.floor(epoch)
        self._get_lr_called_within_step = True
        try:
            rates = self.get_lr()
        finally:
            self._get_lr_called_within_step = False
        self._set_rates(rates)

    def _jump(self, epoch: float) -> None:
        if epoch < 0:
            raise ValueError(f"Expected non-negative epoch, but got {epoch}")
        if epoch < self.T_0:
            self.T_cur, self.T_i = epoch, self.T_0
        elif self.T_mult == 1:
            self.T_cur = epoch % self.T_0
        else:
            restarts = int(math.log(epoch / self.T_0 * (self.T_mult - 1) + 1, self.T_mult))
            self.T_cur = epoch - self.T_0 * (self.T_mult**restarts - 1) / (self.T_mult - 1)
            self.T_i = self.T_0 * self.T_mult**restarts
