"""FISTAPruner: the lasso by FISTA, its penalty by bisection, every iterate rounded to the budget.

Zhao et al., "A Convex-optimization-based Layer-wise Post-training Pruner for Large Language Models"
(arXiv 2408.03728; EMNLP 2025). 20 steps for a penalty; then the budget's largest weights stay, and
are the start of the next penalty, which rises if more than 30 % of the error came from the
rounding. The best rounded weights count. Two things are in its favour: the bisection is geometric,
from 1e-6 of the largest gradient up to it, where the published interval fits the authors' models,
and it ends after ten penalties without a gain, or thirty in all, not after three. `prune` starts
from the dense weights, `prune_warm` from SparseGPT's, as the authors do.
"""

from __future__ import annotations

import numpy as np
from scipy.linalg import eigvalsh

from . import sparsegpt
from .quadratic import Array, Quadratic, largest

STEPS, PATIENCE, PENALTIES = 20, 10, 30
ROUNDING = 0.3  # the share of the error that says: more penalty


def prune(X: Array, weights: Array, keep: int, damp: float = 0.01) -> Array:
    form = Quadratic.of(X, weights, damp)
    return form.whole(bisect(form.gram, form.weights, form.weights, keep))


def prune_warm(X: Array, weights: Array, keep: int, damp: float = 0.01) -> Array:
    form = Quadratic.of(X, weights, damp)
    start = sparsegpt.prune(X, weights, keep, damp)[form.live]
    return form.whole(bisect(form.gram, form.weights, start, keep))


def bisect(gram: Array, target: Array, start: Array, keep: int) -> Array:
    moments = gram @ target
    lipschitz = float(eigvalsh(gram, subset_by_index=[len(gram) - 1] * 2)[0])
    high = float(np.abs(moments).max())
    low = penalty = 1e-6 * high

    def error(U: Array) -> float:
        return float(np.sqrt(max(np.vdot(target - U, gram @ (target - U)), 0.0)))

    best = start * largest(np.abs(start), keep)
    least, rounded, idle = error(best), start, 0
    for _ in range(PENALTIES):
        U = fista(gram, moments, rounded, penalty, lipschitz)
        rounded = U * largest(np.abs(U), keep)
        before, after = error(U), error(rounded)
        best, idle = (rounded, 0) if after < least else (best, idle + 1)
        least = min(least, after)
        if idle == PATIENCE:
            break
        if after - before > ROUNDING * after:
            low = penalty
        else:
            high = penalty
        penalty = np.sqrt(low * high)
    return best


def fista(gram: Array, moments: Array, start: Array, penalty: float, lipschitz: float) -> Array:
    U = ahead = start
    momentum = 1.0
    for _ in range(STEPS):
        step = ahead - (gram @ ahead - moments) / lipschitz
        previous, U = U, np.sign(step) * np.maximum(np.abs(step) - penalty / lipschitz, 0.0)
        following = (1 + np.sqrt(1 + 4 * momentum**2)) / 2
        ahead = U + (momentum - 1) / following * (U - previous)
        momentum = following
    return U
