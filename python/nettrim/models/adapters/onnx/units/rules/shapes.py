"""Operators that give a tensor another shape."""

from __future__ import annotations

import math

import numpy as np
import onnx

from .....units.couplings import UnitAxis
from ...graph import attributes, has_input
from ..numbers import count_entry, find_number
from ..places import UnitPlaces
from ..spread import Spread
from .moves import called, move_axes, others, told_axes

__all__ = [
    "follow_depth_to_space",
    "follow_expansion",
    "follow_reshape",
    "follow_space_to_depth",
    "follow_squeeze",
    "follow_stretch",
    "follow_transpose",
    "follow_unsqueeze",
]

Shape = tuple[int, ...]


def follow_reshape(places: UnitPlaces, node: onnx.NodeProto) -> bool:
    """Follow units through another shape; an axis of theirs may be taken apart."""
    at = places.at(node.input[0])
    if at is None:
        return True
    before, after = places.shape(node.input[0]), places.shape(node.output[0])
    spread = _take_apart(places, node, at, before, after)
    if spread is not None:
        places.take_apart(node.output[0], spread)
        return True
    moved = places.couplings.reshape(at, before, after) or _join_others(places, at, before, after)
    if moved is None or len(moved.units) == 1:
        places.fix(node.input[0], f"{called(node)} puts them in another order")
        return True
    if node.op_type == "Reshape":
        count_entry(places, node, 1, moved.axis, moved.units)
    places.put(node.output[0], moved)
    return True


def _take_apart(
    places: UnitPlaces, node: onnx.NodeProto, at: UnitAxis, before: Shape, after: Shape
) -> Spread | None:
    """Return the axes into which a Reshape takes that of units apart; None if it does not."""
    starts = [k for k in range(len(after)) if math.prod(after[:k]) == math.prod(before[: at.axis])]
    ends = [
        k for k in range(len(after)) if math.prod(after[k:]) == math.prod(before[at.axis + 1 :])
    ]
    first, last = starts[-1] if starts else 0, min([*ends, len(after)])
    parts = after[first:last]
    if sum(length > 1 for length in parts) < 2 or math.prod(parts) != len(at.units):
        return None
    axes = dict(zip(range(first, last), range(len(parts)), strict=True))
    sites = {own: find_number(places, node, 1, axis, parts[own]) for axis, own in axes.items()}
    known = {own: site for own, site in sites.items() if site is not None}
    units = at.units.reshape(parts)
    for own in axes.values():
        if (units == units.take([0], own)).all():  # as of samples or positions that were merged
            units = units.take([0], own)
    return Spread(axes, units, known, set(), set())


def _join_others(places: UnitPlaces, at: UnitAxis, before: Shape, after: Shape) -> UnitAxis | None:
    """Follow units whose axis, or the first part of it like heads, joins axes around it."""
    behind = math.prod(before[at.axis + 1 :])
    for axis, now in enumerate(after):
        tail = math.prod(after[axis + 1 :])
        if behind % tail == 0:
            rows = np.repeat(at.units, behind // tail)[:, None]
        elif tail % behind == 0 and len(at.units) % (tail // behind) == 0:
            rows = at.units.reshape(-1, tail // behind)
        else:
            continue
        if now > len(rows) > 1 and now % len(rows) == 0:
            for column in rows.T[1:]:
                places.couplings.tie(rows[:, 0], column)
            return UnitAxis(axis, np.tile(rows[:, 0], now // len(rows)))
    return None


def follow_transpose(places: UnitPlaces, node: onnx.NodeProto) -> bool:
    """Follow units when axes change places."""
    backwards = reversed(range(len(places.shape(node.input[0]))))
    order = attributes(node).get("perm", list(backwards))
    return move_axes(places, node, {old: new for new, old in enumerate(order)})


def follow_squeeze(places: UnitPlaces, node: onnx.NodeProto) -> bool:
    """Follow units when axes of one entry go."""
    axes, shape = told_axes(places, node), places.shape(node.input[0])
    if axes is None:
        return False
    gone = {axis % len(shape) for axis in axes}
    gone = gone or {axis for axis, length in enumerate(shape) if length == 1}
    return move_axes(places, node, {old: new for new, old in enumerate(others(len(shape), gone))})


def follow_unsqueeze(places: UnitPlaces, node: onnx.NodeProto) -> bool:
    """Follow units when axes of one entry come in between."""
    axes, n_axes = told_axes(places, node), len(places.shape(node.output[0]))
    if axes is None:
        return False
    return move_axes(
        places, node, dict(enumerate(others(n_axes, {axis % n_axes for axis in axes})))
    )


def follow_expansion(places: UnitPlaces, node: onnx.NodeProto) -> bool:
    """Follow units when other axes become longer."""
    at = places.at(node.input[0])
    if at is None:
        return True
    before, after = places.shape(node.input[0]), places.shape(node.output[0])
    moved = at._replace(axis=at.axis + len(after) - len(before))
    index = moved.axis - len(after) + math.prod(places.shape(node.input[1]))
    if index >= 0:
        count_entry(places, node, 1, index, moved.units)
    places.put(node.output[0], moved)
    return True


def follow_stretch(places: UnitPlaces, node: onnx.NodeProto) -> bool:
    """Follow units through Resize and Pad, along whose axis nothing changes."""
    at = places.at(node.input[0])
    if at is None:
        return True
    if places.shape(node.input[0])[at.axis] != places.shape(node.output[0])[at.axis]:
        return False
    if node.op_type == "Resize" and has_input(node, 3):
        axes = list(attributes(node).get("axes", range(len(places.shape(node.input[0])))))
        if at.axis in axes:
            count_entry(places, node, 3, axes.index(at.axis), at.units)
    places.put(node.output[0], at)
    return True


def follow_depth_to_space(places: UnitPlaces, node: onnx.NodeProto) -> bool:
    """Follow channels that become positions: those of one place go together."""
    at, options = places.at(node.input[0]), attributes(node)
    if at is None:
        return True
    if at.axis != 1:
        return False
    size = options["blocksize"] ** 2
    rows = at.units.reshape(-1, size)
    if options.get("mode", "DCR") == "DCR":
        rows = at.units.reshape(size, -1).T
    for column in rows.T[1:]:
        places.couplings.tie(rows[:, 0], column)
    places.put(node.output[0], UnitAxis(1, rows[:, 0]))
    return True


def follow_space_to_depth(places: UnitPlaces, node: onnx.NodeProto) -> bool:
    """Follow channels of which each becomes several, one for each place in a block."""
    at = places.at(node.input[0])
    if at is None:
        return True
    if at.axis != 1:
        return False
    times = attributes(node)["blocksize"] ** 2
    places.put(node.output[0], UnitAxis(1, np.tile(at.units, times)))
    return True
