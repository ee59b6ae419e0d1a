"""How often a classifier is right, before and after."""

from __future__ import annotations

from itertools import islice
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..base.arrays import as_plain_array
from ..models.model_view import ModelView, view_both
from ..models.samples import Data

Labels = NDArray[np.integer[Any]]
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


def compare_accuracy(before: Any, after: Any, X: Any, labels: ArrayLike) -> Accuracy:
    """Measure how often two models are right; see `nettrim.TrimResult.compare_accuracy`."""
    views = view_both(before, after)
    first, second = (view.score(X, labels) for view in views)
    if first is not None and second is not None:
        return Accuracy(first, second, len(np.asarray(labels)))
    data = [view.calibration(X, "X") for view in views]
    wanted = check_labels(labels, len(data[0]))
    original, trimmed = (_scores(*pair) for pair in zip(views, data, strict=True))
    _check_range(wanted, original.shape[1])
    threshold = _threshold(original)
    first, second = (_share_right(s, wanted, threshold) for s in (original, trimmed))
    return Accuracy(first, second, len(wanted))


def check_labels(labels: ArrayLike, n_samples: int) -> Labels:
    """Return one number of an output for each sample, or raise an error that names ``labels``."""
    array = as_plain_array(labels, "labels")
    if array.shape == (n_samples, 1):
        array = array[:, 0]
    if array.dtype.kind not in "iub":
        raise TypeError(
            f"labels must be whole numbers, got dtype {array.dtype}: this model has numbers of "
            "outputs, and knows no names of classes"
        )
    if array.shape != (n_samples,):
        raise ValueError(
            f"labels must be one for each of the {n_samples} samples, got shape {array.shape}"
        )
    return array.astype(np.int64)


def _scores(view: ModelView, X: Data) -> Scores:
    """Return the first output, a row for each sample."""
    output = next(islice(view.signals(X, {}), len(view.prunable_layers()), None))
    return output.values.reshape(len(X), -1)


def _check_range(labels: Labels, n_outputs: int) -> None:
    largest = max(n_outputs, 2) - 1
    if labels.min() < 0 or labels.max() > largest:
        what = "numbers of outputs" if n_outputs > 1 else "0 or 1, for the sign of one output"
        raise ValueError(
            f"labels must be {what}, 0 to {largest}, got {labels.min()} to {labels.max()}"
        )


def _threshold(scores: Scores) -> float:
    """Return what a single output exceeds for label 1: of a logit 0, of a probability .5."""
    return 0.5 if ((scores >= 0) & (scores <= 1)).all() else 0.0


def _share_right(scores: Scores, labels: Labels, threshold: float) -> float:
    single = scores.shape[1] == 1
    answers = scores[:, 0] > threshold if single else scores.argmax(axis=1)
    return float((answers == labels).mean())
