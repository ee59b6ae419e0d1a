r"""Optimal brain surgery on the rows a ReLU lets through: which weights to keep, and their values.

An output's weights are removed one after the other, always the one without which its loss

.. math:: \tfrac12\Big(\sum_{active}(p - y)^2 + \sum_{inactive}\max(0, p - upper)^2
          + pull\sum_{inactive}(p - z)^2 + ridge\,\Vert u - w\Vert^2\Big),\qquad p = Xu,

grows least, all others following (Hassibi and Stork, 1992; Frantar and Alistarh, NeurIPS 2022, for
a layer without a ReLU); `z` is what the original weights `w` give, at most `upper`. Every few
removals the inactive rows are looked at again: those above their bound count in full from then on.
The losses of all outputs in one list say which weights a budget keeps.
"""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from ..base.arrays import Array
from ..base.deadline import deadline_after, has_passed, partial_deadline, remaining_seconds
from ..base.dispatch import core
from ..layer.blocks.workers import Pool, SharedData, Task
from .data import BudgetData
from .ridge import choose_ridge

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

__all__ = [
    "ROUGHER",
    "TRACING",
    "TUNING",
    "Elimination",
    "FirstRemovals",
    "Regularisation",
    "eliminate",
    "fit",
    "tune_on_held_out",
    "tune_regularisation",
]

# Pull and ridge, tried in this order where nothing is given, as long as that helps: what serves
# layers inside a network, and more and more pull, which those in front of raw pixels want.
RELU_GRID = ((0.003, 0.01), (0.03, 0.001), (0.1, 0.001), (0.3, 0.001))
FOLD = 4  # one of so many samples judges
# Of the least sparsity that is asked for: that share of an output's weights may go by less precise
# losses, for those that are left make up for it (bench/layer/compare_budget.py). A network's budget
# is shared out as well with more (bench/networks).
ROUGH, ROUGHER = 0.35, 0.65
MANY_FEATURES = 128  # from which that saves time to speak of
TUNED_OUTPUTS = 24  # outputs
TUNING, TRACING = 0.4, 0.6  # shares of the time that is left: what follows needs some too


@dataclass(frozen=True)
class Regularisation:
    """What keeps weights from following the calibration data too closely.

    Attributes
    ----------
    pull : float
        Weight of inactive rows that are below their bound, drawn to what they were; active ones
        have 1.
    ridge : float
        Draws weights to what they were, in units of the mean square of a feature.
    """

    pull: float
    ridge: float


@dataclass(frozen=True)
class Elimination:
    """The order in which the weights of outputs are removed.

    Attributes
    ----------
    order : ndarray of int, of shape (n_outputs, n_features)
        Features, the first to go first; -1 where no more may go.
    losses : ndarray of shape (n_outputs, n_features)
        Growth of the loss with each removal, infinite where there is none.
    demanded : int
        Removals of each output that a pattern demands; they come first.
    """

    order: NDArray[np.int32]
    losses: Array
    demanded: int = 0

    def weighed(self, counts: Array | None) -> Elimination:
        """Return it with losses that count as much as is said of each output, if it is said."""
        return self if counts is None else replace(self, losses=self.losses * counts[:, None])

    @property
    def most(self) -> int:
        """How many weights may go."""
        return int(np.isfinite(self.losses).sum())

    @cached_property
    def monotone_losses(self) -> Array:
        """Loss of every removal: the largest up to there, as no weight goes before its turn."""
        return np.maximum.accumulate(self.losses, axis=1)

    @cached_property
    def removal_order(self) -> NDArray[np.intp]:
        """All removals, the least loss first after those that are demanded."""
        free = np.broadcast_to(np.arange(self.losses.shape[1]) >= self.demanded, self.losses.shape)
        return np.lexsort((self.monotone_losses.ravel(), free.ravel()))[: self.most]

    @property
    def ranked_losses(self) -> Array:
        """Loss of each of them; minus infinity for those that are demanded."""
        losses = self.monotone_losses.ravel()[self.removal_order]
        losses[: self.demanded * len(self.order)] = -np.inf
        return losses

    @property
    def cumulative_losses(self) -> Array:
        """The layer's loss after 0, 1, 2, ... of them."""
        return np.concatenate([[0.0], np.cumsum(self.monotone_losses.ravel()[self.removal_order])])

    def removals(self, count: int) -> NDArray[np.intp]:
        """Return how many weights each output gives up so that `count` go at the least loss."""
        return np.bincount(
            self.removal_order[:count] // self.order.shape[1], minlength=len(self.order)
        )

    def support(self, removals: NDArray[np.intp]) -> NDArray[np.bool_]:
        """Return which weights are left, of shape (n_outputs, n_features)."""
        gone = np.arange(self.order.shape[1]) < removals[:, None]
        support = np.ones(self.order.shape, bool)
        support[np.repeat(np.arange(len(support)), removals), self.order[gone]] = False
        return support


