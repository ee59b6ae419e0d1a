"""What `trim` needs to know of a model, whatever framework it comes from.

A model view answers three questions: which layers can be pruned, what goes into each of them, and
what the model looks like with other weights. `Network` is its own view; an adapter for another
framework is a class with the same three methods.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from ._arrays import AnyFloat, Array

ACTIVATIONS = ("relu", "linear")


class Affine(NamedTuple):
    """The map ``x -> x @ weights + bias`` of one layer.

    Attributes
    ----------
    weights : ndarray of shape (n_features, n_outputs)
        Any float precision; the arithmetic is float64.
    bias : ndarray of shape (n_outputs,) or None
        None for a layer without a bias.
    """

    weights: AnyFloat
    bias: AnyFloat | None = None

    @property
    def stacked(self) -> Array:
        """The bias as last row below the weights, in float64: the layer program's variable."""
        if self.bias is None:
            return self.weights.astype(np.float64)
        return np.vstack([self.weights, self.bias]).astype(np.float64)

    def inputs(self, signal: AnyFloat) -> Array:
        """Return the signal in float64, followed by a column of ones if the layer has a bias."""
        values: Array = np.ascontiguousarray(signal, dtype=np.float64)
        if self.bias is None:
            return values
        return np.column_stack([values, np.ones(len(values))])

    def replaced(self, stacked: Array) -> Affine:
        """Split a stacked variable again, rounded to this map's precision."""
        if self.bias is None:
            return Affine(stacked.astype(self.weights.dtype))
        return Affine(stacked[:-1].astype(self.weights.dtype), stacked[-1].astype(self.bias.dtype))


@dataclass(frozen=True)
class LayerView:
    """A prunable layer as `trim` sees it.

    Attributes
    ----------
    name : str
        How the layer is called in tables, messages and the argument ``layers``.
    affine : Affine
        Its weights.
    activation : {"relu", "linear"}
        What follows the affine map.
    lipschitz : callable
        Takes an `Affine` of the same shape and returns a Lipschitz constant, in the Frobenius norm,
        of the layer with those weights. For a dense layer this is the largest singular value of the
        weights; the bias does not matter.
    """

    name: str
    affine: Affine
    activation: str
    lipschitz: Callable[[Affine], float]

    @property
    def shape(self) -> tuple[int, int]:
        """Number of inputs and outputs."""
        n_features, n_outputs = self.affine.weights.shape
        return n_features, n_outputs


class Signal(NamedTuple):
    """What arrives at a prunable layer, or at the end of the model.

    Attributes
    ----------
    values : ndarray of shape (n_rows, n_features)
        float64. At the end of the model it may have any shape.
    gain : float
        A Lipschitz constant of everything between the last prunable layer (or the data) and here;
        1 if there is nothing between.
    """

    values: NDArray[np.float64]
    gain: float = 1.0


@runtime_checkable
class ModelView(Protocol):
    """The three methods `trim` asks of a model."""

    def prunable_layers(self) -> Sequence[LayerView]:
        """Return the layers that can be pruned, in the order data pass them."""
        ...

    def signals(self, X: Array, weights: Mapping[int, Affine]) -> Iterator[Signal]:
        """Walk data through the model once.

        Yields one `Signal` for each prunable layer, in the order of `prunable_layers`, and a last
        one for the model's output. ``weights`` maps positions in that order to replacements and is
        looked up only when the walk goes on *past* a layer: `trim` stops before a layer, prunes it,
        puts the answer into the mapping and lets the walk continue with it.
        """
        ...

    def with_weights(self, weights: Mapping[int, Affine]) -> Any:
        """Return a copy of the model, of its own type, in which these weights are replaced."""
        ...


def activate(values: Array, activation: str) -> Array:
    """Apply an activation by name."""
    return np.maximum(values, 0.0) if activation == "relu" else values


def as_view(model: Any) -> ModelView:
    """Return the view of a model.

    Raises
    ------
    TypeError
        If the model is of no known kind.
    """
    if isinstance(model, ModelView):
        return model
    raise TypeError(
        "model must be a nettrim.Network or have the three methods of nettrim.view.ModelView, "
        f"got {type(model).__name__}"
    )
