"""Which units stay: for a share of the model's cost, or as many as something measured allows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ...base.errors import OutOfReachError
from ...models.units.unit_map import UnitMap
from .unit_sizes import SignalCurve, choose_units, count_cost

__all__ = ["UnitChoice"]

SEARCH_STEPS = 6  # of a bisection

Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class UnitChoice:
    """The units that stay, whatever share of a model's cost is to be left.

    Attributes
    ----------
    units : UnitMap
    curves : sequence of SignalCurve
    """

    units: UnitMap
    curves: Sequence[SignalCurve]

    def at_share(self, price: str, share: float) -> Mask:
        """Return the units that stay so that a share of the model's cost is left.

        Raises
        ------
        ValueError
            If more is left without all units that may go.
        """
        kept = choose_units(self.units, self.curves, price, share * self._cost(price, self._all))
        if kept is None:
            raise OutOfReachError(
                f"{price} must be at least {self.least_share(price):.3f} for this model: so much "
                f"is left without all units that layers, skip, min_width and multiple_of let go, "
                f"got {share:g}",
                too_bold=True,
            )
        return kept

    def least_share(self, price: str) -> float:
        """Return what is left of the model's cost without all units that may go."""
        kept = self._all
        for curve in self.curves:
            kept[curve.order[: curve.sizes[0] - curve.sizes[-1]]] = False
        return self._cost(price, kept) / self._cost(price, self._all)

    def search(
        self, price: str, fits: Callable[[Mask], bool], *, good: float, bad: float
    ) -> Mask | None:
        """Return the units of a share that fits, as near as can be to one that does not.

        None if not even the good one fits.
        """
        if not fits(self.at_share(price, good)):
            return None
        for _ in range(SEARCH_STEPS):
            middle = (good + bad) / 2
            good, bad = (middle, bad) if fits(self.at_share(price, middle)) else (good, middle)
        return self.at_share(price, good)

    @property
    def _all(self) -> Mask:
        return np.ones(self.units.n_units, dtype=bool)

    def _cost(self, price: str, kept: Mask) -> int:
        return count_cost(self.units, price, kept)
