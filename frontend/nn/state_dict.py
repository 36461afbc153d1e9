"""Saving and loading: a module's tree flattened to a dictionary from dotted names to tensors, and back.

``state_dict`` walks the tree and enters every parameter and persistent buffer, detached but sharing its storage.
``load_state_dict`` walks the same tree with such a dictionary, copies each entry into the tensor of that name, and
reports all that did not fit in one error. A version number for each module travels in the dictionary's ``_metadata``,
so that a class which changes its buffers can still load what it saved before.

In: a module, or a dictionary. Out: a dictionary, or the keys which did not match. Read ``module.py`` for the tree.
"""

from __future__ import annotations

from collections import OrderedDict, namedtuple
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import flamework
from flamework.nn.hooks import RemovableHandle, register
from flamework.nn.parameter import Parameter
from flamework.tensor import Tensor

if TYPE_CHECKING:
    from flamework.nn.module import Module

_EXTRA_STATE = "_extra_state"


class _IncompatibleKeys(namedtuple("IncompatibleKeys", ["missing_keys", "unexpected_keys"])):
    """What ``load_state_dict`` could not match: names without an entry, and entries without a name."""

    __slots__ = ()

    def __repr__(self) -> str:
        if not self.missing_keys and not self.unexpected_keys:
            return "<All keys matched successfully>"
        return super().__repr__()

    __str__ = __repr__


