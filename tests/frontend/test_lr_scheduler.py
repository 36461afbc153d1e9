"""Learning-rate schedules are PyTorch's exactly: the same arithmetic on Python numbers."""

import copy
import math
import warnings

import flamework
import numpy as np
import pytest
from same_as_torch import array, assert_same

SCHEDULES = {
    "LambdaLR": lambda s, o: s.LambdaLR(o, lambda epoch: 0.9**epoch),
    "LambdaLR, each": lambda s, o: s.LambdaLR(o, [lambda epoch: 1 / (epoch + 1), lambda epoch: epoch]),
    "MultiplicativeLR": lambda s, o: s.MultiplicativeLR(o, lambda epoch: 1 - 0.01 * epoch),
    "StepLR": lambda s, o: s.StepLR(o, 3, gamma=0.3),
    "MultiStepLR": lambda s, o: s.MultiStepLR(o, [2, 5, 5, 11], gamma=0.3),
    "ConstantLR": lambda s, o: s.ConstantLR(o, 0.4, 4),
    "LinearLR": lambda s, o: s.LinearLR(o, 0.2, 0.7, 6),
    "ExponentialLR": lambda s, o: s.ExponentialLR(o, 0.9),
    "PolynomialLR": lambda s, o: s.PolynomialLR(o, 7, 1.5),
    "CosineAnnealingLR": lambda s, o: s.CosineAnnealingLR(o, 5, eta_min=0.01),
    "CosineAnnealingWarmRestarts": lambda s, o: s.CosineAnnealingWarmRestarts(o, 3, 2, eta_min=0.01),
    "CyclicLR": lambda s, o: s.CyclicLR(o, 0.01, 0.2, step_size_up=3, step_size_down=4),
    "CyclicLR, halved": lambda s, o: s.CyclicLR(o, [0.01, 0.02], [0.2, 0.3], 3, mode="triangular2",
                                                cycle_momentum=False),
    "CyclicLR, exponential": lambda s, o: s.CyclicLR(o, 0.01, 0.2, 3, mode="exp_range", gamma=0.9),
    "CyclicLR, function": lambda s, o: s.CyclicLR(o, 0.01, 0.2, 3, scale_fn=lambda x: 1 / x, scale_mode="cycle"),
    "OneCycleLR": lambda s, o: s.OneCycleLR(o, 0.5, total_steps=20),
    "OneCycleLR, linear": lambda s, o: s.OneCycleLR(o, [0.5, 0.4], epochs=4, steps_per_epoch=5, pct_start=0.2,
                                                    anneal_strategy="linear", three_phase=True, div_factor=10.0),
    "SequentialLR": lambda s, o: s.SequentialLR(
        o, [s.ConstantLR(o, 0.1, 3), s.CosineAnnealingLR(o, 6), s.ExponentialLR(o, 0.9)], [4, 9]),
    "ChainedScheduler": lambda s, o: s.ChainedScheduler([s.ConstantLR(o, 0.1, 3), s.ExponentialLR(o, 0.9)]),
}
WITH_CLOSED_FORM = ["StepLR", "MultiStepLR", "ConstantLR", "LinearLR", "ExponentialLR", "PolynomialLR",
                    "CosineAnnealingLR", "CosineAnnealingWarmRestarts", "LambdaLR"]


def two_groups(torch, kind="SGD"):
    first, second = (torch.nn.Parameter(torch.zeros(1)) for _ in range(2))
    groups = [{"params": [first]}, {"params": [second], "lr": 0.3}]
    if kind == "SGD":
        return torch.optim.SGD(groups, lr=0.1, momentum=0.9)
    return torch.optim.Adam(groups, lr=0.1)


def observed(optimizer):
    return [(group["lr"], group.get("momentum"), group.get("betas")) for group in optimizer.param_groups]


@pytest.mark.parametrize("kind", ["SGD", "Adam"])
@pytest.mark.parametrize("name", SCHEDULES)
def test_schedule_is_pytorchs_exactly(name, kind):
    def script(torch):
        optimizer = two_groups(torch, kind)
        schedule = SCHEDULES[name](torch.optim.lr_scheduler, optimizer)
        rates = [observed(optimizer)]
        for _ in range(19):
            optimizer.step()
            schedule.step()
            rates.append((observed(optimizer), schedule.get_last_lr(), schedule.last_epoch
                          if hasattr(schedule, "last_epoch") else None))
        return rates
    assert_same(script)


