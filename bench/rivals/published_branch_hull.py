"""l1-BranchHull by alternating directions, as published (NeurIPS 2018, eqs. 4 to 6, rho = 1).

The projection onto the hull of a branch takes the roots of a quartic, one measurement at a time, by
`numpy.roots`: the largest real root that lies on the hyperbola's branch. Nothing is certified.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve

Array = NDArray[np.float64]
# Told the iteration, the coefficients that are sparse, and the multipliers; true stops.
Observer = Callable[[int, Array, Array, Array, Array], bool]

REAL = 1e-9  # imaginary part of a root that counts as real


def project(a: float, b: float, r: float) -> tuple[float, float]:
    if a > 0 and b > 0 and a * b >= r:
        return a, b
    roots = np.roots([1.0, -a, 0.0, b * r, -r * r])
    real = roots.real[np.abs(roots.imag) < REAL * np.abs(roots)]
    u = float(real[real > 0][0])
    return u, r / u


def soft(x: Array, threshold: float) -> Array:
    return np.sign(x) * np.maximum(np.abs(x) - threshold, 0)


def solve(
    A: Array, D: Array, r: Array, observer: Observer, rho: float = 1.0, max_iter: int = 100_000
) -> int:
    """Iterate from zero until the observer says so; returns the iterations."""
    (L, K), N = A.shape, D.shape[1]
    factor_h = cho_factor(A.T @ A + np.eye(K))
    factor_m = cho_factor(D.T @ D + np.eye(N))
    h, m, alpha, beta = np.zeros(K), np.zeros(N), np.zeros(L), np.zeros(L)
    dual_h, dual_m = np.zeros(K), np.zeros(N)
    u, v = np.zeros(L), np.zeros(L)
    for iteration in range(1, max_iter + 1):
        a, b = A @ h - alpha, D @ m - beta
        for l in range(L):
            u[l], v[l] = project(a[l], b[l], r[l])
        f, e = soft(h - dual_h, 1 / rho), soft(m - dual_m, 1 / rho)
        h = cho_solve(factor_h, A.T @ (alpha + u) + dual_h + f)
        m = cho_solve(factor_m, D.T @ (beta + v) + dual_m + e)
        alpha, beta = alpha + u - A @ h, beta + v - D @ m
        dual_h, dual_m = dual_h + f - h, dual_m + e - m
        if observer(iteration, f, e, rho * (u - a), rho * (v - b)):
            return iteration
    return max_iter
