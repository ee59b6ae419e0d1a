"""Every sparsity of a layer from one run."""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from ..base.arguments import check_integer, check_threads, check_time_limit
from ..base.arrays import Array
from ..base.deadline import deadline_after, has_passed, partial_deadline
from ..layer.gram import Gram
from .checks import check_budget, check_held_out, check_regularisation
from .data import BudgetData
from .fitted import BUDGET, SWAPS, TIME_LIMIT, fit_support, solve_trivial, with_timing
from .optimal_brain_surgeon import (
    TUNING,
    Elimination,
    FirstRemovals,
    Regularisation,
    eliminate,
    tune_regularisation,
)
from .solution import BudgetSolution

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from ..layer.blocks.workers import Pool

__all__ = ["TYPICAL", "BudgetTrace", "trace_budget", "trace_elimination"]

TYPICAL = np.array([0.5, 0.8, 0.95])  # sparsities that a whole curve is tuned for


@dataclass(frozen=True)
class BudgetTrace:
    """A layer that has given up all its weights one by one: every sparsity from one run.

    Attributes
    ----------
    data : BudgetData
    elimination : Elimination
        In which order the weights went, and how much each of them cost.
    regularisation : Regularisation
    seconds : float
        Wall time of the run.
    n_threads : int
    status : str
        ``"budget"``; ``"time_limit"`` where time was up and the rest of the weights went at once.
    """

    data: BudgetData = field(repr=False)
    elimination: Elimination = field(repr=False)
    regularisation: Regularisation
    seconds: float
    n_threads: int
    status: str = BUDGET

    @property
    def losses(self) -> Array:
        """The layer's loss, half of a squared error, without 0, 1, 2, ... weights: an estimate."""
        return self.data.in_given_units(self.elimination.cumulative_losses, "losses")

    def at(
        self,
        sparsity: float,
        *,
        swaps: int = SWAPS,
        held_out: tuple[ArrayLike, ArrayLike] | None = None,
    ) -> BudgetSolution:
        """Return the layer at a sparsity; see `solve_layer_budget`.

        Examples
        --------
        >>> import numpy as np, nettrim
        >>> rng = np.random.default_rng(0)
        >>> X, W = rng.standard_normal((200, 20)), rng.standard_normal((20, 10))
        >>> trace = nettrim.trace_budget(X, np.maximum(X @ W, 0), weights=W)
        >>> [trace.at(sparsity).nonzeros for sparsity in (0.5, 0.9)]
        [100, 20]
        """
        began = time.perf_counter()
        budget = check_budget(self.data, sparsity)
        held_out_data, rounds = (
            check_held_out(self.data, held_out),
            check_integer(swaps, "swaps", least=0),
        )
        return with_timing(self.with_budget(budget, rounds), held_out_data, began)

    def with_budget(
        self, budget: int, rounds: int, deadline: float | None = None
    ) -> BudgetSolution:
        """Return the layer with a number of weights."""
        if (solution := solve_trivial(self.data, budget)) is not None:
            return solution
        count = self.data.size - budget
        support = self.elimination.support(self.elimination.removals(count))
        solution = fit_support(
            self.data,
            self.regularisation,
            support,
            budget,
            "surgery",
            rounds,
            self.n_threads,
            deadline,
        )
        return solution if self.status == BUDGET else replace(solution, status=self.status)


def trace_budget(
    X: ArrayLike | Gram,
    Y: ArrayLike | None = None,
    *,
    weights: ArrayLike,
    activation: str | None = None,
    upper: ArrayLike | None = None,
    active: ArrayLike | None = None,
    keep: ArrayLike | None = None,
    pattern: str | None = None,
    pull: float | None = None,
    ridge: float | None = None,
    time_limit: float | None = None,
    n_threads: int | None = None,
) -> BudgetTrace:
    """Remove the weights of a layer one by one, for every sparsity at once.

    Parameters
    ----------
    X, Y, weights, activation, upper, active, keep, pattern, pull, ridge, time_limit, n_threads
        As in `solve_layer_budget`; what is not given of `pull` and `ridge` is chosen for sparsities
        of 50, 80 and 95 % together.

    Returns
    -------
    BudgetTrace

    Raises
    ------
    ValueError, TypeError, KeyboardInterrupt
        As `solve_layer_budget`.

    Examples
    --------
    >>> import numpy as np, nettrim
    >>> rng = np.random.default_rng(0)
    >>> X, W = rng.standard_normal((200, 20)), rng.standard_normal((20, 10))
    >>> trace = nettrim.trace_budget(X, np.maximum(X @ W, 0), weights=W)
    >>> len(trace.losses), bool(np.all(np.diff(trace.losses) >= 0))
    (201, True)
    """
    deadline = deadline_after(check_time_limit(time_limit))
    data = BudgetData.of(X, Y, weights, activation, upper, active, keep, pattern)
    if data.behind is not None:
        raise ValueError("activation must be 'relu' or 'linear' where weights go one by one")
    given = check_regularisation(pull, ridge)
    return trace_elimination(data, TYPICAL, *given, check_threads(n_threads), deadline)


def trace_elimination(
    data: BudgetData,
    sparsities: NDArray[np.float64],
    pull: float | None,
    ridge: float | None,
    n_threads: int,
    deadline: float | None = None,
    pool: Pool | None = None,
    first: FirstRemovals | None = None,
) -> BudgetTrace:
    """Remove the weights of a layer one by one, regularised for some sparsities."""
    began = time.perf_counter()
    tuning = partial_deadline(deadline, TUNING)
    chosen = tune_regularisation(data, sparsities, pull, ridge, n_threads, tuning, pool)
    is_late = has_passed(tuning)
    if first is None:
        first = FirstRemovals.for_sparsity(data, float(sparsities.min()))
    elimination = eliminate(data, chosen, n_threads, deadline, pool, first)
    is_late |= has_passed(deadline)
    seconds = time.perf_counter() - began
    status = TIME_LIMIT if is_late else BUDGET
    return BudgetTrace(data, elimination, chosen, seconds, n_threads, status)
