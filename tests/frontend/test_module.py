"""``nn.Module`` and the containers behave as PyTorch's: the same programs run with both packages."""

import copy
import io
import pickle
import warnings

import flamework
import pytest
from same_as_torch import assert_same, small_model


def assign(name, value):
    def script(torch):
        module = torch.nn.Module()
        module.weight = torch.nn.Parameter(torch.zeros(2))
        module.child = torch.nn.ReLU()
        module.register_buffer("mean", torch.zeros(2))
        module.register_buffer("hidden", torch.zeros(2), persistent=False)
        module.plain = 1
        setattr(module, name, value(torch))
        return (list(module._parameters), list(module._buffers), list(module._modules),
                sorted(module._non_persistent_buffers_set), "plain" in module.__dict__,
                type(getattr(module, name)).__name__, list(module.state_dict()))
    return script


VALUES = {
    "parameter": lambda torch: torch.nn.Parameter(torch.ones(2)),
    "tensor": lambda torch: torch.ones(2),
    "module": lambda torch: torch.nn.Tanh(),
    "none": lambda torch: None,
    "number": lambda torch: 3,
}


@pytest.mark.parametrize("name", ["weight", "child", "mean", "hidden", "plain", "fresh"])
@pytest.mark.parametrize("value", VALUES)
def test_assignment_registers_replaces_or_refuses(name, value):
    # The text names the module's class with its path, which is another one here.
    assert_same(assign(name, VALUES[value]), messages=value != "module")


@pytest.mark.parametrize("name", ["weight", "child", "mean", "hidden", "plain", "absent"])
def test_deletion_unregisters(name):
    def script(torch):
        module = torch.nn.Module()
        module.weight = torch.nn.Parameter(torch.zeros(2))
        module.child = torch.nn.ReLU()
        module.register_buffer("mean", torch.zeros(2))
        module.register_buffer("hidden", torch.zeros(2), persistent=False)
        module.plain = 1
        delattr(module, name)
        return (hasattr(module, name), list(module._parameters), list(module._buffers), list(module._modules),
                sorted(module._non_persistent_buffers_set))
    assert_same(script, messages=name != "absent")


def assigned_early(torch, value):
    class Early(torch.nn.Module):
        def __init__(self):
            self.part = value

    return Early()


REFUSALS = {
    "parameter before init": lambda torch, m: assigned_early(torch, torch.nn.Parameter(torch.ones(1))),
    "module before init": lambda torch, m: assigned_early(torch, torch.nn.ReLU()),
    "parameter is a number": lambda torch, m: m.register_parameter("w", 3),
    "parameter is a tensor": lambda torch, m: m.register_parameter("w", torch.ones(1)),
    "parameter name empty": lambda torch, m: m.register_parameter("", None),
    "parameter name taken": lambda torch, m: m.register_parameter("forward", None),
    "parameter name a number": lambda torch, m: m.register_parameter(3, None),
    "buffer name empty": lambda torch, m: m.register_buffer("", None),
    "buffer name taken": lambda torch, m: m.register_buffer("train", None),
    "buffer is a number": lambda torch, m: m.register_buffer("b", 3),
    "module is a number": lambda torch, m: m.add_module("m", 3),
    "module name empty": lambda torch, m: m.add_module("", None),
    "module name with a dot": lambda torch, m: m.add_module("a.b", None),
    "module name taken": lambda torch, m: m.add_module("train", None),
    "missing attribute": lambda torch, m: m.absent,
    "missing submodule": lambda torch, m: m.get_submodule("child.absent"),
    "submodule is no module": lambda torch, m: m.get_submodule("training"),
    "missing parameter": lambda torch, m: m.get_parameter("child.absent"),
    "parameter is no parameter": lambda torch, m: m.get_parameter("child"),
    "buffer is no buffer": lambda torch, m: m.get_buffer("child"),
    "set without a name": lambda torch, m: m.set_submodule("", m),
    "set strictly what is missing": lambda torch, m: m.set_submodule("absent", torch.nn.ReLU(), strict=True),
    "mode is a number": lambda torch, m: m.train(1),
    "cast to integers": lambda torch, m: m.to(torch.int64),
    "arguments to the constructor": lambda torch, m: torch.nn.Module(1),
    "keywords to the constructor": lambda torch, m: torch.nn.Module(a=1),
}


