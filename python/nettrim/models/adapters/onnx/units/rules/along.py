"""Operators that take what lies along an axis together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

import onnx

from ...graph import attributes
from ..places import UnitPlaces
from .moves import others, told_axes

__all__ = [
    "Rule",
    "follow_argument",
    "follow_positions",
    "follow_reduction",
    "follow_softmax",
    "from_axis",
    "takes_together",
]

Rule: TypeAlias = "Callable[[UnitPlaces, onnx.NodeProto], bool]"


def takes_together(axes: Callable[[onnx.NodeProto, int], Sequence[int]]) -> Rule:
    """Return the rule of an operator that takes all entries along some axes together."""

    def rule(places: UnitPlaces, node: onnx.NodeProto) -> bool:
        at, n_axes = places.at(node.input[0]), len(places.shape(node.input[0]))
        if at is not None and at.axis in [axis % n_axes for axis in axes(node, n_axes)]:
            places.fix(node.input[0], f"{node.op_type} takes all of them together")
        else:
            places.put(node.output[0], at)
        return not any(places.place(name) for name in node.input[1:])

    return rule


def follow_softmax(places: UnitPlaces, node: onnx.NodeProto) -> bool:
    """Let units stay along which a softmax is taken, by the words of a version."""
    if places.opset >= 13:
        return takes_together(lambda node, _: [attributes(node).get("axis", -1)])(places, node)
    return takes_together(from_axis(1))(places, node)  # the oldest take all axes from there on


def from_axis(default: int) -> Callable[[onnx.NodeProto, int], Sequence[int]]:
    """Return the axes from one on, by the name that operators have for it."""
    return lambda node, n_axes: range(attributes(node).get("axis", default) % n_axes, n_axes)


def follow_positions(places: UnitPlaces, node: onnx.NodeProto) -> bool:
    """Follow channels through an operation on positions of each on its own."""
    at = places.at(node.input[0])
    places.put(node.output[0], at)
    placed = any(places.place(name) for name in node.input[1:])
    numbers_channels = len(node.output) > 1 and node.output[1] in places.graph.readers
    return not placed and (at is None or (at.axis <= 1 and not numbers_channels))


def follow_reduction(places: UnitPlaces, node: onnx.NodeProto) -> bool:
    """Follow units through a sum, a mean or the like, along other axes."""
    at = places.at(node.input[0])
    if at is None:
        return True
    shape, options = places.shape(node.input[0]), attributes(node)
    axes = told_axes(places, node)
    if axes is None:
        return False
    if not len(axes):
        axes = [] if options.get("noop_with_empty_axes", 0) else range(len(shape))
    gone = {axis % len(shape) for axis in axes}
    if at.axis in gone:
        places.fix(node.input[0], f"{node.op_type} takes all of them together")
    elif options.get("keepdims", 1):
        places.put(node.output[0], at)
    else:
        places.put(node.output[0], at.permuted(others(len(shape), gone)))
    return True


def follow_argument(places: UnitPlaces, node: onnx.NodeProto) -> bool:
    """Follow units through ArgMax and the like, which say where along an axis."""
    shape, options = places.shape(node.input[0]), attributes(node)
    at, axis = places.at(node.input[0]), options.get("axis", 0) % len(shape)
    if at is not None and at.axis == axis:
        places.fix(node.input[0], f"{node.op_type} takes all of them together")
    elif at is not None:
        kept = range(len(shape)) if options.get("keepdims", 1) else others(len(shape), {axis})
        places.put(node.output[0], at.permuted(kept))
    return True
