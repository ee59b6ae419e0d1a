"""How many weights each layer of a network may keep, and the walk that sees to it.

A removal in one layer is compared with one in another by what it does to the output of the network: the
losses of each layer count with a factor, which is measured by trimming that layer alone to the sparsity
that is asked for.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from ..base.arguments import threads
from ..base.arrays import Array
from ..base.deadline import after, share_of
from ..budget.data import BudgetData, allowed
from ..budget.optimal_brain_surgeon import TRACING, Regularisation, tuned
from ..budget.optimal_brain_surgeon import TUNING as TUNING_SHARE
from ..budget.solution import BudgetSolution
from ..budget.solve import SWAPS, TYPICAL, BudgetTrace, around, is_dear, is_trivial, solved, traced
from .bounds import changes
from .budget_plan import BudgetPlan
from .checkpoint import SolvedLayer
from .plan import Program
from .walk import Walk

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["BudgetWalk"]

SHARING, TUNING = "sharing", "tuning"  # stages of a run
TINY = float(np.finfo(float).tiny)


@dataclass
class BudgetWalk(Walk):
    """A walk that first shares a budget out among the layers (`nettrim.trimming.walk.Walk`).

    Attributes
    ----------
    plan : BudgetPlan
    budgets : dict of int
        How many weights the layers may keep, by position.
    traces : dict of list of BudgetTrace
        Of the layers that will be met again as they were, one for each group.
    """

    plan: BudgetPlan
    budgets: dict[int, int] = field(default_factory=dict, init=False)
    traces: dict[int, list[BudgetTrace]] = field(default_factory=dict, init=False)

    @property
    def n_threads(self) -> int:
        """How many threads the core may use."""
        return threads(self.options["n_threads"])

    def run(self) -> None:
        """Share the budget out and trim the layers; Ctrl-C ends it and leaves what is finished."""
        try:
            with self.watch(SHARING):
                self._share_out()
        except KeyboardInterrupt:
            self.interrupted = True
            return
        super().run()

    def _share_out(self) -> None:
        """Give every layer as many weights as serve the network best, or the same share of its own."""
        sizes = {p: self.layers[p].affine.weights.size for p in self.chosen}
        demanded = {p: self.plan.demanded(*self.layers[p].shape) for p in self.chosen}
        sparsity = self.plan.sparsity
        self.budgets = {p: allowed(sparsity, sizes[p], demanded[p]) for p in self.chosen}
        sharing = [p for p in self.chosen if not is_dear(*self.layers[p].shape)]
        if sparsity is None or self.plan.share == "layer" or len(sharing) < 2:
            return
        alone = sum(n for p, n in self.budgets.items() if p not in sharing)
        budget = allowed(sparsity, sum(sizes.values()), sum(demanded.values())) - alone
        prices = self._prices(sharing)
        count = sum(sizes[p] for p in sharing) - budget
        available = sum(map(len, prices))
        if available < count:
            raise ValueError(
                f"sparsity: {count} weights were to be removed, and min_density lets {available} go"
            )
        for position, removed in zip(sharing, cheapest(prices, count), strict=True):
            self.budgets[position] = sizes[position] - int(removed)

    def _prices(self, positions: Sequence[int]) -> list[Array]:
        """Return for some layers what their removals do to the network's output."""
        prices: list[Array] = []
        for position, signal in enumerate(self.view.signals(self.data, {})):
            if position in positions:
                self.report.stage("sharing the budget", len(prices), len(positions))
                parts = self._parts(position, self._program(position, signal, signal))
                traces = self._traced(parts, after(self.options["time_limit"]))
                if not self.plan.cascaded or position == self.chosen[0]:
                    self.traces[position] = traces
                prices.append(self._price(position, traces))
            if position == positions[-1]:
                break
        self.report.stage("sharing the budget", len(prices), len(positions))
        return prices

    def _price(self, position: int, traces: list[BudgetTrace]) -> Array:
        """Return what the removals of a layer do to the network's output, the cheapest first."""
        size, budget = self.layers[position].affine.weights.size, self.budgets[position]
        prices = [trace.elimination.prices for trace in traces]
        removed = cheapest(prices, size - budget)
        loss = sum(float(t.losses[n]) for t, n in zip(traces, removed, strict=True))
        effect = 1.0
        if loss > 0:
            effect = self._effect(position, _stacked(_with_budgets(traces, removed, 0))) / loss
        allowed = size - math.ceil(self.plan.min_density * size)
        return max(effect, TINY) * np.sort(np.concatenate(prices))[:allowed]

    def _effect(self, position: int, weights: Array) -> float:
        """Return what it does to the outputs when this layer alone has other weights.

        Half of the sum of their squared relative changes.
        """
        affine = self.layers[position].affine.replaced(weights)
        moved = list(changes(self.view, {position: affine}, self.data))[len(self.layers) :]
        return sum(moved[k].relative ** 2 for k in self.counted) / 2

    def _solve(self, position: int, program: Program) -> SolvedLayer:
        began, tuning = time.perf_counter(), self._tuning
        solutions = self._solutions(position, program, after(self.options["time_limit"]))
        seconds = time.perf_counter() - began - (self._tuning - tuning)
        return SolvedLayer(
            weights=_stacked(solutions),
            epsilon=math.nan,
            output_norm=program.output_norm,
            active_rows=self.active_rows[position],
            residual=math.nan,
            violation=math.nan,
            gap=math.nan,
            status=max(solution.status for solution in solutions),  # "time_limit" if it was short
            solver="surgery",
            iterations=0,
            seconds=seconds,
            history=np.empty((0, 2)),
        )

    def _solutions(
        self, position: int, program: Program, deadline: float | None
    ) -> list[BudgetSolution]:
        """Return the layer with as many weights as it may keep, group by group."""
        budget, traces = self.budgets[position], self.traces.pop(position, None)
        if traces is None:
            parts = self._parts(position, program)
            if len(parts) == 1:
                return [self._solved(parts[0], budget, deadline)]
            traces = self._traced(parts, share_of(deadline, TRACING))
        count = self.layers[position].affine.weights.size - budget
        removed = cheapest([trace.elimination.prices for trace in traces], count)
        return _with_budgets(traces, removed, SWAPS, deadline)

    def _solved(self, part: BudgetData, budget: int, deadline: float | None) -> BudgetSolution:
        if is_trivial(part, budget):
            return solved(part, budget, n_threads=self.n_threads)
        chosen = self._tuned(part, around(part, budget), deadline)
        return solved(
            part,
            budget,
            pull=chosen.pull,
            ridge=chosen.ridge,
            n_threads=self.n_threads,
            deadline=deadline,
        )

    def _traced(self, parts: list[BudgetData], deadline: float | None) -> list[BudgetTrace]:
        chosen = [self._tuned(part, TYPICAL, deadline) for part in parts]
        return [
            traced(part, TYPICAL, own.pull, own.ridge, self.n_threads, deadline)
            for part, own in zip(parts, chosen, strict=True)
        ]

    def _tuned(
        self, part: BudgetData, sparsities: NDArray[np.float64], deadline: float | None
    ) -> Regularisation:
        with self.watch(TUNING):
            limit = share_of(deadline, TUNING_SHARE)
            return tuned(part, sparsities, None, None, self.n_threads, limit)

    @property
    def _tuning(self) -> float:
        return self.watch.seconds.get(TUNING, 0.0)

    def _parts(self, position: int, program: Program) -> list[BudgetData]:
        """Return a layer's groups; a row of biases stays, and does not count."""
        affine = self.layers[position].affine
        weights = affine.stacked
        X = np.split(program.X, program.groups, axis=1)
        outputs = np.split(np.arange(weights.shape[1]), program.groups)
        return [
            BudgetData.of(
                X[g],
                program.Y[:, own],
                weights[:, own],
                program.activation,
                None if program.upper is None else program.upper[:, own],
                None if program.active is None else program.active[:, own],
                np.arange(len(weights)) >= len(affine.weights),
                self.plan.pattern,
            )
            for g, own in enumerate(outputs)
        ]

    def _details(self, position: int) -> dict[str, object]:
        return {**super()._details(position), "budget": self.budgets[position]}


def cheapest(prices: Sequence[Array], count: int) -> NDArray[np.intp]:
    """Return how many removals each member of a group makes so that `count` come at the least price."""
    owner = np.repeat(np.arange(len(prices)), [len(own) for own in prices])
    first = np.argsort(np.concatenate(prices), kind="stable")[:count]
    return np.bincount(owner[first], minlength=len(prices))


def _with_budgets(
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


def _stacked(solutions: Sequence[BudgetSolution]) -> Array:
    """Return the weights of a layer, its groups side by side."""
    return np.hstack([solution.weights for solution in solutions])
