"""What a table says of the weights of layers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..base.table import TableColumn, format_share
from .layer_view import LayerView

__all__ = ["WEIGHTS", "format_all_weights", "format_weights"]

WEIGHTS = [TableColumn(name) for name in ("shape", "activation", "nonzeros", "of all", "dtype")]


def format_weights(layer: LayerView) -> list[str]:
    """Return the entries under `WEIGHTS` of a layer."""
    weights = layer.affine.weights
    shape, count = "x".join(map(str, weights.shape)), int(np.count_nonzero(weights))
    return [
        shape,
        layer.activation,
        f"{count:,}",
        format_share(count, weights.size),
        layer.affine.precision.name,
    ]


def format_all_weights(layers: Sequence[LayerView]) -> list[str]:
    """Return the entries under `WEIGHTS` of the last line."""
    weights = [layer.affine.weights for layer in layers]
    count, size = sum(map(np.count_nonzero, weights)), sum(array.size for array in weights)
    return ["", "", f"{count:,}", format_share(int(count), size), ""]
