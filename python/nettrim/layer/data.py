"""The arrays of a layer, checked once, as every options and every worker takes them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ..base.arguments import (
    check_booleans,
    check_choice,
    check_integer,
    check_matrix,
    check_number,
)
from ..base.arrays import Array, as_plain_array, check_finite, check_squares, convert
from .solution import LayerSolution

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    Floats = NDArray[np.floating[Any]]

__all__ = ["ACTIVATIONS", "DrawnWeights", "LayerData"]

ACTIVATIONS = ("relu", "linear")

LARGE = 200_000_000  # bytes of X whose copy is felt
WORTH_KEEPING = 0.75  # share of live features from which a large X is taken as it is


@dataclass(frozen=True)
class DrawnWeights:
    """What draws a layer's weights to its original ones.

    Attributes
    ----------
    ridge, pull : float
        What the square of a weight's change counts, and that of an inactive signal's.
    original : ndarray of shape (n_features, n_outputs)
    """

    ridge: float
    pull: float
    original: Floats


@dataclass(frozen=True)
class LayerData:
    """Validated arrays of a layer, C-contiguous and of one type.

    A feature that is always zero costs time and has weight zero, unless a ridge draws it elsewhere,
    so `X` holds the `live` ones; but for a large one that would be copied for a few of them: there
    all count as live. With groups it has shape (groups, n_samples, n_features). `costs` are those
    of a unit of each live feature's weights; None where all are 1.
    """

    X: Floats
    Y: Floats
    upper: Floats | None
    active: NDArray[np.bool_] | None
    relu: bool
    live: NDArray[np.bool_]
    groups: int = 1
    drawn: DrawnWeights | None = None
    costs: Array | None = None

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
        ridge: float = 0.0,
        pull: float = 0.0,
        original: ArrayLike | None = None,
        costs: ArrayLike | None = None,
    ) -> LayerData:
        """Check what the caller gave; a ridge is in units of the mean square of a feature."""
        X, Y = check_matrix(X, "X", precision), check_matrix(Y, "Y", precision)
        if len(X) != len(Y):
            raise ValueError(
                f"X and Y must have the same number of rows, got {len(X)} and {len(Y)}"
            )
        check_choice(activation, ACTIVATIONS, "activation")
        mask = _check_active(active, Y.shape, activation)
        if mask is not None and upper is None:
            upper = 0.0
        bound = _check_upper(upper, Y.shape, activation, precision)
        groups = _check_groups(groups, X, Y)
        drawn = _check_drawn(ridge, pull, original, X, Y, activation, groups)
        by_group = X.reshape(len(X), groups, -1)
        paid = _check_costs(costs, (by_group.shape[2], Y.shape[1]))
        live: NDArray[np.bool_] = np.asarray(by_group.any(axis=(0, 1)))
        if drawn is not None:
            live |= drawn.original.any(axis=1) & (drawn.ridge > 0)
        live[0] |= not live.any()
        if groups > 1:
            X = np.ascontiguousarray(by_group.swapaxes(0, 1))
        if X.nbytes > LARGE and live.mean() > WORTH_KEEPING:
            live[:] = True
        if not live.all():
            X = np.compress(live, X, axis=-1)
            if drawn is not None:
                drawn = replace(drawn, original=np.compress(live, drawn.original, axis=0))
            if paid is not None:
                paid = np.compress(live, paid, axis=0)
        return cls(X, Y, bound, mask, activation == "relu", live, groups, drawn, paid)

    def inputs(self, group: int) -> Floats:
        """Return what the outputs of a group see."""
        return self.X if self.groups == 1 else self.X[group]

    @property
    def prefers_cold_start(self) -> bool:
        """Whether an answer to a similar program is no help: a Gram matrix is all it takes."""
        return not self.relu and self.X.shape[-2] > self.X.shape[-1]

    def is_active(self, outputs: slice) -> NDArray[np.bool_]:
        """Return where some of the outputs are to be reproduced."""
        Y = self.Y[:, outputs]
        if not self.relu:
            return np.ones(Y.shape, bool)
        return Y > 0 if self.active is None else self.active[:, outputs]

    def norm(self, weights: Floats, outputs: slice = slice(None)) -> float:
        """Return the l1 norm of some outputs' weights, at their costs."""
        sizes = np.abs(weights)
        if self.costs is None:
            return float(sizes.sum(dtype=np.float64))
        used = sizes > 0  # what is not to be used has an infinite cost
        return float((sizes[used] * self.costs[:, outputs][used]).sum(dtype=np.float64))

    @property
    def drawing(self) -> dict[str, Any]:
        """Return the core's arguments for what draws the weights."""
        return {} if self.drawn is None else vars(self.drawn)

    def with_dead_features(self, solution: LayerSolution) -> LayerSolution:
        """Return an answer on the live features as one on all of them, with what they cost."""
        if self.live.all():
            return replace(solution, costs=self.costs)
        weights = np.zeros((len(self.live), self.Y.shape[1]), solution.weights.dtype)
        weights[self.live] = solution.weights
        costs = self.costs
        if costs is not None:
            costs = np.ones(weights.shape)
            costs[self.live] = self.costs
        return replace(solution, weights=weights, costs=costs)


