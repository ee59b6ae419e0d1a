"""What draws a layer's weights to those they were, where few rows speak for them.

A ReLU's rows ask for equality where it is active. With fewer of them than weights, the weights of
least l1 norm that meet them are sparse without meaning, whatever epsilon is. A ridge, and a pull on
inactive rows, say what is known beside the rows; how much they should count, samples that were not
used tell, at an equal number of weights.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from ...base.arrays import Array, frobenius_norm
from ...base.deadline import as_time_limit, deadline_after
from ...budget.data import BudgetData
from ...budget.optimal_brain_surgeon import Regularisation, tune_on_held_out
from ...layer.path import trace

__all__ = ["choose_regularisation"]

MIDDLE = Regularisation(pull=0.1, ridge=0.001)  # of those that are tried
RADII = (1.0, 2.0)  # over that of the layer, at which a candidate is judged
PLAIN_RADII = (0.25, 1.0)  # the program as it is: few rows allow it no more weights
ROOM = 1.1  # of the ball, over how far the original weights are from its center
ROUGH = 1e-2  # relative gap of a judged program
OUTPUTS = 10  # one of so many outputs judges, so that the choice costs less than the solve
FEWEST = 4  # outputs
WORTHWHILE = 0.98  # of the plain program's error, above which weights are left alone


class _Curve(NamedTuple):
    """How many weights two balls leave, the smaller first, and how they err on other samples."""

    kept: Array
    errors: Array

    def error_at(self, kept: float) -> float:
        """Return the error at a number of weights, on a line in the logarithms of both."""
        (many, few), (least, most) = np.log(self.kept), np.log(self.errors)
        if many == few:
            return float(np.exp(min(least, most)))
        slope = (most - least) / (few - many)
        return float(np.exp(least + slope * (math.log(kept) - many)))

    def error_within(self, kept: float) -> float:
        """Return the error at a number of weights, or of as many as there are."""
        return self.error_at(float(np.clip(kept, self.kept.min(), self.kept.max())))


UNKNOWN = _Curve(np.ones(2), np.full(2, np.inf))


class _Judge:
    """Compares candidates at as many weights as one of them leaves."""

    def __init__(self, radius: float, n_threads: int | None, deadline: float | None) -> None:
        self.radius = radius
        self.n_threads = n_threads
        self.deadline = deadline
        self.curves: dict[Regularisation, _Curve] = {}
        self.kept = 0.0
        self.plain = math.inf
        self.least = math.inf

    def __call__(
        self, training: BudgetData, held_out: BudgetData, candidate: Regularisation
    ) -> float:
        if not self.curves:
            self._look_around(training, held_out)
        if candidate not in self.curves:
            self.curves[candidate] = self._curve(training, held_out, candidate, RADII)
        error = self.curves[candidate].error_at(self.kept)
        self.least = min(self.least, error)
        return error

    def _look_around(self, training: BudgetData, held_out: BudgetData) -> None:
        """Find the number of weights at which the others leave about as many, and the plain one."""
        middle = MIDDLE if training.active is not None else replace(MIDDLE, pull=0.0)
        self.curves[middle] = self._curve(training, held_out, middle, RADII)
        self.kept = float(self.curves[middle].kept.max())
        plain = self._curve(training, held_out, Regularisation(0.0, 0.0), PLAIN_RADII)
        self.plain = plain.error_within(self.kept)

    def _curve(
        self,
        training: BudgetData,
        held_out: BudgetData,
        candidate: Regularisation,
        radii: tuple[float, ...],
    ) -> _Curve:
        wanted = training.outputs(training.Y)
        misfit = training.X @ training.weights - training.Y
        if training.active is not None:
            misfit = misfit[training.active]
        size, least = self.radius * frobenius_norm(wanted), ROOM * frobenius_norm(misfit)
        drawn = candidate.pull > 0 or candidate.ridge > 0
        answers = trace(
            training.X,
            training.Y,
            epsilons=[max(radius * size, least) for radius in radii],
            activation="linear" if training.active is None else "relu",
            upper=training.upper,
            active=training.active,
            tol=ROUGH,
            time_limit=as_time_limit(self.deadline),
            n_threads=self.n_threads,
            ridge=candidate.ridge,
            pull=candidate.pull,
            original=training.weights if drawn else None,
        )
        if any(answer.status == "interrupted" for answer in answers):
            raise KeyboardInterrupt
        if len(answers) < len(radii):  # out of time
            return UNKNOWN
        tiny = np.finfo(float).tiny
        kept = [float(answer.nonzeros or 1) for answer in answers]
        weights = [np.asarray(answer.weights, dtype=np.float64) for answer in answers]
        errors = [max(held_out.error(own), tiny) for own in weights]
        return _Curve(np.array(kept), np.array(errors))


def choose_regularisation(
    data: BudgetData, radius: float, n_threads: int | None, time_limit: float | None = None
) -> Regularisation | None:
    """Choose what draws the weights of a layer with few active rows; None for nothing.

    Parameters
    ----------
    data : BudgetData
    radius : float
        Epsilon, relative to the norm of the output.
    n_threads : int or None
    time_limit : float or None
        Seconds; what was judged by then is chosen from.
    """
    data = data.without_balance()  # a bias has its price in the norm
    deadline = deadline_after(time_limit)
    judge = _Judge(radius, n_threads, deadline)
    pull = 0.0 if data.active is None else None
    n_outputs = max(data.n_outputs // OUTPUTS, FEWEST)
    chosen = tune_on_held_out(data, pull, None, judge, deadline, n_outputs)
    return chosen if judge.least < WORTHWHILE * judge.plain else None
