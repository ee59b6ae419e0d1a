"""Between which values the units of a network stay, whatever goes in: interval arithmetic.

A unit is a channel of a convolution or an output of a dense layer. Of what goes into a network
nothing is known; behind a ReLU nothing is negative, a unit without incoming weights is the constant
its bias makes of it, and so on from layer to layer. A unit of which the least value is the largest
is a constant.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import singledispatch
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from ...base.arrays import Array
from ..layer_view import Affine
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
    ReLU,
    Residual,
)

__all__ = [
    "Range",
    "arrange_by_group",
    "input_range",
    "is_padded",
    "meets_units",
    "output_range",
    "repeat_units",
]

Entry = TypeVar("Entry", bound=np.generic)


class Range(NamedTuple):
    """The least and the largest value of every unit of a signal.

    Attributes
    ----------
    low, high : ndarray of shape (n_units,)
        A single entry speaks of all units.
    flat : bool
        Whether the signal is known to have two axes, samples and units.
    channels : bool
        Whether the units of a signal that is not flat are on its second axis; otherwise they are on
        its last one.
    """

    low: Array = np.array([-np.inf])
    high: Array = np.array([np.inf])
    flat: bool = False
    channels: bool = False


def input_range(layers: Sequence[Layer]) -> Range:
    """Return what is known of the data that go into a network."""
    return Range(flat=isinstance(layers[0], Dense))  # Network.predict refuses others


def meets_units(layer: Layer, signal: Range) -> bool:
    """Whether the units of a signal are what a layer has a weight for, or treats one by one."""
    if isinstance(layer, Dense):
        return signal.flat or not signal.channels
    if isinstance(layer, (BatchNorm, Flatten)):
        return signal.flat or signal.channels
    if isinstance(layer, (Conv1D, Conv2D, MaxPool, AveragePool, GlobalAveragePool)):
        return signal.channels and not signal.flat
    return isinstance(layer, ReLU)


def output_range(layer: Layer, signal: Range) -> Range:
    """Return the range of what a layer makes of a signal."""
    known = isinstance(layer, Residual) or meets_units(layer, signal)
    return _propagate(layer, signal if known else Range(flat=signal.flat))


def repeat_units(values: NDArray[Entry], n: int) -> NDArray[Entry]:
    """Return one value for each of ``n`` inputs: a unit's for each of its positions."""
    return np.repeat(values, n // len(values))


def arrange_by_group(values: NDArray[Entry], groups: int) -> NDArray[Entry]:
    """Return one value for each input in the shape that `Affine.weights` have by group.

    That is (inputs of a group, their positions, groups, outputs of a group).
    """
    return values.reshape(groups, -1).T[:, None, :, None]


def is_padded(layer: Layer) -> bool:
    """Whether the layer may count zeros around its input."""
    if isinstance(layer, (Conv1D, Conv2D)) and layer.padding == "same":
        return bool(layer.weights[0, 0].size > 1)
    return isinstance(layer, (Conv1D, Conv2D, AveragePool)) and any(map(any, layer.padding))


@singledispatch
def _propagate(layer: Layer, signal: Range) -> Range:
    """Nothing is known behind a layer of an unknown kind."""
    return Range()


@_propagate.register
def _(layer: Dense, signal: Range) -> Range:
    low, high = _affine_image(layer.affine, layer.n_features, signal)
    return _activate(signal._replace(low=low, high=high, channels=False), layer.activation)


@_propagate.register(Conv1D)
@_propagate.register(Conv2D)
def _(layer: Conv1D | Conv2D, signal: Range) -> Range:
    n_inputs = layer.weights.shape[1] * layer.groups
    low, high = _affine_image(layer.affine, n_inputs, _include_padding(layer, signal))
    return _activate(Range(low, high, channels=True), layer.activation)


@_propagate.register
def _(layer: ReLU, signal: Range) -> Range:
    return _activate(signal, "relu")


@_propagate.register
def _(layer: BatchNorm, signal: Range) -> Range:
    factor = layer.factor
    low, high = (repeat_units(values, len(factor)) for values in (signal.low, signal.high))
    return Range(
        _lower_bound(factor, low, high) + layer.offset,
        _lower_bound(factor, high, low) + layer.offset,
        signal.flat,
        channels=True,
    )


@_propagate.register
def _(layer: MaxPool, signal: Range) -> Range:
    covered = all(max(pair) < n for pair, n in zip(layer.padding, layer.size, strict=True))
    return signal if covered else Range(flat=signal.flat)  # no window lies in the padding alone


@_propagate.register
def _(layer: AveragePool, signal: Range) -> Range:
    return _include_padding(layer, signal)


@_propagate.register(Flatten)
@_propagate.register(GlobalAveragePool)
def _(layer: Flatten | GlobalAveragePool, signal: Range) -> Range:
    return signal._replace(flat=True)


@_propagate.register
def _(layer: Residual, signal: Range) -> Range:
    ends = []
    for chain in (layer.body, layer.shortcut):
        end = signal
        for inner in chain:
            end = output_range(inner, end)
        ends.append(end)
    one, other = ends
    flat = one.flat and other.flat
    if not flat and (one.flat, one.channels) != (other.flat, other.channels):
        return Range()
    n = max(len(one.low), len(other.low))
    low, high = (
        repeat_units(a, n) + repeat_units(b, n) for a, b in zip(one[:2], other[:2], strict=True)
    )
    return Range(low, high, flat, one.channels)


def _affine_image(affine: Affine, n_inputs: int, signal: Range) -> tuple[Array, Array]:
    """Return the least and the largest values of every output of an affine map."""
    groups, n_outputs = affine.groups, affine.weights.shape[1]
    weights = affine.weights.astype(np.float64)
    weights = weights.reshape(n_inputs // groups, -1, groups, n_outputs // groups)
    low, high = (arrange_by_group(repeat_units(values, n_inputs), groups) for values in signal[:2])
    bias = 0.0 if affine.bias is None else affine.bias
    return (
        _lower_bound(weights, low, high).sum(axis=(0, 1)).ravel() + bias,
        _lower_bound(weights, high, low).sum(axis=(0, 1)).ravel() + bias,
    )


def _lower_bound(factors: Array, low: Array, high: Array) -> Array:
    """Return the least multiples of values from low to high; with both exchanged the largest."""
    with np.errstate(invalid="ignore"):  # zero times infinity, which is not taken
        return np.where(factors > 0, factors * low, np.where(factors < 0, factors * high, 0.0))


def _include_padding(layer: Layer, signal: Range) -> Range:
    """Let the units be zero as well, if they are that in the padding."""
    if not is_padded(layer):
        return signal
    return signal._replace(low=np.minimum(signal.low, 0), high=np.maximum(signal.high, 0))


def _activate(signal: Range, activation: str) -> Range:
    if activation != "relu":
        return signal
    return signal._replace(low=np.maximum(signal.low, 0), high=np.maximum(signal.high, 0))
