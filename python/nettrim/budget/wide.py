"""Layers in front of a ReLU that are too wide for surgery from the first weight on.

Elimination costs outputs times features cubed. Alternating directions, to which the ReLU is a
smooth activation, leave as many weights as surgery can take in no time to speak of, and it goes on
from there, on the rows that every output has
(docs/mathematics/budget.md#wide-layers-behind-a-relu).
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from .activations import RELU, Shifted
from .behind import choose_behind
from .data import BudgetData
from .optimal_brain_surgeon import Elimination, FirstRemovals, Regularisation

__all__ = ["WIDE_REGULARISATION", "choose_first", "is_expensive", "is_wide", "surgery_budget"]

# Outputs x features^3 of an elimination that is worth its time, some minutes behind a ReLU; and of
# one that begins with what alternating directions have left.
MOST_EXPENSIVE, BEGUN = 2e12, 2e11
RIDGE = 0.003  # of alternating directions
WIDE_REGULARISATION = Regularisation(0.003, 0.01)  # to choose it takes eliminations of its own


def is_expensive(n_features: int, n_outputs: int, most: float = MOST_EXPENSIVE) -> bool:
    """Tell whether removing the weights of a layer one by one would take too long."""
    return float(n_features) ** 3 * n_outputs > most


def is_wide(data: BudgetData) -> bool:
    """Tell whether a layer is one that surgery does not begin."""
    return data.active is not None and is_expensive(*data.weights.shape)


def surgery_budget(n_features: int, n_outputs: int) -> int:
    """Return how many weights of a layer may be left where surgery begins, at most."""
    return int(n_outputs * min((BEGUN / n_outputs) ** (1 / 3), n_features))


def choose_first(data: BudgetData, n_threads: int, deadline: float | None) -> FirstRemovals:
    """Return the weights that are gone before surgery begins.

    Those that are smallest went first, after those that the pattern demands.

    The bound of a layer's inactive rows must be the same in all samples.
    """
    offset = np.zeros(data.n_outputs) if data.upper is None else -data.upper[0]
    behind = Shifted(RELU, offset)
    smooth = replace(data, Y=data.target, upper=None, active=None, behind=behind)
    budget = min(surgery_budget(*data.weights.shape), data.size - data.demanded)
    left = choose_behind(smooth, behind, budget, RIDGE, n_threads, deadline).T
    left[:, data.pattern.keep] = True
    lengths = np.sqrt(np.einsum("ij,ij->j", data.X, data.X))
    sizes = np.where(left, np.inf, np.abs(data.weights.T) * lengths)
    # What the pattern demands is in front, for budgets of more than what is left here.
    order = np.lexsort((sizes, ~data.pattern.first_to_go(sizes)), axis=1).astype(np.int32)
    known = Elimination(order, np.zeros(order.shape), data.pattern.demanded)
    return FirstRemovals(0, known, np.count_nonzero(~left, axis=1))
