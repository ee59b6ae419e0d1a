"""Layers with a number of weights: the budget shared out among them, each pruned by surgery.

A removal in one layer is compared with one in another by what it does to the output of the network:
the losses of each layer count with a factor, which is measured by trimming that layer alone to the
sparsity that is asked for.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from ...base.arguments import check_threads
from ...base.arrays import Array
from ...base.deadline import deadline_after, partial_deadline
from ...budget.data import BudgetData, compute_budget
from ...budget.fitted import SWAPS, is_trivial
from ...budget.optimal_brain_surgeon import TRACING, Regularisation, tune_regularisation
from ...budget.optimal_brain_surgeon import TUNING as TUNING_SHARE
from ...budget.pattern import Pattern
from ...budget.solution import BudgetSolution
from ...budget.solve import (
    BudgetJob,
    choose_method,
    is_expensive,
    nearby_sparsities,
    solve_budget,
    solve_side_by_side,
)
from ...budget.trace import TYPICAL, BudgetTrace, trace_elimination
from ...layer.blocks.workers import Pool
from ...models.hashes import hash_data
from ...models.model_view import LayerView
from ..solved_layer import SolvedLayer
from .judge import Judge
from .layer_program import LayerProgram
from .method import SOLVING, LayerTask, Method, Run
from .posing import pose, split_groups

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["ToSparsity", "split_removals"]

SHARING, TUNING = "sharing", "tuning"  # stages of a run
TINY = float(np.finfo(float).tiny)
SHARED_LINEAR = 2e10  # outputs x features^3 of a linear layer's elimination, to share a budget


@dataclass
class ToSparsity(Method):
    """As many weights as a budget allows, for the least error; see `nettrim.Sparsity`.

    Attributes
    ----------
    run : Run
    cascaded : bool
        Whether layers are fitted on the trimmed signals.
    sparsity : float or None
        None for all that the pattern lets go.
    pattern : str or None
    share : {"network", "layer"}
    min_density : float
    time_limit : float or None
    pool : Pool or None
        Workers; None to solve here.
    budgets : dict of int
        How many weights the layers may keep, by position.
    traces : dict of list of BudgetTrace
        Of the layers that will be met again as they were, one for each group.
    tuned : dict of list of Regularisation
        What was chosen for each group of a layer when the budget was shared out; it serves the
        layer as well when it is met on trimmed signals.
    same_input : dict of list of int
        The layers that see the same as each other, by the position of each. Workers solve them side
        by side in a cascade.
    """

    run: Run
    cascaded: bool
    sparsity: float | None
    pattern: str | None
    share: str
    min_density: float
    time_limit: float | None
    pool: Pool | None = None
    budgets: dict[int, int] = field(default_factory=dict, init=False)
    traces: dict[int, list[BudgetTrace]] = field(default_factory=dict, init=False)
    tuned: dict[int, list[Regularisation]] = field(default_factory=dict, init=False)
    same_input: dict[int, list[int]] = field(default_factory=dict, init=False)

    def prepare(self) -> None:
        """Share the budget out, and the work."""
        if self.pool is not None:
            self.pool.check_threads(self.n_threads)
            if self.cascaded:
                self.same_input = _find_same_input(self.run)
        with self.run.watch(SHARING):
            self._share_out()

    def solve(self, tasks: Iterator[LayerTask]) -> Iterator[tuple[int, SolvedLayer]]:
        """Trim the layers in turn; on workers, those side by side that do not wait for others."""
        if self.pool is not None:
            yield from self._solve_on_pool(tasks, self.pool)
            return
        for task in tasks:
            self.run.report.start(task.layer.name, task.layer.shape)
            program = self._pose(task)
            active_rows = self.run.count_active_rows(task, program)
            with self.run.watch(SOLVING):
                solved = self._solve(task.position, program, active_rows)
            yield task.position, solved

    def _solve_on_pool(
        self, tasks: Iterator[LayerTask], pool: Pool
    ) -> Iterator[tuple[int, SolvedLayer]]:
        if not self.cascaded:
            for task, solved in self._solve_side_by_side(tasks, pool):
                self.run.report.start(task.layer.name, task.layer.shape)
                yield task.position, solved
            return
        ready: dict[tuple[int, str], SolvedLayer] = {}
        for task in tasks:
            self.run.report.start(task.layer.name, task.layer.shape)
            key = task.position, _fingerprint(task)
            if key not in ready:  # not met yet, or its input is another by now
                answers = self._solve_side_by_side(self._waiting_with(task), pool)
                ready = {(one.position, _fingerprint(one)): solved for one, solved in answers}
            yield task.position, ready.pop(key)

    def _waiting_with(self, task: LayerTask) -> list[LayerTask]:
        """Return a layer and those behind it that see the same."""
        behind = [p for p in self.same_input[task.position] if p > task.position]
        return [task, *map(task.with_same_input, behind)]

    def _solve_side_by_side(
        self, tasks: Iterable[LayerTask], pool: Pool
    ) -> Iterator[tuple[LayerTask, SolvedLayer]]:
        """Solve layers, whole ones by a worker each, others here with their outputs shared out."""
        sent: list[tuple[LayerTask, LayerProgram, int]] = []
        solved_here: list[tuple[LayerTask, SolvedLayer]] = []

        def jobs() -> Iterator[tuple[BudgetData, BudgetJob]]:
            for task in tasks:
                program = self._pose(task)
                posed = (task, program, self.run.count_active_rows(task, program))
                if (job := self._whole_job(task.position, program)) is None:
                    solved_here.append((task, self._solve(task.position, *posed[1:])))
                else:
                    sent.append(posed)
                    yield job

        with self.run.watch(SOLVING):
            limit = math.inf if self.time_limit is None else self.time_limit
            for number, solution in solve_side_by_side(jobs(), limit, pool):
                task, program, active_rows = sent[number]
                yield task, _kept([solution], program, active_rows, solution.seconds)
            yield from solved_here

    def _whole_job(
        self, position: int, program: LayerProgram
    ) -> tuple[BudgetData, BudgetJob] | None:
        """Return what a worker is given that solves a layer whole; None where outputs are apart."""
        if position in self.traces or program.groups > 1:
            return None
        (part,) = self._split_groups(position, program)
        budget, method = self.budgets[position], choose_method(part)
        if method == "surgery" or is_trivial(part, budget):
            return None
        pull, ridge = None, None
        if position in self.tuned:
            (chosen,) = self.tuned[position]
            pull, ridge = chosen.pull, chosen.ridge
        return part, BudgetJob(budget, method, pull, ridge, SWAPS, self.n_threads)

    def details(self, position: int) -> dict[str, Any]:
        """Return what this layer's answer depends on beside the options of the run."""
        return {"budget": self.budgets[position]}

    @property
    def n_threads(self) -> int:
        """How many threads the core may use."""
        given = self.run.n_threads
        return check_threads(1 if self.pool is not None and given is None else given)

    def _pose(self, task: LayerTask) -> LayerProgram:
        return pose(self.run, task, cascaded=self.cascaded)

    def _share_out(self) -> None:
        """Give layers as many weights as serve the network best, or the same share of their own."""
        sizes = {p: self.run.layers[p].affine.weights.size for p in self.run.chosen}
        demanded = {p: self._demanded(p) for p in self.run.chosen}
        sparsity = self.sparsity
        self.budgets = {p: compute_budget(sparsity, sizes[p], demanded[p]) for p in self.run.chosen}
        sharing = [p for p in self.run.chosen if self._is_cheap(self.run.layers[p])]
        if sparsity is None or self.share == "layer" or len(sharing) < 2:
            return
        alone = sum(n for p, n in self.budgets.items() if p not in sharing)
        budget = compute_budget(sparsity, sum(sizes.values()), sum(demanded.values())) - alone
        losses = self._removal_losses(sharing)
        count = sum(sizes[p] for p in sharing) - budget
        available = sum(map(len, losses))
        if available < count:
            raise ValueError(
                f"sparsity: {count} weights were to be removed, and min_density lets {available} go"
            )
        for position, removed in zip(sharing, split_removals(losses, count), strict=True):
            self.budgets[position] = sizes[position] - int(removed)

    def _is_cheap(self, layer: LayerView) -> bool:
        """Tell whether a layer's removals are found one by one, in no time to speak of."""
        if layer.activation == "relu":
            return not is_expensive(*layer.shape)
        alone = layer.follower is None and layer.factor is None
        return alone and not is_expensive(*layer.shape, most=SHARED_LINEAR)

    def _removal_losses(self, positions: Sequence[int]) -> list[Array]:
        """Return for some layers what their removals do to the network's output."""
        losses: list[Array] = []
        judge = Judge.of(self.run, len(positions))
        for position, signal in enumerate(self.run.view.signals(self.run.data, {})):
            if position in positions:
                self.run.report.stage("sharing the budget", len(losses), len(positions))
                program = self._pose(self.run.task(position, signal, signal))
                parts = self._split_groups(position, program)
                traces = self._trace_parts(position, parts, deadline_after(self.time_limit))
                if not self.cascaded or position == self.run.chosen[0]:
                    self.traces[position] = traces
                losses.append(self._weigh_losses(position, traces, judge))
            if position == positions[-1]:
                break
        self.run.report.stage("sharing the budget", len(losses), len(positions))
        return losses

    def _weigh_losses(self, position: int, traces: list[BudgetTrace], judge: Judge) -> Array:
        """Return what the removals of a layer do to the network's output, the cheapest first."""
        size, budget = self.run.layers[position].affine.weights.size, self.budgets[position]
        losses = [trace.elimination.ranked_losses for trace in traces]
        removed = split_removals(losses, size - budget)
        loss = sum(float(t.losses[n]) for t, n in zip(traces, removed, strict=True))
        effect = 1.0
        if loss > 0:
            weights = _stack(_apply_budgets(traces, removed, 0))
            affine = self.run.layers[position].affine.replaced(weights)
            effect = judge.effect({position: affine}) / loss
        n_removable = size - math.ceil(self.min_density * size)
        return max(effect, TINY) * np.sort(np.concatenate(losses))[:n_removable]

    def _solve(self, position: int, program: LayerProgram, active_rows: int) -> SolvedLayer:
        began, tuning = time.perf_counter(), self._tuning
        solutions = self._solutions(position, program, deadline_after(self.time_limit))
        seconds = time.perf_counter() - began - (self._tuning - tuning)
        return _kept(solutions, program, active_rows, seconds)

    def _solutions(
        self, position: int, program: LayerProgram, deadline: float | None
    ) -> list[BudgetSolution]:
        """Return the layer with as many weights as it may keep, group by group."""
        budget, traces = self.budgets[position], self.traces.pop(position, None)
        if traces is None:
            parts = self._split_groups(position, program)
            if len(parts) == 1:
                return [self._solve_part(position, parts[0], budget, deadline)]
            traces = self._trace_parts(position, parts, partial_deadline(deadline, TRACING))
        count = self.run.layers[position].affine.weights.size - budget
        removed = split_removals([trace.elimination.ranked_losses for trace in traces], count)
        return _apply_budgets(traces, removed, SWAPS, deadline)

    def _solve_part(
        self, position: int, part: BudgetData, budget: int, deadline: float | None
    ) -> BudgetSolution:
        if is_trivial(part, budget):
            return solve_budget(part, budget, n_threads=self.n_threads)
        chosen = self._tune(position, [part], nearby_sparsities(part, budget), deadline)[0]
        return solve_budget(
            part,
            budget,
            pull=chosen.pull,
            ridge=chosen.ridge,
            n_threads=self.n_threads,
            deadline=deadline,
            pool=self.pool,
        )

    def _trace_parts(
        self, position: int, parts: list[BudgetData], deadline: float | None
    ) -> list[BudgetTrace]:
        chosen = self._tune(position, parts, TYPICAL, deadline)
        return [
            trace_elimination(
                part, TYPICAL, own.pull, own.ridge, self.n_threads, deadline, self.pool
            )
            for part, own in zip(parts, chosen, strict=True)
        ]

    def _tune(
        self,
        position: int,
        parts: list[BudgetData],
        sparsities: NDArray[np.float64],
        deadline: float | None,
    ) -> list[Regularisation]:
        if position not in self.tuned:
            with self.run.watch(TUNING):
                limit = partial_deadline(deadline, TUNING_SHARE)
                self.tuned[position] = [
                    tune_regularisation(
                        part, sparsities, None, None, self.n_threads, limit, self.pool
                    )
                    for part in parts
                ]
        return self.tuned[position]

    @property
    def _tuning(self) -> float:
        return self.run.watch.seconds.get(TUNING, 0.0)

    def _split_groups(self, position: int, program: LayerProgram) -> list[BudgetData]:
        return split_groups(self.run.layers[position], program, self.pattern)

    def _demanded(self, position: int) -> int:
        """Return how many weights of a layer have to go for the pattern."""
        n_features, n_outputs = self.run.layers[position].shape
        return Pattern.of(None, self.pattern, n_features).demanded * n_outputs


