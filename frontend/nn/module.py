"""``Module``: the base class of layers and models.

A module is a tree of named things: parameters, buffers and child modules. Assigning one of these to an attribute
registers it under the attribute's name, and everything else (collecting parameters for an optimizer, moving to another
device or dtype, switching between training and evaluation, saving) is a walk over that tree.

In: attribute assignments in a subclass's ``__init__`` and its ``forward``. Out: a callable object which knows its
parameters. Read ``state_dict.py`` next for saving and loading, ``hooks.py`` for what runs around a call, and
``epoch.py`` for how a compiled function notices that a module has changed.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator
from typing import Any, Self

import flamework
from flamework.nn.epoch import advance, mutation_epoch
from flamework.nn.hooks import RemovableHandle, call_with_hooks, register
from flamework.nn.parameter import Buffer, Parameter, typename
from flamework.nn.state_dict import StateDictMixin
from flamework.tensor import Tensor

__all__ = ["Module", "mutation_epoch"]


class Module(StateDictMixin):
    """Base class of every layer and model; subclass it, assign parts in ``__init__``, compute in ``forward``.

    As ``torch.nn.Module``.

    Example:
        >>> import flamework
        >>> class Scale(flamework.nn.Module):
        ...     def __init__(self):
        ...         super().__init__()
        ...         self.factor = flamework.nn.Parameter(flamework.ones(1))
        ...     def forward(self, x):
        ...         return x * self.factor
        >>> [name for name, _ in Scale().named_parameters()]
        ['factor']
    """

    # A subclass whose constructor is cooperative (several base classes) sets this to pass its arguments on.
    call_super_init: bool = False
    # A switch of PyTorch's old checkpoint format; scripts still read it.
    dump_patches: bool = False

    training: bool

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        if not self.call_super_init:
            if kwargs:
                raise TypeError(f"{type(self).__name__}.__init__() got an unexpected keyword argument "
                                f"'{next(iter(kwargs))}'")
            if args:
                raise TypeError(f"{type(self).__name__}.__init__() takes 1 positional argument but {len(args) + 1} "
                                "were given")
        # Straight into __dict__: __setattr__ needs these registries to exist.
        self.__dict__.update(
            training=True,
            _parameters={},
            _buffers={},
            _non_persistent_buffers_set=set(),
            _modules={},
            _forward_pre_hooks=OrderedDict(),
            _forward_pre_hooks_with_kwargs=OrderedDict(),
            _forward_hooks=OrderedDict(),
            _forward_hooks_with_kwargs=OrderedDict(),
            _forward_hooks_always_called=OrderedDict(),
            _backward_pre_hooks=OrderedDict(),
            _backward_hooks=OrderedDict(),
            _state_dict_pre_hooks=OrderedDict(),
            _state_dict_hooks=OrderedDict(),
            _load_state_dict_pre_hooks=OrderedDict(),
            _load_state_dict_post_hooks=OrderedDict(),
        )
        if self.call_super_init:
            super().__init__(*args, **kwargs)

    # ------------------------------------------------------------------------------------------------- the call

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Compute the module's output; every subclass that is called defines it.

        Call the module, not ``forward``: hooks run around the call only.

        Raises:
            RuntimeError: the class does not define it.
        """
        raise RuntimeError(f'Module [{type(self).__name__}] is missing the required "forward" function')

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if (self._forward_hooks or self._forward_pre_hooks or self._backward_hooks or self._backward_pre_hooks):
            return call_with_hooks(self, args, kwargs)
        return self.forward(*args, **kwargs)

    # ------------------------------------------------------------------------------------------- registration

    def register_parameter(self, name: str, param: Parameter | None) -> None:
        """Add a parameter under ``name``; None reserves the name without a parameter.

        Raises:
            KeyError: ``name`` is empty, has a dot, or is an attribute of another kind.
            TypeError: ``param`` is neither a Parameter nor None, or ``name`` no string.
            ValueError: ``param`` is the result of an operation.
        """
        if "_parameters" not in self.__dict__:
            raise AttributeError("cannot assign parameter before Module.__init__() call")
        self._check_name("parameter", name, self._parameters)
        if param is not None:
            if not isinstance(param, Parameter):
                raise TypeError(f"cannot assign '{typename(param)}' object to parameter '{name}' "
                                "(torch.nn.Parameter or None required)")
            if not param.is_leaf:
                raise ValueError(f"Cannot assign non-leaf Tensor to parameter '{name}'. Model parameters must be "
                                 f"created explicitly. To express '{name}' as a function of another Tensor, compute "
                                 "the value in the forward() method.")
        self._parameters[name] = param
        advance()

    def register_buffer(self, name: str, tensor: Tensor | None, persistent: bool = True) -> None:
        """Add a buffer under ``name``: state that moves and is saved with the module but is not trained.

        Args:
            tensor: any tensor, or None to reserve the name.
            persistent: whether ``state_dict`` holds it.

        Raises:
            KeyError: ``name`` is empty, has a dot, or is an attribute of another kind.
            TypeError: ``tensor`` is neither a tensor nor None, or ``name`` no string.
        """
        if "_buffers" not in self.__dict__:
            raise AttributeError("cannot assign buffer before Module.__init__() call")
        self._check_name("buffer", name, self._buffers)
        if tensor is not None and not isinstance(tensor, Tensor):
            raise TypeError(f"cannot assign '{typename(tensor)}' object to buffer '{name}' "
                            "(torch Tensor or None required)")
        self._buffers[name] = tensor
        if persistent:
            self._non_persistent_buffers_set.discard(name)
        else:
            self._non_persistent_buffers_set.add(name)
        advance()

    def add_module(self, name: str, module: Module | None) -> None:
        """Add a child module under ``name``; None reserves the name.

        Raises:
            KeyError: ``name`` is empty, has a dot, or is an attribute of another kind.
            TypeError: ``module`` is neither a Module nor None, or ``name`` no string.
        """
        if not isinstance(module, Module) and module is not None:
            raise TypeError(f"{typename(module)} is not a Module subclass")
        self._check_name("module", name, self._modules)
        self._modules[name] = module
        advance()

    def register_module(self, name: str, module: Module | None) -> None:
        """The same as ``add_module``."""
        self.add_module(name, module)

    def _check_name(self, kind: str, name: str, registry: dict[str, Any]) -> None:
        if not isinstance(name, str):
            raise TypeError(f"{kind} name should be a string. Got {typename(name)}")
        if "." in name:
            raise KeyError(f'{kind} name can\'t contain ".", got: {name}')
        if name == "":
            raise KeyError(f'{kind} name can\'t be empty string ""')
        if name not in registry and hasattr(self, name):
            raise KeyError(f"attribute '{name}' already exists")

    def __setattr__(self, name: str, value: Any) -> None:
        attributes = self.__dict__
        parameters = attributes.get("_parameters")
        if isinstance(value, Parameter):
            if parameters is None:
                raise AttributeError("cannot assign parameters before Module.__init__() call")
            self._forget(name, parameters)
            self.register_parameter(name, value)
            return
        if parameters is not None and name in parameters:
            if value is not None:
                raise TypeError(f"cannot assign '{typename(value)}' as parameter '{name}' "
                                "(torch.nn.Parameter or None expected)")
            self.register_parameter(name, None)
            return

        modules = attributes.get("_modules")
        if isinstance(value, Module):
            if modules is None:
                raise AttributeError("cannot assign module before Module.__init__() call")
            self._forget(name, modules)
            modules[name] = value
            advance()
            return
        if modules is not None and name in modules:
            if value is not None:
                raise TypeError(f"cannot assign '{typename(value)}' as child module '{name}' "
                                "(torch.nn.Module or None expected)")
            modules[name] = None
            advance()
            return

        buffers = attributes.get("_buffers")
        if buffers is not None and (name in buffers or isinstance(value, Buffer)):
            if value is not None and not isinstance(value, Tensor):
                raise TypeError(f"cannot assign '{typename(value)}' as buffer '{name}' "
                                "(torch.nn.Buffer, torch.Tensor or None expected)")
            persistent = name not in self._non_persistent_buffers_set
            if isinstance(value, Buffer):
                persistent = value.persistent
                self._forget(name, buffers)
            self.register_buffer(name, value, persistent)
            return
        if isinstance(value, Buffer):
            raise AttributeError("cannot assign buffer before Module.__init__() call")

        # A model that stores the same object again (a cached mask, train() while training) has not changed.
        if name not in attributes or attributes[name] is not value:
            super().__setattr__(name, value)
            advance()

    def _forget(self, name: str, keep: dict[str, Any]) -> None:
        """Remove ``name`` from every place but ``keep``, so that a value of another kind can take it."""
        self.__dict__.pop(name, None)
        for registry in (self._parameters, self._buffers, self._modules):
            if registry is not keep:
                registry.pop(name, None)
        self._non_persistent_buffers_set.discard(name)

    def __getattr__(self, name: str) -> Any:
        # Only reached when the ordinary lookup has failed.
        attributes = self.__dict__
        for kind in ("_parameters", "_buffers", "_modules"):
            registry = attributes.get(kind)
            if registry is not None and name in registry:
                return registry[name]
        raise AttributeError(f"'{type(self).__name__}' object has no attribute '{name}'")

    def __delattr__(self, name: str) -> None:
        for registry in (self._parameters, self._buffers, self._modules):
            if name in registry:
                del registry[name]
                self._non_persistent_buffers_set.discard(name)
                break
        else:
            super().__delattr__(name)
        advance()

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        advance()

    def __dir__(self) -> list[str]:
        names = [*dir(type(self)), *self.__dict__, *self._parameters, *self._modules, *self._buffers]
        return sorted(name for name in names if not name[0].isdigit())

    # ----------------------------------------------------------------------------------------- walks over the tree

    def named_modules(self, memo: set[Module] | None = None, prefix: str = "",
                      remove_duplicate: bool = True) -> Iterator[tuple[str, Module]]:
        """Yield the module itself and all its descendants with their dotted names, each object once.

        Args:
            memo: modules that are not to be yielded (again).
            prefix: name of this module.
            remove_duplicate: False yields a module that has several names under each of them.
        """
        if memo is None:
            memo = set()
        if self in memo:
            return
        if remove_duplicate:
            memo.add(self)
        yield prefix, self
        for name, module in self._modules.items():
            if module is not None:
                yield from module.named_modules(memo, f"{prefix}.{name}" if prefix else name, remove_duplicate)

    def modules(self, remove_duplicate: bool = True) -> Iterator[Module]:
        """Yield the module itself and all its descendants."""
        for _, module in self.named_modules(remove_duplicate=remove_duplicate):
            yield module

    def named_children(self) -> Iterator[tuple[str, Module]]:
        """Yield the direct children with their names, each object once."""
        seen = set()
        for name, module in self._modules.items():
            if module is not None and module not in seen:
                seen.add(module)
                yield name, module

    def children(self) -> Iterator[Module]:
        """Yield the direct children, each object once."""
        for _, module in self.named_children():
            yield module

    def _named_members(self, members: Callable[[Module], Any], prefix: str, recurse: bool,
                       remove_duplicate: bool) -> Iterator[tuple[str, Tensor]]:
        modules = self.named_modules(prefix=prefix, remove_duplicate=remove_duplicate) if recurse else [(prefix, self)]
        seen: set[int] = set()
        for path, module in modules:
            for name, member in members(module):
                if member is None or id(member) in seen:
                    continue
                if remove_duplicate:
                    seen.add(id(member))
                yield f"{path}.{name}" if path else name, member

    def named_parameters(self, prefix: str = "", recurse: bool = True,
                         remove_duplicate: bool = True) -> Iterator[tuple[str, Parameter]]:
        """Yield parameters with their dotted names; a shared parameter under its first name only.

        Args:
            prefix: prepended to every name.
            recurse: False leaves out the descendants' parameters.
            remove_duplicate: False yields a shared parameter under each of its names.
        """
        yield from self._named_members(lambda module: module._parameters.items(), prefix, recurse, remove_duplicate)

    def parameters(self, recurse: bool = True) -> Iterator[Parameter]:
        """Yield parameters, each once; this is what an optimizer takes."""
        for _, parameter in self.named_parameters(recurse=recurse):
            yield parameter

    def named_buffers(self, prefix: str = "", recurse: bool = True,
                      remove_duplicate: bool = True) -> Iterator[tuple[str, Tensor]]:
        """Yield buffers with their dotted names; the arguments are those of ``named_parameters``."""
        yield from self._named_members(lambda module: module._buffers.items(), prefix, recurse, remove_duplicate)

    def buffers(self, recurse: bool = True) -> Iterator[Tensor]:
        """Yield buffers, each once."""
        for _, buffer in self.named_buffers(recurse=recurse):
            yield buffer

    def get_submodule(self, target: str) -> Module:
        """Return the descendant with the dotted name ``target``; the empty name is the module itself.

        Raises:
            AttributeError: there is no such attribute, or it is no module.
        """
        module: Module = self
        for name in target.split(".") if target else ():
            if not hasattr(module, name):
                raise AttributeError(f"{module._get_name()} has no attribute `{name}`")
            module = getattr(module, name)
            if not isinstance(module, Module):
                raise AttributeError(f"`{name}` is not an nn.Module")
        return module

    def set_submodule(self, target: str, module: Module, strict: bool = False) -> None:
        """Put ``module`` at the dotted name ``target``.

        Args:
            strict: insist that something is there to be replaced.

        Raises:
            ValueError: ``target`` is empty or ``module`` is no module.
            AttributeError: the parent does not exist, or ``target`` names something that is no module.
        """
        if target == "":
            raise ValueError("Cannot set the submodule without a target name!")
        if not isinstance(module, Module):
            raise ValueError(f"`module` is not an nn.Module, found {type(module)}")
        path, _, name = target.rpartition(".")
        parent = self.get_submodule(path)
        if strict and not hasattr(parent, name):
            raise AttributeError(f"{parent._get_name()} has no attribute `{name}`")
        if hasattr(parent, name) and not isinstance(getattr(parent, name), Module):
            raise AttributeError(f"`{name}` is not an nn.Module")
        setattr(parent, name, module)

    def get_parameter(self, target: str) -> Parameter:
        """Return the parameter with the dotted name ``target``; AttributeError if there is none."""
        module, name = self._owner(target)
        parameter = getattr(module, name)
        if not isinstance(parameter, Parameter):
            raise AttributeError(f"`{name}` is not an nn.Parameter")
        return parameter

    def get_buffer(self, target: str) -> Tensor:
        """Return the buffer with the dotted name ``target``; AttributeError if there is none."""
        module, name = self._owner(target)
        if name not in module._buffers:
            raise AttributeError(f"`{name}` is not a buffer")
        return module._buffers[name]

    def _owner(self, target: str) -> tuple[Module, str]:
        path, _, name = target.rpartition(".")
        module = self.get_submodule(path)
        if not hasattr(module, name):
            raise AttributeError(f"{module._get_name()} has no attribute `{name}`")
        return module, name

    def apply(self, fn: Callable[[Module], None]) -> Self:
        """Call ``fn`` on every descendant, children first, then on the module itself; for initialisation."""
        for module in self.children():
            module.apply(fn)
        fn(self)
        return self

    # ---------------------------------------------------------------------------------------- dtypes and devices

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        """Replace every parameter, gradient and buffer ``t`` by ``fn(t)``; parameters stay the same objects."""
        if recurse:
            for module in self.children():
                module._apply(fn)
        for parameter in self._parameters.values():
            if parameter is None:
                continue
            with flamework.no_grad():
                grad = parameter.grad
                # Through .data: an optimizer that holds this object must see the converted values.
                parameter.data = fn(parameter)
                if grad is not None:
                    grad.data = fn(grad)
        for name, buffer in self._buffers.items():
            if buffer is not None:
                self._buffers[name] = fn(buffer)
        advance()
        return self

    def to(self, *args: Any, **kwargs: Any) -> Self:
        """Move and cast the module in place: ``to(device, dtype)``, ``to(dtype)`` or ``to(tensor)``.

        Only floating-point parameters and buffers change their dtype. Each form takes ``non_blocking`` too, and the
        keyword ``memory_format``, which is for parameters and buffers of four or five dimensions.

        Raises:
            TypeError: the dtype is not a floating-point one, or the arguments fit none of the forms.
        """
        memory_format = kwargs.pop("memory_format", None)
        device, dtype, non_blocking = _parse_to(*args, **kwargs)
        if dtype is not None and not dtype.is_floating_point:
            raise TypeError("nn.Module.to only accepts floating point or complex dtypes, "
                            f"but got desired dtype={dtype}")

        def convert(tensor: Tensor) -> Tensor:
            target = dtype if tensor.is_floating_point() else None
            if memory_format is not None and tensor.dim() in (4, 5):
                return tensor.to(device, target, non_blocking, memory_format=memory_format)
            return tensor.to(device, target, non_blocking)

        return self._apply(convert)

    def to_empty(self, *, device: Any, recurse: bool = True) -> Self:
        """Move to ``device`` without the values: parameters and buffers are uninitialised afterwards."""
        return self._apply(lambda tensor: flamework.empty_like(tensor, device=device), recurse=recurse)

    def cpu(self) -> Self:
        """Move parameters and buffers to the CPU."""
        return self._apply(lambda tensor: tensor.cpu())

    def cuda(self, device: Any = None) -> Self:
        """Move parameters and buffers to a GPU: an index, a device, or the current one."""
        return self._apply(lambda tensor: tensor.cuda(device))

    def type(self, dst_type: Any) -> Self:
        """Cast all parameters and buffers to ``dst_type``, whatever they are."""
        return self._apply(lambda tensor: tensor.type(dst_type))

    def share_memory(self) -> Self:
        """Move parameters and buffers to memory that other processes can see; as ``Tensor.share_memory_``."""
        return self._apply(lambda tensor: tensor.share_memory_())

    def float(self) -> Self:
        """Cast floating-point parameters and buffers to float32."""
        return self._apply(lambda tensor: tensor.float() if tensor.is_floating_point() else tensor)

    def double(self) -> Self:
        """Cast floating-point parameters and buffers to float64."""
        return self._apply(lambda tensor: tensor.double() if tensor.is_floating_point() else tensor)

    def half(self) -> Self:
        """Cast floating-point parameters and buffers to float16."""
        return self._apply(lambda tensor: tensor.half() if tensor.is_floating_point() else tensor)

    def bfloat16(self) -> Self:
        """Cast floating-point parameters and buffers to bfloat16."""
        return self._apply(lambda tensor: tensor.bfloat16() if tensor.is_floating_point() else tensor)

    # -------------------------------------------------------------------------------------------------- modes

    def train(self, mode: bool = True) -> Self:
        """Set training mode here and in all descendants; it matters to dropout and batch normalisation."""
        if not isinstance(mode, bool):
            raise ValueError("training mode is expected to be boolean")
        self.training = mode
        for module in self.children():
            module.train(mode)
        return self

    def eval(self) -> Self:
        """Set evaluation mode: ``train(False)``."""
        return self.train(False)

    def requires_grad_(self, requires_grad: bool = True) -> Self:
        """Switch gradients of all parameters on, or off to freeze the module."""
        for parameter in self.parameters():
            parameter.requires_grad_(requires_grad)
        advance()
        return self

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Reset the gradients of all parameters: drop them, or fill them with zeros."""
        clear_gradients(self.parameters(), set_to_none)

    # -------------------------------------------------------------------------------------------------- hooks

    def register_forward_pre_hook(self, hook: Callable[..., Any], *, prepend: bool = False,
                                  with_kwargs: bool = False) -> RemovableHandle:
        """Run ``hook(module, args)`` before ``forward``; a result other than None replaces the arguments.

        Args:
            prepend: run before the hooks registered so far.
            with_kwargs: call ``hook(module, args, kwargs)``, which returns None or the pair of both.
        """
        return register(self._forward_pre_hooks, hook, prepend=prepend,
                        marks=[(self._forward_pre_hooks_with_kwargs, with_kwargs)])

    def register_forward_hook(self, hook: Callable[..., Any], *, prepend: bool = False, with_kwargs: bool = False,
                              always_call: bool = False) -> RemovableHandle:
        """Run ``hook(module, args, output)`` after ``forward``; a result other than None replaces the output.

        Args:
            prepend: run before the hooks registered so far.
            with_kwargs: call ``hook(module, args, kwargs, output)``.
            always_call: run also when ``forward`` raises.
        """
        return register(self._forward_hooks, hook, prepend=prepend,
                        marks=[(self._forward_hooks_with_kwargs, with_kwargs),
                               (self._forward_hooks_always_called, always_call)])

    def register_full_backward_pre_hook(self, hook: Callable[..., Any], prepend: bool = False) -> RemovableHandle:
        """Run ``hook(module, grad_output)`` when the output's gradients arrive; a result replaces them."""
        return register(self._backward_pre_hooks, hook, prepend=prepend)

    def register_full_backward_hook(self, hook: Callable[..., Any], prepend: bool = False) -> RemovableHandle:
        """Run ``hook(module, grad_input, grad_output)`` when the inputs' gradients are known.

        ``grad_input`` has an entry for each positional argument, None where it has no gradient; a result other than
        None replaces it.
        """
        return register(self._backward_hooks, hook, prepend=prepend)

    def register_backward_hook(self, hook: Callable[..., Any]) -> RemovableHandle:
        """The old name of ``register_full_backward_hook``, with the behaviour that its documentation promised."""
        return self.register_full_backward_hook(hook)

    # ------------------------------------------------------------------------------------------- representation

    def _get_name(self) -> str:
        return type(self).__name__

    def extra_repr(self) -> str:
        """Return what ``repr`` shows between the parentheses, without the children; subclasses override it."""
        return ""

    def __repr__(self) -> str:
        own = self.extra_repr()
        own_lines = own.split("\n") if own else []
        child_lines = [f"({name}): {indent(repr(module))}" for name, module in self._modules.items()]
        if not child_lines and len(own_lines) <= 1:
            return f"{self._get_name()}({own})"
        body = "\n  ".join(own_lines + child_lines)
        return f"{self._get_name()}(\n  {body}\n)"


