"""The module with gates in it: how it runs, and how it runs again from a gate on."""

from __future__ import annotations

import math
import operator
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import fx, nn

from ..models.units.unit_map import Units
from .structure import GateSite, Structure, reached

__all__ = ["GatedProgram", "GatedRun", "undisturbed"]

Masks = Mapping[str, torch.Tensor]


class Gate(nn.Module):
    """Multiplies the units of each sample by a mask; open where there is none.

    Parameters
    ----------
    axis : int
        Along which units lie.
    units : ndarray
        The unit at each place, `FIXED` for others; of a single one every place may be.
    """

    def __init__(self, axis: int, units: Units) -> None:
        super().__init__()
        self.axis, self.units = axis, torch.from_numpy(units)
        self.mask: torch.Tensor | None = None

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        """Apply the mask, of shape (n_samples, n_units)."""
        if self.mask is None:
            return values
        mask = nn.functional.pad(self.mask, (0, 1), value=1)[:, self.units]
        shape = [1] * values.dim()
        shape[0], shape[self.axis] = mask.shape
        return values * mask.reshape(shape).to(values.dtype)

    def effective(self, values: torch.Tensor, count: int) -> torch.Tensor:
        """Return which of a number of units are not zero in each sample."""
        places = values.movedim(self.axis, 1)
        found = places.flatten(2).any(dim=2) if places.dim() > 2 else places != 0
        sums = torch.zeros(len(found), count + 1, device=found.device)
        units = self.units.to(found.device) % (count + 1)
        return sums.index_add_(1, units, found.to(sums.dtype))[:, :count] > 0


class GatedProgram:
    """The calls of a module, with a gate on every group of units and every section.

    Its modules are the model's own. Gates that no mask is given for are open.

    Parameters
    ----------
    structure : Structure
        Its graph is taken over.

    Attributes
    ----------
    traced : torch.fx.GraphModule
    nodes : dict of str to list of torch.fx.Node
        Where the gates of each group are called.
    widest : int
        Entries of the largest signal of one sample.
    """

    def __init__(self, structure: Structure) -> None:
        self.traced = structure.graph.traced
        self._shapes = dict(structure.graph.shapes)
        self.widest = max(math.prod(shape[1:]) for shape in self._shapes.values())
        self.nodes: dict[str, list[fx.Node]] = {}
        self._dropouts = structure.dropouts
        for name, group in structure.units.items():
            self.nodes[name] = [self._put_before(name, site) for site in group.sites]
        for name, section in structure.sections.items():
            self.nodes[name] = [self._put_behind(name, section.site)]
        self.traced.recompile()
        self._behind: dict[tuple[fx.Node, ...], frozenset[fx.Node]] = {}

    def __call__(self, x: torch.Tensor, masks: Masks, *, training: bool) -> Any:
        """Run the module with masks; ``training`` is for dropouts that are no modules."""
        for dropout in self._dropouts:
            dropout.train(training)
        with self.masked(masks):
            return self.traced(x)

    def run(self, x: torch.Tensor, masks: Masks) -> GatedRun:
        """Run the module and remember all its signals."""
        interpreter = fx.Interpreter(self.traced, garbage_collect_values=False)
        with self.masked(masks):
            output = interpreter.run(x)
        return GatedRun(self, masks, interpreter.env, output)

    def run_again(self, name: str) -> frozenset[fx.Node]:
        """Return what is computed again when a gate of a group is another."""
        reader = self.linear_reader(name)
        begin = tuple(self.nodes[name]) if reader is None else (reader,)
        if begin not in self._behind:
            self._behind[begin] = reached(begin, lambda at: at.users)
        return self._behind[begin].union(begin if reader is None else ())

    def linear_reader(self, name: str) -> fx.Node | None:
        """Return the linear layer that alone reads a group of units, if these are a matrix."""
        node, *others = self.nodes[name]
        reader = next(iter(node.users))
        if others or reader.op != "call_module" or type(self.module(reader)) is not nn.Linear:
            return None
        units = self.gate(node).units
        matrix = self.n_axes(node) == 2
        return reader if matrix and torch.equal(units, torch.arange(len(units))) else None

    def n_axes(self, node: fx.Node) -> int:
        """Return how many axes a node's tensor has."""
        return len(self._shapes[node])

    def gate(self, node: fx.Node) -> Gate:
        """Return the gate that a node calls."""
        gate: Gate = self.module(node)
        return gate

    def module(self, node: fx.Node) -> Any:
        """Return the module that a node calls."""
        return self.traced.get_submodule(str(node.target))

    @cached_property
    def data(self) -> frozenset[fx.Node]:
        """The inputs, and all that depends on them."""
        given = {node for node in self.traced.graph.nodes if node.op == "placeholder"}
        return reached(given, lambda at: at.users) | given

    def _put_before(self, name: str, site: GateSite) -> fx.Node:
        source = site.call.all_input_nodes[0]
        with self.traced.graph.inserting_before(site.call):
            node = self._call(name, Gate(site.axis, site.units), source)
        site.call.replace_input_with(source, node)
        return node

    def _put_behind(self, name: str, site: fx.Node) -> fx.Node:
        width = self._shapes[site][1]
        with self.traced.graph.inserting_after(site):
            node = self._call(name, Gate(1, np.zeros(width, np.intp)), site)
        site.replace_all_uses_with(node, delete_user_cb=lambda user: user is not node)
        return node

    def _call(self, name: str, gate: Gate, source: fx.Node) -> fx.Node:
        target = f"gate_{len([*self.traced.children()])}_of_{name}".replace(".", "_")
        self.traced.add_submodule(target, gate)
        node = self.traced.graph.call_module(target, (source,))
        self._shapes[node] = self._shapes[source]
        return node

    @contextmanager
    def masked(self, masks: Masks) -> Iterator[None]:
        """Give gates their masks for a while."""
        gates = [
            (self.gate(node), mask) for name, mask in masks.items() for node in self.nodes[name]
        ]
        for gate, mask in gates:
            gate.mask = mask
        try:
            yield
        finally:
            for gate, _ in gates:
                gate.mask = None