@pytest.mark.parametrize("refusal", REFUSALS)
def test_errors_have_pytorchs_type_and_text(refusal):
    def script(torch):
        module = torch.nn.Module()
        module.child = torch.nn.ReLU()
        return REFUSALS[refusal](torch, module)
    assert_same(script)


@pytest.mark.parametrize("register", ["register_parameter", "register_buffer"])
def test_dotted_names_are_refused(register):
    with pytest.raises(KeyError, match="name can.* contain"):
        getattr(flamework.nn.Module(), register)("a.b", None)


def test_calling_a_module_without_forward_is_refused():
    with pytest.raises(RuntimeError, match=r'Module \[Module\] is missing the required "forward" function'):
        flamework.nn.Module()(1)


def test_non_leaf_is_refused_as_parameter():
    module = flamework.nn.Module()
    result = flamework.nn.Parameter(flamework.ones(2)) * 2
    with pytest.raises(TypeError, match="cannot assign"):
        module.register_parameter("w", result)


def test_walks_yield_each_object_once_under_its_first_name():
    def script(torch):
        model = small_model(torch)
        return {
            "modules": [(name, type(module).__name__) for name, module in model.named_modules()],
            "all modules": [name for name, _ in model.named_modules(remove_duplicate=False)],
            "children": [name for name, _ in model.named_children()],
            "parameters": [name for name, _ in model.named_parameters()],
            "all parameters": [name for name, _ in model.named_parameters(remove_duplicate=False)],
            "own parameters": [name for name, _ in model.tied.named_parameters("prefix", recurse=False)],
            "buffers": [name for name, _ in model.named_buffers()],
            "counts": [len(list(walk)) for walk in (model.modules(), model.children(), model.parameters(),
                                                    model.parameters(recurse=False), model.buffers())],
            "by name": [type(model.get_submodule("body.2.0")).__name__, tuple(model.get_parameter("first.bias").shape),
                        tuple(model.get_buffer("norm.running_mean").shape), model.get_submodule("") is model],
        }
    assert_same(script)


def test_apply_visits_children_first():
    def script(torch):
        visited = []
        model = small_model(torch)
        assert model.apply(lambda module: visited.append(type(module).__name__)) is model
        return visited
    assert_same(script)


def test_set_submodule_replaces_in_the_parent():
    def script(torch):
        model = small_model(torch)
        model.set_submodule("body.2.0", torch.nn.Tanh())
        return repr(model)
    assert_same(script)


REPRESENTATIONS = {
    "empty": lambda torch: torch.nn.Module(),
    "model": small_model,
    "runs in a list": lambda torch: torch.nn.ModuleList(
        [torch.nn.Linear(2, 2), torch.nn.Linear(2, 2), torch.nn.Sequential(torch.nn.ReLU()), torch.nn.ReLU()]),
    "empty list": lambda torch: torch.nn.ModuleList(),
    "dictionary": lambda torch: torch.nn.ModuleDict({"a": torch.nn.ReLU(), "b": torch.nn.ModuleDict()}),
    "parameter list": lambda torch: torch.nn.ParameterList([torch.ones(2, 3), torch.nn.Parameter(torch.ones(1)), 3]),
    "parameter dictionary": lambda torch: torch.nn.ParameterDict({"b": torch.ones(2, 3), "a": "text"}),
    "own lines": lambda torch: type("Own", (torch.nn.Module,), {"extra_repr": lambda self: "a=1\nb=2"})(),
}


@pytest.mark.parametrize("case", REPRESENTATIONS)
def test_representation_is_pytorchs(case):
    def script(torch):
        # A parameter's type is all that may differ in name between the packages.
        return repr(REPRESENTATIONS[case](torch)).replace(flamework.nn.Parameter.__module__, "torch.nn.parameter")
    assert_same(script)


def test_dir_lists_what_was_registered_but_no_numbers():
    model = small_model(flamework)
    names = dir(model)
    assert {"first", "tied", "training", "forward"} <= set(names)
    assert not any(name[0].isdigit() for name in dir(model.body))
    assert {"running_mean", "weight"} <= set(dir(model.norm))


# ------------------------------------------------------------------------------------------------ modes and dtypes


def test_training_mode_reaches_all_descendants():
    def script(torch):
        model = small_model(torch)
        before = [module.training for module in model.modules()]
        assert model.eval() is model
        return before, [module.training for module in model.modules()], model.train().training
    assert_same(script)


