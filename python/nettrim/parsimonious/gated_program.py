"""The module with gates in it: how it runs, and how it runs again from a gate on."""

from __future__ import annotations

import math
import operator
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from typing import Any

import torch
from torch import fx, nn

from .structure import Structure, reached

__all__ = ["GatedProgram", "GatedRun", "undisturbed"]

Masks = Mapping[str, torch.Tensor]


class Gate(nn.Module):
    """Multiplies the units of each sample by a mask; open where there is none."""

    def __init__(self, axis: int) -> None:
        super().__init__()
        self.axis = axis
        self.mask: torch.Tensor | None = None

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        """Apply the mask, of shape (n_samples, n_units)."""
        if self.mask is None:
            return values
        shape = [1] * values.dim()
        shape[0], shape[self.axis] = self.mask.shape
        return values * self.mask.reshape(shape).to(values.dtype)


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
    gates : dict of str to Gate
    nodes : dict of str to torch.fx.Node
        Where the gates are called.
    widest : int
        Entries of the largest signal of one sample.
    """

    def __init__(self, structure: Structure) -> None:
        self.traced = structure.graph.traced
        self._shapes = dict(structure.graph.shapes)
        self.widest = max(math.prod(shape[1:]) for shape in self._shapes.values())
        self.gates: dict[str, Gate] = {}
        self.nodes: dict[str, fx.Node] = {}
        self._dropouts = structure.dropouts
        for name, units in structure.units.items():
            self._insert(name, units.site, Gate(units.axis))
        for name, section in structure.sections.items():
            self._insert(name, section.site, Gate(axis=1))
        self.traced.recompile()
        self._behind: dict[fx.Node, frozenset[fx.Node]] = {}

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

    def behind(self, node: fx.Node) -> frozenset[fx.Node]:
        """Return all that depends on a node."""
        if node not in self._behind:
            self._behind[node] = reached(node, lambda at: at.users)
        return self._behind[node]

    def linear_reader(self, name: str) -> fx.Node | None:
        """Return the linear layer that alone reads a group of units, if these are a matrix."""
        gate = self.nodes[name]
        reader = next(iter(gate.users))
        matrix = len(self._shapes[gate.all_input_nodes[0]]) == 2
        alone = len(gate.users) == 1 and reader.op == "call_module"
        return reader if alone and matrix and type(self.module(reader)) is nn.Linear else None

    def module(self, node: fx.Node) -> Any:
        """Return the module that a node calls."""
        return self.traced.get_submodule(str(node.target))

    @cached_property
    def data(self) -> frozenset[fx.Node]:
        """The inputs, and all that depends on them."""
        given = {node for node in self.traced.graph.nodes if node.op == "placeholder"}
        return frozenset(given.union(*map(self.behind, given)))

    def _insert(self, name: str, site: fx.Node, gate: Gate) -> None:
        target = f"gate_of_{name}".replace(".", "_")
        self.traced.add_submodule(target, gate)
        with self.traced.graph.inserting_after(site):
            node = self.traced.graph.call_module(target, (site,))
        site.replace_all_uses_with(node, delete_user_cb=lambda user: user is not node)
        self.gates[name], self.nodes[name] = gate, node

    @contextmanager
    def masked(self, masks: Masks) -> Iterator[None]:
        """Give gates their masks for a while."""
        for name, mask in masks.items():
            self.gates[name].mask = mask
        try:
            yield
        finally:
            for gate in self.gates.values():
                gate.mask = None


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
        gate = self.program.nodes[name]
        units = self.signals[gate.all_input_nodes[0]].movedim(self.program.gates[name].axis, 1)
        found = units.flatten(2).any(dim=2) if units.dim() > 2 else units != 0
        if self.masks[name].shape[1] == 1:  # a gate for all of it
            found = found.any(dim=1, keepdim=True)
        samples, gates = found.nonzero(as_tuple=True)
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
        node, mask = self.program.nodes[name], self.masks[name]
        source = node.all_input_nodes[0]
        change = 1 - 2 * mask[samples, gates]
        reader = self.program.linear_reader(name)
        if reader is None:
            masks = mask[samples]
            masks[torch.arange(len(samples), device=mask.device), gates] += change
            with self.program.masked({name: masks}):
                value = self.program.gates[name](self.signals[source][samples])
            return self._onward(node, value, samples)
        layer = self.program.module(reader)
        sizes = change * self.signals[source][samples, gates]
        before = layer(self.signals[node])  # what is remembered of it may have been overwritten
        value = torch.addcmul(before[samples], sizes[:, None], layer.weight.T[gates])
        return self._onward(reader, value, samples)

    def _onward(self, node: fx.Node, value: torch.Tensor, samples: torch.Tensor) -> Any:
        """Run on behind a node with another value of it, for some of the samples in any order."""
        behind = self.program.behind(node)
        needed = {source for after in behind for source in after.all_input_nodes}
        chosen = needed & self.program.data
        known = {
            source: _chosen(source, signal, samples) if source in chosen else signal
            for source, signal in self.signals.items()
            if source not in behind
        }
        masks = {
            name: mask[samples]
            for name, mask in self.masks.items()
            if self.program.nodes[name] in behind
        }
        interpreter = fx.Interpreter(self.program.traced, garbage_collect_values=False)
        with self.program.masked(masks):
            return interpreter.run(initial_env={**known, node: value})


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
