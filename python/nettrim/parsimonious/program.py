"""The module with gates in it: how it runs, and how it runs again from a gate on."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import fx, nn

from .structure import Structure

__all__ = ["Program", "Run", "undisturbed"]

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


class Program:
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

    def run(self, x: torch.Tensor, masks: Masks) -> Run:
        """Run the module and remember all its signals."""
        interpreter = fx.Interpreter(self.traced, garbage_collect_values=False)
        with self.masked(masks):
            output = interpreter.run(x)
        return Run(self, masks, interpreter.env, output)

    def behind(self, node: fx.Node) -> frozenset[fx.Node]:
        """Return all that depends on a node."""
        if node not in self._behind:
            found: set[fx.Node] = set()
            ends = list(node.users)
            while ends:
                at = ends.pop()
                if at not in found:
                    found.add(at)
                    ends += at.users
            self._behind[node] = frozenset(found)
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


class Run:
    """One run of a program, that can be taken up again at a gate.

    Attributes
    ----------
    output : torch.Tensor or whatever the model returns
    """

    def __init__(
        self, program: Program, masks: Masks, signals: dict[fx.Node, Any], output: Any
    ) -> None:
        self.program, self.masks, self.output = program, masks, output
        self.signals = signals

    def flipped(self, name: str, gates: slice) -> Any:
        """Return the outputs for every gate of a group that is the other way round alone.

        Computing begins at the gate. Where a linear layer alone reads the units, it begins behind that
        layer, whose output moves by a multiple of a row of its weights.

        Returns
        -------
        torch.Tensor of shape (n_samples * n_gates, ...)
            All flips of the first sample come first.
        """
        gate, mask = self.program.nodes[name], self.masks[name]
        reader = self.program.linear_reader(name)
        if reader is None:
            return self._onward(gate, *self._flipped_units(name, gates))
        layer = self.program.module(reader)
        units = self.signals[gate.all_input_nodes[0]][:, gates]
        moves = ((1 - 2 * mask[:, gates]) * units)[..., None] * layer.weight.T[gates]
        before = layer(self.signals[gate])  # what is remembered of it may have been overwritten
        return self._onward(reader, (before[:, None] + moves).flatten(0, 1), moves.shape[1])

    def _flipped_units(self, name: str, gates: slice) -> tuple[torch.Tensor, int]:
        mask = self.masks[name]
        flips = torch.eye(mask.shape[1], dtype=mask.dtype, device=mask.device)[gates]
        masks = (mask[:, None] - flips).abs().flatten(0, 1)
        source = self.program.nodes[name].all_input_nodes[0]
        units = self.signals[source].repeat_interleave(len(flips), dim=0)
        with self.program.masked({name: masks}):
            return self.program.gates[name](units), len(flips)

    def _onward(self, node: fx.Node, value: torch.Tensor, copies: int) -> Any:
        """Run on behind a node with another value of it, which holds each sample so often."""
        behind = self.program.behind(node)
        needed = {source for after in behind for source in after.all_input_nodes}
        known = {
            source: _repeated(signal, copies, len(value)) if source in needed else signal
            for source, signal in self.signals.items()
            if source not in behind
        }
        masks = {
            name: mask.repeat_interleave(copies, dim=0)
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


def _repeated(signal: Any, copies: int, total: int) -> Any:
    """Repeat what holds one entry after another for the samples; sizes grow with them."""
    if isinstance(signal, torch.Tensor) and signal.dim() and len(signal) * copies == total:
        return signal.repeat_interleave(copies, dim=0)
    return total if signal == total // copies and isinstance(signal, int) else signal
