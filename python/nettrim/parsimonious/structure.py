"""Which units and sections of a module can be taken out, and where they get gates.

Units are those of `nettrim.models.units`: outputs of layers, channels, heads, those that are added
together as one. A unit is closed in front of every layer that reads it. A section is the nonlinear
branch of a residual sum.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import fx, nn

from ..models.adapters.torch.graph import TorchGraph
from ..models.adapters.torch.inputs import ForwardSignature
from ..models.adapters.torch.layers import LAYERS, prunable_modules
from ..models.adapters.torch.outputs import named_tensors
from ..models.adapters.torch.units.places import place_of
from ..models.adapters.torch.units.walk import FoundUnits, find_units
from ..models.units.unit_map import (
    FIXED,
    CutTensor,
    LayerUnits,
    UnitMap,
    Units,
    UnitSignal,
    owner_of,
)

__all__ = [
    "INPUTS",
    "GateSite",
    "Section",
    "Structure",
    "UnitGroup",
    "input_axis",
    "reached",
    "trace",
    "walk",
]

Mask = NDArray[np.bool_]

INPUTS = "inputs"
SUMS = (operator.add, operator.iadd, torch.add, "add", "add_")
ASTRAY = "its samples do not come one after another"
OFTEN = "it is called more than once"


class GateSite(NamedTuple):
    """Where a layer reads units.

    Attributes
    ----------
    call : torch.fx.Node
        Of the layer.
    axis : int
        Of what it is called on.
    units : ndarray
        The unit at each place along that axis, counted from 0 in their group; `FIXED` for others.
    """

    call: fx.Node
    axis: int
    units: Units


@dataclass(frozen=True)
class UnitGroup:
    """Units side by side, of which each can go: those of one signal.

    Attributes
    ----------
    numbers : ndarray
        Their numbers in the map of all units.
    sites : tuple of GateSite
    """

    numbers: Units
    sites: tuple[GateSite, ...]

    @property
    def count(self) -> int:
        """How many units there are."""
        return len(self.numbers)


@dataclass(frozen=True)
class Section:
    """A branch that is added to what passes by it.

    Attributes
    ----------
    site : torch.fx.Node
        Its value, one operand of the sum.
    modules : tuple of str
        In the order of their calls; the last one gives the value, perhaps through an activation.
    """

    site: fx.Node
    modules: tuple[str, ...]


class Structure:
    """What gates can be put on, by name; units are called like a layer that writes them.

    Parameters
    ----------
    graph : TorchGraph
        See `trace`.
    units : UnitMap
        See `walk`.
    sections : bool
        Whether to look for sections.

    Attributes
    ----------
    graph : TorchGraph
    map : UnitMap
    units : dict of str to UnitGroup
    sections : dict of str to Section
    weights : tuple of CutTensor
        Those of all linear layers and convolutions, gated or not.
    dropouts : list of torch.nn.Module
        In the graph only: they stand for calls of a function, which tracing holds to one mode.
    """

    def __init__(self, graph: TorchGraph, units: UnitMap, *, sections: bool) -> None:
        self.graph = graph
        self.dropouts = [m for m in graph.modules.values() if isinstance(m, ThisDropout)]
        self.map = units
        sites = [site for layer in units.layers if (site := _find_site(graph, layer)) is not None]
        self.units = {name: _group(numbers, sites) for name, numbers in units.signals}
        self.sections = dict(_find_sections(graph)) if sections else {}
        self.weights = tuple(tensor for tensor in units.tensors if tensor.uses)

    def sections_of(self, tensor: CutTensor) -> list[str]:
        """Return the sections that a tensor of the model lies in."""
        owner = owner_of(tensor.name)
        return [name for name, section in self.sections.items() if owner in section.modules]

    def spread(self, values: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Return the values of all units of the map from those of each group, and 1 for `FIXED`."""
        numbers = [np.zeros(0, np.intp), *(group.numbers for group in self.units.values())]
        every = torch.cat([values[name] for name in self.units] or [torch.ones(0)])
        return torch.cat([every[np.argsort(np.concatenate(numbers))], every.new_ones(1)])

    def by_group(self, kept: Mask) -> dict[str, torch.Tensor]:
        """Return which units of each group are kept, from those of the map."""
        return {name: torch.from_numpy(kept[own.numbers]) for name, own in self.units.items()}

    def in_map(self, kept: Mapping[str, torch.Tensor]) -> Mask:
        """Return which units of the map are kept, from those of each group."""
        mask: Mask = self.spread(kept)[:-1].cpu().numpy()
        return mask


class ThisDropout(nn.Dropout):
    """Stands in a graph for a call of the function."""


def trace(model: nn.Module, example: torch.Tensor) -> TorchGraph:
    """Return the calls of a module in evaluation mode.

    Raises
    ------
    ValueError
        If torch.fx cannot follow the module's code.
    """
    graph = TorchGraph.of(model)
    if graph is not None:
        _turn_into_modules(graph)
        with torch.no_grad():
            given = {ForwardSignature.of(model).names[0]: example}
            if graph.confirm(given, named_tensors(model(example))):
                return graph
    raise ValueError(
        "model cannot be traced by torch.fx (data-dependent code, or tensors overwritten before "
        "they are used): write it without, or gate the parts that can"
    )


def walk(graph: TorchGraph, model: nn.Module, example: torch.Tensor, *, inputs: bool) -> FoundUnits:
    """Follow the units of a module that gates can be put on; with ``inputs`` what comes into it."""
    movable, computed = prunable_modules(model)
    calls = [graph.layer(node) for node in graph.traced.graph.nodes]
    often = {name: OFTEN for name in movable if calls.count(name) > 1}
    layers = {**dict.fromkeys(movable), **computed, **often}
    name = str(_inputs(graph).target)
    gated = {name: (INPUTS, input_axis(graph))} if inputs else {}
    found = find_units(graph, {name: example}, len(example), model, layers, gated)
    lost = [u.features for u in found.units.layers if _find_site(graph, u) is None]
    astray = np.concatenate([np.zeros(0, np.intp), *lost])
    units = found.units.without(astray[astray != FIXED], ASTRAY)
    return found._replace(units=replace(units, signals=(*_with_own_names(units, graph),)))


