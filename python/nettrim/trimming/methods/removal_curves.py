"""Layers that give up their weights one by one: what is found once and serves every sparsity."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ...base.arguments import check_threads
from ...base.arrays import Array
from ...base.deadline import partial_deadline
from ...budget.data import BudgetData
from ...budget.optimal_brain_surgeon import (
    ROUGHER,
    Elimination,
    FirstRemovals,
    Regularisation,
    tune_regularisation,
)
from ...budget.optimal_brain_surgeon import TUNING as TUNING_SHARE
from ...budget.solution import BudgetSolution
from ...budget.trace import BudgetTrace, trace_elimination
from ...budget.wide import WIDE_REGULARISATION, choose_first, is_wide
from ...layer.blocks.workers import Pool
from .method import Run

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = [
    "TUNING",
    "Curve",
    "Curves",
    "LayerCurves",
    "RemovalCurves",
    "apply_budgets",
    "split_removals",
    "stack",
]

TUNING = "tuning"  # a stage of a run


class Curve(NamedTuple):
    """A group of a layer that has given up all its weights, without the rows it was met by."""

    elimination: Elimination
    regularisation: Regularisation
    status: str

    def on(self, data: BudgetData, n_threads: int) -> BudgetTrace:
        """Return it on some rows, to be fitted to them."""
        return BudgetTrace(data, self.elimination, self.regularisation, 0.0, n_threads, self.status)


@dataclass
class LayerCurves:
    """What is known of a layer on the original signals.

    Attributes
    ----------
    groups : list of Curve
    effect : float or None
        How much its losses count for the network, as it was measured last.
    """

    groups: list[Curve]
    effect: float | None = None


Curves = dict[int, LayerCurves]  # by the position of layers


@dataclass(frozen=True)
class RemovalCurves:
    """Traces layers, and remembers what it found on the original signals.

    Attributes
    ----------
    run : Run
    pool : Pool or None
    sparsities : ndarray
        That the curves have to serve.
    known : dict of LayerCurves
        May be lent to several methods on one model: it is the same for every sparsity.
    """

    run: Run
    pool: Pool | None
    sparsities: NDArray[np.float64]
    known: Curves = field(default_factory=dict)

    @property
    def n_threads(self) -> int:
        """How many threads the core may use."""
        given = self.run.n_threads
        return check_threads(1 if self.pool is not None and given is None else given)

    def on_original(
        self,
        position: int,
        parts: Sequence[BudgetData],
        deadline: float | None,
        count_outputs: Callable[[], Array | None] = lambda: None,
    ) -> list[BudgetTrace]:
        """Return the groups of a layer on the original signals; they are traced once.

        ``count_outputs`` returns how much errors of each output count; None for all alike.
        """
        if position not in self.known:
            traces, counts = self.trace(position, parts, deadline), count_outputs()
            shares = [None] * len(traces) if counts is None else np.split(counts, len(traces))
            curves = [
                Curve(trace.elimination.weighed(share), trace.regularisation, trace.status)
                for trace, share in zip(traces, shares, strict=True)
            ]
            self.known[position] = LayerCurves(curves)
        return self.recall(position, parts)

    def recall(self, position: int, parts: Sequence[BudgetData]) -> list[BudgetTrace]:
        """Return the groups of a layer in the order found on the original signals, on any."""
        return [
            curve.on(part, self.n_threads)
            for part, curve in zip(parts, self.known[position].groups, strict=True)
        ]

    def trace(
        self, position: int, parts: Sequence[BudgetData], deadline: float | None
    ) -> list[BudgetTrace]:
        """Trace the groups of a layer on the rows they have."""
        chosen = self.tune(position, parts, self.sparsities, deadline)
        least = float(self.sparsities.min())
        return [
            trace_elimination(
                part,
                self.sparsities,
                own.pull,
                own.ridge,
                self.n_threads,
                deadline,
                self.pool,
                self.first(part, deadline) or FirstRemovals.for_sparsity(part, least, ROUGHER),
            )
            for part, own in zip(parts, chosen, strict=True)
        ]

    def first(self, data: BudgetData, deadline: float | None) -> FirstRemovals | None:
        """Return what goes at once of a layer that is too wide for surgery; None for others."""
        if not is_wide(data):
            return None
        return choose_first(data, self.n_threads, partial_deadline(deadline, TUNING_SHARE))

    def tune(
        self,
        position: int,
        parts: Sequence[BudgetData],
        sparsities: NDArray[np.float64],
        deadline: float | None,
    ) -> list[Regularisation]:
        """Choose the regularisation of a layer's groups, if it is not known yet.

        What was chosen on the original signals serves a layer as well on trimmed ones.
        """
        if position in self.known:
            return [curve.regularisation for curve in self.known[position].groups]
        if all(map(is_wide, parts)):
            return [WIDE_REGULARISATION] * len(parts)
        with self.run.watch(TUNING):
            limit = partial_deadline(deadline, TUNING_SHARE)
            return [
                tune_regularisation(part, sparsities, None, None, self.n_threads, limit, self.pool)
                for part in parts
            ]

    @property
    def seconds_of_tuning(self) -> float:
        """What it took until now."""
        return self.run.watch.seconds.get(TUNING, 0.0)


def split_removals(losses: Sequence[Array], count: int) -> NDArray[np.intp]:
    """Return how many removals each member of a group makes: `count` in all, at the least loss."""
    owner = np.repeat(np.arange(len(losses)), [len(own) for own in losses])
    first = np.argsort(np.concatenate(losses), kind="stable")[:count]
    return np.bincount(owner[first], minlength=len(losses))


def apply_budgets(
    traces: Sequence[BudgetTrace],
    removed: Iterable[int],
    rounds: int,
    deadline: float | None = None,
) -> list[BudgetSolution]:
    """Return the groups of a layer with so many weights removed in each of them."""
    return [
        trace.with_budget(trace.data.size - int(n), rounds, deadline)
        for trace, n in zip(traces, removed, strict=True)
    ]


def stack(solutions: Sequence[BudgetSolution]) -> Array:
    """Return the weights of a layer, its groups side by side."""
    return np.hstack([solution.weights for solution in solutions])
