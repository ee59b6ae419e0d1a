"""What one-shot pruners share: the quadratic form of a layer, and the largest of many scores.

Those that look at the data want few weights U with a small ||X (W - U)||, for which X'X is enough.
Features without any signal are left out beforehand: no method spends weights on them, or breaks on
them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Quadratic:
    """X'X and the weights, on the features that carry a signal."""

    gram: Array  # with the damping on its diagonal
    damping: float
    weights: Array
    live: Mask  # of all features

    @classmethod
    def of(cls, X: Array, weights: Array, damp: float) -> Quadratic:
        """``damp`` is the share of the mean diagonal of X'X that is added to all of it."""
        live = X.any(axis=0)
        gram = X[:, live].T @ X[:, live]
        damping = damp * float(np.vdot(X, X)) / X.shape[1]
        gram[np.diag_indices_from(gram)] += damping
        return cls(gram, damping, weights[live], live)

    def whole(self, pruned: Array) -> Array:
        """Weights of all features, zero for those without a signal."""
        weights = np.zeros((len(self.live), pruned.shape[1]))
        weights[self.live] = pruned
        return weights


def largest(scores: Array, keep: int) -> Mask:
    """The ``keep`` largest entries of the whole array."""
    mask = np.ones(scores.size, bool)
    surplus = scores.size - keep
    if surplus > 0:
        mask[np.argpartition(scores, surplus - 1, axis=None)[:surplus]] = False
    return mask.reshape(scores.shape)
