r"""What a unit has to be worth, in nats of training loss.

Either a number, or from what the network costs to store and to run. With :math:`S_l` the expected
number of units of group `l`, a layer that maps group `l - 1` to `l` has :math:`m_l S_{l-1} S_l`
weights, which are applied :math:`r_l` times to a sample. Both sums over layers, :math:`P` and
:math:`F`, are linear in each keep probability; the price of a unit is the derivative of

.. math:: strength\,\Big((1 - \rho)\,\frac{P}{P_{ref}} + \rho\,\frac{F}{F_{ref}} +
\beta\,\frac{\sum_s t_s}{n_s}\Big)

by its own probability (docs/mathematics/parsimonious.md#prices-from-the-size-of-the-network).
References are fixed: dividing by the size at the start would make the price depend on it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch

from ..base.arguments import check_number
from .structure import Structure

__all__ = ["ComplexityCost", "Costs", "FixedCost", "Size", "cost_of", "expected_size", "size_of"]

Costs = dict[str, torch.Tensor]
Probabilities = Mapping[str, torch.Tensor]


@dataclass(frozen=True)
class Size:
    """Weights of the linear layers and convolutions, and their work on one sample.

    Attributes
    ----------
    parameters : float
        Weights, biases not counted.
    flops : float
        Two for each multiplication of a weight.
    """

    parameters: float
    flops: float


@dataclass(frozen=True)
class FixedCost:
    """The same price for every unit of a group, in nats.

    Attributes
    ----------
    units : float or dict of str to float
        For all groups, or by the name of the layer; groups that are not named stay whole.
    section : float or None
        Of a section; None: its gates do not move.
    """

    units: float | Mapping[str, float]
    section: float | None

    def __call__(self, structure: Structure, probabilities: Probabilities) -> Costs:
        """Return the price of every gate."""
        return {
            name: torch.full_like(p, self._of(structure, name)) for name, p in probabilities.items()
        }

    def _of(self, structure: Structure, name: str) -> float:
        if name in structure.sections:
            return self.section or 0.0
        return self.units.get(name, 0.0) if isinstance(self.units, Mapping) else self.units


@dataclass(frozen=True)
class ComplexityCost:
    """Prices that follow from the expected size of the network: three numbers for all gates.

    Attributes
    ----------
    strength : float
        Nats of training loss that a network of the reference size may cost.
    parameters : float
        Reference for the number of weights, say what the device holds.
    flops : float, optional
        Reference for the work on one sample; needed if ``flops_share`` is not 0.
    flops_share : float, default 0
        How much work counts instead of weights, from 0 to 1.
    section_share : float, default 0
        What all sections together cost beside what is in them.

    Examples
    --------
    >>> from nettrim.parsimonious import ComplexityCost
    >>> ComplexityCost(0.1, parameters=1000, flops=2000, flops_share=0.5).flops_share
    0.5
    """

    strength: float
    parameters: float
    flops: float | None = None
    flops_share: float = 0.0
    section_share: float = 0.0

    def __post_init__(self) -> None:
        """Check the arguments."""
        for name in ("strength", "parameters"):
            check_number(getattr(self, name), name, above=0.0)
        for name in ("flops_share", "section_share"):
            check_number(getattr(self, name), name, least=0.0)
        if self.flops_share > 1:
            raise ValueError(f"flops_share must be between 0 and 1, got {self.flops_share!r}")
        if self.flops_share:
            if self.flops is None:
                raise ValueError("flops is needed: the reference for a flops_share that is not 0")
            check_number(self.flops, "flops", above=0.0)

    def __call__(self, structure: Structure, probabilities: Probabilities) -> Costs:
        """Return the price of every gate under the keep probabilities of the moment."""
        leaves = {name: p.detach().requires_grad_() for name, p in probabilities.items()}
        with torch.enable_grad():
            total = self._total(structure, leaves)
        prices = torch.autograd.grad(
            total, list(leaves.values()), allow_unused=True, materialize_grads=True
        )
        return dict(zip(leaves, prices, strict=True))

    def _total(self, structure: Structure, leaves: Probabilities) -> torch.Tensor:
        parameters, flops = expected_size(structure, leaves)
        total = (1 - self.flops_share) * parameters / self.parameters
        if self.flops is not None:
            total = total + self.flops_share * flops / self.flops
        sections = [leaves[name].sum() for name in structure.sections]
        if sections:
            total = total + self.section_share * sum(sections) / len(sections)
        return torch.as_tensor(self.strength * total)


def cost_of(
    unit_cost: float | Mapping[str, float] | ComplexityCost, section_cost: float | None
) -> FixedCost | ComplexityCost:
    """Check what the caller gave."""
    if isinstance(unit_cost, ComplexityCost):
        if section_cost is not None:
            raise ValueError("section_cost is part of a ComplexityCost: leave it out")
        return unit_cost
    if section_cost is not None:
        check_number(section_cost, "section_cost", above=0.0)
    if isinstance(unit_cost, Mapping):
        named = {
            name: check_number(v, f"unit_cost[{name!r}]", least=0.0)
            for name, v in unit_cost.items()
        }
        return FixedCost(named, section_cost)
    return FixedCost(check_number(unit_cost, "unit_cost", least=0.0), section_cost)


def expected_size(
    structure: Structure, probabilities: Probabilities
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the expected number of weights and of operations for one sample."""
    parameters = flops = torch.zeros((), dtype=torch.float64)
    there = structure.spread(probabilities)
    for tensor in structure.weights:
        left = torch.ones((), dtype=torch.float64)
        for axis, size in enumerate(tensor.shape):
            left = left * (there[tensor.axes[axis]].sum() if axis in tensor.axes else size)
        for section in structure.sections_of(tensor):
            left = left * probabilities[section].sum()
        parameters = parameters + left
        flops = flops + 2 * tensor.uses * left
    return parameters, flops


def size_of(structure: Structure) -> Size:
    """Return the size with all gates open."""
    kept = np.ones(structure.map.n_units, dtype=bool)
    counts = [(tensor.count(kept), tensor.uses) for tensor in structure.weights]
    return Size(
        parameters=sum(count for count, _ in counts),
        flops=sum(2 * uses * count for count, uses in counts),
    )