def _find_same_input(run: Run) -> dict[int, list[int]]:
    """Return for every layer that is pruned those that see the same in the original model."""
    groups: dict[str, list[int]] = {}
    for position, signal in enumerate(run.view.signals(run.data, {})):
        if position in run.chosen:
            groups.setdefault(hash_data(signal.values), []).append(position)
        if position == run.chosen[-1]:
            break
    return {position: group for group in groups.values() for position in group}


def _fingerprint(task: LayerTask) -> str:
    """Return what tells whether two tasks of a layer are the same."""
    return hash_data(task.original) + hash_data(task.current)


def _kept(
    solutions: Sequence[BudgetSolution], program: LayerProgram, active_rows: int, seconds: float
) -> SolvedLayer:
    """Return what is kept of the groups of a layer."""
    return SolvedLayer(
        weights=_stack(solutions),
        output_norm=program.output_norm,
        active_rows=active_rows,
        status=max(solution.status for solution in solutions),  # "time_limit" if it was short
        seconds=seconds,
    )


def split_removals(losses: Sequence[Array], count: int) -> NDArray[np.intp]:
    """Return how many removals each member of a group makes: `count` in all, at the least loss."""
    owner = np.repeat(np.arange(len(losses)), [len(own) for own in losses])
    first = np.argsort(np.concatenate(losses), kind="stable")[:count]
    return np.bincount(owner[first], minlength=len(losses))


def _apply_budgets(
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


def _stack(solutions: Sequence[BudgetSolution]) -> Array:
    """Return the weights of a layer, its groups side by side."""
    return np.hstack([solution.weights for solution in solutions])
