"""Steps of a recurrent layer with a layer for what arrives from outside, and one for its state."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from .parts import linear_of

__all__ = ["RecurrentCell"]


class RecurrentCell(nn.Module):
    """`torch.nn.LSTMCell`, `GRUCell` or `RNNCell` with two layers.

    ``ih`` is applied to the inputs and ``hh`` to the hidden state, in every step.
    """

    def __init__(self, given: nn.RNNCellBase) -> None:
        super().__init__()
        self.input_size, self.hidden_size = given.input_size, given.hidden_size
        self.bias, self._kind = given.bias, type(given)
        self.nonlinearity = getattr(given, "nonlinearity", "tanh")
        self.ih = linear_of(given.weight_ih, given.bias_ih if given.bias else None)
        self.hh = linear_of(given.weight_hh, given.bias_hh if given.bias else None)

    def forward(self, input: torch.Tensor, hx: Any = None) -> Any:
        """Compute the next state; that of an `LSTMCell` is a pair."""
        if hx is None:
            zeros = input.new_zeros(*input.shape[:-1], self.hidden_size)
            hx = (zeros, zeros) if self._kind is nn.LSTMCell else zeros
        if self._kind is nn.LSTMCell:
            return self._lstm_step(input, *hx)
        return self._gru_step(input, hx) if self._kind is nn.GRUCell else self._step(input, hx)

    def _lstm_step(
        self, values: torch.Tensor, hidden: torch.Tensor, cell: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        gates = (self.ih(values) + self.hh(hidden)).chunk(4, -1)
        enters, stays, leaves = (gates[k].sigmoid() for k in (0, 1, 3))
        cell = stays * cell + enters * gates[2].tanh()
        return leaves * cell.tanh(), cell

    def _gru_step(self, values: torch.Tensor, hidden: torch.Tensor) -> Any:
        given, returned = self.ih(values).chunk(3, -1), self.hh(hidden).chunk(3, -1)
        reset, stays = ((given[k] + returned[k]).sigmoid() for k in (0, 1))
        candidate = (given[2] + reset * returned[2]).tanh()
        return (1 - stays) * candidate + stays * hidden

    def _step(self, values: torch.Tensor, hidden: torch.Tensor) -> Any:
        total = self.ih(values) + self.hh(hidden)
        return total.relu() if self.nonlinearity == "relu" else total.tanh()
