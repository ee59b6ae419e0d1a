"""A layer's program, and the ball around its output that an answer has to lie in."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ...base.arrays import relative_to
from ...budget.optimal_brain_surgeon import Regularisation
from ...layer.data import LayerData
from ...models.layer_view import LayerView
from .layer_program import LayerProgram

__all__ = ["NOTHING", "ErrorBall"]

LARGEST = 1 << 23  # entries of the outputs that are solved at a time
NOTHING = np.empty((0, 0))


@dataclass(frozen=True)
class ErrorBall:
    """A layer's program, and how far its answer may be from the original output.

    Attributes
    ----------
    program : LayerProgram
    epsilon : float
    kappa : float
        The factor that is already in ``epsilon``; 1 for all but the last layer of a cascade.
    residual : float
        How far the original weights are from the center: not at all but behind trimmed layers.
    active_rows : int
        What it stands on.
    regularisation : Regularisation or None
        What draws the weights to those they were.
    """

    program: LayerProgram
    epsilon: float
    kappa: float
    residual: float = 0.0
    active_rows: int = 0
    regularisation: Regularisation | None = None

    @property
    def radius(self) -> float:
        """Epsilon relative to the norm of the output."""
        return relative_to(self.epsilon, self.program.output_norm)

    @property
    def without_arrays(self) -> ErrorBall:
        """The same without its program's arrays: those of all layers would take much memory."""
        program = replace(self.program, X=NOTHING, Y=NOTHING, upper=None, active=None)
        return replace(self, program=program)

    @property
    def affordable_outputs(self) -> int | None:
        """How many outputs at a time keep a solver's arrays small; None for all of them."""
        program = self.program
        if program.groups > 1 or program.Y.size <= LARGEST or self.regularisation is not None:
            return None
        return max(1, LARGEST // len(program.Y))

    def layer_data(self, layer: LayerView) -> LayerData:
        """Return the program as workers take it."""
        program = self.program
        return LayerData.of(
            program.X,
            program.Y,
            program.activation,
            program.upper,
            program.active,
            np.dtype(np.float64),
            program.groups,
            **self.drawing(layer),
        )

    def drawing(self, layer: LayerView) -> dict[str, Any]:
        """Return what draws the weights, as arguments of `nettrim.solve_layer`."""
        chosen = self.regularisation
        if chosen is None or not (chosen.ridge or chosen.pull):
            return {}
        return {"ridge": chosen.ridge, "pull": chosen.pull, "original": layer.affine.stacked}
