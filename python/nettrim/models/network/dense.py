"""Fully connected layers."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ...base.arrays import Array, check_finite, spectral_norm
from ..layer_view import Affine, rows_of_features
from .layer import PrunableLayer, check_activation, frozen_copy

if TYPE_CHECKING:
    import scipy.sparse

__all__ = ["Dense"]

SPARSE = 0.1  # share of nonzero weights up to which `forward` leaves the zeros out
BLOCK = 128  # samples that meet a sparse matrix at a time, so that they stay in the cache


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

    Notes
    -----
    `forward` leaves the zeros out (CSR) if at most a tenth of the weights are not zero. Where BLAS
    has one thread, as SciPy's CSR has, that is faster from about a fifth on
    (``bench/results/inference.md``); the rest is left to BLAS, which may have more threads. A layer
    as small as 300 x 100 answers single samples a microsecond or two later in CSR, however many
    zeros it has. Both ways give the same up to rounding.
    """

    kind: ClassVar[str] = "dense"

    def __init__(
        self, weights: ArrayLike, bias: ArrayLike | None = None, activation: str = "relu"
    ) -> None:
        weights = check_finite(weights, "weights", ndim=2)
        if bias is not None:
            bias = check_finite(bias, "bias", ndim=1)
            if len(bias) != weights.shape[1]:
                raise ValueError(
                    f"bias must have one entry for each of the {weights.shape[1]} columns of "
                    f"weights, got {len(bias)}"
                )
        self.weights = frozen_copy(weights)
        self.bias = None if bias is None else frozen_copy(bias)
        self.activation = check_activation(activation)

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
        """Return the largest singular value of the weights: bias and ReLU are nonexpansive."""
        return spectral_norm(self.weights)

    @property
    def affine(self) -> Affine:
        """Weights and bias."""
        return Affine(self.weights, self.bias)

    def with_affine(self, affine: Affine) -> Dense:
        """Return a dense layer with these weights and the same activation."""
        return Dense(affine.weights, affine.bias, self.activation)

    def forward(self, X: Array) -> Array:
        """Apply the layer to samples along the first axis, in float64."""
        rows = self.unfold(X).astype(np.float64, copy=False)
        result = (
            rows @ self.weights if self._sparse is None else _multiply_sparse(self._sparse, rows)
        )
        if self.bias is not None:
            result += self.bias
        if self.activation == "relu":
            np.maximum(result, 0.0, out=result)
        return self.fold(result, X.shape)

    @cached_property
    def _sparse(self) -> scipy.sparse.csr_array | None:
        """The weights of every output in a row; None where a dense product is as fast."""
        if np.count_nonzero(self.weights) > SPARSE * self.weights.size:
            return None
        import scipy.sparse

        return scipy.sparse.csr_array(self.weights.T, dtype=np.float64)

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


def _multiply_sparse(sparse: scipy.sparse.csr_array, rows: Array) -> Array:
    """Return ``rows @ sparse.T``."""
    result = np.empty((len(rows), sparse.shape[0]))
    for first in range(0, len(rows), BLOCK):
        result[first : first + BLOCK] = (sparse @ rows[first : first + BLOCK].T).T
    return result
