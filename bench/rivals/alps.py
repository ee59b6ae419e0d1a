"""ALPS: ADMM on the l0-constrained least squares with a growing rho, then conjugate gradients.

Meng, Behdin, Wang, Mazumder, "ALPS: Improved Optimization for Highly Sparse One-Shot Pruning for
Large Language Models" (NeurIPS 2024). Features at unit norm, one eigendecomposition, rho from 0.1
on by the published rule: every third iteration the number of changes in the support says how fast
it grows. The damping is 1 % of the mean diagonal; the target includes it.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.linalg import eigh

from .quadratic import Array, Mask, Quadratic, largest

Choice = Callable[[Array], Mask]  # of the largest of some sizes

RHO, ITERATIONS, SETTLED, LOOK_EVERY = 0.1, 300, 30, 3
STEPS = 10  # of conjugate gradients


def prune(X: Array, weights: Array, keep: int, damp: float = 0.01) -> Array:
    form = Quadratic.of(X, weights, damp)
    norms = np.sqrt(form.gram.diagonal())
    gram, target = form.gram / norms / norms[:, None], form.weights * norms[:, None]
    if keep >= target.size:
        return form.whole(form.weights)
    return form.whole(few(gram, target, lambda sizes: largest(sizes, keep)) / norms[:, None])


def prune_to_pattern(X: Array, weights: Array, most: int, group: int, damp: float = 0.01) -> Array:
    """At most ``most`` of every ``group`` weights in a row of each output."""
    form = Quadratic.of(X, weights, damp)
    norms = np.sqrt(form.gram.diagonal())
    gram, target = form.gram / norms / norms[:, None], form.weights * norms[:, None]
    choose = lambda sizes: largest_of_groups(sizes, most, group)
    return form.whole(few(gram, target, choose) / norms[:, None])


def largest_of_groups(sizes: Array, most: int, group: int) -> Mask:
    grouped = sizes.reshape(-1, group, sizes.shape[1])
    order = np.argsort(-grouped, axis=1, kind="stable")
    mask = np.zeros(grouped.shape, bool)
    np.put_along_axis(mask, order[:, :most], True, axis=1)
    return mask.reshape(sizes.shape)


def few(gram: Array, target: Array, choose: Choice) -> Array:
    """Weights of features of unit norm."""
    B = alternate(gram, target, choose)
    return polish(gram, gram @ target, B, choose(np.abs(B)))


def alternate(gram: Array, target: Array, choose: Choice) -> Array:
    values, Q = eigh(gram, check_finite=False)
    moments, rho, raised = gram @ target, RHO, False
    start = target * choose(np.abs(target))
    B, D, V, support = target, start, np.zeros_like(target), start != 0
    keep = np.count_nonzero(support)
    for t in range(1, ITERATIONS + 1):
        B = Q @ (Q.T @ (moments - V + rho * D) / (values + rho)[:, None])
        D = B + V / rho
        D = D * choose(np.abs(D))
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
