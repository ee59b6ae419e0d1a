"""Dense layers that several nodes of an ONNX graph compute, of one constant matrix."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ....base.arrays import Array
from .graph import OnnxGraph, Values
from .layers import OnnxLayer

__all__ = ["group_calls", "side_by_side"]


def group_calls(graph: OnnxGraph, found: Sequence[OnnxLayer]) -> list[list[OnnxLayer]]:
    """Return the calls of each layer that can be pruned, in the order of the first ones.

    Parameters
    ----------
    graph : OnnxGraph
    found : sequence of OnnxLayer
        Those that data meet. A layer some calls of which meet constants alone cannot be pruned.
    """
    groups: dict[str, list[OnnxLayer]] = {}
    for layer in found:
        if not layer.weights.shared:
            groups.setdefault(layer.weights.name, []).append(layer)
    return [calls for name, calls in groups.items() if len(calls) == len(graph.final_readers(name))]


def side_by_side(met: Sequence[Values]) -> Array:
    """Return what arrives at all calls of a layer, sample by sample; float64."""
    if len(met) == 1:
        return met[0].astype(np.float64)
    rows = [values.reshape(len(values), -1, values.shape[-1]) for values in met]
    return np.concatenate(rows, axis=1, dtype=np.float64)