CASTS = {
    "double": lambda torch, m: m.double(),
    "float": lambda torch, m: m.double().float(),
    "half": lambda torch, m: m.half(),
    "bfloat16": lambda torch, m: m.bfloat16().float(),
    "to dtype": lambda torch, m: m.to(torch.float64),
    "to keyword": lambda torch, m: m.to(dtype=torch.float64),
    "to device and dtype": lambda torch, m: m.to("cpu", torch.float64),
    "to device": lambda torch, m: m.to("cpu"),
    "to tensor": lambda torch, m: m.to(torch.zeros(1, dtype=torch.float64)),
    "cpu": lambda torch, m: m.cpu(),
    "type": lambda torch, m: m.type(torch.float64),
}


@pytest.mark.parametrize("cast", CASTS)
def test_casting_changes_floating_point_values_in_place(cast):
    def script(torch):
        model = small_model(torch)
        model.first.weight.grad = torch.ones(4, 3)
        parameter = model.first.weight
        assert CASTS[cast](torch, model) is model
        assert model.first.weight is parameter
        return {name: (str(value.dtype), value) for name, value in model.state_dict().items()}, parameter.grad
    assert_same(script)


def test_memory_format_is_for_images_only():
    def script(torch):
        model = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 2), torch.nn.Linear(3, 2))
        model.to(memory_format=torch.channels_last)
        return model[0].weight.stride(), model[1].weight.stride()
    assert_same(script)


def test_requires_grad_and_zero_grad():
    def script(torch):
        model = small_model(torch)
        model(torch.ones(2, 3)) if False else model.first(torch.ones(2, 3)).sum().backward()
        kept = model.first.weight.grad
        model.zero_grad(set_to_none=False)
        zeroed = kept.tolist()
        model.zero_grad()
        model.requires_grad_(False)
        return zeroed, model.first.weight.grad, [p.requires_grad for p in model.parameters()]
    assert_same(script)


# -------------------------------------------------------------------------------------------------- saving, loading


def test_state_dict_names_values_and_versions():
    def script(torch):
        state = small_model(torch).state_dict()
        prefixed = small_model(torch).state_dict(prefix="net.")
        return state, list(prefixed), {key: dict(value) for key, value in state._metadata.items()}
    assert_same(script)


def test_state_dict_shares_storage_and_keep_vars_keeps_parameters():
    layer = flamework.nn.Linear(2, 2)
    state = layer.state_dict()
    with flamework.no_grad():
        layer.weight.fill_(3.0)
    assert state["weight"].tolist() == [[3.0, 3.0], [3.0, 3.0]]
    assert not state["weight"].requires_grad
    assert layer.state_dict(keep_vars=True)["weight"] is layer.weight


def edit_nothing(state, torch):
    pass


def edit_missing(state, torch):
    del state["first.bias"], state["norm.running_mean"]


def edit_unexpected(state, torch):
    state["first.extra"] = torch.ones(1)
    state["other.weight"] = torch.ones(1)


def edit_shape(state, torch):
    state["first.bias"] = torch.ones(7)
    state["body.0.weight"] = torch.ones(2, 2)


def edit_all(state, torch):
    edit_missing(state, torch)
    edit_unexpected(state, torch)
    edit_shape(state, torch)


def edit_old_scalar(state, torch):
    state["norm.num_batches_tracked"] = torch.tensor([7])


@pytest.mark.parametrize("strict", [True, False])
@pytest.mark.parametrize("edit", [edit_nothing, edit_missing, edit_unexpected, edit_shape, edit_all, edit_old_scalar])
def test_loading_reports_what_does_not_fit(edit, strict):
    def script(torch):
        source, target = small_model(torch), small_model(torch)
        with torch.no_grad():
            for parameter in source.parameters():
                parameter.fill_(0.5)
        state = source.state_dict()
        edit(state, torch)
        result = target.load_state_dict(state, strict=strict)
        return repr(result), list(result.missing_keys), list(result.unexpected_keys), target.state_dict()
    assert_same(script)


def test_loading_something_else_than_a_mapping_is_refused():
    assert_same(lambda torch: torch.nn.Linear(1, 1).load_state_dict([1]))


