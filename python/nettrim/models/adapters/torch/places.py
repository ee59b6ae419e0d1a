"""Layers where they stand in a module: what follows them, and how signals depend on them."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from ....base.arrays import Array
from ....base.errors import warn_user
from ...layer_view import LayerView
from .graph import LayerTail
from .layers import OUTPUT_HEAD, find_output_heads, layer_view, read_normalisation
from .running_model import RunningModel

__all__ = ["LayerPlace", "find_places", "lipschitz_constants", "warn_of_unknown"]

TRANSFORMERS = (nn.TransformerEncoderLayer, nn.TransformerDecoderLayer)


@dataclass(frozen=True)
class LayerPlace:
    """A layer where it stands in the model.

    Attributes
    ----------
    layer : LayerView
    tail : LayerTail or None
        None where no graph shows the layer in all of its calls.
    part : str or None
        The part of the model whose graph shows it; None for that of the whole.
    norm : pair of ndarrays of shape (n_outputs,) or None
        Factors and shifts of the batch normalisation that is folded in.
    """

    layer: LayerView
    tail: LayerTail | None
    norm: tuple[Array, Array] | None
    part: str | None = None

    @property
    def in_whole(self) -> LayerTail | None:
        """What follows the layer in the graph of the whole model, if that shows it."""
        return self.tail if self.part is None else None

    @property
    def scale(self) -> Array | None:
        """The factors of the normalisation."""
        return None if self.norm is None else self.norm[0]


def find_places(running: RunningModel, relu: Collection[str]) -> list[LayerPlace]:
    """Find out what follows each layer.

    Parameters
    ----------
    running : RunningModel
    relu : collection of str
        Layers of which the user says that a ReLU follows.

    Returns
    -------
    list of LayerPlace
        In the order of the calls; before a run, as the module lists them.
    """
    heads = find_output_heads(running.module)
    places = []
    for name in running.names:
        place = _place(running, name, is_relu=name in relu)
        if name in heads:
            place = replace(place, layer=replace(place.layer, left_out=OUTPUT_HEAD))
        places.append(place)
    return _with_factors(running, places) if running.arrivals else places


def lipschitz_constants(running: RunningModel, places: list[LayerPlace]) -> list[dict[int, float]]:
    """Return by how much each signal moves with the layers in front; see `TorchGraph.lipschitz`.

    And with the layer itself and later ones, where they feed it or may do so.
    """
    names = running.names
    constants = _constants_of_graph(running, places)
    for position, place in enumerate(places):
        if place.in_whole is None and names[position] in running.repeated:
            constants[position] = dict.fromkeys(range(len(names)), math.inf)
        elif running.expanded.feeds_itself(names[position]):
            constants[position] = {**constants[position], position: math.inf}
    routed = {k for k, name in enumerate(names) if running.meets_picked_rows(name)}
    for position, known in enumerate(constants):
        met = dict.fromkeys(range(position), math.inf) if position in routed else {}
        # What is known of a layer that meets some rows does not speak of all.
        constants[position] = known | met | dict.fromkeys(routed.intersection(known), math.inf)
    return [_with_causes(constants, position) for position in range(len(constants))]


def _with_causes(constants: Sequence[dict[int, float]], position: int) -> dict[int, float]:
    """Add what moves the later layers that a signal follows: their bounds come too late for it."""
    found, later = dict(constants[position]), set[int]()
    while not later.issuperset(ahead := {k for k in found if k >= position}):
        later |= ahead
        found |= dict.fromkeys((cause for k in later for cause in constants[k]), math.inf)
    return found


def _constants_of_graph(
    running: RunningModel, places: Sequence[LayerPlace]
) -> list[dict[int, float]]:
    """Return what the graph tells of the layers in front; nothing is known without one."""
    names = running.names
    if running.graph is None:
        unknown = [dict.fromkeys(range(k), math.inf) for k in range(len(names) + 1)]
        return unknown + unknown[-1:] * (len(running.outputs) - 1)
    ends: dict[Any, tuple[int, float]] = {}
    for position, place in enumerate(places):
        if place.in_whole is None:  # some calls may be seen even so
            ends |= dict.fromkeys(running.graph.calls(place.layer.name), (position, math.inf))
        else:
            known = place.in_whole.activation == place.layer.activation
            ends |= dict.fromkeys(place.in_whole.ends, (position, 1.0 if known else math.inf))
    return running.graph.lipschitz(names, ends, running.outputs)


def warn_of_unknown(running: RunningModel, places: list[LayerPlace]) -> None:
    """Name the layers that may be followed by a ReLU, for all that is known."""
    unknown = [
        place.layer.name
        for place in places
        if place.tail is None
        and place.layer.activation != "relu"
        and not running.expanded.is_followed_inside(place.layer.name)
    ]
    if unknown:
        warn_user(
            f"model: what follows the layers {', '.join(map(repr, unknown))} is not known, as "
            "neither torch.fx nor torch.export can follow its code; they are taken for linear "
            "ones. nettrim.torch.declare(module, relu=[...]) says which of them go to a ReLU",
        )


def _place(running: RunningModel, name: str, *, is_relu: bool) -> LayerPlace:
    """Find out what follows a layer."""
    graph, part, foldable = running.graph, running.parts.get(name), _is_foldable(running, name)
    tail = graph.tail(name, foldable=foldable) if graph and running.shows(graph, name) else None
    if part is not None:
        tail = part.tail(name, foldable=foldable)
    activation = "linear" if tail is None else tail.activation
    if is_relu or _feeds_relu(running, name):
        activation = "relu"
    norm = None if tail is None or tail.norm is None else read_normalisation(tail.norm)
    layer = layer_view(name, running.layers[name], activation, norm, stored=running.runner.stored)
    if tail is not None and activation == "linear":
        layer = replace(layer, follower=tail.follower)
    if running.arrivals and running.meets_picked_rows(name):
        layer = replace(layer, meets_picked_rows=True)
    return LayerPlace(layer, tail, norm, None if part is None or tail is None else part.name)


def _with_factors(running: RunningModel, places: list[LayerPlace]) -> list[LayerPlace]:
    """Find the layers whose outputs are multiplied by those of another one."""
    tails: dict[str | None, dict[str, LayerTail]] = {}
    for place in places:
        if place.tail is not None:
            tails.setdefault(place.part, {})[place.layer.name] = place.tail
    found = []
    for place in places:
        if place.tail is not None:
            factor = _factor(running, place, tails[place.part])
            place = replace(place, layer=replace(place.layer, factor=factor))
        found.append(place)
    return found


def _factor(running: RunningModel, place: LayerPlace, tails: Mapping[str, LayerTail]) -> str | None:
    """Return the layer by whose output a layer's is multiplied, as the graph of both shows it."""
    name, part = place.layer.name, running.parts.get(place.layer.name)
    if part is None:
        return None if running.graph is None else running.graph.factor(name, tails)
    inside = {part.local(other): tail for other, tail in tails.items()}
    factor = part.graph.factor(part.local(name), inside)
    return None if factor is None else f"{part.name}.{factor}"


def _feeds_relu(running: RunningModel, name: str) -> bool:
    """Whether this is the first layer behind the attention in a transformer with ReLU units."""
    owner, _, last = name.rpartition(".")
    block: Any = running.expanded.model.get_submodule(owner)
    if type(block) not in TRANSFORMERS or last != "linear1":
        return False
    return isinstance(block.activation, nn.ReLU) or block.activation in (F.relu, torch.relu)


def _is_foldable(running: RunningModel, name: str) -> bool:
    """Whether a layer's outputs are the channels of what comes out of it, for all that is known."""
    layer = running.layers[name]
    if not running.arrivals or not isinstance(layer, nn.Linear):
        return True
    return running.arrivals[name].entries == layer.in_features
