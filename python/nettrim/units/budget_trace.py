"""Readers with every number of units from one run."""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ..base.arguments import check_integer, check_threads, check_time_limit
from ..base.arrays import Array
from ..base.deadline import deadline_after, has_passed, partial_deadline
from ..budget.checks import check_regularisation
from ..budget.fitted import BUDGET, TIME_LIMIT
from ..budget.optimal_brain_surgeon import TRACING
from .budget_solution import UnitsBudgetSolution
from .fitted import HeldOut, check_held_out, check_n_units, fit_units, with_timing
from .readers import Readers
from .surgery import Forms, UnitsElimination

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike, NDArray

    from ..layer.gram import Gram

__all__ = ["MOST_SWAPS", "UnitsTrace", "trace_readers", "trace_units_budget"]

MOST_SWAPS = 100


@dataclass(frozen=True)
class UnitsTrace:
    """Readers that have given up all units of their signal one by one: every size from one run.

    Attributes
    ----------
    readers : Readers
    forms : Forms
    elimination : UnitsElimination
    pull, ridge : float or None
        The regularisation that was given.
    seconds : float
        Wall time of the run.
    n_threads : int
    status : str
        ``"budget"``; ``"time_limit"`` where time was up and the rest of the units went at once.
    """

    readers: Readers = field(repr=False)
    forms: Forms = field(repr=False)
    elimination: UnitsElimination = field(repr=False)
    pull: float | None
    ridge: float | None
    seconds: float
    n_threads: int
    status: str = BUDGET

    @property
    def order(self) -> NDArray[np.intp]:
        """The units, the first to go first; those of `keep` are not among them."""
        return self.elimination.order

    @property
    def losses(self) -> Array:
        """The loss without 0, 1, 2, ... units, in front of what follows the readers: an estimate.

        Half the sum of the readers' squared errors, each over the square of its outputs and times
        its importance.
        """
        return self.elimination.cumulative_losses

    def at(
        self,
        n_units: int,
        *,
        swaps: int = MOST_SWAPS,
        held_out: HeldOut | None = None,
        time_limit: float | None = None,
    ) -> UnitsBudgetSolution:
        """Return the readers with so many units; see `solve_units_budget`.

        Examples
        --------
        >>> import numpy as np, nettrim
        >>> rng = np.random.default_rng(0)
        >>> X, W = rng.standard_normal((200, 20)), rng.standard_normal((20, 10))
        >>> Y, units = np.maximum(X @ W, 0), np.arange(20)
        >>> trace = nettrim.trace_units_budget(X, Y, weights=W, groups=units)
        >>> [trace.at(n_units).n_units for n_units in (15, 10)]
        [15, 10]
        """
        began, deadline = time.perf_counter(), deadline_after(check_time_limit(time_limit))
        count = check_n_units(self.readers, n_units)
        rounds = check_integer(swaps, "swaps", least=0)
        others = check_held_out(self.readers, held_out)
        return with_timing(self.with_units(count, rounds, deadline), self.readers, others, began)

    def with_units(
        self, n_units: int, swaps: int, deadline: float | None = None
    ) -> UnitsBudgetSolution:
        """Return the readers with a number of units."""
        removals = self.readers.n_units - n_units
        kept, swapped = self.elimination.kept(removals, self.readers.n_units), 0
        if 0 < removals < len(self.order):
            exchange = self.forms.exchange(
                kept,
                swaps,
                float(self.losses[removals]),
                self.n_threads,
                partial_deadline(deadline, TRACING),
            )
            kept, swapped = exchange.kept, exchange.swaps
        solution = fit_units(
            self.readers, kept, swapped, self.pull, self.ridge, self.n_threads, deadline
        )
        is_late = self.status == TIME_LIMIT or has_passed(deadline)
        return replace(solution, status=TIME_LIMIT) if is_late else solution


def trace_units_budget(
    X: ArrayLike | Gram | Sequence[ArrayLike | Gram],
    Y: ArrayLike | Sequence[ArrayLike] | None = None,
    *,
    weights: ArrayLike | Sequence[ArrayLike],
    groups: ArrayLike | Sequence[ArrayLike],
    activation: Any = None,
    upper: Any = None,
    active: Any = None,
    keep: ArrayLike | None = None,
    importance: float | Sequence[float] | None = None,
    pull: float | None = None,
    ridge: float | None = None,
    time_limit: float | None = None,
    n_threads: int | None = None,
) -> UnitsTrace:
    """Remove the units of a signal one by one from the layers that read it: all sizes at once.

    Parameters
    ----------
    X, Y, weights, groups, activation, upper, active, keep, importance, pull, ridge, time_limit, \
            n_threads
        As in `solve_units_budget`.

    Returns
    -------
    UnitsTrace

    Raises
    ------
    ValueError, TypeError, KeyboardInterrupt
        As `solve_units_budget`.

    Examples
    --------
    >>> import numpy as np, nettrim
    >>> rng = np.random.default_rng(0)
    >>> X, W = rng.standard_normal((200, 20)), rng.standard_normal((20, 10))
    >>> units = np.repeat(np.arange(5), 4)
    >>> trace = nettrim.trace_units_budget(X, np.maximum(X @ W, 0), weights=W, groups=units)
    >>> len(trace.losses), bool(np.all(np.diff(trace.losses) >= 0))
    (6, True)
    """
    deadline = deadline_after(check_time_limit(time_limit))
    readers = Readers.of(
        X,
        Y,
        weights,
        groups,
        activation=activation,
        upper=upper,
        active=active,
        keep=keep,
        importance=importance,
    )
    pull, ridge = check_regularisation(pull, ridge)
    return trace_readers(readers, pull, ridge, check_threads(n_threads), deadline)


def trace_readers(
    readers: Readers,
    pull: float | None,
    ridge: float | None,
    n_threads: int,
    deadline: float | None,
) -> UnitsTrace:
    """Remove the units of a signal one by one."""
    began = time.perf_counter()
    forms = Forms.of(readers, ridge)
    elimination = forms.eliminate(n_threads, deadline)
    seconds = time.perf_counter() - began
    status = TIME_LIMIT if has_passed(deadline) else BUDGET
    return UnitsTrace(readers, forms, elimination, pull, ridge, seconds, n_threads, status)
