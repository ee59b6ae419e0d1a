"""Exact optimal brain surgery: every output gives up its weights one by one, the cheapest first.

Frantar, Singh, Alistarh, "Optimal Brain Compression" (NeurIPS 2022), method ExactOBS with the
budget of the whole layer. A weight costs w^2 / 2 [H^-1]_ii; the other weights and the inverse then
make up for it. `trace` takes all outputs to their ends. `Trace.at` takes the smallest of the
outputs' next losses again and again until the budget is met, and fits the weights on what is left.
One trace serves all sparsities.

It is the greedy algorithm, exactly; only the work is ordered for BLAS: the inverse is updated by 32
removals at a time, which until then are remembered as directions, and loses their rows and columns.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import inv

from .quadratic import Array, Mask, Quadratic
from .refit import fit

REMOVALS = 32  # between two updates of an inverse
OUTPUTS = 8  # taken side by side, one removal each at a time


@dataclass(frozen=True)
class Trace:
    """In which order the outputs give up their weights, and what each removal costs."""

    form: Quadratic
    order: NDArray[np.intp]  # (n_outputs, n_features), features that carry a signal
    losses: Array

    def at(self, keep: int) -> Array:
        return self.form.whole(
            fit(self.form.gram, self.form.gram @ self.form.weights, self.support(keep))
        )

    def support(self, keep: int) -> Mask:
        """Taking the smallest next loss again and again is sorting by the largest loss so far."""
        reached = np.maximum.accumulate(self.losses, axis=1)
        first = np.argsort(reached, axis=None, kind="stable")[: max(reached.size - keep, 0)]
        outputs, _ = np.unravel_index(first, reached.shape)
        gone = np.bincount(outputs, minlength=len(reached))
        mask = np.ones(reached.shape, bool)
        for j, count in enumerate(gone):
            mask[j, self.order[j, :count]] = False
        return mask.T


def prune(X: Array, weights: Array, keep: int, damp: float = 0.01) -> Array:
    return trace(X, weights, damp).at(keep)


def trace(X: Array, weights: Array, damp: float = 0.01) -> Trace:
    form = Quadratic.of(X, weights, damp)
    inverse = inv(form.gram)
    W = form.weights.T
    parts = [eliminate(inverse, W[j : j + OUTPUTS]) for j in range(0, len(W), OUTPUTS)]
    order, losses = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    return Trace(form, order, losses)


def eliminate(inverse: Array, weights: Array) -> tuple[NDArray[np.intp], Array]:
    """Remove all weights of some outputs (rows); the order of each and its losses."""
    count, n = weights.shape
    order, losses = np.empty((count, n), np.intp), np.empty((count, n))
    features = np.tile(np.arange(n), (count, 1))
    inverses, w = [inverse] * count, weights.copy()
    for start in range(0, n, REMOVALS):
        steps = min(REMOVALS, n - start)
        done = slice(start, start + steps)
        chosen, losses[:, done], directions = remove(inverses, w, steps)
        order[:, done] = np.take_along_axis(features, chosen, axis=1)
        left = np.ones(w.shape, bool)
        np.put_along_axis(left, chosen, False, axis=1)
        inverses = [
            without(A, V, np.flatnonzero(kept))
            for A, V, kept in zip(inverses, directions, left, strict=True)
        ]
        features, w = features[left].reshape(count, -1), w[left].reshape(count, -1)
    return order, losses


def remove(inverses: list[Array], w: Array, steps: int) -> tuple[NDArray[np.intp], Array, Array]:
    """Take ``steps`` weights from each output, in place; inverses lag behind by the directions."""
    count, n = w.shape
    each = np.arange(count)
    diagonal = np.array([A.diagonal() for A in inverses])
    chosen, losses = np.empty((count, steps), np.intp), np.empty((count, steps))
    directions = np.empty((count, steps, n))
    gone = np.zeros((count, n), bool)
    for t in range(steps):
        costs = np.where(gone, np.inf, w**2 / diagonal)
        p = costs.argmin(axis=1)
        chosen[:, t], losses[:, t] = p, costs[each, p] / 2
        rows = np.array([A[i] for A, i in zip(inverses, p, strict=True)])
        past = directions[:, :t]
        rows -= np.matmul(past[each, :, p][:, None], past)[:, 0]
        pivot = np.sqrt(diagonal[each, p])
        directions[:, t] = rows / pivot[:, None]
        w -= directions[:, t] * (w[each, p] / pivot)[:, None]
        diagonal -= directions[:, t] ** 2
        gone[each, p], diagonal[each, p] = True, 1.0
    return chosen, losses, directions


def without(inverse: Array, directions: Array, kept: NDArray[np.intp]) -> Array:
    """The inverse after the removals, without their rows and columns."""
    V = directions[:, kept]
    return inverse[np.ix_(kept, kept)] - V.T @ V
