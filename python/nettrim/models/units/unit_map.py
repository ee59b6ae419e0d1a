"""Which units of a model can go, and all that goes with them.

A unit is an output of a layer, a channel of a map, a head of attention: something that lies between
layers. Layers write it and layers read it. It can go if everything that it reaches is known, up to
the layers that read it; what the model computes without it is what it computes where the readers'
weights on it are zero.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["FIXED", "CutTensor", "LayerUnits", "UnitCount", "UnitMap", "UnitSignal", "Units"]

FIXED = -1  # stands for what is no unit that could go

Units = NDArray[np.intp]
Mask = NDArray[np.bool_]


class UnitSignal(NamedTuple):
    """What lies between layers.

    Attributes
    ----------
    name : str
        The first layer that writes it.
    units : ndarray of shape (n_units,)
        Numbers of its units.
    """

    name: str
    units: Units


class LayerUnits(NamedTuple):
    """The units that a prunable layer reads and writes.

    Attributes
    ----------
    layer : str
    features : ndarray of shape (n_features,)
        The unit of each of its features, as its affine map has them; `FIXED` for one of no unit.
    outputs : ndarray of shape (n_outputs,)
        The unit that each of its outputs is, or is a part of.
    """

    layer: str
    features: Units
    outputs: Units

    def reads(self, kept: Mask) -> Mask:
        """Return which of its features are left."""
        return _stays(self.features, kept)

    def writes(self, kept: Mask) -> Mask:
        """Return which of its outputs are left."""
        return _stays(self.outputs, kept)


class CutTensor(NamedTuple):
    """A tensor of the model along whose axes units lie.

    Attributes
    ----------
    name : str
        What the framework calls it.
    shape : tuple of int
    axes : mapping from int to ndarray
        The unit of every index along an axis; `FIXED` where it is none.
    uses : int
        How often each entry is multiplied for one sample.
    is_parameter : bool
        Whether its entries count as parameters; statistics of a normalisation may not.
    """

    name: str
    shape: tuple[int, ...]
    axes: Mapping[int, Units]
    uses: int
    is_parameter: bool = True

    def count(self, kept: Mask) -> int:
        """Return how many entries are left."""
        sizes = dict(enumerate(self.shape))
        sizes |= {axis: int(stays.sum()) for axis, stays in self.stays(kept).items()}
        return math.prod(sizes.values())

    def stays(self, kept: Mask) -> dict[int, Mask]:
        """Return the indices that are left along each axis of units."""
        return {axis: _stays(units, kept) for axis, units in self.axes.items()}

    def cut(self, values: NDArray[Any], kept: Mask) -> NDArray[Any]:
        """Return the entries that are left of values of this shape."""
        for axis, stays in self.stays(kept).items():
            values = np.compress(stays, values, axis=axis)
        return values


class UnitCount(NamedTuple):
    """A number in the model that counts units: channels of a layer, groups, heads.

    Attributes
    ----------
    name : str
        What the framework calls it.
    units : ndarray
        Those it counts; `FIXED` for one that always counts.
    """

    name: str
    units: Units

    def count(self, kept: Mask) -> int:
        """Return the number that is left."""
        return int(_stays(self.units, kept).sum())


@dataclass(frozen=True)
class UnitMap:
    """All units of a model that can go.

    Attributes
    ----------
    n_units : int
        They are numbered from 0, all signals together.
    signals : tuple of UnitSignal
    layers : tuple of LayerUnits
        Those that read or write some of these units.
    tensors : tuple of CutTensor
    counts : tuple of UnitCount
    left_out : mapping from str to str
        Layers whose outputs have to stay, and why.
    """

    n_units: int
    signals: tuple[UnitSignal, ...]
    layers: tuple[LayerUnits, ...]
    tensors: tuple[CutTensor, ...]
    counts: tuple[UnitCount, ...]
    left_out: Mapping[str, str]

    def parameters(self, kept: Mask) -> int:
        """Return how many parameters are left."""
        return sum(tensor.count(kept) for tensor in self.tensors if tensor.is_parameter)

    def without(self, units: Units, reason: str) -> UnitMap:
        """Return the map in which some of these units stay.

        Parameters
        ----------
        units : ndarray of int
        reason : str
            See `left_out`.
        """
        free = np.ones(self.n_units, dtype=bool)
        free[units] = False
        number = np.append(np.where(free, np.cumsum(free) - 1, FIXED), FIXED)
        layers = [
            LayerUnits(name, number[features], number[outputs])
            for name, features, outputs in self.layers
        ]
        signals = [UnitSignal(name, number[own[free[own]]]) for name, own in self.signals]
        stay = {
            layer.layer: reason
            for layer in self.layers
            if _any(layer.outputs) and not _any(number[layer.outputs])
        }
        return UnitMap(
            n_units=int(free.sum()),
            signals=tuple(signal for signal in signals if len(signal.units)),
            layers=tuple(u for u in layers if _any(u.features) or _any(u.outputs)),
            tensors=tuple(
                tensor._replace(axes={axis: number[own] for axis, own in tensor.axes.items()})
                for tensor in self.tensors
            ),
            counts=tuple(UnitCount(name, number[own]) for name, own in self.counts),
            left_out={**self.left_out, **stay},
        )

    def operations(self, kept: Mask) -> int:
        """Return how many multiplications with them are left for a sample."""
        return sum(tensor.uses * tensor.count(kept) for tensor in self.tensors)


def _any(units: Units) -> bool:
    return bool((units != FIXED).any())


def _stays(units: Units, kept: Mask) -> Mask:
    """Return which of some units stay."""
    stays: Mask = np.append(kept, True)[units]  # FIXED is the last
    return stays
