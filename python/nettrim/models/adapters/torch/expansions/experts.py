"""Mixtures of experts with a layer for each matrix of each expert."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import nn

from .parts import linear_of

__all__ = ["Experts", "matrices_of_experts"]


def matrices_of_experts(given: Any) -> tuple[str, str]:
    """Return how a mixture of the transformers library calls the two matrices of its experts."""
    return "gate_up_proj" if given.has_gate else "up_proj", "down_proj"


class Experts(nn.Module):
    """A mixture of experts of the transformers library with a layer for each matrix of each expert.

    The library keeps the weights of all experts in two tensors of three axes. Here every expert
    sees all tokens, with zeros in place of those that are not routed to it: nothing comes of these,
    and they count in no program. What its second matrix is applied to is weighted as its outputs
    are in the sum. Biases are no part of the layers, and stay as they are.
    """

    def __init__(self, given: Any) -> None:
        super().__init__()
        numbers = {k: v for k, v in vars(given).items() if isinstance(v, (bool, int, float))}
        self.__dict__.update(numbers)  # that the gate of some models depends on
        self.act_fn: Any = getattr(given, "act_fn", None)
        self._gate = type(given)._apply_gate
        self._names, self._n_experts = matrices_of_experts(given), len(given.down_proj)
        for name in self._names:
            stacked = getattr(given, name)
            stacked = stacked.transpose(1, 2) if given.is_transposed else stacked
            self.add_module(name, nn.ModuleList(linear_of(weight, None) for weight in stacked))
            if given.has_bias:
                self.register_parameter(f"{name}_bias", getattr(given, f"{name}_bias"))

    def forward(
        self, hidden_states: torch.Tensor, top_k_index: torch.Tensor, top_k_weights: torch.Tensor
    ) -> torch.Tensor:
        """Return the weighted sum of what the experts make of the tokens routed to them."""
        first, second = (partial(self._map, name) for name in self._names)
        # An index beyond the last expert stands for none.
        nowhere = top_k_weights.new_zeros(len(hidden_states), self._n_experts + 1)
        shares = nowhere.scatter_add(1, top_k_index, top_k_weights)
        passed_by = nowhere.scatter(1, top_k_index, 1.0) == 0.0
        total = torch.zeros_like(hidden_states)
        for number in range(self._n_experts):
            values = first(number, hidden_states.masked_fill(passed_by[:, number, None], 0.0), 1.0)
            values = self._gate(self, values) if self.has_gate else self.act_fn(values)
            share = shares[:, number, None]
            total = total + second(number, values * share, share)
        return total

    def _map(self, name: str, number: int, values: torch.Tensor, share: Any) -> torch.Tensor:
        """Apply a matrix of an expert, and add a share of its bias."""
        values = self.get_submodule(f"{name}.{number}")(values)
        return values + share * getattr(self, f"{name}_bias")[number] if self.has_bias else values
