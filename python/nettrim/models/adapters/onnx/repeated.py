"""Layers that several nodes of an ONNX graph compute, of one constant matrix or kernel."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from ....base.arrays import Array, spectral_norm
from ...layer_view import Affine, LayerView, rows_of_features
from ...network import Conv1D, Conv2D, Dense
from .graph import OnnxGraph, Values
from .layers import OnnxLayer

__all__ = ["group_calls", "group_view", "overlap", "side_by_side"]


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


def group_view(calls: Sequence[OnnxLayer]) -> LayerView:
    """Return what `nettrim.trim` needs to know of a layer that meets what `side_by_side` returns.

    A convolution that is called more than once meets patches, so that inputs may be of any sizes.
    """
    layer = calls[0]
    if len(calls) == 1 or isinstance(layer.step, Dense):
        return layer.view
    return replace(layer.view, lipschitz=_largest_norm, unfold=rows_of_features, unfold_some=None)


def _largest_norm(affine: Affine, _: tuple[int, ...]) -> float:
    """Return a Lipschitz constant on rows: the largest norm of a group's matrix."""
    return max(map(spectral_norm, np.split(affine.weights, affine.groups, axis=1)))


def side_by_side(calls: Sequence[OnnxLayer], met: Sequence[Values]) -> Array:
    """Return what arrives at all calls of a layer, sample by sample; float64.

    Of a convolution that is called more than once its patches.
    """
    if len(met) == 1:
        return met[0].astype(np.float64)
    rows = [_rows(call, values) for call, values in zip(calls, met, strict=True)]
    return np.concatenate(rows, axis=1, dtype=np.float64)


def _rows(call: OnnxLayer, values: Values) -> Values:
    if isinstance(call.step, Dense):
        return values.reshape(len(values), -1, values.shape[-1])
    patches = call.step.unfold(values)
    return patches.reshape(len(values), -1, patches.shape[-1])


def overlap(calls: Sequence[OnnxLayer], call: OnnxLayer, shape: tuple[int, ...]) -> float:
    """Return by how much rows of a call move with its input, of some shape: copies count."""
    if len(calls) == 1 or not isinstance(call.step, Conv1D | Conv2D):
        return 1.0
    return math.sqrt(call.step.window(shape).overlap)
