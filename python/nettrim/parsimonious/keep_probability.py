"""Keep probabilities: how they move, and which units have been quiet for long enough to go."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch

from ..base.arguments import check_integer, check_number
from .evidence import Evidence

__all__ = ["KeepProbability", "Schedule"]

GONE = 1e-3  # a keep probability that counts as zero
SURE = 0.95  # one that is snapped to 1 at the end


@dataclass(frozen=True)
class Schedule:
    """How keep probabilities are trained; all but `steps` and `start` are shares of the steps.

    Attributes
    ----------
    steps : int
        Updates in all.
    start : float, default 0.5
        Keep probability at the beginning, in (0, 1].
    warm_up : float, default 0.1
        Gates are drawn, but their probabilities stay: at first no unit is of use yet. Where
        training has not begun after it, gates are open until it has (`nettrim.parsimonious.onset`).
        0: they move at once.
    fall : float, default 0.05
        How long it takes a useless unit from `start` to zero, at the first step's rate. It ties the
        step to the cost of a unit: ``start / (cost * fall * steps)``.
    quiet : float, default 0.01
        How long a keep probability is zero before its unit goes.
    snap : float, default 0.1
        At the end: probabilities go by what is proved, and those that reach 0.95 become 1 and stay
        there.
    """

    steps: int
    start: float = 0.5
    warm_up: float = 0.1
    fall: float = 0.05
    quiet: float = 0.01
    snap: float = 0.1

    def __post_init__(self) -> None:
        """Check the arguments."""
        check_integer(self.steps, "steps")
        for name in ("start", "warm_up", "fall", "quiet", "snap"):
            value = check_number(getattr(self, name), name, least=0.0)
            if value > 1 or (value == 0 and name in ("start", "fall")):
                raise ValueError(f"{name} must be between 0 and 1, got {value!r}")

    @property
    def memory(self) -> int:
        """How many updates an estimate counts for: as many as a fall takes."""
        return max(2, round(self.fall * self.steps))

    @property
    def quiet_steps(self) -> int:
        """How many updates in a row a keep probability has to be zero."""
        return max(1, round(self.quiet * self.steps))

    def rate(self, step: int) -> float:
        """Return the factor of a step: nothing at first, then half a cosine down to zero."""
        if step < self.warm_up * self.steps:
            return 0.0
        return 0.5 + 0.5 * math.cos(math.pi * min(step / self.steps, 1.0))

    def listening(self, step: int) -> bool:
        """Whether estimates are made, of which the first move will need to be sure."""
        return step >= self.warm_up * self.steps - self.memory

    @property
    def speed(self) -> float:
        """How far a useless unit falls at the first step."""
        return self.start / (self.fall * self.steps)

    def snapping(self, step: int) -> bool:
        """Whether probabilities go by what is proved at a step, and those near 1 become 1."""
        return step >= (1 - self.snap) * self.steps


@dataclass(frozen=True)
class KeepProbability:
    """The keep probabilities of one group of gates.

    Attributes
    ----------
    probability : torch.Tensor of shape (n_gates,)
        float64.
    quiet : torch.Tensor of shape (n_gates,)
        int64; for how many updates in a row a probability has been zero.
    members : torch.Tensor of shape (n_gates,)
        int64; which units of the model as it was at the beginning.
    difference : Evidence of shape (n_gates,)
        How the loss differs between the gate open and closed: negative for a useful unit.
    held : torch.Tensor of shape (n_gates,)
        bool; gates that began to move from 1, or waited there, and have not been proved worthless
        yet.
    """

    probability: torch.Tensor
    quiet: torch.Tensor
    members: torch.Tensor
    difference: Evidence
    held: torch.Tensor

    @classmethod
    def of(cls, count: int, start: float, device: torch.device) -> KeepProbability:
        """Begin with equal probabilities."""
        zeros = torch.zeros(count, dtype=torch.int64, device=device)
        return cls(
            torch.full((count,), start, dtype=torch.float64, device=device),
            zeros,
            torch.arange(count, device=device),
            Evidence.none(count, device=device),
            torch.full((count,), start == 1, device=device),
        )

    def updated(self, difference: torch.Tensor, schedule: Schedule) -> KeepProbability:
        """Learn from an estimate, and do not move."""
        return replace(self, difference=self.difference.updated(difference, schedule.memory))

    def moved(
        self, difference: torch.Tensor, cost: torch.Tensor, step: int, schedule: Schedule
    ) -> KeepProbability:
        """Take one projected step against ``difference + cost``.

        A gate that has been open so far moves, and a unit counts as quiet, only where it is proved
        to be worth less than it costs: the mean of its estimates lies above ``-cost`` by more than
        its noise. At the end, where steps have become too short for units that are still on their
        way, those so proved fall as fast as a useless unit does at first, and all others rise.
        """
        mean_cost = float(cost.mean())
        if mean_cost == 0:  # a closed section costs nothing, whatever is in it
            return self
        keep = self.updated(difference, schedule)
        worthless = keep.difference.exceeds(-cost)
        if schedule.snapping(step):
            fall = torch.where(worthless, schedule.speed, -schedule.speed)
        else:
            fall = schedule.rate(step) * schedule.speed * (difference + cost) / mean_cost
        moved = (self.probability - fall).clamp(0.0, 1.0)
        held = self.held & ~worthless
        moved = torch.where(held, self.probability, moved)
        if schedule.snapping(step):
            moved = torch.where((moved >= SURE) | (self.probability == 1), 1.0, moved)
        quiet = torch.where(worthless & (moved <= GONE), self.quiet + 1, 0)
        return replace(keep, probability=moved, quiet=quiet, held=held)

    def is_open(self, cost: torch.Tensor, schedule: Schedule) -> torch.Tensor:
        """Which gates stay if all are decided now: likely ones, and those not proved worthless."""
        likely = self.probability >= min(0.5, schedule.start)
        in_doubt = ~self.difference.exceeds(-cost) if self.difference.count else likely
        return likely | in_doubt

    def drawn(self, n_samples: int, generator: torch.Generator) -> torch.Tensor:
        """Draw the gates of samples: where they are open, of shape (n_samples, n_gates)."""
        p = self.probability
        return torch.rand(n_samples, len(p), generator=generator, device=p.device) < p

    def narrowed(self, kept: torch.Tensor) -> KeepProbability:
        """Return what is left where ``kept`` is true."""
        return KeepProbability(
            self.probability[kept],
            self.quiet[kept],
            self.members[kept],
            self.difference.narrowed(kept),
            self.held[kept],
        )

    def at(self, probability: float) -> KeepProbability:
        """Return the same gates, all of them with one probability."""
        return replace(
            self,
            probability=torch.full_like(self.probability, probability),
            held=torch.full_like(self.held, probability == 1),
        )

    def state_dict(self) -> dict[str, Any]:
        """Return plain values and tensors."""
        return {**vars(self), "difference": vars(self.difference)}

    @classmethod
    def of_state(cls, state: Mapping[str, Any]) -> KeepProbability:
        """Read `state_dict`."""
        return cls(**{**state, "difference": Evidence(**state["difference"])})
