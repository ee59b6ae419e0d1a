"""What a layer with a budget is given: checked arrays, and what its weights may be."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ..base.arguments import check_booleans, check_matrix, show
from ..base.arrays import Array, frobenius_norm, relative_to
from ..layer.data import LayerData
from ..layer.gram import Gram, pose
from ..models.model_view import activate

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    Mask = NDArray[np.bool_]

__all__ = ["BudgetData", "Pattern", "compute_budget", "double_matrix", "mark_largest"]

MODERATE = 1e15  # sizes of arrays with squares and products that single precision holds
FARTHEST = 300  # powers of two between the sizes of Y and X @ weights
UNBOUNDED = 1e140  # an upper bound of signals of about one that is none
DOUBLE = np.dtype(np.float64)
PATTERN = re.compile(r"0*([0-9]{1,9}):0*([0-9]{1,9})")  # more digits than any layer has features


def double_matrix(value: ArrayLike, name: str) -> Array:
    """Return a finite matrix of float64."""
    return np.asarray(check_matrix(value, name, DOUBLE), dtype=np.float64)


def compute_budget(sparsity: float | None, size: int, demanded: int) -> int:
    """Return how many of some weights may be left, where a pattern demands removals.

    Raises
    ------
    ValueError
        If fewer are to be removed than the pattern demands.
    """
    if sparsity is None:
        return size - demanded
    budget = round((1 - sparsity) * size)
    if budget > size - demanded:
        raise ValueError(
            f"sparsity must be at least {demanded / size:g} for this pattern, got {sparsity:g}"
        )
    return budget


def mark_largest(sizes: Array, count: int) -> Mask:
    """Mark the largest of all entries; of equal ones the first."""
    mask = np.zeros(sizes.shape, bool)
    mask.flat[np.argsort(-sizes, axis=None, kind="stable")[:count]] = True
    return mask


@dataclass(frozen=True)
class Pattern:
    """Which weights may be removed.

    Attributes
    ----------
    keep : ndarray of bool, of shape (n_features,)
        Features whose weights all stay, like the row of biases. They do not count.
    most, group : int
        Of every `group` of the other features in a row, at most `most` stay in an output; 0 for no
        such pattern.
    """

    keep: Mask
    most: int = 0
    group: int = 0

    @classmethod
    def of(cls, keep: ArrayLike | None, pattern: str | None, n_features: int) -> Pattern:
        """Check what the caller gave."""
        mask = np.zeros(n_features, bool) if keep is None else check_booleans(keep, "keep")
        if mask.shape != (n_features,):
            raise ValueError(f"keep must have one entry for each of the {n_features} features")
        if pattern is None:
            return cls(mask)
        parts = PATTERN.fullmatch(pattern) if isinstance(pattern, str) else None
        most, group = map(int, parts.groups()) if parts else (0, 0)
        if not 0 < most < group:
            raise ValueError(
                f"pattern must be like '2:4', 2 of every 4 weights, got {show(pattern)}"
            )
        return cls(mask, most, group)

    @property
    def n_free(self) -> int:
        """Features whose weights may go."""
        return int(np.count_nonzero(~self.keep))

    @property
    def demanded(self) -> int:
        """How many weights of an output have to go."""
        if self.group == 0:
            return 0
        groups, rest = divmod(self.n_free, self.group)
        return groups * (self.group - self.most) + max(rest - self.most, 0)


class BinaryScale(NamedTuple):
    """The caller's numbers over those that are computed with, as exponents of two."""

    x: int
    y: int

    def exponent(self, quantity: str) -> int:
        """Return that of inputs "X", signals "Y", "weights" or "losses"."""
        return {"X": self.x, "Y": self.y, "weights": self.y - self.x, "losses": 2 * self.y}[
            quantity
        ]


AS_GIVEN = BinaryScale(0, 0)


def _exponent(array: Array) -> int:
    """Return the power of two just above the largest entry."""
    return int(np.frexp(np.abs(array).max())[1])