def test_loading_with_assign_takes_the_tensors_over():
    layer = flamework.nn.Linear(2, 2).requires_grad_(False)
    entries = {"weight": flamework.ones(2, 2), "bias": flamework.nn.Parameter(flamework.ones(2))}
    layer.load_state_dict(entries, assign=True)
    assert layer.bias is entries["bias"]
    assert isinstance(layer.weight, flamework.nn.Parameter)
    assert not layer.weight.requires_grad
    assert layer.weight.tolist() == [[1.0, 1.0], [1.0, 1.0]]


def test_batch_norm_loads_a_state_from_before_its_count():
    layer = flamework.nn.BatchNorm1d(2)
    state = {name: value for name, value in layer.state_dict().items() if name != "num_batches_tracked"}
    assert layer.load_state_dict(state).missing_keys == []


def test_extra_state_travels_with_the_dictionary():
    def script(torch):
        class WithExtra(torch.nn.Module):
            extra = 1

            def get_extra_state(self):
                return {"extra": self.extra}

            def set_extra_state(self, state):
                self.extra = state["extra"]

        source, target = WithExtra(), WithExtra()
        source.extra = 5
        target.load_state_dict(source.state_dict())
        missing = target.load_state_dict({}, strict=False)
        unexpected = torch.nn.Module().load_state_dict(source.state_dict(), strict=False)
        return target.extra, list(missing.missing_keys), list(unexpected.unexpected_keys), source.state_dict()
    assert_same(script)


def test_state_dict_hooks_run_in_order():
    def script(torch):
        log = []
        model = torch.nn.Sequential(torch.nn.Linear(1, 1))
        model.register_state_dict_pre_hook(lambda m, prefix, keep: log.append(("pre", prefix, keep)))
        model.register_state_dict_post_hook(lambda m, state, prefix, meta: state.pop(prefix + "0.bias") and None)
        model[0].register_load_state_dict_pre_hook(
            lambda m, state, prefix, *rest: state.update({prefix + "bias": torch.ones(1)}))
        model.register_load_state_dict_post_hook(lambda m, keys: log.append(("post", list(keys.missing_keys))))
        state = model.state_dict()
        result = model.load_state_dict(state)
        return log, list(state), list(result.missing_keys), model[0].bias
    assert_same(script)


@pytest.mark.parametrize("copier", ["deepcopy", "pickle"])
def test_copies_are_independent_and_keep_sharing(copier):
    model = small_model(flamework)
    model.first.weight.note = "kept by pickle"
    if copier == "deepcopy":
        twin = copy.deepcopy(model)
    else:
        twin = pickle.load(io.BytesIO(pickle.dumps(model)))
        assert twin.first.weight.note == "kept by pickle"
    assert twin.tied.weight is twin.first.weight
    assert twin.again is twin.first
    assert isinstance(twin.first.weight, flamework.nn.Parameter)
    with flamework.no_grad():
        twin.first.weight.fill_(9.0)
    assert model.first.weight.tolist() != twin.first.weight.tolist()
    assert list(twin.state_dict()) == list(model.state_dict())
    assert repr(twin) == repr(model)


def test_buffers_can_be_assigned():
    def script(torch):
        module = torch.nn.Module()
        module.kept = torch.nn.Buffer(torch.ones(2))
        module.left_out = torch.nn.Buffer(torch.ones(2), persistent=False)
        return list(module.state_dict()), [name for name, _ in module.named_buffers()], module.kept + 1
    assert_same(script)


def test_parameter_defaults_and_representation():
    def script(torch):
        parameter = torch.nn.Parameter(torch.tensor([1.0, 2.0]))
        return (repr(parameter), parameter.requires_grad, torch.nn.Parameter(torch.ones(1), False).requires_grad,
                tuple(torch.nn.Parameter().shape), isinstance(parameter * 2, torch.nn.Parameter))
    assert_same(script)


def test_parameter_shares_storage_with_its_data():
    data = flamework.zeros(2)
    parameter = flamework.nn.Parameter(data)
    data.add_(1)
    assert parameter.tolist() == [1.0, 1.0]


# ------------------------------------------------------------------------------------------------------------ hooks


def double_layer(torch):
    layer = torch.nn.Linear(2, 2)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[1.0, 2.0], [3.0, 4.0]]))
        layer.bias.zero_()
    return layer


