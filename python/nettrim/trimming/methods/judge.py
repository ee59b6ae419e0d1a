"""What changes of single layers do to the outputs of a network."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ...base.arrays import Array, frobenius_norm, relative_to
from ...models.model_view import Affine
from ...models.samples import Data
from .method import Run

__all__ = ["Judge", "spread_samples"]

JUDGING_RUNS = 8  # of all samples through the model, to share a budget


@dataclass(frozen=True)
class Judge:
    """What single layers do to the outputs that count, on some of the samples.

    Each change takes a run of its own. So that all of them together take as many as a few do,
    however many there are, each is judged on its share of the samples.

    Attributes
    ----------
    run : Run
    samples : ndarray or Samples
    before : sequence of ndarray
        The outputs of the original model on them.
    """

    run: Run
    samples: Data
    before: Sequence[Array]

    @classmethod
    def of(cls, run: Run, n_changes: int) -> Judge:
        """Take as many samples as are affordable, from all over the data."""
        n_samples = len(run.data)
        count = min(n_samples, math.ceil(JUDGING_RUNS * n_samples / n_changes))
        samples = spread_samples(run.data, count)
        return cls(run, samples, run.view.output_values(samples, {}))

    def effect(self, weights: Mapping[int, Affine]) -> float:
        """Return half of the sum of the squared relative changes when some layers are others.

        Of the outputs that count.
        """
        after = self.run.view.output_values(self.samples, weights)
        moved = [
            relative_to(frobenius_norm(after[k] - self.before[k]), frobenius_norm(self.before[k]))
            for k in self.run.counted
        ]
        return sum(change**2 for change in moved) / 2


def spread_samples(data: Data, count: int) -> Data:
    """Return so many samples from all over the data, or all."""
    last = len(data) - 1
    return data[np.linspace(0, last, min(count, last + 1)).round().astype(int)]
