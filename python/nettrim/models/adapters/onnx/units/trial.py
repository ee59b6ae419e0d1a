"""Smaller models are tried: whether they compute what the whole one does when nothing reads units.

What is known of operators says which units can go. Numbers that a graph computes, and compares or
multiplies with, are seen only in what comes out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import onnx
from numpy.typing import NDArray

from ....layer_view import Affine
from ....samples import Samples
from ....units.unit_map import UnitMap, UnitSignal
from ....units.unread import without_reading
from ..graph import OnnxGraph
from ..inputs import Inputs
from ..layers import OnnxLayer
from ..session import Session
from .cut import keep_units

__all__ = ["Trial"]

Mask: TypeAlias = NDArray[np.bool_]
ROUNDING = {np.dtype(np.float64): 1e-9, np.dtype(np.float32): 1e-5, np.dtype(np.float16): 1e-2}


class Trial:
    """A comparison of models on a few samples.

    Parameters
    ----------
    layers : sequence of OnnxLayer
        The prunable ones.
    with_weights : callable
        Returns the model with other weights of these, by position.
    inputs : Inputs
    few : Samples
    """

    def __init__(
        self,
        layers: Sequence[OnnxLayer],
        with_weights: Callable[[Mapping[int, Affine]], onnx.ModelProto],
        inputs: Inputs,
        few: Samples,
    ) -> None:
        self._layers = {layer.name: layer.affine for layer in layers}
        self._with_weights = with_weights
        self._inputs = inputs
        self._few = few

    def find_faulty(self, units: UnitMap) -> list[str]:
        """Return the signals, by name, whose first units the model cannot do without after all."""

        def search(signals: Sequence[UnitSignal]) -> list[str]:
            kept = np.ones(units.n_units, dtype=bool)
            kept[[signal.units[0] for signal in signals]] = False
            if not signals or self._can_do_without(units, kept):
                return []
            middle = len(signals) // 2
            halves = (signals[:middle], signals[middle:]) if middle else ()
            found = [name for half in halves for name in search(half)]
            return found or [signal.name for signal in signals]

        return search(units.signals)

    def _can_do_without(self, units: UnitMap, kept: Mask) -> bool:
        whole = self._with_weights(without_reading(units, kept, self._layers))
        try:
            smaller = self._run(keep_units(whole, units, kept))
        except ValueError:  # onnxruntime refuses it
            return False
        return all(map(_are_close, smaller, self._run(whole)))

    def _run(self, model: onnx.ModelProto) -> list[Any]:
        """Return all outputs of a model."""
        graph = OnnxGraph(model)
        return Session.part(graph, self._inputs, [], graph.outputs).values(
            self._few, graph.outputs, {}
        )


def _are_close(one: Any, other: Any) -> bool:
    """Tell whether two outputs are the same but for rounding, or no arrays of numbers."""
    if not isinstance(one, np.ndarray) or one.dtype.kind not in "fiub":
        return True
    if one.shape != other.shape:
        return False
    largest = float(np.abs(other[np.isfinite(other)]).max(initial=0))
    tolerance = ROUNDING.get(one.dtype, 0.0) * largest
    return bool(np.allclose(one, other, rtol=0, atol=tolerance, equal_nan=True))