def _source(gate: fx.Node) -> fx.Node:
    """Return what a gate is put on."""
    return gate.all_input_nodes[0]


class GatedRun:
    """One run of a program, that can be taken up again at a gate.

    Attributes
    ----------
    output : torch.Tensor or whatever the model returns
    """

    def __init__(
        self, program: GatedProgram, masks: Masks, signals: dict[fx.Node, Any], output: Any
    ) -> None:
        self.program, self.masks, self.output = program, masks, output
        self.signals = signals

    def effective(self, name: str) -> tuple[torch.Tensor, torch.Tensor]:
        """Return pairs of a sample and a gate of a group whose unit is not zero anyway."""
        count = self.masks[name].shape[1]
        found = [
            self.program.gate(node).effective(self.signals[_source(node)], count)
            for node in self.program.nodes[name]
        ]
        samples, gates = torch.stack(found).any(dim=0).nonzero(as_tuple=True)
        return samples, gates

    def flipped(self, name: str, samples: torch.Tensor, gates: torch.Tensor) -> Any:
        """Return the outputs of samples of which each has one gate of a group the other way round.

        Computing begins at the gate. Where a linear layer alone reads the units, it begins behind
        that layer, whose output moves by a multiple of a row of its weights.

        Parameters
        ----------
        name : str
        samples, gates : torch.Tensor of shape (n_flips,)
            int64.

        Returns
        -------
        torch.Tensor of shape (n_flips, ...)
        """
        mask = self.masks[name]
        change = 1 - 2 * mask[samples, gates]
        reader = self.program.linear_reader(name)
        if reader is None:
            flipped = mask[samples]
            flipped[torch.arange(len(samples), device=mask.device), gates] += change
            return self._again(name, samples, {name: flipped}, {})
        (node,) = self.program.nodes[name]
        layer = self.program.module(reader)
        sizes = change * self.signals[_source(node)][samples, gates]
        before = layer(self.signals[node])  # what is remembered of it may have been overwritten
        value = torch.addcmul(before[samples], sizes[:, None], layer.weight.T[gates])
        return self._again(name, samples, {}, {reader: value})

    def _again(
        self, name: str, samples: torch.Tensor, masks: Masks, values: Mapping[fx.Node, Any]
    ) -> Any:
        """Run what depends on a group again for some of the samples in any order.

        Other masks of some groups, or other values of some nodes, make the difference.
        """
        again = self.program.run_again(name)
        needed = {source for node in again for source in node.all_input_nodes}
        chosen = needed & self.program.data
        known = {
            source: _chosen(source, signal, samples) if source in chosen else signal
            for source, signal in self.signals.items()
            if source not in again
        }
        others = {
            other: mask[samples]
            for other, mask in self.masks.items()
            if not again.isdisjoint(self.program.nodes[other])
        }
        interpreter = fx.Interpreter(self.program.traced, garbage_collect_values=False)
        with self.program.masked({**others, **masks}):
            return interpreter.run(initial_env={**known, **values})


@contextmanager
def undisturbed(module: nn.Module) -> Iterator[None]:
    """Compute in evaluation mode and without gradients; afterwards all is as it was."""
    training = [part for part in module.modules() if part.training]
    for part in training:
        part.training = False
    try:
        with torch.no_grad():
            yield
    finally:
        for part in training:
            part.training = True


def _chosen(node: fx.Node, signal: Any, samples: torch.Tensor) -> Any:
    """Return a signal of some samples; a number of samples becomes theirs."""
    if isinstance(signal, torch.Tensor):
        return signal[samples]
    return len(samples) if _counts_samples(node) else signal


def _counts_samples(node: fx.Node) -> bool:
    """Whether a node asks for the first size of a tensor."""
    if node.target == "size":
        return node.args[1:] == (0,)
    if node.target is not operator.getitem or node.args[1] != 0:
        return False
    asked = node.all_input_nodes[0].target
    return asked == "size" or asked is getattr
