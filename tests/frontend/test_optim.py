"""Optimizers and schedules take PyTorch's steps, to the rounding of float32, and save PyTorch's dictionaries."""

import copy
import pickle

import flamework
import numpy as np
import pytest
from flamework.compiler.composite import call
from flamework.compiler.ir import topological
from flamework.optim.optimizer import Optimizer, required
from flamework.recording import node_of
from same_as_torch import array, assert_same, plain

OPTIMIZERS = {
    "SGD": lambda optim, p: optim.SGD(p, lr=0.1),
    "SGD, momentum": lambda optim, p: optim.SGD(p, lr=0.1, momentum=0.9),
    "SGD, dampening": lambda optim, p: optim.SGD(p, lr=0.1, momentum=0.9, dampening=0.3, weight_decay=0.01),
    "SGD, nesterov": lambda optim, p: optim.SGD(p, lr=0.1, momentum=0.8, nesterov=True, weight_decay=0.01),
    "SGD, maximize": lambda optim, p: optim.SGD(p, lr=0.1, weight_decay=0.1, maximize=True),
    "SGD, fused": lambda optim, p: optim.SGD(p, lr=0.1, weight_decay=0.1, fused=True),
    "Adam": lambda optim, p: optim.Adam(p, lr=0.02),
    "Adam, decay": lambda optim, p: optim.Adam(p, lr=0.02, betas=(0.7, 0.95), eps=1e-5, weight_decay=0.1),
    "Adam, amsgrad": lambda optim, p: optim.Adam(p, lr=0.02, amsgrad=True),
    "Adam, maximize": lambda optim, p: optim.Adam(p, lr=0.02, maximize=True, foreach=True),
    "Adam, decoupled": lambda optim, p: optim.Adam(p, lr=0.02, weight_decay=0.1, decoupled_weight_decay=True),
    "AdamW": lambda optim, p: optim.AdamW(p, lr=0.02),
    "AdamW, all": lambda optim, p: optim.AdamW(p, 0.02, (0.8, 0.9), 1e-6, 0.2, True, maximize=True),
}
SHAPES = [(4, 3), (5,), ()]


def parameters(torch, dtype="float32"):
    return [torch.nn.Parameter(torch.tensor(np.asarray(array(*shape, seed=i), dtype=dtype)))
            for i, shape in enumerate(SHAPES)]


def give_gradients(torch, params, step, skip=()):
    for i, parameter in enumerate(params):
        values = np.asarray(array(*SHAPES[i], seed=100 * step + i))
        parameter.grad = None if i in skip else torch.tensor(values).to(parameter.dtype)


def train(torch, optimizer, params, steps, start=0):
    for step in range(start, start + steps):
        # The last parameter gets no gradient in two of the steps.
        give_gradients(torch, params, step, skip=(2,) if step in (0, 3) else ())
        optimizer.step()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_steps_are_pytorchs(name, dtype):
    def script(torch):
        params = parameters(torch, dtype)
        optimizer = OPTIMIZERS[name](torch.optim, params)
        train(torch, optimizer, params, 8)
        return params
    assert_same(script, rtol=1e-6 if dtype == "float32" else 1e-13, atol=1e-7 if dtype == "float32" else 1e-14)


@pytest.mark.parametrize("name", ["SGD", "SGD, nesterov", "Adam, amsgrad", "AdamW"])
def test_training_a_model_is_pytorchs(name):
    def script(torch):
        nn = torch.nn
        model = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 1))
        with torch.no_grad():
            for i, parameter in enumerate(model.parameters()):
                parameter.copy_(torch.tensor(array(*parameter.shape, seed=i)))
        optimizer = OPTIMIZERS[name](torch.optim, model.parameters())
        x, y = torch.tensor(array(16, 4, seed=8)), torch.tensor(array(16, 1, seed=9))
        losses = []
        for _ in range(5):
            optimizer.zero_grad()
            loss = nn.MSELoss()(model(x), y)
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        return np.array(losses), list(model.parameters())
    assert_same(script, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["SGD", "SGD, momentum", "SGD, nesterov", "Adam", "Adam, amsgrad", "AdamW"])
def test_parameters_of_several_dtypes_take_the_steps_that_each_takes_alone(name):
    def trained(together):
        params = [flamework.nn.Parameter(flamework.tensor(array(4, seed=i)).to(dtype)) for i, dtype in enumerate(
            (flamework.float32, flamework.float64, flamework.bfloat16, flamework.float32, flamework.float64))]
        groups = [params] if together else [[param] for param in params]
        optimizers = [OPTIMIZERS[name](flamework.optim, group) for group in groups]
        for step in range(4):
            for i, param in enumerate(params):
                # one begins later, with a count of steps and a velocity of its own
                param.grad = None if i == 3 and step < 2 else flamework.tensor(array(4, seed=i)).to(param.dtype) * step
            for optimizer in optimizers:
                optimizer.step()
        return [param.tolist() for param in params]
    assert trained(True) == trained(False)


