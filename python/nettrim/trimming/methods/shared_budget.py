"""A number of weights shared out among layers by what each removal does to the network.

A removal in one layer is compared with one in another by what it does to the output of the network:
the losses of each layer count with a factor, which is measured by trimming that layer alone to the
sparsity that is asked for.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np

from ...base.arrays import Array
from ...base.deadline import deadline_after
from ...base.errors import OutOfReachError
from ...budget.data import compute_budget
from ...budget.pattern import Pattern
from ...budget.trace import BudgetTrace
from ...budget.wide import is_expensive
from ...models.layer_view import LayerView, Signal
from .judge import JUDGING_RUNS, Judge
from .layer_program import LayerProgram
from .method import LayerTask, Run
from .posing import is_left_to_surgery, pose, split_groups
from .removal_curves import RemovalCurves, apply_budgets, split_removals, stack
from .sensitivity import Sensitivity

__all__ = ["SharedBudget"]

TINY = float(np.finfo(float).tiny)
# Outputs that are measured in the time that it takes to measure a layer; on so many samples.
OUTPUTS, SAMPLES = 6, 128
LEAST = 1e-3  # of the mean count of outputs
SHARED_LINEAR = 2e10  # outputs x features^3 of a linear layer's elimination, to share a budget


@dataclass(frozen=True)
class SharedBudget:
    """How many weights each layer keeps; see `nettrim.Sparsity`.

    Attributes
    ----------
    run : Run
    curves : RemovalCurves
    sparsity : float or None
    pattern : str or None
    share : {"network", "layer"}
    min_density : float
    time_limit : float or None
    draft : bool
        Whether it will do how much layers counted for the network at another sparsity.
    """

    run: Run
    curves: RemovalCurves
    sparsity: float | None
    pattern: str | None
    share: str
    min_density: float
    time_limit: float | None
    draft: bool = False

    def split(self) -> dict[int, int]:
        """Give layers as many weights as serve the network best, or the same share of their own."""
        sizes = {p: self.run.layers[p].affine.weights.size for p in self.run.chosen}
        demanded = {p: self._demanded(p) for p in self.run.chosen}
        budgets = {p: compute_budget(self.sparsity, sizes[p], demanded[p]) for p in self.run.chosen}
        # On a few rows all removals are cheap, whatever they do to others.
        shared = [p for p in self.run.chosen if p not in self.run.opened.rarely_reached]
        sharing = [p for p in shared if _is_cheap(self.run.layers[p], budgets[p])]
        if self.sparsity is None or self.share == "layer" or len(sharing) < 2:
            return budgets
        alone = sum(n for p, n in budgets.items() if p not in sharing)
        total = compute_budget(self.sparsity, sum(sizes.values()), sum(demanded.values()))
        losses = self._removal_losses({p: budgets[p] for p in sharing})
        count = sum(sizes[p] for p in sharing) - (total - alone)
        available = sum(map(len, losses))
        if available < count:
            raise OutOfReachError(
                f"sparsity: {count} weights were to be removed, and min_density lets {available} "
                "go",
                too_bold=True,
            )
        for position, removed in zip(sharing, split_removals(losses, count), strict=True):
            budgets[position] = sizes[position] - int(removed)
        return budgets

    def _demanded(self, position: int) -> int:
        """Return how many weights of a layer have to go for the pattern."""
        n_features, n_outputs = self.run.layers[position].shape
        return Pattern.of(None, self.pattern, n_features).demanded * n_outputs

    def _removal_losses(self, budgets: dict[int, int]) -> list[Array]:
        """Return for some layers what their removals do to the network's output."""
        known = self.curves.known
        if not (self.draft and all(p in known and known[p].effect is not None for p in budgets)):
            self._measure_effects(budgets)
        return [self._weigh_losses(position) for position in budgets]

    def _measure_effects(self, budgets: dict[int, int]) -> None:
        """Trace layers, if they are not, and measure how much their losses count."""
        judge, count = Judge.of(self.run, len(budgets), by_answers=self.run.by_answers), 0
        sensitivity = self._sensitivity(budgets, judge)
        for position, signal in enumerate(self._original_signals()):
            if position in budgets:
                self.run.report.stage("sharing the budget", count, len(budgets))
                task = self.run.task(position, signal, signal)
                program = pose(self.run, task, cascaded=False, budget=budgets[position])
                counts = partial(_count_outputs, sensitivity, task, program)
                parts = split_groups(task.layer, program, self.pattern)
                limit = deadline_after(self.time_limit)
                traces = self.curves.on_original(position, parts, limit, counts)
                effect = self._effect(position, traces, budgets[position], judge)
                self.curves.known[position].effect = effect
                count += 1
            if count == len(budgets):
                break
        self.run.report.stage("sharing the budget", count, len(budgets))

    def _original_signals(self) -> Iterator[Signal]:
        """Walk the data through the original model; a draft is followed by others that do so."""
        run = self.run
        return run.original_signals() if self.draft else run.view.signals(run.data, {})

    def _sensitivity(self, positions: Iterable[int], judge: Judge) -> Sensitivity | None:
        """Return what measures outputs of layers; None if their errors count all alike."""
        if not self.run.by_answers:
            return None
        n_outputs = sum(self.run.layers[position].shape[1] for position in positions)
        count = math.ceil(JUDGING_RUNS * len(self.run.data) * OUTPUTS / max(n_outputs, OUTPUTS))
        return Sensitivity(judge.on_fewer(min(count, SAMPLES)))

    def _effect(self, position: int, traces: list[BudgetTrace], budget: int, judge: Judge) -> float:
        """Return how much the losses of a layer count, by what they do at its own budget."""
        size = self.run.layers[position].affine.weights.size
        removed = split_removals([t.elimination.ranked_losses for t in traces], size - budget)
        losses = [t.elimination.cumulative_losses for t in traces]  # in units of the ranked
        loss = sum(float(own[n]) for own, n in zip(losses, removed, strict=True))
        if loss <= 0:
            return 1.0
        weights = stack(apply_budgets(traces, removed, 0))
        affine = self.run.layers[position].affine.replaced(weights)
        return judge.effect({position: affine}) / loss

    def _weigh_losses(self, position: int) -> Array:
        """Return what the removals of a layer do to the network's output, the cheapest first."""
        size, known = self.run.layers[position].affine.weights.size, self.curves.known[position]
        losses = np.concatenate([curve.elimination.ranked_losses for curve in known.groups])
        n_removable = size - math.ceil(self.min_density * size)
        return max(known.effect or 0.0, TINY) * np.sort(losses)[:n_removable]


def _count_outputs(
    sensitivity: Sensitivity | None, task: LayerTask, program: LayerProgram
) -> Array | None:
    """Return how much errors of a layer's outputs count, one in the mean; None for all alike.

    A ReLU's errors are those of the rows it is active on.
    """
    if sensitivity is None or program.groups > 1:
        return None
    counts = sensitivity.by_signal(task.position, task.layer.affine, program.X)
    if program.activation == "relu":
        active = program.Y > 0 if program.active is None else program.active
        counts = counts / np.maximum(active.sum(axis=0), 1)
    mean = float(counts.mean())
    return np.maximum(counts / mean, LEAST) if mean > 0 else None


def _is_cheap(layer: LayerView, budget: int) -> bool:
    """Tell whether a layer's removals are found one by one, in no time to speak of."""
    if layer.activation == "relu":
        return is_left_to_surgery(layer, budget)
    alone = layer.follower is None and layer.factor is None
    return alone and not is_expensive(*layer.shape, most=SHARED_LINEAR)
