"""How many units each signal keeps: one price over all signals."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...base.arrays import Array
from ...models.units.unit_map import FIXED, UnitMap, Units

__all__ = ["PRICES", "SignalCurve", "allowed_sizes", "choose_units", "count_cost"]

Mask = NDArray[np.bool_]

PRICES = ("size", "operations")


class SignalCurve(NamedTuple):
    """What it costs the network to lose units of a signal.

    Attributes
    ----------
    order : ndarray of shape (n_units,)
        Numbers of its units, the first to go first.
    losses : ndarray of shape (n_units + 1,)
        The network's loss without the first 0, 1, 2, ... of them.
    sizes : ndarray
        Numbers of units that it may be left with, descending, the first being all of them.
    """

    order: Units
    losses: Array
    sizes: Units

    def step(self, number: int) -> Units:
        """Return the units that go from one of the sizes to the next."""
        return self.order[slice(*(self.sizes[0] - self.sizes[number : number + 2]))]


def allowed_sizes(
    units: UnitMap, signal: Units, min_width: int, multiple_of: int
) -> NDArray[np.intp]:
    """Return the numbers of units that a signal may be left with, descending.

    Widths of the tensors are what ``min_width`` and ``multiple_of`` speak of: a head of attention
    is as wide as its features are many.
    """
    widths = [
        int(np.isin(layer.outputs, signal).sum())
        for layer in units.layers
        if np.isin(layer.outputs, signal).any()
    ]
    per_unit = max(1, min(widths, default=len(signal)) // len(signal))
    step = multiple_of // math.gcd(multiple_of, per_unit)
    least = max(1, -(-min_width // per_unit))
    sizes = [n for n in range(len(signal) - 1, 0, -1) if n % step == 0 and n >= least]
    return np.array([len(signal), *sizes])


def count_cost(units: UnitMap, price: str, kept: Mask) -> int:
    """Return what is left of the model's size, or of its operations."""
    return units.parameters(kept) if price == "size" else units.operations(kept)


def choose_units(
    units: UnitMap, curves: Sequence[SignalCurve], price: str, most: float
) -> Mask | None:
    """Return the units that stay so that the model costs at most so much, at little loss.

    Step by step the signal gives up units whose loss is least for what that saves, over as many
    further steps as serve it best. None where the model costs more without all that may go.
    """
    bill = _Bill(units, price)
    reached = [0] * len(curves)
    while bill.total > most:
        slopes = [
            _slope(curve, step) / max(bill.price(curve.order[-1]), 1)
            for curve, step in zip(curves, reached, strict=True)
        ]
        if not np.isfinite(slopes).any():
            return None
        chosen = int(np.argmin(slopes))
        bill.change(curves[chosen].step(reached[chosen]), -1)
        reached[chosen] += 1
    _give_back(bill, curves, reached, most)
    kept = np.ones(units.n_units, dtype=bool)
    for curve, step in zip(curves, reached, strict=True):
        kept[curve.order[: curve.sizes[0] - curve.sizes[step]]] = False
    return kept


def _give_back(bill: _Bill, curves: Sequence[SignalCurve], reached: list[int], most: float) -> None:
    """Undo steps that there is room for after the last one, those that gain most first."""
    while True:
        gains = np.array([-math.inf] * len(curves))
        for number, (curve, step) in enumerate(zip(curves, reached, strict=True)):
            if step and bill.total_with(curve.step(step - 1)) <= most:
                removed = curve.sizes[0] - curve.sizes[[step - 1, step]]
                gains[number] = curve.losses[removed[1]] - curve.losses[removed[0]]
        if not len(gains) or gains.max() == -math.inf:
            return
        chosen = int(np.argmax(gains))
        reached[chosen] -= 1
        bill.change(curves[chosen].step(reached[chosen]), 1)


def _slope(curve: SignalCurve, step: int) -> float:
    """Return the least growth of the loss for a unit, to any of the sizes below."""
    removed = curve.sizes[0] - curve.sizes[step:]
    if len(removed) == 1:
        return math.inf
    growth = curve.losses[removed[1:]] - curve.losses[removed[0]]
    return float((growth / (removed[1:] - removed[0])).min())


class _Bill:
    """What a model costs, kept up to date as units go."""

    def __init__(self, units: UnitMap, price: str) -> None:
        self._factors: list[float] = []
        self._left: list[list[int]] = []
        self._places: list[list[tuple[int, int, int]]] = [[] for _ in range(units.n_units)]
        for number, tensor in enumerate(units.tensors):
            weight = int(tensor.is_parameter) if price == "size" else tensor.uses
            whole = [n for axis, n in enumerate(tensor.shape) if axis not in tensor.axes]
            self._factors.append(weight * math.prod(whole))
            self._left.append([len(along) for along in tensor.axes.values()])
            for axis, along in enumerate(tensor.axes.values()):
                counts = np.bincount(along[along != FIXED], minlength=units.n_units)
                for unit in np.flatnonzero(counts):
                    self._places[unit].append((number, axis, int(counts[unit])))
        self.total = sum(map(self._cost, range(len(self._factors))))

    def price(self, unit: int) -> float:
        """Return what the model saves without a unit."""
        before = self.total
        self._change(unit, -1)
        saved = before - self.total
        self._change(unit, 1)
        return saved

    def total_with(self, units: Units) -> float:
        """Return what the model would cost with some units that are gone."""
        self.change(units, 1)
        total = self.total
        self.change(units, -1)
        return total

    def change(self, units: Units, sign: int) -> None:
        """Take units away, or put them back."""
        for unit in units:
            self._change(int(unit), sign)

    def _change(self, unit: int, sign: int) -> None:
        for number, axis, count in self._places[unit]:
            self.total -= self._cost(number)
            self._left[number][axis] += sign * count
            self.total += self._cost(number)

    def _cost(self, number: int) -> float:
        return self._factors[number] * math.prod(self._left[number])
