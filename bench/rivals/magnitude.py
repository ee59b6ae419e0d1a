"""Magnitude pruning: the largest weights of the layer stay as they are (Han et al., NeurIPS 2015).

The usual baseline. It sees no data; the budget is that of the whole layer.
"""

from __future__ import annotations

import numpy as np

from .quadratic import Array, largest


def prune(X: Array, weights: Array, keep: int, damp: float = 0.01) -> Array:
    return weights * largest(np.abs(weights), keep)
