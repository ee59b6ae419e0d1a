"""What rules say of axes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import onnx

from ...graph import attributes, has_input
from ..places import UnitPlaces
from ..spread import Spread

__all__ = ["called", "move_axes", "others", "told_axes"]


def called(node: onnx.NodeProto) -> str:
    """Return what a node is called in reasons."""
    return node.name or node.output[0]


def told_axes(places: UnitPlaces, node: onnx.NodeProto) -> Sequence[int] | None:
    """Return the axes that an operator is told, empty if none; None if they are not constant."""
    if has_input(node, 1):
        given = places.graph.constant(node, 1)
        return None if given is None else [int(axis) for axis in given.reshape(-1)]
    told: Sequence[int] = attributes(node).get("axes", [])
    return told


def others(n_axes: int, gone: set[int]) -> list[int]:
    """Return the axes that are left."""
    return [axis for axis in range(n_axes) if axis not in gone]


def move_axes(places: UnitPlaces, node: onnx.NodeProto, axes: Mapping[int, int]) -> bool:
    """Follow units when axes go elsewhere; those that are missing are no more."""
    place = places.place(node.input[0])
    if isinstance(place, Spread):
        places.put(node.output[0], place.moved(axes))
    elif place is not None and place.axis in axes:
        places.put(node.output[0], place._replace(axis=axes[place.axis]))
    else:
        return place is None
    return True
