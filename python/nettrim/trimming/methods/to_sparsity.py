"""Layers with a number of weights: the budget shared out among them, each pruned by surgery."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ...base.deadline import deadline_after, partial_deadline
from ...budget.data import BudgetData
from ...budget.fitted import SWAPS, is_trivial
from ...budget.optimal_brain_surgeon import TRACING, FirstRemovals
from ...budget.solution import BudgetSolution
from ...budget.solve import (
    BudgetJob,
    choose_method,
    nearby_sparsities,
    solve_budget,
    solve_side_by_side,
)
from ...budget.trace import TYPICAL
from ...budget.wide import is_wide, surgery_budget
from ...layer.blocks.workers import Pool
from ...models.hashes import hash_data
from ..solved_layer import SolvedLayer
from .layer_program import LayerProgram
from .method import SOLVING, LayerTask, Method, Run
from .posing import is_left_to_surgery, pose, split_groups
from .removal_curves import Curves, RemovalCurves, apply_budgets, split_removals, stack
from .shared_budget import SharedBudget

__all__ = ["ToSparsity", "is_bold"]

SHARING = "sharing"  # a stage of a run
BOLD = np.array([0.8, 0.9, 0.95])  # sparsities that curves serve from the first of them on
KNOWN = 0.5  # of all removals: those that go as they did on the original signals


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
    known : dict of LayerCurves
        What other sparsities of the same model have left, bold or not as this one is:
        `RemovalCurves.known`.
    draft : bool
        For one of many models: layers of which the curves are known lose their weights in that
        order whatever they see, at what they counted for the network at another sparsity, and no
        weights are exchanged.
    budgets : dict of int
        How many weights the layers may keep, by position.
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
    known: Curves = field(default_factory=dict)
    draft: bool = False
    budgets: dict[int, int] = field(default_factory=dict, init=False)
    same_input: dict[int, list[int]] = field(default_factory=dict, init=False)

    def prepare(self) -> None:
        """Share the budget out, and the work."""
        if self.pool is not None:
            self.pool.check_threads(self.curves.n_threads)
            if self.cascaded:
                self.same_input = _find_same_input(self.run)
        demand = self.sparsity, self.pattern, self.share, self.min_density, self.time_limit
        with self.run.watch(SHARING):
            self.budgets = SharedBudget(self.run, self.curves, *demand, self.draft).split()

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
                solved = self._solve(task, program, active_rows)
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
                if (job := self._whole_job(task, program)) is None:
                    solved_here.append((task, self._solve(*posed)))
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
        self, task: LayerTask, program: LayerProgram
    ) -> tuple[BudgetData, BudgetJob] | None:
        """Return what a worker is given that solves a layer whole; None where outputs are apart."""
        position = task.position
        if self._is_traced(task) or program.groups > 1:
            return None
        (part,) = self._split_groups(position, program)
        budget, method = self.budgets[position], choose_method(part)
        if method == "surgery" or is_wide(part) or is_trivial(part, budget):
            return None
        pull, ridge = None, None
        if position in self.known:
            chosen = self.known[position].groups[0].regularisation
            pull, ridge = chosen.pull, chosen.ridge
        return part, BudgetJob(budget, method, pull, ridge, SWAPS, self.curves.n_threads)

    def details(self, position: int) -> dict[str, Any]:
        """Return what this layer's answer depends on beside the options of the run."""
        return {"budget": self.budgets[position], **({"draft": True} if self.draft else {})}

    @property
    def curves(self) -> RemovalCurves:
        """What traces layers."""
        sparsities = BOLD if is_bold(self.sparsity) else TYPICAL
        return RemovalCurves(self.run, self.pool, sparsities, self.known)

    def _pose(self, task: LayerTask) -> LayerProgram:
        return pose(self.run, task, cascaded=self.cascaded, budget=self.budgets[task.position])

    def _is_traced(self, task: LayerTask) -> bool:
        """Tell whether a layer's weights go in the order that was found on the original signals."""
        as_it_was = self.draft or not self.cascaded or task.place.first
        if task.layer.activation == "relu":
            as_it_was &= is_left_to_surgery(task.layer, self.budgets[task.position])
        return as_it_was and task.position in self.known

    def _solve(self, task: LayerTask, program: LayerProgram, active_rows: int) -> SolvedLayer:
        began, tuning = time.perf_counter(), self.curves.seconds_of_tuning
        solutions = self._solutions(task, program, deadline_after(self.time_limit))
        seconds = time.perf_counter() - began - (self.curves.seconds_of_tuning - tuning)
        return _kept(solutions, program, active_rows, seconds)

    def _solutions(
        self, task: LayerTask, program: LayerProgram, deadline: float | None
    ) -> list[BudgetSolution]:
        """Return the layer with as many weights as it may keep, group by group."""
        position = task.position
        budget, parts = self.budgets[position], self._split_groups(position, program)
        if self._is_traced(task):
            traces = self.curves.recall(position, parts)
        elif len(parts) == 1:
            return [self._solve_part(position, parts[0], budget, deadline)]
        else:
            traces = self.curves.trace(position, parts, partial_deadline(deadline, TRACING))
        count = self.run.layers[position].affine.weights.size - budget
        removed = split_removals([trace.elimination.ranked_losses for trace in traces], count)
        return apply_budgets(traces, removed, 0 if self.draft else SWAPS, deadline)

    def _solve_part(
        self, position: int, part: BudgetData, budget: int, deadline: float | None
    ) -> BudgetSolution:
        if is_trivial(part, budget):
            return solve_budget(part, budget, n_threads=self.curves.n_threads)
        chosen = self.curves.tune(
            position, [part], nearby_sparsities(budget / part.size), deadline
        )[0]
        is_surgery = is_wide(part) or choose_method(part) == "surgery"
        return solve_budget(
            part,
            budget,
            method="surgery" if is_surgery else "auto",
            pull=chosen.pull,
            ridge=chosen.ridge,
            n_threads=self.curves.n_threads,
            deadline=deadline,
            pool=self.pool,
            first=self._first(position, part, budget, deadline) if is_surgery else None,
        )

    def _first(
        self, position: int, part: BudgetData, budget: int, deadline: float | None
    ) -> FirstRemovals | None:
        """Return what goes at once: what went first on the original signals, if it is known."""
        if position not in self.known:
            return self.curves.first(part, deadline)
        count = int(KNOWN * (part.size - budget))
        if is_wide(part):
            count = max(count, part.size - surgery_budget(*part.weights.shape))
        return FirstRemovals.from_known(self.known[position].groups[0].elimination, count)

    def _split_groups(self, position: int, program: LayerProgram) -> list[BudgetData]:
        return split_groups(self.run.layers[position], program, self.pattern)


def is_bold(sparsity: float | None) -> bool:
    """Tell whether curves for this sparsity have to serve only such as leave few weights.

    They are found in less time, and serve these better.
    """
    return sparsity is not None and sparsity >= float(BOLD[0])


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
        weights=stack(solutions),
        output_norm=program.output_norm,
        active_rows=active_rows,
        status=max(solution.status for solution in solutions),  # "time_limit" if it was short
        seconds=seconds,
    )
