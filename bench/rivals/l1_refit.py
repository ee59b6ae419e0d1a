"""The convex program of this package as a pruner: its largest weights, fitted anew.

The l1 program of a ReLU layer is solved for six epsilons. The largest weights of an answer, each
times the norm of its feature, are a support; on it the loss of the outputs after the ReLU is
convex, ||(X U - Y)_active||^2 + ||max(0, X U)_inactive||^2, and is minimised by accelerated steps
in the metric of X'X, with the damping as everywhere. An answer with twice the weights that may stay
often gives a better support than one with just as many, so that the three sparsest with enough are
tried for a few steps, and the best goes on. Where none of them has enough, the program is solved
for a seventh, smaller epsilon; if that answer has too few as well, the rest of the budget stays
unused. The answers serve all sparsities.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.linalg import cho_factor, cho_solve

import nettrim
from bench.common import machine

from .quadratic import Array, Mask, Quadratic, largest

EPSILONS = (0.01, 0.03, 0.07, 0.15, 0.25, 0.4)  # relative to the layer's output
SMALLEST = 0.003  # where none of these leaves enough weights
CANDIDATES, TRIAL_STEPS = 3, 5
STEPS, CHANGE = 100, 1e-3  # the step that ends a fit, relative to the weights
OUTPUTS = 50  # whose factors are held at a time


def prune(
    X: Array, weights: Array, keep: int, damp: float = 0.01, activation: str = "relu"
) -> Array:
    return path(X, weights, damp, activation).at(keep)


def path(X: Array, weights: Array, damp: float = 0.01, activation: str = "relu") -> Path:
    linear = activation == "linear"
    Y = X @ weights if linear else np.maximum(X @ weights, 0.0)
    form = Quadratic.of(X, weights, damp)

    def solve(epsilon: float) -> Array:
        solution = nettrim.solve_layer(
            X,
            Y,
            epsilon=epsilon * float(np.linalg.norm(Y)),
            activation=activation,
            tol=1e-2,
            n_threads=machine.threads(),
        )
        return solution.weights[form.live]

    return Path(X[:, form.live], Y, linear | (Y > 0), form, list(map(solve, EPSILONS)), solve)


@dataclass(frozen=True)
class Path:
    """The answers for all epsilons, densest first, on the features that carry a signal."""

    X: Array
    Y: Array
    active: Mask
    form: Quadratic
    answers: list[Array]
    solve: Callable[[float], Array]

    @cached_property
    def densest(self) -> Array:
        return self.solve(SMALLEST)

    def at(self, keep: int) -> Array:
        enough = [answer for answer in self.answers if np.count_nonzero(answer) >= keep]
        supports = [self.support(U, keep) for U in (enough or [self.densest])[-CANDIDATES:]]
        trials = [self.fit(S, self.form.weights, TRIAL_STEPS) for S in supports]
        best = min(range(len(trials)), key=lambda i: self.error(trials[i]))
        return self.form.whole(self.fit(supports[best], trials[best], STEPS))

    def support(self, answer: Array, keep: int) -> Mask:
        sizes = np.abs(answer) * np.linalg.norm(self.X, axis=0)[:, None]
        return largest(sizes, keep) & (answer != 0)

    def error(self, U: Array) -> float:
        return float(np.linalg.norm(misfit(self.X @ U, self.Y, self.active)))

    def fit(self, support: Mask, start: Array, steps: int) -> Array:
        """The weights of least loss on a support, some outputs at a time."""
        fitted = np.zeros(support.shape)
        for j in range(0, support.shape[1], OUTPUTS):
            part = slice(j, j + OUTPUTS)
            loss = Loss(
                self.X,
                self.Y[:, part],
                self.active[:, part],
                self.form.weights[:, part],
                self.form.damping,
            )
            precondition = preconditioner(self.form.gram, support[:, part])
            fitted[:, part] = descend(loss, precondition, start[:, part] * support[:, part], steps)
        return fitted


@dataclass(frozen=True)
class Loss:
    """Half the squared misfit, and the damping towards the original weights."""

    X: Array
    Y: Array
    active: Mask
    weights: Array
    damping: float

    def gradient(self, U: Array) -> Array:
        pull = self.X.T @ misfit(self.X @ U, self.Y, self.active)
        return pull + self.damping * (U - self.weights)


def misfit(P: Array, Y: Array, active: Mask) -> Array:
    """What the outputs after the ReLU differ by, for P before it; inactive outputs are zero."""
    return np.where(active | (P > 0), P - Y, 0.0)


def descend(loss: Loss, precondition: Callable[[Array], Array], start: Array, steps: int) -> Array:
    """Accelerated descent; X'X bounds the curvature of every output's loss."""
    U = ahead = start
    momentum = 1.0
    for _ in range(steps):
        step = precondition(loss.gradient(ahead))
        previous, U = U, ahead - step
        change = U - previous
        if np.vdot(step, change) > 0:  # uphill: the momentum starts anew
            momentum = 1.0
        following = (1 + np.sqrt(1 + 4 * momentum**2)) / 2
        ahead, momentum = U + (momentum - 1) / following * change, following
        if np.linalg.norm(change) <= CHANGE * np.linalg.norm(U):
            break
    return U


def preconditioner(gram: Array, support: Mask) -> Callable[[Array], Array]:
    """Solves with gram_SS for the support S of every column."""
    supports = [S for column in support.T if len(S := np.flatnonzero(column))]
    columns = np.flatnonzero(support.any(axis=0))
    factors = [cho_factor(gram[np.ix_(S, S)], check_finite=False) for S in supports]

    def apply(G: Array) -> Array:
        steps = np.zeros_like(G)
        for j, S, factor in zip(columns, supports, factors, strict=True):
            steps[S, j] = cho_solve(factor, G[S, j], check_finite=False)
        return steps

    return apply
