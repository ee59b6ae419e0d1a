"""A module, its layers, and the copy of it that runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import nn

from .expansions.expand import ExpandedModel
from .graph import TorchGraph
from .layers import prunable_modules
from .run import Arrival, Exit, Runner, Stop, layer_names
from .traced_parts import TracedPart
from .untouched import is_quantised

__all__ = ["RunningModel"]


@dataclass(frozen=True)
class RunningModel:
    """What is known of a module; `nettrim.models.adapters.torch.settle` learns more from a run.

    Attributes
    ----------
    module : torch.nn.Module
        Without wrappers.
    expanded : ExpandedModel
        Made of it; its layers count as the module's.
    layers : dict of str to torch.nn.Module
        Those that could be pruned.
    left_out : mapping of str to str
        Other layers, and why they cannot be.
    runner : Runner
        Runs a copy of the expanded model.
    graph : TorchGraph or None
        Of the copy that is shown; None where it cannot be traced.
    arrivals : mapping of Stop to Arrival
        The layers to prune and the outputs that count, in the order of the calls. Empty before a
        run.
    whole : frozenset of str
        The modules that meet the rows of all samples, where there are layers that meet some.
    parts : mapping of str to TracedPart
        Of layers that the graph does not show, what shows them.
    """

    module: nn.Module
    expanded: ExpandedModel
    layers: dict[str, nn.Module]
    left_out: Mapping[str, str]
    runner: Runner
    graph: TorchGraph | None
    arrivals: Mapping[Stop, Arrival] = field(default_factory=dict)
    whole: frozenset[str] = frozenset()
    parts: Mapping[str, TracedPart] = field(default_factory=dict)

    @classmethod
    def of(
        cls, module: nn.Module, expanded: ExpandedModel, kind: type[Runner], *, precise: bool
    ) -> RunningModel:
        """Make the copy that runs, by a kind of runner, and trace it.

        Raises
        ------
        ValueError
            If the module is a layer itself, or all its weights are quantised.
        """
        layers, left_out = prunable_modules(expanded.model)
        if "" in layers:
            raise ValueError(
                "model is a single layer: put it into a torch.nn.Sequential, "
                "or give its data to nettrim.solve_layer"
            )
        if not layers and any(map(is_quantised, module.modules())):
            raise ValueError(
                "model is quantised and holds no weights of floats: give the module that it was "
                "made from, and quantise the result"
            )
        runner = kind(expanded.model, list(layers), precise=precise)
        graph = TorchGraph.of(runner.shown.model, tried_in=runner.tried_in)
        return cls(module, expanded, layers, left_out, runner, graph)

    def made_anew(self, expanded: ExpandedModel, *, precise: bool) -> RunningModel:
        """Return what is known of the module before a run, with another copy that runs."""
        return RunningModel.of(self.module, expanded, type(self.runner), precise=precise)

    @property
    def names(self) -> list[str]:
        """The layers in the order of their calls; before a run, as the module lists them."""
        return layer_names(self.arrivals) if self.arrivals else [*self.layers]

    @property
    def repeated(self) -> list[str]:
        """The layers that are called more than once."""
        return [name for name in layer_names(self.arrivals) if self.arrivals[name].is_repeated]

    @property
    def called_again(self) -> dict[str, Arrival]:
        """The layers that are called more than once on the rows of all samples."""
        arrivals = {name: self.arrivals[name] for name in self.repeated}
        return {name: arrival for name, arrival in arrivals.items() if not arrival.is_picked}

    @property
    def routed(self) -> dict[str, Arrival]:
        """The layers that meet rows which the model picks."""
        stops = layer_names(self.arrivals)
        return {name: self.arrivals[name] for name in stops if self.arrivals[name].is_picked}

    @property
    def passed_by(self) -> set[str]:
        """The layers of these where nothing can wait, as some calls come out of turn."""
        return {name for name, arrival in self.routed.items() if arrival.is_repeated}

    def meets_picked_rows(self, name: str) -> bool:
        """Whether the model picks what arrives at a layer, and how many rows."""
        return self.arrivals[name].is_picked or self.expanded.meets_zeros(name)

    def shows(self, graph: TorchGraph, name: str) -> bool:
        """Tell whether a graph shows all calls of a layer; before a run, any."""
        seen = len(graph.calls(name))
        return seen == self.arrivals[name].n_calls if self.arrivals else seen > 0

    @property
    def exits(self) -> dict[Exit, int]:
        """The outputs that count, and the axes of the samples there."""
        return {s: a.axis for s, a in self.arrivals.items() if isinstance(s, Exit)}

    @property
    def outputs(self) -> list[str]:
        """The names of the outputs that count."""
        return [stop.name for stop in self.exits]
