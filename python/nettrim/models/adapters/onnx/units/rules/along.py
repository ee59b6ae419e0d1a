"""Operators that take what lies along an axis together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TypeAlias

import onnx

from ...graph import attributes
from .moves import others, told_axes

if TYPE_CHECKING:
    from ..walk import UnitWalk

__all__ = [
    "Rule",
    "follow_argument",
    "follow_positions",
    "follow_reduction",
    "follow_softmax",
    "from_axis",
    "takes_together",
]

Rule: TypeAlias = "Callable[[UnitWalk, onnx.NodeProto], bool]"


def takes_together(axes: Callable[[onnx.NodeProto, int], Sequence[int]]) -> Rule:
    """Return the rule of an operator that takes all entries along some axes together."""

    def rule(walk: UnitWalk, node: onnx.NodeProto) -> bool:
        at, n_axes = walk.at(node.input[0]), len(walk.shape(node.input[0]))
        if at is not None and at.axis in [axis % n_axes for axis in axes(node, n_axes)]:
            walk.fix(node.input[0], f"{node.op_type} takes all of them together")
        else:
            walk.put(node.output[0], at)
        return not any(walk.place(name) for name in node.input[1:])

    return rule


def follow_softmax(walk: UnitWalk, node: onnx.NodeProto) -> bool:
    """Let units stay along which a softmax is taken, by the words of a version."""
    if walk.opset >= 13:
        return takes_together(lambda node, _: [attributes(node).get("axis", -1)])(walk, node)
    return takes_together(from_axis(1))(walk, node)  # the oldest take all axes from there on


def from_axis(default: int) -> Callable[[onnx.NodeProto, int], Sequence[int]]:
    """Return the axes from one on, by the name that operators have for it."""
    return lambda node, n_axes: range(attributes(node).get("axis", default) % n_axes, n_axes)


def follow_positions(walk: UnitWalk, node: onnx.NodeProto) -> bool:
    """Follow channels through an operation on positions of each on its own."""
    at = walk.at(node.input[0])
    walk.put(node.output[0], at)
    places = any(walk.place(name) for name in node.input[1:])
    numbers_channels = len(node.output) > 1 and node.output[1] in walk.graph.readers
    return not places and (at is None or (at.axis <= 1 and not numbers_channels))


def follow_reduction(walk: UnitWalk, node: onnx.NodeProto) -> bool:
    """Follow units through a sum, a mean or the like, along other axes."""
    at = walk.at(node.input[0])
    if at is None:
        return True
    shape, options = walk.shape(node.input[0]), attributes(node)
    axes = told_axes(walk, node)
    if axes is None:
        return False
    if not len(axes):
        axes = [] if options.get("noop_with_empty_axes", 0) else range(len(shape))
    gone = {axis % len(shape) for axis in axes}
    if at.axis in gone:
        walk.fix(node.input[0], f"{node.op_type} takes all of them together")
    elif options.get("keepdims", 1):
        walk.put(node.output[0], at)
    else:
        walk.put(node.output[0], at.permuted(others(len(shape), gone)))
    return True


def follow_argument(walk: UnitWalk, node: onnx.NodeProto) -> bool:
    """Follow units through ArgMax and the like, which say where along an axis."""
    shape, options = walk.shape(node.input[0]), attributes(node)
    at, axis = walk.at(node.input[0]), options.get("axis", 0) % len(shape)
    if at is not None and at.axis == axis:
        walk.fix(node.input[0], f"{node.op_type} takes all of them together")
    elif at is not None:
        kept = range(len(shape)) if options.get("keepdims", 1) else others(len(shape), {axis})
        walk.put(node.output[0], at.permuted(kept))
    return True
