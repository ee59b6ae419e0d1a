"""From a support to an answer: fitted, measured, timed."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from ..base.arrays import Array
from ..base.deadline import has_passed
from .data import BudgetData
from .optimal_brain_surgeon import Regularisation, fit
from .solution import BudgetSolution

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = [
    "BUDGET",
    "SWAPS",
    "TIME_LIMIT",
    "fit_support",
    "is_trivial",
    "make_solution",
    "solve_trivial",
    "with_timing",
]

BUDGET, TIME_LIMIT = "budget", "time_limit"  # statuses
SWAPS = 3  # rounds
ROUNDING = 1e-9  # relative error that may be rounding alone: of a layer posed by a Gram matrix


def fit_support(
    data: BudgetData,
    chosen: Regularisation,
    support: NDArray[np.bool_],
    budget: int,
    method: str,
    rounds: int,
    n_threads: int,
    deadline: float | None,
) -> BudgetSolution:
    """Fit the weights of a support; a pattern leaves no room for swaps."""
    rounds = 0 if data.pattern.group else rounds
    weights, swaps = fit(data, chosen, support, rounds, n_threads, deadline)
    solution = make_solution(data, weights, budget, method, chosen, swaps, n_threads)
    return replace(solution, status=TIME_LIMIT) if has_passed(deadline) else solution


def is_trivial(data: BudgetData, budget: int) -> bool:
    """Tell whether a budget needs no thought: none may stay, or all that there are.

    These may be few: of a layer that is sparse already. Where its inputs have not changed either,
    more weights would fit rounding errors.
    """
    if budget == data.size or (budget == 0 and not data.pattern.keep.any()):
        return True
    is_within = data.pattern.count(data.weights) <= budget and data.pattern.admits(data.weights)
    return is_within and data.error(data.weights) <= ROUNDING


def solve_trivial(data: BudgetData, budget: int) -> BudgetSolution | None:
    """Return the answer to a budget that needs no thought."""
    if not is_trivial(data, budget):
        return None
    is_kept = budget or data.pattern.keep.any()
    weights = data.weights if is_kept else np.zeros_like(data.weights)
    return make_solution(data, weights, budget, "none", Regularisation(0.0, 0.0), 0)


def make_solution(
    data: BudgetData,
    weights: Array,
    budget: int,
    method: str,
    chosen: Regularisation,
    swaps: int,
    n_threads: int = 1,
) -> BudgetSolution:
    """Return weights as an answer, with their errors and in the units that were given."""
    given = data.in_given_units(weights, "weights")
    return BudgetSolution(
        weights=given,
        budget=budget,
        nonzeros=data.pattern.count(given),
        error=data.error(weights, n_threads),
        preactivation_error=data.preactivation_error(weights),
        held_out_error=None,
        held_out_preactivation_error=None,
        pull=chosen.pull,
        ridge=chosen.ridge,
        swaps=swaps,
        method=method,
        seconds=0.0,
    )


def with_timing(
    solution: BudgetSolution, held_out_data: BudgetData | None, began: float
) -> BudgetSolution:
    """Add what held-out data say, and the time it took."""
    if held_out_data is not None:
        weights = held_out_data.in_own_units(solution.weights, "weights")
        solution = replace(
            solution,
            held_out_error=held_out_data.error(weights),
            held_out_preactivation_error=held_out_data.preactivation_error(weights),
        )
    return replace(solution, seconds=time.perf_counter() - began)
