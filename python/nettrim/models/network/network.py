"""Networks of NumPy arrays: layers one after another."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ...base.arrays import Array, check_finite, check_squares
from ...base.storage import as_path, names_in_npz, read_npz, write_npz
from ...base.table import TableColumn, format_table
from ..layer_view import Affine, LayerView, Signal
from ..summary import WEIGHTS, format_all_weights, format_weights
from ..units.unit_map import UnitMap
from .dense import Dense
from .layer import Layer, SignalWalk, check_layers, name_layers, pack_layers, unpack_layers
from .sparse_storage import unpack

__all__ = ["Network"]

FORMAT = "nettrim-network-1"
ARRAYS = re.compile(r"format|kinds(@.*)?|[WwBb]\d+|\d+\..*")  # names of those a network is made of


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
        self.layers = check_layers(layers, "layers")

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

        Notes
        -----
        Zeros save time in dense layers of which at least nine weights in ten are zero (see
        `Dense`).
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
        write_npz(as_path(path, "path"), self.to_arrays())

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """Return everything a file of `save` holds.

        Returns
        -------
        dict of ndarray
            By name; `numpy.savez` makes a file of it that `load` reads.
        """
        return {"format": np.array(FORMAT), **pack_layers(self.layers)}

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Network:
        """Read a network from an ``.npz`` file.

        Parameters
        ----------
        path : str or path-like
            A file of `save`, a ``sparse.npz`` or ``bitmask.npz`` of `nettrim.TrimResult.export`, or
            a plain one with the arrays W1, b1, W2, b2, ... of dense layers: weights of shape
            (n_features, n_outputs), biases optional, ReLU after each but the last.

        Raises
        ------
        FileNotFoundError
            If there is no such file.
        ValueError
            If the file does not hold a network.
        """
        arrays = read_npz(as_path(path, "path"), ARRAYS.fullmatch)
        try:
            if not arrays.keys() & {"format", "W1"}:
                raise ValueError(f"it has neither 'format' nor 'W1' but {names_in_npz(path)[:5]}")
            layers = _saved_layers(arrays) if "format" in arrays else _plain_layers(arrays)
            return cls(layers)
        except (IndexError, KeyError, OverflowError, TypeError, ValueError) as error:
            reason = f"{error} is missing" if isinstance(error, KeyError) else error
            raise ValueError(f"{os.fspath(path)!r} does not hold a network: {reason}") from None

    def prunable_layers(self) -> list[LayerView]:
        """Return the layers `trim` can prune, named by kind and position (see `ModelView`)."""
        return [layer.view(name) for name, layer in name_layers(self.layers)]

    def signals(self, X: Array, weights: Mapping[int, Affine]) -> Iterator[Signal]:
        """Walk data through the network once, under the weights of the moment (`ModelView`)."""
        signal, walk = Signal(self._data(X)), SignalWalk(weights)
        for layer in self.layers:
            signal = yield from layer.walk(signal, walk)
        yield signal

    def outputs_under(self, X: Array) -> Callable[[Mapping[int, Affine]], list[Array]]:
        """Return the outputs of some samples for one set of weights after the other (`ModelView`).

        The signals in front of all steps are held.
        """
        values, n_before = self._data(X), 0
        fronts: list[tuple[int, Array]] = []
        for layer in self.layers:
            fronts.append((n_before, values))
            n_before += len(layer.prunable())
            values = layer.forward(values)

        def outputs(weights: Mapping[int, Affine]) -> list[Array]:
            first = min(weights, default=n_before)
            step = max(k for k, (before, _) in enumerate(fronts) if before <= first)
            before, values = fronts[step]
            rest = Network(self.layers[step:])
            changed = rest.with_weights({k - before: affine for k, affine in weights.items()})
            for layer in changed.layers:
                values = layer.forward(values)
            return [values]

        return outputs

    def with_weights(self, weights: Mapping[int, Affine]) -> Network:
        """Return a copy in which the weights of some prunable layers are replaced (`ModelView`)."""
        affines = iter([weights.get(k) for k in range(len(name_layers(self.layers)))])
        return Network([layer.with_affines(affines) for layer in self.layers])

    def timed_call(self, model: Network, X: Array, n_threads: int) -> Callable[[], object]:
        """Return what predicts samples, on the threads that NumPy has (see `ModelView`)."""
        return lambda: model.predict(X)

    def find_units(self, X: Array) -> UnitMap:
        """Return the units that can go (see `ModelView`)."""
        from .units import find_units

        return find_units(self, self._data(X))

    def keep_units(self, model: Network, units: UnitMap, kept: NDArray[np.bool_]) -> Network:
        """Return a copy of a network with fewer units (see `ModelView`)."""
        from .units import keep_units

        return keep_units(model, units, kept)

    @property
    def names(self) -> list[str]:
        """One name for each layer, for example dense1, dense2."""
        return [f"{layer.kind}{position}" for position, layer in enumerate(self.layers, start=1)]

    def __repr__(self) -> str:
        """Return the layers in one line."""
        return f"Network([{', '.join(map(repr, self.layers))}])"

    def __str__(self) -> str:
        """Return the layers as a table."""
        rows = [row for pair in zip(self.names, self.layers, strict=True) for row in _rows(*pair)]
        total = ["network", "", *format_all_weights(self.prunable_layers())]
        return format_table(
            [TableColumn("layer", "<"), TableColumn("kind", "<"), *WEIGHTS], rows, total
        )

    def _data(self, X: ArrayLike) -> Array:
        wanted = self.layers[0].n_features
        X = check_finite(X, "X", ndim=None if wanted is None else 2)
        if wanted is not None and X.shape[1] != wanted:
            raise ValueError(f"X has {X.shape[1]} features, the first layer takes {wanted}")
        data: Array = np.ascontiguousarray(check_squares(X, "X"), dtype=np.float64)
        if wanted is None:
            try:
                self.layers[0].forward(data[:1])
            except ValueError as error:
                raise ValueError(f"X does not fit the first layer: {error}") from None
        return data


def _saved_layers(arrays: Mapping[str, NDArray[Any]]) -> list[Layer]:
    if str(arrays["format"]) != FORMAT:
        raise ValueError(f"its format is {str(arrays['format'])!r}, this version reads {FORMAT!r}")
    return unpack_layers(unpack(arrays))


def _plain_layers(arrays: Mapping[str, NDArray[Any]]) -> list[Layer]:
    n_layers = sum(key.startswith("W") for key in arrays)
    layers: list[Layer] = [
        Dense(arrays[f"W{k}"], arrays.get(f"b{k}"), "relu" if k < n_layers else "linear")
        for k in range(1, n_layers + 1)
    ]
    stray = set(arrays) - {f"{kind}{k}" for kind in "Wb" for k in range(1, n_layers + 1)}
    if stray:
        raise ValueError(f"{sorted(stray)} belong to none of its layers W1, b1, W2, b2, ...")
    return layers


def _rows(name: str, layer: Layer) -> list[list[str]]:
    """Return a row for a step, or one for each of the prunable layers inside."""
    if not layer.prunable():
        return [[name, layer.kind, *("" for _ in WEIGHTS)]]
    return [
        [f"{name}{'.' * bool(inner)}{inner}", prunable.kind, *format_weights(prunable.view(inner))]
        for inner, prunable in layer.prunable()
    ]
