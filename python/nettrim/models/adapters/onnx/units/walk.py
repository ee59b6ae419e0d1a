"""A walk through an ONNX graph that follows units from node to node."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import onnx

from ..graph import STANDARD, OnnxGraph, Values, is_standard, reads
from ..layers import OnnxLayer
from ..session import Probe
from .places import UnitPlaces
from .rules import RULES

__all__ = ["follow_units", "list_bounds"]


def follow_units(
    graph: OnnxGraph,
    layers: Sequence[OnnxLayer],
    prunable: set[str],
    probe: Probe,
    bounds: Mapping[str, Values],
) -> UnitPlaces:
    """Follow the units of all layers through a graph; arguments are those of `UnitPlaces`."""
    places = UnitPlaces(graph, layers, prunable, probe, bounds)
    for node in graph.nodes:
        _follow(places, node)
    places.close()
    return places


def _follow(places: UnitPlaces, node: onnx.NodeProto) -> None:
    """Say what a node does with the units that it reads."""
    rule = RULES.get(node.op_type) if node.domain in STANDARD else None
    known = all(places.is_known(name) for name in (*node.input, *node.output) if name)
    if rule is not None and known and rule(places, node):
        return
    for name in reads(node):
        places.fix(name, f"what {node.op_type} does with them is not known")


def list_bounds(graph: OnnxGraph) -> list[str]:
    """Return the tensors that say what parts are taken and are no constants."""
    names = (
        node.input[position]
        for node in graph.nodes
        if is_standard(node, "Slice")
        for position in range(1, len(node.input))
    )
    return [name for name in dict.fromkeys(names) if name and name not in graph.stored]
