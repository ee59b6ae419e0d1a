"""The certificate of a finished network: what the loss rises by without each of its units."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from ..models.adapters.torch.data import iterate_batches
from .onset import is_near

if TYPE_CHECKING:
    from .gates import UnitGates

__all__ = ["Certificate", "leave_one_out"]


@dataclass(frozen=True)
class Certificate:
    """Every unit on trial: were it to go alone, the objective would change by ``rise - cost``.

    Where that is negative for a unit, the network without it is better by the objective's own
    measure (docs/mathematics/parsimonious.md#the-certificate-of-a-trained-network). It is measured,
    not estimated: on these samples, all other units open.

    Attributes
    ----------
    rises : dict of str to torch.Tensor of shape (n_units,)
        By how much the mean loss rises without a unit, in nats, by group.
    costs : dict of str to torch.Tensor of shape (n_units,)
        What a unit must be worth.
    loss : float
        Mean loss of the whole network.
    start : float
        The loss training began with, or that of the network's outputs with other samples' targets
        if that is smaller: what a network that knows nothing of its targets has.
    n_samples : int
    """

    rises: dict[str, torch.Tensor]
    costs: dict[str, torch.Tensor]
    loss: float
    start: float
    n_samples: int

    @property
    def n_units(self) -> int:
        """Units, inputs and sections that have a gate."""
        return sum(map(len, self.rises.values()))

    @property
    def learned(self) -> bool:
        """Whether the loss is smaller than `start` by more than a tenth of it."""
        return not is_near(self.loss, self.start)

    @property
    def least(self) -> float:
        """Least ratio of a rise to its cost; at least 1 if every unit is worth it."""
        return min((float((self.rises[n] / self.costs[n]).min()) for n in self.rises), default=1.0)

    def share(self, part: float = 1.0) -> float:
        """Return the share of units whose loss would cost at least a part of their price."""
        worth = sum(int((self.rises[n] >= part * self.costs[n]).sum()) for n in self.rises)
        return worth / self.n_units if self.n_units else 1.0

    def __str__(self) -> str:
        """Return the verdict in a line."""
        verdict = (
            f"{self.share():.1%} of {self.n_units} units are worth their cost on "
            f"{self.n_samples:,} samples; the least is worth {self.least:.2f} of it"
        )
        return verdict if self.learned else f"{self._doubt}: {verdict}"

    @property
    def _doubt(self) -> str:
        return (
            f"! the network has learned next to nothing (loss {self.loss:.4g}, {self.start:.4g} "
            "without knowing the inputs), which says little of its units"
        )


def leave_one_out(
    gates: UnitGates, loader: Iterable[Any], *, n_samples: int | None = None
) -> Certificate:
    """Measure what the loss rises by without each unit.

    Parameters
    ----------
    gates : UnitGates
        After `UnitGates.finish`.
    loader : iterable of pairs of tensors
        Inputs and targets, as in training.
    n_samples : int, optional
        Stop after so many samples. Default: all.

    Returns
    -------
    Certificate

    Raises
    ------
    ValueError
        If there are no samples.
    """
    rises: dict[str, torch.Tensor] = {}
    total, others, count = 0.0, 0.0, 0
    for x, y in iterate_batches(loader, "loader", gates.device):
        losses, differences = gates.leave_one_out(x, y)
        for name, difference in differences.items():
            rises[name] = rises.get(name, 0.0) - difference * len(x)
        total, count = total + float(losses.sum()), count + len(x)
        others += float(gates.compared(x, y)[1].sum())
        if n_samples is not None and count >= n_samples:
            break
    first = gates.onset.first
    return Certificate(
        rises={name: rise / count for name, rise in rises.items()},
        costs=gates.costs,
        loss=total / count,
        start=others / count if first is None else min(first, others / count),
        n_samples=count,
    )
