"""The published ADMM for the Net-Trim layer program, in plain NumPy.

Aghasi, Abdi, Romberg, "Fast Convex Pruning of Deep Neural Networks" (arXiv 1806.06457), Algorithm
1, with the settings of the authors' NumPy code: rho = 100, data divided by 0.3 times the largest
row norm of X, stop when two consecutive W3 differ by less than 5e-9 times the number of weights, or
after 10,000 iterations; the answer is W2. Nothing is added: no adaptive rho, no over-relaxation, no
certificate.

Samples are columns here, as in the paper: X is (n_features, n_samples), Y is (n_outputs,
n_samples).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve

Array = NDArray[np.float64]
Observer = Callable[[int, float, Array], None]

ACTIVE = 1e-6  # outputs above this, after scaling, count as positive


@dataclass(frozen=True)
class PublishedSolution:
    """What the method returns, and how it came to stop."""

    weights: Array  # (n_features, n_outputs)
    iterations: int
    change: float  # the last ||W3 - W3_prev||_F
    threshold: float
    seconds: float  # without the time spent in the observer

    @property
    def stopped(self) -> bool:
        """Whether the method's own rule ended the run."""
        return self.change < self.threshold


def solve(
    X: Array,
    Y: Array,
    epsilon: float,
    *,
    V: Array | None = None,
    linear: bool = False,
    rho: float = 100.0,
    max_iter: int = 10_000,
    observer: Observer | None = None,
) -> PublishedSolution:
    """Run the method to its stop; ``observer(iteration, seconds, W2)`` looks on, off the clock."""
    clock = Clock()
    scale = 0.3 * np.sqrt(np.max(np.einsum("ij,ij->i", X, X)))
    X, Y, epsilon = X / scale, Y / scale, epsilon / scale
    V = np.zeros_like(Y) if V is None else V / scale
    active = np.ones_like(Y, dtype=bool) if linear else Y > ACTIVE
    (n_features, _), n_outputs = X.shape, len(Y)
    factor = cho_factor(X @ X.T + np.eye(n_features), lower=True)
    threshold, change = 5e-9 * n_features * n_outputs, np.inf

    W3, U2 = np.zeros((2, n_features, n_outputs))
    W3X, U1 = np.zeros((2, *Y.shape))
    iteration = 0
    while iteration < max_iter and not change < threshold:
        iteration += 1
        W1 = project(W3X - U1, Y, V, active, epsilon)
        W2 = shrink(W3 - U2, 1 / rho)
        previous, W3 = W3, cho_solve(factor, X @ (W1 + U1).T + W2 + U2, check_finite=False)
        W3X = W3.T @ X
        U1 += W1 - W3X
        U2 += W2 - W3
        change = float(np.linalg.norm(W3 - previous))
        if observer is not None:
            with clock.stopped():
                observer(iteration, clock.seconds, W2)
    return PublishedSolution(W2, iteration, change, threshold, clock.read())


def project(Z: Array, Y: Array, V: Array, active: NDArray[np.bool_], epsilon: float) -> Array:
    """Onto the ball around Y on the active entries, and below V on the others."""
    misfit = np.where(active, Z - Y, 0.0)
    size = float(np.linalg.norm(misfit))
    misfit *= min(1.0, epsilon / max(size, epsilon, np.finfo(float).tiny))
    return np.where(active, Y + misfit, np.minimum(Z, V))


def shrink(A: Array, threshold: float) -> Array:
    """Soft thresholding."""
    return np.sign(A) * np.maximum(np.abs(A) - threshold, 0.0)


class Clock:
    """Wall time that can be stopped while somebody looks at the iterate."""

    def __init__(self) -> None:
        self.start = time.perf_counter()
        self.seconds = 0.0

    def read(self) -> float:
        return time.perf_counter() - self.start

    def __enter__(self) -> None:
        pass

    def __exit__(self, *_: object) -> None:
        self.start = time.perf_counter() - self.seconds

    def stopped(self) -> Clock:
        """Stand still until the block is left."""
        self.seconds = self.read()
        return self
