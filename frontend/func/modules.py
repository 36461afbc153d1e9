"""Modules as functions: called with parameters and buffers that are arguments.

In: modules. Out: what they return for other parameters. This is the last chapter on transforms.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

from ..joining import stack
from ..nn.epoch import advance
from ..nn.module import Module
from ..tensor import Tensor


def functional_call(
    module: Module, parameter_and_buffer_dicts: dict[str, Tensor] | Sequence[dict[str, Tensor]],
    args: Any = None, kwargs: dict[str, Any] | None = None, *, tie_weights: bool = True, strict: bool = False,
) -> Any:
    """Call a module with other parameters and buffers, which it keeps for this call only.

    As ``torch.func.functional_call``. Buffers that the module writes to are written to where they were given.

    Args:
        parameter_and_buffer_dicts: tensors by dotted names, in one dictionary or several; what is not named is the
            module's own.
        args: the positional arguments, a tuple, or the only one.
        kwargs: the keyword arguments.
        tie_weights: a tensor that the module has under several names needs to be given under one of them only.
        strict: refuse names that are missing and names that the module does not have.

    Raises:
        ValueError: a name in several dictionaries, or different values for the names of one tensor.
        RuntimeError: with ``strict``.

    Example:
        >>> import flamework
        >>> layer = flamework.nn.Linear(2, 1)
        >>> weights = {"weight": flamework.ones(1, 2), "bias": flamework.zeros(1)}
        >>> flamework.func.functional_call(layer, weights, flamework.ones(2))
        tensor([2.])
    """
    if isinstance(parameter_and_buffer_dicts, dict):
        given = parameter_and_buffer_dicts
    elif isinstance(parameter_and_buffer_dicts, (tuple, list)):
        if not all(isinstance(d, dict) for d in parameter_and_buffer_dicts):
            raise ValueError("Expected all elements of parameter_and_buffer_dicts to be dictionaries")
        names = [name for d in parameter_and_buffer_dicts for name in d]
        repeated = [name for name in dict.fromkeys(names) if names.count(name) > 1]
        if repeated:
            raise ValueError(
                f"{repeated} appeared in multiple dictionaries; behavior of functional call is ambiguous"
            )
        given = {name: value for d in parameter_and_buffer_dicts for name, value in d.items()}
    else:
        raise ValueError(
            "Expected parameter_and_buffer_dicts to be a dict, or a list/tuple of dicts, but got "
            f"{type(parameter_and_buffer_dicts)}"
        )
    args = () if args is None else args if isinstance(args, tuple) else (args,)
    with reparametrised(module, given, tie_weights, strict):
        return module(*args, **(kwargs or {}))


@contextlib.contextmanager
def reparametrised(module: Module, given: dict[str, Tensor], tie_weights: bool, strict: bool) -> Iterator[None]:
    """A block in which a module has other parameters and buffers. What it puts in their place goes to ``given``."""
    homes = registries(module)
    values = tied(homes, given) if tie_weights else given
    if strict:
        check_names(module, homes, values)
    before: list[tuple[dict, str, Any]] = []
    try:
        for name, value in values.items():
            if not isinstance(value, Tensor):
                raise TypeError(f"{value} is not an instance of torch.Tensor")
            if name not in homes:
                raise AttributeError(f"{type(module).__name__} has no attribute `{name}`")
            registry, key = homes[name]
            before.append((registry, key, registry[key]))
            registry[key] = value
        advance()
        yield
    finally:
        for name in given:
            if name in homes:
                registry, key = homes[name]
                given[name] = registry.get(key, given[name])
        for registry, key, value in reversed(before):
            registry[key] = value
        advance()


def registries(module: Module) -> dict[str, tuple[dict, str]]:
    """For each dotted name of a parameter or buffer the dictionary and key where it is."""
    homes: dict[str, tuple[dict, str]] = {}
    for prefix, part in module.named_modules(remove_duplicate=False):
        for registry in (part._parameters, part._buffers):
            for key, value in registry.items():
                if value is not None:
                    homes[f"{prefix}.{key}" if prefix else key] = (registry, key)
    return homes


def tied(homes: dict[str, tuple[dict, str]], given: dict[str, Tensor]) -> dict[str, Tensor]:
    """``given`` with the other names of each tensor that is named.

    Raises:
        ValueError: different values for one tensor.
    """
    names_of: dict[int, list[str]] = {}
    for name, (registry, key) in homes.items():
        names_of.setdefault(id(registry[key]), []).append(name)
    values = dict(given)
    for names in names_of.values():
        named = [name for name in names if name in given]
        if not named:
            continue
        if len({id(given[name]) for name in named}) > 1:
            raise ValueError(
                f"functional_call got multiple values for keys {sorted(names)}, which are tied. Consider using "
                "tie_weights=False"
            )
        values.update((name, given[named[0]]) for name in names)
    return values


def check_names(module: Module, homes: dict[str, Any], values: dict[str, Tensor]) -> None:
    unexpected = [name for name in values if name not in homes]
    missing = [name for name in homes if name not in values]
    messages = []
    if unexpected:
        messages.append(f"Unexpected key(s): {', '.join(map(repr, unexpected))}.")
    if missing:
        messages.append(f"Missing key(s): {', '.join(map(repr, missing))}.")
    if messages:
        raise RuntimeError(f"Error(s) in reparametrizing for {type(module).__name__}:\n\t" + "\n\t".join(messages))


def stack_module_state(models: Sequence[Module]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The parameters and the buffers of several models of one kind, each stacked along a new first axis.

    As ``torch.func.stack_module_state``: what ``vmap`` over :func:`functional_call` takes to run an ensemble.

    Raises:
        RuntimeError: no models, models of different classes, or in different modes.

    Example:
        >>> import flamework
        >>> layers = [flamework.nn.Linear(2, 3) for _ in range(4)]
        >>> parameters, buffers = flamework.func.stack_module_state(layers)
        >>> parameters["weight"].shape
        torch.Size([4, 3, 2])
    """
    if not models:
        raise RuntimeError("stack_module_state: Expected at least one model, got 0.")
    if len({bool(m.training) for m in models}) > 1:
        raise RuntimeError("stack_module_state: Expected all models to have the same training/eval mode.")
    if len({type(m) for m in models}) > 1:
        raise RuntimeError("stack_module_state: Expected all models to be of the same class.")
    parameters = [dict(m.named_parameters()) for m in models]
    buffers = [dict(m.named_buffers()) for m in models]
    return (
        {name: stacked([p[name] for p in parameters], name) for name in parameters[0]},
        {name: stacked([b[name] for b in buffers], name) for name in buffers[0]},
    )


def stacked(tensors: Sequence[Tensor], name: str) -> Tensor:
    if len({t.requires_grad for t in tensors}) > 1:
        raise RuntimeError(f"Expected {name} from each model to have the same .requires_grad")
    result = stack([t.detach() for t in tensors])
    return result.requires_grad_() if tensors[0].requires_grad else result
