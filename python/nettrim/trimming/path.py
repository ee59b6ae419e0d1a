"""Trimmed models of one network, from careful to bold: any can be asked for, work is shared."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from .goals.goal import PathGoal
from .job import Job
from .methods.method import Run
from .walk import Walk

__all__ = ["Path"]


@dataclass(frozen=True)
class Path:
    """The models of all sizes of one goal.

    Attributes
    ----------
    job : Job
    goal : PathGoal
        Of any size.
    memory : dict
        What one model leaves for the next: the orders in which weights are removed from the
        original network, one for all bold sparsities and one for all others, or answers to begin
        from, by position of layers.
    """

    job: Job[Any]
    goal: PathGoal
    memory: dict[int, Any] = field(default_factory=dict)

    def at(self, care: float) -> PathGoal:
        """Return the goal of one model."""
        return self.goal.with_care(care)

    def trim(self, run: Run, care: float) -> Walk:
        """Trim the network for one model; finished layers are kept in a folder of their own."""
        return self.trim_to(run, self.at(care))

    def trim_to(self, run: Run, goal: PathGoal, *, draft: bool = False) -> Walk:
        """Do that for a goal that may differ from the others by more than its care.

        A run that is resumed has the answers of models before, and not what they left.
        """
        job = self.job
        memory = self.memory if goal.repeatable or job.store is None else {}
        method = goal.method_on_path(run, job.scheme, job.pool, memory, draft=draft)
        return job.walk(run, goal, method, goal.title, measures=not draft)

    def draft(self, run: Run, care: float) -> Walk:
        """Trim the network for a model that is looked at in a search, and kept nowhere."""
        goal, job = self.at(care), self.job
        method = goal.method_on_path(run, job.scheme, job.pool, self.memory, draft=True)
        run.report.begin(f"{goal.title}, rough")
        walk = Walk(run, method, None, measures=False)
        walk.go()
        return walk
