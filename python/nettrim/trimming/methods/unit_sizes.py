"""How many units a signal can keep, and what it costs the network to lose the others."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...base.arrays import Array
from ...models.units.unit_map import UnitMap, Units

__all__ = ["PRICES", "SignalCurve", "count_cost"]

Mask = NDArray[np.bool_]
PRICES = ("size", "operations")


class SignalCurve(NamedTuple):
    """What it costs the network to lose units of a signal.

    Attributes
    ----------
    order : ndarray of shape (n_units,)
        Numbers of its units, the first to go first.
    losses : ndarray of shape (n_units + 1,)
        The network's loss without the first 0, 1, 2, ... of them.
    sizes : ndarray
        Numbers of units that it may be left with, descending, the first being all of them.
    """

    order: Units
    losses: Array
    sizes: Units

    @property
    def removed(self) -> Units:
        """How many units go with each of the sizes."""
        removed: Units = self.sizes[0] - self.sizes
        return removed

    @property
    def loss_of_sizes(self) -> Array:
        """The network's loss with each of the sizes."""
        loss: Array = self.losses[self.removed]
        return loss


def count_cost(units: UnitMap, price: str, kept: Mask) -> int:
    """Return what is left of the model's size, or of its operations."""
    return units.parameters(kept) if price == "size" else units.operations(kept)
