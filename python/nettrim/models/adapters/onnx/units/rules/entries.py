"""Operators that work entry by entry, on one tensor or several, and products of two."""

from __future__ import annotations

from collections.abc import Mapping

import onnx

from .....units.couplings import UnitAxis
from ..places import UnitPlaces
from .moves import called

__all__ = ["follow_entries", "follow_operands", "follow_product", "tie_operands"]

Shape = tuple[int, ...]


def follow_entries(places: UnitPlaces, node: onnx.NodeProto) -> bool:
    """Follow units through an operation on the entries of one tensor."""
    for output in node.output:
        places.put(output, places.place(node.input[0]))
    return not any(places.place(name) for name in node.input[1:])


def follow_operands(places: UnitPlaces, node: onnx.NodeProto) -> bool:
    """Follow units through an operation on the entries of several tensors."""
    shapes = {k: places.shape(name) for k, name in enumerate(node.input) if name}
    places.put(node.output[0], tie_operands(places, node, shapes))
    return True


def tie_operands(
    places: UnitPlaces, node: onnx.NodeProto, shapes: Mapping[int, Shape]
) -> UnitAxis | None:
    """Tie units that meet, by NumPy's rules for shapes; constants are cut with them.

    Shapes are those of inputs, by position, with 1 for axes along which they do not meet.
    """
    n_axes = max(map(len, shapes.values()))
    axes = {position: places.at(node.input[position]) for position in shapes}
    known = {
        at.axis + n_axes - len(shapes[position]): at.units
        for position, at in axes.items()
        if at is not None
    }
    if len(known) == 1:
        ((axis, units),) = known.items()
        for position, shape in shapes.items():
            own = axis - n_axes + len(shape)
            is_constant = node.input[position] in places.graph.stored
            if is_constant and own >= 0 and shape[own] == len(units):
                places.cut(node, position, {own: units})
                axes[position] = UnitAxis(own, units)
    return places.couplings.combine((at, shapes[position]) for position, at in axes.items())


def follow_product(places: UnitPlaces, node: onnx.NodeProto) -> bool:
    """Follow units through a product of two tensors, as of attention: heads lie side by side."""
    shapes = [places.shape(name) for name in node.input]
    if min(map(len, shapes)) < 2:
        return False
    n_axes = len(places.shape(node.output[0]))
    ends = [(places.at(name), shape) for name, shape in zip(node.input, shapes, strict=True)]
    free = [at is not None and at.axis == len(shape) - 2 + k for k, (at, shape) in enumerate(ends)]
    summed = [
        at is not None and at.axis == len(shape) - 1 - k for k, (at, shape) in enumerate(ends)
    ]
    if any(summed) or (any(free) and all(at is not None for at, _ in ends)):
        for name in node.input:
            places.fix(name, f"{called(node)} adds up products of them")
        return True
    if any(free):
        (at,) = (at for at, _ in ends if at is not None)
        places.put(node.output[0], at._replace(axis=n_axes - 2 + free.index(True)))
        return True
    batches = {k: (*shape[:-2], 1, 1) for k, shape in enumerate(shapes)}
    places.put(node.output[0], tie_operands(places, node, batches))
    return True