@pytest.mark.parametrize("name", ["SGD", "SGD, momentum", "Adam", "AdamW"])
@pytest.mark.parametrize("memory, compiled", [("a tensor's", False), ("a tensor's", True), ("NumPy's", False)])
def test_parameters_that_share_memory_are_updated_one_after_another(name, memory, compiled):
    def script(torch):
        if memory == "NumPy's":
            whole = array(3)
            halves = [torch.from_numpy(whole[:2]), torch.from_numpy(whole[1:])]
        else:
            whole = torch.tensor(array(3))
            halves = [whole[:2].detach(), whole[1:].detach()]
        params = [half.requires_grad_() for half in halves]
        optimizer = OPTIMIZERS[name](torch.optim, params)
        step = flamework.compile(optimizer.step, fullgraph=False) if compiled and torch is flamework else optimizer.step
        for _ in range(3):
            for param in params:
                param.grad = torch.ones(2)
            step()
        return torch.as_tensor(whole), *params
    assert_same(script, rtol=1e-6, atol=1e-7)


def test_step_is_one_formula_for_all_parameters():
    params = [flamework.nn.Parameter(flamework.tensor(array(n))) for n in (2, 3, 4)]
    optimizer = flamework.optim.Adam(params)
    for param in params:
        param.grad = flamework.ones_like(param)
    optimizer.step()
    calls = {node for node in topological([node_of(param) for param in params]) if node.op is call}
    assert len(calls) == 1


def test_looking_at_one_parameter_computes_all_once():
    params = [flamework.nn.Parameter(flamework.tensor(array(n))) for n in (2, 3, 4)]
    optimizer = flamework.optim.SGD(params, lr=1.0)
    before = [param.tolist() for param in params]
    for param in params:
        param.grad = flamework.ones_like(param)
    optimizer.step()
    after = [params[0].tolist()]
    launched = flamework.counters()["kernels_launched"]
    after += [param.tolist() for param in params[1:]]
    assert flamework.counters()["kernels_launched"] == launched
    assert [[x - 1 for x in values] for values in before] == [pytest.approx(values) for values in after]


def test_groups_have_their_own_hyperparameters_and_rates_can_change():
    def script(torch):
        params = parameters(torch)
        optimizer = torch.optim.SGD([{"params": params[:1], "lr": 0.5}, {"params": params[1:2]}], lr=0.1, momentum=0.9)
        train(torch, optimizer, params, 2)
        optimizer.add_param_group({"params": params[2], "weight_decay": 0.1})
        optimizer.param_groups[0]["lr"] = 0.01
        train(torch, optimizer, params, 2, start=5)
        return params, [group["lr"] for group in optimizer.param_groups]
    assert_same(script)


def test_rate_may_be_a_tensor():
    def script(torch):
        params = parameters(torch)
        rate = torch.tensor(0.1)
        optimizer = torch.optim.Adam(params, lr=rate)
        train(torch, optimizer, params, 2)
        schedule = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.5)
        train(torch, optimizer, params, 1, start=4)
        schedule.step()
        train(torch, optimizer, params, 1, start=5)
        return params, rate
    assert_same(script)


def test_closure_runs_with_gradients_and_gives_the_loss():
    def script(torch):
        parameter = torch.nn.Parameter(torch.tensor([3.0]))
        optimizer = torch.optim.SGD([parameter], lr=0.25)

        def closure():
            optimizer.zero_grad()
            loss = (parameter * parameter).sum()
            loss.backward()
            return loss

        with torch.no_grad():
            return [optimizer.step(closure).item() for _ in range(3)], parameter
    assert_same(script)


def test_updates_keep_parameters_leaves_and_leave_gradients():
    parameter = flamework.nn.Parameter(flamework.ones(2))
    alias = parameter.detach()
    optimizer = flamework.optim.Adam([parameter], lr=0.5)
    parameter.grad = flamework.ones(2)
    optimizer.step()
    assert parameter.is_leaf
    assert parameter.requires_grad
    assert parameter.grad.tolist() == [1.0, 1.0]
    assert alias.tolist() == parameter.tolist() != [1.0, 1.0]


def test_zero_grad_drops_or_clears():
    def script(torch):
        params = parameters(torch)
        optimizer = torch.optim.SGD(params, lr=0.1, momentum=0.9)
        train(torch, optimizer, params, 1, start=1)
        optimizer.zero_grad(set_to_none=False)
        cleared = [p.grad.tolist() for p in params]
        optimizer.step()
        optimizer.zero_grad()
        return cleared, [p.grad for p in params], params
    assert_same(script)


