"""The best weights on a given support, exactly: what OPTIMA approaches.

"OPTIMA" (arXiv 2512.13886) fixes the mask of another method and solves one quadratic program per
output, by a first-order method on a GPU. Without its boxes, which only say how far to trust that
method, the optimum is the solution of (X'X)_SS u = (X'X W)_S, here by Cholesky. The damping is part
of the form, so that it pulls towards the original weights.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.linalg import cho_factor, cho_solve

from .quadratic import Array, Mask, Quadratic

Pruner = Callable[[Array, Array, int, float], Array]


def refitted(pruner: Pruner) -> Pruner:
    """The method with its weights fitted anew on the support it found."""

    def prune(X: Array, weights: Array, keep: int, damp: float = 0.01) -> Array:
        return on_support(X, weights, pruner(X, weights, keep, damp) != 0, damp)

    return prune


def on_support(X: Array, weights: Array, support: Mask, damp: float = 0.01) -> Array:
    form = Quadratic.of(X, weights, damp)
    return form.whole(fit(form.gram, form.gram @ form.weights, support[form.live]))


def fit(gram: Array, moments: Array, support: Mask) -> Array:
    """Solve gram_SS u_S = moments_S in every column."""
    fitted = np.zeros_like(moments)
    for j, column in enumerate(support.T):
        (S,) = np.nonzero(column)
        if len(S):
            factor = cho_factor(gram[np.ix_(S, S)], overwrite_a=True, check_finite=False)
            fitted[S, j] = cho_solve(factor, moments[S, j], check_finite=False)
    return fitted
