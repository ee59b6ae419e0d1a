"""Check the arguments that layer programs have in common; every error names its argument."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any

import numpy as np

from ._arrays import finite_array
from .solution import LayerProgress, LayerSolution

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, DTypeLike, NDArray

    Floats = NDArray[np.floating[Any]]

__all__ = [
    "LayerData",
    "Limits",
    "count_processors",
    "listener",
    "matrix",
    "number",
    "one_of",
    "precision_of",
    "whole",
]

Listener = Callable[..., object]
ACTIVATIONS = ("relu", "linear")
MAX_ITER = 50_000


@dataclass(frozen=True)
class LayerData:
    """Validated arrays of a layer, C-contiguous and of one type.

    A feature that is always zero costs time and has weight zero, so `X` holds the `live` ones. With
    groups it has shape (groups, n_samples, n_features).
    """

    X: Floats
    Y: Floats
    upper: Floats | None
    active: NDArray[np.bool_] | None
    relu: bool
    live: NDArray[np.bool_]
    groups: int = 1

    @classmethod
    def of(
        cls,
        X: ArrayLike,
        Y: ArrayLike,
        activation: str,
        upper: ArrayLike | None,
        active: ArrayLike | None,
        precision: np.dtype[Any],
        groups: int = 1,
    ) -> LayerData:
        """Check what the caller gave."""
        X, Y = matrix(X, "X", precision), matrix(Y, "Y", precision)
        if len(X) != len(Y):
            raise ValueError(
                f"X and Y must have the same number of rows, got {len(X)} and {len(Y)}"
            )
        one_of(activation, ACTIVATIONS, "activation")
        mask = _mask(active, Y.shape, activation)
        if mask is not None and upper is None:
            upper = 0.0
        bound = _upper(upper, Y.shape, activation, precision)
        groups = _groups(groups, X, Y)
        by_group = X.reshape(len(X), groups, -1)
        live: NDArray[np.bool_] = np.asarray(by_group.any(axis=(0, 1)))
        live[0] |= not live.any()
        if groups > 1:
            X = np.ascontiguousarray(by_group.swapaxes(0, 1))
        X = X if live.all() else np.compress(live, X, axis=-1)
        return cls(X, Y, bound, mask, activation == "relu", live, groups)

    def inputs(self, group: int) -> Floats:
        """Return what the outputs of a group see."""
        return self.X if self.groups == 1 else self.X[group]

    def is_active(self, outputs: slice) -> NDArray[np.bool_]:
        """Return where some of the outputs are to be reproduced."""
        Y = self.Y[:, outputs]
        if not self.relu:
            return np.ones(Y.shape, bool)
        return Y > 0 if self.active is None else self.active[:, outputs]

    def with_dead_features(self, solution: LayerSolution) -> LayerSolution:
        """Return an answer on the live features as one on all of them."""
        if self.live.all():
            return solution
        weights = np.zeros((len(self.live), self.Y.shape[1]), solution.weights.dtype)
        weights[self.live] = solution.weights
        return replace(solution, weights=weights)


@dataclass(frozen=True)
class Limits:
    """How far a solve may go, on how many threads, and who hears of it."""

    max_iter: int
    time_limit: float
    n_threads: int
    callback: Listener | None

    @classmethod
    def of(
        cls,
        max_iter: int | None,
        time_limit: float | None,
        n_threads: int | None,
        callback: Callable[[Any], object] | None,
        progress: Callable[..., Any] = LayerProgress,
        most: int = MAX_ITER,
    ) -> Limits:
        """Check what the caller gave; None is the default of each, `most` that of `max_iter`."""
        return cls(
            most if max_iter is None else whole(max_iter, "max_iter"),
            np.inf if time_limit is None else number(time_limit, "time_limit", above=0.0),
            count_processors() if n_threads is None else whole(n_threads, "n_threads"),
            listener(callback, progress),
        )


def precision_of(dtype: DTypeLike) -> np.dtype[Any]:
    try:
        precision = np.dtype(dtype)
    except TypeError:
        raise TypeError(f"dtype must be float64 or float32, got {dtype!r}") from None
    if precision not in (np.dtype(np.float64), np.dtype(np.float32)):
        raise ValueError(f"dtype must be float64 or float32, got {precision}")
    return precision


def matrix(value: ArrayLike, name: str, precision: np.dtype[Any]) -> Floats:
    """Refuse what is no finite matrix; copy only what has another type or layout."""
    array = finite_array(value, name, ndim=2)
    with np.errstate(over="ignore"):
        converted = np.ascontiguousarray(array, dtype=precision)
    if converted is not array and not np.isfinite(converted).all():
        raise ValueError(
            f"{name} does not fit {precision}: its largest entry is {np.abs(array).max():g}"
        )
    return converted


def _upper(
    upper: ArrayLike | None, shape: tuple[int, ...], activation: str, precision: np.dtype[Any]
) -> Floats | None:
    if upper is None:
        return None
    if activation == "linear":
        raise ValueError("upper bounds inactive outputs, and a linear layer has none: leave it out")
    array = finite_array(upper, "upper")
    try:
        return np.ascontiguousarray(np.broadcast_to(array, shape), dtype=precision)
    except ValueError:
        raise ValueError(
            f"upper must broadcast to the shape of Y {shape}, got {array.shape}"
        ) from None


def _mask(
    active: ArrayLike | None, shape: tuple[int, ...], activation: str
) -> NDArray[np.bool_] | None:
    if active is None:
        return None
    if activation == "linear":
        raise ValueError("active is everything in a linear layer: leave it out")
    array = np.asarray(active)
    if array.dtype != bool:
        raise TypeError(f"active must hold True and False, got {array.dtype}")
    if array.shape != shape:
        raise ValueError(f"active must have the shape of Y {shape}, got {array.shape}")
    return np.ascontiguousarray(array)


def _groups(groups: int, X: Floats, Y: Floats) -> int:
    count = whole(groups, "groups")
    if X.shape[1] % count or Y.shape[1] % count:
        raise ValueError(
            "groups must divide the numbers of features and of outputs, "
            f"got {count} for {X.shape[1]} and {Y.shape[1]}"
        )
    return count


def one_of(value: str, choices: tuple[str, ...], name: str) -> None:
    if value not in choices:
        raise ValueError(f"{name} must be one of {', '.join(map(repr, choices))}, got {value!r}")


def number(value: object, name: str, *, least: float = -np.inf, above: float = -np.inf) -> float:
    if isinstance(value, bool) or not isinstance(value, (Real, np.number)):
        raise TypeError(f"{name} must be a real number, got {value!r}")
    number = float(value)
    if not np.isfinite(number) or number < least or number <= above:
        wanted = f"at least {least:g}" if above == -np.inf else f"greater than {above:g}"
        raise ValueError(f"{name} must be finite and {wanted}, got {value!r}")
    return number


def whole(value: object, name: str, *, least: int = 1) -> int:
    if isinstance(value, bool) or not isinstance(value, (Integral, np.integer)):
        raise TypeError(f"{name} must be a whole number, got {value!r}")
    if value < least:
        raise ValueError(f"{name} must be at least {least}, got {value!r}")
    return int(value)


def listener(
    callback: Callable[[Any], object] | None, progress: Callable[..., Any]
) -> Listener | None:
    """Return what hears the numbers of a certificate, and calls back with them as one thing."""
    if callback is None:
        return None
    if not callable(callback):
        raise TypeError(f"callback must be callable, got {callback!r}")
    return lambda *numbers: callback(progress(*numbers))


def count_processors() -> int:
    """Count those this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on every system
        return os.cpu_count() or 1
