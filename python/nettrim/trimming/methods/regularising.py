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
    """How many weights some balls leave, and how they err on samples that were not used."""

    kept: Array
    errors: Array

    def error_at(self, kept: float) -> float:
        """Return the error at a number of weights, on a line in the logarithms of both."""
        (low, high), (first, last) = np.log(self.kept), np.log(self.errors)
        if high <= low:
            return float(min(self.errors))
        slope = (last - first) / (high - low)
        return float(np.exp(first + slope * (math.log(kept) - low)))

    def error_within(self, kept: float) -> float:
        """Return the error at a number of weights, or of as many as there are."""
        return self.error_at(float(np.clip(kept, self.kept.min(), self.kept.max())))


class _Judge:
    """Compares candidates at as many weights as one of them leaves."""

    def __init__(self, radius: float, n_threads: int | None) -> None:
        self.radius = radius
        self.n_threads = n_threads
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
        least = max(self.radius * frobenius_norm(wanted), ROOM * frobenius_norm(misfit))
        drawn = candidate.pull > 0 or candidate.ridge > 0
        answers = trace(
            training.X,
            training.Y,
            epsilons=[least * radius for radius in radii],
            activation="linear" if training.active is None else "relu",
            upper=training.upper,
            active=training.active,
            tol=ROUGH,
            n_threads=self.n_threads,
            ridge=candidate.ridge,
            pull=candidate.pull,
            original=training.weights if drawn else None,
        )
        tiny = np.finfo(float).tiny
        points = [(s.nonzeros or 1, max(held_out.error(s.weights), tiny)) for s in answers[::-1]]
        kept, errors = np.array(points, dtype=np.float64).T
        return _Curve(kept[::-1], errors[::-1])


def choose_regularisation(
    data: BudgetData, radius: float, n_threads: int | None
) -> Regularisation | None:
    """Choose what draws the weights of a layer with few active rows; None for nothing.

    Parameters
    ----------
    data : BudgetData
    radius : float
        Epsilon, relative to the norm of the output.
    n_threads : int or None
    """
    judge = _Judge(radius, n_threads)
    pull = 0.0 if data.active is None else None
    n_outputs = max(data.n_outputs // OUTPUTS, FEWEST)
    chosen = tune_on_held_out(data, pull, None, judge, n_outputs=n_outputs)
    return chosen if judge.least < WORTHWHILE * judge.plain else None
