"""A feed-forward network of NumPy arrays, and the kinds of layers it is made of.

A layer kind is a class with ``forward``, ``to_arrays`` and ``from_arrays``; one that can be pruned
also shows an affine map. Adding a kind does not touch `Network`.
"""

from __future__ import annotations

import abc
import itertools
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ._arrays import AnyFloat, Array, finite_array, read_npz, spectral, write_npz
from ._table import Column, share, table
from .view import ACTIVATIONS, Affine, LayerView, Signal, activate

FORMAT = "nettrim-network-1"


class Layer(abc.ABC):
    """One step of a network.

    Attributes
    ----------
    kind : str
        The name under which files know this class.
    n_features, n_outputs : int or None
        Sizes of what goes in and comes out, None where the layer does not care.
    lipschitz : float
        A Lipschitz constant of the step in the Frobenius norm; bounds on a whole network need it.
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

    @property
    @abc.abstractmethod
    def lipschitz(self) -> float:
        """A Lipschitz constant of the step in the Frobenius norm."""

    @abc.abstractmethod
    def forward(self, X: Array) -> Array:
        """Apply the step to samples in rows, in float64."""

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

    def unfold(self, X: Array) -> Array:
        """Return the rows that meet the affine map; here the samples themselves."""
        return X

    def view(self, name: str) -> LayerView:
        """Return what `nettrim.trim` needs to know of the layer."""
        return LayerView(
            name, self.affine, self.activation, lambda affine: self.with_affine(affine).lipschitz
        )


class Dense(PrunableLayer):
    """A fully connected layer: ``activation(X @ weights + bias)``.

    Parameters
    ----------
    weights : array_like of shape (n_features, n_outputs)
        float32 and other floats keep their precision, integers become float64. Copied.
    bias : array_like of shape (n_outputs,), optional
        None (the default) for a layer without a bias.
    activation : {"relu", "linear"}, default "relu"
        "linear" for the last layer: it returns logits, a softmax behind it is left out.

    Raises
    ------
    TypeError, ValueError
        If weights or bias have the wrong shape or kind, are empty, or hold NaN or infinity.

    Examples
    --------
    >>> import numpy as np
    >>> layer = Dense(np.array([[1.0, -1.0]]), bias=[0.5, 0.5])
    >>> layer.forward(np.array([[2.0]]))
    array([[2.5, 0. ]])
    """

    kind: ClassVar[str] = "dense"

    def __init__(
        self, weights: ArrayLike, bias: ArrayLike | None = None, activation: str = "relu"
    ) -> None:
        weights = finite_array(weights, "weights", ndim=2)
        if bias is not None:
            bias = finite_array(bias, "bias", ndim=1)
            if len(bias) != weights.shape[1]:
                raise ValueError(
                    f"bias must have one entry for each of the {weights.shape[1]} columns of "
                    f"weights, got {len(bias)}"
                )
        if activation not in ACTIVATIONS:
            raise ValueError(f"activation must be one of {ACTIVATIONS}, got {activation!r}")
        self.weights = _frozen_copy(weights)
        self.bias = None if bias is None else _frozen_copy(bias)
        self.activation = activation

    def __repr__(self) -> str:
        """Return sizes and activation."""
        no_bias = "" if self.bias is not None else ", no bias"
        return f"Dense({self.n_features} -> {self.n_outputs}, {self.activation}{no_bias})"

    @property
    def n_features(self) -> int:
        """Number of inputs."""
        return int(self.weights.shape[0])

    @property
    def n_outputs(self) -> int:
        """Number of outputs."""
        return int(self.weights.shape[1])

    @property
    def lipschitz(self) -> float:
        """The largest singular value of the weights: neither bias nor ReLU can stretch."""
        return spectral(self.weights)

    @property
    def affine(self) -> Affine:
        """Weights and bias."""
        return Affine(self.weights, self.bias)

    def with_affine(self, affine: Affine) -> Dense:
        """Return a dense layer with these weights and the same activation."""
        return Dense(affine.weights, affine.bias, self.activation)

    def forward(self, X: Array) -> Array:
        """Apply the layer to samples in rows.

        Parameters
        ----------
        X : ndarray of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples, n_outputs)
            float64, whatever the precision of the weights.
        """
        return activate(self.affine.inputs(X) @ self.affine.stacked, self.activation)

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """Return weights, activation and, if there is one, the bias."""
        arrays: dict[str, NDArray[Any]] = {
            "weights": self.weights,
            "activation": np.array(self.activation),
        }
        return arrays if self.bias is None else {**arrays, "bias": self.bias}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> Dense:
        """Build the layer from what `to_arrays` returned."""
        return cls(arrays["weights"], arrays.get("bias"), str(arrays["activation"]))


class Network:
    """A feed-forward network that `trim` can take: layers one after another.

    All arithmetic is float64, whatever the precision of the weights, so that a layer's own weights
    reproduce its outputs to the last digits: that makes every layer program feasible.

    Parameters
    ----------
    layers : sequence of Layer
        For example `Dense` layers. The outputs of one must be the inputs of the next.

    Attributes
    ----------
    layers : tuple of Layer

    Raises
    ------
    TypeError, ValueError
        If ``layers`` is empty, holds something that is no layer, or two neighbours do not fit.

    Examples
    --------
    >>> import numpy as np
    >>> net = Network([Dense(np.eye(2), [0.0, -1.0]), Dense([[1.0], [2.0]], activation="linear")])
    >>> net.predict([[1.0, 3.0]])
    array([[5.]])
    >>> print(net)
    layer    kind   shape  activation  nonzeros  of all    dtype
    dense1   dense    2x2        relu         2   50.0%  float64
    dense2   dense    2x1      linear         2  100.0%  float64
    network                                   4   66.7%
    """

    def __init__(self, layers: Sequence[Layer]) -> None:
        self.layers: tuple[Layer, ...] = tuple(layers)
        if not self.layers:
            raise ValueError("layers is empty: a network has at least one layer")
        for position, layer in enumerate(self.layers):
            if not isinstance(layer, Layer):
                raise TypeError(f"layers[{position}] must be a Layer, got {type(layer).__name__}")
        _check_chain(self.layers)

    def predict(self, X: ArrayLike) -> Array:
        """Run samples through the network.

        Parameters
        ----------
        X : array_like of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples, n_outputs)
            float64; the logits if the last layer is linear.

        Raises
        ------
        TypeError, ValueError
            If X is empty, does not fit the first layer, or holds NaN or infinity.
        """
        signal = self._data(X)
        for layer in self.layers:
            signal = layer.forward(signal)
        return signal

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the network to an ``.npz`` file, whole or not at all.

        Parameters
        ----------
        path : str or path-like
            Taken as it is; no suffix is added.
        """
        arrays: dict[str, Any] = {"format": FORMAT, "kinds": [layer.kind for layer in self.layers]}
        for position, layer in enumerate(self.layers):
            arrays |= {f"{position}.{key}": value for key, value in layer.to_arrays().items()}
        write_npz(path, arrays)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Network:
        """Read a network from an ``.npz`` file.

        Parameters
        ----------
        path : str or path-like
            A file of `save`, or a plain one with the arrays W1, b1, W2, b2, ... of dense layers:
            weights of shape (n_features, n_outputs), biases optional, ReLU after each but the last.

        Raises
        ------
        FileNotFoundError
            If there is no such file.
        ValueError
            If the file does not hold a network.
        """
        arrays = read_npz(path)
        try:
            layers = _saved_layers(arrays) if "format" in arrays else _plain_layers(arrays)
            return cls(layers)
        except (KeyError, TypeError, ValueError) as error:
            reason = f"{error} is missing" if isinstance(error, KeyError) else error
            raise ValueError(f"{os.fspath(path)!r} does not hold a network: {reason}") from None

    def prunable_layers(self) -> list[LayerView]:
        """Return the layers `trim` can prune, named by kind and position (see `ModelView`)."""
        return [
            layer.view(name)
            for name, layer in zip(self.names, self.layers, strict=True)
            if isinstance(layer, PrunableLayer)
        ]

    def signals(self, X: Array, weights: Mapping[int, Affine]) -> Iterator[Signal]:
        """Walk data through the network once, under the weights of the moment (`ModelView`)."""
        signal, gain, position = self._data(X), 1.0, 0
        for layer in self.layers:
            if isinstance(layer, PrunableLayer):
                yield Signal(layer.unfold(signal), gain)
                gain = 1.0
                if position in weights:
                    layer = layer.with_affine(weights[position])
                position += 1
            else:
                gain *= layer.lipschitz
            signal = layer.forward(signal)
        yield Signal(signal, gain)

    def with_weights(self, weights: Mapping[int, Affine]) -> Network:
        """Return a copy in which the weights of some prunable layers are replaced (`ModelView`)."""
        layers = list(self.layers)
        prunable = [i for i, layer in enumerate(layers) if isinstance(layer, PrunableLayer)]
        for position, affine in weights.items():
            layer = layers[prunable[position]]
            assert isinstance(layer, PrunableLayer)
            layers[prunable[position]] = layer.with_affine(affine)
        return Network(layers)

    @property
    def names(self) -> list[str]:
        """One name for each layer, for example dense1, dense2."""
        return [f"{layer.kind}{position}" for position, layer in enumerate(self.layers, start=1)]

    def __repr__(self) -> str:
        """Return the layers in one line."""
        return f"Network([{', '.join(map(repr, self.layers))}])"

    def __str__(self) -> str:
        """Return the layers as a table."""
        rows = [_row(*pair) for pair in zip(self.names, self.layers, strict=True)]
        counts = [_counts(layer) for layer in self.layers]
        nonzeros, size = sum(n for n, _ in counts), sum(s for _, s in counts)
        total = ["network", "", "", "", f"{nonzeros:,}", share(nonzeros, size), ""]
        return table(_COLUMNS, rows, total)

    def _data(self, X: ArrayLike) -> Array:
        wanted = self.layers[0].n_features
        X = finite_array(X, "X", ndim=None if wanted is None else 2)
        if wanted is not None and X.shape[1] != wanted:
            raise ValueError(f"X has {X.shape[1]} features, the first layer takes {wanted}")
        return np.ascontiguousarray(X, dtype=np.float64)


