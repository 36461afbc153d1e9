"""Recurrences over time: what ``RNN``, ``LSTM`` and ``GRU`` and their cells compute.

In: the input's part of the gates, a state, and the weights of the recurrence. Out: the state after each step. The
input's part is ready made because a layer computes it for all steps in one matrix product. Read next: ``rnn.py``, the
modules.

A state is a tuple of tensors (batch, size): the hidden state, and for LSTM also the cell state. Gates are packed along
the last dimension, in PyTorch's order.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import flamework
from flamework.nn.functional_dropout import dropout
from flamework.nn.functional_sparse import linear
from flamework.tensor import Tensor

State = tuple[Tensor, ...]


class Weights(NamedTuple):
    """The parameters of one recurrence; a bias or a projection that is missing is None."""

    ih: Tensor  # (gates * hidden, input)
    hh: Tensor  # (gates * hidden, size of the hidden state)
    bias_ih: Tensor | None = None  # (gates * hidden,)
    bias_hh: Tensor | None = None
    projection: Tensor | None = None  # LSTM: (size of the hidden state, hidden)


def _tanh_step(part: Tensor, state: State, weights: Weights) -> State:
    return ((part + linear(state[0], weights.hh, weights.bias_hh)).tanh(),)


def _relu_step(part: Tensor, state: State, weights: Weights) -> State:
    return ((part + linear(state[0], weights.hh, weights.bias_hh)).relu(),)


def _lstm_step(part: Tensor, state: State, weights: Weights) -> State:
    hidden, cell = state
    enter, forget, candidate, leave = (part + linear(hidden, weights.hh, weights.bias_hh)).unsafe_chunk(4, -1)
    cell = forget.sigmoid() * cell + enter.sigmoid() * candidate.tanh()
    hidden = leave.sigmoid() * cell.tanh()
    return (hidden if weights.projection is None else linear(hidden, weights.projection)), cell


def _gru_step(part: Tensor, state: State, weights: Weights) -> State:
    hidden, = state
    reset, update, candidate = part.unsafe_chunk(3, -1)
    # The reset gate scales the hidden state's part of the candidate with its bias, so the two parts stay apart.
    own_reset, own_update, own_candidate = linear(hidden, weights.hh, weights.bias_hh).unsafe_chunk(3, -1)
    candidate = (candidate + (reset + own_reset).sigmoid() * own_candidate).tanh()
    return (candidate + (update + own_update).sigmoid() * (hidden - candidate),)


STEPS: dict[str, Callable[[Tensor, State, Weights], State]] = {
    "RNN_TANH": _tanh_step, "RNN_RELU": _relu_step, "LSTM": _lstm_step, "GRU": _gru_step,
}
GATES = {"RNN_TANH": 1, "RNN_RELU": 1, "LSTM": 4, "GRU": 3}


def cell(mode: str, input: Tensor, state: State, weights: Weights) -> State:
    """One step: the state after ``input`` (batch, features)."""
    return STEPS[mode](linear(input, weights.ih, weights.bias_ih), state, weights)


def scan(mode: str, input: Tensor, state: State, weights: Weights, reverse: bool) -> tuple[Tensor, State]:
    """Run a recurrence over ``input`` (time, batch, features), from the last step to the first if ``reverse``.

    Returns the hidden states of all steps (time, batch, size), in the order of the input, and the state at the end.
    """
    step = STEPS[mode]
    parts = linear(input, weights.ih, weights.bias_ih).unbind(0)
    outputs = []
    for part in reversed(parts) if reverse else parts:
        state = step(part, state, weights)
        outputs.append(state[0])
    return flamework.stack(outputs[::-1] if reverse else outputs), state


def layers(mode: str, input: Tensor, states: list[State], weights: list[Weights], directions: int, dropout_p: float,
           training: bool) -> tuple[Tensor, list[State]]:
    """Run layers of recurrences, each over the output of the one before.

    Args:
        input: (time, batch, features).
        states, weights: for each layer, and in it for each direction.
        directions: 1, or 2 for a recurrence forwards and one backwards, whose outputs are put side by side.
        dropout_p: probability of setting an element between two layers to zero while ``training``.

    Returns the output of the last layer (time, batch, directions * size) and the states at the end.
    """
    ends = []
    for first in range(0, len(weights), directions):
        if first and training and dropout_p:
            input = dropout(input, dropout_p)
        outputs = []
        for i in range(first, first + directions):
            output, end = scan(mode, input, states[i], weights[i], reverse=i > first)
            outputs.append(output)
            ends.append(end)
        input = outputs[0] if directions == 1 else flamework.cat(outputs, dim=-1)
    return input, ends
