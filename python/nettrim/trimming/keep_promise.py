"""The boldest model of a path that keeps a promise: sought on calibration samples, then tested.

Held-out samples may only be looked at by models in an order that is fixed without them. So the path
is searched on the calibration samples alone (see `nettrim.trimming.path_search`), and models around
the one found there are tested, from a more careful one on to bolder ones, until one fails
(docs/mathematics/promise.md#the-boldest-model-of-a-path). They are as rough as those of the search,
fitted to all calibration samples: what exchanges of weights gain is less than what several models
more on the path do, in the same time.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from numpy.typing import ArrayLike

from ..base.arrays import Array
from ..base.errors import LargeErrorWarning, OutOfReachError, PromiseWarning, warn_user
from ..promise.decisions import find_threshold
from ..promise.fixed_sequence import FixedSequence, Trial, find_boldest
from ..promise.losses import no_flips_because
from ..promise.target import Target
from ..results.promise import PathModel, PromiseReport, say_unkept
from ..results.trim_result import TrimResult
from .goals.goal import Goal, PathGoal
from .job import Job
from .methods.method import LayerTask, Method, Run
from .path import Path
from .path_search import Search
from .solved_layer import SolvedLayer
from .unseen import exact_outputs, run_on_held_out
from .walk import Walk

__all__ = ["keep_promise"]

WARY = 1.7  # times the care of the most careful model, of one more where the search is not sure
BOLDER, GROWTH = 0.9, 1.25  # ratio of the next care where all models passed, and growth of its log
NOTHING_GONE = (
    "no weight is gone: of all models that were tested only the original keeps the promise"
)


def keep_promise(
    job: Job[Any], goal: Goal, models: PathGoal, target: Target, labels: ArrayLike | None
) -> TrimResult[Any]:
    """Return the boldest model that passes; with a warning the most careful one if none does.

    Parameters
    ----------
    job : Job
    goal : Goal
        What was asked for, as a recipe tells it.
    models : PathGoal
        Of any size.
    target : Target
    labels : array_like of shape (n_held_out,) or None
        As `nettrim.TrimResult.accuracy` takes them.
    """
    if labels is not None:
        labels = job.opened.view.number_labels(labels)
    job = replace(job, by_answers=_counts_answers(job, target))
    threshold = _find_threshold(job) if target.needs_labels else None
    search = Search(job, models, target, threshold)
    steps = models.tested if search.is_sure else (WARY * models.tested[0], *models.tested)
    tests = _Tests(job, Path(job, models, search.path.memory), target, labels, steps, threshold)
    with job.running() as run, run.hushed(LargeErrorWarning):
        original = Walk(run, _LeftAlone(), None)
        tests.losses(original)  # refuses what no model could be tested by
        care = search.find(run.report)
        found = find_boldest(target, tests.of_models(run, care), job.draw.seed)
        chosen, walk = tests.choose(run, interrupted=care is None)
    report = tests.report(found, chosen, tuple(search.seen))
    result = job.assess(walk, goal)
    if not report.kept:
        warn_user(report.sentence, PromiseWarning)
    elif walk.nonzeros() == original.nonzeros():
        warn_user(NOTHING_GONE, PromiseWarning)
    told = {
        "promise": report.as_plain(),
        "model of the path": chosen.arguments(job.scheme),
        "unseen": None,  # its sentences are of models that were not chosen by these samples
    }
    return replace(result, promise=report, unseen=None, recipe={**result.recipe, **told})


def _counts_answers(job: Job[Any], target: Target) -> bool:
    """Tell whether it is the largest entry of the first output that is promised to stay so."""
    view, first = job.opened.view, job.counted[0]
    if target.kind == "error" or view.decides_by() != "largest":
        return False
    output = view.output_values(job.opened.data[:1], {})[first]
    has_positions = len(output) > 1  # side by side, of all samples, where masks tell which count
    return not has_positions and no_flips_because(output) is None


def _find_threshold(job: Job[Any]) -> float:
    """Return what a single output exceeds for label 1, by all that is known of it.

    Logits of a few samples, or of those of one class, may all look like probabilities.
    """
    if job.opened.view.decides_by() == "signs":
        return 0.0
    opened, before, first = job.opened, job.before, job.counted[0]
    runs = [
        before.data or opened.view.output_values(opened.data, {}),
        before.held_out or exact_outputs(opened, {}),
    ]
    return min(find_threshold(outputs[first]) for outputs in runs)


class _LeftAlone(Method):
    """No layer is solved."""

    cascaded = True

    def prepare(self) -> None:
        """Nothing is to be done."""

    def solve(self, tasks: Iterator[LayerTask]) -> Iterator[tuple[int, SolvedLayer]]:
        """Yield nothing."""
        return iter(())


@dataclass
class _Tests:
    """Models as they are tested.

    Attributes
    ----------
    job : Job
    path : Path
    target : Target
    labels : array_like or None
    steps : sequence of float
        Cares of the models to be tested, over that of the one that was found.
    threshold : float or None
        What a single output exceeds for label 1.
    sizes : list of (PathGoal, int)
        Every model that was tested, and how many weights it has left.
    first, passed, unfinished : (PathGoal, Walk) or None
        The most careful model, the last that passed, and one that Ctrl-C ended.
    """

    job: Job[Any]
    path: Path
    target: Target
    labels: ArrayLike | None
    steps: Sequence[float]
    threshold: float | None
    sizes: list[tuple[PathGoal, int]] = field(default_factory=list, init=False)
    first: tuple[PathGoal, Walk] | None = field(default=None, init=False)
    passed: tuple[PathGoal, Walk] | None = field(default=None, init=False)
    unfinished: tuple[PathGoal, Walk] | None = field(default=None, init=False)

    def of_models(self, run: Run, care: float | None) -> Iterator[tuple[int, Array]]:
        """Trim and yield models, numbered, with what they lose; resumed where the last passed."""
        for goal in self._sequence(care):
            try:
                walk = self.path.trim_to(run, goal, draft=True)
            except OutOfReachError:  # at one of the ends: the others are not
                continue
            if walk.interrupted:
                self.unfinished = goal, walk
                return
            self.first = self.first or (goal, walk)
            try:
                losses = self.losses(walk)
            except KeyboardInterrupt:
                self.unfinished = goal, walk
                return
            self.sizes.append((goal, walk.nonzeros()))
            yield len(self.sizes) - 1, losses
            self.passed = goal, walk

    def _sequence(self, care: float | None) -> list[PathGoal]:
        """Return the models to be tested around the one that was found, none twice.

        Where all of them pass bolder ones are, in steps that grow: the search knows no right
        answers, and a drop may be a small part of what flips.
        """
        if care is None:
            return []
        least, most = self.path.goal.range_of_care
        cares = [step * care for step in self.steps]
        step = BOLDER
        while cares[-1] > least:
            cares.append(step * cares[-1])
            step **= GROWTH
        return [self.path.at(one) for one in dict.fromkeys(min(max(c, least), most) for c in cares)]

    def losses(self, walk: Walk) -> Array:
        """Return what each held-out sample loses by a model, as its framework runs it."""
        before, model = self.job.before.held_out, walk.deliver().model
        original, trimmed = run_on_held_out(walk, before, model, lambda: self._exact)
        decides_by = walk.run.view.decides_by()
        return self.target.losses(original, trimmed, self.labels, decides_by, self.threshold)

    @cached_property
    def _exact(self) -> list[Array]:
        """What the original model makes of the held-out samples in exact arithmetic."""
        return exact_outputs(self.job.opened, {})

    def choose(self, run: Run, *, interrupted: bool) -> tuple[PathGoal, Walk]:
        """Return the last model that passed, or the best there is."""
        best = self.passed or self.first or self.unfinished
        if best is None:  # nothing was trimmed
            best = self.path.goal, Walk(run, _LeftAlone(), None)
        best[1].interrupted |= interrupted or self.unfinished is not None
        return best

    def report(
        self, found: FixedSequence, chosen: PathGoal, searched: tuple[tuple[float, float], ...]
    ) -> PromiseReport:
        """Say what came of the tests."""
        target, kept = found.target, found.boldest is not None
        trial = found.boldest or next(iter(found.trials), None)
        losses = None if trial is None else trial.losses
        needed = None if kept or losses is None else target.rows_needed(losses)
        if losses is not None and found.boldest is not None:
            sentence = target.sentence(losses)
        else:
            sentence = say_unkept(target, losses, needed)
        return PromiseReport(
            kind=target.kind,
            level=target.level,
            quantile=target.quantile,
            confidence=target.confidence,
            kept=kept,
            n_samples=self.job.n_held_out,
            seen=math.nan if losses is None else float(losses.mean()),
            path=chosen.level,
            models=tuple(self._model(trial) for trial in found.trials),
            searched=searched,
            rows_needed=needed,
            sentence=sentence,
        )

    def _model(self, trial: Trial) -> PathModel:
        goal, nonzeros = self.sizes[trial.candidate]
        layers = self.job.opened.layers
        return PathModel(
            level=getattr(goal, goal.level),
            nonzeros=nonzeros,
            size=sum(layers[position].affine.weights.size for position in self.job.chosen),
            seen=float(trial.losses.mean()),
            p_value=trial.p_value,
            passed=trial.passed,
        )