def _check_upper(
    upper: ArrayLike | None, shape: tuple[int, ...], activation: str, precision: np.dtype[Any]
) -> Floats | None:
    if upper is None:
        return None
    if activation == "linear":
        raise ValueError("upper bounds inactive outputs, and a linear layer has none: leave it out")
    array = check_finite(upper, "upper")
    try:
        full = np.broadcast_to(array, shape)
    except ValueError:
        raise ValueError(
            f"upper must broadcast to the shape of Y {shape}, got {array.shape}"
        ) from None
    return convert(full, "upper", precision)


def _check_active(
    active: ArrayLike | None, shape: tuple[int, ...], activation: str
) -> NDArray[np.bool_] | None:
    if active is None:
        return None
    if activation == "linear":
        raise ValueError("active is everything in a linear layer: leave it out")
    array = check_booleans(active, "active")
    if array.shape != shape:
        raise ValueError(f"active must have the shape of Y {shape}, got {array.shape}")
    return np.ascontiguousarray(array)


def _check_drawn(
    ridge: float,
    pull: float,
    original: ArrayLike | None,
    X: Floats,
    Y: Floats,
    activation: str,
    groups: int,
) -> DrawnWeights | None:
    ridge, pull = check_number(ridge, "ridge", least=0.0), check_number(pull, "pull", least=0.0)
    if ridge == 0 and pull == 0:
        if original is not None:
            raise ValueError(
                "original is what ridge and pull draw to: give one of them, or leave it"
            )
        return None
    if original is None:
        raise ValueError("original is needed: the weights that ridge and pull draw to")
    if pull > 0 and activation == "linear":
        raise ValueError("pull draws inactive outputs, and a linear layer has none: leave it out")
    if groups > 1:
        raise ValueError("ridge and pull are for layers of one group: solve the groups one by one")
    weights = check_matrix(original, "original", X.dtype)
    shape = X.shape[1], Y.shape[1]
    if weights.shape != shape:
        raise ValueError(f"original must have shape {shape}, got {weights.shape}")
    check_squares(X, "X")
    square = float(np.einsum("ij,ij->", X, X, dtype=np.float64)) / X.shape[1]
    return DrawnWeights(ridge * square, pull, weights)


def _check_costs(costs: ArrayLike | None, shape: tuple[int, int]) -> Array | None:
    if costs is None:
        return None
    array = as_plain_array(costs, "costs")
    forbidden = np.isposinf(array) if array.dtype.kind == "f" else False
    finite = check_finite(np.where(forbidden, 1.0, array) if np.any(forbidden) else array, "costs")
    if not (finite > 0).all():
        raise ValueError(f"costs must be greater than 0, got {finite.min():g}")
    try:
        full = np.broadcast_to(np.where(forbidden, np.inf, finite), shape)
    except ValueError:
        raise ValueError(
            f"costs must broadcast to the shape of the weights {shape}, got {array.shape}"
        ) from None
    return np.ascontiguousarray(full, dtype=np.float64)


def _check_groups(groups: int, X: Floats, Y: Floats) -> int:
    count = check_integer(groups, "groups")
    if X.shape[1] % count or Y.shape[1] % count:
        raise ValueError(
            "groups must divide the numbers of features and of outputs, "
            f"got {count} for {X.shape[1]} and {Y.shape[1]}"
        )
    return count
