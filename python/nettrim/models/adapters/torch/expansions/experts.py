"""Mixtures of experts with a layer for each matrix of each expert."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from .parts import linear_of

__all__ = ["Experts"]


class Experts(nn.Module):
    """A mixture of experts of the transformers library with a layer for each matrix of each expert.

    The library keeps the weights of all experts in two tensors of three axes. Here every expert
    sees all tokens, with zeros in place of those that are not routed to it: without a bias nothing
    comes of these, and they count in no program. What its second matrix is applied to is weighted
    as its outputs are in the sum.
    """

    def __init__(self, given: Any) -> None:
        super().__init__()
        numbers = {k: v for k, v in vars(given).items() if isinstance(v, (bool, int, float))}
        self.__dict__.update(numbers)  # that the gate of some models depends on
        self.act_fn, self._gate = given.act_fn, type(given)._apply_gate
        self.gate_up_proj = nn.ModuleList(linear_of(weight, None) for weight in given.gate_up_proj)
        self.down_proj = nn.ModuleList(linear_of(weight, None) for weight in given.down_proj)

    def forward(
        self, hidden_states: torch.Tensor, top_k_index: torch.Tensor, top_k_weights: torch.Tensor
    ) -> torch.Tensor:
        """Return the weighted sum of what the experts make of the tokens routed to them."""
        # An index beyond the last expert stands for none.
        nowhere = top_k_weights.new_zeros(len(hidden_states), len(self.down_proj) + 1)
        shares = nowhere.scatter_add(1, top_k_index, top_k_weights)
        passed_by = nowhere.scatter(1, top_k_index, 1.0) == 0.0
        total = torch.zeros_like(hidden_states)
        for number, (first, second) in enumerate(
            zip(self.gate_up_proj, self.down_proj, strict=True)
        ):
            values = self._gate(
                self, first(hidden_states.masked_fill(passed_by[:, number, None], 0.0))
            )
            total = total + second(values * shares[:, number, None])
        return total
