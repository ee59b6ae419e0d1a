"""Fully connected layers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .._arrays import Array, finite_array, spectral
from ..view import Affine, rows_of_features
from .layer import PrunableLayer, checked_activation, frozen_copy

__all__ = ["Dense"]


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
        self.weights = frozen_copy(weights)
        self.bias = None if bias is None else frozen_copy(bias)
        self.activation = checked_activation(activation)

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

    def lipschitz(self, shape: tuple[int, ...]) -> float:
        """Return the largest singular value of the weights: neither bias nor ReLU can stretch."""
        return spectral(self.weights)

    @property
    def affine(self) -> Affine:
        """Weights and bias."""
        return Affine(self.weights, self.bias)

    def with_affine(self, affine: Affine) -> Dense:
        """Return a dense layer with these weights and the same activation."""
        return Dense(affine.weights, affine.bias, self.activation)

    def unfold(self, X: Array) -> Array:
        """Return the samples; other axes than the first and the last are rows too."""
        if X.shape[-1] != self.n_features:
            raise ValueError(f"{self!r} takes {self.n_features} features, got shape {X.shape}")
        return rows_of_features(X)

    def fold(self, rows: Array, shape: tuple[int, ...]) -> Array:
        """Return the rows in the shape of the input."""
        return rows.reshape(*shape[:-1], -1)

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