def test_scheduled_training_step_computes_once_and_compiles_nothing_new():
    from flamework.runtime.counters import counters

    model = flamework.nn.Sequential(flamework.nn.Linear(4, 8), flamework.nn.ReLU(), flamework.nn.Linear(8, 1))
    optimizer = flamework.optim.AdamW(model.parameters(), lr=0.1)
    schedule = flamework.optim.lr_scheduler.CosineAnnealingLR(optimizer, 50)
    x = flamework.tensor(array(16, 4))

    def step():
        optimizer.zero_grad()
        loss = model(x).square().mean()
        loss.backward()
        optimizer.step()
        schedule.step()
        return loss.item()

    # The first two steps differ: state is created, then updated.
    for _ in range(3):
        step()
    before = counters()
    for _ in range(4):
        step()
    after = counters()
    assert after["materialisations"] - before["materialisations"] == 4
    assert after["plans_built"] == before["plans_built"]
    assert after["kernels_compiled"] == before["kernels_compiled"]


# --------------------------------------------------------------------------------------------------- saving, loading


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_state_dict_holds_what_pytorchs_holds(name):
    def script(torch):
        params = parameters(torch)
        optimizer = OPTIMIZERS[name](torch.optim, params)
        train(torch, optimizer, params, 4)
        saved = optimizer.state_dict()
        groups = [{key: value for key, value in group.items() if key not in ("capturable", "differentiable")}
                  for group in saved["param_groups"]]
        state = dict(sorted(saved["state"].items()))
        return [sorted(group.items()) for group in groups], state
    assert_same(script)


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("direction", ["ours to theirs", "theirs to ours"])
def test_state_continues_in_the_other_package(name, direction):
    torch = pytest.importorskip("torch")
    source, target = (flamework, torch) if direction == "ours to theirs" else (torch, flamework)

    def tensors(value, package):
        if isinstance(value, dict):
            return {key: tensors(item, package) for key, item in value.items()}
        if isinstance(value, list):
            return [tensors(item, package) for item in value]
        return package.tensor(value) if isinstance(value, np.ndarray) else value

    params = parameters(source)
    optimizer = OPTIMIZERS[name](source.optim, params)
    train(source, optimizer, params, 4)
    saved = optimizer.state_dict()
    moved = {"state": tensors(plain(saved["state"]), target), "param_groups": copy.deepcopy(saved["param_groups"])}

    others = [target.nn.Parameter(target.tensor(value)) for value in plain(params)]
    continued = OPTIMIZERS[name](target.optim, others)
    continued.load_state_dict(moved)
    train(source, optimizer, params, 3, start=4)
    train(target, continued, others, 3, start=4)
    for ours, theirs in zip(plain(params), plain(others), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-6, atol=1e-7)


def test_loaded_state_is_not_shared():
    first, second = parameters(flamework), parameters(flamework)
    source = flamework.optim.SGD(first, lr=0.1, momentum=0.9)
    train(flamework, source, first, 2)
    target = flamework.optim.SGD(second, lr=0.1, momentum=0.9)
    target.load_state_dict(source.state_dict())
    before = source.state[first[0]]["momentum_buffer"].tolist()
    train(flamework, target, second, 2, start=5)
    assert source.state[first[0]]["momentum_buffer"].tolist() == before


def test_count_of_steps_is_a_number_inside_and_a_float_tensor_outside():
    params = parameters(flamework)
    optimizer = flamework.optim.Adam(params)
    train(flamework, optimizer, params, 2, start=1)
    assert optimizer.state[params[0]]["step"] == 2
    assert isinstance(optimizer.state[params[0]]["step"], int)
    step = optimizer.state_dict()["state"][0]["step"]
    assert step.dtype is flamework.float32
    assert step.item() == 2.0