@pytest.mark.filterwarnings("ignore:The epoch parameter")
@pytest.mark.parametrize("name", WITH_CLOSED_FORM)
def test_schedule_jumps_to_an_epoch(name):
    def script(torch):
        optimizer = two_groups(torch)
        schedule = SCHEDULES[name](torch.optim.lr_scheduler, optimizer)
        optimizer.step()
        rates = []
        for epoch in (4, 1, 13, 0):
            schedule.step(epoch)
            rates.append(observed(optimizer))
        schedule.step()
        return rates, observed(optimizer)
    assert_same(script)


@pytest.mark.parametrize("name", SCHEDULES)
def test_schedule_resumes_from_its_state(name):
    def script(torch):
        optimizer = two_groups(torch)
        schedule = SCHEDULES[name](torch.optim.lr_scheduler, optimizer)
        for _ in range(6):
            optimizer.step()
            schedule.step()
        saved = copy.deepcopy(schedule.state_dict())
        other = two_groups(torch)
        resumed = SCHEDULES[name](torch.optim.lr_scheduler, other)
        other.load_state_dict(optimizer.state_dict())
        resumed.load_state_dict(saved)
        rates = []
        for _ in range(6):
            other.step()
            resumed.step()
            rates.append(observed(other))
        kept = {key: value for key, value in saved.items() if not key.startswith("_")}
        return rates, sorted(kept.items())
    assert_same(script)


def test_state_of_a_callable_object_travels():
    class Factor:
        def __init__(self, base):
            self.base = base

        def __call__(self, epoch):
            return self.base**epoch

    scheduler = flamework.optim.lr_scheduler
    optimizer = two_groups(flamework)
    saved = scheduler.LambdaLR(optimizer, Factor(0.5)).state_dict()
    resumed = scheduler.LambdaLR(optimizer, Factor(0.9))
    resumed.load_state_dict(saved)
    assert resumed.lr_lambdas[0].base == 0.5


PLATEAUS = {
    "default": {"patience": 2},
    "max": {"mode": "max", "patience": 1},
    "absolute": {"threshold_mode": "abs", "threshold": 0.05, "patience": 1, "cooldown": 2},
    "max, absolute": {"mode": "max", "threshold_mode": "abs", "threshold": 0.05, "patience": 1},
    "limited": {"patience": 0, "factor": 0.5, "min_lr": [0.02, 0.2]},
    "small steps": {"patience": 0, "factor": 0.999, "eps": 0.0002},
}


@pytest.mark.parametrize("case", PLATEAUS)
def test_plateaus_reduce_the_rate(case):
    def script(torch):
        optimizer = two_groups(torch)
        schedule = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, **PLATEAUS[case])
        rates = []
        for i, metric in enumerate(np.abs(array(24, seed=3)).tolist()):
            schedule.step(torch.tensor(metric) if i % 2 else metric)
            rates.append((observed(optimizer), schedule.num_bad_epochs, schedule.cooldown_counter))
        return rates, schedule.get_last_lr()
    assert_same(script)


def test_plateau_resumes_and_follows_new_groups():
    def script(torch):
        optimizer = two_groups(torch)
        schedule = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, patience=0)
        schedule.step(1.0)
        other = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, patience=0)
        other.load_state_dict(schedule.state_dict())
        optimizer.add_param_group({"params": [torch.nn.Parameter(torch.ones(1))]})
        other.step(2.0)
        return observed(optimizer), other.best
    assert_same(script)


def test_schedule_resumes_from_an_epoch():
    def script(torch):
        optimizer = two_groups(torch)
        for group in optimizer.param_groups:
            group["initial_lr"] = group["lr"]
        return torch.optim.lr_scheduler.StepLR(optimizer, 2, last_epoch=3).get_last_lr()
    assert_same(script)


def test_schedules_multiply_when_they_share_an_optimizer():
    def script(torch):
        optimizer = two_groups(torch)
        scheduler = torch.optim.lr_scheduler
        schedules = [scheduler.ExponentialLR(optimizer, 0.9), scheduler.StepLR(optimizer, 2)]
        for _ in range(5):
            optimizer.step()
            for schedule in schedules:
                schedule.step()
        return observed(optimizer)
    assert_same(script)


