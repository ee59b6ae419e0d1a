"""Layers by alternating directions on Gram matrices, all outputs at once: for large ones.

This is ALPS (Meng et al., NeurIPS 2024): the weights that fit and those that are few are drawn
together by a growing penalty. Behind a ReLU it finds the support alone, on the Gram matrix of all
samples: a row that is inactive asks for the signal there is, at most its bound, a majoriser of the
loss that moves along with the weights.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..base.arrays import Array
from ..base.deadline import remaining_seconds
from ..base.dispatch import core
from .data import BudgetData
from .optimal_brain_surgeon import Regularisation

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Mask = NDArray[np.bool_]

__all__ = ["choose_support", "solve_linear"]

LEAST_RIDGE = 1e-3  # of a support; single precision needs some


def solve_linear(
    data: BudgetData, budget: int, ridge: float, n_threads: int, deadline: float | None
) -> Array:
    """Return few weights of a linear layer; at a deadline, those by then."""
    fields = core.solve_quadratic(
        **data.quadratic_arguments(ridge), **_limits(data, budget, n_threads, deadline)
    )
    if not fields["complete"]:
        raise KeyboardInterrupt
    return fields["weights"]


def choose_support(
    data: BudgetData,
    budget: int,
    chosen: Regularisation,
    n_threads: int,
    deadline: float | None,
) -> Mask:
    """Return which weights to keep behind a ReLU, (n_outputs, n_features)."""
    fields = core.choose_support(
        **data.core_arguments(chosen.pull, max(chosen.ridge, LEAST_RIDGE)),
        **_limits(data, budget, n_threads, deadline),
    )
    if not fields["complete"]:
        raise KeyboardInterrupt
    return np.ascontiguousarray(fields["support"].T)


def _limits(
    data: BudgetData, budget: int, n_threads: int, deadline: float | None
) -> dict[str, Any]:
    return {
        "group": data.pattern.group,
        "most": data.pattern.most,
        "budget": budget,
        "time_limit": remaining_seconds(deadline),
        "n_threads": n_threads,
    }
