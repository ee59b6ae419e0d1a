"""Operators that make units, or take them in: products with constants, embeddings."""

from __future__ import annotations

import math

import numpy as np
import onnx

from .....units.couplings import UnitAxis
from .....units.unit_map import FIXED, Units
from ...graph import Stored, attributes, has_input
from ..places import UnitPlaces
from ..sites import Site
from .entries import follow_product
from .moves import called

__all__ = [
    "follow_convolution",
    "follow_dense",
    "follow_embedding",
    "follow_normalisation",
    "follow_transposed",
]


def follow_dense(places: UnitPlaces, node: onnx.NodeProto) -> bool:
    """Follow units through a product with a constant matrix, or of two signals."""
    layer = places.layers.get(node.output[0])
    if layer is None:
        return node.op_type == "MatMul" and follow_product(places, node)
    n_features, n_outputs = layer.weights.shape
    features = _read(places, node, len(places.shape(node.input[0])) - 1, n_features)
    outputs = places.make(n_outputs, layer.name)
    features = _say_layer(places, layer.name, features, features, outputs)
    uses = places.positions(node.output[0], n_outputs)
    places.cut(node, 1, {0: features, 1: outputs}, uses, seen=layer.weights)
    if node.op_type == "Gemm":
        _cut_last(places, node, 2, outputs)
    places.put_written(node.output[0], len(places.shape(node.output[0])) - 1, outputs)
    return True


def follow_convolution(places: UnitPlaces, node: onnx.NodeProto) -> bool:
    """Follow channels through a convolution, of all of them or of each."""
    weights = places.graph.stored_input(node, 1)
    if weights is None or (has_input(node, 2) and places.graph.stored_input(node, 2) is None):
        return False
    n_outputs, n_inputs, *kernel = weights.shape
    groups = attributes(node).get("group", 1)
    if groups > n_inputs == 1:
        return _depthwise(places, node, weights, groups)
    layer = places.layers.get(node.output[0])
    name = called(node) if layer is None else layer.name
    channels = _read(places, node, 1, n_inputs * groups)
    outputs = places.make(n_outputs, name)
    if groups > 1:
        places.couplings.fix(channels, f"{name} reads them in groups")
        places.couplings.fix(outputs, "they are made in groups")
    channels = channels[:n_inputs]
    features = np.repeat(channels, math.prod(kernel))
    channels = _say_layer(places, name, features, channels, outputs)
    uses = places.positions(node.output[0], n_outputs)
    places.cut(node, 1, {0: outputs, 1: channels}, uses)
    _cut_last(places, node, 2, outputs)
    places.put_written(node.output[0], 1, outputs)
    return True


def _depthwise(places: UnitPlaces, node: onnx.NodeProto, weights: Stored, groups: int) -> bool:
    """Follow channels through a convolution that makes a few of each, or one."""
    at = places.at(node.input[0])
    if at is None:
        return True
    if at.axis != 1:
        return False
    outputs = np.repeat(at.units, weights.shape[0] // groups)
    layer = places.layers.get(node.output[0])
    if layer is not None and layer.name in places.prunable:
        features = np.full(math.prod(weights.shape[1:]), FIXED)
        places.couplings.layer(layer.name, features, outputs)
    places.cut(node, 1, {0: outputs}, places.positions(node.output[0], len(outputs)))
    _cut_last(places, node, 2, outputs)
    places.count(Site(node.output[0], "group"), at.units)
    places.put(node.output[0], UnitAxis(1, outputs))
    return True


def follow_transposed(places: UnitPlaces, node: onnx.NodeProto) -> bool:
    """Follow channels through a ConvTranspose, which is no prunable layer: what it reads stays."""
    weights, bias = places.graph.stored_input(node, 1), places.graph.stored_input(node, 2)
    if weights is None or (has_input(node, 2) and bias is None):
        return False
    groups = attributes(node).get("group", 1)
    if groups > 1:
        n_outputs = weights.shape[1]
        if weights.shape[0] != groups or n_outputs != 1:
            return False
        return _depthwise(places, node, weights, groups)
    outputs = places.make(weights.shape[1], called(node))
    places.fix(node.input[0], f"{called(node)} reads them, which cannot be pruned")
    places.cut(node, 1, {1: outputs}, places.positions(node.input[0], weights.shape[0]))
    _cut_last(places, node, 2, outputs)
    places.put_written(node.output[0], 1, outputs)
    return True


def follow_normalisation(places: UnitPlaces, node: onnx.NodeProto) -> bool:
    """Follow channels through a normalisation of each on its own."""
    constants = [places.graph.stored_input(node, k) for k in range(1, len(node.input))]
    at = places.at(node.input[0])
    if at is None:
        return not any(places.place(name) for name in node.input)
    if at.axis != 1 or attributes(node).get("training_mode", 0):
        return False
    if any(stored is None for stored in constants):
        return False
    for position in range(1, len(node.input)):
        _cut_last(places, node, position, at.units)
    places.put(node.output[0], at)
    return True


def follow_embedding(places: UnitPlaces, node: onnx.NodeProto, table: Stored) -> None:
    """Say what units the rows of a table give."""
    outputs = places.make(table.shape[1], called(node))
    places.cut(node, 0, {1: outputs})
    places.put_written(node.output[0], len(places.shape(node.output[0])) - 1, outputs)


def _read(places: UnitPlaces, node: onnx.NodeProto, axis: int, size: int) -> Units:
    """Return the units along the axis of a layer's inputs; on another one they have to stay."""
    at = places.at(node.input[0])
    if at is not None and at.axis == axis and len(at.units) == size:
        return at.units
    places.fix(node.input[0], "a layer takes them for positions")
    return np.full(size, FIXED)


def _say_layer(
    places: UnitPlaces, name: str, features: Units, read: Units, outputs: Units
) -> Units:
    """Say what a layer reads and writes; return what it reads along an axis of its weights."""
    if name in places.prunable:
        places.couplings.layer(name, features, outputs)
        return read
    places.couplings.fix(read, f"{name} reads them, which cannot be pruned")
    return np.full(len(read), FIXED)


def _cut_last(places: UnitPlaces, node: onnx.NodeProto, position: int, units: Units) -> None:
    """Say that units lie along the last axis of a constant, unless it is the same for all."""
    stored = places.graph.stored_input(node, position)
    if stored is not None and stored.shape[-1:] == (len(units),):
        places.cut(node, position, {len(stored.shape) - 1: units})
