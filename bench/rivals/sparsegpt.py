"""SparseGPT: one sweep of optimal brain surgery over the features, one inverse for all outputs.

Frantar, Alistarh, "SparseGPT: Massive Language Models Can Be Accurately Pruned in One-Shot" (ICML
2023). The mask is chosen for 128 features at a time, by w^2 / R_jj^2 with R the upper Cholesky
factor of the inverse; the error of every removed weight is handed on to the features behind it.
Damping 1 % of the mean diagonal, as published. Every block keeps the same share of its weights;
features without a signal are no part of it, which serves the method better than when they use up
the share of what is to go.
"""

from __future__ import annotations

import numpy as np
from scipy.linalg import cholesky, inv

from .quadratic import Array, Mask, Quadratic, largest

BLOCK = 128


def prune(X: Array, weights: Array, keep: int, damp: float = 0.01) -> Array:
    form = Quadratic.of(X, weights, damp)
    W, n = form.weights.copy(), len(form.weights)
    R = cholesky(inv(form.gram))
    for start in range(0, n, BLOCK):
        stop = min(start + BLOCK, n)
        quota = keep * stop // n - keep * start // n
        handed_on = sweep(W[start:stop], R[start:stop, start:stop], quota)
        W[stop:] -= R[start:stop, stop:].T @ handed_on
    return form.whole(W)


def prune_to_pattern(X: Array, weights: Array, most: int, group: int, damp: float = 0.01) -> Array:
    """Keep at most so many of every group of features in a row, chosen when its turn comes."""
    gram = X.T @ X
    gram[np.diag_indices_from(gram)] += damp * gram.diagonal().mean()
    W, R = weights.copy(), cholesky(inv(gram))
    for start in range(0, len(W), group):
        stop = min(start + group, len(W))
        sizes = (W[start:stop] / R.diagonal()[start:stop, None]) ** 2
        gone = np.argsort(np.argsort(-sizes, axis=0, kind="stable"), axis=0) >= most
        handed_on = hand_on(W[start:stop], R[start:stop, start:stop], gone)
        W[stop:] -= R[start:stop, stop:].T @ handed_on
    return W


def sweep(W: Array, R: Array, keep: int) -> Array:
    """Prune one block in place; returns the errors that the features behind it make up for."""
    return hand_on(W, R, ~largest((W / R.diagonal()[:, None]) ** 2, keep))


def hand_on(W: Array, R: Array, gone: Mask) -> Array:
    """Remove weights of a block, each error to be made up for by the features behind it."""
    errors = np.zeros_like(W)
    for j, row in enumerate(gone):
        errors[j, row] = W[j, row] / R[j, j]
        W[j:] -= np.outer(R[j, j:], errors[j])
    W[gone] = 0.0
    return errors
