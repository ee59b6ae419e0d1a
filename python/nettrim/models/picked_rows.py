"""Rows that a model picks itself, as a mixture of experts routes each token to some of them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["PickedRows"]

NOWHERE: NDArray[np.intp] = np.empty(0, dtype=np.intp)


class PickedRows(NamedTuple):
    """Which rows arrive at a layer to which a model sends some of all; others under other weights.

    Attributes
    ----------
    numbers : ndarray of int of shape (n_rows,) or None
        Which ones, counted sample by sample; None where that is not known.
    total : int
        How many rows all samples have; 0 where that is not known.
    """

    numbers: NDArray[np.intp] | None
    total: int

    def shared_with(self, other: PickedRows) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """Return where the rows that are known to be in both stand in each."""
        if self.numbers is None or other.numbers is None:
            return NOWHERE, NOWHERE
        _, here, there = np.intersect1d(self.numbers, other.numbers, return_indices=True)
        return here, there

    def at(self, places: NDArray[np.intp]) -> PickedRows:
        """Return what is known of the rows at some places."""
        return self if self.numbers is None else self._replace(numbers=self.numbers[places])