def _frozen_copy(array: AnyFloat) -> AnyFloat:
    """Copy an array and forbid writing: trimming must be able to rely on the original weights."""
    copy = np.array(array, order="C")
    copy.setflags(write=False)
    return copy


def _check_chain(layers: Sequence[Layer]) -> None:
    for position, (before, after) in enumerate(itertools.pairwise(layers)):
        sizes = {before.n_outputs, after.n_features} - {None}
        if len(sizes) > 1:
            raise ValueError(
                f"layers[{position}] has {before.n_outputs} outputs, "
                f"layers[{position + 1}] takes {after.n_features}"
            )


def _saved_layers(arrays: Mapping[str, NDArray[Any]]) -> list[Layer]:
    if str(arrays["format"]) != FORMAT:
        raise ValueError(f"its format is {str(arrays['format'])!r}, this version reads {FORMAT!r}")
    layers = []
    for position, kind in enumerate(arrays["kinds"]):
        prefix = f"{position}."
        own = {k.removeprefix(prefix): v for k, v in arrays.items() if k.startswith(prefix)}
        layers.append(Layer.of_kind(str(kind), own))
    return layers


def _plain_layers(arrays: Mapping[str, NDArray[Any]]) -> list[Layer]:
    n_layers = sum(key.startswith("W") for key in arrays)
    if n_layers == 0:
        raise ValueError(f"it has neither 'format' nor 'W1' but {sorted(arrays)[:5]}")
    return [
        Dense(arrays[f"W{k}"], arrays.get(f"b{k}"), "relu" if k < n_layers else "linear")
        for k in range(1, n_layers + 1)
    ]


_COLUMNS = [
    Column("layer", "<"),
    Column("kind", "<"),
    Column("shape"),
    Column("activation"),
    Column("nonzeros"),
    Column("of all"),
    Column("dtype"),
]


def _row(name: str, layer: Layer) -> list[str]:
    if not isinstance(layer, PrunableLayer):
        return [name, layer.kind, "", "", "", "", ""]
    weights = layer.affine.weights
    nonzeros, size = _counts(layer)
    shape = "x".join(map(str, weights.shape))
    of_all = share(nonzeros, size)
    return [name, layer.kind, shape, layer.activation, f"{nonzeros:,}", of_all, str(weights.dtype)]


def _counts(layer: Layer) -> tuple[int, int]:
    """Nonzero weights and all weights; biases are not counted."""
    if not isinstance(layer, PrunableLayer):
        return 0, 0
    return int(np.count_nonzero(layer.affine.weights)), int(layer.affine.weights.size)
