"""Units along several axes of a tensor, as when the features of heads are taken apart."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from ....units.unit_map import Units
from .sites import Site

__all__ = ["Spread"]


class Spread(NamedTuple):
    """Axes into which an axis of units was taken apart, and where they are by now.

    As long as nothing more is known, it is open along which of them units can go; those that share
    an index there go together then, wherever they are.

    Attributes
    ----------
    axes : mapping from int to int
        By axis of the tensor, the axis of `units`; those are missing along which an index or a part
        was picked, as of queries, keys and values that lie side by side.
    units : ndarray
        Those of the whole tensor that was taken apart.
    sites : mapping from int to Site
        Numbers that count what lies along an axis of `units`.
    gathered, picked : set of int
        The axes of `units` along which they go together somewhere, and along which parts are
        picked somewhere. All that comes of one tensor shares them.
    """

    axes: Mapping[int, int]
    units: Units
    sites: Mapping[int, Site]
    gathered: set[int]
    picked: set[int]

    @property
    def first(self) -> int | None:
        """The first axis that has more than one index; None if there is none."""
        long = [axis for axis, own in self.axes.items() if self.units.shape[own] > 1]
        return min(long, default=None)

    def along(self, axis: int) -> Units:
        """Return a row for each index along an axis of the tensor."""
        front = np.moveaxis(self.units, self.axes[axis], 0)
        return front.reshape(len(front), -1)

    def moved(self, axes: Mapping[int, int]) -> Spread:
        """Return the same when axes have gone elsewhere; those that are missing are no more."""
        self.picked.update(
            own for k, own in self.axes.items() if k not in axes and self.units.shape[own] > 1
        )
        return self._replace(axes={axes[k]: own for k, own in self.axes.items() if k in axes})
