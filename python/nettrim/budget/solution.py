"""The answer to a layer with a budget."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from ..base.arrays import Array
from ..base.table import format_share

if TYPE_CHECKING:
    from ..layer.solution import LayerSolution

__all__ = ["BudgetSolution"]


@dataclass(frozen=True)
class BudgetSolution:
    """Few weights for one layer, and what they cost.

    Nobody can prove that these are the best weights of their number; `certificate`, where it was
    asked for, proves how small the sum of absolute weights can be at the same error.

    Attributes
    ----------
    weights : ndarray of shape (n_features, n_outputs)
        Exactly zero where a connection is removed.
    budget : int
        How many weights were allowed, those of features to keep not counted.
    nonzeros : int
        How many there are; never more.
    error, preactivation_error : float
        Relative Frobenius error on the calibration data: of the outputs against `Y`, behind the
        ReLU if there is one, and in front of it against those of the original weights.
    held_out_error, held_out_preactivation_error : float or None
        The same on data that were not used; None if there were none.
    pull, ridge : float
        The regularisation, given or chosen.
    swaps : int
        Weights that changed places after the elimination.
    method : str
        ``"surgery"``, ``"admm"`` or ``"reweighted"``; ``"none"`` where nothing had to be done.
    seconds : float
        Wall time.
    certificate : LayerSolution or None
        The weights of least l1 norm that fit the calibration data as well, with their proof.
    status : str
        ``"budget"``; ``"time_limit"`` where time was up: the budget is kept, but what was left to
        be done (regularisation, order of removal, fit, swaps) was done at once or not at all.
    """

    weights: Array = field(repr=False)
    budget: int
    nonzeros: int
    error: float
    preactivation_error: float
    held_out_error: float | None
    held_out_preactivation_error: float | None
    pull: float
    ridge: float
    swaps: int
    method: str
    seconds: float
    certificate: LayerSolution | None = field(default=None, repr=False)
    status: str = "budget"

    @property
    def l1(self) -> float:
        """Sum of absolute weights."""
        return float(np.abs(self.weights).sum())

    def __str__(self) -> str:
        """Return a short report."""
        rows, columns = self.weights.shape
        kept = f"{self.nonzeros:,} of {self.weights.size:,} weights"
        late = ", TIME WAS UP" if self.status == "time_limit" else ""
        in_front = f"in front of the activation {self.preactivation_error:.6g}"
        lines = [
            f"layer {rows} x {columns} with a budget of {self.budget:,}{late}",
            f"  kept       {kept} ({format_share(self.nonzeros, self.weights.size)})",
            f"  error      {self.error:.6g}  ({in_front})",
        ]
        if self.held_out_error is not None:
            lines.append(
                f"  held out   {self.held_out_error:.6g}  "
                f"(in front of the activation {self.held_out_preactivation_error:.6g})"
            )
        if self.certificate is not None:
            bound = self.certificate.dual_bound
            lines.append(f"  l1 norm    {self.l1:.6g}  (at this error proved >= {bound:.6g})")
        how = f"{self.method}, {self.swaps} swaps, pull {self.pull:g}, ridge {self.ridge:g}"
        return "\n".join([*lines, f"  {how} in {self.seconds:.2f} s"])
