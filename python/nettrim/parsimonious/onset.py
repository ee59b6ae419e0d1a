r"""Whether training has begun to lower the loss: before, no unit is of use yet, and none may go.

A loss that falls need not have learned anything of the inputs: it falls while an output bias learns
how frequent each class is. What the inputs have to do with it is seen by comparing the loss `C` of
outputs with the loss `U` of the same outputs with other samples' targets; the two have the same
mean as long as outputs tell nothing of their targets (a permutation test). Training has begun when,
by more than its noise (`nettrim.parsimonious.evidence`),

.. math:: U - C > \tfrac{1}{10} |U| \quad\text{and}\quad C < C_0

with :math:`C_0` the loss on the first mini-batch. The tenth keeps gates still on a plateau, where
all units are worth next to nothing; a run that ends within it has learned next to nothing, and
warns.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

from .evidence import Evidence

__all__ = ["Onset", "is_near"]

NEAR = 0.1  # share of a loss within which another one is near


@dataclass(frozen=True)
class Onset:
    """What is known of how a training begins.

    Attributes
    ----------
    first : float or None
        Loss on the first mini-batch.
    seen : Evidence of shape (2,)
        By how much the loss is smaller than with other samples' targets, and than on the first
        mini-batch.
    begun : bool
    """

    first: float | None = None
    seen: Evidence = field(default_factory=lambda: Evidence.none(2))
    begun: bool = False

    def updated(self, loss: float, others: float, memory: int) -> Onset:
        """Return what is known after one more mini-batch.

        Parameters
        ----------
        loss, others : float
            Mean losses, with their own and with other samples' targets.
        memory : int
            Mini-batches after which older ones are forgotten.
        """
        first = loss if self.first is None else self.first
        seen = self.seen.updated(torch.tensor([others - loss, first - loss]).double(), memory)
        gain, fall = seen.mean.tolist()
        bars = torch.tensor([NEAR * abs(first - fall + gain), 0.0])
        return Onset(first, seen, bool(seen.exceeds(bars).all()))

    def state_dict(self) -> dict[str, Any]:
        """Return plain values and tensors."""
        return {**vars(self), "seen": vars(self.seen)}

    @classmethod
    def of_state(cls, state: Mapping[str, Any]) -> Onset:
        """Read `state_dict`."""
        return cls(**{**state, "seen": Evidence(**state["seen"])})


def is_near(loss: float, start: float) -> bool:
    """Whether a loss has not left the place where it began."""
    return loss > start - NEAR * abs(start)
