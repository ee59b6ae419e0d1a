"""What rules say of axes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import onnx

from ...graph import attributes, has_input
from ..spread import Spread

if TYPE_CHECKING:
    from ..walk import UnitWalk

__all__ = ["called", "move_axes", "others", "told_axes"]


def called(node: onnx.NodeProto) -> str:
    """Return what a node is called in reasons."""
    return node.name or node.output[0]


def told_axes(walk: UnitWalk, node: onnx.NodeProto) -> Sequence[int] | None:
    """Return the axes that an operator is told, empty if none; None if they are not constant."""
    if has_input(node, 1):
        given = walk.graph.constant(node, 1)
        return None if given is None else [int(axis) for axis in given.reshape(-1)]
    told: Sequence[int] = attributes(node).get("axes", [])
    return told


def others(n_axes: int, gone: set[int]) -> list[int]:
    """Return the axes that are left."""
    return [axis for axis in range(n_axes) if axis not in gone]


def move_axes(walk: UnitWalk, node: onnx.NodeProto, axes: Mapping[int, int]) -> bool:
    """Follow units when axes go elsewhere; those that are missing are no more."""
    place = walk.place(node.input[0])
    if isinstance(place, Spread):
        walk.put(node.output[0], place.moved(axes))
    elif place is not None and place.axis in axes:
        walk.put(node.output[0], place._replace(axis=axes[place.axis]))
    else:
        return place is None
    return True
