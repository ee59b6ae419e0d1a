"""Pruning by ADMM on the masked least squares, the mask growing on the way.

Boza, "Fast and Effective Weight Update for Pruned Large Language Models" (2024, arXiv 2401.02938).
Features at unit norm, rho = 1, 20 iterations, in the first 15 of which the mask follows |weights +
dual| at a sparsity that rises by the cubic schedule; then it is fixed. The published program
computes that schedule where the budget is the whole layer's, but uses the final sparsity from the
start: both are run, and the smaller ||X (W - U)|| is returned. The damping, published as 10 % of
the unit diagonal, is that of all methods.
"""

from __future__ import annotations

import numpy as np
from scipy.linalg import cho_factor, cho_solve

from .quadratic import Array, Quadratic, largest

ITERATIONS, CHOOSING = 20, 15


def prune(X: Array, weights: Array, keep: int, damp: float = 0.01) -> Array:
    form = Quadratic.of(X, weights, 0.0)
    norms = np.sqrt(form.gram.diagonal())
    gram = form.gram / norms / norms[:, None] + damp * np.eye(len(norms))
    target = form.weights * norms[:, None]
    final = min(keep, target.size)
    rising = [
        final + round((target.size - final) * (1 - (t + 1) / CHOOSING) ** 3)
        for t in range(CHOOSING)
    ]
    found = [alternate(gram, target, kept) for kept in (rising, [final] * CHOOSING)]
    best = min(found, key=lambda U: np.vdot(target - U, gram @ (target - U)))
    return form.whole(best / norms[:, None])


def alternate(gram: Array, target: Array, kept: list[int]) -> Array:
    """``kept``: how many weights the mask of each iteration leaves; then the last one stays."""
    factor = cho_factor(gram + np.eye(len(gram)))
    moments, B, dual = gram @ target, target, np.zeros_like(target)
    for t in range(ITERATIONS):
        if t < len(kept):
            mask = largest(np.abs(B + dual), kept[t])
        Z = (B + dual) * mask
        dual = dual + B - Z
        B = cho_solve(factor, moments + Z - dual, check_finite=False)
    return (B + dual) * mask
