"""How often a classifier is right, before and after."""

from __future__ import annotations

from itertools import islice
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .samples import Data
from .view import ModelView, samples, viewed_again

Labels = NDArray[np.integer[Any]]


class Accuracy(NamedTuple):
    """Share of samples whose largest output stands at the label, and how many samples there are."""

    before: float
    after: float
    n_samples: int

    def __str__(self) -> str:
        """Return it in one line."""
        return f"accuracy on {self.n_samples:,} samples: {self.before:.2%} before, {self.after:.2%} after"


def accuracy(before: Any, after: Any, X: Any, labels: ArrayLike) -> Accuracy:
    """Measure how often two models are right; see `nettrim.TrimResult.accuracy`."""
    views = viewed_again(before), viewed_again(after)
    data = [samples(view, X, "X") for view in views]
    wanted = checked_labels(labels, len(data[0]))
    first, second = (_share_right(v, part, wanted) for v, part in zip(views, data, strict=True))
    return Accuracy(first, second, len(wanted))


def checked_labels(labels: ArrayLike, n_samples: int) -> Labels:
    """Return one whole number for each sample, or raise an error that names ``labels``."""
    array = np.asarray(labels)
    if array.dtype.kind not in "iu":
        raise TypeError(f"labels must be whole numbers, got dtype {array.dtype}")
    if array.shape != (n_samples,):
        raise ValueError(
            f"labels must be one for each of the {n_samples} samples, got shape {array.shape}"
        )
    return array


def _share_right(view: ModelView, X: Data, labels: Labels) -> float:
    output = next(islice(view.signals(X, {}), len(view.prunable_layers()), None))  # the first one
    scores = output.values.reshape(len(X), -1)
    if labels.min() < 0 or labels.max() >= scores.shape[1]:
        raise ValueError(
            f"labels must be numbers of outputs, 0 to {scores.shape[1] - 1}, "
            f"got {labels.min()} to {labels.max()}"
        )
    return float((scores.argmax(axis=1) == labels).mean())
