"""A module and the program that runs it with gates; both shrink together."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from ..models.adapters.torch.expansions.expand import are_near
from ..models.adapters.torch.outputs import named_tensors
from ..models.adapters.torch.units.confirm import NEEDED, confirm_units
from ..models.adapters.torch.units.cut import cut_module, cut_units
from ..models.units.unit_map import UnitMap, owner_of
from .cost import Size, size_of
from .gated_program import GatedProgram, undisturbed
from .slicing import Optimizer, cut_section, exchange
from .structure import INPUTS, Structure, input_axis, trace, walk

__all__ = ["GatedModel"]

Mask = NDArray[np.bool_]


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

    Raises
    ------
    ValueError
        If torch.fx cannot follow the module's code, or, with ``inputs``, these cannot be gated.
    """

    def __init__(
        self, model: nn.Module, example: torch.Tensor, *, inputs: bool, sections: bool
    ) -> None:
        self.model = model
        self._example, self._sections = example, sections
        with undisturbed(model):
            graph = trace(model, example)
            self.input_axis = input_axis(graph)
            found = walk(graph, model, example, inputs=inputs)
            units = confirm_units(found, self._works_with)
        self._look(units)
        if inputs and not self._reads_inputs_as_they_come():
            raise ValueError(
                f"inputs cannot be gated: {self.left_out.get(INPUTS, NEEDED)}; layers must take "
                "them as they come (flatten images beforehand for a dense one)"
            )

    @property
    def left_out(self) -> Mapping[str, str]:
        """Layers whose units have to stay, and why."""
        return self.structure.map.left_out

    @property
    def counts(self) -> dict[str, int]:
        """How many gates each group has; a section is a group of one."""
        units = {name: units.count for name, units in self.structure.units.items()}
        return {**units, **dict.fromkeys(self.structure.sections, 1)}

    @property
    def size(self) -> Size:
        """Weights and work of what is left."""
        return size_of(self.structure)

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
            gone = {name for modules in cut for name in modules}
            self._look(self.structure.map.outside(gone))
        mask = self.structure.in_map(kept)
        swap = None if optimizer is None else partial(exchange, optimizer)
        cut_units(self.model, self.structure.map, mask, swap)
        if INPUTS in self.structure.units:
            self._example = self._selected(self._example, kept[INPUTS])
        self._look(self.structure.map.narrowed(mask))

    def _reads_inputs_as_they_come(self) -> bool:
        group = self.structure.units.get(INPUTS)
        return group is not None and all(
            self.program.n_axes(node) == self._example.dim() for node in self.program.nodes[INPUTS]
        )

    def _look(self, units: UnitMap) -> None:
        with undisturbed(self.model):
            graph = trace(self.model, self._example)
        self.structure = Structure(graph, units, sections=self._sections)
        self.program = GatedProgram(self.structure)
        self.passes = self._count_passes()

    def _works_with(self, units: UnitMap, kept: Mask) -> bool:
        """Tell whether units that are cut out are the same as those with closed gates."""
        structure = Structure(trace(self.model, self._example), units, sections=False)
        x = self._example
        masks = {name: mask.to(x.device) for name, mask in structure.by_group(kept).items()}
        rows = {name: mask.expand(len(x), -1) for name, mask in masks.items()}
        wanted = GatedProgram(structure)(x, rows, training=False)
        if INPUTS in masks:
            x = self._selected(x, masks[INPUTS])
        try:
            found = cut_module(self.model, units, kept)(x)
        except Exception:  # noqa: BLE001 (of code that is not ours)
            return False
        return are_near(named_tensors(found), named_tensors(wanted))

    def _selected(self, x: torch.Tensor, kept: torch.Tensor) -> torch.Tensor:
        return x.index_select(self.input_axis, kept.nonzero().ravel().to(x.device))

    def _count_passes(self) -> float:
        work = {owner_of(t.name): t.uses * math.prod(t.shape) for t in self.structure.weights}
        total = 0.0
        for name, count in self.counts.items():
            called = {str(n.target) for n in self.program.run_again(name) if n.op == "call_module"}
            total += count * sum(uses for layer, uses in work.items() if layer in called)
        return total / sum(work.values()) if work else 0.0
