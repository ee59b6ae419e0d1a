"""The sizes of all signals with which a model costs little enough, at little loss.

What a step of a signal saves depends on the sizes of the others, and where widths are multiples of
something it saves much at once. So one price over all signals is a start: first the steps go that
lose least for what they save, down to what is allowed, and what there is room for then comes back.
After that one signal goes some way up or down and others make up for it, as long as that helps.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ...models.units.unit_map import UnitMap
from .unit_plan import UnitPlan
from .unit_sizes import SignalCurve

__all__ = ["choose_units"]

WAYS = (1, 2, 4, 8)  # steps that are tried at once; where they are small, further ones gain nothing
WORTH_IT = 1e-3  # of the loss, for which an exchange is made

Mask = NDArray[np.bool_]


def choose_units(
    units: UnitMap, curves: Sequence[SignalCurve], price: str, most: float
) -> Mask | None:
    """Return the units that stay so that the model costs at most so much, at little loss.

    None where the model costs more without all that may go.
    """
    plan = _filled(UnitPlan(units, curves, price), most)
    return None if plan is None else _exchanged(plan, most).kept


def _exchanged(plan: UnitPlan, most: float) -> UnitPlan:
    """Give one signal more or fewer units and have others make up for it, while that helps."""
    settled = 0  # signals since the last exchange
    number = 0
    while settled < len(plan.curves):
        others = (
            _filled(plan.moved(number, step), most, held=number)
            for step in _steps(plan.reached[number], len(plan.curves[number].sizes))
        )
        best = min((p for p in others if p is not None), key=_loss, default=plan)
        helps = best.loss < (1 - WORTH_IT) * plan.loss
        plan, settled = (best, 0) if helps else (plan, settled + 1)
        number = (number + 1) % len(plan.curves)
    return plan


def _steps(reached: int, n_sizes: int) -> list[int]:
    """Return other sizes of a signal, some steps up and down."""
    steps = [reached + sign * way for way in WAYS for sign in (-1, 1)]
    return [step for step in steps if 0 <= step < n_sizes]


def _filled(plan: UnitPlan, most: float, held: int | None = None) -> UnitPlan | None:
    """Return a plan that costs at most so much, and has no room for another unit.

    All but the signal that is held may change. None if that is not enough.
    """
    free = [number for number in range(len(plan.curves)) if number != held]
    while plan.cost > most:
        slope, chosen = min(
            ((plan.slope(number), number) for number in free), default=(math.inf, 0)
        )
        if slope == math.inf:
            return None
        plan = plan.moved(chosen, plan.reached[chosen] + 1)
    while True:
        back = [_back(plan, number, most) for number in free]
        gain, chosen, step = max(back, default=(-math.inf, 0, 0))
        if gain == -math.inf:
            return plan
        plan = plan.moved(chosen, step)


def _back(plan: UnitPlan, number: int, most: float) -> tuple[float, int, int]:
    """Return what can be gained by the largest size of a signal that there is room for."""
    reached = plan.reached[number]
    step = int(np.argmax(plan.costs(number) <= most))
    if step >= reached:
        return -math.inf, number, reached
    losses = plan.curves[number].loss_of_sizes
    return float(losses[reached] - losses[step]), number, step


def _loss(plan: UnitPlan) -> float:
    return plan.loss
