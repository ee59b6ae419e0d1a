"""Where units lie in the tensors of an ONNX graph, as far as they were followed."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx

from ....units.couplings import Couplings, UnitAxis
from ....units.unit_map import FIXED, UnitMap, Units
from ..graph import STANDARD, OnnxGraph, Stored, Values, has_input
from ..layers import OnnxLayer
from ..session import Probe
from .sites import Site
from .spread import Spread

__all__ = ["UnitPlaces"]

Shape = tuple[int, ...]


@dataclass
class _Cut:
    """A stored tensor along whose axes units lie, and how many of its readers have said so."""

    stored: Stored
    axes: dict[int, Units]
    uses: int
    n_readers: int = 1


class UnitPlaces:
    """What is known of the units of a graph.

    Parameters
    ----------
    graph : OnnxGraph
    layers : sequence of OnnxLayer
    prunable : set of str
        The names of those whose weights can be replaced.
    probe : Probe
        Shapes of all tensors, for some samples.
    bounds : mapping from str to ndarray
        The tensors of `list_bounds`.

    Attributes
    ----------
    graph : OnnxGraph
    layers : dict of OnnxLayer
        By name of what their first node makes.
    prunable : set of str
    couplings : Couplings
        All that is known of units.
    makers : dict of onnx.NodeProto
        The node that makes a tensor.
    opset : int
        Version of ONNX's own operators.
    """

    def __init__(
        self,
        graph: OnnxGraph,
        layers: Sequence[OnnxLayer],
        prunable: set[str],
        probe: Probe,
        bounds: Mapping[str, Values],
    ) -> None:
        self.graph = graph
        self.layers = {layer.product: layer for layer in layers}
        self.prunable = prunable
        self.couplings = Couplings()
        self.makers = {name: node for node in graph.nodes for name in node.output}
        versions = [o.version for o in graph.model.opset_import if o.domain in STANDARD]
        self.opset = max(versions, default=0)
        self._probe = probe
        self._bounds = bounds
        self._places: dict[str, UnitAxis | Spread] = {}
        self._cuts: dict[str, _Cut] = {}
        self._counts: dict[Site, Units] = {}
        self._written: dict[str, Units] = {}
        self._apart: list[Spread] = []

    # --- what rules of operators ask and say ------------------------------------------------------

    def shape(self, name: str) -> Shape:
        """Return the shape of a tensor that the probe or the model has."""
        if name in self.graph.stored:
            return self.graph.stored[name].shape
        return self._probe.shapes[name]

    def is_known(self, name: str) -> bool:
        """Tell whether the model or the probe has a tensor's shape."""
        return name in self.graph.stored or name in self._probe.shapes

    def bound(self, node: onnx.NodeProto, position: int) -> Values | None:
        """Return where parts begin or end that a node takes, None where that is not known."""
        if not has_input(node, position):
            return None
        given = self.graph.constant(node, position)
        if given is not None:
            return given
        computed = self._bounds.get(node.input[position])
        return computed if computed is not None and computed.size == 1 else None

    def positions(self, name: str, n_units: int) -> int:
        """Return how often a tensor has each unit, for one sample."""
        return math.prod(self.shape(name)) // n_units // self._probe.n_samples

    def place(self, name: str) -> UnitAxis | Spread | None:
        """Return where units lie in a tensor, maybe along several axes."""
        return self._places.get(name)

    def at(self, name: str) -> UnitAxis | None:
        """Return the axis of a tensor along which units lie."""
        place = self._places.get(name)
        if not isinstance(place, Spread):
            return place
        gathered = self._gather(place)
        del self._places[name]
        self.put(name, gathered)
        return gathered

    def put(self, name: str, place: UnitAxis | Spread | None) -> None:
        """Say where units lie in a tensor."""
        if place is not None and name:
            self._places[name] = place

    def take_apart(self, name: str, spread: Spread) -> None:
        """Say that an axis of units was taken apart, and where they lie now."""
        self._apart.append(spread)
        self.put(name, spread)

    def fix(self, name: str, reason: str) -> None:
        """Say that the units of a tensor have to stay."""
        place = self._places.get(name)
        if place is not None:
            self.couplings.fix(place.units.reshape(-1), reason)

    def make(self, count: int, writer: str) -> Units:
        """Return new units that a node writes."""
        units = self.couplings.make(count, writer)
        self._written[writer] = np.append(self._written.get(writer, units[:0]), units)
        return units

    def put_written(self, name: str, axis: int, units: Units) -> None:
        """Say where the units lie that a node has written; one that is alone stays."""
        if len(units) > 1:
            self.put(name, UnitAxis(axis, units))
        else:
            self.couplings.fix(units, "there is only one")

    def cut(
        self,
        node: onnx.NodeProto,
        position: int,
        axes: Mapping[int, Units],
        uses: int = 0,
        seen: Stored | None = None,
    ) -> None:
        """Say that units lie along axes of a constant that a node reads.

        A vector that others read too is stored again for this node alone, unless the node turns it
        round as it reads it, and sees it in another way than it is stored.
        """
        stored = self.graph.stored[node.input[position]]
        if seen is None and stored.shared and max(stored.shape) == math.prod(stored.shape):
            name = str(Site(node.output[0], str(position)))
            self.couplings.tensor(name, stored.shape, axes, uses)
            return
        stored = seen or stored
        own = {stored.axes[axis]: units for axis, units in axes.items()}
        known = self._cuts.get(stored.name)
        if known is None:
            self._cuts[stored.name] = _Cut(stored, own, uses)
            return
        known.n_readers += 1
        known.uses += uses
        for axis in {*own, *known.axes}:
            length = stored.tensor.dims[axis]
            fixed = np.full(length, FIXED)
            self.couplings.tie(own.get(axis, fixed), known.axes.setdefault(axis, fixed))

    def count(self, site: Site, units: Units) -> None:
        """Say that a number that a node reads counts units."""
        known = self._counts.setdefault(site, units)
        if known is units:
            self.couplings.count(str(site), units)
        elif len(known) == len(units):
            self.couplings.tie(known, units)
        else:
            for counted in (known, units):
                self.couplings.fix(counted, "one number counts several kinds of them")

    # --- when everything was followed -------------------------------------------------------------

    def close(self) -> None:
        """Say what follows from all that was said."""
        for name in self.graph.outputs:
            self.fix(name, "they are the model's output")
        self._close_spreads()
        self._close_tensors()

    def finish(self, faulty: Iterable[str] = ()) -> UnitMap:
        """Return the units that can go.

        Parameters
        ----------
        faulty : iterable of str
            Signals of the last answer, by name, whose units have to stay after all.
        """
        for writer in faulty:
            self.couplings.fix(self._written[writer], "the graph needs their number")
        units = self.couplings.finish()
        while whole := [layer.layer for layer in units.layers if _are_one(layer.outputs)]:
            for writer in whole:
                self.couplings.fix(self._written[writer], "they can go only all together")
            units = self.couplings.finish()
        return units

    def _gather(self, spread: Spread) -> UnitAxis | None:
        """Make one unit of those that share their index along the first axis."""
        axis = spread.first
        if axis is None:
            self.couplings.fix(spread.units.reshape(-1), "they are taken for positions")
            return None
        spread.gathered.add(spread.axes[axis])
        rows = spread.along(axis)
        for column in rows.T[1:]:
            self.couplings.tie(rows[:, 0], column)
        site = spread.sites.get(spread.axes[axis])
        if site is not None:
            self.count(site, rows[:, 0])
        return UnitAxis(axis, rows[:, 0])

    def _close_spreads(self) -> None:
        """Say what goes together of units that nothing asked for, or that go and are picked."""
        for spread in self._apart:
            if not spread.gathered:
                self._gather(spread)
            if spread.gathered & spread.picked:
                self.couplings.fix(spread.units.reshape(-1), "parts of them are picked")

    def _close_tensors(self) -> None:
        """Say what constants are cut; those that others read too, without these units, stay."""
        n_readers: Counter[str] = Counter()
        for name, stored in self.graph.stored.items():
            for node in self.graph.readers.get(name, []):
                if node is None or node.output[0] not in self.graph.stored:
                    n_readers[stored.name] += 1
        for name, cut in self._cuts.items():
            self.couplings.tensor(name, tuple(cut.stored.tensor.dims), cut.axes, cut.uses)
            if cut.n_readers < n_readers[name]:
                for units in cut.axes.values():
                    self.couplings.fix(units, f"{name} is read elsewhere too")


def _are_one(units: Units) -> bool:
    return bool((units == units[0]).all() and units[0] != FIXED)