class StateDictMixin:
    """The part of ``Module`` that saves and loads."""

    # Saved for each module; a class raises its own when the meaning of its entries changes.
    _version: int = 1

    def state_dict(self, destination: dict[str, Any] | None = None, prefix: str = "",
                   keep_vars: bool = False) -> dict[str, Any]:
        """Return every parameter and persistent buffer under its dotted name.

        Args:
            destination: a dictionary to add to; a new ordered one when left out.
            prefix: prepended to every name, with its dot.
            keep_vars: enter the tensors themselves, not detached views of them.

        As ``torch.nn.Module.state_dict``.

        Example:
            >>> import flamework
            >>> list(flamework.nn.Linear(2, 3).state_dict())
            ['weight', 'bias']
        """
        if destination is None:
            destination = OrderedDict()
            destination._metadata = OrderedDict()
        local_metadata = {"version": self._version}
        if hasattr(destination, "_metadata"):
            destination._metadata[prefix[:-1]] = local_metadata
        for hook in self._state_dict_pre_hooks.values():
            hook(self, prefix, keep_vars)
        self._save_to_state_dict(destination, prefix, keep_vars)
        for name, module in self._modules.items():
            if module is not None:
                module.state_dict(destination=destination, prefix=f"{prefix}{name}.", keep_vars=keep_vars)
        for hook in self._state_dict_hooks.values():
            if hook(self, destination, prefix, local_metadata) is not None:
                raise RuntimeError("state_dict post-hook must return None")
        return destination

    def _save_to_state_dict(self, destination: dict[str, Any], prefix: str, keep_vars: bool) -> None:
        """Enter this module's own state, without its children's; subclasses may extend it."""
        for name, tensor in self._own_state().items():
            destination[prefix + name] = tensor if keep_vars else tensor.detach()
        if _overrides(self, "get_extra_state"):
            destination[prefix + _EXTRA_STATE] = self.get_extra_state()

    def _own_state(self) -> dict[str, Tensor]:
        persistent = {name: buffer for name, buffer in self._buffers.items()
                      if name not in self._non_persistent_buffers_set}
        return {name: tensor for name, tensor in (self._parameters | persistent).items() if tensor is not None}

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True,
                        assign: bool = False) -> _IncompatibleKeys:
        """Copy the entries of ``state_dict`` into the parameters and buffers of the same names.

        Args:
            state_dict: what ``state_dict()`` returned, here or in another process.
            strict: raise when names are missing or unexpected.
            assign: make the entries themselves the module's parameters and buffers.

        Returns:
            The missing and the unexpected keys.

        Raises:
            RuntimeError: shapes differ, or with ``strict`` the names do; the message lists everything.
            TypeError: ``state_dict`` is no mapping.

        As ``torch.nn.Module.load_state_dict``.

        Example:
            >>> import flamework
            >>> layer = flamework.nn.Linear(2, 2)
            >>> layer.load_state_dict({"weight": flamework.ones(2, 2), "bias": flamework.zeros(2)})
            <All keys matched successfully>
        """
        if not isinstance(state_dict, Mapping):
            raise TypeError(f"Expected state_dict to be dict-like, got {type(state_dict)}.")
        metadata = getattr(state_dict, "_metadata", None)
        # A copy, because modules and hooks may add, rename and remove entries while they load.
        entries = OrderedDict(state_dict)
        if metadata is not None:
            entries._metadata = metadata
        result = _IncompatibleKeys([], [])
        errors: list[str] = []
        _load_tree(self, entries, "", metadata or {}, assign, result, errors)
        if strict:
            complaints = ((result.missing_keys, "Missing"), (result.unexpected_keys, "Unexpected"))
            errors[:0] = [f"{what} key(s) in state_dict: {', '.join(map(_quoted, keys))}. "
                          for keys, what in complaints if keys]
        if errors:
            details = "\n\t".join(errors)
            raise RuntimeError(f"Error(s) in loading state_dict for {type(self).__name__}:\n\t{details}")
        return result

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, local_metadata: dict[str, Any],
                              strict: bool, missing_keys: list[str], unexpected_keys: list[str],
                              error_msgs: list[str]) -> None:
        """Load this module's own state, without its children's; subclasses may extend it."""
        for hook in self._load_state_dict_pre_hooks.values():
            hook(self, state_dict, prefix, local_metadata, strict, missing_keys, unexpected_keys, error_msgs)
        own = self._own_state()
        assign = local_metadata.get("assign_to_params_buffers", False)
        for name, current in own.items():
            key = prefix + name
            if key in state_dict:
                self._load_entry(name, key, current, state_dict[key], assign, error_msgs)
            elif strict:
                missing_keys.append(key)

        extra_key = prefix + _EXTRA_STATE
        if _overrides(self, "set_extra_state"):
            if extra_key in state_dict:
                self.set_extra_state(state_dict[extra_key])
            elif strict:
                missing_keys.append(extra_key)
        elif strict and extra_key in state_dict:
            unexpected_keys.append(extra_key)

        if strict:
            for key in state_dict:
                if key.startswith(prefix) and key != extra_key:
                    name, dot, _ = key[len(prefix):].partition(".")
                    if name not in (self._modules if dot else own):
                        unexpected_keys.append(key)

    def _load_entry(self, name: str, key: str, current: Tensor, entry: Any, assign: bool,
                    error_msgs: list[str]) -> None:
        if not isinstance(entry, Tensor):
            error_msgs.append(f'While copying the parameter named "{key}", expected torch.Tensor or Tensor-like object '
                              f"from checkpoint but received {type(entry)}")
            return
        if current.dim() == 0 and tuple(entry.shape) == (1,):
            # Scalars were saved with one dimension by early versions of PyTorch.
            entry = entry[0]
        if entry.shape != current.shape:
            error_msgs.append(f"size mismatch for {key}: copying a param with shape {entry.shape} from checkpoint, "
                              f"the shape in current model is {current.shape}.")
            return
        try:
            with flamework.no_grad():
                if not assign:
                    current.copy_(entry)
                    return
                if isinstance(current, Parameter):
                    if isinstance(entry, Parameter):
                        entry.requires_grad_(current.requires_grad)
                    else:
                        entry = Parameter(entry, requires_grad=current.requires_grad)
                setattr(self, name, entry)
        except Exception as error:
            error_msgs.append(f'While copying the parameter named "{key}", whose dimensions in the model are '
                              f"{current.size()} and whose dimensions in the checkpoint are {entry.size()}, "
                              f"an exception occurred : {error.args}.")

    def get_extra_state(self) -> Any:
        """Return further state that ``state_dict`` is to hold; a subclass overrides it with ``set_extra_state``."""
        raise RuntimeError(f"{type(self).__name__} has no extra state: it does not override get_extra_state")

    def set_extra_state(self, state: Any) -> None:
        """Take back what ``get_extra_state`` returned; a subclass overrides it."""
        raise RuntimeError(f"{type(self).__name__} takes no extra state: it does not override set_extra_state")

    def register_state_dict_pre_hook(self, hook: Callable[..., None]) -> RemovableHandle:
        """Run ``hook(module, prefix, keep_vars)`` before ``state_dict`` collects this module's state."""
        return register(self._state_dict_pre_hooks, hook)

    def register_state_dict_post_hook(self, hook: Callable[..., None]) -> RemovableHandle:
        """Run ``hook(module, state_dict, prefix, local_metadata)`` after collecting; it edits the dictionary."""
        return register(self._state_dict_hooks, hook)

    def register_load_state_dict_pre_hook(self, hook: Callable[..., None]) -> RemovableHandle:
        """Run ``hook(module, state_dict, prefix, local_metadata, strict, missing_keys, unexpected_keys, error_msgs)``
        before this module loads; it edits the dictionary and the lists.
        """
        return register(self._load_state_dict_pre_hooks, hook)

    def register_load_state_dict_post_hook(self, hook: Callable[..., None]) -> RemovableHandle:
        """Run ``hook(module, incompatible_keys)`` after this module and its children have loaded.

        The hook may edit the two lists in place, before they are turned into an error.
        """
        return register(self._load_state_dict_post_hooks, hook)


def _load_tree(module: Module, entries: dict[str, Any], prefix: str, metadata: dict[str, Any], assign: bool,
               result: _IncompatibleKeys, errors: list[str]) -> None:
    local_metadata = metadata.get(prefix[:-1], {})
    if assign:
        local_metadata = local_metadata | {"assign_to_params_buffers": True}
    # Always strict here: the caller decides what missing and unexpected keys mean.
    module._load_from_state_dict(entries, prefix, local_metadata, True, result.missing_keys, result.unexpected_keys,
                                 errors)
    for name, child in module._modules.items():
        if child is not None:
            child_prefix = f"{prefix}{name}."
            child_entries = {key: value for key, value in entries.items() if key.startswith(child_prefix)}
            _load_tree(child, child_entries, child_prefix, metadata, assign, result, errors)
    for hook in module._load_state_dict_post_hooks.values():
        if hook(module, result) is not None:
            raise AssertionError("Hooks registered with ``register_load_state_dict_post_hook`` are not expected to "
                                 "return new values, if incompatible_keys need to be modified, it should be done "
                                 "inplace.")


def _overrides(module: Any, method: str) -> bool:
    return getattr(type(module), method) is not getattr(StateDictMixin, method)


def _quoted(key: str) -> str:
    return f'"{key}"'
