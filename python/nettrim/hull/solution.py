"""What BranchHull says: two signals with their proof."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ..base.arguments import check_integer, check_number
from ..base.arrays import Array
from ..base.table import TableColumn, format_table

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["HullProgress", "HullSolution"]


class HullProgress(NamedTuple):
    """What a solve knows after an iteration; handed to ``callback``."""

    iteration: int
    objective: float
    dual_bound: float
    gap: float
    seconds: float


@dataclass(frozen=True)
class HullSolution:
    """Two signals whose product was measured, with the proof of how good they are.

    The point satisfies every constraint, and both terms of its objective are equal: of all the
    points ``(c h, m / c)``, which no measurement tells apart, it is the balanced one.

    Attributes
    ----------
    h, m : ndarray of shape (K,) and (N,)
        Coefficients of the two signals; of several snapshots, `m` has a column for each.
    w, x : ndarray of shape (n_measurements,)
        The signals: ``B @ h`` and ``C @ m``; of several snapshots, `x` has the shape of `y`.
    xi : ndarray of the shape of y
        Slack of the signal whose signs are not known; zero unless `slack` was given a penalty.
    objective : float
    dual_bound : float
        No feasible point has a smaller objective. Proved by `p` and `q` alone.
    gap : float
        ``(objective - dual_bound) / objective``.
    status : str
        ``"optimal"``: gap at most `tol`. Otherwise ``"max_iter"``, ``"time_limit"``,
        ``"interrupted"`` or ``"numerical"``, and nothing is claimed but `dual_bound`.
    iterations : int
    solver : str
    seconds : float
    p, q : ndarray of the shape of y
        Multipliers of the signals, feasible for the dual program; the larger, the more a
        measurement weighs.
    misfit : float
        How far the products of the answer, slack included, exceed the measured ones: the norm of
        the difference over that of the measurements. Without noise more than the solver's accuracy
        means that these are not the signals that were measured.
    regularizer : str
    slack_of : str
        The signal, "w" or "x", that `xi` belongs to.
    """

    h: Array = field(repr=False)
    m: Array = field(repr=False)
    w: Array = field(repr=False)
    x: Array = field(repr=False)
    xi: Array = field(repr=False)
    objective: float
    dual_bound: float
    gap: float
    status: str
    iterations: int
    solver: str
    seconds: float
    p: Array = field(repr=False)
    q: Array = field(repr=False)
    misfit: float
    regularizer: str
    slack_of: str = "x"

    @property
    def converged(self) -> bool:
        """Whether the certificate closed."""
        return self.status == "optimal"

    @property
    def _signals(self) -> tuple[Array, Array]:
        """The two signals in every measurement."""
        return (self.w if self.x.ndim == 1 else self.w[:, None]), self.x

    @property
    def products(self) -> Array:
        """What the answer says was measured: ``w * x``, one of them with its slack."""
        w, x = self._signals
        return (w + self.xi) * x if self.slack_of == "w" else w * (x + self.xi)

    @property
    def repaired(self) -> NDArray[np.bool_]:
        """Which measurements have slack that is no matter of the solver's accuracy.

        A point whose objective is within a gap of the optimum is known to about the root of it,
        relative to the largest entry of its signal.
        """
        signal = self._signals[0] if self.slack_of == "w" else self.x
        open_to_doubt = math.sqrt(max(abs(self.gap), np.finfo(float).eps)) * np.abs(signal).max()
        above: NDArray[np.bool_] = np.abs(self.xi) > open_to_doubt
        return above

    def rescale(self, *, norm_w: float) -> HullSolution:
        """Return the same answer at another of the scales that measurements cannot tell apart.

        Parameters
        ----------
        norm_w : float
            Euclidean norm that `w` is to have.

        Raises
        ------
        ValueError
            If `norm_w` is not positive, or `w` is zero.

        Notes
        -----
        The objective and its proof are those of the balanced scale and stay as they are.
        """
        wanted, present = check_number(norm_w, "norm_w", above=0.0), float(np.linalg.norm(self.w))
        if present == 0:
            raise ValueError("norm_w: w is zero and has no scale")
        c = wanted / present
        of_slack = c if self.slack_of == "w" else 1 / c
        return replace(
            self, h=c * self.h, w=c * self.w, m=self.m / c, x=self.x / c, xi=of_slack * self.xi
        )

    def weights_of_measurements(self) -> Array:
        """Return the share of each measurement in the bound: ``sqrt(|y| p q)`` over its sum."""
        share: Array = np.sqrt(np.abs(self.products) * np.maximum(self.p * self.q, 0))
        total = float(share.sum())
        return share / total if total > 0 else share

    def explain(self, count: int = 10) -> str:
        """Return a table of the measurements that weigh most, and what is odd about them.

        A wrong sign costs much, so it is found near the top; one that slack had to repair is said
        to be repaired.

        Parameters
        ----------
        count : int, default 10
        """
        share, count = self.weights_of_measurements(), check_integer(count, "count", least=0)
        repaired = self.repaired
        order = np.argsort(-share, axis=None, kind="stable")[:count]
        places = zip(*np.unravel_index(order, share.shape), strict=True)
        columns = [TableColumn(c) for c in ("measurement", "weight", "w", "x", "slack")]
        w, x = np.broadcast_arrays(*self._signals)
        rows = [
            [
                ", ".join(map(str, place)),
                f"{share[place]:.1%}",
                *(f"{signal[place]:.4g}" for signal in (w, x, self.xi)),
                "repaired" if repaired[place] else "",
            ]
            for place in places
        ]
        total = ["all", "100.0%", "", "", "", ""]
        return format_table([*columns, TableColumn("", "<")], rows, total)

    def __str__(self) -> str:
        """Return a short report; an answer without proof says so in its first line."""
        proof = f"proved >= {self.dual_bound:.9g}, gap {self.gap:.1e}"
        return "\n".join(
            [
                f"branch hull, {self.x.size} measurements, {self.h.size} + {self.m.size} "
                f"coefficients: {self.status}" + ("" if self.converged else ", NOT CONVERGED"),
                f"  kept       {np.count_nonzero(self.h)} of h, {np.count_nonzero(self.m)} of m",
                f"  objective  {self.objective:.9g}  ({proof})",
                f"  products   {self.misfit:.1e} beyond the measured ones",
                f"  slack      {np.count_nonzero(self.repaired)} measurements",
                f"  {self.iterations} iterations of {self.solver} in {self.seconds:.3f} s",
            ]
        )
