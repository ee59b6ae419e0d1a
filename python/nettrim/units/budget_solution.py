"""The answer to readers with few units."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from ..base.arrays import Array
from ..base.table import format_share

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["UnitsBudgetSolution"]


@dataclass(frozen=True)
class UnitsBudgetSolution:
    """Weights of one or several readers that do with few units of their signal.

    Nobody can prove that these are the best units of their number. What is said to be one number or
    array is a tuple of these, one for each reader, where the readers were given as a sequence.

    Attributes
    ----------
    weights : ndarray of shape (n_features, n_outputs)
        Exactly zero where the unit of a feature is removed.
    kept : ndarray of bool, of shape (n_units,)
        The units that are left.
    error : float
        Relative Frobenius error of the outputs on the calibration data, behind what follows; of
        several readers the root of the mean square by `importance`.
    held_out_error : float or None
        The same on data that were not used; None if there were none.
    errors, preactivation_errors : tuple of float
        Of every reader: as `error`, and in front of what follows against the original weights.
    held_out_errors : tuple of float or None
    pulls, ridges : tuple of float
        The regularisation of every reader's fit, given or chosen.
    swaps : int
        Pairs of units that changed places after the elimination.
    seconds : float
        Wall time.
    status : str
        ``"budget"``; ``"time_limit"`` where time was up: so many units are left, but what was to be
        done (order of removal, swaps, fit) was done at once or not at all.
    """

    weights: Array | tuple[Array, ...] = field(repr=False)
    kept: NDArray[np.bool_] = field(repr=False)
    error: float
    held_out_error: float | None
    errors: tuple[float, ...]
    preactivation_errors: tuple[float, ...]
    held_out_errors: tuple[float, ...] | None
    pulls: tuple[float, ...]
    ridges: tuple[float, ...]
    swaps: int
    seconds: float
    status: str = "budget"

    @property
    def n_units(self) -> int:
        """How many units are left."""
        return int(np.count_nonzero(self.kept))

    def __str__(self) -> str:
        """Return a short report."""
        late = ", TIME WAS UP" if self.status == "time_limit" else ""
        share = format_share(self.n_units, len(self.kept))
        readers = f"{len(self.errors)} reader{'s' if len(self.errors) > 1 else ''}"
        lines = [
            f"signal of {len(self.kept):,} units, {readers}{late}",
            f"  kept       {self.n_units:,} units ({share})",
            f"  error      {self.error:.6g}",
        ]
        if self.held_out_error is not None:
            lines.append(f"  held out   {self.held_out_error:.6g}")
        return "\n".join([*lines, f"  {self.swaps} swaps in {self.seconds:.2f} s"])
