"""How many weights each layer of a network may keep, and the walk that sees to it.

A removal in one layer is compared with one in another by what it does to the output of the network: the
losses of each layer count with a factor, which is measured by trimming that layer alone to the sparsity
that is asked for.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from .._arguments import count_processors
from .._arrays import Array
from ..audit import changes
from ..checkpoint import SolvedLayer
from ..plan import Program
from ..report import BUDGET
from ..view import LayerView
from ..walk import Walk
from .data import BudgetData
from .layer import SWAPS, TYPICAL, BudgetTrace, is_dear, solved, traced
from .plan import BudgetPlan

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["BudgetWalk"]

TINY = float(np.finfo(float).tiny)


@dataclass
class BudgetWalk(Walk):
    """A walk that first shares a budget out among the layers (`nettrim.walk.Walk`).

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
        return self.options["n_threads"] or count_processors()

    def run(self) -> None:
        """Share the budget out and trim the layers; Ctrl-C ends it and leaves what is finished."""
        try:
            self._share_out()
        except KeyboardInterrupt:
            self.interrupted = True
            return
        super().run()

    def _share_out(self) -> None:
        """Give every layer as many weights as serve the network best, or the same share of its own."""
        sizes = {p: self.layers[p].affine.weights.size for p in self.chosen}
        most = {p: sizes[p] - self.plan.demanded(*self.layers[p].shape) for p in self.chosen}
        self.budgets = {p: self.plan.budget(sizes[p], most[p]) for p in self.chosen}
        sharing = [p for p in self.chosen if not is_dear(*self.layers[p].shape)]
        if self.plan.sparsity is None or self.plan.share == "layer" or len(sharing) < 2:
            return
        alone = sum(n for p, n in self.budgets.items() if p not in sharing)
        budget = self.plan.budget(sum(sizes.values()), sum(most.values())) - alone
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
        """Return what the removals of some layers do to the network's output, the cheapest first."""
        prices = []
        for position, signal in enumerate(self.view.signals(self.data, {})):
            if position in positions:
                program = self._program(position, signal, signal)
                parts = _parts(self.layers[position], program, self.plan.pattern)
                traces = [traced(part, TYPICAL, None, None, self.n_threads) for part in parts]
                if not self.plan.cascaded or position == self.chosen[0]:
                    self.traces[position] = traces
                prices.append(self._price(position, traces))
            if position == positions[-1]:
                break
        return prices

    def _price(self, position: int, traces: list[BudgetTrace]) -> Array:
        """Return what the removals of a layer do to the network's output, the cheapest first."""
        size, budget = self.layers[position].affine.weights.size, self.budgets[position]
        prices = [trace.elimination.prices for trace in traces]
        removed = cheapest(prices, size - budget)
        loss = sum(float(t.losses[n]) for t, n in zip(traces, removed, strict=True))
        effect = self._effect(position, _weights(traces, budget, 0)) / loss if loss > 0 else 1.0
        allowed = size - math.ceil(self.plan.min_density * size)
        return max(effect, TINY) * np.sort(np.concatenate(prices))[:allowed]

    def _effect(self, position: int, weights: Array) -> float:
        """Return half of the squared change of the output when this layer alone has other weights."""
        affine = self.layers[position].affine.replaced(weights)
        *_, output = changes(self.view, {position: affine}, self.data)
        return output.distance**2 / 2

    def _solve(self, position: int, program: Program) -> SolvedLayer:
        began, layer = time.perf_counter(), self.layers[position]
        return SolvedLayer(
            weights=self._trimmed(position, _parts(layer, program, self.plan.pattern)),
            epsilon=math.nan,
            output_norm=program.output_norm,
            residual=math.nan,
            violation=math.nan,
            gap=math.nan,
            status=BUDGET,
            solver="surgery",
            iterations=0,
            seconds=time.perf_counter() - began,
            history=np.empty((0, 2)),
        )

    def _trimmed(self, position: int, parts: list[BudgetData]) -> Array:
        budget = self.budgets[position]
        if len(parts) == 1:
            trace = self.traces.pop(position, [None])[0]
            if trace is not None:
                return trace.with_budget(budget, SWAPS).weights
            return solved(parts[0], budget, n_threads=self.n_threads).weights
        traces = self.traces.pop(position, None) or [
            traced(part, TYPICAL, None, None, self.n_threads) for part in parts
        ]
        return _weights(traces, budget, SWAPS)

    def _details(self, position: int) -> dict[str, object]:
        return {**super()._details(position), "budget": self.budgets[position]}


def cheapest(prices: Sequence[Array], count: int) -> NDArray[np.intp]:
    """Return how many removals each member of a group makes so that `count` come at the least price."""
    owner = np.repeat(np.arange(len(prices)), [len(own) for own in prices])
    first = np.argsort(np.concatenate(prices), kind="stable")[:count]
    return np.bincount(owner[first], minlength=len(prices))


def _parts(layer: LayerView, program: Program, pattern: str | None) -> list[BudgetData]:
    """Return the layer's groups; a row of biases stays, and does not count."""
    weights = layer.affine.stacked
    keep = np.arange(len(weights)) >= len(layer.affine.weights)
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
            keep,
            pattern,
        )
        for g, own in enumerate(outputs)
    ]


def _weights(parts: list[BudgetTrace], budget: int, rounds: int) -> Array:
    """Return the weights of a layer whose groups share a budget."""
    count = sum(part.data.size for part in parts) - budget
    removed = cheapest([part.elimination.prices for part in parts], count)
    return np.hstack(
        [
            part.with_budget(part.data.size - int(n), rounds).weights
            for part, n in zip(parts, removed, strict=True)
        ]
    )
