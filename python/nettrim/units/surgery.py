r"""Which units to keep: optimal brain surgery on groups of features, and exchanges afterwards.

To second order, in front of what follows, a reader's loss is that of least squares, with the Gram
matrix of all samples: those of rows that a ReLU lets through decide no better. Without a
unit's group of features g it grows by

.. math:: \tfrac12 \mathrm{tr}(U_g^T [(H^{-1})_{gg}]^{-1} U_g), \qquad H = X^T X + ridge\,I,

all other weights following (Hassibi and Stork, 1992; Kurtic et al., ZipLM, NeurIPS 2023). The unit
that costs all readers together least is removed, and so on, which gives every size from one run. At
a given size units that were removed take the place of others while that pays.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..base.arrays import Array
from ..base.deadline import remaining_seconds
from ..base.dispatch import core
from .readers import Reader, Readers

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Mask = NDArray[np.bool_]

__all__ = ["Exchange", "Forms", "UnitsElimination"]

RIDGE = 0.01  # where none is given: with less, units of a few samples are followed
WORTHWHILE = 1e-4  # share of the loss that a swap must be worth


@dataclass(frozen=True)
class UnitsElimination:
    """The order in which units are removed.

    Attributes
    ----------
    order : ndarray of int, of shape (n_removable,)
        Units, the first to go first.
    losses : ndarray of shape (n_removable,)
        Growth of the loss with each removal.
    """

    order: NDArray[np.intp]
    losses: Array

    @property
    def cumulative_losses(self) -> Array:
        """The loss without 0, 1, 2, ... units."""
        return np.concatenate([[0.0], np.cumsum(self.losses)])

    def kept(self, count: int, n_units: int) -> Mask:
        """Mark the units that are left after so many removals."""
        mask = np.ones(n_units, bool)
        mask[self.order[:count]] = False
        return mask


@dataclass(frozen=True)
class Exchange:
    """Units that are kept, and how many of them have taken the place of others."""

    kept: Mask
    swaps: int


@dataclass(frozen=True)
class Forms:
    """The quadratic losses of readers: those of the same samples are one, side by side.

    Attributes
    ----------
    grams : list of ndarray of shape (n_features, n_features)
        With their ridges.
    correlations : list of ndarray of shape (n_features, n_outputs)
    unit_of : list of ndarray of int32, of shape (n_features,)
    keep : ndarray of bool, of shape (n_units,)
    """

    grams: list[Array]
    correlations: list[Array]
    unit_of: list[NDArray[np.int32]]
    keep: Mask

    @classmethod
    def of(cls, readers: Readers, ridge: float | None) -> Forms:
        """Pose what readers ask for, with a ridge in units of the mean square of a feature."""
        ridge = RIDGE if ridge is None else ridge
        stacks: dict[object, list[Reader]] = {}
        for reader in readers.each:
            key = (reader.source, reader.data.units.x, reader.unit_of.tobytes())
            stacks.setdefault(key, []).append(reader)
        grams, correlations, unit_of = [], [], []
        for stack in stacks.values():
            first = stack[0].data
            strength = ridge * first.scale
            grams.append(first.gram + strength * np.eye(len(first.gram)))
            asked = [
                np.sqrt(r.factor) * (r.data.X.T @ r.data.target + strength * r.data.weights)
                for r in stack
            ]
            correlations.append(np.ascontiguousarray(np.hstack(asked)))
            correlations[-1][np.diag(first.gram) == 0] = 0.0  # what is always zero costs nothing
            unit_of.append(stack[0].unit_of)
        return cls(grams, correlations, unit_of, readers.keep)

    def eliminate(self, n_threads: int, deadline: float | None) -> UnitsElimination:
        """Remove all units that may go, one by one; from the deadline on all at once."""
        fields = core.eliminate_units(**self._arguments(n_threads, deadline))
        if not fields["complete"]:
            raise KeyboardInterrupt
        return UnitsElimination(np.array(fields["order"], np.intp), np.array(fields["losses"]))

    def exchange(
        self, kept: Mask, most: int, loss: float, n_threads: int, deadline: float | None
    ) -> Exchange:
        """Let units change places while that lessens the loss they have."""
        fields = core.exchange_units(
            **self._arguments(n_threads, deadline),
            kept=kept,
            most=most,
            worthwhile=WORTHWHILE * loss,
        )
        if not fields["complete"]:
            raise KeyboardInterrupt
        return Exchange(np.array(fields["kept"], bool), fields["swaps"])

    def _arguments(self, n_threads: int, deadline: float | None) -> Mapping[str, Any]:
        return {
            "grams": self.grams,
            "correlations": self.correlations,
            "unit_of": self.unit_of,
            "keep": self.keep,
            "time_limit": remaining_seconds(deadline),
            "n_threads": n_threads,
        }
