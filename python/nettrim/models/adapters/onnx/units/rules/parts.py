"""Operators that join tensors, or take parts of one."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import onnx

from .....units.couplings import UnitAxis
from ...graph import attributes, has_input
from ..places import UnitPlaces
from ..sites import Site
from ..spread import Spread
from .entries import tie_operands
from .layers import follow_embedding
from .moves import move_axes, others

__all__ = ["follow_concatenation", "follow_lookup", "follow_slice", "follow_split", "follow_tiles"]

Shape = tuple[int, ...]
_SLOTS = ("starts", "ends", "axes")


class _Cut(NamedTuple):
    """What a Slice takes along an axis; its number is that among all of them."""

    number: int
    axis: int
    start: int
    end: int
    step: int


def follow_lookup(places: UnitPlaces, node: onnx.NodeProto) -> bool:
    """Follow units through a Gather: an embedding makes them, others pick positions."""
    if places.place(node.input[1]):
        return False
    table, axis = places.graph.stored_input(node, 0), attributes(node).get("axis", 0)
    if table is not None:
        if len(table.shape) == 2 and axis == 0:
            follow_embedding(places, node, table)
        return True
    n_axes, n_new = len(places.shape(node.input[0])), len(places.shape(node.input[1]))
    axis %= n_axes
    moved = {k: k if k < axis else k - 1 + n_new for k in others(n_axes, {axis})}
    return move_axes(places, node, moved)


def follow_concatenation(places: UnitPlaces, node: onnx.NodeProto) -> bool:
    """Follow units through a Concat, along their own axis too."""
    shapes = [places.shape(name) for name in node.input]
    axis = attributes(node)["axis"] % len(shapes[0])
    axes = [places.at(name) for name in node.input]
    if any(at is not None and at.axis != axis for at in axes):
        around = {k: (*s[:axis], 1, *s[axis + 1 :]) for k, s in enumerate(shapes)}
        places.put(node.output[0], tie_operands(places, node, around))
    else:
        parts = list(zip(axes, shapes, strict=True))
        places.put(node.output[0], places.couplings.join(parts, axis))
    return True


def follow_split(places: UnitPlaces, node: onnx.NodeProto) -> bool:
    """Follow units through a Split, along their own axis too."""
    shape = places.shape(node.input[0])
    axis = attributes(node).get("axis", 0) % len(shape)
    place = places.place(node.input[0])
    if place is None or isinstance(place, Spread) or place.axis != axis:
        return _pick_part(places, node, axis)
    at = place
    if has_input(node, 1) and places.graph.constant(node, 1) is None:
        return False
    sizes = [places.shape(output)[axis] for output in node.output]
    parts = np.split(at.units, np.cumsum(sizes)[:-1])
    slot = "split" if places.opset < 13 else "1"
    for number, (output, units) in enumerate(zip(node.output, parts, strict=True)):
        places.count(Site(node.output[0], slot, number), units)
        places.put(output, UnitAxis(axis, units))
    return True


def _pick_part(places: UnitPlaces, node: onnx.NodeProto, *axes: int) -> bool:
    """Follow units into parts along other axes."""
    place = places.place(node.input[0])
    if isinstance(place, Spread):
        kept = others(len(places.shape(node.input[0])), set(axes))
        place = place.moved({axis: axis for axis in kept})
    for output in node.output:
        places.put(output, place)
    return True


def follow_slice(places: UnitPlaces, node: onnx.NodeProto) -> bool:
    """Follow units through a Slice, along their own axis too if it goes forwards."""
    cuts = _cuts(places, node, places.shape(node.input[0]))
    place = places.place(node.input[0])
    if place is None or cuts is None:
        return place is None
    if isinstance(place, Spread) or place.axis not in [cut.axis for cut in cuts]:
        return _pick_part(places, node, *(cut.axis for cut in cuts))
    (own,) = (cut for cut in cuts if cut.axis == place.axis)
    if own.step != 1 or own.start < 0 or own.end < 0:
        return False
    slots = _SLOTS if places.opset < 10 else ("1", "2")
    for slot, bound in zip(slots, (own.start, own.end), strict=False):
        if 0 < bound < len(place.units):
            places.count(Site(node.output[0], slot, own.number), place.units[:bound])
    places.put(node.output[0], UnitAxis(place.axis, place.units[own.start : own.end]))
    return True


def _cuts(places: UnitPlaces, node: onnx.NodeProto, shape: Shape) -> list[_Cut] | None:
    """Return what a Slice does along its axes, None if that is not known."""
    options = attributes(node)
    given = [places.bound(node, position) for position in range(1, 5)]
    if places.opset < 10:
        given = [np.array(options[key]) if key in options else None for key in _SLOTS[:3]]
    elif any(has_input(node, k) and value is None for k, value in enumerate(given, 1)):
        return None
    starts, ends, axes, steps = (*given, None)[:4]
    assert starts is not None
    assert ends is not None
    axes = np.arange(len(starts)) if axes is None else axes
    steps = np.ones(len(starts), int) if steps is None else steps
    return [
        _Cut(number, int(axis) % len(shape), int(start), int(end), int(step))
        for number, (start, end, axis, step) in enumerate(
            zip(starts, ends, axes, steps, strict=True)
        )
    ]


def follow_tiles(places: UnitPlaces, node: onnx.NodeProto) -> bool:
    """Follow units that are repeated."""
    at = places.at(node.input[0])
    if at is not None:
        times = places.shape(node.output[0])[at.axis] // len(at.units)
        places.put(node.output[0], UnitAxis(at.axis, np.tile(at.units, times)))
    return True
