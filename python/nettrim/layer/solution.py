"""What a solve says: its answer with the proof, and its progress on the way there."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.floating[Any]]

__all__ = ["LayerProgress", "LayerSolution", "ProvedSolution"]


class LayerProgress(NamedTuple):
    """What a solve knows at one of its certificates; handed to ``callback``."""

    iteration: int
    objective: float
    dual_bound: float
    gap: float
    residual: float
    violation: float
    seconds: float


@dataclass(frozen=True)
class ProvedSolution:
    """Weights, with the proof of how good they are."""

    weights: Any = field(repr=False)
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
    dual: Any = field(repr=False)

    @property
    def converged(self) -> bool:
        """Whether the certificate closed."""
        return self.status == "optimal"

    def _report(self, program: str, kept: str) -> str:
        """Return a short report; an answer without proof says so in its first line."""
        proof = f"proved >= {self.dual_bound:.9g}, gap {self.gap:.1e}"
        scales = f"epsilon {self.epsilon:.9g}, penalty {self.penalty:.6g}"
        iterations = f"{self.iterations} iterations of {self.solver}"
        return "\n".join(
            [
                f"{program}: {self.status}" + ("" if self.converged else ", NOT CONVERGED"),
                f"  kept       {kept}",
                f"  objective  {self.objective:.9g}  ({proof})",
                f"  residual   {self.residual:.9g}  ({scales})",
                f"  violation  {self.violation:.1e}",
                f"  {iterations} ({self.reason}) in {self.seconds:.2f} s",
            ]
        )


@dataclass(frozen=True)
class LayerSolution(ProvedSolution):
    """Sparse weights of one layer, with the proof of how good they are.

    Attributes
    ----------
    weights : ndarray of shape (n_features, n_outputs)
        Exactly zero where a connection is removed.
    objective : float
        Sum of absolute weights, each times its cost; with a penalty,
        ``residual**2 + penalty * sum``.
    dual_bound : float
        No weights that satisfy the constraints have a smaller objective. Proved by `dual` in
        float64, whatever the solver did. For an infeasible program it is a number that no weights
        of any sense reach (above 1e9 per output at unit size): that is the proof.
    gap : float
        ``(objective - dual_bound) / objective``. Negative while the weights are not feasible.
    residual, violation : float
        Frobenius norm of ``X @ weights - Y`` over the active entries, with what ``ridge`` and
        ``pull`` add to it; and the largest excess of ``X @ weights`` over `upper` among the others.
    epsilon, penalty : float
        The one that was asked for, and its counterpart: both forms have this same optimum.
    status : str
        ``"optimal"``: feasible and gap at most `tol`. Otherwise ``"max_iter"``, ``"time_limit"``,
        ``"interrupted"``, ``"infeasible"`` or ``"numerical"``, and nothing is claimed but
        `dual_bound`.
    iterations : int
    solver : str
        The engine that gave the answer: ``"newton"``, ``"admm"``, or ``"none"`` if the start was
        optimal.
    reason : str
        Why that one.
    seconds : float
        Wall time.
    dual : ndarray of shape (n_samples, n_outputs)
        The multipliers behind `dual_bound`. Zero or negative where inactive.
    slopes : ndarray of shape (n_outputs,)
        With ``ridge`` or ``pull``: the multipliers of what is drawn, over what is missing there
        (docs/mathematics/layer.md#drawn-to-the-original-weights). Empty without.
    costs : ndarray of shape (n_features, n_outputs) or None
        What a unit of each weight costs in the program that is proved; None where that is 1 of all.
    first : LayerSolution or None
        With ``reweighted`` the answer of the first round, whose bound no feasible weights are
        below in the norm that was asked for: objective and bound here are at costs that answers
        told. None where there was one round.
    """

    weights: Floats = field(repr=False)
    dual: Floats = field(repr=False)
    slopes: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0), repr=False)
    costs: NDArray[np.float64] | None = field(default=None, repr=False)
    first: LayerSolution | None = field(default=None, repr=False)

    @property
    def nonzeros(self) -> int:
        """Number of connections kept; says nothing unless `converged`."""
        return int(np.count_nonzero(self.weights))

    def __str__(self) -> str:
        """Return a short report; an answer without proof says so in its first line."""
        rows, columns = self.weights.shape
        kept = f"{self.nonzeros:,} of {self.weights.size:,} weights"
        share = f"{self.nonzeros / self.weights.size:.1%}"
        report = self._report(f"layer {rows} x {columns}", f"{kept} ({share})")
        if self.first is None:
            return report
        before = f"{self.first.nonzeros:,} kept, objective {self.first.objective:.9g}"
        proof = f"proved >= {self.first.dual_bound:.9g}"
        return f"{report}\n  reweighted, from {before}  ({proof})"
