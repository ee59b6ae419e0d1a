"""A module and the program that runs it with gates; both shrink together."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn

from .cost import Size, size_of
from .gated_program import GatedProgram, undisturbed
from .slicing import Optimizer, cut_section, keep_features, keep_units
from .structure import INPUTS, Structure

__all__ = ["GatedModel"]


class GatedModel:
    """What is left of a module, and how it runs with gates.

    Parameters
    ----------
    model : torch.nn.Module
        Changed in place.
    example : torch.Tensor of shape (n_samples, ...)
        Inputs, as many of them as are left.
    inputs, sections : bool
        Whether inputs and sections are gated.

    Attributes
    ----------
    structure : Structure
    program : GatedProgram
    passes : float
        How many runs of the module it is to flip every gate of a sample by itself.
    """

    def __init__(
        self, model: nn.Module, example: torch.Tensor, *, inputs: bool, sections: bool
    ) -> None:
        self.model = model
        self._example, self._inputs, self._sections = example, inputs, sections
        self._look()

    @property
    def counts(self) -> dict[str, int]:
        """How many gates each group has; a section is a group of one."""
        units = {name: units.count for name, units in self.structure.units.items()}
        return {**units, **dict.fromkeys(self.structure.sections, 1)}

    @property
    def size(self) -> Size:
        """Weights and work of what is left."""
        return size_of(self.structure)

    @property
    def input_axis(self) -> int:
        """Along which axis inputs are gated."""
        return self.structure.units[INPUTS].axis

    def _count_passes(self) -> float:
        work = {name: self.structure.work_of(name) for name in self.structure.layers}
        total = 0.0
        for name, count in self.counts.items():
            behind = self.program.behind(self.program.nodes[name])
            again = behind - {self.program.linear_reader(name)}
            called = {str(node.target) for node in again if node.op == "call_module"}
            total += count * sum(flops for layer, flops in work.items() if layer in called)
        return total / sum(work.values()) if work else 0.0

    def is_needed(self, name: str) -> bool:
        """Whether nothing passes by a group of units: without them the output is constant."""
        return not any(name in section.modules for section in self.structure.sections.values())

    def retain(self, kept: Mapping[str, torch.Tensor], optimizer: Optimizer | None) -> None:
        """Take out units and sections.

        Parameters
        ----------
        kept : mapping of str to torch.Tensor of shape (n_gates,)
            bool, for every group; at least one unit of each.
        optimizer : torch.optim.Optimizer or None
            Trains on with what is left.
        """
        if all(mask.all() for mask in kept.values()):
            return
        cut = [s.modules for name, s in self.structure.sections.items() if not kept[name].any()]
        for modules in cut:
            cut_section(self.model, modules, optimizer)
        if cut:  # units in them are gone as well
            self._look()
        for name in self.structure.units:
            self._narrow(name, kept[name].nonzero().ravel(), optimizer)
        self._look()

    def _look(self) -> None:
        with undisturbed(self.model):
            self.structure = Structure.of(
                self.model, self._example, inputs=self._inputs, sections=self._sections
            )
        self.program = GatedProgram(self.structure)
        self.passes = self._count_passes()

    def _narrow(self, name: str, kept: torch.Tensor, optimizer: Optimizer | None) -> None:
        units = self.structure.units[name]
        if len(kept) == units.count:
            return
        for maker in units.makers:
            keep_units(self.model.get_submodule(maker), kept, optimizer)
        for reader in units.readers:
            keep_features(self.model.get_submodule(reader), kept, units.count, optimizer)
        if name == INPUTS:
            self._example = self._example.index_select(units.axis, kept)
