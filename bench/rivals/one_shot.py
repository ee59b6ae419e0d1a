"""The one-shot pruners by name. All see the same X and the same weights, and get the same damping.

``prune(X, weights, keep)`` leaves at most ``keep`` weights of the whole layer; the column of ones
in X has its row of weights like any other. Two methods take a trace, whose ``at(keep)`` answers for
every budget.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from . import (
    alps,
    boza_admm,
    exact_obs,
    fista_pruner,
    l1_refit,
    magnitude,
    sparsegpt,
    wanda,
)
from .quadratic import Array
from .refit import refitted

L1, EXACT_OBS = "l1 + refit", "ExactOBS"
PRUNERS: dict[str, Callable[[Array, Array, int], Array]] = {
    "magnitude": magnitude.prune,
    "magnitude + refit": refitted(magnitude.prune),
    "Wanda": wanda.prune,
    "Wanda + refit": refitted(wanda.prune),
    "SparseGPT": sparsegpt.prune,
    "SparseGPT + refit": refitted(sparsegpt.prune),
    "FISTAPruner": fista_pruner.prune,
    "FISTAPruner from SparseGPT": fista_pruner.prune_warm,
    "Boza ADMM": boza_admm.prune,
    "ALPS": alps.prune,
}
NAMES = (*PRUNERS, EXACT_OBS, L1)


def ready(name: str, X: Array, weights: Array, activation: str = "relu") -> Callable[[int], Array]:
    """The method on one layer, waiting for a budget; a trace is taken here."""
    if name == L1:
        return l1_refit.path(X, weights, activation=activation).at
    if name == EXACT_OBS:
        return exact_obs.trace(X, weights).at
    return partial(PRUNERS[name], X, weights)
