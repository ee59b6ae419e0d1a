"""Which signals may shrink, and to which sizes."""

from __future__ import annotations

import math
from collections.abc import Collection
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...models.units.unit_map import FIXED, UnitMap, Units

__all__ = ["FreeSignal", "free_signals"]

TOLD = 3  # signals, of those that may not shrink

Mask = NDArray[np.bool_]


class FreeSignal(NamedTuple):
    """A signal that may shrink.

    Attributes
    ----------
    units : ndarray of shape (n_units,)
    stays : ndarray of bool of shape (n_units,)
        Units that have to stay: each layer that writes some of the signal still writes one.
    sizes : ndarray
        Numbers of units that it may be left with, descending, the first being all of them.
    """

    units: Units
    stays: Mask
    sizes: Units


def free_signals(
    units: UnitMap, chosen: Collection[str], min_width: int, multiple_of: int
) -> list[FreeSignal]:
    """Return the signals that only layers write and read that may change, with their sizes.

    ``chosen`` are the names of these layers. Widths of the tensors are what ``min_width`` and
    ``multiple_of`` speak of: a head of attention is as wide as its features are many.

    Raises
    ------
    ValueError
        If there is none.
    """
    touching = {name: _touching(units, own) for name, own in units.signals}
    allowed = [own for name, own in units.signals if touching[name] <= {*chosen}]
    if not allowed:
        needs = [f"{name} needs {', '.join(sorted(them))}" for name, them in touching.items()]
        more = ", ..." if len(needs) > TOLD else ""
        raise ValueError(
            "layers, skip: no unit can go, as a signal shrinks only if all layers that write and "
            f"read it may change: {'; '.join(needs[:TOLD])}{more}"
        )
    free = [
        signal
        for own in allowed
        if len((signal := _free_signal(units, own, min_width, multiple_of)).sizes) > 1
    ]
    if not free:
        widest = max(_width(units, own) for own in allowed)
        raise ValueError(
            f"min_width, multiple_of: no signal can become narrower than it is, the widest that "
            f"may is {widest} wide, got min_width={min_width} and multiple_of={multiple_of}"
        )
    return free


def _free_signal(units: UnitMap, own: Units, min_width: int, multiple_of: int) -> FreeSignal:
    stays = _must_stay(units, own)
    per_unit = max(1, _width(units, own) // len(own))
    step = multiple_of // math.gcd(multiple_of, per_unit)
    least = max(1, -(-min_width // per_unit), int(stays.sum()))
    sizes = [n for n in range(len(own) - 1, 0, -1) if n % step == 0 and n >= least]
    return FreeSignal(own, stays, np.array([len(own), *sizes]))


def _width(units: UnitMap, own: Units) -> int:
    """Return how wide the tensors of a signal are, at least."""
    written = [int(np.isin(layer.outputs, own).sum()) for layer in units.layers]
    return min(filter(None, written), default=len(own))


def _touching(units: UnitMap, own: Units) -> set[str]:
    """Return the names of the layers that write or read some of a signal."""
    return {
        layer.layer
        for layer in units.layers
        if np.isin(layer.features, own).any() or np.isin(layer.outputs, own).any()
    }


def _must_stay(units: UnitMap, own: Units) -> Mask:
    """Mark units so that each layer that writes some of a signal still writes one."""
    stays = np.zeros(len(own), dtype=bool)
    for layer in units.layers:
        written = np.isin(own, layer.outputs)
        if written.any() and not written.all() and not (layer.outputs == FIXED).any():
            stays[np.flatnonzero(written)[0]] = True
    return stays
