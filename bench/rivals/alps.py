"""ALPS: ADMM on the l0-constrained least squares with a growing rho, then conjugate gradients.

Meng, Behdin, Wang, Mazumder, "ALPS: Improved Optimization for Highly Sparse One-Shot Pruning for
Large Language Models" (NeurIPS 2024). Features at unit norm, one eigendecomposition, rho from 0.1
on by the published rule: every third iteration the number of changes in the support says how fast
it grows. The damping is 1 % of the mean diagonal; the target includes it.
"""

from __future__ import annotations

import numpy as np
from scipy.linalg import eigh

from .quadratic import Array, Mask, Quadratic, largest

RHO, ITERATIONS, SETTLED, LOOK_EVERY = 0.1, 300, 30, 3
STEPS = 10  # of conjugate gradients


def prune(X: Array, weights: Array, keep: int, damp: float = 0.01) -> Array:
    form = Quadratic.of(X, weights, damp)
    norms = np.sqrt(form.gram.diagonal())
    gram, target = form.gram / norms / norms[:, None], form.weights * norms[:, None]
    if keep >= target.size:
        return form.whole(form.weights)
    B = alternate(gram, target, keep)
    return form.whole(polish(gram, gram @ target, B, largest(np.abs(B), keep)) / norms[:, None])


def alternate(gram: Array, target: Array, keep: int) -> Array:
    values, Q = eigh(gram, check_finite=False)
    moments, rho, raised = gram @ target, RHO, False
    start = target * largest(np.abs(target), keep)
    B, D, V, support = target, start, np.zeros_like(target), start != 0
    for t in range(1, ITERATIONS + 1):
        B = Q @ (Q.T @ (moments - V + rho * D) / (values + rho)[:, None])
        D = B + V / rho
        D = D * largest(np.abs(D), keep)
        V = V + rho * (B - D)
        if t % LOOK_EVERY:
            continue
        changes, support = np.count_nonzero(support != (D != 0)), D != 0
        if (raised and changes == 0) or (t >= SETTLED and changes < 3e-4 * keep):
            break
        growth = 1.3 if changes > 0.1 * keep else 1.2 if changes > 0.005 * keep else 1.1
        if changes > 0.005 * keep or raised:
            rho, raised = rho * growth, True
        else:  # rho was too large from the beginning
            rho, D, V = rho / 5, start, np.zeros_like(V)
    return B


def polish(gram: Array, moments: Array, start: Array, support: Mask) -> Array:
    """Conjugate gradients on the support, all columns at a time."""
    U = start * support
    residual = (moments - gram @ U) * support
    direction, size = residual, np.sum(residual**2, axis=0)
    for _ in range(STEPS):
        image = gram @ direction * support
        step = ratio(size, np.sum(direction * image, axis=0))
        U, residual = U + step * direction, residual - step * image
        before, size = size, np.sum(residual**2, axis=0)
        direction = residual + ratio(size, before) * direction
    return U


def ratio(a: Array, b: Array) -> Array:
    """Zero where a column has nothing left to gain."""
    return np.divide(a, b, out=np.zeros_like(a), where=b > 0)
