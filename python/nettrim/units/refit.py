"""The weights of a reader on the features that are left, fitted behind what follows it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import scipy

from ..base.arrays import Array
from ..base.deadline import partial_deadline
from ..budget.behind import fit_behind
from ..budget.data import BudgetData
from ..budget.optimal_brain_surgeon import TUNING, Regularisation, fit, tune_on_held_out
from ..budget.ridge import choose_ridge

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Mask = NDArray[np.bool_]

__all__ = ["UNUSED", "Refit", "refit"]


UNUSED = Regularisation(0.0, 0.0)
LEAST_SHARE = 0.05  # of features that go, for which a ridge is chosen: inputs may have moved too


@dataclass(frozen=True)
class Refit:
    """Weights, in the units that are computed with, and how they were regularised."""

    weights: Array
    regularisation: Regularisation


def refit(
    data: BudgetData,
    features: Mask,
    pull: float | None,
    ridge: float | None,
    n_threads: int,
    deadline: float | None,
) -> Refit:
    """Fit all outputs on some features; what is not given of the regularisation is chosen here.

    Parameters
    ----------
    data : BudgetData
    features : ndarray of bool, of shape (n_features,)
    pull, ridge : float or None
        As in `solve_layer_budget`.
    n_threads : int
    deadline : float or None
    """
    if not features.any():
        return Refit(np.zeros_like(data.weights), UNUSED)
    tuning = partial_deadline(deadline, TUNING)
    chosen = _regularisation(data, features, pull, ridge, n_threads, tuning)
    if data.active is not None:
        weights = _fit_behind_relu(data, features, chosen, n_threads, deadline)
    elif data.behind is not None:
        support = np.repeat(features[:, None], data.n_outputs, axis=1)
        weights = fit_behind(data, data.behind, support, chosen.ridge, n_threads, deadline)
    else:
        weights = _fit_linear(data, features, chosen.ridge)
    return Refit(weights, chosen)


def _regularisation(
    data: BudgetData,
    features: Mask,
    pull: float | None,
    ridge: float | None,
    n_threads: int,
    deadline: float | None,
) -> Regularisation:
    if data.active is None:
        if ridge is None:
            support = np.repeat(features[:, None], data.n_outputs, axis=1)
            share = max(float(1 - features.mean()), LEAST_SHARE)
            ridge = choose_ridge(data, share, support)
        return Regularisation(0.0 if pull is None else pull, ridge)

    def error(training: BudgetData, held_out: BudgetData, candidate: Regularisation) -> float:
        weights = _fit_behind_relu(training, features, candidate, n_threads, deadline)
        return held_out.error(weights)

    return tune_on_held_out(data, pull, ridge, error, deadline)


def _fit_behind_relu(
    data: BudgetData,
    features: Mask,
    chosen: Regularisation,
    n_threads: int,
    deadline: float | None,
) -> Array:
    support = np.repeat(features[None], data.n_outputs, axis=0)
    weights, _ = fit(data, chosen, support, 0, n_threads, deadline)
    return weights


def _fit_linear(data: BudgetData, features: Mask, ridge: float) -> Array:
    """All outputs share one factor."""
    left = np.flatnonzero(features)
    strength = ridge * data.scale
    H = data.gram[np.ix_(left, left)] + strength * np.eye(len(left))
    asked = data.X[:, left].T @ data.Y + strength * data.weights[left]
    weights = np.zeros_like(data.weights)
    weights[left] = scipy.linalg.solve(H, asked, assume_a="pos")
    return weights