@dataclass(frozen=True)
class FirstRemovals:
    """What goes before the weights that are removed one by one with all care.

    Attributes
    ----------
    rough : int
        So many of each output go by losses that take the rows of all outputs for its own.
    known : Elimination or None
        Of a layer like it, of which each output gives up the first `removals` at once.
    removals : ndarray of int, of shape (n_outputs,), or None
    """

    rough: int = 0
    known: Elimination | None = None
    removals: NDArray[np.intp] | None = None

    @classmethod
    def for_sparsity(cls, data: BudgetData, least: float, rough: float = ROUGH) -> FirstRemovals:
        """Return those of a layer that is to give up at least that share of its weights."""
        if data.active is None or len(data.weights) <= MANY_FEATURES:
            return cls()
        idle = np.count_nonzero(np.diag(data.gram) == 0)  # weights that go at no cost
        return cls(max(int(idle + rough * (least * data.pattern.n_free - idle)), 0))

    @classmethod
    def from_known(cls, known: Elimination, count: int) -> FirstRemovals:
        """Return the first of all removals of a layer like it."""
        return cls(0, known, known.removals(count))

    @property
    def left(self) -> NDArray[np.bool_] | None:
        """Weights that do not go at once, (n_outputs, n_features); None where none does."""
        if self.known is None or self.removals is None:
            return None
        return self.known.support(self.removals)

    def of_outputs(self, outputs: slice) -> FirstRemovals:
        """Return those of some outputs."""
        if self.known is None or self.removals is None:
            return self
        order, losses = self.known.order[outputs], self.known.losses[outputs]
        known = Elimination(order, losses, self.known.demanded)
        return FirstRemovals(0, known, self.removals[outputs])

    def write(self, order: NDArray[np.int32], losses: Array) -> None:
        """Put those that went at once in front of all others, which any loss comes after."""
        if self.known is not None and self.removals is not None:
            gone = np.arange(order.shape[1]) < self.removals[:, None]
            order[gone], losses[gone] = self.known.order[gone], 0.0


NONE_FIRST = FirstRemovals()


def eliminate(
    data: BudgetData,
    chosen: Regularisation,
    n_threads: int,
    deadline: float | None = None,
    pool: Pool | None = None,
    first: FirstRemovals = NONE_FIRST,
) -> Elimination:
    """Remove all weights of a layer, one by one; from the deadline on those left all at once.

    An output's weights do not depend on those of others: workers take some outputs each.
    """
    if pool is not None and data.n_outputs > 1:
        return _eliminate_on_pool(data, chosen, n_threads, deadline, pool, first)
    pattern = data.pattern
    fields = core.eliminate(
        **data.core_arguments(chosen.pull, chosen.ridge),
        gram=None if has_passed(deadline) else data.gram,
        group=pattern.group,
        most=pattern.most,
        left=first.left,
        rough=first.rough,
        time_limit=remaining_seconds(deadline),
        n_threads=n_threads,
    )
    if not fields["complete"]:
        raise KeyboardInterrupt
    first.write(fields["order"], fields["losses"])
    return Elimination(fields["order"], fields["losses"], pattern.demanded)


