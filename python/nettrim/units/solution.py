"""What a program of units says: its answer with the proof."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.floating[Any]]

__all__ = ["UnitsSolution"]


@dataclass(frozen=True)
class UnitsSolution:
    """Weights that read few units of a signal, with the proof of how good they are.

    Attributes
    ----------
    weights : ndarray of shape (n_features, n_outputs), or a tuple of one for each reader
        Exactly zero in all readers where a unit is removed.
    objective : float
        Sum of the units' norms times their prices; with a penalty,
        ``residual**2 + penalty * sum``.
    dual_bound : float
        No weights that satisfy the constraints have a smaller objective. Proved by `dual` in
        float64, whatever the solver did.
    gap : float
        ``(objective - dual_bound) / objective``. Negative while the weights are not feasible.
    residual, violation : float
        Frobenius norm of ``X @ weights - Y`` over the active entries of all readers, and the
        largest excess of ``X @ weights`` over `upper` among the others.
    epsilon, penalty : float
        The one that was asked for, and its counterpart: both forms have this same optimum.
    status : str
        ``"optimal"``: feasible and gap at most `tol`. Otherwise ``"max_iter"``, ``"time_limit"``,
        ``"interrupted"``, ``"infeasible"`` or ``"numerical"``, and nothing is claimed but
        `dual_bound`.
    iterations : int
    solver : str
        ``"admm"``, or ``"none"`` if the start was optimal.
    reason : str
        Why that one.
    seconds : float
        Wall time.
    dual : ndarray of shape (n_samples, n_outputs), or a tuple of one for each reader
        The multipliers behind `dual_bound`. Zero or negative where inactive.
    norms : ndarray of shape (n_units,)
        Frobenius norm of the weights of every unit, in all readers together.
    """

    weights: Floats | tuple[Floats, ...] = field(repr=False)
    objective: float
    dual_bound: float
    gap: float
    residual: float
    violation: float
    epsilon: float
    penalty: float
    status: str
    iterations: int
    solver: str
    reason: str
    seconds: float
    dual: Floats | tuple[Floats, ...] = field(repr=False)
    norms: NDArray[np.float64] = field(repr=False)

    @property
    def converged(self) -> bool:
        """Whether the certificate closed."""
        return self.status == "optimal"

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
        proof = f"proved >= {self.dual_bound:.9g}, gap {self.gap:.1e}"
        scales = f"epsilon {self.epsilon:.9g}, penalty {self.penalty:.6g}"
        iterations = f"{self.iterations} iterations of {self.solver}"
        return "\n".join(
            [
                f"{len(self.norms):,} units: {self.status}"
                + ("" if self.converged else ", NOT CONVERGED"),
                f"  kept       {self.n_kept:,} ({self.n_kept / len(self.norms):.1%})",
                f"  objective  {self.objective:.9g}  ({proof})",
                f"  residual   {self.residual:.9g}  ({scales})",
                f"  violation  {self.violation:.1e}",
                f"  {iterations} ({self.reason}) in {self.seconds:.2f} s",
            ]
        )
