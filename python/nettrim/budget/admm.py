"""Which weights to keep, by alternating directions on one Gram matrix: for large layers.

This is ALPS (Meng et al., NeurIPS 2024): the weights that fit and those that are few are drawn
together by a growing penalty. It knows no ReLU; it learns of it from its targets. Where a row is
inactive, the least squares of all rows are asked for no more than the signal there is, at most its
bound: a majoriser of the loss behind the ReLU, moved along with the weights.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import scipy

from ..base.arrays import Array
from ..base.deadline import has_passed
from .data import BudgetData, mark_largest
from .optimal_brain_surgeon import Regularisation

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Mask = NDArray[np.bool_]

__all__ = ["support_by_admm"]

PENALTY = 0.1  # the first one, on features of unit norm
GROWTH = ((0.1, 1.3), (0.005, 1.2), (0.0, 1.1))  # share of the support that changed, and factor
CHECK_EVERY = 3
MAX_ITER = 300
SETTLED = 3e-4  # share of the support that may still change at the end


def support_by_admm(
    data: BudgetData, budget: int, chosen: Regularisation, deadline: float | None = None
) -> Mask:
    """Return which weights to keep, (n_outputs, n_features); at a deadline, those by then."""
    ridge = max(chosen.ridge, 1e-3) * data.scale
    gram = data.X.T @ data.X
    gram[np.diag_indices_from(gram)] += ridge
    length = np.sqrt(np.diag(gram))
    values, vectors = scipy.linalg.eigh(gram / length / length[:, None])
    X, prior = data.X / length, data.weights * length[:, None]
    pulled = ridge / length[:, None] ** 2 * prior
    few = _project(prior, data, budget)
    force, penalty = np.zeros_like(prior), PENALTY
    support = few != 0
    for iteration in range(MAX_ITER):
        if has_passed(deadline):
            support = few != 0
            break
        if iteration % CHECK_EVERY == 0:
            asked = X.T @ data.targets(X @ few) + pulled
        right = asked - force + penalty * few
        fitting = vectors @ ((vectors.T @ right) / (values + penalty)[:, None])
        few = _project(fitting + force / penalty, data, budget)
        force += penalty * (fitting - few)
        if iteration % CHECK_EVERY == CHECK_EVERY - 1:
            before, support = support, few != 0
            changed = np.count_nonzero(before != support) / max(budget, 1)
            if changed <= SETTLED and iteration >= 10 * CHECK_EVERY:
                break
            penalty *= next(factor for share, factor in GROWTH if changed >= share)
    return np.ascontiguousarray((support | data.pattern.keep[:, None]).T)


def _project(weights: Array, data: BudgetData, budget: int) -> Array:
    """Keep the largest weights, as many as the budget or the pattern allows."""
    free = np.flatnonzero(~data.pattern.keep)
    result, sizes = weights.copy(), np.abs(weights[free])
    if data.pattern.group:
        groups = _mark_largest_of_groups(sizes, data.pattern.most, data.pattern.group)
        sizes = np.where(groups, sizes, -1.0)
    result[free] = np.where(mark_largest(sizes, budget), weights[free], 0.0)
    return result


def _mark_largest_of_groups(sizes: Array, most: int, group: int) -> Mask:
    """Mark the `most` largest of every `group` rows, column by column."""
    n_rows, n_columns = sizes.shape
    padded = np.full((-(-n_rows // group) * group, n_columns), -1.0)
    padded[:n_rows] = sizes
    grouped = padded.reshape(-1, group, n_columns)
    rank = np.argsort(np.argsort(-grouped, axis=1, kind="stable"), axis=1)
    return (rank < most).reshape(-1, n_columns)[:n_rows]
