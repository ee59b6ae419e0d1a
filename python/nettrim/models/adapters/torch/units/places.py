"""Where the inputs and outputs of a layer lie in its tensors, and what it calls their numbers."""

from __future__ import annotations

from typing import NamedTuple

from torch import nn

from ..layers import LAYERS
from ..transposed import TRANSPOSED

__all__ = ["LayerPlace", "place_of"]


class LayerPlace(NamedTuple):
    """Where the inputs and outputs of a layer are.

    Attributes
    ----------
    inputs, outputs : int
        Axes of its weight.
    n_inputs, n_outputs : str
        Attributes.
    """

    inputs: int
    outputs: int
    n_inputs: str
    n_outputs: str


def place_of(module: nn.Module | None) -> LayerPlace | None:
    """Return it for a layer as the model has it; None for one that is no layer there."""
    if isinstance(module, nn.Linear):
        return LayerPlace(1, 0, "in_features", "out_features")
    if isinstance(module, TRANSPOSED):
        return LayerPlace(0, 1, "in_channels", "out_channels")
    if isinstance(module, LAYERS):
        return LayerPlace(1, 0, "in_channels", "out_channels")
    if type(module).__name__ == "Conv1D":  # of GPT-2: a linear layer whose weight is transposed
        return LayerPlace(0, 1, "nx", "nf")
    return None
