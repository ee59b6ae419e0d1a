"""Check the arguments that layer programs have in common; every error names its argument."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any

import numpy as np

from ._arrays import converted, finite_array, plain_array
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
    "shown",
    "threads",
    "truths",
    "whole",
]

Listener = Callable[..., object]
ACTIVATIONS = ("relu", "linear")
MAX_ITER = 50_000
LARGEST_WHOLE = 2**63 - 1  # that the compiled core counts with
MOST_THREADS = (
    1024  # where there are not more processors: each takes memory whether it works or not
)
LONGEST_SHOWN = 100  # characters


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
            threads(n_threads),
            listener(callback, progress),
        )


def precision_of(dtype: DTypeLike) -> np.dtype[Any]:
    try:
        precision = np.dtype(dtype)
    except (TypeError, ValueError):
        raise TypeError(f"dtype must be float64 or float32, got {shown(dtype)}") from None
    if precision not in (np.dtype(np.float64), np.dtype(np.float32)):
        raise ValueError(f"dtype must be float64 or float32, got {precision}")
    return precision


def matrix(value: ArrayLike, name: str, precision: np.dtype[Any]) -> Floats:
    """Refuse what is no finite matrix; copy only what has another type or layout."""
    return converted(finite_array(value, name, ndim=2), name, precision)


def _upper(
    upper: ArrayLike | None, shape: tuple[int, ...], activation: str, precision: np.dtype[Any]
) -> Floats | None:
    if upper is None:
        return None
    if activation == "linear":
        raise ValueError("upper bounds inactive outputs, and a linear layer has none: leave it out")
    array = finite_array(upper, "upper")
    try:
        full = np.broadcast_to(array, shape)
    except ValueError:
        raise ValueError(
            f"upper must broadcast to the shape of Y {shape}, got {array.shape}"
        ) from None
    return converted(full, "upper", precision)


def _mask(
    active: ArrayLike | None, shape: tuple[int, ...], activation: str
) -> NDArray[np.bool_] | None:
    if active is None:
        return None
    if activation == "linear":
        raise ValueError("active is everything in a linear layer: leave it out")
    array = truths(active, "active")
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


def truths(value: ArrayLike, name: str) -> NDArray[np.bool_]:
    array = plain_array(value, name)
    if array.dtype != bool:
        raise TypeError(f"{name} must hold True and False, got {array.dtype}")
    return array


def one_of(value: object, choices: Sequence[str], name: str) -> str:
    if not isinstance(value, str) or value not in choices:
        raise ValueError(
            f"{name} must be one of {', '.join(map(repr, choices))}, got {shown(value)}"
        )
    return value


def number(
    value: object,
    name: str,
    *,
    least: float = -np.inf,
    above: float = -np.inf,
    most: float = np.inf,
) -> float:
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(f"{name} must be a real number, got {type(value).__name__} {shown(value)}")
    try:
        number = float(value)
    except OverflowError:
        number = np.inf
    if not np.isfinite(number) or number < least or number <= above or number > most:
        limits = [("at least", least), ("greater than", above), ("at most", most)]
        wanted = [f"{how} {limit:g}" for how, limit in limits if np.isfinite(limit)]
        raise ValueError(f"{name} must be {' and '.join(['finite', *wanted])}, got {shown(value)}")
    return number


def whole(value: object, name: str, *, least: int = 1, most: int = LARGEST_WHOLE) -> int:
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise TypeError(f"{name} must be a whole number, got {type(value).__name__} {shown(value)}")
    number = int(value)
    if number < least:
        raise ValueError(f"{name} must be at least {least}, got {shown(value)}")
    if number > most:
        raise ValueError(f"{name} must be at most {most}, got {shown(value)}")
    return number


def threads(value: object) -> int:
    """Check a number of threads; None stands for all processors."""
    if value is None:
        return count_processors()
    return whole(value, "n_threads", most=max(MOST_THREADS, count_processors()))


def shown(value: object) -> str:
    """Return how a message shows what came."""
    try:
        text = " ".join(repr(value).split())  # one line
    except ValueError:  # whole numbers of thousands of digits have no text
        return f"{type(value).__name__} of too many digits to show"
    return text if len(text) <= LONGEST_SHOWN else f"{text[:LONGEST_SHOWN]}..."


def listener(
    callback: Callable[[Any], object] | None, progress: Callable[..., Any]
) -> Listener | None:
    """Return what hears the numbers of a certificate, and calls back with them as one thing."""
    if callback is None:
        return None
    if not callable(callback):
        raise TypeError(f"callback must be callable, got {shown(callback)}")
    return lambda *numbers: callback(progress(*numbers))


def count_processors() -> int:
    """Count those this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on every system
        return os.cpu_count() or 1
