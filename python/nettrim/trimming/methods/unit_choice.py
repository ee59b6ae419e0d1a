"""Which units stay: for a share of the model's cost, or as many as something measured allows."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...base.errors import OutOfReachError
from ...models.units.unit_map import UnitMap
from .unit_search import choose_units
from .unit_sizes import SignalCurve, count_cost

__all__ = ["Target", "UnitChoice"]

SEARCH_STEPS = 6  # of a bisection
ROUNDED_UP = 1 + 1e-12  # by more than a share times a whole number is off

Mask = NDArray[np.bool_]


class Target(NamedTuple):
    """Something that is measured of a model without some units, and how much of it may be.

    Attributes
    ----------
    name : str
    measure : callable
    most : float
    """

    name: str
    measure: Callable[[Mask], float]
    most: float


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
        most = share * self._cost(price, self._all) * ROUNDED_UP
        kept = choose_units(self.units, self.curves, price, most)
        if kept is None:
            raise OutOfReachError(
                f"{price} must be at least {_rounded_up(self.least_share(price))} for this model: "
                "so much is left without all units that layers, skip, min_width and multiple_of "
                f"let go, got {share:g}",
                too_bold=True,
            )
        return kept

    def least_share(self, price: str) -> float:
        """Return what is left of the model's cost without all units that may go."""
        kept = self._all
        for curve in self.curves:
            kept[curve.order[: curve.removed[-1]]] = False
        return self._cost(price, kept) / self._cost(price, self._all)

    def search(self, price: str, target: Target, *, good: float, bad: float) -> Mask:
        """Return the units of a share that fits, as near as can be to one that does not.

        Raises
        ------
        ValueError
            If not even the good one fits.
        """
        kept = self.at_share(price, good)
        if (measured := target.measure(kept)) > target.most:
            raise OutOfReachError(
                f"{target.name} must be at least {_rounded_up(measured)} for this model: so much "
                f"was measured with {good:.1%} of its {price}, got {target.most:g}",
                too_bold=price == "operations",
            )
        for _ in range(SEARCH_STEPS):
            middle = (good + bad) / 2
            tried = self.at_share(price, middle)
            if target.measure(tried) <= target.most:
                good, kept = middle, tried
            else:
                bad = middle
        return kept

    @property
    def _all(self) -> Mask:
        return np.ones(self.units.n_units, dtype=bool)

    def _cost(self, price: str, kept: Mask) -> int:
        return count_cost(self.units, price, kept)


def _rounded_up(share: float) -> str:
    """Return three digits that are no less."""
    digits = 2 - math.floor(math.log10(share))
    return f"{math.ceil(share * 10**digits) / 10**digits:.{max(digits, 0)}f}"
