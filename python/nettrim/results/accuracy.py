"""How often a classifier is right, before and after."""

from __future__ import annotations

from itertools import islice
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..base.arguments import check_number, refuse_unused
from ..models.model_view import ModelView, view_both
from ..models.samples import Data, refuse_shuffled, shuffles
from ..promise.decisions import (
    Labels,
    check_labels,
    check_range,
    decide,
    find_threshold,
)

Scores = NDArray[np.float64]


class Accuracy(NamedTuple):
    """Share of samples that a model gets right, and how many samples there are."""

    before: float
    after: float
    n_samples: int

    def __str__(self) -> str:
        """Return it in one line."""
        return (
            f"accuracy on {self.n_samples:,} samples: "
            f"{self.before:.2%} before, {self.after:.2%} after"
        )


def compare_accuracy(
    before: Any, after: Any, X: Any, labels: ArrayLike, threshold: float | None = None
) -> Accuracy:
    """Measure how often two models are right; see `nettrim.TrimResult.accuracy`."""
    if threshold is not None:
        threshold = check_number(threshold, "threshold")
    views = view_both(before, after)
    if shuffles(X):
        refuse_shuffled("X")
    first, second = (view.score(X, labels) for view in views)
    if first is not None and second is not None:
        refuse_unused("is not used by a model that knows its classes", threshold=threshold)
        return Accuracy(first, second, len(np.asarray(labels)))
    data = [view.calibration(X, "X") for view in views]
    wanted = check_labels(labels, len(data[0]))
    original, trimmed = (_scores(*pair) for pair in zip(views, data, strict=True))
    check_range(wanted, original.shape[1])
    if original.shape[1] > 1:
        refuse_unused("is of a single output, and this model has more", threshold=threshold)
    cut = find_threshold(original) if threshold is None else threshold
    first, second = (_share_right(scores, wanted, cut) for scores in (original, trimmed))
    return Accuracy(first, second, len(wanted))


def _scores(view: ModelView, X: Data) -> Scores:
    """Return the first output, a row for each sample."""
    output = next(islice(view.signals(X, {}), len(view.prunable_layers()), None))
    return output.values.reshape(len(X), -1)


def _share_right(scores: Scores, labels: Labels, threshold: float) -> float:
    return float((decide(scores, threshold) == labels).mean())