def indent(text: str) -> str:
    """Indent every line but the first by two blanks; lines of blanks become empty."""
    first, *rest = text.split("\n")
    return "\n".join([first, *("  " + line if line.strip() else "" for line in rest)])


def clear_gradients(parameters: Any, set_to_none: bool) -> None:
    """Drop the gradients of ``parameters``, or fill them with zeros in place and cut their history."""
    for parameter in parameters:
        grad = parameter.grad
        if grad is None:
            continue
        if set_to_none:
            parameter.grad = None
            continue
        if grad.grad_fn is not None:
            grad.detach_()
        else:
            grad.requires_grad_(False)
        grad.zero_()


def _parse_to(*args: Any, **kwargs: Any) -> tuple[Any, Any, bool]:
    """Sort the arguments of ``Module.to`` into device, dtype and non_blocking."""
    first = args[0] if args else None
    if isinstance(first, Tensor) or "tensor" in kwargs:
        return _parse_to_tensor(*args, **kwargs)
    if isinstance(first, flamework.dtype):
        return _parse_to_dtype(*args, **kwargs)
    return _parse_to_device(*args, **kwargs)


def _parse_to_tensor(tensor: Tensor, non_blocking: bool = False) -> tuple[Any, Any, bool]:
    return tensor.device, tensor.dtype, non_blocking


def _parse_to_dtype(dtype: Any, non_blocking: bool = False) -> tuple[Any, Any, bool]:
    return None, dtype, non_blocking


def _parse_to_device(device: Any = None, dtype: Any = None, non_blocking: bool = False) -> tuple[Any, Any, bool]:
    return device, dtype, non_blocking
