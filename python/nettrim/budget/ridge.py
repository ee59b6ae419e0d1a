r"""The ridge of a layer in which no row ever ceases to count, by generalised cross-validation.

Weights that go leave a target, what they gave to the signals, for those that stay to reach from
what these give already: ridge regression. With the eigenvalues :math:`v` of their Gram matrix its
error on other samples is estimated by (Golub, Heath and Wahba, 1979)

.. math:: \frac{\Vert r - X_S \hat u\Vert^2}{(1 - f / n)^2}, \qquad
          f = \sum_i \frac{v_i}{v_i + ridge}

for n samples. The larger weights of some outputs stand for those that will stay.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ..base.arrays import Array
from .data import BudgetData, mark_largest

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Mask = NDArray[np.bool_]

__all__ = ["choose_ridge"]

# The largest, over the share of weights that go: beyond it samples that are used are fitted less
# well than others gain (bench/layer/compare_linear.py). Behind a smooth activation it grows with
# features over samples: weights follow what they see more closely.
MOST, FEW_SAMPLES = 0.03, 8.0
SPAN, STEPS = 100.0, 9  # of the candidates: the largest over the least, and how many
OUTPUTS, WORK = 8, 3e9  # of those that judge, at most; of their features cubed
NEARLY = 0.002  # of the least error: among candidates as good as that the largest is the safest


class _Regression(NamedTuple):
    """One output's weights that stay, in the basis of their Gram matrix."""

    values: Array
    asked: Array
    square: float  # of the target

    def error(self, ridge: float, n_samples: int) -> float:
        """Return the estimate for other samples."""
        fitted = self.asked / (self.values + ridge)
        misfit = self.square - 2 * fitted @ self.asked + fitted @ (self.values * fitted)
        freedom = float(np.sum(self.values / (self.values + ridge)))
        left = max(1 - freedom / n_samples, np.finfo(float).eps)
        return max(float(misfit), np.finfo(float).tiny) / left**2


def choose_ridge(data: BudgetData, sparsity: float, support: Mask | None = None) -> float:
    """Return what serves other samples best, in units of the mean square of a feature.

    Parameters
    ----------
    data : BudgetData
    sparsity : float
        Share of the weights that go.
    support : ndarray of bool, of shape (n_features, n_outputs), optional
        Those that stay. Default: the larger ones.
    """
    if support is None:
        support = _largest_weights(data, sparsity)
    n_features = data.X.shape[1]
    few = 1 + FEW_SAMPLES * n_features / data.n_samples if data.behind is not None else 1.0
    candidates = MOST * few * sparsity * np.geomspace(1 / SPAN, 1, STEPS)
    errors = np.zeros(STEPS)
    for regression in _regressions(data, support):
        for k, ridge in enumerate(candidates):
            errors[k] += regression.error(ridge * data.scale, data.n_samples)
    return float(candidates[errors <= (1 + NEARLY) * errors.min()][-1])


def _largest_weights(data: BudgetData, sparsity: float) -> Mask:
    sizes = np.abs(data.weights) * np.sqrt(np.diag(data.gram))[:, None]
    sizes[data.pattern.keep] = np.inf
    return mark_largest(sizes, round((1 - sparsity) * sizes.size))


def _regressions(data: BudgetData, support: Mask) -> Iterator[_Regression]:
    gram = data.gram
    counts = support.sum(axis=0)
    judges = max(min(OUTPUTS, int(WORK / max(counts.max(), 1) ** 3)), 1)
    for k in np.unique(np.linspace(0, data.n_outputs - 1, judges).round().astype(int)):
        stays, goes = np.flatnonzero(support[:, k]), np.flatnonzero(~support[:, k])
        lost = data.weights[goes, k]
        if len(stays) == 0 or not lost.any():
            continue
        values, vectors = np.linalg.eigh(gram[np.ix_(stays, stays)])
        asked = vectors.T @ (gram[np.ix_(stays, goes)] @ lost)
        square = float(lost @ gram[np.ix_(goes, goes)] @ lost)
        yield _Regression(values.clip(0.0), asked, square)
