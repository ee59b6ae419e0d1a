"""Operators that work entry by entry, on one tensor or several, and products of two."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import onnx

from .....units.couplings import UnitAxis
from .moves import called

if TYPE_CHECKING:
    from ..walk import UnitWalk

__all__ = ["follow_entries", "follow_operands", "follow_product", "tie_operands"]

Shape = tuple[int, ...]


def follow_entries(walk: UnitWalk, node: onnx.NodeProto) -> bool:
    """Follow units through an operation on the entries of one tensor."""
    for output in node.output:
        walk.put(output, walk.place(node.input[0]))
    return not any(walk.place(name) for name in node.input[1:])


def follow_operands(walk: UnitWalk, node: onnx.NodeProto) -> bool:
    """Follow units through an operation on the entries of several tensors."""
    names = [name for name in node.input if name]
    walk.put(node.output[0], tie_operands(walk, names, [walk.shape(name) for name in names]))
    return True


def tie_operands(walk: UnitWalk, names: Sequence[str], shapes: Sequence[Shape]) -> UnitAxis | None:
    """Tie units that meet, by NumPy's rules for shapes; constants are cut with them."""
    n_axes = max(map(len, shapes))
    operands = [(walk.at(name), shape) for name, shape in zip(names, shapes, strict=True)]
    behind = {n_axes - len(shape) + at.axis: at.units for at, shape in operands if at is not None}
    for number, (name, shape) in enumerate(zip(names, shapes, strict=True)):
        stored = walk.graph.stored.get(name)
        for axis, units in behind.items():
            own = axis - n_axes + len(shape)
            if stored is not None and len(behind) == 1 and own >= 0 and shape[own] == len(units):
                walk.cut(stored, {own: units})
                operands[number] = (UnitAxis(own, units), shape)
    return walk.couplings.combine(operands)


def follow_product(walk: UnitWalk, node: onnx.NodeProto) -> bool:
    """Follow units through a product of two tensors, as of attention: heads lie side by side."""
    shapes = [walk.shape(name) for name in node.input]
    if min(map(len, shapes)) < 2:
        return False
    n_axes = len(walk.shape(node.output[0]))
    ends = [(walk.at(name), shape) for name, shape in zip(node.input, shapes, strict=True)]
    free = [at is not None and at.axis == len(shape) - 2 + k for k, (at, shape) in enumerate(ends)]
    summed = [
        at is not None and at.axis == len(shape) - 1 - k for k, (at, shape) in enumerate(ends)
    ]
    if any(summed) or (any(free) and all(at is not None for at, _ in ends)):
        for name in node.input:
            walk.fix(name, f"{called(node)} adds up products of them")
        return True
    if any(free):
        (at,) = (at for at, _ in ends if at is not None)
        walk.put(node.output[0], at._replace(axis=n_axes - 2 + free.index(True)))
        return True
    batches = [(*shape[:-2], 1, 1) for shape in shapes]
    walk.put(node.output[0], tie_operands(walk, node.input, batches))
    return True
