"""What changes of single layers do to the outputs of a network."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...base.arrays import AnyFloat, Array, frobenius_norm
from ...models.layer_view import Affine
from ...models.samples import Data
from .method import Run

__all__ = ["Judge"]

JUDGING_RUNS = 8  # of all samples through the model, to share a budget
CLOSE = 0.2  # share of the samples by whose answers is judged: those nearest to being others


class Margins(NamedTuple):
    """By how much the largest entries of an output are ahead of the second largest.

    Attributes
    ----------
    first, second : ndarray of int of shape (n_rows,)
        Which entries these are, of each row of the output.
    sizes : ndarray of shape (n_rows,)
    """

    first: NDArray[np.intp]
    second: NDArray[np.intp]
    sizes: Array

    @classmethod
    def of(cls, output: AnyFloat) -> Margins:
        """Find them; an output has its classes along the last axis."""
        rows = output.reshape(-1, output.shape[-1])
        second, first = np.argpartition(rows, -2, axis=1)[:, -2:].T
        return cls(first, second, _differences(rows, first, second))

    def closest(self, n_samples: int) -> Array:
        """Return the smallest of each sample, which may have several rows."""
        closest: Array = self.sizes.reshape(n_samples, -1).min(axis=1)
        return closest

    def moved(self, change: Array) -> Array:
        """Return how far they move with a change of the output, relative to their sizes.

        Sizes far below the median weigh about as the median does. If most are ties nothing moves.
        """
        soft = float(np.median(self.sizes))
        moved = _differences(change.reshape(-1, change.shape[-1]), self.first, self.second)
        scale = np.sqrt(len(moved) * (self.sizes**2 + soft**2))
        return np.divide(moved, scale, out=np.zeros_like(moved), where=scale > 0)


def _differences(rows: AnyFloat, first: NDArray[np.intp], second: NDArray[np.intp]) -> Array:
    number = np.arange(len(rows))
    return np.asarray(rows[number, first] - rows[number, second], dtype=np.float64)


@dataclass(frozen=True)
class Judge:
    """What single layers do to the outputs that count, on some of the samples.

    Each change takes a run of its own. So that all of them together take as many as a few do,
    however many there are, each is judged on its share of the samples.

    Attributes
    ----------
    run : Run
    among : ndarray of int
        Numbers of all samples that it might judge on.
    samples : ndarray or Samples
        Some of them.
    before : sequence of ndarray
        The outputs of the original model on them.
    margins : Margins or None
        What is judged by in place of all that the outputs are, where answers alone count.
    """

    run: Run
    among: NDArray[np.intp]
    samples: Data
    before: Sequence[Array]
    margins: Margins | None

    @classmethod
    def of(cls, run: Run, n_changes: int, *, by_answers: bool = False) -> Judge:
        """Take as many samples as are affordable for a number of changes."""
        count = math.ceil(JUDGING_RUNS * len(run.data) / n_changes)
        return cls.on(run, count, by_answers=by_answers)

    @classmethod
    def on(cls, run: Run, count: int, *, by_answers: bool = False) -> Judge:
        """Take so many samples from all over the data, or all.

        To judge by answers, from those on which the model is the nearest to another one.
        """
        among = np.arange(len(run.data))
        if by_answers:
            margins = Margins.of(run.view.output_values(run.data, {})[run.counted[0]])
            n_close = math.ceil(CLOSE * len(among))
            among = np.sort(np.argsort(margins.closest(len(among)))[:n_close])
        return cls._of_some(run, among, count, by_answers=by_answers)

    def on_fewer(self, count: int) -> Judge:
        """Return one that takes so many samples of the same kind."""
        return self._of_some(self.run, self.among, count, by_answers=self.margins is not None)

    @classmethod
    def _of_some(cls, run: Run, among: NDArray[np.intp], count: int, *, by_answers: bool) -> Judge:
        samples = run.data[_spread(among, count)]
        before = run.view.output_values(samples, {})
        own = Margins.of(before[run.counted[0]]) if by_answers else None
        return cls(run, among, samples, before, own)

    def moved(self, weights: Mapping[int, Affine]) -> Array:
        """Return how what counts moves when some layers are others, relative to its size."""
        return self.moved_to(self.run.view.output_values(self.samples, weights))

    def moved_to(self, after: Sequence[Array]) -> Array:
        """Return how what counts moves to the outputs of another model, relative to its size."""
        if self.margins is not None:
            first = self.run.counted[0]
            return self.margins.moved(after[first] - self.before[first])
        return np.concatenate(
            [
                (after[k] - self.before[k]).ravel() / (frobenius_norm(self.before[k]) or 1.0)
                for k in self.run.counted
            ]
        )

    def effect(self, weights: Mapping[int, Affine]) -> float:
        """Return half of the sum of the squares of that."""
        return float(np.sum(self.moved(weights) ** 2)) / 2


def _spread(among: NDArray[np.intp], count: int) -> NDArray[np.intp]:
    """Return so many of some numbers, from all over them, or all."""
    last = len(among) - 1
    spread: NDArray[np.intp] = among[np.linspace(0, last, min(count, last + 1)).round().astype(int)]
    return spread