def test_forward_hooks_may_replace_arguments_and_output():
    def script(torch):
        log = []
        layer = double_layer(torch)
        layer.register_forward_pre_hook(lambda m, args: log.append("second") or args[0] * 2)
        layer.register_forward_pre_hook(lambda m, args, kwargs: log.append("first") or None, prepend=True,
                                        with_kwargs=True)
        handle = layer.register_forward_hook(lambda m, args, output: log.append("third") or output + 1)
        layer.register_forward_hook(lambda m, args, kwargs, output: log.append(sorted(kwargs)), with_kwargs=True)
        x = torch.tensor([1.0, 1.0])
        with_hook = layer(x)
        handle.remove()
        handle.remove()
        return with_hook, layer(x), log
    assert_same(script)


def test_keyword_hooks_may_replace_keywords():
    def script(torch):
        class Shift(torch.nn.Module):
            def forward(self, x, by=0):
                return x + by

        module = Shift()
        module.register_forward_pre_hook(lambda m, args, kwargs: (args, {"by": 5}), with_kwargs=True)
        return module(torch.zeros(1), by=1)
    assert_same(script)


def test_keyword_hook_with_another_result_is_refused():
    def script(torch):
        module = torch.nn.ReLU()
        module.register_forward_pre_hook(lambda m, args, kwargs: args, with_kwargs=True)
        return module(torch.zeros(1))
    assert_same(script, messages=False)


def test_always_called_hooks_run_when_forward_raises():
    def script(torch):
        class Failing(torch.nn.Module):
            def forward(self, x):
                raise ValueError("broken")

        log = []
        module = Failing()
        module.register_forward_hook(lambda m, args, output: log.append("normal"))
        module.register_forward_hook(lambda m, args, output: log.append(("always", output)), always_call=True)
        module.register_forward_hook(lambda m, args, output: 1 / 0, always_call=True)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            with pytest.raises(ValueError, match="broken"):
                module(torch.zeros(1))
        return log, [str(warning.message) for warning in caught]
    assert_same(script)


BACKWARD_CALLS = {
    "one input": (lambda torch, x, y: (x,), {}),
    "two inputs": (lambda torch, x, y: (x, y), {}),
    "an input without gradient": (lambda torch, x, y: (x.detach(), y), {}),
    "no input with gradient": (lambda torch, x, y: (x.detach(), y.detach()), {}),
    "an input that is no tensor": (lambda torch, x, y: (x, 2.0), {}),
}


@pytest.mark.filterwarnings("ignore:Full backward hook is firing")
@pytest.mark.parametrize("outputs", [1, 2])
@pytest.mark.parametrize("replace", [False, True])
@pytest.mark.parametrize("call", BACKWARD_CALLS)
def test_backward_hooks_see_and_replace_gradients(call, replace, outputs):
    def script(torch):
        class Mixed(torch.nn.Module):
            def __init__(self):
                super().__init__()
                self.weight = torch.nn.Parameter(torch.tensor([2.0, 3.0]))

            def forward(self, x, y=1.0):
                product = x * self.weight * y
                return product if outputs == 1 else (product, product.sum())

        log = []

        def pre_hook(module, grad_output):
            log.append(("pre", grad_output))
            return tuple(g * 10 for g in grad_output) if replace else None

        def hook(module, grad_input, grad_output):
            log.append(("full", grad_input, grad_output))
            if replace and any(g is not None for g in grad_input):
                return tuple(None if g is None else g + 1 for g in grad_input)
            return None

        module = Mixed()
        module.register_full_backward_pre_hook(pre_hook)
        module.register_full_backward_hook(hook)
        x = torch.tensor([1.0, 2.0], requires_grad=True)
        y = torch.tensor([5.0, 7.0], requires_grad=True)
        result = module(*BACKWARD_CALLS[call][0](torch, x, y))
        loss = result.sum() if outputs == 1 else (result[0] * torch.tensor([1.0, 2.0])).sum() + result[1]
        loss.backward()
        return log, x.grad, y.grad, module.weight.grad
    assert_same(script)


def test_backward_hook_with_another_number_of_gradients_is_refused():
    def script(torch):
        layer = torch.nn.ReLU()
        layer.register_full_backward_hook(lambda m, grad_input, grad_output: (None, None))
        layer(torch.ones(1, requires_grad=True)).sum().backward()
    assert_same(script)
