"""The unit that every entry of a tensor belongs to, as an array that broadcasts to the tensor."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from ....units.unit_map import FIXED

__all__ = ["Labels", "arrange", "compress", "varying"]

Labels = NDArray[np.intp]  # numbers of units; of size 1 along axes where they do not vary


def varying(labels: Labels | None) -> list[int]:
    """Return the axes along which units lie."""
    return [] if labels is None else [axis for axis, n in enumerate(labels.shape) if n > 1]


def compress(labels: Labels) -> Labels | None:
    """Keep one index of the axes along which labels do not vary; None where there are no units."""
    if (labels == FIXED).all():
        return None
    for axis in varying(labels):
        first = labels.take([0], axis)
        if (labels == first).all():
            labels = first
    return labels


def arrange(labels: Labels, axes: Mapping[int, int], n_axes: int) -> Labels:
    """Return labels for a tensor of so many axes, into which some of their own axes go.

    Parameters
    ----------
    labels : ndarray
        They may vary along those axes alone.
    axes : mapping from int to int
        Where each of them goes.
    n_axes : int
    """
    order = sorted(axes, key=lambda axis: axes[axis])
    rest = [axis for axis in range(labels.ndim) if axis not in axes]
    shape = [1] * n_axes
    for axis in order:
        shape[axes[axis]] = labels.shape[axis]
    return np.transpose(labels, [*rest, *order]).reshape(shape)
