"""Where on a path a promise may be kept, by calibration samples alone.

A quarter of them is set aside to judge models that are fitted to the others, as roughly as will do.
The boldest is sought that would pass if held-out samples behaved as those that were set aside.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..base.errors import CalibrationWarning, LargeErrorWarning, OutOfReachError
from ..models.layer_view import Affine
from ..promise.losses import find_decisions
from ..promise.target import Target
from .goals.goal import PathGoal
from .job import Job
from .methods.method import Run
from .path import Path
from .progress import Reporter
from .unseen import by_sample

__all__ = ["Search"]

Rows = NDArray[np.intp]

SET_ASIDE = 4  # one of so many calibration samples judges
STEP = 2.0  # of the care, until models on both sides are known; every further one is as much larger
NARROW = 1.15  # ratio of two cares between which there is no more to be found
SURE = 10.0  # losses among the samples that judge, at the level that is to be promised
STAGE = "searching the path"


@dataclass
class Search:
    """The search on a path; see `find`.

    Attributes
    ----------
    job : Job
    models : PathGoal
        Of any size: that is where it begins.
    target : Target
    threshold : float or None
        What a single output exceeds for label 1, where labels are needed.
    path : Path
        Of models on the other samples. What they have left serves those that are tested as well.
    judges : ndarray of int
        Numbers of the samples that are set aside.
    seen : list of (float, float)
        How bold models were that were looked at, and what the samples that judge lost on average.
    """

    job: Job[Any]
    models: PathGoal
    target: Target
    threshold: float | None = None
    path: Path = field(init=False)
    judges: Rows = field(init=False)
    seen: list[tuple[float, float]] = field(default_factory=list, init=False)

    def __post_init__(self) -> None:
        """Set samples aside."""
        n_samples = len(self.job.opened.data)
        rows = np.random.default_rng(self.job.draw.seed).permutation(n_samples)
        n_judges = max(1, n_samples // SET_ASIDE)
        self.judges = np.sort(rows[:n_judges])
        self.path = Path(self.job.on_rows(np.sort(rows[n_judges:])), self.models)

    @property
    def is_sure(self) -> bool:
        """Whether so many samples judge that chance moves little of what they say."""
        return len(self.judges) * self.target.risk / self.target.cap >= SURE

    def find(self, report: Reporter) -> float | None:
        """Return the care of the boldest model that would pass; None if Ctrl-C ended it.

        If none would pass that of the most careful one there is.
        """
        side = self.path.job
        least, most = self.models.range_of_care
        care, good, bad, step = min(self.models.care, most), math.inf, 0.0, STEP
        with side.running() as run, run.hushed(CalibrationWarning), run.hushed(LargeErrorWarning):
            for number in range(self.models.search_steps):
                report.stage(STAGE, number, self.models.search_steps, "models")
                passes = self._passes(run, care)
                if passes is None:
                    return None
                good, bad = (care, bad) if passes else (good, care)
                if good <= NARROW * bad or good == least or bad == most:
                    break
                if bad == 0.0 or math.isinf(good):
                    care = max(good / step, least) if bad == 0.0 else min(bad * step, most)
                    step *= STEP
                else:
                    care = math.sqrt(good * bad)
        report.stage(STAGE, self.models.search_steps, self.models.search_steps, "models")
        return min(good, most) if good < math.inf else min(STEP * bad, most)

    def _passes(self, run: Run, care: float) -> bool | None:
        """Tell whether a model would pass; None if Ctrl-C ended it.

        Models out of reach pass or fail as those beside them that are not.
        """
        try:
            walk = self.path.draft(run, care)
        except OutOfReachError as error:
            return not error.too_bold
        if walk.interrupted:
            return None
        original, trimmed = self._original, self._judged(walk.weights)
        target = self.target
        # Right answers are known of held-out samples alone: here the original gives none but these.
        cut = self.threshold
        labels = find_decisions(original[0], cut) if target.needs_labels else None
        decides_by = self.job.opened.view.decides_by()
        losses = target.losses(original, trimmed, labels, decides_by, cut)
        goal = self.path.at(care)
        self.seen.append((float(getattr(goal, goal.level)), float(losses.mean())))
        return target.would_pass(losses, self.job.n_held_out)

    def _judged(self, weights: Mapping[int, Affine]) -> list[NDArray[Any]]:
        """Return the outputs that count of the samples that judge, under some weights."""
        view, rows = self.job.opened.view, self.job.opened.data[self.judges]
        outputs = by_sample(view, view.output_values(rows, weights), rows)
        return [outputs[number] for number in self.job.counted]

    @cached_property
    def _original(self) -> list[NDArray[Any]]:
        return self._judged({})
