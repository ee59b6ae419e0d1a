"""One layer's program: what every method is given of a layer."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ...base.arrays import Array, frobenius_norm
from ...budget.activations import Shifted
from ...models.layer_view import LayerView

__all__ = ["LayerProgram"]


@dataclass(frozen=True)
class LayerProgram:
    """A layer to be reproduced on some rows, as `nettrim.solve_layer` takes it; absolute numbers.

    Attributes
    ----------
    X : ndarray of shape (n_rows, n_features)
        The layer's input, followed by the column of ones of a bias that is not fixed.
    Y : ndarray of shape (n_rows, n_outputs)
        Its original output, less a fixed bias.
    upper : ndarray of shape (n_rows, n_outputs) or None
        None stands for zero.
    active : ndarray of shape (n_rows, n_outputs) or None
        None stands for where Y is positive.
    activation : {"relu", "linear"}
    groups : int
        See `nettrim.models.layer_view.Affine`.
    output_norm, largest : float
        Frobenius norm of the original output, and the largest entry of ``Y``, to which a tolerance
        on ``upper`` refers; where ``Y`` is zero, that of ``upper``.
    follower : Shifted or None
        A smooth activation behind a linear layer, or a ReLU taken for one, of signals less a fixed
        bias, for methods that take notice of it. Then ``Y`` is what comes in front of it.
    row_weights : ndarray of shape (n_rows, n_outputs) or None
        How much the square of an error counts, for the same; None for all alike.
    """

    X: Array
    Y: Array
    upper: Array | None
    active: NDArray[np.bool_] | None
    activation: str
    groups: int
    output_norm: float
    largest: float
    follower: Shifted | None = None
    row_weights: Array | None = None

    @classmethod
    def of(
        cls, layer: LayerView, rows: Array, Y: Array, upper: Array | None = None
    ) -> LayerProgram:
        """Pose a layer's program: outputs Y from some rows; a fixed bias changes sides."""
        norm, active = frobenius_norm(Y), None
        offset = layer.affine.offset
        if offset.any():
            if layer.activation == "relu":
                active = Y > 0
                upper = np.broadcast_to(-offset, Y.shape) if upper is None else upper - offset
            Y = Y - offset if active is None else np.where(active, Y - offset, 0.0)
        return cls(
            X=layer.affine.inputs(rows),
            Y=Y,
            upper=upper,
            active=active,
            activation=layer.activation,
            groups=layer.affine.groups,
            output_norm=norm,
            largest=_largest(Y) or _largest(upper),
        )

    def count_active_rows(self, original: Array) -> int:
        """Count the different rows on which an output is active, the median over all outputs."""
        first = {hash(row.tobytes()): number for number, row in enumerate(original)}
        different = np.fromiter(first.values(), np.intp)
        if self.activation == "linear":
            return len(different)
        active = self.Y > 0 if self.active is None else self.active
        return int(np.median(np.count_nonzero(active[different], axis=0)))


def _largest(array: Array | None) -> float:
    return 0.0 if array is None else float(np.abs(array).max())
