"""How many units all signals keep, and what the model costs and loses with so many."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...base.arrays import Array
from ...models.units.unit_map import FIXED, CutTensor, UnitMap
from .unit_sizes import SignalCurve

__all__ = ["UnitPlan"]

Mask = NDArray[np.bool_]


class _Share(NamedTuple):
    """What a signal has of the model's tensors.

    Attributes
    ----------
    tensors : ndarray of shape (n_tensors,)
        Numbers of those that it runs through.
    gone : ndarray of shape (n_sizes, n_tensors, n_axes)
        How much shorter their axes are with each of its sizes.
    """

    tensors: NDArray[np.intp]
    gone: Array


class UnitPlan:
    """The size of every signal: a number of steps down its curve.

    A tensor costs the product of what is left along its axes, so what a step saves depends on the
    sizes of the other signals.

    Attributes
    ----------
    curves : sequence of SignalCurve
    reached : list of int
        The place of each signal's size among its sizes.
    """

    def __init__(self, units: UnitMap, curves: Sequence[SignalCurve], price: str) -> None:
        """Start from all units."""
        self.curves = curves
        self.reached = [0] * len(curves)
        self._n_units = units.n_units
        self._factors = np.array([_factor(tensor, price) for tensor in units.tensors])
        n_axes = max((len(tensor.axes) for tensor in units.tensors), default=0)
        self._left = np.ones((len(units.tensors), n_axes))
        for left, tensor in zip(self._left, units.tensors, strict=True):
            left[: len(tensor.axes)] = [len(along) for along in tensor.axes.values()]
        self._shares = [_share(units, curve, n_axes) for curve in curves]
        self._touching = [
            {k for k, b in enumerate(self._shares) if np.isin(a.tensors, b.tensors).any()}
            for a in self._shares
        ]
        self._slopes: dict[int, float] = {}  # of signals no tensor of which has changed

    @property
    def cost(self) -> float:
        """What the model costs."""
        return float(self._factors @ self._left.prod(axis=1))

    @property
    def loss(self) -> float:
        """What the network loses."""
        return sum(
            float(c.loss_of_sizes[k]) for c, k in zip(self.curves, self.reached, strict=True)
        )

    @property
    def kept(self) -> Mask:
        """The units that stay."""
        kept = np.ones(self._n_units, dtype=bool)
        for curve, step in zip(self.curves, self.reached, strict=True):
            kept[curve.order[: curve.removed[step]]] = False
        return kept

    def costs(self, number: int) -> Array:
        """Return what the model costs with each of the sizes of a signal."""
        share = self._shares[number]
        factors, left = self._factors[share.tensors], self._left[share.tensors]
        changes = share.gone[self.reached[number]] - share.gone
        own = (left + changes).prod(axis=2) @ factors
        costs: Array = self.cost + (own - own[self.reached[number]])
        return costs

    def slope(self, number: int) -> float:
        """Return the least growth of the loss for what is saved, to any smaller size of a signal.

        Infinite if there is none.
        """
        if number not in self._slopes:
            self._slopes[number] = self._slope(number)
        return self._slopes[number]

    def _slope(self, number: int) -> float:
        reached, costs = self.reached[number], self.costs(number)
        if reached == len(costs) - 1:
            return math.inf
        losses = self.curves[number].loss_of_sizes
        growth, saved = losses - losses[reached], costs[reached] - costs
        return float((growth[reached + 1 :] / np.maximum(saved[reached + 1 :], 1)).min())

    def moved(self, number: int, step: int) -> UnitPlan:
        """Return the plan with another size of a signal."""
        other = copy.copy(self)
        other.reached = [*self.reached[:number], step, *self.reached[number + 1 :]]
        share = self._shares[number]
        other._left = self._left.copy()
        other._slopes = {
            k: slope for k, slope in self._slopes.items() if k not in self._touching[number]
        }
        other._left[share.tensors] += share.gone[self.reached[number]] - share.gone[step]
        return other


def _factor(tensor: CutTensor, price: str) -> float:
    """Return what an entry along the axes of units costs."""
    weight = int(tensor.is_parameter) if price == "size" else tensor.uses
    return weight * math.prod(n for axis, n in enumerate(tensor.shape) if axis not in tensor.axes)


def _share(units: UnitMap, curve: SignalCurve, n_axes: int) -> _Share:
    place = np.full(units.n_units + 1, FIXED)  # the last is that of FIXED
    place[curve.order] = np.arange(len(curve.order))
    tensors, gone = [], []
    for number, tensor in enumerate(units.tensors):
        places = [place[along] for along in tensor.axes.values()]
        if not any((along != FIXED).any() for along in places):
            continue
        shorter = np.zeros((len(curve.sizes), n_axes))
        for axis, along in enumerate(places):
            counts = np.bincount(along[along != FIXED], minlength=len(curve.order))
            shorter[:, axis] = np.append(0, np.cumsum(counts))[curve.removed]
        tensors.append(number)
        gone.append(shorter)
    shape = len(curve.sizes), len(tensors), n_axes
    return _Share(np.array(tensors, np.intp), np.array(gone).swapaxes(0, 1).reshape(shape))
