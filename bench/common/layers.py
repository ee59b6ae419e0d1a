"""A layer of a trained network, with samples to solve it on and others that it has not seen."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bench.common.data import Array


@dataclass(frozen=True)
class Layer:
    """Of features as its program has them: where there is a bias, the last one is one."""

    name: str
    X: Array
    unseen: Array
    weights: Array
    activation: str = "relu"

    @property
    def Y(self) -> Array:
        return self.output(self.X, self.weights)

    @property
    def size(self) -> float:
        return float(np.linalg.norm(self.Y))

    def output(self, X: Array, weights: Array) -> Array:
        Z = X @ weights
        return np.maximum(Z, 0.0) if self.activation == "relu" else Z

    def error(self, X: Array, weights: Array) -> float:
        """How far other weights move the output, relative to its size."""
        wanted = self.output(X, self.weights)
        return float(np.linalg.norm(self.output(X, weights) - wanted) / np.linalg.norm(wanted))
