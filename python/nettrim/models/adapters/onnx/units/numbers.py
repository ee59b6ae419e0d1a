"""Where the numbers in shapes come from that an ONNX graph computes.

A shape may be one constant, or be put together from constants and the shapes of other tensors. A
number that follows from the shape of a tensor with units becomes smaller on its own; a constant has
to be replaced.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import onnx

from ....units.unit_map import Units
from ..graph import attributes, is_standard
from .places import UnitPlaces
from .sites import Site

__all__ = ["count_entry", "find_number"]

# Operators that leave the order of numbers as it is, and the input that these come from. PyTorch
# puts 1 in the place of -1 by a Where.
IN_ORDER = {
    **dict.fromkeys(["Identity", "Cast", "Reshape", "Squeeze", "Unsqueeze", "Flatten"], 0),
    "Where": 2,
}
SCATTERS = 11  # the version from which on entries can be put into a tensor


class _Entry(NamedTuple):
    """An entry of what a node reads."""

    node: onnx.NodeProto
    position: int
    number: int

    @property
    def name(self) -> str:
        """Of the tensor."""
        return str(self.node.input[self.position])

    @property
    def site(self) -> Site:
        """The entry, as others call it."""
        return Site(self.node.output[0], str(self.position), self.number)


def find_number(
    places: UnitPlaces, node: onnx.NodeProto, position: int, index: int, length: int
) -> Site | None:
    """Return the number to be replaced when an entry that a node reads counts units.

    None where there is none: the entry follows from shapes, stands for what is left, or cannot be
    told where it comes from. Where others read the same shape, it is the entry itself.
    """
    found = _trace(places, node, position, index, length)
    if found is None or places.makers.get(found.output, node).op_type != "Concat":
        return found
    shared = any(len(places.graph.readers[n]) > 1 for n in (found.output, node.input[position]))
    own = Site(node.output[0], str(position), index)
    return own if shared and places.opset >= SCATTERS else found


def count_entry(
    places: UnitPlaces, node: onnx.NodeProto, position: int, index: int, units: Units
) -> None:
    """Say that an entry of what a node reads counts units, unless it follows from shapes."""
    site = find_number(places, node, position, index, len(units))
    if site is not None:
        places.count(site, units)


def _trace(
    places: UnitPlaces, node: onnx.NodeProto, position: int, index: int, length: int
) -> Site | None:
    """Return the constant that an entry comes from, or the computed part of a shape that it is."""
    entry = _Entry(node, position, index)
    if entry.name in places.graph.stored:
        return entry.site if _value(places, entry) == length else None
    maker = places.makers.get(entry.name)
    if maker is None:
        return None
    if is_standard(maker, *IN_ORDER):
        return _trace(places, maker, IN_ORDER[maker.op_type], index, length)
    if is_standard(maker, "Mul"):
        factors = [_Entry(maker, k, 0) for k in range(2) if maker.input[k] in places.graph.stored]
        return next((f.site for f in factors if _value(places, f) == length), None)
    if is_standard(maker, "Concat"):
        piece = _locate(places, maker, index)
        found = _trace(places, *piece, length)
        if found is not None or piece.name in places.graph.stored or _follows(places, piece):
            return found
        return piece.site if math.prod(places.shape(piece.name)) == 1 else None
    return None


def _value(places: UnitPlaces, entry: _Entry) -> int:
    return int(places.graph.stored[entry.name].value.reshape(-1)[entry.number])


def _locate(places: UnitPlaces, concat: onnx.NodeProto, index: int) -> _Entry:
    """Return the entry of a part that is an entry of the whole."""
    for position, name in enumerate(concat.input):
        length = math.prod(places.shape(name))
        if index < length:
            return _Entry(concat, position, index)
        index -= length
    raise AssertionError("a shape has no more entries than its parts")


def _follows(places: UnitPlaces, entry: _Entry) -> bool:
    """Tell whether a number follows from the shape of a tensor along its units."""
    maker = places.makers.get(entry.name)
    if maker is None:
        return False
    if is_standard(maker, *IN_ORDER):
        return _follows(places, _Entry(maker, IN_ORDER[maker.op_type], entry.number))
    if is_standard(maker, "Mul", "Div"):
        return any(_follows(places, _Entry(maker, k, 0)) for k in range(2))
    if is_standard(maker, "Concat"):
        return _follows(places, _locate(places, maker, entry.number))
    if is_standard(maker, "Gather", "Slice"):
        first = places.graph.constant(maker, 1)
        if first is None:
            return False
        length = math.prod(places.shape(maker.input[0]))
        offset = int(first.reshape(-1)[entry.number if maker.op_type == "Gather" else 0]) % length
        along = offset if maker.op_type == "Gather" else offset + entry.number
        return _follows(places, _Entry(maker, 0, along))
    if is_standard(maker, "Shape"):
        at = places.at(maker.input[0])
        first = attributes(maker).get("start", 0) % max(1, len(places.shape(maker.input[0])))
        return at is not None and at.axis == entry.number + first
    return False
