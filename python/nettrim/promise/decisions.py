"""What a classifier decides: the number of its largest output, or whether its only one is high."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..base.arrays import AnyFloat, as_plain_array

__all__ = [
    "Labels",
    "check_labels",
    "check_range",
    "decide",
    "find_threshold",
]

Labels = NDArray[np.integer[Any]]


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


def check_range(labels: Labels, n_outputs: int) -> None:
    """Refuse labels that are no numbers of outputs; of a single output they are 0 and 1."""
    largest = max(n_outputs, 2) - 1
    if labels.min() < 0 or labels.max() > largest:
        what = "numbers of outputs" if n_outputs > 1 else "0 or 1, for the sign of one output"
        raise ValueError(
            f"labels must be {what}, 0 to {largest}, got {labels.min()} to {labels.max()}"
        )


def find_threshold(scores: AnyFloat) -> float:
    """Return what a single output exceeds for label 1: of a logit 0, of a probability .5."""
    return 0.5 if ((scores >= 0) & (scores <= 1)).all() else 0.0


def decide(scores: AnyFloat, threshold: float) -> NDArray[Any]:
    """Return the first largest of the last axis; of a single output, whether it is above.

    Parameters
    ----------
    scores : ndarray of shape (..., n_outputs)
    threshold : float
        Used for a single output alone.
    """
    single = scores.shape[-1] == 1
    answers: NDArray[Any] = scores[..., 0] > threshold if single else scores.argmax(axis=-1)
    return answers
