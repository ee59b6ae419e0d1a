"""Which units and sections of a module can be taken out, who makes a unit and who reads it.

A unit is an output of a linear layer or a channel of a convolution. It can go if everything it
reaches is known: normalisation and activation on its way to a place where a gate fits, and behind
that only operations that keep zero zero, up to the layers that read it. A section is the nonlinear
branch of a residual sum.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import fx, nn

from ..models.adapters.torch.graph import IDLE, NORMS, RELU, TorchGraph
from ..models.adapters.torch.inputs import ForwardSignature
from ..models.adapters.torch.layers import prunable_modules
from ..models.adapters.torch.lipschitz import Shape
from ..models.adapters.torch.outputs import named_tensors

__all__ = ["INPUTS", "LayerUnits", "Section", "Structure", "UnitGroup", "reached"]

INPUTS = "inputs"
CONVOLUTIONS = (nn.Conv1d, nn.Conv2d)
# Entry by entry, and zero stays zero.
KEEPING = (
    *RELU,
    *IDLE,
    *(nn.ReLU6, nn.LeakyReLU, nn.Tanh, nn.GELU, nn.SiLU, nn.Mish, nn.ELU, nn.SELU, nn.CELU),
    *(nn.Hardswish, nn.Hardtanh, nn.Softsign, nn.Tanhshrink),
    *(F.relu6, F.leaky_relu, F.tanh, F.gelu, F.silu, F.mish, F.elu, F.selu, F.hardswish),
    *(torch.tanh, "tanh", F.dropout, "contiguous"),
)
# Entry by entry, but zero becomes something else: a gate comes after them.
LIFTING = (nn.Sigmoid, nn.Softplus, nn.Hardsigmoid, torch.sigmoid, "sigmoid", F.sigmoid, F.softplus)
# Channel by channel.
POOLS = (
    *(nn.MaxPool1d, nn.MaxPool2d, nn.AvgPool1d, nn.AvgPool2d),
    *(nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool1d, nn.AdaptiveMaxPool2d),
    *(F.max_pool1d, F.max_pool2d, F.avg_pool1d, F.avg_pool2d),
    *(F.adaptive_avg_pool1d, F.adaptive_avg_pool2d, F.adaptive_max_pool1d, F.adaptive_max_pool2d),
)
MEANS = (torch.mean, "mean")
FLATTENINGS = (nn.Flatten, torch.flatten, "flatten")
RESHAPES = ("view", "reshape", torch.reshape)
QUERIES = ("size", getattr, "dim")
SUMS = (operator.add, operator.iadd, torch.add, "add", "add_")


class NotPrunable(Exception):
    """Says why units have to stay."""


@dataclass(frozen=True)
class UnitGroup:
    """The outputs of one layer, or the inputs of the network, of which each can go.

    Attributes
    ----------
    count : int
    site : torch.fx.Node
        What a gate multiplies.
    axis : int
        Along which its units lie: 1, or -1.
    makers : tuple of str
        Modules with one row for each unit: the layer, then what normalises it.
    readers : tuple of str
        Layers that read the units; each reads a unit through as many features as its inputs hold
        it.
    """

    count: int
    site: fx.Node
    axis: int
    makers: tuple[str, ...]
    readers: tuple[str, ...]


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


@dataclass(frozen=True)
class LayerUnits:
    """A linear layer or convolution: where its inputs and outputs come under a gate, and its work.

    Attributes
    ----------
    reads, makes : str or None
        Names of `UnitGroup`; None for signals that stay.
    sections : tuple of str
        Those it lies in.
    positions : int
        How often its weights are applied to one sample.
    """

    reads: str | None
    makes: str | None
    sections: tuple[str, ...]
    positions: int


@dataclass(frozen=True)
class Structure:
    """What gates can be put on, by name; a group of units is called like the layer that makes it.

    Attributes
    ----------
    graph : TorchGraph
    units : dict of str to UnitGroup
    sections : dict of str to Section
    layers : dict of str to LayerUnits
        All linear layers and convolutions, gated or not.
    left_out : dict of str to str
        Layers whose units have to stay, and why.
    dropouts : list of torch.nn.Module
        In the graph only: they stand for calls of a function, which tracing holds to one mode.
    """

    graph: TorchGraph
    units: dict[str, UnitGroup] = field(default_factory=dict)
    sections: dict[str, Section] = field(default_factory=dict)
    layers: dict[str, LayerUnits] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)
    dropouts: list[nn.Module] = field(default_factory=list)

    @classmethod
    def of(
        cls, model: nn.Module, example: torch.Tensor, *, inputs: bool, sections: bool
    ) -> Structure:
        """Look at a module in evaluation mode.

        Raises
        ------
        ValueError
            If torch.fx cannot follow the module's code, or, with ``inputs``, these cannot be gated.
        """
        graph = TorchGraph.of(model)
        dropouts = [] if graph is None else _as_modules(graph)
        with torch.no_grad():
            given, outputs = (
                {ForwardSignature.of(model).names[0]: example},
                named_tensors(model(example)),
            )
            faithful = graph is not None and graph.confirm(given, outputs)
        if graph is None or not faithful:
            raise ValueError(
                "model cannot be traced by torch.fx (data-dependent code, or tensors overwritten "
                "before they are used): write it without, or gate the parts that can"
            )
        found = _Reading(graph, model, len(example)).structure(inputs, sections)
        return replace(found, dropouts=dropouts)

    def weights_of(self, layer: str) -> int:
        """Return how many weights a layer has, without biases."""
        return int(self.graph.modules[layer].weight.numel())

    def work_of(self, layer: str) -> int:
        """Return how many operations a layer does for one sample: two for each use of a weight."""
        return 2 * self.layers[layer].positions * self.weights_of(layer)


class _Reading:
    """Reads the structure off a graph."""

    def __init__(self, graph: TorchGraph, model: nn.Module, batch: int) -> None:
        self.graph, self.batch = graph, batch
        movable, self.computed = prunable_modules(model)
        self.nodes = list(graph.traced.graph.nodes)
        called = [node for node in self.nodes if node.op == "call_module"]
        self.calls = {str(node.target): node for node in reversed(called)}
        names = [str(node.target) for node in called]
        self.often = {name for name in names if names.count(name) > 1}
        self.layers = [name for name in dict.fromkeys(names) if name in movable]

    def structure(self, inputs: bool, with_sections: bool) -> Structure:
        sections = dict(self.sections()) if with_sections else {}
        units: dict[str, UnitGroup] = {}
        left_out = dict(self.computed)
        if inputs:
            units[INPUTS] = self.inputs()
        for name in self.layers:
            try:
                units[name] = self.made_by(name)
            except NotPrunable as reason:
                left_out[name] = str(reason)
        layers = {
            name: LayerUnits(
                next((key for key, u in units.items() if name in u.readers), None),
                name if name in units else None,
                tuple(key for key, section in sections.items() if name in section.modules),
                self.positions(name),
            )
            for name in self.layers
        }
        return Structure(self.graph, units, sections, layers, left_out)

    # --- units --------------------------------------------------------------------------------

    def made_by(self, name: str) -> UnitGroup:
        module, call = self.module(name), self.calls[name]
        if name in self.often:
            raise NotPrunable("it is called more than once")
        if getattr(module, "groups", 1) > 1:
            raise NotPrunable("its channels are made in groups")
        convolution = isinstance(module, CONVOLUTIONS)
        site, norms = self.site(call, LIFTING + KEEPING + (POOLS if convolution else ()))
        shape = self.shape(site)
        axis = 1 if convolution or len(shape) == 2 else -1
        if shape[0] != self.batch or len(shape) < (3 if convolution else 2):
            raise NotPrunable("its samples do not come one after another")
        readers = tuple(dict.fromkeys(self.readers(site, axis)))
        if not readers:
            raise NotPrunable("nothing reads it")
        return UnitGroup(shape[axis], site, axis, (name, *norms), readers)

    def inputs(self) -> UnitGroup:
        """Return the network's inputs; they can go where a layer takes them as they are."""
        given = next(node for node in self.nodes if node.op == "placeholder")
        shape = self.shape(given)
        try:
            axis = 1 if len(shape) == 2 or self.read_by_convolution(given) else -1
            readers = tuple(dict.fromkeys(self.readers(given, axis, straight=True)))
        except NotPrunable as reason:
            raise ValueError(
                f"inputs cannot be gated: {reason}; the first layer must take them as they come "
                "(flatten images beforehand for a dense one)"
            ) from None
        return UnitGroup(shape[axis], given, axis, (), readers)

    def read_by_convolution(self, given: fx.Node) -> bool:
        return any(
            issubclass(_class_of(self.graph.kind(user)), CONVOLUTIONS) for user in given.users
        )

    def site(self, call: fx.Node, passing: tuple[Any, ...]) -> tuple[fx.Node, list[str]]:
        """Return where a layer's units are normalised and activated, and what normalises them."""
        at, norms = call, []
        while len(at.users) == 1:
            following = next(iter(at.users))
            kind = self.graph.kind(following)
            if kind in NORMS:
                norms.append(str(following.target))
            elif kind not in passing:
                break
            at = following
        return at, norms

    def readers(self, node: fx.Node, axis: int, *, straight: bool = False) -> Iterator[str]:
        """Yield the layers that read the units of a node.

        Raises
        ------
        NotPrunable
            If something else reads them.
        """
        for user in node.users:
            kind = self.graph.kind(user)
            if self.reads(user, node, axis):
                yield str(user.target)
            elif kind in QUERIES:
                continue
            elif kind in IDLE or (not straight and self.passes(user, node, axis)):
                yield from self.readers(user, axis, straight=straight)
            else:
                raise NotPrunable(_refusal(user, kind))

    def reads(self, user: fx.Node, node: fx.Node, axis: int) -> bool:
        """Whether a layer reads the units along the axis of its features."""
        name = str(user.target)
        if user.op != "call_module" or name not in self.layers or name in self.often:
            return False
        module, dims = self.module(name), len(self.shape(node))
        if isinstance(module, CONVOLUTIONS):
            return axis == 1 and dims > 2 and module.groups == 1
        return axis == -1 or dims == 2

    def passes(self, user: fx.Node, node: fx.Node, axis: int) -> bool:
        """Whether what leaves an operation holds the same units, and zeros for zeros."""
        kind, before, after = self.graph.kind(user), self.shape(node), self.shape(user)
        if kind in KEEPING:
            return True
        if axis != 1 or len(before) < 3:
            return False
        if kind in POOLS:
            return True
        if kind in MEANS:
            return after == before[:2]
        flat = after == (before[0], math.prod(before[1:]))
        return flat and (kind in FLATTENINGS or (kind in RESHAPES and _last_size(user) == -1))

    # --- sections -----------------------------------------------------------------------------

    def sections(self) -> Iterator[tuple[str, Section]]:
        """Yield the nonlinear branches of sums, each called like its last layer."""
        for node in self.nodes:
            if self.graph.kind(node) not in SUMS or len(node.all_input_nodes) != 2:
                continue
            one, other = node.all_input_nodes
            shapes = {self.shape(part) for part in (one, other, node)}
            found = [
                section
                for section in (self.branch(one, other), self.branch(other, one))
                if section is not None
            ]
            if len(found) == 1 and len(shapes) == 1:
                yield next(m for m in reversed(found[0].modules) if m in self.layers), found[0]

    def branch(self, end: fx.Node, beside: fx.Node) -> Section | None:
        """Return the branch that ends at a node and begins beside another one."""
        inside = (_origins(end) | {end}) - _origins(beside) - {beside}
        modules = [node for node in self.nodes if node in inside and node.op == "call_module"]
        names = [str(node.target) for node in modules]
        closed = all(node == end or inside.issuperset(node.users) for node in inside)
        simple = self.often.isdisjoint(names) and len(end.users) == 1
        nonlinear = sum(name in self.layers for name in names) > 1
        if not (inside and closed and simple and nonlinear):
            return None
        if any(node.op in ("placeholder", "get_attr") for node in inside):
            return None
        return Section(end, tuple(names))

    # --- facts --------------------------------------------------------------------------------

    def module(self, name: str) -> Any:
        return self.graph.modules[name]

    def shape(self, node: fx.Node) -> Shape:
        """Return the shape of a tensor; of what is none, an empty one."""
        return self.graph.shapes.get(node, ())

    def positions(self, name: str) -> int:
        shape, module = self.shape(self.calls[name]), self.module(name)
        channels = getattr(module, "out_channels", None) or module.out_features
        return math.prod(shape) // (shape[0] * int(channels))


