"""Recurrent layers with a layer for what arrives from outside, and one for what comes back."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import nn

from .parts import linear_of

__all__ = ["RecurrentLayers"]

STEPS: Mapping[str, Callable[..., Any]] = {
    "GRU": torch.gru,
    "RNN_TANH": torch.rnn_tanh,
    "RNN_RELU": torch.rnn_relu,
}


class RecurrentLayers(nn.Module):
    """`torch.nn.LSTM`, `GRU` or `RNN` with two layers for each of its own layers and directions.

    ``ih_l0`` is applied to the inputs and ``hh_l0`` to the hidden states, one step before. Both are
    called for what arrives there to be heard; the outputs are computed by PyTorch with the weights
    that the two have then, and again behind each call, as they may change during it.
    """

    def __init__(self, given: nn.RNNBase) -> None:
        super().__init__()
        self.mode, self.bidirectional = given.mode, given.bidirectional
        self.input_size, self.hidden_size = given.input_size, given.hidden_size
        self.num_layers, self.batch_first = given.num_layers, given.batch_first
        self.bias, self.dropout, self.proj_size = given.bias, given.dropout, given.proj_size
        for suffix in self._suffixes():
            for part in ("ih", "hh"):
                weight = getattr(given, f"weight_{part}{suffix}")
                bias = getattr(given, f"bias_{part}{suffix}") if given.bias else None
                self.add_module(f"{part}{suffix}", linear_of(weight, bias))

    def flatten_parameters(self) -> None:
        """Do nothing: how weights lie in memory is no concern of the copy that runs."""

    def forward(self, input: torch.Tensor, hx: Any = None) -> tuple[torch.Tensor, Any]:
        """Compute what the module does in evaluation mode, for a batch of sequences."""
        initial = self._initial_states(input, hx)
        directions = 2 if self.bidirectional else 1
        values, last, outputs = input, [], []
        for number, suffix in enumerate(self._suffixes()):
            output, states = self._direction(
                suffix, values, tuple(state[number : number + 1] for state in initial)
            )
            last.append(states)
            outputs.append(output)
            if len(outputs) == directions:
                values, outputs = torch.cat(outputs, -1), []
        final = tuple(torch.cat(states) for states in zip(*last, strict=True))
        return values, final if self.mode == "LSTM" else final[0]

    def _suffixes(self) -> Iterator[str]:
        """Yield how the names of the weights of each layer and direction end."""
        for layer in range(self.num_layers):
            yield from (f"_l{layer}", f"_l{layer}_reverse")[: 2 if self.bidirectional else 1]

    def _initial_states(self, values: torch.Tensor, hx: Any) -> tuple[torch.Tensor, ...]:
        """Return the hidden states, and the cells of an LSTM, in front of the first step."""
        if hx is not None:
            return tuple(hx) if self.mode == "LSTM" else (hx,)
        count = self.num_layers * (2 if self.bidirectional else 1)
        n_samples = values.shape[0 if self.batch_first else 1]
        zeros = values.new_zeros(count, n_samples, self.hidden_size)
        return (zeros, zeros) if self.mode == "LSTM" else (zeros,)

    def _direction(
        self, suffix: str, values: torch.Tensor, initial: tuple[torch.Tensor, ...]
    ) -> tuple[torch.Tensor, tuple[torch.Tensor, ...]]:
        """Run one layer in one direction."""
        time, backwards = 1 if self.batch_first else 0, suffix.endswith("reverse")
        if backwards:
            values = values.flip(time)
        inputs, hidden = self.get_submodule(f"ih{suffix}"), self.get_submodule(f"hh{suffix}")
        inputs(values)
        output, _ = self._steps(inputs, hidden, values, initial)
        first = initial[0].movedim(0, time)
        hidden(torch.cat([first, output.narrow(time, 0, output.shape[time] - 1)], time))
        output, states = self._steps(inputs, hidden, values, initial)
        return output.flip(time) if backwards else output, states

    def _steps(
        self, inputs: Any, hidden: Any, values: torch.Tensor, initial: tuple[torch.Tensor, ...]
    ) -> tuple[torch.Tensor, tuple[torch.Tensor, ...]]:
        """Run the steps forwards; return all outputs and the last states."""
        weights = [inputs.weight, hidden.weight]
        if self.bias:
            weights += [inputs.bias, hidden.bias]
        options = (weights, self.bias, 1, 0.0, False, False, self.batch_first)
        if self.mode == "LSTM":
            computed = torch.lstm(values, initial, *options)
            return computed[0], (computed[1], computed[2])
        computed = STEPS[self.mode](values, initial[0], *options)
        return computed[0], (computed[1],)
