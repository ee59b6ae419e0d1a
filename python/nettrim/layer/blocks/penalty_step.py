"""A round of blocks: what they answered at one penalty, and what that is for the whole layer."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ...base.arrays import frobenius_norm
from .block import Block, BlockResult
from .pareto import Point

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..data import LayerData

    Floats = NDArray[np.floating[Any]]

__all__ = ["Candidate", "PenaltyStep", "Target", "relative_gap"]

TINY = float(np.finfo(float).tiny)


@dataclass(frozen=True)
class Target:
    """What is known of a layer's outputs before anything is solved.

    Attributes
    ----------
    norms : list of float
        Frobenius norm of the active outputs of each block.
    total : float
        The same of all blocks.
    largest : float
        Unit of violations.
    excess : float
        Largest violation of zero weights.
    """

    norms: list[float]
    total: float
    largest: float
    excess: float

    @classmethod
    def of(cls, data: LayerData, blocks: Sequence[Block]) -> Target:
        """Measure the outputs of a layer, block by block."""
        norms, excess = [], 0.0
        for block in blocks:
            active = data.is_active(block.outputs)
            norms.append(frobenius_norm(data.Y[:, block.outputs][active]))
            if data.upper is not None:
                upper = data.upper[:, block.outputs][~active]
                excess = max(excess, -float(upper.min(initial=0.0)))
        largest = float(np.abs(data.Y).max())
        if largest == 0 and data.upper is not None:
            largest = float(np.abs(data.upper).max())
        return cls(norms, math.hypot(*norms), largest, excess)

    @property
    def zero_is_feasible(self) -> bool:
        """Whether zero weights satisfy the half-spaces."""
        return self.excess == 0


@dataclass(frozen=True)
class PenaltyStep:
    """What the blocks answered at one penalty, and the sums of their numbers.

    Multipliers count in units of the penalty.
    """

    penalty: float
    tol: float
    results: list[BlockResult]
    residual: float
    violation: float
    l1: float
    linear: float
    norm: float
    doubt: float

    @classmethod
    def of(cls, penalty: float, tol: float, results: list[BlockResult]) -> PenaltyStep:
        """Add up what the blocks answered."""
        solutions = [result.solution for result in results]
        return cls(
            penalty,
            tol,
            results,
            residual=max(math.hypot(*(s.residual for s in solutions)), TINY),
            violation=max(s.violation for s in solutions),
            l1=sum(result.l1 for result in results),
            linear=sum(result.linear for result in results),
            norm=math.sqrt(sum(result.square for result in results)),
            doubt=sum(abs(s.objective - s.dual_bound) for s in solutions),
        )

    @property
    def point(self) -> Point:
        """The round as the search for the penalty sees it."""
        # A penalised objective exceeds its optimum by the square of the signal's distance at least.
        noise = math.sqrt(self.doubt) / self.residual
        return Point(self.penalty, self.residual, self.l1, noise)

    @property
    def has_all_multipliers(self) -> bool:
        """Whether every block sent those of all its entries."""
        return all(len(result.solution.dual) for result in self.results)

    def bound(self, epsilon: float) -> float:
        """Return what the multipliers prove of the whole layer."""
        return max(self.linear - epsilon * self.norm, 0.0)


@dataclass(frozen=True)
class Candidate:
    """Weights of all blocks, and the round whose multipliers prove how good they are."""

    weights: list[Floats]
    l1: float
    residual: float
    violation: float
    proof: PenaltyStep

    @classmethod
    def of(cls, step: PenaltyStep) -> Candidate:
        """Take the weights of a round, which proves them itself."""
        weights = [result.solution.weights for result in step.results]
        return cls(weights, step.l1, step.residual, step.violation, step)


def relative_gap(objective: float, bound: float) -> float:
    """Return how far an objective can be above the optimum, over its size."""
    excess, size = float(objective - bound), max(abs(float(objective)), TINY)
    return excess / size if excess else 0.0  # floats of Python overflow to infinity without a word
