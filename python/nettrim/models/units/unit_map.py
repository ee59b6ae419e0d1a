"""Which units of a model can go, and all that goes with them.

A unit is an output of a layer, a channel of a map, a head of attention: something that lies between
layers. Layers write it and layers read it. It can go if everything that it reaches is known, up to
the layers that read it; what the model computes without it is what it computes where the readers'
weights on it are zero.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "FIXED",
    "UNREAD",
    "CutTensor",
    "LayerUnits",
    "UnitCount",
    "UnitMap",
    "UnitSignal",
    "Units",
    "owner_of",
]

FIXED = -1  # stands for what is no unit that could go
UNREAD = "nothing that could do without reads it"

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
        The unit of each of its features, as its affine map has them; `FIXED` for one of no unit,
        such as those of a depthwise convolution, whose every output reads a unit of its own.
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
        number = np.append(_numbers(free), FIXED)
        found = self._renumbered(free, lambda own: number[own])
        stay = {
            layer.layer: reason
            for layer in self.layers
            if _any(layer.outputs) and not _any(number[layer.outputs])
        }
        return replace(found, left_out={**self.left_out, **stay})

    def narrowed(self, kept: Mask) -> UnitMap:
        """Return the map of the model without those units that are not kept."""
        number = np.append(_numbers(kept), FIXED)
        return self._renumbered(kept, lambda own: number[own[_stays(own, kept)]])

    def outside(self, modules: Collection[str]) -> UnitMap:
        """Return the map of the model without some modules; units that nothing else reads stay."""
        rest = replace(
            self,
            layers=tuple(layer for layer in self.layers if layer.layer not in modules),
            tensors=tuple(t for t in self.tensors if owner_of(t.name) not in modules),
            counts=tuple(count for count in self.counts if owner_of(count.name) not in modules),
        )
        read = [np.zeros(0, np.intp), *(layer.features for layer in rest.layers)]
        unread = np.setdiff1d(np.arange(self.n_units), np.concatenate(read))
        return rest.without(unread, UNREAD)

    def _renumbered(self, left: Mask, change: Callable[[Units], Units]) -> UnitMap:
        """Return the map of those units that are left, after a change of all that tells units."""
        number = _numbers(left)
        signals = [UnitSignal(name, number[own[left[own]]]) for name, own in self.signals]
        layers = [
            LayerUnits(name, change(features), change(outputs))
            for name, features, outputs in self.layers
        ]
        tensors = []
        for tensor in self.tensors:
            axes = {axis: change(own) for axis, own in tensor.axes.items()}
            shape = tuple(len(axes[k]) if k in axes else n for k, n in enumerate(tensor.shape))
            tensors.append(tensor._replace(shape=shape, axes=axes))
        return UnitMap(
            n_units=int(left.sum()),
            signals=tuple(signal for signal in signals if len(signal.units)),
            layers=tuple(u for u in layers if _any(u.features) or _any(u.outputs)),
            tensors=tuple(tensors),
            counts=tuple(UnitCount(name, change(own)) for name, own in self.counts),
            left_out=self.left_out,
        )

    def operations(self, kept: Mask) -> int:
        """Return how many multiplications with them are left for a sample."""
        return sum(tensor.uses * tensor.count(kept) for tensor in self.tensors)


def owner_of(name: str) -> str:
    """Return the module that a tensor or a number of that name is in."""
    return name.rpartition(".")[0]


def _numbers(left: Mask) -> Units:
    """Return the numbers that units have when some are left, `FIXED` for the others."""
    return np.where(left, np.cumsum(left) - 1, FIXED)


def _any(units: Units) -> bool:
    return bool((units != FIXED).any())


def _stays(units: Units, kept: Mask) -> Mask:
    """Return which of some units stay."""
    stays: Mask = np.append(kept, True)[units]  # FIXED is the last
    return stays