def _with_own_names(units: UnitMap, graph: TorchGraph) -> Iterator[UnitSignal]:
    """Yield signals called like layers that no section is called like."""
    taken = {name for name, _ in _find_sections(graph)}
    for signal in units.signals:
        writers = [u.layer for u in units.layers if np.isin(signal.units, u.outputs).any()]
        names = [name for name in (signal.name, *writers) if name not in taken]
        yield signal._replace(name=names[0])


def input_axis(graph: TorchGraph) -> int:
    """Return the axis of a module's inputs along which features lie, or channels."""
    given = _inputs(graph)
    is_convolved = any(issubclass(_class_of(graph.kind(user)), LAYERS[1:]) for user in given.users)
    return 1 if is_convolved else len(graph.shapes[given]) - 1


def _inputs(graph: TorchGraph) -> fx.Node:
    nodes: Iterable[fx.Node] = graph.traced.graph.nodes
    return next(node for node in nodes if node.op == "placeholder")


def _find_site(graph: TorchGraph, layer: LayerUnits) -> GateSite | None:
    """Return where a layer reads units; None if samples do not come one after another there."""
    calls = graph.calls(layer.layer)
    shape = graph.shapes.get(calls[0].all_input_nodes[0], ()) if len(calls) == 1 else ()
    module: Any = graph.modules.get(layer.layer)
    kernel = getattr(module, "kernel_size", ())
    axis = len(shape) - 1 - len(kernel)
    n_samples = graph.shapes[_inputs(graph)][0]
    if axis < 1 or shape[0] != n_samples:
        return None
    channels = layer.features[:: math.prod(kernel)]
    return GateSite(calls[0], axis, np.tile(channels, getattr(module, "groups", 1)))


def _group(numbers: Units, sites: Iterable[GateSite]) -> UnitGroup:
    """Return units as a group, with those of some sites where it has gates."""
    own = []
    for site in sites:
        place = np.searchsorted(numbers, site.units).clip(max=len(numbers) - 1)
        units = np.where(numbers[place] == site.units, place, FIXED)
        if (units != FIXED).any():
            own.append(site._replace(units=units))
    return UnitGroup(numbers, tuple(own))


def _find_sections(graph: TorchGraph) -> Iterator[tuple[str, Section]]:
    """Yield the nonlinear branches of sums, each called like its last layer."""
    for node in graph.traced.graph.nodes:
        if graph.kind(node) not in SUMS or len(node.all_input_nodes) != 2:
            continue
        one, other = node.all_input_nodes
        shapes = {graph.shapes.get(part, ()) for part in (one, other, node)}
        if len(shapes) > 1 or len(shapes.pop()) < 2:
            continue
        branches = (_branch(graph, one, other), _branch(graph, other, one))
        found = [section for section in branches if section is not None]
        if len(found) == 1:
            yield next(m for m in reversed(found[0].modules) if _is_layer(graph, m)), found[0]


def _branch(graph: TorchGraph, end: fx.Node, beside: fx.Node) -> Section | None:
    """Return the branch that ends at a node and begins beside another one."""
    nodes = graph.traced.graph.nodes
    names = [str(node.target) for node in nodes if node.op == "call_module"]
    inside = (_origins(end) | {end}) - _origins(beside) - {beside}
    modules = [str(node.target) for node in nodes if node in inside and node.op == "call_module"]
    closed = all(node == end or inside.issuperset(node.users) for node in inside)
    simple = all(names.count(name) == 1 for name in modules) and len(end.users) == 1
    nonlinear = sum(_is_layer(graph, name) for name in modules) > 1
    if not (inside and closed and simple and nonlinear):
        return None
    if any(node.op in ("placeholder", "get_attr") for node in inside):
        return None
    return Section(end, tuple(modules))


def _is_layer(graph: TorchGraph, name: str) -> bool:
    return place_of(graph.modules[name]) is not None


def _turn_into_modules(graph: TorchGraph) -> None:
    """Turn calls of F.dropout into modules in evaluation mode."""
    traced = graph.traced
    for node in list(traced.graph.nodes):
        if node.target is not F.dropout:
            continue
        rate = node.args[1] if len(node.args) > 1 else node.kwargs.get("p", 0.5)
        target = f"{node.name}_of_gates"
        traced.add_submodule(target, ThisDropout(rate).eval())
        with traced.graph.inserting_after(node):
            replacement = traced.graph.call_module(target, (node.args[0],))
        node.replace_all_uses_with(replacement)
        traced.graph.erase_node(node)
    traced.recompile()
    graph.modules = dict(traced.named_modules())


def reached(
    nodes: Iterable[fx.Node], onward: Callable[[fx.Node], Iterable[fx.Node]]
) -> frozenset[fx.Node]:
    """Return all nodes that steps from some lead to: to what they use, or to what uses them."""
    found: set[fx.Node] = set()
    ends = [end for node in nodes for end in onward(node)]
    while ends:
        at = ends.pop()
        if at not in found:
            found.add(at)
            ends += onward(at)
    return frozenset(found)


def _origins(node: fx.Node) -> frozenset[fx.Node]:
    """Return all that a node depends on."""
    return reached([node], lambda at: at.all_input_nodes)


def _class_of(kind: Any) -> type:
    return kind if isinstance(kind, type) else object
