"""What a sample loses by the trimmed model: a number for each, from the outputs of both models."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..base.arrays import AnyFloat, Array
from ..base.decision import Decision
from .decisions import Labels, check_labels, check_range, decide, find_threshold

__all__ = [
    "count_drops",
    "count_flips",
    "count_misses",
    "find_decisions",
    "measure_errors",
    "no_flips_because",
]

BLOCK = 1 << 22  # entries of an output that are held in float64 at a time


def count_flips(original: AnyFloat, trimmed: AnyFloat, decides_by: Decision = "largest") -> Array:
    """Return 1 for samples on which the first largest output is another one, 0 for the others.

    Parameters
    ----------
    original, trimmed : ndarray of shape (n_samples, n_outputs)
        Of sequences (n_samples, n_positions, n_outputs): a sample flips if any position does.
    decides_by : {"largest", "signs", "nothing"}
        "signs": a sample flips if any output has another sign.

    Raises
    ------
    ValueError
        If shapes differ, an entry is no finite number, or outputs decide nothing.
    """
    _check_pair(original, trimmed)
    reason = no_flips_because(original, decides_by)
    if reason is not None:
        raise ValueError(f"flips: {reason}: name an error")
    first, second = (_answers(output, decides_by) for output in (original, trimmed))
    return np.asarray((first != second).any(axis=1), dtype=np.float64)


def _answers(output: AnyFloat, decides_by: Decision) -> NDArray[Any]:
    """Return what an output says, as rows."""
    if decides_by == "signs":
        return output.reshape(len(output), -1) > 0
    return decide(_by_position(output), 0.0)


def no_flips_because(output: AnyFloat, decides_by: Decision = "largest") -> str | None:
    """Return why an output makes no decision that could flip, None if it does."""
    if decides_by == "nothing":
        return "a regressor decides nothing"
    if decides_by == "signs":
        return None
    if len(_axes(output)) > 2:
        return f"an output of shape {output.shape[1:]} does not say which axis is that of classes"
    if _by_position(output).shape[-1] == 1:
        return "a single output decides nothing without labels"
    return None


def count_misses(
    original: AnyFloat, trimmed: AnyFloat, labels: ArrayLike, threshold: float | None = None
) -> Array:
    """Return 1 for samples that the original has right and the trimmed model wrong, else 0.

    Parameters
    ----------
    original, trimmed : ndarray of shape (n_samples, n_outputs)
    labels : array_like of shape (n_samples,)
        Numbers of outputs, as `nettrim.TrimResult.accuracy` takes them; of a single output 0 or 1.
    threshold : float, optional
        What a single output exceeds for label 1. Default: as `find_threshold` has it of these.

    Raises
    ------
    TypeError, ValueError
        Like `count_flips`, and if labels are none of these.
    """
    before, after = _right(original, trimmed, labels, threshold)
    return np.asarray(before & ~after, dtype=np.float64)


def count_drops(
    original: AnyFloat, trimmed: AnyFloat, labels: ArrayLike, threshold: float | None = None
) -> Array:
    """Return how much less right the trimmed model is: 1, 0, or -1 where it alone is right.

    See `count_misses`. The mean is what the accuracy drops by.
    """
    before, after = _right(original, trimmed, labels, threshold)
    return before.astype(np.float64) - after


def find_decisions(output: AnyFloat, threshold: float | None = None) -> Labels:
    """Return the labels that a model gives, as `count_misses` takes them."""
    scores = output.reshape(len(output), -1)
    threshold = find_threshold(scores) if threshold is None else threshold
    return np.asarray(decide(scores, threshold), dtype=np.int64)


def measure_errors(
    original: Sequence[AnyFloat], trimmed: Sequence[AnyFloat], cap: float = math.inf
) -> Array:
    r"""Return how far each sample's outputs moved, relative to their norms.

    Of several outputs the root of the mean square, as the error of a network has it:
    :math:`\lVert f'(z) - f(z)\rVert / \lVert f(z)\rVert` of each. An output that is zero moves by
    nothing or by infinity.

    Parameters
    ----------
    original, trimmed : sequence of ndarray of shape (n_samples, ...)
        One for each output that counts.
    cap : float
        Larger errors are cut at it.

    Returns
    -------
    ndarray of shape (n_samples,)

    Raises
    ------
    ValueError
        If shapes differ or an entry is no finite number.
    """
    pairs = list(zip(original, trimmed, strict=True))
    for pair in pairs:
        _check_pair(*pair)
    errors: Array = np.sqrt(np.mean([_relative(*pair) ** 2 for pair in pairs], axis=0))
    return errors.clip(max=cap)


def _relative(original: AnyFloat, trimmed: AnyFloat) -> Array:
    return np.concatenate([_relative_rows(*pair) for pair in _blocks(original, trimmed)])


def _blocks(original: AnyFloat, trimmed: AnyFloat) -> Iterator[tuple[Array, Array]]:
    """Yield as many samples at a time, as rows of float64, as are affordable."""
    size = max(1, BLOCK // max(1, math.prod(original.shape[1:])))
    for first in range(0, len(original), size):
        part = slice(first, first + size)
        yield _rows(original[part]), _rows(trimmed[part])


def _rows(output: AnyFloat) -> Array:
    return output.reshape(len(output), -1).astype(np.float64)


def _relative_rows(original: Array, trimmed: Array) -> Array:
    """Return the distance of each pair of rows over the norm of the first, of any size."""
    scale = np.maximum(np.abs(original).max(axis=1), np.abs(trimmed).max(axis=1))
    unit = np.where(scale > 0, scale, 1.0)[:, None]
    first, second = original / unit, trimmed / unit
    norm, distance = (np.linalg.norm(rows, axis=1) for rows in (first, second - first))
    errors: Array = np.zeros_like(norm)
    with np.errstate(divide="ignore", over="ignore"):
        np.divide(distance, norm, out=errors, where=distance > 0)
    return errors


def _right(
    original: AnyFloat, trimmed: AnyFloat, labels: ArrayLike, threshold: float | None
) -> tuple[Labels, Labels]:
    """Return on which samples each of the models is right."""
    _check_pair(original, trimmed)
    if len(_axes(original)) > 1:
        raise ValueError(
            f"labels: an output of shape {original.shape[1:]} decides more than one thing a sample"
        )
    pair = [output.reshape(len(output), -1) for output in (original, trimmed)]
    wanted = check_labels(labels, len(original))
    check_range(wanted, pair[0].shape[1])
    threshold = find_threshold(pair[0]) if threshold is None else threshold
    first, second = (decide(scores, threshold) == wanted for scores in pair)
    return first, second


def _check_pair(original: AnyFloat, trimmed: AnyFloat) -> None:
    """Refuse outputs that cannot be held against each other."""
    if original.shape != trimmed.shape:
        raise ValueError(
            f"outputs of the two models must be of one shape, got {original.shape} of the original "
            f"and {trimmed.shape} of the trimmed one"
        )
    if original.size == 0:
        raise ValueError(f"outputs of the original model are empty: shape {original.shape}")
    for output, whose in ((original, "original"), (trimmed, "trimmed")):
        finite = np.isfinite(output).reshape(len(output), -1).all(axis=1)
        if not finite.all():
            raise ValueError(
                f"outputs of the {whose} model hold NaN or infinity on {(~finite).sum():,} of "
                f"{len(output):,} samples, so nothing can be said of these"
            )


def _axes(output: AnyFloat) -> list[int]:
    """Return the lengths of an output's axes behind that of samples, without those of one entry."""
    return [length for length in output.shape[1:] if length > 1]


def _by_position(output: AnyFloat) -> AnyFloat:
    """Return an output as (n_samples, n_positions, n_outputs)."""
    axes = _axes(output)
    return output.reshape(len(output), *([1] * (2 - len(axes))), *axes)