def _as_modules(graph: TorchGraph) -> list[nn.Module]:
    """Turn calls of F.dropout into modules in evaluation mode."""
    made: list[nn.Module] = []
    traced = graph.traced
    for node in list(traced.graph.nodes):
        if node.target is not F.dropout:
            continue
        rate = node.args[1] if len(node.args) > 1 else node.kwargs.get("p", 0.5)
        target = f"dropout_{len(made)}_of_gates"
        made.append(nn.Dropout(rate).eval())
        traced.add_submodule(target, made[-1])
        with traced.graph.inserting_after(node):
            replacement = traced.graph.call_module(target, (node.args[0],))
        node.replace_all_uses_with(replacement)
        traced.graph.erase_node(node)
    traced.recompile()
    graph.modules = dict(traced.named_modules())
    return made


def reached(node: fx.Node, onward: Callable[[fx.Node], Iterable[fx.Node]]) -> frozenset[fx.Node]:
    """Return all nodes that steps from a node lead to: to what it uses, or to what uses it."""
    found: set[fx.Node] = set()
    ends = list(onward(node))
    while ends:
        at = ends.pop()
        if at not in found:
            found.add(at)
            ends += onward(at)
    return frozenset(found)


def _origins(node: fx.Node) -> frozenset[fx.Node]:
    """Return all that a node depends on."""
    return reached(node, lambda at: at.all_input_nodes)


def _last_size(reshape: fx.Node) -> Any:
    last = reshape.args[-1]
    return last[-1] if isinstance(last, (tuple, list)) else last


def _class_of(kind: Any) -> type:
    return kind if isinstance(kind, type) else object


def _refusal(user: fx.Node, kind: Any) -> str:
    if user.op == "output":
        return "it is the model's output"
    if kind in SUMS:
        return "it is added to other signals"
    if kind in RESHAPES:
        return "it is reshaped to a fixed number of features (flatten(1) would do)"
    return f"it goes into {getattr(kind, '__name__', kind)}"