def _eliminate_on_pool(
    data: BudgetData,
    chosen: Regularisation,
    n_threads: int,
    deadline: float | None,
    pool: Pool,
    first: FirstRemovals,
) -> Elimination:
    n_blocks = min(pool.n_workers, data.n_outputs)
    ends = [data.n_outputs * (k + 1) // n_blocks for k in range(n_blocks)]
    limit = remaining_seconds(deadline)
    with closing(SharedData(data)) as arrays:
        tasks = [
            Task(arrays, _eliminate_block, (own, chosen, n_threads, limit, first.of_outputs(own)))
            for own in map(slice, [0, *ends[:-1]], ends)
        ]
        done = dict(pool.as_completed(tasks))
    parts = [done[k] for k in range(n_blocks)]
    return Elimination(
        np.concatenate([part.order for part in parts]),
        np.concatenate([part.losses for part in parts]),
        data.pattern.demanded,
    )


def _eliminate_block(
    data: BudgetData,
    outputs: slice,
    chosen: Regularisation,
    n_threads: int,
    limit: float,
    first: FirstRemovals,
    stopped: Callable[[], bool] | None = None,
) -> Elimination:
    """Remove the weights of some outputs as a task, which is not stopped before its time."""
    deadline = deadline_after(limit)
    return eliminate(data.of_outputs(outputs), chosen, n_threads, deadline, first=first)


def fit(
    data: BudgetData,
    chosen: Regularisation,
    support: NDArray[np.bool_],
    rounds: int,
    n_threads: int,
    deadline: float | None = None,
) -> tuple[Array, int]:
    """Return the best weights on a support, after rounds of swaps, and how many those were.

    From the deadline on the weights of further outputs are what they were, without those removed.
    """
    fields = core.fit_support(
        **data.core_arguments(chosen.pull, chosen.ridge),
        gram=None if has_passed(deadline) else data.gram,
        support=support,
        rounds=rounds,
        time_limit=remaining_seconds(deadline),
        n_threads=n_threads,
    )
    if not fields["complete"]:
        raise KeyboardInterrupt
    return np.ascontiguousarray(fields["weights"].T), fields["swaps"]


def tune_regularisation(
    data: BudgetData,
    sparsities: NDArray[np.float64],
    pull: float | None,
    ridge: float | None,
    n_threads: int,
    deadline: float | None = None,
    pool: Pool | None = None,
) -> Regularisation:
    """Choose what is not given, for some sparsities; with a deadline what was judged before it."""
    if data.active is None:
        own = choose_ridge(data, float(np.mean(sparsities))) if ridge is None else ridge
        return Regularisation(0.0 if pull is None else pull, own)

    def error(training: BudgetData, held_out: BudgetData, candidate: Regularisation) -> float:
        return _held_out_error(training, held_out, candidate, sparsities, n_threads, deadline, pool)

    return tune_on_held_out(data, pull, ridge, error, deadline)


def tune_on_held_out(
    data: BudgetData,
    pull: float | None,
    ridge: float | None,
    error: Callable[[BudgetData, BudgetData, Regularisation], float],
    deadline: float | None = None,
    n_outputs: int = TUNED_OUTPUTS,
) -> Regularisation:
    """Choose what is not given: what serves samples best that were not used, for some outputs.

    Terms that stand for what is known beforehand need not grow with the number of samples, and both
    are measured by it: what was best for some of the samples is reduced by the share that was set
    aside. With a deadline the best of those that were judged before it.

    Parameters
    ----------
    data : BudgetData
        A layer in front of a ReLU, or all of its samples.
    pull, ridge : float or None
    error : callable
        What a candidate, fitted to some samples, errs by on others.
    deadline : float or None
    n_outputs : int
        How many judge.
    """
    tried = (
        Regularisation(p if pull is None else pull, r if ridge is None else ridge)
        for p, r in RELU_GRID
    )
    candidates = list(dict.fromkeys(tried))
    middle = candidates[(len(candidates) - 1) // 2]
    if len(candidates) == 1 or len(data.X) < 2 * FOLD:
        return middle
    rows = np.random.default_rng(0).permutation(len(data.X))
    outputs = np.unique(np.linspace(0, data.Y.shape[1] - 1, n_outputs).round().astype(int))
    n_held_out = len(rows) // FOLD
    training = data.select(np.sort(rows[n_held_out:]), outputs)
    held_out = data.select(np.sort(rows[:n_held_out]), outputs)
    best, least = middle, np.inf
    for candidate in candidates:
        own = error(training, held_out, candidate)
        if has_passed(deadline) or own >= least:  # what was hurried is no judgement
            break
        best, least = candidate, own
    share = 1 - n_held_out / len(rows)
    return Regularisation(
        best.pull * share if pull is None else pull, best.ridge * share if ridge is None else ridge
    )


def _held_out_error(
    training: BudgetData,
    held_out: BudgetData,
    candidate: Regularisation,
    sparsities: NDArray[np.float64],
    n_threads: int,
    deadline: float | None,
    pool: Pool | None,
) -> float:
    """Return the sum of the logarithms of the errors on held-out samples."""
    first = FirstRemovals.for_sparsity(training, float(sparsities.min()))
    tracing = partial_deadline(deadline, TRACING)
    trace = eliminate(training, candidate, n_threads, tracing, pool, first)
    total = 0.0
    for sparsity in sparsities:
        count = max(training.size - round((1 - sparsity) * training.size), training.demanded)
        support = trace.support(trace.removals(count))
        weights, _ = fit(training, candidate, support, 0, n_threads, deadline)
        total += float(np.log(max(held_out.error(weights), np.finfo(float).tiny)))
    return total
