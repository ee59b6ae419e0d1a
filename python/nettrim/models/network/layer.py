"""What a layer of a network is; a kind of layer is a class of its own."""

from __future__ import annotations

import abc
import itertools
from collections.abc import Generator, Iterator, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from ...base.arrays import AnyFloat, Array
from ..layer_view import ACTIVATIONS, Affine, LayerView, Signal

__all__ = [
    "Layer",
    "PrunableLayer",
    "SignalWalk",
    "check_activation",
    "check_layers",
    "frozen_copy",
    "name_layers",
    "pack_layers",
    "unpack_layers",
]


class SignalWalk:
    """How far a walk through a network has come, and with which weights it goes on."""

    def __init__(self, weights: Mapping[int, Affine]) -> None:
        self.weights = weights
        self.position = 0  # of the next prunable layer


class Layer(abc.ABC):
    """One step of a network.

    A kind is a class with ``forward``, ``lipschitz``, ``to_arrays`` and ``from_arrays``.

    Attributes
    ----------
    kind : str
        The name under which files know this class.
    n_features, n_outputs : int or None
        Sizes of what goes in and comes out, None where the layer does not care.
    """

    kind: ClassVar[str]
    _kinds: ClassVar[dict[str, type[Layer]]] = {}

    def __init_subclass__(cls) -> None:
        """Register a layer kind under its name, for `Network.load`."""
        if "kind" in cls.__dict__:
            Layer._kinds[cls.kind] = cls

    @property
    def n_features(self) -> int | None:
        """Number of inputs, None where the layer does not care."""
        return None

    @property
    def n_outputs(self) -> int | None:
        """Number of outputs, None where the layer does not care."""
        return None

    @abc.abstractmethod
    def lipschitz(self, shape: tuple[int, ...]) -> float:
        """Return a Lipschitz constant in the Frobenius norm, on inputs of a shape."""

    @abc.abstractmethod
    def forward(self, X: Array) -> Array:
        """Apply the step to samples along the first axis, in float64."""

    @abc.abstractmethod
    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """Return everything a file has to hold."""

    @classmethod
    @abc.abstractmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> Layer:
        """Build the layer from what `to_arrays` returned."""

    @staticmethod
    def of_kind(kind: str, arrays: Mapping[str, NDArray[Any]]) -> Layer:
        """Build a layer of the class registered under ``kind``."""
        if kind not in Layer._kinds:
            raise ValueError(f"unknown layer kind {kind!r}, known are {sorted(Layer._kinds)}")
        return Layer._kinds[kind].from_arrays(arrays)

    def prunable(self) -> Sequence[tuple[str, PrunableLayer]]:
        """Return the layers inside that can be pruned, each with its name there."""
        return ()

    def with_affines(self, affines: Iterator[Affine | None]) -> Layer:
        """Return the same step with other weights: one of ``affines`` for each of `prunable`."""
        return self

    def walk(self, signal: Signal, walk: SignalWalk) -> Generator[Signal, None, Signal]:
        """Yield what arrives at each layer of `prunable`, return what comes out of the step."""
        yield from ()
        own_constant = self.lipschitz(signal.values.shape)
        lipschitz = {
            position: constant * own_constant for position, constant in signal.lipschitz.items()
        }
        return Signal(self.forward(signal.values), lipschitz)


