"""Recurrent layers: RNN, LSTM and GRU over whole sequences, and the cells that take one step.

In: sequences (time, batch, features), or one step (batch, features), and a state. Out: the hidden states of all steps
and the state at the end. Read ``functional_rnn.py`` for the computation.
"""

from __future__ import annotations

import math
import numbers
from typing import Any

import flamework
from flamework.nn import functional_rnn, init
from flamework.nn.functional_rnn import Weights
from flamework.nn.module import Module
from flamework.nn.parameter import Parameter
from flamework.origin import warn
from flamework.tensor import Tensor

__all__ = ["GRU", "GRUCell", "LSTM", "LSTMCell", "RNN", "RNNBase", "RNNCell", "RNNCellBase"]


def _reset(module: Module, hidden_size: int) -> None:
    bound = 1 / math.sqrt(hidden_size) if hidden_size > 0 else 0
    for parameter in module.parameters():
        init.uniform_(parameter, -bound, bound)


class RNNBase(Module):
    """What ``RNN``, ``LSTM`` and ``GRU`` share: parameters of all layers, and the checks of their inputs.

    Args:
        mode: "RNN_TANH", "RNN_RELU", "LSTM" or "GRU".
        input_size: features of an input step.
        hidden_size: features of the hidden state.
        num_layers: recurrences on top of each other.
        bias: whether both products of a step have a bias.
        batch_first: the input and the output are (batch, time, features); states are not affected.
        dropout: probability of a zero in the outputs of all layers but the last, while training.
        bidirectional: each layer also runs backwards, and the outputs of both are put side by side.
        proj_size: LSTM only: features that the hidden state is mapped to after each step, or 0.
        device, dtype: of the parameters.

    Parameters of layer k are ``weight_ih_l{k}``, ``weight_hh_l{k}``, ``bias_ih_l{k}``, ``bias_hh_l{k}`` and
    ``weight_hr_l{k}``, with ``_reverse`` behind those of the direction backwards; all start uniform on
    +-1/sqrt(hidden_size). As ``torch.nn.RNNBase``.

    Raises:
        TypeError: a size or a flag has another type.
        ValueError: a size or ``dropout`` is out of range, or ``mode`` is unknown.
    """

    def __init__(self, mode: str, input_size: int, hidden_size: int, num_layers: int = 1, bias: bool = True,
                 batch_first: bool = False, dropout: float = 0.0, bidirectional: bool = False, proj_size: int = 0,
                 device: Any = None, dtype: Any = None) -> None:
        super().__init__()
        if not isinstance(dropout, numbers.Number) or isinstance(dropout, bool) or not 0 <= dropout <= 1:
            raise ValueError("dropout should be a number in range [0, 1] representing the probability of an element "
                             "being zeroed")
        if dropout > 0 and num_layers == 1:
            warn(
                "dropout option adds dropout after all but last recurrent layer, so non-zero dropout expects "
                f"num_layers greater than 1, but got dropout={dropout} and num_layers={num_layers}")
        for name, value, wanted in (("bias", bias, bool), ("batch_first", batch_first, bool),
                                    ("input_size", input_size, int), ("hidden_size", hidden_size, int)):
            if not isinstance(value, wanted):
                raise TypeError(f"{name} should be of type {wanted.__name__}, got: {type(value).__name__}")
            if wanted is int and value <= 0:
                raise ValueError(f"{name} must be greater than zero")
        if num_layers <= 0:
            raise ValueError("num_layers must be greater than zero")
        if proj_size < 0:
            raise ValueError("proj_size should be a positive integer or zero to disable projections")
        if proj_size >= hidden_size:
            raise ValueError("proj_size has to be smaller than hidden_size")
        if mode not in functional_rnn.GATES:
            raise ValueError(f"Unrecognized RNN mode: {mode}")
        self.mode = mode
        self.input_size = input_size
        self.hidden_size = hidden_size
        self.num_layers = num_layers
        self.bias = bias
        self.batch_first = batch_first
        self.dropout = float(dropout)
        self.bidirectional = bidirectional
        self.proj_size = proj_size

        gates, size = functional_rnn.GATES[mode] * hidden_size, proj_size or hidden_size
        for layer in range(num_layers):
            features = size * self._directions if layer else input_size
            shapes: dict[str, tuple[int, ...]] = {"weight_ih": (gates, features), "weight_hh": (gates, size)}
            if bias:
                shapes |= {"bias_ih": (gates,), "bias_hh": (gates,)}
            if proj_size:
                shapes["weight_hr"] = (proj_size, hidden_size)
            for suffix in self._suffixes(layer):
                for name, shape in shapes.items():
                    setattr(self, name + suffix, Parameter(flamework.empty(shape, device=device, dtype=dtype)))
        self.reset_parameters()

    @property
    def _directions(self) -> int:
        return 2 if self.bidirectional else 1

    def _suffixes(self, layer: int) -> list[str]:
        return [f"_l{layer}", f"_l{layer}_reverse"][: self._directions]

    def reset_parameters(self) -> None:
        """Draw all parameters anew."""
        _reset(self, self.hidden_size)

    def flatten_parameters(self) -> None:
        """Do nothing: in PyTorch too, only parameters on a GPU are moved together."""

    def _weights(self) -> list[Weights]:
        """The parameters of each layer, and in it of each direction."""
        parameters = self._parameters
        return [
            Weights(*(parameters.get(name + suffix)
                      for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh", "weight_hr")))
            for layer in range(self.num_layers) for suffix in self._suffixes(layer)
        ]

    @property
    def all_weights(self) -> list[list[Parameter]]:
        """The parameters of each layer, and in it of each direction."""
        return [[parameter for parameter in weights if parameter is not None] for weights in self._weights()]

    def check_input(self, input: Tensor) -> None:
        """Raise unless ``input`` is (time, batch, input_size) of the parameters' dtype."""
        wanted = self.weight_ih_l0.dtype
        if input.dtype != wanted:
            raise ValueError(
                f"RNN input dtype ({input.dtype}) does not match weight dtype ({wanted}). Convert input: "
                f"input.to({wanted}), or convert model: model.to({input.dtype})")
        if input.dim() != 3:
            raise RuntimeError(f"input must have 3 dimensions, got {input.dim()}")
        if input.size(-1) != self.input_size:
            raise RuntimeError("input.size(-1) must be equal to input_size. "
                               f"Expected {self.input_size}, got {input.size(-1)}")

    def _run(self, input: Tensor, hx: Any) -> tuple[Tensor, tuple[Tensor, ...]]:
        """The output for ``input`` and the stacked states at the end, from ``hx``: a tuple of states, or None."""
        batched, time = input.dim() == 3, 1 if self.batch_first else 0
        if not batched:
            input = input.unsqueeze(1 - time)
            if hx is not None:
                hx = tuple(state.unsqueeze(1) for state in hx)
        recurrences, batch = self.num_layers * self._directions, input.size(1 - time)
        sizes = [self.proj_size or self.hidden_size, self.hidden_size][: 2 if self.mode == "LSTM" else 1]
        if hx is None:
            hx = tuple(input.new_zeros((recurrences, batch, size), dtype=self.weight_ih_l0.dtype) for size in sizes)
        self.check_input(input)
        for i, size in enumerate(sizes):
            if tuple(hx[i].shape) != (recurrences, batch, size):
                name = f"hidden[{i}]" if self.mode == "LSTM" else "hidden"
                raise RuntimeError(f"Expected {name} size {(recurrences, batch, size)}, got {list(hx[i].shape)}")
        if not input.size(time):
            raise RuntimeError("Expected sequence length to be larger than 0 in RNN")

        states = list(zip(*(state.unbind(0) for state in hx)))
        output, ends = functional_rnn.layers(
            self.mode, input.transpose(0, 1) if self.batch_first else input, states, self._weights(),
            self._directions, self.dropout, self.training)
        if self.batch_first:
            output = output.transpose(0, 1)
        stacked = tuple(flamework.stack(parts) for parts in zip(*ends))
        if batched:
            return output, stacked
        return output.squeeze(1 - time), tuple(state.squeeze(1) for state in stacked)

    def _forward_one_state(self, name: str, input: Tensor, hx: Tensor | None) -> tuple[Tensor, Tensor]:
        """The forward of the modes whose state is one tensor."""
        if input.dim() not in (2, 3):
            raise ValueError(f"{name}: Expected input to be 2D or 3D, got {input.dim()}D "
                             + ("tensor instead" if name == "RNN" else "instead"))
        if hx is not None and hx.dim() != input.dim():
            kind = "batched" if input.dim() == 3 else "unbatched"
            raise RuntimeError(f"For {kind} {input.dim()}-D input, hx should also be {input.dim()}-D "
                               f"but got {hx.dim()}-D tensor")
        output, (end,) = self._run(input, None if hx is None else (hx,))
        return output, end

    def extra_repr(self) -> str:
        text = f"{self.input_size}, {self.hidden_size}"
        for name, usual in (("proj_size", 0), ("num_layers", 1), ("bias", True), ("batch_first", False),
                            ("dropout", 0), ("bidirectional", False)):
            value = getattr(self, name)
            if value != usual:
                text += f", {name}={value}"
        return text


class RNN(RNNBase):
    """h_t = tanh(W_ih x_t + b_ih + W_hh h_(t-1) + b_hh) over a sequence.

    Args:
        input_size: features of an input step.
        hidden_size: features of the hidden state.
        num_layers: recurrences on top of each other.
        nonlinearity: "tanh" or "relu".
        bias, batch_first, dropout, bidirectional, device, dtype: as for ``RNNBase``.

    Shape: input (time, batch, input_size), state (num_layers * directions, batch, hidden_size) or None for zeros; to
    the hidden states of the last layer (time, batch, directions * hidden_size) and the state at the end. Without the
    batch dimension, all are without it. Elman, "Finding structure in time" (1990). As ``torch.nn.RNN``.

    Raises:
        RuntimeError, ValueError: shapes or the dtype of an input do not fit.

    Example:
        >>> import flamework
        >>> output, end = flamework.nn.RNN(10, 20, num_layers=2)(flamework.zeros(5, 3, 10))
        >>> tuple(output.shape), tuple(end.shape)
        ((5, 3, 20), (2, 3, 20))
    """

    def __init__(self, input_size: int, hidden_size: int, num_layers: int = 1, nonlinearity: str = "tanh",
                 bias: bool = True, batch_first: bool = False, dropout: float = 0.0, bidirectional: bool = False,
                 proj_size: int | None = None, device: Any = None, dtype: Any = None) -> None:
        _refuse_projection(proj_size)
        if nonlinearity not in ("tanh", "relu"):
            raise ValueError(f"Unknown nonlinearity '{nonlinearity}'. Select from 'tanh' or 'relu'.")
        super().__init__(f"RNN_{nonlinearity.upper()}", input_size, hidden_size, num_layers, bias, batch_first,
                         dropout, bidirectional, device=device, dtype=dtype)
        self.nonlinearity = nonlinearity

    def forward(self, input: Tensor, hx: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return self._forward_one_state("RNN", input, hx)


class LSTM(RNNBase):
    """Long short-term memory over a sequence.

    With the gates i, f, o = sigmoid and g = tanh of their rows of W_ih x_t + b_ih + W_hh h_(t-1) + b_hh, which are in
    the order i, f, g, o: c_t = f c_(t-1) + i g, and h_t = o tanh(c_t), or W_hr times that.

    Args:
        input_size: features of an input step.
        hidden_size: features of the cell state, and of the hidden state unless it is projected.
        num_layers: recurrences on top of each other.
        bias, batch_first, dropout, bidirectional, proj_size, device, dtype: as for ``RNNBase``.

    Shape: input (time, batch, input_size), states (h, c) of shapes (num_layers * directions, batch, proj_size or
    hidden_size) and (num_layers * directions, batch, hidden_size), or None for zeros; to the hidden states of the last
    layer and (h, c) at the end. Without the batch dimension, all are without it. Hochreiter and Schmidhuber (1997).
    As ``torch.nn.LSTM``.

    Raises:
        RuntimeError, ValueError: shapes or the dtype of an input do not fit.

    Example:
        >>> import flamework
        >>> output, (h, c) = flamework.nn.LSTM(10, 20, bidirectional=True)(flamework.zeros(5, 3, 10))
        >>> tuple(output.shape), tuple(c.shape)
        ((5, 3, 40), (2, 3, 20))
    """

    def __init__(self, input_size: int, hidden_size: int, num_layers: int = 1, bias: bool = True,
                 batch_first: bool = False, dropout: float = 0.0, bidirectional: bool = False, proj_size: int = 0,
                 device: Any = None, dtype: Any = None) -> None:
        super().__init__("LSTM", input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional,
                         proj_size, device, dtype)

    def forward(self, input: Tensor, hx: tuple[Tensor, Tensor] | None = None) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        if input.dim() not in (2, 3):
            raise ValueError(f"LSTM: Expected input to be 2D or 3D, got {input.dim()}D instead")
        if hx is not None and not hx[0].dim() == hx[1].dim() == input.dim():
            kind = "batched" if input.dim() == 3 else "unbatched"
            raise RuntimeError(f"For {kind} {input.dim()}-D input, hx and cx should also be {input.dim()}-D "
                               f"but got ({hx[0].dim()}-D, {hx[1].dim()}-D) tensors")
        return self._run(input, hx)


class GRU(RNNBase):
    """Gated recurrent units over a sequence.

    With the gates r, z = sigmoid of their rows of W_ih x_t + b_ih + W_hh h_(t-1) + b_hh, which are in the order
    r, z, n: n = tanh(W_in x_t + b_in + r (W_hn h_(t-1) + b_hn)), and h_t = (1 - z) n + z h_(t-1).

    Args:
        input_size: features of an input step.
        hidden_size: features of the hidden state.
        num_layers: recurrences on top of each other.
        bias, batch_first, dropout, bidirectional, device, dtype: as for ``RNNBase``.

    Shape: as ``RNN``. Cho et al. (2014). As ``torch.nn.GRU``.

    Raises:
        RuntimeError, ValueError: shapes or the dtype of an input do not fit.

    Example:
        >>> import flamework
        >>> output, end = flamework.nn.GRU(10, 20)(flamework.zeros(5, 10))
        >>> tuple(output.shape), tuple(end.shape)
        ((5, 20), (1, 20))
    """

    def __init__(self, input_size: int, hidden_size: int, num_layers: int = 1, bias: bool = True,
                 batch_first: bool = False, dropout: float = 0.0, bidirectional: bool = False,
                 proj_size: int | None = None, device: Any = None, dtype: Any = None) -> None:
        _refuse_projection(proj_size)
        super().__init__("GRU", input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional,
                         device=device, dtype=dtype)

    def forward(self, input: Tensor, hx: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return self._forward_one_state("GRU", input, hx)


def _refuse_projection(proj_size: int | None) -> None:
    if proj_size is not None:
        raise ValueError("proj_size argument is only supported for LSTM, not RNN or GRU")


class RNNCellBase(Module):
    """What the cells share: the parameters of one step and the checks of its inputs.

    Args:
        input_size: features of the input.
        hidden_size: features of the state.
        bias: whether both products have a bias.
        num_chunks: how many gates the weights hold.
        device, dtype: of the parameters.

    Parameters are ``weight_ih``, ``weight_hh``, ``bias_ih`` and ``bias_hh``; all start uniform on
    +-1/sqrt(hidden_size). As ``torch.nn.RNNCellBase``.
    """

    def __init__(self, input_size: int, hidden_size: int, bias: bool, num_chunks: int, device: Any = None,
                 dtype: Any = None) -> None:
        super().__init__()
        self.input_size = input_size
        self.hidden_size = hidden_size
        self.bias = bias
        gates = num_chunks * hidden_size
        for name, shape in (("weight_ih", (gates, input_size)), ("weight_hh", (gates, hidden_size)),
                            ("bias_ih", (gates,)), ("bias_hh", (gates,))):
            if name.startswith("weight") or bias:
                setattr(self, name, Parameter(flamework.empty(shape, device=device, dtype=dtype)))
            else:
                self.register_parameter(name, None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw all parameters anew."""
        _reset(self, self.hidden_size)

    def extra_repr(self) -> str:
        text = f"{self.input_size}, {self.hidden_size}"
        if self.bias is not True:
            text += f", bias={self.bias}"
        if getattr(self, "nonlinearity", "tanh") != "tanh":
            text += f", nonlinearity={self.nonlinearity}"
        return text

    def _check(self, input: Tensor, named_states: dict[str, Tensor | None]) -> None:
        name = type(self).__name__
        for what, tensor in {"input": input, **named_states}.items():
            if tensor is not None and tensor.dim() not in (1, 2):
                raise ValueError(f"{name}: Expected {what} to be 1D or 2D, got {tensor.dim()}D instead")

    def _step(self, mode: str, input: Tensor, states: tuple[Tensor | None, ...]) -> tuple[Tensor, ...]:
        """The states after ``input``, from ``states``; None is zeros."""
        batched = input.dim() == 2
        if not batched:
            input = input.unsqueeze(0)
        shape = (input.size(0), self.hidden_size)
        states = tuple(
            input.new_zeros(shape) if state is None else state if batched else state.unsqueeze(0) for state in states)
        if input.size(1) != self.input_size:
            raise RuntimeError(f"input has inconsistent input_size: got {input.size(1)} expected {self.input_size}")
        for i, state in enumerate(states):
            if state.size(0) != shape[0]:
                raise RuntimeError(
                    f"Input batch size {shape[0]} doesn't match hidden{i} batch size {state.size(0)}")
            if state.size(1) != self.hidden_size:
                raise RuntimeError(
                    f"hidden{i} has inconsistent hidden_size: got {state.size(1)}, expected {self.hidden_size}")
        weights = Weights(self.weight_ih, self.weight_hh, self.bias_ih, self.bias_hh)
        ends = functional_rnn.cell(mode, input, states, weights)
        return ends if batched else tuple(state.squeeze(0) for state in ends)


class RNNCell(RNNCellBase):
    """One step of ``RNN``: h' = tanh(W_ih x + b_ih + W_hh h + b_hh).

    Args:
        input_size: features of the input.
        hidden_size: features of the state.
        bias: whether both products have a bias.
        nonlinearity: "tanh" or "relu".
        device, dtype: of the parameters.

    Shape: input (batch, input_size) and state (batch, hidden_size), or None for zeros, to the next state; or all
    without the batch dimension. As ``torch.nn.RNNCell``.

    Raises:
        RuntimeError, ValueError: shapes do not fit, or the nonlinearity is unknown.

    Example:
        >>> import flamework
        >>> tuple(flamework.nn.RNNCell(10, 20)(flamework.zeros(3, 10)).shape)
        (3, 20)
    """

    def __init__(self, input_size: int, hidden_size: int, bias: bool = True, nonlinearity: str = "tanh",
                 device: Any = None, dtype: Any = None) -> None:
        super().__init__(input_size, hidden_size, bias, 1, device, dtype)
        self.nonlinearity = nonlinearity

    def forward(self, input: Tensor, hx: Tensor | None = None) -> Tensor:
        self._check(input, {"hidden": hx})
        if self.nonlinearity not in ("tanh", "relu"):
            raise RuntimeError(f"Unknown nonlinearity: {self.nonlinearity}")
        return self._step(f"RNN_{self.nonlinearity.upper()}", input, (hx,))[0]


class LSTMCell(RNNCellBase):
    """One step of ``LSTM``.

    Args:
        input_size: features of the input.
        hidden_size: features of both states.
        bias: whether both products have a bias.
        device, dtype: of the parameters.

    Shape: input (batch, input_size) and states (h, c), each (batch, hidden_size), or None for zeros, to the next
    (h, c); or all without the batch dimension. As ``torch.nn.LSTMCell``.

    Raises:
        RuntimeError, ValueError: shapes do not fit.

    Example:
        >>> import flamework
        >>> h, c = flamework.nn.LSTMCell(10, 20)(flamework.zeros(3, 10))
        >>> tuple(h.shape), tuple(c.shape)
        ((3, 20), (3, 20))
    """

    def __init__(self, input_size: int, hidden_size: int, bias: bool = True, device: Any = None,
                 dtype: Any = None) -> None:
        super().__init__(input_size, hidden_size, bias, 4, device, dtype)

    def forward(self, input: Tensor, hx: tuple[Tensor, Tensor] | None = None) -> tuple[Tensor, Tensor]:
        self._check(input, {f"hx[{i}]": state for i, state in enumerate(hx or ())})
        return self._step("LSTM", input, (None, None) if hx is None else (hx[0], hx[1]))


class GRUCell(RNNCellBase):
    """One step of ``GRU``.

    Args:
        input_size: features of the input.
        hidden_size: features of the state.
        bias: whether both products have a bias.
        device, dtype: of the parameters.

    Shape: input (batch, input_size) and state (batch, hidden_size), or None for zeros, to the next state; or all
    without the batch dimension. As ``torch.nn.GRUCell``.

    Raises:
        RuntimeError, ValueError: shapes do not fit.

    Example:
        >>> import flamework
        >>> tuple(flamework.nn.GRUCell(10, 20)(flamework.zeros(10)).shape)
        (20,)
    """

    def __init__(self, input_size: int, hidden_size: int, bias: bool = True, device: Any = None,
                 dtype: Any = None) -> None:
        super().__init__(input_size, hidden_size, bias, 3, device, dtype)

    def forward(self, input: Tensor, hx: Tensor | None = None) -> Tensor:
        self._check(input, {"hidden": hx})
        return self._step("GRU", input, (hx,))[0]
