"""What is asked of a network at a given sparsity."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

from ..base.arguments import number, one_of
from ..base.arrays import Array
from ..budget.data import Pattern
from ..models.model_view import LayerView, activate
from .plan import SCHEMES, Place, Program, posed, refuse_unused

__all__ = ["BudgetPlan"]


@dataclass(frozen=True)
class BudgetPlan:
    """The checked options of a run to a given sparsity; see `nettrim.trim`."""

    sparsity: float | None
    scheme: str
    share: str
    pattern: str | None
    min_density: float

    @classmethod
    def checked(
        cls, *, sparsity: Any, scheme: Any, share: Any, pattern: Any, min_density: Any
    ) -> BudgetPlan:
        """Build a plan from what a user gave; None is the default of `share` and `min_density`.

        Raises
        ------
        TypeError, ValueError
            If an option is not what it must be, or would not be used; the message names it.
        """
        Pattern.of(None, pattern, 1)
        least = 0.0 if min_density is None else min_density
        plan = cls(
            sparsity=None if sparsity is None else number(sparsity, "sparsity", least=0, most=1),
            scheme=one_of(scheme, SCHEMES, "scheme"),
            share=one_of("network" if share is None else share, ("network", "layer"), "share"),
            pattern=pattern,
            min_density=number(least, "min_density", least=0, most=1),
        )
        if sparsity is None:
            why = "belongs to sparsity, a pattern alone leaves nothing to share"
            refuse_unused(why, share=share, min_density=min_density)
        if plan.share == "layer":
            why = "belongs to share='network', otherwise all layers are equally sparse"
            refuse_unused(why, min_density=min_density)
        return plan

    @property
    def cascaded(self) -> bool:
        """Whether a layer sees the outputs of the trimmed ones in front of it."""
        return self.scheme == "cascade"

    @property
    def kappa(self) -> float:
        """No layer's error is prescribed."""
        return 1.0

    def demanded(self, n_features: int, n_outputs: int) -> int:
        """Return how many weights of a layer have to go for the pattern."""
        return Pattern.of(None, self.pattern, n_features).demanded * n_outputs

    def program(self, layer: LayerView, original: Array, current: Array, place: Place) -> Program:
        """Pose a layer's problem: the original outputs from the inputs there are."""
        Y = activate(layer.affine.apply(original), layer.activation)
        return posed(layer, current if self.cascaded else original, Y, math.nan, None, self.kappa)

    def floor(self, place: Place) -> float:
        """Nothing is known of a layer's error before it is trimmed."""
        return math.inf

    def growth(self, layer: LayerView, place: Place) -> float:
        """Nor of what becomes of the errors in front."""
        return math.inf

    def options(self) -> dict[str, Any]:
        """Return the options that matter to every layer, for a checkpoint."""
        return asdict(self)

    def arguments(self) -> dict[str, Any]:
        """Return the arguments of `nettrim.trim` with their defaults, None for those without use."""
        unused = ["share"] if self.sparsity is None else []
        unused += ["min_density"] if self.sparsity is None or self.share == "layer" else []
        return {**asdict(self), **dict.fromkeys(unused)}