@dataclass(frozen=True)
class BudgetData:
    """Validated arrays of a layer, C-contiguous float64.

    Attributes
    ----------
    X : ndarray of shape (n_samples, n_features)
    Y : ndarray of shape (n_samples, n_outputs)
    weights : ndarray of shape (n_features, n_outputs)
        Those to begin with.
    upper : ndarray of shape (n_samples, n_outputs) or None
    active : ndarray of bool, of the shape of Y, or None
        None for a linear layer.
    pattern : Pattern
    units : BinaryScale
        In which these are given: arrays near the limits of a double are kept at a size of about
        one.
    """

    X: Array
    Y: Array
    weights: Array
    upper: Array | None
    active: Mask | None
    pattern: Pattern
    units: BinaryScale = AS_GIVEN

    @classmethod
    def of(
        cls,
        X: ArrayLike | Gram,
        Y: ArrayLike | None,
        weights: ArrayLike,
        activation: str | None,
        upper: ArrayLike | None,
        active: ArrayLike | None,
        keep: ArrayLike | None,
        pattern: str | None,
    ) -> BudgetData:
        """Check what the caller gave."""
        start = double_matrix(weights, "weights")
        if isinstance(X, Gram) and X.n_outputs is None:
            X = X.with_weights(start)
        samples, wanted, activation = pose(X, Y, activation)
        given = LayerData.of(samples, wanted, activation, upper, active, DOUBLE)
        inputs, outputs = double_matrix(samples, "X"), double_matrix(wanted, "Y")
        shape = (inputs.shape[1], outputs.shape[1])
        if start.shape != shape:
            raise ValueError(
                f"weights must have shape (n_features, n_outputs) = {shape}, got {start.shape}"
            )
        mask = np.ascontiguousarray(given.is_active(slice(None))) if given.relu else None
        bound = None if given.upper is None else np.asarray(given.upper, dtype=np.float64)
        data = cls(inputs, outputs, start, bound, mask, Pattern.of(keep, pattern, shape[0]))
        scaled = data if data._has_squares else data._in_units_of_its_size()
        in_own_units = scaled.upper
        if bound is not None and in_own_units is not None and in_own_units.min() <= -UNBOUNDED:
            raise ValueError(
                "upper must be of a size with Y and X @ weights where it is negative, "
                f"got {bound.min():g}"
            )
        return scaled._with_few_rows() if scaled.active is None else scaled

    @property
    def _has_squares(self) -> bool:
        """Whether sums of squares and of products are far from the limits of a double."""
        sizes = [float(np.abs(array).max()) for array in (self.X, self.Y, self.weights)]
        return all(size == 0 or 1 / MODERATE <= size <= MODERATE for size in sizes)

    def _in_units_of_its_size(self) -> BudgetData:
        """Return the same layer with inputs and signals of about one, by powers of two."""
        x = _exponent(self.X)
        signals = [_exponent(self.Y)] if self.Y.any() else []
        if self.weights.any():
            signals.append(x + _exponent(self.weights))
        if len(signals) > 1 and abs(signals[0] - signals[1]) > FARTHEST:
            raise ValueError(
                "Y must be of a size with X @ weights, "
                f"got 2^{signals[0]} for Y and 2^{signals[1]} for X @ weights"
            )
        scaled = replace(self, units=BinaryScale(x, max(signals, default=0)))
        upper = None if self.upper is None else scaled.in_own_units(self.upper, "Y")
        return replace(
            scaled,
            X=scaled.in_own_units(self.X, "X"),
            Y=scaled.in_own_units(self.Y, "Y"),
            weights=scaled.in_own_units(self.weights, "weights"),
            upper=None if upper is None else upper.clip(-UNBOUNDED, UNBOUNDED),
        )

    def _with_few_rows(self) -> BudgetData:
        """Return the same linear layer with no more samples than its sums need."""
        if len(self.X) <= self.X.shape[1] + 1:
            return self
        rows = Gram.of(self.X, self.Y).rows()
        return replace(self, X=rows.X, Y=rows.Y)

    def in_own_units(self, value: Array | float, quantity: str) -> Array:
        """Return what a caller gave as it is computed with."""
        with np.errstate(over="ignore"):
            return np.ldexp(value, -self.units.exponent(quantity))

    def in_given_units(self, value: Array | float, quantity: str) -> Array:
        """Return what was computed in the caller's units; infinite where no double is so large."""
        with np.errstate(over="ignore"):
            return np.ldexp(value, self.units.exponent(quantity))

    @property
    def n_outputs(self) -> int:  # noqa: D102
        return int(self.Y.shape[1])

    @property
    def size(self) -> int:
        """Weights that count."""
        return self.pattern.n_free * self.n_outputs

    @property
    def demanded(self) -> int:
        """How many of them have to go for the pattern."""
        return self.pattern.demanded * self.n_outputs

    @cached_property
    def scale(self) -> float:
        """Mean square of a feature, the unit of the ridge; 1 where there is none."""
        return float(np.mean(np.einsum("ij,ij->j", self.X, self.X))) or 1.0

    def targets(self, signals: Array) -> Array:
        """Return Y, and where inactive what the signals are, at most the upper bound."""
        if self.active is None:
            return self.Y
        bound = 0.0 if self.upper is None else self.upper
        return np.where(self.active, self.Y, np.minimum(signals, bound))

    @cached_property
    def _target(self) -> Array:
        """What every row is drawn to: the original weights' signals, where inactive."""
        return self.targets(self.X @ self.weights)

    def quadratic_arguments(self, ridge: float) -> Mapping[str, Any]:
        """Return the core's arguments for a linear layer, posed by its Gram matrix."""
        return {
            "grams": (self.X.T @ self.X)[None],
            "form_of": None,
            "correlations": np.ascontiguousarray(self.X.T @ self.Y),
            "prior": self.weights,
            "ridge": ridge,
            "keep": np.ascontiguousarray(self.pattern.keep),
        }

    def core_arguments(self, pull: float, ridge: float) -> Mapping[str, Any]:
        """Return the core's arguments for regularisation in units of this layer."""
        return {
            "X": self.X,
            "target": self._target,
            "upper": self.upper,
            "active": self.active,
            "prior": self.weights,
            "pull": pull,
            "ridge": ridge * self.scale,
            "keep": np.ascontiguousarray(self.pattern.keep),
        }

    def select(self, rows: NDArray[Any], outputs: NDArray[Any]) -> BudgetData:
        """Return some samples and outputs."""
        both = np.ix_(rows, outputs)
        return replace(
            self,
            X=self.X[rows],
            Y=self.Y[both],
            weights=np.ascontiguousarray(self.weights[:, outputs]),
            upper=None if self.upper is None else self.upper[both],
            active=None if self.active is None else self.active[both],
        )

    def error(self, weights: Array) -> float:
        """Return the relative error of the outputs, behind the ReLU if there is one."""
        activation = "linear" if self.active is None else "relu"
        wanted = activate(self.Y, activation)
        return relative_to(
            frobenius_norm(activate(self.X @ weights, activation) - wanted), frobenius_norm(wanted)
        )

    def preactivation_error(self, weights: Array) -> float:
        """Return the same in front of the ReLU, against the weights there were."""
        before = self.X @ self.weights
        return relative_to(frobenius_norm(self.X @ weights - before), frobenius_norm(before))
