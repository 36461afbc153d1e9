"""``Optimizer``: the base class of the update rules.

An optimizer holds groups of parameters, each group with its own hyperparameters, and a dictionary of state for each
parameter. A subclass writes ``step``: read each ``param.grad``, update the state and the parameter in place, outside of
the graph. The updates are recorded like any other operation, so those of all parameters fuse; hyperparameters are
Python numbers, which become arguments of the kernels, so a changed learning rate compiles nothing.

In: parameters and hyperparameters. Out: parameters updated in place, and a ``state_dict`` of PyTorch's form. Read
``sgd.py`` next for the shortest subclass.
"""

from __future__ import annotations

import functools
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Iterable, Sequence
from copy import deepcopy
from itertools import chain
from typing import Any

import flamework
from flamework.compiler.ir import Node, tensor_type
from flamework.live import is_live
from flamework.nn.hooks import RemovableHandle, register
from flamework.nn.module import clear_gradients
from flamework.nn.parameter import typename
from flamework.origin import warn
from flamework.recording import scalar_node
from flamework.storage import EXPORTED
from flamework.tensor import Tensor

Parameters = Iterable[Tensor] | Iterable[dict[str, Any]] | Iterable[tuple[str, Tensor]]


class _Required:
    """Marks a hyperparameter without a default."""

    def __repr__(self) -> str:
        return "<required parameter>"


required = _Required()


