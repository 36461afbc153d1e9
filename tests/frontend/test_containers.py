"""Containers are PyTorch's lists and dictionaries, and every change to a module advances the mutation epoch."""

import flamework
import pytest
from flamework.nn import module as module_chapter
from same_as_torch import assert_same, small_model


def test_sequential_is_a_list():
    def script(torch):
        nn = torch.nn
        model = nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Tanh())
        steps = [len(model), repr(model[0]), repr(model[-1]), repr(model[1:]), [type(m).__name__ for m in model]]
        model.append(nn.Sigmoid()).insert(1, nn.Identity()).extend([nn.SiLU()])
        steps.append(repr(model))
        del model[0]
        steps.append(repr(model.pop(1)))
        model[0] = nn.GELU()
        steps += [repr(model), repr(model + nn.Sequential(nn.ReLU())), repr(model * 2), repr(2 * model)]
        model += nn.Sequential(nn.Softplus())
        model *= 2
        steps.append(repr(model))
        del model[1:3]
        return [*steps, repr(model)]
    assert_same(script)


LIST_ERRORS = {
    "index too large": lambda nn, m: m[5],
    "add a list": lambda nn, m: m + [nn.ReLU()],
    "times zero": lambda nn, m: m * 0,
    "insert too far": lambda nn, m: m.insert(9, nn.ReLU()),
    "append a number": lambda nn, m: m.append(3),
}


@pytest.mark.parametrize("case", LIST_ERRORS)
def test_sequential_errors(case):
    def script(torch):
        LIST_ERRORS[case](torch.nn, torch.nn.Sequential(torch.nn.ReLU()))
    assert_same(script, messages=case != "times zero")


def test_module_list_is_a_list():
    def script(torch):
        nn = torch.nn
        layers = nn.ModuleList([nn.ReLU(), nn.Tanh()])
        layers.append(nn.SiLU()).extend(nn.Sequential(nn.GELU()))
        layers.insert(0, nn.Identity())
        layers += [nn.Sigmoid()]
        steps = [repr(layers), repr(layers[1:3]), repr(layers[-1]), len(layers), repr(layers + [nn.ReLU()])]
        steps.append(repr(layers.pop(0)))
        del layers[::2]
        layers[0] = nn.ReLU6()
        return [*steps, repr(layers), [name for name, _ in layers.named_children()]]
    assert_same(script)


def test_module_dict_is_a_dictionary():
    def script(torch):
        nn = torch.nn
        layers = nn.ModuleDict([("a", nn.ReLU()), ("b", nn.Tanh())])
        layers.update({"c": nn.SiLU(), "a": nn.GELU()})
        layers["d"] = nn.Sigmoid()
        steps = [list(layers), list(layers.keys()), [repr(m) for m in layers.values()], "a" in layers, len(layers)]
        steps.append(repr(layers.pop("a")))
        del layers["b"]
        steps.append([(key, repr(module)) for key, module in layers.items()])
        layers.clear()
        return [*steps, len(layers)]
    assert_same(script)


@pytest.mark.parametrize("argument", [3, [3], [("a",)], [("a", 3)]])
def test_module_dict_errors(argument):
    assert_same(lambda torch: torch.nn.ModuleDict(argument), messages=argument != [3])


def test_parameter_list_is_a_list():
    def script(torch):
        values = torch.nn.ParameterList([torch.ones(1), torch.zeros(2)])
        values.append(torch.ones(3)).extend([torch.nn.Parameter(torch.ones(4)), "text"])
        values += [5]
        values[0] = torch.full((1,), 7.0)
        return (len(values), [tuple(p.shape) for p in values.parameters()], list(values.state_dict()), values[0],
                values[-1], len(values[1:3]), [type(value).__name__ for value in values], dir(values)[-1].isdigit())
    assert_same(script)


def test_parameter_dict_is_a_dictionary():
    def script(torch):
        values = torch.nn.ParameterDict({"b": torch.ones(1), "a": torch.zeros(2)})
        values["c"] = torch.ones(3)
        values.update([("d", torch.nn.Parameter(torch.ones(4)))])
        steps = [list(values), list(values.state_dict()), list(reversed(values)), "a" in values, values.get("z", 1),
                 tuple(values.setdefault("e", torch.ones(5)).shape), [name for name, _ in values.items()]]
        steps += [tuple(values.pop("a").shape), values.popitem()[0], list(values.copy()), len(list(values.values()))]
        merged = values | torch.nn.ParameterDict({"z": torch.ones(1)})
        steps.append(list(merged))
        del values["b"]
        values.clear()
        return [*steps, len(values), list(values.fromkeys(["x"], torch.ones(1)))]
    assert_same(script)


# -------------------------------------------------------------------------------------------------- the mutation epoch

CHANGES = {
    "new attribute": lambda m: setattr(m, "fresh", 1),
    "changed attribute": lambda m: setattr(m, "plain", 2),
    "deleted attribute": lambda m: delattr(m, "plain"),
    "new parameter": lambda m: setattr(m, "w", flamework.nn.Parameter(flamework.ones(1))),
    "parameter to none": lambda m: setattr(m, "weight", None),
    "new buffer": lambda m: m.register_buffer("b", None),
    "new child": lambda m: setattr(m, "child", flamework.nn.ReLU()),
    "replaced child": lambda m: setattr(m, "inner", flamework.nn.ReLU()),
    "child's mode": lambda m: m.inner.eval(),
    "cast": lambda m: m.double(),
    "hook": lambda m: m.register_forward_hook(lambda *args: None),
    "loaded with assign": lambda m: m.load_state_dict(m.state_dict(), assign=True),
}


@pytest.mark.parametrize("change", CHANGES)
def test_every_change_advances_the_mutation_epoch(change):
    module = flamework.nn.Module()
    module.plain = 1
    module.weight = flamework.nn.Parameter(flamework.ones(1))
    module.inner = flamework.nn.Dropout()
    before = module_chapter.mutation_epoch()
    CHANGES[change](module)
    assert module_chapter.mutation_epoch() != before


def test_removing_a_hook_advances_the_mutation_epoch():
    handle = flamework.nn.ReLU().register_forward_hook(lambda *args: None)
    before = module_chapter.mutation_epoch()
    handle.remove()
    assert module_chapter.mutation_epoch() != before


def test_calls_and_unchanged_values_leave_the_mutation_epoch():
    model = small_model(flamework)
    before = module_chapter.mutation_epoch()
    model.train()
    model.first(flamework.ones(1, 3))
    list(model.named_parameters())
    model.state_dict()
    assert module_chapter.mutation_epoch() == before


@pytest.mark.parametrize("edit", [
    lambda layers: layers.append(flamework.nn.ReLU()),
    lambda layers: layers.insert(0, flamework.nn.ReLU()),
    lambda layers: layers.pop(0),
])
def test_containers_advance_the_mutation_epoch(edit):
    for container in (flamework.nn.Sequential(flamework.nn.ReLU()), flamework.nn.ModuleList([flamework.nn.ReLU()])):
        before = module_chapter.mutation_epoch()
        edit(container)
        assert module_chapter.mutation_epoch() != before
