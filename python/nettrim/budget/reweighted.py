r"""Which weights to keep, by reweighted l1: a few convex programs for each output.

The program of `nettrim.solve_layer` with a penalty, every weight at a cost of its own,

.. math:: \min_U \Vert(XU - Y)_{active}\Vert_F^2 + penalty \sum_{ij}|U_{ij}| / (|V_{ij}| + delta),

from the answer `V` before (Candes, Wakin and Boyd, 2008): what is small becomes dearer. The
penalty, one for all outputs, is moved until about as many weights are left as the budget allows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..base.arrays import Array
from ..base.deadline import as_time_limit, has_passed
from ..layer.solve import solve_layer
from .data import BudgetData, mark_largest

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Mask = NDArray[np.bool_]

__all__ = ["support_by_reweighting"]

LOOSER = (1.5, 1.2, 1.0)  # budgets of the rounds, over the one given
SOFTNESS = 0.1  # delta, over the mean size of the weights to be left
HALVINGS = 8  # of the interval of the penalty's logarithm, in each round
TOL = 1e-4
RANGE = (1e-6, 1.0)  # of penalties, over the one that leaves nothing


def support_by_reweighting(
    data: BudgetData, budget: int, n_threads: int, deadline: float | None = None
) -> Mask:
    """Return which weights to keep, (n_outputs, n_features); at a deadline, those by then."""
    size = np.sqrt(np.einsum("ij,ij->j", data.X, data.X))[:, None]
    free = ~data.pattern.keep
    size[size == 0] = 1.0
    costs = np.broadcast_to(size, data.weights.shape)
    for looser in LOOSER:
        answer = _solve_for_budget(data, int(looser * budget), costs, n_threads, deadline)
        felt = np.abs(answer) * size
        delta = SOFTNESS * float(np.sort(felt[free], axis=None)[-max(budget, 1) :].mean())
        costs = size / (felt / (delta or 1.0) + 1)
    felt = np.where(free[:, None], np.abs(answer) * size, -1.0)
    support = mark_largest(felt, budget) | data.pattern.keep[:, None]
    return np.ascontiguousarray(support.T)


def _solve_for_budget(
    data: BudgetData, budget: int, costs: Array, n_threads: int, deadline: float | None
) -> Array:
    """Solve for the penalty that leaves about as many weights as the budget."""
    wanted = data.Y if data.active is None else np.where(data.active, data.Y, 0.0)
    dearest = max(2 * float(np.abs((data.X.T @ wanted) / costs).max()), np.finfo(float).tiny)
    low, high = (np.log(dearest * bound) for bound in RANGE)
    answer = data.weights
    for _ in range(HALVINGS):
        if has_passed(deadline):
            break
        answer = np.asarray(
            solve_layer(
                data.X,
                data.Y,
                penalty=float(np.exp((low + high) / 2)),
                activation="linear" if data.active is None else "relu",
                upper=data.upper,
                active=data.active,
                costs=costs,
                tol=TOL,
                time_limit=as_time_limit(deadline),
                n_threads=n_threads,
            ).weights
        )
        if np.count_nonzero(answer[~data.pattern.keep]) > budget:
            low = (low + high) / 2
        else:
            high = (low + high) / 2
    return answer
