"""What a program of units says: its answer with the proof."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from ..layer.solution import ProvedSolution

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.floating[Any]]

__all__ = ["UnitsSolution"]


@dataclass(frozen=True)
class UnitsSolution(ProvedSolution):
    """Weights that read few units of a signal, with the proof of how good they are.

    Attributes
    ----------
    weights : ndarray of shape (n_features, n_outputs), or a tuple of one for each reader
        Exactly zero in all readers where a unit is removed.
    objective : float
        Sum of the units' norms times their prices; with a penalty,
        ``residual**2 + penalty * sum``.
    residual, violation : float
        Frobenius norm of ``X @ weights - Y`` over the active entries of all readers, and the
        largest excess of ``X @ weights`` over `upper` among the others.
    dual_bound, gap, epsilon, penalty, status, iterations, solver, reason, seconds
        As in `nettrim.LayerSolution`.
    dual : ndarray of shape (n_samples, n_outputs), or a tuple of one for each reader
        The multipliers behind `dual_bound`. Zero or negative where inactive.
    norms : ndarray of shape (n_units,)
        Frobenius norm of the weights of every unit, in all readers together.
    """

    weights: Floats | tuple[Floats, ...] = field(repr=False)
    dual: Floats | tuple[Floats, ...] = field(repr=False)
    norms: NDArray[np.float64] = field(repr=False)

    @property
    def kept(self) -> NDArray[np.bool_]:
        """Which units are left; says nothing unless `converged`."""
        return self.norms > 0

    @property
    def n_kept(self) -> int:
        """How many units are left; says nothing unless `converged`."""
        return int(np.count_nonzero(self.norms))

    def __str__(self) -> str:
        """Return a short report; an answer without proof says so in its first line."""
        n_units = len(self.norms)
        return self._report(f"{n_units:,} units", f"{self.n_kept:,} ({self.n_kept / n_units:.1%})")
