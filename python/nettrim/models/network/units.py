"""Units of a network: which can go, and the network without them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import singledispatchmethod

import numpy as np
from numpy.typing import NDArray

from ...base.arrays import Array
from ..units.couplings import Couplings, UnitAxis
from ..units.unit_map import FIXED, UnitMap
from . import (
    AveragePool,
    BatchNorm,
    Conv1D,
    Conv2D,
    Dense,
    Flatten,
    GlobalAveragePool,
    Layer,
    MaxPool,
    Network,
    ReLU,
    Residual,
)
from .layer import pack_layers, unpack_layers

__all__ = ["find_units", "keep_units"]


def find_units(network: Network, X: Array) -> UnitMap:
    """Return the units of a network that can go; its inputs and outputs stay.

    Parameters
    ----------
    network : Network
    X : ndarray of shape (n_samples, ...)
        A sample or more of what goes into it.
    """
    walk = _UnitWalk()
    end = walk.follow(network.layers, "", "", None, X)[0]
    if end is not None:
        walk.couplings.fix(end.units, "they are the model's output")
    return walk.couplings.finish()


def keep_units(network: Network, units: UnitMap, kept: NDArray[np.bool_]) -> Network:
    """Return a network without those units that are not kept."""
    arrays = pack_layers(network.layers)
    for tensor in units.tensors:
        arrays[tensor.name] = tensor.cut(arrays[tensor.name], kept)
    for number in units.counts:
        arrays[number.name] = np.array(number.count(kept))
    return Network(unpack_layers(arrays))


class _UnitWalk:
    """A walk through a network that follows its units.

    Steps are told the names of their arrays, as `pack_layers` has them, begin with and the name of
    the layer.
    """

    def __init__(self) -> None:
        self.couplings = Couplings()

    def follow(
        self, chain: Sequence[Layer], prefix: str, owner: str, at: UnitAxis | None, X: Array
    ) -> tuple[UnitAxis | None, Array]:
        """Return where units lie behind a chain of steps, and the signal there."""
        for number, step in enumerate(chain):
            name = f"{owner}{step.kind}{number + 1}"
            after = step.forward(X)
            at = self._step(step, f"{prefix}{number}.", name, at, X, after)
            X = after
        return at, X

    @singledispatchmethod
    def _step(
        self, step: Layer, prefix: str, name: str, at: UnitAxis | None, X: Array, after: Array
    ) -> UnitAxis | None:
        """Return where units lie behind a step; one of an unknown kind needs all of them."""
        if at is not None:
            self.couplings.fix(at.units, f"what {name} does with them is not known")
        return None

    @_step.register
    def _(
        self, step: Dense, prefix: str, name: str, at: UnitAxis | None, X: Array, after: Array
    ) -> UnitAxis | None:
        features = self._read(at, X.ndim - 1, step.n_features)
        outputs = self.couplings.make(step.n_outputs, name)
        self.couplings.layer(name, features, outputs)
        uses = after[0].size // step.n_outputs
        self._tensors(prefix, step, {0: features, 1: outputs}, outputs, uses)
        return UnitAxis(after.ndim - 1, outputs)

    @_step.register(Conv1D)
    @_step.register(Conv2D)
    def _(
        self,
        step: Conv1D | Conv2D,
        prefix: str,
        name: str,
        at: UnitAxis | None,
        X: Array,
        after: Array,
    ) -> UnitAxis | None:
        n_outputs, n_inputs, *kernel = step.weights.shape
        channels = self._read(at, 1, n_inputs * step.groups)
        reads = channels[:n_inputs]
        if step.groups == n_outputs > n_inputs == 1:
            outputs, axes = channels, {0: channels}
            reads = np.full(1, FIXED)  # no unit is all that an output reads
            self.couplings.count(f"{prefix}groups", channels)
        else:
            outputs = self.couplings.make(n_outputs, name)
            if step.groups > 1:
                self.couplings.fix(channels, f"{name} reads them in groups")
                self.couplings.fix(outputs, "they are made in groups")
            axes = {0: outputs, 1: reads}
        self.couplings.layer(name, np.repeat(reads, np.prod(kernel)), outputs)
        self._tensors(prefix, step, axes, outputs, after[0, 0].size)
        return UnitAxis(1, outputs)

    @_step.register
    def _(
        self, step: BatchNorm, prefix: str, name: str, at: UnitAxis | None, X: Array, after: Array
    ) -> UnitAxis | None:
        units = self._read(at, 1, len(step.mean))
        for key in ("mean", "variance", "scale", "shift"):
            self.couplings.tensor(f"{prefix}{key}", (len(step.mean),), {0: units})
        return at

    @_step.register
    def _(
        self, step: Residual, prefix: str, name: str, at: UnitAxis | None, X: Array, after: Array
    ) -> UnitAxis | None:
        ends = [
            self.follow(step.body, f"{prefix}body.", f"{name}.", at, X),
            self.follow(step.shortcut, f"{prefix}shortcut.", f"{name}.shortcut.", at, X),
        ]
        return self.couplings.combine([(end, signal.shape) for end, signal in ends])

    @_step.register
    def _(
        self, step: Flatten, prefix: str, name: str, at: UnitAxis | None, X: Array, after: Array
    ) -> UnitAxis | None:
        if at is None:
            return None
        moved = self.couplings.reshape(at, X.shape, after.shape)
        if moved is None:
            self.couplings.fix(at.units, f"{name} puts them in another order")
        return moved

    @_step.register(MaxPool)
    @_step.register(AveragePool)
    @_step.register(GlobalAveragePool)
    def _(
        self,
        step: MaxPool | AveragePool | GlobalAveragePool,
        prefix: str,
        name: str,
        at: UnitAxis | None,
        X: Array,
        after: Array,
    ) -> UnitAxis | None:
        if at is None or at.axis == 1:
            return at
        self.couplings.fix(at.units, f"{name} takes them for positions")
        return None

    @_step.register
    def _(
        self, step: ReLU, prefix: str, name: str, at: UnitAxis | None, X: Array, after: Array
    ) -> UnitAxis | None:
        return at

    def _read(self, at: UnitAxis | None, axis: int, size: int) -> NDArray[np.intp]:
        """Return the units along the axis of a layer's inputs; on another one they have to stay."""
        if at is not None and at.axis == axis and len(at.units) == size:
            return at.units
        if at is not None:
            self.couplings.fix(at.units, "a layer takes them for positions")
        return np.full(size, FIXED)

    def _tensors(
        self,
        prefix: str,
        step: Dense | Conv1D | Conv2D,
        axes: dict[int, NDArray[np.intp]],
        outputs: NDArray[np.intp],
        uses: int,
    ) -> None:
        self.couplings.tensor(f"{prefix}weights", step.weights.shape, axes, uses)
        if step.bias is not None:
            self.couplings.tensor(f"{prefix}bias", step.bias.shape, {0: outputs})