class PrunableLayer(Layer):
    """A layer that is an affine map of (some unfolding of) its input and an activation."""

    activation: str

    @property
    @abc.abstractmethod
    def affine(self) -> Affine:
        """The weights as the layer program sees them."""

    @abc.abstractmethod
    def with_affine(self, affine: Affine) -> PrunableLayer:
        """Return the same layer with other weights."""

    @abc.abstractmethod
    def unfold(self, X: Array) -> Array:
        """Return the rows that meet the affine map, sample by sample."""

    @abc.abstractmethod
    def fold(self, rows: Array, shape: tuple[int, ...]) -> Array:
        """Return rows of outputs as the layer's output for inputs of a shape."""

    def forward(self, X: Array) -> Array:
        """Apply the layer to samples along the first axis.

        Returns
        -------
        ndarray
            float64, whatever the precision of the weights.
        """
        return self.fold(self.view("").respond(self.affine, X), X.shape)

    def view(self, name: str) -> LayerView:
        """Return what `nettrim.trim` needs to know of the layer."""
        return LayerView(
            name,
            self.affine,
            self.activation,
            lambda affine, shape: self.with_affine(affine).lipschitz(shape),
            self.unfold,
            type(self),
            bias_can_change=True,
        )

    def prunable(self) -> Sequence[tuple[str, PrunableLayer]]:
        """Return the layer itself."""
        return (("", self),)

    def with_affines(self, affines: Iterator[Affine | None]) -> Layer:
        """Return the layer with the next of some weights."""
        affine = next(affines)
        return self if affine is None else self.with_affine(affine)

    def walk(self, signal: Signal, walk: SignalWalk) -> Generator[Signal, None, Signal]:
        """Yield what arrives; the weights are looked up when the walk goes on."""
        position = walk.position
        walk.position += 1
        yield signal
        affine = walk.weights.get(position)
        layer = self if affine is None else self.with_affine(affine)
        return Signal(layer.forward(signal.values), {position: 1.0})


def frozen_copy(array: AnyFloat) -> AnyFloat:
    """Copy an array and forbid writing: trimming must be able to rely on the original weights."""
    copy = np.array(array, order="C")
    copy.setflags(write=False)
    return copy


def check_activation(activation: str) -> str:
    """Return an activation that layer programs know, or raise an error that names it."""
    if activation not in ACTIVATIONS:
        raise ValueError(f"activation must be one of {ACTIVATIONS}, got {activation!r}")
    return activation


def check_layers(layers: Sequence[Layer], name: str) -> tuple[Layer, ...]:
    """Return layers that fit each other, or raise an error that names them."""
    chain = tuple(layers)
    if not chain:
        raise ValueError(f"{name} is empty: a network has at least one layer")
    for position, layer in enumerate(chain):
        if not isinstance(layer, Layer):
            raise TypeError(f"{name}[{position}] must be a Layer, got {type(layer).__name__}")
    for position, (before, after) in enumerate(itertools.pairwise(chain)):
        sizes = {before.n_outputs, after.n_features} - {None}
        if len(sizes) > 1:
            raise ValueError(
                f"{name}[{position}] has {before.n_outputs} outputs, "
                f"{name}[{position + 1}] takes {after.n_features}"
            )
    return chain


def name_layers(layers: Sequence[Layer]) -> list[tuple[str, PrunableLayer]]:
    """Return the prunable layers of a chain, each called by kind and position: dense1, conv2d2."""
    return [
        (f"{layer.kind}{position}{'.' * bool(inner)}{inner}", prunable)
        for position, layer in enumerate(layers, start=1)
        for inner, prunable in layer.prunable()
    ]


def pack_layers(layers: Sequence[Layer]) -> dict[str, NDArray[Any]]:
    """Return the arrays of a chain, as a file holds them."""
    arrays: dict[str, NDArray[Any]] = {"kinds": np.array([layer.kind for layer in layers])}
    for position, layer in enumerate(layers):
        arrays |= {f"{position}.{key}": value for key, value in layer.to_arrays().items()}
    return arrays


def unpack_layers(arrays: Mapping[str, NDArray[Any]]) -> list[Layer]:
    """Return the chain that `pack_layers` made the arrays of."""
    layers = []
    for position, kind in enumerate(arrays["kinds"]):
        prefix = f"{position}."
        own = {k.removeprefix(prefix): v for k, v in arrays.items() if k.startswith(prefix)}
        layers.append(Layer.of_kind(str(kind), own))
    return layers