SCHEDULE_ERRORS = {
    "no optimizer": lambda s, o: s.StepLR(3, 1),
    "too many functions": lambda s, o: s.LambdaLR(o, [abs]),
    "no function": lambda s, o: s.MultiplicativeLR(o, 3),
    "constant factor": lambda s, o: s.ConstantLR(o, 2.0),
    "start factor": lambda s, o: s.LinearLR(o, 0.0),
    "end factor": lambda s, o: s.LinearLR(o, 0.5, 2.0),
    "restart length": lambda s, o: s.CosineAnnealingWarmRestarts(o, 0),
    "restart factor": lambda s, o: s.CosineAnnealingWarmRestarts(o, 1, 0),
    "restart minimum": lambda s, o: s.CosineAnnealingWarmRestarts(o, 1, 1, "a"),
    "restart epoch": lambda s, o: s.CosineAnnealingWarmRestarts(o, 1).step(-1),
    "cycle mode": lambda s, o: s.CyclicLR(o, 0.1, 0.2, mode="square"),
    "cycle length": lambda s, o: s.CyclicLR(o, [0.1], 0.2),
    "one cycle length": lambda s, o: s.OneCycleLR(o, 0.1),
    "one cycle steps": lambda s, o: s.OneCycleLR(o, 0.1, total_steps=-1),
    "one cycle part": lambda s, o: s.OneCycleLR(o, 0.1, total_steps=5, pct_start=2.0),
    "one cycle strategy": lambda s, o: s.OneCycleLR(o, 0.1, total_steps=5, anneal_strategy="square"),
    "plateau factor": lambda s, o: s.ReduceLROnPlateau(o, factor=1.0),
    "plateau mode": lambda s, o: s.ReduceLROnPlateau(o, mode="mean"),
    "plateau threshold": lambda s, o: s.ReduceLROnPlateau(o, threshold_mode="mean"),
    "plateau minimum": lambda s, o: s.ReduceLROnPlateau(o, min_lr=[0.1]),
    "empty sequence": lambda s, o: s.SequentialLR(o, [], []),
    "milestones": lambda s, o: s.SequentialLR(o, [s.ExponentialLR(o, 0.9)], [1]),
    "plateau in a sequence": lambda s, o: s.SequentialLR(o, [s.ReduceLROnPlateau(o)], []),
    "number in a chain": lambda s, o: s.ChainedScheduler([s.ExponentialLR(o, 0.9), 3]),
    "empty chain": lambda s, o: s.ChainedScheduler([]),
}


@pytest.mark.parametrize("case", SCHEDULE_ERRORS)
def test_schedule_errors_have_pytorchs_type_and_text(case):
    assert_same(lambda torch: SCHEDULE_ERRORS[case](torch.optim.lr_scheduler, two_groups(torch)))


def test_resuming_without_initial_rates_is_refused():
    with pytest.raises(KeyError, match="initial_lr"):
        flamework.optim.lr_scheduler.StepLR(two_groups(flamework), 2, last_epoch=3)


def test_step_past_the_end_of_one_cycle_is_refused():
    def script(torch):
        optimizer = two_groups(torch)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.1, total_steps=2)
        for _ in range(4):
            optimizer.step()
            schedule.step()
    assert_same(script)


def test_cycling_the_momentum_of_an_optimizer_without_is_refused():
    class Plain(flamework.optim.Optimizer):
        pass

    optimizer = Plain([flamework.nn.Parameter(flamework.ones(1))], {"lr": 0.1})
    with pytest.raises(ValueError, match="must support momentum"):
        flamework.optim.lr_scheduler.CyclicLR(optimizer, 0.1, 0.2)


def test_warnings_tell_the_order_of_steps():
    optimizer = two_groups(flamework)
    schedule = flamework.optim.lr_scheduler.StepLR(optimizer, 2)
    with pytest.warns(UserWarning, match=r"before `optimizer.step\(\)`"):
        schedule.step()
    with pytest.warns(UserWarning, match="get_last_lr"):
        schedule.get_lr()
    with pytest.warns(UserWarning, match="epoch parameter"):
        schedule.step(3)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        optimizer.step()
        schedule.step()


def test_infinite_metrics_never_improve():
    schedule = flamework.optim.lr_scheduler.ReduceLROnPlateau(two_groups(flamework), patience=0)
    schedule.step(math.nan)
    assert schedule.best == math.inf
    assert schedule.num_bad_epochs == 0
    assert schedule.get_last_lr()[0] == pytest.approx(0.01)
