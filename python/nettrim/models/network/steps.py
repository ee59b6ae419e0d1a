"""Steps without prunable weights: pooling, flattening, normalisation, ReLU."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import reduce
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ...base.arguments import check_number
from ...base.arrays import Array, check_finite
from ..unfold import Window
from .layer import Layer, frozen_copy
from .shapes import Padding, Sizes, check_padding, check_sizes

__all__ = ["AveragePool", "BatchNorm", "Flatten", "GlobalAveragePool", "MaxPool", "ReLU"]


class _Plain(Layer):
    """A step that has nothing to remember and cannot stretch."""

    def __repr__(self) -> str:
        """Return the name."""
        return f"{type(self).__name__}()"

    def lipschitz(self, shape: tuple[int, ...]) -> float:
        """Return 1."""
        return 1.0

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """Return nothing."""
        return {}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> Layer:
        """Build the step."""
        return cls()


class ReLU(_Plain):
    """``max(x, 0)``, where it does not follow a layer that has it as its activation."""

    kind: ClassVar[str] = "relu"

    def forward(self, X: Array) -> Array:
        """Set what is negative to zero."""
        return np.maximum(X, 0.0)


class Flatten(_Plain):
    """Everything of a sample in one row: channels first, then positions."""

    kind: ClassVar[str] = "flatten"

    def forward(self, X: Array) -> Array:
        """Return shape (n_samples, n_features)."""
        return X.reshape(len(X), -1)


class GlobalAveragePool(_Plain):
    """The mean of every channel over all positions."""

    kind: ClassVar[str] = "global_average_pool"

    def lipschitz(self, shape: tuple[int, ...]) -> float:
        """Return one over the root of the number of positions."""
        return 1 / math.sqrt(math.prod(shape[2:]))

    def forward(self, X: Array) -> Array:
        """Return shape (n_samples, n_channels)."""
        result: Array = X.reshape(*X.shape[:2], -1).mean(axis=2)
        return result


class _Pool(Layer):
    """What both kinds have in common; `MaxPool` has the documentation."""

    def __init__(self, size: Sizes, stride: Sizes | None = None, padding: Padding = 0) -> None:
        self.size = check_sizes(size, "size", None if isinstance(size, (list, tuple)) else 2)
        axes = len(self.size)
        self.stride = self.size if stride is None else check_sizes(stride, "stride", axes)
        self.padding = check_padding(padding, axes)
        self.window = Window(self.size, self.stride, self.padding, (1,) * axes)

    def __repr__(self) -> str:
        """Return the size of the window."""
        return f"{type(self).__name__}({'x'.join(map(str, self.size))})"

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """Return the geometry."""
        return {
            "size": np.array(self.size),
            "stride": np.array(self.stride),
            "padding": np.array(self.padding),
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> Layer:
        """Build the step from what `to_arrays` returned."""
        return cls(arrays["size"].tolist(), arrays["stride"].tolist(), arrays["padding"].tolist())


class MaxPool(_Pool):
    """The largest value in a window that moves over every channel.

    Parameters
    ----------
    size : int or sequence of int
        Of the window; a sequence has one number for each axis of positions, a single number stands
        for two axes.
    stride : int or sequence of int, optional
        Default: the size of the window.
    padding : int or sequence, default 0
        As in `Conv2D`, without "same". What is padded is never the largest.
    """

    kind: ClassVar[str] = "max_pool"

    def lipschitz(self, shape: tuple[int, ...]) -> float:
        """Return the root of the number of windows an input can lie in."""
        return math.sqrt(self.window.overlap)

    def forward(self, X: Array) -> Array:
        """Pool every channel."""
        patches = self.window.patches(X, -np.inf)
        entries = [patches[(..., *place)] for place in np.ndindex(self.size)]
        return reduce(np.maximum, entries)


class AveragePool(_Pool):
    """The mean of a window that moves over every channel; parameters are those of `MaxPool`."""

    kind: ClassVar[str] = "average_pool"

    def lipschitz(self, shape: tuple[int, ...]) -> float:
        """Return the root of the number of windows an input can lie in, over their size."""
        return math.sqrt(self.window.overlap / math.prod(self.size))

    def forward(self, X: Array) -> Array:
        """Pool every channel; padded zeros count."""
        patches = self.window.patches(X, 0.0)
        result: Array = patches.reshape(*patches.shape[: X.ndim], -1).mean(axis=-1)
        return result


class BatchNorm(Layer):
    """Normalisation of every channel by statistics that are no longer learnt.

    Parameters
    ----------
    mean, variance : array_like of shape (n_channels,)
    scale, shift : array_like of shape (n_channels,), optional
        Applied after the normalisation; default 1 and 0.
    epsilon : float, default 1e-5
        Added to the variance.
    """

    kind: ClassVar[str] = "batch_norm"

    def __init__(
        self,
        mean: ArrayLike,
        variance: ArrayLike,
        scale: ArrayLike | None = None,
        shift: ArrayLike | None = None,
        *,
        epsilon: float = 1e-5,
    ) -> None:
        center = check_finite(mean, "mean", ndim=1)
        given = {"variance": variance, "scale": scale, "shift": shift}
        defaults = {"variance": 1.0, "scale": 1.0, "shift": 0.0}
        arrays = {
            name: np.full(len(center), defaults[name])
            if value is None
            else check_finite(value, name, ndim=1)
            for name, value in given.items()
        }
        for name, array in arrays.items():
            if len(array) != len(center):
                raise ValueError(
                    f"{name} must have {len(center)} entries like mean, got {len(array)}"
                )
        self.epsilon = check_number(epsilon, "epsilon", least=0.0)
        if (arrays["variance"] + self.epsilon <= 0).any():
            raise ValueError("variance must be positive, or zero with a positive epsilon")
        self.mean = frozen_copy(center)
        self.variance, self.scale, self.shift = (frozen_copy(a) for a in arrays.values())

    def __repr__(self) -> str:
        """Return the number of channels."""
        return f"BatchNorm({len(self.mean)})"

    @property
    def factor(self) -> Array:
        """What every channel is multiplied by."""
        result: Array = self.scale / np.sqrt(self.variance.astype(np.float64) + self.epsilon)
        return result

    @property
    def offset(self) -> Array:
        """What is added to every channel then."""
        result: Array = self.shift - self.mean * self.factor
        return result

    def lipschitz(self, shape: tuple[int, ...]) -> float:
        """Return the largest factor of a channel."""
        return float(np.abs(self.factor).max())

    def forward(self, X: Array) -> Array:
        """Normalise channels, along the second axis."""
        if X.shape[1] != len(self.mean):
            raise ValueError(f"{self!r} takes {len(self.mean)} channels, got shape {X.shape}")
        axes = (1, -1) + (1,) * (X.ndim - 2)
        return X * self.factor.reshape(axes) + self.offset.reshape(axes)

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """Return statistics and factors."""
        names = ("mean", "variance", "scale", "shift")
        return {**{name: getattr(self, name) for name in names}, "epsilon": np.array(self.epsilon)}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> BatchNorm:
        """Build the step from what `to_arrays` returned."""
        values = {name: array for name, array in arrays.items() if name != "epsilon"}
        return cls(**values, epsilon=float(arrays["epsilon"]))