class Optimizer:
    """Base class of the optimizers.

    Args:
        params: tensors, pairs of name and tensor, or dictionaries with the key ``params`` and the hyperparameters in
            which a group differs from the defaults.
        defaults: the hyperparameters of groups that do not give their own.

    Raises:
        TypeError: ``params`` is a tensor or a set, or holds anything but tensors.
        ValueError: no parameters, a parameter that is no leaf, one that is in two groups, or a missing hyperparameter.

    As ``torch.optim.Optimizer``.

    Example:
        >>> import flamework
        >>> w = flamework.nn.Parameter(flamework.ones(1))
        >>> optimizer = flamework.optim.SGD([w], lr=0.5)
        >>> w.sum().backward()
        >>> optimizer.step()
        >>> w.tolist()
        [0.5]
    """

    def __init__(self, params: Parameters, defaults: dict[str, Any]) -> None:
        if isinstance(params, Tensor):
            raise TypeError("params argument given to the optimizer should be an iterable of Tensors or dicts, but got "
                            + typename(params))
        self.defaults = defaults
        self.state: defaultdict[Any, dict[str, Any]] = defaultdict(dict)
        self.param_groups: list[dict[str, Any]] = []
        self._add_hook_registries()
        groups = list(params)
        if not groups:
            raise ValueError("optimizer got an empty parameter list")
        if not isinstance(groups[0], dict):
            groups = [{"params": groups}]
        for group in groups:
            self.add_param_group(group)

    def _add_hook_registries(self) -> None:
        self._step_pre_hooks: OrderedDict[int, Callable] = OrderedDict()
        self._step_post_hooks: OrderedDict[int, Callable] = OrderedDict()
        # Inside of step(): a subclass's step that calls the one of its base class runs the hooks once.
        self._stepping = False
        # Whether step() ever ran, which a scheduler warns about.
        self._opt_called = False

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "step" in cls.__dict__:
            cls.step = _with_hooks(cls.step)

    def __getstate__(self) -> dict[str, Any]:
        return {"defaults": self.defaults, "state": self.state, "param_groups": self.param_groups}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        if "_step_pre_hooks" not in self.__dict__:
            self._add_hook_registries()

    def __repr__(self) -> str:
        lines = []
        for i, group in enumerate(self.param_groups):
            lines.append(f"Parameter Group {i}")
            lines += [f"    {key}: {group[key]}" for key in sorted(group) if key != "params"]
        body = "\n".join(lines)
        return f"{type(self).__name__} (\n{body}\n)"

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group of parameters, for example layers of a frozen model that are to be trained from now on.

        Args:
            param_group: ``params`` and any hyperparameters; the others are the defaults. It is filled in place.

        Raises: as the class.
        """
        if not isinstance(param_group, dict):
            raise TypeError(f"param_group must be a dict, but got {type(param_group)}")
        params = param_group["params"]
        if isinstance(params, set):
            raise TypeError("optimizer parameters need to be organized in ordered collections, but the ordering of "
                            "tensors in sets will change between runs. Please use a list instead.")
        entries = [params] if isinstance(params, Tensor) else list(params)
        names = [entry[0] for entry in entries if isinstance(entry, tuple)]
        tensors = [entry[1] if isinstance(entry, tuple) else entry for entry in entries]
        if names and len(names) != len(tensors):
            raise ValueError("all optimizer params should be with/without names. Some param names are missing")
        for tensor in tensors:
            if not isinstance(tensor, Tensor):
                raise TypeError("optimizer can only optimize Tensors, but one of the params is " + typename(tensor))
            if not tensor.is_leaf:
                raise ValueError("can't optimize a non-leaf Tensor")
        param_group["params"] = tensors
        if names:
            param_group["param_names"] = names

        for name, default in self.defaults.items():
            if default is required and name not in param_group:
                raise ValueError(f"parameter group didn't specify a value of required optimization parameter {name}")
            param_group.setdefault(name, default)

        identities = {id(tensor) for tensor in tensors}
        if len(identities) != len(tensors):
            warn("optimizer contains a parameter group with duplicate parameters; in future, this will cause "
                 "an error")
        for group in self.param_groups:
            if ("param_names" in group) != ("param_names" in param_group):
                what = "with names" if names else "without names"
                raise ValueError("all optimizer param groups should be with/without names. cannot add param group "
                                 f"{what} to the optimizer")
            if any(id(tensor) in identities for tensor in group["params"]):
                raise ValueError("some parameters appear in more than one parameter group")
        self.param_groups.append(param_group)

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Reset the gradients of all parameters: drop them, or fill them with zeros.

        Args:
            set_to_none: drop them; a parameter that then gets no gradient is left alone by ``step``.
        """
        for group in self.param_groups:
            clear_gradients(group["params"], set_to_none)

    # ------------------------------------------------------------------------------------------ saving and loading

    def state_dict(self) -> dict[str, Any]:
        """Return hyperparameters and state, with parameters replaced by their positions.

        The form is PyTorch's: ``state`` maps a position to a dictionary, ``param_groups`` lists the groups. Tensors are
        shared with the optimizer, not copied.
        """
        tensors = chain.from_iterable(group["params"] for group in self.param_groups)
        positions: dict[int, int] = {}
        for position, tensor in enumerate(tensors):
            positions.setdefault(id(tensor), position)
        groups = [{key: value for key, value in group.items() if key != "params"}
                  | {"params": [positions[id(tensor)] for tensor in group["params"]]} for group in self.param_groups]
        state = {positions[id(key)] if isinstance(key, Tensor) else key: self._state_to_save(value)
                 for key, value in self.state.items()}
        return {"state": state, "param_groups": groups}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over hyperparameters and state that ``state_dict`` returned; the parameters are matched by position.

        Tensors are copied, so that two optimizers never share state, and floating-point ones take the parameter's dtype
        and device.

        Raises:
            ValueError: another number of groups, or of parameters in a group.
        """
        saved_groups = deepcopy(state_dict["param_groups"])
        if len(saved_groups) != len(self.param_groups):
            raise ValueError("loaded state dict has a different number of parameter groups")
        if any(len(saved["params"]) != len(group["params"])
               for saved, group in zip(saved_groups, self.param_groups, strict=True)):
            raise ValueError("loaded state dict contains a parameter group that doesn't match the size of "
                             "optimizer's group")
        by_position: dict[int, Tensor] = {}
        for saved, group in zip(saved_groups, self.param_groups, strict=True):
            by_position.update(zip(saved["params"], group["params"], strict=True))
            saved["params"] = group["params"]
            if "param_names" in group:
                saved.setdefault("param_names", group["param_names"])

        state: defaultdict[Any, dict[str, Any]] = defaultdict(dict)
        with flamework.no_grad():
            for position, value in state_dict["state"].items():
                if position in by_position:
                    param = by_position[position]
                    state[param] = self._state_to_keep(_like_parameter(param, value))
                else:
                    state[position] = value
        self.__setstate__({"state": state, "param_groups": saved_groups})

    def _state_to_save(self, value: Any) -> Any:
        """Translate the state of one parameter for ``state_dict``; a subclass may override it with its inverse."""
        return value

    def _state_to_keep(self, value: Any) -> Any:
        """Translate the state of one parameter back."""
        return value

    # ------------------------------------------------------------------------------------------------------- hooks

    def register_step_pre_hook(self, hook: Callable[..., Any]) -> RemovableHandle:
        """Run ``hook(optimizer, args, kwargs)`` before ``step``; a pair that it returns replaces the arguments."""
        return register(self._step_pre_hooks, hook)

    def register_step_post_hook(self, hook: Callable[..., Any]) -> RemovableHandle:
        """Run ``hook(optimizer, args, kwargs)`` after ``step``."""
        return register(self._step_post_hooks, hook)


def evaluate(closure: Callable[[], Any] | None) -> Any:
    """Call the closure that ``step`` was given, if any, with gradients enabled."""
    if closure is None:
        return None
    with flamework.enable_grad():
        return closure()


def with_gradient(group: dict[str, Any]) -> list[tuple[Tensor, Tensor]]:
    """Return the parameters of a group that have a gradient, with the gradient, negated if the group maximises."""
    pairs = [(param, param.grad) for param in group["params"] if param.grad is not None]
    return [(param, -grad) for param, grad in pairs] if group["maximize"] else pairs


def in_batches(sets: Sequence[tuple[Sequence[Tensor], float]]) -> list[tuple[list[Sequence[Tensor]], float]]:
    """Group the tensors of each update, which come with its number of steps, so that one formula serves a group.

    Updates of a group have equal dtypes and equal numbers. An update reads before any other of its group writes, so
    each goes alone if they share memory, or if NumPy sees some of it.
    """
    found = [tensor for tensors, _ in sets for tensor in tensors]
    homes = {id(tensor._storage or tensor) for tensor in found}
    exported = [x for x in found if x._storage is not None and x._storage.stamp == EXPORTED]
    if exported or len(homes) != len(found):
        return [([tensors], steps) for tensors, steps in sets]
    batches: dict[tuple, tuple[list[Sequence[Tensor]], float]] = {}
    for tensors, steps in sets:
        device = tensors[0]._node.type.device
        key = (id(steps) if is_live(steps) else steps, device, *[tensor._node.type.dtype for tensor in tensors])
        if key in batches:
            batches[key][0].append(tensors)
        else:
            batches[key] = ([tensors], steps)
    return list(batches.values())


class Arguments:
    """Numbers of a step as nodes without axes. Parameters share them, where they are equal and mean the same; numbers
    that happen to be equal stay apart, so that the program is the same at the next step."""

    def __init__(self) -> None:
        self.made: dict[tuple, Node] = {}

    def __call__(self, name: str, value: float, like: Node) -> Node:
        kind = like.type
        key = (name, id(value) if is_live(value) else value, kind.dtype, kind.device)
        node = self.made.get(key)
        if node is None:
            node = self.made[key] = scalar_node(value, tensor_type((), kind.dtype, kind.device))
        return node


def as_number(value: float | Tensor) -> float:
    """Return a hyperparameter as a Python number; a tensor is read, which materialises it."""
    return value.item() if isinstance(value, Tensor) else value


def check_learning_rate(lr: float | Tensor) -> None:
    """Raise ValueError unless ``lr`` is one number and not negative."""
    if isinstance(lr, Tensor) and lr.numel() != 1:
        raise ValueError("Tensor lr must be 1-element")
    check_not_negative("learning rate", as_number(lr))


def check_not_negative(name: str, value: float) -> None:
    """Raise ValueError if ``value`` is negative or NaN."""
    if not value >= 0.0:
        raise ValueError(f"Invalid {name}: {value}")


def check_hints(foreach: bool | None, fused: bool | None) -> None:
    """Raise RuntimeError for the pair of implementations that PyTorch refuses."""
    if foreach and fused:
        raise RuntimeError("`fused` and `foreach` cannot be `True` together.")


def _like_parameter(param: Tensor, value: Any) -> Any:
    if isinstance(value, Tensor):
        dtype = param.dtype if param.is_floating_point() else value.dtype
        return value.detach().to(device=param.device, dtype=dtype).clone()
    if isinstance(value, dict):
        # A count stays exact, whatever the precision of the parameter.
        return {key: item.detach().clone() if key == "step" and isinstance(item, Tensor)
                else _like_parameter(param, item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_like_parameter(param, item) for item in value)
    return value


def _with_hooks(step: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(step)
    def stepping(self: Optimizer, *args: Any, **kwargs: Any) -> Any:
        if self._stepping:
            return step(self, *args, **kwargs)
        for hook in tuple(self._step_pre_hooks.values()):
            replacement = hook(self, args, kwargs)
            if replacement is not None:
                if not (isinstance(replacement, tuple) and len(replacement) == 2):
                    raise RuntimeError("optimizer step pre-hook must return None or a tuple of (new_args, new_kwargs), "
                                       f"but got {replacement}.")
                args, kwargs = replacement
        self._stepping = True
        try:
            result = step(self, *args, **kwargs)
        finally:
            self._stepping = False
        self._opt_called = True
        for hook in tuple(self._step_post_hooks.values()):
            hook(self, args, kwargs)
        return result

    return stepping