@pytest.mark.parametrize("copier", [copy.deepcopy, lambda value: pickle.loads(pickle.dumps(value))])
def test_copies_continue_alike(copier):
    params = parameters(flamework)
    optimizer = flamework.optim.AdamW(params, lr=0.1)
    train(flamework, optimizer, params, 2)
    twin = copier(optimizer)
    copies = twin.param_groups[0]["params"]
    train(flamework, optimizer, params, 2, start=2)
    train(flamework, twin, copies, 2, start=2)
    for ours, theirs in zip(plain(params), plain(copies), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_representation_is_pytorchs():
    def script(torch):
        optimizer = torch.optim.SGD(parameters(torch), lr=0.1)
        lines = repr(optimizer).split("\n")
        return [line for line in lines if "differentiable" not in line]
    assert_same(script)


LOADING_ERRORS = {
    "another number of groups": lambda optim, p: optim.SGD([{"params": p[:1]}, {"params": p[1:]}], lr=0.1),
    "another number of parameters": lambda optim, p: optim.SGD(p[:2], lr=0.1),
}


@pytest.mark.parametrize("case", LOADING_ERRORS)
def test_loading_what_does_not_fit_is_refused(case):
    def script(torch):
        state = torch.optim.SGD(parameters(torch), lr=0.1).state_dict()
        LOADING_ERRORS[case](torch.optim, parameters(torch)).load_state_dict(state)
    assert_same(script)


ERRORS = {
    "a tensor": lambda torch, p: torch.optim.SGD(p[0], lr=0.1),
    "nothing": lambda torch, p: torch.optim.SGD([], lr=0.1),
    "a set": lambda torch, p: torch.optim.SGD([{"params": set(p)}], lr=0.1),
    "numbers": lambda torch, p: torch.optim.SGD([1, 2], lr=0.1),
    "a result": lambda torch, p: torch.optim.SGD([p[0] * 2], lr=0.1),
    "twice": lambda torch, p: torch.optim.SGD([{"params": p}, {"params": p[:1]}], lr=0.1),
    "a group that is a list": lambda torch, p: torch.optim.SGD(p, lr=0.1).add_param_group(p),
    "negative rate": lambda torch, p: torch.optim.SGD(p, lr=-0.1),
    "negative momentum": lambda torch, p: torch.optim.SGD(p, momentum=-0.1),
    "negative decay": lambda torch, p: torch.optim.SGD(p, weight_decay=-0.1),
    "nesterov": lambda torch, p: torch.optim.SGD(p, nesterov=True),
    "rate of two": lambda torch, p: torch.optim.SGD(p, lr=torch.ones(2)),
    "adam rate": lambda torch, p: torch.optim.Adam(p, lr=-0.1),
    "adam beta": lambda torch, p: torch.optim.Adam(p, betas=(0.9, 1.0)),
    "adam epsilon": lambda torch, p: torch.optim.Adam(p, eps=-1.0),
    "adam decay": lambda torch, p: torch.optim.AdamW(p, weight_decay=-1.0),
    "two implementations": lambda torch, p: torch.optim.Adam(p, foreach=True, fused=True),
    "some names": lambda torch, p: torch.optim.SGD([("a", p[0]), p[1]], lr=0.1),
    "names in one group": lambda torch, p: torch.optim.SGD([("a", p[0])], lr=0.1).add_param_group({"params": p[1:]}),
}


@pytest.mark.parametrize("case", ERRORS)
def test_errors_have_pytorchs_type_and_text(case):
    assert_same(lambda torch: ERRORS[case](torch, parameters(torch)) and None)


def test_missing_hyperparameter_without_a_default_is_refused():
    with pytest.raises(ValueError, match="required optimization parameter lr"):
        Optimizer(parameters(flamework), {"lr": required})
    assert Optimizer([{"params": parameters(flamework), "lr": 1}], {"lr": required}).param_groups[0]["lr"] == 1


def test_duplicates_in_a_group_warn():
    parameter = flamework.nn.Parameter(flamework.ones(1))
    with pytest.warns(UserWarning, match="duplicate parameters"):
        flamework.optim.SGD([parameter, parameter], lr=0.1)


def test_named_parameters_keep_their_names():
    def script(torch):
        layer = torch.nn.Linear(2, 2)
        optimizer = torch.optim.SGD(layer.named_parameters(), lr=0.1)
        return optimizer.state_dict()["param_groups"][0]["param_names"]
    assert_same(script)


def test_step_hooks_run_once_around_the_outermost_step():
    log = []

    class Careful(flamework.optim.SGD):
        def step(self, closure=None):
            log.append("step")
            return super().step(closure)

    optimizer = Careful([flamework.nn.Parameter(flamework.ones(1))], lr=0.1)
    optimizer.register_step_pre_hook(lambda optimizer, args, kwargs: log.append("before"))
    handle = optimizer.register_step_post_hook(lambda optimizer, args, kwargs: log.append("after"))
    optimizer.step()
    handle.remove()
    optimizer.step()
    assert log == ["before", "step", "after", "before", "step"]


def test_own_optimizer():
    def script(torch):
        class Signs(torch.optim.Optimizer):
            def __init__(self, params, lr):
                super().__init__(params, {"lr": lr})

            def step(self):
                with torch.no_grad():
                    for group in self.param_groups:
                        for parameter in group["params"]:
                            self.state[parameter].setdefault("seen", parameter.grad.clone())
                            parameter.sub_(parameter.grad.sign() * group["lr"])

        params = parameters(torch)
        optimizer = Signs(params, 0.1)
        give_gradients(torch, params, 1)
        optimizer.step()
        return params, optimizer.state_dict()
    assert_same(script)
